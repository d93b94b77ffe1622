"""The commands that fit a file, and those that a model's answers for its rows come from."""

import argparse
import sys
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

from fastem._api.clusters import KMeans
from fastem._api.fit import fit
from fastem._api.interrupted import FitInterrupted
from fastem._api.kmeans import kmeans
from fastem._api.mixture import Mixture
from fastem._api.select import select
from fastem._em.starts import INIT_NAMES
from fastem._tools.arguments import (
    check_results,
    save_picture,
    shows_progress,
)
from fastem._tools.files import DataFile, open_file, open_for_model
from fastem._tools.outputs import check_written, naming, replacing
from fastem._tools.predictions import components, densities, named_clusters, open_model
from fastem._tools.written import Columns, check_rows_output, kept_columns, write_rows

_SHOWN = 20  # flagged rows that are printed


def run_fit(options: argparse.Namespace) -> None:
    check_results(options)
    init = _init_of(options)
    data = open_file(options.file, options.columns, options.noise)
    try:
        model = fit(
            data.X,
            options.k,
            distribution=options.distribution,
            covariance_type=options.covariance_type,
            columns=data.columns,
            init=init,
            missing=options.missing,
            noise=data.noise,
            **_common(options),
        )
    except FitInterrupted as error:
        if isinstance(error.model, Mixture):
            _tell(error.model, options)
            _say_how_to_go_on(error, options)
        raise
    _tell(model, options)
    save_picture(options, lambda plot: plot.classification(model, _data_for(model, options).X))


def _common(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that fit, select and kmeans share."""
    return {
        "n_init": options.n_init,
        "tol": options.tol,
        "max_iter": options.max_iter,
        "rng": options.seed,
        "progress": shows_progress(),
    }


def _init_of(options: argparse.Namespace) -> Any:
    text = options.init
    if text in INIT_NAMES:
        return text
    if not Path(text).is_file():
        raise ValueError(
            f"--init must be one of {', '.join(INIT_NAMES)}, or a file that fit has saved; got {text!r}."
        )
    model = open_model(Path(text), None)
    if isinstance(model, KMeans):
        raise ValueError(
            f"--init must be a mixture that fit or select has saved; {text!r} has the clusters of k-means. "
            "For a start from k-means: --init kmeans."
        )
    if options.n_init != 1:
        raise ValueError(
            f"--n-init must be left out where --init is a model, the only start; got {options.n_init}."
        )
    return model


def _say_how_to_go_on(error: FitInterrupted, options: argparse.Namespace) -> None:
    """Say on the standard error what became of a fit that ended early."""
    path = options.output
    told = "nothing is saved, since there is no -o" if path is None else f"go on with --init {path}"
    value = error.log_likelihood
    reached = "" if value is None else f" at log-likelihood {value:.10g}"
    print(
        f"The fit ended early{_after(error)}{reached}. What is printed is the model so far; {told}.",
        file=sys.stderr,
    )


def _after(error: FitInterrupted) -> str:
    return "" if error.n_iter is None else f" after {error.n_iter} iteration{'s' * (error.n_iter != 1)}"


def _tell(model: Mixture, options: argparse.Namespace, before: str = "") -> None:
    """Print the model, and save it. Should that fail, it has been seen at least."""
    print(f"{before}{model.summary()}", flush=True)
    _save(model, options)


def _save(model: Mixture | KMeans, options: argparse.Namespace) -> None:
    if options.output is None:
        return
    with naming(options.output), replacing(options.output) as path:
        model.save(path)
    print(f"\nsaved to {options.output}")


def run_select(options: argparse.Namespace) -> None:
    check_results(options)
    criterion: Any = options.criterion or ("bic" if options.held_out is None else "held-out")
    if options.held_out is not None and criterion != "held-out":
        raise ValueError(f"--held-out needs --criterion held-out; got --criterion {criterion}.")
    data = open_file(options.file, options.columns)
    try:
        selection = select(
            data.X,
            options.k,
            distribution=options.distribution,
            covariance_type=options.covariance_type,
            criterion=criterion,
            held_out=5 if options.held_out is None else options.held_out,
            columns=data.columns,
            missing=options.missing,
            **_common(options),
        )
    except FitInterrupted as error:
        if isinstance(error.model, Mixture):
            _tell(error.model, options, f"{error.selection}\n\n")
        else:
            print(error.selection)
        print("The selection ended early. The table has the fits that were finished.", file=sys.stderr)
        raise
    _tell(selection.best, options, f"{selection}\n\n")
    save_picture(options, lambda plot: plot.criterion(selection))


def run_kmeans(options: argparse.Namespace) -> None:
    check_results(options)
    data = open_file(options.file, options.columns)
    try:
        model = kmeans(
            data.X,
            options.k,
            columns=data.columns,
            init=options.init,
            **_common(options),
        )
    except FitInterrupted as error:
        if isinstance(error.model, KMeans):
            _tell_clusters(error.model, options)
            print(f"The fit ended early{_after(error)}. These are the clusters so far.", file=sys.stderr)
        raise
    _tell_clusters(model, options)
    save_picture(options, lambda plot: plot.classification(model, _data_for(model, options).X))


def _tell_clusters(model: KMeans, options: argparse.Namespace) -> None:
    model = named_clusters(model, model.feature_names)
    titles = model.feature_names or [str(j) for j in range(model.n_features)]
    lines = [repr(model), "", f"{'':>9}{'size':>12}" + "".join(f" {title:>12}" for title in titles)]
    for k, center in enumerate(model.centers):
        size = "" if model.sizes is None else f"{model.sizes[k]:.6g}"
        lines.append(f"cluster {k}{size:>12}" + "".join(f" {value:>12.6g}" for value in center))
    print("\n".join(lines), flush=True)
    _save(model, options)


def run_predict(options: argparse.Namespace) -> None:
    _check_output(options)
    model = open_model(options.model, options.columns)
    if options.proba and isinstance(model, KMeans):
        raise ValueError(
            "--proba needs a mixture: k-means has no responsibilities. Leave it out to write the clusters."
        )
    if options.noise and isinstance(model, KMeans):
        raise ValueError("--noise needs a mixture of Gaussians: k-means takes no noise. Leave it out.")
    data = _data_for(model, options, options.keep)
    chunks = components(model, data, proba=options.proba)
    n = _write(chunks, data, options, "component_" if options.proba else "label")
    print(f"{n:,} rows written to {options.output}")


def _check_output(options: argparse.Namespace) -> None:
    check_rows_output(options.output, options.file, options.keep)
    check_written("--output", options.output, options.file, options.model)


def _data_for(model: Mixture | KMeans, options: argparse.Namespace, keep: bool = False) -> DataFile:
    texts = isinstance(model, Mixture) and model.categories is not None
    missing = isinstance(model, Mixture) and model.missing == "marginalise"
    about = model.feature_names, texts, missing, keep
    noise = getattr(options, "noise", None)  # which select and kmeans do not have
    return open_for_model(options.file, options.columns, *about, noise)


def _write(chunks: Iterator[Columns], data: DataFile, options: argparse.Namespace, numbers: str) -> int:
    kept = kept_columns(options.file, data.has_names) if options.keep else None
    return write_rows(chunks, options.output, data.n_samples, kept, numbers)


def run_score(options: argparse.Namespace) -> None:
    if options.flag is not None and not 0 <= options.flag < 1:
        raise ValueError(
            f"--flag must be at least 0 and less than 1; got {options.flag}. It is a share of the rows: "
            "0.01 is one in a hundred."
        )
    if options.below is not None and isnan(options.below):
        raise ValueError("--below must be a log-density, such as -12.5; got nan.")
    if options.output is not None:
        _check_output(options)
    elif options.keep:
        raise ValueError("--keep needs --output, to which it copies the columns of FILE.")
    model = open_model(options.model, options.columns)
    if isinstance(model, KMeans):
        raise ValueError("score needs a mixture: k-means has no densities. Fit one with fit.")
    data = _data_for(model, options, options.keep)
    threshold: float | None = options.below
    if options.flag is not None:
        threshold = model.threshold(data.X, options.flag, noise=data.noise)
    tally = _Tally()
    chunks = tally.counted(densities(model, data, threshold))
    if options.output is not None:
        n = _write(chunks, data, options, "log_density")
    else:
        n = sum(len(columns["log_density"]) for columns in chunks)
    mean = f"{n:,} rows, mean log-density {tally.total / n:.9g}"
    if threshold is not None:
        print(f"{mean}\n{tally.flagged:,} rows flagged, with a log-density below {threshold!r}")
        if options.output is None and tally.flagged:
            _print_flagged(tally)
    else:
        print(mean)
    if options.output is not None:
        print(f"written to {options.output}")


class _Tally:
    """What `score` tells about all rows."""

    def __init__(self) -> None:
        self.rows, self.flagged, self.total = 0, 0, 0.0
        self.first: list[tuple[int, float]] = []

    def counted(self, chunks: Iterator[Columns]) -> Iterator[Columns]:
        for columns in chunks:
            scores, flagged = columns["log_density"], columns.get("flagged")
            self.total += float(scores.sum(dtype="float64"))
            if flagged is not None:
                self.flagged += int(flagged.sum())
                self._note(scores, flagged)
            self.rows += len(scores)
            yield columns

    def _note(self, scores: Any, flagged: Any) -> None:
        """Keep the lowest of the flagged rows."""
        (places,) = flagged.nonzero()
        found = ((float(scores[i]), self.rows + int(i)) for i in places)
        self.first = [(row, score) for score, row in sorted([*((s, r) for r, s in self.first), *found])][
            :_SHOWN
        ]


def _print_flagged(tally: _Tally) -> None:
    if tally.flagged > len(tally.first):
        print(f"the {len(tally.first)} lowest (--output writes all):")
    print(f"{'row':>12} {'log_density':>16}")
    for row, score in tally.first:
        print(f"{row:>12} {score:>16.9g}")

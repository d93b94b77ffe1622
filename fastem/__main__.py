"""Command line: ``python -m fastem demo | info | bench | fit | select | predict | accelerate``."""

import argparse
import platform
import runpy
import sys
from pathlib import Path

import numba
import numpy as np

import fastem
from fastem._api.inside import with_feature_names
from fastem._checks import check_integer
from fastem._criteria import CRITERIA
from fastem._em.starts import INIT_NAMES
from fastem._families.registry import DISTRIBUTIONS, GAUSSIANS
from fastem._kernels._target import describe_target
from fastem._tools.arguments import (
    add_data,
    add_results,
    check_results,
    check_written,
    data_of,
    numbers_of,
    save_picture,
    shows_progress,
)
from fastem._tools.bench import run_bench
from fastem._tools.demo import run_demo
from fastem._tools.files import DataFile, open_file
from fastem._tools.predictions import check_predictions, write_predictions

# What wrong input can raise. It is told in one line, and anything else with a traceback.
_MISTAKES = (ValueError, TypeError, OSError, ImportError, fastem.FitInterrupted)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except _MISTAKES as error:
        print(f"fastem: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastem", description=fastem.__doc__)
    parser.add_argument("--version", action="version", version=f"fastem {fastem.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="fit Old Faithful, then a million points")
    demo.add_argument(
        "--rows", type=int, default=1_000_000, help="number of points in the second fit (default %(default)s)"
    )
    demo.set_defaults(run=_demo)

    info = commands.add_parser("info", help="print versions, threads, SIMD width and cache folder")
    info.set_defaults(run=_info)

    bench = commands.add_parser("bench", help="time one pass and compare with other libraries")
    bench.add_argument("--peers", action="store_true", help="also measure other installed libraries")
    bench.add_argument("--scale", type=float, default=1.0, help="factor on the number of rows")
    bench.add_argument("--repeat", type=int, default=5, help="runs of each case (default %(default)s)")
    bench.add_argument("-o", "--output", type=Path, help="write the table to this JSON file")
    bench.set_defaults(run=_bench)

    fit = commands.add_parser("fit", help="fit a file, print the model, save it and draw it")
    add_data(fit)
    fit.add_argument("-k", type=int, required=True, help="number of components")
    fit.add_argument("--distribution", choices=DISTRIBUTIONS, default="gaussian")
    fit.add_argument("--covariance-type", choices=GAUSSIANS, help="of gaussian and student (default full)")
    fit.add_argument("--init", choices=INIT_NAMES, default="auto")
    fit.add_argument("--n-init", type=int, default=1)
    fit.add_argument("--tol", type=float, default=1e-4)
    fit.add_argument("--max-iter", type=int, default=200)
    add_results(fit, "save the model to this .npz")
    fit.set_defaults(run=_fit)

    select = commands.add_parser("select", help="compare numbers of components and covariance types")
    add_data(select)
    select.add_argument(
        "-k", type=numbers_of, default=list(range(1, 10)), help="3, 1:10 or 2,4,8 (default 1:9)"
    )
    select.add_argument("--distribution", choices=DISTRIBUTIONS, default="gaussian")
    select.add_argument("--covariance-type", choices=GAUSSIANS, nargs="+", help="default: all but EII")
    select.add_argument("--criterion", choices=CRITERIA, default="bic")
    add_results(select, "save the best model to this .npz")
    select.set_defaults(run=_select)

    predict = commands.add_parser("predict", help="write the component of each row of a file")
    predict.add_argument("model", metavar="MODEL", type=Path, help="a model that fit has saved")
    add_data(predict)
    predict.add_argument("--proba", action="store_true", help="write the responsibilities too")
    predict.add_argument("-o", "--output", type=Path, required=True, help="write to this .csv or .npy")
    predict.set_defaults(run=_predict)

    accelerate = commands.add_parser("accelerate", help="run a script with scikit-learn accelerated")
    accelerate.add_argument("script", type=Path)
    accelerate.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the script")
    accelerate.set_defaults(run=_accelerate)
    return parser


def _demo(options: argparse.Namespace) -> None:
    run_demo(options.rows)


def _bench(options: argparse.Namespace) -> None:
    repeat = check_integer("--repeat", options.repeat, 1)
    run_bench(peers=options.peers, scale=options.scale, repeat=repeat, output=options.output)


def _info(options: argparse.Namespace) -> None:
    rows = {
        "fastem": fastem.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        **describe_target(),
    }
    for name, value in rows.items():
        print(f"{name:<16} {value}")


def _fit(options: argparse.Namespace) -> None:
    check_results(options)
    data = data_of(options)
    model = fastem.fit(
        data.X,
        options.k,
        distribution=options.distribution,
        covariance_type=options.covariance_type,
        columns=data.columns,
        init=options.init,
        n_init=options.n_init,
        tol=options.tol,
        max_iter=options.max_iter,
        rng=options.seed,
        progress=shows_progress(),
    )
    model = _told(model, data, options)
    save_picture(options, lambda plot: plot.classification(model, data.X))


def _told(
    model: fastem.Mixture, data: DataFile, options: argparse.Namespace, before: str = ""
) -> fastem.Mixture:
    """Save the model with the names of the columns, and then print it. Return it with these names."""
    if data.names is not None:
        model = with_feature_names(model, data.names)
    saved = ""
    if options.output is not None:
        model.save(options.output)
        saved = f"\n\nsaved to {options.output}"
    print(f"{before}{model.summary()}{saved}")
    return model


def _select(options: argparse.Namespace) -> None:
    check_results(options)
    data = data_of(options)
    selection = fastem.select(
        data.X,
        options.k,
        distribution=options.distribution,
        covariance_type=options.covariance_type,
        criterion=options.criterion,
        columns=data.columns,
        rng=options.seed,
        progress=shows_progress(),
    )
    _told(selection.best, data, options, f"{selection}\n\n")
    save_picture(options, lambda plot: plot.criterion(selection))


def _predict(options: argparse.Namespace) -> None:
    check_predictions(options.output)
    check_written("--output", options.output, options.file, options.model)
    model = fastem.load(options.model)
    clusters = isinstance(model, fastem.KMeans)
    if options.proba and clusters:
        raise ValueError(
            "--proba needs a mixture: k-means has no responsibilities. Leave it out to write the clusters."
        )
    if options.columns is not None:
        if len(options.columns) != model.n_features:
            raise ValueError(
                f"--columns must name {model.n_features} columns, as many as the model has features; "
                f"got {', '.join(options.columns)}."
            )
        if clusters:
            model = fastem.KMeans(model.centers, feature_names=options.columns)
        else:
            model = with_feature_names(model, options.columns)
    data = open_file(options.file, options.columns, of_model=model.feature_names)
    n = write_predictions(model, data, options.output, proba=options.proba)
    print(f"{n:,} rows written to {options.output}")


def _accelerate(options: argparse.Namespace) -> None:
    """Run a script as ``python SCRIPT ...`` would. Its errors are shown with their tracebacks."""
    if not options.script.is_file():
        raise FileNotFoundError(f"SCRIPT must be a Python file; there is no {str(options.script)!r}.")
    sys.argv = [str(options.script), *options.arguments]
    sys.path[0] = str(options.script.resolve().parent)
    with fastem.accelerate():
        try:
            runpy.run_path(str(options.script), run_name="__main__")
        except Exception:
            sys.excepthook(*sys.exc_info())
            raise SystemExit(1) from None


if __name__ == "__main__":
    sys.exit(main())

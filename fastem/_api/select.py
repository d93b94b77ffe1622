"""`select`: fits with different numbers of components and covariance types, and the best of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Unpack, overload

import numpy as np

from fastem._api.advice import (
    singular_in_words,
    warn_of_few_values,
    warn_of_large_noise,
    warn_of_many_categories,
    warn_of_pairs,
)
from fastem._api.compared import (
    check_held_out,
    check_ks,
    check_rows,
    check_split,
    check_types,
    different,
)
from fastem._api.gaussian import GaussianMixture
from fastem._api.inside import totals_of
from fastem._api.interrupted import FitInterrupted, interruption
from fastem._api.missing import Missing, how_to_ask
from fastem._api.mixture import Mixture
from fastem._api.options import Options, check_options
from fastem._api.prior import Prior
from fastem._api.progress import counting_bar
from fastem._api.selecting import Cell, Fit, Kind, Search
from fastem._api.selection import Candidate, Selection
from fastem._api.signatures import RegCovar, SelectOptions, StartName
from fastem._api.translations import advised
from fastem._checks import check_one_of, check_rng
from fastem._criteria import CRITERIA
from fastem._em.loop import PassLost, StoppingRule
from fastem._em.starts import INIT_NAMES
from fastem._families.distribution import Distribution
from fastem._report import FitReport, FitStatus, WarningCause, warn
from fastem._sources.folds import Fold
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._typing import CovarianceType, DataLike, NoiseLike, RngLike, RowsLike


@overload
def select(
    X: DataLike,
    k: int | Iterable[int] = ...,
    *,
    distribution: Literal["gaussian"] = "gaussian",
    callback: Callable[[Candidate, GaussianMixture[FitReport]], Any] | None = None,
    **options: Unpack[SelectOptions],
) -> Selection[GaussianMixture[FitReport]]: ...


@overload
def select(
    X: DataLike,
    k: int | Iterable[int] = ...,
    *,
    distribution: str | Mapping[Any, str] | Distribution,
    callback: Callable[[Candidate, Mixture[FitReport]], Any] | None = None,
    **options: Unpack[SelectOptions],
) -> Selection: ...


@advised()
def select(
    X: DataLike,
    k: int | Iterable[int] = range(1, 10),
    *,
    covariance_type: CovarianceType | Literal["mclust"] | Sequence[CovarianceType] | None = None,
    distribution: str | Mapping[Any, str] | Distribution = "gaussian",
    criterion: Literal["bic", "icl", "aic", "held-out"] = "bic",
    held_out: int | float = 5,
    sample_weight: RowsLike = None,
    labels: RowsLike = None,
    assignment: Literal["soft", "hard"] = "soft",
    columns: Sequence[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    init: StartName = "auto",
    n_init: int = 1,
    tol: float | StoppingRule = 1e-4,
    max_iter: int = 200,
    reg_covar: RegCovar = "auto",
    acceleration: Literal["auto"] | None = "auto",
    prior: Literal["default"] | Prior | None = None,
    missing: Missing = "error",
    noise: NoiseLike = None,
    rng: RngLike = None,
    n_threads: int | None = None,
    callback: Any = None,
    progress: bool = False,
) -> Selection:
    """Fit mixtures with different numbers of components and covariance types, and choose among them.

    The fits share a sample of the rows for their starts. Each is also a start for those beside it. So a table
    takes less time than separate fits with five starts each, and reaches a higher likelihood more often than
    a lower one.

    Parameters
    ----------
    X : array of shape (n, d), table, .csv, Parquet, store, chunks, or dask array or dataframe
        The same as in `fit`.
    k : int or iterable of int
        Numbers of components.
    covariance_type : str or sequence of str, optional
        Types to compare, or ``"mclust"`` for its fourteen.
        The default is ``("full", "tied", "diag", "spherical")`` for ``"gaussian"`` and
        ``"student"``, and that of `fit` for other distributions. With one feature, types that are the same
        there are fitted once, under the first of their names.
    distribution : str, dict or Distribution
        The same as in `fit`.
    criterion : {"bic", "icl", "aic", "held-out"}
        How to choose. ``"bic"``: Bayesian information criterion (Schwarz 1978), the usual choice.
        ``"icl"``: integrated completed likelihood (Biernacki, Celeux and Govaert 2000), which also counts
        how much components overlap, so it prefers clusters that are apart. ``"aic"``: Akaike information
        criterion, which prefers more components. ``"held-out"``: mean log-density of rows that were held out
        of the fit, for density estimation. The table has the first three in any case.
    held_out : int or float
        For ``"held-out"`` alone: the number of folds, at least 2, each of which is held out once; or a share
        of the rows between 0 and 1, which is held out of one fit. Which rows, is random. The models of the
        result are fitted to all rows.
    sample_weight, columns, cache_dir : optional
        The same as in `fit`. BIC, ICL and AIC take the sum of the weights as the number of rows, so weights
        must count rows: their sum must be at least a tenth of the number of rows.
    labels, assignment : optional
        The same as in `fit`. All numbers in `k` must be more than the largest label.
    init : str
        ``"auto"``, or the name of another start of `fit`. Only with ``"auto"`` do fits share their starts.
    n_init, tol, max_iter, reg_covar, acceleration, prior, missing, noise, rng, n_threads
        The same as in `fit`, for each fit. `n_init` is rarely of use. It counts for the first fit of a cell.
    callback : callable, optional
        Function that is called as ``callback(candidate, model)`` when a fit is finished. If it returns True,
        no more are made, and the selection holds those that are finished.
    progress : bool
        Show a progress bar. This needs tqdm (the extra ``progress``).

    Returns
    -------
    Selection
        Its `best` is the chosen model, and its `table` has all criteria of all fits.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid (before any work starts), or if X is not valid.
    FitInterrupted
        If the user interrupts (Ctrl-C), or if X can no longer be read, after the first fit to all rows. Its
        `selection` has the fits that were finished, and its `model` is the best of them.
    OSError, RuntimeError, ImportError
        The same as in `fit`.

    Warns
    -----
    FitWarning
        If some fits did not converge before `max_iter`, if all fits of a type are singular in some
        columns, if numbers in X have too few digits left, or if columns hold too few values for Gaussians.

    Notes
    -----
    Degenerate fits, which have a singular component, are in the table and are never chosen. A likelihood
    with a singular component has no bound, so that criteria say nothing.

    Examples
    --------
    >>> import fastem
    >>> from fastem.datasets import old_faithful
    >>> selection = fastem.select(old_faithful(), range(1, 6), rng=0)
    >>> selection.chosen.k, selection.chosen.covariance_type
    (3, 'tied')
    """
    ks = check_ks(k)
    check_one_of("criterion", criterion, tuple(CRITERIA))
    check_one_of("init", init, INIT_NAMES, " in select; start from known parameters with fit")
    splits = check_held_out(held_out) if criterion == "held-out" else 0
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable as callback(candidate, model); got {callback!r}.")
    rng = check_rng(rng)  # once, since it may draw
    kinds: dict[Kind, Options[Any]] = {}
    for kind in check_types(covariance_type, distribution):
        kinds[kind] = check_options(
            ks[-1],
            kind,
            distribution,
            init,
            n_init,
            tol,
            max_iter,
            reg_covar,
            acceleration,
            None,
            rng,
            assignment,
            prior=prior,
            missing=missing,
            measured=noise is not None,
        )
    options = next(iter(kinds.values()))
    source = source_of(
        X,
        sample_weight,
        n_threads,
        columns=columns,
        cache_dir=cache_dir,
        vocabulary=options.family.vocabulary,
        labels=labels,
        k=ks[-1],
        missing=options.missing,
        remedy=how_to_ask(options.family),
        noise=noise,
    )
    check_rows(source, kinds.values(), ks, criterion, splits)
    kinds = _adapted(source, kinds, ks[-1])
    _warn_of_rows(source, kinds.values())
    work = _Work(source, kinds, ks, init, criterion, callback)
    with counting_bar(progress, work.steps(max(1, int(splits)) if splits else 0), "select") as advance:
        return work.selection(rng, splits, advance)


def _adapted(source: Source, kinds: dict[Kind, Options[Any]], k: int) -> dict[Kind, Options[Any]]:
    """Return the options of the types that differ, whose families know the rows, for up to k components."""
    if source.n_features == 1:
        kinds = different(kinds)
    facts = source.facts()
    kinds = {kind: one._replace(family=one.family.adapted(facts)) for kind, one in kinds.items()}
    for one in kinds.values():
        one.family.n_parameters(k, source.n_features)  # a mistake in a user's shows here, not in bic
    return kinds


def _warn_of_rows(source: Source, kinds: Iterable[Options[Any]]) -> None:
    family = next(iter(kinds)).family
    warn_of_few_values(source, family)
    warn_of_many_categories(source, family)
    warn_of_large_noise(source)
    warn_of_pairs(source, [one.family for one in kinds if one.prior is None])


class _Work:
    """The fits to all rows, and those to the rows that are not held out."""

    def __init__(
        self,
        source: Source,
        kinds: dict[Kind, Options[Any]],
        ks: list[int],
        init: str,
        criterion: str,
        callback: Callable[[Candidate, Mixture[FitReport]], Any] | None,
    ) -> None:
        self._source, self._kinds, self._ks, self._init = source, kinds, ks, init
        self._criterion, self._callback = criterion, callback
        self._held_out: dict[Cell, float] = {}

    def steps(self, splits: int) -> int:
        """Return how many fits there are, counting those that are tried again."""
        return len(self._kinds) * len(self._ks) * (1 + splits) * (2 if self._init == "auto" else 1)

    def selection(self, rng: np.random.Generator, splits: float, advance: Callable[[], None]) -> Selection:
        search = Search(self._source, self._kinds, self._ks, self._init, rng.spawn(1)[0])
        try:
            self._score_held_out(rng, splits, advance)
            seen: set[Cell] = set()
            for cell in search.run():
                advance()
                if cell not in seen and self._stops(cell, search.fits[cell]):
                    break
                seen.add(cell)
            result = self._of(search)
        except (KeyboardInterrupt, PassLost, FitInterrupted) as error:
            cause = _cause_of(error)
            if not search.fits:
                raise cause from None
            partial = self._of(search)
            raise interruption(cause, _best_of(partial), partial) from cause
        _warn_of_ends(result, search)
        return result

    def _stops(self, cell: Cell, fit: Fit) -> bool:
        if self._callback is None:
            return False
        model = fit.model(self._source.feature_names)
        if model is None:
            return False
        stop = self._callback(fit.candidate(cell[1], self._held_out.get(cell)), model)
        return isinstance(stop, (bool, np.bool_)) and bool(stop)

    def _score_held_out(self, rng: np.random.Generator, splits: float, advance: Callable[[], None]) -> None:
        """Find the mean log-density of the rows that are held out, over all splits, for each cell."""
        seed = int(rng.integers(2**63)) if splits else 0
        totals: dict[Cell, Any] = {}
        for number in range(max(1, int(splits)) if splits else 0):
            rows = self._source.part(Fold(seed, splits, number))
            others = self._source.part(Fold(seed, splits, number, others=True))
            check_split(splits, rows.n_positive, others.n_positive, self._ks[-1])
            search = Search(others, self._kinds, self._ks, self._init, rng.spawn(1)[0])
            for _ in search.run():
                advance()
            for cell, fit in search.fits.items():
                model = fit.model(self._source.feature_names)
                score = np.array([-np.inf, 1.0]) if model is None else totals_of(model, rows)
                totals[cell] = totals.get(cell, 0) + score
        self._held_out = {cell: float(total[0] / total[1]) for cell, total in totals.items()}

    def _of(self, search: Search) -> Selection:
        order = [(k, kind) for k in self._ks for kind in self._kinds if (k, kind) in search.fits]
        table = [search.fits[cell].candidate(cell[1], self._held_out.get(cell)) for cell in order]
        models = [search.fits[cell].model(self._source.feature_names) for cell in order]
        return Selection(self._criterion, table, models)


def _best_of(selection: Selection) -> Mixture[FitReport] | None:
    try:
        return selection.best
    except ValueError:
        return None


def _cause_of(error: BaseException) -> BaseException:
    """Return what went wrong below an error that says what was kept."""
    if isinstance(error, PassLost):
        return error.reason
    return (error.__cause__ or error) if isinstance(error, FitInterrupted) else error


def _warn_of_ends(selection: Selection, search: Search) -> None:
    unfinished = sum(row.status is FitStatus.MAX_ITER for row in selection.table)
    if unfinished:
        warn(WarningCause.MAX_ITER, f"{unfinished} of {len(selection.table)} fits:")
    told = [_singular(search, kind) for kind in _lost(selection)]
    details = max(told, key=len, default="")
    if all(row.degenerate for row in selection.table):
        warn(WarningCause.DEGENERATE, f"All {len(selection.table)} fits of the selection: {details}".rstrip())
    elif details:
        lost = ", ".join(map(repr, _lost(selection)))
        warn(WarningCause.DEGENERATE, f"All fits of {lost}, none of which can be chosen: {details}")


def _lost(selection: Selection) -> list[Kind]:
    """Return the types whose fits are all degenerate."""
    kinds = dict.fromkeys(row.covariance_type for row in selection.table)
    sound = {row.covariance_type for row in selection.table if not row.degenerate}
    return [kind for kind in kinds if kind not in sound]


def _singular(search: Search, kind: Kind) -> str:
    """Say in which columns the fit of this type with the fewest components is singular, if in any."""
    fit = search.fits[min(k for k, own in search.fits if own == kind), kind]
    if not fit.run.singular:
        return ""
    return singular_in_words(fit.likelihood, fit.run.parameters, fit.run.singular, columns_only=True)

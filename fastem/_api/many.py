"""`fit_many`: the same fit to many data sets, side by side."""

from __future__ import annotations

import inspect
import reprlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from threading import Event
from typing import Any, Literal, NamedTuple, TypeVar, Unpack

import numpy as np

from fastem._api.fit import fit
from fastem._api.fitting import fit_by
from fastem._api.mixture import Mixture
from fastem._api.options import Options, check_options
from fastem._api.progress import counting_bar
from fastem._api.signatures import ManyOptions
from fastem._api.translations import advised, unknown_argument
from fastem._api.whole import are_whole, following, whole_models
from fastem._checks import check_bool, check_one_of, check_rng, check_seed
from fastem._em.whole import suits
from fastem._kernels._threads import threads_allowed
from fastem._report import FitReport, FitWarning, WarningCause, collected_warnings, warn
from fastem._sources.checks import check_n_threads
from fastem._sources.groups import parted_by_group
from fastem._typing import DataLike, NoiseLike, RngLike, RowsLike

# Python runs in one thread at a time, and does most of what a fit to fewer numbers (rows x features x
# components) takes: two threads took 1.03 times as long as one at 8,000, 1.07 at 12,000 and 0.76 at 64,000.
_WORTH_THREADS = 1 << 14
# Data sets of one size that one call of a kernel fits, and calls for each thread. Python makes their models
# while the kernel computes in other threads.
_BLOCK, _CALLS = 32, 4

T = TypeVar("T")
R = TypeVar("R")


@advised()
def fit_many(
    datasets: Sequence[DataLike] | DataLike,
    k: int,
    *,
    groups: RowsLike = None,
    sample_weight: Sequence[RowsLike] | RowsLike = None,
    labels: Sequence[RowsLike] | RowsLike = None,
    noise: Sequence[NoiseLike] | NoiseLike = None,
    on_error: Literal["raise", "keep"] = "raise",
    rng: RngLike = None,
    n_threads: int | None = None,
    progress: bool = False,
    **options: Unpack[ManyOptions],
) -> list[Any]:
    """Fit the same mixture to many data sets, side by side in threads.

    Parameters
    ----------
    datasets : sequence of data sets, or X of shape (n, d) with `groups`
        Each data set is anything that `fit` takes: arrays or tables of different lengths, paths of files.
        With `groups` it is one array or table, whose rows belong to different data sets.
    k : int
        Number of components of each fit.
    groups : array of shape (n,), or str, optional
        The data set of each row of X: numbers or text. The models are in the sorted order of the groups. If X
        is a table, it may be the name of a column.
    sample_weight, labels : sequence of arrays, or array of shape (n,) with `groups`, optional
        The weights and the known components of the rows of each data set, as in `fit`.
    noise : array of shape (d,) or (1, d, d), or one for each data set, optional
        The known noise of the rows, as in `fit`: one array or list of d variances for all rows of all data
        sets, names of columns, or a sequence with that of each data set. With `groups`, arrays (n, d) or
        (n, d, d) have that of each row.
    on_error : {"raise", "keep"}
        What to do if a data set cannot be fitted, for example because it holds NaN or fewer than k rows.
        ``"raise"``: raise the error of the first such data set, with a note that names it. ``"keep"``: put
        the error in its place of the list.
    rng : None, int, numpy.random.Generator or RandomState
        With an int, each fit is the one that ``fit(..., rng=rng)`` makes of its data set, bit for bit. A
        generator spawns one for each data set, in order.
    n_threads : int, optional
        Number of data sets that are fitted at a time, of which each fit has one thread. None means numba's
        setting. Data sets of less than some ten thousand numbers are fitted one after another, unless one
        kernel makes the whole fit, as of small arrays without weights.
    progress : bool
        Show a progress bar, which counts the data sets. This needs tqdm (the extra ``progress``).
    **options
        All others that `fit` takes, except `callback`. They are the same for all data sets.

    Returns
    -------
    list of GaussianMixture or Mixture
        A model for each data set, in order. With ``on_error="keep"``, it may hold errors.

    Raises
    ------
    ValueError, TypeError
        If an option is not valid (before any work starts), or if a data set cannot be fitted.

    Warns
    -----
    FitWarning
        One for each cause, which names the data sets.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> sets = [np.append(rng.normal(0, 1, 90), rng.normal(shift, 1, 90)) for shift in (6, 9, 12)]
    >>> models = fastem.fit_many([x[:, None] for x in sets], 2, rng=0)
    >>> [round(float(np.ptp(model.means))) for model in models]
    [6, 9, 12]
    """
    one = _checked(k, {**options, "noise": noise})
    keep = check_one_of("on_error", on_error, ("raise", "keep")) == "keep"
    threads = check_n_threads(n_threads) or threads_allowed()
    progress = check_bool("progress", progress)
    about = {"sample_weight": sample_weight, "labels": labels, "noise": noise}
    tasks = _tasks(datasets, groups, about)
    generators = _generators(rng, len(tasks))
    found: list[_Fitted] = []
    fits = closing(_fits(one, tasks, generators, threads, k))
    with counting_bar(progress, len(tasks), "EM") as advance, fits as each:
        for task, fitted in zip(tasks, each, strict=True):
            if fitted.error is not None and not keep:
                fitted.error.add_note(f"This is the error of {task.name}. on_error='keep' keeps such errors.")
                raise fitted.error
            found.append(fitted)
            advance()
    _warn([task.name for task in tasks], found)
    return [fitted.model if fitted.error is None else fitted.error for fitted in found]


class _Task(NamedTuple):
    """One data set."""

    name: str
    X: Any
    about: dict[str, Any]  # what is known of its rows
    tried: bool = False  # whether one kernel could not make its fit


class _Fitted(NamedTuple):
    model: Mixture[FitReport] | None
    error: Exception | None
    warnings: list[FitWarning]


def _checked(k: Any, options: dict[str, Any]) -> partial[_Fitted]:
    """Return what fits one data set. Raise the error of a wrong option, which would be that of all."""
    known = [*ManyOptions.__annotations__, "noise"]
    for name in options:
        if name not in known:
            advice = unknown_argument(name, ["k", "rng", "n_threads", *known])
            raise TypeError(f"fit_many() got an unexpected argument {name!r}. {advice}")
    bound = inspect.signature(fit).bind(None, k, **options)
    bound.apply_defaults()
    given = {**bound.arguments, "measured": bound.arguments["noise"] is not None}
    checked = check_options(**{name: given[name] for name in inspect.signature(check_options).parameters})
    reading = {name: given[name] for name in ("columns", "cache_dir")}
    return partial(_fitted, options=checked, init=given["init"], reading=reading)


def _tasks(datasets: Any, groups: Any, about: dict[str, Any]) -> list[_Task]:
    if groups is not None:
        return [_Task(f"group {name!r}", X, own) for name, X, own in parted_by_group(datasets, groups, about)]
    if isinstance(datasets, np.ndarray) or not isinstance(datasets, Iterable) or isinstance(datasets, str):
        raise TypeError(
            f"datasets must be a sequence of data sets; got {reprlib.repr(datasets)}. Pass a list, or one "
            "array with the rows of all of them and groups=."
        )
    if isinstance(datasets, Mapping):
        raise TypeError("datasets must be a sequence; got a mapping. Pass list(datasets.values()).")
    sets = list(datasets)
    each = {name: _of_each(name, values, len(sets)) for name, values in about.items()}
    return [
        _Task(f"data set {i}", X, {name: values[i] for name, values in each.items()})
        for i, X in enumerate(sets)
    ]


def _of_each(name: str, values: Any, count: int) -> list[Any]:
    named = isinstance(values, str)  # the column that has them in each data set
    if values is None or named or (name == "noise" and _is_one_noise(values)):
        return [values] * count
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence with one array for each data set; got {values!r}.")
    each: list[Any] = list(values)
    if len(each) != count:
        raise ValueError(
            f"{name} must have one array for each of the {count} data sets, or be None; got {len(each)}."
        )
    return each


def _is_one_noise(noise: Any) -> bool:
    """Return whether this is the noise of all data sets: an array, variances, or names of columns."""
    return isinstance(noise, np.ndarray) or all(isinstance(entry, (str, int, float)) for entry in noise)


def _generators(rng: Any, count: int) -> list[Any]:
    """Return the source of randomness of each fit. The same seed serves all."""
    generator = check_rng(rng)
    if rng is None or isinstance(rng, (np.random.Generator, np.random.RandomState)):
        return list(generator.spawn(count))
    return [rng] * count


def _fitted(
    task: _Task,
    rng: Any,
    unwanted: Callable[[], bool] | None = None,
    *,
    options: Options[Any],
    init: Any,
    reading: dict[str, Any],
) -> _Fitted:
    about = {**task.about, **reading, "tried": task.tried}
    with collected_warnings() as warnings:
        try:
            own = options._replace(rng=check_seed(rng), unwanted=unwanted)
            return _Fitted(fit_by(own, init, task.X, n_threads=1, asks=True, **about), None, warnings)
        except Exception as error:
            return _Fitted(None, error, warnings)


def _fits(
    one: partial[_Fitted], tasks: list[_Task], generators: list[Any], threads: int, k: int
) -> Generator[_Fitted, None, None]:
    """Yield the fits in order. If the caller stops early, those that have begun end after an iteration."""
    blocks = _blocks(one, tasks, threads)
    in_blocks = {i for block in blocks for i in block}
    parts = sorted([*blocks, *([i] for i in range(len(tasks)) if i not in in_blocks)])
    ended, made = Event(), dict[int, _Fitted]()

    def fitted(part: list[int]) -> dict[int, _Fitted]:
        whole = part[0] in in_blocks
        found = _whole(one, tasks, generators, part) if whole else {}
        for i in part:
            if i not in found and not ended.is_set():
                found[i] = one(tasks[i]._replace(tried=whole), generators[i], ended.is_set)
        return found

    sizes = [np.prod(np.shape(task.X)) if hasattr(task.X, "shape") else np.inf for task in tasks]
    if not blocks and sizes and np.median(sizes) * k < _WORTH_THREADS:
        threads = 1
    results = _in_threads(fitted, parts, threads, ended)
    for i in range(len(tasks)):
        while i not in made:
            made |= next(results)
        yield made.pop(i)


def _blocks(one: partial[_Fitted], tasks: list[_Task], threads: int) -> list[list[int]]:
    """Return the numbers of the data sets that calls of one kernel fit as a whole."""
    options, alike = one.keywords["options"], dict[tuple[int, ...], list[int]]()
    if not are_whole(options, one.keywords["init"]) or one.keywords["reading"]["columns"] is not None:
        return []
    for i, (X, about) in enumerate((task.X, task.about) for task in tasks):
        bare = all(value is None for value in about.values())
        if type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2 and bare:
            alike.setdefault(X.shape, []).append(i)
    blocks = list[list[int]]()
    for (n, d), group in alike.items():
        if suits(options.family, n, d, options.k):
            size = min(_BLOCK, -(-len(group) // (_CALLS * threads)))
            blocks += [group[start : start + size] for start in range(0, len(group), size)]
    return blocks


def _whole(
    one: partial[_Fitted], tasks: list[_Task], generators: list[Any], block: list[int]
) -> dict[int, _Fitted]:
    """Return the fits that one kernel makes as a whole, by the number of the data set."""
    began = time.perf_counter()
    same = all(isinstance(generators[i], (int, np.integer)) for i in block)
    next_ones = [following(check_seed(generators[i])) for i in (block[:1] if same else block)]
    seeds = [seed for seed in next_ones if seed is not None]
    if len(seeds) < len(next_ones):
        return {}
    X = np.array([tasks[i].X for i in block])
    models = whole_models(X, one.keywords["options"], seeds, began)
    return {i: _Fitted(model, None, []) for i, model in zip(block, models, strict=True) if model is not None}


def _in_threads(
    call: Callable[[T], R], items: Sequence[T], threads: int, ended: Event
) -> Generator[R, None, None]:
    """Yield the results of calls in order. If the caller stops early, `ended` is set, and no more begin."""
    workers = min(threads, len(items))
    if workers < 2:
        yield from map(call, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        futures = deque(pool.submit(call, item) for item in items)
        try:
            while futures:
                yield futures.popleft().result()
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)


def _warn(names: list[str], found: list[_Fitted]) -> None:
    """Give one warning for each cause."""
    causes: dict[WarningCause, list[int]] = {}
    for i, fitted in enumerate(found):
        for warning in fitted.warnings:
            causes.setdefault(warning.cause, []).append(i)
    for cause, which in causes.items():
        first = next(w for w in found[which[0]].warnings if w.cause is cause)
        count = len(dict.fromkeys(which))
        warn(
            cause,
            f"In {count} of {len(found)} data sets, first in {names[which[0]]}. {first.details}".strip(),
        )

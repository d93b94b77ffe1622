"""The race of starts: EM on a sample from each of many labellings. Those that fall behind are dropped early.

The likelihood decides, not k-means.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from fastem._em.loop import Limits, Run, StoppingRule, Watch, ascend, gain_below, gain_to_come_below
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.starts import given_start, softened
from fastem._families.base import Ascents
from fastem._families.steps import Maximised, P, Rule
from fastem._report import FitStatus
from fastem._typing import Array, FloatArray, Rows

# For each heat: iterations, and how many go on: a number, or one in so many if that is more.
Heats = tuple[tuple[int, int, int], ...]

# The tolerance is small, because EM often crosses plateaus of small gains.
_LIMITS = Limits(gain_below(1e-6), 1e-4, 0)
# At its maximum the mean log-likelihood of a sample of m rows is higher than at the maximum for all rows by
# p / 2m, with p parameters (Wilks 1938). What is less than this part of it says nothing about all rows, which
# follow: such iterations only fit the sample closer.
_NOISE = 0.002
# The ascent of the winner may be so many times as long as the first heat, unless `refined` says otherwise.
_REFINED = 10
# A run is given up where this many times its last gain, in each iteration left, would not be enough.
_HOPEFUL = 2.0
# For starts that take long to leave a saddle, where gains are small and grow.
_LONG = Limits(gain_to_come_below(1e-6), 1e-4, 300)
# A run that ends this near to a better one, in mean log-likelihood, has found the same.
_ALIKE = 1e-5
# Ascents by one kernel. Ranks change late, so that few starts in a long heat find more than many in a short
# one. With four that go on in place of five, 42 of 1,500 fits to 1,000 to 5,000 rows ended lower and 15
# higher than with four heats; with five it is 29 and 21.
ASCENT_HEATS = ((10, 5, 3), (50, 1, 1000))
# These heats take the place of the ones above where a pass over the sample takes long, and there are no
# random starts. Of 752 fits 161 ended lower, and 203 higher, than in a race of single passes from Python. If
# heats have 5, 10 and 50 iterations, and one start in three goes on after the first, it is 213 and 156.
_SHORT_HEATS = ((10, 2, 3), (20, 1, 9), (100, 1, 1000))
# Where many starts are tried for many fits, as by `select`, fewer of them go on. Where a sample has a part of
# the rows, it may prefer another of the best than all rows do. So four are left, of which so many iterations
# on all rows choose one.
_MANY_HEATS = ((10, 8, 4), (10, 4, 12), (20, 2, 24), (40, 1, 1000))
_LEADERS_HEATS = (*_MANY_HEATS[:2], (20, 4, 1000))
_CHOICE = 40
_TOL = 1e-6
_FINEST = float(np.finfo(np.float64).eps)
# The winner goes on with all rows by the kernel, in place of passes, each of which costs Python half a
# millisecond, where they take fewer multiply-adds than this. So many iterations at most.
_WORTH_POLISH = 1 << 22
_REST = 150
# Each row is all but certain of its component where the mean entropy of responsibilities is below this part
# of the least weight.
_DOUBT = 0.2
# The heats of a rough family, and how many labellings each of them leaves, in the same way. Some models of
# mclust find their best optimum from labellings that are ahead early, and some from those ahead late.
ROUGH_HEATS = ((3, 10, 4), (20, 20, 2))


def best_ascent(
    likelihood: Likelihood[P],
    sample: Likelihood[P],
    rows: Rows,
    found: list[Array],
    long: bool,
    many: bool = False,
) -> Maximised[P] | None:
    """Return the end of the best of the ascents on the sample, or None if there is none.

    If there are `many` of them, heats drop more, and if passes are short, a few go on with all rows.
    """
    heats: Heats = ASCENT_HEATS if long else _SHORT_HEATS
    if many:
        heats = _LEADERS_HEATS if is_polished(likelihood, len(rows.X)) else _MANY_HEATS
    ended = raced(sample, rows, found, likelihood.source.n_threads, heats)
    return None if ended is None else polished(likelihood, *ended, len(rows.X))


def polished(
    likelihood: Likelihood[P],
    ascents: Ascents[P],
    leaders: list[int],
    m: int,
    tol: float = _TOL,
    rest: int = _REST,
) -> Maximised[P] | None:
    """Return where the best ascent on a sample of m rows ends, on all rows if these are few, or None.

    It is the first of the leaders, unless these are few rows, which then choose.

    Where rows are certain of their components, EM ends after two passes in any case. Where one becomes
    singular on all rows, passes with repairs take over. On the sample the ascent makes at most `rest`
    iterations.
    """
    source, best = likelihood.source, leaders[0]
    if is_polished(likelihood, m) and (len(leaders) > 1 or ascents.doubt(best) > _DOUBT):
        rows = source.sample(source.n_samples, np.random.default_rng(0))
        moved, first = ascents.moved(leaders, points_of(likelihood, rows), rows.weights), 0
        if len(leaders) > 1:
            everyone = [*range(len(leaders))]
            moved.go_on(everyone, _CHOICE, tol)
            first = next(iter(_leaders(moved, likelihood, rows, everyone, 1)), 0)
        moved.go_on([first], _REST, tol)
        sound = set(moved.singular(first)) <= set(ascents.singular(leaders[first]))
        if moved.objective(first) is not None and sound:
            return moved.parameters(first)
    ascents.go_on([best], _REST if m == source.n_positive else rest, tol)
    return None if ascents.objective(best) is None else ascents.parameters(best)


def is_polished(likelihood: Likelihood[P], m: int) -> bool:
    """Return whether the best ascent on m rows goes on with all rows by the kernel."""
    source = likelihood.source
    work = source.n_samples * likelihood.k * likelihood.family.multiply_adds(source.n_features)
    return m < source.n_positive and work <= _WORTH_POLISH


def points_of(likelihood: Likelihood[P], rows: Rows) -> FloatArray:
    """Return rows as ascents take them, (d, m)."""
    X = np.asarray(rows.X, dtype=likelihood.source.dtype, order="F")  # see `standardised`
    return np.ascontiguousarray(likelihood.frame.standardise(X).T)


def raced(
    sample: Likelihood[P],
    rows: Rows,
    found: list[Array],
    n_threads: int | None,
    heats: Heats,
) -> tuple[Ascents[P], list[int]] | None:
    """Return the ascents that the kernel of the family makes and the best of them, or None if there are none.

    A heat is the last one if one ascent is left. A pass costs Python fifty times what it costs the kernel of
    a small sample, so one kernel makes it all. Fits to more rows do not use it, since it takes two seconds to
    compile.
    """
    ascents = ascents_of(sample, rows, found, n_threads)
    if ascents is None:
        return None
    chosen = list(range(len(found)))
    for iterations, most, share in heats:
        ascents.go_on(chosen, iterations, _TOL)
        chosen = _leaders(ascents, sample, rows, chosen, max(most, len(found) // share))
        if len(chosen) < 2:
            break
    return (ascents, chosen) if chosen else None


def ascents_of(
    sample: Likelihood[P], rows: Rows, found: list[Array], n_threads: int | None
) -> Ascents[P] | None:
    source, frame = sample.source, sample.frame
    points, weights = points_of(sample, rows), rows.weights
    stored = float(np.finfo(source.dtype).eps)
    rule: Rule[P] = Rule(frame, float(weights.mean()), _FINEST, stored, sample.reg_covar)
    return sample.family.ascents(points, weights, np.array(found), sample.k, rule, n_threads)


def shortlisted(
    sample: Likelihood[P],
    rows: Rows,
    found: list[Array],
    n_threads: int | None,
    heats: Heats = ROUGH_HEATS,
) -> list[Array]:
    """Return the first of the labellings, and those from which ascents of a rough family are ahead at times.

    Where the family has no rough one, these are all, unless there is a prior that the ascents do not know.
    """
    rough = sample.family.rough or (sample.family if sample.prior else None)
    ascents = ascents_of(replace(sample, family=rough), rows, found, n_threads) if rough else None
    if ascents is None:
        return found
    everyone, kept = list(range(len(found))), [0]
    for iterations, most, share in heats:
        ascents.go_on(everyone, iterations, _TOL)
        kept += _leaders(ascents, sample, rows, everyone, max(most, len(found) // share))
    return [found[start] for start in dict.fromkeys(kept)]


def _leaders(
    ascents: Ascents[P], sample: Likelihood[P], rows: Rows, chosen: list[int], most: int
) -> list[int]:
    """Return the best of the chosen starts, which must have ended apart. Singular ones come last.

    Those on a mass are not meant by that. Of those that ended alike the first one counts, since which of
    them is ahead by a rounding error says nothing.
    """
    reached = {start: value for start in chosen if (value := ascents.objective(start)) is not None}
    alike: list[int] = []
    least = np.inf
    for start in sorted(reached, key=reached.__getitem__, reverse=True):
        if reached[start] < least:
            least = reached[start] - _ALIKE
            alike.append(start)
        else:
            alike[-1] = min(alike[-1], start)
    sound: list[int] = []
    unsound: list[int] = []
    for start in alike:
        singular = ascents.singular(start)
        if not singular or set(singular) <= set(_masses_at(ascents, sample, rows, start)):
            sound.append(start)
            if len(sound) == most:
                return sound
        else:
            unsound.append(start)
    return [*sound, *unsound][:most]


def _masses_at(ascents: Ascents[P], sample: Likelihood[P], rows: Rows, start: int) -> list[int]:
    ended = ascents.parameters(start)
    return masses_of(sample, rows, ended.parameters, ended.floored)


def rule_of_sample(likelihood: Likelihood[P], m: int) -> StoppingRule:
    """Return when runs on a sample of m rows end."""
    source = likelihood.source
    if m == source.n_positive:
        return _LIMITS.converged
    n_parameters = likelihood.family.n_parameters(likelihood.k, source.n_features)
    return gain_to_come_below(max(_TOL, _NOISE * n_parameters / (2 * m)))


def best_run(
    sample: Likelihood[P],
    rows: Rows,
    starts: Sequence[Callable[[], Maximised[P]]],
    heat: int,
    rule: StoppingRule,
    late: Sequence[Callable[[], Maximised[P]]] = (),
    refined: int = _REFINED,
) -> Maximised[P]:
    """Return the parameters of the best run. After each heat the best third goes on, twice as long.

    Runs end early by `rule`, see `rule_of_sample`. A winner may lose its rank in the end, because a component
    becomes singular. Then the best of the runs that were dropped goes on, if it ranks higher. The winner is
    compared with the `late` starts, for which no heat is long enough, after long runs of all of them.
    """
    going, dropped, best = [*starts], list[Run[P]](), None
    limits = replace(_LIMITS, converged=rule, max_iter=heat)
    while len(going) > 1:
        runs, most = list[Run[P]](), -(-len(going) // 3)
        for start in going:
            behind = _hopeless(runs[most - 1], limits) if len(runs) >= most else _never
            runs.append(_attempt(sample, rows, start, limits, behind))
            runs.sort(key=_rank, reverse=True)
        best = runs[0]
        if best.failure is not None and not best.history:
            raise best.failure
        leaders = [best]
        for run in runs[1:most]:
            if run.status == FitStatus.CONVERGED or not run.history:
                continue  # it cannot become the best any more
            if leaders[-1].objective - run.objective > _ALIKE * len(rows.X):
                leaders.append(run)
        dropped += [run for run in runs if run not in leaders]
        going = [_going_on(run) for run in leaders]
        limits = replace(limits, max_iter=2 * limits.max_iter)
    limits = replace(limits, max_iter=refined * heat)
    if best is None or not (refined == 0 or best.status == FitStatus.CONVERGED):
        best = _attempt(sample, rows, going[0], limits)
    while dropped and max(map(_rank, dropped)) > best.rank:
        following = max(dropped, key=_rank)
        dropped.remove(following)
        best = max(best, _attempt(sample, rows, _going_on(following), limits), key=_rank)
    if late:
        last: list[Callable[[], Maximised[P]]] = [*late]
        if best.history:
            last.append(_going_on(best))
        best = max((_attempt(sample, rows, start, _LONG) for start in last), key=_rank)
    if best.failure is not None and not best.history:
        raise best.failure
    return Maximised(best.parameters, [], [], best.singular)


def labelled_start(sample: Likelihood[P], labels: Array) -> Maximised[P]:
    return softened(sample, given_start(sample, labels))


def _rank(run: Run[P]) -> tuple[bool, bool, bool, float]:
    return run.rank


def _going_on(run: Run[P]) -> partial[Maximised[P]]:
    return partial(Maximised, run.parameters, [], [], run.singular)


def _hopeless(last: Run[P], limits: Limits) -> Watch[P]:
    """Return what tells that a run will not rank before the last of those that go on."""

    def behind(iteration: int, run: Run[P]) -> bool:
        if iteration == 0 or last.singular or last.failure is not None:
            return False
        gain = run.history[-1] - run.history[-2]
        return run.objective + _HOPEFUL * gain * (limits.max_iter - iteration) < last.objective

    return behind


def _never(iteration: int, run: Run[P]) -> bool:
    return False


def _attempt(
    sample: Likelihood[P],
    rows: Rows,
    start: Callable[[], Maximised[P]],
    limits: Limits,
    behind: Watch[P] = _never,
) -> Run[P]:
    """Ascend. Some labellings are too narrow for a user's distribution, but others may not be."""
    try:
        run = ascend(sample, start, limits, k=sample.k, watch=behind)
    except ValueError as error:
        run = Run(FitStatus.FAILED)
        run.failure = error
    if run.singular:
        run.masses = masses_of(sample, rows, run.parameters, run.singular)
    return run

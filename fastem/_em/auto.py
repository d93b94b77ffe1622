"""Initial parameters by name, and the start "auto", which costs in proportion to a pass over all rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from fastem._em.clear import clear_start, quick_labels
from fastem._em.geometries import geometries_of
from fastem._em.labellings import (
    MOST_RANDOM,
    are_clear,
    distinct,
    first_of_kinds,
    kinds_of,
    labellings,
    most_random,
    nearest_known,
    random_labels,
    weights_of_dense,
)
from fastem._em.objective import Likelihood
from fastem._em.race import (
    ROUGH_HEATS,
    best_ascent,
    best_run,
    labelled_start,
    rule_of_sample,
    shortlisted,
)
from fastem._em.starts import (
    complete_rows,
    matched,
    nearest_start,
    random_start,
    sample_size,
    sampled_start,
    softened,
)
from fastem._em.whole import whole_start
from fastem._families.steps import Maximised, P
from fastem._sources.arrays import ArraySource
from fastem._typing import Array, FloatArray, Rows

# Rows of the sample: so many for each component, and for each free parameter, within these bounds. There are
# up to twice as many if that is a small part of all rows.
_PER_COMPONENT = 128
_PER_PARAMETER = 4
_LEAST_ROWS, _MOST_ROWS = 2048, 16384
_SMALL_PART = 64
_MOST_NUMBERS = 1 << 19  # of the sample (4 MB), of which there are several copies
# For up to so many components plain k-means, by which the start looks whether clusters are clear, tells as
# much as k-means that breathes: see docs/explanation/algorithm.md. With more it often merges some.
_FEW_CLUSTERS = 7
# Models of mclust whose constraints the kernel of ascents does not know have this many times as many random
# starts. So have restarts of all that this kernel makes. Of ten cells of 2 to 4 components, on Old Faithful
# and diabetes, a fit reached the best optimum known for 75 of 200 seeds with 48 of them, and for 197 with 128
# or more. With twice as many, 8 of 8 fits of VII to diabetes (8 components) were as good as those of mclust,
# where 4 were before.
_CONSTRAINED, _AGAIN = 8, 2
# If X has more rows, and no clear clusters, the first heat of the race may cost so many passes over all of
# them. What Python adds to an iteration on the sample costs about as much as these multiply-adds. It may be
# more passes, if these are short. Each start has this many iterations at least and at most.
_PASSES, _SHORT_PASSES = 8, 60
_OVERHEAD = 1 << 24
_HEAT, _LONGEST_HEAT = 5, 20
# Few rows with gaps have longer heats, since no kernel makes whole ascents on them. Of 60 fits (2 to 8
# features and components) with 10 % and 30 % missing numbers, 57 and 55 ended within 1 of the log-likelihood
# that EM reaches from the true clusters, with 5 iterations; 58 and 56 with 15 or 30; and 59 without gaps.
_GAPPED_HEAT = 15
# Whole ascents on rows whose gaps are filled, or without their noise, have so many iterations, and leave so
# many labellings. On airquality (k=2, 3) 20 and 13 of 20 fits reached the best optimum with 12 or 14 left,
# 16 and 7 with 6 after 60 iterations, which took half as long.
_BLIND_HEATS = ((20, 12, 1000),)
# There are at least so many random starts, whose heats are long, where k-means does not see clusters.
_BLIND = 8
# On a sample of fewer rows for each free parameter, the best of many random starts is one that fits noise.
_ROWS_PER_PARAMETER = 16
# Geometries are made anew from the rows in dense places alone, where these have a smaller part than this of
# the variance of a feature.
_DISTORTED = 0.1
# Starts from random responsibilities, for the families that try them.
_RANDOM = 3
# A pass of fewer multiply-adds ends before another thread wakes up, if the machine is busy.
_WORTH_THREADS = 1 << 22


def named_start(likelihood: Likelihood[P], init: str, rng: np.random.Generator, restart: int) -> Maximised[P]:
    """Return the initial parameters that users call `init`."""
    if init == "auto":
        return _best_of_many(likelihood, rng, restart)
    return sampled_start(likelihood, init, rng, restart)


def partial_start(
    likelihood: Likelihood[P], given: Mapping[str, FloatArray], rng: np.random.Generator
) -> Maximised[P]:
    """Return some parameters as they are given, by name in user units, and estimate the others.

    Rows belong to the nearest centre if centres are given. Else the others are those of the start "auto".
    """
    family, frame = likelihood.family, likelihood.frame
    if family.location is not None and family.location in given:
        estimated = nearest_start(likelihood, given[family.location], rng)
    else:
        estimated = _best_of_many(likelihood, rng)
    user = family.to_user(estimated.parameters, frame)
    values = {name: given.get(name, value) for name, value in family.values(user).items()}
    weights = given.get("weights", user.weights)
    user = family.check(weights, values, likelihood.source.n_features)
    return Maximised(family.from_user(user, frame), [], [], estimated.floored)


def _best_of_many(likelihood: Likelihood[P], rng: np.random.Generator, restart: int = 0) -> Maximised[P]:
    start, to_masses = whole_start(likelihood, rng) if restart == 0 else (None, [])
    if start is not None:
        return start
    drawn = draw(likelihood, rows_to_draw(likelihood), rng)
    source, k = likelihood.source, likelihood.k
    seen: list[Array] = []
    if restart == 0 and not to_masses and _may_be_clear(likelihood, drawn):
        seen = quick_labels(drawn.geometries, drawn.weights, k, rng, source.n_threads)
    if seen:
        kinds = kinds_of(seen, k)
        ended = clear_start(likelihood, *drawn[:3], seen, kinds, rng)
        if ended is not None:
            return softened(likelihood, ended)
        seen = first_of_kinds(seen, kinds) if k <= _FEW_CLUSTERS else []
    found = labellings(drawn.geometries, drawn.weights, k, rng, source.n_threads, seen)
    clear = source.n_positive > _MOST_ROWS and are_clear(found[: len(drawn.geometries) - 1], k)
    if not seen:
        found = distinct(found, k)
    found += to_masses
    bare: list[Array] = []
    if likelihood.family.box is not None:
        dense = weights_of_dense(drawn.geometries[0], drawn.weights, rng)
        others = labellings(drawn.geometries, dense, k, rng, source.n_threads)
        found = distinct(found + others, k)
        variances = np.square(drawn.geometries[0]) @ dense / dense.sum()
        if variances.min() < _DISTORTED:
            again = _seen(likelihood, drawn.rows._replace(weight=dense))
            dense = weights_of_dense(again.geometries[0], drawn.weights, rng)
            again = _seen(likelihood, drawn.rows._replace(weight=dense))
            others = labellings(again.geometries, dense, k, rng, source.n_threads)
        bare = [np.where(dense > 0, labels, k) for labels in distinct(others, k)]
    thorough = _AGAIN if restart > 0 and likelihood.family.has_ascents else 1
    if likelihood.family.rough is not None and _is_whole(likelihood, drawn):
        thorough = _CONSTRAINED
    return best_start(likelihood, drawn, found, clear, rng, thorough, bare)


def _may_be_clear(likelihood: Likelihood[P], drawn: "Drawn") -> bool:
    """Return whether rows are few, and whole ascents know all that there is."""
    if likelihood.k == 1 or likelihood.source.n_positive > _MOST_ROWS or not likelihood.family.has_ascents:
        return False
    return likelihood.prior is None and _is_whole(likelihood, drawn)


def _is_whole(likelihood: Likelihood[P], drawn: "Drawn") -> bool:
    """Return whether whole ascents know all that there is: complete rows, and nothing beside them."""
    complete = drawn.filled is drawn.rows and likelihood.family.plain is likelihood.family
    return complete and _plain(likelihood, drawn.rows)


def _plain(likelihood: Likelihood[P], rows: Rows) -> bool:
    known = rows.labels is not None and bool((rows.labels >= 0).any())
    return not (known or likelihood.hard or likelihood.fixed)


class Drawn(NamedTuple):
    """A sample of the rows, and how k-means sees it."""

    rows: Rows
    geometries: list[FloatArray]
    weights: FloatArray
    filled: Rows  # the rows with others' numbers in place of those that are missing


def draw(likelihood: Likelihood[P], size: int, rng: np.random.Generator) -> Drawn:
    return _seen(likelihood, likelihood.source.sample(size, rng))


def _seen(likelihood: Likelihood[P], rows: Rows) -> Drawn:
    filled = complete_rows(likelihood, rows)
    geometries = geometries_of(
        filled, likelihood.source.dtype, likelihood.family, likelihood.frame, likelihood.k
    )
    return Drawn(rows, *geometries, filled)


def best_start(
    likelihood: Likelihood[P],
    drawn: Drawn,
    found: list[Array],
    clear: bool,
    rng: np.random.Generator,
    thorough: int = 1,
    bare: Sequence[Array] = (),
    compiled: bool = False,
) -> Maximised[P]:
    """Return where EM on the sample ends from the best of the labels `found` and of random ones.

    `clear` says whether k-means sees clear clusters. If X has few rows, there are `thorough` times as many
    random ones. With 0 there are none in any case. `compiled` says that there are enough fits to compile the
    kernel of ascents for, also if X has many rows.

    In the labels `bare` rows in sparse places have the label k, and so are noise. A row far from all others
    makes the box so large that Gaussians, where they begin with nearly all rows, take the sparse ones before
    the noise can. Starts without these are ahead at first, and so have no part in the race, but are compared
    with its winner.
    """
    (rows, geometries, weights, filled), k = drawn, likelihood.k
    n_threads = likelihood.source.n_threads
    n, m = likelihood.source.n_positive, len(rows.X)
    work = k * likelihood.family.multiply_adds(likelihood.source.n_features)
    alone = clear or m < _ROWS_PER_PARAMETER * likelihood.family.n_parameters(k, likelihood.source.n_features)
    extra, heat = _effort(n, m, work, len(found), alone) if k > 1 else (0, _HEAT)
    if k > 1 and not likelihood.family.shows_clusters:
        extra, heat = max(extra, _BLIND), _LONGEST_HEAT
    small = n <= _MOST_ROWS
    few = small and extra > 0
    if few and filled is not rows:
        heat = _GAPPED_HEAT
    # Kernels of whole ascents know no more than complete rows and weights. Where there is more, they still
    # tell which labellings are worth a try.
    more = filled is not rows or likelihood.family.plain is not likelihood.family
    if thorough == 0:
        extra = 0
    elif few:
        extra *= thorough
    found = [*found, *random_labels(geometries, weights, k, rng, extra, n_threads)]
    partly_known = rows.labels is not None and bool((rows.labels >= 0).any())
    if rows.labels is not None and partly_known:
        found, bare = ([matched(labels, rows, k) for labels in group] for group in (found, bare))
        found += [nearest_known(points, weights, rows.labels, k) for points in geometries[:-1]]
    threads = n_threads if m * work > _WORTH_THREADS else 1
    sample = whole = replace(likelihood, source=ArraySource(rows, threads))
    if filled is not rows:
        whole = replace(likelihood, source=ArraySource(filled, threads))
    plain = not (partly_known or likelihood.hard or likelihood.fixed)
    ascended = None
    if (small or compiled) and plain and not more and likelihood.prior is None:
        ascended = best_ascent(likelihood, sample, rows, found, few or compiled, compiled)
    if ascended is None:
        if few and plain:
            found = shortlisted(whole, filled, found, n_threads, _BLIND_HEATS if more else ROUGH_HEATS)
        starts = [partial(labelled_start, whole, labels) for labels in found]
        late = [*(partial(labelled_start, whole, labels) for labels in bare)]
        rule = rule_of_sample(likelihood, m)
        ascended = best_run(sample, rows, starts, heat, rule, [*late, *_late_starts(whole, filled, rng)])
    return softened(likelihood, ascended)


def _late_starts(
    sample: Likelihood[P], rows: Rows, rng: np.random.Generator
) -> list[Callable[[], Maximised[P]]]:
    """Return starts from random responsibilities, if they are worth their time for this family."""
    count = _RANDOM if sample.family.tries_random and sample.k > 1 else 0
    return [partial(random_start, sample, rows, int(seed)) for seed in rng.integers(2**63, size=count)]


def _effort(n: int, m: int, work: int, starts: int, alone: bool) -> tuple[int, int]:
    """Return how many random starts there are, and how long the first heat is.

    There are n rows, m of them in the sample, and a pass takes `work` multiply-adds a row. `alone` says that
    there shall be no random starts beside the others, unless there are few rows.
    """
    if n <= _MOST_ROWS:
        return most_random(m * work), _HEAT
    if alone:
        return 0, _HEAT
    iterations = min(_PASSES * n // m, _SHORT_PASSES * n * work // _OVERHEAD)
    heat = min(max(_HEAT, iterations // (starts + MOST_RANDOM)), _LONGEST_HEAT)
    return min(max(0, iterations // heat - starts), MOST_RANDOM), heat


def rows_to_draw(likelihood: Likelihood[P], least: int = _LEAST_ROWS, part: float = 0.5) -> int:
    """Return how many rows the sample has: at least so many, unless that is more than this part of all."""
    n, k = likelihood.source.n_positive, likelihood.k
    n_parameters = likelihood.family.n_parameters(k, likelihood.source.n_features)
    wanted = max(k * _PER_COMPONENT, _PER_PARAMETER * n_parameters, least)
    rows = max(wanted, min(n // _SMALL_PART, 2 * wanted)) if wanted < part * n else n
    return sample_size(likelihood, min(rows, _MOST_ROWS, _MOST_NUMBERS // likelihood.source.n_features))

"""t distributions with diagonal or spherical scales, where numbers may be missing.

The features of a row share the size u. A row that lacks m features has u = (nu + d - m) / (nu + q), with q
over those that are observed. Tables have what depends on m and the component alone. They begin with
zeros, for m = 0.
"""

from fastem._kernels import _diag_gaps, _student
from fastem._kernels._gaps import accumulate_observed, add_changes, first_gap, gap_counts, gap_rows, has_gaps
from fastem._kernels._jit import kernel
from fastem._kernels._layout import first_more, first_share
from fastem._kernels._params import DiagGapsSums
from fastem._kernels._simd import lanes, load, splat, store, sum4, take, tile_rows


@kernel
def more_rows(params):
    return gap_rows(params.shift.shape[0], params.log2_weights.shape[0])


@kernel
def load_tile(params, X, start, size, space):
    """OUT the points; the rows of `_gaps` and of `_student`; how many features each point lacks"""
    d, K = X.shape[1], params.log2_weights.shape[0]
    _student.load_tile(params.student, X, start, size, space)
    rows = d if has_gaps(space, d, K) else 0
    gaps, counts = first_gap(d, K), gap_counts(d, K)
    for b in range(0, tile_rows(space), lanes(space)):
        count = splat(space.dtype.type(0))
        for j in range(rows):
            count = count + load(space, gaps + j, b)
        store(space, counts, b, count)


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities"""
    d, K = params.shift.shape[0], params.log2_weights.shape[0]
    _student.log2_prob_tile(params.student, space)
    if not has_gaps(space, d, K):
        return
    add_changes(params.changes, space)
    shares, logarithms, counts = first_share(d), first_more(d, K), gap_counts(d, K)
    half = space.dtype.type(0.5)
    for k in range(K):
        for b in range(0, tile_rows(space), lanes(space)):
            more = half * load(space, counts, b) * load(space, logarithms + k, b)
            more = more + take(params.constants, 0, k, space, counts, b)
            store(space, shares + k, b, load(space, shares + k, b) + more)


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. `_dispatch.accumulate_tile` describes the arguments.

    The shares become r u, and tile_weights their sums.
    """
    factors, slopes = params.student.factors, params.slopes
    weights, sums_of_logarithms = sums.weights, sums.logarithms
    K, d, step = factors.shape[0], params.shift.shape[0], lanes(space)
    shares, logarithms, counts = first_share(d), first_more(d, K), gap_counts(d, K)
    zero = splat(space.dtype.type(0))
    accumulate_observed(space, tile_weights, sums.observed, slot)
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        weights[slot, k] += tile_weights[k]
        f, s = factors[k], slopes[k]
        u = total = zero
        for b in range(0, tile_rows(space), step):
            r = load(space, shares + k, b)
            taken = take(params.logarithms, 0, k, space, counts, b)
            total = total + r * (load(space, logarithms + k, b) - taken)
            r = r * ((f - s * load(space, counts, b)) * load(space, logarithms + K + k, b))
            store(space, shares + k, b, r)
            u = u + r
        t0, t1, _, _ = sum4(u, total, zero, zero)
        tile_weights[k] = t0
        sums_of_logarithms[slot, k] += t1
    moments = DiagGapsSums(sums.scaled_weights, sums.first, sums.second, sums.pivots, sums.log2_likelihood)
    gaussian = params.student.gaussian
    _diag_gaps.accumulate_tile(gaussian, X, start, space, tile_weights, lists, last, moments, slot)

"""Multivariate t distributions, by the kernels of Gaussians with the same layout of the scales.

load    q for each pair, as Gaussians do; then log2(1 + a q) and 1 / (1 + a q): a division and a logarithm
E-step  log2 p = log2_weight - shape log2(1 + a q)                    1 multiply-add per pair
M-step  N += r,  sum of r log2(1 + a q),  r becomes r u with u = factor / (1 + a q): 4 operations per pair;
        then what Gaussians sum, with r u in place of r

u is the expectation of the size of the Gaussian that a point comes from, given the point. It is computed when
a tile is loaded, so that there is one also where the responsibilities are given. The logarithm gives the
density, and its sum tells the degrees of freedom.
"""

from fastem._kernels import _dispatch
from fastem._kernels._jit import kernel, spliced_kernel
from fastem._kernels._layout import first_more, first_share
from fastem._kernels._math import log2_reciprocal
from fastem._kernels._params import Sums
from fastem._kernels._simd import lanes, load, minimum, splat, store, sum4, tile_rows


@kernel
def more_rows(params):
    """The logarithm and the reciprocal of 1 + a q for each component."""
    return 2 * params.log2_weights.shape[0]


@spliced_kernel
def largest(space):
    """Return the largest number whose logarithm we can compute."""
    return space.dtype.type(1e37 if space.itemsize == 4 else 1e300)


@kernel
def load_tile(params, X, start, size, space):
    """OUT the points; the rows of logarithms and of reciprocals of 1 + a q"""
    slopes = params.slopes
    K, d, step = slopes.shape[0], X.shape[1], lanes(space)
    shares, logarithms = first_share(d), first_more(d, K)
    reciprocals = logarithms + K
    _dispatch.load_tile(params.gaussian, X, start, size, space)
    _dispatch.log2_prob_tile(params.gaussian, space)
    one, most = splat(space.dtype.type(1)), splat(largest(space))
    for k in range(K):
        a = slopes[k]
        for b in range(0, tile_rows(space), 2 * step):
            s0 = minimum(one - a * load(space, shares + k, b), most)
            s1 = minimum(one - a * load(space, shares + k, b + step), most)
            logarithm0, reciprocal0 = log2_reciprocal(s0)
            logarithm1, reciprocal1 = log2_reciprocal(s1)
            store(space, logarithms + k, b, logarithm0)
            store(space, logarithms + k, b + step, logarithm1)
            store(space, reciprocals + k, b, reciprocal0)
            store(space, reciprocals + k, b + step, reciprocal1)


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities"""
    log2_weights, shapes = params.log2_weights, params.shapes
    K, d, step = shapes.shape[0], params.shift.shape[0], lanes(space)
    shares, logarithms = first_share(d), first_more(d, K)
    for k in range(K):
        w, h = splat(log2_weights[k]), shapes[k]
        for b in range(0, tile_rows(space), 2 * step):
            store(space, shares + k, b, w - h * load(space, logarithms + k, b))
            store(space, shares + k, b + step, w - h * load(space, logarithms + k, b + step))


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. `_dispatch.accumulate_tile` describes the arguments.

    The shares become r u, and tile_weights their sums.
    """
    factors, weights, sums_of_logarithms = params.factors, sums.weights, sums.logarithms
    K, d, step = factors.shape[0], params.shift.shape[0], lanes(space)
    shares, logarithms = first_share(d), first_more(d, K)
    reciprocals = logarithms + K
    zero = splat(space.dtype.type(0))
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        weights[slot, k] += tile_weights[k]
        f = factors[k]
        u0 = u1 = l0 = l1 = zero
        for b in range(0, tile_rows(space), 2 * step):
            r0, r1 = load(space, shares + k, b), load(space, shares + k, b + step)
            l0 = l0 + r0 * load(space, logarithms + k, b)
            l1 = l1 + r1 * load(space, logarithms + k, b + step)
            r0 = r0 * (f * load(space, reciprocals + k, b))
            r1 = r1 * (f * load(space, reciprocals + k, b + step))
            store(space, shares + k, b, r0)
            store(space, shares + k, b + step, r1)
            u0, u1 = u0 + r0, u1 + r1
        t0, t1, t2, t3 = sum4(u0, u1, l0, l1)
        tile_weights[k] = t0 + t1
        sums_of_logarithms[slot, k] += t2 + t3
    gaussian = Sums(sums.scaled_weights, sums.first, sums.second, sums.pivots, sums.log2_likelihood)
    _dispatch.accumulate_tile(params.gaussian, X, start, space, tile_weights, lists, last, gaussian, slot)

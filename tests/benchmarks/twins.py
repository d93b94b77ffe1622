"""Twins of the kernels in broadcasting NumPy, as one would usually write them.

`naive.py` has loops that a reader can check by eye. These functions are as fast as plain NumPy gets without
another algorithm. As in the kernels, points are (d, n) in standard coordinates, and log-densities are in
base 2.
"""

import numpy as np


def load(params, X):
    """Rows in standard coordinates, (d, n). For tied they are also whitened."""
    points = ((X - params.shift) * params.inverse_scale).T
    if type(params).__name__ == "TiedParams":
        points = params.whiteners[0] @ points
    return np.ascontiguousarray(points)


def log2_prob(params, points):
    """log2 of weight times density, (K, n), without the constant that the kernels leave out."""
    kind = type(params).__name__
    if kind == "LinearParams":
        return params.log2_weights[:, None] + params.etas[0] @ points
    z = points[None] - params.means[:, :, None]
    if kind in ("FullParams", "ScreenedFullParams"):
        y = params.whiteners @ z
    elif kind == "DiagParams":
        y = params.whiteners[:, :, None] * z
    elif kind == "SphericalParams":
        y = np.sqrt(params.precisions)[:, None, None] * z
    else:
        y = z
    return params.log2_weights[:, None] - np.einsum("kdn,kdn->kn", y, y)


def normalised(log2_probs):
    """Responsibilities (K, n) and the total log2-likelihood."""
    peaks = log2_probs.max(axis=0)
    r = np.exp2(log2_probs - peaks)
    totals = r.sum(axis=0)
    return r / totals, (peaks + np.log2(totals)).sum()


def accumulate(params, points, r):
    """Weights, first moments and scatter about the means of the model, as in textbooks."""
    kind = type(params).__name__
    if kind == "LinearParams":
        return r.sum(axis=1), r @ points.T
    z = points[None] - params.means[:, :, None]
    weights, first = r.sum(axis=1), np.einsum("kn,kdn->kd", r, z)
    weighted = r[:, None, :] * z
    if kind in ("FullParams", "ScreenedFullParams"):
        return weights, first, weighted @ z.transpose(0, 2, 1)
    if kind == "TiedParams":
        colour = np.linalg.inv(params.whiteners[0])
        scatter = (weighted @ z.transpose(0, 2, 1)).sum(axis=0)
        return weights, first @ colour.T, (colour @ scatter @ colour.T)[None]
    scatter = (weighted * z).sum(axis=2)
    return weights, first, scatter if kind == "DiagParams" else scatter.sum(axis=1)


def moments(X):
    return X.mean(axis=0), X.var(axis=0)


def kmeans_plus_plus(points, weights, uniforms):
    """Indices of the seeds of greedy k-means++, for points (d, m)."""
    closest = np.ones(points.shape[1])
    seeds = []
    for k, row in enumerate(uniforms):
        cumulative = np.cumsum(weights * closest)
        drawn = np.searchsorted(cumulative, row[: 1 if k == 0 else None] * cumulative[-1], side="right")
        distances = np.square(points[:, None, :] - points[:, drawn, None]).sum(axis=0)
        if k > 0:
            distances = np.minimum(distances, closest)
        best = (distances @ weights).argmin()
        seeds.append(drawn[best])
        closest = distances[best]
    return np.array(seeds)


def lloyd(points, weights, centres, max_iter):
    """Labels and centres after at most `max_iter` iterations. No centre may lose its points."""
    labels = _nearest(points, centres)
    for _ in range(max_iter):
        shares = weights * (labels == np.arange(len(centres))[:, None])
        centres = shares @ points.T / shares.sum(axis=1)[:, None]
        before, labels = labels, _nearest(points, centres)
        if (labels == before).all():
            break
    return labels, centres


def _nearest(points, centres):
    return np.square(points - centres[:, :, None]).sum(axis=1).argmin(axis=0)

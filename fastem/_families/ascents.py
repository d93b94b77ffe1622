"""Rough ascents of Gaussian mixtures on small samples, by the kernel that makes them as a whole."""

from copy import copy
from typing import Literal

import numpy as np

from fastem._families.base import Ascents
from fastem._families.layouts import GaussianParameters, Layout
from fastem._families.matrices import diagonals, gram
from fastem._families.normalise import LN2
from fastem._families.reseed import LEAST_ROWS
from fastem._families.rounding import DOMINATED, RELATIVE_FLOOR, ROUNDING, noise
from fastem._families.singular import LEAST_RATIO, NEAR, repair
from fastem._families.steps import Before, Maximised, Rule
from fastem._kernels._ascent import FAILED, ITERATIONS, MEAN, ascend_slots, new_rows, tiles_of
from fastem._kernels._ascent_mstep import Given, Scratch, State
from fastem._kernels._parallel import run_in_threads
from fastem._typing import Array, FloatArray

# Threads wake up later than so many numbers (rows x features x components x ascents x iterations) take.
_WORTH_THREADS = 1 << 20
# Steps are at most so many times as long as those of EM.
STRETCH = 16.0
# The arrays of all ascents hold at most this many numbers (16 MB).
_MOST_NUMBERS = 1 << 21


class GaussianAscents(Ascents[GaussianParameters]):
    """S ascents at once, in float64."""

    def __init__(
        self,
        layout: Layout,
        points: FloatArray,
        weights: FloatArray,
        labels: Array,
        k: int,
        rule: Rule[GaussianParameters],
        added: FloatArray | Literal["auto"],
        n_threads: int | None,
    ) -> None:
        shared = layout.shape(k, len(points))[0] < k
        self._layout, self._n_threads, self._rule = layout, n_threads, (rule, added)
        self._precision, rounding = rule.precision, ROUNDING * rule.precision
        total = weights.sum()
        gaps = points - (np.einsum("ji,i->j", points, weights) / total)[:, None]
        variance = np.einsum("ji,ji,i->j", gaps, gaps, weights) / total
        if layout.isotropic:
            variance[:] = variance.mean()
        self._variance = np.where(variance > rounding, variance, 1.0)
        floor = RELATIVE_FLOOR * self._variance
        # Points of one cluster are side by side. NumPy sorts short integers by their digits.
        self._near = np.argsort(labels[0].astype(np.uint16), kind="stable")
        columns = len(points) if layout.matrices else 1
        self._given = Given(
            tiles_of(points, weights, self._near, columns, shared, layout.isotropic),
            self._second(points, weights, shared),
            np.array([0, 0, LEAST_ROWS * rule.mean_row_weight, rounding, layout.isotropic, 1]),
            floor if isinstance(added, str) else np.broadcast_to(added, len(points)).copy(),
            floor,
        )
        self._begin(labels, k)

    def _begin(self, labels: Array, k: int) -> None:
        s, d = len(labels), len(self._variance)
        m, columns = self._layout.shape(k, d)[0], d if self._layout.matrices else 1
        self._labels = np.take(labels, self._near, axis=1)  # another order would be another type
        (shares, constants), means = np.zeros((2, s, k)), np.zeros((s, k, d))
        covariances, whiteners = np.zeros((2, s, m, d, columns))
        self._states = State(shares, means, covariances, whiteners, constants, np.zeros((s, m)))
        self._outcomes, self._sound = np.zeros((s, 4)), [False] * s
        sums = np.zeros((3, s, k, self._given.tiles.shape[1] - 1))
        self._scratches = Scratch(new_rows(s, k), sums[0], sums[1], sums[2], np.empty((s, 2, d)))

    def _second(self, points: FloatArray, weights: FloatArray, shared: bool) -> FloatArray:
        """Return the sums of products over all points, (d, d) or (d, 1), where components share them."""
        d = len(points)
        if not shared:
            return np.empty((0, 0))
        if self._layout.matrices:
            return gram(points * weights, points)
        return np.asarray(np.square(points) @ weights).reshape(d, 1)

    @staticmethod
    def fit_in_memory(layout: Layout, s: int, k: int, d: int, m: int = 0) -> bool:
        """Return whether the arrays of s ascents over m points are small."""
        columns = d if layout.matrices else 1
        products = 0 if layout.shape(k, d)[0] < k else columns * (d + 1) // 2
        return max(s * k * d * columns, m * (1 + d + products)) <= _MOST_NUMBERS

    def go_on(self, chosen: list[int], iterations: int, tol: float, stretch: float = STRETCH) -> None:
        limits, g, (_, k, d) = self._given.limits, len(chosen), self._states.means.shape
        limits[:2], limits[5] = (iterations, tol), stretch
        self._scratches.path[:] = 0.0  # an ascent that failed may have left NaN
        about = self._labels, self._states, self._outcomes, self._scratches
        arguments = self._given, np.array(chosen), *about
        numbers = self._labels.shape[1] * g * k * d * iterations
        run_in_threads(ascend_slots, arguments, g, self._n_threads if numbers > _WORTH_THREADS else 1)
        # Lists, since to take one number from an array takes ten times as long.
        self._ended = self._outcomes.tolist()
        self._sound = self._are_sound().tolist()

    def moved(self, starts: list[int], points: FloatArray, weights: FloatArray) -> "GaussianAscents":
        (_, k, _), unused = self._states.means.shape, np.zeros((len(starts), len(weights)), np.int64)
        other = GaussianAscents(self._layout, points, weights, unused, k, *self._rule, self._n_threads)
        for mine, others in zip(self._states, other._states, strict=True):
            others[:] = mine[starts]
        other._outcomes[:, ITERATIONS] = 1  # so that it does not begin with the labels
        return other

    def others(self, labels: Array, k: int) -> "GaussianAscents | None":
        if not self.fit_in_memory(self._layout, len(labels), k, len(self._variance)):
            return None
        other = copy(self)
        other._begin(labels, k)
        return other

    def objective(self, start: int) -> float | None:
        ended = self._ended[start]
        return None if ended[FAILED] else ended[MEAN]

    def doubt(self, start: int) -> float:
        # The expected log-density given the labels, where squared distances to the means are d on average,
        # is less than the log-likelihood by the entropy of the labels.
        weights, d = self._states.weights[start], self._states.means.shape[2]
        expected = LN2 * float(weights @ self._states.constants[start]) - 0.5 * d
        doubt: float = (self._outcomes[start, MEAN] - expected) / weights.min()
        return doubt

    def singular(self, start: int) -> list[int]:
        return [] if self._sound[start] else self.parameters(start).floored

    def _are_sound(self) -> Array:
        """Return for which starts no covariance is near the floor, by what costs little to see (S,)."""
        least = self._states.ratios.min(axis=1)
        if not self._layout.matrices:
            return np.asarray(least > NEAR)
        # The trace of the inverse of a covariance, in units of least variances, bounds its least eigenvalue,
        # and so all ratios that `repair` finds. Rounding errors do not double it.
        variances, whiteners = diagonals(self._states.covariances), self._states.whiteners
        floors = np.maximum(self._given.added, noise(variances, self._precision, self._variance))
        traces = np.einsum("skij,skij,skj->sk", whiteners, whiteners, floors).max(axis=1)
        return np.asarray((least > DOMINATED) & (2 * DOMINATED * traces < 1))

    def parameters(self, start: int) -> Maximised[GaussianParameters]:
        weights, means, covariances = (
            self._states.weights[start],
            self._states.means[start],
            self._states.covariances[start],
        )
        shape = self._layout.shape(*means.shape)
        if self._layout.matrices:
            covariances = covariances + np.tril(covariances, -1).transpose(0, 2, 1)
        elif self._layout.isotropic:
            covariances = covariances[:, 0]
        covariances = covariances.reshape(shape)
        # The kernel has repaired some. Of what is added beyond the floor its ratios know nothing.
        ratios, beyond = self._states.ratios[start], bool((self._given.added > self._given.floor).any())
        floored = ~(ratios > (LEAST_RATIO if beyond else DOMINATED))
        far = self._sound[start] if self._layout.matrices else not beyond or (ratios > NEAR).all()
        if not far:
            floored |= repair(self._layout, covariances, self._given.added, self._variance, self._precision)
        on_the_floor = [int(component) for component in np.flatnonzero(floored)]
        ended = GaussianParameters(weights, means, covariances)
        before = None
        if self._outcomes[start, ITERATIONS] > 1:  # labels have no likelihood
            before = Before(self._labels.shape[1], float(self._outcomes[start, MEAN]))
        return Maximised(ended, [], [], on_the_floor, before=before)

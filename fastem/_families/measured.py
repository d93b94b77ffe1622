"""Gaussians of rows that were observed with known noise (extreme deconvolution: Bovy, Hogg and Roweis 2011).

The parameters are those of the values without noise, and so are the expected sums that a pass takes. So the
M-step, constraints, priors and fixed parameters are those of Gaussians.

Sums for known responsibilities, from which starts are made, are those of the rows as they are. EM then finds
how much of their variance is noise.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastem._families.compiled import IMPOSSIBLE_MEAN
from fastem._families.constraints import Constraint
from fastem._families.deconvolution import measured_params, measured_sums, new_sums, with_matrices
from fastem._families.frame import Frame, Moments
from fastem._families.gaussian import Gaussian
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.normalise import LN2
from fastem._families.rounding import ROUNDING
from fastem._families.steps import Maximised, Pass, Rule, Scores, Summed
from fastem._kernels._measured import MeasuredParams, MeasuredSums
from fastem._kernels._measured_sums import slot_measured, slot_measured_scores
from fastem._kernels._parallel import run_slots
from fastem._report import Breakdown
from fastem._typing import Array, FloatArray, Rows, read_only

_LARGEST = 1e36  # variance of noise, in standard coordinates


class Packed(NamedTuple):
    measured: MeasuredParams
    plain: Any  # the same for rows as they are


class Measured(Gaussian):
    """log p(x | k) = log N(x; mean_k, covariance_k + the noise of the row)."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        constraint: Constraint,
        covariances: str = "covariances",
        *,
        missing: bool = False,
    ) -> None:
        super().__init__(name, layout, constraint, covariances, missing=missing)
        self._plain = Gaussian(name, layout, constraint, covariances, missing=missing)
        self.has_ascents = self.has_variational = False  # no kernel of whole ascents knows noise
        self.has_base_measure = False  # its own kernels know what is missing

    @property
    def plain(self) -> Gaussian:
        return self._plain

    def with_missing(self) -> "Measured":
        return self.remade(Measured, True)

    def pack(self, parameters: GaussianParameters | None, frame: Frame, dtype: np.dtype[Any]) -> Packed:
        """Noise is in float64, and so are all passes."""
        assert parameters is not None
        plain = self._plain.pack(parameters, frame, np.dtype(np.float64))
        return Packed(measured_params(self._layout, parameters, frame), plain)

    def working_dtype(self, packed: Packed) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def total(self, moments: Moments, frame: Frame) -> None:
        return None  # moments have the noise of rows, and sums have not

    def maximise(self, sums: GaussianSums, rule: Rule[GaussianParameters]) -> Maximised[GaussianParameters]:
        """A variance that should be 0 shrinks by a factor in each iteration, and so never is 0."""
        return self.maximised(sums, rule, ROUNDING * rule.precision)

    def bytes_per_slot(self, k: int, d: int) -> int:
        return max(self._plain.bytes_per_slot(k, d), 8 * k * (d * d + d + 1))

    def multiply_adds(self, d: int) -> int:
        """Three parts of d^3 / 6, the first of them twice, at less than half of the speed of others."""
        return 2 * d * (d + 1) * (d + 2)

    def lacks_numbers(self, rows: Rows) -> bool:
        """Return whether rows have NaN, which the kernels always take, though it is an error here."""
        return not self.missing and bool(np.isnan(rows.X).any())

    def expected(self, params: MeasuredParams, merged: MeasuredSums) -> GaussianSums:
        """Return the sums of a pass from those of its kernel, added over all slots."""
        return measured_sums(self._layout, params, merged)

    def begin_pass(
        self, packed: Packed, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[GaussianSums]:
        return _MeasuredPass(self, packed, k, frame, hard, slots, n_threads)

    def score(
        self, packed: Packed, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        if self.lacks_numbers(rows):
            return False
        params, noise = _for_noise(packed.measured, rows)
        (m, d), k, nothing = rows.X.shape, len(params.means), np.empty(0)
        constant, none = self.log_constant(frame), np.empty((0, k))
        log2_densities = nothing if wanted.log_densities is None else np.empty(m)
        responsibilities = none if wanted.responsibilities is None else np.empty((m, k))
        means = np.empty((0, d)) if wanted.true_values is None else np.zeros((m, d))
        outputs = (
            log2_densities,
            np.empty(0, np.int64) if wanted.labels is None else wanted.labels,
            responsibilities,
            none if wanted.joint is None else wanted.joint,
            means,
        )
        about, failures = np.array([constant / LN2, -np.inf]), np.zeros(slots, np.int64)
        arguments = (_in_float64(rows.X), noise, params, *outputs, about, failures)
        run_slots(slot_measured_scores, arguments, slots, n_threads)
        if failures.any():
            _check_size(rows, frame)
            return False
        if wanted.responsibilities is not None:
            wanted.responsibilities[:] = responsibilities
        if wanted.log_densities is not None:
            wanted.log_densities[:] = log2_densities * LN2 + constant
        if wanted.true_values is not None:
            wanted.true_values[:] = frame.restore(means)
        return True


class _MeasuredPass(Pass[GaussianSums]):
    def __init__(
        self,
        family: Measured,
        packed: Packed,
        k: int,
        frame: Frame,
        hard: bool,
        slots: int,
        n_threads: int | None,
    ) -> None:
        self._family, self._packed, self._frame = family, packed, frame
        self._begin_plain = partial(family.plain.begin_pass, packed.plain, k, frame, hard, slots, n_threads)
        self._hard, self._slots, self._n_threads = np.array([hard], np.int64), slots, n_threads
        self._plain: Pass[GaussianSums] | None = None  # for known responsibilities
        self._params: MeasuredParams | None = None
        self._impossible, self._finite = -np.inf, True

    def add(self, rows: Rows, given: Array | None) -> None:
        if given is not None:
            if self._plain is None:
                self._plain = self._begin_plain()
            self._plain.add(rows, given)
            return
        params, noise = _for_noise(self._packed.measured, rows)
        if self._params is None:
            self._params, self._sums = params, new_sums(params, self._slots)
        if self._family.lacks_numbers(rows):
            self._finite = False
            return
        weight = np.empty(0) if rows.weight is None else _in_float64(rows.weight)
        labels = np.empty(0, np.int64) if rows.labels is None else rows.labels
        if rows.labels is not None:
            self._impossible = IMPOSSIBLE_MEAN
        about = read_only(weight), read_only(labels)
        failures = np.zeros(self._slots, np.int64)
        arguments = (_in_float64(rows.X), noise, *about, params, self._hard, self._sums, failures)
        run_slots(slot_measured, arguments, self._slots, self._n_threads)
        if failures.any():
            _check_size(rows, self._frame)
            self._finite = False

    def end(self) -> Summed[GaussianSums] | None:
        if self._plain is not None:
            return self._plain.end()
        assert self._params is not None
        merged = type(self._sums)(*(array.sum(axis=0) for array in self._sums))
        if not self._finite or not all(np.isfinite(array).all() for array in merged):
            return None
        sums = self._family.expected(self._params, merged)
        log_likelihood, weight = LN2 * float(merged.log2_likelihood), float(sums.weights.sum())
        if log_likelihood < self._impossible * weight:
            log_likelihood = -np.inf
        return Summed(sums, log_likelihood + self._family.log_constant(self._frame) * weight)


def _for_noise(params: MeasuredParams, rows: Rows) -> tuple[MeasuredParams, FloatArray]:
    """Return the parameters and the noise as the kernels take them, (m, d, d) or (m, 1, d), or of one row."""
    noise = rows.noise
    if noise is None:
        return params, read_only(np.empty((0, 1, rows.X.shape[1])))
    if noise.strides[0] == 0:
        noise = np.ascontiguousarray(noise[:1])
    if noise.ndim == 3:
        return with_matrices(params), _in_float64(noise)
    return params, _in_float64(noise[:, None])


def _in_float64(array: Array) -> Array:
    return read_only(np.ascontiguousarray(array, dtype=np.float64))


def _check_size(rows: Rows, frame: Frame) -> None:
    """Raise an error if noise is so large that arithmetic would overflow."""
    if rows.noise is None:
        return
    variances = rows.noise if rows.noise.ndim == 2 else np.diagonal(rows.noise, axis1=1, axis2=2)
    sizes = np.asarray(variances) / np.square(frame.scale)
    if sizes.max() >= _LARGEST:
        i, j = np.unravel_index(int(sizes.argmax()), sizes.shape)
        raise Breakdown(
            f"noise must have variances of less than {_LARGEST:g} times that of the rows; row "
            f"{rows.start + i} has {variances[i, j]:g} in column {rows.column(int(j))}. For a number that "
            'was not measured, put NaN into X, with missing="marginalise".'
        )

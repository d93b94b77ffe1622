"""Multivariate t distributions: Gaussians whose size varies from row to row, which allows outliers.

Given a precision tau from Gamma(nu / 2, nu / 2), a row is Gaussian with covariance scale / tau. The E-step
takes the expectation u of tau, given the row and its component. A row far from a component has a small u. So
means and scales with weights r u are robust. docs/explanation/algorithm.md derives the M-step.
"""

from collections.abc import Mapping
from math import lgamma
from typing import Any, NamedTuple

import numpy as np

from fastem._checks import check_finite
from fastem._families.base import check_sums
from fastem._families.conjugate import moved
from fastem._families.constraints import Constraint
from fastem._families.degrees import LEAST, MOST, corrections, degrees_given_scale, own_degrees
from fastem._families.diag_gaps import expected_sums, independently_imputed, student_params, student_sums
from fastem._families.frame import Frame, Moments
from fastem._families.gaussian import Gaussian
from fastem._families.incomplete import IncompleteFamily
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.regressions import expanded, full_triangle, row_params
from fastem._families.reseed import with_rows
from fastem._families.settling import REFINEMENTS, settled
from fastem._families.special import digamma, log_gamma_gain
from fastem._families.steps import Maximised, Rule
from fastem._kernels._incomplete import IncompleteParams, IncompleteSums
from fastem._kernels._params import StudentGapsParams, StudentGapsSums, StudentParams, StudentSums, Sums
from fastem._typing import Array, FloatArray

_LN2 = float(np.log(2))
_FIRST_DEGREES = 10.0  # before the first M-step, and for components that are re-seeded
# What the logarithm takes beside the multiply-adds of Gaussians.
_LOGARITHM = 20
# k-means sees rows no farther out than half the range of the middle 90 % of the rows, in each feature.
_TAIL, _REACH = 0.05, 0.5


class StudentParameters(NamedTuple):
    """Parameters in the standard coordinates of a frame, or in user units."""

    weights: FloatArray  # (K,)
    means: FloatArray  # (K, d)
    scales: FloatArray  # in the shape of covariances
    degrees_of_freedom: FloatArray  # (K,)


class TotalsOfStudent(NamedTuple):
    """Weighted sums of one pass in standard coordinates, where z = x - mean."""

    weights: FloatArray  # (K,) sum of r
    logarithms: FloatArray  # (K,) sum of r log u
    degrees_of_freedom: FloatArray  # (K,) of this pass
    means: FloatArray  # (K, d) of this pass
    scaled_weights: FloatArray  # (K,) sum of r u
    first: FloatArray  # (K, d) sum of r u z
    scatter: FloatArray  # sum of r u z z', in the shape of the scales


class Student(IncompleteFamily[StudentParameters, TotalsOfStudent]):
    """p(x | k) = the integral of N(x; mean_k, scale_k / tau) Gamma(tau; nu_k / 2, nu_k / 2) over tau."""

    distribution = "student"
    parameter_names = ("means", "scales", "degrees_of_freedom")
    location = "means"
    has_covariances = True
    feature_constant = -0.5 * float(np.log(np.pi))
    separable = ("degrees_of_freedom",)
    holdable = ("means",)
    tries_random = True
    refinements = REFINEMENTS

    def __init__(
        self, covariance_type: str, layout: Layout, constraint: Constraint, *, missing: bool = False
    ) -> None:
        self.name, self.isotropic = f"student {covariance_type}", layout.isotropic
        self._covariance_type, self._layout, self._constraint = covariance_type, layout, constraint
        self._gaussian = Gaussian(covariance_type, layout, constraint, "scales", missing=missing)
        self.missing, self.by_pattern = missing, self._gaussian.by_pattern
        self.has_base_measure = self._gaussian.has_base_measure

    def with_missing(self) -> "Student":
        return Student(self._covariance_type, self._layout, self._constraint, missing=True)

    # --- parameters in user units

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> StudentParameters:
        gaussian = self._gaussian.check(weights, parameters, n_features)
        degrees = check_finite("degrees_of_freedom", parameters["degrees_of_freedom"])
        if degrees.shape not in ((), weights.shape):
            raise ValueError(
                f"degrees_of_freedom must be a number or have shape {weights.shape}, one a component; "
                f"got shape {degrees.shape}."
            )
        if not ((degrees >= LEAST) & (degrees <= MOST)).all():
            raise ValueError(
                f"degrees_of_freedom must lie from {LEAST} to {MOST:g}; got {degrees}. "
                "With more, use Gaussians, which are the same to all practical purposes."
            )
        return StudentParameters(*gaussian, np.broadcast_to(degrees, weights.shape).copy())

    def n_features(self, parameters: StudentParameters) -> int:
        return int(parameters.means.shape[1])

    def n_parameters(self, k: int, d: int) -> int:
        return self._gaussian.n_parameters(k, d) + k

    def shown(self, parameters: StudentParameters) -> dict[str, Any]:
        """Return square roots of the diagonals of the scales as widths, since they are no deviations."""
        means, widths = self._gaussian.shown(_gaussian_of(parameters)).values()
        return {"means": means, "widths": widths, "degrees_of_freedom": parameters.degrees_of_freedom}

    def to_user(self, parameters: StudentParameters, frame: Frame) -> StudentParameters:
        return _with_gaussian(parameters, self._gaussian.to_user(_gaussian_of(parameters), frame))

    def from_user(self, parameters: StudentParameters, frame: Frame) -> StudentParameters:
        return _with_gaussian(parameters, self._gaussian.from_user(_gaussian_of(parameters), frame))

    def sample(self, parameters: StudentParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        at_zero = _gaussian_of(parameters)._replace(means=np.zeros_like(parameters.means))
        noise = self._gaussian.sample(at_zero, labels, rng)
        degrees = parameters.degrees_of_freedom[labels]
        # Few degrees of freedom give sizes that round to zero, and rows that no float can hold.
        sizes = np.maximum(rng.chisquare(degrees) / degrees, np.finfo(np.float64).tiny)
        return np.asarray(parameters.means[labels] + noise / np.sqrt(sizes)[:, None])

    def ellipsoids(self, parameters: StudentParameters) -> tuple[FloatArray, FloatArray]:
        return self._gaussian.ellipsoids(_gaussian_of(parameters))

    def marginal(self, parameters: StudentParameters, columns: Array) -> tuple["Student", StudentParameters]:
        _, gaussian = self._gaussian.marginal(_gaussian_of(parameters), columns)
        return self, _with_gaussian(parameters, gaussian)

    # --- coordinates

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        return self._gaussian.frame(moments, dtype)

    def own_frame(self, parameters: StudentParameters, dtype: np.dtype[Any]) -> Frame:
        return self._gaussian.own_frame(_gaussian_of(parameters), dtype)

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        """Return the rows with those that are far out drawn near, since k-means gives such rows centres."""
        points = frame.standardise(X)
        low, high = np.quantile(points, [_TAIL, 1 - _TAIL], axis=0)
        reach = np.where(high > low, _REACH * (high - low), np.inf)
        return np.clip(points, low - reach, high + reach)

    # --- passes

    def new_sums(self, slots: int, k: int, d: int) -> StudentSums | StudentGapsSums:
        if self.has_base_measure:
            return student_sums(slots, k, d)
        gaussian = self._layout.new_sums(slots, k, d)
        return StudentSums(np.zeros((slots, k)), np.zeros((slots, k)), *gaussian)

    def pack_plain(
        self, parameters: StudentParameters, frame: Frame, dtype: np.dtype[Any]
    ) -> StudentParams | StudentGapsParams:
        gaussian = self._gaussian.pack_plain(_gaussian_of(parameters), frame, dtype)
        if self.has_base_measure:
            return student_params(gaussian, parameters.degrees_of_freedom)
        dtype, d = gaussian.shift.dtype, parameters.means.shape[1]
        nu = parameters.degrees_of_freedom
        shapes = (nu + d) / 2
        gammas = np.array([lgamma(shape) - lgamma(shape - d / 2) for shape in shapes.tolist()])
        log2_weights = gaussian.log2_weights + (gammas - d / 2 * np.log(nu)) / _LN2
        return StudentParams(
            shift=gaussian.shift,
            inverse_scale=gaussian.inverse_scale,
            log2_weights=log2_weights.astype(dtype),
            slopes=(2 * _LN2 / nu).astype(dtype),
            shapes=shapes.astype(dtype),
            factors=((nu + d) / nu).astype(dtype),
            gaussian=gaussian._replace(log2_weights=np.zeros_like(gaussian.log2_weights)),
        )

    def raised(self, packed: StudentParams, amounts: FloatArray) -> StudentParams:
        log2 = packed.log2_weights.astype(np.float64) + amounts / _LN2
        return packed._replace(log2_weights=log2.astype(packed.log2_weights.dtype))

    def some(self, parameters: StudentParameters, observed: Array) -> StudentParameters:
        return _with_gaussian(parameters, self._gaussian.some(_gaussian_of(parameters), observed))

    def row_by_row(self, parameters: StudentParameters, frame: Frame) -> IncompleteParams:
        nu, d = parameters.degrees_of_freedom, parameters.means.shape[1]
        counts = np.arange(d + 1)[:, None]
        constants = log_gamma_gain(nu / 2, counts / 2) - counts / 2 * np.log(np.pi * nu)
        return row_params(_gaussian_of(parameters), frame, constants, nu, corrections(nu, counts, d))

    def expanded(
        self, parameters: StudentParameters, observed: Array, sums: list[TotalsOfStudent]
    ) -> TotalsOfStudent:
        """Given what is observed, tau times a covariance does not depend on tau: B has the weight r."""
        nu, d = parameters.degrees_of_freedom, parameters.means.shape[1]
        weights = np.array([one.weights for one in sums])
        parts = [_gaussian_sums(one) for one in sums]
        gaussian = expanded(_gaussian_of(parameters), observed, parts, weights)
        logarithms = np.sum([one.logarithms for one in sums], axis=0)
        weight = weights.sum(axis=0)
        logarithms += weight * corrections(nu, np.array([observed.shape[1]]), d)
        return TotalsOfStudent(weight, logarithms, nu, *gaussian)

    def collect_rows(self, parameters: StudentParameters, merged: IncompleteSums) -> TotalsOfStudent:
        return TotalsOfStudent(
            merged.weights,
            merged.logarithms,
            parameters.degrees_of_freedom,
            parameters.means,
            merged.scaled_weights,
            merged.first,
            full_triangle(merged.second),
        )

    def multiply_adds(self, d: int) -> int:
        return self._gaussian.multiply_adds(d) + _LOGARITHM

    def collect(self, packed: Any, merged: Any) -> TotalsOfStudent:
        if self.has_base_measure:
            packed = packed.student
            scaled = merged.scaled_weights
            gaussian = expected_sums(self._layout, packed.gaussian, merged.weights, scaled, merged)
        else:
            gaussian = self._gaussian.collect(packed.gaussian, Sums(*merged[2:]))
        shapes, slopes = packed.shapes.astype(np.float64), packed.slopes.astype(np.float64)
        nu = 2 * _LN2 / slopes
        logarithms = merged.weights * np.log(2 * shapes / nu) - _LN2 * merged.logarithms
        return TotalsOfStudent(
            merged.weights, logarithms, nu, gaussian.means, gaussian.weights, gaussian.first, gaussian.scatter
        )

    def imputed(
        self,
        parameters: StudentParameters,
        X: FloatArray,
        responsibilities: FloatArray,
        rng: np.random.Generator | None,
    ) -> FloatArray:
        if self.by_pattern:
            return super().imputed(parameters, X, responsibilities, rng)
        gaussian, nu = _gaussian_of(parameters), parameters.degrees_of_freedom
        return independently_imputed(self._layout, gaussian, nu, X, responsibilities, rng)

    # --- sums and M-step

    def add(self, one: TotalsOfStudent, other: TotalsOfStudent) -> TotalsOfStudent:
        return TotalsOfStudent(
            one.weights + other.weights,
            one.logarithms + other.logarithms,
            one.degrees_of_freedom,
            one.means,
            one.scaled_weights + other.scaled_weights,
            one.first + other.first,
            one.scatter + other.scatter,
        )

    def blend(
        self, before: StudentParameters, weights: FloatArray, sums: TotalsOfStudent, gain: float
    ) -> TotalsOfStudent:
        """nu / (nu + d) u has the distribution Beta(nu / 2, d / 2). So the expectation of u is 1."""
        gaussian = self._gaussian.blend(_gaussian_of(before), weights, _gaussian_sums(sums), gain)
        nu, d = before.degrees_of_freedom, before.means.shape[1]
        expected = np.log1p(d / nu) + digamma(nu / 2) - digamma((nu + d) / 2)
        return TotalsOfStudent(
            weights + gain * sums.weights,
            weights * expected + gain * sums.logarithms,
            sums.degrees_of_freedom,
            gaussian.means,
            gaussian.weights,
            gaussian.first,
            gaussian.scatter,
        )

    def maximise(self, sums: TotalsOfStudent, rule: Rule[StudentParameters]) -> Maximised[StudentParameters]:
        degrees, alpha = self._degrees(sums)
        scaled = _gaussian_sums(sums)
        weights = np.where(scaled.weights > 0, scaled.weights, 1.0)
        shift = sums.first / weights[:, None]
        held = rule.held and rule.held._replace(parameters=_gaussian_of(rule.held.parameters))
        if held is not None:
            fixed = held.of("means")
            shift[fixed] = (held.parameters.means - sums.means)[fixed]
        centred = moved(self._layout, scaled, shift)
        rest = np.zeros_like(shift)
        scales = self._constraint.estimate(centred._replace(weights=weights), rest, weights, None)
        if len(scales) < len(weights):
            scales = scales * (weights.sum() / (alpha * sums.weights.sum()))
        about = GaussianParameters(sums.weights, centred.means, scales)
        centred = GaussianSums(about.means, sums.weights, rest, self._layout.scatter(about, sums.weights))
        before = None if rule.before is None else _gaussian_of(rule.before)
        there = Rule(**{**rule._asdict(), "before": before, "held": held})
        found = self._gaussian.maximise(centred, there)
        degrees[found.reseeded] = _FIRST_DEGREES
        degrees[found.kept] = sums.degrees_of_freedom[found.kept]
        return Maximised(StudentParameters(*found.parameters, degrees), *found[1:])

    def _degrees(self, sums: TotalsOfStudent) -> tuple[FloatArray, float]:
        """Return the new degrees of freedom, and the mean of all tau, if the components share one scale.

        This mean is no parameter of the model, but makes EM faster (Liu, Rubin and Wu 1998). Scales of their
        own have one for each component.
        """
        d = sums.means.shape[1]
        known = (sums.weights > 0) & (sums.scaled_weights > 0)
        weights = np.where(known, sums.weights, 1.0)
        mean = np.where(known, sums.scaled_weights, 1.0) / weights
        logarithm = np.where(known, sums.logarithms, 0.0) / weights
        if self._layout.shape(*sums.means.shape)[0] == len(weights):
            new = own_degrees(np.log(mean) - logarithm, d)
            return np.where(known, new, sums.degrees_of_freedom), 1.0
        old = np.where(known, sums.weights * sums.degrees_of_freedom, 0.0)
        alpha = float(old @ mean / old.sum())
        new = degrees_given_scale(mean / alpha - 1 + np.log(alpha) - logarithm, sums.degrees_of_freedom, d)
        return np.where(known, new, sums.degrees_of_freedom), alpha

    def keeping(
        self, parameters: StudentParameters, before: StudentParameters, kept: list[int]
    ) -> StudentParameters:
        gaussian = self._gaussian.keeping(_gaussian_of(parameters), _gaussian_of(before), kept)
        degrees = with_rows(parameters.degrees_of_freedom, before.degrees_of_freedom, kept)
        return StudentParameters(*gaussian, degrees)

    def origin(self, k: int, d: int) -> StudentParameters:
        return StudentParameters(*self._gaussian.origin(k, d), np.full(k, _FIRST_DEGREES))

    def recentred(
        self, origin: StudentParameters | None, rough: StudentParameters
    ) -> StudentParameters | None:
        """Return what the last pass found, until little changes. The next tells by it which rows are out."""
        assert origin is not None
        return None if settled(self._layout, _gaussian_of(origin), _gaussian_of(rough)) else rough

    def to_vector(self, parameters: StudentParameters) -> FloatArray:
        gaussian = self._gaussian.to_vector(_gaussian_of(parameters))
        return np.concatenate([gaussian, np.log(parameters.degrees_of_freedom)])

    def from_vector(self, vector: FloatArray, like: StudentParameters) -> StudentParameters | None:
        gaussian, logarithms = np.split(vector, [-len(like.weights)])
        found = self._gaussian.from_vector(gaussian, _gaussian_of(like))
        if found is None or not np.isfinite(logarithms).all():
            return None
        degrees = np.exp(np.clip(logarithms, np.log(LEAST), np.log(MOST)))
        return StudentParameters(*found, np.clip(degrees, LEAST, MOST))

    def places(self, parameters: StudentParameters) -> FloatArray:
        return self._gaussian.places(_gaussian_of(parameters))

    # --- files and messages

    def to_arrays(self, sums: TotalsOfStudent) -> dict[str, Array]:
        return sums._asdict()

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> TotalsOfStudent:
        k = len(arrays["weights"])
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(TotalsOfStudent._fields, (k,))
        shapes |= {"means": (k, d), "first": (k, d), "scatter": self._layout.shape(k, d)}
        found = {name: check_sums(name, arrays[name], shape) for name, shape in shapes.items()}
        sums = TotalsOfStudent(**found)
        if not ((sums.degrees_of_freedom > 0).all() and (sums.scaled_weights >= 0).all()):
            raise ValueError("its degrees of freedom and weights are not positive")
        return sums

    def user_sums(self, sums: TotalsOfStudent, frame: Frame) -> dict[str, Any]:
        user = self._gaussian.user_sums(_gaussian_sums(sums), frame)
        return {
            "weights": sums.weights.copy(),
            "logarithms": sums.logarithms.copy(),
            "scaled_weights": user.pop("weights"),
            **user,
        }

    @property
    def label(self) -> str:
        return f"distribution='student', covariance_type={self._covariance_type!r}"


def _gaussian_of(parameters: StudentParameters) -> GaussianParameters:
    return GaussianParameters(*parameters[:3])


def _with_gaussian(parameters: StudentParameters, gaussian: GaussianParameters) -> StudentParameters:
    return StudentParameters(*gaussian, parameters.degrees_of_freedom)


def _gaussian_sums(sums: TotalsOfStudent) -> GaussianSums:
    return GaussianSums(sums.means, sums.scaled_weights, sums.first, sums.scatter)

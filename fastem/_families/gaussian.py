"""Gaussian families, each of which is a layout of the covariances and a constraint on them."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import numpy as np

from fastem._families.algebra import Conditional, given_the_first
from fastem._families.ascents import GaussianAscents
from fastem._families.base import check_sums
from fastem._families.conjugate import NormalInverseWishart
from fastem._families.constraints import OF_THEIR_OWN, Constraint
from fastem._families.diag_gaps import WithGaps, independently_imputed
from fastem._families.floor import Total, added_by, clear_total, fixed_in, maximise_gaussian, stored_in
from fastem._families.frame import Frame, Moments, frame_of
from fastem._families.given import Belief
from fastem._families.incomplete import Incomplete, IncompleteFamily
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.points import parameters_at, point_of
from fastem._families.proper import check_fixed, check_proper, checked, copied
from fastem._families.regressions import expanded, full_triangle, row_params
from fastem._families.relevance import adapted, completed
from fastem._families.reseed import with_rows
from fastem._families.settling import REFINEMENTS, settled
from fastem._families.steps import Maximised, Rule
from fastem._families.variational import VariationalGaussians, VariationalPosterior, expectations_of
from fastem._families.wide import collected
from fastem._kernels._incomplete import IncompleteParams, IncompleteSums
from fastem._typing import Array, FloatArray

_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))
G = TypeVar("G", bound="Gaussian")


class Gaussian(IncompleteFamily[GaussianParameters, GaussianSums]):
    """log p(x | k) = log N(x; mean_k, covariance_k)."""

    distribution = "gaussian"
    has_covariances = True
    location = "means"
    feature_constant = -_HALF_LOG_2PI
    conjugate_prior: NormalInverseWishart

    def __init__(
        self,
        name: str,
        layout: Layout,
        constraint: Constraint,
        covariances: str = "covariances",
        *,
        missing: bool = False,
    ) -> None:
        """`covariances` is what users call them, since a family of other elliptical distributions has one of
        these."""
        self.name, self.isotropic = name, layout.isotropic or constraint.isotropic
        self.parameter_names = self.holdable = ("means", covariances)
        self._layout, self._constraint = layout, constraint
        self.conjugate_prior = NormalInverseWishart(layout, constraint.shared)
        # No kernel of whole ascents, and no posterior of all parameters, knows missing numbers.
        self.missing, self.has_ascents = missing, not missing
        self.by_pattern, self.has_base_measure = missing and layout.matrices, missing and not layout.matrices
        self._passes = WithGaps(layout) if self.has_base_measure else layout
        self.has_variational = constraint.direct and not missing
        self.refinements = REFINEMENTS if missing else 1

    def remade(self, kind: type[G], missing: bool) -> G:
        """Return Gaussians of this kind with the same layout and constraint."""
        return kind(self.name, self._layout, self._constraint, self.parameter_names[1], missing=missing)

    def with_missing(self) -> "Gaussian":
        return self.remade(Gaussian, True)

    @property
    def storage(self) -> str:
        """The covariance type whose covariances have the same shape, and which all libraries know."""
        return type(self._layout).__name__.lower()

    # --- parameters in user units

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> GaussianParameters:
        label, called = self.label, self.parameter_names[1]
        return self._positive_definite(checked(self._layout, label, called, weights, parameters))

    def copies(self, parameters: GaussianParameters) -> GaussianParameters | None:
        return copied(self._layout, parameters, self._stacked(parameters))

    def _positive_definite(self, user: GaussianParameters) -> GaussianParameters:
        layout, (k, d) = self._layout, user.means.shape
        proper: Array = np.all(layout.variances(self._stacked(user), d) > 0, axis=1)
        if proper.all():
            frame = self.own_frame(user, np.dtype(np.float64))
            proper = np.all(layout.pivots(self.from_user(user, frame).covariances, d) > 0, axis=1)
        check_proper(self.parameter_names[1], proper, k)
        return user

    def n_features(self, parameters: GaussianParameters) -> int:
        return int(parameters.means.shape[1])

    def n_parameters(self, k: int, d: int) -> int:
        return self._constraint.n_parameters(k, d) + k * d

    def to_user(self, parameters: GaussianParameters, frame: Frame) -> GaussianParameters:
        shape = self._layout.public_shape(*parameters.means.shape)
        covariances = self._layout.rescale(parameters.covariances, frame.scale).reshape(shape)
        return GaussianParameters(parameters.weights, frame.restore(parameters.means), covariances)

    def from_user(self, parameters: GaussianParameters, frame: Frame) -> GaussianParameters:
        covariances = self._layout.rescale(self._stacked(parameters), 1 / frame.scale)
        return GaussianParameters(parameters.weights, frame.standardise(parameters.means), covariances)

    def _stacked(self, user: GaussianParameters) -> FloatArray:
        """Return the covariances with a first axis, which the single matrix of tied lacks."""
        return user.covariances.reshape(self._layout.shape(*user.means.shape))

    def sample(self, parameters: GaussianParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        frame = self.own_frame(parameters, np.dtype(np.float64))
        _, means, covariances = self.from_user(parameters, frame)
        k, d = means.shape
        X = rng.standard_normal((len(labels), d))
        covariances = np.broadcast_to(covariances, (k, *covariances.shape[1:]))
        for component in range(k):
            mine = labels == component
            X[mine] = means[component] + self._layout.colour(covariances[component], X[mine])
        return frame.restore(X)

    def shown(self, parameters: GaussianParameters) -> dict[str, Any]:
        k, d = parameters.means.shape
        variances = self._layout.variances(self._stacked(parameters), d)
        return {"means": parameters.means, "deviations": np.broadcast_to(np.sqrt(variances), (k, d))}

    def ellipsoids(self, parameters: GaussianParameters) -> tuple[FloatArray, FloatArray]:
        k, d = parameters.means.shape
        matrices = self._stacked(parameters)
        if not self._layout.matrices:
            matrices = self._layout.variances(matrices, d)[:, :, None] * np.eye(d)
        return parameters.means, np.broadcast_to(matrices, (k, d, d))

    def marginal(
        self, parameters: GaussianParameters, columns: Array
    ) -> tuple["Gaussian", GaussianParameters]:
        weights, means, covariances = parameters
        family = self if len(columns) == means.shape[1] else self._of_some
        if self._layout.matrices:
            covariances = covariances[..., columns[:, None], columns]
        elif covariances.ndim == 2:
            covariances = covariances[:, columns]
        return family, GaussianParameters(weights, means[:, columns], covariances)

    def conditional(self, parameters: GaussianParameters, given: Array, targets: Array) -> Conditional:
        """Return the `targets` given other features, in user units. The weights are those without them."""
        known = parameters.means[:, given]
        _, about = self.marginal(parameters, targets)
        if not self._layout.matrices:
            return Conditional(self._of_some, about, known, None)
        _, joint = self.marginal(parameters, np.concatenate([given, targets]))
        slopes, covariances = given_the_first(self._stacked(joint), given, self.parameter_names[1])
        about = about._replace(covariances=covariances.reshape(about.covariances.shape))
        return Conditional(self._of_some, about, known, slopes)

    @property
    def _of_some(self) -> "Gaussian":
        """The family of some of the features, alone or given others."""
        if self._constraint.inherited:
            return self
        own = OF_THEIR_OWN[type(self._layout)]
        return Gaussian(self.storage, self._layout, own, missing=self.missing)

    def check_fixed(self, masks: Mapping[str, Array]) -> None:
        check_fixed(self._constraint, self.label, self.parameter_names[1], masks)

    # --- coordinates

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        return frame_of(moments, dtype, self.isotropic)

    def own_frame(self, parameters: GaussianParameters, dtype: np.dtype[Any]) -> Frame:
        variances = self._layout.variances(self._stacked(parameters), parameters.means.shape[1])
        mean = parameters.weights @ parameters.means
        variance = parameters.weights @ (variances + np.square(parameters.means - mean))
        return self.frame(Moments(1.0, mean, variance), dtype)

    # --- passes

    def new_sums(self, slots: int, k: int, d: int) -> Any:
        return self._passes.new_sums(slots, k, d)

    def pack_plain(self, parameters: GaussianParameters, frame: Frame, dtype: np.dtype[Any]) -> Any:
        return self._passes.pack(parameters, frame, dtype)

    def raised(self, packed: Any, amounts: FloatArray) -> Any:
        """Return what `pack` returned with these amounts (K,) added to the log-densities of components."""
        if isinstance(packed, Incomplete):
            plain = self.raised(packed.plain, amounts)
            return packed._replace(plain=plain, raised=packed.raised + amounts)
        log2 = packed.log2_weights.astype(np.float64) + amounts / np.log(2)
        return packed._replace(log2_weights=log2.astype(packed.log2_weights.dtype))

    def some(self, parameters: GaussianParameters, observed: Array) -> GaussianParameters:
        weights, means, covariances = parameters
        return GaussianParameters(weights, means[:, observed], covariances[:, observed[:, None], observed])

    def row_by_row(self, parameters: GaussianParameters, frame: Frame) -> IncompleteParams:
        k, d = parameters.means.shape
        constants = np.tile(_HALF_LOG_2PI * -np.arange(d + 1.0)[:, None], k)
        return row_params(parameters, frame, constants, np.empty(0), np.empty((0, 0)))

    def expanded(
        self, parameters: GaussianParameters, observed: Array, sums: list[GaussianSums]
    ) -> GaussianSums:
        return expanded(parameters, observed, sums, np.array([one.weights for one in sums]))

    def collect_rows(self, parameters: GaussianParameters, merged: IncompleteSums) -> GaussianSums:
        return GaussianSums(parameters.means, merged.weights, merged.first, full_triangle(merged.second))

    def variational(self, prior: Belief, process: bool, frame: Frame) -> VariationalGaussians:
        """Return the algebra of posteriors in variational Bayes, with covariances as in this family."""
        return VariationalGaussians(self._layout, self._constraint, prior, process, frame)

    def offsets(self, posterior: VariationalPosterior) -> FloatArray:
        """Return the expected log-densities of components (K,) less those of Gaussians, in user units."""
        stacked = posterior.covariances.reshape(self._layout.shape(*posterior.means.shape))
        posterior = posterior._replace(covariances=stacked)
        return expectations_of(self._layout, posterior).offsets(posterior)

    def spread(self, sums: GaussianSums) -> FloatArray:
        """Return the covariances of maximum likelihood, without any repair. All components must have rows."""
        return self._constraint.estimate(sums, sums.first / sums.weights[:, None], sums.weights, None)

    def multiply_adds(self, d: int) -> int:
        return d * (d + 1) if self._layout.matrices else 2 * d

    def ascents(
        self,
        points: FloatArray,
        weights: FloatArray,
        labels: Array,
        k: int,
        rule: Rule[GaussianParameters],
        n_threads: int | None,
    ) -> GaussianAscents | None:
        if not (
            self.has_ascents
            and self._constraint.direct
            and GaussianAscents.fit_in_memory(self._layout, len(labels), k, *points.shape)
        ):
            return None
        return GaussianAscents(
            self._layout, points, weights, labels, k, rule, added_by(rule, self._layout), n_threads
        )

    @property
    def rough(self) -> "Gaussian | None":
        direct = self._constraint.direct
        if direct and self.has_ascents:
            return None
        constraint = self._constraint if direct else OF_THEIR_OWN[type(self._layout)]
        return Gaussian(self.name, self._layout, constraint)

    def collect(self, packed: Any, merged: Any) -> GaussianSums:
        return collected(packed, merged) or self._passes.collect(packed, merged)

    def imputed(
        self,
        parameters: GaussianParameters,
        X: FloatArray,
        responsibilities: FloatArray,
        rng: np.random.Generator | None,
    ) -> FloatArray:
        if self.by_pattern:
            return super().imputed(parameters, X, responsibilities, rng)
        return independently_imputed(self._layout, parameters, None, X, responsibilities, rng)

    # --- sums and M-step

    def add(self, one: GaussianSums, other: GaussianSums) -> GaussianSums:
        return GaussianSums(
            one.means, one.weights + other.weights, one.first + other.first, one.scatter + other.scatter
        )

    def blend(
        self, before: GaussianParameters, weights: FloatArray, sums: GaussianSums, gain: float
    ) -> GaussianSums:
        scatter = self._layout.scatter(before, weights) + gain * sums.scatter
        return GaussianSums(sums.means, weights + gain * sums.weights, gain * sums.first, scatter)

    def total(self, moments: Moments, frame: Frame) -> Total | None:
        return None if self.missing else clear_total(moments, frame, self._layout)

    def maximise(self, sums: GaussianSums, rule: Rule[GaussianParameters]) -> Maximised[GaussianParameters]:
        return self.maximised(sums, rule)

    def maximised(
        self, sums: GaussianSums, rule: Rule[GaussianParameters], least: float = 0.0
    ) -> Maximised[GaussianParameters]:
        """Return new parameters. Variances below the part `least` of that of all rows are singular."""
        return maximise_gaussian(
            self._layout,
            self._constraint,
            sums,
            rule.mean_row_weight,
            rule.precision,
            stored_in(rule),
            added_by(rule, self._layout),
            rule.reseeds,
            None if rule.before is None else rule.before.covariances,
            fixed_in(rule, self.parameter_names),
            rule.prior,
            rule.constant,
            least,
            rule.total,
        )

    def keeping(
        self, parameters: GaussianParameters, before: GaussianParameters, kept: list[int]
    ) -> GaussianParameters:
        means = with_rows(parameters.means, before.means, kept)
        covariances = parameters.covariances
        if self._layout.shape(*means.shape)[0] == len(means):
            covariances = with_rows(covariances, before.covariances, kept)
            if not self._constraint.direct:
                covariances = completed(self._layout, self._constraint, parameters.weights, covariances, kept)
        return GaussianParameters(parameters.weights, means, covariances)

    def toward(
        self,
        background: GaussianParameters,
        sums: GaussianSums,
        frame: Frame,
        relevance: float,
        names: Collection[str],
        precision: float,
    ) -> GaussianParameters:
        """Return the parameters `names` between those of `background` and those most likely given the sums.

        A component of the background weighs as much as `relevance` rows. Parameters are in user units, and
        the sums in `frame`. `precision` is the spacing of numbers at 1 in the pass.
        """
        before = self.from_user(background, frame)
        found = adapted(self._layout, self._constraint, before, sums, relevance, names, precision)
        new = self.to_user(GaussianParameters(found.weights, before.means, found.covariances), frame)
        own = self._constraint.direct and self._layout.shape(*before.means.shape)[0] == len(sums.weights)
        kept = [int(component) for component in np.flatnonzero(sums.weights == 0)] if own else []
        covariances = new.covariances if "covariances" in names else background.covariances
        covariances = with_rows(covariances, background.covariances, kept)
        return GaussianParameters(found.weights, background.means + found.moves * frame.scale, covariances)

    def origin(self, k: int, d: int) -> GaussianParameters:
        unit = self._layout.diagonal(np.ones((self._layout.shape(k, d)[0], d)))
        return GaussianParameters(np.full(k, 1 / k), np.zeros((k, d)), unit)

    def recentred(
        self, origin: GaussianParameters | None, rough: GaussianParameters
    ) -> GaussianParameters | None:
        """Return the means that the first pass found. The second pass takes the scatter about them. So no
        precision is lost, however far apart and narrow the components are.

        What is expected of missing numbers depends on all parameters, so that these are found step by step.
        """
        assert origin is not None
        if not self.missing:
            return origin._replace(means=rough.means)
        return None if settled(self._layout, origin, rough) else rough

    def to_vector(self, parameters: GaussianParameters) -> FloatArray | None:
        return point_of(self._layout, self._constraint, parameters)

    def from_vector(self, vector: FloatArray, like: GaussianParameters) -> GaussianParameters | None:
        return parameters_at(self._layout, self._constraint, vector, like)

    def places(self, parameters: GaussianParameters) -> FloatArray:
        weights, means, covariances = parameters
        variances = self._layout.variances(covariances, means.shape[1])
        shared = len(variances) < len(means)
        return np.asarray(means / np.sqrt(variances[0] if shared else weights @ variances))

    # --- files and messages

    def to_arrays(self, sums: GaussianSums) -> dict[str, Array]:
        return sums._asdict()

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> GaussianSums:
        k = len(arrays["means"])
        shapes = {"means": (k, d), "weights": (k,), "first": (k, d), "scatter": self._layout.shape(k, d)}
        return GaussianSums(**{name: check_sums(name, arrays[name], shape) for name, shape in shapes.items()})

    def user_sums(self, sums: GaussianSums, frame: Frame) -> dict[str, Any]:
        return {
            "weights": sums.weights.copy(),
            "means": frame.restore(sums.means),
            "first": sums.first * frame.scale,
            "scatter": self._layout.rescale(sums.scatter, frame.scale),
        }

    @property
    def label(self) -> str:
        return f"covariance_type={self.name!r}"

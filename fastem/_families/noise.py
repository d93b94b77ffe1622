"""Gaussians and a uniform component on the box of the rows, for outliers (Banfield and Raftery 1993).

The kernels of the Gaussians serve the noise too: it is one more component whose precision is 0. So its
density is constant. Its sums say how much it weighs, and nothing else.

Letters: K Gaussians, which users call the k components. Arrays of weights have K + 1 entries, the noise last.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastem._families.base import Facts, Family, check_sums, weights_of
from fastem._families.frame import Frame, Moments
from fastem._families.gaussian import Gaussian
from fastem._families.layouts import GaussianParameters, GaussianSums
from fastem._families.steps import Cost, Maximised, Pass, Rule, Scores, Summed
from fastem._typing import Array, FloatArray, Rows

# How much of each row is noise at the start, whatever the start says.
_FIRST_SHARE = 0.05
_SOFT_SHARE = 1e-6  # at least, after EM on a sample
_HALF_LOG2_2PI = 0.5 * float(np.log2(2 * np.pi))


class Noise(Family[GaussianParameters, GaussianSums]):
    """log p(x | k) of a Gaussian, and log p(x | noise) = -log V, with the volume V of the box."""

    distribution = "gaussian"
    has_covariances = True
    location = "means"
    extra = 1

    def __init__(self, gaussian: Gaussian, box: FloatArray | None = None) -> None:
        """`box` (2, d) has the least and the largest value of each feature. It is None before a fit."""
        self.name, self.parameter_names = f"{gaussian.name} with noise", gaussian.parameter_names
        self.isotropic = gaussian.isotropic
        self._gaussian, self.box = gaussian, box

    # --- what is learned from rows: the box

    def adapted(self, facts: Facts) -> "Noise":
        assert facts.extent is not None
        box = np.array(facts.extent())
        narrow = ~(box[1] > box[0])
        if narrow.any():
            j = int(np.argmax(narrow))
            name = j if facts.names is None else repr(facts.names[j])
            raise ValueError(
                f"noise_component must be False if a column is constant; column {name} is always "
                f"{box[0, j]}, so that the box of the rows has no volume. Leave the column out."
            )
        return Noise(self._gaussian, box)

    def state(self) -> dict[str, Array]:
        assert self.box is not None
        return {"box": self.box}

    def with_state(self, arrays: Mapping[str, Array]) -> "Noise":
        box = check_sums("its box", arrays["box"], (2, arrays["box"].shape[-1]))
        if not (box[1] > box[0]).all():
            raise ValueError("its box is none")
        return Noise(self._gaussian, box)

    def agrees_with(self, other: Family[Any, Any]) -> bool:
        """A model of other rows, with their box, may be a start."""
        return self.label == other.label

    # --- parameters in user units

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> GaussianParameters:
        if len(weights) < 2:
            raise ValueError(f"weights must have shape (k + 1,), the noise last; got shape {weights.shape}.")
        found = self._gaussian.check(weights[:-1], parameters, n_features)
        if self.box is not None and self.box.shape[1] != found.means.shape[1]:
            raise ValueError(f"means must have {self.box.shape[1]} columns, as the box of the noise has.")
        return found._replace(weights=weights)

    def n_features(self, parameters: GaussianParameters) -> int:
        return self._gaussian.n_features(parameters)

    def n_parameters(self, k: int, d: int) -> int:
        """As mclust counts, one for the weight of the noise and one for the volume of the box."""
        return self._gaussian.n_parameters(k, d) + 2

    def to_user(self, parameters: GaussianParameters, frame: Frame) -> GaussianParameters:
        return self._gaussian.to_user(parameters, frame)

    def from_user(self, parameters: GaussianParameters, frame: Frame) -> GaussianParameters:
        return self._gaussian.from_user(parameters, frame)

    def sample(self, parameters: GaussianParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        assert self.box is not None
        noise = labels == len(parameters.means)
        X = self._gaussian.sample(_gaussians(parameters), labels, rng)
        low, high = self.box
        X[noise] = rng.uniform(low, high, (int(noise.sum()), len(low)))
        return X

    def shown(self, parameters: GaussianParameters) -> dict[str, Any]:
        """The noise has neither means nor deviations."""
        shown = self._gaussian.shown(_gaussians(parameters))
        return {name: np.pad(v, ((0, 1), (0, 0)), constant_values=np.nan) for name, v in shown.items()}

    def ellipsoids(self, parameters: GaussianParameters) -> tuple[FloatArray, FloatArray]:
        return self._gaussian.ellipsoids(_gaussians(parameters))

    def marginal(self, parameters: GaussianParameters, columns: Array) -> tuple["Noise", GaussianParameters]:
        assert self.box is not None
        gaussian, found = self._gaussian.marginal(parameters, columns)
        return Noise(gaussian, self.box[:, columns]), found

    # --- coordinates

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        return self._gaussian.frame(moments, dtype)

    def own_frame(self, parameters: GaussianParameters, dtype: np.dtype[Any]) -> Frame:
        return self._gaussian.own_frame(_gaussians(parameters), dtype)

    # --- passes

    def pack(self, parameters: GaussianParameters | None, frame: Frame, dtype: np.dtype[Any]) -> Any:
        assert parameters is not None
        assert self.box is not None
        weights = parameters.weights
        packed = self._gaussian.pack(parameters._replace(weights=weights[:-1]), frame, dtype)
        log2_volume = np.log2((self.box[1] - self.box[0]) / frame.scale).sum()
        with np.errstate(divide="ignore"):  # a weight of zero is a log-weight of -inf
            density = np.log2(weights[-1]) - log2_volume + _HALF_LOG2_2PI * len(frame.scale)
        arrays = {name: a for name, a in packed._asdict().items() if name not in ("shift", "inverse_scale")}
        longer = {name: np.concatenate([a, np.zeros_like(a[:1])]) for name, a in arrays.items()}
        longer["log2_weights"][-1] = density
        return packed._replace(**longer)

    def working_dtype(self, packed: Any) -> np.dtype[Any]:
        return self._gaussian.working_dtype(packed)

    def bytes_per_slot(self, k: int, d: int) -> int:
        return self._gaussian.bytes_per_slot(k + 1, d)

    def multiply_adds(self, d: int) -> int:
        return self._gaussian.multiply_adds(d)

    def cost(self, packed: Any, k: int, d: int) -> Cost:
        return self._gaussian.cost(packed, k + 1, d)

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[GaussianSums]:
        both = len(packed.log2_weights)
        return _NoisyPass(self._gaussian.begin_pass(packed, both, frame, hard, slots, n_threads), both)

    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        """Rows of noise get the label -1. Responsibilities without a column for the noise are filled too."""
        k, r = len(packed.log2_weights) - 1, wanted.responsibilities
        whole = wanted
        if r is not None and r.shape[1] == k:
            whole = wanted._replace(responsibilities=np.empty((len(r), k + 1), r.dtype))
        if not self._gaussian.score(packed, frame, rows, whole, slots, n_threads):
            return False
        if wanted.labels is not None:
            wanted.labels[wanted.labels == k] = -1
        if r is not None and whole.responsibilities is not r:
            assert whole.responsibilities is not None
            r[:] = whole.responsibilities[:, :-1]
        return True

    # --- sums and M-step

    def add(self, one: GaussianSums, other: GaussianSums) -> GaussianSums:
        return self._gaussian.add(one, other)

    def blend(
        self, before: GaussianParameters, weights: FloatArray, sums: GaussianSums, gain: float
    ) -> GaussianSums:
        own = sums._replace(weights=sums.weights[:-1])
        found = self._gaussian.blend(before, weights[:-1], own, gain)
        return found._replace(weights=weights + gain * sums.weights)

    def maximise(self, sums: GaussianSums, rule: Rule[GaussianParameters]) -> Maximised[GaussianParameters]:
        own, total = sums.weights[:-1], sums.weights.sum()
        share = float(own.sum() / total)
        if share == 0:  # all rows are noise, and tell nothing of the Gaussians
            origin = self._gaussian.origin(*sums.means.shape)._replace(weights=sums.weights / total)
            return Maximised(origin._replace(means=sums.means), [], list(range(len(own))), [])
        before = None if rule.before is None else _gaussians(rule.before)
        # Only weights can be fixed, which the Gaussians have no part in.
        found = self._gaussian.maximise(sums._replace(weights=own), rule._replace(before=before, held=None))
        weights = np.append(share * found.parameters.weights, sums.weights[-1] / total)
        return found._replace(parameters=found.parameters._replace(weights=weights))

    def keeping(
        self, parameters: GaussianParameters, before: GaussianParameters, kept: list[int]
    ) -> GaussianParameters:
        own = parameters._replace(weights=parameters.weights[:-1])
        return self._gaussian.keeping(own, before, kept)._replace(weights=parameters.weights)

    def origin(self, k: int, d: int) -> GaussianParameters:
        return _with_noise(self._gaussian.origin(k, d), _FIRST_SHARE)

    def softened(self, parameters: GaussianParameters) -> GaussianParameters:
        """A sample may lack the one row that is noise, where EM takes all of its weight."""
        share = float(parameters.weights[-1])
        if share >= _SOFT_SHARE:
            return parameters
        own = parameters.weights[:-1] * ((1 - _SOFT_SHARE) / (1 - share))
        return parameters._replace(weights=np.append(own, _SOFT_SHARE))

    def recentred(
        self, origin: GaussianParameters | None, rough: GaussianParameters
    ) -> GaussianParameters | None:
        return self._gaussian.recentred(origin, rough)

    def to_vector(self, parameters: GaussianParameters) -> FloatArray | None:
        vector = self._gaussian.to_vector(_gaussians(parameters))
        if vector is None:
            return None
        return np.concatenate([np.sqrt(parameters.weights), vector[len(parameters.means) :]])

    def from_vector(self, vector: FloatArray, like: GaussianParameters) -> GaussianParameters | None:
        k = len(like.means)
        weights = weights_of(vector[: k + 1])
        own = np.concatenate([np.ones(k), vector[k + 1 :]])
        found = self._gaussian.from_vector(own, _gaussians(like))
        return None if found is None or not np.isfinite(weights).all() else found._replace(weights=weights)

    def places(self, parameters: GaussianParameters) -> FloatArray:
        return self._gaussian.places(_gaussians(parameters))

    # --- files and messages

    def to_arrays(self, sums: GaussianSums) -> dict[str, Array]:
        return self._gaussian.to_arrays(sums)

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> GaussianSums:
        weights = check_sums("weights", arrays["weights"], (len(arrays["means"]) + 1,))
        found = self._gaussian.from_arrays({**arrays, "weights": weights[:-1].copy()}, d)
        return found._replace(weights=weights)

    def user_sums(self, sums: GaussianSums, frame: Frame) -> dict[str, Any]:
        return self._gaussian.user_sums(sums, frame)

    @property
    def label(self) -> str:
        return f"{self._gaussian.label}, noise_component=True"


class _NoisyPass(Pass[GaussianSums]):
    def __init__(self, running: Pass[GaussianSums], both: int) -> None:
        self._running, self._both = running, both

    def add(self, rows: Rows, given: Array | None) -> None:
        """If `given` does not tell what is noise, what is missing from 1 is, and a little of the rest."""
        if given is not None and given.shape[1] < self._both:
            known = (1 - _FIRST_SHARE) * np.asarray(given, np.float64)
            given = np.column_stack([known, np.maximum(1 - known.sum(axis=1), 0)])
        self._running.add(rows, given)

    def end(self) -> Summed[GaussianSums] | None:
        summed = self._running.end()
        if summed is None:
            return None
        means, weights, first, scatter = summed.sums
        return summed._replace(sums=GaussianSums(means[:-1], weights, first[:-1], scatter[:-1]))


def _gaussians(parameters: GaussianParameters) -> GaussianParameters:
    """Return the mixture without its noise."""
    own = parameters.weights[:-1]
    total = own.sum()
    return parameters._replace(weights=own / total if total > 0 else np.full(len(own), 1 / len(own)))


def _with_noise(gaussians: GaussianParameters, share: float) -> GaussianParameters:
    return gaussians._replace(weights=np.append((1 - share) * gaussians.weights, share))

"""The family of a distribution that a user has written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np

from fastem._checks import check_finite
from fastem._families.base import Family, Maximised, Pass, Rule, Scores, Summed, check_sums
from fastem._families.distribution import Distribution, Parameters
from fastem._families.frame import Frame, Moments, identity_frame
from fastem._families.reseed import alive_components
from fastem._typing import Array, FloatArray, Rows


class CustomParameters(NamedTuple):
    weights: FloatArray  # (K,)
    values: Parameters
    n_features: int


class CustomSums(NamedTuple):
    weights: FloatArray  # (K,) sum of r
    statistics: tuple[FloatArray, ...]
    about: CustomParameters | None  # the parameters of the E-step; None if there was none


class Custom(Family[CustomParameters, CustomSums]):
    """Translates between the engine and a `Distribution`. It checks everything that the user returns."""

    holds_responsibilities = True

    def __init__(self, written: Distribution) -> None:
        self._written = written
        self.distribution, self.name = written, type(written).__name__
        self.parameter_names = ()

    # --- the four methods of the user

    def log_density(self, rows: Rows, about: CustomParameters) -> FloatArray:
        """Return log-densities (m, K), which are finite or -inf."""
        X = np.asarray(rows.X, dtype=np.float64)
        with self._called("log_density"):
            value = self._written.log_density(X, dict(about.values))
        array = self._array("log_density", value, (len(X), len(about.weights)))
        bad = np.isnan(array) | (array == np.inf)
        if bad.any():
            row, component = np.argwhere(bad)[0]
            raise ValueError(
                f"{self.name}.log_density must return numbers below infinity; row {rows.start + row} of "
                f"{rows.where}, component {component} is {array[row, component]}."
            )
        return array

    def statistics(self, rows: Rows, r: FloatArray, about: CustomParameters | None) -> tuple[FloatArray, ...]:
        X = np.asarray(rows.X, dtype=np.float64)
        with self._called("statistics"):
            value = self._written.statistics(X, r, None if about is None else dict(about.values))
        if not isinstance(value, tuple):
            raise TypeError(f"{self.name}.statistics must return a tuple of arrays; got {value!r}.")
        # Make copies, since the user's code may change its arrays or use them again.
        arrays = tuple(self._array("statistics", entry).copy() for entry in value)
        for number, array in enumerate(arrays):
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{self.name}.statistics must return finite arrays; number {number} of the tuple is not."
                )
        return arrays

    def parameters(self, sums: CustomSums, dead: Array) -> Parameters:
        about = None if sums.about is None else dict(sums.about.values)
        with self._called("maximise"):
            value = self._written.maximise(sums.statistics, about)
        if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
            raise TypeError(f"{self.name}.maximise must return a dict of arrays by name; got {value!r}.")
        if about is not None and set(value) != set(about):
            raise ValueError(
                f"{self.name}.maximise must return the parameters {sorted(about)} each time; "
                f"got {sorted(value)}."
            )
        return {name: self._parameter(name, array, sums, dead) for name, array in value.items()}

    def _parameter(self, name: str, value: Any, sums: CustomSums, dead: Array) -> FloatArray:
        array = self._array("maximise", value).copy()
        if array.ndim == 0 or len(array) != len(dead):
            raise ValueError(
                f"{self.name}.maximise must return arrays with one entry per component, {len(dead)}, along "
                f"the first axis; {name!r} has shape {array.shape}."
            )
        if sums.about is not None:
            before = sums.about.values[name]
            if array.shape != before.shape:
                raise ValueError(
                    f"{self.name}.maximise must return {name!r} with shape {before.shape} each time; "
                    f"got {array.shape}."
                )
            array[dead] = before[dead]
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{self.name}.maximise must return finite parameters; {name!r} of component "
                f"{int(np.argmax(bad))} is {array[np.argmax(bad)]}."
            )
        array.flags.writeable = False
        return array

    @contextmanager
    def _called(self, method: str) -> Iterator[None]:
        """Add the name of the method to any error that a user's method raises."""
        try:
            with np.errstate(all="ignore"):
                yield
        except NotImplementedError:
            raise
        except Exception as error:
            raise ValueError(f"{self.name}.{method} raised {type(error).__name__}: {error}") from error

    def _array(self, method: str, value: Any, shape: tuple[int, ...] | None = None) -> FloatArray:
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self.name}.{method} must return arrays of numbers; {error}.") from None
        if shape is not None and array.shape != shape:
            raise ValueError(
                f"{self.name}.{method} must return an array of shape {shape}; got shape {array.shape}."
            )
        return array

    # --- parameters

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> CustomParameters:
        if n_features is None:
            raise ValueError(
                f"n_features must be given for a mixture of {self.name}. Pass the number of columns."
            )
        values = {name: check_finite(name, value) for name, value in parameters.items()}
        for name, array in values.items():
            if array.ndim == 0 or len(array) != len(weights):
                raise ValueError(
                    f"{name} must have one entry per component, {len(weights)}, along the first axis; "
                    f"got shape {array.shape}."
                )
            array.flags.writeable = False
        return CustomParameters(weights, values, n_features)

    def values(self, parameters: CustomParameters) -> dict[str, Any]:
        return dict(parameters.values)

    def n_features(self, parameters: CustomParameters) -> int:
        return parameters.n_features

    def n_parameters(self, k: int, d: int) -> int:
        with self._called("n_parameters"):
            return int(self._written.n_parameters(k, d))

    def to_user(self, parameters: CustomParameters, frame: Frame) -> CustomParameters:
        return parameters

    def from_user(self, parameters: CustomParameters, frame: Frame) -> CustomParameters:
        return parameters

    def sample(self, parameters: CustomParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        with self._called("sample"):
            value = self._written.sample(dict(parameters.values), labels.copy(), rng)
        return self._array("sample", value, (len(labels), parameters.n_features))

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(len(moments.mean))

    def own_frame(self, parameters: CustomParameters, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(parameters.n_features)

    def working_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float64)

    # --- passes

    def pack(self, parameters: CustomParameters | None, frame: Frame, dtype: np.dtype[Any]) -> Any:
        return parameters

    def bytes_per_slot(self, k: int, d: int) -> int:
        return 1

    def multiply_adds(self, d: int) -> int:
        return d * (d + 1)

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, slots: int, n_threads: int | None
    ) -> Pass[CustomSums]:
        return _CustomPass(self, packed, k)

    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        log_densities, r = _normalised(self.log_density(rows, packed), packed.weights)
        if wanted.labels is not None:
            wanted.labels[:] = r.argmax(axis=1)
        if wanted.log_densities is not None:
            wanted.log_densities[:] = log_densities
        if wanted.responsibilities is not None:
            wanted.responsibilities[:] = r
        return True

    # --- sums and M-step

    def add(self, one: CustomSums, other: CustomSums) -> CustomSums:
        if not (one.statistics and other.statistics):  # no rows have been seen yet
            return one if one.statistics else other
        shapes = ([array.shape for array in sums.statistics] for sums in (one, other))
        if next(shapes) != next(shapes):
            raise ValueError(f"{self.name}.statistics must return arrays of the same shapes for all chunks.")
        added = tuple(a + b for a, b in zip(one.statistics, other.statistics, strict=True))
        return CustomSums(one.weights + other.weights, added, one.about)

    def blend(
        self, before: CustomParameters, weights: FloatArray, sums: CustomSums, gain: float
    ) -> CustomSums:
        raise TypeError(
            f"partial_fit must be given a model of a built-in distribution; got one of {self.name}, whose "
            "expected statistics it cannot compute from the parameters. Use e_step and m_step on chunks, or "
            "fit with a function that yields them."
        )

    def maximise(self, sums: CustomSums, rule: Rule[CustomParameters]) -> Maximised[CustomParameters]:
        dead = ~alive_components(sums.weights, rule.mean_row_weight)
        values = self.parameters(sums, dead)
        weights = sums.weights / sums.weights.sum()
        d = len(rule.frame.scale)
        kept = [int(component) for component in np.flatnonzero(dead)]
        return Maximised(CustomParameters(weights, values, d), [], kept, [])

    def origin(self, k: int, d: int) -> None:
        return None

    # --- files and messages

    def to_arrays(self, sums: CustomSums) -> dict[str, Array]:
        arrays = {f"statistic {number}": array for number, array in enumerate(sums.statistics)}
        arrays["weights"] = sums.weights
        if sums.about is not None:
            arrays["about"] = sums.about.weights
            arrays |= {f"parameter {name}": array for name, array in sums.about.values.items()}
        return arrays

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> CustomSums:
        checked = {name: check_sums(name, array, array.shape) for name, array in arrays.items()}
        count = sum(name.startswith("statistic ") for name in checked)
        statistics = tuple(checked[f"statistic {number}"] for number in range(count))
        about = None
        if "about" in checked:
            prefix = "parameter "
            values = {name[len(prefix) :]: a for name, a in checked.items() if name.startswith(prefix)}
            about = CustomParameters(checked["about"], values, d)
        return CustomSums(checked["weights"], statistics, about)

    def user_sums(self, sums: CustomSums, frame: Frame) -> dict[str, Any]:
        return {"weights": sums.weights, "statistics": sums.statistics}

    @property
    def label(self) -> str:
        return f"distribution={self.name}()"

    def advice(self, cause: Literal["falls"]) -> str:
        return (
            f"{self.name}.maximise does not maximise the expected log-likelihood of {self.name}.log_density "
            f"given {self.name}.statistics: check that the three methods agree."
        )


class _CustomPass(Pass[CustomSums]):
    def __init__(self, family: Custom, about: CustomParameters | None, k: int) -> None:
        self._family, self._about = family, about
        self._sums = CustomSums(np.zeros(k), (), about)
        self._log_likelihood = 0.0

    def add(self, rows: Rows, given: Array | None) -> None:
        weight = None if rows.weight is None else rows.weight.astype(np.float64)
        if given is None:
            assert self._about is not None
            log_densities, r = _normalised(self._family.log_density(rows, self._about), self._about.weights)
            self._log_likelihood += _total(log_densities, weight)
        else:
            r = np.array(given, dtype=np.float64)
        if weight is not None:
            r *= weight[:, None]
        found = self._family.statistics(rows, r, self._about)
        self._sums = self._family.add(self._sums, CustomSums(r.sum(axis=0), found, self._about))

    def end(self) -> Summed[CustomSums]:
        return Summed(self._sums, self._log_likelihood)


def _normalised(log_densities: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return log p(x) (m,) and responsibilities (m, K).

    If no component can produce a row, the row has the same responsibility for all components.
    """
    with np.errstate(divide="ignore"):
        joint = log_densities + np.log(weights)
    peak = joint.max(axis=1, keepdims=True)
    impossible = peak[:, 0] == -np.inf
    joint[impossible], peak[impossible] = 0.0, 0.0
    joint -= peak
    r = np.exp(joint, out=joint)
    total = r.sum(axis=1, keepdims=True)
    r /= total
    log_p = (peak + np.log(total))[:, 0]
    log_p[impossible] = -np.inf
    return log_p, r


def _total(log_densities: FloatArray, weight: FloatArray | None) -> float:
    """Return the weighted sum. A row of weight 0 does not count, even if its log-density is -inf."""
    if weight is None:
        return float(log_densities.sum())
    return float((weight * np.where(weight > 0, log_densities, 0.0)).sum())

"""The family of a distribution that a user has written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from fastem._checks import check_finite, check_integer, check_numeric
from fastem._families.base import check_sums, weights_of
from fastem._families.distribution import Distribution, Parameters
from fastem._families.frame import Frame, identity_frame
from fastem._families.normalise import LN2, joint_densities, normalised
from fastem._families.reseed import alive_components
from fastem._families.steps import Maximised, Pass, Rule, Scores, Summed
from fastem._families.unscaled import Unscaled
from fastem._typing import Array, FloatArray, Rows, read_only

# A fall of the mean log-likelihood by less may be rounding in the methods of the user.
_SLACK = 1e-7


class CustomParameters(NamedTuple):
    weights: FloatArray  # (K,)
    values: Parameters
    n_features: int
    basis: "CustomSums | None" = None  # the sums that the values maximise, if this is known


class CustomSums(NamedTuple):
    weights: FloatArray  # (K,) sum of r
    statistics: tuple[FloatArray, ...] | None  # None if there were no rows
    about: CustomParameters | None  # the parameters of the E-step; None if there was none


class Custom(Unscaled[CustomParameters, CustomSums]):
    """Translates between the engine and a `Distribution`. It checks everything that the user returns."""

    can_blend = False  # which sums they are is known to the user alone
    holds_responsibilities = True

    def __init__(self, written: Distribution) -> None:
        self._written = written
        self.distribution, self._class = written, type(written).__name__
        self.name = f"{self._class}()"  # in files it cannot be taken for a built-in one
        self.parameter_names = ()

    # --- the four methods of the user

    def log_density(self, rows: Rows, about: CustomParameters) -> FloatArray:
        """Return log-densities (m, K), which are finite or -inf."""
        with self._called("log_density"):
            value = self._written.log_density(_numbers(rows), _lent(about))
        array = self._array("log_density", value, (len(rows.X), len(about.weights)))
        bad = np.isnan(array) | (array == np.inf)
        if bad.any():
            row, component = np.argwhere(bad)[0]
            raise ValueError(
                f"{self._class}.log_density must return numbers or -inf, but no NaN or +inf; "
                f"row {rows.start + row} of {rows.where}, component {component} is {array[row, component]}."
            )
        return array

    def statistics(self, rows: Rows, r: FloatArray, about: CustomParameters | None) -> tuple[FloatArray, ...]:
        with self._called("statistics"):
            value = self._written.statistics(_numbers(rows), read_only(r), _lent(about))
        if not isinstance(value, tuple):
            raise TypeError(
                f"{self._class}.statistics must return a tuple of arrays; got {type(value).__name__}."
            )
        # Make copies, since the user's code may change its arrays or use them again.
        arrays = tuple(self._array("statistics", entry).copy() for entry in value)
        for number, array in enumerate(arrays):
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{self._class}.statistics must return finite arrays; number {number} of the tuple "
                    "is not."
                )
        return arrays

    def parameters(self, sums: CustomSums, dead: Array) -> Parameters:
        about = _lent(sums.about)
        with self._called("maximise"):
            value = self._written.maximise(_lent_sums(sums), about)
        if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
            raise TypeError(f"{self._class}.maximise must return a dict of arrays by name; got {value!r}.")
        if about is not None and set(value) != set(about):
            raise ValueError(
                f"{self._class}.maximise must return the parameters {sorted(about)} each time; "
                f"got {sorted(value)}."
            )
        return {name: self._parameter(name, array, sums, dead) for name, array in value.items()}

    def _parameter(self, name: str, value: Any, sums: CustomSums, dead: Array) -> FloatArray:
        array = self._array("maximise", value).copy()
        if array.ndim == 0 or len(array) != len(dead):
            raise ValueError(
                f"{self._class}.maximise must return arrays with one entry per component, {len(dead)}, along "
                f"the first axis; {name!r} has shape {array.shape}."
            )
        if sums.about is None:
            before = np.broadcast_to(array[np.argmax(sums.weights)], array.shape)
        else:
            before = sums.about.values[name]
            if array.shape != before.shape:
                raise ValueError(
                    f"{self._class}.maximise must return {name!r} with shape {before.shape} each time; "
                    f"got {array.shape}."
                )
        array[dead] = before[dead]
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{self._class}.maximise must return finite parameters; {name!r} of component "
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
        except Exception as error:
            raise ValueError(f"{self._class}.{method} raised {type(error).__name__}: {error}") from error

    def _array(self, method: str, value: Any, shape: tuple[int, ...] | None = None) -> FloatArray:
        array = np.asarray(check_numeric(value, f"what {self._class}.{method} returns"), dtype=np.float64)
        if shape is not None and array.shape != shape:
            raise ValueError(
                f"{self._class}.{method} must return an array of shape {shape}; got shape {array.shape}."
            )
        return array

    # --- parameters

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> CustomParameters:
        if n_features is None:
            raise ValueError(
                f"n_features must be given for a mixture of {self._class}. Pass the number of columns."
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
            value = self._written.n_parameters(k, d)
        return check_integer(f"what {self._class}.n_parameters returns", value, 0, "Return an int.")

    def sample(self, parameters: CustomParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        if type(self._written).sample is Distribution.sample:
            raise NotImplementedError(f"{self._class} has no method `sample`. Write one to draw rows.")
        with self._called("sample"):
            value = self._written.sample(_lent(parameters), read_only(labels), rng)
        X = self._array("sample", value, (len(labels), parameters.n_features))
        if not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0]
            raise ValueError(
                f"{self._class}.sample must return finite rows; "
                f"row {row}, column {column} is {X[row, column]}."
            )
        return X

    def own_frame(self, parameters: CustomParameters, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(np.zeros(parameters.n_features))

    def working_dtype(self, packed: Any) -> np.dtype[Any]:
        return np.dtype(np.float64)

    # --- passes

    def pack(self, parameters: CustomParameters | None, frame: Frame, dtype: np.dtype[Any]) -> Any:
        return None if parameters is None else parameters._replace(basis=None)

    def bytes_per_slot(self, k: int, d: int) -> int:
        return 1

    def multiply_adds(self, d: int) -> int:
        return d * (d + 1)

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[CustomSums]:
        return _CustomPass(self, packed, k, hard)

    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        if not np.isfinite(rows.X).all():
            return False
        joint = joint_densities(self.log_density(rows, packed), packed.weights)
        if wanted.joint is not None:
            wanted.joint[:] += joint / LN2
        log_densities, r = normalised(joint)
        if wanted.labels is not None:
            wanted.labels[:] = r.argmax(axis=1)
        if wanted.log_densities is not None:
            wanted.log_densities[:] = log_densities
        if wanted.responsibilities is not None:
            wanted.responsibilities[:] = r
        return True

    # --- sums and M-step

    def add(self, one: CustomSums, other: CustomSums) -> CustomSums:
        if one.statistics is None or other.statistics is None:
            return one if other.statistics is None else other
        shapes, others = ([array.shape for array in found] for found in (one.statistics, other.statistics))
        if shapes != others:
            raise ValueError(
                f"{self._class}.statistics must return arrays of the same shapes for all chunks; "
                f"got {shapes} and {others}."
            )
        pairs = zip(one.statistics, other.statistics, strict=True)
        added = tuple(np.asarray(a + b) for a, b in pairs)  # NumPy's sum of scalars is no array
        return CustomSums(one.weights + other.weights, added, one.about)

    def maximise(self, sums: CustomSums, rule: Rule[CustomParameters]) -> Maximised[CustomParameters]:
        dead = ~alive_components(sums.weights, rule.mean_row_weight)
        values = self.parameters(sums, dead)
        weights = sums.weights / sums.weights.sum()
        d = len(rule.frame.scale)
        kept = [int(component) for component in np.flatnonzero(dead)]
        return Maximised(CustomParameters(weights, values, d, sums), [], kept, [], lambda: _SLACK)

    # Where the user's parameters are valid is known to the user alone. So we extrapolate sums, of which the
    # user's own method makes parameters, and refuse what leaves the bounds that all values kept so far.

    def to_vector(self, parameters: CustomParameters) -> FloatArray | None:
        if parameters.basis is None or parameters.basis.statistics is None:
            return None
        sums = parameters.basis
        total = sums.weights.sum()
        statistics = [array.ravel() / total for array in _lent_sums(sums)]
        return np.concatenate([np.sqrt(parameters.weights), *statistics])

    def from_vector(self, vector: FloatArray, like: CustomParameters) -> CustomParameters | None:
        basis = like.basis
        if basis is None or not np.isfinite(vector).all():
            return None
        shapes = [array.shape for array in _lent_sums(basis)]
        ends = np.cumsum([len(like.weights), *(int(np.prod(shape)) for shape in shapes)])
        roots, *parts = np.split(vector, ends[:-1])
        weights, total = weights_of(roots), basis.weights.sum()
        statistics = tuple(total * part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        sums = CustomSums(total * weights, statistics, basis.about)
        try:
            values = self.parameters(sums, np.zeros(len(weights), dtype=bool))
        except ValueError:
            return None
        if not all(_within_bounds(array, like.values[name]) for name, array in values.items()):
            return None
        return CustomParameters(weights, values, like.n_features, sums)

    def keeping(
        self, parameters: CustomParameters, before: CustomParameters, kept: list[int]
    ) -> CustomParameters:
        return parameters  # `maximise` has kept them

    def origin(self, k: int, d: int) -> None:
        return None

    # --- files and messages

    def to_arrays(self, sums: CustomSums) -> dict[str, Array]:
        arrays = {f"statistic {number}": array for number, array in enumerate(_lent_sums(sums))}
        arrays["weights"] = sums.weights
        if sums.about is not None:
            arrays["about"] = sums.about.weights
            arrays |= {f"parameter {name}": array for name, array in sums.about.values.items()}
        return arrays

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> CustomSums:
        checked = {name: check_sums(name, array, array.shape) for name, array in arrays.items()}
        weights = check_sums("weights", checked["weights"], (arrays["weights"].size,))
        count = sum(name.startswith("statistic ") for name in checked)
        statistics = tuple(checked[f"statistic {number}"] for number in range(count))
        about = None
        if "about" in checked:
            prefix = "parameter "
            values = {name[len(prefix) :]: a for name, a in checked.items() if name.startswith(prefix)}
            about = self.check(check_sums("about", checked["about"], weights.shape), values, d)
        return CustomSums(weights, statistics, about)

    def user_sums(self, sums: CustomSums, frame: Frame) -> dict[str, Any]:
        return {"weights": sums.weights.copy(), "statistics": _lent_sums(sums)}

    @property
    def label(self) -> str:
        return f"distribution={self.name}"

    @property
    def advice_on_fall(self) -> str:
        return (
            f"{self._class}.maximise does not maximise the expected log-likelihood of "
            f"{self._class}.log_density given {self._class}.statistics: check that the three methods agree."
        )


class _CustomPass(Pass[CustomSums]):
    def __init__(self, family: Custom, about: CustomParameters | None, k: int, hard: bool) -> None:
        self._family, self._about, self._hard = family, about, hard
        self._sums = CustomSums(np.zeros(k), None, about)
        self._log_likelihood, self._finite = 0.0, True

    def add(self, rows: Rows, given: Array | None) -> None:
        if not np.isfinite(rows.X).all():  # the fault of the rows, and not of a method that they are given to
            self._finite = False
            return
        if given is None:
            assert self._about is not None
            joint = joint_densities(self._family.log_density(rows, self._about), self._about.weights)
            own = joint.argmax(axis=1) if self._hard else np.full(len(joint), -1)
            if rows.labels is not None:
                own = np.where(rows.labels >= 0, rows.labels, own)
            log_densities, r = normalised(joint, own)
            self._log_likelihood += rows.weighted_sum(log_densities)
        else:
            r = np.array(given, dtype=np.float64)
        if rows.weight is not None:
            r *= rows.weight[:, None]
        found = self._family.statistics(rows, r, self._about)
        self._sums = self._family.add(self._sums, CustomSums(r.sum(axis=0), found, self._about))

    def end(self) -> Summed[CustomSums] | None:
        return Summed(self._sums, self._log_likelihood) if self._finite else None


# What users get is read-only: a method that writes into it would change the rows, or what comes after.


def _numbers(rows: Rows) -> FloatArray:
    return read_only(np.asarray(rows.X, dtype=np.float64))


def _lent(parameters: CustomParameters | None) -> Any:
    if parameters is None:
        return None
    return {name: read_only(array) for name, array in parameters.values.items()}


def _lent_sums(sums: CustomSums) -> tuple[FloatArray, ...]:
    assert sums.statistics is not None
    return tuple(read_only(array) for array in sums.statistics)


def _within_bounds(array: FloatArray, like: FloatArray) -> bool:
    """Return whether an array is positive, at most 1 or positive definite if `like` is."""
    if (like >= 0).all() and not ((array >= 0).all() and ((like == 0) | (array > 0)).all()):
        return False
    if (like >= 0).all() and (like <= 1).all() and (array > 1).any():
        return False
    if like.ndim < 2 or like.shape[-1] != like.shape[-2] or not _positive_definite(like):
        return True
    return _positive_definite(array)


def _positive_definite(matrices: FloatArray) -> bool:
    if not np.allclose(matrices, np.swapaxes(matrices, -1, -2)):
        return False
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return False
    return True

"""Columns of different kinds, which are independent given the component.

The columns of one kind are a block, with the family of that kind. The log-density of a row is the sum of
those of its blocks. So a pass adds them up, finds the responsibilities, and gives these to each block. The
kernels are those of the blocks, so that no combination of kinds compiles anew.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastem._families.base import Facts, Family
from fastem._families.blocks import (
    Block,
    MixedPacked,
    MixedParameters,
    MixedPass,
    MixedSums,
    fill,
    joint_of,
    parts_of,
    state_of,
)
from fastem._families.categories import checked_list
from fastem._families.frame import Frame, Moments
from fastem._families.kinds import kinds_of_columns
from fastem._families.steps import Maximised, Pass, Rule, Scores
from fastem._io import unnamed
from fastem._typing import Array, FloatArray, Rows


class Mixed(Family[MixedParameters, MixedSums]):
    """log p(x | k) = the sum over blocks of log p(x_block | k)."""

    name = "mixed"
    holds_responsibilities = True
    has_base_measure = True

    def __init__(
        self,
        family_of: Callable[[str, str], Family[Any, Any]],
        distribution: Mapping[Any, str],
        covariance_type: str,
        blocks: tuple[Block, ...] = (),
        *,
        missing: bool = False,
    ) -> None:
        """`distribution` has the kind of each column by name or number. It is in the order of the columns if
        there are `blocks`, which `adapted` makes.

        `family_of` returns the family of a kind, given the covariance type of Gaussians.
        """
        self._family_of, self._covariance_type, self._blocks = family_of, covariance_type, blocks
        self.missing, self.by_pattern = missing, any(block.family.by_pattern for block in blocks)
        self.refinements = max((block.family.refinements for block in blocks), default=1)
        self.distribution = dict(distribution)
        self.has_covariances = "gaussian" in self.distribution.values()
        self.tries_random = any(block.family.tries_random for block in blocks)
        self.parameter_names = tuple(
            f"{block.kind}_{name}" for block in blocks for name in block.family.parameter_names
        )
        categories: list[Array | None] = [None] * len(distribution)
        for block in blocks:
            for j, values in zip(block.columns, block.family.categories or (), strict=False):
                categories[j] = values
        if "categorical" in self.distribution.values():
            self.categories = tuple(categories) if blocks else None
            texts = ((None if v is None or v.dtype.kind != "U" else v) for v in categories)
            self.vocabulary = tuple(texts) if blocks else ()

    # --- columns

    def adapted(self, facts: Facts) -> "Mixed":
        kinds = kinds_of_columns(self.distribution, facts)
        keys = facts.names or range(len(kinds))
        blocks = []
        for kind in sorted(set(kinds)):
            columns = np.flatnonzero([own == kind for own in kinds])
            own = Facts(
                None,
                tuple(facts.texts[j] for j in columns),
                lambda chosen, columns=columns: facts.distinct(columns[chosen]),  # type: ignore[misc]
            )
            family = self._family(kind, self._covariance_type).adapted(own)
            blocks.append(Block(kind, family, columns))
        return self._with(dict(zip(keys, kinds, strict=True)), self._covariance_type, blocks)

    def with_missing(self) -> "Mixed":
        blocks = [block._replace(family=block.family.with_missing()) for block in self._blocks]
        return Mixed(self._family_of, self.distribution, self._covariance_type, tuple(blocks), missing=True)

    def _family(self, kind: str, covariance_type: str) -> Family[Any, Any]:
        family = self._family_of(kind, covariance_type)
        return family.with_missing() if self.missing else family

    def _with(self, kinds: Mapping[Any, str], covariance_type: str, blocks: list[Block]) -> "Mixed":
        return Mixed(self._family_of, kinds, covariance_type, tuple(blocks), missing=self.missing)

    def with_categories(self, categories: Any, parameters: Mapping[str, Any]) -> "Mixed":
        """The dict has the columns in their order, as there are no rows that could tell it."""
        d, named = len(self.distribution), all(isinstance(key, str) for key in self.distribution)
        given = None if categories is None else checked_list(categories, d)
        names = tuple(self.distribution) if named else None
        adapted = self.adapted(Facts(names, (None,) * d, lambda chosen: ()))
        values = {"probabilities": parameters.get("categorical_probabilities")}
        blocks = [
            block._replace(
                family=block.family.with_categories(given and [given[j] for j in block.columns], values)
            )
            if block.kind == "categorical"
            else block
            for block in adapted._blocks
        ]
        return self._with(adapted.distribution, self._covariance_type, blocks)

    def state(self) -> dict[str, Array]:
        return state_of(self.distribution, self._covariance_type, self._blocks)

    def with_state(self, arrays: Mapping[str, Array]) -> "Mixed":
        distribution, covariance_type, parts = parts_of(arrays)
        blocks = [
            Block(kind, self._family(kind, covariance_type).with_state(own), columns)
            for kind, columns, own in parts
        ]
        return self._with(distribution, covariance_type, blocks)

    def _each(self, values: tuple[Any, ...]) -> Any:
        return zip(self._blocks, values, strict=True)

    # --- parameters in user units

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> MixedParameters:
        blocks = []
        for kind, family, columns in self._blocks:
            own = {name: parameters[f"{kind}_{name}"] for name in family.parameter_names}
            try:
                blocks.append(family.check(weights, own, len(columns)))
            except ValueError as error:
                raise ValueError(f"{kind}_{error}") from None
        return MixedParameters(weights, tuple(blocks))

    def values(self, parameters: MixedParameters) -> dict[str, Any]:
        return {
            f"{block.kind}_{name}": value
            for block, own in self._each(parameters.blocks)
            for name, value in block.family.values(own).items()
        }

    def shown(self, parameters: MixedParameters) -> dict[str, Any]:
        return {
            f"{block.kind}_{name}": value
            for block, own in self._each(parameters.blocks)
            for name, value in block.family.shown(own).items()
        }

    def columns_of(self, name: str) -> Array:
        kind = name.partition("_")[0]
        return next(block.columns for block in self._blocks if block.kind == kind)

    def n_features(self, parameters: MixedParameters) -> int:
        return sum(len(block.columns) for block in self._blocks)

    def n_parameters(self, k: int, d: int) -> int:
        return sum(block.family.n_parameters(k, len(block.columns)) for block in self._blocks)

    def to_user(self, parameters: MixedParameters, frame: Frame) -> MixedParameters:
        return parameters._replace(
            blocks=tuple(b.family.to_user(own, b.frame(frame)) for b, own in self._each(parameters.blocks))
        )

    def from_user(self, parameters: MixedParameters, frame: Frame) -> MixedParameters:
        blocks = (
            block.family.from_user(own._replace(weights=parameters.weights), block.frame(frame))
            for block, own in self._each(parameters.blocks)
        )
        return parameters._replace(blocks=tuple(blocks))

    def sample(self, parameters: MixedParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        text = any(text is not None for text in self.vocabulary or ())
        X = np.empty((len(labels), self.n_features(parameters)), object if text else np.float64)
        for block, own in self._each(parameters.blocks):
            X[:, block.columns] = block.family.sample(own, labels, rng)
        return X

    def imputed(
        self,
        parameters: MixedParameters,
        X: FloatArray,
        responsibilities: FloatArray,
        rng: np.random.Generator | None,
    ) -> FloatArray:
        found = X.astype(np.float64)
        for block, own in self._each(parameters.blocks):
            here = X[:, block.columns]
            found[:, block.columns] = block.family.imputed(own, here, responsibilities, rng)
        return found

    def ellipsoids(self, parameters: MixedParameters) -> tuple[FloatArray, FloatArray]:
        k, d = len(parameters.weights), self.n_features(parameters)
        centres, matrices = np.full((k, d), np.nan), np.full((k, d, d), np.nan)
        for block, own in self._each(parameters.blocks):
            if (found := block.family.ellipsoids(own)) is not None:
                centres[:, block.columns] = found[0]
                matrices[:, block.columns[:, None], block.columns] = found[1]
        return centres, matrices

    def marginal(self, parameters: MixedParameters, columns: Array) -> tuple[Family[Any, Any], Any] | None:
        for block, own in self._each(parameters.blocks):
            if set(columns) <= set(block.columns):
                places = np.array([list(block.columns).index(j) for j in columns])
                own = own._replace(weights=parameters.weights)
                found: tuple[Family[Any, Any], Any] | None = block.family.marginal(own, places)
                return found
        return None

    # --- coordinates

    def _whole(self, frames: list[Frame]) -> Frame:
        """Return the frame of all columns from those of the blocks."""
        d = sum(len(block.columns) for block in self._blocks)
        arrays = [np.empty(d) for _ in Frame._fields]
        for block, frame in zip(self._blocks, frames, strict=True):
            for array, own in zip(arrays, frame, strict=True):
                array[block.columns] = own
        return Frame(*arrays)

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        weight, mean, variance = moments[:3]
        of_blocks = (Moments(weight, mean[b.columns], variance[b.columns]) for b in self._blocks)
        return self._whole([b.family.frame(own, dtype) for b, own in self._each(tuple(of_blocks))])

    def own_frame(self, parameters: MixedParameters, dtype: np.dtype[Any]) -> Frame:
        weights = parameters.weights
        return self._whole(
            [
                block.family.own_frame(own._replace(weights=weights), dtype)
                for block, own in self._each(parameters.blocks)
            ]
        )

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        return np.concatenate(
            [block.family.seen(X[:, block.columns], block.frame(frame)) for block in self._blocks], axis=1
        )

    def softened(self, parameters: MixedParameters) -> MixedParameters:
        blocks = (
            block.family.softened(own._replace(weights=parameters.weights))
            for block, own in self._each(parameters.blocks)
        )
        return parameters._replace(blocks=tuple(blocks))

    def working_dtype(self, packed: MixedPacked) -> np.dtype[Any]:
        """Return float32 if a block computes in it."""
        dtypes = [block.family.working_dtype(own) for block, own in self._each(packed.blocks)]
        return np.dtype(np.float32) if np.dtype(np.float32) in dtypes else np.dtype(np.float64)

    # --- passes

    def pack(self, parameters: MixedParameters | None, frame: Frame, dtype: np.dtype[Any]) -> MixedPacked:
        """The weights of the components are added to the sum of the blocks, and not to each."""
        assert parameters is not None
        ones = np.ones_like(parameters.weights)
        blocks = (
            block.family.pack(own._replace(weights=ones), block.frame(frame), dtype)
            for block, own in self._each(parameters.blocks)
        )
        with np.errstate(divide="ignore"):  # a weight of zero is a log-weight of -inf
            return MixedPacked(np.log2(parameters.weights), tuple(blocks))

    def bytes_per_slot(self, k: int, d: int) -> int:
        return sum(block.family.bytes_per_slot(k, len(block.columns)) for block in self._blocks)

    def multiply_adds(self, d: int) -> int:
        return sum(block.family.multiply_adds(len(block.columns)) for block in self._blocks)

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[MixedSums]:
        return MixedPass(self._blocks, packed, k, frame, hard, slots, n_threads)

    def score(
        self, packed: MixedPacked, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        parts = [block.rows(rows) for block in self._blocks]
        joint = joint_of(self._blocks, packed, frame, parts, slots, n_threads)
        if joint is None:
            return False
        fill(wanted, joint, rows, packed, slots, n_threads)
        return True

    def base_measure(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        total = np.zeros(len(rows.X))
        for block in self._blocks:
            if block.family.has_base_measure:
                total += block.family.base_measure(block.rows(rows), block.frame(frame), n_threads)
        return total

    # --- sums and M-step

    def add(self, one: MixedSums, other: MixedSums) -> MixedSums:
        pairs = zip(self._blocks, one.blocks, other.blocks, strict=True)
        return MixedSums(one.weights + other.weights, tuple(b.family.add(*two) for b, *two in pairs))

    def blend(self, before: MixedParameters, weights: FloatArray, sums: MixedSums, gain: float) -> MixedSums:
        triples = zip(self._blocks, before.blocks, sums.blocks, strict=True)
        blocks = (block.family.blend(own, weights, there, gain) for block, own, there in triples)
        return MixedSums(weights + gain * sums.weights, tuple(blocks))

    def maximise(self, sums: MixedSums, rule: Rule[MixedParameters]) -> Maximised[MixedParameters]:
        """The weights decide which components have no rows, and all blocks have the same."""
        found: list[Maximised[Any]] = []
        for number, (block, own) in enumerate(self._each(sums.blocks)):
            before = None if rule.before is None else rule.before.blocks[number]
            there: Rule[Any] = block.rule(rule)._replace(before=before)
            found.append(block.family.maximise(own._replace(weights=sums.weights), there))
        return Maximised(
            MixedParameters(found[0].parameters.weights, tuple(one.parameters for one in found)),
            found[0].reseeded,
            found[0].kept,
            sorted({component for one in found for component in one.floored}),
            lambda: sum(one.slack() for one in found),
            any(one.imprecise for one in found),
        )

    def keeping(
        self, parameters: MixedParameters, before: MixedParameters, kept: list[int]
    ) -> MixedParameters:
        triples = zip(self._blocks, parameters.blocks, before.blocks, strict=True)
        return parameters._replace(blocks=tuple(b.family.keeping(o, p, kept) for b, o, p in triples))

    def origin(self, k: int, d: int) -> MixedParameters:
        blocks = tuple(block.family.origin(k, len(block.columns)) for block in self._blocks)
        return MixedParameters(np.full(k, 1 / k), blocks)

    def recentred(self, origin: MixedParameters | None, rough: MixedParameters) -> MixedParameters | None:
        assert origin is not None
        triples = list(zip(self._blocks, origin.blocks, rough.blocks, strict=True))
        about = [block.family.recentred(own, there) for block, own, there in triples]
        if all(one is None for one in about):
            return None
        blocks = (own if one is None else one for one, own in zip(about, origin.blocks, strict=True))
        return origin._replace(blocks=tuple(blocks))

    def to_vector(self, parameters: MixedParameters) -> FloatArray | None:
        vectors = []
        for block, own in self._each(parameters.blocks):
            vector = block.family.to_vector(own._replace(weights=parameters.weights))
            if vector is None:
                return None
            vectors.append(vector)
        return np.concatenate(vectors)

    def from_vector(self, vector: FloatArray, like: MixedParameters) -> MixedParameters | None:
        blocks, start = [], 0
        for block, own in self._each(like.blocks):
            stop = start + len(block.family.to_vector(own))
            found = block.family.from_vector(vector[start:stop], own)
            if found is None:
                return None
            blocks.append(found)
            start = stop
        return MixedParameters(blocks[0].weights, tuple(blocks))

    def places(self, parameters: MixedParameters) -> FloatArray | None:
        places = [block.family.places(own) for block, own in self._each(parameters.blocks)]
        known = [place for place in places if place is not None]
        return np.concatenate(known, axis=1) if len(known) == len(places) else None

    # --- files and messages

    def to_arrays(self, sums: MixedSums) -> dict[str, Array]:
        return {
            f"{block.kind} {name}": array
            for block, own in self._each(sums.blocks)
            for name, array in block.family.to_arrays(own).items()
        }

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> MixedSums:
        blocks = []
        for kind, family, columns in self._blocks:
            own = unnamed(f"{kind} ", arrays)
            blocks.append(family.from_arrays(own, len(columns)))
        return MixedSums(blocks[0].weights, tuple(blocks))

    def user_sums(self, sums: MixedSums, frame: Frame) -> dict[str, Any]:
        return {
            f"{block.kind}_{name}": value
            for block, own in self._each(sums.blocks)
            for name, value in block.family.user_sums(own, block.frame(frame)).items()
        }

    @property
    def label(self) -> str:
        kinds = dict(sorted(self.distribution.items(), key=lambda item: str(item[0])))
        diag = self._covariance_type == "diag"
        return f"distribution={kinds}" + ("" if diag else f", covariance_type={self._covariance_type!r}")

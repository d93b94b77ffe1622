"""The columns of one kind, and a pass over those of all kinds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastem._families.base import Family
from fastem._families.compiled import IMPOSSIBLE_MEAN
from fastem._families.frame import Frame
from fastem._families.normalise import LN2
from fastem._families.steps import Pass, Rule, Scores, Summed
from fastem._io import unnamed
from fastem._kernels._mixed import slot_responsibilities
from fastem._kernels._parallel import run_slots
from fastem._typing import Array, FloatArray, Rows, read_only

# The kernel gives a row that no component can produce a log-density below this.
IMPOSSIBLE = -1e36


class MixedParameters(NamedTuple):
    weights: FloatArray  # (K,)
    blocks: tuple[Any, ...]  # the parameters of each block, with weights of their own that do not count


class MixedSums(NamedTuple):
    weights: FloatArray  # (K,) sum of r
    blocks: tuple[Any, ...]


class MixedPacked(NamedTuple):
    log2_weights: FloatArray  # (K,)
    blocks: tuple[Any, ...]


class Block(NamedTuple):
    """The columns of one kind."""

    kind: str
    family: Family[Any, Any]
    columns: Array  # (d',) the numbers of its columns

    def rows(self, rows: Rows) -> Rows:
        """Return the columns of this block, with what is known about the rows."""
        own = np.take(rows.X, self.columns, axis=1)
        return rows._replace(X=read_only(own), columns=self.columns)

    def frame(self, frame: Frame) -> Frame:
        return Frame(*(array[self.columns] for array in frame))

    def rule(self, rule: Rule[Any]) -> Rule[Any]:
        """Return the rule of an M-step for this block alone. The caller fixes parameters itself."""
        constant = None if rule.constant is None else rule.constant[self.columns]
        return rule._replace(frame=self.frame(rule.frame), held=None, constant=constant)


def state_of(
    distribution: Mapping[Any, str], covariance_type: str, blocks: tuple[Block, ...]
) -> dict[str, Array]:
    """Return the kinds of columns, and what the blocks have learned, as arrays for a file."""
    keys = list(distribution)
    arrays = {
        "keys": np.array([str(key) for key in keys], np.str_),
        "named": np.array([isinstance(key, str) for key in keys], bool),
        "kinds": np.array(list(distribution.values()), np.str_),
        "covariance_type": np.array([covariance_type], np.str_),
    }
    for block in blocks:
        arrays |= {f"{block.kind} {name}": array for name, array in block.family.state().items()}
    return arrays


def parts_of(
    arrays: Mapping[str, Array],
) -> tuple[dict[Any, str], str, list[tuple[str, Array, dict[str, Array]]]]:
    """Return the kinds of columns, the covariance type, and the kind, columns and state of each block."""
    if not {"keys", "named", "kinds", "covariance_type"} <= set(arrays):
        raise ValueError("its columns are missing")
    named, keys = bool(arrays["named"].all()), [str(key) for key in arrays["keys"]]
    kinds = [str(kind) for kind in arrays["kinds"]]
    parts = [
        (kind, np.flatnonzero([one == kind for one in kinds]), unnamed(f"{kind} ", arrays))
        for kind in sorted(set(kinds))
    ]
    distribution: dict[Any, str] = dict(zip(keys if named else range(len(kinds)), kinds, strict=True))
    return distribution, str(arrays["covariance_type"][0]), parts


def joint_of(
    blocks: tuple[Block, ...],
    packed: MixedPacked,
    frame: Frame,
    parts: list[Rows],
    slots: int,
    n_threads: int | None,
) -> FloatArray | None:
    """Return log2-densities (m, K) without the weights, or None if a row is not finite.

    `parts` are the rows of each block.
    """
    total = np.zeros((len(parts[0].X), len(packed.log2_weights)))
    wanted = Scores(joint=total)
    for block, params, there in zip(blocks, packed.blocks, parts, strict=True):
        if not block.family.score(params, block.frame(frame), there, wanted, slots, n_threads):
            return None
    return total


class MixedPass(Pass[MixedSums]):
    def __init__(
        self,
        blocks: tuple[Block, ...],
        packed: MixedPacked,
        k: int,
        frame: Frame,
        hard: bool,
        slots: int,
        n_threads: int | None,
    ) -> None:
        self._blocks, self._packed, self._frame, self._hard = blocks, packed, frame, hard
        self._slots, self._n_threads = slots, n_threads
        self._passes = [
            block.family.begin_pass(own, k, block.frame(frame), False, slots, n_threads)
            for block, own in zip(blocks, packed.blocks, strict=True)
        ]
        self._log2_likelihood, self._finite = 0.0, True

    def add(self, rows: Rows, given: Array | None) -> None:
        parts = [block.rows(rows) for block in self._blocks]
        if given is None:
            how = self._slots, self._n_threads
            joint = joint_of(self._blocks, self._packed, self._frame, parts, *how)
            if joint is None:
                self._finite = False
                return
            self._log2_likelihood += share(joint, rows, self._packed, self._hard, np.empty(0), *how)
            given, parts = joint, [part._replace(weight=None) for part in parts]
        for running, part in zip(self._passes, parts, strict=True):
            running.add(part, given)

    def end(self) -> Summed[MixedSums] | None:
        ends = [running.end() for running in self._passes]
        blocks = tuple(end.sums for end in ends if end is not None)
        if not self._finite or len(blocks) < len(ends):
            return None
        log_likelihood = LN2 * self._log2_likelihood
        if log_likelihood < IMPOSSIBLE_MEAN * blocks[0].weights.sum():
            log_likelihood = -np.inf
        return Summed(MixedSums(blocks[0].weights, blocks), log_likelihood)


def share(
    joint: FloatArray,
    rows: Rows,
    packed: MixedPacked,
    hard: bool,
    log2_densities: FloatArray,
    slots: int,
    n_threads: int | None,
) -> float:
    """Replace log2-densities by responsibilities times weights. Return the log2-likelihood of the rows."""
    weight = np.empty(0) if rows.weight is None else rows.weight.astype(np.float64)
    labels = np.empty(0, np.int64) if rows.labels is None else rows.labels
    log2_likelihood = np.zeros(slots)
    arguments = (joint, read_only(weight), read_only(labels), packed.log2_weights, np.array([hard], np.int64))
    run_slots(slot_responsibilities, (*arguments, log2_densities, log2_likelihood), slots, n_threads)
    return float(log2_likelihood.sum())


def fill(
    wanted: Scores,
    joint: FloatArray,
    rows: Rows,
    packed: MixedPacked,
    slots: int,
    n_threads: int | None,
) -> None:
    """Fill the wanted scores of rows with these log2-densities (m, K), which may be overwritten."""
    if wanted.joint is not None:
        wanted.joint[:] += joint + packed.log2_weights
    if wanted.labels is not None:
        wanted.labels[:] = (joint + packed.log2_weights).argmax(axis=1)
    if wanted.log_densities is None and wanted.responsibilities is None:
        return
    log2_densities, alone = np.empty(len(joint)), rows._replace(weight=None, labels=None)
    share(joint, alone, packed, False, log2_densities, slots, n_threads)
    if wanted.log_densities is not None:
        natural = log2_densities * LN2
        natural[natural < IMPOSSIBLE] = -np.inf
        wanted.log_densities[:] = natural
    if wanted.responsibilities is not None:
        wanted.responsibilities[:] = joint

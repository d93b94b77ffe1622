"""Common patterns of missing numbers, whose passes are made together, and what is known of their rows."""

from typing import Any, NamedTuple

import numpy as np

from fastem._families.compiled import CompiledFamily
from fastem._families.marginals import stacked
from fastem._families.patterns import Sorted
from fastem._kernels._parallel import run_slots
from fastem._kernels._pattern_passes import of_group, slot_groups
from fastem._typing import Array, Rows, read_only


class Alike:
    """Common patterns with as many features observed, whose passes are made together."""

    def __init__(
        self, family: CompiledFamily[Any, Any], observed: list[Array], packed: Any, k: int, slots: int
    ) -> None:
        self.observed, self.packed, self._slots = np.array(observed), packed, slots
        self._sums = stacked([family.new_sums(slots, k, len(observed[0]))] * len(observed))

    def add(
        self, about: tuple[Array, ...], places: Array, begins: Array, hard: Array, n_threads: int | None
    ) -> None:
        """Add rows: `about` is what `slot_groups` takes of all rows."""
        numbers, weight, labels, given = about
        arguments = (numbers, places, weight, labels, given, begins, self.packed, hard, self._sums)
        run_slots(slot_groups, arguments, len(self.observed) * self._slots, n_threads)

    def end(self) -> list[Any] | None:
        """Return the sums of each pattern, as the kernels take them, or None if they are not finite."""
        merged = type(self._sums)(*(array.sum(axis=1) for array in self._sums))
        if not all(np.isfinite(array).all() for array in merged):
            return None
        return [of_group(merged, g) for g in range(len(self.observed))]


class Place(NamedTuple):
    """Where a common pattern is."""

    alike: Alike
    group: int


class Known(NamedTuple):
    """What is known of the rows of a slab, in the order of their patterns."""

    rows: Rows
    given: Array | None
    k: int

    def rows_of(self, ordered: Sorted, pattern: int) -> Rows:
        """Return the rows of one pattern, with what is observed of them."""
        first, stop = ordered.begins[pattern], ordered.begins[pattern + 1]
        weight = None if self.rows.weight is None else self.rows.weight[first:stop]
        labels = None if self.rows.labels is None else self.rows.labels[first:stop]
        return self.rows._replace(X=ordered.observed[pattern], weight=weight, labels=labels)

    def given_of(self, ordered: Sorted, pattern: int) -> Array | None:
        first, stop = ordered.begins[pattern], ordered.begins[pattern + 1]
        return None if self.given is None else self.given[first:stop]

    def arrays(self, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
        """Return weights, labels and responsibilities as kernels take them."""
        weight, labels = self.rows.weight, self.rows.labels
        given = np.empty((0, self.k), dtype) if self.given is None else self.given
        return (
            read_only(np.empty(0, dtype) if weight is None else weight.astype(dtype)),
            read_only(np.empty(0, np.int64) if labels is None else labels),
            read_only(np.ascontiguousarray(given, dtype=dtype)),
        )


def known_of(rows: Rows, given: Array | None, order: Array, k: int) -> Known:
    weight = None if rows.weight is None else rows.weight[order]
    labels = None if rows.labels is None else rows.labels[order]
    return Known(rows._replace(weight=weight, labels=labels), None if given is None else given[order], k)

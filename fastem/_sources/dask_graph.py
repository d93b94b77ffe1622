"""The sum of a function over the blocks of dask collections, as a graph of tasks.

Each task is stateless and reads one block. The sum is a tree that depends on the number of blocks alone. So
the sum has the same bits wherever its tasks ran, and however often.
"""

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any
from uuid import uuid4

import numpy as np

_FAN_IN = 8
# How often a failed task is tried again, if the scheduler supports retries, as that of distributed does.
_RETRIES = 3

# Blocks.sum says how such a function is called.
BlockFunction = Callable[..., Any]


@dataclass(frozen=True)
class _Refusal:
    """An error about a block. A task returns it instead of raising it, since no retry would help."""

    error: Exception


class _Hopeless(RuntimeError):
    """An error after which we must not search for the block that failed: it would not help, or do harm."""


class Blocks:
    """The blocks of some dask collections, for example X and its weights, which have the same blocks."""

    def __init__(self, *collections: Any) -> None:
        from dask.base import get_scheduler

        # All passes use the scheduler of this moment. If its client were closed, dask would use another one.
        self._get = get_scheduler(collections=collections)
        self._graph: dict[Hashable, Any] = {}
        keys = []
        for collection in collections:
            parts = np.ravel(collection.to_delayed())
            # The graph of the parts lacks blocks that were persisted and are futures now.
            self._graph.update(collection.__dask_graph__())
            self._graph.update(parts[0].dask)
            keys.append([part.key for part in parts])
        self._keys = list(zip(*keys, strict=True))

    def __len__(self) -> int:
        return len(self._keys)

    def sum(self, function: BlockFunction, own: dict[int, Any]) -> Any:
        """Return the sum over the blocks i in `own` of function(i, own[i], *parts).

        `parts` are the blocks i of all collections. If the function raises a `ValueError` or `TypeError`,
        this raises the one of the first such block. Any other error becomes a `RuntimeError` that says what
        failed.
        """
        try:
            total = self._run(function, own)
        except _Hopeless:
            raise
        except Exception as error:
            total = self._run_again(error, function, own)
        if isinstance(total, _Refusal):
            raise total.error
        return total

    def _run(self, function: BlockFunction, own: dict[int, Any]) -> Any:
        from dask.optimization import cull

        name = f"fastem-{uuid4().hex}"
        # The function is one node of the graph. Workers fetch it from each other.
        graph = {**self._graph, name: function}
        level = []
        for i, mine in own.items():
            level.append(f"{name}-block-{i}")
            # A partial hides the arguments from dask, which would take tuples and strings for tasks and keys.
            graph[level[-1]] = (partial(_call, i, mine), name, *self._keys[i])
        while len(level) > 1:
            groups = [level[i : i + _FAN_IN] for i in range(0, len(level), _FAN_IN)]
            level = [f"{group[0]}-sum" for group in groups]
            graph.update((key, (_sum, *group)) for key, group in zip(level, groups, strict=True))
        graph, _ = cull(graph, level)
        try:
            return self._get(graph, level[0], retries=_RETRIES)
        except Exception as error:
            if self._is_lost(error):
                raise _Hopeless(f"The dask scheduler was lost ({_in_words(error)}).") from error
            if type(error).__name__ == "KilledWorker":  # its message names the task
                raise _Hopeless(f"A block of X killed the workers that computed it ({error})") from error
            raise

    def _run_again(self, error: Exception, function: BlockFunction, own: dict[int, Any]) -> Any:
        """Raise an error that names the block that fails. If none fails now, run the pass again."""
        i = self._first_failing(function, list(own.items()))
        if i is not None:
            raise RuntimeError(f"Block {i} of X failed ({_in_words(error)}).") from error
        try:
            return self._run(function, own)
        except Exception as error:
            reason = f"A pass failed twice, but no block of X fails alone ({_in_words(error)})."
            raise RuntimeError(reason) from error

    def _first_failing(self, function: BlockFunction, own: list[tuple[int, Any]]) -> int | None:
        """Find the first block that fails, by halves, since schedulers do not say which one failed.

        This computes every block at most once more.
        """
        while len(own) > 1:
            half = own[: len(own) // 2]
            own = half if self._fails(function, half) else own[len(half) :]
        return own[0][0] if self._fails(function, own) else None

    def _fails(self, function: BlockFunction, own: Iterable[tuple[int, Any]]) -> bool:
        try:
            self._run(function, dict(own))
        except _Hopeless:
            raise
        except Exception:
            return True
        return False

    def _is_lost(self, error: Exception) -> bool:
        """Return whether the client of a cluster, if there is one, is or was disconnected."""
        client = getattr(self._get, "__self__", None)
        return isinstance(error, CancelledError) or getattr(client, "status", "running") != "running"


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _call(i: int, mine: Any, function: BlockFunction, *parts: Any) -> Any:
    return _attempt(function, i, mine, *parts)


def _sum(*parts: Any) -> Any:
    refusals = (part for part in parts if isinstance(part, _Refusal))
    return next(refusals, None) or _attempt(reduce, add, parts)


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (ValueError, TypeError) as error:
        return _Refusal(error)

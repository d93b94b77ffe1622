"""A function on every block of dask collections, and the sum of what it returns: a graph and its run.

Tasks are stateless and of one block each, and the sum is a tree that is a function of the number of
blocks alone: it has the same bits whoever computed what, and however often.
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
# Of a task that raises, where the scheduler retries at all, as that of distributed does.
_RETRIES = 3

# See Blocks.sum.
BlockFunction = Callable[..., Any]


@dataclass(frozen=True)
class _Refusal:
    """What is wrong with a block, returned rather than raised: no retry would mend it."""

    error: Exception


class _Hopeless(RuntimeError):
    """To look for the block at fault would do no good, or harm."""


class Blocks:
    """Block i of each of some dask collections, as X and its weights, for all i."""

    def __init__(self, *collections: Any) -> None:
        from dask.base import get_scheduler

        # That of now for all passes: were its client closed, dask would turn to another.
        self._get = get_scheduler(collections=collections)
        self._graph: dict[Hashable, Any] = {}
        keys = []
        for collection in collections:
            parts = np.ravel(collection.to_delayed())
            # The graph of parts lacks those that were persisted and are a future now.
            self._graph.update(collection.__dask_graph__())
            self._graph.update(parts[0].dask)
            keys.append([part.key for part in parts])
        self._keys = list(zip(*keys, strict=True))

    def __len__(self) -> int:
        return len(self._keys)

    def sum(self, function: BlockFunction, own: dict[int, Any]) -> Any:
        """The sum over the blocks i in `own` of function(i, own[i], *parts).

        `parts` is block i of each collection. A `ValueError` or `TypeError` of the function reaches the
        caller, that of the first block that has one. All else is a `RuntimeError` that tells what failed.
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
        # One node of the graph, that workers fetch from each other.
        graph = {**self._graph, name: function}
        level = []
        for i, mine in own.items():
            level.append(f"{name}-block-{i}")
            # What a task holds is in a partial, as dask takes tuples and strings for tasks and keys.
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
                raise _Hopeless(f"The dask scheduler was lost ({_told(error)}).") from error
            if type(error).__name__ == "KilledWorker":  # which names the task
                raise _Hopeless(f"A block of X ended the workers that computed it ({error})") from error
            raise

    def _run_again(self, error: Exception, function: BlockFunction, own: dict[int, Any]) -> Any:
        """The pass anew if no block fails any more, else an error that tells which does."""
        i = self._first_failing(function, list(own.items()))
        if i is not None:
            raise RuntimeError(f"Block {i} of X failed ({_told(error)}).") from error
        try:
            return self._run(function, own)
        except Exception as error:
            raise RuntimeError(f"A pass failed twice, and no block of X alone ({_told(error)}).") from error

    def _first_failing(self, function: BlockFunction, own: list[tuple[int, Any]]) -> int | None:
        """By halves, as schedulers do not tell: at most all blocks are computed once more."""
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
        """Whether the client of a cluster, if there is one, is not connected, or was not for a moment."""
        client = getattr(self._get, "__self__", None)
        return isinstance(error, CancelledError) or getattr(client, "status", "running") != "running"


def _told(error: Exception) -> str:
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

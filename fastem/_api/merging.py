"""The order in which components merge to clusters, by the entropy of the responsibilities."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastem._api.scoring import Scorer
from fastem._checks import check_integer
from fastem._sources.passes import Source
from fastem._typing import Array, DataLike, FloatArray, NoiseLike, Rows, RowsLike

_PART_NUMBERS = 1 << 16  # responsibilities that stay in the cache
_SLAB_BYTES = 16 << 20
Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class MergeOrder:
    """The order in which the components of a mixture merge to clusters (Baudry et al. 2010).

    `Mixture.merge_order` returns it. All arrays are read-only.

    Attributes
    ----------
    entropies : array of shape (k,)
        The entropy of the responsibilities of 1, 2, ..., k clusters, which no merger raises:
        -sum_i w_i sum_c p(c | x_i) log p(c | x_i). The last is that of the mixture. The first is 0, but with
        a component of noise, which counts as one more cluster throughout, it is that of all others together
        against the noise.
    pairs : tuple of k - 1 pairs of int
        Which clusters merge, from the first merger to the last. A cluster has the number of its first
        component.
    """

    entropies: FloatArray
    pairs: tuple[tuple[int, int], ...]

    def groups(self, n_clusters: int) -> list[list[int]]:
        """Return the components of each cluster, where this many clusters are left.

        Raises
        ------
        ValueError, TypeError
            If `n_clusters` is not an integer from 1 to the number of components.
        """
        k = len(self.entropies)
        n = check_integer("n_clusters", n_clusters, 1)
        if n > k:
            raise ValueError(f"n_clusters must be at most the number of components, {k}; got {n}.")
        members = {c: [c] for c in range(k)}
        for one, other in self.pairs[: k - n]:
            members[one] = sorted(members[one] + members.pop(other))
        return list(members.values())


class Merges:
    """The method `merge_order` of a mixture."""

    _scorer: Scorer
    weights: FloatArray

    @property
    @abstractmethod
    def n_components(self) -> int: ...

    @abstractmethod
    def _source(
        self, X: Any, sample_weight: Any, n_threads: int | None, *, noise: NoiseLike = None
    ) -> Source: ...

    def merge_order(
        self,
        X: DataLike,
        sample_weight: RowsLike = None,
        *,
        noise: NoiseLike = None,
        n_threads: int | None = None,
    ) -> MergeOrder:
        """Return the order in which components merge to clusters (Baudry et al. 2010).

        A cluster that is no Gaussian takes several components to fit. So there may be fewer clusters than
        components. One after another, the two clusters merge whose merger lowers the entropy of the
        responsibilities most, and so those that overlap most. The density stays as it is: the
        responsibility of a cluster is the sum of those of its components. Where the entropy falls much up to
        some number of clusters, and little from there on, this is the number to choose.

        A component of noise merges with none. It makes a pass over the rows for each merger.

        Parameters
        ----------
        X : array of shape (n, d), or anything else that `fit` takes
        sample_weight : array of shape (n,), optional
            Weights of the rows.
        noise : array or sequence of str, optional
            The known noise of the rows, as in `predict`.
        n_threads : int, optional
            The same as in `fit`.

        Returns
        -------
        MergeOrder
            ``order.groups(n_clusters)`` has the components of each cluster, and `entropies` the entropy.

        Raises
        ------
        ValueError, TypeError
            If an argument is not valid.
        """
        return order_of(
            self._source(X, sample_weight, n_threads, noise=noise),
            self._scorer.present_responsibilities,
            self.n_components,
            len(self.weights) - self.n_components,
        )


def order_of(source: Source, score: Any, k: int, apart: int = 0) -> MergeOrder:
    """Return the order for k components, where `score` gives the responsibilities.

    The last `apart` columns of these are of components that stay apart.
    """
    groups: Groups = tuple((c,) for c in range(k + apart))
    entropies, pairs = np.zeros(k), []
    falls = np.zeros((k, k))  # by how much the entropy falls if two clusters, by their place, merge
    changed = tuple(range(k + apart))
    for n in range(k, 0 if apart else 1, -1):
        m = len(groups)
        total = source.total(partial(_sums, score, groups, changed))
        entropies[n - 1] = total[0]
        if n == 1:
            break
        found = total[1:-1].reshape(len(changed), m)
        if len(changed) == m:
            falls = found + found.T
        else:
            falls[changed, :], falls[:, changed] = found, found.T
        upper = np.where(np.triu(np.ones((n, n), bool), 1), falls[:n, :n], -np.inf)
        i, j = divmod(int(np.argmax(upper)), n)
        pairs.append((groups[i][0], groups[j][0]))
        falls = np.delete(np.delete(falls, j, 0), j, 1)
        merged = tuple(sorted(groups[i] + groups[j]))
        groups = (*groups[:i], merged, *groups[i + 1 : j], *groups[j + 1 :])
        changed = (i,)
    entropies = np.maximum.accumulate(entropies)  # what else a merger seems to raise is rounding
    entropies.flags.writeable = False
    return MergeOrder(entropies, tuple(pairs))


def _sums(score: Any, groups: Groups, changed: tuple[int, ...], rows: Rows, n_threads: int | None) -> Array:
    """Return the entropy, its fall where a cluster in `changed` merges with each other, and the weight."""
    n = len(groups)
    entropy, falls = 0.0, np.zeros((len(changed), n))
    for part in _parts(rows, sum(map(len, groups))):
        responsibilities = np.ascontiguousarray(score(part, n_threads).T, np.float64)
        sums = responsibilities.sum(axis=0)  # which are 1 but for rounding, that of float32 at times
        np.divide(responsibilities, sums, out=responsibilities, where=sums > 0)
        weights = part.weights
        step = max(1, _PART_NUMBERS // n)
        for start in range(0, len(weights), step):
            here, weight = responsibilities[:, start : start + step], weights[start : start + step]
            clusters = np.array([here[list(group)].sum(axis=0) for group in groups])
            terms = _terms(clusters)
            own = (terms * weight).sum(axis=1)
            entropy -= own.sum()
            for a, c in enumerate(changed):
                first = c + 1 if len(changed) == n else 0  # of all pairs, each is taken once
                together = _terms(clusters[c] + clusters[first:])
                falls[a, first:] += (together * weight).sum(axis=1) - own[c] - own[first:]
    return np.concatenate([[entropy], falls.ravel(), [rows.total_weight]])


def _parts(rows: Rows, k: int) -> Iterator[Rows]:
    step = max(1, _SLAB_BYTES // (8 * k))
    return (rows.part(slice(start, start + step)) for start in range(0, len(rows.X), step))


def _terms(shares: FloatArray) -> FloatArray:
    """Return p log p, which is 0 for p of 0, and never more."""
    return np.asarray(shares * np.log(np.where(shares > 0, np.minimum(shares, 1.0), 1.0)))

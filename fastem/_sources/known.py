"""The first rows of each known label. A sample holds them, so that a start knows the components they name."""

from typing import NamedTuple

import numpy as np

from fastem._typing import Array, Rows

_MOST = 512  # rows of each label
_MOST_IN_ALL = 4096  # in a sample


class Known(NamedTuple):
    """The first rows of each label, by their ranks among the rows of positive weight."""

    labels: Array
    ranks: Array

    def followed_by(self, other: "Known", positive: int) -> "Known":
        """Return the first rows of these rows, `positive` of which have weight, and of those after them."""
        labels = np.concatenate([self.labels, other.labels])
        return _first(labels, np.concatenate([self.ranks, other.ranks + positive]))


def known_of(rows: Rows) -> Known:
    labels = np.empty(0, np.int64) if rows.labels is None else rows.labels
    if rows.labels is not None and rows.weight is not None:
        labels = labels[rows.weight > 0]
    ranks = np.flatnonzero(labels >= 0)
    return _first(labels[ranks], ranks)


def _first(labels: Array, ranks: Array, most: int = _MOST) -> Known:
    order = np.argsort(labels, kind="stable")
    grouped = labels[order]
    places = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    chosen = np.sort(order[places < most])
    return Known(labels[chosen], ranks[chosen])


def with_known(ranks: Array, known: Known) -> Array:
    """Return the ranks of a sample, sorted, and those of the known rows."""
    if not len(known.ranks):
        return ranks
    each = max(1, _MOST_IN_ALL // len(np.unique(known.labels)))
    return np.union1d(ranks, _first(*known, each).ranks)

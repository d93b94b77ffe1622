"""The log-density below which a share of the rows lies."""

from abc import abstractmethod
from functools import partial
from typing import Any

import numpy as np

from fastem._api.scoring import Scorer
from fastem._checks import check_nonnegative
from fastem._sources.passes import ScoreRows, Source
from fastem._typing import Array, DataLike, NoiseLike, Rows, RowsLike

# A number has four digits of 16 bits. A pass finds one of them from sums over all rows, as sources make them.
_BITS = 16
_SHIFTS = (48, 32, 16, 0)
_SIGN = np.uint64(1 << 63)
# The share of a few rows, such as 0.29 of 100, may be a rounding error less than their number.
_ROUNDING = 1e-12


class Thresholds:
    """The method `threshold` of a mixture."""

    _scorer: Scorer

    @abstractmethod
    def _source(
        self, X: Any, sample_weight: Any, n_threads: int | None, *, noise: NoiseLike = None
    ) -> Source: ...

    def threshold(
        self,
        X: DataLike,
        share: float = 0.01,
        sample_weight: RowsLike = None,
        *,
        noise: NoiseLike = None,
        n_threads: int | None = None,
    ) -> float:
        """Return a log-density below which at most this share of the rows lies, for anomaly scores.

        It is the largest log-density among the rows for which ``score_samples(X) < threshold`` holds in at
        most the share of the rows, or of their weight. Without ties these are exactly ``floor(share * n)`` of
        n rows; rows of equal log-density are never divided. It makes four passes over the rows, and keeps
        none of their log-densities between them.

        Parameters
        ----------
        X : array of shape (n, d), or anything else that `fit` takes
        share : float
            At least 0 and less than 1. With 0, it is the lowest log-density of all rows.
        sample_weight : array of shape (n,), optional
            Weights of the rows. Those of weight 0 are treated as absent.
        noise : array or sequence of str, optional
            The known noise of the rows, as in `predict`.
        n_threads : int, optional
            The same as in `fit`.

        Returns
        -------
        float
            It is -inf if more than the share of the rows cannot come from the mixture.

        Raises
        ------
        ValueError, TypeError
            If an argument is not valid.
        """
        share = check_share(share)
        source = self._source(X, sample_weight, n_threads, noise=noise)
        return threshold_of(source, self._scorer.present_log_densities, share)


def check_share(share: Any) -> float:
    value = check_nonnegative("share", share, "It is the share of the rows that lie below the threshold.")
    if value >= 1:
        raise ValueError(f"share must be less than 1; got {value}. Pass 0.01 for one row in a hundred.")
    return value


def threshold_of(source: Source, score: ScoreRows, share: float) -> float:
    """Return the largest score of a row such that the rows with lower ones have at most this share."""
    known, below = np.uint64(0), 0.0
    for shift in _SHIFTS:
        total = source.total(partial(_digits, score, known, shift))
        before = below + np.concatenate([[0.0], np.cumsum(total[:-2])])
        fit = (total[:-1] > 0) & (before <= share * total[-1] * (1 + _ROUNDING))
        digit = int(np.flatnonzero(fit)[-1])
        known, below = known | np.uint64(digit << shift), float(before[digit])
    return float(_number(known))


def _digits(score: ScoreRows, known: Any, shift: int, rows: Rows, n_threads: int | None) -> Array:
    """Return the weight of the rows with each next digit after the known ones, and that of all rows."""
    above = np.uint64(shift + _BITS)
    keys = _keys(score(rows, n_threads))
    like = np.ones(len(keys), bool) if shift == _SHIFTS[0] else keys >> above == known >> above
    digits = (keys[like] >> np.uint64(shift)) & np.uint64((1 << _BITS) - 1)
    weight = None if rows.weight is None else rows.weights[like]
    return np.append(np.bincount(digits.astype(np.int64), weight, 1 << _BITS), rows.total_weight)


def _keys(numbers: Array) -> Array:
    """Return integers in the order of the numbers: of negative ones all bits are turned, else the sign."""
    bits = (numbers.astype(np.float64) + 0.0).view(np.uint64)  # which makes -0.0 equal to 0.0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(key: Any) -> Any:
    return np.array(key ^ _SIGN if key & _SIGN else ~key, np.uint64).view(np.float64)

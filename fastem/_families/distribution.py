"""The general form of EM: what a user writes of a distribution."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from fastem._typing import Array, FloatArray

Parameters = dict[str, FloatArray]


class Distribution(ABC):
    """A distribution for the components of a mixture, written with NumPy.

    A subclass says what EM needs of a distribution (Dempster, Laird and Rubin 1977): its log-density, sums
    over the rows, and the parameters that maximise the expected log-likelihood given these sums. `fastem.fit`
    does the rest for any data that it can read: starts, restarts, weights, convergence, reports and criteria.

    Rows come in chunks of float64, (n, d), and responsibilities are multiplied by the weights of the rows
    already. Parameters are arrays by name, with components along the first axis. Mixing weights are not among
    them: fastem estimates those. All arrays that a method is given are read-only.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> class Exponential(fastem.Distribution):
    ...     def log_density(self, X, parameters):
    ...         rates = parameters["rates"]
    ...         return np.log(rates).sum(axis=1) - X @ rates.T
    ...     def statistics(self, X, responsibilities, parameters):
    ...         return responsibilities.sum(axis=0), responsibilities.T @ X
    ...     def maximise(self, statistics, parameters):
    ...         weights, sums = statistics
    ...         return {"rates": weights[:, None] / sums}
    ...     def n_parameters(self, k, d):
    ...         return k * d
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.exponential(1, (500, 2)), rng.exponential(9, (500, 2))])
    >>> model = fastem.fit(X, 2, distribution=Exponential(), rng=0)
    >>> model.report.converged
    True
    """

    @abstractmethod
    def log_density(self, X: FloatArray, parameters: Parameters) -> Any:
        """log p(x | k) of each row under each component.

        Parameters
        ----------
        X : array of shape (n, d), float64
        parameters : dict of str to array
            As `maximise` returned them.

        Returns
        -------
        array of shape (n, k)
            ``-inf`` where a component cannot produce a row. NaN is an error.
        """

    @abstractmethod
    def statistics(self, X: FloatArray, responsibilities: FloatArray, parameters: Parameters | None) -> Any:
        """Sums over the rows that the M-step needs.

        Parameters
        ----------
        X : array of shape (n, d), float64
        responsibilities : array of shape (n, k)
            Multiplied by the weights of the rows.
        parameters : dict of str to array, or None
            Those of the E-step; None at the start, where nothing is known yet.

        Returns
        -------
        tuple of arrays
            The arrays for two chunks of rows must add up to those for all of their rows.
        """

    @abstractmethod
    def maximise(self, statistics: tuple[FloatArray, ...], parameters: Parameters | None) -> Any:
        """Parameters that maximise the expected log-likelihood (Bishop 2006, eq. 9.31).

        Parameters
        ----------
        statistics : tuple of arrays
            As `statistics` returned them, added over all chunks.
        parameters : dict of str to array, or None
            Those of the E-step; None at the start.

        Returns
        -------
        dict of str to array
            Finite, with components along the first axis. Entries of a component that has no rows may be
            NaN: it keeps the parameters that it had, and at the start it gets those of the heaviest one.
        """

    @abstractmethod
    def n_parameters(self, k: int, d: int) -> int:
        """Free parameters of k components in d features, without the mixing weights."""

    def sample(self, parameters: Parameters, labels: Array, rng: np.random.Generator) -> Any:
        """Draw a row from the component of each label; optional.

        Parameters
        ----------
        parameters : dict of str to array
        labels : array of shape (n,), int64
        rng : numpy.random.Generator

        Returns
        -------
        array of shape (n, d)
        """
        raise NotImplementedError

"""The general form of EM: the methods that a user writes for a distribution."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from fastem._typing import Array, FloatArray

Parameters = dict[str, FloatArray]


class Distribution(ABC):
    """A distribution of your own for the components of a mixture, written with NumPy.

    A subclass defines what EM needs from a distribution (Dempster, Laird and Rubin 1977): its log-density,
    sums over the rows, and the parameters that maximise the expected log-likelihood given these sums.
    `fastem.fit` does the rest, for any data that it can read: starts, restarts, weights, convergence, reports
    and criteria.

    Your methods get rows in chunks of float64, (n, d). The responsibilities that they get are already
    multiplied by the weights of the rows. Parameters are arrays by name, with the components along the first
    axis. They do not include the mixing weights, which fastem estimates. All arrays that a method gets are
    read-only.

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
        """Return log p(x | k) of each row under each component.

        Parameters
        ----------
        X : array of shape (n, d), float64
        parameters : dict of str to array
            The parameters that `maximise` returned.

        Returns
        -------
        array of shape (n, k)
            Use ``-inf`` if a component cannot produce a row. NaN is an error.
        """

    @abstractmethod
    def statistics(self, X: FloatArray, responsibilities: FloatArray, parameters: Parameters | None) -> Any:
        """Return the sums over the rows that the M-step needs.

        Parameters
        ----------
        X : array of shape (n, d), float64
        responsibilities : array of shape (n, k)
            They are already multiplied by the weights of the rows.
        parameters : dict of str to array, or None
            The parameters of the E-step. None at the start, when there are no parameters yet.

        Returns
        -------
        tuple of arrays
            The sums of two chunks must add up to the sums over the rows of both.
        """

    @abstractmethod
    def maximise(self, statistics: tuple[FloatArray, ...], parameters: Parameters | None) -> Any:
        """Return the parameters that maximise the expected log-likelihood (Bishop 2006, eq. 9.31).

        Parameters
        ----------
        statistics : tuple of arrays
            The arrays that `statistics` returned, added over all chunks.
        parameters : dict of str to array, or None
            The parameters of the E-step. None at the start.

        Returns
        -------
        dict of str to array
            Finite arrays with the components along the first axis. If a component has no rows, its entries
            may be NaN: the component keeps the parameters that it had. At the start it gets those of the
            heaviest component.
        """

    @abstractmethod
    def n_parameters(self, k: int, d: int) -> int:
        """Return the number of free parameters of k components in d features, without the mixing weights."""

    def sample(self, parameters: Parameters, labels: Array, rng: np.random.Generator) -> Any:
        """Draw a row from the component of each label. This method is optional.

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

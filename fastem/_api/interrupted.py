"""The error of a fit that could no longer read X."""

from fastem._api.clusters import KMeans
from fastem._api.mixture import Mixture


class FitInterrupted(RuntimeError):
    """X could no longer be read during a fit, for example because a file, a block or a cluster was lost.

    The original error is the ``__cause__``. Some errors are raised as they are: a `ValueError` about the
    data (NaN, or other rows than in earlier passes), an interrupt by the user, and an error in a callback.

    Attributes
    ----------
    model : GaussianMixture, Mixture or KMeans
        The last parameters, without a report. ``fit(X, k, init=error.model)``, or `kmeans`, continues from
        them.
    """

    def __init__(self, reason: str, model: Mixture | KMeans) -> None:
        super().__init__(reason, model)
        self.reason = reason
        self.model = model

    def __str__(self) -> str:
        return (
            f"X could not be read during the fit. {self.reason} The attribute `model` has the last "
            "parameters: once X can be read again, continue with fit(X, k, init=error.model)."
        )

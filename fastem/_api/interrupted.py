"""The error of fits that ended before they were done."""

from typing import Any

from fastem._api.clusters import KMeans
from fastem._api.mixture import Mixture
from fastem._api.selection import Selection


class FitInterrupted(RuntimeError):
    """A fit or a selection ended early, and what it has reached is kept.

    X could no longer be read, for example because a file, a block or a cluster was lost; or the user
    interrupted `select` (Ctrl-C). The original error is the ``__cause__``. Some errors are raised as they
    are: a `ValueError` about the data (NaN, or other rows than in earlier passes), an interrupt of `fit` by
    the user, and an error in a callback.

    Attributes
    ----------
    model : GaussianMixture, Mixture, KMeans or None
        Of a fit: the last parameters, without a report. ``fit(X, k, init=error.model)``, or `kmeans`,
        continues from them. Of a selection: the best model so far, or None if none can be chosen.
    selection : Selection or None
        The fits that `select` has finished. None if a fit was interrupted.
    """

    def __init__(
        self, reason: str, model: Mixture[Any] | KMeans[Any] | None, selection: Selection | None = None
    ) -> None:
        super().__init__(reason, model, selection)
        self.reason = reason
        self.model = model
        self.selection = selection

    def __str__(self) -> str:
        if self.selection is not None:
            return (
                f"select was interrupted. {self.reason} The attribute `selection` has the "
                f"{len(self.selection.table)} fits that were finished."
            )
        return (
            f"X could not be read during the fit. {self.reason} The attribute `model` has the last "
            "parameters: once X can be read again, continue with fit(X, k, init=error.model)."
        )

"""The end of a fit to which X was lost."""

from fastem._api.mixture import Mixture


class FitInterrupted(RuntimeError):
    """A pass over X failed in mid-fit: a file was gone, a block could not be computed, a cluster was lost.

    What failed is the ``__cause__``. What the data are blamed for (NaN, other rows than before) is a
    `ValueError`, as it is before the fit, and so is an interrupt by the user or a callback what it is.

    Attributes
    ----------
    model : GaussianMixture or Mixture
        The last parameters, without a report. ``fit(X, k, init=error.model)`` goes on from there.
    """

    def __init__(self, reason: str, model: Mixture) -> None:
        super().__init__(reason, model)
        self.reason = reason
        self.model = model

    def __str__(self) -> str:
        return (
            f"A pass over X failed in mid-fit. {self.reason} The last parameters are the attribute `model`: "
            "once X can be read, go on with fit(X, k, init=error.model)."
        )

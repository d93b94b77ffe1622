"""The end of a fit to which X was lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastem._api.mixture import GaussianMixture


class FitInterrupted(RuntimeError):
    """A pass over X failed in mid-fit: a file was gone, a block could not be computed, a cluster was lost.

    What failed is the ``__cause__``. What the data are blamed for (NaN, other rows than before) is a
    `ValueError`, as it is before the fit, and so is an interrupt by the user or a callback what it is.

    Attributes
    ----------
    model : GaussianMixture
        The last parameters, without a report. ``fit(X, k, init=error.model)`` goes on from there.
    """

    def __init__(self, reason: str, model: GaussianMixture) -> None:
        super().__init__(reason, model)
        self.reason = reason
        self.model = model

    def __str__(self) -> str:
        return (
            f"A pass over X failed in mid-fit. {self.reason} The last parameters are the attribute `model`: "
            "once X can be read, go on with fit(X, k, init=error.model)."
        )


@contextmanager
def keeping(last: Callable[[], GaussianMixture | None]) -> Iterator[None]:
    """For passes over X: a failure comes with the last model, if there is one yet."""
    try:
        yield
    except (ValueError, TypeError, MemoryError):
        raise
    except Exception as error:
        model = last()
        if model is None:
            raise
        raise FitInterrupted(f"{type(error).__name__}: {error}", model) from error

"""The errors of fits that ended before they were done, and what these keep."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic

from fastem._api.clusters import KMeans
from fastem._api.mixture import Mixture
from fastem._api.selection import Selection
from fastem._em.loop import PassLost, Run
from fastem._families.steps import P
from fastem._report import FitStatus


class FitInterrupted(BaseException):
    """A fit or a selection ended early, and what it has reached is kept.

    There are two causes. If the user interrupts (Ctrl-C), the error is a `KeyboardInterrupt` too, so that
    ``except Exception`` does not take it for an ordinary error. If X can no longer be read, for example
    because a file, a block or a cluster was lost, it is a `RuntimeError` too. In both cases the original
    error is the ``__cause__``.

    Other errors are raised as they are: a `ValueError` about the data (NaN, or other rows than in earlier
    passes), an error in a callback, and whatever happens before there is a model: before the first E-step of
    `fit` and `kmeans`, and before the first finished fit to all rows of `select`.

    Attributes
    ----------
    model : GaussianMixture, Mixture, KMeans or None
        Of a fit: a model without a report. ``fit(X, k, init=error.model)``, or `kmeans`, goes on from it.
        After Ctrl-C it is the better of two: the start that ran, as far as it had come, and the best of the
        starts before it, by the rule of `n_init`. If X was lost, it has the last parameters. Of a selection:
        the best model so far, or None if none can be chosen.
    selection : Selection or None
        The fits that `select` has finished. None if a fit was interrupted.
    reason : str
        The original error in words.
    n_iter : int or None
        After Ctrl-C in a fit: the number of iterations that led to the model, in its start.
    log_likelihood : float or None
        That of the model, after Ctrl-C in `fit`: what a callback gets.
    """

    def __init__(
        self,
        reason: str,
        model: Mixture[Any] | KMeans[Any] | None,
        selection: Selection | None = None,
        n_iter: int | None = None,
        log_likelihood: float | None = None,
    ) -> None:
        super().__init__(reason, model, selection, n_iter, log_likelihood)
        self.reason = reason
        self.model: Any = model  # of the type that the interrupted function would have returned
        self.selection = selection
        self.n_iter, self.log_likelihood = n_iter, log_likelihood

    def __str__(self) -> str:
        if self.selection is not None:
            return (
                f"select was interrupted. {self.reason} The attribute `selection` has the "
                f"{len(self.selection.table)} fits that were finished."
            )
        function = "kmeans" if isinstance(self.model, KMeans) else "fit"
        return self._about_fit(f"continue with {function}(X, k, init=error.model).")

    def _about_fit(self, remedy: str) -> str:
        return f"{self.reason} The attribute `model` has the best parameters so far: {remedy}"


class InterruptedByUser(FitInterrupted, KeyboardInterrupt):
    """The user pressed Ctrl-C, or a callback raised `KeyboardInterrupt`."""


class InterruptedByLoss(FitInterrupted, RuntimeError):
    """X could no longer be read."""

    def _about_fit(self, remedy: str) -> str:
        return (
            f"X could not be read during the fit. {self.reason} The attribute `model` has the last "
            f"parameters: once X can be read again, {remedy}"
        )


def interruption(
    cause: BaseException, model: Mixture | KMeans | None, selection: Selection | None = None, *reached: Any
) -> FitInterrupted:
    """Return the error for this cause. It is for the caller to raise it from the cause."""
    if isinstance(cause, KeyboardInterrupt):
        return InterruptedByUser("The user interrupted (KeyboardInterrupt).", model, selection, *reached)
    return InterruptedByLoss(f"{type(cause).__name__}: {cause}", model, selection)


class Kept(Generic[P]):
    """The starts of one fit, as far as they have come."""

    def __init__(self) -> None:
        self.best: Run[P] = Run(FitStatus.FAILED)  # of the starts that have ended
        self._running: Run[P] | None = None

    def note(self, run: Run[P]) -> None:
        """Keep a run that has made an E-step. One that goes on from a saddle counts once it is higher."""
        known = self._running
        if known is None or run is known or run.objective > known.objective:
            self._running = run

    def end(self, run: Run[P]) -> None:
        """Compare a start that has ended with those before."""
        self.best = max(self.best, run, key=lambda run: run.rank)
        self._running = None

    @contextmanager
    def in_error(self, model: Callable[[P], Mixture | KMeans]) -> Iterator[None]:
        """Raise `FitInterrupted` with what is kept, if there is any, when the fit ends early."""
        try:
            yield
        except PassLost as lost:
            parameters: Any = lost.parameters
            if parameters is None and self.best.history:
                parameters = self.best.parameters
            if parameters is None:
                raise lost.reason from None
            raise interruption(lost.reason, model(parameters)) from lost.reason
        except KeyboardInterrupt as interrupt:
            reached = self.best
            if self._running is not None:
                reached = max(reached, self._running, key=lambda run: run.rank)
            if not reached.history:
                raise
            made = model(reached.parameters)
            value = reached.log_likelihood if isinstance(made, Mixture) else None
            raise interruption(interrupt, made, None, reached.n_iter, value) from interrupt

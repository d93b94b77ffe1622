"""A progress bar by tqdm, which is an optional extra."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A function that is called with the log-likelihood after each E-step.
Advance = Callable[[float], None]


@contextmanager
def counting_bar(wanted: bool, total: int, what: str) -> Iterator[Callable[[], None]]:
    """Yield a function that advances the bar by one of `total` steps."""
    if not wanted:
        yield lambda: None
        return
    with _tqdm()(total=total, desc=what, unit="fit") as bar:
        yield bar.update


@contextmanager
def progress_bar(
    wanted: bool, restarts: int, max_iter: int, title: str = "EM", what: str = "log_likelihood"
) -> Iterator[Advance]:
    """Yield a function that advances the bar by one pass and shows its log-likelihood, or `what` it is."""
    if not wanted:
        yield lambda log_likelihood: None
        return
    with _tqdm()(total=restarts * (max_iter + 1), desc=title, unit="it") as bar:

        def advance(log_likelihood: float) -> None:
            bar.set_postfix({what: f"{log_likelihood:.6g}"}, refresh=False)
            bar.update()

        yield advance


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install tqdm.") from None
    return tqdm

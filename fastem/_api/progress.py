"""A progress bar by tqdm, which is an optional extra."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A function that is called with the log-likelihood after each E-step.
Advance = Callable[[float], None]


@contextmanager
def progress_bar(
    wanted: bool, restarts: int, max_iter: int, title: str = "EM", what: str = "log_likelihood"
) -> Iterator[Advance]:
    """Yield a function that advances the bar by one pass and shows its log-likelihood, or `what` it is."""
    if not wanted:
        yield lambda log_likelihood: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError('progress=True needs tqdm: pip install "fastem[progress]".') from None
    with tqdm(total=restarts * (max_iter + 1), desc=title, unit="it") as bar:

        def advance(log_likelihood: float) -> None:
            bar.set_postfix({what: f"{log_likelihood:.6g}"}, refresh=False)
            bar.update()

        yield advance

"""A progress bar by tqdm, which is an optional extra."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastem._report import FitStatus

_DIGITS = 6
_MOST_DIGITS = 15


class Progress:
    """The passes of a fit, on a bar if there is one.

    The bar is as long as the starts may take. When one ends, the bar gets shorter by what it did not take.
    """

    def __init__(
        self, bar: Any = None, title: str = "", what: str = "", starts: int = 1, passes: int = 0
    ) -> None:
        self._bar, self._title, self._what = bar, title, what
        self._starts, self._ended, self._passes = starts, 0, passes
        self._last = math.nan

    def advance(self, value: float) -> None:
        """Show the value that a pass has found."""
        if self._bar is not None:
            self._show(value, refresh=False)
            self._last = value
            self._bar.update()

    def start_ended(self) -> None:
        if self._bar is None:
            return
        self._ended += 1
        self._last = math.nan
        left = self._starts - self._ended
        self._bar.total = self._bar.n + left * self._passes
        if left > 0:
            self._bar.set_description(_title_of_start(self._title, self._ended, self._starts), refresh=False)

    def finish(self, status: FitStatus, value: float) -> None:
        """Show how the best start ended, on a bar that is full."""
        if self._bar is not None:
            self._bar.total = self._bar.n
            self._bar.set_description(self._title, refresh=False)
            self._show(value, status.name.lower())

    def _show(self, value: float, *more: str, refresh: bool = True) -> None:
        shown = f"{self._what}={_moving(value, self._last)}"
        self._bar.set_postfix_str(", ".join([shown, *more]), refresh=refresh)


def _title_of_start(title: str, start: int, starts: int) -> str:
    return title if starts == 1 else f"{title}, start {start + 1} of {starts}"


def _moving(value: float, last: float) -> str:
    """Return a number with so many digits that two of them have moved since the last one."""
    digits = _DIGITS
    if math.isfinite(value) and math.isfinite(last) and value not in (0.0, last):
        digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(abs(value - last))) + 2
    return f"{value:#.{min(max(digits, _DIGITS), _MOST_DIGITS)}g}"


@contextmanager
def progress_bar(
    wanted: bool, starts: int, max_iter: int, title: str = "EM", what: str = "mean_log_likelihood"
) -> Iterator[Progress]:
    """Yield what advances the bar by one pass and shows its mean log-likelihood, or `what` it is."""
    if not wanted:
        yield Progress()
        return
    passes = max_iter + 1
    with _tqdm()(total=starts * passes, desc=_title_of_start(title, 0, starts), unit="it") as bar:
        yield Progress(bar, title, what, starts, passes)


@contextmanager
def counting_bar(wanted: bool, total: int, what: str) -> Iterator[Callable[[], None]]:
    """Yield a function that advances the bar by one of at most `total` steps. It is full in the end."""
    if not wanted:
        yield lambda: None
        return
    with _tqdm()(total=total, desc=what, unit="fit") as bar:
        yield bar.update
        bar.total = bar.n
        bar.refresh()


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install tqdm.") from None
    return tqdm

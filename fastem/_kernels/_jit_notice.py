"""A log record before a kernel is compiled that takes more than a second, since silence looks like a hang."""

import logging
import time

from numba.core import event

_logger = logging.getLogger("fastem")

# Seconds of compiling on one core of an AMD EPYC server, by kernel and kind of params. A kernel that is not
# here takes less than about one.
_STATISTICS = {
    "Full": 4,
    "ScreenedFull": 5,
    "Tied": 4,
    "Student": 4,
    "Diag": 2,
    "Spherical": 2,
    "Linear": 2,
    "Categorical": 2,
    "LinearGaps": 4,
    "DiagGaps": 4,
    "StudentGaps": 5,
}
_SECONDS = {
    "breathe": {"": 2},
    "ascend_slots": {"": 2},
    "fit_slots": {"": 3},
    "slot_statistics": _STATISTICS,
    "slot_scores": dict.fromkeys(_STATISTICS, 2),
    "slot_wide": {"Wide": 5},
    "slot_incomplete": {"Incomplete": 3},
    "slot_groups": {"Full": 3},
    "slot_incomplete_scores": {"Incomplete": 1},
    "slot_imputed": {"Incomplete": 1},
    "slot_measured": {"Measured": 3},
    "slot_measured_scores": {"Measured": 2},
    "slot_lloyd": {"Lloyd": 2},
    "slot_responsibilities": {"": 2},
}
_WORDS = {
    "breathe": "starts by k-means",
    "ascend_slots": "starts by EM",
    "fit_slots": "small fits",
    "slot_scores": "scores of",
    "slot_groups": "gaps of",
    "slot_incomplete_scores": "scores of",
    "slot_imputed": "imputing",
    "slot_measured_scores": "scores of",
    "slot_responsibilities": "columns of different kinds",
    "Lloyd": "k-means",
    "ScreenedFull": "full",
    "Linear": "columns",
    "LinearGaps": "columns with gaps",
    "DiagGaps": "diag with gaps",
    "StudentGaps": "student with gaps",
    "Incomplete": "rows with gaps",
    "Measured": "rows with noise",
    "Wide": "many components",
}


class Notice(event.Listener):
    """Logs what is about to be compiled, and learns how fast this machine is at it."""

    def __init__(self):
        self._begun = self._expected = self._spent = 0.0

    def on_start(self, event):
        dispatcher, types = event.data["dispatcher"], event.data["args"]
        seconds = _seconds(dispatcher, types)
        if seconds:
            pace = self._spent / self._expected if self._expected else 1.0
            often = "once" if dispatcher.stats.cache_path else "in each process, for want of a cache folder"
            what = _described(dispatcher, types)
            _logger.warning("fastem: compiling kernels for %s: %s, about %.0f s", what, often, seconds * pace)
            self._begun = time.perf_counter()

    def on_end(self, event):
        seconds = _seconds(event.data["dispatcher"], event.data["args"])
        if seconds:
            self._expected += seconds
            self._spent += time.perf_counter() - self._begun


def _seconds(dispatcher, types):
    """Return how long to expect, or 0 if that is short or not known."""
    function = dispatcher.py_func
    ours = function.__module__.startswith("fastem._kernels.")
    return _SECONDS.get(function.__name__, {}).get(_kind(types), 0) if ours else 0


def _kind(types):
    """Return the kind of params among numba types: "Full" for FullParams, or "" if there are none."""
    names = [str(kind).partition("(")[0] for kind in types]
    return next((name.removesuffix("Params") for name in names if name.endswith("Params")), "")


def _described(dispatcher, types):
    words = [_WORDS.get(dispatcher.py_func.__name__, ""), _WORDS.get(_kind(types), _kind(types).lower())]
    return f"{' '.join(filter(None, words))}, {_first_array(types).dtype}"


def _first_array(types):
    return _first_array(types[0].types) if hasattr(types[0], "types") else types[0]


def give_notice():
    """Log what numba compiles from now on."""
    event.register("numba:compile", Notice())

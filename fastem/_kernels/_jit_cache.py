"""Compiled kernels on disk: fresh as long as no file that kernels come from changes, and never fatal.

numba stamps a cached function with the content of its own file only. But a kernel contains the code of
kernels from other files: after an edit or an upgrade of one of those, numba would run stale machine code.
Here the stamp covers every file that defines a kernel, and the whole folder of this file.

The names of numba used here are not documented. An error in any of them counts as a miss: the kernel is
compiled, and stays in memory only.
"""

import contextlib
import hashlib
import os
import pickle
import sys
from pathlib import Path

try:
    from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
except ImportError:
    FunctionCache = IndexDataCacheFile = NullCache = object

# Digest of every source file, by path; None if it is not known which version of the file runs.
_digests: dict[str, bytes | None] = {}
_states: dict[str, tuple[int, int]] = {}  # time and size of these files when they were read


def add_source(path: str) -> None:
    """Let the stamp cover a file from which Python has just taken code: a module, or a zip archive."""
    path = _existing_file(os.path.abspath(path))
    try:
        status = os.stat(path)
        state = status.st_mtime_ns, status.st_size
        if _states.get(path) == state:
            return
        digest = hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        _digests[path] = None
    else:
        # A module reloaded after an edit: some of the kernels in this process may be of the first version.
        _digests[path] = digest if _digests.setdefault(path, digest) == digest else None
        _states[path] = state


def _existing_file(path: str) -> str:
    """The file itself, or the archive that it is in, or the program that it was frozen into."""
    inner = path
    while not os.path.isfile(path):
        path, below = os.path.dirname(path), path
        if path == below:
            return sys.executable if getattr(sys, "frozen", False) else inner
    return path


for _path in sorted(Path(__file__).parent.glob("*.py")) or [Path(__file__)]:
    add_source(str(_path))
_OWN = frozenset(_digests)


def _version() -> tuple[str, str]:
    """What the sources are: a suffix for file names that tells which they are, and a stamp of their content.

    A process that defines kernels of its own, such as a test, compiles them and ours into files of its own.
    Otherwise it and the next process without these kernels would take turns at overwriting one file.
    """
    sources = sorted(_digests.items())
    others = [path for path, _ in sources if path not in _OWN]
    suffix = "-" + hashlib.sha256("\n".join(others).encode()).hexdigest()[:8] if others else ""
    stamp = hashlib.sha256()
    for path, digest in sources:
        if digest is None:
            raise OSError(f"{path} cannot be read, or it has changed since it was imported")
        stamp.update(digest)
    return suffix, stamp.hexdigest()


class CacheFile(IndexDataCacheFile):
    """numba's file of the compiled versions of a function, whose entries are checked before they are used.

    A file may be damaged. And two processes that compile different signatures of a function into an empty
    folder can overwrite each other's machine code. Both must be misses.
    """

    def load(self, key):
        entry = super().load(key)
        if entry is None:
            return None
        stored_key, digest, payload = entry
        whole = stored_key == key and digest == hashlib.sha256(payload).digest()
        return pickle.loads(payload) if whole else None

    def save(self, key, data):
        payload = self._dump(data)
        entry = key, hashlib.sha256(payload).digest(), payload
        try:
            super().save(key, entry)
        except OSError:
            raise
        except Exception:  # the index is damaged, and unpickling it may raise anything
            self.flush()
            super().save(key, entry)


class KernelCache(NullCache):
    """What a dispatcher asks for compiled versions of its function."""

    def __init__(self, function):
        self._function = function
        self._numba_cache = None  # made when it is needed, as it tries to write to its folder

    @property
    def cache_path(self):
        try:
            return self._opened().cache_path
        except Exception:
            return None

    def load_overload(self, *arguments):
        try:
            return self._opened().load_overload(*arguments)
        except Exception:
            return None

    def save_overload(self, *arguments):
        with contextlib.suppress(Exception):  # such as a folder that is read-only, or a full disk
            self._opened().save_overload(*arguments)

    def _opened(self):
        """numba's cache of the function, on a file for the sources that are known by now."""
        if self._numba_cache is None:
            self._numba_cache = FunctionCache(self._function)
        cache, (suffix, stamp) = self._numba_cache, _version()
        if not hasattr(cache, "_cache_file"):
            raise AttributeError("without our file, numba would use its own, which may be stale")
        cache._cache_file = CacheFile(cache.cache_path, cache._impl.filename_base + suffix, stamp)
        return cache


def cache_on_disk(dispatcher, function) -> None:
    """Look for a function's machine code in numba's cache folder before compiling it, and leave it there."""
    add_source(function.__code__.co_filename)
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = KernelCache(function)

"""The cache of compiled kernels on disk. It notices every edit of a kernel, and its errors cost only time.

numba marks a cached function as stale if its own file changes. But a kernel contains the code of kernels
from other files, and numba would not notice if one of those changes. For a kernel of this folder, we compare
the content of all files in this folder; for any other kernel, that of all other files that define one too. So
a constant or function that a kernel takes from another file must come from one of these files.

numba keeps a folder for each copy of a file. The kernels of this folder depend on nothing but its content, so
all copies of it share one, for each user and each version of them.

numba does not document the names that are used here. If one of them fails, the kernel is compiled in memory.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
from pathlib import Path

import numba

try:
    from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
except ImportError:
    FunctionCache = IndexDataCacheFile = NullCache = object
try:
    from numba.core.caching import AppDirs
except ImportError:
    AppDirs = None

# The digest of each source file, by its path. It is None if we do not know which version of the file runs.
_digests: dict[str, bytes | None] = {}
_states: dict[str, tuple[int, int]] = {}  # when these files were last changed, and their sizes


def add_source(path: str) -> str:
    """Note the content of a file that Python has just loaded code from. Return it: a module or an archive."""
    path = _existing_file(os.path.abspath(path))
    try:
        status = os.stat(path)
        state = status.st_mtime_ns, status.st_size
        if _states.get(path) == state:
            return path
        digest = hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        _digests[path] = None
    else:
        # If the file has changed, the module was reloaded. Older kernels may still contain the first version.
        _digests[path] = digest if _digests.setdefault(path, digest) == digest else None
        _states[path] = state
    return path


def _existing_file(path: str) -> str:
    """Return the file itself, the archive that contains it, or the program that it was frozen into."""
    inner = path
    while not os.path.isfile(path):
        path, below = os.path.dirname(path), path
        if path == below:
            return sys.executable if getattr(sys, "frozen", False) else inner
    return path


for _path in sorted(Path(__file__).parent.glob("*.py")) or [Path(__file__)]:
    add_source(str(_path))
_OWN = frozenset(_digests)


def _version(file: str) -> tuple[str, str]:
    """Return a suffix for file names, and a stamp, for the kernels of a file.

    A kernel of this folder contains code of this folder only, so all processes share it, and its stamp
    depends on the content of this folder. A kernel of another file, such as a test, may contain code of any
    known file. Its suffix depends on their paths, and its stamp on their content. Without the suffix,
    processes that know more and fewer files would overwrite each other's compiled kernels.
    """
    others = sorted(path for path in _digests if path not in _OWN) if file not in _OWN else []
    suffix = "-" + hashlib.sha256("\n".join(others).encode()).hexdigest()[:8] if others else ""
    stamp = hashlib.sha256()
    for path in [*sorted(_OWN), *others]:
        digest = _digests[path]
        if digest is None:
            raise OSError(f"{path} cannot be read, or it has changed since it was imported")
        stamp.update(digest)
    return suffix, stamp.hexdigest()


@functools.cache
def shared_folder():
    """Return the folder of the kernels of this folder, or None if numba shall choose one.

    It is in the user's cache folder of numba, or in NUMBA_CACHE_DIR. A folder that cannot be written, but was
    filled before, serves too.
    """
    if AppDirs is None or getattr(numba.config, "CACHE_LOCATOR_CLASSES", ""):
        return None
    base = numba.config.CACHE_DIR or AppDirs(appname="numba", appauthor=False).user_cache_dir
    _, stamp = _version(next(iter(_OWN)))
    version = hashlib.sha256(f"{stamp} {numba.__version__}".encode()).hexdigest()[:16]
    folder = os.path.join(base, f"fastem_{version}")
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    usable = os.path.isdir(folder) and (os.access(folder, os.W_OK) or os.listdir(folder))
    return folder if usable else None


class CacheFile(IndexDataCacheFile):
    """numba's file of the compiled versions of a function. We check an entry before we use it.

    A file may be damaged. And if two processes compile different signatures of a function at the same time,
    one can overwrite the machine code of the other. In both cases the function must be compiled again.
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
        except Exception:  # the index is damaged: unpickling it can raise any error
            self.flush()
            super().save(key, entry)


class KernelCache(NullCache):
    """The object that a numba function asks for its compiled versions."""

    def __init__(self, function, file):
        self._function, self._file = function, file
        self._numba_cache = None  # created when it is needed, because it writes a file to test its folder

    @property
    def cache_path(self):
        try:
            return self._folder(self._opened())
        except Exception:
            return None

    def load_overload(self, *arguments):
        try:
            return self._opened().load_overload(*arguments)
        except Exception:
            return None

    def save_overload(self, signature, compiled):
        with contextlib.suppress(Exception):  # for example if the folder is read-only or the disk is full
            if hasattr(compiled, "type_annotation"):
                # numba would print the types of all variables, for `inspect_types`. It takes 2 ms a kernel.
                compiled = compiled._replace(type_annotation="")
            self._opened().save_overload(signature, compiled)

    def _opened(self):
        """Return numba's cache of the function. Its file depends on all sources that are known by now."""
        if self._numba_cache is None:
            self._numba_cache = FunctionCache(self._function)
        cache, (suffix, stamp) = self._numba_cache, _version(self._file)
        if not hasattr(cache, "_cache_file"):
            raise AttributeError("without our file, numba would use its own, which may be stale")
        cache._cache_file = CacheFile(self._folder(cache), cache._impl.filename_base + suffix, stamp)
        return cache

    def _folder(self, cache):
        return (self._file in _OWN and shared_folder()) or cache.cache_path


def cache_on_disk(dispatcher, function) -> None:
    """Make a numba function look for its machine code on disk before it compiles, and store it there."""
    file = add_source(function.__code__.co_filename)
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = KernelCache(function, file)

"""The only place that names numba options."""

import contextlib
import hashlib
import pickle
from pathlib import Path

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.options import DefaultOptions

_DIGEST_BYTES = hashlib.sha256().digest_size

# Not `True`: nnan and ninf would break -inf log-densities and NaN propagation.
_REASSOCIATING = {"contract", "nsz", "reassoc", "arcp"}
# For code whose rounding order is its meaning, such as (x + magic) - magic.
_ORDERED = {"contract", "nsz"}
_COMMON = {"nogil": True, "error_model": "numpy"}
# Who calls a kernel holds its arrays. Counting references to them anyway, by atomic operations wherever one
# is handed on, took 5 to 15 % of a pass. A kernel that allocates has to count.
_UNCOUNTED = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}
KERNEL_OPTIONS = {**_COMMON, **_UNCOUNTED, "fastmath": _REASSOCIATING}
ORDERED_OPTIONS = {**_COMMON, **_UNCOUNTED, "fastmath": _ORDERED, "forceinline": True}
# Only prange is wanted of the parallel passes; the others cost compile time.
_PRANGE_ONLY = {
    "prange": True,
    "comprehension": False,
    "reduction": False,
    "inplace_binop": False,
    "setitem": False,
    "numpy": False,
    "stencil": False,
    "fusion": False,
}


def sources_digest():
    """Digest of every kernel source: the freshness of a cached kernel."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_DIGEST = sources_digest()


class _CacheFile(IndexDataCacheFile):
    """numba's cache file, whose entries are checked before they are believed.

    Files may be damaged; and of two processes that compile different signatures of a function into an
    empty folder, one can overwrite the machine code that the other's index names. Both are misses here.
    """

    def load(self, key):
        entry = super().load(key)
        return entry[1] if entry is not None and entry[0] == key else None

    def save(self, key, data):
        super().save(key, (key, data))

    def _load_index(self):
        try:
            return super()._load_index()
        except OSError:
            raise
        except Exception:  # a damaged pickle may raise anything
            return {}

    def _load_data(self, name):
        content = Path(self._data_path(name)).read_bytes()
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            raise OSError(f"{name} is damaged")  # which numba takes for a missing file
        return pickle.loads(payload)

    def _save_data(self, name, data):
        payload = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(payload).digest() + payload)


class _KernelCache(FunctionCache):
    """numba's cache of a function, fresh as long as no kernel source changes, and never fatal.

    numba stamps a cached function with its own file only, so an edit (or an upgrade) of a helper
    in another file would leave a stale caller in the cache, or one whose types no longer exist.
    """

    def __init__(self, function):
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp(), _DIGEST
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except OSError:
            return None

    def save_overload(self, sig, data):
        with contextlib.suppress(OSError):  # the folder became read-only, or its disk is full
            super().save_overload(sig, data)


def python_function(dispatcher):
    """What a kernel was made from: to compile it where it is used, not once more on its own."""
    return getattr(dispatcher, "py_func", dispatcher)


def _jit(fastmath, **options):
    def decorate(function):
        dispatcher = numba.njit(fastmath=fastmath, **_COMMON, **options)(function)
        # Without a writable cache folder kernels compile in memory, in every process.
        if not numba.config.DISABLE_JIT:
            with contextlib.suppress(RuntimeError, OSError):
                dispatcher._cache = _KernelCache(function)
        return dispatcher

    return decorate


# A kernel is called by other kernels only: wrappers for Python would cost a fifth of the compilation.
_ALLOCATING = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_INNER = {**_ALLOCATING, **_UNCOUNTED}
allocating_kernel = _jit(_REASSOCIATING, **_ALLOCATING)
kernel = _jit(_REASSOCIATING, **_INNER)
ordered_kernel = _jit(_ORDERED, forceinline=True, **_INNER)
# For functions of vectors: a call would spill them to memory.
inlined_kernel = _jit(_REASSOCIATING, forceinline=True, **_INNER)
# For what is called from one place, or so short that its own compilation would cost more than copies.
spliced_kernel = _jit(_REASSOCIATING, inline="always", **_INNER)
# For those that Python calls.
entry_kernel = _jit(_REASSOCIATING, no_cfunc_wrapper=True)
parallel_kernel = _jit(_REASSOCIATING, parallel=_PRANGE_ONLY, no_cfunc_wrapper=True)

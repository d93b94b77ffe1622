"""Loops and numbers of arrays, which `_jit_lowering` writes in place of numba."""

import numpy as np
import pytest

from fastem._kernels import _jit_lowering
from fastem._kernels._jit import INTERPRETED, entry_kernel, python_function

compiled = pytest.mark.skipif(INTERPRETED, reason="about compiled kernels")


@entry_kernel
def loops(start, stop, step, out):
    """Ranges of one, two and three numbers, one that is left early, and one inside another."""
    count = 0
    for i in range(start, stop, step):
        out[0] += i
        count += 1
    for i in range(stop):
        if i == 5:
            break
        for j in range(start, i):
            out[1] += i * j
    return count


@entry_kernel
def numbers(a, b, c, index, out):
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            out[i, -1 - j] = a[i] + b[index[i], j] * c[np.int32(-1), i, j]
        out[i, np.uint8(1)] += b[i][0]
    index[-1] = np.float64(2.9)
    out[0, 0] += c[0, :, 1][2]


@pytest.mark.parametrize("step", [1, 2, 3, 7, -1, -2, -7])
@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 7), (7, 0), (-3, 8), (8, -3), (2, 3)])
def test_loops_run_as_in_python(start, stop, step):
    expected, out = np.zeros(2), np.zeros(2)
    assert loops(start, stop, step, out) == python_function(loops)(start, stop, step, expected)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_indices_count_from_both_ends(dtype):
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((3,), (3, 4), (2, 3, 4)))
    index, expected, out = np.array([0, -1, 1]), np.zeros((3, 4)), np.zeros((3, 4))
    other = index.copy()
    numbers(a, b, c, index, out)
    python_function(numbers)(a, b, c, other, expected)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(index, other)


@compiled
def test_a_numba_that_is_different_does_all_of_its_work(monkeypatch):
    from numba.core.registry import cpu_target

    context = cpu_target.target_context.subtarget()
    monkeypatch.setattr(_jit_lowering, "_RANGE", ("start", "stop", "stride"))
    assert vars(_jit_lowering.lean(context)) == vars(cpu_target.target_context)
    monkeypatch.undo()
    monkeypatch.setattr(_jit_lowering, "types", None)
    assert vars(_jit_lowering.lean(context)) == vars(cpu_target.target_context)
    monkeypatch.undo()
    assert vars(_jit_lowering.lean(context)) != vars(cpu_target.target_context)

"""The parallel loop over slots."""

import numpy as np
import pytest
from small_kernels import allocate_slot

from fastem._kernels._parallel import run_slots


@pytest.mark.parametrize("n_threads", [1, 2, None])
def test_a_slot_that_gets_no_memory_is_an_error(n_threads):
    sizes, sums = np.arange(8), np.zeros(8)
    run_slots(allocate_slot, (sizes, sums), 8, n_threads)
    np.testing.assert_array_equal(sums, sizes)
    sizes[5] = 1 << 55
    with pytest.raises(MemoryError):
        run_slots(allocate_slot, (sizes, sums), 8, n_threads)

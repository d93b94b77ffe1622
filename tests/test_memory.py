"""A fit needs little memory beyond X."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np, fastem
n, d, k, kind, order = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
small = np.random.default_rng(0).normal(size=(5000, d))
def run(X, **options):
    return fastem.fit(X, k, covariance_type=kind, rng=0, max_iter=2, tol=0, **options)
run(np.asarray(small, order=order))
X = np.empty((n, d), order=order)
for start in range(0, n, 5000):
    X[start : start + 5000] = small[: n - start]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(X)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
@pytest.mark.parametrize(
    ("n", "d", "k", "covariance_type", "order"),
    [
        (3_000_000, 4, 8, "full", "C"),
        (3_000_000, 4, 8, "full", "F"),
        (1_000_000, 16, 16, "diag", "C"),
        (200_000, 64, 16, "diag", "F"),
        (60_000, 100, 100, "full", "C"),
    ],
)
def test_a_fit_needs_at_most_64_megabytes_beyond_X(n, d, k, covariance_type, order):
    arguments = [str(value) for value in (n, d, k, covariance_type, order)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(done.stdout) <= 64

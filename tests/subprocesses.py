"""Running Python scripts in other processes, which share the cache of compiled kernels."""

import os
import subprocess
import sys


def run_script(script, *arguments, timeout=300, **environment):
    """Return what the script printed. If the script fails, the test fails with its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""The start-up time of a new process: the import, and a first fit with and without cached kernels."""

import os
import subprocess
import sys
import tempfile

FIT = "import numpy, fastem; fastem.fit(numpy.random.default_rng(0).normal(size=(1000, 3)), 2, rng=0)"


def run(code, folder):
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": folder}, check=True)


class Startup:
    """Each benchmark runs in its own process, with its own folder of compiled kernels."""

    timeout = 300
    number = 1

    def setup(self):
        self.empty = tempfile.TemporaryDirectory()
        self.warm = tempfile.TemporaryDirectory()

    def teardown(self):
        self.empty.cleanup()
        self.warm.cleanup()

    def time_import_numba(self):
        run("import numba", self.warm.name)

    def time_import_fastem(self):
        run("import fastem", self.warm.name)

    def time_first_fit_cold(self):
        run(FIT, self.empty.name)

    time_first_fit_cold.repeat = 1
    time_first_fit_cold.warmup_time = 0


class WarmStartup:
    """The first fit of a process after another process has compiled the kernels."""

    timeout = 300
    number = 1

    def setup_cache(self):
        """Compile once for all repeats, in the folder in which the benchmark then runs."""
        run(FIT, "kernels")

    def time_first_fit_warm(self):
        run(FIT, "kernels")

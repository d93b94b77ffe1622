"""Program for test_sklearn_suite: scikit-learn's tests run with our class, then with accelerate().

Its arguments are those of pytest. It prints JSON: for both, the exit code, how many tests passed, and what
pytest printed.
"""

import contextlib
import io
import json
import sys

import pytest
import sklearn.mixture

import fastem
from fastem.sklearn import GaussianMixture


class Passed:
    """A pytest plugin that counts the tests that passed."""

    def __init__(self):
        self.count = 0

    def pytest_runtest_logreport(self, report):
        self.count += report.when == "call" and report.passed


@contextlib.contextmanager
def imported():
    """Make `sklearn.mixture.GaussianMixture` ours."""
    theirs, sklearn.mixture.GaussianMixture = sklearn.mixture.GaussianMixture, GaussianMixture
    yield
    sklearn.mixture.GaussianMixture = theirs


def run(way):
    for name in [name for name in sys.modules if name.startswith("sklearn.mixture.tests")]:
        del sys.modules[name]  # they hold the class of the run before
    passed, output = Passed(), io.StringIO()
    with way(), contextlib.redirect_stdout(output):
        code = pytest.main(sys.argv[1:], plugins=[passed])
    return {"code": int(code), "passed": passed.count, "output": output.getvalue()}


if __name__ == "__main__":
    ways = {"import": imported, "accelerate": fastem.accelerate}
    print(json.dumps({name: run(way) for name, way in ways.items()}))

"""Program for test_sklearn_suite: scikit-learn's tests run with our classes, then with accelerate().

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
import fastem.sklearn as ours


class Passed:
    """A pytest plugin that counts the tests that passed."""

    def __init__(self):
        self.count = 0

    def pytest_runtest_logreport(self, report):
        self.count += report.when == "call" and report.passed


@contextlib.contextmanager
def imported():
    """Make the classes of `sklearn.mixture` ours."""
    theirs = {name: getattr(sklearn.mixture, name) for name in ours.__all__}
    for name in theirs:
        setattr(sklearn.mixture, name, getattr(ours, name))
    yield
    for name, own in theirs.items():
        setattr(sklearn.mixture, name, own)


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

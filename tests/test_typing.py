"""What a type checker sees: mypy --strict passes a library that uses fastem, and finds mistakes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typed_backend

import fastem

HERE = Path(__file__).parent


def test_the_example_of_a_library_runs(tmp_path):
    typed_backend.main(tmp_path)


@pytest.mark.slow
def test_mypy_finds_the_mistakes_and_no_others(tmp_path):
    pytest.importorskip("mypy")
    files = [HERE / "typed_backend.py", HERE / "typed_mistakes.py"]
    options = [sys.executable, "-m", "mypy", "--strict", "--warn-unreachable", "--follow-imports=silent"]
    options += ["--config-file=", f"--cache-dir={tmp_path}", "--no-error-summary"]
    place = Path(fastem.__file__).parents[1]
    path = {} if place.name == "site-packages" else {"MYPYPATH": str(place)}  # mypy knows the former itself
    done = subprocess.run(
        [*options, *files],
        cwd=tmp_path,
        env=os.environ | path,
        capture_output=True,
        text=True,
    )
    errors = "\n".join(line for line in done.stdout.splitlines() if ": error: " in line)
    found = set(re.findall(r"^.*?(\w+\.py):(\d+): error: ", errors, re.M))
    mistakes = {
        (path.name, str(number))
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.endswith("# mistake")
    }
    assert len(mistakes) > 20
    assert found == mistakes, errors + done.stderr

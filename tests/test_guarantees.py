"""Every promise in the documentation names a test that exists."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "explanation" / "guarantees.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not in a checkout")


def test_promises_name_tests_that_exist():
    links = re.findall(r"\[(test_\w+)\]\(../../tests/(\w+\.py)\)", PAGE.read_text())
    for test, file in links:
        functions = {
            node.name
            for node in ast.parse((TESTS / file).read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        assert test in functions, f"{file} has no {test}"


def test_every_promise_has_a_test():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row != "| promise | test |"]
    assert len(promises) > 30
    for promise in promises:
        assert "](../../tests/" in promise, promise

"""Every promise in the documentation names a test that exists."""

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "explanation" / "guarantees.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not in a checkout")


@functools.cache
def functions_of(file):
    nodes = ast.parse((TESTS / file).read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_promises_name_tests_that_exist():
    links = re.findall(r"\[(test_\w+)\]\(../../tests/(\w+\.py)\)", PAGE.read_text())
    for test, file in links:
        assert test in functions_of(file), f"{file} has no {test}"


def test_every_promise_has_a_test():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row != "| promise | test |"]
    assert len(promises) > 30
    for promise in promises:
        assert "](../../tests/" in promise, promise

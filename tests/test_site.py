"""The pages of docs/: what they say twice agrees, and they show nothing private."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_chart_has_the_figures_of_the_readme():
    lines = re.findall(
        r"^\| (?:full|tied|diag|spherical|`score|`predict).*\|$", (ROOT / "README.md").read_text(), re.M
    )
    table = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    rows = json.loads((ROOT / "docs" / "data" / "bench.json").read_text())["rows"]
    assert len(table) == len(rows)
    for (name, d, k, n, own, _, *peers), row in zip(table, rows, strict=True):
        seconds = {library: timing["minimum"] for library, timing in row["seconds"].items()}
        special = {row["covariance_type"], row["data"], row["dtype"], row["operation"]}
        assert set(re.findall(r"\w+", name)) <= special
        assert (int(d), int(k), int(n.replace(",", ""))) == (row["d"], row["k"], row["n"])
        assert seconds["fastem"] / row["n"] / row["k"] == pytest.approx(1e-9 * float(own), rel=1e-3)
        for library, cell in zip(("scikit-learn", "oneDAL"), peers, strict=True):
            assert (library in seconds) == bool(cell)
            if cell:
                assert seconds[library] / seconds["fastem"] == pytest.approx(
                    float(cell.removesuffix(" x")), rel=1e-3
                )


def test_no_page_imports_what_is_private():
    private = re.compile(r"\b(?:from|import) fastem(?:\.\w+)*\._\w+|\bfastem\._[a-z]\w*")
    found = {str(page.relative_to(ROOT)): private.findall(page.read_text()) for page in PAGES}
    assert {page: names for page, names in found.items() if names} == {}

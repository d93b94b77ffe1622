"""What a release says about itself agrees everywhere."""

import re
from pathlib import Path

import pytest

import fastem

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "CITATION.cff").exists(), reason="not in a checkout")


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CITATION.cff", r'^version: "?([^"\s]+)'), ("docs/reference/citing.md", r"version += \{([^}]+)\}")],
)
def test_the_version_to_cite_is_that_of_the_package(file, pattern):
    assert re.findall(pattern, (ROOT / file).read_text(), re.MULTILINE) == [fastem.__version__]


def test_every_paper_to_cite_has_its_reference():
    text = (ROOT / "docs/reference/citing.md").read_text()
    table, references = text.split("## References")
    cited = re.findall(r"(\w+)(?: et al\.|(?:, \w+)* and \w+)? \((\d{4})\)", table.split("|---|")[1])
    listed = re.findall(r"^- (\w+), .*? \((\d{4})\)\.", references, re.MULTILINE | re.DOTALL)
    assert len(set(cited)) > 20
    assert set(cited) == set(listed)

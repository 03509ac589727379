"""The page that answers "can I send this?" is what the table says."""

from pathlib import Path

from conformance import breaks
from conformance.compatibility import page
from conformance.rule import load

STORED = Path(__file__).parents[1] / "docs" / "compatibility.md"


def test_the_page_is_fresh() -> None:
    assert STORED.read_text() == page(), (
        "regenerate: uv run hoplint rule --format compatibility > docs/compatibility.md"
    )


def test_every_defect_is_on_it() -> None:
    text = page()
    for case in breaks.table().cases:
        assert case.sent in text, case.name


def test_it_links_rules_that_exist() -> None:
    assert {rule for case in breaks.table().cases for rule in case.rules} <= load().keys()


def test_a_mark_says_whether_all_versions_refuse() -> None:
    lines = page().splitlines()
    head = next(line for line in lines if line.startswith("| sent | aiohttp |"))
    names = [cell.strip() for cell in head.split("|")]
    joined = next(line for line in lines if line.startswith("| Content-Length: 11, 11 |"))
    marks = dict(zip(names, (cell.strip() for cell in joined.split("|")), strict=True))
    assert (marks["aiohttp"], marks["httpx"], marks["node http"]) == ("**✗**", "", "**✗**")
    doubled = next(line for line in lines if line.startswith("| Server twice"))
    marks = dict(zip(names, (cell.strip() for cell in doubled.split("|")), strict=True))
    assert (marks["aiohttp"], marks["curl"]) == ("✗", "")

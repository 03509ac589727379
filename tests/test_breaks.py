"""The table of who chokes on what: it says what was measured, and its rules are those that find its cases."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import breaks, lint, recording
from conformance.breaks import Party
from conformance.finding import Finding, Location
from conformance.message import Stream
from conformance.rule import load

DEFECTS = Path(__file__).parents[1] / "recordings" / "defects"
RULES = load()

NAME = re.compile(rb"\A\S*\s*\S+ +\S*?\?case=([^ &#]+)|\AGET /([^ ]+)")
"""Where the first line of a defect says which it is."""


def linted(side: str) -> dict[str, list[Finding]]:
    """Case -> what is found in its octets."""
    source = recording.read(DEFECTS / f"{side}.http")
    run = lint.check([source], RULES)
    assert not run.failures
    found: dict[str, list[Finding]] = {}
    names = {}
    for item in source:
        assert isinstance(item, Stream)
        named = NAME.search(item.client.data)
        assert named is not None
        names[item.number] = (named[1] or named[2]).decode()
        found[names[item.number]] = []
    for finding in run.findings:
        number = finding.at.stream or finding.at.exchange  # each stream holds one exchange
        found[names[number]].append(finding)
    return found


@pytest.mark.parametrize("side", ["requests", "responses"])
def test_the_rules_of_a_case_find_it(side: str) -> None:
    found = linted(side)
    cases = {case.name: case for case in breaks.table().cases if case.side == side}
    assert found.keys() == cases.keys()
    for name, case in cases.items():
        rules = {finding.rule for finding in found[name]}
        assert set(case.rules) <= rules, name
        if case.field:
            fields = {(f.at.field or "").strip().lower() for f in found[name] if f.rule in case.rules}
            assert case.field in fields, name


def test_every_outcome_is_one_that_can_be_said() -> None:
    known = breaks.table()
    letters = {letter for case in known.cases for letter in case.outcomes.values()}
    assert letters == known.wording.keys()


def test_a_plain_message_is_taken_by_everybody() -> None:
    for case in breaks.table().cases:
        if case.name in ("baseline", "WS/baseline"):
            assert set(case.outcomes.values()) <= {breaks.TAKEN, breaks.UNKNOWN}


def finding(rule: str, part: str, field: str | None, origin: str = "server") -> Finding:
    return Finding(rule, RULES[rule].severity, Location("-", 1, part, 0, field), "", origin, "flow")


@pytest.mark.parametrize(
    ("rule", "part", "field", "refused"),
    [
        (
            "duplicate-server", "response", "Server",
            {"aiohttp 3.13.4", "aiohttp 3.8.6-3.13.3 (Python parser)", "aiohttp 3.14.5 (-X dev)"},
        ),
        ("duplicate-singleton-header", "response", "Age", set()),
        ("duplicate-singleton-header", "request", "Max-Forwards", {"aiohttp server 3.14.5", "apache 2.4.71"}),
        (
            "duplicate-content-type", "request", "content-type",
            {"aiohttp server 3.14.5", "lighttpd 1.4.69, if the values differ"},
        ),
        (
            "duplicate-location", "response", "Location",
            {"aiohttp 3.8.6-3.9.5, if it is a redirect", "httpx 0.28.1", "Chromium 156"},
        ),
    ],
)  # fmt: skip
def test_what_chokes_depends_on_side_and_field(rule: str, part: str, field: str, refused: set[str]) -> None:
    assert set(breaks.of_finding(RULES[rule], finding(rule, part, field)).refused) == refused


def test_a_finding_in_a_stream_is_about_what_its_sender_sent() -> None:
    rule = RULES["bare-line-feed"]
    client, server = (
        breaks.of_finding(rule, finding(rule.name, "stream", None, origin)).refused
        for origin in ("client", "server")
    )
    assert "node http 20.20.2" in server
    assert "nginx 1.22.1" not in client
    assert "uvicorn 0.54 (httptools)" in client


def test_the_others_are_told_apart() -> None:
    said = breaks.of_finding(RULES["duplicate-server"], finding("duplicate-server", "response", "Server"))
    assert "joined by node fetch, undici" in said.others
    assert "only the first is read by node http, apache" in said.others
    assert "other aiohttp" in said.others


A1, A2, A3 = (Party("a", f"1.{n}", "", "") for n in (9, 10, 11))
C1, P1, C2, P2 = (Party("b", version, variant, "") for version in "12" for variant in ("C", "Python"))
C2_DEV, P2_DEV = (Party("b", "2", variant, "-X dev") for variant in ("C", "Python"))
KNOWN = (A3, A1, A2, C1, P1, C2, P2, C2_DEV, P2_DEV)


@pytest.mark.parametrize(
    ("meant", "said"),
    [
        ((), []),
        ((A1, A2, A3), ["a 1.9-1.11"]),
        ((A1, A3), ["a 1.9", "a 1.11"]),
        ((C1, P1), ["b 1"]),
        ((P1, C2, P2), ["b 1 (Python)", "b 2"]),
        ((P1, P2), ["b 1-2 (Python)"]),
        ((C2_DEV, P2_DEV), ["b 2 (-X dev)"]),
        ((C2, C2_DEV, P2_DEV), ["b 2 (C)", "b 2 (Python, -X dev)"]),
        ((C2_DEV,), ["b 2 (C, -X dev)"]),
        ((C2, P2, C2_DEV, P2_DEV), ["b 2"]),
    ],
)
def test_versions_become_ranges(meant: tuple[Party, ...], said: list[str]) -> None:
    assert breaks.collapsed(meant, KNOWN) == said


def test_long_lists_are_cut() -> None:
    assert breaks.joined("abc", 2) == "a, b, c"
    assert breaks.joined("abcd", 2) == "a, b and 2 more"


def test_it_costs_nothing_until_it_is_asked() -> None:
    program = (
        "from conformance.cli import main\n"
        "assert main(['check', 'recordings/clean', '--isolated', '--format', 'json']) == 0\n"
        "from conformance import breaks\n"
        "assert breaks.table.cache_info().misses == 0"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, stdout=subprocess.DEVNULL)


def test_the_file_is_compact() -> None:
    text = breaks.DATA.read_text()
    assert json.loads(text)["version"] == 1
    assert len(text) < 60_000


def test_measuring_again_writes_the_file_as_it_is() -> None:
    script = Path(__file__).parent / "benchmarks" / "remeasure.py"
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import remeasure\n"
        "text = remeasure.breaks.DATA.read_text()\n"
        "assert remeasure.written(json.loads(text)) == text\n"
        "asked = remeasure.wanted(['nginx', 'aiohttp=9.9'])\n"
        "print(*sorted(' '.join(filter(None, party)) for party in asked), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(script.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "aiohttp 9.9 C parser", "aiohttp 9.9 C parser -X dev", "aiohttp 9.9 Python parser",
        "aiohttp 9.9 Python parser -X dev", "nginx 1.22.1",
    ]  # fmt: skip

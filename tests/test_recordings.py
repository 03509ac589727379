"""The shipped recordings: each says which rules it breaks, and breaks exactly those."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from conformance import recording
from conformance.finding import Run
from conformance.lint import check
from conformance.message import Exchange
from conformance.rule import load, select

RECORDINGS = Path(__file__).parent.parent / "recordings"
TRANSCRIPTS = sorted(RECORDINGS.glob("*/*.http"))
FLOWS = sorted(RECORDINGS.glob("flows/*.flow"))
EXPECTED: dict[str, dict[str, int]] = json.loads((RECORDINGS / "flows" / "expected.json").read_text())
RULES = select(load(), [])


def linted(path: Path) -> Run:
    return check([recording.read(path)], RULES)


def rows() -> dict[str, set[str] | None]:
    """File -> the rules in the last column of its row in the README; None in a table without that column."""
    found: dict[str, set[str] | None] = {}
    for line in (RECORDINGS / "README.md").read_text().splitlines():
        if match := re.match(r"\| `(\w+/[\w.-]+)` \|", line):
            columns = line.strip("| ").split(" | ")
            rules = re.findall(r"`([^`]+)`", columns[-1])
            found[match[1]] = set(rules) if len(columns) == 4 else None
    return found


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.name)
def test_transcript_breaks_what_it_says(path: Path) -> None:
    run = linted(path)
    assert not run.failures
    (summary,) = run.recordings
    assert summary.exchanges
    assert summary.expected is not None, "the first line is '# expect: rule-a, rule-b'"
    found = {finding.rule: finding.why for finding in run.findings}
    assert found.keys() == summary.expected, found


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.name)
def test_transcript_tells_its_story(path: Path) -> None:
    lines = path.read_text().splitlines()[1:]
    story = lines[: lines.index("")]
    assert 2 <= len(story) <= 8
    assert all(line.startswith("# ") and len(line) <= 115 for line in story)


def test_clean_recordings_expect_nothing() -> None:
    clean = sorted((RECORDINGS / "clean").glob("*.http"))
    assert len(clean) >= 9
    assert not [path.name for path in clean if recording.read(path).expected]


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.name)
def test_flows_break_what_is_written_down(path: Path) -> None:
    run = linted(path)
    assert not run.failures
    assert run.recordings[0].exchanges
    found = Counter(finding.rule for finding in run.findings)
    assert dict(sorted(found.items())) == EXPECTED[path.name]


def test_every_recording_is_in_the_manual() -> None:
    listed = rows()
    paths = [*TRANSCRIPTS, *FLOWS]
    assert set(listed) == {f"{path.parent.name}/{path.name}" for path in paths}
    assert set(EXPECTED) == {path.name for path in FLOWS}
    for path in TRANSCRIPTS:
        said = recording.read(path).expected
        assert (listed[f"{path.parent.name}/{path.name}"] or frozenset()) == said, path.name
    for path in FLOWS:
        assert listed[f"flows/{path.name}"] == set(EXPECTED[path.name]), path.name


AGENTS = (
    "aider", "claude-code", "codex-http", "codex-websocket", "codex-websocket-refused", "gemini-cli",
    "openhands", "opencode",
)  # fmt: skip

KEY = re.compile(rb"\b(?:(?:sk-ant-|sk-|rk-|wk-|AIza|eyJ)|Bearer (?!realm=))([\w.-]{4,})")
BLANK = re.compile(rb"(?:[a-z]{2}-)?(?:x[x.-]*\d?)|(?:sk-)?example[\w.-]*|None")
PLACE = re.compile(rb"/(?:home|Users|tmp)/\w+")


@pytest.mark.parametrize("path", [*TRANSCRIPTS, *FLOWS], ids=lambda path: path.name)
def test_no_credentials_and_no_paths(path: Path) -> None:
    data = path.read_bytes()
    assert not [key for key in KEY.findall(data) if not BLANK.fullmatch(key)]
    assert not PLACE.findall(data)


@pytest.mark.parametrize("agent", AGENTS)
def test_prompts_of_agents_are_blank(agent: str) -> None:
    for item in recording.read(RECORDINGS / "flows" / f"{agent}.flow"):
        assert isinstance(item, Exchange)
        sent = [
            item.request.content or b"",
            *(frame.content for frame in item.frames if frame.sender == "client"),
        ]
        for content in sent:
            text = re.sub(rb"\\.", b" ", content)
            prose = re.findall(rb"[A-Za-z]{2,}(?: [A-Za-z]{2,}){3,}", text)
            assert not [words for words in prose if words.strip(b"x ")]


def test_all_of_it_is_small() -> None:
    assert sum(path.stat().st_size for path in RECORDINGS.rglob("*") if path.is_file()) < 1_500_000

"""Real parsers agree with what hoplint says of the messages in recordings/defects; docs/judges.md is made of it.

The parsers from PyPI are asked here, in this run; the other programs (node, Go, curl, nginx, haproxy) by
tests/e2e/test_judges.py, which holds them to the same table. ``UPDATE_GOLDEN=1 uv run pytest tests/test_judges.py``
writes the page.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest

from conformance import breaks, lint, recording
from conformance.breaks import REFUSED, UNKNOWN, Case, Party
from conformance.finding import Finding
from conformance.message import Stream
from conformance.parsers import Judges
from conformance.rule import NOTE, load
from conformance.verdict import Verdict

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "judges.md"
NAME = re.compile(rb"\A\S*\s*\S+ +\S*?\?case=([^ &#]+)|\AGET /([^ ]+)")
"""Where the first line of a defect says which it is."""
CASES = {(case.side, case.name): case for case in breaks.table().cases}

# Judge in this run (without its version) -> the programs of the table that read with it.
READS_WITH = {
    "h11": {"responses": ("h11", "", ""), "requests": ("uvicorn", "h11", "")},
    "httptools": {"responses": ("httptools", "", ""), "requests": ("uvicorn", "httptools", "")},
    "aiohttp (C parser)": {"responses": ("aiohttp", "C parser", ""), "requests": ("aiohttp server", "C parser", "")},
    "aiohttp (Python parser)": {
        "responses": ("aiohttp", "Python parser", ""), "requests": ("aiohttp server", "Python parser", ""),
    },
    "aiohttp (C parser, -X dev)": {"responses": ("aiohttp", "C parser", "-X dev")},
    "aiohttp (Python parser, -X dev)": {"responses": ("aiohttp", "Python parser", "-X dev")},
}  # fmt: skip
OTHERS = ("node http", "go net/http", "curl", "node http server", "go net/http server", "nginx", "haproxy")
"""Programs that tests/e2e/test_judges.py asks."""

# Where a program refuses what its parser takes, or the other way round: (judge begins with, case begins with).
BEHIND = "the program is fed what lies behind the message, too"
DIFFERENT = {
    ("aiohttp", "Content-Encoding"): "the client decodes the content, the parser alone does not",
    ("httptools", "Content-Length-too-short"): BEHIND,
    ("aiohttp (C", "Content-Length-too-short"): BEHIND,
    ("httptools", "204-with-body"): BEHIND,
    ("aiohttp (C", "204-with-body"): BEHIND,
    ("httptools", "chunked-TE-but-plain-body"): BEHIND,
    (
        "httptools",
        "Unrequested-101",
    ): "the parser says that the protocol changes, and the program has to refuse it",
    ("aiohttp (Python parser)", "Transfer-Encoding/id+chunked"): (
        "it takes the chunks for content up to the close, which the program then gives to its caller"
    ),
    ("h11", "Empty-line-first"): "the program is fed the empty line before the message, too",
}
# Nothing is wrong with these, and still somebody refuses them.
CONFORMANT = {
    ("requests", "Host/empty"), ("requests", "If-None-Match/same"), ("requests", "If-None-Match/diff"),
    ("requests", "WS/conn-keepalive-first"), ("requests", "WS/dup-upgrade"), ("requests", "Trailer-field"),
    ("requests", "chunk-extension"), ("requests", "Empty-line-first"), ("responses", "Interim-103"),
    ("responses", "Trailer-field"), ("responses", "chunk-extension"),
}  # fmt: skip


def streams(side: str) -> dict[str, Stream]:
    found = {}
    for item in recording.read(ROOT / "recordings" / "defects" / f"{side}.http"):
        assert isinstance(item, Stream)
        named = NAME.search(item.client.data)
        assert named is not None
        found[(named[1] or named[2]).decode()] = item
    return found


@cache
def judged() -> dict[str, dict[tuple[str, str], bool]]:
    """Judge -> (side, case) -> whether it refuses."""
    found: dict[str, dict[tuple[str, str], bool]] = {}
    with Judges() as judges:
        for side in ("responses", "requests"):
            for case, stream in streams(side).items():
                for exchange in stream.exchanges:
                    for part, said in judges.judge(exchange):
                        if f"{part}s" == side:
                            for verdict in said.verdicts:
                                program, _, variant = verdict.parser.partition(" (")
                                name = program.rpartition(" ")[0]
                                judge = f"{name} ({variant}" if variant else name
                                refused = found.setdefault(judge, {})
                                key = (side, case)
                                refused[key] = refused.get(key, False) or _chokes(verdict)
        assert not judges.failures
    return found


def _chokes(verdict: Verdict) -> bool:
    """Whether a client or server with this parser fails: it refuses, or waits for what will not come."""
    if verdict.refusal is not None:
        return True
    content = dict(verdict.reading)["content"]
    return isinstance(content, tuple) and not content[1]


@cache
def found() -> dict[tuple[str, str], list[Finding]]:
    """(side, case) -> what hoplint finds in it, notes apart."""
    told: dict[tuple[str, str], list[Finding]] = {}
    for side in ("responses", "requests"):
        names = {stream.number: case for case, stream in streams(side).items()}
        numbers = {e.number: stream.number for stream in streams(side).values() for e in stream.exchanges}
        run = lint.check([recording.read(ROOT / "recordings" / "defects" / f"{side}.http")], load())
        for finding in run.findings:
            number = finding.at.stream or numbers[finding.at.exchange or 0]
            if finding.severity is not NOTE:
                told.setdefault((side, names[number]), []).append(finding)
    return told


def party(judge: str, side: str) -> Party | None:
    """The newest program of the table that reads with this judge."""
    if side not in READS_WITH[judge]:
        return None
    name, variant, option = READS_WITH[judge][side]
    known = [
        each for each in breaks.table().cases[0 if side == "responses" else -1].outcomes
        if (each.name, each.variant, each.option) == (name, variant, option)
    ]  # fmt: skip
    return max(known, key=lambda each: [int(number) for number in each.version.split(".")])


def explained(judge: str, case: str) -> str | None:
    return next(
        (
            why
            for (name, about), why in DIFFERENT.items()
            if judge.startswith(name) and case.startswith(about)
        ),
        None,
    )


def compared(judge: str) -> list[tuple[Case, bool, bool]]:
    """(case, refused by this judge, refused by the program as stored) of all that was measured with it."""
    rows = []
    for key, refused in judged()[judge].items():
        case, program = CASES[key], party(judge, key[0])
        # What a WebSocket library refuses, its parser has taken.
        if (
            program is not None
            and not case.name.startswith("WS/")
            and case.outcomes.get(program, UNKNOWN) != UNKNOWN
        ):
            rows.append((case, refused, case.outcomes[program] == REFUSED))
    return rows


@pytest.mark.parametrize("judge", READS_WITH)
def test_judges_agree_with_the_table(judge: str) -> None:
    rows = compared(judge)
    assert len(rows) > 70
    different = [case.name for case, refused, stored in rows if refused != stored]
    assert [name for name in different if explained(judge, name) is None] == []


@pytest.mark.parametrize("key", CASES, ids="-".join)
def test_whatever_somebody_refuses_is_found(key: tuple[str, str]) -> None:
    """No program refuses what hoplint has nothing to say about, but for what is conformant."""
    refused = REFUSED in CASES[key].outcomes.values() or any(said.get(key) for said in judged().values())
    if refused and key not in CONFORMANT:
        assert found().get(key), f"{CASES[key].sent} is refused, and nothing is found"


def test_what_is_called_conformant_is_refused_by_somebody_and_no_error() -> None:
    for key in CONFORMANT:
        assert REFUSED in CASES[key].outcomes.values(), key
        assert not [finding for finding in found().get(key, ()) if finding.severity == "error"], key


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recordings").glob("incidents/*.http")), ids=lambda path: path.stem
)
def test_whatever_a_judge_refuses_in_an_incident_is_found(path: Path) -> None:
    run = lint.check([recording.read(path)], load(), settings=lint.Settings(parsers=True))
    refused = {(one.exchange, one.part) for summary in run.recordings for one in summary.heard if one.refusal}
    errors = {
        (f.at.exchange, f.at.part)
        for f in run.findings
        if f.severity == "error" and f.rule != "parsers-disagree"
    }
    assert refused <= errors


# ---- the page


def page() -> str:
    lines = [
        "# Judges",
        "",
        "Generated by `UPDATE_GOLDEN=1 uv run pytest tests/test_judges.py`; do not edit.",
        "",
        "Does hoplint agree with real parsers? Each message of [recordings/defects](../recordings/defects) was given to",
        "them, and what they refused is compared with the [table](compatibility.md) and with what hoplint finds. The",
        "parsers from PyPI are asked by every test run, the other programs by",
        "`uv run pytest tests/e2e/test_judges.py -m heavy`, which fails where one differs from the table.",
        "",
        "| judge | stands for | messages | as the table says | explained | refuses | of these found |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for judge in READS_WITH:
        rows = compared(judge)
        different = sum(refused != stored for _, refused, stored in rows)
        refusals = [case for case, refused, _ in rows if refused]
        known = sum((case.side, case.name) in found() for case in refusals)
        programs = [each for side in ("responses", "requests") if (each := party(judge, side))]
        shown = ", ".join(breaks.collapsed(programs, programs))
        cells = (judge, shown, len(rows), len(rows) - different, different, len(refusals), known)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "Explained:", ""]
    for judge in READS_WITH:
        for case, refused, stored in compared(judge):
            if refused != stored:
                lines.append(f"- {judge}, {case.side} {case.name}: {explained(judge, case.name)}")
    lines += ["", "Refused by somebody, although nothing is wrong with it:", ""]
    lines += dict.fromkeys(f"- {side}: {CASES[side, name].sent}" for side, name in sorted(CONFORMANT))
    for side in ("responses", "requests"):
        lines += ["", f"## {side.capitalize()}", "", *_table(side)]
    return "\n".join(lines) + "\n"


def _table(side: str) -> list[str]:
    judges = [judge for judge in READS_WITH if side in READS_WITH[judge]]
    cases = [case for case in breaks.table().cases if case.side == side]
    programs = [
        max(
            (each for each in cases[0].outcomes if each.name == name and not each.option),
            key=lambda each: each.version,
        )
        for name in OTHERS
        if any(each.name == name for each in cases[0].outcomes)
    ]
    heads = ["rule", "sent", *judges, *(f"{each.name} {each.version}" for each in programs)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for case in cases:
        marks = [_mark(judged()[judge].get((side, case.name))) for judge in judges]
        letters = [case.outcomes.get(each, UNKNOWN) for each in programs]
        marks += [_mark(None if letter == UNKNOWN else letter == REFUSED) for letter in letters]
        if "✗" in marks:
            rules = ", ".join(dict.fromkeys(f.rule for f in found().get((side, case.name), ()))) or "–"
            lines.append(
                f"| {rules} | {case.sent}{f', if {case.when}' if case.when else ''} | {' | '.join(marks)} |"
            )
    return lines


def _mark(refused: bool | None) -> str:
    return "–" if refused is None else "✗" if refused else ""


def test_the_page_is_fresh() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "regenerate: UPDATE_GOLDEN=1 uv run pytest tests/test_judges.py"

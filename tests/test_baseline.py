import json
from collections import Counter
from pathlib import Path

import pytest

from conformance import baseline, lint, recording
from conformance.finding import Run
from conformance.rule import RULES, load

EXCHANGE = """\
@ flow: {id}
@ started: {time}
> POST /v1/responses/resp_{id}0001 HTTP/1.1
> Host: api.example
< HTTP/1.1 200 OK
< Date: Fri, 20 Nov 2026 03:{minute:02}:15 GMT
< X-Request-Id: req_{id}0001
< Server: a
< Server: b
"""
NEW = EXCHANGE.replace("Server: b", "Server: a\n< Via: 1.1 a\n< Date: Fri, 20 Nov 2026 04:00:00 GMT")


def run(text: str, *names: str) -> Run:
    rules = {name: load()[name] for name in names or ("duplicate-server", "duplicate-date")}
    return lint.check([recording.read("-", stdin=text.encode())], rules)


def recorded(count: int, seed: int = 0) -> str:
    """The same run, recorded at another time with other ids."""
    return "\n".join(
        EXCHANGE.format(id=f"{seed + number:08x}", time=1_700_000_000 + seed + number, minute=number % 60)
        for number in range(count)
    )


def known(of: Run) -> baseline.Known:
    return baseline.known_after(of, Counter(), RULES)


def test_recording_a_run_again_gives_the_same_fingerprints() -> None:
    first, again = run(recorded(50)), run(recorded(50, 77_777))
    assert len(first.findings) == 50
    assert known(first) == known(again)


def test_a_new_defect_beside_fifty_known_ones_is_the_only_one_reported() -> None:
    before = known(run(recorded(50)))
    now = run(recorded(50, 999) + "\n" + NEW.format(id="abcdef01", time=1_800_000_000, minute=1))
    assert len(now.findings) == 52
    baseline.apply(now, before, "known.json")
    assert sorted(f.rule for f in now.findings) == ["duplicate-date", "duplicate-server"]
    assert {f.at.exchange for f in now.findings} == {51}
    assert now.baselined == 50
    assert {one.reason for one in now.suppressed} == {"known.json"}


def test_the_fifty_first_of_fifty_is_new() -> None:
    now = run(recorded(51))
    baseline.apply(now, known(run(recorded(50))), "known.json")
    assert [f.at.exchange for f in now.findings] == [51]


def test_what_is_gone_is_told_and_pruned() -> None:
    before = known(run(recorded(3)))
    now = run(recorded(1))
    baseline.apply(now, before, "known.json")
    assert now.notes == [
        "known.json: 2 known findings were not seen (duplicate-server); if gone for good, --write-baseline prunes"
    ]
    assert sum(baseline.known_after(run(recorded(1)), before, RULES).values()) == 1


def test_what_rules_find_that_did_not_run_is_neither_gone_nor_pruned() -> None:
    before = known(run(recorded(3)))
    now = run(recorded(1), "duplicate-date")
    assert baseline.known_after(now, before, RULES) == before
    baseline.apply(now, before, "known.json")
    assert now.notes == []
    assert baseline.known_after(now, Counter({("no-such-rule", "0"): 1}), RULES) == {}


def test_it_is_written_and_read_back_sorted_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    found = Counter({("b", "2"): 1, ("a", "9"): 3, ("a", "1"): 2})
    baseline.write(path, found)
    assert baseline.read(path) == found
    assert [line.strip() for line in path.read_text().splitlines()[3:6]] == [
        '{"rule": "a", "fingerprint": "1", "count": 2},',
        '{"rule": "a", "fingerprint": "9", "count": 3},',
        '{"rule": "b", "fingerprint": "2", "count": 1}',
    ]
    baseline.write(path, Counter())
    assert json.loads(path.read_text()) == {"version": 1, "findings": []}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "--write-baseline makes one"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff", "not JSON"),
        ("[]", "no list of findings"),
        ('{"version": 1}', "no list of findings"),
        ('{"version": 2, "findings": []}', "another version"),
        ('{"version": 1, "findings": [{"rule": "a", "fingerprint": "b"}]}', "finding 1"),
        ('{"version": 1, "findings": [{"rule": "a", "fingerprint": "b", "count": 0}]}', "finding 1"),
        ('{"version": 1, "findings": [7]}', "finding 1"),
    ],
)
def test_what_is_no_baseline_is_said_in_one_line(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "known.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(baseline.BaselineError, match=says) as error:
        baseline.read(path)
    assert "known.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(baseline.BaselineError, match="cannot be written"):
        baseline.write(tmp_path / "no" / "folder.json", Counter())

from dataclasses import replace

from conformance.finding import Finding, Location, Run, Summary
from conformance.rule import ERROR, NOTE, UNUSED_IGNORE

AT = Location("a.flow", 3, "response", 5, "Server")
FINDING = Finding(
    "duplicate-server",
    ERROR,
    AT,
    "Server 'smg' repeats",
    "server",
    "flow",
    host="h",
    method="POST",
    path="/v1/x",
)


def test_the_fingerprint_survives_recording_again() -> None:
    again = replace(FINDING, at=replace(AT, recording="b.flow", exchange=99, index=7, line=1, field="server"))
    assert again.fingerprint == FINDING.fingerprint


def test_ids_and_numbers_are_folded() -> None:
    one = replace(
        FINDING, path="/sessions/0f1e2d3c4b5a69788796a5b4c3d2e1f0/v1", why="received 295 bytes, expected 319"
    )
    two = replace(
        FINDING, path="/sessions/ffffffffffffffff0000000000000001/v1", why="received 1 bytes, expected 20"
    )
    assert one.fingerprint == two.fingerprint
    assert one.alike == two.alike


def test_another_rule_field_path_or_reason_is_another_finding() -> None:
    others = [
        replace(FINDING, rule="duplicate-date"),
        replace(FINDING, at=replace(AT, field="Date")),
        replace(FINDING, at=replace(AT, part="request")),
        replace(FINDING, path="/v1/y"),
        replace(FINDING, method="GET"),
        replace(FINDING, host="other"),
        replace(FINDING, why="Server 'a' repeats"),
    ]
    assert len({FINDING.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_a_run_counts() -> None:
    run = Run({}, findings=[FINDING, replace(FINDING, severity=NOTE)])
    run.recordings = [
        Summary("a", "har", 1, 0, None, (), None, frozenset({"x"})),
        Summary("b", "har", 1, 0, None, (), None, frozenset({"x", "y"})),
    ]
    assert (run.count(ERROR), run.count(NOTE)) == (1, 1)
    assert run.exercised == {"x", "y"}
    assert run.rule("unused-ignore") is UNUSED_IGNORE

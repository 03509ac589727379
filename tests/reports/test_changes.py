import json

from conformance.changes import compare
from conformance.recording import Recording
from conformance.reports.changes import as_json, text
from conformance.rule import load

OLD = b"""\
> GET /v1/models HTTP/1.1
> Host: a
> User-Agent: codex/1.0
> Session_id: 1
< HTTP/1.1 200 OK
< Content-Length: 0
< Server: a
< Server: b
"""
NEW = OLD.replace(b"codex/1.0", b"codex/1.1").replace(b"Session_id", b"Session-Id").replace(
    b"< Server: b", b"< Date: Fri, 20 Nov 2026 03:14:15 GMT\n< Date: Fri, 20 Nov 2026 03:14:15 GMT"
) + b"\n" + OLD.replace(b"codex/1.0", b"curl/8").replace(b"< Server: b\n", b"")  # fmt: skip


def changes():
    rules = {name: load()[name] for name in ("duplicate-server", "duplicate-date")}
    return compare(Recording("old.http", OLD), Recording("new.http", NEW), rules)


def test_for_people() -> None:
    assert text(changes()).splitlines() == [
        "1 finding appeared, 1 vanished, 0 in both recordings",
        "  gone: old.http:8: error[duplicate-server] Server 'b' repeats 'a'",
        "agent codex 1.0 -> 1.1: 1 request, then 1",
        "  newly sends session-id, in 1 of 1 request",
        "  no longer sends session_id, which was in 1 of 1 request",
        "agent curl 8: only in the newer recording, 1 request",
    ]


def test_for_programs() -> None:
    document = json.loads(as_json(changes()))
    assert (document["version"], document["old"], document["new"]) == (1, "old.http", "new.http")
    assert [finding["rule"] for finding in document["findings"]["appeared"]] == ["duplicate-date"]
    assert [finding["rule"] for finding in document["findings"]["vanished"]] == ["duplicate-server"]
    assert document["findings"]["same"] == 0
    codex, curl = document["agents"]
    assert codex == {
        "name": "codex",
        "old": {"requests": 1, "versions": ["1.0"]},
        "new": {"requests": 1, "versions": ["1.1"]},
        "sends": {"session-id": 1},
        "stopped": {"session_id": 1},
    }
    assert curl["sends"] == {}

import json

from conformance import lint, recording
from conformance.finding import Look
from conformance.reports.json import report
from conformance.rule import load

TEXT = (
    "# hoplint: ignore[duplicate-date] known\n"
    "> POST /v1 HTTP/1.1\n> Host: api.example\n"
    "< HTTP/1.1 200 OK\n< Content-Length: 0\n< Server: a\n< Server: \\x1b[31m\xe9\n"
    "< Date: Fri, 20 Nov 2026 03:14:14 GMT\n< Date: Fri, 20 Nov 2026 03:14:15 GMT\n"
)


def document() -> dict:
    rules = {name: load()[name] for name in ("duplicate-server", "duplicate-date", "content-length-mismatch")}
    run = lint.check([recording.read("-", stdin=TEXT.encode())], rules)
    return json.loads(report(run, Look()))


def test_the_shape_is_frozen() -> None:
    got = document()
    assert got["version"] == 1
    assert got["tool"]["name"] == "hoplint"
    assert got["recordings"] == [
        {"path": "-", "kind": "transcript", "exchanges": 1, "streams": 0, "error": None}
    ]
    assert got["tally"] == {
        "findings": 1, "errors": 1, "warnings": 0, "notes": 0, "ignored": 1, "baselined": 0, "selected": 3, "exercised": 2,
    }  # fmt: skip
    (finding,) = got["findings"]
    assert finding.pop("fingerprint").isalnum()
    assert finding.pop("why").startswith("Server ")
    assert "aiohttp 3.13.4" in finding.pop("breaks")
    assert finding == {
        "rule": "duplicate-server", "topic": "duplicates", "severity": "error", "path": "-", "exchange": 1, "flow": None,
        "part": "response", "index": 2, "field": "Server", "line": 7, "origin": "server", "evidence": "flow",
        "rfc": ["RFC 9110 §5.3", "RFC 9110 §10.2.4", "RFC 7230 §3.2.2", "RFC 7231 §7.4.2"], "fix": "dedupe-headers",
    }  # fmt: skip


def test_it_is_ascii_whatever_was_recorded() -> None:
    run = lint.check([recording.read("-", stdin=TEXT.encode())], load())
    assert report(run, Look()).isascii()

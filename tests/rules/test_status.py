"""What a status needs and does not need; whose interim response it is; redirects that are none of ours."""

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Refusal, Request, Response
from conformance.rule import load
from conformance.settings import load as settings
from conformance.settings import profiles

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "status"}


def lint(text: str) -> list[str]:
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures
    return [finding.rule for finding in linter.findings]


def exchange(start: str, request: list[str], status: str, response: list[str], facts: str = "") -> str:
    lines = [f"> {start} HTTP/1.1", "> Host: api.example", *(f"> {line}" for line in request)]
    lines += [f"< HTTP/1.1 {status}", *(f"< {line}".rstrip() for line in response)]
    return facts + "\n".join(lines)


JSON_POST = ["Content-Type: application/json"]


# ---- interim responses


def test_an_interim_response_that_the_recorder_took_for_final_is_nobodys_fault() -> None:
    found = exchange("GET /", [], "103 Early Hints", ["Content-Length: 0"])
    assert lint(found) == ["interim-response-as-final"]
    (item,) = recording.parse(found)
    assert isinstance(item, Exchange)
    blamed = Refusal("as mitmproxy does", None, "response", "recorder", "mitmproxy")
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(
        Exchange(request=item.request, interim=item.interim, refusals=(blamed,), recorder="mitmproxy")
    )
    assert linter.findings == []


@pytest.mark.parametrize(
    ("status", "lines", "facts"),
    [
        ("100 Continue", [], ""),
        ("103 Early Hints", ["Link: </a>"], ""),
        ("103 Early Hints", ["Connection: keep-alive"], ""),
        # the recorder knows why nothing follows
        ("103 Early Hints", ["Content-Length: 0"], "@ error: server closed connection\n"),
    ],
)
def test_an_interim_response_with_nothing_behind_it_proves_nothing(status, lines, facts) -> None:
    assert lint(exchange("GET /", ["Expect: 100-continue"], status, lines, facts)) == []


# ---- 101


@pytest.mark.parametrize(
    ("asked", "switched", "expected"),
    [
        (["Upgrade: h2c"], "h2c", []),
        (["Upgrade: foo/1, bar/2"], "BAR/2", []),
        (["Upgrade: foo"], "foo/1", []),
        (["Upgrade: foo/1"], "foo/2", ["unrequested-101"]),
        (["Upgrade: h2c"], "websocket", ["unrequested-101"]),
        ([], "websocket", ["unrequested-101"]),
        # a WebSocket handshake has rules of its own
        (["Upgrade: websocket"], "h2c", []),
    ],
)
def test_what_may_be_switched_to(asked: list[str], switched: str, expected: list[str]) -> None:
    assert lint(exchange("GET /", asked, "101 Switching Protocols", [f"Upgrade: {switched}"])) == expected


def test_a_101_that_does_not_say_what_it_switches_to_is_one_finding() -> None:
    assert lint(exchange("GET /", [], "101 Switching Protocols", [])) == ["101-without-upgrade"]


def test_a_har_may_have_lost_what_was_offered() -> None:
    rebuilt = Exchange(
        request=Request(method=b"GET", target=b"/", fields=Fields(), verbatim=False),
        response=Response(code=b"101", fields=Fields([(b"Upgrade", b"websocket")]), verbatim=False),
        recorder="har",
    )
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(rebuilt)
    assert linter.findings == []


# ---- 200


@pytest.mark.parametrize(
    ("start", "status", "lines", "expected"),
    [
        ("POST /v1/messages", "200 OK", ["Content-Length: 0", ""], True),
        (
            "POST /v1/messages",
            "200 OK",
            ["Content-Type: text/event-stream", "Transfer-Encoding: chunked", ""],
            True,
        ),
        ("GET /v1/models", "200 OK", ["Content-Length: 0", ""], True),
        ("POST /anything", "201 Created", ["Content-Type: application/json", "Content-Length: 0", ""], True),
        ("POST /v1/messages", "200 OK", ["Content-Length: 0"], False),  # not recorded
        ("POST /v1/messages", "200 OK", ["Content-Length: 9", ""], False),  # cut: framing's business
        ("POST /v1/messages", "204 No Content", [""], False),
        ("POST /mcp", "202 Accepted", ["Content-Type: application/json", "Content-Length: 0", ""], False),
        ("POST /v1/messages", "500 Oops", ["Content-Length: 0", ""], False),
        ("HEAD /v1/models", "200 OK", ["Content-Type: application/json", ""], False),
        ("OPTIONS /v1/messages", "200 OK", ["Content-Length: 0", ""], False),
        ("DELETE /v1/models/m", "200 OK", ["Content-Type: application/json", "Content-Length: 0", ""], False),
        ("GET /health", "200 OK", ["Content-Length: 0", ""], False),
        ("GET /events", "200 OK", ["Content-Type: text/event-stream", ""], False),
    ],
)
def test_empty_answers(start: str, status: str, lines: list[str], expected: bool) -> None:
    found = lint(exchange(start, [], status, lines))
    assert ("200-without-content" in found) is expected


def test_an_answer_that_the_recorder_lost_is_not_empty() -> None:
    text = exchange("POST /v1/messages", [], "200 OK", [""], "@ error: Client disconnected.\n")
    assert lint(text) == []


# ---- redirects


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_statuses_that_lead_nowhere_by_themselves(status: int) -> None:
    assert "redirect-without-location" not in lint(exchange("GET /", [], f"{status} x", []))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_statuses_that_need_a_place(status: int) -> None:
    assert lint(exchange("POST /v1/messages", JSON_POST, f"{status} x", [])) == ["redirect-without-location"]


@pytest.mark.parametrize(
    ("start", "lines", "status", "location", "expected"),
    [
        ("GET /a", [], 301, "/a", True),
        ("GET /a?x=1", [], 302, "?x=1", True),
        ("GET /a", [], 307, "http://API.example:80/a#top", True),
        ("GET /", [], 307, "http://api.example", True),
        ("POST /a", [], 307, "/a", True),
        ("GET /a", ["X-Forwarded-Proto: https"], 301, "https://api.example/a", True),
        ("GET /a", [], 301, "/a/", False),
        ("GET /a?x=1", [], 301, "/a", False),
        ("GET /a", [], 301, "https://api.example/a", False),
        ("GET /a", [], 301, "http://other.example/a", False),
        ("GET /a", ["X-Forwarded-Proto: https"], 301, "http://api.example/a", False),
        ("POST /a", [], 303, "/a", False),  # read the result here
        ("POST /a", [], 302, "/a", False),
        ("GET /a", [], 301, "", False),
        ("GET /a", [], 301, "http://[::1/a", False),
        ("GET /a", [], 301, "http://api.example:99999/a", False),
        ("OPTIONS *", [], 308, "*", False),
    ],
)
def test_redirects_to_what_was_requested(start, lines, status, location, expected) -> None:
    text = exchange(start, lines, f"{status} x", [f"Location: {location}"])
    assert lint(text) == ["redirect-to-self"] * expected


def test_a_redirect_that_sets_a_cookie_leads_to_another_answer() -> None:
    assert lint(exchange("GET /a", [], "302 Found", ["Location: /a", "Set-Cookie: seen=1"])) == []


@pytest.mark.parametrize(
    ("start", "lines", "status", "expected"),
    [
        ("POST /v1/messages", JSON_POST, 301, True),
        ("POST /v1/messages", [], 303, True),
        ("POST /jobs", JSON_POST, 302, True),
        ("POST /jobs", JSON_POST, 303, False),
        ("POST /login", ["Content-Type: application/x-www-form-urlencoded"], 302, False),
        ("POST /jobs", [], 302, False),
        ("POST /v1/messages", JSON_POST, 307, False),
        ("GET /v1/models", [], 301, False),
    ],
)
def test_posts_that_become_gets(start, lines, status, expected) -> None:
    text = exchange(start, lines, f"{status} x", ["Location: /elsewhere"])
    assert lint(text) == ["redirect-turns-post-into-get"] * expected


# ---- what an error needs


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("401 Unauthorized", "WWW-Authenticate: Bearer"),
        ("407 Proxy Authentication Required", "Proxy-Authenticate: Basic realm=a"),
        ("405 Method Not Allowed", "Allow:"),  # nothing is allowed, which is an answer
        ("405 Method Not Allowed", "Allow: POST, get"),  # methods have a case
        ("405 Method Not Allowed", "Allow: GETS"),
        ("426 Upgrade Required", "Upgrade: websocket"),
        ("403 Forbidden", "Server: a"),
    ],
)
def test_errors_that_are_complete(status: str, line: str) -> None:
    assert lint(exchange("GET /", [], status, [line])) == []


def test_http2_has_no_upgrade() -> None:
    text = exchange("GET /", [], "426 Upgrade Required", []).replace("HTTP/1.1", "HTTP/2.0")
    assert lint(text) == []


@pytest.mark.parametrize("code", [b"301", b"401", b"405", b"407", b"426"])
def test_a_har_without_fields_proves_nothing(code: bytes) -> None:
    rebuilt = Exchange(
        request=Request(method=b"GET", target=b"/", fields=Fields()),
        response=Response(code=code, fields=Fields(), verbatim=False),
        recorder="har",
    )
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(rebuilt)
    assert linter.findings == []


@pytest.mark.parametrize("profile", sorted(set(profiles()) - {"generic"}))
def test_llm_apis_are_not_asked_for_challenges(profile: str) -> None:
    severity = settings(isolated=True, profile=profile).settings.lint.severity
    assert severity["401-without-www-authenticate"] == severity["405-without-allow"] == "warning"


# ---- what a status answers


def test_a_browser_may_not_show_what_its_cache_was_asked() -> None:
    text = "@ recorder: har\n> GET / HTTP/1.1\n> Accept: */*\n< HTTP/1.1 206 Partial Content\n< Content-Range: bytes 0-1/2\n"
    linter = Linter({"unrequested-206": load()["unrequested-206"]}, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert linter.findings == []


@pytest.mark.parametrize(
    ("start", "lines", "status", "answer", "rules"),
    [
        ("GET /", [], "201 Created", ["Location: /a"], ["201-for-safe-method"]),
        ("HEAD /", [], "201 Created", ["Location: /a"], ["201-for-safe-method"]),
        ("POST /", [], "201 Created", [], ["201-without-location"]),
        ("PUT /", [], "201 Created", [], []),
        ("GET /", [], "206 Partial Content", ["Content-Range: bytes 0-1/2"], ["unrequested-206"]),
        ("GET /", ["Range: bytes=0-1"], "206 Partial Content", ["Content-Type: text/plain"], ["206-without-content-range"]),
        ("GET /", ["Range: bytes=0-1"], "206 Partial Content", ["Content-Type: multipart/byteranges; boundary=a"], []),
        (
            "GET /",
            ["Range: bytes=0-1"],
            "206 Partial Content",
            ["Content-Type: Multipart/ByteRanges; boundary=a", "Content-Range: bytes 0-1/2"],
            ["multipart-206-with-content-range"],
        ),
        ("POST /", ["Range: bytes=0-1"], "206 Partial Content", ["Content-Range: bytes 0-1/2"], ["206-for-non-get-request"]),
        ("HEAD /", [], "206 Partial Content", ["Content-Range: bytes 0-1/2"], []),
        ("POST /", ["Range: bytes=0-1"], "416 Range", ["Content-Range: bytes */2"], ["206-for-non-get-request"]),
        ("PUT /", ["Content-Range: bytes 0-1/2"], "416 Range", ["Content-Range: bytes */2"], []),
        ("GET /", ["Range: bytes=9-"], "416 Range", [], ["416-without-content-range"]),
        ("GET /", [], "304 Not Modified", [], ["unconditional-304"]),
        ("GET /", ['If-None-Match: "a"'], "304 Not Modified", [], []),
        ("GET /", ["If-Modified-Since: Fri, 20 Nov 2026 03:14:15 GMT"], "304 Not Modified", [], []),
        ("PUT /", [], "412 Precondition Failed", [], ["412-without-precondition"]),
        ("PUT /", ['If-Match: "a"'], "412 Precondition Failed", [], []),
        ("PUT /", ["x-ms-source-if-match: a"], "412 Precondition Failed", [], []),
        ("PUT /", ["If: (<urn:a>)"], "412 Precondition Failed", [], []),
        ("GET /", [], "408 Request Timeout", [], ["408-without-close"]),
        ("GET /", [], "408 Request Timeout", ["Connection: Close"], []),
        ("POST /", ["Content-Length: 0"], "411 Length Required", [], ["411-despite-content-length"]),
        ("POST /", ["Content-Length: x"], "411 Length Required", [], []),
        ("POST /", [], "411 Length Required", [], []),
        ("POST /", [], "415 Unsupported Media Type", [], ["415-without-accept"]),
        ("POST /", [], "415 Unsupported Media Type", ["Accept-Encoding: gzip"], []),
        ("PATCH /", [], "415 Unsupported Media Type", ["Accept-Patch: text/plain"], []),
        ("GET /", [], "500 Internal Server Error", ["Content-Length: 0", ""], ["error-without-content"]),
        ("GET /", [], "500 Internal Server Error", ["Content-Length: 0"], []),  # not recorded
        ("HEAD /", [], "500 Internal Server Error", ["Content-Length: 0", ""], []),
        ("GET /", [], "302 Found", ["Location: /b", "Content-Length: 0", ""], []),
    ],
)  # fmt: skip
def test_status_beside_the_request(
    start: str, lines: list[str], status: str, answer: list[str], rules: list[str]
) -> None:
    assert lint(exchange(start, lines, status, answer)) == rules


def test_a_har_that_shows_no_fields_proves_nothing() -> None:
    bare = {"fields": Fields(), "verbatim": False}
    for status in (b"201", b"206", b"304", b"408", b"412", b"415", b"416"):
        linter = Linter(TOPIC, None, Settings(), "example")
        request = Request(method=b"GET", target=b"/", **bare)
        linter.take(Exchange(request=request, response=Response(code=status, **bare), recorder="har"))
        assert {finding.rule for finding in linter.findings} <= {"201-for-safe-method"}, status


@pytest.mark.parametrize(
    ("expect", "version", "interim", "rules"),
    [
        ("", "1.1", "100 Continue", ["unexpected-100-continue"]),
        (r"Expect: 100-Continue\r\n", "1.1", "100 Continue", []),
        ("", "1.1", "103 Early Hints", []),
        ("", "1.0", "100 Continue", ["interim-response-to-http10-client"]),
        (r"Expect: 100-continue\r\n", "1.0", "100 Continue", ["interim-response-to-http10-client"]),
    ],
)
def test_interim_responses_nobody_can_use(expect: str, version: str, interim: str, rules: list[str]) -> None:
    found = lint(
        rf">> GET / HTTP/{version}\r\nHost: a\r\n{expect}\r\n"
        "\n"
        rf"<< HTTP/1.1 {interim}\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    )
    assert found == rules


def test_a_hop_that_says_http10_cannot_switch() -> None:
    text = "> GET / HTTP/1.0\n> Connection: upgrade\n> Upgrade: x\n< HTTP/1.1 101 S\n< Connection: upgrade\n< Upgrade: x"
    assert lint(text) == ["101-to-http10-client"]
    assert lint(text.replace("HTTP/1.0", "HTTP/1.1")) == []


GOT = """> GET /f HTTP/1.1
> Host: a
< HTTP/1.1 200 OK
< ETag: "a"
< Cache-Control: max-age=1
< Content-Location: /g
< Vary: Origin
< X-Odd: 1
"""


@pytest.mark.parametrize(
    ("asked", "lines", "why"),
    [
        (
            'If-None-Match: "a"',
            [],
            "304 without cache-control, content-location, etag, which the 200 had in exchange 1",
        ),
        ('If-None-Match: W/"a", "b"', ['ETag: "a"', "Content-Location: /g"], "304 without cache-control"),
        (
            "If-Modified-Since: Fri, 20 Nov 2026 03:14:15 GMT",
            ['ETag: "a"', "Cache-Control: a"],
            "304 without content",
        ),
        ('If-None-Match: "a"', ['ETag: "a"', "Cache-Control: max-age=9", "Content-Location: /g"], ""),
        ('If-None-Match: "b"', [], ""),  # of which nothing is known
    ],
)
def test_what_a_304_repeats(asked: str, lines: list[str], why: str) -> None:
    rules = {"304-without-validators": TOPIC["304-without-validators"]}
    for host, fires in (("a", bool(why)), ("b", False)):
        linter = Linter(rules, None, Settings(), "example")
        again = [f"> GET /f HTTP/1.1\n> Host: {host}", f"> {asked}", "< HTTP/1.1 304 Not Modified"]
        for item in recording.parse("\n".join([GOT, *again, *(f"< {line}" for line in lines)])):
            linter.take(item)
        assert not linter.failures
        assert [finding.why.startswith(why) for finding in linter.findings] == [True] * fires

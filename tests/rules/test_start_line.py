"""Start lines and line ends: what the examples in the docstrings cannot show."""

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.message import Fields, Message, Request, Response
from conformance.rule import NOTE, RULES, load

load()
HOST = Fields([(b"Host", b"api.example")])


def fired(message: Message) -> set[str]:
    """The rules of this topic that fire on one message."""
    return {
        rule.name
        for rule in RULES.values()
        if rule.topic == "start_line"
        and rule.scope in ("Message", type(message).__name__)
        and (message.verbatim or not rule.verbatim)
        and list(rule.check(message))
    }


def in_octets(client: str, server: str = "") -> set[str]:
    """The rules of any topic, notes apart, that fire on a stream."""
    linter = Linter(RULES, None, Settings(), "stream")
    lines = [f">> {line}" for line in client.splitlines()] + [f"<< {line}" for line in server.splitlines()]
    for item in recording.parse("\n".join(lines)):
        linter.take(item)
    assert not linter.failures
    found = (finding.rule for finding in linter.findings if finding.severity is not NOTE)
    return {name for name in found if name != "date-missing"}


def request(**changes: object) -> Request:
    return Request(**{"method": b"GET", "target": b"/v1/models", "fields": HOST, **changes})  # type: ignore[arg-type]


def response(**changes: object) -> Response:
    return Response(**{"code": b"204", "reason": b"No Content", "fields": Fields(), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(request(method=b"PROPFIND"), id="extension method"),
        pytest.param(request(method=b"x-custom!#$"), id="every token is a method"),
        pytest.param(request(method=b"gEt2"), id="resembles no standard method"),
        pytest.param(request(target=b"*", method=b"OPTIONS"), id="asterisk form"),
        pytest.param(request(target=b"api.example:443", method=b"CONNECT"), id="authority form"),
        pytest.param(request(target=b"http://api.example/v1?a=b;c&d=%2F+%e2%82%AC"), id="absolute form"),
        pytest.param(request(target=b"/v1/models/gemini-2.5:streamGenerateContent?alt=sse"), id="Gemini"),
        pytest.param(request(target=b'/a[0]{b}|\\^`"<>'), id="browsers leave these unencoded"),
        pytest.param(request(version=b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(request(version=b"HTTP/2.0"), id="mitmproxy's HTTP/2"),
        pytest.param(request(version=b"HTTP/2"), id="HTTP/2 without minor version"),
        pytest.param(request(version=b"HTTP/3"), id="HTTP/3"),
        pytest.param(request(version=b""), id="version unknown"),
        pytest.param(response(code=b"100", reason=b"Continue"), id="lowest code"),
        pytest.param(response(code=b"511", reason=b""), id="highest registered code"),
        pytest.param(response(code=b"418", reason=b"I'm a teapot"), id="unused, but registered"),
        pytest.param(response(code=b"200", reason=b"", version=b"HTTP/2.0"), id="no reason"),
        pytest.param(response(reason=b" deja vu,\t(again)!"), id="reason is opaque"),
        pytest.param(response(reason=b"d\xe9j\xe0", version=b"HTTP/2.0"), id="HTTP/2 has no reason"),
        pytest.param(request(method=b"OPTIONS", target=b"http://api.example"), id="absolute form, no path"),
        pytest.param(request(method=b"CONNECT", target=b"[::1]:443"), id="authority form, IPv6"),
        pytest.param(request(method=b"CONNECT", target=b"/ws", version=b"HTTP/2.0"), id="extended CONNECT"),
        pytest.param(request(target=b"/" + b"a" * 7986), id="8000 octets with method and version"),
        pytest.param(request(target=b"/@ada"), id="@ in a path"),
        pytest.param(request(target=b"http://api.example/a:b@c"), id="@ in a URI's path"),
        pytest.param(response(fields=Fields([(b"Location", b"myapp://ada@done")])), id="another scheme"),
        pytest.param(response(fields=Fields([(b"Location", b"/login?as=https://a:b@c/")])), id="in a query"),
        pytest.param(request(version=b"http/0.9", verbatim=False), id="a HAR's own version"),
        pytest.param(
            request(target=b"/caf\xc3\xa9 #x%", version=b"h2", verbatim=False), id="a HAR's own spelling"
        ),
        pytest.param(response(code=b"0", verbatim=False), id="a HAR's aborted request"),
    ],
)
def test_silent_on(message: Message) -> None:
    assert fired(message) == set()


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (request(method=b"GET\x00"), "method-malformed"),
        (request(method=b"GET\r"), "method-malformed"),
        (request(method=b"\xc3\xa9"), "method-malformed"),
        (request(method=b"Get"), "method-in-wrong-case"),
        (request(method=b"post", verbatim=False), "method-in-wrong-case"),
        (request(target=b"/a\tb"), "illegal-character-in-request-target"),
        (request(target=b"/a\x00"), "illegal-character-in-request-target"),
        (request(target=b"/a\x7f"), "illegal-character-in-request-target"),
        (request(target=b"/a\rb"), "illegal-character-in-request-target"),
        (request(target=b"/a b", version=b"HTTP/2.0"), "illegal-character-in-request-target"),
        (request(target=b"/#"), "fragment-in-request-target"),
        (request(target=b"/\x80"), "non-ascii-request-target"),
        (request(target=b"/%"), "percent-encoding-malformed"),
        (request(target=b"/%2"), "percent-encoding-malformed"),
        (request(target=b"/%%20"), "percent-encoding-malformed"),
        (request(target=b"/%u20ac"), "percent-encoding-malformed"),
        (request(version=b"HTTP/1"), "http-version-malformed"),
        (request(version=b"HTTP/1.10"), "http-version-malformed"),
        (request(version=b"HTTP/11"), "http-version-malformed"),
        (request(version=b"HTTP/1.1\n"), "http-version-malformed"),
        (response(version=b"ICY"), "http-version-malformed"),
        (response(code=b"99"), "status-code-malformed"),
        (response(code=b"0200"), "status-code-malformed"),
        (response(code=b"20x"), "status-code-malformed"),
        (response(code=b""), "status-code-malformed"),
        (response(code=b"099"), "status-code-out-of-range"),
        (response(code=b"999"), "status-code-out-of-range"),
        (response(code=b"600", verbatim=False), "status-code-out-of-range"),
        (request(target=b"*"), "request-target-form-wrong"),
        (request(target=b""), "request-target-form-wrong"),
        (request(target=b"api.example:443"), "request-target-form-wrong"),
        (request(target=b"v1/models"), "request-target-form-wrong"),
        (request(method=b"CONNECT", target=b"api.example"), "request-target-form-wrong"),
        (request(method=b"CONNECT", target=b"api.example:"), "request-target-form-wrong"),
        (request(method=b"CONNECT", target=b"http://api.example:443/"), "request-target-form-wrong"),
        (request(target=b"/" + b"a" * 7987), "request-line-too-long"),
        (request(target=b"HTTPS://u@api.example/"), "userinfo-in-request-target"),
        (request(target=b"http://@api.example/"), "userinfo-in-request-target"),
        (request(method=b"CONNECT", target=b"u:p@api.example:443"), "userinfo-in-request-target"),
        (request(version=b"HTTP/1.2"), "unknown-http-version"),
        (request(version=b"HTTP/0.9"), "unknown-http-version"),
        (response(version=b"HTTP/4.0"), "unknown-http-version"),
        (response(code=b"306"), "deprecated-status-code"),
        (response(code=b"529", reason=b"Site is overloaded"), "unregistered-status-code"),
        (response(code=b"599", reason=b""), "unregistered-status-code"),
        (response(code=b"419", verbatim=False), "unregistered-status-code"),
        (response(reason=b"d\xc3\xa9j\xc3\xa0 vu"), "reason-phrase-malformed"),
        (response(reason=b"a\x00"), "reason-phrase-malformed"),
        (response(reason=b"a\nb"), "reason-phrase-malformed"),
        (request(version=b"HTTP/1.1\r"), "bare-carriage-return"),
        (response(reason=b"OK\r"), "bare-carriage-return"),
        (response(reason=b"O\rK"), "bare-carriage-return"),
        (request(fields=Fields([(b"Host", b"a\r")])), "bare-carriage-return"),
        (request(fields=Fields([(b"X-A", b"a\r\r\n b")])), "bare-carriage-return"),
        (response(trailers=Fields([(b"X-A", b"a\rb")])), "bare-carriage-return"),
    ],
)
def test_one_defect_is_one_finding(message: Message, rule: str) -> None:
    assert fired(message) == {rule}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(
            request(version=b"HTTP/2.0", fields=Fields([(b"x-a", b"a\rb")])), id="HTTP/2 has no lines"
        ),
        pytest.param(request(verbatim=False, fields=Fields([(b"X-A", b"a\rb")])), id="HAR"),
        pytest.param(request(fields=Fields([(b"X-A", b"a\r\n b")])), id="a fold is no bare CR"),
        pytest.param(request(fields=Fields([(b"X-A\r", b"a")])), id="in a name it is no token"),
    ],
)
def test_no_bare_carriage_return(message: Message) -> None:
    assert "bare-carriage-return" not in fired(message)


HEAD = r"Host: api.example\r\n\r\n"
OK = r"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (r"GET\t/ HTTP/1.1", "extra-space-in-start-line"),
        ("GET  / HTTP/1.1", "extra-space-in-start-line"),
        ("GET /  HTTP/1.1", "extra-space-in-start-line"),
        (r"GET /\x0bHTTP/1.1", "extra-space-in-start-line"),
        ("GET / HTTP/1.1 ", "extra-space-in-start-line"),
        (" GET / HTTP/1.1", "extra-space-in-start-line"),
        ("GET /a b HTTP/1.1", "illegal-character-in-request-target"),
        ("GET /a  b HTTP/1.1", "illegal-character-in-request-target"),
        (r"GET / HTTP/1.1\r", "bare-carriage-return"),
        (r"GET\r/ HTTP/1.1", "bare-carriage-return"),
    ],
)
def test_request_line_in_octets(line: str, rule: str) -> None:
    assert in_octets(rf"{line}\r\n{HEAD}") == {rule}


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("HTTP/1.1  204 No Content", {"extra-space-in-start-line"}),
        (r"HTTP/1.1\t204 No Content", {"extra-space-in-start-line"}),
        (r"HTTP/1.1 204\tNo Content", {"extra-space-in-start-line"}),
        ("HTTP/1.1 204  No Content", set()),  # a reason may begin with a space
        ("HTTP/1.1 204 ", set()),
        ("HTTP/1.1 204", {"space-missing-after-status-code"}),
        ("HTTP/2.0 204 No Content", {"unknown-http-version"}),  # it was really written
    ],
)
def test_status_line_in_octets(line: str, rules: set[str]) -> None:
    found = in_octets(rf"GET / HTTP/1.1\r\n{HEAD}", rf"{line}\r\n\r\n")
    assert found & {rule for rule in RULES if RULES[rule].topic == "start_line"} == rules


def test_bare_line_feed_is_found_in_trailers_and_once_per_message() -> None:
    chunked = r"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\nX-B: 2\n\n"
    found = in_octets(rf"GET / HTTP/1.1\r\n{HEAD}", chunked)
    assert "bare-line-feed" in found
    linter = Linter({"bare-line-feed": RULES["bare-line-feed"]}, None, Settings(), "stream")
    for item in recording.parse(r">> GET / HTTP/1.1\nHost: a\n\nGET /b HTTP/1.1\r\nHost: a\n\r\n"):
        linter.take(item)
    assert [finding.why[:4] for finding in linter.findings] == ["3 of", "1 of"]


def test_bare_line_feed_is_not_looked_for_in_content() -> None:
    body = r"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na\n\nb"
    assert "bare-line-feed" not in in_octets(body)


def test_credentials_in_targets_are_masked() -> None:
    target = b"/v1?key=abcdefghijk#x"
    (_, why), *_ = RULES["fragment-in-request-target"].check(request(target=target))
    assert "abcdefghijk" not in why
    assert "key=***" in why


@pytest.mark.parametrize(
    ("client", "server", "is_old"),
    [
        (r"GET /v1/models\r\n\r\n", "", True),
        (r"\r\nPOST http://api.example/\n", "", True),
        (r"GET /v1/models", "", False),  # cut
        (r"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", "<html>hi</html>", True),
        (r"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", r"-ERR unknown command\r\n", True),
        (r"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", "HT", False),  # cut
        (r"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", r"\x15\x03\x01\x00\x02\x02\x46", False),  # TLS
        (
            r"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
            r"\x00\x00\x06\x04\x00\x00\x00\x00\x00",
            False,
        ),  # HTTP/2
        (r"USER anonymous\r\n", r"220 ready\r\n", False),  # FTP
    ],
)
def test_http09_in_octets(client: str, server: str, is_old: bool) -> None:
    assert ("http09-message" in in_octets(client, server)) is is_old


def test_leftovers_are_no_old_messages() -> None:
    behind = rf"{OK}upstream connect error\r\n"
    assert "http09-message" not in in_octets(rf"GET / HTTP/1.1\r\n{HEAD}", behind)


def exchanged(text: str) -> set[str]:
    linter = Linter({"http10-on-streaming-api": RULES["http10-on-streaming-api"]}, None, Settings(), "text")
    for item in recording.parse(text):
        linter.take(item)
    return {finding.at.part for finding in linter.findings}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("> POST /v1/messages HTTP/1.0\n< HTTP/1.1 200 OK", {"request"}),
        ("> POST /v1/messages HTTP/1.1\n< HTTP/1.0 200 OK", {"response"}),
        ("> GET /any HTTP/1.0\n> Upgrade: websocket\n< HTTP/1.1 200 OK", {"request"}),
        ("> GET /health HTTP/1.0\n< HTTP/1.0 200 OK", set()),
        ("> GET /v1/models HTTP/1.0\n< HTTP/1.0 200 OK", set()),
        ("> POST /v1/messages HTTP/1.1\n< HTTP/1.1 200 OK", set()),
    ],
)
def test_http10_matters_where_something_streams(text: str, parts: set[str]) -> None:
    assert exchanged(text) == parts


def test_user_information_is_masked() -> None:
    for target, method in (
        (b"http://ada:pw-1234@api.example/", b"GET"),
        (b"ada:pw-1234@api.example:443", b"CONNECT"),
    ):
        (_, why), *_ = RULES["userinfo-in-request-target"].check(request(target=target, method=method))
        assert "pw-1234" not in why
        assert "api.example" in why

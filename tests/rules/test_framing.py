"""What the examples of the rules about framing do not show: where they keep quiet, and parsers' words."""

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response
from conformance.rule import load

RULES = load()
FRAMING = {name: rule for name, rule in RULES.items() if rule.topic == "framing"}
HEAD = r">> GET / HTTP/1.1\r\nHost: a\r\n\r\n" + "\n"
ASK = "> GET /v1 HTTP/1.1\n> Host: a\n"
OK = "< HTTP/1.1 200 OK\n"


def findings(item: str | Exchange) -> list:
    """What the rules of this topic find in a transcript, or an exchange."""
    linter = Linter(FRAMING, None, Settings(), "test")
    for part in [item] if isinstance(item, Exchange) else recording.parse(item):
        linter.take(part)
    assert not linter.failures, linter.failures
    return linter.findings


def names(item: str | Exchange) -> set[str]:
    return {finding.rule for finding in findings(item)}


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("Content-Length: 5, 6", {"conflicting-content-length"}),
        ("Content-Length: 05, 5", {"joined-content-length", "content-length-leading-zero"}),
        ("Content-Length: 5, x", {"content-length-malformed"}),
        ("Content-Length: 0x5", {"content-length-malformed"}),
        ("Content-Length: -1", {"content-length-malformed"}),
        ("Content-Length: 1_1", {"content-length-malformed"}),
        ("Content-Length:", {"content-length-malformed"}),
        ("Content-Length: 9223372036854775807", set()),
        ("Content-Length: 9223372036854775808", {"content-length-too-large"}),
        (f"Content-Length: {'9' * 6000}", {"content-length-too-large"}),
        ("Content-Length: 0", set()),
        ("Transfer-Encoding: CHUNKED", set()),
        ("Transfer-Encoding: gzip,\tchunked", set()),
        ("Transfer-Encoding: x-gzip, chunked", set()),
        ("Transfer-Encoding: xchunked", {"unknown-transfer-coding", "chunked-not-final-coding"}),
        ("Transfer-Encoding: chunked, gzip, chunked", {"chunked-applied-twice"}),
        ("Transfer-Encoding: identity, chunked", {"identity-transfer-coding"}),
        (r"Transfer-Encoding: \x0bchunked", {"obfuscated-transfer-encoding"}),
        ("Transfer-Encoding: chunked,", {"obfuscated-transfer-encoding"}),
        (r"Transfer-Encoding: chunked\x00", {"obfuscated-transfer-encoding"}),
        ("Content_Length: 5", {"framing-header-lookalike"}),
        ("ContentLength: 5", {"framing-header-lookalike"}),
        (r"Tran\xc5\xbffer-Encoding: chunked", {"framing-header-lookalike"}),
        (r"Content\xadLength: 5", {"framing-header-lookalike"}),
        ("X-Content-Length: 5", set()),
        ("Content-Length : 5", set()),  # space-before-header-colon says it
    ],
)
def test_one_field_in_a_request(line: str, rules: set[str]) -> None:
    found = names(ASK.replace("GET", "POST") + f"> {line}\n")
    assert found - {"unparsable-message"} == rules


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        # a response may end with the connection, and its coding with it
        (OK + "< Transfer-Encoding: gzip\n", {"unrequested-transfer-coding"}),
        (
            OK + "< Transfer-Encoding: chunked, gzip\n",
            {"chunked-not-final-coding", "unrequested-transfer-coding"},
        ),
        (
            OK + "< Transfer-Encoding: chunked\n< Content-Length: 5\n",
            {"content-length-with-transfer-encoding"},
        ),
        ("< HTTP/1.0 200 OK\n< Transfer-Encoding: chunked\n", {"transfer-encoding-in-http10"}),
        ("< HTTP/1.1 103 -\n< Content-Length: 0\n< HTTP/1.1 204 -\n", {"content-length-on-1xx-or-204"}),
        (
            "< HTTP/1.1 101 Switching Protocols\n< Transfer-Encoding: chunked\n",
            {"transfer-encoding-on-1xx-or-204"},
        ),
        ("< HTTP/1.1 304 Not Modified\n", set()),
        ("< HTTP/1.1 500 Oops\n", {"close-delimited-response"}),
        ("< HTTP/2.0 200 OK\n", set()),
        ("< HTTP/2.0 204 No Content\n<\n< {}\n", {"content-on-204"}),
        ("< HTTP/2.0 200 OK\n< Content-Length: 3\n<\n< {}\n", {"content-length-mismatch"}),
        (OK + "< Content-Length: 3\n<\n< {}\n", {"content-length-mismatch"}),
        (OK + "< Content-Length: 3\n", set()),  # the content was not recorded
        (OK + "< Content-Length: 3, 3\n<\n< {}\n", {"joined-content-length", "content-length-mismatch"}),
        (OK + "< Content-Length: 3\n< Content-Length: 4\n<\n< {}\n", {"conflicting-content-length"}),
    ],
)
def test_one_response(text: str, rules: set[str]) -> None:
    assert names(ASK + text) == rules


def test_a_part_of_the_content_is_no_mismatch() -> None:
    whole = ASK + OK + "< Content-Length: 30\n<\n< {}\n"
    assert names(whole) == {"content-length-mismatch"}
    assert names("@ partial: response\n" + whole) == set()


@pytest.mark.parametrize("method", ["HEAD", "CONNECT"])
def test_a_response_that_ends_with_its_head_has_no_length_to_miss(method: str) -> None:
    ask = f"> {method} a:1 HTTP/1.1\n> Host: a\n"
    assert names(ask + OK) == set()
    # Behind CONNECT there must not even be one.
    expected = {"framing-header-on-connect-success"} if method == "CONNECT" else set()
    assert names(ask + OK + "< Content-Length: 5\n<\n") == expected


def test_what_a_recorder_rebuilt_proves_nothing() -> None:
    lines = Fields([(b"Content-Length", b"3"), (b"Content-Length", b"3"), (b"Transfer-Encoding", b"gzip")])
    for verbatim, expected in ((True, 3), (False, 0)):
        exchange = Exchange(
            request=Request(method=b"POST", target=b"/", fields=lines, body=b"{}", verbatim=verbatim),
            response=Response(code=b"200", fields=Fields(), body=b"", verbatim=verbatim),
            recorder="har",
        )
        assert len(names(exchange)) >= expected
        assert bool(names(exchange)) is verbatim


CHUNKED = r"<< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "\n"


@pytest.mark.parametrize(
    ("body", "rules"),
    [
        (r"2;a\r\nab\r\n0\r\n\r\n", set()),
        (r"2;a = b\r\nab\r\n0\r\n\r\n", set()),
        (r"2 ;a=b\r\nab\r\n0\r\n\r\n", {"chunk-extension-malformed"}),
        (r"2 \r\nab\r\n0\r\n\r\n", {"chunk-size-malformed"}),
        (r"2; \r\nab\r\n0\r\n\r\n", {"chunk-extension-malformed"}),
        (r"2;a=\"b\r\nab\r\n0\r\n\r\n", {"chunk-extension-malformed"}),
        (r"2;a\rb\r\nab\r\n0\r\n\r\n", {"chunk-extension-malformed"}),
        (r"+2\r\nab\r\n0\r\n\r\n", {"chunk-size-malformed"}),
        (r"\r\nab\r\n0\r\n\r\n", {"chunk-size-malformed"}),
        (r"{}", {"chunked-body-truncated"}),
        (r"{}\r\n", {"chunk-size-malformed"}),
        (r"2\r\nabc\r\n0\r\n\r\n", {"chunk-terminator-missing"}),
        (r"2\r\nab\n0\r\n\r\n", {"bare-line-feed-in-chunk"}),
        (r"2\nab\r\n0\n\r\n", {"bare-line-feed-in-chunk"}),
        (r"fffffffffffffffff\r\n", {"chunk-size-overflow"}),
        (r"111111111111111111111\r\n", {"chunk-size-overflow"}),
        (r"2\r\na", {"chunked-body-truncated"}),
        (r"2\r\nab\r\n0\r\nX: 1\r\n", {"chunked-body-truncated"}),
        (r"2\r\nab\r\n0\r\nX: 1\r\n\r\nmore", {"bytes-after-response", "undeclared-trailer"}),
        (r"2\r\nab\r\n0\r\nContent-Length: 2\r\n\r\n", {"forbidden-trailer-field", "undeclared-trailer"}),
    ],
)
def test_chunks(body: str, rules: set[str]) -> None:
    assert names(HEAD + CHUNKED + f"<< {body}\n") == rules


@pytest.mark.parametrize(
    ("body", "rules"),
    [
        (r"9\r\ndata: 1\n\n\r\n", set()),  # the client has read enough, or the server died: who knows
        (r"9\r\ndata: 1\n\n\r\n9\r\nda", {"chunked-body-truncated"}),
    ],
)
def test_an_event_stream_that_ends_between_two_chunks(body: str, rules: set[str]) -> None:
    events = CHUNKED.replace("Transfer", r"Content-Type: text/event-stream\r\nTransfer")
    assert names(HEAD + events + f"<< {body}\n") == rules


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (HEAD + r"<< HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\r\n\r\n", set()),  # CRLF can be discarded
        (HEAD + r"<< HTTP/1.1 204 -\r\n\r\nHTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", set()),
        (
            HEAD + r"<< HTTP/1.1 204 -\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            {"bytes-after-response"},
        ),
        (HEAD + r"<< HTTP/1.1 204 -\r\n\r\n{}", {"bytes-after-response"}),
        (HEAD * 2 + r"<< HTTP/1.1 204 -\r\n\r\n{}HTTP/1.1 204 -\r\n\r\n", {"bytes-after-response"}),
        (HEAD * 2 + r"<< HTTP/1.1 204 -\r\n\r\nHTTP/1.1 204 -\r\nSer", {"unparsable-message"}),
        (HEAD + r"<< HTTP/1.1 200 OK\r\n\r\nup to the end", {"close-delimited-response"}),
        (HEAD.replace("/1.1", "/1.0") + r"<< HTTP/1.1 200 OK\r\n\r\nup to the end", set()),
        (HEAD + r">> {}", {"request-body-without-length"}),
        (HEAD + r">> GET / HT", {"incomplete-request"}),
        (r">> POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n", {"incomplete-request"}),
        (r">> POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n{}", {"content-length-malformed"}),
        (r">> \x16\x03\x01\x00" + "\n" + r"<< \x15\x03\x03", set()),
        (
            r">> GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\n\r\n\x81"
            + "\n"
            + r"<< HTTP/1.1 101 -\r\n\r\n\x81",
            set(),
        ),
    ],
)
def test_octets(text: str, rules: set[str]) -> None:
    assert names(text) == rules


@pytest.mark.parametrize(
    ("error", "rules"),
    [
        ("Client disconnected.", set()),
        ("server closed connection", set()),
        ("Connection killed.", set()),
        ("[Errno 111] Connect call failed", set()),
        ("Cannot parse HTTP response: invalid content-length header: '11, 11'", {"duplicate-content-length"}),
        ("Cannot parse HTTP response: unknown transfer-encoding header: 'a'", {"unknown-transfer-coding"}),
        ("unexpected server response: b'HTTP/1.1 20'", {"unparsable-message"}),
        (
            "HTTP/1 protocol error: peer closed connection without sending complete message body "
            "(received 1 bytes, expected 10)",
            {"incomplete-request"},
        ),
    ],
)
def test_errors(error: str, rules: set[str]) -> None:
    assert names(f"@ error: {error}\n{ASK}") == rules


def test_a_broken_response_is_laid_at_the_server_and_trailers_at_the_recorder() -> None:
    said = "peer closed connection without sending complete message body (incomplete chunked read)"
    text = f"@ error: HTTP/1 protocol error: {said}\n{ASK}{OK}< Transfer-Encoding: chunked\n"
    (finding,) = findings(text)
    assert (finding.rule, finding.origin, finding.evidence) == ("chunked-body-truncated", "server", "error")
    assert not findings(text + "< Trailer: X-Sum\n")


def test_nothing_secret_is_said() -> None:
    key = "sk-ant-api03-abcdefghijkl"
    for text in (
        HEAD + f">> x-api-key: {key}",
        HEAD + rf"<< HTTP/1.1 204 -\r\n\r\nx-api-key: {key}",
        HEAD + CHUNKED + rf"<< {key}\r\n",
        HEAD + CHUNKED + rf"<< 2;{key}=?\r\nab\r\n0\r\n\r\n",
        f"@ error: Cannot parse HTTP response: Bad HTTP response line: b'Bearer {key}'\n{ASK}",
    ):
        found = findings(text)
        assert found
        assert key not in repr(found), text


@pytest.mark.parametrize(
    ("te", "coding", "found"),
    [
        ("", "chunked", False),
        ("", "gzip, chunked", True),
        ("TE: gzip", "gzip, chunked", False),
        ("TE: trailers, X-GZIP;q=0.5", "gzip, chunked", False),
        ("TE: gzip;q=0", "gzip, chunked", True),
        ("TE: gzip;q=0.01", "gzip, chunked", False),
        ("TE: deflate", "gzip, chunked", True),
        # That it is not registered has a rule of its own.
        ("", "br, chunked", False),
    ],
)
def test_codings_that_were_offered(te: str, coding: str, found: bool) -> None:
    ask = ASK + (f"> Connection: TE\n> {te}\n" if te else "")
    rules = names(ask + OK + f"< Transfer-Encoding: {coding}\n")
    assert ("unrequested-transfer-coding" in rules) is found


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (ASK + OK + "< Content-Length: 2\n< Trailer: X-A\n", True),
        (ASK + OK + "< Trailer: X-A\n", True),
        (ASK + OK + "< Transfer-Encoding: gzip, chunked\n< Trailer: X-A\n", False),
        ("> POST / HTTP/1.1\n> Host: a\n> Content-Length: 2\n> Trailer: X-A\n", True),
        ("> POST / HTTP/1.1\n> Host: a\n> Transfer-Encoding: chunked\n> Trailer: X-A\n", False),
        # A HEAD need not say what a GET would; HTTP/2 has trailers without any of it; a HAR has no chunks.
        ("> HEAD / HTTP/1.1\n> Host: a\n" + OK + "< Trailer: X-A\n", False),
        ("> GET / HTTP/2.0\n< HTTP/2.0 200\n< trailer: x-a\n", False),
        ("@ recorder: har\n" + ASK + OK + "< Content-Length: 2\n< Trailer: X-A\n", False),
    ],
)
def test_who_can_announce_trailers(message: str, found: bool) -> None:
    assert ("trailer-header-without-chunked" in names(message)) is found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("<+ X-A: 1\n<+ x-b: 2\n", 2),
        ("< Trailer: x-a\n< Trailer: y, X-B\n<\n<+ X-A: 1\n<+ x-b: 2\n", 0),
        ("<+ grpc-status: 0\n", 0),
    ],
)
def test_announced_trailers(fields: str, found: int) -> None:
    text = ASK + OK + "< Transfer-Encoding: chunked\n" + fields
    (exchange,) = recording.parse(text)
    assert len(list(RULES["undeclared-trailer"].check(exchange.response))) == found


@pytest.mark.parametrize(
    ("request_lines", "found"),
    [
        ("> POST / HTTP/1.1\n> Host: a\n>\n", True),
        ("> PATCH / HTTP/1.1\n> Host: a\n>\n", True),
        ("> DELETE / HTTP/1.1\n> Host: a\n>\n", False),
        ("> POST / HTTP/2.0\n>\n", False),
        ("> POST / HTTP/1.1\n> Host: a\n> Content-Length: 0\n>\n", False),
        ("> POST / HTTP/1.1\n> Host: a\n> Transfer-Encoding: chunked\n>\n", False),
        # Whether it has content is not recorded.
        ("> POST / HTTP/1.1\n> Host: a\n", False),
    ],
)
def test_empty_posts(request_lines: str, found: bool) -> None:
    assert ("empty-post-without-content-length" in names(request_lines)) is found


def test_205_may_have_a_length_of_zero() -> None:
    assert "content-on-205" not in names(ASK + "< HTTP/1.1 205 Reset Content\n< Content-Length: 0\n<\n")
    assert "content-on-205" not in names(ASK + "< HTTP/1.1 205 Reset Content\n< Content-Length: 5\n")
    assert "content-on-205" in names(ASK + "< HTTP/1.1 205 Reset Content\n< Content-Length: 2\n<\n< {}\n")

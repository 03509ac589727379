"""The words are mitmproxy's own wherever it can be made to say them: they may change with a release."""

import pytest
from mitmproxy import http
from mitmproxy.net.http import http1, validate
from mitmproxy.proxy.layers.http import HTTPMode, validate_request

from conformance.grammar import hides_coding
from conformance.message import Exchange, Fields, Request, Response
from conformance.refusals import classify, coding_rule, length_rule, verdict_on

BAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


def request(*fields: tuple[bytes, bytes], body: bytes | None = b"") -> Request:
    return Request(method=b"POST", target=b"/", fields=Fields(fields), body=body)


def response(*fields: tuple[bytes, bytes]) -> Response:
    return Response(code=b"200", fields=Fields(fields), body=None)


def refused(error: str, **exchange) -> tuple[str | None, str, str]:
    """(rule, part, origin) of the one refusal."""
    (found,) = classify(error, Exchange(request=exchange.pop("request", request()), **exchange))
    assert (found.source, found.text) == ("mitmproxy", error)
    return found.rule, found.part, found.origin


def response_error(*lines: bytes) -> str:
    """What mitmproxy says about a response head with these lines, in the words it puts into flow.error."""
    sent = http.Request.make("GET", "http://a/")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is what is tested
        http1.expected_http_body_size(sent, http1.read_response_head(list(lines)))
    return f"Cannot parse HTTP response: {caught.value}"


OK = b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ([b"garbage"], None),
        ([b"HTTP/1.1"], "status-code-malformed"),
        ([b"HTTP/11 200 OK"], "http-version-malformed"),
        ([b"HTTP/1.1 abc OK"], "status-code-malformed"),
        ([OK, b" folded"], "space-before-first-header"),
        ([OK, b"no colon"], "header-colon-missing"),
        ([OK, b": v"], "header-name-empty"),
        ([OK, b"Content-Length: 5", b"Content-Length: 5"], "duplicate-content-length"),
        ([OK, b"Content-Length: 5", b"Content-Length: 6"], "conflicting-content-length"),
        ([OK, b"Content-Length: 5,5"], "joined-content-length"),
        ([OK, b"Content-Length: +5"], "content-length-malformed"),
        ([OK, b"Content-Length: 05"], "content-length-leading-zero"),
        ([OK, b"Content-Length: '"], "content-length-malformed"),
        ([OK, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], "chunked-applied-twice"),
        ([OK, b"Transfer-Encoding: chunked, gzip"], "chunked-not-final-coding"),
        ([OK, b"Transfer-Encoding: br, chunked"], "unknown-transfer-coding"),
        ([OK, b"Transfer-Encoding: identity, chunked"], "identity-transfer-coding"),
        ([OK, b"Transfer-Encoding: \x01chunked"], "obfuscated-transfer-encoding"),
        ([OK, b'Transfer-Encoding: "chunked"'], "obfuscated-transfer-encoding"),
        ([OK, b"Transfer-Encoding: \xe7hunked"], "obfuscated-transfer-encoding"),
    ],
)
def test_a_response_head_that_mitmproxy_cannot_read(lines: list[bytes], rule: str | None) -> None:
    # The head is lost with it: response=None.
    assert refused(response_error(*lines)) == (rule, "response", "server")


@pytest.mark.parametrize(
    ("fields", "version", "rule"),
    [
        ([(b"Name ", b"v")], "HTTP/1.1", "space-before-header-colon"),
        ([(b"N(me", b"v")], "HTTP/1.1", "header-name-malformed"),
        ([(b"n\xc3\xa9", b"v")], "HTTP/1.1", "header-name-malformed"),
        ([(b"'", b"v"), (b'"\\ \n', b"v")], "HTTP/1.1", "header-name-malformed"),
        (
            [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
            "HTTP/1.1",
            "content-length-with-transfer-encoding",
        ),
        (
            [(b"Transfer-Encoding", b"gzip"), (b"Transfer-Encoding", b"chunked")],
            "HTTP/1.1",
            "duplicate-transfer-encoding",
        ),
        ([(b"Transfer-Encoding", b"chunked")], "HTTP/1.0", "transfer-encoding-in-http10"),
        ([(b"Transfer-Encoding", b"gzip")], "HTTP/1.1", "chunked-not-final-coding"),
        ([(b"Transfer-Encoding", b"xchunked")], "HTTP/1.1", "unknown-transfer-coding"),
        ([(b"Content-Length", b"5"), (b"Content-Length", b"5")], "HTTP/1.1", "duplicate-content-length"),
        ([(b"Content-Length", b"5"), (b"Content-Length", b"7")], "HTTP/1.1", "conflicting-content-length"),
        ([(b"Content-Length", b"007")], "HTTP/1.1", "content-length-leading-zero"),
    ],
)
def test_a_request_that_mitmproxy_does_not_pass_on(fields, version: str, rule: str) -> None:
    sent = http.Request.make("POST", "http://a/", headers=http.Headers(fields))
    sent.headers = http.Headers(fields)
    sent.http_version = version
    error = validate_request(HTTPMode.regular, sent, True)
    assert error is not None
    assert error.startswith("Received ")
    assert refused(error, request=request(*fields)) == (rule, "request", "client")
    # The words alone say the same.
    assert refused(error) == (rule, "request", "client")


def test_a_response_that_mitmproxy_does_not_pass_on() -> None:
    answer = http.Response.make(204)
    answer.headers = http.Headers([(b"Transfer-Encoding", b"chunked")])
    with pytest.raises(ValueError, match="status code 204") as caught:
        validate.validate_headers(answer)
    error = f"Received {caught.value} from server, refusing to prevent request smuggling attacks. Disable it."
    assert refused(error) == ("transfer-encoding-on-1xx-or-204", "response", "server")


def test_a_request_head_whose_length_cannot_be_read() -> None:
    twice = ((b"Content-Length", b"5"), (b"Content-Length", b"5"))
    with pytest.raises(ValueError, match="invalid content-length") as caught:
        http1.expected_http_body_size(http1.read_request_head([b"GET / HTTP/1.1", b"Content-Length: 5, 5"]))
    error = str(caught.value)
    assert refused(error, request=request(twice[0], twice[1]))[0] == "duplicate-content-length"
    # mitmproxy joins lines before it looks: the recorded head tells what was joined by whom.
    assert refused(error, request=request((b"Content-Length", b"5, 5")))[0] == "joined-content-length"


SHORT = "HTTP/1 protocol error: peer closed connection without sending complete message body "


@pytest.mark.parametrize(
    ("error", "exchange", "expected"),
    [
        (
            SHORT + "(received 295 bytes, expected 319)",
            {"response": response((b"Content-Length", b"319"))},
            ("body-shorter-than-content-length", "response", "server"),
        ),
        (
            SHORT + "(incomplete chunked read)",
            {"response": response((b"Transfer-Encoding", b"chunked"))},
            ("chunked-body-truncated", "response", "server"),
        ),
        (
            # mitmproxy dies of HTTP/1 trailers and then reports the server
            SHORT + "(incomplete chunked read)",
            {"response": response((b"Transfer-Encoding", b"chunked"), (b"Trailer", b"X-Sum"))},
            (None, "response", "recorder"),
        ),
        (
            SHORT + "(received 3 bytes, expected 10)",
            {"request": request((b"Content-Length", b"10"), body=None)},
            ("incomplete-request", "request", "client"),
        ),
        (
            # the server answered before the request was there
            SHORT + "(received 3 bytes, expected 10)",
            {
                "request": request((b"Content-Length", b"10"), body=None),
                "response": response((b"Content-Length", b"2")),
            },
            ("incomplete-request", "request", "client"),
        ),
        (
            "HTTP/1 protocol error: illegal chunk header: bytearray(b'0x5\\r\\n')",
            {"response": response((b"Transfer-Encoding", b"chunked"))},
            ("chunk-size-malformed", "response", "server"),
        ),
        (
            "HTTP/1 protocol error: malformed chunk footer: bytearray(b'ab') (expected b'\\r\\n')",
            {"request": request((b"Transfer-Encoding", b"chunked"), body=None)},
            ("chunk-terminator-missing", "request", "client"),
        ),
        ("unexpected server response: b'HTTP/1.1 20'", {}, (None, "response", "server")),
        ("Invalid request scheme: ftp", {}, (None, "request", "client")),
    ],
)
def test_bodies_and_the_rest(error: str, exchange, expected) -> None:
    assert refused(error, **exchange) == expected


@pytest.mark.parametrize(
    "error",
    [
        "Client disconnected.",
        "Connection killed.",
        "server closed connection",
        "EOF",
        "[Errno 111] Connect call failed ('127.0.0.1', 1)",
        "Response body exceeds mitmproxy's body_size_limit.",
        "HTTP/2 protocol error: Invalid input ConnectionInputs.RECV_DATA in state ConnectionState.IDLE",
        "HTTP/2 connection closed: <ConnectionTerminated error_code:0>",
        "stream reset by client (CANCEL)",
        "peer closed connection",
        "Certificate verify failed: self signed certificate",
        "connection timed out",
        "Received unexpected HTTP transfer-encoding b'chunked' for HTTP/2.0 from client, refusing to prevent "
        "request smuggling attacks. Disable the validate_inbound_headers option to skip this security check.",
        "",
    ],
)
def test_what_is_nobodys_malformed_message_makes_no_refusal(error: str) -> None:
    assert classify(error, Exchange(request=request(), error=error)) == ()


def test_a_huge_error_is_cut_and_read_in_linear_time() -> None:
    for quoted in ("'" * 300_000, "\\'" * 150_000, "b'" + "\\x41" * 80_000 + "'", "," * 300_000):
        (found,) = classify(
            "Cannot parse HTTP response: Invalid header line: " + quoted, Exchange(request=request())
        )
        assert len(found.text) == 2000


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ([b"5"], None),
        ([b"0"], None),
        ([b""], "content-length-malformed"),
        ([b"5,"], "joined-content-length"),
        ([b"5, x"], "content-length-malformed"),
        ([b"5, 6"], "conflicting-content-length"),
        ([b"5", b"05"], "duplicate-content-length"),
        ([b"9" * 20], "content-length-too-large"),
    ],
)
def test_what_is_wrong_with_a_content_length(lines: list[bytes], rule: str | None) -> None:
    assert length_rule(lines) == rule


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ([b"gzip, chunked"], False),  # h11 and others do not support it; the sender may use it
        ([b"gzip"], "chunked-not-final-coding"),
        ([b"gzip", b"chunked"], "duplicate-transfer-encoding"),
        ([b"chunked;a=b"], "unknown-transfer-coding"),
        ([b'gzip;a=",", chunked'], "unknown-transfer-coding"),
        ([b"chunked,"], "obfuscated-transfer-encoding"),
    ],
)
def test_what_is_wrong_with_a_transfer_encoding(lines: list[bytes], rule: str | bool) -> None:
    assert coding_rule(lines, is_request=True) == rule


def test_only_what_hides_hides_coding() -> None:
    assert not any(
        map(hides_coding, [b"chunked", b"gzip, chunked", b"\r\n chunked", b'a;b="c"', b"gzip \t,\tchunked"])
    )
    assert all(
        map(hides_coding, [b"\x0bchunked", b"chunked\x00", b"'chunked'", b",chunked", b"", b"chunked\r"])
    )


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"GET / HTTP/1.1", None),
        (b"GE\x7fT / HTTP/1.1", "method-malformed"),
        (b"GET  / HTTP/1.1", "extra-space-in-start-line"),
        (b"GET /a b HTTP/1.1", "illegal-character-in-request-target"),
        (b"GET /\x7f HTTP/1.1", "illegal-character-in-request-target"),
        (b"GET /\xe9 HTTP/1.1", "non-ascii-request-target"),
        (b"GET / HTTP/1,1", "http-version-malformed"),
        (b"GET /", None),
    ],
)
def test_what_is_wrong_with_a_request_line_that_a_parser_quotes(line: bytes, rule: str | None) -> None:
    assert verdict_on(f"illegal request line: {bytearray(line)!r}", None, is_request=True) == rule


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"a\rb", "bare-carriage-return"),
        (b"a\rb\nc", "newline-or-nul-in-header"),
        (b"a\r\x00b", "newline-or-nul-in-header"),
        (b"a\x00b", "newline-or-nul-in-header"),
        (b"a\x07b", "control-character-in-header"),
    ],
)
def test_what_is_wrong_with_a_value_that_a_parser_quotes(value: bytes, rule: str) -> None:
    assert verdict_on(f"illegal header line: {bytearray(b'X: ' + value)!r}", None, is_request=True) == rule


def test_chunked_is_the_last_coding_of_a_request() -> None:
    assert coding_rule([b"gzip"], is_request=True) == "chunked-not-final-coding"
    assert coding_rule([b"gzip"], is_request=False) is False
    assert coding_rule([b"gzip, chunked"], is_request=True) is False
    assert coding_rule([b"chunked, gzip"], is_request=False) == "chunked-not-final-coding"

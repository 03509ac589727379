"""What docstring examples cannot show: HTTP/3, trailers, rebuilt messages, what mitmproxy says of resets."""

from dataclasses import replace

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response
from conformance.rule import load, select

RULES = load()
TOPIC = {name: rule for name, rule in RULES.items() if rule.topic == "http2"}

type Lines = list[tuple[bytes, bytes]]


def request(lines: Lines, version: bytes = b"HTTP/2.0", **facts: object) -> Request:
    return Request(method=b"GET", target=b"/", fields=Fields(lines), version=version, **facts)


def response(lines: Lines, version: bytes = b"HTTP/2.0", **facts: object) -> Response:
    return Response(code=b"200", fields=Fields(lines), version=version, **facts)


def lint(exchange: Exchange, rules=TOPIC) -> list[tuple[str, str, str]]:
    """(rule, whose doing, why)"""
    linter = Linter(rules, None, Settings(), "example")
    linter.take(exchange)
    assert not linter.failures
    return [(found.rule, found.origin, found.why) for found in linter.findings]


def names(exchange: Exchange, rules=TOPIC) -> list[str]:
    return [rule for rule, _, _ in lint(exchange, rules)]


def transcript(text: str) -> list[str]:
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    linter.finish()
    assert not linter.failures
    return [found.rule for found in linter.findings]


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/2", b"HTTP/3", b"HTTP/1.1"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ((b"connection", b"keep-alive"), "connection-header-in-http2"),
        ((b"proxy-connection", b"keep-alive"), "connection-header-in-http2"),
        ((b"keep-alive", b"timeout=5"), "connection-header-in-http2"),
        ((b"upgrade", b"TLS/1.3"), "connection-header-in-http2"),
        ((b"transfer-encoding", b"chunked"), "transfer-encoding-in-http2"),
        ((b"x-a", b"1\r\nx-b: 2"), "newline-in-http2-header"),
        ((b"x-a", b"1\n"), "newline-in-http2-header"),
        ((b"x-a", b"\r"), "newline-in-http2-header"),
        ((b"x-a", b"1\x00"), "newline-in-http2-header"),
        ((b"te", b"trailers"), None),
        ((b"x-a", b"1\t2"), None),
        ((b"trailer", b"x-a"), None),
    ],
)
def test_what_only_http1_may_carry(version: bytes, line: tuple[bytes, bytes], expected: str | None) -> None:
    wanted = [expected] if expected and version != b"HTTP/1.1" else []
    assert names(Exchange(request=request([line], version))) == wanted
    # The upstream of a gateway may speak HTTP/1 while its client speaks HTTP/2.
    assert names(Exchange(request=request([]), response=response([line], version))) == wanted


def test_a_line_break_is_one_finding_under_all_rules() -> None:
    for value in (b"1\r\n 2", b"1\r\nx-b: 2", b"1\n", b"1\r2", b"1\x002"):
        found = names(Exchange(request=request([(b"x-a", value)])), select(RULES, []))
        assert found == ["newline-in-http2-header"], value


def test_trailers_count() -> None:
    broken = response([(b"x-a", b"1")], trailers=Fields([(b"x-checksum", b"1\n2")]))
    assert names(Exchange(request=request([]), response=broken)) == ["newline-in-http2-header"]


def test_every_line_is_named_and_credentials_are_not_shown() -> None:
    found = lint(
        Exchange(request=request([(b"x-a", b"1"), (b"authorization", b"Bearer s3cret\n"), (b"x-b", b"\0")]))
    )
    assert len(found) == 2
    assert "contains LF" in found[0][2]
    assert "contains NUL" in found[1][2]
    assert "s3cret" not in str(found)


def test_rebuilt_messages_prove_nothing() -> None:
    lines = [(b"Connection", b"keep-alive"), (b"Transfer-Encoding", b"chunked"), (b"x-a", b"1\n2")]
    rebuilt = response(lines, verbatim=False)
    assert names(Exchange(request=request(lines, verbatim=False), response=rebuilt)) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("stream reset by client (INTERNAL_ERROR)", "INTERNAL_ERROR"),
        ("stream reset by client (REFUSED_STREAM)", "REFUSED_STREAM"),
        ("stream reset by client (HTTP_1_1_REQUIRED)", "HTTP_1_1_REQUIRED"),
        ("stream reset by client (4096)", "4096"),  # not in RFC 9113 §7
        ("stream closed by client (H3_MESSAGE_ERROR)", "H3_MESSAGE_ERROR"),
        ("stream reset by client (CANCEL)", None),
        ("stream reset by client (NO_ERROR)", None),
        ("stream closed by client (H3_REQUEST_CANCELLED)", None),
        ("Client disconnected.", None),
        ("HTTP/2 protocol error: Received header value with invalid octets", None),
        ("peer closed connection", None),
    ],
)
def test_resets(error: str, code: str | None) -> None:
    found = lint(Exchange(request=request([]), error=error))
    if code is None:
        assert found == []
    else:
        ((rule, origin, why),) = found
        assert (rule, origin) == ("http2-stream-reset", "server")
        assert code in why


def test_whose_reset_it_was() -> None:
    error = "stream reset by client (PROTOCOL_ERROR)"
    upstream_is_http1 = Exchange(request=request([]), response=response([], b"HTTP/1.1"), error=error)
    assert lint(upstream_is_http1)[0][1] == "client"
    client_is_http1 = Exchange(request=request([], b"HTTP/1.1"), error=error)
    assert lint(client_is_http1)[0][1] == "server"


def test_mitmproxy_still_says_it_like_that() -> None:
    from inspect import getsource

    from mitmproxy.proxy.layers.http import _http2, _http3

    assert "stream reset by client ({err_str})" in getsource(_http2)
    assert "stream closed by client ({err_str})" in getsource(_http3)


@pytest.mark.parametrize("recorder", ["transcript", "mitmproxy", "har"])
def test_upper_case_in_a_flow_is_an_addon_s(recorder: str) -> None:
    found = names(Exchange(request=request([(b"X-Title", b"lab")], b"HTTP/2.0"), recorder=recorder))
    assert found == ([] if recorder == "mitmproxy" else ["uppercase-http2-header-name"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ((b"X-Title", b"a"), ["uppercase-http2-header-name"]),
        ((b"", b"a"), ["http2-header-name-malformed"]),
        ((b"x:y", b"a"), ["http2-header-name-malformed"]),
        ((b"x y", b"a"), ["http2-header-name-malformed"]),
        ((b"x\xff", b"a"), ["http2-header-name-malformed"]),
        ((b"x\r\ny", b"a"), ["http2-header-name-malformed"]),
        ((b":path", b"/"), ["http2-pseudo-header-malformed"]),
        ((b"x", b"\ta"), ["http2-header-value-edge-space"]),
        ((b"x", b"a "), ["http2-header-value-edge-space"]),
        ((b"x", b""), []),
        ((b"te", b"Trailers"), []),
        ((b"te", b"trailers, gzip"), ["te-header-in-http2"]),
    ],
)
def test_field_lines(line: tuple[bytes, bytes], expected: list[str]) -> None:
    assert names(Exchange(request=request([line], b"HTTP/2.0"))) == expected
    trailers = replace(request([], b"HTTP/2.0"), trailers=Fields([line]))
    assert names(Exchange(request=trailers)) == [rule for rule in expected if not rule.startswith("te-")]
    rebuilt = replace(request([line], b"HTTP/2.0"), verbatim=False)
    assert names(Exchange(request=rebuilt)) == []


@pytest.mark.parametrize(
    ("method", "target", "authority", "expected"),
    [
        (b"GET", b"/", b"a", []),
        (b"", b"/", b"a", ["http2-pseudo-header-malformed"]),
        (b"GET", b"", b"a", ["http2-pseudo-header-malformed"]),
        (b"CONNECT", b"", b"a:443", []),
        (b"GET /a HTTP/1.1\r\nx: ", b"/", b"a", ["http2-pseudo-header-injection"]),
        (b"GET", b"/a b", b"a", ["http2-pseudo-header-injection"]),
        (b"GET", b"/", b"a\r\nx: y", ["http2-pseudo-header-injection"]),
        (b"GET", b"/\x00", b"a\x7f", ["http2-pseudo-header-injection"] * 2),
    ],
)
def test_pseudo_headers(method: bytes, target: bytes, authority: bytes, expected: list[str]) -> None:
    sent = Request(method=method, target=target, authority=authority, fields=Fields(), version=b"HTTP/2.0")
    assert names(Exchange(request=sent)) == expected
    assert names(Exchange(request=replace(sent, version=b"HTTP/1.1"))) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Received uppercase header name b'X-Foo'.", "uppercase-http2-header-name"),
        ("Illegal character ':' in header name: b'a:b'", "http2-header-name-malformed"),
        ("Received header name with zero length.", "http2-header-name-malformed"),
        ("Received header value surrounded by whitespace b' a'", "http2-header-value-edge-space"),
        ("Received duplicate pseudo-header field b':status'", "http2-pseudo-header-malformed"),
        ("Received custom pseudo-header field b':x'", "http2-pseudo-header-malformed"),
        ("Encountered request-only headers {b':path'}", "http2-pseudo-header-malformed"),
        ("Header block missing mandatory b':status' header", "http2-status-malformed"),
        ("Invalid Content-Length header", None),
    ],
)
def test_what_h2_says_in_mitmproxy(words: str, expected: str | None) -> None:
    error = f"HTTP/2 protocol error: {words}"
    found = lint(Exchange(request=request([], b"HTTP/2.0"), error=error, recorder="mitmproxy"))
    assert [(rule, origin) for rule, origin, _ in found] == ([(expected, "server")] if expected else [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Required pseudo header is missing: b':status'", "http2-status-malformed"),
        ("invalid literal for int() with base 10: b'2x'", "http2-status-malformed"),
        ("Unknown pseudo headers: {b':x': b'y'}", "http2-pseudo-header-malformed"),
        ("Duplicate HTTP/2 pseudo header: b':status'", "http2-pseudo-header-malformed"),
    ],
)
def test_what_mitmproxy_says_without_h2_s_checks(words: str, expected: str) -> None:
    error = f"Invalid HTTP/2 response headers: {words}"
    assert names(Exchange(request=request([], b"HTTP/2.0"), error=error, recorder="mitmproxy")) == [expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("> Upgrade: h2c", ["h2c-upgrade-requested"]),
        ("> Upgrade: websocket, H2C", ["h2c-upgrade-requested"]),
        ("> Upgrade: h2", []),
        ("< Upgrade: h2c", []),
    ],
)
def test_who_asks_for_h2c(line: str, expected: list[str]) -> None:
    arrow, _, text = line.partition(" ")
    found = "> GET / HTTP/1.1\n" + (line + "\n" if arrow == ">" else f"< HTTP/1.1 200 OK\n< {text}\n")
    assert transcript(found) == expected


def legs(client: str, server: str) -> str:
    return f"@ leg: client\n{client}\n@ leg: server\n{server}"


ASK = "@ authority: api.example:443\n> GET / HTTP/2.0\n"


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (ASK, "> GET / HTTP/1.1\n> Host: API.example:443\n", []),
        (ASK, "> GET / HTTP/1.1\n", ["host-lost-on-http2-downgrade"]),
        (ASK, "> GET http://api.example/ HTTP/1.1\n", []),
        # Where the gateway connects to is its choice; without knowing where that is nothing is said.
        (ASK, "> GET / HTTP/1.1\n> Host: worker:8000\n", []),
        (ASK, "@ upstream: worker:8000\n> GET / HTTP/1.1\n> Host: worker:8000\n", []),
        (ASK, "@ upstream: worker:80\n> GET / HTTP/1.1\n> Host: worker\n", []),
        (ASK, "@ upstream: worker:80\n> GET / HTTP/1.1\n> Host: other\n", ["host-lost-on-http2-downgrade"]),
        (ASK, "@ authority: b\n> GET / HTTP/2.0\n", []),
        ("> GET / HTTP/1.1\n> Host: a\n", "> GET / HTTP/1.1\n", []),
        (ASK + "> cookie: a=1\n> cookie: b=2\n", "> GET / HTTP/1.1\n> Host: a\n> Cookie: a=1; b=2\n", []),
        (ASK + "> cookie: a=1\n> cookie: b=2\n", "> GET / HTTP/2.0\n> cookie: a=1\n> cookie: b=2\n", []),
    ],
)
def test_downgrades(client: str, server: str, expected: list[str]) -> None:
    assert transcript(legs(client, server)) == expected


SETTINGS = "\\x00\\x00\\x00\\x04\\x00\\x00\\x00\\x00\\x00"


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ("PRI * HTTP/2.0\\r\\n\\r\\n", "HTTP/1.1 505 -\\r\\n\\r\\n", ["http2-preface-on-http1-connection"]),
        ("PRI * HTTP/2.0\\r\\n\\r\\n", SETTINGS, []),
        ("PRI * HTTP/2.0\\r\\n\\r\\n", "", []),
    ],
)
def test_a_preface_matters_where_the_server_answers_in_http1(
    client: str, server: str, expected: list[str]
) -> None:
    assert transcript(f">> {client}\n<< {server}\n") == expected

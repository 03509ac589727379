"""What docstring examples cannot show: HTTP/3, trailers, rebuilt messages, what mitmproxy says of resets."""

import pytest

from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response
from conformance.rule import load

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


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/2", b"HTTP/3", b"HTTP/1.1"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ((b"connection", b"keep-alive"), "connection-header-in-http2"),
        ((b"proxy-connection", b"keep-alive"), "connection-header-in-http2"),
        ((b"keep-alive", b"timeout=5"), "connection-header-in-http2"),
        ((b"upgrade", b"h2c"), "connection-header-in-http2"),
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
        found = names(Exchange(request=request([(b"x-a", value)])), RULES)
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

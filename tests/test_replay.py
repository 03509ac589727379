"""What h11 refuses becomes a refusal of the right message; what we would invent is never fed to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.message import Exchange, Fields, Octets, Refusal, Request, Response, Stream
from conformance.octets import split
from conformance.replay import _taken, octets_of, replay, replay_connection

HOST = (b"Host", b"a")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLIENT, SERVER = ("request", "client"), ("response", "server")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def request(*fields: tuple[bytes, bytes], **more) -> Request:
    return Request(**({"method": b"GET", "target": b"/", "fields": Fields((HOST, *fields))} | more))


def response(*fields: tuple[bytes, bytes], **more) -> Response:
    return Response(**({"code": b"200", "reason": b"OK", "fields": Fields(fields)} | more))


def said(refusals: tuple[Refusal, ...]) -> list[tuple[str | None, str, str]]:
    assert all(refusal.source == "h11" and refusal.text for refusal in refusals)
    return [(refusal.rule, refusal.part, refusal.origin) for refusal in refusals]


def judged(client: bytes, server: bytes = b""):
    """(refusals of each exchange, of the client's rest, of the server's rest)."""
    found = split(
        Stream(client=Octets(side="client", data=client), server=Octets(side="server", data=server))
    )
    exchanges, up, down = replay_connection(found)
    assert (up.data, down.data) == (client, server)
    return [said(refusals) for refusals in exchanges], said(up.refusals), said(down.refusals)


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        (request(fields=Fields()), "host-missing"),
        (request(HOST), "duplicate-host"),
        (request((b"Name ", b"v")), "space-before-header-colon"),
        (request((b"N(me", b"v")), "header-name-malformed"),
        (request((b"", b"v")), "header-name-empty"),
        (request((b"X", b"a\x00b")), "newline-or-nul-in-header"),
        (request((b"X", b"a\rb")), "bare-carriage-return"),
        (request((b"X", b"a\x0bb")), "control-character-in-header"),
        (request((b"Content-Length", b"5"), (b"Content-Length", b"6")), "conflicting-content-length"),
        (request((b"Content-Length", b"+5")), "content-length-malformed"),
        (request((b"Content-Length", b"9" * 21)), "content-length-too-large"),
        (request((b"Transfer-Encoding", b"gzip")), "chunked-not-final-coding"),
        (request((b"Transfer-Encoding", b"chunked, chunked")), "chunked-applied-twice"),
        (
            request((b"Transfer-Encoding", b"chunked"), (b"transfer-encoding", b"gzip")),
            "duplicate-transfer-encoding",
        ),
        (request(method=b"G(T"), "method-malformed"),
        (request(target=b"/a b"), "illegal-character-in-request-target"),
        (request(target=b"/\xc3\xa9"), "non-ascii-request-target"),
    ],
)
def test_a_request_h11_refuses(sent: Request, rule: str) -> None:
    assert said(replay(Exchange(request=sent))) == [(rule, *CLIENT)]


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (response(code=b"20"), "status-code-malformed"),
        (response(code=b"099"), "status-code-out-of-range"),
        (response(code=b"101"), "unrequested-101"),
        (response((b"Content-Length", b"5"), (b"Content-Length", b"6")), "conflicting-content-length"),
        (response((b"Transfer-Encoding", b"xchunked")), "unknown-transfer-coding"),
        (response((b"Transfer-Encoding", b"identity")), "identity-transfer-coding"),
        (response(reason=b"O\x00K"), None),
    ],
)
def test_a_response_h11_refuses(answer: Response, rule: str | None) -> None:
    assert said(replay(Exchange(request=request(), response=answer))) == [(rule, *SERVER)]


@pytest.mark.parametrize(
    "exchange",
    [
        Exchange(request=request((b"Content-Length", b"10")), response=response((b"Content-Length", b"10"))),
        Exchange(request=request((b"Content-Length", b"10"), body=b"abc"), response=response(body=b"")),
        Exchange(request=request(method=b"HEAD"), response=response((b"Content-Length", b"10"), body=b"")),
        Exchange(
            request=request(version=b"HTTP/1.0", fields=Fields()), response=response(version=b"HTTP/1.0")
        ),
        Exchange(request=request((b"Upgrade", b"websocket")), response=response(code=b"101")),
        Exchange(
            request=request(method=b"CONNECT", target=b"a:1"), response=response((b"Content-Length", b"5"))
        ),
        Exchange(request=request(), interim=(response(code=b"103"),) * 3, response=response(reason=b"")),
        Exchange(request=request((b"X", b"a\r\n b")), response=response((b"X", b"\r\n b\r\n c"))),
        Exchange(request=request((b"X" * 100_000, b"v" * 100_000))),
        Exchange(request=request((b"Transfer-Encoding", b"gzip, chunked"))),
        Exchange(request=request(method=b"B(D", version=b"HTTP/2.0"), response=response(version=b"HTTP/2.0")),
    ],
)
def test_what_h11_has_nothing_to_say_about(exchange: Exchange) -> None:
    assert [r for r in replay(exchange) if r.part == "response" or exchange.request.method != b"B(D"] == []


def test_what_the_recording_rebuilt_is_not_judged() -> None:
    broken = (b"Content-Length", b"x")
    assert (
        replay(Exchange(request=request(broken, verbatim=False), response=response(broken, verbatim=False)))
        == ()
    )
    assert (
        replay(Exchange(request=request(broken, version=b"HTTP/3"), response=response(version=b"http/1.1")))
        == ()
    )


def test_a_line_feed_in_a_value_is_not_written_out() -> None:
    # It would be a line of its own, and h11 would refuse what nobody sent.
    assert replay(Exchange(request=request((b"X", b"a\nno colon")), response=response((b"X\n", b"")))) == ()
    assert (
        replay(Exchange(request=request(target=b"/\nno colon"), response=response(reason=b"\nno colon")))
        == ()
    )


def test_both_sides_of_an_exchange_are_judged() -> None:
    found = replay(Exchange(request=request(HOST), response=response(code=b"20")))
    assert said(found) == [
        ("duplicate-host", *CLIENT),
        ("status-code-malformed", *SERVER),
    ]
    assert "Found multiple Host: headers" in found[0].text


@pytest.mark.parametrize(
    ("client", "server", "exchanges"),
    [
        (
            GET,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            [("body-shorter-than-content-length", *SERVER)],
        ),
        (GET, CHUNKED + b"2\r\nab", [("chunked-body-truncated", *SERVER)]),
        (GET, CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n", [("chunk-size-malformed", *SERVER)]),
        (GET, CHUNKED + b"2\r\nabc\r\n0\r\n\r\n", [("chunk-terminator-missing", *SERVER)]),
        (GET, CHUNKED + b"2\nab\n0\r\n\r\n", [("bare-line-feed-in-chunk", *SERVER)]),
        (GET, CHUNKED + b"2\r\nab\n0\n\n", [("bare-line-feed-in-chunk", *SERVER)]),
        (GET, CHUNKED + b"0\r\nno colon\r\n\r\n", [("header-colon-missing", *SERVER)]),
        (GET, CHUNKED + b"1" * 21 + b"\r\n", [("chunk-size-overflow", *SERVER)]),
        (GET, b"HTTP/1.1 200 OK\r\n X: 1\r\n\r\n", [("space-before-first-header", *SERVER)]),
        (GET, b"HTTP/1.1  200 OK\r\n\r\n", [("extra-space-in-start-line", *SERVER)]),
        (GET, b"HTTP/11 200 OK\r\n\r\n", [("http-version-malformed", *SERVER)]),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
            b"",
            [("incomplete-request", *CLIENT)],
        ),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", b"", [("http-version-malformed", *CLIENT)]),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", b"", [("extra-space-in-start-line", *CLIENT)]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", b"", [("header-colon-missing", *CLIENT)]),
    ],
)
def test_octets_are_fed_as_they_lay_on_the_wire(client: bytes, server: bytes, exchanges) -> None:
    assert judged(client, server) == ([exchanges], [], [])


@pytest.mark.parametrize(
    ("client", "server", "rest"),
    [
        # what had to be a request
        (GET + b"GET / HT", b"", ([("incomplete-request", *CLIENT)], [])),
        (b"GET /\r\n\r\n", b"", ([(None, *CLIENT)], [])),
        # content without a length has a rule of its own
        (GET + b"hello", b"HTTP/1.1 204 -\r\n\r\n", ([], [])),
        # what had to be a response
        (GET, b"upstream connect error", ([], [(None, *SERVER)])),
        (GET, b"HTTP/1.1 200 OK\r\nContent-", ([], [(None, *SERVER)])),
        # what nobody asked for has a rule of its own
        (GET, b"HTTP/1.1 204 -\r\n\r\nmore", ([], [])),
        # the message itself was refused, or ends with the connection
        (GET, b"HTTP/1.1 200 OK\r\n\r\nmore", ([], [])),
        # not HTTP/1
        (b"\x16\x03\x01", b"\x16\x03\x01", ([], [])),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n\x81", b"HTTP/1.1 101 -\r\n\r\n\x81", ([], [])),
    ],
)
def test_octets_that_belong_to_no_message(client: bytes, server: bytes, rest) -> None:
    exchanges, up, down = judged(client, server)
    assert (up, down) == rest
    assert not any(exchanges)


def test_a_refused_message_does_not_hide_the_next_one() -> None:
    bad = b"GET / HTTP/1.1\r\nName : v\r\nHost: a\r\n\r\n"
    answer = b"HTTP/1.1 204 -\r\n\r\n"
    refusal = ("space-before-header-colon", *CLIENT)
    assert judged(bad + GET + bad, answer * 3) == ([[refusal], [], [refusal]], [], [])


def test_keep_alive_of_http_1_0_is_no_offence() -> None:
    # h11 itself takes every HTTP/1.0 message for the last one.
    old = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answer = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
    assert judged(old * 2, answer * 2) == ([[], []], [], [])


def test_long_words_are_cut() -> None:
    long = b"GET /" + b"a" * 9999 + b"\r\n\r\n"
    _, client, _ = replay_connection(
        split(Stream(client=Octets(side="client", data=long), server=Octets(side="server", data=b"")))
    )
    assert len(client.refusals[0].text) == 2000


def test_octets_of_a_message_without_octets() -> None:
    with pytest.raises(ValueError, match="does not have the octets"):
        list(octets_of(request()))


piece = st.sampled_from(
    [
        GET,
        CHUNKED,
        b"HTTP/1.1 204 -\r\n\r\n",
        b"1\r\na\r\n",
        b"0\r\n\r\n",
        b"\r\n",
        b"X: y\r\n",
        b"\x00",
        b"\xff",
        b"Content-Length: 1\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"HTTP/1.1 101 -\r\n\r\n",
        b"POST / HTTP/1.1\r\n",
    ]
)
octets = st.lists(piece | st.binary(max_size=5), max_size=10).map(b"".join)


@settings(max_examples=200)
@given(octets, octets)
def test_never_raises(client: bytes, server: bytes) -> None:
    judged(client, server)


@settings(max_examples=200)
@given(st.binary(max_size=8), st.binary(max_size=8), st.binary(max_size=8), st.binary(max_size=4))
def test_never_raises_on_fields(method: bytes, name: bytes, value: bytes, code: bytes) -> None:
    replay(
        Exchange(request=request((name, value), method=method), response=response((name, value), code=code))
    )


@pytest.mark.parametrize("first", [True, False])
@given(
    names=st.lists(st.sampled_from([b"Host", b"host", b"Via", b" a", b"a:b", b"Upgrade", b"Connection", b"Expect",
                                    b"Content-Length", b"Transfer-Encoding", b"X"]), max_size=4),
    values=st.lists(st.sampled_from([b"", b"1", b"23", b"0", b"007", b"a b", b"a\tb", b"close", b"chunked", b"gzip",
                                     b"100-continue", b"websocket", b"a\x01", b"\xff", b"1, 1", b"a\r\n b", b"9" * 19]),
                    min_size=8, max_size=8),
    status=st.sampled_from([b"100", b"101", b"200", b"204", b"304"]),
    method=st.sampled_from([b"GET", b"HEAD", b"CONNECT"]),
)  # fmt: skip
def test_a_head_like_one_that_was_taken_is_judged_as_if_alone(first, names, values, status, method) -> None:
    # Twice with the same names and other values: what is remembered of the first must not decide the second.
    def exchange(chosen: list[bytes]) -> Exchange:
        fields = Fields(zip(names, chosen, strict=False))
        asked = request(method=method, fields=fields) if first else request(method=method)
        return Exchange(request=asked, response=None if first else response(code=status, fields=fields))

    before, after = exchange(values[:4]), exchange(values[4:])
    _taken.clear()
    alone = replay(after)
    _taken.clear()
    replay(before)
    assert replay(after) == alone

"""The splitter against h11 on what h11 accepts, and alone on what h11 refuses."""

from dataclasses import replace

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.message import Evidence, Octets, Stream
from conformance.octets import split
from conformance.replay import octets_of

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def stream(client: bytes, server: bytes = b"", **more) -> Stream:
    return split(
        Stream(client=Octets(side="client", data=client), server=Octets(side="server", data=server), **more)
    )


# ---- what h11 accepts is found as h11 finds it

names = st.from_regex(rb"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}", fullmatch=True)
values = st.from_regex(rb"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]{0,12}[!-~\x80-\xff])?)?", fullmatch=True)
spaces = st.sampled_from([b"", b" ", b"\t "])
fields = st.lists(st.tuples(names, spaces, values, spaces), max_size=3)
line_ends = st.sampled_from([b"\r\n", b"\r\n", b"\n"])
contents = st.binary(max_size=30) | st.sampled_from(
    [b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
extensions = st.sampled_from([b"", b";a", b';a="b;c"', b" ;a=b"])


@st.composite
def bodies(draw, *, close: bool):
    """(field lines, octets, ends with the connection) of a delimited body."""
    content = draw(contents)
    how = draw(st.sampled_from(["length", "chunked", "close" if close else "length"]))
    if how == "length":
        return [b"Content-Length: %d" % len(content)], content, False
    if how == "close":
        return [], content, True
    pieces, at = b"", 0
    while at < len(content):
        size = draw(st.integers(1, len(content) - at))
        pieces += b"%x%s\r\n%s\r\n" % (size, draw(extensions).lstrip(), content[at : at + size])
        at += size
    trailers = b"".join(b"%s:%s%s%s\r\n" % field for field in draw(fields))
    return [b"transfer-encoding: chunKed"], b"%s0\r\n%s\r\n" % (pieces, trailers), False


@st.composite
def conversations(draw):
    """Octets of both sides, the methods, and how many responses there are."""
    client = server = b""
    methods = []
    for _ in range(draw(st.integers(1, 4))):
        method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"DELETE"]))
        methods.append(method)
        end = draw(line_ends)
        more = [b"%s:%s%s%s" % field for field in draw(fields)]
        framing, body, _ = draw(bodies(close=False)) if method == b"POST" else ([], b"", False)
        client += end.join([b"%s /v1 HTTP/1.1" % method, b"Host: a", *more, *framing, b"", b""]) + body
        for _ in range(draw(st.integers(0, 2))):
            server += b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        status = draw(st.sampled_from([b"200 OK", b"204", b"304 Not Modified", b"404 "]))
        framing, body, closes = draw(bodies(close=True))
        bodiless = method == b"HEAD" or status[:3] in (b"204", b"304")
        more = [b"%s:%s%s%s" % field for field in draw(fields)]
        server += draw(line_ends).join([b"HTTP/1.1 " + status, *more, *framing, b"", b""])
        server += b"" if bodiless else body
        if closes and not bodiless:
            break
    return client, server, methods


def read(connection: h11.Connection) -> list[tuple]:
    """The messages up to and with the final one, as (start line, fields, content, trailers)."""
    found, start, content = [], None, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            start = (event.method, event.target, list(event.headers))
        elif isinstance(event, h11.InformationalResponse):
            found.append(((event.status_code, bytes(event.reason), list(event.headers)), b"", []))
        elif isinstance(event, h11.Response):
            start = (event.status_code, bytes(event.reason), list(event.headers))
        elif isinstance(event, h11.Data):
            content += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return [*found, (start, content, list(event.headers))]
        else:
            raise AssertionError(event)


def lowered(message_fields) -> list[tuple[bytes, bytes]]:
    # h11 gives names in lower case, and codings and Content-Length normalised
    known = {b"transfer-encoding": bytes.lower}
    return [(n.lower(), known.get(n.lower(), bytes)(v)) for n, v in message_fields]


@settings(max_examples=150)
@given(conversations())
def test_agrees_with_h11(conversation) -> None:
    client, server, methods = conversation
    found = stream(client, server)

    side = h11.Connection(h11.SERVER)
    side.receive_data(client)
    expected = []
    for _ in methods:
        expected += read(side)
        side.send(h11.Response(status_code=204, headers=[]))
        side.send(h11.EndOfMessage())
        side.start_next_cycle()
    assert [
        ((m.method, m.target, lowered(m.fields)), m.content, lowered(m.trailers))
        for m in found.client.messages
    ] == expected
    assert found.client.rest == len(client)

    side = h11.Connection(h11.CLIENT)
    side.receive_data(server)
    side.receive_data(b"")
    expected = []
    for method in methods:
        side.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        side.send(h11.EndOfMessage())
        expected += read(side)
        if side.their_state is not h11.DONE:
            break
        side.start_next_cycle()
    assert [
        ((m.status, m.reason, lowered(m.fields)), m.content, lowered(m.trailers))
        for m in found.server.messages
    ] == expected
    assert found.server.rest == len(server)
    assert [e.request.method for e in found.exchanges] == methods
    assert all(
        b"".join(octets_of(m)) == client[m.wire.span.start : m.wire.span.stop] for m in found.client.messages
    )
    assert all(
        b"".join(octets_of(m)) == server[m.wire.span.start : m.wire.span.stop] for m in found.server.messages
    )


piece = st.sampled_from(
    [
        GET,
        b"\r\n",
        b"\n",
        b" ",
        b":",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 x\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Upgrade: a\r\n",
        b"a" * 20,
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0x5\r\n",
        b"ffffffffffffffffff\r\n",
        b"\x16\x03",
        b"HTTP/1.1 204 -\r\n\r\n",
        b"POST / HTTP/1.1\r\n",
    ]
)


@settings(max_examples=300)
@given(
    st.lists(piece | st.binary(max_size=6), max_size=12), st.lists(piece | st.binary(max_size=6), max_size=12)
)
def test_never_raises_and_accounts_for_every_octet(client: list[bytes], server: list[bytes]) -> None:
    found = stream(b"".join(client), b"".join(server))
    for side in (found.client, found.server):
        at = 0
        for message in side.messages:
            span = message.wire.span
            assert side.data[at : span.start].strip(b"\r\n") == b""
            at = span.stop
            for line in message.wire.lines:
                assert side.data[line.start :].startswith(line.text + line.ending)
        assert at <= side.rest <= len(side.data)
        assert side.data[at : side.rest].strip(b"\r\n") == b""


# ---- what h11 refuses is shown as it is


def test_fields_are_kept_as_written() -> None:
    head = b"GET / HTTP/1.1\r\n ghost: 1\r\nServer : a \r\nno colon\r\n behind it\r\n: empty\r\n"
    head += b"X:\r\n  b\r\n\tc\r\n\n"
    (request,) = stream(head).client.messages
    assert list(map(tuple, request.fields)) == [(b"Server ", b"a"), (b"", b"empty"), (b"X", b"\r\n b\r\n c")]
    assert [line.text for line in request.wire.lines[1:3]] == [b" ghost: 1", b"Server : a "]
    assert request.wire.lines[-1].ending == b"\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET /a b HTTP/1.1", (b"GET", b"/a b", b"HTTP/1.1")),
        (b"GET  /  http/1", (b"GET", b"/", b"http/1")),
        (b"g(t\t/\tHTTP/2", (b"g(t", b"/", b"HTTP/2")),
    ],
)
def test_odd_request_lines_are_still_read(line: bytes, expected: tuple[bytes, bytes, bytes]) -> None:
    (request,) = stream(line + b"\r\n\r\n").client.messages
    assert (request.method, request.target, request.version) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200", (b"HTTP/1.1", b"200", b"")),
        (b"HTTP/1.1 2000 Way OK", (b"HTTP/1.1", b"2000", b"Way OK")),
        (b"http/1.1  abc x", (b"http/1.1", b"abc", b"x")),
        (b"HTTP/1.1", (b"HTTP/1.1", b"", b"")),
    ],
)
def test_odd_status_lines_are_still_read(line: bytes, expected: tuple[bytes, bytes, bytes]) -> None:
    (response,) = stream(GET, line + b"\r\n\r\n").server.messages
    assert (response.version, response.code, response.reason) == expected


@pytest.mark.parametrize(
    ("framing", "body", "state", "content", "left"),
    [
        (b"Content-Length: 5", b"hel", "cut", b"hel", 0),
        (b"Content-Length: +5", b"hello", "unframed", b"", 5),
        (b"Content-Length: 5\r\nContent-Length: 6", b"hello", "unframed", b"", 5),
        (b"Content-Length: 5, 5\r\ncontent-length: 05", b"hello", "complete", b"hello", 0),
        (b"Content-Length:", b"hello", "unframed", b"", 5),
        (b"Content-Length: " + b"9" * 5000, b"hello", "unframed", b"", 5),
        (b"Transfer-Encoding: gzip", b"hello", "unframed", b"", 5),
        (b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n", "unframed", b"", 5),
        (
            b"Content-Length: 1\r\nTransfer-Encoding: gzip, Chunked",
            b"2\r\nab\r\n0\r\n\r\n",
            "complete",
            b"ab",
            0,
        ),
        (b"Transfer-Encoding: chunked", b"2;x\nab\n0\n\n", "complete", b"ab", 0),
        (b"Transfer-Encoding: chunked", b"2\r\nabc", "unframed", b"ab", 0),
        (b"Transfer-Encoding: chunked", b"2\r\nab\r\n0x2\r\nab", "unframed", b"ab", 2),
        (b"Transfer-Encoding: chunked", b"2\r\nab\r\n5\r\nab", "cut", b"abab", 0),
        (b"Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\nX: 1\r\n", "cut", b"ab", 0),
        (b"Transfer-Encoding: chunked", b"2\r\nab\r", "cut", b"ab", 0),
        (b"Transfer-Encoding: chunked", b"10000000000000000\r\nab", "unframed", b"", 2),
    ],
)
def test_how_a_request_ends(framing: bytes, body: bytes, state: str, content: bytes, left: int) -> None:
    found = stream(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n" + body)
    (request,) = found.client.messages
    assert (request.wire.state, request.content) == (state, content)
    assert request.partial is (state in ("cut", "unframed"))
    assert len(found.client.data) - found.client.rest == left


@pytest.mark.parametrize(
    ("method", "server", "contents", "left"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\n\r\nto the end", [b"to the end"], 0),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nto the end", [b"to the end"], 0),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", [b""], 0),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", [b"ab"], 0),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", [b""], 2),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\nab", [b""], 2),
        (b"GET", b"HTTP/1.1 304 -\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", [b"ab"], 0),
        (
            b"GET",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
            [b"", b"ab"],
            1,
        ),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Le", [], 27),
        (b"GET", b"garbage\r\n\r\n", [], 11),
    ],
)
def test_how_a_response_ends(method: bytes, server: bytes, contents: list[bytes], left: int) -> None:
    found = stream(b"%s / HTTP/1.1\r\nHost: a\r\n\r\n" % method, server)
    assert [message.content for message in found.server.messages] == contents
    assert len(server) - found.server.rest == left


@pytest.mark.parametrize(
    ("kind", "body", "state"),
    [
        (b"Text/Event-Stream; charset=utf-8", b"9\r\ndata: 1\n\n\r\n", "left"),
        (b"text/event-stream", b"9\ndata: 1\n\n\n", "left"),
        (b"text/event-stream", b"", "left"),
        (b"text/event-stream", b"9\r\ndata: 1\n\n\r\n9", "cut"),
        (b"text/event-stream", b"9\r\ndata: 1\n\n\r", "cut"),
        (b"text/event-stream", b"9\r\ndata: 1\n\n", "cut"),
        (b"text/event-stream", b"9\r\ndata: 1", "cut"),
        (b"text/event-stream", b"9\r\ndata: 1\n\n\r\n0\r\n", "cut"),
        (b"text/event-stream", b"9\r\ndata: 1\n\n\r\n0\r\n\r\n", "complete"),
        (b"application/json", b"2\r\n{}\r\n", "cut"),
    ],
)
def test_who_closed_between_two_chunks_of_an_event_stream_is_not_said(
    kind: bytes, body: bytes, state: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % kind
    (response,) = stream(GET, head + body).server.messages
    assert response.wire.state == state
    assert response.partial is (state != "complete")


def test_when_an_exchange_began_was_answered_and_over() -> None:
    asked, answers = GET * 2, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" * 2
    half = len(answers) // 2
    client = Octets(side="client", data=asked, times=((0, 1.0), (len(GET), 4.0)))
    server = Octets(side="server", data=answers, times=((0, 2.0), (half - 1, 3.0), (half, 5.0)))
    first, second = split(Stream(client=client, server=server)).exchanges
    assert (first.started, first.answered, first.ended) == (1.0, 2.0, 3.0)
    assert (second.started, second.answered, second.ended) == (4.0, 5.0, 5.0)
    (untimed, _) = split(Stream(client=replace(client, times=()), server=replace(server, times=()))).exchanges
    assert (untimed.started, untimed.answered, untimed.ended) == (None, None, None)


def test_what_follows_a_head_response_belongs_to_the_next_request() -> None:
    answers = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    found = stream(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET, answers)
    assert [e.response.content for e in found.exchanges] == [b"", b"ab"]


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n\x81\x00",
            b"HTTP/1.1 101 -\r\n\r\n\x81\x00",
        ),
        (
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x16\x03",
        ),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03", b""),
    ],
)
def test_a_switched_connection_is_read_no_further(client: bytes, server: bytes) -> None:
    found = stream(client, server)
    assert found.client.switched
    assert found.server.switched
    assert found.client.data[found.client.rest :] in (b"\x81\x00", b"\x16\x03")
    assert found.server.data[found.server.rest :] in (b"\x81\x00", b"\x16\x03", b"")


def test_a_refused_upgrade_leaves_http() -> None:
    ask = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
    found = stream(ask + GET, b"HTTP/1.1 426 -\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 -\r\n\r\n")
    assert [e.response.status for e in found.exchanges] == [426, 204]
    assert not found.client.switched


@pytest.mark.parametrize(
    "client",
    [
        b"\x16\x03\x01\x00\xa5\x01GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"get key\r\n",
        b"GET key\r\n",
        b"\x00\x00\x00\x08",
        b"EHLO a\r\n",
    ],
)
def test_what_is_no_http_1_has_no_messages(client: bytes) -> None:
    found = stream(client, b"whatever\r\n")
    assert found.client.switched
    assert found.server.switched
    assert (found.client.messages, found.client.rest, found.server.rest, found.exchanges) == ((), 0, 0, ())


@pytest.mark.parametrize("client", [b"GET / HT", b"GET /\r\n", b"POST ", b"GET http://a/\r\n"])
def test_a_cut_or_versionless_request_is_http_all_the_same(client: bytes) -> None:
    found = stream(client)
    assert not found.client.switched
    assert (found.client.messages, found.client.rest) == ((), 0)


def test_answers_to_requests_that_cannot_be_read_are_messages() -> None:
    bad = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n{}" + GET
    answers = b"HTTP/1.1 204 -\r\n\r\n" * 2
    found = stream(bad, answers)
    assert len(found.exchanges) == 1
    assert (len(found.server.messages), found.server.rest) == (2, len(answers))


def test_empty_lines_between_requests_are_skipped() -> None:
    found = stream(b"\r\n" + GET + b"\r\n\r\n" + GET + b"\r\n")
    assert [m.wire.span.start for m in found.client.messages] == [2, 6 + len(GET)]
    assert found.client.rest == len(found.client.data)


def test_stray_content_is_told_from_a_broken_request() -> None:
    assert stream(GET + b'{"model": 1}').client.stray_content == b'{"model": 1}'
    assert stream(GET + b"hello there").client.stray_content == b"hello there"
    assert not stream(GET + b"GET / HT").client.stray_content
    assert not stream(GET).client.stray_content
    assert not stream(GET, b"HTTP/1.1 204 -\r\n\r\n{}").server.stray_content
    assert not stream(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nab").client.stray_content


def test_exchanges_say_what_they_are() -> None:
    found = stream(GET * 2, number=3, note="hoplint: ignore[x]", note_line=4)
    assert [e.number for e in found.exchanges] == [1, 2]
    assert {(e.client_connection, e.server_connection, e.recorder) for e in found.exchanges} == {
        ("stream-3", "stream-3", "octets")
    }
    assert all(Evidence.OCTETS | Evidence.CONNECTION in e.evidence for e in found.exchanges)
    (named,) = stream(GET, flow="f-1").exchanges
    assert (named.flow, named.client_connection) == ("f-1", "f-1")


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (GET * 20_000, b""),
        (GET * 20_000, b"x" * 500_000),
        (b"GET / HTTP/1.1\r\nX: a\r\n" + b" b\r\n" * 150_000, b""),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 100_000, b""),
        (b"\r\n" * 300_000, b""),
        (b"a" * 600_000, b"HTTP/1.1 " * 60_000),
    ],
)
def test_work_is_linear(client: bytes, server: bytes) -> None:
    # Nothing to assert: with the quadratic mistakes that can be made here this takes many minutes.
    stream(client, server)

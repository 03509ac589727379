from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.message import Evidence, Exchange, Fields, Frame, Octets, Request, Response, Stream
from conformance.octets import split
from conformance.transcript import (
    TranscriptError,
    escape,
    escape_content,
    expected,
    parse,
    rewritten,
    unescape,
    unescape_content,
    write,
)


def one(text: str) -> Exchange:
    (item,) = parse(text)
    assert isinstance(item, Exchange)
    return item


def test_a_whole_exchange() -> None:
    exchange = one(
        "# a story\n"
        "@ upstream: 127.0.0.1:4000\n"
        "> POST /v1/chat/completions HTTP/1.1\n"
        "> Host: api.example\n"
        ">\n"
        '> {"text": "a\\nb"}\n'
        "< HTTP/1.1 103 Early Hints\n"
        "< Link: </a>\n"
        "< HTTP/1.1 200 OK\n"
        "< Content-Type: text/event-stream\n"
        "<\n"
        "< data: 1\n"
        "<\n"
        "<\n"
        "<+ X-Checksum: 9\n"
    )
    request, response = exchange.request, exchange.response
    assert response is not None
    assert (request.method, request.target, request.version) == (
        b"POST",
        b"/v1/chat/completions",
        b"HTTP/1.1",
    )
    assert request.content == b'{"text": "a\\nb"}', "JSON's escapes are its own"
    assert [interim.status for interim in exchange.interim] == [103]
    assert response.content == b"data: 1\n\n"
    assert [tuple(line) for line in response.trailers] == [(b"X-Checksum", b"9")]
    assert request.numbers == (3, 4)
    assert response.numbers == (9, 10, 15)
    assert exchange.upstream == "127.0.0.1:4000"


def test_without_the_empty_line_the_content_is_not_recorded() -> None:
    assert one("> GET / HTTP/1.1\n> Host: a").request.content is None
    assert one("> GET / HTTP/1.1\n> Host: a\n>").request.content == b""


def test_whitespace_around_a_value_is_not_part_of_it_but_a_name_is_as_written() -> None:
    (line,) = one("> GET / HTTP/1.1\n> Server :  a b \\x20 ").request.fields
    assert tuple(line) == (b"Server ", b"a b  ")


def test_a_target_may_hold_spaces() -> None:
    assert one("> GET /a b HTTP/1.1").request.target == b"/a b"


def test_websocket_frames() -> None:
    exchange = one(
        "> GET /v1/responses HTTP/1.1\n"
        "< HTTP/1.1 101 Switching Protocols\n"
        "< Upgrade: websocket\n"
        '> TEXT {"type": "response.create"}\n'
        "< BINARY \\x00\\xff\n"
        "< PING\n"
        "< CLOSE 1011 keepalive timeout\n"
    )
    assert [(f.sender, f.opcode, f.content, f.code) for f in exchange.frames] == [
        ("client", "TEXT", b'{"type": "response.create"}', None),
        ("server", "BINARY", b"\x00\xff", None),
        ("server", "PING", b"", None),
        ("server", "CLOSE", b"keepalive timeout", 1011),
    ]
    assert Evidence.WEBSOCKET in exchange.evidence


def test_what_is_known_of_frames_but_not_on_the_wire() -> None:
    text = (
        "@ frame-times: 1.5 3\n@ injected: 2\n@ dropped: 1\n@ server-name: api.example\n> GET / HTTP/1.1\n"
        "< HTTP/1.1 101 Switching Protocols\n> TEXT a\n< TEXT b\n< PING\n"
    )
    (exchange,) = parse(text)
    assert isinstance(exchange, Exchange)
    assert [(frame.time, frame.injected) for frame in exchange.frames] == [
        (1.5, False),
        (3.0, True),
        (None, False),
    ]
    assert (exchange.dropped, exchange.server_name) == (1, "api.example")
    (again,) = parse(write(exchange))
    assert isinstance(again, Exchange)
    assert [(frame.time, frame.injected) for frame in again.frames] == [
        (1.5, False),
        (3.0, True),
        (None, False),
    ]
    assert (again.dropped, again.server_name) == (1, "api.example")
    with pytest.raises(TranscriptError, match="injected takes numbers, not 'all'"):
        list(parse("@ injected: all\n"))
    for count in ("1 2", "1.5", "-1", ""):
        with pytest.raises(TranscriptError, match=f"dropped is a count, not '{count}'"):
            list(parse(f"@ dropped: {count}\n"))


def test_a_blank_line_or_a_new_request_separates_exchanges() -> None:
    text = "> GET /1 HTTP/1.1\n< HTTP/1.1 200 OK\n> GET /2 HTTP/1.1\n\n> GET /3 HTTP/1.1\n"
    assert [item.request.target for item in parse(text)] == [b"/1", b"/2", b"/3"]
    assert [item.number for item in parse(text)] == [1, 2, 3]


def test_octets_are_taken_as_they_are() -> None:
    (stream,) = parse(">> GET / HTTP/1.1\\n\n>> Host : a\\r\\n\\r\\n\n<< HTTP/1.1 200\n")
    assert isinstance(stream, Stream)
    assert stream.client.data == b"GET / HTTP/1.1\nHost : a\r\n\r\n"
    assert stream.server.data == b"HTTP/1.1 200"
    assert stream.client.numbers == ((0, 1), (15, 2))
    assert stream.server.numbers == ((0, 3),)


def test_what_a_har_holds_is_not_verbatim_in_a_transcript_either() -> None:
    text = "@ recorder: har\n> GET / HTTP/1.1\n< HTTP/1.1 200 OK\n< Content-Encoding: gzip\n<\n< {}\n"
    assert not any(message.verbatim for message in one(text).messages)
    assert all(message.verbatim for message in one(text.replace("har", "mitmproxy")).messages)


def test_octets_are_written_in_turn() -> None:
    data = {
        ">>": r">> GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        "<<": r"<< HTTP/1.1 100 -\r\n\r\nHTTP/1.1 200 -\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 204 -\r\n\r\nmore",
    }
    (stream,) = parse("\n".join(data.values()))
    text = write(split(stream))
    lines = [line for line in text.splitlines() if "HTTP" in line or "more" in line]
    assert lines == [
        r">> GET /1 HTTP/1.1\r\n",
        r"<< HTTP/1.1 100 -\r\n",
        r"<< HTTP/1.1 200 -\r\n",
        r">> GET /2 HTTP/1.1\r\n",
        r"<< HTTP/1.1 204 -\r\n",
        r"<< more",
    ]
    (again,) = parse(text)
    assert (again.client.data, again.server.data) == (stream.client.data, stream.server.data)


def test_facts() -> None:
    exchange = one(
        "@ error: server closed connection\n@ started: 2.5\n@ partial: response\n> GET / HTTP/1.1\n< HTTP/1.1 200 OK"
    )
    assert exchange.error == "server closed connection"
    assert exchange.started == 2.5
    assert exchange.response is not None
    assert (exchange.response.partial, exchange.request.partial) == (True, False)
    assert Evidence.ERROR in exchange.evidence


def test_an_ignore_above_the_exchange_is_its_note() -> None:
    exchange = one("# why\n# hoplint: ignore[duplicate-server] known\n\n> GET / HTTP/1.1\n")
    assert exchange.note == "hoplint: ignore[duplicate-server] known"
    assert exchange.note_line == 2


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("GET / HTTP/1.1", 1, "begins with"),
        ("> GET / HTTP/1.1\n>Host: a", 2, "begins with"),
        ("< HTTP/1.1 200 OK", 1, "no request before it"),
        ("> GET /", 1, "GET / HTTP/1.1"),
        ("> GET / HTTP/1.1\n> NoColon", 2, "without colon"),
        ("> GET / HTTP/1.1\n< 200", 2, "HTTP/1.1 200 OK"),
        ("@ colour: red\n> GET / HTTP/1.1", 1, "takes one of"),
        ("@ started: yesterday\n> GET / HTTP/1.1", 1, "number of seconds"),
        ("> GET / HTTP/1.1\n>> GET", 2, "apart"),
        (">> GET\n> GET / HTTP/1.1", 2, "blank line"),
        ("> GET / HTTP/1.1\n<+ A: 1", 2, "trailer"),
        ("> GET / HTTP/1.1\n# hoplint: ignore[x]", 2, "above its exchange"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(TranscriptError, match=rf"line {line}: .*{says}"):
        list(parse(text))


def test_what_stands_before_a_fault_is_yielded() -> None:
    items = parse("> GET / HTTP/1.1\n\nnonsense")
    assert isinstance(next(items), Exchange)
    with pytest.raises(TranscriptError):
        next(items)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# expect: a, b\n> GET", {"a", "b"}),
        ("# expect:\n", set()),
        ("#expect: a", {"a"}),
        ("# a comment\n# expect: a", None),
        ("", None),
    ],
)
def test_expected(text: str, names: set[str] | None) -> None:
    assert expected(text) == names


@given(st.binary())
def test_escape_round_trips(octets: bytes) -> None:
    assert unescape(escape(octets)) == octets
    assert escape(octets).isascii()
    assert escape(octets).isprintable()


@given(st.binary() | st.text().map(str.encode))
def test_escape_content_round_trips(octets: bytes) -> None:
    lines = escape_content(octets)
    assert unescape_content("\n".join(lines)) == octets
    assert not any(char in line for line in lines for char in "\x00\x1b\x7f\x9b\r")


NAMES = st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True)
VALUES = st.binary(max_size=20).map(lambda value: value.strip(b" \t"))
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(Fields)
CONTENTS = st.none() | st.binary(max_size=60)


@st.composite
def exchanges(draw) -> Exchange:
    request = Request(
        method=draw(st.sampled_from([b"GET", b"POST"])),
        target=b"/" + draw(st.binary(max_size=10)).replace(b" ", b"%20"),
        fields=draw(LINES),
        body=draw(CONTENTS),
    )
    upgrade = draw(st.booleans())
    response = Response(
        code=b"101" if upgrade else b"200",
        reason=draw(st.binary(max_size=8)).strip(),
        fields=draw(LINES),
        body=None if upgrade else draw(CONTENTS),
    )
    texts = st.builds(Frame, st.sampled_from(["client", "server"]), st.just("TEXT"), VALUES)
    frames = tuple(draw(st.lists(texts, max_size=3))) if upgrade else ()
    return Exchange(request=request, response=response, frames=frames)


@given(exchanges())
def test_write_is_read_back(exchange: Exchange) -> None:
    again = one(write(exchange))
    for before, after in ((exchange.request, again.request), (exchange.response, again.response)):
        assert before is not None
        assert after is not None
        assert before.start_line == after.start_line
        assert list(before.fields) == list(after.fields)
        assert before.content == after.content
    assert [(f.sender, f.opcode, f.content) for f in exchange.frames] == [
        (f.sender, f.opcode, f.content) for f in again.frames
    ]


def test_write_masks() -> None:
    exchange = one("> GET /?key=s3cret HTTP/1.1\n> Authorization: Bearer s3cret")
    text = write(exchange, lambda name, value: b"***", lambda octets: octets.replace(b"s3cret", b"***"))
    assert "s3cret" not in text
    assert text.count("***") == 2


def test_write_a_stream() -> None:
    stream = Stream(
        client=Octets(side="client", data=b"GET / HTTP/1.1\nA: \x1b[31m\r\n\r\n"),
        server=Octets(side="server", data=b"HTTP/1.1 200 OK\r\n\r\n"),
    )
    (again,) = parse(write(stream))
    assert isinstance(again, Stream)
    assert (again.client.data, again.server.data) == (stream.client.data, stream.server.data)


def test_rewritten_touches_only_what_differs() -> None:
    text = (
        "# note\n> POST / HTTP/1.1\n> Host:  a\n# why\n> X: 1\n>\n> one\n# in between\n> two\n"
        "< HTTP/1.1 500 No\n\n> GET / HTTP/1.1\n"
    )
    first, second = parse(text)
    request = replace(
        first.request,
        fields=Fields([(b"New", b"0"), (b"Host", b"a"), (b"X", b"2"), (b"Y", b"3")]),
        body=b"1\n2\n3",
    )
    response = replace(first.response, code=b"502", reason=b"Bad", fields=Fields([(b"Z", b"\x00")]))
    other = replace(second.request, fields=Fields())
    changes = [(first.request, request), (first.response, response), (second.request, other)]
    assert rewritten(text, changes) == (
        "# note\n> POST / HTTP/1.1\n> New: 0\n> Host:  a\n# why\n> X: 2\n> Y: 3\n>\n> 1\n> 2\n> 3\n# in between\n"
        "< HTTP/1.1 502 Bad\n< Z: \\x00\n\n> GET / HTTP/1.1\n"
    )
    assert rewritten(text, [(m, m) for m in (*first.messages, *second.messages)]) == text
    emptied = rewritten(text, [(first.request, replace(first.request, body=b""))])
    assert next(parse(emptied)).request.content == b""

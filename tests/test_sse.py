"""The parser against the text of HTML §9.2.6, written down a second time without any care for speed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance.message import Fields, Response
from conformance.sse import STRAYS, Event, EventStream, _parse, declared, events, parse, undecodable


def by_the_book(octets: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], int | None]:
    """(type, data, last event id) of each event that is dispatched, and the reconnection time; octet by octet."""
    if octets[:3] == b"\xef\xbb\xbf":
        octets = octets[3:]
    lines: list[bytes] = []
    line = b""
    at = 0
    while at < len(octets):
        octet = octets[at : at + 1]
        at += 1
        if octet == b"\r":
            if octets[at : at + 1] == b"\n":
                at += 1
            lines.append(line)
            line = b""
        elif octet == b"\n":
            lines.append(line)
            line = b""
        else:
            line += octet
    if line:
        lines.append(line)  # the end of the file ends it, too
    found = []
    retry = None
    data = event_type = last_id = b""
    for line in lines:
        if line == b"":
            if data:
                found.append((event_type, data[:-1], last_id))
            data = event_type = b""
            continue
        if line.startswith(b":"):
            continue
        name, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if name == b"event":
            event_type = value
        elif name == b"data":
            data += value + b"\n"
        elif name == b"id":
            if b"\0" not in value:
                last_id = value
        elif name == b"retry" and value and all(0x30 <= octet <= 0x39 for octet in value):
            retry = int(value)
    return found, retry


WORDS = [
    b"data", b"event", b"id", b"retry", b"dat", b"data ", b" data", b":", b": ", b" ", b"1", b"x", b"\0", b"\xef\xbb\xbf",
    b"\xc3\xa9", b"\xff", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\x0b", b"\x85", b"\xe2\x80\xa8",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(b"".join))
@example(b"data: a\n\ndata: b")
@example(b"data\n\ndata\ndata\n\ndata:")
@example(b"\xef\xbb\xbfdata: a\r\rdata: b\r\n\r\n")
@example(b"id: 1\ndata: a\n\nid\ndata: b\n\nid: \0\ndata: c\n\n")
@example(b"event: a\n\ndata: b\n\n")
@example(b"data: \x0b\x85\n\n")
def test_it_dispatches_what_the_specification_says(octets: bytes) -> None:
    found = parse(octets)
    expected, retry = by_the_book(octets)
    assert [(event.type, event.data, event.id) for event in found.events] == expected
    assert found.retry == retry
    # One blank line more is what the pending event lacks; it may have to end a line first.
    lost = [(found.pending.type, found.pending.data, found.pending.id)] if found.pending else []
    assert by_the_book(octets + b"\n\n")[0] == expected + lost


@given(st.binary(max_size=200))
def test_any_octets_are_read(octets: bytes) -> None:
    found = parse(octets)
    assert found.known + found.comments + found.strayed <= len(octets)
    for event in found.events:
        assert 0 <= event.start < event.stop <= len(octets)


NEARLY = [
    b"data: 1\n\n", b"event: a\ndata: 2\n\n", b"data: data: 3\n\n", b"event: event: b\ndata: \n\n", b"event: \n",
    b"event: c\n", b"data: 4\n", b"data:5\n\n", b": hi\n\n", b"\n", b"\r", b"id: 6\n", b"x", b"\xef\xbb\xbf", b"\x85\x0b",
]  # fmt: skip
"""What streams that are read the short way consist of, and what there might be between."""


@given(st.lists(st.sampled_from(NEARLY), max_size=12).map(b"".join))
@example(b"data: 1\n\n")
@example(b"data: 1\n\nevent: a\ndata: 2\n\n")
@example(b"data: 1\n\ndata: 2\n")
@example(b"data: 1\n\nevent: a\n\n")
@example(b"event: a\nevent: b\ndata: 1\n\n")
def test_ordinary_streams_are_read_as_all_others(octets: bytes) -> None:
    assert parse(octets) == _parse(octets)


def test_places() -> None:
    octets = b"\xef\xbb\xbf: hello\r\n\r\nevent: a\r\ndata: 1\r\ndata: 2\r\n\r\n\r\ndata: 3\n"
    found = parse(octets)
    assert found.events == (Event(b"a", b"1\n2", b"", 14, 44, 3),)
    assert octets[14:22] == b"event: a"
    assert found.pending == Event(b"", b"3", b"", 46, 54, 8)
    assert (found.known, found.comments, found.strayed) == (4, 1, 0)


@pytest.mark.parametrize(
    ("octets", "data"),
    [
        (b"data:x\n\n", [b"x"]),
        (b"data:  x\n\n", [b" x"]),
        (b"data\n\n", [b""]),
        (b"data: \n\n", [b""]),
        (b"data: a\ndata:\ndata: b\n\n", [b"a\n\nb"]),
        (b"event: x\n\n", []),
        (b"data : x\n\n", []),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"DATA: a\n\n", []),
        (b"", []),
    ],
)
def test_data(octets: bytes, data: list[bytes]) -> None:
    assert [event.data for event in parse(octets).events] == data


@pytest.mark.parametrize(
    ("value", "retry"),
    [(b"10", 10), (b"", None), (b"-1", None), (b"1.5", None), ("١".encode(), None), (b"9" * 999, None)],
)
def test_retry(value: bytes, retry: int | None) -> None:
    assert parse(b"retry: " + value + b"\n").retry == retry


def test_strays_are_counted_and_a_few_are_kept() -> None:
    found = parse(b"data: 1\n\n" + b"nonsense\n" * 1000)
    assert (len(found.strays), found.strayed) == (STRAYS, 1000)
    assert (found.strays[0].number, found.strays[0].start, found.strays[0].text) == (3, 9, b"nonsense")


def response(content: bytes | None, *lines: tuple[bytes, bytes], **facts: bool) -> Response:
    return Response(code=b"200", fields=Fields(lines), body=content, **facts)


@pytest.mark.parametrize(
    ("lines", "is_one"),
    [
        ([(b"Content-Type", b"text/event-stream")], True),
        ([(b"Content-Type", b"Text/Event-Stream ; charset=utf-8")], True),
        ([(b"Content-Type", b"text/event-stream-x")], False),
        ([(b"Content-Type", b"text/event-stream"), (b"content-type", b"application/json")], False),
        ([], False),
    ],
)
def test_what_the_fields_declare(lines: list[tuple[bytes, bytes]], is_one: bool) -> None:
    assert declared(response(b"", *lines)) is is_one


def test_the_content_of_a_message_is_parsed_once() -> None:
    message = response(b"data: 1\n\n")
    first = events(message)
    assert isinstance(first, EventStream)
    assert events(message) is first
    assert events(response(None)) is None
    assert events(response(b"nonsense", (b"Content-Encoding", b"gzip"))) is None


@pytest.mark.parametrize(
    ("octets", "partial", "at"),
    [
        (b"caf\xc3\xa9", False, None),
        (b"caf\xc3", False, 3),
        (b"caf\xc3", True, None),
        (b"caf\xe9!", True, 3),
        (b"\xed\xa0\x80", False, 0),
        (b"", False, None),
    ],
)
def test_utf8(octets: bytes, partial: bool, at: int | None) -> None:
    assert undecodable(octets, partial=partial) == at


def test_an_event_begins_with_its_first_line() -> None:
    found = parse(b"event: a\ndata: 1\n\nid: 7\ndata: 2\n\n").events
    assert [(event.start, event.stop, event.line) for event in found] == [(0, 18, 1), (18, 33, 4)]


def test_the_first_few_strays_are_kept_and_all_are_counted() -> None:
    found = parse(b"stray\n" * (STRAYS + 3))
    assert (len(found.strays), found.strayed) == (STRAYS, STRAYS + 3)
    assert found.strays[-1].number == STRAYS


def test_the_first_retry_that_is_no_number_is_kept() -> None:
    found = parse(b"retry: 3s\nretry: 5\nretry: never\n\n")
    assert found.retry == 5
    assert found.bad_retry is not None
    assert found.bad_retry.text == b"retry: 3s"

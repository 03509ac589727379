"""HTTP/2 in the octets of a connection: recognised, and the little that can be said without reading it.

Header sections are compressed with a state that the whole connection shares, and frames of many exchanges lie
between each other: messages are judged where a recorder has decoded them, in flows. Here only the frames are
told apart (RFC 9113 §4.1), what a server's SETTINGS say, and whether a client used extended CONNECT.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from conformance.message import Span

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (RFC 9113 §3.4)."""

ENABLE_CONNECT_PROTOCOL = 0x8
"""The setting with which a server allows extended CONNECT (RFC 8441 §3)."""

_HEADERS, _SETTINGS = 0x1, 0x4
_ACK, _PADDED, _PRIORITY = 0x1, 0x8, 0x20
_HEADER = 9  # octets of a frame's header

# A name that is in no static table is spelled out where it first occurs, as it is or in Huffman's code.
_PROTOCOL = (b":protocol", b"\xb9]\x87I\xc8z?")


class _Frame(NamedTuple):
    type: int
    flags: int
    stream: int
    start: int
    stop: int
    """Of the payload; the recording may end before."""


def is_http2(client: bytes, server: bytes) -> bool:
    """Whether the octets of a connection are HTTP/2: by the client's preface, or without it by the server's.

    "The server connection preface consists of a potentially empty SETTINGS frame (Section 6.5) that MUST be the
    first frame the server sends" (RFC 9113 §3.4).
    """
    if client:
        return client.startswith(PREFACE[:16])
    frame = next(_frames(server, 0), None)
    return (
        frame is not None
        and (frame.type, frame.flags, frame.stream) == (_SETTINGS, 0, 0)
        and (frame.stop - frame.start) % 6 == 0
    )


def server_settings(server: bytes) -> dict[int, int] | None:
    """What a server's SETTINGS say, the last value of each; None: there are none."""
    if not is_http2(b"", server):
        return None
    found: dict[int, int] = {}
    for frame in _frames(server, 0):
        if frame.type == _SETTINGS and not frame.flags & _ACK and frame.stop <= len(server):
            for at in range(frame.start, frame.stop - 5, 6):
                found[int.from_bytes(server[at : at + 2])] = int.from_bytes(server[at + 2 : at + 6])
    return found


def extended_connect(client: bytes) -> Span | None:
    """The first header section of a client's that has ``:protocol`` (RFC 8441 §4)."""
    if not client.startswith(PREFACE):
        return None
    for frame in _frames(client, len(PREFACE)):
        if frame.type != _HEADERS or frame.stop > len(client):
            continue
        start, stop = frame.start, frame.stop
        if frame.flags & _PADDED and start < stop:
            stop -= client[start]
            start += 1
        if frame.flags & _PRIORITY:
            start += 5
        if any(name in _PROTOCOL for name in _spelled_names(client[start:stop])):
            return Span(frame.start - _HEADER, frame.stop)
    return None


def _frames(data: bytes, at: int) -> Iterator[_Frame]:
    while at + _HEADER <= len(data):
        start = at + _HEADER
        at = start + int.from_bytes(data[start - 9 : start - 6])
        stream = int.from_bytes(data[start - 4 : start]) & 0x7FFFFFFF
        yield _Frame(data[start - 6], data[start - 5], stream, start, at)


def _spelled_names(block: bytes) -> Iterator[bytes]:
    """The names that a header block spells out, coded as they are (RFC 7541 §6)."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # an indexed field
            _, at = _integer(block, at, 7)
        elif first & 0xE0 == 0x20:  # a new size of the table
            _, at = _integer(block, at, 5)
        else:
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            if not index:
                name, at = _string(block, at)
                yield name
            _, at = _string(block, at)


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer whose first octet has so many bits for it, and the offset behind it (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    value = block[at] & most if at < len(block) else 0
    at += 1
    if value < most:
        return value, at
    for shift in range(0, 35, 7):  # what is longer is no length
        octet = block[at] if at < len(block) else 0
        value += (octet & 0x7F) << shift
        at += 1
        if not octet & 0x80:
            break
    return value, at


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    length, at = _integer(block, at, 7)
    return block[at : at + length], at + length

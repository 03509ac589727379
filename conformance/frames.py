"""WebSocket frames in the octets of a connection, behind the 101 that opened it (RFC 6455 §5.2).

Parsers that serve traffic fail the connection at the first frame they dislike; this one reads on, because a wrong
mask or a reserved bit does not move the end of a frame. Payloads are looked at, not copied: memory does not grow
with the number of frames, of which two octets are enough to make one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from conformance.message import Breach, Response, Side, Span

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_NAMES = {
    CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong",
}  # fmt: skip
_DEFLATE = b"permessage-deflate"

MAX_CONTROL = 125
"""Octets of payload that a control frame may have (RFC 6455 §5.5)."""


class WireFrame(NamedTuple):
    """One frame as it lay on the wire."""

    start: int
    """Offset of its first octet."""
    payload: int
    """Offset of its payload."""
    length: int
    """Octets of payload that it announces; the recording may hold fewer."""
    fin: bool
    rsv: int
    """The three reserved bits: 4 is RSV1."""
    opcode: int
    mask: bytes | None
    """The masking key; None: the frame is not masked."""
    extended: int
    """In how many octets behind the first two the length is written: 0, 2 or 8."""

    @property
    def is_control(self) -> bool:
        return self.opcode >= CLOSE

    @property
    def said(self) -> str:
        """What to call it in a sentence."""
        return f"{_NAMES.get(self.opcode, f'0x{self.opcode:x}')} frame of {self.length} octets"


def frames(data: bytes, at: int) -> Iterator[WireFrame]:
    """The frames from an offset on, as far as their headers are there.

    The last may lack octets of its payload. Nothing comes behind a length of 2**63 and more: "the most
    significant bit MUST be 0", and no recording is that long.

    >>> [(frame.opcode, frame.length, frame.mask) for frame in frames(b"\\x81\\x02ok\\x88", 0)]
    [(1, 2, None)]
    """
    size = len(data)
    while at + 2 <= size:
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        extended = 2 if length == 126 else 8 if length == 127 else 0
        payload = at + 2 + extended + (4 if second & 0x80 else 0)
        if payload > size:
            return
        if extended:
            length = int.from_bytes(data[at + 2 : at + 2 + extended])
            if length >> 63:
                return
        mask = data[payload - 4 : payload] if second & 0x80 else None
        yield WireFrame(at, payload, length, bool(first & 0x80), first >> 4 & 7, first & 0xF, mask, extended)
        at = payload + length


def breaches(data: bytes, at: int, side: Side, opened: Response) -> tuple[Breach, ...]:
    """What the frames one side sent do against RFC 6455: of each kind the first, in order of the octets.

    ``opened`` is the 101 whose Sec-WebSocket-Extensions say which reserved bits and opcodes may be in use.
    """
    extensions = {
        value.partition(b";")[0].strip(b" \t").lower()
        for value in opened.fields.values("sec-websocket-extensions")
    }
    is_known = extensions <= {_DEFLATE}  # another extension may give any meaning to what is reserved
    compresses = _DEFLATE in extensions
    found: dict[str, Breach] = {}
    is_open = is_closed = False  # a message has begun and not ended; a close frame was sent

    for number, frame in enumerate(frames(data, at), 1):
        wrong: list[tuple[str, str]] = []
        if (frame.mask is None) is (side == "client"):
            wrong.append(("masking", "is not masked" if side == "client" else "is masked"))
        if is_known and (bits := _unexpected_bits(frame, compresses)):
            by = "" if compresses else "; no extension was agreed on"
            wrong.append(("reserved-bit", f"has {bits} set{by}"))
        is_reserved = frame.opcode not in _NAMES
        if is_reserved and is_known:
            wrong.append(("opcode", f"has the reserved opcode 0x{frame.opcode:x}"))
        needed = 0 if frame.length < 126 else 2 if frame.length < 1 << 16 else 8
        if frame.extended > needed:
            wrong.append(("length", f"has its length in {frame.extended} more octets, {needed} are enough"))
        if frame.is_control:
            if not is_reserved and not frame.fin:
                wrong.append(("control", "is fragmented"))
            elif not is_reserved and frame.length > MAX_CONTROL:
                wrong.append(("control", f"is longer than {MAX_CONTROL} octets"))
        elif not is_reserved:
            if is_closed:
                wrong.append(("after-close", "follows the close frame"))
            if frame.opcode == CONTINUATION and not is_open:
                wrong.append(("fragment", "continues no message"))
            elif frame.opcode != CONTINUATION and is_open:
                wrong.append(("fragment", "begins before the last fragment of the message before it"))
            is_open = not frame.fin
        is_closed = is_closed or frame.opcode == CLOSE
        for kind, how in wrong:
            if kind not in found:
                span = Span(frame.start, min(frame.payload + frame.length, len(data)))
                found[kind] = Breach(kind, span, f"frame {number} of the {side}, a {frame.said}, {how}")
    return tuple(found.values())


def _unexpected_bits(frame: WireFrame, compresses: bool) -> str:
    """The reserved bits that nothing allows; RSV1 says that the message this frame begins is compressed.

    "An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and non-first fragments of a
    data message." (RFC 7692 §6)
    """
    bits = frame.rsv
    if compresses and frame.opcode in (TEXT, BINARY):
        bits &= 0b011
    return " and ".join(name for bit, name in ((4, "RSV1"), (2, "RSV2"), (1, "RSV3")) if bits & bit)

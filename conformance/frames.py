"""WebSocket frames in the octets of a connection, behind the 101 that opened it (RFC 6455 §5.2).

Parsers that serve traffic fail the connection at the first frame they dislike; ``breaches`` reads on, because a
wrong mask or a reserved bit does not move the end of a frame. ``messages`` puts together what the frames carry, as
far as it can be sure of it. Both are bounded: two octets are enough to make a frame, and a few compressed ones to
make a gigabyte.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from conformance.grammar import parameters
from conformance.message import Breach, Frame, Response, Side, Span

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_NAMES = {
    CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong",
}  # fmt: skip
_DEFLATE = b"permessage-deflate"

MAX_FRAMES = 1_000_000
"""Frames of one side that are looked at, which takes a second or two."""
MAX_MESSAGES = 100_000
"""Messages and control frames of one side that are put together."""
MAX_INFLATED = 64 * 2**20
"""Octets that the compressed messages of one side may become, all together."""
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
    for _ in range(MAX_FRAMES):
        if at + 2 > size:
            return
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


def unread(data: bytes, at: int) -> str | None:
    """What of one side's frames is not looked at here, because there are too many of them."""
    if (len(data) - at) // 2 <= MAX_MESSAGES:  # a frame has two octets at least
        return None
    count = sum(1 for _ in frames(data, at))
    if count == MAX_FRAMES:
        return f"WebSocket frames behind the first {MAX_FRAMES} of a side"
    return (
        f"WebSocket messages behind the first {MAX_MESSAGES} frames of a side"
        if count > MAX_MESSAGES
        else None
    )


def breaches(data: bytes, at: int, side: Side, opened: Response) -> tuple[Breach, ...]:
    """What the frames one side sent do against RFC 6455: of each kind the first, in order of the octets.

    ``opened`` is the 101 whose Sec-WebSocket-Extensions say which reserved bits and opcodes may be in use.
    """
    extensions = _extensions(opened).keys()
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


def _extensions(opened: Response) -> dict[bytes, list[bytes]]:
    """The extensions that a 101 agrees to, in lower case, with their parameters."""
    agreed = (parameters(value.lower()) for value in opened.fields.values("sec-websocket-extensions"))
    return {name: given for name, *given in agreed}


def messages(data: bytes, at: int, side: Side, opened: Response) -> Iterator[tuple[int, Frame]]:
    """What one side sent, as messages and control frames, each with the offset behind its last octet.

    Ends where a frame is cut or breaks the protocol in a way that leaves its payload in doubt, where an extension
    was agreed on that is not known here, and at the limits. Never raises.
    """
    extensions = _extensions(opened)
    if not extensions.keys() <= {_DEFLATE}:
        return
    inflate = _Inflate(side, extensions[_DEFLATE]) if _DEFLATE in extensions else None
    parts: list[bytes] = []
    begun: WireFrame | None = None
    for number, frame in enumerate(frames(data, at)):
        end = frame.payload + frame.length
        is_first = not frame.is_control and frame.opcode != CONTINUATION
        if (
            number == MAX_MESSAGES
            or end > len(data)
            or frame.opcode not in _NAMES
            or _unexpected_bits(frame, inflate is not None)
            or (not frame.is_control and is_first is (begun is not None))
        ):
            return
        payload = _unmasked(data[frame.payload : end], frame.mask)
        if frame.is_control:
            yield end, _control(side, frame, payload)
            continue
        begun = begun or frame
        parts.append(payload)
        if not frame.fin:
            continue
        content: bytes | None = b"".join(parts)
        if begun.rsv and inflate is not None:
            content = inflate(b"".join(parts))
        if content is None:
            return
        yield end, Frame(side, "TEXT" if begun.opcode == TEXT else "BINARY", content)
        parts, begun = [], None


def _control(side: Side, frame: WireFrame, payload: bytes) -> Frame:
    if frame.opcode == CLOSE:
        return Frame(
            side, "CLOSE", payload[2:], code=int.from_bytes(payload[:2]) if len(payload) > 1 else None
        )
    return Frame(side, "PING" if frame.opcode == PING else "PONG", payload)


def _unmasked(payload: bytes, mask: bytes | None) -> bytes:
    if not mask or mask == b"\0\0\0\0":
        return payload
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


class _Inflate:
    """permessage-deflate as one side uses it (RFC 7692 §7): its messages share a window, unless agreed otherwise."""

    def __init__(self, side: Side, agreed: list[bytes]) -> None:
        self._forgets = b"%s_no_context_takeover" % side.encode() in agreed
        self._left = MAX_INFLATED
        self._window: Any = zlib.decompressobj(-zlib.MAX_WBITS)

    def __call__(self, payload: bytes) -> bytes | None:
        """The message; None where it cannot be had."""
        try:
            # "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message." (§7.2.2)
            content: bytes = self._window.decompress(payload + b"\x00\x00\xff\xff", self._left + 1)
        except zlib.error:
            return None
        self._left -= len(content)
        if self._left < 0:
            return None
        if self._forgets or self._window.eof:
            self._window = zlib.decompressobj(-zlib.MAX_WBITS)
        return content

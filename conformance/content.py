"""What a message's content is once its content coding is undone: octets, a JSON document, a guess at its kind.

Decoded and parsed once per message and kept with it: several rules ask. ``None`` always means "not known": not
recorded, cut off, too large, or in a coding for which no decoder is installed; whether that is a defect is a
rule's business.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from conformance.message import Message, Response

LIMIT = 64 * 1024 * 1024
"""Octets that decoding may yield: a recording from a stranger may hold a bomb."""
NAMED = 8
"""Member names that are remembered for a document that repeats some."""


class Undecodable(ValueError):
    """The content is not what its Content-Encoding says."""


class NotInstalled(Exception):
    """There is a decoder for the coding, but not here."""


class Decoding(NamedTuple):
    """What came of undoing the content codings."""

    octets: bytes | None
    """None: not known."""
    problem: str | None = None
    """Why it cannot be undone; None where it can, or where nobody knows."""
    limit: str | None = None
    """What it is that is larger than LIMIT."""


@dataclass(slots=True)
class Json:
    """What came of reading the content as one JSON document (RFC 8259)."""

    value: Any = None
    problem: str | None = None
    """Why it is none, in the parser's words and with the place; never quotes the content."""
    encoding: str = "utf-8"
    """``utf-8``, or what it is instead: ``utf-8-sig``, ``utf-16-le``, ``not utf-8``..."""
    constants: list[str] = field(default_factory=list)
    """``NaN``, ``Infinity``, ``-Infinity``, which Python reads and the grammar does not know; each once."""
    repeated: list[str] = field(default_factory=list)
    """Names that one object holds twice; the first few."""
    is_sequence: bool = False
    """It is not one document but several, each on a line of its own (NDJSON)."""


def once[T](message: Message, name: str, make: Callable[[Message], T]) -> T:
    """``make(message)``, made once and kept with the message under that name, which begins with ``_``."""
    kept = message.__dict__
    if name not in kept:
        kept[name] = make(message)
    found: T = kept[name]
    return found


# ---- what the fields say


def codings(message: Message) -> list[bytes]:
    """The content codings applied, in order, lower-case, without identity (RFC 9110 §8.4)."""
    listed = (value.lower() for value in message.fields.values("content-encoding"))
    # "A recipient SHOULD consider "x-gzip" to be equivalent to "gzip"" (RFC 9110 §8.4.1.3); so with compress.
    return [_SYNONYMS.get(coding, coding) for coding in listed if coding != b"identity"]


_SYNONYMS = {b"x-gzip": b"gzip", b"x-compress": b"compress"}


def media_type(message: Message) -> bytes | None:
    """``type/subtype`` in lower case; None where Content-Type is missing, repeated, or says no such thing.

    >>> from conformance.message import Fields
    >>> media_type(Message(fields=Fields([(b"Content-Type", b"Text/HTML; charset=utf-8")])))
    b'text/html'
    """
    return once(message, "_media_type", _media_type)


def _media_type(message: Message) -> bytes | None:
    value = message.fields.one("content-type")
    if value is None:
        return None
    essence = value.partition(b";")[0].strip(b" \t").lower()
    return essence if essence.count(b"/") == 1 and b"," not in essence else None


def is_json(media: bytes) -> bool:
    """Whether content of that media type is one JSON document.

    >>> is_json(b"application/problem+json"), is_json(b"application/x-ndjson"), is_json(b"application/stream+json")
    (True, False, False)
    """
    if media.endswith(b"/json"):
        return True
    # application/stream+json is Spring's name for documents one after the other.
    return media.endswith(b"+json") and media != b"application/stream+json"


def is_whole(message: Message) -> bool:
    """Whether the content that is held is all of it, as far as the recording tells."""
    return once(message, "_is_whole", _is_whole)


def _is_whole(message: Message) -> bool:
    if message.body is None or message.partial:
        return False
    if isinstance(message, Response) and message.status == 206:
        return False
    if message.wire is not None:
        return message.wire.state in ("complete", "until-close")
    length = message.fields.one("content-length")
    if message.verbatim and length is not None and length.isdigit() and len(length) < 19:
        return len(message.body) == int(length)
    return True


# ---- content codings


def decoded(message: Message) -> bytes | None:
    """The content with its content coding undone; None where it is not known or cannot be undone."""
    return decoding(message).octets


def decoding(message: Message) -> Decoding:
    """The content with its content coding undone, or why that cannot be done."""
    return once(message, "_decoding", _decoding)


def _decoding(message: Message) -> Decoding:
    content = message.content
    # Recorders that rebuild messages have decoded it. No content is no coding either, whatever the fields say:
    # frameworks leave Content-Encoding on what they answer HEAD, 204 and 304 with.
    if not content or not message.verbatim or "content-encoding" not in message.fields:
        return Decoding(content)
    for coding in reversed(codings(message)):
        decode = DECODERS.get(coding)
        if decode is None:
            return Decoding(None)
        try:
            content = decode(content, not is_whole(message))
        except Undecodable as problem:
            return Decoding(None, f"{coding.decode('ascii')}: {problem}")
        except NotInstalled:
            return Decoding(None)
        if content is None:
            what = f"content in {coding.decode('ascii')} that is more than {LIMIT >> 20} MiB"
            return Decoding(None, limit=what)
    return Decoding(content)


def inflate(octets: bytes, *, partial: bool = False) -> bytes | None:
    """Undo gzip, zlib or raw deflate, told apart by the first octets; None above LIMIT.

    ``partial``: the octets may end anywhere, what they give is given. Raises Undecodable.
    """
    if octets.startswith(b"\x1f"):
        return _inflate(octets, partial, 31)
    # zlib's two octets of header are a multiple of 31 (RFC 1950 §2.2). Servers that send deflate without it
    # exist, and clients read it (RFC 9110 §8.4.1.2).
    has_header = octets[:1] == b"\x78" and int.from_bytes(octets[:2]) % 31 == 0
    return _inflate(octets, partial, 15 if has_header else -15)


def _inflate(octets: bytes, partial: bool, window: int) -> bytes | None:
    found: list[bytes] = []
    room = LIMIT
    rest = octets
    while rest:
        stream = zlib.decompressobj(window)
        try:
            piece = stream.decompress(rest, room)
        except zlib.error as problem:
            if found:
                break  # what follows a whole member may be anything: padding, as a rule
            raise Undecodable(_reason(problem)) from None
        if stream.unconsumed_tail:
            return None
        found.append(piece)
        room -= len(piece)
        if not stream.eof:
            if not partial:
                raise Undecodable("it breaks off")
            break
        if room <= 0:
            return None
        # A gzip file may have several members, which are one after the other (RFC 1952 §2.2).
        rest = stream.unused_data if window == 31 else b""
    return b"".join(found)


def _gunzip(octets: bytes, partial: bool) -> bytes | None:
    return _inflate(octets, partial, 31)


def _undeflate(octets: bytes, partial: bool) -> bytes | None:
    return inflate(octets, partial=partial)


def _unbrotli(octets: bytes, partial: bool) -> bytes | None:
    try:
        import brotli  # type: ignore[import-untyped]  # comes with mitmproxy; slow to load, rarely needed
    except ImportError:
        raise NotInstalled from None
    stream = brotli.Decompressor()
    if not hasattr(stream, "can_accept_more_data"):
        raise NotInstalled  # up to 1.1 it cannot be told to stop
    found: list[bytes] = []
    room = LIMIT
    try:
        piece = stream.process(octets, output_buffer_limit=room)
        while piece:
            found.append(piece)
            room -= len(piece)
            if room <= 0:
                return None
            piece = b"" if stream.is_finished() else stream.process(b"", output_buffer_limit=room)
    except brotli.error as problem:
        raise Undecodable(_reason(problem)) from None
    if not partial and not stream.is_finished():
        raise Undecodable("it breaks off")
    return b"".join(found)


def _unzstd(octets: bytes, partial: bool) -> bytes | None:
    try:
        import zstandard
    except ImportError:
        raise NotInstalled from None
    found: list[bytes] = []
    room = LIMIT
    # More than 8 MB of window is not allowed in this coding (RFC 9659 §3), but no reason to give up the memory.
    decompressor = zstandard.ZstdDecompressor(max_window_size=8 * 2**20)
    rest = octets
    try:
        while rest:
            stream = decompressor.decompressobj()
            at = 0
            while at < len(rest) and not stream.eof:
                # A block of 128 KiB takes four octets at least: so few at a time cannot overshoot by much.
                piece = stream.decompress(rest[at : at + 512])
                at += 512
                found.append(piece)
                room -= len(piece)
                if room <= 0:
                    return None
            if not stream.eof:
                if not partial:
                    raise Undecodable("it breaks off")
                break
            rest = stream.unused_data + rest[at:]
    except zstandard.ZstdError as problem:
        if "memory" in str(problem):
            return None
        raise Undecodable(_reason(problem)) from None
    return b"".join(found)


def _reason(problem: Exception) -> str:
    text = str(problem) or type(problem).__name__
    return text.removeprefix("Error -3 while decompressing data: ")


DECODERS: Mapping[bytes, Callable[[bytes, bool], bytes | None]] = {
    b"gzip": _gunzip,
    b"deflate": _undeflate,
    b"br": _unbrotli,
    b"zstd": _unzstd,
}
"""Coding -> decoder of (octets, whether they may be cut off). RFC 9110 §8.4.1, RFC 7932, RFC 8878."""


# ---- JSON


def document(message: Message) -> Any:
    """The value of the JSON document that the content is; None where there is none."""
    found = json_of(message)
    return None if found is None else found.value


# The first octet of a value, NaN and Infinity among them; a byte order mark; UTF-16 and UTF-32 have a NUL.
_BEGINS_JSON = re.compile(rb"[ \t\r\n]*(?:[{\[\"\-0-9tfnNI]|\xef\xbb\xbf|\xff\xfe|\xfe\xff|\x00)")


def json_of(message: Message) -> Json | None:
    """The content read as JSON, whatever its type says; None where that is not known or not worth trying."""
    return once(message, "_json", _json_of)


def _json_of(message: Message) -> Json | None:
    octets = decoded(message) if message.body is not None and is_whole(message) else None
    return read_json(octets) if octets and _BEGINS_JSON.match(octets) else None


BEYOND = "JSON that nests too deep, or holds too long a number"
"""What is not read here."""


def limits(message: Message) -> Iterator[str]:
    """What was asked of the message and not given, because it is beyond what is read here."""
    kept = message.__dict__
    made: Decoding | None = kept.get("_decoding")
    if made is not None and made.limit is not None:
        yield made.limit
        return
    octets = None if made is None or kept.get("_json", made) is not None else made.octets
    # None is what is no JSON, and what cannot be read though it begins like it.
    if octets and is_whole(message) and _BEGINS_JSON.match(octets):
        yield BEYOND


def is_ordinary_json(message: Message) -> bool:
    """Whether the content is a JSON object or array, labelled as JSON, of which there is nothing to say as such.

    That is: all of it is there, in UTF-8 without a mark; no member is there twice, no number is NaN or infinite.
    """
    # What it is labelled as comes first: other content is not decoded for this.
    media = media_type(message)
    found = json_of(message) if media is not None and is_json(media) else None
    return (
        found is not None
        and found.problem is None
        and found.encoding == "utf-8"
        and not found.constants
        and not found.repeated
        and isinstance(found.value, dict | list)
    )


def read_json(octets: bytes) -> Json | None:
    """Octets read as JSON; None where they nest too deep, or hold too long a number, for us."""
    made = Json()
    text = _text(octets, made)
    try:
        made.value = _ORDINARY.decode(text)
    except (ValueError, RecursionError):
        return _read_odd(text, made)
    return made


def _ordinary(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(name: str) -> float:
    raise ValueError


_ORDINARY = json.JSONDecoder(object_pairs_hook=_ordinary, parse_constant=_no_constant)
"""Refuses whatever there is something to say about; that is then read once more, for the particulars."""


def _read_odd(text: str, made: Json) -> Json | None:
    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs) and len(made.repeated) < NAMED:
            _name_repeated(pairs, made)
        return found

    def constant(name: str) -> float:
        if name not in made.constants:
            made.constants.append(name)
        return float(name)

    try:
        made.value = json.loads(text, object_pairs_hook=members, parse_constant=constant)
    except json.JSONDecodeError as problem:
        made.value = None
        made.problem = f"{problem.msg} (line {problem.lineno}, column {problem.colno})"
        made.is_sequence = problem.msg == "Extra data" and _is_sequence(text)
    except (ValueError, RecursionError):
        return None
    return made


def _text(octets: bytes, made: Json) -> str:
    encoding = made.encoding = json.detect_encoding(octets)
    try:
        return octets.decode(encoding)
    except UnicodeDecodeError:
        # The rest may be sound all the same: one defect is one finding.
        made.encoding = "not utf-8"
        return octets.decode("utf-8", "replace")


def _name_repeated(pairs: list[tuple[str, Any]], made: Json) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen and name not in made.repeated and len(made.repeated) < NAMED:
            made.repeated.append(name)
        seen.add(name)


def _is_sequence(text: str) -> bool:
    try:
        for line in text.splitlines():
            if line.strip():
                json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


# ---- what it looks like

# Whitespace and a byte order mark may stand before text; magic numbers stand first. All for ``match``.
_KINDS: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("gzip", rb"\x1f\x8b\x08"),
        ("zstd", rb"\x28\xb5\x2f\xfd"),
        ("zlib", rb"\x78[\x01\x5e\x9c\xda]"),
        ("png", rb"\x89PNG\r\n\x1a\n"),
        ("jpeg", rb"\xff\xd8\xff"),
        ("gif", rb"GIF8[79]a"),
        ("pdf", rb"%PDF-"),
        ("html", rb"(?i)(?:\xef\xbb\xbf)?[ \t\r\n]*<(?:!doctype html|html|head|body|title|h1)\b"),
        ("xml", rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<\?xml\b"),
        # A field a stream knows, or a comment, up to the end of its line.
        ("event-stream", rb"(?:\xef\xbb\xbf)?[\r\n]*(?:(?:data|event|id|retry):|:[^\r\n]*[\r\n])"),
    )
)


def kind(octets: bytes) -> str | None:
    """What octets look like by how they begin: ``gzip``, ``html``, ``event-stream``...; None if like nothing known.

    >>> kind(b"<!DOCTYPE html><title>502"), kind(b"data: {}"), kind(b"hello")
    ('html', 'event-stream', None)
    """
    head = octets[:1024]
    if head[:1] in (b"{", b"["):
        return None  # which no kind begins with, and almost everything is JSON
    if head.startswith((b"data:", b"event:")):
        return "event-stream"  # as almost everything else
    return next((name for name, pattern in _KINDS if pattern.match(head)), None)

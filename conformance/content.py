"""What a message's content is once its content coding is undone: text, a JSON document.

Decoded once per message and kept with it. ``None`` always means "not known": not recorded, cut off, too large,
or not decodable; whether that is a defect is a rule's business.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from conformance.message import Message

LIMIT = 64 * 1024 * 1024
"""Octets that decoding may yield: a recording from a stranger may hold a bomb."""

_CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})


class Undecodable(ValueError):
    """The content is not what its Content-Encoding says."""


def codings(message: Message) -> list[bytes]:
    """The content codings applied, in order, lower-case, without identity (RFC 9110 §8.4)."""
    return [c for c in (v.lower() for v in message.fields.values("content-encoding")) if c != b"identity"]


def decoded(message: Message) -> bytes | None:
    """The content with its content coding undone; None where it is not known or cannot be undone."""
    kept = message.__dict__
    if "_decoded" not in kept:
        try:
            kept["_decoded"] = _decoded(message)
        except Undecodable:
            kept["_decoded"] = None
    found: bytes | None = kept["_decoded"]
    return found


def _decoded(message: Message) -> bytes | None:
    content = message.content
    if content is None or not message.verbatim:
        return content  # recorders that rebuild messages have decoded it
    for coding in reversed(codings(message)):
        if coding not in _CODINGS:
            return None
        content = inflate(content, partial=message.partial)
    return content


def inflate(octets: bytes, *, partial: bool = False) -> bytes | None:
    """Undo gzip or deflate, also of a stream that is cut off (``partial``); None above LIMIT.

    Raises Undecodable.
    """
    try:
        # 47: zlib or gzip header, told apart by the first octets; deflate without either is seen in the wild.
        stream = zlib.decompressobj(47 if octets[:1] in (b"\x1f", b"\x78") else -15)
        found = stream.decompress(octets, LIMIT)
    except zlib.error as problem:
        raise Undecodable(str(problem)) from None
    if stream.unconsumed_tail:
        return None
    if not stream.eof and not partial and octets:
        raise Undecodable("the compressed content is cut off")
    return found


def document(message: Message) -> Any:
    """The JSON document that the content is; None where there is none."""
    kept = message.__dict__
    if "_document" not in kept:
        octets = None if message.partial else decoded(message)
        kept["_document"] = None
        if octets is not None and octets.lstrip()[:1] in (b"{", b"["):
            try:
                kept["_document"] = json.loads(octets)
            except (ValueError, RecursionError):
                pass
    return kept["_document"]

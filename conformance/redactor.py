"""What is taken out of a recording and what stands there instead, whatever kind of file it is.

Nothing gets longer or shorter (``scramble.py``). Content that is compressed is looked into; with gzip it is
compressed again to the same length, in any other coding it is left out if it holds something to redact.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from conformance import content, scramble, secret
from conformance.message import Fields, Message, Octets, Request, Response, Stream
from conformance.octets import split


@dataclass(slots=True)
class Redacted:
    """What was done."""

    counts: Counter[str] = field(default_factory=Counter)
    """``credentials`` (different ones), ``places``, ``addresses``, ``texts``, and what is left: see ``told``."""
    errors: list[str] = field(default_factory=list)
    """What could not be read, and so is not in the result."""


class Redactor:
    """Rewrites what one recording holds; every method gives as many octets as it takes."""

    def __init__(self, known: Iterable[bytes], key: bytes, *, texts: bool, emails: bool) -> None:
        self.done = Redacted()
        self._key = key
        self._texts = texts
        self._emails = emails
        self._seen: set[int] = set()
        self.know(known)

    def know(self, credentials: Iterable[bytes]) -> None:
        """From now on these are looked for everywhere, and no others."""
        self._known = re.compile(b"|".join(map(re.escape, credentials)) or rb"(?!)")

    def hide(self, credential: bytes) -> bytes:
        """What stands in a credential's place."""
        made = scramble.hidden(credential, self._key)
        if made != credential:
            self.done.counts["places"] += 1
            if hash(credential) not in self._seen and len(self._seen) < 1_000_000:
                self._seen.add(hash(credential))
                self.done.counts["credentials"] += 1
        return made

    def text(self, octets: bytes) -> bytes:
        """Free text: a target, an error, content that is no JSON."""
        return self._addresses(secret.mask_text(self._without_known(octets), self.hide))

    def field(self, name: bytes, value: bytes) -> bytes:
        """The value of a field."""
        return self._addresses(secret.mask_value(name, self._without_known(value), self.hide))

    def _without_known(self, octets: bytes) -> bytes:
        return self._known.sub(lambda match: self.hide(match[0]), octets)

    def _addresses(self, octets: bytes) -> bytes:
        if not self._emails:
            return octets
        made = scramble.without_emails(octets, self._key)
        self.done.counts["addresses"] += made != octets
        return made

    def string(self, text: str) -> str:
        """``text`` for text."""
        return self.text(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def anything(self, value: Any) -> Any:
        """A value of any type, with the texts in it rewritten."""
        match value:
            case bytes():
                return self.text(value)
            case str():
                return self.string(value)
            case dict():
                return {name: self.anything(inside) for name, inside in value.items()}
            case list() | tuple():
                return [self.anything(inside) for inside in value]
        return value

    # --- content

    def plain(self, octets: bytes) -> bytes:
        """Content without content coding, or the content of a frame."""
        octets = self.text(octets)
        if not self._texts or not octets:
            return octets
        made = scramble.without_texts(octets, self._key)
        if made is None:
            self.done.counts["texts"] += 1
            return octets
        return made

    def content(self, message: Message) -> bytes | None:
        """The content of a message as it is to stand there; None: it has to be left out."""
        raw = message.content
        if not raw:
            return raw
        codings = content.codings(message) if message.verbatim else []
        decoded = content.decoded(message) if codings else None
        if decoded is None:  # not coded, or not as it says
            return self.plain(raw)
        made = self.plain(decoded)
        if made == decoded:
            return raw
        packed = _gzipped(made, len(raw)) if codings == [b"gzip"] else None
        self.done.counts["left out"] += packed is None
        return packed

    def message[M: Message](self, message: M) -> M:
        """The message with other fields, target and content; where that has to be left out, x stands there."""
        changes: dict[str, Any] = {
            "fields": Fields([(line.name, self.field(*line)) for line in message.fields]),
            "trailers": Fields([(line.name, self.field(*line)) for line in message.trailers]),
        }
        if message.body is not None:
            made = self.content(message)
            changes["body"] = new = bytes(message.body).translate(_CROSSED) if made is None else made
            old = message.content
            if old is not None and new != old:
                for part in ("fields", "trailers"):
                    lines = [(line.name, digested(line.name, line.value, old, new)) for line in changes[part]]
                    changes[part] = Fields(lines)
        if isinstance(message, Request):
            changes["target"] = self.text(message.target)
        elif isinstance(message, Response):
            changes["reason"] = self.text(message.reason)
        return replace(message, **changes)

    # --- octets

    def stream(self, client: bytes, server: bytes) -> tuple[bytes, bytes]:
        """What both sides of a connection sent, octet by octet."""
        found = split(
            Stream(client=Octets(side="client", data=client), server=Octets(side="server", data=server))
        )
        self.done.counts["bare"] += found.client.switched
        return self._side(found.client), self._side(found.server)

    def _side(self, octets: Octets) -> bytes:
        made = bytearray(octets.data)
        done = 0
        for message in octets.messages:
            if message.wire is None:
                continue
            made[done : message.wire.span.start] = self._lines(octets.data[done : message.wire.span.start])
            for line in (*message.wire.lines, *message.wire.trailer_lines):
                made[line.span.start : line.span.stop] = self._lines(line.text) + line.ending
            new = self._content(made, message)
            for line in (*message.wire.lines, *message.wire.trailer_lines) if new is not None else ():
                name, colon, value = bytes(made[line.span.start : line.span.stop]).partition(b":")
                value = digested(name, value, message.content or b"", new or b"")
                made[line.span.start : line.span.stop] = name + colon + value
            done = message.wire.span.stop
        made[done:] = self._lines(octets.data[done:])
        return bytes(made)

    def _content(self, made: bytearray, message: Message) -> bytes | None:
        """Rewrite content where it lies, which may be in several chunks; what stands there now, if it is other."""
        wire = message.wire
        if wire is None or not message.content:
            return None
        if wire.chunks:
            pieces = [(chunk.header.span.stop, chunk.received) for chunk in wire.chunks]
        else:
            pieces = [(wire.lines[-1].span.stop, len(message.content))]
        redacted = self.content(message)
        if redacted is None:
            redacted = message.content.translate(_CROSSED)
        at = 0
        for start, size in pieces:
            made[start : start + size] = redacted[at : at + size]
            at += size
        return redacted if redacted != message.content else None

    def _lines(self, octets: bytes) -> bytes:
        return b"".join(map(self._line, octets.splitlines(keepends=True)))

    def _line(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b":")
        if not colon or not secret.is_secret_field(name):
            return self.text(line)
        bare = value.strip()
        at = value.find(bare)
        return name + colon + value[:at] + self.field(name, bare) + value[at + len(bare) :]


def digested(name: bytes, value: bytes, old: bytes, new: bytes) -> bytes:
    """The value of a field with the digests of the new content for those of the old one, which are as long."""
    for hashed in _HASHES if name.lower() in _DIGESTS else ():
        value = value.replace(b64encode(hashed(old).digest()), b64encode(hashed(new).digest()))
    return value


_DIGESTS = frozenset({b"content-digest", b"repr-digest", b"digest", b"content-md5"})
_HASHES = (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512)  # RFC 9530 §5, RFC 1864
_CROSSED = bytes(octet if octet == 0x0A else 0x78 for octet in range(256))
"""Lines stay lines: a transcript's are counted."""


def _gzipped(octets: bytes, size: int) -> bytes | None:
    """The octets in gzip, exactly that long; None: they do not get so short."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = packer.compress(octets) + packer.flush()
    room = size - len(deflated) - 18
    if room < 0:
        return None
    # A comment, ended by a NUL, makes up the rest (RFC 1952 §2.3).
    comment = b"x" * (room - 1) + b"\0" if room else b""
    head = b"\x1f\x8b\x08" + (b"\x10" if room else b"\0") + b"\0\0\0\0\x02\xff"
    tail = zlib.crc32(octets).to_bytes(4, "little") + (len(octets) % 2**32).to_bytes(4, "little")
    return head + comment + deflated + tail

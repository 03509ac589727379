"""Structured fields (RFC 9651): the parser of its section 4.2, and which fields are structured.

A recipient that cannot parse such a field has to ignore all of it, so the parser is as strict as the text: it
gives the value, or raises Malformed with the octet at which it stopped. It takes linear time.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

type Kind = Literal["list", "dictionary", "item"]
type Bare = int | float | str | bytes | bool
"""A bare item: Integer or Date, Decimal, String or Token or Display String, Byte Sequence, Boolean."""
type Parameters = dict[str, Bare]
type Member = Item | InnerList


class Token(str):
    """A token: compared like text, but written without quotes."""

    __slots__ = ()


class Date(int):
    """Seconds since 1970."""


class Item(NamedTuple):
    """A bare item with its parameters (RFC 9651 §3.3)."""

    value: Bare
    parameters: Parameters


class InnerList(NamedTuple):
    """Items in parentheses (RFC 9651 §3.1.1)."""

    items: tuple[Item, ...]
    parameters: Parameters


class Malformed(ValueError):
    """The value does not parse: what was expected, and at which octet (from 0)."""


KINDS: Mapping[str, Kind] = {
    "accept-ch": "list",  # RFC 8942 §3.1
    "accept-signature": "dictionary",  # RFC 9421 §5.1
    "cache-groups": "list",  # RFC 9875 §2
    "cache-status": "list",  # RFC 9211 §2
    "cdn-cache-control": "dictionary",  # RFC 9213 §2.1
    "client-cert": "item",  # RFC 9440 §2.2
    "client-cert-chain": "list",  # RFC 9440 §2.3
    "content-digest": "dictionary",  # RFC 9530 §2
    "critical-ch": "list",  # Client Hint Reliability §3
    "priority": "dictionary",  # RFC 9218 §5
    "proxy-status": "list",  # RFC 9209 §2
    "repr-digest": "dictionary",  # RFC 9530 §3
    "sec-ch-ua": "list",  # User-Agent Client Hints §3
    "sec-ch-ua-arch": "item",
    "sec-ch-ua-bitness": "item",
    "sec-ch-ua-full-version-list": "list",
    "sec-ch-ua-mobile": "item",
    "sec-ch-ua-model": "item",
    "sec-ch-ua-platform": "item",
    "sec-ch-ua-platform-version": "item",
    "sec-fetch-dest": "item",  # Fetch Metadata §2
    "sec-fetch-mode": "item",
    "sec-fetch-site": "item",
    "sec-fetch-user": "item",
    "signature": "dictionary",  # RFC 9421 §4.2
    "signature-input": "dictionary",  # RFC 9421 §4.1
    "want-content-digest": "dictionary",  # RFC 9530 §4
    "want-repr-digest": "dictionary",
}
"""Fields that are defined as structured ones. Those that bind a browser to a policy (Permissions-Policy,
Cross-Origin-Opener-Policy) are topic browser's."""

# key = ( lcalpha / "*" ) *( lcalpha / DIGIT / "_" / "-" / "." / "*" )                  (RFC 9651 §3.1.2)
_KEY = re.compile(rb"[a-z*][a-z0-9_\-.*]*")
# sf-token = ( ALPHA / "*" ) *( tchar / ":" / "/" )                                     (RFC 9651 §3.3.4)
_TOKEN = re.compile(rb"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
# sf-integer = ["-"] 1*15DIGIT; sf-decimal = ["-"] 1*12DIGIT "." 1*3DIGIT               (RFC 9651 §3.3.1, 3.3.2)
_NUMBER = re.compile(rb"-?(?:(?P<decimal>[0-9]{1,12}\.[0-9]{1,3})|[0-9]{1,15})(?![0-9.])")
# sf-string = DQUOTE *( unescaped / "%" / bs-escaped ) DQUOTE                           (RFC 9651 §3.3.3)
_STRING = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
# sf-binary = ":" base64 ":"                                                            (RFC 9651 §3.3.5)
_BINARY = re.compile(rb":([A-Za-z0-9+/]*={0,2}):")
# sf-boolean = "?" ( "0" / "1" )                                                        (RFC 9651 §3.3.6)
_BOOLEAN = re.compile(rb"\?[01]")
# sf-date = "@" sf-integer                                                              (RFC 9651 §3.3.7)
_DATE = re.compile(rb"@(-?[0-9]{1,15})(?![0-9.])")
# sf-displaystring = "%" DQUOTE *( unescaped / "\" / pct-encoded ) DQUOTE               (RFC 9651 §3.3.8)
_DISPLAY = re.compile(rb'%"((?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*)"')
_OWS = re.compile(rb"[ \t]*")
_SP = re.compile(rb" *")


def parse_list(value: bytes) -> list[Member]:
    """The members of a List; the lines of a field are joined by commas before.

    >>> [member.value for member in parse_list(b"a, 1;q=0.5")]
    ['a', 1]
    """
    return _whole(_Reader(value), _Reader.sequence)


def parse_dictionary(value: bytes) -> dict[str, Member]:
    """The members of a Dictionary by key; a key that comes again replaces the one before.

    >>> parse_dictionary(b"u=1, i")["i"].value
    True
    """
    return _whole(_Reader(value), _Reader.mapping)


def parse_item(value: bytes) -> Item:
    """One Item.

    >>> parse_item(b"?0"), parse_item(b':aGk=:').value
    (Item(value=False, parameters={}), b'hi')
    """
    return _whole(_Reader(value), _Reader.item)


PARSERS: Mapping[Kind, Callable[[bytes], object]] = {
    "list": parse_list,
    "dictionary": parse_dictionary,
    "item": parse_item,
}


def _whole[T](reader: _Reader, parse: Callable[[_Reader], T]) -> T:
    reader.skip(_SP)
    value = parse(reader)
    reader.skip(_SP)
    if reader.rest:
        raise reader.stopped("the end")
    return value


class _Reader:
    """The octets and how far they have been read."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.at = 0

    @property
    def rest(self) -> int:
        return len(self.value) - self.at

    def stopped(self, expected: str) -> Malformed:
        return Malformed(f"{expected} is expected at octet {self.at}")

    def skip(self, pattern: re.Pattern[bytes]) -> None:
        found = pattern.match(self.value, self.at)
        self.at = found.end() if found else self.at

    def take(self, octet: bytes) -> bool:
        """Whether this octet comes next; then it is read."""
        is_next = self.value.startswith(octet, self.at)
        self.at += is_next
        return is_next

    def need(self, pattern: re.Pattern[bytes], expected: str) -> re.Match[bytes]:
        found = pattern.match(self.value, self.at)
        if found is None:
            raise self.stopped(expected)
        self.at = found.end()
        return found

    def sequence(self) -> list[Member]:
        members: list[Member] = []
        while self.rest:
            members.append(self.member())
            if not self.comma():
                break
        return members

    def mapping(self) -> dict[str, Member]:
        members: dict[str, Member] = {}
        while self.rest:
            key = self.key()
            member = self.member() if self.take(b"=") else Item(True, self.parameters())
            members.pop(key, None)  # the last one stands, and in its place
            members[key] = member
            if not self.comma():
                break
        return members

    def comma(self) -> bool:
        """Read what separates two members; False at the end."""
        self.skip(_OWS)
        if not self.rest:
            return False
        if not self.take(b","):
            raise self.stopped("a comma")
        self.skip(_OWS)
        if not self.rest:
            raise self.stopped("another member")
        return True

    def member(self) -> Member:
        return self.inner_list() if self.value.startswith(b"(", self.at) else self.item()

    def inner_list(self) -> InnerList:
        self.take(b"(")
        items: list[Item] = []
        while True:
            self.skip(_SP)
            if self.take(b")"):
                return InnerList(tuple(items), self.parameters())
            items.append(self.item())
            if self.value[self.at : self.at + 1] not in (b" ", b")"):
                raise self.stopped("a space or a closing parenthesis")

    def item(self) -> Item:
        return Item(self.bare(), self.parameters())

    def parameters(self) -> Parameters:
        found: Parameters = {}
        while self.take(b";"):
            self.skip(_SP)
            key = self.key()
            found.pop(key, None)
            found[key] = self.bare() if self.take(b"=") else True
        return found

    def key(self) -> str:
        return self.need(_KEY, "a key in lower case")[0].decode()

    def bare(self) -> Bare:
        begin = self.value[self.at : self.at + 1]
        if begin == b'"':
            text = self.need(_STRING, "a string that ends")[1]
            return re.sub(rb"\\(.)", rb"\1", text).decode()
        if begin == b":":
            found = self.need(_BINARY, "base64 that ends with a colon")
            try:
                return base64.b64decode(_padded(found[1]))
            except binascii.Error:
                self.at = found.start()
                raise self.stopped("base64") from None
        if begin == b"?":
            return self.need(_BOOLEAN, "?0 or ?1")[0] == b"?1"
        if begin == b"@":
            return Date(self.need(_DATE, "a date in seconds")[1])
        if begin == b"%":
            found = self.need(_DISPLAY, "a display string that ends")
            try:
                return _display(found[1])
            except UnicodeDecodeError:
                self.at = found.start()
                raise self.stopped("a display string in UTF-8") from None
        if begin and begin in b"-0123456789":
            found = self.need(_NUMBER, "a number")
            return float(found[0]) if found["decimal"] else int(found[0])
        return Token(self.need(_TOKEN, "an item")[0].decode())


def _padded(encoded: bytes) -> bytes:
    # "parsers SHOULD NOT fail" for want of padding (RFC 9651 §4.2.7)
    return encoded.rstrip(b"=") + b"=" * (-len(encoded.rstrip(b"=")) % 4)


def _display(encoded: bytes) -> str:
    return re.sub(rb"%([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), encoded).decode()

"""What parsers say when they refuse a message, and which rule those words stand for.

A message that mitmproxy refused survives in a flow file only as ``flow.error``; what h11 refuses in our
replay it says in its own words. Both vocabularies are tables here, read off the sources of mitmproxy 12.2
(``net/http/http1/read.py``, ``net/http/validate.py``, ``proxy/layers/http``) and h11 0.16.

Only words that a parser says about a malformed message are listed. What is not listed (``Client
disconnected.``, ``server closed connection``, ``Connection killed.``, ``[Errno 111]``, timeouts, resets) is
nobody's malformed message and makes no refusal. Nor do HTTP/2 protocol errors: the rules of RFC 9112 do not
cover them, and what those words mean is for the rules about HTTP/2 to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

from conformance import known
from conformance.grammar import (
    CHUNK_SIZE,
    CHUNK_SIZE_DIGITS,
    CR_LF_NUL,
    DIGITS,
    HTTP_VERSION,
    OBS_TEXT,
    OTHER_CTL,
    OWS,
    STATUS_CODE,
    TOKEN,
    hides_coding,
)
from conformance.message import Exchange, Message, Origin, Refusal, Request

type Part = Literal["request", "response"]
type Verdict = str | Literal[False] | None
"""The rule the words stand for; None where no rule names the reason; False where nobody did wrong."""
type Judge = Callable[[str, Message | None], Verdict]
"""(what the words quote, the message they are about, as far as it was recorded) -> verdict."""

MAX_ERROR = 140_000
"""Characters of an error text that are read: mitmproxy quotes whole lines, and buffers."""
MAX_WORDS = 2000
"""Characters of it that are kept."""


def classify(error: str, exchange: Exchange) -> tuple[Refusal, ...]:
    """The refusals that mitmproxy's error text on this exchange stands for: one, or none.

    ``exchange`` holds what was recorded beside the error: the refused head, unless that could not be read.
    """
    error = error[:MAX_ERROR]
    kept = error if len(error) <= MAX_WORDS else error[: MAX_WORDS - 1] + "…"
    for pattern, part in _MITMPROXY:
        if found := pattern.fullmatch(error):
            words = found["words"]
            part = part or found.groupdict().get("who") or _half_read(words, exchange)
            side: Part = "request" if part in ("request", "client") else "response"
            message = exchange.request if side == "request" else exchange.response
            if _is_trailer_crash(words, message):
                return (Refusal(kept, None, side, "recorder", "mitmproxy"),)
            verdict = verdict_on(words, message, is_request=side == "request")
            if verdict is False:
                return ()
            origin: Origin = "client" if side == "request" else "server"
            return (Refusal(kept, verdict, side, origin, "mitmproxy"),)
    return ()


def verdict_on(words: str, message: Message | None, *, is_request: bool) -> Verdict:
    """Which rule a parser's words about a message stand for."""
    for pattern, verdict in _WORDS:
        if found := pattern.fullmatch(words):
            if is_request and verdict in ("body-shorter-than-content-length", "chunked-body-truncated"):
                # A request that breaks off is its client's doing, however its length was announced.
                return "incomplete-request"
            return verdict(found["q"], message) if callable(verdict) else verdict
    if words == "peer unexpectedly closed connection":
        return "incomplete-request" if is_request else None
    return None


def _half_read(words: str, exchange: Exchange) -> Part:
    """Whose body mitmproxy was reading when it said ``HTTP/1 protocol error``: it does not tell.

    It reads a response's body after it has kept the response's head; a server may answer early, but then the
    request was streamed and its content is not recorded.
    """
    if exchange.response is None:
        return "request"
    request, response = exchange.request, exchange.response
    if request.body is None and (missing := _EXPECTED.search(words)):
        of_response = [value.lstrip(b"0") for value in response.fields.values("content-length")]
        of_request = [value.lstrip(b"0") for value in request.fields.values("content-length")]
        if missing[1].encode() in of_request and missing[1].encode() not in of_response:
            return "request"
    if request.body is None and "chunk" in words and "transfer-encoding" not in response.fields:
        return "request" if "transfer-encoding" in request.fields else "response"
    return "response"


_EXPECTED = re.compile(r"expected ([0-9]+)\)")


def _is_trailer_crash(words: str, message: Message | None) -> bool:
    # mitmproxy 12 cannot read HTTP/1 trailers (mitmproxy#2474): its handler dies with NotImplementedError
    # behind the last chunk, and when the server closes it reports the conformant response as cut.
    return "incomplete chunked read" in words and message is not None and "trailer" in message.fields


# ---- what was quoted


def _octets(quoted: str) -> bytes:
    """The octets a parser quotes: ``b'...'``, ``bytearray(b'...')``, ``'...'``; what is no quote as it is."""
    found = _QUOTE.search(quoted)
    return _unescaped(found[1] or found[2] or "") if found else quoted.encode()


def _values(quoted: str) -> list[bytes]:
    """The octets of a quoted list, ``[b'5', b'6']``, or of one value that holds the lines joined."""
    if quoted.startswith("["):
        return [_unescaped(found[1] or found[2] or "") for found in _QUOTE.finditer(quoted)]
    # mitmproxy joins the lines of a field by comma and space before it looks at it.
    return _octets(quoted).split(b", ")


def _unescaped(text: str) -> bytes:
    return _ESCAPE.sub(
        lambda m: bytes.fromhex(m[1].decode()) if m[1] else _SINGLE.get(m[2], m[2]), text.encode()
    )


# The closing quote is optional: a text cut in its middle must not make every later quote a new beginning.
_QUOTE = re.compile(r"""'((?:[^'\\]|\\.)*+)'?|"((?:[^"\\]|\\.)*+)"?""", re.DOTALL)
# A str from octets that are no UTF-8 holds them as lone surrogates, U+DC80 to U+DCFF.
_ESCAPE = re.compile(rb"\\(?:(?:x|udc)([0-9a-fA-F]{2})|(.))", re.DOTALL)
_SINGLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t"}


def _lines(quoted: str, message: Message | None, name: str) -> list[bytes]:
    """The field's lines as recorded, or else as quoted."""
    if message is not None and name in message.fields:
        return [line.value for line in message.fields.lines(name)]
    return _values(quoted)


def _field_line(quoted: str, message: Message | None) -> Verdict:
    line = _octets(quoted)
    name, colon, value = line.partition(b":")
    if not line:
        return None
    if not colon:
        return "header-colon-missing"
    return _name_rule(name) or _value_rule(value.strip(OWS))


def _field_name(quoted: str, message: Message | None) -> Verdict:
    return _name_rule(_octets(quoted))


def _name_rule(name: bytes) -> str | None:
    if not name:
        return "header-name-empty"
    if TOKEN.fullmatch(name):
        return None
    return "space-before-header-colon" if TOKEN.fullmatch(name.rstrip(OWS)) else "header-name-malformed"


def _value_rule(value: bytes) -> str | None:
    if b"\r" in value and b"\n" not in value and b"\0" not in value:
        return "bare-carriage-return"
    if CR_LF_NUL.search(value):
        return "newline-or-nul-in-header"
    return "control-character-in-header" if OTHER_CTL.search(value) else None


def _request_line(quoted: str, message: Message | None) -> Verdict:
    line = _octets(quoted)
    words = line.split(None, 1)
    if len(words) < 2:
        return None
    *rest, version = words[1].rsplit(None, 1)
    target = b"".join(rest)
    if not version.upper().startswith(b"HTTP"):
        return None
    if b"\r" in line and b"\r" not in words[0] + target.strip():
        return "bare-carriage-return"
    if not HTTP_VERSION.fullmatch(version):
        return "http-version-malformed"
    if not TOKEN.fullmatch(words[0]):
        return "method-malformed"
    if line != b"%s %s %s" % (words[0], target, version):
        return "extra-space-in-start-line"
    if any(octet <= 0x20 or octet == 0x7F for octet in target):
        return "illegal-character-in-request-target"
    return "non-ascii-request-target" if OBS_TEXT.search(target) else None


def _status_line(quoted: str, message: Message | None) -> Verdict:
    line = _octets(quoted)
    if line[:4].upper() != b"HTTP":
        return None
    words = line.split(None, 2)
    if b"\r" in line:
        return "bare-carriage-return"
    if not HTTP_VERSION.fullmatch(words[0]):
        return "http-version-malformed"
    if line.split(b" ", 2)[:2] != words[:2]:
        return "extra-space-in-start-line"
    return None if len(words) > 1 and STATUS_CODE.fullmatch(words[1]) else "status-code-malformed"


def _content_length(quoted: str, message: Message | None) -> Verdict:
    return length_rule(_lines(quoted, message, "content-length"))


def length_rule(lines: Iterable[bytes]) -> str | None:
    """What is wrong with these Content-Length lines, by the rule's name."""
    lines = list(lines)
    lengths = [part.strip(OWS) for line in lines for part in line.split(b",")]
    if not all(DIGITS.fullmatch(length) for length in lengths if length) or not any(lengths):
        return "content-length-malformed"
    if len({length.lstrip(b"0") for length in lengths if length}) > 1:
        return "conflicting-content-length"
    if len(lines) > 1:
        return "duplicate-content-length"
    if len(lengths) > 1:
        return "joined-content-length"
    if len(lengths[0].lstrip(b"0")) > 18:
        return "content-length-too-large"
    return "content-length-leading-zero" if lengths[0].startswith(b"0") and len(lengths[0]) > 1 else None


def _transfer_encoding(quoted: str, message: Message | None) -> Verdict:
    lines = _lines(quoted, message, "transfer-encoding")
    return coding_rule(lines, is_request=message is None or isinstance(message, Request))


def coding_rule(lines: Iterable[bytes], *, is_request: bool) -> Verdict:
    """What is wrong with these Transfer-Encoding lines, by the rule's name.

    False: nothing is. ``gzip, chunked`` is conformant, and a parser that does not support it says so.
    """
    lines = list(lines)
    if any(hides_coding(line) for line in lines):
        return "obfuscated-transfer-encoding"
    members = [part.strip(OWS).lower() for line in lines for part in line.split(b",")]
    codings = [member.partition(b";")[0].strip(OWS) for member in members]
    if codings.count(b"chunked") > 1:
        return "chunked-applied-twice"
    if b"identity" in codings:
        return "identity-transfer-coding"
    if codings != members or not known.TRANSFER_CODINGS.issuperset(codings):
        return "unknown-transfer-coding"
    if codings[-1] != b"chunked" and (is_request or b"chunked" in codings):
        return "chunked-not-final-coding"
    return "duplicate-transfer-encoding" if len(lines) > 1 else False


def _chunk_header(quoted: str, message: Message | None) -> Verdict:
    line = _octets(quoted)
    if b"\n" in line.removesuffix(b"\r\n"):
        # h11 looks for CRLF; a line that holds LF ended before it.
        return "bare-line-feed-in-chunk"
    size, semicolon, _ = line.removesuffix(b"\r\n").partition(b";")
    if semicolon and CHUNK_SIZE.fullmatch(size) is None and CHUNK_SIZE.fullmatch(size.rstrip(OWS)):
        # "2 ;a=b": the grammar has room for it, but "a sender MUST NOT generate BWS" (RFC 9110 §5.6.3).
        return "chunk-extension-malformed"
    is_hex = CHUNK_SIZE.fullmatch(size) is not None
    return (
        "chunk-size-overflow"
        if is_hex and len(size.lstrip(b"0")) > CHUNK_SIZE_DIGITS
        else "chunk-size-malformed"
    )


def _chunk_footer(quoted: str, message: Message | None) -> Verdict:
    return "bare-line-feed-in-chunk" if _octets(quoted).startswith(b"\n") else "chunk-terminator-missing"


# ---- the vocabularies

_REFUSED = {
    r"Received (?P<words>.+) from (?P<who>client|server), refusing to prevent request smuggling.*": "",
    r"Cannot parse HTTP response: (?P<words>.*)": "response",
    r"(?P<words>unexpected server response: .*)": "response",
    r"HTTP/1 protocol error: (?P<words>.*)": "",
    r"(?P<words>invalid content-length header: .*)": "request",
    r"(?P<words>(?:unknown|invalid) transfer-encoding header: .*)": "request",
    r"(?P<words>Invalid request scheme: .*)": "request",
}
"""mitmproxy's error text -> whose message it is about; empty where the words or the exchange tell."""

_STAND_FOR: dict[str, str | Judge | Literal[False]] = {
    # mitmproxy/net/http/validate.py
    r"invalid header name: (?P<q>.*)": _field_name,
    r"message with both transfer-encoding and content-length.*": "content-length-with-transfer-encoding",
    r"multiple transfer-encoding headers: .*": "duplicate-transfer-encoding",
    # HTTP/2 has a rule of its own for Transfer-Encoding; it sees the field.
    r"unexpected HTTP transfer[- ]encoding .* for HTTP/[23].*": False,
    r"unexpected HTTP transfer[- ]encoding .* for HTTP/1\.0.*": "transfer-encoding-in-http10",
    r"unexpected HTTP transfer[- ]encoding .* for response .*": "transfer-encoding-on-1xx-or-204",
    r"unexpected HTTP transfer[- ]encoding (?P<q>.*) for request": _transfer_encoding,
    r"(?:unknown|invalid) transfer-encoding header: (?P<q>.*)": _transfer_encoding,
    r"(?:invalid content-length header|multiple content-length headers): (?P<q>.*)": _content_length,
    # mitmproxy/net/http/http1/read.py
    r"Bad HTTP request line: (?P<q>.*)": _request_line,
    r"Bad HTTP response line: (?P<q>.*)": _status_line,
    r"Invalid headers": "space-before-first-header",
    r"Invalid header line: (?P<q>.*)": _field_line,
    # h11/_readers.py
    r"illegal request line: (?P<q>.*)": _request_line,
    r"illegal status line: (?P<q>.*)": _status_line,
    r"illegal header line: (?P<q>.*)": _field_line,
    r"continuation line at start of headers": "space-before-first-header",
    r"illegal chunk header: (?P<q>.*)": _chunk_header,
    r"malformed chunk footer: (?P<q>.*) \(expected [^(]*\)": _chunk_footer,
    r"peer closed connection [^(]*\(incomplete chunked read\)": "chunked-body-truncated",
    r"peer closed connection [^(]*\(received [^(,]* bytes, expected [^(,]*\)": "body-shorter-than-content-length",
    # h11/_headers.py, h11/_events.py, h11/_state.py
    r"conflicting Content-Length headers": "conflicting-content-length",
    r"bad Content-Length(?P<q>)": _content_length,
    r"multiple Transfer-Encoding headers": "duplicate-transfer-encoding",
    r"Only Transfer-Encoding: chunked is supported(?P<q>)": _transfer_encoding,
    r"Missing mandatory Host: header": "host-missing",
    r"Found multiple Host: headers": "duplicate-host",
    r"InformationalResponse status_code should be .*": "status-code-out-of-range",
    r"Received server _SWITCH_UPGRADE event without a pending proposal": "unrequested-101",
}
"""A parser's words -> the rule they stand for, or who finds it out. ``q`` is what the parser quotes."""

_MITMPROXY = [(re.compile(pattern, re.DOTALL), part) for pattern, part in _REFUSED.items()]
_WORDS = [(re.compile(pattern, re.DOTALL), verdict) for pattern, verdict in _STAND_FOR.items()]

"""Where a message ends: Content-Length, Transfer-Encoding, chunks, trailers.

Two recipients that disagree on the end of a message disagree on the beginning of the next one. That is a
broken agent run when it happens by accident, and request smuggling when on purpose (RFC 9112 §11.2).

A recording by mitmproxy hides most of this: it refuses, drops or re-chunks before it records. What is left
is its error text, which the linter turns into findings of the rules here, and octets, where it has them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from conformance.grammar import (
    CHUNK_EXTENSIONS,
    CHUNK_SIZE,
    CHUNK_SIZE_DIGITS,
    DIGITS,
    OWS,
    hides_coding,
    parameters,
)
from conformance.known import TRAILERS_FORBIDDEN, TRANSFER_CODINGS
from conformance.message import Exchange, FieldLine, Line, Message, Octets, Refusal, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown

CL = ("content-length",)
TE = ("transfer-encoding",)


_COUNT = re.compile(rb"[0-9]{1,18}")


def _lengths(message: Message) -> list[tuple[FieldLine, bytes]]:
    """Each length that Content-Length gives, with its line: ``5, 5`` gives two."""
    lines = message.fields.lines("content-length")
    return [(line, part.strip(OWS)) for line in lines for part in line.value.split(b",")]


def _length(message: Message) -> int | None:
    """The length that frames the message; None where there is none, or nobody can say which."""
    said = message.fields.one("content-length")
    if said is None and "content-length" not in message.fields:
        return None
    if said is not None and "transfer-encoding" not in message.fields and _COUNT.fullmatch(said):
        return int(said)  # as almost always
    lengths = {value.lstrip(b"0") or b"0" for _, value in _lengths(message) if value}
    length = lengths.pop() if len(lengths) == 1 and "transfer-encoding" not in message.fields else b""
    return int(length) if DIGITS.fullmatch(length) and len(length) < 19 else None


def _codings(message: Message) -> list[tuple[FieldLine, bytes]]:
    """Each member of Transfer-Encoding in lower case, with its line; none where they are hidden."""
    lines = message.fields.lines("transfer-encoding") if message.is_http1 else ()
    if any(hides_coding(line.value) for line in lines):
        return []
    return [(line, part.strip(OWS).lower()) for line in lines for part in line.value.split(b",")]


def _name(coding: bytes) -> bytes:
    return coding.partition(b";")[0].strip(OWS)


def _is_bodiless(exchange: Exchange) -> bool:
    """Whether the final response ends with its header section, whatever its fields say (RFC 9112 §6.3)."""
    method, status = exchange.request.method, exchange.response.status if exchange.response else 0
    return (
        method == b"HEAD"
        or 100 <= status < 200
        or status in (204, 304)
        or (method == b"CONNECT" and 200 <= status < 300)
    )


def _chunk_size(line: Line) -> bytes:
    return line.text.partition(b";")[0]


# ---- Content-Length


@rule(
    *("RFC 9112 §6.2", "RFC 9112 §6.3", "RFC 9110 §8.6", "RFC 7230 §3.3.2", "RFC 7230 §3.3.3"),
    severity=ERROR,
    fix="dedupe-headers",
    fields=TE,
    verbatim=True,
)
def content_length_with_transfer_encoding(message: Message) -> Hits:
    """The message has both Content-Length and Transfer-Encoding.

    Recipients that disagree on which one wins disagree on where the message ends: request smuggling. aiohttp,
    node, envoy 1.40.0 and mitmproxy refuse it, as client and as server; h11, httpx, Go and curl accept it and
    take the chunks. A gateway that forwards its upstream's Content-Length and streams the content is the
    usual source.

    > A sender MUST NOT send a Content-Length header field in any message that contains a Transfer-Encoding
    > header field.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        > Transfer-Encoding: chunked

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked
    """
    if message.is_http1 and "transfer-encoding" in message.fields:
        coding = message.fields.lines("transfer-encoding")[0]
        for line in message.fields.lines("content-length"):
            beside = f"Transfer-Encoding {shown(coding.name, coding.value)}"
            yield line, f"Content-Length {shown(line.name, line.value)} stands beside {beside}"


@rule(
    *("RFC 9110 §8.6", "RFC 9112 §6.3", "RFC 7230 §3.3.2", "RFC 7230 §3.3.3"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=CL,
    verbatim=True,
    odd=True,
)
def conflicting_content_length(message: Message) -> Hits:
    """The message has Content-Length values that differ.

    Every client refuses the response and every server but h2o 2.2.5 the request; what a lenient hop takes for
    the end, the next one does not.

    > If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then
    > the message framing is invalid and the recipient MUST treat it as an unrecoverable error

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 295
        > Content-Length: 319

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 295
    """
    lengths = [(line, value) for line, value in _lengths(message) if DIGITS.fullmatch(value)]
    for line, value in lengths[1:]:
        if value.lstrip(b"0") != lengths[0][1].lstrip(b"0"):
            first = shown(lengths[0][0].name, lengths[0][1])
            yield line, f"Content-Length {shown(line.name, value)} contradicts Content-Length {first}"


@rule(
    *("RFC 9110 §8.6", "RFC 9112 §6.3", "RFC 7230 §3.3.2"),
    severity=ERROR,
    fix="dedupe-headers",
    evidence="headers | error | octets",
    fields=CL,
    verbatim=True,
    odd=True,
)
def duplicate_content_length(message: Message) -> Hits:
    """Content-Length is repeated with the same value.

    aiohttp, node, httptools and envoy refuse the response, and the servers built on them the request; h11,
    httpx and Go merge the lines silently, so that the run works until a component is exchanged. A framework
    that adds the length beside the one copied from its upstream is the usual source.

    > a sender MUST NOT forward a message with a Content-Length header field value that does not match the
    > ABNF above, with one exception: a recipient of a Content-Length header field value consisting of the
    > same decimal value repeated as a comma-separated list (e.g, "Content-Length: 42, 42") MAY either reject
    > the message as invalid or replace that invalid field value with a single instance of the decimal value

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < content-length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    first, *more = message.fields.lines("content-length") or (None,)
    for line in more:
        same = first is not None and line.value.lstrip(b"0") == first.value.lstrip(b"0")
        if same and DIGITS.fullmatch(line.value):
            yield line, f"Content-Length {shown(line.name, line.value)} is said again"


@rule(
    *("RFC 9110 §8.6", "RFC 9112 §6.3", "RFC 7230 §3.3.2"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=CL,
    verbatim=True,
    odd=True,
)
def joined_content_length(message: Message) -> Hits:
    """Content-Length holds a comma-separated list.

    A hop joined two lines into one. More recipients refuse the list than the two lines it was made of: Go,
    caddy, apache and hyper among them; h11 and httpx merge it.

    > Content-Length = 1*DIGIT

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2, 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    if not any(b"," in line.value for line in message.fields.lines("content-length")):
        return
    values = [value for _, value in _lengths(message) if value]
    if all(map(DIGITS.fullmatch, values)) and len({value.lstrip(b"0") for value in values}) == 1:
        for line in message.fields.lines("content-length"):
            if b"," in line.value:
                yield line, f"Content-Length {shown(line.name, line.value)} is a list"


@rule(
    *("RFC 9110 §8.6", "RFC 7230 §3.3.2"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=CL,
    odd=True,
)
def content_length_malformed(message: Message) -> Hits:
    """Content-Length is not a sequence of digits.

    Parsers refuse it. Programs that convert with a lenient integer parser read ``+11``, ``1_1`` or ``0xb`` as
    a length and open a gap to smuggle a request through.

    > Content-Length = 1*DIGIT

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: +11

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 11
    """
    for line in message.fields.lines("content-length"):
        values = [part.strip(OWS) for part in line.value.split(b",")]
        if not any(values) or not all(DIGITS.fullmatch(value) for value in values if value):
            yield line, f"Content-Length {shown(line.name, line.value)} is no number of octets"


@rule(
    *("RFC 9110 §8.6", "RFC 7230 §3.3.2"),
    severity=WARNING,
    evidence="headers | error | octets",
    fields=CL,
    breaks=("mitmproxy",),
    odd=True,
)
def content_length_leading_zero(message: Message) -> Hits:
    """Content-Length has leading zeros.

    The grammar allows them, but a parser that reads octal computes another length: ``010`` is ten octets or
    eight. mitmproxy refuses the message.

    > Content-Length = 1*DIGIT

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 010

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
    """
    for line, value in _lengths(message):
        if value.startswith(b"0") and len(value) > 1 and DIGITS.fullmatch(value):
            yield line, f"Content-Length {shown(line.name, value)} begins with zero"


@rule("RFC 9110 §8.6", "RFC 7230 §3.3.2", severity=WARNING, fields=CL, breaks=("node 20",), odd=True)
def content_length_too_large(message: Message) -> Hits:
    """Content-Length is larger than a signed 64-bit integer.

    The value overflows and wraps around to a small length, or a negative one. node refuses it, h11 from 21
    digits.

    > a recipient MUST anticipate potentially large decimal numerals and prevent parsing errors due to integer
    > conversion overflows

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 18446744073709551617

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 17
    """
    for line, value in _lengths(message):
        digits = value.lstrip(b"0")
        if DIGITS.fullmatch(value) and (len(digits), digits) > (19, b"9223372036854775807"):
            yield line, f"Content-Length {shown(line.name, value, 40)} needs more than 63 bits"


@rule("RFC 9110 §8.6", "RFC 7230 §3.3.2", severity=ERROR, fields=CL, verbatim=True)
def content_length_on_1xx_or_204(response: Response) -> Hits:
    """A 1xx or 204 response carries Content-Length.

    Such a response ends with its header section. Clients that wait for the announced octets hang, or take the
    next response for content. On a 101 it is 101-with-content-headers.

    > A server MUST NOT send a Content-Length header field in any response with a status code of 1xx
    > (Informational) or 204 (No Content).

    Bad::

        > DELETE /v1/files/file-1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > DELETE /v1/files/file-1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
    """
    if (100 <= response.status < 200 and response.status != 101) or response.status == 204:
        for line in response.fields.lines("content-length"):
            yield line, f"a {response.status} response has Content-Length {shown(line.name, line.value)}"


# ---- Transfer-Encoding


@rule(
    *("RFC 9112 §6.1", "RFC 7230 §3.3.1"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=TE,
    verbatim=True,
    breaks=("mitmproxy",),
)
def transfer_encoding_on_1xx_or_204(response: Response) -> Hits:
    """A 1xx or 204 response carries Transfer-Encoding.

    Such a response ends with its header section. mitmproxy refuses it, and a client that looks for chunks
    reads the next response as a chunk size.

    > A server MUST NOT send a Transfer-Encoding header field in any response with a status code of 1xx
    > (Informational) or 204 (No Content).

    Bad::

        > DELETE /v1/files/file-1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked

    Good::

        > DELETE /v1/files/file-1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
    """
    if response.is_http1 and (100 <= response.status < 200 or response.status == 204):
        for line in response.fields.lines("transfer-encoding"):
            yield line, f"a {response.status} response has Transfer-Encoding {shown(line.name, line.value)}"


@rule(
    *("RFC 9112 §6.1", "RFC 7230 §3.3.1"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=TE,
    verbatim=True,
)
def transfer_encoding_in_http10(message: Message) -> Hits:
    """An HTTP/1.0 message carries Transfer-Encoding.

    HTTP/1.0 has no such header: old hops read on to the end of the connection and show the chunk sizes as
    content, new ones read chunks. mitmproxy refuses it.

    > A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST
    > treat the message as if the framing is faulty, even if a Content-Length is present, and close the
    > connection after processing the message.

    Bad::

        > POST /v1/messages HTTP/1.0
        > Host: api.example
        > Transfer-Encoding: chunked

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked
    """
    if message.version == b"HTTP/1.0":
        for line in message.fields.lines("transfer-encoding"):
            yield line, f"HTTP/1.0 has no Transfer-Encoding, here {shown(line.name, line.value)}"


@rule("RFC 9112 §6.1", "RFC 7230 §3.3.1", severity=ERROR, fields=TE)
def transfer_encoding_to_http10_client(exchange: Exchange) -> Hits:
    """A response to an HTTP/1.0 request uses Transfer-Encoding.

    The client does not know chunks and shows their sizes as content: nginx speaks HTTP/1.0 to its upstreams
    unless it is told ``proxy_http_version 1.1``.

    > A server MUST NOT send a response containing Transfer-Encoding unless the corresponding request
    > indicates HTTP/1.1 (or later minor revisions).

    Bad::

        > GET /v1/models HTTP/1.0
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
        < Connection: close

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
    """
    response = exchange.response
    if response is None or exchange.request.version != b"HTTP/1.0" or response.version != b"HTTP/1.1":
        return
    if exchange.request.verbatim and response.verbatim:
        for line in response.fields.lines("transfer-encoding"):
            yield line, f"Transfer-Encoding {shown(line.name, line.value)} answers an HTTP/1.0 request"


@rule(
    *("RFC 9112 §6.1", "RFC 9112 §6.3", "RFC 7230 §3.3.1", "RFC 7230 §3.3.3"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=TE,
    verbatim=True,
)
def chunked_not_final_coding(message: Message) -> Hits:
    """Chunked is not the last transfer coding.

    The end of the message cannot be found. Servers must answer 400 and close; h11, node and mitmproxy refuse
    it, and what one hop forwards the next one reads as another request. A response may leave chunked out
    altogether and end with the connection.

    > If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the
    > final encoding, the message body length cannot be determined reliably; the server MUST respond with the
    > 400 (Bad Request) status code and then close the connection.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked, gzip

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: gzip

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: gzip, chunked
    """
    codings = _codings(message)
    names = [_name(coding) for _, coding in codings]
    if names and names[-1] != b"chunked" and (isinstance(message, Request) or b"chunked" in names):
        line, last = codings[-1]
        if last != b"identity":
            yield line, f"the last transfer coding is {shown(line.name, last)}: the message has no known end"


@rule(
    *("RFC 9112 §6.1", "RFC 7230 §3.3.1"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=TE,
    verbatim=True,
)
def chunked_applied_twice(message: Message) -> Hits:
    """The chunked coding is applied more than once.

    A proxy that chunks what is chunked already produces it. Recipients refuse the message, or decode once and
    show the inner chunk sizes as content.

    > A sender MUST NOT apply the chunked transfer coding more than once to a message body (i.e., chunking an
    > already chunked message is not allowed).

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked, chunked

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked
    """
    chunked = [line for line, coding in _codings(message) if _name(coding) == b"chunked"]
    for line in chunked[1:]:
        yield line, f"chunked is named {len(chunked)} times, here in {shown(line.name, line.value)}"
        return


@rule(
    *("RFC 9110 §5.2", "RFC 9112 §6.1", "RFC 7230 §3.2.2"),
    severity=ERROR,
    evidence="headers | error | octets",
    fields=TE,
    verbatim=True,
)
def duplicate_transfer_encoding(message: Message) -> Hits:
    """Transfer-Encoding appears on more than one line.

    The lines together are one list, but hardly a parser reads them so: h11, httpx, Go, nginx, haproxy,
    aiohttp servers and mitmproxy refuse the message, and those that look at one line only frame it in another
    way.

    > When a field name is repeated within a section, its combined field value consists of the list of
    > corresponding field line values within that section, concatenated in order, with each field line value
    > separated by a comma.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: gzip
        > Transfer-Encoding: chunked

    Bad, also chunked-applied-twice::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
        < transfer-encoding: chunked

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: gzip, chunked
    """
    if message.is_http1:
        for line in message.fields.lines("transfer-encoding")[1:]:
            yield line, f"a further Transfer-Encoding line says {shown(line.name, line.value)}"


@rule(
    *("RFC 9112 §7", "RFC 9112 §7.3", "RFC 9112 §7.1", "RFC 7230 §4", "RFC 7230 §4.1"),
    severity=WARNING,
    evidence="headers | error | octets",
    fields=TE,
)
def unknown_transfer_coding(message: Message) -> Hits:
    """Transfer-Encoding names a coding that is not registered or carries a parameter.

    A recipient that does not know the coding should answer 501; h11 and mitmproxy refuse the message, others
    look for ``chunked`` anywhere in the value and read ``xchunked`` as chunks.

    > All transfer-coding names are case-insensitive and ought to be registered within the HTTP Transfer
    > Coding registry

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: br, chunked

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked;level=1

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: Chunked
    """
    for line, coding in _codings(message):
        if _name(coding) not in TRANSFER_CODINGS and _name(coding) != b"identity":
            yield line, f"Transfer-Encoding names {shown(line.name, coding)}, which is not registered"
        elif b";" in coding:
            yield line, f"Transfer-Encoding gives {shown(line.name, coding)} a parameter that nobody knows"


@rule(
    *("RFC 9112 §7.3", "RFC 7230 §A.2"),
    severity=WARNING,
    fields=TE,
)
def identity_transfer_coding(message: Message) -> Hits:
    """Transfer-Encoding uses the withdrawn identity coding.

    It says that nothing was done. Some recipients see a coding and ignore Content-Length, others do the
    reverse, and h11, httpx, Go and envoy refuse the message.

    > The "identity" transfer coding token has been removed.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: identity

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 2
    """
    for line, coding in _codings(message):
        if _name(coding) == b"identity":
            yield (
                line,
                f"Transfer-Encoding {shown(line.name, line.value)} names identity, which was withdrawn",
            )


@rule(
    *(
        "RFC 9110 §5.5",
        "RFC 9110 §5.6.1.1",
        "RFC 9110 §5.6.2",
        "RFC 9112 §6.1",
        "RFC 7230 §3.2.6",
        "RFC 7230 §7",
    ),
    severity=ERROR,
    evidence="octets | headers",
    fields=TE,
    verbatim=True,
    breaks=("h11 0.16.0", "httpx 0.28.1", "node 20", "mitmproxy"),
)
def obfuscated_transfer_encoding(message: Message) -> Hits:
    """Transfer-Encoding hides its coding behind control characters, quotes or empty elements.

    One hop sees chunked and the next one does not: the classic form of request smuggling. No honest program
    writes it, so look at who sent it.

    > In any production that uses the list construct, a sender MUST NOT generate empty list elements.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: "chunked"

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked
    """
    if message.is_http1:
        for line in message.fields.lines("transfer-encoding"):
            if hides_coding(line.value):
                yield line, f"only some hops read Transfer-Encoding {shown(line.name, line.value)} as chunked"


@rule("RFC 9110 §5.1", "RFC 7230 §3.2", severity=WARNING)
def framing_header_lookalike(message: Message) -> Hits:
    """A header looks like Content-Length or Transfer-Encoding but is spelled with an underscore or another look-alike.

    To the RFC it is another field. Servers that map hyphens and underscores to one name (CGI, WSGI, PHP)
    frame the message by it, the proxy in front does not: they disagree on where it ends.

    > A field name labels the corresponding field value as having the semantics defined by that name.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        > Transfer.Encoding: chunked

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        > X-Content-Length: 2
    """
    for key in message.fields.names:
        if (meant := _looks_like(key)) is not None:
            for line in message.fields.lines(key):
                yield line, f"{quoted(line.name)} is not {meant}, but some servers take it for that"


@lru_cache(maxsize=4096)
def _looks_like(key: str) -> str | None:
    """The framing field that a lower-case name resembles; None for the field itself."""
    # Whitespace around the name has a rule of its own: space-before-header-colon.
    plain = key.strip()
    if plain in ("content-length", "transfer-encoding"):
        return None
    if not plain.isascii():
        text = plain.encode("latin-1").decode("utf-8", "replace")
        plain = unicodedata.normalize("NFKC", text).casefold()
    return {"contentlength": "Content-Length", "transferencoding": "Transfer-Encoding"}.get(
        re.sub(r"[^a-z0-9]", "", plain)
    )


# ---- content


@rule(
    *("RFC 9112 §8", "RFC 9112 §6.3", "RFC 7230 §3.4"),
    severity=ERROR,
    evidence="error | octets",
    fields=CL,
)
def body_shorter_than_content_length(response: Response) -> Hits:
    r"""The content ended before Content-Length octets arrived.

    Either the upstream died, or a hop re-encoded the content and kept the old length. All clients raise, and
    the agent sees a connection error instead of what its upstream said (BerriAI/litellm#25624). nginx,
    haproxy, apache and envoy pass the broken response on.

    > A message that uses a valid Content-Length is incomplete if the size of the message body received (in
    > octets) is less than the value given by Content-Length.

    Bad::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Content-Length: 11\r\n\r\n{"ok":t

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Content-Length: 11\r\n\r\n{"ok":true}
    """
    cut = response.wire is not None and response.wire.state == "cut"
    if cut and (length := _length(response)) is not None:
        line = response.fields.lines("content-length")[0]
        yield line, f"{response.size} octets of content came, Content-Length announces {length}"


@rule(
    *("RFC 9112 §8", "RFC 9112 §7.1", "RFC 9112 §7.1.2", "RFC 7230 §3.4", "RFC 7230 §4.1", "RFC 7230 §4.1.2"),
    severity=ERROR,
    evidence="error | octets",
    fields=TE,
)
def chunked_body_truncated(response: Response) -> Hits:
    r"""A chunked body ended without its last chunk.

    The body died upstream or in a hop, or the client went away. Without the last chunk nobody can tell a
    complete answer from a cut one, so clients raise: ``peer closed connection without sending complete
    message body (incomplete chunked read)``. Raw octets that end between two chunks of an event stream are
    passed over: clients close streams that they have read enough of, and octets do not say who closed.

    > A message body that uses the chunked transfer coding is incomplete if the zero-sized chunk that
    > terminates the encoding has not been received.

    Bad::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nb\r\n{"ok":true}\r\n

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nb\r\n{"ok":true}\r\n0\r\n\r\n
    """
    if response.wire is not None and response.wire.state == "cut" and "transfer-encoding" in response.fields:
        line = response.fields.lines("transfer-encoding")[0]
        yield line, f"the octets end after {response.size} octets of content, without a last chunk"


@rule(
    *("RFC 9112 §6.3", "RFC 9112 §9.2", "RFC 7230 §3.3.3", "RFC 7230 §5.6"),
    severity=ERROR,
    evidence="octets",
)
def bytes_after_response(octets: Octets) -> Hits:
    r"""Octets follow the end of a response on the connection.

    The next response on the connection is read from the leftovers: an agent gets the answer to another
    request. aiohttp, httptools and node refuse; httpx, Go and curl drop the connection silently. A
    Content-Length that is too small and a 204 or 304 with content are the usual sources.

    > A client MUST NOT process, cache, or forward such extra data as a separate response, since such behavior
    > would be vulnerable to cache poisoning.

    Bad, also json-malformed::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Content-Length: 5\r\n\r\n{"ok":true}

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Content-Length: 11\r\n\r\n{"ok":true}
    """
    last = octets.messages[-1] if octets.messages else None
    if octets.side != "server" or octets.switched or not isinstance(last, Response) or last.wire is None:
        return
    # "unless the data consists only of one or more CRLF (which can be discarded)" (RFC 9112 §9.2)
    stray = octets.data[octets.rest :].lstrip(b"\r\n")
    if last.wire.state != "complete" or not stray:
        return
    if stray.startswith(b"HTTP/1.") and not re.search(rb"\n\r?\n", stray):
        return  # the head of an answer that broke off
    if re.match(rb"HTTP/1\.[01] 408 ", stray):
        return  # "might be sent on an idle connection, even without any previous request" (RFC 9110 §15.5.9)
    start = last.wire.lines[0]
    what = f"{len(stray)} octets follow the end of a {quoted(last.code)[1:-1]} response"
    yield start, f"{what}: {quoted(mask_text(stray[:200]), 40)}"


@rule(
    *(
        "RFC 9110 §8.6",
        "RFC 9112 §6.3",
        "RFC 9113 §8.1.1",
        "RFC 7230 §3.3.2",
        "RFC 7230 §3.3.3",
        "RFC 7540 §8.1.2.6",
    ),
    severity=ERROR,
    evidence="headers + body",
    fields=CL,
    breaks=("uvicorn", "httpx 0.28.1", "aiohttp", "node 20", "Go 1.19", "any HTTP/2 peer"),
)
def content_length_mismatch(exchange: Exchange) -> Hits:
    """The recorded content has another length than Content-Length says.

    A hop changed the content and kept the length: re-encoding JSON is enough (radixark/miles#1001, #1004).
    uvicorn stops with "Too much data for declared Content-Length", clients wait for octets that never come,
    and HTTP/2 treats the message as malformed.

    > a sender MUST NOT forward a message with a Content-Length header field value that is known to be
    > incorrect.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 319
        <
        < {"id":"msg_1"}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 11
        <
        < {"ok":true}

    Good::

        > HEAD /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 11
        <
    """
    for message in (exchange.request, exchange.response):
        if message is None or message.size is None or message.partial or not message.verbatim or message.wire:
            continue
        if message is exchange.response and _is_bodiless(exchange):
            continue
        length = _length(message)
        if length is not None and length != message.size:
            line = message.fields.lines("content-length")[0]
            yield line, f"Content-Length says {length}, the content has {message.size} octets"


@rule(
    *("RFC 9110 §15.3.5", "RFC 9110 §6.4.1", "RFC 9112 §6.3", "RFC 7230 §3.3.3", "RFC 7231 §6.3.5"),
    severity=ERROR,
    evidence="body | octets",
    verbatim=True,
)
def content_on_204(response: Response) -> Hits:
    r"""A 204 response has content.

    aiohttp, httptools and node read the content as the start of the next response and break; h11 and httpx
    drop it silently and lose the connection.

    > A 204 response is terminated by the end of the header section; it cannot contain content or trailers.

    Bad, also content-length-on-1xx-or-204::

        >> DELETE /v1/files/file-1 HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 204 No Content\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Content-Length: 2\r\n\r\n{}

    Good::

        >> DELETE /v1/files/file-1 HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 204 No Content\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\n\r\n
    """
    if response.status == 204 and response.size:
        yield response, f"the 204 response has {response.size} octets of content"


@rule(
    *("RFC 9110 §15.4.5", "RFC 9112 §6.3", "RFC 7230 §3.3.3", "RFC 7232 §4.1"),
    severity=ERROR,
    evidence="body | octets",
    verbatim=True,
    breaks=("aiohttp", "httptools 0.9.0", "node 20"),
)
def content_on_304(response: Response) -> Hits:
    r"""A 304 response has content.

    It ends with its header section, so the content is read as the start of the next response. Its
    Content-Length is that of the 200 it stands for, and rightly there.

    > A 304 response is terminated by the end of the header section; it cannot contain content or trailers.

    Bad::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\nIf-None-Match: "a"\r\n\r\n
        << HTTP/1.1 304 Not Modified\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << ETag: "a"\r\nContent-Length: 11\r\n\r\n{"ok":true}

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\nIf-None-Match: "a"\r\n\r\n
        << HTTP/1.1 304 Not Modified\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\n
        << ETag: "a"\r\nContent-Length: 11\r\n\r\n
    """
    if response.status == 304 and response.size:
        yield response, f"the 304 response has {response.size} octets of content"


@rule(
    *("RFC 9110 §9.3.2", "RFC 9112 §6.3", "RFC 7231 §4.3.2", "RFC 7230 §3.3.3"),
    severity=ERROR,
    evidence="body | octets",
    breaks=("aiohttp", "httptools 0.9.0", "node 20"),
)
def content_on_head_response(exchange: Exchange) -> Hits:
    r"""A response to HEAD has content.

    It ends with its header section, so the content is read as the start of the next response. Its
    Content-Length is that of the GET it stands for, and rightly there.

    > The HEAD method is identical to GET except that the server MUST NOT send content in the response.

    Bad::

        >> HEAD /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\n
        << Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}

    Good::

        >> HEAD /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\n
        << Content-Type: application/json\r\nContent-Length: 11\r\n\r\n
    """
    response = exchange.response
    if exchange.request.method == b"HEAD" and response is not None and response.verbatim and response.size:
        yield response, f"the response to HEAD has {response.size} octets of content"


# ---- chunks


@rule(
    *("RFC 9112 §7.1", "RFC 7230 §4.1"),
    severity=ERROR,
    evidence="error | octets",
    fields=TE,
)
def chunk_size_malformed(message: Message) -> Hits:
    r"""A chunk size is not plain hexadecimal digits.

    Most often somebody sent plain content under ``Transfer-Encoding: chunked``: all clients refuse it.
    Programs with a lenient integer parser accept ``0xb`` or ``+b`` and open a gap to smuggle a request
    through.

    > The chunk-size field is a string of hex digits indicating the size of the chunk-data in octets.

    Bad::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\n0xb\r\n{"ok":true}\r\n0\r\n\r\n

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nB\r\n{"ok":true}\r\n0\r\n\r\n
    """
    for chunk in message.wire.chunks if message.wire is not None else ():
        size = _chunk_size(chunk.header)
        # Before an extension "bad" whitespace is allowed; without one, whitespace belongs to the size.
        if CHUNK_SIZE.fullmatch(size.rstrip(OWS) if b";" in chunk.header.text else size) is None:
            yield chunk, f"the chunk size {quoted(mask_text(size[:200]), 40)} is not hexadecimal digits"
            return


@rule(
    "RFC 9112 §7.1",
    "RFC 7230 §4.1",
    severity=ERROR,
    evidence="error | octets",
    fields=TE,
    breaks=("h11 0.16.0", "node 20"),
)
def chunk_size_overflow(message: Message) -> Hits:
    r"""A chunk size exceeds 64 bits.

    The value wraps around to a small length, and what follows it becomes the next request. h11 (from 21
    digits) and node refuse it.

    > recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to
    > integer conversion overflows or precision loss due to integer representation.

    Bad::

        >> POST /v1/messages HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n
        >> 10000000000000002\r\n{}\r\n0\r\n\r\n

    Good::

        >> POST /v1/messages HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\n
        >> Transfer-Encoding: chunked\r\n\r\n
        >> 00000000000000002\r\n{}\r\n0\r\n\r\n
    """
    for chunk in message.wire.chunks if message.wire is not None else ():
        size = _chunk_size(chunk.header).strip(OWS)
        if CHUNK_SIZE.fullmatch(size) and len(size.lstrip(b"0")) > CHUNK_SIZE_DIGITS:
            yield chunk, f"the chunk size {quoted(size, 40)} needs more than 64 bits"


@rule(
    *("RFC 9112 §7.1", "RFC 7230 §4.1"),
    severity=ERROR,
    evidence="error | octets",
    fields=TE,
)
def chunk_terminator_missing(message: Message) -> Hits:
    r"""Chunk data is not followed by CRLF.

    The size and the data disagree, often because characters were counted instead of octets; every later chunk
    would be misread. httpx, aiohttp, node and mitmproxy refuse it.

    > chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

    Bad::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\n3\r\n{"ok":true}\r\n0\r\n\r\n

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nb\r\n{"ok":true}\r\n0\r\n\r\n
    """
    for chunk in message.wire.chunks if message.wire is not None else ():
        if chunk.size and chunk.terminator not in (b"\r\n", b"\n", b"\r", b""):
            found = quoted(mask_text(chunk.terminator))
            yield chunk, f"where CRLF must follow the {chunk.size} octets of a chunk stands {found}"


@rule(
    *("RFC 9112 §7.1", "RFC 9112 §2.2", "RFC 7230 §4.1", "RFC 7230 §3.5"),
    severity=ERROR,
    evidence="octets",
    fields=TE,
)
def bare_line_feed_in_chunk(message: Message) -> Hits:
    r"""A chunk line ends with a line feed alone.

    In start lines and headers a recipient may accept it, around chunks it may not: hops that do and hops that
    do not see different bodies, which has been used to smuggle requests.

    > chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

    Bad::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nb\n{"ok":true}\n0\r\n\r\n

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nb\r\n{"ok":true}\r\n0\r\n\r\n
    """
    chunks = message.wire.chunks if message.wire is not None else ()
    wrong = [chunk for chunk in chunks if b"\n" in (chunk.header.ending, chunk.terminator)]
    if wrong:
        yield wrong[0], f"{len(wrong)} of {len(chunks)} chunks have a line that ends with LF alone"


@rule("RFC 9112 §7.1.1", "RFC 7230 §4.1.1", severity=ERROR, evidence="octets", fields=TE, breaks=("node 20",))
def chunk_extension_malformed(message: Message) -> Hits:
    r"""A chunk extension is malformed.

    Nobody uses extensions, so parsers skip them, and skip to different line ends: what one takes for an
    extension is the next chunk, or the next request, to the other. node refuses it.

    > chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )

    Bad::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nb;\r\n{"ok":true}\r\n0\r\n\r\n

    Good::

        >> GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n
        << HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 03:14:15 GMT\r\nContent-Type: application/json\r\n
        << Transfer-Encoding: chunked\r\n\r\nb;part="1"\r\n{"ok":true}\r\n0\r\n\r\n
    """
    for chunk in message.wire.chunks if message.wire is not None else ():
        _, semicolon, extension = chunk.header.text.partition(b";")
        if semicolon and CHUNK_EXTENSIONS.fullmatch(semicolon + extension) is None:
            found = quoted(mask_text(semicolon + extension[:200]), 40)
            yield chunk, f"the chunk extension {found} is malformed"
            return


# ---- trailers and the end


@rule("RFC 9110 §6.5.1", "RFC 9112 §7.1.2", "RFC 7230 §4.1.2", severity=ERROR, fields=TRAILERS_FORBIDDEN)
def forbidden_trailer_field(message: Message) -> Hits:
    """A trailer carries framing, routing, authentication or content metadata.

    It comes too late to be of use, and a recipient that merges trailers into the header section can be
    steered by it: a Content-Length or an Authorization that no hop has checked.

    > Many fields cannot be processed outside the header section because their evaluation is necessary prior
    > to receiving the content, such as those that describe message framing, routing, authentication, request
    > modifiers, response controls, or content format.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked
        > Trailer: Content-Type
        >+ Content-Type: application/json

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked
        > Trailer: X-Checksum
        >+ X-Checksum: 1f2e
    """
    for line in message.trailers:
        if line.key in TRAILERS_FORBIDDEN:
            yield line, f"{line.shown_name} {shown(line.name, line.value)} is a trailer field"


@rule(
    *("RFC 9112 §6.3", "RFC 9112 §9.3", "RFC 9112 §9.6", "RFC 7230 §3.3.3", "RFC 7230 §6.3", "RFC 7230 §6.6"),
    severity=WARNING,
)
def close_delimited_response(exchange: Exchange) -> Hits:
    """The response has no length and ends when the connection closes.

    An answer that breaks off cannot be told from a complete one: an agent acts on half a tool call. It also
    costs a new connection per request.

    > Since there is no way to distinguish a successfully completed, close-delimited response message from a
    > partially received message interrupted by network failure, a server SHOULD generate encoding or
    > length-delimited messages whenever possible.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Connection: close

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
    """
    response = exchange.response
    if response is None or not response.is_http1 or not response.verbatim or _is_bodiless(exchange):
        return
    # "A server MUST NOT send a response containing Transfer-Encoding unless the corresponding request indicates
    # HTTP/1.1 (or later minor revisions)" (RFC 9112 §6.1): what is made while it is sent has no other end.
    if exchange.request.version == b"HTTP/1.0":
        return
    if not response.fields.names & {"content-length", "transfer-encoding"}:
        yield response, "neither Content-Length nor Transfer-Encoding: the response ends with the connection"


@rule("RFC 9112 §6.3", "RFC 7230 §3.3.3", severity=ERROR, evidence="octets")
def request_body_without_length(octets: Octets) -> Hits:
    r"""A request has a body but neither Content-Length nor Transfer-Encoding.

    Without them the body is empty, and the server reads what was meant as the body as the next request.
    mitmproxy does it when it hands an HTTP/2 request without Content-Length to an HTTP/1 server.

    > If this is a request message and none of the above are true, then the message body length is zero (no
    > message body is present).

    Bad::

        >> POST /v1/messages HTTP/1.1\r\nContent-Type: application/json\r\n
        >> Host: api.example\r\n\r\n{"model":"m"}

    Good::

        >> POST /v1/messages HTTP/1.1\r\nContent-Type: application/json\r\n
        >> Host: api.example\r\nContent-Length: 2\r\n\r\n{}
    """
    if stray := octets.stray_content:
        last = octets.messages[-1]
        what = f"{len(stray)} octets follow a request without a length"
        if last.wire is not None:
            yield last.wire.lines[0], f"{what}: {quoted(mask_text(stray[:200]), 40)}"


@rule(
    "RFC 9112 §8",
    "RFC 7230 §3.4",
    severity=ERROR,
    evidence="error | octets",
    fields=(*CL, *TE),
    breaks=("mitmproxy",),
)
def incomplete_request(request: Request) -> Hits:
    r"""The client closed before its request was complete.

    The client's timeout is shorter than its upload takes, or it crashed. Servers log 400 or 499 and the
    gateway may bill a call that nobody waits for.

    > A server that receives an incomplete request message, usually due to a canceled request or a triggered
    > timeout exception, MAY send an error response prior to closing the connection.

    Bad::

        >> POST /v1/messages HTTP/1.1\r\nContent-Type: application/json\r\n
        >> Host: api.example\r\nContent-Length: 13\r\n\r\n{"model"

    Good::

        >> POST /v1/messages HTTP/1.1\r\nContent-Type: application/json\r\n
        >> Host: api.example\r\nContent-Length: 13\r\n\r\n{"model":"m"}
    """
    if request.wire is not None and request.wire.state == "cut":
        length = _length(request)
        announced = "a last chunk" if length is None else f"{length} octets"
        yield request, f"the octets end after {request.size} octets of content, {announced} was announced"


@rule("RFC 9112 §2.2", "RFC 7230 §3", severity=ERROR, evidence="error | octets")
def unparsable_message(refusal: Refusal) -> Hits:
    r"""The recorder's parser refused the message for a reason no other rule names.

    A message that one strict parser refuses will be refused by the next strict client as well. What the
    parser said is all there is to go by: the message itself is often not recorded.

    > the server SHOULD respond with a 400 (Bad Request) response and close the connection.

    Bad::

        @ error: Cannot parse HTTP response: Bad HTTP response line: b'upstream connect error'
        > GET /v1/models HTTP/1.1
        > Host: api.example

    Good::

        @ error: server closed connection
        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    said = quoted(mask_text(refusal.text.encode("utf-8", "surrogateescape")), 200)
    yield refusal, f"{refusal.source} refused the {refusal.part}: {said}"


# ---- rarer still: CONNECT, 205, transfer codings that nobody offered, announced trailers


@rule(
    *("RFC 9110 §9.3.6", "RFC 9110 §8.6", "RFC 9112 §6.1", "RFC 7230 §3.3.2", "RFC 7230 §3.3.1"),
    severity=ERROR,
    fields=(*CL, *TE),
    verbatim=True,
)
def framing_header_on_connect_success(exchange: Exchange) -> Hits:
    """A successful CONNECT response carries Content-Length or Transfer-Encoding.

    The octets that follow belong to the tunnel. A client that trusts the length eats the beginning of the TLS handshake
    in it, and the connection hangs or fails with an error of TLS that nobody looks for in a proxy's headers.

    > A server MUST NOT send any Transfer-Encoding or Content-Length header fields in a 2xx (Successful) response to
    > CONNECT.

    Bad::

        > CONNECT api.example:443 HTTP/1.1
        > Host: api.example:443
        < HTTP/1.1 200 Connection established
        < Content-Length: 0

    Good::

        > CONNECT api.example:443 HTTP/1.1
        > Host: api.example:443
        < HTTP/1.1 200 Connection established
    """
    response = exchange.response
    if response is None or exchange.request.method != b"CONNECT" or not 200 <= response.status < 300:
        return
    for name in (*CL, *TE):
        for line in response.fields.lines(name)[:1]:
            yield line, f"{line.shown_name} {shown(line.name, line.value)} on a {response.status} to CONNECT"


@rule("RFC 9110 §10.1.4", "RFC 9112 §7.4", "RFC 7230 §4.3", severity=WARNING, fields=TE, verbatim=True)
def unrequested_transfer_coding(exchange: Exchange) -> Hits:
    """The response uses a transfer coding the request did not offer.

    Clients other than browsers decode chunked and nothing else: httpx, requests, aiohttp, Go and node hand over the
    compressed octets as content, or refuse the response. Compress with Content-Encoding, for which clients ask.

    > The TE field [...] is used in HTTP/1.1 to indicate what transfer codings, besides chunked, the client is willing
    > to accept in the response

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: gzip, chunked

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: TE
        > TE: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: gzip, chunked
    """
    # What the server was asked, and what it answered: an addon may have changed the response behind it.
    request, response = exchange.request, (exchange.received or exchange).response
    if response is None or not request.is_http1 or not request.verbatim:
        return
    offered = {
        b"chunked",
        *(_name(member.lower()) for member in request.fields.values("te") if not _is_refused(member)),
    }
    for line, coding in _codings(response):
        if (name := _name(coding)) in TRANSFER_CODINGS - {b"identity"} and not {
            name,
            _ALIASES.get(name),
        } & offered:
            place = line if response is exchange.response else exchange.response or request
            yield place, f"transfer coding {quoted(name)}, the request's TE does not offer it"


_ALIASES = {b"gzip": b"x-gzip", b"x-gzip": b"gzip", b"compress": b"x-compress", b"x-compress": b"compress"}


def _is_refused(member: bytes) -> bool:
    return any(re.fullmatch(rb"[qQ]=0(?:\.0*)?", part) for part in parameters(member)[1:])


@rule("RFC 9110 §15.3.6", "RFC 7231 §6.3.6", severity=ERROR, evidence="body")
def content_on_205(response: Response) -> Hits:
    """A 205 response has content.

    205 says that there is none, so clients do not read it: over HTTP/1.1 it lies before the next response on the
    connection, which is then read from the middle of it. Use 200 for an answer with content, 204 for one without.

    > Since the 205 status code implies that no additional content will be provided, a server MUST NOT generate content
    > in a 205 response.

    Bad::

        > POST /reset HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 205 Reset Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 11
        <
        < {"ok":true}

    Good::

        > POST /reset HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        < HTTP/1.1 205 Reset Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        <
    """
    if response.status == 205 and response.size:
        yield response, f"205 with {response.size} octets of content"


@rule("RFC 9110 §6.6.2", "RFC 7230 §4.4", severity=NOTE)
def undeclared_trailer(message: Message) -> Hits:
    """A trailer field was not announced in the Trailer header.

    Recipients that prepare for announced fields drop the others: Go and node collect only what Trailer names, a proxy
    that knows of no trailers may buffer none. gRPC never announces its own, which its clients know.

    > a sender that intends to generate one or more trailer fields in a message SHOULD generate a Trailer header field
    > in the header section of that message to indicate which fields might be present in the trailers.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
        <+ X-Usage: 12

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
        < Trailer: X-Usage
        <+ X-Usage: 12
    """
    if not len(message.trailers):
        return
    announced = {name.lower() for name in message.fields.values("trailer")}
    for line in message.trailers:
        if line.name.lower() not in announced and not line.key.startswith("grpc-"):
            yield line, f"trailer field {quoted(mask_text(line.name))} is not named in Trailer"


@rule(
    *("RFC 9110 §6.6.2", "RFC 9112 §7.1.2", "RFC 7230 §4.4"),
    severity=WARNING,
    fields=("trailer",),
    verbatim=True,
)
def trailer_header_without_chunked(exchange: Exchange) -> Hits:
    """The Trailer header stands on a message that cannot have trailers.

    In HTTP/1.1 only a chunked message has a trailer section. The fields never come, and a client that waits for them
    loses the usage, or the signature, that they were to hold. A hop that buffered the content and wrote a Content-Length
    in place of the chunks has left the announcement behind.

    > The trailer section allows the sender to include additional fields at the end of a chunked message

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Trailer: X-Usage

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Transfer-Encoding: chunked
        < Trailer: X-Usage
    """
    for message in exchange.messages:
        if (
            not message.is_http1
            or not message.verbatim
            or any(_name(c) == b"chunked" for _, c in _codings(message))
        ):
            continue
        # What would have been chunked for a GET need not say so for a HEAD (RFC 9112 §6.1).
        if isinstance(message, Response) and _is_bodiless(exchange):
            continue
        for line in message.fields.lines("trailer"):
            yield line, f"Trailer {shown(line.name, line.value)} on a message that is not chunked"


@rule("RFC 9110 §8.6", "RFC 7230 §3.3.2", severity=NOTE, verbatim=True)
def empty_post_without_content_length(request: Request) -> Hits:
    """A POST, PUT or PATCH without a body has no Content-Length: 0.

    Some servers answer 411, others wait for a body that does not come: nginx took such a POST for an incomplete one for
    years, and IIS answers 411 today. Go and httpx send ``Content-Length: 0``; hand-written clients forget it.

    > a user agent normally sends Content-Length in a POST request even when the value is 0 (indicating empty content).

    Bad::

        > POST /flush_cache HTTP/1.1
        > Host: api.example
        >

    Good::

        > POST /flush_cache HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        >
    """
    if not request.is_http1 or request.method not in (b"POST", b"PUT", b"PATCH") or request.size != 0:
        return
    fields = request.fields
    if "content-length" not in fields and "transfer-encoding" not in fields and "upgrade" not in fields:
        yield request, f"{quoted(request.method)[1:-1]} with neither content nor Content-Length: 0"

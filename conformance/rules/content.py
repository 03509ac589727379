"""What a message's content is, and whether the fields about it are true: type, charset, coding, JSON.

Content is judged only where all of it is known: a part of a document proves nothing about the whole, and
framing has rules of its own for content that is cut off. One defect is one finding:

* compressed octets that nobody announced are compressed-content-without-content-encoding and nothing else;
* what is labelled JSON is content-type-mismatch where it is something else (a page, a sentence), and
  json-malformed where it begins like JSON;
* event streams, labelled or not, are the topic events'.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from conformance import content as c
from conformance import known
from conformance.grammar import OWS, PARAMETER, QUOTED_STRING, TOKEN, date, parameters
from conformance.message import Exchange, FieldLine, Message, Request, Response, split_members
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown
from conformance.structured import Item, Malformed, parse_dictionary

STREAMS = frozenset(
    {
        b"text/event-stream", b"application/x-ndjson", b"application/jsonl", b"application/stream+json",
        b"application/json-seq", b"application/vnd.amazon.eventstream",
    }
)  # fmt: skip
"""Types of streams of events: whether they were asked for, and what is in them, is the topic events'."""

# media-type = type "/" subtype parameters; parameters = *( OWS ";" OWS [ parameter ] )    (RFC 9110 §8.3.1, 5.6.6)
MEDIA_TYPE = re.compile(
    rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*+;[ \t]*+(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+="
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|" + QUOTED_STRING.pattern + rb"))?+)*+[ \t]*"
)

_FORM = b"application/x-www-form-urlencoded"
_XML = frozenset({b"application/xml", b"text/xml"})
_HTML = frozenset({b"text/html", b"application/xhtml+xml"})
_COMPRESSED = {"gzip": b"gzip", "zlib": b"deflate", "zstd": b"zstd"}


def _says_nothing(message: Message) -> bool:
    """Whether its fields prove nothing by not being there: exporters of HARs may leave them all out."""
    return not message.verbatim and not message.fields


def _is_text(media: bytes) -> bool:
    """Whether content of that type is text for sure, so that compressed octets cannot be what is meant."""
    return media.startswith(b"text/") or c.is_json(media) or media in _XML or media in _HTML or media == _FORM


def _parameter(message: Message, name: bytes) -> tuple[FieldLine, bytes] | None:
    """A parameter of the one Content-Type, unquoted, with the line it is on."""
    lines = message.fields.lines("content-type")
    if len(lines) != 1 or name not in lines[0].value.lower():
        return None
    for part in parameters(lines[0].value)[1:]:
        found = PARAMETER.fullmatch(part)
        if found is not None and found["name"].lower() == name:
            value = found["value"]
            return lines[0], re.sub(rb"\\(.)", rb"\1", value[1:-1]) if value.startswith(b'"') else value
    return None


def _octets(message: Message) -> bytes | None:
    """The whole content with its coding undone; None where that is not known, or where there is none."""
    return (c.decoded(message) or None) if message.body and c.is_whole(message) else None


def _compression(message: Message) -> str | None:
    """The compression that text content is in although no field says so."""
    return c.once(message, "_compression", _find_compression)


def _find_compression(message: Message) -> str | None:
    media = c.media_type(message)
    if (
        media is None
        or not message.verbatim
        or not _is_text(media)
        or "content-encoding" in message.fields
        or any(coding.lower() != b"chunked" for coding in message.fields.values("transfer-encoding"))
    ):
        return None
    octets = _octets(message)
    if octets is None:
        return None
    kind = c.kind(octets)
    if kind in ("gzip", "zstd"):
        return kind
    if kind == "zlib":
        return kind if _decodes(b"deflate", octets) else None
    # Brotli has no magic number: only where JSON is due and this is not even text.
    if kind is None and c.is_json(media) and c.json_of(message) is None and not _is_utf8(octets):
        return "brotli" if _decodes(b"br", octets) else None
    return None


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decodes(coding: bytes, octets: bytes) -> bool:
    try:
        return bool(c.DECODERS[coding](octets, False))
    except (c.Undecodable, c.NotInstalled):
        return False


def _labelled_json(message: Message) -> bytes | None:
    """The content of a message that says it is JSON and is not something else altogether; None otherwise."""
    return c.once(message, "_labelled_json", _find_labelled_json)


def _find_labelled_json(message: Message) -> bytes | None:
    media = c.media_type(message)
    if media is None or not c.is_json(media):
        return None
    octets = _octets(message)
    if octets is None or _compression(message) is not None or _other_than_json(message, octets) is not None:
        return None
    return octets


def _other_than_json(message: Message, octets: bytes) -> str | None:
    """What content that should be JSON is instead; None where it is JSON, or an attempt at it."""
    kind = c.kind(octets)
    if kind is not None:
        return {"html": "an HTML page", "xml": "XML", "event-stream": "an event stream"}.get(
            kind, f"{kind} data"
        )
    if not octets.strip():
        return None
    parsed = c.json_of(message)
    begin = octets.lstrip(b" \t\r\n")[:1]
    if parsed is None:
        return None if begin in b'{["-0123456789' else "no JSON"
    # A word: `not found` begins like null.
    return "no JSON" if parsed.problem is not None and begin.isalpha() else None


# Not in a HAR: a browser shows what CORS and service workers let a page see of a response.
@rule("RFC 9110 §6.6.1", "RFC 7231 §7.1.1.2", severity=WARNING, verbatim=True)
def date_missing(exchange: Exchange) -> Hits:
    """A 2xx, 3xx or 4xx response has no Date.

    A Retry-After or Expires that is a date, the age of a cached answer and a check of the client's clock (AWS
    signatures, tokens that expire) are all reckoned from it. A proxy that switches off its server's own Date,
    as ``uvicorn --no-date-header`` does, must keep the origin's; a hand-written server forgets it. The answer
    to CONNECT is the proxy's and needs none.

    > An origin server with a clock (as defined in Section 5.6.7) MUST generate a Date header field in all 2xx
    > (Successful), 3xx (Redirection), and 4xx (Client Error) responses, and MAY generate a Date header field
    > in 1xx (Informational) and 5xx (Server Error) responses.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Content-Type: application/json
        < Content-Length: 27
        <
        < {"object":"list","data":[]}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 27
        <
        < {"object":"list","data":[]}

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 502 Bad Gateway
        < Content-Length: 0
    """
    response = exchange.response
    if (
        response is not None
        and "date" not in response.fields
        and 200 <= response.status <= 499
        and exchange.request.method != b"CONNECT"
    ):
        yield response, f"{response.status} without Date"


@rule("RFC 9110 §8.3", "RFC 7231 §3.1.1.5", severity=WARNING, evidence="body", odd_json=True)
def content_type_missing(message: Message) -> Hits:
    """A message with content has no Content-Type.

    SDKs choose between JSON, a stream and text by it: openai-python hands what is not JSON to the caller as a
    string, so that an error page becomes the model's answer. Servers guess: FastAPI before 0.132 takes a request
    without a type for JSON, later versions answer 422.

    > A sender that generates a message containing content SHOULD generate a Content-Type header field in that
    > message unless the intended media type of the enclosed representation is unknown to the sender.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
    """
    # A browser shows a response from its cache with the fields of the 304 that let it be used.
    if isinstance(message, Response) and not message.verbatim:
        return
    if message.size and "content-type" not in message.fields and not _says_nothing(message):
        yield message, f"{message.size} octets of content without Content-Type"


@rule(
    *("RFC 9110 §8.3", "RFC 9110 §8.3.1", "RFC 7231 §3.1.1.1"),
    severity=ERROR,
    fields=("content-type",),
)
def content_type_malformed(message: Message) -> Hits:
    """Content-Type is not a media type.

    What cannot be parsed is treated as bytes by one client and raises in the next; servers answer 415 or 422.
    A bare ``json``, a charset without its value, ``None`` written by a template and a boundary with ``:`` or
    ``=`` in it that nobody quoted are the usual forms. Two types joined by a comma are
    joined-singleton-value.

    > media-type = type "/" subtype parameters

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: json
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json; charset="utf-8";
        > Content-Length: 13
        >
        > {"model":"m"}
    """
    for line in message.fields.lines("content-type"):
        if MEDIA_TYPE.fullmatch(line.value) is None and not _is_others_business(line.value):
            yield line, f"Content-Type {shown(line.name, line.value)} is no media type"


def _is_others_business(value: bytes) -> bool:
    return known.JOINED["content-type"].search(value) is not None or _BROKEN.search(value) is not None


_BROKEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # control characters and folds have rules of their own


@rule(
    *("RFC 9110 §8.3", "RFC 7231 §3.1.1.5"),
    severity=WARNING,
    evidence="headers + body",
    fields=("content-type",),
    odd_json=True,
)
def content_type_mismatch(message: Message) -> Hits:
    """The content contradicts its Content-Type.

    A hop's HTML error page that is labelled application/json ends at the agent in "Unexpected token '<'", and
    JSON labelled text/html in a string where an object was expected: openai-python parses what is labelled
    JSON and nothing else. A request of JSON labelled as a form, which is what ``curl -d`` sends, is answered
    422 by FastAPI.

    > The indicated media type defines both the data format and how that data is intended to be processed by a
    > recipient

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 502 Bad Gateway
        < Content-Type: application/json
        < Content-Length: 28
        <
        < <html>502 Bad Gateway</html>

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/x-www-form-urlencoded
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 502 Bad Gateway
        < Content-Type: text/html
        < Content-Length: 28
        <
        < <html>502 Bad Gateway</html>
    """
    media = c.media_type(message)
    if media is None or media in STREAMS or not (_judged(media) and (octets := _octets(message))):
        return
    if c.kind(octets) == "event-stream" or _compression(message) is not None:
        return
    found = (
        _other_than_json(message, octets)
        if c.is_json(media)
        else _other_than_labelled(media, message, octets)
    )
    if found is not None:
        begins = quoted(mask_text(octets[:200]), 40)
        line = message.fields.lines("content-type")[0]
        yield line, f"Content-Type {quoted(media)}, but the content is {found}: {begins}"


def _judged(media: bytes) -> bool:
    """Whether content of that type can be told from other content."""
    return (
        c.is_json(media)
        or media == _FORM
        or media in _HTML
        or media in _XML
        or media.startswith((b"image/", b"audio/", b"video/"))
    )


def _other_than_labelled(media: bytes, message: Message, octets: bytes) -> str | None:
    if media.startswith((b"image/", b"audio/", b"video/")) and not media.endswith(b"+xml"):
        kind = c.kind(octets)
        if kind in ("html", "xml"):
            return "an HTML page" if kind == "html" else "XML"
    parsed = c.json_of(message)
    is_document = parsed is not None and parsed.problem is None and isinstance(parsed.value, dict | list)
    return "a JSON document" if is_document else None


@rule("RFC 8259 §2", severity=ERROR, evidence="body", fields=("content-type",), odd_json=True)
def json_malformed(message: Message) -> Hits:
    """JSON content does not parse.

    The SDK raises on the whole answer; a server answers a request 400 or 422. Content that a hop cut off,
    a dict that Python printed instead of serialising (single quotes, None), a trailing comma written by hand
    and two answers one after the other are the usual forms. Documents on a line each (NDJSON) are left alone,
    as is content that is known to be cut off: that is a matter of framing.

    > A JSON text is a serialized value.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {'model':'m'}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
    """
    octets = _labelled_json(message)
    if octets is None:
        return
    if not octets.strip():
        yield message, f"{len(octets)} octets of white space where JSON is due"
        return
    parsed = c.json_of(message)
    if parsed is not None and parsed.problem is not None and not parsed.is_sequence:
        yield message, f"{len(octets)} octets of JSON that do not parse: {parsed.problem}"


@rule(
    "RFC 8259 §8.1", severity=ERROR, evidence="body", fields=("content-type",), verbatim=True, odd_json=True
)
def json_not_utf8(message: Message) -> Hits:
    r"""JSON content is not UTF-8 or begins with a byte order mark.

    Go, Rust and the WHATWG decoder replace or refuse octets that are not UTF-8, so an answer arrives garbled
    or not at all; ``json.loads`` of a text that begins with the mark raises "Unexpected UTF-8 BOM". Latin-1
    from an old upstream, UTF-16 from PowerShell and a mark from a Windows editor are the usual forms.

    > JSON text exchanged between systems that are not part of a closed ecosystem MUST be encoded using UTF-8
    > [RFC3629]. [...] Implementations MUST NOT add a byte order mark (U+FEFF) to the beginning of a
    > networked-transmitted JSON text.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 18
        >
        > {"model":"caf\xe9-1"}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 19
        >
        > {"model":"caf\xc3\xa9-1"}
    """
    if _labelled_json(message) is None:
        return
    parsed = c.json_of(message)
    if parsed is not None and parsed.encoding != "utf-8":
        what = {"utf-8-sig": "begins with a byte order mark", "not utf-8": "is not UTF-8"}
        yield message, f"JSON that {what.get(parsed.encoding, f'is {parsed.encoding.upper()}')}"


@rule("RFC 8259 §6", severity=ERROR, evidence="body", fields=("content-type",), odd_json=True)
def json_nan_or_infinity(message: Message) -> Hits:
    """JSON content holds NaN or Infinity.

    Python's json writes them by default and reads them again; JavaScript, Go and Rust refuse the whole
    document. Log probabilities of minus infinity and a mean over nothing are where they come from.

    > Numeric values that cannot be represented in the grammar below (such as Infinity and NaN) are not
    > permitted.

    Bad::

        > POST /generate HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 36
        >
        > {"text":"a","logprob_min":-Infinity}

    Good::

        > POST /generate HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 32
        >
        > {"text":"NaN","logprob_min":-99}
    """
    if _labelled_json(message) is None:
        return
    parsed = c.json_of(message)
    if parsed is not None and parsed.problem is None and parsed.constants:
        yield message, f"JSON with {' and '.join(parsed.constants)}"


@rule("RFC 8259 §4", severity=WARNING, evidence="body", fields=("content-type",), odd_json=True)
def json_duplicate_member(message: Message) -> Hits:
    """A JSON object names a member twice.

    Python, JavaScript and Go keep the last value, others the first or refuse the document. A gateway that
    checks ``model`` or ``max_tokens`` by one parser in front of an upstream with another enforces nothing.
    What appends a member to JSON as text, without looking whether it is there, writes such objects.

    > The names within an object SHOULD be unique.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 25
        >
        > {"model":"m","model":"n"}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 32
        >
        > {"model":"m","meta":{"model":1}}
    """
    if _labelled_json(message) is None:
        return
    parsed = c.json_of(message)
    if parsed is not None and parsed.problem is None and parsed.repeated:
        names = ", ".join(quoted(mask_text(name.encode("utf-8", "replace")), 40) for name in parsed.repeated)
        yield message, f"JSON with an object that names {names} twice"


@rule(
    *("RFC 9110 §8.4", "RFC 7231 §3.1.2.2"),
    severity=ERROR,
    evidence="headers + body",
    fields=("content-encoding",),
    breaks=("Chromium 156",),
    verbatim=True,
)
def content_encoding_undecodable(message: Message) -> Hits:
    """The content does not decode with the declared Content-Encoding.

    A hop decoded the content and kept the header: aiohttp, httpx and undici decode by themselves, and a proxy
    that copies their headers announces gzip in front of plain JSON (vllm-project/production-stack#827, #836).
    Clients stop with a decoding error, browsers with ERR_CONTENT_DECODING_FAILED.

    > If one or more encodings have been applied to a representation, the sender that applied the encodings
    > MUST generate a Content-Encoding header field that lists the content codings in the order in which they
    > were applied.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Content-Length: 27
        <
        < {"object":"list","data":[]}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 27
        <
        < {"object":"list","data":[]}
    """
    # What two equal codings mean is content-encoding-applied-twice.
    if not message.body or not c.is_whole(message) or len(set(c.codings(message))) < len(c.codings(message)):
        return
    problem = c.decoding(message).problem
    if problem is not None:
        line = message.fields.lines("content-encoding")[0]
        begins = quoted(mask_text((message.content or b"")[:200]), 40)
        yield line, f"the content does not decode as {problem}; it begins with {begins}"


@rule(
    *("RFC 9110 §8.4", "RFC 7231 §3.1.2.2"),
    severity=ERROR,
    evidence="headers + body",
    fields=("content-type",),
    verbatim=True,
    odd_json=True,
)
def compressed_content_without_content_encoding(message: Message) -> Hits:
    r"""The content is compressed but has no Content-Encoding.

    A hop stripped the header together with others and passed the octets on. The client hands them to its JSON
    parser, which raises about octet 0x8b at position 1; a server answers 400. Only content that is said to be
    text or JSON is judged: application/gzip may be gzip.

    > If one or more encodings have been applied to a representation, the sender that applied the encodings
    > MUST generate a Content-Encoding header field that lists the content codings in the order in which they
    > were applied.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 22
        <
        < \x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Content-Length: 22
        <
        < \x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00
    """
    if (found := _compression(message)) is not None:
        line = message.fields.lines("content-type")[0]
        yield line, f"{shown(line.name, line.value)} content is {found} data, and no Content-Encoding says so"


@rule("RFC 9110 §12.5.3", "RFC 7231 §5.3.4", severity=WARNING, fields=("content-encoding",))
def unrequested_content_encoding(exchange: Exchange) -> Hits:
    """The response uses a content coding the request did not accept.

    The client that sent this Accept-Encoding cannot read the answer: a Python without brotli or zstd gets
    undecodable octets. A proxy that forwards another client's Accept-Encoding, or a cache that ignores
    Vary, causes it (BerriAI/litellm#37058). A request without Accept-Encoding accepts everything.

    > If the representation's content coding is one of the content codings listed in the Accept-Encoding field
    > value, then it is acceptable unless it is accompanied by a qvalue of 0.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept-Encoding: gzip, deflate
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: br
        < Content-Length: 31

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept-Encoding: gzip, deflate, br
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: br
        < Content-Length: 31
    """
    response = exchange.response
    if response is None or "accept-encoding" not in exchange.request.fields:
        return
    accepted = {
        name.removeprefix(b"x-"): weight for name, weight in _weighted(exchange.request, "accept-encoding")
    }
    for coding in c.codings(response):
        if accepted.get(coding, accepted.get(b"*", 0.0)) <= 0:
            line = response.fields.lines("content-encoding")[0]
            asked = b", ".join(line.value for line in exchange.request.fields.lines("accept-encoding"))
            yield (
                line,
                f"Content-Encoding {quoted(coding)} answers Accept-Encoding {quoted(mask_text(asked))}",
            )


def _weighted(request: Request, field: str) -> list[tuple[bytes, float]]:
    """The members of an Accept field in lower case, each with its weight (RFC 9110 §12.4.2)."""
    found = []
    for member in request.fields.values(field):
        name, *rest = parameters(member)
        weight = next((part.partition(b"=")[2] for part in rest if part[:2].lower() == b"q="), b"1")
        found.append((name.lower(), 0.0 if _ZERO.fullmatch(weight) else 1.0))
    return found


_ZERO = re.compile(rb"0(?:\.0*)?")


@rule(
    *("RFC 9110 §8.4", "RFC 7231 §3.1.2.2"),
    severity=WARNING,
    fields=("content-encoding",),
)
def content_encoding_applied_twice(message: Message) -> Hits:
    """The same content coding is listed twice.

    Either two hops compressed one after the other, or one repeated the header of content that is compressed
    once. Clients that decode once, as many do, are left with compressed octets; those that decode twice fail
    in the second case.

    > If one or more encodings have been applied to a representation, the sender that applied the encodings
    > MUST generate a Content-Encoding header field that lists the content codings in the order in which they
    > were applied.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip, gzip
        < Content-Length: 45

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Content-Length: 45
    """
    for coding, count in sorted(Counter(c.codings(message)).items()):
        if count > 1:
            line = message.fields.lines("content-encoding")[-1]
            yield line, f"Content-Encoding names {quoted(coding)} {count} times"


@rule(
    *("RFC 9110 §8.3.2", "RFC 7231 §3.1.1.2"),
    severity=WARNING,
    evidence="headers + body",
    fields=("content-type",),
)
def charset_mismatch(message: Message) -> Hits:
    r"""The declared charset is unknown or contradicts the content.

    Text arrives garbled or raises in the client. express answers a request whose charset it does not know
    with 415 ("unsupported charset"); a template that prints ``charset=None`` and a page that is UTF-8 under
    an old default of ISO-8859-1 are the usual forms. What is in JSON is judged by json-not-utf8, whatever its
    charset says.

    > Charset names ought to be registered in the IANA "Character Sets" registry

    Bad::

        > GET /status HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain; charset=ISO-8859-1
        < Content-Length: 5
        <
        < caf\xc3\xa9

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json; charset=None
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > GET /status HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain; charset=utf-8
        < Content-Length: 5
        <
        < caf\xc3\xa9
    """
    found = _parameter(message, b"charset")
    if found is None:
        return
    line, declared = found
    charset = _charset(declared)
    if charset is None:
        yield line, f"there is no charset {quoted(mask_text(declared))}"
        return
    media = c.media_type(message)
    if (
        media is None
        or media in STREAMS
        or not message.verbatim
        or not (media.startswith(b"text/") or media in _XML)
    ):
        return
    octets = _octets(message)
    # Nearly everything is ASCII, which is the same in every charset that is declared in practice.
    if octets is None or octets.isascii() or charset == "" or c.kind(octets) in _COMPRESSED:
        return
    if charset in _WESTERN:
        # Any octets are such text; but multi-octet UTF-8 does not come about by chance.
        if _is_utf8(octets):
            yield line, f"charset {quoted(declared)}, but the content is UTF-8"
        return
    try:
        octets.decode(charset)
    except UnicodeDecodeError as problem:
        where = f"octet 0x{octets[problem.start]:02x} at {problem.start}"
        yield line, f"charset {quoted(declared)}, but the content is not: {where}"


@lru_cache(256)
def _charset(declared: bytes) -> str | None:
    """Python's name of a charset; empty for one that exists but that Python does not know; None for no charset."""
    name = declared.decode("latin-1").lower()
    if name in _UNKNOWN_TO_PYTHON:
        return ""
    if not name.isascii() or len(name) > 40:
        return None
    try:
        found = codecs.lookup(name)
        "".encode(name)  # base64, rot13 and others are codecs but no charsets, which only this tells
    except (LookupError, ValueError, TypeError):
        return None
    return found.name


_WESTERN = frozenset({"iso8859-1", "cp1252"})
_UNKNOWN_TO_PYTHON = frozenset(
    {
        "binary", "csunicode", "iso-10646-ucs-2", "iso-10646-ucs-4", "iso-2022-cn", "iso-2022-cn-ext",
        "iso-8859-8-i", "iso-8859-8-e", "x-user-defined", "unicode-1-1-utf-8", "utf-7-imap", "scsu", "bocu-1",
        "cesu-8", "windows-874", "dos-874", "x-mac-cyrillic", "x-mac-ukrainian", "x-x-big5", "gb_2312-80",
        "ks_c_5601-1987", "x-sjis", "x-gbk", "x-cp1250", "x-cp1251", "x-cp1252", "viscii", "iso-ir-111",
    }
)  # fmt: skip
"""Charsets of IANA's registry and of the WHATWG's labels for which Python has no decoder, or not by this name."""


@rule(
    *("RFC 2046 §5.1.1", "RFC 9110 §8.3.3"),
    severity=ERROR,
    evidence="headers + body",
    fields=("content-type",),
)
def multipart_boundary_malformed(message: Message) -> Hits:
    """A multipart message has no boundary or one that does not occur in its content.

    File and audio uploads fail with 400 ("Missing boundary in multipart", "no multipart boundary param in
    Content-Type"): somebody set Content-Type by hand and overwrote the one that the HTTP library had made
    together with the content. A gateway that writes the form anew and keeps the header does the same.

    > The Content-Type field for multipart entities requires one parameter, "boundary".

    Bad::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Type: multipart/form-data
        > Content-Length: 69
        >
        > --a1b2
        > Content-Disposition: form-data; name="purpose"
        >
        > batch
        > --a1b2--

    Good::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Type: multipart/form-data; boundary=a1b2
        > Content-Length: 69
        >
        > --a1b2
        > Content-Disposition: form-data; name="purpose"
        >
        > batch
        > --a1b2--
    """
    media = c.media_type(message)
    if media is None or not media.startswith(b"multipart/"):
        return
    line = message.fields.lines("content-type")[0]
    if MEDIA_TYPE.fullmatch(line.value) is None:
        return
    boundary = (_parameter(message, b"boundary") or (line, b""))[1]
    if not boundary:
        yield line, f"{quoted(media)} without a boundary"
        return
    octets = _octets(message) if message.verbatim else None
    delimiter = b"--" + boundary
    if octets is not None and not octets.startswith(delimiter) and b"\n" + delimiter not in octets:
        yield line, f"the boundary {quoted(boundary)} does not occur in {len(octets)} octets of content"


@rule(
    *("RFC 9110 §9.3.1", "RFC 9110 §9.3.2", "RFC 9110 §9.3.5", "RFC 9110 §9.3.8", "RFC 7231 §4.3"),
    severity=WARNING,
    evidence="body",
)
def content_in_bodyless_method(request: Request) -> Hits:
    """A GET, HEAD, DELETE or TRACE request has content.

    It means nothing in these methods: proxies drop it, caches ignore it, and front ends refuse the request
    because content nobody reads is how requests are smuggled. Google's front end answers 400 to a GET with
    content; fetch() throws. A client that always serialises a body, an empty ``{}`` too, is the usual source.

    > Although request message framing is independent of the method used, content received in a GET request
    > has no generally defined semantics, cannot alter the meaning or target of the request, and might lead
    > some implementations to reject the request and close the connection because of its potential as a
    > request smuggling attack

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 2
        >
        > {}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    if request.size and request.method in (b"GET", b"HEAD", b"DELETE", b"TRACE"):
        yield request, f"{request.method.decode('ascii')} with {request.size} octets of content"


@rule("RFC 9110 §12.5.1", "RFC 7231 §5.3.2", severity=WARNING, fields=("accept",))
def accept_ignored(exchange: Exchange) -> Hits:
    """The response has a type the request did not accept.

    A client that asked for JSON gets the page of a login or of a captive portal with status 200, and its SDK
    hands the HTML to the model or raises in the parser. Only 2xx responses are judged. A stream is not:
    Claude Code, the OpenAI and Anthropic SDKs all send ``Accept: application/json`` and ask for the stream in
    the body, so that Accept says nothing about it; whether it was asked for is the topic events'.

    > For example, Accept header fields can be used to indicate that the request is specifically limited to a
    > small set of desired types

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept: application/json
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/html; charset=utf-8
        < Content-Length: 20
        <
        < <html>Sign in</html>

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept: application/json
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 27
        <
        < {"object":"list","data":[]}
    """
    response = exchange.response
    if response is None or not 200 <= response.status <= 299 or response.size == 0:
        return
    media = c.media_type(response)
    # Several ranges come as multipart/byteranges, whatever is in them (RFC 9110 §15.3.7.2).
    if media is None or media in STREAMS or media == b"multipart/byteranges":
        return
    # SDKs ask for the one type that they read.
    if exchange.request.method == b"HEAD" or exchange.request.fields.one("accept") == media:
        return
    ranges = _weighted(exchange.request, "accept")
    if ranges and not any(_admits(name, media) for name, weight in ranges if weight):
        line = response.fields.lines("content-type")[0]
        asked = b", ".join(line.value for line in exchange.request.fields.lines("accept"))
        yield line, f"Content-Type {quoted(media)} answers Accept {quoted(mask_text(asked))}"


def _admits(asked: bytes, media: bytes) -> bool:
    """Whether a media range takes a type; generous where the range is malformed or stands for any content."""
    if asked.count(b"/") != 1 or asked == media or asked in _ANYTHING or asked in STREAMS:
        return True
    if asked.endswith(b"/*"):
        return media.startswith(asked[:-1])
    # application/problem+json is JSON for everybody who asks for JSON.
    return media.endswith(b"+" + asked.partition(b"/")[2])


_ANYTHING = frozenset({b"*/*", b"application/octet-stream", b"application/binary"})
"""openai-python asks for files and speech with the last two, whatever they are."""


@rule("RFC 8259 §11", severity=NOTE, fields=("content-type",))
def json_charset_parameter(message: Message) -> Hits:
    """The media type application/json carries a charset parameter.

    JSON is UTF-8, the type has no such parameter, and who reads one anyway reads it in vain; who compares the
    whole value with ``application/json`` finds something else. Many frameworks append it to everything.

    > Note: No "charset" parameter is defined for this registration. Adding one really has no effect on
    > compliant recipients.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json; charset=utf-8
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
    """
    if (
        c.media_type(message) == b"application/json"
        and (found := _parameter(message, b"charset")) is not None
    ):
        yield found[0], f"application/json with charset {quoted(found[1], 40)}, which it does not have"


@rule(
    *("RFC 9110 §8.4.1", "RFC 9110 §12.5.3", "RFC 7231 §3.1.2.2"),
    severity=NOTE,
    fields=("content-encoding",),
)
def identity_content_encoding(message: Message) -> Hits:
    """Content-Encoding says identity.

    The word is for Accept-Encoding, where it asks for no coding; as a coding it is none, and decoders that look
    every name up refuse the message. Leave the header out.

    > The "identity" token is used as a synonym for "no encoding" in order to communicate when no encoding is
    > preferred.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Encoding: identity
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept-Encoding: identity
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    for line in message.fields.lines("content-encoding"):
        if any(member.strip(OWS).lower() == b"identity" for member in line.value.split(b",")):
            yield line, f"Content-Encoding {shown(line.name, line.value)}: identity is no coding"


@rule(
    *("RFC 9110 §8.4", "RFC 9112 §7.2", "RFC 7230 §4.2"),
    severity=WARNING,
    fields=("transfer-encoding",),
    verbatim=True,
)
def same_content_and_transfer_coding(message: Message) -> Hits:
    """One coding is named by both Content-Encoding and Transfer-Encoding.

    Content that was compressed once is decoded twice, or the other way round: one hop undoes the transfer
    coding and drops that header, the next finds compressed content no more. Nobody compresses twice on purpose.

    > Unlike Transfer-Encoding (Section 6.1 of [HTTP/1.1]), the codings listed in Content-Encoding are a
    > characteristic of the representation

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > TE: gzip
        > Accept-Encoding: gzip
        > Connection: TE
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Transfer-Encoding: gzip, chunked

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Encoding: gzip
        < Transfer-Encoding: chunked
    """
    if "content-encoding" not in message.fields:
        return
    listed = {value.lower().removeprefix(b"x-") for value in message.fields.values("transfer-encoding")}
    both = listed & {coding.removeprefix(b"x-") for coding in c.codings(message)}
    for coding in sorted(both):
        line = message.fields.lines("transfer-encoding")[0]
        yield line, f"{quoted(coding, 40)} is named by Content-Encoding, too"


@rule("RFC 7578 §4.2", severity=ERROR, evidence="body", fields=("content-type",))
def form_part_without_name(request: Request) -> Hits:
    """A form-data part has no name.

    Servers drop the part, or refuse the form: an upload of a file for fine-tuning is answered with "field
    required" although the file is there. A part that was put together by hand, or by a library for mail, which
    knows no names, is the usual source.

    > The Content-Disposition header field MUST also contain an additional parameter of "name"

    Bad::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Type: multipart/form-data; boundary=a1b2
        > Content-Length: 80
        >
        > --a1b2
        > Content-Disposition: attachment; filename="train.jsonl"
        >
        > {"a":1}
        > --a1b2--

    Good::

        > POST /v1/files HTTP/1.1
        > Host: api.example
        > Content-Type: multipart/form-data; boundary=a1b2
        > Content-Length: 92
        >
        > --a1b2
        > Content-Disposition: form-data; name="file"; filename="train.jsonl"
        >
        > {"a":1}
        > --a1b2--
    """
    boundary = _parameter(request, b"boundary")
    if c.media_type(request) != b"multipart/form-data" or boundary is None or not boundary[1]:
        return
    octets = _octets(request)
    if octets is None:
        return
    for number, head in enumerate(_part_heads(octets, boundary[1]), 1):
        said = next(
            (line for line in head.split(b"\n") if line.lower().startswith(b"content-disposition:")), b""
        )
        given = [part.partition(b"=")[0].strip(OWS).lower() for part in parameters(said.rstrip(b"\r"))[1:]]
        if b"name" not in given:
            yield request, f"part {number} of the form has no name"
            return


def _part_heads(octets: bytes, boundary: bytes) -> Iterator[bytes]:
    """The header sections of the parts of multipart content, folded lines put together (RFC 2046 §5.1.1)."""
    # The first delimiter may be at the very beginning; the preamble before it is no part.
    for part in (b"\n" + octets).split(b"\n--" + boundary)[1:]:
        if part.startswith(b"--"):
            return
        if part[:1] not in (b"\r", b"\n", b" ", b"\t"):
            continue  # a longer word that begins like the boundary
        head, end, _ = part.replace(b"\r\n", b"\n", 100).partition(b"\n\n")
        if end:
            yield _FOLD.sub(b" ", head.lstrip(b"\n"))


_FOLD = re.compile(rb"\n[ \t]")

_TCHARS = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )                          (RFC 9110 §12.4.2)
_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_ACCEPTS: Mapping[str, re.Pattern[bytes]] = {
    # media-range = ( "*/*" / ( type "/" "*" ) / ( type "/" subtype ) ) parameters       (RFC 9110 §12.5.1)
    "accept": re.compile(_TCHARS + rb"/" + _TCHARS),
    "accept-charset": re.compile(_TCHARS),
    "accept-encoding": re.compile(_TCHARS),
    # language-range = (1*8ALPHA *("-" 1*8alphanum)) / "*"                             (RFC 4647 §2.1)
    "accept-language": re.compile(rb"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*"),
}
"""By field: what a member is, without its weight and, in Accept, its parameters."""


def _is_accept(name: str, member: bytes) -> bool:
    wanted, *rest = parameters(member)
    weighted = False
    for part in rest:
        key, equals, value = part.partition(b"=")
        if equals and key.lower() == b"q":
            weighted = True
            if not _QVALUE.fullmatch(value):
                return False
        elif weighted and name == "accept" and TOKEN.fullmatch(part):
            continue  # accept-ext = OWS ";" OWS token [ "=" ... ], until 2022 (RFC 7231 §5.3.2)
        elif name != "accept" or (part and not PARAMETER.fullmatch(part)):
            return False
    return _ACCEPTS[name].fullmatch(wanted) is not None


_UNPRINTABLE = re.compile(rb"[^\t\x20-\x7e]")


@rule(
    *("RFC 9110 §12.4.2", "RFC 9110 §12.5", "RFC 7231 §5.3"),
    severity=WARNING,
    fields=tuple(_ACCEPTS),
)
def accept_malformed(request: Request) -> Hits:
    """An Accept header is malformed.

    Servers ignore it and choose for themselves, or answer 400 or 406. ``Accept: json``, a weight above 1 or with
    no digit before the point (Java's HttpURLConnection: ``*; q=.2``), a semicolon between types and a locale in
    the place of a language (``en_US``) are the usual forms.

    > qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept: json

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept-Language: en_US, en;q=1.5

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept: text/event-stream, application/json;q=0.9, */*;q=0.1
        > Accept-Encoding: gzip, br;q=0.5, *;q=0
        > Accept-Language: en-US, en;q=0.5
    """
    for name in _ACCEPTS:
        for line in request.fields.lines(name):
            if line.value.count(b'"') % 2 or _UNPRINTABLE.search(line.value):
                continue  # quoted-string-malformed, and what stands in no value at all
            members = (member.strip(OWS) for member in split_members(line.value))
            wrong = next((member for member in members if member and not _is_accept(name, member)), None)
            if wrong is not None:
                what = "no media range" if name == "accept" else "malformed"
                yield (
                    line,
                    f"in {line.shown_name} {shown(line.name, line.value)}, {quoted(wrong, 60)} is {what}",
                )


SKEW = 300.0
"""Seconds by which clocks may differ: what AWS and most verifiers of tokens let pass."""
NO_CLOCK = 1e9
"""Seconds since 1970 below which times are none of a clock: transcripts written by hand count from 0."""
_CACHED = ("age", "x-cache", "cf-cache-status", "cache-status", "x-cache-status", "x-varnish")


@rule(
    *("RFC 9110 §6.6.1", "RFC 9110 §5.6.7", "RFC 7231 §7.1.1.2"),
    severity=WARNING,
    fields=("date",),
    verbatim=True,
)
def date_skewed(exchange: Exchange) -> Hits:
    """Date differs from the time of recording by more than the tolerance.

    One of two clocks is wrong, the server's or the recorder's, and signatures, lifetimes of tokens and dates in
    Retry-After are judged by it. Five minutes are what AWS and most verifiers let pass. Answers out of a cache
    bear the date on which they were made, and so do those that a recorder replays or a browser had stored.

    > A recipient with a clock that receives a response message without a Date header field MUST record the time
    > it was received and append a corresponding Date header field to the message's header section if it is
    > cached or forwarded downstream.

    Bad::

        @ started: 1795144455
        @ answered: 1795144456
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 04:14:16 GMT
        < Content-Length: 2

    Good::

        @ started: 1795144455
        @ answered: 1795144456
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < Content-Length: 2
    """
    response = exchange.response
    if response is None or exchange.is_replay or not response.fields.names.isdisjoint(_CACHED):
        return
    sent = date(response.fields.one("date") or b"")
    times = [time for time in (exchange.started, exchange.answered, exchange.ended) if time is not None]
    if sent is None or not times or min(times) < NO_CLOCK:
        return
    moment = sent.timestamp()
    # Servers write the date when they begin or when they end; between these every moment is right.
    early, late = min(times) - moment, moment - max(times)
    if max(early, late) > SKEW:
        line = response.fields.lines("date")[0]
        direction = (
            f"{early:.0f} s before the request" if early > late else f"{late:.0f} s after the response"
        )
        yield line, f"Date {shown(line.name, line.value)} is {direction} by the recorder's clock"


@rule(*("RFC 9110 §10.1.5", "RFC 7231 §5.5.3"), severity=NOTE)
def user_agent_missing(request: Request) -> Hits:
    """The request has no User-Agent or one that names no product.

    Providers and the firewalls in front of them refuse or throttle clients without a name, and nobody who looks
    for a broken client finds it. Routers that make requests of their own (health checks, discovery) often send
    none.

    > A user agent SHOULD send a User-Agent header field in each request unless specifically configured not to
    > do so.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > User-Agent: my-agent/2.1
    """
    lines = request.fields.lines("user-agent")
    if not lines and not _says_nothing(request):
        yield request, "no User-Agent"
    for line in lines:
        if _PRODUCT.match(line.value) is None:
            yield line, f"User-Agent {shown(line.name, line.value)} names no product"


# product = token ["/" product-version]; what begins with no letter or digit is a dash or a bracket (match)
_PRODUCT = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z]")


# disposition-type *( ";" disposition-parm ), where a last semicolon is let pass       (RFC 6266 §4.1)
_DISPOSITION = re.compile(
    _TCHARS
    + rb"(?:[ \t]*+;[ \t]*+(?:"
    + _TCHARS
    + rb"[ \t]*=[ \t]*(?:"
    + _TCHARS
    + rb"|"
    + QUOTED_STRING.pattern
    + rb"))?+)*+[ \t]*"
)
# ext-value = charset "'" [ language ] "'" value-chars                                 (RFC 8187 §3.2.1)
_EXT_VALUE = re.compile(rb"(?i)(?:utf-8|iso-8859-1)'[a-z0-9\-]*'(?:%[0-9a-f]{2}|[!#$&+\-.^_`|~0-9a-z])*")


@rule(*("RFC 6266 §4", "RFC 8187 §3.2"), severity=WARNING, fields=("content-disposition",))
def content_disposition_malformed(message: Message) -> Hits:
    """Content-Disposition is malformed or its filename is unsafe.

    Downloads are saved under a wrong name, or where the server wants them: a client that joins ``../`` or a
    path to its folder writes outside of it. A name with spaces needs quotes, one with letters beyond ASCII the
    form ``filename*=UTF-8''caf%C3%A9.txt``.

    > Recipients MUST NOT be able to write into any location other than one to which they are specifically
    > entitled.

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Disposition: attachment; filename=my report.txt
        < Content-Length: 2

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Disposition: attachment; filename="../.ssh/authorized_keys"
        < Content-Length: 2

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Disposition: attachment; filename="my report.txt"; filename*=UTF-8''my%20report.txt
        < Content-Length: 2
    """
    for line in message.fields.lines("content-disposition"):
        value = line.value
        if not value or _UNPRINTABLE.search(value) or known.JOINED["content-disposition"].search(value):
            continue
        said = f"Content-Disposition {shown(line.name, value)}"
        if _DISPOSITION.fullmatch(value) is None:
            if _QUOTES_END.fullmatch(value):  # else it is quoted-string-malformed
                yield line, f"{said} does not follow type; name=value"
        elif (problem := _unsafe_name(value)) is not None:
            yield line, f"{said} {problem}"


# every quote that opens is closed
_QUOTES_END = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)


def _unsafe_name(value: bytes) -> str | None:
    for part in parameters(value)[1:]:
        name, _, given = part.partition(b"=")
        name, given = name.strip(OWS).lower(), given.strip(OWS)
        if name == b"filename*":
            if _EXT_VALUE.fullmatch(given) is None:
                return "has a filename* that is no charset'language'value"
            given = unquote_to_bytes(given.rpartition(b"'")[2])
        elif name == b"filename":
            given = re.sub(rb"\\(.)", rb"\1", given[1:-1]) if given.startswith(b'"') else given
        else:
            continue
        if b"/" in given or b"\\" in given or given in (b".", b".."):
            return "names a file in another folder"
        if any(octet < 0x20 or octet == 0x7F for octet in given):
            return "names a file with control characters"
    return None


_MEMBERS = {"type": str, "title": str, "status": int, "detail": str, "instance": str}
"""Of a problem document, all of them optional (RFC 9457 §3.1)."""


@rule(
    *("RFC 9457 §3", "RFC 7807 §3"),
    severity=NOTE,
    evidence="headers + body",
    fields=("content-type",),
)
def problem_details_malformed(response: Response) -> Hits:
    """Content labelled application/problem+json is no problem document, or the reverse.

    Generic error handlers look for the label and read title, detail and status: of another document they show
    nothing, and a problem under application/json they never see. A status member that is not the response's
    misleads whoever reads the content only.

    > The canonical model for problem details is a JSON object.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 5
        < Content-Type: application/problem+json
        < Content-Length: 39
        <
        < {"title":"No worker left","status":500}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 5
        < Content-Type: application/problem+json
        < Content-Length: 39
        <
        < {"title":"No worker left","status":503}
    """
    media = c.media_type(response)
    if media not in (b"application/problem+json", b"application/json") or _labelled_json(response) is None:
        return
    parsed = c.json_of(response)
    if parsed is None or parsed.problem is not None:
        return
    line, document = response.fields.lines("content-type")[0], parsed.value
    if media == b"application/json":
        is_one = isinstance(document, dict) and document.keys() >= {"type", "title", "status"}
        if is_one and response.status >= 400 and document["status"] == response.status:
            yield line, "a problem document labelled application/json"
        return
    if not isinstance(document, dict):
        yield line, "application/problem+json that is no object"
        return
    for name, kind in _MEMBERS.items():
        value = document.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            yield (
                line,
                f"{name} in a problem document is {'a number' if kind is int else 'text'}, and here is not",
            )
            return
    status = document.get("status")
    if status is not None and status != response.status:
        yield line, f"the problem document says status {status}, the response {response.status}"


_HASHES: Mapping[str, Callable[[bytes], bytes]] = {
    "sha-256": lambda octets: hashlib.sha256(octets).digest(),
    "sha-512": lambda octets: hashlib.sha512(octets).digest(),
    # not for security: what senders that know nothing better write
    "sha": lambda octets: hashlib.sha1(octets, usedforsecurity=False).digest(),
    "md5": lambda octets: hashlib.md5(octets, usedforsecurity=False).digest(),
}
"""RFC 9530 §7.2's registry, as far as hashlib goes."""
_DIGESTS = ("content-digest", "repr-digest", "digest", "content-md5")


@rule(
    *("RFC 9530 §2", "RFC 9530 §3", "RFC 3230 §4.3"),
    severity=ERROR,
    evidence="headers + body",
    fields=_DIGESTS,
    verbatim=True,
)
def digest_mismatch(message: Message) -> Hits:
    """A digest header does not match the content.

    A hop changed the content, decompressed or compressed it, and left the digest, or copied it from another
    answer: recipients that check refuse the message, and signatures over the digest are void. Digests of what a
    part, HEAD or 304 does not hold are not judged, nor algorithms that Python does not have.

    > The Content-Digest HTTP field can be used in requests and responses to communicate digests that are
    > calculated using a hashing algorithm applied to the actual message content

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Digest: sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Digest: sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:
        > Content-Length: 2
        >
        > {}
    """
    if not message.body or not c.is_whole(message):
        return
    is_representation = not isinstance(message, Response) or message.status == 200
    for fields in (message.fields, message.trailers):
        for name in _DIGESTS:
            lines = fields.lines(name)
            if not lines or not (is_representation or name == "content-digest"):
                continue
            for algorithm, said in _said_digests(name, b", ".join(line.value for line in lines)):
                octets = message.content
                hashed = _HASHES.get(algorithm)
                if octets is None or hashed is None or hashed(octets) == said:
                    continue
                right = base64.b64encode(hashed(octets)).decode()
                yield (
                    lines[0],
                    (
                        f"{lines[0].shown_name} gives {base64.b64encode(said[:64]).decode()} as {algorithm}, and the "
                        f"{len(octets)} octets of content have {right}"
                    ),
                )


def _said_digests(name: str, value: bytes) -> Iterator[tuple[str, bytes]]:
    """(algorithm, digest) of each member of a digest field; what cannot be read is left out."""
    if name.endswith("-digest"):
        try:
            members = parse_dictionary(value)
        except Malformed:
            return  # structured-field-malformed
        for key, member in members.items():
            if isinstance(member, Item) and isinstance(member.value, bytes):
                yield key, member.value
        return
    for part in value.split(b","):
        algorithm, equals, encoded = (
            part.strip(OWS).partition(b"=") if name == "digest" else (b"md5", b"=", part)
        )
        try:
            digest = base64.b64decode(encoded.strip(OWS), validate=True)
        except binascii.Error:
            continue
        if equals and digest:
            yield algorithm.decode("latin-1").lower(), digest

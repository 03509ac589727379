"""What a message's content is, and whether the fields about it are true: type, charset, coding, JSON.

Content is judged only where all of it is known: a part of a document proves nothing about the whole, and
framing has rules of its own for content that is cut off. One defect is one finding:

* compressed octets that nobody announced are compressed-content-without-content-encoding and nothing else;
* what is labelled JSON is content-type-mismatch where it is something else (a page, a sentence), and
  json-malformed where it begins like JSON;
* event streams, labelled or not, are the topic events'.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from conformance import content as c
from conformance import known
from conformance.grammar import PARAMETER, QUOTED_STRING, parameters
from conformance.message import Exchange, FieldLine, Message, Request
from conformance.rule import ERROR, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown

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
    except c.Undecodable:
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


@rule("RFC 9110 §6.6.1", "RFC 7231 §7.1.1.2", severity=WARNING)
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
        and not _says_nothing(response)
    ):
        yield response, f"{response.status} without Date"


@rule("RFC 9110 §8.3", "RFC 7231 §3.1.1.5", severity=WARNING, evidence="body")
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


@rule("RFC 8259 §2", severity=ERROR, evidence="body", fields=("content-type",))
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


@rule("RFC 8259 §8.1", severity=ERROR, evidence="body", fields=("content-type",), verbatim=True)
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


@rule("RFC 8259 §6", severity=ERROR, evidence="body", fields=("content-type",))
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


@rule("RFC 8259 §4", severity=WARNING, evidence="body", fields=("content-type",))
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
    listed = c.codings(message)
    for coding in sorted({coding for coding in listed if listed.count(coding) > 1}):
        line = message.fields.lines("content-encoding")[-1]
        yield line, f"Content-Encoding names {quoted(coding)} {listed.count(coding)} times"


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
    if media is None or media in STREAMS or exchange.request.method == b"HEAD":
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

"""Field lines one by one: their names, what their values may hold, how long they may be.

Each octet out of place has one rule, the most specific:

* in a name: nothing before the colon is header-name-empty, whitespace before the colon is
  space-before-header-colon, whitespace at the beginning of the first line is space-before-first-header,
  anything else that is no token is header-name-malformed;
* in a value: CRLF and whitespace is folded-header-value, a line break and a field line is
  header-line-injected, any other line break and NUL is newline-or-nul-in-header, CR alone is
  bare-carriage-return, other controls are control-character-in-header.

HTTP/2 and HTTP/3 have no lines to break: a line break in their values is newline-in-http2-header.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from conformance import grammar, known
from conformance.content import once
from conformance.message import FieldLine, Message, Request, Response, split_members
from conformance.policy import Policy
from conformance.rule import ERROR, NOTE, RULES, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown
from conformance.structured import KINDS, PARSERS, Malformed

MAX_LINE = 8 * 1024
"""Octets of one field line that servers take by default: aiohttp 8190, nginx 8 KiB."""
MAX_SECTION = 16 * 1024
"""Octets of a header section that node takes by default (--max-http-header-size)."""
MAX_LINES = 100
"""Field lines that Python's http.client and Apache take by default."""

JUDGED_BY: Mapping[str, str] = {
    "authorization": "placeholder-bearer-token",
    **dict.fromkeys(known.API_KEYS, "placeholder-api-key"),
    "anthropic-beta": "beta-token-malformed",
    "openai-beta": "beta-token-malformed",
    "connection": "connection-header-malformed",
    "content-length": "content-length-malformed",
    "content-type": "content-type-malformed",
    "proxy-authenticate": "www-authenticate-malformed",
    "retry-after": "retry-after-malformed",
    "sec-websocket-extensions": "websocket-extensions-malformed",
    "sec-websocket-key": "websocket-key-malformed",
    "sec-websocket-protocol": "duplicate-websocket-subprotocol",
    "traceparent": "traceparent-malformed",
    "transfer-encoding": "obfuscated-transfer-encoding",
    "www-authenticate": "www-authenticate-malformed",
    **dict.fromkeys(known.DATES, "date-malformed"),
    "expires": "expires-malformed",
}
"""Fields with a rule (or a topic) of their own: where it exists, the general ones below keep quiet."""

NEEDS_VALUE: frozenset[str] = (
    known.SESSION_HEADERS
    | known.REQUEST_IDS
    | known.API_KEYS
    | {
        "authorization", "proxy-authorization", "content-type", "anthropic-beta", "openai-beta",
        "anthropic-version",  # a date
        "openai-organization", "openai-project", "chatgpt-account-id",  # an id
        "idempotency-key",  # a string, which is never empty
        "access-control-allow-origin",  # an origin, null or *  (Fetch §3.3.3)
        "content-disposition",  # disposition-type *( ";" disposition-parm )  (RFC 6266 §4.1)
    }
)  # fmt: skip
"""Fields that say nothing, or something wrong, when they are empty. Many more may legally be empty (Accept,
Accept-Encoding, Host, TE, Trailer, every list) or are by custom (User-Agent, Referer, Cookie)."""

LEGAL_WORDS: Mapping[str, str] = {
    "access-control-allow-origin": "null is the serialised opaque origin (Fetch §3.3.3)",
    "origin": "null is the serialised opaque origin (RFC 6454 §7.1)",
    "sec-websocket-origin": "null, as in Origin (drafts of RFC 6455)",
    "timing-allow-origin": "null, as in Origin (Resource Timing §4.5.1)",
}
"""Fields in which such a word is a value, with the reason. Words are compared with their case: ``none`` is a
value of Accept-Ranges, Sec-Fetch-Site, X-Permitted-Cross-Domain-Policies, X-Robots-Tag and many fields nobody
standardised; ``None`` is Python."""

_WRITTEN_BY: Mapping[bytes, str] = {
    b"None": "Python",
    b"null": "JavaScript, Java or JSON",
    b"undefined": "JavaScript",
    b"NaN": "JavaScript",
    b"[object Object]": "JavaScript",
    b"[object Promise]": "JavaScript",
    b"[object Undefined]": "JavaScript",
    b"[object Null]": "JavaScript",
    b"nil": "Ruby or Lua",
    b"<nil>": "Go",
    b"(null)": "C",
}
_ANY_CASE = {word.lower(): language for word, language in _WRITTEN_BY.items()}
_SCHEMES = (b"Bearer ", b"bearer ", b"Basic ", b"basic ", b"Token ", b"token ")
_NOTHINGS = frozenset(
    scheme + spelling
    for word in _WRITTEN_BY
    for spelling in (word, word.lower(), word.upper(), word.capitalize())
    for scheme in (b"", *_SCHEMES)
)
"""Every value that is nothing, so that one set operation clears an ordinary message."""

# field names are tokens (RFC 9110 §5.1)
_TCHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# field-vchar, SP and HTAB (RFC 9110 §5.5), and what other rules look for: CR, LF, NUL
_NO_CONTROL = bytes({*range(256)} - {*range(0x20), 0x7F} | {*b"\t\r\n\0"})
# what a LF or NUL in a value begins; alternatives in order of how specific they are (search)
_BREAK = re.compile(
    rb"(?P<fold>\r?\n[ \t])|(?P<field>\r?\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*:)|(?P<bare>\r?\n|\x00)"
)
# the same, percent-encoded (search)
_ENCODED_FIELD = re.compile(rb"(?i)(?:%0d)?%0a(?P<name>[!#$&'*+\-.^_`|~0-9A-Za-z]+)(?:%20)*[ \t]*(?::|%3a)")
_PERCENT_DECODED = frozenset(
    {
        "cookie", "set-cookie",  # by custom
        "location", "content-location", "referer", "link", "origin",  # URIs
        "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-original-uri", "x-envoy-original-path",
        "content-disposition",  # RFC 8187
        "baggage",  # W3C Baggage §3.3.1.3
        "grpc-message",  # gRPC over HTTP/2, Status-Message
        "x-goog-request-params",
    }
)  # fmt: skip
"""Fields whose values are percent-encoded by their definition: an encoded line break in them is data."""
_FIELD_NAMES = (
    known.SINGLETONS
    | known.REPEATABLE
    | known.REQUEST_ONLY
    | known.RESPONSE_ONLY
    | known.HOP_BY_HOP
    | NEEDS_VALUE
)

# a comma behind which nothing stands; one at the beginning is looked for apart (search)
_EMPTY_MEMBER = re.compile(rb",[ \t]*(?:[,\n]|\Z)")
# Commas are not only separators in a Link, whose URIs may hold any number of them; a structured field that holds
# an empty element is malformed as a whole.
_LISTS = known.LISTS - {"link"} - KINDS.keys()

_QUOTES = re.compile(rb'\\[\x00-\xff]?|"')
_QUOTING = frozenset(
    {
        "accept", "alt-svc", "authentication-info", "cache-control", "content-disposition", "content-type",
        "expect", "forwarded", "keep-alive", "link", "prefer", "preference-applied", "proxy-authenticate",
        "proxy-authentication-info", "sec-websocket-extensions", "server-timing", "strict-transport-security",
        "te", "www-authenticate",
    }
)  # fmt: skip
"""Fields whose grammar has quoted-string. In others a quote is an ordinary character: JSON values."""

# whitespace at an edge of a value, among values joined by line feeds (search)
_EDGE = re.compile(rb"[ \t]\n|\n[ \t]")
_EDGES = (b" ", b"\t")

_WITH_PARAMETERS = frozenset(
    {
        "accept", "accept-charset", "accept-encoding", "accept-language", "content-disposition", "content-type",
        "forwarded", "link", "te",
    }
)  # fmt: skip
_LINK_TARGET = re.compile(rb"<[^<>]*>")
_UNPRINTABLE = re.compile(rb"[^\t\x20-\x7e]")
_JUDGED_IN_RESPONSES = frozenset({"sec-websocket-key"})
_JUDGED_IN_REQUESTS = frozenset({"sec-websocket-accept"})
"""The handshake's own fields, which topic handshake is about."""

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")


def _lines(message: Message) -> Iterator[FieldLine]:
    yield from message.fields
    yield from message.trailers


def _names(message: Message) -> bytes:
    """All names, joined by line feeds."""
    if not len(message.trailers):
        return message.fields.names_block
    return message.fields.names_block + b"\n" + message.trailers.names_block


def _values(message: Message) -> bytes:
    """All values, joined by line feeds."""
    if not len(message.trailers):
        return message.fields.block
    return message.fields.block + b"\n" + message.trailers.block


def _has_breaks(message: Message) -> bool:
    """Whether any value holds LF or NUL."""
    return once(message, "_has_breaks", _find_breaks)


def _find_breaks(message: Message) -> bool:
    values = _values(message)
    return b"\0" in values or values.count(b"\n") >= max(1, len(message.fields) + len(message.trailers))


def _judged_elsewhere(field: str) -> bool:
    return JUDGED_BY.get(field) in RULES


def _text(octets: bytes) -> str:
    return quoted(mask_text(octets))


def _said(line: FieldLine) -> str:
    return f"{_text(line.name)[1:-1]} {shown(line.name, line.value)}"


@rule(
    "RFC 9110 §5.1",
    "RFC 9110 §5.6.2",
    "RFC 7230 §3.2",
    "RFC 7230 §3.2.6",
    severity=ERROR,
    evidence="headers | error | octets",
    breaks=("h11", "aiohttp", "node", "httptools", "mitmproxy"),
)
def header_name_malformed(message: Message) -> Hits:
    """A header name is not a token.

    h11 (uvicorn, hypercorn, httpx), aiohttp, node and mitmproxy refuse the whole message, so that one bad
    name loses the exchange: the agent sees a connection error or mitmproxy's 502. Names made from data (a
    metadata key with a space, a letter with an accent) are the usual source.

    > Tokens are short textual identifiers that do not include whitespace or delimiters.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Metadata-User Name: ada

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Metadata-User-Name: ada
    """
    names = _names(message)
    count = len(message.fields) + len(message.trailers)
    if not names.translate(None, _TCHARS + b"\n") and names.count(b"\n") < count:
        return
    for index, line in enumerate(_lines(message)):
        name = line.name.rstrip(grammar.OWS)
        if not index:
            name = name.lstrip(grammar.OWS)
        # Recorders write HTTP/2's pseudo-header fields among the others.
        if line.name.startswith(b":") and not message.is_http1:
            continue
        if (name or (index and line.name)) and not grammar.TOKEN.fullmatch(name):
            yield line, f"the header name {_text(line.name)} is not a token"


@rule(
    "RFC 9112 §5.1",
    "RFC 7230 §3.2.4",
    severity=ERROR,
    evidence="headers | error | octets",
)
def space_before_header_colon(message: Message) -> Hits:
    """Whitespace stands between a header name and its colon.

    In a request every server and proxy measured answers 400, except mitmproxy with
    ``validate_inbound_headers=false``. In a response httpx, aiohttp, node's http, undici, nginx, haproxy,
    apache, envoy and varnish fail, while requests, Go, curl, caddy, squid and node's fetch strip it and go
    on: who strips sees a Content-Length that the one before has not seen.

    > No whitespace is allowed between the field name and colon.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title : lab

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: lab
    """
    names = _names(message)
    if b" " not in names and b"\t" not in names:
        return
    for line in _lines(message):
        if line.name[-1:] in (b" ", b"\t") and line.name.strip(grammar.OWS):
            yield line, f"whitespace stands between the header name {_text(line.name)} and the colon"


@rule(
    "RFC 9112 §5",
    "RFC 9110 §5.1",
    "RFC 7230 §3.2",
    severity=ERROR,
    evidence="headers | error | octets",
    fields=("",),
)
def header_name_empty(message: Message) -> Hits:
    """A header line has an empty name.

    Every server and proxy measured answers 400 but Go 1.19 and caddy 2.6.2, and mitmproxy keeps no flow of
    such a request. It is what is left of a name that a template or a configuration did not fill in.

    > Each field line consists of a case-insensitive field name followed by a colon (":"), optional leading
    > whitespace, the field line value, and optional trailing whitespace.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > : lab

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: lab
    """
    for line in _lines(message):
        if not line.name:
            yield line, f"a header line with the value {shown(line.name, line.value)} has no name"


@rule(
    "RFC 9112 §5",
    "RFC 7230 §3.2",
    severity=ERROR,
    evidence="headers | error | octets",
)
def header_colon_missing(message: Message) -> Hits:
    """A header line has no colon.

    h11, aiohttp, node and mitmproxy drop the whole message, lenient parsers ignore the line or take it for a
    fold of the one before, so that two hops see two sets of headers. It takes octets to see one: no recorder
    of parsed messages can write it down.

    > Each field line consists of a case-insensitive field name followed by a colon (":"), optional leading
    > whitespace, the field line value, and optional trailing whitespace.

    Bad::

        >> GET /v1/models HTTP/1.1\\r\\n
        >> Host: api.example\\r\\n
        >> X-Title lab\\r\\n
        >> \\r\\n

    Good::

        >> GET /v1/models HTTP/1.1\\r\\n
        >> Host: api.example\\r\\n
        >> X-Title: lab\\r\\n
        >> \\r\\n
    """
    if message.wire is None:
        return
    for line in (*message.wire.lines[1:], *message.wire.trailer_lines):
        if line.text and b":" not in line.text and line.text[:1] not in (b" ", b"\t"):
            yield line, f"the header line {_text(line.text)} has no colon"


@rule(
    "RFC 9112 §2.2",
    "RFC 7230 §3",
    severity=ERROR,
    evidence="headers | error | octets",
)
def space_before_first_header(message: Message) -> Hits:
    """Whitespace stands between the start line and the first header.

    Some parsers skip such lines, some join the first to the start line as a fold, some read a header from it:
    whoever hides a Transfer-Encoding there is seen by one hop only. h11, llhttp (HPE_UNEXPECTED_SPACE) and
    mitmproxy refuse the message.

    > A sender MUST NOT send whitespace between the start-line and the first header field.

    Bad::

        >> GET /v1/models HTTP/1.1\\r\\n
        >>  X-Title: lab\\r\\n
        >> Host: api.example\\r\\n
        >> \\r\\n

    Good::

        >> GET /v1/models HTTP/1.1\\r\\n
        >> X-Title: lab\\r\\n
        >> Host: api.example\\r\\n
        >> \\r\\n
    """
    if message.wire is not None:
        for physical in message.wire.lines[1:2]:
            if physical.text[:1] in (b" ", b"\t"):
                yield physical, f"the first header line {_text(physical.text)} begins with whitespace"
    elif len(message.fields) and message.fields[0].name[:1] in (b" ", b"\t"):
        yield (
            message.fields[0],
            f"the first header name {_text(message.fields[0].name)} begins with whitespace",
        )


@rule(
    "RFC 9112 §5.2",
    "RFC 7230 §3.2.4",
    severity=ERROR,
    evidence="headers | octets",
    verbatim=True,
    odd=True,
)
def folded_header_value(message: Message) -> Hits:
    """A header value is folded over several lines.

    Folded requests are answered 400 by uvicorn with httptools, granian, aiohttp, node, nginx 1.22,
    sglang-router, smg and vllm-router; h11, hypercorn, Go, haproxy, caddy and envoy accept them. Of the
    clients node's http, undici and aiohttp under ``-X dev`` refuse a folded response. mitmproxy forwards
    folds, each re-indented to one space. Their source is a value that was wrapped for reading: a certificate,
    base64 in lines of 76.

    > A sender MUST NOT generate a message that includes line folding (i.e., that has any field line value
    > that contains a match to the obs-fold rule) unless the message is intended for packaging within the
    > "message/http" media type.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Trace-Note: first part,\\r\\n second part

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Trace-Note: first part, second part
    """
    if message.is_http1 and _has_breaks(message):
        for line in _lines(message):
            if folds := _breaks(line.value, "fold"):
                yield line, f"{_said(line)} is folded over {folds + 1} lines"


@rule(
    "RFC 9110 §5.5",
    "RFC 7230 §3.2",
    "RFC 7230 §3.2.4",
    severity=ERROR,
    verbatim=True,
    odd=True,
)
def newline_or_nul_in_header(message: Message) -> Hits:
    """A header value contains NUL, CR or LF.

    httpx, aiohttp and node all refuse the message; mitmproxy forwards NUL and CR as they are. Whoever copies
    the value to its next hop splits it into two lines. In HTTP/1 a CR alone is bare-carriage-return, a line
    break that begins a fold is folded-header-value, and one that begins a field line is header-line-injected.

    > Field values containing CR, LF, or NUL characters are invalid and dangerous, due to the varying ways
    > that implementations might parse and interpret those characters; a recipient of CR, LF, or NUL within a
    > field value MUST either reject the message or replace each of those characters with SP before further
    > processing or forwarding of that message.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: lab\\x00

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: lab
    """
    if message.is_http1 and _has_breaks(message):
        for line in _lines(message):
            if _breaks(line.value, "bare"):
                what = "NUL" if b"\0" in line.value else "a line break"
                yield line, f"{_said(line)} contains {what}"


def _breaks(value: bytes, kind: str) -> int:
    return sum(found.lastgroup == kind for found in _BREAK.finditer(value))


@rule(
    "RFC 9110 §5.5",
    "RFC 7230 §3.2",
    severity=ERROR,
    odd=True,
)
def control_character_in_header(message: Message) -> Hits:
    """A header value contains a control character other than tab.

    h11, hypercorn, nginx, haproxy, squid and mitmproxy accept it; uvicorn with httptools, granian, aiohttp,
    node, Go, apache, caddy, envoy, varnish, sglang-router, smg and vllm-router answer 400. So it passes the
    proxy and dies behind it. It comes with text that was pasted or read from a terminal: colour codes, a byte
    of a key file.

    > Field values containing other CTL characters are also invalid; however, recipients MAY retain such
    > characters for the sake of robustness when they appear within a safe context (e.g., an
    > application-specific quoted string that will not be processed by any downstream HTTP parser).

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: \\x1b[1mlab\\x1b[0m

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: lab\\tone
    """
    if not _values(message).translate(None, _NO_CONTROL):
        return
    for line in _lines(message):
        if found := grammar.OTHER_CTL.search(line.value):
            yield line, f"{_said(line)} contains the control character {quoted(found[0])}"


@rule(
    "RFC 9110 §5.5",
    "RFC 7230 §3.2.4",
    severity=WARNING,
    odd=True,
)
def non_ascii_header_value(message: Message) -> Hits:
    """A header value contains octets above 0x7F.

    Nobody measured refuses it, and nobody agrees on what it says: node and Python's http.client decode it as
    Latin-1, others as UTF-8, httpx and the OpenAI SDK raise UnicodeEncodeError when they are to send such
    text. A project or user name that went through two gateways comes out garbled. Encode it:
    percent-encoding, or RFC 8187.

    > Field values are usually constrained to the range of US-ASCII characters [USASCII]. Fields needing a
    > greater range of characters can use an encoding, such as the one defined in [RFC8187].

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: caf\\xc3\\xa9

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: caf%C3%A9
    """
    if _values(message).isascii():
        return
    for line in _lines(message):
        if not line.value.isascii():
            yield line, f"{_said(line)} contains octets above 0x7F"


@rule(
    "RFC 9110 §5.6.1",
    "RFC 7230 §7",
    severity=WARNING,
    fields=sorted(NEEDS_VALUE),
)
def empty_header_value(message: Message) -> Hits:
    """A header that needs a value is present but empty.

    Recipients ask whether the header is there, not whether it says something. LiteLLM 1.106 spreads requests
    with an empty x-litellm-session-id over its deployments; the Gemini CLI may send an empty x-goog-api-key
    in gateway mode; a second, empty Access-Control-Allow-Origin joined to the first made httpx refuse the
    pair as an illegal value (llama-swap#1133). It is judged for credentials, versions and ids only: most
    fields may be empty.

    > In contrast, the following values would be invalid, since at least one non-empty element is required by
    > the example-list production:

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > OpenAI-Organization:

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Accept-Encoding:
    """
    for fields in (message.fields, message.trailers):
        for name in sorted(fields.names & NEEDS_VALUE) if len(fields) else ():
            for line in fields.lines(name):
                if not line.value.strip(grammar.OWS) and not _judged_elsewhere(name):
                    yield (
                        line,
                        f"{line.shown_name} is empty: leave the header out where there is nothing to say",
                    )


@rule(
    "RFC 9110 §5.6.1.1",
    "RFC 7230 §7",
    severity=WARNING,
    fields=sorted(_LISTS),
    verbatim=True,
)
def empty_list_element(message: Message) -> Hits:
    """A list value has an empty element.

    Recipients must skip a reasonable number of them, but code that splits at commas hands an empty token on,
    and the upstream refuses that: an empty origin, an empty address in X-Forwarded-For. A hop that joins a
    header with one it has not got leaves them behind. An empty list is legal.

    > In any production that uses the list construct, a sender MUST NOT generate empty list elements.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cache-Control: no-cache,, no-store

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cache-Control: no-cache, no-store
    """
    for line in _lines(message):
        key = line.key
        if key in _LISTS and b"," in line.value and not _judged_elsewhere(key):
            empty = sum(not member.strip(grammar.OWS) for member in split_members(line.value))
            if empty:
                yield line, f"{_said(line)} has {empty} empty element{'s' * (empty > 1)}"


@rule(
    "RFC 9110 §5.6.4",
    "RFC 7230 §3.2.6",
    severity=ERROR,
    fields=sorted(_QUOTING),
)
def quoted_string_malformed(message: Message) -> Hits:
    """A quoted string is unterminated or wrongly escaped.

    A parser that finds the opening quote only swallows what follows, the next parameter or the next member of
    the list, and one that splits first sees them. A backslash at the end of a Windows path, which escapes the
    closing quote, is the usual source. It is judged in fields whose grammar has quoted strings; elsewhere a
    quote is an ordinary character.

    > A string of text is parsed as a single value if it is quoted using double-quote marks.

    Bad::

        > PUT /v1/files HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > Content-Disposition: attachment; filename="C:\\\\reports\\\\"

    Good::

        > PUT /v1/files HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > Content-Disposition: attachment; filename="a \\\\"quoted\\\\" name.txt"
    """
    for line in _lines(message):
        key = line.key
        if (
            key in _QUOTING
            and b'"' in line.value
            and not _judged_elsewhere(key)
            and not _quotes_match(line.value)
        ):
            yield line, f"in {_said(line)} a quoted string does not end, or escapes what cannot be escaped"


def _quotes_match(value: bytes) -> bool:
    # One pass: matching whole quoted strings from every quote on would take quadratic time.
    inside = False
    for found in _QUOTES.finditer(value):
        token = found[0]
        if token == b'"':
            inside = not inside
        elif inside:
            # quoted-pair = "\" ( HTAB / SP / VCHAR / obs-text )
            if len(token) == 1 or token[1] == 0x7F or (token[1] < 0x20 and token[1] != 0x09):
                return False
        elif token == b'\\"':  # outside, the backslash is no escape, and the quote opens
            inside = True
    return not inside


@rule(
    "RFC 9110 §5.6.7",
    "RFC 7231 §7.1.1.1",
    severity=ERROR,
    fields=sorted(known.DATES),
)
def date_malformed(message: Message) -> Hits:
    """A date header does not parse or names an impossible date.

    Caches, retry logic and clock-skew corrections silently fall back to a default: the response is never
    reused, or always. Python's ``isoformat()`` and ``str(datetime)``, a zone other than GMT and a localised
    day name are the usual sources. The two obsolete formats are dates, and obsolete-date-format. Expires, where
    no date is a value of a kind, is expires-malformed.

    > When a sender generates a field that contains one or more timestamps defined as HTTP-date, the sender
    > MUST generate those timestamps in the IMF-fixdate format.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > If-Modified-Since: 2026-05-05T16:00:00Z

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > If-Modified-Since: Tue, 05 May 2026 16:00:00 GMT
    """
    for line in _lines(message):
        key = line.key
        if key not in known.DATES or key == "expires":
            continue
        value = line.value
        moment = grammar.date(value)
        if moment is None:
            if b"GMT," not in value:  # two dates joined are joined-singleton-value
                yield line, f"{_said(line)} is not a date"
        elif grammar.IMF_FIXDATE.fullmatch(value) and not value.startswith(_DAYS[moment.weekday()]):
            day = _DAYS[moment.weekday()].decode()
            yield line, f"{_said(line)} is an impossible date: that day is a {day}"


@rule(
    "RFC 9110 §5.4",
    "RFC 6585 §5",
    "RFC 7230 §3.2.5",
    severity=WARNING,
    odd=True,
)
def header_too_large(message: Message) -> Hits:
    """One header line is larger than 8 KiB.

    aiohttp stops at 8190 octets, nginx at 8 KiB, apache at 8190, each by default; the request dies with 400
    or 431, the response as a connection error. Cookies that only grow, tokens with every group of a user in
    them, and JSON metadata (agents put their turn's metadata into a header) are the usual sources.

    > A server that receives a request header field line, field value, or set of fields larger than it wishes
    > to process MUST respond with an appropriate 4xx (Client Error) status code.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: jar={a * 8192}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: jar={a * 4096}
    """
    if len(_values(message)) + len(_names(message)) + 4 <= MAX_LINE:
        return
    for line in _lines(message):
        if (size := _size(line)) > MAX_LINE:
            yield line, f"{_text(line.name)[1:-1]} takes {size} octets, more than {MAX_LINE}"


@rule(
    "RFC 9110 §5.4",
    "RFC 6585 §5",
    "RFC 7230 §3.2.5",
    severity=WARNING,
    breaks=("node", "httptools"),
    odd=True,
)
def header_section_too_large(message: Message) -> Hits:
    """The header section is larger than 16 KiB.

    node refuses more than 16 KiB by default and answers 431 or, as a client, fails with HPE_HEADER_OVERFLOW;
    each line alone may be well within the limits. A section that one line alone makes too large is
    header-too-large.

    > A server that receives a request header field line, field value, or set of fields larger than it wishes
    > to process MUST respond with an appropriate 4xx (Client Error) status code.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: jar={a * 6000}
        > Referer: https://app.example/?q={a * 6000}
        > X-Amz-Security-Token: {a * 6000}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cookie: jar={a * 4000}
        > Referer: https://app.example/?q={a * 4000}
        > X-Amz-Security-Token: {a * 4000}
    """
    # Joined, names and values take a little more than the lines do, so this misses no section.
    if len(message.fields.block) + len(message.fields.names_block) + 4 * len(message.fields) <= MAX_SECTION:
        return
    sizes = [_size(line) for line in message.fields]
    if sum(sizes) > MAX_SECTION >= max(sizes):
        yield message, f"the {len(sizes)} header lines take {sum(sizes)} octets, more than {MAX_SECTION}"


def _size(line: FieldLine) -> int:
    """Octets of the line as it is usually written, with ``: `` and CRLF."""
    return len(line.name) + len(line.value) + 4


@rule(
    "RFC 9110 §5.4",
    "RFC 7230 §3.2.5",
    severity=WARNING,
)
def too_many_headers(message: Message) -> Hits:
    """The message has more than 100 header lines.

    Of a response with 200 lines aiohttp since 3.13.4 (limit 128), requests and http.client (limit 100),
    haproxy 2.6, envoy 1.40 and varnish 7.1 make an error; httpx, Go, node, curl and nginx read it. Gateways
    that copy all of an upstream's rate limit and debugging headers under a prefix of their own, at each hop
    once more, get there.

    > HTTP does not place a predefined limit on the length of each field line, field value, or on the length
    > of a header or trailer section as a whole, as described in Section 2. Various ad hoc limitations on
    > individual lengths are found in practice, often depending on the specific field's semantics.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        {> Baggage: a=1 * 100}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        {> Baggage: a=1 * 99}
    """
    if (count := len(message.fields)) > MAX_LINES:
        yield message, f"the message has {count} header lines, more than {MAX_LINES}"


@rule(
    "RFC 9112 §11.1",
    "RFC 9110 §5.5",
    "RFC 7230 §9.4",
    severity=ERROR,
    odd=True,
)
def header_line_injected(message: Message) -> Hits:
    """A header value contains a whole header line after an encoded or literal line break.

    Somebody tries whether a value that is copied into a header (a title, a tag, a user name) is copied as it
    is: behind the next hop, or once something decodes it, the second line is a header of its own, such as a
    Set-Cookie or an API key. In fields that are percent-encoded by definition (URIs, cookies, baggage) an
    encoded break is data. A HAR joins repeated lines with a literal break, so there only encoded ones are
    looked for.

    > Response splitting (a.k.a. CRLF injection) is a common technique, used in various attacks on Web usage,
    > that exploits the line-based nature of HTTP message framing and the ordered association of requests to
    > responses on persistent connections

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: lab%0d%0aSet-Cookie:%20admin=1

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Referer: https://app.example/?note=lab%0d%0aSet-Cookie:%20admin=1
    """
    if message.is_http1 and message.verbatim and _has_breaks(message):
        for line in _lines(message):
            if _breaks(line.value, "field"):
                yield line, f"{_said(line)} contains a line break and a header line"
    if b"%0" not in _values(message):
        return
    for line in _lines(message):
        if b"%0" not in line.value or line.key in _PERCENT_DECODED:
            continue
        for found in _ENCODED_FIELD.finditer(line.value):
            name = found["name"].lower().decode()
            if name in _FIELD_NAMES or name.startswith("x-"):
                yield line, f"{_said(line)} contains an encoded line break and the header {name}"
                break


@rule(
    "RFC 9110 §16.3.2.1",
    "RFC 9110 §17.10",
    severity=WARNING,
    breaks=("nginx", "caddy 2.11.7", "sglang-router", "smg"),
)
def underscore_in_header_name(request: Request, policy: Policy) -> Hits:
    """A header name contains an underscore.

    nginx (``underscores_in_headers off`` is its default), caddy 2.11.7, sglang-router 0.3.2 and smg 1.13.0
    drop such a header without a word, Envoy refuses the request where it is configured to: Codex lost its
    ``session_id`` behind Envoy until it was renamed ``session-id`` (openai/codex#11732), and with it the
    prompt cache. CGI and WSGI cannot tell the two names apart. Not judged are headers that the policy says the
    upstream reads (``session.header``, ``session.reads``), and responses: nobody measured drops such a header
    there, and LiteLLM's ``llm_provider-*`` are on every one of its answers.

    > For example, the underscore ("_") character can be problematic when passed through non-HTTP gateway
    > interfaces (see Section 17.10).

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > session_id: 0199a3c1-7c2e-7d31-9f0b-3b5c1d2e4f60

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > session-id: 0199a3c1-7c2e-7d31-9f0b-3b5c1d2e4f60
    """
    if b"_" not in request.fields.names_block:
        return
    read = {policy.session.header, *policy.session.reads}
    for line in request.fields:
        if b"_" not in line.name or line.key in read:
            continue
        # content_length and its like are framing-header-lookalike.
        if line.key.replace("_", "-") not in ("content-length", "transfer-encoding"):
            yield line, f"the header name {_text(line.name)} contains an underscore"


@rule(
    "RFC 9110 §5.5",
    "RFC 7230 §3.2",
    severity=WARNING,
)
def placeholder_header_value(message: Message) -> Hits:
    """A header value is a stringified nothing such as None, null, undefined, NaN or [object Object].

    A program formatted a value it had not got: slime sends ``Authorization: Bearer None`` on its health
    checks, a template string in JavaScript writes ``undefined``. The recipient takes it for a key, a session
    (all users share the one called ``undefined``) or a version. Leave the header out. ``null`` is a legal
    Origin; and words are taken with their case, except in credentials and ids: ``none`` is a legal value of
    many fields.

    > HTTP field values consist of a sequence of characters in a format defined by the field's grammar.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > OpenAI-Organization: None

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Origin: null
        > Sec-Fetch-Site: none
    """
    if _NOTHINGS.isdisjoint(_values(message).split(b"\n")):
        return
    for line in _lines(message):
        key = line.key
        if line.value not in _NOTHINGS or key in LEGAL_WORDS or _judged_elsewhere(key):
            continue
        scheme, space, word = line.value.partition(b" ")
        if not space or not line.value.startswith(_SCHEMES):
            scheme, word = b"", line.value
        languages = _ANY_CASE if key in NEEDS_VALUE else _WRITTEN_BY
        language = languages.get(word.lower() if key in NEEDS_VALUE else word)
        if language and (not scheme or key in NEEDS_VALUE):
            yield line, f"{_said(line)} is what {language} writes for a value that is not there"


@rule(
    "Trace Context §3.2",
    severity=WARNING,
    fields=("traceparent",),
)
def traceparent_malformed(request: Request) -> Hits:
    """The traceparent header does not follow its grammar.

    Four lower-case hexadecimal fields: version, 32 digits of trace id, 16 of parent id, flags; ids that are
    all zero are invalid, and version 00 has nothing behind the flags. Recipients discard it and begin a new
    trace, so that one conversation falls apart into as many traces as it had calls.

    > If the vendor failed to parse traceparent, it MUST NOT attempt to parse tracestate.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > traceparent: 00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    """
    for line in request.fields.lines("traceparent"):
        found = grammar.TRACEPARENT.fullmatch(line.value)
        # Two joined are joined-singleton-value. Later versions may have more behind the flags (§4.3).
        if b"," not in line.value and (found is None or (found["version"] == b"00" and found["more"])):
            yield line, f"{_said(line)} does not follow version-traceid-parentid-flags"


@rule(
    *("RFC 9110 §5.5", "RFC 9113 §8.2.1", "RFC 7230 §3.2.4"),
    severity=WARNING,
    evidence="octets | headers",
    verbatim=True,
)
def header_value_edge_space(message: Message) -> Hits:
    """A header value begins or ends with whitespace that was not stripped.

    In HTTP/1 whitespace around a value belongs to the line and every parser takes it away. HTTP/2 has no such
    lines: there it is part of the value, nghttp2 and Python's h2 reset the stream, and who passes it on makes
    ``" Bearer"`` of a scheme or ``"gzip "`` of a coding that nobody knows. A value that was cut out of a file
    or an environment variable is the usual source.

    > A field value MUST NOT start or end with an ASCII whitespace character (ASCII SP or HTAB, 0x20 or 0x09).

    Bad, also http2-header-value-edge-space::

        > GET /v1/models HTTP/2.0
        > x-title: \\x20lab

    Good::

        > GET /v1/models HTTP/2.0
        > x-title: the lab
    """
    if message.is_http1:
        return
    values = _values(message)
    # Joined by line feeds, an edge is the end of the block or stands beside a line feed.
    if values[:1] in _EDGES or values[-1:] in _EDGES or _EDGE.search(values):
        for line in _lines(message):
            if line.value != line.value.strip(grammar.OWS):
                yield line, f"{_said(line)} begins or ends with whitespace"


@rule(
    *("RFC 9110 §5.6.6", "RFC 7231 §3.1.1.1"),
    severity=WARNING,
    fields=sorted(_WITH_PARAMETERS),
)
def duplicate_parameter(message: Message) -> Hits:
    """The same parameter appears twice in one header value.

    Recipients choose the first or the last, so charset, boundary or filename is read differently at each hop:
    a filter sees the name that it lets pass, the server behind it the other. RFC 9110 leaves open which one
    counts; for Forwarded (RFC 7239 §4) and rel in Link (RFC 8288 §3.3) a second one is forbidden. A library
    that appends ``; charset=utf-8`` to whatever it is given is the usual source.

    > parameters = *( OWS ";" OWS [ parameter ] )

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json; version=1; version=2
        > Content-Length: 2
        >
        > {}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json; version=1
        > Accept: text/html;q=0.5, application/json;q=1
        > Forwarded: for=192.0.2.60;proto=https, for=192.0.2.43
        > Content-Length: 2
        >
        > {}
    """
    for line in _lines(message):
        key = line.key
        if key not in _WITH_PARAMETERS or (value := line.value).count(b"=") < 2 or b";" not in value:
            continue
        if key == "link":
            value = _LINK_TARGET.sub(b"", value)
        for member in split_members(value) if key in known.LISTS else [value]:
            names = [
                part.partition(b"=")[0].strip(grammar.OWS).lower() for part in grammar.parameters(member)
            ]
            # The first part of a media type or coding is no parameter, that of Forwarded is.
            given = [name for name in names[key != "forwarded" :] if name]
            counts = Counter(given)
            again = next((name for name in given if counts[name] > 1), None)
            if again is not None:
                yield line, f"{_said(line)} has the parameter {_text(again)} {given.count(again)} times"
                break


@rule(
    *("RFC 9110 §5.6.7", "RFC 7231 §7.1.1.1"),
    severity=WARNING,
    fields=sorted(known.DATES | {"retry-after"}),
)
def obsolete_date_format(message: Message) -> Hits:
    """A date is written in an obsolete format.

    Recipients must take RFC 850's and asctime's dates, and small parsers that know one format only, such as
    ``strptime`` with ``%a, %d %b %Y``, do not: the header is as good as not there. RFC 850's year has two
    digits, so which century is meant depends on when it is read.

    > When a sender generates a field that contains one or more timestamps defined as HTTP-date, the sender
    > MUST generate those timestamps in the IMF-fixdate format.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > If-Modified-Since: Tuesday, 05-May-26 16:00:00 GMT

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > If-Modified-Since: Tue, 05 May 2026 16:00:00 GMT
    """
    for line in _lines(message):
        if line.key not in known.DATES and line.key != "retry-after":
            continue
        if grammar.RFC850_DATE.fullmatch(line.value):
            yield line, f"{_said(line)} is a date as RFC 850 wrote it"
        elif grammar.ASCTIME_DATE.fullmatch(line.value):
            yield line, f"{_said(line)} is a date as asctime() writes it"


@rule(
    *("RFC 9651 §4.2", "RFC 8941 §4.2"),
    severity=ERROR,
    fields=sorted(KINDS),
    verbatim=True,
)
def structured_field_malformed(message: Message) -> Hits:
    """A structured header does not parse.

    One octet out of place and all of it is gone, the lines of the other hops included: a signature, a digest or
    a cache's report that nobody sees any more. A string without quotes, a key in upper case, a base64 value
    without its colons and a comma at the end are the usual mistakes. Signature is judged beside a
    Signature-Input only: others use the name for schemes of their own.

    > If parsing fails, either the entire field value MUST be ignored (i.e., treated as if the field were not
    > present in the section), or alternatively the complete HTTP message MUST be treated as malformed.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Digest: sha-256=RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=
        > Content-Length: 2
        >
        > {}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Digest: sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:
        > Priority: u=1, i
        > Content-Length: 2
        >
        > {}
    """
    for fields in (message.fields, message.trailers):
        for name in fields.names & KINDS.keys():
            lines = fields.lines(name)
            value = b", ".join(line.value for line in lines)
            # Other octets have rules of their own; an Item on two lines is duplicate-singleton-header's kind.
            if _UNPRINTABLE.search(value) or (KINDS[name] == "item" and len(lines) > 1):
                continue
            if name == "signature" and "signature-input" not in fields:
                continue
            try:
                PARSERS[KINDS[name]](value)
            except Malformed as problem:
                yield lines[0], f"{_said(lines[0])} is no {KINDS[name]}: {problem}"


@rule(
    *("RFC 9110 §10.1", "RFC 9110 §10.2", "RFC 7231 §5", "RFC 7231 §7"),
    severity=WARNING,
    fields=sorted(known.REQUEST_ONLY),
)
def request_header_in_response(response: Response) -> Hits:
    """A header defined only for requests appears in a response.

    A hop copied the request's headers into the answer, or a debugging echo was left in: with Authorization and
    Cookie the client's credentials are in whatever stores the response. Nothing reads the others there.

    > The request header fields below provide additional information about the request context, including
    > information about the user, user agent, and resource behind the request.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < User-Agent: OpenAI/Python 2.54.0
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > User-Agent: OpenAI/Python 2.54.0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Accept-Encoding: gzip
        < Content-Length: 2
    """
    for name in sorted(response.fields.names & known.REQUEST_ONLY - _JUDGED_IN_RESPONSES):
        line = response.fields.lines(name)[0]
        yield line, f"{_said(line)} is for requests only"


@rule(
    *("RFC 9110 §10.1", "RFC 9110 §10.2", "RFC 7231 §5", "RFC 7231 §7"),
    severity=WARNING,
    fields=sorted(known.RESPONSE_ONLY),
)
def response_header_in_request(request: Request) -> Hits:
    """A header defined only for responses appears in a request.

    A hop copied a response's headers into its next request, or a page's script was told to "send CORS headers",
    which only a server can: from a browser Access-Control-Allow-Origin in a request makes a preflight
    necessary, and that then fails. Set-Cookie and Location reach a server that must not believe them.

    > The response header fields below provide additional information about the response, beyond what is implied
    > by the status code, including information about the server, about further access to the target resource,
    > or about related resources.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Access-Control-Allow-Origin: *
        > Content-Type: application/json
        > Content-Length: 2
        >
        > {}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        > Content-Type: application/json
        > Content-Length: 2
        >
        > {}
    """
    for name in sorted(request.fields.names & known.RESPONSE_ONLY - _JUDGED_IN_REQUESTS):
        line = request.fields.lines(name)[0]
        yield line, f"{_said(line)} is for responses only"


@rule(
    *("RFC 9111 §5.4", "RFC 9111 §5.5", "RFC 9110 §B", "RFC 7234 §5.4", "RFC 7234 §5.5"),
    severity=NOTE,
    fields=sorted(known.OBSOLETE),
)
def obsolete_header(message: Message) -> Hits:
    """The message uses a header that current specifications removed.

    Nothing acts on it any more, so whoever relies on it relies on nothing: use what came in its place. Pragma
    in a request is what old clients send beside Cache-Control and is let pass.

    > The "Warning" header field was used to carry additional information about the status or transformation of
    > a message that might not be reflected in the status code. This specification obsoletes it, as it is not
    > widely generated or surfaced to users.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Pragma: no-cache
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Pragma: no-cache
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: no-cache
        < Content-Length: 2
    """
    for name in sorted(message.fields.names & known.OBSOLETE.keys()):
        if name == "pragma" and isinstance(message, Request):
            continue
        line = message.fields.lines(name)[0]
        yield line, f"{_text(line.name)[1:-1]} is obsolete: {known.OBSOLETE[name]}"

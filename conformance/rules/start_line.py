"""The request line, the status line, and the line ends of a head.

Octets are split into messages as lenient recipients do it (RFC 9112 §3: "on whitespace-delimited word
boundaries"), so a wrong separator is one defect of the line and not one of each of its parts.
"""

from __future__ import annotations

import re

from conformance import grammar, known
from conformance.llm import endpoint
from conformance.message import Exchange, Message, Octets, Request, Response, Span
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown

# request-line = method SP request-target SP HTTP-version, whatever the parts hold     (RFC 9112 §3)
_REQUEST_LINE = re.compile(rb"[^ \t\v\f]+ (?:[^ \t\v\f].*[^ \t\v\f]|[^ \t\v\f]) [^ \t\v\f]+", re.DOTALL)
# status-line = HTTP-version SP status-code SP [ reason-phrase ]; a reason may begin with spaces, and one that
# is missing together with its space is not about separators                           (RFC 9112 §4)
_STATUS_LINE = re.compile(rb"[^ \t\v\f]+ [^ \t\v\f]+(?: .*)?", re.DOTALL)
# what no URI may hold: whitespace and control characters (search)                     (RFC 3986 §2)
_NOT_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]")
# a CR that is not part of a CRLF (search)                                             (RFC 9112 §2.2)
_BARE_CR = re.compile(rb"\r(?!\n)")

MAX_REQUEST_LINE = 8000
"""Octets of a request line that everybody is asked to take (RFC 9112 §3)."""

# absolute-form, as far as HTTP goes: a scheme and an authority                        (RFC 9112 §3.2.2; match)
_ABSOLUTE_FORM = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://")
# authority-form = uri-host ":" port; what may stand in a host is for other rules      (RFC 9112 §3.2.3)
_AUTHORITY_FORM = re.compile(rb"(?:\[[^\]/]*\]|[^:/?#\[\]]+):[0-9]+")
# http-URI with userinfo                                                               (RFC 9110 §4.2.4; match)
_USERINFO = re.compile(rb"(?i)(?:https?|wss?)://[^/?#@]*@")
# what reason-phrase does not hold, and obs-text (search)                              (RFC 9112 §4)
_NOT_IN_REASON = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f-\xff]")
_NO_SPACE = re.compile(rb"[^ ]+ [0-9]{3}")
# Simple-Request = "GET" SP Request-URI CRLF, with any method                          (RFC 1945 §5; match)
_SIMPLE_REQUEST = re.compile(rb"([A-Z]{3,20} (?:/|\*|[a-z]+://)[^ \t\r\n]*)[ \t]*\r?\n")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def _text(octets: bytes) -> str:
    return quoted(mask_text(octets))


@rule(
    "RFC 9110 §9.1",
    "RFC 9112 §3.1",
    "RFC 7230 §3.1.1",
    severity=ERROR,
)
def method_malformed(request: Request) -> Hits:
    """The request method is not a token.

    h11 (uvicorn, hypercorn), aiohttp and node refuse the request line, llhttp with HPE_INVALID_METHOD;
    mitmproxy 12.2.3 forwards ``G(T`` as it is. Parsers that accept it disagree on where the method ends.

    > method = token

    Bad::

        > G(T /v1/models HTTP/1.1
        > Host: api.example

    Good::

        > M-SEARCH /v1/models HTTP/1.1
        > Host: api.example
    """
    if request.method and not grammar.TOKEN.fullmatch(request.method):
        yield request, f"the method {_text(request.method)} is not a token"


@rule(
    "RFC 9110 §9.1",
    "RFC 7231 §4.1",
    severity=WARNING,
)
def method_in_wrong_case(request: Request) -> Hits:
    """A standard method is written in the wrong case, such as post.

    Methods are compared octet by octet. aiohttp and node refuse ``post`` (llhttp: HPE_INVALID_METHOD), h11
    and mitmproxy pass it on, and a router that looks its handlers up by method answers 405. Browsers'
    ``fetch`` puts get and post into upper case but not patch, which is where most of these come from.

    > The method token is case-sensitive because it might be used as a gateway to object-based systems with
    > case-sensitive method names.

    Bad::

        > patch /v1/models HTTP/1.1
        > Host: api.example
        > Content-Length: 0

    Good::

        > PATCH /v1/models HTTP/1.1
        > Host: api.example
        > Content-Length: 0
    """
    method = request.method
    if method not in known.METHODS and method.upper() in known.METHODS:
        standard = method.upper().decode()
        yield request, f"the method {_text(method)} is not {standard}: methods are case-sensitive"


@rule(
    "RFC 9112 §3",
    "RFC 9112 §3.2",
    "RFC 7230 §3.1.1",
    "RFC 7230 §5.3",
    severity=ERROR,
    breaks=("h11", "aiohttp", "node", "httptools", "mitmproxy"),
    verbatim=True,
)
def illegal_character_in_request_target(request: Request) -> Hits:
    """The request-target contains whitespace or a control character.

    h11, aiohttp and node refuse the request, mitmproxy answers 400 itself and keeps no flow of it. A parser
    that splits at the first space reads another target than one that splits at the last: a smuggling vector.
    The usual source is a model name or a file name put into a path without percent-encoding.

    > No whitespace is allowed in the request-target.

    Bad::

        > GET /v1/models/my model HTTP/1.1
        > Host: api.example

    Good::

        > GET /v1/models/my%20model HTTP/1.1
        > Host: api.example
    """
    target = request.target
    if found := _NOT_IN_TARGET.search(target):
        yield request, f"the request-target {_text(target)} holds {quoted(found[0])}"


@rule(
    "RFC 9112 §3.2",
    "RFC 9110 §7.1",
    "RFC 7230 §5.3",
    severity=ERROR,
    verbatim=True,
)
def fragment_in_request_target(request: Request) -> Hits:
    """The request-target contains a fragment.

    Nothing on the way removes it (mitmproxy 12.2.3 forwards it as it is), so one hop routes on ``/v1/models``
    and the next on ``/v1/models#top``, and a rule about the one does not hold for the other. In a HAR it
    proves nothing: exporters write the URL as the page knew it.

    > The target URI excludes the reference's fragment component, if any, since fragment identifiers are
    > reserved for client-side processing.

    Bad::

        > GET /v1/models#list HTTP/1.1
        > Host: api.example

    Good::

        > GET /v1/models?after=%23list HTTP/1.1
        > Host: api.example
    """
    target = request.target
    if b"#" in target:
        yield request, f"the request-target {_text(target)} has a fragment"


@rule(
    "RFC 9110 §4.1",
    "RFC 9112 §3.2",
    "RFC 3986 §2",
    "RFC 7230 §2.7",
    severity=WARNING,
    verbatim=True,
)
def non_ascii_request_target(request: Request) -> Hits:
    """The request-target contains octets above 0x7F.

    h11 refuses it; mitmproxy 12.2.3 and most others forward the octets, each decoding them as it likes: a
    signature over the path, a route or a cache key no longer matches behind the next hop.

    > A URI is composed from a limited set of characters consisting of digits, letters, and a few graphic
    > symbols.

    Bad::

        > GET /v1/files/caf\\xc3\\xa9 HTTP/1.1
        > Host: api.example

    Good::

        > GET /v1/files/caf%C3%A9 HTTP/1.1
        > Host: api.example
    """
    target = request.target
    if not target.isascii():
        yield request, f"the request-target {_text(target)} is not ASCII"


@rule(
    "RFC 9110 §4.2.3",
    "RFC 3986 §2.1",
    "RFC 7230 §2.7.3",
    severity=ERROR,
    verbatim=True,
)
def percent_encoding_malformed(request: Request) -> Hits:
    """A percent sign in the request-target is not followed by two hexadecimal digits.

    Python's ``unquote`` passes it through, JavaScript's ``decodeURIComponent`` throws, others answer 400, so
    two hops see two different paths. A template that encodes twice or not at all leaves it behind.

    > A percent-encoded octet is encoded as a character triplet, consisting of the percent character "%"
    > followed by the two hexadecimal digits representing that octet's numeric value.

    Bad::

        > GET /v1/search?q=100% HTTP/1.1
        > Host: api.example

    Good::

        > GET /v1/search?q=100%25 HTTP/1.1
        > Host: api.example
    """
    target = request.target
    if b"%" in target and (found := grammar.BAD_PERCENT.search(target)):
        part = target[found.start() : found.start() + 3]
        yield request, f"in the request-target {_text(target)}, {_text(part)} is no percent-encoding"


@rule(
    "RFC 9112 §2.3",
    "RFC 7230 §2.6",
    severity=ERROR,
    evidence="headers | error | octets",
    verbatim=True,
)
def http_version_malformed(message: Message) -> Hits:
    """The HTTP version is not HTTP, a slash, a digit, a dot and a digit.

    The name is upper case and there is exactly one digit on either side. node answers HPE_INVALID_CONSTANT,
    mitmproxy answers 400 without a flow, or 502 and no recorded response. Recorders write HTTP/2 and HTTP/3,
    which have no version on the wire, with or without a minor version; that is not judged.

    > HTTP-version is case-sensitive.

    Bad::

        > GET /v1/models http/1.1
        > Host: api.example

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    version = message.version
    # A bare CR in it is what bare-carriage-return is about.
    if version and b"\r" not in version and not grammar.RECORDED_VERSION.fullmatch(version):
        yield message, f"the HTTP version is {_text(version)}, not of the form HTTP/1.1"


@rule(
    "RFC 9112 §3",
    "RFC 9112 §4",
    "RFC 7230 §3.1.1",
    "RFC 7230 §3.1.2",
    "RFC 7230 §3.5",
    severity=ERROR,
    evidence="octets",
)
def extra_space_in_start_line(octets: Octets) -> Hits:
    """The parts of a start line are separated by something other than one space.

    h11 refuses such a line, llhttp refuses such a status line (HPE_INVALID_STATUS), and mitmproxy forwards it
    with the spaces put right, so that only a recording of octets shows it. Recipients that split on any
    whitespace and recipients that do not read different methods, targets and versions. A reason phrase may
    begin with a space.

    > A request-line begins with a method token, followed by a single space (SP), the request-target, and
    > another single space (SP), and ends with the protocol version.

    Bad::

        >> GET  /v1/models HTTP/1.1\\r\\n
        >> Host: api.example\\r\\n
        >> \\r\\n

    Good::

        >> GET /v1/models HTTP/1.1\\r\\n
        >> Host: api.example\\r\\n
        >> \\r\\n
    """
    for message in octets.messages:
        if message.wire is None or not message.wire.lines:
            continue
        line = message.wire.lines[0]
        if b"\r" in line.text:  # bare-carriage-return, whatever it separates
            continue
        form, parts = (_REQUEST_LINE, 3) if isinstance(message, Request) else (_STATUS_LINE, 2)
        if form.fullmatch(line.text) is None and len(line.text.split(None, parts)) >= parts:
            yield line, f"the parts of the start line {_text(line.text)} are not separated by single spaces"


@rule(
    "RFC 9112 §4",
    "RFC 9110 §15",
    "RFC 7230 §3.1.2",
    severity=ERROR,
    verbatim=True,
)
def status_code_malformed(response: Response) -> Hits:
    """The status code is not exactly three digits.

    h11, aiohttp and node (HPE_INVALID_STATUS) refuse the response; mitmproxy records and relays 99. The agent
    sees a connection error where the gateway meant a status. A HAR writes 0 for a response that never came.

    > The status code of a response is a three-digit integer code that describes the result of the request and
    > the semantics of the response, including whether the request was successful and what content is enclosed
    > (if any).

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 20 OK
        < Date: Tue, 05 May 2026 16:00:00 GMT
        < Content-Length: 0

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 204 No Content
        < Date: Tue, 05 May 2026 16:00:00 GMT
    """
    code = response.code
    if grammar.STATUS_CODE.fullmatch(code) is None:
        yield response, f"the status code {_text(code)} is not three digits"


@rule(
    "RFC 9110 §15",
    "RFC 7231 §6",
    severity=WARNING,
)
def status_code_out_of_range(response: Response) -> Hits:
    """The status code is outside 100 to 599.

    The class of a status is its first digit, and there are five. h11, aiohttp, node and mitmproxy let 600
    through; a retry policy that asks for 429 or 5xx then finds neither, and the agent treats an outage as an
    answer. Such codes are a library's own (a gateway's internal error number) that was let out onto the wire.

    > Values outside the range 100..599 are invalid.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 600 Upstream Unreachable
        < Date: Tue, 05 May 2026 16:00:00 GMT
        < Content-Length: 0

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 204 No Content
        < Date: Tue, 05 May 2026 16:00:00 GMT
    """
    code = response.code
    if grammar.STATUS_CODE.fullmatch(code) and not 100 <= int(code) <= 599:
        yield response, f"the status code {code.decode()} is not between 100 and 599"


@rule(
    "RFC 9112 §2.2",
    "RFC 7230 §3.5",
    severity=ERROR,
    evidence="octets",
)
def bare_line_feed(octets: Octets) -> Hits:
    """A line of the header section ends with a line feed alone.

    h11, httpx, requests, Go, curl and every reverse proxy measured accept it; node 20 (http, fetch and
    undici), httptools, aiohttp's server, and its client under ``-X dev`` refuse it. So the same response
    works with one agent and is a connection error in the next. mitmproxy writes CRLF in its place: only
    octets show it. Lines between chunks are the business of bare-line-feed-in-chunk.

    > Although the line terminator for the start-line and fields is the sequence CRLF, a recipient MAY
    > recognize a single LF as a line terminator and ignore any preceding CR.

    Bad::

        >> GET /v1/models HTTP/1.1\\n
        >> Host: api.example\\n
        >> \\n

    Good::

        >> GET /v1/models HTTP/1.1\\r\\n
        >> Host: api.example\\r\\n
        >> \\r\\n
    """
    for message in octets.messages:
        if message.wire is None:
            continue
        lines = (*message.wire.lines, *message.wire.trailer_lines)
        bare = [line for line in lines if line.ending == b"\n"]
        if bare:
            yield bare[0], f"{len(bare)} of {len(lines)} lines of the head end with LF instead of CRLF"


@rule(
    "RFC 9112 §2.2",
    "RFC 7230 §3.5",
    severity=ERROR,
    evidence="headers | octets",
    verbatim=True,
    odd=True,
)
def bare_carriage_return(message: Message) -> Hits:
    """A carriage return without a line feed appears in the header section.

    h11, aiohttp and node (HPE_LF_EXPECTED) refuse the message; mitmproxy forwards it. A parser that takes a
    CR for a line end sees another header where this one sees a value. Looked for in the version, the reason
    phrase and the field values; one in a method, a target or a name makes that malformed, which has rules of
    its own. HTTP/2 has no lines: there it is newline-in-http2-header.

    > A sender MUST NOT generate a bare CR (a CR character not immediately followed by LF) within any protocol
    > elements other than the content.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: one\\rtwo

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Title: one two
    """
    if not message.is_http1:
        return
    start_line = message.wire.lines[0].text if message.wire and message.wire.lines else message.start_line
    if b"\r" in start_line and not (
        isinstance(message, Request) and (b"\r" in message.target or b"\r" in message.method)
    ):
        yield message, f"the start line {_text(start_line)} holds a CR without LF"
    if b"\r" not in message.fields.block and not len(message.trailers):
        return
    for line in (*message.fields, *message.trailers):
        if _BARE_CR.search(line.value):
            name = _text(line.name)
            yield line, f"the value of {name}, {shown(line.name, line.value)}, holds a CR without LF"


@rule(
    *("RFC 9112 §3.2.1", "RFC 9112 §3.2.2", "RFC 9112 §3.2.3", "RFC 9112 §3.2.4"),
    *("RFC 7230 §5.3.1", "RFC 7230 §5.3.2", "RFC 7230 §5.3.3", "RFC 7230 §5.3.4"),
    severity=ERROR,
    breaks=("node", "httptools"),
    verbatim=True,
)
def request_target_form_wrong(request: Request) -> Hits:
    """The form of the request-target does not fit the method.

    CONNECT names a host and a port, ``*`` is for OPTIONS, every other request has a path or a whole URI. node
    20 answers 400 to ``GET api.example:443`` and ``GET v1/models``, yet hands ``GET *`` and ``CONNECT /v1`` to
    the application, where no route is prepared for them. A base URL that is put together without its slash
    and a client that takes an API server for its proxy are the usual sources.

    > When a client wishes to request a server-wide OPTIONS for the server as a whole, as opposed to a specific
    > named resource of that server, the client MUST send only "*" (%x2A) as the request-target.

    Bad::

        > GET v1/models HTTP/1.1
        > Host: api.example

    Bad::

        > CONNECT /v1/models HTTP/1.1
        > Host: api.example

    Good::

        > OPTIONS * HTTP/1.1
        > Host: api.example

        > CONNECT api.example:443 HTTP/1.1
        > Host: api.example:443

        > GET http://api.example/v1/models HTTP/1.1
        > Host: api.example
    """
    method, target = request.method, request.target
    # An asterisk or an empty target of OPTIONS is what absolute-form without a path becomes (§3.2.4).
    if not request.is_http1 or _NOT_IN_TARGET.search(target) or (method == b"OPTIONS" and target == b"*"):
        return
    if method == b"CONNECT":
        if b"@" not in target and _AUTHORITY_FORM.fullmatch(target) is None:
            yield request, f"CONNECT asks for {_text(target)}, which is not host:port"
    elif not target.startswith(b"/") and _ABSOLUTE_FORM.match(target) is None:
        yield request, f"{_text(method)[1:-1]} asks for {_text(target)}, which is neither a path nor a URI"


@rule("RFC 9112 §3", "RFC 9110 §4.1", "RFC 7230 §3.1.1", severity=WARNING, breaks=("aiohttp server",))
def request_line_too_long(request: Request) -> Hits:
    """The request line is longer than 8000 octets.

    That is all that recipients are asked to take. aiohttp's server stops at 8190 octets, nginx at 8 KiB
    (``large_client_header_buffers``) with 414, node at 16 KiB for the whole head with 431. Filters and prompts
    that were put into the query belong into the content.

    > It is RECOMMENDED that all HTTP senders and recipients support, at a minimum, request-line lengths of
    > 8000 octets.

    Bad::

        > GET /v1/search?q={a * 8000} HTTP/1.1
        > Host: api.example

    Good::

        > GET /v1/search?q={a * 4000} HTTP/1.1
        > Host: api.example
    """
    # HTTP/2 has no request line, but RFC 9110 §4.1 asks for as many octets of URI.
    if len(request.target) + len(request.method) < MAX_REQUEST_LINE - 10:
        return
    if (size := len(request.start_line)) > MAX_REQUEST_LINE:
        yield request, f"the request line has {size} octets, more than {MAX_REQUEST_LINE}"


@rule("RFC 9110 §4.2.4", "RFC 7230 §2.7.1", severity=ERROR)
def userinfo_in_request_target(message: Message) -> Hits:
    """A request-target or Location carries user information before the host.

    Logs, caches and traces keep URIs, so the password ends there; fetch refuses to ask for such a URL, and
    ``https://api.example@evil.example/`` leads to another host than it seems to. Credentials belong into
    Authorization. A base URL with a key in it, which a proxy's client hands on, is the usual source.

    > A sender MUST NOT generate the userinfo subcomponent (and its "@" delimiter) when an "http" or "https" URI
    > reference is generated within a message as a target URI or field value.

    Bad::

        > GET http://agent:example@api.example/v1/models HTTP/1.1
        > Host: api.example

    Bad::

        > GET /v1/files/1 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 307 Temporary Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: https://agent:example@files.example/1
        < Content-Length: 0

    Good::

        > GET http://api.example/v1/users/ada@lab.example HTTP/1.1
        > Host: api.example
        < HTTP/1.1 307 Temporary Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: https://files.example/1?by=ada@lab.example
        < Content-Length: 0
    """
    if isinstance(message, Request):
        target = message.target
        if b"@" in target and (
            _USERINFO.match(target) or (message.method == b"CONNECT" and not target.startswith(b"/"))
        ):
            host = target.partition(b"://")[2] or target
            host = re.split(rb"[/?#]", host, maxsplit=1)[0].rpartition(b"@")[2]
            yield message, f"the request-target has user information before the host {_text(host)}"
        return
    for line in message.fields.lines("location"):
        if b"@" in line.value and _USERINFO.match(line.value):
            yield line, f"Location {shown(line.name, line.value)} has user information before its host"


@rule(
    *("RFC 9112 §2.3", "RFC 9110 §2.5", "RFC 7230 §2.6"),
    severity=WARNING,
    breaks=("aiohttp", "node", "httptools"),
    verbatim=True,
)
def unknown_http_version(message: Message) -> Hits:
    """An HTTP/1 connection carries a version other than 1.0 or 1.1.

    llhttp, and so node, httptools and aiohttp, refuse HTTP/1.2 (HPE_INVALID_VERSION) but node 20 takes
    HTTP/0.9 and HTTP/2.0; h11 and mitmproxy pass all of them on, and Python's http.client reads 1.2 as 1.1.
    Whether chunks and persistent connections are understood is anybody's guess. HTTP/2 and HTTP/3, which have
    no version on the wire, are what recorders call them; only octets show one that was really written.

    > Intermediaries that process HTTP messages (i.e., all intermediaries other than those acting as tunnels)
    > MUST send their own HTTP-version in forwarded messages

    Bad::

        > GET /v1/models HTTP/1.2
        > Host: api.example

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    version = message.version
    if version in (b"HTTP/1.1", b"HTTP/1.0") or grammar.HTTP_VERSION.fullmatch(version) is None:
        return
    if message.is_http1 or message.wire is not None or version[5:6] not in b"23":
        yield message, f"the version is {_text(version)}: HTTP/1 knows 1.0 and 1.1"


@rule(
    *("RFC 9110 §2.5", "RFC 9112 §C.2", "RFC 7230 §2.6", "RFC 7230 §A.1"),
    severity=NOTE,
)
def http10_on_streaming_api(exchange: Exchange) -> Hits:
    """HTTP/1.0 is used on an API that streams or upgrades.

    HTTP/1.0 knows neither chunks nor Upgrade: a stream ends when the connection does, so that one that broke
    off looks like one that is complete, every call needs a new connection, and a WebSocket is out of the
    question. nginx long spoke 1.0 to its upstreams by default (``proxy_http_version 1.1`` helps), Python's
    ``http.server`` answers with it unless ``protocol_version`` is set.

    > The HTTP version number consists of two decimal digits separated by a "." (period or decimal point).

    Bad::

        > POST /v1/chat/completions HTTP/1.0
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
    """
    request, response = exchange.request, exchange.response
    old = next((m for m in (request, response) if m is not None and m.version == b"HTTP/1.0"), None)
    if old is None:
        return
    operation = endpoint(request)
    if "upgrade" in request.fields:
        yield old, "HTTP/1.0 has no Upgrade, which the request asks for"
    elif operation is not None and operation.completes and request.method in operation.methods:
        side = "the request" if old is request else "the response"
        yield old, f"{side} for {operation.name} is HTTP/1.0: a stream can end only with the connection"


@rule("RFC 9110 §15", "RFC 9110 §16.2", "RFC 7231 §8.2", severity=NOTE)
def unregistered_status_code(response: Response) -> Hits:
    """The status code is not registered and not on the accepted list.

    Clients take a code they do not know for the x00 of its class, so that an overload (529), a client that
    went away (499) and a tunnel that is down (530) all look like an ordinary failure; retry policies that list
    codes miss them. What is meant can be said with 429, 502, 503 or 504. Codes that are agreed on are accepted
    by a scope in the settings: ``ignore`` this rule with ``status = ["529"]``.

    > HTTP status codes are extensible. A client is not required to understand the meaning of all registered
    > status codes, though such understanding is obviously desirable.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 499 Client Closed Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 84
        <
        < {"error":{"message":"the client has gone","type":"invalid_request_error","code":""}}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
    """
    status = response.status
    if 100 <= status <= 599 and status not in known.STATUS_CODES:
        whose = known.PRIVATE_STATUS_CODES.get(status)
        yield response, f"{status} is not registered{f': {whose}' if whose else ''}"


@rule(
    *("RFC 9110 §15.4.6", "RFC 9110 §15.4.7", "RFC 7231 §6.4.5", "RFC 7231 §6.4.6"),
    severity=WARNING,
)
def deprecated_status_code(response: Response) -> Hits:
    """The response uses 305 or 306.

    305 told a client to use a proxy that the response names, which nobody obeys any more because anybody could
    name one; 306 was never specified. Clients return both to their caller as they are: neither followed nor an
    error.

    > The 305 (Use Proxy) status code was defined in a previous version of this specification and is now
    > deprecated

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 305 Use Proxy
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: http://proxy.example/
        < Content-Length: 0

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 307 Temporary Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: https://eu.api.example/v1/models
        < Content-Length: 0
    """
    if response.status in (305, 306):
        yield response, f"{response.status} is deprecated: no client acts on it"


@rule("RFC 9112 §4", "RFC 7230 §3.1.2", severity=ERROR, breaks=("node", "fetch"), verbatim=True)
def reason_phrase_malformed(response: Response) -> Hits:
    """The reason phrase contains control or non-ASCII octets.

    Clients hand the phrase to their caller as it is, and who passes it on fails: node 20's ``writeHead`` throws
    ERR_INVALID_CHAR at a control octet, ``new Response`` at that and at most that is not ASCII, so that a
    gateway answers 500 where its upstream answered 200. Logs and terminals get NUL and escape sequences. Octets
    above 0x7F are in the grammar for the sake of old servers only, and nobody says in which encoding. A program
    that takes the text of an exception for the phrase is the usual source; HTTP/2 has none.

    > A client SHOULD ignore the reason-phrase content because it is not a reliable channel for information

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 \\x1b[32mOK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK, mostly
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
    """
    reason = response.reason
    # A CR is bare-carriage-return's.
    if response.is_http1 and b"\r" not in reason and (found := _NOT_IN_REASON.search(reason)):
        yield response, f"the reason phrase {_text(reason)} holds {quoted(found[0])}"


@rule("RFC 9112 §4", "RFC 7230 §3.1.2", severity=WARNING, evidence="octets")
def space_missing_after_status_code(octets: Octets) -> Hits:
    """The space after the status code is missing when the reason phrase is empty.

    node 20, h11, http.client and curl read the line all the same; a reader that splits it at its first two
    spaces, as the grammar allows, fails. mitmproxy writes the space itself, so only octets show it.

    > A server MUST send the space that separates the status-code from the reason-phrase even when the
    > reason-phrase is absent (i.e., the status-line would end with the space).

    Bad::

        >> GET /v1/models HTTP/1.1\\r\\n
        >> Host: api.example\\r\\n
        >> \\r\\n
        << HTTP/1.1 204\\r\\n
        << Date: Fri, 20 Nov 2026 03:14:15 GMT\\r\\n
        << \\r\\n

    Good::

        >> GET /v1/models HTTP/1.1\\r\\n
        >> Host: api.example\\r\\n
        >> \\r\\n
        << HTTP/1.1 204 \\r\\n
        << Date: Fri, 20 Nov 2026 03:14:15 GMT\\r\\n
        << \\r\\n
    """
    for message in octets.messages:
        if isinstance(message, Response) and message.wire is not None and message.wire.lines:
            line = message.wire.lines[0]
            if _NO_SPACE.fullmatch(line.text):
                yield line, f"the status line {_text(line.text)} ends without the space behind its code"


@rule(
    *("RFC 9112 §2.3", "RFC 9112 §C.1", "RFC 7230 §A"),
    severity=ERROR,
    evidence="octets",
    breaks=("h11", "httptools", "aiohttp", "mitmproxy"),
)
def http09_message(octets: Octets) -> Hits:
    """The message is HTTP/0.9: no version in the request or no header section in the response.

    Parsers refuse it: h11 and llhttp the response without a status line (node: HPE_INVALID_CONSTANT), curl
    with "Received HTTP/0.9 when not allowed". Whatever a server says that is no HTTP (a database, a proxy's
    bare "upstream connect error") can be read as such a response, which is how other protocols are attacked
    through HTTP. node 20 still takes the request.

    > Most requests that appear to be HTTP/0.9 are, in fact, badly constructed HTTP/1.x requests caused by a
    > client failing to properly encode the request-target.

    Bad::

        >> GET /v1/models\\r\\n
        >> \\r\\n

    Bad::

        >> GET /v1/models HTTP/1.1\\r\\nHost: api.example\\r\\n\\r\\n
        << upstream connect error\\r\\n

    Good::

        >> GET /v1/models HTTP/1.1\\r\\nHost: api.example\\r\\n\\r\\n
        << HTTP/1.1 204 No Content\\r\\nDate: Fri, 20 Nov 2026 03:14:15 GMT\\r\\n\\r\\n
    """
    if octets.switched or octets.messages:
        return
    data = octets.data.lstrip(b"\r\n")
    start = len(octets.data) - len(data)
    if octets.side == "client":
        if found := _SIMPLE_REQUEST.match(data):
            yield Span(start, start + found.end()), f"the request line {_text(found[1])} has no version"
    # What is no text is another protocol: TLS where HTTP was expected, HTTP/2.
    elif data and not data[:5].upper().startswith(b"HTTP/"[: len(data)]) and not _BINARY.search(data[:64]):
        line = data.partition(b"\n")[0].rstrip(b"\r")
        yield Span(start, start + len(line)), f"the response begins with {_text(line[:80])}, no status line"

"""The request line, the status line, and the line ends of a head.

Octets are split into messages as lenient recipients do it (RFC 9112 §3: "on whitespace-delimited word
boundaries"), so a wrong separator is one defect of the line and not one of each of its parts.
"""

from __future__ import annotations

import re

from conformance import grammar, known
from conformance.message import Message, Octets, Request, Response
from conformance.rule import ERROR, WARNING, Hits, rule
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


def _text(octets: bytes) -> str:
    return quoted(mask_text(octets))


@rule(
    "RFC 9110 §9.1",
    "RFC 9112 §3.1",
    "RFC 7230 §3.1.1",
    severity=ERROR,
    breaks=("h11", "aiohttp", "node", "httptools"),
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
    breaks=("aiohttp", "node", "httptools"),
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
    breaks=("h11",),
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
    breaks=("h11", "aiohttp", "node", "httptools", "mitmproxy"),
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
    breaks=("h11", "httptools", "aiohttp without C extensions"),
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
    breaks=("h11", "aiohttp", "node", "httptools"),
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
    breaks=("node", "httptools", "aiohttp server", "aiohttp -X dev"),
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
    breaks=("h11", "aiohttp", "node", "httptools"),
    verbatim=True,
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

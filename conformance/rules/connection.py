"""The Connection header, what it promises, and whether the connection keeps the promise.

What a Connection field says holds for one hop. mitmproxy forwards it untouched (unless an addon strips it),
so a recorded ``Connection: close`` was on both of its connections; where a journal tells what came in, each
connection is judged by what it carried. HTTP/2 has no Connection field and its connections none of these
semantics.
"""

from __future__ import annotations

import re

from conformance.content import once
from conformance.grammar import DIGITS, PARAMETER, TOKEN, parameters
from conformance.known import END_TO_END
from conformance.message import Connection, Exchange, FieldLine, Message, Request, Response, split_members
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown


def _options(line: FieldLine) -> list[bytes]:
    """The options on one line, in lower case; empty ones are left out."""
    return [option.strip(b" \t").lower() for option in line.value.split(b",") if option.strip(b" \t")]


def _said(message: Message) -> dict[bytes, FieldLine]:
    """Each option the message has, with the line that says it first."""
    found: dict[bytes, FieldLine] = {}
    for line in message.fields.lines("connection"):
        for option in _options(line):
            found.setdefault(option, line)
    return found


@rule("RFC 9110 §7.6.1", "RFC 7230 §6.1", severity=ERROR, fields=("connection",))
def connection_header_malformed(message: Message) -> Hits:
    """The Connection header is not a list of tokens.

    Hops cannot tell which headers to remove before forwarding: "keep-alive; timeout=5" names no option that
    anybody looks for, so the connection is closed, or kept open, against what was meant. Parameters belong in
    Keep-Alive.

    > connection-option = token

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: keep-alive; timeout=5

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: keep-alive, X-Hop
        > Keep-Alive: timeout=5
        > X-Hop: 1
    """
    if not message.is_http1:
        return
    for line in message.fields.lines("connection"):
        wrong = next((option for option in _options(line) if TOKEN.fullmatch(option) is None), None)
        if wrong is not None:
            yield line, f"Connection option {quoted(mask_text(wrong))} is no token"


@rule(
    "RFC 9110 §7.6.1",
    "RFC 9112 §9.3",
    "RFC 9112 §9.6",
    "RFC 7230 §6.1",
    "RFC 7230 §6.3",
    "RFC 7230 §6.6",
    severity=WARNING,
    fields=("connection",),
)
def contradictory_connection_options(message: Message) -> Hits:
    """One message says both close and keep-alive.

    Peers act on the first option they look for; no parser complains and connections leak or break. close wins
    by the RFC, but a peer that reads only the last line, or looks for keep-alive first, holds a connection
    that the other is about to reset. A gateway that copies the Connection field of one hop beside its own is
    the usual source.

    > If the "close" connection option is present (Section 9.6), the connection will not persist after the
    > current response

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: close
        > Connection: keep-alive

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: close
    """
    said = _said(message)
    if message.is_http1 and b"close" in said and b"keep-alive" in said:
        lines = message.fields.lines("connection")
        later = max(said[b"close"], said[b"keep-alive"], key=lambda line: _index(lines, line))
        joined = ", ".join(line.value.decode("latin-1") for line in lines).encode("latin-1")
        yield later, f"Connection says both close and keep-alive: {shown(b'Connection', joined)}"


def _index(lines: tuple[FieldLine, ...], wanted: FieldLine) -> int:
    # Two equal lines are two lines: by identity, not by value.
    return next(index for index, line in enumerate(lines) if line is wanted)


@rule("RFC 9110 §7.6.1", "RFC 7230 §6.1", severity=ERROR, fix="strip-hop-headers", fields=("connection",))
def connection_names_end_to_end_header(message: Message) -> Hits:
    """The Connection header names a header that must reach the other end.

    Every hop that follows the rules deletes Authorization, Content-Type or Cache-Control on the way: Go's
    ReverseProxy, Caddy, Apache and vllm-router 0.1.17 remove whatever Connection names, so the same request
    works through nginx or haproxy and is a 401 through those. It is also how an attacker strips a header that
    an inner hop relies on.

    > A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients
    > of the content. For example, Cache-Control is never appropriate as a connection option

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-000000000000
        > Connection: keep-alive, Authorization

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-000000000000
        > Connection: keep-alive, TE
        > TE: trailers
    """
    if not message.is_http1:
        return
    for option, line in _said(message).items():
        name = option.decode("latin-1")
        if name in END_TO_END:
            yield line, f"Connection names {name}, so the next hop deletes it"


@rule("RFC 9110 §7.8", "RFC 7230 §6.7", severity=ERROR, fields=("upgrade",))
def upgrade_without_connection_option(message: Message) -> Hits:
    """Upgrade is sent without Connection: upgrade.

    The recipient ignores it, or a hop passes the offer on to a peer that was never asked. It is what is left
    when a proxy writes a Connection field of its own and forwards the rest of its upstream's headers.

    A WebSocket handshake that lacks the option, and a 101 that does, are reported by
    websocket-connection-upgrade-missing and 101-without-connection-upgrade.

    > A sender of Upgrade MUST also send an "Upgrade" connection option in the Connection header field
    > (Section 7.6.1) to inform intermediaries not to forward this field.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Upgrade: TLS/1.3
        < Connection: keep-alive

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Upgrade: TLS/1.3
        < Connection: Upgrade
    """
    if not message.is_http1 or b"upgrade" in _said(message):
        return
    if isinstance(message, Request) and any(
        value.lower() == b"websocket" for value in message.fields.values("upgrade")
    ):
        return
    if isinstance(message, Response) and message.status == 101:
        return
    for line in message.fields.lines("upgrade")[:1]:
        yield line, f"Upgrade {shown(line.name, line.value)} without the connection option upgrade"


@rule(
    "RFC 9112 §C.2.2",
    "RFC 9110 §7.6.1",
    "RFC 7230 §A.1.2",
    severity=WARNING,
    fix="strip-hop-headers",
    fields=("proxy-connection",),
)
def proxy_connection_header(message: Message) -> Hits:
    """The message carries Proxy-Connection.

    The header never worked across hops and makes old proxies hold connections open: one that does not know it
    forwards it, and the next one takes it for its client's wish. nginx and haproxy forward it; Envoy, Caddy,
    Apache and Go's ReverseProxy drop it. curl sends it to every plain HTTP proxy.

    > clients are encouraged not to send the Proxy-Connection header field in any requests.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Proxy-Connection: keep-alive

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: keep-alive
    """
    for line in message.fields.lines("proxy-connection")[:1]:
        yield line, f"Proxy-Connection {shown(line.name, line.value)}; only Connection is defined"


@rule("RFC 9112 §9.6", "RFC 7230 §6.6", severity=ERROR, evidence="connection")
def request_after_close(pair: Connection) -> Hits:
    """A connection is used again after one side announced close.

    The request is lost or answered with a reset, and a client that retries a POST runs the completion, and
    pays for it, twice. Clients that pool connections by status and not by what the response says do it; so
    does a gateway that forwards its upstream's ``Connection: close`` to a client it keeps. HTTP/1.0 without
    keep-alive announces the same.

    Silent where the fault would be the recorder's: replayed flows, mitmproxy's own connections to servers,
    connection numbers in a HAR, which are ports and used again; and where the request was sent before the
    response said close.

    > A client that sends a "close" connection option MUST NOT send further requests on that connection (after
    > the one containing the "close")

    > A client that receives a "close" connection option MUST cease sending requests on that connection

    Bad::

        @ client-connection: a
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Connection: close

        @ client-connection: a
        > GET /v1/models HTTP/1.1
        > Host: api.example

    Good::

        @ client-connection: a
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Connection: close

        @ client-connection: b
        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    before, after = pair.before, pair.after
    if before.is_replay or after.is_replay or before.recorder == "har":
        return
    if pair.side == "server" and before.recorder == "mitmproxy":
        return
    request, response = _carried(pair)
    if request is not None:
        # What follows a CONNECT or a switch is another protocol, and another connection to its ends.
        if request.method == b"CONNECT":
            return
        if (how := _closes(request)) is not None:
            yield after.request, f"sent after request {before.number} on this connection said {how}"
            return
    if response is None or response.status == 101 or (how := _closes(response)) is None:
        return
    if before.ended is not None and after.started is not None:
        pipelined = after.started < before.ended
    else:
        pipelined = before.recorder == "octets"  # the two directions of a stream say nothing about each other
    if not pipelined:
        yield (
            after.request,
            f"sent after the response to request {before.number} on this connection said {how}",
        )


def _carried(pair: Connection) -> tuple[Request | None, Response | None]:
    """The messages of the first exchange as this connection carried them; None where it was not HTTP/1.

    A recorder that translates keeps each message's own version: the client's connection has the request's,
    the server's the response's.
    """
    sent, received = pair.before, pair.before.received or pair.before
    if pair.side == "client":
        request, response = received.request, sent.response
        spoken: Message = request
    else:
        request, response = sent.request, received.response
        spoken = request if response is None else response
    if not spoken.is_http1:
        return None, None
    return (
        request if request.is_http1 else None,
        response if response is not None and response.is_http1 else None,
    )


def _closes(message: Message) -> str | None:
    """How the message announces that the connection ends after it (RFC 9112 §9.3); None if it does not."""
    said = _said(message)
    if b"close" in said:
        return "Connection: close"
    if message.version == b"HTTP/1.0" and b"keep-alive" not in said:
        return "HTTP/1.0 without keep-alive"
    return None


@rule("RFC 9112 §6.1", "RFC 7230 §3.3.3", severity=ERROR, evidence="connection")
def connection_open_after_ambiguous_framing(pair: Connection) -> Hits:
    """The connection stayed open after a message with ambiguous framing.

    The server must close it, because leftover bytes can be read as a smuggled request. A request with both
    Content-Length and Transfer-Encoding is accepted by uvicorn 0.54 with h11, hypercorn, granian, Go,
    haproxy, Apache, Caddy, squid, h2o, sglang-router, smg and vllm-router; whether they close afterwards
    decides whether the next request on the connection is the client's. The same holds for Transfer-Encoding
    in HTTP/1.0, for one that does not end in chunked, and for Content-Length values that differ.

    It is known to have stayed open only if a later request on it was answered. On the connection of a client
    to mitmproxy the server is mitmproxy: that is not reported.

    > Regardless, the server MUST close the connection after responding to such a request to avoid the
    > potential attacks.

    Bad, also content-length-with-transfer-encoding::

        @ client-connection: a
        > POST /v1/embeddings HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        > Transfer-Encoding: chunked
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ client-connection: a
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ client-connection: a
        > POST /v1/embeddings HTTP/1.1
        > Host: api.example
        > Transfer-Encoding: chunked
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ client-connection: a
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    before, after = pair.before, pair.after
    if after.response is None or before.is_replay or after.is_replay:
        return
    if pair.side == "client" and before.recorder == "mitmproxy":
        return
    for message in _carried(pair):
        if message is not None and message.verbatim and (how := _ambiguous(message)) is not None:
            part = "request" if isinstance(message, Request) else "response to request"
            yield after.response, f"answered on a connection whose {part} {before.number} had {how}"
            return


def _ambiguous(message: Message) -> str | None:
    """Why nobody can be sure where the message ends; None if it is clear."""
    return once(message, "_ambiguous", _find_ambiguous)


def _find_ambiguous(message: Message) -> str | None:
    if "transfer-encoding" not in message.fields:
        length = message.fields.one("content-length")
        if length is not None and DIGITS.fullmatch(length):
            return None  # as almost always
    codings = [coding.lower() for coding in message.fields.values("transfer-encoding")]
    lengths = set(message.fields.values("content-length"))
    if codings and message.version == b"HTTP/1.0":
        return "Transfer-Encoding in HTTP/1.0"
    if len(lengths) > 1 or any(DIGITS.fullmatch(length) is None for length in lengths):
        return "a Content-Length that is no single number"
    # A response with either is only as long as its connection, or as its chunks (RFC 9112 §6.3): no duty to
    # close.
    if isinstance(message, Request) and codings:
        if lengths:
            return "both Content-Length and Transfer-Encoding"
        if codings[-1] != b"chunked":
            return "a Transfer-Encoding that does not end in chunked"
    return None


@rule("RFC 9110 §10.1.4", "RFC 7230 §4.3", severity=ERROR, fields=("te",), verbatim=True)
def te_header_without_connection_option(request: Request) -> Hits:
    """TE is sent without Connection: TE.

    TE is for the next hop only. Without the option a hop that knows no better forwards it, and the server behind
    answers with trailers, or in a coding, that the hop cannot decode and the client never asked it for.

    > A sender of TE MUST also send a "TE" connection option within the Connection header field (Section 7.6.1)
    > to inform intermediaries not to forward this field.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > TE: trailers

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: TE
        > TE: trailers
    """
    if not request.is_http1 or b"te" in _said(request):
        return
    for line in request.fields.lines("te")[:1]:
        yield line, f"TE {shown(line.name, line.value)} without the connection option TE"


_RANK = re.compile(rb"[qQ][ \t]*=[ \t]*(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def _te_names(line: FieldLine) -> list[bytes]:
    return [parameters(member)[0].lower() for member in split_members(line.value)]


@rule("RFC 9110 §10.1.4", "RFC 7230 §4.3", severity=ERROR, fields=("te",))
def te_header_lists_chunked(request: Request) -> Hits:
    """TE lists chunked.

    Whoever speaks HTTP/1.1 reads chunked; it cannot be declined and must not be offered. Strict servers answer
    400, and a server that takes TE for a list of all that is acceptable draws conclusions from what is not there.

    > A client MUST NOT send the chunked transfer coding name in TE; chunked is always acceptable for HTTP/1.1
    > recipients.

    (The sentence stands in RFC 9112 §7.4.)

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: TE
        > TE: trailers, chunked

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: TE
        > TE: trailers, gzip;q=0.5
    """
    if not request.is_http1:
        return
    for line in request.fields.lines("te"):
        if b"chunked" in _te_names(line):
            yield line, f"TE {shown(line.name, line.value)} lists chunked"


@rule("RFC 9110 §10.1.4", "RFC 7230 §4.3", severity=WARNING, fields=("te",))
def te_header_malformed(request: Request) -> Hits:
    """The TE header does not follow its grammar.

    Servers ignore what they cannot read, so that trailers the client wants never come, or answer 400.

    > t-codings = "trailers" / ( transfer-coding [ weight ] )

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: TE
        > TE: gzip;q=high

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: TE
        > TE: trailers, gzip;q=0.5
    """
    if not request.is_http1:
        return
    for line in request.fields.lines("te"):
        for member in split_members(line.value):
            name, *rest = parameters(member)
            if member.strip(b" \t") and (why := _wrong_coding(name, rest)) is not None:
                yield line, f"TE {shown(line.name, line.value)}: {why}"
                break


def _wrong_coding(name: bytes, rest: list[bytes]) -> str | None:
    if TOKEN.fullmatch(name) is None:
        return f"{quoted(mask_text(name))} is no transfer coding"
    if name.lower() == b"trailers" and rest:
        return "trailers takes no parameters"
    for part in rest:
        is_rank = part[:1] in (b"q", b"Q") and part[1:].lstrip(b" \t").startswith(b"=")
        if (_RANK if is_rank else PARAMETER).fullmatch(part) is None:
            return f"{quoted(mask_text(part))} is no {'weight' if is_rank else 'parameter'}"
    return None


@rule("RFC 9112 §9.6", "RFC 7230 §6.6", severity=WARNING, fields=("connection",))
def close_not_acknowledged(exchange: Exchange) -> Hits:
    """The request asked to close but the final response does not say close.

    A client that shares its connections among tasks may send the next request on one that the server is about to
    close, and that request is lost or, being a POST, sent twice. A gateway that copies ``Connection: close`` from
    its client to an upstream it keeps has the same with its own pool.

    What is judged is the connection to the server: a response that a recorder or an addon changed is taken as it
    came in.

    > The server SHOULD send a "close" connection option in its final response on that connection.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: close
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: close
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Connection: close
    """
    request, response = exchange.request, (exchange.received or exchange).response
    if response is None or not request.is_http1 or not response.is_http1 or not response.verbatim:
        return
    asked = _said(request).get(b"close")
    # What CONNECT and 101 begin has an end of its own.
    if asked is None or request.method == b"CONNECT" or response.status == 101:
        return
    if _closes(response) is None:
        place = exchange.response if exchange.response is not None else request
        yield place, f"the request said {shown(asked.name, asked.value)}, the response does not say close"


_LOST = re.compile(
    r"reset by peer|server (?:closed|disconnected)|closed connection|broken pipe", re.IGNORECASE
)
IDLE = 1.0
"""Seconds without a request after which a connection counts as idle."""


@rule(
    "RFC 9112 §9.3.1",
    "RFC 9110 §9.2.2",
    "RFC 7230 §6.3.1",
    severity=NOTE,
    evidence="connection + error",
)
def reset_on_reused_connection(pair: Connection) -> Hits:
    """A request on an idle reused connection was reset.

    The server's idle timeout is shorter than the client's, so every pause costs a retry: uvicorn closes after 5
    seconds, node after 5, gunicorn after 2, and agents think for longer. A GET is retried by the client's library;
    a POST is not, and shows as a connection error. Let the client forget idle connections before the server does
    (httpx: ``keepalive_expiry``), or raise the server's timeout above the client's.

    > A client, server, or proxy MAY close the transport connection at any time.

    (RFC 9112 §9.5 says so.)

    Bad::

        @ recorder: mitmproxy
        @ server-connection: a
        @ started: 1795144450
        @ ended: 1795144451
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ recorder: mitmproxy
        @ server-connection: a
        @ started: 1795144461
        @ error: server closed connection
        > GET /v1/models HTTP/1.1
        > Host: api.example

    Good::

        @ recorder: mitmproxy
        @ server-connection: a
        @ started: 1795144450
        @ ended: 1795144451
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ recorder: mitmproxy
        @ server-connection: a
        @ started: 1795144452
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    before, after = pair.before, pair.after
    if pair.side != "server" or after.is_replay or not after.request.is_http1:
        return
    lost = after.response is None and after.error is not None and _LOST.search(after.error)
    if not lost or before.response is None or before.ended is None or after.started is None:
        return
    idle = after.started - before.ended
    if idle >= IDLE:
        yield (
            after.request,
            f"the connection had been idle for {idle:.1f} s when the server was found to have closed it",
        )


@rule("RFC 9112 §9.3.2", "RFC 7230 §6.3.2", severity=WARNING, evidence="octets")
def pipelined_request(pair: Connection) -> Hits:
    """A second request was sent before the first response.

    HTTP/1.1 allows it and few can do it: servers stop reading until they have answered (h11 pauses), load balancers
    answer out of step or close, and a proxy that pools upstream connections gives the second answer to somebody
    else. One slow completion holds up all that wait behind it. Open another connection, or use HTTP/2.

    It takes octets with the times at which they came: mitmproxy's own HTTP flows show each request when mitmproxy
    got round to it.

    > A user agent SHOULD NOT pipeline requests after a non-idempotent method, until the final response status
    > code for that method has been received

    Bad::

        @ client-connection: a
        @ started: 1795144450
        @ ended: 1795144455
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ client-connection: a
        @ started: 1795144452
        > GET /v1/models HTTP/1.1
        > Host: api.example

    Good::

        @ client-connection: a
        @ started: 1795144450
        @ ended: 1795144455
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ client-connection: a
        @ started: 1795144456
        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    before, after = pair.before, pair.after
    if pair.side != "client" or before.recorder not in ("octets", "transcript"):
        return
    if not before.request.is_http1 or before.ended is None or after.started is None:
        return
    if (early := before.ended - after.started) > 0:
        yield after.request, f"sent {early:.3f} s before the response to request {before.number} had ended"


_PROTOCOL = re.compile(TOKEN.pattern + rb"(?:/" + TOKEN.pattern + rb")?")


@rule("RFC 9110 §7.8", "RFC 7230 §6.7", severity=ERROR, fields=("upgrade",))
def upgrade_header_malformed(message: Message) -> Hits:
    """The Upgrade header is not a list of protocol names.

    The upgrade is ignored and the client waits for a protocol that never starts: ``Upgrade: "websocket"`` and
    ``Upgrade: websocket; v=13`` name nothing that a server knows.

    > protocol = protocol-name ["/" protocol-version]

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: Upgrade
        > Upgrade: TLS 1.3

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Connection: Upgrade
        > Upgrade: TLS/1.3
    """
    if not message.is_http1:
        return
    for line in message.fields.lines("upgrade"):
        for member in split_members(line.value):
            if (name := member.strip(b" \t")) and _PROTOCOL.fullmatch(name) is None:
                yield line, f"Upgrade {quoted(mask_text(name))} is no name of a protocol"
                break

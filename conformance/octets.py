"""Find the messages in the octets of a connection.

Parsers that serve traffic stop at the first thing they dislike; this one has to show what is there, so it is
tolerant where tolerance cannot move the end of a message and gives up where it could:

* fields, names and line ends are kept as they lie on the wire, whatever they look like;
* a message ends where RFC 9112 §6.3 says; where that cannot be said, it is ``unframed`` and the side is not
  read any further, because every later "message" would be a guess;
* it never raises, takes linear time, and copies no content but chunked content.

Requests and responses are read in step: how a response ends depends on its request's method, and what a
client sends after CONNECT or an upgrade depends on the answer. Behind an upgrade to WebSocket the frames are read
(``frames.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from conformance import known
from conformance.frames import breaches, messages
from conformance.grammar import CHUNK_SIZE, CHUNK_SIZE_DIGITS, DIGITS, OWS
from conformance.http2 import is_http2
from conformance.message import (
    Chunk,
    Evidence,
    Exchange,
    Fields,
    Line,
    Request,
    Response,
    Span,
    Stream,
    Wire,
)

type State = Literal["complete", "cut", "left", "until-close", "unframed"]

MAX_DIGITS = 20
"""Longer lengths are not lengths: no body comes near, and Python refuses to read very long numbers."""


class _Head(NamedTuple):
    """A header section: its physical lines, its fields, and the offset behind it."""

    lines: tuple[Line, ...]
    fields: Fields
    end: int


@dataclass(frozen=True, slots=True)
class _Body:
    """Content as found, and the offset behind it."""

    content: bytes | memoryview
    end: int
    state: State = "complete"
    chunks: tuple[Chunk, ...] = ()
    trailer_lines: tuple[Line, ...] = ()
    trailers: Fields | None = None


def split(stream: Stream) -> Stream:
    """The same stream with ``messages``, ``rest`` and ``switched`` on both sides, and its exchanges.

    A connection that is no HTTP/1 (TLS, HTTP/2, anything else) gets no messages and is ``switched`` from its
    first octet. A head that the octets end in is no message: it stays in the rest, because what is not there
    (a Host header, say) proves nothing.
    """
    client, server = stream.client.data, stream.server.data
    if not _is_http1(client, server):
        return replace(
            stream,
            client=replace(stream.client, switched=True, peer=server),
            server=replace(stream.server, switched=True, peer=client),
        )
    sent: list[Request] = []
    answered: list[Response] = []
    exchanges: list[Exchange] = []
    up = down = 0
    switched = False
    readable = True  # whether the server's next message can be looked for
    while not switched:
        up = _behind_empty_lines(client, up)
        request = _request(client, up)
        if request is None:
            break
        up = _end(request)
        sent.append(request)
        responses: list[Response] = []
        if readable:
            responses = _responses(server, down, request.method)
            down = _end(responses[-1]) if responses else down
            readable = bool(responses) and _is_over(responses[-1])
        answered += responses
        final = responses.pop() if responses and _is_final(responses[-1]) else None
        exchanges.append(_exchange(stream, len(exchanges) + 1, request, tuple(responses), final))
        if final is not None:
            switched = final.status == 101 or _opens_tunnel(request.method, final.status)
        else:
            # The answer that would have switched the connection is missing: what follows may be anything.
            switched = request.method == b"CONNECT" or "upgrade" in request.fields
        if not _is_over(request):
            break
    if not switched and up < len(client):
        # Some requests could not be read; their answers are no stray octets.
        while readable and (responses := _responses(server, down, b"GET")):
            answered += responses
            down = _end(responses[-1])
            readable = _is_over(responses[-1])
    opened = exchanges[-1].response if exchanges and _opens_websocket(exchanges[-1]) else None
    if opened is not None:
        exchanges[-1] = _with_frames(exchanges[-1], stream, (up, down), opened)
    return replace(
        stream,
        client=replace(
            stream.client,
            messages=tuple(sent),
            rest=up,
            switched=switched,
            breaches=breaches(client, up, "client", opened) if opened else (),
            peer=server,
        ),
        server=replace(
            stream.server,
            messages=tuple(answered),
            rest=down,
            switched=switched,
            breaches=breaches(server, down, "server", opened) if opened else (),
            peer=client,
        ),
        exchanges=tuple(exchanges),
    )


def _is_http1(client: bytes, server: bytes) -> bool:
    if client.startswith(b"\x16\x03") or is_http2(client, server):  # a TLS handshake
        return False
    start = _behind_empty_lines(client, 0)
    if start == len(client):
        return server.startswith(b"HTTP/1.")
    line = _line(client, start)
    if line is not None and _request_line(line.text) is not None:
        return True
    # A request line that is cut, or has no version. Other protocols say GET too, but not with such a target.
    method, *target = (client[start : start + 4096] if line is None else line.text).split(None, 2)[:2] or [
        b""
    ]
    return method in known.METHODS and (not target or target[0][:1] in b"/*" or b":" in target[0])


def _behind_empty_lines(data: bytes, at: int) -> int:
    # "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line
    # (CRLF) received prior to the request-line" (RFC 9112 §2.2)
    while True:
        if data.startswith(b"\r\n", at):
            at += 2
        elif data.startswith(b"\n", at):
            at += 1
        else:
            return at


def _end(message: Request | Response) -> int:
    return message.wire.span.stop if message.wire is not None else 0


def _is_over(message: Request | Response) -> bool:
    return message.wire is not None and message.wire.state == "complete"


def _is_final(response: Response) -> bool:
    return not 100 <= response.status < 200 or response.status == 101


def _with_frames(exchange: Exchange, stream: Stream, rest: tuple[int, int], opened: Response) -> Exchange:
    """The exchange with what went over its WebSocket; without, where nobody can say in which order."""
    found = [
        (side.time_at(end - 1), frame)
        for side, at in zip((stream.client, stream.server), rest, strict=True)
        for end, frame in messages(side.data, at, side.side, opened)
    ]
    timed = [(time, frame) for time, frame in found if time is not None]
    if len(timed) < len(found):
        return exchange
    frames = tuple(replace(frame, time=time) for time, frame in sorted(timed, key=lambda one: one[0]))
    ended = frames[-1].time if frames else exchange.ended
    return replace(exchange, frames=frames, ended=ended, evidence=exchange.evidence | Evidence.WEBSOCKET)


def _opens_websocket(exchange: Exchange) -> bool:
    response = exchange.response
    return (
        response is not None
        and response.status == 101
        and any(value.lower() == b"websocket" for value in response.fields.values("upgrade"))
    )


def _opens_tunnel(method: bytes, status: int) -> bool:
    return method == b"CONNECT" and 200 <= status < 300


def _exchange(
    stream: Stream, number: int, request: Request, interim: tuple[Response, ...], final: Response | None
) -> Exchange:
    connection = stream.flow or f"stream-{stream.number}"
    head = request.wire
    answer = final.wire if final is not None else None
    return Exchange(
        request=request,
        interim=interim,
        response=final,
        evidence=Evidence.HEADERS | Evidence.BODY | Evidence.OCTETS | Evidence.CONNECTION | Evidence.FLOWS,
        recorder="octets",
        number=number,
        flow=stream.flow,
        note=stream.note,
        note_line=stream.note_line,
        client_connection=connection,
        server_connection=connection,
        started=None if head is None else stream.client.time_at(head.span.start),
        answered=None if answer is None else stream.server.time_at(answer.span.start),
        ended=None if answer is None else stream.server.time_at(answer.span.stop - 1),
        leg=stream.leg,
    )


# ---- messages


def _request(data: bytes, at: int) -> Request | None:
    line = _line(data, at)
    start = None if line is None else _request_line(line.text)
    head = None if start is None else _head(data, at)
    if start is None or head is None:
        return None
    method, target, version = start
    length = _length(head.fields, is_request=True)
    body = _body(data, head.end, 0 if length == "until-close" else length)
    return Request(method=method, target=target, version=version, **_shared(at, head, body))


def _responses(data: bytes, at: int, method: bytes) -> list[Response]:
    """Interim responses and the final one, as far as they are there; empty if there is no response."""
    found: list[Response] = []
    while (response := _response(data, at, method)) is not None:
        found.append(response)
        at = _end(response)
        if _is_final(response) or not _is_over(response):
            break
    return found


def _response(data: bytes, at: int, method: bytes) -> Response | None:
    line = _line(data, at)
    start = None if line is None else _status_line(line.text)
    head = None if start is None else _head(data, at)
    if start is None or head is None:
        return None
    version, code, reason = start
    response = Response(code=code, reason=reason, version=version, fields=head.fields)
    status = response.status
    length = _length(head.fields, is_request=False)
    bodiless = method == b"HEAD" or status in (204, 304)
    if 100 <= status < 200 or _opens_tunnel(method, status):
        length = 0
    elif bodiless:
        # No content, whatever the fields say (RFC 9112 §6.3). A server that sends it all the same shows it by
        # what follows: no status line. Then the fields tell where it ends.
        follows = data[head.end : head.end + 5]
        if length == "until-close" or not follows or b"HTTP/".startswith(follows):
            length = 0
    body = _body(data, head.end, length)
    if bodiless and body.state != "complete":
        body = _body(data, head.end, 0)
    if body.state == "cut" and _may_be_left(head, body):
        body = replace(body, state="left")
    return Response(code=code, reason=reason, version=version, **_shared(at, head, body))


def _may_be_left(head: _Head, body: _Body) -> bool:
    """Whether a chunked event stream ends between two chunks: octets do not say which side closed.

    Agents close streams that are not at their end all day long (they have read enough, or lost patience), and
    the recorder may have been ended; a server that dies looks the same.
    """
    kind = head.fields.one("content-type") or b""
    if kind.partition(b";")[0].strip(OWS).lower() != b"text/event-stream":
        return False
    if not body.chunks:
        return head.end == body.end
    last = body.chunks[-1]
    # Behind the last chunk nothing is left to wait for but the end of the message.
    between = last.header.span.stop + last.received + len(last.terminator) == body.end
    return bool(last.size) and between and last.terminator in (b"\r\n", b"\n")


def _shared(start: int, head: _Head, body: _Body) -> dict[str, Any]:
    return {
        "fields": head.fields,
        "body": body.content,
        "trailers": Fields() if body.trailers is None else body.trailers,
        "partial": body.state in ("cut", "left", "unframed"),
        "wire": Wire(Span(start, body.end), head.lines, body.chunks, body.trailer_lines, body.state),
    }


def _request_line(text: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Method, target, version; None for what does not even resemble a request line."""
    words = text.split(None, 1)
    if len(words) < 2:
        return None
    *target, version = words[1].rsplit(None, 1)
    if not version.upper().startswith(b"HTTP"):
        return None
    return words[0], b"".join(target), version


def _status_line(text: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Version, code, reason; None for what does not even resemble a status line."""
    if not text[:5].upper().startswith(b"HTTP/"):
        return None
    version, code, reason = (*text.split(None, 2), b"", b"")[:3]
    return version, code, reason


# ---- lines


def _line(data: bytes, at: int) -> Line | None:
    """The line that begins here; None if it does not end."""
    feed = data.find(b"\n", at)
    if feed < 0:
        return None
    if feed > at and data[feed - 1] == 0x0D:
        return Line(at, data[at : feed - 1], b"\r\n")
    return Line(at, data[at:feed], b"\n")


def _section(data: bytes, at: int) -> tuple[list[Line], int] | None:
    """The lines up to and with the empty one, and the offset behind it; None if it does not come."""
    lines: list[Line] = []
    while (line := _line(data, at)) is not None:
        lines.append(line)
        at = line.span.stop
        if not line.text:
            return lines, at
    return None


def _head(data: bytes, at: int) -> _Head | None:
    found = _section(data, at)
    return None if found is None else _Head(tuple(found[0]), _fields(found[0][1:-1]), found[1])


def _fields(lines: list[Line]) -> Fields:
    """The field lines among these; folded ones are joined as mitmproxy joins them: rules see one form."""
    fields: list[tuple[bytes, list[bytes]]] = []
    current: list[bytes] | None = None
    for line in lines:
        if line.text[:1] in (b" ", b"\t"):
            if current is not None:
                current.append(line.text.strip(OWS))
            continue
        name, colon, value = line.text.partition(b":")
        current = [value.strip(OWS)] if colon else None
        if current is not None:
            fields.append((name, current))
    return Fields((name, b"\r\n ".join(parts)) for name, parts in fields)


# ---- where a message ends


def _length(fields: Fields, *, is_request: bool) -> int | Literal["chunked", "until-close", "unframed"]:
    """How the content of a message with these fields is delimited (RFC 9112 §6.3, 4 to 8)."""
    if "transfer-encoding" in fields:
        codings = [coding.lower() for coding in fields.values("transfer-encoding")]
        if codings and codings[-1] == b"chunked":
            return "chunked"
        # "If a Transfer-Encoding header field is present in a response and the chunked transfer coding is not
        # the final encoding, the message body length is determined by reading the connection until it is
        # closed by the server." In a request it "cannot be determined reliably".
        return "unframed" if is_request else "until-close"
    if "content-length" not in fields:
        return "until-close"
    lengths = {value.lstrip(b"0") or b"0" for value in fields.values("content-length")}
    length = lengths.pop() if len(lengths) == 1 else b""
    if DIGITS.fullmatch(length) is None or len(length) > MAX_DIGITS:
        return "unframed"
    return int(length)


def _body(data: bytes, at: int, length: int | Literal["chunked", "until-close", "unframed"]) -> _Body:
    if length == "unframed":
        return _Body(b"", at, "unframed")
    if length == "chunked":
        return _chunked(data, at)
    view = memoryview(data)
    if length == "until-close":
        return _Body(view[at:], len(data), "until-close")
    content = view[at : at + length]
    return _Body(content, at + len(content), "complete" if len(content) == length else "cut")


def _chunked(data: bytes, at: int) -> _Body:
    view = memoryview(data)
    parts: list[memoryview] = []
    chunks: list[Chunk] = []
    while (line := _line(data, at)) is not None:
        size = _chunk_size(line.text)
        at = line.span.stop
        if not size:
            chunks.append(Chunk(line, size, 0, b""))
            if size is None:
                return _Body(b"".join(parts), at, "unframed", tuple(chunks))
            found = _section(data, at)
            if found is None:
                break
            lines = found[0]
            return _Body(
                b"".join(parts), found[1], "complete", tuple(chunks), tuple(lines), _fields(lines[:-1])
            )
        parts.append(view[at : at + size])
        at += len(parts[-1])
        terminator = data[at : at + 2]
        if terminator[:1] == b"\n":
            terminator = b"\n"
        at += len(terminator)
        chunks.append(Chunk(line, size, len(parts[-1]), terminator))
        if terminator in (b"", b"\r"):
            break
        if terminator not in (b"\r\n", b"\n"):
            return _Body(b"".join(parts), at, "unframed", tuple(chunks))
    return _Body(b"".join(parts), len(data), "cut", tuple(chunks))


def _chunk_size(line: bytes) -> int | None:
    size = line.partition(b";")[0].strip(OWS)
    if CHUNK_SIZE.fullmatch(size) is None or len(size.lstrip(b"0")) > CHUNK_SIZE_DIGITS:
        return None
    return int(size, 16)

"""Replay recorded messages through h11 in both roles: what a real, strict parser refuses, and in which words.

Facts that shape this file (h11 0.16):

* Each exchange meets a fresh h11. On one connection h11 stops for good at the first refusal, and it takes
  every HTTP/1.0 message for the last one although ``keep-alive`` makes it none; what neighbours on a
  connection may do is the connection rules' business.
* Only what the recording holds is fed. Where it has no octets, the head is: chunk headers and line ends would
  be our own inventions, and a length that does not fit is for the rules over fields to find. Where it has
  octets, chunked and cut bodies are fed too, exactly as they lay on the wire.
* What h11 refuses because h11 does not support it (``gzip, chunked``) is nobody's mistake.
* Of a head's values h11 interprets those of INTERPRETED and tests the others against one pattern, which visible
  ASCII always matches. So a head that differs from one it took only in such values is taken, too: nine of ten
  heads that agents send.

The only file that imports h11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import h11

from conformance import refusals
from conformance.grammar import TOKEN
from conformance.message import Exchange, Message, Octets, Refusal, Request, Response, Stream

NO_LIMIT = 1 << 62
"""What is too large is for the rules to say."""
MAX_WORDS = 2000
"""Characters of h11's words that are kept: it quotes whole lines, and a line can be megabytes."""
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")

INTERPRETED = ("transfer-encoding", "connection", "upgrade", "expect")
"""Fields whose values h11 acts on, besides Content-Length. Of Host it counts the lines only."""
_LENGTH = re.compile(rb"[1-9][0-9]{0,17}")

type _Shape = tuple[object, ...]
_taken: set[_Shape] = set()
"""Heads that h11 took without a word."""
_KEPT_SHAPES, _LONGEST_SHAPE = 1024, 4096


def replay(exchange: Exchange) -> tuple[Refusal, ...]:
    """What h11 refuses of this exchange: at most one refusal per message.

    The request is fed to an h11 server; the interim and final responses to an h11 client that has sent a
    minimal request with the same method, and an Upgrade if the recorded one had it. Never raises.
    """
    found: list[Refusal] = []
    request = exchange.request
    shape = _shape(request)
    if shape not in _taken and is_judged(request):
        words = _refused(h11.Connection(h11.SERVER, NO_LIMIT), request)
        if words is not None:
            found += _refusal(words, request)
        else:
            _remember(shape)
    responses = (*exchange.interim, exchange.response) if exchange.response is not None else exchange.interim
    # What h11 makes of a response depends on those before it.
    shape = _shape(responses[0], request) if len(responses) == 1 else None
    if responses and shape not in _taken and all(map(is_judged, responses)):
        client = _client(request)
        for response in responses:
            if (words := _refused(client, response)) is not None:
                found += _refusal(words, response)
                break
        else:
            _remember(shape)
    return tuple(found)


def _shape(message: Message, request: Request | None = None) -> _Shape | None:
    """Equal for heads of which h11 takes all or none; None where that is not sure, or not worth remembering.

    ``request``: the one that a response answers.
    """
    fields, start = message.fields, message.start_line
    if (
        message.wire is not None
        or not message.verbatim
        or message.version not in _VERSIONS
        or not fields.is_plain
        or len(start) + len(fields.names_block) > _LONGEST_SHAPE
    ):
        return None
    occurring = fields.names
    acted_on = b"\n".join(
        [line.value for name in INTERPRETED if name in occurring for line in fields.lines(name)]
    )
    if len(acted_on) > _LONGEST_SHAPE:
        return None
    lengths = fields.lines("content-length")
    # One length is like another, but for zero: there the message ends.
    if lengths and (len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0].value)):
        return None
    if request is None:
        return start, fields.names_block, acted_on
    return start, fields.names_block, acted_on, request.method, "upgrade" in request.fields


def _remember(shape: _Shape | None) -> None:
    if shape is not None:
        if len(_taken) >= _KEPT_SHAPES:
            _taken.clear()
        _taken.add(shape)


def replay_connection(stream: Stream) -> tuple[list[tuple[Refusal, ...]], Octets, Octets]:
    """The refusals of each exchange of a split stream, and its sides with those of octets in no message.

    Octets behind the last message are judged where a message had to begin: on the client's side unless they
    are content that nothing announced, on the server's if a request is unanswered. Content without a length
    and what comes unasked have rules of their own.
    """
    judged = [replay(exchange) for exchange in stream.exchanges]
    client, server = stream.client, stream.server
    unread = _is_unread(client)
    if unread and not client.stray_content:
        client = replace(client, refusals=(*client.refusals, *_judge_rest(client, None)))
    last = stream.exchanges[-1] if stream.exchanges else None
    waiting = unread if last is None else last.response is None
    if waiting and _is_unread(server):
        found = _judge_rest(server, None if last is None else last.request)
        server = replace(server, refusals=(*server.refusals, *found))
    return judged, client, server


def octets_of(message: Message) -> Iterator[bytes]:
    """The octets of a message whose ``wire`` is known, in pieces; together they are what was on the wire."""
    wire = message.wire
    if wire is None:
        raise ValueError("the recording does not have the octets of this message")
    for line in wire.lines:
        yield line.text + line.ending
    content = memoryview(message.body or b"")
    if not wire.chunks:
        yield bytes(content)
    at = 0
    for chunk in wire.chunks:
        yield chunk.header.text + chunk.header.ending
        yield bytes(content[at : at + chunk.received])
        yield chunk.terminator
        at += chunk.received
    for line in wire.trailer_lines:
        yield line.text + line.ending


def is_judged(message: Message) -> bool:
    """Whether what a parser says about the message is about what was sent, and not about how we write it out."""
    if message.wire is not None:
        return True
    if not message.verbatim or message.version not in _VERSIONS:
        return False
    # A line feed inside a line would make two of it when written out, and h11 would judge what we invented.
    # Folded values are recorded as CRLF and a space, and stay one.
    if b"\n" in message.start_line:
        return False
    return message.fields.is_plain or not any(
        b"\n" in value.replace(b"\r\n ", b"") or b"\n" in name for name, value in message.fields
    )


def head_of(message: Message) -> bytes:
    """The octets of the head: as they were, or as they would be with these lines in this order."""
    if message.wire is not None:
        return b"".join([line.text + line.ending for line in message.wire.lines])
    lines = [message.start_line.rstrip(b" ") if isinstance(message, Response) else message.start_line]
    lines += [b"%s: %s" % line for line in message.fields]
    return b"\r\n".join([*lines, b"", b""])


def _refused(connection: h11.Connection, message: Message) -> str | None:
    """h11's words about a message that comes next on this connection; None: it has nothing to say."""
    wire = message.wire
    if wire is None or not (wire.chunks or wire.state == "cut"):
        return _said(connection, (head_of(message),))
    return _said(connection, octets_of(message), closed=wire.state == "cut")


def _said(connection: h11.Connection, pieces: Iterable[bytes], *, closed: bool = False) -> str | None:
    try:
        for piece in pieces:
            if piece:  # to h11, an empty piece is the end
                connection.receive_data(piece)
        if closed:
            connection.receive_data(b"")
        while type(connection.next_event()) not in _LAST:
            pass
    except h11.RemoteProtocolError as error:
        return str(error)
    return None


_LAST = (type(h11.NEED_DATA), type(h11.PAUSED), h11.EndOfMessage, h11.ConnectionClosed)


def _is_unread(octets: Octets) -> bool:
    # Behind a message whose end nobody knows there is nothing to judge: the message itself was refused.
    framed = all(m.wire is None or m.wire.state == "complete" for m in octets.messages[-1:])
    return not octets.switched and framed and octets.rest < len(octets.data)


def _judge_rest(octets: Octets, request: Request | None) -> Iterator[Refusal]:
    is_request = octets.side == "client"
    connection = h11.Connection(h11.SERVER, NO_LIMIT) if is_request else _client(request)
    words = _said(connection, (octets.data[octets.rest :],), closed=True)
    if words is not None:
        yield from _refusals(words, None, is_request=is_request)


def _client(request: Request | None) -> h11.Connection:
    connection = h11.Connection(h11.CLIENT, NO_LIMIT)
    connection.send(_prime(*_asked(request)))
    connection.send(_END)
    return connection


def _asked(request: Request | None) -> tuple[bytes, bool]:
    """What of a request h11 needs for reading the response."""
    method = request.method if request is not None and TOKEN.fullmatch(request.method) else b"GET"
    return method, request is not None and "upgrade" in request.fields


@lru_cache(maxsize=64)
def _prime(method: bytes, upgrade: bool) -> h11.Request:
    headers = [(b"Host", b"h"), *([(b"Upgrade", b"any")] if upgrade else [])]
    return h11.Request(method=method, target=b"/", headers=headers)


_END = h11.EndOfMessage()


def _refusal(words: str, message: Message) -> Iterator[Refusal]:
    return _refusals(words, message, is_request=isinstance(message, Request))


def _refusals(words: str, message: Message | None, *, is_request: bool) -> Iterator[Refusal]:
    verdict = refusals.verdict_on(words, message, is_request=is_request)
    text = words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"
    if verdict is False:
        return
    if is_request:
        yield Refusal(text, verdict, "request", "client", "h11")
    else:
        yield Refusal(text, verdict, "response", "server", "h11")

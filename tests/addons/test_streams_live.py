"""Streams through the whole suite: they pass as they come, whole, and are recorded, however they end."""

import json
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import h11
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

PATIENCE = 10
EVENTS = [b'event: delta\ndata: {"n": %d}\n\n' % number for number in range(4)]
WHOLE = b"".join(EVENTS)
# Both are mended on their way: what is streamed has been through the addons, not past them.
HEAD = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Type: text/event-stream\r\n"
POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.example\r\nUser-Agent: x\r\nUser-Agent: x\r\n"
    b"Content-Type: application/json\r\n"
)
ASK = POST + b'Content-Length: 16\r\n\r\n{"stream": true}'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST = b"0\r\n\r\n"
FRAMINGS: dict[str, tuple[bytes, Callable[[bytes], bytes], bytes]] = {
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n", chunk, LAST),
    "length": (b"Content-Length: %d\r\n\r\n" % len(WHOLE), bytes, b""),
    "close": (b"Connection: close\r\n\r\n", bytes, b""),
}
"""By name: the end of the head, an event as it is framed, and the end."""


def until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def parsed(peer: h11.Connection, connection: socket.socket) -> Iterator[h11.Event]:
    """The message that comes in, up to its end."""
    while True:
        event = peer.next_event()
        if event is h11.NEED_DATA:
            peer.receive_data(connection.recv(65536))
            continue
        yield event
        if isinstance(event, h11.EndOfMessage):
            return


# ---- events


@pytest.mark.parametrize("framing", FRAMINGS)
def test_events_pass_one_by_one(framing: str, proxied) -> None:
    end, framed, last = FRAMINGS[framing]
    go_on = threading.Semaphore(0)
    sent: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + end)
        for event in EVENTS:
            sent.append(event)
            connection.sendall(framed(event))
            if not go_on.acquire(timeout=PATIENCE):
                break
        connection.sendall(last)
        connection.shutdown(socket.SHUT_WR)

    proxy = proxied("suite.py", answer)
    with proxy.connect() as connection:
        # Where the close is the end, it must come although the client has not asked for it.
        closes = b"" if framing == "close" else b"Connection: close\r\n"
        connection.sendall(ASK.replace(b"Host:", closes + b"Host:"))
        seen = b""
        for number, event in enumerate(EVENTS, 1):
            seen += until(connection, event)
            assert len(sent) == number, "the upstream waits until the client has this event"
            go_on.release()
        seen += read_all(connection)
    assert seen.endswith(framed(EVENTS[-1]) + last)
    assert seen.count(b"Server: ") == 1
    assert proxy.server.requests[0].count(b"User-Agent: ") == 1
    (flow,) = proxy.flows()
    assert flow.response.raw_content == WHOLE
    assert "partial_body" not in flow.metadata
    assert flow.error is None


def test_a_client_that_hangs_up(proxied) -> None:
    closed = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(EVENTS[0]))
        if connection.recv(1) == b"":
            closed.set()

    proxy = proxied("suite.py", answer)
    with proxy.connect() as connection:
        connection.sendall(ASK)
        until(connection, EVENTS[0])
        assert not closed.is_set()
    assert closed.wait(PATIENCE), "the upstream goes on generating for nobody"
    (flow,) = proxy.flows()
    assert flow.response.raw_content == EVENTS[0]
    assert flow.metadata["partial_body"] is True
    assert flow.error is not None


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_an_upstream_that_dies(framing: str, reset: bool, proxied) -> None:
    end, framed, _ = FRAMINGS[framing]
    mark = b'"n": 1'  # in the middle of an event, and of a chunk if there are any
    sent = (framed(EVENTS[0]) + framed(EVENTS[1])).partition(mark)[0]
    came = WHOLE.partition(mark)[0]
    go_on = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + end + sent)
        go_on.wait(PATIENCE)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    proxy = proxied("suite.py", answer)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "16")]))
    got = bytearray()
    with proxy.connect() as connection:
        connection.sendall(ASK)
        response = parsed(client, connection)
        assert next(response).headers.raw_items().count((b"Server", b"a")) == 1
        while len(got) < len(came):
            got += next(response).data
        go_on.set()
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete message body"):
            next(response)
    assert got == came
    (flow,) = proxy.flows()
    assert flow.response.raw_content == came
    assert flow.metadata["partial_body"] is True
    assert flow.error is not None


# ---- a request in chunks


@pytest.mark.parametrize("streamed", [False, True], ids=["held back", "streamed"])
def test_a_request_of_5_mb_in_chunks(streamed: bool, proxied) -> None:
    dice = random.Random(0)
    text = "".join(dice.choices('aäß \U0001f642\\"\n', k=1_000_000))
    # Neither the order, the spaces nor the escapes are those of a program that writes it anew.
    content = json.dumps({"session_id": "in-content-1", "messages": [{"content": text}]}, indent=1).encode()
    content = content.ljust(5_000_000)
    sizes = [1, 65536, *(dice.randrange(1, 200_000) for _ in range(60))]
    arrived = threading.Event()
    heads: list[h11.Request] = []
    bodies: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        server = h11.Connection(h11.SERVER)
        server.receive_data(request)
        body = bytearray()
        for event in parsed(server, connection):
            if isinstance(event, h11.Request):
                heads.append(event)
            elif isinstance(event, h11.Data):
                body += event.data
                arrived.set()
        bodies.append(bytes(body))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    words = ["hoplint_profile=sglang-router", "hoplint_config="]
    if streamed:
        words += ["suite_tolerate=stream_large_bodies", "stream_large_bodies=1k"]
    proxy = proxied("suite.py", answer, words)
    with proxy.connect() as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        at = 0
        for number, size in enumerate([*sizes, len(content)]):
            if streamed and number == 2:
                assert arrived.wait(PATIENCE), "the upstream has the beginning before there is an end"
            if piece := content[at : at + size]:
                connection.sendall(chunk(piece))
            at += size
        assert arrived.is_set() is streamed
        connection.sendall(LAST)
        assert until(connection, b"\r\n\r\n{}").startswith(b"HTTP/1.1 200 ")
    assert bodies[0] == content
    assert len(bodies) == 1
    fields = dict(heads[0].headers)
    assert fields[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in fields
    assert fields.get(b"x-smg-routing-key") == (None if streamed else b"in-content-1")


# ---- WebSocket


class Wire:
    """A socket, and the octets that came in."""

    def __init__(self, connection: socket.socket, ws: WSConnection) -> None:
        self.connection, self.ws = connection, ws
        self.came = bytearray()

    def send(self, event: Event) -> None:
        self.connection.sendall(self.ws.send(event))

    def events(self) -> Iterator[Event]:
        while True:
            yield from self.ws.events()
            piece = self.connection.recv(65536)
            assert piece, "closed without a close frame"
            self.came += piece
            self.ws.receive_data(piece)

    def message(self) -> str | bytes | CloseConnection:
        """The next message, put together of its pieces."""
        pieces: list = []
        for event in self.events():
            if isinstance(event, CloseConnection):
                return event
            assert isinstance(event, Message), event
            pieces.append(event.data)
            if event.message_finished:
                break
        return pieces[0][:0].join(pieces)


MESSAGES: list[list[TextMessage | BytesMessage]] = [
    [TextMessage('{"type": "response.create", "input": "größer \U0001f642"}' * 5_000)],
    [TextMessage('{"type": "response.create", "input": "größer \U0001f642"}' * 5_000)],
    [BytesMessage(bytes(100_000) + random.Random(0).randbytes(100_000))],
    [TextMessage("in thr", message_finished=False), TextMessage("ee pie", message_finished=False),
     TextMessage("ces")],
    [TextMessage("")],
    [TextMessage("end")],
]  # fmt: skip


@pytest.mark.parametrize("profile", ["generic", "codex"])
@pytest.mark.parametrize("keeps_context", [True, False])
def test_a_compressed_websocket(keeps_context: bool, profile: str, proxied) -> None:
    def deflate() -> PerMessageDeflate:
        return PerMessageDeflate(not keeps_context, None, not keeps_context, None)

    upstream: list[str | bytes] = []
    offers: list[list] = []
    wires: list[Wire] = []
    codes: list[int] = []
    ended = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        wire = Wire(connection, WSConnection(ConnectionType.SERVER))
        wires.append(wire)
        wire.ws.receive_data(request)
        (hello,) = wire.ws.events()
        offers.append(hello.extensions)
        # Twice Server, and a header that has no place in a 101: the answer is mended, the extension stays.
        headers = [(b"Server", b"a"), (b"Server", b"b"), (b"Content-Length", b"0")]
        wire.send(AcceptConnection(extensions=[deflate()], extra_headers=headers))
        while not isinstance(said := wire.message(), CloseConnection):
            upstream.append(said)
            wire.send(TextMessage(said[::-1]) if isinstance(said, str) else BytesMessage(said[::-1]))
        codes.append(said.code)
        ended.set()
        wire.send(said.response())  # mitmproxy may have closed by now: it has answered the client itself

    proxy = proxied("suite.py", answer, (f"hoplint_profile={profile}", "hoplint_config="))
    sent = [pieces[0].data[:0].join(piece.data for piece in pieces) for pieces in MESSAGES]
    with proxy.connect() as connection:
        client = Wire(connection, WSConnection(ConnectionType.CLIENT))
        # What a bridge copies from the HTTP request behind it.
        copied = [(b"content-type", b"application/json"), (b"connection", b"keep-alive")]
        client.send(Request("api.example", "/v1/responses", extensions=[deflate()], extra_headers=copied))
        accepted = next(client.events())
        assert isinstance(accepted, AcceptConnection)
        assert [each.name for each in accepted.extensions] == ["permessage-deflate"]
        for pieces, whole in zip(MESSAGES, sent, strict=True):
            for piece in pieces:
                client.send(piece)
            assert client.message() == whole[::-1]
        client.send(CloseConnection(1000))
        closing = client.message()
    assert ended.wait(PATIENCE)
    assert upstream == sent
    assert codes == [1000]
    assert isinstance(closing, CloseConnection)
    head, _, frames = bytes(client.came).partition(b"\r\n\r\n")
    assert head.count(b"Server: ") == (profile == "generic")  # the other has a list of what may pass
    assert b"ontent-Length" not in head
    assert offers[0][0].startswith("permessage-deflate")
    assert b"content-type" not in proxy.server.requests[0]
    for octets in (bytes(wires[0].came), frames):
        assert octets[0] == 0xC1, "a compressed message: FIN, RSV1, text"
        assert 100_000 < len(octets) < 150_000, "all but the noise is as good as nothing"
    (flow,) = proxy.flows()
    both = [each for whole in sent for each in ((True, whole), (False, whole[::-1]))]
    recorded = [
        (each.from_client, each.text if each.is_text else each.content) for each in flow.websocket.messages
    ]
    assert recorded == both
    assert flow.websocket.close_code == 1000

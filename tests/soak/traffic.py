"""Both ends of traffic that is not kind: a model server that does what a target asks for, and the clients.

Every request has a name of its own in its target, ``?soak=KIND-NUMBER``, by which what the server saw is compared
with what was recorded. A client checks what it gets; what it says of an exchange is counted.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import h11
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Message, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

KEY = "sk-soak-3f9c0b7d51e84a62a1c7d0e5b4f29386"
"""The clients' credential: it shall be nowhere in what is recorded."""
PATIENCE = 180
"""Seconds after which something that should come never does; on a busy machine all of it is slow."""
EVENTS = [b'data: {"choices": [{"index": 0, "delta": {"content": "word %d"}}]}\n\n' % n for n in range(20)]
EVENTS.append(b"data: [DONE]\n\n")
WHOLE = b"".join(EVENTS)
LARGE = b'{"text": "%s"}' % (b"0123456789abcdef" * 16_384)

# What a gateway on a gateway sends: there is always something to mend.
_HEAD = b"HTTP/1.1 %s\r\nserver: uvicorn\r\nserver: gateway\r\ncontent-type: %s\r\n"
_CHUNKED = _HEAD % (b"200 OK", b"text/event-stream") + b"transfer-encoding: chunked\r\n\r\n"


class Wrong(Exception):
    """What a client got is not what the server sent."""


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, octets: bytes) -> Awaitable[None]:
        self.writer.write(octets)
        return self.writer.drain()

    def reset(self) -> None:
        """Close it without a word."""
        at: socket.socket = self.writer.get_extra_info("socket")
        at.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


# ---- the server


class Server:
    """``seen`` counts the requests by name; ``release`` ends what is held open."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.release = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        here = Connection(reader, writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lengths = [
                    line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                ]
                for line in lengths:
                    await reader.readexactly(int(line.partition(b":")[2]))
                name = head.partition(b"soak=")[2].partition(b" ")[0].decode()
                self.seen[name] += 1
                await getattr(self, name.partition("-")[0])(here, head)
        writer.close()

    async def plain(self, here: Connection, head: bytes) -> None:
        await here.send(
            _whole(b"200 OK", b'{"choices": [{"message": {"role": "assistant", "content": "a"}}]}')
        )

    async def busy(self, here: Connection, head: bytes) -> None:
        await here.send(_whole(b"429 Too Many Requests", b'{"error": {"message": "later"}}'))

    async def slow(self, here: Connection, head: bytes) -> None:
        await here.send(_whole(b"200 OK", LARGE))

    async def rubbish(self, here: Connection, head: bytes) -> None:
        await here.send(b"HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n")

    async def events(self, here: Connection, head: bytes) -> None:
        await here.send(_CHUNKED)
        for event in EVENTS:
            await asyncio.sleep(random.uniform(0, 0.1))
            await here.send(_chunk(event))
        await here.send(b"0\r\n\r\n")

    async def dies(self, here: Connection, head: bytes) -> None:
        await here.send(_CHUNKED + _chunk(EVENTS[0]) + _chunk(EVENTS[1])[:-20])
        await asyncio.sleep(0.05)
        here.writer.close()

    async def resets(self, here: Connection, head: bytes) -> None:
        await here.send(_CHUNKED + _chunk(EVENTS[0]) + _chunk(EVENTS[1])[:-20])
        await asyncio.sleep(0.05)
        here.reset()

    async def endless(self, here: Connection, head: bytes) -> None:
        """Events until the other side has gone."""
        await here.send(_CHUNKED)
        while not here.reader.at_eof() and not here.writer.is_closing():
            await here.send(_chunk(EVENTS[0]))
            await asyncio.sleep(0.05)

    async def silent(self, here: Connection, head: bytes) -> None:
        """No answer at all, until the other side has gone."""
        with suppress(TimeoutError):
            await asyncio.wait_for(here.reader.read(1), PATIENCE)

    async def held(self, here: Connection, head: bytes) -> None:
        """The beginning of an answer, which never ends."""
        await here.send(_CHUNKED + _chunk(EVENTS[0]))
        await self.release.wait()

    async def websocket(self, here: Connection, head: bytes) -> None:
        """Sends back what it gets, until it is told to close; `ends` makes it close with 1011."""
        wire = Wire(here, WSConnection(ConnectionType.SERVER))
        wire.ws.receive_data(head)
        list(wire.ws.events())
        await wire.send(AcceptConnection(extensions=[PerMessageDeflate()]))
        while not isinstance(said := await wire.message(), CloseConnection):
            await wire.send(CloseConnection(1011) if said == "ends" else TextMessage(said[::-1]))
            if said == "ends":
                return
        await wire.send(said.response())


def _whole(status: bytes, content: bytes) -> bytes:
    return _HEAD % (status, b"application/json") + b"content-length: %d\r\n\r\n%s" % (len(content), content)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Wire:
    """A WebSocket."""

    def __init__(self, connection: Connection, ws: WSConnection) -> None:
        self.connection, self.ws = connection, ws

    async def send(self, event: Event) -> None:
        await self.connection.send(self.ws.send(event))

    async def message(self) -> str | CloseConnection:
        """The next message, put together of its pieces."""
        text = ""
        while True:
            for event in self.ws.events():
                if isinstance(event, CloseConnection):
                    return event
                if isinstance(event, Message):
                    text += str(event.data)
                    if event.message_finished:
                        return text
            octets = await self.connection.reader.read(65536)
            if not octets:
                raise ConnectionError("closed without a close frame")
            self.ws.receive_data(octets)


# ---- the clients


class Client:
    """One agent: it keeps its connection and goes on with its conversation as long as both last."""

    def __init__(self, port: int, number: int) -> None:
        self.port, self.number, self.asked = port, number, 0
        self.connection: Connection | None = None
        self.messages: list[dict[str, str]] = []

    async def ask(self, kind: str) -> str:
        """One exchange; gives its name. Raises Wrong, TimeoutError."""
        self.asked += 1
        work = CLIENTS[kind]
        name = f"{work.server}-{self.number}.{self.asked}"
        try:
            await asyncio.wait_for(work.client(self, name), PATIENCE)
        except BaseException:
            self.close()
            raise
        return name

    async def connected(self) -> Connection:
        """The connection as it is, or a new one."""
        if self.connection is None or self.connection.reader.at_eof() or self.connection.writer.is_closing():
            self.close()
            self.connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        return self.connection

    def close(self) -> None:
        if self.connection is not None:
            self.connection.writer.close()
            self.connection = None

    async def posted(self, name: str, content: bytes = b"") -> Connection:
        """A request on its way."""
        if len(self.messages) > 8:
            self.messages = []
        said = f"client {self.number} says {self.asked}"
        self.messages.append({"role": "user", "content": said})
        content = content or json.dumps({"model": "m", "messages": self.messages}).encode()
        self.messages.append({"role": "assistant", "content": "a"})
        here = await self.connected()
        await here.send(
            b"POST /v1/chat/completions?soak=%s HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nUser-Agent: a\r\nUser-Agent: a\r\nContent-Length: %d\r\n\r\n%s"
            % (name.encode(), KEY.encode(), len(content), content)
        )
        return here

    async def answered(self, here: Connection, pause: float = 0) -> tuple[int, bytes]:
        """Status and content. Raises Wrong for what is no HTTP."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=65536)
        parser.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
        parser.send(h11.EndOfMessage())
        status, content = 0, bytearray()
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as problem:
                raise Wrong(f"no HTTP: {problem}") from None
            if event is h11.NEED_DATA:
                parser.receive_data(await here.reader.read(16384 if pause else 65536))
                await asyncio.sleep(pause)
            elif isinstance(event, h11.Response):
                status = event.status_code
                if [name for name, _ in event.headers].count(b"server") > 1:
                    raise Wrong("two Server headers")
            elif isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(content)
            elif isinstance(event, h11.ConnectionClosed):
                raise Wrong("no answer")


def _equal(got: object, wanted: object) -> None:
    if got != wanted:
        raise Wrong(f"{str(got)[:200]} instead of {str(wanted)[:200]}")


async def _plain(client: Client, name: str) -> None:
    _equal((await client.answered(await client.posted(name)))[0], 200)


async def _large(client: Client, name: str) -> None:
    text = random.choice("abc") * 1_000_000
    content = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    _equal((await client.answered(await client.posted(name, content)))[0], 200)


async def _busy(client: Client, name: str) -> None:
    _equal((await client.answered(await client.posted(name)))[0], 429)


async def _slow(client: Client, name: str) -> None:
    _equal(await client.answered(await client.posted(name), pause=0.05), (200, LARGE))


async def _events(client: Client, name: str) -> None:
    _equal(await client.answered(await client.posted(name)), (200, WHOLE))


async def _rubbish(client: Client, name: str) -> None:
    _equal((await client.answered(await client.posted(name)))[0], 502)
    client.close()


async def _broken(client: Client, name: str) -> None:
    try:
        got = await client.answered(await client.posted(name))
    except (Wrong, ConnectionError):
        client.close()
    else:
        raise Wrong(f"a whole answer of one that broke off: {got}")


async def _hangs_up(client: Client, name: str) -> None:
    here = await client.posted(name)
    await here.reader.readuntil(EVENTS[0])
    client.close()


async def _resets(client: Client, name: str) -> None:
    here = await client.posted(name)
    await here.reader.readuntil(EVENTS[0])
    here.reset()
    client.connection = None


async def _gives_up(client: Client, name: str) -> None:
    await client.posted(name)
    await asyncio.sleep(random.uniform(0, 0.5))
    client.close()


async def opened(client: Client, name: str) -> Wire:
    """A WebSocket."""
    client.close()
    here = await client.connected()
    wire = Wire(here, WSConnection(ConnectionType.CLIENT))
    headers = [(b"authorization", b"Bearer " + KEY.encode()), (b"content-type", b"application/json")]
    target = f"/v1/responses?soak={name}"
    await wire.send(Request("api.example", target, extensions=[PerMessageDeflate()], extra_headers=headers))
    while True:
        for event in wire.ws.events():
            if isinstance(event, AcceptConnection):
                return wire
            raise Wrong(f"no WebSocket: {event}")
        wire.ws.receive_data(await here.reader.read(65536) or None)


async def _talks(wire: Wire) -> None:
    for number in range(5):
        text = f'{{"type": "response.create", "number": {number}}}' * random.choice((1, 100))
        await wire.send(TextMessage(text))
        _equal(await wire.message(), text[::-1])


async def _websocket(client: Client, name: str) -> None:
    wire = await opened(client, name)
    await _talks(wire)
    await wire.send(CloseConnection(1000))
    closing = await wire.message()
    _equal(closing.code if isinstance(closing, CloseConnection) else closing, 1000)
    client.close()


async def _is_closed(client: Client, name: str) -> None:
    wire = await opened(client, name)
    await wire.send(TextMessage("ends"))
    closing = await wire.message()
    _equal(closing.code if isinstance(closing, CloseConnection) else closing, 1011)
    client.close()


async def _drops(client: Client, name: str) -> None:
    await _talks(await opened(client, name))
    client.close()


class Kind(NamedTuple):
    weight: int
    server: str
    """What the server does."""
    client: Callable[[Client, str], Awaitable[None]]


CLIENTS = {
    "plain": Kind(40, "plain", _plain),
    "events": Kind(20, "events", _events),
    "busy": Kind(4, "busy", _busy),
    "large request": Kind(2, "plain", _large),
    "slow reader": Kind(2, "slow", _slow),
    "rubbish": Kind(3, "rubbish", _rubbish),
    "upstream dies": Kind(3, "dies", _broken),
    "upstream resets": Kind(3, "resets", _broken),
    "client hangs up": Kind(4, "endless", _hangs_up),
    "client resets": Kind(4, "endless", _resets),
    "client gives up": Kind(3, "silent", _gives_up),
    "websocket": Kind(6, "websocket", _websocket),
    "websocket, 1011": Kind(3, "websocket", _is_closed),
    "websocket dropped": Kind(3, "websocket", _drops),
}
"""What is asked, and how often of a hundred times."""

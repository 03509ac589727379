"""The two ends of a measurement: what sends a case, what answers one, and what came out as a letter."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from conformance import recording
from conformance.breaks import REFUSED, TAKEN, UNKNOWN, Side
from conformance.message import Stream

DEFECTS = Path(__file__).parents[3] / "recordings" / "defects"
SECONDS = 30
WHOLE = ("Content-Length", "Transfer-Encoding", "Connection/", "Content-Encoding/gzip", "Location-302")
"""Cases where it is not the two values that matter."""
_NAME = re.compile(rb"\A\S*\s*\S+ +\S*?\?case=([^ &#]+)|\AGET /([^ ]+)")
"""Where the first line says which case it is."""
_FINAL = re.compile(rb"HTTP/\S+ (?!10[0-9] [CE])(\d+)", re.IGNORECASE)
"""The status of the first response that is no interim one."""


_LAST_CHUNK = re.compile(rb"(?:\r\n)0+(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n\Z")


def closing() -> frozenset[str]:
    """Responses that have no end but the close, as far as everybody can tell."""
    ended = set()
    for item in recording.read(DEFECTS / "responses.http"):
        assert isinstance(item, Stream)
        last = item.server.messages[-1] if item.server.messages else None
        named = _NAME.search(item.client.data)
        assert named is not None
        if (
            last is not None
            and last.wire is not None
            and last.wire.state == "complete"
            and last.version == b"HTTP/1.1"
        ):
            ended.add(named[2].decode())
    return frozenset(
        name for name in messages("responses") if name not in ended or name.startswith("Content-Length/")
    )


def messages(side: Side) -> dict[str, bytes]:
    """Case -> the octets that are sent."""
    found = {}
    for item in recording.read(DEFECTS / f"{side}.http"):
        assert isinstance(item, Stream)
        named = _NAME.search(item.client.data)
        assert named is not None
        name = (named[1] or named[2]).decode()
        found[name] = item.client.data if side == "requests" else item.server.data
    return found


# ---- what was seen, as a letter


def field_of(case: str) -> str:
    """The field whose values are looked at."""
    return case.partition("/")[0].removesuffix("-302")


def sent_values(case: str, octets: bytes) -> list[str]:
    """The two values that were sent, if the case is about two lines of one field."""
    if case.startswith(WHOLE):
        return []
    lines = [line.decode().partition(":") for line in octets.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    values = [value.strip() for name, _, value in lines if name.lower() == field_of(case).lower()]
    return values if len(values) == 2 else []


def letter(values: list[str] | None, sent: list[str]) -> str:
    """What became of two values."""
    if values is None or not sent:
        return TAKEN
    seen, (first, last) = ([re.sub("[,;] ", ",", value) for value in part] for part in (values, sent))
    if seen[-2:] == [first, last]:
        return "b"
    if not seen:
        return "d"
    if len(seen) > 1:
        return "w"
    if first == last == seen[0]:
        return "o"
    if seen[0].startswith(f"{first},{last},"):  # and its own behind them
        return "j"
    return {f"{first},{last}": "j", first: "f", last: "l"}.get(seen[0], "w")


# ---- what is at the other end


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on which each connection is answered, in a thread of its own."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(SECONDS)
            answer(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    """A header section and what came with it; empty at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b"", b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _hang_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


def answering(octets: Mapping[str, bytes], *, keep: bool) -> Callable[[socket.socket], None]:
    """Answers with the octets of the case that the path names. ``keep`` the connection, as servers do for proxies."""
    closed = closing() if keep else frozenset(octets)

    def answer(connection: socket.socket) -> None:
        while head := _head(connection)[0]:
            case = unquote(head.split(b" ")[1].decode()).lstrip("/")
            said = octets.get(case, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            connection.sendall(said)
            # Who follows a redirect asks on the same connection, and may do so before it sees that it was closed.
            follows = said.startswith(b"HTTP/1.1 302") and b"\r\nConnection: close\r\n" not in head + b"\r\n"
            if case in closed and not follows:
                break
        _hang_up(connection)

    return answer


def echo(connection: socket.socket) -> None:
    """Tells which header lines came; switches to WebSocket where Upgrade says so, whatever Connection does."""
    head, content = _head(connection)
    lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
    fields = [[name, value.strip()] for name, _, value in lines]
    named = {name.lower(): value for name, value in fields}
    said = named.get("content-length", "").partition(",")[0]
    length = int(said) if said.isdecimal() else 0
    chunked = "chunked" in named.get("transfer-encoding", "")
    connection.settimeout(1)
    with contextlib.suppress(TimeoutError):  # what a proxy has let pass may have no end
        while len(content) < length or (chunked and not content.endswith(b"0\r\n\r\n")):
            content += (piece := connection.recv(65536))
            if not piece:
                break
    if named.get("upgrade", "").lower() == "websocket":
        said, text = "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade", ""
        said += f"\r\nSec-WebSocket-Accept: {_accept(named.get('sec-websocket-key', ''))}"
    else:
        text = json.dumps(fields)
        said = f"200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(text)}"
    connection.sendall(f"HTTP/1.1 {said}\r\n\r\n{text}".encode())
    _hang_up(connection)


def _accept(key: str) -> str:
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return base64.b64encode(digest).decode()


# ---- what asks


def exchange(port: int, octets: bytes) -> bytes:
    """What comes back until the connection closes, or nothing more does; a 101 is the end of it."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.settimeout(3)
        with contextlib.suppress(TimeoutError, ConnectionError):
            connection.sendall(octets)
            while piece := connection.recv(65536):
                data += piece
                if data.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in data:
                    break
    return data


def ask_client(
    command: Sequence[str], environment: Mapping[str, str], octets: Mapping[str, bytes]
) -> dict[str, str]:
    """Letters of a client. Raises CalledProcessError."""
    cases = json.dumps([[case, field_of(case)] for case in octets])
    done = subprocess.run(
        command, input=cases, capture_output=True, text=True, timeout=600, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    told = json.loads(done.stdout)
    return {
        case: REFUSED if "refused" in told[case] else letter(told[case]["values"], sent_values(case, sent))
        for case, sent in octets.items()
    }


def ask_through(port: int, octets: Mapping[str, bytes]) -> dict[str, str]:
    """Letters of a proxy that passes responses on."""
    letters = {}
    for case, sent in octets.items():
        request = f"GET /{quote(case)} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
        try:
            reply = exchange(port, request.encode())
        except OSError:  # the case before was its last
            letters[case] = UNKNOWN
            continue
        head = reply.partition(b"\r\n\r\n")[0].decode("latin-1")
        fields = [line.partition(":") for line in head.split("\r\n")[1:]]
        values = [value.strip() for name, _, value in fields if name.lower() == field_of(case).lower()]
        statuses = [found and found[1] for found in map(_FINAL.search, (reply, sent))]
        # A proxy that finds out when the head has gone can only break off.
        broken = b"chunked" in head.lower().encode() and _LAST_CHUNK.search(reply) is None
        taken = statuses[0] == statuses[1] and not broken
        letters[case] = letter(values, sent_values(case, sent)) if taken else REFUSED
    return letters


def ask_server(port: int, octets: Mapping[str, bytes]) -> dict[str, str]:
    """Letters of a server, or of a proxy that passes requests on."""
    replies: dict[str, bytes | None] = {}
    for case, sent in octets.items():
        try:
            replies[case] = exchange(port, sent)
        except OSError:
            replies[case] = None
    speaks = {
        "": (replies["baseline"] or b"")[9:12] == b"200",
        "WS": (replies["WS/baseline"] or b"")[9:12] == b"101",
    }
    letters = {}
    for case, reply in replies.items():
        measurable = reply is not None and speaks["WS" if case.startswith("WS/") else ""]
        letters[case] = _request_letter(case, octets[case], reply or b"") if measurable else UNKNOWN
    return letters


def _request_letter(case: str, sent: bytes, reply: bytes) -> str:
    status = reply[9:12]
    if status == b"100":
        return _request_letter(case, sent, reply.partition(b"\r\n\r\n")[2])
    if status == b"101":
        return TAKEN
    if case.startswith("WS/"):
        return "i" if status == b"200" else REFUSED
    if status[:1] != b"2":
        return REFUSED
    found = re.search(rb"\[\[.*\]\]", reply, re.DOTALL)
    if found is None:
        return TAKEN
    fields = [(name.lower(), value) for name, value in json.loads(found[0].decode("latin-1"))]
    if case == "Name-underscore":
        return TAKEN if ("session_id", "s1") in fields else "d"
    return letter(
        [value for name, value in fields if name == field_of(case).lower()], sent_values(case, sent)
    )

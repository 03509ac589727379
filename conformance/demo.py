"""A demonstration that needs nothing else: an agent, a gateway that breaks things, and mitmproxy in between.

The same traffic goes through mitmdump alone and through mitmdump with the addons; what is shown was measured in
this run. What the two ends do is what real ones did when they were recorded:

* The gateway writes its own Server, Date and Content-Type and copies its upstream's behind them, as FastAPI
  session servers on uvicorn do, and passes on what was meant for one connection. Of a WebSocket handshake it
  reads the last Connection line, as uvicorn 0.54 does, and answers 404 where that does not say Upgrade.
* The agent refuses repeated headers by the rule and in the words of aiohttp 3.13.4. Its handshake is that of
  codex-lb 1.20.1, which carries the headers of an HTTP request along.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

from conformance import lint, recording
from conformance.finding import Run
from conformance.processes import DidNotStart, background, handled
from conformance.rule import load, select

PATIENCE = 20
"""Seconds that anything may take."""
EVENTS = ("Two", " files:", " main.py", " and", " README.md")
PAUSE = 0.1
"""Seconds between two events."""
SINGLETONS = (
    "Content-Length", "Content-Location", "Content-Range", "Content-Type", "Etag", "Host", "Max-Forwards", "Server",
    "Transfer-Encoding", "User-Agent",
)  # fmt: skip
"""aiohttp/http_parser.py of 3.13.4, ``parse_headers``: the first of them that is repeated is named."""


class DemoFailed(RuntimeError):
    """The demonstration could not be held; one line."""


# -- the gateway --------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """What ends a connection is told by the agent, who sees it."""


class _Gateway(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    doubled: ClassVar = ("Server: uvicorn", "Date: {date}", "Server: smg", "Date: {date}")

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name is http.server's
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shared = {"id": "chatcmpl-1", "created": 1795144455, "model": asked["model"]}
        if not asked.get("stream"):
            choice = {"index": 0, "message": _said("".join(EVENTS)), "finish_reason": "stop"}
            answer = json.dumps({**shared, "object": "chat.completion", "choices": [choice]}).encode()
            self._head("200 OK", "Content-Type: text/plain", *self.doubled, "Content-Type: application/json",
                       "Proxy-Connection: keep-alive", f"Content-Length: {len(answer)}")  # fmt: skip
            self.wfile.write(answer)
            return
        self._head("200 OK", *self.doubled, "Content-Type: text/event-stream", "Cache-Control: no-cache",
                   "Keep-Alive: timeout=5", "Transfer-Encoding: chunked")  # fmt: skip
        for number, word in enumerate(EVENTS):
            choice = {"index": 0, "delta": _said(word) if number == 0 else {"content": word}}
            done = number == len(EVENTS) - 1
            choice["finish_reason"] = "stop" if done else None
            event = json.dumps({**shared, "object": "chat.completion.chunk", "choices": [choice]})
            self._chunk(f"data: {event}\n\n" + ("data: [DONE]\n\n" if done else ""))
            time.sleep(0 if done else PAUSE)
        self._chunk("")

    def do_GET(self) -> None:
        if "upgrade" not in (self.headers.get_all("Connection") or [""])[-1].lower():
            self._head("404 Not Found", "Server: uvicorn", "Date: {date}", "Content-Type: application/json",
                       "Content-Length: 22")  # fmt: skip
            self.wfile.write(b'{"detail":"Not Found"}')
            return
        accept = _accept(self.headers["Sec-WebSocket-Key"])
        self._head("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                   f"Sec-WebSocket-Accept: {accept}", "Date: {date}", "Server: uvicorn")  # fmt: skip
        self.close_connection = True
        _receive(self.rfile.read)
        response = {"id": "resp_1", "object": "response", "model": "demo", "output": []}
        for number, event in enumerate(("response.created", "response.completed")):
            status = {"status": "completed" if number else "in_progress"}
            data = {"type": event, "sequence_number": number, "response": {**response, **status}}
            self.wfile.write(_frame(1, json.dumps(data).encode()))
        self.wfile.write(_frame(8, struct.pack("!H", 1000)))
        _receive(self.rfile.read)

    def _head(self, status: str, *lines: str) -> None:
        text = "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).format(date=formatdate(usegmt=True))
        self.wfile.write(text.encode())

    def _chunk(self, text: str) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text.encode()))


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


# -- WebSocket frames, as much of RFC 6455 §5.2 as is needed ----------------------------------------------------


def _accept(key: str) -> str:
    return base64.b64encode(
        hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # noqa: S324 - RFC 6455
    ).decode()


def _frame(opcode: int, content: bytes, mask: bytes = b"") -> bytes:
    size, bit = len(content), 0x80 if mask else 0
    head = (
        bytes((0x80 | opcode, bit | size))
        if size < 126
        else struct.pack("!BBH", 0x80 | opcode, bit | 126, size)
    )
    return head + mask + _masked(content, mask or bytes(4))


def _masked(content: bytes, mask: bytes) -> bytes:
    return bytes(octet ^ mask[at % 4] for at, octet in enumerate(content))


def _receive(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """Opcode and content of the next frame; opcode 8 where the connection has ended."""
    head = read(2)
    if len(head) < 2:
        return 8, b""
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", read(2))
    mask = read(4) if head[1] & 0x80 else bytes(4)
    return head[0] & 0x0F, _masked(read(size), mask)


# -- the agent ----------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What the agent got."""

    ok: bool
    said: str


class _Refused(Exception):
    """The agent's parser refuses a response."""


def _post(port: int, **members: object) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    content = json.dumps(
        {"model": "demo", "messages": [{"role": "user", "content": "Which files are there?"}], **members}
    ).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", "/v1/chat/completions", content, {
        "Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json",
        "Authorization": "Bearer demo", "User-Agent": "AsyncOpenAI/Python 2.54.0",
    })  # fmt: skip
    response = connection.getresponse()
    if name := repeated(response.headers):
        connection.close()
        raise _Refused(f"refuses the response: Duplicate '{name}' header found.")
    return connection, response


def repeated(fields: Message) -> str | None:
    """The header that the agent refuses a response for."""
    return next((name for name in SINGLETONS if len(fields.get_all(name, ())) > 1), None)


def _json(port: int) -> str:
    connection, response = _post(port)
    with contextlib.closing(connection):
        answer: str = json.loads(response.read())["choices"][0]["message"]["content"]
    return f'reads "{answer}"'


def _events(port: int) -> str:
    began, times = time.monotonic(), []
    try:
        connection, response = _post(port, stream=True)
    except _Refused as refused:
        raise _Refused(f"{refused} It came after {_ms(time.monotonic() - began)}.") from None
    with contextlib.closing(connection):
        while line := response.readline():
            if line.startswith(b"data: {"):
                times.append(time.monotonic() - began)
    return f"reads {len(times)} events, the first after {_ms(times[0])}, the last after {_ms(times[-1])}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _websocket(port: int) -> str:
    lines = (
        "GET /v1/responses HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: aG9wbGludCBkZW1vLi4uLg==", "Sec-WebSocket-Version: 13", "content-type: application/json",
        "openai-beta: responses=experimental, responses_websockets=2026-02-06", "accept: text/event-stream",
        "accept-encoding: gzip, deflate", "connection: keep-alive", "Authorization: Bearer demo",
        "User-Agent: my-sdk/1.0", "", "",
    )  # fmt: skip
    asked = {"type": "response.create", "model": "demo", "input": "Which files are there?"}
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile("rb") as file:
            status = file.readline().decode("latin-1").partition(" ")[2].strip()
            while file.readline().strip():
                pass
            if not status.startswith("101"):
                raise _Refused(f"gets no WebSocket: {status}")
            connection.sendall(_frame(1, json.dumps(asked).encode(), b"demo"))
            events = []
            while (frame := _receive(file.read))[0] == 1:
                events.append(json.loads(frame[1])["type"])
            connection.sendall(_frame(8, frame[1], b"demo"))
    return f"receives {', '.join(events)}"


STEPS: tuple[tuple[str, Callable[[int], str]], ...] = (
    ("JSON", _json),
    ("event stream", _events),
    ("WebSocket", _websocket),
)


def _outcome(step: Callable[[int], str], port: int) -> Outcome:
    try:
        return Outcome(True, step(port))
    except (_Refused, OSError, http.client.HTTPException, ValueError) as problem:
        return Outcome(False, str(problem) or type(problem).__name__)


# -- the run ------------------------------------------------------------------------------------------------

WAYS = {
    "mitmdump": [
        "-c",
        "import sys; from conformance import mitm; sys.exit(mitm.run(sys.argv[1:], suite=False))",
    ],
    "hoplint proxy": ["-m", "conformance", "proxy", "--isolated"],
}
"""Heading -> what Python is to run."""


@dataclass(frozen=True, slots=True)
class Way:
    """What came of the traffic on one way."""

    outcomes: tuple[Outcome, ...]
    recording: Path
    run: Run


def hold(folder: Path) -> dict[str, Way]:
    """Send the traffic both ways and lint what was recorded in ``folder``. Raises DemoFailed."""
    recordings = {name: folder / f"{name.split()[0]}.flow" for name in WAYS}
    with contextlib.ExitStack() as ends:
        ends.enter_context(handled(signal.default_int_handler, signal.SIGTERM))
        upstream = ends.enter_context(_gateway())
        started = [
            ends.enter_context(_proxy(words, upstream, recordings[name])) for name, words in WAYS.items()
        ]
        outcomes = []
        for port in started:
            at = port()
            outcomes.append(tuple(_outcome(step, at) for _, step in STEPS))
    rules = select(load(), [])
    return {
        name: Way(got, path, lint.check([recording.read(path)], rules))
        for (name, path), got in zip(recordings.items(), outcomes, strict=True)
    }


@contextlib.contextmanager
def _gateway() -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _proxy(words: list[str], upstream: int, path: Path) -> Iterator[Callable[[], int]]:
    """A mitmdump in front of the gateway, and what waits for its port."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
        command = [
            sys.executable, "-u", *words, "--mode", f"reverse:http://127.0.0.1:{upstream}", "--listen-host", "127.0.0.1",
            "--listen-port", "0", "-w", str(path), "--set", f"confdir={own}", "--set", "flow_detail=0",
        ]  # fmt: skip
        with background(command) as wait:

            def port() -> int:
                try:
                    return int(wait(rb"listening at \S*?:(\d+)", 1)[0])
                except DidNotStart as problem:
                    raise DemoFailed(f"mitmdump does not start: {problem}") from None

            yield port

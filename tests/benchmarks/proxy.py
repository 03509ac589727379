"""What the suite costs in a live proxy: rows about mitmdump with it and without it, side by side.

Both proxies run all the time and are asked in turn, batch by batch, so that what else the machine does falls on
both. Processor time is the proxy's own; delays are measured by the one clock of the machine.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import traffic
from measuring import PEERS, ROOT, Row

BATCH = 100
"""Requests that one proxy gets before it is the other's turn; each conversation has ``traffic.TURNS``."""
PAIRS = 4
"""Of proxies for WebSockets: of two processes that do the same, one is faster by up to a tenth."""
MESSAGE = b"\x81\xfe" + (200).to_bytes(2) + bytes(4) + b"x" * 200
"""A text frame of 200 octets, masked with zeros (RFC 6455 §5.3)."""


class Proxy(NamedTuple):
    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3) of Linux

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


@contextlib.contextmanager
def process(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(20)


@contextlib.contextmanager
def mitmdump(upstream: int, *words: object) -> Iterator[Proxy]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as confdir, process(
        sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", "-q",
        "--set", f"confdir={confdir}", "--listen-host", "127.0.0.1", "-p", port,
        "--mode", f"reverse:http://127.0.0.1:{upstream}", *words,
    ) as started:  # fmt: skip
        proxy = Proxy(started.pid, port)
        until = time.monotonic() + 60
        while True:
            if started.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"mitmdump {' '.join(map(str, words))} did not start")
            with contextlib.suppress(OSError), proxy.connect():
                break
            time.sleep(0.05)
        yield proxy


def measure(rounds: range) -> Iterator[Row]:
    """The rows. ``rounds``: how many batches each proxy gets for a row, after one that warms it up."""
    with contextlib.ExitStack() as ends:
        peer = ends.enter_context(process(sys.executable, PEERS / "upstream.py"))
        assert peer.stdout is not None
        upstream = int(peer.stdout.readline())
        suite = (
            "-s",
            ROOT / "addons/suite.py",
            "--set",
            "hoplint_config=",
            "--set",
            "hoplint_profile=litellm",
        )
        mended = ends.enter_context(mitmdump(upstream, *suite))
        bare = ends.enter_context(mitmdump(upstream))
        streamed = ends.enter_context(mitmdump(upstream, "-s", PEERS / "streamed.py"))
        for what, way, other in (("event streams", "events", streamed), ("JSON", "json", bare)):
            for who, is_named in (
                ("a client that names its conversation", True),
                ("one that does not", False),
            ):
                posted = partial(posts, way=way, is_named=is_named)
                ratios = [ours / theirs for ours, theirs in batches(posted, mended, other, rounds)]
                yield Row(
                    f"CPU per POST of 20 kB answered by {what}, {who}: suite / bare mitmdump", ratios, 1.1
                )
        delays = [1000 * (ours - theirs) for ours, theirs in batches(delay, mended, streamed, rounds)]
        yield Row(
            "an event through the suite, later than with plain `stream = True`, ms", delays, 0.1, "{:+.2f}"
        )
    trips: list[float] = []
    for _ in range(PAIRS):
        with contextlib.ExitStack() as ends:
            peer = ends.enter_context(process(sys.executable, PEERS / "upstream.py"))
            assert peer.stdout is not None
            upstream = int(peer.stdout.readline())
            proxies = [ends.enter_context(mitmdump(upstream, *words)) for words in (suite, ())]
            lines = {proxy: ends.enter_context(websocket(proxy)) for proxy in proxies}
            pairs = batches(lambda proxy, number, on=lines: round_trip(on[proxy]), *proxies, rounds)
            trips += [ours / theirs for ours, theirs in pairs]
    yield Row("round trip of a WebSocket message: suite / bare mitmdump", trips, 1.1)


def batches(
    measured: Callable[[Proxy, int], float], ours: Proxy, theirs: Proxy, rounds: range
) -> Sequence[tuple[float, float]]:
    """What is measured at both proxies, in turn; who comes first changes."""
    found = []
    for number in (*rounds, len(rounds)):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        values = {proxy: measured(proxy, number) for proxy in order}
        found.append((values[ours], values[theirs]))
    return found[1:]


def posts(proxy: Proxy, number: int, *, way: str, is_named: bool) -> float:
    """Processor time of a batch of requests, sent one after the other on one connection."""
    requests = [request(way, number * BATCH + at, is_named) for at in range(BATCH)]
    with proxy.connect() as connection:
        before = proxy.cpu()
        for each in requests:
            connection.sendall(each)
            read_to_end(connection)
        return proxy.cpu() - before


def request(way: str, number: int, is_named: bool) -> bytes:
    body = traffic.asked(number, streams=way == "events")
    lines = [*traffic.AGENT, (b"Content-Length", b"%d" % len(body))]
    if is_named:
        lines.append((b"x-litellm-session-id", b"conversation-%d" % (number // traffic.TURNS)))
    head = b"".join(b"%s: %s\r\n" % line for line in lines)
    return b"POST /v1/chat/completions HTTP/1.1\r\n%s\r\n%s" % (head, body)


def read_to_end(connection: socket.socket) -> bytes:
    """One response, with a Content-Length or in chunks."""
    data = b""
    while True:
        if not (piece := connection.recv(65536)):
            raise SystemExit("the proxy closed its connection")
        data += piece
        head, end, content = data.partition(b"\r\n\r\n")
        if end and not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the proxy answered {head[:200]!r}")
        length = re.search(rb"(?i)content-length: ([0-9]+)", head)
        if data.endswith(b"\r\n0\r\n\r\n") or (length and len(content) >= int(length[1])):
            return data


def delay(proxy: Proxy, number: int) -> float:
    """Seconds in the median between an event's leaving the upstream and its coming to the client."""
    body = traffic.asked(number, streams=True)
    lines = [*traffic.AGENT, (b"Content-Length", b"%d" % len(body))]
    head = b"POST /v1/chat/completions?slow HTTP/1.1\r\n%s\r\n" % b"".join(
        b"%s: %s\r\n" % line for line in lines
    )
    delays: list[float] = []
    with proxy.connect() as connection:
        connection.sendall(head + body)
        data = b""
        while b"[DONE]" not in data:
            data = connection.recv(65536)
            now = time.monotonic_ns()
            delays += [(now - int(left)) / 1e9 for left in re.findall(rb"@([0-9]+)@", data)]
    return statistics.median(delays)


@contextlib.contextmanager
def websocket(proxy: Proxy) -> Iterator[socket.socket]:
    """A connection after its handshake."""
    with proxy.connect() as connection:
        connection.sendall(
            b"GET /v1/responses HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n" % base64.b64encode(bytes(16))
        )
        head = connection.recv(65536)
        if not head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"no WebSocket: {head[:200]!r}")
        yield connection


def round_trip(connection: socket.socket) -> float:
    """Seconds in the median of a message and its echo."""
    times = []
    for _ in range(BATCH):
        began = time.monotonic()
        connection.sendall(MESSAGE)
        left = 204
        while left > 0:
            left -= len(connection.recv(65536))
        times.append(time.monotonic() - began)
    return statistics.median(times)

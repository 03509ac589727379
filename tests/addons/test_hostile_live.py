"""Hostile messages through the whole suite and through mitmproxy alone: the suite is never worse.

Each case is sent, octet by octet, through both. What the upstream gets and what the client gets must be framed as
without the suite, begin with the same line and have the same content, or be refused; a line that the suite has
written must be one header line. Once with mitmproxy's own checks, once with them off (``validate_inbound_headers``),
where the suite has more to refuse.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h11
import pytest

from conformance.grammar import TOKEN
from conformance.processes import background

PATIENCE = 20
KEY = "sk-hostile-0123456789abcdef"
SUITE = [
    "session_header=x-litellm-session-id",
    "session_tokens=x-session-token",
    "auth_data_key=env:HOPLINT_HOSTILE_KEY",
    "map_status_enabled=true",
    "response_headers_internal=x-internal",
]


class Case(NamedTuple):
    """Octets of one side; the other one behaves."""

    name: str
    request: bytes | None = None
    response: bytes | None = None
    ends: bool = False
    """The side that sends them then closes: otherwise everybody would wait."""


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


def get(*lines: bytes, line: bytes = b"GET /v1/models HTTP/1.1") -> bytes:
    return head(line, b"Host: a", b"Connection: close", *lines)


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return get(*lines, line=b"POST /v1/chat/completions HTTP/1.1") + body


def ok(*lines: bytes, body: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return head(line, *lines) + body


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
BODY = b"2\r\n{}\r\n0\r\n\r\n"
ORDINARY = ok(b"Content-Length: 2", body=b"{}")
VALUES = {
    "NUL": b"a\x00b", "CR": b"a\rX-Injected: 1", "VT": b"a\x0bb", "DEL": b"a\x7fb", "escape": b"a\x1b[31mb",
    "latin-1": b"caf\xe9", "UTF-8": "größe".encode(), "fold": b"a\r\n b", "long": b"a" * 20_000, "empty": b"",
}  # fmt: skip
NAMES = {
    "space before the colon": b"X-A : 1", "no colon": b"X-A", "empty": b": 1", "UTF-8": "Größe: 1".encode(),
    "at": b"X@A: 1", "parenthesis": b"X(A): 1", "NUL": b"X\x00A: 1", "underscore": b"x_a: 1", "tab": b"X-A\t: 1",
}  # fmt: skip
READ_BY_ADDONS = (
    b"Authorization", b"X-Api-Key", b"Thread-Id", b"Session-Id", b"X-LiteLLM-Session-Id", b"X-Session-Token",
    b"Anthropic-Beta", b"OpenAI-Beta", b"Connection", b"TE", b"Via", b"Cookie", b"Accept", b"User-Agent",
)  # fmt: skip
TWICE = (
    b"Host", b"Content-Type", b"Authorization", b"User-Agent", b"Cookie", b"Accept", b"X-Api-Key", b"OpenAI-Beta",
    b"Anthropic-Beta", b"Anthropic-Version", b"X-LiteLLM-Session-Id", b"Session-Id", b"Origin", b"Referer",
    b"Max-Forwards", b"Range", b"If-None-Match", b"Accept-Encoding", b"X-Forwarded-For", b"Proxy-Authorization", b"TE",
    b"Content-Encoding", b"Expect", b"Upgrade", b"Via", b"Date", b"Sec-WebSocket-Key",
)  # fmt: skip
TWICE_ANSWERED = (
    b"Server", b"Date", b"Content-Type", b"ETag", b"Location", b"Content-Encoding", b"Content-Location",
    b"Content-Range", b"Last-Modified", b"Retry-After", b"Age", b"Expires", b"Content-Disposition",
    b"Access-Control-Allow-Origin", b"Strict-Transport-Security", b"X-Request-Id", b"Set-Cookie", b"WWW-Authenticate",
    b"Vary", b"Connection", b"Keep-Alive", b"Host", b"User-Agent", b"Authorization", b"X-Session-Token", b"Trailer",
)  # fmt: skip
FRAMINGS: dict[str, tuple[bytes, ...]] = {
    "length and chunked": (b"Content-Length: 4", CHUNKED),
    "chunked and length": (CHUNKED, b"Content-Length: 4"),
    "length of everything and chunked": (b"Content-Length: 12", CHUNKED),
    "equal lengths": (b"Content-Length: 12",) * 2,
    "lengths that differ": (b"Content-Length: 12", b"Content-Length: 0"),
    "length with a sign": (b"Content-Length: +12",),
    "negative length": (b"Content-Length: -1",),
    "lengths in a list": (b"Content-Length: 12, 12",),
    "hexadecimal length": (b"Content-Length: 0xc",),
    "length with an underscore": (b"Content-Length: 1_2",),
    "length in other digits": ("Content-Length: ١٢".encode(),),
    "empty length": (b"Content-Length:",),
    "length with a space in it": (b"Content-Length: 1 2",),
    "length with a space before the colon": (b"Content-Length : 12",),
    "folded length": (b"Content-Length:\r\n 12",),
    "length named by Connection": (b"Connection: Content-Length", b"Content-Length: 12"),
    "chunked twice": (CHUNKED, CHUNKED),
    "chunked twice in a list": (b"Transfer-Encoding: chunked, chunked",),
    "identity, chunked": (b"Transfer-Encoding: identity", CHUNKED),
    "chunked, identity": (CHUNKED, b"Transfer-Encoding: identity"),
    "gzip, chunked": (b"Transfer-Encoding: gzip, chunked",),
    "gzip": (b"Transfer-Encoding: gzip",),
    "chunked in capitals": (b"Transfer-Encoding: CHUNKED",),
    "xchunked": (b"Transfer-Encoding: xchunked",),
    "quoted chunked": (b'Transfer-Encoding: "chunked"',),
    "chunked with a parameter": (b"Transfer-Encoding: chunked;q=0.5",),
    "chunked behind a tab": (b"Transfer-Encoding:\tchunked",),
    "chunked behind a vertical tab": (b"Transfer-Encoding: \x0bchunked",),
    "chunked and NUL": (b"Transfer-Encoding: chunked\x00",),
    "folded chunked": (b"Transfer-Encoding:\r\n chunked",),
    "chunked with a space before the colon": (b"Transfer-Encoding : chunked",),
    "chunked named by Connection": (b"Connection: Transfer-Encoding", CHUNKED),
    "both named by Connection": (
        b"Connection: Transfer-Encoding, Content-Length",
        CHUNKED,
        b"Content-Length: 4",
    ),
    "underscore for the hyphen": (b"Transfer_Encoding: chunked", b"Content-Length: 12"),
    "empty Transfer-Encoding": (b"Transfer-Encoding:", b"Content-Length: 12"),
    "chunked behind a bare CR": (b"X-A: b\rTransfer-Encoding: chunked", b"Content-Length: 12"),
    "chunked behind a bare LF": (b"X-A: b\nTransfer-Encoding: chunked",),
}

REQUESTS = [
    Case("ordinary", get()),
    Case("content", post(b"Content-Length: 2", body=b"{}")),
    Case("chunks", post(CHUNKED, body=BODY)),
    Case("chunk extensions", post(CHUNKED, body=b"2;a=b\r\n{}\r\n0;c\r\n\r\n")),
    Case("bad chunk size", post(CHUNKED, body=b"zz\r\n{}\r\n0\r\n\r\n")),
    Case("negative chunk size", post(CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n")),
    Case("0x chunk size", post(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n")),
    Case("chunk without its end", post(CHUNKED, body=b"2\r\n{}0\r\n\r\n")),
    Case("chunks ended by LF", post(CHUNKED, body=b"2\n{}\n0\n\n"), ends=True),
    Case("cut chunks", post(CHUNKED, body=b"5\r\n{}"), ends=True),
    Case("cut content", post(b"Content-Length: 9", body=b"{}"), ends=True),
    Case("cut head", b"GET / HTTP/1.1\r\nHost: a\r\n", ends=True),
    Case("more than the length", post(b"Content-Length: 2", body=b"{}" + SMUGGLED)),
    Case("content of GET", get(b"Content-Length: 2") + b"{}"),
    Case("content of GET without a length", get() + SMUGGLED),
    Case("pipelined", get().replace(b"Connection: close\r\n", b"") + get()),
    Case("two of a kind, pipelined", post(b"Content-Length: 2", body=b"{}").replace(b"close", b"x") * 2 + get()),
    Case("leading CRLF", b"\r\n\r\n" + get(), ends=True),
    Case("bare LF", get().replace(b"\r\n", b"\n")),
    Case("a bare LF among others", get(b"X-A: 1\nX-B: 2")),
    Case("bare CR as line end", get().replace(b"\r\n", b"\r"), ends=True),
    Case("folded first line", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    Case("HTTP/1.0", head(b"GET / HTTP/1.0", b"Host: a")),
    Case("HTTP/1.0 with chunks", head(b"POST / HTTP/1.0", b"Host: a", CHUNKED) + BODY),
    Case("HTTP/1.2", get(line=b"GET / HTTP/1.2")),
    Case("HTTP/2 in the request line", get(line=b"GET / HTTP/2")),
    Case("http/1.1", get(line=b"GET / http/1.1")),
    Case("HTTP/0.9", b"GET /\r\n\r\n"),
    Case("two spaces", get(line=b"GET  /v1/models  HTTP/1.1")),
    Case("a space in the target", get(line=b"GET /a b HTTP/1.1")),
    Case("a tab in the target", get(line=b"GET /a\tb HTTP/1.1")),
    Case("CR in the target", get(line=b"GET /a\rX-Injected: 1 HTTP/1.1")),
    Case("NUL in the target", get(line=b"GET /a\x00b HTTP/1.1")),
    Case("UTF-8 in the target", get(line="GET /größe HTTP/1.1".encode())),
    Case("escaped line ends in the target", get(line=b"GET /a%0d%0aX-Injected:%201 HTTP/1.1")),
    Case("fragment", get(line=b"GET /a#b HTTP/1.1")),
    Case("dots", get(line=b"GET /v1/../../admin HTTP/1.1")),
    Case("method in lower case", get(line=b"get / HTTP/1.1")),
    Case("no method", get(line=b"G(T / HTTP/1.1")),
    Case("asterisk-form", get(line=b"OPTIONS * HTTP/1.1")),
    Case("absolute-form", get(line=b"GET http://elsewhere.example/a HTTP/1.1")),
    Case("absolute-form with userinfo", get(line=b"GET http://me:secret@elsewhere.example/a HTTP/1.1")),
    Case("absolute-form of another scheme", get(line=b"GET ftp://elsewhere.example/a HTTP/1.1")),
    Case("authority-form", get(line=b"GET elsewhere.example:443 HTTP/1.1")),
    Case("CONNECT", head(b"CONNECT elsewhere.example:443 HTTP/1.1", b"Host: elsewhere.example:443")),
    Case("TRACE", get(line=b"TRACE / HTTP/1.1")),
    Case("no Host", head(b"GET / HTTP/1.1", b"Connection: close")),
    Case("no Host that can be", head(b"GET / HTTP/1.1", b"Host: a b@c", b"Connection: close")),
    Case("garbage", b"\x01\x02\x03garbage\r\n\r\n"),
    Case("TLS hello", b"\x16\x03\x01\x00\x05hello", ends=True),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ends=True),
    Case("Expect", post(b"Expect: 100-continue", b"Content-Length: 2", body=b"{}")),
    Case("an unknown expectation", post(b"Expect: wonders", b"Content-Length: 2", body=b"{}")),
    Case("h2c", head(b"GET / HTTP/1.1", b"Host: a", b"Connection: Upgrade", b"Upgrade: h2c") + get()),
    Case("upgrade to nothing known", get(b"Upgrade: other")),
    Case("hop-by-hop", get(b"Keep-Alive: timeout=5", b"TE: trailers", b"Proxy-Connection: keep-alive", b"Trailer: a")),
    Case("Connection names what must stay", get(b"Connection: Host, Authorization, Content-Type", b"Content-Type: a/b")),
    Case("Connection with rubbish", get(b"Connection: ,, close ,\x00, a b, X-\xff", b"X-\xff: 1")),
    Case("a hundred header lines", get(*(b"X-%d: 1" % n for n in range(100)))),
    Case("content that is no JSON", post(b"Content-Length: 8", body=b'{"a": "\xff')),
    Case("content that is deep", post(b"Content-Length: 100000", body=b"[" * 100_000)),
    *(Case(f"request, {name}", post(*lines, body=BODY), ends=name == "gzip") for name, lines in FRAMINGS.items()),
    *(
        Case(f"request smuggling, {name}", post(*lines, body=BODY + SMUGGLED), ends=name == "gzip")
        for name, lines in FRAMINGS.items()
    ),
    *(Case(f"request name, {name}", get(line)) for name, line in NAMES.items()),
    *(
        Case(f"request value, {field.decode()}, {name}", get(field + b": " + value))
        for field in READ_BY_ADDONS
        for name, value in VALUES.items()
    ),
    *(Case(f"twice the same {field.decode()}", get(field + b": a", field + b": a")) for field in TWICE),
    *(Case(f"twice {field.decode()}", get(field + b": a", field.lower() + b": b")) for field in TWICE),
]  # fmt: skip

RESPONSES = [
    Case("ordinary answer", response=ORDINARY),
    Case("answer in chunks", response=ok(CHUNKED, body=BODY)),
    Case("answer with chunk extensions", response=ok(CHUNKED, body=b"2;a=b\r\n{}\r\n0\r\n\r\n")),
    Case("answer with trailers", response=ok(CHUNKED, body=b"2\r\n{}\r\n0\r\nX-A: 1\r\n\r\n"), ends=True),
    Case("answer with a bad chunk", response=ok(CHUNKED, body=b"zz\r\n{}\r\n0\r\n\r\n")),
    Case("answer with cut chunks", response=ok(CHUNKED, body=b"5\r\n{}"), ends=True),
    Case("answer with cut content", response=ok(b"Content-Length: 9", body=b"{}"), ends=True),
    Case("answer until the close", response=ok(body=b"{}"), ends=True),
    Case("answer until the close that says so", response=ok(b"Connection: close", body=b"{}"), ends=True),
    Case("HTTP/1.0 answer", response=ok(body=b"{}", line=b"HTTP/1.0 200 OK"), ends=True),
    Case("HTTP/1.0 answer with chunks", response=ok(CHUNKED, body=BODY, line=b"HTTP/1.0 200 OK"), ends=True),
    Case("answer, more than the length", response=ok(b"Content-Length: 2", body=b"{}" + ORDINARY)),
    Case("content of 204", response=ok(b"Content-Length: 2", body=b"{}", line=b"HTTP/1.1 204 No Content")),
    Case("content of 304", response=ok(b"Content-Length: 2", body=b"{}", line=b"HTTP/1.1 304 Not Modified")),
    Case("two answers", response=ORDINARY * 2),
    Case("100 first", response=b"HTTP/1.1 100 Continue\r\n\r\n" + ORDINARY),
    Case("103 first", response=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ORDINARY),
    Case("101 for nothing", response=ok(b"Upgrade: other", b"Connection: upgrade", line=b"HTTP/1.1 101 OK"), ends=True),
    Case("no reason", response=ok(b"Content-Length: 0", line=b"HTTP/1.1 200")),
    Case("status 99", response=ok(b"Content-Length: 0", line=b"HTTP/1.1 99 Less")),
    Case("status 600", response=ok(b"Content-Length: 0", line=b"HTTP/1.1 600 More")),
    Case("status 2000", response=ok(b"Content-Length: 0", line=b"HTTP/1.1 2000 OK")),
    Case("status that is no number", response=ok(b"Content-Length: 0", line=b"HTTP/1.1 OK OK")),
    Case("HTTP/2 status line", response=ok(b"Content-Length: 0", line=b"HTTP/2 200 OK")),
    Case("reason with CR", response=ok(b"Content-Length: 0", line=b"HTTP/1.1 200 a\rX-Injected: 1")),
    Case("reason in UTF-8", response=ok(b"Content-Length: 0", line="HTTP/1.1 500 größe".encode())),
    Case("half a status line", response=b"HTTP/1.1 2", ends=True),
    Case("answer, garbage", response=b"\x01\x02garbage\r\n\r\n", ends=True),
    Case("answer, nothing", response=b"", ends=True),
    Case("answer, bare LF", response=ORDINARY.replace(b"\r\n", b"\n")),
    Case("gzip that is none", response=ok(b"Content-Encoding: gzip", b"Content-Length: 2", body=b"{}")),
    Case("events", response=ok(b"Content-Type: text/event-stream", CHUNKED, body=b"9\r\ndata: a\n\n\r\n0\r\n\r\n")),
    Case("events, cut", response=ok(b"Content-Type: text/event-stream", CHUNKED, body=b"9\r\ndata"), ends=True),
    Case("events with a bad chunk", response=ok(b"Content-Type: text/event-stream", CHUNKED, body=b"zz\r\n"), ends=True),
    Case("redirect", response=ok(b"Location: http://b.example/", b"Content-Length: 0", line=b"HTTP/1.1 307 T")),
    Case("Retry-After with a line end", response=ok(b"Retry-After: 1\rX: 2", b"Content-Length: 0", line=b"HTTP/1.1 503 No")),
    *(Case(f"answer, {name}", response=ok(*lines, body=BODY), ends=True) for name, lines in FRAMINGS.items()),
    *(Case(f"answer name, {name}", response=ok(line, b"Content-Length: 0")) for name, line in NAMES.items()),
    *(
        Case(f"answer value, {field.decode()}, {name}", response=ok(field + b": " + value, b"Content-Length: 0"))
        for field in (b"X-Session-Token", b"Retry-After", b"Set-Cookie", b"Connection", b"Server", b"Content-Type")
        for name, value in VALUES.items()
    ),
    *(Case(f"answer twice the same {each.decode()}", response=ok(each + b": a", each + b": a", b"Content-Length: 0"))
      for each in TWICE_ANSWERED),
    *(Case(f"answer twice {each.decode()}", response=ok(each + b": a", each.lower() + b": b", b"Content-Length: 0"))
      for each in TWICE_ANSWERED),
]  # fmt: skip


class Seen(NamedTuple):
    """What came of a case."""

    upstream: list[bytes]
    """By connection, those without a word left out."""
    client: bytes


class Hop:
    """A running proxy, and both its ends."""

    def __init__(self, port: int, listener: socket.socket) -> None:
        self.port, self.listener = port, listener

    def pass_through(self, case: Case) -> Seen:
        """Everything is done here, in one thread: when the client's connection has ended, what the proxy sent to
        the upstream before has arrived."""
        came: dict[socket.socket, bytearray] = {}
        answered: Counter[socket.socket] = Counter()
        got = bytearray()
        with contextlib.ExitStack() as ends:
            client = ends.enter_context(socket.create_connection(("127.0.0.1", self.port)))
            client.sendall(get() if case.request is None else case.request)
            if case.ends and case.request is not None:
                client.shutdown(socket.SHUT_WR)
            reading = [client, self.listener]
            is_over, until = False, time.monotonic() + PATIENCE
            while True:
                ready, _, _ = select.select(reading, [], [], 0 if is_over else 1)
                if is_over and not ready:
                    return Seen([bytes(octets) for octets in came.values() if octets], bytes(got))
                assert time.monotonic() < until, (
                    f"hangs; by now the client has {bytes(got)!r}, the upstream {came}"
                )
                for each in ready:
                    if each is self.listener:
                        accepted = ends.enter_context(self.listener.accept()[0])
                        reading.append(accepted)
                        came[accepted] = bytearray()
                        continue
                    try:
                        piece = each.recv(65536)
                    except ConnectionResetError:
                        piece = b""
                    if not piece:
                        reading.remove(each)
                        is_over = is_over or each is client
                    elif each is client:
                        got += piece
                    else:
                        came[each] += piece
                        while answered[each] < len(requests(bytes(came[each]))):
                            answered[each] += 1
                            with contextlib.suppress(OSError):
                                each.sendall(ORDINARY if case.response is None else case.response)
                                if case.ends and case.response is not None:
                                    each.shutdown(socket.SHUT_WR)


def requests(octets: bytes) -> list[tuple[bytes, bytes]]:
    """Head and content of each whole request, as a lenient server reads them."""
    found = []
    while (end := octets.find(b"\r\n\r\n")) >= 0:
        start, rest = octets[:end], octets[end + 4 :]
        chunked = re.search(rb"(?i)\r\ntransfer-encoding:[^\r]*chunked", start)
        length = re.search(rb"(?i)\r\ncontent-length:\s*(\d+)", start)
        last = rest.find(b"0\r\n\r\n") + 5 if chunked else int(length[1]) if length else 0
        if len(rest) < last or (chunked and last < 5):
            break
        found.append((start, rest[:last]))
        octets = rest[last:]
    return found


@contextlib.contextmanager
def started(folder: Path, checks: str) -> Iterator[tuple[Hop, Hop]]:
    """mitmproxy alone, and with the suite."""
    with contextlib.ExitStack() as ends:
        patch = ends.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("HOPLINT_HOSTILE_KEY", KEY)
        mitmdump = "import sys; from mitmproxy.tools.main import mitmdump; mitmdump(sys.argv[1:])"
        alone = [sys.executable, "-u", "-c", mitmdump]
        suite = [sys.executable, "-u", "-m", "conformance", "proxy", "--isolated"]
        suite += [word for each in SUITE for word in ("--set", each)]
        waits = []
        for command in (alone, suite):
            listener = ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
            words = ["--mode", f"reverse:http://127.0.0.1:{listener.getsockname()[1]}@127.0.0.1:0"]
            words += ["--set", f"validate_inbound_headers={checks}", "--set", "flow_detail=0"]
            words += ["--set", f"confdir={folder}"]
            waits.append((ends.enter_context(background([*command, *words])), listener))
        yield tuple(Hop(int(wait(rb"listening at \S*?:(\d+)", 1)[0]), listener) for wait, listener in waits)


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Iterator[tuple[Hop, Hop]]:
    with started(tmp_path_factory.mktemp("checked"), "true") as hops:
        yield hops


@pytest.fixture(scope="module")
def unchecked(tmp_path_factory) -> Iterator[tuple[Hop, Hop]]:
    with started(tmp_path_factory.mktemp("unchecked"), "false") as hops:
        yield hops


# ---- never worse

WRITTEN = frozenset(
    b"authorization x-litellm-session-id openai-beta anthropic-beta connection retry-after x-upstream-status "
    b"x-should-retry".split()
)
"""Headers that addons of the suite write."""
STREAMED = {"events, cut", "events with a bad chunk"}
"""mitmproxy alone answers these with 502. An event stream is not held back: what the client has of it is not whole."""
MAPPED = {"reason in UTF-8": 502}
"""map-status gives these as another error, with that status's own words."""


def by_name(cases: Iterable[Case]) -> list:
    return [pytest.param(case, id=case.name) for case in cases]


@pytest.mark.parametrize("case", by_name([*REQUESTS, *RESPONSES]))
def test_the_suite_is_never_worse(case: Case, checked) -> None:
    compare(case, checked)


@pytest.mark.parametrize(
    "case",
    # What stands in a value mitmproxy never checks.
    by_name(
        each for each in (*REQUESTS, *RESPONSES) if "value" not in each.name and "twice" not in each.name
    ),
)
def test_the_suite_is_never_worse_than_mitmproxy_without_checks(case: Case, unchecked) -> None:
    compare(case, unchecked)


def compare(case: Case, hops: tuple[Hop, Hop]) -> None:
    alone, suite = (hop.pass_through(case) for hop in hops)
    assert len(suite.upstream) == len(alone.upstream)
    for octets, without in zip(suite.upstream, alone.upstream, strict=True):
        messages, others = requests(octets), requests(without)
        assert len(messages) == len(others)
        assert len(b"".join(requests_octets(octets))) == len(octets), "half a request, or more than one"
        for (start, content), (start_without, content_without) in zip(messages, others, strict=True):
            assert content == content_without
            judge(start, start_without)
    if case.name in STREAMED:
        assert alone.client.startswith(b"HTTP/1.1 502 ")
        assert not is_whole(suite.client)
        return
    start, _, rest = suite.client.partition(b"\r\n\r\n")
    start_without, _, rest_without = alone.client.partition(b"\r\n\r\n")
    assert rest == rest_without
    if case.name in MAPPED:
        assert start.startswith(b"HTTP/1.1 %d " % MAPPED[case.name])
        start_without = start.partition(b"\r\n")[0] + b"\r\n" + start_without.partition(b"\r\n")[2]
    judge(start, start_without)


def requests_octets(octets: bytes) -> list[bytes]:
    return [start + b"\r\n\r\n" + content for start, content in requests(octets)]


def judge(start: bytes, without: bytes) -> None:
    """The first line is the same, no line is framed otherwise, and what the suite has written are header lines."""
    line, *lines = re.sub(rb"127\.0\.0\.1:\d+", b"UPSTREAM", start).split(b"\r\n")
    line_without, *lines_without = re.sub(rb"127\.0\.0\.1:\d+", b"UPSTREAM", without).split(b"\r\n")
    assert line == line_without
    for each in (Counter(lines) - Counter(lines_without)).elements():
        name, colon, value = each.partition(b": ")
        assert colon
        assert TOKEN.fullmatch(name)
        assert re.fullmatch(rb"[\x20-\x7e]+", value)
        assert name.lower() in WRITTEN


def is_whole(response: bytes) -> bool:
    """Whether a strict client takes it for a whole response."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(response)
    client.receive_data(b"")
    with contextlib.suppress(h11.RemoteProtocolError):
        while (event := client.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                return True
    return False


# ---- what the suite writes is one header line


@pytest.fixture(scope="module")
def suite(checked) -> Hop:
    return checked[1]


def lines_of(seen: Seen) -> list[bytes]:
    (octets,) = seen.upstream
    ((start, _),) = requests(octets)
    return start.split(b"\r\n")


SESSION = b"X-Session-Id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00"


@pytest.mark.parametrize(
    "value", [value for name, value in VALUES.items() if name in ("NUL", "CR", "VT", "fold")]
)
def test_a_token_that_is_no_header_value_is_not_sent_back(value: bytes, suite: Hop) -> None:
    session = SESSION + b"-%d" % len(value) + value[1:2].hex().encode()
    for token in (b"pod-1", value):
        answer = ok(b"X-Session-Token: " + token, b"Content-Length: 0")
        suite.pass_through(Case("", get(session), answer))
    assert b"x-session-token: pod-1" in lines_of(suite.pass_through(Case("", get(session))))


@pytest.mark.parametrize(
    "text", ["a\\r\\nX-Injected: 1", "a\\u0000b", "\\u000aX-Injected: 1", "größe", " ", "a b"]
)
@pytest.mark.parametrize("member", ["session_id", "prompt_cache_key", "conversation_id"])
def test_an_id_of_the_content_cannot_be_a_second_line(member: str, text: str, suite: Hop) -> None:
    content = (
        f'{{"model": "m", "{member}": "{text}", "messages": [{{"role": "user", "content": "a"}}]}}'.encode()
    )
    lines = lines_of(suite.pass_through(Case("", post(b"Content-Length: %d" % len(content), body=content))))
    (named,) = [line for line in lines if line.startswith(b"x-litellm-session-id: ")]
    assert re.fullmatch(rb"[0-9a-f]{32}", named.partition(b": ")[2])
    assert not [line for line in lines if b"Injected" in line]


def test_an_http_1_0_client_that_reads_until_the_close(suite: Hop) -> None:
    """RFC 9112 §9.3: a proxy keeps no connection to an HTTP/1.0 client; the answer says nothing of keep-alive."""
    asked = head(b"GET / HTTP/1.0", b"Host: a", b"Connection: keep-alive")
    answer = ok(b"Content-Length: 2", b"Connection: keep-alive", body=b"{}")
    assert suite.pass_through(Case("", asked, answer)).client == ORDINARY

"""The parsers that real programs read with, as judges: llhttp, aiohttp's in C and in Python, h11.

Facts that shape this file (httptools 0.9.0, aiohttp 3.14.5, h11 0.16.0):

* They run in processes of their own. Two are C code fed with what somebody recorded because it broke something;
  one that crashes or loops must take nothing down but itself.
* aiohttp is lax about responses and strict under ``-X dev``; it decides while it is imported, so it is asked in two
  processes. Requests it reads strictly in both.
* What is fed is what ``replay`` feeds: the octets, where the recording has them, and otherwise the head alone.
  Chunk headers and line ends would be our own inventions.
* httptools cannot be told which request a response answers, so of one without content it is fed the head.
* A parser never names a secret here: of its words only those are kept that stand before what it quotes.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal, NamedTuple

from conformance.grammar import TOKEN
from conformance.message import Exchange, Message, Request
from conformance.replay import head_of, is_judged, octets_of
from conformance.verdict import Judged, NotInstalled, Verdict

PATIENCE = 10.0
"""Seconds that a parser may take for one message. The slowest takes milliseconds for a megabyte."""
START = 60.0
"""Seconds that a process may take to import its parsers."""
LARGEST = 1 << 22
"""Octets of a message that are fed; of a longer one only the head is."""
LINE, LINES = 8190, 128
"""aiohttp's limits for one line and for the number of fields, as its client and server set them."""

type Part = Literal["request", "response"]


def require() -> None:
    """Raise NotInstalled where a parser is missing."""
    missing = [name for name in ("aiohttp", "httptools") if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise NotInstalled(
            f"--parsers needs {' and '.join(missing)}, which {verb} not installed: pip install 'hoplint[parsers]'"
        )


class Fed(NamedTuple):
    """One message as the parsers get it."""

    part: Part
    octets: bytes
    method: bytes
    """Of the request; that of the request a response answers."""
    whole: bool
    """Not the head alone, and not a message of which nobody can say where it ends."""
    closed: bool
    """The connection was closed behind it."""
    upgrade: bool
    """The request asked for another protocol."""


class Judges:
    """The processes with the parsers, started when first asked. A context manager: they end with it."""

    def __init__(self) -> None:
        require()
        self._benches = (_Bench(strict=False), _Bench(strict=True))
        self.failures: list[str] = []
        """Parsers that crashed or did not come to an end, and on what."""

    def __enter__(self) -> Judges:
        return self

    def __exit__(self, *_: object) -> None:
        for bench in self._benches:
            bench.end()

    def judge(self, exchange: Exchange) -> Iterator[tuple[Part, Judged]]:
        """The verdicts on each message of an exchange that was recorded as it was sent."""
        for message in exchange.messages:
            if is_judged(message):
                part: Part = "request" if isinstance(message, Request) else "response"
                fed = _fed(message, part, exchange.request)
                verdicts: list[Verdict] = []
                for bench in self._benches:
                    verdicts += bench.ask(fed)
                    self.failures += (
                        f"{said} (exchange {exchange.number}, {part})" for said in bench.failures
                    )
                    bench.failures.clear()
                yield part, Judged(message, tuple(verdicts))


def _fed(message: Message, part: Part, request: Request) -> Fed:
    wire = message.wire
    bodiless = part == "response" and request.method == b"HEAD"
    known = wire is not None and not bodiless and (message.size or 0) <= LARGEST
    octets = b"".join(octets_of(message)) if known else head_of(message)
    whole = known and wire is not None and wire.state != "unframed"
    closed = wire is not None and wire.state in ("cut", "until-close")
    return Fed(part, octets, request.method, whole, closed, "upgrade" in request.fields)


class _Bench:
    """One process, and the parsers in it that still answer."""

    def __init__(self, *, strict: bool) -> None:
        self.failures: list[str] = []
        self._strict = strict
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._names: list[str] = []
        self._failed: set[str] = set()

    def ask(self, fed: Fed) -> Iterator[Verdict]:
        """Each parser's verdict; one that fails has none, and is not asked again."""
        if self._strict and fed.part == "request":
            return
        pipe = self._pipe or self._begin()
        waiting = list(self._names)
        while waiting:
            with suppress(BrokenPipeError):  # it has ended since: who is asked first has no answer
                pipe.send((fed, waiting))
            for name in list(waiting):
                waiting.remove(name)
                answer = _answer(pipe)
                if isinstance(answer, Verdict):
                    yield answer
                    continue
                self.failures.append(f"{name} {answer}, and is not asked again")
                self._failed.add(name)
                self.end()
                pipe = self._begin()
                break

    def _begin(self) -> Connection:
        context = get_context("spawn")
        here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, self._strict), daemon=True)
        self._process.start()
        there.close()
        self._pipe = here
        try:
            found: list[str] | str = here.recv() if here.poll(START) else "took too long"
        except _ENDED:  # it does so, too, where it runs a script again that does not look at __name__
            found = "their process came to an end"
        if isinstance(found, str):
            self.end()
            raise NotInstalled(f"--parsers: aiohttp or httptools cannot be loaded: {found}")
        self._names = [name for name in found if name not in self._failed]
        return here

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._pipe is not None and self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = self._pipe = None


_ENDED = (EOFError, ConnectionError)
"""What reading from a process raises that has ended; which of them depends on the system."""


def _answer(pipe: Connection) -> Verdict | str:
    """The verdict of the parser that is next, or what went wrong with it."""
    try:
        if not pipe.poll(PATIENCE):
            return f"does not come to an end within {PATIENCE:g} s"
        answer: Verdict | str = pipe.recv()
    except _ENDED:
        return "crashed"
    return answer


# ---- in the other process

type _Reading = list[tuple[str, object]]


class _Refused(Exception):
    """A parser does not take a message; in its words."""


def _serve(pipe: Connection, strict: bool) -> None:
    """Answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's business
    if strict:
        os.environ["PYTHONASYNCIODEBUG"] = "1"  # what aiohttp looks at, besides -X dev
    try:
        readers = _readers(strict=strict)
    except Exception as problem:  # noqa: BLE001 - whatever keeps them from being loaded is said
        pipe.send(f"{type(problem).__name__}: {problem}")
        return
    pipe.send(list(readers))
    with suppress(EOFError, OSError):  # the other end is closed
        while True:
            fed, names = pipe.recv()
            for name in names:
                pipe.send(_verdict(name, readers[name], fed))


def _verdict(name: str, read: Callable[[Fed], _Reading], fed: Fed) -> Verdict | str:
    try:
        return Verdict(name, None, tuple(read(fed)))
    except _Refused as refusal:
        return Verdict(name, _unquoted(str(refusal)))
    except Exception as problem:  # noqa: BLE001 - a parser's own mistake is told as such
        return f"failed with {type(problem).__name__}"


_QUOTE = re.compile(r"""(?<!\s)\s*(?::\s*(?:b?['"]|bytearray|\n|\S{0,200}[^\x20-\x7e])|\n).*""", re.DOTALL)


def _unquoted(words: str) -> str:
    return _QUOTE.sub("", words.removeprefix("400, message:").strip()).strip()[:200] or "no reason given"


def _readers(*, strict: bool) -> dict[str, Callable[[Fed], _Reading]]:
    """Every parser by name."""
    import aiohttp
    import httptools  # noqa: F401 - used by _httptools; what keeps it from being loaded is said before anything else
    from aiohttp import http_parser

    found: dict[str, Callable[[Fed], _Reading]] = {} if strict else {
        f"h11 {version('h11')}": _h11, f"httptools {version('httptools')}": _httptools,
    }  # fmt: skip
    option = ", -X dev" if strict else ""
    named = f"aiohttp {aiohttp.__version__}"
    if http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy:
        found[f"{named} (C parser{option})"] = _aiohttp(
            http_parser.HttpRequestParser, http_parser.HttpResponseParser
        )
    found[f"{named} (Python parser{option})"] = _aiohttp(
        http_parser.HttpRequestParserPy, http_parser.HttpResponseParserPy
    )
    return found


def _read(
    start: tuple[object, ...], fields: Iterable[tuple[bytes, bytes]], body: tuple[int, bool] | None
) -> _Reading:
    """What two parsers must agree on. Framing fields they may tidy up: what they make of them is in the body."""
    shown = tuple(
        (name.lower(), b" ".join(value.split())) for name, value in fields if name.lower() not in _FRAMING
    )
    return [("start line", start), ("fields", shown), ("content", body)]


_FRAMING = (b"content-length", b"transfer-encoding")


def _h11(fed: Fed) -> _Reading:
    import h11

    connection = h11.Connection(h11.SERVER if fed.part == "request" else h11.CLIENT, 1 << 62)
    fields: list[tuple[bytes, bytes]]
    if fed.part == "response":
        method = fed.method if TOKEN.fullmatch(fed.method) else b"GET"
        fields = [(b"Host", b"h"), *([(b"Upgrade", b"any")] if fed.upgrade else [])]
        connection.send(h11.Request(method=method, target=b"/", headers=fields))
        connection.send(h11.EndOfMessage())
    start: tuple[object, ...] | None = None
    fields = []
    size, whole = 0, False
    try:
        connection.receive_data(fed.octets)
        if fed.closed:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                start, fields = (event.method, event.target), list(event.headers.raw_items())
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                start, fields = (event.status_code,), list(event.headers.raw_items())
                whole = isinstance(event, h11.InformationalResponse)
            elif isinstance(event, h11.Data):
                size += len(event.data)
            else:
                whole = whole or isinstance(event, h11.EndOfMessage)
                break
    except h11.RemoteProtocolError as error:
        raise _Refused(str(error)) from None
    return _taken(fed, start, fields, size, whole=whole)


def _taken(
    fed: Fed,
    start: tuple[object, ...] | None,
    fields: Iterable[tuple[bytes, bytes]],
    size: int,
    *,
    whole: bool,
) -> _Reading:
    if start is None:
        raise _Refused("finds no end of the header section")
    return _read(start, fields, (size, whole) if fed.whole else None)


class _Seen:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.size = 0
        self.head = self.whole = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head:  # those behind are trailer fields
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head = True

    def on_body(self, body: bytes) -> None:
        self.size += len(body)

    def on_message_complete(self) -> None:
        self.whole = True


def _httptools(fed: Fed) -> _Reading:
    import httptools

    seen = _Seen()
    asked = fed.part == "request"
    parser: Any = (httptools.HttpRequestParser if asked else httptools.HttpResponseParser)(seen)
    try:
        parser.feed_data(fed.octets)
    except httptools.HttpParserUpgrade:
        seen.head = seen.whole = True
    except httptools.HttpParserError as error:
        raise _Refused(str(error)) from None
    start: tuple[object, ...] | None = (
        (parser.get_method(), seen.target) if asked else (parser.get_status_code(),)
    )
    if not seen.head:
        start = None
    whole = seen.whole or fed.closed  # it is not told of the close
    return _taken(fed, start, seen.fields, seen.size, whole=whole)


def _aiohttp(request: Any, response: Any) -> Callable[[Fed], _Reading]:
    """A reader with aiohttp's parsers for requests and for responses."""
    import asyncio

    from aiohttp import http_exceptions
    from aiohttp.base_protocol import BaseProtocol

    loop = asyncio.new_event_loop()

    def read(fed: Fed) -> _Reading:
        limits = {"max_line_size": LINE, "max_field_size": LINE, "max_headers": LINES}
        options: dict[str, object] = {"auto_decompress": False, **limits}
        if fed.part == "response":
            options |= {"response_with_body": fed.method != b"HEAD", "read_until_eof": True}
        parser = (request if fed.part == "request" else response)(
            BaseProtocol(loop), loop, 1 << 30, **options
        )
        try:
            messages, _, _ = parser.feed_data(fed.octets)
            if fed.closed:
                parser.feed_eof()
        except http_exceptions.HttpProcessingError as error:
            raise _Refused(error.message) from None
        if not messages:
            return _taken(fed, None, (), 0, whole=False)
        head, payload = messages[0]
        if (problem := payload.exception()) is not None:
            raise _Refused(str(problem))
        start = (
            (head.method.encode(), head.path.encode("utf-8", "surrogateescape"))
            if fed.part == "request"
            else (head.code,)
        )
        return _taken(fed, start, head.raw_headers, payload.total_bytes, whole=payload.is_eof() or fed.closed)

    return read

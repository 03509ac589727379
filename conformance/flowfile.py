"""mitmproxy flow files, read without mitmproxy: importing it takes longer than reading a thousand flows.

Facts that shape this module:

* A flow file is tnetstrings one behind the other, ``<length>:<payload>}``: no header, no index, no checksum.
  So a reader knows where a flow begins only if it understood the one before, and memory is bounded by the
  largest flow.
* Most of a flow is never looked at (certificates, ciphers, bodies). Dictionaries are indexed by the lengths
  of their values; values are decoded when asked for; a body stays a view of the record it came in.
* Messages look the same in flow format versions 19 to 21. Older flows are given to mitmproxy's own migration
  first, one by one.
* A flow is what mitmproxy made of the traffic, not the traffic: an interim response that it took for the
  final one is told apart here (https://github.com/mitmproxy/mitmproxy/issues/2229).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

from conformance.message import (
    NO_FIELDS,
    Edit,
    Evidence,
    Exchange,
    Fields,
    Frame,
    Octets,
    Refusal,
    Request,
    Response,
    Side,
    Stream,
)

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

OLDEST, NEWEST = 19, 21
"""Flow format versions that are read here; see ``mitmproxy/io/compat.py`` for what each one changed."""

LONGEST_PREFIX = 12
"""Digits that mitmproxy accepts before the colon."""

_BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""What reading a record raises that is not what it says it is."""


class FlowFileError(ValueError):
    """A flow file, or one flow in it, that cannot be read; says at which byte the flow begins."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(f"byte {offset}: {problem}")
        self.offset = offset


def read(
    file: BinaryIO, notes: list[str] | None = None, stop: int | None = None
) -> Iterator[Exchange | Stream | FlowFileError]:
    """The HTTP and TCP flows of a file, in order; ``file`` is seekable and stands before the first flow.

    ``stop``: offset of the first flow that is not to be read; None: to the end.

    A flow that cannot be understood is yielded as the error it makes, and the flows behind it are read. Flows
    of other types (``dns``, ``udp``) are counted in ``notes``. Exchanges are numbered from 1; streams come
    with bare octets: finding messages in them is not done here.
    Raises FlowFileError where nothing behind can be read; all flows before have been yielded.
    """
    exchanges = 0
    skipped: Counter[str] = Counter()
    try:
        for offset, record in records(file, stop):
            try:
                flow = _flow(record)
                kind = flow.text(b"type")
                if kind == "http":
                    exchange = _exchange(flow, exchanges + 1, offset)
                    exchanges += 1
                    yield exchange
                elif kind == "tcp":
                    yield _stream(flow, offset)
                elif kind in ("dns", "udp"):
                    skipped[kind] += 1
                else:
                    yield FlowFileError(offset, "a flow of a type that is neither http, tcp, udp nor dns")
            except _FlowError as error:
                yield FlowFileError(offset, str(error))
            except _BROKEN as error:
                # The exception's text may quote the record, and with it a credential.
                yield FlowFileError(offset, f"this is no flow of mitmproxy's ({type(error).__name__})")
    finally:
        if notes is not None:
            notes += [
                f"{kind} flows skipped, they hold no HTTP: {count}" for kind, count in sorted(skipped.items())
            ]


def records(file: BinaryIO, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(offset, payload and type octet) of each flow. Raises FlowFileError as soon as one is not whole.

    ``stop``: as for ``read``.
    """
    offset = file.tell()
    size = file.seek(0, os.SEEK_END) if stop is None else stop
    file.seek(offset)
    while offset < size:
        digits, octet = _prefix(file)
        if octet != b":" or not digits:
            if digits and not octet:
                raise FlowFileError(offset, "the recording breaks off inside the length of a flow")
            raise FlowFileError(offset, "no flow begins here: a flow begins with its length and a colon")
        length = int(digits)
        left = size - offset - len(digits) - 1
        # Compared before reading: read() would allocate whatever the length says.
        if length + 1 > left:
            raise FlowFileError(
                offset,
                f"the recording breaks off: the flow that begins here has {length} octets, {left} are left",
            )
        record = file.read(length + 1)
        if len(record) <= length:  # the file was cut while it was read
            raise FlowFileError(
                offset, f"the recording breaks off: {len(record)} of {length} octets could be read"
            )
        if record[length] != _DICT:
            raise FlowFileError(offset, "no flow begins here: what its length spans does not end in '}'")
        yield offset, record
        offset += len(digits) + 1 + length + 1


def _prefix(file: BinaryIO) -> tuple[bytes, bytes]:
    """The digits of a length, and the octet behind them."""
    digits = b""
    # Octet by octet: what BufferedReader.peek() gives ends early near the end of its buffer.
    while (octet := file.read(1)).isdigit() and len(digits) < LONGEST_PREFIX:
        digits += octet
    return digits, octet


def starts(file: BinaryIO, apart: int) -> Iterator[int]:
    """Offsets at which flows begin, at least so many octets apart, told by the lengths before the flows alone.

    None behind a length that cannot be read, or leads behind the end of the file.
    """
    offset = last = file.tell()
    size = file.seek(0, os.SEEK_END)
    while offset < size:
        if offset == last or offset - last >= apart:
            yield offset
            last = offset
        file.seek(offset)
        digits, octet = _prefix(file)
        if octet != b":" or not digits:
            return
        offset += len(digits) + 1 + int(digits) + 1


# --- tnetstrings: the octet behind a value says what it is
_OCTETS, _TEXT, _INT, _FLOAT, _BOOL, _NULL, _LIST, _DICT = b",;#^!~]}"
_COLON, _ZERO = b":0"


class _FlowError(ValueError):
    """Why a flow cannot be read, in words that quote nothing from it."""


class _Table:
    """A dictionary of a record: where each value lies, decoded when it is asked for."""

    __slots__ = ("data", "spans")

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self.data = data
        spans: dict[bytes, tuple[int, int, int]] = {}
        self.spans = spans
        key: bytes | None = None
        at = start
        while at < stop:  # keys and values by turns
            if data[at + 1] == _COLON:  # one digit or two, as most are: no search, no slice
                begin = at + 2
                end = begin + data[at] - _ZERO
            elif data[at + 2] == _COLON:
                begin = at + 3
                end = begin + 10 * data[at] + data[at + 1] - 11 * _ZERO
            else:
                colon = data.find(b":", at, at + 13)
                begin = colon + 1
                end = begin + int(data[at:colon])
            if end < begin:
                raise _FlowError("a length is negative")
            at = end + 1
            if key is None:
                key = data[begin:end]
            else:
                spans[key] = (begin, end, data[end])
                key = None
        if at != stop or key is not None:
            raise _FlowError("a value in this flow is longer than what it stands in")

    def octets(self, name: bytes) -> bytes:
        """Octets or text, as octets; empty for null."""
        start, stop, _ = self.spans[name]
        return self.data[start:stop]

    def text(self, name: bytes) -> str:
        """Text; empty for null."""
        start, stop, _ = self.spans[name]
        return self.data[start:stop].decode("utf-8", "backslashreplace")

    def number(self, name: bytes) -> float | None:
        start, stop, tag = self.spans[name]
        return None if tag == _NULL else _moment(float(self.data[start:stop]))

    def truth(self, name: bytes) -> bool:
        start, stop, _ = self.spans[name]
        return self.data[start:stop] == b"true"

    def table(self, name: bytes) -> _Table | None:
        """A dictionary; None for null."""
        start, stop, tag = self.spans[name]
        if tag == _DICT:
            return _Table(self.data, start, stop)
        if tag == _NULL:
            return None
        raise _FlowError(f"'{name.decode('latin-1')}' is not a dictionary")

    def body(self) -> memoryview | None:
        start, stop, tag = self.spans[b"content"]
        return None if tag == _NULL else memoryview(self.data)[start:stop]

    def fields(self, name: bytes) -> Fields:
        """``[[name, value], ...]``; null is no field."""
        start, stop, tag = self.spans[name]
        if tag == _NULL:
            return NO_FIELDS
        if tag != _LIST:
            raise _FlowError(f"'{name.decode('latin-1')}' is not a list")
        return Fields(_pairs(self.data, start, stop))

    def value(self, name: bytes) -> Any:
        """The value decoded all the way down; octets stay ``bytes``. None where there is none."""
        start, stop, tag = self.spans.get(name, (0, 0, _NULL))
        return _decoded(self.data, start, stop, tag)


_lines: dict[bytes, tuple[bytes, bytes]] = {}
"""Header lines read before: in recordings of agents, four of five repeat an earlier one to the octet."""
_KEPT_LINES, _KEPT_LENGTH = 4096, 1024


def _pairs(data: bytes, at: int, stop: int) -> list[tuple[bytes, bytes]]:
    # Lines end in ",]". Where every piece between two of these is as long as it says, none stood in a value.
    *lines, rest = data[at:stop].split(b",]")
    pairs = []
    for line in lines:
        pair = _lines.get(line)
        if pair is None:
            length, _, inner = line.partition(b":")
            if int(length) != len(inner) + 1:
                return _walked(data, at, stop)
            pair = _pair(inner + b",")
            if len(line) <= _KEPT_LENGTH:
                if len(_lines) >= _KEPT_LINES:
                    _lines.clear()
                _lines[line] = pair
        pairs.append(pair)
    return _walked(data, at, stop) if rest else pairs


def _walked(data: bytes, at: int, stop: int) -> list[tuple[bytes, bytes]]:
    """The same, from length to length."""
    pairs = []
    while at < stop:
        colon = data.find(b":", at, at + 13)
        start = colon + 1
        end = start + int(data[at:colon])
        if data[end] != _LIST:
            raise _FlowError("a header is not a list of a name and a value")
        pairs.append(_pair(data[start:end]))
        at = end + 1
    if at != stop:
        raise _FlowError("a header is longer than the list it stands in")
    return pairs


def _pair(line: bytes) -> tuple[bytes, bytes]:
    colon = line.index(b":")
    start = colon + 1
    end = start + int(line[:colon])
    name = line[start:end]
    colon = line.index(b":", end)
    value = line[colon + 1 : -1]
    # Both are octets, and both end where they say.
    if start > end or line[end] != _OCTETS or line[-1] != _OCTETS or int(line[end + 1 : colon]) != len(value):
        raise _FlowError("a header is not a list of a name and a value")
    return name, value


def _decoded(data: bytes, start: int, stop: int, tag: int) -> Any:
    if tag == _OCTETS:
        return data[start:stop]
    if tag == _TEXT:
        return data[start:stop].decode()
    if tag == _LIST:
        return list(_items(data, start, stop))
    if tag == _DICT:
        return {key.decode(): _decoded(data, *span) for key, span in _Table(data, start, stop).spans.items()}
    if tag == _INT:
        return int(data[start:stop])
    if tag == _FLOAT:
        return float(data[start:stop])
    if tag == _BOOL:
        return data[start:stop] == b"true"
    if tag == _NULL:
        return None
    raise _FlowError("a value in this flow has no type")


def _items(data: bytes, at: int, stop: int) -> Iterator[Any]:
    while at < stop:
        colon = data.find(b":", at, at + 13)
        begin = colon + 1
        end = begin + int(data[at:colon])
        if not begin <= end < stop:
            raise _FlowError("a list in this flow is shorter than what is in it")
        yield _decoded(data, begin, end, data[end])
        at = end + 1


def decoded(record: bytes) -> dict[str, Any]:
    """A whole flow (payload and type octet), brought up to a version that is read here; octets stay ``bytes``.

    Raises ValueError, in words that quote nothing from it.
    """
    try:
        flow = _flow(record)
        found: dict[str, Any] = _decoded(flow.data, 0, len(flow.data) - 1, _DICT)
    except _FlowError:
        raise
    except _BROKEN as error:
        raise _FlowError(f"this is no flow of mitmproxy's ({type(error).__name__})") from None
    return found


def encoded(value: Any) -> bytes:
    """A value as a tnetstring: of what ``decoded`` gave, a flow as it stands in a flow file."""
    match value:
        case None:
            return b"0:~"
        case bool():
            payload, tag = (b"true" if value else b"false"), b"!"
        case int():
            payload, tag = b"%d" % value, b"#"
        case float():
            payload, tag = repr(value).encode(), b"^"
        case bytes():
            payload, tag = value, b","
        case str():
            payload, tag = value.encode(), b";"
        case dict():
            payload, tag = b"".join(encoded(part) for pair in value.items() for part in pair), b"}"
        case _:
            payload, tag = b"".join(map(encoded, value)), b"]"
    return b"%d:%s%s" % (len(payload), payload, tag)


# --- flows
def _flow(record: bytes) -> _Table:
    """The flow, brought up to a version that is read here."""
    flow = _Table(record, 0, len(record) - 1)
    start, stop, tag = flow.spans.get(b"version", (0, 0, _NULL))
    if tag == _NULL:
        raise _FlowError("a dictionary without a version: this is no flow of mitmproxy's")
    version = int(record[start:stop]) if tag == _INT else 0  # up to mitmproxy 1.0 it was a list of numbers
    if version > NEWEST:
        raise _FlowError(
            f"flow format version {version} is too new: this hoplint reads versions up to {NEWEST}"
        )
    if version < OLDEST:
        from conformance.mitm import upgraded

        record = upgraded(record)
        flow = _Table(record, 0, len(record) - 1)
    return flow


_SEEN = Evidence.HEADERS | Evidence.ERROR | Evidence.FLOWS | Evidence.CONNECTION
_OPCODES: dict[int, Any] = {1: "TEXT", 2: "BINARY"}

_INTERIM_AS_FINAL = (
    "mitmproxy took this interim response for the final one, which it threw away (its issue 2229)"
)
_NOT_WHOLE = "an HTTP flow without a request or without its connections"


def _exchange(flow: _Table, number: int, offset: int) -> Exchange:
    head = flow.table(b"request")
    if head is None:
        raise _FlowError(_NOT_WHOLE)
    client_connection, server_name = _of_connection(flow, b"client_conn", _client)
    server_connection, upstream = _of_connection(flow, b"server_conn", _server)
    request = _request(head)
    metadata = flow.value(b"metadata") or {}
    response: Response | None = None
    interim: tuple[Response, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    answered: float | None = None
    ended: float | None = None
    answer = flow.table(b"response")
    if answer is not None:
        answered = answer.number(b"timestamp_start")
        ended = answer.number(b"timestamp_end")
        response = _response(answer, metadata.get("partial_body") is True)
        if response.is_http1 and 100 <= response.status <= 199 and response.status != 101:
            refusals = (Refusal(_INTERIM_AS_FINAL, None, "response", "recorder", "mitmproxy"),)
            interim, response = (response,), None
    error = None
    failure = flow.table(b"error")
    if failure is not None:
        error = failure.text(b"msg")
        ended = failure.number(b"timestamp") if ended is None else ended
    evidence = _SEEN
    frames: tuple[Frame, ...] = ()
    dropped = 0
    websocket = flow.table(b"websocket")
    if websocket is not None:
        frames, dropped = _frames(websocket)
        evidence |= Evidence.WEBSOCKET
        ended = websocket.number(b"timestamp_end") or ended
    exchange = Exchange(
        request=request,
        response=response,
        interim=interim,
        frames=frames,
        dropped=dropped,
        refusals=refusals,
        error=error,
        evidence=evidence,
        recorder="mitmproxy",
        number=number,
        flow=flow.text(b"id"),
        offset=offset,
        note=flow.text(b"comment"),
        scheme=head.octets(b"scheme") or b"http",
        server_name=server_name,
        upstream=upstream,
        client_connection=client_connection,
        server_connection=server_connection,
        started=head.number(b"timestamp_start"),
        answered=answered,
        ended=ended,
        is_replay=bool(flow.octets(b"is_replay")),
    )
    return _with_journal(exchange, metadata) if metadata else exchange


_LONGEST_CONNECTION = 16_384


def _of_connection[T](flow: _Table, name: bytes, facts: _lru_cache_wrapper[T]) -> T:
    """What is asked of a connection. It stands in every flow that was sent on it, to the octet: remembered."""
    start, stop, tag = flow.spans[name]
    if tag == _NULL:
        raise _FlowError(_NOT_WHOLE)
    if tag != _DICT:
        raise _FlowError(f"'{name.decode('latin-1')}' is not a dictionary")
    octets = flow.data[start:stop]
    return facts(octets) if len(octets) <= _LONGEST_CONNECTION else facts.__wrapped__(octets)


@lru_cache(maxsize=64)
def _client(octets: bytes) -> tuple[str, str | None]:
    """The id, and the name that TLS was asked for."""
    table = _Table(octets, 0, len(octets))
    # In reverse mode mitmproxy may have written the Host field, and TLS asked for the proxy's own name.
    is_reverse = table.text(b"proxy_mode").startswith("reverse")
    return table.text(b"id"), None if is_reverse else table.text(b"sni") or None


@lru_cache(maxsize=64)
def _server(octets: bytes) -> tuple[str | None, str | None]:
    """The id, if there was a connection, and ``host:port``."""
    table = _Table(octets, 0, len(octets))
    # mitmproxy makes the object before it connects: requests that were answered without asking any server
    # share it, and were not sent on one connection.
    return table.text(b"id") if table.octets(b"timestamp_start") else None, _address(table)


def _request(head: _Table) -> Request:
    octets = head.octets
    method = octets(b"method")
    version = octets(b"http_version")
    authority = octets(b"authority")
    target = octets(b"path")
    multiplexed = version.startswith((b"HTTP/2", b"HTTP/3"))
    if method.upper() == b"CONNECT":
        target = authority
    elif authority and not multiplexed:
        # mitmproxy's assemble_request_head: an authority means that the target was in absolute form.
        target = b"%s://%s%s" % (octets(b"scheme"), authority, target)
    return Request(
        fields=head.fields(b"headers"),
        body=head.body(),
        trailers=head.fields(b"trailers"),
        version=version,
        method=method,
        target=target,
        authority=authority if multiplexed else b"",
    )


def _response(head: _Table, partial: bool) -> Response:
    return Response(
        fields=head.fields(b"headers"),
        body=head.body(),
        trailers=head.fields(b"trailers"),
        version=head.octets(b"http_version"),
        partial=partial,
        # An integer in the file: "HTTP/1.1 07 x" is no status that mitmproxy lets through.
        code=head.octets(b"status_code"),
        reason=head.octets(b"reason"),
    )


def _address(server: _Table) -> str | None:
    address = server.value(b"address")
    if not address:
        return None
    host, port, *_ = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _moment(seconds: float | None) -> float | None:
    """A time as it is in the file; refuses what no clock shows: infinities, what is no number, the year 5138."""
    if seconds is None or 0 <= seconds < 1e11:
        return seconds
    raise _FlowError("a time in this flow is none")


def _frames(websocket: _Table) -> tuple[tuple[Frame, ...], int]:
    """The messages and the close, and how many messages were dropped."""
    frames = []
    lost = 0
    for opcode, from_client, content, time, dropped, *more in websocket.value(b"messages"):
        if dropped:  # it never reached the other side
            lost += 1
        else:
            sender: Side = "client" if from_client else "server"
            octets = b"".join([content])  # as in _fields
            frames.append(Frame(sender, _OPCODES[opcode], octets, _moment(time), injected=more[:1] == [True]))
    code = websocket.number(b"close_code")
    if code is not None:
        side: Side = "client" if websocket.truth(b"closed_by_client") else "server"
        reason = websocket.octets(b"close_reason")
        frames.append(Frame(side, "CLOSE", reason, websocket.number(b"timestamp_end"), int(code)))
    return tuple(frames), lost


def _with_journal(exchange: Exchange, metadata: dict[str, Any]) -> Exchange:
    """Add what our own addons wrote down: each edit, and the field lines as they came in."""
    try:
        edits = tuple(_edit(**entry) for entry in metadata.get("hoplint", ()))
        lines = metadata.get("hoplint_received") or {}
        came = {part: _fields(lines[part]) for part in ("request", "response") if lines.get(part) is not None}
    except _BROKEN:
        raise _FlowError(
            "its metadata hold a journal ('hoplint') that hoplint's addons did not write"
        ) from None
    request, response = exchange.request, exchange.response
    if "request" in came:
        rewritten = any(edit.field.startswith(":content") for edit in edits)
        request = replace(request, fields=came["request"], body=None if rewritten else request.body)
    if "response" in came and response is not None:
        response = replace(response, fields=came["response"])
        mapped = next((edit for edit in edits if edit.field == ":status" and edit.before), None)
        if mapped is not None:
            response = replace(response, code=mapped.before[0].encode(), reason=b"")
    if request is exchange.request and response is exchange.response:
        return replace(exchange, edits=edits)
    received = replace(exchange, request=request, response=response)
    return replace(exchange, edits=edits, received=received, evidence=exchange.evidence | Evidence.LEGS)


def _edit(addon: str, part: str, op: str, field: str, before: list[str], after: list[str], why: str) -> Edit:
    # A stranger's journal may hold anything.
    old, new = tuple(map(str, before)), tuple(map(str, after))
    return Edit(str(addon), str(part), str(op), str(field), old, new, str(why))


def _fields(lines: list[list[bytes]]) -> Fields:
    # join() refuses anything that is not octets, here and not in the middle of some rule.
    return Fields([(b"".join([name]), b"".join([value])) for name, value in lines])


def _stream(flow: _Table, offset: int) -> Stream:
    sent: dict[bool, list[bytes]] = {True: [], False: []}
    times: dict[bool, list[tuple[int, Any]]] = {True: [], False: []}
    size = {True: 0, False: 0}
    for from_client, content, time, *_ in flow.value(b"messages"):
        times[from_client].append((size[from_client], _moment(float(time))))
        sent[from_client].append(content)
        size[from_client] += len(content)
    return Stream(
        client=Octets(side="client", data=b"".join(sent[True]), times=tuple(times[True])),
        server=Octets(side="server", data=b"".join(sent[False]), times=tuple(times[False])),
        flow=flow.text(b"id"),
        offset=offset,
        note=flow.text(b"comment"),
        leg="server" if (flow.value(b"metadata") or {}).get("hoplint_leg") == "server" else None,
    )

"""HAR 1.2, as browsers, debugging proxies and mitmproxy's ``save.har`` write it.

http://www.softwareishard.com/blog/har-12-spec/ describes the format; what exporters make of it differs:

* A HAR is told by a program that has parsed the messages. Content is decoded, repeated fields may be merged,
  framing is gone: every message is marked as not ``verbatim``.
* Chrome writes repeated Set-Cookie fields as one, with line feeds in between, HTTP/2's pseudo-headers as
  fields, and entries for what it never asked a server for (``data:``, ``blob:``, extensions).
* Firefox writes the server's port as ``connection``, the same for every connection there.
* mitmproxy writes octets that are not UTF-8 as lone surrogates, and content it did not keep as "".
* Requests that never left have no protocol, and a status of 0.

Entries are read one by one, so that memory is bounded by the largest, and a file that breaks off is read up
to there.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

from conformance.message import Evidence, Exchange, Fields, Frame, Refusal, Request, Response, Side

WINDOW = 1 << 20
"""Characters that are read at a time."""


class HarError(ValueError):
    """A HAR, or one entry of it, that cannot be read; says at which line and column, or which entry."""


def read(file: BinaryIO, notes: list[str] | None = None) -> Iterator[Exchange | HarError]:
    """The HTTP exchanges of a HAR, in order, numbered from 1.

    An entry that cannot be understood is yielded as the error it makes, and the entries behind it are read.
    What exporters are known to lose, and entries that are not HTTP, are told in ``notes``.
    Raises HarError where the JSON is broken; all entries before have been yielded.
    """
    notes = [] if notes is None else notes
    exchanges = others = 0
    for number, entry in enumerate(_entries(file, notes), 1):
        try:
            exchange = _exchange(entry, exchanges + 1)
        except _EntryError as error:
            yield HarError(f"entry {number}: {error}")
            continue
        if exchange is None:
            others += 1
        else:
            exchanges += 1
            yield exchange
    if others:
        notes.append(f"entries skipped because they are not HTTP (data:, blob:, file:...): {others}")


# --- JSON, a window at a time
class Json:
    """A JSON text of which only a window is in memory."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._read = file.read
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._lines = self._columns = 0
        """What has left the window: line feeds, and characters since the last one."""

    def _more(self) -> bool:
        gone, kept = self._text[: self._at], self._text[self._at :]
        if feeds := gone.count("\n"):
            self._lines += feeds
            self._columns = len(gone) - gone.rfind("\n") - 1
        else:
            self._columns += len(gone)
        # As much again as there is: decoding a value anew each time it was cut still takes linear time.
        new = self._read(max(WINDOW, len(kept)))
        self._text, self._at = kept + new, 0
        return bool(new)

    def error(self, problem: str, at: int | None = None) -> HarError:
        """The error for a place in the window; by default, where reading stands."""
        before = self._text[: self._at if at is None else at]
        feeds = before.count("\n")
        column = len(before) - before.rfind("\n") if feeds else self._columns + len(before) + 1
        return HarError(f"line {self._lines + feeds + 1}, column {column}: {problem}")

    def next(self) -> str:
        """The next character that is not whitespace, which is not taken; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> str:
        """Take one of these characters, or raise."""
        found = self.next()
        if not found:
            raise self.error("the HAR breaks off here")
        if found not in wanted:
            raise self.error(f"expected {' or '.join(wanted)}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Decode the next value."""
        self.next()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = self._is_cut(error)
                if cut and self._more():
                    continue
                if cut:
                    raise self.error("the HAR breaks off in the value that begins here") from None
                raise self.error(f"this is not JSON: {error.msg}", error.pos) from None
            except (ValueError, RecursionError) as error:
                raise self.error(f"this JSON is beyond all measure ({type(error).__name__})") from None
            size = end - self._at
            # A number that ends with the window may go on behind it.
            if end == len(self._text) and self._more():
                continue
            self._at += size
            return value

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether more of the text might have helped."""
        if error.msg.startswith("Invalid \\"):  # an escape
            return error.pos >= len(self._text) - len("\\u0000")
        return error.msg.startswith("Unterminated") or _UNFINISHED.match(self._text, error.pos) is not None

    def names(self) -> Iterator[str]:
        """The names of an object; the caller takes the value of each."""
        self.take("{")
        if self.next() == "}":
            self.take("}")
            return
        while True:
            if self.next() not in ('"', ""):
                raise self.error("expected a name in quotes")
            name = self.value()
            self.take(":")
            yield name
            if self.take(",}") == "}":
                return

    def items(self) -> Iterator[Any]:
        """The values of an array."""
        self.take("[")
        if self.next() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return


_UNFINISHED = re.compile(r"[-+.0-9A-Za-z]*\Z")  # nothing, or the beginning of a number, true, false, null


def _entries(file: BinaryIO, notes: list[str]) -> Iterator[Any]:
    # A byte-order mark is what Fiddler begins with; octets that are not UTF-8 come out as they went in.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        har = Json(text)
        found = False
        for name in har.names():
            if name != "log" or har.next() != "{":
                har.value()
                continue
            for part in har.names():
                if part == "entries" and har.next() == "[":
                    found = True
                    yield from har.items()
                elif part == "creator":
                    notes.append(_losses(har.value()))
                else:
                    har.value()
        if har.next():
            raise har.error("something follows the HAR")
        if not found:
            raise HarError("this JSON has no log.entries: it is no HAR")
    finally:
        text.detach()  # the file is its opener's to close


def _losses(creator: Any) -> str:
    name = creator.get("name") if isinstance(creator, dict) else None
    shown = ascii(name)[1:-1][:60] if isinstance(name, str) and name else "an unnamed exporter"
    return (
        f"HAR from {shown}: content is decoded, repeated fields may have been merged, "
        "HTTP/1 framing is gone; rules about these do not run"
    )


# --- entries
class _EntryError(ValueError):
    """What is wrong with an entry, in words that quote nothing from it."""


_SEEN = Evidence.HEADERS | Evidence.FLOWS
_SCHEMES = {"http": b"http", "ws": b"http", "https": b"https", "wss": b"https"}
_PORTS = {b"http": "80", b"https": "443"}
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):(?://(?P<authority>[^/?#]*))?(?P<path>[^#]*)(?:#.*)?", re.DOTALL
)
_HTTP1 = re.compile(r"http/[01]\.[0-9]")
_HTTP2 = frozenset({"h2", "h2c", "http/2", "http/2.0"})
_OPCODES: dict[str, Any] = {"1": "TEXT", "2": "BINARY", "8": "CLOSE", "9": "PING", "10": "PONG"}
# Chrome puts repeated fields into one value with line feeds in between; a fold is CR LF and whitespace.
_JOINED = re.compile(r"(?<!\r)\n(?![ \t])")

_INTERIM_AS_FINAL = "the recorder took this interim response for the final one, which is not in the HAR"


def _exchange(entry: Any, number: int) -> Exchange | None:
    """An entry as an exchange; None if it is not HTTP."""
    asked = _part(entry, "request", dict)
    url = _URL.fullmatch(_part(asked, "url", str))
    if url is None:
        raise _EntryError("request.url is no URL")
    scheme = _SCHEMES.get(url["scheme"].lower())
    if scheme is None:
        return None
    authority = (url["authority"] or "").rpartition("@")[2]
    request = _request(asked, url["path"], authority)
    answered = _maybe(entry, "response", dict) or {}
    response = _response(answered)
    error = _text(answered, "_error")
    interim: tuple[Response, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    if response is None:
        error = error or _text(answered, "comment")
    elif 100 <= response.status <= 199 and response.status != 101:
        refusals = (Refusal(_INTERIM_AS_FINAL, None, "response", "recorder", "har"),)
        interim, response = (response,), None
    messages = _maybe(entry, "_webSocketMessages", list)
    port = _port(authority, scheme)
    connection = _text(entry, "connection")
    if connection in ("0", port):  # Chrome's cache; a server's port names no connection
        connection = ""
    address = _text(entry, "serverIPAddress")
    started = _time(_text(entry, "startedDateTime"))
    took = entry.get("time")
    evidence = _SEEN
    evidence |= Evidence.CONNECTION if connection else Evidence(0)
    evidence |= Evidence.ERROR if error else Evidence(0)
    evidence |= Evidence.WEBSOCKET if messages is not None else Evidence(0)
    return Exchange(
        request=request,
        response=response,
        interim=interim,
        frames=tuple(_frames(messages or [])),
        refusals=refusals,
        error=error or None,
        evidence=evidence,
        recorder="har",
        number=number,
        note=_text(entry, "comment"),
        scheme=scheme,
        upstream=_upstream(address, port) if address else None,
        client_connection=connection or None,
        started=started,
        ended=started + took / 1000
        if started is not None and _is_number(took) and 0 <= took < 1e12
        else None,
    )


def _request(asked: dict[str, Any], path: str, authority: str) -> Request:
    lines, pseudo = _fields(asked, "request")
    method = _octets(_part(asked, "method", str))
    version = _version(asked)
    multiplexed = version.startswith((b"HTTP/2", b"HTTP/3"))
    host = _octets(pseudo.get(":authority") or authority)
    if method.upper() == b"CONNECT":
        target = host
    else:
        target = _octets(pseudo.get(":path") or (path if path.startswith("/") else f"/{path}"))
    return Request(
        fields=lines,
        body=_content(_maybe(asked, "postData", dict) or {}, "request.postData"),
        version=version,
        verbatim=False,
        method=method,
        target=target,
        authority=host if multiplexed else b"",
    )


def _response(answered: dict[str, Any]) -> Response | None:
    """The response; None where there was none, which exporters write as status 0."""
    status = answered.get("status") or 0
    if not isinstance(status, int):
        raise _EntryError("response.status is no whole number")
    if status <= 0:
        return None
    lines, _ = _fields(answered, "response")
    return Response(
        fields=lines,
        body=_content(_maybe(answered, "content", dict) or {}, "response.content"),
        version=_version(answered),
        verbatim=False,
        code=b"%d" % status,
        reason=_octets(_text(answered, "statusText")),
    )


def _fields(message: dict[str, Any], part: str) -> tuple[Fields, dict[str, str]]:
    """The field lines, and HTTP/2's pseudo-headers where the exporter put them among the fields."""
    lines: list[tuple[bytes, bytes]] = []
    pseudo: dict[str, str] = {}
    for index, header in enumerate(_maybe(message, "headers", list) or []):
        name = header.get("name") if isinstance(header, dict) else None
        if not isinstance(name, str):
            raise _EntryError(f"{part}.headers[{index}] has no name")
        text = _text(header, "value")
        if name.startswith(":"):
            pseudo[name] = text
            continue
        octets = _octets(name)
        lines += [(octets, _octets(one.strip(" \t"))) for one in _JOINED.split(text)]
    return Fields(lines), pseudo


def _content(holder: dict[str, Any], where: str) -> bytes | None:
    text = _text(holder, "text")
    # "" is what exporters write for content they did not keep, too: it says nothing.
    if not text:
        return None
    if holder.get("encoding") != "base64":
        return _octets(text)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _EntryError(f"{where}.text is not base64, as its encoding says") from None


def _frames(messages: list[Any]) -> Iterator[Frame]:
    for message in messages:
        if not isinstance(message, dict) or message.get("type") not in ("send", "receive"):
            continue  # Chrome lists its own errors in between
        opcode = _OPCODES.get(_text(message, "opcode") or "1")
        if opcode is None:
            continue
        data = _octets(_text(message, "data"))
        if opcode == "BINARY":
            try:
                data = base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                raise _EntryError("the data of a binary WebSocket message is not base64") from None
        time = message.get("time")
        sender: Side = "client" if message["type"] == "send" else "server"
        yield Frame(sender, opcode, data, time if _is_number(time) else None)


def _version(message: dict[str, Any]) -> bytes:
    """The version in mitmproxy's spelling; empty where it is not known, so that no framing rule applies."""
    text = _text(message, "httpVersion").strip().lower()
    if _HTTP1.fullmatch(text):
        return text.upper().encode()
    if text in _HTTP2:
        return b"HTTP/2.0"
    return b"HTTP/3" if text.startswith(("h3", "http/3", "quic", "http/2+quic")) else b""


def _octets(text: str) -> bytes:
    """Text as UTF-8; lone surrogates are the octets that were not UTF-8 (``surrogateescape``)."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _port(authority: str, scheme: bytes) -> str:
    port = authority.rpartition(":")[2] if ":" in authority.rpartition("]")[2] else ""
    return port or _PORTS[scheme]


def _upstream(address: str, port: str) -> str:
    host = address.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _time(text: str) -> float | None:
    try:
        seconds = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return seconds if 0 <= seconds < 1e11 else None


def _is_number(value: Any) -> bool:
    # JSON as Python reads it has infinities, and whole numbers that no float can be.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e18 < value < 1e18


def _part[T](owner: Any, name: str, kind: type[T]) -> T:
    """A member that has to be there."""
    found = _maybe(owner, name, kind)
    if found is None:
        raise _EntryError(f"it has no {name}")
    return found


def _maybe[T](owner: Any, name: str, kind: type[T]) -> T | None:
    """A member that may be missing or null."""
    if not isinstance(owner, dict):
        raise _EntryError("it is not an object")
    found = owner.get(name)
    if found is not None and not isinstance(found, kind):
        raise _EntryError(f"{name} is not {_KINDS[kind]}")
    return found


_KINDS: dict[type, str] = {dict: "an object", list: "an array", str: "a text"}


def _text(owner: dict[str, Any], name: str) -> str:
    """A member that may be missing, null, or a number written for a text; empty for all that is no text."""
    found = owner.get(name)
    if isinstance(found, str):
        return found
    return str(found) if _is_number(found) else ""

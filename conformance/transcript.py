r"""The text notation for exchanges: read by people, used in docstrings, tests, ``recordings/*.http``.

::

    # a comment
    @ upstream: 127.0.0.1:4000
    > POST /v1/chat/completions HTTP/1.1
    > Host: api.example
    >
    > {"model": "m"}
    < HTTP/1.1 200 OK
    < Server: uvicorn

``>`` is the client, ``<`` the server. An empty arrow line ends the header section; what follows it is
content, its lines joined by line feeds, with nothing behind the last. Without the empty line the content is
not recorded. ``>+`` and ``<+`` are trailer fields. After a 101 response come frames: ``> TEXT {...}``,
``< CLOSE 1011 reason``. A blank line ends the exchange; so does a ``>`` line behind a response.

In start lines and fields ``\r \n \t \\ \xHH`` are escapes; in content only ``\xHH`` is, so that JSON can be
pasted as it is. ``>>`` and ``<<`` are raw octets of a TCP stream: escapes as in fields, nothing is added.

In the comment a file begins with, ``# expect: rule-a, rule-b`` (first line) is the complete set of rules it
breaks, and ``# profile: NAME`` the policy it is to be linted with. ``@ name: value`` are facts that are not on
the wire: see FACTS. A ``#`` line that holds ``hoplint: ignore[...]`` is a note on the exchange that follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from conformance.message import (
    Evidence,
    Exchange,
    FieldLine,
    Fields,
    Frame,
    Message,
    Octets,
    Request,
    Response,
    Side,
    Stream,
)

FACTS = {
    "error": "what the recorder said went wrong",
    "recorder": "mitmproxy, if the exchange came from there (then an absent error means that all went well);"
    " har: its content is decoded, its framing gone",
    "client-connection": "the client's connection, by any name: exchanges that share it were sent on it in turn",
    "server-connection": "the connection to the server",
    "upstream": "host:port the request was really sent to",
    "scheme": "http or https",
    "server-name": "the name the client asked TLS for",
    "authority": "HTTP/2's :authority",
    "flow": "mitmproxy's id of the flow",
    "started": "seconds since 1970",
    "answered": "seconds since 1970: when the head of the response came",
    "leg": "client or server: on which side of a hop; a client leg is followed by the server legs it became",
    "ended": "seconds since 1970",
    "partial": "request or response: the recording holds a part of its content",
    "frame-times": "seconds since 1970 when each frame came, in order",
    "injected": "the recorder made these frames itself: their numbers, from 1",
    "dropped": "how many WebSocket messages the recorder kept from the other side",
}
"""The names an ``@`` line may have, with their meaning."""

_ARROWS: dict[str, Side] = {">": "client", "<": "server"}
_SIDES: dict[str, Side] = {"client": "client", "server": "server"}
_LINE = re.compile(r"(?P<arrow>[<>])(?P<mark>[<>+]?)(?: (?P<text>.*))?\Z", re.DOTALL)
_FRAME = re.compile(r"(TEXT|BINARY|PING|PONG|CLOSE)(?: (.*))?\Z", re.DOTALL)
_CLOSE = re.compile(r"(\d{4})?(?: ?(.*))?\Z", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([rnt\\]))")
_SINGLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}
_NUMBERS = re.compile(r" *[0-9]{1,15}(?:\.[0-9]+)?(?: +[0-9]{1,15}(?:\.[0-9]+)?)* *", re.ASCII)
_COUNT = re.compile(r" *[0-9]{1,15} *", re.ASCII)
_HEX = re.compile(rb"\\x([0-9a-fA-F]{2})")
_EXPECT = re.compile(r"#\s*expect:(.*)\Z")
_PROFILE = re.compile(r"(?:#[^\n]*\n)*?#\s*profile:[ \t]*([^\s#]+)")


class TranscriptError(ValueError):
    """A transcript that cannot be read; says which line and what to write instead."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


@dataclass
class _Head:
    """A message while its lines come in."""

    side: Side
    start: str
    numbers: list[int]
    lines: list[tuple[bytes, bytes]] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content: list[str] | None = None


@dataclass
class _Draft:
    """An exchange, or a stream, while its lines come in."""

    note: str = ""
    note_line: int | None = None
    facts: dict[str, str] = field(default_factory=dict)
    heads: list[_Head] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    octets: dict[Side, list[bytes]] = field(default_factory=lambda: {"client": [], "server": []})
    sent: dict[Side, int] = field(default_factory=lambda: {"client": 0, "server": 0})
    octet_lines: list[tuple[Side, int, int]] = field(default_factory=list)
    """Side, offset in what that side sent, line number."""

    @property
    def started(self) -> bool:
        return bool(self.heads or self.octet_lines)

    @property
    def switched(self) -> bool:
        return bool(self.heads) and self.heads[-1].start.split(" ")[1:2] == ["101"]


def expected(text: str) -> frozenset[str] | None:
    """The rules that a file says it breaks (``# expect: a, b`` in its first line); None: it does not say."""
    found = _EXPECT.match(text.partition("\n")[0])
    return None if found is None else frozenset(name.strip() for name in found[1].split(",") if name.strip())


def profile(text: str) -> str | None:
    """The profile that a file wants to be linted with (``# profile: litellm`` in its leading comment)."""
    found = _PROFILE.match(text)
    return found[1] if found else None


def parse(text: str) -> Iterator[Exchange | Stream]:
    """The exchanges and streams of a transcript, in order.

    Streams come as two bare ``Octets``: finding the messages in them is not the notation's business.
    Raises TranscriptError; what stands before the faulty line has been yielded by then.
    """
    draft = _Draft()
    exchanges = streams = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip():
            finished, draft = draft, _Draft()
        elif line.startswith("#"):
            if "hoplint:" in line:
                if draft.started:
                    raise TranscriptError(number, "an ignore stands above its exchange")
                draft.note, draft.note_line = line[1:].strip(), number
            continue
        elif line.startswith("@"):
            _fact(draft, number, line)
            continue
        elif (match := _LINE.match(line)) is None:
            raise TranscriptError(
                number, f"a line begins with '> ', '< ', '@ ' or '#'; this one with {line[:20]!r}"
            )
        elif _begins_anew(draft, match):
            finished, draft = draft, _Draft()
            _take(draft, number, match)
        else:
            _take(draft, number, match)
            continue
        if finished.octet_lines:
            streams += 1
            yield _stream(finished, streams)
        elif finished.heads:
            exchanges += 1
            yield _exchange(finished, exchanges)
        elif finished.facts or finished.note:  # facts and notes may stand apart from the exchange they are on
            draft = finished
    if draft.octet_lines:
        yield _stream(draft, streams + 1)
    elif draft.heads:
        yield _exchange(draft, exchanges + 1)


def _begins_anew(draft: _Draft, match: re.Match[str]) -> bool:
    if match["arrow"] != ">" or match["mark"] or not draft.heads or draft.heads[-1].side != "server":
        return False
    return not draft.switched or _FRAME.match(match["text"] or "") is None


def _fact(draft: _Draft, number: int, line: str) -> None:
    name, colon, value = line[1:].partition(":")
    name = name.strip()
    if not colon or name not in FACTS:
        raise TranscriptError(number, f"'@' takes one of {', '.join(FACTS)}, a colon and a value")
    if name == "leg" and value.strip() not in ("client", "server"):
        raise TranscriptError(number, f"leg is client or server, not {value.strip()!r}")
    if name in ("started", "answered", "ended"):
        try:
            is_time = 0 <= float(value) < 1e11
        except ValueError:
            is_time = False
        if not is_time:
            raise TranscriptError(
                number, f"{name} is a number of seconds since 1970, not {value.strip()[:40]!r}"
            )
    if name in ("frame-times", "injected") and _NUMBERS.fullmatch(value) is None:
        raise TranscriptError(number, f"{name} takes numbers, not {value.strip()[:40]!r}")
    if name == "dropped" and _COUNT.fullmatch(value) is None:
        raise TranscriptError(number, f"dropped is a count, not {value.strip()[:40]!r}")
    draft.facts[name] = value.strip()


def _take(draft: _Draft, number: int, match: re.Match[str]) -> None:
    """Add one arrow line to the draft."""
    side = _ARROWS[match["arrow"]]
    text: str = match["text"] or ""
    if match["mark"] in ("<", ">"):
        if match["mark"] != match["arrow"] or draft.heads:
            raise TranscriptError(number, "octets are '>>' or '<<', and stand apart from '>' and '<' lines")
        draft.octet_lines.append((side, draft.sent[side], number))
        draft.octets[side].append(unescape(text))
        draft.sent[side] += len(draft.octets[side][-1])
        return
    if draft.octet_lines:
        raise TranscriptError(number, "a blank line separates octets ('>>', '<<') from an exchange")
    head = draft.heads[-1] if draft.heads else None
    if match["mark"] == "+":
        if head is None or head.side != side:
            raise TranscriptError(number, "a trailer field stands behind the message it belongs to")
        head.trailers.append(_field(number, text))
        head.numbers.append(number)
    elif draft.switched and (found := _FRAME.match(text)):
        draft.frames.append(_frame(number, side, *found.groups()))
    elif head is not None and head.side == side and not _next_response(head, text):
        if head.content is not None:
            head.content.append(text)
        elif text:
            head.lines.append(_field(number, text))
            head.numbers.append(number)
        else:
            head.content = []
    elif side == "server" and not draft.heads:
        raise TranscriptError(number, "a response with no request before it")
    else:
        if side == "server" and not re.match(r"[^\s/]*/\S* \S", text):
            raise TranscriptError(number, f"a response begins like 'HTTP/1.1 200 OK', not {text[:40]!r}")
        if side == "client" and text.count(" ") < 2:
            raise TranscriptError(number, f"a request begins like 'GET / HTTP/1.1', not {text[:40]!r}")
        draft.heads.append(_Head(side, text, [number]))


def _next_response(head: _Head, text: str) -> bool:
    """Whether a server's line begins the response that follows an interim one."""
    code = head.start.split(" ")[1]
    return head.side == "server" and code.startswith("1") and code != "101" and text.startswith("HTTP/")


def _field(number: int, text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon:
        raise TranscriptError(number, f"a field line without colon: {text[:40]!r}; write it as octets ('>>')")
    # The whitespace around a value belongs to the line, not to the value (RFC 9110 §5.5).
    return unescape(name), unescape(value.strip(" \t"))


def _frame(number: int, side: Side, opcode: Any, text: str | None) -> Frame:
    if opcode != "CLOSE":
        return Frame(side, opcode, unescape_content(text or ""), number=number)
    found = _CLOSE.match(text or "")
    if found is None:  # pragma: no cover - the pattern matches anything
        raise TranscriptError(number, "a close is written 'CLOSE 1000 reason'")
    return Frame(
        side, "CLOSE", unescape_content(found[2] or ""), None, int(found[1]) if found[1] else None, number
    )


def _timed(frames: list[Frame], facts: Mapping[str, str]) -> tuple[Frame, ...]:
    """The frames with what the facts say of them."""
    times = facts.get("frame-times", "").split()
    injected = facts.get("injected", "").split()
    if not times and not injected:
        return tuple(frames)
    return tuple(
        replace(frame, time=float(time) if time else None, injected=str(number) in injected)
        for number, (frame, time) in enumerate(zip_longest(frames, times[: len(frames)]), 1)
    )


def _message(head: _Head, partial: bool, authority: str, *, verbatim: bool) -> Request | Response:
    content = None if head.content is None else unescape_content("\n".join(head.content))
    start = unescape(head.start)
    shared: dict[str, Any] = {
        "fields": Fields(head.lines),
        "trailers": Fields(head.trailers),
        "body": content,
        "partial": partial,
        "verbatim": verbatim,
        "numbers": tuple(head.numbers),
    }
    if head.side == "client":
        # Target first and last: a target may hold spaces, which is what a rule is there to say.
        method, _, rest = start.partition(b" ")
        target, _, version = rest.rpartition(b" ")
        return Request(method=method, target=target, version=version, authority=authority.encode(), **shared)
    version, _, rest = start.partition(b" ")
    code, _, reason = rest.partition(b" ")
    return Response(code=code, reason=reason, version=version, **shared)


def _exchange(draft: _Draft, number: int) -> Exchange:
    facts = draft.facts
    partial = facts.get("partial", "")
    messages = [
        _message(
            head,
            partial == ("request" if head.side == "client" else "response"),
            facts.get("authority", ""),
            verbatim=facts.get("recorder") != "har",
        )
        for head in draft.heads
    ]
    request, responses = messages[0], [found for found in messages[1:] if isinstance(found, Response)]
    if not isinstance(request, Request):  # pragma: no cover - _take refuses it
        raise TypeError("an exchange begins with a request")
    final = responses.pop() if responses and _is_final(responses[-1]) else None
    evidence = Evidence.HEADERS | Evidence.FLOWS
    if facts.get("recorder") == "mitmproxy" or "error" in facts:
        evidence |= Evidence.ERROR
    if "client-connection" in facts or "server-connection" in facts:
        evidence |= Evidence.CONNECTION
    if final is not None and final.status == 101:
        evidence |= Evidence.WEBSOCKET
    return Exchange(
        request=request,
        response=final,
        interim=tuple(responses),
        frames=_timed(draft.frames, facts),
        dropped=int(facts.get("dropped", 0)),
        error=facts.get("error"),
        evidence=evidence,
        recorder=facts.get("recorder", "transcript"),
        number=number,
        flow=facts.get("flow"),
        note=draft.note,
        note_line=draft.note_line,
        scheme=facts.get("scheme", "http").encode(),
        server_name=facts.get("server-name"),
        upstream=facts.get("upstream"),
        client_connection=facts.get("client-connection"),
        server_connection=facts.get("server-connection"),
        started=float(facts["started"]) if "started" in facts else None,
        answered=float(facts["answered"]) if "answered" in facts else None,
        leg=_SIDES.get(facts.get("leg", "")),
        ended=float(facts["ended"]) if "ended" in facts else None,
    )


def _is_final(response: Response) -> bool:
    return not response.code.startswith(b"1") or response.status == 101 or response.status == 0


def _stream(draft: _Draft, number: int) -> Stream:
    client, server = (
        Octets(
            side=side,
            data=b"".join(draft.octets[side]),
            numbers=tuple((offset, line) for of, offset, line in draft.octet_lines if of == side),
        )
        for side in _ARROWS.values()
    )
    return Stream(
        client=client,
        server=server,
        number=number,
        flow=draft.facts.get("flow"),
        note=draft.note,
        note_line=draft.note_line,
    )


def unescape(text: str) -> bytes:
    r"""``\r \n \t \\ \xHH`` become octets; everything else is UTF-8.

    >>> unescape(r"a\r\n b\x00")
    b'a\r\n b\x00'
    """
    if "\\" not in text:
        return text.encode()
    return _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()) if m[1] else _SINGLE[m[2]], text.encode())


def unescape_content(text: str) -> bytes:
    r"""Only ``\xHH`` is an escape in content: JSON's own escapes stay as they are."""
    if "\\x" not in text:
        return text.encode()
    return _HEX.sub(lambda m: bytes.fromhex(m[1].decode()), text.encode())


def escape(octets: bytes) -> str:
    r"""What ``unescape`` undoes; printable ASCII only, so it can go to any terminal.

    >>> escape(b"caf\xc3\xa9\r\n\\")
    'caf\\xc3\\xa9\\r\\n\\\\'
    """
    text = octets.decode("latin-1")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(
        _SHORT.get(char) or (char if " " <= char <= "~" else f"\\x{ord(char):02x}") for char in text
    )


_SHORT = {"\r": "\\r", "\n": "\\n", "\t": "\\t", "\\": "\\\\"}
# Controls, and what hides in a terminal: marks of direction, characters without width, halves of pairs.
_HIDDEN = (
    r"\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
)
_UNPRINTABLE = re.compile(rf"[{_HIDDEN}]|\\(?=x[0-9a-fA-F]{{2}})")
_UNSEEN = re.compile(rf"[\n{_HIDDEN}]")


def escape_content(octets: bytes) -> list[str]:
    """Content as the lines behind its arrows; ``unescape_content`` of them joined is the content again."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = "".join(chr(o) if o < 0x80 else f"\\x{o:02x}" for o in _protected(octets))
        return _UNPRINTABLE_ASCII.sub(_as_hex, text).split("\n")
    return _UNPRINTABLE.sub(_as_hex, text).split("\n")


_UNPRINTABLE_ASCII = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def _protected(octets: bytes) -> bytes:
    return re.sub(rb"\\(?=x[0-9a-fA-F]{2})", rb"\\x5c", octets)


def _as_hex(match: re.Match[str]) -> str:
    return "".join(f"\\x{octet:02x}" for octet in match[0].encode("utf-8", "surrogatepass"))


type Mask = Callable[[bytes, bytes], bytes]
"""(field name, value) -> the value as it may be shown."""


def write(
    item: Exchange | Stream, mask: Mask | None = None, mask_text: Callable[[bytes], bytes] | None = None
) -> str:
    """The exchange or stream in this notation, ending in a line feed; ``parse`` reads it back.

    ``mask`` is asked for each field value, ``mask_text`` for targets, content, frames and octets.
    """
    text_of = mask_text or (lambda octets: octets)
    lines: list[str] = []
    if item.note:
        lines.append(f"# {_one_line(item.note, text_of)}")
    if isinstance(item, Stream):
        if item.flow:
            lines.append(f"@ flow: {_one_line(item.flow, text_of)}")
        for arrow, octets in _in_turn(item):
            lines += [f"{arrow} {escape(line)}" for line in text_of(octets).splitlines(keepends=True)]
        if not (item.client.data or item.server.data):
            lines.append(">>")
        return "\n".join(lines) + "\n"
    lines += _facts_of(item, text_of)
    for message in item.messages:
        arrow = ">" if isinstance(message, Request) else "<"
        lines.append(f"{arrow} {escape(text_of(message.start_line))}")
        lines += [f"{arrow} {_shown(line, mask)}".rstrip() for line in message.fields]
        if message.content is not None:
            lines.append(arrow)
            if message.content:
                lines += [
                    f"{arrow} {line}".rstrip(" ") if not line else f"{arrow} {line}"
                    for line in escape_content(text_of(message.content))
                ]
        lines += [f"{arrow}+ {_shown(line, mask)}" for line in message.trailers]
    for frame in item.frames:
        content = "\n".join(escape_content(text_of(frame.content))).replace("\n", "\\x0a")
        code = f" {frame.code}" if frame.code is not None else ""
        arrow = ">" if frame.sender == "client" else "<"
        lines.append(f"{arrow} {frame.opcode}{code} {content}".rstrip())
    return "\n".join(lines) + "\n"


def _in_turn(stream: Stream) -> Iterator[tuple[str, bytes]]:
    """All octets of both sides; where they are split into messages, each request before its responses."""
    written = {">>": 0, "<<": 0}
    for exchange in stream.exchanges:
        for message in exchange.messages:
            arrow, octets = (">>", stream.client) if isinstance(message, Request) else ("<<", stream.server)
            if message.wire is not None:
                yield arrow, octets.data[written[arrow] : message.wire.span.stop]
                written[arrow] = message.wire.span.stop
    yield ">>", stream.client.data[written[">>"] :]
    yield "<<", stream.server.data[written["<<"] :]


def rewritten(text: str, changes: Iterable[tuple[Message, Message]]) -> str:
    """The transcript with messages in it changed, each given as ``parse`` gave it and as it shall be.

    Start lines, field lines and content are replaced where they differ; every other line stays as it was
    written, comments too.
    """
    lines = text.split("\n")
    instead: dict[int, list[str]] = {}
    """Line number -> what stands there now, without the line's own end."""
    for before, after in changes:
        arrow = ">" if isinstance(before, Request) else "<"
        if before.start_line != after.start_line:
            instead[before.numbers[0]] = [f"{arrow} {escape(after.start_line)}"]
        numbers = before.numbers[: len(before.fields) + 1]
        new = [f"{arrow} {_shown(line, None)}".rstrip() for line in after.fields]
        matcher = SequenceMatcher(None, list(before.fields), list(after.fields), autojunk=False)
        for tag, begin, end, new_begin, new_end in matcher.get_opcodes():
            if tag == "insert":
                above = numbers[begin]
                instead.setdefault(above, [lines[above - 1].removesuffix("\r")]).extend(
                    new[new_begin:new_end]
                )
            elif tag != "equal":
                instead.update({number: [] for number in numbers[begin + 1 : end + 1]})
                instead[numbers[begin + 1]] = new[new_begin:new_end]
        if before.content is not None and after.content is not None and before.content != after.content:
            first, *rest = content_numbers(lines, arrow, numbers[-1])
            content = escape_content(after.content) if after.content else []
            instead[first] = [arrow, *(f"{arrow} {line}".rstrip(" ") for line in content)]
            instead.update({number: [] for number in rest})
    kept: list[str] = []
    for number, line in enumerate(lines, 1):
        return_ = "\r" if line.endswith("\r") else ""
        kept += [new_line + return_ for new_line in instead[number]] if number in instead else [line]
    return "\n".join(kept)


def content_numbers(lines: list[str], arrow: str, last: int) -> Iterator[int]:
    """The numbers of the empty arrow line behind a header section that ends at ``last``, and of the content.

    Comments may stand in between.
    """
    for number, line in enumerate(lines[last:], last + 1):
        if line.startswith((f"{arrow} ", f"{arrow}\r")) or line == arrow:
            yield number
        elif not line.startswith("#"):
            return


def _shown(line: FieldLine, mask: Mask | None) -> str:
    value = line.value if mask is None else mask(line.name, line.value)
    # Only HTTP/2 has names with a colon, and there in the wrong place.
    return f"{escape(line.name).replace(':', chr(92) + 'x3a')}: {escape(value)}"


def _one_line(text: str, text_of: Callable[[bytes], bytes]) -> str:
    """A fact or a note: words of the recorder's or of somebody's, which have no escapes that ``parse`` would undo."""
    words = text_of(" ".join(text.split()).encode("utf-8", "surrogatepass"))
    return _UNSEEN.sub(_as_hex, words.decode("utf-8", "surrogatepass"))


def _times(frames: Iterable[Frame]) -> Iterator[float]:
    """When the frames came, as far as it is known of each: the notation has no gaps."""
    for frame in frames:
        if frame.time is None:
            return
        yield frame.time


def _facts_of(exchange: Exchange, text_of: Callable[[bytes], bytes]) -> list[str]:
    partial = next(
        (part for part, message in (("request", exchange.request), ("response", exchange.response))
         if isinstance(message, Message) and message.partial), None)  # fmt: skip
    values = {
        "recorder": exchange.recorder if exchange.recorder != "transcript" else None,
        "flow": exchange.flow,
        "scheme": exchange.scheme.decode("latin-1") if exchange.scheme != b"http" else None,
        "authority": exchange.request.authority.decode("latin-1") or None,
        "server-name": exchange.server_name,
        "upstream": exchange.upstream,
        "client-connection": exchange.client_connection,
        "server-connection": exchange.server_connection,
        "leg": exchange.leg,
        "started": exchange.started,
        "answered": exchange.answered,
        "ended": exchange.ended,
        "partial": partial,
        "frame-times": " ".join(f"{time:f}" for time in _times(exchange.frames)) or None,
        "injected": " ".join(str(at) for at, frame in enumerate(exchange.frames, 1) if frame.injected)
        or None,
        "dropped": exchange.dropped or None,
        "error": exchange.error or None,
    }
    return [
        f"@ {name}: {_one_line(str(value), text_of)}" for name, value in values.items() if value is not None
    ]

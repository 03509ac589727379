"""A recording that can be shared: other letters for credentials, and if asked for e-mail addresses and prompts.

* Lengths stay, so the redacted recording is found to break the same rules as the recording (`scramble.py`).
* A credential that stands in a header is taken out wherever else it stands: in an error, in a body, on another
  flow. For that the recording is read twice.
* Flow files are rewritten flow by flow, HAR entry by entry: memory is bounded by the largest. mitmproxy is not
  needed for it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from conformance import flowfile, har, recording, scramble, secret, transcript
from conformance.atomic import replacing
from conformance.message import Exchange, Fields, Message, Octets, Request, Stream
from conformance.redactor import Redacted, Redactor, digested

KNOWN = 512
"""Different credentials that are looked for everywhere; recordings hold a few."""
LEAST = 8
"""Octets of a credential that is looked for everywhere: shorter ones are words."""
LEAST_OF_COOKIE = 16
"""The same for cookies and tokens, which may be words too."""


class CannotRedact(ValueError):
    """The recording cannot be redacted; one line that names it and the way out."""


def redact(
    path: str,
    into: Path | None = None,
    *,
    texts: bool = False,
    emails: bool = False,
    key: bytes | None = None,
) -> Redacted:
    """Write the recording at ``path`` without its secrets ``into`` a file; None: in its own place.

    With the same ``key`` the same secret becomes the same in every recording; without, in this one only. A file
    is replaced as a whole or not at all, and gets the recording's permissions. Raises CannotRedact.
    """
    if path == "-" or not Path(path).is_file():
        raise CannotRedact(f"{path}: redact takes one recording in a file")
    source = recording.read(path)
    if source.kind == "unknown":
        raise CannotRedact(f"{path}: {source.error}")
    if into is not None and into.exists() and into.samefile(path):
        raise CannotRedact(f"{into}: is the recording itself; --in-place replaces it")
    redactor = Redactor(_credentials(source), key or secrets.token_bytes(16), texts=texts, emails=emails)
    done = redactor.done
    if source.error is not None:
        if into is None or source.kind == "transcript":
            raise CannotRedact(f"{path}: {source.error}; what cannot be read cannot be redacted")
        done.errors.append(f"{path}: {source.error}")
    target = into or Path(path)
    try:
        with replacing(target, Path(path)) as (place, keep):
            with Path(path).open("rb") as file, place.open("wb") as to:
                for octets in _WRITERS[source.kind](redactor, file):
                    to.write(octets)
            keep()
    except OSError as problem:
        raise CannotRedact(f"{target}: cannot be written: {problem.strerror}") from None
    return done


class Flows:
    """Redacts flows one by one as they are recorded.

    A credential is looked for everywhere from the flow on that has it in a header: what came before is written.
    """

    def __init__(self, *, texts: bool = False, emails: bool = False, key: bytes | None = None) -> None:
        self._known: dict[bytes, None] = {}
        self._redactor = Redactor((), key or _key_of_process(), texts=texts, emails=emails)

    def __call__(self, octets: bytes) -> bytes:
        """A flow as it stands in a flow file, without its secrets. Raises ValueError, which quotes nothing."""
        source = recording.read("-", stdin=octets)
        if fresh := [found for found in _credentials(source) if found not in self._known]:
            self._known |= dict.fromkeys(fresh)
            for oldest in list(self._known)[:-KNOWN]:
                del self._known[oldest]
            self._redactor.know(sorted(self._known, key=len, reverse=True))
        try:
            ((_, record),) = flowfile.records(io.BytesIO(octets))
            return flowfile.encoded(_flow(self._redactor, flowfile.decoded(record)))
        except _NOT_UNDERSTOOD as error:
            raise ValueError(f"this flow cannot be redacted ({type(error).__name__})") from None


@functools.cache
def _key_of_process() -> bytes:
    """One for all that a process records, so that a credential is the same in all its files."""
    return secrets.token_bytes(16)


def told(done: Redacted) -> str:
    """What was done, one line for each thing."""
    lines = [
        f"{_counted(done.counts['credentials'], 'credential')} in {_counted(done.counts['places'], 'place')}"
    ]
    for name, (noun, what) in _TOLD.items():
        if done.counts[name]:
            lines.append(f"{what}: {_counted(done.counts[name], noun)}")
    return "\n".join(lines) + "\n"


_TOLD = {
    "addresses": ("text", "e-mail addresses rewritten"),
    "texts": ("content", "no JSON, so that texts in it stay"),
    "bare": ("octet stream", "in no protocol that is read here, searched as it lies"),
    "left out": ("content", "left out, because it is compressed and would change its length"),
}


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


# --- what is a secret


def _credentials(source: Iterable[Exchange | Stream]) -> list[bytes]:
    """The credentials in the fields of a recording that can be told from words."""
    found: dict[bytes, None] = {}

    def note(least: int) -> Callable[[bytes], bytes]:
        def hide(credential: bytes) -> bytes:
            if (
                len(credential) >= least
                and len(found) < KNOWN
                and scramble.hidden(credential, b"") != credential
            ):
                found[credential] = None
            return credential

        return hide

    for item in source:
        for exchange in item.exchanges if isinstance(item, Stream) else (item,):
            for message in exchange.messages:
                for line in message.fields:
                    if secret.is_secret_field(line.name):
                        is_key = line.key in _KEYS or line.key.endswith("api-key")
                        secret.mask_value(line.name, line.value, note(LEAST if is_key else LEAST_OF_COOKIE))
    return sorted(found, key=len, reverse=True)


_KEYS = frozenset(
    {"authorization", "proxy-authorization", "x-goog-api-key", "helicone-auth", "cf-aig-authorization"}
)


# --- flow files

_NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""What rewriting a flow raises that is not what it says it is."""


def _flow_file(redactor: Redactor, file: BinaryIO) -> Iterator[bytes]:
    try:
        for offset, record in flowfile.records(file):
            try:
                flow = flowfile.decoded(record)
                made = _flow(redactor, flow)
            except _NOT_UNDERSTOOD as error:
                # What is not understood is not redacted. The exception's text may quote it.
                redactor.done.errors.append(f"byte {offset}: this flow is left out ({type(error).__name__})")
                continue
            yield b"%d:%s" % (len(record) - 1, record) if made == flow else flowfile.encoded(made)
    except flowfile.FlowFileError:
        return


def _flow(redactor: Redactor, flow: dict[str, Any]) -> dict[str, Any]:
    parts = _PARTS.get(flow["type"], {"metadata": _metadata})
    return {
        name: value if name in _LEFT else parts.get(name, Redactor.anything)(redactor, value)
        for name, value in flow.items()
    }


def _lines(redactor: Redactor, lines: list[list[bytes]]) -> list[list[bytes]]:
    return [[name, redactor.field(name, value)] for name, value in lines]


_LEFT = frozenset({"client_conn", "server_conn", "id", "type", "version"})


def _head(redactor: Redactor, head: dict[str, Any] | None) -> dict[str, Any] | None:
    if head is None:
        return None
    old = head["content"]
    new = redactor.content(Message(fields=Fields(head["headers"]), body=old))

    def lines(part: str) -> list[list[bytes]]:
        made = _lines(redactor, head[part])
        return [[name, digested(name, value, old, new)] for name, value in made] if old and new else made

    return {
        **redactor.anything({name: part for name, part in head.items() if name != "content"}),
        "headers": lines("headers"),
        "trailers": head["trailers"] and lines("trailers"),
        "content": new,
        **({"authority": redactor.field(b"host", head["authority"])} if "authority" in head else {}),
    }


def _websocket(redactor: Redactor, websocket: dict[str, Any] | None) -> dict[str, Any] | None:
    if websocket is None:
        return None
    messages = [
        [opcode, from_client, redactor.plain(octets), *rest]
        for opcode, from_client, octets, *rest in websocket["messages"]
    ]
    return {**redactor.anything({**websocket, "messages": None}), "messages": messages}


def _metadata(redactor: Redactor, metadata: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in metadata.items():
        if name == "hoplint":  # the journal of our addons, see mitm.JOURNAL
            made[name] = [_edit(redactor, edit) for edit in value]
        elif name == "hoplint_received":
            made[name] = {part: lines and _lines(redactor, lines) for part, lines in value.items()}
        elif name == "proxyauth":  # user and password, by mitmproxy's addon of that name
            made[name] = [redactor.hide(part.encode()).decode() for part in value]
        else:
            made[name] = redactor.anything(value)
    return made


def _edit(redactor: Redactor, edit: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = redactor.anything(edit)
    name = edit["field"].encode("latin-1", "replace")
    for when in ("before", "after"):
        made[when] = [
            redactor.field(name, value.encode("latin-1")).decode("latin-1")
            if _is_latin(value)
            else redactor.string(value)
            for value in edit[when]
        ]
    return made


def _is_latin(text: str) -> bool:
    return all(char <= "\xff" for char in text)


def _pieces(redactor: Redactor, messages: list[list[Any]]) -> list[list[Any]]:
    """The messages of a TCP flow: a secret may begin in one and end in the next."""
    client, server = redactor.stream(
        *(b"".join(m[1] for m in messages if m[0] is side) for side in (True, False))
    )
    rest = {True: io.BytesIO(client), False: io.BytesIO(server)}
    return [
        [from_client, rest[from_client].read(len(octets)), *more] for from_client, octets, *more in messages
    ]


_PARTS: dict[str, dict[str, Callable[[Redactor, Any], Any]]] = {
    "http": {"request": _head, "response": _head, "websocket": _websocket, "metadata": _metadata},
    "tcp": {"messages": _pieces, "metadata": _metadata},
}
"""Flow type -> what rewrites a part of it; all else is searched for texts."""


# --- HAR


def _har(redactor: Redactor, file: BinaryIO) -> Iterator[bytes]:
    """The same document, each entry on a line; what breaks off ends with its last whole entry."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield b'{"log": {'
        source = har.Json(text)
        others: dict[str, Any] = {}
        inside = 0
        for name in source.names():
            if name != "log" or source.next() != "{":
                others[name] = source.value()
                continue
            for part in source.names():
                yield (b", " if inside else b"") + json.dumps(part).encode() + b": "
                inside += 1
                if part == "entries" and source.next() == "[":
                    yield from _entries(redactor, source)
                else:
                    yield _json(redactor, source.value(), part)
        yield b"}" + b"".join(
            b", %s: %s" % (json.dumps(name).encode(), _json(redactor, value, name))
            for name, value in others.items()
        )
        yield b"}\n"
    except har.HarError:
        yield b"}}\n"
    finally:
        text.detach()


def _entries(redactor: Redactor, source: har.Json) -> Iterator[bytes]:
    separator = b"[\n"
    broken: har.HarError | None = None
    try:
        for entry in source.items():
            yield separator + _json(redactor, entry, "")
            separator = b",\n"
    except har.HarError as error:
        broken = error
    yield b"[]" if separator == b"[\n" else b"\n]"
    if broken is not None:
        raise broken


def _json(redactor: Redactor, value: Any, part: str) -> bytes:
    try:
        return json.dumps(
            _member(redactor, value, part)
        ).encode()  # ASCII: lone surrogates are octets, not UTF-8
    except RecursionError:
        redactor.done.errors.append(f"{part or 'an entry'} is left out: it nests too deep")
        return b"null"


def _member(redactor: Redactor, value: Any, part: str) -> Any:
    match value:
        case str():
            return redactor.string(value)
        case list():
            return [_member(redactor, inside, part) for inside in value]
        case {"name": str(name), "value": str(text)}:
            inside = {key: each for key, each in value.items() if key not in ("name", "value")}
            return {
                "name": name,
                "value": _named(redactor, part, name, text),
                **_member(redactor, inside, part),
            }
        case dict():
            return {name: _inside(redactor, inside, name, value) for name, inside in value.items()}
    return value


def _inside(redactor: Redactor, value: Any, name: str, holder: dict[str, Any]) -> Any:
    is_text = name == "text" or (name == "data" and "opcode" in holder)
    if not is_text or not isinstance(value, str):
        return _member(redactor, value, name)
    if holder.get("encoding") == "base64" or str(holder.get("opcode")) == "2":
        try:
            octets = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return redactor.string(value)
        return base64.b64encode(redactor.plain(octets)).decode()
    return redactor.plain(value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _named(redactor: Redactor, part: str, name: str, text: str) -> str:
    octets = text.encode("utf-8", "surrogatepass")
    key = name.encode("utf-8", "surrogatepass")
    if part == "headers":  # Chrome joins repeated fields with line feeds
        made = b"\n".join(redactor.field(key, line) for line in octets.split(b"\n"))
    elif part == "cookies":
        made = redactor.field(b"cookie", b"=" + octets)[1:]
    else:
        made = redactor.text(b"?%s=%s" % (key, octets))[len(key) + 2 :]
    return made.decode("utf-8", "surrogatepass")


# --- transcripts


def _transcript(redactor: Redactor, file: BinaryIO) -> Iterator[bytes]:
    """The transcript with its comments and layout: only lines that hold a secret are rewritten."""
    text = file.read().decode("utf-8-sig")
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.startswith(("#", "@")) and not _DIRECTIVE.match(line):
            lines[number] = redactor.string(line)
    for item in recording.parse(text):
        if isinstance(item, Stream):
            made = redactor.stream(item.client.data, item.server.data)
            for octets, other in zip((item.client, item.server), made, strict=True):
                _octet_lines(lines, octets, other)
            continue
        for message in item.messages:
            _message_lines(lines, message, redactor.message(message))
        for frame in item.frames:
            octets_ = redactor.plain(frame.content)
            if frame.number and octets_ != frame.content:
                head = lines[frame.number - 1].split(" ")[: 2 if frame.code is None else 3]
                inside = "\n".join(transcript.escape_content(octets_)).replace("\n", "\\x0a")
                _set(lines, frame.number, " ".join([*head, inside]))
    yield "\n".join(lines).encode("utf-8")


_DIRECTIVE = re.compile(
    r"#\s*(?:expect|profile):|@\s*(?:flow|(?:client|server)-connection|started|ended|answered):"
)


def _set(lines: list[str], number: int, text: str) -> None:
    lines[number - 1] = text + ("\r" if lines[number - 1].endswith("\r") else "")


def _message_lines(lines: list[str], message: Message, made: Message) -> None:
    arrow = ">" if isinstance(message, Request) else "<"
    if made.start_line != message.start_line:
        _set(lines, message.numbers[0], f"{arrow} {transcript.escape(made.start_line)}")
    marks = [arrow] * len(message.fields) + [f"{arrow}+"] * len(message.trailers)
    old = (*message.fields, *message.trailers)
    new = (*made.fields, *made.trailers)
    for number, mark, before, after in zip(message.numbers[1:], marks, old, new, strict=True):
        if before != after:
            _set(lines, number, f"{mark} {transcript.escape(after.name)}: {transcript.escape(after.value)}")
    if message.content is not None and made.content is not None and message.content != made.content:
        last = message.numbers[len(message.fields)]
        _, *numbers = transcript.content_numbers(lines, arrow, last)
        at = 0
        for number in numbers:
            # A line may hold line feeds, as \x0a.
            size = len(transcript.unescape_content(lines[number - 1].removesuffix("\r")[2:]))
            other = made.content[at : at + size]
            if other != message.content[at : at + size]:
                _set(lines, number, f"{arrow} " + "\\x0a".join(transcript.escape_content(other)))
            at += size + 1


def _octet_lines(lines: list[str], octets: Octets, made: bytes) -> None:
    ends = [*(start for start, _ in octets.numbers[1:]), len(made)]
    for (start, number), end in zip(octets.numbers, ends, strict=False):
        if made[start:end] != octets.data[start:end]:
            _set(lines, number, f"{lines[number - 1][:2]} {transcript.escape(made[start:end])}")


_WRITERS: dict[str, Callable[[Redactor, BinaryIO], Iterator[bytes]]] = {
    "mitmproxy": _flow_file,
    "har": _har,
    "transcript": _transcript,
}

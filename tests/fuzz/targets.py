"""What strangers may send, by the part of hoplint that reads it: one function of octets for each.

A target returns for every input, whatever it holds. It raises AssertionError where a promise is broken, and any
other exception is a finding too: what a reader documents to raise is caught here, by name. The functions are
driven by atheris (``python tests/fuzz``), and over ``tests/corpus`` by the ordinary tests.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from conformance import (
    addon,
    content,
    fix,
    flowfile,
    har,
    lint,
    mitm,  # noqa: F401 - here and not when an old flow comes by: importing it takes seconds
    octets,
    redact,
    sse,
    transcript,
    websocket,
)
from conformance.finding import Look, Run
from conformance.message import Exchange, Fields, Frame, Octets, Request, Response, Stream
from conformance.policy import PolicyError
from conformance.recording import parse, read
from conformance.refusals import classify
from conformance.replay import octets_of, replay
from conformance.reports import FORMATS
from conformance.rule import load as load_rules
from conformance.secret import mask_content, mask_text, mask_value
from conformance.settings import load as load_settings
from conformance.settings import rows

RULES = load_rules()
POLICY = load_settings(isolated=True, profile="generic").settings.policy
TODAY = lint.Settings(listing=True)

UNSEEN = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)
"""Acts on a terminal, or hides in one: in no report, whatever was recorded."""


def lint_all(*items: Exchange | Stream, topics: str = "") -> None:
    """The rules of these topics (none: all) over the items: none raises, none says what a terminal would act on."""
    rules = {name: rule for name, rule in RULES.items() if not topics or rule.topic in topics.split()}
    linter = lint.Linter(rules, POLICY, TODAY, "fuzzed")
    for item in items:
        linter.take(item)
    linter.finish()
    assert not linter.failures, linter.failures
    for finding in linter.findings:
        assert finding.why.isprintable(), finding
        assert all(quote.text.isprintable() for quote in finding.quotes), finding


def numbered(*exchanges: Exchange) -> list[Exchange]:
    """The exchanges as a reader counts them."""
    return [replace(exchange, number=number) for number, exchange in enumerate(exchanges, 1)]


# ---- readers


def flow(data: bytes) -> None:
    """A flow file: read to its end or to the break; what can be decoded can be encoded."""
    try:
        for item in flowfile.read(io.BytesIO(data)):
            assert isinstance(item, Exchange | Stream | flowfile.FlowFileError)
        for _, record in flowfile.records(io.BytesIO(data)):
            try:
                value = flowfile.decoded(record)
            except ValueError:
                continue
            assert repr(_again(value)) == repr(value)  # NaN is not itself
    except flowfile.FlowFileError:
        pass


def _again(value: object) -> object:
    ((_, record),) = flowfile.records(io.BytesIO(flowfile.encoded(value)))
    return flowfile.decoded(record)


def har_file(data: bytes) -> None:
    """A HAR: read to its end or to the break."""
    notes: list[str] = []
    try:
        for item in har.read(io.BytesIO(data), notes):
            assert isinstance(item, Exchange | har.HarError)
    except har.HarError:
        pass
    assert all(map(str.isprintable, notes)), notes


def transcript_file(data: bytes) -> None:
    """A transcript: what was read and written is read as the same, and is plain text."""
    try:
        items = list(parse(data.decode("utf-8-sig")))
    except (transcript.TranscriptError, UnicodeDecodeError):  # the reader refuses what is not UTF-8
        return
    written = "\n".join(map(transcript.write, items))
    again = "\n".join(map(transcript.write, parse(written)))
    assert written == again


def recording(data: bytes) -> None:
    """A file of any kind through all of it: read, linted, written in every format."""
    source = read("-", stdin=data)
    run = lint.check([source], RULES, policy=POLICY, settings=TODAY)
    assert run.failures == ([f"-: {source.error}"] if source.error else []), run.failures
    _reported(run)


def _reported(run: Run) -> None:
    for name in ("full", "concise", "github", "gitlab"):  # the others write their manual with every report
        found = UNSEEN.search(FORMATS[name](run, Look(statistics=True)))
        assert found is None, (name, found)


def shown(data: bytes) -> None:
    """What ``hoplint show`` prints of a recording: printable, and a transcript."""
    for item in read("-", stdin=data):
        text = transcript.write(item, mask_value, mask_content)
        assert not UNSEEN.search(text.replace("\t", " ")), UNSEEN.search(text)


# ---- parsers


def event_stream(data: bytes) -> None:
    """An event stream: events lie behind one another, and a cut one has the same events up to there."""
    whole = sse.parse(data)
    at = 0
    for event in whole.events:
        assert at <= event.start < event.stop <= len(data)
        assert b"\r" not in event.data
        at = event.stop
    if whole.events and not data.startswith(b"\xef\xbb\xbf"):
        last = whole.events[-1]
        assert sse.parse(data[: last.stop]).events == whole.events
    fields = [(b"Content-Type", b"text/event-stream")]
    made = Exchange(request=_asked(b'{"stream": true}'), response=_answer(fields, data))
    lint_all(*numbered(made), topics="events api")


def frames(data: bytes) -> None:
    """WebSocket messages, one for each line: its first octet says whose and of which kind, ``|`` parts them."""
    made = []
    for line in data.split(b"|"):
        head, sent = line[:1] or b"\0", line[1:]
        opcode = ("TEXT", "TEXT", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "CLOSE")[head[0] % 8]
        code = int.from_bytes(sent[:2]) if opcode == "CLOSE" and sent else None
        made.append(Frame("client" if head[0] & 8 else "server", opcode, sent, None, code))
    opening = [(b"Host", b"a"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    request = Request(method=b"GET", target=b"/v1/responses", fields=Fields(opening))
    answer = Response(code=b"101", reason=b"", fields=Fields(opening[1:]))
    (exchange,) = numbered(Exchange(request=request, response=answer, frames=tuple(made)))
    websocket.session(exchange)
    lint_all(exchange, topics="messages")


def wire(data: bytes) -> None:
    """Octets of a connection, the client's up to the first NUL NUL, then the server's: messages lie where they lay."""
    up, _, down = data.partition(b"\0\0")
    stream = octets.split(
        Stream(client=Octets(side="client", data=up), server=Octets(side="server", data=down))
    )
    for side in (stream.client, stream.server):
        at = 0
        for message in side.messages:
            assert message.wire is not None
            assert at <= message.wire.span.start <= message.wire.span.stop <= len(side.data)
            at = message.wire.span.stop
            if message.wire.state in ("complete", "until-close"):
                lay = side.data[message.wire.span.start : message.wire.span.stop]
                assert b"".join(octets_of(message)) == lay
        assert at <= len(side.data)
    for exchange in stream.exchanges:
        replay(exchange)
    lint_all(stream, topics="framing start_line field_lines connection")


def coded(data: bytes) -> None:
    """Coded content; the first octet says which codings. Never more than the limit comes out."""
    if not data:
        return
    names = (b"gzip", b"deflate", b"br", b"zstd", b"gzip, br", b"deflate, zstd", b"GZIP,,identity", b"rot13")
    fields = [(b"Content-Encoding", names[data[0] % 8]), (b"Content-Type", b"application/json")]
    message = _answer(fields, data[1:], partial=bool(data[0] & 8))
    found = content.decoding(message)
    assert found.octets is None or len(found.octets) <= content.LIMIT
    assert found.problem is None or found.problem.isprintable()
    lint_all(*numbered(Exchange(request=_asked(b""), response=message)), topics="content events")


def prompt(data: bytes) -> None:
    """A request of an LLM API, and an answer, cut at the first NUL: digests, conversations, all rules."""
    asked, _, answered = data.partition(b"\0")
    fields = [(b"Content-Type", b"application/json")]
    exchange = Exchange(request=_asked(asked), response=_answer(fields, answered))
    lint_all(*numbered(exchange, exchange), topics="api content sessions retries betas")


def _asked(body: bytes) -> Request:
    fields = [(b"Host", b"a"), (b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    return Request(method=b"POST", target=b"/v1/chat/completions", fields=Fields(fields), body=body)


def _answer(fields: list[tuple[bytes, bytes]], body: bytes, *, partial: bool = False) -> Response:
    return Response(code=b"200", reason=b"OK", fields=Fields(fields), body=body, partial=partial)


# ---- texts


def settings(data: bytes) -> None:
    """A settings file: in force and shown, or refused in one line."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            loaded = load_settings(config=Path(file.name))
        except PolicyError:
            return
    assert all(key and value for key, value, _ in rows(loaded))


def note(data: bytes) -> None:
    """A comment of somebody's on an exchange: ignores in it are counted or said to be of no use."""
    text = data.decode("utf-8", "surrogateescape")
    ignored = f"hoplint: ignore[{text}"
    for words in (text, ignored):
        made = Exchange(request=_asked(b"{}"), note=words)
        lint_all(*numbered(made), topics="api")


def error(data: bytes) -> None:
    """A recorder's words."""
    text = data.decode("utf-8", "surrogateescape")
    made = Exchange(request=_asked(b"{}"), response=_answer([], b""), error=text)
    lint_all(*numbered(replace(made, refusals=classify(text, made))), topics="framing field_lines start_line")


def masked(data: bytes) -> None:
    """Text with a credential in it: hidden, and hidden once and for all."""
    mask_text(data)
    once = mask_content(data)
    assert len(once) == len(data)
    for name in (b"Authorization", b"Cookie", b"Set-Cookie", b"Sec-WebSocket-Protocol", b"Host", b"X-Other"):
        mask_value(name, data)


# ---- what rewrites recordings


def redacted(data: bytes) -> None:
    """A recording without its secrets: as long as before, and read as far as before."""
    with tempfile.TemporaryDirectory() as folder:
        path, into = Path(folder, "recording"), Path(folder, "redacted")
        path.write_bytes(data)
        try:
            done = redact.redact(str(path), into, texts=True, emails=True, key=b"key")
        except redact.CannotRedact:
            return
        before, after = read(path), read(into)
        if done.errors or before.kind == "mitmproxy":
            return  # what is not understood is left out
        count = sum(1 for _ in before)
        if before.error is None:
            assert (count, after.kind) == (sum(1 for _ in after), before.kind)


def mended(data: bytes) -> None:
    """A recording through ``hoplint fix`` with every addon."""

    def judge(found: object) -> Run:
        return lint.check([found], RULES, policy=POLICY, settings=TODAY)  # type: ignore[list-item]

    with tempfile.TemporaryDirectory() as folder:
        path, into = Path(folder, "recording"), Path(folder, "fixed")
        path.write_bytes(data)
        try:
            fixed = fix.fix(str(path), judge, addon.addons().keys(), into=into, diff=True, isolated=True)
        except fix.CannotFix:
            return
        assert not UNSEEN.search(fixed.diff.replace("\t", " "))


type Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "flow": flow,
    "har": har_file,
    "transcript": transcript_file,
    "recording": recording,
    "show": shown,
    "sse": event_stream,
    "frames": frames,
    "octets": wire,
    "coded": coded,
    "prompt": prompt,
    "settings": settings,
    "note": note,
    "error": error,
    "secret": masked,
    "redact": redacted,
    "fix": mended,
}
"""What can be fuzzed. Each has its inputs in ``tests/corpus/NAME``."""

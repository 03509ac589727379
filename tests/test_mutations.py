"""One mutation of a sound conversation for each rule about start lines, field lines and framing: that rule fires.

The conversation is octets on a connection, as recorded; what hypothesis draws (fields, content, how the content is
framed, where the mutation strikes) must not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import lint
from conformance.message import Exchange, Octets, Stream
from conformance.octets import split
from conformance.rule import ERROR, load

RULES = load()
DATE = b"Fri, 20 Nov 2026 03:14:15 GMT"


@dataclass(frozen=True)
class Part:
    """One message, before it is put together."""

    start: bytes
    fields: tuple[bytes, ...]
    body: bytes
    is_chunked: bool
    trailer: bytes = b""
    end: bytes = b"\r\n"
    """What ends the lines of the head."""
    framing: tuple[bytes, ...] | None = None
    """Field lines in place of the right ones."""
    encoded: bytes | None = None
    """The body in place of the right one."""

    def octets(self) -> bytes:
        framing = (
            (b"Transfer-Encoding: chunked",) if self.is_chunked else (b"Content-Length: %d" % len(self.body),)
        )
        lines = (self.start, *self.fields, *(framing if self.framing is None else self.framing), b"")
        encoded = chunks(self.body, self.trailer) if self.is_chunked else self.body
        return self.end.join(lines) + self.end + (encoded if self.encoded is None else self.encoded)


@dataclass(frozen=True)
class Talk:
    """A request and its response."""

    up: Part
    down: Part
    behind: bytes = field(default=b"")
    """What follows the response."""
    cut: int = 0
    """Octets that are missing at the end of the response."""
    cut_up: int = 0

    def stream(self) -> Stream:
        up, down = self.up.octets(), self.down.octets() + self.behind
        return split(
            Stream(
                client=Octets(side="client", data=up[: len(up) - self.cut_up]),
                server=Octets(side="server", data=down[: len(down) - self.cut]),
            )
        )


def chunks(body: bytes, trailer: bytes = b"") -> bytes:
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


plain = st.from_regex(rb"X-[A-Z][a-z]{1,8}: [a-z0-9][a-z0-9 ]{0,10}[a-z0-9]", fullmatch=True)
extras = st.lists(plain, max_size=3, unique_by=lambda line: line.split(b":")[0].lower()).map(tuple)
texts = st.from_regex(rb"[a-z ]{1,40}", fullmatch=True)


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    asked = b'{"model": "m", "messages": [{"role": "user", "content": "%s"}]}' % draw(texts)
    choice = (
        b'{"index": 0, "message": {"role": "assistant", "content": "%s"}, "finish_reason": "stop"}'
        % draw(texts)
    )
    answer = (
        b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [%s]}'
        % choice
    )
    host = (b"Host: 127.0.0.1:4000", b"Content-Type: application/json")
    return Talk(
        Part(b"POST /v1/chat/completions HTTP/1.1", (*host, *draw(extras)), asked, draw(st.booleans())),
        Part(
            b"HTTP/1.1 200 OK",
            (b"Date: " + DATE, b"Content-Type: application/json", *draw(extras)),
            answer,
            draw(st.booleans()),
        ),
    )


type Mutation = Callable[[Talk], Talk]


def up(**changes: object) -> Mutation:
    return lambda talk: replace(talk, up=replace(talk.up, **changes))  # type: ignore[arg-type]


def down(**changes: object) -> Mutation:
    return lambda talk: replace(talk, down=replace(talk.down, **changes))  # type: ignore[arg-type]


def line_up(*lines: bytes) -> Mutation:
    return lambda talk: replace(talk, up=replace(talk.up, fields=(*talk.up.fields, *lines)))


def line_down(*lines: bytes) -> Mutation:
    return lambda talk: replace(talk, down=replace(talk.down, fields=(*talk.down.fields, *lines)))


def first_up(line: bytes) -> Mutation:
    return lambda talk: replace(talk, up=replace(talk.up, fields=(line, *talk.up.fields)))


def framed(
    part: str, lines: Callable[[int], tuple[bytes, ...]], encoded: Callable[[bytes], bytes] | None = None
) -> Mutation:
    """Other framing fields, by the body's length; the body as it is, or encoded anew."""

    def mutate(talk: Talk) -> Talk:
        old: Part = getattr(talk, part)
        body = old.body if encoded is None else encoded(old.body)
        return replace(talk, **{part: replace(old, framing=lines(len(old.body)), encoded=body)})

    return mutate


def answered(status: bytes, *, length: bool = True) -> Mutation:
    """Another status, with content all the same."""

    def mutate(talk: Talk) -> Talk:
        framing = (b"Content-Length: %d" % len(talk.down.body),) if length else ()
        return replace(talk, down=replace(talk.down, start=status, framing=framing, encoded=talk.down.body))

    return mutate


def chunked(part: str, encode: Callable[[bytes], bytes]) -> Mutation:
    return framed(part, lambda _: (b"Transfer-Encoding: chunked",), encode)


def declared(part: str, *lines: bytes) -> Mutation:
    return framed(part, lambda size: tuple(line.replace(b"%d", b"%d" % size) for line in lines))


def coded(part: str, *lines: bytes) -> Mutation:
    return framed(part, lambda _: lines, chunks)


MUTATIONS: dict[str, Mutation] = {
    # start_line
    "method-malformed": up(start=b"PO(ST /v1/chat/completions HTTP/1.1"),
    "method-in-wrong-case": up(start=b"post /v1/chat/completions HTTP/1.1"),
    "illegal-character-in-request-target": up(start=b"POST /v1/chat\x01completions HTTP/1.1"),
    "fragment-in-request-target": up(start=b"POST /v1/chat/completions#top HTTP/1.1"),
    "non-ascii-request-target": up(start=b"POST /v1/chat/completions?q=\xc3\xa9 HTTP/1.1"),
    "percent-encoding-malformed": up(start=b"POST /v1/chat/completions?q=%zz HTTP/1.1"),
    "http-version-malformed": down(start=b"HTTP/1,1 200 OK"),
    "extra-space-in-start-line": up(start=b"POST  /v1/chat/completions HTTP/1.1"),
    "status-code-malformed": down(start=b"HTTP/1.1 20 OK"),
    "status-code-out-of-range": down(start=b"HTTP/1.1 600 Odd"),
    "request-target-form-wrong": up(start=b"POST v1/chat/completions HTTP/1.1"),
    "request-line-too-long": up(start=b"POST /v1/chat/completions?q=%s HTTP/1.1" % (b"a" * 8000)),
    "userinfo-in-request-target": up(start=b"POST http://u:p@127.0.0.1:4000/v1/chat/completions HTTP/1.1"),
    "unknown-http-version": up(start=b"POST /v1/chat/completions HTTP/1.2"),
    "deprecated-status-code": down(start=b"HTTP/1.1 305 Use Proxy"),
    "reason-phrase-malformed": down(start=b"HTTP/1.1 200 O\x01K"),
    "space-missing-after-status-code": down(start=b"HTTP/1.1 200"),
    "http09-message": down(start=b"200 OK"),
    "bare-line-feed": down(end=b"\n"),
    "bare-carriage-return": line_down(b"X-Odd: a\rb"),
    # field_lines
    "header-name-malformed": line_up(b"X(Odd): a"),
    "space-before-header-colon": line_up(b"X-Odd : a"),
    "header-name-empty": line_up(b": a"),
    "header-colon-missing": line_up(b"X-Odd"),
    "space-before-first-header": first_up(b" X-Odd: a"),
    "folded-header-value": line_up(b"X-Odd: a\r\n b"),
    "newline-or-nul-in-header": line_down(b"X-Odd: a\0b"),
    "control-character-in-header": line_down(b"X-Odd: a\x07b"),
    "non-ascii-header-value": line_down(b"X-Odd: caf\xc3\xa9"),
    "empty-header-value": line_up(b"anthropic-version:"),
    "empty-list-element": line_up(b"Accept: a/b,, c/d"),
    "quoted-string-malformed": line_down(b'Cache-Control: private="a'),
    "date-malformed": line_down(b"Last-Modified: yesterday"),
    "header-too-large": line_up(b"X-Odd: " + b"a" * 8200),
    "header-section-too-large": line_up(*[b"X-Odd-%d: %s" % (n, b"a" * 600) for n in range(30)]),
    "too-many-headers": line_up(*[b"X-Odd-%d: a" % n for n in range(101)]),
    "header-line-injected": line_up(b"X-Odd: a%0d%0aX-Admin: yes"),
    "underscore-in-header-name": line_up(b"session_id: conv-00000001"),
    "placeholder-header-value": line_up(b"X-Session-Id: undefined"),
    "traceparent-malformed": line_up(b"traceparent: 00-1-2-3"),
    "duplicate-parameter": line_up(b"Accept: text/html;level=1;level=2"),
    "obsolete-date-format": line_up(b"If-Modified-Since: Sun Nov  6 08:49:37 1994"),
    "structured-field-malformed": line_up(b"Priority: u=1,"),
    "request-header-in-response": line_down(b"User-Agent: curl/8"),
    "response-header-in-request": line_up(b"Server: uvicorn"),
    # framing
    "content-length-with-transfer-encoding": coded("up", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "conflicting-content-length": declared("down", b"Content-Length: %d", b"Content-Length: 1"),
    "duplicate-content-length": declared("down", b"Content-Length: %d", b"Content-Length: %d"),
    "joined-content-length": declared("down", b"Content-Length: %d, %d"),
    "content-length-malformed": declared("up", b"Content-Length: +%d"),
    "content-length-leading-zero": declared("up", b"Content-Length: 0%d"),
    "content-length-on-1xx-or-204": down(
        start=b"HTTP/1.1 204 No Content", framing=(b"Content-Length: 0",), encoded=b""
    ),
    "transfer-encoding-on-1xx-or-204": down(
        start=b"HTTP/1.1 204 No Content", framing=(b"Transfer-Encoding: chunked",), encoded=b"0\r\n\r\n"
    ),
    "transfer-encoding-in-http10": lambda talk: replace(
        coded("up", b"Transfer-Encoding: chunked")(talk),
        up=replace(
            coded("up", b"Transfer-Encoding: chunked")(talk).up, start=b"POST /v1/chat/completions HTTP/1.0"
        ),
    ),
    "transfer-encoding-to-http10-client": lambda talk: replace(
        coded("down", b"Transfer-Encoding: chunked")(talk),
        up=replace(talk.up, start=b"POST /v1/chat/completions HTTP/1.0", is_chunked=False),
    ),
    "chunked-not-final-coding": coded("up", b"Transfer-Encoding: chunked, gzip"),
    "chunked-applied-twice": coded("up", b"Transfer-Encoding: chunked, chunked"),
    "duplicate-transfer-encoding": coded("up", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "unknown-transfer-coding": coded("down", b"Transfer-Encoding: rot13, chunked"),
    "obfuscated-transfer-encoding": coded("up", b"Transfer-Encoding: \x0bchunked"),
    "framing-header-lookalike": line_up(b"Content_Length: 5"),
    "body-shorter-than-content-length": lambda talk: replace(
        declared("down", b"Content-Length: %d")(talk), cut=1
    ),
    "chunked-body-truncated": lambda talk: replace(coded("down", b"Transfer-Encoding: chunked")(talk), cut=5),
    "bytes-after-response": lambda talk: replace(talk, behind=b"leftover of something else"),
    "content-on-204": answered(b"HTTP/1.1 204 No Content"),
    "content-on-304": answered(b"HTTP/1.1 304 Not Modified"),
    "content-on-head-response": lambda talk: replace(
        answered(b"HTTP/1.1 200 OK")(talk),
        up=replace(
            talk.up, start=b"HEAD /v1/models HTTP/1.1", fields=talk.up.fields[:1], framing=(), encoded=b""
        ),
    ),
    "chunk-size-malformed": chunked("down", lambda body: b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    "chunk-terminator-missing": chunked("down", lambda body: b"%x\r\n%sxx0\r\n\r\n" % (len(body), body)),
    "bare-line-feed-in-chunk": chunked("down", lambda body: b"%x\n%s\r\n0\r\n\r\n" % (len(body), body)),
    "chunk-extension-malformed": chunked("down", lambda body: b"%x;=\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    "forbidden-trailer-field": lambda talk: replace(
        talk, down=replace(talk.down, is_chunked=True, trailer=b"Content-Type: text/html\r\n")
    ),
    "close-delimited-response": framed("down", lambda _: ()),
    "request-body-without-length": framed("up", lambda _: ()),
    "incomplete-request": lambda talk: replace(talk, cut_up=1),
    "framing-header-on-connect-success": lambda talk: replace(
        declared("down", b"Content-Length: %d")(talk),
        up=replace(talk.up, start=b"CONNECT 127.0.0.1:4000 HTTP/1.1", framing=(), encoded=b""),
    ),
    "unrequested-transfer-coding": coded("down", b"Transfer-Encoding: gzip, chunked"),
    "content-on-205": answered(b"HTTP/1.1 205 Reset Content"),
    "trailer-header-without-chunked": declared("down", b"Content-Length: %d", b"Trailer: X-Odd"),
}
NOT_IN_OCTETS = {
    "content-length-mismatch",  # in octets the next message begins too early or too late instead
    "unparsable-message",  # is what no rule names
    "header-value-edge-space",  # in HTTP/1 it belongs to the line
}


def found(stream: Stream) -> set[str]:
    linter = lint.Linter(RULES, None, lint.Settings(), "drawn")
    linter.take(stream)
    assert not linter.failures
    return {finding.rule for finding in linter.findings}


def test_every_rule_about_the_wire_has_its_mutation() -> None:
    topics = {"start_line", "field_lines", "framing"}
    wanted = {
        name
        for name, rule in RULES.items()
        if rule.topic in topics and name not in NOT_IN_OCTETS and rule.severity is not rule.severity.NOTE
    }
    # content-length-too-large and its kind are judged by value, not by a mutation of what is there
    assert wanted - MUTATIONS.keys() <= {
        "content-length-too-large",
        "identity-transfer-coding",
        "chunk-size-overflow",
    }


@settings(max_examples=60)
@given(talks())
def test_a_sound_conversation_has_no_errors(talk: Talk) -> None:
    stream = talk.stream()
    assert len(stream.exchanges) == 1
    assert isinstance(stream.exchanges[0], Exchange)
    assert {name for name in found(stream) if RULES[name].severity is ERROR} == set()


@pytest.mark.parametrize("rule", MUTATIONS)
@settings(max_examples=8)
@given(talk=talks())
def test_one_mutation_makes_the_rule_fire(rule: str, talk: Talk) -> None:
    assert rule in found(MUTATIONS[rule](talk).stream())

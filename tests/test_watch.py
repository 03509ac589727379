"""A rule that is left out would have found nothing: shown by running everything both ways."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conformance import examine, lint, recording, watch
from conformance.finding import Finding
from conformance.message import Exchange, FieldLine, Fields, Message, Request, Response, Stream
from conformance.policy import Policy
from conformance.rule import RULES, Hits, Rule, load
from conformance.watch import Watch, is_odd, reads

RECORDINGS = Path(__file__).parents[1] / "recordings"
ODD = (
    b"", b"a, ,b", b'"x', b"caf\xe9", b"None", b"Bearer None", b"a\rb", b"10.0.0.8", b"x" * 9000, b"-1", b"0",
    b"chunked, chunked", b"close, keep-alive", b"sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
)  # fmt: skip
BODIES = (
    None, b"", b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b'\xef\xbb\xbf{"a": 1}', b'{"a": "\xe9"}', b'{"a":1}{"b":2}',
    b"<html>", b"\x1f\x8b\x08", b"data: 1\n\n",
)  # fmt: skip
NAMES = (b"Content Length", b"Via", b"Retry-After", b"content-length", b"Date", b"Server", b"x-session-id")


class Given(recording.Recording):
    """A recording of these items."""

    def __init__(self, items: list[Exchange | Stream]) -> None:
        super().__init__("given", b"# made by a test\n")
        self.items = items

    def __iter__(self) -> Iterator[Exchange | Stream]:
        return iter(self.items)


def damaged[T: Message](message: T, pick: random.Random) -> T:
    """The same message with one field line or the target changed."""
    lines = list(message.fields)
    at = pick.randrange(len(lines) + 1)
    chosen = lines[at] if at < len(lines) else FieldLine(pick.choice(NAMES), pick.choice(ODD))
    match pick.randrange(6):
        case 0:
            lines.insert(at, chosen)
        case 1:
            del lines[at : at + 1]
        case 2:
            lines[at : at + 1] = [FieldLine(chosen.name, pick.choice(ODD))]
        case 3:
            lines[at : at + 1] = [FieldLine(pick.choice(NAMES), chosen.value)]
        case 4:
            return replace(message, body=pick.choice(BODIES))
        case _ if isinstance(message, Request):
            return replace(
                message, target=pick.choice((b"/v1/v1/messages", b"/x?key=sk-1234567890123456", b"*"))
            )
        case _ if isinstance(message, Response):
            return replace(message, code=pick.choice((b"204", b"401", b"503")))
    return replace(message, fields=Fields(lines))


def traffic(seed: int) -> list[Exchange | Stream]:
    """The exchanges of all recordings, each many times over, every other one damaged."""
    made: list[Exchange | Stream] = []
    pick = random.Random(seed)
    originals = [
        item
        for path in recording.find([RECORDINGS])
        for item in recording.read(path)
        if isinstance(item, Exchange)
    ]
    for original in pick.sample(originals, 25):
        for _ in range(12):
            exchange = original
            if pick.random() < 0.3:
                exchange = replace(exchange, request=damaged(exchange.request, pick))
            if pick.random() < 0.3 and exchange.response is not None:
                exchange = replace(exchange, response=damaged(exchange.response, pick))
            made.append(replace(exchange, number=len(made) + 1))
    return made


def found(items: list[Exchange | Stream]) -> list[Finding]:
    run = lint.check([Given(items)], load(), settings=lint.Settings())
    assert not run.failures
    return run.findings


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    items = traffic(seed)
    with monkeypatch.context() as without:
        without.setattr(watch, "KEPT", 0)
        without.setattr(examine, "is_odd", lambda message: True)
        without.setattr(examine, "is_ordinary_json", lambda message: False)
        everything = found(items)
    monkeypatch.setattr(watch, "KEPT", 10_000)
    monkeypatch.setattr(watch, "OFTEN", 1)
    assert len(everything) > 100
    assert found(items) == everything


REQUEST = Request(
    method=b"POST", target=b"/v1/messages", body=b"{}",
    fields=Fields([(b"Host", b"a.example"), (b"Content-Type", b"application/json"), (b"Content-Length", b"2")]),
)  # fmt: skip


def noted(name: str, subject: Message | Exchange = REQUEST) -> set[str] | None:
    found = reads(load()[name], subject, Policy())
    return None if found is None else set(found)


def test_what_a_rule_reads() -> None:
    assert noted("host-malformed") == {"request host"}
    assert noted("non-ascii-header-value") == {f"request {name}" for name in REQUEST.fields.names}
    assert noted("non-ascii-request-target") == {"request :target"}
    assert noted("method-malformed") == set()


def test_content_is_never_the_same() -> None:
    assert noted("json-malformed") is None


def test_a_rule_that_finds_something_or_fails_is_asked_again() -> None:
    def fails(request: Request) -> Hits:
        raise ValueError(request)
        yield

    assert noted("host-malformed", replace(REQUEST, fields=Fields([(b"Host", b"a b")]))) is None
    assert reads(replace(RULES["host-malformed"], check=fails), REQUEST, None) is None


HOST = {"request host"}
ALL = {f"request {name}" for name in REQUEST.fields.names}


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (lambda request: [line.value for line in request.fields], ALL),
        (lambda request: [value for _, value in request.fields], ALL),
        (lambda request: dict(request.fields), ALL),
        (lambda request: repr(request.fields), ALL),
        (lambda request: request.fields.block, ALL),
        (lambda request: {*request.fields}, ALL),
        (lambda request: [line.value for line in request.fields if line.key == "host"], HOST),
        (lambda request: request.fields[0].value, HOST),
        (lambda request: request.fields[0][1], HOST),
        (lambda request: request.fields[0][-1], HOST),
        (lambda request: request.fields[0] == (b"Host", b"b"), HOST),
        (lambda request: request.fields[0] in {(b"Host", b"b"), (b"Via", b"")}, HOST),
        (lambda request: request.fields.by_name["host"][0].value, HOST),
        (lambda request: request.fields.one("host"), HOST),
        (lambda request: request.fields.values("host"), HOST),
        (lambda request: request.fields.lines("host")[0].value, HOST),
        (lambda request: request.path, {"request :target"}),
        (lambda request: request.start_line, {"request :target"}),
        (lambda request: replace(request, fields=Fields()).fields.one("host"), None),
        (lambda request: b"%s: %s" % request.fields[0], None),
        (lambda request: request.bare(), None),
        (lambda request: request.content, None),
        (lambda request: request.size, None),
        (lambda request: (request.fields.names, "via" in request.fields, len(request.fields)), set()),
        (lambda request: [(line.name, line.key, line[0]) for line in request.fields], set()),
        (lambda request: len(request.fields.lines("host")), set()),
    ],
)
def test_every_way_to_look_is_noted(look: Callable[[Request], object], expected: set[str] | None) -> None:
    def check(request: Request) -> Hits:
        look(request)
        yield from ()

    rule: Rule = replace(load()["host-malformed"], check=check)
    found = reads(rule, REQUEST, None)
    assert (None if found is None else set(found)) == expected


def test_of_an_exchange_all_is_noted_but_what_makes_them_alike() -> None:
    def check(exchange: Exchange) -> Hits:
        repr(exchange.server_name)
        yield from ()

    exchange = Exchange(request=REQUEST, server_name="a.example")
    assert reads(replace(load()["host-malformed"], check=check), exchange, None) is None
    assert noted("bad-host-accepted", exchange) == set()


def test_only_what_was_read_and_changed_makes_a_rule_due() -> None:
    known = Watch(None)
    rules = [load()[name] for name in ("host-malformed", "content-type-malformed", "non-ascii-header-value")]
    for _ in range(watch.OFTEN):
        assert known.message(REQUEST) is None
    like = known.message(REQUEST)
    assert like is not None
    assert known.due(lambda: rules, REQUEST, like) == ()
    other = replace(REQUEST, fields=Fields([(b"Host", b"b.example"), *list(REQUEST.fields)[1:]]))
    like = known.message(other)
    assert [rule.name for rule in known.due(lambda: rules, other, like)] == [
        "host-malformed",
        "non-ascii-header-value",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        [(b"Via", b"a\rb")], [(b"Via", b"a\r\n b")], [(b"Via", b"a\nb")], [(b"Via", b"\xe9")], [(b"Via", b"a\tb")],
        [(b"Via", b"x" * 5000)], [(b"x" * 5000, b"")], [(b"Via", b"a%0d%0aX: y")], [(b"Content-Length", b"01")],
        [(b"Content-Length", b"1"), (b"content-length", b"1")], [(b"Content-Length", b"1, 1")],
        [(b"Content-Length", b"9" * 19)], [(b"V ia", b"a")],
    ],
)  # fmt: skip
def test_an_odd_head(lines: list[tuple[bytes, bytes]]) -> None:
    assert not is_odd(REQUEST)
    assert is_odd(replace(REQUEST, fields=Fields([(b"Host", b"a"), *lines])))
    assert is_odd(replace(REQUEST, target=b"/a\rb"))
    assert is_odd(replace(REQUEST, target=b"/a\nb"))


def test_what_is_odd_is_like_nothing() -> None:
    known = Watch(None)
    odd = replace(REQUEST, trailers=Fields([(b"Via", b"1.1 a")]))
    assert [known.message(odd) for _ in range(watch.OFTEN + 2)] == [None] * (watch.OFTEN + 2)


def test_no_more_shapes_than_that_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "KEPT", 2)
    monkeypatch.setattr(watch, "OFTEN", 1)
    known = Watch(None)
    three = [replace(REQUEST, method=method) for method in (b"A", b"B", b"C")]
    for request in three:
        known.message(request)
    assert [known.message(request) is not None for request in three] == [True, True, False]

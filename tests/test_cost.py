"""What an exchange costs, counted and not timed: calls are the same on every machine.

An agent's requests are alike, so most rules must not be asked about most of them. A bound that is passed says that
something runs for every exchange now; what that is, the message says. Where it is worth it, raise the bound.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType

import pytest

from conformance import content, lint, recording, sse
from conformance.message import Evidence, Exchange, Fields, Request, Response, Stream
from conformance.rule import Hits, Rule, load

LEARNING, MEASURED = 40, 60
"""Exchanges until heads are known, and those that are counted."""


class Given(recording.Recording):
    """A recording of these exchanges."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        super().__init__("given", b"# made by a test\n")
        self.items = exchanges

    def __iter__(self) -> Iterator[Exchange | Stream]:
        return iter(self.items)


def agent(count: int, *, streams: bool) -> list[Exchange]:
    """Requests of conversations of five turns each, answered at once or by fifty events."""
    made = []
    for number in range(count):
        conversation, turn = divmod(number, 5)
        messages = [{"role": "system", "content": "You are an agent."}]
        for earlier in range(turn + 1):
            messages.append({"role": "user", "content": f"task {conversation}, step {earlier}"})
            messages += [{"role": "assistant", "content": f"done {earlier}"}] * (earlier < turn)
        asked = json.dumps({"model": "m", "messages": messages, "stream": streams}).encode()
        chunk = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        if streams:
            said = [
                chunk | {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
            ] * 49
            said += [chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
            answer = (
                b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in said) + b"data: [DONE]\n\n"
            )
        else:
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": f"done {turn}"},
                "finish_reason": "stop",
            }
            whole = chunk | {"object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 2}}
            answer = json.dumps(whole).encode()
        framing = (b"transfer-encoding", b"chunked") if streams else (b"content-length", b"%d" % len(answer))
        made.append(
            Exchange(
                request=Request(
                    method=b"POST", target=b"/v1/chat/completions", body=asked,
                    fields=Fields([
                        (b"Host", b"127.0.0.1:4000"), (b"Accept", b"application/json"), (b"Connection", b"keep-alive"),
                        (b"Content-Type", b"application/json"), (b"User-Agent", b"OpenAI/Python 2.54.0"),
                        (b"Authorization", b"Bearer sk-xxxxxxxxxxxxxxxx"), (b"Content-Length", b"%d" % len(asked)),
                        (b"x-litellm-session-id", b"00000000-0000-4000-8000-%012d" % conversation),
                    ]),
                ),
                response=Response(
                    code=b"200", reason=b"OK", body=answer,
                    fields=Fields([
                        (b"date", b"Fri, 20 Nov 2026 03:14:%02d GMT" % (number % 60)), (b"server", b"uvicorn"), framing,
                        (b"content-type", b"text/event-stream" if streams else b"application/json"),
                        (b"cache-control", b"no-store"), (b"x-request-id", b"req_%d" % number),
                    ]),
                ),
                evidence=Evidence.HEADERS | Evidence.FLOWS | Evidence.CONNECTION | Evidence.ERROR,
                recorder="mitmproxy", number=number + 1, client_connection=f"c{conversation}",
                server_connection=f"s{conversation}", upstream="127.0.0.1:4000",
            )
        )  # fmt: skip
    return made


def usual() -> dict[str, Rule]:
    """The rules that run if nobody says otherwise."""
    return {name: rule for name, rule in load().items() if rule.by_default}


def linted(exchanges: list[Exchange], rules: dict[str, Rule]) -> None:
    run = lint.check([Given(exchanges)], rules)
    assert (run.findings, run.failures) == ([], [])


def counting(rule: Rule, asked: Counter[str]) -> Rule:
    def check(*arguments: object) -> Hits:
        asked[rule.name] += 1
        return rule.check(*arguments)

    return replace(rule, check=check)


@pytest.mark.parametrize(("streams", "bound"), [(False, 55), (True, 75)])
def test_most_rules_are_not_asked(streams: bool, bound: int) -> None:
    rules = usual()
    counts = []
    for count in (LEARNING, LEARNING + MEASURED):
        asked: Counter[str] = Counter()
        linted(agent(count, streams=streams), {name: counting(rule, asked) for name, rule in rules.items()})
        counts.append(asked)
    more = counts[1] - counts[0]
    each = sum(more.values()) / MEASURED
    always = [name for name, times in sorted(more.items()) if times >= MEASURED]
    assert each <= bound, (
        f"{each:.0f} rules are asked about each exchange, more than {bound}. Give a new one `fields`, or `odd=True`, or"
        f" have it look at names before values (conformance/watch.py). Always asked: {', '.join(always)}"
    )


def calls(exchanges: list[Exchange]) -> Counter[str]:
    """How often each function of ours, or of the standard library, is called while these are linted."""
    rules = usual()
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found[f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_code.co_name}"] += 1
        elif event == "c_call":
            found[str(getattr(argument, "__qualname__", argument))] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        linted(exchanges, rules)
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.parametrize(("streams", "bound"), [(False, 1400), (True, 2200)])
def test_calls_for_an_exchange(streams: bool, bound: int) -> None:
    linted(agent(1, streams=streams), usual())  # imports, patterns
    more = calls(agent(LEARNING + MEASURED, streams=streams)) - calls(agent(LEARNING, streams=streams))
    each = sum(more.values()) / MEASURED
    most = ", ".join(f"{name} {times / MEASURED:.0f}" for name, times in more.most_common(12))
    assert each <= bound, f"{each:.0f} calls for each exchange, more than {bound}. The most: {most}"


@pytest.mark.parametrize("streams", [False, True])
def test_each_content_is_parsed_once(streams: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: Counter[str] = Counter()

    def counted(name: str, parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
        def count(octets: bytes) -> object:
            parsed[name] += 1
            return parse(octets)

        return count

    monkeypatch.setattr(content, "read_json", counted("json", content.read_json))
    monkeypatch.setattr(sse, "parse", counted("events", sse.parse))
    linted(agent(10, streams=streams), usual())  # too few for any head to be learned
    assert parsed == ({"json": 10, "events": 10} if streams else {"json": 20})


def test_rules_about_what_came_before_tell_by_digests() -> None:
    # With --jobs an exchange that a rule asks for is read again.
    rules = {name: rule for name, rule in usual().items() if rule.scope == "Turn"}
    linter = lint.Linter(rules, None, lint.Settings(), "x")
    asked: list[int] = []
    for exchange in agent(LEARNING, streams=False):

        def get(exchange: Exchange = exchange) -> Exchange:
            asked.append(exchange.number)
            return exchange

        linter.place(linter.examiner.exchange(exchange), get)
    assert linter.findings == []
    assert asked == [], f"of {LEARNING} exchanges in which nothing is found, {len(asked)} were asked for"

"""Sessions: how each end is judged once, and whom nothing can be said about."""

import json
from dataclasses import replace

import pytest

from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Frame, Request, Response
from conformance.policy import Policy
from conformance.rule import load
from conformance.rules.messages import MAX_MESSAGE, REMEDIES

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "messages"}
UPGRADE = Fields([(b"Upgrade", b"websocket")])


def findings(frames, target: bytes = b"/v1/responses", recorder: str = "mitmproxy", **facts):
    linter = Linter(TOPIC, Policy(), Settings(), "example")
    request = Request(method=b"GET", target=target, fields=UPGRADE)
    response = Response(code=b"101", fields=UPGRADE)
    linter.take(
        Exchange(request=request, response=response, frames=tuple(frames), recorder=recorder, **facts)
    )
    assert not linter.failures
    for finding in linter.findings:
        assert finding.why.isprintable(), finding.why
    return linter.findings


def lint(frames, **facts) -> list[str]:
    return sorted(finding.rule for finding in findings(frames, **facts))


def close(sender, code: int | None = None, reason: bytes = b"") -> Frame:
    return Frame(sender, "CLOSE", reason, code=code)


def client(**event) -> Frame:
    return Frame("client", "TEXT", json.dumps(event).encode())


def server(**event) -> Frame:
    return Frame("server", "TEXT", json.dumps(event).encode())


ASK, BEGIN = client(type="response.create"), server(type="response.created", response={"id": "r1"})
END = server(type="response.completed", response={"id": "r1"})

FIRST, HALF = ["websocket-closed-before-first-event"], ["websocket-closed-before-completion"]
NONE, ERROR = ["websocket-closed-without-close-frame"], ["websocket-closed-with-error"]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([ASK, BEGIN, END, close("client", 1006)], [], id="Codex is done"),
        pytest.param([ASK, BEGIN, close("client", 1006)], NONE, id="the client vanished"),
        pytest.param([ASK, BEGIN, close("client", 1000)], [], id="the client cancelled"),
        pytest.param([ASK, BEGIN, close("client", 1005)], [], id="the client cancelled without a code"),
        pytest.param([close("client", 1006)], [], id="the client thought better of it"),
        pytest.param([ASK, BEGIN, END, close("server", 1006)], NONE, id="the server vanished while idle"),
        pytest.param([ASK, BEGIN, close("server", 1006)], HALF, id="the server vanished"),
        pytest.param([ASK, BEGIN, close("server", 1000)], HALF, id="the server gave up in good order"),
        pytest.param(
            [ASK, BEGIN, END, ASK, close("server", 1001)], HALF, id="the second question unanswered"
        ),
        pytest.param(
            [ASK, server(type="error", status=400), close("server", 1000)],
            ["websocket-error-event"],
            id="refused",
        ),
        pytest.param([ASK, close("server", 1000)], FIRST, id="not a word"),
        pytest.param([ASK, close("server", 1006)], FIRST, id="not a word, and gone"),
        pytest.param([close("server", 1011)], FIRST, id="failed at once"),
        pytest.param([close("server", 1006)], FIRST, id="gone at once"),
        pytest.param([close("server", 1001)], [], id="idle and unused"),
        pytest.param([ASK, BEGIN, END, close("server", 1012)], [], id="restarting"),
        pytest.param([ASK, BEGIN, END, close("server", 1011)], ERROR, id="failed while idle"),
        pytest.param([ASK, BEGIN, END, close("server", 4001)], ERROR, id="a code of its own"),
        pytest.param([ASK, BEGIN, END, close("client", 1009)], ERROR, id="too much for the client"),
        pytest.param(
            [ASK, BEGIN, END, close("client", 1000), close("server", 1011)], [], id="the first close counts"
        ),
        pytest.param([ASK, BEGIN], [], id="the recording does not say"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_each_end_is_judged_once(frames, expected: list[str]) -> None:
    assert lint(frames) == expected


def test_the_realtime_api_owes_a_greeting() -> None:
    assert lint([close("server", 1000)], target=b"/v1/realtime?model=m") == FIRST
    hello = server(type="session.created")
    assert lint([hello, close("server", 1000)], target=b"/v1/realtime?model=m") == []


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_error_codes_come_with_a_remedy_on_any_websocket(code: int) -> None:
    (found,) = findings([Frame("server", "TEXT", b"hi"), close("server", code)], target=b"/chat")
    assert found.rule == "websocket-closed-with-error"
    assert REMEDIES[code] in found.why


def test_other_applications_are_left_alone() -> None:
    frames = [Frame("client", "TEXT", b"hi"), Frame("server", "TEXT", b"{}"), close("server", 4000)]
    assert lint(frames, target=b"/chat") == []
    assert lint(frames, target=b"/survey/responses") == []
    assert lint([close("server", 1000)], target=b"/survey/responses") == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (0, True), (999, True), (1000, False), (1003, False), (1004, True), (1005, False), (1006, False),
        (1007, False), (1014, False), (1015, False), (1016, True), (2999, True), (3000, False), (4999, False),
        (5000, True), (65535, True), (None, False),
    ],
)  # fmt: skip
def test_codes_that_may_not_be_sent(code: int | None, found: bool) -> None:
    rules = lint([ASK, BEGIN, END, close("client", code)])
    assert ("websocket-close-code-invalid" in rules) is found


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (1002, b"Invalid opcode 0x3", ERROR),
        (1002, b"remote CLOSE with local-only reason", ["websocket-close-code-invalid"]),
        (1002, b"CLOSE with invalid code", ["websocket-close-code-invalid"]),
        (1007, b"'utf-8' codec can't decode byte 0xc3 in position 7", ["websocket-text-not-utf8"]),
        (1007, b"Error decoding CLOSE reason: ...", ["websocket-close-reason-invalid"]),
    ],
)  # fmt: skip
def test_what_mitmproxy_refused_is_about_the_side_that_sent_it(
    code: int, reason: bytes, expected: list[str]
) -> None:
    frames = [ASK, BEGIN, END, close("server", code, reason)]
    assert lint(frames) == expected
    (found,) = findings(frames)
    assert found.origin == "server"
    assert "mitmproxy" in found.why
    # The same words from another recorder are the peer's own.
    assert lint(frames, recorder="transcript") == ERROR


def test_an_artefact_of_mitmproxy_blames_nobody() -> None:
    (found,) = findings([ASK, BEGIN, END, close("client", 1002, b"Reserved bit set unexpectedly")])
    assert (found.rule, found.origin) == ("websocket-closed-with-error", "recorder")


def test_a_ping_timeout_is_told_as_such() -> None:
    (found,) = findings([ASK, BEGIN, END, close("client", 1011, b"keepalive ping timeout")])
    assert "pings were not answered" in found.why


@pytest.mark.parametrize("size", [MAX_MESSAGE, MAX_MESSAGE + 1])
def test_the_limit_of_a_message(size: int) -> None:
    rules = lint([Frame("client", "BINARY", b"x" * size)], target=b"/chat")
    assert rules == ["websocket-message-too-large"] * (size > MAX_MESSAGE)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ["websocket-message-not-json"]),
        (b"[DONE]", ["websocket-message-not-json"]),
        (b"[" * 100_000, ["websocket-message-not-json"]),
        (b"null", ["websocket-message-without-type"]),
        (b"[]", ["websocket-message-without-type"]),
        (b'{"type":""}', ["websocket-message-without-type"]),
        (b'{"type":{}}', ["websocket-message-without-type"]),
        (b'{"type":"anything"}', []),
        (b'{"chunks":[{"type":"anything"}]}', []),
        (b"\xff\x1b[31m", ["websocket-message-not-json", "websocket-text-not-utf8"]),
    ],
)
def test_odd_messages(content: bytes, expected: list[str]) -> None:
    assert lint([Frame("server", "TEXT", content)]) == expected


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"type": "error", "status": 429, "error": {"code": "limit", "message": "x"}}, "status 429, code 'limit'"),
        ({"type": "response.failed", "response": {"error": {"code": "server_error"}}}, "code 'server_error'"),
        ({"type": "error"}, "it does not say why"),
        ({"type": "error", "error": "x", "status": [1]}, "it does not say why"),
        ({"type": "error", "error": {"message": "\ud800 key sk-0123456789abcdef"}}, "***"),
    ],
)  # fmt: skip
def test_errors_are_told(event: dict[str, object], said: str) -> None:
    (found,) = findings([server(**event)])
    assert found.rule == "websocket-error-event"
    assert said in found.why
    assert "sk-0123456789abcdef" not in found.why


def test_clients_may_call_their_messages_errors() -> None:
    assert lint([client(type="error")]) == []


def test_one_response_that_begins_too_late_is_one_finding() -> None:
    delta = server(type="response.output_text.delta", delta="x")
    assert (
        lint([ASK, delta, delta, BEGIN, delta, END, ASK, delta, BEGIN, END])
        == ["websocket-event-out-of-order"] * 2
    )


ACUTE = "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        (b"", False), (b"a" * 123, False), (b"a" * 124, True), (ACUTE * 61, False), (ACUTE * 62, True),
        (ACUTE[:1], True), (b"a" * 122 + ACUTE[:1], True),
    ],
)  # fmt: skip
def test_reasons(reason: bytes, found: bool) -> None:
    assert ("websocket-close-reason-invalid" in lint([close("client", 1000, reason)])) is found


def timed(*frames: tuple[float, Frame]) -> list[Frame]:
    return [replace(frame, time=time) for time, frame in frames]


PING, PONG = Frame("server", "PING", b""), Frame("client", "PONG", b"")
GONE = close("server", 1006)


@pytest.mark.parametrize(
    ("frames", "recorder", "gaps"),
    [
        (timed((0, ASK), (60, BEGIN)), "octets", 0),
        (timed((0, ASK), (61, BEGIN), (122, END)), "octets", 2),
        (timed((0, ASK), (40, PING), (40, PONG), (80, BEGIN)), "octets", 0),
        ([*timed((0, ASK)), BEGIN, *timed((61, END))], "octets", 1),
        ([ASK, BEGIN, END], "octets", 0),
        # It records no pings: they may have come.
        (timed((0, ASK), (61, BEGIN)), "mitmproxy", 0),
        (timed((0, ASK), (61, GONE)), "mitmproxy", 1),
        (timed((0, ASK), (61, close("server", 1000))), "mitmproxy", 0),
        (timed((0, ASK), (61, BEGIN)), "har", 0),
    ],
)
def test_silence_counts_where_pings_would_be_seen(frames: list[Frame], recorder: str, gaps: int) -> None:
    assert lint(frames, recorder=recorder).count("websocket-idle-gap") == gaps


def test_what_the_recorder_did_itself_is_said() -> None:
    sent = replace(BEGIN, injected=True)
    assert lint([ASK, sent, END]) == ["websocket-message-altered-in-transit"]
    (found,) = findings([ASK, BEGIN, END], dropped=2)
    assert (found.rule, found.why) == (
        "websocket-message-altered-in-transit",
        "the recorder kept 2 messages from the other side",
    )

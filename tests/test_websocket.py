"""Handshakes, closes and sessions, as the rules are told of them."""

import json

import pytest

from conformance import recording, websocket
from conformance.message import Exchange, Fields, Frame, Refusal, Request, Response

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FULL = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Key", KEY)]


def request(lines, method: bytes = b"GET", target: bytes = b"/v1/responses", **facts) -> Request:
    return Request(method=method, target=target, fields=Fields(lines), **facts)


def exchange(frames, target: bytes = b"/v1/responses", lines=FULL, recorder: str = "transcript") -> Exchange:
    return Exchange(
        request=request(lines, target=target),
        response=Response(code=b"101", fields=Fields()),
        frames=tuple(frames),
        recorder=recorder,
    )


def client(**event) -> Frame:
    return Frame("client", "TEXT", json.dumps(event).encode())


def server(**event) -> Frame:
    return Frame("server", "TEXT", json.dumps(event).encode())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (request(FULL), True),
        (request([(b"Upgrade", b"h2c, WebSocket")]), True),
        (request(FULL, method=b"POST"), True),
        (request([(b"Sec-WebSocket-Key", KEY)]), True),
        (request([(b"Sec-WebSocket-Key", KEY), (b"Content-Length", b"0")]), True),
        (request([(b"Sec-WebSocket-Key", KEY)], method=b"POST"), False),
        (request([(b"Sec-WebSocket-Key", KEY)], body=b"x"), False),
        (request([(b"Sec-WebSocket-Key", KEY), (b"Content-Length", b"7")]), False),
        (request([(b"Sec-WebSocket-Key", KEY), (b"Transfer-Encoding", b"chunked")]), False),
        (request([(b"Sec-WebSocket-Protocol", b"a")]), False),
        (request([(b"Upgrade", b"h2c")]), False),
        (request(FULL, version=b"HTTP/2.0"), False),
        (request([]), False),
    ],
)
def test_what_a_handshake_is(message: Request, expected: bool) -> None:
    assert websocket.is_handshake(message) is expected


def test_events_are_parsed_once_and_forgotten_with_the_content() -> None:
    seen = exchange(
        [
            client(type="response.create"),
            Frame("server", "TEXT", b"{"),
            server(chunks=[{"type": "a"}, {"type": "b"}]),
        ]
    )
    assert [event.type for event in websocket.events(seen)] == ["response.create", None, "a", "b"]
    assert websocket.events(seen) is websocket.events(seen)
    assert "_events" not in seen.bare().request.__dict__


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[" * 100_000, b"null", b'"type"', b'{"type": 1}', b'{"chunks": [1, null]}']
)
def test_odd_messages_are_events_without_a_type(content: bytes) -> None:
    (event,) = websocket.events(exchange([Frame("server", "TEXT", content)]))
    assert event.type is None


CREATE, CREATED = {"type": "response.create"}, {"type": "response.created"}
DELTA, DONE = {"type": "response.output_text.delta"}, {"type": "response.completed"}


@pytest.mark.parametrize(
    ("frames", "pending", "early"),
    [
        pytest.param([client(**CREATE)], True, 0, id="asked"),
        pytest.param([client(**CREATE), server(**CREATED)], True, 0, id="begun"),
        pytest.param([client(**CREATE), server(**CREATED), server(**DELTA), server(**DONE)], False, 0, id="ended"),
        pytest.param([client(**CREATE), server(type="error", status=429)], False, 0, id="refused"),
        pytest.param([client(**CREATE), server(**CREATED), server(type="error")], False, 0, id="broken off"),
        pytest.param([client(**CREATE), server(type="response.failed")], False, 0, id="failed at once"),
        pytest.param([client(**CREATE), server(type="codex.rate_limits"), server(**CREATED)], True, 0, id="about limits"),
        pytest.param([client(**CREATE), server(chunks=[CREATED, DELTA, DONE])], False, 0, id="packed"),
        pytest.param([client(**CREATE), server(**DELTA), server(**DELTA), server(**CREATED)], True, 1, id="early"),
        pytest.param([client(**CREATE), server(**DONE)], False, 1, id="ends without a beginning"),
        pytest.param([server(**DELTA), server(**DONE)], False, 0, id="the beginning is not in the recording"),
        pytest.param([client(**CREATE), client(**CREATE), server(**CREATED), server(**DONE)], True, 0, id="queued"),
        pytest.param(
            [client(**CREATE, stream_id="a"), client(**CREATE, stream_id="b"), server(**CREATED, stream_id="a"),
             server(**CREATED, stream_id="b"), server(**DONE, stream_id="a"), server(**DELTA, stream_id="b"),
             server(**DONE, stream_id="b")],
            False, 0, id="two lanes",
        ),
        pytest.param(
            [client(**CREATE, stream_id="a"), server(**CREATED, stream_id="a"), client(**CREATE, stream_id="b"),
             server(**DELTA, stream_id="b")],
            True, 1, id="early in the other lane",
        ),
        pytest.param(
            [client(**CREATE, stream_id="a"), client(**CREATE, stream_id="b"), server(type="error")],
            False, 0, id="nobody knows which of two",
        ),
    ],
)  # fmt: skip
def test_sessions_of_the_responses_api(frames, pending: bool, early: int) -> None:
    found = websocket.session(exchange(frames))
    assert found is not None
    assert (found.pending, len(found.early)) == (pending, early)


HELLO = server(type="session.created")


@pytest.mark.parametrize(
    ("frames", "pending", "early"),
    [
        pytest.param([HELLO, client(**CREATE), server(**CREATED, response={"id": "r1"})], True, 0, id="begun"),
        pytest.param(
            [HELLO, server(**CREATED, response={"id": "r1"}), server(type="response.done", response={"id": "r1"})],
            False, 0, id="the voice detector asked",
        ),
        pytest.param(
            [HELLO, client(**CREATE), client(**CREATE), server(**CREATED, response={"id": "r1"}),
             server(**CREATED, response={"id": "r2"}), server(type="response.text.delta", response_id="r1"),
             server(type="response.done", response={"id": "r2"}), server(type="response.done", response={"id": "r1"}),
             server(type="response.text.delta", response_id="r1")],
            False, 0, id="two at once, and a late delta",
        ),
        pytest.param([HELLO, server(type="response.text.delta", response_id="r1")], False, 1, id="early"),
        pytest.param([server(type="response.text.delta", response_id="r1")], False, 0, id="the beginning is not there"),
        pytest.param(
            [HELLO, client(**CREATE), server(**CREATED, response={"id": "r1"}), server(type="error")],
            True, 0, id="an error that ends nothing",
        ),
        pytest.param([HELLO, client(**CREATE), server(type="error")], False, 0, id="an error that refuses"),
    ],
)  # fmt: skip
def test_sessions_of_the_realtime_api(frames, pending: bool, early: int) -> None:
    found = websocket.session(exchange(frames, target=b"/v1/realtime?model=m"))
    assert found is not None
    assert (found.pending, len(found.early)) == (pending, early)


@pytest.mark.parametrize(
    ("target", "frames", "known"),
    [
        (b"/v1/responses", [HELLO], True),
        (b"/backend-api/codex/responses", [HELLO], True),
        (b"/openai/responses", [client(**CREATE)], True),
        (b"/survey/responses", [server(type="vote")], False),
        (b"/v1/chat", [client(**CREATE)], False),
        (b"/v1/responses", [], False),
    ],
)
def test_only_sessions_of_known_apis_are_followed(target: bytes, frames, known: bool) -> None:
    assert (websocket.session(exchange(frames, target=target)) is not None) is known


def closed(code: int, reason: bytes = b"", sender="server") -> Frame:
    return Frame(sender, "CLOSE", reason, code=code)


def test_what_mitmproxy_refused_is_told_from_what_peers_say() -> None:
    words = closed(1002, b"Invalid opcode 0x3")
    assert websocket.refused_by_recorder(exchange([words], recorder="mitmproxy"), words)
    assert not websocket.refused_by_recorder(exchange([words]), words)
    own = closed(1002, b"I do not like this")
    assert not websocket.refused_by_recorder(exchange([own], recorder="mitmproxy"), own)


def test_an_artefact_of_the_recorder_is_nobodys_fault() -> None:
    frame = closed(1002, b"Reserved bit set unexpectedly")
    found = websocket.place(exchange([frame], recorder="mitmproxy"), frame)
    assert isinstance(found, Refusal)
    assert found.origin == "recorder"
    assert websocket.place(exchange([frame]), frame) is frame


def test_the_first_close_counts() -> None:
    first, second = closed(1011), closed(1000, sender="client")
    assert websocket.close(exchange([first, second])) is first
    assert websocket.close(exchange([HELLO])) is None


def test_captured_session_of_codex() -> None:
    (found,) = recording.read("recordings/flows/codex-websocket.flow")
    assert isinstance(found, Exchange)
    state = websocket.session(found)
    assert state is not None
    assert not state.pending
    assert not state.early
    frame = websocket.close(found)
    assert frame is None or (frame.code, frame.sender) == (websocket.NO_CLOSE_FRAME, "client")

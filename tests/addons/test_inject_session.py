"""inject-session: which id a request gets, and that it is really sent."""

import contextlib
import json
import logging
import re
import socket
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.exceptions import OptionsError
from mitmproxy.test import taddons

from conformance import mitm
from conformance.message import Fields, Request
from conformance.policy import InjectSession, Session
from conformance.settings import load

ADDONS = Path(__file__).parents[2] / "addons"
SCRIPT = ADDONS / "inject_session.py"
(addon,) = mitm.script_addons(SCRIPT)
script = sys.modules[type(addon).__module__]

LITELLM = load(isolated=True, profile="litellm").settings.policy.session
SMG = load(isolated=True, profile="sglang-router").settings.policy.session
HEX = re.compile(rb"[0-9a-f]{32}")
ID = "7ab0d106-87bc-479f-8cf5-e94c2a94db00"


def request(
    *lines: str, path: str = "/v1/chat/completions", content: object = None, method: str = "POST"
) -> Request:
    fields = Fields([tuple(map(str.encode, line.split(": ", 1))) for line in lines])
    body = None if content is None else json.dumps(content).encode()
    return Request(method=method.encode(), target=path.encode(), fields=fields, body=body)


def after(
    asked: Request, session: Session = LITELLM, policy: InjectSession | None = None, said: object = None
) -> Fields:
    settings = script.Settings(policy or InjectSession(), session)

    def otherwise():
        return None if said is None else script.in_content(said, settings)

    return mitm.changed(asked.fields, script.injected(asked, settings, otherwise))


# ---- which id


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"session-id: {ID}"], ID),
        ([f"Session_ID: {ID}"], ID),
        ([f"thread-id: {ID}", "session-id: tree-of-threads"], ID),
        (["x-opencode-session: ses_e0903860fffe"], "ses_e0903860fffe"),
        (["x-session-affinity: ses_e0903860fffe"], "ses_e0903860fffe"),
        ([f"x-session-affinity: {ID}", "thread-id: None"], ID),
        (["x-session-affinity: None"], None),
        (["x-session-affinity: "], None),
        (["x-litellm-session-id: x"], "x"),  # the caller's, whatever it is
        (["X-LiteLLM-Session-Id: conversation-1", "thread-id: thread-0001"], "conversation-1"),
        (["x-litellm-session-id: None", f"thread-id: {ID}"], ID),
        (["traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], None),
        (["x-request-id: req_0001-0002"], None),
        (["x-parent-session-id: parent-0001", "x-client-request-id: request-0001"], None),
    ],
)
def test_headers(lines: list[str], expected: str | None) -> None:
    fields = after(request(*lines))
    assert fields.one("x-litellm-session-id") == (expected.encode() if expected else None)


def test_what_the_upstream_reads_is_left_alone() -> None:
    asked = request("x-agent-session-id: conversation-1")
    assert [*after(asked)] == [*asked.fields]
    asked = request("User-Agent: codex_exec/0.169.0", "session-id: conversation-1", path="/v1/responses")
    assert [*after(asked)] == [*asked.fields]
    asked = request("x-litellm-trace-id: conversation-1")
    assert [*after(asked)] == [*asked.fields]


def test_only_requests_that_run_a_model() -> None:
    asked = request(f"thread-id: {ID}", path="/v1/models", method="GET")
    assert [*after(asked)] == [*asked.fields]
    asked = request(f"thread-id: {ID}")
    assert [*after(asked, Session())] == [*asked.fields], "no header is configured"


def test_ids_that_do_not_fit_are_hashed_stably() -> None:
    one, two = (after(request(f"x-agent-session-id: user:{n}")).one("x-litellm-session-id") for n in (42, 43))
    assert HEX.fullmatch(one)
    assert HEX.fullmatch(two)
    assert one != two
    assert after(request("x-agent-session-id: user:42")).one("x-litellm-session-id") == one
    settings = script.Settings(InjectSession(), LITELLM, b"a key")
    assert settings.fitting(b"user:42", "x").id != one


def test_a_credential_is_never_copied() -> None:
    policy = InjectSession(prefer=("authorization",))
    found = after(request("Authorization: Bearer canary-0123456789"), SMG, policy).one("x-smg-routing-key")
    assert HEX.fullmatch(found)


def test_path_and_preferred_sources() -> None:
    path = "/sessions/0f1e2d3c4b5a6978/v1/chat/completions"
    assert after(request(path=path), SMG).one("x-smg-routing-key") == b"0f1e2d3c4b5a6978"
    assert after(request("thread-id: thread-0001", path=path), SMG).one("x-smg-routing-key") == b"thread-0001"
    policy = InjectSession(prefer=("path:/sessions/([^/]+)/", "x-mine"))
    assert (
        after(request("thread-id: thread-0001", path=path), SMG, policy).one("x-smg-routing-key")
        == b"0f1e2d3c4b5a6978"
    )
    assert (
        after(request("thread-id: t-1", "X-Mine: mine-0001"), SMG, policy).one("x-smg-routing-key")
        == b"mine-0001"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"metadata": {"user_id": f"user_ab_account__session_{ID}"}}, ID),
        ({"metadata": {"user_id": json.dumps({"device_id": "d", "session_id": ID})}}, ID),
        ({"metadata": {"user_id": "somebody@example.com"}}, None),
        ({"session_id": "conversation-1"}, "conversation-1"),
        ({"conversation": "conv_12345678"}, "conv_12345678"),
        ({"conversation": {"id": "conv_12345678"}}, "conv_12345678"),
        ({"prompt_cache_key": ID}, ID),
        ({"prompt_cache_key": "my-application-v1"}, None),
        ({"session_id": "None"}, None),
        ({"session_id": 12345678}, None),
        ({"user": "somebody"}, None),
        ([], None),
        (None, None),
    ],
)
def test_content(content: object, expected: str | None) -> None:
    found = script.in_content(content, script.Settings(InjectSession(), LITELLM))
    assert (found and found.id) == (expected.encode() if expected else None)


def test_content_cannot_break_out_of_the_header() -> None:
    for bad in ("a\r\nX-Injected: 1", "conversation 1", "gespräch-0001", "\ud800" * 9, "x" * 300):
        found = script.in_content({"session_id": bad}, script.Settings(InjectSession(), SMG))
        assert HEX.fullmatch(found.id)


def test_pointers() -> None:
    said = {"a/b": {"c~d": ["x", {"e": "conversation-1"}]}}
    assert script._pointed(said, script._source("/a~1b/c~0d/1/e").pointer) == "conversation-1"
    assert script._pointed(said, script._source("/a~1b/c~0d/9/e").pointer) is None


# ---- what contradicts it


@pytest.mark.parametrize(
    ("member", "header"),
    [
        (member, name)
        for members, names in script.IN_BODY
        for member in sorted(members)
        for name in sorted(names)
    ],
)
def test_every_id_in_the_content_is_looked_for(member: str, header: str) -> None:
    said: object = {"session_id": ID} if member.endswith("user_id") else ID
    said = json.dumps(said) if member.endswith("user_id") else said
    for name in reversed(member.split(".")):
        said = {name: said}
    asked, settings = request(f"{header}: other-session", content=said), script.Settings(InjectSession(), SMG)
    assert script.may_contradict(asked, asked.content, settings)
    found = script.contradiction(asked, asked, settings)
    assert found is not None
    assert found[0] == member
    assert not script.may_contradict(asked, b'{"messages": []}', settings)


def test_a_trace_that_is_taken_for_the_session_is_dropped() -> None:
    fields = after(request(f"x-litellm-session-id: {ID}", "x-litellm-trace-id: trace-00001"), Session())
    assert "x-litellm-trace-id" not in fields
    asked = request(f"x-litellm-session-id: {ID}", f"x-litellm-trace-id: {ID}")
    assert [*after(asked, Session())] == [*asked.fields]


def test_names_for_the_same_are_aligned() -> None:
    asked = request("x-session-id: one-00001", "session-id: two-00001", "thread-id: three-001")
    assert [tuple(line) for line in after(asked, Session())] == [
        (b"x-session-id", b"two-00001"),
        (b"session-id", b"two-00001"),
        (b"thread-id", b"three-001"),
    ]
    assert [*after(asked, Session(), InjectSession(align=False))] == [*asked.fields]
    target = Session(header="x-session-id")
    assert after(asked, target).one("session-id") == b"one-00001", "the upstream's own is never overwritten"


# ---- properties

NAMES = ["x-litellm-session-id", "x-litellm-trace-id", "session-id", "session_id", "Thread-Id", "x-session-id",
         "x-agent-session-id", "Authorization", "Host", "X-Other", "x-parent-session-id"]  # fmt: skip
LINES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "None", "a", "user:1", ID, "conversation-2"]))
)


@given(LINES, st.sampled_from([LITELLM, SMG, Session()]), st.booleans())
def test_idempotent_and_in_order(lines: list[tuple[str, str]], session: Session, align: bool) -> None:
    # Of each header one line: dedupe-headers runs before.
    lines = list({name: (name, value) for name, value in lines}.values())
    asked = request(*(f"{name}: {value}" for name, value in lines))
    policy = InjectSession(align=align)
    once = after(asked, session, policy)
    again = Request(method=b"POST", target=b"/v1/chat/completions", fields=once)
    assert [*after(again, session, policy)] == [*once]
    kept = [line.key for line in once]
    names = [line.key for line in asked.fields]
    assert [name for name in kept if name in names] == [name for name in names if name in kept]
    if session.header in asked.fields and asked.fields.one(session.header) not in (b"", b"None"):
        assert once.one(session.header) == asked.fields.one(session.header)
    if session.header in once and session.header not in asked.fields:
        assert script.Settings(policy, session).accepts(once.one(session.header))


# ---- settings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inject_session_derive": ["prefix"]}, "needs inject_session_key"),
        ({"inject_session_key": ["env:HOPLINT_NO_SUCH_KEY"]}, "no such environment variable"),
        ({"inject_session_derive": ["maybe"]}, "derive"),
        ({"inject_session_sources": ["path:nothing"]}, "sources"),
        ({"session_header": ["x-session-id"], "session_pattern": ["[0-9]{4}"]}, "session_pattern"),
    ],
)
def test_settings_that_cannot_be_used(options: dict, said: str) -> None:
    (mine,) = mitm.script_addons(SCRIPT)
    with taddons.context(mine) as context, pytest.raises(OptionsError, match=said):
        context.configure(mine, **options)


# ---- live


class Gateway:
    """Answers as the test says, in JSON or as a stream; keeps what it was asked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seen: list[tuple[bytes | None, dict]] = []
        self.failures = 0
        self.count = 0

    def __call__(self, connection: socket.socket, octets: bytes) -> None:
        head, _, content = octets.partition(b"\r\n\r\n")
        found = re.search(rb"(?im)^x-smg-routing-key: (.*?)\r?$", head)
        with self.lock:
            said = json.loads(content)
            self.seen.append((found and found[1], said))
            self.count += 1
            number = self.count
            fails, self.failures = self.failures > 0, max(0, self.failures - 1)
        if fails:
            connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}")
        elif said.get("stream"):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for piece in (
                {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "answer "}}]},
                {"choices": [{"index": 0, "delta": {"content": str(number)}}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            ):
                event = (
                    b"data: " + json.dumps({"object": "chat.completion.chunk", **piece}).encode() + b"\n\n"
                )
                connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            connection.sendall(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        else:
            message = {"role": "assistant", "content": f"answer {number}"}
            whole = {
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            }
            body = json.dumps(whole).encode()
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )


class Client:
    """An agent without any header for its session."""

    def __init__(self, proxy, first: str, *, stream: bool = False, key: str = "sk-canary-0123456789") -> None:
        self.proxy, self.stream, self.key = proxy, stream, key
        self.messages = [
            {"role": "system", "content": "You are an agent."},
            {"role": "user", "content": first},
        ]

    def turn(self, model: str = "m") -> int:
        content = json.dumps({"model": model, "stream": self.stream, "messages": self.messages}).encode()
        said = self.proxy.ask(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"
            b"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (self.key.encode(), len(content), content)
        )
        status = int(said.split(b" ", 2)[1])
        if status == 200:
            number = re.search(rb"answer (\d+)|content\": \"(\d+)\"", said)
            text = f"answer {(number[1] or number[2]).decode()}"
            self.messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "go on"}]
        return status


def ids_by_first_message(gateway: Gateway) -> dict[str, set[bytes | None]]:
    found: dict[str, set[bytes | None]] = {}
    for session, said in gateway.seen:
        found.setdefault(said["messages"][1]["content"], set()).add(session)
    return found


SMG_PROFILE = ("hoplint_profile=sglang-router", "hoplint_config=")


@pytest.mark.parametrize("stream", [False, True])
def test_eight_rollouts_of_one_prompt(stream: bool, proxied) -> None:
    gateway = Gateway()
    proxy = proxied("suite.py", gateway, SMG_PROFILE)
    clients = [Client(proxy, "fix the bug", stream=stream) for _ in range(8)]
    threads = [threading.Thread(target=lambda c=client: [c.turn() for _ in range(5)]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(gateway.seen) == 40
    # Each rollout is told by the answers that it has got: those of a longer history begin with the shorter one.
    heard = [[m["content"] for m in client.messages if m["role"] == "assistant"] for client in clients]
    by_rollout: dict[int, set[bytes | None]] = {}
    for session, said in gateway.seen:
        assert HEX.fullmatch(session)
        history = [each["content"] for each in said["messages"] if each["role"] == "assistant"]
        if history:
            owner = next(n for n, answers in enumerate(heard) if answers[: len(history)] == history)
            by_rollout.setdefault(owner, set()).add(session)
    assert len(by_rollout) == 8
    assert all(len(found) == 1 for found in by_rollout.values())
    assert len(set.union(*by_rollout.values())) == 8
    assert {session for session, _ in gateway.seen} == set.union(*by_rollout.values())


def test_shared_agents_retries_and_models(proxied, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = Gateway()
    proxy = proxied("suite.py", gateway, SMG_PROFILE)
    one, two = Client(proxy, "task one"), Client(proxy, "task two", stream=True)
    stranger = Client(proxy, "task one", key="sk-canary-another-0123456789")
    for _ in range(2):
        assert [one.turn(), two.turn()] == [200, 200]
    gateway.failures = 2
    assert [one.turn(), one.turn(), one.turn()] == [503, 503, 200]
    assert one.turn("another-model") == 200
    found = ids_by_first_message(gateway)
    assert [len(found["task one"]), len(found["task two"])] == [1, 1]
    assert found["task one"] != found["task two"]
    stranger.turn()
    assert gateway.seen[-1][0] not in found["task one"]
    flows = proxy.flows()
    journals = repr([flow.metadata.get(mitm.JOURNAL) for flow in flows])
    assert "inject-session" in journals
    assert "canary" not in journals + caplog.text + repr([flow.comment for flow in flows])


def test_prefix_is_the_same_everywhere(proxied, monkeypatch) -> None:
    monkeypatch.setenv("HOPLINT_SESSION_KEY", "canary-key")
    words = (*SMG_PROFILE, "inject_session_derive=prefix", "inject_session_key=env:HOPLINT_SESSION_KEY")
    gateway = Gateway()
    proxy = proxied("suite.py", gateway, words)
    clients = [
        Client(proxy, "a"),
        Client(proxy, "a"),
        Client(proxy, "b"),
        Client(proxy, "a", key="sk-another-key"),
    ]
    for client in clients:
        client.turn()
        client.turn("another")
    ids = [session for session, _ in gateway.seen]
    assert ids[0] == ids[1] == ids[2] == ids[3]
    assert len({ids[0], ids[4], ids[6]}) == 3
    assert ids[4] == ids[5]


def test_off_leaves_the_request_as_it_is(proxied) -> None:
    gateway = Gateway()
    proxy = proxied("inject_session.py", gateway, (*SMG_PROFILE, "inject_session_derive=off"))
    Client(proxy, "a").turn()
    assert gateway.seen[0][0] is None
    (flow,) = proxy.flows()
    assert mitm.JOURNAL not in flow.metadata


def test_a_caller_that_names_its_session_wins(proxied) -> None:
    gateway = Gateway()
    proxy = proxied("suite.py", gateway, SMG_PROFILE)
    content = b'{"model": "m", "messages": [{"role": "user", "content": "a"}]}'
    proxy.ask(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-SMG-Routing-Key: mine:1\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    assert gateway.seen[0][0] == b"mine:1"
    (flow,) = proxy.flows()
    assert not any(entry["addon"] == "inject-session" for entry in flow.metadata.get(mitm.JOURNAL, ()))


@pytest.mark.parametrize("named", [True, False])
def test_a_streamed_request_of_5_mb(named: bool, proxied, caplog) -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket, octets: bytes) -> None:
        requests.append(octets)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    words = (*SMG_PROFILE, "suite_tolerate=stream_large_bodies", "stream_large_bodies=1m")
    proxy = proxied("suite.py", answer, words)
    content = json.dumps(
        {"messages": [{"role": "user", "content": "x" * 5_000_000}], "session_id": "in-content-1"}
    ).encode()
    line = b"thread-id: thread-0001\r\n" if named else b""
    for _ in range(2):
        proxy.ask(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s"
            % (line, len(content), content)
        )
    assert [len(each.partition(b"\r\n\r\n")[2]) for each in requests] == [len(content)] * 2
    assert all((b"x-smg-routing-key: thread-0001" in each) is named for each in requests)
    said = [record for record in caplog.records if "is streamed" in record.getMessage()]
    assert len(said) == (0 if named else 1)
    for flow in proxy.flows():
        assert ("x-smg-routing-key" in flow.request.headers) is named, "what is recorded was sent"


def test_handshakes(proxied) -> None:
    heads: list[bytes] = []

    def answer(connection: socket.socket, octets: bytes) -> None:
        heads.append(octets)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    proxy = proxied("suite.py", answer, ("hoplint_profile=codex", "hoplint_config="))
    hello = (
        b"GET /backend-api/codex/responses HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for line in (b"", b"", b"thread-id: thread-0001\r\n", b"x-session-affinity: ses_00000001\r\n"):
        with proxy.connect() as connection:
            connection.sendall(hello % line)
            assert b"403" in connection.recv(65536)
    found = [re.findall(rb"(?im)^session-id: (.*?)\r?$", head) for head in heads]
    assert HEX.fullmatch(found[0][0])
    assert HEX.fullmatch(found[1][0])
    assert found[0] != found[1]
    assert found[2:] == [[], [b"ses_00000001"]], "thread-id is read there"


def test_a_client_that_hangs_up_after_the_end_of_the_answer(proxied) -> None:
    sessions: list[bytes] = []
    gate = threading.Event()

    def answer(connection: socket.socket, octets: bytes) -> None:
        sessions.append(re.search(rb"(?im)^x-smg-routing-key: (.*?)\r?$", octets)[1])
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        end = {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}],
        }
        event = b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n"
        connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        gate.wait(10)
        with contextlib.suppress(OSError):
            connection.sendall(b"0\r\n\r\n")

    proxy = proxied("suite.py", answer, SMG_PROFILE)
    first = [{"role": "user", "content": "a"}]
    histories = [
        first,
        [{"role": "user", "content": "a"}],
        [*first, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "b"}],
    ]
    for history in histories:
        content = json.dumps({"stream": True, "messages": history}).encode()
        with proxy.connect() as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
                % (len(content), content)
            )
            data = b""
            while b"[DONE]" not in data:
                data += connection.recv(65536)
    gate.set()
    assert sessions[0] != sessions[1]
    assert sessions[2] in sessions[:2]


def test_content_that_contradicts_the_header_is_aligned(proxied) -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket, octets: bytes) -> None:
        requests.append(octets)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    proxy = proxied("suite.py", answer)
    content = b'{"messages": [], "metadata": {"session_id": "conversation-00002"}}'
    proxy.ask(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-litellm-session-id: conversation-1\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    head, _, sent = requests[0].partition(b"\r\n\r\n")
    assert sent == content.replace(b"conversation-00002", b"conversation-1")
    assert b"Content-Length: %d\r\n" % len(sent) in head + b"\r\n"
    (flow,) = proxy.flows()
    assert [entry["field"] for entry in flow.metadata[mitm.JOURNAL]][-1] == ":content metadata.session_id"
    from conformance import recording

    (item,) = recording.read(str(proxy.recording))
    assert item.received.request.body is None
    assert item.received.request.fields.one("content-length") == b"%d" % len(content)


def test_what_fails_is_logged_and_the_message_stays(proxied, caplog, monkeypatch) -> None:
    gateway = Gateway()
    proxy = proxied("inject_session.py", gateway, SMG_PROFILE)
    mine = proxy.master.addons.get("inject-session")
    monkeypatch.setattr(mine, "found", lambda *_: 1 / 0)
    assert Client(proxy, "a").turn() == 200
    assert gateway.seen[0][0] is None
    assert "division by zero" in caplog.text

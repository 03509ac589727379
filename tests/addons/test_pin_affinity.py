"""pin-affinity: which token a request gets, and that no other session or upstream ever does."""

import contextlib
import json
import logging
import re
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import mitm, offline, recording
from conformance.lint import Linter
from conformance.lint import Settings as LintSettings
from conformance.message import Exchange, Fields, Request
from conformance.policy import PinAffinity, Policy, Session
from conformance.rule import load as load_rules

ADDONS = Path(__file__).parents[2] / "addons"
(addon,) = mitm.script_addons(ADDONS / "pin_affinity.py")
script = sys.modules[type(addon).__module__]

RULES = load_rules()
SESSION = Session()
ONE, TWO = b"http://one.example:80", b"http://two.example:80"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def request(*lines: str) -> Request:
    fields = Fields([tuple(map(str.encode, line.split(": ", 1))) for line in lines])
    return Request(method=b"POST", target=b"/v1/responses", fields=fields)


def placed(asked: Request, upstream: bytes):
    return script.place(asked.fields, upstream, SESSION, script.digest(*mitm.credentials(asked.fields)))


def at(*lines: str, upstream: bytes = ONE):
    return placed(request(*lines), upstream)


def sent(
    pins, *lines: str, upstream: bytes = ONE, is_mid_turn: bool | None = None, hold: int = 600
) -> list[tuple[bytes, bytes]]:
    asked = request(*lines)
    where = placed(asked, upstream)
    if where is None:
        return [*map(tuple, asked.fields)]
    changes = script.pinned(asked, where, pins, PinAffinity(hold=hold), SESSION, is_mid_turn=is_mid_turn)
    return [*map(tuple, mitm.changed(asked.fields, changes))]


# ---- tokens

TOKEN = (b"x-session-token", b"pod-1")


@pytest.mark.parametrize(
    ("lines", "upstream", "gets"),
    [
        (["x-session-id: s-1"], ONE, True),
        (["X-Session-Id: s-1"], ONE, True),
        (["x-session-id: s-1", "x-request-id: r-2"], ONE, True),
        (["x-session-id: s-2"], ONE, False),
        (["x-session-id: s-1"], TWO, False),
        (["x-session-id: s-1", "thread-id: t-2"], ONE, False),
        (["x-session-id: s-1", "x-claude-code-agent-id: a-2"], ONE, False),
        (["x-session-id: s-1", "Authorization: Bearer another"], ONE, False),
        (["x-session-id: s-1", "x-api-key: another"], ONE, False),
        ([], ONE, False),
        (["x-session-id: None"], ONE, False),
    ],
)
def test_whom_a_token_is_for(lines: list[str], upstream: bytes, gets: bool) -> None:
    pins = script.Pins(10, 60)
    pins.apply(script.issued(at("x-session-id: s-1"), "x-session-token", b"pod-1"))
    assert (TOKEN in sent(pins, *lines, upstream=upstream)) is gets


def test_the_clients_own_token_stays() -> None:
    pins = script.Pins(10, 60)
    pins.apply(script.issued(at("x-session-id: s-1"), "x-session-token", b"pod-1"))
    mine = (b"X-Session-Token", b"pod-9")
    assert sent(pins, "x-session-id: s-1", "X-Session-Token: pod-9") == [(b"x-session-id", b"s-1"), mine]


def test_another_sessions_token_is_dropped() -> None:
    pins = script.Pins(10, 60)
    pins.apply(script.issued(at("x-session-id: s-1"), "x-session-token", b"pod-1"))
    asked = ("x-session-id: s-2", "x-session-token: pod-1")
    assert sent(pins, *asked) == [(b"x-session-id", b"s-2")]
    assert TOKEN in sent(pins, *asked, upstream=TWO), "nobody knows whose it is there"
    # A sub-agent of the session it was issued to may send it.
    assert TOKEN in sent(pins, "x-session-id: s-1", "x-claude-code-agent-id: a", "x-session-token: pod-1")
    pins.apply(script.issued(at("x-session-id: s-2"), "x-session-token", b"pod-2"))
    assert sent(pins, *asked) == [(b"x-session-id", b"s-2"), (b"x-session-token", b"pod-2")]
    pins.apply(script.issued(at("x-session-id: s-2"), "x-session-token", b"pod-1"))
    assert TOKEN in sent(pins, *asked), "both are on one pod"


@pytest.mark.parametrize(("is_mid_turn", "gets"), [(True, True), (False, False), (None, False)])
def test_tokens_of_a_turn(is_mid_turn: bool | None, gets: bool) -> None:
    pins = script.Pins(10, 60)
    pins.apply(script.issued(at("thread-id: t-1"), "x-codex-turn-state", b"state-1"))
    assert (
        (b"x-codex-turn-state", b"state-1") in sent(pins, "thread-id: t-1", is_mid_turn=is_mid_turn)
    ) is gets


def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    pins = script.Pins(10, 60, clock)
    pins.apply(script.issued(at("x-session-id: s-1"), "x-session-token", b"pod-1"))
    for clock.now, gets in ((50, True), (100, True), (161, False)):
        assert (TOKEN in sent(pins, "x-session-id: s-1")) is gets


def test_memory_is_bounded() -> None:
    pins = script.Pins(10, 60)
    for n in range(100):
        pins.apply(script.issued(at(f"x-session-id: s-{n}"), "x-session-token", b"pod-%d" % n))
        pins.apply(script.held(at(f"x-session-id: s-{n}"), {"chatgpt-account-id": b"a"}))
    assert [len(kept) for kept in (pins._pins, pins._owners, pins._holds)] == [10, 10, 10]
    for n in range(1000):
        pins.apply(script.issued(at(f"x-session-id: s-{n}"), "x-session-token", b"pod"))
    assert max(map(len, pins._owners.values())) == script.OWNERS
    assert not pins.is_foreign(at("x-session-id: new"), "x-session-token", b"pod")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["issue", "ask"]),
        st.sampled_from([ONE, TWO]),
        st.sampled_from(["s-1", "s-2"]),
        st.sampled_from(["", "Bearer a", "Bearer b"]),
        st.sampled_from([None, b"x", b"y"]),
    ),
    max_size=30,
)


@given(STEPS)
def test_a_token_never_goes_astray(steps: list) -> None:
    pins = script.Pins(100, 60)
    issued: dict[tuple, bytes] = {}
    for number, (step, upstream, session, credential, token) in enumerate(steps):
        lines = [f"x-session-id: {session}", *([f"Authorization: {credential}"] if credential else [])]
        who = (upstream, session, credential)
        if step == "issue":
            issued[who] = (token or b"t") + b"-%d" % number
            pins.apply(script.issued(at(*lines, upstream=upstream), "x-session-token", issued[who]))
            continue
        given_ = [f"x-session-token: {token.decode()}"] if token else []
        once = sent(pins, *lines, *given_, upstream=upstream)
        tokens = [value for name, value in once if name == b"x-session-token"]
        assert tokens == ([token] if token else [issued[who]] if who in issued else [])
        assert once[: len(lines)] == [*map(tuple, request(*lines).fields)]
        again = sent(pins, *(f"{name.decode()}: {value.decode()}" for name, value in once), upstream=upstream)
        assert again == once


# ---- accounts


def test_after_1011_a_session_stays_on_its_account() -> None:
    clock = Clock()
    pins = script.Pins(10, 6000, clock)
    mine = ["session-id: s-1", "Authorization: Bearer a", "chatgpt-account-id: acct-1"]
    other = [*mine[:2], "chatgpt-account-id: acct-2"]
    pins.apply(script.held(at(*mine), {"chatgpt-account-id": b"acct-1"}))
    assert (b"chatgpt-account-id", b"acct-1") in sent(pins, *other)
    assert (b"chatgpt-account-id", b"acct-2") in sent(pins, *other, upstream=TWO)
    assert (b"chatgpt-account-id", b"acct-2") in sent(pins, "session-id: s-2", *other[1:])
    stranger = [mine[0], "Authorization: Bearer canary-secret", "chatgpt-account-id: acct-2"]
    with pytest.raises(mitm.Refused, match="stays there") as refused:
        sent(pins, *stranger)
    assert refused.value.status == 502
    assert "canary" not in str(refused.value)
    assert sent(pins, *mine) == [*map(tuple, request(*mine).fields)]
    clock.now = 601
    assert (b"chatgpt-account-id", b"acct-2") in sent(pins, *stranger)


# ---- the rules that name it

PROMISED = (
    "affinity-token-not-replayed",
    "affinity-token-used-by-other-session",
    "session-moved-after-close-1011",
)


@pytest.mark.parametrize("name", PROMISED)
def test_the_fix_fixes(name: str) -> None:
    rule = RULES[name]
    for example in rule.examples:
        items = [e for e in recording.read("-", stdin=example.transcript.encode()) if isinstance(e, Exchange)]
        with offline.loaded(["pin-affinity"], isolated=True) as addons:
            after = []
            for item in items:
                flow = mitm.flow_of(item)
                if not any(entry["op"] == "refuse" for entry in addons.run(flow)):
                    after.append(mitm.exchange_after(item, flow))
            assert addons.errors == []
        if not example.bad:
            for before, now in zip(items, after, strict=True):
                assert [*before.request.fields] == [*now.request.fields]
        linter = Linter(RULES, Policy(), LintSettings(), "example")
        for item in after:
            linter.take(item)
        linter.finish()
        assert name not in {finding.rule for finding in linter.findings}


# ---- live

CANARY = b"canary-token-0123456789"


def post(*lines: bytes, content: bytes = b"{}") -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return (
        b"POST /v1/responses HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s"
        % (head, len(content), content)
    )


class Upstream:
    def __init__(self, *lines: bytes) -> None:
        self.head = b"".join(line + b"\r\n" for line in lines)
        self.requests: list[bytes] = []

    def __call__(self, connection: socket.socket, octets: bytes) -> None:
        self.requests.append(octets)
        connection.sendall(b"HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\n{}" % self.head)

    def tokens(self, name: bytes) -> list[list[bytes]]:
        return [
            re.findall(rb"(?im)^%s: (.*?)\r?$" % name, each.partition(b"\r\n\r\n")[0])
            for each in self.requests
        ]


@pytest.mark.parametrize("words", [(), ("session_tokens=x-place", "session_tokens=x-session-token")])
def test_a_token_comes_back(words: tuple[str, ...], proxied, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    name = b"x-place" if words else b"x-session-token"
    upstream = Upstream(name + b": " + CANARY)
    proxy = proxied("suite.py", upstream, words)
    for session in (b"s-1", b"s-1", b"s-2"):
        answer = proxy.ask(post(b"x-session-id: " + session))
        assert CANARY in answer
    assert upstream.tokens(name) == [[], [CANARY], []]
    flows = proxy.flows()
    said = repr([flow.metadata for flow in flows]) + caplog.text + repr([flow.comment for flow in flows])
    assert "sha256-" in said
    assert CANARY.decode() not in said


def test_a_turn_of_codex(proxied) -> None:
    upstream = Upstream(b"x-codex-turn-state: state-1")
    proxy = proxied("suite.py", upstream, ("hoplint_profile=codex", "hoplint_config="))

    def ask(*items: dict) -> None:
        history = [{"role": "user", "content": "go"}, *items]
        proxy.ask(post(b"thread-id: t-0000001", content=json.dumps({"input": history}).encode()))

    call = {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "a.py"}
    ask()
    ask(call, result)
    ask(call, result, {"role": "assistant", "content": "done"}, {"role": "user", "content": "next"})
    assert upstream.tokens(b"x-codex-turn-state") == [[], [b"state-1"], []]


def test_a_token_that_was_never_valid_is_not_kept(proxied) -> None:
    def answer(connection: socket.socket, octets: bytes) -> None:
        seen.append(octets)
        connection.sendall(b"HTTP/1.1 503 No\r\nx-session-token: t\r\nContent-Length: 0\r\n\r\n")

    seen: list[bytes] = []
    proxy = proxied("pin_affinity.py", answer)
    for _ in range(2):
        proxy.ask(post(b"x-session-id: s-1"))
    assert all(b"x-session-token" not in each for each in seen)


def test_sessions_derived_from_the_content(proxied) -> None:
    upstream = Upstream(b"x-session-token: pod-1")
    proxy = proxied("suite.py", upstream, ("hoplint_profile=sglang-router", "hoplint_config="))
    for session in (b"conversation-1", b"conversation-1", b"conversation-2"):
        proxy.ask(post(content=b'{"input": "go", "session_id": "%s"}' % session))
    assert upstream.tokens(b"x-session-token") == [[], [b"pod-1"], []]


HELLO = (
    b"GET /backend-api/codex/responses HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"session-id: s-0000001\r\nAuthorization: Bearer %s\r\nchatgpt-account-id: %s\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_sockets_that_break_off(proxied, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    codes = iter([1011, 1011, 1000, 1000])
    heads: list[bytes] = []

    def answer(connection: socket.socket, octets: bytes) -> None:
        heads.append(octets)
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"x-codex-turn-state: %s\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            b"\x88\x02%s" % (CANARY, next(codes).to_bytes(2))
        )
        connection.recv(100)  # the close in return

    proxy = proxied("suite.py", answer, ("hoplint_profile=codex", "hoplint_config="))

    def connect(credential: bytes, account: bytes) -> bytes:
        with proxy.connect() as connection:
            connection.sendall(HELLO % (credential, account))
            data = b""
            with contextlib.suppress(ConnectionResetError):  # both ends may close at once
                while piece := connection.recv(65536):
                    data += piece
                    if b"\x88\x02" in data:
                        connection.sendall(b"\x88\x82\x00\x00\x00\x00" + data[-2:])
            return data

    assert b"101" in connect(b"canary-a", b"acct-1")
    assert b"101" in connect(b"canary-a", b"acct-2")
    assert connect(b"canary-b", b"acct-2").startswith(b"HTTP/1.1 502")
    assert b"101" in connect(b"canary-a", b"acct-1")
    assert b"101" in connect(b"canary-b", b"acct-2"), "it has ended well"
    accounts = [re.search(rb"chatgpt-account-id: (.*?)\r", head)[1] for head in heads]
    states = [re.findall(rb"x-codex-turn-state: (.*?)\r", head) for head in heads]
    assert accounts == [b"acct-1", b"acct-1", b"acct-1", b"acct-2"]
    assert states == [[], [CANARY], [CANARY], []]
    said = repr([flow.metadata for flow in proxy.flows()]) + caplog.text
    assert "canary" not in said


def test_what_fails_is_logged_and_the_message_stays(proxied, caplog, monkeypatch) -> None:
    upstream = Upstream(b"x-session-token: " + CANARY)
    proxy = proxied("pin_affinity.py", upstream)
    proxy.ask(post(b"x-session-id: s-1"))
    monkeypatch.setattr(proxy.master.addons.get("pin-affinity"), "pinned", lambda *_, **__: 1 / 0)
    proxy.ask(post(b"x-session-id: s-1"))
    assert len(upstream.requests) == 2
    assert "pin-affinity: failed on the request" in caplog.text

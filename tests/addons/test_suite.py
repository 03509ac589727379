import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import taddons, tflow

from conformance import mitm
from conformance.addon import addons

ADDONS = Path(__file__).parents[2] / "addons"
SUITE = ADDONS / "suite.py"
(addon,) = mitm.script_addons(SUITE)
suite = sys.modules[type(addon).__module__]

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


WATCHERS = {"lint-flows", "record-flows", "record-octets"}
"""Addons that change nothing on the wire: who wants them loads them beside the suite."""


def test_order_names_every_addon_there_is() -> None:
    assert sorted(suite.ORDER) == sorted(addons().keys() - {"suite"} - WATCHERS)


def test_order_is_documented() -> None:
    places = [suite.__doc__.find(f"{number}. {name},") for number, name in enumerate(suite.ORDER, 1)]
    assert -1 not in places
    assert places == sorted(places)


def test_addons_are_called_by_their_scripts_names() -> None:
    for name, found in addons().items():
        assert [each.name for each in mitm.script_addons(found.path)] == [name]


def test_all_addons_run(proxied) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Type: text/event-stream\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(head + b"Content-Length: 9\r\n\r\ndata: 1\n\n"))
    assert proxy.ask(GET).count(b"Server: ") == 1
    (flow,) = proxy.flows()
    assert flow.response.raw_content == b"data: 1\n\n"


def test_an_addon_can_be_left_out(proxied) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(head), suite_without=["dedupe-headers"])
    assert proxy.ask(GET) == head


def test_settings_come_from_the_file_and_the_command_line_wins(proxied, tmp_path) -> None:
    (tmp_path / "hoplint.toml").write_text(
        '[policy.dedupe-headers]\nkeep-last = ["server", "etag"]\n[policy.suite]\nwithout = []\n'
    )
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nETag: 1\r\nETag: 2\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(head))
    assert proxy.ask(GET) == b"HTTP/1.1 200 OK\r\nServer: b\r\nETag: 2\r\nContent-Length: 0\r\n\r\n"
    proxy.stop()
    proxy = proxied("suite.py", lambda c, _: c.sendall(head), dedupe_headers_keep_last=["etag"])
    assert proxy.ask(GET) == b"HTTP/1.1 200 OK\r\nServer: a\r\nETag: 2\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upstream_auth=a:b"], "suite: upstream_auth works against the addons"),
        (["modify_headers=/~s/Server/x"], "suite: modify_headers works against the addons"),
        (["stream_large_bodies=1m"], "suite: stream_large_bodies works against"),
        (["stickyauth=."], "suite: stickyauth works against"),
        (["dedupe_headers_keeplast=server"], "did you mean dedupe_headers_keep_last"),
        (["dedup_headers_once=server"], "did you mean dedupe_headers_once"),
        (["stream_events_keep"], "stream_events_keep: takes one value, not 0"),
        (["stream_events_keep=-1"], "greater than or equal to 0"),
        (["suite_without=dedupe"], "there is no addon dedupe"),
    ],
)
def test_does_not_start(words: list[str], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("suite.py", words=words, save_stream_file=None)
    assert said in caplog.text


@pytest.mark.parametrize("scripts", [["suite.py", "dedupe_headers.py"], ["dedupe_headers.py", "suite.py"]])
def test_does_not_start_with_an_addon_twice(scripts: list[str], proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("suite.py", scripts=[str(ADDONS / name) for name in scripts], save_stream_file=None)
    assert "already exists" in caplog.text or "loaded 2 times" in caplog.text


def test_bad_settings_file_stops_mitmdump(tmp_path, mitmdump) -> None:
    (tmp_path / "hoplint.toml").write_text("[policy.dedupe-headers]\nkep-last = []\n")
    found = mitmdump("-s", str(SUITE), cwd=tmp_path)
    assert found.returncode == 1
    line = "hoplint.toml: policy.dedupe-headers.kep-last: there is no such key; did you mean keep-last?"
    assert line in found.stdout + found.stderr


def test_bad_option_stops_mitmdump(tmp_path, mitmdump) -> None:
    found = mitmdump("-s", str(SUITE), "--set", "stream_events_keep", cwd=tmp_path)
    assert found.returncode == 1
    assert "stream_events_keep: takes one value, not 0" in found.stdout + found.stderr


def test_conflict_can_be_tolerated(proxied) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied(
        "suite.py",
        lambda c, _: c.sendall(head),
        modify_headers=["/~s/X-Added/1"],
        suite_tolerate=["modify_headers"],
    )
    assert proxy.ask(GET).count(b"Server: ") == 1


def test_conflict_is_refused_while_it_runs(proxied) -> None:
    proxy = proxied("suite.py", lambda c, _: None)
    proxy.try_to_set(upstream_auth="a:b")
    assert proxy.master.options.upstream_auth is None


def test_hoplint_proxy_serves_and_ends_with_its_signal(proxied, tmp_path) -> None:
    # `proxied` is only the server here: the proxy before it is a process of its own.
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 0\r\n\r\n"
    server = proxied("suite.py", lambda c, _: c.sendall(head)).server
    words = ["proxy", "--profile", "generic", "--listen-host", "127.0.0.1", "-p", "0"]
    words += ["--mode", f"reverse:http://127.0.0.1:{server.port}", "--set", f"confdir={tmp_path / 'confdir'}"]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "conformance", *words], stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        try:
            line = next(line for line in process.stdout if "listening at" in line)
            port = int(re.search(r":(\d+)\.?\s*$", line)[1])
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.settimeout(10)
                connection.sendall(GET)
                assert connection.recv(65536).count(b"Server: ") == 1
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


# ---- heads that are remembered

CONFLICTS = ("modify_headers", "map_remote"), ("stickyauth", "stream_large_bodies", "upstream_auth")
LINES = (
    (b"Host", b"gateway.example"),
    (b"Connection", b"keep-alive"),
    (b"Keep-Alive", b"timeout=5"),
    (b"Authorization", b"Bearer sk-verysecret"),
    (b"X-Request-Id", b"req-1"),
    (b"Content-Length", b"2"),
)


@pytest.fixture(scope="module")
def loaded() -> Iterator[taddons.context]:
    """The suite by itself, with LiteLLM's profile."""
    with taddons.context() as context:
        for name in CONFLICTS[0]:
            context.options.add_option(name, Sequence[str], [], "")
        for name in CONFLICTS[1]:
            context.options.add_option(name, str, "", "")
        context.options.set("hoplint_profile=litellm", "hoplint_config=", defer=True)
        context.master.addons.add(addon)
        addon.configure(set())
        yield context


def sent(lines: Sequence[tuple[bytes, bytes]], path: bytes = b"/v1/chat/completions") -> http.HTTPFlow:
    """A request behind the addons."""
    flow = tflow.tflow()
    flow.live, flow.request.data.path, flow.request.data.method = True, path, b"POST"
    # Other octets each time, as they come from a socket.
    flow.request.headers.fields = tuple((bytes(bytearray(n)), bytes(bytearray(v))) for n, v in lines)
    asyncio.run(addon.requestheaders(flow))
    return flow


def left(flow: http.HTTPFlow) -> tuple[object, ...]:
    status = flow.response.status_code if flow.response else None
    return flow.request.headers.fields, flow.metadata, status, mitm.callers.get(flow)


def with_value(lines: Sequence[tuple[bytes, bytes]], name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    return [(n, value if n == name else v) for n, v in lines]


def test_every_addon_says_what_decides_on_heads(loaded) -> None:
    for part in addon.parts:
        assert hasattr(part, "besides") == hasattr(part, "requestheaders")


NAMES = (
    "Host", "host", "Connection", "Keep-Alive", "TE", "Upgrade", "Sec-WebSocket-Key", "Transfer-Encoding", "Via",
    "Content-Length", "X-Request-Id", "traceparent", "Authorization", "x-api-key", "x-litellm-session-id",
    "x-session-id", "x-litellm-trace-id", "thread-id", "x-codex-turn-state", "anthropic-beta", "OpenAI-Beta", "X-A",
    "User-Agent",
)  # fmt: skip
VALUES = (
    "", "1", "2", "close", "keep-alive, x-a", "trailers", "chunked", "1.1 a, 1.1 a", "None", "Bearer None",
    "Bearer sk-verysecret", "bearer sk-another", "sk-ant-oat01-abcdefgh", "conversation-1", "conversation-2",
    "oauth-2025-04-20", "a, a", "codex/1",
)  # fmt: skip


@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heads=st.lists(
        st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6),
        min_size=1,
        max_size=2,
    ),
    path=st.sampled_from([b"/v1/chat/completions", b"/v1/messages", b"/v1/models", b"/key/info?key=sk-a"]),
)
def test_what_is_remembered_is_what_the_addons_make(heads, path, loaded) -> None:
    """Of the same head, and of one that differs in what is new each time."""
    heads = [[(name.encode(), value.encode()) for name, value in head] for head in heads]
    heads += [with_value(head, name, b"7") for head in heads for name in (b"Content-Length", b"X-Request-Id")]
    addon.heads.clear()
    for head in heads * 3:
        known = dict(addon.heads._made), dict(addon.heads._seen)
        one = left(sent(head, path))
        addon.heads.clear()
        assert one == left(sent(head, path))
        addon.heads._made.update(known[0])
        addon.heads._seen.update(known[1])
        sent(head, path)


def test_what_is_new_each_time_is_passed_on(loaded, monkeypatch) -> None:
    addon.heads.clear()
    for _ in range(2):
        sent(LINES)
    monkeypatch.setattr(addon.parts[1], "requestheaders", None)
    assert len(addon.heads._made) == 1
    flow = sent(with_value(with_value(LINES, b"X-Request-Id", b"req-2"), b"Content-Length", b"300"))
    assert (b"X-Request-Id", b"req-2") in flow.request.headers.fields
    assert (b"Content-Length", b"300") in flow.request.headers.fields
    assert b"Connection" not in dict(flow.request.headers.fields)
    received = flow.metadata[mitm.RECEIVED]["request"]
    assert received[4:] == [[b"X-Request-Id", b"req-2"], [b"Content-Length", b"300"]]
    assert b"verysecret" not in repr(flow.metadata).encode()
    assert len(addon.heads._made) == 1


def test_flows_share_no_journal(loaded) -> None:
    addon.heads.clear()
    *_, one, other = [sent(LINES) for _ in range(4)]
    one.metadata[mitm.JOURNAL][0]["why"] = "changed"
    one.metadata[mitm.JOURNAL][0]["before"].append("changed")
    one.metadata[mitm.JOURNAL].append({})
    one.metadata[mitm.RECEIVED]["request"][0][1] = b"changed"
    assert left(sent(LINES)) == left(other)


@pytest.mark.parametrize("name", [b"Host", b"Authorization"])
def test_another_value_is_another_head(name: bytes, loaded) -> None:
    addon.heads.clear()
    for _ in range(3):
        sent(LINES)
    assert (
        dict(sent(with_value(LINES, name, b"Bearer None")).request.headers.fields).get(name)
        != dict(LINES)[name]
    )


def test_a_key_that_changes_is_put_in(loaded, monkeypatch) -> None:
    lines = [line for line in LINES if line[0] != b"Authorization"]
    loaded.options.update(auth_data_key=["env:HOPLINT_TEST_KEY"], inject_auth_hosts=["*"])
    try:
        for key in ("sk-first-key", "sk-second-key"):
            monkeypatch.setenv("HOPLINT_TEST_KEY", key)
            for _ in range(3):
                assert key in str(sent(lines).request.headers.fields)
    finally:
        loaded.options.update(auth_data_key=[], inject_auth_hosts=[])


def test_new_settings_hold_for_known_heads(loaded) -> None:
    for _ in range(3):
        assert b"Keep-Alive" not in dict(sent(LINES).request.headers.fields)
    loaded.options.update(strip_hop_headers_from_requests=["user-agent", "x-request-id"])
    try:
        assert b"X-Request-Id" not in dict(sent(LINES).request.headers.fields)
    finally:
        loaded.options.update(strip_hop_headers_from_requests=[])


def test_what_failed_once_is_tried_again(loaded, monkeypatch) -> None:
    addon.heads.clear()
    module = sys.modules[type(addon.parts[2]).__module__]
    with monkeypatch.context() as patch:
        patch.setattr(module, "filtered", lambda *_: 1 / 0)
        for _ in range(3):
            sent(LINES)
    assert not addon.heads._made


def test_each_handshake_is_a_conversation_of_its_own(loaded) -> None:
    lines = [(b"Host", b"a"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    ids = {dict(sent(lines).request.headers.fields)[b"x-litellm-session-id"] for _ in range(4)}
    assert len(ids) == 4


def test_nothing_is_remembered_while_tokens_are(loaded, monkeypatch) -> None:
    addon.heads.clear()
    (pin,) = [part for part in addon.parts if part.name == "pin-affinity"]
    monkeypatch.setattr(pin, "pins", type(pin.pins)(10, 60))
    pin.pins.apply(["issued", ["00"] * 4, "x-session-token", "00"])
    for _ in range(3):
        sent(LINES)
    assert not addon.heads._made


def test_only_so_many_heads_are_remembered(loaded) -> None:
    addon.heads.clear()
    for number in range(300):
        for _ in range(2):
            sent([*LINES, (b"X-A", b"%d" % number)])
    assert len(addon.heads._made) <= addon.heads.SIZE
    sent([*LINES, (b"X-A", b"x" * 20_000)])
    sent([*LINES, (b"X-A", b"x" * 20_000)])
    sent(LINES, b"/" + b"x" * 20_000)
    sent(LINES, b"/" + b"x" * 20_000)
    assert "x" * 20_000 not in repr(list(addon.heads._made))

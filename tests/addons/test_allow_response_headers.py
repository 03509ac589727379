import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import mitm
from conformance.known import ALWAYS_ALLOWED
from conformance.message import Fields, Request, Response
from conformance.policy import ResponseHeaders, Routing
from conformance.settings import load

SCRIPT = Path(__file__).parents[2] / "addons" / "allow_response_headers.py"
(addon,) = mitm.script_addons(SCRIPT)
withheld = sys.modules[type(addon).__module__].withheld

PROVIDER = "api.openai.com"
CANARY = "canary-7f3a9c"


def lines(text: str) -> list[tuple[bytes, bytes]]:
    pairs = [line.strip().encode().partition(b": ") for line in text.split("|") if line.strip()]
    return [(name, value) for name, _, value in pairs]


def after(
    text: str,
    host: str | None = None,
    said: str = "gateway.example",
    routing: Routing | None = None,
    **policy,
) -> list[tuple[bytes, bytes]]:
    request = Request(fields=Fields(lines(f"Host: {said}")), method=b"GET", target=b"/")
    response = Response(fields=Fields(lines(text)), code=b"200")
    changes = withheld(request, response, ResponseHeaders(**policy), routing or Routing(), host)
    return [tuple(line) for line in mitm.changed(response.fields, changes)]


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("Content-Type: text/event-stream | Transfer-Encoding: chunked | Date: d",) * 2,
        ("Retry-After: 2 | WWW-Authenticate: Bearer | Allow: GET | Location: /a",) * 2,
        ("Upgrade: websocket | Connection: Upgrade | Sec-WebSocket-Accept: x",) * 2,
        ("X-Request-Id: r | openai-processing-ms: 3 | OPENAI-Version: 1",) * 2,
        ("Server: a | X-Powered-By: b | Set-Cookie: c=1 | Via: 1.1 x", ""),
        ("Access-Control-Allow-Origin: * | Strict-Transport-Security: x", ""),
    ],
)
def test_list(received: str, sent: str) -> None:
    assert after(received, allow=("x-request-id", "openai-*")) == lines(sent)


def test_without_a_list() -> None:
    received = (
        "Server: a | Set-Cookie: c=1 | Access-Control-Allow-Origin: * | X-Frame-Options: DENY | Alt-Svc: x |"
        " X-Anything: 1"
    )
    assert after(received, PROVIDER) == lines("Server: a | X-Anything: 1")
    assert after(received, "10.0.0.1") == lines(received)
    assert after(received, "10.0.0.1", routing=Routing(providers=("*",))) == lines(
        "Server: a | X-Anything: 1"
    )
    assert after(f"{received} | openai-organization: o", "10.0.0.1") == lines(
        "Server: a | X-Anything: 1 | openai-organization: o"
    )


def test_internal_headers() -> None:
    received = (
        "x-litellm-model-id: m | x-litellm-model-api-base: https://a.example | x-litellm-response-cost: 1"
    )
    assert after(received) == lines("x-litellm-model-id: m")
    assert after(received, allow=("x-litellm-*",)) == lines("x-litellm-model-id: m")
    assert after(received, allow=("x-litellm-*", "x-litellm-response-cost")) == lines(
        "x-litellm-model-id: m | x-litellm-response-cost: 1"
    )
    assert after(received, routing=Routing(behind_gateway=True)) == lines(received)


def test_addresses_inside() -> None:
    received = "X-Worker: http://10.42.0.17:30000 | X-Model: 10.0.1"
    assert after(received) == lines("X-Model: 10.0.1")
    assert after(received, allow=("x-*",)) == lines("X-Model: 10.0.1")
    assert after(received, allow=("x-worker", "x-model")) == lines(received)
    assert after(received, said="127.0.0.1:4000") == lines(received)


@pytest.mark.parametrize("allow", [(), ("*",)])
def test_credentials_never_come_back(allow) -> None:
    assert after("Authorization: Bearer x | X-Api-Key: y | X-A: 1", allow=allow) == lines("X-A: 1")


NAMES = ["Server", "Set-Cookie", "Content-Type", "content-length", "X-Request-ID", "x-litellm-model-api-base",
         "Access-Control-Allow-Origin", "Connection", "Transfer-Encoding", "Retry-After", "X-A",
         "Authorization"]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["1", "http://10.0.0.1"])), max_size=12),
    st.sampled_from([(), ("x-request-id",), ("*",)]),
    st.sampled_from([None, PROVIDER]),
)
def test_properties(pairs, allow, host) -> None:
    received = " | ".join(f"{name}: {value}" for name, value in pairs)
    sent = after(received, host, allow=allow)
    assert after(" | ".join(f"{n.decode()}: {v.decode()}" for n, v in sent), host, allow=allow) == sent
    left = iter(lines(received))
    assert all(line in left for line in sent)
    for name, value in lines(received):
        assert (name, value) in sent or name.lower().decode() not in ALWAYS_ALLOWED


@pytest.mark.parametrize(
    ("profile", "kept"),
    [
        ("litellm", "x-litellm-model-id"),
        ("sglang-router", "x-smg-error-code"),
        ("openai", "x-ratelimit-remaining-tokens"),
        ("anthropic", "anthropic-ratelimit-tokens-reset"),
        ("codex", "x-codex-turn-state"),
        ("bedrock", "x-amzn-requestid"),
        ("openrouter", "x-generation-id"),
    ],
)
def test_profiles(profile: str, kept: str) -> None:
    policy = load(isolated=True, profile=profile).settings.policy.response_headers
    received = f"Content-Type: text/event-stream | {kept}: x | Set-Cookie: a=1 | X-Backend: b"
    assert after(received, allow=policy.allow, internal=policy.internal) == lines(
        f"Content-Type: text/event-stream | {kept}: x"
    )


@pytest.mark.parametrize(
    ("profile", "kept"),
    [("litellm", True), ("sglang-router", True), ("sglang", True), ("vllm", True), ("openai", False)],
)
def test_cors_headers_are_a_servers_own_and_a_providers_not(profile: str, kept: bool) -> None:
    policy = load(isolated=True, profile=profile).settings.policy.response_headers
    received = "Access-Control-Allow-Origin: * | Access-Control-Expose-Headers: *"
    assert after(received, allow=policy.allow, internal=policy.internal) == lines(received if kept else "")


GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_live(proxied) -> None:
    response = (
        b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Type: text/event-stream\r\nSet-Cookie: sid=" + CANARY.encode()
        + b"\r\nX-Request-Id: r\r\nContent-Length: 9\r\n\r\ndata: 1\n\n"
    )  # fmt: skip
    proxy = proxied("suite.py", lambda c, _: c.sendall(response), response_headers_allow=["x-request-id"])
    assert proxy.ask(GET) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Request-Id: r\r\nContent-Length: 9\r\n\r\ndata: 1\n\n"
    )
    (flow,) = proxy.flows()
    assert [entry["field"] for entry in flow.metadata[mitm.JOURNAL] if entry["part"] == "response"] == [
        "Server",
        "Set-Cookie",
    ]
    assert CANARY not in repr(flow.metadata)


def test_fails_closed(proxied, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(mitm, "response_head", broken)
    response = b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=" + CANARY.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
    proxy = proxied("allow_response_headers.py", lambda c, _: c.sendall(response))
    got = proxy.ask(GET)
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"allow-response-headers failed on the response" in got
    assert CANARY not in got.decode() + caplog.text + repr(proxy.flows()[0].metadata)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["response_headers_allow=a b"], "is not a field name"),
        (["response_headers_allow=x-*-id"], "a * stands at the end"),
        (["response_headers_alow=x"], "did you mean response_headers_allow"),
    ],
)
def test_bad_settings_stop_the_start(words: list[str], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("allow_response_headers.py", words=words, save_stream_file=None)
    assert said in caplog.text

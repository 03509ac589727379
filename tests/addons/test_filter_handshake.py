import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import mitm
from conformance.message import Fields, Message, Request, Response
from conformance.policy import FilterHandshake
from conformance.settings import load

SCRIPT = Path(__file__).parents[2] / "addons" / "filter_handshake.py"
(addon,) = mitm.script_addons(SCRIPT)
filtered = sys.modules[type(addon).__module__].filtered

OWN = "Host: a | Upgrade: websocket | Connection: Upgrade | Sec-WebSocket-Version: 13 | Sec-WebSocket-Key: k1"
FRAME = b"\x81\x82\x00\x00\x00\x00hi"
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
ECHO = b"\x81\x02hi\x88\x02\x03\xe8"


def lines(text: str) -> list[tuple[bytes, bytes]]:
    pairs = [line.strip().encode().partition(b": ") for line in text.split("|") if line.strip()]
    return [(name, value) for name, _, value in pairs]


def request(text: str) -> Request:
    return Request(fields=Fields(lines(text)), method=b"GET", target=b"/v1/responses")


def response(text: str, status: int = 101) -> Response:
    return Response(fields=Fields(lines(text)), code=b"%d" % status)


def after(message: Message, policy: FilterHandshake | None = None) -> list[tuple[bytes, bytes]]:
    return [
        tuple(line) for line in mitm.changed(message.fields, filtered(message, policy or FilterHandshake()))
    ]


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        (OWN, OWN),
        (f"{OWN} | Content-Type: application/json | Content-Length: 0 | Accept: text/event-stream", OWN),
        (f"{OWN} | TE: trailers | Keep-Alive: x | Expect: 100-continue | Idempotency-Key: x", OWN),
        (f"{OWN} | Connection: keep-alive", OWN),
        (OWN.replace("Upgrade |", "keep-alive, Upgrade, X-A |") + " | X-A: 1", OWN),
        (f"{OWN} | sec-websocket-key: k2 | Sec-WebSocket-Version: 13", OWN),
        # what browsers and aiohttp send themselves
        (f"{OWN} | Accept: */* | Accept-Encoding: gzip | Cookie: a=1 | Origin: https://a",) * 2,
        (f"{OWN} | OpenAI-Beta: x | session_id: s | Authorization: Bearer y | X-A: 1",) * 2,
        (f"{OWN} | Sec-WebSocket-Extensions: a | Sec-WebSocket-Extensions: b | Sec-WebSocket-Protocol: p",) * 2,
        # content that would be taken for frames
        (f"{OWN} | Content-Length: 5 | Content-Type: x", f"{OWN} | Content-Length: 5"),
        # no handshake
        ("Host: a | Content-Type: x | Accept: text/event-stream | Connection: keep-alive",) * 2,
    ],
)  # fmt: skip
def test_requests(received: str, sent: str) -> None:
    assert after(request(received)) == lines(sent)


def test_policy() -> None:
    received = request(
        f"{OWN} | Sec-WebSocket-Extensions: x | Sec-WebSocket-Protocol: p | A: 1 | Accept: x/y"
    )
    assert after(received, FilterHandshake(drop=("*",), keep=("a",))) == lines(
        f"{OWN} | Sec-WebSocket-Extensions: x | Sec-WebSocket-Protocol: p | A: 1"
    )
    assert after(received, FilterHandshake(keep=("accept",))) == [tuple(line) for line in received.fields]
    assert after(received, FilterHandshake(drop_extensions=True, drop_subprotocols=True)) == lines(
        f"{OWN} | A: 1"
    )


def test_what_codex_lb_forwarded() -> None:
    """The handshake of codex-lb 1.20.1 becomes that of 1.24.0, but for the beta token and the persona."""
    received = request(
        f"{OWN} | Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits |"
        " content-type: application/json | openai-beta: responses_websockets=2026-02-06 |"
        " accept: text/event-stream | accept-encoding: gzip, deflate | connection: keep-alive |"
        " session_id: sess-0001 | originator: my-sdk | x-stainless-lang: python | x-request-id: r |"
        " Authorization: Bearer y | chatgpt-account-id: acct-1 | User-Agent: my-sdk/1.0 | CF-Visitor: {} |"
        " cdn-loop: cloudflare | X-Forwarded-For: 10.0.0.1 | x-codex-turn-state: t | x-codex-window-id: w"
    )
    for profile in ("codex", "openai-responses-ws"):
        policy = load(isolated=True, profile=profile).settings.policy.filter_handshake
        assert after(received, policy) == lines(
            f"{OWN} | Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits |"
            " openai-beta: responses_websockets=2026-02-06 | session_id: sess-0001 | originator: my-sdk |"
            " x-stainless-lang: python | x-request-id: r | Authorization: Bearer y |"
            " chatgpt-account-id: acct-1 | User-Agent: my-sdk/1.0 |"
            " x-codex-turn-state: t | x-codex-window-id: w"
        )


ACCEPT = "Upgrade: websocket | Connection: Upgrade | Sec-WebSocket-Accept: s"


@pytest.mark.parametrize(
    ("status", "received", "sent"),
    [
        (101, ACCEPT, ACCEPT),
        (101, f"Date: d | {ACCEPT} | Content-Length: 0 | content-encoding: gzip | Content-Type: x | Server: a",
         f"Date: d | {ACCEPT} | Server: a"),
        (101, f"{ACCEPT} | Transfer-Encoding: chunked | Content-Security-Policy: x",
         f"{ACCEPT} | Content-Security-Policy: x"),
        (101, f"{ACCEPT} | Connection: keep-alive | Sec-WebSocket-Accept: t", ACCEPT),
        (101, *(f"{ACCEPT} | Sec-WebSocket-Extensions: permessage-deflate | x-codex-turn-state: t",) * 2),
        (403, *("Content-Length: 2 | Connection: close",) * 2),
    ],
)  # fmt: skip
def test_responses(status: int, received: str, sent: str) -> None:
    assert after(response(received, status)) == lines(sent)


SECTIONS = st.lists(
    st.tuples(
        st.sampled_from(["Connection", "Upgrade", "Sec-WebSocket-Key", "sec-websocket-key", "Content-Length",
                         "Accept", "X-A", "Host", "Sec-WebSocket-Extensions", "Transfer-Encoding"]),
        st.sampled_from(["Upgrade", "keep-alive, upgrade", "websocket", "0", "5", "x-a", "*/*", ""]),
    ),
    max_size=10,
).map(lambda pairs: [(name.encode(), value.encode()) for name, value in pairs])  # fmt: skip


@given(SECTIONS, st.booleans())
def test_properties(received, is_answer) -> None:
    def once(fields):
        if is_answer:
            return after(Response(fields=Fields(fields), code=b"101"))
        return after(Request(fields=Fields(fields), method=b"GET", target=b"/"))

    sent = once(received)
    assert once(sent) == sent
    left = iter(name for name, _ in received)
    assert all(name in left for name, _ in sent)
    assert {b"Upgrade", b"Host"} & dict(received).keys() == {b"Upgrade", b"Host"} & dict(sent).keys()


def as_uvicorn(connection: socket.socket, request: bytes) -> None:
    """Goes by the last Connection line, as uvicorn does; then echoes one message and the close."""
    last = [line for line in request.lower().split(b"\r\n") if line.startswith(b"connection:")][-1]
    if b"upgrade" not in last:
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nContent-Length: 0\r\nContent-Encoding: gzip\r\n\r\n"
    )
    got = b""
    while not got.endswith(b"\x03\xe8") and len(got) < 64:
        if not (piece := connection.recv(65536)):
            return
        got += piece
        if len(got) >= 8 and got[:1] == b"\x81" and b"echoed" not in got:
            connection.sendall(b"\x81\x02hi")
            got = b"echoed"
    connection.sendall(b"\x88\x02\x03\xe8")


@pytest.mark.parametrize("script", ["filter_handshake.py", "suite.py"])
def test_bridge_that_copies_headers(script: str, proxied) -> None:
    proxy = proxied(script, as_uvicorn)
    with proxy.connect() as connection:
        connection.sendall(
            b"GET /v1/responses HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"content-type: application/json\r\naccept: text/event-stream\r\nconnection: keep-alive\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        head, _, frames = head.partition(b"\r\n\r\n")
        connection.sendall(FRAME)
        while len(frames) < 4:
            frames += connection.recv(65536)
        connection.sendall(CLOSE)
        while len(frames) < len(ECHO):
            frames += connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"ontent-" not in head
    assert frames == ECHO
    (sent,) = proxy.server.requests
    assert sent.lower().count(b"connection:") == 1
    assert b"application/json" not in sent
    assert b"event-stream" not in sent
    (flow,) = proxy.flows()
    assert flow.websocket.close_code == 1000
    assert {entry["addon"] for entry in flow.metadata[mitm.JOURNAL]} <= {
        "filter-handshake",
        "strip-hop-headers",
    }


def test_failure_lets_the_handshake_pass(proxied, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(mitm, "request_head", broken)
    proxy = proxied(
        "filter_handshake.py", lambda c, _: c.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    )
    got = proxy.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: x\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 403 ")
    assert b"Content-Type: x" in proxy.server.requests[0]
    assert "filter-handshake: failed on the request" in caplog.text

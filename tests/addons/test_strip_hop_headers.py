import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import tflow

from conformance import mitm
from conformance.known import END_TO_END
from conformance.message import Fields, Message, Request, Response
from conformance.policy import Routing, StripHopHeaders

SCRIPT = Path(__file__).parents[2] / "addons" / "strip_hop_headers.py"
(addon,) = mitm.script_addons(SCRIPT)
strip_hop_headers = sys.modules[type(addon).__module__]

CANARY = "canary-7f3a9c"


def lines(text: str) -> list[tuple[bytes, bytes]]:
    """``Via: a | Via: b`` as field lines."""
    pairs = [line.strip().encode().partition(b": ") for line in text.split("|") if line.strip()]
    return [(name, value) for name, _, value in pairs]


def request(text: str, **facts) -> Request:
    return Request(**{"fields": Fields(lines(text)), "method": b"GET", "target": b"/", **facts})


def response(text: str, status: int = 200, **facts) -> Response:
    return Response(fields=Fields(lines(text)), code=b"%d" % status, **facts)


def after(message: Message, host: str | None = None, routing: Routing | None = None, **policy):
    changes = strip_hop_headers.strip(message, StripHopHeaders(**policy), routing or Routing(), host)
    return [tuple(line) for line in mitm.changed(message.fields, changes)]


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("Host: a | Connection: keep-alive", "Host: a"),
        ("Connection: close, X-Edge | X-Edge: 1 | X-Other: 2", "X-Other: 2"),
        ("connection: x-a | Connection: X-B | x-a: 1 | x-b: 2", ""),
        ("Keep-Alive: timeout=5 | Proxy-Connection: keep-alive | TE: trailers | Trailer: X | A: 1", "A: 1"),
        ("Proxy-Authorization: Basic x | Authorization: Bearer y", "Authorization: Bearer y"),
        ("Upgrade: h2c | Connection: Upgrade, HTTP2-Settings | HTTP2-Settings: AAM", ""),
        # what must reach the other end, or frames the message
        ("Authorization: Bearer y | Connection: Authorization", "Authorization: Bearer y"),
        ("Transfer-Encoding: chunked | Connection: Transfer-Encoding", "Transfer-Encoding: chunked"),
        ("Host: a | Content-Length: 0 | Connection: host, content-length", "Host: a | Content-Length: 0"),
        # no WebSocket
        ("Sec-WebSocket-Version: 13 | Sec-WebSocket-Protocol: x | A: 1", "A: 1"),
    ],
)
def test_requests(received: str, sent: str) -> None:
    assert after(request(received)) == lines(sent)


HANDSHAKE = "Host: a | Upgrade: websocket | Sec-WebSocket-Version: 13 | Sec-WebSocket-Key: x"


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        (f"{HANDSHAKE} | Connection: Upgrade", f"{HANDSHAKE} | Connection: Upgrade"),
        (f"{HANDSHAKE} | Connection: keep-alive, upgrade", f"{HANDSHAKE} | Connection: upgrade"),
        (f"Connection: keep-alive | {HANDSHAKE} | Connection: Upgrade", f"{HANDSHAKE} | Connection: Upgrade"),
        (f"Connection: Upgrade, X-A | {HANDSHAKE} | X-A: 1", f"Connection: Upgrade | {HANDSHAKE}"),
        (f"Connection: Upgrade, sec-websocket-key | {HANDSHAKE}", f"Connection: Upgrade | {HANDSHAKE}"),
    ],
)
def test_handshakes(received: str, sent: str) -> None:
    assert after(request(received)) == lines(sent)


@pytest.mark.parametrize(
    ("status", "received", "sent"),
    [
        (200, "Connection: close | Keep-Alive: x | Content-Length: 2", "Content-Length: 2"),
        (200, "Connection: close | Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        (200, "Connection: X-A, close | X-A: 1 | A: 1", "Connection: close | A: 1"),
        (204, "Connection: close", ""),
        (101, "Connection: Upgrade | Upgrade: websocket", "Connection: Upgrade | Upgrade: websocket"),
        (101, "Connection: keep-alive, Upgrade | Upgrade: x", "Connection: Upgrade | Upgrade: x"),
        (426, *("Upgrade: h2c | Connection: Upgrade | Content-Length: 0",) * 2),
        (426, "Upgrade: h2c | Connection: close, Upgrade", "Upgrade: h2c | Connection: Upgrade"),
        (200, "Upgrade: h2c | Connection: Upgrade | Content-Length: 0", "Content-Length: 0"),
        (407, *("Proxy-Authenticate: Basic | Content-Length: 0",) * 2),
        (200, "Proxy-Authenticate: Basic | Content-Length: 0", "Content-Length: 0"),
    ],
)  # fmt: skip
def test_responses(status: int, received: str, sent: str) -> None:
    assert after(response(received, status)) == lines(sent)


def test_http2() -> None:
    facts = {"version": b"HTTP/2.0"}
    assert after(request("te: trailers | a: 1", **facts)) == lines("te: trailers | a: 1")
    assert after(request("te: gzip, trailers | connection: keep-alive", **facts)) == []
    assert after(response("transfer-encoding: chunked | connection: close", **facts)) == []
    connect = request("sec-websocket-version: 13", method=b"CONNECT", **facts)
    assert after(connect) == lines("sec-websocket-version: 13")


def test_what_is_not_meant_for_providers() -> None:
    received = request(
        "Host: gw | CF-Ray: 1 | cdn-loop: x | X-Forwarded-For: 10.0.0.1 | Forwarded: for=x | Cookie: a=1 |"
        " x-litellm-tags: t | X-Stainless-Lang: js | X-Api-Key: k"
    )
    kept = lines("Host: gw | X-Stainless-Lang: js | X-Api-Key: k")
    everything = [tuple(line) for line in received.fields]
    assert after(received, "api.anthropic.com") == kept
    assert after(received, "API.Anthropic.com") == kept
    assert after(received, "api.anthropic.com.") == kept
    assert after(received, "gateway.internal") == everything
    assert after(received, "gateway.internal", Routing(providers=("*",))) == kept
    assert after(received, "api.anthropic.com", from_requests_to_providers=()) == everything
    assert (b"cdn-loop", b"x") in after(received, "api.anthropic.com", leave=("cdn-*",))


def test_what_only_a_gateway_may_set() -> None:
    received = request("X-SMG-Target-Worker: 3 | X-Tenant: a")
    policy = {"from_requests": ("x-smg-target-worker", "x-ten*")}
    assert after(received, **policy) == []
    assert after(received, routing=Routing(behind_gateway=True), **policy) == lines("X-SMG-Target-Worker: 3")
    assert after(received) == lines("X-SMG-Target-Worker: 3 | X-Tenant: a")


def test_circles_are_refused() -> None:
    with pytest.raises(mitm.Refused, match="names 'gw' 2 times") as refused:
        after(request("Via: 1.1 gw | Via: 1.1 other, 1.1 GW"))
    assert refused.value.status == 508
    assert after(request("Via: 1.1 gw, 1.1 other")) == lines("Via: 1.1 gw, 1.1 other")


SECTIONS = st.lists(
    st.tuples(
        st.sampled_from(["Connection", "connection", "Upgrade", "Keep-Alive", "TE", "X-A", "Authorization",
                         "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Key", "Via", "Host"]),
        st.sampled_from(["close", "keep-alive, X-A", "Upgrade", "upgrade,close", "websocket", "", " , x-a", "1"]),
    ),
    max_size=10,
).map(lambda pairs: [(name.encode(), value.encode()) for name, value in pairs])  # fmt: skip


@given(SECTIONS, st.sampled_from([None, 101, 200, 204, 426]), st.sampled_from([b"HTTP/1.1", b"HTTP/2.0"]))
def test_properties(received, status, version) -> None:
    def once(fields):
        made = {"fields": Fields(fields), "version": version}
        message = (
            Request(method=b"GET", target=b"/", **made)
            if status is None
            else Response(code=b"%d" % status, **made)
        )
        return after(message)

    try:
        sent = once(received)
    except mitm.Refused:
        return
    assert once(sent) == sent
    left = iter(name for name, _ in received)
    assert all(name in left for name, _ in sent), "order and spelling are kept"
    assert sum(name.lower() == b"connection" for name, _ in sent) <= 1
    for name in (b"Authorization", b"Host", b"Content-Length"):
        assert [line for line in sent if line[0] == name] == [line for line in received if line[0] == name]
        assert name.lower().decode() in END_TO_END


ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\n{}"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_each_connection_goes_by_its_own_header(proxied) -> None:
    """A server that closes does not end the client's connection, and a client that closes does not the server's."""

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(ANSWER)
        connection.shutdown(socket.SHUT_WR)

    proxy = proxied("strip_hop_headers.py", answer, keep_host_header=True)
    with proxy.connect() as connection:
        for _ in range(3):
            connection.sendall(
                b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX-A: 1\r\nConnection: TE, X-A\r\n\r\n"
            )
            data = b""
            while not data.endswith(b"{}"):
                data += connection.recv(65536)
            assert data == PLAIN
    assert proxy.server.requests == [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] * 3
    assert len(proxy.server.connections) == 3


def test_client_that_asks_for_close_gets_it(proxied) -> None:
    proxy = proxied("strip_hop_headers.py", lambda c, _: c.sendall(PLAIN), keep_host_header=True)
    assert proxy.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == PLAIN
    assert proxy.ask(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n") == PLAIN
    assert proxy.server.requests[0] == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    flow, _ = proxy.flows()
    (edit,) = flow.metadata[mitm.JOURNAL]
    assert (edit["op"], edit["field"], edit["before"]) == ("drop", "Connection", ["close"])


def test_content_is_framed_as_before(proxied) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        while b"\r\n0\r\n\r\n" not in request:
            request += connection.recv(65536)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding, close\r\n\r\n"
            b"2\r\n{}\r\n0\r\n\r\n"
        )

    proxy = proxied("strip_hop_headers.py", answer)
    sent = (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, transfer-encoding\r\n\r\n"
        b"2\r\nhi\r\n0\r\n\r\n"
    )
    assert proxy.ask(sent) == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


def test_content_that_only_the_close_ends(proxied) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}")
        connection.shutdown(socket.SHUT_WR)

    proxy = proxied("suite.py", answer)
    assert (
        proxy.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("version", "text", "length", "added"),
    [
        (b"HTTP/2.0", "accept: a", 2, [b"2"]),
        (b"HTTP/3", "", 2, [b"2"]),
        (b"HTTP/2.0", "", 0, []),
        (b"HTTP/2.0", "content-length: 2", 2, []),
        (b"HTTP/1.1", "Transfer-Encoding: chunked", 2, []),
        (b"HTTP/1.1", "", 2, []),
    ],
)
def test_content_of_http2_gets_a_length(version: bytes, text: str, length: int, added: list[bytes]) -> None:
    changes = strip_hop_headers.framed(request(text, version=version), length)
    assert [change.line for change in changes] == [(b"content-length", value) for value in added]


@pytest.mark.parametrize(
    ("url", "alpn", "expected"),
    [
        ("http://a", None, True),
        ("https://a", b"", True),
        ("https://a", b"http/1.1", True),
        ("https://a", b"h2", False),
        ("https://a", None, False),
    ],
)
def test_which_upstreams_speak_http1(url: str, alpn: bytes | None, expected: bool) -> None:
    flow = tflow.tflow(req=http.Request.make("POST", url))
    flow.server_conn.alpn = alpn
    assert strip_hop_headers.speaks_http1(flow) is expected


def test_refusal_closes_the_connection(proxied) -> None:
    """What another addon has answered in the upstream's place is nothing to strip."""
    proxy = proxied("suite.py", lambda c, _: c.sendall(PLAIN))
    got = proxy.ask(b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 gw, 1.1 gw\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 508 ")
    assert b"\r\nConnection: close\r\n" in got
    assert got.endswith(b"hoplint strip-hop-headers: Via names 'gw' 2 times: the request goes round\n")
    assert proxy.server.requests == []
    (flow,) = proxy.flows()
    assert [entry["op"] for entry in flow.metadata[mitm.JOURNAL]] == ["refuse"]


def test_fails_closed_and_tells_no_secret(proxied, monkeypatch, caplog) -> None:
    proxy = proxied("strip_hop_headers.py", lambda c, _: c.sendall(PLAIN))
    head = f"GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic {CANARY}\r\nConnection: close\r\n\r\n".encode()
    assert proxy.ask(head) == PLAIN

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(mitm, "request_head", broken)
    got = proxy.ask(head)
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"strip-hop-headers failed on the request" in got
    assert len(proxy.server.requests) == 1
    assert CANARY.encode() not in proxy.server.requests[0]
    flows = proxy.flows()
    assert CANARY not in repr([flow.metadata for flow in flows]) + caplog.text + got.decode()

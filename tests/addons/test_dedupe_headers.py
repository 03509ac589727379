import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.test import tflow

from conformance import mitm, recording
from conformance.known import REPEATABLE
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields
from conformance.policy import DedupeHeaders
from conformance.rule import load

RULES = load()
SCRIPT = Path(__file__).parents[2] / "addons" / "dedupe_headers.py"
(addon,) = mitm.script_addons(SCRIPT)
dedupe = sys.modules[type(addon).__module__].dedupe


def after(lines, **policy) -> list[tuple[bytes, bytes]]:
    fields = Fields(lines)
    return [tuple(line) for line in mitm.changed(fields, dedupe(fields, DedupeHeaders(**policy)))]


def lines(text: str) -> list[tuple[bytes, bytes]]:
    """``Server: a | Server: b`` as field lines."""
    pairs = [line.strip().encode().partition(b": ") for line in text.split("|")]
    return [(name, value) for name, _, value in pairs]


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("Server: uvicorn | Server: smg", "Server: uvicorn"),
        ("Server: uvicorn | X: 1 | server: smg | SERVER: x", "Server: uvicorn | X: 1"),
        ("Server: a | Server: a", "Server: a"),
        ("Date: now | Server: a | date: then", "Server: a | date: then"),
        (
            "Content-Type: text/event-stream | content-type: application/json",
            "content-type: application/json",
        ),
        (
            "Access-Control-Allow-Origin: * | Access-Control-Allow-Origin: https://a",
            "Access-Control-Allow-Origin: *",
        ),
        ("Retry-After: 1 | Retry-After: 20", "Retry-After: 1"),
        ("Location: /a | Location: /b", "Location: /a"),
        ("X-Frame-Options: DENY | X-Frame-Options: SAMEORIGIN", "X-Frame-Options: DENY"),
        ("User-Agent: a | user-agent: b", "User-Agent: a"),
        ("traceparent: a | traceparent: b", "traceparent: a"),
        ("X-Request-Id: a | x-request-id: b", "X-Request-Id: a"),
        ("x-smg-routing-key: client | X-SMG-Routing-Key: gateway", "x-smg-routing-key: client"),
        ("x-tenant: a | X-Tenant: b | x-tenant: c", "x-tenant: a | x-tenant: c"),
        ("Content-Length: 3 | content-length: 3", "Content-Length: 3"),
        ("Content-Length: 3 | Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        (
            "Content-Length: 3 | Content-Length: 4 | Transfer-Encoding: gzip, Chunked",
            "Transfer-Encoding: gzip, Chunked",
        ),
        ("Authorization: Bearer a | authorization: Bearer a", "Authorization: Bearer a"),
        ("Host: a | Host: a", "Host: a"),
    ],
)
def test_drops(received: str, sent: str) -> None:
    assert after(lines(received)) == lines(sent)


@pytest.mark.parametrize(
    "received",
    [
        "Server: a | Via: 1.1 a | via: 1.1 b | Vary: x | Vary: y",
        "Set-Cookie: a=1 | Set-Cookie: b=2 | set-cookie: a=1",
        "Cookie: a=1 | cookie: b=2",
        "anthropic-beta: a | Anthropic-Beta: a",
        "X-Custom: a | X-Custom: a | X-Custom: b",
        "Authorization: Bearer a | Authorization: Bearer b | Authorization: Bearer a",
        "X-Api-Key: a | x-api-key: b",
        "Host: a | Host: b",
        "Content-Length: 3 | Transfer-Encoding: gzip",
        "Content-Length: 3, 3",
        "",
    ],
)
def test_leaves_alone(received: str) -> None:
    assert not list(dedupe(Fields(lines(received) if received else []), DedupeHeaders()))


def test_policy_decides_which_line_is_kept() -> None:
    received = lines("Server: a | Server: b | X-Tenant: c | X-Tenant: d")
    assert after(received, keep_last=("server",), once=("x-tenant",)) == lines("Server: b | X-Tenant: c")
    assert after(received, leave=("Server",)) == received


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(mitm.Refused, match="'3' and '4'"):
        after(lines("Content-Length: 3 | Content-Length: 4"))


def test_reasons_hide_credentials() -> None:
    fields = Fields(lines("X-Api-Key: sk-verysecret123 | x-api-key: sk-verysecret123"))
    (change,) = dedupe(fields, DedupeHeaders())
    assert "verysecret" not in change.why
    assert "x-api-key" in change.why


NAMES = [
    "Server",
    "server",
    "Date",
    "Content-Type",
    "Via",
    "via",
    "Set-Cookie",
    "Host",
    "X-A",
    "x-a",
    "Content-Length",
]
SECTIONS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["1", "2", "3"])), max_size=12).map(
    lambda pairs: [(name.encode(), value.encode()) for name, value in pairs]
)


@given(SECTIONS)
def test_properties(received) -> None:
    try:
        sent = after(received)
    except mitm.Refused:
        assert len({value for name, value in received if name.lower() == b"content-length"}) > 1
        return
    left = iter(received)
    assert all(line in left for line in sent), "a subsequence: order and spelling are kept"
    assert after(sent) == sent
    for name in (b"server", b"date", b"content-type"):
        assert [n.lower() for n, _ in sent].count(name) <= 1
    kept = {name.decode() for name in (b"via", b"set-cookie")} & REPEATABLE
    assert [line for line in sent if line[0].lower().decode() in kept] == [
        line for line in received if line[0].lower().decode() in kept
    ]
    assert {name.lower() for name, _ in sent} == {name.lower() for name, _ in received}


GET = b"GET /v1/models HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
DOUBLED = b"HTTP/1.1 200 OK\r\nServer: uvicorn\r\nX-Odd: 1\r\nserver: smg\r\nContent-Length: 2\r\n"


def test_json_response(proxied) -> None:
    proxy = proxied("dedupe_headers.py", lambda c, _: c.sendall(DOUBLED + b"\r\n{}"))
    assert proxy.ask(GET) == b"HTTP/1.1 200 OK\r\nServer: uvicorn\r\nX-Odd: 1\r\nContent-Length: 2\r\n\r\n{}"
    (flow,) = proxy.flows()
    (edit,) = flow.metadata[mitm.JOURNAL]
    assert edit == {
        "addon": "dedupe-headers",
        "part": "response",
        "op": "drop",
        "field": "server",
        "before": ["smg"],
        "after": [],
        "why": "server 'smg' dropped for Server 'uvicorn': the header may appear once",
    }
    assert [bytes(name) for name, _ in flow.metadata[mitm.RECEIVED]["response"]] == [
        b"Server", b"X-Odd", b"server", b"Content-Length",
    ]  # fmt: skip
    assert "request" not in flow.metadata[mitm.RECEIVED]


def test_request_and_keep_alive(proxied) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 2\r\n\r\nok")

    proxy = proxied("dedupe_headers.py", answer, keep_host_header=True)
    request = (
        b"POST / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nuser-agent: y\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"Content-Length: 2\r\n\r\nhi"
    )
    with proxy.connect() as connection:
        for _ in range(3):
            connection.sendall(request)
            data = b""
            while not data.endswith(b"\r\n\r\nok"):
                data += connection.recv(65536)
            assert data == b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 2\r\n\r\nok"
    assert proxy.server.requests == [request.replace(b"user-agent: y\r\n", b"")] * 3


def test_untouched_messages_leave_no_trace(proxied) -> None:
    response = b"HTTP/1.1 200 OK\r\nsErVer: a\r\nVia: 1.1 a\r\nvia: 1.1 b\r\nContent-Length: 2\r\n\r\n{}"
    proxy = proxied("dedupe_headers.py", lambda c, _: c.sendall(response))
    assert proxy.ask(GET) == response
    (flow,) = proxy.flows()
    assert flow.metadata == {}


def test_websocket_handshake(proxied) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nServer: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nServer: b\r\n\r\n"
        )
        connection.recv(65536)  # the client's close frame

    proxy = proxied("dedupe_headers.py", answer)
    with proxy.connect() as connection:
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nUser-Agent: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(65536)
        connection.sendall(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    assert head.count(b"Server:") == 1
    assert b"\r\nUpgrade: websocket\r\n" in head
    assert proxy.server.requests[0].count(b"User-Agent") == 1


def test_first_event_is_not_held_up(proxied) -> None:
    gate = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
        )
        gate.wait(10)
        connection.sendall(b"data: 2\n\n")
        connection.shutdown(socket.SHUT_WR)

    proxy = proxied("suite.py", answer)
    with proxy.connect() as connection:
        connection.sendall(GET)
        data = b""
        while b"data: 1" not in data:
            data += connection.recv(65536)
        assert data.count(b"Server:") == 1
        gate.set()
        while piece := connection.recv(65536):
            data += piece
    assert data.endswith(b"data: 1\n\ndata: 2\n\n")


def test_message_with_two_framings(proxied) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )

    proxy = proxied("dedupe_headers.py", answer, validate_inbound_headers=False)
    assert proxy.ask(GET).partition(b"\r\n\r\n")[0] == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"


def test_what_mitmproxy_refused_is_not_journaled(proxied) -> None:
    proxy = proxied("dedupe_headers.py", lambda c, _: c.sendall(b""))
    request = b"GET / HTTP/1.1\r\nHost: a\r\nServer: a\r\nServer: b\r\nBad Name: x\r\n\r\n"
    assert proxy.ask(request).startswith(b"HTTP/1.1 400 ")
    (flow,) = proxy.flows()
    assert flow.error is not None
    assert flow.metadata == {}
    assert len(flow.request.headers.get_all("server")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dedupe_headers_once=a b"], "is not a field name"),
        (["dedupe_headers_once=Via"], "via may stand on several lines"),
        (["dedupe_headers_onec=x"], "did you mean dedupe_headers_once"),
        (["dedupe_headers_nothing=x"], "there is no option dedupe_headers_nothing"),
        (["hoplint_profile=genric"], "did you mean generic"),
        (["hoplint_profile=a", "hoplint_profile=b"], "take one value"),
    ],
)
def test_bad_settings_stop_the_start(words: list[str], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("dedupe_headers.py", words=words, save_stream_file=None)
    assert said in caplog.text


def test_flows_from_a_file_are_left_alone(tmp_path) -> None:
    flow = tflow.tflow(resp=True)
    flow.response.headers.fields = ((b"Server", b"a"), (b"Server", b"b"))
    flow.live = False
    addon.responseheaders(flow)
    assert flow.metadata == {}
    flow.live = True
    addon.responseheaders(flow)
    assert flow.response.headers.fields == ((b"Server", b"a"),)
    before = flow.response.headers.fields
    addon.responseheaders(flow)
    assert flow.response.headers.fields is before
    assert len(flow.metadata[mitm.JOURNAL]) == 1


def mended(item: Exchange) -> Exchange:
    """The exchange as it is behind the addon."""

    def mend(message):
        try:
            return replace(
                message, fields=mitm.changed(message.fields, dedupe(message.fields, DedupeHeaders()))
            )
        except mitm.Refused:
            return message

    return replace(
        item, request=mend(item.request), response=None if item.response is None else mend(item.response)
    )


def fired(items: list[Exchange]) -> set[str]:
    linter = Linter(RULES, None, Settings(), "example")
    for item in items:
        linter.take(item)
    return {finding.rule for finding in linter.findings}


EXAMPLES = [
    pytest.param(rule, example, id=f"{rule.name}-{number}")
    for rule in RULES.values()
    for number, example in enumerate(rule.examples)
]


@pytest.mark.parametrize(("rule", "example"), EXAMPLES)
def test_promise(rule, example) -> None:
    """What names this addon as its fix is fixed by it, and nothing that was silent speaks up."""
    items = [item for item in recording.parse(example.transcript) if isinstance(item, Exchange)]
    after = fired([mended(item) for item in items])
    assert after <= fired(items)
    if rule.fix == "dedupe-headers" and example.bad:
        assert rule.name not in after

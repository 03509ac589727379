"""The whole suite where something goes wrong: an addon that fails, and HTTP/2 before an HTTP/1.1 upstream."""

import ssl
import sys

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded

from conformance import mitm

CANARY = "canary-0123456789"
CONTENT = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "a"}]}'
WORDS = [
    "session_header=x-litellm-session-id",
    "session_tokens=x-session-token",
    "map_status_enabled=true",
    "response_headers_internal=set-cookie",
]


def lines(*each: str) -> bytes:
    return "\r\n".join([*each, "", ""]).encode()


REQUEST = (
    lines(
        "POST /v1/chat/completions HTTP/1.1",
        "Host: a",
        "Connection: close, X-Private",
        "X-Private: 1",
        f"Authorization: bearer {CANARY}",
        "Content-Type: application/json",
        "Content-Type: application/json",
        f"Content-Length: {len(CONTENT)}",
        "anthropic-beta: b-2025-01-01, b-2025-01-01",
        "thread-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00",
    )
    + CONTENT
)
HANDSHAKE = lines(
    "GET /v1/responses HTTP/1.1",
    "Host: a",
    "Connection: Upgrade, close",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Accept: application/json",
    "thread-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00",
    f"Authorization: Bearer {CANARY}",
)
EVENTS = b"data: 1\n\n"
HEAD = [
    "Server: a",
    "Server: b",
    "Keep-Alive: timeout=5",
    f"Set-Cookie: sid={CANARY}",
    "Content-Type: text/event-stream",
    f"Content-Length: {len(EVENTS)}",
]
ANSWER = lines("HTTP/1.1 200 OK", *HEAD, f"X-Session-Token: token-{CANARY}") + EVENTS
FAILED = (
    lines("HTTP/1.1 500 Internal Server Error", *HEAD, "Retry-After: 5", "Retry-After-Ms: 90000") + EVENTS
)
LEAVE = lines("HTTP/1.1 426 Upgrade Required", "Connection: close", "Content-Length: 0")


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("broken")


def breaks(monkeypatch: pytest.MonkeyPatch, addon: str, work: str) -> None:
    """Let a function of an addon raise, in the module that the running proxy has loaded."""
    *owner, name = work.split(".")
    module = sys.modules[f"hoplint_addon_{addon.replace('-', '_')}"]
    monkeypatch.setattr(getattr(module, owner[0]) if owner else module, name, broken)


@pytest.mark.parametrize(
    ("addon", "work", "asked", "answer"),
    [
        ("dedupe-headers", "dedupe", REQUEST, ANSWER),
        ("filter-handshake", "filtered", HANDSHAKE, LEAVE),
        ("inject-session", "injected", REQUEST, ANSWER),
        ("pin-affinity", "place", REQUEST, ANSWER),
        ("pin-affinity", "pinned", REQUEST, ANSWER),
        ("normalize-betas", "normalized", REQUEST, ANSWER),
        ("map-status", "status_for_client", REQUEST, FAILED),
        ("map-status", "explained", REQUEST, FAILED),
        ("tame-retries", "tamed", REQUEST, FAILED),
        ("tame-retries", "_times", REQUEST, FAILED),
    ],
)
def test_a_failure_is_as_if_the_addon_were_not_there(
    addon: str, work: str, asked: bytes, answer: bytes, proxied, monkeypatch, caplog
) -> None:
    """The message stays as this addon received it, and what all the others do to it is done."""

    def third(is_broken: bool = False, **options: object) -> tuple[bytes, bytes]:
        """What is sent and what comes back; the third time, since some addons learn from what they see."""
        proxy = proxied(
            "suite.py", lambda c, _: c.sendall(answer), words=WORDS, keep_host_header=True, **options
        )
        if is_broken:
            breaks(monkeypatch, addon, work)
        got = [proxy.ask(asked) for _ in range(3)][-1]
        proxy.stop()
        assert len(proxy.server.requests) == 3
        return proxy.server.requests[-1], got

    without = third(suite_without=[addon])
    assert third() != without, "the addon has something to do"
    assert "failed" not in caplog.text
    assert third(is_broken=True) == without
    assert f"{addon}: failed" in caplog.text


@pytest.mark.parametrize(
    ("addon", "work", "hook"),
    [
        ("inject-session", "_caller", "requestheaders"),
        ("inject-session", "InjectSession.align_content", "request"),
        ("pin-affinity", "Pins.apply", "responseheaders"),
        ("inject-auth", "_injected", "responseheaders"),
        ("stream-events", "is_event_stream", "responseheaders"),
    ],
)
def test_a_failure_beside_the_changes_keeps_no_other_addon_from_its_work(
    addon: str, work: str, hook: str, proxied, monkeypatch, caplog
) -> None:
    proxy = proxied(
        "suite.py", lambda c, _: c.sendall(ANSWER), words=[*WORDS, "inject_session_align=true"],
    )  # fmt: skip
    whole = proxy.ask(REQUEST)
    breaks(monkeypatch, addon, work)
    assert proxy.ask(REQUEST) == whole
    assert b"Set-Cookie" not in whole
    assert whole.endswith(EVENTS)
    assert f"{addon}: failed in {hook}" in caplog.text
    *_, flow = proxy.flows()
    assert flow.response.raw_content == EVENTS


@pytest.mark.parametrize(
    ("addon", "work", "part"),
    [
        ("strip-hop-headers", "strip", "request"),
        ("inject-auth", "authorized", "request"),
        ("inject-auth", "read_keys", "request"),
        ("strip-hop-headers", "strip", "response"),
        ("allow-response-headers", "withheld", "response"),
        ("allow-response-headers", "_is_providers", "response"),
    ],
)
def test_what_handles_secrets_fails_closed(
    addon: str, work: str, part: str, proxied, monkeypatch, caplog
) -> None:
    proxy = proxied("suite.py", lambda c, _: c.sendall(ANSWER), words=WORDS)
    assert proxy.ask(REQUEST).startswith(b"HTTP/1.1 200 ")
    if part == "response":  # once the request is through: a function may be for both
        proxy.server.answer = lambda c, _: (breaks(monkeypatch, addon, work), c.sendall(ANSWER))
    else:
        breaks(monkeypatch, addon, work)
    head, _, content = proxy.ask(REQUEST).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 ")
    assert content == f"hoplint {addon}: {addon} failed on the {part}; see the proxy's log\n".encode()
    assert len(proxy.server.requests) == (1 if part == "request" else 2)
    journals = repr([flow.metadata for flow in proxy.flows()])
    assert CANARY not in head.decode() + content.decode() + caplog.text + journals
    assert f"{addon}: failed on the {part}" in caplog.text


class Http2:
    """One request over HTTP/2 and TLS, and what came back."""

    def __init__(self, proxy, fields: list[tuple[str, str]], content: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.content = b""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        with (
            proxy.connect() as plain,
            context.wrap_socket(plain, server_hostname="api.example") as connection,
        ):
            assert connection.selected_alpn_protocol() == "h2"
            peer = H2Connection(H2Configuration(header_encoding=None))
            peer.initiate_connection()
            peer.send_headers(1, fields, end_stream=not content)
            if content:
                peer.send_data(1, content, end_stream=True)
            connection.sendall(peer.data_to_send())
            is_over = False
            while not is_over:
                octets = connection.recv(65536)
                assert octets, "closed before the end of the response"
                for event in peer.receive_data(octets):
                    if isinstance(event, ResponseReceived):
                        self.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                    elif isinstance(event, DataReceived):
                        self.content += event.data
                    is_over = is_over or isinstance(event, StreamEnded)
                connection.sendall(peer.data_to_send())


def posted(*more: tuple[str, str]) -> list[tuple[str, str]]:
    path = "/v1/chat/completions"
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "api.example"), (":path", path)]
    return [*fields, ("content-type", "application/json"), *more]


def test_http2_before_http1(proxied) -> None:
    chunked = lines("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Server: a", "Server: b")
    answer = (
        chunked[:-2]
        + b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n"
    )
    proxy = proxied("suite.py", lambda c, _: c.sendall(answer), words=WORDS)
    length = ("content-length", str(len(CONTENT)))
    got = Http2(proxy, posted(length, ("thread-id", "7ab0d106-87bc-479f-8cf5-e94c2a94db00")), CONTENT)
    assert got.fields == [(b":status", b"200"), (b"content-type", b"text/event-stream"), (b"server", b"a")]
    assert got.content == EVENTS
    head, _, content = proxy.server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00" in head.lower()
    assert content == CONTENT


def test_http2_gets_lower_case_names_from_the_suite(proxied) -> None:
    """RFC 9113 §8.2.1: a name in upper case is malformed; h2 refuses the response as a client does."""
    proxy = proxied("suite.py", lambda c, _: c.sendall(FAILED), words=WORDS)
    got = Http2(proxy, posted(("content-length", str(len(CONTENT)))), CONTENT)
    names = [name for name, _ in got.fields]
    assert names == [name.lower() for name in names]
    assert dict(got.fields)[b"x-upstream-status"] == b"500"
    assert b"keep-alive" not in names
    proxy = proxied("suite.py", lambda c, _: c.sendall(ANSWER), words=WORDS)
    going_round = posted(("content-length", str(len(CONTENT))), ("via", "1.1 gw, 1.1 gw"))
    got = Http2(proxy, going_round, CONTENT)
    assert dict(got.fields)[b":status"] == b"508"
    assert b"connection" not in dict(got.fields)
    assert got.content.endswith(b"the request goes round\n")


@pytest.mark.parametrize("content", [CONTENT, b""])
def test_http2_without_a_length_reaches_http1_framed(content: bytes, proxied) -> None:
    proxy = proxied("suite.py", lambda c, _: c.sendall(ANSWER), words=WORDS)
    got = Http2(proxy, posted(), content)
    assert got.content == EVENTS
    (sent,) = proxy.server.requests
    head, _, behind = sent.partition(b"\r\n\r\n")
    length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    assert [line.partition(b": ")[2] for line in length] == ([b"%d" % len(content)] if content else [])
    assert behind == content
    (flow,) = proxy.flows()
    edits = [entry["op"] for entry in flow.metadata.get(mitm.JOURNAL, ()) if "ength" in entry["field"]]
    assert edits == (["add"] if content else [])

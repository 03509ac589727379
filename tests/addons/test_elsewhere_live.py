"""Keys and affinity tokens go to the upstream that they are for, whatever a request says of where it goes."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY = "sk-canary-0123456789abcdef"
TOKEN = b"token-canary-0123456789"
ANSWER = b"HTTP/1.1 200 OK\r\nX-Session-Token: %s\r\nContent-Length: 2\r\n\r\n{}" % TOKEN
SESSION = "X-Session-Id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def get(target: str, *lines: str, close: bool = True) -> bytes:
    head = [f"GET {target} HTTP/1.1", *lines, SESSION, *(["Connection: close"] if close else [])]
    return "\r\n".join([*head, "", ""]).encode()


class Both:
    """The upstream, another server, and the proxy before them."""

    def __init__(self, proxy, other) -> None:
        self.proxy, self.other = proxy, other
        self.ours, self.elsewhere = (f"127.0.0.1:{each.port}" for each in (proxy.server, other))

    def say(self, *texts: bytes) -> bytes:
        """Send one text after the other, each when the one before was answered; all that comes back."""
        got = b""
        with self.proxy.connect() as connection, contextlib.suppress(ConnectionResetError):
            for text in texts:
                connection.sendall(self.placed(text))
                got += (piece := connection.recv(65536))
                if not piece:
                    break
            while piece := connection.recv(65536):
                got += piece
        return got

    def placed(self, text: bytes) -> bytes:
        return text.replace(b"OURS", self.ours.encode()).replace(b"ELSEWHERE", self.elsewhere.encode())

    def has_key(self) -> list[bool]:
        """For each request that the upstream got, whether it has the key."""
        return [KEY.encode() in each for each in self.proxy.server.requests]

    def nothing_elsewhere(self) -> bool:
        return not any(KEY.encode() in each or TOKEN in each for each in self.other.requests)


@pytest.fixture
def both(request, proxied, tmp_path) -> Iterator[Both]:
    """A regular proxy whose key is for the upstream, which has got it and has given the session its token."""
    (tmp_path / "key").write_text(KEY)
    words = [f"auth_data_key=file:{tmp_path / 'key'}", "session_tokens=x-session-token"]
    is_regular = getattr(request, "param", "regular") == "regular"
    options = {"mode": ["regular"], "ssl_insecure": True} if is_regular else {}
    proxy = proxied("suite.py", lambda c, _: c.sendall(ANSWER), words, **options)
    other = type(proxy.server)(lambda c, _: c.sendall(PLAIN))
    try:
        made = Both(proxy, other)
        if is_regular:
            proxy.try_to_set(inject_auth_hosts=[made.ours, "keyed.example", "keyed.example:*"])
        made.say(get("http://OURS/", "Host: OURS"))
        made.say(get("http://OURS/", "Host: OURS"))
        assert made.has_key() == [True, True]
        assert TOKEN in proxy.server.requests[1]
        yield made
    finally:
        other.close()


@pytest.mark.parametrize(
    "texts",
    [
        [get("http://ELSEWHERE/", "Host: ELSEWHERE")],
        [get("http://ELSEWHERE/", "Host: OURS")],
        [get("http://ELSEWHERE/", "Host: OURS", "Forwarded: host=OURS", "X-Forwarded-Host: OURS")],
        [get("http://OURS@ELSEWHERE/", "Host: OURS")],
        [get("http://ELSEWHERE/@OURS", "Host: OURS")],
        [get("http://ELSEWHERE#@OURS/", "Host: OURS")],
        [get("http://ELSEWHERE?@OURS/", "Host: OURS")],
        [get("http://ELSEWHERE\\@OURS/", "Host: OURS")],
        [get("http://ELSEWHERE/http://OURS/", "Host: OURS")],
        [get("http://ELSEWHERE, OURS/", "Host: OURS")],
        [get("/", "Host: ELSEWHERE")],
        [get("/", "Host: ELSEWHERE", "Host: OURS")],
        [get("/", "Host: OURS@ELSEWHERE")],
        [get("/", "Host: ELSEWHERE", ":authority: OURS")],
        [get("OURS", "Host: ELSEWHERE")],
        [get("http://OURS/", "Host: OURS", close=False), get("http://ELSEWHERE/", "Host: OURS")],
        [get("http://ELSEWHERE/", "Host: OURS", close=False), get("http://ELSEWHERE/", "Host: OURS")],
        [b"CONNECT ELSEWHERE HTTP/1.1\r\nHost: OURS\r\n\r\n", get("/", "Host: OURS")],
        [b"CONNECT ELSEWHERE HTTP/1.1\r\nHost: OURS\r\n\r\n", get("http://OURS/", "Host: OURS")],
        [b"CONNECT OURS@ELSEWHERE HTTP/1.1\r\n\r\n", get("/", "Host: OURS")],
    ],
    ids=lambda texts: b" ".join(text.partition(b"\r\n")[0] for text in texts).decode(),
)
def test_what_is_sent_elsewhere_has_neither_key_nor_token(texts: list[bytes], both: Both) -> None:
    both.say(*texts)
    assert both.nothing_elsewhere()


def test_the_same_host_at_another_port_is_another_host(both: Both) -> None:
    both.say(get("http://ELSEWHERE/", "Host: ELSEWHERE"))
    assert len(both.other.requests) == 1
    assert both.nothing_elsewhere()


@pytest.mark.parametrize("host", ["Host: ELSEWHERE", "Host: elsewhere.example", "X-A: 1"])
def test_a_tunnel_to_the_upstream_is_to_the_upstream(host: str, both: Both) -> None:
    both.say(b"CONNECT OURS HTTP/1.1\r\n\r\n", get("/", host))
    assert both.has_key() == [True, True, True]
    assert both.other.requests == []


@pytest.mark.parametrize("both", ["reverse"], indirect=True)
@pytest.mark.parametrize(
    "texts",
    [
        [get("/", "Host: ELSEWHERE")],
        [get("http://ELSEWHERE/", "Host: ELSEWHERE")],
        [get("http://me:secret@ELSEWHERE/", "Host: ELSEWHERE")],
        [get("ELSEWHERE", "Host: ELSEWHERE")],
        [get("/", "Host: OURS", close=False), get("http://ELSEWHERE/", "Host: ELSEWHERE")],
        [b"CONNECT ELSEWHERE HTTP/1.1\r\nHost: ELSEWHERE\r\n\r\n", get("/", "Host: ELSEWHERE")],
    ],
    ids=lambda texts: b" ".join(text.partition(b"\r\n")[0] for text in texts).decode(),
)
def test_a_reverse_proxy_sends_nothing_elsewhere(texts: list[bytes], both: Both) -> None:
    both.say(*texts)
    assert both.other.requests == []
    assert all(both.has_key())


def test_the_name_that_tls_asks_for_decides_nothing(both: Both, tmp_path: Path) -> None:
    """The tunnel goes elsewhere; SNI and Host say the name that the key is for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "confdir" / "mitmproxy-ca.pem")
    asked: list[bytes] = []

    def serve(listener: ssl.SSLSocket) -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(PLAIN)

    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with (
        context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener,
        both.proxy.connect() as connection,
    ):
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        connection.sendall(f"CONNECT 127.0.0.1:{listener.getsockname()[1]} HTTP/1.1\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        with client.wrap_socket(connection, server_hostname="keyed.example") as tunnel:
            tunnel.sendall(get("/", "Host: keyed.example"))
            assert tunnel.recv(65536).startswith(b"HTTP/1.1 200 ")
        thread.join()
    assert asked[0].startswith(b"GET / HTTP/1.1\r\n")
    assert KEY.encode() not in asked[0]
    assert TOKEN not in asked[0]


@pytest.mark.parametrize("mode", ["reverse", "regular"])
def test_who_gives_no_password_uses_no_key(mode: str, proxied, tmp_path) -> None:
    """mitmproxy's proxyauth before the suite: it answers 401 or 407 itself."""
    (tmp_path / "key").write_text(KEY)
    words = [
        f"auth_data_key=file:{tmp_path / 'key'}",
        "inject_auth_hosts=127.0.0.1:*",
        "proxyauth=me:password",
    ]
    options = {"mode": ["regular"]} if mode == "regular" else {}
    proxy = proxied("suite.py", lambda c, _: c.sendall(PLAIN), words, **options)
    proxy.try_to_set(proxyauth="me:password")
    name, status = {"reverse": ("Authorization", b"401"), "regular": ("Proxy-Authorization", b"407")}[mode]
    target = "/" if mode == "reverse" else f"http://127.0.0.1:{proxy.server.port}/"
    for wrong in ([], [f"{name}: Basic {base64.b64encode(b'me:wrong').decode()}"]):
        got = proxy.ask(get(target, f"Host: 127.0.0.1:{proxy.server.port}", *wrong))
        assert got.startswith(b"HTTP/1.1 " + status)
    assert proxy.server.requests == []
    right = f"{name}: Basic {base64.b64encode(b'me:password').decode()}"
    got = proxy.ask(get(target, f"Host: 127.0.0.1:{proxy.server.port}", right))
    assert got.startswith(b"HTTP/1.1 200 ")
    (asked,) = proxy.server.requests
    assert b"Authorization: Bearer " + KEY.encode() in asked
    assert b"Basic" not in asked

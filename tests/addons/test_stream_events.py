import socket
import threading
from pathlib import Path

import pytest
from mitmproxy import http

from conformance import mitm
from conformance.policy import StreamEvents

SCRIPT = Path(__file__).parents[2] / "addons" / "stream_events.py"
(addon,) = mitm.script_addons(SCRIPT)
script = __import__("sys").modules[type(addon).__module__]

GET = b"GET /v1/models HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@pytest.mark.parametrize(
    ("content_type", "streamed"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream ; charset=utf-8", True),
        ("application/x-ndjson", True),
        ("application/json", False),
        ("", False),
    ],
)
def test_which_responses(content_type: str, streamed: bool) -> None:
    response = http.Response.make(200, b"", {"Content-Type": content_type} if content_type else {})
    assert script.is_event_stream(response, StreamEvents()) is streamed


def test_tee_keeps_to_its_limit(tmp_path) -> None:
    tee = script.Tee(None, 5)
    assert [tee(b"abc"), tee(b"def"), tee(b"g"), tee(b"")] == [b"abc", b"def", b"g", b""]
    assert bytes(tee.kept) == b"abcde"
    assert tee.is_cut


def until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


def test_whole_stream_is_recorded(proxied) -> None:
    gate = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        gate.wait(10)
        connection.sendall(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    proxy = proxied("stream_events.py", answer)
    with proxy.connect() as connection:
        connection.sendall(GET)
        until(connection, b"data: 1\n\n")  # while the server still holds back the rest
        gate.set()
        assert b"data: 2\n\n" in until(connection, b"0\r\n\r\n")
    (flow,) = proxy.flows()
    assert flow.response.raw_content == b"data: 1\n\ndata: 2\n\n"
    assert flow.metadata == {}


def test_stream_cut_by_the_server(proxied) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\ndata: 1\n\n")
        connection.shutdown(socket.SHUT_RDWR)

    proxy = proxied("stream_events.py", answer)
    assert proxy.ask(GET).endswith(b"data: 1\n\n")
    (flow,) = proxy.flows()
    assert flow.response.raw_content == b"data: 1\n\n"
    assert flow.error is not None
    assert flow.metadata == {"partial_body": True}


def test_stream_that_is_open_at_the_end(proxied) -> None:
    gate = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + b"\r\ndata: 1\n\n")
        gate.wait(10)

    proxy = proxied("stream_events.py", answer)
    with proxy.connect() as connection:
        connection.sendall(GET)
        until(connection, b"data: 1\n\n")
        (flow,) = proxy.flows()
    gate.set()
    assert flow.response.raw_content == b"data: 1\n\n"
    assert flow.metadata == {"partial_body": True}


def test_longer_than_kept(proxied) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + b"Content-Length: 18\r\n\r\ndata: 1\n\ndata: 2\n\n")

    proxy = proxied("stream_events.py", answer, stream_events_keep=["4"])
    assert proxy.ask(GET).endswith(b"\r\n\r\ndata: 1\n\ndata: 2\n\n")
    (flow,) = proxy.flows()
    assert flow.response.raw_content == b"data"
    assert flow.metadata == {"partial_body": True}


def test_stream_without_events(proxied) -> None:
    proxy = proxied("stream_events.py", lambda c, _: c.sendall(HEAD + b"Content-Length: 0\r\n\r\n"))
    assert proxy.ask(GET).endswith(b"Content-Length: 0\r\n\r\n")
    (flow,) = proxy.flows()
    assert flow.response.raw_content == b""
    assert flow.metadata == {}

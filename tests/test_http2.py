"""HTTP/2 on the wire, with h2 (and its hpack) as what speaks it."""

import h2.config
import h2.connection
import h2.settings
import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from conformance.http2 import ENABLE_CONNECT_PROTOCOL, PREFACE, extended_connect, is_http2, server_settings
from conformance.recording import parse, read

CONNECT = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/v1/responses"),
    (":authority", "api.example"),
]  # fmt: skip
GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "api.example"), ("x-own", "1")]


def opening(*requests: list[tuple[str, str]]) -> bytes:
    """What h2 sends as a client."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    for number, fields in enumerate(requests):
        connection.send_headers(2 * number + 1, fields)
    return connection.data_to_send()


def answer(settings: dict[int, int] | None = None) -> bytes:
    """What h2 sends as a server."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    connection.update_settings(settings or {})
    connection.receive_data(opening())
    return connection.data_to_send()


def headers(fields: list[tuple[str, str]], *, huffman: bool, flags: int = 0x4) -> bytes:
    block = Encoder().encode(fields, huffman=huffman)
    if flags & 0x20:
        block = b"\0\0\0\0\x0f" + block
    if flags & 0x8:
        block = b"\x03" + block + b"\0\0\0"
    return len(block).to_bytes(3) + bytes([1, flags]) + b"\0\0\0\x01" + block


def test_http2_is_known_by_either_side() -> None:
    assert is_http2(opening(), answer())
    assert is_http2(opening(), b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert is_http2(b"", answer())
    assert is_http2(PREFACE[:16], b"")
    assert not is_http2(b"", b"HTTP/1.1 200 OK\r\n\r\n")
    assert not is_http2(b"GET / HTTP/1.1\r\n\r\n", answer())
    assert not is_http2(b"PRI / HTTP/1.1\r\n", b"")
    assert not is_http2(b"", b"")


def test_settings_of_the_server_are_read() -> None:
    assert server_settings(answer({ENABLE_CONNECT_PROTOCOL: 1}))[ENABLE_CONNECT_PROTOCOL] == 1
    plain = server_settings(answer())
    assert plain[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] == 100
    assert not plain[ENABLE_CONNECT_PROTOCOL]
    assert server_settings(b"") is None
    assert server_settings(b"HTTP/1.1 400 -\r\n\r\n") is None


@pytest.mark.parametrize("huffman", [True, False])
@pytest.mark.parametrize("flags", [0x4, 0x24, 0xC, 0x2C], ids=["plain", "priority", "padded", "both"])
def test_extended_connect_is_found(huffman: bool, flags: int) -> None:
    before = opening(GET)
    found = extended_connect(before + headers(CONNECT, huffman=huffman, flags=flags))
    assert found is not None
    assert found.start == len(before)
    assert extended_connect(before + headers(GET, huffman=huffman, flags=flags)) is None


def test_extended_connect_of_a_real_client_is_found_where_it_is_first() -> None:
    data = opening(GET, CONNECT, CONNECT)
    found = extended_connect(data)
    assert found is not None
    assert extended_connect(data[: found.stop]) == found
    assert extended_connect(data[: found.stop - 1]) is None
    assert extended_connect(opening(GET, GET)) is None


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_octets_make_it_raise_or_hang(client: bytes, server: bytes) -> None:
    is_http2(client, server)
    server_settings(b"\0\0\0\x04\0\0\0\0\0" + server)
    extended_connect(PREFACE + client)


STREAM = ">> PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\n<< \\x00\\x00\\x00\\x04\\x00\\x00\\x00\\x00\\x00\n"


def test_a_recording_says_that_http2_was_not_judged() -> None:
    found = read("-", stdin=(STREAM + "\n" + STREAM + "\n> GET / HTTP/1.1\n").encode())
    assert len(list(found)) == 3
    assert found.notes == ["streams that carry HTTP/2, not judged: 2"]
    assert [stream.exchanges for stream in parse(STREAM)] == [()]


def test_a_preface_that_was_taken_for_a_request_is_told() -> None:
    found = read("-", stdin=b"> PRI * HTTP/2.0\n\n> GET / HTTP/1.1\n")
    list(found)
    list(found)
    assert found.notes == ["HTTP/2 prefaces that the recorder took for requests: 1"]

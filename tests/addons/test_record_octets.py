import base64
import random
import socket
import ssl
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import lint, mitm, recording
from conformance.message import Evidence, Exchange, Stream
from conformance.rule import load, select

SCRIPT = Path(__file__).parents[2] / "addons" / "record_octets.py"
(addon,) = mitm.script_addons(SCRIPT)
script = sys.modules[type(addon).__module__]

CANARY = b"sk-canary-0123456789abcdef0123456789"
ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def recorded(folder: Path) -> list[Exchange | Stream]:
    found = []
    for path in sorted(folder.glob("*.flow")):
        source = recording.read(path)
        found += list(source)
        assert source.error is None, source.error
    return found


def legs(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    found = {}
    for stream in recorded(folder):
        assert isinstance(stream, Stream)
        found["client" if "a client" in stream.note else "server"] = stream.client.data, stream.server.data
    return found


@pytest.mark.parametrize(
    ("client", "server", "over"),
    [
        (ASK, OK, (len(ASK), len(OK))),
        (ASK + ASK, OK, (len(ASK), len(OK))),
        (ASK + ASK, OK + OK[:-1], (len(ASK), len(OK))),
        (ASK, OK[:-1], (0, 0)),
        (ASK[:-1], b"", (0, 0)),
        (ASK, b"HTTP/1.1 200 OK\r\n\r\nuntil the end", (0, 0)),
        (b"\x16\x03\x01", b"\x16\x03\x03", (0, 0)),
        (b"", b"", (0, 0)),
    ],
)
def test_what_is_finished(client: bytes, server: bytes, over: tuple[int, int]) -> None:
    assert script.finished(client, server)[:2] == over


def test_what_follows_an_upgrade_belongs_to_it() -> None:
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    granted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert script.finished(asked + b"\x81", granted + b"\x81") == (len(asked) + 1, len(granted) + 1, True)


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1))), st.integers(0, 50), st.integers(0, 50))
def test_taking_off_loses_nothing(pieces: list[tuple[bool, bytes]], up: int, down: int) -> None:
    leg = script.Leg(None, None)
    for piece in pieces:
        leg.add(*piece)
    whole = {side: leg.side(side) for side in (True, False)}
    taken = leg.take(up, down)
    for side, length in ((True, up), (False, down)):
        off = b"".join(octets for from_client, octets, _ in taken if from_client is side)
        assert off == whole[side][:length]
        assert off + leg.side(side) == whole[side]
    assert leg.size == len(leg.side(True)) + len(leg.side(False))


def test_both_legs_before_and_after_the_addons(proxied, tmp_path) -> None:
    odd = b"HTTP/1.1 200 OK\nServer: a\r\nServer: b\r\nTransfer-Encoding: chunked\r\n\r\n2;x=1\r\nok\r\n0\r\n\r\n"
    proxy = proxied(
        "record_octets.py",
        lambda c, _: c.sendall(odd),
        scripts=[str(SCRIPT.with_name("dedupe_headers.py")), str(SCRIPT)],
        record_flows_folder=["out"],
        record_flows_redact=["false"],
    )
    came = proxy.ask(LAST)
    proxy.stop()
    found = legs(tmp_path / "out")
    assert found["client"] == (LAST, came)
    assert found["server"] == (proxy.server.requests[0], odd)
    assert found["client"][1].count(b"Server: ") == 1


def test_framing_is_judged_and_credentials_are_not_there(proxied, tmp_path) -> None:
    reply = b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok"
    proxy = proxied("record_octets.py", lambda c, _: c.sendall(reply), record_flows_folder=["out"])
    proxy.ask(LAST[:-2] + b"Authorization: Bearer %s\r\n\r\n" % CANARY)
    proxy.stop()
    (path,) = (tmp_path / "out").iterdir()
    assert CANARY not in path.read_bytes()
    assert all(
        Evidence.OCTETS in each.evidence for stream in recorded(tmp_path / "out") for each in stream.exchanges
    )
    found = {finding.rule for finding in lint.check([recording.read(path)], select(load(), [])).findings}
    theirs = lint.check([recording.read(proxy.recording)], select(load(), [])).findings
    assert "bare-line-feed" in found
    assert "bare-line-feed" not in {finding.rule for finding in theirs}


def test_finished_exchanges_are_written_and_forgotten(proxied, tmp_path) -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000
    proxy = proxied(
        "record_octets.py",
        lambda c, _: c.sendall(reply),
        record_flows_folder=["out"],
        record_octets_keep=["8000"],
    )
    addon = proxy.master.addons.get("record-octets")
    with proxy.connect() as connection:
        for _ in range(20):
            connection.sendall(ASK)
            got = 0
            while got < len(reply):
                got += len(connection.recv(65536))
            assert addon.size <= 16_000
            assert addon.size == sum(leg.size for leg in addon.legs.values())
    proxy.stop()
    streams = recorded(tmp_path / "out")
    assert len(streams) > 2
    assert sum(len(stream.exchanges) for stream in streams) == 40
    assert all(each.response.wire.state == "complete" for stream in streams for each in stream.exchanges)


def test_an_exchange_that_is_too_long_is_left_out(proxied, tmp_path, caplog) -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
    proxy = proxied(
        "record_octets.py",
        lambda c, _: c.sendall(reply),
        record_flows_folder=["out"],
        record_octets_total=["9000"],
    )
    assert len(proxy.ask(LAST)) == len(reply)
    addon = proxy.master.addons.get("record-octets")
    proxy.stop()
    assert addon.size == 0
    # Nobody saw the client's leg unfinished: mitmproxy sent it all at once.
    assert legs(tmp_path / "out").keys() <= {"client"}
    assert "not recorded any further" in caplog.text


def test_what_is_open_at_the_end_does_not_look_broken_off(proxied, tmp_path) -> None:
    gate = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /slow"):
            gate.wait(10)
        else:
            connection.sendall(OK)

    proxy = proxied("record_octets.py", answer, record_flows_folder=["out"])
    with proxy.connect() as connection:
        connection.sendall(ASK)
        while b"ok" not in connection.recv(65536):
            pass
        connection.sendall(ASK.replace(b"/ ", b"/slow "))
        while len(proxy.server.requests) < 2:
            gate.wait(0.01)
        proxy.stop()
    gate.set()
    assert [len(stream.exchanges) for stream in recorded(tmp_path / "out")] == [1, 1]


def test_a_websocket(proxied, tmp_path) -> None:
    key = base64.b64encode(random.Random(1).randbytes(16))
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    asked += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n" % key
    granted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    proxy = proxied(
        "record_octets.py", lambda c, _: c.sendall(granted + b"\x81\x02hi"), record_flows_folder=["out"]
    )
    with proxy.connect() as connection:
        connection.sendall(asked)
        got = b""
        while not got.endswith(b"hi"):
            got += connection.recv(65536)
    proxy.stop()
    assert legs(tmp_path / "out")["server"][1].startswith(granted + b"\x81\x02hi")
    streams = [each for each in recorded(tmp_path / "out") if isinstance(each, Stream)]
    assert sorted(each.leg or "" for each in streams) == ["", "server"]
    # The key that mitmproxy passes on is no second use of it, nor a request a second try.
    linter = lint.Linter(
        {"websocket-key-reused": load()["websocket-key-reused"]}, None, lint.Settings(), "example"
    )
    for each in streams:
        linter.take(each)
    assert not linter.findings


def test_in_a_tunnel_only_what_is_inside_of_its_tls(proxied, tmp_path) -> None:
    # Here nobody speaks TLS in it, so mitmproxy looks for HTTP in the tunnel itself.
    proxy = proxied(
        "record_octets.py", lambda c, _: c.sendall(OK), mode=["regular"], record_flows_folder=["out"]
    )
    with proxy.connect() as connection:
        connection.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: a\r\n\r\n" % proxy.server.port)
        assert b" 200 " in connection.recv(65536)
        connection.sendall(LAST)
        got = b""
        while not got.endswith(b"ok"):
            got += connection.recv(65536)
    proxy.stop()
    sent = [stream.client.data for stream in recorded(tmp_path / "out")]
    assert sorted(octets.partition(b" ")[0] for octets in sent) == [b"CONNECT", b"GET", b"GET"]


def test_tls_is_taken_off_before(proxied, tmp_path) -> None:
    proxy = proxied("record_octets.py", lambda c, _: c.sendall(OK), record_flows_folder=["out"])
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    with proxy.connect() as plain, trusting.wrap_socket(plain, server_hostname="a.example") as connection:
        connection.sendall(LAST)
        got = b""
        while not got.endswith(b"ok"):
            got += connection.recv(65536)
    proxy.stop()
    assert legs(tmp_path / "out")["client"] == (LAST, OK)


def test_where_it_fails_the_traffic_goes_on(proxied, tmp_path, caplog, monkeypatch) -> None:
    proxy = proxied("record_octets.py", lambda c, _: c.sendall(OK), record_flows_folder=["out"])

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(CANARY.decode())

    monkeypatch.setattr(proxy.master.addons.get("record-octets"), "_keep", fails)
    assert proxy.ask(LAST) == OK
    assert "a client is not recorded any further (RuntimeError)" in caplog.text
    assert CANARY.decode() not in caplog.text


def test_what_it_cannot_write_passes(proxied, tmp_path, caplog) -> None:
    proxy = proxied("record_octets.py", lambda c, _: c.sendall(OK), record_flows_folder=["out"])
    (tmp_path / "out").rmdir()
    assert proxy.ask(LAST) == OK
    proxy.stop()
    assert "is not recorded: No such file or directory" in caplog.text


def test_another_mitmproxy_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mitmproxy.proxy.commands", None)
    monkeypatch.delattr("mitmproxy.proxy.commands", raising=False)
    with pytest.raises(ImportError, match=r"record-octets works with mitmproxy 12\.2"):
        mitm.script_addons(SCRIPT)

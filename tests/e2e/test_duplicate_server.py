"""The incident hoplint began with: a session server doubles Server, and every agent trial dies.

Real FastAPI on uvicorn behind a real mitmdump, real clients; without the addon they fail, with it they succeed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import read

PROGRAMS = Path(__file__).parent / "programs"
ADDON = Path(__file__).parents[2] / "addons" / "dedupe_headers.py"

REFUSAL = "Duplicate 'Server' header found."
CLIENTS = [
    pytest.param("aiohttp-3.13.4", "aiohttp_client.py", (), REFUSAL, id="aiohttp-3.13.4"),
    pytest.param("aiohttp-current", "aiohttp_client.py", ("-X", "dev"), REFUSAL, id="aiohttp-current-dev"),
    pytest.param("litellm", "litellm_client.py", (), "Connection error", id="litellm"),
]


@pytest.fixture
def session_server(start, python, free_port: Callable[[], int]) -> int:
    """The port of a session server in front of a worker."""
    worker, port = free_port(), free_port()
    start([python("servers"), PROGRAMS / "worker.py", worker], worker)
    start([python("servers"), PROGRAMS / "session_server.py", port, worker], port)
    return port


def rules(report: dict) -> Counter[str]:
    return Counter(finding["rule"] for finding in report["findings"])


@pytest.mark.parametrize("how", ["json", "stream"])
@pytest.mark.parametrize(("environment", "program", "options", "refusal"), CLIENTS)
def test_fails_without_the_addon(
    session_server: int, proxy, client, environment, program, options, refusal, how
) -> None:
    recorded = proxy(session_server)
    outcome = client(environment, program, recorded.url, how, options=options)
    assert refusal in outcome["error"]
    report = recorded.findings()
    assert rules(report)["duplicate-server"] >= 1
    assert rules(report)["duplicate-date"] >= 1
    (finding, *_) = [f for f in report["findings"] if f["rule"] == "duplicate-server"]
    assert finding["fix"] == "dedupe-headers"
    assert finding["origin"] == "server"
    assert "aiohttp 3.13.4" in finding["breaks"]


@pytest.mark.parametrize("how", ["json", "stream"])
@pytest.mark.parametrize(("environment", "program", "options", "refusal"), CLIENTS)
def test_succeeds_with_the_addon(
    session_server: int, proxy, client, environment, program, options, refusal, how
) -> None:
    recorded = proxy(session_server, "-s", ADDON)
    outcome = client(environment, program, recorded.url, how, options=options)
    assert "error" not in outcome
    assert "hel" in outcome["text"]
    assert rules(recorded.findings()) == Counter()


def test_the_recording_tells_what_was_changed(session_server: int, proxy, client) -> None:
    recorded = proxy(session_server, "-s", ADDON)
    client("aiohttp-3.13.4", "aiohttp_client.py", recorded.url, "json")
    recorded.findings()
    (exchange,) = read(recorded.recording)
    assert exchange.response is not None
    assert len(exchange.response.fields.lines("server")) == 1
    assert {edit.field.lower() for edit in exchange.edits} == {"server", "date"}
    assert {edit.addon for edit in exchange.edits} == {"dedupe-headers"}
    assert exchange.received is not None
    assert exchange.received.response is not None
    assert len(exchange.received.response.fields.lines("server")) == 2


def test_one_command_in_front(session_server: int, start, client, free_port, tmp_path: Path) -> None:
    """``hoplint proxy`` is mitmdump with the suite."""
    port = free_port()
    mode = f"reverse:http://127.0.0.1:{session_server}"
    command = [
        "-m",
        "conformance",
        "proxy",
        "--isolated",
        "--mode",
        mode,
        "--listen-host",
        "127.0.0.1",
        "--listen-port",
        port,
    ]
    start([sys.executable, *command, "--set", f"confdir={tmp_path / 'mitmproxy'}"], port)
    outcome = client("aiohttp-3.13.4", "aiohttp_client.py", f"http://127.0.0.1:{port}", "stream")
    assert "[DONE]" in outcome["text"]

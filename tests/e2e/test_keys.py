"""A router and an engine that ask for keys, each for its own, and a trainer that has none.

sglang-router checks its key and sends it on to the engine, which has others: one for inference and one for its control
plane; smg asks the engine for its models with the router's key. slime asks both with no key, or with `Bearer None`,
and its flush loop hides sixty 401 behind a timeout.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
ROUTER_KEY, ENGINE_KEY, CONTROL_KEY, WRONG_KEY = (
    f"{name}-key-a1b2c3d4e5f6a7b8" for name in ("router", "engine", "control", "wrong")
)
# The router sends its own key on, which is none of the engine's.
ENGINE_SETTINGS = """
[policy.auth]
data-key = "file:{folder}/engine.key"
control-key = "file:{folder}/control.key"
required = true

[policy.inject-auth]
overwrite = true
"""


@pytest.fixture
def settings(tmp_path: Path) -> str:
    """hoplint.toml of the proxy in front of the engine, whose keys are in files, as they are mounted into a pod."""
    for name, key in (("engine", ENGINE_KEY), ("control", CONTROL_KEY)):
        (tmp_path / f"{name}.key").write_text(f"{key}\n")
    return ENGINE_SETTINGS.format(folder=tmp_path)


@pytest.fixture
def engine(start, python, environment, free_port: Callable[[], int]) -> int:
    """The port of an engine that checks keys with SGLang's own code."""
    port = free_port()
    (auth,) = environment("sglang").parent.glob("lib/python*/site-packages/sglang/srt/utils/auth.py")
    start([python("servers"), PROGRAMS / "worker.py", port, auth, ENGINE_KEY, CONTROL_KEY], port)
    return port


@pytest.mark.row(
    "3. Keys of routers and engines",
    "slime's requests → sglang-router --api-key → SGLang's key check",
    "requests",
    "sglang-router",
    "sglang",
)
def test_each_gets_its_own_key(engine: int, settings: str, router, proxy, client, record) -> None:
    def train(suite: bool):
        """What slime sees, and the proxies in front of the engine and of the router."""
        inner = proxy(engine, suite=suite, profile="sglang", settings=settings)
        port = router("sglang-router", inner.port, "--api-key", ROUTER_KEY)
        outer = proxy(port, suite=suite, profile="sglang-router", env={"SGLANG_ROUTER_API_KEY": ROUTER_KEY})
        return client("requests", "slime_client.py", inner.url, outer.url, inner.url), inner, outer

    before, inner, outer = train(suite=False)
    assert before["health"] == 200
    assert before["register"] == before["completion"] == 401
    assert before["flush"] == {"statuses": [401] * 5, "error": "Timeout while flushing cache."}
    # Whoever has the router's key is refused by the engine.
    assert status(f"{outer.url}/v1/chat/completions", ROUTER_KEY) == 401
    assert {"placeholder-bearer-token", "control-plane-key-missing"} <= inner.rules() & outer.rules()

    after, inner, outer = train(suite=True)
    assert after["health"] == after["completion"] == 200
    assert after["register"] == 202
    assert after["flush"] == {"statuses": [200]}
    assert status(f"{outer.url}/v1/chat/completions", ROUTER_KEY) == 200
    assert inner.rules() == outer.rules() == set()
    record(
        without="register 401, flush 5 × 401 and “Timeout”, completion 401; "
        "linted: placeholder-bearer-token, control-plane-key-missing",
        with_="register 202, flush 200, completion 200; linted: clean",
    )


@pytest.mark.heavy
@pytest.mark.row("3. Keys of routers and engines", "smg --api-key → SGLang's key check", "smg", "sglang")
def test_a_router_that_asks_the_engine_with_its_own_key(
    engine: int, settings: str, router, proxy, record
) -> None:
    words = ("--api-key", ROUTER_KEY, "--worker-startup-check-interval", "1")
    inner = proxy(engine, profile="sglang", settings=settings)
    port = router("smg", inner.port, *words, ready=False)
    # It asks for the engine's models, is refused, and asks again, for half an hour.
    inner.running.wait_until_said("401 Unauthorized", 6)
    assert status(f"http://127.0.0.1:{port}/v1/chat/completions", ROUTER_KEY) == 404
    assert "repeated-401-with-same-credentials" in inner.rules()

    inner = proxy(engine, suite=True, profile="sglang", settings=settings)
    port = router("smg", inner.port, *words)
    assert status(f"http://127.0.0.1:{port}/v1/chat/completions", ROUTER_KEY) == 200
    assert inner.rules() == set()
    record(
        without="the engine answers 401 to smg's key and is never taken into service, completion 404; "
        "linted: repeated-401-with-same-credentials",
        with_="completion 200; linted: clean",
    )


@pytest.mark.row(
    "3. Keys of routers and engines", "a wrong key in the suite → sglang-router --api-key", "sglang-router"
)
def test_a_wrong_key_is_said_once_and_never_shown(start, python, free_port, router, proxy, record) -> None:
    worker = free_port()
    start([python("servers"), PROGRAMS / "worker.py", worker], worker)
    port = router("sglang-router", worker, "--api-key", ROUTER_KEY)
    suite = proxy(port, suite=True, profile="sglang-router", env={"SGLANG_ROUTER_API_KEY": WRONG_KEY})
    assert [status(f"{suite.url}/v1/chat/completions") for _ in range(3)] == [401] * 3
    report = suite.findings()
    said = suite.running.said()
    assert said.count("refuses the key that was put in (auth.data-key, ") == 1
    shown = subprocess.run(
        [sys.executable, "-m", "conformance", "show", suite.recording],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "/v1/chat/completions" in shown
    for text in (said, str(report), shown):
        assert WRONG_KEY not in text
    record(without="", with_="3 × 401, said once in the log; the key is in no output")


def status(url: str, key: str = "") -> int:
    """The status of a completion, asked for with a key or with none."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code

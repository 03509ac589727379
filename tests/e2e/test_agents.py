"""Agents through the suite: they must not notice it.

Each does the same twice in front of the same model, through mitmdump alone and through the suite: the same exit code, the
same words, the same requests, also where the model fails. What they send is ordinary traffic: no rule finds anything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAMS = Path(__file__).parent / "programs"
INCIDENT = "6. Agents unharmed"
SENTENCE = "Hello from the model."


class Agent(NamedTuple):
    """How to have an agent do one thing without asking. ``{url}`` is its model's, ``{home}`` its home."""

    environment: str
    command: Sequence[str]
    profile: str
    env: Mapping[str, str]
    files: Mapping[str, str] = {}


CODEX = """
model = "gpt-5.2-codex"
model_provider = "model"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
analytics.enabled = false
otel.exporter = "none"
[model_providers.model]
name = "model"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "MODEL_KEY"
request_max_retries = 2
stream_max_retries = 2
"""
GEMINI = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"disableAutoUpdate": True},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}
PROVIDER = {
    "npm": "@ai-sdk/openai-compatible",
    "options": {"baseURL": "{url}/v1", "apiKey": "not-a-key"},
    "models": {"m": {}, "small": {}},
}
OPENCODE = {
    "autoupdate": False, "share": "disabled", "permission": {"bash": "allow"}, "provider": {"model": PROVIDER},
    "model": "model/m", "small_model": "model/small",
}  # fmt: skip
ASK = "Run echo in the shell"


def codex(extra: str = "") -> Agent:
    return Agent(
        "codex",
        ("codex", "exec", "--skip-git-repo-check", ASK),
        "codex",
        {"CODEX_HOME": "{home}", "MODEL_KEY": "not-a-key"},
        {"config.toml": CODEX + extra},
    )


AGENTS = {
    "Codex over HTTP": codex(),
    "Codex over WebSocket": codex("supports_websockets = true\n"),
    "Claude Code": Agent(
        "claude-code",
        ("claude", "-p", ASK, "--allowedTools", "Bash", "--model", "claude-sonnet-4-5"),
        "anthropic",
        {
            "ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "not-a-key", "IS_SANDBOX": "1",
            "CLAUDE_CODE_MAX_RETRIES": "3", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
        },
    ),
    "opencode": Agent(
        "opencode",
        ("opencode", "run", "-m", "model/m", ASK),
        "openai",
        {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"},
        {".config/opencode/opencode.json": json.dumps(OPENCODE)},
    ),
    "gemini-cli": Agent(
        "gemini-cli",
        ("gemini", "-m", "gemini-2.5-flash", "--yolo", "-p", ASK),
        "gemini",
        {
            "GEMINI_API_KEY": "not-a-key",
            "GOOGLE_GEMINI_BASE_URL": "{url}",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        },
        {".gemini/settings.json": json.dumps(GEMINI)},
    ),
    "aider": Agent(
        "aider",
        (
            "aider", "--model", "openai/m", "--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings",
            "--no-analytics", "--no-show-release-notes", "--no-pretty", "--message", "Say hello",
        ),
        "openai",
        {"OPENAI_API_KEY": "not-a-key", "OPENAI_API_BASE": "{url}/v1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
}  # fmt: skip
TROUBLES = {"": (), "429, then 500": ("--fail", "429,500"), "401": ("--key", "another")}
SOCKET_TROUBLES = {
    "": (),
    "1011": ("--close-first",),
    "426": ("--no-websocket",),
}


class Outcome(NamedTuple):
    """What a user sees of a run, what the model saw of it, and what the recording says."""

    code: int
    said: str
    requests: list[tuple[str, str]]
    rules: set[str]


@pytest.fixture
def model(start, python, free_port) -> Callable[..., int]:
    """Start the model that agents speak to, with options; its port."""

    def begin(*options: str) -> int:
        port = free_port()
        start([python("servers"), PROGRAMS / "model.py", port, *options], port)
        return port

    return begin


def seen(port: int) -> list[dict[str, Any]]:
    """The requests that a model has seen."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/seen", timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def run(environment, model, proxy, tmp_path: Path) -> Callable[..., Outcome]:
    """Run an agent in front of a fresh model."""

    def once(agent: Agent, options: Sequence[str], suite: bool) -> Outcome:
        port = model(*options)
        hop = proxy(port, suite=suite, profile=agent.profile)
        home = tmp_path / f"home-{suite}"

        def filled(text: str) -> str:
            return text.replace("{url}", hop.url).replace("{home}", str(home))

        for name, text in agent.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(filled(text))
        (home / "work").mkdir(parents=True)
        program, *words = agent.command
        plain = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "NO_COLOR": "1", "CI": "1"}
        done = subprocess.run(
            [environment(agent.environment) / program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            cwd=home / "work", timeout=180, env=plain | {name: filled(value) for name, value in agent.env.items()},
        )  # fmt: skip
        said = re.sub(r"0x[0-9a-f]+", "0x", done.stdout.replace(hop.url, "").replace(str(home), ""))
        requests = [(each["method"], each["path"]) for each in seen(port)]
        return Outcome(done.returncode, said, requests, hop.rules())

    return once


def cases() -> list[Any]:
    rows = []
    for name, agent in AGENTS.items():
        troubles = SOCKET_TROUBLES if name.endswith("WebSocket") else TROUBLES
        for trouble, options in troubles.items():
            row = pytest.mark.row(
                INCIDENT, f"{name}: {trouble}" if trouble else name, agent.environment, "servers"
            )
            rows.append(pytest.param(agent, trouble, options, marks=row, id=f"{name}-{trouble or 'well'}"))
    return rows


@pytest.mark.heavy
@pytest.mark.parametrize(("agent", "trouble", "options"), cases())
def test_unharmed(record, run, agent: Agent, trouble: str, options: Sequence[str]) -> None:
    bare = run(agent, options, suite=False)
    suite = run(agent, options, suite=True)
    record(without=told(bare), with_=told(suite))
    assert (suite.code, suite.said) == (bare.code, bare.said)
    if trouble == "401":
        # tame-retries says x-should-retry: false, and those who read it are spared what cannot help.
        assert suite.requests == bare.requests[: len(suite.requests)]
        assert suite.requests
        assert bare.rules <= {"retry-of-permanent-failure", "repeated-401-with-same-credentials"}
        assert suite.rules <= bare.rules
        return
    assert suite.requests == bare.requests
    assert SENTENCE in suite.said
    assert (
        bare.rules == suite.rules == ({"websocket-closed-before-first-event"} if trouble == "1011" else set())
    )


def told(outcome: Outcome) -> str:
    """For the table."""
    count = len(outcome.requests)
    answer = "the answer" if SENTENCE in outcome.said else "the error"
    found = ", ".join(sorted(outcome.rules)) or "no finding"
    return f"{count} request{'s' * (count != 1)}, {answer}, exit code {outcome.code}; {found}"


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
@pytest.mark.parametrize(("trouble", "options"), TROUBLES.items())
def test_sdks_unharmed(client, model, proxy, sdk: str, trouble: str, options: Sequence[str]) -> None:
    """What the agents are built on."""

    def once(suite: bool) -> tuple[dict[str, Any], list[str], set[str]]:
        port = model(*options)
        hop = proxy(port, suite=suite, profile=sdk)
        outcome = client("sdks", "sdk_agent.py", sdk, hop.url)
        return outcome, [each["path"] for each in seen(port)], hop.rules()

    bare, suite = once(False), once(True)
    assert suite == bare
    outcome, requests, rules = suite
    assert not rules
    if trouble == "401":
        assert outcome["error"] == "AuthenticationError"
        assert len(requests) == 1
    else:
        assert outcome["text"] == SENTENCE
        assert len(requests) == (3 if trouble else 1)


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
@pytest.mark.parametrize("suite", [False, True], ids=["bare", "suite"])
def test_events_are_passed_on_at_once(client, model, proxy, sdk: str, suite: bool) -> None:
    """The model goes on only when its first event has arrived; mitmdump alone waits for the end of the stream."""
    port = model("--hold")
    hop = proxy(port, suite=suite, profile=sdk)
    outcome = client("sdks", "sdk_agent.py", sdk, hop.url, f"http://127.0.0.1:{port}")
    assert outcome["text"] == SENTENCE
    (request,) = seen(port)
    assert request["passed_on"] is suite

"""A LiteLLM proxy with session affinity keeps a conversation on one deployment if something names the conversation.

Harnesses that name none are spread over all deployments, and each turn finds another cold KV cache. x-litellm-model-id
says which deployment answered.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conformance import Exchange, read

PROGRAMS = Path(__file__).parent / "programs"
INCIDENT = "2. Session affinity"
KEY = "sk-not-a-key"
DEPLOYMENTS = ("A", "B", "C")
TURNS = 10
"""By chance they are all answered by one of three deployments once in 20,000 times."""


@pytest.fixture
def litellm(start, environment, python, free_port, tmp_path: Path) -> int:
    """The port of a LiteLLM proxy in front of a model that is deployed three times."""
    model, port = free_port(), free_port()
    start([python("servers"), PROGRAMS / "model.py", model], model)
    settings = {
        "model_list": [
            {
                "model_name": "m",
                "litellm_params": {"model": "openai/m", "api_base": f"http://127.0.0.1:{model}/v1", "api_key": "none"},
                "model_info": {"id": name},
            }
            for name in DEPLOYMENTS
        ],
        "router_settings": {
            "routing_strategy": "simple-shuffle", "num_retries": 0, "optional_pre_call_checks": ["session_affinity"],
        },
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False},
    }  # fmt: skip
    config = tmp_path / "litellm.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    command = [
        environment("litellm-proxy") / "litellm",
        "--config",
        config,
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    start(command, port, {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"})
    return port


def post(url: str, messages: list[dict[str, str]], headers: Mapping[str, str]) -> str:
    """What the model says."""
    body = json.dumps({"model": "m", "messages": messages}).encode()
    fields = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **headers}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, fields)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def talk(url: str, *tasks: str, **headers: str) -> None:
    """A harness: its conversations take turns, and nothing names them."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    histories = [[{"role": "user", "content": task}] for task in tasks]
    for turn in range(TURNS):
        for history in histories:
            said = post(url, history, named)
            history.append({"role": "assistant", "content": said})
            history.append({"role": "user", "content": f"go on, {turn}"})


def opening(exchange: Exchange) -> str:
    asked = json.loads(bytes(exchange.request.body or b"{}"))
    return next(str(message["content"]) for message in asked["messages"] if message["role"] == "user")


def by_conversation(
    recording: Path, what: Callable[[Exchange], bytes | None]
) -> dict[str, set[bytes | None]]:
    """What the exchanges of each conversation have."""
    found: dict[str, set[bytes | None]] = {}
    for exchange in read(recording):
        if exchange.request.path.endswith(b"/chat/completions"):
            found.setdefault(opening(exchange), set()).add(what(exchange))
    return found


def deployment(exchange: Exchange) -> bytes | None:
    return exchange.response.fields.one("x-litellm-model-id") if exchange.response else None


def session(exchange: Exchange) -> bytes | None:
    return exchange.request.fields.one("x-litellm-session-id")


@pytest.mark.heavy
@pytest.mark.row(INCIDENT, "LiteLLM proxy, a harness that names no session", "litellm-proxy", "servers")
def test_harness(record, litellm: int, proxy) -> None:
    bare = proxy(litellm, profile="litellm")
    talk(bare.url, "count the files", "write a test")
    found = bare.rules()
    spread = by_conversation(bare.recording, deployment)
    record(without=f"{told(spread)}; {', '.join(sorted(found))}")
    assert all(len(each) > 1 for each in spread.values())

    suite = proxy(litellm, suite=True, profile="litellm")
    talk(suite.url, "count the files", "write a test")
    found = suite.rules()
    kept = by_conversation(suite.recording, deployment)
    ids = by_conversation(suite.recording, session)
    record(with_=f"{told(kept)}; {', '.join(sorted(found)) or 'no finding'}")
    assert [len(each) for each in kept.values()] == [1, 1]
    (one,), (other,) = ids.values()
    assert one
    assert other
    assert one != other
    assert found == set()


@pytest.mark.heavy
@pytest.mark.row(INCIDENT, "LiteLLM proxy, a harness that names its sessions", "litellm-proxy", "servers")
def test_own_id_is_kept(record, litellm: int, proxy) -> None:
    suite = proxy(litellm, suite=True, profile="litellm")
    talk(suite.url, "count the files", x_litellm_session_id="session-of-mine-1")
    found = suite.rules()
    record(with_=f"its own id; {', '.join(sorted(found)) or 'no finding'}")
    assert by_conversation(suite.recording, session) == {"count the files": {b"session-of-mine-1"}}
    assert [len(each) for each in by_conversation(suite.recording, deployment).values()] == [1]
    assert found == set()


def told(found: dict[str, set[bytes | None]]) -> str:
    """For the table."""
    return ", ".join(f"a conversation on {len(each)}" for each in found.values()) + " of 3 deployments"


@pytest.mark.heavy
@pytest.mark.row(
    INCIDENT, "OpenHands SDK 1.23.1, which sends no session", "openhands-1.23.1", "litellm-proxy"
)
def test_openhands_without_a_session(record, litellm: int, proxy, client) -> None:
    bare = proxy(litellm, profile="litellm")
    client("openhands-1.23.1", "openhands_client.py", bare.url, KEY, 1, TURNS)
    found = bare.rules()
    spread = {deployment(exchange) for exchange in read(bare.recording)}
    record(without=f"a conversation on {len(spread)} of 3 deployments; {', '.join(sorted(found))}")
    assert len(spread) > 1

    suite = proxy(litellm, suite=True, profile="litellm")
    client("openhands-1.23.1", "openhands_client.py", suite.url, KEY, 1, TURNS)
    found = suite.rules()
    kept = {deployment(exchange) for exchange in read(suite.recording)}
    record(
        with_=f"a conversation on {len(kept)} of 3 deployments; {', '.join(sorted(found)) or 'no finding'}"
    )
    assert len(kept) == 1
    assert found == set()


@pytest.mark.heavy
@pytest.mark.row(
    INCIDENT, "OpenHands SDK 1.25.0, one agent with two conversations", "openhands-1.25.0", "litellm-proxy"
)
def test_openhands_shares_an_id(record, litellm: int, proxy, client) -> None:
    """1.25.0 sends the first conversation's id for the second, too. A caller's own id is kept, so it is only told."""
    for suite in (False, True):
        hop = proxy(litellm, suite=suite, profile="litellm")
        first, second = client("openhands-1.25.0", "openhands_client.py", hop.url, KEY, 2, 2)["ids"]
        found = hop.rules()
        ids = {session(exchange) for exchange in read(hop.recording)}
        said = f"{len(ids)} id for 2 conversations; {', '.join(sorted(found))}"
        record(**({"with_": said} if suite else {"without": said}))
        assert first != second
        assert ids == {first.encode()}
        assert "session-id-shared-across-conversations" in found

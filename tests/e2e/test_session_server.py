"""The incident hoplint began with: a session server doubles Server, and every agent trial dies.

A session server copies what sglang-router passes on from an engine, and uvicorn adds its own Server and Date to it.
Clients that refuse the second Server fail through mitmdump alone and succeed through the suite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from conformance import Exchange, read

PROGRAMS = Path(__file__).parent / "programs"


class Client(NamedTuple):
    """A client, and what it makes of two Server lines."""

    name: str
    environment: str
    program: str
    refusal: str
    posts: int = 1
    options: tuple[str, ...] = ()
    hows: tuple[str, ...] = ("json", "stream")


AIOHTTP = Client("aiohttp 3.13.4", "aiohttp-3.13.4", "aiohttp_client.py", "Duplicate 'Server' header found.")
DEV = AIOHTTP._replace(
    name="aiohttp 3.14.5 under -X dev", environment="aiohttp-current", options=("-X", "dev")
)
LITELLM = Client("litellm", "litellm", "litellm_client.py", "OpenAIException - Connection error.")
# Three attempts of harbor's, three of the openai SDK's in each.
HARBOR = Client(
    "harbor", "harbor", "harbor_client.py", "OpenAIException - Connection error.", 9, hows=("json",)
)


@pytest.fixture
def session_server(start, python, router, free_port: Callable[[], int]) -> Callable[[str], int]:
    """Start an engine, a router in front of it and a session server in front of that; the last one's port."""

    def begin(name: str) -> int:
        worker, port = free_port(), free_port()
        start([python("servers"), PROGRAMS / "worker.py", worker], worker)
        start([python("servers"), PROGRAMS / "session_server.py", port, router(name, worker)], port)
        return port

    return begin


CASES = [
    ("sglang-router", AIOHTTP), ("sglang-router", DEV), ("sglang-router", LITELLM), ("smg", AIOHTTP),
]  # fmt: skip
HEAVY = [("smg", LITELLM), ("sglang-router", HARBOR), ("smg", HARBOR)]


def parameter(gateway: str, agent: Client, *marks: pytest.MarkDecorator):
    """A row of the table in README.md, and its test."""
    system = f"{agent.name} → session server → {gateway}"
    row = pytest.mark.row("1. A session server doubles Server", system, agent.environment, "servers", gateway)
    return pytest.param(gateway, agent, id=f"{gateway}-{agent.name}", marks=[row, *marks])


@pytest.mark.parametrize(
    ("gateway", "agent"),
    [*(parameter(*case) for case in CASES), *(parameter(*case, pytest.mark.heavy) for case in HEAVY)],
)
def test_a_doubled_server(session_server, proxy, client, record, gateway: str, agent: Client) -> None:
    port = session_server(gateway)
    alone, suite = proxy(port), proxy(port, suite=True)
    words = (agent.environment, agent.program)
    before = client(*words, alone.url, *agent.hows, options=agent.options)
    after = client(*words, suite.url, *agent.hows, options=agent.options)

    found = [each for each in alone.findings()["findings"] if each["rule"] == "duplicate-server"]
    assert suite.rules() == set()
    for how in agent.hows:
        assert agent.refusal in before[how]["error"]
        assert posts(alone.recording)[f"/sessions/{how}/v1/chat/completions"] == agent.posts
        assert "hel" in after[how]["text"]
        assert posts(suite.recording)[f"/sessions/{how}/v1/chat/completions"] == 1
    assert len(found) == agent.posts * len(agent.hows)
    assert {(each["fix"], each["origin"]) for each in found} == {("dedupe-headers", "server")}
    assert "aiohttp 3.13.4" in found[0]["breaks"]
    for exchange in read(suite.recording):
        dropped = [edit.field.lower() for edit in exchange.edits if edit.addon == "dedupe-headers"]
        assert sorted(dropped) == ["date", "server"]
        assert servers(exchange) == 1
        assert servers(exchange.received) == 2
    record(
        without=f"{agent.posts} POST{'s' * (agent.posts > 1)}: “{agent.refusal}”; linted: duplicate-server",
        with_="1 POST: the answer; linted: clean",
    )


def servers(exchange: Exchange | None) -> int:
    """How many Server lines the response has."""
    assert exchange is not None
    assert exchange.response is not None
    return len(exchange.response.fields.lines("server"))


def posts(recording: Path) -> Counter[str]:
    """How many POST requests a recording has for each target."""
    requests = [each.request for each in read(recording) if each.request is not None]
    return Counter(each.target.decode() for each in requests if each.method == b"POST")

"""codex-lb 1.20.1 takes an HTTP request to the upstream's WebSocket, with the headers and betas of HTTP.

The upstream is an ordinary WebSocket endpoint on uvicorn, which reads the last of two Connection lines and serves 404.
And after a close with 1011 the bridge goes on with another account, which does not know the conversation.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAMS = Path(__file__).parent / "programs"
INCIDENT = "4. WebSocket bridge"
SOFTWARE = ("codex-lb", "servers")
MOVED = "session-moved-after-close-1011"
ASK = {
    "model": "gpt-5.2-codex",
    "instructions": "You are Codex",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
    "stream": True,
    "store": False,
    "prompt_cache_key": "conversation-77",
}
SDK = {
    "Content-Type": "application/json",
    "Authorization": "Bearer not-a-key",
    "Accept": "text/event-stream",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
    "OpenAI-Beta": "responses=experimental",
    "session_id": "session-0001",
    "originator": "my-sdk",
}
"""The headers of an SDK's request that 1.20.1 takes over into the handshake."""


class Bridge(NamedTuple):
    """codex-lb in front of a proxy in front of the upstream."""

    port: int
    hop: Any
    upstream: int

    def ask(self) -> tuple[int, str]:
        """One request; the status, and what came back."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/backend-api/codex/responses", json.dumps(ASK), SDK)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def accounts(self) -> list[str]:
        """The accounts of the handshakes that the upstream has accepted, in their order."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.upstream}/seen", timeout=10) as answer:
            return [each["headers"]["chatgpt-account-id"] for each in json.load(answer)]


def token(number: int) -> str:
    """A JWT as an account of ChatGPT has one. Nobody checks the signature."""
    account = f"account-{number}"
    claims = {
        "exp": 4102444800,
        "sub": account,
        "email": f"{account}@example.test",
        "https://api.openai.com/auth": {
            "chatgpt_account_id": account, "chatgpt_plan_type": "pro", "chatgpt_user_id": account, "user_id": account,
        },
        "https://api.openai.com/profile": {"email": f"{account}@example.test", "email_verified": True},
    }  # fmt: skip
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def add_account(port: int, number: int) -> None:
    """Import an account as its user would: the auth.json that ``codex login`` writes, as a form's file."""
    auth = {
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": token(number), "access_token": token(number), "refresh_token": f"refresh-{number}",
            "account_id": f"account-{number}",
        },
        "last_refresh": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    form = (
        '--form\r\nContent-Disposition: form-data; name="auth_json"; filename="auth.json"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps(auth)}\r\n--form--\r\n"
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/accounts/import", form.encode(),
        {"Content-Type": "multipart/form-data; boundary=form"},
    )  # fmt: skip
    urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture
def bridge(start, python, environment, proxy, free_port, tmp_path: Path) -> Callable[..., Bridge]:
    """Start all of it: codex-lb with two accounts, a proxy, an upstream with options."""

    def begin(*options: str, suite: bool, settings: str = "") -> Bridge:
        upstream, port = free_port(), free_port()
        start([python("servers"), PROGRAMS / "model.py", upstream, *options], upstream)
        hop = proxy(upstream, suite=suite, profile="codex", settings=settings)
        data = tmp_path / f"codex-lb-{port}"
        data.mkdir()
        env = {
            "HOME": str(data),
            "CODEX_LB_DATA_DIR": str(data),
            "CODEX_LB_UPSTREAM_BASE_URL": f"{hop.url}/backend-api",
            "CODEX_LB_AUTH_BASE_URL": hop.url,
            "CODEX_LB_USAGE_REFRESH_ENABLED": "false",
            "CODEX_LB_MODEL_REGISTRY_ENABLED": "false",
            "CODEX_LB_UPSTREAM_STREAM_TRANSPORT": "websocket",
        }
        start([environment("codex-lb") / "codex-lb", "--host", "127.0.0.1", "--port", port], port, env)
        for number in (1, 2):
            add_account(port, number)
        return Bridge(port, hop, upstream)

    return begin


@pytest.mark.heavy
@pytest.mark.row(INCIDENT, "codex-lb to uvicorn: the handshake", *SOFTWARE)
def test_handshake(record, bridge) -> None:
    bare = bridge(suite=False)
    status, said = bare.ask()
    found = bare.hop.rules()
    record(without=f"404 for the handshake, {status} for the client; {', '.join(sorted(found))}")
    assert "404" in said or status == 404
    assert "http-beta-in-websocket-handshake" in found
    assert "http-header-in-websocket-handshake" in found
    suite = bridge(suite=True)
    status, said = suite.ask()
    found = suite.hop.rules()
    record(with_=f"101, {status} for the client; {', '.join(sorted(found)) or 'no finding'}")
    assert (status, "response.completed" in said) == (200, True)
    assert found == set()


@pytest.mark.heavy
@pytest.mark.row(INCIDENT, "codex-lb to uvicorn: close 1011", *SOFTWARE)
def test_close_1011(record, bridge) -> None:
    """The handshakes must succeed in both halves, so both have the suite, one without the hold of pin-affinity."""
    loose = bridge("--close-first", suite=True, settings="[policy.pin-affinity]\nhold = 0\n")
    status, _ = loose.ask()
    first, second = loose.accounts()
    found = loose.hop.rules()
    record(without=f"{status}; {first} closed, continued on {second}; {', '.join(sorted(found))}")
    assert status == 200
    assert first != second
    assert MOVED in found
    pinned = bridge("--close-first", suite=True)
    status, _ = pinned.ask()
    again, said = pinned.ask()
    first, second = pinned.accounts()
    found = pinned.hop.rules()
    record(with_=f"{status}, then {again}; {first} closed, continued on {second}; {', '.join(sorted(found))}")
    assert (status, again) == (502, 200), "as codex-lb 1.24.0 does"
    assert "response.completed" in said
    assert first == second
    assert MOVED not in found

"""Gateways that copy what their provider's responses have: CORS, cookies, security policies, statuses.

The proxy stands between gateway and provider, where nothing is doubled yet and the gateway's own headers are safe. What
the client gets is recorded by another, plain mitmdump, and linted.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAMS = Path(__file__).parent / "programs"
INCIDENT = "5. Gateways that copy headers"
ORIGIN = "https://app.example"
SETTINGS = """
[policy.response-headers]
allow = ["x-ratelimit-*", "x-request-id", "retry-after-ms"]
[policy.map-status]
enabled = true
"""
"""What its user would write: what clients may see of the provider, and that its faults are not the gateway's."""
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
FIELDS = {"Content-Type": "application/json", "Authorization": "Bearer not-a-key", "Origin": ORIGIN}
LEAKS = {
    "access-control-header-from-provider",
    "security-header-from-provider",
    "set-cookie-from-provider",
    "duplicate-access-control-allow-origin",
    "duplicate-security-header",
}


class Chain(NamedTuple):
    """provider <- hop <- gateway <- watch <- client"""

    hop: Any
    watch: Any


@pytest.fixture
def provider(start, python, free_port) -> int:
    port = free_port()
    start([python("servers"), PROGRAMS / "provider.py", port], port)
    return port


Gateway = Callable[[int, str, str], list[object]]
"""The command of a gateway: on a port, in front of a URL, with an origin of its own."""


@pytest.fixture
def python_gateway(python) -> Gateway:
    return lambda port, url, origin: [python("servers"), PROGRAMS / "copying_gateway.py", port, url, origin]


@pytest.fixture
def go_gateway(program, tmp_path: Path) -> Gateway:
    built = tmp_path / "gateway"
    env = {**os.environ, "GO111MODULE": "off", "GOCACHE": str(tmp_path / "go")}
    source = PROGRAMS / "copying_gateway.go"
    subprocess.run([program("go"), "build", "-o", built, source], check=True, env=env, timeout=180)
    return lambda port, url, origin: [built, port, url, origin]


@pytest.fixture
def chain(start, provider: int, proxy, free_port) -> Callable[..., Chain]:
    def begin(gateway: Gateway, *, suite: bool, origin: str = ORIGIN) -> Chain:
        hop = proxy(provider, suite=suite, settings=SETTINGS)
        port = free_port()
        start(gateway(port, hop.url, origin), port)
        return Chain(hop, proxy(port))

    return begin


def post(url: str, *, stream: bool = False, **headers: str) -> tuple[int, HTTPMessage, str]:
    """Status, headers and content."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.dumps(ASK | {"stream": stream}).encode()
    request = urllib.request.Request(url, content, FIELDS | named)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def exchanges(chain: Chain) -> dict[str, tuple[int, HTTPMessage, str]]:
    kinds = ("plain", "stream", "close", "hop", "401", "429", "500")
    where = f"{chain.watch.url}/{{}}/v1/chat/completions"
    return {kind: post(where.format(kind), stream=kind == "stream") for kind in kinds}


GATEWAYS = [
    pytest.param(
        "python_gateway", id="python", marks=pytest.mark.row(INCIDENT, "FastAPI, all copied", "servers")
    ),
    pytest.param(
        "go_gateway",
        id="go",
        marks=[pytest.mark.heavy, pytest.mark.row(INCIDENT, "Go, all added", "servers")],
    ),
]


@pytest.mark.parametrize("which", GATEWAYS)
def test_leaks(record, request: pytest.FixtureRequest, chain, which: str) -> None:
    gateway = request.getfixturevalue(which)
    bare = chain(gateway, suite=False)
    got = exchanges(bare)
    found = bare.watch.rules()
    statuses = [status for status, _, _ in got.values()]
    record(without=f"{statuses}; {', '.join(sorted(found))}")
    assert statuses == [200, 200, 200, 200, 401, 429, 500]
    assert found >= LEAKS
    _, headers, _ = got["plain"]
    assert headers.get_all("access-control-allow-origin") == [ORIGIN, "*"]

    suite = chain(gateway, suite=True)
    got = exchanges(suite)
    found = suite.watch.rules()
    statuses = [status for status, _, _ in got.values()]
    record(with_=f"{statuses}; {', '.join(sorted(found)) or 'no finding'}")
    assert statuses == [200, 200, 200, 200, 401, 429, 502], "the provider's fault is not the gateway's"
    assert not found & LEAKS
    for kind, (_, headers, content) in got.items():
        assert headers.get_all("access-control-allow-origin") == [ORIGIN], kind
        assert headers.get_all("x-frame-options") == ["DENY"]
        assert not headers.get_all("set-cookie")
        assert not headers.get_all("keep-alive")
        assert not headers.get_all("proxy-authenticate")
        assert "hello" in content or kind.isdigit()
    assert got["500"][1]["x-upstream-status"] == "500"
    assert got["429"][1]["retry-after"] == "2"
    assert got["401"][1]["www-authenticate"] == 'Bearer realm="provider"'
    assert "[DONE]" in got["stream"][2]


PORTKEY_LEAKS = {
    "access-control-header-from-provider",
    "security-header-from-provider",
    "set-cookie-from-provider",
}


@pytest.mark.heavy
@pytest.mark.row(INCIDENT, "Portkey", "portkey", "servers")
def test_portkey(record, start, environment, provider: int, proxy, free_port) -> None:
    """Portkey is told where its provider is with each request, so it is told to go through the hop."""
    port = free_port()
    start([environment("portkey") / "gateway", f"--port={port}", "--headless"], port)

    def ask(suite: bool) -> tuple[dict[str, tuple[int, HTTPMessage, str]], set[str]]:
        hop = proxy(provider, suite=suite, settings=SETTINGS)
        watch = proxy(port)
        got = {}
        for kind in ("plain", "401", "429", "500"):
            there = f"{hop.url}/{kind}"
            got[kind] = post(
                f"{watch.url}/v1/chat/completions", x_portkey_provider="openai", x_portkey_custom_host=there
            )
        return got, watch.rules()

    got, found = ask(suite=False)
    statuses = [status for status, _, _ in got.values()]
    record(without=f"{statuses}; {', '.join(sorted(found))}")
    assert statuses == [200, 401, 429, 500]
    assert found >= PORTKEY_LEAKS
    assert got["plain"][1]["set-cookie"]

    got, found = ask(suite=True)
    statuses = [status for status, _, _ in got.values()]
    record(with_=f"{statuses}; {', '.join(sorted(found)) or 'no finding'}")
    assert statuses == [200, 401, 429, 502]
    assert not found & PORTKEY_LEAKS
    assert not any(headers["set-cookie"] for _, headers, _ in got.values())
    assert got["429"][1]["retry-after"] == "2"


PAGE = """<!doctype html><pre>waiting</pre><script>
fetch("{url}/plain/v1/chat/completions", {{
  method: "POST", body: "{{}}", headers: {{"content-type": "application/json"}}
}}).then(answer => answer.text()).catch(error => "refused: " + error)
  .then(text => {{ document.querySelector("pre").textContent = text }})
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    """The page of ``server.text``."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.text.encode())  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def site() -> Iterator[http.server.HTTPServer]:
    """A web application's origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.mark.heavy
@pytest.mark.row(INCIDENT, "Chromium behind FastAPI, all copied", "servers")
def test_browser(record, program, chain, python_gateway, site, tmp_path: Path) -> None:
    """The only judge of CORS there is."""
    chromium = program("chromium")
    version = subprocess.run([chromium, "--version"], capture_output=True, text=True, check=True).stdout
    record(versions=(" ".join(version.split()[:2]).lower(),))
    origin = f"http://127.0.0.1:{site.server_port}"

    def shown(suite: bool) -> tuple[str, set[str]]:
        whole = chain(python_gateway, suite=suite, origin=origin)
        site.text = PAGE.format(url=whole.watch.url)  # type: ignore[attr-defined]
        command = [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / f'chromium-{suite}'}", "--virtual-time-budget=20000", "--dump-dom", origin,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        found = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
        assert found is not None, done.stderr[-2000:]
        return found[1], whole.watch.rules()

    text, found = shown(suite=False)
    record(without=f"{text}; {', '.join(sorted(found))}")
    assert text == "refused: TypeError: Failed to fetch"
    assert "duplicate-access-control-allow-origin" in found
    text, found = shown(suite=True)
    record(with_=f"the page reads the answer; {', '.join(sorted(found)) or 'no finding'}")
    assert "hello" in text
    assert "duplicate-access-control-allow-origin" not in found

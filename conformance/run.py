"""An agent run behind a proxy of its own, which records what it says to its models.

The agent finds the proxy by the variables that the SDKs read. Without an upstream of its own each API is passed on
to where the agent would have sent it: what the variable says already, or else the provider.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from conformance.processes import DidNotStart, background, foreground, handled

PROVIDERS = {
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
}
"""Variable by which an SDK finds its API -> where it goes without. OpenAI's has the version in its path."""

DEAF = {"codex": ("-c", 'openai_base_url="{OPENAI_BASE_URL}"')}
"""Agents that read no variable (Codex, see its issue 16719) -> words that tell them, behind their name."""

EVERYWHERE = (None, "", "0.0.0.0", "::")  # noqa: S104 - this only reads them
"""What mitmproxy takes for all addresses when it is told where to listen."""


class CannotRun(RuntimeError):
    """The command or its proxy cannot be started; one line."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    recordings: tuple[Path, ...]
    """What was recorded while it ran."""


def upstreams(environment: Mapping[str, str], upstream: str | None) -> dict[str, tuple[str, str]]:
    """For each variable the origin that its requests are passed on to, and the path that its URL has.

    ``upstream`` serves all of them. Raises CannotRun where a URL is none.
    """
    found = {}
    for name, provider in PROVIDERS.items():
        url = upstream or environment.get(name) or provider
        try:
            parts = urlsplit(url)
            origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            whose = "--upstream" if upstream else name
            raise CannotRun(f"{whose} is no URL of an API, such as http://127.0.0.1:4000/v1")
        path = parts.path.rstrip("/")
        if upstream:
            path = path.removesuffix("/v1") + ("/v1" if name == "OPENAI_BASE_URL" else "")
        found[name] = origin, path
    return found


def advised(modes: Sequence[str], host: str | None, port: str | None) -> dict[str, str]:
    """The variables that lead the usual agents to a proxy with these words; empty: none do, or it is not known."""
    mode = modes[0] if modes else "regular"
    if port == "0" or "@" in mode:
        return {}  # mitmproxy says where it listens
    place = f"http://{'127.0.0.1' if host in EVERYWHERE else host}:{port or 8080}"
    if mode.startswith(("reverse:http", "reverse:tcp:", "reverse:tls:")):
        return {name: place + urlsplit(url).path for name, url in PROVIDERS.items()}
    if mode == "regular":
        authority = Path("~/.mitmproxy/mitmproxy-ca-cert.pem").expanduser()
        return {"HTTP_PROXY": place, "HTTPS_PROXY": place, "SSL_CERT_FILE": str(authority)}
    return {}


def patient(modes: Sequence[str]) -> list[str]:
    """Words by which mitmproxy waits for a request before it connects to an upstream without TLS.

    Else, where the upstream refuses, it hangs up on the client without a word and nothing is recorded; so it is a 502
    that says why. With TLS it connects first: what the upstream speaks decides on what the client is offered.
    """
    plain = bool(modes) and all(mode.startswith("reverse:http://") for mode in modes)
    return ["--set", "connection_strategy=lazy"] if plain else []


def steered(command: Sequence[str], urls: Mapping[str, str]) -> list[str]:
    """The command, with what tells it of the proxy if it reads no variables."""
    name, *rest = command
    return [name, *(word.format_map(urls) for word in DEAF.get(Path(name).name, ())), *rest]


def run(
    command: Sequence[str],
    folder: Path,
    words: Sequence[str],
    upstream: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Ran:
    """Run the command behind ``hoplint proxy`` with these words, which records into the folder. Raises CannotRun."""
    targets = upstreams(environment, upstream)
    origins = list(dict.fromkeys(origin for origin, _ in targets.values()))
    proxy = [
        sys.executable, "-m", "conformance", "proxy", "--until-eof", "--record", str(folder), *words,
        # http3 would want the same port of two kinds of socket.
        "--set", "http3=false", "--set", "flow_detail=0",
        *(f"--mode=reverse:{origin}@127.0.0.1:{port}" for origin, port in zip(origins, _ports(), strict=False)),
    ]  # fmt: skip
    before = _recordings(folder)
    with ExitStack() as ends:
        ends.enter_context(handled(signal.default_int_handler, signal.SIGTERM))
        wait = ends.enter_context(background(proxy, own_session=True))
        try:
            said = wait(rb" to (\S+ listening at \S*?:\d+)", len(origins))
        except DidNotStart as problem:
            raise CannotRun(f"the proxy does not start: {problem}") from None
        places = {origin: place for origin, _, _, place in (line.decode().split() for line in said)}
        urls = {name: f"http://{places[origin]}{path}" for name, (origin, path) in targets.items()}
        local = ",".join(
            filter(None, (environment.get("NO_PROXY") or environment.get("no_proxy"), "127.0.0.1"))
        )
        try:
            code = foreground(
                steered(command, urls), {**environment, **urls, "NO_PROXY": local, "no_proxy": local}
            )
        except OSError as problem:
            raise CannotRun(f"{command[0]} cannot be run: {problem.strerror}") from None
    return Ran(code, tuple(sorted(_recordings(folder) - before)))


def _ports() -> Iterator[int]:
    """One that mitmproxy chooses, which it does for a single server only, and then free ones."""
    yield 0
    while True:
        with socket.create_server(("127.0.0.1", 0)) as found:
            port: int = found.getsockname()[1]
        yield port


def _recordings(folder: Path) -> set[Path]:
    return set(folder.glob("*.flow"))

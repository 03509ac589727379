"""Real servers, proxies and clients in environments of their own, on loopback; and what became of them.

An environment is what ENVIRONMENTS says of it: packages from PyPI or npm at pinned versions, installed once under
.cache/e2e. Programs of Debian (``program("haproxy")``) are used if they are there; no test installs one. What cannot be
had skips the tests that need it, with the reason; with HOPLINT_E2E_REQUIRED set (as in CI) they fail instead.

A test of a real system stands for a row of the table in README.md::

    @pytest.mark.heavy  # what takes long to install or to run, or needs more than PyPI
    @pytest.mark.row("1. Doubled Server", "sglang-router, litellm", "sglang-router", "litellm")
    def test_doubled_server(start, environment, proxy, record) -> None:
        ...
        record(without="9 POSTs, InternalServerError", with_="1 POST, 200")

``row(incident, system, *environments)``: the versions are those that ENVIRONMENTS pins for the environments named. Tests
with the same incident and system, such as two halves, share a row. ``record`` says what was seen, in a few words, and
may add versions: ``record(versions=("chromium 156.0",))``. ``--write-results`` writes the rows of this run over those in
results.json, and README.md anew.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "e2e"
PROGRAMS = Path(__file__).parent / "programs"
RESULTS = Path(__file__).with_name("results.json")
SECONDS = 60
"""How long anything may take to come up or to answer."""


class Environment(NamedTuple):
    """Packages that are installed together, away from everything else."""

    packages: tuple[str, ...]
    """As uv and npm take them, pinned: ``name==1.2``, ``@scope/name@1.2``."""
    python: str = sys.executable
    """What uv takes for one: a path, or a version such as 3.13."""
    npm: bool = False


def pypi(*packages: str, python: str = sys.executable) -> Environment:
    """A virtual environment."""
    return Environment(packages, python)


def npm(*packages: str) -> Environment:
    """A folder with node_modules."""
    return Environment(packages, npm=True)


ENVIRONMENTS: dict[str, Environment] = {
    "servers": pypi(
        "fastapi==0.163.2", "uvicorn==0.54.0", "httpx==0.28.1", "websockets==17.4", "orjson==3.13.0"
    ),
    "aiohttp-3.13.4": pypi("aiohttp==3.13.4"),
    "aiohttp-current": pypi("aiohttp==3.14.5"),
    "openai": pypi("openai==2.54.0"),
    "requests": pypi("requests==2.34.2"),
    "litellm": pypi("litellm==1.95.0", "aiohttp==3.13.4"),
    # Only the file that checks keys is of use: what it needs of other packages is torch and gigabytes.
    "sglang": pypi("--no-deps", "sglang==0.5.23"),
    "sglang-router": pypi("sglang-router==0.3.2"),
    "smg": pypi("smg==1.13.0"),
    "harbor": pypi("harbor==0.24.0", "aiohttp==3.13.4"),
    "litellm-proxy": pypi("litellm[proxy]==1.106.2"),
    "openhands-1.23.1": pypi("openhands-sdk==1.23.1"),
    "openhands-1.25.0": pypi("openhands-sdk==1.25.0"),
    "sdks": pypi("openai==2.54.0", "anthropic==2.10.0"),
    "codex-lb": pypi("codex-lb==1.20.1", python="3.13"),
    # A store, and hoplint's own needs beside what reads it.
    "s3": pypi("moto[server]==5.2.5", "s3fs==2026.9.0", "h11==0.16.0", "pydantic==2.11.10", "rich==15.0.0"),
    "ray": pypi("ray==2.60.0", "h11==0.16.0", "pydantic==2.11.10", "rich==15.0.0"),
    "portkey": npm("@portkey-ai/gateway@1.15.2"),
    "codex": npm("@openai/codex@0.169.0"),
    "claude-code": npm("@anthropic-ai/claude-code@2.1.197"),
    "gemini-cli": npm("@google/gemini-cli@0.61.0"),
    "opencode": npm("opencode-ai@1.18.33"),
    "aider": pypi("aider-chat==0.86.2"),
}


# Results


def pytest_addoption(parser: pytest.Parser) -> None:
    said = "write what the end-to-end tests saw into results.json and README.md of tests/e2e"
    parser.addoption("--write-results", action="store_true", help=said)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-results", False) and config.getoption("numprocesses", None):
        raise pytest.UsageError("--write-results takes one process, which knows all rows: leave out -n")
    config.stash[ROWS] = {}


ROWS = pytest.StashKey[dict[tuple[str, str], dict[str, Any]]]()
"""The rows of this run by incident and system."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.e2e)
        for mark in item.iter_markers("row"):
            incident, system, *environments = mark.args
            packages = [
                each for name in environments for each in ENVIRONMENTS[name].packages if each[0] != "-"
            ]
            item.user_properties += [("row", [incident, system]), ("versions", packages)]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say what was seen: ``record(without="9 POSTs, then an error", with_="1 POST, 200", versions=("go 1.19",))``."""

    def note(*, without: str = "", with_: str = "", versions: Sequence[str] = ()) -> None:
        said = {"without": without, "with": with_, "versions": list(versions)}
        request.node.user_properties += [(name, value) for name, value in said.items() if value]

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    reason = report.longrepr[2].removeprefix("Skipped: ") if report.skipped else ""
    if report.skipped and os.environ.get("HOPLINT_E2E_REQUIRED"):
        report.outcome, report.longrepr = "failed", f"HOPLINT_E2E_REQUIRED is set, and {reason}"
    if report.when == "call" or not report.passed:
        _note(item, VERDICTS[report.outcome], reason)
    return report


VERDICTS = {"passed": "holds", "skipped": "not run", "failed": "fails"}
"""From the best to the worst: of several tests the worst counts."""


def _note(item: pytest.Item, verdict: str, reason: str) -> None:
    """Put down what became of a test in its row, if it has one."""
    key = next((tuple(value) for name, value in item.user_properties if name == "row"), None)
    if key is None:
        return
    fresh = {"versions": [f"mitmproxy=={version('mitmproxy')}"], "verdict": "holds"}
    row = item.config.stash[ROWS].setdefault(key, fresh)
    for name, value in item.user_properties:
        if name == "versions":
            row[name] += [each for each in value if each not in row[name]]
        elif name != "row":
            row[name] = value
    row["verdict"] = max(row["verdict"], verdict, key=[*VERDICTS.values()].index)
    row["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    if reason:
        row["reason"] = reason.splitlines()[0]  # what an installer said behind it is about one machine


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--write-results", False):
        return
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = {(row["incident"], row["system"]): row for row in rows}
    for (incident, system), row in session.config.stash[ROWS].items():
        known[incident, system] = {"incident": incident, "system": system, **row}
    fresh = [known[key] for key in sorted(known)]
    RESULTS.write_text(json.dumps(fresh, indent=1, ensure_ascii=False) + "\n")
    made = subprocess.run([sys.executable, RESULTS.with_name("table.py")], capture_output=True, check=True)
    RESULTS.with_name("README.md").write_bytes(made.stdout)


# Environments


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH")
    return found


def _installers(home: Path, wanted: Environment) -> list[list[str]]:
    """The commands that install an environment."""
    if wanted.npm:
        return [
            [_program("npm"), "install", "--no-fund", "--no-audit", "--prefix", str(home), *wanted.packages]
        ]
    uv = _program("uv")
    interpreter = str(home / "bin" / "python")
    return [
        [uv, "venv", "--quiet", "--python", wanted.python, str(home)],
        [uv, "pip", "install", "--quiet", "--python", interpreter, *wanted.packages],
    ]


def _build(name: str) -> Path:
    wanted = ENVIRONMENTS[name]
    digest = hashlib.sha256("\n".join([wanted.python, *wanted.packages]).encode()).hexdigest()[:8]
    home = CACHE / f"{name}-{digest}"
    programs = home / ("node_modules/.bin" if wanted.npm else "bin")
    CACHE.mkdir(parents=True, exist_ok=True)
    # pyenv's Pythons are behind shims that work for the chosen version only.
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob("versions/*/bin"))
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, pyenv)])
    with Path(f"{home}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be installing it
        if (home / "complete").exists():
            return programs
        shutil.rmtree(home, ignore_errors=True)
        what = f"environment {name}: {' '.join(wanted.packages)}"
        for command in _installers(home, wanted):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=900, cwd=ROOT, env={**os.environ, "PATH": path}
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                pytest.skip(f"{what} is not installed after 15 minutes")
            if done.returncode:
                pytest.skip(f"{what} cannot be installed\n{done.stderr.strip()[-2000:]}")
        (home / "complete").touch()
    return programs


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Path]:
    """The folder with the programs of a named environment, installed on first use."""
    return _build


@pytest.fixture(scope="session")
def python() -> Callable[[str], Path]:
    """The interpreter of a named environment, installed on first use."""
    return lambda name: _build(name) / "python"


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a program of this machine."""
    return _program


# Processes


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Ask for a port that nobody listens on."""
    return _free_port


class Running(NamedTuple):
    """A process that was started, and the file with what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_said(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + SECONDS
        while self.said().count(text) < times:
            if time.monotonic() > deadline:
                pytest.fail(f"{text!r} was not said {times} times within {SECONDS} s:\n{self.said()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, asking first, so that what it writes is complete."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """``start(command, port, env={...}, cwd=folder)``: start a server and wait until it listens on its port.

    ``env`` is added to the environment. Whatever was started is ended after the test.
    """
    running: list[Running] = []

    def begin(
        command: Sequence[object], port: int, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Running:
        log = tmp_path / f"{len(running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(word) for word in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True,
            )  # fmt: skip
        running.append(server := Running(process, log))
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                pytest.fail(f"{command[0]} ended with {process.returncode}:\n{server.said()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return server
            time.sleep(0.05)
        pytest.fail(f"{command[0]} did not listen on {port} within {SECONDS} s:\n{server.said()[-2000:]}")

    yield begin
    for each in reversed(running):
        each.kill()


ROUTERS: dict[str, tuple[str, ...]] = {
    "sglang-router": ("python", "-m", "sglang_router.launch_router"),
    "smg": ("smg", "launch", "--disable-tokenizer-autoload"),
}


@pytest.fixture
def router(start: Callable[..., Running]) -> Callable[..., int]:
    """``router("smg", port, "--api-key", key)``: start a router in front of the worker at a port; the router's port.

    It takes the worker into service before, unless ``ready=False``: then it may never do so.
    """

    def begin(name: str, worker: int, *arguments: object, ready: bool = True) -> int:
        port = _free_port()
        program, *words = ROUTERS[name]
        words += ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{worker}"]
        words += ["--policy", "round_robin", "--prometheus-port", str(_free_port()), "--log-level", "error"]
        server = start([_build(name) / program, *words, *arguments], port, env={"HF_HUB_OFFLINE": "1"})
        deadline = time.monotonic() + SECONDS
        while ready and time.monotonic() < deadline:
            # It answers with 503 until it knows the worker.
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readiness", timeout=SECONDS).close()
                return port
            time.sleep(0.1)
        if not ready:
            return port
        pytest.fail(f"{name} has no worker after {SECONDS} s:\n{server.said()[-2000:]}")

    return begin


class Proxy:
    """A mitmdump in front of an upstream, recording."""

    def __init__(
        self, running: Running, port: int, recording: Path, words: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self.running = running
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.recording = recording
        """The flow file; in its folder is the hoplint.toml."""
        self.words = words
        self.env = env

    def findings(self) -> dict[str, Any]:
        """Stop recording and lint what was recorded, with the command a user types; the JSON report."""
        self.running.stop()
        command = [
            sys.executable,
            "-m",
            "conformance",
            "check",
            self.recording,
            *self.words,
            "--format",
            "json",
        ]
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=SECONDS,
            cwd=self.recording.parent, env={**os.environ, **self.env},
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def rules(self) -> set[str]:
        """The names of the rules that ``findings`` names."""
        return {finding["rule"] for finding in self.findings()["findings"]}


@pytest.fixture
def proxy(start: Callable[..., Running], tmp_path: Path) -> Callable[..., Proxy]:
    """Start a proxy in front of a port of this machine, as a user does.

    ``proxy(port, "-s", script)`` is mitmdump alone. With ``suite=True`` it is ``hoplint proxy``. ``profile`` and
    ``settings``, the text of a hoplint.toml, are for the suite and for the linter, which judges both halves alike.
    """

    def begin(
        upstream: int, *arguments: object, suite: bool = False, profile: str = "", settings: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Proxy:  # fmt: skip
        port = _free_port()
        cwd = tmp_path / str(port)
        cwd.mkdir()
        (cwd / "hoplint.toml").write_text(settings)
        words = ["--profile", profile] if profile else []
        recording = cwd / "run.flow"
        tool = shutil.which("mitmdump", path=str(Path(sys.executable).parent)) or "mitmdump"
        command = [sys.executable, "-m", "conformance", "proxy", *words] if suite else [tool]
        command += [
            "--mode",
            f"reverse:http://127.0.0.1:{upstream}",
            "--listen-host",
            "127.0.0.1",
            "--listen-port",
            port,
        ]
        command += ["-w", recording, "--set", f"confdir={tmp_path / 'mitmproxy'}", *arguments]
        return Proxy(start(command, port, env, cwd), port, recording, words, env or {})

    return begin


@pytest.fixture
def client(python: Callable[[str], Path]) -> Callable[..., dict[str, Any]]:
    """Run a program of ``programs/`` in an environment; it prints what happened as one JSON object."""

    def run(
        environment: str,
        program: str,
        *arguments: object,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        done = subprocess.run(
            [str(python(environment)), *options, str(PROGRAMS / program), *map(str, arguments)],
            capture_output=True, text=True, timeout=SECONDS * 2, env={**os.environ, **(env or {})},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run

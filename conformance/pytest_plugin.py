"""The fixture ``hoplint``: a recording proxy in front of a server, whose traffic is linted after the test.

::

    @pytest.mark.hoplint(ignore=["server-version-disclosed"], fail_on="warning")
    def test_chat(hoplint, server):
        proxy = hoplint(server.url, profile="litellm")
        client = openai.OpenAI(base_url=f"{proxy.url}/v1")
        ...

The test fails with the report if something is found at ``fail_on``: from the marker, ``--hoplint-fail-on``,
the ini option ``hoplint_fail_on`` or the settings file of the project, whichever speaks first.

pytest loads this module in every project that has hoplint installed, so it imports nothing that costs: the proxy
is a process of its own, and the linter is loaded when there is something to lint. ``-p no:hoplint`` turns it off.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conformance.finding import Finding, Run
    from conformance.policy import Policy
    from conformance.prepare import Prepared

PATIENCE = 60
"""Seconds that the proxy may take to start or to end: mitmproxy alone takes two to be imported."""
LEVELS = ("error", "warning", "note", "never")
_WORDS = ("select", "ignore", "fail_on")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hoplint", "traffic that goes through the fixture hoplint")
    said = "least severity of a finding that fails the test"
    group.addoption("--hoplint-fail-on", choices=LEVELS, default=None, help=f"{said} (default: error)")
    parser.addini("hoplint_fail_on", f"{said}: {', '.join(LEVELS)}", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "hoplint(select=[...], ignore=[...], fail_on='error'): which rules lint the traffic of the fixture "
        "hoplint, and the least severity of a finding that fails the test",
    )


class Proxy:
    """A mitmdump that records what goes to one server; made by the fixture."""

    def __init__(
        self, upstream: str, recording: Path, confdir: Path, lint: _Lint, words: Sequence[str]
    ) -> None:
        self.recording = recording
        """The flow file; complete once the proxy has ended."""
        self._lint = lint
        self._log = recording.with_suffix(".log")
        self._run: Run | None = None
        arguments = [
            *("--listen-host", "127.0.0.1", "--listen-port", "0", "--mode", f"reverse:{upstream}"),
            # mitmproxy reads the name of the file as a pattern for strftime
            *(
                "-w",
                str(recording).replace("%", "%%"),
                "--set",
                f"confdir={confdir}",
                "--set",
                "flow_detail=0",
            ),
            *words,
        ]
        program = [
            sys.executable,
            "-c",
            _PROGRAM,
            lint.profile or "",
            "suite" if lint.addons else "",
            *arguments,
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                program, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=lint.folder
            )
        self.url = f"http://127.0.0.1:{self._port()}"
        """What the client is to talk to instead of the server."""

    def _port(self) -> str:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if found := _LISTENING.search(self._log.read_text(encoding="utf-8", errors="replace")):
                return found[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        said = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        pytest.fail(f"hoplint: the proxy does not start:\n{said}", pytrace=False)

    def findings(self) -> list[Finding]:
        """What is found in the recording. Ends the proxy: what is still under way is recorded as far as it came."""
        return self.run().findings

    def run(self) -> Run:
        """The whole outcome of linting; as ``findings``."""
        if self._run is None:
            self.stop()
            self._run = self._lint(self.recording)
        return self._run

    def stop(self) -> None:
        """End the proxy, so that the recording is complete."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


# It ends with the process that has started it, however that ends.
_PROGRAM = """
import sys
from conformance.processes import end_with_stdin
end_with_stdin()
from conformance.mitm import run
_, profile, suite, *words = sys.argv
sys.argv = ["mitmdump", *words]  # where mitmproxy looks for options it once had, such as -c
sys.exit(run(words, profile=profile or None, suite=suite == "suite"))
"""
_LISTENING = re.compile(r"listening at \S*?127\.0\.0\.1:([0-9]+)")


class _Lint:
    """Lints as the project's settings and the test's marker say."""

    def __init__(self, node: pytest.Item, profile: str | None, addons: bool) -> None:
        from conformance import prepare, settings
        from conformance.policy import PolicyError
        from conformance.rule import UnknownName

        self.folder = node.config.rootpath
        self.profile = profile
        self.addons = addons
        said = _marked(node)
        try:
            loaded = settings.load(start=self.folder, profile=profile)
            self._prepared: Prepared = prepare.prepare(loaded, said.get("select"), (), said.get("ignore", ()))
        except (PolicyError, UnknownName) as problem:
            pytest.fail(f"hoplint: {problem}", pytrace=False)
        self._policy: Policy = loaded.settings.policy
        self.fail_on: str = (
            said.get("fail_on")
            or node.config.getoption("--hoplint-fail-on")
            or node.config.getini("hoplint_fail_on")
            or loaded.settings.lint.fail_on
        )
        if self.fail_on not in LEVELS:
            pytest.fail(
                f"hoplint: fail_on is one of {', '.join(LEVELS)}, not {self.fail_on!r}", pytrace=False
            )

    def __call__(self, recorded: Path) -> Run:
        from conformance import addon, lint, recording

        rules, settings = self._prepared
        run = lint.check([recording.read(recorded)], rules, policy=self._policy, settings=settings)
        run.addons = frozenset(addon.addons())
        return run

    def objection(self, run: Run) -> str:
        """The report, if the test is to fail; else nothing."""
        from conformance.finding import Look
        from conformance.reports.text import full
        from conformance.rule import Severity

        if not any(summary.exchanges or summary.streams for summary in run.recordings):
            return "hoplint: nothing went through the proxy"
        level = None if self.fail_on == "never" else Severity(self.fail_on).rank
        if run.failures or any(level is not None and f.severity.rank <= level for f in run.findings):
            return "".join(f"hoplint: {failure}\n" for failure in run.failures) + full(run, Look())
        return ""


def _marked(node: pytest.Item) -> dict[str, Any]:
    """What the markers say; the nearest one wins, word by word."""
    said: dict[str, Any] = {}
    for marker in node.iter_markers("hoplint"):
        wrong = [*marker.args, *(name for name in marker.kwargs if name not in _WORDS)]
        if wrong:
            pytest.fail(f"hoplint: the marker takes {', '.join(_WORDS)}; not {wrong[0]!r}", pytrace=False)
        for name, value in marker.kwargs.items():
            is_one = isinstance(value, str) and name != "fail_on"
            said.setdefault(name, [value] if is_one else value)
    return said


_PROXIES = pytest.StashKey[list[tuple[Proxy, _Lint]]]()


@pytest.fixture
def hoplint(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Proxy]]:
    """``hoplint(upstream, profile=None, addons=True, arguments=())``: start a recording proxy; gives ``.url``.

    ``addons=False`` records what the client and the server say to each other as it is. ``arguments`` are
    mitmdump's. The traffic is linted when the test is over.
    """
    proxies: list[tuple[Proxy, _Lint]] = []
    request.node.stash[_PROXIES] = proxies
    confdir = tmp_path_factory.getbasetemp() / "hoplint-confdir"  # one for each worker of xdist

    def start(
        upstream: str, *, profile: str | None = None, addons: bool = True, arguments: Sequence[str] = ()
    ) -> Proxy:
        lint = _Lint(request.node, profile, addons)
        recording = tmp_path / f"hoplint-{len(proxies) + 1}.flow"
        proxy = Proxy(upstream, recording, confdir, lint, arguments)
        proxies.append((proxy, lint))
        return proxy

    yield start
    for proxy, _ in proxies:
        proxy.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test, not its teardown: so it counts as failed, and ``xfail`` means what it says."""
    try:
        result = yield
    except Exception:
        # What is wrong with the traffic may be why.
        for objection in _objections(item):
            item.add_report_section("call", "hoplint", objection)
        raise
    if objections := _objections(item):
        pytest.fail("\n".join(objections), pytrace=False)
    return result


def _objections(item: pytest.Item) -> list[str]:
    found = []
    for proxy, lint in item.stash.get(_PROXIES, []):
        if objection := lint.objection(proxy.run()):
            found.append(f"{objection.rstrip()}\nrecorded in {proxy.recording}")
    return found

"""The plugin in test runs of its own, as a project that uses it has them."""

import re
import subprocess
import sys
import textwrap

import pytest

pytest_plugins = "pytester"

SERVER = """\
import http.server, threading, urllib.request
import pytest

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "a", ""
    def do_GET(self):
        self.send_response(200)
        for _ in range(2 if self.path == "/twice" else 0):
            self.send_header("Server", "b")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass

@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()

def get(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a server that repeats a header at /twice."""
    pytester.makeconftest(SERVER)
    pytester.makepyprojecttoml(
        "[tool.pytest.ini_options]\naddopts = '--strict-markers -p no:cacheprovider -W error'\n"
    )
    return pytester


def write(project: pytest.Pytester, text: str) -> None:
    project.makepyfile("from conftest import get\nimport pytest\n" + textwrap.dedent(text))


def test_a_test_fails_with_the_report(project: pytest.Pytester) -> None:
    write(
        project,
        """
        def test_bad(hoplint, server):
            assert get(hoplint(server, addons=False).url + "/twice") == b"ok"

        def test_good(hoplint, server):
            assert get(hoplint(server, addons=False).url + "/") == b"ok"

        def test_mended_is_what_the_server_sent_all_the_same(hoplint, server):
            proxy = hoplint(server, profile="generic")
            assert get(proxy.url + "/twice") == b"ok"
            assert proxy.run().edits["dedupe-headers"]

        @pytest.mark.xfail(strict=True)
        def test_expected(hoplint, server):
            get(hoplint(server, addons=False).url + "/twice")
        """,
    )
    result = project.runpytest_inprocess()
    outcomes = result.parseoutcomes()
    assert outcomes.get("xfailed") == 1
    assert "errors" not in outcomes
    result.stdout.fnmatch_lines(["error[[]duplicate-server[]]: *", "recorded in *test_bad*hoplint-1.flow"])
    result.stdout.fnmatch_lines(["FAILED *test_bad*"])
    result.stdout.no_fnmatch_line("FAILED *test_good*")


def test_markers_and_what_decides_the_severity(project: pytest.Pytester) -> None:
    write(
        project,
        """
        pytestmark = pytest.mark.hoplint(fail_on="error")

        @pytest.mark.hoplint(ignore=["duplicates"])
        def test_ignored(hoplint, server):
            get(hoplint(server, addons=False).url + "/twice")

        @pytest.mark.hoplint(select="framing")
        def test_selected(hoplint, server):
            get(hoplint(server, addons=False).url + "/twice")

        @pytest.mark.hoplint(fail_on="never")
        def test_never(hoplint, server):
            proxy = hoplint(server, addons=False)
            get(proxy.url + "/twice")
            assert "duplicate-server" in {finding.rule for finding in proxy.findings()}
        """,
    )
    project.runpytest_inprocess("--hoplint-fail-on", "note").assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("words", "toml", "failed"),
    [([], "fail-on = 'error'", 0), ([], "fail-on = 'warning'", 1), (["--hoplint-fail-on=error"], "fail-on = 'warning'", 0),
     (["-o", "hoplint_fail_on=warning"], "fail-on = 'error'", 1)],
)  # fmt: skip
def test_options_and_settings(project: pytest.Pytester, words: list[str], toml: str, failed: int) -> None:
    (project.path / "hoplint.toml").write_text(
        f"[lint]\nselect = ['duplicate-server']\n{toml}\n[lint.severity]\nduplicate-server = 'warning'\n"
    )
    write(project, 'def test_it(hoplint, server):\n    get(hoplint(server, addons=False).url + "/twice")\n')
    project.runpytest_inprocess(*words).assert_outcomes(passed=1 - failed, failed=failed)


@pytest.mark.parametrize(
    ("body", "marker", "says"),
    [
        ("hoplint(server)", "", "nothing went through the proxy"),
        ("hoplint(server)", "@pytest.mark.hoplint(select=['nope'])", "there is no rule or topic 'nope'"),
        ("hoplint(server)", "@pytest.mark.hoplint(fail='error')", "the marker takes select"),
        ("hoplint(server)", "@pytest.mark.hoplint('error')", "the marker takes select"),
        ("hoplint(server)", "@pytest.mark.hoplint(fail_on='all')", "fail_on is one of"),
        ("hoplint(server, profile='nope')", "", "there is no profile 'nope'"),
        ("hoplint(server, arguments=['--wrong-word'])", "", "the proxy does not start*wrong-word"),
        ("hoplint('nonsense://x')", "", "the proxy does not start"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(project: pytest.Pytester, body: str, marker: str, says: str) -> None:
    write(project, f"{marker}\ndef test_it(hoplint, server):\n    {body}\n")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    assert re.search(says.replace("*", "(?s:.*)"), result.stdout.str())
    assert "Traceback" not in result.stdout.str()


def test_a_test_that_fails_by_itself_shows_the_report_too(project: pytest.Pytester) -> None:
    write(
        project,
        'def test_it(hoplint, server):\n    get(hoplint(server, addons=False).url + "/twice")\n    assert 0\n',
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 0*", "*hoplint call*", "error[[]duplicate-server[]]: *"])


def test_several_proxies_in_several_workers(project: pytest.Pytester) -> None:
    write(
        project,
        """
        @pytest.mark.parametrize("number", range(2))
        def test_it(hoplint, server, number):
            first, second = hoplint(server, addons=False), hoplint(server, addons=False)
            assert first.url != second.url
            get(first.url + "/")
            get(second.url + ("/twice" if number else "/"))
        """,
    )
    result = project.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["recorded in *hoplint-2.flow"])


def test_it_can_be_turned_off(project: pytest.Pytester) -> None:
    write(project, "def test_it(hoplint):\n    pass\n")
    result = project.runpytest_inprocess("-p", "no:hoplint")
    result.stdout.fnmatch_lines(["*fixture 'hoplint' not found*"])


GONE = """
import os, sys, time
for _ in range(600):
    try:
        os.kill(int(sys.argv[1]), 0)
    except ProcessLookupError:
        sys.exit(7)
    time.sleep(0.1)
"""


def test_a_proxy_ends_with_the_tests_that_started_it(project: pytest.Pytester) -> None:
    write(
        project,
        """
        import os, pathlib

        def test_it(hoplint, server):
            pathlib.Path("pid").write_text(str(hoplint(server, addons=False)._process.pid))
            os._exit(0)
        """,
    )
    project.runpytest_subprocess()
    pid = (project.path / "pid").read_text()
    # it is nobody's child any more, so there is no waiting for it
    assert subprocess.run([sys.executable, "-c", GONE, pid]).returncode == 7


def test_loading_the_plugin_costs_nothing() -> None:
    program = (
        "import sys, conformance.pytest_plugin\n"
        "print({name.split('.')[0] for name in sys.modules} & {'mitmproxy', 'pydantic', 'rich', 'h11', 'asyncio'},\n"
        "      sorted(name for name in sys.modules if name.startswith('conformance')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set() ['conformance', 'conformance.pytest_plugin']\n"

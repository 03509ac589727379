"""``hoplint run``, around a client that is the standard library's and a gateway that is well-formed or not."""

import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conformance import recording, run

KEY = "sk-canary-0123456789abcdef0123456789"

AGENT = """
import http.client, json, os, sys, urllib.parse
url = urllib.parse.urlsplit(os.environ[sys.argv[1]])
connection = http.client.HTTPConnection(url.netloc, timeout=20)
asked = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
headers = {"Authorization": "Bearer KEY", "Content-Type": "application/json"}
connection.request("POST", url.path + "/chat/completions", asked, headers)
answer = connection.getresponse()
print(answer.status, json.load(answer)["path"])
connection.close()
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def gateway() -> Iterator[Callable[..., str]]:
    """``gateway(*lines)``: the URL of one that sends these header lines, too, and says which path it was asked for."""
    with ExitStack() as ends:

        def start(*lines: tuple[str, str]) -> str:
            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def log_message(self, *_: object) -> None:
                    pass

                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    body = json.dumps({"path": self.path, "key": self.headers["Authorization"][-4:]}).encode()
                    self.send_response(200)
                    for line in (
                        ("Content-Type", "application/json"),
                        ("Content-Length", str(len(body))),
                        *lines,
                    ):
                        self.send_header(*line)
                    self.end_headers()
                    self.wfile.write(body)

            server = ends.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            ends.callback(thread.join)
            ends.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture
def hoplint(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT.replace("KEY", KEY))

    def call(*words: str, agent_words: tuple[str, ...] = ("OPENAI_BASE_URL", "0"), **environment: str):
        command = [
            sys.executable,
            "-m",
            "conformance",
            "run",
            *words,
            "--",
            sys.executable,
            str(agent),
            *agent_words,
        ]
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_BASE_URL")}
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


BAD = (("Server", "uvicorn"), ("Set-Cookie", "bad name=1"))


def test_a_good_exchange(hoplint, gateway, tmp_path) -> None:
    found = hoplint("--upstream", gateway(), "--record", "kept")
    assert (found.stdout, found.returncode) == ("200 /v1/chat/completions\n", 0), found.stderr
    assert "could be decided" in found.stderr
    (path,) = (tmp_path / "kept").iterdir()
    assert KEY.encode() not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (exchange,) = recording.read(path)
    assert exchange.request.target == b"/v1/chat/completions"


def test_findings_make_it_1_and_are_reported_on_stderr(hoplint, gateway, tmp_path) -> None:
    found = hoplint("--upstream", gateway(*BAD))
    assert (found.stdout, found.returncode) == ("200 /v1/chat/completions\n", 1)
    assert "error[duplicate-server]" in found.stderr
    assert KEY not in found.stderr
    assert not list(tmp_path.glob("hoplint-run-*"))
    found = hoplint("--upstream", gateway(*BAD), "--fail-on", "never", "--format", "concise")
    assert found.returncode == 0
    assert "duplicate-server" in found.stderr


def test_octets_are_linted_too(hoplint, gateway, tmp_path) -> None:
    found = hoplint("--upstream", gateway(), "--record", "kept", "--octets")
    assert found.returncode == 0, found.stderr
    kinds = [
        type(item).__name__ for path in sorted((tmp_path / "kept").iterdir()) for item in recording.read(path)
    ]
    assert sorted(kinds) == ["Exchange", "Stream", "Stream"]


def test_the_agents_own_exit_code_wins(hoplint, gateway) -> None:
    assert hoplint("--upstream", gateway(*BAD), agent_words=("OPENAI_BASE_URL", "7")).returncode == 7
    assert hoplint("--upstream", gateway(), agent_words=("OPENAI_BASE_URL", "7")).returncode == 7


def test_with_the_suite_what_it_mends_is_no_finding(hoplint, gateway) -> None:
    found = hoplint("--upstream", gateway(BAD[0]), "--mend", "--select", "duplicate-server")
    assert found.returncode == 0, found.stderr


def test_without_an_upstream_it_goes_where_it_would_have_gone(hoplint, gateway) -> None:
    found = hoplint(
        agent_words=("ANTHROPIC_BASE_URL", "0"),
        ANTHROPIC_BASE_URL=gateway() + "/anthropic/",
        OPENAI_BASE_URL=gateway() + "/v4",
    )
    assert found.stdout == "200 /anthropic/chat/completions\n", found.stderr


def test_codex_is_told_by_its_own_option(hoplint, gateway, tmp_path) -> None:
    program = f"#!{sys.executable}\nimport sys\nprint(*sys.argv[1:])\n"
    (tmp_path / "codex").write_text(program)
    (tmp_path / "codex").chmod(0o755)
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "conformance",
            "run",
            "--upstream",
            gateway(),
            "--",
            str(tmp_path / "codex"),
            "exec",
        ],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert re.fullmatch(r'-c openai_base_url="http://127\.0\.0\.1:\d+/v1" exec\n', found.stdout), found.stderr


def test_nothing_came(hoplint, gateway, tmp_path) -> None:
    (tmp_path / "agent.py").write_text("raise SystemExit(3)")
    found = hoplint("--upstream", gateway())
    assert found.returncode == 3
    assert "nothing was recorded" in found.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--upstream", "127.0.0.1:4000"], "--upstream is no URL of an API"),
        (["--select", "no-such-rule"], "no-such-rule"),
        (["--profile", "no-such-profile"], "no-such-profile"),
    ],
)
def test_what_cannot_be_run(words: list[str], said: str, hoplint) -> None:
    found = hoplint(*words)
    assert (found.returncode, found.stdout) == (2, "")
    assert said in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("environment", "upstream", "openai", "anthropic"),
    [
        ({}, None, ("https://api.openai.com", "/v1"), ("https://api.anthropic.com", "")),
        ({}, "http://a:4000", ("http://a:4000", "/v1"), ("http://a:4000", "")),
        ({}, "http://a:4000/v1/", ("http://a:4000", "/v1"), ("http://a:4000", "")),
        ({}, "https://a/api/v1", ("https://a", "/api/v1"), ("https://a", "/api")),
        ({"OPENAI_BASE_URL": "http://a"}, None, ("http://a", ""), ("https://api.anthropic.com", "")),
        ({"OPENAI_BASE_URL": "http://a/b"}, "http://c", ("http://c", "/v1"), ("http://c", "")),
        (
            {"OPENAI_BASE_URL": "http://me:secret@a/b"},
            None,
            ("http://a", "/b"),
            ("https://api.anthropic.com", ""),
        ),
    ],
)
def test_upstreams(environment, upstream, openai, anthropic) -> None:
    assert run.upstreams(environment, upstream) == {
        "OPENAI_BASE_URL": openai,
        "ANTHROPIC_BASE_URL": anthropic,
    }


@pytest.mark.parametrize("url", ["", "a:1", "ftp://a", "http://", "http://[", "http://a:99999", "http://a:0"])
def test_no_upstream(url: str) -> None:
    if url:
        with pytest.raises(run.CannotRun, match="--upstream"):
            run.upstreams({}, url)
        with pytest.raises(run.CannotRun, match="OPENAI_BASE_URL"):
            run.upstreams({"OPENAI_BASE_URL": url}, None)


@pytest.mark.parametrize(
    ("modes", "host", "port", "said"),
    [
        (["reverse:http://a"], None, None, "http://127.0.0.1:8080/v1"),
        (["reverse:https://a"], "0.0.0.0", "9", "http://127.0.0.1:9/v1"),
        (["reverse:http://a", "regular"], "10.0.0.1", "9", "http://10.0.0.1:9/v1"),
        (["reverse:http://a"], None, "0", None),
        (["reverse:http://a@9"], None, None, None),
        (["reverse:dns://a"], None, None, None),
        ([], None, None, None),
    ],
)
def test_advised(modes: list[str], host: str | None, port: str | None, said: str | None) -> None:
    assert run.advised(modes, host, port).get("OPENAI_BASE_URL") == said


def test_advised_for_a_regular_proxy() -> None:
    assert run.advised([], None, "9")["HTTPS_PROXY"] == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("command", "run_as"),
    [
        (["codex", "exec", "hi"], ["codex", "-c", 'openai_base_url="http://a/v1"', "exec", "hi"]),
        (["/opt/codex"], ["/opt/codex", "-c", 'openai_base_url="http://a/v1"']),
        (["python", "codex", "{x}"], ["python", "codex", "{x}"]),
    ],
)
def test_agents_that_read_no_variables_are_told_otherwise(command: list[str], run_as: list[str]) -> None:
    assert run.steered(command, {"OPENAI_BASE_URL": "http://a/v1"}) == run_as


def test_a_command_that_is_not_there(tmp_path) -> None:
    with pytest.raises(run.CannotRun, match="cannot be run: No such file"):
        run.run([str(tmp_path / "nothing")], tmp_path / "out", ["--bare", "--isolated"], "http://127.0.0.1:1")

"""Mending recordings: what is rewritten, what stays as it was, and when nothing is written at all."""

import subprocess
import sys
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.io import FlowReader, FlowWriter, tnetstring
from mitmproxy.test import tflow

from conformance import fix, lint, mitm, offline, recording, transcript
from conformance.addon import addons
from conformance.cli import main
from conformance.message import Exchange
from conformance.rule import load

ROOT = Path(__file__).parents[1]
RULES = load()
(SUITE,) = mitm.script_addons(addons()["suite"].path)
ORDER = sys.modules[type(SUITE).__module__].ORDER

DATE = "Date: Fri, 20 Nov 2026 03:14:15 GMT"
DOUBLED = f"""\
# hoplint lints this

@ upstream: 127.0.0.1:30000
> GET / HTTP/1.1
> Host: a
# between
< HTTP/1.1 200 OK
< Server: a
# the copied pair
< Server: b
< {DATE}
< Content-Length: 0

# the second
> GET /good HTTP/1.1
> Host:   a
< HTTP/1.1 204 No Content
< {DATE}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.http").write_text(DOUBLED)
    return tmp_path


@pytest.fixture
def hoplint(capfd):
    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def judge(source: recording.Recording):
    return lint.check([source], RULES)


def fixed(path: Path | str, **how) -> fix.Fixed:
    return fix.fix(str(path), judge, ORDER, isolated=True, **how)


def fired(run) -> set[str]:
    return {finding.rule for finding in run.findings}


def flow_file(path: Path, *flows) -> Path:
    with path.open("wb") as file:
        for flow in flows:
            FlowWriter(file).add(flow)
    return path


def flows_of(path: Path) -> list:
    with path.open("rb") as file:
        return list(FlowReader(file).stream())


def doubled(**more) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True, **more)
    flow.live = False
    flow.response.headers.fields = (
        (b"Server", b"a"), (b"Server", b"b"), (b"Date", b"Fri, 20 Nov 2026 03:14:15 GMT"), (b"Content-Length", b"7"),
    )  # fmt: skip
    return flow


# -- the promise

HISTORY = {"Turn", "Legs"}
"""Scopes of rules that an addon obeys only while it happens: what a client did over time, and what a hop that was
recorded on both sides did, is not undone afterwards."""
SETTINGS = {
    "credentials-missing", "control-plane-key-missing", "data-key-on-control-plane", "control-plane-key-on-data-path",
    "unknown-beta-token", "beta-token-rejected-by-upstream", "server-version-disclosed",
}  # fmt: skip
"""What is only mended where the settings say a key, a token or a header: see tests/addons/test_promises.py."""
UNCOVERED = {"credentials-over-plain-http", "header-added-by-hop"}
"""What is true of every credential, and not said of one that nobody could use; and what fixing does by intent."""
FIXABLE = [
    pytest.param(rule, example, id=f"{rule.name}-{number}")
    for rule in RULES.values()
    for number, example in enumerate(rule.examples)
    if rule.fix in ORDER and example.bad and rule.scope not in HISTORY and rule.name not in SETTINGS
]


@pytest.mark.parametrize("kind", ["http", "flow"])
@pytest.mark.parametrize(("rule", "example"), FIXABLE)
def test_what_names_an_addon_is_mended_by_it(folder: Path, rule, example, kind: str) -> None:
    path = folder / f"example.{kind}"
    items = list(recording.parse(example.transcript))
    if not all(isinstance(item, Exchange) for item in items):
        pytest.skip("octets are not rewritten")
    profile = transcript.profile(example.transcript)
    if kind == "http":
        path.write_text(example.transcript)
    elif profile or any(item.interim or item.error or item.leg for item in items):
        pytest.skip("a flow file cannot say this")
    else:
        flow_file(path, *map(mitm.flow_of, items))
    found = fixed(path, in_place=True)
    if rule.name not in fired(found.before):
        pytest.skip("not to be seen in a recording of this kind")
    assert found.errors == []
    assert rule.name not in fired(found.after) or found.refused
    assert fired(found.after) - UNCOVERED <= fired(found.before)
    mended = path.read_bytes()
    again = fixed(path, in_place=True)
    assert not again.changes
    assert path.read_bytes() == mended


# -- transcripts


def test_only_lines_of_changed_messages_are_rewritten(folder: Path, hoplint) -> None:
    code, out, err = hoplint("fix", "bad.http", "--in-place")
    assert (code, err) == (0, "")
    assert "bad.http: 1 finding before, 0 after" in out
    assert "dedupe-headers: 1 change in 1 exchange, for duplicate-server" in out
    assert (folder / "bad.http").read_text() == DOUBLED.replace("< Server: b\n", "")


def test_line_ends_and_a_byte_order_mark_stay(folder: Path, hoplint) -> None:
    text = "\ufeff" + DOUBLED.replace("\n", "\r\n")
    (folder / "bad.http").write_bytes(text.encode())
    assert hoplint("fix", "bad.http", "--in-place")[0] == 0
    assert (folder / "bad.http").read_bytes() == text.replace("< Server: b\r\n", "").encode()


def test_profile_of_a_transcript_counts(folder: Path, hoplint) -> None:
    (folder / "bad.http").write_text("# profile: nonesuch\n" + DOUBLED)
    code, _, err = hoplint("fix", "bad.http")
    assert code == 2
    assert "nonesuch" in err


# -- flow files


def test_flow_file(folder: Path, hoplint) -> None:
    tcp, clean, socket_ = tflow.ttcpflow(), tflow.tflow(resp=True), tflow.twebsocketflow()
    clean.response.headers.fields = ((b"Date", b"Fri, 20 Nov 2026 03:14:15 GMT"), (b"Content-Length", b"7"))
    socket_.response.headers.fields += ((b"Server", b"a"), (b"Server", b"b"))
    path = flow_file(folder / "a.flow", tcp, doubled(), clean, socket_)
    hoplint("fix", "a.flow", "-o", "b.flow", "--select", "duplicate-server", "--no-ignores")
    before, after = path.read_bytes(), (folder / "b.flow").read_bytes()
    tcp_octets, clean_octets = mitm.flow_octets(tcp), mitm.flow_octets(clean)
    assert after.startswith(tcp_octets)
    assert clean_octets in after
    assert before.startswith(tcp_octets)
    was, now = flows_of(path), flows_of(folder / "b.flow")
    assert [flow.id for flow in now] == [flow.id for flow in was]
    assert [len(flow.response.headers.get_all("server")) for flow in (now[1], now[3])] == [1, 1]
    assert now[1].metadata[mitm.JOURNAL][0]["addon"] == "dedupe-headers"
    assert len(now[1].metadata[mitm.RECEIVED]["response"]) == 4
    assert [m.content for m in now[3].websocket.messages] == [m.content for m in was[3].websocket.messages]
    assert not now[1].live
    assert now[1].response.raw_content == was[1].response.raw_content
    assert now[2].metadata == {}


def test_what_is_not_recorded_stays_unknown(folder: Path, hoplint) -> None:
    flow = doubled()
    flow.response.raw_content = None
    flow.response.headers["Content-Type"] = "text/event-stream"
    flow_file(folder / "a.flow", flow)
    fixed("a.flow", in_place=True)
    (after,) = flows_of(folder / "a.flow")
    assert len(after.response.headers.get_all("server")) == 1
    assert after.response.raw_content is None


def test_what_an_addon_refuses_stays_as_it_was_recorded(folder: Path, hoplint) -> None:
    flow = doubled()
    flow.response.headers.fields += ((b"Content-Length", b"8"),)
    path = flow_file(folder / "a.flow", flow)
    before = path.read_bytes()
    code, out, err = hoplint("fix", "a.flow", "--in-place")
    assert code == 1
    assert "left as it was recorded: dedupe-headers refuses the response: Content-Length is given as" in out
    assert err == ""
    assert path.read_bytes() == before


def test_an_addon_that_fails_exits_2_and_changes_nothing(folder: Path, hoplint, monkeypatch) -> None:
    path = flow_file(folder / "a.flow", doubled())
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(mitm, "apply", fail)
    code, _, err = hoplint("fix", "a.flow", "--in-place")
    assert code == 2
    assert "dedupe-headers: failed on the response" in err
    assert "ZeroDivisionError" in err
    assert path.read_bytes() == before


def test_a_new_credential_is_written_as_its_digest() -> None:
    class Injector:
        name = "suite"

        def request(self, flow: http.HTTPFlow) -> None:
            flow.request.headers["Authorization"] = "Bearer cAnArY0123456789"
            flow.request.headers["X-Api-Key"] = "known-0123456789"

    flow = tflow.tflow(resp=True)
    flow.request.headers["X-Api-Key"] = "known-0123456789"
    with offline.loaded([], isolated=True) as loaded:
        loaded._master.addons.chain = [Injector()]
        loaded.run(flow)
    assert flow.request.headers["Authorization"].startswith("Bearer sha256-")
    assert flow.request.headers["X-Api-Key"] == "known-0123456789"


@pytest.mark.parametrize(
    "metadata", [False, True, {"hoplint": 5}, {"hoplint": [{"op": 1}]}, {"hoplint_received": 7}]
)
def test_metadata_that_nobody_wrote(folder: Path, hoplint, metadata: object) -> None:
    state = doubled().get_state()
    strange = tnetstring.dumps({**state, "metadata": metadata})
    path = flow_file(folder / "a.flow", doubled())
    path.write_bytes(strange + path.read_bytes())
    code, _, err = hoplint("fix", "a.flow", "-o", "b.flow")
    assert code == 2
    assert "a.flow: byte 0: " in err
    assert "fault" not in err
    written = (folder / "b.flow").read_bytes()
    assert written.startswith(strange)
    (folder / "rest.flow").write_bytes(written.removeprefix(strange))
    (flow,) = flows_of(folder / "rest.flow")
    assert len(flow.response.headers.get_all("server")) == 1


def test_truncated_recording(folder: Path, hoplint) -> None:
    path = flow_file(folder / "a.flow", doubled(), doubled())
    cut = path.read_bytes()[:-100]
    path.write_bytes(cut)
    code, out, err = hoplint("fix", "a.flow", "--in-place")
    assert (code, out) == (2, "")
    assert "breaks off" in err
    assert "-o OUT" in err
    assert path.read_bytes() == cut
    code, out, err = hoplint("fix", "a.flow", "-o", "b.flow")
    assert code == 2
    assert err.count("breaks off") == 1
    (flow,) = flows_of(folder / "b.flow")
    assert len(flow.response.headers.get_all("server")) == 1


# -- the command


def test_says_what_it_would_do_and_writes_nothing(folder: Path, hoplint) -> None:
    before = sorted(folder.iterdir())
    code, out, err = hoplint("fix", "bad.http")
    assert code == 0
    assert "1 finding before, 0 after" in out
    assert "could be decided" in out
    assert "nothing is written: -o OUT or --in-place does it" in err
    assert (folder / "bad.http").read_text() == DOUBLED
    assert sorted(folder.iterdir()) == before


def test_diff_masks_and_writes_nothing(folder: Path, hoplint) -> None:
    text = DOUBLED.replace("> Host: a\n", "> Host: a\n> Authorization: Bearer cAnArY0123456789\n", 1)
    (folder / "bad.http").write_text(text)
    code, out, err = hoplint("fix", "bad.http", "--diff")
    assert code == 0
    assert out.startswith("--- bad.http#1\n+++ bad.http#1 fixed\n@@ ")
    assert [line for line in out.splitlines()[2:] if line[0] in "+-"] == ["-< Server: b"]
    assert "cAnArY" not in out + err
    assert "dedupe-headers: 1 change" in err
    assert (folder / "bad.http").read_text() == text


def test_what_is_left_decides(folder: Path, hoplint) -> None:
    (folder / "bad.http").write_text(DOUBLED.replace("Content-Length: 0", "Content-Length: x"))
    code, out, _ = hoplint("fix", "bad.http", "-o", "b.http")
    assert code == 1
    assert "--> b.http:" in out
    assert "Server: b" not in (folder / "b.http").read_text()
    assert hoplint("fix", "bad.http", "--fail-on", "never")[0] == 0


def test_only_the_addons_that_are_named_and_allowed_run(folder: Path, hoplint) -> None:
    code, out, _ = hoplint("fix", "bad.http", "--only", "stream-events")
    assert code == 1
    assert "1 finding before, 1 after" in out
    assert "none of them is for an addon that may run here" in out
    (folder / "hoplint.toml").write_text('[policy.suite]\nwithout = ["dedupe-headers"]\n')
    assert hoplint("fix", "bad.http")[0] == 1
    assert hoplint("fix", "bad.http", "--isolated")[0] == 0


def test_policy_of_the_settings_file_counts(folder: Path, hoplint) -> None:
    (folder / "hoplint.toml").write_text('[policy.dedupe-headers]\nkeep-last = ["server"]\n')
    assert hoplint("fix", "bad.http", "--in-place")[0] == 0
    assert (folder / "bad.http").read_text() == DOUBLED.replace("< Server: a\n", "")


def test_a_clean_recording_is_copied_and_left_alone(folder: Path, hoplint) -> None:
    text = DOUBLED.replace("< Server: b\n", "")
    (folder / "good.http").write_text(text)
    assert hoplint("fix", "good.http", "-o", "copy.http")[0] == 0
    assert (folder / "copy.http").read_text() == text
    before = (folder / "good.http").stat()
    assert hoplint("fix", "good.http", "--in-place")[0] == 0
    after = (folder / "good.http").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_mode_and_symbolic_link_stay(folder: Path, hoplint) -> None:
    (folder / "bad.http").chmod(0o640)
    (folder / "link.http").symlink_to("bad.http")
    assert hoplint("fix", "link.http", "--in-place")[0] == 0
    assert (folder / "link.http").is_symlink()
    assert (folder / "bad.http").stat().st_mode & 0o777 == 0o640
    assert "Server: b" not in (folder / "bad.http").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.flow"], "nowhere.flow: cannot be read: No such file"),
        (["."], "fix takes one recording in a file"),
        (["-"], "standard input"),
        (["a.har"], "'hoplint show a.har > a.http'"),
        (["a.txt"], "hoplint reads mitmproxy flow files"),
        (["bad.http", "-o", "bad.http"], "--in-place replaces it"),
        (["bad.http", "-o", "."], "is a folder"),
        (["bad.http", "-o", "no/such/folder.http"], "cannot be written: No such file"),
        (["bad.http", "--only", "dedup-headers"], "did you mean dedupe-headers"),
        (["bad.http", "-o", "b.http", "--diff"], "not allowed with"),
        (["bad.http", "--profile", "nonesuch"], "there is no profile 'nonesuch'"),
    ],
)
def test_what_cannot_be_done_exits_2(folder: Path, hoplint, words: list[str], said: str) -> None:
    (folder / "a.har").write_text('{"log": {"entries": []}}')
    (folder / "a.txt").write_text("hello\n")
    code, out, err = hoplint("fix", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("hoplint: error: ")
    assert (folder / "bad.http").read_text() == DOUBLED


def test_mitmproxy_is_loaded_only_where_there_is_something_to_fix(folder: Path) -> None:
    (folder / "good.http").write_text(DOUBLED.replace("< Server: b\n", ""))
    program = (
        "import sys; from conformance.cli import main\n"
        "assert main(['fix', 'good.http', '-o', 'copy.http']) == 0\n"
        "assert 'mitmproxy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("path", sorted((ROOT / "recordings" / "flows").glob("*.flow")), ids=lambda p: p.stem)
def test_recorded_traffic_is_only_mended(path: Path) -> None:
    target = Path("b.flow")
    found = fixed(path, into=target)
    assert found.errors == []
    assert len(found.after.findings) <= len(found.before.findings)
    if not found.changes:
        assert target.read_bytes() == path.read_bytes()
    else:
        # Requests that differed in what was wrong with them may be the same now, and so be repeats: that is
        # another addon's business.
        assert not fixed(target, into=Path("c.flow")).changes.keys() & set(found.ran)

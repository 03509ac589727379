import asyncio
import logging
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import contentviews, exceptions, flowfilter, http, types
from mitmproxy.io import FlowWriter, tnetstring
from mitmproxy.test import taddons, tflow, tutils

from conformance import mitm
from conformance.finding import Finding, Location
from conformance.live import Checked
from conformance.policy import Lint
from conformance.rule import Severity

SCRIPT = Path(__file__).parents[2] / "addons" / "lint_flows.py"
(addon,) = mitm.script_addons(SCRIPT)
script = sys.modules[type(addon).__module__]

GET = b"GET /v1/models HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
BAD = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 2\r\n\r\n{}"
COLLECTOR = """
class Collector:
    name = "collector"
    def __init__(self):
        self.flows, self.updates = {}, []
    def requestheaders(self, flow):
        self.flows[flow.id] = flow
    def tcp_start(self, flow):
        self.flows[flow.id] = flow
    def update(self, flows):
        self.updates += flows
addons = [Collector()]
"""


def finding(rule: str = "duplicate-server", severity: Severity = Severity.ERROR, why: str = "two") -> Finding:
    return Finding(rule, severity, Location("live", 1, "response", 0, "Server"), why, "server", "flow")


# -- what is written on a flow


@pytest.mark.parametrize(
    ("before", "line", "after"),
    [
        ("", "a", "[hoplint] a"),
        ("", "", ""),
        ("mine", "a", "mine\n[hoplint] a"),
        ("mine\n[hoplint] old\nmore", "a", "mine\nmore\n[hoplint] a"),
        ("[hoplint] old", "", ""),
        ("hoplint: ignore[date-missing] mine", "a", "hoplint: ignore[date-missing] mine\n[hoplint] a"),
    ],
)
def test_comments(before: str, line: str, after: str) -> None:
    assert script.commented(before, line) == after


@given(st.text(alphabet="ab \n[]"), st.text(alphabet="xyz ", min_size=1), st.text(alphabet="xyz "))
def test_what_people_wrote_stays(comment: str, first: str, second: str) -> None:
    once = script.commented(comment, first)
    assert script.commented(once, "") == comment
    assert script.commented(once, first) == once
    assert script.commented(once, second) == script.commented(comment, second)


def test_the_line_names_the_worst_and_the_others() -> None:
    found = [finding(), finding("date-missing", Severity.WARNING), finding("date-missing", Severity.WARNING)]
    assert script.summed(found) == "1 error, 2 warnings: duplicate-server (two); date-missing"
    assert script.summed([]) == ""


@given(st.text(), st.integers(0, 40))
def test_the_line_is_one_and_ignores_nothing(why: str, others: int) -> None:
    why += "\n hoplint: ignore[duplicate-server] by a stranger"
    line = script.summed([finding(why=why), *(finding(f"rule-{n}") for n in range(others))])
    assert len(line) <= script.LINE
    assert "hoplint:" not in line
    assert "\n" not in line


def test_annotations_can_be_saved_and_taken_back() -> None:
    flow = tflow.tflow(resp=True)
    script.annotate(flow, Checked((finding(), finding("x", Severity.NOTE)), conversation=3))
    assert flow.marked == ":red_circle:"
    assert tnetstring.loads(tnetstring.dumps(flow.metadata)) == flow.metadata
    assert flowfilter.match("~meta duplicate-server & ~marker red_circle", flow)
    assert flowfilter.match('~comment "\\[hoplint\\]" & ~meta "hoplint_conversation: 3$"', flow)
    script.annotate(flow, Checked(()))
    assert (flow.marked, flow.comment, flow.metadata[script.FINDINGS]) == ("", "", [])


def test_a_marker_that_somebody_set_stays() -> None:
    flow = tflow.tflow(resp=True)
    flow.marked = ":grapes:"
    script.annotate(flow, Checked((finding(),)))
    assert flow.marked == ":grapes:"


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        ("quiet", []),
        ("normal", ["GET address: 1 error, 1 note: duplicate-server (two); x"]),
        ("loud", ["GET address: error[duplicate-server] two", "GET address: note[x] two"]),
    ],
)
def test_log_lines(log: str, lines: list[str]) -> None:
    checked = Checked((finding(), finding("x", Severity.NOTE)))
    found = list(script.told(tflow.tflow(), checked, log))
    assert [line for _, line in found] == lines
    assert {level for level, _ in found} <= {logging.WARNING}
    assert not list(script.told(tflow.tflow(), Checked(()), log))


def test_notes_are_no_warnings() -> None:
    ((level, _),) = script.told(tflow.ttcpflow(), Checked((finding(severity=Severity.NOTE),)), "normal")
    assert level == logging.INFO


def test_size() -> None:
    assert script.size(tflow.tflow(resp=True)) == len(b"content") + len(b"message")
    assert script.size(tflow.twebsocketflow()) > 0
    assert script.size(tflow.ttcpflow()) > 0
    assert script.size(tflow.tdnsflow()) == 0


@pytest.mark.parametrize(
    ("severity", "fail_on", "fails"),
    [
        (Severity.ERROR, "error", True),
        (Severity.WARNING, "error", False),
        (Severity.WARNING, "note", True),
        (Severity.ERROR, "never", False),
    ],
)
def test_what_fails(severity: Severity, fail_on: str, fails: bool) -> None:
    assert script.is_at_least(severity, fail_on) is fails


# -- in mitmproxy


@pytest.fixture
def linted(proxied, tmp_path):
    """``linted(answer, option=value...)``: a proxy that lints, whose flows a collector holds."""
    collector = tmp_path / "collector.py"
    collector.write_text(COLLECTOR)

    def start(answer=lambda c, _: c.sendall(BAD), scripts=("lint_flows.py",), **options):
        paths = [str(collector), *(str(SCRIPT.with_name(name)) for name in scripts)]
        return proxied("lint_flows.py", answer, scripts=paths, **{"hoplint_config": [""], **options})

    return start


def collected(proxy) -> list:
    """The flows that passed, linted: the end waits for that."""
    proxy.stop()
    return list(proxy.master.addons.get("collector").flows.values())


def rules_of(flow) -> set[str]:
    return {table["rule"] for table in flow.metadata[script.FINDINGS]}


def until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def call(proxy, function, *arguments):
    """Call something in mitmproxy's own thread."""

    async def run():
        return function(*arguments)

    return asyncio.run_coroutine_threadsafe(run(), proxy.master.event_loop).result(10)


def test_http(linted, caplog) -> None:
    caplog.set_level(logging.INFO)
    proxy = linted()
    assert proxy.ask(GET) == BAD
    (flow,) = collected(proxy)
    assert "duplicate-server" in rules_of(flow)
    assert flow.comment.startswith("[hoplint] ")
    assert flow.marked == ":red_circle:"
    lines = [record.getMessage() for record in caplog.records if "lint-flows" in record.getMessage()]
    assert "GET 127.0.0.1: " in lines[0]
    assert lines[-1].startswith("lint-flows: 1 exchange, ")


def test_the_user_interface_is_told(linted) -> None:
    proxy = linted()
    proxy.ask(GET)
    collector = proxy.master.addons.get("collector")
    until(lambda: any(script.FINDINGS in flow.metadata for flow in collector.updates))


def test_quiet_is_quiet(linted, caplog) -> None:
    caplog.set_level(logging.INFO)
    proxy = linted(lint_log=["quiet"])
    proxy.ask(GET)
    collected(proxy)
    lines = [record.getMessage() for record in caplog.records if "lint-flows:" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("lint-flows: 1 exchange, ")


def test_a_response_that_breaks_off(linted) -> None:
    proxy = linted(lambda c, _: (c.sendall(BAD[:-2]), c.shutdown(socket.SHUT_RDWR)))
    proxy.ask(GET)
    (flow,) = collected(proxy)
    assert flow.error is not None
    assert "duplicate-server" in rules_of(flow)


def test_websocket(linted) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nServer: a\r\n"
            b"Server: b\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        connection.sendall(b"\x81\x02{}\x88\x02\x03\xe8")

    proxy = linted(answer)
    with proxy.connect() as connection:
        connection.sendall(
            b"GET /v1/responses HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        data = b""
        while b"\x88" not in data:
            data += connection.recv(65536)
        connection.sendall(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        until(lambda: proxy.master.addons.get("lint-flows").live.exchanges)
    (flow,) = collected(proxy)
    assert flow.websocket.close_code == 1000
    assert "duplicate-server" in rules_of(flow)
    assert proxy.master.addons.get("lint-flows").live.exchanges == 1


def test_tcp(linted) -> None:
    proxy = linted(mode=["reverse:tcp://127.0.0.1:1"], connection_strategy="lazy")
    proxy.try_to_set(mode=[f"reverse:tcp://127.0.0.1:{proxy.server.port}@0"])
    until(lambda: len(proxy.master.addons.get("proxyserver").listen_addrs()) == 1)
    port = proxy.master.addons.get("proxyserver").listen_addrs()[0][1]
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(GET)
        assert connection.recv(65536) == BAD
    until(lambda: proxy.master.addons.get("lint-flows").live.streams)
    (flow,) = collected(proxy)
    assert flow.type == "tcp"
    assert "duplicate-server" in rules_of(flow)


def test_no_message_waits_and_what_is_too_much_is_counted(linted, monkeypatch, caplog) -> None:
    gate = threading.Event()
    proxy = linted(lint_queue=["1"], lint_fail_on=["error"])
    lint_flows = proxy.master.addons.get("lint-flows")
    lint = lint_flows._lint
    monkeypatch.setattr(lint_flows, "_lint", lambda flow: (gate.wait(10), lint(flow))[1])
    for _ in range(4):
        assert proxy.ask(GET) == BAD  # while the thread that lints stands still
    gate.set()
    flows = collected(proxy)
    assert lint_flows.dropped == 3
    assert [script.FINDINGS in flow.metadata for flow in flows] == [True, False, False, False]
    assert "2 flows not linted: too many are waiting" in caplog.text
    assert "3 flows not linted, or not with all rules" in caplog.text


def test_what_cannot_be_linted_is_said(linted, monkeypatch, caplog) -> None:
    proxy = linted()

    def fail(flow):
        raise ZeroDivisionError("sk-secret")

    monkeypatch.setattr(proxy.master.addons.get("lint-flows"), "_lint", fail)
    assert proxy.ask(GET) == BAD
    (flow,) = collected(proxy)
    assert script.FINDINGS not in flow.metadata
    assert "it cannot be linted (ZeroDivisionError)" in caplog.text
    assert "sk-secret" not in caplog.text


@pytest.mark.parametrize(("fail_on", "code"), [("error", 1), ("warning", 1), ("never", None)])
def test_exit_code(fail_on: str, code: int | None, linted) -> None:
    proxy = linted(lint_fail_on=[fail_on])
    proxy.ask(GET)
    assert len(proxy.flows()) == 1  # the other addons have ended as they should
    assert getattr(proxy._failure, "code", None) == code


def test_exit_code_where_nothing_is_wrong(linted) -> None:
    good = b"HTTP/1.1 204 No Content\r\nDate: Fri, 20 Nov 2026 06:00:00 GMT\r\n\r\n"
    proxy = linted(lambda c, _: c.sendall(good), lint_fail_on=["error"])
    proxy.ask(GET)
    collected(proxy)
    assert proxy._failure is None


def test_a_setting_that_cannot_be_used_stops_the_start(proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("lint_flows.py", words=["lint_log=shout"], save_stream_file=None)
    assert "log" in caplog.text


def test_a_script_that_is_loaded_anew_keeps_the_verdict() -> None:
    with taddons.context() as context:
        old = script.Verdict()
        old.failed = True
        context.master.addons.add(old)
        made = script.LintFlows()
        context.master.addons.add(made)
        made.running()
        assert made.verdict.failed
        assert not old.failed
        made.done()
        asyncio.run(made.response(tflow.tflow(resp=True)))  # comes too late
        assert not made.waiting


# -- flows from a file


def bad_flow(**request) -> http.HTTPFlow:
    flow = tflow.tflow(req=tutils.treq(**request), resp=tutils.tresp())
    flow.response.headers = http.Headers(((b"Server", b"a"), (b"Server", b"b"), (b"Content-Length", b"7")))
    flow.live = False
    return flow


def test_loaded_flows_are_linted_before_they_are_saved(linted, tmp_path) -> None:
    path = tmp_path / "old.flow"
    under_way = bad_flow()
    under_way.response = None
    broken = bad_flow()
    broken.error = tflow.terr()
    loaded = [bad_flow(), broken, tflow.twebsocketflow(), tflow.ttcpflow(), under_way]
    with path.open("wb") as file:
        for flow in loaded:
            FlowWriter(file).add(flow)
    proxy = linted(rfile=str(path), lint_queue=["1"])
    lint_flows = proxy.master.addons.get("lint-flows")
    until(lambda: len(lint_flows.live._numbers) == len(loaded) and not lint_flows.waiting)
    saved = {flow.id: flow for flow in proxy.flows()}
    assert "duplicate-server" in rules_of(saved[loaded[0].id])
    assert lint_flows.live.exchanges == 4
    assert all(script.FINDINGS in flow.metadata for flow in saved.values())


def test_ten_thousand_flows() -> None:
    """Memory grows by less than 100 MB; from some 16 000 conversations on it does not grow at all."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")

    async def run() -> list[int]:
        made, grown = script.LintFlows(), []
        with taddons.context(made) as context:
            context.configure(made, hoplint_config=[""], lint_log=["quiet"], lint_keep=["1000"])
            # Two rules for the sake of time: one that finds something, one that looks at what came before.
            turn = next(name for name, rule in made.live.rules.items() if rule.scope == "Turn")
            made.live.rules = {name: made.live.rules[name] for name in ("duplicate-server", turn)}
            made.live._linter = made.live._new_linter()
            for number in range(10_001):
                flow = bad_flow(
                    content=b'{"model": "m", "messages": [{"role": "user", "content": "%s %d"}]}' % (b"x" * 20_000, number),
                    method=b"POST", path=b"/v1/chat/completions",
                )  # fmt: skip
                await made.response(flow)
                assert flow.marked, number
                if number % 2000 == 0:
                    grown.append(int(statm.read_text().split()[1]) * 4096)
            assert made.live.exchanges == 10_001
            assert len(made.live.run().findings) <= 1000
            made.done()
        return grown

    grown = asyncio.run(run())
    assert grown[-1] - grown[0] < 100_000_000


@pytest.mark.parametrize(("words", "scripts"), [([], 1), (["--bare"], 2)])
def test_hoplint_proxy_loads_it_last(words: list[str], scripts: int, monkeypatch, tmp_path) -> None:
    from conformance import cli

    monkeypatch.chdir(tmp_path)
    given: list[str] = []
    monkeypatch.setattr(mitm, "run", lambda words, **_: given.extend(words) or 0)
    assert cli.main(["proxy", "--lint", *words]) == 0
    assert given.count("-s") == scripts
    assert Path(given[len(given) - 1 - given[::-1].index("-s") + 1]).name == "lint_flows.py"


def test_mitmdump_over_a_file(tmp_path, mitmdump) -> None:
    path = tmp_path / "old.flow"
    with path.open("wb") as file:
        for _ in range(1500):  # more than may wait of what passes
            FlowWriter(file).add(bad_flow())
    words = ["-nr", str(path), "-s", str(SCRIPT), "--set", "lint_log=quiet", "--set", "lint_fail_on=error"]
    found = mitmdump(*words, "--set", "hoplint_config=", "--set", "flow_detail=0", cwd=tmp_path)
    assert found.returncode == 1
    assert "lint-flows: 1500 exchanges, " in found.stdout
    assert "not linted" not in found.stdout


# -- commands


@pytest.fixture
def bench(linted):
    """A proxy with the list of flows that user interfaces have, and one bad flow in it; its commands."""
    from mitmproxy.addons.view import View

    proxy = linted(scripts=("lint_flows.py",))
    call(proxy, proxy.master.addons.add, View())
    proxy.ask(GET)
    (flow,) = proxy.master.addons.get("collector").flows.values()
    until(lambda: script.FINDINGS in flow.metadata)
    until(lambda: not flow.live)
    return proxy, flow, lambda *words: call(proxy, proxy.master.commands.call_strings, words[0], words[1:])


def test_check(bench) -> None:
    _, flow, run = bench
    flow.response.headers.fields = flow.response.headers.fields[1:]
    flow.comment = f"look here\n{flow.comment}"
    run("hoplint.check", "@all")
    until(lambda: "duplicate-server" not in rules_of(flow))
    assert flow.comment.startswith("look here")


def test_show(bench) -> None:
    _, _, run = bench
    assert "error[duplicate-server]  response, Server, by the server" in run("hoplint.show", "@focus")


def test_explain_and_its_completion(bench) -> None:
    proxy, _, run = bench
    assert run("hoplint.explain", "duplicate-server").startswith("duplicate-server  (")
    with pytest.raises(exceptions.CommandError):
        run("hoplint.explain", "duplicate-sever")
    (parameter,) = proxy.master.commands.commands["hoplint.explain"].parameters
    kind = types.CommandTypes.get(parameter.type)
    assert "duplicate-server" in call(proxy, kind.completion, proxy.master.commands, parameter.type, "dup")


def test_report(bench, tmp_path) -> None:
    _, _, run = bench
    run("hoplint.report", "json", str(tmp_path / "found.json"))
    assert '"duplicate-server"' in (tmp_path / "found.json").read_text()
    with pytest.raises(exceptions.CommandError, match="No such file"):
        run("hoplint.report", "html", str(tmp_path / "nowhere" / "x"))
    with pytest.raises(exceptions.CommandError):
        run("hoplint.report", "pdf", str(tmp_path / "x"))
    assert "sarif" in run("hoplint.formats")


def test_fix_and_revert(bench, caplog) -> None:
    _, flow, run = bench
    run("hoplint.fix", "@focus")
    until_fixed = time.monotonic() + 60
    while "duplicate-server" in rules_of(flow):
        assert "cannot be mended" not in caplog.text
        assert time.monotonic() < until_fixed
        time.sleep(0.05)
    assert flow.response.headers.get_all("server") == ["a"]
    assert flow.modified()
    assert "\n-Server: b\n" in run("hoplint.show", "@focus")
    flow.revert()
    assert flow.response.headers.get_all("server") == ["a", "b"]


def test_fix_says_what_it_cannot(bench, caplog, monkeypatch) -> None:
    _, flow, run = bench
    flow.live = True
    with pytest.raises(exceptions.CommandError, match="that have ended"):
        run("hoplint.fix", "@focus")
    flow.live = False
    monkeypatch.setattr(script.sys, "executable", "/nowhere/python")
    run("hoplint.fix", "@focus")
    until(lambda: "cannot be mended" in caplog.text)


def test_the_content_view(bench) -> None:
    proxy, flow, _ = bench
    found = contentviews.prettify_message(flow.response, flow, "hoplint")
    assert found.view_name == "hoplint"
    assert "error[duplicate-server]" in found.text
    assert contentviews.prettify_message(flow.response, flow, "auto").view_name != "hoplint"
    with pytest.raises(ValueError, match="no flow"):
        proxy.master.addons.get("lint-flows").view.prettify(b"", contentviews.Metadata())


def test_behind_the_suite_it_sees_what_was_changed(linted) -> None:
    proxy = linted(scripts=("suite.py", "lint_flows.py"), lint_log=["quiet"])
    assert proxy.ask(GET).count(b"Server: ") == 1
    (flow,) = collected(proxy)
    found = contentviews.prettify_message(flow.response, flow, "hoplint").text
    assert "\n-Server: b\n" in found
    assert "dedupe-headers: drop Server" in found


def test_defaults() -> None:
    assert (Lint().fail_on, Lint().log) == ("never", "normal")

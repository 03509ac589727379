import pytest
from mitmproxy.http import Headers
from mitmproxy.tcp import TCPMessage
from mitmproxy.test import tflow, tutils

from conformance import mitm, recording
from conformance.lint import Settings, check
from conformance.live import NAME, Live
from conformance.message import Exchange, Stream
from conformance.policy import Policy
from conformance.reports import FORMATS, Look
from conformance.rule import load
from conformance.scoping import Scope

RULES = load()


def live(keep: int = 100, **settings) -> Live:
    return Live(RULES, Policy(), Settings(**settings), keep)


def flow(*servers: bytes, content: bytes = b"{}", comment: str = ""):
    lines = [(b"Content-Length", b"7"), (b"Date", b"Fri, 20 Nov 2026 06:00:00 GMT")]
    lines += [(b"Server", server) for server in servers]
    made = tflow.tflow(
        req=tutils.treq(headers=Headers(((b"Host", b"a"), (b"Content-Length", b"%d" % len(content)))), content=content),
        resp=tutils.tresp(headers=Headers(tuple(lines))),
    )  # fmt: skip
    made.comment = comment
    return made


def taken(linter: Live, one):
    return linter.take(one.id, mitm.flow_octets(one))


def names(checked) -> set[str]:
    return {finding.rule for finding in checked.findings}


def test_each_flow_has_its_own_findings() -> None:
    linter = live()
    assert "duplicate-server" in names(taken(linter, flow(b"a", b"b")))
    assert "duplicate-server" not in names(taken(linter, flow(b"a")))
    last = taken(linter, flow(b"a", b"c"))
    assert [f.at.exchange for f in last.findings if f.rule == "duplicate-server"] == [3]
    assert linter.names["duplicate-server"] == 2


def test_the_worst_finding_comes_first() -> None:
    ranks = [finding.severity.rank for finding in taken(live(), flow(b"a", b"b")).findings]
    assert ranks == sorted(ranks)


def test_it_finds_what_a_recording_of_the_same_flows_shows() -> None:
    flows = [flow(b"a", b"b"), flow(b"a"), flow(b"b", b"c")]
    linter = live()
    found = [finding for one in flows for finding in taken(linter, one).findings]
    stored = recording.read("-", stdin=b"".join(map(mitm.flow_octets, flows)))
    expected = check([stored], RULES, policy=Policy()).findings
    assert sorted((f.rule, f.at.exchange, f.why) for f in found) == sorted(
        (f.rule, f.at.exchange, f.why) for f in expected
    )


def test_rules_about_the_past_see_it() -> None:
    linter, body = live(), b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
    again = b'{"model":"m","messages":[{"role":"user","content":"other"}]}'
    numbers = []
    for content in (body, again):
        one = flow(b"a", content=content)
        one.request.method, one.request.path = "POST", "/v1/chat/completions"
        numbers.append(taken(linter, one).conversation)
    assert numbers == [1, 2]


def test_ignores_hold() -> None:
    ignored = flow(b"a", b"b", comment="hoplint: ignore[duplicate-server] known")
    checked = taken(live(), ignored)
    assert "duplicate-server" not in names(checked)
    assert [one.reason for one in checked.suppressed] == ["known"]
    scope = Scope(frozenset({"duplicate-server"}), "known too", hosts=("a",))
    assert "duplicate-server" not in names(taken(live(scopes=(scope,)), flow(b"a", b"b")))


def test_flows_checked_again_keep_their_numbers_and_are_counted_once() -> None:
    linter, flows = live(), [flow(b"a"), flow(b"a", b"b")]
    for one in flows:
        taken(linter, one)
    before = linter.run()
    again = dict(linter.again((one.id, mitm.flow_octets(one)) for one in flows[1:]))
    assert {finding.at.exchange for finding in again[flows[1].id].findings} == {2}
    after = linter.run()
    assert [f.fingerprint for f in after.findings] == [f.fingerprint for f in before.findings]
    assert (after.recordings[0].exchanges, linter.names["duplicate-server"]) == (2, 1)


def test_octets_are_numbered_on() -> None:
    linter = live()
    taken(linter, flow(b"a"))
    for number in (2, 3):
        tcp = tflow.ttcpflow(messages=[])
        tcp.messages = [
            TCPMessage(True, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            TCPMessage(False, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ]
        checked = taken(linter, tcp)
        assert {f.at.exchange for f in checked.findings if f.at.exchange} == {number}
    assert (linter.exchanges, linter.streams) == (3, 2)


def test_what_cannot_be_read_is_said() -> None:
    checked = live().take("x", b"4:abcd}")
    assert not checked.findings
    assert len(checked.failures) == 1


def test_only_the_latest_findings_are_kept() -> None:
    linter = live(keep=10)
    for number in range(20):
        taken(linter, flow(b"a", b"%d" % number))
    run = linter.run()
    assert len(run.findings) <= 10
    assert max(finding.at.exchange or 0 for finding in run.findings) == 20
    assert "older findings are not listed" in run.recordings[0].notes[0]
    assert linter.names["duplicate-server"] == 20


@pytest.mark.parametrize("name", FORMATS)
def test_every_report_can_be_written(name: str) -> None:
    linter = live()
    taken(linter, flow(b"a", b"b"))
    written = FORMATS[name](linter.run(), Look())
    assert "duplicate-server" in written.replace("&#45;", "-")
    assert linter.run().recordings[0].path == NAME


def test_numbers_reach_both_sides_of_the_journal() -> None:
    one = flow(b"a", b"b")
    mitm.rewrite(one, "response", "x", lambda fields: [])
    one.metadata[mitm.RECEIVED] = {"response": [[b"Server", b"a"], [b"Server", b"b"]]}
    one.metadata[mitm.JOURNAL] = []
    linter = live()
    taken(linter, flow(b"a"))
    assert {finding.at.exchange for finding in taken(linter, one).findings} == {2}
    for item in recording.read("-", stdin=mitm.flow_octets(one)):
        assert isinstance(item, Exchange | Stream)

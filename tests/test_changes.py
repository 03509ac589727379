from conformance import changes
from conformance.changes import Agent, Changes
from conformance.recording import Recording
from conformance.rule import load

EXCHANGE = """\
> POST /v1/responses HTTP/1.1
> Host: api.example
> User-Agent: {agent}
> {more}: 1
< HTTP/1.1 200 OK
< Content-Length: 0
< Date: Fri, 20 Nov 2026 03:14:15 GMT
< Server: a
{broken}
"""


def text(*exchanges: tuple[str, str, str]) -> str:
    return "\n".join(EXCHANGE.format(agent=a, more=m, broken=b).rstrip() + "\n" for a, m, b in exchanges)


def compared(old: str, new: str) -> Changes:
    rules = {name: load()[name] for name in ("duplicate-server", "duplicate-date")}
    read = (Recording(name, data.encode()) for name, data in (("old", old), ("new", new)))
    return changes.compare(*read, rules)


OLD = text(
    ("codex/1.0 (Linux)", "X-Old", "< Server: b"),
    ("codex/1.0", "X-Old", "< Date: Fri, 20 Nov 2026 03:14:16 GMT"),
)
NEW = text(
    ("codex/1.1", "X-New", "< Server: b"),
    ("codex/1.1", "X-Same", "< Server: b"),
    ("OpenAI/Python 2.0", "X-A", ""),
)


def agents(found: Changes) -> dict[str, Agent]:
    return {agent.name: agent for agent in found.agents}


def test_findings_that_appeared_and_vanished() -> None:
    found = compared(OLD, NEW)
    assert [(f.rule, f.at.recording, f.at.exchange) for f in found.run.findings] == [
        ("duplicate-server", "new", 2)
    ]
    assert [(f.rule, f.at.recording) for f in found.vanished] == [("duplicate-date", "old")]
    assert found.same == 1
    assert not found.run.failures


def test_the_same_recording_has_not_changed() -> None:
    found = compared(OLD, OLD)
    assert (found.run.findings, found.vanished, found.same) == ([], [], 2)
    assert all(not agent.sends and not agent.stopped for agent in found.agents)


def test_what_agents_newly_send_and_no_longer_do() -> None:
    known = agents(compared(OLD, NEW))
    codex = known["codex"]
    assert codex.sends == {"x-new": 1, "x-same": 1}
    assert codex.stopped == {"x-old": 2}
    assert (list(codex.old.versions), list(codex.new.versions)) == (["1.0"], ["1.1"])
    # one that is in one recording only has nothing to be compared with
    python = known["OpenAI/Python"]
    assert (python.old.requests, python.new.requests, python.sends) == (0, 1, {})
    assert list(python.new.versions) == ["2.0"]


def test_agents_of_any_name() -> None:
    names = (
        "",
        "(x)",
        "claude-cli/2.0.1 (external, cli)",
        "a" * 200,
        "Bearer sk-proj-Zk3vQ9xT7bLw2NcR8m/1",
        "x\\x1b[2J",
    )
    found = compared(OLD, text(*((name, "X-A", "") for name in names)))
    shown = agents(found)
    assert changes.NO_NAME in shown
    assert list(shown["claude-cli"].new.versions) == ["2.0.1"]
    assert all(len(name) <= 80 and name.isprintable() for name in shown)
    assert not any("Zk3vQ9xT7" in name for name in shown)


def test_agents_and_fields_without_end(monkeypatch) -> None:
    monkeypatch.setattr(changes, "AGENTS", 3)
    monkeypatch.setattr(changes, "FIELDS", 5)
    found = compared(OLD, text(*((f"agent{n}/1", f"X-{n}", "") for n in range(9))))
    assert len(found.agents) == 3 + 1 + 1
    assert agents(found)[changes.OTHERS].new.requests == 6
    assert all(len(agent.new.fields) <= 5 for agent in found.agents)


def test_what_cannot_be_read_is_a_failure() -> None:
    assert compared("> GET / HTTP/1.1\nnonsense", NEW).run.failures
    assert compared(OLD, "\x89PNG").run.failures

"""What changed between two recordings, for people and for programs."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from conformance.reports.json import finding_object
from conformance.reports.wording import plural, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.changes import Agent, Changes, Seen
    from conformance.finding import Finding


def text(changes: Changes) -> str:
    """What vanished, and what agents send; what appeared is a report by itself."""
    appeared, vanished = len(changes.run.findings), len(changes.vanished)
    lines = [
        f"{plural(appeared, 'finding')} appeared, {vanished} vanished, {changes.same} in both recordings"
    ]
    lines += _vanished(changes.vanished)
    for agent in changes.agents:
        lines += _agent(agent)
    return "\n".join(lines) + "\n"


def _vanished(findings: list[Finding]) -> Iterator[str]:
    alike: dict[str, list[Finding]] = {}
    for finding in findings:
        alike.setdefault(f"{finding.severity}[{finding.rule}] {finding.why}", []).append(finding)
    for said, group in alike.items():
        yield f"  gone: {where(group[0])}: {said}" + (f"  ({len(group)} times)" if len(group) > 1 else "")


def _agent(agent: Agent) -> Iterator[str]:
    old, new = agent.old, agent.new
    head = f"agent {agent.name}"
    if not old.requests or not new.requests:
        seen, recording = (new, "newer") if new.requests else (old, "older")
        yield f"{head}{_versions(seen)}: only in the {recording} recording, {plural(seen.requests, 'request')}"
        return
    was, now = _versions(old), _versions(new)
    yield f"{head}{was}{f' ->{now}' if now != was else ''}: {plural(old.requests, 'request')}, then {new.requests}"
    for name, count in agent.sends.items():
        yield f"  newly sends {name}, in {count} of {plural(new.requests, 'request')}"
    for name, count in agent.stopped.items():
        yield f"  no longer sends {name}, which was in {count} of {plural(old.requests, 'request')}"


def _versions(seen: Seen) -> str:
    more = ", ..." if len(seen.versions) > 3 else ""
    return " " + ", ".join(list(seen.versions)[:3]) + more if seen.versions else ""


def as_json(changes: Changes) -> str:
    """The same as one JSON object, version 1."""
    run = changes.run
    document = {
        "version": 1,
        "tool": {"name": "hoplint", "version": version("hoplint")},
        "old": changes.old.recordings[0].path,
        "new": run.recordings[0].path,
        "findings": {
            "appeared": [finding_object(run, finding) for finding in run.findings],
            "vanished": [finding_object(changes.old, finding) for finding in changes.vanished],
            "same": changes.same,
        },
        "agents": [
            {
                "name": agent.name,
                "old": _seen(agent.old),
                "new": _seen(agent.new),
                "sends": agent.sends,
                "stopped": agent.stopped,
            }
            for agent in changes.agents
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _seen(seen: Seen) -> dict[str, object]:
    return {"requests": seen.requests, "versions": list(seen.versions)}

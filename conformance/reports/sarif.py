"""SARIF 2.1.0: for GitHub's and GitLab's code scanning and for editors.

A flow file has no lines: a result in one points at its line 1 for the tools that need a line, and says in
``logicalLocations`` where it is. What was ignored or baselined is in it, as suppressed.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from pathlib import PurePath
from urllib.parse import quote

from conformance import breaks, manual
from conformance.finding import Finding, Location, Look, Run
from conformance.reports import wording
from conformance.reports.json import parsers_object
from conformance.rule import ERROR, NOTE, WARNING, Rule
from conformance.secret import printable

RESULTS = 25_000
"""GitHub refuses a log with more results."""
_PRECISION = {ERROR: "very-high", WARNING: "high", NOTE: "medium"}
_PROBLEM = {ERROR: "error", WARNING: "warning", NOTE: "recommendation"}
"""What GitHub sorts alerts by."""


def report(run: Run, look: Look) -> str:
    """The whole run as one SARIF log."""
    found = [*run.findings, *(suppressed.finding for suppressed in run.suppressed)]
    named = {finding.rule: run.rule(finding.rule) for finding in found}
    rules = dict(sorted({**run.rules, **named}.items()))
    numbers = {name: number for number, name in enumerate(rules)}
    shown = _shown(run.findings, RESULTS)
    results = [_result(run, finding, numbers) for finding in shown]
    for suppressed in run.suppressed[: RESULTS - len(shown)]:
        excuse = {
            "kind": "inSource" if suppressed.by == "inline" else "external",
            "justification": printable(suppressed.reason) or "no reason is given",
        }
        results.append({**_result(run, suppressed.finding, numbers), "suppressions": [excuse]})
    failures = wording.failures(run)
    notifications = [_notification(*failure) for failure in failures]
    if cut := len(found) - len(results):
        said = f"{wording.plural(cut, 'result')} left out: they repeat others, and GitHub takes {RESULTS} at most"
        notifications.append({"level": "warning", "message": {"text": said}})
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "hoplint",
                        "version": version("hoplint"),
                        "rules": [_rule(rule) for rule in rules.values()],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": not failures,
                        "toolExecutionNotifications": notifications,
                    }
                ],
                "artifacts": [
                    {
                        "location": _artifact(summary.path),
                        "roles": ["analysisTarget"],
                        "properties": {
                            "kind": summary.kind,
                            "exchanges": summary.exchanges,
                            "streams": summary.streams,
                        },
                    }
                    for summary in run.recordings
                ],
                "results": results,
                "columnKind": "unicodeCodePoints",
                "properties": {
                    "selected": len(run.rules),
                    "exercised": len(run.exercised),
                    **parsers_object(run),
                },
            }
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def _shown(findings: list[Finding], limit: int) -> list[Finding]:
    """If there are too many, the first of every fingerprint rather than the tenth of one."""
    if len(findings) <= limit:
        return findings
    seen: Counter[str] = Counter()
    ranks: list[tuple[int, int]] = []
    for number, finding in enumerate(findings):
        ranks.append((seen[finding.fingerprint], number))
        seen[finding.fingerprint] += 1
    return [findings[number] for number in sorted(number for _, number in sorted(ranks)[:limit])]


def _rule(rule: Rule) -> dict[str, object]:
    rfcs = sorted({f"rfc{source[4:].split()[0]}" for source in rule.source if source.startswith("RFC ")})
    # The manual has no address of its own; the norm has.
    link = next((source.url for source in wording.sources(rule) if source.url), None)
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": wording.paragraph(rule) or rule.summary},
        "help": {"text": manual.text(rule), "markdown": manual.page(rule)},
        **({"helpUri": link} if link else {}),
        "defaultConfiguration": {
            "level": str(rule.severity),
            **({} if rule.by_default else {"enabled": False}),
        },
        "properties": {
            "tags": [rule.topic, *rfcs],
            "precision": _PRECISION[rule.severity],
            "problem.severity": _PROBLEM[rule.severity],
            "fix": rule.fix,
            "breaks": list(breaks.names(rule)),
        },
    }


def _result(run: Run, finding: Finding, numbers: dict[str, int]) -> dict[str, object]:
    at = finding.at
    chokes = breaks.of_finding(run.rule(finding.rule), finding)
    context = ", ".join(filter(None, (wording.place(finding), wording.asked(finding))))
    region: dict[str, object] = {"startLine": at.line or 1}
    marked = next((quote for quote in finding.quotes if quote.marked), None)
    if marked is not None:
        region["snippet"] = {"text": printable(marked.text)}
    return {
        "ruleId": finding.rule,
        "ruleIndex": numbers[finding.rule],
        "level": str(finding.severity),
        "message": {"text": _unlinked(f"{printable(finding.why)} ({context})")},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": _artifact(at.recording), "region": region},
                "logicalLocations": [{"fullyQualifiedName": _logical(at)}],
            }
        ],
        # GitHub keeps an alert by the second; without it, it hashes the lines of the file.
        "partialFingerprints": {
            "hoplint/v1": finding.fingerprint,
            "primaryLocationLineHash": finding.fingerprint,
        },
        "properties": {
            "origin": finding.origin,
            "evidence": finding.evidence,
            "flow": at.flow,
            "breaks": list(chokes.refused),
            "elsewhere": chokes.others,
        },
    }


def _notification(path: str | None, text: str) -> dict[str, object]:
    where = {"locations": [{"physicalLocation": {"artifactLocation": _artifact(path)}}]} if path else {}
    return {"level": "error", "message": {"text": _unlinked(text)}, **where}


def _artifact(path: str) -> dict[str, str]:
    file = wording.file(path)
    uri = quote(file.encode("utf-8", "surrogateescape"), safe="/")
    if PurePath(file).is_absolute():
        return {"uri": f"file://{uri}"}
    return {"uri": uri, "uriBaseId": "%SRCROOT%"}


def _logical(at: Location) -> str:
    """``exchange[3].response.fields[5]``: exchanges and streams count from 1, what is in them from 0."""
    outer = "" if at.exchange is None else f"exchange[{at.exchange}]"
    if at.part == "stream":
        return f"{outer}{'.' * bool(outer)}stream[{at.stream}].octets[{at.index}]"
    if at.part == "frame":
        return f"{outer}.frames[{at.index}]"
    return f"{outer}.{at.part}" + ("" if at.index is None else f".fields[{at.index}]")


def _unlinked(text: str) -> str:
    """``[text](address)`` is a link in a SARIF message, also in plain text (§3.11.6); no recording may set one."""
    return text.replace("](", "] (")

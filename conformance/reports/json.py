"""The machine-readable report: a frozen shape, version 1, written by hand so that no dataclass can change it."""

from __future__ import annotations

import json
from importlib.metadata import version

from conformance import breaks
from conformance.finding import Finding, Look, Run
from conformance.rule import Severity


def report(run: Run, look: Look) -> str:
    """The whole run as one JSON object; see the README for its shape."""
    document = {
        "version": 1,
        "tool": {"name": "hoplint", "version": version("hoplint")},
        "recordings": [
            {
                "path": summary.path,
                "kind": summary.kind if summary.kind != "unknown" else None,
                "exchanges": summary.exchanges,
                "streams": summary.streams,
                "error": summary.error,
            }
            for summary in run.recordings
        ],
        "tally": {
            "findings": len(run.findings),
            "errors": run.count(Severity.ERROR),
            "warnings": run.count(Severity.WARNING),
            "notes": run.count(Severity.NOTE),
            "ignored": len(run.suppressed) - run.baselined,
            "baselined": run.baselined,
            "selected": len(run.rules),
            "exercised": len(run.exercised),
        },
        "findings": [finding_object(run, finding) for finding in run.findings],
        **parsers_object(run),
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def parsers_object(run: Run) -> dict[str, object]:
    """What real parsers said; nothing where they were not asked."""
    if not any(summary.parsers for summary in run.recordings):
        return {}
    return {
        "parsers": [
            {"path": summary.path, "parser": name, "messages": asked, "refused": refused}
            for summary in run.recordings
            for name, (asked, refused) in summary.parsers.items()
        ],
        "verdicts": [
            {
                "path": summary.path,
                "exchange": one.exchange,
                "part": one.part,
                "parser": one.parser,
                "refusal": one.refusal,
            }
            for summary in run.recordings
            for one in summary.heard
        ],
    }


def finding_object(run: Run, finding: Finding) -> dict[str, object]:
    """One finding, as it stands in the list of them."""
    rule = run.rule(finding.rule)
    return {
        "rule": finding.rule,
        "topic": rule.topic,
        "severity": str(finding.severity),
        "path": finding.at.recording,
        "exchange": finding.at.exchange,
        "flow": finding.at.flow,
        "part": finding.at.part,
        "index": finding.at.index,
        "field": finding.at.field,
        "line": finding.at.line,
        "why": finding.why,
        "origin": finding.origin,
        "evidence": finding.evidence,
        "rfc": list(rule.source),
        "fix": rule.fix,
        "breaks": list(breaks.of_finding(rule, finding).refused),
        "fingerprint": finding.fingerprint,
    }

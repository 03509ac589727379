"""GitLab's code quality report: findings in the merge request that brought them.

GitLab shows one entry per fingerprint, and takes one whose fingerprint the target branch has for an old one:
so findings with one fingerprint are one entry, whichever recordings they are in.
"""

from __future__ import annotations

import hashlib
import json

from conformance.finding import Finding, Look, Run
from conformance.reports import wording
from conformance.rule import ERROR, NOTE, WARNING
from conformance.secret import printable

_SEVERITIES = {ERROR: "critical", WARNING: "major", NOTE: "info"}


def report(run: Run, look: Look) -> str:
    """The findings as a list of violations; what could not be done is a blocker."""
    groups: dict[str, list[Finding]] = {}
    for finding in run.findings:
        groups.setdefault(finding.fingerprint, []).append(finding)
    entries = [
        _entry("hoplint", text, hashlib.sha256(text.encode()).hexdigest()[:16], "blocker", path or "-", 1)
        for path, text in wording.failures(run)
    ]
    for fingerprint, group in groups.items():
        first = group[0]
        more = f", and {wording.plural(len(group) - 1, 'more place')}" if len(group) > 1 else ""
        text = f"{first.why} ({wording.place(first)}, {wording.asked(first)}{more})"
        severity = _SEVERITIES[min((f.severity for f in group), key=lambda s: s.rank)]
        entries.append(
            _entry(first.rule, text, fingerprint, severity, first.at.recording, first.at.line or 1)
        )
    return json.dumps(entries, indent=1) + "\n"


def _entry(rule: str, text: str, fingerprint: str, severity: str, path: str, line: int) -> dict[str, object]:
    return {
        "description": printable(text),
        "check_name": rule,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": printable(wording.file(path)), "lines": {"begin": line}},
    }

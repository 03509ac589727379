"""JUnit XML: conformance as a test run. A suite per recording, a case per rule; what it cannot show is skipped."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from conformance.finding import Finding, Look, Run, Summary
from conformance.reports import wording
from conformance.secret import printable

_LISTED = 50
"""Findings of one rule in one recording that are listed."""


def report(run: Run, look: Look) -> str:
    """The whole run as one ``testsuites``."""
    root = Element("testsuites", name="hoplint")
    failures = wording.failures(run)
    for number, summary in enumerate(run.recordings):
        suite = SubElement(root, "testsuite", name=printable(summary.path), id=str(number))
        failed = [text for path, text in failures if path == summary.path]
        if failed:
            _error(suite, failed)
        if summary.kind != "unknown":
            _cases(suite, run, summary)
        _count(suite)
    rest = [text for path, text in failures if path is None]
    if rest:
        suite = SubElement(root, "testsuite", name="hoplint", id=str(len(run.recordings)))
        _error(suite, rest)
        _count(suite)
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, 0)) for suite in root)))
    indent(root)
    # ElementTree escapes what means something in XML; what XML 1.0 cannot hold at all `printable` has escaped.
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _cases(suite: Element, run: Run, summary: Summary) -> None:
    found: dict[str, list[Finding]] = {}
    for finding in run.findings:
        if finding.at.recording == summary.path:
            found.setdefault(finding.rule, []).append(finding)
    ignored: dict[str, list[str]] = {}
    for suppressed in run.suppressed:
        if suppressed.finding.at.recording == summary.path:
            ignored.setdefault(suppressed.finding.rule, []).append(
                f"{wording.place(suppressed.finding)}: {suppressed.finding.why} (ignored: {suppressed.reason})"
            )
    for name in sorted(run.rules.keys() | found):
        case = SubElement(suite, "testcase", classname=f"hoplint.{run.rule(name).topic}", name=name, time="0")
        if name in found:
            _failure(case, found[name])
        elif name not in summary.exercised and name not in ignored:
            SubElement(case, "skipped", message="the recording cannot show it")
        if name in ignored:
            SubElement(case, "system-out").text = _listed(ignored[name])


def _failure(case: Element, findings: list[Finding]) -> None:
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    failure = SubElement(case, "failure", type=str(first.severity), message=printable(first.why) + more)
    failure.text = _listed(
        f"{wording.where(finding)} {wording.place(finding)}, {wording.asked(finding)}: {finding.why}"
        for finding in findings
    )


def _error(suite: Element, texts: list[str]) -> None:
    case = SubElement(suite, "testcase", classname="hoplint", name="could be linted", time="0")
    SubElement(case, "error", type="error", message=texts[0]).text = _listed(texts)


def _listed(lines: Iterable[str]) -> str:
    shown = [printable(line) for line in lines]
    more = [f"and {len(shown) - _LISTED} more"] if len(shown) > _LISTED else []
    return "\n".join(["", *shown[:_LISTED], *more, ""])


def _count(suite: Element) -> None:
    for total, tag in (("tests", "."), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(total, str(len(suite.findall(f"testcase/{tag}" if tag != "." else "testcase"))))
    suite.set("time", "0")

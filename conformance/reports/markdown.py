"""Markdown for a job's summary page (``$GITHUB_STEP_SUMMARY``), a merge request or a wiki.

What comes from a recording is written as ``<code>`` with every character that is not a letter or a digit as an
entity: no Markdown, HTML, mention or address in it means anything.
"""

from __future__ import annotations

import re

from conformance import breaks
from conformance.finding import Finding, Look, Run
from conformance.reports import wording
from conformance.rule import Rule, Severity
from conformance.secret import printable

LIMIT = 1_000_000
"""Octets; GitHub takes no summary over 1 MiB."""
_PLACES = 10
"""Findings of one rule that are shown."""
_ICONS = {Severity.ERROR: "🔴 error", Severity.WARNING: "🟠 warning", Severity.NOTE: "🔵 note"}


def report(run: Run, look: Look) -> str:
    """Tally, a table of the rules that were broken, and each of them with where and why."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in sorted(run.findings, key=lambda finding: finding.severity.rank):
        by_rule.setdefault(finding.rule, []).append(finding)
    parts = [f"## hoplint\n\n{wording.tally(run)}\n"]
    if run.failures:
        failures = [f"- {_code(text)}" for _, text in wording.failures(run)]
        parts.append("**Not everything could be linted:**\n\n" + _some(failures, "failure"))
    if parsers := wording.parsers(run):
        parts.append(f"**Parsers:** {_escaped(parsers)}")
    if run.notes:
        parts.append("**Notes:**\n\n" + _some([f"- {_code(note)}" for note in run.notes], "note"))
    parts += _recordings(run)
    if by_rule:
        rows = [_row(run.rule(name), findings) for name, findings in by_rule.items()]
        parts.append(
            "| severity | rule | findings | in exchanges of |\n|---|---|--:|---|\n" + "\n".join(rows) + "\n"
        )
    parts += [_rule(run, run.rule(name), findings) for name, findings in by_rule.items()]
    if run.suppressed:
        lines = [
            f"- {_code(one.finding.rule)} {_code(wording.where(one.finding))}: {_code(one.reason or 'no reason')}"
            for one in run.suppressed
        ]
        parts.append(_details("ignored findings", _some(lines, "finding")))
    return _cut(parts)


def _recordings(run: Run) -> list[str]:
    rows = [
        f"| {_code(summary.path)} | {_code(summary.kind)} | {summary.exchanges} | "
        f"{sum(finding.at.recording == summary.path for finding in run.findings)} | {len(summary.exercised)} |"
        for summary in run.recordings[:_RECORDINGS]
    ]
    more = len(run.recordings) - len(rows)
    if more > 0:
        rows.append(f"| and {wording.plural(more, 'more recording')} | | | | |")
    head = "| recording | kind | exchanges | findings | rules it could decide |\n|---|---|--:|--:|--:|\n"
    return [head + "\n".join(rows) + "\n"] if rows else []


_RECORDINGS = 100


def _row(rule: Rule, findings: list[Finding]) -> str:
    paths = list(dict.fromkeys(finding.at.recording for finding in findings))
    shown = ", ".join(_code(path) for path in paths[:3])
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"| {_ICONS[findings[0].severity]} | {_code(rule.name)} | {len(findings)} | {shown}{more} |"


def _rule(run: Run, rule: Rule, findings: list[Finding]) -> str:
    lines = [_escaped(wording.paragraph(rule) or rule.summary), ""]
    cited = "".join(
        _escaped(separator) + (f"[{_escaped(shown)}]({url})" if url else _escaped(shown))
        for separator, shown, url in wording.sources(rule)
    )
    lines += [f"- {cited}"]
    for chokes in dict.fromkeys(breaks.of_finding(rule, finding) for finding in findings):
        if chokes.refused:
            lines.append(f"- breaks: {_escaped('; '.join(chokes.refused))}")
        if chokes.others:
            lines.append(f"- elsewhere: {_escaped(chokes.others)}")
    if rule.fix in run.addons:
        lines.append(f"- fix: addon {_code(rule.fix or '')}")
    groups = wording.grouped(findings)
    for group in groups[:_PLACES]:
        first = group[0]
        lines += [
            "",
            f"{_code(wording.where(first))} {_escaped(wording.place(first))}: {_code(first.why)}",
            "",
            # Empty lines end a block of HTML; there are none in it.
            "<pre>" + "\n".join(_quote(quote.text, quote.marked) for quote in first.quotes) + "</pre>",
        ]
        if len(group) > 1:
            lines += ["", f"also in {_escaped(wording.others(group))}"]
    if len(groups) > _PLACES:
        lines += ["", f"and {wording.plural(len(groups) - _PLACES, 'more kind')} of it"]
    return _details(f"{_code(rule.name)}: {_escaped(rule.summary)} ({len(findings)})", "\n".join(lines))


def _quote(text: str, marked: bool) -> str:
    return f"<strong>{_escaped(text)}</strong>" if marked else _escaped(text)


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>\n"


def _some(lines: list[str], noun: str) -> str:
    more = (
        [f"- and {wording.plural(len(lines) - _RECORDINGS, f'more {noun}')}"]
        if len(lines) > _RECORDINGS
        else []
    )
    return "\n".join([*lines[:_RECORDINGS], *more]) + "\n"


def _code(text: str) -> str:
    return f"<code>{_escaped(text)}</code>"


def _escaped(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9 ]", lambda char: f"&#{ord(char[0])};", printable(text))


def _cut(parts: list[str]) -> str:
    """As many parts as fit, and how many do not: half a report must not look like a whole one."""
    shown: list[str] = []
    size = 0
    for number, part in enumerate(parts):
        size += len(part.encode()) + 1
        if size > LIMIT - 200:
            left = wording.plural(len(parts) - number, "more section")
            shown.append(f"**The report is cut here: {left} did not fit.**\n")
            break
        shown.append(part)
    return "\n".join(shown)

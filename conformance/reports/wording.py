"""How the reports put things: where, what else, by which norm, the tally. Plain text: each format escapes for itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from conformance.finding import Finding, Run
from conformance.rule import Rule, Severity
from conformance.secret import printable

_ALIKE = 12
"""How many further places of a repeated finding are listed by number."""


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of one recording that say the same together, in the order of the first of each."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.at.recording, finding.rule, finding.alike)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def where(finding: Finding) -> str:
    """``path:line``; where there are no line numbers ``path#exchange``."""
    at = finding.at
    path = printable(at.recording)
    if at.line is not None:
        return f"{path}:{at.line}"
    return f"{path}#{at.exchange}" if at.exchange is not None else path


def file(path: str) -> str:
    """The recording's path as tools take it: from the current folder, with ``/``; ``stdin`` for ``-``."""
    if path == "-":
        return "stdin"
    found, here = PurePath(path), Path.cwd()
    return (found.relative_to(here) if found.is_relative_to(here) else found).as_posix()


def failures(run: Run) -> list[tuple[str | None, str]]:
    """What could not be done, each with the path of its recording; None: of no single one."""
    paths = sorted((summary.path for summary in run.recordings), key=len, reverse=True)
    return [
        (next((path for path in paths if text.startswith((f"{path}:", f"{path}#"))), None), printable(text))
        for text in run.failures
    ]


def place(finding: Finding) -> str:
    """``exchange 3, response``."""
    at = finding.at
    found = at.part if at.part != "stream" else f"octet {at.index}"
    if at.stream is not None:
        found += f" of stream {at.stream}"
    return found if at.exchange is None else f"exchange {at.exchange}, {found}"


def asked(finding: Finding) -> str:
    """``POST api.example/v1``; empty where no request is known."""
    return printable(f"{finding.method} {finding.host}{finding.path}".strip())


def others(group: list[Finding]) -> str:
    """Where else a finding is, by number: ``exchanges 2-5, 9``."""
    numbers = [f.at.exchange for f in group[1:] if f.at.exchange is not None]
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
    more = f" and {len(shown) - _ALIKE} more ranges" if len(shown) > _ALIKE else ""
    if not shown:
        return f"{plural(len(group) - 1, 'more place')} of the same stream"
    several = "s" if len(set(numbers)) > 1 else ""
    return f"exchange{several} {', '.join(shown[:_ALIKE])}{more}  ({len(group)} findings in all)"


def paragraph(rule: Rule) -> str:
    """The first paragraph of the rule's prose, without the docstring's markup."""
    text = " ".join(rule.prose.partition("\n\n")[0].split())
    return "" if text.startswith("> ") else text.replace("``", "")


class Source(NamedTuple):
    """One norm a rule cites."""

    separator: str
    """What stands between the one before and this one."""
    shown: str
    url: str
    """Empty: there is none."""


_RFC = re.compile(r"RFC (\d+)(?: §(\S+))?")
_LINKS = (
    (re.compile(r"RFC (\d+)"), r"https://www.rfc-editor.org/rfc/rfc\1"),
    (re.compile(r"RFC (\d+) §(\d\S*)"), r"https://www.rfc-editor.org/rfc/rfc\1#section-\2"),
    (re.compile(r"RFC (\d+) §([A-Z]\S*)"), r"https://www.rfc-editor.org/rfc/rfc\1#appendix-\2"),
    (re.compile(r"(draft-[a-z0-9-]+)"), r"https://datatracker.ietf.org/doc/\1"),
    (re.compile(r"([\w.-]+/[\w.-]+)#(\d+)"), r"https://github.com/\1/issues/\2"),
)
_SUPERSEDED = {"2616", "5988", "7159", "7230", "7231", "7232", "7233", "7234", "7235", "7540", "8941"}


def sources(rule: Rule) -> list[Source]:
    """``RFC 9110 §5.3, §10.2.4; formerly RFC 7230 §3.2.2``, each with its link."""
    cited: list[Source] = []
    last: tuple[str, bool] | None = None
    for source in rule.source:
        found = _RFC.fullmatch(source)
        number = found[1] if found else source
        old = number in _SUPERSEDED
        separator = "" if last is None else "; formerly " if old and not last[1] else ", "
        same = found is not None and found[2] and last is not None and last[0] == number
        url = next((m.expand(link) for known, link in _LINKS if (m := known.fullmatch(source))), "")
        cited.append(Source(separator, f"§{found[2]}" if found and same else source, url))
        last = (number, old)
    return cited


def tally(run: Run) -> str:
    """The last line: how many findings, in how much, and how many rules the evidence could decide."""
    read = [summary for summary in run.recordings if summary.kind != "unknown"]
    exchanges = sum(summary.exchanges for summary in read)
    levels = [plural(run.count(level), str(level)) for level in Severity if run.count(level)]
    found = plural(len(run.findings), "finding") + (f" ({', '.join(levels)})" if levels else "")
    text = f"{found} in {plural(exchanges, 'exchange')} of {plural(len(read), 'recording')}"
    for count, what in ((len(run.suppressed) - run.baselined, "ignored"), (run.baselined, "baselined")):
        text += f"; {count} {what}" if count else ""
    text += f". {len(run.exercised)} of {plural(len(run.rules), 'rule')} could be decided on this evidence."
    addons = Counter(fix for finding in run.findings if (fix := run.rule(finding.rule).fix) in run.addons)
    if addons:
        names = ", ".join(name for name, _ in addons.most_common() if name)
        text += f" {addons.total()} can be mended in flight: {names}."
    return text


def parsers(run: Run) -> str:
    """What real parsers took, all recordings together; empty where they were not asked."""
    asked: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for summary in run.recordings:
        for name, (messages, no) in summary.parsers.items():
            asked[name] += messages
            refused[name] += no
    alike: dict[str, list[str]] = {}
    for name, messages in asked.items():
        took = f"{messages - refused[name]} of {plural(messages, 'message')}"
        alike.setdefault(took, []).append(name)
    return "; ".join(f"{took} taken by {', '.join(names)}" for took, names in alike.items())


def plural(count: int, noun: str) -> str:
    """``1 finding``, ``2 findings``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")

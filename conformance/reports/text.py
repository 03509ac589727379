"""The reports for people: ``full`` explains, ``concise`` is one greppable line per finding."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from io import StringIO

from rich.console import Console
from rich.text import Text

from conformance.finding import Finding, Look, Run
from conformance.rule import Rule, Severity

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}
_ALIKE = 12
"""How many further places of a repeated finding are listed by number."""


def full(run: Run, look: Look) -> str:
    """The report in the shape of a compiler's: what, where, the lines, the norm, who breaks, the fix.

    A finding that repeats an earlier one of its recording (same rule, field and reason) is not shown again:
    the first one lists where else. With ``look.verbose`` every one is shown.
    """
    out = StringIO()
    width = look.width or 10_000
    console = Console(
        file=out, force_terminal=look.color, color_system="standard" if look.color else None,
        width=width, highlight=False, legacy_windows=False,
    )  # fmt: skip
    explained: set[str] = set()
    groups = [[finding] for finding in run.findings] if look.verbose else list(_grouped(run.findings))
    for group in groups:
        rule = run.rule(group[0].rule)
        first, addon = rule.name not in explained, rule.fix if rule.fix in run.addons else None
        head, *lines = _explained(group, rule, addon, first=first, width=min(width, 100))
        explained.add(rule.name)
        for line in [*head.wrap(console, width), *lines]:
            if look.width:
                line.truncate(width, overflow="ellipsis")
            console.print(line, soft_wrap=True)
        console.print()
    if look.statistics:
        for line in _statistics(run):
            console.print(line, soft_wrap=True)
        console.print()
    for line in _tally(run):
        console.print(line, soft_wrap=not look.width)
    return out.getvalue()


def concise(run: Run, look: Look) -> str:
    """``path:line: severity[rule] why``; without line numbers ``path#exchange``."""
    lines = [f"{_where(f)}: {f.severity}[{f.rule}] {f.why}" for f in run.findings]
    if look.statistics:
        lines += [line.plain for line in _statistics(run)]
    return "\n".join([*lines, *(line.plain for line in _tally(run))]) + "\n"


def _grouped(findings: Iterable[Finding]) -> Iterator[list[Finding]]:
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.at.recording, finding.rule, finding.alike)
        groups.setdefault(key, []).append(finding)
    yield from groups.values()


def _explained(
    group: list[Finding], rule: Rule, addon: str | None, *, first: bool, width: int
) -> Iterator[Text]:
    finding = group[0]
    head = Text.assemble(
        (f"{finding.severity}[{finding.rule}]", _STYLES[finding.severity]), (f": {finding.why}", "bold")
    )
    yield head
    gutter = max([len(str(quote.number)) for quote in finding.quotes if quote.number] or [1])
    yield Text.assemble((" " * gutter + "--> ", "blue"), _place(finding))
    bar = Text(" " * gutter + " |", style="blue")
    if finding.quotes:
        yield bar
    for quote in finding.quotes:
        number = "" if quote.number is None else str(quote.number)
        style = "" if quote.marked else "dim"
        yield Text.assemble((f"{number:>{gutter}} | ", "blue"), (quote.text, style))
        if quote.marked:
            arrow, _, rest = quote.text.partition(" ")
            marks = " " * (len(arrow) + 1) + "^" * max(1, len(rest))
            yield Text.assemble((" " * gutter + " | ", "blue"), (marks, _STYLES[finding.severity]))
    yield from _facts(group, rule, addon, first=first, indent=gutter, width=width)


def _place(finding: Finding) -> Text:
    at = finding.at
    where = at.part if at.part != "stream" else f"octet {at.index}"
    if at.stream is not None:
        where += f" of stream {at.stream}"
    if at.exchange is not None:
        where = f"exchange {at.exchange}, {where}"
    return Text.assemble((_where(finding), "bold"), f"  {where}")


def _where(finding: Finding) -> str:
    at = finding.at
    if at.line is not None:
        return f"{at.recording}:{at.line}"
    return f"{at.recording}#{at.exchange}" if at.exchange is not None else at.recording


def _facts(
    group: list[Finding], rule: Rule, addon: str | None, *, first: bool, indent: int, width: int
) -> Iterator[Text]:
    def fact(label: str, text: Text | str) -> Iterator[Text]:
        body = Text.assemble((f"{label}: ", "bold") if label else "", text)
        for number, line in enumerate(body.wrap(Console(width=width), max(40, width - indent - 3))):
            line.rstrip()
            yield Text.assemble((" " * indent + (" = " if number == 0 else "   "), "blue"), line)

    if len(group) > 1:
        yield from fact("also in", _others(group))
    if first and (why := _paragraph(rule)):
        yield from fact("", why)
    yield from fact("", _sources(rule))
    if rule.breaks:
        yield from fact("breaks", ", ".join(rule.breaks))
    if addon:
        yield from fact("fix", f'mitmdump -s "$(hoplint addons {addon})"')
    elif group[0].origin != "recorder":
        yield from fact("fix", f"at the {group[0].origin}; no addon repairs it in flight")


def _others(group: list[Finding]) -> str:
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
        return f"{len(group) - 1} more places of the same stream"
    plural = "s" if len(set(numbers)) > 1 else ""
    return f"exchange{plural} {', '.join(shown[:_ALIKE])}{more}  ({len(group)} findings in all)"


def _paragraph(rule: Rule) -> str:
    """The first paragraph of the rule's prose, without the docstring's markup."""
    text = " ".join(rule.prose.partition("\n\n")[0].split())
    return "" if text.startswith("> ") else text.replace("``", "")


_SECTION = re.compile(r"RFC (\d+) §(\S+)")
_SUPERSEDED = {"2616", "5988", "7159", "7230", "7231", "7232", "7233", "7234", "7235", "7540", "8941"}


def _sources(rule: Rule) -> Text:
    """``RFC 9110 §5.3, §10.2.4; formerly RFC 7230 §3.2.2``, each a link where the terminal knows links."""
    text = Text()
    last: tuple[str, bool] | None = None
    for source in rule.source:
        found = _SECTION.fullmatch(source)
        number = found[1] if found else source
        old = number in _SUPERSEDED
        if last is not None:
            text.append("; formerly " if old and not last[1] else ", ")
        shown = f"§{found[2]}" if found and last is not None and last[0] == number else source
        url = f"https://www.rfc-editor.org/rfc/rfc{found[1]}#section-{found[2]}" if found else ""
        text.append(shown, style=f"link {url}" if url else "")
        last = (number, old)
    return text


def _statistics(run: Run) -> Iterator[Text]:
    counts = Counter(finding.rule for finding in run.findings)
    for name, count in counts.most_common():
        rule = run.rule(name)
        severity = next(f.severity for f in run.findings if f.rule == name)
        mark = f"[{rule.fix}]" if rule.fix in run.addons else ""
        yield Text.assemble(
            f"{count:>6}  ", (f"{severity:<8}", _STYLES[severity]), f"{name}  ", (mark, "dim")
        )


def _tally(run: Run) -> Iterator[Text]:
    for summary in run.recordings:
        for note in summary.notes:
            yield Text.assemble(("note", "bold cyan"), f": {summary.path}: {note}")
    for addon, edits in sorted(run.edits.items()):
        yield Text.assemble(
            ("note", "bold cyan"), f": {_plural(edits, 'change')} in flight by {addon}, as recorded"
        )
    read = [summary for summary in run.recordings if summary.kind != "unknown"]
    exchanges = sum(summary.exchanges for summary in read)
    levels = [_plural(run.count(level), str(level)) for level in Severity if run.count(level)]
    found = _plural(len(run.findings), "finding") + (f" ({', '.join(levels)})" if levels else "")
    text = f"{found} in {_plural(exchanges, 'exchange')} of {_plural(len(read), 'recording')}"
    if run.suppressed:
        text += f"; {len(run.suppressed)} ignored"
    text += f". {len(run.exercised)} of {_plural(len(run.rules), 'rule')} could be decided on this evidence."
    addons = Counter(fix for finding in run.findings if (fix := run.rule(finding.rule).fix) in run.addons)
    if addons:
        names = ", ".join(name for name, _ in addons.most_common() if name)
        text += f" {addons.total()} can be mended in flight: {names}."
    style = (
        _STYLES[min((f.severity for f in run.findings), key=lambda s: s.rank)]
        if run.findings
        else "bold green"
    )
    yield Text(text, style=style)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")

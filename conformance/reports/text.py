"""The reports for people: ``full`` explains, ``concise`` is one greppable line per finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import StringIO

from rich.console import Console
from rich.text import Text

from conformance import breaks
from conformance.finding import Finding, Look, Run
from conformance.reports import wording
from conformance.rule import Rule, Severity
from conformance.secret import printable

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}


def full(run: Run, look: Look) -> str:
    """The report in the shape of a compiler's: what, where, the lines, the norm, who breaks, the fix.

    A finding that repeats an earlier one of its recording (same rule, field and reason) is not shown again:
    the first one lists where else. With ``look.verbose`` every one is shown. What a rule is about, and what becomes of
    it elsewhere, is said once.
    """
    out = StringIO()
    width = look.width or 10_000
    console = Console(
        file=out, force_terminal=look.color, color_system="standard" if look.color else None,
        width=width, highlight=False, legacy_windows=False,
    )  # fmt: skip
    explained: set[str] = set()
    told: set[tuple[str, str]] = set()  # rule, and what becomes elsewhere of what it finds
    groups = [[finding] for finding in run.findings] if look.verbose else wording.grouped(run.findings)
    for group in groups:
        rule = run.rule(group[0].rule)
        first, addon = rule.name not in explained, rule.fix if rule.fix in run.addons else None
        chokes = breaks.of_finding(rule, group[0])
        shown = chokes._replace(others="") if (rule.name, chokes.others) in told else chokes
        head, *lines = _explained(group, rule, addon, shown, first=first, width=min(width, 100))
        explained.add(rule.name)
        told.add((rule.name, chokes.others))
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
    lines = [f"{wording.where(f)}: {f.severity}[{f.rule}] {f.why}" for f in run.findings]
    if look.statistics:
        lines += [line.plain for line in _statistics(run)]
    return "\n".join([*lines, *(line.plain for line in _tally(run))]) + "\n"


def _explained(
    group: list[Finding], rule: Rule, addon: str | None, chokes: breaks.Row, *, first: bool, width: int
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
    yield from _facts(group, rule, addon, chokes, first=first, indent=gutter, width=width)


def _place(finding: Finding) -> Text:
    text = Text.assemble((wording.where(finding), "bold"), f"  {wording.place(finding)}")
    if not any(quote.text.startswith(f"> {finding.method} ") for quote in finding.quotes):
        text.append(f"  {wording.asked(finding)}", "dim")
    return text


def _facts(
    group: list[Finding],
    rule: Rule,
    addon: str | None,
    chokes: breaks.Row,
    *,
    first: bool,
    indent: int,
    width: int,
) -> Iterator[Text]:
    def fact(label: str, text: Text | str) -> Iterator[Text]:
        body = Text.assemble((f"{label}: ", "bold") if label else "", text)
        for number, line in enumerate(body.wrap(Console(width=width), max(40, width - indent - 3))):
            line.rstrip()
            yield Text.assemble((" " * indent + (" = " if number == 0 else "   "), "blue"), line)

    if len(group) > 1:
        yield from fact("also in", wording.others(group))
    if first and (why := wording.paragraph(rule)):
        yield from fact("", why)
    yield from fact("", _sources(rule))
    if chokes.refused:
        yield from fact("breaks", "; ".join(chokes.refused))
    if chokes.others:
        yield from fact("elsewhere", Text(chokes.others, "dim"))
    if addon:
        yield from fact("fix", f'mitmdump -s "$(hoplint addons {addon})"')
    elif group[0].origin != "recorder":
        yield from fact("fix", f"at the {group[0].origin}; no addon repairs it in flight")


def _sources(rule: Rule) -> Text:
    """The norms, each a link where the terminal knows links."""
    text = Text()
    for separator, shown, url in wording.sources(rule):
        text.append(separator)
        text.append(shown, style=f"link {url}" if url else "")
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
            yield Text.assemble(("note", "bold cyan"), f": {printable(f'{summary.path}: {note}')}")
    for note in run.notes:
        yield Text.assemble(("note", "bold cyan"), f": {printable(note)}")
    if parsers := wording.parsers(run):
        yield Text.assemble(("note", "bold cyan"), f": {parsers}")
    for addon, edits in sorted(run.edits.items()):
        yield Text.assemble(
            ("note", "bold cyan"),
            f": {wording.plural(edits, 'change')} in flight by {printable(addon)}, as recorded",
        )
    style = (
        _STYLES[min((f.severity for f in run.findings), key=lambda s: s.rank)]
        if run.findings
        else "bold green"
    )
    yield Text(wording.tally(run), style=style)

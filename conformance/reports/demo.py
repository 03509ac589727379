"""The demonstration side by side: what the agent got on each way, what was found, what was changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from conformance.finding import Look, Run
from conformance.rule import Severity

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}

type Way = tuple[Sequence[tuple[bool, str]], Run]
"""What came of each step, and what was found in the recording."""


def side_by_side(steps: Sequence[str], ways: Mapping[str, Way], look: Look) -> str:
    """Two tables: the steps and their outcomes, the rules and how often each was broken."""
    out = StringIO()
    console = Console(
        file=out, force_terminal=look.color, color_system="standard" if look.color else None,
        width=min(look.width or 100, 120), highlight=False, legacy_windows=False,
    )  # fmt: skip
    console.print(_outcomes(steps, ways))
    console.print(_findings(ways))
    lines = [line.rstrip() for line in out.getvalue().split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def _outcomes(steps: Sequence[str], ways: Mapping[str, Way]) -> Table:
    table = Table("the agent, through", *ways, box=SIMPLE_HEAD, expand=True)
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.ratio = 1
    for number, step in enumerate(steps):
        got = [outcomes[number] for outcomes, _ in ways.values()]
        table.add_row(step, *(Text(said, "green" if ok else "red") for ok, said in got))
    return table


def _findings(ways: Mapping[str, Way]) -> Table:
    runs = [run for _, run in ways.values()]
    table = Table("findings in the recording", *ways, box=SIMPLE_HEAD)
    counts = [Counter((finding.severity.rank, finding.rule) for finding in run.findings) for run in runs]
    severities = {finding.rule: finding.severity for run in runs for finding in run.findings}
    for _, rule in sorted({key for count in counts for key in count}):
        severity = severities[rule]
        numbers = [str(count[severity.rank, rule] or "-") for count in counts]
        table.add_row(Text(rule, _STYLES[severity]), *numbers)
    table.add_section()
    table.add_row(Text("in all", "bold"), *(Text(_total(run), "bold") for run in runs))
    table.add_row("changed in flight", *(_edits(run) for run in runs))
    return table


def _total(run: Run) -> str:
    counts = [(run.count(severity), severity) for severity in Severity]
    return ", ".join(f"{n} {severity}{'s' * (n > 1)}" for n, severity in counts if n) or "none"


def _edits(run: Run) -> str:
    return "\n".join(f"{count} by {addon}" for addon, count in run.edits.most_common()) or "nothing"

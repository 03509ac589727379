"""GitHub workflow commands: findings as annotations of the run and of the changed files.

GitHub shows the first ten errors and the first ten warnings of a step: the gravest come first, and what
repeats is one annotation.
"""

from __future__ import annotations

from conformance.finding import Finding, Look, Run
from conformance.reports import wording
from conformance.rule import ERROR, NOTE, WARNING
from conformance.secret import printable

_COMMANDS = {ERROR: "error", WARNING: "warning", NOTE: "notice"}


def report(run: Run, look: Look) -> str:
    """A command per finding and per failure, and the tally as a line of the log."""
    lines = [
        _command(
            "error",
            text,
            title="hoplint",
            **({"file": printable(wording.file(path))} if path else {}),
        )
        for path, text in wording.failures(run)
    ]
    groups = sorted(wording.grouped(run.findings), key=lambda group: group[0].severity.rank)
    lines += [_annotation(group) for group in groups]
    return "\n".join([*lines, wording.tally(run)]) + "\n"


def _annotation(group: list[Finding]) -> str:
    finding = group[0]
    context = ", ".join(filter(None, (wording.place(finding), wording.asked(finding))))
    text = f"{finding.why}\n{context}"
    if len(group) > 1:
        text += f"\nalso in: {wording.others(group)}"
    return _command(
        _COMMANDS[finding.severity],
        "\n".join(map(printable, text.split("\n"))),
        file=printable(wording.file(finding.at.recording)),
        line=str(finding.at.line or 1),
        title=f"hoplint {finding.rule}",
    )


def _command(name: str, text: str, **properties: str) -> str:
    shown = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {shown}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

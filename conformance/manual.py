"""The rules' docstrings as pages: what ``hoplint rule`` prints and ``conformance/rules/README.md`` holds."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from importlib import import_module

from conformance import breaks
from conformance.message import Evidence
from conformance.rule import Rule


def text(rule: Rule, width: int | None = None) -> str:
    """One rule for the terminal: no line of prose or facts has more columns than ``width``, where that is given."""
    prose = _plain(rule.prose)
    lines = [
        f"{rule.name}  ({rule.topic}, {_level(rule)})",
        "",
        rule.summary,
        "",
        prose if width is None else "\n\n".join(_filled(part, width) for part in prose.split("\n\n")),
        "",
    ]
    for example in rule.examples:
        lines += [
            "Bad:" if example.bad else "Good:",
            "",
            *(f"    {line}" for line in example.text.split("\n")),
            "",
        ]
    for label, value in _facts(rule):
        fact = f"{label + ':':<10} {value}"
        lines.append(fact if width is None else _wrapped(fact, width, " " * 11))
    return "\n".join(lines) + "\n"


def table(rules: Mapping[str, Rule]) -> str:
    """All rules, a line each, by topic."""
    width = max(map(len, rules))
    lines: list[str] = []
    for topic, members in _by_topic(rules):
        lines += ["" if lines else None, f"{topic}: {_about(topic)}"]  # type: ignore[list-item]
        lines += [
            f"  {rule.name:<{width}}  {rule.severity if rule.by_default else 'note, off':<9}  {rule.summary}"
            for rule in members
        ]
    return "\n".join(line for line in lines if line is not None) + "\n"


def markdown(rules: Mapping[str, Rule]) -> str:
    """All rules as one page with a table of contents."""
    lines = [
        "# Rules",
        "",
        "Generated from the docstrings by `hoplint rule --all --format markdown`; do not edit.",
        "",
        f"{len(rules)} rules. A name states the defect; it, its topic or `rfcNNNN` is what `--select`, `--ignore` and",
        "`hoplint: ignore[...]` take. **error**: violates a MUST, or is known to break a named client or server.",
        "**warning**: violates a SHOULD, or is a known hazard. **note**: advice, off unless",
        "selected.",
        "",
    ]
    for topic, members in _by_topic(rules):
        lines += [f"- [{topic}](#{topic}): {', '.join(f'[{rule.name}](#{rule.name})' for rule in members)}"]
    for topic, members in _by_topic(rules):
        lines += ["", f"## {topic}", "", _about(topic)]
        for rule in members:
            lines += ["", *_page(rule)]
    return "\n".join(lines) + "\n"


def page(rule: Rule) -> str:
    """One rule in Markdown."""
    return "\n".join(_page(rule)) + "\n"


def as_json(rules: Iterable[Rule]) -> str:
    """Rules for programs: a list of objects."""
    return (
        json.dumps(
            [
                {
                    "name": rule.name,
                    "topic": rule.topic,
                    "severity": str(rule.severity),
                    "default": rule.by_default,
                    "summary": rule.summary,
                    "why": _plain(rule.prose),
                    "rfc": list(rule.source),
                    "scope": rule.scope.lower(),
                    "evidence": _evidence(rule),
                    "fix": rule.fix,
                    "breaks": list(breaks.names(rule)),
                    "bad": [example.text for example in rule.examples if example.bad],
                    "good": [example.text for example in rule.examples if not example.bad],
                }
                for rule in rules
            ],
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def _page(rule: Rule) -> list[str]:
    lines = [
        f"### {rule.name}",
        "",
        f"{_level(rule)}. {rule.summary}",
        "",
        rule.prose.replace("``", "`"),
        "",
    ]
    lines += [f"- {label}: {value}" for label, value in _facts(rule)]
    for example in rule.examples:
        lines += ["", "Bad:" if example.bad else "Good:", "", "```", example.text, "```"]
    return lines


def _level(rule: Rule) -> str:
    return str(rule.severity) if rule.by_default else f"{rule.severity}, off unless selected"


def _facts(rule: Rule) -> list[tuple[str, str]]:
    facts = [
        ("source", ", ".join(rule.source)),
        ("looks at", f"{rule.scope.lower()}; needs {_evidence(rule)}"),
    ]
    for sent, chokes in breaks.of_rule(rule):
        of = f"{sent}: " if sent else ""
        if chokes.refused:
            facts.append(("breaks", f"{of}{'; '.join(chokes.refused)}"))
        if chokes.others:
            facts.append(("elsewhere", f"{of}{chokes.others}"))
    facts.append(("fix", f"addon {rule.fix}" if rule.fix else "the sender has to change"))
    return facts


def _evidence(rule: Rule) -> str:
    return " or ".join(
        " + ".join(str(bit.name).lower() for bit in Evidence if bit in needs) for needs in rule.evidence
    )


def _by_topic(rules: Mapping[str, Rule]) -> list[tuple[str, list[Rule]]]:
    topics: dict[str, list[Rule]] = {}
    for rule in rules.values():
        topics.setdefault(rule.topic, []).append(rule)
    return sorted(topics.items())


def _about(topic: str) -> str:
    doc = import_module(f"conformance.rules.{topic}").__doc__ or ""
    return doc.partition("\n\n")[0].replace("\n", " ")


def _filled(paragraph: str, width: int) -> str:
    """A paragraph, or a quotation of which every line begins with ``> ``, in lines of another length."""
    mark = "> " if paragraph.startswith("> ") else ""
    return _wrapped(mark + " ".join(line.removeprefix(mark) for line in paragraph.split("\n")), width, mark)


def _wrapped(line: str, width: int, indent: str) -> str:
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _plain(prose: str) -> str:
    return prose.replace("``", "")

"""Every rule's docstring is its test: each Bad fires exactly its rule, each Good is silent under all rules."""

import pytest

from conformance import recording
from conformance.lint import Settings, check
from conformance.rule import NOTE, Rule, load

RULES = load()

ADVICE = frozenset(
    {
        "201-without-location", "415-without-accept", "error-without-content", "header-added-by-hop",
        "json-charset-parameter", "no-store-missing-on-completion", "unregistered-status-code", "user-agent-missing",
        "via-missing",
    }
)  # fmt: skip
"""Notes on what most messages might have as well: examples of other rules do without, to be short."""


def findings(text: str, rule: Rule) -> dict[str, list[str]]:
    """Rule name -> reasons, for a transcript under all rules."""
    # Through a whole recording, so that `# profile:` counts.
    settings = Settings(parsers=rule.scope == "Judged")  # they take a second to start
    run = check([recording.read("-", stdin=text.encode())], RULES, settings=settings)
    assert not run.failures, run.failures
    found: dict[str, list[str]] = {}
    for finding in run.findings:
        found.setdefault(finding.rule, []).append(finding.why)
    return found


def _cases(bad: bool) -> list[object]:
    return [
        pytest.param(rule, example, id=f"{rule.name}-{number}")
        for rule in RULES.values()
        for number, example in enumerate(rule.examples)
        if example.bad is bad
    ]


@pytest.mark.parametrize(("rule", "example"), _cases(bad=True))
def test_bad_fires_exactly_its_rule(rule: Rule, example) -> None:
    found = findings(example.transcript, rule)
    # Notes are advice on top; an example need not be free of them.
    defects = {name for name in found if RULES[name].severity is not NOTE or name == rule.name}
    assert defects == {rule.name, *example.also}, found


@pytest.mark.parametrize(("rule", "example"), _cases(bad=False))
def test_good_is_silent(rule: Rule, example) -> None:
    assert not {
        name for name in findings(example.transcript, rule) if name == rule.name or name not in ADVICE
    }


def test_advice_is_notes() -> None:
    assert {RULES[name].severity for name in ADVICE & RULES.keys()} == {NOTE}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_manual_is_complete(rule: Rule) -> None:
    assert [example.bad for example in rule.examples].count(True) >= 1
    assert [example.bad for example in rule.examples].count(False) >= 1
    assert rule.summary.endswith(".")
    assert len(rule.prose) > 80
    assert "> " in rule.prose or not any(source.startswith("RFC") for source in rule.source), "quote the norm"

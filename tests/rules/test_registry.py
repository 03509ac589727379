"""The registry against the catalogue that was agreed on: names, topics, severities, sources, fixes, evidence."""

import json
from pathlib import Path

import pytest

from conformance.rule import NOTE, Rule, load, select

RULES = load()
CATALOGUE = {
    entry["name"]: entry
    for entry in json.loads(Path(__file__).parents[1].joinpath("catalogue.json").read_text())
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_is_as_the_catalogue_says(rule: Rule) -> None:
    entry = CATALOGUE[rule.name]
    # Where no standard speaks the catalogue cites nothing, and the rule a document or an issue.
    entry["source"] = entry["source"] or [source for source in rule.source if not source.startswith("RFC")]
    assert {
        "topic": rule.topic,
        "severity": str(rule.severity),
        "source": list(rule.source),
        "fix": rule.fix,
        "summary": rule.summary,
    } == {key: entry[key] for key in ("topic", "severity", "source", "fix", "summary")}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_evidence_is_as_the_catalogue_says(rule: Rule) -> None:
    def words(evidence: str) -> set[frozenset[str]]:
        return {frozenset(word.strip() for word in part.split("+")) for part in evidence.split("|")}

    said = {frozenset(str(bit.name).lower() for bit in needs) for needs in rule.evidence}
    assert said == words(CATALOGUE[rule.name]["evidence"])


@pytest.mark.parametrize("topic", sorted({entry["topic"] for entry in CATALOGUE.values()}))
def test_topic_is_complete(topic: str) -> None:
    wanted = {name for name, entry in CATALOGUE.items() if entry["topic"] == topic}
    assert wanted == {name for name, rule in RULES.items() if rule.topic == topic}


def test_notes_are_off_until_they_are_selected() -> None:
    notes = {name for name, rule in RULES.items() if rule.severity is NOTE}
    assert len(RULES) == len(CATALOGUE)
    assert set(select(RULES, [])) == RULES.keys() - notes
    assert set(select(RULES, [(None, ["ALL"], [])])) == RULES.keys()
    assert all(not RULES[name].by_default for name in notes)

import json

import pytest

from conformance import manual
from conformance.rule import load

RULES = load()


def test_one_rule_for_the_terminal() -> None:
    text = manual.text(RULES["duplicate-server"])
    assert text.startswith(
        "duplicate-server  (duplicates, error)\n\nThe response has more than one Server header.\n"
    )
    assert "    < Server: " in text
    assert "``" not in text
    assert "source:    RFC 9110 §5.3, RFC 9110 §10.2.4, RFC 7230 §3.2.2" in text
    assert "fix:       addon dedupe-headers" in text


@pytest.mark.parametrize("width", [60, 80])
def test_prose_and_facts_fit_the_terminal(width: int) -> None:
    for rule in RULES.values():
        _, _, summary, _, *lines = manual.text(rule, width).split("\n")
        examples = slice(
            lines.index("Bad:"), next(n for n, line in enumerate(lines) if line.startswith("source:"))
        )
        del lines[examples]
        assert summary == rule.summary
        # A word that is longer is left whole.
        assert not [line for line in lines if len(line) > width and " " in line.removeprefix("> ")], rule.name


def test_a_quotation_and_a_fact_go_on_below_themselves() -> None:
    text = manual.text(RULES["duplicate-server"], 60)
    assert "> A sender MUST NOT generate multiple field lines with the\n> same name in a message" in text
    assert (
        "\nsource:    RFC 9110 §5.3, RFC 9110 §10.2.4, RFC 7230 §3.2.2,\n           RFC 7231 §7.4.2\n" in text
    )


def test_the_table_has_every_rule_once() -> None:
    lines = manual.table(RULES).split("\n")
    assert [sum(line.startswith(f"  {name} ") for line in lines) for name in RULES] == [1] * len(RULES)


def test_what_is_off_unless_selected_says_so() -> None:
    note, error = RULES["retry-after-too-long"], RULES["duplicate-server"]
    said = "note, off unless selected"
    assert said in manual.text(note)
    assert said in manual.page(note)
    assert "note, off" in manual.table({note.name: note})
    assert [entry["default"] for entry in json.loads(manual.as_json([note, error]))] == [False, True]
    assert not any(
        "off" in line
        for line in (manual.text(error).split("\n")[0], manual.table({error.name: error}).split("\n")[1])
    )


def test_the_page_has_every_rule_and_links_to_it() -> None:
    page = manual.markdown(RULES)
    for name in RULES:
        assert f"\n### {name}\n" in page
        assert f"(#{name})" in page


def test_json_says_what_the_decorator_said() -> None:
    (entry,) = json.loads(manual.as_json([RULES["content-length-mismatch"]]))
    assert entry["evidence"] == "headers + body"
    assert entry["rfc"][0] == "RFC 9110 §8.6"
    assert entry["bad"]
    assert entry["good"]

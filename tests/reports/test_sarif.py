import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance import lint, recording
from conformance.finding import Finding, Location, Look, Run
from conformance.reports import sarif
from conformance.reports.sarif import report
from conformance.rule import ERROR, load

SCHEMA = json.loads((Path(__file__).parent / "schemas/sarif-2.1.0-rtm.5.json").read_text())


def log(run: Run) -> dict[str, Any]:
    """The only run of a valid log."""
    document = json.loads(report(run, Look()))
    jsonschema.validators.validator_for(SCHEMA)(SCHEMA).validate(document)
    (only,) = document["runs"]
    return only


def test_hostile(hostile: Run, golden, harmless) -> None:
    text = report(hostile, Look())
    golden("hostile.sarif", text)
    harmless(text)
    assert text.isascii()
    only = log(hostile)
    # No message may hold a link (§3.11.6), and no address anything but an address.
    assert "](" not in json.dumps([result["message"] for result in only["results"]])
    for artifact in only["artifacts"]:
        assert not set(artifact["location"]["uri"]) & set(" <>`|\n:")


def test_every_rule_that_is_selected_is_explained() -> None:
    only = log(lint.check([], load()))
    rules = only["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted(load())
    assert only["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    rule = next(rule for rule in rules if rule["id"] == "duplicate-server")
    assert rule["defaultConfiguration"] == {"level": "error"}
    note = next(rule for rule in rules if rule["id"] == "retry-after-too-long")
    assert note["defaultConfiguration"] == {"level": "note", "enabled": False}
    assert rule["helpUri"] == "https://www.rfc-editor.org/rfc/rfc9110#section-5.3"
    assert "### duplicate-server" in rule["help"]["markdown"]
    assert "Bad:" in rule["help"]["text"]
    assert rule["properties"]["tags"] == ["duplicates", "rfc7230", "rfc7231", "rfc9110"]


def test_results(hostile: Run) -> None:
    only = log(hostile)
    rules = only["tool"]["driver"]["rules"]
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["partialFingerprints"]["hoplint/v1"].isalnum()
    levels = [result["level"] for result in only["results"]]
    assert levels[: len(hostile.findings)] == [str(finding.severity) for finding in hostile.findings]
    (place,) = only["results"][0]["locations"]
    assert place["physicalLocation"]["region"]["startLine"] == hostile.findings[0].at.line
    kinds = [result["suppressions"][0]["kind"] for result in only["results"] if "suppressions" in result]
    assert kinds == ["inSource"] * 8 + ["external"]
    assert all("suppressions" not in result for result in only["results"][: len(hostile.findings)])


def test_what_could_not_be_done(hostile: Run) -> None:
    (invocation,) = log(hostile)["invocations"]
    assert not invocation["executionSuccessful"]
    broken, missing = invocation["toolExecutionNotifications"]
    assert "broken at" in broken["message"]["text"]
    assert broken["locations"]
    assert "locations" not in missing


@pytest.mark.parametrize(
    ("at", "name"),
    [
        ({"exchange": 3, "part": "response", "index": 5}, "exchange[3].response.fields[5]"),
        ({"exchange": 3, "part": "request"}, "exchange[3].request"),
        ({"exchange": 3, "part": "frame", "index": 0}, "exchange[3].frames[0]"),
        ({"exchange": None, "part": "stream", "index": 9, "stream": 2}, "stream[2].octets[9]"),
        ({"exchange": 1, "part": "stream", "index": 9, "stream": 2}, "exchange[1].stream[2].octets[9]"),
    ],
)
def test_places_in_a_flow_file(at: dict[str, Any], name: str) -> None:
    finding = Finding("duplicate-server", ERROR, Location("a.flow", **at), "x", "server", "flow")
    (result,) = log(Run(load(), findings=[finding]))["results"]
    (place,) = result["locations"]
    assert place["logicalLocations"] == [{"fullyQualifiedName": name}]
    assert place["physicalLocation"]["region"]["startLine"] == 1


def test_paths_are_relative_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ["./a/b c.http", str(tmp_path / "d.http"), "/elsewhere/e.http", "-"]
    run = lint.check([recording.Recording(path, b"> GET / HTTP/1.1\n") for path in paths], {})
    uris = [artifact["location"] for artifact in log(run)["artifacts"]]
    assert uris == [
        {"uri": "a/b%20c.http", "uriBaseId": "%SRCROOT%"},
        {"uri": "d.http", "uriBaseId": "%SRCROOT%"},
        {"uri": "file:///elsewhere/e.http"},
        {"uri": "stdin", "uriBaseId": "%SRCROOT%"},
    ]


def test_findings_of_our_own_rules_have_their_rule() -> None:
    text = "# hoplint: ignore[duplicate-server]\n> GET / HTTP/1.1\n"
    only = log(lint.check([recording.Recording("-", text.encode())], load()))
    assert "unused-ignore" in [result["ruleId"] for result in only["results"]]


def test_a_rule_without_a_norm_has_no_address() -> None:
    rule = replace(load()["duplicate-server"], source=("a vendor's manual",))
    (found,) = log(Run({rule.name: rule}))["tool"]["driver"]["rules"]
    assert "helpUri" not in found


def test_too_many_results_are_cut_to_one_of_each_first(hostile: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {finding.fingerprint for finding in hostile.findings}
    hostile.findings = hostile.findings[:1] * 50 + hostile.findings
    monkeypatch.setattr(sarif, "RESULTS", len(kinds) + 1)
    only = log(hostile)
    assert len(only["results"]) == len(kinds) + 1
    assert {result["partialFingerprints"]["hoplint/v1"] for result in only["results"]} == kinds
    last = only["invocations"][0]["toolExecutionNotifications"][-1]
    assert last["level"] == "warning"
    assert "left out" in last["message"]["text"]

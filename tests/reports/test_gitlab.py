import json

from conformance.finding import Look, Run
from conformance.reports.gitlab import report


def test_hostile(hostile: Run, golden, harmless) -> None:
    text = report(hostile, Look())
    golden("hostile.gitlab.json", text)
    harmless(text)
    assert text.isascii()


def test_the_shape_that_gitlab_reads(hostile: Run) -> None:
    hostile.findings += hostile.findings
    entries = json.loads(report(hostile, Look()))
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"]["path"]
        assert entry["location"]["lines"]["begin"] >= 1
    fingerprints = [entry["fingerprint"] for entry in entries]
    assert len(set(fingerprints)) == len(fingerprints)
    assert [entry["severity"] for entry in entries[:3]] == ["blocker", "blocker", "major"]
    assert "1 more place" in entries[3]["description"]


def test_nothing_found_is_an_empty_list() -> None:
    assert report(Run({}), Look()) == "[]\n"

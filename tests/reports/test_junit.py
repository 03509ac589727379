from pathlib import Path
from xml.etree import ElementTree

import xmlschema

from conformance import lint, recording
from conformance.finding import Look, Run
from conformance.reports.junit import report
from conformance.rule import load

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "schemas/junit-10.xsd")


def suites(run: Run) -> ElementTree.Element:
    text = report(run, Look())
    SCHEMA.validate(text)
    return ElementTree.fromstring(text.encode())


def test_hostile(hostile: Run, golden, harmless) -> None:
    text = report(hostile, Look())
    golden("hostile.junit.xml", text)
    harmless(text)
    SCHEMA.validate(text)


def test_a_suite_per_recording_and_a_case_per_rule(hostile: Run) -> None:
    root = suites(hostile)
    assert [(s.get("tests"), s.get("failures"), s.get("errors"), s.get("skipped")) for s in root] == [
        ("5", "2", "1", "1"),
        ("4", "0", "0", "0"),
        ("1", "0", "1", "0"),
    ]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("10", "2", "2")
    cases = {case.get("name"): case for case in root[0]}
    assert cases["duplicate-server"].find("failure").get("type") == "error"
    assert "(and 7 more)" in cases["duplicate-server"].find("failure").get("message")
    assert cases["content-length-mismatch"].find("skipped") is not None
    # What is ignored passes, and says why.
    assert [child.tag for child in cases["duplicate-date"]] == ["system-out"]
    assert "@all" in cases["duplicate-date"].find("system-out").text
    assert "broken at" in cases["could be linted"].find("error").get("message")


def test_a_clean_run_has_no_failure() -> None:
    root = suites(Run({}))
    assert (len(root), root.get("failures")) == (0, "0")


def test_long_lists_are_cut(hostile: Run) -> None:
    hostile.findings *= 20
    text = next(suites(hostile).iter("failure")).text
    assert len(text.strip().splitlines()) == 51
    assert text.strip().endswith("more")


def test_a_file_that_is_no_recording_has_only_its_error() -> None:
    run = lint.check([recording.Recording("a.png", b"\x89PNG\r\n")], load())
    (suite,) = suites(run)
    (case,) = suite
    assert [child.tag for child in case] == ["error"]

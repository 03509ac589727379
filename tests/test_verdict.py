"""Where parsers part."""

from conformance.message import Fields, Response
from conformance.verdict import Judged, Verdict

TWO = (("start line", (200,)), ("content", (2, True)))
TWELVE = (("start line", (200,)), ("content", (12, False)))


def judged(*verdicts: Verdict) -> Judged:
    return Judged(Response(fields=Fields(), code=b"200"), verdicts)


def test_parsers_are_grouped_by_what_they_say() -> None:
    found = judged(Verdict("a", "No"), Verdict("b", None, TWO), Verdict("c", "Never"), Verdict("d", "No"))
    assert found.refused == {"No": ["a", "d"], "Never": ["c"]}
    assert found.taken == ["b"]


def test_only_what_is_read_differently_is_disputed() -> None:
    found = judged(
        Verdict("a", None, TWO), Verdict("b", None, TWELVE), Verdict("c", None, TWO), Verdict("d", "No")
    )
    assert list(found.disputed) == [("content", {(2, True): ["a", "c"], (12, False): ["b"]})]
    assert list(judged(Verdict("a", None, TWO), Verdict("b", None, TWO)).disputed) == []

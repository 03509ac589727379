"""When parsers disagree, and what of it is said."""

import pytest

from conformance.message import Fields, Response
from conformance.rules.parsers import parsers_disagree
from conformance.verdict import Judged, Verdict

MESSAGE = Response(fields=Fields([(b"Server", b"a")]), code=b"200")
TAKEN = (("start line", (200,)), ("content", (2, True)))


def said(*verdicts: Verdict) -> list[str]:
    found = list(parsers_disagree(Judged(MESSAGE, verdicts)))
    assert all(place is MESSAGE for place, _ in found)
    return [why for _, why in found]


@pytest.mark.parametrize(
    "verdicts",
    [
        (),
        (Verdict("a 1", None, TAKEN), Verdict("b 2", None, TAKEN)),
        (Verdict("a 1", "no"), Verdict("b 2", "never")),  # no disagreement: other rules say what is wrong
    ],
)
def test_who_agrees_is_left_alone(verdicts: tuple[Verdict, ...]) -> None:
    assert said(*verdicts) == []


def test_who_refuses_is_named_with_its_words() -> None:
    assert said(
        Verdict("a 1", "Too long"),
        Verdict("b 2", None, TAKEN),
        Verdict("c 3", "Too long"),
        Verdict("d 4", "No"),
    ) == ['refused by a 1, c 3 ("Too long"); d 4 ("No"); taken by b 2']


def test_two_readings_are_told_apart() -> None:
    other = (("start line", (200,)), ("content", (12, False)))
    assert said(Verdict("a 1", None, TAKEN), Verdict("b 2", None, other), Verdict("c 3", None, TAKEN)) == [
        "content read differently: a 1, c 3 (2 octets); b 2 (12 octets, and waits for more)"
    ]


def test_what_was_read_is_not_shown() -> None:
    read = [(("fields", ((b"authorization", value),)),) for value in (b"Bearer CANARY", b"Bearer CANARY2")]
    assert said(Verdict("a 1", None, read[0]), Verdict("b 2", None, read[1])) == [
        "fields read differently: a 1; b 2"
    ]


def test_words_are_masked() -> None:
    (why,) = said(Verdict("a 1", "Authorization: Bearer sk-CANARY0123456789"), Verdict("b 2", None, TAKEN))
    assert "CANARY" not in why

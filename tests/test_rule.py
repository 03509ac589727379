from collections.abc import Callable

import pytest

from conformance import rule as module
from conformance.message import Evidence, Message, Octets, Request
from conformance.rule import ERROR, NOTE, RULES, WARNING, Hits, Rule, RuleError, UnknownName, rule, select


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RULES", {})


def made(check: Callable[..., Hits], *source: str, **kwargs) -> Rule:
    rule(*(source or ("RFC 9110 §5.3",)), **{"severity": ERROR, **kwargs})(check)
    (found,) = module.RULES.values()
    return found


def test_everything_comes_from_where_it_stands() -> None:
    def header_is_odd(request: Request) -> Hits:
        """A header is odd.

        It breaks things.

        Bad::

            > GET / HTTP/1.1

        Good::

            > GET /good HTTP/1.1

        Bad, also other-rule, third::

            > GET /2 HTTP/1.1
        """
        yield request, "odd"

    found = made(
        header_is_odd, "RFC 9110 §5", evidence="headers + body | octets", fields=["x"], breaks=["h11"]
    )
    assert (found.name, found.topic, found.scope) == ("header-is-odd", "test_rule", "Request")
    assert found.evidence == (Evidence.HEADERS | Evidence.BODY, Evidence.OCTETS)
    assert (found.summary, found.prose) == ("A header is odd.", "It breaks things.")
    assert [(e.bad, e.text, sorted(e.also)) for e in found.examples] == [
        (True, "> GET / HTTP/1.1", []),
        (False, "> GET /good HTTP/1.1", []),
        (True, "> GET /2 HTTP/1.1", ["other-rule", "third"]),
    ]
    assert not found.wants_policy


def no_annotation(request) -> Hits:  # type: ignore[no-untyped-def]
    yield request, ""


def wrong_scope(text: str) -> Hits:
    yield text, ""  # type: ignore[misc]


def wrong_second(request: Request, other: int) -> Hits:
    yield request, ""


def no_generator(request: Request) -> Hits:
    return iter(())


@pytest.mark.parametrize("check", [no_annotation, wrong_scope, wrong_second, no_generator])
def test_what_is_no_rule_is_said_with_file_and_line(check: Callable[..., Hits]) -> None:
    with pytest.raises(RuleError, match=rf"test_rule\.py:{check.__code__.co_firstlineno}: "):
        made(check)


def fine(octets: Octets) -> Hits:
    yield octets, ""


@pytest.mark.parametrize(("source", "kwargs"), [((), {}), (("RFC 1",), {"evidence": "tea leaves"})])
def test_a_rule_needs_sources_and_known_evidence(source: tuple[str, ...], kwargs: dict[str, str]) -> None:
    with pytest.raises(RuleError):
        rule(*source, severity=ERROR, **kwargs)(fine)


def test_a_name_is_taken_once() -> None:
    made(fine)
    with pytest.raises(RuleError, match="already"):
        rule("RFC 1", severity=ERROR)(fine)


def catalogue(*rules: tuple[str, str, str, str]) -> dict[str, Rule]:
    def check(message: Message) -> Hits:
        yield message, ""

    return {
        name: Rule(
            name,
            topic,
            module.Severity(severity),
            (source,),
            None,
            "Message",
            (),
            frozenset(),
            (),
            False,
            False,
            "",
            check,
        )
        for name, topic, severity, source in rules
    }


RULESET = catalogue(
    ("duplicate-server", "duplicates", "error", "RFC 9110 §5.3"),
    ("duplicate-date", "duplicates", "warning", "RFC 9110 §5.3"),
    ("duplicate-unknown", "duplicates", "note", "RFC 7230 §3.2.2"),
    ("chunked-twice", "framing", "error", "RFC 9112 §6.1"),
)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ([], {"duplicate-server", "duplicate-date", "chunked-twice"}),
        ([(None, ["duplicate-unknown"], [])], {"duplicate-server", "duplicate-date", "chunked-twice", "duplicate-unknown"}),
        ([(["duplicates"], [], ["duplicate-date"])], {"duplicate-server", "duplicate-unknown"}),
        ([(["duplicate-date"], [], ["duplicates"])], {"duplicate-date"}),
        ([(["rfc9112"], [], [])], {"chunked-twice"}),
        ([(["ALL"], [], ["rfc9110"])], {"chunked-twice", "duplicate-unknown"}),
        ([(None, [], ["framing"])], {"duplicate-server", "duplicate-date"}),
        ([(None, [], ["framing"]), (["framing"], [], [])], {"chunked-twice"}),
        ([(["duplicates"], [], []), (None, [], ["duplicate-server"])], {"duplicate-date", "duplicate-unknown"}),
        (
            [(None, [], ["duplicate-date"]), (None, ["duplicate-date"], [])],
            {"duplicate-server", "duplicate-date", "chunked-twice"},
        ),
    ],
)  # fmt: skip
def test_select(layers, names: set[str]) -> None:
    assert set(select(RULESET, layers)) == names


def test_select_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"duplicate-sever.*did you mean duplicate-server"):
        select(RULESET, [(["duplicate-sever"], [], [])])


def test_the_three_levels_are_sarifs() -> None:
    assert [ERROR.rank, WARNING.rank, NOTE.rank] == [0, 1, 2]
    assert RULES is not module.RULES, "the fixture keeps the real registry apart"

from dataclasses import replace

from conformance.finding import Finding, Location, Run, Summary, Suppressed
from conformance.reports import wording
from conformance.rule import ERROR, load

RULE = load()["duplicate-server"]


def finding(number: int | None = 1, why: str = "Server 'b' repeats 'a'", **at) -> Finding:
    place = Location(**{"recording": "a.flow", "exchange": number, "part": "response", **at})
    return Finding(
        RULE.name, ERROR, place, why, "server", "flow", host="api.example", method="GET", path="/x"
    )


def test_where_and_what() -> None:
    assert wording.where(finding()) == "a.flow#1"
    assert wording.where(finding(line=7)) == "a.flow:7"
    assert wording.where(finding(None)) == "a.flow"
    assert wording.place(finding(3)) == "exchange 3, response"
    assert wording.place(finding(None, part="stream", index=9, stream=2)) == "octet 9 of stream 2"
    assert wording.asked(finding()) == "GET api.example/x"


def test_groups_and_what_else_is_in_them() -> None:
    group, other = wording.grouped([finding(n) for n in (1, 2, 3, 5, 5)] + [finding(4, "other")])
    assert wording.others(group) == "exchanges 2-3, 5  (5 findings in all)"
    assert [one.why for one in other] == ["other"]
    assert wording.others([finding(None, part="stream", stream=1)] * 2) == "1 more place of the same stream"
    many = [finding(n) for n in range(1, 60, 2)]
    assert "and 17 more ranges" in wording.others(many)


def test_parsers_that_take_as_many_are_named_together() -> None:
    run = Run({})
    assert wording.parsers(run) == ""
    for counts in ({"a": (2, 0), "b": (2, 0), "c": (1, 1)}, {"a": (1, 0), "b": (1, 0)}):
        run.recordings.append(Summary("x", "har", 2, 0, None, (), None, frozenset(), parsers=counts))
    assert wording.parsers(run) == "3 of 3 messages taken by a, b; 0 of 1 message taken by c"


def test_sources_have_links() -> None:
    cited = wording.sources(RULE)
    assert "".join(s.separator + s.shown for s in cited).startswith(
        "RFC 9110 §5.3, §10.2.4; formerly RFC 7230"
    )
    assert cited[0].url == "https://www.rfc-editor.org/rfc/rfc9110#section-5.3"


def test_links() -> None:
    names = (
        "RFC 9112 §C.2.2",
        "RFC 6455",
        "openai/codex#10727",
        "draft-ietf-httpapi-ratelimit-headers",
        "HTML §9.2.3",
    )
    assert [source.url for source in wording.sources(replace(RULE, source=names))] == [
        "https://www.rfc-editor.org/rfc/rfc9112#appendix-C.2.2",
        "https://www.rfc-editor.org/rfc/rfc6455",
        "https://github.com/openai/codex/issues/10727",
        "https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers",
        "",
    ]
    unlinked = [s.shown for rule in load().values() for s in wording.sources(rule) if not s.url]
    assert not [shown for shown in unlinked if shown.startswith(("RFC", "draft-", "§"))]


def test_the_tally() -> None:
    run = Run({RULE.name: RULE}, findings=[finding()], suppressed=[Suppressed(finding(), "inline", "")])
    assert wording.tally(run).startswith(
        "1 finding (1 error) in 0 exchanges of 0 recordings; 1 ignored. 0 of 1 rule"
    )


def test_printable() -> None:
    assert (
        wording.printable("a\x1b[2J\n\x9b\u202e\ud800\U000e0001")
        == "a\\x1b[2J\\x0a\\x9b\\u202e\\ud800\\U000e0001"
    )
    assert wording.printable("é 🦊") == "é 🦊"

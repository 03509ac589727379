from collections.abc import Iterable
from dataclasses import replace

import pytest

from conformance import examine, lint, recording
from conformance.message import Connection, Edit, Evidence, Frame, Message, Octets, Request, Response
from conformance.policy import Policy
from conformance.rule import ERROR, NOTE, WARNING, Hits, Rule, load
from conformance.settings import load as load_policy
from conformance.turn import Turn

RULES = load()
DOUBLED = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Server: a\n< Server: b\n"


def run(text: str, *names: str, **settings) -> lint.Run:
    """Lint a transcript with the named rules, or with all but the notes."""
    rules = {name: RULES[name] for name in names} or {
        n: r for n, r in RULES.items() if r.severity is not NOTE
    }
    source = recording.read("-", stdin=text.encode())
    return lint.check([source], rules, settings=lint.Settings(**settings))


def found(text: str, *names: str, **settings) -> list[str]:
    return [finding.rule for finding in run(text, *names, **settings).findings]


def made(
    check,
    *,
    scope: str,
    fields: Iterable[str] = (),
    evidence: Evidence = Evidence.HEADERS,
    verbatim: bool = False,
) -> dict[str, Rule]:
    rule = Rule(
        "r",
        "t",
        ERROR,
        ("RFC 1",),
        None,
        scope,
        (evidence,),
        frozenset(fields),
        (),
        False,
        verbatim,
        "",
        check,
    )
    return {"r": rule}


def subjects(text: str, scope: str, **kwargs) -> list[object]:
    """What a rule of that scope is given."""
    seen: list[object] = []

    def check(subject: object) -> Hits:
        seen.append(subject)
        yield from ()

    outcome = lint.check([recording.read("-", stdin=text.encode())], made(check, scope=scope, **kwargs))
    assert not outcome.failures
    return seen


WEBSOCKET = "> GET / HTTP/1.1\n< HTTP/1.1 101 S\n< Upgrade: websocket\n> TEXT a\n< CLOSE 1000\n"


@pytest.mark.parametrize(
    ("scope", "text", "types"),
    [
        ("Message", DOUBLED, [Request, Response]),
        ("Message", "> GET / HTTP/1.1\n< HTTP/1.1 103 E\n< HTTP/1.1 200 OK", [Request, Response, Response]),
        ("Request", DOUBLED, [Request]),
        ("Response", DOUBLED, [Response]),
        ("Response", "> GET / HTTP/1.1", []),
        ("Frame", WEBSOCKET, [Frame, Frame]),
        ("Octets", ">> GET / HTTP/1.1\\r\\n\\r\\n", [Octets, Octets]),
        ("Connection", "@ client-connection: a\n" + DOUBLED, []),
        ("Connection", f"@ client-connection: a\n{DOUBLED}\n@ client-connection: a\n{DOUBLED}", [Connection]),
        ("Connection", f"@ client-connection: a\n{DOUBLED}\n@ client-connection: b\n{DOUBLED}", []),
    ],
)
def test_a_rule_is_given_what_its_scope_says(scope: str, text: str, types: list[type]) -> None:
    assert [type(subject) for subject in subjects(text, scope)] == types


def test_a_rule_that_names_fields_runs_only_where_one_occurs() -> None:
    assert len(subjects(DOUBLED, "Message", fields=["server", "x"])) == 1
    assert subjects(DOUBLED, "Message", fields=["x"]) == []
    trailers = "> GET / HTTP/1.1\n< HTTP/1.1 200 OK\n<\n<+ X: 1"
    assert len(subjects(trailers, "Message", fields=["x"])) == 1


def test_a_pair_of_neighbours_has_no_content() -> None:
    text = "@ client-connection: a\n> POST / HTTP/1.1\n>\n> secret\n< HTTP/1.1 200 OK\n<\n< hi\n"
    (pair,) = subjects(f"{text}\n{text}", "Connection")
    assert isinstance(pair, Connection)
    assert (pair.before.number, pair.after.number, pair.before.request.content) == (1, 2, None)


def test_a_turn_comes_with_what_was_before_it() -> None:
    text = "> GET /a HTTP/1.1\n> Host: a\n< HTTP/1.1 500 X\n< Retry-After: 1\n"
    first, second = subjects(f"{text}\n{text}", "Turn")
    assert isinstance(first, Turn)
    assert isinstance(second, Turn)
    assert (first.same_request, [digest.number for digest in second.same_request]) == ((), [1])
    assert len(subjects(f"{text}\n{text}", "Turn", fields=["retry-after"])) == 2
    assert subjects(f"{text}\n{text}", "Turn", fields=["x"]) == []


def test_a_single_exchange_decides_nothing_about_the_past() -> None:
    text = "> GET /a HTTP/1.1\n> Host: a\n< HTTP/1.1 500 X\n< Date: x\n"
    assert "retry-of-permanent-failure" not in run(text).exercised
    assert "retry-of-permanent-failure" in run(f"{text}\n{text}").exercised
    assert "session-moved-after-close-1011" not in run(f"{text}\n{text}").exercised
    assert "session-moved-after-close-1011" in run(f"{WEBSOCKET}\n{text}").exercised


def test_connections_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "KEPT_CONNECTIONS", 2)
    text = "\n".join(f"@ client-connection: {name}\n{DOUBLED}" for name in "abca")
    assert subjects(text, "Connection") == [], "a was dropped when c came"


def test_findings_are_in_the_order_of_the_recording() -> None:
    text = f"{DOUBLED}\n{DOUBLED.replace('> Host: a', '> Host: a' + chr(10) + '> Host: b')}"
    order = [(f.at.exchange, f.at.part, f.at.index) for f in run(text).findings]
    assert order == sorted(order, key=lambda at: (at[0], ["request", "response"].index(at[1]), at[2] or 0))


def test_severity_can_be_set() -> None:
    outcome = run(DOUBLED, "duplicate-server", severities={"duplicate-server": WARNING})
    assert [finding.severity for finding in outcome.findings] == [WARNING]


def test_inline_ignores_are_counted_with_their_reason() -> None:
    outcome = run(f"# hoplint: ignore[duplicate-server] smg does that\n{DOUBLED}", "duplicate-server")
    assert outcome.findings == []
    assert [(s.finding.rule, s.by, s.reason) for s in outcome.suppressed] == [
        ("duplicate-server", "inline", "smg does that")
    ]
    assert found(
        f"# hoplint: ignore[duplicate-server]\n{DOUBLED}", "duplicate-server", inline_ignores=False
    ) == ["duplicate-server"]


@pytest.mark.parametrize("name", ["duplicate-date", "no-such-rule"])
def test_an_ignore_that_suppresses_nothing_is_a_note(name: str) -> None:
    outcome = run(f"# hoplint: ignore[{name}]\n> GET / HTTP/1.1\n> Host: a", "duplicate-date")
    assert [(f.rule, f.severity, f.at.line) for f in outcome.findings] == [("unused-ignore", NOTE, 1)]
    assert name in outcome.findings[0].why


def test_settings_ignore_by_recording() -> None:
    outcome = run(
        DOUBLED,
        "duplicate-server",
        per_recording=(("-", frozenset({"duplicate-server"})), ("other", frozenset())),
    )
    assert (outcome.findings, len(outcome.suppressed)) == ([], 1)


def test_what_a_clean_report_could_decide() -> None:
    headers = run("> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 2")
    whole = run("> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 2\n<\n< hi")
    assert "duplicate-server" in headers.exercised
    assert "content-length-mismatch" not in headers.exercised, "no content was recorded"
    assert "content-length-mismatch" in whole.exercised
    assert "bare-line-feed" not in whole.exercised, "a transcript has no octets"
    assert "duplicate-server" not in run("> GET / HTTP/1.1\n> Host: a").exercised, "there was no response"
    octets = run(">> GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n\n<< HTTP/1.1 204 No Content\\r\\n\\r\\n")
    assert {"bare-line-feed", "duplicate-server"} <= octets.exercised


def test_a_refusal_is_a_finding_of_the_rule_it_stands_for() -> None:
    said = "peer closed connection without sending complete message body (received 295 bytes, expected 319)"
    outcome = run(
        f"@ error: HTTP/1 protocol error: {said}\n> GET / HTTP/1.1\n> Host: a\n"
        "< HTTP/1.1 200 OK\n< Date: Fri, 20 Nov 2026 03:14:15 GMT\n< Content-Length: 319"
    )
    (finding,) = outcome.findings
    assert (finding.rule, finding.evidence, finding.origin) == (
        "body-shorter-than-content-length",
        "error",
        "server",
    )
    assert "received 295 bytes" in finding.why


def test_a_refusal_that_a_rule_has_seen_already_is_said_once() -> None:
    # h11 refuses differing Content-Length too; one finding is enough.
    text = "> POST / HTTP/1.1\n> Host: a\n> Content-Length: 1\n> Content-Length: 2\n"
    assert found(text) == ["conflicting-content-length"]


def test_a_refusal_is_not_unparsable_only_because_the_better_rule_was_not_selected() -> None:
    text = "> POST / HTTP/1.1\n> Host: a\n> Host: b\n"
    assert found(text, "unparsable-message") == []


def test_a_rule_that_raises_is_reported_and_hides_nothing() -> None:
    def broken(message: Message) -> Hits:
        raise ValueError("oops")
        yield message, ""

    rules = {**made(broken, scope="Message"), "duplicate-server": RULES["duplicate-server"]}
    outcome = lint.check([recording.read("-", stdin=DOUBLED.encode())], rules)
    assert [finding.rule for finding in outcome.findings] == ["duplicate-server"]
    assert "internal error in rule r: ValueError: oops" in outcome.failures[0]


def test_edits_of_addons_are_counted() -> None:
    linter = lint.Linter(RULES, None, lint.Settings(), "x")
    (item,) = recording.parse(DOUBLED)
    linter.take(
        replace(item, edits=(Edit("dedupe-headers", "response", "remove", "Server", ("a", "b"), ("a",), ""),))
    )
    assert linter.edits == {"dedupe-headers": 1}


def test_a_transcript_names_its_profile() -> None:
    def check(request: Request, policy: object) -> Hits:
        seen.append(policy)
        yield from ()

    seen: list[object] = []
    rules = {"r": replace(made(check, scope="Request")["r"], wants_policy=True)}
    plain = recording.read("-", stdin=b"> GET / HTTP/1.1")
    named = recording.read("-", stdin=b"# expect:\n# profile: generic\n> GET / HTTP/1.1")
    wrong = recording.read("-", stdin=b"# profile: genric\n> GET / HTTP/1.1")
    outcome = lint.check([plain, named, wrong], rules)
    assert seen == [Policy(), load_policy(isolated=True, profile="generic").settings.policy, Policy()]
    assert "genric" in outcome.failures[0]
    assert "generic" in outcome.failures[0]


def test_a_listing_is_made_where_it_is_asked_for_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = "> GET /{} HTTP/1.1\n> Host: a\n< HTTP/1.1 204 No Content"
    text = "\n".join([clean.format(1), "@ client-connection: c7", DOUBLED, DOUBLED, clean.format(2)])
    assert run(text, "duplicate-server").recordings[0].entries == ()
    entries = run(text, "duplicate-server", listing=True).recordings[0].entries
    assert [(e.number, e.path, e.status) for e in entries] == [
        (1, "/1", 204), (2, "/", 200), (3, "/", 200), (4, "/2", 204),
    ]  # fmt: skip
    assert [bool(e.heads) for e in entries] == [False, True, True, False]
    monkeypatch.setattr(lint, "LISTED", 3)
    monkeypatch.setattr(lint, "LISTED_HEADS", 1)
    recordings = [recording.Recording(name, text.encode()) for name in "ab"]
    rules = {"duplicate-server": RULES["duplicate-server"]}
    outcome = lint.check(recordings, rules, settings=lint.Settings(listing=True))
    assert [(len(s.entries), s.exchanges) for s in outcome.recordings] == [(3, 4), (0, 4)]
    assert [bool(e.heads) for e in outcome.recordings[0].entries] == [False, True, False]


def test_a_listing_names_connections_and_conversations() -> None:
    content = '{{"model": "m", "messages": [{{"role": "user", "content": "{}"}}]}}'
    ask = f"> POST /v1/chat/completions HTTP/1.1\n> Host: a\n>\n> {content}\n"
    text = "\n".join(
        f"@ client-connection: c{n}\n{ask.format(n)}< HTTP/1.1 500 No\n< Content-Length: 0\n" for n in (1, 2)
    )
    rules = {name: rule for name, rule in RULES.items() if rule.scope == "Turn"}
    outcome = lint.check(
        [recording.Recording("-", text.encode())], rules, settings=lint.Settings(listing=True)
    )
    entries = outcome.recordings[0].entries
    assert [(e.connection, e.conversation) for e in entries] == [("c1", 1), ("c2", 2)]


def test_reasons_and_mistakes_are_printed_masked() -> None:
    def check(message: Message) -> Hits:
        raise ValueError("Authorization: Bearer cAnArY0123456789 \x1b")
        yield

    text = "# hoplint: ignore[duplicate-server] key sk-cAnArY0123456789 \x1b[2J\n" + DOUBLED
    (suppressed,) = run(text, "duplicate-server").suppressed
    assert suppressed.reason == "key *** \\x1b[2J"
    outcome = lint.check([recording.Recording("-", text.encode())], made(check, scope="Message"))
    assert outcome.failures
    assert not any("cAnArY" in failure or "\x1b" in failure for failure in outcome.failures)

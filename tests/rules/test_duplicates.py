"""What docstring examples cannot show: every singleton, ordinary repeats, rebuilt messages, secrets."""

import pytest

from conformance.known import JOINED, REPEATABLE, SINGLETONS
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Message, Request, Response
from conformance.rule import load

RULES = load()
TOPIC = {name: rule for name, rule in RULES.items() if rule.topic == "duplicates"}
TOPICS = {rule.topic for rule in RULES.values()}

type Lines = list[tuple[str, str]]


def request(lines: Lines, **facts: object) -> Request:
    return Request(
        method=b"GET", target=b"/", fields=Fields([(n.encode(), v.encode()) for n, v in lines]), **facts
    )


def response(lines: Lines, **facts: object) -> Response:
    return Response(
        code=b"200", reason=b"OK", fields=Fields([(n.encode(), v.encode()) for n, v in lines]), **facts
    )


def lint(message: Message, rules=TOPIC) -> list[tuple[str, str]]:
    """(rule, why) for one message."""
    if isinstance(message, Request):
        exchange = Exchange(request=message)
    else:
        exchange = Exchange(request=request([("Host", "api.example")]), response=message)
    linter = Linter(rules, None, Settings(), "example")
    linter.take(exchange)
    assert not linter.failures
    return [(finding.rule, finding.why) for finding in linter.findings]


def names(message: Message, rules=TOPIC) -> list[str]:
    return [rule for rule, _ in lint(message, rules)]


ELSEWHERE = {
    "content-length": "framing",
    "sec-websocket-key": "handshake",
    "sec-websocket-accept": "handshake",
}


@pytest.mark.parametrize("make", [request, response])
@pytest.mark.parametrize("field", sorted(SINGLETONS))
def test_each_singleton_that_repeats_is_one_rules_business(make, field: str) -> None:
    if field in ELSEWHERE and ELSEWHERE[field] not in TOPICS:
        pytest.skip(f"the rules of {ELSEWHERE[field]} are not there")
    about_repeats = {
        name: rule for name, rule in RULES.items() if name.startswith(("duplicate-", "conflicting-"))
    }
    found = names(make([(field, "1"), (field, "2")]), about_repeats | TOPIC)
    assert len(found) == 1, found


@pytest.mark.parametrize(
    "message",
    [
        response([("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("Vary", "Origin"), ("vary", "Accept")]),
        response([("WWW-Authenticate", "Basic realm=a"), ("WWW-Authenticate", 'Bearer realm="b"')]),
        response(
            [("X-Cache", "MISS"), ("x-cache", "HIT"), ("X-Powered-By", "Express"), ("X-Powered-By", "PHP")]
        ),
        response(
            [
                ("Link", "</a>; rel=next"),
                ("Link", "</b>; rel=prev"),
                ("Server-Timing", "a"),
                ("Server-Timing", "b"),
            ]
        ),
        response([("Access-Control-Expose-Headers", "A"), ("Access-Control-Expose-Headers", "B")]),
        response([("X-Tags", "a, b"), ("X-Tags", "c")]),
        response([("X-Frame-Options", "DENY"), ("x-frame-options", "deny")]),
        response([("X-Content-Type-Options", "nosniff"), ("X-Content-Type-Options", "nosniff")]),
        response([("Content-Security-Policy", "a"), ("Content-Security-Policy", "b")]),
        response([("Set-Cookie", "a=1; Path=/x"), ("Set-Cookie", "a=1; Path=/y"), ("Set-Cookie", "A=1")]),
        response([("Set-Cookie", "a=1"), ("Set-Cookie", "a=1; Domain=example.com")]),
        response([("llm_provider-server", "a"), ("server", "b")]),
        request([("cookie", "a=1"), ("cookie", "b=2")], version=b"HTTP/2.0"),
        request(
            [
                ("X-Forwarded-For", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
                ("Via", "1.1 a"),
                ("via", "1.1 b"),
            ]
        ),
        request(
            [
                ("anthropic-beta", "a"),
                ("Anthropic-Beta", "b"),
                ("Connection", "Upgrade"),
                ("connection", "TE"),
            ]
        ),
        request([("x-api-key", "a"), ("x-goog-api-key", "b")]),
        request([]),
    ],
    ids=lambda message: "+".join(sorted(message.fields.names)) or "nothing",
)
def test_ordinary_repeats_are_silent(message: Message) -> None:
    assert lint(message) == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("Server", "a"), ("server", "b")], "duplicate-server"),
        ([("X-Same", "a"), ("X-Same", "a")], "duplicate-unknown-header"),
        ([("X-Request-Id", "1"), ("X-Request-Id", "1")], "duplicate-unknown-header"),
        ([("ETag", '"a"'), ("etag", '"a"')], "duplicate-etag"),
        ([("Content-Location", "/a"), ("Content-Location", "/a")], "duplicate-content-location"),
        (
            [("X-Content-Type-Options", "nosniff"), ("X-Content-Type-Options", "")],
            "duplicate-security-header",
        ),
        (
            [("Cross-Origin-Opener-Policy", "a"), ("cross-origin-opener-policy", "b")],
            "duplicate-security-header",
        ),
        ([("Set-Cookie", "a=1; PATH=/"), ("Set-Cookie", "a=2; x; path = /")], "duplicate-set-cookie-name"),
        (
            [("Set-Cookie", "a=1; Domain=.example.com"), ("Set-Cookie", "a=; domain=EXAMPLE.com")],
            "duplicate-set-cookie-name",
        ),
        ([("X-Request-Id", "a"), ("x-request-id", "b")], "duplicate-request-id"),
        ([("X-Request-Id", "a"), ("x-request-id", "a")], "case-variant-duplicate-header"),
        ([("X-Tenant", "a"), ("x-tenant", "b")], "case-variant-duplicate-header"),
        ([("X-Tenant", "a"), ("x-tenant", "a")], "case-variant-duplicate-header"),
        ([("X-Tenant", "a"), ("X-Tenant", "b")], "conflicting-unknown-header"),
        (
            [("x-tenant-version", "2023-06-01"), ("x-tenant-version", "2023-01-01")],
            "conflicting-unknown-header",
        ),
        (
            [("Access-Control-Max-Age", "1"), ("access-control-max-age", "2")],
            "duplicate-access-control-header",
        ),
    ],
)
def test_one_defect_is_one_finding(lines: Lines, expected: str) -> None:
    assert names(response(lines)) == [expected]


def test_every_further_line_is_found() -> None:
    found = lint(response([("Server", "a"), ("Server", "b"), ("X-A", "1"), ("server", "c")]))
    assert [why for _, why in found] == ["Server 'b' repeats 'a'", "server 'c' repeats 'a'"]


def test_only_lines_that_differ_conflict() -> None:
    found = lint(response([("X-A", "1"), ("X-A", "2"), ("X-A", "1")]))
    assert [why for _, why in found] == ["X-A '2' repeats '1'"]


def test_credentials_are_told_apart_but_not_told() -> None:
    lines = [
        ("Authorization", "Bearer tops3cret"),
        ("Authorization", "Bearer 0ther"),
        ("x-api-key", "k3y"),
        ("x-api-key", "k3y"),
    ]
    whys = dict(lint(request(lines)))
    assert whys["duplicate-authorization"].endswith("another credential")
    assert whys["duplicate-api-key"].endswith("the same credential")
    assert not any(secret in str(whys) for secret in ("tops3cret", "0ther", "k3y"))


def test_hostile_names_are_escaped() -> None:
    message = response([("x-\x1b[31m", "a"), ("x-\x1b[31m", "b\x07")])
    ((rule, why),) = lint(message)
    assert rule == "conflicting-unknown-header"
    assert why.isprintable()


def test_rebuilt_messages_show_repeats_but_not_joins() -> None:
    rebuilt = response(
        [("Server", "a"), ("Server", "b"), ("Date", "x GMT, y GMT"), ("X-A", "1"), ("x-a", "1")],
        verbatim=False,
    )
    assert names(rebuilt) == ["duplicate-server"]


DATE = "Fri, 20 Nov 2026 03:14:15 GMT"
JOINS = [
    ("Access-Control-Allow-Origin", "*, "),
    ("Access-Control-Allow-Origin", "https://a.example, *"),
    ("Access-Control-Allow-Credentials", "true,true"),
    ("Age", "0, 10"),
    ("Content-Disposition", "attachment; filename=a, inline"),
    ("Content-Range", "bytes 0-1/2, bytes 0-1/2"),
    ("Content-Type", "application/json, text/plain"),
    ("Content-Type", "text/event-stream; charset=utf-8, application/json"),
    ("Date", f"{DATE}, {DATE}"),
    ("ETag", '"a", W/"b"'),
    ("Expires", "0, 0"),
    ("Last-Modified", f"{DATE},{DATE}"),
    ("Location", "/a, /b"),
    ("Location", "https://a.example/x, https://b.example/y"),
    ("Retry-After", "1, 30"),
    ("Server", "uvicorn, smg"),
    ("Server", "nginx/1.22 (a, b), uvicorn"),
    ("Strict-Transport-Security", "max-age=1; includeSubDomains, max-age=2"),
    ("X-Frame-Options", "DENY, SAMEORIGIN"),
    ("Authorization", "Bearer a, Bearer b"),
    ("Host", "a.example, b.example"),
    ("Host", "a.example:80,b.example:80"),
    ("If-Modified-Since", f"{DATE}, {DATE}"),
    ("Origin", "https://a.example, https://b.example"),
    ("Range", "bytes=0-1, bytes=2-3"),
    ("traceparent", "00-aa-bb-01, 00-aa-cc-01"),
    ("User-Agent", "a/1 (x, y), b/2"),
]
SINGLE = [
    ("Authorization", 'Digest username="a", realm="b", nonce="c"'),
    ("Authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;date, Signature=c"),
    ("Content-Disposition", 'attachment; filename="a, inline.txt"'),
    ("Content-Type", 'multipart/form-data; boundary="a, b/c"'),
    ("Date", DATE),
    ("ETag", '"a, b"'),
    ("If-None-Match", '"a", "b"'),
    ("Location", "/a,/b?x=1,2"),
    ("Location", "https://a.example/x,https://b.example"),
    ("Range", "bytes=0-1, 3-4"),
    ("Referer", "https://a.example/?at=1,2"),
    ("Retry-After", DATE),
    ("Server", "Apache/2.4 (Debian, mod_ssl)"),
    ("Server", "ECS (dcb/7F83)"),
    ("Host", "a.example"),
    ("User-Agent", "claude-cli/2.1.197 (external, sdk-cli)"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36",
    ),
    ("User-Agent", "Mozilla/5.0 [FBAN/FBIOS;FBDV/iPhone11,8;FBLC/en_US]"),
]


@pytest.mark.parametrize(("name", "value"), JOINS)
def test_joined_values(name: str, value: str) -> None:
    assert names(response([(name, value)])) == ["joined-singleton-value"]


@pytest.mark.parametrize(("name", "value"), SINGLE)
def test_single_values_that_hold_commas(name: str, value: str) -> None:
    assert names(response([(name, value)])) == []


def test_every_singleton_has_a_pattern_or_a_reason_to_have_none() -> None:
    # From: an address may hold a comma in quotes. The credentials of a proxy follow no grammar of their own.
    without = {"from", "proxy-authorization", *ELSEWHERE}
    assert JOINED.keys() | without == SINGLETONS
    assert not JOINED.keys() & REPEATABLE


@pytest.mark.parametrize(
    "piece", [b"a", b"/", b",", b", ", b"(", b"()", b'"', b"a/", b":1", b"GMT ", b"-", b", a", b"=,a"]
)
def test_no_pattern_backtracks_for_long(piece: bytes) -> None:
    hostile = b"a/" + piece * 50_000
    for pattern in JOINED.values():
        pattern.search(hostile)
        pattern.search(piece * 50_000)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("etag", ["singleton-in-header-and-trailer"]),
        ("server", ["singleton-in-header-and-trailer"]),
        ("content-length", []),  # forbidden-trailer-field
        ("date", []),
        ("x-checksum", []),
        ("vary", []),
    ],
)
def test_singletons_in_trailers(name: str, rule: list[str]) -> None:
    trailers = Fields([(name.encode(), b"2")])
    assert names(response([(name, "1")], trailers=trailers)) == rule
    assert names(response([], trailers=trailers)) == []


def test_cookie_lines() -> None:
    lines = [("Cookie", "a=1"), ("cookie", "b=2"), ("Cookie", "c=3")]
    (found,) = lint(request(lines))
    assert found == ("duplicate-cookie-header", "3 Cookie lines: HTTP/1 has one, joined with '; '")
    assert lint(request(lines, version=b"HTTP/2.0")) == []
    assert lint(request(lines, verbatim=False)) == []


def test_no_cookie_is_shown() -> None:
    secret = "c00k1e-s3cret"
    lines = [("Set-Cookie", f"sid={secret}"), ("Set-Cookie", f"sid={secret}"), ("Set-Cookie", secret)]
    found = lint(response([*lines, lines[-1]]))
    assert [rule for rule, _ in found] == ["duplicate-set-cookie-name"] * 2
    assert secret not in str(found)

"""Freshness that is none, caches that are not HTTP's, and answers that are no completions."""

from collections.abc import Mapping

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.rule import Rule, load
from conformance.rules.caching import HITS

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "caching"}
OF_COMPLETIONS = {
    name: TOPIC[name] for name in ("completion-marked-cacheable", "completion-served-from-http-cache")
}


def lint(*lines: str, start: str = "POST /v1/chat/completions", status: str = "200 OK") -> list[str]:
    text = "\n".join(
        [f"> {start} HTTP/1.1", "> Host: api.example", f"< HTTP/1.1 {status}"]
        + [f"< {line}" for line in ("Date: Fri, 20 Nov 2026 03:14:15 GMT", *lines)]
    )
    return found(text, OF_COMPLETIONS)


def found(text: str, rules: Mapping[str, Rule] = TOPIC) -> list[str]:
    linter = Linter(rules, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures
    return [finding.rule for finding in linter.findings]


def answer(
    *lines: str, status: str = "200 OK", asked: str = "GET /a", request: tuple[str, ...] = ()
) -> list[str]:
    date = "Date: Fri, 20 Nov 2026 03:14:15 GMT"
    sent = [f"> {asked} HTTP/1.1", *(f"> {line}" for line in request)]
    return found("\n".join([*sent, f"< HTTP/1.1 {status}", *(f"< {line}" for line in (date, *lines))]))


@pytest.mark.parametrize(
    "lines",
    [
        ["Cache-Control: no-cache"],
        ["Cache-Control: no-store, max-age=60"],
        ["Cache-Control: max-age=60", "Cache-Control: no-store"],
        ["Cache-Control: max-age=0"],
        ["Cache-Control: s-maxage=0, max-age=00"],
        ["Cache-Control: public"],
        ["Cache-Control: max-age"],
        ["Cache-Control: max-age=x"],
        ["Cache-Control: x-max-age=60"],
        ["Expires: 0"],
        ["Expires: -1"],
        ["Expires: Fri, 20 Nov 2026 03:14:15 GMT"],
        ["Expires: Thu, 19 Nov 2026 03:14:15 GMT"],
        ["Expires: tomorrow"],
        ["Cache-Control: max-age=0", "Expires: Sat, 21 Nov 2026 03:14:15 GMT"],
        ["Expires: Sat, 21 Nov 2026 03:14:15 GMT", "Expires: 0"],
    ],
)
def test_nothing_fresh(lines: list[str]) -> None:
    assert lint(*lines) == []


@pytest.mark.parametrize(
    "lines",
    [
        ["Cache-Control: max-age=1"],
        ["Cache-Control: private, MAX-AGE=60"],
        ['Cache-Control: public,s-maxage="60"'],
        ["Cache-Control: public", "Cache-Control: max-age=60"],
        ["Expires: Sat, 21 Nov 2026 03:14:15 GMT"],
    ],
)
def test_fresh_completions(lines: list[str]) -> None:
    assert lint(*lines) == ["completion-marked-cacheable"]


@pytest.mark.parametrize(
    "line",
    [
        "Age: 0",
        "Age: x",
        "Cache-Status: edge; fwd=miss",
        "Cache-Status: edge; hit=?0",
        "Cache-Status: white-hit; fwd=uri-miss",
        "Cache-Status: edge; hits=3",
        "CF-Cache-Status: DYNAMIC",
        "CF-Cache-Status: MISS",
        "CF-Cache-Status: BYPASS",
        "X-Cache: Miss from cloudfront",
        "X-Cache: MISS, MISS",
        "X-Cache: NOHIT",
        "X-Cache: TCP_MISS from a.example",
        "X-Cache-Status: BYPASS",
        # gateways' own caches of answers, which their operators switched on
        "x-litellm-cache-key: 0a1b",
        "Helicone-Cache: HIT",
        "x-portkey-cache-status: HIT",
    ],
)
def test_answers_that_came_from_the_model(line: str) -> None:
    assert lint(line) == []


@pytest.mark.parametrize(
    "line",
    [
        "Age: 1",
        "Age: 0042",
        "Cache-Status: edge; hit",
        "Cache-Status: origin; fwd=miss, edge; hit; ttl=30",
        "Cache-Status: edge;hit=?1",
        "CF-Cache-Status: HIT",
        "X-Cache: Hit from cloudfront",
        "X-Cache: MISS, HIT",
        "X-Cache: TCP_MEM_HIT from a.example",
        "X-Cache-Status: STALE",
    ],
)
def test_answers_that_came_from_a_cache(line: str) -> None:
    assert lint(line) == ["completion-served-from-http-cache"]


def test_several_signs_are_one_finding() -> None:
    assert lint("Age: 5", "X-Cache: HIT", "CF-Cache-Status: HIT") == ["completion-served-from-http-cache"]


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("GET /v1/models", "200 OK"),
        ("POST /v1/embeddings", "200 OK"),
        ("POST /v1/messages/count_tokens", "200 OK"),
        ("GET /v1/responses", "200 OK"),
        ("POST /anything", "200 OK"),
        ("POST /v1/messages", "404 Not Found"),
    ],
)
def test_what_is_no_completion_may_be_cached(start: str, status: str) -> None:
    assert lint("Cache-Control: max-age=60", "Age: 5", start=start, status=status) == []


@pytest.mark.parametrize("piece", ["a", ";", "; ", ";hit", "0", "hit ", "tcp_", ";\t", '"', "; hit=", ","])
def test_no_pattern_backtracks_for_long(piece: str) -> None:
    for pattern in HITS.values():
        pattern.search((piece * 30_000 + "!").encode())
    lint(f"Cache-Control: {piece * 30_000}")


@pytest.mark.parametrize(
    "value",
    [
        "no-cache, no-store, max-age=0, must-revalidate, proxy-revalidate",
        'private="Set-Cookie", no-cache="X-A, X-B", max-age=0',
        "max-age=60, stale-while-revalidate=30, stale-if-error=99, immutable",
        'community="a, b", unknown=x, must-understand',
        "max-age=60,, public",  # empty-list-element
        'private="a',  # quoted-string-malformed
        "",
    ],
)
def test_sound_cache_control(value: str) -> None:
    assert answer(f"Cache-Control: {value}") == []


@pytest.mark.parametrize(
    "value",
    [
        "max-age=60; public", "max-age = 60", "max-age=", "max-age", "s-maxage", 'max-age="60"', "max-age=-1",
        "max-age=1.5", "max-age=1h", "max-age:60", "private=Set-Cookie", "no-cache=X-A", "no cache", "public, (a)",
        "=60", 'max-age=60"0"',
    ],
)  # fmt: skip
def test_malformed_cache_control(value: str) -> None:
    assert answer(f"Cache-Control: {value}") == ["cache-control-malformed"]
    assert answer(request=(f"Cache-Control: {value}",)) == ["cache-control-malformed"]


def test_a_client_may_take_anything_stale() -> None:
    assert answer(request=("Cache-Control: max-stale, only-if-cached",)) == []


@pytest.mark.parametrize(
    "lines",
    [
        ["public", "private"],
        ["public, private, max-age=60"],
        ["no-store, public"],
        ["no-store, immutable"],
        ["max-age=60", "max-age=0"],
        ["Max-Age=60, MAX-AGE=61"],
    ],
)
def test_contradictions(lines: list[str]) -> None:
    assert answer(*(f"Cache-Control: {line}" for line in lines)) == ["contradictory-cache-control"]


@pytest.mark.parametrize(
    "lines",
    [
        ["no-store, max-age=3600"],
        ["no-cache, max-age=3600"],
        ["private, max-age=60, s-maxage=60"],
        ["public, max-age=0"],
        ["max-age=60", "max-age=60"],
        ['private="Set-Cookie", public'],
        ['private="Set-Cookie", s-maxage=60'],
        ["max-age=60, s-maxage=600"],
    ],
)
def test_no_contradictions(lines: list[str]) -> None:
    assert answer(*(f"Cache-Control: {line}" for line in lines)) == []


@pytest.mark.parametrize(
    ("value", "asked", "status", "rules"),
    [
        ("public, max-age=60", "GET /a", "200 OK", ["authenticated-response-in-shared-cache"]),
        ("s-maxage=60", "HEAD /a", "200 OK", ["authenticated-response-in-shared-cache"]),
        ("max-age=60, must-revalidate", "GET /a", "200 OK", ["authenticated-response-in-shared-cache"]),
        ("max-age=60", "GET /a", "200 OK", []),  # Authorization keeps it out
        ("public", "GET /a", "200 OK", []),  # for no time
        ("public, max-age=0", "GET /a", "200 OK", []),
        ("max-age=0, must-revalidate", "GET /a", "200 OK", []),
        ("no-store, s-maxage=60", "GET /a", "200 OK", []),
        ("private, max-age=60, must-revalidate", "GET /a", "200 OK", []),
        ("public, max-age=60", "POST /a", "200 OK", []),
        ("public, max-age=60", "GET /a", "304 Not Modified", []),
        ("public, max-age=60", "GET /a", "404 Not Found", []),
    ],
)
def test_answers_to_authenticated_requests(value: str, asked: str, status: str, rules: list[str]) -> None:
    lines = (f"Cache-Control: {value}",)
    assert answer(*lines, asked=asked, status=status, request=("Authorization: Bearer a",)) == rules
    assert answer(*lines, asked=asked, status=status, request=("X-Api-Key: a",)) == []


@pytest.mark.parametrize(
    ("status", "line", "rules"),
    [
        ("502 Bad Gateway", "Cache-Control: max-age=60", ["cacheable-error-response"]),
        ("429 Too Many", "Cache-Control: private, max-age=60", ["cacheable-error-response"]),
        ("401 Unauthorized", "Expires: Sat, 21 Nov 2026 03:14:15 GMT", ["cacheable-error-response"]),
        ("404 Not Found", "Cache-Control: max-age=60", []),
        ("410 Gone", "Cache-Control: max-age=60", []),
        ("502 Bad Gateway", "Cache-Control: max-age=0", []),
        ("502 Bad Gateway", "Cache-Control: no-cache, max-age=60", []),
        ("502 Bad Gateway", "Cache-Control: public", []),
        ("302 Found", "Cache-Control: max-age=60", []),
    ],
)
def test_errors_that_stay(status: str, line: str, rules: list[str]) -> None:
    assert answer(line, status=status) == rules


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("Age: 0", []),
        ("Age: 99999999999999999999", []),
        ("Age: -1", ["age-malformed"]),
        ("Age: 1.5", ["age-malformed"]),
        ("Age: None", ["age-malformed"]),
        ("Age:", ["age-malformed"]),
        ("Age: 0, 10", []),  # joined-singleton-value
        ("Expires: 0", []),
        ("Expires: -1", []),
        ("Expires: Fri, 20 Nov 2026 03:14:15 GMT", []),
        ("Expires: Friday, 20-Nov-26 03:14:15 GMT", []),
        ("Expires: 1", ["expires-malformed"]),
        ("Expires: never", ["expires-malformed"]),
        ("Expires:", ["expires-malformed"]),
        ("Expires: Fri, 31 Feb 2026 03:14:15 GMT", ["expires-malformed"]),
        ("Vary: *", []),
        ("Vary: Accept-Encoding, X-Stainless-Lang", []),
        ("Vary:", []),
        ("Vary: *, Origin", ["vary-malformed"]),
        ("Vary: Accept Encoding", ["vary-malformed"]),
        ("Vary: Host, Accept-Encoding", []),
        ('Vary: "Origin"', ["vary-malformed"]),
        ('ETag: ""', []),
        ('ETag: W/"a-1"', []),
        ('ETag: "\\xff"', []),
        ("ETag: a", ["etag-malformed"]),
        ("ETag:", ["etag-malformed"]),
        ('ETag: w/"a"', ["etag-malformed"]),
        ('ETag: "a', ["etag-malformed"]),
        ('ETag: "a b"', ["etag-malformed"]),
        ('ETag: "a"-gzip', ["etag-malformed"]),
        ('ETag: "a", "b"', []),  # joined-singleton-value
    ],
)
def test_single_values(line: str, rules: list[str]) -> None:
    assert answer(line) == rules


def test_a_star_in_vary_contradicts_a_lifetime() -> None:
    assert answer("Vary: *", "Cache-Control: max-age=60") == ["vary-malformed"]
    assert answer("Vary: *", "Cache-Control: max-age=60, no-cache") == []


def test_who_asks_for_all_of_it_gets_it() -> None:
    asked = ('If-None-Match: "a"', "Cache-Control: max-age=0, No-Cache")  # node's fetch, asking Express
    assert answer('ETag: "a"', request=asked) == []


def test_a_browser_shows_the_200_that_it_made_of_a_304() -> None:
    text = """@ recorder: har
> GET /a HTTP/1.1
> If-None-Match: "a"
< HTTP/1.1 200 OK
< ETag: "a"
"""
    assert found(text) == []
    assert found(text.partition("\n")[2]) == ["if-none-match-ignored"]


@pytest.mark.parametrize(
    ("asked", "tag", "status", "fires"),
    [
        ('"a", "b"', '"b"', "200 OK", True),
        ('W/"a"', '"a"', "200 OK", True),
        ('"a"', 'W/"a"', "200 OK", True),
        ('"a"', '"A"', "200 OK", False),
        ("*", '"a"', "200 OK", False),  # for PUT: it asks whether there is anything
        ('"a"', '"a"', "304 Not Modified", False),
        ('"a"', '"a"', "206 Partial Content", False),
        ("a", "a", "200 OK", False),  # no tags
    ],
)
def test_tags_that_match(asked: str, tag: str, status: str, fires: bool) -> None:
    found = answer(f"ETag: {tag}", status=status, request=(f"If-None-Match: {asked}",))
    assert ("if-none-match-ignored" in found) is fires
    assert (
        answer(f"ETag: {tag}", asked="PUT /a", request=(f"If-None-Match: {asked}",)).count(
            "if-none-match-ignored"
        )
        == 0
    )


@pytest.mark.parametrize(
    ("lines", "fires"),
    [
        (['If-Range: "a"', "Range: bytes=1-"], False),
        (["If-Range: Fri, 20 Nov 2026 03:14:15 GMT", "Range: bytes=1-"], False),
        (['If-Range: "a"'], True),
        (['If-Range: W/"a"', "Range: bytes=1-"], True),
        (["If-Range: a", "Range: bytes=1-"], True),
    ],
)
def test_validators_of_ranges(lines: list[str], fires: bool) -> None:
    assert answer(request=tuple(lines)) == ["if-range-without-strong-validator"] * fires


def fetched(*lines: str, host: str = "a") -> str:
    return "\n".join(
        [f"> GET /f HTTP/1.1\n> Host: {host}", "< HTTP/1.1 200 OK", *(f"< {line}" for line in lines), ""]
    )


@pytest.mark.parametrize(
    ("before", "after", "fires"),
    [
        ('ETag: "a"', 'ETag: "a"\n< Content-Encoding: gzip', True),
        ('ETag: "a"\n< Content-Encoding: br', 'ETag: "a"\n< Content-Encoding: gzip', True),
        ('ETag: "a"\n< Content-Encoding: GZIP', 'ETag: "a"\n< Content-Encoding: gzip', False),
        ('ETag: W/"a"', 'ETag: W/"a"\n< Content-Encoding: gzip', False),
        ('ETag: "a"', 'ETag: W/"a"\n< Content-Encoding: gzip', False),
        ('ETag: "a"', 'ETag: "b"\n< Content-Encoding: gzip', False),
    ],
)
def test_tags_of_two_encodings(before: str, after: str, fires: bool) -> None:
    expected = ["etag-shared-between-encodings"] * fires
    assert found(fetched(before) + "\n" + fetched(after)) == expected
    assert found(fetched(before) + "\n" + fetched(after, host="b")) == []


def test_two_encodings_are_found_once_for_each_that_differs() -> None:
    plain, packed = fetched('ETag: "a"'), fetched('ETag: "a"', "Content-Encoding: gzip")
    assert len(found("\n".join([plain, plain, packed, plain]))) == 2

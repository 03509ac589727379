"""Freshness that is none, caches that are not HTTP's, and answers that are no completions."""

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.rule import load
from conformance.rules.caching import HITS

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "caching"}


def lint(*lines: str, start: str = "POST /v1/chat/completions", status: str = "200 OK") -> list[str]:
    text = "\n".join(
        [f"> {start} HTTP/1.1", "> Host: api.example", f"< HTTP/1.1 {status}"]
        + [f"< {line}" for line in ("Date: Fri, 20 Nov 2026 03:14:15 GMT", *lines)]
    )
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures
    return [finding.rule for finding in linter.findings]


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

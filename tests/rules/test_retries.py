"""What docstring examples cannot show: who tried what when, and what is reported once."""

import json

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.rule import load

ALL = load()
TOPIC = {name: rule for name, rule in ALL.items() if rule.topic == "retries" and rule.scope != "Legs"}
DATE = "Fri, 20 Nov 2026 03:14:15 GMT"


def lint(text: str, *names: str) -> list[tuple[str, int]]:
    """(rule, exchange) of what is found."""
    rules = {name: ALL[name] for name in names} or TOPIC
    linter = Linter(rules, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures, linter.failures
    return [(finding.rule, finding.at.exchange or 0) for finding in linter.findings]


def post(
    status: int,
    *lines: str,
    at: float | None = None,
    took: float = 1,
    content: object = None,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    error: str | None = None,
) -> str:
    """One exchange; lines beginning with < belong to the response; status 0: none came."""
    body = json.dumps(content)
    sent = [f"> {line}" for line in lines if not line.startswith("<")]
    came = [line for line in lines if line.startswith("<")]
    facts = [] if at is None else [f"@ started: {1e9 + at}", f"@ ended: {1e9 + at + took}"]
    facts += [f"@ error: {error}"] if error else []
    head = [f"> {method} {path} HTTP/1.1", "> Host: api.example", *sent]
    head += [">", f"> {body}"] if method == "POST" else []
    return "\n".join([*facts, *head, *([f"< HTTP/1.1 {status} X", *came] if status else []), ""])


def row(*statuses: int, step: float = 10, **more) -> str:
    return "\n".join(post(status, at=step * n, **more) for n, status in enumerate(statuses))


STORM, VAIN = "retry-storm", "retry-of-permanent-failure"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([500] * 5, []),
        ([500] * 6, [(STORM, 6)]),
        ([500] * 60, [(STORM, 6)]),
        ([429, 503, 529, 502, 500, 200], [(STORM, 6)]),
        ([200] * 60, []),  # rollouts of one prompt
        ([429, 500, 200] * 20, []),  # and each of them needs three tries
        ([429, 500, 200, *[500] * 6], [(STORM, 9)]),
        ([400] * 60, []),
    ],
)
def test_storms(statuses: list[int], expected: list) -> None:
    assert lint(row(*statuses), STORM) == expected


def test_no_storm() -> None:
    assert lint(row(*[503] * 60, method="GET", path="/health"), STORM) == [], "polling"
    assert lint(row(*[500] * 60, step=0.001), STORM) == [], "at once: not one after the other"
    assert lint(row(*[500] * 60, step=3600), STORM) == [], "somebody comes back each hour"
    assert lint("\n".join(post(500, content=n) for n in range(60)), STORM) == [], "other requests"


def test_a_storm_of_answers_that_the_client_cannot_read() -> None:
    counts = [0, 1, 2] * 3
    text = "\n".join(post(200, f"x-stainless-retry-count: {n}", at=10 * i) for i, n in enumerate(counts))
    assert lint(text, STORM) == [(STORM, 8)]


@pytest.mark.parametrize(
    ("statuses", "more", "expected"),
    [
        ([400, 200], {}, [(VAIN, 2)]),
        ([422, 422, 422, 422], {}, [(VAIN, 2)]),
        ([401, 401], {}, [(VAIN, 2)]),
        ([500, 500], {}, []),
        ([429, 429], {}, []),
        ([408, 409, 425, 200], {}, []),
        ([404, 200], {}, [(VAIN, 2)]),
        ([404, 404, 200], {"method": "GET", "path": "/v1/batches/b1"}, []),
        ([401, 401], {"method": "GET", "path": "/flush_cache"}, [(VAIN, 2)]),
        ([400, 200], {"step": 3600}, []),
    ],
)
def test_permanent_failures(statuses: list[int], more: dict, expected: list) -> None:
    assert lint(row(*statuses, **more), VAIN) == expected


@pytest.mark.parametrize(
    ("first", "second", "unchanged"),
    [
        (["Authorization: Bearer a"], ["Authorization: Bearer b"], False),
        (["anthropic-beta: a"], [], False),
        (["anthropic-beta: a, b"], ["anthropic-beta: a"], False),
        (["x-tenant: a"], [], False),
        (
            ["x-request-id: a", "traceparent: b", "x-stainless-retry-count: 0"],
            ["x-request-id: c", "x-stainless-retry-count: 1"],
            True,
        ),
    ],
)
def test_what_is_unchanged(first: list[str], second: list[str], unchanged: bool) -> None:
    text = "\n".join([post(400, *first, at=0), post(400, *second, at=5)])
    assert lint(text, VAIN) == ([(VAIN, 2)] if unchanged else [])


@pytest.mark.parametrize(("status", "told"), [(400, True), (401, False), (403, False)])
def test_whether_a_masked_credential_was_refused_before(status: int, told: bool) -> None:
    text = "\n".join(post(status, "Authorization: Bearer ***", at=5 * n) for n in range(2))
    assert lint(text, VAIN) == ([(VAIN, 2)] if told else [])
    assert lint(text.replace("***", "sha256-0123456789ab"), VAIN) == [(VAIN, 2)]


def test_without_times_nobody_knows_which_connection_was_first() -> None:
    ask = r">> POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" + "\n"
    answer = r"<< HTTP/1.1 500 -\r\nContent-Length: 0\r\n\r\n" + "\n"
    assert lint("\n".join([ask + answer] * 6), STORM) == []
    assert lint(ask * 6 + answer * 6, STORM) == [(STORM, 6)]


def test_a_server_that_wants_another_try() -> None:
    assert lint("\n".join([post(400, "< x-should-retry: true"), post(400)]), VAIN) == []


EARLY = "retry-too-early"


@pytest.mark.parametrize(
    ("hints", "waited", "early"),
    [
        (["< Retry-After: 30"], 5, True),
        (["< Retry-After: 30"], 30, False),
        (["< Retry-After: 30"], 27, False),
        (["< Retry-After: 1"], 0.7, False),
        (["< Retry-After: 2", "< retry-after-ms: 1500"], 1.4, False),
        (["< Retry-After: 2", "< retry-after-ms: 1500"], 0.5, True),
        ([f"< Date: {DATE}", "< Retry-After: Fri, 20 Nov 2026 03:15:15 GMT"], 5, True),
        (["< Retry-After: soon"], 0.1, False),
        (["< Retry-After: 30", "< x-should-retry: true"], 5, False),
        ([], 0, False),
    ],
)
def test_too_early(hints: list[str], waited: float, early: bool) -> None:
    text = "\n".join([post(429, *hints, at=0), post(200, at=1 + waited)])
    assert lint(text, EARLY) == ([(EARLY, 2)] if early else [])


def test_too_early_is_said_once_and_never_guessed() -> None:
    three = [post(429, "< Retry-After: 30", at=n) for n in (0, 2, 4)]
    assert lint("\n".join(three), EARLY) == [(EARLY, 2)]
    assert lint("\n".join(post(429, "< Retry-After: 30") for _ in range(3)), EARLY) == [], "no times"
    keys = [post(429, "< Retry-After: 30", f"Authorization: Bearer {n}", at=2 * n) for n in range(3)]
    assert lint("\n".join(keys), EARLY) == [], "each key has its own limit"
    assert lint("\n".join([post(200, "< Retry-After: 30", at=0), post(200, at=2)]), EARLY) == []


STUBBORN = "retry-despite-should-retry-false"


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [(500, "false", 1), (429, "FALSE", 1), (500, "true", 0), (400, "false", 0), (200, "false", 0)],
)
def test_should_retry(status: int, said: str, expected: int) -> None:
    text = "\n".join(post(status, f"< x-should-retry: {said}") for _ in range(4))
    assert lint(text, STUBBORN) == [(STUBBORN, 2)] * expected


SHAKE = "handshake-repeated-after-refusal"


def shake(status: int, *lines: str, key: str = "k") -> str:
    return post(
        status,
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        *lines,
        method="GET",
        path="/v1/responses",
    )


def test_handshakes() -> None:
    assert lint("\n".join(shake(403, key=str(n)) for n in range(238))) == [(SHAKE, 2)]
    assert lint("\n".join(shake(status) for status in (503, 503, 429, 101)), SHAKE) == []
    assert (
        lint(shake(426, "Sec-WebSocket-Version: 14") + "\n" + shake(101, "Sec-WebSocket-Version: 13"), SHAKE)
        == []
    )
    assert lint(shake(403, "cdn-loop: a") + "\n" + shake(403), SHAKE) == [], (
        "without what was refused, perhaps"
    )


REPLAYED = "post-replayed-after-connection-failure"


@pytest.mark.parametrize(
    ("error", "lines", "expected"),
    [
        ("server closed connection", [], 1),
        ("Client disconnected.", [], 1),
        ("[Errno 111] Connect call failed ('127.0.0.1', 1)", [], 0),
        ("Server TLS handshake failed.", [], 0),
        ("server closed connection", ["Idempotency-Key: a"], 0),
    ],
)
def test_posts_that_were_lost(error: str, lines: list[str], expected: int) -> None:
    tries = [post(0, *lines, at=10 * n, error=error) for n in range(3)]
    assert lint("\n".join(tries), REPLAYED) == [(REPLAYED, 2)] * expected


TWICE = "concurrent-duplicate-request"


@pytest.mark.parametrize(
    ("one", "two", "times", "twice"),
    [
        (["x-session-id: a"], ["x-session-id: a"], (0, 5), True),
        (["x-session-id: a"], ["x-session-id: a"], (0, 20), False),
        (["x-session-id: a"], ["x-session-id: b"], (0, 0), False),
        ([], [], (0, 0), False),  # rollouts
        (["x-stainless-retry-count: 0"], ["x-stainless-retry-count: 1"], (0, 5), True),
        (
            ["x-stainless-retry-count: 0"],
            ["x-stainless-retry-count: 1", "Authorization: Bearer b"],
            (0, 5),
            False,
        ),
        (["Idempotency-Key: a"], ["Idempotency-Key: a"], (0, 5), True),
        (["x-request-id: a"], ["x-request-id: a"], (5, 0), True),
        (["x-request-id: a"], ["x-request-id: b"], (0, 5), False),
    ],
)
def test_at_once(one: list[str], two: list[str], times: tuple[int, int], twice: bool) -> None:
    text = "\n".join([post(200, *one, at=times[0], took=10), post(200, *two, at=times[1], took=10)])
    assert lint(text, TWICE) == ([(TWICE, 2)] if twice else [])


def test_many_at_once_are_said_once() -> None:
    text = "\n".join(post(200, "x-session-id: a", at=n, took=60) for n in range(9))
    assert lint(text, TWICE) == [(TWICE, 2)]
    assert lint("\n".join(post(200, "x-session-id: a") for _ in range(3)), TWICE) == [], "no times"


KEY = "idempotency-key-reused"


def test_idempotency_keys() -> None:
    def found(*contents: object, **more) -> list:
        return lint(
            "\n".join(post(200, "Idempotency-Key: k", content=each, **more) for each in contents), KEY
        )

    assert found(1, 1, 1) == []
    assert found(1, 2, 3, 2) == [(KEY, 2)], "once"
    other = post(200, "Idempotency-Key: k", "Authorization: Bearer b", content=2)
    assert lint(post(200, "Idempotency-Key: k", content=1) + "\n" + other, KEY) == [], (
        "keys belong to a client"
    )


@pytest.mark.parametrize(
    ("value", "malformed"),
    [
        ("0", False),
        ("120", False),
        ("9" * 400, False),
        (DATE, False),
        ("Friday, 20-Nov-26 03:14:15 GMT", False),
        ("", True),
        ("-1", True),
        ("1.5", True),
        ("2s", True),
        ("1500ms", True),
        ("PT30S", True),
        ("2026-11-20T03:14:15Z", True),
        ("None", True),
        ("1, 30", False),  # joined-singleton-value
        (f"{DATE}, {DATE}", False),
        ("2\\x00", False),  # newline-or-nul-in-header
    ],
)
def test_values_of_retry_after(value: str, malformed: bool) -> None:
    found = lint(post(429, f"< Retry-After: {value}"), "retry-after-malformed")
    assert found == ([("retry-after-malformed", 1)] if malformed else [])


@pytest.mark.parametrize(
    ("status", "lines", "expected"),
    [
        (429, [], ["429-without-retry-after"]),
        (503, [], ["503-without-retry-after"]),
        (529, [], ["503-without-retry-after"]),
        (500, [], []),
        (429, ["retry-after-ms: 1"], []),
        (429, ["x-should-retry: false"], []),
        (429, ["x-should-retry: true"], ["429-without-retry-after"]),
        (503, ["Retry-After: 61"], ["retry-after-too-long"]),
        (503, ["Retry-After: 61", "retry-after-ms: 500"], ["conflicting-retry-hints"]),
        (503, ["Retry-After: 60"], []),
        (503, ["Retry-After: 86400", "x-should-retry: false"], []),
        (301, ["Retry-After: 120"], []),
        (429, ["Retry-After: 2", "retry-after-ms: 1001"], []),
        (
            429,
            ["Retry-After: 2", "retry-after-ms: 2000", "x-ms-retry-after-ms: 9000"],
            ["conflicting-retry-hints"],
        ),
        (429, ["Retry-After: 2", "ratelimit-reset: 30"], ["conflicting-retry-hints"]),
        (429, ["Retry-After: 2", "ratelimit-reset: 1795144455"], []),
        (429, ["Retry-After: 2", "anthropic-ratelimit-requests-reset: 2026-11-20T03:15:15Z"], []),
    ],
)
def test_what_a_response_says(status: int, lines: list[str], expected: list[str]) -> None:
    assert [rule for rule, _ in lint(post(status, *[f"< {line}" for line in lines]))] == expected


REFUSED = "repeated-401-with-same-credentials"


def test_refused_again_and_again() -> None:
    def asked(*credentials: str, status: int = 401, step: float = 10) -> list[str]:
        lines = [[f"Authorization: Bearer {each}"] if each else [] for each in credentials]
        return [post(status, *each, at=step * n, content=n) for n, each in enumerate(lines)]

    def found(tries: list[str]) -> list:
        return lint("\n".join(tries), REFUSED)

    assert found(asked("a", "a")) == []
    assert found(asked("a", "a", "a", "a", "a")) == [(REFUSED, 3)], "once"
    assert found(asked("a", "b", "a", "b", "a")) == [(REFUSED, 5)]
    assert found(asked("a", "b", "c", "d")) == []
    assert found([*asked("a", "a"), *asked("a", status=200), *asked("a", "a")]) == []
    assert found(asked(*"aaaaaaaa", step=0.01)) == [], "all at once: nobody knew"
    assert found(asked("", "", "", "")) == [], "other requests, none with a credential"
    assert found(["\n".join(post(401, at=10 * n) for n in range(5))]) == [(REFUSED, 3)]


WEBSOCKET = "websocket-key-reused"


def test_websocket_keys() -> None:
    assert lint("\n".join(shake(101) for _ in range(4)), WEBSOCKET) == [(WEBSOCKET, 2)]
    other = shake(101).replace("api.example", "another.example")
    assert lint(shake(101) + "\n" + other, WEBSOCKET) == [], (
        "the other side of a hop: websocket-key-forwarded"
    )


NAMED = "request-id-reused"


def test_request_ids() -> None:
    def asked(*contents: object, lines: tuple[str, ...] = ("x-request-id: a",), **more) -> list:
        return lint("\n".join(post(200, *lines, content=each, **more) for each in contents), NAMED)

    assert asked(1, 1) == []
    assert asked(1, 2, 3) == [(NAMED, 2)], "once"
    assert asked(1, 2, lines=("x-correlation-id: a",)) == [], "is for several"
    assert asked(1, 2, lines=("x-client-request-id: t", "thread-id: t")) == [], "Codex"
    assert asked(1, 2, lines=("x-client-request-id: t", "thread-id: u")) == [(NAMED, 2)]
    one = post(200, "x-request-id: a", content=1)
    assert lint(one + "\n" + post(200, "x-request-id: a", content=2, path="/tokenize"), NAMED) == [], (
        "a hop's own"
    )
    assert (
        lint(post(502, "x-request-id: a", content=1) + "\n" + post(200, "x-request-id: a", content=2), NAMED)
        == []
    )


@pytest.mark.parametrize(
    ("status", "fires"),
    [
        *((status, False) for status in (202, 301, 307, 408, 409, 413, 425, 429, 500, 503, 529)),
        *((status, True) for status in (200, 204, 400, 401, 403, 404, 422)),
    ],
)
def test_statuses_on_which_nobody_waits(status: int, fires: bool) -> None:
    name = "retry-after-on-wrong-status"
    assert lint(post(status, "< Retry-After: 1"), name) == [(name, 1)] * fires

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.test import tflow

from conformance import mitm
from conformance.message import Fields, Response
from conformance.policy import TameRetries

SCRIPT = Path(__file__).parents[2] / "addons" / "tame_retries.py"
(addon,) = mitm.script_addons(SCRIPT)
tame_retries = sys.modules[type(addon).__module__]


def lines(text: str) -> list[tuple[bytes, bytes]]:
    pairs = [line.strip().encode().partition(b":") for line in text.split("|") if line.strip()]
    return [(name, value.strip()) for name, _, value in pairs]


def after(status: int, text: str = "", failures: int = 1, now: float | None = None, **policy):
    response = Response(fields=Fields(lines(text)), code=b"%d" % status)
    changes = tame_retries.tamed(response, TameRetries(**policy), failures, now)
    return [tuple(line) for line in mitm.changed(response.fields, changes)]


DATE = "Fri, 20 Nov 2026 03:14:15 GMT"
LATER = "Fri, 20 Nov 2026 03:14:45 GMT"


@pytest.mark.parametrize(
    ("status", "received", "sent"),
    [
        (429, "", "Retry-After: 10"),
        (503, "A: 1", "A: 1 | Retry-After: 10"),
        (529, "", "Retry-After: 10"),
        (429, "retry-after-ms: 1500", "retry-after-ms: 1500 | Retry-After: 2"),
        (429, *("Retry-After: 2 | retry-after-ms: 1500",) * 2),
        (429, *("Retry-After: 0",) * 2),
        (429, *(f"Retry-After: {LATER}",) * 2),
        (429, "Retry-After: 30 | retry-after-ms: 1500", "Retry-After: 30 | retry-after-ms: 30000"),
        (429, "Retry-After: 1 | RateLimit-Reset: 20", "Retry-After: 20 | RateLimit-Reset: 20"),
        (429, f"Date: {DATE} | Retry-After: {LATER} | retry-after-ms: 100",
         f"Date: {DATE} | Retry-After: 30 | retry-after-ms: 30000"),
        # not a number, but a time
        (429, "Retry-After: 2s", "Retry-After: 2"),
        (429, "Retry-After: 1.5", "Retry-After: 2"),
        (429, "Retry-After: 1500ms", "Retry-After: 2"),
        (429, "Retry-After: 2 minutes", "Retry-After: 120"),
        (429, "Retry-After: soon", "Retry-After: 10"),
        (500, "Retry-After: soon | A: 1", "A: 1"),
        (500, "Retry-After: 3s", "Retry-After: 3"),
        (500, *("A: 1",) * 2),
        # waiting does not help
        (400, "", "x-should-retry: false"),
        (422, "A: 1", "A: 1 | x-should-retry: false"),
        (501, "", "x-should-retry: false"),
        (400, *("X-Should-Retry: true",) * 2),
        (400, *("Retry-After: 3",) * 2),
        (401, "", ""),
        (403, "", ""),
        (409, "", ""),
        (200, *("Retry-After: soon",) * 2),
    ],
)  # fmt: skip
def test_single_responses(status: int, received: str, sent: str) -> None:
    assert after(status, received) == lines(sent)


@pytest.mark.parametrize(
    ("status", "failures", "received", "sent"),
    [
        (500, 4, "", ""),
        (500, 5, "", "x-should-retry: false"),
        (500, 9, "X-Should-Retry: true", "X-Should-Retry: false"),
        (401, 2, "", "x-should-retry: false"),
        (429, 4, "", "Retry-After: 10"),
        (429, 5, "Retry-After: 1 | retry-after-ms: 900", "Retry-After: 60 | retry-after-ms: 60000"),
        (429, 5, *("Retry-After: 90",) * 2),
        (503, 5, "", "Retry-After: 60"),
    ],
)
def test_storms(status: int, failures: int, received: str, sent: str) -> None:
    assert after(status, received, failures) == lines(sent)
    if status == 500:
        assert after(status, received, failures, storm=0) == lines(received)


@given(
    st.integers(100, 599),
    st.lists(
        st.tuples(
            st.sampled_from(["Retry-After", "retry-after-ms", "RateLimit-Reset", "x-should-retry", "A"]),
            st.sampled_from(
                ["0", "1", "20", "1.5", "2s", "soon", "true", "false", LATER, "99999999999999", ""]
            ),
        ),
        max_size=5,
    ),
    st.integers(0, 9),
)
def test_idempotent(status, pairs, failures) -> None:
    text = " | ".join(f"{name}: {value}" for name, value in pairs)
    sent = after(status, text, failures, now=1_795_144_455.0)
    again = " | ".join(f"{name.decode()}: {value.decode()}" for name, value in sent)
    assert after(status, again, failures, now=1_795_144_455.0) == sent
    if status < 400:
        assert sent == lines(text)


def test_what_counts_as_a_failure_in_a_row() -> None:
    seen = tame_retries.Failures()
    count = [seen.failed(b"a", began, ended, 600) for began, ended in ((0, 1), (2, 3), (2.5, 4), (5, 6))]
    assert count == [1, 2, 2, 3], "a request that began before the last had failed is its sibling"
    assert seen.failed(b"b", 5, 6, 600) == 1
    assert seen.failed(b"a", 700, 701, 600) == 1, "forgotten"
    assert seen.failed(b"a", 702, 703, 600) == 2
    seen.succeeded(b"a")
    assert seen.failed(b"a", 704, 705, 600) == 1


def test_memory_is_bounded() -> None:
    seen = tame_retries.Failures()
    for number in range(tame_retries.REMEMBERED + 5):
        seen.failed(b"%d" % number, number, number, 600)
    assert len(seen._seen) == tame_retries.REMEMBERED
    assert seen.failed(b"0", 9e9, 9e9, 1e12) == 1


def test_the_same_request() -> None:
    def identity(content=b"{}", key="k", **facts):
        request = tflow.tflow().request
        request.raw_content = content
        request.headers["authorization"] = key
        for name, value in facts.items():
            setattr(request, name, value)
        return tame_retries.identity(request)

    assert identity() == identity()
    others = [identity(b"[]"), identity(key="other"), identity(path="/b"), identity(method="PUT")]
    assert len({identity(), *others}) == 5
    assert identity(content=None) is None


def test_parallel_rollouts_are_no_storm_and_a_retry_loop_is(proxied) -> None:
    answers = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"
    proxy = proxied("tame_retries.py", lambda c, _: c.sendall(answers))
    ask = b"GET /flush_cache HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer KEY\r\nConnection: close\r\n\r\n"
    assert b"x-should-retry" not in proxy.ask(ask)
    assert b"\r\nx-should-retry: false\r\n" in proxy.ask(ask)
    assert b"x-should-retry" not in proxy.ask(ask.replace(b"KEY", b"canary-7f3a9c"))
    assert "canary" not in repr([flow.metadata for flow in proxy.flows()])


def test_success_ends_a_row(proxied) -> None:
    statuses = iter([b"500 A", b"500 A", b"200 OK", b"500 A", b"500 A"])
    proxy = proxied(
        "tame_retries.py",
        lambda c, _: c.sendall(b"HTTP/1.1 " + next(statuses) + b"\r\nContent-Length: 0\r\n\r\n"),
        tame_retries_storm=["3"],
    )
    ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert not any(b"x-should-retry" in proxy.ask(ask) for _ in range(5))


def test_overload(proxied) -> None:
    head = b"HTTP/1.1 429 Too Many Requests\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(head + b"Content-Length: 0\r\n\r\n"))
    ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert proxy.ask(ask) == head + b"Content-Length: 0\r\nRetry-After: 10\r\n\r\n"


def test_failure_lets_the_response_pass(proxied, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(mitm, "response_head", broken)
    response = b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied("tame_retries.py", lambda c, _: c.sendall(response))
    assert proxy.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == response
    assert "tame-retries: failed on the response" in caplog.text

"""What is remembered of exchanges, under what it is filed, and that it stays small."""

import hashlib
import json
import pickle

import pytest

from conformance import history, recording
from conformance.history import History, waits
from conformance.message import Exchange, Fields
from conformance.policy import Policy, Session
from conformance.turn import Digest, Turn

DATE = "Fri, 20 Nov 2026 03:14:15 GMT"


def told(text: str, session: Session | None = None) -> list[Turn | None]:
    """The turns of a transcript."""
    index = History(session or Policy().session)
    return [index.turn(item) for item in recording.parse(text) if isinstance(item, Exchange)]


def turns(text: str, session: Session | None = None) -> list[Turn]:
    return [turn for turn in told(text, session) if turn is not None]


def post(
    content: object = None,
    *lines: str,
    answer: str = "200 OK",
    facts: str = "",
    path: str = "/v1/chat/completions",
) -> str:
    """One exchange as a transcript; lines beginning with < belong to the response."""
    body = json.dumps(content)
    sent = [f"> {line}" for line in lines if not line.startswith("<")]
    came = [line for line in lines if line.startswith("<")]
    request = [
        f"> POST {path} HTTP/1.1",
        "> Host: api.example",
        f"> Content-Length: {len(body)}",
        *sent,
        ">",
        f"> {body}",
    ]
    return "\n".join([*([facts] if facts else []), *request, f"< HTTP/1.1 {answer}", *came, ""])


def chat(*said: str) -> dict:
    roles = ("user", "assistant")
    return {
        "model": "m",
        "messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)],
    }


def numbers(digests: tuple[Digest, ...]) -> list[int]:
    return [digest.number for digest in digests]


def test_the_same_request_whatever_its_volatile_fields_say() -> None:
    found = turns(
        post({"a": 1}, "x-request-id: 1", "x-stainless-retry-count: 0")
        + "\n"
        + post({"a": 1}, "x-request-id: 2", "x-stainless-retry-count: 1", "traceparent: x")
        + "\n"
        + post({"a": 2})
        + "\n"
        + post({"a": 1}, path="/v1/embeddings")
        + "\n"
        + post({"a": 1}, "anthropic-beta: x")
    )
    assert [numbers(turn.same_request) for turn in found] == [[], [1], [], [], [1, 2]]
    assert found[0].digest.details == found[1].digest.details != found[4].digest.details


def test_codex_shuffles_members() -> None:
    one = {"input": "go", "client_metadata": {"a": "1", "b": "2"}}
    two = {"client_metadata": {"b": "2", "a": "1"}, "input": "go"}
    found = turns(post(one, path="/v1/responses") + "\n" + post(two, path="/v1/responses"))
    assert numbers(found[1].same_request) == [1]
    del one["client_metadata"], two["client_metadata"]
    one["n"] = two["n"] = 1
    found = turns(
        post({"n": 1, "input": "go"}, path="/v1/responses")
        + "\n"
        + post({"input": "go", "n": 1}, path="/v1/responses")
    )
    assert numbers(found[1].same_request) == []


@pytest.mark.parametrize(
    ("head", "known"),
    [
        ("> GET /a HTTP/1.1\n> Host: a", True),
        ("> GET /a HTTP/1.1\n> Host: a\n> Content-Length: 2", False),
        ("> POST /a HTTP/1.1\n> Host: a\n> Content-Length: 2", False),
        ("@ partial: request\n> POST /a HTTP/1.1\n> Host: a\n>\n> {}", False),
        ("> POST /a HTTP/1.1\n> Host: a\n>\n> {}", True),
    ],
)
def test_content_that_is_not_known_equals_nothing(head: str, known: bool) -> None:
    _, again = turns(f"{head}\n\n{head}")
    assert (again.digest.request is not None, bool(again.same_request)) == (known, known)


def test_clients_are_told_by_host_and_credential() -> None:
    found = turns(
        post(None, "Authorization: Bearer a")
        + "\n"
        + post(None, "x-api-key: b")
        + "\n"
        + post(None, "Authorization: Bearer a")
        + "\n"
        + post(None, "Authorization: Bearer a", facts="@ upstream: other:1")
        + "\n"
        + post(None)
    )
    assert [numbers(turn.same_client) for turn in found] == [[], [], [1], [], []]


def test_both_sides_of_a_hop_are_apart() -> None:
    found = turns(post({"a": 1}, facts="@ leg: client") + "\n" + post({"a": 1}, facts="@ leg: server"))
    assert found[1].same_request == ()
    assert found[1].same_client == ()


def test_what_the_recorders_user_replayed_is_not_judged() -> None:
    (item,) = recording.parse(post())
    assert isinstance(item, Exchange)
    replayed = Exchange(request=item.request, is_replay=True)
    assert History(Policy().session).turn(replayed) is None


@pytest.mark.parametrize(
    ("lines", "content", "path", "expected"),
    [
        (["x-session-id: b", "thread-id: a"], None, "/v1/responses", ("thread-id", "a")),
        (["x-session-id: b", "X-Session-Id: b"], None, "/v1/responses", ("x-session-id", "b")),
        (["x-session-id: b", "X-Session-Id: c"], None, "/v1/responses", ("", None)),
        (["x-session-id:", "session-id: None"], None, "/v1/responses", ("", None)),
        (["x-parent-session-id: p", "mcp-session-id: m"], None, "/v1/responses", ("", None)),
        ([], {"metadata": {"session_id": "s"}}, "/v1/responses", ("metadata.session_id", "s")),
        ([], None, "/sessions/0f1e2d3c4b/v1/chat/completions", ("path", "0f1e2d3c4b")),
        ([], None, "/sessions/short/v1/chat/completions", ("", None)),
        (["x-session-id: " + "a" * 5000], None, "/v1/responses", ("x-session-id", "a" * history.SHOWN)),
    ],
)
def test_which_session_a_request_belongs_to(
    lines: list[str], content: object, path: str, expected: tuple
) -> None:
    (turn,) = turns(post(content, *lines, path=path))
    assert (turn.digest.session_field, turn.digest.session) == expected


def test_the_policy_names_the_session_first() -> None:
    session = Session(header="x-user-id", reads=("x-session-id", "x-*-id"))
    found = turns(
        post(None, "thread-id: t", "x-session-id: s", "x-user-id: u")
        + "\n"
        + post(None, "thread-id: t", "x-session-id: s"),
        session,
    )
    assert [turn.digest.session for turn in found] == ["u", "s"]


def test_conversations_go_on_by_messages_or_by_response_id() -> None:
    reply = '{"choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}'
    found = turns(
        post(chat("hi"), "< Content-Type: application/json", "<", f"< {reply}")
        + "\n"
        + post(chat("hi"), "< Content-Type: application/json", "<", f"< {reply.replace('yes', 'no')}")
        + "\n"
        + post(chat("hi", "no", "go"))
        + "\n"
        + post(chat("hi", "yes", "go"))
    )
    assert [(turn.digest.conversation, turn.digest.turn) for turn in found] == [
        (1, 1),
        (2, 1),
        (2, 2),
        (1, 2),
    ]
    assert [turn.digest.is_start for turn in found] == [True, True, False, False]

    first = '{"id":"resp_1","object":"response","output":[]}'
    found = turns(
        post({"input": "hi"}, "< Content-Type: application/json", "<", f"< {first}", path="/v1/responses")
        + "\n"
        + post({"input": "go", "previous_response_id": "resp_1"}, path="/v1/responses")
        + "\n"
        + post({"input": "go", "previous_response_id": "resp_0"}, path="/v1/responses")
    )
    assert [(turn.digest.conversation, turn.digest.turn) for turn in found] == [(1, 1), (1, 2), (None, 0)]
    assert [numbers(turn.continued) for turn in found] == [[], [1], []]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Retry-After: 2"], {"retry-after": 2.0}),
        (["Retry-After: 2", "retry-after-ms: 1500"], {"retry-after-ms": 1.5, "retry-after": 2.0}),
        (["Retry-After: 2s"], {}),
        (["Retry-After: 2", "Retry-After: 3"], {}),
        (["Retry-After: " + "9" * 5000], {}),
        (["Retry-After: Fri, 20 Nov 2026 03:14:45 GMT", f"Date: {DATE}"], {"retry-after": 30.0}),
        (["Retry-After: Fri, 20 Nov 2026 03:14:00 GMT", f"Date: {DATE}"], {"retry-after": 0.0}),
        (["Retry-After: Fri, 20 Nov 2026 03:14:45 GMT"], {}),
    ],
)
def test_how_long_a_response_asks_to_wait(lines: list[str], expected: dict) -> None:
    pairs = [line.split(": ", 1) for line in lines]
    assert dict(waits(Fields([(name.encode(), value.encode()) for name, value in pairs]))) == expected


def test_a_date_counts_from_now_where_the_response_has_none() -> None:
    fields = Fields([(b"Retry-After", b"Fri, 20 Nov 2026 03:14:45 GMT")])
    assert dict(waits(fields, 1795144485.0 - 60)) == {"retry-after": 60.0}


SECRET = "sk-ant-verysecret0123456789"


def test_digests_are_small_plain_and_hold_no_secrets() -> None:
    (turn,) = turns(
        post(
            {**chat("my password is hunter2"), "metadata": {"session_id": "s"}},
            f"Authorization: Bearer {SECRET}",
            f"x-api-key: {SECRET}",
            f"x-session-token: {SECRET}",
            f"Idempotency-Key: {SECRET}",
            f"Cookie: a={SECRET}",
            f"< x-codex-turn-state: {SECRET}",
            "< x-litellm-model-id: dep-A",
        )
    )
    kept = pickle.dumps(turn.digest)
    assert len(kept) < 1000
    assert pickle.loads(kept) == turn.digest
    for hidden in (SECRET, "hunter2"):
        assert hidden not in repr(turn.digest)
        assert hidden.encode() not in kept


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 8)
    monkeypatch.setattr(history, "KEPT_ALIKE", 4)
    index = History(Policy().session)
    text = "\n".join(
        post(chat(f"hi {n}"), f"x-session-id: s{n % 3}", f"x-request-id: {n}") for n in range(40)
    )
    found = [index.turn(item) for item in recording.parse(text) if isinstance(item, Exchange)]
    assert len(index._ring) == 8
    filed = {id(digest) for digests in index._filed.values() for digest in digests}
    assert filed <= {id(digest) for digest, _ in index._ring}
    assert len(index._filed) <= 8 * 6
    assert found[-1] is not None
    assert numbers(found[-1].same_client) == [36, 37, 38, 39]
    assert numbers(found[-1].same_session) == [34, 37]


def test_every_member_is_told() -> None:
    """A digest that forgets a member would silence rules."""
    (turn,) = turns(
        post(
            {**chat("hi"), "previous_response_id": "r", "prompt_cache_key": "k"},
            "Authorization: Bearer a",
            "chatgpt-account-id: acct-1",
            "x-session-id: s",
            "x-request-id: r1",
            "idempotency-key: k",
            "sec-websocket-key: w",
            "x-stainless-retry-count: 2",
            "x-session-token: t",
            "x-parent-session-id: p",
            "< Retry-After: 2",
            "< x-should-retry: false",
            "< x-litellm-model-id: dep-A",
            "< x-litellm-attempted-retries: 1",
            answer="503 X",
            facts="@ client-connection: c\n@ started: 1\n@ ended: 2\n@ error: connection refused",
        )
    )
    expected = {
        "conversation",
        "turn",
        "setup",
        "is_mid_turn",
        "tokens_issued",
        "response_id",
        "close_code",
        "unsent",
        "event_reader",
        "stored",
    }
    empty = {name for name, value in turn.digest._asdict().items() if value in (None, False, 0, "", b"", ())}
    assert empty - {"should_retry"} == expected
    assert turn.digest.should_retry is False
    assert (turn.digest.wait, turn.digest.retry, turn.digest.account) == (2.0, 2, "acct-1")


@pytest.mark.parametrize(
    ("start", "status", "lines", "stored"),
    [
        ("GET", "200 OK", ['ETag: "a"', "Vary: X"], (b'"a"', b"", frozenset({"etag"}))),
        (
            "GET",
            "200 OK",
            ['ETag: W/"a"', "Content-Encoding: GZip, br", "Expires: 0"],
            (b'W/"a"', b"gzip,br", frozenset({"etag", "expires"})),
        ),
        ("GET", "200 OK", [], None),
        ("GET", "304 Not Modified", ['ETag: "a"'], None),
        ("HEAD", "200 OK", ['ETag: "a"'], None),
        ("GET", "200 OK", ['ETag: "a"', 'ETag: "b"'], None),
        ("GET", "200 OK", [f'ETag: "{"a" * 200}"'], None),  # a hostile one is not kept
    ],
)
def test_what_a_cache_would_keep(start: str, status: str, lines: list[str], stored: object) -> None:
    (turn,) = turns(
        "\n".join([f"> {start} / HTTP/1.1", f"< HTTP/1.1 {status}", *(f"< {line}" for line in lines)])
    )
    assert turn.digest.stored == stored


def test_contents_that_begin_alike_are_digested_as_all_others() -> None:
    contents = history.Contents()
    one, other = b"a" * history.BLOCK, b"b" * history.BLOCK
    for content in (
        b"", one, one + b"1", one + other + b"2", one + other + b"2", one + one, one[1:], other + one, b"x",
        one * 3 + other, b"c" * (history.LONGEST + 2 * history.BLOCK), b"c" * history.LONGEST,
    ):  # fmt: skip
        assert contents.digest(content) == hashlib.sha256(content).digest()
        assert contents.digest(memoryview(content)) == hashlib.sha256(content).digest()
        assert sum(map(len, contents._blocks)) <= min(len(content), history.LONGEST)
        assert len(contents._states) == len(contents._blocks) + 1

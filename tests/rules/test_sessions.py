"""What docstring examples cannot show: traffic that is odd and right, what fires once, and the policy's say."""

import json

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.policy import Policy, Session
from conformance.rule import load as load_rules
from conformance.settings import load

RULES = {
    name: rule for name, rule in load_rules().items() if rule.topic == "sessions" and rule.scope != "Legs"
}
LITELLM = load(isolated=True, profile="litellm").settings.policy
CODEX = load(isolated=True, profile="codex").settings.policy


def lint(text: str, policy: Policy | None = None, *, only: str | None = None) -> list[tuple[str, int]]:
    """(rule, exchange) of what is found."""
    linter = Linter(RULES if only is None else {only: RULES[only]}, policy, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures, linter.failures
    return [(finding.rule, finding.at.exchange or 0) for finding in linter.findings]


def chat(*said: str, system: str | None = None) -> dict:
    roles = ("user", "assistant")
    first = [{"role": "system", "content": system}] if system else []
    return {
        "model": "m",
        "messages": [*first, *({"role": roles[n % 2], "content": text} for n, text in enumerate(said))],
    }


def post(
    content: object, *lines: str, answer: str = "200 OK", facts: str = "", path: str = "/v1/chat/completions"
) -> str:
    body = json.dumps(content)
    sent = [f"> {line}" for line in lines if not line.startswith("<")]
    came = [line for line in lines if line.startswith("<")]
    head = [
        f"> POST {path} HTTP/1.1",
        "> Host: api.example",
        f"> Content-Length: {len(body)}",
        *sent,
        ">",
        f"> {body}",
    ]
    return "\n".join([*([facts] if facts else []), *head, f"< HTTP/1.1 {answer}", *came, ""])


def turns(
    ids: list[str | None],
    *lines: str,
    system: str | None = None,
    name: str = "x-session-id",
    task: str = "go",
) -> list[str]:
    """The turns of one conversation, each with its id and, behind a |, its deployment."""
    said: list[str] = [task]
    made = []
    for n, each in enumerate(ids):
        session, _, deployment = (each or "").partition("|")
        extra = [f"{name}: {session}"] if session else []
        served = [f"< x-litellm-model-id: {deployment}"] if deployment else []
        made.append(post(chat(*said, system=system), *extra, *lines, *served))
        said += [f"reply {n}", f"next {n}"]
    return made


WITHIN, PER_REQUEST = "session-id-changes-within-conversation", "session-id-changes-per-request"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ("aaaa", []),
        ("ab", []),  # the first of many, perhaps
        ("aab", [(WITHIN, 3)]),
        ("abb", [(WITHIN, 3)]),
        ("aabbcc", [(WITHIN, 3)]),
        ("abab", [(WITHIN, 3)]),
        ("abc", [(PER_REQUEST, 3)]),
        ("abcdef", [(PER_REQUEST, 3)]),
    ],
)
def test_ids_that_change(ids: str, expected: list) -> None:
    assert lint("\n".join(turns([*ids]))) == expected


def test_an_id_that_other_conversations_have_used_is_no_new_one() -> None:
    text = [*turns(["s"], task="one"), *turns(["a", "s"], task="two")]
    assert lint("\n".join(text)) == [(WITHIN, 3)]


def test_a_retry_with_another_id_is_no_turn() -> None:
    one, two = turns(["a", "b"])
    failed = post(chat("go"), "x-session-id: a", answer="500 X")
    assert lint("\n".join([failed, one, two])) == []


def test_a_session_in_the_path_belongs_to_the_path() -> None:
    text = [post(chat(*"abcde"[:n]), path=f"/sessions/session-{n}/v1/chat/completions") for n in (1, 3, 5)]
    assert lint("\n".join(text)) == []


SHARED = "session-id-shared-across-conversations"


def shared(first: list[str], second: list[str]) -> list[tuple[str, int]]:
    return lint("\n".join([*first, *second]), only=SHARED)


def test_one_id_for_two_tasks() -> None:
    def task(name: str, system: str | None = "S", **more) -> list[str]:
        return turns(["a", "a"], system=system, task=name, **more)

    assert shared(task("one"), task("two")) == [(SHARED, 4)]
    assert shared(task("one"), task("one")) == [(SHARED, 4)], "the same task again, afterwards"
    assert shared(task("one"), [*task("two"), *task("three")]) == [(SHARED, 4)], "once"
    assert shared(task("one"), task("two", system="T")) == [], "a sub-agent has another system prompt"
    assert shared(task("one", None), task("two", None)) == [], "nothing says that they are of one kind"
    assert shared(task("one"), task("two")[:1]) == [], "one request is no conversation"
    assert shared(task("one"), turns(["a", "a"], "x-parent-session-id: p", system="S", task="two")) == []
    claude = [
        turns(["a", "a"], system="S", task=name, name="x-claude-code-session-id") for name in ("one", "two")
    ]
    assert shared(*claude) == [], "sub-agents share it"


def test_rollouts_side_by_side_may_share_an_id() -> None:
    one, two = (turns(["a", "a"], system="S") for _ in range(2))
    assert lint("\n".join([one[0], two[0], one[1], two[1]]), only=SHARED) == []


def test_a_conversation_that_was_summarised() -> None:
    long = turns(["a", "a"], system="S", task="x" * 70_000)
    assert shared(long, turns(["a", "a"], system="S", task="Summary of what was said so far.")) == []
    trimmed = [
        post(chat("b", "B", "c", "C", "d", system="S"), "x-session-id: a"),
        post(chat(*"bBcCdDe", system="S"), "x-session-id: a"),
    ]
    assert shared(turns(["a", "a"], system="S"), trimmed) == [], "a window over the history"


SPLIT = "session-split-across-deployments"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a|1", "a|1", "a|1"], []),
        (["a|1", "a|2", "a|1", "a|3"], [(SPLIT, 2)]),
        (["|1", "|1", "|2"], [(SPLIT, 3)]),
        (["a|1", "a|", "a|1"], []),
    ],
)
def test_deployments(ids: list[str], expected: list) -> None:
    assert lint("\n".join(turns(ids)), only=SPLIT) == expected


def test_requests_that_may_move() -> None:
    one = post(chat("a"), "x-session-id: s", "< x-litellm-model-id: 1")

    def then(content: object, *lines: str, before: str = one, **more) -> list:
        return lint(
            "\n".join([before, post(content, "x-session-id: s", "< x-litellm-model-id: 2", *lines, **more)]),
            only=SPLIT,
        )

    assert then(chat("b")) == [(SPLIT, 2)]
    assert then({**chat("b"), "model": "another"}) == []
    assert then(chat("b"), "< x-litellm-attempted-fallbacks: 1") == []
    assert then(chat("b"), "< x-litellm-attempted-fallbacks: 0") == [(SPLIT, 2)]
    assert then(chat("b"), answer="500 X") == []
    assert (
        then(chat("b"), before=post(chat("a"), "x-session-id: s", "< x-litellm-model-id: 1", answer="500 X"))
        == []
    )
    assert then(chat("b"), facts="@ upstream: another:1") == []


@pytest.mark.parametrize(
    ("lines", "content", "expected"),
    [
        (["session-id: a", "session_id: a"], None, 0),
        (["session-id: a", "session_id: b"], None, 1),
        (["session-id: a", "thread-id: b"], None, 0),
        (["session-id: a", "session_id: b", "x-session-id: c"], None, 2),
        (["x-smg-routing-key: a", "x-session-id: b"], None, 0),
        (["x-litellm-session-id: a", "x-litellm-trace-id: b"], None, 0),
        (["x-session-id: a"], {"session_id": "b"}, 1),
        (["x-session-id: a"], {"session_id": "a", "prompt_cache_key": "b", "user": "c"}, 0),
        (["x-litellm-session-id: a"], {"metadata": {"session_id": "b", "user_id": "u_session_c"}}, 1),
        (["x-claude-code-session-id: a"], {"metadata": {"user_id": "user_1_account__session_a"}}, 0),
        (["x-claude-code-session-id: a"], {"metadata": {"user_id": '{"session_id": "b"}'}}, 1),
        (["x-session-id: a", "x-session-affinity:"], None, 0),
    ],
)
def test_ids_that_contradict_each_other(lines: list[str], content: object, expected: int) -> None:
    assert len(lint(post(content, *lines), only="conflicting-session-ids")) == expected


def test_what_the_upstream_reads_must_agree() -> None:
    text = post(None, "x-litellm-session-id: conversation-1", "x-acme-session-id: conversation-2")
    assert lint(text, only="conflicting-session-ids") == []
    # x-acme-session-id is not known to name a conversation, x-claude-code-session-id is.
    text = post(None, "x-litellm-session-id: conversation-1", "x-claude-code-session-id: conversation-2")
    assert lint(text, only="conflicting-session-ids") == []
    assert lint(text, LITELLM, only="conflicting-session-ids") == [("conflicting-session-ids", 1)]
    assert lint(post(None, "session-id: a", "thread-id: b"), CODEX, only="conflicting-session-ids") == []


MISSING, UNREAD, MALFORMED = (
    "session-header-missing",
    "session-header-not-read-by-upstream",
    "session-id-malformed",
)


@pytest.mark.parametrize(
    ("lines", "content", "path", "expected"),
    [
        ([], {}, "/v1/chat/completions", MISSING),
        ([], {}, "/v1/messages?beta=true", MISSING),
        ([], {}, "/v1/messages/count_tokens", None),
        ([], {}, "/v1/embeddings", None),
        ([], {}, "/key/generate", None),
        ([], {"metadata": {"session_id": "conversation-1"}}, "/v1/chat/completions", None),
        ([], {"litellm_session_id": "conversation-1"}, "/v1/chat/completions", MISSING),
        (["x-litellm-trace-id: trace-0001"], {}, "/v1/chat/completions", None),
        (["x-acme-session-id: conversation-1"], {}, "/v1/chat/completions", None),
        (["x-acme-session-id: 42"], {}, "/v1/chat/completions", MALFORMED),
        (["x-acme-session-id: 42", "x-litellm-session-id: conversation-1"], {}, "/v1/chat/completions", None),
        (["x-litellm-session-id: None"], {}, "/v1/chat/completions", None),
        (["x-parent-session-id: conversation-1"], {}, "/v1/chat/completions", MISSING),
        (["session-id: conversation-1"], {}, "/v1/chat/completions", UNREAD),
        (["session-id: conversation-1", "User-Agent: codex_cli_rs/0.144.0"], {}, "/v1/responses", None),
        (["session-id: conversation-1", "x-session-id: conversation-1"], {}, "/v1/chat/completions", None),
        (["x-smg-routing-key: conversation-1"], {}, "/v1/chat/completions", UNREAD),
    ],
)
def test_what_litellm_reads(lines: list[str], content: object, path: str, expected: str | None) -> None:
    text = post(content, *lines, path=path)
    assert [rule for rule, _ in lint(text, LITELLM)] == ([expected] if expected else [])
    assert lint(text) == [], "without a policy nothing is known"


def test_endpoints_that_need_a_session_are_the_policys_to_say() -> None:
    policy = Policy(session=Session(header="x-user-id", required_on=("embeddings",)))
    assert lint(post({}, path="/v1/embeddings"), policy) == [(MISSING, 1)]
    assert lint(post({}), policy) == []
    assert lint(post({}, "X-User-Id: u", path="/v1/embeddings"), policy) == []


def test_content_that_was_not_recorded_excuses_nothing() -> None:
    assert lint("> POST /v1/chat/completions HTTP/1.1\n> Host: a", LITELLM) == [(MISSING, 1)]


def test_each_further_session_line_is_found() -> None:
    lines = [
        "x-session-id: a",
        "X-Session-Id: a",
        "x-session-id: b",
        "mcp-session-id: m",
        "mcp-session-id: m",
    ]
    found = lint(post(None, *lines))
    assert found == [("duplicate-session-header", 1)] * 3
    policy = Policy(session=Session(header="x-user-id"))
    assert lint(post(None, "x-user-id: a", "x-user-id: a"), policy) == [("duplicate-session-header", 1)]


REPLAYED = "affinity-token-not-replayed"


def token(*steps: tuple[str, str], tool: bool = False, field: str = "x-session-token") -> list:
    """Turns of one conversation: what each sends, and what it is given."""
    history: list[dict] = [{"role": "user", "content": "go"}]
    made = []
    for n, (sent, given) in enumerate(steps):
        lines = [f"{field}: {sent}"] if sent else []
        lines += [f"< {field}: {given}"] if given else []
        made.append(post({"model": "m", "messages": history}, *lines))
        call = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"c{n}", "function": {"name": "ls", "arguments": "{}"}}],
        }
        result = {"role": "tool", "tool_call_id": f"c{n}", "content": "a.py"}
        spoken = [{"role": "assistant", "content": f"r{n}"}, {"role": "user", "content": f"n{n}"}]
        history = [*history, *([call, result] if tool else spoken)]
    return lint("\n".join(made), only=REPLAYED)


def test_tokens_that_are_to_be_sent_back() -> None:
    assert token(("", "t"), ("t", "t"), ("t", "")) == []
    assert token(("", "t"), ("", "")) == [(REPLAYED, 2)]
    assert token(("", "t"), ("", "t"), ("", "t")) == [(REPLAYED, 2)], "once"
    assert token(("", "t"), ("t", "t"), ("", "t")) == [(REPLAYED, 3)]
    assert token(("", "t"), ("other", "")) == [], "an older one, perhaps"
    assert token(("", ""), ("", "t")) == []


def test_turn_state_is_for_one_turn() -> None:
    state = "x-codex-turn-state"
    assert token(("", "t"), ("", ""), field=state) == [], "the user has spoken"
    assert token(("", "t"), ("", ""), field=state, tool=True) == [(REPLAYED, 2)]
    assert token(("", "t"), ("t", ""), ("t", ""), field=state, tool=True) == []


OTHER = "affinity-token-used-by-other-session"


def test_tokens_of_other_sessions() -> None:
    def found(*steps: tuple[str, str, str]) -> list:
        made = []
        for n, (session, sent, given) in enumerate(steps):
            lines = [f"x-session-id: {session}"] if session else []
            lines += [f"x-session-token: {sent}"] if sent else []
            lines += [f"< x-session-token: {given}"] if given else []
            made.append(post({"n": n}, *lines))
        return lint("\n".join(made), only=OTHER)

    assert found(("a", "", "t"), ("b", "t", "")) == [(OTHER, 2)]
    assert found(("a", "", "t"), ("b", "t", ""), ("b", "t", "")) == [(OTHER, 2)], "once"
    assert found(("a", "", "t"), ("a", "t", "")) == []
    assert found(("a", "", "t"), ("b", "", "t"), ("b", "t", "")) == [], "both are on one pod"
    assert found(("a", "", "t"), ("", "t", "")) == [], "nobody knows whose it is"
    assert found(("a", "x", "t"), ("b", "u", "")) == [], "issued before the recording began"


def test_tokens_are_never_shown() -> None:
    secret = "secret-state-0001"
    text = "\n".join(
        [
            post({"n": 1}, "x-session-id: a", f"< x-codex-turn-state: {secret}"),
            post({"n": 2}, "x-session-id: b", f"x-codex-turn-state: {secret}"),
        ]
    )
    linter = Linter({OTHER: RULES[OTHER]}, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    (finding,) = linter.findings
    assert secret not in finding.why
    assert not any(secret in quote.text for quote in finding.quotes)


MOVED = "session-moved-after-close-1011"


@pytest.mark.parametrize(
    ("close", "before", "after", "session", "expected"),
    [
        ("< CLOSE 1011", "a", "b", "s", [(MOVED, 2)]),
        ("< CLOSE 1011", "a", "a", "s", []),
        ("< CLOSE 1000", "a", "b", "s", []),
        ("> CLOSE 1011", "a", "b", "s", []),  # the client's own doing
        ("< CLOSE 1011", "a", "b", None, []),  # a soft key may move
        ("< CLOSE 1011", None, "b", "s", []),
    ],
)
def test_accounts_after_1011(
    close: str, before: str | None, after: str, session: str | None, expected: list
) -> None:
    def shake(account: str | None, *frames: str) -> str:
        lines = [
            "> GET /v1/responses HTTP/1.1",
            "> Host: a",
            "> Upgrade: websocket",
            "> Sec-WebSocket-Key: k",
        ]
        lines += [f"> chatgpt-account-id: {account}"] if account else []
        lines += [f"> session-id: {session}"] if session else []
        return "\n".join([*lines, "< HTTP/1.1 101 S", "< Upgrade: websocket", *frames, ""])

    assert lint(shake(before, close) + "\n" + shake(after), only=MOVED) == expected
    three = "\n".join([shake(before, close), shake(after), shake(before)])
    assert lint(three, only=MOVED) == expected, "once"
    refused = shake(after).replace("101 S", "502 Bad Gateway")
    assert lint("\n".join([shake(before, close), refused, shake(before)]), only=MOVED) == []


FIELD = "session-field-rejected-by-upstream"


@pytest.mark.parametrize(
    ("content", "answer", "said", "fires"),
    [
        (
            {"session_id": "a"},
            "400 X",
            '{"error":{"message":"Unrecognized request argument supplied: session_id"}}',
            True,
        ),
        (
            {"session_id": "a"},
            "422 X",
            '{"detail":[{"type":"extra_forbidden","loc":["body","session_id"]}]}',
            True,
        ),
        (
            {"session_id": "a"},
            "400 X",
            '{"error":{"message":"Unrecognized request argument supplied: top_z"}}',
            False,
        ),
        ({"session_id": "a"}, "500 X", '{"error":{"message":"unknown session_id"}}', False),
        ({"model": "a"}, "400 X", '{"error":{"message":"unknown session_id"}}', False),
        ({"session_id": "a"}, "400 X", '{"error":{"message":"session_id is missing its account"}}', False),
    ],
)
def test_session_fields_that_are_refused(content: object, answer: str, said: str, fires: bool) -> None:
    text = post(content, "<", f"< {said}", answer=answer)
    assert bool(lint(text, only=FIELD)) is fires


@pytest.mark.parametrize(
    ("keys", "changes"),
    [
        (["k", "k", "k"], 0),
        (["k", "l", "l"], 1),
        (["k", "l", "k"], 2),
        (["k", None, "k"], 0),
        (["k", None, "l"], 1),
        ([None, "k"], 0),
    ],
)
def test_prompt_cache_keys(keys: list[str | None], changes: int) -> None:
    said, texts = ["go"], []
    for number, key in enumerate(keys):
        texts.append(post(chat(*said) | ({"prompt_cache_key": key} if key else {})))
        said += [f"reply {number}", f"next {number}"]
    found = lint("\n".join(texts), only="prompt-cache-key-changes-within-conversation")
    assert len(found) == changes

"""Conversations told by their messages: rollouts stay apart, retries and model switches do not make new ones."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import conversation
from conformance.conversation import Conversations, answered, body_ids, prompt
from conformance.llm import FORMATS, Call, Reply

CHAT = FORMATS["chat-completions"]


def said(text: str, *calls: str) -> Reply:
    return Reply(CHAT, text=text, calls=[Call(name, "run", "{}") for name in calls], is_whole=True)


def message(role: str, text: str) -> dict:
    return {"role": role, "content": text}


class Agent:
    """One conversation, as a client leads it."""

    def __init__(self, first: str, session: str | None = None, system: str = "You are an agent.") -> None:
        self.messages = [message("system", system), message("user", first)]
        self.session = session
        self.turn = 0

    def ask(
        self, index: Conversations, reply: str | None, *, failed: bool = False, known: bool = True
    ) -> tuple[int, int]:
        asked = prompt({"messages": self.messages, "model": "m"})
        assert asked is not None
        answer = answered(asked, said(reply)) if reply and known and not failed else None
        found = index.place(asked, answer, session=self.session, failed=failed, is_retry=False)
        if not failed:
            self.turn += 1
            self.messages = [
                *self.messages,
                message("assistant", reply or "?"),
                message("user", f"go on {self.turn}"),
            ]
        return found


@given(order=st.randoms(use_true_random=False), with_ids=st.booleans(), same=st.booleans())
def test_rollouts_of_one_prompt_stay_apart(order: random.Random, with_ids: bool, same: bool) -> None:
    # `same`: the model answers each alike, so that only the ids, if any, tell them apart.
    index = Conversations()
    agents = [Agent("fix the bug", f"id-{n}" if with_ids else None) for n in range(8)]
    found: dict[int, list[tuple[int, int]]] = {n: [] for n in range(8)}
    for turn in range(5):
        for n in order.sample(range(8), 8):
            found[n].append(agents[n].ask(index, f"answer {turn}" if same else f"answer {turn} of {n}"))
    numbers = [{number for number, _ in places} for places in found.values()]
    if not same or with_ids:
        assert all(len(each) == 1 for each in numbers)
        assert len(set.union(*numbers)) == 8
    # Where nothing tells them apart any assignment will do, as long as there are eight.
    assert len({number for each in numbers for number in each}) == 8
    assert all([turn for _, turn in places] == [1, 2, 3, 4, 5] for places in found.values())


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.booleans())
def test_interleaved_conversations(order: list[str], known: bool) -> None:
    index = Conversations()
    agents = {name: Agent(f"task {name}") for name in "abc"}
    found: dict[str, set[int]] = {}
    for name in order:
        number, turn = agents[name].ask(index, f"reply to {name}", known=known)
        found.setdefault(name, set()).add(number)
        assert turn == agents[name].turn
    assert all(len(numbers) == 1 for numbers in found.values())
    assert len(set.union(*found.values())) == len(found)


@pytest.mark.parametrize("session", [None, "id-1"])
@pytest.mark.parametrize("turns", [0, 2])
def test_a_retry_is_no_new_conversation(session: str | None, turns: int) -> None:
    index, agent = Conversations(), Agent("hello", session)
    before = [agent.ask(index, "yes") for _ in range(turns)]
    places = [
        agent.ask(index, None, failed=True),
        agent.ask(index, None, failed=True),
        agent.ask(index, "done"),
    ]
    assert len({*places}) == 1
    assert places[0] == (1, turns + 1)
    assert agent.ask(index, "more") == (1, turns + 2)
    assert len({number for number, _ in before} | {1}) == 1


def test_the_same_prompt_after_an_answer_is_another_rollout() -> None:
    index = Conversations()
    assert [Agent("hi").ask(index, "yes") for _ in range(3)] == [(1, 1), (2, 1), (3, 1)]


def test_the_same_prompt_in_another_session_is_no_retry() -> None:
    index = Conversations()
    assert Agent("hi", "a").ask(index, None, failed=True) == (1, 1)
    assert Agent("hi", "b").ask(index, "yes") == (2, 1)


def test_a_retry_that_the_client_announces() -> None:
    index, asked = Conversations(), prompt({"messages": [message("user", "hi")]})
    assert asked is not None
    first = index.place(asked, None, session=None, failed=False, is_retry=False)
    assert index.place(asked, None, session=None, failed=False, is_retry=True) == first


def test_another_model_goes_on_with_the_conversation() -> None:
    index = Conversations()
    one = prompt({"model": "a", "messages": [message("user", "hi")]})
    two = prompt(
        {
            "model": "b",
            "messages": [message("user", "hi"), message("assistant", "yes"), message("user", "go")],
        }
    )
    assert one
    assert two
    first = index.place(one, answered(one, said("yes")), session=None, failed=False, is_retry=False)
    assert index.place(two, None, session=None, failed=False, is_retry=False) == (first[0], 2)


def test_a_reply_that_the_client_changed_counts_if_only_one_can_be_meant() -> None:
    index = Conversations()
    one = prompt({"messages": [message("user", "hi")]})
    two = prompt({"messages": [message("user", "hi"), message("assistant", "cut"), message("user", "go")]})
    assert one
    assert two
    index.place(
        one, answered(one, said("<think>long</think>cut")), session=None, failed=False, is_retry=False
    )
    assert index.place(two, None, session=None, failed=False, is_retry=False) == (1, 2)

    index = Conversations()
    for _ in range(2):
        index.place(
            one, answered(one, said("<think>long</think>cut")), session=None, failed=False, is_retry=False
        )
    assert index.place(two, None, session=None, failed=False, is_retry=False) == (3, 1)


def test_a_second_continuation_is_a_branch() -> None:
    index, agent = Conversations(), Agent("hi")
    agent.ask(index, "yes")
    other = Agent("hi")
    other.messages = [*agent.messages[:-1], message("user", "another way")]
    assert agent.ask(index, "one") == (1, 2)
    assert other.ask(index, "two") == (2, 1)


ALIKE = [
    {
        "messages": [
            message("system", "S"),
            message("user", "go"),
            {
                "role": "assistant",
                "content": "ok",
                "tool_calls": [{"id": "c1", "function": {"name": "run", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "out"},
        ]
    },
    {
        "instructions": "S",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
            {"type": "reasoning", "encrypted_content": "x"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "ok "}]},
            {"type": "function_call", "call_id": "c1", "id": "fc_1", "name": "run", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "out"},
        ],
    },
    {
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "go", "cache_control": {"type": "ephemeral"}}],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "text", "text": "ok"},
                    {"type": "tool_use", "id": "c1", "name": "run", "input": {}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "out"}]},
        ],
    },
]


@pytest.mark.parametrize("document", ALIKE, ids=["chat", "responses", "anthropic"])
def test_apis_say_the_same_thing(document: dict) -> None:
    found = prompt(document)
    assert found == prompt(ALIKE[0])
    assert found is not None
    assert (found.kinds, found.is_mid_turn, found.names_calls) == ("uacr", True, False)
    assert found.setup == conversation._digest("S")


def test_gemini_calls_have_no_ids() -> None:
    found = prompt(
        {
            "systemInstruction": {"parts": [{"text": "S"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "go"}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"functionCall": {"name": "run", "id": "made-up"}},
                    ],
                },
                {"role": "user", "parts": [{"functionResponse": {"name": "run"}}]},
            ],
        }
    )
    assert found is not None
    assert (found.kinds, found.is_mid_turn) == ("ucr", True)
    first = prompt(
        {
            "systemInstruction": {"parts": [{"text": "S"}]},
            "contents": [{"role": "user", "parts": [{"text": "go"}]}],
        }
    )
    assert first is not None
    assert answered(first, said("", "another-id")) == found.chain[1]


def test_system_prompts_are_remembered_if_they_are_not_too_long() -> None:
    conversation._remembered.cache_clear()
    for length in (conversation.LONGEST, conversation.LONGEST + 1):
        asked = {"messages": [message("system", "x" * length), message("user", "go")]}
        for _ in range(2):
            found = prompt(asked)
            assert found is not None
            assert found.setup == conversation._digest("x" * length)
    assert (conversation._remembered.cache_info().hits, conversation._remembered.cache_info().misses) == (
        1,
        1,
    )


def test_pieces_are_remembered_if_they_are_not_too_long() -> None:
    limit = conversation.LONGEST_LINK
    conversation._known_link.cache_clear()
    asked = {
        "messages": [message("user", "x" * limit), message("user", "y" * (limit + 1)), message("user", "z")]
    }
    assert prompt(asked) == prompt(asked)
    assert (conversation._known_link.cache_info().hits, conversation._known_link.cache_info().misses) == (
        2,
        2,
    )
    assert prompt(asked, b"elsewhere") != prompt(asked)
    misses = conversation._known_link.cache_info().misses
    prompt({"messages": [message("user", "x")]}, b"h" * limit)
    assert conversation._known_link.cache_info().misses == misses


def test_a_string_is_one_message() -> None:
    assert prompt({"input": "go"}) == prompt({"messages": [message("user", " go\n")]})


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "x",
        {},
        {"messages": []},
        {"messages": {}},
        {"messages": 1},
        {"messages": [None, 1, []]},
        {"input": [[]]},
    ],
)
def test_what_is_no_history(document: object) -> None:
    assert prompt(document) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["user", "tool", "text", "tool_use"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "parts",
                    "id",
                    "tool_calls",
                    "function",
                    "call_id",
                    "functionCall",
                    "system",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200)
@given(st.sampled_from(["messages", "input", "contents"]), JSON, JSON)
def test_no_content_is_too_strange(member: str, history: object, system: object) -> None:
    document = {member: history, "system": system, "metadata": history}
    prompt(document)
    list(body_ids(document))


@pytest.mark.parametrize("reply", [None, Reply(CHAT, text="hi"), Reply(CHAT, is_whole=True)])
def test_replies_that_are_not_known(reply: Reply | None) -> None:
    asked = prompt({"input": "go"})
    assert asked is not None
    assert answered(asked, reply) is None


def test_ids_in_the_content() -> None:
    user = json.dumps({"device_id": "d", "session_id": "s-1"})
    assert list(
        body_ids({"metadata": {"session_id": "a", "user_id": user}, "session_id": "b", "conversation_id": {}})
    ) == [
        ("metadata.session_id", "a"),
        ("session_id", "b"),
        ("metadata.user_id", "s-1"),
    ]
    assert list(body_ids({"metadata": {"user_id": "user_ab_account__session_1f"}})) == [
        ("metadata.user_id", "1f")
    ]
    assert list(body_ids({"metadata": {"user_id": "{session"}})) == []
    assert list(body_ids({"metadata": {"user_id": "no session here"}, "user": "u"})) == []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "KEPT", 10)
    monkeypatch.setattr(conversation, "KEPT_ALIKE", 4)
    index = Conversations()
    first = Agent("first")
    first.ask(index, "yes")
    for n in range(50):
        Agent(f"task {n % 7}").ask(index, f"yes {n}")
    assert len(index._points) == 10
    assert sum(map(len, index._asked.values())) <= 10
    assert sum(map(len, index._answered.values())) <= 10
    assert first.ask(index, "again")[1] == 1, "too long ago"

"""What is known of the LLM APIs: endpoints, what a request asks for, what was answered."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance import llm
from conformance.message import Exchange, Fields, Request, Response

SSE = b"text/event-stream"

type Document = dict[str, Any] | list[Any]


def request(target: str, asked: Document | None = None, method: bytes = b"POST") -> Request:
    body = None if asked is None else json.dumps(asked).encode()
    return Request(method=method, target=target.encode(), fields=Fields(), body=body)


def answered(target: str, body: bytes, media: bytes = b"application/json", **facts: Any) -> Exchange:
    response = Response(code=b"200", fields=Fields([(b"Content-Type", media)]), body=body, **facts)
    return Exchange(request=request(target, {}), response=response)


def streamed(target: str, *documents: Document | str, named: bool = False, **facts: Any) -> Exchange:
    lines = []
    for document in documents:
        if named and isinstance(document, dict):
            lines.append(f"event: {document['type']}")
        lines.append(f"data: {document if isinstance(document, str) else json.dumps(document)}\n")
    return answered(target, "\n".join([*lines, ""]).encode(), b"text/event-stream", **facts)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/v1/chat/completions", "chat-completions"),
        ("/sessions/0f1e/v1/chat/completions?x=1", "chat-completions"),
        ("/openai/deployments/d/chat/completions?api-version=2024-10-21", "chat-completions"),
        ("/v1/completions", "completions"),
        ("/v1/responses", "responses"),
        ("/v1/messages?beta=true", "messages"),
        ("/v1/messages/count_tokens", "count-tokens"),
        ("/model/anthropic.claude-v1/invoke", "messages-bedrock"),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict", "messages-vertex"),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "generate-content"),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", "stream-generate-content"),
        ("/generate", "generate"),
        ("/v1/models", "models"),
        ("/v1/responses/resp_1", None),
        ("/messages/42", None),
        ("*", None),
    ],
)
def test_endpoints(target: str, name: str | None) -> None:
    found = llm.endpoint(request(target))
    assert (found.name if found else None) == name


def test_every_format_is_of_an_endpoint_that_runs_a_model() -> None:
    running = {known.name for known in llm.ENDPOINTS if known.completes}
    assert llm.FORMATS.keys() <= running


@pytest.mark.parametrize(
    ("target", "asked", "wants"),
    [
        ("/v1/chat/completions", {"stream": True}, True),
        ("/v1/chat/completions", {"stream": False}, False),
        ("/v1/chat/completions", {"stream": None}, False),
        ("/v1/chat/completions", {}, False),
        ("/v1/chat/completions", {"stream": "true"}, None),
        ("/v1/chat/completions", None, None),
        ("/v1/chat/completions", [], None),
        ("/v1/models", {"stream": True}, None),
        ("/model/anthropic.claude/invoke-with-response-stream", {}, None),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", {}, True),
        ("/v1beta/models/g:streamGenerateContent?key=k&alt=sse", {}, True),
        ("/v1beta/models/g:streamGenerateContent", {}, False),
        ("/v1beta/models/g:generateContent", None, False),
    ],
)
def test_what_asks_for_a_stream(target: str, asked: Document | None, wants: bool | None) -> None:
    assert llm.wants_stream(request(target, asked)) is wants


@pytest.mark.parametrize(
    ("target", "asked", "model"),
    [
        ("/v1/chat/completions", {"model": "m"}, "m"),
        ("/v1/chat/completions", {"model": ["m"]}, None),
        ("/v1beta/models/gemini-2.5-flash:generateContent", {}, "gemini-2.5-flash"),
        ("/model/anthropic.claude-v1/invoke", {}, "anthropic.claude-v1"),
        ("/v1/chat/completions", None, None),
    ],
)
def test_the_model_that_is_asked_for(target: str, asked: Document | None, model: str | None) -> None:
    assert llm.wanted_model(request(target, asked)) == model


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"error": {"message": "no", "type": "t"}}, "no"),
        ({"error": {"type": "t"}}, "t"),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ([{"error": {"message": "no", "code": 400}}], "no"),
        ({"type": "error", "error": {"message": "no"}}, "no"),
        ({"type": "error", "message": "no", "code": None}, "no"),
        ({"object": "error", "message": "no"}, "no"),
        ({"error": {"x": 1}}, "an error without a message"),
        ({"error": None, "choices": []}, None),
        ({"error": {}}, None),
        ({"object": "response", "status": "failed", "error": {"message": "no"}}, None),
        ({"jsonrpc": "2.0", "id": 1, "error": {"message": "no"}}, None),
        ([], None),
        ("error", None),
        (None, None),
    ],
)
def test_what_an_error_is(said: Any, error: str | None) -> None:
    assert llm.error_in(said) == error


CHUNK = {
    "id": "c",
    "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}],
}


def delta(finish: str | None = None, **members: Any) -> Document:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def test_a_chat_completion() -> None:
    message = {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    whole = {
        "model": "m",
        "choices": [{"message": message, "finish_reason": "tool_calls"}],
        "usage": {"total_tokens": 3},
    }
    found = llm.reply(answered("/v1/chat/completions", json.dumps(whole).encode()))
    assert found is not None
    assert (found.text, found.model, found.finish) == ("Hi", "m", {(0,): "tool_calls"})
    assert (found.has_usage, found.speaks, found.error, found.is_whole) == (True, True, None, True)
    assert found.calls == [llm.Call("1", "f", '{"a":1}')]


def test_a_chat_completion_in_pieces() -> None:
    found = llm.reply(
        streamed(
            "/v1/chat/completions",
            CHUNK,
            delta(content="H"),
            delta(content="i"),
            delta(tool_calls=[{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
            delta(tool_calls=[{"index": 1, "id": "2", "function": {"name": "g", "arguments": "{}"}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]),
            delta("tool_calls"),
            {"choices": [], "usage": {"total_tokens": 3}},
            "[DONE]",
        )
    )
    assert found is not None
    assert (found.text, found.model, found.finish, found.has_usage) == ("Hi", "m", {(0,): "tool_calls"}, True)
    assert found.calls == [llm.Call("1", "f", '{"a":1}'), llm.Call("2", "g", "{}")]
    assert found.is_whole


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    found = llm.reply(
        streamed(
            "/v1/chat/completions",
            delta(tool_calls=[{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]),
            delta(tool_calls=[{"index": 0, "id": "2", "function": {"name": "f", "arguments": "{}"}}]),
            delta(tool_calls=[{"index": 0, "id": "2", "function": {"arguments": ""}}]),
        )
    )
    assert found is not None
    assert [call.arguments for call in found.calls] == ["{}", "{}"]


def test_the_text_is_the_first_choices() -> None:
    choices = [
        {"index": n, "delta": {"content": str(n)}, "finish_reason": "stop" if n else None} for n in (0, 1)
    ]
    found = llm.reply(streamed("/v1/chat/completions", {"choices": choices}))
    assert found is not None
    assert found.text == "0"
    assert found.finish == {(0,): "", (1,): "stop"}


def test_messages_in_pieces() -> None:
    found = llm.reply(
        streamed(
            "/v1/messages",
            {"type": "message_start", "message": {"model": "claude", "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "content_block_start",
                "index": 1,
                "content_block": {"type": "tool_use", "id": "1", "name": "f", "input": {}},
            },
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": '{"a"'},
            },
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": ":1}"},
            },
            {"type": "content_block_stop", "index": 1},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
            named=True,
        )
    )
    assert found is not None
    assert (found.text, found.model, list(found.finish.values())) == ("Hi", "claude", ["tool_use"])
    assert [(call.id, call.name, call.arguments) for call in found.calls] == [("1", "f", '{"a":1}')]


def test_responses_in_pieces() -> None:
    item = {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a":1}'}
    found = llm.reply(
        streamed(
            "/v1/responses",
            {"type": "response.created", "response": {"model": "m", "output": []}},
            {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"},
            {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"a":1}'},
            {"type": "response.output_item.done", "output_index": 1, "item": item},
            {"type": "response.completed", "response": {"status": "completed", "usage": {"total_tokens": 3}}},
            named=True,
        )
    )
    assert found is not None
    assert (found.text, found.model, found.has_usage) == ("Hi", "m", True)
    assert found.calls == [llm.Call("1", "f", '{"a":1}')]
    assert set(found.finish.values()) == {"response.completed"}


@pytest.mark.parametrize("is_stream", [True, False])
def test_gemini(is_stream: bool) -> None:
    pieces: list[Document] = [
        {"candidates": [{"content": {"parts": [{"text": "H"}]}}], "modelVersion": "g"},
        {
            "candidates": [
                {
                    "content": {"parts": [{"text": "i"}, {"functionCall": {"name": "f", "args": {"a": 1}}}]},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": {"totalTokenCount": 3},
        },
    ]
    target = "/v1beta/models/g:streamGenerateContent"
    if is_stream:
        found = llm.reply(streamed(f"{target}?alt=sse", *pieces))
    else:
        found = llm.reply(answered(target, json.dumps(pieces).encode()))
    assert found is not None
    assert (found.text, found.model, found.finish, found.has_usage) == ("Hi", "g", {(0,): "STOP"}, True)
    assert found.calls == [llm.Call(None, "f", {"a": 1})]


@pytest.mark.parametrize(
    "exchange",
    [
        answered("/v1/embeddings", b'{"data":[]}'),
        answered("/v1/chat/completions", b'{"object":"list","data":[]}'),
        answered("/model/amazon.titan-text/invoke", b'{"results":[{"outputText":""}]}'),
        answered("/v1/chat/completions", b"not JSON"),
        answered("/v1/chat/completions", b'{"choices":[]}', partial=True),
        streamed("/v1/messages", {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}),
        Exchange(request=request("/v1/chat/completions", {})),
    ],
    ids=range(7),
)
def test_no_answer_of_a_model(exchange: Exchange) -> None:
    assert llm.reply(exchange) is None


@pytest.mark.parametrize(
    ("facts", "error", "is_over"),
    [
        ({}, None, True),
        ({"partial": True}, None, False),
        ({"verbatim": False}, None, False),
        ({}, "Client disconnected.", False),
    ],
)
def test_whether_the_end_is_the_servers(facts: dict[str, Any], error: str | None, is_over: bool) -> None:
    exchange = streamed("/v1/chat/completions", CHUNK, **facts)
    assert llm.is_over(Exchange(request=exchange.request, response=exchange.response, error=error)) is is_over


def test_a_content_length_that_was_not_reached_is_no_end() -> None:
    fields = Fields([(b"Content-Type", b"text/event-stream"), (b"Content-Length", b"100")])
    response = Response(code=b"200", fields=fields, body=b"data: {}\n\n")
    assert not llm.is_over(Exchange(request=request("/v1/chat/completions", {}), response=response))


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
NAMES = st.sampled_from(
    ["choices", "delta", "message", "index", "tool_calls", "function", "arguments", "id", "name", "type", "content", "text",
     "error", "usage", "model", "output", "item", "candidates", "parts", "finish_reason", "response", "stop_reason"]
)  # fmt: skip
HOSTILE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TARGETS = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/completions",
    "/models/g:generateContent",
]


@given(st.sampled_from(TARGETS), st.lists(HOSTILE, max_size=4), st.booleans())
def test_whatever_is_said_can_be_read(target: str, said: list[Any], is_stream: bool) -> None:
    if is_stream:
        llm.reply(streamed(target, *[json.dumps(one) for one in said]))
    else:
        llm.reply(answered(target, json.dumps(said[0] if said else {}).encode()))


PIECES = (
    '{"a": 1}',
    '{"a": 1',
    '"b": 2}',
    '{"c": [1',
    "2]}",
    "[1",
    "2]",
    "1, 2",
    "1",
    "",
    " ",
    "[DONE]",
    '"',
    "NaN",
    "é",
    '{"a": 1, "a": 2}',
    '"\\ud83d"',
    '"\x01"',
    "\ufeff{}",
    "1e999",
    "1" * 5000,
    "[" * 500 + "]" * 500,
    "[" * 100_000 + "]" * 100_000,
)


@given(st.lists(st.sampled_from(PIECES), max_size=6))
@example(["1, 2", "[3", "4]"])
@example(['{"a": 1}', '{"a": 1}', "[DONE]"])
def test_events_say_what_their_data_says(data: list[str]) -> None:
    exchange = answered("/v1/chat/completions", "".join(f"data: {one}\n\n" for one in data).encode(), SSE)
    assert exchange.response is not None
    pieces = llm.pieces(exchange.response)
    assert pieces is not None
    assert [piece.event.data.decode() for piece in pieces] == data
    for piece, one in zip(pieces, data, strict=True):
        try:
            said = json.loads(one, parse_constant=lambda name: json.loads(""))
        except json.JSONDecodeError:
            assert (piece.is_json, piece.said, piece.is_done) == (False, None, one == "[DONE]")
        except (ValueError, RecursionError):  # it may be JSON
            assert (piece.is_json, piece.said, piece.is_done) == (None, None, False)
        else:
            assert (piece.is_json, piece.said) == (True, said)


@pytest.mark.parametrize("data", ["1" * 5000, "[" * 100_000 + "]" * 100_000])
def test_a_stream_with_an_event_that_cannot_be_read_is_not_known(data: str) -> None:
    exchange = streamed("/v1/chat/completions", {"choices": []}, data, "[DONE]")
    assert exchange.response is not None
    assert list(llm.limits(exchange.response)) == []  # nobody has asked
    assert llm.reply(exchange) is None
    assert list(llm.limits(exchange.response)) == ["JSON that nests too deep, or holds too long a number"]

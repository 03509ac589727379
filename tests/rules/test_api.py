"""What docstring examples cannot show: other APIs' answers, paths that only look wrong, policies, hostile answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response
from conformance.policy import Api, Policy
from conformance.rule import load as load_rules
from conformance.settings import load

RULES = load_rules()
TOPIC = {name: rule for name, rule in RULES.items() if rule.topic == "api"}

CHAT = "/v1/chat/completions"
JSON = (("Content-Type", "application/json"),)
type Lines = tuple[tuple[str, str], ...]


def exchange(
    target: str = CHAT,
    asked: Any = None,
    said: Any = None,
    *,
    status: int = 200,
    method: bytes = b"POST",
    request_lines: Lines = (),
    lines: Lines = JSON,
    upstream: str | None = None,
    **facts: Any,
) -> Exchange:
    def fields(some: Lines) -> Fields:
        return Fields([(name.encode(), value.encode()) for name, value in some])

    def content(of: Any) -> bytes | None:
        return of if of is None or isinstance(of, bytes) else json.dumps(of).encode()

    return Exchange(
        request=Request(
            method=method, target=target.encode(), fields=fields(request_lines), body=content(asked)
        ),
        response=Response(code=str(status).encode(), fields=fields(lines), body=content(said), **facts),
        upstream=upstream,
    )


def found(subject: Exchange, policy: Policy | None = None) -> set[str]:
    linter = Linter(TOPIC, policy, Settings(), "example")
    linter.take(subject)
    assert not linter.failures
    return {finding.rule for finding in linter.findings} - {"request-id-reused"}


# ---- requests


@pytest.mark.parametrize(
    ("target", "upstream", "host", "version", "is_missing"),
    [
        ("/v1/messages", "api.anthropic.com:443", "", "", True),
        ("/v1/messages", None, "api.anthropic.com", "", True),
        ("/v1/messages", None, "API.anthropic.com:443", "", True),
        ("/v1/messages", "127.0.0.1:4000", "api.anthropic.com", "", False),
        ("/v1/messages", "api.anthropic.com:443", "", "2023-06-01", False),
        ("/v1/messages/count_tokens", "api.anthropic.com:443", "", "", True),
        ("/v1/chat/completions", "api.anthropic.com:443", "", "", False),
        ("/v1/messages", "gateway.example:443", "", "", False),
        ("/", "api.anthropic.com:443", "", "", False),
    ],
)
def test_who_needs_a_version(
    target: str, upstream: str | None, host: str, version: str, is_missing: bool
) -> None:
    lines = (("Host", host), *([("anthropic-version", version)] if version else []))
    subject = exchange(target, {}, upstream=upstream, request_lines=lines)
    assert found(subject) == ({"api-version-missing"} if is_missing else set())


def test_the_profile_says_that_any_host_needs_a_version() -> None:
    policy = load(isolated=True, profile="anthropic").settings.policy
    subject = exchange("/v1/messages", {}, upstream="127.0.0.1:9", lines=(("request-id", "1"),))
    assert found(subject, policy) == {"api-version-missing"}
    assert found(subject) == set()


@pytest.mark.parametrize(
    ("target", "is_double"),
    [
        ("/v1/v1/chat/completions", True),
        ("/v1beta/v1beta/models/g:generateContent", True),
        ("/v1/chat/completions/chat/completions", True),
        ("/openai/v1/openai/v1/chat/completions", True),
        ("/v1//chat/completions", True),
        ("//v1/chat/completions", True),
        ("/v1/models/models/g:generateContent", True),
        ("/v1/https://api.example/v1/chat/completions", False),
        ("/v1/openai/v1/chat/completions", False),
        ("/sessions/7/7/chat/completions", False),
        ("/v1/chat/completions/", False),
        ("/v1/chat/completions?next=/v1/v1", False),
        ("/v1/v1/files", False),
        ("/", False),
        ("*", False),
    ],
)
def test_repeated_prefixes(target: str, is_double: bool) -> None:
    assert found(exchange(target)) == ({"duplicated-path-prefix"} if is_double else set())


@pytest.mark.parametrize(
    ("target", "said", "is_missing"),
    [
        ("/chat/completions", {"detail": "Not Found"}, True),
        ("/chat/completions", {"error": {"message": "Invalid URL (POST /chat/completions)"}}, True),
        ("/models", {"error": {"message": "Invalid URL (GET /models)"}}, True),
        ("/chat/completions", b"404 page not found", True),
        (
            "/chat/completions",
            {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}},
            False,
        ),
        ("/chat/completions", {"error": {"message": "no", "code": "model_not_found"}}, False),
        ("/v1/chat/completions", {"detail": "Not Found"}, False),
        ("/api/chat/completions", {"detail": "Not Found"}, False),
        ("/chat/completions", None, False),
    ],
)
def test_a_missing_prefix(target: str, said: Any, is_missing: bool) -> None:
    assert ("api-path-prefix-missing" in found(exchange(target, {}, said, status=404))) is is_missing


@pytest.mark.parametrize(
    ("target", "location", "status", "method", "is_slash"),
    [
        (CHAT, CHAT + "/", 307, b"POST", True),
        (CHAT + "/?a=b", "http://api.example" + CHAT + "?a=b", 308, b"POST", True),
        (CHAT, "https://other.example/v2/chat", 307, b"POST", False),
        (CHAT, CHAT, 307, b"POST", False),
        (CHAT, CHAT + "/", 201, b"POST", False),
        ("/docs", "/docs/", 307, b"GET", False),
        ("/mcp", "/mcp/", 307, b"DELETE", True),
    ],
)
def test_redirects(target: str, location: str, status: int, method: bytes, is_slash: bool) -> None:
    subject = exchange(target, status=status, method=method, lines=(("Location", location),))
    assert found(subject) == ({"trailing-slash-redirect"} if is_slash else set())


@pytest.mark.parametrize(
    ("method", "target", "status", "fires"),
    [
        (b"GET", CHAT, 404, True),
        (b"PUT", "/v1/messages", 405, True),
        (b"GET", CHAT, 200, False),
        (b"OPTIONS", CHAT, 405, False),
        (b"HEAD", CHAT, 405, False),
        (b"GET", "/v1/responses", 426, False),
        (b"PUT", "/generate", 500, False),
        (b"GET", "/v1/realtime", 403, False),
    ],
)
def test_methods(method: bytes, target: str, status: int, fires: bool) -> None:
    assert found(exchange(target, method=method, status=status)) == (
        {"completion-not-posted"} if fires else set()
    )


@pytest.mark.parametrize(
    ("flag", "fires"),
    [("true", True), (1, True), (0, True), ([], True), (None, False), (True, False), (False, False)],
)
def test_the_stream_flag(flag: Any, fires: bool) -> None:
    assert found(exchange(asked={"stream": flag})) == ({"stream-flag-not-boolean"} if fires else set())
    assert found(exchange("/mcp", asked={"stream": flag})) == set()


# ---- errors


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "no"}}),
        (CHAT, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "no"}}),
        ("/login/oauth/access_token", {"error": "authorization_pending"}),
        (
            "/v1/responses",
            {"object": "response", "status": "failed", "error": {"message": "no"}, "output": []},
        ),
        (
            "/v1/responses",
            {"object": "response", "status": "completed", "error": None, "output": [{"type": "x", "y": 1}]},
        ),
    ],
)
def test_errors_that_belong_in_a_200(target: str, said: Any) -> None:
    assert "error-object-in-200" not in found(exchange(target, {}, said))


@pytest.mark.parametrize(
    ("said", "media", "fires"),
    [
        ({"error": {"message": "no"}}, "application/json", False),
        ([{"error": {"message": "no", "code": 400}}], "application/json", False),
        ({"type": "error", "error": {"type": "t", "message": "no"}}, "application/json", False),
        ({"object": "error", "message": "no"}, "application/json", False),
        ({"message": "no"}, "application/json", False),
        ({"error": {"message": "no"}}, "text/plain", False),
        ({"title": "no"}, "application/problem+json", False),
        (b'data: {"error":{"message":"no"}}\n\n', "application/json", False),
        ({"error": "Unauthorized"}, "application/json", True),
        ({"error": {"message": ""}}, "application/json", True),
        ({"detail": "no"}, "application/json", True),
        ([], "application/json", True),
        (b"", "application/json", True),
        (b"<html>", "text/html", True),
        (b"{", "application/json", True),
        (None, "application/json", False),
    ],
)
def test_what_sdks_can_read(said: Any, media: str, fires: bool) -> None:
    subject = exchange(CHAT, {}, said, status=500, lines=(("Content-Type", media),))
    assert found(subject) == ({"error-body-not-api-schema"} if fires else set())
    assert found(exchange("/login", {}, said, status=500, lines=(("Content-Type", media),))) == set()


def test_an_error_whose_content_is_cut_says_nothing() -> None:
    assert found(exchange(CHAT, {}, b"<ht", status=500, partial=True)) == set()
    short = (*JSON, ("Content-Length", "100"))
    assert found(exchange(CHAT, {}, b'{"error"', status=500, lines=short)) == set()


@pytest.mark.parametrize(
    ("message", "fires"),
    [
        ("Unrecognized request argument supplied: session_id", True),
        ("Unknown parameter: 'session_id'.", True),
        ("Unsupported parameter: 'session_id' is not supported with this model.", True),
        ("session_id: Extra inputs are not permitted", True),
        ('Invalid JSON payload received. Unknown name "session_id": Cannot find field.', True),
        ("property 'session_id' is unsupported", True),
        ("got an unexpected keyword argument 'session_id'", True),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'session_id')}]", False),
        ("Unknown parameter: 'other'.", False),
        ("'messages' is a required property", False),
        ("session_id is too long", False),
    ],
)
def test_fields_that_are_refused(message: str, fires: bool) -> None:
    subject = exchange(CHAT, {"messages": [], "session_id": "1"}, {"error": {"message": message}}, status=400)
    assert found(subject) == ({"body-field-rejected-by-upstream"} if fires else set())


def test_pydantics_own_words_for_a_refused_field() -> None:
    detail = [
        {"type": "extra_forbidden", "loc": ["body", "session_id"], "msg": "Extra inputs are not permitted"}
    ]
    subject = exchange(CHAT, {"session_id": "1"}, {"detail": detail, "message": "no"}, status=422)
    assert found(subject) == {"body-field-rejected-by-upstream"}


# ---- what the model answered


def choice(finish: str | None = "stop", **message: Any) -> Any:
    return {
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
    }


@pytest.mark.parametrize(
    ("target", "said", "rules"),
    [
        (CHAT, choice(content="Hi"), set()),
        (CHAT, choice(content=None), {"empty-completion"}),
        (CHAT, choice(content="", refusal=None, annotations=[]), {"empty-completion"}),
        (CHAT, choice("length", content=""), set()),
        (CHAT, choice("content_filter", content=None), set()),
        (CHAT, choice(content=None, reasoning_content="Hm"), set()),
        (CHAT, choice(content=None, refusal="No."), set()),
        (CHAT, choice(content=None, audio={"id": "a", "data": "x"}), set()),
        (CHAT, choice(None, content="Hi"), {"finish-reason-missing"}),
        (CHAT, choice("tool_calls", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}"}}]), set()),
        (CHAT, choice("tool_calls", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": ""}}]), set()),
        (CHAT, choice("tool_calls", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}{}"}}]),
         {"tool-arguments-not-json"}),
        (CHAT, choice("length", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": '{"a'}}]),
         {"tool-arguments-not-json"}),
        ("/v1/completions", {"choices": [{"text": "", "finish_reason": "stop"}]}, {"empty-completion"}),
        ("/v1/completions", {"choices": [{"text": "x", "finish_reason": "stop"}]}, set()),
        ("/v1/messages", {"type": "message", "content": [], "stop_reason": "end_turn"}, {"empty-completion"}),
        ("/v1/messages", {"type": "message", "content": [], "stop_reason": "refusal"}, set()),
        ("/v1/messages", {"type": "message", "content": [{"type": "text", "text": ""}], "stop_reason": "end_turn"},
         {"empty-completion"}),
        ("/v1/messages",
         {"type": "message", "content": [{"type": "tool_use", "name": "f", "input": {}}], "stop_reason": "tool_use"},
         set()),
        ("/v1/messages", {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": None},
         {"finish-reason-missing"}),
        ("/v1/responses", {"object": "response", "status": "completed", "output": []}, {"empty-completion"}),
        ("/v1/responses", {"object": "response", "status": "incomplete", "output": []}, set()),
        ("/v1/responses", {"object": "response", "status": "queued", "output": []}, set()),
        ("/v1/responses",
         {"status": "completed", "output": [{"type": "custom_tool_call", "name": "f", "input": "not JSON"}]},
         set()),
        ("/models/g:generateContent", {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]},
         {"empty-completion"}),
        ("/models/g:generateContent", {"promptFeedback": {"blockReason": "SAFETY"}}, set()),
        ("/models/g:generateContent", {"candidates": [{"finishReason": "MAX_TOKENS"}]}, set()),
        ("/model/amazon.titan/invoke", {"results": []}, set()),
        (CHAT, {"object": "list", "data": []}, set()),
        ("/v1/embeddings", {"data": []}, set()),
    ],
)  # fmt: skip
def test_answers(target: str, said: Any, rules: set[str]) -> None:
    assert found(exchange(target, {}, said)) == rules


STREAM = (("Content-Type", "text/event-stream"),)


def test_a_stream_that_is_not_whole_is_not_judged_by_what_it_lacks() -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    content = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n'
    assert found(exchange(CHAT, asked, content, lines=STREAM, partial=True)) == set()
    assert found(exchange(CHAT, asked, content, lines=STREAM)) == {"finish-reason-missing", "usage-missing"}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": "true"}, []])
def test_usage_is_missed_only_where_it_was_asked_for(options: Any) -> None:
    content = (
        b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    asked = {"stream": True, "stream_options": options}
    assert found(exchange(CHAT, asked, content, lines=STREAM)) == set()


@pytest.mark.parametrize(
    ("wanted", "served", "differs"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("openai/gpt-4o", "gpt-4o", False),
        ("gpt-4o", "GPT-4o", False),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", False),
        ("claude-sonnet-4-5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", False),
        ("gemini-2.5-flash", "models/gemini-2.5-flash-preview-05-20", False),
        ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1", False),
        ("openrouter/auto", "anthropic/claude-sonnet-4.5", False),
        ("gpt-4o", "gpt-4o-mini", True),
        ("gpt-4o", "gpt-4.1", True),
        ("m", "fake-m", True),
        ("qwen", "qwen-real", True),
    ],
)
def test_names_of_models(wanted: str, served: str, differs: bool) -> None:
    subject = exchange(CHAT, {"model": wanted}, {**choice(content="Hi"), "model": served})
    assert found(subject) == ({"served-model-differs"} if differs else set())


# ---- response headers


def test_request_ids_are_due_where_the_policy_names_some() -> None:
    subject = exchange(CHAT, {}, choice(content="Hi"))
    policy = Policy(api=Api(request_ids=("X-Request-Id",)))
    assert found(subject) == set()
    assert found(subject, policy) == {"request-id-missing"}
    assert found(exchange("/health", {}, {}), policy) == set()
    assert (
        found(exchange(CHAT, {}, choice(content="Hi"), lines=(*JSON, ("x-request-id", "1"))), policy) == set()
    )


@pytest.mark.parametrize(
    ("name", "value", "fires"),
    [
        ("x-ratelimit-limit-requests", "500", False),
        ("x-ratelimit-remaining-tokens", "-1", False),
        ("x-ratelimit-limit", "unlimited", False),
        ("ratelimit-limit", "100, 100;w=60", False),
        ("ratelimit-reset", "30", False),
        ("x-ratelimit-reset-tokens", "6m0s", False),
        ("x-ratelimit-reset-tokens", "1.5s", False),
        ("x-ratelimit-reset-requests", "1h2m3.004s", False),
        ("x-ratelimit-reset", "1795144455", False),
        ("x-ratelimit-reset", "Fri, 20 Nov 2026 03:14:15 GMT", False),
        ("anthropic-ratelimit-tokens-reset", "2026-11-20T03:14:15.123Z", False),
        ("anthropic-ratelimit-requests-reset", "2026-11-20T03:14:15+00:00", False),
        ("x-ratelimit-remaining-requests", "None", False),
        ("x-ratelimit-remaining-requests", "", False),
        ("x-ratelimit-remaining-requests", "499 requests", True),
        ("x-ratelimit-remaining-requests", "{'a': 1}", True),
        ("x-ratelimit-reset-tokens", "soon", True),
        ("x-ratelimit-reset-tokens", "1 minute", True),
        ("anthropic-ratelimit-tokens-reset", "20.11.2026", True),
        ("x-ratelimit-policy", "anything", False),
    ],
)
def test_rate_limits(name: str, value: str, fires: bool) -> None:
    assert found(exchange(lines=((name, value),))) == ({"rate-limit-header-malformed"} if fires else set())


def test_credentials_are_not_printed() -> None:
    key = "sk-ant-example-0123456789abcdef"
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(exchange(CHAT, {key: 1}, {"error": {"message": f"Unknown parameter: '{key}'"}}, status=400))
    linter.take(exchange(CHAT, {}, {"error": {"message": f"Incorrect API key provided: {key}"}}))
    linter.take(exchange(CHAT, {}, {"detail": key}, status=500))
    linter.take(
        exchange(f"/v1/v1/chat/completions?key={key}", {"model": key}, {**choice(content="Hi"), "model": "m"})
    )
    assert len(linter.findings) >= 4
    assert not [finding for finding in linter.findings if key in finding.why]


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "message", "error", "type", "content", "output", "finish_reason", "stream", "model",
                         "stream_options", "tool_calls", "function", "arguments", "candidates", "detail", "status"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.sampled_from([CHAT, "/v1/messages", "/v1/responses", "/models/g:generateContent", "/x"]),
    HOSTILE,
    HOSTILE,
    st.sampled_from([200, 400, 404, 422, 500]),
)
def test_no_content_breaks_a_rule(target: str, asked: Any, said: Any, status: int) -> None:
    found(exchange(target, asked, said, status=status))

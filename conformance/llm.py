"""What is known of the LLM APIs: which endpoint a request is for. Data, with sources.

Paths are matched by their end, because gateways put prefixes before them (``/sessions/ID/v1/chat/completions``,
``/openai/deployments/NAME/chat/completions``, ``/v1/projects/P/.../models/M:streamGenerateContent``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from conformance.message import Request


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of one API."""

    name: str
    api: str
    """``openai``, ``anthropic``, ``gemini``, ``sglang``, ``vllm``."""
    path: re.Pattern[bytes]
    methods: frozenset[bytes]
    completes: bool = False
    """It runs a model: each call costs, belongs to a conversation, and must not be cached."""


def _endpoint(name: str, api: str, path: bytes, *methods: bytes, completes: bool = False) -> Endpoint:
    return Endpoint(name, api, re.compile(path + rb"/?\Z"), frozenset(methods), completes)


ENDPOINTS: tuple[Endpoint, ...] = (
    _endpoint("chat-completions", "openai", rb"/chat/completions", b"POST", completes=True),
    _endpoint("count-tokens", "anthropic", rb"/messages/count_tokens", b"POST"),
    _endpoint("count-tokens-vertex", "anthropic", rb"/count-tokens:rawPredict", b"POST"),
    _endpoint("messages", "anthropic", rb"/v1/messages", b"POST", completes=True),
    _endpoint(
        "messages-vertex", "anthropic", rb"/models/[^/]+:(?:stream)?[rR]awPredict", b"POST", completes=True
    ),
    _endpoint(
        "messages-bedrock",
        "anthropic",
        rb"/model/[^/]+/invoke(?:-with-response-stream)?",
        b"POST",
        completes=True,
    ),
    _endpoint("responses", "openai", rb"/responses", b"POST", b"GET", completes=True),
    _endpoint("completions", "openai", rb"/v1/completions", b"POST", completes=True),
    _endpoint("embeddings", "openai", rb"/embeddings", b"POST"),
    _endpoint("realtime", "openai", rb"/realtime", b"GET", completes=True),
    _endpoint("models", "openai", rb"/v1/models(?:/[^/]+)?", b"GET"),
    _endpoint(
        "stream-generate-content", "gemini", rb"/models/[^/]+:streamGenerateContent", b"POST", completes=True
    ),
    _endpoint("generate-content", "gemini", rb"/models/[^/]+:generateContent", b"POST", completes=True),
    _endpoint("generate", "sglang", rb"/generate", b"POST", completes=True),
)
"""The first that matches is meant. Sources: the vendors' API references; sglang's http_server.py."""


def endpoint(request: Request) -> Endpoint | None:
    """The operation a request is for, whatever its method; None: not an LLM API's, as far as is known."""
    kept = request.__dict__
    if "_endpoint" not in kept:
        path = request.path
        kept["_endpoint"] = next((known for known in ENDPOINTS if known.path.search(path)), None)
    found: Endpoint | None = kept["_endpoint"]
    return found


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The messages of one API's WebSocket sessions, by their ``type``."""

    endpoint: str
    certain: re.Pattern[bytes]
    """Paths that can be no other application's."""
    asks: frozenset[str]
    """From the client: begins a response."""
    opens: str
    """From the server: the first event of a response."""
    within: tuple[str, ...]
    """How the types of the events begin that belong to a response that has been opened."""
    ends: frozenset[str]
    may_stand_alone: frozenset[str]
    """Of those that end a response: what may come instead of it."""
    errors: frozenset[str]
    error_ends: bool
    """An error is the end of the response it is about."""
    greets: str | None
    """The event that the server sends first, unasked."""
    lane: tuple[tuple[str, ...], ...]
    """Where an event says which of several concurrent responses it belongs to."""
    ask_lane: tuple[tuple[str, ...], ...]
    named: bool
    """The lane is the id of a response, which names one response for ever."""


DIALOGUES: tuple[Dialogue, ...] = (
    # OpenAI: Responses API reference, WebSocket events; openai/codex responses_websocket.rs; docs.x.ai too.
    Dialogue(
        endpoint="responses",
        certain=re.compile(rb"/(?:v1|codex)/responses/?\Z"),
        asks=frozenset({"response.create"}),
        opens="response.created",
        within=(
            "response.in_progress", "response.output_item.", "response.content_part.", "response.output_text.",
            "response.refusal.", "response.function_call_arguments.", "response.custom_tool_call_input.",
            "response.reasoning", "response.file_search_call.", "response.web_search_call.",
            "response.image_generation_call.", "response.code_interpreter_call", "response.mcp_",
        ),
        ends=frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"}),
        may_stand_alone=frozenset({"response.failed", "response.cancelled"}),
        errors=frozenset({"error"}),
        error_ends=True,
        greets=None,
        lane=(("stream_id",),),
        ask_lane=(("stream_id",),),
        named=False,
    ),
    # OpenAI: Realtime API reference, server events. Most errors leave the session and its response alone.
    Dialogue(
        endpoint="realtime",
        certain=re.compile(rb"/(?:v1|openai)/realtime/?\Z"),
        asks=frozenset({"response.create"}),
        opens="response.created",
        within=(
            "response.output_item.", "response.content_part.", "response.output_text.", "response.text.",
            "response.output_audio", "response.audio", "response.function_call_arguments.", "response.mcp_call",
        ),
        ends=frozenset({"response.done"}),
        may_stand_alone=frozenset(),
        errors=frozenset({"error"}),
        error_ends=False,
        greets="session.created",
        lane=(("response_id",), ("response", "id")),
        ask_lane=(),
        named=True,
    ),
)  # fmt: skip
"""The APIs whose WebSocket sessions are known."""

_BY_ENDPOINT = {known.endpoint: known for known in DIALOGUES}


def dialogue(request: Request) -> Dialogue | None:
    """What the messages of the session are that this request opens; None: not known."""
    found = endpoint(request)
    return None if found is None else _BY_ENDPOINT.get(found.name)

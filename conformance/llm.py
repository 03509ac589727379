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

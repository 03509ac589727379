"""Recordings like those that agents make, of any size: the same every time."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

from mitmproxy.http import Headers, HTTPFlow
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow, tutils

TURNS = 5
"""Requests of one conversation, which is sent on one connection."""
AGENT = (
    (b"Host", b"127.0.0.1:4000"),
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"gzip, deflate"),
    (b"Connection", b"keep-alive"),
    (b"Content-Type", b"application/json"),
    (b"User-Agent", b"OpenAI/Python 2.54.0"),
    (b"X-Stainless-Lang", b"python"),
    (b"X-Stainless-Package-Version", b"2.54.0"),
    (b"X-Stainless-OS", b"Linux"),
    (b"X-Stainless-Arch", b"x64"),
    (b"X-Stainless-Runtime", b"CPython"),
    (b"X-Stainless-Runtime-Version", b"3.12.1"),
    (b"Authorization", b"Bearer sk-xxxxxxxxxxxxxxxx"),
)
_GATEWAY = ((b"date", b"Fri, 20 Nov 2026 03:14:15 GMT"), (b"server", b"uvicorn"))


def write(path: Path, flows: int, *, streams: bool = False) -> Path:
    """A flow file of chat completions whose requests have about 22 kB; with ``streams`` answered by event streams."""
    with path.open("wb") as file:
        writer = FlowWriter(file)
        for number in range(flows):
            writer.add(_flow(number, streams=streams))
    return path


def asked(number: int, *, streams: bool) -> bytes:
    """The content of a request of about 22 kB: the turns of a conversation come one after the other."""
    conversation, turn = divmod(number, TURNS)
    messages = [{"role": "system", "content": "You are a coding agent. " + "rule text " * 1300}]
    for earlier in range(turn + 1):
        said = f"conversation {conversation} turn {earlier} " + "do the work please " * 150
        messages.append({"role": "user", "content": said})
        if earlier < turn:
            messages.append({"role": "assistant", "content": f"answer {conversation} {earlier}"})
    return json.dumps({"model": "m", "messages": messages, "stream": streams}).encode()


def _flow(number: int, *, streams: bool) -> HTTPFlow:
    conversation, turn = divmod(number, TURNS)
    body = asked(number, streams=streams)
    text = f"answer {conversation} {turn}"
    answer = b"".join(_events(number, text)) if streams else _answer(number, text)
    session = str(uuid.UUID(int=conversation)).encode()
    kind = b"text/event-stream" if streams else b"application/json"
    framing = (b"transfer-encoding", b"chunked") if streams else (b"content-length", b"%d" % len(answer))
    flow = tflow.tflow(
        req=tutils.treq(
            method=b"POST", path=b"/v1/chat/completions", host="127.0.0.1", port=4000, content=body,
            headers=Headers(
                [*AGENT, (b"x-litellm-session-id", session), (b"Content-Length", b"%d" % len(body))]
            ),
        ),
        resp=tutils.tresp(
            content=answer,
            headers=Headers(
                [*_GATEWAY, framing, (b"content-type", kind), (b"cache-control", b"no-store"),
                 (b"x-request-id", b"req_%d" % number)]
            ),
        ),
    )  # fmt: skip
    flow.client_conn.id = flow.server_conn.id = str(conversation)
    flow.client_conn.sni = None  # tflow says that every client uses TLS
    return flow


def _answer(number: int, text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return json.dumps(_completion(number, "chat.completion", [choice]) | {"usage": usage}).encode()


def _events(number: int, text: str) -> Iterator[bytes]:
    for at in range(50):
        choice = {"index": 0, "delta": {"content": text if not at else " word"}, "finish_reason": None}
        yield _event(number, choice)
    yield _event(number, {"index": 0, "delta": {}, "finish_reason": "stop"})
    yield b"data: [DONE]\n\n"


def _event(number: int, choice: dict[str, object]) -> bytes:
    return b"data: %s\n\n" % json.dumps(_completion(number, "chat.completion.chunk", [choice])).encode()


def _completion(number: int, kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": 1, "model": "m", "choices": choices}

import json
from dataclasses import replace

import pytest

from conformance import recording
from conformance.glance import counted, text
from conformance.message import Edit, Exchange
from conformance.policy import Session

FINDING = {
    "rule": "duplicate-server",
    "severity": "error",
    "part": "response",
    "field": "Server",
    "why": "two of them",
    "origin": "server",
    "fingerprint": "0",
}


def shown(transcript: str, findings=(), session: Session | None = None, conversation=None) -> str:
    items = recording.read("-", stdin=transcript.encode())
    return text(items, findings, session or Session(), conversation)


GET = "> GET /v1/models HTTP/1.1\n> Host: a\n>\n< HTTP/1.1 200 OK\n< Server: a\n"


def test_not_linted_is_not_clean() -> None:
    assert shown(GET, None).startswith("Not linted yet.")
    assert shown(GET, []).startswith("No findings.")


@pytest.mark.parametrize(
    ("severities", "said"),
    [
        (["error"], "1 error"),
        (["error", "note", "error"], "2 errors, 1 note"),
        (["warning", "warning"], "2 warnings"),
        ([], ""),
    ],
)
def test_counted(severities: list[str], said: str) -> None:
    assert counted({"severity": severity} for severity in severities) == said


def test_findings_come_with_norm_and_fix() -> None:
    found = shown(GET, [FINDING, {**FINDING, "rule": "from-another-version", "field": None}])
    assert "2 errors:" in found
    assert "error[duplicate-server]  response, Server, by the server\n    two of them\n" in found
    assert "RFC 9110" in found
    assert "fix: addon dedupe-headers" in found
    assert "error[from-another-version]  response, by the server" in found


def test_whose_it_is() -> None:
    policy = Session(deployments=("x-litellm-model-id",))
    ask = "@ upstream: 10.0.0.1:8000\n> POST /v1/messages HTTP/1.1\n> Host: a\n> X-Session-Id: s-1\n>\n"
    ask += '> {"model": "m", "messages": [{"role": "user", "content": "hi"}]}\n'
    found = shown(f"{ask}< HTTP/1.1 200 OK\n< X-Litellm-Model-Id: dep-7\n", [], policy, 3)
    for line in (
        "conversation: 3",
        "session:      s-1  (x-session-id)",
        "model:        m",
        "deployment:   dep-7",
        "upstream:     10.0.0.1:8000",
    ):
        assert f"{line}\n" in found


def test_a_stream_is_put_together() -> None:
    events = [
        {"type": "message_start", "message": {"model": "claude-x", "role": "assistant", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello, "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "world."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    lines = "".join(f"< event: {one['type']}\n< data: {json.dumps(one)}\n< \n" for one in events)
    ask = '> POST /v1/messages HTTP/1.1\n> Host: a\n>\n> {"model": "claude-x", "stream": true, "messages": []}\n'
    found = shown(f"{ask}< HTTP/1.1 200 OK\n< Content-Type: text/event-stream\n<\n{lines}")
    assert "== answer ==\nclaude-x (finish: end_turn" in found
    assert "    Hello, world.\n" in found


def test_calls_are_shown_and_secrets_are_not() -> None:
    arguments = '{"a": "sk-ant-api03-abcdefghijklmnop"}'
    call = {"id": "c", "type": "function", "function": {"name": "run", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": 0, "finish_reason": "tool_calls", "message": message}]
    answer = {"object": "chat.completion", "model": "m", "choices": choices}
    ask = '> POST /v1/chat/completions HTTP/1.1\n> Host: a\n>\n> {"model": "m", "messages": []}\n'
    found = shown(f"{ask}< HTTP/1.1 200 OK\n< Content-Type: application/json\n<\n< {json.dumps(answer)}\n")
    assert "call run(" in found
    assert "abcdefghijklmnop" not in found


def test_what_addons_changed_is_a_diff() -> None:
    (came,) = recording.parse(
        GET.replace("< Server: a", "< Server: a\n< Server: b\n< Set-Cookie: sid=verysecret")
    )
    (went,) = recording.parse(GET)
    assert isinstance(came, Exchange)
    assert isinstance(went, Exchange)
    edit = Edit("dedupe-headers", "response", "drop", "Server", ("b",), (), "one is enough")
    found = text([replace(went, request=came.request, received=came, edits=(edit,))], [], Session())
    assert "--- response as it came in\n+++ response as it was sent\n" in found
    assert "\n Server: a\n-Server: b\n" in found
    assert "dedupe-headers: drop Server\n    one is enough\n" in found
    assert "== changed by addons ==" in found
    assert "request as it came in" not in found
    assert "verysecret" not in found

"""What holds for any traffic: nothing makes a rule raise, nothing prints a credential, sound traffic is clean."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance import known, octets, secret
from conformance.finding import Look, Run
from conformance.lint import Linter, Settings
from conformance.message import (
    Evidence,
    Exchange,
    FieldLine,
    Fields,
    Frame,
    Octets,
    Request,
    Response,
    Stream,
)
from conformance.refusals import classify
from conformance.reports import FORMATS
from conformance.rule import ERROR
from conformance.rule import load as load_rules
from conformance.settings import load, profiles

RULES = load_rules()
POLICIES = {name: load(isolated=True, profile=name).settings.policy for name in profiles()}
quick = settings(
    max_examples=int(os.environ.get("HOPLINT_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Few enough for every run; HOPLINT_EXAMPLES=5000 is for a night."""


def lint(items: list[Exchange | Stream], profile: str = "generic") -> Linter:
    linter = Linter(RULES, POLICIES[profile], Settings(), "generated")
    for item in items:
        linter.take(item)
    linter.finish()
    return linter


def numbered(exchanges: list[Exchange]) -> list[Exchange]:
    return [replace(exchange, number=number) for number, exchange in enumerate(exchanges, 1)]


# ---- anything at all

FIELD_NAMES = sorted(
    {name.encode() for rule in RULES.values() for name in rule.fields}
    | {name.encode() for name in known.SINGLETONS | known.LISTS | known.HOP_BY_HOP | secret.FIELDS}
    | {b"X-Title", b"x_y", b"", b"bad name", b":authority", b"cookie"}
)
FRAGMENTS = [
    b"", b" ", b",", b";", b"=", b'"', b"\\", b":", b"\r", b"\n", b"\r\n ", b"\0", b"\t", b"\xff", b"(", b")", b"%0a",
    b"0", b"-1", b"99999999999999999999999", b"5", b"chunked", b"gzip", b"identity", b"close", b"keep-alive",
    b"upgrade",
    b"websocket", b"None", b"undefined", b"Bearer ", b"Basic ", b"sk-000000000000", b"${KEY}", b"application/json",
    b"text/event-stream", b"charset=utf-8", b"boundary=", b"realm=", b"error=", b"invalid_token", b"*", b"max-age=",
    b"no-store", b"GMT", b"Fri, 20 Nov 2026 03:14:15 GMT", b"bytes 0-1/2", b"permessage-deflate", b"13",
    b"/a", b"http://",
    b"[::1]", b"api.example", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"responses=experimental",
    b"responses_websockets=2026-02-06", b"realtime=v1", b"oauth-2025-04-20", b"conv-00000001", b"req_1", b"trailers",
]  # fmt: skip
values = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=6), max_size=5).map(b"".join)
lines = st.lists(st.tuples(st.sampled_from(FIELD_NAMES) | st.binary(max_size=8), values), max_size=12)
TARGETS = [
    b"/", b"*", b"", b"/v1/chat/completions", b"/v1/messages?beta=true", b"/v1/responses", b"/v1/realtime?model=m",
    b"/v1/models", b"/flush_cache", b"/v1beta/models/m:streamGenerateContent?alt=sse&key=a", b"api.example:443",
    b"http://api.example/v1/models?access_token=a", b"/generate", b"/workers", b"//a?b=%zz#c",
    b"/sessions/0f1e2d3c/v1/chat/completions",
]  # fmt: skip
versions = st.sampled_from(
    [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/3", b"HTTP/0.9", b"http/1.1", b"", b"HTTP/\xff"]
)
WORDS = [
    "id", "type", "error", "code", "message", "status", "model", "messages", "role", "content", "stream", "usage",
    "choices", "delta", "index", "finish_reason", "tools", "function", "arguments", "input", "metadata", "user_id",
    "session_id", "prompt_cache_key", "previous_response_id", "response", "response.created", "response.completed",
    "message_start", "content_block_delta", "message_stop", "ping", "text", "object", "data", "system", "max_tokens",
    "input_tokens", "output_tokens", "total_tokens", "prompt_tokens", "created", "event_id", "sequence_number",
    "item_id", "output_index", "headers", "anthropic_beta", "response.create", "chat.completion.chunk", "tool_calls",
    "content_block", "content_block_start", "thinking", "signature", "candidates", "parts", "usageMetadata",
]  # fmt: skip
words = st.sampled_from(WORDS)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=16,
).map(lambda document: json.dumps(document).encode())
events = st.lists(
    st.tuples(
        st.sampled_from(
            [b"data: ", b"data:", b"event: ", b"id:", b"retry: ", b":", b"", b"\xef\xbb\xbfdata: "]
        ),
        documents | words.map(str.encode) | st.just(b"[DONE]") | st.binary(max_size=5),
        st.sampled_from([b"\n", b"\n\n", b"\r\n\r\n", b"\r", b""]),
    ).map(b"".join),
    max_size=8,
).map(b"".join)
bodies = st.none() | st.just(b"") | st.binary(max_size=20) | documents | events
requests = st.builds(
    Request,
    method=st.sampled_from([b"GET", b"POST", b"HEAD", b"CONNECT", b"OPTIONS", b"", b"g e t", b"TRACE"]),
    target=st.sampled_from(TARGETS) | st.binary(max_size=10),
    version=versions,
    authority=st.sampled_from([b"", b"api.example", b"a@b:c"]),
    fields=lines.map(Fields),
    trailers=lines.map(lambda found: Fields(found[:2])),
    body=bodies,
    verbatim=st.booleans(),
    partial=st.booleans(),
)
responses = st.builds(
    Response,
    code=st.sampled_from([b"200", b"204", b"304", b"101", b"400", b"401", b"403", b"426", b"429", b"500",
    b"503", b"529", b"42", b"", b"\xff"]),
    reason=st.binary(max_size=4),
    version=versions,
    fields=lines.map(Fields),
    trailers=lines.map(lambda found: Fields(found[:2])),
    body=bodies,
    verbatim=st.booleans(),
    partial=st.booleans(),
)  # fmt: skip
frames = st.builds(
    Frame,
    sender=st.sampled_from(["client", "server"]),
    opcode=st.sampled_from(["TEXT", "BINARY", "PING", "PONG", "CLOSE"]),
    content=documents | st.binary(max_size=8),
    time=st.none() | st.floats(0, 2e9),
    code=st.none() | st.integers(0, 70000),
    injected=st.booleans(),
)
ERRORS = [
    "Client disconnected.", "stream reset by client (INTERNAL_ERROR)",
    "Received duplicate from client, refusing to prevent request smuggling",
    "HTTP/1 protocol error: illegal header line: bytearray(b'a')",
    "HTTP/2 protocol error: Received uppercase header name b'X\\x1b'.",
    "Invalid HTTP/2 request headers: Duplicate HTTP/2 pseudo header: b':path'",
    "Cannot parse HTTP response: Invalid headers", "\x1b[31m", "\ud800",
    "HTTP/1 protocol error: peer closed connection without sending complete message body (received 1 bytes, expected 5)",
]  # fmt: skip
exchanges = st.builds(
    Exchange,
    request=requests,
    response=st.none() | responses,
    interim=st.lists(responses, max_size=1).map(tuple),
    frames=st.lists(frames, max_size=5).map(tuple),
    error=st.none() | st.sampled_from(ERRORS) | st.text(max_size=10),
    evidence=st.just(~Evidence.OCTETS),
    recorder=st.sampled_from(["mitmproxy", "har", "transcript"]),
    scheme=st.sampled_from([b"http", b"https", b"ws", b""]),
    upstream=st.sampled_from([None, "127.0.0.1:80", "api.example.com:80", "[::1]:80", "", "x"]),
    client_connection=st.sampled_from([None, "c1"]),
    server_connection=st.sampled_from([None, "s1"]),
    server_name=st.sampled_from([None, "api.example", "", "\x1b", "a@b:c"]),
    dropped=st.integers(0, 2),
    started=st.none() | st.floats(0, 2e9),
    answered=st.none() | st.floats(0, 2e9),
    ended=st.none() | st.floats(0, 2e9),
    is_replay=st.booleans(),
    note=st.sampled_from(["", "hoplint: ignore[duplicate-server]", "hoplint: ignore[", "\x1b"]),
).map(lambda exchange: replace(exchange, refusals=classify(exchange.error or "", exchange)))


@quick
@given(st.lists(exchanges, min_size=1, max_size=4), st.sampled_from(sorted(POLICIES)))
def test_no_exchange_makes_a_rule_raise(found: list[Exchange], profile: str) -> None:
    linter = lint(numbered(found), profile)
    assert linter.failures == []
    for finding in linter.findings:
        assert finding.why.isprintable(), finding
        assert all(quote.text.isprintable() for quote in finding.quotes), finding


WIRE = [
    b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"\r\n", b"\n", b"hello",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"ffffffffffffffffff\r\n", b"A : b\r\n", b" folded\r\n", b"X: \r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01", b"CONNECT a:1 HTTP/1.1\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n",
    b"\x81\x05hello", b"\x88\x02\x03\xe8", b"\xc1\x83abcd", b"\x8b\xfe\x00\x01",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"\x00\x00\x06\x04\x00\x00\x00\x00\x00",
    b"\x00\x00\x15\x01\x04\x00\x00\x00\x01\x40\x09:protocol\x09websocket",
]  # fmt: skip
wire = st.lists(st.sampled_from(WIRE) | st.binary(max_size=5), max_size=12).map(b"".join)


@quick
@given(wire, wire)
def test_no_octets_make_a_rule_raise(up: bytes, down: bytes) -> None:
    stream = octets.split(
        Stream(
            client=Octets(side="client", data=up, times=((0, 1.0),)),
            server=Octets(side="server", data=down, times=((0, 2.0),)),
        )
    )
    linter = lint([stream])
    assert linter.failures == []
    assert all(finding.why.isprintable() for finding in linter.findings)


# ---- no credential is ever printed

CANARY = "c4n4ryC4N4RYc4n4ry0001"
AROUND = ["{}", "Bearer {}", "bearer {}", "Basic {}", "Bearer: {}", "Bearer Bearer {}", 'Bearer "{}"',
    "{} {}", "Bearer {}, Bearer {}",
          "'{}'", "Bearer {}\r\nX: {}", "Bearer {}\0", "Bearer <{}>", "sid={}; Path=/", "{}\xff",
          "Bearer\t{}", "sk-ant-oat01-{}", " {} ",
          "Bearer ${{A:-{}}}", "{};", "Digest response={}", "Bearer {}%0A"]  # fmt: skip
secrets = st.sampled_from(AROUND).map(lambda form: form.replace("{}", CANARY).encode("latin-1"))
secret_lines = st.lists(
    st.tuples(st.sampled_from(sorted(secret.FIELDS - {"sec-websocket-protocol"})).map(str.encode), secrets),
    min_size=1,
    max_size=4,
)
PARAMETERS = ["key", "api_key", "api-key", "access_token", "token", "client_secret", "sig", "X-Amz-Signature"]
secret_targets = st.sampled_from(TARGETS[3:9]).flatmap(
    lambda path: st.sampled_from(PARAMETERS).map(
        lambda name: path + (b"&" if b"?" in path else b"?") + f"{name}={CANARY}".encode()
    )
)
MEMBERS = [
    "api_key",
    "apiKey",
    "access_token",
    "refresh_token",
    "client_secret",
    "password",
    "authorization",
    "token",
]


def _document(member: str, spaced: bool, broken: bool) -> bytes:
    text = json.dumps({"model": "m", member: CANARY, "auth": f"Bearer {CANARY}", "key": f"sk-{CANARY}"})
    text = text if spaced else text.replace(": ", ":").replace(", ", ",")
    return (text[:-1] + ",}" if broken else text).encode()


secret_documents = st.builds(_document, st.sampled_from(MEMBERS), st.booleans(), st.booleans())
secret_bodies = st.none() | secret_documents | secret_documents.map(lambda text: b"data: " + text + b"\n\n")


secret_errors = st.sampled_from(
    [
        f"HTTP/1 protocol error: illegal header line: bytearray(b'Authorization Bearer {CANARY}')",
        f"Cannot parse HTTP response: Invalid header line: b'x-api-key : {CANARY}'",
        f"Cannot parse HTTP response: Invalid header line: b'Set-Cookie\\x00: sid={CANARY}; Path=/'",
        f"Bad HTTP request line: b'GET /v1/models?api_key={CANARY} HTTP/9'",
    ]
)


@quick
@given(
    st.lists(exchanges, min_size=1, max_size=2),
    st.data(),
    st.sampled_from(sorted(POLICIES)),
)
def test_no_report_holds_a_credential(found: list[Exchange], data: st.DataObject, profile: str) -> None:
    kept = []
    for wild in found:
        exchange = replace(wild, frames=(), interim=())
        request = replace(
            exchange.request,
            target=data.draw(secret_targets),
            fields=Fields([*exchange.request.fields, *data.draw(secret_lines)]),
            body=data.draw(secret_bodies),
        )
        response = exchange.response and replace(
            exchange.response,
            fields=Fields([*exchange.response.fields, *data.draw(secret_lines)]),
            body=data.draw(secret_bodies),
        )
        sent = [Frame("client", "TEXT", body) for body in (data.draw(secret_bodies),) if body]
        error = data.draw(st.none() | secret_errors)
        made = replace(exchange, request=request, response=response, frames=tuple(sent), error=error)
        kept.append(replace(made, refusals=classify(error or "", made)))
    linter = lint(numbered(kept), profile)
    assert linter.failures == []
    for finding in linter.findings:
        assert CANARY not in finding.why, finding
        assert CANARY not in str(finding), finding
    run = Run(RULES, findings=linter.findings)
    for name, report in FORMATS.items():
        assert CANARY not in report(run, Look()), name


@quick
@given(secret_lines, secret_bodies, secret_bodies)
def test_no_report_about_octets_holds_a_credential(
    sent: list[tuple[bytes, bytes]], up: bytes | None, down: bytes | None
) -> None:
    # Here a line break ends the line, and of what stands behind it only the name can tell that it is a credential.
    lines = (name + b": " + value.replace(b"\r\nX:", b"\r\nX-Api-Key:") + b"\r\n" for name, value in sent)
    section = b"".join(lines)
    client = (
        b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + section + b"\r\n" + (up or b"")
    )
    server = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + section + b"\r\n" + (down or b"")
    stream = octets.split(
        Stream(client=Octets(side="client", data=client), server=Octets(side="server", data=server))
    )
    linter = lint([stream])
    assert linter.failures == []
    assert linter.findings
    for finding in linter.findings:
        assert CANARY not in str(finding), finding


# ---- sound traffic has no errors

DATE = (b"Date", b"Fri, 20 Nov 2026 03:14:15 GMT")
ordinary = st.lists(
    st.sampled_from(
        [
            (b"User-Agent", b"OpenAI/Python 2.54.0"),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"gzip, deflate"),
            (b"Authorization", b"Bearer sk-000000000000"),
            (b"X-Stainless-Lang", b"python"),
            (b"X-Request-Id", b"req_0001"),
            (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            (b"x-litellm-session-id", b"7ab0d106-0000-4000-8000-000000000001"),
            (b"Cookie", b"a=1; b=2"),
        ]
    ),
    unique=True,
)
answered = st.lists(
    st.sampled_from(
        [
            (b"Server", b"uvicorn"),
            (b"Cache-Control", b"no-store"),
            (b"Vary", b"Origin"),
            (b"X-Request-Id", b"req_0001"),
            (b"x-ratelimit-remaining-requests", b"41"),
            (b"Set-Cookie", b"a=1; Path=/; Secure; HttpOnly"),
            (b"Set-Cookie", b"b=2; Path=/; Secure; HttpOnly"),
        ]
    ),
    unique=True,
)
letters = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)


def _asked(extra: list[FieldLine], text: str, stream: bool) -> Request:
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": text or "hi"}], "stream": stream}
    ).encode()
    framing = [
        (b"Host", b"api.example"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    return Request(
        method=b"POST", target=b"/v1/chat/completions", fields=Fields([*framing, *extra]), body=body
    )


def _whole(extra: list[FieldLine], text: str) -> Response:
    body = json.dumps(
        {
            "id": "chatcmpl-0001",
            "object": "chat.completion",
            "created": 1795144455,
            "model": "m",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    ).encode()
    framing = [DATE, (b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    return Response(code=b"200", reason=b"OK", fields=Fields([*framing, *extra]), body=body)


def _chunk(**delta: object) -> dict[str, object]:
    finish = None if delta else "stop"
    return {
        "id": "chatcmpl-0001",
        "object": "chat.completion.chunk",
        "created": 1795144455,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def _streamed(extra: list[FieldLine], texts: list[str], newline: str) -> Response:
    chunks = [_chunk(role="assistant", content=""), *(_chunk(content=text) for text in texts), _chunk()]
    parts = [*(json.dumps(chunk, ensure_ascii=False) for chunk in chunks), "[DONE]"]
    body = "".join(f"data: {part}{newline}{newline}" for part in parts).encode()
    framing = [DATE, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked")]
    extra = [line for line in extra if line[0] != b"Cache-Control"] + [
        FieldLine(b"Cache-Control", b"no-cache")
    ]
    return Response(code=b"200", reason=b"OK", fields=Fields([*framing, *extra]), body=body)


@quick
@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda asked, answer: Exchange(request=asked, response=answer),
                st.builds(_asked, ordinary, letters, st.just(False)),
                st.builds(_whole, answered, letters),
            ),
            st.builds(
                lambda asked, answer: Exchange(request=asked, response=answer),
                st.builds(_asked, ordinary, letters, st.just(True)),
                st.builds(
                    _streamed, answered, st.lists(letters, max_size=4), st.sampled_from(["\n", "\r\n"])
                ),
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_sound_exchanges_have_no_errors(found: list[Exchange]) -> None:
    linter = lint(numbered(found))
    assert linter.failures == []
    assert [finding for finding in linter.findings if finding.severity is ERROR] == []


@pytest.mark.parametrize("profile", sorted(POLICIES))
def test_a_profile_is_a_policy(profile: str) -> None:
    assert lint([Exchange(request=_asked([], "hi", False))], profile).failures == []

"""What docstring examples cannot show: who ended a stream, streams of others, odd but legal events."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response, Wire
from conformance.message import Span as Reach
from conformance.refusals import classify
from conformance.rule import load

RULES = load()
TOPIC = {name: rule for name, rule in RULES.items() if rule.topic == "events"}
ADVICE = {"cache-control-missing-on-event-stream", "buffering-hint-missing-on-event-stream"}

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "stream": True}
HI = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
STOP = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = "data: [DONE]\n\n"
WHOLE = HI + STOP + DONE


def exchange(
    content: str | bytes | None,
    target: str = CHAT,
    asked: Any = ASKED,
    lines: tuple[tuple[str, str], ...] = (("Content-Type", "text/event-stream"),),
    status: int = 200,
    method: bytes = b"POST",
    error: str | None = None,
    versions: tuple[bytes, bytes] = (b"HTTP/1.1", b"HTTP/1.1"),
    **facts: Any,
) -> Exchange:
    request = Request(
        method=method,
        target=target.encode(),
        fields=Fields([(b"Content-Type", b"application/json")]),
        body=json.dumps(asked).encode(),
        version=versions[0],
    )
    response = Response(
        code=str(status).encode(),
        fields=Fields([(name.encode(), value.encode()) for name, value in lines]),
        body=content.encode() if isinstance(content, str) else content,
        version=versions[1],
        **facts,
    )
    made = Exchange(request=request, response=response, error=error)
    if error is None:
        return made
    return Exchange(request=request, response=response, error=error, refusals=classify(error, made))


def found(subject: Exchange, *, advice: bool = False) -> set[str]:
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(subject)
    assert not linter.failures
    return {finding.rule for finding in linter.findings} - (set() if advice else ADVICE)


def test_a_whole_stream_is_silent() -> None:
    assert found(exchange(WHOLE)) == set()


CUT = [
    HI + STOP,  # no [DONE]
    HI + 'data: {"cho',  # in an event
    "",
    ": keep-alive\n\n",
    HI + "dat",
]


@pytest.mark.parametrize("content", CUT)
@pytest.mark.parametrize(
    "facts",
    [
        {"partial": True},
        {"verbatim": False},
        {"error": "Client disconnected."},
        {"error": "Connection killed."},
        {"wire": Wire(span=Reach(0, 0), lines=(), state="cut")},
        {"wire": Wire(span=Reach(0, 0), lines=(), state="until-close")},
    ],
    ids=lambda facts: next(iter(facts)),
)
def test_what_others_cut_is_not_the_servers_doing(content: str, facts: dict[str, Any]) -> None:
    assert found(exchange(content, **facts)) == set()


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (CUT[0], {"done-marker-missing"}),
        (CUT[1], {"unterminated-event"}),
        (CUT[2], {"event-stream-without-events"}),
        (CUT[3], {"event-stream-without-events"}),
        (CUT[4], {"done-marker-missing", "unknown-event-stream-field"}),
        (HI + STOP + "data: [DONE]", {"unterminated-event"}),
        (HI + 'data: {"error":{"message":"no"}}\n\n', set()),
    ],
)
def test_what_the_server_cut_is(content: str, rules: set[str]) -> None:
    assert found(exchange(content)) == rules


@pytest.mark.parametrize(
    ("error", "versions", "is_servers"),
    [
        ("HTTP/1 protocol error: peer closed connection without sending complete message body (incomplete chunked read)",
         (b"HTTP/1.1", b"HTTP/1.1"), True),
        ("Client disconnected.", (b"HTTP/1.1", b"HTTP/1.1"), False),
        ("stream reset by client (INTERNAL_ERROR)", (b"HTTP/1.1", b"HTTP/2.0"), True),
        ("stream reset by client (CANCEL)", (b"HTTP/2.0", b"HTTP/2.0"), False),
        ("stream reset by client (INTERNAL_ERROR)", (b"HTTP/2.0", b"HTTP/1.1"), False),
        ("HTTP/2 connection closed: <ConnectionTerminated>", (b"HTTP/1.1", b"HTTP/2.0"), True),
        ("net::ERR_INCOMPLETE_CHUNKED_ENCODING", (b"HTTP/1.1", b"HTTP/1.1"), True),
        ("net::ERR_ABORTED", (b"HTTP/1.1", b"HTTP/1.1"), False),
    ],
)  # fmt: skip
def test_who_broke_off(error: str, versions: tuple[bytes, bytes], is_servers: bool) -> None:
    for content in (None, HI + 'data: {"cho'):
        subject = exchange(content, error=error, versions=versions, partial=content is not None)
        assert found(subject) == ({"truncated-event-stream"} if is_servers else set())


def test_a_trailer_that_mitmproxy_cannot_read_is_no_break() -> None:
    lines = (
        ("Content-Type", "text/event-stream"),
        ("Transfer-Encoding", "chunked"),
        ("Trailer", "X-Checksum"),
    )
    error = "HTTP/1 protocol error: peer closed connection without sending complete message body (incomplete chunked read)"
    assert found(exchange(None, lines=lines, error=error)) == set()


MCP = [
    "",
    ": keep-alive\n\n",
    "id: 1\nretry: 1000\ndata:\n\n",
    'event: message\nid: 2\ndata: {"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no"}}\n\n',
    "data: not JSON\n\n",
    "event: endpoint\ndata: /messages?session=1\n\n",
]


@pytest.mark.parametrize("content", MCP)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_streams_of_others_are_silent(content: str, method: bytes) -> None:
    assert found(exchange(content, target="/mcp", asked={"jsonrpc": "2.0"}, method=method)) == set()


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + WHOLE,
        WHOLE.replace("\n", "\r\n"),
        WHOLE.replace("\n", "\r"),
        WHOLE.replace("data: ", "data:"),
        ": OPENROUTER PROCESSING\n\n" + WHOLE,
        "retry: 3000\n\n" + WHOLE,
        "event: ping\ndata: ping\n\n" + WHOLE,
        HI + STOP + 'data: {"choices":[],"usage":{"total_tokens":2}}\n\n' + DONE,
        WHOLE.replace("Hi", "error in data: caf\u00e9"),
        HI + STOP + "data:[DONE]\n\n",
        HI + STOP + "data: [DONE] \n\n",
        WHOLE + ": goodbye\n\n",
        WHOLE + "\n\n",
    ],
)
def test_odd_but_legal_streams(content: str) -> None:
    assert found(exchange(content)) == set()


def test_head_and_no_content_are_silent() -> None:
    assert found(exchange(b"", method=b"HEAD"), advice=True) == set()
    assert found(exchange(b"", status=204), advice=True) == set()
    assert found(exchange(None, status=304), advice=True) == set()


def test_a_repeated_content_type_says_nothing() -> None:
    lines = (("Content-Type", "text/event-stream"), ("Content-Type", "application/json"))
    assert found(exchange('{"choices":[]}', lines=lines), advice=True) == set()
    assert found(exchange(WHOLE, lines=lines), advice=True) == set()


@pytest.mark.parametrize(
    "directives", ["no-store", "no-cache", "private", "max-age=0, No-Cache", "no-cache=x"]
)
def test_what_forbids_caching(directives: str) -> None:
    lines = (("Content-Type", "text/event-stream"), ("Cache-Control", directives))
    assert "cache-control-missing-on-event-stream" not in found(exchange(WHOLE, lines=lines), advice=True)


@pytest.mark.parametrize("line", [("X-Accel-Buffering", "no"), ("Cache-Control", "no-cache, no-transform")])
def test_what_forbids_buffering(line: tuple[str, str]) -> None:
    lines = (("Content-Type", "text/event-stream"), line)
    assert "buffering-hint-missing-on-event-stream" not in found(exchange(WHOLE, lines=lines), advice=True)


@pytest.mark.parametrize(
    ("accept", "is_advised"),
    [
        ("application/json", True),
        ("application/json, text/event-stream", False),
        ("text/event-stream;q=0", True),
        ("text/event-stream;q=0.1", False),
        ("text/*;q=0.000", True),
        ("*/*", False),
        ("TEXT/EVENT-STREAM", False),
        ("", False),
    ],
)
def test_what_accepts_a_stream(accept: str, is_advised: bool) -> None:
    text = (
        "> POST /v1/chat/completions HTTP/1.1\n> Host: api.example\n"
        f'> Accept: {accept}\n> Content-Type: application/json\n>\n> {{"stream":true}}\n'
    )
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert bool(linter.findings) is is_advised


def test_yaml_and_logs_are_no_event_streams() -> None:
    text = (("Content-Type", "text/plain"),)
    assert found(exchange("data: {}\n\nkind: ConfigMap\n", lines=text)) == set()
    assert found(exchange("data: {}\n\n", target="/config.yaml", lines=text)) == set()
    assert found(exchange("data: {}\n\n", lines=text)) == {"event-stream-with-wrong-content-type"}


def responses(*types: str, done: str = "") -> Exchange:
    lines = [f"event: {kind}\ndata: {json.dumps({'type': kind})}\n\n" for kind in types]
    return exchange("".join(lines) + done, target="/v1/responses")


@pytest.mark.parametrize(
    ("subject", "rules"),
    [
        (responses("response.created", "response.completed"), set()),
        (responses("response.created", "response.completed", done=DONE), set()),
        (responses("codex.rate_limits", "response.created", "keepalive", "response.incomplete"), set()),
        (responses("response.failed"), set()),
        (responses("response.created", "error"), set()),
        (responses("response.created", "response.queued", "response.in_progress"), {"terminal-event-missing"}),
        (responses("response.output_text.delta", "response.created", "response.completed"), {"event-stream-out-of-order"}),
        (responses("response.created", "response.created", "response.completed"), {"event-stream-out-of-order"}),
        (responses("response.created", "response.completed", "response.output_text.done"), {"event-after-terminal-event"}),
        (responses("response.created", "response.completed", "vendor.billing"), set()),
        (responses("response.created", "response.completed", done=DONE + DONE), {"event-after-terminal-event"}),
        (responses("error"), {"event-stream-starts-with-error"}),
    ],
    ids=range(12),
)  # fmt: skip
def test_responses(subject: Exchange, rules: set[str]) -> None:
    assert found(subject) == rules


def test_names_of_responses_events_may_be_left_out() -> None:
    lines = [f"data: {json.dumps({'type': kind})}\n\n" for kind in ("response.created", "response.completed")]
    assert found(exchange("".join(lines), target="/v1/responses")) == set()


def messages(*events: dict[str, Any], named: bool = True) -> Exchange:
    lines = [(f"event: {one['type']}\n" if named else "") + f"data: {json.dumps(one)}\n\n" for one in events]
    return exchange("".join(lines), target="/v1/messages")


START, END = {"type": "message_start", "message": {}}, {"type": "message_stop"}


def block(kind: str, index: int = 0) -> dict[str, Any]:
    return {"type": f"content_block_{kind}", "index": index}


@pytest.mark.parametrize(
    ("subject", "rules"),
    [
        (messages(START, {"type": "ping"}, block("start"), block("delta"), block("stop"), END), set()),
        (messages({"type": "ping"}, START, END), set()),
        (messages({"type": "vertex_event"}, START, END), set()),
        (messages(START, block("start", 1), block("start", 0), block("delta", 1), END), set()),
        (messages(START, block("delta"), END), {"event-stream-out-of-order"}),
        (messages(START, block("start"), block("start"), END), {"event-stream-out-of-order"}),
        (messages(END), {"event-stream-out-of-order"}),
        (messages(START, END, END), {"event-after-terminal-event"}),
        (messages(START, END, {"type": "ping"}), set()),
        (messages(START, END, named=False), {"event-name-mismatch"}),
        (messages(START, {"type": "error", "error": {"type": "overloaded_error"}}), set()),
    ],
    ids=range(11),
)
def test_messages(subject: Exchange, rules: set[str]) -> None:
    assert found(subject) == rules


def test_another_vendors_model_behind_the_same_path_is_judged_by_nothing() -> None:
    path = "/v1/projects/p/publishers/mistralai/models/mistral-large:streamRawPredict"
    assert found(exchange(HI + STOP, target=path)) == set()


def test_credentials_are_not_printed() -> None:
    key = "sk-ant-example-0123456789abcdef"
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(exchange(f'data: not JSON {key}\n\nnonsense "api_key": "{key}"\n\ndata: {key}'))
    linter.take(exchange(f'{{"error":{{"message":"Incorrect API key provided: {key}"}}}}'))
    assert len(linter.findings) >= 4
    assert not [finding for finding in linter.findings if key in finding.why]


PARTS = [
    HI, STOP, DONE, "data: {}\n\n", "data: 1\n\n", "data: []\n\n", 'data: {"type":1}\n\n', "data\n\n", "event: x\n", "\r",
    'data: {"type":"message_start"}\n\n', 'data: {"type":"message_stop","index":[]}\n\n', 'data: {"error":1}\n\n',
    'data: {"type":"content_block_start","index":{}}\n\n', "data: NaN\n\n", "{", "\x00", "\ud7ff",
    "data: " + "[" * 5000 + "\n\n",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(PARTS), max_size=8).map("".join),
    st.sampled_from([CHAT, "/v1/messages", "/v1/responses", "/models/g:streamGenerateContent?alt=sse", "/x"]),
    st.booleans(),
)
def test_no_stream_breaks_a_rule(content: str, target: str, partial: bool) -> None:
    found(exchange(content, target=target, partial=partial))


def says(name: str, subject: Exchange) -> list[str]:
    return [why for _, why in TOPIC[name].check(subject)]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("text/event-stream", False),
        ("text/event-stream; charset=utf-8", False),
        ('text/event-stream;boundary=x; charset="UTF8"', False),
        ("text/event-stream; charset=", False),
        ("text/event-stream; Charset=latin1", True),
        ("application/json; charset=latin1", False),
    ],
)
def test_charsets(kind: str, wrong: bool) -> None:
    subject = exchange(WHOLE, lines=(("Content-Type", kind),))
    assert ("event-stream-charset-not-utf8" in found(subject)) is wrong


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("data: 1\n\ndata: 2\n\n", []),
        ("data: 1\r\n\r\n", []),
        ("data: 1\r\r", []),
        ("data: 1\r\n\r\ndata: 2\n\n", ["lines end with 2 CRLF and 2 LF"]),
        ("data: 1\r\rdata: 2\r\n\r\n", ["lines end with 2 CRLF and 2 CR"]),
        ("data: 1\n\r\n", ["lines end with 1 CRLF and 1 LF"]),
    ],
)
def test_line_ends(content: str, said: list[str]) -> None:
    assert says("mixed-event-stream-line-ends", exchange(content)) == said


def test_half_a_line_end_is_none() -> None:
    assert says("mixed-event-stream-line-ends", exchange("data: 1\r\n\r", partial=True)) == []
    assert says("mixed-event-stream-line-ends", exchange("data: 1\r\n\r")) != []


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("retry: 2500\n\n" + WHOLE, False),
        ("retry:2500\n\n" + WHOLE, False),
        ("retry: " + "9" * 30 + "\n\n" + WHOLE, False),
        ("retry: 2.5\n\n" + WHOLE, True),
        ("retry: -1\n\n" + WHOLE, True),
        ("retry: 25 \n\n" + WHOLE, True),
        ("retry\n\n" + WHOLE, True),
        (WHOLE + "data: 1\nretry: 2.", False),
    ],
)
def test_retries(content: str, wrong: bool) -> None:
    assert ("event-retry-malformed" in found(exchange(content))) is wrong


def timed(subject: Exchange, **times: float) -> Exchange:
    return replace(subject, **times)


def test_the_first_octet() -> None:
    slow = "slow-first-event"
    assert says(slow, timed(exchange(WHOLE), started=0.0, answered=10.0)) == []
    assert says(slow, timed(exchange(WHOLE), started=0.0, answered=10.5)) == [
        "the response began 10.5 s after the request"
    ]
    assert says(slow, timed(exchange(WHOLE), answered=10.5)) == []
    assert says(slow, timed(exchange(WHOLE), started=0.0, answered=60.0, is_replay=True)) == []
    answer = exchange("{}", lines=(("Content-Type", "application/json"),))
    assert says(slow, timed(answer, started=0.0, answered=60.0)) == []


@pytest.mark.parametrize(
    ("content", "lasted", "silent"),
    [
        ("data: 1\n\ndata: 2\n\n", 45.0, False),
        ("data: 1\n\ndata: 2\n\n", 46.0, True),
        ("data: 1\n\n" * 10, 120.0, False),
        (": ping\n\ndata: 1\n\n", 120.0, False),
        ("event: ping\ndata: {}\n\ndata: 1\n\n", 120.0, False),
    ],
)
def test_silence(content: str, lasted: float, silent: bool) -> None:
    subject = timed(exchange(content), answered=0.0, ended=lasted)
    assert bool(says("event-stream-without-keepalive", subject)) is silent
    assert says("event-stream-without-keepalive", exchange(content)) == []


def reopened(*second: str, first: str = "id: 7\ndata: 1\n\n", facts: str = "", target: str = "/log") -> bool:
    def get(target: str, lines: tuple[str, ...], content: str) -> str:
        sent = "".join(f"> {line}\n" for line in ("Host: a", "Accept: text/event-stream", *lines))
        came = "".join(f"< {line}\n" for line in content.split("\n"))
        return (
            f"> GET {target} HTTP/1.1\n{sent}< HTTP/1.1 200 OK\n< Content-Type: text/event-stream\n<\n{came}"
        )

    text = (
        get("/log", ("Mcp-Session-Id: session-1",), first) + "\n" + facts + get(target, second, "data: 2\n\n")
    )
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    return "reconnect-without-last-event-id" in {finding.rule for finding in linter.findings}


def test_who_comes_back() -> None:
    same = "Mcp-Session-Id: session-1"
    assert reopened(same)
    assert not reopened(same, "Last-Event-ID: 7")
    assert not reopened(same, first="data: 1\n\n")
    assert not reopened("Mcp-Session-Id: session-2")
    assert not reopened(same, "Authorization: Bearer other")
    assert not reopened(same, target="/log2")

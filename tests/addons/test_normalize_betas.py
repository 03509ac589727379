import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.test import tflow

from conformance import mitm, recording
from conformance.message import Fields, Request
from conformance.policy import Betas
from conformance.settings import load

SCRIPT = Path(__file__).parents[2] / "addons" / "normalize_betas.py"
(addon,) = mitm.script_addons(SCRIPT)
betas = sys.modules[type(addon).__module__]

CONTEXT, FAST, EFFORT = "context-1m-2025-08-07", "fast-mode-2026-02-01", "effort-2025-11-24"
OPEN = "Upgrade: websocket | Connection: Upgrade | Sec-WebSocket-Version: 13 | Sec-WebSocket-Key: k"
OLD, NEW = "responses_websockets=2026-02-04", "responses_websockets=2026-02-06"
INVOKE = "/model/anthropic.claude-opus-4-8/invoke"


def profile(name: str) -> Betas:
    return load(isolated=True, profile=name).settings.policy.betas


def lines(text: str) -> list[tuple[bytes, bytes]]:
    pairs = [line.strip().encode().partition(b":") for line in text.split(" | ") if line.strip()]
    return [(name, value.strip()) for name, _, value in pairs]


def request(
    text: str, path: str = "/v1/messages", body: bytes | None = None, version: bytes = b"HTTP/1.1"
) -> Request:
    method = b"GET" if "Upgrade" in text else b"POST"
    return Request(
        fields=Fields(lines(text)), method=method, target=path.encode(), body=body, version=version
    )


def after(
    asked: Request, policy: Betas | None = None, host: str = "api.example"
) -> list[tuple[bytes, bytes]]:
    made = betas.normalized(asked, policy or Betas(), host)
    return [tuple(line) for line in mitm.changed(asked.fields, made)]


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        (f"anthropic-beta: {CONTEXT},{FAST}",) * 2,
        (f"Anthropic-Beta: {CONTEXT} ,  {FAST}",) * 2,
        (f"X: 1 | anthropic-beta: {CONTEXT} | Y: 2 | Anthropic-Beta: {FAST}, {EFFORT}",
         f"X: 1 | anthropic-beta: {CONTEXT},{FAST},{EFFORT} | Y: 2"),
        (f"anthropic-beta: {CONTEXT} | anthropic-beta: {CONTEXT}", f"anthropic-beta: {CONTEXT}"),
        (f"anthropic-beta: {CONTEXT}, {FAST}, {CONTEXT.upper()}", f"anthropic-beta: {CONTEXT},{FAST}"),
        (f"anthropic-beta: {CONTEXT},,{FAST},", f"anthropic-beta: {CONTEXT},{FAST}"),
        (f'anthropic-beta: ["{CONTEXT}", "{FAST}"]', f"anthropic-beta: {CONTEXT},{FAST}"),
        (f"anthropic-beta: ['{CONTEXT}']", f"anthropic-beta: {CONTEXT}"),
        (f"anthropic-beta: {CONTEXT} {FAST}", f"anthropic-beta: {CONTEXT},{FAST}"),
        (f"anthropic-beta: {CONTEXT.upper()}", f"anthropic-beta: {CONTEXT}"),
        ("Host: a | anthropic-beta:", "Host: a"),
        ("anthropic-beta: None | anthropic-beta: []", ""),
        (f"anthropic-beta: ?, {CONTEXT}", f"anthropic-beta: {CONTEXT}"),
        ("OpenAI-Beta: assistants=v2, responses=experimental",) * 2,
        (f"OpenAI-Beta: assistants=v2, {NEW}", "OpenAI-Beta: assistants=v2"),
        (f"openai-beta: {NEW}", ""),
        (f"x-api-key: sk-ant-1 | anthropic-beta: oauth-2025-04-20,{CONTEXT}",
         f"x-api-key: sk-ant-1 | anthropic-beta: {CONTEXT}"),
        (f"Authorization: Bearer sk-1 | anthropic-beta: oauth-2025-04-20,{CONTEXT}",) * 2,
        (f"anthropic-beta: {CONTEXT},nobody-knows-2030-01-01",) * 2,
    ],
)  # fmt: skip
def test_headers(received: str, sent: str) -> None:
    assert after(request(received)) == lines(sent)


@pytest.mark.parametrize(
    ("name", "path", "received", "sent"),
    [
        ("anthropic", "/v1/messages", f"anthropic-beta: {CONTEXT}, {FAST}", f"anthropic-beta: {CONTEXT}, {FAST}"),
        ("bedrock", INVOKE, f"anthropic-beta: advanced-tool-use-2025-11-20,{CONTEXT},{FAST}",
         f"anthropic-beta: tool-search-tool-2025-10-19,{CONTEXT}"),
        ("bedrock", INVOKE, "anthropic-beta: advanced-tool-use-2025-11-20, tool-search-tool-2025-10-19",
         "anthropic-beta: tool-search-tool-2025-10-19"),
        ("vertex", "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
         f"anthropic-beta: {EFFORT},interleaved-thinking-2025-05-14", "anthropic-beta: interleaved-thinking-2025-05-14"),
        ("vertex", "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
         "anthropic-beta: interleaved-thinking-2025-05-14 | A: 1", "A: 1"),
        ("openai", "/v1/responses", "OpenAI-Beta: realtime=v1,assistants=v2", "OpenAI-Beta: assistants=v2"),
    ],
)  # fmt: skip
def test_upstreams(name: str, path: str, received: str, sent: str) -> None:
    assert after(request(received, path), profile(name)) == lines(sent)


@pytest.mark.parametrize(
    ("path", "received", "sent"),
    [
        ("/v1/responses", "", f"OpenAI-Beta: {NEW}"),
        ("/v1/responses", f"openai-beta: {NEW}", f"openai-beta: {NEW}"),
        ("/v1/responses", f"openai-beta: {OLD}", f"openai-beta: {NEW}"),
        ("/v1/responses", f"OpenAI-Beta: Responses=Experimental, {OLD}", f"OpenAI-Beta: {NEW}"),
        ("/v1/responses", f"OpenAI-Beta: x=1,{NEW},{OLD}", f"OpenAI-Beta: x=1,{NEW}"),
        ("/v1/responses", "OpenAI-Beta: responses_websockets=2026-09-01", "OpenAI-Beta: responses_websockets=2026-09-01"),
        ("/v1/realtime", "OpenAI-Beta: realtime=v1", ""),
        ("/v1/realtime", "", ""),
    ],
)  # fmt: skip
def test_handshakes(path: str, received: str, sent: str) -> None:
    asked = request(f"{OPEN} | {received}", path)
    assert after(asked, profile("codex")) == lines(f"{OPEN} | {sent}")


def test_handshake_without_a_policy() -> None:
    assert after(request(f"{OPEN} | OpenAI-Beta: {OLD},{NEW}", "/v1/responses")) == lines(
        f"{OPEN} | OpenAI-Beta: {NEW}"
    )
    assert after(request(OPEN, "/v1/responses")) == lines(OPEN)


def test_unknown_tokens() -> None:
    policy = Betas(judged=("anthropic-beta",), drop_unknown=True, known=("mine-*",))
    asked = request(f"anthropic-beta: mine-1,{CONTEXT},context-1m-2025-08-70 | OpenAI-Beta: any=1")
    assert after(asked, policy) == lines(f"anthropic-beta: mine-1,{CONTEXT} | OpenAI-Beta: any=1")


@pytest.mark.parametrize(
    ("host", "path", "added"),
    [
        ("api.anthropic.com", "/v1/messages", True),
        ("api.anthropic.com.evil.example", "/v1/messages", False),
        ("gateway.example", "/v1/messages", False),
        ("api.anthropic.com", "/v1/models", False),
    ],
)
def test_oauth_token(host: str, path: str, added: bool) -> None:
    asked = request("authorization: Bearer sk-ant-oat01-canary | Host: api.anthropic.com", path)
    more = [(b"anthropic-beta", b"oauth-2025-04-20")] if added else []
    assert after(asked, host=host) == [*map(tuple, asked.fields), *more]


def test_http2_has_lower_case_names() -> None:
    policy = Betas(features={"context_management": ("context-management-*",)})
    asked = request("a: 1", body=b'{"context_management": {}}', version=b"HTTP/2.0")
    (change,) = betas.in_step(asked, policy).changes
    assert change.line == (b"anthropic-beta", b"context-management-2025-06-27")


def test_reasons() -> None:
    asked = request(
        f"anthropic-beta: {FAST},{CONTEXT},oauth-2025-04-20,{CONTEXT},advanced-tool-use-2025-11-20", INVOKE
    )
    (change,) = betas.normalized(asked, profile("bedrock"), "a")
    assert change.why.split("; ") == [
        f"'{FAST}' dropped: this upstream does not take it",
        "'oauth-2025-04-20' dropped: this upstream does not take it",
        f"'{CONTEXT}' dropped: '{CONTEXT}' is there already",
        "'advanced-tool-use-2025-11-20' is 'tool-search-tool-2025-10-19' at this upstream",
    ]
    many = request("anthropic-beta: " + ",".join(["a"] * 1000))
    (change,) = betas.normalized(many, Betas(), "a")
    assert change.why.endswith("and 979 more")


# -- content ------------------------------------------------------------------------------------------------


def step(header: str | None, listed: str, policy: Betas | None = None, path: str = INVOKE):
    body = b'{ "a":[1, {"anthropic_beta": ["x"]}],"anthropic_beta" : %s ,\n"b":"\xc3\xa4" }' % listed.encode()
    asked = request("" if header is None else f"anthropic-beta: {header}", path, body)
    made = betas.in_step(asked, policy or Betas())
    if made is None:
        return [tuple(line) for line in asked.fields], listed
    sent = [tuple(line) for line in mitm.changed(asked.fields, made.changes)]
    new = body if made.content is None else made.content
    before, _, rest = new.partition(b'],"anthropic_beta" : ')
    value, _, end = rest.partition(b' ,\n"b":')
    assert before == b'{ "a":[1, {"anthropic_beta": ["x"]}'
    assert end == b'"\xc3\xa4" }'
    return sent, value.decode()


@pytest.mark.parametrize(
    ("header", "listed", "header_after", "listed_after"),
    [
        (CONTEXT, f'["{CONTEXT}"]', CONTEXT, f'["{CONTEXT}"]'),
        (None, f'["{CONTEXT}","{FAST}"]', None, f'["{CONTEXT}","{FAST}"]'),
        (f"{CONTEXT},{EFFORT}", f'["{CONTEXT}"]', f"{CONTEXT},{EFFORT}", f'["{CONTEXT}","{EFFORT}"]'),
        (CONTEXT, f'["{EFFORT}", "{CONTEXT}"]', f"{CONTEXT},{EFFORT}", f'["{CONTEXT}", "{EFFORT}"]'),
        (None, f'["{EFFORT}"," {CONTEXT}"]', None, f'["{EFFORT}","{CONTEXT}"]'),
        (None, f'["{EFFORT}", "{EFFORT}", null, ""]', None, f'["{EFFORT}"]'),
        (None, f'"{EFFORT},{CONTEXT}"', None, f'["{EFFORT}","{CONTEXT}"]'),
        (None, "null", None, "null"),
    ],
)  # fmt: skip
def test_header_and_content(header, listed: str, header_after, listed_after: str) -> None:
    sent, value = step(header, listed)
    assert sent == ([] if header_after is None else [(b"anthropic-beta", header_after.encode())])
    assert value == listed_after


def test_content_for_an_upstream() -> None:
    listed = f'["{FAST}","advanced-tool-use-2025-11-20","{CONTEXT}"]'
    assert step(None, listed, profile("bedrock")) == ([], f'["tool-search-tool-2025-10-19","{CONTEXT}"]')
    assert step(None, f'["{FAST}"]', profile("bedrock")) == ([], "[]")
    assert step(None, listed, profile("bedrock"), "/v1/chat/completions") == ([], listed)


@pytest.mark.parametrize(
    ("name", "body", "header", "token"),
    [
        ("anthropic", {"context_management": {}}, CONTEXT, "context-management-2025-06-27"),
        ("anthropic", {"context_management": {}}, "compact-2026-01-12", None),
        ("anthropic", {"context_management": None}, CONTEXT, None),
        ("anthropic", {"mcp_servers": []}, CONTEXT, "mcp-client-2025-11-20"),
        ("anthropic", {"tools": [{"type": "code_execution_20250522"}]}, CONTEXT, "code-execution-2025-05-22"),
        ("anthropic", {"tools": [{"type": "custom"}], "speed": "fast"}, CONTEXT, FAST),
        ("anthropic", {"messages": ["context_management"]}, CONTEXT, None),
        ("bedrock", {"speed": "fast"}, CONTEXT, None),
    ],
)
def test_features(name: str, body, header: str, token: str | None) -> None:
    path = INVOKE if name == "bedrock" else "/v1/messages"
    asked = request(f"anthropic-beta: {header}", path, json.dumps(body).encode())
    made = betas.in_step(asked, profile(name))
    if token is None:
        assert made is None
    else:
        assert [change.line.value.decode() for change in made.changes] == [f"{header},{token}"]
        assert made.content is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"anthropic_beta": ["a", "a"], "anthropic_beta": []}',
     b'\xef\xbb\xbf{"anthropic_beta": ["a","a"]}'],
)  # fmt: skip
def test_content_that_cannot_be_mended_stays(body: bytes) -> None:
    assert betas.in_step(request("anthropic-beta: a", INVOKE, body), Betas()) is None


NAMES = st.sampled_from(
    ["anthropic-beta", "Anthropic-Beta", "OpenAI-Beta", "Host", "x-api-key", "Authorization"]
)
TOKENS = st.sampled_from(
    [CONTEXT, FAST, EFFORT, "A-1", "oauth-2025-04-20", "advanced-tool-use-2025-11-20", "", "None", "[]", '"a"', "a b",
     "responses=experimental", OLD, NEW, "realtime=v1", "?", "ſ"]
)  # fmt: skip
PROFILES = st.sampled_from(["generic", "anthropic", "bedrock", "vertex", "codex", "openai"])


@given(st.lists(st.tuples(NAMES, st.lists(TOKENS, max_size=4)), max_size=6), PROFILES, st.booleans())
def test_properties(pairs, name: str, handshake: bool) -> None:
    policy = profile(name)
    head = lines(OPEN) if handshake else []
    received = head + [(field.encode(), ",".join(tokens).encode()) for field, tokens in pairs]

    def once(fields):
        asked = Request(
            fields=Fields(fields), method=b"GET" if handshake else b"POST", target=b"/v1/responses"
        )
        return after(asked, policy)

    sent = once(received)
    assert once(sent) == sent
    names = [field.lower() for field, _ in sent]
    assert names.count(b"anthropic-beta") <= 1
    assert names.count(b"openai-beta") <= 1
    kept = [line for line in received if not line[0].lower().endswith(b"-beta")]
    assert [line for line in sent if not line[0].lower().endswith(b"-beta")] == kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=5), JSON, max_size=4),
    st.lists(TOKENS, max_size=4),
    st.sampled_from([None, 1]),
)
def test_one_member_changes(document, tokens: list[str], indent) -> None:
    document = {**document, "anthropic_beta": ["old"]}
    octets = json.dumps(document, indent=indent, ensure_ascii=indent is None).encode("utf-8", "surrogatepass")
    made = betas.with_member(octets, "anthropic_beta", tokens)
    if made is None:
        with pytest.raises(UnicodeDecodeError):
            octets.decode()
    else:
        assert json.loads(made) == {**document, "anthropic_beta": tokens}
        assert betas.with_member(made, "anthropic_beta", ["old"]) is not None


# -- live ---------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def post(body: bytes, *more: str, path: str = INVOKE) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: a", *more, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize("script", ["normalize_betas.py", "suite.py"])
def test_live(script: str, proxied) -> None:
    proxy = proxied(script, lambda c, _: c.sendall(OK), hoplint_profile=["bedrock"])
    body = b'{"messages": [], "anthropic_beta":["%s","%s"]}' % (FAST.encode(), CONTEXT.encode())
    proxy.ask(post(body, f"anthropic-beta: {FAST}", f"anthropic-beta: {CONTEXT}, {EFFORT}"))
    (sent,) = proxy.server.requests
    head, _, got = sent.partition(b"\r\n\r\n")
    assert got == b'{"messages": [], "anthropic_beta":["%s","%s"]}' % (CONTEXT.encode(), EFFORT.encode())
    assert b"Content-Length: %d\r\n" % len(got) in head + b"\r\n"
    assert f"anthropic-beta: {CONTEXT},{EFFORT}\r\n".encode() in head
    (flow,) = proxy.flows()
    journal = [entry for entry in flow.metadata[mitm.JOURNAL] if entry["addon"] == "normalize-betas"]
    assert [(entry["op"], entry["field"]) for entry in journal] == [
        ("set", "anthropic-beta"), ("drop", "anthropic-beta"), ("set", ":content anthropic_beta"),
    ]  # fmt: skip
    assert all(FAST in entry["why"] for entry in (journal[0], journal[2]))
    (exchange,) = recording.read(proxy.recording)
    assert exchange.received.request.fields.lines("anthropic-beta")[0].value == FAST.encode()


def test_compressed_content(proxied) -> None:
    proxy = proxied("normalize_betas.py", lambda c, _: c.sendall(OK), hoplint_profile=["bedrock"])
    body = gzip.compress(b'{"anthropic_beta":["%s"]}' % FAST.encode())
    proxy.ask(post(body, "Content-Encoding: gzip"))
    head, _, got = proxy.server.requests[0].partition(b"\r\n\r\n")
    assert gzip.decompress(got) == b'{"anthropic_beta":[]}'
    assert b"Content-Length: %d" % len(got) in head


@pytest.mark.parametrize("header", ["anthropic-beta: a , b", "X: 1"])
def test_byte_identical_where_nothing_is_to_do(header: str, proxied) -> None:
    proxy = proxied("normalize_betas.py", lambda c, _: c.sendall(OK), keep_host_header=True)
    asked = post(b'{"anthropic_beta" :["a","b"] }', header)
    proxy.ask(asked)
    assert proxy.server.requests == [asked]
    assert proxy.flows()[0].metadata == {}


def test_streamed_requests_keep_their_content(proxied) -> None:
    proxy = proxied(
        "normalize_betas.py",
        lambda c, _: c.sendall(OK),
        hoplint_profile=["bedrock"],
        stream_large_bodies="10",
    )
    body = b'{"anthropic_beta":["%s"]}' % FAST.encode()
    proxy.ask(post(body, f"anthropic-beta: {FAST},{CONTEXT}"))
    (sent,) = proxy.server.requests
    assert sent.endswith(b"\r\n\r\n" + body)
    assert f"anthropic-beta: {CONTEXT}\r\n".encode() in sent
    assert [entry["field"] for entry in proxy.flows()[0].metadata[mitm.JOURNAL]] == ["anthropic-beta"]


def test_handshake_live(proxied) -> None:
    refusal = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(refusal), hoplint_profile=["openai-responses-ws"])
    head = "\r\n".join(OPEN.split(" | "))
    with proxy.connect() as connection:
        connection.sendall(
            f"GET /v1/responses HTTP/1.1\r\nHost: a\r\n{head}\r\nOpenAI-Beta: responses=experimental, {OLD}\r\n\r\n".encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")
    assert f"\r\nOpenAI-Beta: {NEW}\r\n".encode() in proxy.server.requests[0]


def test_betas_go_by_the_credential_that_is_sent(proxied, tmp_path) -> None:
    """inject-auth comes first: what it puts in decides on oauth-2025-04-20."""
    key = tmp_path / "key"
    key.write_text("sk-ant-api03-canary")
    proxy = proxied(
        "suite.py", lambda c, _: c.sendall(OK), hoplint_profile=["anthropic"], auth_data_key=[f"file:{key}"]
    )
    proxy.ask(
        post(
            b"{}",
            "Authorization: Bearer None",
            f"anthropic-beta: oauth-2025-04-20,{CONTEXT}",
            path="/v1/messages",
        )
    )
    (sent,) = proxy.server.requests
    assert b"x-api-key: sk-ant-api03-canary\r\n" in sent
    assert f"anthropic-beta: {CONTEXT}\r\n".encode() in sent
    assert "canary" not in repr(proxy.flows()[0].metadata)


def test_failure_lets_the_request_pass(proxied, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    proxy = proxied("normalize_betas.py", lambda c, _: c.sendall(OK), keep_host_header=True)
    monkeypatch.setattr(mitm, "request_head", broken)
    asked = post(b"{}", "anthropic-beta: a,a")
    assert proxy.ask(asked).startswith(b"HTTP/1.1 200 ")
    assert proxy.server.requests == [asked]
    assert caplog.text.count("normalize-betas: failed on the request") == 2  # head and content


def test_recorded_flows_are_left_alone() -> None:
    flow = tflow.tflow()
    flow.live = False
    flow.request.headers.fields = ((b"anthropic-beta", b"a,a"),)
    addon.requestheaders(flow)
    addon.request(flow)
    assert flow.request.headers.fields == ((b"anthropic-beta", b"a,a"),)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["betas_drop_unknown=perhaps"], "betas: drop"),
        (["betas_unsuported=a"], "did you mean betas_unsupported"),
        (["betas_judged=x-beta"], "betas: judged"),
    ],
)
def test_bad_settings_stop_the_start(words: list[str], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("normalize_betas.py", words=words, save_stream_file=None)
    assert said in caplog.text

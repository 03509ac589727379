import base64
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.test import tflow

from conformance import mitm, recording
from conformance.message import Fields, Request
from conformance.policy import Auth, InjectAuth

SCRIPT = Path(__file__).parents[2] / "addons" / "inject_auth.py"
(addon,) = mitm.script_addons(SCRIPT)
inject_auth = sys.modules[type(addon).__module__]
Keys, DATA, CONTROL = inject_auth.Keys, inject_auth.DATA, inject_auth.CONTROL

KEY, ADMIN = "canary-data-4f1c", "canary-control-9e2b"
BOTH = Keys({DATA: KEY.encode(), CONTROL: ADMIN.encode()}, {})
ONE = Keys({DATA: KEY.encode()}, {})
NONE = inject_auth.NONE
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
NO = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


def lines(text: str) -> list[tuple[bytes, bytes]]:
    pairs = [line.strip().encode().partition(b":") for line in text.split("|") if line.strip()]
    return [(name, value.strip()) for name, _, value in pairs]


def request(
    text: str, path: str = "/v1/models", method: str = "GET", version: bytes = b"HTTP/1.1"
) -> Request:
    return Request(fields=Fields(lines(text)), method=method.encode(), target=path.encode(), version=version)


def changes(asked: Request, keys=NONE, headers=(), overwrite: bool = False, **auth) -> list[mitm.Change]:
    policy = InjectAuth(overwrite=overwrite)
    return list(inject_auth.authorized(asked, Auth(headers=headers, **auth), policy, keys))


def after(
    asked: Request, keys=NONE, headers=(), overwrite: bool = False, **auth
) -> list[tuple[bytes, bytes]]:
    made = changes(asked, keys, headers, overwrite, **auth)
    return [tuple(line) for line in mitm.changed(asked.fields, made)]


SK = "sk-proj-000000000000"


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        # nothing that is a credential
        ("X: 1 | Authorization: | Y: 2", "X: 1 | Y: 2"),
        ("Authorization: Bearer", ""),
        ("Authorization: Bearer None", ""),
        ("authorization: bearer undefined", ""),
        ("Authorization: null", ""),
        ("Authorization: Bearer Bearer", ""),
        ('Authorization: Bearer "None"', ""),
        ("Authorization: Bearer ${OPENAI_API_KEY}", ""),
        ("x-api-key: | x-goog-api-key: your-api-key", ""),
        (f"Authorization: Bearer {SK} | x-api-key: not-used", f"Authorization: Bearer {SK}"),
        # badly written
        (f"Authorization: {SK}", f"Authorization: Bearer {SK}"),
        (f"Authorization: Bearer:{SK}", f"Authorization: Bearer {SK}"),
        (f"Authorization: Bearer{SK}", f"Authorization: Bearer {SK}"),
        (f"authorization: bearer {SK}", f"authorization: Bearer {SK}"),
        (f"Authorization: Bearer Bearer: {SK}", f"Authorization: Bearer {SK}"),
        (f'Authorization: Bearer "Bearer {SK}"', f"Authorization: Bearer {SK}"),
        (f"Authorization: '{SK}'", f"Authorization: Bearer {SK}"),
        (f"Authorization: Bearer {SK}%0A", f"Authorization: Bearer {SK}"),
        (f"Authorization: Bearer {SK}\\r\\n", f"Authorization: Bearer {SK}"),
        (f"Authorization: Bearer <{SK}>", f"Authorization: Bearer {SK}"),
        (f'x-api-key: "{SK}"', f"x-api-key: {SK}"),
        # two
        (f"Authorization: Bearer {SK} | authorization: Bearer {SK}", f"Authorization: Bearer {SK}"),
        ("Authorization: Bearer sk-1 | Authorization: Bearer sk-2", "Authorization: Bearer sk-1"),
        ("x-api-key: dummy | X-Api-Key: sk-1", "X-Api-Key: sk-1"),
        ("x-api-key: sk-1 | Authorization: Bearer sk-2", "Authorization: Bearer sk-2"),
        ("x-api-key: sk-1 | Authorization: dummy", "x-api-key: sk-1"),
        # in the wrong place
        ("x-api-key: sk-ant-oat01-000000000000", "Authorization: Bearer sk-ant-oat01-000000000000"),
    ],
)  # fmt: skip
def test_mends(received: str, sent: str) -> None:
    assert after(request(received)) == lines(sent)


@pytest.mark.parametrize(
    "received",
    [
        "Host: a | Authorization: Bearer EMPTY",
        f"x-api-key: {SK} | authorization: Bearer {SK}",
        "Authorization: Bearer sk-1 | x-litellm-api-key: sk-2",
        "Authorization: Bearer ey.token | api-key: 0123456789",
        "Authorization: Basic YTpi | x-api-key: sk-1",
        "Authorization: Bearer sk=1",
        "Authorization: Bearer ***",
        "Authorization: Negotiate",
        "Proxy-Authorization: Bearer None | Cookie: a=None | X-Key: ${KEY}",
        "",
    ],
)
def test_leaves_alone(received: str) -> None:
    assert changes(request(received)) == []


@pytest.mark.parametrize(
    ("received", "headers", "sent"),
    [
        (f"x-api-key: {SK}", ("authorization",), f"Authorization: Bearer {SK}"),
        (f"Authorization: Bearer {SK}", ("x-goog-api-key",), f"x-goog-api-key: {SK}"),
        (f"x-api-key: {SK}", ("x-api-key", "authorization"), f"x-api-key: {SK}"),
        ("x-api-key: sk-1 | Authorization: Bearer sk-2", ("x-api-key", "authorization"), "x-api-key: sk-1"),
        ("Authorization: Basic YTpi", ("x-api-key",), "Authorization: Basic YTpi"),
    ],
)
def test_credential_goes_where_it_is_read(received: str, headers, sent: str) -> None:
    assert after(request(received), headers=headers) == lines(sent)


def test_paths_nobody_knows_keep_their_headers() -> None:
    assert changes(request(f"x-api-key: {SK}", "/packages/simple"), headers=("authorization",)) == []


PUT = f"Authorization: Bearer {KEY}"


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("Host: a", f"Host: a | {PUT}"),
        ("Authorization: Bearer None | Host: a", f"Host: a | {PUT}"),
        ("authorization: Bearer EMPTY", PUT),
        ("x-api-key: not-used", PUT),
        ("Authorization: Bearer a b c", PUT),
        ("Authorization: Bearer sk-client", "Authorization: Bearer sk-client"),
        ("Authorization: sk-client-00", "Authorization: Bearer sk-client-00"),
        ("x-api-key: sk-client", "x-api-key: sk-client"),
        ("Authorization: Basic YTpi", "Authorization: Basic YTpi"),
        ("Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-1",) * 2,
        ("Cookie: session=1", f"Cookie: session=1 | {PUT}"),
    ],
)  # fmt: skip
def test_key_is_put_in_where_there_is_none(received: str, sent: str) -> None:
    assert after(request(received), ONE) == lines(sent)


@pytest.mark.parametrize(
    ("headers", "key", "sent"),
    [
        (("x-api-key", "authorization"), "sk-ant-api03-0", "x-api-key: sk-ant-api03-0"),
        (("x-api-key", "authorization"), "sk-ant-oat01-0", "Authorization: Bearer sk-ant-oat01-0"),
        (("x-litellm-api-key", "authorization"), "sk-0", "x-litellm-api-key: sk-0"),
        (("x-goog-api-key",), "AIza0", "x-goog-api-key: AIza0"),
    ],
)
def test_header_of_the_key(headers, key: str, sent: str) -> None:
    assert after(request(""), Keys({DATA: key.encode()}, {}), headers) == lines(sent)


def test_names_are_lower_case_in_http2() -> None:
    assert after(request("", version=b"HTTP/2.0"), ONE) == [(b"authorization", f"Bearer {KEY}".encode())]


@pytest.mark.parametrize(
    ("path", "method", "key"),
    [
        ("/v1/chat/completions", "POST", KEY),
        ("/generate", "POST", KEY),
        ("/flush_cache", "GET", ADMIN),
        ("/flush_cache?timeout=1", "POST", ADMIN),
        ("/update_weights_from_disk", "POST", ADMIN),
        ("/health_generate", "GET", None),
        ("/metrics", "GET", None),
        ("/v1/chat/completions", "OPTIONS", None),
    ],
)
def test_key_of_the_path(path: str, method: str, key: str | None) -> None:
    sent = [(b"Authorization", f"Bearer {key}".encode())] if key else []
    assert after(request("", path, method), BOTH) == sent
    assert after(request("Authorization: Bearer None", path, method), BOTH) == sent


def test_one_key_is_for_both() -> None:
    assert after(request("", "/flush_cache"), ONE) == lines(PUT)
    assert after(request(""), Keys({CONTROL: ADMIN.encode()}, {})) == []


@pytest.mark.parametrize(
    ("path", "sent_by_client", "key"), [("/flush_cache", KEY, ADMIN), ("/v1/models", ADMIN, KEY), ("/health", ADMIN, None)]
)  # fmt: skip
def test_our_keys_where_they_do_not_belong(path: str, sent_by_client: str, key: str | None) -> None:
    sent = lines(f"Authorization: Bearer {key}") if key else []
    assert after(request(f"Authorization: Bearer {sent_by_client}", path), BOTH) == sent


def test_overwrite() -> None:
    asked = request("x-api-key: sk-1 | Host: a | Authorization: Bearer sk-2 | x-litellm-api-key: sk-3")
    assert after(asked, ONE, overwrite=True) == lines(f"Host: a | x-litellm-api-key: sk-3 | {PUT}")
    assert changes(request(PUT), ONE, overwrite=True) == []
    assert after(request("Authorization: Bearer sk-2"), NONE, overwrite=True) == lines(
        "Authorization: Bearer sk-2"
    )


def test_key_that_cannot_be_used() -> None:
    keys = Keys({}, {DATA: "No such file or directory"})
    with pytest.raises(mitm.Refused, match=r"auth\.data-key cannot be used: No such file") as refused:
        changes(request("Authorization: Bearer None"), keys)
    assert refused.value.status == 502
    assert changes(request("Authorization: Bearer sk-client"), keys) == []
    assert changes(request("", "/health"), keys) == []
    with pytest.raises(mitm.Refused):
        changes(request("Authorization: Bearer sk-client"), keys, overwrite=True)


@pytest.mark.parametrize(
    ("content", "found", "problem"),
    [
        (b"sk-1", b"sk-1", None),
        (b"  sk-1\r\n", b"sk-1", None),
        (b"sk-1\r\nX-Injected: 1", None, "more than one line"),
        (b"sk-1\nsk-2", None, "more than one line"),
        (b"Bearer sk-1", None, "the key alone"),
        (b"", None, "empty"),
        (b"None", None, "placeholder"),
        (b"${KEY}", None, "placeholder"),
        (b"sk-\xff", None, "control characters"),
        (None, None, "No such file"),
    ],
)
def test_files(tmp_path, content: bytes | None, found: bytes | None, problem: str | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    keys = inject_auth.read_keys(Auth(data_key=f"file:{path}"))
    assert keys.found.get(DATA) == found
    assert (problem is None) == (keys.problems == {})
    if problem:
        assert problem in keys.problems[DATA]
        assert "sk-" not in keys.problems[DATA]
        assert str(tmp_path) not in keys.problems[DATA]


def test_variables(monkeypatch) -> None:
    auth, required = Auth(data_key="env:CANARY"), Auth(data_key="env:CANARY", required=True)
    for value in (None, " "):
        monkeypatch.delenv("CANARY", raising=False) if value is None else monkeypatch.setenv("CANARY", value)
        assert inject_auth.read_keys(auth) == NONE
        assert DATA in inject_auth.read_keys(required).problems
    monkeypatch.setenv("CANARY", "a b")
    assert DATA in inject_auth.read_keys(auth).problems


@pytest.mark.parametrize(
    ("scheme", "host", "port", "upstream", "hosts", "may"),
    [
        ("http", "a.example", 80, ("a.example", 80), (), True),
        ("http", "a.example", 81, ("a.example", 80), (), False),
        ("http", "a.example", 80, None, (), False),
        ("https", "A.example", 443, None, ("a.example",), True),
        ("https", "a.example", 8443, None, ("a.example",), True),
        ("http", "a.example", 80, None, ("a.example",), False),
        ("http", "a.example", 443, None, ("a.example",), False),
        ("http", "a.example", 80, None, ("*.example:80",), True),
        ("http", "a.example", 81, None, ("*.example:80",), False),
        ("https", "a.example.evil", 443, None, ("*.example", "a.example"), False),
        ("http", "::1", 80, None, ("[[]::1]:80",), True),
        ("https", "b.example", 443, ("b.example", 443), ("a.example",), False),
    ],
)  # fmt: skip
def test_hosts(scheme: str, host: str, port: int, upstream, hosts, may: bool) -> None:
    assert inject_auth.may_get(scheme, host, port, upstream, hosts) is may


NAMES = [
    "Authorization",
    "authorization",
    "x-api-key",
    "X-Api-Key",
    "api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "Host",
]
VALUES = [
    "", "Bearer", "Bearer None", "Bearer sk-1", "bearer sk-2", "sk-3", "dummy", "Bearer EMPTY", "Bearer Bearer sk-4",
    "Basic YTpi", "Bearer a b", '"sk-5"', "${KEY}", "sk-ant-oat01-1", f"Bearer {KEY}", ADMIN, "Bearer sk=1", "Bearer ***",
]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6),
    st.sampled_from([NONE, ONE, BOTH]),
    st.sampled_from(
        [(), ("authorization",), ("x-api-key", "authorization"), ("x-litellm-api-key", "authorization")]
    ),
    st.sampled_from(["/v1/models", "/flush_cache", "/health", "/x"]),
    st.booleans(),
)
def test_properties(pairs, keys, headers, path, overwrite) -> None:
    def once(fields):
        asked = Request(fields=Fields(fields), method=b"GET", target=path.encode())
        made = changes(asked, keys, headers, overwrite)
        for change in made:
            assert not any(
                secret in change.why for secret in (KEY, ADMIN, "sk-1", "sk-2", "sk-3", "sk-4", "sk-5")
            )
        return [tuple(line) for line in mitm.changed(asked.fields, made)]

    received = [(name.encode(), value.encode()) for name, value in pairs]
    sent = once(received)
    assert once(sent) == sent
    names = [name.lower() for name, _ in sent if name != b"Host"]
    assert len(names) == len(set(names)), "no header twice"
    assert [line for line in sent if line[0] == b"Host"] == [line for line in received if line[0] == b"Host"]


# -- live ---------------------------------------------------------------------------------------------------


def get(path: str = "/v1/models", *more: str, host: str = "a") -> bytes:
    head = [f"GET {path} HTTP/1.1", f"Host: {host}", *more, "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode()


def credentials(head: bytes) -> list[bytes]:
    return [
        line for line in head.split(b"\r\n") if line.lower().startswith((b"authorization:", b"x-api-key:"))
    ]


def test_without_a_key_and_without_junk_nothing_changes(proxied) -> None:
    proxy = proxied("inject_auth.py", lambda c, _: c.sendall(OK), keep_host_header=True)
    asked = get("/v1/models", "authorization:  Bearer sk-client", "X-API-Key: sk-client")
    proxy.ask(asked)
    assert proxy.server.requests == [asked.replace(b":  ", b": ")]
    (flow,) = proxy.flows()
    assert flow.metadata == {}


@pytest.mark.parametrize("script", ["inject_auth.py", "suite.py"])
def test_keys_by_path_from_files(script: str, proxied, tmp_path, caplog) -> None:
    data, control = tmp_path / "data", tmp_path / "control"
    data.write_text(KEY + "\n")
    control.write_text(ADMIN)
    proxy = proxied(
        script,
        lambda c, _: c.sendall(OK),
        auth_data_key=[f"file:{data}"],
        auth_control_key=[f"file:{control}"],
        flow_detail=0,
    )
    for path in ("/v1/models", "/flush_cache", "/health_generate"):
        assert proxy.ask(get(path, "Authorization: Bearer None")).startswith(b"HTTP/1.1 200 ")
    data.write_text("another-key")
    proxy.ask(get())
    assert [credentials(head) for head in proxy.server.requests] == [
        [f"Authorization: Bearer {KEY}".encode()],
        [f"Authorization: Bearer {ADMIN}".encode()],
        [],
        [b"Authorization: Bearer another-key"],
    ]
    flows = proxy.flows()
    told = repr([flow.metadata for flow in flows]) + "".join(flow.comment for flow in flows) + caplog.text
    assert KEY not in told
    assert ADMIN not in told
    assert base64.b64encode(KEY.encode()).decode() not in told
    last = flows[-1].metadata[mitm.JOURNAL][-1]
    assert (last["addon"], last["op"], last["why"]) == ("inject-auth", "add", "auth.data-key put in")
    assert last["after"][0].startswith("Bearer sha256-")
    for exchange in recording.read(proxy.recording):
        assert KEY not in repr(exchange.edits)


def test_host_and_absolute_form_decide_nothing(proxied, tmp_path) -> None:
    """A key for one host goes nowhere else, whatever the request says of itself."""
    key = tmp_path / "key"
    key.write_text(KEY)
    proxy = proxied(
        "inject_auth.py",
        lambda c, _: c.sendall(OK),
        auth_data_key=[f"file:{key}"],
        inject_auth_hosts=["api.example"],
        keep_host_header=True,
    )
    proxy.ask(get(host="api.example"))
    proxy.ask(get("http://api.example/v1/models", host="api.example"))
    assert [credentials(head) for head in proxy.server.requests] == [[], []]


def test_a_forward_proxy_keeps_its_keys_without_hosts(proxied, tmp_path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    proxy = proxied(
        "inject_auth.py", lambda c, _: c.sendall(OK), auth_data_key=[f"file:{key}"], mode=["regular"]
    )
    url = f"http://127.0.0.1:{proxy.server.port}/v1/models"
    proxy.ask(get(url))
    proxy.try_to_set(inject_auth_hosts=[f"127.0.0.1:{proxy.server.port}"])
    proxy.ask(get(url))
    assert [credentials(head) for head in proxy.server.requests] == [
        [],
        [f"Authorization: Bearer {KEY}".encode()],
    ]


def test_missing_file_fails_closed(proxied, tmp_path, caplog) -> None:
    key = tmp_path / "key"
    proxy = proxied("suite.py", lambda c, _: c.sendall(OK), auth_data_key=[f"file:{key}"])
    got = proxy.ask(get())
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"inject-auth: auth.data-key cannot be used: No such file or directory" in got
    assert str(tmp_path).encode() not in got
    assert proxy.ask(get("/v1/models", "Authorization: Bearer sk-client")).startswith(b"HTTP/1.1 200 ")
    key.write_bytes(KEY.encode() + b"\r\nX-Injected: 1")
    got = proxy.ask(get())
    assert b"more than one line" in got
    key.write_text(KEY)
    assert proxy.ask(get()).startswith(b"HTTP/1.1 200 ")
    assert b"X-Injected" not in b"".join(proxy.server.requests)
    assert KEY not in got.decode() + caplog.text + repr([flow.metadata for flow in proxy.flows()])


def test_failure_fails_closed(proxied, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(mitm, "request_head", broken)
    proxy = proxied("inject_auth.py", lambda c, _: c.sendall(OK))
    got = proxy.ask(get("/v1/models", f"Authorization: Bearer {KEY}"))
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"inject-auth failed on the request" in got
    assert proxy.server.requests == []
    assert KEY not in got.decode() + caplog.text + repr([flow.metadata for flow in proxy.flows()])


def test_map_remote_gets_no_key(proxied, tmp_path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    proxy = proxied(
        "inject_auth.py",
        lambda c, _: c.sendall(OK),
        auth_data_key=[f"file:{key}"],
        map_remote=["|nothing|http://elsewhere.example"],
    )
    assert b"map_remote may send" in proxy.ask(get())
    assert proxy.server.requests == []


def test_a_refused_key_is_said_once(proxied, tmp_path, caplog) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    answers = [NO] * 5 + [OK, NO, NO]
    proxy = proxied(
        "suite.py",
        lambda c, _: c.sendall(answers.pop(0)),
        words=["map_status_enabled=true"],
        auth_data_key=[f"file:{key}"],
    )
    got = [proxy.ask(get()) for _ in range(8)]
    assert [head[9:12] for head in got] == [b"502"] * 5 + [b"200"] + [b"502"] * 2
    said = [record.getMessage() for record in caplog.records if "refuses the key" in record.getMessage()]
    assert len(said) == 2
    assert "auth.data-key" in said[0]
    assert "401" in said[0]
    assert KEY not in caplog.text


def test_a_refused_credential_of_the_client_is_its_own(proxied, caplog) -> None:
    proxy = proxied("suite.py", lambda c, _: c.sendall(NO), words=["map_status_enabled=true"])
    assert proxy.ask(get("/v1/models", "Authorization: bearer sk-client")).startswith(b"HTTP/1.1 401 ")
    assert "refuses" not in caplog.text


def test_refused_keys_are_remembered_within_bounds() -> None:
    addon.refused.clear()
    for number in range(inject_auth.REMEMBERED + 10):
        flow = tflow.tflow(resp=True)
        flow.live = True
        flow.request.port = number
        flow.response.status_code = 401
        entry = {
            "addon": "inject-auth",
            "part": "request",
            "op": "add",
            "field": "Authorization",
            "before": [],
        }
        flow.metadata[mitm.JOURNAL] = [{**entry, "after": ["Bearer sha256-0"], "why": "auth.data-key put in"}]
        addon.responseheaders(flow)
    assert len(addon.refused) == inject_auth.REMEMBERED


def test_recorded_flows_get_no_key(monkeypatch) -> None:
    monkeypatch.setattr(addon, "auth", Auth(data_key="env:SGLANG_API_KEY"))
    flow = tflow.tflow()
    flow.live = False
    before = flow.request.headers.fields
    addon.requestheaders(flow)
    assert flow.request.headers.fields == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["auth_data_key=sk-canary"], "a secret is never written down"),
        (["inject_auth_overwrite=perhaps"], "inject_auth: overwrite"),
        (["inject_auth_host=a"], "did you mean inject_auth_hosts"),
    ],
)
def test_bad_settings_stop_the_start(words: list[str], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("inject_auth.py", words=words, save_stream_file=None)
    assert said in caplog.text
    assert "sk-canary" not in caplog.text

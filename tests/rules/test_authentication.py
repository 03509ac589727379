"""What docstring examples cannot show: territories, odd but ordinary credentials, policies, secrets."""

import base64

import pytest

from conformance.known import API_KEYS
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response
from conformance.policy import Auth, Policy
from conformance.rule import NOTE
from conformance.rule import load as load_rules
from conformance.rules import authentication
from conformance.rules.field_lines import _NOTHINGS, JUDGED_BY
from conformance.settings import load

RULES = load_rules()
TOPIC = {name: rule for name, rule in RULES.items() if rule.topic == "authentication"}

type Lines = list[tuple[str, str]]


def fields(lines: Lines) -> Fields:
    return Fields([(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines])


def request(lines: Lines, target: str = "/v1/models", method: str = "GET", **facts: object) -> Request:
    made = fields([("Host", "api.example"), *lines])
    return Request(method=method.encode(), target=target.encode("latin-1"), fields=made, **facts)


def answer(status: int, lines: Lines | None = None) -> Response:
    return Response(code=str(status).encode(), fields=fields([("Content-Length", "0"), *(lines or [])]))


def lint(exchange: Exchange | Request, policy: Policy | None = None, rules=TOPIC) -> list[tuple[str, str]]:
    """(rule, why) without the notes."""
    if isinstance(exchange, Request):
        exchange = Exchange(request=exchange)
    linter = Linter(rules, policy, Settings(), "example")
    linter.take(exchange)
    assert not linter.failures, linter.failures
    return [(found.rule, found.why) for found in linter.findings if found.severity is not NOTE]


def names(exchange: Exchange | Request, policy: Policy | None = None, rules=TOPIC) -> list[str]:
    return [rule for rule, _ in lint(exchange, policy, rules)]


def notes(exchange: Exchange) -> list[str]:
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(exchange)
    return [found.rule for found in linter.findings if found.severity is NOTE]


MALFORMED, EMPTY = "authorization-malformed", "empty-bearer-token"
PLACEHOLDER, TEMPLATE = "placeholder-bearer-token", "unexpanded-template-in-credential"
DOUBLED, BASIC = "doubled-bearer-scheme", "basic-credentials-malformed"
TOKEN, CASE = "bearer-token-malformed", "bearer-scheme-in-wrong-case"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", MALFORMED),
        ("sk-000000000000", MALFORMED),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", MALFORMED),
        ("Bearersk-000000000000", MALFORMED),
        ("Bearer:sk-000000000000", MALFORMED),
        ("Bearer: sk-000000000000", MALFORMED),
        ("Bearer=sk-000000000000", MALFORMED),
        ("Bearer\tsk-000000000000", MALFORMED),
        ('"Bearer sk-000000000000"', MALFORMED),
        ("Bearer", EMPTY),
        ("bearer", EMPTY),
        ("Bearer None", PLACEHOLDER),
        ("bearer none", PLACEHOLDER),
        ("None", PLACEHOLDER),
        ("Token null", PLACEHOLDER),
        ("Bearer [object Object]", PLACEHOLDER),
        ("Bearer <your-api-key>", PLACEHOLDER),
        ("Bearer YOUR_API_KEY", PLACEHOLDER),
        ("Bearer your-openai-api-key-here", PLACEHOLDER),
        ("Bearer sk-your-key", PLACEHOLDER),
        ("Bearer insert your key here", PLACEHOLDER),
        ("Bearer OPENAI_API_KEY", PLACEHOLDER),
        ("Bearer <sk-000000000000>", TOKEN),  # a real key in the manual's brackets
        ("Bearer ${OPENAI_API_KEY}", TEMPLATE),
        ("Bearer $OPENAI_API_KEY", TEMPLATE),
        ("Bearer {{ secrets.key }}", TEMPLATE),
        ("Bearer {env:OPENAI_API_KEY}", TEMPLATE),
        ("Bearer os.environ/OPENAI_API_KEY", TEMPLATE),
        ("Bearer process.env.OPENAI_API_KEY", TEMPLATE),
        ("Bearer $(cat /run/key)", TEMPLATE),
        ("Bearer %OPENAI_API_KEY%", TEMPLATE),
        ("${AUTHORIZATION}", TEMPLATE),
        ("Basic ${CREDENTIALS}", TEMPLATE),
        ("Bearer Bearer sk-000000000000", DOUBLED),
        ("Bearer bearer", DOUBLED),
        ("Bearer Basic YTpi", DOUBLED),
        ("Bearer Bearer: sk-000000000000", DOUBLED),
        ("Bearer 'sk-000000000000'", DOUBLED),
        ("Bearer sk-000000000000 sk-111111111111", DOUBLED),
        ("Bearer sk-000000000000,sk-111111111111", DOUBLED),
        ("Bearer sk-000000000000\\n", TOKEN),
        ("Bearer sk-000000000000%0A", TOKEN),
        ("Bearer sk=000000000000", TOKEN),
        ("Bearer sk-000000000000,", TOKEN),
        ("Bearer ===", TOKEN),
        ("bearer sk-000000000000", CASE),
        ("BEARER sk-000000000000", CASE),
        ("Basic", BASIC),
        ("Basic alice:secret", BASIC),
        ("Basic YWxpY2U=", BASIC),  # no colon
        ("basic YWxpY2U6c2VjcmV0Cg==", BASIC),  # LF at the end
        ("Basic YWxpY2U6c2VjcmV0x", BASIC),
        ("Basic None", BASIC),
    ],
)
def test_each_defect_of_authorization_is_one_rules_business(value: str, expected: str) -> None:
    assert names(request([("Authorization", value)]), rules=RULES) == [expected]


@pytest.mark.parametrize(
    "value",
    [
        "Bearer sk-000000000000",
        "Bearer  sk-000000000000",  # 1*SP
        "Bearer ya29.a0AfH6-_~+/==",
        "Bearer x",
        "Bearer EMPTY",
        "Bearer not-needed",
        "Bearer none-of-your-business",
        "Bearer keyboard-your-cat",
        "Bearer 0f1e2d3c4b5a69788796a5b4c3d2e1f0",  # slime: a session id
        "Bearer tid=0123;exp=1795144455;sku=free;8kp=1:abcdef",  # GitHub Copilot
        "Bearer " + "a" * 100_000,
        "Bearer ***",
        "Bearer [REDACTED]",
        "Bearer <redacted>",
        "Bearer sha256-0123456789ab",
        "***",
        "REDACTED",
        "Basic ***",
        "Basic [FILTERED]",
        "Basic " + base64.b64encode(b"alice:se:cr\xc3\xa9t").decode(),
        "Basic Og==",  # both empty
        "Token 0123456789abcdef",
        "Key 01234567:89abcdef",  # fal.ai
        "ApiKey 0123",
        "Negotiate",
        "NTLM TlRMTVNTUAABAAAA",
        'Digest username="alice", realm="a", nonce="b", uri="/", response="c"',
        "AWS4-HMAC-SHA256 Credential=AKID/20261120/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=0123",
    ],
)
def test_ordinary_and_masked_credentials_are_silent(value: str) -> None:
    assert names(request([("Authorization", value)])) == []


def test_what_the_rules_about_field_lines_see_is_theirs() -> None:
    for value, rule in [
        ("Bearer sk\x00", "newline-or-nul-in-header"),
        ("Bearer sk\x1b[0m", "control-character-in-header"),
        ("Bearer sk-\xe2\x80\xa6", "non-ascii-header-value"),
        ("Bearer a, Bearer b", "joined-singleton-value"),
    ]:
        for name in ("Authorization", "x-api-key"):
            found = names(request([(name, value)]), rules=RULES)
            assert [one for one in found if RULES[one].topic == "authentication"] == [], (name, value)
            assert found == ([rule] if name == "Authorization" or rule != "joined-singleton-value" else [])


@pytest.mark.parametrize("field", sorted(authentication.CREDENTIALS))
def test_nothings_that_the_general_rules_leave_to_this_topic_are_found_once(field: str) -> None:
    assert JUDGED_BY[field] in TOPIC
    for value in ["", *(nothing.decode() for nothing in _NOTHINGS)]:
        assert len(names(request([(field, value)]), rules=RULES)) == 1, value


@pytest.mark.parametrize("field", sorted(API_KEYS))
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ["empty-api-key-header"]),
        ("Bearer", ["empty-api-key-header"]),
        ("undefined", ["placeholder-api-key"]),
        ("Bearer None", ["placeholder-api-key"]),
        ("<key>", ["placeholder-api-key"]),
        ("${KEY}", [TEMPLATE]),
        ('"sk-000000000000"', [DOUBLED]),
        ("sk-ant-oat01-000000000000", ["oauth-token-as-api-key"]),
        ("Bearer ya29.a0AfH6", ["oauth-token-as-api-key"]),
        ("sk-ant-api03-000000000000", []),
        ("Bearer sk-000000000000", []),
        ("dummy", []),
        ("***", []),
        ("key with spaces", []),
    ],
)
def test_api_keys(field: str, value: str, expected: list[str]) -> None:
    assert names(request([(field, value)]), rules=RULES) == expected


KEY, OTHER = "sk-000000000000", "sk-111111111111"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("Authorization", f"Bearer {KEY}"), ("x-api-key", OTHER)], ["conflicting-credentials"]),
        ([("Authorization", f"Bearer {KEY}"), ("x-api-key", KEY)], []),
        ([("x-api-key", OTHER), ("x-goog-api-key", KEY)], ["conflicting-credentials"]),
        ([("Authorization", f"Bearer {KEY}"), ("api-key", OTHER)], []),  # Azure API Management
        ([("Authorization", f"Bearer {KEY}"), ("x-goog-api-key", OTHER)], []),
        ([("Authorization", f"Bearer {KEY}"), ("x-litellm-api-key", OTHER)], []),
        ([("x-api-key", KEY), ("x-litellm-api-key", f"Bearer {OTHER}")], []),
        (
            [("Authorization", "Basic YTpi"), ("x-api-key", OTHER)],
            [],
        ),  # for the web server, for the application
        ([("Authorization", "Bearer ***"), ("x-api-key", KEY)], []),
        ([("Authorization", "Bearer sha256-0123456789ab"), ("x-api-key", "sha256-ba9876543210")], []),
        ([("Authorization", "Bearer None"), ("x-api-key", OTHER)], [PLACEHOLDER]),
        ([("Authorization", "Bearer dummy"), ("x-api-key", OTHER)], [PLACEHOLDER]),
        ([("Authorization", f"Bearer {KEY}"), ("x-api-key", "not-used")], ["placeholder-api-key"]),
        ([("Authorization", "Bearer dummy"), ("x-api-key", "EMPTY")], ["conflicting-credentials"]),
        ([("Authorization", "Bearer dummy"), ("api-key", OTHER)], []),
        (
            [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {OTHER}")],
            ["duplicate-authorization"],
        ),
        ([("x-api-key", KEY), ("X-Api-Key", OTHER)], ["duplicate-api-key"]),
    ],
)
def test_two_credentials(lines: Lines, expected: list[str]) -> None:
    assert names(request(lines), rules=RULES) == expected


# ---- where credentials stand


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/v1/models?api_key=abc", True),
        ("/v1/models?x=1&Api-Key=abc", True),
        ("/v1/models?access_token=abc#frag", True),
        ("/v1beta/models/gemini-2.5-flash:generateContent?key=abc", True),
        ("/v1beta/models?key=AIzaSy0000000000000000000000", True),
        ("/ws?token=sk-000000000000000000", True),
        ("/ws?jwt=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", True),
        ("/v1/models?key=abc", False),
        ("/v1/models?token=CAUQAA&page_token=abc", False),
        ("/v1/models?api_key=", False),
        ("/v1/models?api_key=None", False),
        ("/v1/models?alt=sse", False),
        ("/object?X-Amz-Credential=AKID&X-Amz-Signature=0123", False),
        ("/v1/keys/api_key", False),
        ("/login?state=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", False),
        ("/?" + "&" * 100_000 + "a" * 100_000, False),
    ],
)
def test_credential_in_request_target(target: str, found: bool) -> None:
    assert (names(request([], target)) == ["credential-in-request-target"]) is found


@pytest.mark.parametrize(
    ("upstream", "found"),
    [
        ("api.example.com:80", True),
        ("8.8.8.8:80", True),
        ("[2606:4700::1111]:80", True),
        ("api.example.com.:80", True),
        (None, False),
        ("127.0.0.1:4000", False),
        ("[::1]:4000", False),
        ("[fe80::1%eth0]:4000", False),
        ("10.1.2.3:80", False),
        ("172.20.0.3:80", False),
        ("100.101.102.103:80", False),  # Tailscale
        ("169.254.1.1:80", False),
        ("localhost:80", False),
        ("litellm:4000", False),
        ("printer.local:80", False),
        ("host.docker.internal:80", False),
        ("litellm.default.svc.cluster.local:80", False),
        ("litellm.default.svc:80", False),
    ],
)
def test_credentials_over_plain_http(upstream: str | None, found: bool) -> None:
    exchange = Exchange(request=request([("Authorization", f"Bearer {KEY}")]), upstream=upstream)
    assert (names(exchange) == ["credentials-over-plain-http"]) is found


def test_plain_http_without_a_credential_or_with_tls() -> None:
    far = "api.example.com:443"
    assert names(Exchange(request=request([]), upstream=far)) == []
    with_key = request([("x-api-key", KEY)])
    assert names(Exchange(request=with_key, upstream=far, scheme=b"https")) == []
    assert names(Exchange(request=with_key, upstream=far, scheme=b"ws")) == ["credentials-over-plain-http"]


# ---- policies


def policy(**auth: object) -> Policy:
    return Policy(auth=Auth(**auth))


@pytest.mark.parametrize(
    ("lines", "target", "method", "status", "found"),
    [
        ([], "/v1/chat/completions", "POST", None, True),
        ([], "/v1/chat/completions", "POST", 401, True),
        ([], "/v1/chat/completions", "POST", 500, True),  # LiteLLM without a database
        ([], "/v1/chat/completions", "POST", 200, False),  # then it needs none
        ([], "/v1/chat/completions", "OPTIONS", 401, False),
        ([], "/", "HEAD", 401, False),  # Claude Code's probe
        ([], "/favicon.ico", "GET", 401, False),
        ([], "/health", "GET", None, False),
        ([("Authorization", f"Bearer {KEY}")], "/v1/models", "GET", 401, False),
        ([("Authorization", "Bearer ***")], "/v1/models", "GET", 401, False),
        ([("Cookie", "session=1")], "/v1/models", "GET", 401, False),
        ([("Ocp-Apim-Subscription-Key", "0123")], "/v1/models", "GET", 401, False),
        ([("X-Codex-Turn-State", "0123")], "/v1/models", "GET", 401, True),
        ([], "/v1/models?api_key=abc", "GET", 401, False),
        ([], "/v1/models?gatekey=abc", "GET", 401, False),
        (
            [("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-000")],
            "/v1/realtime",
            "GET",
            None,
            False,
        ),
    ],
)
def test_credentials_missing(lines: Lines, target: str, method: str, status: int | None, found: bool) -> None:
    exchange = Exchange(
        request=request(lines, target, method), response=None if status is None else answer(status)
    )
    only = {"credentials-missing": RULES["credentials-missing"]}
    required = policy(required=True, parameters=("gatekey",))
    assert names(exchange, required, only) == (["credentials-missing"] if found else [])
    assert names(exchange, policy(), only) == []


def test_a_har_may_have_lost_its_credentials() -> None:
    rebuilt = Exchange(request=request([], verbatim=False), response=answer(401))
    assert names(rebuilt, policy(required=True, headers=("authorization",))) == []
    assert notes(rebuilt) == []


@pytest.mark.parametrize(
    ("lines", "status", "found"),
    [
        ([("x-api-key", KEY)], 401, True),
        ([("x-api-key", KEY)], None, True),
        ([("x-api-key", KEY)], 200, False),
        ([("x-api-key", KEY), ("Authorization", f"Bearer {KEY}")], 401, False),
        ([("Authorization", f"Bearer {KEY}")], 401, False),
        ([], 401, False),
    ],
)
def test_wrong_credential_header(lines: Lines, status: int | None, found: bool) -> None:
    exchange = Exchange(request=request(lines), response=None if status is None else answer(status))
    reads = policy(headers=("authorization",))
    assert names(exchange, reads) == (["wrong-credential-header"] if found else [])
    assert names(exchange) == []


@pytest.mark.parametrize(
    ("target", "lines", "status", "required", "found"),
    [
        ("/flush_cache", [], 401, False, True),
        ("/engine/flush_cache", [], 403, False, True),
        ("/update_weights_from_tensor", [], 401, False, True),
        ("/flush_cache", [], 200, False, False),
        ("/flush_cache", [], 200, True, False),
        ("/flush_cache", [], None, False, False),
        ("/flush_cache", [], None, True, True),
        ("/flush_cache", [("x-api-key", KEY)], 401, False, False),
        ("/v1/chat/completions", [], 401, False, False),
        ("/health_generate", [], 401, False, False),
    ],
)
def test_control_plane_key_missing(
    target: str, lines: Lines, status: int | None, required: bool, found: bool
) -> None:
    exchange = Exchange(request=request(lines, target), response=None if status is None else answer(status))
    only = {"control-plane-key-missing": RULES["control-plane-key-missing"]}
    assert names(exchange, policy(required=required), only) == (
        ["control-plane-key-missing"] if found else []
    )


def test_router_paths_come_from_the_profile() -> None:
    exchange = Exchange(request=request([], "/workers", "POST"), response=answer(401))
    assert names(exchange) == []
    router = load(isolated=True, profile="sglang-router").settings.policy
    assert names(exchange, router) == ["control-plane-key-missing"]


def test_keys_are_told_apart_by_reference(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOPLINT_TEST_DATA", KEY)
    (tmp_path / "control").write_text(OTHER + "\n")
    both = policy(data_key="env:HOPLINT_TEST_DATA", control_key=f"file:{tmp_path / 'control'}")
    data, control = [("Authorization", f"Bearer {KEY}")], [("x-api-key", OTHER)]
    assert names(request(data, "/flush_cache"), both) == ["data-key-on-control-plane"]
    assert names(request(control, "/flush_cache"), both) == []
    assert names(request(data), both) == []
    assert names(request(control), both) == ["control-plane-key-on-data-path"]
    assert not any(secret in str(lint(request(control), both)) for secret in (KEY, OTHER))


def test_keys_that_are_missing_or_equal_tell_nothing(monkeypatch) -> None:
    monkeypatch.setenv("HOPLINT_TEST_ONE", KEY)
    monkeypatch.delenv("HOPLINT_TEST_NONE", raising=False)
    sent = [("Authorization", f"Bearer {KEY}")]
    for auth in (
        {"data_key": "env:HOPLINT_TEST_ONE"},
        {"control_key": "env:HOPLINT_TEST_ONE"},
        {"data_key": "env:HOPLINT_TEST_ONE", "control_key": "env:HOPLINT_TEST_NONE"},
        {"data_key": "env:HOPLINT_TEST_ONE", "control_key": "env:HOPLINT_TEST_ONE"},
    ):
        assert names(request(sent, "/flush_cache"), policy(**auth)) == []
        assert names(request(sent), policy(**auth)) == []


@pytest.mark.parametrize(
    ("profile", "lines", "target", "expected"),
    [
        ("openai", [], "/v1/responses", ["credentials-missing"]),
        ("openai", [("x-api-key", KEY)], "/v1/responses", ["wrong-credential-header"]),
        ("anthropic", [("Authorization", f"Bearer {KEY}")], "/v1/messages", []),
        ("gemini", [], "/v1beta/models/m:generateContent?key=abc", ["credential-in-request-target"]),
        ("gemini", [("api-key", KEY)], "/v1beta/models/m:generateContent", ["wrong-credential-header"]),
        ("litellm", [("x-litellm-api-key", KEY)], "/v1/messages", []),
        ("litellm", [], "/v1/messages", ["credentials-missing"]),
        ("vllm", [], "/v1/chat/completions", []),  # a key is optional
        ("sglang", [("x-api-key", KEY)], "/v1/chat/completions", []),
        ("sglang-router", [("x-api-key", KEY)], "/v1/chat/completions", ["wrong-credential-header"]),
        ("sglang-router", [], "/v1/models", []),
        ("openrouter", [], "/api/v1/models", []),
    ],
)
def test_profiles(profile: str, lines: Lines, target: str, expected: list[str]) -> None:
    wanted = load(isolated=True, profile=profile).settings.policy
    assert names(request(lines, target, "POST"), wanted) == expected


# ---- answers


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Basic realm=api",  # recipients take a token too (RFC 9110 §11.5)
        'Bearer realm="data-plane", error="invalid_token", error_description="The \\"key\\", it expired"',
        'Basic realm="a", Bearer realm="b", Digest realm="c", qop="auth", algorithm=SHA-256',
        "Negotiate",
        "Negotiate YII/+a==",
        "Negotiate, NTLM, Basic realm=x",
        'Bearer ,realm="x"',
        'Bearer realm = "x"',
        'Bearer resource_metadata="https://a.example/.well-known/oauth-protected-resource"',
        'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
        'Cookie realm="x", cookie-name=sid',
        'PrivateToken challenge="abc=", token-key="def="',
    ],
)
def test_challenges_that_can_be_read(value: str) -> None:
    assert names(Exchange(request=request([]), response=answer(401, [("WWW-Authenticate", value)]))) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is empty"),
        (" , ,", "is empty"),
        ('realm="x"', "without a scheme"),
        ('Bearer, realm="x"', "without a scheme"),
        ("Bearer realm=my realm", "cannot be read"),
        ('Bearer realm="open', "cannot be read"),
        ('Bearer realm="a", realm="b"', "twice"),
        ("Unauthorized: no key", "cannot be read"),
        ('{"error":"unauthorized"}', "cannot be read"),
        ("None", "as its scheme"),
    ],
)
def test_challenges_that_cannot(value: str, said: str) -> None:
    for name in ("WWW-Authenticate", "Proxy-Authenticate"):
        exchange = Exchange(request=request([]), response=answer(401, [(name, value)]))
        ((rule, why),) = lint(exchange)
        assert rule == "www-authenticate-malformed"
        assert said in why


@pytest.mark.parametrize("piece", [b"a", b"a=", b'"', b"\\", b"=", b"a ", b"a,", b"a=b ", b'a="', b" ", b","])
def test_no_pattern_backtracks_for_long(piece: bytes) -> None:
    hostile = piece * 20_000
    for value in (hostile, b"Bearer " + hostile, b"Basic " + hostile, b"Bearer realm=" + hostile):
        lines = [(b"Authorization", value), (b"x-api-key", value)]
        exchange = Exchange(
            request=Request(method=b"GET", target=b"/?" + hostile, fields=Fields(lines)),
            response=Response(code=b"401", fields=Fields([(b"WWW-Authenticate", value)])),
        )
        linter = Linter(TOPIC, None, Settings(), "example")
        linter.take(exchange)
        assert not linter.failures


@pytest.mark.parametrize(
    ("status", "error", "found"),
    [
        (401, "invalid_token", False),
        (403, "invalid_token", True),
        (400, "invalid_request", False),
        (401, "invalid_request", True),
        (403, "insufficient_scope", False),
        (401, "insufficient_scope", True),
        (418, "of_our_own", False),
    ],
)
def test_bearer_errors(status: int, error: str, found: bool) -> None:
    for value in (f'Bearer error="{error}"', f'Basic realm="a", bearer realm="b", error={error}'):
        exchange = Exchange(request=request([]), response=answer(status, [("WWW-Authenticate", value)]))
        assert names(exchange) == (["bearer-error-with-wrong-status"] if found else [])
    other = answer(status, [("WWW-Authenticate", f'DPoP error="{error}"')])
    assert names(Exchange(request=request([]), response=other)) == []


@pytest.mark.parametrize(
    ("lines", "challenge", "found"),
    [
        ([], None, True),
        ([], "Bearer", True),
        ([], "Basic realm=a", False),  # it asks first
        ([], 'Bearer resource_metadata="https://a.example/"', False),  # MCP looks for the login
        ([("Authorization", "Bearer None")], "Bearer", False),
        ([("Cookie", "a=1")], "Bearer", False),
        ([("Proxy-Authorization", "Basic YTpi")], "Bearer", True),
    ],
)
def test_401_without_credentials(lines: Lines, challenge: str | None, found: bool) -> None:
    challenges = [] if challenge is None else [("WWW-Authenticate", challenge)]
    exchange = Exchange(request=request(lines), response=answer(401, challenges))
    assert notes(exchange) == (["401-to-request-without-credentials"] if found else [])


def test_no_why_holds_a_credential() -> None:
    canary = "c4n4ry0000000000"
    values = [
        canary, f"Bearer: {canary}", f"Bearer Bearer {canary}", f'Bearer "{canary}"', f"Bearer {canary} {canary}",
        f"Bearer {canary}%0A", f"bearer {canary}", f"Basic {canary}", f"Bearer ${{A:-{canary}}}", f"{canary} {canary}",
        f"Bearer <{canary}", f"Bearer <{canary}>", f"<{canary}>", f"'{canary}'", f"sk-ant-oat01-{canary}",
    ]  # fmt: skip
    for value in values:
        for name in (*authentication.CREDENTIALS, "Authorization"):
            exchange = Exchange(
                request=request([(name, value)], f"/flush_cache?api_key={canary}"),
                response=answer(401),
                upstream="api.example.com:80",
            )
            linter = Linter(TOPIC, policy(required=True, headers=("cookie",)), Settings(), "example")
            linter.take(exchange)
            assert linter.findings
            assert canary not in str(linter.findings), (name, value)

"""What examples cannot show: direct traffic, ordinary headers, made-up keys, the policy's say, hostile input."""

import base64
import json

import pytest

from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Legs, Request, Response
from conformance.policy import Policy
from conformance.rule import load as load_rules
from conformance.settings import load

TOPIC = {name: rule for name, rule in load_rules().items() if rule.topic == "leaks"}
GENERIC = Policy()

type Lines = list[tuple[str, str]]


def fields(lines: Lines) -> Fields:
    return Fields([(name.encode(), value.encode("latin-1")) for name, value in lines])


def exchange(
    asked: Lines = (),
    answered: Lines | None = None,
    body: bytes | None = None,
    status: int = 200,
    **facts: object,
) -> Exchange:
    target = facts.pop("target", b"/v1/models")
    response = None if answered is None else Response(code=b"%d" % status, fields=fields(answered), body=body)
    request = Request(method=b"GET", target=target, fields=fields(asked))
    return Exchange(request=request, response=response, **facts)


def found(item: Exchange | Legs, policy: Policy = GENERIC) -> list[str]:
    return [rule for rule, _ in whys(item, policy)]


def whys(item: Exchange | Legs, policy: Policy = GENERIC) -> list[tuple[str, str]]:
    linter = Linter(TOPIC, policy, Settings(), "example")
    if isinstance(item, Legs):
        linter.take_legs(item)
    else:
        linter.take(item)
    assert not linter.failures, linter.failures
    assert all(finding.why.isprintable() for finding in linter.findings)
    return sorted((finding.rule, finding.why) for finding in linter.findings)


def policy(**tables: dict[str, object]) -> Policy:
    return Policy.model_validate({name.replace("_", "-"): table for name, table in tables.items()})


HOST = ("Host", "gateway.example")
OPENAI = {"upstream": "api.openai.com:443", "scheme": b"https"}
LEAKY = [
    ("Set-Cookie", "__cf_bm=a"),
    ("Access-Control-Allow-Origin", "*"),
    ("Strict-Transport-Security", "max-age=1"),
]
ALL_THREE = [
    "access-control-header-from-provider",
    "security-header-from-provider",
    "set-cookie-from-provider",
]

# --- who is a provider


@pytest.mark.parametrize(
    ("asked", "facts", "passed_on"),
    [
        ([HOST], {}, False),  # the gateway's own
        ([("Host", "api.openai.com")], {}, False),  # the provider itself answers
        ([("Host", "api.openai.com")], {"upstream": "10.0.0.1:443"}, False),
        ([("Host", "api.openai.com")], OPENAI, True),
        ([HOST], OPENAI, True),
        ([HOST], {"upstream": "notopenai.com:443"}, False),
    ],
)
def test_whose_response_it_is(asked: Lines, facts: dict[str, object], passed_on: bool) -> None:
    browser = [*asked, ("Origin", "https://app.example")]
    assert found(exchange(browser, LEAKY, **facts)) == (ALL_THREE if passed_on else [])


def test_what_only_a_provider_writes_gives_a_copy_away() -> None:
    asked, copied = [HOST, ("Origin", "https://app.example")], [*LEAKY, ("OpenAI-Processing-Ms", "7")]
    assert found(exchange(asked, copied)) == ALL_THREE
    assert found(exchange([("Host", "api.openai.com"), asked[1]], copied)) == []
    # LiteLLM says whose header it was.
    assert found(exchange(asked, [*LEAKY, ("llm_provider-openai-processing-ms", "7")])) == []


def test_programs_take_no_notice_of_what_is_for_browsers() -> None:
    assert found(exchange([("User-Agent", "OpenAI/Python 2.54.0")], LEAKY, **OPENAI)) == [
        "set-cookie-from-provider"
    ]


def test_a_policy_names_providers_and_allows_headers() -> None:
    asked = [("Host", "models.example"), ("Origin", "https://app.example")]
    everywhere = policy(routing={"providers": ["*"]})
    assert found(exchange(asked, LEAKY), everywhere) == ALL_THREE
    allowed = policy(
        routing={"providers": ["*"]},
        response_headers={"allow": ["set-cookie", "access-control-*", "strict-*"]},
    )
    assert found(exchange(asked, LEAKY), allowed) == []


# --- an allow-list


@pytest.mark.parametrize(
    "lines",
    [
        [("Content-Type", "a/b"), ("Date", "x"), ("Retry-After", "1"), ("WWW-Authenticate", "Bearer")],
        [("Server", "uvicorn"), ("Via", "1.1 a"), ("Transfer-Encoding", "chunked"), ("Connection", "close")],
        [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "x")],
        [("Access-Control-Allow-Origin", "*"), ("X-Frame-Options", "DENY")],
        [("X-RateLimit-Remaining", "1"), ("x-request-id", "a")],
        [],
    ],
)
def test_what_needs_no_permission(lines: Lines) -> None:
    listed = policy(response_headers={"allow": ["x-ratelimit-*", "x-request-id"]})
    assert found(exchange([HOST], lines), listed) == []


def test_one_finding_lists_what_is_not_allowed() -> None:
    lines = [("X-One", "1"), ("x-request-id", "a"), ("X-Two", "2"), ("x-one", "3"), ("Set-Cookie", "a=b")]
    listed = policy(response_headers={"allow": ["x-request-id"]})
    (only,) = whys(exchange([HOST], lines), listed)
    assert only == (
        "response-header-not-allowed",
        "not on the list of allowed headers: X-One, X-Two, x-one, Set-Cookie",
    )


def test_without_a_list_nothing_is_judged() -> None:
    assert found(exchange([HOST], [("X-Anything", "1")])) == []


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({}, True),
        ({"response_headers": {"allow": ["x-litellm-model-api-base"]}}, False),
        ({"response_headers": {"allow": ["x-litellm-*"]}}, True),
        ({"routing": {"behind-gateway": True}}, False),
    ],
)
def test_internal_headers(facts: dict[str, dict[str, object]], shown: bool) -> None:
    item = exchange([HOST], [("x-litellm-model-api-base", "http://10.0.0.1"), ("x-litellm-model-id", "a")])
    assert ("gateway-internal-header-exposed" in found(item, policy(**facts))) is shown


@pytest.mark.parametrize(
    "name", ["generic", "litellm", "sglang-router", "openai", "anthropic", "codex", "vllm"]
)
def test_ordinary_traffic_is_silent_under_each_profile(name: str) -> None:
    item = exchange(
        [
            HOST,
            ("Authorization", "Bearer a"),
            ("User-Agent", "OpenAI/Python 2.54.0"),
            ("X-Stainless-Lang", "python"),
        ],
        [
            ("Content-Type", "application/json"),
            ("Date", "x"),
            ("x-request-id", "req_1"),
            ("Server", "uvicorn"),
        ],
        b"{}",
    )
    found_here = found(item, load(isolated=True, profile=name).settings.policy)
    assert set(found_here) <= {"response-header-not-allowed"}
    if name != "anthropic":  # whose id is request-id
        assert found_here == []


# --- private addresses


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("http://10.42.0.17:30000", "10.42.0.17"),
        ("192.168.1.5", "192.168.1.5"),
        ("1.1 ip-10-0-0-5.ec2.internal (squid)", "ip-10-0-0-5.ec2.internal"),
        ("worker-3.llm.svc.cluster.local:8000", "worker-3.llm.svc.cluster.local"),
        ("10.0.1", None),
        ("v10.0.0.1", None),
        ("squid/10.0.0.1", None),
        ("10.0.0.1.2", None),
        ("10.300.0.1", None),
        ("172.32.0.1", None),
        ("8.8.8.8", None),
        ("internal", None),
        ("localhost-like", None),
        ("https://internal.example.com/", None),
    ],
)
def test_private_addresses(value: str, why: str | None) -> None:
    item = exchange([HOST], [("X-Served-By", value)])
    expected = [] if why is None else [("private-address-in-response", f"X-Served-By names '{why}'")]
    assert whys(item) == expected


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4000", "[::1]:4000", "localhost", "litellm:4000", "10.1.1.1", "a.local", ""]
)
def test_who_is_inside_learns_nothing(host: str) -> None:
    assert found(exchange([("Host", host)], [("X-Worker", "10.0.0.1")])) == []


def test_origins_and_cookies_are_no_maps() -> None:
    lines = [
        ("Access-Control-Allow-Origin", "http://dev.local:3000"),
        ("Content-Security-Policy", "connect-src ws://10.0.0.1"),
    ]
    assert found(exchange([HOST], lines)) == []


# --- towards the provider


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (("Cookie", "session=1"), "cookie-sent-to-provider"),
        (("Cookie", "__cf_bm=1; _cfuvid=2; AWSALB=3"), None),
        (("x-portkey-config", "{}"), "gateway-control-header-sent-to-provider"),
        (("Helicone-User-Id", "me"), "gateway-control-header-sent-to-provider"),
        (("X-Stainless-Lang", "python"), None),
        (("cf-visitor", "{}"), "cdn-header-sent-to-provider"),
        (("cf-aig-metadata", "{}"), "gateway-control-header-sent-to-provider"),
        (("Via", "1.1 gateway"), None),
        (("X-Real-IP", "10.0.0.1"), "client-address-sent-to-provider"),
        (("Forwarded", 'for="[2001:db8::1]"'), "client-address-sent-to-provider"),
        (("Forwarded", "for=_hidden;proto=https"), None),
        (("Forwarded", "proto=https"), None),
        (("X-Forwarded-Host", "gateway.example"), None),
    ],
)
def test_requests_to_providers(line: tuple[str, str], rule: str | None) -> None:
    assert found(exchange([HOST, line], **OPENAI)) == ([rule] if rule else [])
    assert found(exchange([("Host", "api.openai.com"), line])) == ([rule] if rule else [])
    assert found(exchange([HOST, line], upstream="10.0.0.1:4000")) == []


def test_headers_that_may_pass() -> None:
    item = exchange([HOST, ("x-litellm-session-id", "a")], **OPENAI)
    assert found(item, policy(strip_hop_headers={"leave": ["x-litellm-*"]})) == []


# --- credentials


def test_an_echoed_credential_is_found_and_not_shown() -> None:
    secret = "t0psecret-t0psecret"
    asked = [HOST, ("Authorization", f"Bearer {secret}")]
    ((rule, why),) = whys(exchange(asked, [("X-Debug", f"auth={secret}")]))
    assert (rule, secret in why) == ("credential-echoed-in-response", False)
    assert found(exchange(asked, [("Content-Type", "text/plain")], f"no {secret}!".encode())) == [rule]
    assert found(exchange(asked, [("Content-Type", "text/plain")], f"no {secret[:6]}".encode())) == []


@pytest.mark.parametrize(
    "value", ["Bearer sk-1234", "Bearer None", "Bearer ", "Basic YTpi", "Bearer undefined"]
)
def test_words_are_no_credentials(value: str) -> None:
    echoed = value.partition(" ")[2].encode()
    assert found(exchange([HOST, ("Authorization", value)], [], b"a " + echoed + b" b")) == []


def legs(asked: Lines, sent: Lines, answered: Lines = (), body: bytes | None = None) -> Legs:
    ours = exchange(asked, list(answered), body)
    return Legs(client=ours, server=exchange(sent, []))


CLIENTS, OWN = "credential-of-the-client", "credential-of-the-gateway"


@pytest.mark.parametrize(
    ("asked", "sent", "leaks"),
    [
        ([("Authorization", CLIENTS)], [("x-api-key", CLIENTS)], False),  # it has none of its own
        ([("Authorization", CLIENTS)], [("Authorization", OWN)], False),
        ([("Authorization", CLIENTS)], [("Authorization", OWN), ("X-Key", CLIENTS)], True),
        ([("Authorization", CLIENTS)], [("Authorization", OWN), ("Authorization", CLIENTS)], True),
        ([("x-litellm-api-key", CLIENTS)], [("x-litellm-api-key", CLIENTS)], True),
        (
            [("x-api-key", OWN), ("Authorization", CLIENTS)],
            [("x-api-key", OWN), ("Authorization", CLIENTS)],
            False,
        ),
    ],
)
def test_clients_credentials(asked: Lines, sent: Lines, leaks: bool) -> None:
    assert found(legs(asked, sent)) == ["gateway-credential-sent-to-provider"] * leaks


@pytest.mark.parametrize(
    ("asked", "body", "leaks"),
    [([], OWN, True), ([("Authorization", OWN)], OWN, False), ([], "another", False), ([], None, False)],
)
def test_providers_credentials(asked: Lines, body: str | None, leaks: bool) -> None:
    pair = legs(asked, [("Authorization", f"Bearer {OWN}")], [], body.encode() if body else None)
    rules = found(pair)
    assert ("provider-credential-returned-to-client" in rules) is leaks
    assert not any(OWN in why for _, why in whys(pair))


def jwt(algorithm: str, signature: str) -> str:
    def segment(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{segment({'alg': algorithm})}.{segment({'sub': 'user', 'exp': 1})}.{signature}"


SIGNATURE = "Zk3vQ9xT7bLw2NcR8mYpHd5sJ4fGqXu"


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer sk-proj-{SIGNATURE}",
        f"sk-ant-api03-{SIGNATURE}",
        f"token gho_{SIGNATURE}",
        f"AIza{SIGNATURE}",
        f"Bearer {jwt('RS256', SIGNATURE)}",
        f"a=b; key=gsk_{SIGNATURE}",
    ],
)
def test_live_credentials(value: str) -> None:
    ((rule, why),) = whys(exchange([HOST, ("X-Any", value)]))
    assert (rule, SIGNATURE in why) == ("secret-in-recording", False)
    target = f"/v1/x?q={value.split()[-1]}".encode()
    ((rule, why),) = whys(exchange([HOST], target=target))
    assert (rule, SIGNATURE in why) == ("secret-in-recording", False)


@pytest.mark.parametrize(
    "value",
    [
        "sk-1234",
        "sk-test-0a1b2c3d4e5f6g7h8i9j",
        "sk-fake-Zk3vQ9xT7bLw2NcR8mYp",
        "sk-proj-xxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-ant-api03-AAAAAAAAAAAAAAAAAAAAAAAA",
        "sk-your-key-goes-right-in-here-9",
        "sk-litellm-master-key-for-all-of-us-1",
        "not-a-key",
        "***",
        "sk-***",
        "Bearer sha256-0123456789ab",
        "Bearer sk-sha256-4d967a30111bf29f0eba01c448b375c1",
        "Bearer 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        "Bearer 9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b",
        jwt("none", SIGNATURE),
        jwt("RS256", "example-example-example-example"),
        "eyJhbGciOiJ9.eyJzdWIiOiJ9." + SIGNATURE,
        "task-Zk3vQ9xT7bLw2NcR8mYpHd5sJ4f",
    ],
)
def test_what_is_made_up_or_masked(value: str) -> None:
    assert found(exchange([HOST, ("Authorization", value)])) == []


# --- text in headers


@pytest.mark.parametrize(
    "line",
    [
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 like Gecko and so on and on for long",
        ),
        ("x-codex-turn-metadata", json.dumps({"a": "word " * 100})),
        ("Authorization", "Bearer " + "a " * 3000),
        ("X-Title", "My evaluation of agents"),
        (
            "X-Metadata",
            json.dumps({"user": "a", "tags": ["b", "c"], "team": "d", "run": 17, "trace": "e" * 40}),
        ),
        ("Accept", ", ".join(["text/html"] * 40)),
        ("X-System-Prompt", "v17"),
    ],
)
def test_long_headers_that_are_ordinary(line: tuple[str, str]) -> None:
    assert found(exchange([HOST, line])) == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (("X-Meta", "a" * 4096), "X-Meta holds 4096 octets"),
        (("X-System-Prompt", "You are helpful"), "X-System-Prompt holds text: 'You are helpful'"),
    ],
)
def test_text_in_headers(line: tuple[str, str], why: str) -> None:
    assert whys(exchange([HOST, line])) == [("prompt-text-in-header", why)]


# --- firewalls


@pytest.mark.parametrize(
    ("asked", "answered", "body", "refused"),
    [
        ([("X-Stainless-Lang", "js")], [("Content-Type", "text/html")], b"<html>", True),
        (
            [("User-Agent", "AsyncOpenAI/Python 2.54.0")],
            [("Server", "cloudflare"), ("Content-Length", "0")],
            b"",
            True,
        ),
        ([("User-Agent", "curl/8.0")], [("Content-Type", "text/html")], b"<html>", False),
        ([("X-Stainless-Lang", "js")], [("Content-Type", "application/json")], b"{}", False),
        ([("X-Stainless-Lang", "js")], [], None, False),
    ],
)
def test_firewalls(asked: Lines, answered: Lines, body: bytes | None, refused: bool) -> None:
    assert found(exchange([HOST, *asked], answered, body, 403)) == ["sdk-fingerprint-refused"] * refused


# --- hostile input


@pytest.mark.parametrize(
    "piece",
    ["a", "a ", "A' ", "10.", "10.0.0.", "sk-", "eyJ", "eyJa.", "ip-10-", ".local", "a-", "word, ", "for="],
)
def test_no_pattern_backtracks_for_long(piece: str) -> None:
    long = (piece * 30_000)[:60_000]
    for name in ("X-Any", "Forwarded", "Cookie", "Authorization"):
        found(exchange([HOST, (name, long)], [("X-Any", long)], long.encode(), **OPENAI))


# --- versions


@pytest.mark.parametrize(
    ("server", "fires"),
    [
        ("nginx", False),
        ("uvicorn", False),
        ("cloudflare", False),
        ("Apache/2.4", False),
        ("Google Frontend", False),
        ("envoy/1.40", False),
        ("nginx/1.22.1", True),
        ("Apache/2.4 (Debian) OpenSSL/3", True),
        ("BaseHTTP/0.6 Python/3.11", True),
        ("a" * 64, False),
        ("a" * 65, True),
    ],
)
def test_servers_that_say_too_much(server: str, fires: bool) -> None:
    assert found(exchange([HOST], [("Server", server)])) == ["server-version-disclosed"] * fires

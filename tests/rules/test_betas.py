"""Beta tokens: ordinary headers are silent under every profile, and each token is one finding."""

import json

import pytest

from conformance import known, settings
from conformance.lint import Linter, Settings
from conformance.message import Edit, Exchange, Fields, Legs, Request, Response
from conformance.policy import Betas, Policy
from conformance.rule import load

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "betas"}

type Lines = list[tuple[str, str]]

WEBSOCKET = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]
CLAUDE_CODE = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05"
)


def findings(
    lines: Lines, betas: Betas | None = None, document: object = None, answer: Response | None = None, **facts
):
    body = None if document is None else json.dumps(document).encode()
    encoded = Fields(
        [(name.encode(), value.encode("latin-1")) for name, value in [("Host", "api.example"), *lines]]
    )
    request = Request(
        **{"method": b"POST", "target": b"/v1/messages", "fields": encoded, "body": body, **facts}
    )
    linter = Linter(TOPIC, Policy(betas=betas or Betas()), Settings(), "example")
    linter.take(Exchange(request=request, response=answer))
    assert not linter.failures
    for finding in linter.findings:
        assert finding.why.isprintable(), finding.why
    return linter.findings


def lint(lines: Lines, betas: Betas | None = None, document: object = None, **facts) -> list[str]:
    return sorted(finding.rule for finding in findings(lines, betas, document, **facts))


def profile(name: str) -> Betas:
    return settings.load(isolated=True, profile=name).settings.policy.betas


@pytest.mark.parametrize("name", sorted(settings.profiles()))
def test_no_header_no_finding(name: str) -> None:
    assert lint([], profile(name), {"model": "m", "messages": [], "max_tokens": 1}) == []


def test_claude_code_is_ordinary_at_anthropic() -> None:
    document = {
        "model": "m",
        "messages": [],
        "context_management": {"edits": []},
        "tools": [{"name": "Bash"}],
    }
    lines = [("anthropic-beta", CLAUDE_CODE), ("x-api-key", "k")]
    assert lint(lines, profile("anthropic"), document) == []
    assert lint(lines, profile("generic"), document) == []
    assert lint(lines, profile("litellm"), document) == []


@pytest.mark.parametrize("token", sorted(known.ANTHROPIC_BETAS))
def test_known_tokens_are_known_and_well_formed(token: str) -> None:
    lines = [("Authorization", "Bearer k"), ("anthropic-beta", token)]
    assert lint(lines, profile("anthropic")) == []
    assert lint(lines) == []


@pytest.mark.parametrize("token", sorted(known.OPENAI_BETAS - {"realtime=v1"}))
def test_known_tokens_of_openai(token: str) -> None:
    handshake = WEBSOCKET if token.startswith("responses_websockets") else []
    assert lint([("OpenAI-Beta", token), *handshake], profile("openai"), method=b"GET") == []


@pytest.mark.parametrize("name", ["bedrock", "vertex"])
def test_renamed_tokens_are_taken_by_their_new_name(name: str) -> None:
    betas = profile(name)
    assert betas.rename
    for usual, theirs in betas.rename.items():
        assert lint([("anthropic-beta", usual)], betas) == ["unsupported-beta-token"]
        assert lint([("anthropic-beta", theirs)], betas) == []


MALFORMED = [
    "", " ", "None", "null", "undefined", "a b", "a,,b", "a,", ",a", '["a"]', "['a', 'b']", '"a"', "{a}", "Context-1m",
    "a;b", "caf\xe9", "\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("value", MALFORMED)
@pytest.mark.parametrize("name", ["anthropic-beta", "OpenAI-Beta"])
def test_malformed_headers(name: str, value: str) -> None:
    assert lint([(name, value)], profile("anthropic")).count("beta-token-malformed") == 1


@pytest.mark.parametrize(
    "value", ["a", "a,b", "a, b", "a ,\tb", "assistants=v2", "x_y=2026-02-06", "claude-code-20250219"]
)
def test_well_formed_headers(value: str) -> None:
    assert lint([("anthropic-beta", value)]) == []


@pytest.mark.parametrize(
    ("listed", "count"),
    [
        (["a", "b"], 0),
        ([], 0),
        (["a", " b"], 1),
        (["a,b", "", "C", 7, None], 5),
        ("a,b", 1),
        ({"a": 1}, 1),
        (None, 0),
    ],
)
def test_lists_in_the_content(listed: object, count: int) -> None:
    assert lint([], None, {"anthropic_beta": listed}) == ["beta-token-malformed"] * count


@pytest.mark.parametrize(
    "facts",
    [
        {"target": b"/v1/chat/completions"},
        {"partial": True},
    ],
)
def test_content_that_is_not_known_to_be_such_a_list_is_left_alone(facts: dict[str, object]) -> None:
    assert lint([], None, {"anthropic_beta": [" a"]}, **facts) == []


def test_repeats() -> None:
    assert lint([("anthropic-beta", "a, A, b")]) == ["beta-token-malformed", "duplicate-beta-token"]
    assert lint([("anthropic-beta", "a"), ("Anthropic-Beta", "a")]) == [
        "beta-header-on-several-lines",
        "duplicate-beta-token",
    ]
    assert lint([("anthropic-beta", "a")], None, {"anthropic_beta": ["a"]}) == []
    assert lint([], None, {"anthropic_beta": ["a", "a"]}) == ["duplicate-beta-token"]


def test_each_token_is_one_finding() -> None:
    betas = Betas(judged=("anthropic-beta",), unsupported=("a-*",), retired=("b-*", "a-9"), known=("c-*",))
    lines = [("anthropic-beta", "a-1,b-1,c-1,d-1,a-9")]
    found = [(finding.rule, finding.why.split("'")[1]) for finding in findings(lines, betas)]
    assert sorted(found) == [
        ("retired-beta-token", "a-9"),
        ("retired-beta-token", "b-1"),
        ("unknown-beta-token", "d-1"),
        ("unsupported-beta-token", "a-1"),
    ]


def test_tokens_in_the_content_count_too() -> None:
    assert lint([], Betas(unsupported=("a-*",)), {"anthropic_beta": ["a-1"]}) == ["unsupported-beta-token"]


def test_counting_tokens() -> None:
    vertex = profile("vertex")
    lines = [("anthropic-beta", "context-management-2025-06-27,effort-2025-11-24")]
    path = b"/v1/projects/p/locations/l/publishers/anthropic/models/"
    assert lint(lines, vertex, target=path + b"count-tokens:rawPredict") == ["beta-header-on-token-count"] * 2
    assert lint(lines, vertex, target=path + b"m:streamRawPredict") == ["unsupported-beta-token"]
    assert lint(lines, profile("anthropic"), target=b"/v1/messages/count_tokens") == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("responses_websockets=2026-02-06", []),
        ("responses_websockets=2026-02-04", []),
        ("responses_websockets=2026-02-06, responses_websockets=2026-02-06", ["duplicate-beta-token"]),
        ("responses_websockets=2026-02-04, responses_websockets=2026-02-06", ["conflicting-websocket-betas"]),
        ("responses=experimental", ["http-beta-in-websocket-handshake", "websocket-beta-missing"]),
        ("assistants=v2", ["websocket-beta-missing"]),
    ],
)
def test_handshakes(value: str, expected: list[str]) -> None:
    lines = [*WEBSOCKET, ("OpenAI-Beta", value)]
    for name in ("codex", "openai-responses-ws"):
        assert lint(lines, profile(name), method=b"GET", target=b"/backend-api/codex/responses") == expected


def test_only_the_responses_api_needs_its_token() -> None:
    assert lint(WEBSOCKET, profile("codex"), method=b"GET", target=b"/v1/realtime") == []
    assert lint(WEBSOCKET, profile("openai"), method=b"GET", target=b"/v1/responses") == []
    assert lint([], profile("codex"), target=b"/v1/responses") == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("x-api-key", "k"), ("anthropic-beta", "oauth-2025-04-20")], ["oauth-beta-with-api-key"]),
        ([("Authorization", "Bearer sk-ant-oat01-x"), ("anthropic-beta", "oauth-2025-04-20")], []),
        # What is wrong then are the two credentials.
        ([("x-api-key", "k"), ("Authorization", "Bearer sk-ant-oat01-x"), ("anthropic-beta", "oauth-2025-04-20")], []),
        ([("x-api-key", ""), ("anthropic-beta", "oauth-2025-04-20")], []),
        ([("Authorization", "Bearer sk-ant-oat01-x")], ["oauth-token-without-oauth-beta"]),
        ([("Authorization", "bearer sk-ant-oat01-x"), ("anthropic-beta", "a")], ["oauth-token-without-oauth-beta"]),
        ([("Authorization", "Bearer sk-ant-api03-x")], []),
        ([("Authorization", "Bearer None")], []),
    ],
)  # fmt: skip
def test_oauth(lines: Lines, expected: list[str]) -> None:
    at_anthropic = Fields(
        [(b"Host", b"api.anthropic.com:443"), *((n.encode(), v.encode()) for n, v in lines)]
    )
    assert lint([], fields=at_anthropic) == expected


def test_a_gateway_may_add_the_oauth_token_itself() -> None:
    assert lint([("Authorization", "Bearer sk-ant-oat01-x")]) == []


FEATURES = Betas(
    features={"a": ("a-*",), "speed:fast": ("fast-mode-*",), "tools:computer_1": ("computer-1", "computer-2")}
)


@pytest.mark.parametrize(
    ("document", "tokens", "found"),
    [
        ({"a": {}}, "b-1", 1),
        ({"a": {}}, "a-1", 0),
        ({"a": None}, "b-1", 0),
        ({"speed": "slow"}, "b-1", 0),
        ({"speed": "fast"}, "b-1", 1),
        ({"tools": [{"type": "computer_1"}, 7, "x"]}, "b-1", 1),
        ({"tools": [{"type": "computer_1"}]}, "computer-2", 0),
        ({"tools": [{"name": "computer_1"}]}, "b-1", 0),
        ({"tools": {"type": "computer_1"}}, "b-1", 0),
        ({"a": {}, "anthropic_beta": ["a-1", "b-1"]}, "a-1,b-1", 0),
        ([{"a": {}}], "b-1", 0),
    ],
)
def test_features(document: object, tokens: str, found: int) -> None:
    assert lint([("anthropic-beta", tokens)], FEATURES, document) == ["body-feature-without-beta"] * found


def refusal(message: str, status: bytes = b"400", **facts) -> Response:
    return Response(
        code=status, fields=Fields([(b"Content-Type", b"application/json")]), body=message.encode(), **facts
    )


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("Unexpected value(s) `a-1`, `b-1` for the `anthropic-beta` header.", ["a-1", "b-1"]),
        ("Unexpected value(s) `a-12` for the `anthropic-beta` header.", []),
        ('{"error":"{\\"message\\":\\"Unsupported beta header: a-1\\"}"}', ["a-1"]),
        ("invalid beta flag", ["a-1"]),
        ("a-1 is no model", []),
        ("the beta flag is fine", []),
    ],
)
def test_refusals(message: str, named: list[str]) -> None:
    lines = [("anthropic-beta", "a-1,b-1")]
    found = findings(lines, answer=refusal(message))
    assert [finding.why.split("'")[1] for finding in found] == named
    assert not findings(lines, answer=refusal(message, b"429"))
    assert not findings([], answer=refusal(message))


def test_header_and_content() -> None:
    assert lint([("anthropic-beta", "a, b")], None, {"anthropic_beta": ["b", "a"]}) == []
    assert lint([("anthropic-beta", "a")], None, {"anthropic_beta": []}) == ["beta-header-and-body-disagree"]
    assert lint([("anthropic-beta", "a")], None, {"messages": [{"content": '"anthropic_beta": []'}]}) == []


@pytest.mark.parametrize("piece", ["a,", ",", " ", "a b,", "[", "\xff", "=", "a"])
def test_hostile_headers_take_linear_time(piece: str) -> None:
    findings([("anthropic-beta", piece * 30_000)], profile("bedrock"))


@pytest.mark.parametrize(
    ("came", "went", "edited", "found"),
    [
        ("a-2025-01-01", "a-2025-01-01, b-2025-01-01", "", ["b-2025-01-01"]),
        ("", "a-2025-01-01", "", ["a-2025-01-01"]),
        ("a-2025-01-01", "a-2025-01-01", "", []),
        ("a-2025-01-01, b-2025-01-01", "a-2025-01-01", "", []),
        ("", "a-2025-01-01", "anthropic-beta", []),
    ],
)
def test_tokens_that_a_hop_adds(came: str, went: str, edited: str, found: list[str]) -> None:
    def asked(tokens: str) -> Exchange:
        lines = [(b"anthropic-beta", tokens.encode())] if tokens else []
        return Exchange(request=Request(method=b"POST", target=b"/v1/messages", fields=Fields(lines)))

    edits = (Edit("x", "request", "set", edited, (), (), ""),) if edited else ()
    legs = Legs(client=asked(came), server=asked(went), edits=edits)
    whys = [why for _, why in TOPIC["beta-token-added-by-hop"].check(legs)]
    assert whys == [f"the gateway added '{token}' to anthropic-beta" for token in found]

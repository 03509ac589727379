"""Handshakes: what real clients send is silent, each defect is one finding, nothing hostile breaks a rule."""

import pytest

from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response
from conformance.policy import Policy
from conformance.rule import load
from conformance.rules.handshake import CONTENT_FIELDS

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "handshake"}
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FULL = [
    ("Host", "api.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
]
ACCEPTED = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)]

type Lines = list[tuple[str, str]]


def fields(lines: Lines) -> Fields:
    return Fields([(name.encode(), value.encode("latin-1")) for name, value in lines])


def without(name: str, lines: Lines = FULL) -> Lines:
    return [line for line in lines if line[0] != name]


def changed(name: str, value: str, lines: Lines = FULL) -> Lines:
    return [(each, value if each == name else old) for each, old in lines]


def lint(
    request: Lines = FULL, response: Lines | None = ACCEPTED, status: bytes = b"101", **facts
) -> list[str]:
    answer = None if response is None else Response(code=status, fields=fields(response))
    asked = Request(**{"method": b"GET", "target": b"/v1/responses", "fields": fields(request), **facts})
    linter = Linter(TOPIC, Policy(), Settings(), "example")
    linter.take(Exchange(request=asked, response=answer))
    assert not linter.failures
    for finding in linter.findings:
        assert finding.why.isprintable(), finding.why
    return sorted(finding.rule for finding in linter.findings)


AIOHTTP = [
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Cookie", "a=b"),
    ("User-Agent", "Python/3.12 aiohttp/3.14.5"),
]
FIREFOX = [
    ("User-Agent", "Mozilla/5.0"), ("Accept", "*/*"), ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"), ("Origin", "https://app.example"), ("Cookie", "a=b"),
    ("Sec-Fetch-Dest", "empty"), ("Sec-Fetch-Mode", "websocket"), ("Sec-Fetch-Site", "same-site"),
    ("Pragma", "no-cache"), ("Cache-Control", "no-cache"),
]  # fmt: skip
CODEX = [
    ("authorization", "Bearer k"), ("user-agent", "codex_exec/0.169.0"), ("originator", "codex_exec"),
    ("openai-beta", "responses_websockets=2026-02-06"), ("x-codex-turn-metadata", "{}"), ("session-id", "s"),
    ("thread-id", "s"), ("chatgpt-account-id", "a"), ("x-client-request-id", "s"), ("version", "0.144.0"),
]  # fmt: skip


@pytest.mark.parametrize("lines", [AIOHTTP, FIREFOX, CODEX], ids=["aiohttp", "firefox", "codex"])
def test_handshakes_of_real_clients_are_silent(lines: Lines) -> None:
    assert lint([*FULL, *lines]) == []


@pytest.mark.parametrize(
    "lines",
    [
        changed("Connection", "keep-alive, Upgrade"),
        [*FULL, ("Connection", "keep-alive")],
        changed("Upgrade", "WebSocket"),
        changed("Upgrade", "h2c, websocket"),
        [*FULL, ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, foo; a=b; c")],
        [*FULL, ("Sec-WebSocket-Extensions", "foo"), ("Sec-WebSocket-Extensions", "bar;x=1")],
        [*FULL, ("Sec-WebSocket-Protocol", "realtime"), ("Sec-WebSocket-Protocol", "chat")],
        changed("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ],
)
def test_odd_but_legal_handshakes_are_silent(lines: Lines) -> None:
    assert lint(lines, None) == []


def test_what_is_not_there_is_not_judged() -> None:
    assert lint(response=None) == []
    assert lint([("Host", "api.example")], [("Connection", "close")], b"200") == []
    assert lint(FULL, [("Upgrade", "h2c")], b"0") == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (without("Upgrade"), ["websocket-upgrade-missing"]),
        (without("Connection", without("Upgrade")), ["websocket-upgrade-missing"]),
        (changed("Upgrade", "h2c"), ["websocket-upgrade-missing"]),
        (without("Connection"), ["websocket-connection-upgrade-missing"]),
        (without("Sec-WebSocket-Version"), ["websocket-version-missing"]),
        (changed("Sec-WebSocket-Version", "13, 8"), ["websocket-version-unsupported"]),
        (changed("Sec-WebSocket-Version", ""), ["websocket-version-unsupported"]),
        (without("Sec-WebSocket-Key"), ["websocket-key-missing"]),
        (changed("Sec-WebSocket-Key", ""), ["websocket-key-malformed"]),
        (changed("Sec-WebSocket-Key", f"{KEY}, {KEY}"), ["websocket-key-malformed"]),
        (changed("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"), ["websocket-key-malformed"]),
        (changed("Sec-WebSocket-Key", "caf\xe9"), ["websocket-key-malformed"]),
        ([*FULL, ("sec-websocket-key", KEY)], ["duplicate-websocket-header"]),
        ([*FULL, ("Sec-WebSocket-Version", "13")], ["duplicate-websocket-header"]),
        ([*FULL, ("Sec-WebSocket-Extensions", "")], ["websocket-extensions-malformed"]),
        ([*FULL, ("Sec-WebSocket-Extensions", "a b")], ["websocket-extensions-malformed"]),
        ([*FULL, ("Sec-WebSocket-Extensions", 'a; b="c d"')], ["websocket-extensions-malformed"]),
        ([*FULL, ("Sec-WebSocket-Extensions", "permessage-deflate;")], ["websocket-extensions-malformed"]),
        ([*FULL, ("Sec-WebSocket-Protocol", "a,,,b,")], ["duplicate-websocket-subprotocol"]),
        ([*FULL, ("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "a")], ["duplicate-websocket-subprotocol"]),
        ([*FULL, ("Accept", "application/json")], ["http-header-in-websocket-handshake"]),
        ([*FULL, ("Accept", "*/*, text/event-stream")], ["http-header-in-websocket-handshake"]),
    ],
)  # fmt: skip
def test_one_defect_is_one_finding(lines: Lines, expected: list[str]) -> None:
    assert lint(lines, None) == expected


@pytest.mark.parametrize("name", CONTENT_FIELDS)
def test_each_field_of_a_request_with_content_is_found(name: str) -> None:
    assert lint([*FULL, (name, "x")], None) == ["http-header-in-websocket-handshake"]


@pytest.mark.parametrize("method", [b"POST", b"get", b"CONNECT"])
def test_every_other_method_is_found(method: bytes) -> None:
    assert lint(response=None, method=method) == ["websocket-handshake-not-get"]


def test_a_stripped_handshake_is_told_from_a_request_with_copied_fields() -> None:
    stripped = without("Connection", without("Upgrade"))
    plain = ["websocket-header-in-plain-request"]
    assert lint(stripped, None, method=b"POST") == plain
    assert lint([*stripped, ("Content-Length", "2")], None, body=b"{}") == plain
    assert lint([("Sec-WebSocket-Protocol", "realtime")], None) == plain
    # RFC 8441
    assert lint(stripped, None, method=b"CONNECT", version=b"HTTP/2.0") == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (without("Sec-WebSocket-Accept", ACCEPTED), ["websocket-accept-wrong"]),
        (changed("Sec-WebSocket-Accept", ACCEPT.lower(), ACCEPTED), ["websocket-accept-wrong"]),
        ([*ACCEPTED, ("sec-websocket-accept", ACCEPT)], ["duplicate-websocket-header"]),
        (changed("Upgrade", "h2c", ACCEPTED), ["101-upgrade-not-websocket"]),
        (without("Connection", ACCEPTED), ["101-without-connection-upgrade"]),
        (changed("Connection", "close", ACCEPTED), ["101-without-connection-upgrade"]),
        ([*ACCEPTED, ("Content-Type", "text/plain")], ["101-with-content-headers"]),
        ([*ACCEPTED, ("Sec-WebSocket-Extensions", "x")], ["unoffered-websocket-extension"]),
        ([*ACCEPTED, ("Sec-WebSocket-Protocol", "x")], ["unoffered-websocket-subprotocol"]),
        ([*ACCEPTED, ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Version", "8")], []),
    ],
)
def test_answers(lines: Lines, expected: list[str]) -> None:
    assert lint(response=lines) == expected


def test_a_wrong_key_says_nothing_about_the_accept() -> None:
    assert lint([*FULL, ("Sec-WebSocket-Key", "x")]) == ["duplicate-websocket-header"]
    # Servers that do not check the key answer it as it is.
    assert lint(changed("Sec-WebSocket-Key", "x")) == ["websocket-accept-wrong", "websocket-key-malformed"]


@pytest.mark.parametrize(
    ("offered", "accepted", "expected"),
    [
        ("permessage-deflate", "Permessage-Deflate; server_no_context_takeover", []),
        ("a, permessage-deflate; client_max_window_bits=10", "permessage-deflate", []),
        ("permessage-deflate", "", ["websocket-extensions-malformed"]),
        ("permessage-deflate", "x-webkit-deflate-frame", ["unoffered-websocket-extension"]),
    ],
)
def test_extensions(offered: str, accepted: str, expected: list[str]) -> None:
    name = "Sec-WebSocket-Extensions"
    assert lint([*FULL, (name, offered)], [*ACCEPTED, (name, accepted)]) == expected


def test_subprotocols_are_compared_with_their_case() -> None:
    name = "Sec-WebSocket-Protocol"
    assert lint([*FULL, (name, "realtime,chat")], [*ACCEPTED, (name, "chat")]) == []
    assert lint([*FULL, (name, "realtime")], [*ACCEPTED, (name, "Realtime")]) == [
        "unoffered-websocket-subprotocol"
    ]


@pytest.mark.parametrize(
    ("version", "status", "answer", "found"),
    [
        ("8", b"426", [], True),
        ("8", b"400", [], True),
        ("8", b"426", [("Sec-WebSocket-Version", "13")], False),
        ("8", b"403", [], False),
        ("13", b"426", [("Upgrade", "HTTP/2")], False),
    ],
)
def test_refusals_of_the_version(version: str, status: bytes, answer: Lines, found: bool) -> None:
    rules = lint(changed("Sec-WebSocket-Version", version), answer, status)
    assert ("websocket-version-not-advertised" in rules) is found
    assert "websocket-handshake-refused" in rules


SECRET = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("target", "lines", "found"),
    [
        (b"/v1/realtime", [("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{SECRET}")], True),
        (b"/v1/realtime?api_key=0123456789", [], True),
        (b"/v1/realtime?model=m&token=${TOKEN}", [], False),
        (b"/v1/realtime?model=m", [("Sec-WebSocket-Protocol", "realtime, openai-beta.realtime-v1")], False),
    ],
)
def test_credentials_are_found_and_not_shown(target: bytes, lines: Lines, found: bool) -> None:
    linter = Linter(TOPIC, Policy(), Settings(), "example")
    linter.take(Exchange(request=Request(method=b"GET", target=target, fields=fields([*FULL, *lines]))))
    assert [finding.rule for finding in linter.findings] == ["credential-in-websocket-subprotocol"] * found
    assert not any(secret in finding.why for finding in linter.findings for secret in (SECRET, "0123456789"))


@pytest.mark.parametrize("piece", ["a;", ",", "a=", '"', ";a=b", " ", "\xff", "a,b;"])
def test_hostile_values_take_linear_time(piece: str) -> None:
    names = ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Accept")
    lint([*FULL, *((name, piece * 20_000) for name in names)], None)


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"])
def test_a_handshake_needs_http_1_1(version: bytes) -> None:
    rule = "websocket-handshake-over-http10"
    assert (rule in lint(response=None, version=version)) is (version == b"HTTP/1.0")
    assert rule not in lint(AIOHTTP, response=None, version=version)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.secret import (
    cookie_name,
    digested,
    is_secret_field,
    mask_text,
    mask_value,
    printable,
    quoted,
    shown,
)

CANARY = b"cAnArY0123456789"


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        (b"Authorization", b"Bearer " + CANARY, b"Bearer ***"),
        (b"authorization", CANARY, b"***"),
        (b"Authorization", b"Bearer None", b"Bearer None"),
        (b"Authorization", b"Bearer ", b"Bearer "),
        (b"Authorization", b"Bearer ${API_KEY}", b"Bearer ${API_KEY}"),
        (b"X-API-Key", CANARY, b"***"),
        (b"x_api_key", CANARY, b"***"),
        (b"X-Custom-Api-Key", CANARY, b"***"),
        (b"x-client-secret", CANARY, b"***"),
        (b"Cookie", b"a=" + CANARY + b"; b=" + CANARY, b"a=***; b=***"),
        (b"Set-Cookie", b"sid=" + CANARY + b"; Path=/; HttpOnly", b"sid=***; Path=/; HttpOnly"),
        (
            b"Set-Cookie",
            b"a=1; Path=/; Expires=Fri, 20 Nov 2026 03:14:15 GMT, sid="
            + CANARY
            + b"; HttpOnly, b="
            + CANARY
            + b",x",
            b"a=***; Path=/; Expires=Fri, 20 Nov 2026 03:14:15 GMT, sid=***; HttpOnly, b=***",
        ),
        (b"Set-Cookie", b"a=1; sid=" + CANARY, b"a=***; sid=***"),
        (b"Server", b"uvicorn", b"uvicorn"),
        (b"X-Anything", b"sk-" + CANARY, b"***"),
        (b"X-Anything", b"Bearer " + CANARY, b"Bearer ***"),
        (b"Location", b"https://u:" + CANARY + b"@api.example/", b"https://***@api.example/"),
        (
            b"Referer",
            b"https://api.example/?api_key=" + CANARY + b"&x=1",
            b"https://api.example/?api_key=***&x=1",
        ),
    ],
)
def test_values(name: bytes, value: bytes, masked: bytes) -> None:
    assert mask_value(name, value) == masked


def test_the_key_in_a_websocket_subprotocol() -> None:
    value = b"realtime, openai-insecure-api-key.sk-" + CANARY + b", openai-beta.realtime-v1"
    masked = mask_value(b"Sec-WebSocket-Protocol", value)
    assert CANARY not in masked
    assert masked.startswith(b"realtime, ")
    assert masked.endswith(b", openai-beta.realtime-v1")


@pytest.mark.parametrize(
    "text",
    [
        b"GET /v1?key=" + CANARY + b" HTTP/1.1",
        b'{"api_key": "' + CANARY + b'"}',
        b'{"authorization":"Bearer ' + CANARY + b'"}',
        b"Incorrect API key provided: sk-proj-" + CANARY,
        b"token eyJhbGciOiJI." + CANARY + b"." + CANARY,
        b"AIzaSy" + CANARY + CANARY,
        b"http://user:" + CANARY + b"@127.0.0.1:4000/",
        b"CONNECT user:" + CANARY + b"@127.0.0.1:443 HTTP/1.1",
        b"https://user:p@" + CANARY + b"@api.example/v1",
        b"wss://api.example/v1?model=m&access_token=" + CANARY,
    ],
)
def test_text(text: bytes) -> None:
    assert CANARY not in mask_text(text)
    assert b"***" in mask_text(text)


@pytest.mark.parametrize(
    "text",
    [
        b"GET /v1/chat/completions?alt=sse HTTP/1.1",
        b'{"max_tokens": 5, "prompt_tokens": 1, "key": "value"}',
        b"GET /auth/basic HTTP/1.1",
        b"POST /oauth/bearer HTTP/1.1\r\nHost: a\r\n",
        b"task-1234567890",
        b"Bearer None",
        b'Bearer realm="data-plane"',
        b"keyboard=qwerty",
    ],
)
def test_ordinary_text_is_left_alone(text: bytes) -> None:
    assert mask_text(text) == text


@given(st.binary(max_size=200))
def test_masking_twice_is_masking_once(octets: bytes) -> None:
    assert mask_text(mask_text(octets)) == mask_text(octets)


@given(st.binary(max_size=300))
def test_quoted_is_printable(octets: bytes) -> None:
    text = quoted(octets)
    assert text.replace("…", "").isascii()
    assert text.isprintable()


def test_shown_is_masked_and_cut() -> None:
    assert shown(b"X-Api-Key", CANARY) == "'***'"
    assert shown(b"Server", b"a\r\n\x1b[31m" + b"x" * 500, limit=20) == "'a\\r\\n\\x1b[31mxxxxxxx…'"


@pytest.mark.parametrize(
    "name", [b"Authorization", b"X-GOOG-API-KEY", b"x_api_key", b"Cookie", b"x-vendor-secret"]
)
def test_secret_fields(name: bytes) -> None:
    assert is_secret_field(name)


@pytest.mark.parametrize(
    "name", [b"Server", b"X-Request-Id", b"x-ratelimit-remaining-tokens", b"Idempotency-Key"]
)
def test_other_fields(name: bytes) -> None:
    assert not is_secret_field(name)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (b"illegal header line: b'x-api-key : abc'", b"illegal header line: b'x-api-key : ***'"),
        (b"b'Set-Cookie\\x00: sid=abc; Path=/'", b"b'Set-Cookie\\x00: sid=***; Path=/'"),
        (b"{b'cookie': b'sid=abc'}", b"{b'cookie': b'sid=***'}"),
        (b"GET / HTTP/1.1\r\nx-auth-token: abc\r\nX: y", b"GET / HTTP/1.1\r\nx-auth-token: ***\r\nX: y"),
        (b'{"text":"Bearer abcdefgh"}', b'{"text":"Bearer ***"}'),
        (b"Authorization: Bearer None", b"Authorization: Bearer None"),
        (b'WWW-Authenticate: Bearer realm="data-plane"', b'WWW-Authenticate: Bearer realm="data-plane"'),
        (
            b"WWW-Authenticate: Bearer\r\nContent-Length: 100\r\n",
            b"WWW-Authenticate: Bearer\r\nContent-Length: 100\r\n",
        ),
        (b"WWW-Authenticate: Bearer\r\n abcdefgh\r\n", b"WWW-Authenticate: Bearer\r\n ***\r\n"),
        (b"Vary: Authorization, Cookie", b"Vary: Authorization, Cookie"),
        (b'{"cookie": {"type": "string"}}', b'{"cookie": {"type": "string"}}'),
    ],
)
def test_fields_quoted_in_text_are_masked(text: bytes, masked: bytes) -> None:
    assert mask_text(text) == masked


def test_a_cookie_without_a_name_is_all_value() -> None:
    assert cookie_name(b" sid=abc; Path=/") == b"sid"
    assert cookie_name(b"abc; Path=/") == b"***"
    assert cookie_name(b"") == b""


def test_a_digest_tells_credentials_apart_but_not_passwords() -> None:
    one, other = (digested(b"X-Api-Key", key) for key in (b"key-000000000001", b"key-000000000002"))
    assert one.startswith(b"sha256-")
    assert one == digested(b"x-api-key", b"key-000000000001") != other
    assert digested(b"Authorization", b"Basic dTpw") == b"Basic ***"
    assert digested(b"X-Note", b"Bearer abcdefgh") == b"Bearer ***"


def test_what_acts_on_a_terminal_is_escaped_and_what_is_read_is_not() -> None:
    assert printable("naïve 🦊 text") == "naïve 🦊 text"
    assert printable("a\x1b[2J\x9b\u202e\ud800\r\n") == "a\\x1b[2J\\x9b\\u202e\\ud800\\x0d\\x0a"
    assert printable("\U000e0041") == "\\U000e0041"


@pytest.mark.parametrize("before", [b"", b" ", b"token=", b"x-", b"eyJ-", b"key."])
def test_a_web_token_is_masked_wherever_it_stands(before: bytes) -> None:
    token = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    assert b"eyJzdWIi" not in mask_text(before + token + b" end")
    assert mask_text(before + token + b" end").endswith(b" end")

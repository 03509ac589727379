import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.message import Fields, Message, Request, Response
from conformance.redactor import Redactor

KEY = b"sk-proj-Zk3vQ9xT7bLw2NcR8mYpHd5s"
BODY = json.dumps({"error": f"Incorrect API key provided: {KEY.decode()}", "text": "Plan " * 40}).encode()


def redactor(*known: bytes, texts: bool = False, emails: bool = False) -> Redactor:
    return Redactor(known, b"key", texts=texts, emails=emails)


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        (b"Authorization", b"Bearer " + KEY, [b"Bearer sk-proj-"]),
        (b"X-Api-Key", KEY, [b"sk-proj-"]),
        (b"Cookie", b"sid=0a1b2c3d; theme=dark9999", [b"sid=", b"; theme="]),
        (b"Set-Cookie", b"sid=0a1b2c3d; Path=/v1; HttpOnly", [b"sid=", b"; Path=/v1; HttpOnly"]),
        (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key." + KEY, [b"realtime, openai-insecure-api-key."]),
        (b"Host", b"user:pa55word@api.example", [b"@api.example"]),
        (b"Referer", b"https://api.example/v1?key=0a1b2c3d&alt=sse", [b"https://api.example/v1?key=", b"&alt=sse"]),
    ],
)  # fmt: skip
def test_fields(name: bytes, value: bytes, stays: list[bytes]) -> None:
    made = redactor().field(name, value)
    assert len(made) == len(value)
    for secret in (KEY, b"0a1b2c3d", b"pa55word", b"dark9999"):
        assert secret not in made
    for part in stays:
        assert part in made
    assert redactor().field(name, made) == made


def test_what_is_no_secret_stays() -> None:
    done = redactor()
    assert done.field(b"Authorization", b"Bearer None") == b"Bearer None"
    assert done.field(b"Server", b"uvicorn") == b"uvicorn"
    assert done.text(b"GET /v1/models?limit=10") == b"GET /v1/models?limit=10"
    assert not done.done.counts.total()


@pytest.mark.parametrize("key", [b"$w0rdPa55x9", b"yourkey99secret", b"0"])
def test_what_only_looks_like_a_placeholder_goes(key: bytes) -> None:
    assert key not in redactor().field(b"X-Api-Key", key)


def test_a_known_credential_is_taken_out_everywhere_and_stays_equal() -> None:
    done = redactor(b"my-own-gateway-key")
    header = done.field(b"Authorization", b"Bearer my-own-gateway-key").removeprefix(b"Bearer ")
    assert done.text(b"wrong key: my-own-gateway-key!") == b"wrong key: " + header + b"!"
    assert done.field(b"X-Echo", b"my-own-gateway-key") == header
    assert (done.done.counts["credentials"], done.done.counts["places"]) == (1, 3)


def coded(*codings: bytes) -> Fields:
    return Fields([(b"Content-Encoding", coding) for coding in codings])


def test_content_without_coding() -> None:
    made = redactor().content(Message(fields=Fields(), body=BODY))
    assert made is not None
    assert KEY not in made
    assert len(made) == len(BODY)
    assert b"Plan" in made
    assert b"Plan" not in (redactor(texts=True).content(Message(fields=Fields(), body=BODY)) or b"Plan")
    assert redactor().content(Message(fields=Fields(), body=None)) is None
    assert redactor().content(Message(fields=Fields(), body=b"")) == b""


@given(st.integers(1, 9), st.integers(0, 40))
def test_gzip_is_packed_again_to_the_same_length(level: int, more: int) -> None:
    packed = gzip.compress(BODY + b" " * more, level)
    made = redactor().content(Message(fields=coded(b"gzip"), body=packed))
    assert made is not None
    assert len(made) == len(packed)
    plain = gzip.decompress(made)
    assert KEY not in plain
    assert len(plain) == len(BODY) + more
    assert redactor().content(Message(fields=coded(b"gzip"), body=made)) == made


def test_what_does_not_get_the_same_length_is_left_out() -> None:
    done = redactor()
    assert done.content(Message(fields=coded(b"deflate"), body=zlib.compress(BODY))) is None
    assert done.done.counts["left out"] == 1
    harmless = zlib.compress(b'{"a": 1}')
    assert done.content(Message(fields=coded(b"deflate"), body=harmless)) == harmless


def test_what_is_not_coded_as_it_says_is_searched_as_it_lies() -> None:
    made = redactor().content(Message(fields=coded(b"gzip"), body=BODY))
    assert made is not None
    assert KEY not in made


def test_whole_messages() -> None:
    done = redactor()
    asked = done.message(
        Request(fields=Fields([(b"X-Api-Key", KEY)]), method=b"GET", target=b"/?key=0a1b2c3d")
    )
    assert b"0a1b2c3d" not in asked.target
    assert KEY not in asked.fields[0].value
    answered = Response(
        fields=coded(b"deflate"), code=b"401", reason=b"Bad key " + KEY, body=zlib.compress(BODY)
    )
    made = done.message(answered)
    assert KEY not in made.reason
    assert made.content == b"x" * len(answered.content or b"")


HEAD = b"POST /v1?key=0a1b2c3d HTTP/1.1\r\nHost: a\r\nx-my-secret: \t%s \r\nAuthorization:\r\n %s\r\n" % (
    KEY,
    KEY,
)


@pytest.mark.parametrize("texts", [False, True])
def test_octets_keep_their_places_whatever_the_chunks(texts: bool) -> None:
    pieces = [BODY[at : at + 50] for at in range(0, len(BODY), 50)]
    chunked = (
        b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\nX-Secret: 0a1b2c3d\r\n\r\n"
    )
    client = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"GET /cut?key=0a1b2c3d HT"
    server = b"HTTP/1.1 401 No\r\nSet-Cookie: sid=0a1b2c3d\r\nContent-Length: %d\r\n\r\n%s" % (
        len(BODY),
        BODY,
    )
    up, down = redactor(texts=texts).stream(client, server)
    assert (len(up), len(down)) == (len(client), len(server))
    for made in (up, down):
        assert KEY not in made.replace(b"\r\n32;a=b\r\n", b"")
        assert b"0a1b2c3d" not in made
    assert up.count(b"\r\n32;a=b\r\n") == client.count(b"\r\n32;a=b\r\n")
    assert (b"Plan" in down) is not texts
    assert redactor(texts=texts).stream(up, down) == (up, down)


def test_octets_of_no_protocol_are_searched_as_they_lie() -> None:
    done = redactor()
    up, _ = done.stream(b"\x16\x03\x01 Bearer " + KEY, b"")
    assert KEY not in up
    assert done.done.counts["bare"] == 1

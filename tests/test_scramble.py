import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import scramble
from conformance.scramble import hidden, letters, without_emails, without_texts

KEY, OTHER = b"one", b"another"


def b64url(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


JWT = b".".join(
    (b64url({"alg": "RS256", "kid": "k7"}), b64url({"sub": "jane", "exp": 17, "x": [1]}), b"c2ln")
)
pieces = st.binary(max_size=20) | st.sampled_from(
    [b"sk-ant-api03-", b"Bearer ", b"\\", b"\\u00e9", b"%41", b"%2F", b"redacted", b"xyzXYZ", b"true", b"1.5e3", b'"',
     b"eyJ", b".", "ü€😀".encode(), b"AIza", JWT, b"dXNlcjpwYXNz", b"None", b"{", b"a@b.example", b"${", b"="]
)  # fmt: skip
octets = st.lists(pieces, max_size=8).map(b"".join)


simple = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(simple, lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside))


@given(octets)
def test_length_stays_and_what_was_redacted_stays_as_it_is(given: bytes) -> None:
    for function in (hidden, letters, without_emails, without_texts):
        made = function(given, KEY)
        if made is not None:
            assert len(made) == len(given)
            assert function(made, OTHER) == made


@given(st.text())
def test_text_stays_text(text: str) -> None:
    assert len(letters(text.encode(), KEY).decode()) == len(text)


@given(values)
def test_json_stays_json_also_within_a_text(value: object) -> None:
    whole = json.dumps({"arguments": json.dumps(value), "content": value}).encode()
    made = json.loads(without_texts(whole, KEY) or b"")
    inside = json.loads(made["arguments"])
    assert type(inside) is type(value) or {type(inside), type(value)} == {int, float}
    assert type(made["content"]) is type(value)


@pytest.mark.parametrize(
    "credential",
    [
        b"sk-ant-api03-Zk3vQ9xT7bLw2NcR8mYpHd5s", b"sk-proj-Zk3vQ9xT7bLw2NcR8mYpHd5s", b"AIzaZk3vQ9xT7bLw2NcR8mYp",
        b"hunter2", b"$w0rdPa55", b"a b", JWT, b"dXNlcjpwYXNzd29yZA==", "пароль".encode(), b"p%61ss", b"p\\u0061ss",
        b"0123456789abcdef0123456789abcdef", b"test", b"ghp_abcdefghijklmnopqrst", b"tid=1;exp=2;sku=x:y",
    ],
)  # fmt: skip
def test_a_credential_is_gone_and_another_one_becomes_another(credential: bytes) -> None:
    made = hidden(credential, KEY)
    assert made != credential
    assert hidden(credential, KEY) == made
    assert (
        made not in (hidden(credential, OTHER), hidden(credential + b"2", KEY)[: len(made)]) or len(made) < 8
    )


@pytest.mark.parametrize(
    ("credential", "stays"),
    [
        (b"sk-ant-api03-Zk3vQ9xT7bLw2NcR8mYpHd5s", b"sk-ant-api03-redacted"),
        (b"Bearer sk-proj-Zk3vQ9xT7bLw2NcR8mYpHd5s", b"Bearer sk-proj-redacted"),
        (b'"gsk_Zk3vQ9xT7bLw2NcR8mYpHd5s"', b'"gsk_redacted'),
        (b"Credential=AKIA17/20261120/us-east-1, SignedHeaders=host;x-amz-date, Signature=0a", None),
    ],
)
def test_what_kind_it_is_stays(credential: bytes, stays: bytes | None) -> None:
    made = hidden(credential, KEY)
    if stays is not None:
        assert made.startswith(stays)
    else:
        assert b"/20261120/us-east-1, SignedHeaders=host;x-amz-date, Signature=" in made
        assert b"AKIA17" not in made
        assert not made.endswith(b"0a")


@pytest.mark.parametrize(
    "word",
    b" None null EMPTY dummy *** [REDACTED] sha256-0123456789ab <API_KEY> your-api-key".split(b" "),
)
def test_words_that_stand_for_none_stay(word: bytes) -> None:
    assert hidden(word, KEY) == word


def test_a_scheme_before_it_makes_no_other_credential_of_it() -> None:
    assert hidden(b"Bearer sk-12345678901", KEY) == b"Bearer " + hidden(b"sk-12345678901", KEY)


def test_a_jwt_keeps_algorithm_and_dates() -> None:
    head, claims, signature = hidden(JWT, KEY).split(b".")
    read = [json.loads(base64.urlsafe_b64decode(part + b"==")) for part in (head, claims)]
    assert read[0]["alg"] == "RS256"
    assert read[0]["kid"] != "k7"
    assert read[1]["exp"] == 17
    assert read[1]["sub"] != "jane"
    assert signature != b"c2ln"


def test_basic_stays_user_colon_password() -> None:
    made = base64.b64decode(hidden(base64.b64encode(b"user:p\xc3\xa4ss:wd"), KEY))
    assert [len(part) for part in made.split(b":")] == [4, 5, 2]
    assert b"user" not in made
    made.decode()


def test_addresses() -> None:
    made = without_emails(b"to Jane.Doe+x@mail.corp.example, jane%40corp.example; a@b, @x.y", KEY)
    assert b"Jane" not in made
    assert b"jane" not in made
    assert b"corp" not in made
    assert made.count(b".example") == 2
    assert made.endswith(b"; a@b, @x.y")
    for url in (b"https://a:b@api.example/v1", b"CONNECT a:b@api.example:443"):
        assert without_emails(url, KEY) == url
    assert b"jane" not in without_emails(b"https://api.example?by=jane@corp.example", KEY)
    assert without_emails(b"a@corp.example b@corp.example", KEY).split()[0].split(b"@")[1] in without_emails(
        b"c@corp.example", KEY
    )


def test_prompts() -> None:
    whole = {
        "model": "m-1",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Secret plan 9"}], "id": "a1"}],
        "input": "Plan",
        "stop": ["Plan"],
        "logprobs": {"bytes": [80, 108]},
        "max_tokens": 12,
        "metadata": {"session_id": "s-1"},
    }
    made = without_texts(json.dumps(whole).encode(), KEY)
    assert made is not None
    assert b"lan" not in made
    read = json.loads(made)
    assert read["messages"][0]["role"] == "user"
    assert read["messages"][0]["id"] == "a1"
    assert (read["model"], read["max_tokens"], read["metadata"]) == ("m-1", 12, {"session_id": "s-1"})
    assert read["logprobs"]["bytes"] == [77, 777]
    assert read["input"] == read["stop"][0]


def test_prompts_in_an_event_stream_and_in_what_breaks_off() -> None:
    made = without_texts(b'event: x\ndata: {"delta": "Plan"}\r\n\r\ndata: [DONE]\n', KEY)
    assert made is not None
    assert made.startswith(b'event: x\ndata: {"delta": "')
    assert made.endswith(b'"}\r\n\r\ndata: [DONE]\n')
    assert b"Plan" not in made
    cut = without_texts(b'{"text": "Plan\\', KEY)
    assert cut is not None
    assert b"Plan" not in cut
    assert without_texts(b"<html>", KEY) is None


def test_long_content_takes_no_time_to_speak_of() -> None:
    whole = json.dumps({"text": 'ab "c" ' * 100_000, "image": "A1" * 500_000}).encode()
    assert len(without_texts(whole, KEY) or b"") == len(whole)
    hidden(b"a" * 500_000, KEY)
    without_emails(b"a." * 500_000 + b"@", KEY)
    assert scramble.letters(b"\\" * 500_000, KEY)

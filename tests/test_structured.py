"""The parser of structured fields, by the examples and limits of RFC 9651."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.structured import (
    KINDS,
    PARSERS,
    Date,
    InnerList,
    Item,
    Malformed,
    Token,
    parse_dictionary,
    parse_item,
    parse_list,
)


@pytest.mark.parametrize(
    ("value", "bare"),
    [
        (b"42", 42),
        (b"-0", 0),
        (b"00", 0),
        (b"-999999999999999", -999_999_999_999_999),
        (b"4.5", 4.5),
        (b"-123456789012.123", -123456789012.123),
        (b'"hello \\"world\\" \\\\"', 'hello "world" \\'),
        (b'""', ""),
        (b"foo123/456", Token("foo123/456")),
        (b"*a:b", Token("*a:b")),
        (b":cHJldGVuZCB0aGlzIGlzIGJpbmFyeSBjb250ZW50Lg==:", b"pretend this is binary content."),
        (b":aGk:", b"hi"),  # without padding
        (b"::", b""),
        (b"?1", True),
        (b"?0", False),
        (b"@1659578233", Date(1659578233)),
        (b"@-62135596800", Date(-62135596800)),
        (b'%"This is intended for display to %c3%bcsers."', "This is intended for display to üsers."),
        (b"  1  ", 1),
    ],
)
def test_bare_items(value: bytes, bare: object) -> None:
    found = parse_item(value)
    assert found == (bare, {})
    assert type(found.value) is type(bare)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"1 2", b"1.", b".5", b"--1", b"1.2345", b"1234567890123.1", b"1234567890123456", b"1.2.3", b"-",
        b'"a', b'"a\\"', b'"a\\q"', b'"a\tb"', b'"\xc3\xa9"', b"a,b", b"{a}", b"\xc3\xa9",
        b":aGk=", b":a:", b":a=b:", b":aGk=?:", b"?2", b"?", b"?true", b"@", b"@1.5", b"@a",
        b'%"%C3%BC"', b'%"%ff"', b'%"a', b"%a", b"1;", b"1;A=1", b"1;a=", b"1; ;a", b"1 ;a", b"\t1",
    ],
)  # fmt: skip
def test_what_is_no_item(value: bytes) -> None:
    with pytest.raises(Malformed, match=r"expected at octet \d+$"):
        parse_item(value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"a;b=:a:", "base64 is expected at octet 4"),
        (b'a;b=%"%ff"', "a display string in UTF-8 is expected at octet 4"),
        (b"a b", "the end is expected at octet 2"),
    ],
)
def test_the_octet_is_where_the_wrong_thing_begins(value: bytes, problem: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_item(value)
    assert str(caught.value) == problem


def test_parameters() -> None:
    assert parse_item(b"abc;a=1;b=2; c;a=3") == Item(Token("abc"), {"b": 2, "c": True, "a": 3})


def test_lists() -> None:
    assert parse_list(b"") == []
    assert parse_list(b"sugar,\ttea \t, rum") == [Item(Token(word), {}) for word in ("sugar", "tea", "rum")]
    assert parse_list(b'("foo";a=1 "bar";lvl=5);lvl=1, ( )') == [
        InnerList((Item("foo", {"a": 1}), Item("bar", {"lvl": 5})), {"lvl": 1}),
        InnerList((), {}),
    ]


@pytest.mark.parametrize(
    "value", [b"a,", b",a", b"a,,b", b"a b", b"(a", b"(a,b)", b"(a b) c", b"((a))", b"a;"]
)
def test_what_is_no_list(value: bytes) -> None:
    with pytest.raises(Malformed):
        parse_list(value)


def test_dictionaries() -> None:
    assert parse_dictionary(b"") == {}
    found = parse_dictionary(b"a=?0, b, c; foo=bar, rating=1.5, feelings=(joy sadness), *x.y-z_=1, a=2")
    assert list(found) == ["b", "c", "rating", "feelings", "*x.y-z_", "a"]
    assert found["b"] == Item(True, {})
    assert found["c"] == Item(True, {"foo": Token("bar")})
    assert found["feelings"] == InnerList((Item(Token("joy"), {}), Item(Token("sadness"), {})), {})
    assert found["a"] == Item(2, {})


@pytest.mark.parametrize(
    "value", [b"A=1", b"1=a", b"a=", b"a =1", b"a= 1", b"a=1,", b"a;b=1;", b'"a"', b"a==1"]
)
def test_what_is_no_dictionary(value: bytes) -> None:
    with pytest.raises(Malformed):
        parse_dictionary(value)


def test_every_field_has_a_parser() -> None:
    assert set(KINDS.values()) == set(PARSERS)


@given(st.sampled_from(sorted(PARSERS)), st.text(st.sampled_from('a1A ",;=()?:@%.-*\\\t'), max_size=30))
def test_anything_parses_or_is_malformed(kind: str, text: str) -> None:
    try:
        PARSERS[kind](text.encode())  # type: ignore[index]
    except Malformed:
        return


@pytest.mark.parametrize("piece", [b"(", b'"', b"a,", b"a;", b"a ", b"=", b'"\\', b":a", b"1", b'%"', b"(a "])
def test_long_values_take_linear_steps(piece: bytes) -> None:
    for parse in PARSERS.values():
        try:
            parse(piece * 50_000)
        except Malformed:
            continue

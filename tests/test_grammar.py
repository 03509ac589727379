import re

import pytest

from conformance import grammar


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (
            grammar.TOKEN,
            [b"a", b"X-Y_z", b"!#$%&'*+-.^_`|~09"],
            [b"", b"a b", b"a:", b"(a)", b"\xe9", b"a\n"],
        ),
        (
            grammar.HTTP_VERSION,
            [b"HTTP/1.1", b"HTTP/2.0"],
            [b"HTTP/11", b"http/1.1", b"HTTP/1.1 ", b"HTTP/2"],
        ),
        (grammar.STATUS_CODE, [b"200", b"099"], [b"20", b"2000", b"2xx", b""]),
        (grammar.DIGITS, [b"0", b"007"], [b"", b"+1", b"1_0", b"\xb2", b"0x1"]),
        (grammar.CHUNK_SIZE, [b"0", b"1aF"], [b"", b"0x1", b"-1", b"1 "]),
        (
            grammar.QUOTED_STRING,
            [b'""', b'"a b"', b'"\\""', b'"\xe9"'],
            [b'"', b'"a', b'a"', b'"\x00"', b'"\\'],
        ),
        (
            grammar.CHUNK_EXTENSIONS,
            [b"", b";a", b";a=b", b' ; a = "x;y"', b";a;b=c"],
            [b";", b";=", b";a=", b'; a="x', b"a", b";a\n"],
        ),
        (
            grammar.TRACEPARENT,
            [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            [
                b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
                b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            ],
        ),
    ],
)
def test_productions(pattern: re.Pattern[bytes], good: list[bytes], bad: list[bytes]) -> None:
    assert [octets for octets in good if not pattern.fullmatch(octets)] == []
    assert [octets for octets in bad if pattern.fullmatch(octets)] == []


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_the_three_date_formats_of_rfc_9110(value: bytes) -> None:
    moment = grammar.date(value)
    assert moment is not None
    assert moment.isoformat() == "1994-11-06T08:49:37+00:00"


@pytest.mark.parametrize(
    "value",
    [
        b"", b"0", b"Sun, 6 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 08:49:37 +0000", b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 25:49:37 GMT", b"2026-01-01T00:00:00Z", b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994",
    ],
)  # fmt: skip
def test_what_is_no_date(value: bytes) -> None:
    assert grammar.date(value) is None


def test_a_leap_second_is_a_date() -> None:
    assert grammar.date(b"Sat, 31 Dec 2016 23:59:60 GMT") is not None


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"text/html; charset=utf-8", [b"text/html", b"charset=utf-8"]),
        (b'text/html; a="x;y"; b', [b"text/html", b'a="x;y"', b"b"]),
        (b'a="\\";"; b', [b'a="\\";"', b"b"]),
        (b"", [b""]),
    ],
)
def test_parameters(value: bytes, parts: list[bytes]) -> None:
    assert grammar.parameters(value) == parts


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        (b"X-A", b"a b\tc", True),
        (b"X-A", b"", True),
        (b"X-A", b"caf\xe9", True),
        (b"X-A", b"a\r\nX-B: 1", False),
        (b"X-A", b"a\r\n b", False),
        (b"X-A", b"a\rb", False),
        (b"X-A", b"a\nb", False),
        (b"X-A", b"a\x00b", False),
        (b"X-A", b"a\x0bb", False),
        (b"X-A", b"a\x7fb", False),
        (b"X-A ", b"a", False),
        (b"X-A:", b"a", False),
        (b"", b"a", False),
    ],
)
def test_one_header_line(name: bytes, value: bytes, is_one: bool) -> None:
    assert grammar.is_field_line(name, value) is is_one

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import message
from conformance.message import Exchange, Fields, Request, Response


def request(**kwargs) -> Request:
    return Request(method=b"POST", target=kwargs.pop("target", b"/"), **{"fields": Fields(), **kwargs})


def test_lines_keep_order_case_and_repeats() -> None:
    fields = Fields([(b"Server", b"a"), (b"X", b"1"), (b"server", b"b")])
    assert [tuple(line) for line in fields.lines("server")] == [(b"Server", b"a"), (b"server", b"b")]
    assert [line.name for line in fields] == [b"Server", b"X", b"server"]
    assert fields.names == {"server", "x"}
    assert fields.block == b"a\n1\nb"


def test_equal_lines_are_different_lines() -> None:
    first, second = Fields([(b"Server", b"a"), (b"Server", b"a")]).lines("server")
    assert first == second
    assert first is not second


def test_sections_with_the_same_names_share_nothing_else() -> None:
    for value in (b"1", b"2"):
        fields = Fields([(b"A", value), (b"b", value), (b"a", value)])
        assert [line.value for line in fields.lines("a")] == [value, value]
        assert list(fields.by_name) == ["a", "b"]


def test_a_line_feed_in_a_name_makes_no_other_name() -> None:
    first, second = Fields([(b"a\nb", b"1")]), Fields([(b"a", b"1"), (b"b", b"2")])
    assert first.names_block == second.names_block
    assert (first.names, second.names) == ({"a\nb"}, {"a", "b"})


def test_no_more_names_than_that_are_kept() -> None:
    for number in range(1000):
        assert Fields([(b"n%d" % number, b"")]).names == {f"n{number}"}
    assert Fields([(b"x" * 10_000, b"")]).names == {"x" * 10_000}
    assert len(Fields([(b"x", b"")] * 10_000).lines("x")) == 10_000
    assert len(message._known_names) <= 256
    assert max(map(len, message._known_names)) <= 64
    assert max(len(known.block) for known in message._known_names.values()) <= 2048


@pytest.mark.parametrize(
    ("lines", "plain"),
    [
        ([], True),
        ([(b"A", b"")], True),
        ([(b"A", b"b c\td"), (b"x-1", b"~")], True),
        ([(b"A", b"b\nc")], False),
        ([(b"A", b"b\r\n c"), (b"B", b"")], False),
        ([(b"A", b"\x7f")], False),
        ([(b"A", b"\xc3\xa9")], False),
        ([(b"", b"b")], False),
        ([(b"A ", b"b")], False),
        ([(b"A\nB", b"b")], False),
    ],
)
def test_is_plain(lines: list[tuple[bytes, bytes]], plain: bool) -> None:
    assert Fields(lines).is_plain is plain
    assert Fields([*lines, (b"Via", b"1.1 a")]).is_plain is plain


@pytest.mark.parametrize(
    ("lines", "members"),
    [
        ([b"a, b", b"c"], [b"a", b"b", b"c"]),
        ([b"a,,b, "], [b"a", b"b"]),
        ([b'"a,b", c'], [b'"a,b"', b"c"]),
        ([b'"a\\",b", c'], [b'"a\\",b"', b"c"]),
        ([b"curl (a, b), x"], [b"curl (a, b)", b"x"]),
        ([b'"unterminated, c'], [b'"unterminated, c']),
        ([b"stray ), c"], [b"stray )", b"c"]),
        ([], []),
    ],
)
def test_values_split_lists(lines: list[bytes], members: list[bytes]) -> None:
    assert Fields([(b"X", line) for line in lines]).values("x") == members


def test_one_is_none_unless_there_is_exactly_one() -> None:
    fields = Fields([(b"A", b"1"), (b"B", b"1"), (b"b", b"2")])
    assert (fields.one("a"), fields.one("b"), fields.one("c")) == (b"1", None, None)


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_fields_hold_any_octets(lines: list[tuple[bytes, bytes]]) -> None:
    fields = Fields(lines)
    assert [tuple(line) for line in fields] == lines
    assert sum(len(group) for group in fields.by_name.values()) == len(lines)


def test_content_is_unknown_empty_or_there() -> None:
    assert request().content is None
    assert request(body=b"").content == b""
    view = memoryview(b"hello")
    message = request(body=view)
    assert message.size == 5
    assert message.content == b"hello"
    assert message.content is message.content, "copied once"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/models?x=/y", b"/v1/models"),
        (b"http://api.example/v1?x", b"/v1"),
        (b"http://api.example", b"/"),
        (b"*", b"*"),
        (b"/a#frag", b"/a"),
        (b"/proxy?url=http://x/y", b"/proxy"),
    ],
)
def test_path(target: bytes, path: bytes) -> None:
    assert request(target=target).path == path


@pytest.mark.parametrize(
    ("code", "status"), [(b"200", 200), (b"099", 99), (b"20", 0), (b"2000", 0), (b"abc", 0)]
)
def test_status_is_zero_where_the_code_is_not_three_digits(code: bytes, status: int) -> None:
    assert Response(fields=Fields(), code=code).status == status


@pytest.mark.parametrize(
    ("version", "http1"),
    [(b"HTTP/1.1", True), (b"HTTP/1.0", True), (b"http/1.1", True), (b"HTTP/2.0", False), (b"", False)],
)
def test_is_http1(version: bytes, http1: bool) -> None:
    assert request(version=version).is_http1 is http1


def test_bare_keeps_everything_but_the_content() -> None:
    exchange = Exchange(request=request(body=b"secret"), number=7, flow="f")
    assert exchange.request.content == b"secret"
    kept = exchange.bare()
    assert (kept.request.content, kept.request.method, kept.number, kept.flow) == (None, b"POST", 7, "f")
    assert exchange.request.content == b"secret"

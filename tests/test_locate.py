import pytest

from conformance import locate, recording
from conformance.message import Exchange, Line, Span, Stream


def exchange(text: str) -> Exchange:
    (item,) = recording.parse(text)
    assert isinstance(item, Exchange)
    return item


ONE = exchange(
    "# a comment\n"
    "> POST /v1?key=cAnArY0123456789 HTTP/1.1\n"
    "> Authorization: Bearer cAnArY0123456789\n"
    "< HTTP/1.1 200 OK\n"
    "< Server: a\n"
    "< X: \\x1b[31m\n"
    "< server: b\n"
    "<\n"
    "< hi\n"
    "<+ X-Sum: 1\n"
)
RESPONSE = ONE.response
assert RESPONSE is not None


def test_a_field_line_is_shown_with_its_start_line_and_its_namesakes() -> None:
    found = locate.in_exchange("a.http", ONE, RESPONSE.fields.lines("server")[1], RESPONSE)
    assert (found.at.part, found.at.index, found.at.field, found.at.line) == ("response", 2, "server", 7)
    assert found.origin == "server"
    assert [(q.text, q.number, q.marked) for q in found.quotes] == [
        ("> POST /v1?key=*** HTTP/1.1", 2, False),
        ("< HTTP/1.1 200 OK", 4, False),
        ("< Server: a", 5, False),
        ("< server: b", 7, True),
    ]


def test_equal_lines_are_told_apart() -> None:
    twice = exchange("> GET / HTTP/1.1\n< HTTP/1.1 200 OK\n< Server: a\n< Server: a")
    assert twice.response is not None
    lines = [locate.in_exchange("a", twice, line).at.line for line in twice.response.fields.lines("server")]
    assert lines == [3, 4]


def test_trailer_lines_count_on_behind_the_header() -> None:
    found = locate.in_exchange("a.http", ONE, RESPONSE.trailers[0], RESPONSE)
    assert (found.at.index, found.at.field, found.at.line) == (3, "X-Sum", 10)


def test_a_message_is_its_start_line() -> None:
    found = locate.in_exchange("a.http", ONE, ONE.request, ONE.request)
    assert (found.at.part, found.at.line, found.origin) == ("request", 2, "client")
    assert [q.text for q in found.quotes] == ["> POST /v1?key=*** HTTP/1.1"]


def test_quotes_are_masked_and_printable() -> None:
    for message in ONE.messages:
        for line in message.fields:
            for quote in locate.in_exchange("a.http", ONE, line).quotes:
                assert "cAnArY" not in quote.text
                assert quote.text.isprintable()


def test_long_lines_are_cut() -> None:
    long = exchange(f"> GET / HTTP/1.1\n> X: {'a' * 5000}")
    (_, quote) = locate.in_exchange("a", long, long.request.fields[0]).quotes
    assert len(quote.text) == locate.SHOWN


def test_a_frame() -> None:
    socket = exchange("> GET / HTTP/1.1\n< HTTP/1.1 101 S\n> TEXT {}\n< CLOSE 1011 why")
    found = locate.in_exchange("a", socket, socket.frames[1])
    assert (found.at.part, found.at.index, found.at.line, found.origin) == ("frame", 1, 4, "server")
    assert found.quotes[0].text == "< CLOSE 1011 why"


def stream(text: str) -> Stream:
    (item,) = recording.parse(text)
    assert isinstance(item, Stream)
    return item


def test_a_span_of_octets() -> None:
    tcp = stream(
        ">> GET / HTTP/1.1\\r\\n\n>> Host: a\\n\n>> \\r\\n\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"
    )
    line = tcp.client.messages[0].wire.lines[1]  # type: ignore[union-attr]
    assert isinstance(line, Line)
    found = locate.in_stream("a.http", tcp, tcp.client, line)
    assert (found.at.part, found.at.index, found.at.line, found.at.exchange, found.at.stream) == (
        "stream",
        16,
        2,
        1,
        1,
    )
    assert [(q.text, q.marked) for q in found.quotes] == [
        (">> GET / HTTP/1.1\\r\\n", False),
        (">> Host: a\\n", True),
    ]
    assert locate.in_stream("a.http", tcp, tcp.server, Span(0, 4)).origin == "server"


def test_octets_with_credentials_are_masked() -> None:
    tcp = stream(">> GET / HTTP/1.1\\r\\nAuthorization: Bearer cAnArY0123456789\\n\\r\\n\n<< HTTP/1.1 200")
    line = tcp.client.messages[0].wire.lines[1]  # type: ignore[union-attr]
    assert all("cAnArY" not in q.text for q in locate.in_stream("a", tcp, tcp.client, line).quotes)


def test_pointing_outside_is_a_mistake_of_the_rule() -> None:
    other = exchange("> GET / HTTP/1.1\n> A: b")
    with pytest.raises(LookupError):
        locate.in_exchange("a", ONE, other.request.fields[0])


def test_an_entry_shows_nothing_secret_and_nothing_raw() -> None:
    one = exchange(
        "> GET /v1?key=hunter2hunter2 HTTP/1.1\n> Host: api.example\n> Authorization: Bearer sk-123456789012\n"
        "> X: \\x1b[31m\n< HTTP/1.1 200 OK\n< Server: a\n"
    )
    bare = locate.entry(one, "c1")
    assert (bare.method, bare.host, bare.path, bare.status) == ("GET", "api.example", "/v1", 200)
    assert (bare.connection, bare.conversation, bare.is_lost, bare.heads) == ("c1", None, False, ())
    asked, answered = locate.heads(one)
    assert asked.lines == (
        "> GET /v1?key=*** HTTP/1.1", "> Host: api.example", "> Authorization: Bearer ***", "> X: \\x1b[31m",
    )  # fmt: skip
    assert (answered.part, answered.lines, answered.cut) == (
        "response",
        ("< HTTP/1.1 200 OK", "< Server: a"),
        0,
    )


def test_a_head_without_end_is_cut() -> None:
    fields = "".join(f"> Baggage: {n}\n" for n in range(300))
    one = exchange(f"> GET / HTTP/1.1\n{fields}")
    (head,) = locate.heads(one)
    assert (len(head.lines), head.cut) == (locate.SHOWN_LINES, 301 - locate.SHOWN_LINES)


def test_a_note_is_shown_masked_and_escaped() -> None:
    assert locate.shown_note("key sk-123456789012 \x1b[2J\nx") == "# key *** \\x1b[2J\\nx"


def test_words_of_people_stay_as_they_are_but_masked() -> None:
    assert locate.shown_text("bekannt für sk-123456789012 \U0001f98a\x1b\u202e") == (
        "bekannt für *** \U0001f98a\\x1b\\u202e"
    )

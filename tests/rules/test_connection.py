"""Whose announcement binds which connection, and what only looks like a defect."""

from dataclasses import replace

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.message import Connection, Exchange, Fields, Request, Response
from conformance.rule import load

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "connection"}


def lint(text: str) -> list[str]:
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures
    return [finding.rule for finding in linter.findings]


def exchange(
    number: int = 1, *, request: str = "", response: str = "", version: str = "1.1 1.1", **facts
) -> Exchange:
    """An exchange whose messages have these field lines ("Name: value; Name: value") and versions."""

    def fields(text: str) -> Fields:
        return Fields(
            [
                (n.strip().encode(), v.strip().encode())
                for n, _, v in (part.partition(":") for part in text.split(";") if part)
            ]
        )

    asked, answered = (f"HTTP/{part}".encode() for part in version.split())
    return Exchange(
        request=Request(
            method=facts.pop("method", b"GET"), target=b"/", fields=fields(request), version=asked
        ),
        response=Response(code=facts.pop("code", b"200"), fields=fields(response), version=answered),
        number=number,
        **facts,
    )


def judge(rule: str, side: str, before: Exchange, after: Exchange | None = None) -> list[str]:
    pair = Connection(side=side, id="a", before=before, after=after or exchange(2, recorder=before.recorder))
    return [why for _, why in TOPIC[rule].check(pair)]


def after_close(side: str, before: Exchange, after: Exchange | None = None) -> list[str]:
    return judge("request-after-close", side, before, after)


def left_open(side: str, before: Exchange, after: Exchange | None = None) -> list[str]:
    return judge("connection-open-after-ambiguous-framing", side, before, after)


@pytest.mark.parametrize(
    "fields",
    [
        "> Connection: keep-alive, X-Hop\n> X-Hop: 1",
        "> Connection: Keep-Alive\n> connection: TE\n> TE: trailers",
        "> Connection: close, , TE",
        "> Connection: Upgrade, HTTP2-Settings\n> Upgrade: h2c\n> HTTP2-Settings: AAMAAABk",
        "> Connection: Upgrade\n> connection: keep-alive\n> Upgrade: websocket",
        # Somebody else's rules: the handshake's.
        "> Connection: keep-alive\n> Upgrade: websocket",
    ],
)
def test_ordinary_connection_fields_are_silent(fields: str) -> None:
    assert lint(f"> GET / HTTP/1.1\n> Host: a\n{fields}\n") == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("> Connection: Close, Keep-Alive", ["contradictory-connection-options"]),
        ("> Connection: keep alive", ["connection-header-malformed"]),
        ('> Connection: "close"', ["connection-header-malformed"]),
        ("> Connection: CONTENT-TYPE, x-api-key", ["connection-names-end-to-end-header"] * 2),
        ("> Upgrade: h2c\n> Connection: keep-alive", ["upgrade-without-connection-option"]),
        ("> Upgrade: h2c", ["upgrade-without-connection-option"]),
        ("> Proxy-Connection: keep-alive\n> Proxy-Connection: close", ["proxy-connection-header"]),
    ],
)
def test_defects(fields: str, expected: list[str]) -> None:
    assert lint(f"> GET / HTTP/1.1\n> Host: a\n{fields}\n") == expected


def test_http2_has_no_connection_field_to_judge() -> None:
    assert (
        lint("> GET / HTTP/2.0\n> connection: close, keep-alive, authorization, a b\n> upgrade: h2c\n") == []
    )


def test_a_101_without_the_option_is_for_the_status_rules() -> None:
    assert (
        lint("> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 101 Switching Protocols\n< Upgrade: websocket\n") == []
    )


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(
    "before",
    [
        exchange(request="Connection: close"),
        exchange(response="Connection: Close, X-Hop"),
        exchange(version="1.0 1.1"),
        exchange(version="1.1 1.0"),
        exchange(request="Connection: keep-alive", version="1.0 1.0"),
    ],
)
def test_announced_by_either_side(side: str, before: Exchange) -> None:
    assert len(after_close(side, before)) == 1


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(
    "before",
    [
        exchange(),
        exchange(request="Connection: keep-alive", response="Connection: keep-alive", version="1.0 1.0"),
        exchange(request="Connection: close", version="2.0 2.0"),
        exchange(request="Connection: close", is_replay=True),
        exchange(request="Connection: close", recorder="har"),
        exchange(request="Connection: close", method=b"CONNECT"),
        exchange(response="Connection: close", code=b"101"),
        exchange(response="Connection: close", recorder="octets"),
    ],
)
def test_silent(side: str, before: Exchange) -> None:
    assert after_close(side, before) == []


def test_a_replayed_request_is_on_no_old_connection() -> None:
    assert after_close("client", exchange(request="Connection: close"), exchange(2, is_replay=True)) == []


def test_what_was_sent_before_the_close_arrived_is_pipelining() -> None:
    before = exchange(response="Connection: close", started=1.0, ended=5.0)
    assert after_close("client", before, exchange(2, started=2.0)) == []
    assert len(after_close("client", before, exchange(2, started=6.0))) == 1
    # A client that announces close itself knows that nothing may follow.
    before = exchange(request="Connection: close", started=1.0, ended=5.0)
    assert len(after_close("client", before, exchange(2, started=2.0))) == 1


def test_a_translating_recorder_binds_each_connection_by_its_own_version() -> None:
    from_http2 = exchange(response="Connection: close", version="2.0 1.1")
    assert after_close("client", from_http2) == []
    assert len(after_close("server", from_http2)) == 1
    to_http2 = exchange(request="Connection: close", version="1.1 2.0")
    assert len(after_close("client", to_http2)) == 1
    assert after_close("server", to_http2) == []


def test_an_addon_that_strips_connection_parts_the_two_hops() -> None:
    stripped = replace(exchange(), received=exchange(response="Connection: close"))
    assert after_close("client", stripped) == []
    assert len(after_close("server", stripped)) == 1
    stripped = replace(exchange(), received=exchange(request="Connection: close"))
    assert len(after_close("client", stripped)) == 1
    assert after_close("server", stripped) == []


def test_mitmproxy_is_not_blamed_as_client() -> None:
    before = exchange(request="Connection: close", recorder="mitmproxy")
    assert len(after_close("client", before)) == 1
    assert after_close("server", before) == []


BOTH = "Content-Length: 2; Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("before", "how"),
    [
        (exchange(request=BOTH), "both Content-Length and Transfer-Encoding"),
        (exchange(request="Transfer-Encoding: chunked", version="1.0 1.1"), "in HTTP/1.0"),
        (exchange(response="Transfer-Encoding: chunked", version="1.1 1.0"), "in HTTP/1.0"),
        (exchange(request="Transfer-Encoding: chunked, gzip"), "does not end in chunked"),
        (exchange(request="Content-Length: 2; Content-Length: 3"), "no single number"),
        (exchange(response="Content-Length: 2, 3"), "no single number"),
        (exchange(request="Content-Length: +2"), "no single number"),
    ],
)
def test_ambiguous(before: Exchange, how: str) -> None:
    (why,) = left_open("server", before)
    assert how in why


@pytest.mark.parametrize(
    "before",
    [
        exchange(request="Transfer-Encoding: gzip, Chunked"),
        exchange(request="Content-Length: 2; Content-Length: 2"),
        exchange(response=BOTH),
        exchange(request=BOTH, version="2.0 2.0"),
        exchange(request=BOTH, is_replay=True),
    ],
)
def test_clear_enough(before: Exchange) -> None:
    assert left_open("server", before) == []


def test_only_an_answer_shows_that_it_stayed_open() -> None:
    assert left_open("client", exchange(request=BOTH), replace(exchange(2), response=None)) == []


def test_mitmproxy_is_not_blamed_as_server() -> None:
    before = exchange(request=BOTH, recorder="mitmproxy")
    assert left_open("client", before) == []
    assert len(left_open("server", before)) == 1


def get(*lines: str, version: str = "HTTP/1.1") -> str:
    return "\n".join([f"> GET / {version}", "> Host: a", *(f"> {line}" for line in lines)]) + "\n"


@pytest.mark.parametrize(
    ("te", "rules"),
    [
        ("trailers", []),
        ("", []),
        ('gzip ; q=0.5, deflate;q=1.000, x;y=z;w="a,b"', []),
        ("Chunked;q=0", ["te-header-lists-chunked"]),
        ("x-chunked", []),
        ("gzip;q=1.5", ["te-header-malformed"]),
        ("gzip;q=0.5000", ["te-header-malformed"]),
        ("gzip;level", ["te-header-malformed"]),
        ("trailers;q=0.5", ["te-header-malformed"]),
        ("gzip deflate", ["te-header-malformed"]),
    ],
)
def test_te(te: str, rules: list[str]) -> None:
    assert lint(get("Connection: keep-alive, te", f"TE: {te}")) == rules
    # There it is a header like any other, and has a rule of its own.
    assert lint(get(f"te: {te}", version="HTTP/2.0")) == []


def test_te_needs_its_option() -> None:
    assert lint(get("TE: trailers", "Connection: keep-alive")) == ["te-header-without-connection-option"]


@pytest.mark.parametrize(
    ("upgrade", "malformed"),
    [
        ("websocket", False), ("TLS/1.3, h2c,", False), ("HTTP/2.0", False),
        ("websocket; v=13", True), ('"websocket"', True), ("TLS/1.3/2", True), ("a b", True), ("/1", True),
    ],
)  # fmt: skip
def test_names_of_protocols(upgrade: str, malformed: bool) -> None:
    found = lint(get("Connection: Upgrade", f"Upgrade: {upgrade}"))
    assert ("upgrade-header-malformed" in found) is malformed


def acknowledged(one: Exchange) -> bool:
    return list(TOPIC["close-not-acknowledged"].check(one)) == []


def test_who_has_to_acknowledge_a_close() -> None:
    close = "Connection: close"
    assert not acknowledged(exchange(request=close))
    assert not acknowledged(exchange(request=close, response="Connection: keep-alive"))
    assert acknowledged(exchange(request=close, response="Connection: x, CLOSE"))
    assert acknowledged(exchange(request=close, version="1.1 1.0"))
    assert not acknowledged(exchange(request=close, response="Connection: keep-alive", version="1.1 1.0"))
    assert acknowledged(exchange())
    assert acknowledged(exchange(request=close, code=b"101"))
    assert acknowledged(exchange(request=close, method=b"CONNECT"))
    assert acknowledged(exchange(request=close, version="1.1 2.0"))
    # An addon took the answer from the response; what came in counts, and what the server was asked.
    came = exchange(request=close, response=close)
    assert acknowledged(replace(exchange(request=close), received=came))
    assert acknowledged(replace(exchange(), received=exchange(request=close)))


def test_a_reset_counts_where_the_connection_was_idle() -> None:
    before = exchange(1, recorder="mitmproxy", started=0.0, ended=1.0)
    lost = replace(
        exchange(2, recorder="mitmproxy", started=6.0, error="server closed connection"), response=None
    )
    rule = "reset-on-reused-connection"
    assert judge(rule, "server", before, lost) == [
        "the connection had been idle for 5.0 s when the server was found to have closed it"
    ]
    assert judge(rule, "client", before, lost) == []
    assert judge(rule, "server", before, replace(lost, started=1.5)) == []
    assert judge(rule, "server", before, replace(lost, error="Client disconnected.")) == []
    assert judge(rule, "server", before, replace(lost, response=before.response)) == []
    assert judge(rule, "server", replace(before, ended=None), lost) == []
    assert judge(rule, "server", before, replace(lost, error="[Errno 104] Connection reset by peer"))


def test_requests_are_pipelined_where_the_octets_say_when_they_came() -> None:
    before = exchange(1, recorder="octets", started=0.0, ended=1.0)
    early = exchange(2, recorder="octets", started=0.75)
    rule = "pipelined-request"
    assert judge(rule, "client", before, early) == ["sent 0.250 s before the response to request 1 had ended"]
    assert judge(rule, "server", before, early) == []
    assert judge(rule, "client", before, replace(early, started=1.0)) == []
    assert judge(rule, "client", before, replace(early, started=None)) == []
    assert judge(rule, "client", replace(before, recorder="mitmproxy"), early) == []
    assert judge(rule, "client", replace(before, recorder="har"), early) == []
    assert judge(rule, "client", exchange(1, recorder="octets", ended=1.0, version="2.0 2.0"), early) == []


def test_pipelining_can_be_decided_on_octets_only() -> None:
    def exercised(text: str) -> bool:
        linter = Linter(TOPIC, None, Settings(), "example")
        for item in recording.parse(text):
            linter.take(item)
        return "pipelined-request" in linter.exercised

    once = "@ client-connection: a\n> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 204 No Content\n\n"
    assert not exercised(once * 2)
    octets = r">> GET / HTTP/1.1\r\nHost: a\r\n\r\n" + "\n" + r"<< HTTP/1.1 204 No Content\r\n\r\n" + "\n"
    assert not exercised(octets)
    assert exercised(octets * 2)

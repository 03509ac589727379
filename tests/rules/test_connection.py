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

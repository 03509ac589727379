"""Pairing the two sides of a hop: by id, by what is asked, in time; and what must not be paired."""

import random
from pathlib import Path

import pytest

from conformance import lint, recording
from conformance.legs import SKEW, Key, Marked, key, of_journal, pair, read
from conformance.message import Edit, Evidence, Exchange, Fields, Request, Response
from conformance.rule import load, select

RULES = load()


def made(number: int, started: float | None = None, took: float = 1.0, **facts: object) -> Key:
    base = {
        "method": b"POST",
        "operation": b"chat-completions",
        "completes": True,
        "polled": False,
        "websocket": False,
        "ids": frozenset(),
        "asked": b"",
        "status": 200,
    }
    ended = None if started is None else started + took
    return Key(number=number, started=started, ended=ended, **(base | facts))


def exchange(text: str) -> Exchange:
    (item,) = recording.parse(text)
    assert isinstance(item, Exchange)
    return item


# --- keys


def asking(content: str, path: str = "/v1/chat/completions") -> Key:
    return key(exchange(f"> POST {path} HTTP/1.1\n>\n> {content}"))


def test_a_key_is_about_what_is_asked_not_about_how_it_is_written() -> None:
    one = asking('{"model":"a","messages":[{"role":"user","content":"hi"}]}')
    other = asking(
        '{"messages": [{"content": "hi", "role": "user"}], "top_p": null}', "/x/v1/chat/completions"
    )
    assert (one.operation, one.asked) == (other.operation, other.asked)
    assert one.completes
    assert one.asked != asking('{"messages":[]}').asked
    assert key(exchange("> POST /v1/chat/completions HTTP/1.1")).asked == b""


def test_ids_come_from_both_messages_and_a_trace_is_known_by_its_trace_id() -> None:
    found = key(
        exchange(
            "> GET / HTTP/1.1\n> X-Request-Id: short\n"
            "> traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n"
            "< HTTP/1.1 200 OK\n< X-Request-Id: req_01234567\n"
        )
    )
    assert found.ids == {b"0af7651916cd43dd8448eb211c80319c", b"req_01234567"}


@pytest.mark.parametrize(
    ("line", "polled"),
    [
        ("GET /health", True),
        ("GET /health_generate", True),
        ("HEAD /v1/models", True),
        ("GET /get_server_info", True),
        ("PRI *", True),
        ("POST /health", False),
        ("GET /v1/responses/resp_1", False),
        ("GET /healthy-food", False),
    ],
)
def test_what_gateways_ask_by_themselves(line: str, polled: bool) -> None:
    assert key(exchange(f"> {line} HTTP/1.1")).polled is polled


# --- pairing


def test_equal_requests_in_turn_are_told_apart_by_time() -> None:
    # As a load balancer does it: every other request goes to the worker that was recorded.
    clients = [made(n, n * 0.02, 0.01, asked=b"x") for n in range(1, 13)]
    servers = [made(n, n * 0.04 + 0.002, 0.005, asked=b"x") for n in range(1, 7)]
    found = pair(clients, servers)
    assert found.attempts == {n * 2: [n] for n in range(1, 7)}
    assert found.unpaired == {"client": [1, 3, 5, 7, 9, 11]}


def test_equal_requests_at_once_get_one_each() -> None:
    clients = [made(n, 1.0 + n / 100, 5.0, asked=b"x") for n in range(3)]
    servers = [made(n, 1.5 + n / 100, 1.0, asked=b"x") for n in range(3)]
    assert pair(clients, servers).attempts == {0: [0], 1: [1], 2: [2]}


def test_an_id_decides_whatever_the_clocks_say() -> None:
    clients = [made(1, 1.0, ids=frozenset({b"req_1"})), made(2, 1.1, ids=frozenset({b"req_2"}))]
    servers = [made(1, 9000.0, ids=frozenset({b"req_2"})), made(2, 9000.1, ids=frozenset({b"req_1"}))]
    assert pair(clients, servers).attempts == {1: [2], 2: [1]}


def test_an_id_that_several_requests_share_names_none() -> None:
    thread = frozenset({b"thread-1"})
    clients = [made(1, 1.0, 1.0, ids=thread), made(2, 3.0, 1.0, ids=thread)]
    servers = [made(1, 3.1, 0.5, ids=thread), made(2, 1.1, 0.5, ids=thread)]
    assert pair(clients, servers).attempts == {1: [2], 2: [1]}


def test_another_clock_is_allowed_for_once_ids_tell() -> None:
    apart = SKEW * 100
    clients = [made(1, 1.0, ids=frozenset({b"req_1"})), made(2, 5.0, asked=b"x")]
    servers = [made(1, 1.1 + apart, ids=frozenset({b"req_1"})), made(2, 5.1 + apart, asked=b"x")]
    assert pair(clients, servers).attempts == {1: [1], 2: [2]}
    # Without an id nobody knows.
    assert pair([clients[1]], [servers[1]]).attempts == {}


def test_retries_become_attempts_in_order() -> None:
    servers = [
        made(2, 3.0, 0.5, asked=b"x"),
        made(1, 1.5, 0.5, asked=b"x", status=502),
        made(3, 4.0, 0.5, asked=b"x"),
    ]
    assert pair([made(7, 1.0, 9.0, asked=b"x")], servers).attempts == {7: [1, 2, 3]}


def test_translation_pairs_the_only_request_that_was_open() -> None:
    server = made(1, 1.2, 0.5, operation=b"messages", asked=b"y")
    assert pair([made(1, 1.0, asked=b"x")], [server]).attempts == {1: [1]}
    found = pair([made(1, 1.0, asked=b"x"), made(2, 1.1, asked=b"z")], [server])
    assert (found.attempts, found.unpaired) == ({}, {"server": [1], "client": [1, 2]})


def test_another_request_of_one_operation_is_no_retry() -> None:
    # A guardrail's call beside the one that was asked for.
    servers = [made(1, 1.1, 0.1, asked=b"x"), made(2, 1.3, 0.1, asked=b"guard")]
    found = pair([made(1, 1.0, asked=b"x")], servers)
    assert (found.attempts, found.unpaired) == ({1: [1]}, {"server": [2]})


def test_health_checks_and_bridges_are_nobodys_pair() -> None:
    clients = [made(1, 1.0, 5.0)]
    servers = [
        made(1, 0.5, 0.1, method=b"GET", operation=b"health", completes=False, polled=True),
        made(2, 1.1, 3.0, method=b"GET", operation=b"responses", websocket=True),
    ]
    found = pair(clients, servers)
    assert (found.attempts, found.polls, found.bridged) == ({}, [1], [2])
    assert "1 were the gateway's own (health checks, discovery): #1" in found.notes("server")
    assert found.notes("client") == [
        "0 of its exchanges were found on the other side",
        "1 not found on the other side: #1",
    ]


def test_a_poll_that_a_client_asked_for_is_paired() -> None:
    shape = {"method": b"GET", "operation": b"get_server_info", "completes": False, "polled": True}
    found = pair([made(1, 1.0, **shape)], [made(1, 0.2, 0.1, **shape), made(2, 1.1, 0.1, **shape)])
    assert (found.attempts, found.polls) == ({1: [2]}, [1])


def test_without_times_equal_requests_are_paired_in_order() -> None:
    clients = [made(1, asked=b"x"), made(2, asked=b"y"), made(3, asked=b"x")]
    servers = [made(1, asked=b"x"), made(2, asked=b"x"), made(3, asked=b"y")]
    assert pair(clients, servers).attempts == {1: [1], 3: [2], 2: [3]}


def test_a_request_that_failed_before_is_a_repeat() -> None:
    clients = [
        made(n, float(n), 0.5, asked=b"x", status=status) for n, status in enumerate((502, 0, 200, 401, 200))
    ]
    assert pair(clients, []).repeats == {1: 1, 2: 2}


def test_no_exchange_is_paired_twice_whatever_comes() -> None:
    dice = random.Random(7)

    def side(count: int) -> list[Key]:
        return [
            made(
                n,
                dice.choice([None, dice.uniform(0, 20)]),
                dice.uniform(0, 3),
                asked=dice.choice([b"", b"x", b"y"]),
                websocket=dice.random() < 0.1,
                polled=dice.random() < 0.1,
                ids=frozenset(dice.choices([b"a", b"b", b"c"], k=dice.randrange(2))),
            )
            for n in range(count)
        ]

    for _ in range(200):
        servers = side(dice.randrange(12))
        found = pair(side(dice.randrange(12)), servers)
        told = [n for numbers in found.attempts.values() for n in numbers] + found.polls + found.bridged
        assert sorted(told + found.unpaired.get("server", [])) == sorted(key.number for key in servers)


# --- recordings


def call(number: int, side: str, started: float, **changes: str) -> str:
    """One exchange of a transcript, seen from one side."""
    fields = {"Host": f"{side}.example"} | changes
    lines = "".join(f"> {name}: {value}\n" for name, value in fields.items())
    return (
        f"@ started: {started}\n@ ended: {started + 0.5}\n> GET /v1/items/{number} HTTP/1.1\n{lines}"
        f"< HTTP/1.1 200 OK\n< Content-Length: 0\n\n"
    )


def test_read_yields_pairs_as_both_sides_are_known(tmp_path: Path) -> None:
    client, server = tmp_path / "client.http", tmp_path / "server.http"
    client.write_text("".join(call(n, "gateway", float(n)) for n in range(1, 6)))
    # In another order, as flows are written when they end; one was never forwarded.
    server.write_text("".join(call(n, "router", n + 0.1) for n in (3, 1, 2, 5)))
    counts: list[int] = []
    pairing, legs = read(recording.read(client), recording.read(server), counts.append)
    found = [(pair.client.number, pair.server.number, pair.server.request.path) for pair in legs]
    assert found == [
        (1, 2, b"/v1/items/1"),
        (2, 3, b"/v1/items/2"),
        (3, 1, b"/v1/items/3"),
        (5, 4, b"/v1/items/5"),
    ]
    assert pairing.unpaired == {"client": [4]}
    assert counts == list(range(1, 19))


def test_compare_names_the_recording_a_finding_is_in(tmp_path: Path) -> None:
    client, server = tmp_path / "client.http", tmp_path / "server.http"
    client.write_text(call(1, "gateway", 1.0, **{"X-Request-Id": "req-0123456789"}))
    server.write_text(call(9, "other", 0.2) + call(1, "router", 1.1))
    run = lint.compare(recording.read(client), recording.read(server), select(RULES, []))
    (finding,) = run.findings
    assert (finding.rule, finding.at.recording, finding.at.exchange, finding.origin) == (
        "header-dropped-by-hop",
        str(server),
        2,
        "client",
    )
    assert {rule.scope for rule in run.rules.values()} == {"Legs"}
    assert [summary.exchanges for summary in run.recordings] == [1, 2]
    assert run.recordings[1].notes == ("1 not found on the other side: #1",)


def test_a_recording_that_breaks_off_is_compared_and_reported(tmp_path: Path) -> None:
    client, server = tmp_path / "client.http", tmp_path / "server.http"
    client.write_text(call(1, "gateway", 1.0))
    server.write_text(call(1, "router", 1.1) + "nonsense\n")
    run = lint.compare(recording.read(client), recording.read(server), RULES)
    assert [failure.partition(":")[0] for failure in run.failures] == [str(server)]
    assert run.recordings[0].notes == ("1 of its exchanges were found on the other side",)


# --- transcripts and journals


def marked(*sides: str) -> list[tuple[int, list[int]]]:
    former, found = Marked(), []
    text = "".join(
        f"@ leg: {side}\n> GET / HTTP/1.1\n\n" if side else "> GET / HTTP/1.1\n\n" for side in sides
    )
    for item in recording.parse(text):
        assert isinstance(item, Exchange)
        found.append(former.take(item))
    return [
        (legs.client.number, [a.number for a in legs.attempts]) for legs in [*found, former.rest()] if legs
    ]


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        (("client", "server"), [(1, [2])]),
        (("client", "server", "server", "client", "server"), [(1, [2, 3]), (4, [5])]),
        (("client", "client", "server"), [(2, [3])]),
        (("server", "client"), []),
        (("client", "", "server"), []),
        (("client",), []),
        ((), []),
    ],
)
def test_marked_exchanges_form_legs(sides: tuple[str, ...], expected: list[tuple[int, list[int]]]) -> None:
    assert marked(*sides) == expected


def test_a_journal_tells_both_sides_of_our_own_proxy() -> None:
    request = Request(method=b"GET", target=b"/", fields=Fields([(b"Host", b"a")]))
    came = Response(code=b"200", fields=Fields([(b"Server", b"a"), (b"Server", b"b")]))
    went = Response(code=b"200", fields=Fields([(b"Server", b"a")]))
    edit = Edit("dedupe-headers", "response", "drop", "Server", ("b",), (), "again")
    sent = Exchange(request=request, response=went, edits=(edit,), evidence=Evidence.HEADERS | Evidence.LEGS)
    received = Exchange(request=request, response=came)
    assert of_journal(sent) is None
    legs = of_journal(Exchange(**{**sent.__dict__, "received": received}))
    assert legs is not None
    assert legs.responses == (came, went)
    assert legs.declared("response", "server")
    assert not legs.declared("request", "server")


def test_an_ignore_above_either_leg_counts_once() -> None:
    text = (
        "@ leg: client\n> GET / HTTP/1.1\n> X-Request-Id: req-0123456789\n\n"
        "# hoplint: ignore[header-dropped-by-hop] known\n@ leg: server\n> GET / HTTP/1.1\n"
    )
    rules = {"header-dropped-by-hop": RULES["header-dropped-by-hop"]}
    run = lint.check([recording.read("-", stdin=text.encode())], rules)
    assert [(found.finding.rule, found.reason) for found in run.suppressed] == [
        ("header-dropped-by-hop", "known")
    ]
    assert run.findings == []
    kept = text.replace("> GET / HTTP/1.1\n", "> GET / HTTP/1.1\n> X-Request-Id: req-0123456789\n")
    run = lint.check([recording.read("-", stdin=kept.encode())], rules)
    assert [finding.rule for finding in run.findings] == ["unused-ignore"]

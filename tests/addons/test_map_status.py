import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.test import tflow

from conformance import mitm, recording
from conformance.lint import check
from conformance.message import Fields, Response
from conformance.policy import MapStatus
from conformance.rule import load

SCRIPT = Path(__file__).parents[2] / "addons" / "map_status.py"
(addon,) = mitm.script_addons(SCRIPT)
map_status = sys.modules[type(addon).__module__]

ON = MapStatus(enabled=True)
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def after(status: int, lines=(), policy: MapStatus = ON, *, injected: bool = False):
    response = Response(fields=Fields(lines), code=b"%d" % status)
    mapped = map_status.status_for_client(response, policy, injected=injected)
    changes = map_status.explained(response, mapped, policy)
    return mapped, [tuple(line) for line in mitm.changed(response.fields, changes)]


@pytest.mark.parametrize(
    ("upstream", "client"),
    [
        (500, 502), (501, 502), (502, 502), (503, 503), (504, 504), (520, 502), (522, 504), (524, 504), (529, 529),
        (599, 502), (400, 400), (401, 401), (403, 403), (404, 404), (429, 429),
    ],
)  # fmt: skip
def test_errors(upstream: int, client: int) -> None:
    assert after(upstream) == (client, [(b"X-Upstream-Status", b"%d" % upstream)])


@given(st.integers(100, 399))
def test_only_errors(status: int) -> None:
    assert after(status, policy=MapStatus(enabled=True, statuses={"4xx": 500, "5xx": 500})) == (status, [])


@given(st.integers(100, 999))
def test_off_unless_enabled(status: int) -> None:
    assert after(status, policy=MapStatus(), injected=True) == (status, [])


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials(status: int) -> None:
    assert after(status, injected=True)[0] == 502
    assert after(status, injected=False)[0] == status
    assert after(404, injected=True)[0] == 404


def test_shared_quota() -> None:
    policy = MapStatus(enabled=True, statuses={"429": 503})
    upstream = (b"X-Upstream-Status", b"429")
    assert after(429, [], policy) == (503, [upstream, (b"Retry-After", b"10")])
    assert after(429, [(b"retry-after", b"7")], policy) == (503, [(b"retry-after", b"7"), upstream])


@given(
    st.integers(400, 599),
    st.dictionaries(st.sampled_from(["500", "502", "5xx", "429"]), st.integers(400, 599)),
)
def test_mappings_do_not_add_up(status: int, statuses) -> None:
    policy = MapStatus(enabled=True, statuses=statuses)
    mapped, lines = after(status, [], policy)
    assert after(mapped, lines, policy) == (mapped, lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["map_status_statuses=200=500"], "'200' is no error status"),
        (["map_status_statuses=500=200"], "greater than or equal to 400"),
        (["map_status_enabled=perhaps"], "map_status: enabled"),
    ],
)
def test_bad_settings_stop_the_start(words: list[str], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("map_status.py", words=words, save_stream_file=None)
    assert said in caplog.text


def answer(status: bytes, head: bytes = b""):
    return lambda c, _: c.sendall(b"HTTP/1.1 " + status + b"\r\n" + head + b"Content-Length: 2\r\n\r\n{}")


def test_live_and_read_back(proxied) -> None:
    proxy = proxied("suite.py", answer(b"500 Oops"), words=["map_status_enabled=true"])
    assert proxy.ask(GET) == (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\nX-Upstream-Status: 500\r\n\r\n{}"
    )
    (flow,) = proxy.flows()
    journal = [entry for entry in flow.metadata[mitm.JOURNAL] if entry["addon"] == "map-status"]
    assert [(entry["op"], entry["field"], entry["before"], entry["after"]) for entry in journal] == [
        ("add", "X-Upstream-Status", [], ["500"]),
        ("set", ":status", ["500"], ["502"]),
    ]
    (exchange,) = recording.read(proxy.recording)
    assert (exchange.response.status, exchange.received.response.status) == (502, 500)
    rules = load()
    named = {name: rules[name] for name in rules if rules[name].fix == "map-status"}
    assert check([recording.read(proxy.recording)], named).findings == []


def test_off_is_byte_identical(proxied) -> None:
    proxy = proxied("map_status.py", answer(b"500 Oops"))
    assert proxy.ask(GET) == b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}"
    assert proxy.flows()[0].metadata == {}


def test_a_started_stream_is_left_alone(proxied) -> None:
    head = b"Content-Type: text/event-stream\r\n"
    proxy = proxied("suite.py", answer(b"200 OK", head), words=["map_status_enabled=true"])
    assert proxy.ask(GET) == b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 2\r\n\r\n{}"


def test_credential_of_this_hop() -> None:
    """What inject-auth wrote into the journal is what counts."""
    addon.policy = ON
    entry = {"addon": "inject-auth", "part": "request", "op": "add", "field": "Authorization", "before": []}
    for edits, status in (([entry], 502), ([{**entry, "op": "drop"}], 401), ([], 401)):
        flow = tflow.tflow(resp=True)
        flow.live = True
        flow.response.status_code = 401
        flow.metadata[mitm.JOURNAL] = [{**edit, "after": [], "why": ""} for edit in edits]
        addon.responseheaders(flow)
        assert flow.response.status_code == status
        assert flow.response.headers["x-upstream-status"] == "401"


def test_failure_lets_the_response_pass(proxied, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(mitm, "response_head", broken)
    proxy = proxied("map_status.py", answer(b"500 Oops"), words=["map_status_enabled=true"])
    assert proxy.ask(GET).startswith(b"HTTP/1.1 500 Oops\r\n")
    assert "map-status: failed on the response" in caplog.text

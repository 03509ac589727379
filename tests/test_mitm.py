import socket
import threading
from collections.abc import Sequence
from typing import Literal

import pytest
from mitmproxy import exceptions, http
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.net.http import http1
from mitmproxy.test import taddons, tflow
from pydantic import Field

from conformance import mitm, recording
from conformance.message import FieldLine, Fields
from conformance.policy import PolicyError, Table

RECEIVED = ((b"Server", b"a"), (b"server", b"b"), (b"X", b"1"), (b"Set-Cookie", b"sid=verysecret; Path=/"))


def flow_with(fields=RECEIVED) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.response.headers.fields = fields
    return flow


def drop(at: int) -> mitm.Change:
    return mitm.Change("drop", at, None, "why not")


# -- edits


def test_changed_counts_in_the_section_before() -> None:
    fields = Fields([(b"A", b"1"), (b"B", b"2"), (b"a", b"3")])
    after = mitm.changed(
        fields,
        [
            mitm.Change("add", -1, FieldLine(b"D", b"4"), ""),
            drop(0),
            mitm.Change("set", 2, FieldLine(b"a", b"5"), ""),
        ],
    )
    assert list(after) == [(b"B", b"2"), (b"a", b"5"), (b"D", b"4")]


def test_content_is_replaced_with_its_length() -> None:
    flow = tflow.tflow()
    flow.request.headers.fields = ((b"A", b"1"), (b"content-LENGTH", b"7"), (b"B", b"2"))
    mitm.set_content(flow, "one", b"longer content", "a.b", "x", "y", "why")
    assert flow.request.raw_content == b"longer content"
    assert flow.request.headers.fields == ((b"A", b"1"), (b"content-LENGTH", b"14"), (b"B", b"2"))
    (entry,) = flow.metadata[mitm.JOURNAL]
    assert (entry["field"], entry["before"], entry["after"]) == (":content a.b", ["x"], ["y"])
    assert [tuple(line) for line in flow.metadata[mitm.RECEIVED]["request"]][1] == (b"content-LENGTH", b"7")


def test_a_credential_by_another_name_is_not_journaled() -> None:
    flow = tflow.tflow()
    line = FieldLine(b"x-place", b"canary")
    mitm.rewrite(flow, "request", "one", lambda fields: [mitm.Change("add", -1, line, "why", is_secret=True)])
    assert flow.request.headers["x-place"] == "canary"
    (entry,) = flow.metadata[mitm.JOURNAL]
    assert entry["after"][0].startswith("sha256-")


@pytest.mark.parametrize(
    ("content", "kept", "is_cut", "expected"),
    [
        (b"whole", None, False, b"whole"),
        (None, b"so far", False, b"so far"),
        (None, b"so far", True, None),
        (None, None, False, None),
        (b"recorded", b"so far", False, b"recorded"),
    ],
)
def test_what_has_passed(
    content: bytes | None, kept: bytes | None, is_cut: bool, expected: bytes | None
) -> None:
    class Copy:
        def __call__(self, piece: bytes) -> bytes:
            return piece

    flow = tflow.tflow(resp=True)
    flow.response.raw_content = content
    if kept is not None:
        flow.response.stream = stream = Copy()
        stream.kept, stream.is_cut = bytearray(kept), is_cut
    assert mitm.passed(flow) == expected
    flow.response = None
    assert mitm.passed(flow) is None


def test_rewrite_writes_headers_journal_and_what_came_in() -> None:
    flow = flow_with()
    mitm.rewrite(flow, "response", "one", lambda fields: [drop(1)])
    mitm.rewrite(flow, "response", "two", lambda fields: [drop(2)])
    assert flow.response.headers.fields == ((b"Server", b"a"), (b"X", b"1"))
    first, second = flow.metadata[mitm.JOURNAL]
    assert first == {
        "addon": "one", "part": "response", "op": "drop", "field": "server", "before": ["b"], "after": [],
        "why": "why not",
    }  # fmt: skip
    assert (second["addon"], second["field"]) == ("two", "Set-Cookie")
    assert "verysecret" not in repr(flow.metadata)
    received = flow.metadata[mitm.RECEIVED]
    assert [tuple(line) for line in received["response"][:3]] == list(RECEIVED[:3])
    assert received["response"][3][1].startswith(b"sid=sha256-")
    assert set(received) == {"response"}


def test_legs_are_parted_where_connection_changes() -> None:
    """mitmproxy goes by the object that came in for the connection it came by."""
    flow = flow_with(((b"Connection", b"close"), (b"X", b"1"), (b"Server", b"a")))
    came = flow.response
    came.stream = True
    mitm.rewrite(flow, "response", "one", lambda fields: [drop(1)])
    assert flow.response is came
    mitm.rewrite(flow, "response", "two", lambda fields: [drop(0)])
    assert came.headers.fields == ((b"Connection", b"close"), (b"Server", b"a"))
    assert flow.response.headers.fields == ((b"Server", b"a"),)
    assert flow.response.stream is True


@pytest.mark.parametrize(("version", "is_closed"), [("HTTP/1.0", True), ("HTTP/1.1", False)])
def test_an_http_1_0_client_is_not_kept(version: str, is_closed: bool) -> None:
    """RFC 9112 §9.3: a proxy keeps no connection to an HTTP/1.0 client open, whatever the client says."""
    flow = flow_with()
    came = flow.request
    came.headers.fields = ((b"Connection", b"keep-alive"),)
    came.http_version = version
    mitm.rewrite(flow, "request", "one", lambda fields: [drop(0)])
    assert http1.connection_close(version, came.headers) == is_closed
    assert flow.request.headers.fields == ()


def test_who_says_close_closes_whatever_else_is_said() -> None:
    flow = flow_with()
    came = flow.request
    came.headers.fields = ((b"Connection", b"keep-alive, close"), (b"connection", b"x-a"))
    mitm.rewrite(flow, "request", "one", lambda fields: [drop(1)])
    assert flow.request is came
    mitm.rewrite(flow, "request", "two", lambda fields: [drop(0)])
    assert flow.request is not came
    assert http1.connection_close("HTTP/1.1", came.headers)
    assert not http1.connection_close("HTTP/1.1", flow.request.headers)


def test_what_was_refused_is_left_alone() -> None:
    flow = flow_with()

    def no(fields: Fields) -> list[mitm.Change]:
        raise mitm.Refused("no")

    mitm.rewrite(flow, "response", "one", no)
    refused = flow.response.headers.fields
    mitm.rewrite(flow, "response", "two", lambda fields: [drop(0)])
    mitm.rewrite(flow, "request", "two", lambda fields: [drop(0)])
    assert flow.response.headers.fields == refused
    assert [entry["op"] for entry in flow.metadata[mitm.JOURNAL]] == ["refuse"]


def test_status_is_journaled_and_read_back(tmp_path) -> None:
    from conformance import recording

    flow = flow_with()
    flow.response.status_code = 500
    mitm.set_status(flow, "one", 502, "it is the upstream's")
    (entry,) = flow.metadata[mitm.JOURNAL]
    assert (entry["op"], entry["field"], entry["before"], entry["after"]) == (
        "set",
        ":status",
        ["500"],
        ["502"],
    )
    path = tmp_path / "a.flow"
    with path.open("wb") as file:
        FlowWriter(file).add(flow)
    (exchange,) = recording.read(path)
    assert (exchange.response.status, exchange.response.reason) == (502, b"Bad Gateway")
    assert exchange.received.response.status == 500


def test_journal_survives_the_flow_file(tmp_path) -> None:
    flow = flow_with()
    mitm.rewrite(flow, "response", "one", lambda fields: [drop(1), drop(3)])
    with (tmp_path / "a.flow").open("wb") as file:
        FlowWriter(file).add(flow)
    with (tmp_path / "a.flow").open("rb") as file:
        (read,) = FlowReader(file).stream()
    assert read.metadata[mitm.JOURNAL] == flow.metadata[mitm.JOURNAL]
    lines = read.metadata[mitm.RECEIVED]["response"]
    assert [tuple(map(bytes, line)) for line in lines][:2] == [(b"Server", b"a"), (b"server", b"b")]


def test_recording_reads_the_journal_back(tmp_path) -> None:
    flow = flow_with()
    mitm.rewrite(flow, "response", "one", lambda fields: [drop(1)])
    path = tmp_path / "a.flow"
    with path.open("wb") as file:
        FlowWriter(file).add(flow)
    (exchange,) = recording.read(str(path))
    assert [(edit.addon, edit.op, edit.field, edit.before) for edit in exchange.edits] == [
        ("one", "drop", "server", ("b",))
    ]
    assert len(exchange.response.fields.lines("server")) == 1
    assert len(exchange.received.response.fields.lines("server")) == 2


def test_nothing_to_change_leaves_no_trace() -> None:
    flow = flow_with()
    before = flow.response.headers.fields
    mitm.rewrite(flow, "response", "one", lambda fields: [])
    assert flow.response.headers.fields is before
    assert flow.metadata == {}


@pytest.mark.parametrize("reason", ["loaded from a file", "refused by mitmproxy"])
def test_what_is_not_sent_is_not_rewritten(reason: str) -> None:
    flow = flow_with()
    if reason == "loaded from a file":
        flow.live = False
    else:
        flow.error = tflow.terr()
    mitm.rewrite(flow, "response", "one", lambda fields: [drop(1)])
    assert flow.response.headers.fields == RECEIVED
    assert flow.metadata == {}


def test_a_recorded_flow_can_be_rewritten_on_purpose() -> None:
    flow = flow_with()
    flow.live, flow.error = False, tflow.terr()
    with mitm.as_if_live(flow):
        mitm.rewrite(flow, "response", "one", lambda fields: [drop(1)])
    assert len(flow.response.headers.fields) == 3
    assert not flow.live
    assert flow.error is not None


def fail(fields: Fields) -> Sequence[mitm.Change]:
    raise ZeroDivisionError


def test_failure_leaves_the_message_or_closes(caplog) -> None:
    flow = flow_with()
    mitm.rewrite(flow, "response", "one", fail)
    assert flow.response.headers.fields == RECEIVED
    assert "one: failed on the response" in caplog.text
    mitm.rewrite(flow, "response", "one", fail, fail_closed=True)
    assert flow.response.status_code == 502
    assert [entry["op"] for entry in flow.metadata[mitm.JOURNAL]] == ["refuse"]


@pytest.mark.parametrize(
    "value", [b"a\r\nX-Injected: 1", b"a\rb", b"a\nb", b"a\x00b", b"a\r\n b", b"a\x1b[0m"]
)
@pytest.mark.parametrize("op", ["add", "set"])
def test_what_is_no_header_line_is_not_written(op: Literal["add", "set"], value: bytes, caplog) -> None:
    flow = flow_with()
    change = mitm.Change(op, -1 if op == "add" else 1, FieldLine(b"X-A", value), "a test")
    mitm.rewrite(flow, "response", "one", lambda fields: [change])
    assert flow.response.headers.fields == RECEIVED
    assert flow.metadata == {}
    assert "one: failed on the response" in caplog.text
    mitm.rewrite(flow, "response", "one", lambda fields: [change], fail_closed=True)
    assert flow.response.status_code == 502


def test_changes_that_contradict_each_other_change_nothing(caplog) -> None:
    flow = flow_with()
    mitm.rewrite(flow, "response", "one", lambda fields: [drop(1), drop(1)])
    assert flow.response.headers.fields == RECEIVED
    assert flow.metadata == {}
    assert "KeyError" in caplog.text


def test_replay_forgets_the_old_response() -> None:
    flow = flow_with()
    mitm.rewrite(flow, "request", "one", lambda fields: [drop(0)])
    mitm.rewrite(flow, "response", "one", lambda fields: [drop(1)])
    flow.response = None  # as mitmproxy's client replay does
    mitm.rewrite(flow, "request", "one", lambda fields: [])
    assert [entry["part"] for entry in flow.metadata[mitm.JOURNAL]] == ["request"]
    assert set(flow.metadata[mitm.RECEIVED]) == {"request"}


def test_streamed_request_that_is_refused_is_killed() -> None:
    flow = tflow.tflow()
    flow.request.stream = True
    mitm.refuse(flow, "request", "one", mitm.Refused("no"))
    assert flow.response is None
    assert flow.error.msg == flow.error.KILLED_MESSAGE


# -- options


class Every(Table):
    names: tuple[str, ...] = Field(default=("a",), description="some names")
    count: int = Field(default=3, description="a number")
    on: bool = Field(default=False, description="a switch")
    perhaps: str | None = Field(default=None, description="a value or none")
    table: dict[str, str] = Field(default={"k": "v"}, description="a table")
    lists: dict[str, tuple[str, ...]] = Field(default={}, description="a table of lists")


class Thing:
    name = "thing"

    def load(self, loader) -> None:
        mitm.add_options(loader, Every, "thing")

    def configure(self, updated) -> None:
        from mitmproxy import ctx

        self.settings = mitm.read_options(ctx.options, Every, "thing")


@pytest.fixture
def thing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    addon = Thing()
    with taddons.context(addon) as context:
        context.configure(addon)
        yield addon, context


def test_options_have_the_models_defaults_and_manual(thing) -> None:
    addon, context = thing
    assert addon.settings == Every()
    option = context.options._options["thing_count"]
    assert (option.typespec, option.help, option.default) == (Sequence[str], "a number", ["3"])


def test_options_are_read_by_the_model(thing) -> None:
    addon, context = thing
    words = ["names=x", "names=y", "count=4", "on=true", "perhaps=z", "table=a=b=c", "lists=k=1", "lists=k=2"]
    context.options.set(*(f"thing_{word}" for word in words))
    addon.configure(set())
    assert addon.settings == Every(
        names=("x", "y"), count=4, on=True, perhaps="z", table={"a": "b=c"}, lists={"k": ("1", "2")}
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["count=four"], "thing: count: input should be a valid integer"),
        (["count"], "thing_count: takes one value, not 0"),
        (["count=1", "count=2"], "thing_count: takes one value, not 2"),
        (["on=maybe"], "thing: on: input should be a valid boolean"),
        (["table=x"], "thing_table: each value is written KEY=VALUE"),
    ],
)
def test_bad_options_are_one_line(thing, words: list[str], said: str) -> None:
    addon, context = thing
    with pytest.raises(exceptions.OptionsError) as caught:
        context.configure(addon, **_options(words))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert addon.settings == Every()


def _options(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        found.setdefault(f"thing_{name}", []).extend([value] if equals else [])
    return found


def test_settings_file_that_cannot_be_used_is_no_options_error(tmp_path, monkeypatch) -> None:
    # An OptionsError out of `load` would drop the script and let the proxy run without it.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hoplint.toml").write_text("nonsense = 1\n")
    with taddons.context() as context, pytest.raises(PolicyError, match=r"hoplint\.toml: nonsense"):
        context.configure(Thing())


# -- flows of a recording


def test_flow_of_an_exchange_and_back() -> None:
    text = (
        "@ upstream: [::1]:8000\n@ client-connection: c1\n@ started: 1.5\n"
        "> GET http://a/ws?x=1 HTTP/1.1\n> Host: a\n> Upgrade: websocket\n"
        "< HTTP/1.1 101 Switching Protocols\n< Upgrade: websocket\n> TEXT hi\n< BINARY x\n< CLOSE 1011 no\n"
    )
    (exchange,) = recording.parse(text)
    flow = mitm.flow_of(exchange)
    assert (flow.request.host, flow.request.port, flow.request.path) == ("::1", 8000, "/ws?x=1")
    assert flow.server_conn.address == ("::1", 8000)
    assert flow.client_conn.id == "c1"
    assert [m.content for m in flow.websocket.messages] == [b"hi", b"x"]
    assert (flow.websocket.close_code, flow.websocket.closed_by_client) == (1011, False)
    flow.response.status_code = 502
    after = mitm.exchange_after(exchange, flow)
    assert after.request.start_line == exchange.request.start_line
    assert list(after.request.fields) == list(exchange.request.fields)
    assert after.response.status == 502
    assert mitm.read_flow(mitm.flow_octets(flow).partition(b":")[2]).id == flow.id


@pytest.mark.parametrize("place", ["Host: b:81", "Host: b", "X: none"])
def test_flow_of_an_exchange_that_does_not_say_where_it_went(place: str) -> None:
    (exchange,) = recording.parse(f"@ scheme: https\n> GET / HTTP/1.1\n> {place}\n")
    flow = mitm.flow_of(exchange)
    assert flow.request.port == (81 if place.endswith("81") else 443)
    assert flow.response is None


# -- running


def test_run_returns_the_tools_exit_code(capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mitm.run(["--no-such-option"]) == 1
    assert mitm.run(["--version"], profile="generic") == 0
    assert "Mitmproxy" in capfd.readouterr().out


def test_script_addons(tmp_path) -> None:
    path = tmp_path / "a_script.py"
    path.write_text("class A: pass\naddons = [A(), A()]\n")
    assert len(mitm.script_addons(path)) == 2
    path.write_text("1/0\n")
    with pytest.raises(ZeroDivisionError):
        mitm.script_addons(path)


# -- refusals on the wire

REFUSER = """
from conformance import mitm

def no(fields):
    raise mitm.Refused("nobody knows")

class Refuser:
    name = "refuser"
    def {hook}(self, flow):
        mitm.rewrite(flow, "{part}", self.name, no)

addons = [Refuser()]
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def refuser(tmp_path, part: str) -> str:
    path = tmp_path / "refuser.py"
    path.write_text(REFUSER.format(hook=f"{part}headers", part=part))
    return str(path)


def test_refused_request_is_answered(proxied, tmp_path) -> None:
    proxy = proxied(refuser(tmp_path, "request"))
    answer = proxy.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert content == b"hoplint refuser: nobody knows\n"
    assert proxy.server.requests == []
    (flow,) = proxy.flows()
    assert [entry["op"] for entry in flow.metadata[mitm.JOURNAL]] == ["refuse"]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5\r\n\r\nwrong", b"Content-Length: 0\r\n\r\n", b"\r\nwrong"]
)
def test_refused_response_is_replaced(proxied, tmp_path, framing: bytes) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nServer: a\r\n" + framing)
        if not framing.startswith(b"Content-Length"):
            connection.shutdown(socket.SHUT_WR)

    proxy = proxied(refuser(tmp_path, "response"), answer)
    head, _, content = proxy.ask(GET).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"wrong" not in content
    assert content == (b"" if b"Content-Length: 0" in framing else b"hoplint refuser: nobody knows\n")
    (flow,) = proxy.flows()
    assert (b"Server", b"a") in [tuple(map(bytes, line)) for line in flow.metadata[mitm.RECEIVED]["response"]]


def test_refused_response_does_not_wait_for_its_end(proxied, tmp_path) -> None:
    gate = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nwrong")
        gate.wait(10)

    proxy = proxied(refuser(tmp_path, "response"), answer)
    with proxy.connect() as connection:
        connection.sendall(GET)
        data = b""
        while b"nobody knows" not in data:
            data += connection.recv(65536)
        gate.set()
    assert b"wrong" not in data

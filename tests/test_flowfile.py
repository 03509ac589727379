"""mitmproxy's own reader and writer are the judges: what they wrote is read as they read it."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http, tcp, version
from mitmproxy.flow import Error, Flow
from mitmproxy.io import FlowReader, FlowWriter, tnetstring
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow, tutils

from conformance import flowfile
from conformance.flowfile import FlowFileError
from conformance.message import Edit, Evidence, Exchange, Fields, Stream


def written(*flows: Flow) -> bytes:
    file = io.BytesIO()
    writer = FlowWriter(file)
    for flow in flows:
        writer.add(flow)
    return file.getvalue()


def read(data: bytes, notes: list[str] | None = None) -> list[Exchange | Stream | FlowFileError]:
    return list(flowfile.read(io.BytesIO(data), notes))


def one(flow: Flow) -> Exchange:
    (exchange,) = read(written(flow))
    assert isinstance(exchange, Exchange)
    return exchange


def pairs(fields: Fields) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(tuple(line) for line in fields)


def assert_same(exchange: Exchange, flow: http.HTTPFlow) -> None:
    """The exchange holds what mitmproxy's flow holds."""
    for message, theirs in ((exchange.request, flow.request), (exchange.response, flow.response)):
        if theirs is None:
            assert message is None
            continue
        assert pairs(message.fields) == theirs.headers.fields
        assert pairs(message.trailers) == (theirs.trailers.fields if theirs.trailers else ())
        assert message.content == theirs.raw_content
        assert message.version == theirs.data.http_version
    assert exchange.request.method == flow.request.data.method
    if flow.response:
        assert exchange.response.status == flow.response.status_code
        assert exchange.response.reason == flow.response.data.reason
        assert exchange.ended == flow.response.timestamp_end
    assert exchange.started == flow.request.timestamp_start
    assert exchange.error == (flow.error.msg if flow.error else None)
    assert (exchange.flow, exchange.note) == (flow.id, flow.comment)
    assert exchange.client_connection == flow.client_conn.id
    assert exchange.server_connection == flow.server_conn.id


octets = st.binary(max_size=30)
header_lists = st.lists(st.tuples(octets, octets), max_size=8)
contents = st.none() | st.binary(max_size=200)


@given(
    header_lists,
    header_lists,
    st.none() | header_lists,
    contents,
    contents,
    octets,
    st.text(),
    st.none() | st.text(),
)
def test_reads_what_mitmproxy_reads(asked, answered, trailers, body, answer, method, comment, error):
    flow = tflow.tflow(
        req=tutils.treq(headers=http.Headers(asked), content=body, method=method),
        resp=tutils.tresp(
            headers=http.Headers(answered),
            trailers=None if trailers is None else http.Headers(trailers),
            content=answer,
        ),
    )
    flow.comment = comment.encode("utf-8", "ignore").decode()
    flow.error = None if error is None else Error(error.encode("utf-8", "ignore").decode(), 1.5)
    data = written(flow)
    (theirs,) = FlowReader(io.BytesIO(data)).stream()
    (ours,) = read(data)
    assert_same(ours, theirs)


def test_lines_that_were_read_before_stay_what_they_are():
    many = [(b"N%d" % at, b"v,%d" % at) for at in range(5000)]  # more than are kept
    flows = [tflow.tflow(req=tutils.treq(headers=http.Headers(lines))) for lines in (many, many[::-1], many)]
    for number, (ours, theirs) in enumerate(zip(read(written(*flows)), flows, strict=True), 1):
        assert pairs(ours.request.fields) == theirs.request.headers.fields
        assert ours.number == number


def test_equal_lines_of_one_message_are_two_lines():
    exchange = one(tflow.tflow(req=tutils.treq(headers=http.Headers([(b"Via", b"a"), (b"Via", b"a")]))))
    first, second = exchange.request.fields
    assert first == second
    assert first is not second


@pytest.mark.parametrize(
    "lines",
    [
        [(b"A", b"b,]"), (b"C", b"d")],
        [(b"A", b",]"), (b",]", b",],]")],
        [(b"A", b"x,]8:1:B,1:c,]"), (b"D", b"e")],  # a value that holds a whole line
        [(b"A", b"0:,]"), (b"", b"")],
    ],
)
def test_what_ends_a_line_may_stand_in_its_value(lines):
    flow = tflow.tflow(req=tutils.treq(headers=http.Headers(lines)))
    assert pairs(one(flow).request.fields) == tuple(lines)
    assert pairs(one(flow).request.fields) == tuple(lines)  # read before


def test_of_a_connection_only_what_it_says_is_remembered():
    flows = [tflow.tflow() for _ in range(3)]
    for flow, port in zip(flows, (1, 2, 1), strict=True):
        flow.server_conn.address = ("h", port)
    flows[2].server_conn.timestamp_start = None
    flows[2].client_conn.sni = "n" * 20_000  # too long to be kept
    found = read(written(*flows, *flows))
    assert [exchange.upstream for exchange in found] == ["h:1", "h:2", "h:1"] * 2
    assert [exchange.server_name for exchange in found][2::3] == ["n" * 20_000] * 2
    assert [exchange.client_connection for exchange in found] == [flow.client_conn.id for flow in flows] * 2
    assert [exchange.server_connection for exchange in found][2::3] == [None] * 2


def test_one_object_as_both_connections_is_read_as_each():
    flow = tnetstring.loads(written(tflow.tflow()))
    both = flow["client_conn"] | flow["server_conn"] | {"sni": "asked", "address": ("h", 1), "id": "x"}
    found = read(tnetstring.dumps(flow | {"client_conn": both, "server_conn": both}))[0]
    assert (found.server_name, found.upstream) == ("asked", "h:1")
    assert (found.client_connection, found.server_connection) == ("x", "x")


@pytest.mark.parametrize("value", [None, b"octets", [], "text"])
@pytest.mark.parametrize("name", ["client_conn", "server_conn", "request"])
def test_a_flow_without_its_connections_is_an_error(name, value):
    flow = tnetstring.loads(written(tflow.tflow()))
    (error,) = read(tnetstring.dumps(flow | {name: value}))
    assert isinstance(error, FlowFileError)


@pytest.mark.parametrize(
    ("request_", "target", "authority"),
    [
        ({"authority": b"", "path": b"/a?b"}, b"/a?b", b""),
        ({"authority": b"h:1", "path": b"/a", "scheme": b"https"}, b"https://h:1/a", b""),
        ({"authority": b"h:443", "path": b"", "method": b"CONNECT", "scheme": b""}, b"h:443", b""),
        ({"authority": b"h", "path": b"/a", "http_version": b"HTTP/2.0"}, b"/a", b"h"),
        ({"authority": b"h", "path": b"/a", "http_version": b"HTTP/3"}, b"/a", b"h"),
        ({"authority": b"", "path": b"*", "method": b"OPTIONS"}, b"*", b""),
    ],
)
def test_target_is_as_it_was_sent(request_, target, authority):
    exchange = one(tflow.tflow(req=tutils.treq(**request_)))
    assert exchange.request.target == target
    assert exchange.request.authority == authority


def test_what_is_not_there_is_none():
    flow = tflow.tflow(req=tutils.treq(content=None), resp=tutils.tresp(content=b""))
    exchange = one(flow)
    assert exchange.request.content is None
    assert exchange.response.content == b""
    bare = one(tflow.tflow(err=True))
    assert bare.response is None
    assert bare.error == "error"
    assert bare.ended == 946681207


def test_facts_beside_the_messages():
    flow = tflow.tflow(resp=True)
    flow.server_conn.address = ("::1", 8080)
    flow.is_replay = "request"
    flow.request.scheme = "https"
    exchange = one(flow)
    assert exchange.upstream == "[::1]:8080"
    assert exchange.is_replay
    assert exchange.scheme == b"https"
    assert exchange.recorder == "mitmproxy"
    assert exchange.evidence == Evidence.HEADERS | Evidence.ERROR | Evidence.FLOWS | Evidence.CONNECTION
    assert exchange.received is None


def test_a_server_that_was_never_asked_is_no_connection():
    flow = tflow.tflow(resp=True)
    flow.server_conn.timestamp_start = None
    flow.server_conn.address = None
    exchange = one(flow)
    assert exchange.server_connection is None
    assert exchange.upstream is None


def test_body_is_a_view_until_it_is_asked_for():
    exchange = one(tflow.tflow(req=tutils.treq(content=b"x" * 1000)))
    assert isinstance(exchange.request.body, memoryview)
    assert exchange.request.content == b"x" * 1000


def test_websocket_messages_and_the_close():
    flow = tflow.twebsocketflow()
    flow.websocket.messages[1].dropped = True
    flow.websocket.close_code, flow.websocket.close_reason = 4001, "Gründe"
    exchange = one(flow)
    kept = [m for m in flow.websocket.messages if not m.dropped]
    *messages, close = exchange.frames
    assert [(f.sender == "client", f.opcode, f.content, f.time) for f in messages] == [
        (m.from_client, m.type.name, m.content, m.timestamp) for m in kept
    ]
    assert exchange.dropped == 1
    assert not any(frame.injected for frame in exchange.frames)
    assert (close.opcode, close.code, close.content) == ("CLOSE", 4001, "Gründe".encode())
    assert close.sender == ("client" if flow.websocket.closed_by_client else "server")
    assert Evidence.WEBSOCKET in exchange.evidence


def test_a_message_that_was_typed_into_mitmproxy_is_known():
    flow = tflow.twebsocketflow()
    flow.websocket.messages[1].injected = True
    assert [frame.injected for frame in one(flow).frames] == [False, True, False, False]


@pytest.mark.parametrize(
    ("mode", "name"),
    [("regular", "api.example"), ("reverse:https://api.example", None)],
    ids=["any", "reverse"],
)
def test_the_name_tls_was_asked_for(mode, name):
    flow = tflow.tflow()
    flow.client_conn.sni = "api.example"
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    assert one(flow).server_name == name


def test_a_websocket_that_is_open_has_no_close():
    flow = tflow.twebsocketflow()
    flow.websocket.close_code = None
    assert all(frame.opcode != "CLOSE" for frame in one(flow).frames)


@pytest.mark.parametrize(
    ("status", "is_interim"), [(100, True), (103, True), (101, False), (200, False), (99, False)]
)
def test_interim_response_taken_for_the_final_one(status, is_interim):
    exchange = one(tflow.tflow(resp=tutils.tresp(status_code=status)))
    if not is_interim:
        assert exchange.response.code == b"%d" % status
        assert not exchange.interim
        assert not exchange.refusals
        return
    assert exchange.response is None
    assert [found.status for found in exchange.interim] == [status]
    (refusal,) = exchange.refusals
    assert (refusal.origin, refusal.source, refusal.rule) == ("recorder", "mitmproxy", None)


def test_tcp_flow_is_a_stream_of_octets():
    flow = tflow.ttcpflow()
    flow.messages = [
        tcp.TCPMessage(True, b"GET / HT", 1.5),
        tcp.TCPMessage(False, b"HTTP/1.1 ", 2.5),
        tcp.TCPMessage(True, b"TP/1.1\r\n", 3.5),
        tcp.TCPMessage(False, b"\x00\xff", 4.5),
    ]
    (stream,) = read(written(flow))
    assert isinstance(stream, Stream)
    assert stream.client.data == b"GET / HTTP/1.1\r\n"
    assert stream.server.data == b"HTTP/1.1 \x00\xff"
    assert stream.flow == flow.id
    assert stream.client.times == ((0, 1.5), (8, 3.5))
    assert [stream.server.time_at(offset) for offset in (0, 8, 9, 10)] == [2.5, 2.5, 4.5, 4.5]


def test_flows_without_http_are_counted():
    notes: list[str] = []
    items = read(written(tflow.tdnsflow(), tflow.tflow(), tflow.tudpflow(), tflow.tdnsflow()), notes)
    assert [type(item) for item in items] == [Exchange]
    assert notes == ["dns flows skipped, they hold no HTTP: 2", "udp flows skipped, they hold no HTTP: 1"]


def test_journal_of_our_addons():
    flow = tflow.tflow(req=tutils.treq(headers=http.Headers([(b"A", b"1")])), resp=True)
    entry = {
        "addon": "dedupe-headers", "part": "request", "op": "drop", "field": "A",
        "before": ["1", "2"], "after": ["1"], "why": "twice",
    }  # fmt: skip
    flow.metadata["hoplint"] = [entry]
    flow.metadata["hoplint_received"] = {"request": [[b"A", b"1"], [b"A", b"2"]]}
    exchange = one(flow)
    assert exchange.edits == (Edit("dedupe-headers", "request", "drop", "A", ("1", "2"), ("1",), "twice"),)
    assert pairs(exchange.request.fields) == ((b"A", b"1"),)
    assert pairs(exchange.received.request.fields) == ((b"A", b"1"), (b"A", b"2"))
    assert exchange.received.response is exchange.response
    assert Evidence.LEGS in exchange.evidence


@pytest.mark.parametrize(
    "metadata",
    [
        {"hoplint": [{"addon": "x"}]},
        {"hoplint": 3},
        {"hoplint_received": {"request": [["A", "text, not octets"]]}},
        {"hoplint_received": [1]},
    ],
)
def test_a_journal_that_is_none_is_said(metadata):
    flow = tflow.tflow()
    flow.metadata.update(metadata)
    (error, _) = read(written(flow, tflow.tflow()))
    assert str(error).startswith("byte 0: its metadata hold a journal")


def test_metadata_of_others_do_not_matter():
    flow = tflow.tflow(resp=True)
    flow.metadata.update({"a": [1, 2.5, None, True, {"b": b"c"}], "partial_body": True})
    exchange = one(flow)
    assert exchange.response.partial
    assert not exchange.request.partial


# --- files that are not what they should be
SMALL = [tflow.tflow(resp=True), tflow.twebsocketflow(), tflow.ttcpflow()]


def until_broken(data: bytes) -> tuple[list[Exchange | Stream | FlowFileError], FlowFileError | None]:
    """What was yielded before the end, or before the error that ended it."""
    items = []
    try:
        for item in flowfile.read(io.BytesIO(data)):
            items.append(item)  # noqa: PERF402 - extend() would lose what came before the error
    except FlowFileError as error:
        return items, error
    return items, None


def test_cut_at_every_octet():
    whole = [written(flow) for flow in SMALL]
    data = b"".join(whole)
    starts = [0, len(whole[0]), len(whole[0]) + len(whole[1]), len(data)]
    for end in range(len(data) + 1):
        items, error = until_broken(data[:end])
        complete = sum(start <= end for start in starts) - 1
        assert [type(item) for item in items] == [Exchange, Exchange, Stream][:complete]
        if end in starts:
            assert error is None
        else:
            assert error.offset == starts[complete]
            assert "breaks off" in str(error)


def test_any_octet_may_be_wrong():
    """No wrong octet makes anything but our own error, none is read for ever, none quotes what it found."""
    data = written(
        tflow.tflow(req=tutils.treq(headers=http.Headers([(b"Authorization", b"Bearer sk-very")])), resp=True)
    )
    for at in range(len(data)):
        for octet in b"0-9:~},":
            items, error = until_broken(data[:at] + bytes([octet]) + data[at + 1 :])
            for item in [*items, error]:
                if isinstance(item, FlowFileError):
                    assert item.offset == 0 or "begins" in str(item)
                    assert "sk-very" not in str(item)


def test_a_flow_that_cannot_be_understood_does_not_hide_the_next():
    good = written(tflow.tflow())
    bad = tnetstring.dumps({"version": 21, "type": "http", "request": None, "id": "x"})
    odd = tnetstring.dumps({"version": 21, "type": "quic"})
    first, second, third, fourth = read(bad + good + odd + good)
    assert isinstance(first, FlowFileError)
    assert first.offset == 0
    assert isinstance(third, FlowFileError)
    assert third.offset == len(bad + good)
    assert (second.number, fourth.number) == (1, 2)


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        (b"999999999999:x", "breaks off: the flow that begins here has 999999999999 octets, 1 are left"),
        (b"9999999999999:x", "no flow begins here"),
        (b"\n", "no flow begins here"),
        (b"garbage", "no flow begins here"),
        (b":", "no flow begins here"),
        (b"3:abc,", "does not end in '}'"),
        (b"-3:abc}", "no flow begins here"),
    ],
)
def test_what_follows_is_no_flow(tail, says):
    good = written(tflow.tflow())
    items, error = until_broken(good + tail)
    assert len(items) == 1
    assert error.offset == len(good)
    assert says in str(error)


@pytest.mark.parametrize("record", [b"0:}", b"8:1:a;1:b;}", b"17:7:version;4:true!}"])
def test_a_dictionary_that_is_no_flow(record):
    (error,) = read(record)
    assert isinstance(error, FlowFileError)


def test_lists_may_not_nest_for_ever():
    deep = b""
    for _ in range(5000):
        deep = b"%d:%s]" % (len(deep), deep)
    state = tflow.tflow().get_state()
    state["metadata"] = {"x": "HERE"}
    record = tnetstring.dumps(state)
    payload = record[record.index(b":") + 1 : -1]
    payload = payload.replace(b"11:1:x;4:HERE;}", b"%d:1:x;%s}" % (4 + len(deep), deep))
    assert deep in payload
    (error,) = read(b"%d:%s}" % (len(payload), payload))
    assert isinstance(error, FlowFileError)


# --- versions
@pytest.mark.parametrize("number", range(flowfile.OLDEST, flowfile.NEWEST + 1))
def test_versions_that_are_read(number):
    state = tflow.tflow(resp=True).get_state()
    state["version"] = number
    for side in ("client_conn", "server_conn"):
        if number == 19:
            state[side]["state"] = 0
    data = tnetstring.dumps(state)
    (theirs,) = FlowReader(io.BytesIO(data)).stream()
    (ours,) = read(data)
    assert_same(ours, theirs)


def test_versions_keep_up_with_mitmproxy():
    assert version.FLOW_FORMAT_VERSION <= flowfile.NEWEST, "read what changed, and move NEWEST"


def test_newer_version_is_said():
    state = tflow.tflow().get_state()
    state["version"] = 99
    (error,) = read(tnetstring.dumps(state))
    assert "version 99 is too new" in str(error)


def of_version_18() -> bytes:
    """A flow as version 18 wrote it: ``convert_18_19`` of mitmproxy's migration, backwards."""
    state = tflow.tflow(resp=True).get_state()
    state["version"] = 18
    client, server = state["client_conn"], state["server_conn"]
    client["address"] = client.pop("peername")
    client["tls_extensions"] = None
    server["ip_address"] = server.pop("peername")
    server["source_address"] = server.pop("sockname")
    server["via2"] = server.pop("via")
    for side in (client, server):
        side["tls_established"] = True
        side["cipher_name"] = side.pop("cipher")
        side["state"] = 0
    return tnetstring.dumps(state)


def test_older_versions_are_migrated_by_mitmproxy():
    data = of_version_18() + written(tflow.tflow())
    theirs, _ = FlowReader(io.BytesIO(data)).stream()
    ours, newer = read(data)
    assert_same(ours, theirs)
    assert newer.number == 2


def test_an_older_flow_that_mitmproxy_cannot_migrate():
    (error,) = read(tnetstring.dumps({"version": 7, "type": "http"}))
    assert isinstance(error, FlowFileError)


def test_mitmproxy_is_not_imported(tmp_path: Path):
    """Importing it takes longer than reading a thousand flows."""
    path = tmp_path / "a.flow"
    path.write_bytes(written(*SMALL))
    program = (
        "import sys; from conformance import recording\n"
        f"assert len(list(recording.read({str(path)!r}))) == 3\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('mitmproxy', 'pydantic', 'h11', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_decoded_flow_is_written_as_it_was():
    flows = [tflow.tflow(resp=True, err=True), tflow.ttcpflow(), tflow.twebsocketflow(), tflow.tudpflow()]
    flows[0].metadata["a"] = {"b": [1, 2.5, True, None, b"\xff", "é"]}
    data = written(*flows)
    made = [flowfile.encoded(flowfile.decoded(record)) for _, record in flowfile.records(io.BytesIO(data))]
    assert b"".join(made) == data


@pytest.mark.parametrize("record", [b"7:version;2:21#3:abc,9:x,}", b"}", b"1:a;1:b;}"])
def test_what_cannot_be_decoded_is_a_value_error(record):
    with pytest.raises(ValueError, match=r"flow|dictionary|longer"):
        flowfile.decoded(record)

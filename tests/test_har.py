"""What exporters write, in small; mitmproxy's own exporter is asked for the real thing."""

import base64
import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.addons.savehar import SaveHar
from mitmproxy.test import tflow, tutils

from conformance import har
from conformance.har import HarError
from conformance.message import Evidence, Exchange


def entry(**changes):
    """An entry as Chrome writes one, with parts of it replaced: ``request_url=...``."""
    made = {
        "startedDateTime": "2026-11-20T03:22:34.500Z",
        "time": 1500,
        "connection": "4711",
        "serverIPAddress": "[::1]",
        "request": {
            "method": "POST",
            "url": "https://api.example/v1/messages?beta=true#top",
            "httpVersion": "http/1.1",
            "headers": [{"name": "Host", "value": "api.example"}, {"name": "X", "value": " a "}],
            "postData": {"mimeType": "application/json", "text": '{"a": "é"}'},
        },
        "response": {
            "status": 200,
            "statusText": "OK",
            "httpVersion": "http/1.1",
            "headers": [{"name": "Server", "value": "a"}, {"name": "server", "value": "b"}],
            "content": {"size": 2, "mimeType": "text/plain", "text": "hi"},
        },
    }
    for name, value in changes.items():
        part, _, member = name.partition("_")
        if part in ("request", "response") and member:
            made[part][member] = value
        else:
            made[name] = value
    return made


def file_of(*entries, creator="WebInspector", **more):
    log = {
        "version": "1.2",
        "creator": {"name": creator, "version": "1"},
        "pages": [],
        "entries": list(entries),
    }
    return io.BytesIO(json.dumps({"log": {**log, **more}}).encode())


def one(**changes) -> Exchange:
    (exchange,) = har.read(file_of(entry(**changes)))
    assert isinstance(exchange, Exchange), exchange
    return exchange


def lines(message):
    return [tuple(line) for line in message.fields]


def test_a_whole_entry():
    exchange = one(comment="hoplint: ignore[duplicate-server] known")
    request, response = exchange.request, exchange.response
    assert request.start_line == b"POST /v1/messages?beta=true HTTP/1.1"
    assert lines(request) == [(b"Host", b"api.example"), (b"X", b"a")]
    assert request.content == '{"a": "é"}'.encode()
    assert response.start_line == b"HTTP/1.1 200 OK"
    assert lines(response) == [(b"Server", b"a"), (b"server", b"b")]
    assert response.content == b"hi"
    assert not request.verbatim
    assert not response.verbatim
    assert exchange.note == "hoplint: ignore[duplicate-server] known"
    assert (exchange.scheme, exchange.upstream, exchange.client_connection) == (b"https", "[::1]:443", "4711")
    assert exchange.ended == exchange.started + 1.5
    assert exchange.started == 1795144954.5
    assert exchange.recorder == "har"
    assert exchange.evidence == Evidence.HEADERS | Evidence.FLOWS | Evidence.CONNECTION


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("http/1.1", b"HTTP/1.1"), ("HTTP/1.0", b"HTTP/1.0"), ("h2", b"HTTP/2.0"), ("HTTP/2", b"HTTP/2.0"),
        ("http/2.0", b"HTTP/2.0"), ("h3", b"HTTP/3"), ("h3-29", b"HTTP/3"), ("http/2+quic/46", b"HTTP/3"),
        ("unknown", b""), ("", b""), (None, b""), ("data", b""),
    ],
)  # fmt: skip
def test_version(written, version):
    exchange = one(request_httpVersion=written, response_httpVersion=written)
    assert exchange.request.version == exchange.response.version == version
    assert exchange.request.is_http1 == (version[:6] == b"HTTP/1")


def test_pseudo_headers_are_no_fields():
    names = {
        ":authority": "api.example",
        ":method": "GET",
        ":path": "/real?x",
        ":scheme": "https",
        "accept": "*/*",
    }
    headers = [{"name": name, "value": value} for name, value in names.items()]
    request = one(request_httpVersion="h2", request_headers=headers).request
    assert lines(request) == [(b"accept", b"*/*")]
    assert (request.authority, request.target) == (b"api.example", b"/real?x")
    assert one(request_httpVersion="h2").request.authority == b"api.example"
    assert one().request.authority == b""


@pytest.mark.parametrize(
    ("url", "scheme", "target", "upstream"),
    [
        ("http://h", b"http", b"/", "[::1]:80"),
        ("http://u:p@h:81?q", b"http", b"/?q", "[::1]:81"),
        ("wss://[::2]/a", b"https", b"/a", "[::1]:443"),
        ("ws://[::2]:9/a", b"http", b"/a", "[::1]:9"),
    ],
)
def test_url(url, scheme, target, upstream):
    exchange = one(request_url=url)
    assert (exchange.scheme, exchange.request.target, exchange.upstream) == (scheme, target, upstream)


def test_joined_set_cookie_is_split_and_a_fold_is_not():
    headers = [{"name": "Set-Cookie", "value": "a=1\nb=2"}, {"name": "X", "value": "a\r\n b"}, {"name": "Y"}]
    response = one(response_headers=headers).response
    assert lines(response) == [
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"X", b"a\r\n b"),
        (b"Y", b""),
    ]


def test_octets_that_are_no_text():
    headers = [
        {"name": "X", "value": "a\udcff"},
        {"name": "Y", "value": "é"},
        {"name": "Z", "value": "\ud83d"},
    ]
    assert lines(one(response_headers=headers).response) == [
        (b"X", b"a\xff"), (b"Y", "é".encode()), (b"Z", b"\xed\xa0\xbd")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"text": base64.b64encode(b"\x00\xff").decode(), "encoding": "base64"}, b"\x00\xff"),
        ({"text": ""}, None),
        ({"size": 0}, None),
        ({"text": None}, None),
        (None, None),
        ({}, None),
    ],
)
def test_content_says_something_or_nothing(content, body):
    exchange = one(response_content=content, request_postData=content)
    assert exchange.response.content == body
    assert exchange.request.content == body


def test_status_0_is_no_response():
    exchange = one(response_status=0, response__error="net::ERR_CONTENT_LENGTH_MISMATCH")
    assert exchange.response is None
    assert exchange.error == "net::ERR_CONTENT_LENGTH_MISMATCH"
    assert Evidence.ERROR in exchange.evidence
    assert one(response_status=0, response_comment="reset").error == "reset"
    assert one(response_status=0).error is None
    assert one(response=None).response is None


def test_interim_response_taken_for_the_final_one():
    exchange = one(response_status=103)
    assert exchange.response is None
    assert exchange.interim[0].status == 103
    assert exchange.refusals[0].origin == "recorder"
    assert one(response_status=101).response.status == 101


def test_websocket_messages():
    messages = [
        {"type": "send", "time": 1.5, "opcode": 1, "data": "hallo"},
        {"type": "receive", "time": 2, "opcode": 2, "data": "AAE="},
        {"type": "error", "time": 3, "opcode": -1, "data": "what Chrome thinks"},
        {"type": "receive", "opcode": 8, "data": "bye"},
    ]
    exchange = one(_webSocketMessages=messages, response_status=101)
    assert [(f.sender, f.opcode, f.content, f.time, f.code) for f in exchange.frames] == [
        ("client", "TEXT", b"hallo", 1.5, None),
        ("server", "BINARY", b"\x00\x01", 2, None),
        ("server", "CLOSE", b"bye", None, None),
    ]
    assert Evidence.WEBSOCKET in exchange.evidence


@pytest.mark.parametrize("connection", ["443", "0", "", None])
def test_a_connection_that_names_none(connection):
    exchange = one(connection=connection)
    assert exchange.client_connection is None
    assert Evidence.CONNECTION not in exchange.evidence


def test_what_is_not_http_is_counted():
    notes = []
    found = list(
        har.read(file_of(entry(request_url="data:text/plain,x"), entry(), entry(request_url="blob:x")), notes)
    )
    assert [exchange.number for exchange in found] == [1]
    assert notes[-1] == "entries skipped because they are not HTTP (data:, blob:, file:...): 2"


def test_the_exporter_is_named_with_what_it_loses():
    notes = []
    list(har.read(file_of(entry(), creator="Firefox\x1b[2J"), notes))
    assert notes == [
        "HAR from Firefox\\x1b[2J: content is decoded, repeated fields may have been merged, "
        "HTTP/1 framing is gone; rules about these do not run"
    ]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (None, "it is not an object"),
        ({}, "it has no request"),
        (entry(request=3), "request is not an object"),
        (entry(request_url="no url"), "request.url is no URL"),
        (entry(request_method=None), "it has no method"),
        (entry(request_headers=[{"value": "x"}]), "request.headers[0] has no name"),
        (entry(response_headers=["x"]), "response.headers[0] has no name"),
        (entry(response_status="ok"), "response.status is no whole number"),
        (entry(response_status=2.5), "response.status is no whole number"),
        (entry(response_content={"text": "*", "encoding": "base64"}), "response.content.text is not base64"),
        (entry(_webSocketMessages={}), "_webSocketMessages is not an array"),
        (entry(_webSocketMessages=[{"type": "send", "opcode": 2, "data": "*"}]), "binary WebSocket message"),
    ],
)
def test_a_bad_entry_does_not_hide_the_others(bad, says):
    first, error, last = har.read(file_of(entry(), bad, entry()))
    assert isinstance(error, HarError)
    assert str(error).startswith("entry 2: ")
    assert says in str(error)
    assert (first.number, last.number) == (1, 2)


def test_members_that_do_not_matter_may_be_anything():
    exchange = one(connection=7, serverIPAddress=[], startedDateTime="yesterday", time="long", comment=3)
    assert (exchange.client_connection, exchange.upstream, exchange.started) == ("7", None, None)


# --- the JSON
def until_broken(data: bytes):
    items = []
    try:
        for item in har.read(io.BytesIO(data)):
            items.append(item)  # noqa: PERF402 - extend() would lose what came before the error
    except HarError as error:
        return items, str(error)
    return items, None


@pytest.mark.parametrize("window", [1, 7, 64, 1 << 20])
def test_cut_at_any_octet(window, monkeypatch):
    monkeypatch.setattr(har, "WINDOW", window)
    data = file_of(entry(request_url="http://é/😀"), entry(), pages=[{"id": 12.5e3}, None, True]).getvalue()
    data = data.replace(b"\\u00e9", "é".encode()).replace(b", ", b" ,\r\n ")
    whole, error = until_broken(b"\xef\xbb\xbf" + data + b" \n")
    assert error is None
    assert len(whole) == 2
    ends = [data.index(b"}}}", at) + 3 for at in (data.index(b"hi"), data.rindex(b"hi"))]
    for end in range(0, len(data), 1 if window == 1 << 20 else 13):
        items, error = until_broken(data[:end])
        assert "breaks off" in error, data[:end]
        assert len(items) == sum(end >= whole_entry for whole_entry in ends)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"log": {"entries": [}}', "line 1, column 22: this is not JSON"),
        ('{"log":\n {"entries" []}}', "line 2, column 13: expected :"),
        ('{"log": {"entries": []} x', "line 1, column 25: expected , or }"),
        ('{"log": {"entries": []}}\n\nx', "line 3, column 1: something follows the HAR"),
        (
            '{"log": {"entries": [' + '{"a": "\x01"},' + " " * 30 + "]}}",
            "column 29: this is not JSON: Invalid control",
        ),
        ("{log: {}}", "line 1, column 2: expected a name in quotes"),
        ('{"log": []}', "no log.entries: it is no HAR"),
        ('{"log": {"entries": {}}}', "no log.entries"),
        ('{"findings": []}', "no log.entries"),
        ("[]", "expected {"),
        ('{"log": {"entries": [' + "[" * 100_000 + "]" * 100_000 + "]}}", "beyond all measure"),
        ('{"log": {"entries": [' + "9" * 5000 + "]}}", "beyond all measure"),
    ],
)
@pytest.mark.parametrize("window", [5, 1 << 20])
def test_bad_json_is_said_with_its_place(text, says, window, monkeypatch):
    monkeypatch.setattr(har, "WINDOW", window)
    _, error = until_broken(text.encode())
    assert says in error


def test_memory_is_bounded_by_the_window():
    many = [
        entry(request_postData={"text": "x" * 20_000}, response_content={"text": "€" * 20_000})
        for _ in range(500)
    ]
    file = file_of(*many)
    size = len(file.getvalue())
    del many
    tracemalloc.start()
    try:
        assert sum(1 for _ in har.read(file)) == 500
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 50_000_000
    assert peak < 30_000_000


# --- mitmproxy's exporter
token = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), min_size=1, max_size=9
)
value = st.binary(max_size=20).map(lambda octets: octets.replace(b"\n", b"").strip(b" \t"))
header_lists = st.lists(st.tuples(token.map(str.encode), value), max_size=6)


@given(header_lists, header_lists)
def test_headers_survive_mitmproxys_export(asked, answered):
    flow = tflow.tflow(
        req=tutils.treq(headers=http.Headers(asked), method=b"GET", path=b"/a?b"),
        resp=tutils.tresp(headers=http.Headers(answered), status_code=404, reason=b"Lost"),
    )
    exported = json.dumps(SaveHar().make_har([flow])).encode()
    (exchange,) = har.read(io.BytesIO(exported))
    assert lines(exchange.request) == list(flow.request.headers.fields)
    assert lines(exchange.response) == list(flow.response.headers.fields)
    assert exchange.response.start_line == b"HTTP/1.1 404 Lost"
    assert exchange.request.target == b"/a?b"


def test_mitmproxys_websockets_errors_and_contents():
    flows = [tflow.twebsocketflow(), tflow.tflow(err=True), tflow.tflow(resp=True)]
    flows[2].request = tutils.treq(method=b"POST", content=b"\xff\x00" * 50, http_version=b"HTTP/2.0")
    flows[2].response.content = b"\x00\x01" * 50
    exported = json.dumps(SaveHar().make_har(flows)).encode()
    websocket, failed, binary = har.read(io.BytesIO(exported))
    assert [frame.content for frame in websocket.frames] == [m.content for m in flows[0].websocket.messages]
    assert (failed.response, failed.error) == (None, "error")
    assert binary.response.content == flows[2].response.content
    assert binary.request.version == b"HTTP/2.0"

import base64
import gzip
import hashlib
import io
import json
import stat
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from mitmproxy import http, tcp
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.test import tflow, tutils

from conformance import lint, recording, redact
from conformance.rule import load
from conformance.transcript import parse

ROOT = Path(__file__).parents[1]
RECORDINGS = sorted(p for p in ROOT.glob("recordings/*/*") if p.suffix in (".flow", ".http"))
KEY = "sk-proj-Zk3vQ9xT7bLw2NcR8mYpHd5s"
CANARIES = (KEY, "cAnArY0123", "0a1b2c3dcanary", "Jane")
UNLIKE = {
    "secret-in-recording", "data-key-on-control-plane", "control-plane-key-on-data-path",
}  # fmt: skip
"""Rules that are about what redacting takes out, know it from the environment, or compare it with its digest."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(path: Path | str) -> Counter[tuple[object, ...]]:
    run = lint.check([recording.read(path)], load())
    assert not run.failures
    return Counter(
        (f.rule, f.at.exchange, f.at.part, f.at.index, f.at.line)
        for f in run.findings
        if f.rule not in UNLIKE
    )


@pytest.mark.parametrize("options", [{}, {"emails": True}, {"texts": True, "emails": True}], ids=str)
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_recorded_traffic_is_linted_alike_and_a_second_time_changes_nothing(
    path: Path, options: dict
) -> None:
    once, twice = Path(f"once{path.suffix}"), Path(f"twice{path.suffix}")
    done = redact.redact(str(path), once, **options)
    redact.redact(str(once), twice, **options)
    assert found(once) == found(path)
    assert twice.read_bytes() == once.read_bytes()
    if not done.counts["left out"]:
        assert once.stat().st_size == path.stat().st_size


@pytest.mark.parametrize("topic", sorted({rule.topic for rule in load().values()}))
def test_examples_of_rules_are_linted_alike(topic: str) -> None:
    path, once = Path("example.http"), Path("once.http")
    for rule in load().values():
        for example in rule.examples if rule.topic == topic else ():
            path.write_text(example.transcript)
            redact.redact(str(path), once, texts=True, emails=True)
            assert found(once) == found(path), rule.name


# --- flow files

PROSE = " ".join((load.__doc__ or "").split() + (tutils.__doc__ or redact.__doc__ or "").split())


def http_flow() -> http.HTTPFlow:
    flow = tflow.tflow(
        req=tutils.treq(
            path=b"/v1?key=cAnArY0123",
            headers=http.Headers(
                [(b"Authorization", b"Bearer " + KEY.encode()), (b"Cookie", b"sid=0a1b2c3dcanary")]
            ),
            content=json.dumps({"messages": [{"role": "user", "content": "Jane@corp.example"}]}).encode(),
        ),
        resp=tutils.tresp(
            headers=http.Headers([(b"Content-Encoding", b"gzip")]),
            content=gzip.compress(
                json.dumps({"error": f"wrong key {KEY}", "text": f"Jane {PROSE}"}).encode()
            ),
        ),
        err=True,
    )
    flow.error.msg = f"refused: Authorization: Bearer {KEY}"
    flow.comment = f"with {KEY}, said Jane@corp.example"
    flow.metadata["proxyauth"] = ("user", "cAnArY0123")
    edit = {"addon": "a", "part": "request", "op": "set", "field": "X-Api-Key", "why": f"was {KEY}"}
    flow.metadata["hoplint"] = [{**edit, "before": ["cAnArY0123"], "after": ["None"]}]
    flow.metadata["hoplint_received"] = {"request": [[b"X-Api-Key", b"cAnArY0123"]], "response": None}
    return flow


def flows_of(path: Path | str) -> list:
    with Path(path).open("rb") as file:
        return list(FlowReader(file).stream())


def write(path: str, *flows) -> Path:
    with Path(path).open("wb") as file:
        for flow in flows:
            FlowWriter(file).add(flow)
    return Path(path)


def test_every_part_of_a_flow() -> None:
    socket = tflow.twebsocketflow()
    socket.websocket.messages[0].content = json.dumps({"authorization": KEY, "text": "Jane"}).encode()
    socket.websocket.close_reason = f"bad {KEY}"
    path = write("a.flow", http_flow(), socket, tflow.tdnsflow(resp=True), tflow.tudpflow())
    done = redact.redact("a.flow", Path("b.flow"), texts=True, emails=True)
    assert not done.errors
    octets = Path("b.flow").read_bytes()
    assert done.counts["left out"] == 0
    assert len(octets) == path.stat().st_size
    flow, socket, *_ = flows_of("b.flow")
    octets += flow.response.content + flow.response.text.encode()
    for canary in CANARIES:
        assert canary.encode() in path.read_bytes()
        assert canary.encode() not in octets
    assert flow.request.headers["authorization"].startswith("Bearer sk-proj-redacted")
    # the same credential is the same everywhere
    assert flow.request.headers["authorization"].removeprefix("Bearer ") in flow.comment
    assert flow.metadata["hoplint"][0]["after"] == ["None"]
    assert flow.metadata["hoplint"][0]["before"] == [
        flow.metadata["hoplint_received"]["request"][0][1].decode()
    ]
    assert flow.client_conn.get_state() == flows_of(path)[0].client_conn.get_state()


def test_a_secret_that_ends_in_another_piece_of_a_stream() -> None:
    octets = f"GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: {KEY}\r\n\r\n".encode()
    pieces = [octets[at : at + 7] for at in range(0, len(octets), 7)]
    flow = tflow.ttcpflow(messages=[tcp.TCPMessage(True, piece, 1.0) for piece in pieces])
    write("a.flow", flow)
    redact.redact("a.flow", Path("b.flow"))
    (made,) = flows_of("b.flow")
    assert [len(message.content) for message in made.messages] == [len(piece) for piece in pieces]
    assert KEY.encode() not in b"".join(message.content for message in made.messages)


def test_what_has_no_secret_is_copied_octet_for_octet() -> None:
    path = ROOT / "recordings/flows/h2-client.flow"
    redact.redact(str(path), Path("b.flow"))
    assert Path("b.flow").read_bytes() == path.read_bytes()


def test_different_credentials_stay_different_and_a_key_makes_it_repeatable() -> None:
    flows = [http_flow() for _ in range(3)]
    flows[1].request.headers["Authorization"] = f"Bearer {KEY}2"
    write("a.flow", *flows)
    for out, key in (("b.flow", b"one"), ("c.flow", b"one"), ("d.flow", None)):
        redact.redact("a.flow", Path(out), key=key)
    made = [flow.request.headers["Authorization"] for flow in flows_of("b.flow")]
    assert made[0] == made[2] != made[1][: len(made[0])]
    assert Path("b.flow").read_bytes() == Path("c.flow").read_bytes() != Path("d.flow").read_bytes()


def test_memory_does_not_grow_with_the_file() -> None:
    peaks = []
    for count in (20, 200):
        flow = http_flow()
        flow.request.content = b"x" * 20_000
        write("a.flow", *[flow] * count)
        tracemalloc.start()
        redact.redact("a.flow", Path("b.flow"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000


def test_mitmproxy_is_not_imported() -> None:
    write("a.flow", http_flow())
    program = (
        "import sys; from conformance.cli import main; main(['redact', 'a.flow', '-o', 'b.flow'])\n"
        "assert 'mitmproxy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- files


def test_a_flow_file_that_breaks_off_is_redacted_up_to_there() -> None:
    path = write("a.flow", http_flow(), http_flow())
    path.write_bytes(path.read_bytes()[:-10])
    done = redact.redact("a.flow", Path("b.flow"))
    assert "breaks off" in done.errors[0]
    assert len(flows_of("b.flow")) == 1
    assert KEY.encode() not in Path("b.flow").read_bytes()
    with pytest.raises(redact.CannotRedact, match="breaks off"):
        redact.redact("a.flow")


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_in_place_and_permissions(mode: int) -> None:
    path = write("a.flow", http_flow())
    path.chmod(mode)
    redact.redact("a.flow", Path("b.flow"))
    redact.redact("a.flow")
    assert KEY.encode() not in path.read_bytes()
    for each in (path, Path("b.flow")):
        assert stat.S_IMODE(each.stat().st_mode) == mode
    assert sorted(p.name for p in Path().iterdir()) == ["a.flow", "b.flow"]


@pytest.mark.parametrize(
    ("path", "into", "says"),
    [
        ("-", "b", "one recording in a file"),
        ("nowhere", "b", "nowhere"),
        (".", "b", "one recording"),
        ("a.png", "b", "PNG"),
        ("a.http", "a.http", "--in-place"),
        ("a.http", "link", "--in-place"),
        ("a.http", "no/b.http", "cannot be written"),
        ("broken.http", "b.http", "line 2"),
    ],
)
def test_what_cannot_be_redacted(path: str, into: str, says: str) -> None:
    Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Path("a.http").write_text("> GET / HTTP/1.1\n> Host: a\n")
    Path("broken.http").write_text("> GET / HTTP/1.1\nnonsense\n")
    Path("link").symlink_to("a.http")
    with pytest.raises(redact.CannotRedact, match=says) as error:
        redact.redact(path, Path(into))
    assert "\n" not in str(error.value)
    assert Path("a.http").read_text() == "> GET / HTTP/1.1\n> Host: a\n"


# --- HAR


CONTENT = f'{{"text": "Jane", "k": "{KEY}"}}'.encode()


def test_har() -> None:
    entry = {
        "startedDateTime": "2026-11-20T03:22:34.500Z",
        "time": 15,
        "comment": f"with {KEY}",
        "request": {
            "method": "POST",
            "url": "https://api.example/v1?key=cAnArY0123",
            "httpVersion": "http/1.1",
            "headers": [{"name": "x-api-key", "value": KEY}, {"name": "Host", "value": "api.example"}],
            "cookies": [{"name": "sid", "value": "0a1b2c3dcanary", "path": "/"}],
            "queryString": [{"name": "key", "value": "cAnArY0123"}, {"name": "alt", "value": "sse"}],
            "postData": {"mimeType": "application/json", "text": '{"content": "Jane"}'},
        },
        "response": {
            "status": 200,
            "statusText": "OK",
            "httpVersion": "http/1.1",
            "headers": [{"name": "Set-Cookie", "value": "sid=0a1b2c3dcanary; Path=/\nb=0a1b2c3dcanary"}],
            "content": {"encoding": "base64", "text": base64.b64encode(CONTENT).decode()},
        },
        "_webSocketMessages": [
            {"type": "send", "opcode": 1, "data": '{"text": "Jane"}', "time": 1.5},
            {"type": "receive", "opcode": 2, "data": base64.b64encode(b'{"text": "Jane"}').decode(), "time": 1.5},
        ],
    }  # fmt: skip
    document = {
        "log": {"version": "1.2", "creator": {"name": "x", "version": "1"}, "entries": [entry, entry]},
        "_x": 1,
    }
    Path("a.har").write_text(json.dumps(document))
    redact.redact("a.har", Path("b.har"), texts=True, emails=True)
    made = json.loads(Path("b.har").read_text())
    text = json.dumps(made)
    first = made["log"]["entries"][0]
    text += base64.b64decode(first["response"]["content"]["text"]).decode()
    text += base64.b64decode(first["_webSocketMessages"][1]["data"]).decode()
    for canary in CANARIES:
        assert canary not in text
    assert first["request"]["cookies"][0]["path"] == "/"
    assert first["request"]["queryString"][0]["value"] in first["request"]["url"]
    assert first["request"]["queryString"][1] == {"name": "alt", "value": "sse"}
    assert first["response"]["headers"][0]["value"].count("\n") == 1
    assert (made["_x"], made["log"]["creator"]) == (1, document["log"]["creator"])
    assert found("b.har") == found("a.har")
    redact.redact("b.har", Path("c.har"), texts=True, emails=True)
    assert Path("c.har").read_bytes() == Path("b.har").read_bytes()


@pytest.mark.parametrize("entries", [[], [{"request": 7}]])
def test_a_har_without_exchanges_stays_json(entries: list) -> None:
    Path("a.har").write_text(json.dumps({"log": {"entries": entries, "version": "1.2"}}))
    assert redact.redact("a.har", Path("b.har")).errors
    assert json.loads(Path("b.har").read_text()) == {"log": {"entries": entries, "version": "1.2"}}


def test_a_har_that_breaks_off_stays_json() -> None:
    entry = json.dumps(
        {"request": {"method": "GET", "url": f"http://a/?key={KEY}", "headers": []}, "response": {}}
    )
    Path("a.har").write_text(f'{{"log": {{"version": "1.2", "entries": [{entry}, {entry[:50]}')
    assert redact.redact("a.har", Path("b.har")).errors
    assert len(json.loads(Path("b.har").read_text())["log"]["entries"]) == 1
    assert KEY not in Path("b.har").read_text()


# --- transcripts

TEXT = f"""\
# expect: duplicate-server
# a comment on {KEY}
@ started: 1763608935.5
@ error: refused Authorization: Bearer {KEY}
> POST /v1?key=cAnArY0123 HTTP/1.1
> Host:   api.example
> X-Api-Key: {KEY}
>
> {{"a": "caf\u00e9",
#   in between
>  "password": "cAnArY0123"}}
< HTTP/1.1 200 OK
< Server: a
< Server: b
<+ X-Secret: 0a1b2c3dcanary

> GET /v1/realtime HTTP/1.1
< HTTP/1.1 101 Switching Protocols
> TEXT {{"token": "cAnArY0123"}}
< CLOSE 1008 bad {KEY}

>> GET / HTTP/1.1\\r\\n
>> X-Api-Key: {KEY[:9]}
>> {KEY[9:]}\\r\\n\\r\\n
<< HTTP/1.1 204 No Content\\r\\nSet-Cookie: a=0a1b2c3dcanary\\r\\n\\r\\n
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_transcripts_keep_their_layout(ending: str) -> None:
    Path("a.http").write_bytes(TEXT.replace("\n", ending).encode())
    redact.redact("a.http", Path("b.http"))
    made = Path("b.http").read_bytes().decode()
    for canary in CANARIES:
        assert canary not in made.replace(f"{ending}>> ", "")
    lines, before = made.split(ending), TEXT.split("\n")
    assert [len(line) for line in lines] == [len(line) for line in before]
    untouched = (0, 2, 5, 8, 11, 12, 13, 15, 16, 17, 20, 21)
    assert [lines[number] for number in untouched] == [before[number] for number in untouched]
    assert len(list(parse(made))) == 3
    assert found("b.http") == found("a.http")


def test_digests_are_those_of_what_stands_there_now() -> None:
    """Those of the content that was would tell who guesses it that he is right, and be wrong."""
    content = b'{"api_key": "%s"}' % KEY.encode()
    said = b"sha-256=:%s:" % base64.b64encode(hashlib.sha256(content).digest())
    flow = tflow.tflow(resp=True)
    flow.request.raw_content = content
    flow.request.headers.fields = ((b"Host", b"a"), (b"Content-Digest", said))
    with Path("a.flow").open("wb") as file:
        FlowWriter(file).add(flow)
    head = f"> POST / HTTP/1.1\n> Host: a\n> Content-Digest: {said.decode()}\n"
    Path("a.http").write_text(f"{head}>\n> {content.decode()}\n")
    for name in ("a.flow", "a.http"):
        redact.redact(name, Path(f"b{name[1:]}"))
        (exchange,) = recording.read(f"b{name[1:]}")
        made = exchange.request.content
        assert made is not None
        assert made != content
        right = base64.b64encode(hashlib.sha256(made).digest())
        assert exchange.request.fields.one("content-digest") == b"sha-256=:%s:" % right


def test_told() -> None:
    write("a.flow", http_flow())
    done = redact.redact("a.flow", Path("b.flow"))
    first, *_ = redact.told(done).splitlines()
    assert first == f"{done.counts['credentials']} credentials in {done.counts['places']} places"
    assert not any(canary in redact.told(done) for canary in CANARIES)


def test_flows_are_redacted_as_they_come_with_what_is_known_by_then(monkeypatch) -> None:
    monkeypatch.setattr(redact, "KNOWN", 2)
    redacts = redact.Flows()

    def sent(credential: str, target: str = "/") -> bytes:
        headers = http.Headers(authorization=f"Bearer {credential}") if credential else http.Headers()
        request = tutils.treq(headers=headers, path=target.encode())
        file = io.BytesIO()
        FlowWriter(file).add(tflow.tflow(req=request))
        return redacts(file.getvalue())

    first, second, third = "first-pass-phrase-of-all", "second-pass-phrase-of-all", "third-pass-phrase-of-all"
    assert first.encode() in sent("", f"/{first}")  # nobody can know
    assert first.encode() not in sent(first)
    assert first.encode() not in sent("", f"/{first}")
    assert second.encode() not in sent(second, f"/{first}/{second}")
    assert third.encode() not in sent(third)
    assert first.encode() in sent("", f"/{first}")  # the oldest is forgotten
    assert third.encode() not in sent("", f"/{second}/{third}")


def test_two_recorders_of_a_process_agree() -> None:
    file = io.BytesIO()
    FlowWriter(file).add(
        tflow.tflow(req=tutils.treq(headers=http.Headers(authorization="Bearer sk-0123456789abcdef")))
    )
    assert redact.Flows()(file.getvalue()) == redact.Flows()(file.getvalue())
    assert redact.Flows(key=b"1")(file.getvalue()) != redact.Flows(key=b"2")(file.getvalue())

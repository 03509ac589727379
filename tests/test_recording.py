"""Kinds are told from content, errors are kept and never raised, everything is numbered."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mitmproxy import tcp
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from conformance import recording
from conformance.message import Exchange, Stream
from conformance.recording import Recording, RecordingError, find, parse, read
from conformance.transcript import TranscriptError

EXCHANGE = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n"
OCTETS = "".join(
    f">> GET {at} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n\n"
    for at in ("/1", "/2")
)


def flows(*made) -> bytes:
    file = io.BytesIO()
    for flow in made or (tflow.tflow(resp=True),):
        FlowWriter(file).add(flow)
    return file.getvalue()


def har(*entries) -> bytes:
    return json.dumps({"log": {"creator": {"name": "x"}, "entries": entries}}).encode()


ENTRY = {
    "request": {"method": "GET", "url": "http://a/", "httpVersion": "h2", "headers": []},
    "response": {"status": 200, "httpVersion": "h2", "headers": []},
}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (flows(), "mitmproxy"),
        (har(ENTRY), "har"),
        (b"\xef\xbb\xbf \n" + har(ENTRY), "har"),
        (EXCHANGE.encode(), "transcript"),
        (b"\xef\xbb\xbf\r\n" + EXCHANGE.encode(), "transcript"),
        (b"# a comment\n" + EXCHANGE.encode(), "transcript"),
        (b"@ upstream: a:1\n" + EXCHANGE.encode(), "transcript"),
        (OCTETS.encode(), "transcript"),
    ],
)
def test_kind_is_told_from_content_not_from_the_name(data, kind, tmp_path: Path):
    path = tmp_path / "anything.txt"
    path.write_bytes(data)
    from_file, from_stdin = read(path), read("-", stdin=data)
    for found in (from_file, from_stdin):
        assert found.kind == kind
        items = list(found)
        assert items
        assert found.error is None
        assert found.exchanges == sum(len(i.exchanges) if isinstance(i, Stream) else 1 for i in items)
        assert found.streams == sum(isinstance(i, Stream) for i in items)
    assert (from_file.path, from_stdin.path) == (str(path), "-")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"),
        (b" \n\n", "an empty file"),
        (gzip.compress(flows()), "gunzip it first"),
        (b"\x28\xb5\x2f\xfd1234", "zstd data"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "(pcap)"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00", "(pcapng)"),
        (b"<!doctype html>", "HTML or XML"),
        (b"<html>", "HTML or XML"),
        (b"[{}]", "JSON, but no HAR"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "with '> ' (client)"),
        (b"HTTP/1.1 200 OK\r\n", "with '> ' (client)"),
        ('{"log"'.encode("utf-16"), "UTF-16"),
        (b"#!/bin/sh\n", "text of some other kind"),
        ("Überschrift\n".encode(), "text of some other kind"),
        (b"\x00\x01\x02", "binary data of some other kind"),
    ],
)
def test_what_is_no_recording_is_told_by_its_looks(data, says):
    found = read("-", stdin=data)
    assert list(found) == []
    assert found.kind == "unknown"
    assert says in found.error
    assert found.error.endswith("hoplint reads mitmproxy flow files, HAR and transcripts")
    assert "\n" not in found.error


@pytest.mark.parametrize("data", [b"# only a comment\n", har(), flows(tflow.tdnsflow())])
def test_nothing_in_it_is_an_error(data):
    found = read("-", stdin=data)
    assert list(found) == []
    assert found.error == "there are no exchanges in it"


def test_what_comes_before_the_break_is_there():
    flow, cut = flows(), flows()[:-1]
    for data, says in (
        (flow + cut, f"byte {len(flow)}: the recording breaks off"),
        (har(ENTRY, ENTRY)[:-30], "line 1, column"),
        (f"{EXCHANGE}\n{EXCHANGE}\nwhat?\n".encode(), "line 11: a line begins with"),
        (f"{EXCHANGE}\n> GET / HTTP/1.1\n> X: \xff\n".encode("latin-1"), "line 7: a transcript is UTF-8"),
    ):
        found = read("-", stdin=data)
        items = list(found)
        assert says in found.error
        if b"\xff" not in data:
            assert len(items) >= 1
        assert found.exchanges == len(items)


def test_several_errors_are_counted():
    found = read("-", stdin=har(None, ENTRY, None, None))
    assert len(list(found)) == 1
    assert found.error == "entry 1: it is not an object (and 2 more errors)"


def test_what_cannot_be_opened(tmp_path: Path):
    for path in (tmp_path / "missing", tmp_path):
        found = read(path)
        assert list(found) == []
        assert found.error.startswith("cannot be read: ")


def test_a_file_that_goes_away_meanwhile(tmp_path: Path):
    path = tmp_path / "a.flow"
    path.write_bytes(flows())
    found = read(path)
    path.unlink()
    assert list(found) == []
    assert found.error == "cannot be read: No such file or directory"


def test_reading_again_reads_again(tmp_path: Path):
    path = tmp_path / "a.flow"
    path.write_bytes(flows(tflow.tflow(), tflow.tdnsflow()) + b"x")
    found = read(path)
    for _ in range(2):
        assert len(list(found)) == 1
        assert found.exchanges == 1
        assert found.notes == ["dns flows skipped, they hold no HTTP: 1"]
        assert "no flow begins here" in found.error


def test_reading_is_lazy(tmp_path: Path):
    path = tmp_path / "a.flow"
    path.write_bytes(flows() + b"x")
    found = read(path)
    next(iter(found))
    assert found.exchanges == 1
    assert found.error is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_once(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(flows(),))
    writer.start()
    found = read(path)
    writer.join()
    assert (found.kind, len(list(found))) == ("mitmproxy", 1)


def test_standard_input_is_read():
    program = "from conformance import recording; print(len(list(recording.read('-'))))"
    done = subprocess.run([sys.executable, "-c", program], input=flows(), capture_output=True, check=True)
    assert done.stdout.strip() == b"1"


def test_exchanges_in_streams_are_numbered_with_the_others():
    items = list(parse(f"{EXCHANGE}\n{OCTETS}\n{EXCHANGE}\n{OCTETS}"))
    numbers = [[e.number for e in i.exchanges] if isinstance(i, Stream) else i.number for i in items]
    assert numbers == [1, [2, 3], 4, [5, 6]]
    assert [item.number for item in items if isinstance(item, Stream)] == [1, 2]


def test_messages_in_tcp_flows_are_found():
    flow = tflow.ttcpflow()
    flow.messages = [
        tcp.TCPMessage(True, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        tcp.TCPMessage(False, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ]
    first, last = list(read("-", stdin=flows(flow, tflow.tflow())))
    (exchange,) = first.exchanges
    assert exchange.response.status == 204
    assert exchange.request is first.client.messages[0]
    assert (exchange.number, last.number) == (1, 2)


ERROR = "Cannot parse HTTP response: invalid content-length header: '5, 5'"


def test_error_texts_become_refusals_in_flows_and_transcripts():
    flow = tflow.tflow(err=True)
    flow.error.msg = ERROR
    (from_flow,) = read("-", stdin=flows(flow))
    (from_text,) = parse(f"@ error: {ERROR}\n> GET / HTTP/1.1\n> Host: a\n")
    for exchange in (from_flow, from_text):
        (refusal,) = exchange.refusals
        assert (refusal.text, refusal.part, refusal.source) == (ERROR, "response", "mitmproxy")


def test_expected_rules_of_a_transcript():
    assert read("-", stdin=f"# expect: b, a\n{EXCHANGE}".encode()).expected == {"a", "b"}
    assert read("-", stdin=b"\xef\xbb\xbf# expect:\n").expected == frozenset()
    assert read("-", stdin=EXCHANGE.encode()).expected is None
    assert read("-", stdin=flows()).expected is None


def test_parse_raises():
    with pytest.raises(TranscriptError, match="line 1"):
        list(parse("nonsense"))
    (exchange,) = parse(EXCHANGE)
    assert isinstance(exchange, Exchange)


# --- where recordings are
@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.flow", "a.HAR", "deep/c.http", "deep/d.mitm", "notes.md", ".git/x.flow", "empty/README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_searched(folder: Path):
    assert find(["."]) == ["a.HAR", "b.flow", "deep/c.http", "deep/d.mitm"]
    assert find([folder / "deep"]) == [f"{folder}/deep/c.http", f"{folder}/deep/d.mitm"]


def test_files_globs_and_standard_input(folder: Path):
    assert find(["notes.md", "-", "b.flow", "*.flow"]) == ["notes.md", "-", "b.flow"]
    assert find(["**/*.http"]) == ["deep/c.http"]
    assert find([f"{folder}/d*"]) == [f"{folder}/deep/c.http", f"{folder}/deep/d.mitm"]
    (folder / "odd[1].flow").touch()
    assert find(["odd[1].flow"]) == ["odd[1].flow"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing.flow", "missing.flow: no such file or folder"),
        ("empty", "empty: no recordings in this folder (*.flow *.flows *.har *.http *.mitm)"),
        ("*.pcap", "*.pcap: nothing matches"),
        ("empt*", "empt*: nothing matches"),
    ],
)
def test_where_nothing_is(folder: Path, path, says):
    with pytest.raises(RecordingError) as caught:
        find(["b.flow", path])
    assert str(caught.value) == says


def test_the_suffixes_are_those_of_the_manual():
    assert set(recording.SUFFIXES) == {".flow", ".flows", ".mitm", ".har", ".http"}
    assert Recording("-", b"").error

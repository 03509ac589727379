"""What goes beyond a limit is said to, and takes no more memory than what is written down in docs/robustness.md."""

from __future__ import annotations

import gzip
import io
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

from conformance import examine, flowfile, lint
from conformance.recording import Recording
from conformance.rule import load

FLOWS = Path(__file__).parents[2] / "recordings/flows/session-server.flow"
MEMORY = 1 << 30
"""Octets of address space in which each of these is linted: LIMIT, a few times over, and the program."""
BOMB = 1 << 28
"""Octets that each bomb would unpack to: more than what is left of MEMORY, if each is kept twice."""


def flow(fields: list[tuple[bytes, bytes]], content: bytes) -> bytes:
    """A flow file of one flow, whose response has these fields and this content."""
    for _, record in flowfile.records(io.BytesIO(FLOWS.read_bytes())):
        found = flowfile.decoded(record)
        if found["type"] == "http" and found["response"]:
            break
    answer = {**found["response"], "headers": list(map(list, fields)), "content": content}
    return flowfile.encoded({**found, "response": answer})


def zipped() -> bytes:
    return packed(zlib.compressobj(9, zlib.DEFLATED, 31))


def packed(packer: Any) -> bytes:
    """What a compressor makes of that many NULs."""
    piece = bytes(1 << 20)
    pack, finish = (getattr(packer, "compress", None) or packer.process), getattr(packer, "finish", None)
    pieces = [pack(piece) for _ in range(BOMB // len(piece))]
    return b"".join([*pieces, finish() if finish else packer.flush()])


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": zipped,
    "deflate": lambda: packed(zlib.compressobj(9)),
    "br": lambda: packed(brotli.Compressor(quality=1)),
    "zstd": lambda: packed(zstandard.ZstdCompressor().compressobj()),
    "gzip, gzip": lambda: gzip.compress(zipped()),
    "x-gzip": lambda: gzip.compress(bytes(1 << 20)) * (BOMB >> 20),  # many members
}


@pytest.mark.parametrize("coding", BOMBS)
def test_bombs(coding: str, tmp_path: Path) -> None:
    fields = [(b"Content-Type", b"application/json"), (b"Content-Encoding", coding.encode())]
    done = check(tmp_path, flow(fields, BOMBS[coding]()))
    assert "not looked into: content in " in done
    assert "more than 64 MiB (in 1 messages)" in done


def check(folder: Path, recording: bytes) -> str:
    """What ``hoplint check`` says, when it has MEMORY and no more."""
    path = folder / "hostile"
    path.write_bytes(recording)
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "check", "--isolated", "--exit-zero", str(path)],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 2), done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "document", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"[" + b"1" * 5000 + b"]"]
)
def test_json_that_is_beyond_all_measure(document: bytes) -> None:
    run = linted(flow([(b"Content-Type", b"application/json")], document))
    assert run.failures == []
    broken = any("json" in finding.rule for finding in run.findings)
    assert broken or any("JSON" in note for note in run.recordings[0].notes)


def linted(data: bytes) -> lint.Run:
    return lint.check([Recording("hostile", data)], load())


HEAD = b"> GET / HTTP/1.1\n> Host: a\n"


def test_findings_of_a_message() -> None:
    many = b"> Age: a\n" * (examine.MOST + 50)
    run = linted(HEAD + many + b"< HTTP/1.1 200 OK\n")
    counts = {name: sum(f.rule == name for f in run.findings) for name in {f.rule for f in run.findings}}
    assert max(counts.values()) == examine.MOST
    assert any("no more" in note or "had more" in note for note in run.recordings[0].notes)


def test_findings_of_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "KEPT", 5)
    run = linted((HEAD + b"< HTTP/1.1 200 OK\n< Date: a\n\n") * 8)
    counts = {name: sum(f.rule == name for f in run.findings) for name in {f.rule for f in run.findings}}
    assert max(counts.values()) == 5
    assert any("the first 5 findings are reported, and 3 are not" in note for note in run.recordings[0].notes)


LYING = {
    "flow of 4 GB": b"4294967296:" + b"x" * 100,
    "flow of 999 GB": b"999999999999:}",
    "content of 4 GB": b">> GET / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 4294967296\\r\\n\\r\\nx\n",
    "content of 10^30": b">> GET / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1" + b"0" * 30 + b"\\r\\n\\r\\nx\n",
    "chunk of 4 GB": b">> GET / HTTP/1.1\\r\\nHost: a\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nffffffff\\r\\nx\n",
    "frame of 2^63": b">> GET / HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n\n"
    b"<< HTTP/1.1 101 x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n\\x81\\x7f\\x7f"
    + b"\\xff" * 7 + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("name", LYING)
def test_lengths_that_lie(name: str, tmp_path: Path) -> None:
    check(tmp_path, LYING[name])


LARGE = {
    "many header lines": HEAD + b"> X-A: b\n" * 100_000 + b"< HTTP/1.1 200 OK\n",
    "many interim responses": HEAD + b"< HTTP/1.1 100 Continue\n" * 20_000 + b"< HTTP/1.1 200 OK\n",
    "many members": HEAD + b"> Accept: " + b"a/b;q=0.1, " * 100_000 + b"\n< HTTP/1.1 200 OK\n",
    "a header line of 1 MB": HEAD + b"> Authorization: Bearer " + b"your-key " * 100_000 + b"\n",
}


@pytest.mark.parametrize("name", LARGE)
def test_many_of_one_thing(name: str) -> None:
    # Ends, that is: what is quadratic would take hours.
    run = linted(LARGE[name])
    assert run.failures == []
    assert run.recordings[0].exchanges == 1

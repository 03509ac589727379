"""The demonstration, end to end: what it shows is what happened, and nothing of it is left running."""

import json
import re
import signal
import subprocess
import sys
import time
from email.message import Message
from pathlib import Path

import pytest

from conformance import demo, recording
from conformance.cli import main

FOUND_BARE = {"duplicate-server", "duplicate-content-type", "proxy-connection-header"}


def children(pid: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return set()


def test_whole_demonstration(tmp_path: Path, capfd) -> None:
    assert main(["demo", "--keep", str(tmp_path / "new" / "folder")]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "refuses the response: Duplicate" in out
    assert "404 Not Found" in " ".join(out.split())
    assert 'reads "Two files' in out
    # What was shown as recorded is there, and says the same.
    paths = re.findall(r"hoplint check (\S+)", out)
    bare, mended = map(Path, paths)
    found = {}
    for path in (bare, mended):
        assert main(["check", str(path), "--isolated", "--format", "json", "--exit-zero"]) == 0
        found[path] = json.loads(capfd.readouterr().out)["findings"]
    assert {finding["rule"] for finding in found[bare]} >= FOUND_BARE
    assert not {finding["rule"] for finding in found[mended]} & FOUND_BARE
    for rule in FOUND_BARE:
        assert re.search(rf"{rule} +[0-9]+ +-", out)
    exchanges = list(recording.read(mended))
    assert [exchange.response.status for exchange in exchanges] == [200, 200, 101]
    assert exchanges[1].response.content.count(b"data: ") == len(demo.EVENTS) + 1
    assert [frame.opcode for frame in exchanges[2].frames] == ["TEXT", "TEXT", "TEXT", "CLOSE"]


def test_outcomes_are_those_of_each_way(tmp_path: Path) -> None:
    ways = demo.hold(tmp_path)
    bare, mended = ways.values()
    assert [outcome.ok for outcome in bare.outcomes] == [False, False, False]
    assert [outcome.ok for outcome in mended.outcomes] == [True, True, True]
    first, last = map(int, re.findall(r"after (\d+) ms", mended.outcomes[1].said))
    assert last - first >= demo.PAUSE * 1000, "the events came one by one"
    (held,) = map(int, re.findall(r"after (\d+) ms", bare.outcomes[1].said))
    assert held >= demo.PAUSE * (len(demo.EVENTS) - 1) * 1000, "mitmdump alone holds them back"
    assert mended.run.edits
    assert not bare.run.edits


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_what_it_started(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "conformance", "demo", "--keep", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 30
        while len(started := children(process.pid)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert len(started) == 2
    assert (process.returncode, err) == (130, b"")
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_a_mitmdump_that_does_not_start_is_said(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setitem(demo.WAYS, "mitmdump", ["-c", "print('one'); raise SystemExit('no such luck')"])
    assert main(["demo", "--keep", str(tmp_path)]) == 2
    assert capfd.readouterr().err == "hoplint: error: mitmdump does not start: no such luck\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path, capfd) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--keep", str(tmp_path / "file")]) == 2
    assert "file: File exists" in capfd.readouterr().err


@pytest.mark.parametrize("size", [0, 1, 125, 126, 4000])
@pytest.mark.parametrize("mask", [b"", b"demo"])
def test_frames(size: int, mask: bytes) -> None:
    octets = demo._frame(1, b"x" * size, mask)

    def read(count: int) -> bytes:
        nonlocal octets
        taken, octets = octets[:count], octets[count:]
        return taken

    assert demo._receive(read) == (1, b"x" * size)
    assert demo._receive(read) == (8, b"")


def test_the_first_repeated_header_is_named() -> None:
    fields = Message()
    for name in ("server", "Date", "Server", "Date", "content-type", "Content-Type"):
        fields[name] = "x"
    assert demo.repeated(fields) == "Content-Type"
    del fields["content-type"]
    assert demo.repeated(fields) == "Server"
    del fields["server"]
    assert demo.repeated(fields) is None

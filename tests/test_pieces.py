"""However a flow file is cut, what comes out is what one process finds."""

import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from conformance import examine, flowfile, jobs, lint, pieces, recording
from conformance.cli import main
from conformance.finding import Run
from conformance.message import Stream
from conformance.rule import load

FLOWS = Path(__file__).parents[1] / "recordings" / "flows"
ROUNDS = 4
ASKED = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
ANSWERED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 0\r\n\r\nmore"


def records_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [record for _, record in flowfile.records(file)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All flows of the shipped flow files many times over, with ignores, on connections that last for two rounds."""
    path = tmp_path_factory.mktemp("pieces") / "mixed.flow"
    records = [record for one in sorted(FLOWS.glob("*.flow")) for record in records_of(one)[::3]]
    with path.open("wb") as file:
        for number in range(ROUNDS):
            for at, record in enumerate(records):
                flow: dict[str, Any] = flowfile.decoded(record)
                for side in ("client_conn", "server_conn"):
                    flow[side]["id"] = f"{side}-{at % 4}-{number // 2}"
                    flow[side]["timestamp_start"] = 1.0
                if flow["type"] == "http" and at % 5 == number % 5:  # the hop says it got something else
                    came = [
                        [b"Authorization", b"Bearer x"],
                        [b"traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"],
                        [b"x-session-id", b"abcdefgh"],
                        *flow["request"]["headers"],
                    ]
                    flow["metadata"] = {"hoplint": [], "hoplint_received": {"request": came}}
                if at % 3 == number % 3:
                    flow["comment"] = (
                        "hoplint: ignore[duplicate-server, request-after-close, retry-storm] known"
                    )
                file.write(flowfile.encoded(flow))
            messages = [[True, ASKED, 1.0], [False, ANSWERED, 2.0]]
            stream = {
                "version": 21,
                "type": "tcp",
                "id": f"tcp-{number}",
                "comment": "",
                "messages": messages,
            }
            file.write(flowfile.encoded(stream))
            file.write(flowfile.encoded({"version": 21, "type": ("udp", "dns")[number % 2]}))
    return path


def told(run: Run) -> dict[str, object]:
    run.rules = {}
    return asdict(run)


def test_the_corpus_is_one(mixed: Path) -> None:
    run = lint.check([recording.read(mixed)], load(), settings=lint.Settings(listing=True))
    scopes = {load()[finding.rule].scope for finding in run.findings if finding.rule in load()}
    assert scopes >= {"Message", "Exchange", "Connection", "Turn", "Legs"}
    assert run.suppressed
    assert run.recordings[0].streams
    assert len({entry.conversation for entry in run.recordings[0].entries}) > 1
    assert any(finding.rule == "unused-ignore" for finding in run.findings)


@pytest.mark.parametrize(("size", "number"), [(1, 5), (20_000, 2), (200_000, 2)])
def test_the_run_is_the_same(mixed: Path, monkeypatch: pytest.MonkeyPatch, size: int, number: int) -> None:
    rules, settings = load(), lint.Settings(listing=True)
    one = told(jobs.check([str(mixed)], rules, settings=settings))
    monkeypatch.setattr(pieces, "SIZE", size)
    assert len(pieces.split(str(mixed))) > 2
    assert told(jobs.check([str(mixed)], rules, settings=settings, jobs=number)) == one


@pytest.mark.parametrize("form", ["full", "json", "html"])
def test_every_report_is_the_same_to_the_octet(
    form: str, mixed: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(pieces, "SIZE", 50_000)
    came = []
    for number in ("1", "2", "5"):
        code = main(
            ["check", "--isolated", "--select", "ALL", "--format", form, "--jobs", number, str(mixed)]
        )
        came.append((code, *capfdbinary.readouterr()))
    assert came[0][1]
    assert came[1:] == came[:1] * 2


def test_connections_are_forgotten_alike(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (examine, pieces):
        monkeypatch.setattr(module, "KEPT_CONNECTIONS", 3)
    monkeypatch.setattr(pieces, "SIZE", 20_000)
    one, two = (told(jobs.check([str(mixed)], load(), jobs=number)) for number in (1, 2))
    assert two == one


@pytest.mark.parametrize("end", [b"99:", b"no flow", b"12:{", b"9:0:~0:~0:~}"])
def test_what_cannot_be_read_is_said_alike(
    end: bytes, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.flow"
    whole = mixed.read_bytes()
    first = recording.read(mixed).starts(1)[1]
    broken.write_bytes(b"9:0:~0:~0:~}" + whole[:first] + b"9:0:~0:~0:~}" + whole + end)
    monkeypatch.setattr(pieces, "SIZE", 20_000)
    one, two = (told(jobs.check([str(broken)], load(), jobs=number)) for number in (1, 2))
    assert one["failures"]
    assert two == one


def test_pieces_are_plain_data_and_begin_with_a_flow(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SIZE", 20_000)
    source = recording.read(mixed)
    parts = pieces.split(str(mixed))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, None)
    task = pieces.task(load(), None, {}, listing=False)
    examined = [pieces.examine(task, pickle.loads(pickle.dumps(part))) for part in parts]
    items = list(source)
    assert sum(len(one.items) for one in examined) == len(items)
    assert sum(one.streams for one in examined) == sum(isinstance(item, Stream) for item in items)
    assert all(pickle.loads(pickle.dumps(one)).exchanges == one.exchanges for one in examined)


def test_what_is_no_large_flow_file_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(pieces.split(str(FLOWS / "aider.flow"))) < 2
    monkeypatch.setattr(pieces, "SIZE", 1)
    transcript = FLOWS.parent / "incidents" / "duplicate-server.http"
    assert pieces.split(str(transcript)) == []


def test_a_process_that_dies_is_a_failure_and_no_traceback(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "SIZE", 20_000)
    monkeypatch.setattr(pieces, "examine", dies)
    run = jobs.check([str(mixed)], load(), jobs=2)
    (failure,) = run.failures
    assert failure == f"{mixed}: a process that linted it came to an end (out of memory?): try --jobs 1"


def dies(*_: object) -> None:
    os._exit(1)


def test_progress_counts_on(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SIZE", 20_000)
    seen: list[int] = []
    run = jobs.check([str(mixed), str(mixed)], load(), jobs=2, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == sum(summary.exchanges for summary in run.recordings)
    assert len(set(seen)) > 4

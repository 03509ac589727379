import errno
import os
import stat
from pathlib import Path

import pytest

from conformance import recorder as module
from conformance.policy import PolicyError, RecordFlows
from conformance.recorder import Recorder, recorder


def made(folder: Path, **options) -> Recorder:
    return Recorder(folder, **{"size": 100, "age": 60, **options})


def contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.iterdir())


def test_nobody_else_can_read_it(tmp_path) -> None:
    made(tmp_path / "a" / "b").write(b"1")
    (path,) = (tmp_path / "a" / "b").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_is_there_when_write_returns(tmp_path) -> None:
    writes = made(tmp_path)
    writes.write(b"1")
    assert contents(tmp_path) == [b"1"]
    writes.write(b"2")
    assert contents(tmp_path) == [b"12"]


def test_a_full_file_is_followed_by_the_next(tmp_path) -> None:
    writes = made(tmp_path, size=3)
    for each in (b"11", b"22", b"33"):
        writes.write(each)
    assert contents(tmp_path) == [b"1122", b"33"]


def test_an_old_file_is_followed_by_the_next(tmp_path) -> None:
    now = [0.0]
    writes = made(tmp_path, age=10, clock=lambda: now[0])
    for now[0], each in ((0.0, b"1"), (9.0, b"2"), (11.0, b"3"), (20.0, b"4")):
        writes.write(each)
    assert contents(tmp_path) == [b"12", b"34"]


def test_a_clock_that_goes_back(tmp_path) -> None:
    """Nothing is lost or written over; the file lasts as long as the clock takes to come back."""
    now = [1000.0]
    writes = made(tmp_path, age=10, clock=lambda: now[0])
    for now[0], each in ((1000.0, b"1"), (400.0, b"2"), (1009.0, b"3"), (1011.0, b"4"), (1000.0, b"5")):
        writes.write(each)
    assert contents(tmp_path) == [b"123", b"45"]
    made(tmp_path, clock=lambda: 1000.0).write(b"6")
    assert contents(tmp_path) == [b"123", b"45", b"6"]


def test_a_file_that_was_taken_away(tmp_path) -> None:
    writes = made(tmp_path)
    writes.write(b"1")
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "archived")
    writes.write(b"2")
    assert contents(tmp_path) == [b"1", b"2"]


def test_two_at_the_same_time_share_no_file(tmp_path) -> None:
    for each in (b"1", b"2"):
        made(tmp_path, clock=lambda: 0.0).write(each)
    assert contents(tmp_path) == [b"1", b"2"]


def test_conversations_have_files_of_their_own(tmp_path) -> None:
    writes = made(tmp_path, size=1)
    for each in ("a", "b", "../a", None, "a"):
        writes.write((each or "-").encode(), each)
    assert contents(tmp_path) == [b"-", b"../a", b"aa", b"b"]
    assert all(path.parent == tmp_path for path in tmp_path.iterdir())


@pytest.mark.parametrize(("one", "other"), [("a/b", "a_b"), ("a/b", "a:b"), ("x" * 90, "x" * 91), ("ä", "a")])
def test_ids_that_differ_stay_different(one: str, other: str) -> None:
    assert module._in_a_name(one) != module._in_a_name(other)
    assert len(module._in_a_name(one)) <= 100


def test_a_full_disk_leaves_no_half_flow(tmp_path, monkeypatch) -> None:
    writes = made(tmp_path)
    writes.write(b"whole")
    real = os.write

    def full(file: int, octets: memoryview) -> int:
        if len(octets) > 2:
            return real(file, octets[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        writes.write(b"halfs")
    monkeypatch.undo()
    writes.write(b"next")
    assert contents(tmp_path) == [b"wholenext"]


def test_what_cannot_be_redacted_is_not_written(tmp_path) -> None:
    writes = recorder(RecordFlows(folder=str(tmp_path)), "flows")
    with pytest.raises(ValueError, match="cannot be redacted"):
        writes.write(b"3:abc}")
    assert contents(tmp_path) == []


def test_no_folder_can_be_made(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PolicyError, match="cannot be written to"):
        recorder(RecordFlows(folder=str(tmp_path / "file" / "folder")), "flows")


def test_the_key_is_not_there(tmp_path) -> None:
    with pytest.raises(PolicyError, match="no such environment variable"):
        recorder(RecordFlows(folder=str(tmp_path), key="env:HOPLINT_NO_SUCH_KEY"), "flows")

import os
import resource
import subprocess
import sys

import pytest

from conformance.output import Lasting


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w", encoding="utf-8") as writer:
        yield reader, writer


def test_whole_lines_are_written_at_once(pipe) -> None:
    reader, writer = pipe
    out = Lasting(writer)
    print("one", "größe", file=out)
    out.write("two")
    assert os.read(reader.fileno(), 100) == "one größe\n".encode()
    out.write("\nthree\n")
    assert os.read(reader.fileno(), 100) == b"two\nthree\n"
    assert (out.isatty(), out.encoding, out.fileno()) == (False, "utf-8", writer.fileno())


def test_what_stood_in_the_other_stream_comes_first(pipe) -> None:
    reader, writer = pipe
    writer.write("before\n")
    print("after", file=Lasting(writer))
    assert os.read(reader.fileno(), 100) == b"before\nafter\n"


def test_nobody_reads_any_more(pipe) -> None:
    reader, writer = pipe
    out = Lasting(writer)
    reader.close()
    print("into nothing", file=out)
    out.flush()


def test_a_full_disk_has_room_again(tmp_path) -> None:
    """RLIMIT_FSIZE stands for the disk: what is beyond it fails, and no longer once the file is smaller."""
    program = (
        "import os, sys; from conformance.output import Lasting; out = Lasting(sys.stdout)\n"
        "for number in range(100): print('line', number, 'x' * 100, file=out)\n"
        "os.ftruncate(1, 0); os.lseek(1, 0, 0); print('again', file=out)"
    )
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first.endswith(" lines of this log could not be written]")
    assert second == "again"


def test_text_that_the_encoding_has_not(tmp_path) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as log:
        print("größe \ud800", file=Lasting(log))
    assert (tmp_path / "log").read_bytes() == b"gr\\xf6\\xdfe \\ud800\n"

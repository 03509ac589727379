"""Linting on a real Ray cluster: the same report, also when a worker is lost."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

ROOT = Path(__file__).parents[2]
SECONDS = 240
"""How long Ray may take on a busy machine, from its start to its end."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[str]:
    """Enough for a worker to be in the middle of something, with findings in all of it."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, size in (("one", 10), ("two", 10), ("large", 20_000)):  # the large one is split
        with (folder / f"{name}.flow").open("wb") as file:
            writer = FlowWriter(file)
            for _ in range(2000):
                flow = tflow.tflow(resp=True)
                flow.request.raw_content = b"x" * size
                flow.response.headers.fields += ((b"Server", b"a"), (b"server", b"b"))
                writer.add(flow)
    for path in (ROOT / "recordings/incidents").glob("*.http"):
        shutil.copy(path, folder)
    (folder / "broken.flow").write_bytes(b"12:nothing")
    return sorted(map(str, folder.iterdir()))


def command(interpreter: Path, recordings: list[str], *words: str) -> list[str]:
    return [str(interpreter), "-m", "conformance", "check", "--isolated", *words, *recordings]


def checked(interpreter: Path, recordings: list[str], *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command(interpreter, recordings, *words), capture_output=True, text=True, cwd=ROOT, timeout=SECONDS
    )
    ours = "".join(line for line in done.stderr.splitlines(True) if line.startswith("hoplint:"))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, ours


@pytest.mark.parametrize("form", ["full", pytest.param("gitlab", marks=pytest.mark.heavy)])
def test_the_report_is_that_of_one_process(form: str, python, recordings: list[str]) -> None:
    interpreter = python("ray")
    alone = checked(interpreter, recordings, "--format", form)
    assert alone[0] == 2, "one of them cannot be read"
    assert "duplicate-server" in alone[1]
    for words in (("--jobs", "2"), ("--jobs", "5"), ("--ray", "local", "--jobs", "2")):
        assert checked(interpreter, recordings, "--format", form, *words) == alone, words


@pytest.mark.parametrize("work", [pytest.param(b"_alone", marks=pytest.mark.heavy), b"examine"])
def test_a_worker_that_is_lost(work: bytes, python, recordings: list[str]) -> None:
    """While it lints a recording, or a piece of one."""
    interpreter = python("ray")
    alone = checked(interpreter, recordings, "--format", "concise")
    with subprocess.Popen(
        command(interpreter, recordings, "--format", "concise", "--ray", "local", "--jobs", "2"),
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            victim = next(working(process, b"ray::" + work))
            os.kill(victim, signal.SIGKILL)
            out, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert (process.returncode, out) == alone[:2]


def working(driver: subprocess.Popen[str], work: bytes) -> Iterator[int]:
    """The workers of a driver that are linting: Ray gives them the name of what they do."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert driver.poll() is None, f"it has ended before a worker was lost:\n{driver.stderr.read()}"
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdecimal()
                    and (entry / "cmdline").read_bytes().startswith(work)
                    and driver.pid in ancestors(int(entry.name))
                ):
                    yield int(entry.name)
    raise AssertionError("no worker has begun")


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid


def test_no_cluster_there(python, recordings: list[str], free_port) -> None:
    address = f"ray://127.0.0.1:{free_port()}"
    code, out, err = checked(python("ray"), recordings[:1], "--ray", address)
    assert (code, out) == (2, "")
    assert err.startswith(f"hoplint: error: the Ray cluster {address}: ")

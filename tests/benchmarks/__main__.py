"""How fast hoplint is, and how much memory it takes: ``uv run python tests/benchmarks [--flows N]``.

Machines differ, so each figure is a ratio of two things measured in turn on the same one: the median of the
rounds, and the least and the greatest. Prints a Markdown table. No test: nothing fails here.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import traffic

READ = "import sys\nfrom mitmproxy.io import FlowReader\nfor _ in FlowReader(open(sys.argv[1], 'rb')).stream(): pass\n"
HOPLINT = (sys.executable, "-m", "conformance", "check", "--isolated", "--exit-zero", "-q")
SMALL = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Date: Fri, 20 Nov 2026 03:14:14 GMT\n"


class Cost(NamedTuple):
    """What one process took, with its children."""

    cpu: float
    wall: float
    peak: int
    """Octets of memory of the largest of its processes."""


def cost(command: Sequence[str | Path]) -> Cost:
    """Run a command to its end. Compiled modules are kept apart, as an installed hoplint has them."""
    environment = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "hoplint-benchmarks"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed: {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - began, used.ru_maxrss * unit)


def shown(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median, and between what all of them lie."""
    median, least, greatest = (form.format(f(values)) for f in (statistics.median, min, max))
    return f"{median} ({least} to {greatest})"


def main() -> None:
    """Measure everything and print the table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--flows", type=int, default=4000, help="of the larger recordings (default: 4000)")
    words.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    options = words.parse_args()
    print(
        f"hoplint {version('hoplint')}, mitmproxy {version('mitmproxy')}, Python {platform.python_version()}, "
    )
    print(f"{os.cpu_count()} cores; {options.rounds} rounds, {options.flows} flows of about 22 kB\n")
    print("| what | measured | bar |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.flows, range(options.rounds))


def measure(folder: Path, flows: int, rounds: range) -> None:
    """Print the rows."""
    small = folder / "small.http"
    small.write_text(SMALL)
    chat = traffic.write(folder / "chat.flow", flows)
    tenth = traffic.write(folder / "tenth.flow", max(1, flows // 10))
    streams = traffic.write(folder / "streams.flow", flows // 4, streams=True)
    halves = [traffic.write(folder / f"half{n}.flow", flows // 2) for n in (1, 2)]
    nothing = traffic.write(folder / "nothing.flow", 1)
    cost([*HOPLINT, small])  # compiles the modules

    # What starting takes is no part of how long a flow takes.
    reader = (sys.executable, "-c", READ)
    starts = [(cost([*HOPLINT, nothing]).cpu, cost([*reader, nothing]).cpu) for _ in rounds]
    ours, theirs = map(statistics.median, zip(*starts, strict=True))
    for what, path in (("chat completions", chat), ("event streams", streams)):
        ratios = [(cost([*HOPLINT, path]).cpu - ours) / (cost([*reader, path]).cpu - theirs) for _ in rounds]
        row(f"CPU of `check` / of mitmproxy's FlowReader alone, {what}", shown(ratios), "1.0")

    peaks = [(cost([*HOPLINT, chat]), cost([*HOPLINT, tenth])) for _ in rounds]
    row("peak memory of `check`, MB", shown([large.peak / 1e6 for large, _ in peaks], "{:.0f}"), "150")
    row(
        "the same / on a tenth of the file",
        shown([large.peak / little.peak for large, little in peaks]),
        "1.1",
    )

    speedups = [
        cost([*HOPLINT, *halves]).wall / cost([*HOPLINT, "--jobs", "2", *halves]).wall for _ in rounds
    ]
    row("two recordings: time with one process / with `--jobs 2`", shown(speedups), "1.8")
    row(
        "CPU of `check` of one small transcript, s",
        shown([cost([*HOPLINT, small]).cpu for _ in rounds]),
        "0.4",
    )


def row(what: str, measured: str, bar: str) -> None:
    print(f"| {what} | {measured} | {bar} |", flush=True)


if __name__ == "__main__":
    main()

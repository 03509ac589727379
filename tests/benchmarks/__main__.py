"""How fast hoplint is, and how much memory it takes: ``uv run python tests/benchmarks [check|others|proxy|big ...]``.

Machines differ, so each figure is a ratio of two things measured in turn on the same one: the median of the
rounds, and the least and the greatest. Prints a Markdown table. No test: nothing fails here.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import others
import proxy
import traffic
from measuring import Row, cost

READ = "import sys\nfrom mitmproxy.io import FlowReader\nfor _ in FlowReader(open(sys.argv[1], 'rb')).stream(): pass\n"
HOPLINT = (sys.executable, "-m", "conformance", "check", "--isolated", "--exit-zero", "-q")
SMALL = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Date: Fri, 20 Nov 2026 03:14:14 GMT\n"
BIG = 230_000
"""Flows of 5 GB."""


def main() -> None:
    """Measure what is asked for and print the table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument(
        "topics",
        nargs="*",
        metavar="TOPIC",
        help=f"what to measure: {', '.join(TOPICS)} (default: all but big, which needs 6 GB in the folder for "
        "temporary files and half an hour)",
    )
    words.add_argument("--flows", type=int, default=20_000, help="of the larger recordings (default: 20000)")
    words.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    options = words.parse_args()
    if strangers := set(options.topics) - TOPICS.keys():
        words.error(f"there is no {', '.join(sorted(strangers))}: {', '.join(TOPICS)}")
    print(
        f"hoplint {version('hoplint')}, mitmproxy {version('mitmproxy')}, Python {platform.python_version()},"
    )
    print(f"{os.cpu_count()} cores; {options.rounds} rounds, {options.flows} flows of about 22 kB\n")
    print("| what | measured | bar |\n|---|---|---|")
    for topic in options.topics or [topic for topic in TOPICS if topic != "big"]:
        with tempfile.TemporaryDirectory() as folder:
            for row in TOPICS[topic](Path(folder), options.flows, range(options.rounds)):
                print(row, flush=True)


def measure(folder: Path, flows: int, rounds: range) -> Iterator[Row]:
    """`check` by itself."""
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
        yield Row(f"CPU of `check` / of mitmproxy's FlowReader alone, {what}", ratios, 1.0)

    peaks = [(cost([*HOPLINT, chat]).peak, cost([*HOPLINT, tenth]).peak) for _ in rounds]
    yield Row("peak memory of `check`, MB", [large / 1e6 for large, _ in peaks], 150, "{:.0f}")
    yield Row("the same / on a tenth of the file", [large / little for large, little in peaks], 1.1)

    for what, paths in (("one recording", [chat]), ("two recordings", halves)):
        speedups = [
            cost([*HOPLINT, *paths]).wall / cost([*HOPLINT, "--jobs", "2", *paths]).wall for _ in rounds
        ]
        yield Row(f"{what}: time with one process / with `--jobs 2`", speedups, 1.8, is_speedup=True)
    yield Row("CPU of `check` of one small transcript, s", [cost([*HOPLINT, small]).cpu for _ in rounds], 0.4)


def big(folder: Path, flows: int, rounds: range) -> Iterator[Row]:
    """Where there is much to read: half a gigabyte, and five. ``flows`` and ``rounds`` do not matter."""
    nothing = traffic.write(folder / "nothing.flow", 1)
    start = cost([*HOPLINT, nothing]).cpu
    took = []
    for many in (BIG // 10, BIG):
        path = traffic.write(folder / "big.flow", many)
        took.append(cost([*HOPLINT, path]))
        path.unlink()
    half, whole = took
    yield Row("peak memory of `check`, 5 GB / 0.5 GB", [whole.peak / half.peak], 1.1)
    yield Row("peak memory of `check` of 5 GB, MB", [whole.peak / 1e6], 150, "{:.0f}")
    yield Row(
        "CPU of `check` for a flow, 5 GB / 0.5 GB", [(whole.cpu - start) / (half.cpu - start) / 10], 1.1
    )


TOPICS: dict[str, Callable[[Path, int, range], Iterator[Row]]] = {
    "check": measure,
    "others": others.measure,
    "proxy": lambda _, __, rounds: proxy.measure(rounds),
    "big": big,
}


if __name__ == "__main__":
    main()

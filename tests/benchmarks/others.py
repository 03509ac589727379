"""`check` beside the other linters of HTTP, which get the same flows through their public API."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import traffic
from measuring import PEERS, Row, cost, environment

MITMPROXY = "mitmproxy==12.2.3"
# HTTPolice 0.9.0 does not run with bitstring 5.
LINTERS = {
    "httplint": (0.35, (MITMPROXY, "httplint==2026.10.4")),
    "httpolice": (0.27, (MITMPROXY, "httpolice==0.9.0", "bitstring<5")),
}


def measure(folder: Path, flows: int, rounds: range) -> Iterator[Row]:
    """The rows. What starting takes is no part of how long a flow takes."""
    chat = traffic.write(folder / "chat.flow", flows)
    nothing = traffic.write(folder / "nothing.flow", 1)
    ours = (sys.executable, "-m", "conformance", "check", "--isolated", "--exit-zero", "-q")
    for name, (bar, packages) in LINTERS.items():
        theirs = (environment(*packages), PEERS / f"with_{name}.py")
        cost([*ours, nothing]), cost([*theirs, nothing])  # compiles the modules
        pairs = [(cost([*ours, nothing]).cpu, cost([*theirs, nothing]).cpu) for _ in rounds]
        starts = [statistics.median(each) for each in zip(*pairs, strict=True)]
        ratios = []
        for _ in rounds:
            linted = [cost([*command, chat]).cpu for command in (ours, theirs)]
            ratios.append((linted[0] - starts[0]) / (linted[1] - starts[1]))
        yield Row(f"CPU of `check` / of FlowReader and {packages[1].replace('==', ' ')}", ratios, bar)

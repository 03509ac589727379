"""Measure again who chokes on what, and say what differs from the stored table.

    uv run python tests/benchmarks/remeasure.py                       # everything that can be had here
    uv run python tests/benchmarks/remeasure.py "node http" aiohttp   # only these
    uv run python tests/benchmarks/remeasure.py aiohttp=3.15.0        # a version that is not in the table yet
    uv run python tests/benchmarks/remeasure.py --write               # and put what was measured into the table

Sends the octets of recordings/defects to the programs of the table (measured/programs.py: how each is run) and
compares what their callers saw with conformance/breaks.json. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "measured"))

import programs
import wire

from conformance import breaks
from conformance.breaks import UNKNOWN, Party, Side


@contextlib.contextmanager
def started(running: programs.Running, **ports: int) -> Iterator[None]:
    """A server that listens; it is ended afterwards."""
    with tempfile.TemporaryFile() as log:
        command = programs.filled(running.command, **ports)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **running.environment},
        )  # fmt: skip
        try:
            deadline = time.monotonic() + wire.SECONDS
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ports["port"]), 1):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise programs.CannotRun(log.read().decode("utf-8", "replace").strip()[-300:])
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def measured(party: Party, sides: Iterable[Side]) -> dict[Side, dict[str, str]]:
    """Letters of one program. Raises CannotRun."""
    found: dict[Side, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="measured-") as folder:
        Path(folder).chmod(0o755)
        running = programs.programs(party, Path(folder))
        for side in sides:
            octets = wire.messages(side)
            if running.role == "server":
                with started(running, port=(port := free_port())):
                    found[side] = wire.ask_server(port, octets)
                continue
            answer = wire.echo if side == "requests" else wire.answering(octets, keep=running.role == "proxy")
            with wire.listening(answer) as upstream:
                if running.role == "client":
                    command = programs.filled(running.command, url=f"http://127.0.0.1:{upstream}")
                    found[side] = wire.ask_client(command, running.environment, octets)
                    continue
                with started(running, port=(port := free_port()), upstream=upstream):
                    found[side] = (wire.ask_server if side == "requests" else wire.ask_through)(port, octets)
    return found


# ---- the table


def wanted(words: list[str]) -> dict[Party, list[Side]]:
    """The programs asked for, each with what it was measured with; all of the table if none is."""
    known: dict[Party, list[Side]] = {}
    for case in breaks.table().cases:
        for party in case.outcomes:
            if case.side not in known.setdefault(party, []):
                known[party].append(case.side)
    if not words:
        return known
    chosen: dict[Party, list[Side]] = {}
    for word in words:
        name, _, version = word.partition("=")
        alike = {party: sides for party, sides in known.items() if party.name == name}
        if not alike:
            raise SystemExit(
                f"there is no {name!r} in the table: {', '.join(dict.fromkeys(p.name for p in known))}"
            )
        if version:
            versions = {party.version for party in alike}
            like = (
                version if version in versions else max(versions, key=lambda one: [*map(int, one.split("."))])
            )
            alike = {
                party._replace(version=version): sides
                for party, sides in alike.items()
                if party.version == like
            }
        chosen |= alike
    return chosen


def differences(party: Party, found: Mapping[Side, Mapping[str, str]]) -> list[str]:
    """A line for each case that came out otherwise than it is stored."""
    wording = breaks.table().wording
    lines = []
    for case in breaks.table().cases:
        now = found.get(case.side, {}).get(case.name, UNKNOWN)
        before = case.outcomes.get(party, UNKNOWN)
        if UNKNOWN not in (now, before) and now != before:
            lines.append(f"{case.side} {case.name}: was {wording[before]} it, now {wording[now]} it")
    return lines


def stored(document: dict[str, Any], party: Party, found: Mapping[Side, Mapping[str, str]]) -> None:
    """Put what was measured into the document of the table."""
    for side, letters in found.items():
        section = document[side]
        at = section["parties"].index(list(party)) if list(party) in section["parties"] else None
        if at is None:
            section["parties"].append(list(party))
        for name, case in section["cases"].items():
            row = case["outcomes"]
            now = letters.get(name, UNKNOWN)
            case["outcomes"] = (
                row + now if at is None else row[:at] + (row[at] if now == UNKNOWN else now) + row[at + 1 :]
            )


def written(document: dict[str, Any]) -> str:
    """The table as it is kept: a line for each program and each case."""
    facts = (f'"{name}": {json.dumps(document[name])}' for name in ("version", "measured", "outcomes"))
    text = ["{\n " + ",\n ".join(facts)]
    for side in ("responses", "requests"):
        section = document[side]
        parties = ",\n".join(f"   {json.dumps(party)}" for party in section["parties"])
        cases = ",\n".join(
            f"   {json.dumps(name)}: {json.dumps(case)}" for name, case in section["cases"].items()
        )
        text.append(f' "{side}": {{\n  "parties": [\n{parties}\n  ],\n  "cases": {{\n{cases}\n  }}\n }}')
    return ",\n".join(text) + "\n}\n"


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("names", nargs="*", metavar="NAME[=VERSION]", help="as in the table")
    options.add_argument("--json", metavar="FILE", help="write what was measured to a file")
    options.add_argument("--write", action="store_true", help="put what was measured into the table")
    chosen = options.parse_args()
    document = json.loads(breaks.DATA.read_text())
    told: list[dict[str, Any]] = []
    differs = False
    for party, sides in wanted(chosen.names).items():
        shown = " ".join(filter(None, (party.name, party.version, party.variant, party.option)))
        try:
            found = measured(party, sides)
        except (programs.CannotRun, subprocess.SubprocessError, OSError, json.JSONDecodeError) as problem:
            print(f"{shown}: not measured: {problem}", flush=True)
            told.append({"party": list(party), "problem": str(problem)})
            continue
        lines = differences(party, found)
        differs |= bool(lines)
        print(f"{shown}: {'as stored' if not lines else f'{len(lines)} differences'}", flush=True)
        for line in lines:
            print(f"    {line}", flush=True)
        told.append({"party": list(party), "outcomes": found})
        stored(document, party, found)
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(told, indent=1))
    if chosen.write:
        document["measured"] = time.strftime("%Y-%m-%d", time.gmtime())
        breaks.DATA.write_text(written(document))
    return int(differs)


if __name__ == "__main__":
    raise SystemExit(main())

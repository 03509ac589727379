"""Does the proxy stand a day of bad traffic? ``uv run python tests/soak [--minutes 30]``.

``hoplint proxy --record --lint`` between 200 clients and a server, with event streams, WebSockets, hang-ups, resets
and slow readers. At the end some exchanges are left open, and the proxy gets SIGTERM. Prints what was counted, and
ends with 1 where a request that the server saw is not recorded once, a client got what it should not, the recording
cannot be read or holds a credential, or the proxy did not end well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import traffic

from conformance import recording
from conformance.message import Exchange

FAILURE = re.compile(
    r"has crashed|Addon error|: failed |is not recorded|/(?:addons|conformance)/\w+\.py\", line"
)
"""What the proxy's log must not say."""
OPEN = ("held-open.1", "silent-open.2", "websocket-open.3")
"""What is under way when the proxy is told to end."""


class Report:
    """What was counted."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.memory: list[tuple[float, float, int]] = []
        """Seconds, MB, exchanges by then."""
        self.problems: list[str] = []
        """What should not be; empty: it stood."""
        self.facts: dict[str, object] = {}

    def text(self) -> str:
        """For people."""
        lines = [f"{key}: {value}" for key, value in self.facts.items()]
        lines += ["", "exchanges by kind, as the clients have it:"]
        lines += [f"  {kind:<20}{count:>8}" for kind, count in self.done.most_common()]
        lines += ["", "  seconds      MB   exchanges"]
        every = max(1, len(self.memory) // 30)
        lines += [f"{at:>9.0f}{size:>8.1f}{done:>12}" for at, size, done in self.memory[::every]]
        lines += ["", *(self.problems or ["nothing was lost, nothing was wrong"])]
        return "\n".join(lines)


async def main() -> int:
    """Soak, print, and give the exit code."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--minutes", type=float, default=30, help="how long (default: 30)")
    words.add_argument("--clients", type=int, default=200, help="how many at a time (default: 200)")
    words.add_argument(
        "--pause", type=float, default=5, help="seconds between two requests of one, on average"
    )
    words.add_argument("--keep", type=Path, metavar="DIR", help="where the recording and the log stay")
    words.add_argument("--json", action="store_true", help="print one JSON object")
    options = words.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        if (folder / "recorded").exists():
            raise SystemExit(f"{folder} holds an earlier recording: name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        await soak(report, folder, options.minutes * 60, options.clients, options.pause)
    print(json.dumps(vars(report)) if options.json else report.text())
    return 1 if report.problems else 0


async def soak(report: Report, folder: Path, seconds: float, clients: int, pause: float) -> None:
    """Let it run for so long, then end the proxy and compare."""
    upstream = traffic.Server()
    listening = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    process, port = await started(folder, listening.sockets[0].getsockname()[1])
    try:
        began = time.monotonic()
        agents = [traffic.Client(port, number) for number in range(clients)]
        watch = asyncio.create_task(measure(process.pid, began, report))
        await asyncio.gather(*(work(agent, began + seconds, pause, report) for agent in agents))
        for agent in agents:
            agent.close()
        watch.cancel()
        await leave_open(traffic.Client(port, 0), traffic.Client(port, 0), traffic.Client(port, 0), upstream)
        process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, traffic.PATIENCE)
        report.facts["seconds"] = round(told - began)
        report.facts["seconds to end"] = round(time.monotonic() - told, 1)
        report.facts["exit code"] = process.poll()
    finally:
        process.kill()
        process.wait()
        upstream.release.set()
        listening.close()
    compare(report, upstream.seen, folder)


async def started(folder: Path, upstream: int) -> tuple[subprocess.Popen[bytes], int]:
    """The proxy, and the port it listens on."""
    log = folder / "log"
    command = [
        sys.executable, "-u", "-m", "conformance", "proxy", "--isolated", "--profile", "litellm", "--lint",
        "--record", str(folder / "recorded"), "--mode", f"reverse:http://127.0.0.1:{upstream}",
        "--listen-host", "127.0.0.1", "--listen-port", "0",
        "--set", "flow_detail=0", "--set", f"confdir={folder / 'confdir'}",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    until = time.monotonic() + traffic.PATIENCE
    while not (found := re.search(rb"listening at \S*?:(\d+)", log.read_bytes())):
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise SystemExit(f"the proxy does not start:\n{log.read_text(errors='replace')}")
        await asyncio.sleep(0.05)
    return process, int(found[1])


async def work(agent: traffic.Client, until: float, pause: float, report: Report) -> None:
    """One client's day."""
    kinds = {kind: each.weight for kind, each in traffic.CLIENTS.items()}
    await asyncio.sleep(random.uniform(0, pause))
    while time.monotonic() < until:
        (kind,) = random.choices(list(kinds), list(kinds.values()))
        try:
            await agent.ask(kind)
        except (traffic.Wrong, OSError, EOFError) as problem:
            report.wrong[f"{kind}: {type(problem).__name__} {problem}"[:300]] += 1
        else:
            report.done[kind] += 1
        await asyncio.sleep(random.uniform(0, 2 * pause))


async def measure(pid: int, began: float, report: Report) -> None:
    """Note the proxy's memory, every few seconds; where there is no /proc nothing."""
    status = Path(f"/proc/{pid}/status")
    while status.exists():
        size = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
        if size:
            report.memory.append((time.monotonic() - began, int(size[1]) / 1000, report.done.total()))
        await asyncio.sleep(5)


async def leave_open(
    one: traffic.Client, two: traffic.Client, three: traffic.Client, upstream: traffic.Server
) -> None:
    """An event stream in its middle, a request that is not answered, a WebSocket that has talked."""
    held, silent, websocket = OPEN
    here = await one.posted(held)
    await here.reader.readuntil(traffic.EVENTS[0])
    await two.posted(silent)
    wire = await traffic.opened(three, websocket)
    await wire.send(traffic.TextMessage("open"))
    await wire.message()
    while not upstream.seen.keys() >= set(OPEN):
        await asyncio.sleep(0.05)


def compare(report: Report, seen: Counter[str], folder: Path) -> None:
    """What the server saw beside what is recorded, and the log."""
    recorded: Counter[str] = Counter()
    partial = set()
    octets = 0
    for path in sorted((folder / "recorded").glob("*.flow")):
        source = recording.read(path)
        for each in source:
            if isinstance(each, Exchange):
                name = each.request.target.partition(b"soak=")[2].decode()
                recorded[name] += 1
                if name in OPEN and each.response is not None and (each.response.partial or each.frames):
                    partial.add(name)
        octets += path.stat().st_size
        if source.error:
            report.problems.append(f"{path.name} cannot be read to its end: {source.error}")
        if traffic.KEY.encode() in path.read_bytes():
            report.problems.append(f"{path.name} holds a credential")
    log = (folder / "log").read_text(errors="replace")
    lost = sorted(seen.keys() - recorded.keys())
    twice = sorted(name for name, count in recorded.items() if count > 1)
    report.facts["the server saw"] = seen.total()
    report.facts["recorded"] = recorded.total()
    report.facts["never got to the server"] = len(recorded.keys() - seen.keys())
    report.facts["recorded MB"] = round(octets / 1e6, 1)
    report.facts["open at the end, recorded"] = sorted(recorded.keys() & set(OPEN))
    if report.facts["exit code"] != 0:
        report.problems.append(f"the proxy ended with {report.facts['exit code']}")
    if lost:
        report.problems.append(f"{len(lost)} are not recorded: {', '.join(lost[:10])}")
    if twice:
        report.problems.append(f"{len(twice)} are recorded twice: {', '.join(twice[:10])}")
    if not partial >= {OPEN[0], OPEN[2]}:
        report.problems.append("what had passed of the open ones is not recorded")
    # What asyncio says of tasks that mitmproxy cancels at its end is left out: it is neither's fault.
    report.problems += [f"the log says: {line}" for line in log.splitlines() if FAILURE.search(line)][:10]
    report.problems += [f"{count} times {text}" for text, count in report.wrong.most_common(20)]


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

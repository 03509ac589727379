"""Fuzz what reads recordings, guided by coverage: ``python tests/fuzz [--minutes N] [TARGET...]``.

Needs atheris, which hoplint's environment does not have: ``pip install atheris`` beside hoplint in one of its own.
Every target runs in a process of its own, from the inputs in ``tests/corpus`` and the shipped recordings. A finding
does not end it: the input is made as small as it gets and kept in ``--findings``, one for each place that fails.
Prints a Markdown table. What is mended goes to ``tests/corpus/TARGET``, where the tests find it.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = 20.0
"""Of processor time that one input may take. None is longer than LONGEST, and what is linear takes milliseconds."""
LONGEST = 4096
MEMORY = 2048
"""Megabytes: what decoding may yield, a few times over, and atheris' own."""


class TookTooLong(BaseException):
    """The input took more than SECONDS: not an Exception, so that no linter's loop takes it for a rule's."""


def _late(*_: object) -> None:
    raise TookTooLong


def outcome(target: Callable[[bytes], None], data: bytes) -> str | None:
    """Where and how the target fails on this input; None: it does not."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        target(data)
    except TookTooLong:
        return "TookTooLong"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "conformance" in frame.filename] or frames
        inner = str(error).partition("internal error in rule ")[2].partition(":")[0]
        return f"{type(error).__name__} {Path(own[-1].filename).name} {own[-1].name} {inner}".strip()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return None


def smallest(target: Callable[[bytes], None], data: bytes, wanted: str, tries: int = 3000) -> bytes:
    """The input without what it fails without: pieces of half its size are left out, then of a quarter..."""
    size = len(data) // 2
    while size and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            shorter = data[:at] + data[at + size :]
            tries -= 1
            if outcome(target, shorter) == wanted:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def fuzz(name: str, minutes: float, findings: Path) -> None:
    """Run one target; ends the process."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["conformance"], enable_loader_override=False):
        from targets import TARGETS
    target = TARGETS[name]
    signal.signal(signal.SIGVTALRM, _late)
    known: dict[str, int] = {}
    count, began = 0, time.monotonic()
    report = findings / f"{name}.json"

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        how = outcome(target, data)
        if how is not None and len(data) < known.get(how, LONGEST + 1):
            if how not in known and how != "TookTooLong":
                data = smallest(target, data, how)
            known[how] = len(data)
            place = findings / f"{name}-{sorted(known).index(how)}-{abs(hash(how)) % 10**6:06}.bin"
            place.write_bytes(data)
            with (findings / "log").open("a") as log:
                log.write(f"{place.name}\t{how}\t{data[:200]!r}\n")
        if count % 100 == 0 or how is not None:
            report.write_text(
                json.dumps({"count": count, "seconds": time.monotonic() - began, "found": sorted(known)})
            )

    random.seed(name)
    with tempfile.TemporaryDirectory() as scratch:
        seeds = Path(scratch, "seeds")
        seeds.mkdir()
        for number, data in enumerate(seeds_of(name)):
            (seeds / str(number)).write_bytes(data)
        words = [
            f"-max_total_time={int(minutes * 60)}",
            f"-rss_limit_mb={MEMORY}",
            "-timeout=300",
            "-verbosity=0",
        ]
        words += [f"-max_len={LONGEST}", f"-artifact_prefix={findings}/{name}-", str(seeds)]
        codec = CODECS.get(name)
        mutator = None if codec is None else structured(*codec)
        options = {} if mutator is None else {"custom_mutator": mutator}
        atheris.Setup([sys.argv[0], *words], one, **options)
        atheris.Fuzz()


def seeds_of(name: str) -> Iterator[bytes]:
    """What to begin with: inputs kept for the target, and pieces of the shipped recordings."""
    yield b""
    for path in sorted((ROOT / "tests/corpus" / name).glob("*")):
        yield path.read_bytes()
    whole = {"recording", "show", "redact", "fix"}
    if name in whole | {"transcript"}:
        for path in sorted((ROOT / "recordings").glob("*/*.http")):
            yield path.read_bytes()
    if name in whole | {"flow"}:
        from conformance import flowfile

        for path in sorted((ROOT / "recordings/flows").glob("*.flow")):
            flows = flowfile.records(io.BytesIO(path.read_bytes()))
            yield from (b"%d:%s" % (len(r) - 1, r) for _, r in flows if len(r) < LONGEST)
    if name in ("sse", "prompt", "coded", "octets", "error", "secret"):
        from conformance import recording

        for path in sorted((ROOT / "recordings").glob("*/*.*")):
            for item in recording.read(path):
                for exchange in getattr(item, "exchanges", (item,)):
                    asked, answered = exchange.request, exchange.response
                    bodies = (asked.content or b"", answered.content or b"" if answered else b"")
                    if name == "prompt":
                        yield b"\0".join(bodies)[:LONGEST]
                    elif name == "octets":
                        heads = [m.start_line + b"\r\n" + b"".join(b"%s: %s\r\n" % tuple(f) for f in m.fields)
                                 for m in (asked, answered) if m]  # fmt: skip
                        parts = (h + b"\r\n" + b for h, b in zip(heads, bodies, strict=False))
                        yield b"\0\0".join(parts)[:LONGEST]
                    else:
                        yield bodies[1][:LONGEST]


# ---- mutations that keep lengths and brackets right: what is broken by chance is refused at the door


def _flow_value(data: bytes) -> Any:
    from conformance import flowfile

    ((_, record),) = flowfile.records(io.BytesIO(data))
    return flowfile.decoded(record)


def _flow_octets(value: Any) -> bytes:
    from conformance import flowfile

    return flowfile.encoded(value)


def _json_octets(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


CODECS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "flow": (_flow_value, _flow_octets),
    "recording": (_flow_value, _flow_octets),
    "show": (_flow_value, _flow_octets),
    "redact": (_flow_value, _flow_octets),
    "fix": (_flow_value, _flow_octets),
    "har": (json.loads, _json_octets),
    "prompt": (json.loads, _json_octets),
}
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 70, 10**400, 0.5, 1e308, float("inf"), float("-inf"), float("nan"), "", "\0", "\ud800",
    "\x1b[2J\u202e", b"", b"\xff\r\n\x1b", b"1", [], {}, [[]], [b"a", b"b"], [["a", 1]], {"a": {}}, "9" * 5000,
)  # fmt: skip


def structured(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Callable[..., bytes]:
    """A mutator for libFuzzer: one time in two, a value somewhere in the document becomes another."""

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        import atheris

        dice = random.Random(seed)
        if dice.random() < 0.5:
            try:
                made = encode(_mutated(decode(data), dice, atheris.Mutate))
            except (ValueError, RecursionError, TypeError, AttributeError):
                made = b""
            if made and len(made) <= size:
                return made
        mutated: bytes = atheris.Mutate(data, size)
        return mutated

    return mutate


def _mutated(value: Any, dice: random.Random, mutate: Callable[[bytes, int], bytes]) -> Any:
    if isinstance(value, dict | list) and value and dice.random() < 0.9:
        if isinstance(value, dict):
            key = dice.choice(list(value))
            if dice.random() < 0.05:
                return {name: inside for name, inside in value.items() if name != key}
            return {**value, key: _mutated(value[key], dice, mutate)}
        at = dice.randrange(len(value))
        if dice.random() < 0.1:
            return value[:at] + value[at:] * 2
        return [*value[:at], _mutated(value[at], dice, mutate), *value[at + 1 :]]
    if isinstance(value, bytes) and dice.random() < 0.7:
        return mutate(value, len(value) + 32)
    if isinstance(value, str) and dice.random() < 0.7:
        return mutate(value.encode("utf-8", "surrogatepass"), len(value) + 32).decode(
            "utf-8", "surrogateescape"
        )
    return dice.choice(ODD)


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("targets", nargs="*", metavar="TARGET")
    words.add_argument("--minutes", type=float, default=5, help="for each target (default: 5)")
    words.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    words.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = words.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    if options.alone:
        fuzz(options.targets[0], options.minutes, options.findings.absolute())
        return 0
    from targets import TARGETS

    print("| target | inputs | in seconds | findings |\n|---|---|---|---|")
    failed = False
    for name in options.targets or TARGETS:
        count, took, found = campaign(name, options.minutes, options.findings)
        failed |= bool(found)
        print(f"| {name} | {count} | {took:.0f} | {'; '.join(sorted(found)) or 'none'} |", flush=True)
    return failed


def campaign(name: str, minutes: float, findings: Path) -> tuple[int, float, set[str]]:
    """Inputs tried, seconds, and what was found, over as many processes as it takes: an engine may end early."""
    count, took = 0, 0.0
    found: set[str] = set()
    report = findings / f"{name}.json"
    for attempt in range(20):
        left = minutes - took / 60
        if left < 0.05:
            break
        report.write_text("{}")
        command = [
            sys.executable,
            __file__,
            "--alone",
            name,
            "--minutes",
            str(left),
            "--findings",
            str(findings),
        ]
        began = time.monotonic()
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        took += time.monotonic() - began
        told = json.loads(report.read_text() or "{}")
        count += told.get("count", 0)
        found |= set(told.get("found", ()))
        if ended.returncode:
            (findings / f"{name}-{attempt}.stderr").write_text(ended.stderr)
        if "out-of-memory" in ended.stderr:
            found.add("out of memory")
        if not told:
            raise SystemExit(ended.stderr[-2000:])
    return count, took, found


if __name__ == "__main__":
    sys.exit(main())

"""How things are measured here: processes and what they took, in turn, and rows of the table made of that."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "benchmarks"
PEERS = Path(__file__).parent / "peers"


class Row(NamedTuple):
    """A line of the table."""

    what: str
    values: Sequence[float]
    """One for each round."""
    bar: float
    """What the median shall not exceed; for a ``speedup``, not fall short of."""
    form: str = "{:.2f}"
    is_speedup: bool = False

    def __str__(self) -> str:
        median, least, greatest = (self.form.format(f(self.values)) for f in (statistics.median, min, max))
        reached = statistics.median(self.values) <= self.bar
        mark = "" if reached != self.is_speedup else " (missed)"
        bar = f"{'>=' if self.is_speedup else '<='} {self.form.format(self.bar)}"
        return f"| {self.what} | {median} ({least} to {greatest}) | {bar}{mark} |"


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


def environment(*packages: str) -> Path:
    """The interpreter of a virtual environment with these packages, made by uv on first use."""
    home = CACHE / hashlib.sha256("\n".join(packages).encode()).hexdigest()[:12]
    interpreter = home / "bin" / "python"
    if not (home / "complete").exists():
        uv = shutil.which("uv")
        if uv is None:
            raise SystemExit(
                "uv is not on the PATH: it makes the environments of what is measured beside hoplint"
            )
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True, cwd=ROOT)
        install = [uv, "pip", "install", "--quiet", "--python", interpreter]
        subprocess.run([*install, *packages], check=True, cwd=ROOT)
        (home / "complete").touch()
    return interpreter

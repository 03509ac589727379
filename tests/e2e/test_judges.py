"""Real programs still do with the defects of recordings/defects what the table of who chokes says of them.

One run of ``tests/benchmarks/remeasure.py`` for each program, against its raw octets; a difference is a row of
conformance/breaks.json that is not true any more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "remeasure.py"
LIGHT = ("h11", "httptools", "aiohttp=3.13.4", "aiohttp=3.14.5", "httpx", "aiohttp server=3.14.5")
HEAVY = ("curl", "uvicorn", "node http", "node fetch", "undici", "go net/http", "requests", "node http server",
         "go net/http server", "go ReverseProxy", "nginx", "haproxy", "mitmdump")  # fmt: skip


@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(name, marks=pytest.mark.heavy) for name in HEAVY)])
def test_a_program_does_what_the_table_says(name: str, tmp_path: Path) -> None:
    outcome = tmp_path / "measured.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), name, "--json", str(outcome)],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    told = json.loads(outcome.read_text())
    here = [one for one in told if "outcomes" in one]
    if not here:
        pytest.skip(f"{name}: {told[0]['problem']}")
    assert done.returncode == 0, done.stdout

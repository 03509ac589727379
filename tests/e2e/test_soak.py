"""Half a minute of the soak in tests/soak: what is lost in it would be lost in a day."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[1] / "soak"


def test_half_a_minute_of_bad_traffic() -> None:
    command = [sys.executable, str(SOAK), "--minutes", "0.5", "--clients", "40", "--pause", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert sum(report["done"].values()) > 100
    assert len(report["done"]) > 8, "kinds of exchange"
    assert report["facts"]["recorded"] >= report["facts"]["the server saw"]

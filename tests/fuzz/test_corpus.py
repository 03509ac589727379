"""What was hostile once is read again: every input in ``tests/corpus`` by the target it was found for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from targets import TARGETS

CORPUS = Path(__file__).parents[1] / "corpus"
INPUTS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def test_every_input_has_its_target() -> None:
    assert {path.parent.name for path in INPUTS} <= TARGETS.keys()
    assert INPUTS


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_hostile_once(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - {"fix"}))  # each of its runs loads the addons
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=60))
@example(data=b"")
def test_octets_of_no_kind_at_all(name: str, data: bytes) -> None:
    TARGETS[name](data)

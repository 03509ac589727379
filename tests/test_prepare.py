from datetime import date
from pathlib import Path

import pytest

from conformance.prepare import prepare
from conformance.rule import NOTE, UnknownName
from conformance.settings import Loaded, load

TOML = """\
[lint]
select = ["duplicates"]
[lint.severity]
duplicate-date = "note"
[lint.per-recording]
"old/*" = ["duplicate-date"]
[[lint.scope]]
ignore = ["duplicate-server"]
reason = "known"
host = ["*.internal"]
status = ["5xx"]
expires = 2026-03-01
"""


def loaded(folder: Path, text: str = TOML) -> Loaded:
    (folder / "hoplint.toml").write_text(text)
    return load(folder)


def test_everything_in_the_settings_arrives(tmp_path: Path) -> None:
    rules, settings = prepare(loaded(tmp_path))
    assert {rule.topic for rule in rules.values()} == {"duplicates"}
    assert settings.severities == {"duplicate-date": NOTE}
    assert settings.per_recording == (("old/*", frozenset({"duplicate-date"})),)
    (scope,) = settings.scopes
    assert (scope.rules, scope.reason, scope.hosts, scope.paths) == (
        frozenset({"duplicate-server"}), "known", ("*.internal",), (),
    )  # fmt: skip
    assert (scope.statuses, scope.direction, scope.expires) == (("5xx",), None, date(2026, 3, 1))


def test_selectors_lie_over_the_settings(tmp_path: Path) -> None:
    rules, _ = prepare(loaded(tmp_path), extended=["content-length-mismatch"], ignored=["duplicate-date"])
    assert "content-length-mismatch" in rules
    assert "duplicate-date" not in rules
    assert set(prepare(loaded(tmp_path), ["duplicate-server"]).rules) == {"duplicate-server"}


@pytest.mark.parametrize(
    "text",
    [
        "[lint]\nselect = ['nope']",
        "[lint.severity]\nnope = 'note'",
        "[lint.per-recording]\n'*' = ['nope']",
        "[[lint.scope]]\nignore = ['nope']\nreason = 'x'",
    ],
)
def test_a_rule_that_does_not_exist(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownName, match="nope"):
        prepare(loaded(tmp_path, text))


def test_a_note_of_another_severity_is_on(tmp_path: Path) -> None:
    """Unless something else is selected, or it is ignored."""
    note = "user-agent-missing"
    raised = f'[lint.severity]\n{note} = "warning"\n'
    assert note not in prepare(loaded(tmp_path, "")).rules
    assert note in prepare(loaded(tmp_path, raised)).rules
    assert note not in prepare(loaded(tmp_path, raised.replace("warning", "note"))).rules
    assert note not in prepare(loaded(tmp_path, f'[lint]\nselect = ["duplicates"]\n{raised}')).rules
    assert note not in prepare(loaded(tmp_path, f'[lint]\nignore = ["{note}"]\n{raised}')).rules

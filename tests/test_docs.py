"""Generated pages are fresh, and what the README says to type works."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conformance import manual
from conformance.cli import main
from conformance.rule import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_page_of_rules_is_fresh() -> None:
    rules = {name: load()[name] for name in sorted(load())}
    fresh = manual.markdown(rules)
    stored = (ROOT / "conformance/rules/README.md").read_text()
    assert stored == fresh, (
        "regenerate: uv run hoplint rule --all --format markdown > conformance/rules/README.md"
    )


def test_the_page_of_real_systems_is_fresh() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tests/e2e/table.py"], capture_output=True, text=True, check=True
    )
    assert (ROOT / "tests/e2e/README.md").read_text() == made.stdout, (
        "regenerate: uv run python tests/e2e/table.py > tests/e2e/README.md"
    )


def commands() -> list[list[str]]:
    """The `hoplint ...` lines of the README's shell blocks that need no server."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        lines = re.findall(r"^\$ uv run (hoplint .*)$", block, re.MULTILINE)
        found += [line.split() for line in lines if "proxy" not in line and "$(" not in line]
    return found


def test_the_readme_shows_commands() -> None:
    assert ["hoplint", "check", "recordings/incidents"] in commands()


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_of_the_readme_run(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "recordings").symlink_to(ROOT / "recordings")  # what a command writes shall not lie about
    done = subprocess.run(
        [sys.executable, "-m", "conformance", *words[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr


def test_samples_of_the_readme_are_what_is_printed(monkeypatch, capsys) -> None:
    """Up to line ends, which depend on the width, and where ``[...]`` leaves something out."""
    monkeypatch.chdir(ROOT)
    main(["check", "recordings/incidents", "--isolated"])
    printed = " ".join(capsys.readouterr().out.split())
    samples = re.findall(r"```\n([^`]*   = [^`]*)```", README)
    assert len(samples) == 2
    for part in "[...]".join(samples).split("[...]"):
        assert " ".join(part.split()) in printed


def test_the_json_of_the_readme_is_what_is_printed(monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    main(["check", "recordings/incidents/duplicate-server.http", "--isolated", "--format", "json"])
    printed = json.loads(capsys.readouterr().out)
    (sample,) = map(json.loads, re.findall(r"```json\n(.*?)```", README, re.DOTALL))
    assert sample.keys() == printed.keys()
    assert sample["recordings"][0].keys() == printed["recordings"][0].keys()
    assert sample["tally"].keys() == printed["tally"].keys()
    assert sample["tally"]["selected"] == printed["tally"]["selected"]
    (shown,) = sample["findings"]
    found = next(finding for finding in printed["findings"] if finding["rule"] == shown["rule"])
    assert shown.keys() == found.keys()
    for key in ("topic", "severity", "part", "field", "why", "rfc", "fix", "breaks"):
        assert shown[key] == found[key]


def test_extras_are_in_the_readme() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in project["optional-dependencies"].keys() - {"dev"}:
        assert f"\n| `{extra}` | " in README


def test_relative_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_no_unfinished_business() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    for name in tracked:
        if name.endswith((".py", ".md", ".toml")) and name != "tests/test_docs.py":
            text = (ROOT / name).read_text()
            assert not re.search(r"\b(FIXME|XXX)\b", text), name
            assert "/work/" not in text, name
            assert "/root/" not in text, name

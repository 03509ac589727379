"""What recipes/ tells people to copy, run as far as it can be: everything but the installation and the upload."""

import html
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # comes with pre-commit

from conformance.cli import main

ROOT = Path(__file__).parents[1]
BAD = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Server: a\n< Server: b\n"
GOOD = BAD.replace("< Server: b\n", "< Date: Fri, 20 Nov 2026 03:14:15 GMT\n")
SECRET = GOOD.replace("> Host: a", "> Host: a\n> X-Api-Key: sk-ant-api03-Zk3vQ9xT7bLw2NcR8mYpHd5s")
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "run.http").write_text(BAD)
    return tmp_path


def recipe(name: str) -> Any:
    return yaml.safe_load((ROOT / "recipes" / name).read_text())


def run(command: str, folder: Path) -> int:
    summary = str(folder / "summary.md")
    environment = {**ENVIRONMENT, "GITHUB_STEP_SUMMARY": summary}
    return subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, timeout=300).returncode


def test_github(folder: Path) -> None:
    steps = recipe("github.yml")["jobs"]["hoplint"]["steps"]
    install, check = [step["run"] for step in steps if "run" in step]
    assert install == "pip install hoplint"
    assert run(check, folder) == 1
    upload = steps[-1]
    assert upload["if"] == "always()"
    sarif = json.loads((folder / upload["with"]["sarif_file"]).read_text())
    assert "duplicate-server" in {result["ruleId"] for result in sarif["runs"][0]["results"]}
    assert "duplicate-server" in html.unescape((folder / "summary.md").read_text())
    (folder / "recordings" / "run.http").write_text(GOOD)
    assert run(check, folder) == 0


def test_gitlab(folder: Path) -> None:
    job = recipe("gitlab.yml")["hoplint"]
    install, check = job["script"]
    assert install == "pip install hoplint"
    assert run(check, folder) == 1
    reports = job["artifacts"]["reports"]
    found = json.loads((folder / reports["codequality"]).read_text())
    assert "duplicate-server" in {issue["check_name"] for issue in found}
    assert "<testsuite" in (folder / reports["junit"]).read_text()


def test_the_recipe_for_pre_commit_is_what_the_hooks_are() -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    (repository,) = recipe("pre-commit.yml")["repos"]
    assert {hook["id"]: hook["entry"] for hook in repository["hooks"]} == {
        name: hook["entry"] for name, hook in hooks.items()
    }


@pytest.mark.parametrize(
    ("text", "code"), [(GOOD, 0), (BAD, 1), (SECRET, 1)], ids=["good", "bad", "with a credential"]
)
def test_pre_commit(folder: Path, text: str, code: int) -> None:
    config = recipe("pre-commit.yml")
    for hook in config["repos"][0]["hooks"]:  # hoplint is here already
        assert hook.pop("additional_dependencies") == ["hoplint"]
        hook["language"] = "system"
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    (folder / "recordings" / "run.http").write_text(text)
    (folder / "other.http.txt").write_text("no recording")
    assert run("git init -q && git add -A && pre-commit run --all-files", folder) == code


@pytest.mark.parametrize(
    "words",
    [["validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")], ["validate-config", str(ROOT / "recipes/pre-commit.yml")]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_pre_commit_reads_the_files(words: list[str], tmp_path: Path) -> None:
    subprocess.run(["pre-commit", *words], cwd=tmp_path, env=ENVIRONMENT, check=True)


def test_redacting_is_the_way_out(folder: Path) -> None:
    path = folder / "recordings" / "run.http"
    path.write_text(SECRET)
    check = ["check", str(path), "--isolated", "--select", "secret-in-recording", "--fail-on", "warning"]
    assert main(check) == 1
    assert main(["redact", str(path), "--in-place", "-q"]) == 0
    assert main(check) == 0

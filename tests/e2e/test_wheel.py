"""What is installed from a wheel finds its addons, profiles and manual."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hoplint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed from a freshly built wheel into an environment of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv")
    assert uv is not None
    run = {"check": True, "cwd": ROOT, "capture_output": True, "timeout": 600}
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", folder], **run)
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], **run)
    (wheel,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, wheel], **run)
    return folder / "venv" / "bin" / "hoplint"


def said(hoplint: Path, *words: object) -> str:
    done = subprocess.run(
        [hoplint, *map(str, words)], capture_output=True, text=True, cwd=hoplint.parent, timeout=60
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_an_installed_hoplint_is_whole(hoplint: Path) -> None:
    addon = Path(said(hoplint, "addons", "dedupe-headers").strip())
    assert addon.is_file()
    assert ROOT not in addon.parents
    assert "error[duplicate-server]" in said(
        hoplint, "check", ROOT / "recordings/incidents/duplicate-server.http"
    )
    assert "policy." in said(hoplint, "config", "--profile", "generic")
    assert "duplicate-server" in said(hoplint, "rule")

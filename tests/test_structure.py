"""The shape of the tree is a decision, so it is tested: who imports what, and that tests mirror modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "conformance"
ADDONS = ROOT / "addons"

# module (or folder with /) -> the modules of ours it may import
OURS: dict[str, set[str]] = {
    "message": set(),
    "grammar": set(),
    "known": set(),
    "secret": set(),
    "structured": set(),
    "addon": {"policy"},
    "transcript": {"message"},
    "rule": {"message", "turn", "verdict"},
    "turn": {"message"},
    "verdict": {"message"},
    "content": {"message"},
    "credential": {"grammar", "known", "llm", "message", "policy", "secret"},
    "sse": {"content", "message"},
    "llm": {"content", "message", "sse"},
    "frames": {"grammar", "message"},
    "http2": {"message"},
    "octets": {"frames", "http2", "message", "grammar", "known"},
    "replay": {"message", "grammar", "refusals", "octets"},
    "refusals": {"message", "grammar", "known"},
    "flowfile": {"message", "mitm"},
    "har": {"message"},
    "remote": {"secret"},
    "recording": {"remote", "http2", "message", "transcript", "octets", "refusals", "flowfile", "har"},
    "values": {"known", "grammar"},
    "policy": {"known", "values"},
    "shared": set(),
    "settings": {"policy", "rule"},
    "finding": {"message", "rule"},
    "locate": {"content", "finding", "message", "rule", "secret", "transcript"},
    "parsers": {"grammar", "message", "replay", "verdict"},
    "lint": {
        "examine", "finding", "history", "legs", "locate", "message", "parsers", "policy", "recording", "rule", "scoping",
        "settings",
    },
    "examine": {
        "content", "finding", "frames", "history", "legs", "llm", "locate", "message", "parsers", "policy", "replay",
        "rule", "secret", "turn", "watch",
    },
    "live": {"finding", "lint", "message", "policy", "recording", "rule", "scoping"},
    "glance": {"history", "llm", "locate", "message", "policy", "rule", "secret", "transcript"},
    "scoping": {"finding"},
    "cluster": set(),
    "jobs": {"finding", "lint", "pieces", "policy", "recording", "remote", "rule", "scoping"},
    "pieces": {"examine", "finding", "lint", "message", "policy", "recording", "rule", "watch"},
    "prepare": {"lint", "rule", "scoping", "settings"},
    "atomic": set(),
    "baseline": {"atomic", "finding"},
    "scramble": {"credential"},
    "pytest_plugin": {"addon", "finding", "lint", "policy", "prepare", "recording", "reports", "rule", "settings"},
    "changes": {"finding", "lint", "message", "policy", "recording", "rule", "secret", "transcript"},
    "redactor": {"content", "message", "octets", "scramble", "secret"},
    "redact": {"atomic", "flowfile", "har", "message", "recording", "redactor", "scramble", "secret", "transcript"},
    "recorder": {"policy", "redact"},
    "legs": {"content", "known", "llm", "message", "recording"},
    "fix": {"atomic", "finding", "flowfile", "message", "mitm", "offline", "recording", "secret", "transcript"},
    "offline": {"addon", "mitm", "policy", "secret"},
    "conversation": {"llm"},
    "tracker": {"conversation", "llm"},
    "watch": {"message", "policy", "rule"},
    "history": {"content", "conversation", "grammar", "known", "llm", "message", "policy", "secret", "sse", "turn"},
    "demo": {"finding", "lint", "processes", "recording", "rule"},
    "processes": set(),
    "output": set(),
    "run": {"processes"},
    "breaks": {"finding", "rule"},
    "compatibility": {"breaks"},
    "manual": {"breaks", "message", "rule"},
    "mitm": {"shared", "addon", "grammar", "known", "message", "policy", "secret", "settings"},
    "websocket": {"llm", "message"},
    "rules/": {
        "content", "conversation", "credential", "grammar", "history", "http2", "known", "llm", "message", "policy", "rule",
        "secret", "sse", "structured", "turn", "verdict", "websocket",
    },
    "reports/": {"secret", "breaks", "changes", "finding", "manual", "rule", "reports"},
    "arguments": {"rule"},
    "cli": {
        "addon", "arguments", "baseline", "changes", "cluster", "compatibility", "demo", "finding", "fix", "jobs", "lint",
        "manual", "message", "mitm", "output", "policy", "prepare", "processes", "recorder", "recording",
        "redact", "reports", "rule", "run", "secret", "settings", "transcript", "verdict",
    },
    "__main__": {"cli"},
    "__init__": {"finding", "lint", "message", "policy", "recording", "rule"},
}  # fmt: skip

# third-party package -> the only files that import it
THEIRS = {
    "pytest": {"conformance/pytest_plugin.py"},
    "argcomplete": {"conformance/cli.py"},
    "mitmproxy": {"conformance/mitm.py", "conformance/offline.py", "addons/*"},
    "h11": {"conformance/replay.py", "conformance/parsers.py"},
    "aiohttp": {"conformance/parsers.py"},
    "httptools": {"conformance/parsers.py"},
    "redis": {"conformance/shared.py"},
    "fsspec": {"conformance/remote.py"},
    "ray": {"conformance/cluster.py"},
    "cryptography": {"conformance/shared.py"},
    "pydantic": {
        "conformance/policy.py",
        "conformance/values.py",
        "conformance/settings.py",
        "conformance/mitm.py",
    },
    "pydantic_core": {"conformance/llm.py"},
    "rich": {"conformance/cli.py", "conformance/reports/text.py", "conformance/reports/demo.py"},
}


def imported(path: Path) -> set[str]:
    """Every module a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "conformance"
                else {node.module}
            )
    return names


def modules() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def key(path: Path) -> str:
    inside = path.relative_to(LIBRARY)
    return f"{inside.parts[0]}/" if len(inside.parts) > 1 else inside.stem


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_library_imports_only_what_the_table_says(path: Path) -> None:
    used = {name.split(".")[1] for name in imported(path) if name.startswith("conformance.")}
    assert used - OURS[key(path)] == set()


@pytest.mark.parametrize("package", THEIRS)
def test_third_party_packages_have_one_seam(package: str) -> None:
    users = {
        path.relative_to(ROOT)
        for path in [*modules(), *ADDONS.glob("*.py")]
        if any(name.split(".")[0] == package for name in imported(path))
    }
    assert {
        str(path) for path in users if not any(path.match(pattern) for pattern in THEIRS[package])
    } == set()


IMPURE = {
    "os",
    "sys",
    "time",
    "datetime",
    "random",
    "secrets",
    "socket",
    "pathlib",
    "subprocess",
    "threading",
    "io",
}


@pytest.mark.parametrize("path", sorted((LIBRARY / "rules").glob("*.py")), ids=lambda path: path.stem)
def test_rules_go_by_what_they_are_given(path: Path) -> None:
    """``watch`` leaves a rule out where all that it read is as it was: it may read no clock, no file, no state."""
    assert {name.split(".")[0] for name in imported(path)} & IMPURE == set()
    tree = ast.parse(path.read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal)]


def test_no_addon_imports_another_or_is_called_like_the_stdlib() -> None:
    # mitmproxy leaves the script's folder first on sys.path: addons/json.py would be everybody's json.
    names = {path.stem for path in ADDONS.glob("*.py")}
    assert names
    assert names & sys.stdlib_module_names == set()
    assert not (ADDONS / "__init__.py").exists()
    for path in ADDONS.glob("*.py"):
        assert {name.split(".")[0] for name in imported(path)} & names == set()


def test_every_module_has_its_tests() -> None:
    missing = []
    for path in modules():
        inside = path.relative_to(LIBRARY)
        if (
            inside.stem not in ("__init__", "__main__")
            and not (ROOT / "tests" / inside.with_name(f"test_{inside.name}")).exists()
        ):
            missing.append(str(inside))
    missing += [
        path.name
        for path in ADDONS.glob("*.py")
        if not (ROOT / "tests/addons" / f"test_{path.name}").exists()
    ]
    assert missing == []


def test_every_test_has_its_module() -> None:
    whole = {
        "test_structure",
        "test_docs",
        "test_properties",
        "test_mutations",
        "test_recordings",
        "test_judges",
        "test_examples",
        "test_registry",
        "test_promises",
        "test_cost",
        "test_recipes",
        "test_streams_live",
        "test_failures_live",
        "test_shared_live",
        "test_hostile_live",
        "test_faults_live",
        "test_elsewhere_live",
    }
    for path in (ROOT / "tests").rglob("test_*.py"):
        inside = path.relative_to(ROOT / "tests")
        if inside.parts[0] in ("e2e", "benchmarks", "fuzz") or inside.stem in whole:
            continue
        name = inside.name.removeprefix("test_")
        assert (LIBRARY / inside.with_name(name)).exists() or (ROOT / inside.with_name(name)).exists(), path


def test_no_module_is_too_long_or_called_utils() -> None:
    for path in [*modules(), *ADDONS.glob("*.py")]:
        assert path.stem not in {"utils", "helpers", "common", "base", "manager"}
        if "rules" not in path.parts:  # those are mostly prose and examples
            assert len(path.read_text().splitlines()) <= 700, path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "--help"],
        ["fix", "--help"],
        ["demo", "--help"],
        ["check", "recordings/clean"],
        ["rule"],
        ["rule", "duplicate-server"],
        ["addons"],
        ["show", "recordings/incidents/duplicate-server.http"],
    ],
    ids=" ".join,
)
def test_the_command_line_never_imports_mitmproxy(arguments: list[str]) -> None:
    program = (
        "import sys; from conformance.cli import main\n"
        f"try: code = main({arguments!r})\n"
        "except SystemExit as end: code = end.code\n"
        "assert not code, code\n"
        "assert 'mitmproxy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

"""Do the tests notice when the code is wrong? ``uv run python tests/mutation [--sample N] [MODULE...]``.

In a copy of the tree, one place of a module at a time is made wrong: a comparison turned round, a condition negated, a
number one off, a statement left out. Then the tests of that module run. What none of them notices is printed, and the
share of those that are noticed is the module's score. Which places are tried is drawn, the same ones each time.

Not everything that survives is a gap: some changes make no difference that anybody could observe.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS: dict[str, list[str]] = {
    "conformance/grammar.py": ["tests/test_grammar.py", "tests/test_refusals.py"],
    "conformance/message.py": ["tests/test_message.py"],
    "conformance/flowfile.py": ["tests/test_flowfile.py"],
    "conformance/har.py": ["tests/test_har.py"],
    "conformance/transcript.py": ["tests/test_transcript.py"],
    "conformance/octets.py": ["tests/test_octets.py"],
    "conformance/replay.py": ["tests/test_replay.py"],
    "conformance/refusals.py": ["tests/test_refusals.py"],
    "conformance/sse.py": ["tests/test_sse.py"],
    "conformance/websocket.py": ["tests/test_websocket.py"],
    "conformance/content.py": ["tests/test_content.py"],
    "conformance/credential.py": ["tests/test_credential.py"],
    "conformance/secret.py": ["tests/test_secret.py"],
    "conformance/scramble.py": ["tests/test_scramble.py"],
    "conformance/redactor.py": ["tests/test_redactor.py"],
    "conformance/conversation.py": ["tests/test_conversation.py"],
    "conformance/history.py": ["tests/test_history.py"],
    "conformance/scoping.py": ["tests/test_scoping.py"],
    "conformance/locate.py": ["tests/test_locate.py"],
    "addons/dedupe_headers.py": ["tests/addons/test_dedupe_headers.py"],
    "addons/filter_handshake.py": ["tests/addons/test_filter_handshake.py"],
    "addons/strip_hop_headers.py": ["tests/addons/test_strip_hop_headers.py"],
    "conformance/rules/caching.py": ["tests/rules/test_caching.py"],
    "conformance/rules/framing.py": ["tests/rules/test_framing.py"],
    "conformance/rules/start_line.py": ["tests/rules/test_start_line.py"],
    "conformance/rules/duplicates.py": ["tests/rules/test_duplicates.py"],
}
"""Module -> the tests that are about it; those of a rule include its manual's examples."""

OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def mutants(tree: ast.Module) -> Iterator[tuple[int, str, ast.Module]]:
    """(line, what is wrong, the whole module with that). Docstrings, annotations and imports stay."""
    for index, node in enumerate(list(_code(tree))):
        for what in _ways(node):
            copy = deepcopy(tree)
            yield node.lineno, what, _changed(copy, list(_code(copy))[index], what)  # type: ignore[attr-defined]


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """What runs, in order."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if (
                isinstance(child, ast.AST)
                and not is_text
                and not isinstance(child, ast.Import | ast.ImportFrom)
            ):
                yield child
                yield from _code(child)


def _ways(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Compare(ops=[op]) | ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in OTHER:
            yield f"{type(op).__name__} is {OTHER[type(op)].__name__}"
        case ast.If() | ast.IfExp() | ast.While():
            yield "the condition is negated"
        case ast.UnaryOp(op=ast.Not()):
            yield "not is left out"
        case ast.Constant(value=bool(value)):
            yield f"{value} is {not value}"
        case ast.Constant(value=int(value)):
            yield f"{value} is {value + 1}"
        case ast.Constant(value=bytes(value)) if value:
            yield f"{value!r} is something else"
        case ast.Return(value=ast.Constant(value=None | False)):
            return  # is as good as nothing
        case ast.Return(value=ast.expr()):
            yield "nothing is returned"
        case ast.Continue():
            yield "continue is break"
        case ast.Break():
            yield "break is continue"
        case ast.AugAssign():
            yield "the assignment is left out"
        case ast.Expr(value=ast.Call() | ast.Yield()):
            yield "the statement is left out"


def _changed(tree: ast.Module, node: ast.AST, what: str) -> ast.Module:
    match node:
        case ast.Compare():
            node.ops = [OTHER[type(node.ops[0])]()]
        case ast.BoolOp() | ast.BinOp():
            node.op = OTHER[type(node.op)]()
        case ast.If() | ast.IfExp() | ast.While():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.UnaryOp():
            _replace(tree, node, node.operand)
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int(value)):
            node.value = value + 1
        case ast.Constant(value=bytes(value)):
            node.value = b"\x01" + value[1:]
        case ast.Return():
            node.value = ast.Constant(None)
        case ast.Continue():
            _replace(tree, node, ast.Break())
        case ast.Break():
            _replace(tree, node, ast.Continue())
        case _:
            _replace(tree, node, ast.Pass())
    return ast.fix_missing_locations(tree)


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(child is old for child in value):
                value[[child is old for child in value].index(True)] = new


def run(tree: Path, tests: list[str], seconds: float) -> str:
    """``noticed``, ``survived`` or ``too slow``: the tests in a process of their own, which has pytest loaded."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)  # ends the process
            os.chdir(tree)
            out = os.open(tree.parent / "said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(out, stream)
            sys.path.insert(0, str(tree))
            sys.dont_write_bytecode = True
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "too slow"
    return "noticed" if os.waitstatus_to_exitcode(status) else "survived"


def score(tree: Path, module: str, sample: int) -> tuple[int, int, list[str]]:
    """Mutants tried, mutants noticed, and those that were not. Raises RuntimeError where the tests fail by themselves."""
    path = tree / module
    source = path.read_text()
    began = time.monotonic()
    if run(tree, TESTS[module], 600) != "survived":
        said = (tree.parent / "said").read_text()[-1000:]
        raise RuntimeError(f"{module}: its tests fail without any change: {said}")
    most = 15 + 2 * (time.monotonic() - began)
    drawn = list(mutants(ast.parse(source)))
    random.Random(module).shuffle(drawn)
    noticed, left = 0, []
    for line, what, mutant in drawn[:sample]:
        path.write_text(ast.unparse(mutant))
        came = run(tree, TESTS[module], most)
        noticed += came != "survived"
        if came == "survived":
            left.append(f"{module}:{line}: {what}: {source.splitlines()[line - 1].strip()}")
    path.write_text(source)
    return min(sample, len(drawn)), noticed, sorted(left)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("modules", nargs="*", metavar="MODULE", help=f"of: {', '.join(TESTS)}")
    words.add_argument("--sample", type=int, default=40, help="places of each module (default: 40)")
    options = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoplint-mutation-") as folder:
        tree = Path(folder, "tree")
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", "*.pyc", ".*_cache"))
        os.environ["PYTHONPATH"] = str(tree)
        print("| module | tried | noticed | score |\n|---|---|---|---|", flush=True)
        for module in options.modules or TESTS:
            try:
                tried, noticed, left = score(tree, module, options.sample)
            except RuntimeError as problem:
                print(problem, file=sys.stderr, flush=True)
                continue
            print(f"| {module} | {tried} | {noticed} | {100 * noticed // max(1, tried)} % |", flush=True)
            print("\n".join(left), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

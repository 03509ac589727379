"""No regular expression can be made to take more than linear time, whatever a recording holds."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from ambiguity import ambiguity

from conformance import recording
from conformance.rules import http2

ROOT = Path(__file__).parents[2]

IN_TABLES = {
    "conformance.grammar.QUOTED_STRING": "match",  # a part of others, not used by itself
    "conformance.content._KINDS": "match",
    "conformance.refusals._MITMPROXY": "fullmatch",
    "conformance.refusals._WORDS": "fullmatch",
    "conformance.reports.wording._LINKS": "fullmatch",
    "conformance.rules.api._READS": "fullmatch",
    "conformance.rules.content._ACCEPTS": "fullmatch",
    "conformance.rules.start_line._REQUEST_LINE": "fullmatch",
    "conformance.rules.start_line._STATUS_LINE": "fullmatch",
    "conformance.scramble._KEPT": "fullmatch",
    "conformance.structured._KEY": "match",
    "conformance.structured._STRING": "match",
}
"""How those are used that are called by no name; all others must be good enough for ``search``."""

THE_USERS = "of the settings, which are not a stranger's"
OF_WORDS = "words, escaped"
MADE = {
    "conformance.known": {
        "'|'.join(alternatives) or '(?!)'": OF_WORDS,
        "'|'.join(map(translate, globs)) or '(?!)'": THE_USERS,
        "name": OF_WORDS,
        "name[:-1]": OF_WORDS,
    },
    "conformance.llm": {r"path + b'/?\\Z'": "compiled by the module itself, and looked at"},
    "conformance.values": {"value": THE_USERS, "_pattern(pattern)": THE_USERS},
    "conformance.processes": {"pattern": "for what our own proxies print"},
    "conformance.recording": {"pattern": "of _LOOKS, which is looked at"},
    "conformance.redactor": {"b'|'.join(map(re.escape, credentials)) or b'(?!)'": OF_WORDS},
    "conformance.rules.betas": {
        "token.encode('latin-1')": OF_WORDS,
        "b'(?<![a-z0-9-])' + re.escape(token.encode('latin-1')) + b'(?![a-z0-9-])'": OF_WORDS,
    },
    "conformance.rules.http2": {"pattern": "of _WORDS, which is looked at"},
    "conformance.rules.hops": {
        "start": OF_WORDS,
        r"b',[ \\t]*' + re.escape(start)": OF_WORDS,
        r"b'(?<!\\d)' + number + b'(?!\\d)'": OF_WORDS,
    },
    "conformance.rules.sessions": {
        "pattern": THE_USERS,
        r"b'\\b' + name.encode() + b'\\b'": OF_WORDS,
    },
    "conformance.secret": {"name.encode()": OF_WORDS},
    "addons.inject_session": {
        "pattern": THE_USERS,
        "text.removeprefix('path:').encode()": THE_USERS,
    },
}
"""Expressions put together while hoplint runs, by the module; anything else there has to be a constant."""

METHODS = frozenset({"search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"})


class Found(NamedTuple):
    """An expression, and with which methods it is used."""

    pattern: re.Pattern[Any]
    methods: frozenset[str]


@cache
def modules() -> dict[str, ModuleType]:
    """Every module of the library and every addon, by name."""
    found = {}
    for path in sorted((ROOT / "conformance").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem != "__main__":
            found[name] = importlib.import_module(name)
    for path in sorted((ROOT / "addons").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"addons.{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        found[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[spec.name])
    return found


def tree(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text())


def inside(value: object, depth: int = 4) -> Iterator[re.Pattern[Any]]:
    """The expressions in a value of a module, tables of tables of them too."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, Mapping):
        for pair in value.items():
            yield from inside(pair, depth - 1)
    elif depth and isinstance(value, tuple | list | set | frozenset):
        for one in value:
            yield from inside(one, depth - 1)
    elif depth and hasattr(type(value), "__dataclass_fields__"):
        for name in type(value).__dataclass_fields__:
            yield from inside(getattr(value, name, None), depth - 1)


@cache
def expressions() -> dict[str, Found]:
    """``module.NAME`` or ``module:line`` -> the expression there."""
    names: dict[re.Pattern[Any], str] = {}
    methods: dict[re.Pattern[Any], set[str]] = defaultdict(set)
    for name, module in modules().items():
        for variable, value in vars(module).items():
            for pattern in inside(value):
                names.setdefault(pattern, f"{name}.{variable}")
                if f"{name}.{variable}" in IN_TABLES:
                    methods[pattern].add(IN_TABLES[f"{name}.{variable}"])
    found: dict[str, Found] = {}
    for name, module in modules().items():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                pattern = named(module, node.value)
                if isinstance(pattern, re.Pattern):
                    methods[pattern].add(node.attr)
            made = compiled(node)
            if made is not None:
                found[f"{name}:{node.lineno}"] = made  # type: ignore[attr-defined]
    for table, rows in (("recording._LOOKS", recording._LOOKS), ("http2._WORDS", http2._WORDS)):
        for expression, what in rows:
            found[f"{table}: {what}"] = Found(re.compile(expression, re.DOTALL), frozenset({"match"}))
    repeated: dict[str, int] = defaultdict(int)
    for pattern, name in names.items():
        repeated[name] += 1
        found[f"{name}-{repeated[name]}"] = Found(pattern, frozenset(methods[pattern]))
    return found


def named(module: ModuleType, node: ast.expr) -> object:
    """What ``NAME`` or ``module.NAME`` is there."""
    if isinstance(node, ast.Name):
        return vars(module).get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return getattr(vars(module).get(node.value.id), node.attr, None)
    return None


def compiled(node: ast.AST) -> Found | None:
    """``re.sub("constant", ...)``."""
    call = called(node)
    if call is None or call[0] in ("compile", "escape") or not isinstance(call[1], ast.Constant):
        return None
    flags = [ast.unparse(word.value) for word in node.keywords if word.arg == "flags"]  # type: ignore[attr-defined]
    assert not flags, "write the flags into the expression"
    return Found(re.compile(call[1].value), frozenset({call[0]}))


def called(node: ast.AST) -> tuple[str, ast.expr] | None:
    """Function and first argument of a call into ``re``."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.args
    ):
        return node.func.attr, node.args[0]
    return None


def test_expressions_are_found() -> None:
    assert len(expressions()) > 250
    assert IN_TABLES.keys() <= {name.rpartition("-")[0] for name in expressions()}


@pytest.mark.parametrize("name", expressions())
def test_no_expression_takes_more_than_linear_time(name: str) -> None:
    pattern, methods = expressions()[name]
    anchored = bool(methods) and methods <= {"match", "fullmatch"}
    why = ambiguity(pattern, anchored=anchored, whole="fullmatch" in methods)
    assert why is None, f"{why.degree} in the repetitions of {why.word!r}"


@pytest.mark.parametrize("name", modules())
def test_expressions_are_constants(name: str) -> None:
    # Within functions: those of modules are compiled by now, and looked at as they are.
    made = {
        ast.unparse(call[1])
        for function in ast.walk(tree(modules()[name]))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if (call := called(node)) is not None and not isinstance(call[1], ast.Constant)
    }
    assert made <= MADE.get(name, {}).keys()


@pytest.mark.parametrize(
    ("pattern", "methods", "degree"),
    [
        (r"(a*)*b", "match", "exponential"),
        (r"(a|a)*b", "match", "exponential"),
        (r"(?:\d+,?)+x", "match", "exponential"),
        (r"(?: *\d+(?:\.\d+)?)+", "fullmatch", "exponential"),
        (r"a*a*b", "match", "quadratic"),
        (r"a+b", "search", "quadratic"),
        (r"a*+b", "search", "quadratic"),
        (r"\s+\Z", "search", "quadratic"),
        (r'"(?:[^"\\]|\\.)*"', "search", "quadratic"),
        (r"a+b", "match", None),
        (r"a+", "search", None),
        (r"\bfoo\s+bar", "search", None),
        (r'"[^"]*"', "search", None),
        (r"(?<!a)a+b", "search", None),
        (r"(?<=://)[^/@]+@", "search", None),
        (r"(?:a|b)*c", "match", None),
        (r"(?:[a-z]{1,63}\.)+c", "match", None),
        (r"'((?:[^'\\]|\\.)*+)'?", "search", None),
        (r"(?s)a.* by .*", "fullmatch", None),
    ],
)
def test_what_is_linear(pattern: str, methods: str, degree: str | None) -> None:
    why = ambiguity(re.compile(pattern), anchored=methods != "search", whole=methods == "fullmatch")
    assert (why and why.degree) == degree

"""hoplint as a library: read recordings into exchanges, run rules over them.

>>> from conformance import check, load_rules, read, select
>>> run = check([read("recordings/incidents/duplicate-server.http")], select(load_rules(), []))
>>> sorted({finding.rule for finding in run.findings})[:1]
['duplicate-date']

The names are imported when they are asked for: ``import conformance`` costs nothing, and neither mitmproxy nor
pydantic is loaded by a program that does not need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.finding import Finding, Location, Run
    from conformance.lint import check
    from conformance.message import Exchange, FieldLine, Fields, Frame, Request, Response, Stream
    from conformance.policy import Policy
    from conformance.recording import Recording, find, parse, read
    from conformance.rule import RULES, Rule, Severity, select
    from conformance.rule import load as load_rules

__all__ = [
    "RULES",
    "Exchange",
    "FieldLine",
    "Fields",
    "Finding",
    "Frame",
    "Location",
    "Policy",
    "Recording",
    "Request",
    "Response",
    "Rule",
    "Run",
    "Severity",
    "Stream",
    "check",
    "find",
    "load_rules",
    "parse",
    "read",
    "select",
]

_HOMES = {
    "finding": ("Finding", "Location", "Run"),
    "lint": ("check",),
    "message": ("Exchange", "FieldLine", "Fields", "Frame", "Request", "Response", "Stream"),
    "policy": ("Policy",),
    "recording": ("Recording", "find", "parse", "read"),
    "rule": ("RULES", "Rule", "Severity", "select"),
}


def __getattr__(name: str) -> Any:
    if name == "load_rules":
        return import_module("conformance.rule").load
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"conformance.{module}"), name)
    raise AttributeError(f"module 'conformance' has no attribute {name!r}")

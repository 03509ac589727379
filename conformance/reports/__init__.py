"""The formats a run can be reported in: one function each, ``(run, look) -> str``, listed in one dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conformance.finding import Look, Run
from conformance.reports import json, text

FORMATS: Mapping[str, Callable[[Run, Look], str]] = {
    "full": text.full,
    "concise": text.concise,
    "json": json.report,
}

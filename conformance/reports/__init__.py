"""The formats a run can be reported in: one function each, ``(run, look) -> str``, listed in one dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conformance.finding import Look, Run
from conformance.reports import github, gitlab, html, json, junit, markdown, sarif, text

FORMATS: Mapping[str, Callable[[Run, Look], str]] = {
    "full": text.full,
    "concise": text.concise,
    "json": json.report,
    "sarif": sarif.report,
    "junit": junit.report,
    "github": github.report,
    "gitlab": gitlab.report,
    "markdown": markdown.report,
    "html": html.report,
}

LISTING = frozenset({"html"})
"""Those that show every exchange, and need the run to hold a listing."""

from dataclasses import replace
from datetime import date

import pytest

from conformance import lint, recording
from conformance.finding import Run
from conformance.rule import load
from conformance.scoping import Scope, apply

TEXT = """\
> GET /v1/models HTTP/1.1
> Host: Gateway.internal:4000
< HTTP/1.1 404 Not Found
< Date: Fri, 20 Nov 2026 03:14:15 GMT
< Content-Length: 0
< Server: a
< Server: b
"""
RULE = frozenset({"duplicate-server"})
DAY = date(2026, 3, 1)


def run() -> Run:
    rules = {name: load()[name] for name in ("duplicate-server", "duplicate-host")}
    return lint.check([recording.read("-", stdin=TEXT.encode())], rules)


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({}, True),
        ({"hosts": ("*.internal",)}, True),
        ({"hosts": ("*.INTERNAL",)}, True),
        ({"hosts": ("internal", "api.*")}, False),
        ({"paths": ("/v1/*",)}, True),
        ({"paths": ("/v2/*",)}, False),
        ({"statuses": ("404",)}, True),
        ({"statuses": ("200", "4xx")}, True),
        ({"statuses": ("5xx",)}, False),
        ({"direction": "response"}, True),
        ({"direction": "server"}, True),
        ({"direction": "request"}, False),
        ({"direction": "client"}, False),
        ({"hosts": ("*.internal",), "statuses": ("5xx",)}, False),
        ({"expires": DAY}, True),
        ({"expires": date(2026, 2, 28)}, False),
    ],
)
def test_a_finding_is_ignored_where_all_conditions_hold(conditions, holds: bool) -> None:
    found = run()
    apply(found, [Scope(RULE, "known", **conditions)], DAY)
    assert [finding.rule for finding in found.findings] == ([] if holds else ["duplicate-server"])
    assert [(one.by, one.reason) for one in found.suppressed] == ([("settings", "known")] if holds else [])


def test_another_rule_is_not_touched() -> None:
    found = run()
    apply(found, [Scope(frozenset({"duplicate-host"}), "known")], DAY)
    assert len(found.findings) == 1


def test_what_has_expired_counts_again_and_is_told() -> None:
    found = run()
    apply(found, [Scope(RULE, "gateway 2", expires=date(2026, 2, 1))] * 2, DAY)
    apply(found, [Scope(RULE, "gone", ("elsewhere",), expires=date(2026, 2, 1))], DAY)
    assert found.notes == [
        "[[lint.scope]] number 1 (gateway 2) expired on 2026-02-01: 1 finding counts again",
        "[[lint.scope]] number 2 (gateway 2) expired on 2026-02-01: 1 finding counts again",
        "[[lint.scope]] number 1 (gone) expired on 2026-02-01: it can go",
    ]


def test_what_the_recording_does_not_say_matches_no_condition() -> None:
    text = "> GET / HTTP/1.1\n> Host: a\n> Host: b\n"
    rules = {"duplicate-host": load()["duplicate-host"]}
    found = lint.check([recording.read("-", stdin=text.encode())], rules)
    apply(found, [Scope(frozenset(rules), "x", statuses=("2xx", "4xx"))], DAY)
    assert len(found.findings) == 1


@pytest.mark.parametrize(
    ("status", "wanted", "covers"),
    [(599, "5xx", True), (500, "5xx", True), (500, "4xx", False), (499, "5xx", False), (None, "4xx", False)],
)
def test_classes_of_statuses(status: int | None, wanted: str, covers: bool) -> None:
    (finding,) = run().findings
    scope = Scope(RULE, "known", statuses=(wanted,))
    assert scope.covers(replace(finding, status=status)) is covers

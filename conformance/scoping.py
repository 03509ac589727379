"""Ignores that hold in one place only: for a host, a path, a status, a direction, until a date.

They stand in the settings as ``[[lint.scope]]``, each with a reason. What a recording does not say matches no
condition, so that nothing is silenced by ignorance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Literal

from conformance.finding import Finding, Run, Suppressed

type Direction = Literal["request", "response", "client", "server"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which findings are not to be reported, and why. Empty conditions hold everywhere."""

    rules: frozenset[str]
    reason: str
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    """``404``, or a class: ``5xx``."""
    direction: Direction | None = None
    """Which message it is in (request, response), or who sent it (client, server)."""
    expires: date | None = None
    """The last day on which it holds."""

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is one of these, whatever the date."""
        return (
            finding.rule in self.rules
            and (self.direction is None or self.direction in (finding.at.part, finding.origin))
            and (not self.hosts or any(fnmatchcase(finding.host, glob.lower()) for glob in self.hosts))
            and (not self.paths or any(fnmatchcase(finding.path, glob) for glob in self.paths))
            and (not self.statuses or any(_is_status(finding.status, one) for one in self.statuses))
        )


def _is_status(status: int | None, wanted: str) -> bool:
    return status is not None and wanted in (str(status), f"{status // 100}xx")


def apply(run: Run, scopes: Iterable[Scope], today: date) -> None:
    """Take the findings that a scope covers out of the run's findings, counted with the scope's reason.

    A scope that has expired covers nothing any more; a note says what it would have.
    """
    for number, scope in enumerate(scopes, 1):
        covered = [finding for finding in run.findings if scope.covers(finding)]
        if scope.expires is not None and scope.expires < today:
            count = len(covered)
            run.notes.append(
                f"[[lint.scope]] number {number} ({scope.reason}) expired on {scope.expires}: "
                + (f"{count} finding{'s count' if count > 1 else ' counts'} again" if count else "it can go")
            )
            continue
        if covered:
            gone = set(map(id, covered))
            run.findings = [finding for finding in run.findings if id(finding) not in gone]
            run.suppressed += [Suppressed(finding, "settings", scope.reason) for finding in covered]

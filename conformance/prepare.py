"""From settings to what the linter takes: the rules that run, and how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from conformance.lint import Settings
from conformance.rule import RULES, Rule, Severity, UnknownName, load, select
from conformance.scoping import Scope
from conformance.settings import Loaded


class Prepared(NamedTuple):
    """What ``lint.check`` is to be given."""

    rules: dict[str, Rule]
    settings: Settings


def prepare(
    loaded: Loaded,
    chosen: Iterable[str] | None = None,
    extended: Iterable[str] = (),
    ignored: Iterable[str] = (),
    *,
    inline_ignores: bool = True,
    listing: bool = False,
    parsers: bool = False,
) -> Prepared:
    """The rules of the settings with these selectors over them, which are the stronger ones.

    Raises UnknownName for a rule or topic that does not exist.
    """
    wanted = loaded.settings.lint
    load()
    for name in wanted.severity:
        if name not in RULES:
            raise UnknownName("rule", name, RULES)
    # Who makes a warning of a note that is off wants to be warned.
    raised = [name for name, level in wanted.severity.items() if level != "note"]
    layers = [
        (None, raised, ()),
        (wanted.select, wanted.extend_select, wanted.ignore),
        (chosen, extended, ignored),
    ]
    rules = select(RULES, layers)
    settings = Settings(
        severities={name: Severity(level) for name, level in wanted.severity.items()},
        per_recording=tuple((glob, _named(names)) for glob, names in wanted.per_recording.items()),
        scopes=tuple(
            Scope(
                _named(scope.ignore), scope.reason, scope.host, scope.path, scope.status, scope.direction,
                scope.expires,
            )
            for scope in wanted.scope
        ),
        inline_ignores=inline_ignores,
        # A transcript may name its own profile where the user named none.
        profiled=loaded.settings.profile is None,
        listing=listing,
        parsers=parsers,
    )  # fmt: skip
    return Prepared(rules, settings)


def _named(selectors: Iterable[str]) -> frozenset[str]:
    return frozenset(select(RULES, [(selectors, (), ())]))

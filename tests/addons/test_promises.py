"""What a rule's ``fix`` promises, over every example of every rule, with the real addons.

After its addon no Bad example of a rule fires, the suite makes nothing fire that was silent, and running it again
changes nothing. Rules about what a client does over time are left out: an addon can only ask it to stop.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from conformance import mitm, offline, recording
from conformance.addon import addons
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Legs
from conformance.rule import load
from conformance.settings import load as load_settings

RULES = load()
(_suite,) = mitm.script_addons(addons()["suite"].path)
ORDER = sys.modules[type(_suite).__module__].ORDER
EXAMPLES = [
    pytest.param(rule, example, id=f"{rule.name}-{number}")
    for rule in RULES.values()
    for number, example in enumerate(rule.examples)
    if ">>" not in example.transcript  # octets: no addon sees them
]
FIXED = [
    case
    for case in EXAMPLES
    if case.values[1].bad and case.values[0].fix in ORDER and case.values[0].scope != "Turn"
]

UNJUDGED = {
    "unrequested-101",
    "unrequested-transfer-coding",
    "undeclared-trailer",
    "header-added-by-hop",
    "via-missing",
    "408-without-close",
} | {name for name, rule in RULES.items() if rule.scope == "Turn"}
"""What a recording cannot show: an upgrade or a transfer coding that is no longer asked for is not granted, and a
client that is told how long to wait may wait. Trailers do without Trailer, on which gateways die; what is added is
added on purpose, and nobody adds mitmproxy to Via. Connection: close is for
whoever closes the connection, which is not the upstream any more."""

KEYS = """
[policy.auth]
data-key = "env:SGLANG_API_KEY"
control-key = "env:SGLANG_ADMIN_API_KEY"
[policy.inject-auth]
hosts = ["*"]
"""
SETTINGS = {
    "credentials-missing": KEYS,
    "control-plane-key-missing": KEYS,
    "data-key-on-control-plane": KEYS,
    "control-plane-key-on-data-path": KEYS,
    "server-version-disclosed": 'policy.response-headers.allow = ["x-request-id"]',
    "unknown-beta-token": "policy.betas.drop-unknown = true",
    "beta-token-rejected-by-upstream": 'policy.betas.unsupported = ["prompt-caching-scope-*"]',
}
"""What only the settings can say, and the fix needs: the keys, and which tokens are not to be sent."""

type Hop = Callable[[Exchange], Exchange | None]


@pytest.fixture(scope="module")
def hop(tmp_path_factory) -> Iterator[Callable[..., Hop]]:
    """``hop(names, profile, settings)``: sends exchanges through these addons; None: the request was refused."""
    with contextlib.ExitStack() as ends:
        made: dict[tuple[tuple[str, ...], str | None, str], offline.Offline] = {}

        def run(names: tuple[str, ...], profile: str | None, settings: str = "") -> Hop:
            key = names, profile, settings
            if key not in made:
                config = tmp_path_factory.mktemp("settings") / "hoplint.toml"
                config.write_text(settings)
                made[key] = ends.enter_context(offline.loaded(names, profile=profile, config=config))
            return lambda item: _sent(made[key], item)

        yield run


def _sent(addons: offline.Offline, item: Exchange) -> Exchange | None:
    if item.refusals or item.error:
        return item
    flow = mitm.flow_of(item)
    entries = addons.run(flow)
    assert addons.errors == []
    parts = {entry["part"] for entry in entries if entry["op"] == "refuse"}
    if "request" in parts:
        return None
    after = mitm.exchange_after(item, flow)
    return replace(after, response=None, frames=()) if "response" in parts else after


def read(example) -> tuple[list[Exchange], str | None]:
    found = recording.read("-", stdin=example.transcript.encode())
    return [item for item in found if isinstance(item, Exchange)], found.profile


def fired(items: list[Exchange], profile: str | None, through: Hop | None = None) -> set[str]:
    """The rules that fire on the exchanges, as they are or as they are behind the hop."""
    policy = load_settings(isolated=True, profile=profile).settings.policy
    linter = Linter(RULES, policy, Settings(), "example")
    legs: list[Legs] = []
    for item in items:
        if through is None:
            linter.take(item)
            continue
        if item.leg is not None:
            if item.leg == "server" and legs:
                legs[-1] = replace(legs[-1], server=item)
            else:
                legs.append(Legs(client=item, server=item))
        elif (sent := through(item)) is not None:
            linter.take(sent)
    for pair in legs:
        if any(each.error or each.refusals for each in pair.exchanges):
            continue  # what the hop made of it never arrived
        # The addons take the place of the hop: what it received goes through them.
        sent = through(replace(pair.client, response=pair.server.response, leg=None)) if through else None
        if sent is not None:
            linter.take_legs(
                Legs(
                    client=replace(pair.client, response=sent.response, leg=None),
                    server=replace(pair.server, request=sent.request, leg=None),
                )
            )
    linter.finish()
    assert linter.failures == []
    return {finding.rule for finding in linter.findings}


@pytest.mark.parametrize(("rule", "example"), FIXED)
def test_the_fix_fixes(rule, example, hop) -> None:
    items, profile = read(example)
    assert rule.name not in fired(items, profile, hop((rule.fix,), profile, SETTINGS.get(rule.name, "")))


@pytest.mark.parametrize(("rule", "example"), EXAMPLES)
def test_the_suite_disturbs_nothing(rule, example, hop) -> None:
    items, profile = read(example)
    through = hop(ORDER, profile)
    assert fired(items, profile, through) - UNJUDGED <= fired(items, profile)
    for item in items:
        once = through(item)
        again = None if once is None else through(once)
        if once is not None:
            assert again is not None
            for before, after in zip(once.messages, again.messages, strict=True):
                assert list(map(tuple, before.fields)) == list(map(tuple, after.fields))
                assert before.start_line == after.start_line


def test_every_fix_is_an_addon() -> None:
    assert {rule.fix for rule in RULES.values() if rule.fix} <= set(ORDER)

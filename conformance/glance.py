"""One flow at a glance: what was found in it, what addons changed, what the model answered, who served whom.

Plain text for people who look at flows in a proxy's user interface; credentials are masked, since what is on a
screen ends in screenshots.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from conformance import llm, secret
from conformance.history import History
from conformance.locate import shown_text
from conformance.message import Exchange, Message, Stream
from conformance.policy import Session
from conformance.rule import OWN_RULES, load
from conformance.transcript import escape

WIDTH = 100
SHOWN = 20_000
"""Characters of an answer that are shown."""


def text(
    items: Iterable[Exchange | Stream],
    findings: Sequence[Mapping[str, Any]] | None,
    session: Session,
    conversation: int | None = None,
) -> str:
    """What there is to say about a flow's exchanges; ``findings`` None: it was not linted yet."""
    lines = list(_findings(findings))
    for item in items:
        for exchange in item.exchanges if isinstance(item, Stream) else [item]:
            sections = {
                "whose": _whose(exchange, session, conversation),
                "changed by addons": _changes(exchange),
                "answer": _answer(exchange),
            }
            for title, section in sections.items():
                if shown := list(section):
                    # mitmweb leaves empty lines out: what follows needs a line of its own.
                    lines += ["", f"== {title} ==", *shown]
    return "\n".join(lines) + "\n"


def counted(findings: Iterable[Mapping[str, Any]]) -> str:
    """``2 errors, 1 warning``."""
    severities = [finding["severity"] for finding in findings]
    counts = [(severities.count(name), name) for name in ("error", "warning", "note")]
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count)


def _findings(findings: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    if findings is None:
        yield "Not linted yet."
        return
    if not findings:
        yield "No findings."
        return
    yield f"{counted(findings)}:"
    known = {**load(), **OWN_RULES}
    for finding in findings:
        rule = known.get(finding["rule"])
        where = f"{finding['part']}, {finding['field']}" if finding["field"] else finding["part"]
        yield ""
        yield f"{finding['severity']}[{finding['rule']}]  {where}, by the {finding['origin']}"
        yield from _wrapped(finding["why"])
        if rule is not None:
            yield from _wrapped(", ".join(rule.source))
            if rule.fix:
                yield f"    fix: addon {rule.fix}"


def _whose(exchange: Exchange, session: Session, conversation: int | None) -> Iterator[str]:
    """Session, deployment, conversation and upstream."""
    turn = History(session).turn(exchange)
    digest = turn.digest if turn is not None else None
    facts = {
        "conversation": str(conversation) if conversation else None,
        "session": digest and digest.session and f"{digest.session}  ({digest.session_field})",
        "model": digest and digest.model,
        "deployment": digest and digest.deployment,
        "upstream": exchange.upstream,
    }
    for name, value in facts.items():
        if value:
            yield f"{name + ':':<14}{shown_text(value)}"


def _changes(exchange: Exchange) -> Iterator[str]:
    """Each header section that addons rewrote, as a diff, and their reasons."""
    came = exchange.received
    if came is not None:
        pairs: tuple[tuple[Message | None, Message | None], ...] = (
            (came.request, exchange.request),
            (came.response, exchange.response),
        )
        for name, (before, after) in zip(("request", "response"), pairs, strict=True):
            if before is not None and after is not None and before is not after:
                yield from difflib.unified_diff(
                    _head(before), _head(after), f"{name} as it came in", f"{name} as it was sent",
                    n=100, lineterm="",
                )  # fmt: skip
    for edit in exchange.edits:
        yield f"{edit.addon}: {edit.op} {edit.field}".rstrip()
        yield from _wrapped(edit.why)


def _head(message: Message) -> list[str]:
    # Digests, not asterisks: that one credential has become another must be seen.
    fields = (
        f"{escape(line.name)}: {escape(secret.digested(line.name, line.value))}" for line in message.fields
    )
    return [escape(secret.mask_text(message.start_line)), *fields]


def _answer(exchange: Exchange) -> Iterator[str]:
    """The model's answer, put together from the events of a stream."""
    told = llm.reply(exchange)
    if told is None:
        return
    finish = ", ".join(filter(None, told.finish.values())) or "no reason given"
    whole = "" if told.is_whole else "; the recording does not show that this is all"
    yield f"{shown_text(told.model or 'a model that is not named')} (finish: {finish}{whole}):"
    if told.error:
        yield from _wrapped(f"error: {told.error}")
    for paragraph in told.text[:SHOWN].splitlines():
        yield from _wrapped(paragraph) if paragraph.strip() else [""]
    if len(told.text) > SHOWN:
        yield f"    ... {len(told.text) - SHOWN} more characters"
    for call in told.calls:
        arguments = call.arguments if isinstance(call.arguments, str) else str(call.arguments or "")
        yield from _wrapped(f"call {call.name or '?'}({arguments[:SHOWN]})")


def _wrapped(words: str) -> list[str]:
    shown = secret.mask_text(words.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
    return textwrap.wrap(
        shown, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )

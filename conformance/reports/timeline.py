"""A recording's exchanges in time, as SVG: a lane for each connection, and one for each conversation.

Positions are shares of the width and everything else is in pixels, so that the text is readable at any width.
The table of exchanges beside it says the same in words.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from html import escape as _escape

from conformance.finding import Entry
from conformance.reports import wording
from conformance.rule import Severity
from conformance.secret import printable

_LANES = 60
"""Lanes that are drawn."""
_HEIGHT = 46
_TICKS = 4

_NAMED = 8
"""Conversations of a connection that are named."""
_ROOM = 3.0
"""Per cent of the width that a bar needs to bear its exchange's number."""

type _Across = Callable[[Iterable[Entry]], str]
"""What to say of a lane besides its name and length."""
type Found = Mapping[int, Severity]
"""The gravest finding of an exchange, by its number."""


def timeline(entries: Iterable[Entry], found: Found, link: Callable[[int], str | None]) -> str:
    """Both pictures, each with its caption. ``link`` gives the address of an exchange on the page."""
    listed = list(entries)
    if not listed:
        return ""
    begun = [entry.started for entry in listed if entry.started is not None]
    timed = len(begun) == len(listed)
    if timed:
        start = min(begun)
        length = max((entry.ended or entry.started or start) - start for entry in listed) or 1.0
        spans = {
            e.number: ((e.started or start) - start, (e.ended or e.started or start) - start) for e in listed
        }
        shown = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        said = f"From {shown}, for {_seconds(length)}."
    else:
        length = float(len(listed))
        spans = {entry.number: (float(at), at + 1.0) for at, entry in enumerate(listed)}
        said = "Not every exchange has its time recorded: they stand in the order of the recording."

    def draw(name: str, key: Callable[[Entry], Hashable], unknown: str, across: _Across) -> str:
        lanes: dict[Hashable, list[Entry]] = {}
        for entry in listed:
            lanes.setdefault(key(entry), []).append(entry)
        nameless = lanes.pop(None, [])
        pieces: list[str] = []
        for number, (label, members) in enumerate(lanes.items(), 1):
            text = f"{name} {label if isinstance(label, int) else number}, {wording.plural(len(members), 'exchange')}"
            text += across(members)
            pieces.append(_lane(number - 1, text, members, spans, length, found, link))
        if nameless:
            text = f"{unknown}, {wording.plural(len(nameless), 'exchange')}"
            pieces.append(_lane(len(lanes), text, nameless, spans, length, found, link))
        cut = len(pieces) - _LANES
        more = (
            f" {wording.plural(cut, 'lane')} more {'is' if cut == 1 else 'are'} not drawn." if cut > 0 else ""
        )
        height = min(len(pieces), _LANES) * _HEIGHT + 24
        count = wording.plural(len(lanes), name) if lanes else f"no {name} recorded"
        return (
            f'<figure><figcaption class="dim">{escape(count)}. {escape(said)}{more}</figcaption>'
            f'<svg role="group" aria-label="{escape(f"{count} over time; the table of exchanges says the same")}" '
            f'height="{height}">{_axis(length, height, timed=timed)}{"".join(pieces[:_LANES])}</svg></figure>'
        )

    pictures = [draw("connection", lambda e: e.connection, "connection not recorded", _conversations)]
    if any(entry.conversation is not None for entry in listed):
        pictures.append(draw("conversation", lambda e: e.conversation, "no conversation", _connections))
    return "".join(pictures)


def _conversations(entries: Iterable[Entry]) -> str:
    numbers = sorted({entry.conversation for entry in entries if entry.conversation is not None})
    if not numbers:
        return ""
    shown = ", ".join(map(str, numbers[:_NAMED])) + (", ..." if len(numbers) > _NAMED else "")
    return f" of conversation{'s' if len(numbers) > 1 else ''} {shown}"


def _connections(entries: Iterable[Entry]) -> str:
    count = len({entry.connection for entry in entries if entry.connection is not None})
    return f" on {wording.plural(count, 'connection')}" if count else ""


def began(entry: Entry, first: float) -> str:
    """When an exchange began, counted from the first one."""
    return "" if entry.started is None else f"+{_seconds(entry.started - first)}"


def took(entry: Entry) -> str:
    """How long an exchange took."""
    return "" if entry.started is None or entry.ended is None else _seconds(entry.ended - entry.started)


def outcome(entry: Entry) -> str:
    """What came of it, in a word or three."""
    if entry.is_lost:
        return "lost" if entry.status is None else f"{entry.status}, cut off"
    return "no response" if entry.status is None else str(entry.status)


def _lane(
    at: int,
    label: str,
    entries: Iterable[Entry],
    spans: Mapping[int, tuple[float, float]],
    length: float,
    found: Found,
    link: Callable[[int], str | None],
) -> str:
    top = at * _HEIGHT + 6
    pieces = [f'<text x="6" y="{top + 11}">{escape(label)}</text>']
    for entry in entries:
        start, stop = spans[entry.number]
        left = 0.5 + 99 * start / length
        width = max(0.4, 99 * (stop - start) / length)
        kind = "lost" if entry.is_lost or entry.status is None else "failed" if entry.status >= 400 else "ok"
        said = f"exchange {entry.number}: {entry.method} {entry.host}{entry.path}, {outcome(entry)}"
        if duration := took(entry):
            said += f", {duration}"
        shape = (
            f'<rect class="{kind}" x="{left:.2f}%" y="{top + 18}" width="{width:.2f}%" height="15" rx="2">'
            f"<title>{escape(said)}</title></rect>"
        )
        middle = left + width / 2
        if width >= _ROOM:
            shape += f'<text class="on" x="{middle:.2f}%" y="{top + 30}" text-anchor="middle">{entry.number}</text>'
        if entry.number in found:
            shape += f'<circle class="{found[entry.number]}" cx="{left:.2f}%" cy="{top + 33}" r="4.5"/>'
        address = link(entry.number)
        pieces.append(f'<a href="#{address}" aria-label="{escape(said)}">{shape}</a>' if address else shape)
    return "".join(pieces)


def _axis(length: float, height: int, *, timed: bool) -> str:
    pieces: list[str] = []
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        at = 0.5 + 99 * share
        anchor = "start" if tick == 0 else "end" if tick == _TICKS else "middle"
        pieces.append(f'<line x1="{at:.2f}%" x2="{at:.2f}%" y1="0" y2="{height - 20}"/>')
        if timed:
            pieces.append(
                f'<text class="dim" x="{at:.2f}%" y="{height - 6}" text-anchor="{anchor}">+{_seconds(length * share)}</text>'
            )
    return "".join(pieces)


def _seconds(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return (
        f"{seconds:.1f} s"
        if seconds >= 10
        else f"{seconds * 1000:.0f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )


def escape(text: str) -> str:
    """The text for any place in the page: printable, and nothing in it means anything to HTML."""
    return _escape(printable(text), quote=True)

"""One page with everything, to be kept or attached: nothing is loaded, and without JavaScript only the filter is missing.

All that comes from a recording goes through ``escape``. The page forbids itself everything but its own style and
script, by their digests, so that even what slipped through could not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from conformance import breaks
from conformance.finding import Entry, Finding, Head, Look, Quote, Run, Summary
from conformance.reports import timeline, wording
from conformance.reports.timeline import escape
from conformance.rule import Rule, Severity

_KINDS = 50
"""Findings of one rule that are shown, when they say different things."""
_EXCHANGES = 500
"""Exchanges with findings that are shown."""
_COLUMNS = 40
"""Recordings in the grid."""
_IGNORED = 500
_VERDICTS = 1000

type Place = tuple[str, int]
"""A recording, and an exchange in it; 0: outside of any."""


def report(run: Run, look: Look) -> str:
    """The whole run as one page."""
    style, script = (Path(__file__).with_suffix(kind).read_text(encoding="utf-8") for kind in (".css", ".js"))
    title = f"hoplint: {wording.plural(len(run.findings), 'finding')}"
    allowed = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    places = _by_exchange(run)
    ids = {place: f"x{number}" for number, place in enumerate(list(places)[:_EXCHANGES])}
    sections = [
        ("summary", "Summary", _summary(run)),
        ("rules", "Findings by rule", _rules(run, ids)),
        ("exchanges", "Findings by exchange", _exchanges(run, places, ids)),
        ("timeline", "Timeline", _timelines(run, places, ids)),
        ("parsers", "Parsers", _parsers(run)),
        ("grid", "Rules and recordings", _grid(run)),
        ("ignored", "Ignored", _ignored(run)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in sections)
    body = "".join(
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{heading}</h2>{content}</section>\n'
        for name, heading, content in sections
    )
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#rules">Skip to the findings</a>
<header><h1>{escape(title)}</h1><p>{escape(wording.tally(run))}</p>
<nav aria-label="Sections">{links}</nav></header>
{_FILTER if run.findings else ""}
<main>
{body}</main>
<footer>hoplint {escape(version("hoplint"))}. A clean report says only what the recordings can show.</footer>
{f"<script>{script}</script>" if run.findings else ""}
</body>
</html>
"""


_FILTER = """\
<form id="filter" class="filter" role="search" hidden>
<label for="words">Filter</label>
<input type="search" id="words" autocomplete="off" placeholder="rule, path, field, words of a finding">
<label><input type="checkbox" name="level" value="error" checked> errors</label>
<label><input type="checkbox" name="level" value="warning" checked> warnings</label>
<label><input type="checkbox" name="level" value="note" checked> notes</label>
<output id="told" for="words" aria-live="polite"></output>
</form>"""


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _by_exchange(run: Run) -> dict[Place, list[Finding]]:
    places: dict[Place, list[Finding]] = {}
    for finding in run.findings:
        places.setdefault((finding.at.recording, finding.at.exchange or 0), []).append(finding)
    return places


def _gravest(findings: Iterable[Finding]) -> Severity:
    return min((finding.severity for finding in findings), key=lambda severity: severity.rank)


def _levels(findings: Iterable[Finding]) -> str:
    return " ".join(sorted({str(finding.severity) for finding in findings}))


def _summary(run: Run) -> str:
    tiles = [
        (run.count(severity), f"{severity}s", str(severity) if run.count(severity) else "")
        for severity in Severity
    ]
    tiles += [
        (len(run.suppressed) - run.baselined, "ignored", ""),
        *([(run.baselined, "baselined", "")] if run.baselined else []),
        (sum(summary.exchanges for summary in run.recordings), "exchanges", ""),
    ]
    shown = "".join(f'<li><strong class="{kind}">{count}</strong>{name}</li>' for count, name, kind in tiles)
    shown += f"<li><strong>{len(run.exercised)}</strong>of {wording.plural(len(run.rules), 'rule')} could be decided</li>"
    failures = "".join(f"<li>{escape(text)}</li>" for _, text in wording.failures(run))
    if failures:
        failures = (
            '<div class="alert"><strong class="error">Not everything could be linted</strong>'
            f"<ul>{failures}</ul></div>"
        )
    counts = Counter(finding.at.recording for finding in run.findings)
    rows = "".join(
        f'<tr><td class="n">{number}</td><th scope="row" class="long path">{escape(summary.path)}</th>'
        f'<td>{escape(summary.kind)}</td><td class="n">{summary.exchanges}</td><td class="n">{counts[summary.path]}</td>'
        f'<td class="n">{len(summary.exercised)}</td><td class="long">{escape(" ".join(summary.notes))}</td></tr>'
        for number, summary in enumerate(run.recordings, 1)
    )
    head = _columns(
        "n:#", "recording", "kind", "n:exchanges", "n:findings", "n:rules it could decide", "notes"
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.notes)
    notes += "".join(
        f"<li>{wording.plural(count, 'change')} in flight by {escape(addon)}, as recorded</li>"
        for addon, count in sorted(run.edits.items())
    )
    return (
        f'<ul class="tiles">{shown}</ul>{failures}'
        f'<div class="wide"><table><caption>Recordings</caption>{head}<tbody>{rows}</tbody></table></div>'
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _rules(run: Run, ids: Mapping[Place, str]) -> str:
    if not run.findings:
        return '<p><strong class="good">Nothing was found.</strong></p>'
    by_rule: dict[str, list[Finding]] = {}
    for finding in sorted(run.findings, key=lambda finding: finding.severity.rank):
        by_rule.setdefault(finding.rule, []).append(finding)
    return _NONE + "".join(_rule(run, run.rule(name), found, ids) for name, found in by_rule.items())


_NONE = '<p class="none dim" hidden>Nothing here matches the filter.</p>'


def _rule(run: Run, rule: Rule, findings: list[Finding], ids: Mapping[Place, str]) -> str:
    level = _gravest(findings)
    groups = wording.grouped(findings)
    shown = "".join(_group(group, ids) for group in groups[:_KINDS])
    if len(groups) > _KINDS:
        shown += f"<p>and {wording.plural(len(groups) - _KINDS, 'more kind')} of it</p>"
    why = wording.paragraph(rule)
    return (
        f'<article class="{level}" data-level="{_levels(findings)}"><h3>'
        f'<span class="severity {level}">{level}</span> <span class="rule">{escape(rule.name)}</span> '
        f'<span class="dim">{wording.plural(len(findings), "finding")}</span></h3>'
        f"<p><strong>{escape(rule.summary)}</strong></p>{f'<p>{escape(why)}</p>' if why else ''}"
        f"{_facts(run, rule, findings)}"
        f"<details{' open' if len(groups) <= 3 else ''}><summary>Where</summary>{shown}</details></article>\n"
    )


def _facts(run: Run, rule: Rule, findings: Iterable[Finding]) -> str:
    cited = "".join(
        escape(separator) + (f'<a href="{escape(url)}">{escape(shown)}</a>' if url else escape(shown))
        for separator, shown, url in wording.sources(rule)
    )
    facts = [("source", cited)]
    for chokes in dict.fromkeys(breaks.of_finding(rule, finding) for finding in findings):
        if chokes.refused:
            facts.append(("breaks", escape("; ".join(chokes.refused))))
        if chokes.others:
            facts.append(("elsewhere", escape(chokes.others)))
    if rule.fix in run.addons:
        facts.append(
            ("fix", f"<code>mitmdump -s &quot;$(hoplint addons {escape(rule.fix or '')})&quot;</code>")
        )
    rows = "".join(f"<dt>{label}</dt><dd>{text}</dd>" for label, text in facts)
    return f'<dl class="facts">{rows}</dl>'


def _group(group: list[Finding], ids: Mapping[Place, str]) -> str:
    first = group[0]
    also = f'<p class="dim">also in {escape(wording.others(group))}</p>' if len(group) > 1 else ""
    where = f'<span class="path">{escape(wording.where(first))}</span>'
    if place := ids.get((first.at.recording, first.at.exchange or 0)):
        where = f'<a href="#{place}">{where}</a>'
    return (
        f"<p>{escape(first.why)}<br>{where} "
        f'<span class="dim">{escape(wording.place(first))}</span></p>{_quotes(first)}{also}'
    )


def _quotes(finding: Finding) -> str:
    lines = "".join(_line(quote, finding.severity) for quote in finding.quotes)
    return f"<pre>{lines}</pre>" if lines else ""


def _line(quote: Quote, severity: Severity) -> str:
    number = "" if quote.number is None else f'<span class="number">{quote.number:>4} </span>'
    tag, kind = ("mark", str(severity)) if quote.marked else ("span", "line")
    return f'<{tag} class="{kind}">{number}{escape(quote.text)}</{tag}>'


def _exchanges(run: Run, places: Mapping[Place, list[Finding]], ids: Mapping[Place, str]) -> str:
    if not places:
        return ""
    entries = {(summary.path, entry.number): entry for summary in run.recordings for entry in summary.entries}
    by_recording: dict[str, list[str]] = {}
    for place, name in ids.items():
        article = _exchange(place[1], name, places[place], entries.get(place))
        by_recording.setdefault(place[0], []).append(article)
    pieces = [
        f'<div class="of-recording"><h3 class="path">{escape(path)}</h3>{"".join(articles)}</div>'
        for path, articles in by_recording.items()
    ]
    if len(places) > len(ids):
        more = wording.plural(len(places) - len(ids), "more exchange")
        pieces.append(f"<p>The list is cut here: {more} with findings did not fit.</p>")
    return _NONE + "".join(pieces)


def _exchange(number: int, name: str, findings: list[Finding], entry: Entry | None) -> str:
    level = _gravest(findings)
    first = findings[0]
    asked = f"{entry.method} {entry.host}{entry.path}" if entry else wording.asked(first)
    came = f" → {timeline.outcome(entry)}" if entry else ""
    heading = f"exchange {number}" if number else wording.place(first)
    blocks, loose = _heads(entry.heads if entry else (), findings)
    items = "".join(
        f'<li><span class="severity {finding.severity}">{finding.severity}</span> '
        f'<span class="rule">{escape(finding.rule)}</span>: {escape(finding.why)}'
        f"{_quotes(finding) if at in loose else ''}</li>"
        for at, finding in enumerate(findings)
    )
    return (
        f'<article class="{level}" id="{name}" data-level="{_levels(findings)}">'
        f'<h4>{escape(heading)} <span class="dim path">{escape(asked)}{escape(came)}</span></h4>'
        f"<ol>{items}</ol>{blocks}</article>\n"
    )


def _heads(heads: Iterable[Head], findings: list[Finding]) -> tuple[str, set[int]]:
    """The messages' heads with the lines marked that findings are about; and which findings have no line there."""
    loose = set(range(len(findings)))
    blocks: list[str] = []
    for head in heads:
        marks: dict[int, list[int]] = {}
        for number, finding in enumerate(findings):
            line = 0 if finding.at.index is None else finding.at.index + 1
            quote = next((quote.text for quote in finding.quotes if quote.marked), None)
            # Compared by their text too: there may be several responses (1xx), and a part says only "response".
            if head.part == finding.at.part and line < len(head.lines) and head.lines[line] == quote:
                marks.setdefault(line, []).append(number)
                loose.discard(number)
        lines = [
            _marked(text, marks[at], findings) if at in marks else f'<span class="line">{escape(text)}</span>'
            for at, text in enumerate(head.lines)
        ]
        if head.cut:
            lines.append(f'<span class="line dim">({wording.plural(head.cut, "more line")})</span>')
        blocks.append(f"<pre>{''.join(lines)}</pre>")
    return "".join(blocks), loose


def _marked(text: str, numbers: list[int], findings: list[Finding]) -> str:
    level = _gravest(findings[number] for number in numbers)
    which = ", ".join(str(number + 1) for number in numbers)
    return f'<mark class="{level}">{escape(text)} <span class="number" title="finding {which}">← {which}</span></mark>'


def _timelines(run: Run, places: Mapping[Place, list[Finding]], ids: Mapping[Place, str]) -> str:
    pieces = [_timeline(summary, places, ids) for summary in run.recordings if summary.entries]
    if not pieces:
        return ""
    key = (
        '<p class="dim"><span class="key"></span> answered · <span class="key failed"></span> status 4xx or 5xx · '
        '<span class="key lost"></span> lost or without response · <span class="key found"></span> something was found</p>'
    )
    return key + "".join(pieces)


def _timeline(summary: Summary, places: Mapping[Place, list[Finding]], ids: Mapping[Place, str]) -> str:
    found = {
        entry.number: _gravest(places[summary.path, entry.number])
        for entry in summary.entries
        if (summary.path, entry.number) in places
    }
    first = min((entry.started for entry in summary.entries if entry.started is not None), default=0.0)
    rows = "".join(
        f'<tr><td class="n">{_linked(entry.number, ids.get((summary.path, entry.number)))}</td>'
        f'<td class="n">{timeline.began(entry, first)}</td><td class="n">{timeline.took(entry)}</td>'
        f'<td class="long path">{escape(f"{entry.method} {entry.host}{entry.path}")}</td><td>{timeline.outcome(entry)}</td>'
        f'<td class="long">{escape(entry.connection or "")}</td><td class="n">{entry.conversation or ""}</td>'
        f'<td class="n">{len(places.get((summary.path, entry.number), ()))}</td></tr>'
        for entry in summary.entries
    )
    head = _columns(
        "n:#", "n:began", "n:took", "request", "outcome", "connection", "n:conversation", "n:findings"
    )
    cut = summary.exchanges - len(summary.entries)
    more = f"<p>{wording.plural(cut, 'more exchange')} did not fit here.</p>" if cut > 0 else ""
    return (
        f'<h3 class="path">{escape(summary.path)}</h3>'
        f"{timeline.timeline(summary.entries, found, lambda number: ids.get((summary.path, number)))}"
        f'<details><summary>All of these exchanges as a table</summary><div class="wide"><table>{head}'
        f"<tbody>{rows}</tbody></table></div></details>{more}"
    )


def _linked(number: int, address: str | None) -> str:
    return f'<a href="#{address}">{number}</a>' if address else str(number)


def _grid(run: Run) -> str:
    counts = Counter((finding.rule, finding.at.recording) for finding in run.findings)
    # The gravest comes last, and stays.
    levels = {f.rule: f.severity for f in sorted(run.findings, key=lambda f: -f.severity.rank)}
    names = sorted(run.rules.keys() | levels)
    broken = sorted((name for name in names if name in levels), key=lambda name: levels[name].rank)
    shown = run.recordings[:_COLUMNS]
    head = _columns("rule", *(f"c:{number}" for number in range(1, len(shown) + 1)))

    def row(name: str) -> str:
        cells = []
        for summary in shown:
            if count := counts[name, summary.path]:
                cells.append(f'<td class="c {levels[name]}">{count}</td>')
            else:
                cells.append(f'<td class="c dim">{"0" if name in summary.exercised else "–"}</td>')
        return f'<tr><th scope="row" class="path">{escape(name)}</th>{"".join(cells)}</tr>'

    def table(names: Iterable[str]) -> str:
        return f'<div class="wide"><table>{head}<tbody>{"".join(map(row, names))}</tbody></table></div>'

    rest = [name for name in names if name not in levels]
    silent = sum(name not in run.exercised for name in rest)
    more = len(run.recordings) - len(shown)
    return (
        '<p class="dim">Columns are the recordings by their number in the summary. A number: findings; '
        "0: decided, nothing found; –: the recording cannot show it.</p>"
        + (table(broken) if broken else "")
        + f"<details><summary>{wording.plural(len(rest), 'rule')} without findings, {silent} of them not decidable "
        f"on this evidence</summary>{table(rest)}</details>"
        + (f"<p>{wording.plural(more, 'more recording')} did not fit here.</p>" if more > 0 else "")
    )


def _parsers(run: Run) -> str:
    """Which real parser takes what, message by message; empty where they were not asked."""
    return "".join(_asked(summary) for summary in run.recordings if summary.parsers)


def _asked(summary: Summary) -> str:
    counts = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="n">{asked}</td><td class="n">{refused}</td></tr>'
        for name, (asked, refused) in summary.parsers.items()
    )
    rows = "".join(
        f'<tr><td class="n">{one.exchange}</td><td>{one.part}</td><td>{escape(one.parser)}</td>'
        f'<td class="{"dim" if one.refusal is None else "error"}">{escape(one.refusal or "takes it")}</td></tr>'
        for one in summary.heard[:_VERDICTS]
    )
    head, more = _columns("n:exchange", "part", "parser", "says"), len(summary.heard) - _VERDICTS
    said = (
        "<details><summary>What each said of the messages that not all of them take</summary>"
        f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'
        + (f"<p>{wording.plural(more, 'more verdict')} did not fit here.</p>" if more > 0 else "")
        + "</details>"
    )
    return (
        f'<h3 class="path">{escape(summary.path)}</h3><div class="wide"><table>'
        f"{_columns('parser', 'n:messages', 'n:refused')}<tbody>{counts}</tbody></table></div>"
        + (said if rows else "")
    )


def _ignored(run: Run) -> str:
    rows = "".join(
        f'<tr><td class="rule">{escape(one.finding.rule)}</td><td class="path">{escape(wording.where(one.finding))}</td>'
        f"<td>{escape(one.by)}</td><td>{escape(one.reason)}</td><td>{escape(one.finding.why)}</td></tr>"
        for one in run.suppressed[:_IGNORED]
    )
    if not rows:
        return ""
    more = len(run.suppressed) - _IGNORED
    return (
        f'<div class="wide"><table>{_columns("rule", "where", "by", "reason", "finding")}<tbody>{rows}</tbody></table></div>'
        + (f"<p>{wording.plural(more, 'more finding')} did not fit here.</p>" if more > 0 else "")
    )


def _columns(*names: str) -> str:
    cells = []
    for name in names:
        kind, colon, label = name.rpartition(":")
        cells.append(f'<th scope="col"{f" class={kind}" if colon else ""}>{escape(label)}</th>')
    return f"<thead><tr>{''.join(cells)}</tr></thead>"

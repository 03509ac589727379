"""Known findings, so that only new ones fail: a file that is written once and kept beside the recordings.

A finding is known by its rule and fingerprint, which stay the same when the run is recorded again. The count
matters: the 51st of 50 known ones is new. One line for each, sorted, so that a merge of two is readable.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from conformance.atomic import replacing
from conformance.finding import Finding, Run, Suppressed

VERSION = 1

type Known = Counter[tuple[str, str]]
"""(rule, fingerprint) -> how many there are."""


class BaselineError(ValueError):
    """A baseline that cannot be read or written; one line that names it."""


def read(path: Path) -> Known:
    """The findings that a baseline knows. Raises BaselineError."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as problem:
        hint = "; --write-baseline makes one" if isinstance(problem, FileNotFoundError) else ""
        raise BaselineError(f"{path}: {problem.strerror}{hint}") from None
    except (ValueError, RecursionError):
        raise BaselineError(f"{path}: is no baseline: it is not JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("findings"), list):
        raise BaselineError(f"{path}: is no baseline: it has no list of findings")
    if document.get("version") != VERSION:
        raise BaselineError(f"{path}: is a baseline of another version than {VERSION}, which is read here")
    known: Known = Counter()
    for number, entry in enumerate(document["findings"], 1):
        known[_key(path, number, entry)] += entry["count"]
    return known


def _key(path: Path, number: int, entry: Any) -> tuple[str, str]:
    match entry:
        case {"rule": str(rule), "fingerprint": str(fingerprint), "count": int(count)} if count > 0:
            return rule, fingerprint
    raise BaselineError(f"{path}: finding {number}: needs a rule, a fingerprint and a count above 0")


def write(path: Path, known: Known) -> None:
    """Write a baseline, replacing the one that is there as a whole. Raises BaselineError."""
    lines = [
        json.dumps({"rule": rule, "fingerprint": fingerprint, "count": count})
        for (rule, fingerprint), count in sorted(known.items())
    ]
    inside = "\n    " + ",\n    ".join(lines) + "\n  " if lines else ""
    text = f'{{\n  "version": {VERSION},\n  "findings": [{inside}]\n}}\n'
    try:
        with replacing(path) as (place, keep):
            place.write_text(text, encoding="utf-8")
            keep()
    except OSError as problem:
        raise BaselineError(f"{path}: cannot be written: {problem.strerror}") from None


def known_after(run: Run, before: Known, rules: Collection[str]) -> Known:
    """What a baseline shall know after this run: what was found now, and what the run says nothing about.

    That is what rules found that exist (``rules``) but were not selected; all else that is gone is pruned.
    """
    found: Known = Counter((finding.rule, finding.fingerprint) for finding in run.findings)
    for key, count in before.items():
        if key[0] in rules and key[0] not in run.rules:
            found.setdefault(key, count)
    return found


def apply(run: Run, known: Known, name: str) -> None:
    """Take the findings that are known out of the run's findings; notes say which are no longer there."""
    left = known.copy()
    new: list[Finding] = []
    for finding in run.findings:
        key = (finding.rule, finding.fingerprint)
        if left[key] > 0:
            left[key] -= 1
            run.suppressed.append(Suppressed(finding, "baseline", name))
        else:
            new.append(finding)
    run.findings = new
    gone = +Counter({key: count for key, count in left.items() if key[0] in run.rules})
    if gone:
        names = sorted({rule for rule, _ in gone})
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        findings = "finding was" if gone.total() == 1 else "findings were"
        run.notes.append(
            f"{name}: {gone.total()} known {findings} not seen ({shown}); if gone for good, --write-baseline prunes"
        )

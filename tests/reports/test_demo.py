from collections import Counter

from conformance.finding import Look, Run
from conformance.lint import check
from conformance.recording import Recording
from conformance.reports.demo import side_by_side
from conformance.rule import load

DOUBLED = b"""\
> GET / HTTP/1.1
> Host: a
< HTTP/1.1 200 OK
< Date: Fri, 20 Nov 2026 03:14:15 GMT
< Content-Length: 0
< Server: a
< Server: b
"""


def ways():
    before = check([Recording("-", DOUBLED)], {"duplicate-server": load()["duplicate-server"]})
    after = Run(before.rules, edits=Counter({"dedupe-headers": 2, "other": 1}))
    return {"bare": ([(False, "refuses")], before), "mended": ([(True, "reads")], after)}


def test_side_by_side() -> None:
    shown = side_by_side(["JSON"], ways(), Look(width=80))
    words = [line.split() for line in shown.splitlines()]
    assert ["JSON", "refuses", "reads"] in words
    assert ["duplicate-server", "1", "-"] in words
    assert ["in", "all", "1", "error", "none"] in words
    assert ["changed", "in", "flight", "nothing", "2", "by", "dedupe-headers"] in words
    assert ["1", "by", "other"] in words
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown


def test_colour_where_it_is_asked_for() -> None:
    assert "\x1b[31mrefuses" in side_by_side(["JSON"], ways(), Look(color=True, width=80))

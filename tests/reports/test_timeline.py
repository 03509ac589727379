import re
from dataclasses import replace

from conformance.finding import Entry
from conformance.reports import timeline
from conformance.rule import ERROR

ONE = Entry(1, "GET", "a", "/", 200, False, 100.0, 101.5, "c1", 1)


def draw(*entries: Entry) -> str:
    return timeline.timeline(entries, {2: ERROR}, lambda number: f"x{number}" if number == 2 else None)


def test_lanes() -> None:
    other = replace(ONE, number=2, status=500, started=103.0, ended=104.0, connection="c2")
    text = draw(
        ONE, other, replace(other, number=3, connection=None, conversation=None, status=None, ended=None)
    )
    assert text.count("<figure>") == 2
    assert "connection 1, 1 exchange of conversation 1<" in text
    assert "connection not recorded, 1 exchange<" in text
    assert "conversation 1, 2 exchanges on 2 connections<" in text
    assert "From 1970-01-01 00:01:40 UTC, for 4.00 s." in text
    assert text.count('<a href="#x2"') == text.count("<circle") == 2
    assert {"ok", "failed", "lost"} == set(re.findall(r'<rect class="(\w+)"', text))


def test_without_times_and_conversations() -> None:
    text = draw(ONE, replace(ONE, number=2, started=None), replace(ONE, number=3))
    assert "in the order of the recording" in text
    bare = [replace(ONE, number=n, conversation=None) for n in (1, 2)]
    assert draw(*bare).count("<figure>") == 1
    assert draw() == ""


def test_no_span_at_all() -> None:
    assert "NaN" not in draw(replace(ONE, ended=None))
    assert 'width="0.40%"' in draw(replace(ONE, ended=100.0))


def test_many_lanes_are_cut() -> None:
    entries = [replace(ONE, number=n, connection=f"c{n}", conversation=n) for n in range(1, 100)]
    text = draw(*entries)
    assert text.count("39 lanes more are not drawn") == 2
    assert text.count("<rect") == 120


def test_nothing_recorded_is_markup() -> None:
    text = draw(replace(ONE, number=2, method="<b>", host='"><script>', path="&\x1b"))
    assert "<b>" not in text
    assert "<script>" not in text
    assert "\x1b" not in text


def test_words() -> None:
    assert timeline.took(ONE) == "1.50 s"
    assert timeline.took(replace(ONE, ended=None)) == ""
    assert timeline.began(replace(ONE, started=100.25), 100.0) == "+250 ms"
    assert timeline.began(replace(ONE, started=400.0), 100.0) == "+5.0 min"
    assert timeline.began(replace(ONE, started=36100.0), 100.0) == "+10.0 h"
    assert timeline.outcome(ONE) == "200"
    assert timeline.outcome(replace(ONE, is_lost=True)) == "200, cut off"
    assert timeline.outcome(replace(ONE, status=None)) == "no response"
    assert timeline.outcome(replace(ONE, status=None, is_lost=True)) == "lost"

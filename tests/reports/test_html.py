import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from conformance.finding import Look, Run
from conformance.reports import html
from conformance.reports.html import report

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """The page as a browser reads it; fails where a tag is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(run: Run) -> Page:
    return Page(report(run, Look()))


def test_hostile(hostile: Run, golden, harmless) -> None:
    text = report(hostile, Look())
    body = re.sub(r"(?s)<(style|script)>.*?</\1>", r"<\1></\1>", text)
    golden("hostile.html", re.sub(r"sha256-[^']+", "DIGEST", body))
    harmless(body)
    assert text.isprintable() or not re.search(r"[\x00-\x09\x0b-\x1f]", body)
    found = Page(text)
    assert [len(found.all(tag)) for tag in ("script", "style", "img", "iframe", "object", "link")] == [
        1,
        1,
        0,
        0,
        0,
        0,
    ]
    for tag, attributes in found.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")
        ], tag
    addresses = [attributes["href"] or "" for attributes in found.all("a")]
    assert {a.split("/")[2] for a in addresses if not a.startswith("#")} == {
        "www.rfc-editor.org",
        "github.com",
    }
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {a[1:] for a in addresses if a.startswith("#")} <= set(ids)


def test_the_page_may_run_only_its_own_script(hostile: Run) -> None:
    text = report(hostile, Look())
    (policy,) = [m["content"] or "" for m in page(hostile).all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        inline = re.search(rf"(?s)<{tag}>(.*?)</{tag}>", text)
        assert inline is not None
        assert html._digest(inline[1]) in policy


def test_the_offending_line_is_marked_in_its_block(hostile: Run) -> None:
    text = report(hostile, Look())
    exchanges = text[text.index('<section id="exchanges"') : text.index('<section id="timeline"')]
    assert exchanges.count("<mark") == 15  # an X_ line in each of eight exchanges, and a Server line in seven
    assert "&lt; Set-Cookie: sid=***" in exchanges  # the whole block, not only the fields findings are about
    assert re.search(r'<mark class="error">&lt; Server: [^\n]*← 2', exchanges)


def test_findings_without_a_line_of_a_block_show_their_own(hostile: Run) -> None:
    stray = replace(hostile.findings[1].at, exchange=None, part="stream", stream=1, index=7)
    hostile.findings = [replace(hostile.findings[1], at=stray)]
    text = "".join(page(hostile).text)
    assert "octet 7 of stream 1" in text
    assert "Server: a" in text


def test_what_does_not_fit_is_said(hostile: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_KINDS", "_EXCHANGES", "_COLUMNS", "_IGNORED"):
        monkeypatch.setattr(html, name, 1)
    hostile.recordings[0].exchanges += 5
    text = "".join(page(hostile).text)
    assert "7 more kinds of it" in text
    assert "The list is cut here: 7 more exchanges" in text
    assert "1 more recording did not fit" in text
    assert "8 more findings did not fit" in text
    assert "5 more exchanges did not fit here" in text


def test_a_clean_run_has_no_filter_and_no_script(hostile: Run) -> None:
    hostile.findings.clear()
    found = page(hostile)
    assert found.all("script") == found.all("form") == []
    assert "Nothing was found." in found.text


def test_headings_and_landmarks(hostile: Run) -> None:
    found = page(hostile)
    assert len(found.all("h1")) == len(found.all("main")) == len(found.all("header")) == 1
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    labelled = {attributes["for"] for attributes in found.all("label") if "for" in attributes}
    assert "words" in labelled

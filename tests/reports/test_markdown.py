from html.parser import HTMLParser

from markdown_it import MarkdownIt

from conformance.finding import Look, Run
from conformance.reports import markdown
from conformance.reports.markdown import report

OURS = {
    "h2", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "details", "summary",
}  # fmt: skip


class Page(HTMLParser):
    """What is on the page that the text becomes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.inside: list[str] = []
        self.loose: list[str] = []
        """Text outside of code: there a mention is one."""
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside.append(tag)
        if tag == "a":
            self.links.add(dict(attrs)["href"] or "")
        else:
            self.tags.add(tag)
            assert {name for name, _ in attrs} <= {"style"}, (tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"code", "pre"} & set(self.inside):
            self.loose.append(data)


def test_hostile(hostile: Run, golden, harmless) -> None:
    text = report(hostile, Look())
    golden("hostile.md", text)
    harmless(text)
    page = Page(text)
    assert page.tags <= OURS, page.tags - OURS
    assert page.inside == []
    assert all(
        link.startswith(("https://www.rfc-editor.org/", "https://github.com/owner/")) for link in page.links
    )
    assert "@everyone" not in "".join(page.loose)
    assert "evil" not in "".join(page.loose)
    assert max(text.count("|") for text in text.splitlines() if text.startswith("|")) == 6


def test_a_clean_run() -> None:
    assert report(Run({}), Look()).startswith("## hoplint\n\n0 findings in 0 exchanges")


def test_it_is_cut_and_says_so(hostile: Run, monkeypatch) -> None:
    whole = report(hostile, Look())
    monkeypatch.setattr(markdown, "LIMIT", len(whole.encode()) - 2000)
    text = report(hostile, Look())
    assert len(text.encode()) <= markdown.LIMIT
    assert "The report is cut here" in text
    assert Page(text).inside == []


def test_many_findings_fit(hostile: Run) -> None:
    hostile.findings *= 2000
    hostile.suppressed *= 2000
    hostile.failures *= 2000
    assert len(report(hostile, Look()).encode()) < 1 << 20

import re

import pytest

from conformance import lint, recording
from conformance.finding import Look, Run
from conformance.reports.text import concise, full
from conformance.rule import load

DOUBLED = "> GET /{} HTTP/1.1\n> Host: api.example\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Server: a\n< Server: {}\n"


def run(*exchanges: str) -> Run:
    text = "\n".join(exchanges)
    rules = {"duplicate-server": load()["duplicate-server"]}
    outcome = lint.check([recording.read("-", stdin=text.encode())], rules)
    outcome.addons = frozenset({"dedupe-headers"})
    return outcome


def test_the_shape_of_a_compiler() -> None:
    lines = full(run(DOUBLED.format("x", "b")), Look()).split("\n")
    assert lines[:8] == [
        "error[duplicate-server]: Server 'b' repeats 'a'",
        " --> -:6  exchange 1, response",
        "  |",
        "1 | > GET /x HTTP/1.1",
        "3 | < HTTP/1.1 200 OK",
        "5 | < Server: a",
        "6 | < Server: b",
        "  |   ^^^^^^^^^",
    ]
    assert "  = RFC 9110 §5.3, §10.2.4; formerly RFC 7230 §3.2.2, RFC 7231 §7.4.2" in lines
    assert any(
        line.startswith("  = breaks: aiohttp 3.8.6-3.13.3 (Python parser); aiohttp 3.13.4;") for line in lines
    )
    assert '  = fix: mitmdump -s "$(hoplint addons dedupe-headers)"' in lines


def test_what_repeats_is_said_once_with_where_else() -> None:
    text = full(run(*(DOUBLED.format(n, "b") for n in range(5))), Look())
    assert text.count("error[duplicate-server]") == 1
    assert "also in: exchanges 2-5  (5 findings in all)" in text
    assert full(run(*(DOUBLED.format(n, "b") for n in range(5))), Look(verbose=True)).count("error[") == 5


def test_other_values_are_another_finding_but_the_rule_is_explained_once() -> None:
    text = full(run(DOUBLED.format(1, "b"), DOUBLED.format(2, "c")), Look())
    assert text.count("error[duplicate-server]") == 2
    assert text.count("pure-Python parser") == 1
    assert (text.count("= breaks:"), text.count("= elsewhere:")) == (2, 1)


def test_the_last_line_counts() -> None:
    last = full(run(DOUBLED.format(1, "b")), Look()).rstrip().split("\n")[-1]
    assert last.startswith("1 finding (1 error) in 1 exchange of 1 recording. 1 of 1 rule could be decided")
    assert "1 can be mended in flight: dedupe-headers" in last


def test_an_addon_that_is_not_installed_is_not_offered() -> None:
    outcome = run(DOUBLED.format(1, "b"))
    outcome.addons = frozenset()
    text = full(outcome, Look())
    assert "mitmdump" not in text
    assert "mended in flight" not in text
    assert "= fix: at the server" in text


def test_a_clean_run_is_one_line() -> None:
    text = full(run("> GET / HTTP/1.1\n< HTTP/1.1 204 No Content"), Look())
    assert text == "0 findings in 1 exchange of 1 recording. 1 of 1 rule could be decided on this evidence.\n"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_lines_fit_the_terminal(width: int) -> None:
    text = full(run(DOUBLED.format("p" * 300, "b" * 300)), Look(width=width))
    assert max(len(line) for line in text.split("\n")) <= width


def test_colour_only_when_asked() -> None:
    assert "\x1b" not in full(run(DOUBLED.format(1, "b")), Look())
    assert "\x1b[1;31m" in full(run(DOUBLED.format(1, "b")), Look(color=True))


@pytest.mark.parametrize("report", [full, concise])
def test_nothing_recorded_reaches_the_terminal_raw(report) -> None:
    text = report(run(DOUBLED.format("\\x1b]0;t\\x07", "\\x1b[2J\\x9b1m")), Look(verbose=True))
    assert re.sub(r"[\n …§]", "", text).isprintable()
    assert "\x1b" not in text


def test_concise_is_one_line_per_finding() -> None:
    lines = concise(run(DOUBLED.format(1, "b"), DOUBLED.format(2, "b")), Look()).split("\n")
    assert lines[0] == "-:6: error[duplicate-server] Server 'b' repeats 'a'"
    assert lines[1].startswith("-:13: error[duplicate-server]")


def test_statistics() -> None:
    text = concise(run(DOUBLED.format(1, "b"), DOUBLED.format(2, "b")), Look(statistics=True))
    assert re.search(r"^ +2  error +duplicate-server  \[dedupe-headers\]$", text, re.MULTILINE)

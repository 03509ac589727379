"""Real parsers as judges: what they take, what they refuse, and that one that fails takes nothing down."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import lint, parsers, recording
from conformance.cli import main
from conformance.message import Exchange, Stream
from conformance.parsers import Judges
from conformance.rule import load
from conformance.verdict import Verdict

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def judges() -> Iterator[Judges]:
    with Judges() as found:
        yield found


def exchanges(source: recording.Recording) -> Iterator[Exchange]:
    for item in source:
        yield from item.exchanges if isinstance(item, Stream) else [item]


def verdicts(judges: Judges, text: str) -> dict[str, list[Verdict]]:
    """Part -> the verdicts on it, of a transcript with one exchange."""
    (exchange,) = exchanges(recording.read("-", stdin=text.encode()))
    return {part: list(judged.verdicts) for part, judged in judges.judge(exchange)}


def refusals(found: list[Verdict]) -> dict[str, str]:
    """Parser without its version -> its words."""
    return {
        one.parser.split()[0] + one.parser.partition("(")[2].rstrip(")"): one.refusal
        for one in found
        if one.refusal
    }


ASKED = "> GET /v1/models HTTP/1.1\n> Host: api.example\n"
ALL = ["h11", "httptools", "aiohttpC parser", "aiohttpPython parser"]
STRICT = ["aiohttpC parser, -X dev", "aiohttpPython parser, -X dev"]


def test_a_good_message_is_taken_by_all(judges: Judges) -> None:
    found = verdicts(judges, ASKED + "< HTTP/1.1 200 OK\n< Content-Length: 2\n<\n< {}\n")
    assert [(part, len(said)) for part, said in found.items()] == [("request", 4), ("response", 6)]
    assert not any(one.refusal for said in found.values() for one in said)
    assert all(len({one.reading for one in said}) == 1 for said in found.values())


@pytest.mark.parametrize(
    ("lines", "who"),
    [
        ("< Server: a\n< Server: b\n", STRICT),
        ("< Content-Length: 2, 2\n", [*ALL[1:], *STRICT]),
        ("< X-A: 1\\r\\n 2\n", ["httptools", *STRICT]),
        ("< X-A : 1\n", [*ALL, *STRICT]),
    ],
)
def test_heads_are_refused_by_whom_they_are_measured_to_be(
    judges: Judges, lines: str, who: list[str]
) -> None:
    found = verdicts(judges, ASKED + "< HTTP/1.1 200 OK\n" + lines)
    assert sorted(refusals(found["response"])) == sorted(who)


OCTETS = r">> GET / HTTP/1.1\r\nHost: a\r\n\r\n" + "\n"


def test_octets_are_fed_as_they_were(judges: Judges) -> None:
    found = verdicts(judges, OCTETS + r"<< HTTP/1.1 200 OK\nContent-Length: 2\n\n{}" + "\n")
    assert sorted(refusals(found["response"])) == sorted(["httptools", *STRICT])


def test_two_readings_of_one_message(judges: Judges) -> None:
    sent = r"<< HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    found = verdicts(judges, OCTETS + sent + "\n")
    content = {dict(one.reading)["content"] for one in found["response"] if one.refusal is None}
    assert {(2, True), (12, False)} <= content


def test_content_is_judged_only_where_the_octets_are_known(judges: Judges) -> None:
    head = "< HTTP/1.1 200 OK\n< Content-Length: 99\n<\n< {}\n"
    assert not refusals(verdicts(judges, ASKED + head)["response"])
    cut = OCTETS + r"<< HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}" + "\n"
    assert set(refusals(verdicts(judges, cut)["response"])) >= {"h11", "aiohttpC parser"}


@pytest.mark.parametrize(
    "text",
    [
        OCTETS.replace("GET", "HEAD") + r"<< HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + "\n",
        OCTETS + r"<< HTTP/1.1 200 OK\r\n\r\nuntil the close" + "\n",
        OCTETS + r"<< HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n" + "\n",
        r">> POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n"
        + "\n",
        "> CONNECT api.example:443 HTTP/1.1\n> Host: api.example:443\n< HTTP/1.1 200 OK\n",
        "> GET http://api.example/v1 HTTP/1.1\n> Host: api.example\n< HTTP/1.0 200 OK\n",
    ],
)
def test_what_is_rare_and_right_is_taken(judges: Judges, text: str) -> None:
    assert not [refused for said in verdicts(judges, text).values() if (refused := refusals(said))]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recordings" / "clean").glob("*.http")), ids=lambda path: path.stem
)
def test_good_traffic_is_taken_by_all(judges: Judges, path: Path) -> None:
    for exchange in exchanges(recording.read(path)):
        for _, judged in judges.judge(exchange):
            assert not refusals(list(judged.verdicts))
            assert len({one.reading for one in judged.verdicts}) == 1


def test_what_a_recorder_rebuilt_is_not_judged(judges: Judges) -> None:
    har = "@ recorder: har\n" + ASKED + "< HTTP/1.1 200 OK\n< Server: a\n< Server: b\n"
    assert verdicts(judges, har) == {}
    assert set(verdicts(judges, ASKED.replace("1.1", "2.0") + "< HTTP/1.1 200 OK\n")) == {"response"}


def test_words_name_no_secret(judges: Judges) -> None:
    text = ASKED + "> Authorization : Bearer sk-CANARY0123456789\n> X-Api-Key : CANARY0123456789\n"
    (said,) = verdicts(judges, text).values()
    assert len(refusals(said)) == 4
    assert not [one for one in said if "CANARY" in str(one.refusal)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_parser_that_dies_or_hangs_is_left_out(
    how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsers, "PATIENCE", 1.0)
    text = ASKED + "< HTTP/1.1 200 OK\n< Content-Length: 0\n"
    with Judges() as judges:
        assert len(verdicts(judges, text)["request"]) == 4
        process = judges._benches[0]._process
        assert process is not None
        os.kill(process.pid, how)
        found = verdicts(judges, text)
        assert [one.parser.split()[0] for one in found["request"]] == ["httptools", "aiohttp", "aiohttp"]
        assert not refusals(found["request"])
        (told,) = judges.failures
        assert told.startswith("h11 ")
        assert "is not asked again (exchange 1, request)" in told
        monkeypatch.setattr(parsers, "PATIENCE", 10.0)
        assert len(verdicts(judges, text)["request"]) == 3


def test_where_all_of_them_have_died_nobody_is_asked_again() -> None:
    text = ASKED + "< HTTP/1.1 200 OK\n< Content-Length: 0\n"
    with Judges() as judges:
        assert len(verdicts(judges, text)["response"]) == 6
        for left in (5, 4):
            process = judges._benches[1]._process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
            assert len(verdicts(judges, text)["response"]) == left
        assert len(verdicts(judges, text)["response"]) == 4
        assert len(judges.failures) == 2


def test_a_script_that_is_run_again_by_its_processes_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from conformance import lint, recording\n"
        "from conformance.parsers import NotInstalled\n"
        "from conformance.rule import load\n"
        f"source = recording.read({str(ROOT / 'recordings/incidents/duplicate-server.http')!r})\n"
        "try: lint.check([source], load(), settings=lint.Settings(parsers=True))\n"
        "except NotInstalled as problem: print(problem)\n"
    )
    ran = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.endswith("cannot be loaded: their process came to an end\n")


def test_without_the_extra_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parsers, "find_spec", lambda name: None)
    assert main(["check", "--parsers", str(ROOT / "recordings" / "clean")]) == 2
    assert capsys.readouterr().err == (
        "hoplint: error: --parsers needs aiohttp and httptools, which are not installed: pip install 'hoplint[parsers]'\n"
    )


def test_parsers_that_cannot_be_loaded_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    (tmp_path / "httptools.py").write_text("raise ImportError('built for another Python')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["check", "--parsers", str(ROOT / "recordings" / "clean")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hoplint: error: ")
    assert "built for another Python" in line


def test_the_reports_say_which_parser_said_what(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(ROOT / "recordings/incidents/duplicate-server.http")
    html, sarif = tmp_path / "r.html", tmp_path / "r.sarif"
    words = ["check", path, "--isolated", "--parsers", "--format", "json", "--report", f"html={html}"]
    assert main([*words, "--report", f"sarif={sarif}"]) == 1
    document = json.loads(capsys.readouterr().out)
    asked = {one["parser"].split()[0]: (one["messages"], one["refused"]) for one in document["parsers"][:2]}
    assert asked == {"h11": (8, 0), "httptools": (8, 0)}
    assert {one["refusal"] for one in document["verdicts"] if "-X dev" in one["parser"]} == {
        "Duplicate 'Server' header found.", "Duplicate 'server' header found.",
    }  # fmt: skip
    (first, *_) = [one for one in document["findings"] if one["rule"] == "parsers-disagree"]
    assert first["part"] == "response"
    assert first["origin"] == "server"
    assert "taken by h11" in first["why"]
    assert "Duplicate &#x27;server&#x27; header found." in html.read_text()
    assert json.loads(sarif.read_text())["runs"][0]["properties"]["verdicts"] == document["verdicts"]


def test_several_processes_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        str(ROOT / f"recordings/incidents/{name}.http") for name in ("duplicate-server", "leaked-headers")
    ]
    words = ["check", *paths, "--isolated", "--parsers", "--select", "parsers-disagree", "--format", "json"]
    assert main(words) == 1
    alone = capsys.readouterr().out
    assert main([*words, "--jobs", "2"]) == 1
    assert capsys.readouterr().out == alone


def test_no_shipped_recording_of_real_traffic_is_blamed_for_what_the_recorder_did() -> None:
    """Wherever parsers disagree about real traffic, a rule says what is wrong with that message."""
    rules = load()
    paths = [recording.read(path) for path in sorted((ROOT / "recordings" / "flows").glob("*.flow"))]
    run = lint.check(paths, rules, settings=lint.Settings(parsers=True))
    explained = {
        (f.at.recording, f.at.exchange, f.at.part) for f in run.findings if f.rule != "parsers-disagree"
    }
    disputed = {
        (f.at.recording, f.at.exchange, f.at.part) for f in run.findings if f.rule == "parsers-disagree"
    }
    assert len(disputed) > 20
    assert disputed <= explained

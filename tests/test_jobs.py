"""Whatever the number of processes, what comes out is the same."""

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from conformance import jobs, lint
from conformance.cli import main
from conformance.finding import Run
from conformance.rule import load

RECORDINGS = Path(__file__).parents[1] / "recordings"
DOUBLED = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Server: a\n< Server: b\n"


def told(run: Run) -> dict[str, object]:
    """Everything in a run but the rules."""
    run.rules = {}
    return asdict(run)


def paths() -> list[str]:
    return sorted(str(path) for path in RECORDINGS.rglob("*") if path.is_file() and path.suffix != ".md")


@pytest.mark.parametrize("number", [2, 5])
def test_the_run_is_the_same_whatever_the_number_of_jobs(number: int) -> None:
    rules, settings = load(), lint.Settings(listing=True)
    one = jobs.check(paths(), rules, settings=settings)
    assert one.findings
    assert told(jobs.check(paths(), rules, settings=settings, jobs=number)) == told(one)


@pytest.mark.parametrize(
    "words", [["--format", "json"], ["--format", "html"], ["--format", "full", "--select", "ALL"]]
)
def test_the_report_is_the_same_to_the_octet(
    words: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    came = []
    for number in ("1", "2", "5", "auto"):
        code = main(["check", *words, "--isolated", "--jobs", number, str(RECORDINGS)])
        came.append((code, *capfdbinary.readouterr()))
    assert came[0][1]
    assert all(one == came[0] for one in came)


def test_the_listing_is_bounded_over_all_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "LISTED", 5)
    monkeypatch.setattr(lint, "LISTED_HEADS", 4)
    for name in "abc":
        (tmp_path / f"{name}.http").write_text("\n".join([DOUBLED] * 3))
    found = sorted(map(str, tmp_path.iterdir()))
    rules, settings = load(), lint.Settings(listing=True)
    one, two = (jobs.check(found, rules, settings=settings, jobs=number) for number in (1, 2))
    assert told(one) == told(two)
    assert [len(summary.entries) for summary in two.recordings] == [3, 2, 0]


def test_what_cannot_be_read_and_what_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "a.http").write_text(DOUBLED)
    (tmp_path / "b.flow").write_bytes(b"99:no")
    (tmp_path / "c.http").write_text(f"# profile: nobody\n{DOUBLED}")
    named = [str(tmp_path / name) for name in ("b.flow", "a.http", "none.http", "c.http", "a.http")]
    one, two = (jobs.check(named, load(), jobs=number) for number in (1, 2))
    assert told(one) == told(two)
    assert len(two.failures) == 3


def test_a_process_that_dies_is_a_failure_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.http").write_text(DOUBLED)
    monkeypatch.setattr(jobs, "_alone", dies)
    run = jobs.check(sorted(map(str, tmp_path.iterdir())), load(), jobs=2, progress=lambda exchanges: None)
    assert len(run.failures) == 2
    assert all("came to an end" in failure for failure in run.failures)


def dies(*_: object) -> None:
    os._exit(1)


def test_progress_counts_the_exchanges_of_what_is_done() -> None:
    seen: list[int] = []
    run = jobs.check(paths(), load(), jobs=2, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == sum(summary.exchanges for summary in run.recordings)


@pytest.mark.parametrize("word", ["0", "-1", "many", "1.5"])
def test_a_number_that_is_none(word: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["check", f"--jobs={word}"])
    assert end.value.code == 2
    assert "or auto" in capfd.readouterr().err

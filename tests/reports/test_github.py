import re
from urllib.parse import unquote

from conformance.finding import Look, Run
from conformance.reports.github import report

COMMAND = re.compile(r"::(error|warning|notice) ([^:]*)::(.*)")


def commands(run: Run) -> list[tuple[str, dict[str, str], str]]:
    """What GitHub's runner reads: the last line is no command."""
    *lines, last = report(run, Look()).splitlines()
    assert "::" not in last
    found = []
    for line in lines:
        command = COMMAND.fullmatch(line)
        assert command, line
        properties = dict(pair.split("=", 1) for pair in command[2].split(","))
        found.append((command[1], {k: unquote(v) for k, v in properties.items()}, unquote(command[3])))
    return found


def test_hostile(hostile: Run, golden, harmless) -> None:
    text = report(hostile, Look())
    golden("hostile.github.txt", text)
    harmless(text)
    assert all(set(properties) <= {"file", "line", "title"} for _, properties, _ in commands(hostile))


def test_the_gravest_come_first_and_repeats_are_one(hostile: Run) -> None:
    hostile.findings += hostile.findings[:3]
    found = commands(hostile)
    assert [level for level, _, _ in found] == ["error"] * 9 + ["warning", "notice"]
    _, properties, text = found[2]
    assert properties["title"] == "hoplint duplicate-server"
    assert properties["line"].isdigit()
    assert "repeats 'a'" in text
    assert "also in: exchange" in text


def test_failures_are_errors(hostile: Run) -> None:
    (_, first, _), (_, second, text) = commands(hostile)[:2]
    assert "file" in first
    assert (second, text) == ({"title": "hoplint"}, "nowhere.flow: there is no such file")

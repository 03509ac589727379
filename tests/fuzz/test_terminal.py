"""Whatever a stranger recorded, named or configured: no credential and nothing that acts on a terminal is printed.

Every command that reads a recording or a settings file, in every format. A line that begins with ``::`` would be a
command to GitHub Actions, which reads stdout and stderr.
"""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from targets import UNSEEN

from conformance import flowfile
from conformance.cli import main
from conformance.reports import FORMATS

CANARY = "cAnArY0123456789"
ATTACKS = {
    "escape": "\x1b[2J\x1b]8;;http://evil.example\x07here\x1b]8;;\x07\x1b]52;c;YQ==\x07",
    "c1": "\x9b31m\x90+q\x9c",
    "direction": "\u202egnp.exe\u2066\u2069\u200b\ufeff",
    "lines": "\r\n::error::owned\n::stop-commands::x\r",
    "nul": "\0\x7f\x08\x08\x08",
}
NAME = "\x1b[31m\u202e\n::error::x.{}"
"""Of a file: anything but / and NUL is allowed."""

FLOWS = Path(__file__).parents[2] / "recordings/flows/session-server.flow"


def attacked(text: str) -> str:
    """As a text may arrive that has gone through latin-1, UTF-8 or neither."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def transcript(attack: str) -> bytes:
    """Everything a transcript can hold, with the attack and a credential in it."""
    raw = "".join(f"\\x{octet:02x}" for octet in attack.encode("utf-8"))
    line = attack.replace("\n", " ").replace("\r", " ")
    return (
        f"# hoplint: ignore[duplicate-date, {line}] {line} Bearer {CANARY}\n"
        f"@ error: HTTP/1 protocol error: illegal header line: bytearray(b'x-api-key : {CANARY}') {line}\n"
        f"@ client-connection: {line}\n@ upstream: {line}\n@ flow: {line}\n@ recorder: {line}\n"
        f"> POST /v1/models{raw}?api_key={CANARY} HTTP/1.1\n"
        f"> Host: user:{CANARY}@{raw}\n> Authorization: Bearer {CANARY}{raw}\n> X-{raw}: {raw}\n> Cookie: a={CANARY}{raw}\n"
        f'>\n> {{"api_key": "{CANARY}", "x": "{raw}"}}\n'
        f"< HTTP/1.1 {raw.replace(' ', '')} {raw}\n< Server: {raw}\n< Server: {raw}\n"
        f"< Content-Type: text/event-stream{raw}\n"
        f'<\n< data: {raw}\n< data: {{"access_token": "{CANARY}"}}\n\n'
        f">> GET /?key={CANARY} HTTP/1.1{raw}\\r\\n\n>> Authorization : Basic {CANARY}\\r\\n{raw}\\r\\n\\r\\n\n"
        f"<< HTTP/1.1 {raw.replace(' ', '')}\\r\\nSet-Cookie: a={CANARY}\\r\\n\\r\\n{raw}\n"
    ).encode()


def flow_file(attack: str) -> bytes:
    """Two flows, of which one cannot be read."""
    records = flowfile.records(io.BytesIO(FLOWS.read_bytes()))
    flow = next(found for _, record in records if (found := flowfile.decoded(record))["type"] == "http")
    octets = attack.encode()
    request = {
        **flow["request"],
        "path": b"/?key=" + CANARY.encode() + octets,
        "method": octets,
        "content": octets,
    }
    request["headers"] = [
        [b"Authorization", b"Bearer " + CANARY.encode()],
        [octets, octets],
        [b"Host", octets],
    ]
    error = {"msg": f"{attack} Authorization: Bearer {CANARY}", "timestamp": 1.0}
    hostile = {**flow, "request": request, "error": error, "comment": attack, "id": attack}
    edits = [{"addon": attack, "part": "request", "op": "set", "field": attack, "before": [attack], "after": [CANARY],
              "why": attack}]  # fmt: skip
    journal = {**hostile, "metadata": {"hoplint": edits}}
    broken = {**hostile, "request": {**request, "headers": attack}, "type": attack}
    return b"".join(map(flowfile.encoded, (hostile, journal, broken))) + octets


def har(attack: str) -> bytes:
    """An entry, and what is no entry."""
    headers = [
        {"name": f"x{attack}", "value": attack},
        {"name": "Authorization", "value": f"Bearer {CANARY}"},
    ]
    asked = {"method": f"G{attack}", "url": f"http://a:{CANARY}@b/{attack}?key={CANARY}", "headers": headers}
    entry = {"request": asked, "response": {"status": 200, "statusText": attack, "headers": headers, "_error": attack},
             "comment": f"hoplint: ignore[{attack}] Bearer {CANARY}", "connection": attack}  # fmt: skip
    return json.dumps(
        {"log": {"creator": {"name": attack}, "entries": [entry, {"request": attack}]}}
    ).encode()


@pytest.fixture(params=ATTACKS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with hostile recordings, of hostile names."""
    attack = ATTACKS[request.param]
    (tmp_path / NAME.format("http")).write_bytes(transcript(attack))
    (tmp_path / NAME.format("flow")).write_bytes(flow_file(attack))
    (tmp_path / NAME.format("har")).write_bytes(har(attack))
    (tmp_path / NAME.format("txt")).write_bytes(attack.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plain(text: str, *, commands: bool = False, tabs: bool = False) -> None:
    """Assert that it can go to a terminal, a log, a file that is shown."""
    text = text.replace("\t", " ") if tabs else text
    found = UNSEEN.search(text)
    assert found is None, (found, text[max(0, found.start() - 60) : found.end() + 60])
    assert CANARY not in text
    assert commands or not re.search(r"^\s*::", text, re.MULTILINE)


def run(capsysbinary: pytest.CaptureFixture[bytes], *words: str | Path, commands: bool = False) -> str:
    """What the command prints, on both."""
    with suppress(SystemExit):  # argparse's
        main(list(map(str, words)))
    out, err = (part.decode() for part in capsysbinary.readouterr())
    plain(err)
    plain(out, commands=commands)
    return out + err


@pytest.mark.parametrize("name", FORMATS)
def test_check(folder: Path, name: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    paths = sorted(folder.glob("*"))
    words = ("--select", "ALL", "--statistics", "-v", "--isolated", "--format", name)
    assert run(capsysbinary, "check", *words, *paths, commands=name == "github")


def test_check_in_colour(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    main(["check", "--select", "ALL", "--isolated", "--color", "always", str(folder)])
    out, _ = (part.decode() for part in capsysbinary.readouterr())
    # Its own escapes: colours, and links that begin with https.
    plain(re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;(?:id=\d+)?;(?:https://[\x21-\x7e]+)?\x1b\\", "", out))


def test_show(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(capsysbinary, "show", *folder.glob("*"))


def test_compare(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    one, two = folder / NAME.format("http"), folder / NAME.format("flow")
    assert run(capsysbinary, "compare", "--isolated", "--all", one, two)
    for name in ("full", "json"):
        assert run(capsysbinary, "compare", "--isolated", "--what-changed", "--format", name, one, two)


def test_redact(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for path in list(folder.glob("*")):
        into = folder / f"redacted{path.suffix}"
        assert run(capsysbinary, "redact", path, "-o", into)
        if into.exists():
            assert CANARY.encode() not in into.read_bytes(), path.suffix


def test_fix(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for path in folder.glob("*"):
        assert run(capsysbinary, "fix", path, "--diff", "--isolated")


def test_what_is_not_there(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    nowhere = f"{folder}/nowhere{NAME}"
    for command in ("check", "show", "redact", "fix", "check --config", "check --baseline", "check --select",
                    "check --format", "check --report", "check --profile", "rule", "addons"):  # fmt: skip
        for name in (NAME, nowhere):
            run(capsysbinary, *command.split(), name)


SETTINGS = (
    '"{0}" = 1', '[lint]\n"{0}" = 1', '[lint]\nignore = ["{0}"]', 'profile = "{0}"', '[lint]\nfail-on = "{0}"', "[{0}",
    '[policy.auth]\ndata-key = "' + CANARY + '"', '[policy.auth]\ndata-key = "env:{0}"', '[lint.severity]\n"{0}" = "x"',
    '[[lint.scope]]\nignore = ["x"]\nreason = "{0}"\nexpires = 2020-01-01', '[lint.per-recording]\n"{0}" = ["ALL"]',
    '[policy.session]\npattern = "({0}"', "{0}",
)  # fmt: skip


@pytest.mark.parametrize("text", SETTINGS)
def test_settings(folder: Path, text: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    path = folder / "hoplint.toml"
    for attack in (*ATTACKS.values(), "\\u001b[2J\\u009b\\u202e"):
        path.write_text(text.replace("{0}", attack))
        run(capsysbinary, "config")
        path.write_text(f"{text} # {CANARY}".replace("{0}", json.dumps(attack)[1:-1]))
        run(capsysbinary, "config")
    run(capsysbinary, "check", folder / NAME.format("txt"))

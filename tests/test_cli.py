"""The command line as a user meets it: what is printed where, and the exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import cli
from conformance.cli import main

ROOT = Path(__file__).parents[1]
DOUBLED = (
    "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Server: a\n< Server: b\n"
    "< Date: Fri, 20 Nov 2026 03:14:14 GMT\n"
)
CLEAN = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Content-Length: 0\n< Date: Fri, 20 Nov 2026 03:14:14 GMT\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one bad and one good recording, and no settings file above it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    (tmp_path / "bad.http").write_text(DOUBLED)
    (tmp_path / "good.http").write_text(CLEAN)
    return tmp_path


@pytest.fixture
def hoplint(capfd: pytest.CaptureFixture[str]):
    """Run the command; gives exit code, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def test_findings_exit_1_and_a_clean_recording_0(hoplint) -> None:
    code, out, err = hoplint("check", "bad.http")
    assert (code, err) == (1, "")
    assert "error[duplicate-server]" in out
    code, out, err = hoplint("check", "good.http")
    assert (code, err) == (0, "")
    assert "could be decided" in out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--fail-on", "never"], 0),
        (["--exit-zero"], 0),
        (["--fail-on", "note"], 1),
        (["--ignore", "duplicate-server"], 0),
        (["--select", "framing"], 0),
        (["--select", "rfc9110", "--ignore", "duplicates"], 0),
        (["--select", "duplicate-date,duplicate-server"], 1),
    ],
)
def test_options_decide_the_verdict(hoplint, words: list[str], code: int) -> None:
    assert hoplint("check", "bad.http", *words)[0] == code


def test_a_folder_is_searched(hoplint) -> None:
    code, out, _ = hoplint("check")
    assert code == 1
    assert "of 2 recordings" in out


def test_stdin(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "check", "-", "--format", "concise"],
        input=DOUBLED,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("-:6: error[duplicate-server]")


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize(
    ("name", "content", "words", "says"),
    [
        (None, None, ["nowhere.flow"], "nowhere.flow"),
        ("empty/", None, ["empty"], "empty"),
        ("a.png", PNG, ["a.png"], "PNG"),
        ("a.flow", b"", ["a.flow"], "empty"),
        ("a.http", b"> GET / HTTP/1.1\nnonsense", ["a.http"], "line 2"),
        ("a.har", b'{"log": {"entries": [', ["a.har"], "a.har"),
        (None, None, ["good.http", "--select", "duplicate-sever"], "did you mean duplicate-server"),
        (None, None, ["good.http", "--format", "jsn"], "did you mean json"),
        (None, None, ["good.http", "--report", "json"], "FORMAT=FILE"),
        (None, None, ["good.http", "--report", "json=no/such/folder.json"], "no/such/folder.json"),
        (None, None, ["good.http", "--profile", "litelm"], "litelm"),
        (None, None, ["good.http", "--baseline", "missing.json"], "missing.json"),
        ("known.json", b"{", ["good.http", "--baseline", "known.json", "--write-baseline"], "known.json"),
        (None, None, ["good.http", "--baseline", "no/known.json", "--write-baseline"], "no/known.json"),
        (None, None, ["good.http", "--write-baseline"], "--baseline FILE"),
        (None, None, ["good.http", "--config", "missing.toml"], "missing.toml"),
        ("hoplint.toml", b"[lint\n", ["good.http"], "hoplint.toml"),
        ("hoplint.toml", b"[lint]\nselct = []\n", ["good.http"], "selct"),
        ("hoplint.toml", b"[lint]\nselect = ['nope']\n", ["good.http"], "nope"),
        ("hoplint.toml", b"[lint.severity]\nnope = 'note'\n", ["good.http"], "nope"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_exit_2(
    folder: Path, hoplint, name, content, words, says
) -> None:
    if name and name.endswith("/"):
        (folder / name).mkdir()
    elif name:
        (folder / name).write_bytes(content)
    code, _, err = hoplint("check", *words)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("hoplint: error: ")
    assert says in err


def test_a_fault_of_our_own_is_no_finding(hoplint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would end with 1, as if something had been found, and print what was recorded."""

    def fails(*_: object) -> int:
        raise ValueError("sk-secret")

    monkeypatch.setitem(cli.COMMANDS, "check", fails)
    code, out, err = hoplint("check", ".")
    assert (code, out) == (2, "")
    assert "fault of hoplint's own: ValueError in test_cli.py:" in err
    assert "sk-secret" not in err
    monkeypatch.setenv("HOPLINT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="sk-secret"):
        hoplint("check", ".")


def test_good_input_beside_bad_is_still_linted(folder: Path, hoplint) -> None:
    (folder / "a.png").write_bytes(PNG)
    code, out, err = hoplint("check", "a.png", "bad.http", "nowhere.flow")
    assert code == 2
    assert "error[duplicate-server]" in out
    assert "a.png" in err
    assert "nowhere.flow" in err


def test_what_stands_before_a_break_is_linted(folder: Path, hoplint) -> None:
    (folder / "broken.http").write_text(f"{DOUBLED}\nnonsense")
    code, out, err = hoplint("check", "broken.http")
    assert code == 2
    assert "error[duplicate-server]" in out
    assert "line 9" in err


def test_settings_are_read_from_the_nearest_file(folder: Path, hoplint) -> None:
    (folder / "hoplint.toml").write_text("[lint]\nignore = ['duplicate-server']\n")
    assert hoplint("check", "bad.http")[0] == 0
    assert hoplint("check", "bad.http", "--isolated")[0] == 1
    assert hoplint("check", "bad.http", "--extend-select", "duplicate-server")[0] == 1


def test_settings_by_recording_and_exclusion(folder: Path, hoplint) -> None:
    (folder / "hoplint.toml").write_text('[lint.per-recording]\n"bad*" = ["duplicates"]\n')
    code, out, _ = hoplint("check")
    assert code == 0
    assert "1 ignored" in out
    (folder / "hoplint.toml").write_text('[lint]\nexclude = ["bad*"]\n')
    assert "of 1 recording." in hoplint("check")[1]


SCOPE = """\
[[lint.scope]]
ignore = ["duplicates"]
reason = "gateway 2 mends it"
status = ["2xx"]
direction = "response"
"""


def test_settings_for_one_place(folder: Path, hoplint) -> None:
    (folder / "hoplint.toml").write_text(SCOPE)
    code, out, _ = hoplint("check", "bad.http")
    assert code == 0
    assert "1 ignored" in out
    (folder / "hoplint.toml").write_text(SCOPE + "expires = 2026-01-31\n")
    assert "2026-01-31" in hoplint("config")[1]
    (folder / "hoplint.toml").write_text(SCOPE + "expires = 2020-01-31\n")
    code, out, err = hoplint("check", "bad.http")
    assert code == 1
    assert "note: [[lint.scope]] number 1 (gateway 2 mends it) expired on 2020-01-31: 1 finding" in out
    assert err == ""
    assert "expired on 2020-01-31" in hoplint("check", "bad.http", "--format", "json")[2]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("reson = 'x'", "reson"),
        ("reason = ''", "reason"),
        ("host = '*'", "host"),
        ("status = ['6xx']", "status"),
        ("direction = 'both'", "direction"),
        ("expires = 'soon'", "expires"),
        ("ignore = []", "ignore"),
    ],
)
def test_a_scope_that_cannot_be_used(folder: Path, hoplint, line: str, says: str) -> None:
    lines = [one for one in SCOPE.splitlines() if not one.startswith(says)]
    (folder / "hoplint.toml").write_text("\n".join([*lines, line]))
    code, _, err = hoplint("check", "bad.http")
    assert code == 2
    assert err.count("\n") == 1
    assert says in err


def test_a_baseline_is_written_matched_and_pruned(folder: Path, hoplint) -> None:
    code, out, err = hoplint("check", "--baseline", "known.json", "--write-baseline")
    assert (code, err) == (0, "")
    assert "1 baselined" in out
    assert hoplint("check", "--baseline", "known.json")[0] == 0
    tally = json.loads(hoplint("check", "--baseline", "known.json", "--format", "json")[1])["tally"]
    assert (tally["findings"], tally["ignored"], tally["baselined"]) == (0, 0, 1)
    (folder / "good.http").write_text(DOUBLED)
    code, out, _ = hoplint("check", "--baseline", "known.json")
    assert code == 1
    assert "1 finding (1 error) in 2 exchanges of 2 recordings; 1 baselined" in out
    for name in ("good.http", "bad.http"):
        (folder / name).write_text(CLEAN)
    code, out, _ = hoplint("check", "--baseline", "known.json")
    assert code == 0
    assert "note: known.json: 1 known finding was not seen (duplicate-server)" in out
    assert "not seen" in hoplint("check", "--baseline", "known.json", "--format", "json")[2]
    assert hoplint("check", "--baseline", "known.json", "--write-baseline")[0] == 0
    assert json.loads((folder / "known.json").read_text())["findings"] == []


def test_a_baseline_is_not_written_where_something_could_not_be_read(folder: Path, hoplint) -> None:
    code, _, err = hoplint(
        "check", "bad.http", "nowhere.flow", "--baseline", "known.json", "--write-baseline"
    )
    assert code == 2
    assert "known.json: not written" in err
    assert not (folder / "known.json").exists()


def test_a_second_report_goes_to_a_file(folder: Path, hoplint) -> None:
    code, out, _ = hoplint("check", "bad.http", "--report", "json=out.json", "--report", "concise=out.txt")
    assert code == 1
    assert out.startswith("error[")
    assert json.loads((folder / "out.json").read_text())["tally"]["errors"] == 1
    assert (folder / "out.txt").read_text().startswith("bad.http:6: ")


@pytest.mark.parametrize(
    ("environment", "words", "coloured"),
    [
        ({}, [], False),
        ({"FORCE_COLOR": "1"}, [], True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], False),
        ({}, ["--color", "always"], True),
        ({"FORCE_COLOR": "1"}, ["--color", "never"], False),
    ],
)
def test_colour(hoplint, monkeypatch: pytest.MonkeyPatch, environment, words, coloured) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in hoplint("check", "bad.http", *words)[1]) is coloured


def test_rule_explains_lists_and_names_the_nearest(hoplint) -> None:
    assert "Bad:" in hoplint("rule", "duplicate-server")[1]
    assert "duplicate-server" in hoplint("rule")[1]
    assert hoplint("rule", "unused-ignore")[0] == 0
    code, out, err = hoplint("rule", "duplicate-sever")
    assert (code, out) == (2, "")
    assert "did you mean duplicate-server" in err
    assert (
        json.loads(hoplint("rule", "duplicate-server", "--format", "json")[1])[0]["fix"] == "dedupe-headers"
    )
    assert "### duplicate-server" in hoplint("rule", "--all", "--format", "markdown")[1]


def test_show_masks_and_is_read_back(folder: Path, hoplint) -> None:
    (folder / "s.http").write_text(
        "> GET /?api_key=cAnArY123 HTTP/1.1\n> Authorization: Bearer cAnArY123\n\n" + CLEAN
    )
    code, out, _ = hoplint("show", "s.http")
    assert code == 0
    assert "cAnArY123" not in out
    assert "cAnArY123" in hoplint("show", "s.http", "--secrets")[1]
    (folder / "again.http").write_text(out)
    assert hoplint("show", "again.http")[1] == out
    assert hoplint("show", "s.http#2")[1].startswith("> GET / HTTP/1.1")


def test_what_show_masks_in_content_keeps_its_length(folder: Path, hoplint) -> None:
    content = '{"prompt":"use sk-cAnArY1234567890abcdef"}'
    head = ["POST / HTTP/1.1", "Host: a", "Content-Type: text/plain", f"Content-Length: {len(content)}"]
    chunked = [*head[:3], "Transfer-Encoding: chunked"]
    (folder / "s.http").write_text(
        "\n".join(f"> {line}" for line in [*head, "", content])
        + "\n\n>> "
        + "".join(rf"{line}\r\n" for line in [*head, ""])
        + content
        + "\n\n>> "
        + "".join(rf"{line}\r\n" for line in [*chunked, "", f"{len(content):x}", content, "0", ""])
    )
    assert hoplint("check", "s.http")[0] == 0
    _, out, _ = hoplint("show", "s.http")
    assert out.count('"use ') == 3
    assert "cAnArY" not in out
    (folder / "s.http").write_text(out)
    assert hoplint("check", "s.http")[0] == 0


def test_what_changed(folder: Path, hoplint) -> None:
    code, out, _ = hoplint("compare", "good.http", "bad.http", "--what-changed")
    assert code == 1
    assert out.startswith("1 finding appeared, 0 vanished")
    assert "error[duplicate-server]" in out
    code, out, _ = hoplint("compare", "bad.http", "good.http", "--what-changed")
    assert code == 0
    assert "gone: bad.http:6" in out
    code, out, _ = hoplint("compare", "good.http", "bad.http", "--what-changed", "--format", "json")
    assert code == 1
    assert json.loads(out)["findings"]["same"] == 0
    assert hoplint("compare", "good.http", "nowhere.http", "--what-changed")[0] == 2
    assert hoplint("compare", "good.http", "bad.http", "--what-changed", "--all")[0] == 2


def test_redact(folder: Path, hoplint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDACTION", "of my own")
    (folder / "s.http").write_text(
        "> GET /?api_key=cAnArY123 HTTP/1.1\n> Host: a\n> X-User: jane@corp.example\n"
    )
    code, out, err = hoplint("redact", "s.http", "-o", "r.http")
    assert (code, out) == (0, "")
    assert err == "hoplint: r.http: 1 credential in 1 place\n"
    assert "cAnArY123" not in (folder / "r.http").read_text()
    assert hoplint("redact", "s.http", "-o", "k.http", "--key", "env:REDACTION", "--emails", "-q") == (
        0,
        "",
        "",
    )
    assert "jane" not in (folder / "k.http").read_text()
    assert hoplint("redact", "s.http", "--in-place", "--key", "env:REDACTION", "--emails", "-q")[0] == 0
    assert (folder / "s.http").read_text() == (folder / "k.http").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["s.http"], "--output"),
        (["s.http", "-o", "r.http"], "s.http"),
        (["good.http", "-o", "good.http"], "--in-place"),
        (["good.http", "-o", "r.http", "--key", "env:NOT_THERE_AT_ALL"], "NOT_THERE_AT_ALL"),
    ],
)
def test_what_redact_cannot_do(hoplint, words: list[str], says: str) -> None:
    code, _, err = hoplint("redact", *words)
    assert code == 2
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize(
    ("words", "says"), [(["good.http#7"], "no exchange 7"), (["nowhere.flow"], "nowhere.flow")]
)
def test_show_says_what_it_cannot(hoplint, words: list[str], says: str) -> None:
    code, _, err = hoplint("show", *words)
    assert code == 2
    assert says in err


def test_addons_prints_a_path_that_is_there(hoplint) -> None:
    assert "dedupe-headers" in hoplint("addons")[1]
    assert Path(hoplint("addons", "dedupe-headers")[1].strip()).is_file()
    assert hoplint("addons", "dedup-headers")[0] == 2


def test_config_says_where_settings_come_from(folder: Path, hoplint) -> None:
    (folder / "hoplint.toml").write_text("[lint]\nfail-on = 'warning'\n")
    out = hoplint("config")[1]
    assert "hoplint.toml" in next(line for line in out.split("\n") if line.startswith("lint.fail-on"))
    assert json.loads(hoplint("config", "--schema")[1])["properties"]


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["check", "--help"], ["proxy", "--help"]])
def test_help_and_version(hoplint, words: list[str]) -> None:
    code, out, _ = hoplint(*words)
    assert code == 0
    assert "hoplint" in out


@pytest.mark.parametrize(
    "words", [["chek"], ["check", "--no-such-option"], ["check", "--fail-on", "sometimes"]]
)
def test_wrong_words_exit_2(hoplint, words: list[str]) -> None:
    code, _, err = hoplint(*words)
    assert code == 2
    assert err.startswith("hoplint: error: ")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hoplint re", {"redact"}),
        ("hoplint compare --wh", {"--what-changed"}),
        ("hoplint check --fail-on w", {"warning"}),
    ],
)
def test_shells_complete_words(folder: Path, line: str, offered: set[str]) -> None:
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    to = folder / "offered"
    environment = {**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(to)}
    subprocess.run([sys.executable, "-m", "conformance"], env=environment, check=True)
    assert {word.strip() for word in to.read_text().split("\n")} & {
        "redact",
        "--what-changed",
        "warning",
    } == offered


def test_a_closed_pipe_is_silent(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "conformance", "rule", "--all"], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    _, err = process.communicate(timeout=60)
    assert err == b""


def test_no_secret_in_any_report(folder: Path, hoplint) -> None:
    secret = "cAnArY0123456789"
    (folder / "secret.http").write_text(
        f"> GET /?key={secret} HTTP/1.1\n> Host: a\n> Authorization: Bearer {secret}\n> Authorization: Bearer {secret}2\n"
        f"> X-Api-Key: {secret}\n> x-api-key: {secret}3\n> Cookie: a={secret}\\x00\n"
        f"< HTTP/1.1 200 OK\n< Set-Cookie: a={secret}\\x01; Path=/\n"
    )
    for name in ("full", "concise", "json"):
        code, out, err = hoplint("check", "secret.http", "--format", name, "-v")
        assert code == 1
        assert "duplicate-authorization" in out
        assert secret not in out + err


def test_nothing_read_is_no_report_but_json_is_always_json(folder: Path, hoplint) -> None:
    (folder / "a.png").write_bytes(PNG)
    assert hoplint("check", "a.png")[1] == ""
    document = json.loads(hoplint("check", "a.png", "nowhere.flow", "--format", "json")[1])
    assert [(r["path"], r["kind"]) for r in document["recordings"]] == [("a.png", None)]


# --- compare

SIDE = (
    "@ started: 1.{0}\n@ ended: 1.{1}\n> GET /v1/models HTTP/1.1\n> Host: a.example\n"
    "< HTTP/1.1 200 OK\n< Date: Fri, 20 Nov 2026 03:14:14 GMT\n< Content-Length: 0\n"
)


@pytest.fixture
def sides(folder: Path) -> None:
    (folder / "client.http").write_text(SIDE.format(0, 9) + "< Server: a\n< Server: b\n")
    (folder / "server.http").write_text(
        SIDE.format(2, 8) + "< Server: a\n\n@ started: 0.1\n@ ended: 0.2\n> GET /health HTTP/1.1\n"
    )


@pytest.mark.usefixtures("sides")
def test_compare_tells_what_the_hop_did(hoplint) -> None:
    code, out, err = hoplint("compare", "client.http", "server.http", "--format", "concise")
    assert (code, err) == (1, "")
    first, *notes, tally = out.splitlines()
    assert first == (
        "client.http:9: error[duplicate-header-added-by-hop] Server came once and left the gateway twice"
    )
    assert notes == [
        "note: client.http: 1 of its exchanges were found on the other side",
        "note: server.http: 1 were the gateway's own (health checks, discovery): #2",
    ]
    assert tally.startswith("1 finding (1 error) in 3 exchanges of 2 recordings")


@pytest.mark.usefixtures("sides")
def test_compare_all_lints_each_side_too(hoplint) -> None:
    words = ("compare", "client.http", "server.http", "--format", "json")
    rules = {f["rule"]: f["path"] for f in json.loads(hoplint(*words)[1])["findings"]}
    assert rules == {"duplicate-header-added-by-hop": "client.http"}
    rules |= {f["rule"]: f["path"] for f in json.loads(hoplint(*words, "--all")[1])["findings"]}
    assert (rules["duplicate-server"], rules["host-missing"]) == ("client.http", "server.http")


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["client.http", "server.http", "--ignore", "hops"], 0),
        (["client.http", "server.http", "--select", "leaks"], 0),
        (["client.http", "client.http"], 0),
        (["client.http", "server.http", "--exit-zero"], 0),
        (["client.http", "absent.http"], 2),
        (["client.http"], 2),
        (["client.http", "server.http", "--select", "hop"], 2),
    ],
    ids=str,
)
def test_compare_exits_as_check_does(hoplint, words: list[str], code: int) -> None:
    assert hoplint("compare", *words)[0] == code


FORMATS = ("full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown", "html")


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_reports_what_is_found_and_what_fails(hoplint, folder: Path, format_: str) -> None:
    code, out, err = hoplint("check", "bad.http", "--format", format_)
    assert (code, err) == (1, "")
    assert "duplicate-server" in out.replace("&#45;", "-")
    assert hoplint("check", "bad.http", "--format", format_) == (code, out, err)
    code, out, err = hoplint("check", "bad.http", "nowhere.flow", "--format", format_)
    assert code == 2
    assert err.count("\n") == 1
    # What could not be read is in the report where the format can say it, not only on stderr.
    assert ("nowhere" in out) == (format_ not in ("full", "concise", "json"))


def test_all_reports_at_once(hoplint, folder: Path) -> None:
    words = [word for format_ in FORMATS for word in ("--report", f"{format_}=out.{format_}")]
    code, out, err = hoplint("check", ".", "-q", *words)
    assert (code, err) == (1, "")
    assert out == (folder / "out.full").read_text()
    assert "<svg" in (folder / "out.html").read_text()
    assert all((folder / f"out.{format_}").stat().st_size for format_ in FORMATS)


def test_a_file_may_be_called_anything(hoplint, folder: Path) -> None:
    name = os.fsdecode(b"a\xff<b>.http")
    (folder / name).write_text(DOUBLED)
    for format_ in FORMATS:
        code, out, err = hoplint("check", name, "--format", format_, "--report", f"{format_}=out")
        assert (code, err) == (1, "")
        assert "duplicate-server" in out.replace("&#45;", "-")


def test_proxy_puts_mitmproxys_words_together(hoplint, monkeypatch) -> None:
    from conformance import mitm

    asked = []
    monkeypatch.setattr(mitm, "run", lambda words, **options: asked.append((words, options)) or 0)
    code, out, err = hoplint(
        *("proxy", "--isolated", "--bare", "--record", "kept", "--octets", "--ui", "web"),
        *("-m", "reverse:http://127.0.0.1:4000", "-p", "9000", "--set", "ssl_insecure=true"),
    )
    assert (code, out) == (0, "")
    assert err == (
        "hoplint: export OPENAI_BASE_URL=http://127.0.0.1:9000/v1\n"
        "hoplint: export ANTHROPIC_BASE_URL=http://127.0.0.1:9000\n"
        "hoplint: codex -c 'openai_base_url=\"http://127.0.0.1:9000/v1\"' ...\n"
    )
    ((words, options),) = asked
    scripts = [Path(word).stem for word in words if word.endswith(".py")]
    assert scripts == ["stream_events", "record_flows", "record_octets"]
    assert "record_flows_folder=kept" in words
    assert words[:4] == ["--mode", "reverse:http://127.0.0.1:4000", "--listen-port", "9000"]
    assert words[-2:] == ["--set", "ssl_insecure=true"]
    assert (options["tool"], options["suite"]) == ("mitmweb", False)


@pytest.mark.parametrize(
    ("words", "is_said"),
    [
        ([], True),
        (["--listen-host", "0.0.0.0"], True),
        (["--listen-host", "127.0.0.1"], False),
        (["--bare"], False),
    ],
)
def test_proxy_says_who_can_use_its_keys(
    words: list[str], is_said: bool, hoplint, monkeypatch, tmp_path
) -> None:
    from conformance import mitm

    monkeypatch.setattr(mitm, "run", lambda words, **options: 0)
    settings = tmp_path / "keys.toml"
    settings.write_text('[policy.auth]\ndata-key = "env:HOPLINT_TEST_KEY"\n')
    command = ("proxy", "--config", str(settings), "-m", "reverse:http://127.0.0.1:4000", *words)
    monkeypatch.delenv("HOPLINT_TEST_KEY", raising=False)
    assert "uses auth.data-key" not in hoplint(*command)[2]
    monkeypatch.setenv("HOPLINT_TEST_KEY", "sk-canary-0123456789")
    code, _, err = hoplint(*command)
    assert code == 0
    assert ("whoever reaches this proxy uses auth.data-key" in err) is is_said
    assert "sk-canary" not in err


@pytest.mark.parametrize(
    ("words", "has_it"),
    [
        (["-m", "reverse:http://a"], True),
        (["-m", "reverse:http://a", "-m", "reverse:http://b@9"], True),
        (["-m", "reverse:http://a", "--set", "connection_strategy=eager"], False),
        (["-m", "reverse:https://a"], False),
        (["-m", "reverse:http://a", "-m", "regular"], False),
        ([], False),
    ],
)
def test_proxy_waits_for_a_request_before_it_connects(
    words: list[str], has_it: bool, hoplint, monkeypatch
) -> None:
    from conformance import mitm

    asked = []
    monkeypatch.setattr(mitm, "run", lambda words, **options: asked.extend(words) or 0)
    assert hoplint("proxy", "--isolated", *words)[0] == 0
    assert ("connection_strategy=lazy" in asked) is has_it

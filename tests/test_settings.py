import json
from pathlib import Path

import pytest

from conformance import settings
from conformance.policy import Policy, PolicyError
from conformance.settings import load


def test_defaults_and_their_sources() -> None:
    loaded = load(isolated=True)
    assert loaded.settings.lint.fail_on == "error"
    assert loaded.settings.policy == Policy()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.path is None


def test_nearest_file_upwards(tmp_path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "hoplint.toml").write_text('[lint]\nfail-on = "note"\n')
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    loaded = load(below)
    assert (loaded.settings.lint.fail_on, loaded.path) == ("note", tmp_path / "hoplint.toml")
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.hoplint.lint]\nfail-on = "never"\n')
    assert load(below).settings.lint.fail_on == "never"
    (tmp_path / "a" / "hoplint.toml").write_text('[lint]\nfail-on = "warning"\n')
    assert load(below).settings.lint.fail_on == "warning"
    assert load(below, isolated=True).settings.lint.fail_on == "error"
    assert load(below, config=tmp_path / "hoplint.toml").settings.lint.fail_on == "note"


def test_profile_lies_under_file_and_command_line_over_both(tmp_path, monkeypatch) -> None:
    shelf = tmp_path / "profiles"
    shelf.mkdir()
    (shelf / "one.toml").write_text(
        '[lint]\nfail-on = "note"\nignore = ["a"]\n[lint.severity]\nx = "note"\ny = "note"\n'
        '[policy.dedupe-headers]\nleave = ["server"]\n'
    )
    (shelf / "two.toml").write_text('[lint]\nexclude = ["*.bak"]\n')
    monkeypatch.setattr(settings, "PROFILES", shelf)
    (tmp_path / "hoplint.toml").write_text(
        'profile = "one"\n[lint]\nfail-on = "warning"\n[lint.severity]\ny = "error"\n'
    )
    loaded = load(tmp_path)
    lint = loaded.settings.lint
    assert (lint.fail_on, lint.ignore, lint.severity) == ("warning", ("a",), {"x": "note", "y": "error"})
    assert loaded.settings.policy.dedupe_headers.leave == ("server",)
    assert loaded.sources["lint.fail-on"] == "hoplint.toml"
    assert loaded.sources["lint.ignore"] == "profile one"
    assert loaded.sources["policy.dedupe-headers.leave"] == "profile one"
    assert loaded.sources["policy.dedupe-headers.keep-last"] == "default"
    other = load(tmp_path, profile="two")
    assert (other.settings.lint.exclude, other.settings.lint.ignore) == (("*.bak",), ())
    assert (other.settings.profile, other.sources["profile"]) == ("two", "command line")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[lint]\nfail_on = 'note'\n", "lint.fail_on: there is no such key; did you mean fail-on"),
        ("[lnt]\n", "lnt: there is no such key; did you mean lint"),
        ("[policy.dedupe]\n", "policy.dedupe: there is no such key; did you mean dedupe-headers"),
        (
            "[lint]\nfail-on = 'fatal'\n",
            "lint.fail-on: input should be 'error', 'warning', 'note' or 'never'",
        ),
        ("[lint]\nselect = 'ALL'\n", "lint.select: should be a list"),
        ("lint = 3\n", "lint: should be a table"),
        ("[lint.severity]\nx = 'bad'\n", "lint.severity.x: input should be 'error', 'warning' or 'note'"),
        ("[policy.dedupe-headers]\nonce = ['Set-Cookie']\n", "once.0: set-cookie may stand on several lines"),
        ("[policy.dedupe-headers]\nonce = ['a b', 'c d']\n", "'a b' is not a field name (and 1 more)"),
        ("profile = 'genric'\n", "profile: there is no profile 'genric'; did you mean generic"),
        ("[lint\n", "at line 1, column 6"),
        ("a = '\xff'\n", "is not UTF-8"),
    ],
)
def test_errors_are_one_line(text: str, said: str, tmp_path) -> None:
    (tmp_path / "hoplint.toml").write_text(text, encoding="latin-1")
    with pytest.raises(PolicyError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert said in message
    assert "hoplint.toml: " in message
    assert "\n" not in message


def test_files_that_are_missing_or_not_ours(tmp_path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml: No such file"):
        load(tmp_path, config=tmp_path / "nowhere.toml")
    (tmp_path / "pyproject.toml").write_text("[tool]\n")
    with pytest.raises(PolicyError, match=r"has no \[tool\.hoplint\]"):
        load(tmp_path, config=tmp_path / "pyproject.toml")
    with pytest.raises(PolicyError, match="command line: profile: there is no profile"):
        load(tmp_path, profile="nothing-like-it")


@pytest.mark.parametrize("name", settings.profiles())
def test_shipped_profiles_can_be_used(name: str) -> None:
    assert load(isolated=True, profile=name).settings.profile == name


def test_generic_profile_is_what_runs_without_one() -> None:
    assert load(isolated=True, profile="generic").settings.policy == Policy()


def test_schema_and_rows() -> None:
    schema = settings.json_schema()
    json.dumps(schema)
    assert schema["properties"].keys() == {"profile", "lint", "policy"}
    assert schema["$defs"]["DedupeHeaders"]["properties"].keys() == {"once", "keep-last", "leave"}
    rows = {key: value for key, value, _ in settings.rows(load(isolated=True))}
    assert rows["lint.fail-on"] == '"error"'
    assert rows["policy.dedupe-headers.keep-last"] == '["content-type", "date"]'
    assert rows["lint.select"] == "(not set)"


def test_no_profile_is_named_in_code() -> None:
    code = Path(settings.__file__).read_text()
    assert not [name for name in settings.profiles() if f'"{name}"' in code]

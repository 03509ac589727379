import pytest
from pydantic import TypeAdapter, ValidationError

from conformance import policy, settings
from conformance.policy import Policy, PolicyError, Secret, reveal


def test_secret_is_never_a_literal() -> None:
    adapter = TypeAdapter(Secret)
    assert adapter.validate_python("env:API_KEY") == "env:API_KEY"
    assert adapter.validate_python("file:~/key") == "file:~/key"
    for literal in ("sk-verysecret", "env:", "env:A B", "file:"):
        with pytest.raises(ValidationError) as caught:
            adapter.validate_python(literal)
        said = policy.problem(caught.value)
        assert "env:NAME or file:PATH" in said
        assert "verysecret" not in said


def test_reveal(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOP_KEY", " k1\n")
    assert reveal("env:HOP_KEY") == b"k1"
    path = tmp_path / "key"
    path.write_bytes(b"k2\n")
    assert reveal(f"file:{path}") == b"k2"
    path.write_bytes(b"verysecret\r\nX-Injected: 1\n")
    with pytest.raises(PolicyError, match="more than one line") as caught:
        reveal(f"file:{path}")
    assert "verysecret" not in str(caught.value)
    path.write_bytes(b" \n")
    with pytest.raises(PolicyError, match="it is empty"):
        reveal(f"file:{path}")
    monkeypatch.delenv("HOP_KEY")
    with pytest.raises(PolicyError, match="env:HOP_KEY: there is no such environment variable"):
        reveal("env:HOP_KEY")
    with pytest.raises(PolicyError, match="No such file"):
        reveal(f"file:{tmp_path / 'none'}")


def test_every_setting_has_a_manual() -> None:
    def walk(model: type[policy.Table], path: str) -> None:
        for name, info in model.model_fields.items():
            assert info.description, f"{path}{name}"
            if isinstance(info.annotation, type) and issubclass(info.annotation, policy.Table):
                walk(info.annotation, f"{path}{name}.")

    walk(settings.Settings, "")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Policy().suite.without = ("x",)  # type: ignore[misc]


@pytest.mark.parametrize(
    "table", ['websocket = "a\\r\\nX-Injected: 1"', 'websocket = "a, b"', 'rename = { a = "b\\u0000" }']
)
def test_a_beta_token_cannot_be_a_second_header_line(table: str, tmp_path) -> None:
    (tmp_path / "hoplint.toml").write_text(f"[policy.betas]\n{table}\n")
    with pytest.raises(PolicyError, match="is no beta token") as caught:
        settings.load(config=tmp_path / "hoplint.toml")
    assert "\n" not in str(caught.value)

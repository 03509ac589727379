"""What lines and paths are taken for. What is wrong with credentials is in tests/rules/test_authentication.py."""

import pytest

from conformance import credential
from conformance.message import Fields, Request
from conformance.policy import Auth


def request(*lines: tuple[bytes, bytes], target: bytes = b"/v1/models") -> Request:
    return Request(fields=Fields(lines), method=b"GET", target=target)


@pytest.mark.parametrize(
    ("name", "value", "token", "rule"),
    [
        (b"Authorization", b"Bearer sk-1", b"sk-1", None),
        (b"authorization", b"bearer sk-1", b"sk-1", "bearer-scheme-in-wrong-case"),
        (b"Authorization", b"Bearer None", None, "placeholder-bearer-token"),
        (b"Authorization", b"Bearer ***", None, None),
        (b"Authorization", b"Basic YTpi", None, None),
        (b"x-litellm-api-key", b"Bearer sk-1", b"sk-1", None),
        (b"x-api-key", b"", None, "empty-api-key-header"),
        (b"x-api-key", b"${KEY}", None, "unexpanded-template-in-credential"),
    ],
)
def test_lines(name: bytes, value: bytes, token: bytes | None, rule: str | None) -> None:
    asked = request((b"Host", b"a"), (name, value))
    (found,) = credential.judged(asked)
    assert (found.token, found.rule) == (token, rule)
    assert found.line is asked.fields[1]


def test_words_written_on_purpose_are_harmless_by_themselves() -> None:
    word = (b"x-api-key", b"not-used")
    assert [found.rule for found in credential.judged(request(word))] == [None]
    rules = {found.rule for found in credential.judged(request(word, (b"Authorization", b"Bearer sk-1")))}
    assert rules == {None, "placeholder-api-key"}


@pytest.mark.parametrize(
    ("target", "is_control", "is_needed"),
    [
        (b"/v1/models", False, True),
        (b"/engine/flush_cache?a=/health", True, False),
        (b"/health_generate", False, False),
        (b"/nobody/knows", False, False),
    ],
)
def test_paths(target: bytes, is_control: bool, is_needed: bool) -> None:
    asked = request(target=target)
    assert credential.is_control(asked, Auth()) is is_control
    assert credential.needs_credential(asked, Auth()) is is_needed


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (b"/a?key=x", []),
        (b"/a?key=AIzaSy0000000000000000", [b"key"]),
        (b"/a?api-key=x&b=1", [b"api-key"]),
        (b"/a?api-key=None", []),
        (b"/a?sig=x", [b"sig"]),
    ],
)
def test_parameters(target: bytes, names: list[bytes]) -> None:
    assert credential.parameters(request(target=target), ("sig",)) == names

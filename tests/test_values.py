import pytest
from pydantic import TypeAdapter, ValidationError

from conformance import values


@pytest.mark.parametrize(
    ("kind", "good", "bad", "said"),
    [
        (values.Secret, "env:KEY", "sk-canary", "env:NAME or file:PATH"),
        (values.FieldName, "x-name", "x name", "is not a field name"),
        (values.OnceName, "server", "set-cookie", "may stand on several lines"),
        (values.FieldNames, "x-*", "x-*-id", "stands at the end"),
        (values.StatusOrClass, "5xx", "200", "no error status"),
        (values.ErrorStatus, 502, 302, "greater than or equal to 400"),
        (values.Pattern, "[a-z]+", "[a-z", "not a regular expression"),
        (values.Source, "path:/s/([^/]+)", "path:/s/", "one group"),
        (values.Source, "/session_id", "name:x", "is no source"),
        (values.RedisUrl, "redis://127.0.0.1:6379/0", "http://127.0.0.1", "begins with redis://"),
        (values.RedisUrl, "unix:///run/redis.sock", "redis://:canary@127.0.0.1", "holds no password"),
    ],
)
def test_what_a_value_may_be(kind: type, good: object, bad: object, said: str) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(good) == good
    with pytest.raises(ValidationError, match=said) as problem:
        adapter.validate_python(bad)
    assert "canary" not in problem.value.errors(include_input=False)[0]["msg"]

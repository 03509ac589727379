"""The kinds of values that a policy's fields take: checked where they are written, with what is wrong in a sentence."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from conformance.grammar import TOKEN
from conformance.known import REPEATABLE

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+", re.DOTALL)


def _reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        # Never echoed: what stands here is probably the credential itself.
        raise ValueError("a secret is never written down: name where it is, env:NAME or file:PATH")
    return value


Secret = Annotated[
    str,
    AfterValidator(_reference),
    Field(json_schema_extra={"pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"}),
]
"""Where a credential is kept: ``env:NAME`` or ``file:PATH``. ``reveal`` reads it."""


def _field_name(name: str) -> str:
    if not TOKEN.fullmatch(name.encode()):
        raise ValueError(f"{name!r} is not a field name")
    return name.lower()


def _once(name: str) -> str:
    if name in REPEATABLE:
        raise ValueError(f"{name} may stand on several lines (RFC 9110 §5.3)")
    return name


FieldName = Annotated[str, AfterValidator(_field_name)]
"""A header's name; compared in lower case."""

OnceName = Annotated[FieldName, AfterValidator(_once)]
"""A header's name, of a header that is no list."""


def _field_names(name: str) -> str:
    if "*" in name[:-1]:
        raise ValueError(f"{name!r}: a * stands at the end, for any rest of the name")
    return name


FieldNames = Annotated[FieldName, AfterValidator(_field_names)]
"""A header's name, or with a * at its end all names that begin like that; ``known.named`` matches them."""


_ERROR_STATUS = re.compile(r"[45](?:[0-9][0-9]|xx)")


def _error_status(status: str) -> str:
    if not _ERROR_STATUS.fullmatch(status):
        raise ValueError(f"{status!r} is no error status: 400 to 599, 4xx or 5xx")
    return status


StatusOrClass = Annotated[str, AfterValidator(_error_status)]
"""An error status, or all of a class: ``4xx``, ``5xx``."""

ErrorStatus = Annotated[int, Field(ge=400, le=599)]
"""A status from 400 on."""


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as problem:
        raise ValueError(f"is not a regular expression: {problem}") from None
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression."""


def _source(text: str) -> str:
    """Header names are told apart from paths and members by how they begin."""
    if text.startswith("/"):
        return text
    kind, colon, pattern = text.partition(":")
    if colon:
        if kind != "path" or re.compile(_pattern(pattern)).groups != 1:
            raise ValueError(f"{text!r} is no source: path:REGEX has one group, which is the id")
        return text
    return _field_name(text)


Source = Annotated[str, AfterValidator(_source)]
"""Where an id may be: a header (`*` stands for anything), `path:REGEX`, or a JSON Pointer (RFC 6901)."""


def _beta(token: str) -> str:
    if not re.fullmatch(r"[!#-+\--~]+", token):
        raise ValueError(f"{token!r} is no beta token: they have neither blanks, commas nor quotes in them")
    return token


Beta = Annotated[str, AfterValidator(_beta)]
"""A beta token, as it is written into a header."""


def _redis_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "unix") or not separator:
        raise ValueError("begins with redis://, rediss:// or unix://")
    if "@" in rest or "password=" in rest:
        # Never echoed, as with a Secret.
        raise ValueError("holds no password: `password` names where it is, env:NAME or file:PATH")
    return url


RedisUrl = Annotated[str, AfterValidator(_redis_url)]
"""Where a Redis is: ``redis://HOST:PORT/DB``, ``rediss://`` or ``unix://``, without a password."""

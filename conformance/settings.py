"""Where settings come from: hoplint.toml, its profiles, and how they are laid over each other.

A settings file is ``hoplint.toml``, or ``[tool.hoplint]`` in ``pyproject.toml``: the nearest one upwards
from where the work starts. A profile is a TOML document of the same shape in ``conformance/profiles/``; it
lies under the file, and the command line over both. No code branches on the name of a profile.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from conformance.policy import Policy, PolicyError, Table, problem
from conformance.rule import Severity

PROFILES = Path(__file__).parent / "profiles"


class ScopeSettings(Table):
    """``[[lint.scope]]``: what to ignore in one place. A finding is ignored where all conditions hold."""

    ignore: tuple[str, ...] = Field(
        min_length=1, description="What to ignore: rules, topics, rfcNNNN or ALL."
    )
    reason: str = Field(min_length=1, description="Why; reports say it.")
    host: tuple[str, ...] = Field(default=(), description="Globs of the host that the request names.")
    path: tuple[str, ...] = Field(default=(), description="Globs of the path, without its query.")
    status: tuple[Annotated[str, Field(pattern="^[1-5]([0-9][0-9]|xx)$")], ...] = Field(
        default=(), description='Statuses of the response: "404", or a class, "5xx".'
    )
    direction: Literal["request", "response", "client", "server"] | None = Field(
        default=None,
        description="Which message it is in (request, response), or who sent what is wrong (client, server).",
    )
    expires: date | None = Field(
        default=None, description="The last day it holds; then the findings count again, and a note says so."
    )


class LintSettings(Table):
    """How ``hoplint check`` lints."""

    select: tuple[str, ...] | None = Field(
        default=None, description="Run only these: rules, topics, rfcNNNN or ALL. Not given: all but notes."
    )
    extend_select: tuple[str, ...] = Field(default=(), description="Run these too.")
    ignore: tuple[str, ...] = Field(default=(), description="Do not run these.")
    severity: dict[str, Severity] = Field(
        default={},
        description="The severity of single rules: error, warning, note. A note that is off is switched on by another.",
    )
    fail_on: Literal["error", "warning", "note", "never"] = Field(
        default="error", description="The least severity that makes the exit code 1."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Globs of recordings that are not read.")
    per_recording: dict[str, tuple[str, ...]] = Field(
        default={}, description="What to ignore in the recordings that a glob matches."
    )
    scope: tuple[ScopeSettings, ...] = Field(
        default=(), description="What to ignore for a host, a path, a status, a direction, until a date."
    )


class Settings(Table):
    """A whole settings file."""

    profile: str | None = Field(default=None, description="The profile that lies under this file.")
    lint: LintSettings = Field(default=LintSettings(), description="How `hoplint check` lints.")
    policy: Policy = Field(default=Policy(), description="What the traffic shall look like.")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force."""

    settings: Settings
    sources: Mapping[str, str]
    """Dotted key -> where its value came from: a file, ``profile NAME``, ``command line`` or ``default``."""
    path: Path | None = None
    """The settings file that was read."""


def profiles() -> dict[str, Path]:
    """The profiles there are, by name."""
    return {found.stem: found for found in sorted(PROFILES.glob("*.toml"))}


def load(
    start: Path | None = None,
    config: Path | None = None,
    isolated: bool = False,
    profile: str | None = None,
) -> Loaded:
    """The settings in force for work that starts in the folder ``start`` (default: the current one).

    ``config`` names the settings file instead of looking for it, ``isolated`` reads none, ``profile``
    overrides the one the file names. Raises PolicyError.
    """
    start = (start or Path.cwd()).absolute()
    path: Path | None = None
    document: dict[str, Any] = {}
    if config is not None:
        path, found = config, _section(config)
        if found is None:
            raise PolicyError(f"{config}: it has no [tool.hoplint]")
        document = found
    elif not isolated:
        path, document = _nearest(start)
    shown = "" if path is None else _shown(path, start)
    if path is not None:
        _validated(document, shown)
    name, said = (profile, "command line") if profile is not None else (document.get("profile"), shown)
    layers: list[tuple[str, dict[str, Any]]] = []
    if name is not None:
        layers.append((f"profile {name}", _profile(name, said)))
    layers.append((shown, document))
    if profile is not None:
        layers.append(("command line", {"profile": profile}))
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        _lay_over(merged, layer, source, Settings, sources)
    settings = Settings.model_validate(merged)
    return Loaded(settings, {key: sources.get(key, "default") for key, _ in _leaves(settings)}, path)


def _nearest(start: Path) -> tuple[Path | None, dict[str, Any]]:
    for folder in (start, *start.parents):
        for name in ("hoplint.toml", "pyproject.toml"):
            path = folder / name
            if path.is_file() and (section := _section(path)) is not None:
                return path, section
    return None, {}


def _section(path: Path) -> dict[str, Any] | None:
    """``[tool.hoplint]`` of a pyproject.toml, if there is one; any other file is nothing but settings."""
    document = _toml(path)
    if path.name != "pyproject.toml":
        return document
    tools = document.get("tool")
    section = tools.get("hoplint") if isinstance(tools, dict) else None
    if section is not None and not isinstance(section, dict):
        raise PolicyError(f"{path}: tool.hoplint: should be a table")
    return section


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as problem:
        raise PolicyError(f"{path}: {problem.strerror}") from None
    except RecursionError:
        raise PolicyError(f"{path}: is nested too deep") from None
    except UnicodeDecodeError as problem:
        raise PolicyError(f"{path}: is not UTF-8 (octet {problem.start})") from None
    except tomllib.TOMLDecodeError as problem:  # says line and column
        raise PolicyError(f"{path}: is not TOML: {problem}") from None


def _profile(name: object, said: str) -> dict[str, Any]:
    known = profiles()
    if not isinstance(name, str) or name not in known:
        raise PolicyError(f"{said}: profile: there is no profile {name!r}{_nearest_names(str(name), known)}")
    document = _toml(known[name])
    if "profile" in document:
        raise PolicyError(f"profile {name}: profile: a profile cannot lie on another")
    _validated(document, f"profile {name}")
    return document


def _shown(path: Path, start: Path) -> str:
    near = path.absolute().is_relative_to(start)
    return str(path.absolute().relative_to(start)) if near else str(path)


def _nearest_names(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f" (there are: {', '.join(known)})"


def _tables(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    """Key -> the model of the table under it; None where the key holds a value."""
    found: dict[str, type[BaseModel] | None] = {}
    for name, info in model.model_fields.items():
        under = info.annotation
        found[info.alias or name] = (
            under if isinstance(under, type) and issubclass(under, BaseModel) else None
        )
    return found


def _validated(document: dict[str, Any], source: str) -> None:
    """Raises PolicyError unless the document can be used by itself."""
    _refuse_unknown_keys(document, Settings, source, "")
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        raise PolicyError(f"{source}: {problem(error)}") from None


def _refuse_unknown_keys(document: dict[str, Any], model: type[BaseModel], source: str, prefix: str) -> None:
    # Not left to pydantic: it would take attribute names for keys, and cannot say which key was meant.
    known = _tables(model)
    for key, value in document.items():
        if key not in known:
            raise PolicyError(f"{source}: {prefix}{key}: there is no such key{_nearest_names(key, known)}")
        under = known[key]
        if under is not None and isinstance(value, dict):
            _refuse_unknown_keys(value, under, source, f"{prefix}{key}.")


def _lay_over(
    merged: dict[str, Any],
    layer: Mapping[str, Any],
    source: str,
    model: type[BaseModel],
    sources: dict[str, str],
    prefix: str = "",
) -> None:
    """Tables are merged key by key; a list or a value replaces the one below."""
    known = _tables(model)
    for key, value in layer.items():
        under = known.get(key)
        if under is not None:
            _lay_over(merged.setdefault(key, {}), value, source, under, sources, f"{prefix}{key}.")
            continue
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        sources[f"{prefix}{key}"] = source


def _leaves(table: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, info in type(table).model_fields.items():
        value, key = getattr(table, name), f"{prefix}{info.alias or name}"
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def rows(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(dotted key, value as TOML writes it, where it came from) of every setting; for ``hoplint config``."""
    return [(key, _as_toml(value), loaded.sources[key]) for key, value in _leaves(loaded.settings)]


def _as_toml(value: Any) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, BaseModel):
        return _as_toml(value.model_dump(by_alias=True, exclude_defaults=True))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {_as_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of hoplint.toml."""
    schema = Settings.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "hoplint.toml"}

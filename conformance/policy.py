"""What a hop wants, as data: the settings of hoplint.toml, its profiles, and how they are read.

A settings file is ``hoplint.toml``, or ``[tool.hoplint]`` in ``pyproject.toml``: the nearest one upwards
from where the work starts. A profile is a TOML document of the same shape in ``conformance/profiles/``; it
lies under the file, and the command line over both. No code branches on the name of a profile.

Every table forbids keys it does not know. The description of a field is its manual: it is what
``hoplint config --schema``, ``mitmdump --options`` and ``addons/README.md`` say.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from conformance.grammar import TOKEN
from conformance.known import (
    BROWSER_SECURITY,
    CDN,
    CLIENT_ADDRESS,
    CORS,
    GATEWAY_CONTROL,
    GATEWAY_INTERNAL,
    INTERNAL_ROUTING,
    PROVIDERS,
    REPEATABLE,
)
from conformance.rule import Severity

PROFILES = Path(__file__).parent / "profiles"


class PolicyError(ValueError):
    """Settings that cannot be used; one line that names the file, the key and what is wrong."""


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Table(BaseModel):
    """One TOML table. Keys are written in kebab case; Python code may use the attribute names."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, populate_by_name=True)


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


def reveal(reference: str) -> bytes:
    """The credential that a ``Secret`` names, without white space around it.

    Raises PolicyError where it is missing, empty, or could not stand in a field value (RFC 9110 §5.5); the
    text names the place and never holds the credential.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        if place not in os.environ:
            raise PolicyError(f"{reference}: there is no such environment variable")
        found = os.environ[place].encode(errors="surrogateescape")
    else:
        try:
            found = Path(place).expanduser().read_bytes()
        except OSError as problem:
            raise PolicyError(f"{reference}: {problem.strerror}") from None
    credential = found.strip()
    if not credential:
        raise PolicyError(f"{reference}: it is empty")
    if any(octet < 0x20 or octet >= 0x7F for octet in credential):
        raise PolicyError(f"{reference}: it holds control characters or more than one line")
    return credential


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


class DedupeHeaders(Table):
    """Addon dedupe-headers: one line for each header that may appear once."""

    once: tuple[OnceName, ...] = Field(
        # Where the conversation, the deployment or the API's version is named: routers read the first line,
        # other hops the last, and a joined value is none at all.
        default=(
            "x-smg-routing-key",
            "x-litellm-session-id",
            "x-litellm-trace-id",
            "x-claude-code-session-id",
            "session-id",
            "session_id",
            "thread-id",
            "conversation_id",
            "x-codex-session-id",
            "x-codex-conversation-id",
            "x-conversation-id",
            "x-session-id",
            "x-parent-session-id",
            "x-session-affinity",
            "x-session-token",
            "x-opencode-session",
            "x-bf-session-id",
            "x-dynamo-session-id",
            "anthropic-version",
            "api-version",
        ),
        description="Headers that may appear only once, beside those that the standards know.",
    )
    keep_last: tuple[OnceName, ...] = Field(
        # A hop writes its own lines and then copies its upstream's behind them. uvicorn does so with Date; a
        # recorded gateway put `text/event-stream` before the `application/json` of 18 of 20 responses, and
        # only the last one said what the content was.
        default=("content-type", "date"),
        description="Headers whose last line is kept, being the origin's; of all others the first is.",
    )
    leave: tuple[FieldName, ...] = Field(
        default=(),
        description="Headers that are never touched. Lines of Host, Authorization and API keys that differ "
        "from each other are left alone in any case.",
    )


class StreamEvents(Table):
    """Addon stream-events: event streams pass through unbuffered and are recorded all the same."""

    content_types: tuple[str, ...] = Field(
        default=(
            "text/event-stream",
            "application/x-ndjson",
            "application/jsonl",
            "application/stream+json",
            "application/vnd.amazon.eventstream",
        ),
        description="Media types of responses that are passed on piece by piece.",
    )
    keep: int = Field(
        default=64 * 2**20,
        ge=0,
        description="Octets of a stream that are kept for the recording; what is beyond is only passed on.",
    )


class Routing(Table):
    """Topic routing: who may say which worker serves a request."""

    internal: tuple[FieldName, ...] = Field(
        default=tuple(sorted(INTERNAL_ROUTING)),
        description="Headers by which a gateway tells the next hop which worker to use.",
    )
    behind_gateway: bool = Field(
        default=False,
        description="This hop lies behind the gateway that sets these headers, so that they are expected.",
    )
    providers: tuple[str, ...] = Field(
        default=PROVIDERS,
        description="Hosts of the public model providers, as shell patterns; `*`: every upstream is one.",
    )


class StripHopHeaders(Table):
    """Addon strip-hop-headers: what is meant for one hop stays there."""

    from_requests: tuple[FieldNames, ...] = Field(
        default=(),
        description="Headers that are dropped from every request, beside those that belong to one connection. "
        "A name that ends in * stands for all that begin so.",
    )
    from_requests_to_providers: tuple[FieldNames, ...] = Field(
        default=(*CDN, *CLIENT_ADDRESS, *GATEWAY_CONTROL, "cookie"),
        description="Headers that are dropped from requests to the hosts in `routing.providers`.",
    )
    leave: tuple[FieldNames, ...] = Field(
        default=(), description="Headers that stay although one of the other lists names them."
    )


class FilterHandshake(Table):
    """Addon filter-handshake: a WebSocket handshake carries what a WebSocket handshake may carry."""

    drop: tuple[FieldNames, ...] = Field(
        # What belongs to a request with content, and what belonged to another connection. Cookie,
        # Accept-Encoding and Accept-Language are not here: browsers send them with every handshake.
        default=(
            "content-*",
            "transfer-encoding",
            "te",
            "trailer",
            "expect",
            "idempotency-key",
            "keep-alive",
            "proxy-connection",
        ),
        description="Headers that are dropped from handshakes; `*`: all but `keep` and the handshake's own. "
        "Accept is dropped anyway if it asks for a media type.",
    )
    keep: tuple[FieldNames, ...] = Field(
        default=(), description="Headers that stay although `drop` names them."
    )
    drop_extensions: bool = Field(
        default=False,
        description="Offer no extensions, so no compression, for clients and servers that disagree about it.",
    )
    drop_subprotocols: bool = Field(
        default=False, description="Offer no subprotocols. A client that insists on one then gives up."
    )


class ResponseHeaders(Table):
    """Topic leaks and addon allow-response-headers: which headers of a response clients get to see."""

    allow: tuple[FieldNames, ...] = Field(
        default=(),
        description="Headers that a response may carry, beside those that frame and describe its content; a "
        "name that ends in * stands for all that begin so. None named: all but the other lists.",
    )
    internal: tuple[FieldNames, ...] = Field(
        default=GATEWAY_INTERNAL,
        description="Headers that show what is behind a gateway. They are dropped unless `allow` names them.",
    )
    from_providers: tuple[FieldNames, ...] = Field(
        default=("set-cookie", "set-cookie2", *CORS, *BROWSER_SECURITY),
        description="Headers that are dropped from responses of the hosts in `routing.providers` unless "
        "`allow` names them.",
    )


_ERROR_STATUS = re.compile(r"[45](?:[0-9][0-9]|xx)")


def _error_status(status: str) -> str:
    if not _ERROR_STATUS.fullmatch(status):
        raise ValueError(f"{status!r} is no error status: 400 to 599, 4xx or 5xx")
    return status


ErrorStatus = Annotated[int, Field(ge=400, le=599)]


class MapStatus(Table):
    """Addon map-status: an upstream's errors as this hop's."""

    enabled: bool = Field(default=False, description="Whether any status is changed.")
    statuses: dict[Annotated[str, AfterValidator(_error_status)], ErrorStatus] = Field(
        # RFC 9110 §15.6: 502 and 504 are how a gateway says that its upstream failed. 503 says when to come
        # back, 529 is what Anthropic's SDK calls overloaded; 522 and 524 are Cloudflare's timeouts.
        default={"503": 503, "504": 504, "522": 504, "524": 504, "529": 529, "5xx": 502},
        description="Upstream's status = status for the client; 4xx and 5xx stand for those not named. Put "
        '"429" = 503 here where clients share one quota and none of them is to blame.',
    )
    refused_credential: ErrorStatus = Field(
        default=502,
        description="Status for the client where the upstream refuses (401, 403) a credential that inject-auth "
        "has put in: the client's own is not at fault.",
    )
    retry_after: int = Field(
        default=10,
        ge=1,
        description="Seconds to say in Retry-After where 429 or 503 came of a mapping without it.",
    )


class TameRetries(Table):
    """Addon tame-retries: errors that say whether and when to try again."""

    permanent: tuple[ErrorStatus, ...] = Field(
        # Not 401 and 403: clients renew their tokens on the first. 408, 409, 425 and 429 pass by waiting.
        default=(400, 404, 405, 406, 410, 411, 413, 414, 415, 417, 422, 431, 451, 501, 505),
        description="Statuses that waiting does not change: clients are told not to retry.",
    )
    overloaded: tuple[ErrorStatus, ...] = Field(
        default=(429, 503, 529), description="Statuses that must say when to retry."
    )
    retry_after: int = Field(
        default=10, ge=1, description="Seconds to wait, where the upstream does not say and should."
    )
    storm: int = Field(
        # The SDKs make three tries, Codex five: what comes then is another layer's.
        default=5,
        ge=0,
        description="After so many failures of the same request, each sent after the last had failed, clients "
        "are told not to retry (429, 503, 529: to wait longer); 0: never.",
    )
    storm_window: int = Field(default=600, ge=1, description="Seconds after which a failure is forgotten.")
    storm_retry_after: int = Field(default=60, ge=1, description="Seconds to wait at least, in a storm.")


class Auth(Table):
    """Topic authentication: where credentials go, and which requests need one."""

    required: bool = Field(
        default=False,
        description="The upstream refuses requests without a credential. What it answers with success is "
        "taken to need none.",
    )
    headers: tuple[FieldName, ...] = Field(
        default=(),
        description="Headers in which the upstream looks for a credential; none named: not known.",
    )
    parameters: tuple[str, ...] = Field(
        default=(),
        description="Parameters of the query in which the upstream looks for a credential too.",
    )
    open_paths: tuple[str, ...] = Field(
        default=("/health*", "/ready*", "/metrics*", "/liveness*", "/readiness*", "/ping", "/.well-known/*"),
        description="Globs of paths that need no credential.",
    )
    control_paths: tuple[str, ...] = Field(
        # What slime asks of SGLang's engines, and what SGLang counts as administration (srt/utils/auth.py):
        # names nobody else uses, so that they can be known without a profile.
        default=(
            "*/flush_cache",
            "*/update_weights_from_*",
            "*/pull_weights",
            "*/post_process_weights",
            "*/weights_checker",
            "*/init_weights_update_group",
            "*/destroy_weights_update_group",
            "*/release_memory_occupation",
            "*/resume_memory_occupation",
            "*/pause_generation",
            "*/continue_generation",
            "*/start_profile",
            "*/stop_profile",
            "*/abort_request",
            "*/set_internal_state",
            "*/load_lora_adapter",
            "*/unload_lora_adapter",
            "*/scale_elastic_ep",
        ),
        description="Globs of paths by which the upstream is administered.",
    )
    data_key: Secret | None = Field(
        default=None,
        description="Where the key of ordinary requests is kept (env:NAME, file:PATH), to recognise it where "
        "it does not belong. Nothing is compared where it is missing.",
    )
    control_key: Secret | None = Field(
        default=None,
        description="Where the key of the control plane is kept (env:NAME, file:PATH), for the same purpose.",
    )


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as problem:
        raise ValueError(f"is not a regular expression: {problem}") from None
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression."""


class Session(Table):
    """Topic sessions: how this upstream is told which conversation a request belongs to."""

    header: FieldName | None = Field(
        default=None,
        description="Header by which the upstream recognises a conversation. Not set: it is not known, and "
        "nothing is said about requests without one.",
    )
    reads: tuple[str, ...] = Field(
        default=(), description="Other headers it reads for want of that one; `*` stands for anything."
    )
    reads_of_agents: dict[str, tuple[FieldName, ...]] = Field(
        default={},
        description="Headers it reads from certain agents only: a glob for User-Agent -> headers.",
    )
    reads_body: tuple[str, ...] = Field(
        default=(), description="Members of the JSON content it reads, such as `metadata.session_id`."
    )
    pattern: Pattern | None = Field(
        default=None, description="Ids it accepts: a regular expression for the whole id."
    )
    required_on: tuple[str, ...] = Field(
        default=(), description="Endpoints where an id is expected; none: all that run a model."
    )
    shadows: tuple[FieldName, ...] = Field(
        default=("x-litellm-trace-id",),
        description="Headers that name a request or a trace and that the upstream takes for the session.",
    )
    tokens: tuple[FieldName, ...] = Field(
        default=("x-session-token", "x-codex-turn-state"),
        description="Headers by which a server hands out an affinity token that the client sends back.",
    )
    turn_tokens: tuple[FieldName, ...] = Field(
        default=("x-codex-turn-state",),
        description="Those of them that are sent back only until the user speaks again.",
    )
    token_on_101: FieldName | None = Field(
        default=None, description="The affinity token that every 101 response shall bring."
    )
    accounts: tuple[FieldName, ...] = Field(
        default=("chatgpt-account-id",), description="Headers that name the account a request is made for."
    )
    deployments: tuple[FieldName, ...] = Field(
        default=("x-litellm-model-id", "x-smg-routed-worker-id", "x-olla-endpoint"),
        description="Headers of responses that name the deployment or worker that served the request.",
    )


class Betas(Table):
    """Topic betas: the beta tokens that this upstream takes."""

    judged: tuple[Literal["anthropic-beta", "openai-beta"], ...] = Field(
        default=(),
        description="Headers whose tokens shall be on the built-in list of known ones, or in `known`.",
    )
    known: tuple[str, ...] = Field(
        default=(), description="Tokens that are known too; `*` at the end stands for anything."
    )
    unsupported: tuple[str, ...] = Field(
        default=(), description="Tokens for which the upstream refuses the request; `*` as above."
    )
    retired: tuple[str, ...] = Field(
        default=(), description="Tokens that the upstream took once and refuses now; `*` as above."
    )
    rename: dict[str, str] = Field(
        default={}, description="Tokens that have another name at this upstream: theirs by the usual one."
    )
    refused_on_token_count: tuple[str, ...] = Field(
        default=(),
        description="Tokens that the upstream refuses where it counts tokens only; `*` as above.",
    )
    websocket: str | None = Field(
        default=None, description="Token that a WebSocket handshake of the Responses API needs."
    )
    features: dict[str, tuple[str, ...]] = Field(
        default={},
        description="What in a request's JSON needs a token -> tokens of which one is enough. `NAME` is a "
        "member; `NAME:VALUE` a member with that value, or a list with an entry of that type.",
    )


class Api(Table):
    """Topic api: what the upstream's API asks for."""

    version_hosts: tuple[str, ...] = Field(
        default=("api.anthropic.com",),
        description="Globs of upstream hosts that require the header which names the version of their API.",
    )
    request_ids: tuple[FieldName, ...] = Field(
        default=(),
        description="Headers of which each response has at least one, so that it can be found in the upstream's "
        "logs. Empty: not known.",
    )


class Suite(Table):
    """Addon suite: which addons run, and beside what."""

    without: tuple[str, ...] = Field(default=(), description="Addons of the suite that do not run.")
    tolerate: tuple[str, ...] = Field(
        default=(),
        description="Options of mitmproxy that the suite shall run beside all the same: modify_headers, "
        "stickyauth, stream_large_bodies, upstream_auth.",
    )


class Policy(Table):
    """What the traffic shall look like: one table for each addon or topic.

    To add one: a class above, a line here. Its fields become options of mitmproxy by themselves.
    """

    dedupe_headers: DedupeHeaders = Field(
        default=DedupeHeaders(), description="Headers that may appear once."
    )
    stream_events: StreamEvents = Field(default=StreamEvents(), description="Event streams.")
    routing: Routing = Field(default=Routing(), description="Who may route.")
    auth: Auth = Field(default=Auth(), description="Who needs which credential.")
    session: Session = Field(default=Session(), description="How conversations are recognised.")
    strip_hop_headers: StripHopHeaders = Field(
        default=StripHopHeaders(), description="Headers that stay on one hop."
    )
    filter_handshake: FilterHandshake = Field(
        default=FilterHandshake(), description="Headers of WebSocket handshakes."
    )
    response_headers: ResponseHeaders = Field(
        default=ResponseHeaders(), description="Headers that clients get to see."
    )
    map_status: MapStatus = Field(default=MapStatus(), description="An upstream's errors as this hop's.")
    tame_retries: TameRetries = Field(default=TameRetries(), description="Whether and when to retry.")
    betas: Betas = Field(default=Betas(), description="Beta tokens.")
    api: Api = Field(default=Api(), description="What the upstream's API asks for.")
    suite: Suite = Field(default=Suite(), description="The addons as a whole.")


def slice_model(name: str) -> type[Table] | None:
    """The model of one table of the policy, by its attribute's name."""
    info = Policy.model_fields.get(name)
    model = None if info is None else info.annotation
    return model if isinstance(model, type) and issubclass(model, Table) else None


class LintSettings(Table):
    """How ``hoplint check`` lints."""

    select: tuple[str, ...] | None = Field(
        default=None, description="Run only these: rules, topics, rfcNNNN or ALL. Not given: all but notes."
    )
    extend_select: tuple[str, ...] = Field(default=(), description="Run these too.")
    ignore: tuple[str, ...] = Field(default=(), description="Do not run these.")
    severity: dict[str, Severity] = Field(
        default={}, description="The severity of single rules: error, warning, note."
    )
    fail_on: Literal["error", "warning", "note", "never"] = Field(
        default="error", description="The least severity that makes the exit code 1."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Globs of recordings that are not read.")
    per_recording: dict[str, tuple[str, ...]] = Field(
        default={}, description="What to ignore in the recordings that a glob matches."
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


_IN_TOML = {
    "tuple_type": "should be a list",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "string_type": "should be a string",
}


def problem(error: ValidationError) -> str:
    """What pydantic found, in one line: the dotted key and what is wrong with it. Never the value."""
    first, *more = error.errors(include_url=False, include_input=False)
    key = ".".join(str(part) for part in first["loc"])
    what = _IN_TOML.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    rest = f" (and {len(more)} more)" if more else ""
    return f"{key}: {what}{rest}" if key else f"{what}{rest}"


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

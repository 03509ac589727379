"""What a hop wants, as data: a table for each addon and topic. Rules report departures, addons rewrite towards it.

Every table forbids keys it does not know. The description of a field is its manual: it is what
``hoplint config --schema``, ``mitmdump --options`` and ``addons/README.md`` say.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conformance.known import (
    BROWSER_SECURITY,
    CDN,
    CLIENT_ADDRESS,
    CONVERSATION_IDS,
    CORS,
    GATEWAY_CONTROL,
    GATEWAY_INTERNAL,
    INTERNAL_ROUTING,
    PROVIDERS,
)
from conformance.values import (
    Beta,
    ErrorStatus,
    FieldName,
    FieldNames,
    OnceName,
    Pattern,
    RedisUrl,
    Secret,
    Source,
    StatusOrClass,
)


class PolicyError(ValueError):
    """Settings that cannot be used; one line that names the file, the key and what is wrong."""


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Table(BaseModel):
    """One TOML table. Keys are written in kebab case; Python code may use the attribute names."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, populate_by_name=True)


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


class MapStatus(Table):
    """Addon map-status: an upstream's errors as this hop's."""

    enabled: bool = Field(default=False, description="Whether any status is changed.")
    statuses: dict[StatusOrClass, ErrorStatus] = Field(
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
        description="Headers in which the upstream looks for a credential, those it prefers first; none named: not "
        "known.",
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
        description="Where the key of ordinary requests is kept (env:NAME, file:PATH): inject-auth puts it in, "
        "rules recognise it where it does not belong. A variable that is not set is no key.",
    )
    control_key: Secret | None = Field(
        default=None,
        description="Where the key of the control plane is kept (env:NAME, file:PATH), likewise.",
    )


class InjectAuth(Table):
    """Addon inject-auth: requests carry one credential, and it is one."""

    hosts: tuple[str, ...] = Field(
        default=(),
        description="Upstreams that may get the keys of `auth`: shell patterns for HOST, over TLS, or HOST:PORT. "
        "None: only the upstream of mitmproxy's reverse mode.",
    )
    overwrite: bool = Field(
        default=False, description="The keys take the place of credentials that clients send themselves."
    )


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


class InjectSession(Table):
    """Addon inject-session: requests tell the upstream which conversation they belong to."""

    header: FieldName | None = Field(
        default=None,
        description="Header that is written where `session.header` names none: for upstreams that can use an id "
        "and do not expect one.",
    )
    prefer: tuple[Source, ...] = Field(
        default=(), description="Where an id is looked for before `sources`, written like those."
    )
    sources: tuple[Source, ...] = Field(
        # The tree-wide prompt_cache_key is last: a tree of agents may share a deployment.
        default=(
            *CONVERSATION_IDS,
            "x-*-session-id",
            "path:/sessions/([A-Za-z0-9_-]{8,})/",
            "/metadata/session_id",
            "/litellm_metadata/session_id",
            "/litellm_session_id",
            "/metadata/user_id",
            "/session_id",
            "/sessionId",
            "/request/session_id",
            "/conversation_id",
            "/conversation",
            "/conversation/id",
            "/prompt_cache_key",
        ),
        description="Where an id is looked for, in order: a header (`*` stands for anything), `path:REGEX` with "
        "one group, or a JSON Pointer into the content. Those into the content come after all others.",
    )
    derive: Literal["track", "prefix", "off"] = Field(
        default="track",
        description="Where nothing names the conversation: `track` tells by the messages which one it is, "
        "`prefix` hashes caller and first messages (needs `key`), `off` leaves the request as it is.",
    )
    key: Secret | None = Field(
        default=None,
        description="Where the key of the hashes is kept (env:NAME, file:PATH), the same for all proxies that "
        "shall agree. None: ids that do not fit are hashed without one.",
    )
    align: bool = Field(
        default=True,
        description="Other names for the same session that contradict the one the upstream prefers are made to "
        "say the same.",
    )
    ttl: int = Field(
        default=14_400, ge=1, description="Seconds after which a conversation without requests is forgotten."
    )
    capacity: int = Field(default=16_384, ge=1, description="Requests that are remembered, to be continued.")


class PinAffinity(Table):
    """Addon pin-affinity: what a server handed out to keep a session in its place comes back to it."""

    ttl: int = Field(default=3600, ge=1, description="Seconds after which an unused token is forgotten.")
    capacity: int = Field(default=4096, ge=1, description="Sessions whose tokens are remembered.")
    hold: int = Field(
        default=600,
        ge=0,
        description="Seconds for which a session stays on its account after a close with 1011; 0: not at all.",
    )


class Shared(Table):
    """Addons inject-session and pin-affinity: what several proxies know together."""

    redis: RedisUrl | None = Field(
        default=None,
        description="Redis (6.2 or newer) by which proxies share conversations and affinity tokens: "
        "redis://HOST:PORT/DB, rediss:// or unix://, without a password. None: each proxy knows its own.",
    )
    password: Secret | None = Field(
        default=None, description="Where its password is kept (env:NAME, file:PATH)."
    )
    key: Secret | None = Field(
        default=None,
        description="Where the key is kept (env:NAME, file:PATH) by which what is shared is sealed, the same for "
        "all proxies. Needed with `redis`.",
    )
    patience: int = Field(
        default=50,
        ge=1,
        description="Milliseconds that a message waits for Redis; then this proxy decides alone.",
    )
    keep: int = Field(
        default=20_000, ge=100, description="Events that Redis keeps for a proxy that starts later."
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
    rename: dict[str, Beta] = Field(
        default={}, description="Tokens that have another name at this upstream: theirs by the usual one."
    )
    refused_on_token_count: tuple[str, ...] = Field(
        default=(),
        description="Tokens that the upstream refuses where it counts tokens only; `*` as above.",
    )
    drop_unknown: bool = Field(
        default=False,
        description="normalize-betas drops tokens that are on no list of known ones from the headers in `judged`. "
        "New tokens come every few weeks: set this where one too many does more harm than one too few.",
    )
    websocket: Beta | None = Field(
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


class RecordFlows(Table):
    """Addons record-flows and record-octets: recordings that can be kept and shared."""

    folder: str = Field(default="hoplint-recordings", description="Where they go: made for its owner only.")
    size: int = Field(default=100_000_000, ge=1, description="Octets after which the next file begins.")
    age: int = Field(default=3600, ge=1, description="Seconds after which it does, with traffic.")
    per_conversation: bool = Field(
        default=False, description="Each conversation that a request's headers name gets one file of its own."
    )
    redact: bool = Field(
        default=True, description="Other letters stand for credentials, as `hoplint redact` does it."
    )
    texts: bool = Field(default=False, description="And for prompts and answers: all texts in JSON.")
    emails: bool = Field(default=False, description="And for e-mail addresses.")
    key: Secret | None = Field(
        default=None,
        description="Where a key is kept (env:NAME, file:PATH) with which a credential becomes the same in every "
        "recording. None: the same only in what one process records.",
    )


class Suite(Table):
    """Addon suite: which addons run, and beside what."""

    without: tuple[str, ...] = Field(default=(), description="Addons of the suite that do not run.")
    tolerate: tuple[str, ...] = Field(
        default=(),
        description="Options of mitmproxy that the suite shall run beside all the same: modify_headers, "
        "stickyauth, stream_large_bodies, upstream_auth.",
    )


class RecordOctets(Table):
    """Addon record-octets: how much of a connection is held in memory."""

    keep: int = Field(default=8_000_000, ge=0, description="Octets of one connection.")
    total: int = Field(default=256_000_000, ge=0, description="Octets of all connections.")


class Lint(Table):
    """Addon lint-flows: what is said about flows that pass, and when mitmdump fails."""

    fail_on: Literal["error", "warning", "note", "never"] = Field(
        default="never", description="The least severity that makes mitmdump's exit code 1."
    )
    log: Literal["quiet", "normal", "loud"] = Field(
        default="normal", description="A line at the end, for each flow with findings, for each finding."
    )
    queue: int = Field(default=1000, ge=1, description="Flows that may wait to be linted; more are not.")
    keep: int = Field(default=5000, ge=0, description="Findings that are kept for reports, the latest.")


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
    inject_auth: InjectAuth = Field(default=InjectAuth(), description="What is done about credentials.")
    session: Session = Field(default=Session(), description="How conversations are recognised.")
    inject_session: InjectSession = Field(
        default=InjectSession(), description="Where the conversation's id comes from."
    )
    pin_affinity: PinAffinity = Field(
        default=PinAffinity(), description="Tokens that keep a session in place."
    )
    shared: Shared = Field(default=Shared(), description="What several proxies know together.")
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
    record_flows: RecordFlows = Field(default=RecordFlows(), description="Where recordings go, and how.")
    record_octets: RecordOctets = Field(default=RecordOctets(), description="Octets held in memory.")
    lint: Lint = Field(default=Lint(), description="Linting flows as they end.")
    suite: Suite = Field(default=Suite(), description="The addons as a whole.")


def slice_model(name: str) -> type[Table] | None:
    """The model of one table of the policy, by its attribute's name."""
    info = Policy.model_fields.get(name)
    model = None if info is None else info.annotation
    return model if isinstance(model, type) and issubclass(model, Table) else None


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

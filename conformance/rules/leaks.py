"""What reaches somebody it is not meant for: credentials, cookies, internal addresses, a host's own policies.

Two directions. Towards a model provider: whether the upstream is one is told by its address or, where that is
not recorded, by Host; ``[policy.routing] providers`` says which hosts are, and ``*`` there that every upstream
is. Towards the client: a response was passed on where the recorder's upstream was a provider, or where it bears
what only a provider writes (OpenAI-Organization) although another host answered; a client that was recorded
talking to the provider itself got what it was meant to get.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from conformance import known
from conformance.content import decoded, media_type
from conformance.message import Exchange, FieldLine, Fields, Legs, Message, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import cookie_name, is_placeholder, is_secret_field, mask_text, quoted, shown

if TYPE_CHECKING:
    from conformance.policy import Policy, ResponseHeaders

LEAST = 12
"""Octets of a credential that is looked for elsewhere: shorter ones are words."""

LEAST_IN_HEADER = 8
"""The same where only other headers are searched."""

_CREDENTIALS = known.API_KEYS | {
    "authorization",
    "x-portkey-api-key",
    "helicone-auth",
    "cf-aig-authorization",
}
_GATEWAYS_CREDENTIALS = ("x-litellm-api-key", "x-portkey-api-key", "helicone-auth", "cf-aig-authorization")
_SCHEME = re.compile(rb"(?i)(?:bearer|basic|token|apikey)[ \t]+")


def _host(authority: bytes) -> str:
    host = authority.rpartition(b"@")[2].strip().lower()
    if host.startswith(b"["):
        return host[1:].partition(b"]")[0].decode("latin-1")
    return host.partition(b":")[0].rstrip(b".").decode("latin-1")


def _said_host(request: Request) -> str:
    return _host(request.authority or request.fields.one("host") or b"")


def is_provider(host: str, providers: tuple[str, ...]) -> bool:
    """Whether a host, in lower case, is one of these (``routing.providers``)."""
    # No name in the DNS is longer than 253 characters; what is longer is not remembered either. A dot at its end
    # leads to the same host (RFC 1034 §3.1).
    return len(host) <= 254 and _matches_any(host.removesuffix("."), providers)


@lru_cache(maxsize=1024)  # a recording asks a few hosts, over and over
def _matches_any(host: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(host, pattern) for pattern in patterns)


def _goes_to_provider(exchange: Exchange, policy: Policy) -> bool:
    """Whether the request was sent to a model provider."""
    if exchange.upstream is not None and is_provider(
        _host(exchange.upstream.encode()), policy.routing.providers
    ):
        return True
    return is_provider(_said_host(exchange.request), policy.routing.providers)


PROVIDERS_OWN = frozenset(
    {
        "openai-organization",
        "openai-processing-ms",
        "openai-project",
        "openai-version",
        "anthropic-organization-id",
    }
)
"""Response headers that only a provider writes: they say whose account it was."""


def _is_passed_on(exchange: Exchange, policy: Policy) -> bool:
    """Whether the response is a provider's that some hop passed on."""
    if exchange.upstream is not None and is_provider(
        _host(exchange.upstream.encode()), policy.routing.providers
    ):
        return True
    if "*" in policy.routing.providers:
        return True
    response = exchange.response
    if response is None or is_provider(_said_host(exchange.request), policy.routing.providers):
        return False
    return bool(response.fields.names & PROVIDERS_OWN)


def _is_browser(request: Request) -> bool:
    return "origin" in request.fields or (request.fields.one("user-agent") or b"").startswith(b"Mozilla/")


def _matching(fields: Fields, names: tuple[str, ...]) -> list[FieldLine]:
    """The lines whose name is one of these; a name that ends in * stands for all that begin so."""
    found = _chosen(fields.names, names)
    return [line for line in fields if line.key in found] if found else []


@lru_cache(4096)
def _chosen(present: frozenset[str], names: tuple[str, ...]) -> frozenset[str]:
    # Agents and servers send the same few sets of names over and over.
    pattern = known.named(names)
    return frozenset(name for name in present if pattern.fullmatch(name))


def _listed(lines: Iterable[FieldLine]) -> str:
    """The names of lines, each once, for a sentence."""
    names = list(dict.fromkeys(line.shown_name for line in lines))
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return quoted(mask_text(", ".join(names[:6]).encode("latin-1"))).strip("'") + more


# --- credentials


def _bare(value: bytes) -> bytes:
    """A credential without its scheme."""
    return _SCHEME.sub(b"", value, count=1).strip()


def _secrets(request: Request, least: int = LEAST) -> dict[bytes, FieldLine]:
    """The credentials of a request that are long enough to be told from words."""
    fields = request.fields
    return {
        value: line
        for name in sorted(fields.names & _CREDENTIALS)
        for line in fields.lines(name)
        if len(value := _bare(line.value)) >= least and not is_placeholder(value)
    }


def _holds(message: Message, value: bytes) -> Message | FieldLine | None:
    """Where a message has that value: a field line, or the message itself for its content."""
    if value in message.fields.block:
        return next((line for line in message.fields if value in line.value), None)
    content = decoded(message)
    return message if content is not None and value in content else None


def _where(place: Message | FieldLine) -> str:
    return f"in {place.shown_name}" if isinstance(place, FieldLine) else "in the content"


@rule("RFC 9110 §17.16", severity=ERROR, evidence="headers + body", fields=_CREDENTIALS)
def credential_echoed_in_response(exchange: Exchange) -> Hits:
    """The response contains the request's credential.

    It ends in logs, transcripts and model context: an error that quotes the key it refuses, an echo service
    that was meant for debugging, a gateway that copies request headers into its answer.

    > The HTTP authentication framework does not define a single mechanism for maintaining the confidentiality of
    > credentials; instead, each authentication scheme defines how the credentials are encoded prior to
    > transmission.

    Bad::

        > POST /v1/echo HTTP/1.1
        > Host: api.example
        > Authorization: Bearer example-credential-0123
        > Content-Length: 0
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 103
        <
        < {"error":{"message":"no such key: example-credential-0123","type":"invalid_request_error","code":null}}

    Good::

        > POST /v1/echo HTTP/1.1
        > Host: api.example
        > Authorization: Bearer example-credential-0123
        > Content-Length: 0
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 91
        <
        < {"error":{"message":"no such key: exam***0123","type":"invalid_request_error","code":null}}
    """
    if exchange.response is None:
        return
    for value, line in _secrets(exchange.request).items():
        if (place := _holds(exchange.response, value)) is not None:
            yield place, f"the credential of {line.shown_name} comes back {_where(place)}"


@rule(
    "RFC 9110 §11.6.2",
    "RFC 9110 §17.16",
    "RFC 7235 §4.2",
    severity=ERROR,
    fix="inject-auth",
    evidence="legs",
    fields=_CREDENTIALS,
)
def gateway_credential_sent_to_provider(legs: Legs) -> Hits:
    """A gateway forwarded its own clients' credential to the provider.

    LiteLLM's pass-through sent the proxy's master key to the upstream (litellm#32202), sglang-router 0.3.2 and
    vllm-router send the client's Authorization beside the worker's key. Whoever runs the upstream can then call
    the gateway.

    Certain where the client used a header that only a gateway reads (x-litellm-api-key), or where the upstream
    got another credential as well: a gateway that has none of its own passes the client's on by design.

    > The "Authorization" header field allows a user agent to authenticate itself with an origin server --
    > usually, but not necessarily, after receiving a 401 (Unauthorized) response.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Authorization: Bearer example-of-the-client
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: upstream.example
        > x-api-key: example-of-the-gateway
        > x-forwarded-authorization: Bearer example-of-the-client
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Authorization: Bearer example-of-the-client
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: upstream.example
        > x-api-key: example-of-the-gateway
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    given, sent = _secrets(came, LEAST_IN_HEADER), _secrets(went, LEAST_IN_HEADER)
    own = sent.keys() - given.keys() if not legs.edits else set()
    for value, line in given.items():
        place = next((kept for kept in went.fields if value in kept.value), None)
        if place is None or (not own and line.key not in _GATEWAYS_CREDENTIALS):
            continue
        yield place, f"{legs.hop} sent on the credential its client gave in {line.shown_name}"


@rule(
    "RFC 9110 §11.6.2",
    "RFC 9110 §17.16",
    "RFC 7235 §4.2",
    severity=ERROR,
    fix="allow-response-headers",
    evidence="legs",
    fields=_CREDENTIALS,
)
def provider_credential_returned_to_client(legs: Legs) -> Hits:
    """A provider credential reached the client.

    Any client can then spend on the provider account. Gateways that answer with the request they made (an error
    with the headers of the failed call, a debug header) show the key they put into it.

    > The "Authorization" header field allows a user agent to authenticate itself with an origin server --
    > usually, but not necessarily, after receiving a 401 (Unauthorized) response.

    Bad, also request-header-in-response::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Authorization: Bearer example-of-the-gateway
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: upstream.example
        > Authorization: Bearer example-of-the-gateway
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: upstream.example
        > Authorization: Bearer example-of-the-gateway
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    response = legs.client.response
    if response is None:
        return
    given = _secrets(legs.client.request)
    for attempt in legs.attempts or (legs.server,):
        for value, line in _secrets(attempt.request).items():
            if value not in given and (place := _holds(response, value)) is not None:
                yield (
                    place,
                    f"the credential that {legs.hop} sent in {line.shown_name} reaches the client {_where(place)}",
                )
                return


_KEY = re.compile(
    rb"(?<![A-Za-z0-9_\-])(?P<prefix>sk-(?:ant-(?:api|oat|ort|sid)[0-9]{2}-|proj-|or-v1-|svcacct-|lf-)?|gsk_|xai-|hf_|pplx-"
    rb"|gh[pousr]_|github_pat_|glpat-|AIza|ya29\.|xox[abprs]-)(?P<rest>[A-Za-z0-9_\-]{20,})(?![A-Za-z0-9_\-.])"
)
_JWT = re.compile(
    rb"(?<![A-Za-z0-9_\-.])(eyJ[A-Za-z0-9_\-]{10,})\.(eyJ[A-Za-z0-9_\-]{10,})\.([A-Za-z0-9_\-]{20,})"
)
_MAY_HOLD_KEY = re.compile(
    rb"sk-|gsk_|xai-|hf_|pplx-|gh[pousr]_|github_pat_|glpat-|AIza|ya29\.|xox[abprs]-|eyJ"
)
_LEAST_KEY = 23
"""Octets of the shortest for which ``_KEY`` and ``_JWT`` look."""
_FAKE = re.compile(
    rb"(?i)test|fake|example|dummy|sample|demo|mock|placeholder|redact|mask|your|change|1234|abcd|secret|none|null|"
    rb"not-a|sha256|foo|bar|client|master|local|lorem|dead|beef|key|token|virtual|gateway|worker|router|invalid|wrong|"
    rb"(.)\1{3}"
)
_RANDOM = 3.5
"""Bits of entropy in each character of a key: random letters and digits have more than four, words three."""


@rule("GitHub docs: supported secret scanning patterns", severity=WARNING)
def secret_in_recording(message: Message) -> Hits:
    """The recording contains a credential that looks live.

    Recordings are shared in issues and kept by CI. Looked for are keys of known vendors' forms (OpenAI,
    Anthropic, Google, GitHub, Groq, xAI, Hugging Face, OpenRouter...) and signed JWTs, in headers and targets,
    that look random. What is made up (sk-test, sk-1234, words, one letter repeated), a placeholder or masked is
    not reported, nor is a session id that somebody sends as a Bearer token. ``hoplint redact`` takes them out.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-api-key: sk-ant-api03-Zk3vQ9xT7bLw2NcR8mYpHd5s

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-api-key: sk-ant-api03-example-example-example

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer ***
    """
    if isinstance(message, Request) and _MAY_HOLD_KEY.search(message.target) and _looks_live(message.target):
        yield (
            message,
            f"the target holds what looks like a live credential: {quoted(mask_text(message.target))}",
        )
    for line in message.fields:
        if len(line[1]) >= _LEAST_KEY and _MAY_HOLD_KEY.search(line[1]) and _looks_live(line[1]):
            yield (
                line,
                f"{line.shown_name} {shown(line.name, mask_text(line.value))} looks like a live credential",
            )


def _looks_live(octets: bytes) -> bool:
    for found in _KEY.finditer(octets):
        rest = found["rest"]
        if not _FAKE.search(rest) and _entropy(rest) >= _RANDOM and re.search(rb"[0-9]", rest):
            return True
    return any(_is_signed(*found.groups()) for found in _JWT.finditer(octets))


def _entropy(octets: bytes) -> float:
    """Bits in each octet, by how often each occurs."""
    size = len(octets)
    return -sum(n / size * math.log2(n / size) for n in Counter(octets).values())


def _is_signed(head: bytes, claims: bytes, signature: bytes) -> bool:
    """Whether it is a JWT that somebody has signed for somebody."""
    read = [_segment(segment) for segment in (head, claims)]
    if not all(isinstance(part, dict) for part in read):
        return False
    algorithm = str(read[0].get("alg", "none")).lower()
    return algorithm != "none" and not _FAKE.search(signature) and _entropy(signature) >= _RANDOM


def _segment(segment: bytes) -> dict[str, object]:
    try:
        read = json.loads(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


# --- towards the provider

_INFRASTRUCTURE_COOKIES = re.compile(
    rb"(?:__cf\w*|_cfuvid|cf_\w+|AWSALB\w*|GCLB|__Host-(?=\w*cf)\w*|incap_ses\w*|visid_incap\w*)\Z"
)
"""Cookies that a CDN or load balancer in front of the provider has set, and that clients send back."""


@rule(
    "RFC 6265 §5.4",
    "RFC 9110 §17.9",
    "RFC 7231 §9.4",
    severity=WARNING,
    fix="strip-hop-headers",
    fields=("cookie",),
)
def cookie_sent_to_provider(exchange: Exchange, policy: Policy) -> Hits:
    """A Cookie was sent to a model provider.

    A browser session's cookie leaves its site through a gateway that forwards all headers: whoever reads the
    provider's logs can take over the session. Cookies that the provider's own load balancer had set
    (``__cf_bm``, ``AWSALB``) are its own. On chatgpt.com a cookie is the session.

    > The user agent includes stored cookies in the Cookie HTTP request header.

    Bad::

        @ upstream: api.anthropic.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.anthropic.com
        > Cookie: app_session=example

    Good::

        @ upstream: api.anthropic.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.anthropic.com
        > Cookie: __cf_bm=example

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Cookie: app_session=example
    """
    request = exchange.request
    if "chatgpt.com" in _said_host(request) or not _goes_to_provider(exchange, policy):
        return
    for line in request.fields.lines("cookie"):
        names = [cookie_name(pair) for pair in line.value.split(b";")]
        foreign = [name for name in names if name and not _INFRASTRUCTURE_COOKIES.match(name)]
        if foreign:
            host = quoted(_said_host(request).encode())
            yield line, f"the cookie {quoted(mask_text(b', '.join(foreign[:4])), 80)} goes to {host}"


@rule(
    "Portkey-AI/gateway: x-portkey-forward-headers",
    "BerriAI/litellm#32202",
    severity=WARNING,
    fix="strip-hop-headers",
)
def gateway_control_header_sent_to_provider(exchange: Exchange, policy: Policy) -> Hits:
    """A header meant for the gateway was forwarded to the provider.

    x-litellm-*, helicone-*, x-portkey-* or x-pass-* reveal users and settings and may be refused. LiteLLM's
    pass-through forwards ``x-pass-`` headers with their prefix (litellm#32202); OpenHands sends
    x-litellm-session-id to every model, whether a LiteLLM is there or not.

    ``providers`` in ``[policy.routing]`` says which hosts are providers, ``leave`` in
    ``[policy.strip-hop-headers]`` which headers may pass.

    Bad::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > x-litellm-session-id: conversation-1

    Good::

        @ upstream: 10.0.0.4:4000
        > GET /v1/models HTTP/1.1
        > Host: litellm.example
        > x-litellm-session-id: conversation-1
    """
    yield from _sent(exchange, policy, known.GATEWAY_CONTROL, "it is addressed to a gateway")


def _sent(
    exchange: Exchange, policy: Policy, names: tuple[str, ...], why: str, but: frozenset[str] = frozenset()
) -> Hits:
    """The lines of these names in a request to a provider."""
    lines = _matching(exchange.request.fields, names)
    if not lines or not _goes_to_provider(exchange, policy):
        return
    leave = known.named(policy.strip_hop_headers.leave)
    for line in lines:
        if line.key not in but and not leave.fullmatch(line.key):
            host = quoted(_said_host(exchange.request).encode())
            yield line, f"{line.shown_name} {shown(line.name, line.value, 60)} goes to {host}: {why}"


_ADDED_BY_CDN = tuple(name for name in known.CDN if name != "via")
"""A proxy that names itself in Via does as it should (RFC 9110 §7.6.3)."""


@rule(
    "Cloudflare fundamentals: HTTP headers",
    "codex-proxy-rs#63",
    severity=ERROR,
    fix="strip-hop-headers",
    breaks=("Cloudflare",),
)
def cdn_header_sent_to_provider(exchange: Exchange, policy: Policy) -> Hits:
    """Headers added by a CDN in front of the gateway were forwarded to the provider.

    Cloudflare answers 403 to WebSocket upgrades that carry cf-visitor or cdn-loop of another zone: of 238 tries
    of codex-proxy-rs behind Cloudflare five came through. Elsewhere they tell where the client is, or are taken
    for those of the provider's own CDN.

    Bad::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > CF-Visitor: {"scheme":"https"}
        > CDN-Loop: cloudflare; loops=1

    Good::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > Via: 1.1 gateway.example
    """
    control = known.named(known.GATEWAY_CONTROL)
    for line, why in _sent(exchange, policy, _ADDED_BY_CDN, "another host's CDN wrote it"):
        # cf-aig-* is for Cloudflare's AI gateway, and cf-access-* what a client shows to Cloudflare Access.
        if (
            isinstance(line, FieldLine)
            and not control.fullmatch(line.key)
            and not line.key.startswith("cf-access-")
        ):
            yield line, why


_NO_ADDRESS = frozenset(
    {f"x-forwarded-{what}" for what in ("proto", "host", "port", "prefix", "server", "ssl", "by", "scheme")}
)
_OBSCURED = re.compile(rb'(?i)for="?(?!_|unknown)')


@rule("RFC 7239 §8.3", "RFC 9110 §17", severity=WARNING, fix="strip-hop-headers")
def client_address_sent_to_provider(exchange: Exchange, policy: Policy) -> Hits:
    """Forwarded or X-Forwarded-For tells the provider the client's address.

    Private addresses and users' locations leave the site, and region checks act on them. Some upstreams take
    the header for a sign that the call is not local: codex-lb answers 401 as soon as there is one.

    > The Forwarded HTTP header field, by design, exposes information that some users consider privacy
    > sensitive, and a proxy can choose to include in requests some sensitive information about the client or
    > its network.

    Bad::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > X-Forwarded-For: 10.1.2.3

    Good::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > X-Forwarded-Proto: https
    """
    for line, why in _sent(
        exchange, policy, known.CLIENT_ADDRESS, "it says where the client is", _NO_ADDRESS
    ):
        if isinstance(line, FieldLine) and (line.key != "forwarded" or _OBSCURED.search(line.value)):
            yield line, why


_ORDINARY = (
    known.END_TO_END | known.REQUEST_ONLY | known.RESPONSE_ONLY | known.LISTS | known.LAYERED | known.HOP_BY_HOP
    | known.API_KEYS | known.REQUEST_IDS
    | {"user-agent", "origin", "referer", "sec-ch-ua", "x-goog-api-client", "x-amz-date", "x-codex-turn-metadata",
       "x-codex-turn-state", "x-client-data", "dpop", "x-forwarded-client-cert", "x-amzn-oidc-data", "x-stainless-os"}
)  # fmt: skip
"""Fields whose values are long or hold several words by their nature."""
_WORDS = re.compile(rb"(?:[A-Za-z][A-Za-z']{0,40}[,.;:!?]?[ ]+){11}[A-Za-z]")
_FEW_WORDS = re.compile(rb"(?:[A-Za-z][A-Za-z']{0,40}[,.;:!?]?[ ]+){2}[A-Za-z]")
_PROMPTING = re.compile(
    r"(?:^|-)(?:prompt|system-prompt|instructions?|messages?|question|query-text|completion)$"
)
LARGE = 4096
"""Octets of one value: half of what most servers take in one line."""
LONG = 60
"""Octets of one value: a dozen words have more."""


@rule("RFC 9110 §5.4", "RFC 9110 §5.5", "RFC 7230 §3.2.4", "RFC 7230 §3.2.5", severity=WARNING)
def prompt_text_in_header(request: Request) -> Hits:
    """A header carries prompt text, tags or large metadata.

    Headers are logged by every hop, limited to 8 KiB by most servers and not safe for non-ASCII text: a prompt
    in one is cut, refused with 431, or read by whoever reads access logs. Observability headers with free text
    (tags, metadata, the user's question) are the usual ones; put them into the content.

    > HTTP does not place a predefined limit on the length of each field line, field value, or on the length of
    > a header or trailer section as a whole, as described in Section 2. Various ad hoc limitations on
    > individual lengths are found in practice, often depending on the specific field's semantics.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Trace-Input: You are a helpful assistant. Answer the question of the user in one short sentence.

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > X-Trace-Input: sha256-4d967a30111bf29f
        > X-Title: My evaluation of agents
    """
    prompting = _prompting(request.fields.names)
    for line in request.fields:
        size = len(line[1])
        if size < LONG and not prompting:  # as almost all
            continue
        if b" " not in line.value and size < LARGE:
            continue
        if (name := line.key) in _ORDINARY or is_secret_field(line.name):
            continue
        if size >= LARGE and not name.startswith("sec-"):
            yield line, f"{line.shown_name} holds {size} octets"
        elif (size >= LONG and _WORDS.search(line.value)) or (
            name in prompting and _FEW_WORDS.search(line.value)
        ):
            yield line, f"{line.shown_name} holds text: {shown(line.name, line.value, 50)}"


@lru_cache(maxsize=1024)  # a recording has a few sets of fields, over and over
def _prompting(names: frozenset[str]) -> frozenset[str]:
    """Those whose names say that they hold what is asked."""
    return frozenset(name for name in names if _PROMPTING.search(name))


# --- towards the client


@rule("RFC 6265 §4.1", severity=WARNING, fix="allow-response-headers", fields=("set-cookie",))
def set_cookie_from_provider(exchange: Exchange, policy: Policy) -> Hits:
    """A provider's Set-Cookie was passed to an API client.

    Clients share the cookie jar across users, and maps join several cookies into one broken line. httpx keeps a
    leaked ``__cf_bm`` and sends it to the gateway from then on; Portkey 1.15.2 and Go's usual loop over the
    headers pass all of them. Name the cookie's header in ``allow`` of ``[policy.response-headers]`` if clients
    need it.

    > The Set-Cookie HTTP response header is used to send cookies from the server to the user agent.

    Bad::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: __cf_bm=example; Path=/; HttpOnly; Secure
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route=example; Path=/; HttpOnly; Secure
        < Content-Length: 2
    """
    lines = _providers(exchange, policy, ("set-cookie", "set-cookie2"))
    if lines:
        names = b", ".join(dict.fromkeys(cookie_name(line.value) for line in lines[:6]))
        yield lines[0], f"the provider's cookies reach the client: {quoted(mask_text(names), 100)}"


def _providers(exchange: Exchange, policy: Policy, names: tuple[str, ...]) -> list[FieldLine]:
    """The lines of these names in a provider's response that a hop passed on and nobody allowed."""
    response = exchange.response
    if response is None:
        return []
    lines = _matching(response.fields, names)
    if not lines or not _is_passed_on(exchange, policy):
        return []
    allowed = known.named(policy.response_headers.allow)
    return [line for line in lines if not allowed.fullmatch(line.key)]


@rule("Fetch §3.3", severity=WARNING, fix="allow-response-headers")
def access_control_header_from_provider(exchange: Exchange, policy: Policy) -> Hits:
    """A provider's CORS headers were passed on.

    They widen or break the gateway's own policy: llama-swap's second Access-Control-Allow-Origin made litellm
    fail ("Illegal header value b'*, '"), and a ``*`` of the provider's lets every web site read the gateway's
    answers. Only where the request came from a web page (Origin), or a list of allowed headers says what may
    pass: nobody else reads them.

    Bad::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > Origin: https://app.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: *
        < Content-Length: 2

    Good::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Expose-Headers: X-Request-ID
        < Content-Length: 2
    """
    if policy.response_headers.allow or "origin" in exchange.request.fields:
        lines = _providers(exchange, policy, ("access-control-*",))
        if lines:
            yield lines[0], f"the provider's CORS headers reach the client: {_listed(lines)}"


@rule("sourcegraph/sourcegraph#63461", severity=WARNING, fix="allow-response-headers")
def security_header_from_provider(exchange: Exchange, policy: Policy) -> Hits:
    """A provider's browser security headers were passed on.

    Strict-Transport-Security or a content policy of the provider is applied to the gateway's host: a browser
    that has once seen the header refuses the gateway without TLS for a year, Alt-Svc sends it to another port.
    Only where a browser asked, or a list of allowed headers says what may pass: programs take no notice.

    Bad::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > User-Agent: Mozilla/5.0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Strict-Transport-Security: max-age=31536000; includeSubDomains; preload
        < Content-Length: 2

    Good::

        @ upstream: api.openai.com:443
        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > User-Agent: OpenAI/Python 2.54.0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Strict-Transport-Security: max-age=31536000; includeSubDomains; preload
        < Content-Length: 2
    """
    if policy.response_headers.allow or _is_browser(exchange.request):
        lines = _providers(exchange, policy, known.BROWSER_SECURITY)
        if lines:
            yield lines[0], f"the provider's policies for browsers reach the client: {_listed(lines)}"


_MEANT = (*known.CORS, *known.BROWSER_SECURITY, "server", "via", "x-accel-buffering")
"""What a gateway says in its own name, to browsers and to the proxies in front of it."""


@rule("sourcegraph/sourcegraph#63461", severity=WARNING, fix="allow-response-headers")
def response_header_not_allowed(exchange: Exchange, policy: Policy) -> Hits:
    """The response carries a header that is not on the allow-list.

    A deny-list forwards what nobody thought of: reviewers of Sourcegraph's change asked for an allow-list. The
    list is ``allow`` in ``[policy.response-headers]``; where it names nothing, nothing is judged. What frames
    and describes the content, and what a status cannot do without (Retry-After, WWW-Authenticate), needs no
    permission. Cookies, CORS headers and browser policies of a provider's, and internal headers, have rules of
    their own; what a gateway says of itself to browsers and to proxies (Server, Via) is meant.

    Bad::

        # profile: anthropic
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-api-key: example
        > anthropic-version: 2023-06-01
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < request-id: req_0123456789abcdef
        < X-Backend-Team: blue
        < Content-Length: 2

    Good::

        # profile: anthropic
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-api-key: example
        > anthropic-version: 2023-06-01
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < request-id: req_0123456789abcdef
        < Content-Length: 2
    """
    headers, response = policy.response_headers, exchange.response
    if not headers.allow or response is None:
        return
    lists = [headers.allow, headers.internal, _MEANT]
    if _is_passed_on(exchange, policy):
        lists.append(headers.from_providers)
    known_names = [known.named(names) for names in lists]
    lines = [
        line
        for line in response.fields
        if (name := line.key) not in known.ALWAYS_ALLOWED
        and not any(names.fullmatch(name) for names in known_names)
    ]
    if lines:
        yield lines[0], f"not on the list of allowed headers: {_listed(lines)}"


@rule("RFC 9110 §17.12", "RFC 7231 §9.6", severity=WARNING, fix="allow-response-headers")
def gateway_internal_header_exposed(exchange: Exchange, policy: Policy) -> Hits:
    """The response exposes the gateway's internal headers.

    Deployment names, internal hosts and costs become visible to clients: LiteLLM answers with
    x-litellm-model-api-base, x-litellm-response-cost and x-litellm-key-spend, smg 1.13 with the worker's
    address in x-smg-routed-worker-id. ``internal`` in ``[policy.response-headers]`` names them, ``allow`` those
    that may be seen after all; ``behind-gateway`` in ``[policy.routing]`` says that the client is a gateway.
    What a provider shows of itself is its own business.

    > Proxies that serve as a portal through a network firewall ought to take special precautions regarding the
    > transfer of header information that might identify hosts behind the firewall.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-litellm-model-api-base: https://team-a.example/v1
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-litellm-model-id: dep-a
        < Content-Length: 2
    """
    if exchange.response is None or policy.routing.behind_gateway or _goes_to_provider(exchange, policy):
        return
    lines = _matching(exchange.response.fields, policy.response_headers.internal)
    lines = [line for line in lines if line.key not in policy.response_headers.allow]
    if lines:
        first = lines[0]
        more = f", and {_listed(lines[1:])}" if len(lines) > 1 else ""
        yield first, f"clients see {first.shown_name} {shown(first.name, first.value, 60)}{more}"


_ADDRESS = re.compile(
    rb"(?:(?<=://)|(?<![0-9A-Za-z./_\-]))(?P<address>(?:10|127|169\.254|172\.(?:1[6-9]|2[0-9]|3[01])|192\.168)(?:\.[0-9]{1,3}){2,3})(?![0-9.]|-[0-9])"
    rb"|(?<![A-Za-z0-9.\-])(?P<name>(?:ip-10-[0-9\-]+|[A-Za-z0-9\-.]*\.(?:internal|local|lan|localdomain|home\.arpa))(?![A-Za-z0-9.\-]))"
)
_MAY_HOLD_ADDRESS = re.compile(rb"10\.|127\.|169\.254|172\.|192\.168|internal|local|\.lan|home\.arpa|ip-10-")
_SAYS_ORIGINS = (
    "access-control-*",
    "content-security-policy*",
    "server",
    "x-powered-by",
    "timing-allow-origin",
    "set-cookie",
)


@rule("RFC 9110 §17.12", "RFC 7231 §9.6", severity=WARNING, fix="allow-response-headers")
def private_address_in_response(exchange: Exchange, policy: Policy) -> Hits:
    """A response header names a private address or internal host.

    It maps the network behind the gateway: X-Backend, X-Served-By and Location headers with the address of a
    pod, Via with a machine's name. Where the request itself was sent to a private address the client is inside
    and learns nothing. Headers on the list of internal ones are gateway-internal-header-exposed's.

    > Proxies that serve as a portal through a network firewall ought to take special precautions regarding the
    > transfer of header information that might identify hosts behind the firewall.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Worker: http://10.42.0.17:30000
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Worker: w-7
        < X-Model-Version: 10.0.1
        < Content-Length: 2

        > GET /v1/models HTTP/1.1
        > Host: 10.42.0.9:8080
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Worker: http://10.42.0.17:30000
        < Content-Length: 2
    """
    if exchange.response is not None:
        yield from addresses_inside(exchange.request, exchange.response, policy.response_headers)


def addresses_inside(request: Request, response: Response, headers: ResponseHeaders) -> Hits:
    """The lines of a response that name an address the client can do nothing with, each with why."""
    if not _MAY_HOLD_ADDRESS.search(response.fields.block):
        return
    host = _said_host(request)
    if not host or _is_inside(host):
        return
    skipped = known.named((*headers.internal, *_SAYS_ORIGINS))
    for line in response.fields:
        found = _ADDRESS.search(line.value)
        if found is None or skipped.fullmatch(line.key):
            continue
        if found["address"] is None or _is_private(found["address"].decode()):
            yield line, f"{line.shown_name} names {quoted(mask_text(found[0]), 80)}"


def _is_private(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:
        return False


def _is_inside(host: str) -> bool:
    """Whether a host's name means something only on this machine or in this network."""
    return (
        "." not in host
        or _is_private(host)
        or host.endswith((".internal", ".local", ".lan", ".localdomain", ".home.arpa"))
    )


_FINGERPRINT = re.compile(rb"(?i)(?:Async)?(?:OpenAI|Anthropic)/(?:Python|JS)|ai-sdk/")
_FIREWALL = re.compile(rb"(?i)cloudflare|awselb|akamai|imperva|sucuri|big-?ip|fortiweb|ddos-guard")


@rule("RFC 9110 §15.5.4", "RFC 7231 §6.5.3", severity=NOTE)
def sdk_fingerprint_refused(exchange: Exchange) -> Hits:
    """A firewall refused a request that carries SDK fingerprint headers.

    Some firewalls answer 403 to x-stainless-* or an SDK's User-Agent: users of custom gateways see "Your
    request was blocked." with the openai SDK and success with curl. An API that refuses answers in JSON; a
    firewall with a page of HTML, or with nothing.

    > The 403 (Forbidden) status code indicates that the server understood the request but refuses to fulfill
    > it.

    Bad::

        > POST /v1/embeddings HTTP/1.1
        > Host: gateway.example
        > User-Agent: OpenAI/Python 2.54.0
        > X-Stainless-Lang: python
        > Content-Length: 0
        < HTTP/1.1 403 Forbidden
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Server: cloudflare
        < Content-Type: text/html
        < Content-Length: 51
        <
        < <html><body>Your request was blocked.</body></html>

    Good::

        > POST /v1/embeddings HTTP/1.1
        > Host: gateway.example
        > User-Agent: OpenAI/Python 2.54.0
        > X-Stainless-Lang: python
        > Content-Length: 0
        < HTTP/1.1 403 Forbidden
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 85
        <
        < {"error":{"message":"no access to this model","type":"permission_error","code":null}}
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status != 403:
        return
    agent = request.fields.one("user-agent") or b""
    stainless = next((line for line in request.fields if line.key.startswith("x-stainless-")), None)
    if stainless is None and not _FINGERPRINT.search(agent):
        return
    media = media_type(response)
    by_firewall = (
        "cf-mitigated" in response.fields
        or _FIREWALL.search(response.fields.one("server") or b"") is not None
    )
    if media == b"text/html" or (by_firewall and media is None and response.size == 0):
        said = (
            stainless.shown_name if stainless is not None else f"User-Agent {shown(b'user-agent', agent, 60)}"
        )
        yield response, f"403 with {'HTML' if media else 'nothing'} to a request with {said}"


# What one product says: a version down to the patch, or a comment (an operating system, most often).
_FINE_VERSION = re.compile(rb"/[0-9]+\.[0-9]+\.[0-9]")
_VERSIONED = re.compile(rb"/[0-9]")
LONG_SERVER = 64
"""Octets of Server beyond which somebody lists modules."""


@rule(
    *("RFC 9110 §10.2.4", "RFC 9110 §17.12", "RFC 7231 §7.4.2", "RFC 7231 §9.6"),
    severity=NOTE,
    fix="allow-response-headers",
    fields=("server",),
)
def server_version_disclosed(response: Response) -> Hits:
    """The Server header is very long or names component versions.

    It helps attackers choose an exploit, and tells nobody else anything: a name is enough to see which hop
    answered. nginx has ``server_tokens off``, Apache ``ServerTokens Prod``, uvicorn ``--no-server-header``; the
    addon drops Server where ``allow`` in ``[policy.response-headers]`` does not name it.

    > An origin server SHOULD NOT generate a Server header field containing needlessly fine-grained detail and
    > SHOULD limit the addition of subproducts by third parties.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Server: Python/3.12 aiohttp/3.13.4
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Server: nginx
        < Content-Length: 2
    """
    for line in response.fields.lines("server"):
        said = f"Server {shown(line.name, line.value)}"
        if len(line.value) > LONG_SERVER:
            yield line, f"{said} has {len(line.value)} octets"
        elif _FINE_VERSION.search(line.value) or len(_VERSIONED.findall(line.value)) > 1:
            yield line, f"{said} tells exactly which versions run"

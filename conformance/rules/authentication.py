"""Credentials: are they there, are they some, are they in the right place, and what a 401 says about them.

Each line with a credential has at most one defect, the most specific:

* nothing where the scheme or its space should be is authorization-malformed, a scheme and nothing else is
  empty-bearer-token, an API key header with nothing in it empty-api-key-header;
* what a program writes for a key it has not got is placeholder-bearer-token or placeholder-api-key, a template
  nobody filled in unexpanded-template-in-credential;
* a second scheme, quotes, or a second token are doubled-bearer-scheme, any other octet that no token has
  bearer-token-malformed, and a sound token behind ``bearer`` is bearer-scheme-in-wrong-case.

Values with control characters or octets above 0x7F are left to the rules about field lines, joined values to
joined-singleton-value. A value that somebody has masked (``***``, ``[REDACTED]``) was a credential once, and
nothing is known about which.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from conformance import grammar
from conformance.credential import (
    OAUTH_TOKENS,
    Judged,
    are_opposed,
    carries_credential,
    is_control,
    judged,
    matches,
    needs_credential,
    parameters,
)
from conformance.known import API_KEYS, CREDENTIALS
from conformance.message import Exchange, FieldLine, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown
from conformance.turn import Turn

if TYPE_CHECKING:
    from conformance.policy import Policy

IN_A_ROW = 3
"""401 that answer one credential before it is certain that nobody looks at them."""

_CTL = re.compile(rb"[\x00-\x1f\x7f]")


def _broken(request: Request, name: str) -> Hits:
    for found in judged(request):
        if found.rule == name:
            yield found.line, found.why


def _succeeded(exchange: Exchange) -> bool:
    """Whether the upstream did what it was asked, and so had what it needed."""
    return exchange.response is not None and exchange.response.status < 400


def _refused(exchange: Exchange) -> bool:
    return exchange.response is not None and exchange.response.status in (401, 403)


@lru_cache(maxsize=64)
def _revealed(reference: str) -> bytes | None:
    """The credential a policy refers to; None where it is not there: then nothing is compared with it."""
    from conformance.policy import PolicyError, reveal  # who has a policy has paid for pydantic

    try:
        return reveal(reference)
    except PolicyError:
        return None


def _two_keys(policy: Policy) -> tuple[bytes, bytes] | None:
    """The data key and the control key, where both are known and differ."""
    if policy.auth.data_key is None or policy.auth.control_key is None:
        return None
    data, control = _revealed(policy.auth.data_key), _revealed(policy.auth.control_key)
    return (data, control) if data is not None and control is not None and data != control else None


@rule(
    "RFC 9110 §11.4",
    "RFC 9110 §11.6.2",
    "RFC 7235 §2.1",
    "RFC 7235 §4.2",
    severity=ERROR,
    fix="inject-auth",
    fields=("authorization",),
    breaks=("sglang-router 0.3.2", "smg 1.13.0", "litellm proxy 1.106.2"),
)
def authorization_malformed(request: Request) -> Hits:
    """Authorization is not a scheme, a space and credentials.

    sglang-router 0.3.2 and smg 1.13.0 answer 401 to a key without a scheme, LiteLLM 1.106.2 answers 500; the
    providers' APIs answer 401. ``Bearer:key`` and ``Bearer`` joined to its key are no better, and an empty
    value is worse than no header. Behind a router that checks nothing the bare key travels on to the worker,
    which does.

    > Its value consists of credentials containing the authentication information of the user agent for the
    > realm of the resource being requested.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: sk-proj-000000000000

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer:sk-proj-000000000000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
    """
    yield from _broken(request, "authorization-malformed")


@rule(
    "RFC 6750 §2.1",
    "RFC 9110 §11.2",
    severity=ERROR,
    fix="inject-auth",
    fields=("authorization",),
    breaks=("h11", "httpx", "sglang-router 0.3.2", "smg 1.13.0", "litellm proxy 1.106.2"),
)
def empty_bearer_token(request: Request) -> Hits:
    """Authorization says Bearer without a token.

    h11, and so httpx and the OpenAI and Anthropic SDKs, refuse to send it ("Illegal header value b'Bearer '");
    what other clients send is answered 401 by sglang-router 0.3.2 and smg 1.13.0, 500 by LiteLLM 1.106.2 and
    422 elsewhere (OpenHands/software-agent-sdk#1022). Leave the header out when there is no key.

    > b64token    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
    """
    yield from _broken(request, "empty-bearer-token")


@rule(
    "RFC 6750 §2.1",
    severity=ERROR,
    fix="inject-auth",
    fields=CREDENTIALS,
    breaks=("sglang-router 0.3.2", "smg 1.13.0", "litellm proxy 1.106.2", "haproxy"),
)
def placeholder_bearer_token(request: Request) -> Hits:
    """The bearer token is a placeholder such as None, null, undefined or your-api-key.

    slime sends ``Bearer None`` on every health poll when no key is set. The engine leaves that path open and
    answers 200, but any intermediary that checks the header answers 401, and the engine is declared dead
    (THUDM/slime#2068); a router without a key hands it to the worker as it is. Leave the header out.

    Words that people write on purpose for servers that want no key (``EMPTY``, ``dummy``) are fine, unless a
    real key stands in another header of the same request.

    > b64token    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="

    Bad::

        > GET /health_generate HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer None

    Good::

        > GET /health_generate HTTP/1.1
        > Host: 127.0.0.1:15000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: 127.0.0.1:8000
        > Authorization: Bearer EMPTY
    """
    yield from _broken(request, "placeholder-bearer-token")


@rule("RFC 6750 §2.1", severity=ERROR, fix="inject-auth", fields=CREDENTIALS)
def unexpanded_template_in_credential(request: Request) -> Hits:
    """The credential is an unexpanded template such as ${API_KEY}.

    The environment variable was not set, or the file is not one in which variables are expanded: single quotes
    in a shell, ``os.environ/NAME`` outside of LiteLLM's configuration, ``{env:NAME}`` outside of OpenCode's.
    Every call ends in 401, and the log of the gateway shows a key that nobody issued.

    > b64token    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer ${OPENAI_API_KEY}

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-api-key: os.environ/ANTHROPIC_API_KEY

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
    """
    yield from _broken(request, "unexpanded-template-in-credential")


@rule("RFC 6750 §2.1", "RFC 9110 §11.2", severity=ERROR, fix="inject-auth", fields=CREDENTIALS)
def doubled_bearer_scheme(request: Request) -> Hits:
    """The credential repeats its scheme or holds quotes or two tokens.

    A program added Bearer to a value that already had it, a key came with the quotes of its .env file, or a
    list of keys was taken for one. Upstreams compare what stands behind the first space with their keys and
    answer 401.

    > credentials = "Bearer" 1*SP b64token

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer Bearer sk-proj-000000000000

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer "sk-proj-000000000000"

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
    """
    yield from _broken(request, "doubled-bearer-scheme")


@rule("RFC 6750 §2.1", "RFC 9110 §11.2", severity=ERROR, fix="inject-auth", fields=("authorization",))
def bearer_token_malformed(request: Request) -> Hits:
    r"""The bearer token contains characters a token may not have.

    What a key file or a shell left in the key: ``\n`` as two characters, ``%0A``, the prompt's ``$``. The
    upstream answers 401, and strict parsers refuse the header. A real line break is newline-or-nul-in-header;
    GitHub Copilot's tokens, which hold ``;`` and ``:``, are known and fine.

    > b64token    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000%0A

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer ya29.a0000_0000-0000/0000+0000==
    """
    yield from _broken(request, "bearer-token-malformed")


@rule(
    "RFC 9110 §11.1",
    "RFC 7235 §2.1",
    severity=WARNING,
    fix="inject-auth",
    fields=("authorization",),
    breaks=("sglang-router 0.3.2",),
)
def bearer_scheme_in_wrong_case(request: Request) -> Hits:
    """The authentication scheme is not written Bearer.

    Schemes ignore case, but sglang-router 0.3.2 compares the prefix ``Bearer `` octet by octet and answers 401
    with an empty body; smg 1.13.0, vllm-router 0.1.17 and SGLang itself accept ``bearer``.

    > It uses a case-insensitive token to identify the authentication scheme

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: bearer sk-proj-000000000000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
    """
    yield from _broken(request, "bearer-scheme-in-wrong-case")


@rule(
    "google-gemini/gemini-cli packages/core/src/core/contentGenerator.ts",
    severity=WARNING,
    fix="inject-auth",
    fields=API_KEYS,
)
def empty_api_key_header(request: Request) -> Hits:
    """An API key header is empty.

    Gemini CLI may send an empty x-goog-api-key in gateway mode, and an upstream can take it as a wrong key
    instead of no key: the 401 then names an invalid key that nobody entered. Leave the header out.

    Bad::

        > POST /v1beta/models/gemini-2.5-flash:countTokens HTTP/1.1
        > Host: api.example
        > x-goog-api-key:

    Good::

        > POST /v1beta/models/gemini-2.5-flash:countTokens HTTP/1.1
        > Host: api.example
    """
    yield from _broken(request, "empty-api-key-header")


@rule("NVIDIA-NeMo/nemo-platform#1589", severity=ERROR, fix="inject-auth", fields=CREDENTIALS)
def placeholder_api_key(request: Request) -> Hits:
    """An API key header holds a placeholder.

    NeMo's inference gateway replaced the client's Authorization but let its ``x-api-key: not-used`` pass; that
    beat the real credential, and the upstream's 401 came back as 502. So words that people write on purpose
    where a library wants a key count where a real key stands in another header; by themselves they are fine.
    ``None``, ``undefined`` and ``your-api-key`` always count.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-api-key: undefined

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-ant-000000000000
        > x-api-key: not-used

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > x-litellm-api-key: Bearer sk-000000000000
        > x-api-key: not-used
    """
    yield from _broken(request, "placeholder-api-key")


@rule("RFC 9110 §11.6.2", "RFC 7235 §4.2", severity=WARNING, fix="inject-auth")
def credentials_missing(exchange: Exchange, policy: Policy) -> Hits:
    """The request has no credential although the upstream requires one.

    The upstream answers 401, which retrying callers turn into a timeout (THUDM/slime#2068); LiteLLM 1.106.2
    without a database answers 500. Which upstream requires one is said by the policy (``auth.required``); only
    requests for operations that are known count, none on ``auth.open-paths``, and none that succeeded.

    > The "Authorization" header field allows a user agent to authenticate itself with an origin server --
    > usually, but not necessarily, after receiving a 401 (Unauthorized) response.

    Bad::

        # profile: openai
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com

    Good::

        # profile: openai
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > Authorization: Bearer sk-proj-000000000000

    Good::

        # profile: openrouter
        > GET /api/v1/models HTTP/1.1
        > Host: openrouter.ai
    """
    request = exchange.request
    if not policy.auth.required or not request.fields.names.isdisjoint(CREDENTIALS) or _succeeded(exchange):
        return
    if not needs_credential(request, policy.auth) or is_control(request, policy.auth):
        return
    if carries_credential(request) or parameters(request, policy.auth.parameters):
        return
    wanted = " or ".join(policy.auth.headers) or "a credential"
    yield request, f"no header of this request holds a credential; the upstream requires {wanted}"


@rule("BerriAI/litellm#33055", severity=ERROR, fix="inject-auth", fields=CREDENTIALS)
def wrong_credential_header(exchange: Exchange, policy: Policy) -> Hits:
    """The credential is in a header the upstream does not read.

    x-api-key where Bearer is needed, or the reverse, is answered 401: sglang-router 0.3.2 and smg 1.13.0 read
    Authorization only, LiteLLM sent x-api-key to a Cloudflare gateway that does the same. Which headers are
    read is said by the policy (``auth.headers``); requests that succeeded are not judged.

    Bad::

        # profile: openai
        > GET /v1/models HTTP/1.1
        > Host: api.openai.com
        > x-api-key: sk-proj-000000000000

    Good::

        # profile: anthropic
        > GET /v1/models HTTP/1.1
        > Host: api.anthropic.com
        > x-api-key: sk-ant-000000000000
        > anthropic-version: 2023-06-01
    """
    request, read = exchange.request, policy.auth.headers
    if not read or not request.fields.names.isdisjoint(read) or _succeeded(exchange):
        return
    if not (needs_credential(request, policy.auth) or is_control(request, policy.auth)):
        return
    if policy.auth.parameters and parameters(request, policy.auth.parameters):
        return
    for found in judged(request):
        if found.rule is None:
            said = f"{found.line.shown_name} {shown(found.line.name, found.line.value)}"
            yield found.line, f"{said} is not read by the upstream, which reads {' or '.join(read)}"


@rule("RFC 9110 §11.6.2", "RFC 7235 §4.2", severity=ERROR, fix="inject-auth", fields=CREDENTIALS)
def conflicting_credentials(request: Request) -> Hits:
    """The request carries two different credentials.

    Gateways pick different ones: an OAuth token in Authorization beat the virtual key in x-api-key at LiteLLM
    (BerriAI/litellm#29190), a client's x-api-key beat the proxy's Bearer at NeMo's. Claude Code sends both when
    ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN are set; as long as they are equal nothing is wrong.

    Pairs that are meant for two who look at them are fine: x-litellm-api-key beside the provider's credential,
    Azure's subscription key or Google's API key beside an OAuth token. A second line of the same header is
    duplicate-authorization or duplicate-api-key.

    > Its value consists of credentials containing the authentication information of the user agent for the
    > realm of the resource being requested.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Authorization: Bearer sk-ant-oat01-000000000000
        > x-api-key: sk-000000000000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Authorization: Bearer sk-ant-oat01-000000000000
        > x-litellm-api-key: sk-000000000000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > Authorization: Bearer sk-000000000000
        > x-api-key: sk-000000000000
    """
    lines = judged(request)
    if len(lines) < 2:
        return
    first: dict[str, Judged] = {}
    for found in lines:
        if found.token is not None:
            first.setdefault(found.line.key, found)
    chosen = sorted(first.values(), key=lambda found: found.line.key)
    for at, found in enumerate(chosen):
        other = next(
            (o for o in chosen[:at] if o.token != found.token and are_opposed(o.line.key, found.line.key)),
            None,
        )
        if other is not None:
            yield (
                found.line,
                f"{found.line.shown_name} and {other.line.shown_name} hold different credentials: which one counts "
                "is up to each hop",
            )


@rule(
    "RFC 9110 §11.6.2", "RFC 7235 §4.2", severity=ERROR, fix="inject-auth", breaks=("slime", "SGLang 0.5.23")
)
def control_plane_key_missing(exchange: Exchange, policy: Policy) -> Hits:
    """A control-plane request carries no credential.

    SGLang answers 401 to flush_cache, sglang-router to worker registration; slime took each 401 for "not yet",
    asked sixty times in sixty seconds and reported "Timeout while flushing cache." instead (THUDM/slime#2068).
    Paths are those of ``auth.control-paths``. Without ``auth.required`` only an answer of 401 or 403 shows that
    a credential was needed: an engine without a key answers 200.

    > The 401 (Unauthorized) status code indicates that the request has not been applied because it lacks valid
    > authentication credentials for the target resource.

    Bad::

        > GET /flush_cache HTTP/1.1
        > Host: 127.0.0.1:15000
        > User-Agent: python-requests/2.34.2
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer
        < Content-Type: application/json
        < Content-Length: 24
        <
        < {"error":"Unauthorized"}

    Good::

        > GET /flush_cache HTTP/1.1
        > Host: 127.0.0.1:15000
        > User-Agent: python-requests/2.34.2
        > Authorization: Bearer sk-admin-000000000000
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        <
    """
    request = exchange.request
    if not _refused(exchange) and (not policy.auth.required or _succeeded(exchange)):
        return
    if (
        not request.verbatim
        or not request.fields.names.isdisjoint(CREDENTIALS)
        or request.method == b"OPTIONS"
    ):
        return
    if is_control(request, policy.auth) and not carries_credential(request):
        answered = f" and was answered {exchange.response.status}" if exchange.response is not None else ""
        path = quoted(mask_text(request.path))
        yield request, f"{path} administers the upstream: the request has no credential{answered}"


@rule(
    "RFC 9110 §15.5.4",
    "RFC 7231 §6.5.3",
    severity=ERROR,
    fix="inject-auth",
    fields=CREDENTIALS,
    breaks=("SGLang 0.5.23",),
)
def data_key_on_control_plane(request: Request, policy: Policy) -> Hits:
    """A control-plane request carries the data-plane key.

    SGLang refuses the API key on admin paths when an admin key is set (sgl-project/sglang#15908): the weights
    are not updated, the cache is not flushed, and slime reports a timeout. Both keys have to be known to the
    policy, by reference: ``auth.data-key`` and ``auth.control-key``. The profile sglang looks for them in
    SGLANG_API_KEY and SGLANG_ADMIN_API_KEY.

    > If authentication credentials were provided in the request, the server considers them insufficient to
    > grant access.

    Bad::

        # profile: sglang
        > GET /flush_cache HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer sk-example-data-key

    Good::

        # profile: sglang
        > GET /flush_cache HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer sk-example-control-key
    """
    keys = _two_keys(policy)
    if keys is None:
        return
    for found in judged(request):
        if found.token == keys[0] and is_control(request, policy.auth):
            path = quoted(mask_text(request.path))
            yield (
                found.line,
                f"{found.line.shown_name} holds the data key, but {path} administers the upstream",
            )


@rule("RFC 9110 §17.16", severity=WARNING, fix="inject-auth", fields=CREDENTIALS)
def control_plane_key_on_data_path(request: Request, policy: Policy) -> Hits:
    """An ordinary request carries the control-plane key.

    The admin key spreads to every worker and log that handles completions: sglang-router 0.3.2 and vllm-router
    0.1.17 hand the client's Authorization on to the worker. Whoever reads it there can update the weights.
    Both keys have to be known to the policy, by reference: ``auth.data-key`` and ``auth.control-key``.

    > This makes it possible for a different resource to harvest authentication credentials for other
    > resources.

    Bad::

        # profile: sglang
        > GET /v1/models HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer sk-example-control-key

    Good::

        # profile: sglang
        > GET /v1/models HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer sk-example-data-key
    """
    keys = _two_keys(policy)
    if keys is None:
        return
    for found in judged(request):
        if found.token == keys[1] and not matches(request, policy.auth.control_paths):
            path = quoted(mask_text(request.path))
            yield found.line, f"{found.line.shown_name} holds the control key, which {path} does not need"


@rule("RFC 6750 §2.1", severity=WARNING, fix="inject-auth", fields=API_KEYS)
def oauth_token_as_api_key(request: Request) -> Hits:
    """An OAuth token is sent in the API key header.

    Anthropic accepts OAuth tokens (``sk-ant-oat...``) only as Bearer together with their beta token, and
    answers "invalid x-api-key" otherwise (BerriAI/litellm#21039); Google reads its access tokens (``ya29...``)
    in Authorization only.

    > When sending the access token in the "Authorization" request header field defined by HTTP/1.1 [RFC2617],
    > the client uses the "Bearer" authentication scheme to transmit the access token.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.anthropic.com
        > anthropic-version: 2023-06-01
        > x-api-key: sk-ant-oat01-000000000000

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.anthropic.com
        > anthropic-beta: oauth-2025-04-20
        > anthropic-version: 2023-06-01
        > Authorization: Bearer sk-ant-oat01-000000000000
    """
    for found in judged(request):
        if found.token is None or found.line.key == "authorization":
            continue
        for beginning, issuer in OAUTH_TOKENS.items():
            if found.token.startswith(beginning):
                yield (
                    found.line,
                    f"{found.line.shown_name} holds an OAuth token of {issuer}, which belongs behind Bearer",
                )


@rule("RFC 6750 §5.3", "RFC 9110 §17.16.1", severity=WARNING, fields=CREDENTIALS)
def credentials_over_plain_http(exchange: Exchange) -> Hits:
    """Credentials travel over plain HTTP to a host that is not local.

    Anyone on the path reads the key and can spend on it. Loopback, private and link-local addresses, names
    without a dot (containers, services of a compose file) and names of private zones (``.local``,
    ``.internal``, ``.svc``, ``.ts.net``) are not counted; nor is traffic whose upstream was not recorded.

    > Clients MUST always use TLS [RFC5246] (https) or equivalent transport security when making requests with
    > bearer tokens.

    Bad::

        @ scheme: http
        @ upstream: gateway.example.com:80
        > GET /v1/models HTTP/1.1
        > Host: gateway.example.com
        > Authorization: Bearer sk-000000000000

    Good::

        @ scheme: https
        @ upstream: gateway.example.com:443
        > GET /v1/models HTTP/1.1
        > Host: gateway.example.com
        > Authorization: Bearer sk-000000000000

    Good::

        @ scheme: http
        @ upstream: litellm:4000
        > GET /v1/models HTTP/1.1
        > Host: litellm:4000
        > Authorization: Bearer sk-000000000000
    """
    if exchange.scheme not in (b"http", b"ws") or exchange.upstream is None:
        return
    host = exchange.upstream.rpartition(":")[0].strip("[]").rstrip(".").lower()
    if _is_local(host):
        return
    for found in judged(exchange.request):
        if found.rule is None:
            yield (
                found.line,
                f"{found.line.shown_name} {shown(found.line.name, found.line.value)} goes to "
                f"{quoted(mask_text(host.encode('utf-8', 'replace')))} in the clear",
            )


_LOCAL_ZONES = (
    ".localhost", ".local", ".internal", ".lan", ".home", ".home.arpa", ".intranet", ".corp", ".private",
    ".svc", ".cluster.local", ".docker", ".test", ".ts.net", ".consul", ".nip.io", ".sslip.io",
)  # fmt: skip
"""Ends of names that are resolved, or only reached, within a private network (RFC 6761, 6762, 8375; ICANN's
.internal; Kubernetes, Consul, Tailscale, which encrypts)."""


@lru_cache(maxsize=4096)
def _is_local(host: str) -> bool:
    try:
        # not is_private: 100.64.0.0/10, shared by carriers and Tailscale, is not global either
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_ZONES)


@rule("RFC 6750 §2.3", "RFC 6750 §5.3", "RFC 9110 §17.9", "RFC 7231 §9.4", severity=WARNING)
def credential_in_request_target(request: Request) -> Hits:
    """A credential stands in the query string.

    Request lines are logged by every hop: nginx, Envoy, uvicorn and LiteLLM write the target of each request to
    their access logs, and traces and error messages carry it on. Gemini's ``?key=`` is documented by Google and
    works; x-goog-api-key works as well and is not logged. Signed URLs (``X-Amz-Signature``) are made to be
    handed around, and expire: they are not counted.

    > Because of the security weaknesses associated with the URI method (see Section 5), including the high
    > likelihood that the URL containing the access token will be logged, it SHOULD NOT be used unless it is
    > impossible to transport the access token in the "Authorization" request header field or the HTTP request
    > entity-body.

    Bad::

        > GET /v1beta/models?key=AIzaSy0000000000000000000000 HTTP/1.1
        > Host: generativelanguage.googleapis.com

    Good::

        > GET /v1beta/models?pageToken=CAUQ0000000000000000 HTTP/1.1
        > Host: generativelanguage.googleapis.com
        > x-goog-api-key: AIzaSy0000000000000000000000
    """
    if b"?" not in request.target:
        return
    if names := parameters(request, ()):
        said = ", ".join(quoted(mask_text(name)) for name in dict.fromkeys(names))
        yield request, f"the query holds a credential ({said}), and every hop may log it"


@rule("RFC 7617 §2", severity=ERROR, fields=("authorization",))
def basic_credentials_malformed(request: Request) -> Hits:
    """Basic credentials are malformed.

    The server answers 401. They have to be user, colon and password in base64: a password that was not
    encoded, a key without a colon, and the line feed that ``echo user:password | base64`` puts at the end are
    the usual mistakes.

    > The user-id and password MUST NOT contain any control characters (see "CTL" in Appendix B.1 of [RFC5234]).

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Basic YWxpY2U6c2VjcmV0Cg==

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Basic YWxpY2U6c2VjcmV0
    """
    yield from _broken(request, "basic-credentials-malformed")


# challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]                     (RFC 9110 §11.3)
# All for match; what ends an element is a comma or the end.
_END = rb"(?=[ \t]*(?:,|\Z))"
_SCHEME = re.compile(grammar.TOKEN.pattern + rb"(?=[ ,]|[ \t]*\Z)")
_TOKEN68 = re.compile(rb" +(?P<token68>[A-Za-z0-9\-._~+/]+=*)" + _END)
_PARAM = re.compile(
    rb"(?P<name>" + grammar.TOKEN.pattern + rb")[ \t]*=[ \t]*(?P<value>"
    + grammar.TOKEN.pattern + rb"|" + grammar.QUOTED_STRING.pattern + rb")" + _END
)  # fmt: skip
_SKIPPED = re.compile(rb"[ \t,]*")
_NOTHINGS = frozenset({b"none", b"null", b"undefined", b"nan", b"nil"})


class _Challenge(NamedTuple):
    scheme: bytes
    parameters: dict[bytes, bytes]


def _challenges(value: bytes) -> list[_Challenge] | str:
    """The challenges of one line, or what is wrong with it."""
    found: list[_Challenge] = []
    takes_parameters = False
    at = 0
    while (at := _ends(_SKIPPED, value, at)) < len(value):
        if param := _PARAM.match(value, at):
            name = param["name"].lower()
            if not takes_parameters:
                return f"has a parameter {quoted(mask_text(param['name']))} without a scheme before it"
            if name in found[-1].parameters:
                return f"has {quoted(mask_text(param['name']))} twice in one challenge"
            found[-1].parameters[name] = param["value"].strip(b'"')
            at = param.end()
        elif scheme := _SCHEME.match(value, at):
            if scheme[0].lower() in _NOTHINGS:
                return f"names {quoted(scheme[0])} as its scheme"
            found.append(_Challenge(scheme[0].lower(), {}))
            at = scheme.end()
            takes_parameters = value[at : at + 1] == b" "
            # "Basic realm=" is a parameter that broke off, not a token.
            if (token := _TOKEN68.match(value, at)) and not _SCHEME.fullmatch(token["token68"]):
                at, takes_parameters = token.end(), False
        else:
            return f"cannot be read from {quoted(mask_text(value[at : at + 40]))} on"
    return found or "is empty"


def _ends(pattern: re.Pattern[bytes], value: bytes, at: int) -> int:
    found = pattern.match(value, at)
    return found.end() if found else at


@rule(
    "RFC 9110 §11.6.1",
    "RFC 9110 §11.3",
    "RFC 7235 §4.1",
    severity=ERROR,
    fields=("www-authenticate", "proxy-authenticate"),
)
def www_authenticate_malformed(response: Response) -> Hits:
    """An authentication challenge is malformed.

    Clients cannot find the scheme or the error and stop: an MCP client finds no resource_metadata to begin its
    login with, an SDK no invalid_token that tells it to refresh. A realm with a space but without quotes, a
    quote that is not closed, parameters without a scheme and a message in plain text are the usual mistakes.

    > Authentication parameters are name/value pairs, where the name token is matched case-insensitively and
    > each parameter name MUST only occur once per challenge.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < WWW-Authenticate: Bearer realm=data plane, error="invalid_token"
        <

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < WWW-Authenticate: Bearer realm="data-plane", error="invalid_token", Basic realm="data-plane"
        <
    """
    for name in ("www-authenticate", "proxy-authenticate"):
        for line in response.fields.lines(name):
            value = line.value.strip(grammar.OWS)
            if grammar.CR_LF_NUL.search(value) or grammar.OTHER_CTL.search(value):
                continue
            wrong = _challenges(value)
            if isinstance(wrong, str):
                yield line, f"{line.shown_name} {shown(line.name, line.value)} {wrong}"


_STATUS_OF_ERROR = {b"invalid_request": 400, b"invalid_token": 401, b"insufficient_scope": 403}


@rule("RFC 6750 §3.1", severity=WARNING, fields=("www-authenticate",))
def bearer_error_with_wrong_status(response: Response) -> Hits:
    """The bearer error code does not fit the status.

    Clients refresh tokens on 401 only, so invalid_token with 403 is never repaired; and insufficient_scope with
    401 makes them refresh for ever a token that lacks a permission. A gateway that maps statuses without
    touching the challenge is one source.

    > The resource SHOULD respond with the HTTP 401 (Unauthorized) status code.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
        < HTTP/1.1 403 Forbidden
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < WWW-Authenticate: Bearer realm="data-plane", error="invalid_token"
        <

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-proj-000000000000
        < HTTP/1.1 403 Forbidden
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 0
        < WWW-Authenticate: Bearer realm="data-plane", error="insufficient_scope", scope="models.read"
        <
    """
    for line in response.fields.lines("www-authenticate"):
        challenges = _challenges(line.value.strip(grammar.OWS))
        for challenge in challenges if isinstance(challenges, list) else ():
            error = challenge.parameters.get(b"error", b"")
            wanted = _STATUS_OF_ERROR.get(error)
            if challenge.scheme == b"bearer" and wanted is not None and response.status not in (wanted, 0):
                yield line, f"error {quoted(error)} belongs to {wanted}, not to {response.status}"


@rule("RFC 9110 §15.5.2", "RFC 7235 §3.1", severity=NOTE, name="401-to-request-without-credentials")
def status_401_to_request_without_credentials(exchange: Exchange) -> Hits:
    """A 401 answers a request that carried no credential at all.

    The first question of every 401 is answered: the key never left the client, or was removed on the way.
    Where a client has to ask before it can answer (Basic, Digest, Negotiate), or looks for the place to log in
    (``resource_metadata`` of RFC 9728, as MCP clients do), that is how it goes, and nothing is said.

    > The 401 (Unauthorized) status code indicates that the request has not been applied because it lacks valid
    > authentication credentials for the target resource.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer realm="data-plane"
        < Content-Length: 0
        <

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-000000000000
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < WWW-Authenticate: Bearer realm="data-plane", error="invalid_token"
        < Content-Length: 0
        <
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status != 401 or request.method == b"OPTIONS" or not request.verbatim:
        return
    if carries_credential(request) or any(
        _begins_dialogue(line) for line in response.fields.lines("www-authenticate")
    ):
        return
    yield response, f"401 answers a request without any credential: {_fields_of(request)}"


def _begins_dialogue(line: FieldLine) -> bool:
    challenges = _challenges(line.value.strip(grammar.OWS))
    if isinstance(challenges, str):
        return False
    return any(c.scheme != b"bearer" or b"resource_metadata" in c.parameters for c in challenges)


def _fields_of(request: Request) -> str:
    return (
        f"none of its {len(request.fields)} header lines holds one"
        if len(request.fields)
        else "it has no headers"
    )


@rule(
    "RFC 9110 §15.5.2",
    "RFC 7235 §3.1",
    severity=WARNING,
    fix="tame-retries",
    evidence="flows",
)
def repeated_401_with_same_credentials(turn: Turn) -> Hits:
    """Several 401 in a row answer the same credential.

    Whatever is asked for, this credential does not open it, and asking again cannot help. slime's client
    retries each call up to 60 times on any error, so a missing key looks like a server that hangs: "Timeout
    while flushing cache." Claude Code 2.1.197 goes on for more than a minute.

    Three in a row from one client, each sent after the last had been answered, make it certain; an answer of
    another kind begins a new row. Requests without any credential count if they are the same request.

    > If the request included authentication credentials, then the 401 response indicates that authorization has
    > been refused for those credentials.

    Bad::

        > POST /pause_generation HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer wrong-key
        > Content-Length: 2
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0001
        < WWW-Authenticate: Bearer
        < Content-Length: 24

        > POST /flush_cache HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer wrong-key
        > Content-Length: 2
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0002
        < WWW-Authenticate: Bearer
        < Content-Length: 24

        > POST /update_weights_from_disk HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer wrong-key
        > Content-Length: 2
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0003
        < WWW-Authenticate: Bearer
        < Content-Length: 24

    Good::

        > POST /pause_generation HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer wrong-key
        > Content-Length: 2
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0004
        < WWW-Authenticate: Bearer
        < Content-Length: 24

        > POST /pause_generation HTTP/1.1
        > Host: 127.0.0.1:15000
        > Authorization: Bearer right-key
        > Content-Length: 2
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0005
        < Content-Length: 2
    """
    now = turn.digest
    if now.status != 401:
        return
    family = turn.same_client if now.credential is not None else turn.same_request
    row = [*takewhile(lambda digest: digest.status == 401, reversed(family))][::-1]
    # Several at once are one try each; what is sent when the first has been refused is another.
    again = [digest for digest in row if row[0].precedes(digest)]
    if row and row[0].precedes(now) and len(again) == IN_A_ROW - 2:
        whose = "this credential" if now.credential is not None else "this request without a credential"
        yield turn.exchange, f"the {IN_A_ROW}rd 401 in a row for {whose}, since exchange {row[0].number}"

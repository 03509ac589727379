"""Beta tokens: OpenAI-Beta and Anthropic-Beta, and the list of them in the JSON of Bedrock's requests.

One token that an upstream does not take fails the whole request, and each upstream takes others: which, only
the policy knows (``[policy.betas]``). Without one, what is wrong everywhere is reported: tokens that are none,
repeats, header and content that disagree, tokens of the HTTP API in a WebSocket handshake and the reverse.

A comma and a space between tokens are ordinary (RFC 9110 §5.6.1), and so are several lines; the lines are
reported all the same, because gateways read headers into maps.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance import content, grammar, secret
from conformance.known import ANTHROPIC_BETAS, OPENAI_BETAS, named
from conformance.llm import endpoint
from conformance.message import Exchange, FieldLine, Legs, Message, Request
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown
from conformance.websocket import is_handshake

if TYPE_CHECKING:
    from conformance.policy import Betas, Policy

HEADERS = ("anthropic-beta", "openai-beta")
KNOWN = {"anthropic-beta": ANTHROPIC_BETAS, "openai-beta": OPENAI_BETAS}
MEMBER = "anthropic_beta"
"""Member of the content in which Bedrock looks for the tokens."""

MAX_TOKENS = 256
"""Tokens of one line that are looked at. Claude Code sends up to 20; a line of a million is an attack on us."""

HTTP_TOKEN = "responses=experimental"  # noqa: S105 - no password
WEBSOCKET_TOKENS = "responses_websockets="
OAUTH_TOKENS = "oauth-"

# What stands in a token: letters, digits, and in OpenAI's a name and a value.
TOKEN = re.compile(r"[a-z0-9][a-z0-9._+/=:-]*", re.IGNORECASE)
_SPACE = re.compile(rb"[ \t]")
_LIST = re.compile(rb"[\[\]{}\"']")
# How upstreams say that it is the tokens (search): Anthropic and Vertex `Unexpected value(s) ... for the
# `anthropic-beta` header`, Bedrock `invalid beta flag`, older Anthropic `Unsupported beta header`, OpenAI
# `beta_api_shape_disabled`.
_ABOUT_BETAS = re.compile(rb"(?i)anthropic[-_]beta|openai-beta|beta (?:flag|header|token|value)|beta_api")
OAUTH_BEARER = re.compile(rb"(?i)bearer +sk-ant-oat")


class _Token(NamedTuple):
    where: FieldLine | Message
    text: str
    """Without the whitespace around it, in lower case: so recipients that mean well compare."""
    header: str | None
    """The header's lower-case name; None: from the content."""


def _in_headers(request: Request, *names: str) -> Iterator[_Token]:
    """The well-formed tokens of these headers."""
    for name in names:
        for line in request.fields.lines(name):
            for member in line.value.split(b",", MAX_TOKENS)[:MAX_TOKENS]:
                text = member.strip(grammar.OWS).decode("latin-1")
                if TOKEN.fullmatch(text):
                    yield _Token(line, text.lower(), name)


def _listed(request: Request) -> Any:
    """What the content has as its list of tokens; None: none, or not known."""
    return content.once(request, "_betas", _find_list)


def _find_list(request: Message) -> Any:
    if not isinstance(request, Request):  # pragma: no cover - only requests are asked
        return None
    found = endpoint(request)
    if found is None or found.api != "anthropic":
        return None
    octets = content.decoded(request)
    if octets is None or b'"anthropic_beta"' not in octets:  # cheaper than to parse every conversation
        return None
    document = content.document(request)
    return document.get(MEMBER) if isinstance(document, dict) else None


def _in_content(request: Request) -> Iterator[_Token]:
    """The well-formed tokens of the content's list."""
    listed = _listed(request)
    for item in listed[:MAX_TOKENS] if isinstance(listed, list) else ():
        if isinstance(item, str) and TOKEN.fullmatch(item.strip()):
            yield _Token(request, item.strip().lower(), None)


def _tokens(request: Request) -> Iterator[_Token]:
    yield from _in_headers(request, *HEADERS)
    yield from _in_content(request)


def _distinct(tokens: Iterator[_Token]) -> Iterator[_Token]:
    """The first of each: that one is repeated is duplicate-beta-token."""
    seen: set[str] = set()
    for token in tokens:
        if token.text not in seen:
            seen.add(token.text)
            yield token


def _said(token: _Token) -> str:
    name = token.where.shown_name if isinstance(token.where, FieldLine) else MEMBER
    return f"{name} {_text(token.text)}"


def _text(text: str) -> str:
    return quoted(mask_text(text.encode("utf-8", "replace")))


def counts_tokens(request: Request) -> bool:
    """Whether the request asks how many tokens another one would cost."""
    found = endpoint(request)
    return found is not None and found.name.startswith("count-tokens")


@rule(
    "RFC 9110 §5.2",
    "RFC 9110 §5.3",
    "RFC 7230 §3.2.2",
    severity=WARNING,
    fix="normalize-betas",
    fields=HEADERS,
)
def beta_header_on_several_lines(request: Request) -> Hits:
    """Beta tokens are spread over several header lines.

    Gateways that read headers into a map keep one line and lose the other tokens: codex-lb at d4b00fd is one,
    anything written around Python's ``dict(headers)`` another. Of the servers and proxies measured apache and
    lighttpd join the lines, sglang-router drops both headers, smg OpenAI-Beta, and the others pass on both lines.

    > When a field name is repeated within a section, its combined field value consists of the list of
    > corresponding field line values within that section, concatenated in order, with each field line value
    > separated by a comma.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07
        > anthropic-beta: fast-mode-2026-02-01

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07, fast-mode-2026-02-01
    """
    for name in HEADERS:
        lines = request.fields.lines(name)
        for line in lines[1:]:
            first = shown(lines[0].name, lines[0].value)
            yield line, f"{line.shown_name} {shown(line.name, line.value)} is a second line beside {first}"


@rule(
    "RFC 9110 §5.6.1",
    "RFC 7230 §7",
    severity=WARNING,
    fix="normalize-betas",
)
def duplicate_beta_token(request: Request) -> Hits:
    """A beta token appears twice.

    Two layers add it; upstreams that validate the list answer 400. Claude Code's own tokens come twice where
    ``ANTHROPIC_BETAS`` or a gateway's extra headers name them again.

    > A construct "#" is defined, similar to "*", for defining comma-delimited lists of elements.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07,fast-mode-2026-02-01,context-1m-2025-08-07

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07,fast-mode-2026-02-01
    """
    # The header and the content may say the same: that is not twice.
    seen: Counter[tuple[str | None, str]] = Counter()
    for token in _tokens(request):
        seen[token.header, token.text] += 1
        if seen[token.header, token.text] == 2:
            yield token.where, f"{_said(token)} appears twice"


@rule(
    "RFC 9110 §5.6.1.1",
    "RFC 9110 §5.6.2",
    "RFC 7230 §7",
    severity=ERROR,
    fix="normalize-betas",
    breaks=("Anthropic API", "Amazon Bedrock", "Vertex AI"),
)
def beta_token_malformed(request: Request) -> Hits:
    """A beta token is empty, contains or is surrounded by stray whitespace, has the wrong case or is a JSON list.

    One bad token fails the whole request with 400; the Bedrock client of anthropic-sdk-python splits at commas
    without trimming and sends tokens with a leading space, in the content's ``anthropic_beta``, where nothing
    trims them. Settings files yield JSON lists and Python's ``['a', 'b']``, variables that are not set an
    empty header or ``None``. Blanks around the commas of a header are no defect.

    > In any production that uses the list construct, a sender MUST NOT generate empty list elements.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: ["context-1m-2025-08-07"]

    Bad::

        > POST /model/anthropic.claude-opus-4-8/invoke HTTP/1.1
        > Host: bedrock-runtime.us-east-1.amazonaws.com
        > Content-Type: application/json
        > Content-Length: 136
        >
        > {"anthropic_version":"bedrock-2023-05-31","max_tokens":8,"messages":[],
        > "anthropic_beta":["effort-2025-11-24"," context-1m-2025-08-07"]}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07, fast-mode-2026-02-01
    """
    for name in HEADERS:
        for line in request.fields.lines(name):
            if problem := line_problem(line.value):
                yield line, f"{line.shown_name} {shown(line.name, line.value)}: {problem}"
    listed = _listed(request)
    if listed is None:
        return
    if not isinstance(listed, list):
        yield request, f"{MEMBER} in the content is a {type(listed).__name__}, not a list of tokens"
        return
    for item in listed[:MAX_TOKENS]:
        if not isinstance(item, str):
            yield request, f"{MEMBER} in the content holds a {type(item).__name__} where a token belongs"
        elif not item.strip() or item != item.strip() or not TOKEN.fullmatch(item) or item != item.lower():
            yield request, f"{MEMBER} in the content holds {_text(item)}, which is no token as it stands"


def line_problem(value: bytes) -> str | None:
    """What is wrong with the form of a line of tokens."""
    if not value.strip(grammar.OWS):
        return "it is empty"
    if secret.is_placeholder(value):
        return "it is what a program writes that has no tokens"
    if _LIST.search(value):
        return "it is a list as a program writes it, not tokens between commas"
    for member in value.split(b","):
        token = member.strip(grammar.OWS)
        if not token:
            return "one of its tokens is empty"
        if _SPACE.search(token):
            return f"there is whitespace in {quoted(mask_text(token))}"
        if not TOKEN.fullmatch(token.decode("latin-1")):
            return f"{quoted(mask_text(token))} is no token"
        if token != token.lower():
            return f"{quoted(mask_text(token))} is not in lower case"
    return None


@rule(
    "anthropics/claude-code#49370",
    "BerriAI/litellm#18129",
    severity=ERROR,
    fix="normalize-betas",
    breaks=("Amazon Bedrock", "Vertex AI", "Anthropic API"),
)
def unsupported_beta_token(request: Request, policy: Policy) -> Hits:
    """The request carries a beta token the upstream does not support.

    Bedrock answers 400 invalid beta flag, Vertex and Anthropic answer Unexpected value(s): one token fails the
    whole request. Claude Code sends Anthropic's tokens to whatever is behind the gateway, and
    ``CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS=1`` does not keep back all of them (claude-code#21676). Which
    tokens an upstream refuses is ``unsupported`` in ``[policy.betas]``; what it knows by another name is
    ``rename``.

    Bad::

        # profile: bedrock
        > POST /model/anthropic.claude-opus-4-8/invoke HTTP/1.1
        > Host: bedrock-runtime.us-east-1.amazonaws.com
        > Authorization: Bearer bedrock-api-key-0123456789abcdef
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07,prompt-caching-scope-2026-01-05

    Good::

        # profile: bedrock
        > POST /model/anthropic.claude-opus-4-8/invoke HTTP/1.1
        > Host: bedrock-runtime.us-east-1.amazonaws.com
        > Authorization: Bearer bedrock-api-key-0123456789abcdef
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07,tool-search-tool-2025-10-19
    """
    betas = policy.betas
    if not betas.unsupported and not betas.rename:
        return
    elsewhere = betas.refused_on_token_count if counts_tokens(request) else ()
    for token in _distinct(_tokens(request)):
        if matches(elsewhere, token.text) or matches(betas.retired, token.text):
            continue  # beta-header-on-token-count, retired-beta-token
        if (other := betas.rename.get(token.text)) is not None:
            yield token.where, f"{_said(token)}: this upstream knows it as {_text(other)}"
        elif matches(betas.unsupported, token.text):
            yield token.where, f"{_said(token)}: this upstream does not take it, and refuses the request"


def matches(patterns: tuple[str, ...], token: str) -> bool:
    """Whether one of the patterns of a policy is for this token (in lower case)."""
    return bool(patterns) and named(patterns).fullmatch(token) is not None


@rule(
    "Anthropic API reference: beta headers",
    severity=WARNING,
    fix="normalize-betas",
    fields=HEADERS,
)
def unknown_beta_token(request: Request, policy: Policy) -> Hits:
    """The request carries a beta token that is not on any known list.

    It is a typo or newer than the gateway: whether the upstream accepts it is luck. The built-in list is what
    SDKs, Claude Code, Codex and LiteLLM are known to send; add to it with ``known`` in ``[policy.betas]``. It
    is asked only for the headers in ``judged``: of a gateway that sorts tokens out itself nothing is said. The
    addon drops such tokens where ``drop-unknown`` is set.

    Bad::

        # profile: anthropic
        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > x-api-key: sk-ant-api03-0123456789abcdef
        > anthropic-version: 2023-06-01
        > Content-Length: 0
        > anthropic-beta: context-management-2025-06-72

    Good::

        # profile: anthropic
        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > x-api-key: sk-ant-api03-0123456789abcdef
        > anthropic-version: 2023-06-01
        > Content-Length: 0
        > anthropic-beta: context-management-2025-06-27
    """
    for token in _distinct(_in_headers(request, *policy.betas.judged)):
        if not is_known(token.text, token.header or "", policy.betas):
            yield token.where, f"{_said(token)} is on no list of known beta tokens"


def is_known(token: str, header: str, betas: Betas) -> bool:
    """Whether a token (in lower case) is on a list of tokens, that of refused ones included."""
    listed = (*betas.known, *betas.unsupported, *betas.retired, betas.websocket or "")
    return token in KNOWN[header] or token in betas.rename.values() or matches(listed, token)


@rule(
    "BerriAI/litellm#18969",
    "api7/aisix#1061",
    severity=ERROR,
    fix="normalize-betas",
    breaks=("OpenAI Realtime API",),
)
def retired_beta_token(request: Request, policy: Policy) -> Hits:
    """The request carries a beta token whose service rejects it now.

    The generally available Realtime API closes sockets that send realtime=v1, with 4000 and
    ``beta_api_shape_disabled``, after a handshake that looks like a success. Old SDKs send it, LiteLLM and smg
    added it themselves until 2026.

    Bad::

        # profile: openai
        > GET /v1/realtime?model=gpt-realtime HTTP/1.1
        > Host: api.openai.com
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Authorization: Bearer sk-0123456789abcdef
        > OpenAI-Beta: realtime=v1

    Good::

        # profile: openai
        > GET /v1/realtime?model=gpt-realtime HTTP/1.1
        > Host: api.openai.com
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Authorization: Bearer sk-0123456789abcdef
    """
    if policy.betas.retired:
        for token in _distinct(_tokens(request)):
            if matches(policy.betas.retired, token.text):
                yield token.where, f"{_said(token)} is refused by this upstream since it left beta"


@rule(
    "anthropics/claude-code#49648",
    severity=ERROR,
    fix="normalize-betas",
    evidence="body",
)
def beta_token_rejected_by_upstream(exchange: Exchange) -> Hits:
    """The upstream's 400 names a beta token that was forwarded to it.

    The policy for this upstream is wrong and every request with the token fails. Put the token into
    ``unsupported`` in ``[policy.betas]``. Bedrock's ``invalid beta flag`` does not say which: then all that
    were sent are named, and sending them one by one tells.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07,prompt-caching-scope-2026-01-05
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < request-id: req_011CUabcdefghijklmnopqrs
        < Content-Type: application/json
        < Content-Length: 157
        <
        < {"type":"error","error":{"type":"invalid_request_error","message":
        < "Unexpected value(s) `prompt-caching-scope-2026-01-05` for the `anthropic-beta` header."}}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > anthropic-beta: context-1m-2025-08-07
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < request-id: req_011CUabcdefghijklmnopqrs
        < Content-Type: application/json
        < Content-Length: 104
        <
        < {"type":"error","error":{"type":"invalid_request_error","message":"messages: at least one is required"}}
    """
    response = exchange.response
    if response is None or response.status != 400:
        return
    said = content.decoded(response)
    if said is None or _ABOUT_BETAS.search(said) is None:
        return
    text = said.lower()
    sent = {token.text: token for token in _tokens(exchange.request)}
    blamed = [token for token in sent.values() if _names(text, token.text)]
    for token in blamed:
        yield token.where, f"{_said(token)}: the upstream's 400 names it"
    if not blamed and sent and b"invalid beta flag" in text:
        names = ", ".join(_text(token) for token in sent)
        yield (
            next(iter(sent.values())).where,
            f"{names}: the upstream's 400 is about one of these beta tokens",
        )


def _names(text: bytes, token: str) -> bool:
    """Whether a text holds the token, and not one that it is the beginning of."""
    return (
        re.search(rb"(?<![a-z0-9-])" + re.escape(token.encode("latin-1")) + rb"(?![a-z0-9-])", text)
        is not None
    )


@rule(
    "anthropics/claude-code#56595",
    "anthropics/claude-code-action#1291",
    severity=WARNING,
    fix="normalize-betas",
    evidence="headers + body",
    fields=("anthropic-beta",),
)
def beta_header_and_body_disagree(request: Request) -> Hits:
    """The beta header and the beta list in the body differ.

    Bedrock reads the body, others the header, so features depend on the route: the same request has a context
    of a million tokens through one deployment and not through the other. One of the two was filtered or added
    to, the other forgotten.

    Bad::

        > POST /model/anthropic.claude-opus-4-8/invoke HTTP/1.1
        > Host: bedrock-runtime.us-east-1.amazonaws.com
        > Content-Type: application/json
        > Content-Length: 114
        > anthropic-beta: context-1m-2025-08-07,effort-2025-11-24
        >
        > {"anthropic_version":"bedrock-2023-05-31","max_tokens":8,"messages":[],"anthropic_beta":["context-1m-2025-08-07"]}

    Good::

        > POST /model/anthropic.claude-opus-4-8/invoke HTTP/1.1
        > Host: bedrock-runtime.us-east-1.amazonaws.com
        > Content-Type: application/json
        > Content-Length: 114
        > anthropic-beta: context-1m-2025-08-07
        >
        > {"anthropic_version":"bedrock-2023-05-31","max_tokens":8,"messages":[],"anthropic_beta":["context-1m-2025-08-07"]}
    """
    if not isinstance(_listed(request), list):
        return
    header = {token.text for token in _in_headers(request, "anthropic-beta")}
    listed = {token.text for token in _in_content(request)}
    if header != listed:
        sides = ((header - listed, "only in the header"), (listed - header, "only in the content"))
        said = "; ".join(f"{', '.join(map(_text, sorted(only)))} {side}" for only, side in sides if only)
        yield request.fields.lines("anthropic-beta")[0], f"header and content name different tokens: {said}"


@rule(
    "BerriAI/litellm#39597",
    "anthropics/anthropic-sdk-typescript#1060",
    severity=ERROR,
    fix="normalize-betas",
    fields=("anthropic-beta",),
    breaks=("Vertex AI",),
)
def beta_header_on_token_count(request: Request, policy: Policy) -> Hits:
    """A token-counting request carries beta tokens the endpoint refuses.

    Vertex count-tokens answers 400 for tokens that its completion endpoint accepts. Claude Code counts before
    it asks, so a session ends before its first question. ``refused-on-token-count`` in ``[policy.betas]``
    says which tokens; for Vertex all of them.

    Bad::

        # profile: vertex
        > POST /v1/projects/p/locations/global/publishers/anthropic/models/count-tokens:rawPredict HTTP/1.1
        > Host: aiplatform.googleapis.com
        > Authorization: Bearer ya29.0123456789abcdef
        > Content-Length: 0
        > anthropic-beta: context-management-2025-06-27

    Good::

        # profile: vertex
        > POST /v1/projects/p/locations/global/publishers/anthropic/models/count-tokens:rawPredict HTTP/1.1
        > Host: aiplatform.googleapis.com
        > Authorization: Bearer ya29.0123456789abcdef
        > Content-Length: 0
    """
    refused = policy.betas.refused_on_token_count
    if refused and counts_tokens(request):
        for token in _distinct(_in_headers(request, "anthropic-beta")):
            if matches(refused, token.text):
                yield token.where, f"{_said(token)}: this upstream refuses it where it counts tokens"


@rule(
    "Soju06/codex-lb#1016",
    severity=ERROR,
    fix="normalize-betas",
    fields=("openai-beta",),
    breaks=("ChatGPT's Codex backend",),
)
def http_beta_in_websocket_handshake(request: Request) -> Hits:
    """A WebSocket handshake carries responses=experimental, the token of the HTTP Responses API.

    The Codex upstream accepts the handshake and closes the socket before response.created. Codex sent the
    token over HTTP until the end of 2025; codex-lb 1.20.1 put its own beside the client's:
    ``responses=experimental, responses_websockets=2026-02-06``.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > OpenAI-Beta: responses=experimental, responses_websockets=2026-02-06

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > OpenAI-Beta: responses_websockets=2026-02-06
    """
    if is_handshake(request):
        for token in _in_headers(request, "openai-beta"):
            if token.text == HTTP_TOKEN:
                yield token.where, f"{_said(token)} in a WebSocket handshake is the token of the HTTP API"


@rule(
    "Soju06/codex-lb#1016",
    severity=WARNING,
    fix="normalize-betas",
    fields=("openai-beta",),
)
def websocket_beta_in_http_request(request: Request) -> Hits:
    """An HTTP request carries a responses_websockets token.

    The token means nothing there and strict upstreams answer 400. It is left when a gateway answers a
    WebSocket client over HTTP and copies the handshake's headers. Codex itself sends no OpenAI-Beta over HTTP.

    Bad::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > OpenAI-Beta: responses_websockets=2026-02-06

    Good::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Length: 0
        > OpenAI-Beta: responses=experimental
    """
    # Over HTTP/2 a WebSocket is opened by CONNECT (RFC 8441 §4).
    if is_handshake(request) or request.method == b"CONNECT":
        return
    for token in _in_headers(request, "openai-beta"):
        if token.text.startswith(WEBSOCKET_TOKENS):
            yield token.where, f"{_said(token)} in a request that opens no WebSocket"


@rule(
    "Soju06/codex-lb#1016",
    "openai/codex#10727",
    severity=ERROR,
    fix="normalize-betas",
    fields=("upgrade", "sec-websocket-key"),
    breaks=("ChatGPT's Codex backend",),
)
def websocket_beta_missing(request: Request, policy: Policy) -> Hits:
    """A Responses WebSocket handshake has no responses_websockets token.

    The upstream speaks the wrong dialect or closes before response.created. A gateway that bridges HTTP to
    the WebSocket has to add it, one that passes handshakes on must not drop it: it is a header like any
    other, which allow-lists written for HTTP do not have. Whether this upstream needs one is ``websocket`` in
    ``[policy.betas]``.

    Bad::

        # profile: openai-responses-ws
        > GET /v1/responses HTTP/1.1
        > Host: api.openai.com
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Authorization: Bearer sk-0123456789abcdef

    Good::

        # profile: openai-responses-ws
        > GET /v1/responses HTTP/1.1
        > Host: api.openai.com
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > Authorization: Bearer sk-0123456789abcdef
        > OpenAI-Beta: responses_websockets=2026-02-06
    """
    wanted = policy.betas.websocket
    if not wanted or not is_handshake(request):
        return
    found = endpoint(request)
    if found is None or found.name != "responses":
        return
    if not any(token.text.startswith(WEBSOCKET_TOKENS) for token in _in_headers(request, "openai-beta")):
        yield request, f"the handshake has no OpenAI-Beta {_text(wanted)}"


@rule(
    "Soju06/codex-lb#875",
    severity=WARNING,
    fix="normalize-betas",
    fields=("openai-beta",),
)
def conflicting_websocket_betas(request: Request) -> Hits:
    """A handshake carries two different responses_websockets tokens.

    A gateway appended its token beside the client's older one, so the protocol version is ambiguous: Codex of
    February 2026 sends 2026-02-04, and codex-lb at d4b00fd adds 2026-02-06 to it.

    Bad::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > OpenAI-Beta: responses_websockets=2026-02-04, responses_websockets=2026-02-06

    Good::

        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        > OpenAI-Beta: responses_websockets=2026-02-06
    """
    if not is_handshake(request):
        return
    first: str | None = None
    told: set[str] = set()
    for token in _in_headers(request, "openai-beta"):
        if not token.text.startswith(WEBSOCKET_TOKENS):
            continue
        if first is not None and token.text != first and token.text not in told:
            told.add(token.text)
            yield token.where, f"{_said(token)} beside {_text(first)}"
        first = first or token.text


@rule(
    "router-for-me/CLIProxyAPI#4750",
    severity=WARNING,
    fix="normalize-betas",
    fields=("anthropic-beta",),
    breaks=("Amazon Bedrock",),
)
def oauth_beta_with_api_key(request: Request, policy: Policy) -> Hits:
    """The OAuth beta token accompanies an API key.

    Bedrock answers 400 to it, and on Anthropic it marks a credential that is not there. A gateway replaced a
    subscriber's OAuth token by its own key and left the beta token standing.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > x-api-key: sk-ant-api03-0123456789abcdef
        > anthropic-version: 2023-06-01
        > Content-Length: 0
        > anthropic-beta: claude-code-20250219,oauth-2025-04-20

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > Authorization: Bearer sk-ant-oat01-0123456789abcdef
        > anthropic-version: 2023-06-01
        > Content-Length: 0
        > anthropic-beta: claude-code-20250219,oauth-2025-04-20
    """
    key = request.fields.one("x-api-key")
    if not key or "authorization" in request.fields:
        return
    for token in _in_headers(request, "anthropic-beta"):
        # Where the upstream takes it from nobody it is unsupported-beta-token.
        if token.text.startswith(OAUTH_TOKENS) and not matches(policy.betas.unsupported, token.text):
            yield token.where, f"{_said(token)} beside an x-api-key and no OAuth token"


@rule(
    "Anthropic API reference: authentication",
    severity=WARNING,
    fix="normalize-betas",
    fields=("authorization",),
    breaks=("Anthropic API",),
)
def oauth_token_without_oauth_beta(request: Request) -> Hits:
    """An OAuth Bearer token is sent to Anthropic without its beta token.

    Anthropic answers 401: "OAuth authentication is currently not supported". A gateway that filters
    Anthropic-Beta by a list made for API keys drops ``oauth-2025-04-20``, which Claude Code sends along with
    every subscriber's token.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > Authorization: Bearer sk-ant-oat01-0123456789abcdef
        > anthropic-version: 2023-06-01
        > Content-Length: 0
        > anthropic-beta: claude-code-20250219

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > Authorization: Bearer sk-ant-oat01-0123456789abcdef
        > anthropic-version: 2023-06-01
        > Content-Length: 0
        > anthropic-beta: claude-code-20250219,oauth-2025-04-20
    """
    found = endpoint(request)
    if found is None or found.api != "anthropic" or not _is_anthropic(request):
        return
    for line in request.fields.lines("authorization"):
        if OAUTH_BEARER.match(line.value) and not any(
            token.text.startswith(OAUTH_TOKENS) for token in _in_headers(request, "anthropic-beta")
        ):
            yield (
                line,
                f"{line.shown_name} {shown(line.name, line.value)} without anthropic-beta oauth-2025-04-20",
            )


def _is_anthropic(request: Request) -> bool:
    host = (request.authority or request.fields.one("host") or b"").lower().partition(b":")[0]
    return host == b"anthropic.com" or host.endswith(b".anthropic.com")


@rule(
    "Anthropic API reference: beta headers",
    severity=WARNING,
    fix="normalize-betas",
    evidence="headers + body",
    breaks=("Anthropic API", "Amazon Bedrock", "Vertex AI"),
)
def body_feature_without_beta(request: Request, policy: Policy) -> Hits:
    """The body uses a feature whose beta token is missing.

    A hop removed the token but not the field, so the upstream answers 400 for an unknown field
    (``context_management: Extra inputs are not permitted``). sglang-router drops every header it does not
    know, LiteLLM the tokens its table does not have. Which fields need which token is ``features`` in
    ``[policy.betas]``.

    Bad::

        # profile: anthropic
        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > x-api-key: sk-ant-api03-0123456789abcdef
        > anthropic-version: 2023-06-01
        > anthropic-beta: claude-code-20250219
        > Content-Type: application/json
        > Content-Length: 155
        >
        > {"model":"claude-opus-4-8","max_tokens":8,"messages":[{"role":"user","content":"Hi"}],
        > "context_management":{"edits":[{"type":"clear_thinking_20251015"}]}}

    Good::

        # profile: anthropic
        > POST /v1/messages HTTP/1.1
        > Host: api.anthropic.com
        > x-api-key: sk-ant-api03-0123456789abcdef
        > anthropic-version: 2023-06-01
        > anthropic-beta: claude-code-20250219,context-management-2025-06-27
        > Content-Type: application/json
        > Content-Length: 155
        >
        > {"model":"claude-opus-4-8","max_tokens":8,"messages":[{"role":"user","content":"Hi"}],
        > "context_management":{"edits":[{"type":"clear_thinking_20251015"}]}}
    """
    if not policy.betas.features:
        return
    found = endpoint(request)
    if found is None or found.api != "anthropic":
        return
    document = content.document(request)
    if not isinstance(document, dict):
        return
    sent: list[str] | None = None
    for feature, tokens in policy.betas.features.items():
        if uses(document, feature):
            sent = [token.text for token in _tokens(request)] if sent is None else sent
            if not any(matches(tokens, token) for token in sent):
                wanted = " or ".join(map(_text, tokens))
                yield request, f"the content uses {_text(feature)}, for which no beta token {wanted} is sent"


def uses(document: dict[str, Any], feature: str) -> bool:
    """Whether a document has a member, or a member of that value, or a list with an entry of that type."""
    name, colon, wanted = feature.partition(":")
    value = document.get(name)
    if not colon or value is None:
        return value is not None
    if isinstance(value, list):
        return any(isinstance(entry, dict) and entry.get("type") == wanted for entry in value)
    return bool(value == wanted)


@rule("RFC 9110 §7.6", severity=WARNING, evidence="legs", fields=HEADERS)
def beta_token_dropped_by_hop(legs: Legs, policy: Policy) -> Hits:
    """A hop removed a beta token.

    The feature is off without an error; Anthropic asks gateways to forward the header unchanged, and smg and
    sglang-router drop it with every header they do not know. What the policy says this upstream refuses
    (``unsupported``, ``retired``, ``rename``) is rightly taken out, and so is oauth-2025-04-20 where the hop
    sends another credential. A hop that makes another API's request of it is not judged.

    > An intermediary not acting as a tunnel MUST implement the Connection header field, as specified in Section
    > 7.6.1, and exclude fields from being forwarded that are only intended for the incoming connection.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > anthropic-version: 2023-06-01
        > anthropic-beta: context-1m-2025-08-07,files-api-2025-04-14
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > anthropic-version: 2023-06-01
        > anthropic-beta: files-api-2025-04-14
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > anthropic-version: 2023-06-01
        > anthropic-beta: context-1m-2025-08-07,files-api-2025-04-14
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > anthropic-version: 2023-06-01
        > anthropic-beta: files-api-2025-04-14, context-1m-2025-08-07
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    apis = [known.api if (known := endpoint(request)) else None for request in legs.requests]
    if apis[0] != apis[1] or is_handshake(came) != is_handshake(went):
        return
    betas = policy.betas
    refused = (*betas.unsupported, *betas.retired, *betas.rename, HTTP_TOKEN, "realtime=v1")
    kept = {token.text for token in _tokens(went)}
    authorization = [request.fields.lines("authorization")[:1] for request in legs.requests]
    own = not authorization[1] or [line.value for line in authorization[0]] != [
        line.value for line in authorization[1]
    ]
    lost: dict[str, str] = {}
    for token in _in_headers(came, *HEADERS):
        if (
            token.text in kept
            or matches(refused, token.text)
            or (own and token.text.startswith(OAUTH_TOKENS))
        ):
            continue
        if token.header is not None and not legs.declared("request", token.header):
            lost[token.text] = token.header
    if lost:
        header = next(iter(lost.values()))
        where: FieldLine | Message = next(iter(went.fields.lines(header)), went)
        yield where, f"{legs.hop} removed {_text(', '.join(lost))} from {header}"


@rule("Anthropic API reference: Beta headers", severity=NOTE, evidence="legs", fields=HEADERS)
def beta_token_added_by_hop(legs: Legs) -> Hits:
    """A hop added a beta token the client did not send.

    The answer may have a shape that the client does not know: other stop reasons, blocks and events. LiteLLM adds the
    tokens that it takes the request's content to need. If the feature is wanted, the client should ask for it; that
    the hop is told to (``rename`` in the policy, a journal of ours) is not reported.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > anthropic-version: 2023-06-01
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > anthropic-version: 2023-06-01
        > anthropic-beta: context-1m-2025-08-07
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > anthropic-version: 2023-06-01
        > anthropic-beta: context-1m-2025-08-07
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > anthropic-version: 2023-06-01
        > anthropic-beta: context-1m-2025-08-07
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    apis = [known.api if (known := endpoint(request)) else None for request in legs.requests]
    if apis[0] != apis[1]:
        return
    sent = {token.text for token in _tokens(came)}
    for token in _distinct(_in_headers(went, *HEADERS)):
        if token.text in sent or token.header is None or legs.declared("request", token.header):
            continue
        line = next(iter(went.fields.lines(token.header)), went)
        yield line, f"{legs.hop} added {_text(token.text)} to {token.header}"

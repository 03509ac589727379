"""Send each upstream the beta tokens that it takes, each once, on one line.

One token that an upstream does not take fails the whole request, and each takes others; gateways repeat tokens,
spread them over lines, and copy those of the HTTP API into WebSocket handshakes. This addon puts Anthropic-Beta
and OpenAI-Beta in order, as `[policy.betas]` says.

- Tokens are split at commas, trimmed, written in lower case and sent once, in their order, on the first line.
  Lists as programs write them (`["a", "b"]`) are read; what is no token, such as `None`, is dropped, and an empty
  header with it. A line that is in order stays as it is, with its blanks.
- What the upstream refuses is dropped (`unsupported`, `retired`; where it only counts tokens
  `refused-on-token-count`), what it knows by another name is renamed (`rename`).
- Tokens on no list of known ones stay unless `drop-unknown` is set: an addon that is older than a client would
  switch off what the client can do.
- A WebSocket handshake loses `responses=experimental`, and of several `responses_websockets` tokens only the
  newest is left; for the Responses API `websocket` is added, unless the client's is newer. HTTP requests lose
  `responses_websockets` tokens.
- `oauth-*` is dropped beside an x-api-key without an OAuth token, and added to one for Anthropic, which takes
  none without.
- What in the content needs a token (`features`) gets it: the newest that is known.
- Where the content has a list of its own (`anthropic_beta`, which Bedrock reads), header and content say the
  same: all tokens that either had. Nothing else in the JSON changes. The content of requests that mitmproxy
  streams has gone by unseen: then only the header is mended.

The journal says what was dropped, and why. Where this addon fails, the request stays as it was received.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, NamedTuple

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import content, mitm
from conformance.known import ANTHROPIC_BETAS
from conformance.llm import endpoint
from conformance.message import FieldLine, Fields, Request
from conformance.policy import Betas as Policy
from conformance.rules.betas import (
    HEADERS,
    HTTP_TOKEN,
    MEMBER,
    OAUTH_BEARER,
    OAUTH_TOKENS,
    TOKEN,
    WEBSOCKET_TOKENS,
    counts_tokens,
    is_known,
    line_problem,
    matches,
    uses,
)
from conformance.secret import is_placeholder, mask_text, quoted
from conformance.websocket import is_handshake

ANTHROPIC, OPENAI = HEADERS
NAMES = {ANTHROPIC: b"anthropic-beta", OPENAI: b"OpenAI-Beta"}
OAUTH = "oauth-2025-04-20"
TOLD = 20
"""Changes to one list that are told one by one."""

_BETWEEN = re.compile(r"[,\s\[\]{}\"']+")


class Kept(NamedTuple):
    """A list of tokens as it should be, and what was wrong with it."""

    tokens: list[str]
    why: list[str]


class Step(NamedTuple):
    """What header and content need to say the same."""

    changes: list[mitm.Change]
    content: bytes | None
    """As it should be, its coding undone; None: as it is."""
    before: list[Any]
    after: list[str]
    why: str


type Judge = Callable[[str], str | None]
"""Tells why a token (in lower case) may not be sent; None if it may."""


def normalized(request: Request, policy: Policy, host: str) -> Iterator[mitm.Change]:
    """The changes to a request's header section; ``host``: its upstream."""
    for header in HEADERS:
        lines = request.fields.lines(header)
        if not lines and not any(_needed(request, policy, header, [], host)):
            continue
        sent = [token for line in lines for token in _split(line.value.decode("latin-1"))]
        kept = _kept(sent, _judge(request, policy, header, sent), policy)
        for token, why in _needed(request, policy, header, kept.tokens, host):
            kept.tokens.append(token)
            kept.why.append(why)
        yield from _written(request, header, kept)


def _split(text: str) -> list[str]:
    return [token.lower() for token in _BETWEEN.split(text) if token]


def _kept(tokens: Iterable[str], why_not: Judge, policy: Policy) -> Kept:
    kept: dict[str, None] = {}
    why = []
    for token in tokens:
        known_as = policy.rename.get(token, token)
        if reason := _form(token) or why_not(token):
            why.append(f"{_shown(token)} dropped: {reason}")
        elif known_as in kept:
            why.append(f"{_shown(token)} dropped: {_shown(known_as)} is there already")
        else:
            kept[known_as] = None
            if known_as != token:
                why.append(f"{_shown(token)} is {_shown(known_as)} at this upstream")
    return Kept(list(kept), why)


def _form(token: str) -> str | None:
    is_one = token.isascii() and TOKEN.fullmatch(token) and not is_placeholder(token.encode())
    return None if is_one else "it is no token"


def _shown(token: str) -> str:
    return quoted(mask_text(token.encode("utf-8", "replace")))


def _judge(request: Request, policy: Policy, header: str, sent: Iterable[str]) -> Judge:
    """What decides on the tokens of one list; ``sent`` are all of them."""
    at_count = policy.refused_on_token_count if counts_tokens(request) else ()
    handshake = is_handshake(request)
    newest = max((token for token in sent if token.startswith(WEBSOCKET_TOKENS)), default="")
    if policy.websocket and _is_responses(request):
        newest = max(newest, policy.websocket.lower())
    has_key = bool(request.fields.one("x-api-key")) and "authorization" not in request.fields

    def why_not(token: str) -> str | None:
        if matches(at_count, token):
            return "this upstream refuses it where it counts tokens"
        if matches(policy.retired, token):
            return "this upstream refuses it since it left beta"
        if token not in policy.rename and matches(policy.unsupported, token):
            return "this upstream does not take it"
        if header == ANTHROPIC and has_key and token.startswith(OAUTH_TOKENS):
            return "the request has an API key and no OAuth token"
        if header == OPENAI and (reason := _of_transport(request, token, newest, handshake=handshake)):
            return reason
        unknown = policy.drop_unknown and header in policy.judged and not is_known(token, header, policy)
        return "it is on no list of known tokens" if unknown and token not in policy.rename else None

    return why_not


def _of_transport(request: Request, token: str, newest: str, *, handshake: bool) -> str | None:
    if handshake and token == HTTP_TOKEN:
        return "it is the token of the HTTP API"
    if not token.startswith(WEBSOCKET_TOKENS):
        return None
    if handshake:
        return None if token == newest else f"{_shown(newest)} is newer"
    # Over HTTP/2 a WebSocket is opened by CONNECT (RFC 8441 §4).
    return None if request.method == b"CONNECT" else "the request opens no WebSocket"


def _is_responses(request: Request) -> bool:
    found = endpoint(request)
    return found is not None and found.name == "responses" and is_handshake(request)


def _needed(
    request: Request, policy: Policy, header: str, tokens: list[str], host: str
) -> Iterator[tuple[str, str]]:
    """The tokens that are missing, whatever the content is, and why."""
    if header == OPENAI:
        wanted = policy.websocket.lower() if policy.websocket and _is_responses(request) else None
        if wanted and not any(token.startswith(WEBSOCKET_TOKENS) for token in tokens):
            yield wanted, f"{_shown(wanted)} added: the handshake needs it"
        return
    found = endpoint(request)
    if found is None or found.api != "anthropic" or any(token.startswith(OAUTH_TOKENS) for token in tokens):
        return
    is_oauth = any(OAUTH_BEARER.match(line.value) for line in request.fields.lines("authorization"))
    is_anthropic = f".{host.lower()}".endswith(".anthropic.com")
    if is_oauth and is_anthropic and _judge(request, policy, header, tokens)(OAUTH) is None:
        yield OAUTH, f"{_shown(OAUTH)} added: the credential is an OAuth token"


def _written(request: Request, header: str, kept: Kept) -> Iterator[mitm.Change]:
    """The changes that make a header say these tokens."""
    lines = [(at, line) for at, line in enumerate(request.fields) if line.key == header]
    value = ",".join(kept.tokens).encode()
    why = kept.why[:TOLD]
    if len(kept.why) > TOLD:
        why.append(f"and {len(kept.why) - TOLD} more")
    if not lines:
        if kept.tokens:
            name = NAMES[header] if request.is_http1 else NAMES[header].lower()
            yield mitm.Change("add", -1, FieldLine(name, value), "; ".join(why))
        return
    (at, first), *others = lines
    if not others and not why and (problem := line_problem(first.value)) is None:
        return
    if not why:
        why = [f"{first.shown_name}: tokens of {len(lines)} lines on one" if others else problem or ""]
    if not kept.tokens:
        for at, line in lines:
            yield mitm.Change("drop", at, None, "; ".join([*why, f"{line.shown_name} has no token left"]))
        return
    if first.value != value:
        yield mitm.Change("set", at, FieldLine(first.name, value), "; ".join(why))
    for other, line in others:
        moved = f"{line.shown_name} dropped: its tokens stand on the first line"
        yield mitm.Change("drop", other, None, "; ".join([moved, *kept.why[:TOLD]]))


def in_step(request: Request, policy: Policy) -> Step | None:
    """What makes header and content agree, and has the tokens that the content needs; None: nothing to do."""
    octets = content.decoded(request) if _may_list(request) else None
    if not octets:
        return None
    named = [f'"{name}"'.encode() for name in (MEMBER, *(each.partition(":")[0] for each in policy.features))]
    if not any(name in octets for name in named):
        return None  # cheaper than to read every conversation
    document = content.document(request)
    if not isinstance(document, dict):
        return None
    lines = request.fields.lines(ANTHROPIC)
    header = [token for line in lines for token in _split(line.value.decode("latin-1"))]
    listed = document.get(MEMBER)
    inside = listed if isinstance(listed, list) else [] if listed is None else [listed]
    of_content = [token for item in inside for token in _split(item if isinstance(item, str) else "")]
    why_not = _judge(request, policy, ANTHROPIC, header)
    kept = _kept([*header, *(token for token in of_content if token not in header)], why_not, policy)
    repeats = len(of_content) - len(set(of_content))
    added = [
        token
        for feature, patterns in policy.features.items()
        if uses(document, feature) and not any(matches(patterns, token) for token in kept.tokens)
        for token in _newest(feature, patterns)
        if why_not(token) is None
    ]
    tokens = [*kept.tokens, *dict.fromkeys(added)]
    new = None
    if listed is not None and listed != tokens:
        new = with_member(octets, MEMBER, tokens)
        if new is None:
            return None
    why = [*kept.why, *(f"{_shown(token)} added: the content needs it" for token in dict.fromkeys(added))]
    changes: list[mitm.Change] = []
    if lines or (listed is None and added):
        missing = [token for token in tokens if token not in header]
        both = [f"{_shown(token)} is in the content" for token in missing if token not in added]
        told = Kept(tokens, [*why, *both]) if missing or set(header) - set(tokens) else Kept(tokens, [])
        changes = list(_written(request, ANTHROPIC, told))
    if new is None and not changes:
        return None
    reasons = why or (["tokens were repeated"] if repeats else ["the header and the content differed"])
    return Step(changes, new, inside, tokens, "; ".join(reasons[:TOLD]))


def _may_list(request: Request) -> bool:
    """Whether the content may have a list of tokens, or need some."""
    found = endpoint(request)
    return found is not None and found.api == "anthropic"


def _newest(feature: str, patterns: tuple[str, ...]) -> list[str]:
    """The token that a feature needs: of the date in its name, else the newest of the first pattern."""
    known = [token for token in ANTHROPIC_BETAS if matches(patterns[:1], token)]
    return sorted(known, key=lambda token: (re.sub(r"\D", "", token)[-8:] in feature, token))[-1:]


_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def with_member(octets: bytes, name: str, value: list[str]) -> bytes | None:
    """A JSON object with another value for a member that it has, all else as it is.

    None where it has the member twice, or is no object in UTF-8.
    """
    try:
        text = octets.decode()
        spans = [(start, end) for member, start, end in _members(text) if member == name]
    except ValueError:
        return None
    if len(spans) != 1:
        return None
    start, end = spans[0]
    separators = (", " if ", " in text[start:end] else ",", ":")
    return (text[:start] + json.dumps(value, separators=separators) + text[end:]).encode()


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """Each member of the object that the text is, and where its value stands. Raises ValueError."""
    at = _skip(text, 0, "{")
    while not text.startswith("}", at):
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at, ":")
        _, end = _DECODER.raw_decode(text, at)
        yield name, at, end
        at = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        if not text.startswith("}", at):
            at = _skip(text, at, ",")


def _skip(text: str, at: int, sign: str) -> int:
    """The place behind a sign and the blanks around it."""
    at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
    if not text.startswith(sign, at):
        raise ValueError(f"no {sign} at {at}")
    return _SPACE.match(text, at + 1).end()  # type: ignore[union-attr]


class NormalizeBetas:
    """The wiring."""

    name = "normalize-betas"

    def __init__(self) -> None:
        self.policy = Policy()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "betas")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "betas")

    def running(self) -> None:
        mitm.refuse_unknown_options("betas")

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return normalized(mitm.request_head(flow, fields), self.policy, flow.request.host)

        mitm.rewrite(flow, "request", self.name, compute)

    def request(self, flow: http.HTTPFlow) -> None:
        raw = flow.request.raw_content
        if flow.request.stream or not raw:  # what is written now would be recorded, and never sent
            return
        found: list[tuple[Step, bytes]] = []

        def compute(fields: Fields) -> list[mitm.Change]:
            if not _may_list(mitm.request_head(flow, fields)):
                return []
            step = in_step(mitm.whole_request(flow, fields), self.policy)
            if step is not None and step.content is not None:
                found.append((step, _coded(flow.request, step.content)))
            return step.changes if step is not None else []

        mitm.rewrite(flow, "request", self.name, compute)
        for step, octets in found:
            before, after = (
                mask_text(json.dumps(said).encode()).decode() for said in (step.before, step.after)
            )
            mitm.set_content(flow, self.name, octets, MEMBER, before, after, step.why)


def _coded(request: http.Request, octets: bytes) -> bytes:
    """The content in the coding that the request announces."""
    coded = request.copy()
    coded.content = octets
    return coded.raw_content or b""


addons = [NormalizeBetas()]

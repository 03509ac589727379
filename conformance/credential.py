"""Credentials in requests: which lines hold one, what is wrong with it, which requests need one.

What rules report and addons mend is found out here. Values that somebody has masked (``***``, ``[REDACTED]``)
were credentials once, and nothing is known about which.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from conformance import grammar, llm
from conformance.known import CREDENTIALS, JOINED, like
from conformance.message import FieldLine, Request
from conformance.secret import is_secret_field, quoted, shown

if TYPE_CHECKING:
    from conformance.policy import Auth

# b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="        (RFC 6750 §2.1)
B64TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
# the usual line: nothing is wrong with it unless its token is a word
_USUAL = re.compile(rb"Bearer ([A-Za-z0-9\-._~+/]+=*)")
# tokens of known makers that are no b64token: GitHub Copilot's list of claims
_OTHER_TOKENS = re.compile(rb"tid=[\x21-\x7e]+")
# schemes that may stand alone, to begin a handshake (RFC 4559 §4)
_ALONE = frozenset({b"negotiate", b"ntlm"})
# a scheme at the beginning of what should be the token (match)
_SECOND_SCHEME = re.compile(rb"(?i)(?:bearer|basic|token|apikey)(?:[\s:=]|\Z)")
_QUOTES = (b'"', b"'", b"`")
_BEFORE_KEY = re.compile(rb"(?i)(?:bearer|basic|token) +|bearer\Z")
_NO_TOKEN_CHAR = re.compile(rb"[^A-Za-z0-9\-._~+/]")

# What recorders and people write over a credential, and what `secret.digested` writes.
MASKED = re.compile(
    rb"(?i)\*+|[<\[({]*(?:redacted|masked|filtered|hidden|removed|scrubbed|sanitized)[>\])}]*|sha256-[0-9a-f]{12}"
)
# What programs write for a key they have not got, and what manuals print in a key's place. All short, and
# without digits, because they are shown: whoever kept the manual's brackets around a real key keeps it secret.
_PLACEHOLDER = re.compile(
    rb"""(?ix)
    none | null | undefined | nan | nil | false | <nil> | \(null\) | \[object\ [a-z]+\]
    | <[a-z_\ \-]*>                                                # <API_KEY>, <your key>
    | (?:[a-z]+[-_ ]){0,3} your (?:[-_ ][a-z_ \-]*)? (?:key|token|secret|credential)s? (?:[-_ ][a-z]+){0,3}
    | api[-_ ]?key | (?-i:[A-Z][A-Z0-9_]*_API_KEY)                 # the name of the variable
    """
)
_LONGEST_PLACEHOLDER = 64
# What people write on purpose where a library wants a key and the server does not.
DELIBERATE = re.compile(
    rb"(?i)(?:sk-)?(?:empty|dummy|fake|placeholder|unused|no[-_ ]?key|not?[-_ ]?(?:used|needed|required)"
    rb"|change[-_]?me|ollama|lm-studio)(?:[-_ ]?(?:api)?[-_]?(?:key|token))?(?:[-_](?:required|needed))?"
)
# A template: somewhere in the value, or the whole of it.
_TEMPLATE = re.compile(rb"\$\{|\$\(|\{\{|<%=|%[A-Z][A-Z0-9_]*%")
_WHOLE_TEMPLATE = re.compile(
    rb"\$[A-Za-z_]\w*|\{[A-Za-z_][\w.:\-]*\}|os\.environ/\w+|process\.env\.\w+|(?:env|secret|vault|file|op):\S+"
)

# Two credentials that are meant to stand beside each other, for two who look at them.
_TOGETHER = frozenset(
    {
        frozenset({"authorization", "api-key"}),  # Azure API Management: Entra token and subscription key
        frozenset({"authorization", "x-goog-api-key"}),  # Google: OAuth says who, the key which project
    }
)
OWN_GATE = "x-litellm-api-key"
"""LiteLLM's own key, there so that Authorization or x-api-key is free for the provider's (litellm-docs, BYOK)."""

_NO_CREDENTIALS = frozenset(
    {
        "proxy-authorization",  # is for the proxy
        "set-cookie", "authentication-info", "proxy-authentication-info", "x-codex-turn-state",
        "x-session-token", "x-csrf-token", "x-xsrf-token", "sec-websocket-protocol",
    }
)  # fmt: skip
"""Fields that are secret and yet no credential that an upstream asks for."""

# A key as a WebSocket subprotocol, for browsers, which can set no headers (OpenAI Realtime API)
_SUBPROTOCOL_KEY = b"api-key"

_PARAMETERS = frozenset(
    {
        b"access_token", b"api_key", b"apikey", b"x_api_key", b"x_goog_api_key", b"auth_token", b"client_secret",
        b"subscription_key", b"ocp_apim_subscription_key", b"bearer_token", b"openai_api_key",
    }
)  # fmt: skip
"""Names of parameters that hold a credential whatever their value; with underscores, in lower case."""
_TOKEN_PARAMETERS = frozenset({b"token", b"jwt", b"auth", b"authorization", b"key"})
"""Names that may mean anything, so that the value has to look like one."""
_LIKE_A_KEY = re.compile(
    rb"(?:sk-|gsk_|xai-|hf_|pplx-|AIza|ya29\.)[A-Za-z0-9_\-.]{12,}|eyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"
)

OAUTH_TOKENS: dict[bytes, str] = {b"sk-ant-oat": "Anthropic", b"ya29.": "Google"}
"""Beginnings of OAuth access tokens, and who issues them."""

_CTL = re.compile(rb"[\x00-\x1f\x7f]")


class Judged(NamedTuple):
    """What there is to say about one line with a credential."""

    line: FieldLine
    rule: str | None = None
    """The one rule it breaks."""
    why: str = ""
    token: bytes | None = None
    """The credential by itself, where it is one and can be compared."""


def judged(request: Request) -> tuple[Judged, ...]:
    """Every line of CREDENTIALS, in order; found out once for each message."""
    kept = request.__dict__
    if "_credentials" not in kept:
        found = []
        for name in CREDENTIALS & request.fields.names:
            judge = _authorization if name == "authorization" else _api_key
            found += [judge(line) for line in request.fields.lines(name)]
        if len(found) > 1:
            found = [_in_company(one, found) for one in found]
        kept["_credentials"] = tuple(found)
    known: tuple[Judged, ...] = kept["_credentials"]
    return known


def _authorization(line: FieldLine) -> Judged:
    value = line.value.strip(grammar.OWS)
    usual = _USUAL.fullmatch(value)
    if usual is not None and not is_odd_word(usual[1]):
        return Judged(line, token=None if MASKED.fullmatch(usual[1]) else usual[1])
    if _is_elsewhere(value) or MASKED.fullmatch(value):
        return Judged(line)
    if not value:
        return Judged(line, "authorization-malformed", f"{line.shown_name} is empty")
    if found := _nothing(line, value, "placeholder-bearer-token"):
        return found
    scheme, _, credential = value.partition(b" ")
    credential = credential.lstrip(b" ")
    said = f"{line.shown_name} {shown(line.name, value)}"
    if not grammar.TOKEN.fullmatch(scheme):
        return Judged(
            line,
            "authorization-malformed",
            f"{said} does not begin with a scheme, such as Bearer, and a space",
        )
    kind = scheme.lower()
    if kind == b"basic":
        return _basic(line, said, credential)
    if not credential:
        if kind == b"bearer":
            return Judged(line, "empty-bearer-token", f"{said} has no token")
        if kind in _ALONE:
            return Judged(line)
        return Judged(line, "authorization-malformed", f"{said} is one word: no scheme stands before the key")
    if found := _nothing(line, credential, "placeholder-bearer-token"):
        return found
    if kind != b"bearer":
        return Judged(line)
    return _bearer(line, said, scheme, credential)


def _bearer(line: FieldLine, said: str, scheme: bytes, credential: bytes) -> Judged:
    masked = MASKED.fullmatch(credential) is not None
    if not masked:
        doubled = None
        if _SECOND_SCHEME.match(credential):
            doubled = "names a scheme twice"
        elif any(quote in credential for quote in _QUOTES):
            doubled = "holds quotes, which are then part of the token"
        elif len(credential.replace(b",", b" ").split()) > 1:
            doubled = "holds more than one token"
        if doubled:
            return Judged(line, "doubled-bearer-scheme", f"{said} {doubled}")
        if not B64TOKEN.fullmatch(credential) and not _OTHER_TOKENS.fullmatch(credential):
            odd = _NO_TOKEN_CHAR.search(credential.rstrip(b"=")) or _NO_TOKEN_CHAR.search(credential)
            what = quoted(odd[0]) if odd else "an octet"
            return Judged(line, "bearer-token-malformed", f"{said} holds {what}, which no token may have")
    token = None if masked else credential
    if scheme != b"Bearer":
        return Judged(line, "bearer-scheme-in-wrong-case", f"{said} is not written Bearer", token)
    return Judged(line, token=token)


def _basic(line: FieldLine, said: str, credential: bytes) -> Judged:
    wrong = None
    if MASKED.fullmatch(credential):
        return Judged(line)
    if not credential:
        wrong = "has nothing behind Basic"
    elif _TEMPLATE.search(credential) or _WHOLE_TEMPLATE.fullmatch(credential):
        return Judged(line, "unexpanded-template-in-credential", f"{said} is a template nobody filled in")
    else:
        try:
            decoded = base64.b64decode(credential, validate=True)
        except binascii.Error:
            wrong = "is not base64"
        else:
            if b":" not in decoded:
                wrong = "decodes to something without a colon between user and password"
            elif control := _CTL.search(decoded):
                wrong = f"decodes to something with a control character ({quoted(control[0])})"
    return Judged(line, "basic-credentials-malformed", f"{said} {wrong}") if wrong else Judged(line)


def _api_key(line: FieldLine) -> Judged:
    value = line.value.strip(grammar.OWS)
    if _is_elsewhere(value):
        return Judged(line)
    # LiteLLM takes its key with or without the scheme.
    scheme = _BEFORE_KEY.match(value)
    key = value[scheme.end() :] if scheme else value
    said = f"{line.shown_name} {shown(line.name, value)}"
    if not key:
        return Judged(line, "empty-api-key-header", f"{said} holds no key")
    if MASKED.fullmatch(key):
        return Judged(line)
    if found := _nothing(line, key, "placeholder-api-key"):
        return found
    if key[:1] in _QUOTES or key[-1:] in _QUOTES:
        return Judged(line, "doubled-bearer-scheme", f"{said} holds quotes, which are then part of the key")
    return Judged(line, token=key)


def _is_elsewhere(value: bytes) -> bool:
    """Whether the rules about field lines have something to say about the value."""
    if not value.isascii() or grammar.CR_LF_NUL.search(value) or grammar.OTHER_CTL.search(value):
        return True
    return b"," in value and JOINED["authorization"].search(value) is not None


def is_odd_word(token: bytes) -> bool:
    """Whether what looks like a token is a word that stands for none, or a template."""
    if len(token) > _LONGEST_PLACEHOLDER:
        return False
    if token.lower() == b"bearer":
        return True
    return bool(_PLACEHOLDER.fullmatch(token) or _WHOLE_TEMPLATE.fullmatch(token))


def stands_for_none(token: bytes) -> bool:
    """Whether it is what a program writes for a key that it has not got: a placeholder, or a template."""
    return is_odd_word(token) or _TEMPLATE.search(token) is not None


def _nothing(line: FieldLine, credential: bytes, placeholder: str) -> Judged | None:
    if MASKED.fullmatch(credential):
        return None
    if len(credential) <= _LONGEST_PLACEHOLDER and _PLACEHOLDER.fullmatch(credential):
        # Shown as it is: these words are known, and what a reader has to see.
        return Judged(
            line, placeholder, f"{line.shown_name} {quoted(line.value)} holds a placeholder instead of a key"
        )
    if _TEMPLATE.search(credential) or _WHOLE_TEMPLATE.fullmatch(credential):
        said = f"{line.shown_name} {shown(line.name, line.value)}"
        return Judged(line, "unexpanded-template-in-credential", f"{said} is a template nobody filled in")
    return None


def are_opposed(name: str, other: str) -> bool:
    """Whether an upstream that finds credentials in both headers (lower-case names) has to choose."""
    names = {name, other}
    return len(names) == 2 and OWN_GATE not in names and frozenset(names) not in _TOGETHER


def _in_company(one: Judged, others: list[Judged]) -> Judged:
    """A word that is harmless by itself does harm where it may win over a real key."""
    if one.token is None or one.rule or not DELIBERATE.fullmatch(one.token):
        return one
    for other in others:
        if (
            other.token is not None
            and not DELIBERATE.fullmatch(other.token)
            and are_opposed(one.line.key, other.line.key)
        ):
            placeholder = (
                "placeholder-bearer-token" if one.line.key == "authorization" else "placeholder-api-key"
            )
            why = f"{one.line.shown_name} {quoted(one.line.value)} may win over the key in {other.line.shown_name}"
            return Judged(one.line, placeholder, why)
    return one


def carries_credential(request: Request) -> bool:
    """Whether anything in the request could be a credential; where in doubt, yes."""
    names = request.fields.names
    if not names.isdisjoint(CREDENTIALS):
        return True
    if any(is_secret_field(name.encode("latin-1")) and name not in _NO_CREDENTIALS for name in names):
        return True
    if in_subprotocol(request):
        return True
    return bool(parameters(request, ())) or b"X-Amz-Signature=" in request.target or b"@" in request.authority


def in_subprotocol(request: Request) -> bool:
    """Whether a WebSocket handshake offers a key as a subprotocol."""
    return any(_SUBPROTOCOL_KEY in value.lower() for value in request.fields.values("sec-websocket-protocol"))


def parameters(request: Request, more: tuple[str, ...]) -> list[bytes]:
    """The parameters of the query that hold a credential, by name; ``more`` are others that do."""
    query = request.target.partition(b"?")[2]
    if b"=" not in query:
        return []
    found = []
    for pair in query.partition(b"#")[0].replace(b";", b"&").split(b"&"):
        name, _, value = pair.partition(b"=")
        plain = name.lower().replace(b"-", b"_")
        if not value or is_odd_word(value):
            continue
        certain = plain in _PARAMETERS or name.decode("latin-1") in more
        # `key` and `token` may mean anything, unless the value or the API says what they are.
        likely = plain in _TOKEN_PARAMETERS and _LIKE_A_KEY.fullmatch(value)
        if certain or likely or (plain == b"key" and _is_gemini(request)):
            found.append(name)
    return found


def _is_gemini(request: Request) -> bool:
    endpoint = llm.endpoint(request)
    return endpoint is not None and endpoint.api == "gemini"


def matches(request: Request, globs: tuple[str, ...]) -> bool:
    """Whether one of the globs is the request's path, without its query."""
    path = request.path
    # Agents ask for a few paths, over and over; long ones are not remembered.
    return (_matches if len(path) <= 255 else _matches.__wrapped__)(path, globs)


@lru_cache(maxsize=1024)
def _matches(path: bytes, globs: tuple[str, ...]) -> bool:
    return like(globs).match(path.decode("latin-1")) is not None


def is_control(request: Request, auth: Auth) -> bool:
    """Whether the request administers the upstream."""
    return matches(request, auth.control_paths) and not matches(request, auth.open_paths)


def needs_credential(request: Request, auth: Auth) -> bool:
    """Whether the request is for an operation that is known, and not an open one."""
    # A recording of a forward proxy holds traffic to anywhere: paths nobody knows say nothing. Preflights
    # carry no credentials (Fetch §3.3.5), and tools that write HAR leave them out.
    if request.method == b"OPTIONS" or not request.verbatim or llm.endpoint(request) is None:
        return False
    return not matches(request, auth.open_paths)

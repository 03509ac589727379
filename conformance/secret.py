"""What must never be printed, and what is printed in its place.

Findings, transcripts and journals all pass through here. Placeholders that stand where a secret should
(``Bearer None``) are shown: they are what a reader has to see. This file imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache

FIELDS = frozenset(
    {
        # RFC 9110 §11.6.2, 11.7.2; RFC 6265 §4.1, 4.2
        "authorization", "proxy-authorization", "cookie", "set-cookie",
        "authentication-info", "proxy-authentication-info",
        # API keys, as the vendors' references name them
        "x-api-key", "api-key", "apikey", "x-goog-api-key", "x-goog-iam-authorization-token", "ocp-apim-subscription-key",
        "x-litellm-api-key", "x-portkey-api-key", "helicone-auth", "cf-aig-authorization",
        "x-amz-security-token", "x-auth-token", "x-access-token", "x-vault-token", "x-csrf-token", "x-xsrf-token",
        "private-token", "x-github-token", "x-gitlab-token", "x-codex-turn-state", "x-session-token",
        "sec-websocket-protocol",  # the Realtime API takes the key as a subprotocol: openai-insecure-api-key.KEY
    }
)  # fmt: skip
"""Lower-case names of fields whose values are credentials, or may hold one."""

_LIKE_A_SECRET = re.compile(
    r"(?:^|[-_])(?:api[-_]?key|secret|password|passwd|credentials?|auth[-_]?token)(?:$|[-_])"
)
_PLACEHOLDER = re.compile(
    rb"(?:none|null|undefined|nan|true|false|\[object object\]|"  # what programs write for nothing
    rb"\$\{\w+\}|(?-i:\$[A-Z_][A-Z0-9_]*)|\{\{.*\}\}|"  # templates
    rb"<[a-z_ \-]*>|your(?=[-_ a-z]*key)[-_ a-z]*|)\Z",  # what manuals write
    re.IGNORECASE,
)
_SCHEME = re.compile(rb"(bearer|basic|digest|token|apikey|negotiate|aws4-hmac-sha256)(\s+|$)", re.IGNORECASE)
_HIDDEN = b"***"

_IN_TEXT = re.compile(
    rb"""(?x)
    (?: \bsk-(?:ant-|proj-|or-|lf-)?[A-Za-z0-9_\-]{8,}                        # OpenAI, Anthropic, OpenRouter keys
      | \b(?:gsk|xai|hf|pplx|ghp|gho|ghs|github_pat|glpat)[_\-][A-Za-z0-9_\-]{16,}
      | \bAIza[A-Za-z0-9_\-]{20,}                                              # Google
      | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                                          # AWS key id
      # JWT; behind a dash with a limit, or a run of them would be read again and again
      | (?:(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}|(?<=-)eyJ[A-Za-z0-9_\-]{8,500})\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?
    )"""
)
# Not the parameters of a challenge: Bearer realm="data-plane"; nor, behind a challenge without any, the field line
# that follows it; nor the version behind a path: GET /auth/basic HTTP/1.1.
_BEARER_IN_TEXT = re.compile(
    rb"(?i)\b(bearer|basic)([ \t]+|\s+(?![\w\-]+:))"
    rb"(?!(?:realm|error|error_description|error_uri|scope|charset|resource_metadata"
    rb"|authorization_uri|client_id|title|type)=\"|HTTP/[0-9]\.[0-9](?![A-Za-z0-9+/_\-.~=]))"
    rb"([A-Za-z0-9+/_\-.~]{6,}+=*+)"
)
# A field line, or a member of the same name, wherever it is quoted: raw octets, a parser's words, a log.
_FIELD_IN_TEXT = re.compile(
    rb"(?i)(?<![\w\-])("
    + b"|".join(
        sorted((re.escape(name.encode()) for name in FIELDS - {"sec-websocket-protocol"}), reverse=True)
    )
    + rb")((?:[ \t]|\\x[0-9a-f]{2}|\\[rnt])*+:[ \t]*+|['\"]\s*+:\s*+b?['\"])([^'\"\\\r\n]+)"
)
_QUERY = re.compile(
    rb"(?i)(?<=[?&;])((?:api[-_]?key|key|access_token|id_token|refresh_token|token|auth|password|secret|"
    rb"client_secret|signature|sig|x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature)=)([^&#\s\"']+)"
)
_JSON = re.compile(
    rb'(?i)("(?:[\w\-]*(?:api[-_]?key|secret|password|access_token|refresh_token|id_token|auth_token)|authorization|token)"'
    rb'\s*:\s*")((?:[^"\\]|\\.)*)(?=")'
)
# The target of CONNECT has no scheme. Up to the last @ before the path: that is where clients look for the host, and
# people do not escape the one in a password.
_USERINFO = re.compile(rb"(?:(?<=://)|(?<=\bCONNECT ))([^/\s\"']+)(?=@)")


def is_secret_field(name: bytes) -> bool:
    """Whether a field's value is a credential."""
    # Most messages have the same few names; long ones are not remembered.
    return _is_secret_field(name) if len(name) <= 64 else _is_secret_field.__wrapped__(name)


@lru_cache(maxsize=1024)
def _is_secret_field(name: bytes) -> bool:
    key = name.strip(b" \t").lower().replace(b"_", b"-").decode("latin-1")
    return key in FIELDS or _LIKE_A_SECRET.search(key) is not None


def is_placeholder(credential: bytes) -> bool:
    """Whether it is what a program writes that has no credential: ``None``, ``undefined``, ``${KEY}``, nothing."""
    return _PLACEHOLDER.match(credential.strip()) is not None


type Hide = Callable[[bytes], bytes]
"""What is to stand where a credential stood."""


def _stars(_: bytes) -> bytes:
    return _HIDDEN


def mask_value(name: bytes, value: bytes, hide: Hide = _stars) -> bytes:
    """A field's value as it may be shown: scheme, cookie names and placeholders stay.

    >>> mask_value(b"Authorization", b"Bearer sk-1234567890"), mask_value(b"Authorization", b"Bearer None")
    (b'Bearer ***', b'Bearer None')
    """
    key = name.strip(b" \t").lower()
    if key == b"host" and b"@" in value:
        # userinfo does not belong here (RFC 9110 §7.2), and is a password where it is
        at = value.rindex(b"@")
        return hide(value[:at]) + value[at:]
    if not is_secret_field(name):
        return mask_text(value, hide)
    if key in (b"cookie", b"set-cookie"):
        # A Set-Cookie's attributes (Path, Domain, SameSite) are no secrets, and what rules are about.
        first, semicolon, attributes = value.partition(b";")
        if key == b"set-cookie":
            rest = _IN_SET_COOKIE.sub(
                lambda m: m[0] if m[3].lower() in _ATTRIBUTES else m[1] + _mask_cookie(m[2], hide),
                semicolon + attributes,
            )
            return _mask_cookie(first, hide) + mask_text(rest, hide)
        return b";".join(_mask_cookie(pair, hide) for pair in value.split(b";"))
    if key == b"sec-websocket-protocol":
        return re.sub(
            rb"(?i)((?:api[-_]key|token|bearer|auth)[^,\s]{0,100}?[.\-_])([^,\s.\-_]{6,})",
            lambda found: found[1] + hide(found[2]),
            mask_text(value, hide),
        )
    scheme = _SCHEME.match(value)
    credential = value[scheme.end() :] if scheme else value
    shown = value[: scheme.end()] if scheme else b""
    return value if is_placeholder(credential) else shown + hide(credential)


def cookie_name(cookie: bytes) -> bytes:
    """The name of a cookie, to be shown; what has no name is all value (RFC 6265 §5.2), and hidden.

    >>> cookie_name(b"sid=31d4; Path=/"), cookie_name(b"31d4; Path=/")
    (b'sid', b'***')
    """
    name, equals, _ = cookie.partition(b";")[0].strip().partition(b"=")
    return name if equals or not name else _HIDDEN


def digested(name: bytes, value: bytes) -> bytes:
    """``mask_value`` with a digest where something is hidden: equal credentials can be told from others.

    What replaces a token is a token, so that a rule about the credential's form sees the form. Passwords get
    no digest: they are short enough to be found by trying.
    """
    masked = mask_value(name, value)
    if not is_secret_field(name) or _PASSWORD.match(value):
        return masked
    return masked.replace(_HIDDEN, b"sha256-" + hashlib.sha256(value).hexdigest()[:12].encode())


_PASSWORD = re.compile(rb"(?:basic|digest)\s", re.IGNORECASE)
# What is none of them is another cookie, that somebody merged into the line.
_ATTRIBUTES = frozenset(
    {
        b"expires",
        b"max-age",
        b"domain",
        b"path",
        b"samesite",
        b"secure",
        b"httponly",
        b"partitioned",
        b"priority",
    }
)
_IN_SET_COOKIE = re.compile(rb"([;,]\s*+)(([^=;,\s]++)\s*+=[^;]*?)(?=;|,\s*+[^=;,\s]++\s*+=|\Z)")


def _mask_cookie(pair: bytes, hide: Hide) -> bytes:
    name, equals, value = pair.partition(b"=")
    return name + equals + (value if is_placeholder(value) else hide(value)) if equals else hide(pair)


def mask_text(octets: bytes, hide: Hide = _stars) -> bytes:
    """Free text (a target, content, an error) with what looks like a credential hidden.

    >>> mask_text(b"GET /v1?key=abc123&alt=sse")
    b'GET /v1?key=***&alt=sse'
    """

    def hide_second(match: re.Match[bytes]) -> bytes:
        return match[0] if is_placeholder(match[2]) else match[1] + hide(match[2])

    if b"=" in octets:
        octets = _QUERY.sub(hide_second, octets)
    if b"@" in octets:
        octets = _USERINFO.sub(lambda m: hide(m[0]), octets)
    if b'"' in octets:
        octets = _JSON.sub(hide_second, octets)
    if b":" in octets:
        octets = _FIELD_IN_TEXT.sub(lambda m: m[1] + m[2] + mask_value(m[1], m[3], hide), octets)
    octets = _BEARER_IN_TEXT.sub(lambda m: m[0] if is_placeholder(m[3]) else m[1] + m[2] + hide(m[3]), octets)
    return _IN_TEXT.sub(lambda m: hide(m[0]), octets)


def mask_content(octets: bytes) -> bytes:
    """``mask_text`` for what is announced by its length: content, chunks, octets keep theirs.

    >>> mask_content(b'{"api_key":"abc123"}')
    b'{"api_key":"******"}'
    """
    return mask_text(octets, lambda hidden: b"*" * len(hidden))


def shown(name: bytes, value: bytes, limit: int = 120) -> str:
    """A value for a sentence: masked, control characters escaped, cut to ``limit`` characters, in quotes."""
    return quoted(mask_value(name, value), limit)


def quoted(octets: bytes, limit: int = 120) -> str:
    """Octets from the wire for a sentence: escaped, cut, in quotes. Does not mask."""
    text = "".join(
        chr(o) if 0x20 <= o < 0x7F else _ESCAPES.get(o, f"\\x{o:02x}") for o in octets[: limit + 1]
    )
    if len(octets) > limit:
        text = text[:limit] + "…"
    return f"'{text}'"


_ESCAPES = {0x0D: "\\r", 0x0A: "\\n", 0x09: "\\t"}


def printable(text: str) -> str:
    r"""The text on one line, what cannot be seen (controls, marks of direction, halves of pairs) as ``\x..``.

    >>> printable("a\x1b[2J\u202e\n"), printable("é 🦊")
    ('a\\x1b[2J\\u202e\\x0a', 'é 🦊')
    """
    # People give their reasons in their language: only what cannot be seen is escaped.
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

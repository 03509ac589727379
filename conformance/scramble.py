r"""Other letters in the place of letters: what a redacted recording holds where a secret was.

* The length stays, to the octet, and so do punctuation, escapes and white space: lengths in the recording stay
  true, JSON stays JSON, and a rule about a credential's form sees the form.
* Equal secrets become equal, different ones different: the letters come from a keyed hash of the whole secret.
* The letters are x, y, z, X, Y and Z, behind ``redacted`` where there is room. So nobody takes them for a live
  key, and what is redacted is recognised and left as it is when it is redacted again.
* What says of which kind a credential is stays: scheme, the maker's prefix, a JWT's algorithm and dates.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from conformance import credential

_LETTERS = bytes(b"xyzXYZ"[octet % 6] for octet in range(256))
_SEVENS = bytes(0x37 if 0x30 <= octet <= 0x39 else octet for octet in range(256))
_MARK = b"redacted"
_ROOM = 16
"""Letters and digits in a row from which on the mark is set: enough are left to tell secrets apart."""

_TOLD_APART = 64
"""Octets of a text that are as random as a secret's. What follows is less so: it has to be no longer than the
text when both are compressed."""

# In UTF-8, one character becomes another of the same length; what is no UTF-8 stays none.
_HIGH = tuple(
    bytes(
        octet if octet < 0x80 or octet in (0xC0, 0xC1) or octet > 0xF4
        else 0xA8 + variant if octet < 0xC0
        else 0xC3 if octet < 0xE0
        else 0xE2 if octet < 0xF0
        else 0xF0
        for octet in range(256)
    )
    for variant in range(8)
)  # fmt: skip
_HIGH_DONE = bytes(sorted(set().union(*_HIGH) - set(range(0x80))))

# Backslashes together: JSON within a JSON text escapes its escapes.
_ESCAPE = rb"(?P<escape>\\++(?:u[0-9a-fA-F]{4}|[\x00-\x7f])?|%[0-9a-fA-F]{2})"
_REST = rb"|(?P<high>[\x80-\xff]+)"
_SECRET = re.compile(_ESCAPE + rb"|(?P<run>[0-9A-Za-z]+)" + _REST, re.DOTALL)
_MAKERS = (
    rb"(?:sk-(?:ant-(?:api|oat|ort|sid)[0-9]{2}-|proj-|or-v1-|svcacct-|lf-)?|gsk_|xai-|hf_|pplx-"
    rb"|gh[pousr]_|github_pat_|glpat-|AIza|ya29\.|xox[abprs]-|AKIA|ASIA|eyJ|tid=)?"
)
_PROSE = re.compile(
    # a credential that has been hidden already is the same here as in its header
    _ESCAPE + rb"|\b(?:true|false|null)\b|(?<![0-9A-Za-z])" + _MAKERS + rb"redacted[xyzXYZ]{8,}"
    rb"|(?P<number>(?<![0-9A-Za-z])[0-9]+(?:\.[0-9]+)?(?:[eE][+\-]?[0-9]+)?(?![0-9A-Za-z])|[0-9]+)"
    rb"|(?P<run>[A-Za-z]+)" + _REST,
    re.DOTALL,
)


def letters(octets: bytes, key: bytes, *, is_prose: bool = False) -> bytes:
    """The octets with other letters for letters and digits; what this function gave stays as it is.

    ``is_prose``: numbers become other numbers, and ``true``, ``false``, ``null`` stay: JSON that stands in a
    text stays JSON.
    """
    pattern = _PROSE if is_prose else _SECRET
    if all(_is_done(match) for match in pattern.finditer(octets.removeprefix(_MARK))):
        return octets
    stream = hashlib.shake_256(key + octets).digest(len(octets))
    chosen = stream.translate(_LETTERS)

    def other(match: re.Match[bytes]) -> bytes:
        at, end = match.span()
        match match.lastgroup:
            case "run" if is_prose and end > _TOLD_APART:
                return chosen[at : at + 2].ljust(end - at, b"x")[: end - at]
            case "run":
                return chosen[at:end]
            case "high":
                return bytes(_HIGH[stream[at + i] % 8][octet] for i, octet in enumerate(match[0]))
            case "number":
                return match[0].translate(_SEVENS)
            case "escape" if _means(match[0]) is not None:
                return match[0][:-2] + b"%02x" % chosen[at]
        return match[0]

    made = pattern.sub(other, octets)
    is_marked = not is_prose and len(octets) >= _ROOM and octets[:_ROOM].isalnum()
    return _MARK + made[len(_MARK) :] if is_marked else made


def _is_done(match: re.Match[bytes]) -> bool:
    found = match[0]
    match match.lastgroup:
        case "run":
            return not found.strip(b"xyzXYZ")
        case "high":
            return not found.strip(_HIGH_DONE)
        case "number":
            return found == found.translate(_SEVENS)
        case "escape":
            return _means(found) in (None, *"xyzXYZ")
    return True


def _means(escape: bytes) -> str | None:
    r"""The letter, digit or other character that ``%41`` or ``\u0041`` stands for; None: it stays."""
    hexadecimal = escape.lstrip(b"\\u%") if escape[:1] == b"%" else escape.lstrip(b"\\")[1:]
    if len(hexadecimal) < 2:
        return None
    char = chr(int(hexadecimal, 16))
    return char if char.isalnum() or char >= "\x80" else None


# --- credentials

_LEAD = re.compile(rb"[\"'`]?(?i:(?:bearer|basic|token|apikey)(?:[\s:=]+|\Z))*[\"'`]?" + _MAKERS)
_JWT = re.compile(rb"(eyJ[A-Za-z0-9_\-]+)\.(eyJ[A-Za-z0-9_\-]+)\.([A-Za-z0-9_\-]*)")
_IN_SIGNATURE = re.compile(rb"(\b(?:Credential|Signature)=)([^/,\s]+)")
_KEPT_CLAIMS = re.compile(r"alg|typ")


def hidden(secret: bytes, key: bytes) -> bytes:
    """What stands in a credential's place. Words that stand for none (``None``, ``EMPTY``, ``***``) stay."""
    if credential.MASKED.fullmatch(secret) or credential.DELIBERATE.fullmatch(secret):
        return secret
    if credential.is_odd_word(secret) and not re.search(rb"[0-9]", secret):
        return secret
    if b"SignedHeaders=" in secret:
        return _IN_SIGNATURE.sub(lambda m: m[1] + letters(m[2], key), secret)
    if jwt := _JWT.fullmatch(secret):
        return b".".join((_claims(jwt[1], key), _claims(jwt[2], key), letters(jwt[3], key)))
    if (pair := _decoded(secret)) is not None:
        return base64.b64encode(b":".join(letters(part, key) for part in pair.split(b":")))
    rest = _without_lead(secret)
    return secret[: len(secret) - len(rest)] + letters(rest, key)


def _decoded(secret: bytes) -> bytes | None:
    """User and password of Basic, if it is that: random octets are hardly ever text."""
    if not _without_lead(secret).removeprefix(_MARK).strip(b"xyzXYZ="):
        return None  # it has been hidden
    try:
        pair = base64.b64decode(secret, validate=True)
        pair.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return pair if base64.b64encode(pair) == secret else None


def _without_lead(secret: bytes) -> bytes:
    lead = _LEAD.match(secret)
    return secret[lead.end() :] if lead else secret


def _claims(segment: bytes, key: bytes) -> bytes:
    try:
        claims = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except binascii.Error:
        return letters(segment, key)
    made = base64.urlsafe_b64encode(_texts(claims, key, _KEPT_CLAIMS, is_prose=False)).rstrip(b"=")
    return made if len(made) == len(segment) else letters(segment, key)


# --- e-mail addresses

# Not user information and the host behind it: with another host the request would go elsewhere.
_EMAIL = re.compile(
    rb"(?:://|\bCONNECT )[^/?#\s\"'<>]*@|"
    rb"(?<![A-Za-z0-9._+\-])([A-Za-z0-9._+\-]{1,64}+)(@|%40)((?:[A-Za-z0-9\-]{1,63}\.)+)([A-Za-z]{2,24})(?![A-Za-z0-9\-])"
)


def without_emails(octets: bytes, key: bytes) -> bytes:
    """The octets with other letters in what looks like an e-mail address; the top-level domain stays."""
    if b"@" not in octets and b"%40" not in octets:
        return octets
    return _EMAIL.sub(
        lambda m: m[0] if m[1] is None else letters(m[1], key) + m[2] + letters(m[3], key) + m[4], octets
    )


# --- prompts

_KEPT = re.compile(
    r"""(?x)(?:.*[_-])?(?:ids?|key|type|role|model|name|status|code|format|reason|tier|mode|effort|version|at|fingerprint)
    | .*(?:Id|Type|Reason|Version) | object | message | event | op | param | encoding | modalit(?:y|ies) | voice
    | tool_choice | phase | include | required | verbosity | truncation | created | method | jsonrpc | provider
    | owned_by | user | (?:.*_)?betas? | detail | summary_mode | \$\w+ | enum | finishReason"""
)
"""Members that say what a message is, or tie it to others, not what somebody wrote."""

# A text that breaks off is one too.
_TOKEN = re.compile(rb'"((?:[^"\\]|\\(?:.|\Z))*+)"?|[{}\[\],:]|-?[0-9][0-9.eE+\-]*', re.DOTALL)
_EVENT_DATA = re.compile(rb"^(data:[ \t]?)([^\r\n]+)", re.MULTILINE)
_BEGINS_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*[{\["]')


def without_texts(octets: bytes, key: bytes) -> bytes | None:
    """Content with other letters in all texts but ids, names, types and the like; None: it is of no known kind.

    JSON, a sequence of it, and event streams are known; what breaks off is rewritten up to there.
    """
    if _BEGINS_JSON.match(octets):
        return _texts(octets, key, _KEPT, is_prose=True)
    if _EVENT_DATA.search(octets):
        return _EVENT_DATA.sub(
            lambda m: m[1] + (_texts(m[2], key, _KEPT, is_prose=True) if _BEGINS_JSON.match(m[2]) else m[2]),
            octets,
        )
    return None


def _texts(octets: bytes, key: bytes, kept: re.Pattern[str], *, is_prose: bool) -> bytes:
    made: list[bytes] = []
    done = 0
    for start, end in _values(octets, kept):
        is_number = octets[start - 1 : start] != b'"'
        made += (octets[done:start], letters(octets[start:end], key, is_prose=is_prose or is_number))
        done = end
    return b"".join((*made, octets[done:])) if made else octets


def _values(octets: bytes, kept: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Where the texts are, without their quotes, whose member is not one of those that are kept.

    And numbers in lists: they are octets of a text, or tokens.
    """
    outer: list[tuple[bool, bool]] = []
    in_object = is_kept = expects_name = False
    for token in _TOKEN.finditer(octets):
        match token[0][:1]:
            case b"{" | b"[":
                outer.append((in_object, is_kept))
                in_object = expects_name = token[0] == b"{"
            case b"}" | b"]":
                in_object, is_kept = outer.pop() if outer else (False, False)
                expects_name = False
            case b",":
                expects_name = in_object
            case b":":
                pass
            case b'"' if expects_name:
                is_kept = kept.fullmatch(token[1].decode("utf-8", "replace")) is not None
                expects_name = False
            case b'"':
                if not is_kept:
                    yield token.span(1)
            case _ if outer and not in_object:
                yield token.span()

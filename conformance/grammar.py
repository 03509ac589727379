"""The RFCs' ABNF as regular expressions over bytes, each under the production it stands for.

Every pattern is meant for ``fullmatch`` unless its comment says ``search``. None nests a repetition in a
repetition over the same octets, so none can backtrack for long: recordings come from strangers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

# token = 1*tchar
# tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
# (RFC 9110 §5.6.2)
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# HTTP-version = "HTTP" "/" DIGIT "." DIGIT                                          (RFC 9112 §2.3)
HTTP_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
# HTTP/2 and HTTP/3 have no version on the wire; recorders write it like this.
RECORDED_VERSION = re.compile(rb"HTTP/(?:[0-9]\.[0-9]|[23])")

# status-code = 3DIGIT                                                               (RFC 9112 §4)
STATUS_CODE = re.compile(rb"[0-9]{3}")

# OWS = *( SP / HTAB )                                                               (RFC 9110 §5.6.3)
OWS = b" \t"

# quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE
# qdtext        = HTAB / SP / %x21 / %x23-5B / %x5D-7E / obs-text
# quoted-pair   = "\" ( HTAB / SP / VCHAR / obs-text )                               (RFC 9110 §5.6.4)
QUOTED_STRING = re.compile(rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"')

# parameter = parameter-name "=" parameter-value
# parameter-value = ( token / quoted-string )                                        (RFC 9110 §5.6.6)
PARAMETER = re.compile(
    rb"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?P<value>[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"
    + QUOTED_STRING.pattern
    + rb")"
)

# Content-Length = 1*DIGIT                                                           (RFC 9110 §8.6)
DIGITS = re.compile(rb"[0-9]+")

# chunk-size = 1*HEXDIG                                                              (RFC 9112 §7.1)
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]+")
# A size with more digits than this (after leading zeros) exceeds 64 bits.
CHUNK_SIZE_DIGITS = 16

# chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )          (RFC 9112 §7.1.1)
CHUNK_EXTENSIONS = re.compile(
    rb"(?:[ \t]*;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"
    + QUOTED_STRING.pattern
    + rb"))?)*"
)

# field-value without obs-text: what may not stand in a value at all (search).
# "Field values containing CR, LF, or NUL characters are invalid and dangerous"      (RFC 9110 §5.5)
CR_LF_NUL = re.compile(rb"[\r\n\x00]")
# "Field values containing other CTL characters are also invalid"; HTAB may stand between (search).
OTHER_CTL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
# obs-text = %x80-FF                                                                 (search)
OBS_TEXT = re.compile(rb"[\x80-\xff]")


def is_field_line(name: bytes, value: bytes) -> bool:
    """Whether the two are one header line and no more, whoever reads it (RFC 9110 §5.1, §5.5)."""
    return TOKEN.fullmatch(name) is not None and not CR_LF_NUL.search(value) and not OTHER_CTL.search(value)


# Host = uri-host [ ":" port ]                                                       (RFC 9110 §7.2)
# uri-host = IP-literal / IPv4address / reg-name; port = *DIGIT                      (RFC 3986 §3.2.2, 3.2.3)
# IP-literal = "[" ( IPv6address / IPvFuture ) "]"; a zone follows as "%25"          (RFC 6874 §2)
HOST = re.compile(
    rb"(?:\[(?:[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9\-._~]+)?|v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
    rb"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)

# pct-encoded = "%" HEXDIG HEXDIG                                  (RFC 3986 §2.1; search for what is not)
BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# version "-" trace-id "-" parent-id "-" trace-flags; all-zero ids are invalid    (Trace Context §3.2.2)
# Versions after 00 may append more.
TRACEPARENT = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)

# IMF-fixdate = day-name "," SP date1 SP time-of-day SP GMT                          (RFC 9110 §5.6.7)
IMF_FIXDATE = re.compile(
    rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([0-9]{4}) "
    rb"([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
# rfc850-date and asctime-date, which recipients MUST accept and senders MUST NOT send
RFC850_DATE = re.compile(
    rb"(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, [0-9]{2}-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{2} "
    rb"[0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
ASCTIME_DATE = re.compile(
    rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-9][0-9] "
    rb"[0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}"
)


def date(value: bytes) -> datetime | None:
    """The moment an HTTP-date names, in any of its three formats; None where it is none, or impossible.

    >>> date(b"Sun, 06 Nov 1994 08:49:37 GMT").isoformat(), date(b"Sun, 31 Feb 1994 08:49:37 GMT")
    ('1994-11-06T08:49:37+00:00', None)
    """
    # The longest there is: "Wednesday, 06-Nov-94 08:49:37 GMT".
    return _date(value) if len(value) <= 33 else None


@lru_cache(maxsize=1024)  # servers write the same one for a second
def _date(value: bytes) -> datetime | None:
    if not any(form.fullmatch(value) for form in (IMF_FIXDATE, RFC850_DATE, ASCTIME_DATE)):
        return None
    try:
        # A leap second is a date (RFC 5322 §3.3 allows :60); datetime has no room for it.
        return parsedate_to_datetime(value.decode("ascii").replace(":60 ", ":59 ")).replace(tzinfo=UTC)
    except ValueError:
        return None


def parameters(value: bytes) -> list[bytes]:
    """The semicolon-separated parts of one list member, quotes respected: ``[b"text/html", b'a="x;y"']``."""
    if b'"' not in value:
        return [part.strip(OWS) for part in value.split(b";")]
    parts, start, quoted, escaped = [], 0, False, False
    for at, octet in enumerate(value):
        if escaped:
            escaped = False
        elif quoted and octet == 0x5C:
            escaped = True
        elif octet == 0x22:
            quoted = not quoted
        elif octet == 0x3B and not quoted:
            parts.append(value[start:at].strip(OWS))
            start = at + 1
    parts.append(value[start:].strip(OWS))
    return parts


def hides_coding(value: bytes) -> bool:
    """Whether a Transfer-Encoding value hides its codings: CTL or non-ASCII octets, quotes, empty members.

    Quotes and commas inside a parameter's value are no hiding. Folding has a rule of its own.
    """
    plain = value.replace(b"\r\n ", b" ")
    if OTHER_CTL.search(plain) or CR_LF_NUL.search(plain) or OBS_TEXT.search(plain):
        return True
    if b"=" in plain:
        return False
    return b'"' in plain or b"'" in plain or not all(part.strip(OWS) for part in plain.split(b","))

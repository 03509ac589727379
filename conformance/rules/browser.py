"""What only browsers act on: CORS, HSTS, policies of a page, cookies.

An agent reads none of it. A dashboard, a playground or an SDK in a page does, and where a header is wrong it fails
before the request is made, or is left without a protection that seems to be there. Headers that are a provider's and
were passed on, or come twice, are topics leaks' and duplicates'.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping

from conformance import grammar, known
from conformance.message import Exchange, FieldLine, Fields, Response
from conformance.rule import NOTE, WARNING, Hits, rule
from conformance.secret import cookie_name, mask_text, quoted, shown
from conformance.structured import Item, Malformed, Token, parse_dictionary, parse_item

# serialized-origin = scheme "://" host [ ":" port ], as browsers write it: in lower case, with no path
# (RFC 6454 §6.2; Fetch §3.2)
_ORIGIN = re.compile(rb"[a-z][a-z0-9+.\-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._~%\-]*)(?::[0-9]+)?")
_UNPRINTABLE = re.compile(rb"[^\t\x20-\x7e]")

_LISTS = ("access-control-allow-headers", "access-control-allow-methods", "access-control-expose-headers")


def _said(line: FieldLine) -> str:
    return f"{quoted(mask_text(line.name))[1:-1]} {shown(line.name, line.value)}"


def _words(fields: Fields, name: str) -> frozenset[bytes]:
    """The members of a list of tokens, in lower case."""
    return frozenset(member.lower() for member in fields.values(name))


@rule("Fetch §3.3.3", severity=WARNING, fields=("access-control-allow-origin",))
def access_control_allow_origin_malformed(response: Response) -> Hits:
    """Access-Control-Allow-Origin is not one origin, null or an asterisk.

    Browsers compare it octet by octet with the page's origin and refuse the response where it differs: a
    trailing slash, a list of several origins, ``*.example.com``, a host without its scheme match no page.
    A server for several origins answers with the one that asked, and ``Vary: Origin``.

    > Access-Control-Allow-Origin = origin-or-null / wildcard

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: https://app.example/
        < Vary: Origin
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: https://app.example
        < Vary: Origin
        < Content-Length: 2
    """
    for line in response.fields.lines("access-control-allow-origin"):
        value = line.value
        # Without a value it is empty-header-value, with a comma joined-singleton-value.
        if value in (b"", b"*", b"null") or b"," in value or _ORIGIN.fullmatch(value):
            continue
        yield line, f"{_said(line)} is no origin that a browser sends"


@rule("Fetch §3.3.3", "Fetch §3.3.5", severity=WARNING, fields=("access-control-allow-credentials",))
def credentials_with_wildcard_origin(response: Response) -> Hits:
    """Access-Control-Allow-Credentials is not true, or stands beside a wildcard origin.

    For a request with cookies browsers demand the origin itself: with ``*`` beside it they refuse the response,
    and of any other word than ``true`` in lower case they make nothing. Starlette's CORSMiddleware with
    ``allow_origins=["*"], allow_credentials=True``, which vLLM and sglang use, writes both. ``false`` says what
    leaving the header out says.

    > Access-Control-Allow-Credentials = %s"true" ; case-sensitive

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: *
        < Access-Control-Allow-Credentials: true
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: https://app.example
        < Access-Control-Allow-Credentials: true
        < Vary: Origin
        < Content-Length: 2
    """
    origin = response.fields.one("access-control-allow-origin")
    for line in response.fields.lines("access-control-allow-credentials")[:1]:
        if line.value == b"true":
            if origin == b"*":
                yield line, "credentials are allowed to every origin (*), which browsers refuse"
        elif line.value.lower() != b"false" and b"," not in line.value:
            yield line, f"{_said(line)}: browsers know true alone"


@rule("Fetch §3.3.4", severity=WARNING, fields=(*_LISTS, "access-control-max-age"))
def access_control_header_malformed(response: Response) -> Hits:
    """A CORS list header or Access-Control-Max-Age is malformed.

    Browsers that cannot read one of the lists refuse the request the preflight was for; a Max-Age that is no
    number of seconds is ignored, and each call is made twice. Spaces or semicolons in place of commas, and a
    lifetime with a unit, are the usual mistakes. Chromium takes -1 for "do not keep it".

    > Access-Control-Allow-Methods = #method

    Bad::

        > OPTIONS /v1/models HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        > Access-Control-Request-Method: PUT
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: *
        < Access-Control-Allow-Methods: GET POST PUT

    Good::

        > OPTIONS /v1/models HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        > Access-Control-Request-Method: PUT
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: *
        < Access-Control-Allow-Methods: GET, POST, PUT
        < Access-Control-Max-Age: 600
    """
    for name in _LISTS:
        for line in response.fields.lines(name):
            members = (member.strip(grammar.OWS) for member in line.value.split(b","))
            wrong = next(
                (member for member in members if member and not grammar.TOKEN.fullmatch(member)), None
            )
            if wrong is not None:
                what = "method" if name.endswith("methods") else "header name"
                yield line, f"in {_said(line)}, {quoted(wrong, 60)} is no {what}"
    for line in response.fields.lines("access-control-max-age"):
        if not grammar.DIGITS.fullmatch(line.value) and line.value != b"-1" and b"," not in line.value:
            yield line, f"{_said(line)} is no number of seconds"


@rule("Fetch §3.3.5", severity=WARNING, fields=("access-control-request-method",))
def preflight_refuses_sdk_header(exchange: Exchange) -> Hits:
    """A preflight answer does not allow a header the client asked for.

    SDKs in a page send x-stainless-*, anthropic-version or OpenAI-Beta; where the gateway's list names only
    Content-Type and Authorization the browser stops before the request, and all the page learns is "Failed to
    fetch". ``*`` covers all but Authorization. An answer that does not allow the origin refuses on purpose, and
    is not judged.

    > if unsafeName is not a byte-case-insensitive match for an item in headerNames and request's credentials
    > mode is "include" or headerNames does not contain `*`, then return a network error.

    Bad::

        > OPTIONS /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        > Access-Control-Request-Method: POST
        > Access-Control-Request-Headers: authorization,content-type,x-stainless-lang
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: *
        < Access-Control-Allow-Methods: POST
        < Access-Control-Allow-Headers: Authorization, Content-Type

    Good::

        > OPTIONS /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Origin: https://app.example
        > Access-Control-Request-Method: POST
        > Access-Control-Request-Headers: authorization,content-type,x-stainless-lang
        < HTTP/1.1 204 No Content
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Access-Control-Allow-Origin: *
        < Access-Control-Allow-Methods: POST
        < Access-Control-Allow-Headers: Authorization, *
    """
    request, response = exchange.request, exchange.response
    if request.method != b"OPTIONS" or response is None or not 200 <= response.status <= 299:
        return
    origin = response.fields.one("access-control-allow-origin")
    if origin is None or origin not in (b"*", request.fields.one("origin")):
        return
    allowed = _words(response.fields, "access-control-allow-headers")
    asked = _words(request.fields, "access-control-request-headers")
    # Of a request with cookies * covers nothing, but what the preflight is for nobody can see.
    if b"*" in allowed:
        asked &= {b"authorization"}
    if refused := sorted(asked - allowed):
        names = ", ".join(quoted(name, 40)[1:-1] for name in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        line = next(iter(response.fields.lines("access-control-allow-headers")), response)
        yield line, f"the preflight does not allow {names}{more}"


# directive = [ directive-name [ "=" directive-value ] ]; value = token / quoted-string  (RFC 6797 §6.1)
_HSTS = re.compile(
    rb"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
    rb"(?:[ \t]*=[ \t]*(?P<value>[!#$%&'*+\-.^_`|~0-9A-Za-z]+|" + grammar.QUOTED_STRING.pattern + rb"))?"
)


@rule("RFC 6797 §6.1", "RFC 6797 §6.1.1", severity=WARNING, fields=("strict-transport-security",))
def strict_transport_security_malformed(response: Response) -> Hits:
    """Strict-Transport-Security is malformed.

    Browsers ignore all of it, so the host can be reached without TLS as before: max-age is missing or no number
    of seconds, a directive comes twice, commas stand where semicolons belong.

    > All directives MUST appear only once in an STS header field.

    Bad::

        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Strict-Transport-Security: includeSubDomains
        < Content-Length: 2

    Good::

        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Strict-Transport-Security: max-age=31536000; includeSubDomains; preload
        < Content-Length: 2
    """
    for line in response.fields.lines("strict-transport-security"):
        if known.JOINED["strict-transport-security"].search(line.value):
            continue
        if (problem := _wrong_hsts(line.value)) is not None:
            yield line, f"{_said(line)} {problem}"


def _wrong_hsts(value: bytes) -> str | None:
    given: dict[bytes, bytes | None] = {}
    for part in grammar.parameters(value):
        if not part:
            continue
        found = _HSTS.fullmatch(part)
        if found is None:
            return f"has {quoted(part, 60)}, which is no directive"
        name = found["name"].lower()
        if name in given:
            return f"says {quoted(name, 40)[1:-1]} twice"
        given[name] = found["value"]
    if b"max-age" not in given:
        return "has no max-age"
    if not grammar.DIGITS.fullmatch((given[b"max-age"] or b"").strip(b'"')):
        return "has a max-age that is no number of seconds"
    return None


@rule("RFC 6797 §7.2", severity=WARNING, fields=("strict-transport-security",))
def strict_transport_security_over_http(exchange: Exchange) -> Hits:
    """Strict-Transport-Security is sent over plain HTTP.

    Browsers ignore it there, so the protection that somebody asked for does not begin: the redirect to https is
    missing. Judged where a client talks to a public name. Behind a proxy that ends TLS (X-Forwarded-Proto says
    so), on this machine and within a network the hop is nobody's front door.

    > An HSTS Host MUST NOT include the STS header field in HTTP responses conveyed over non-secure transport.

    Bad::

        @ scheme: http
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Strict-Transport-Security: max-age=31536000
        < Content-Length: 2

    Good::

        @ scheme: https
        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Strict-Transport-Security: max-age=31536000
        < Content-Length: 2
    """
    request, response = exchange.request, exchange.response
    if response is None or exchange.scheme != b"http" or not request.fields.names.isdisjoint(_BEHIND):
        return
    host = request.authority or request.fields.one("host") or b""
    lines = response.fields.lines("strict-transport-security")
    if lines and _is_public(host) and (exchange.upstream is None or _is_public(exchange.upstream.encode())):
        yield lines[0], f"{_said(lines[0])} over http, where browsers ignore it"


_BEHIND = ("x-forwarded-proto", "x-forwarded-for", "forwarded", "x-forwarded-ssl", "via", "cf-visitor")
"""Request fields that a proxy in front has written."""


def _is_public(authority: bytes) -> bool:
    """Whether a host is a name that may mean the same everywhere."""
    host = authority.rpartition(b"@")[2].decode("latin-1").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_global
    except ValueError:
        return "." in name.rstrip(".") and not name.endswith(
            (".internal", ".local", ".lan", ".home.arpa", ".svc")
        )


# directive-name = 1*( ALPHA / DIGIT / "-" )                                             (CSP §2.3)
_DIRECTIVE_NAME = re.compile(rb"[A-Za-z0-9\-]+")
_KEYWORDS = frozenset(
    {
        b"self",
        b"none",
        b"unsafe-inline",
        b"unsafe-eval",
        b"unsafe-hashes",
        b"strict-dynamic",
        b"report-sample",
    }
)
"""Keywords of source lists (CSP §2.3.1): without their quotes they name a host."""
_CSP = ("content-security-policy", "content-security-policy-report-only")


@rule("CSP §3.1", severity=WARNING, fields=_CSP)
def content_security_policy_malformed(response: Response) -> Hits:
    """Content-Security-Policy is malformed or repeated.

    Of a directive that comes twice browsers take the first, a keyword without its quotes (``self``) names a
    host, a directive they cannot read they leave out: the page breaks, or the protection is not there. Of
    several policies each is enforced, so that a gateway's page stops working when the provider's is copied
    beside it: reported where two lines say the same directive, since policies about different things are often
    kept apart. Report-Only enforces nothing, and may come as often as anybody likes.

    > If policy's directive set contains a directive whose name is directive name, continue.

    Bad::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Security-Policy: default-src self
        < Content-Length: 2

    Bad::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Security-Policy: default-src 'self'
        < Content-Security-Policy: default-src 'none'
        < Content-Length: 2

    Good::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Security-Policy: default-src 'self'; img-src *; upgrade-insecure-requests; report-uri /a
        < Content-Security-Policy: require-trusted-types-for 'script'; report-uri /b
        < Content-Length: 2
    """
    for name in _CSP:
        lines = response.fields.lines(name)
        for line in lines:
            if not _UNPRINTABLE.search(line.value) and (problem := _wrong_policy(line.value)) is not None:
                yield line, f"{line.shown_name} {problem}"
    seen: dict[bytes, bytes] = {}
    for line in response.fields.lines(_CSP[0]):
        for directive in sorted(_directives(line.value)):
            if seen.setdefault(directive, line.value) != line.value:
                again = quoted(directive, 40)[1:-1]
                yield line, f"{line.shown_name} says {again} on another line, too: browsers enforce both"
                return


def _directives(value: bytes) -> set[bytes]:
    """The names of a policy's directives, but for those that say where reports go."""
    names = {words[0].lower() for part in re.split(rb"[;,]", value) if (words := part.split())}
    return names - {b"report-uri", b"report-to"}


def _wrong_policy(value: bytes) -> str | None:
    for policy in value.split(b","):
        seen: set[bytes] = set()
        for directive in policy.split(b";"):
            words = directive.split()
            if not words:
                continue
            name = words[0].lower()
            if not _DIRECTIVE_NAME.fullmatch(name):
                return f"has {quoted(words[0], 60)}, which is no name of a directive"
            if name in seen:
                return f"says {quoted(name, 40)[1:-1]} twice, and the first counts"
            seen.add(name)
            bare = next((word for word in words[1:] if word.lower() in _KEYWORDS), None)
            if bare is not None and name.endswith(
                (b"-src", b"-src-elem", b"-src-attr", b"-uri", b"-ancestors", b"-action")
            ):
                return f"says {quoted(bare)[1:-1]} without its quotes in {quoted(name, 40)[1:-1]}: that is a host"
    return None


_POLICY_WORDS: Mapping[str, frozenset[str]] = {
    "x-content-type-options": frozenset({"nosniff"}),  # Fetch §3.6
    "x-frame-options": frozenset({"deny", "sameorigin"}),  # HTML §7.7
    "cross-origin-resource-policy": frozenset({"same-origin", "same-site", "cross-origin"}),  # Fetch §3.7
}
"""Fields that hold one of a few words. X-Frame-Options and nosniff are compared without their case."""
_POLICY_TOKENS: Mapping[str, frozenset[str]] = {
    "cross-origin-opener-policy": frozenset(
        {"unsafe-none", "same-origin", "same-origin-allow-popups", "noopener-allow-popups"}
    ),  # HTML §7.1.3
    "cross-origin-embedder-policy": frozenset(
        {"unsafe-none", "require-corp", "credentialless"}
    ),  # HTML §7.1.4
}
"""Fields that hold a structured token of these (RFC 9651 §3.3.4); parameters may follow."""


@rule(
    *(
        "Fetch §3.6",
        "HTML §7.7",
        "HTML §7.1.3",
        "HTML §7.1.4",
        "Fetch §3.7",
        "Permissions Policy §6.1",
        "RFC 9651 §3.2",
    ),
    severity=NOTE,
    fields=(*_POLICY_WORDS, *_POLICY_TOKENS, "permissions-policy"),
)
def browser_security_header_malformed(response: Response) -> Hits:
    """Another browser security header has a value browsers do not know.

    It is as if it were not there, and nobody notices: ALLOW-FROM in X-Frame-Options, which no browser knows any
    more, ``sniff`` for nosniff, Permissions-Policy in the syntax of the Feature-Policy that it replaced. Looked
    at: X-Content-Type-Options, X-Frame-Options, the Cross-Origin policies, Permissions-Policy.

    > If parsing fails, either the entire field value MUST be ignored (i.e., treated as if the field were not
    > present in the section), or alternatively the complete HTTP message MUST be treated as malformed.

    Bad::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Frame-Options: ALLOW-FROM https://app.example
        < Content-Length: 2

    Good::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Frame-Options: SAMEORIGIN
        < X-Content-Type-Options: nosniff
        < Cross-Origin-Opener-Policy: same-origin; report-to="coop"
        < Permissions-Policy: camera=(), geolocation=(self "https://a.example")
        < Content-Length: 2
    """
    for line in response.fields:
        key, value = line.key, line.value.decode("latin-1").strip()
        if key in _POLICY_WORDS:
            word = value if key.startswith("cross-") else value.lower()
            # Two values joined are joined-singleton-value.
            if word not in _POLICY_WORDS[key] and not ("," in word and key == "x-frame-options"):
                yield line, f"{_said(line)} is none of {', '.join(sorted(_POLICY_WORDS[key]))}"
        elif key in _POLICY_TOKENS:
            if _token(line.value) not in _POLICY_TOKENS[key]:
                yield line, f"{_said(line)} is none of {', '.join(sorted(_POLICY_TOKENS[key]))}"
        elif key == "permissions-policy":
            try:
                parse_dictionary(line.value)
            except Malformed as problem:
                yield line, f"{_said(line)} does not parse: {problem}"


def _token(value: bytes) -> str | None:
    try:
        item = parse_item(value)
    except Malformed:
        return None
    return item.value if isinstance(item, Item) and isinstance(item.value, Token) else None


# what Go's net/http drops a cookie for (search)
_NOT_IN_COOKIE = re.compile(rb'[^\x20-\x7e]|["\\]')
# no attribute has a name behind a comma (search)
_SECOND_COOKIE = re.compile(rb",[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200})=")
_INTEGER = re.compile(rb"-?[0-9]+")
# Of a date in Expires the parts count, in any order (RFC 6265 §5.1.1): without any of them it is no date (search)
_TIME = re.compile(rb"\b[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}")
_MONTH = re.compile(rb"(?i)(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)")
_YEAR = re.compile(rb"\b[0-9]{2,4}\b")


@rule("RFC 6265 §4.1.1", severity=WARNING, fields=("set-cookie",))
def set_cookie_malformed(response: Response) -> Hits:
    """Set-Cookie is malformed.

    Clients drop the cookie or the attribute, and with it the session or the affinity: Go drops a cookie with a
    quote, a backslash or letters beyond ASCII in its value, browsers one that says SameSite=None without
    Secure, or ``__Host-`` without Path=/; all ignore a Max-Age that is no number. Two cookies that a hop has
    joined with a comma look like that, too.

    > set-cookie-string = cookie-pair *( ";" SP cookie-av )

    Bad::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route=a; Path=/; SameSite=None
        < Content-Length: 2

    Bad::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route={"w":7}; Path=/
        < Content-Length: 2

    Good::

        > GET /ui HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Set-Cookie: route=w7; Path=/; Expires=Fri, 20 Nov 2026 04:14:15 GMT; SameSite=None; Secure
        < Content-Length: 2
    """
    for line in response.fields.lines("set-cookie"):
        for problem in _wrong_cookie(line.value):
            name = quoted(mask_text(cookie_name(line.value)), 40)
            yield line, f"the cookie {name} {problem}"
            break


def _wrong_cookie(value: bytes) -> Iterator[str]:
    pair, *rest = value.split(b";")
    if joined := _SECOND_COOKIE.search(b";".join(rest)):
        yield f"is followed by the cookie {quoted(mask_text(joined[1]), 40)} behind a comma"
        return
    name, equals, content = (part.strip(grammar.OWS) for part in pair.partition(b"="))
    if not equals or not name:
        yield "has no name"
    elif not grammar.TOKEN.fullmatch(name):
        yield "has a name that is no token"
    inner = content[1:-1] if len(content) > 1 and content[:1] == content[-1:] == b'"' else content
    if found := _NOT_IN_COOKIE.search(inner):
        yield f"holds {quoted(found[0])} in its value"
    given: dict[bytes, bytes] = {}
    for part in rest:
        attribute, _, said = (piece.strip(grammar.OWS) for piece in part.partition(b"="))
        if attribute.lower() in given:
            yield f"has the attribute {quoted(attribute, 20)[1:-1]} twice"
        given[attribute.lower()] = said
    if not _INTEGER.fullmatch(given.get(b"max-age", b"0")):
        yield "has a Max-Age that is no number of seconds"
    expires = given.get(b"expires")
    if expires is not None and not all(part.search(expires) for part in (_TIME, _MONTH, _YEAR)):
        yield "has an Expires that is no date"
    site = given.get(b"samesite", b"lax").lower()
    if site not in (b"lax", b"strict", b"none"):
        yield f"has the SameSite {quoted(mask_text(given[b'samesite'].partition(b',')[0]), 20)}, which nobody knows"
    elif site == b"none" and b"secure" not in given:
        yield "has SameSite=None without Secure: browsers drop it"
    prefix = name.lower()
    if prefix.startswith((b"__secure-", b"__host-")) and b"secure" not in given:
        yield "has a name that demands Secure: browsers drop it"
    elif prefix.startswith(b"__host-") and (given.get(b"path") != b"/" or given.get(b"domain")):
        yield "has a name that demands Path=/ and no Domain: browsers drop it"

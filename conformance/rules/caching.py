"""Answers of models and HTTP caches: what may be stored, and what came out of a store.

A gateway's own cache of answers, keyed by the prompt and switched on by its operator, is none of this:
``x-litellm-cache-key``, ``Helicone-Cache``, ``x-portkey-cache-status`` and their like are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from conformance import grammar, known
from conformance.llm import endpoint
from conformance.message import Exchange, FieldLine, Fields, Message, Request, Response, split_members
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import quoted, shown
from conformance.turn import Turn

# delta-seconds = 1*DIGIT, here more than none (RFC 9111 §1.2.2); quoted too, which recipients ought to take
_FRESH = re.compile(rb'(?i)(?P<name>s-maxage|max-age)[ \t]*=[ \t]*"?0*[1-9][0-9]*"?')
_FORBID = frozenset({b"no-store", b"no-cache"})
# cache-directive = token [ "=" ( token / quoted-string ) ]                             (RFC 9111 §5.2)
_DIRECTIVE = re.compile(
    rb"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?P<value>[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"
    + grammar.QUOTED_STRING.pattern
    + rb"))?"
)
_SECONDS = frozenset(
    {
        b"max-age", b"s-maxage", b"max-stale", b"min-fresh",  # RFC 9111 §5.2.1, 5.2.2
        b"stale-while-revalidate", b"stale-if-error",  # RFC 5861
    }
)  # fmt: skip
# Not private beside s-maxage: who has caches of its own says so (api.github.com), and the others take private.
_CONTRADICTIONS = ((b"private", b"public"), (b"no-store", b"public"), (b"no-store", b"immutable"))
_LASTING = frozenset({404, 405, 410, 414, 501})
"""Errors that are heuristically cacheable (RFC 9110 §15.1)."""
_UNPRINTABLE = re.compile(rb"[^\t\x20-\x7e]")
# entity-tag = [ %s"W/" ] DQUOTE *( %x21 / %x23-7E / obs-text ) DQUOTE                  (RFC 9110 §8.8.3)
_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')

# Cache-Status's hit is a parameter of a member that names a cache; the others say HIT, of one cache or of each.
HITS: Mapping[str, re.Pattern[bytes]] = {
    "age": re.compile(rb"\A0*[1-9][0-9]*\Z"),
    "cache-status": re.compile(rb"(?i);[ \t]*hit[ \t]*(?:=[ \t]*\?1[ \t]*)?(?:[;,]|\Z)"),
    "cf-cache-status": re.compile(rb"(?i)\A(?:hit|stale|updating|revalidated)\Z"),
    "x-cache": re.compile(rb"(?i)\b(?:tcp_(?:mem_)?)?hit\b"),
    "x-cache-status": re.compile(rb"(?i)\A(?:hit|stale|updating)\Z"),
}
"""By field: what shows that the response came out of an HTTP cache (for ``search``). RFC 9111 §5.1, RFC 9211
§2.1, Cloudflare's cache statuses; CloudFront, Fastly and squid in X-Cache; nginx's custom."""


def _completion(exchange: Exchange) -> Response | None:
    """The answer of a model to a prompt; None if it is none, or an error."""
    response = exchange.response
    if response is None or not 200 <= response.status <= 299:
        return None
    operation = endpoint(exchange.request)
    if operation is None or not operation.completes or exchange.request.method != b"POST":
        return None
    return response


@rule(
    *("RFC 9110 §9.3.3", "RFC 9111 §3", "RFC 7231 §4.3.3"),
    severity=WARNING,
    fields=("cache-control", "expires"),
)
def completion_marked_cacheable(exchange: Exchange) -> Hits:
    """A model completion carries explicit freshness.

    A cache in front of the gateway may answer later prompts with it: CDNs that are told to cache POST look at
    nothing but the URI, which is the same for every prompt. A default for the whole site (``Cache-Control:
    public, max-age=3600``) that was meant for its pages is the usual source.

    > Responses to POST requests are only cacheable when they include explicit freshness information (see
    > Section 4.2.1 of [CACHING]) and a Content-Location header field that has the same value as the POST's
    > target URI

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Cache-Control: public, max-age=3600
        < Content-Length: 18

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Cache-Control: no-store, max-age=3600
        < Content-Length: 18
    """
    response = _completion(exchange)
    if response is None:
        return
    if (line := _fresh_by(response.fields)) is not None:
        yield line, f"a completion with {line.shown_name} {shown(line.name, line.value)}"


def _said_directives(fields: Fields) -> dict[bytes, set[bytes]]:
    """Each directive, in lower case, with the arguments it is given; none is an empty one."""
    said: dict[bytes, set[bytes]] = {}
    for member in fields.values("cache-control"):
        name, _, argument = member.partition(b"=")
        said.setdefault(name.strip(grammar.OWS).lower(), set()).add(argument.strip(b' \t"'))
    return said


def _fresh_by(fields: Fields) -> FieldLine | None:
    """The line that gives a response a lifetime which nothing beside it takes away."""
    said = _said_directives(fields)
    if said.keys() & _FORBID:
        return None
    for line in fields.lines("cache-control"):
        if any(_FRESH.fullmatch(member.strip(grammar.OWS)) for member in line.value.split(b",")):
            return line
    # max-age overrides Expires (RFC 9111 §5.3).
    return _expires_later(fields) if not said.keys() & {b"max-age", b"s-maxage"} else None


def _expires_later(fields: Fields) -> FieldLine | None:
    lines, sent = fields.lines("expires"), fields.one("date")
    if len(lines) != 1 or sent is None:
        return None
    until, since = grammar.date(lines[0].value), grammar.date(sent)
    return lines[0] if until is not None and since is not None and until > since else None


@rule(
    *("RFC 9111 §4", "RFC 9211 §2", "RFC 7234 §4"),
    severity=WARNING,
    fields=tuple(HITS),
)
def completion_served_from_http_cache(exchange: Exchange) -> Hits:
    """A model completion was served from an HTTP cache.

    The prompt did not reach the model: the answer belongs to another prompt or is an old one, usage is counted
    twice or not at all, and a sampled answer repeats. Age, Cache-Status, CF-Cache-Status and X-Cache tell.

    > The presence of an Age header field implies that the response was not generated or validated by the
    > origin server for this request.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Age: 42
        < Content-Type: application/json
        < Content-Length: 18

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Age: 0
        < X-Cache: Miss from cloudfront
        < CF-Cache-Status: DYNAMIC
        < Cache-Status: edge; fwd=method
        < Content-Type: application/json
        < Content-Length: 18
    """
    response = _completion(exchange)
    if response is None:
        return
    for name, pattern in HITS.items():
        for line in response.fields.lines(name):
            if pattern.search(line.value):
                yield line, f"a completion with {line.shown_name} {shown(line.name, line.value)}"
                return


@rule(
    *("RFC 9111 §5.2", "RFC 9111 §5.2.2.1", "RFC 9111 §5.2.2.4", "RFC 9111 §5.2.2.7", "RFC 9111 §5.2.2.10"),
    "RFC 7234 §5.2",
    severity=ERROR,
    fields=("cache-control",),
)
def cache_control_malformed(message: Message) -> Hits:
    """Cache-Control does not parse or quotes an argument wrongly.

    What a cache does not understand it ignores, and falls back to its defaults: it may store a private answer,
    or never one that should be. Semicolons between directives, a lifetime that is no number of seconds
    (``max-age=1h``) or stands in quotes, and a list of headers that does not (``private=Set-Cookie``) are the
    usual mistakes.

    > This directive uses the token form of the argument syntax: e.g., 'max-age=5' not 'max-age="5"'. A sender
    > MUST NOT generate the quoted-string form.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: private; max-age=60
        < Content-Length: 2

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: max-age=1h
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        > Cache-Control: max-stale
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: private="Set-Cookie", max-age=60, community="UCI"
        < Content-Length: 2
    """
    for line in message.fields.lines("cache-control"):
        if line.value.count(b'"') % 2 or _UNPRINTABLE.search(line.value):
            continue  # quoted-string-malformed, and what stands in no value at all
        for member in split_members(line.value):
            member = member.strip(grammar.OWS)
            if member and (problem := _wrong_directive(member)) is not None:
                yield line, f"in Cache-Control {shown(line.name, line.value)}, {quoted(member, 60)} {problem}"
                break


def _wrong_directive(member: bytes) -> str | None:
    found = _DIRECTIVE.fullmatch(member)
    if found is None:
        return "is no directive"
    name, value = found["name"].lower(), found["value"]
    if name in _SECONDS:
        if value is None:
            return None if name == b"max-stale" else "lacks its seconds"
        return None if grammar.DIGITS.fullmatch(value) else "is no number of seconds"
    if name in (b"private", b"no-cache") and value is not None and not value.startswith(b'"'):
        return "lacks the quotes around its list of headers"
    return None


@rule("RFC 9111 §5.2.2", "RFC 7234 §5.2", severity=WARNING, fields=("cache-control",))
def contradictory_cache_control(message: Message) -> Hits:
    """Cache-Control directives contradict each other.

    Caches are asked to honour the most restrictive one, and some take the first: whether an answer is shared
    depends on whose cache is on the way. Two layers that each add their defaults are the usual source. A
    lifetime beside no-store or no-cache is customary, and harmless.

    > When there is more than one value present for a given directive (e.g., two Expires header field lines or
    > multiple Cache-Control: max-age directives), either the first occurrence should be used or the response
    > should be considered stale.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: private
        < Cache-Control: public, max-age=3600
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: no-cache, no-store, max-age=0, must-revalidate
        < Content-Length: 2
    """
    said = _said_directives(message.fields)
    line = next(iter(message.fields.lines("cache-control")), None)
    if line is None:
        return
    for name, arguments in said.items():
        if len(arguments) > 1:
            values = " and ".join(quoted(argument, 30) for argument in sorted(arguments))
            yield line, f"Cache-Control says {quoted(name, 30)[1:-1]} with {values}"
    # With a list of headers private is about these only.
    for one, other in _CONTRADICTIONS:
        if b"" in said.get(one, ()) and other in said:
            yield line, f"Cache-Control says both {one.decode()} and {other.decode()}"


@rule("RFC 9111 §3.5", "RFC 7234 §3.2", severity=WARNING, fields=("authorization",))
def authenticated_response_in_shared_cache(exchange: Exchange) -> Hits:
    """The response to an authenticated request may be stored by shared caches.

    Authorization keeps an answer out of shared caches, unless the answer itself lets it in: with public,
    s-maxage or must-revalidate one user's models, files and limits are served to another. Say private. What a
    completion may say has a rule of its own.

    > A shared cache MUST NOT use a cached response to a request with an Authorization header field (Section
    > 11.6.2 of [HTTP]) to satisfy any subsequent request unless the response contains a Cache-Control field
    > with a response directive (Section 5.2.2) that allows it to be stored by a shared cache

    Bad::

        > GET /v1/files HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-000000000000
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: public, max-age=600
        < Content-Length: 2

    Good::

        > GET /v1/files HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-000000000000
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: private, max-age=600
        < Content-Length: 2
    """
    response = exchange.response
    if (
        response is None
        or not 200 <= response.status <= 299
        or exchange.request.method not in (b"GET", b"HEAD")
    ):
        return
    said = _said_directives(response.fields)
    line = _fresh_by(response.fields)
    allowed = [name.decode() for name in (b"public", b"s-maxage", b"must-revalidate") if name in said]
    if line is not None and allowed and b"private" not in said and "authorization" in exchange.request.fields:
        at = response.fields.lines("cache-control")[0]
        yield at, f"{' and '.join(allowed)} in an answer to a request with Authorization"


@rule("RFC 9111 §5.2.2.5", "RFC 7234 §5.2.2.3", severity=NOTE)
def no_store_missing_on_completion(exchange: Exchange) -> Hits:
    """A completion does not forbid storing.

    HTTP caches leave answers to POST alone unless they are told otherwise, and clients, inspecting proxies and
    browsers' disk caches keep what they like: prompts and answers may stay where nobody looks for them.

    > The no-store response directive indicates that a cache MUST NOT store any part of either the immediate
    > request or the response and MUST NOT use the response to satisfy any other request.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 18

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Cache-Control: no-store
        < Content-Length: 18
    """
    response = _completion(exchange)
    if response is None or (not response.verbatim and not response.fields):
        return
    if b"no-store" not in _said_directives(response.fields):
        yield response, "a completion without Cache-Control: no-store"


@rule(
    *("RFC 9111 §3", "RFC 9110 §15.1", "RFC 7234 §3", "RFC 7231 §6.1"),
    severity=WARNING,
    fields=("cache-control", "expires"),
)
def cacheable_error_response(response: Response) -> Hits:
    """An error response may be stored.

    A short outage lasts as long as the cache keeps it, and a limit or a refusal that one client met is served to
    all. A default for the whole site that is put on errors, too, is the usual source. 404, 405, 410, 414 and
    501 are facts that last; to store them for a while is sound.

    > A cache MUST NOT store a response to a request unless: [...] the response contains at least one of the
    > following: [...] a max-age response directive

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: public, max-age=3600
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: no-store
        < Content-Length: 2
    """
    status = response.status
    if 400 <= status <= 599 and status not in _LASTING and (line := _fresh_by(response.fields)) is not None:
        yield line, f"a {status} with {line.shown_name} {shown(line.name, line.value)}"


@rule("RFC 9111 §5.1", "RFC 7234 §5.1", severity=ERROR, fields=("age",))
def age_malformed(response: Response) -> Hits:
    """Age is not a non-negative integer.

    Caches that cannot read it take the answer for new, or for stale: a chain of them keeps it for as long as
    each of them would alone.

    > Age = delta-seconds

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Age: 12.5
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Age: 12
        < Content-Length: 2
    """
    for line in response.fields.lines("age"):
        if not grammar.DIGITS.fullmatch(line.value) and not known.JOINED["age"].search(line.value):
            yield line, f"Age {shown(line.name, line.value)} is no number of seconds"


@rule("RFC 9111 §5.3", "RFC 7234 §5.3", severity=WARNING, fields=("expires",))
def expires_malformed(response: Response) -> Hits:
    """Expires is not a date.

    It is read as a time in the past, so the answer is never reused, which is rarely what was meant by who wrote
    a date. 0 and -1, by which that is customarily said, are no mistake.

    > A cache recipient MUST interpret invalid date formats, especially the value "0", as representing a time in
    > the past (i.e., "already expired").

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Expires: 2026-11-20T04:14:15Z
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Expires: Fri, 20 Nov 2026 04:14:15 GMT
        < Content-Length: 2
    """
    for line in response.fields.lines("expires"):
        if line.value in (b"0", b"-1") or known.JOINED["expires"].search(line.value):
            continue
        if grammar.date(line.value) is None:
            yield line, f"Expires {shown(line.name, line.value)} is not a date"


@rule("RFC 9110 §12.5.5", "RFC 7231 §7.1.4", severity=WARNING, fields=("vary",))
def vary_malformed(response: Response) -> Hits:
    """Vary is malformed or defeats caching.

    Caches that cannot read it store nothing, or mix variants up: the stream of one client is the JSON of the
    next. ``*`` says that no stored answer will ever do, which contradicts a lifetime. Host, which Apache's
    mod_rewrite names, is part of the key anyway and does no harm.

    > Vary = #( "*" / field-name )

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Vary: Accept; Origin
        < Content-Length: 2

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: max-age=60
        < Vary: *
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Cache-Control: max-age=60
        < Vary: Accept, Origin
        < Content-Length: 2
    """
    for line in response.fields.lines("vary"):
        members = [member for part in line.value.split(b",") if (member := part.strip(grammar.OWS))]
        wrong = next((member for member in members if not grammar.TOKEN.fullmatch(member)), None)
        said = f"Vary {shown(line.name, line.value)}"
        if wrong is not None:
            yield line, f"in {said}, {quoted(wrong, 60)} is no header name"
        elif b"*" in members and (len(members) > 1 or _fresh_by(response.fields) is not None):
            beside = "other names" if len(members) > 1 else "a lifetime"
            yield line, f"{said} has * beside {beside}"


@rule("RFC 9110 §8.8.3", "RFC 7232 §2.3", severity=ERROR, fields=("etag",))
def etag_malformed(response: Response) -> Hits:
    """ETag is not an entity tag.

    Clients send it back as it is, and servers and caches that parse If-None-Match find no tag in it: nothing
    ever matches, and everything is sent again. Missing quotes (a bare hash) and ``w/`` in lower case are the
    usual mistakes.

    > entity-tag = [ weak ] opaque-tag

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: 33a64df5
        < Content-Length: 2

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: W/"33a64df5"
        < Content-Length: 2
    """
    for line in response.fields.lines("etag"):
        if not _ENTITY_TAG.fullmatch(line.value) and not known.JOINED["etag"].search(line.value):
            yield line, f"ETag {shown(line.name, line.value)} is no entity tag"


@rule("RFC 9110 §13.1.2", "RFC 7232 §3.2", severity=WARNING, fields=("if-none-match",), verbatim=True)
def if_none_match_ignored(exchange: Exchange) -> Hits:
    """A matching If-None-Match was answered with 200.

    The content is sent again for nothing. A hop that computes its tags over what it has compressed and one that
    does not evaluate what it passes on are the usual sources. A request that says no-cache is let pass: Express
    answers it in full on purpose, and fetch adds the word to whatever has a precondition of the caller's. So is
    what a browser recorded: it shows the 200 that its cache made of a 304.

    > the origin server MUST NOT perform the requested method if the condition evaluates to false; instead, the
    > origin server MUST respond with either a) the 304 (Not Modified) status code if the request method is GET
    > or HEAD

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > If-None-Match: "33a64df5"
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: W/"33a64df5"
        < Content-Length: 2

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > If-None-Match: "33a64df5"
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "0815beef"
        < Content-Length: 2
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status != 200 or request.method not in (b"GET", b"HEAD"):
        return
    tag = response.fields.one("etag")
    if tag is None or not _ENTITY_TAG.fullmatch(tag) or b"no-cache" in _said_directives(request.fields):
        return
    # "A recipient MUST use the weak comparison function" (RFC 9110 §13.1.2)
    asked = [member.removeprefix(b"W/") for member in request.fields.values("if-none-match")]
    if tag.removeprefix(b"W/") in asked:
        line = request.fields.lines("if-none-match")[0]
        yield line, f"If-None-Match {shown(line.name, line.value)} matches the ETag {quoted(tag)} of the 200"


@rule("RFC 9110 §13.1.5", "RFC 7233 §3.2", severity=WARNING, fields=("if-range",))
def if_range_without_strong_validator(request: Request) -> Hits:
    """If-Range holds a weak tag or stands without Range.

    A weak tag says that two versions mean the same, not that their octets are the same: a server that takes it
    gives a part of one to whoever has a part of the other. Without Range there is nothing to make conditional.

    > A client MUST NOT generate an If-Range header field containing an entity tag that is marked as weak.

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=100-
        > If-Range: W/"33a64df5"

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > If-Range: "33a64df5"

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Range: bytes=100-
        > If-Range: "33a64df5"
    """
    for line in request.fields.lines("if-range")[:1]:
        said = f"If-Range {shown(line.name, line.value)}"
        if "range" not in request.fields:
            yield line, f"{said} in a request without Range"
        elif line.value[:2].upper() == b"W/":
            yield line, f"{said} is a weak tag"
        elif not _ENTITY_TAG.fullmatch(line.value) and grammar.date(line.value) is None:
            yield line, f"{said} is neither a tag nor a date"


@rule("RFC 9110 §8.8.3.3", "RFC 7232 §2.3.3", severity=WARNING, evidence="flows", fields=("etag",))
def etag_shared_between_encodings(turn: Turn) -> Hits:
    """One strong ETag names differently encoded content.

    A strong tag stands for octets: a download that is resumed, and a cache that puts ranges together, mix
    compressed and plain ones. Who compresses on the way (a gateway's GZip middleware, nginx up to 1.7.2) has to
    make the tag weak, or another one.

    > Hence, a strong ETag needs to be different for each encoding

    Bad::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "a1"
        < Content-Length: 200

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < ETag: "a1"
        < Content-Encoding: gzip
        < Content-Length: 90

    Good::

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < ETag: "a1"
        < Content-Length: 200

        > GET /v1/files/1/content HTTP/1.1
        > Host: api.example
        > Accept-Encoding: gzip
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < ETag: "a1-gzip"
        < Content-Encoding: gzip
        < Content-Length: 90
    """
    stored = turn.digest.stored
    if stored is None or stored[0].startswith(b"W/") or not turn.same_request:
        return
    response = turn.exchange.response
    if response is None:
        return
    for digest in reversed(turn.same_request):
        if digest.stored is not None and digest.stored[0] == stored[0] and digest.stored[1] != stored[1]:
            line = response.fields.lines("etag")[0]
            codings = " and ".join(
                quoted(coding, 40)[1:-1] or "no coding" for coding in (digest.stored[1], stored[1])
            )
            yield (
                line,
                f"ETag {shown(line.name, line.value)} names the content with {codings}: exchange {digest.number}",
            )
            return

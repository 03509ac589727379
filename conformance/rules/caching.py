"""Answers of models and HTTP caches: what may be stored, and what came out of a store.

A gateway's own cache of answers, keyed by the prompt and switched on by its operator, is none of this:
``x-litellm-cache-key``, ``Helicone-Cache``, ``x-portkey-cache-status`` and their like are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from conformance import grammar
from conformance.llm import endpoint
from conformance.message import Exchange, FieldLine, Fields, Response
from conformance.rule import WARNING, Hits, rule
from conformance.secret import shown

# delta-seconds = 1*DIGIT, here more than none (RFC 9111 §1.2.2); quoted too, which recipients ought to take
_FRESH = re.compile(rb'(?i)(?P<name>s-maxage|max-age)[ \t]*=[ \t]*"?0*[1-9][0-9]*"?')
_FORBID = frozenset({b"no-store", b"no-cache"})

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
    fields = response.fields
    directives = {
        member.partition(b"=")[0].strip(b" \t").lower() for member in fields.values("cache-control")
    }
    if directives & _FORBID:
        return
    for line in fields.lines("cache-control"):
        if any(_FRESH.fullmatch(member.strip(b" \t")) for member in line.value.split(b",")):
            yield line, f"a completion with {line.shown_name} {shown(line.name, line.value)}"
            return
    # max-age overrides Expires (RFC 9111 §5.3).
    if not directives & {b"max-age", b"s-maxage"} and (expires := _expires_later(fields)) is not None:
        yield expires, f"a completion with {expires.shown_name} {shown(expires.name, expires.value)}"


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

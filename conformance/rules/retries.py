"""What happens after a failure: whether the server says when to try again, and whether the client listens.

Two exchanges are the same request if host, method, target and content are equal; request ids, traces and
counters of tries do not matter. Where the content was not recorded nothing is known. What is sent again after
WINDOW seconds is no retry, and what began before the other was over is none either.

A rule about several exchanges fires once, at the exchange where the defect is certain, not at each later one.
"""

from __future__ import annotations

from itertools import pairwise

from conformance import grammar
from conformance.history import waits
from conformance.known import JOINED
from conformance.message import Legs, Response
from conformance.policy import Policy
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import shown
from conformance.turn import Digest, Turn

WINDOW = 600
"""Seconds between two tries: the longest backoff seen (Claude Code, codex) is minutes, a user's is longer."""
MANY = 5
"""Repetitions after failures: the SDKs make 2, Codex 4."""
OBEYED = 60.0
"""Seconds that the SDKs of OpenAI and Anthropic wait at most when they are told to."""
SLACK = 0.25
"""Seconds by which two clocks, or a rounded wait, may differ."""

_TOLD_TO_GO = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""Statuses after which clients look for a wait."""
_WAITED_FOR = frozenset({202, 408, 409, 413, 423, 425, 429})
"""Below 500, what may say how long to wait (RFC 9110 §15.5.14, RFC 6585 §4, RFC 8470 §5.2), or does so by custom."""
_PERMANENT_TOO = frozenset({401, 403})
"""With the credential that was refused. The policy's list leaves them out: the first 401 may be answered with a
new token."""
_POLLED = frozenset({404, 410})
"""Asked for with GET these may well change: something is waited for."""
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


def _attempts(turn: Turn, again: tuple[Digest, ...] | None = None) -> list[Digest]:
    """The tries of this request before this one, the oldest first: an unbroken row of them."""
    row: list[Digest] = []
    after = turn.digest
    for digest in reversed(turn.same_request if again is None else again):
        if not digest.precedes(after):
            continue  # sent beside it, not before it
        if digest.ended is not None and after.started is not None and after.started - digest.ended > WINDOW:
            break
        row.append(digest)
        after = digest
    return row[::-1]


def _is_told(response: Response) -> bool:
    """Whether the response says when, or that never, to try again."""
    names = response.fields.names
    if names & {"retry-after", "retry-after-ms", "x-ms-retry-after-ms"}:
        return True
    return (response.fields.one("x-should-retry") or b"").lower() == b"false"


@rule(
    "RFC 6585 §4",
    "RFC 9110 §10.2.3",
    "RFC 7231 §7.1.3",
    severity=WARNING,
    fix="tame-retries",
    name="429-without-retry-after",
)
def status_429_without_retry_after(response: Response) -> Hits:
    """A 429 response does not say when to retry.

    Clients guess: openai-python and anthropic-sdk-python begin with half a second, litellm and harbor with a
    backoff of their own, and each try counts against the limit again. Gateways that turn an upstream's error
    into their own lose the field.

    retry-after-ms, which the SDKs prefer, says it too, and so does ``x-should-retry: false``.

    > The response representations SHOULD include details explaining the condition, and MAY include a
    > Retry-After header indicating how long to wait before making a new request.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0001
        < Content-Length: 104

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0002
        < Content-Length: 104
        < Retry-After: 2
    """
    if response.status == 429 and not _is_told(response):
        yield response, "the 429 response has no Retry-After"


@rule(
    "RFC 9110 §15.6.4",
    "RFC 9110 §10.2.3",
    "RFC 7231 §6.6.4",
    severity=NOTE,
    fix="tame-retries",
    name="503-without-retry-after",
)
def status_503_without_retry_after(response: Response) -> Hits:
    """A 503 or 529 response does not say when to retry.

    Clients guess, as with 429. Sourcegraph's Cody Gateway, which answers 503 for its upstreams' 429, adds a
    default for this reason; smg adds ``Retry-After: 1`` where it displaces a request. 529 is Anthropic's
    "overloaded".

    > The server MAY send a Retry-After header field [...] to suggest an appropriate amount of time for the
    > client to wait before retrying the request.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 529 Overloaded
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0003
        < Content-Length: 104

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0004
        < Content-Length: 104
        < Retry-After: 30
    """
    if response.status in (503, 529) and not _is_told(response):
        yield response, f"the {response.status} response has no Retry-After"


@rule(
    "RFC 9110 §10.2.3",
    "RFC 7231 §7.1.3",
    severity=ERROR,
    fix="tame-retries",
    fields=("retry-after",),
    breaks=("openai-python", "anthropic-sdk-python", "urllib3"),
)
def retry_after_malformed(response: Response) -> Hits:
    """Retry-After is neither whole seconds nor a date.

    Most clients ignore ``2s``, ``PT30S`` or a point in ISO 8601 and fall back to their own backoff, so that the
    server might as well say nothing; urllib3 raises InvalidHeader. ``1.5`` is read by the SDKs of OpenAI and
    Anthropic and by nobody else. Milliseconds, where seconds are meant, are worse: they are obeyed.

    Two values joined by a comma are joined-singleton-value.

    > The Retry-After field value can be either an HTTP-date or a number of seconds to delay after receiving
    > the response.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0005
        < Content-Length: 104
        < Retry-After: 2s

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0006
        < Content-Length: 104
        < Retry-After: Fri, 20 Nov 2026 03:14:45 GMT
    """
    for line in response.fields.lines("retry-after"):
        value = line.value
        if grammar.DIGITS.fullmatch(value) or grammar.date(value) is not None:
            continue
        if grammar.CR_LF_NUL.search(value) or grammar.OTHER_CTL.search(value):
            continue  # those rules say more
        if not JOINED["retry-after"].search(value):
            yield (
                line,
                f"{line.shown_name} {shown(line.name, value)} is neither whole seconds nor an HTTP-date",
            )


@rule("RFC 9110 §10.2.3", "RFC 7231 §7.1.3", severity=NOTE, fields=("retry-after", "retry-after-ms"))
def retry_after_too_long(response: Response) -> Hits:
    """Retry-After asks to wait longer than clients obey.

    The SDKs of OpenAI and Anthropic ignore waits of more than 60 seconds and try again by their own clock,
    after half a second. A limit that is longer (a day's quota) is better said with ``x-should-retry: false``.

    > When sent with a 503 (Service Unavailable) response, Retry-After indicates how long the service is
    > expected to be unavailable to the client.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0007
        < Content-Length: 104
        < Retry-After: 3600

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0008
        < Content-Length: 104
        < Retry-After: 60
    """
    if (
        response.status not in _TOLD_TO_GO
        or (response.fields.one("x-should-retry") or b"").lower() == b"false"
    ):
        return
    # The first that says anything is the one the SDKs read.
    for name, seconds in waits(response.fields):
        if seconds > OBEYED:
            line = response.fields.lines(name)[0]
            yield (
                line,
                f"{line.shown_name} {shown(line.name, line.value)} asks for {seconds:g} s; SDKs obey up to {OBEYED:g}",
            )
        return


@rule(
    "RFC 9110 §10.2.3",
    "RFC 7231 §7.1.3",
    severity=WARNING,
    fix="tame-retries",
    fields=("retry-after", "retry-after-ms", "x-ms-retry-after-ms"),
)
def conflicting_retry_hints(response: Response) -> Hits:
    """Retry-After, retry-after-ms and rate-limit headers disagree.

    Clients read different ones: the SDKs of OpenAI and Anthropic and Portkey prefer retry-after-ms, everything
    else reads Retry-After alone, and clients of the RateLimit fields its reset. Some come back too early, the
    others wait for nothing. A gateway that sets one of them and passes the others on is the usual source.

    Retry-After may be retry-after-ms rounded to a second. Resets of single limits (x-ratelimit-reset-tokens,
    anthropic-ratelimit-requests-reset) say when a limit is full again, which is another thing.

    > The Retry-After field value can be either an HTTP-date or a number of seconds to delay after receiving
    > the response.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0009
        < Content-Length: 104
        < Retry-After: 30
        < retry-after-ms: 1500

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Length: 2
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0010
        < Content-Length: 104
        < Retry-After: 2
        < retry-after-ms: 1500
        < x-ratelimit-reset-tokens: 6m0s
    """
    found = dict(waits(response.fields))
    reset = response.fields.one("ratelimit-reset")
    # Its early drafts had seconds; later ones, and GitHub, a point in time, which is a large number.
    if (
        reset is not None
        and grammar.DIGITS.fullmatch(reset)
        and len(reset) < 7
        and response.status in (429, 503)
    ):
        found["ratelimit-reset"] = float(reset)
    if len(found) < 2:
        return
    (first, least), *others = found.items()
    for name, seconds in others:
        if abs(seconds - least) > 1 + SLACK:
            line, other = response.fields.lines(name)[0], response.fields.lines(first)[0]
            yield (
                line,
                f"{line.shown_name} {shown(line.name, line.value)} says {seconds:g} s and {other.shown_name} "
                f"{shown(other.name, other.value)} {least:g} s",
            )
            return


@rule(
    "RFC 9110 §9.2.2",
    "RFC 7231 §4.2.2",
    severity=WARNING,
    fix="tame-retries",
    evidence="flows",
)
def retry_storm(turn: Turn) -> Hits:
    """The same request was repeated many times after failures.

    Something permanent is retried as if it passed by itself, by layers that do not know of each other: harbor
    0.24.0 makes three tries of the SDK's three, nine POSTs for one duplicate Server header, and reports a
    "Connection error." after each round. Each try may cost a whole completion.

    Counted are tries after an answer of 429 or 5xx or none at all, and those that the client itself calls
    retries (x-stainless-retry-count): a client that cannot read a response fails although the recording shows
    a 200. Any other success ends the row. Errors of the client are retry-of-permanent-failure, handshakes
    handshake-repeated-after-refusal, and a GET that is asked for until it succeeds is polling. It is reported
    with the fifth repetition.

    > A client SHOULD NOT automatically retry a failed automatic retry.

    Bad::

        @ started: 1795144420.0
        @ ended: 1795144420.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 0
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:20 GMT
        < x-request-id: req_0011
        < Content-Length: 104

        @ started: 1795144421.0
        @ ended: 1795144421.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 1
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:21 GMT
        < x-request-id: req_0012
        < Content-Length: 104

        @ started: 1795144423.0
        @ ended: 1795144423.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 2
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:23 GMT
        < x-request-id: req_0013
        < Content-Length: 104

        @ started: 1795144427.0
        @ ended: 1795144427.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 3
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:27 GMT
        < x-request-id: req_0014
        < Content-Length: 104

        @ started: 1795144435.0
        @ ended: 1795144435.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 4
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:35 GMT
        < x-request-id: req_0015
        < Content-Length: 104

        @ started: 1795144451.0
        @ ended: 1795144451.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 5
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:51 GMT
        < x-request-id: req_0016
        < Content-Length: 104

    Good::

        @ started: 1795144420.0
        @ ended: 1795144420.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 0
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:20 GMT
        < x-request-id: req_0017
        < Content-Length: 104

        @ started: 1795144423.0
        @ ended: 1795144423.5
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-stainless-retry-count: 1
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:13:23 GMT
        < x-request-id: req_0018
        < Content-Length: 104
    """
    now = turn.digest
    if now.is_handshake or now.method in _SAFE or len(turn.same_request) < MANY:
        return
    row = _since_success([*_attempts(turn), now])
    repeated = sum(_is_repeated(before, after) for before, after in pairwise(row))
    if repeated == MANY and _is_repeated(row[-2], now):
        yield (
            turn.exchange,
            f"exchange {row[0].number} is repeated for the {MANY}th time: {_outcomes(row[:-1])}",
        )


def _since_success(row: list[Digest]) -> list[Digest]:
    """The end of the row behind the last try before this one that got what it asked for.

    What succeeded and is sent once more is a new request, whose own tries may fail too: rollouts ask the same
    many times. But where the client itself retries what the recording calls a success, it cannot read it.
    """
    if any(after.retry and not before.failed for before, after in pairwise(row)):
        return row
    done = [at for at, digest in enumerate(row[:-1], 1) if not digest.failed]
    return row[done[-1] :] if done else row


def _is_repeated(before: Digest, after: Digest) -> bool:
    return before.lost or before.status >= 500 or before.status in (408, 409, 425, 429) or bool(after.retry)


def _outcomes(row: list[Digest]) -> str:
    """``4 x 429, 1 x no answer``."""
    counts: dict[str, int] = {}
    for digest in row:
        what = str(digest.status) if digest.status and not digest.lost else "no answer"
        counts[what] = counts.get(what, 0) + 1
    return ", ".join(f"{count} x {what}" for what, count in counts.items())


@rule("RFC 9110 §10.2.3", "RFC 7231 §7.1.3", severity=WARNING, fix="tame-retries", evidence="flows")
def retry_too_early(turn: Turn) -> Hits:
    """A request was repeated before Retry-After elapsed.

    The provider counts the try against the limit, and some lengthen the wait for it. Clients that have a
    backoff of their own and do not read the field do so (litellm's router, tenacity around an SDK), and so
    do clients behind a gateway that does not pass it on.

    Where several fields say how long, the shortest counts: the SDKs of OpenAI and Anthropic obey
    retry-after-ms. Only the first of a row of early tries is reported, and another credential has a limit of
    its own.

    > Servers send the "Retry-After" header field to indicate how long the user agent ought to wait before
    > making a follow-up request.

    Bad::

        @ started: 1795144455.0
        @ ended: 1795144455.1
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0019
        < Content-Length: 104
        < Retry-After: 30

        @ started: 1795144456.1
        @ ended: 1795144456.2
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0020
        < Content-Length: 104
        < Retry-After: 30

    Good::

        @ started: 1795144455.0
        @ ended: 1795144455.1
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0021
        < Content-Length: 104
        < Retry-After: 2

        @ started: 1795144457.2
        @ ended: 1795144457.3
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0022
        < Content-Length: 104
        < Retry-After: 2
    """
    row = _attempts(turn)
    if not row:
        return
    lacking = _lacking(row[-1], turn.digest)
    if lacking is None or (len(row) > 1 and _lacking(row[-2], row[-1]) is not None):
        return
    asked, waited = lacking
    yield (
        turn.exchange,
        f"exchange {row[-1].number} was answered with {row[-1].status} and a wait of {asked:g} s, and is repeated after "
        f"{waited:.1f} s",
    )


def _lacking(before: Digest, after: Digest) -> tuple[float, float] | None:
    """What was asked for and what was waited, in seconds, if it was less."""
    if before.wait is None or before.ended is None or after.started is None:
        return None
    if before.credential != after.credential or before.should_retry:
        return None
    waited = after.started - before.ended
    # Seconds are counted by clocks that differ, and from the moment the response was sent.
    return (before.wait, waited) if waited < before.wait * 0.9 - SLACK else None


@rule(
    "RFC 9110 §9.2.2",
    "RFC 9110 §15.5",
    "RFC 7231 §4.2.2",
    "RFC 7231 §6.5",
    severity=WARNING,
    fix="tame-retries",
    evidence="flows",
)
def retry_of_permanent_failure(turn: Turn, policy: Policy) -> Hits:
    """A request was repeated unchanged after a client error.

    400, 401, 403, 404 and 422 say that the request is wrong, and it is as wrong the second time. slime asks
    /flush_cache 60 times, takes each 401 for "not yet", and reports "Timeout while flushing cache."; Claude
    Code 2.1.197 keeps retrying a 401 for more than a minute, Codex 0.169.0 makes three POSTs. The user sees a
    timeout instead of the reason.

    Unchanged means the same content, fields, credential and API version: who answers a 401 with another
    token, or drops the field that was refused, does right. 404 to a GET may be waited for. The statuses are
    the policy's (``[policy.tame-retries] permanent``), and 401 and 403. Only the first repetition is reported.

    > A client SHOULD NOT automatically retry a request with a non-idempotent method unless it has some means
    > to know that the request semantics are actually idempotent, regardless of the method, or some means to
    > detect that the original request was never applied.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 422 Unprocessable Content
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0023
        < Content-Length: 104

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 422 Unprocessable Content
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0024
        < Content-Length: 104

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer example-token-1
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 401 Unauthorized
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0025
        < WWW-Authenticate: Bearer error="invalid_token"
        < Content-Length: 104

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer example-token-2
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0026
        < Content-Length: 288
    """
    row = _attempts(turn)
    if not row or turn.digest.is_handshake:
        return
    permanent = {*policy.tame_retries.permanent, *_PERMANENT_TOO}
    if not _is_in_vain(row[-1], turn.digest, permanent):
        return
    if len(row) < 2 or not _is_in_vain(row[-2], row[-1], permanent):
        yield (
            turn.exchange,
            f"exchange {row[-1].number} was answered with {row[-1].status}, and is repeated unchanged",
        )


def _is_in_vain(before: Digest, after: Digest, permanent: set[int]) -> bool:
    if before.status not in permanent or before.details != after.details or before.should_retry:
        return False
    return not (before.status in _POLLED and after.method in _SAFE)


@rule("RFC 9110 §9.2.2", "RFC 7231 §4.2.2", severity=WARNING, evidence="flows")
def retry_despite_should_retry_false(turn: Turn) -> Hits:
    """A request was repeated although the response said x-should-retry: false.

    The server knows that another try is in vain, or harmful. The SDKs of OpenAI and Anthropic obey the
    field; a retry around the SDK, another client, or one behind a gateway that drops the field does not.

    A request that failed with an error of the client is retry-of-permanent-failure whatever the field says.

    > A client SHOULD NOT automatically retry a request with a non-idempotent method unless it has some means
    > to know that the request semantics are actually idempotent, regardless of the method, or some means to
    > detect that the original request was never applied.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:20 GMT
        < x-request-id: req_0027
        < Content-Length: 104
        < x-should-retry: false

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:21 GMT
        < x-request-id: req_0028
        < Content-Length: 104
        < x-should-retry: false

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:20 GMT
        < x-request-id: req_0029
        < Content-Length: 104
        < x-should-retry: true

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:21 GMT
        < x-request-id: req_0030
        < Content-Length: 104
        < x-should-retry: true
    """
    row = _attempts(turn)
    if not row or row[-1].should_retry is not False or not row[-1].failed:
        return
    if 400 <= row[-1].status < 500 and row[-1].status != 429:
        return
    if len(row) < 2 or row[-2].should_retry is not False:
        yield (
            turn.exchange,
            f"exchange {row[-1].number} was answered with {row[-1].status} and x-should-retry: false, and is repeated",
        )


@rule(
    "RFC 6455 §4.4",
    "RFC 9110 §9.2.2",
    "RFC 7231 §4.2.2",
    severity=WARNING,
    fix="tame-retries",
    evidence="flows",
)
def handshake_repeated_after_refusal(turn: Turn, policy: Policy) -> Hits:
    """A WebSocket handshake was repeated unchanged after a refusal.

    The refusal names a cause that stays: a missing credential, a version, a header that a CDN does not let
    pass. codex-proxy-rs forwarded Cloudflare's own headers and made 238 attempts, of which 5 succeeded. Codex
    itself falls back to HTTP at once after 426.

    Only the key may differ, and does. Overload (429, 5xx) passes; only the first repetition is reported.

    > At this point, if the client supports one of the advertised versions, it can repeat the WebSocket
    > handshake using a new version value.

    Bad::

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 403 Forbidden
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0031
        < Content-Length: 104

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: 3Fq2ZxTkQ0m1bB6y8n5c9w==
        < HTTP/1.1 403 Forbidden
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0032
        < Content-Length: 104

    Good::

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

        @ scheme: https
        > GET /v1/responses HTTP/1.1
        > Host: api.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: 3Fq2ZxTkQ0m1bB6y8n5c9w==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: u9iPPUTozt3Afem8nMG1Q/RXvCo=
    """
    row = _attempts(turn)
    if not row or not turn.digest.is_handshake:
        return
    permanent = {*policy.tame_retries.permanent, *_PERMANENT_TOO, 426}
    if not _is_refused_again(row[-1], turn.digest, permanent):
        return
    if len(row) < 2 or not _is_refused_again(row[-2], row[-1], permanent):
        yield (
            turn.exchange,
            f"the handshake of exchange {row[-1].number} was refused with {row[-1].status}, and is repeated unchanged",
        )


def _is_refused_again(before: Digest, after: Digest, permanent: set[int]) -> bool:
    return before.status in permanent and before.details == after.details


@rule("RFC 9110 §9.2.2", "RFC 9112 §9.3.1", "RFC 7230 §6.3.1", severity=NOTE, evidence="flows")
def post_replayed_after_connection_failure(turn: Turn) -> Hits:
    """A POST was sent again after a connection failure.

    The first may have been processed: the completion is paid for twice, and a tool behind the API runs twice.
    Every SDK does it, which is why this is only a note. A request that never left (nobody listened, no such
    host) is not meant, nor one with an Idempotency-Key.

    > A client SHOULD NOT automatically retry a request with a non-idempotent method unless it has some means
    > to know that the request semantics are actually idempotent, regardless of the method, or some means to
    > detect that the original request was never applied. [...] A proxy MUST NOT automatically retry
    > non-idempotent requests.

    Bad::

        @ recorder: mitmproxy
        @ error: server closed connection
        @ started: 1795144455.0
        @ ended: 1795144465.0
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}

        @ recorder: mitmproxy
        @ started: 1795144466.0
        @ ended: 1795144467.0
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:27 GMT
        < x-request-id: req_0033
        < Content-Length: 288

    Good::

        @ recorder: mitmproxy
        @ error: [Errno 111] Connection refused
        @ started: 1795144455.0
        @ ended: 1795144455.1
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}

        @ recorder: mitmproxy
        @ started: 1795144466.0
        @ ended: 1795144467.0
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:27 GMT
        < x-request-id: req_0034
        < Content-Length: 288
    """
    now = turn.digest
    if now.method != b"POST" or now.idempotency_key is not None:
        return
    row = _attempts(turn)
    if not row or not row[-1].lost or row[-1].unsent:
        return
    if len(row) < 2 or not row[-2].lost:
        yield turn.exchange, f"exchange {row[-1].number} was lost on the way, and is sent again"


@rule("RFC 9110 §9.2.2", "RFC 7231 §4.2.2", severity=WARNING, evidence="flows")
def concurrent_duplicate_request(turn: Turn) -> Hits:
    """The same request was in flight twice at once.

    A client gave up without closing the connection, or two layers retried: the model works twice, and one of
    the answers is thrown away.

    Several rollouts of one prompt are the same request, too, and are meant to run at once. So it counts only
    where something says that both are one: the same session, the same Idempotency-Key, the same request id,
    or a counter of tries that went on.

    > A client SHOULD NOT automatically retry a request with a non-idempotent method unless it has some means
    > to know that the request semantics are actually idempotent, regardless of the method, or some means to
    > detect that the original request was never applied.

    Bad::

        @ started: 1795144455.0
        @ ended: 1795144495.0
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-session-id: conversation-0001
        > x-stainless-retry-count: 0
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:15:15 GMT
        < x-request-id: req_0035
        < Content-Length: 288

        @ started: 1795144485.0
        @ ended: 1795144525.0
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-session-id: conversation-0001
        > x-stainless-retry-count: 1
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:15:15 GMT
        < x-request-id: req_0036
        < Content-Length: 288

    Good::

        @ started: 1795144455.0
        @ ended: 1795144495.0
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-session-id: conversation-0001
        > x-stainless-retry-count: 0
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:15:15 GMT
        < x-request-id: req_0037
        < Content-Length: 288

        @ started: 1795144495.5
        @ ended: 1795144525.0
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-session-id: conversation-0001
        > x-stainless-retry-count: 0
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:15:15 GMT
        < x-request-id: req_0038
        < Content-Length: 288
    """
    now = turn.digest
    if now.started is None or now.request is None or not turn.same_request or now.method in _SAFE:
        return
    beside = [
        d for d in turn.same_request if not d.precedes(now) and d.started is not None and d.ended is not None
    ]
    twins = [digest for digest in beside if not now.precedes(digest) and _are_one(digest, now)]
    if len(twins) == 1:
        first, second = sorted((twins[0], now), key=lambda digest: digest.started or 0)
        yield (
            turn.exchange,
            f"exchange {second.number} began {(second.started or 0) - (first.started or 0):.1f} s after exchange "
            f"{first.number}, the same request, which was not over",
        )


def _are_one(one: Digest, other: Digest) -> bool:
    if one.idempotency_key is not None and one.idempotency_key == other.idempotency_key:
        return True
    if set(one.request_ids) & set(other.request_ids):
        return True
    if (one.retry or 0) != (other.retry or 0) and one.credential == other.credential:
        return one.session == other.session
    return one.session is not None and one.session == other.session


@rule(
    "draft-ietf-httpapi-idempotency-key-header",
    severity=WARNING,
    evidence="flows",
    fields=("idempotency-key",),
)
def idempotency_key_reused(turn: Turn) -> Hits:
    """An Idempotency-Key was reused with different content.

    The server answers with what the first request gave, so that the second is never processed, or refuses it
    with 422. A key that is made per session or per client instead of per request does that. SDKs that retry
    keep the key and the content, which is what it is for.

    > If there is an attempt to reuse an idempotency key with a different request payload, the resource server
    > SHOULD reply with an HTTP 422 status code.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0039
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 68
        > Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"
        >
        > {"model":"m","messages":[{"role":"user","content":"Write a poem."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0040
        < Content-Length: 288

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0041
        < Content-Length: 104

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0042
        < Content-Length: 288
    """
    now = turn.digest
    before = [
        d for d in turn.same_idempotency_key if d.request is not None and d.credential == now.credential
    ]
    if not before or now.request is None:
        return
    if len({digest.request for digest in before}) == 1 and before[0].request != now.request:
        (line, *_) = turn.exchange.request.fields.lines("idempotency-key")
        yield (
            line,
            f"Idempotency-Key {shown(line.name, line.value)} was sent in exchange {before[0].number} with another request",
        )


_WAITS = frozenset({"retry-after", "retry-after-ms", "x-ms-retry-after-ms"})


@rule(
    "RFC 9110 §10.2.3",
    "RFC 9110 §7.6",
    "RFC 7231 §7.1.3",
    severity=WARNING,
    fix="allow-response-headers",
    evidence="legs",
    fields=_WAITS,
)
def retry_after_dropped_by_hop(legs: Legs) -> Hits:
    """A hop removed or renamed Retry-After.

    The client retries at once although the provider named a time. Allow-lists forget it, and LiteLLM passes it
    on as llm_provider-retry-after, which no SDK reads. A hop that answers with a success, after another attempt,
    has no need of it.

    > Servers send the "Retry-After" header field to indicate how long the user agent ought to wait before
    > making a follow-up request.

    Bad, also 429-without-retry-after::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < llm_provider-retry-after: 20
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 20
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 20
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 20
        < Content-Length: 2
    """
    if legs.responses is None:
        return
    came, went = legs.responses
    said = next((line for line in came.fields if line.key in _WAITS), None)
    if said is None or came.status < 400 or went.status < 400 or went.fields.names & _WAITS:
        return
    if legs.declared("response", said.key) or "x-should-retry" in went.fields:
        return
    renamed = next((line for line in went.fields if line.key.endswith("retry-after")), None)
    how = f"calls it {renamed.shown_name}" if renamed is not None else "says nothing of it"
    where = went if renamed is None else renamed
    yield where, f"the upstream said {said.shown_name} {shown(said.name, said.value)}; {legs.hop} {how}"


@rule("RFC 9110 §10.2.3", "RFC 7231 §7.1.3", severity=WARNING, fix="map-status", evidence="legs")
def mapped_status_without_retry_after(legs: Legs) -> Hits:
    """A hop mapped a status to 429 or 503 without Retry-After.

    The client learns that it should wait but not for how long, so each client waits as it likes and all come
    back together. Cody Gateway maps 429 to 503 and adds a Retry-After of its own where the upstream gave none.

    > When sent with a 503 (Service Unavailable) response, Retry-After indicates how long the service is
    > expected to be unavailable to the client.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < X-Upstream-Status: 500
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 10
        < X-Upstream-Status: 500
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 500 Internal Server Error
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    if legs.responses is None:
        return
    came, went = legs.responses
    # Where the upstream had named a time, it was dropped: the rule above.
    told = (went.fields.names | came.fields.names) & _WAITS
    if went.status in (429, 503) and came.status != went.status and came.status >= 400 and not told:
        yield went, f"{legs.hop} made {went.status} of {came.status} and does not say when to try again"


@rule("RFC 9110 §9.2.2", "RFC 7231 §4.2.2", severity=WARNING, fix="tame-retries", evidence="legs")
def retries_multiplied_across_hops(legs: Legs) -> Hits:
    """One client request became several upstream requests, and the client retried as well.

    Retries multiply: 3 tries in the SDK times 3 in the harness make 9 (harbor 0.24.0 with litellm), and a
    gateway that tries three times makes 27. Let one place retry: the one that knows what a retry costs. The
    client's retries are known by x-stainless-retry-count, which the SDKs of OpenAI and Anthropic send, or by
    the same request before it.

    > A proxy MUST NOT automatically retry non-idempotent requests.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-stainless-retry-count: 2
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > x-stainless-retry-count: 2
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > x-stainless-retry-count: 2
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-stainless-retry-count: 0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > x-stainless-retry-count: 0
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > x-stainless-retry-count: 0
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    count = legs.client.request.fields.one("x-stainless-retry-count")
    tries = int(count) if count is not None and count.isdigit() and len(count) < 4 else 0
    tries = max(tries, legs.repeats)
    if tries and len(legs.attempts) > 1:
        upstream = len(legs.attempts)
        product = f"{(tries + 1) * upstream} in all, if each did"
        yield legs.client.request, f"the client's try {tries + 1} became {upstream} upstream: {product}"


@rule("RFC 9110 §10.2.3", "RFC 7231 §7.1.3", severity=NOTE, fields=("retry-after",))
def retry_after_on_wrong_status(response: Response) -> Hits:
    """Retry-After stands on a status that gives it no meaning.

    It says how long a service is unavailable (503, 429 and their kin) or how long to wait before following a
    redirect. On a 200 or a 401 no client reads it: who meant to slow clients down has not done so. 202, where
    polling clients read when to ask again, is customary, and so is any 5xx.

    > When sent with a 503 (Service Unavailable) response, Retry-After indicates how long the service is
    > expected to be unavailable to the client. When sent with any 3xx (Redirection) response, Retry-After
    > indicates the minimum time that the user agent is asked to wait before issuing the redirected request.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 403 Forbidden
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 30
        < Content-Length: 2

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 429 Too Many Requests
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 30
        < Content-Length: 2
    """
    status = response.status
    if not status or 300 <= status <= 399 or status >= 500 or status in _WAITED_FOR:
        return
    for line in response.fields.lines("retry-after")[:1]:
        yield line, f"Retry-After {shown(line.name, line.value)} on a {status}, where nobody reads it"

"""The HTTP APIs of LLMs: their paths, version headers, request ids, and what is in their answers.

Which API a request is for is told by its path (``conformance/llm.py``), so all rules keep quiet about anything
else. What a model answered is read off a table per API, streamed or not; where the recording does not show the
whole answer nothing is said about what is missing from it.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from typing import Any

from conformance import content, known, llm
from conformance.message import Exchange, FieldLine, Request, Response
from conformance.policy import Policy
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown
from conformance.turn import Turn


def _said(text: str, limit: int = 100) -> str:
    """Words out of content, for a sentence."""
    return quoted(mask_text(text[: 4 * limit].encode("utf-8", "replace")), limit)


def _host(exchange: Exchange) -> str:
    """The host that was asked, whatever the Host header says; a recorder knows."""
    if exchange.upstream is not None:
        return exchange.upstream.rpartition(":")[0].lower()
    authority = exchange.request.authority or exchange.request.fields.one("host") or b""
    return authority.decode("latin-1").partition(":")[0].lower()


# ---- requests


@rule("PipedreamHQ/pipedream#9697", "Anthropic API reference: Versions", severity=ERROR,
      breaks=("Anthropic API",))  # fmt: skip
def api_version_missing(exchange: Exchange, policy: Policy) -> Hits:
    """The API version header the upstream requires is missing.

    Anthropic answers 400 without anthropic-version: ``anthropic-version: header is required``. A client that was
    made for a gateway, which adds the header, is pointed at the API itself; or a gateway keeps only the headers it
    knows (envoyproxy/ai-gateway#1909). Which hosts want it is the policy's business: api.anthropic.com does, most
    gateways do not; the profile ``anthropic`` says that whatever is recorded does.

    Bad::

        @ upstream: api.anthropic.com:443
        @ scheme: https
        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        >
        > {"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hi"}]}

    Good::

        @ upstream: api.anthropic.com:443
        @ scheme: https
        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 73
        >
        > {"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hi"}]}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        >
        > {"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hi"}]}
    """
    request = exchange.request
    asked = llm.endpoint(request)
    if asked is None or request.method not in asked.methods:
        return
    if asked.version and asked.version not in request.fields:
        host = _host(exchange)
        if any(fnmatch.fnmatchcase(host, pattern) for pattern in policy.api.version_hosts):
            yield request, f"{asked.version} is missing, and {host or 'the upstream'} requires it"


@rule("RFC 9110 §5.3", "RFC 7230 §3.2.2", severity=ERROR, fix="dedupe-headers", fields=known.API_VERSIONS,
      breaks=("Anthropic API",))  # fmt: skip
def duplicate_api_version(request: Request) -> Hits:
    """The API version header appears more than once.

    The joined value is no version and is answered with 400: ``anthropic-version: "2023-06-01, 2023-06-01" is not a
    valid version``. 9router 0.5.18 added its own line to the client's and so refused every native request
    (decolua/9router#2357).

    > A sender MUST NOT generate multiple field lines with the same name in a message [...]

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > anthropic-version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 73
        >
        > {"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hi"}]}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 73
        >
        > {"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hi"}]}
    """
    for name in known.API_VERSIONS:
        for line in request.fields.lines(name)[1:]:
            first = request.fields.lines(name)[0]
            again = f"{shown(line.name, line.value)} repeats {shown(first.name, first.value)}"
            yield line, f"{line.shown_name} {again}"


_VERSION = re.compile(rb"v[0-9]+(?:beta[0-9]*|alpha[0-9]*)?")
_WORDS = frozenset(
    {b"api", b"openai", b"anthropic", b"chat", b"completions", b"messages", b"responses", b"models"}
)
LONGEST = 3
"""Segments of a repeated prefix that are looked for: /chat/completions/chat/completions, /openai/v1/..."""


@rule("harry0703/MoneyPrinterTurbo#57", "simonlin1212/Vibe-Research#22", severity=WARNING,
      breaks=("OpenAI API",))  # fmt: skip
def duplicated_path_prefix(request: Request) -> Hits:
    """The path repeats a prefix such as /v1/v1 or has an empty segment.

    Base URL and route were joined twice: the upstream answers 404 or 405. Some clients want the base URL with /v1
    (openai-python), others without it (anthropic-sdk-python), and many add it unasked; a whole URL pasted as the base
    gives /v1/chat/completions/chat/completions. nginx merges //, most servers do not.

    Bad::

        > POST /v1/v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
    """
    if llm.endpoint(request) is None:
        return
    segments = request.path.split(b"/")[1:]
    if segments[-1:] == [b""]:
        segments.pop()  # a slash at the end is another matter
    # https:// in a path is how some proxies are told the upstream.
    empty = next((at for at, s in enumerate(segments) if not s and not segments[at - 1].endswith(b":")), None)
    if empty is not None:
        yield request, f"the path has an empty segment: {quoted(mask_text(request.path))}"
        return
    for size in range(1, LONGEST + 1):
        for at in range(len(segments) - 2 * size + 1):
            part = segments[at : at + size]
            if part == segments[at + size : at + 2 * size] and (
                size > 1 or part[0] in _WORDS or _VERSION.fullmatch(part[0])
            ):
                again = quoted(mask_text(b"/" + b"/".join(part)))
                yield request, f"the path repeats {again}: {quoted(mask_text(request.path))}"
                return


_ROOT = re.compile(
    rb"/(?:chat/completions|completions|responses|messages|embeddings|models|audio/transcriptions|images/generations)/?"
)
# A model that does not exist is a 404 too (OpenAI, vLLM); the word in a path is not that (search).
_ABOUT_A_MODEL = re.compile(rb"(?i)(?<![/\w])model(?:s|_not_found)?\b(?!/)")


@rule("OpenHands/OpenHands#485", "siyuan-note/siyuan#7731", severity=WARNING, breaks=("OpenAI API",))
def api_path_prefix_missing(exchange: Exchange) -> Hits:
    """A request was answered 404 because its path lacks the API's prefix.

    The base URL was configured without /v1: OpenAI says ``Invalid URL (POST /chat/completions)``, FastAPI
    ``{"detail":"Not Found"}``, and agents report that the model does not exist. LiteLLM serves the bare paths too,
    which is why it worked until somebody changed the upstream.

    Bad, also error-body-not-api-schema::

        > POST /chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 22
        <
        < {"detail":"Not Found"}

    Good::

        > POST /chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 86
        <
        < {"error":{"message":"The model `m` does not exist","type":"NotFoundError","code":404}}
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status != 404 or request.method not in (b"POST", b"GET"):
        return
    if not _ROOT.fullmatch(request.path) or not content.is_whole(response):
        return
    octets = content.decoded(response)
    if octets is not None and not _ABOUT_A_MODEL.search(octets[:10_000]):
        yield (
            request,
            f"{quoted(mask_text(request.path))} is answered 404: the API's prefix, /v1 as a rule, is missing",
        )


@rule("RFC 9110 §15.4.2", "RFC 9110 §15.4.9", "RFC 7231 §6.4.2", severity=WARNING, fields=("location",),
      breaks=("FastAPI", "httpx", "requests"))  # fmt: skip
def trailing_slash_redirect(exchange: Exchange) -> Hits:
    """A POST was redirected only to add or remove a trailing slash.

    Clients repeat it as GET or refuse to send the credential again; httpx, and so the SDKs, does not follow at all
    unless told to. Starlette and FastAPI do it to every route by default (``redirect_slashes``), and behind a proxy
    that ends TLS they send the client to http:// (fastapi/fastapi#4990).

    > Note: For historical reasons, a user agent MAY change the request method from POST to GET for the subsequent
    > request.

    Bad::

        > POST /v1/chat/completions/ HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 307 Temporary Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: http://api.example/v1/chat/completions
        < Content-Length: 0

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 307 Temporary Redirect
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Location: https://eu.api.example/v1/chat/completions
        < X-Request-Id: req_1
        < Content-Length: 0
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status not in (301, 302, 307, 308) or request.method in (b"GET", b"HEAD"):
        return
    location = response.fields.one("location")
    if location is None:
        return
    target = Request(method=b"GET", target=location, fields=request.fields).path
    if target != request.path and target.rstrip(b"/") == request.path.rstrip(b"/"):
        line = response.fields.lines("location")[0]
        what = "adds" if target.endswith(b"/") else "removes"
        yield line, f"{response.status} to {shown(line.name, line.value)} only {what} a slash"


@rule("RFC 9110 §9.3", "RFC 7231 §4.3", severity=WARNING)
def completion_not_posted(exchange: Exchange) -> Hits:
    """A completion endpoint was called with a method other than POST.

    A redirect or a wrong client setting lost the prompt: browsers, requests and curl -L turn a redirected POST into
    GET. Where a GET is answered with success it is one of the API's own (OpenAI lists stored completions like this).

    > The POST method requests that the target resource process the representation enclosed in the request according
    > to the resource's own specific semantics.

    Bad::

        > GET /v1/messages HTTP/1.1
        > Host: api.example
        < HTTP/1.1 405 Method Not Allowed
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Allow: POST
        < Content-Type: application/json
        < Content-Length: 88
        <
        < {"type":"error","error":{"type":"invalid_request_error","message":"Method Not Allowed"}}

    Good::

        > GET /v1/chat/completions?limit=2 HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 44
        <
        < {"object":"list","data":[],"has_more":false}
    """
    request, response = exchange.request, exchange.response
    asked = llm.endpoint(request)
    if asked is None or asked.name not in llm.FORMATS or request.method in asked.methods:
        return
    if request.method in (b"OPTIONS", b"HEAD", b"CONNECT") or (
        response is not None and 200 <= response.status < 300
    ):
        return
    yield request, f"{quoted(request.method, 20)} {quoted(mask_text(request.path))}: this operation is a POST"


@rule(
    "RFC 8259 §3", severity=WARNING, evidence="body", breaks=("sglang-router", "Go gateways", "Rust gateways")
)
def stream_flag_not_boolean(request: Request) -> Hits:
    """The stream field of a request is not a boolean.

    Gateways that test for truth stream on the text false, others answer 422. vLLM takes ``"true"`` and ``"false"`` and
    OpenAI neither (vllm-project/vllm#1273); SGLang takes ``"True"`` and sglang-router in front of it does not
    (sgl-project/sglang#27357). null is as good as nothing.

    > A JSON value MUST be an object, array, number, or string, or one of the following three literal names:

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 74
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":"false"}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 72
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":false}
    """
    form = llm.answers(request)
    asked = content.document(request) if form is not None and form.asks == "member" else None
    flag = asked.get("stream") if isinstance(asked, dict) else None
    if flag is not None and not isinstance(flag, bool):
        yield request, f'"stream" is {_said(json.dumps(flag), 40)}, which is no boolean'


# ---- errors


@rule("RFC 9110 §15", "RFC 7231 §6", severity=WARNING, evidence="body", fields=("content-type",))
def error_object_in_200(exchange: Exchange) -> Hits:
    """A 200 response holds a top-level error.

    Retry, fallback and billing look at the status and count a success; the SDK builds an answer without choices and
    the agent fails on None. Gateways that answer in another format than they ask lose the status on the way.

    > The status code of a response is a three-digit integer code that describes the result of the request and the
    > semantics of the response, including whether the request was successful and what content is enclosed (if any).

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 80
        <
        < {"error":{"message":"Provider returned error","type":"server_error","code":502}}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 80
        <
        < {"error":{"message":"Provider returned error","type":"server_error","code":502}}
    """
    response = exchange.response
    if response is None or response.status != 200 or llm.endpoint(exchange.request) is None:
        return
    media = content.media_type(response)
    if media is None or not content.is_json(media):
        return
    error = llm.error_in(content.document(response))
    if error is not None:
        yield response, f"the status is 200 and the content an error: {_said(error)}"


@rule("RFC 9457 §1", severity=WARNING, evidence="headers + body")
def error_body_not_api_schema(exchange: Exchange) -> Hits:
    """An error response does not have the API's error schema.

    SDKs show an empty message; usually a hop answered in the provider's place with HTML. They read ``error.message``
    and ``error.type`` (OpenAI, Anthropic, Gemini), or the same at the top (vLLM): from sglang-router 0.3.2's empty
    401, FastAPI's ``detail`` or an nginx page they learn neither what is wrong nor whether to try again.

    > HTTP status codes (Section 15 of [HTTP]) cannot always convey enough information about errors to be helpful.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/html
        < Content-Length: 93
        <
        < <html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 502 Bad Gateway
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 90
        <
        < {"error":{"message":"no healthy upstream","type":"server_error","param":null,"code":null}}
    """
    request, response = exchange.request, exchange.response
    if response is None or response.status < 400 or response.body is None:
        return
    asked = llm.endpoint(request)
    if (
        asked is None
        or asked.name not in llm.FORMATS
        or request.method != b"POST"
        or not content.is_whole(response)
    ):
        return
    media = content.media_type(response)
    octets = content.decoded(response)
    # An event stream, declared or not, is another rule's; Problem Details say what is wrong in their own way.
    if octets is None or media in _OTHER_ERRORS or content.kind(octets) == "event-stream":
        return
    found = content.json_of(response) if octets else None
    if found is None and octets[:1] in (b"{", b"["):
        return  # too much for us
    if found is not None and _has_message(found.value):
        return
    looks = (
        "empty" if not octets.strip() else f"{media.decode('ascii', 'replace') if media else 'of no type'}"
    )
    what = "" if not octets.strip() else f": {_said(octets[:400].decode('utf-8', 'replace'), 80)}"
    yield response, f"{response.status} whose content is {looks}{what}"


_OTHER_ERRORS = frozenset(
    {b"text/event-stream", b"application/problem+json", b"application/vnd.amazon.eventstream"}
)


def _has_message(said: Any) -> bool:
    """Whether SDKs find what they show: ``error.message``, or ``message`` at the top (openai-python's APIError)."""
    if isinstance(said, list):
        return bool(said) and _has_message(said[0])
    if not isinstance(said, dict):
        return False
    error = said.get("error", said)
    # Bedrock and API Gateway write it with a capital.
    return isinstance(error, dict) and any(
        isinstance(error.get(n), str) and error[n] for n in ("message", "Message")
    )


@rule("RFC 9110 §15.5.1", "RFC 7231 §6.5.1", severity=NOTE, evidence="body",
      breaks=("OpenAI API", "Anthropic API", "Gemini API"))  # fmt: skip
def body_field_rejected_by_upstream(exchange: Exchange) -> Hits:
    """The upstream refused a field of the request by name.

    A gateway or harness adds fields that this provider does not know: ``top_k`` and ``chat_template_kwargs`` are vLLM's,
    ``session_id`` is harbor's, which asks again without it; others give up, and the user reads a name he never wrote.

    > The 400 (Bad Request) status code indicates that the server cannot or will not process the request due to
    > something that is perceived to be a client error (e.g., malformed request syntax, invalid request message framing,
    > or deceptive request routing).

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 68
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"top_k":20}
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 100
        <
        < {"error":{"message":"Unrecognized request argument supplied: top_k","type":"invalid_request_error"}}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 96
        <
        < {"error":{"message":"'messages' must hold at least one message","type":"invalid_request_error"}}
    """
    response = exchange.response
    if response is None or response.status not in (400, 422) or llm.endpoint(exchange.request) is None:
        return
    asked, said = content.document(exchange.request), content.document(response)
    if not isinstance(asked, dict) or not isinstance(said, dict | list):
        return
    octets = (content.decoded(response) or b"")[:20_000].replace(b'\\"', b'"')
    for pattern in _REFUSED:
        for found in pattern.finditer(octets):
            name = found["name"].decode("utf-8", "replace").partition(".")[0].partition("[")[0]
            if name in asked:
                yield (
                    response,
                    f"the upstream refuses the request's member {_said(name, 60)}: {_said(_about(said))}",
                )
                return


def _about(said: Any) -> str:
    return llm.error_in(said) or json.dumps(said)


# What providers say of a member they do not know (search; the quotes' backslashes are gone).
_NAME = rb"""['"`]?(?P<name>[A-Za-z_][\w.\[\]\-]*)"""
_REFUSED = tuple(
    re.compile(pattern)
    for pattern in (
        rb"(?i)unrecognized request arguments? supplied: " + _NAME,  # OpenAI chat completions, Azure
        # OpenAI Responses and others
        rb"(?i)(?:unknown|unsupported|unrecognized) (?:parameter|argument|field|key)s?:? " + _NAME,
        rb"(?i)unknown name " + _NAME,  # Gemini
        rb"(?i)property " + _NAME,  # Groq: property 'x' is unsupported
        rb"(?i)unexpected keyword argument " + _NAME,
        rb"(?i)extra inputs are not permitted, field: " + _NAME,
        # Anthropic and everything on pydantic: "session_id: Extra inputs are not permitted"
        rb"(?P<name>[A-Za-z_][\w.\-]{0,100}): Extra inputs are not permitted",
        rb"""["']extra_forbidden["'],\s*["']loc["']:\s*\[["']body["'],\s*["'](?P<name>[\w\-]+)""",
    )
)


# ---- what the model answered


def _reply(exchange: Exchange) -> llm.Reply | None:
    """A whole answer without an error in it."""
    reply = llm.reply(exchange) if exchange.request.method == b"POST" else None
    return reply if reply is not None and reply.is_whole and reply.error is None else None


@rule("RFC 9110 §15.3.1", "RFC 7231 §6.3.1", severity=WARNING, evidence="body", fields=("content-type",))
def empty_completion(exchange: Exchange) -> Hits:
    """A 200 completion has no content and no error.

    The agent loop ends or spins without a reason: there is no text, no call, not even a thought, and the model is
    said to have stopped by itself. Gateways that fail to translate a provider's answer produce it; miles' session
    server gave 27 of 27 trials a single empty step (radixark/miles#1828). Where the finish reason gives the cause (length,
    content_filter, a block) nothing is said.

    > The 200 (OK) status code indicates that the request has succeeded.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 117
        <
        < {"id":"c1","model":"m","choices":[
        < {"index":0,"message":{"role":"assistant","content":null},"finish_reason":"stop"}]}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 117
        <
        < {"id":"c1","model":"m","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}
    """
    reply = _reply(exchange)
    if reply is None or reply.speaks or reply.calls:
        return
    # Without a reason it broke off, which is for others to say.
    if reply.finish and all(reason in reply.format.plain for reason in reply.finish.values()):
        assert exchange.response is not None
        reasons = ", ".join(sorted(set(reply.finish.values())))
        yield exchange.response, f"the answer is empty and the reason for its end is {_said(reasons, 40)}"


@rule("microsoft/foundry-local#423", "OpenAI API reference: The chat completion chunk object", severity=WARNING,
      evidence="body", fields=("content-type",), breaks=("GitHub Copilot SDK",))  # fmt: skip
def finish_reason_missing(exchange: Exchange) -> Hits:
    """A completion ends without a finish reason.

    Agents cannot tell stop from length or tool calls, so a cut answer is taken as final; the Copilot SDK never resolves
    its promise (microsoft/foundry-local#423). A stream that is cut between two events looks like this, too.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: [DONE]
        <
        <

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]
        <
        <
    """
    reply = _reply(exchange)
    if reply is None or (reply.finish and all(reply.finish.values())):
        return
    assert exchange.response is not None
    pieces = llm.pieces(exchange.response)
    if pieces and reply.format.closes and not any(piece.type in reply.format.closes for piece in pieces):
        return  # terminal-event-missing
    missing = [key for key, reason in reply.finish.items() if not reason]
    which = f" of choice {missing[0][0]}" if missing and missing[0] and len(reply.finish) > 1 else ""
    yield exchange.response, f"the answer{which} ends without a finish reason"


@rule("RFC 8259 §2", severity=WARNING, evidence="body", fields=("content-type",))
def tool_arguments_not_json(exchange: Exchange) -> Hits:
    """The arguments of a tool call are not JSON when put together.

    A hop lost or reordered deltas, or the model was cut: the tool call fails. Servers that send the whole arguments
    again at the end give ``{"a":1}{"a":1}`` (mudler/cogito#66); vLLM's /v1/messages lost the first delta
    (vllm-project/vllm#34887). No arguments at all are taken for ``{}`` by most clients, and by this rule.

    > A JSON text is a serialized value.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"tool_calls":[
        < data: {"index":0,"id":"call_1","function":{"name":"read","arguments":"{\\"path\\":"}}]}}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}
        <
        < data: [DONE]
        <
        <

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"tool_calls":[
        < data: {"index":0,"id":"call_1","function":{"name":"read","arguments":"{\\"path\\":"}}]}}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"tool_calls":[
        < data: {"index":0,"function":{"arguments":"\\"a\\"}"}}]}}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}
        <
        < data: [DONE]
        <
        <
    """
    reply = _reply(exchange)
    if reply is None or not reply.calls:
        return
    for call in reply.calls:
        if not isinstance(call.arguments, str) or not call.arguments.strip():
            continue
        try:
            json.loads(call.arguments)
        except (ValueError, RecursionError):
            assert exchange.response is not None
            reason = ", ".join(sorted(set(filter(None, reply.finish.values())))) or "none"
            yield (
                exchange.response,
                (
                    f"the arguments of {_said(call.name or 'a tool call', 60)} are not JSON: "
                    f"{_said(call.arguments, 60)} (finish reason: {_said(reason, 40)})"
                ),
            )


@rule("OpenAI API reference: Chat Completions, stream_options", "kaitranntt/ccs#1574", severity=NOTE,
      evidence="body", fields=("content-type",))  # fmt: skip
def usage_missing(exchange: Exchange) -> Hits:
    """A stream lacks the usage the request asked for.

    Costs and context limits are computed wrongly: the status line shows 0 tokens, and the agent does not know when
    to compact. A hop drops ``stream_options``, or the last event, whose ``choices`` is empty.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 111
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]
        <
        <

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 111
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: {"id":"c1","model":"m","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":1}}
        <
        < data: [DONE]
        <
        <
    """
    if not llm.wants_stream(exchange.request):
        return
    asked = content.document(exchange.request)
    options = asked.get("stream_options") if isinstance(asked, dict) else None
    if not isinstance(options, dict) or options.get("include_usage") is not True:
        return
    reply = _reply(exchange)
    if (
        reply is not None
        and not reply.has_usage
        and exchange.response is not None
        and llm.pieces(exchange.response)
    ):
        yield (
            exchange.response,
            "the request asks for usage (stream_options.include_usage) and no event has it",
        )


# What vendors add to a model's name: a date, a version, latest. Not mini, flash or turbo: those are other models.
_SAME = re.compile(
    r"(?i)(?:[-@:._/](?:v?[0-9][0-9a-z.:\-]*+|latest|preview|exp(?:erimental)?|stable|free|beta))*"
)
_ROUTERS = frozenset({"auto", "default", "router", "automatic", "best", "any"})
"""Names that ask for a choice."""


@rule("icebear0828/codex-proxy#660", "mnfst/llm-gateway#2620", severity=NOTE, evidence="body",
      fields=("content-type",))  # fmt: skip
def served_model_differs(exchange: Exchange) -> Hits:
    """The response names another model than the request.

    A silent fallback or alias changed the model: quality, price and context window are others than the agent thinks.
    Gateways that do not know a name serve their default without a word (icebear0828/codex-proxy#660). Dates, versions
    and vendors' prefixes make no difference here.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 62
        >
        > {"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 138
        <
        < {"id":"c1","model":"gpt-4o-mini-2024-07-18","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 69
        >
        > {"model":"openai/gpt-4o","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 133
        <
        < {"id":"c1","model":"gpt-4o-2024-08-06","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}
    """
    reply = llm.reply(exchange)
    if reply is None or reply.model is None or reply.error is not None:
        return
    wanted = llm.wanted_model(exchange.request)
    if wanted is None or wanted.rpartition("/")[2].lower() in _ROUTERS or _same(wanted, reply.model):
        return
    assert exchange.response is not None
    yield (
        exchange.response,
        f"the request asks for model {_said(wanted, 60)} and {_said(reply.model, 60)} answers",
    )


def _same(wanted: str, served: str) -> bool:
    """Whether two names may be one model's: vendors in front and versions behind are not looked at."""
    shorter, longer = sorted((_core(wanted), _core(served)), key=len)
    at = longer.find(shorter)
    if at < 0:
        return False
    # us.anthropic.claude-..., publishers/google/models/...: whatever is in front ends at a separator.
    front, behind = longer[:at], longer[at + len(shorter) :]
    return (not front or front[-1] in "./:@") and _SAME.fullmatch(behind) is not None


def _core(name: str) -> str:
    name = name.strip().lower().rpartition("/")[2]
    for suffix in ("-latest", ":latest", ":free"):
        name = name.removesuffix(suffix)
    return name


# ---- response headers


@rule("OpenAI API reference: Debugging requests", "Anthropic API reference: Request id", severity=NOTE)
def request_id_missing(exchange: Exchange, policy: Policy) -> Hits:
    """The response has no request id.

    The exchange cannot be found in the provider's or gateway's logs, and support asks for nothing else. OpenAI sends
    x-request-id, Anthropic request-id, AWS x-amzn-requestid, LiteLLM x-litellm-call-id; vLLM only with
    ``--enable-request-id-headers``. A hop with an allow-list for response headers that forgot it loses it. Which headers
    are due only a profile can say.

    Bad::

        # profile: openai
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example-0001
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 117
        <
        < {"id":"c1","model":"m","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}

    Good::

        # profile: openai
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example-0001
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Content-Length: 117
        <
        < {"id":"c1","model":"m","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}
    """
    response = exchange.response
    names = policy.api.request_ids
    if response is None or not names or llm.answers(exchange.request) is None:
        return
    if not (response.status == 200 or response.status >= 400) or exchange.request.method != b"POST":
        return
    if response.fields.names.isdisjoint(names):
        yield response, f"none of {', '.join(names)} names the request"


_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens", "images", "project-tokens")
_KINDS = {
    name: kind
    for kind in ("limit", "remaining", "reset")
    for name in (
        f"x-ratelimit-{kind}", f"ratelimit-{kind}", f"x-rate-limit-{kind}",
        *(f"x-ratelimit-{kind}-{what}" for what in _LIMITS),
        *(f"anthropic-ratelimit-{what}-{kind}" for what in _LIMITS),
        *(f"x-ratelimit-{kind}-{what}-{span}" for what in ("requests", "tokens") for span in ("minute", "hour", "day")),
    )
}  # fmt: skip
_NUMBER = rb"-?[0-9]+(?:\.[0-9]+)?"
# Go writes 6m0s, 1.5s, 120ms (OpenAI); a timestamp is RFC 3339 (Anthropic); a number seconds or an epoch.
_DURATION = rb"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|\xc2\xb5s|ms|s|m|h|d))+"
_TIMESTAMP = (
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
_HTTP_DATE = rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
# draft-03: RateLimit-Limit: 100, 100;w=60
_QUOTA = rb"%s(?:[ \t]*[,;][^,;]*)*" % _NUMBER
_READS = {
    "limit": re.compile(_QUOTA + rb"|(?i:unlimited|inf(?:inity)?)"),
    "remaining": re.compile(_QUOTA + rb"|(?i:unlimited|inf(?:inity)?)"),
    "reset": re.compile(rb"|".join((_NUMBER, _DURATION, _TIMESTAMP, _HTTP_DATE))),
}


@rule("draft-ietf-httpapi-ratelimit-headers", severity=WARNING, fields=_KINDS)
def rate_limit_header_malformed(response: Response) -> Hits:
    """A rate limit header does not parse.

    Clients that pace themselves by it stop pacing, and NaN is never less than 0. A limit and what remains of it are
    numbers; a reset is seconds or an epoch, a duration like ``6m0s`` (OpenAI) or a timestamp (Anthropic). Two headers
    joined by a hop, a unit behind the number or a rendered object are none of these.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < X-RateLimit-Remaining-Requests: 499 requests
        < Content-Length: 117
        <
        < {"id":"c1","model":"m","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < X-RateLimit-Remaining-Requests: 499
        < X-RateLimit-Reset-Requests: 6m0s
        < Anthropic-RateLimit-Tokens-Reset: 2026-11-20T03:15:00Z
        < Content-Length: 117
        <
        < {"id":"c1","model":"m","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}
    """
    for line, kind in _limits(response):
        # Nothing, and None, are other rules'.
        if line.value and not _READS[kind].fullmatch(line.value) and line.value.lower() not in _NOTHING:
            yield line, f"{line.shown_name} {shown(line.name, line.value)} is no {_IS[kind]}"


_NOTHING = frozenset(
    {b"none", b"null", b"undefined", b"nan", b"nil", b"<nil>", b"(null)", b"[object object]"}
)
_IS = {"limit": "number", "remaining": "number", "reset": "number, duration or time"}


def _limits(response: Response) -> Iterator[tuple[FieldLine, str]]:
    for name in response.fields.names:
        if (kind := _KINDS.get(name)) is not None:
            for line in response.fields.lines(name):
                yield line, kind


@rule(
    "OpenAI API reference: X-Client-Request-Id",
    severity=WARNING,
    evidence="flows",
    fields=("x-request-id", "request-id", "x-client-request-id"),
)
def request_id_reused(turn: Turn) -> Hits:
    """Different requests carry the same request id.

    Logs of all hops show them as one, and a gateway that drops repeated ids drops the second. As a rule the
    id of a session or of a process stands where that of a request should.

    Tries of one request may share an id, and Codex and pi write their thread's id into x-client-request-id on
    purpose: an id that another header of the same request names as its session is theirs.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 70
        > x-request-id: 2d0aca81-5885-4037-b3e6-a510bbe19e9c
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0001
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 68
        > x-request-id: 2d0aca81-5885-4037-b3e6-a510bbe19e9c
        >
        > {"model":"m","messages":[{"role":"user","content":"Write a poem."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0002
        < Content-Length: 288

    Good::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 39
        > x-client-request-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > thread-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        >
        > {"model":"m","input":"List the files."}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0003
        < Content-Length: 288

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 37
        > x-client-request-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > thread-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        >
        > {"model":"m","input":"Write a poem."}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0004
        < Content-Length: 288
    """
    now = turn.digest
    for field, value in now.request_ids:
        # A hop may send several requests for one, under its id: to another path, or again after a failure.
        used = [
            digest
            for digest in turn.same_request_id
            if (field, value) in digest.request_ids
            and digest.path == now.path
            and digest.method == now.method
        ]
        others = [
            digest
            for digest in used
            if None not in (digest.request, now.request) and digest.request != now.request
        ]
        if len({digest.request for digest in used}) != 1 or not others or others[0].failed:
            continue
        names = turn.exchange.request.fields.names & known.SESSION_HEADERS
        if any(
            value.encode("latin-1") in (line.value for line in turn.exchange.request.fields.lines(n))
            for n in names
        ):
            continue
        line = turn.exchange.request.fields.lines(field)[0]
        yield (
            line,
            f"{line.shown_name} {shown(line.name, line.value)} named another request in exchange {others[0].number}",
        )
        return

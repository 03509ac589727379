"""Event streams: how they are announced, the format itself, and the order in which the LLM APIs fill them.

What ends a stream is judged only where the recording shows its end (``llm.is_over``): a client that had enough,
a recording that was stopped and a HAR whose content somebody rebuilt leave the same traces as a server that
broke off. Rules about an API's events keep quiet on streams of anything else, MCP's among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from conformance import content, llm, sse
from conformance.grammar import parameters
from conformance.history import SHOWN
from conformance.message import Exchange, FieldLine, Message, Request, Response
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import mask_text, quoted, shown
from conformance.turn import Turn

_FIELDS = frozenset({b"data", b"event", b"id", b"retry"})
_PINGS = frozenset({b"ping", b"keepalive", b"heartbeat"})


def _declared(exchange: Exchange) -> Response | None:
    """The response, where Content-Type says that it is an event stream."""
    response = exchange.response
    if response is None or exchange.request.method == b"HEAD" or not sse.declared(response):
        return None
    return response


def _is_stream(response: Response) -> bool:
    """Whether the content of a declared stream is one, as far as is known; no content is none."""
    stream = sse.events(response)
    return stream is None or stream.known + stream.comments > 0


def _pieces(exchange: Exchange) -> tuple[llm.Format, tuple[llm.Piece, ...]] | None:
    """The events of a model's answer, where there are any and they are in the format the API has."""
    response = exchange.response
    return (
        None if response is None else content.once(response, "_of_format", lambda _: _find_pieces(exchange))
    )


def _find_pieces(exchange: Exchange) -> tuple[llm.Format, tuple[llm.Piece, ...]] | None:
    response = _declared(exchange)
    form = None if response is None else llm.answers(exchange.request)
    pieces = None if form is None or response is None else llm.pieces(response)
    if form is None or not pieces or not any(llm.is_of(form, piece.said, piece.type) for piece in pieces):
        return None
    return form, pieces


def _ended(exchange: Exchange) -> tuple[llm.Format, tuple[llm.Piece, ...]] | None:
    """The same, where the end of the stream is known, is not cut in an event, and is not an error."""
    response = exchange.response
    return None if response is None else content.once(response, "_ended", lambda _: _find_ended(exchange))


def _find_ended(exchange: Exchange) -> tuple[llm.Format, tuple[llm.Piece, ...]] | None:
    found = _pieces(exchange) if exchange.response is not None and exchange.response.status == 200 else None
    if found is None or exchange.response is None or not llm.is_over(exchange):
        return None
    stream = sse.events(exchange.response)
    if stream is None or stream.pending is not None:
        return None
    if b"error" in (content.decoded(exchange.response) or b"") and any(map(_is_error, found[1])):
        return None
    return found


def _is_error(piece: llm.Piece) -> bool:
    return piece.event.type == b"error" or (
        b"error" in piece.event.data and llm.error_in(piece.said) is not None
    )


def _named(piece: llm.Piece) -> str:
    """An event for a sentence."""
    if piece.is_done:
        return "[DONE]"
    return quoted(piece.type.encode() or piece.event.type or b"data", 60)


def _placed(piece: llm.Piece) -> str:
    """The same, with where it stands."""
    return f"{_named(piece)} (line {piece.event.line} of the content)"


def _content_type(message: Message) -> FieldLine | Message:
    return next(iter(message.fields.lines("content-type")), message)


# ---- how a stream is announced


@rule("HTML §9.2.3", "HTML §9.2.5", severity=ERROR, evidence="headers + body",
      breaks=("openai-python", "EventSource"))  # fmt: skip
def event_stream_with_wrong_content_type(exchange: Exchange) -> Hits:
    """The content is an event stream but Content-Type does not say text/event-stream.

    SDKs and EventSource choose their parser by the media type. openai-python reads anything else that is not JSON
    as text and returns it as the answer; EventSource fails the connection. Vertex AI's agent engine labels its
    streams application/json, on which google-genai raises JSONDecodeError (googleapis/python-genai#2042).

    > This event stream format's MIME type is text/event-stream.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/plain; charset=utf-8
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
    response = exchange.response
    if response is None or not response.body or response.body[0] in b'{[<"' or sse.declared(response):
        return
    if len(response.fields.lines("content-type")) > 1 or not _expects_events(exchange.request):
        return
    octets = content.decoded(response)
    if not octets or content.kind(octets) != "event-stream":
        return
    stream = sse.events(response)
    # YAML and logs may begin like a stream too; then they hold other lines.
    if stream is not None and stream.events and not stream.strayed:
        line = _content_type(response)
        said = shown(line.name, line.value) if isinstance(line, FieldLine) else "missing"
        yield line, f"the content is an event stream ({len(stream.events)} events) and Content-Type is {said}"


def _expects_events(request: Request) -> bool:
    if llm.answers(request) is not None:
        return True
    accepted = request.fields.values("accept")
    return any(member.partition(b";")[0].strip().lower() == sse.MEDIA_TYPE for member in accepted)


@rule("HTML §9.2.3", "HTML §9.2.5", severity=ERROR, evidence="headers + body", fields=("content-type",),
      breaks=("sglang-router 0.3.2 and vllm-router 0.1.17 send it", "openai-python"))  # fmt: skip
def content_type_claims_event_stream(exchange: Exchange) -> Hits:
    """Content-Type says text/event-stream but the content is not an event stream.

    The client waits for events, finds none, and ends with an empty answer; the error in the content is never
    read. sglang-router 0.3.2 and vllm-router 0.1.17 pass on a worker's 401 to a streaming request like this: the JSON
    stays, the media type is the one they meant to stream.

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
        < Transfer-Encoding: chunked
        <
        < {"detail":"Not Found"}

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
    response = _declared(exchange)
    stream = None if response is None else sse.events(response)
    if response is None or stream is None or stream.known + stream.comments:
        return
    octets = (content.decoded(response) or b"").strip()
    # What was cut may have been about to become a field's name.
    if octets and (octets[:1] in b"{[<" or content.is_whole(response)):
        looks = {b"{": "JSON", b"[": "JSON", b"<": "markup"}.get(octets[:1], "other text")
        yield (
            _content_type(response),
            (
                f"Content-Type is text/event-stream and the content is {looks}: {quoted(mask_text(octets[:400]), 60)}"
            ),
        )


@rule("HTML §9.2.3", severity=WARNING, fields=("content-type",), breaks=("EventSource", "openai-python"))
def event_stream_on_error_status(exchange: Exchange) -> Hits:
    """An event stream was sent with a status other than 200.

    EventSource fails the connection, for good; SDKs take the stream for one error body, cannot parse it, and show
    the user raw events.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 5
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < Transfer-Encoding: chunked
        <
        < data: {"error":{"message":"no worker is free","type":"server_error","code":503}}
        <
        <

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 503 Service Unavailable
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Retry-After: 5
        < Content-Type: application/json
        < Cache-Control: no-store
        < X-Request-Id: req_1
        < Content-Length: 74
        <
        < {"error":{"message":"no worker is free","type":"server_error","code":503}}
    """
    response = _declared(exchange)
    if response is None or response.status == 200 or response.status < 200 or 300 <= response.status < 400:
        return
    # 204 has no content, and tells EventSource to stop.
    if response.status not in (204, 205) and _is_stream(response):
        yield (
            _content_type(response),
            f"the status is {response.status} and Content-Type is text/event-stream",
        )


@rule("warpllm/warpllm#26", "OpenAI API reference: Streaming", "Anthropic API reference: Streaming messages",
      severity=ERROR, evidence="headers + body", fields=("content-type",), breaks=("openai-python",))  # fmt: skip
def stream_request_answered_without_stream(exchange: Exchange) -> Hits:
    """The request asked for a stream and got a plain response.

    openai-python's stream iterator finds no events in the JSON and yields nothing, so the turn looks empty. It
    happens where a gateway pops ``stream`` and forgets to render events, or where a hop does not know the flag
    (warpllm/warpllm#26). Errors are judged by error-object-in-200.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
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
        < Content-Length: 117
        <
        < {"id":"c1","model":"m","choices":[
        < {"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}
    """
    response = exchange.response
    if (
        response is None
        or response.status != 200
        or not response.body
        or llm.answers(exchange.request) is None
    ):
        return
    media = content.media_type(response)
    if media is None or media == sse.MEDIA_TYPE or not (content.is_json(media) or media in _PLAIN):
        return
    if not llm.wants_stream(exchange.request) or not content.is_whole(response):
        return
    octets = content.decoded(response)
    if (
        not octets
        or content.kind(octets) == "event-stream"
        or llm.error_in(content.document(response)) is not None
    ):
        return
    yield _content_type(response), f"the request asks for an event stream; the answer is one {media.decode()}"


_PLAIN = frozenset({b"text/html", b"text/plain"})


@rule("BYK/loreai#605", "BerriAI/litellm#28777", severity=ERROR, evidence="headers + body",
      fields=("content-type",), breaks=("openai-python", "google-genai 2.0.0"))  # fmt: skip
def unrequested_event_stream(exchange: Exchange) -> Hits:
    """The response is an event stream the request did not ask for.

    openai-python hands back the raw text and the agent fails with 'str' object has no attribute 'choices';
    JSON.parse fails on ``data:``. DeepSeek has streamed in spite of ``"stream": false`` (BYK/loreai#605);
    LiteLLM 1.86.0 does for streamGenerateContent without ``alt=sse``, on which google-genai 2.0.0 raises
    (BerriAI/litellm#28777).

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 57
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}]}
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
    response = _declared(exchange)
    if response is None or response.status != 200 or llm.wants_stream(exchange.request) is not False:
        return
    stream = sse.events(response)
    if stream is not None and stream.events:
        asks = llm.answers(exchange.request)
        how = "alt=sse in the target" if asks is not None and asks.asks == "target" else '"stream": true'
        yield _content_type(response), f"the answer is an event stream; the request has no {how}"


@rule("HTML §9.2.3", "RFC 9110 §12.5.1", "RFC 7231 §5.3.2", severity=NOTE, evidence="headers + body",
      fields=("accept",))  # fmt: skip
def event_stream_not_accepted(request: Request) -> Hits:
    """A streaming request does not accept text/event-stream.

    Gateways that negotiate on Accept answer without a stream. openai-python and Claude Code 2.1.197 send
    ``Accept: application/json`` with ``"stream": true``, and all the vendors' servers go by the content; so this is a
    thing to know about a client, before somebody puts a server in front of it that takes Accept at its word.

    > The "Accept" header field can be used by user agents to specify their preferences regarding response media
    > types.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Accept: application/json
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Accept: text/event-stream
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
    """
    members = request.fields.values("accept")
    if not members or llm.answers(request) is None or not llm.wants_stream(request):
        return
    for member in members:
        media, _, parameters = member.partition(b";")
        if media.strip().lower() in _ACCEPTING and not _NOTHING.search(parameters):
            return
    line = request.fields.lines("accept")[0]
    yield line, f"the request asks for an event stream and accepts {shown(line.name, line.value)}"


_ACCEPTING = frozenset({sse.MEDIA_TYPE, b"text/*", b"*/*", b"*"})
# qvalue = "0" [ "." 0*3("0") ]                                                     (RFC 9110 §12.4.2; search)
_NOTHING = re.compile(rb"(?i)(?:^|;)[ \t]*q=0(?:\.0*)?[ \t]*(?:;|\Z)")


@rule("RFC 9110 §8.6", "RFC 9112 §6.2", "RFC 7230 §3.3.2", severity=WARNING, fields=("content-length",),
      verbatim=True, breaks=("braintrust-proxy",))  # fmt: skip
def content_length_on_event_stream(exchange: Exchange) -> Hits:
    """An event stream carries Content-Length.

    Nobody knows the length of an answer that is still being written: a hop has collected the whole stream before
    it passed anything on, so that the first token comes with the last, or has left another body's length there,
    and the client waits for octets that never come. braintrust-proxy hung for 60 seconds on it
    (braintrustdata/braintrust-proxy#1124); gateways that render a finished answer as one event send it too.

    > Aside from the cases defined above, in the absence of Transfer-Encoding, an origin server SHOULD send a
    > Content-Length header field when the content size is known prior to sending the complete header section.

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
        < Content-Length: 204
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
    response = _declared(exchange)
    if response is None or response.status != 200 or not response.verbatim:
        return
    lines = response.fields.lines("content-length")
    if lines and lines[0].value.strip(b"0 ") and _is_stream(response):
        yield lines[0], f"Content-Length: {shown(lines[0].name, lines[0].value, 30)} on an event stream"


_UNCACHED = (b"no-store", b"no-cache", b"private")


def _directives(response: Response) -> list[bytes]:
    return [value.partition(b"=")[0].strip().lower() for value in response.fields.values("cache-control")]


@rule("HTML §9.2.3", "HTML §9.2.7", "RFC 9111 §5.2.2", "RFC 7234 §5.2.2", severity=WARNING,
      fields=("content-type",))  # fmt: skip
def cache_control_missing_on_event_stream(exchange: Exchange) -> Hits:
    """An event stream does not forbid caching.

    Caches and company proxies hold the stream back to store it, and those that give every response without
    Cache-Control a life of their own choosing may answer the next request with it. OpenAI's and Anthropic's servers
    send no-cache; what runs on FastAPI's StreamingResponse (vLLM, SGLang, many gateways) sends nothing unless told
    to.

    > The no-store response directive indicates that a cache MUST NOT store any part of either the immediate request
    > or the response and MUST NOT use the response to satisfy any other request.

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
    response = _declared(exchange)
    if response is None or response.status != 200 or not _is_stream(response):
        return
    directives = _directives(response)
    if not any(directive in _UNCACHED for directive in directives):
        lines = response.fields.lines("cache-control")
        said = (
            f"has Cache-Control: {shown(lines[0].name, lines[0].value)}" if lines else "has no Cache-Control"
        )
        yield (
            lines[0] if lines else _content_type(response),
            f"the event stream {said}: no-store or no-cache is due",
        )


@rule("RFC 9111 §5.2.2.6", "RFC 7234 §5.2.2.4", severity=NOTE, fields=("content-type",), breaks=("nginx",))
def buffering_hint_missing_on_event_stream(exchange: Exchange) -> Hits:
    """An event stream does not tell proxies not to buffer.

    nginx collects events and delivers them in bursts unless ``X-Accel-Buffering: no`` says no (or its configuration
    does); others compress, and so collect, unless ``Cache-Control: no-transform`` forbids it.

    > The no-transform response directive indicates that an intermediary (regardless of whether it implements a
    > cache) MUST NOT transform the content, as defined in Section 7.7 of [HTTP].

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
    response = _declared(exchange)
    if response is None or response.status != 200 or not _is_stream(response):
        return
    hint = (response.fields.one("x-accel-buffering") or b"").strip().lower()
    if hint != b"no" and b"no-transform" not in _directives(response):
        yield _content_type(response), "the event stream has neither X-Accel-Buffering: no nor no-transform"


@rule("RFC 9110 §8.4", "RFC 7231 §3.1.2.2", severity=WARNING, fields=("content-encoding",),
      breaks=("Claude Code 2.1.197", "gemini-cli 0.61.0", "opencode 1.18.33", "aider 0.86.2"))  # fmt: skip
def compressed_event_stream(exchange: Exchange) -> Hits:
    """An event stream is compressed.

    A compressor holds back what it has not compressed yet, so events arrive late and in bursts; and a hop that
    decodes the content but leaves the field gives the client text to decompress, on which every agent but Codex
    fails.

    > The "Content-Encoding" header field indicates what content codings have been applied to the representation,
    > beyond those inherent in the media type, and thus what decoding mechanisms have to be applied in order to obtain
    > data in the media type referenced by the Content-Type header field.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Accept-Encoding: gzip
        > Content-Type: application/json
        > Content-Length: 71
        >
        > {"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Content-Encoding: gzip
        < Vary: Accept-Encoding
        < Cache-Control: no-store
        < Transfer-Encoding: chunked

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
    response = _declared(exchange)
    if response is not None and response.body != b"" and (codings := content.codings(response)):
        line = response.fields.lines("content-encoding")[0]
        yield line, f"the event stream is compressed: {shown(b'', b', '.join(codings))}"


# ---- the format


@rule("HTML §9.2.5", severity=ERROR, evidence="body", fields=("content-type",))
def event_stream_not_utf8(exchange: Exchange) -> Hits:
    """An event stream is not valid UTF-8.

    A hop cut a character at the border of two chunks, or wrote text in its own encoding: strict decoders (httpx's
    for one) raise in mid-stream, others put U+FFFD in the place of what was said.

    > Event streams in this format must always be encoded as UTF-8.

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
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"caf\\xe9"},"finish_reason":null}]}
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
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"caf\\xc3\\xa9"},"finish_reason":null}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]
        <
        <
    """
    response = _declared(exchange)
    octets = None if response is None else content.decoded(response)
    if response is None or octets is None or not _is_stream(response):
        return
    at = sse.undecodable(octets, partial=not llm.is_over(exchange))
    if at is not None:
        line = octets.count(b"\n", 0, at) + 1
        around = quoted(mask_text(octets[max(0, at - 20) : at + 5]), 60)
        yield response, f"octet {at} of the content (line {line}) is not UTF-8: {around}"


def _strays(exchange: Exchange) -> Iterator[tuple[Response, sse.Line, bool]]:
    """The first few lines with an unknown field, and whether only whitespace keeps it from being known."""
    response = _declared(exchange)
    stream = None if response is None else sse.events(response)
    if response is None or stream is None or not stream.strayed or not stream.known + stream.comments:
        return  # without any field it is no event stream at all
    octets = content.decoded(response) or b""
    for line in stream.strays:
        if line.start + len(line.text) == len(octets) and not llm.is_over(exchange):
            continue  # cut off: nobody knows what it was to be
        yield response, line, line.text.partition(b":")[0].strip(b" \t") in _FIELDS


@rule("HTML §9.2.5", "HTML §9.2.6", severity=WARNING, evidence="body", fields=("content-type",))
def unknown_event_stream_field(exchange: Exchange) -> Hits:
    """A stream line starts with no known field name.

    Parsers ignore the line: data is lost without an error. It is what becomes of JSON that is printed over several
    lines behind one ``data:``, and of an error that a server or a proxy writes into a stream that has begun.

    > Otherwise: The field is ignored.

    Bad, also event-data-not-json::

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
        < data: {
        <   "id": "c1", "model": "m", "choices": []
        < }
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
        < : OPENROUTER PROCESSING
        <
        < data: {
        < data:   "id": "c1", "model": "m", "choices": []
        < data: }
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]
        <
        <
    """
    strays = [(response, line) for response, line, is_known in _strays(exchange) if not is_known]
    if strays:
        response, line = strays[0]
        text = quoted(mask_text(line.text[:400]), 60)
        more = f"; {len(strays) - 1} more lines like it" if len(strays) > 1 else ""
        yield (
            response,
            f"line {line.number} of the content has no field of the format and is ignored: {text}{more}",
        )


@rule("HTML §9.2.6", severity=ERROR, evidence="body", fields=("content-type",))
def space_around_event_field_name(exchange: Exchange) -> Hits:
    """A stream field name has whitespace before it or before its colon.

    The name is everything before the colon, so ``data : x`` and an indented ``data: x`` are fields that nobody knows.
    Parsers ignore the line, and the event silently disappears. Clients that trim lines read it, which is how it
    stays unnoticed.

    > Collect the characters on the line before the first U+003A COLON character (:), and let field be that string.

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
        <  data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"!"},"finish_reason":null}]}
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
        < data:{"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]
        <
        <
    """
    strays = [(response, line) for response, line, is_known in _strays(exchange) if is_known]
    if strays:
        response, line = strays[0]
        text = quoted(mask_text(line.text[:400]), 60)
        more = f"; {len(strays) - 1} more lines like it" if len(strays) > 1 else ""
        yield (
            response,
            f"line {line.number} of the content has whitespace around the name of its field: {text}{more}",
        )


@rule("HTML §9.2.6", severity=ERROR, evidence="body", fields=("content-type",),
      breaks=("EventSource", "openai-python", "anthropic-sdk-python"))  # fmt: skip
def unterminated_event(exchange: Exchange) -> Hits:
    """The last event has no empty line after it.

    Parsers discard it at the end of the stream: the final delta, the usage or [DONE] is lost. Servers that write a
    line feed before each event instead of behind it do this to the last one.

    > Once the end of the file is reached, any pending data must be discarded. (If the file ends in the middle of an
    > event, before the final empty line, the incomplete event is not dispatched.)

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
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]

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
    response = _declared(exchange)
    stream = None if response is None else sse.events(response)
    if response is not None and stream is not None and stream.pending is not None and llm.is_over(exchange):
        lost = stream.pending
        data = quoted(mask_text(lost.data[:400]), 60)
        yield (
            response,
            f"no empty line ends the last event (line {lost.line} of the content), so it is lost: {data}",
        )


# ---- what the APIs put in


@rule("RFC 8259 §2", severity=ERROR, evidence="body", fields=("content-type",),
      breaks=("openai-python", "anthropic-sdk-typescript"))  # fmt: skip
def event_data_not_json(exchange: Exchange) -> Hits:
    """The data of an event is not JSON on a JSON API.

    SDKs raise on the event and drop the rest of the stream: openai-python with ``JSONDecodeError: Expecting value:
    line 1 column 1 (char 0)`` also where the data is empty (theopenco/llmgateway#2282). A hop cut the line, wrote its
    own error as text, or prints Python's ``None`` and ``'``. Pings may hold anything.

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
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: upstream connect error or disconnect/reset before headers
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
    response = _declared(exchange)
    if response is None or llm.answers(exchange.request) is None:
        return
    pieces = llm.pieces(response) or ()
    broken = [
        (number, piece)
        for number, piece in enumerate(pieces, 1)
        if piece.is_json is False and not piece.is_done and piece.event.type not in _PINGS
    ]
    if broken:
        number, piece = broken[0]
        data = quoted(mask_text(piece.event.data[:400]), 60) if piece.event.data else "empty"
        more = f"; {len(broken) - 1} more like it" if len(broken) > 1 else ""
        yield response, f"the data of event {number} (line {piece.event.line}) is not JSON: {data}{more}"


@rule("OpenAI API reference: Chat Completions, stream", "Buddy2api#69", severity=WARNING, evidence="body",
      fields=("content-type",))  # fmt: skip
def done_marker_missing(exchange: Exchange) -> Hits:
    """A chat-completions stream ends without data: [DONE].

    Clients that wait for the marker hang or report a broken stream, and a cut answer looks complete: a connection
    that breaks between two events leaves nothing else to see (wicm84266964/Buddy2api#69 turned such streams into
    ``finish_reason: stop``).

    > Tokens will be sent as data-only server-sent events as they become available, with the stream terminated by a
    > data: [DONE] message.

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
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
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
    found = _ended(exchange)
    if found is not None and found[0].done and not any(piece.is_done for piece in reversed(found[1])):
        assert exchange.response is not None
        yield exchange.response, f"the stream of {len(found[1])} events ends without data: [DONE]"


@rule("Anthropic API reference: Streaming messages", "Gemini API reference: streamGenerateContent",
      severity=WARNING, evidence="body", fields=("content-type",), breaks=("google-genai",))  # fmt: skip
def unexpected_done_marker(exchange: Exchange) -> Hits:
    """A stream that ends with a typed event also sends data: [DONE].

    SDKs for that API parse the marker as JSON and raise: google-genai gives every ``data:`` to json.loads. A gateway
    that translates to or from chat completions forgot where it was. Not so for the Responses API: OpenAI sends
    none, the Open Responses specification wants one, and clients take both.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: message_start
        < data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","model":"m","content":[]}}
        <
        < event: content_block_start
        < data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
        <
        < event: content_block_delta
        < data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
        <
        < event: content_block_stop
        < data: {"type":"content_block_stop","index":0}
        <
        < event: message_delta
        < data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}
        <
        < event: message_stop
        < data: {"type":"message_stop"}
        <
        < data: [DONE]
        <
        <

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: message_start
        < data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","model":"m","content":[]}}
        <
        < event: content_block_start
        < data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
        <
        < event: content_block_delta
        < data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
        <
        < event: content_block_stop
        < data: {"type":"content_block_stop","index":0}
        <
        < event: message_delta
        < data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}
        <
        < event: message_stop
        < data: {"type":"message_stop"}
        <
        <
    """
    found = _pieces(exchange)
    if found is None or found[0].done is not False:
        return
    for piece in found[1]:
        if piece.is_done:
            assert exchange.response is not None
            yield (
                exchange.response,
                f"data: [DONE] (line {piece.event.line} of the content) in a stream of {found[0].name}",
            )
            return


@rule("router-for-me/CLIProxyAPI#4760", "MoonshotAI/kosong#60", "Anthropic API reference: Streaming messages",
      severity=ERROR, evidence="body", fields=("content-type",), breaks=("Codex",))  # fmt: skip
def terminal_event_missing(exchange: Exchange) -> Hits:
    """A typed stream ends without its closing event.

    Codex reports ``stream closed before response.completed`` and repeats the turn; other clients lose usage and stop
    reason, and take half an answer for the whole (MoonshotAI/kosong#60). Behind it is a hop with an idle timeout, a
    gateway that answered its own error with the end of the stream, or a translation that leaves the event out.

    Bad::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 40
        >
        > {"model":"m","input":"Hi","stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: response.created
        < data: {"type":"response.created","response":{"id":"r1","status":"in_progress","model":"m","output":[]}}
        <
        < event: response.output_text.delta
        < data: {"type":"response.output_text.delta","item_id":"i1","output_index":0,"delta":"Hi"}
        <
        <

    Good::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 40
        >
        > {"model":"m","input":"Hi","stream":true}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: response.created
        < data: {"type":"response.created","response":{"id":"r1","status":"in_progress","model":"m","output":[]}}
        <
        < event: response.output_text.delta
        < data: {"type":"response.output_text.delta","item_id":"i1","output_index":0,"delta":"Hi"}
        <
        < event: response.completed
        < data: {"type":"response.completed","response":{"id":"r1","status":"completed","model":"m","output":[
        < data: {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi"}]}]}}
        <
        <
    """
    found = _ended(exchange)
    if found is None or not found[0].closes or any(piece.type in found[0].closes for piece in found[1]):
        return
    if any(piece.type for piece in found[1]):
        assert exchange.response is not None
        due = " or ".join(sorted(found[0].closes))
        yield exchange.response, f"the stream ends with {_named(found[1][-1])} and without {due}"


@rule("katanemo/plano#898", "Th0rgal/sandboxed.sh#389", severity=WARNING, evidence="body",
      fields=("content-type",), breaks=("Claude Code",))  # fmt: skip
def event_after_terminal_event(exchange: Exchange) -> Hits:
    """Events follow the event that closes the stream.

    Clients that stopped reading leave bytes on the connection and cannot use it again; others append to a closed
    answer. Claude Code fails on a second message_stop with ``Received message_stop without a current message``
    (katanemo/plano#898). Two hops each closed the stream, or one closes it twice.

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
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]
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
    found = _pieces(exchange)
    if found is None:
        return
    form, pieces = found
    closed: llm.Piece | None = None
    for piece in pieces:
        if closed is not None and (closed.is_done or _is_part(form, piece)):
            assert exchange.response is not None
            yield (
                exchange.response,
                f"{_placed(piece)} follows {_named(closed)}",
            )
            return
        if piece.is_done or piece.type in form.closes:
            closed = piece


def _is_part(form: llm.Format, piece: llm.Piece) -> bool:
    """Whether the event is one of those between opening and close, both included."""
    kind = piece.type
    return bool(kind) and (kind == form.opens or kind in form.closes or kind.startswith(form.within))


@rule("Anthropic API reference: Streaming messages", "katanemo/plano#898", severity=ERROR, evidence="body",
      fields=("content-type",), breaks=("anthropic-sdk-python", "anthropic-sdk-typescript"))  # fmt: skip
def event_stream_out_of_order(exchange: Exchange) -> Hits:
    """An event arrives before its opening event or opens twice.

    anthropic-sdk-python raises ``Unexpected event order, got content_block_start before "message_start"`` when
    anything precedes message_start, and anthropic-sdk-typescript also when it comes twice. A delta for a block that
    was not begun is an IndexError there. Gateways that translate from chat completions invent these events.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: content_block_start
        < data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
        <
        < event: message_start
        < data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","model":"m","content":[]}}
        <
        < event: content_block_delta
        < data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
        <
        < event: content_block_stop
        < data: {"type":"content_block_stop","index":0}
        <
        < event: message_delta
        < data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}
        <
        < event: message_stop
        < data: {"type":"message_stop"}
        <
        <

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: message_start
        < data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","model":"m","content":[]}}
        <
        < event: ping
        < data: {"type":"ping"}
        <
        < event: content_block_start
        < data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
        <
        < event: content_block_delta
        < data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
        <
        < event: content_block_stop
        < data: {"type":"content_block_stop","index":0}
        <
        < event: message_delta
        < data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}
        <
        < event: message_stop
        < data: {"type":"message_stop"}
        <
        <
    """
    found = _pieces(exchange)
    if found is None or not found[0].opens:
        return
    form, pieces = found
    assert exchange.response is not None
    is_open = False
    begun: set[int] = set()
    for piece in pieces:
        kind = piece.type
        if kind == form.opens:
            if is_open:
                yield exchange.response, f"{_placed(piece)} opens the stream a second time"
                return
            is_open = True
        elif not is_open and kind not in form.alone and _is_part(form, piece):
            yield exchange.response, f"{_placed(piece)} comes before {form.opens}"
            return
        index = piece.said.get("index") if isinstance(piece.said, dict) else None
        if isinstance(index, int) and (kind in form.blocks or kind in form.blocks.values()):
            opener = form.blocks.get(kind)
            if opener is not None and index not in begun:
                yield (
                    exchange.response,
                    f"{_placed(piece)} is about block {index}, which no {opener} has begun",
                )
                return
            if opener is None and index in begun:
                yield exchange.response, f"{_placed(piece)} begins block {index} a second time"
                return
            begun.add(index)


@rule("HTML §9.2.6", severity=WARNING, evidence="body", fields=("content-type",),
      breaks=("anthropic-sdk-python", "anthropic-sdk-typescript"))  # fmt: skip
def event_name_mismatch(exchange: Exchange) -> Hits:
    """The event name differs from the type inside its data.

    Clients dispatch on one or the other and disagree: Codex goes by the type, anthropic-sdk-python by the name. That
    SDK ignores an event of the Messages API that has no name at all, and returns nothing.

    > If the field name is "event": Set the event type buffer to the field value.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: message_start
        < data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","model":"m","content":[]}}
        <
        < event: content_block_start
        < data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
        <
        < event: message
        < data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
        <
        < event: content_block_stop
        < data: {"type":"content_block_stop","index":0}
        <
        < event: message_delta
        < data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}
        <
        < event: message_stop
        < data: {"type":"message_stop"}
        <
        <

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: message_start
        < data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","model":"m","content":[]}}
        <
        < event: content_block_start
        < data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
        <
        < event: content_block_delta
        < data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
        <
        < event: content_block_stop
        < data: {"type":"content_block_stop","index":0}
        <
        < event: message_delta
        < data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}
        <
        < event: message_stop
        < data: {"type":"message_stop"}
        <
        <
    """
    found = _pieces(exchange)
    if found is None or not found[0].opens:
        return
    form, pieces = found
    wrong = [
        piece
        for piece in pieces
        if piece.type
        and (piece.event.type or form.named)
        and piece.event.type != piece.type.encode("utf-8", "surrogatepass")
    ]
    if wrong:
        assert exchange.response is not None
        first = wrong[0]
        name = f"is named {quoted(first.event.type, 60)}" if first.event.type else "has no name"
        more = f"; {len(wrong) - 1} more like it" if len(wrong) > 1 else ""
        yield (
            exchange.response,
            f"the event in line {first.event.line} of the content {name} and its data is of type {_named(first)}{more}",
        )


@rule("RFC 9110 §15", "RFC 7231 §6", severity=WARNING, evidence="body", fields=("content-type",))
def event_stream_starts_with_error(exchange: Exchange) -> Hits:
    """A 200 stream has an error as its first event.

    Retry and fallback logic looks at the status and counts it as success; billing does too. The server knew of the
    error before it had said anything, and could have said so in the status. Anthropic does this when it is overloaded
    (Helicone/helicone#4678); gateways that start the response before they ask their upstream do it with every error.

    > The status code of a response is a three-digit integer code that describes the result of the request and the
    > semantics of the response, including whether the request was successful and what content is enclosed (if any).

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < X-Request-Id: req_1
        < Transfer-Encoding: chunked
        <
        < event: error
        < data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}
        <
        <

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Anthropic-Version: 2023-06-01
        > Content-Type: application/json
        > Content-Length: 87
        >
        > {"model":"m","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}
        < HTTP/1.1 529 Overloaded
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < X-Request-Id: req_1
        < Cache-Control: no-store
        < Content-Length: 75
        < Retry-After: 5
        <
        < {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}
    """
    response = _declared(exchange)
    if response is None or response.status != 200 or llm.answers(exchange.request) is None:
        return
    first = next(
        (p for p in llm.pieces(response) or () if p.event.type not in _PINGS and p.type != "ping"), None
    )
    if first is not None and _is_error(first):
        said = llm.error_in(first.said) or "an error"
        yield (
            response,
            f"the status is 200 and the first event an error: {quoted(mask_text(said.encode()), 80)}",
        )


@rule("RFC 9112 §8", "RFC 7230 §3.4", severity=ERROR, evidence="error + body", fields=("content-type",))
def truncated_event_stream(exchange: Exchange) -> Hits:
    """The stream broke off in the middle.

    The agent acts on half an answer or retries the whole turn; a mitmproxy that does not stream answers 502 in place
    of all that had come. Only the server's end is meant: a client that has read enough closes too, and mitmproxy then
    says ``Client disconnected.``

    > A message body that uses the chunked transfer coding is incomplete if the zero-sized chunk that terminates the
    > encoding has not been received.

    Bad, also chunked-body-truncated::

        @ recorder: mitmproxy
        @ error:HTTP/1 protocol error: peer closed connection without sending complete message body (incomplete chunked read)
        @ partial: response
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
        < data: {"id":"c1","object":"chat.compl

    Good::

        @ recorder: mitmproxy
        @ error: Client disconnected.
        @ partial: response
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
        < data: {"id":"c1","object":"chat.compl
    """
    response = _declared(exchange)
    if response is None or exchange.error is None or not _broken_by_server(exchange, exchange.error):
        return
    stream = sse.events(response)
    if stream is None:
        how_far = "what had come of it is not recorded"
    else:
        how_far = f"{len(stream.events)} events had come"
        how_far += " and half of another" if stream.pending is not None else ""
    yield response, f"the stream broke off, {how_far}: {quoted(exchange.error.encode(), 160)}"


# What Chrome writes into a HAR.
_BY_SERVER = re.compile(
    r"net::ERR_(?:INCOMPLETE_CHUNKED_ENCODING|CONTENT_LENGTH_MISMATCH|HTTP2_PROTOCOL_ERROR|CONNECTION_(?:RESET|CLOSED)"
    r"|QUIC_PROTOCOL_ERROR)"
)
# mitmproxy 12 says "by client" of either side.
_RESET = re.compile(
    r"stream reset by client \((?P<code>\w+)\)|HTTP/2 connection closed|peer closed connection"
)


def _broken_by_server(exchange: Exchange, error: str) -> bool:
    """Whether the recorder's words say that it was the server who broke off."""
    if exchange.refusals:
        return any(refusal.part == "response" and refusal.origin == "server" for refusal in exchange.refusals)
    if _BY_SERVER.search(error):
        return True
    found = _RESET.match(error)
    # Of two sides that may speak HTTP/2, only the server does: then it is not the client's.
    return (
        found is not None
        and exchange.response is not None
        and not exchange.response.is_http1
        and exchange.request.is_http1
    )


@rule(
    "HTML §9.2.6",
    severity=WARNING,
    evidence="body",
    fields=("content-type",),
    breaks=("openai-python", "Codex"),
)
def event_stream_without_events(exchange: Exchange) -> Hits:
    """An event stream ended without a single event.

    The SDK returns an empty turn without any error; Codex says ``stream closed before response.completed``. An
    error was raised after the head had gone out: frameworks send it before they ask the generator for the first
    event (preloop/preloop#109, Soju06/codex-lb#2364).

    > If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string and
    > return.

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
        < : keep-alive
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
        < : keep-alive
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
        <
        < data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        <
        < data: [DONE]
        <
        <
    """
    response = _declared(exchange)
    if response is None or response.status != 200 or llm.answers(exchange.request) is None:
        return
    stream = sse.events(response)
    if stream is None or stream.events or stream.pending is not None or not llm.is_over(exchange):
        return
    if not response.body or stream.known + stream.comments:
        held = f"{stream.comments} comments" if stream.comments else f"{response.size} octets"
        yield response, f"the stream ended without an event ({held})"


# ---- rarer still: how the format is written, and how long nothing comes

SLOW = 10.0
"""Seconds to the first octet of a stream's response, from which on somebody holds it back."""
QUIET = 15.0
"""Seconds: "authors can include a comment line (one starting with a ':' character) every 15 seconds or so"."""


@rule("HTML §9.2.5", severity=WARNING, fields=("content-type",))
def event_stream_charset_not_utf8(response: Response) -> Hits:
    """An event stream declares a charset other than UTF-8.

    Streams are always UTF-8, and EventSource reads them so whatever the label says. Clients that obey the label
    (requests, and what is built on its ``iter_lines(decode_unicode=True)``) garble every character beyond ASCII.
    ``charset=utf-8`` is allowed and says nothing.

    > Event streams in this format must always be encoded as UTF-8.

    Bad::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream; charset=iso-8859-1
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked

    Good::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream; charset="UTF-8"
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
    """
    line = response.fields.lines("content-type")[:1]
    if not line or not sse.declared(response):
        return
    for part in parameters(line[0].value)[1:]:
        name, _, value = part.partition(b"=")
        if name.lower() == b"charset" and value.strip(b'"').lower() not in (b"utf-8", b"utf8", b""):
            yield line[0], f"an event stream with charset {quoted(mask_text(value))}"


@rule("HTML §9.2.5", severity=NOTE, evidence="body", fields=("content-type",))
def mixed_event_stream_line_ends(exchange: Exchange) -> Hits:
    r"""The stream mixes line ends.

    Parsers of the standard end a line at CRLF, LF or CR. Clients that split at one of them (``buffer.split("\n\n")``
    is in most hand-written ones) take two events for one, or leave a CR at the end of the data. A gateway that adds
    events of its own to an upstream's stream is where the mixture comes from.

    > end-of-line = ( cr lf / cr / lf )

    Bad::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"n":1}\x0d
        < \x0d
        < data: {"n":2}
        <
        <

    Good::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"n":1}
        <
        < data: {"n":2}
        <
        <
    """
    response = _declared(exchange)
    octets = None if response is None or response.body is None else content.decoded(response)
    if response is None or not octets or not _is_stream(response) or b"\r" not in octets:
        return
    pairs = octets.count(b"\r\n")
    ends = {"CRLF": pairs, "LF": octets.count(b"\n") - pairs, "CR": octets.count(b"\r") - pairs}
    if response.partial or not llm.is_over(exchange):
        ends["CR"] -= octets.endswith(b"\r")  # half of a CRLF
    used = [f"{count} {name}" for name, count in ends.items() if count]
    if len(used) > 1:
        yield _content_type(response), f"lines end with {' and '.join(used)}"


@rule("HTML §9.2.6", severity=WARNING, evidence="body", fields=("content-type",))
def event_retry_malformed(exchange: Exchange) -> Hits:
    """A retry field is not digits.

    Clients ignore it, so that they reconnect after their own few seconds and not when the server wants them to. It is
    milliseconds, without unit, sign or fraction.

    > If the field value consists of only ASCII digits, then interpret the field value as an integer in base ten, and
    > set the event stream's reconnection time to that integer. Otherwise, ignore the field.

    Bad::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < retry: 2.5s
        <
        < data: {"n":1}
        <
        <

    Good::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < retry: 2500
        <
        < data: {"n":1}
        <
        <
    """
    response = _declared(exchange)
    stream = None if response is None else sse.events(response)
    if response is None or stream is None or stream.bad_retry is None:
        return
    if stream.pending is not None and stream.bad_retry.start >= stream.pending.start:
        return  # where the recording breaks off a line may, too
    line = stream.bad_retry
    yield _content_type(response), f"line {line.number} is {quoted(mask_text(line.text[:200]), 60)}"


@rule("vLLM documentation: metrics, time_to_first_token_seconds", severity=NOTE, fields=("content-type",))
def slow_first_event(exchange: Exchange) -> Hits:
    """The first octet of the response came later than the limit after the request.

    A hop collects the stream and sends it at once, the request waited for a worker, or the prompt was not in the cache
    and is long. The limit is ten seconds: from there on users, and clients with a time limit for the first octet, give
    up. Compare the recording on the other side of the gateway (``hoplint compare``) to see who waits.

    Bad::

        @ started: 1795144450
        @ answered: 1795144462
        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked

    Good::

        @ started: 1795144450
        @ answered: 1795144451
        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
    """
    response = _declared(exchange)
    if response is None or exchange.is_replay or exchange.started is None or exchange.answered is None:
        return
    if (wait := exchange.answered - exchange.started) > SLOW:
        yield response, f"the response began {wait:.1f} s after the request"


@rule("HTML §9.2.4", severity=NOTE, evidence="flows")
def reconnect_without_last_event_id(turn: Turn) -> Hits:
    """A stream was reopened without Last-Event-ID although its events had ids.

    The server cannot know what the client has, so events are lost or come twice: in MCP's transport the result of a
    tool, in a log of a run some of its lines. It is a GET for the same target, by the same client and session, after a
    stream of the same ended.

    > The Last-Event-ID HTTP request header reports an EventSource object's last event ID string to the server when the
    > user agent is to reestablish the connection.

    Bad::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < id: 1
        < data: {"n":1}
        <
        <

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked

    Good::

        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < id: 1
        < data: {"n":1}
        <
        <

        > GET /v1/events HTTP/1.1
        > Host: api.example
        > Last-Event-ID: 1
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
    """
    now = turn.digest
    if now.method != b"GET" or now.status >= 400 or not turn.same_request:
        return
    request = turn.exchange.request
    if "last-event-id" in request.fields:
        return
    reader = (now.credential, now.session, (request.fields.one("mcp-session-id") or b"")[:SHOWN])
    for before in reversed(turn.same_request):
        if (before.credential, before.session, before.event_reader) == reader and before.precedes(now):
            yield request, f"the events of exchange {before.number} had ids, this request names none"
            return


@rule("HTML §9.2.7", severity=NOTE, evidence="body", fields=("content-type",))
def event_stream_without_keepalive(exchange: Exchange) -> Hits:
    """A long stream has no comments or pings.

    Load balancers and proxies cut connections on which nothing passes, after 60 seconds by default (nginx, AWS), while
    the model thinks. Anthropic's API sends ``event: ping``; vLLM, SGLang and many gateways send nothing.

    That it was silent is told by its length: more than 15 seconds for each of its events means that there was such a
    pause, wherever it was.

    > Legacy proxy servers are known to, in certain cases, drop HTTP connections after a short timeout. To protect
    > against such proxy servers, authors can include a comment line (one starting with a ':' character) every 15
    > seconds or so.

    Bad::

        @ answered: 1795144450
        @ ended: 1795144510
        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"n":1}
        <
        < data: {"n":2}
        <
        <

    Good::

        @ answered: 1795144450
        @ ended: 1795144510
        > GET /v1/events HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: text/event-stream
        < Cache-Control: no-store
        < X-Accel-Buffering: no
        < Transfer-Encoding: chunked
        <
        < data: {"n":1}
        <
        < : still there
        <
        < data: {"n":2}
        <
        <
    """
    response = _declared(exchange)
    if response is None or exchange.answered is None or exchange.ended is None or exchange.is_replay:
        return
    stream = sse.events(response)
    lasted = exchange.ended - exchange.answered
    if stream is None or stream.comments or response.partial or lasted / (len(stream.events) + 1) <= QUIET:
        return
    if not any(event.type in _PINGS for event in stream.events):
        count = len(stream.events)
        yield response, f"{count} events in {lasted:.0f} s, and no comment or ping between them"

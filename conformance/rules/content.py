"""What a message's content is, and whether the fields about it are true: type, charset, coding, JSON.

Content is judged only where all of it is known: a part of a document proves nothing about the whole, and
framing has rules of its own for content that is cut off. One defect is one finding:

* compressed octets that nobody announced are compressed-content-without-content-encoding and nothing else;
* what is labelled JSON is content-type-mismatch where it is something else (a page, a sentence), and
  json-malformed where it begins like JSON;
* event streams, labelled or not, are the topic events'.
"""

from __future__ import annotations

from conformance.message import Exchange, Message
from conformance.rule import WARNING, Hits, rule


def _says_nothing(message: Message) -> bool:
    """Whether its fields prove nothing by not being there: exporters of HARs may leave them all out."""
    return not message.verbatim and not message.fields


@rule("RFC 9110 §6.6.1", "RFC 7231 §7.1.1.2", severity=WARNING)
def date_missing(exchange: Exchange) -> Hits:
    """A 2xx, 3xx or 4xx response has no Date.

    A Retry-After or Expires that is a date, the age of a cached answer and a check of the client's clock (AWS
    signatures, tokens that expire) are all reckoned from it. A proxy that switches off its server's own Date,
    as ``uvicorn --no-date-header`` does, must keep the origin's; a hand-written server forgets it. The answer
    to CONNECT is the proxy's and needs none.

    > An origin server with a clock (as defined in Section 5.6.7) MUST generate a Date header field in all 2xx
    > (Successful), 3xx (Redirection), and 4xx (Client Error) responses, and MAY generate a Date header field
    > in 1xx (Informational) and 5xx (Server Error) responses.

    Bad::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Content-Type: application/json
        < Content-Length: 27
        <
        < {"object":"list","data":[]}

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Type: application/json
        < Content-Length: 27
        <
        < {"object":"list","data":[]}

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 502 Bad Gateway
        < Content-Length: 0
    """
    response = exchange.response
    if (
        response is not None
        and "date" not in response.fields
        and 200 <= response.status <= 499
        and exchange.request.method != b"CONNECT"
        and not _says_nothing(response)
    ):
        yield response, f"{response.status} without Date"


@rule("RFC 9110 §8.3", "RFC 7231 §3.1.1.5", severity=WARNING, evidence="body")
def content_type_missing(message: Message) -> Hits:
    """A message with content has no Content-Type.

    SDKs choose between JSON, a stream and text by it: openai-python hands what is not JSON to the caller as a
    string, so that an error page becomes the model's answer. Servers guess: FastAPI takes a request without a
    type for JSON in its older versions and answers 422 in its newer ones.

    > A sender that generates a message containing content SHOULD generate a Content-Type header field in that
    > message unless the intended media type of the enclosed representation is unknown to the sender.

    Bad::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Length: 13
        >
        > {"model":"m"}

    Good::

        > POST /v1/messages HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 13
        >
        > {"model":"m"}
    """
    if message.size and "content-type" not in message.fields and not _says_nothing(message):
        yield message, f"{message.size} octets of content without Content-Type"

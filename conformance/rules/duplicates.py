"""Headers that appear more often than they may.

RFC 9110 §5.3: "a sender MUST NOT generate multiple field lines with the same name in a message ... unless that
field's definition allows multiple field line values to be recombined as a comma-separated list".
"""

from __future__ import annotations

from conformance.message import Response
from conformance.rule import ERROR, Hits, rule
from conformance.secret import shown


@rule(
    "RFC 9110 §5.3",
    "RFC 9110 §10.2.4",
    "RFC 7230 §3.2.2",
    "RFC 7231 §7.4.2",
    severity=ERROR,
    fix="dedupe-headers",
    fields=("server",),
    breaks=("aiohttp 3.13.4", "aiohttp -X dev", "aiohttp without C extensions up to 3.13.4"),
)
def duplicate_server(response: Response) -> Hits:
    """The response has more than one Server header.

    aiohttp 3.13.4, aiohttp under ``-X dev`` and its pure-Python parser refuse the response; litellm then reports
    a connection error and every agent trial fails. A server framework that adds its own Server beside the one
    it copied from its upstream is the usual source.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...] unless that field's
    > definition allows multiple field line values to be recombined as a comma-separated list.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Content-Length: 2
        < Server: uvicorn
        < Server: smg

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Content-Length: 2
        < Server: uvicorn
    """
    first, *more = response.fields.lines("server")
    for line in more:
        yield line, f"Server {shown(line.name, line.value)} repeats Server {shown(first.name, first.value)}"

"""What real parsers make of a message, where they were asked: `--parsers`."""

from __future__ import annotations

from conformance.rule import ERROR, Hits, rule
from conformance.secret import mask_text
from conformance.verdict import Judged


@rule("RFC 9112 §11.2", "RFC 7230 §9.5", severity=ERROR, evidence="parsers", verbatim=True)
def parsers_disagree(judged: Judged) -> Hits:
    """Some real parsers refuse the message or read it differently than others.

    A message that one of them refuses kills the client or the server that reads with it; one that two of them read
    differently hides a request from a gateway, or an answer from a client.

    Looked for with ``--parsers`` only, which feeds every message to the parsers that programs read with: h11
    (httpx, uvicorn), llhttp (node, and uvicorn with httptools), aiohttp's in C and in Python, as they are and under
    ``-X dev``. The finding stands beside the one that says what is wrong with the message, and alone where no rule
    knows. Where the recording has no octets only the head is judged: what else would be fed would be invented.

    > Request smuggling is a technique that exploits differences in protocol parsing among various recipients to hide
    > additional requests (which might otherwise be blocked or disabled by policy) within an apparently harmless
    > request.

    Bad, also duplicate-server::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Server: uvicorn
        < Server: smg

    Good::

        > GET /v1/models HTTP/1.1
        > Host: api.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
        < Server: uvicorn
    """
    refused, taken = judged.refused, judged.taken
    if refused and taken:
        said = "; ".join(f'{", ".join(names)} ("{_masked(words)}")' for words, names in refused.items())
        yield judged.message, f"refused by {said}; taken by {', '.join(taken)}"
    for what, groups in judged.disputed:
        said = "; ".join(", ".join(names) + _as(what, reading) for reading, names in groups.items())
        yield judged.message, f"{what} read differently: {said}"


def _as(what: str, reading: object) -> str:
    """What of a reading may be shown: of the content its size, of fields and start line nothing."""
    if what != "content" or not isinstance(reading, tuple):
        return ""
    size, whole = reading
    return f" ({size} octets" + (")" if whole else ", and waits for more)")


def _masked(words: str) -> str:
    return mask_text(words.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

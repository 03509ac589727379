"""A model provider as it looks from outside: the headers of its edge, its browser policies and its accounts.

A raw server, because what it sends must not be tidied up by a framework. The first part of the path chooses the answer:
/plain, /stream, /close (Connection: close), /hop (hop-by-hop fields), /401, /429, /500.
"""

import asyncio
import json
import sys
from email.utils import formatdate

EDGE = """\
Server: cloudflare
CF-Ray: 8f0e1d2c3b4a5968-SJC
Via: 1.1 google
Alt-Svc: h3=":443"; ma=86400
Access-Control-Allow-Origin: *
Access-Control-Allow-Credentials: true
Access-Control-Expose-Headers: X-Request-ID
Set-Cookie: __cf_bm=example-1; path=/; HttpOnly; Secure; SameSite=None
Set-Cookie: _cfuvid=example-2; path=/; domain=.provider.example; HttpOnly
Strict-Transport-Security: max-age=31536000; includeSubDomains; preload
Content-Security-Policy: default-src 'none'
X-Frame-Options: SAMEORIGIN
X-Content-Type-Options: nosniff
OpenAI-Organization: org-example
OpenAI-Processing-Ms: 412
X-RateLimit-Remaining-Requests: 499
X-Request-Id: req_0123456789abcdef"""
STATUSES = {"401": "401 Unauthorized", "429": "429 Too Many Requests", "500": "500 Internal Server Error"}
EXTRA = {
    "401": 'WWW-Authenticate: Bearer realm="provider"',
    "429": "Retry-After: 2",
    "close": "Connection: close",
    "hop": "Connection: keep-alive, X-Hop\nKeep-Alive: timeout=5\nX-Hop: 1\nProxy-Authenticate: Basic\nUpgrade: h2c",
}
BASE = {"id": "chatcmpl-1", "created": 1, "model": "m"}
ANSWER = {
    **BASE,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
CHUNK = {
    **BASE,
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": "stop"}],
}


def answer(kind: str) -> bytes:
    lines = [
        f"HTTP/1.1 {STATUSES.get(kind, '200 OK')}",
        f"Date: {formatdate(usegmt=True)}",
        *EDGE.splitlines(),
    ]
    lines += EXTRA.get(kind, "").splitlines()
    if kind == "stream":
        content = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n".encode()
        lines += ["Content-Type: text/event-stream; charset=utf-8", "Transfer-Encoding: chunked"]
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    else:
        said = {"error": {"message": "no", "type": "error"}} if kind in STATUSES else ANSWER
        content = json.dumps(said).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:-2])
            if b"chunked" in fields.get(b"transfer-encoding", b""):
                await reader.readuntil(b"0\r\n\r\n")
            await reader.readexactly(int(fields.get(b"content-length", 0)))
            kind = head.split()[1].decode().split("/")[1]
            writer.write(answer(kind))
            await writer.drain()
            if kind == "close":
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client is done
    finally:
        writer.close()


async def main(port: int) -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))

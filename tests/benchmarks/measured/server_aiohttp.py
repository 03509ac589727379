"""aiohttp's server, which tells which header lines it saw; argument: the port."""

import sys

from aiohttp import web


async def answer(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket
    await request.read()
    return web.json_response([[n.decode("latin-1"), v.decode("latin-1")] for n, v in request.raw_headers])


application = web.Application()
application.router.add_route("*", "/{path:.*}", answer)
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)

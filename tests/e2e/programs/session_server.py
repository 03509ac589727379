"""A session server as RL stacks run it, after radixark/miles: FastAPI on uvicorn, copies the router's response headers.

``session_server.py PORT ROUTER_PORT``. What comes under /sessions/ID/ goes to the router without it. Like the one of
35d5198e8 it drops the headers that frame the content, as everybody learns to, and keeps Server and Date: uvicorn then
adds its own.
"""

import sys

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

app = FastAPI()
router = httpx.AsyncClient(base_url=f"http://127.0.0.1:{sys.argv[2]}", timeout=600)
FRAMING = {"content-length", "transfer-encoding", "content-encoding"}


@app.api_route("/{path:path}", methods=["GET", "POST"])
@app.api_route("/sessions/{session}/{path:path}", methods=["GET", "POST"])
async def proxy(path: str, request: Request):
    headers = {name: value for name, value in request.headers.items() if name not in {*FRAMING, "host"}}
    call = router.build_request(request.method, f"/{path}", content=await request.body(), headers=headers)
    answer = await router.send(call, stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in FRAMING}
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return StreamingResponse(answer.aiter_raw(), status_code=answer.status_code, headers=kept)
    return Response(await answer.aread(), status_code=answer.status_code, headers=kept)


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

"""A gateway that has a CORS policy of its own, and then copies all that the provider's response has.

copying_gateway.py PORT PROVIDER_URL ORIGIN
"""

import sys
from email.utils import formatdate

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

port, provider, origin = sys.argv[1:]
app = FastAPI()
client = httpx.AsyncClient(base_url=provider, timeout=30)
OWN = {"access-control-allow-origin": origin, "x-frame-options": "DENY", "cache-control": "no-store"}
PREFLIGHT = {
    "access-control-allow-headers": "content-type, authorization",
    "access-control-allow-methods": "POST",
}


@app.options("/{path:path}")
async def preflight(path: str):
    return Response(None, 204, {**OWN, **PREFLIGHT, "date": formatdate(usegmt=True)})


@app.post("/{path:path}")
async def forward(path: str, request: Request):
    sent = {
        name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers
    }
    call = client.build_request("POST", f"/{path}", content=await request.body(), headers=sent)
    answer = await client.send(call, stream=True)
    response = StreamingResponse(answer.aiter_raw(), answer.status_code, OWN)
    response.raw_headers += [
        (name.lower(), value) for name, value in answer.headers.raw if name.lower() != b"transfer-encoding"
    ]
    return response


uvicorn.run(
    app, host="127.0.0.1", port=int(port), log_level="warning", server_header=False, date_header=False
)

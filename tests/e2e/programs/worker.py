"""A model server: an ordinary FastAPI app on uvicorn, which adds its own Server and Date."""

import json
import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.post("/v1/chat/completions")
async def completions(request: Request):
    body = await request.json()
    if body.get("stream"):
        return StreamingResponse(
            events(), media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


async def events():
    for number, word in enumerate(["hel", "lo"]):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": "stop" if number else None}
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

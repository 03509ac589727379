"""A model server: an ordinary FastAPI app on uvicorn, which adds its own Server and Date; or an SGLang engine.

``worker.py PORT`` lets everybody in. ``worker.py PORT AUTH_PY KEY ADMIN_KEY`` checks keys as SGLang does, with SGLang's
own code: AUTH_PY is the sglang/srt/utils/auth.py of a release.
"""

import importlib.util
import json
import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

app = FastAPI()
MODEL = {"id": "m", "object": "model", "created": 1, "owned_by": "sglang", "root": "m", "max_model_len": 4096}
INFO = {
    "model_path": "m",
    "tokenizer_path": "m",
    "served_model_name": "m",
    "is_generation": True,
    "dp_size": 1,
}


@app.get("/health")
@app.get("/health_generate")
async def health():
    return PlainTextResponse("")


@app.get("/v1/models")
async def models():
    return {"object": "list", "data": [MODEL]}


@app.get("/get_server_info")
@app.get("/get_model_info")
@app.get("/server_info")
@app.get("/model_info")
async def info():
    return INFO


@app.api_route("/flush_cache", methods=["GET", "POST"])
async def flush_cache():
    return PlainTextResponse("Cache flushed.")


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


def guard(path: str, key: str, admin_key: str) -> None:
    """Ask for SGLang's two keys where SGLang does."""
    spec = importlib.util.spec_from_file_location("sglang_auth", path)
    auth = sys.modules["sglang_auth"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(auth)
    auth.auth_level(auth.AuthLevel.ADMIN_OPTIONAL)(flush_cache)
    auth.add_api_key_middleware(app, api_key=key, admin_api_key=admin_key)


if sys.argv[2:]:
    guard(*sys.argv[2:])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

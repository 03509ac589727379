"""An LLM API for agents to speak to: OpenAI Chat and Responses (HTTP and WebSocket), Anthropic Messages, Gemini.

An ordinary FastAPI app on uvicorn. It calls the agent's shell tool once per conversation, then says a sentence.

    model.py PORT [--fail 429,500] [--key KEY] [--close-first] [--no-websocket] [--hold]

``--fail`` answers the first requests with these statuses (but for the model "small", which agents have beside the
main one: there is no telling which comes first), ``--key`` refuses any other with 401,
``--close-first`` ends the first WebSocket with 1011 before an answer, ``--no-websocket`` refuses handshakes with
426, ``--hold`` keeps every stream open behind its first event until somebody gets /received, for 5 s at most.
``GET /seen`` lists the requests so far, the oldest first.
"""

import argparse
import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator

import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

words = argparse.ArgumentParser()
words.add_argument("port", type=int)
words.add_argument("--fail", default="")
words.add_argument("--key")
for switch in ("--close-first", "--no-websocket", "--hold"):
    words.add_argument(switch, action="store_true")
options = words.parse_args()

SENTENCE = "Hello from the model."
SHELLS = ("exec_command", "shell_command", "shell", "Bash", "bash", "run_shell_command")
COMMAND = "echo hoplint"
to_fail = [int(status) for status in options.fail.split(",") if status]
seen: list[dict[str, object]] = []
sockets = 0
received = asyncio.Event()
app = FastAPI()


def new(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:24]}"


def arguments(schema: dict) -> dict[str, object]:
    """What to call a shell tool with: its command, and something for whatever else it requires."""
    known = schema.get("properties", {})
    values: dict[str, object] = {}
    for name in {*schema.get("required", ()), *known.keys() & {"command", "cmd"}}:
        kind = known.get(name, {}).get("type", "string")
        if name in ("command", "cmd"):
            values[name] = ["bash", "-lc", COMMAND] if kind == "array" else COMMAND
        else:
            values[name] = {"boolean": False, "number": 5, "integer": 5, "array": []}.get(kind, "say hello")
    return values


def shell(tools: dict[str, dict], answered: bool) -> tuple[str, dict[str, object]] | None:
    """The call of the agent's shell tool that is still to be made."""
    name = next((name for name in SHELLS if name in tools), None)
    return None if answered or name is None else (name, arguments(tools[name] or {}))


def chat(asked: dict) -> tuple[dict, list[dict | str]]:
    tools = {t["function"]["name"]: t["function"].get("parameters") for t in asked.get("tools") or ()}
    call = shell(tools, any(m["role"] == "tool" for m in asked["messages"]))
    base = {"id": new("chatcmpl"), "created": 1, "model": asked["model"]}
    usage = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
    message: dict[str, object] = {"role": "assistant", "content": None if call else SENTENCE}
    deltas: list[dict] = [{"role": "assistant", "content": word + " "} for word in SENTENCE.split()]
    if call:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message["tool_calls"] = [{"id": new("call"), "type": "function", "function": function}]
        deltas = [{"role": "assistant", "tool_calls": [{"index": 0, **message["tool_calls"][0]}]}]
    reason = "tool_calls" if call else "stop"
    chunk = {**base, "object": "chat.completion.chunk"}
    events = [{**chunk, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        events.append({**chunk, "choices": [], "usage": usage})
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {**base, "object": "chat.completion", "choices": [choice], "usage": usage}, [*events, "[DONE]"]


def responses(asked: dict) -> tuple[dict, list[dict | str]]:
    tools = {t["name"]: t.get("parameters") for t in asked.get("tools") or () if t.get("type") == "function"}
    said = asked.get("input") or []
    call = shell(
        tools, any(str(i.get("type", "")).endswith("_call_output") for i in said if isinstance(i, dict))
    )
    silent = asked.get("generate") is False  # Codex warms the connection up
    response = {
        "id": new("resp"), "object": "response", "created_at": 1, "status": "in_progress", "model": asked.get("model"),
        "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "error": None,
        "incomplete_details": None, "instructions": None, "usage": None,
    }  # fmt: skip
    part = {"type": "output_text", "text": SENTENCE, "annotations": []}
    item: dict[str, object] = {"type": "message", "id": new("msg"), "role": "assistant", "content": [part]}
    if call:
        name, values = call
        item = {"type": "function_call", "id": new("fc"), "call_id": new("call"), "name": name}
        item["arguments"] = json.dumps(values)
    item["status"] = "completed"
    place = {"item_id": item["id"], "output_index": 0}
    events: list[dict] = [
        {"type": f"response.{state}", "response": response} for state in ("created", "in_progress")
    ]
    if not silent:
        begun = {**item, "status": "in_progress"} | ({"arguments": ""} if call else {"content": []})
        events.append({"type": "response.output_item.added", "output_index": 0, "item": begun})
        if call:
            for state, key in (("delta", "delta"), ("done", "arguments")):
                events.append(
                    {"type": f"response.function_call_arguments.{state}", **place, key: item["arguments"]}
                )
        else:
            place["content_index"] = 0
            events.append({"type": "response.content_part.added", **place, "part": {**part, "text": ""}})
            events += [
                {"type": "response.output_text.delta", **place, "delta": word + " "}
                for word in SENTENCE.split()
            ]
            events.append({"type": "response.output_text.done", **place, "text": SENTENCE})
            events.append({"type": "response.content_part.done", **place, "part": part})
        events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    counts = {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19}
    counts["input_tokens_details"] = {"cached_tokens": 0}
    counts["output_tokens_details"] = {"reasoning_tokens": 0}
    done = {**response, "status": "completed", "output": [] if silent else [item], "usage": counts}
    events.append({"type": "response.completed", "response": done})
    return done, [{**event, "sequence_number": number} for number, event in enumerate(events)]


def messages(asked: dict) -> tuple[dict, list[dict | str]]:
    tools = {t["name"]: t.get("input_schema") for t in asked.get("tools") or ()}
    parts = [p for m in asked["messages"] if isinstance(m["content"], list) for p in m["content"]]
    call = shell(tools, any(part.get("type") == "tool_result" for part in parts))
    block: dict[str, object] = {"type": "text", "text": SENTENCE}
    delta: dict[str, object] = {"type": "text_delta", "text": SENTENCE}
    begun: dict[str, object] = {"type": "text", "text": ""}
    if call:
        block = {"type": "tool_use", "id": new("toolu"), "name": call[0], "input": call[1]}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
        begun = {**block, "input": {}}
    reason = "tool_use" if call else "end_turn"
    counts = {"input_tokens": 12, "output_tokens": 7}
    message = {
        "id": new("msg"), "type": "message", "role": "assistant", "model": asked["model"], "content": [block],
        "stop_reason": reason, "stop_sequence": None, "usage": counts,
    }  # fmt: skip
    return message, [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": counts},
        {"type": "message_stop"},
    ]


def gemini(asked: dict) -> tuple[dict, list[dict | str]]:
    declared = [f for t in asked.get("tools") or () for f in t.get("functionDeclarations", ())]
    tools = {f["name"]: f.get("parametersJsonSchema") or f.get("parameters") for f in declared}
    call = shell(
        tools, any("functionResponse" in p for c in asked.get("contents", ()) for p in c.get("parts", ()))
    )
    part = {"functionCall": {"name": call[0], "args": call[1]}} if call else {"text": SENTENCE}
    if (asked.get("generationConfig") or {}).get("responseMimeType") == "application/json":
        part = {"text": json.dumps({"reasoning": "r", "model_choice": "flash", "next_speaker": "user"})}
    answer = {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 7, "totalTokenCount": 19},
        "modelVersion": "m",
        "responseId": new("r"),
    }
    return answer, [answer]


APIS = {"/chat/completions": chat, "/responses": responses, "/messages": messages}


def refusal(asked: dict, authorized: bool) -> Response | None:
    if not authorized:
        status, text = 401, "Incorrect API key provided."
    elif to_fail and asked.get("model") != "small":
        status = to_fail.pop(0)
        text = f"simulated {status}"
    else:
        return None
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}}.get(status)
    error = {"type": "error", "message": text, "code": str(status)}
    return JSONResponse({"type": "error", "error": error}, status, headers)


async def stream(events: list[dict | str]) -> AsyncIterator[str]:
    for number, event in enumerate(events):
        name = event.get("type") if isinstance(event, dict) else None
        data = event if isinstance(event, str) else json.dumps(event)
        yield (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
        if options.hold and number == 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(received.wait(), 5)
            seen[-1]["passed_on"] = received.is_set()
        await asyncio.sleep(0)


@app.get("/received")
async def first_event_received() -> None:
    received.set()


@app.get("/seen")
async def what_was_seen() -> list[dict[str, object]]:
    return seen


def keys(headers) -> Iterator[str]:
    yield headers.get("authorization", "").removeprefix("Bearer ")
    yield from (headers.get(name, "") for name in ("x-api-key", "x-goog-api-key"))


@app.get("/{path:path}")
async def nothing_here(path: str) -> None:
    raise HTTPException(404, f"nothing at /{path}")


@app.post("/{path:path}")
async def complete(path: str, request: Request) -> Response:
    asked = await request.json()
    seen.append({"method": "POST", "path": f"/{path}", "headers": dict(request.headers)})
    if path.endswith("count_tokens") or "countTokens" in path:
        return JSONResponse({"input_tokens": 12, "totalTokens": 12})
    api = next((api for end, api in APIS.items() if f"/{path}".endswith(end)), None)
    if api is None and "enerateContent" in path:
        api = gemini
    if api is None:
        raise HTTPException(404, f"no API at /{path}")
    refused = refusal(asked, options.key is None or options.key in keys(request.headers))
    if refused is not None:
        return refused
    answer, events = api(asked)
    if not (asked.get("stream") or "streamGenerateContent" in path):
        return JSONResponse(answer)
    return StreamingResponse(
        stream(events), media_type="text/event-stream", headers={"cache-control": "no-cache"}
    )


@app.websocket("/{path:path}")
async def converse(socket: WebSocket, path: str) -> None:
    global sockets
    sockets += 1
    seen.append({"method": "GET", "path": f"/{path}", "headers": dict(socket.headers)})
    if options.no_websocket:
        headers = {"upgrade": "HTTP/1.1", "connection": "upgrade"}
        await socket.send_denial_response(Response("no WebSocket here", 426, headers))
        return
    await socket.accept()
    first = sockets == 1
    try:
        while True:
            asked = json.loads(await socket.receive_text())
            if options.close_first and first:
                await socket.close(1011, "internal error")
                return
            for event in responses(asked.get("response") or asked)[1]:
                await socket.send_text(json.dumps(event))
    except WebSocketDisconnect:
        pass  # the agent is done


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")

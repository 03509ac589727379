"""Every value in a flow, a HAR and a settings file, replaced by what it is not: read or refused, and never a crash."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from targets import recording, redacted

from conformance import flowfile

FLOWS = Path(__file__).parents[2] / "recordings/flows"
ODD: dict[str, Any] = {
    "null": None, "true": True, "minus one": -1, "2^70": 1 << 70, "10^400": 10**400, "1e308": 1e308,
    "infinity": float("inf"), "minus infinity": float("-inf"), "nan": float("nan"), "text": "x", "no text": "",
    "octets": b"\xff\r\n\x1b", "a list": ["a"], "an empty list": [], "pairs": [["a", 1]], "a table": {"a": {}},
}  # fmt: skip
EDIT = {
    "addon": "a",
    "part": "request",
    "op": "set",
    "field": "x",
    "before": ["a"],
    "after": ["b"],
    "why": "c",
}
SOCKET = {
    "messages": [[1, True, b"{}", 1.0, False, False]], "closed_by_client": False, "close_code": 1000,
    "close_reason": "", "timestamp_end": 2.0,
}  # fmt: skip
HAR = {
    "log": {
        "creator": {"name": "x"},
        "entries": [
            {
                "startedDateTime": "2026-11-20T03:14:15Z", "time": 5, "comment": "", "connection": "1",
                "serverIPAddress": "127.0.0.1",
                "request": {
                    "method": "POST", "url": "http://a/v1/messages", "httpVersion": "HTTP/1.1",
                    "headers": [{"name": "Host", "value": "a"}], "postData": {"text": "{}", "encoding": ""},
                },
                "response": {
                    "status": 101, "statusText": "x", "httpVersion": "h2", "_error": "",
                    "headers": [{"name": "Server", "value": "a"}], "content": {"text": "e30=", "encoding": "base64"},
                },
                "_webSocketMessages": [{"type": "send", "opcode": 1, "data": "{}", "time": 1.5}],
            }
        ],
    }
}  # fmt: skip


def flows() -> dict[str, dict[str, Any]]:
    """A flow of each kind, with all that a flow can have."""
    records = flowfile.records(io.BytesIO((FLOWS / "session-server.flow").read_bytes()))
    http = next(flow for _, record in records if (flow := flowfile.decoded(record))["type"] == "http")
    received = {"request": [[b"a", b"b"]], "response": None}
    metadata = {"hoplint": [EDIT], "hoplint_received": received, "partial_body": True}
    error = {"msg": "HTTP/1 protocol error: illegal header line: bytearray(b'a')", "timestamp": 1.0}
    whole = {
        **http,
        "metadata": metadata,
        "error": error,
        "websocket": SOCKET,
        "comment": "hoplint: ignore[x]",
    }
    tcp = {name: value for name, value in http.items() if name not in ("request", "response", "websocket")}
    messages = [[True, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1.0], [False, b"HTTP/1.1 200 OK\r\n\r\n", 2.0]]
    return {"http": whole, "tcp": {**tcp, "type": "tcp", "messages": messages}}


def places(value: Any, depth: int = 5) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in it."""
    yield ()
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside if depth else ():
        yield from ((key, *rest) for rest in places(one, depth - 1))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The value with another in one place."""
    if not path:
        return other
    made = dict(value) if isinstance(value, dict) else list(value)
    made[path[0]] = replaced(value[path[0]], path[1:], other)
    return made


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_values_of_flows(kind: str, odd: str) -> None:
    flow = flows()[kind]
    for path in places(flow):
        if path[:1] not in (("client_conn",), ("server_conn",)) or len(path) == 2:
            recording(flowfile.encoded(replaced(flow, path, ODD[odd])))


@pytest.mark.parametrize("odd", [odd for odd, value in ODD.items() if not isinstance(value, bytes)])
def test_values_of_hars(odd: str) -> None:
    for path in places(HAR, 9):
        recording(json.dumps(replaced(HAR, path, ODD[odd])).encode())


@pytest.mark.parametrize("odd", ODD)
def test_values_of_flows_to_be_redacted(odd: str) -> None:
    flow = flows()["http"]
    for path in places(flow, 2):
        redacted(flowfile.encoded(replaced(flow, path, ODD[odd])))

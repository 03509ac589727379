"""An upstream for the proxies under measurement: one thread for each connection, nothing but the standard library.

A request of ``traffic`` is answered as its content asks, with an event stream or JSON; ``?slow`` in the target sends
EVENTS events, each of which says when it left (CLOCK_MONOTONIC, the same in all processes of a machine); a WebSocket
handshake begins an echo. Prints its port.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time

EVENTS, PAUSE = 100, 0.005
HEAD = b"HTTP/1.1 200 OK\r\ndate: Fri, 20 Nov 2026 03:14:15 GMT\r\nserver: uvicorn\r\n"
STREAM = (
    HEAD + b"content-type: text/event-stream\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n"
)


def read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            return b"", b""
        data += piece
    head, _, content = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
            while len(content) < length:
                content += connection.recv(65536)
    return head, content


def event(delta: dict, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %s\n\n" % json.dumps(said).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    said = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }
    return json.dumps(said).encode()


def serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while True:
            head, content = read_message(connection)
            if not head:
                return
            turns = re.findall(rb"conversation ([0-9]+) turn ([0-9]+)", content)
            if turns and b"?slow" not in head:
                text = b"answer %s %s" % turns[-1]
                if not content.endswith(b'"stream": true}'):
                    said = answer(text.decode())
                    length = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(said)
                    connection.sendall(HEAD + length + said)
                else:
                    said = event({"content": text.decode()}) + event({}, "stop") + b"data: [DONE]\n\n"
                    connection.sendall(STREAM + chunk(said) + chunk(b""))
            elif b"?slow" in head:
                connection.sendall(STREAM)
                for _ in range(EVENTS):
                    time.sleep(PAUSE)
                    connection.sendall(chunk(event({"content": f"@{time.monotonic_ns()}@"})))
                connection.sendall(chunk(b"data: [DONE]\n\n") + chunk(b""))
            else:
                echo(connection, head)
                return


def echo(connection: socket.socket, head: bytes) -> None:
    """What comes in one frame, of 126 to 65535 octets, goes back in one."""
    key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.partition(b":")[2].strip() + guid).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %s\r\n\r\n" % accept
    )
    buffer = b""
    while piece := connection.recv(65536):
        buffer += piece
        while len(buffer) >= 8 and len(buffer) >= (whole := 8 + int.from_bytes(buffer[2:4])):
            if buffer[0] & 0xF == 8:
                return
            mask, content, buffer = buffer[4:8], buffer[8:whole], buffer[whole:]
            repeated = (mask * (len(content) // 4 + 1))[: len(content)]
            said = (int.from_bytes(content) ^ int.from_bytes(repeated)).to_bytes(len(content))
            connection.sendall(b"\x81\x7e" + len(said).to_bytes(2) + said)


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()

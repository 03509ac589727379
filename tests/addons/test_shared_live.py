"""Two real mitmdump processes with the suite, and a real Redis between them."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("redis", reason="the extra hoplint[redis] is not installed")

SECONDS = 60
TOKEN = b"canary-token-0123456789"


class Mitmdump:
    """A process of its own, in front of a server."""

    def __init__(self, upstream: int, folder: Path, *words: str) -> None:
        folder.mkdir()
        self.log = folder / "log"
        command = [
            sys.executable, "-u", "-m", "conformance", "proxy", "--isolated", "--profile", "litellm",
            "--listen-host", "127.0.0.1", "-p", "0", "--mode", f"reverse:http://127.0.0.1:{upstream}",
            "--set", f"confdir={folder}", *words,
        ]  # fmt: skip
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ)
        self.port = int(self.said(r"listening at \S+:(\d+)")[1])

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if found := re.search(pattern, self.log.read_text()):
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def post(self, content: dict, *lines: bytes) -> bytes:
        """What comes back."""
        body = json.dumps(content).encode()
        head = [b"POST /v1/chat/completions HTTP/1.1", b"Host: a", b"Connection: close"]
        head += [b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines]
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as connection:
            connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
            return b"".join(iter(lambda: connection.recv(65536), b""))


class Gateway:
    """Answers each request in words of its own, and remembers which session it was."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        with self.lock:
            self.heads.append(request.partition(b"\r\n\r\n")[0])
            number = len(self.heads)
        message = {"role": "assistant", "content": f"answer {number}"}
        said = {
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }  # fmt: skip
        body = json.dumps(said).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Session-Token: " + TOKEN
        connection.sendall(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def last(self, name: bytes) -> list[bytes]:
        """The values of a header in the latest request."""
        return re.findall(rb"(?im)^%s: (.*?)\r?$" % name, self.heads[-1])


@pytest.fixture
def two(proxied, redis_server, tmp_path, monkeypatch) -> Iterator[Callable[[Gateway], list[Mitmdump]]]:
    monkeypatch.setenv("SHARED_KEY", "canary-key-0123456789")
    words = ["--set", f"shared_redis={redis_server.url}", "--set", "shared_key=env:SHARED_KEY"]
    words += ["--set", "shared_patience=5000"]  # this machine may be busy
    with contextlib.ExitStack() as ends:

        def start(gateway: Gateway) -> list[Mitmdump]:
            upstream = proxied("suite.py", gateway).server.port  # of which only the server is asked
            proxies = []
            for number in range(2):
                proxies.append(Mitmdump(upstream, tmp_path / f"proxy-{number}", *words))
                ends.callback(proxies[-1].process.wait, SECONDS)
                ends.callback(proxies[-1].process.kill)
            return proxies

        yield start


def reply(answer: bytes) -> dict[str, object]:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["message"]


def test_a_conversation_may_pass_either(two, redis_server) -> None:
    gateway = Gateway()
    proxies = two(gateway)
    rollouts = [[{"role": "user", "content": "fix the bug"}] for _ in range(3)]
    ids: list[set[bytes]] = [set() for _ in rollouts]
    for turn in range(4):
        for number, messages in enumerate(rollouts):
            answer = proxies[(turn + number) % 2].post({"model": "m", "messages": messages})
            ids[number].update(gateway.last(b"x-litellm-session-id"))
            messages += [reply(answer), {"role": "user", "content": "go on"}]
    assert [len(each) for each in ids] == [1, 1, 1], "one id each, whichever way it went"
    assert len(set.union(*ids)) == 3, "rollouts of one prompt stay apart"

    # While Redis is away each knows its own.
    redis_server.stop()
    for messages in rollouts * 2:
        assert proxies[0].post({"model": "m", "messages": messages}).startswith(b"HTTP/1.1 200 ")
    proxies[0].said("inject-session: Redis is not there")
    assert proxies[0].log.read_text().count("inject-session: Redis is not there") == 1
    assert "canary" not in proxies[0].log.read_text()


def test_a_token_comes_back_by_the_other(two) -> None:
    gateway = Gateway()
    one, other = two(gateway)
    named = (b"x-litellm-session-id: session-0001", b"Authorization: Bearer sk-alice")
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    one.post(asked, *named)
    assert gateway.last(b"x-session-token") == []
    other.post(asked, *named)
    assert gateway.last(b"x-session-token") == [TOKEN]
    other.post(asked, named[0], b"Authorization: Bearer sk-bob")
    assert gateway.last(b"x-session-token") == [], "it was not for this caller"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shared_redis=redis://:hunter2@127.0.0.1",), "shared: redis: holds no password"),
        (("shared_redis=http://127.0.0.1",), "shared: redis: begins with redis://"),
        (("shared_redis=redis://127.0.0.1",), "shared_redis: needs shared_key"),
        (("shared_redis=redis://127.0.0.1", "shared_key=env:NOBODY_SET_IT"), "no such environment variable"),
        (("shared_redis=redis://127.0.0.1:x", "shared_key=env:PATH"), "shared_redis: "),
        (("shared_rediss=redis://127.0.0.1",), "did you mean shared_redis"),
    ],
)
def test_does_not_start(words: tuple[str, ...], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("suite.py", words=words, save_stream_file=None)
    assert said in caplog.text
    assert "hunter2" not in caplog.text

"""Recordings at URLs: in fsspec's memory, and on a web server."""

import http.server
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import recording, remote
from conformance.cli import main

fsspec = pytest.importorskip("fsspec", reason="the extra hoplint[remote] is not installed")

CLEAN = Path(__file__).parents[1] / "recordings" / "clean"
SMALL = b"> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Server: a\n< Server: b\n< Content-Length: 0\n"


@pytest.fixture
def memory() -> Iterator[str]:
    """A store with two recordings and something else."""
    files = fsspec.filesystem("memory")
    for name in ("runs/a.http", "runs/deep/b.http", "runs/notes.txt"):
        files.pipe(f"/{name}", SMALL)
    yield "memory://runs"
    files.rm("/runs", recursive=True)


@pytest.fixture
def web(tmp_path) -> Iterator[str]:
    """A web server; what it has under /secret it gives nobody."""
    (tmp_path / "a.http").write_bytes(SMALL)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words) -> None:
            super().__init__(*words, directory=str(tmp_path))

        def do_GET(self) -> None:
            if self.path.startswith("/secret"):
                self.send_error(403)
            else:
                super().do_GET()

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def said(capsys, *words: str) -> tuple[int, str, str]:
    code = main(["check", "--isolated", "--select", "duplicate-server", "--format", "concise", *words])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("{}/a.http", ["/a.http"]),
        ("{}", ["/a.http", "/deep/b.http"]),
        ("{}/*.http", ["/a.http"]),
        ("{}/**/*.http", ["/a.http", "/deep/b.http"]),
        ("{}/[ab].http", ["/a.http"]),
    ],
)
def test_what_a_url_stands_for(url: str, found: list[str], memory: str) -> None:
    url = url.format(memory)
    assert [one.replace(":///", "://") for one in recording.find([url, url])] == [
        memory + one for one in found
    ]


def test_it_is_linted(memory: str, capsys) -> None:
    code, out, _ = said(capsys, memory, "--jobs", "1")
    assert code == 1
    assert out.count("duplicate-server") >= 2
    assert "memory://" in out
    assert "runs/deep/b.http:5" in out


def test_from_a_web_server(web: str, capsys) -> None:
    code, out, err = said(capsys, web.replace("//", "//me:canary@") + "/a.http?token=canary")
    assert code == 1
    assert "//***@127.0.0.1" in out
    assert "canary" not in out + err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{}/none.http?sig=canary", "no such file or folder (404"),
        ("{}/secret/a.http?sig=canary", "403"),
        ("http://127.0.0.1:1/a.http", "no such file or folder (Cannot connect"),
        ("memory://nowhere", "no such file or folder"),
        ("memory://runs/*.flow", "no recordings there (*.flow"),
        ("nope://me:canary@x/a.http", "Protocol not known: nope"),
    ],
)
def test_what_cannot_be_reached(url: str, words: str, web: str, memory: str, capsys) -> None:
    code, out, err = said(capsys, url.format(web))
    assert (code, out.strip() or None) == (2, None)
    assert err.startswith("hoplint: error: ")
    assert words in err
    assert "canary" not in err
    assert "Traceback" not in err


def test_what_breaks_off_is_said_and_the_rest_linted(memory: str, monkeypatch, capsys) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= len(SMALL):
                raise RuntimeError("the store is gone, secret=canary")
            return super().read(min(size or 0, 64) if size else size)

    monkeypatch.setattr(
        type(fsspec.filesystem("memory")), "open", lambda self, path, mode, **_: Breaking(SMALL + SMALL)
    )
    code, _, err = said(capsys, f"{memory}/a.http")
    assert code == 2
    assert "cannot be read: the store is gone" in err


def test_it_is_read_in_pieces(memory: str, monkeypatch) -> None:
    asked: list[int] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    octets = SMALL * 100_000
    monkeypatch.setattr(
        type(fsspec.filesystem("memory")), "open", lambda self, path, mode, **_: Counted(octets)
    )
    with remote.opened(f"{memory}/a.http") as file:
        while file.read(1000):
            pass
    assert len(asked) > len(octets) // remote.AHEAD
    assert set(asked) == {remote.AHEAD}


def test_without_the_extra(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    code, _, err = said(capsys, "s3://bucket/run.flow")
    assert code == 2
    assert "pip install 'hoplint[remote]'" in err


@pytest.mark.parametrize("path", ["run.flow", "C:\\run.flow", "C://run.flow", "./s3:x", "-"])
def test_what_is_no_url(path: str) -> None:
    assert not remote.is_url(path)

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import mitm
from conformance.addon import addons

ADDONS = Path(__file__).parents[2] / "addons"
SUITE = ADDONS / "suite.py"
(addon,) = mitm.script_addons(SUITE)
suite = sys.modules[type(addon).__module__]

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


WATCHERS = {"lint-flows", "record-flows", "record-octets"}
"""Addons that change nothing on the wire: who wants them loads them beside the suite."""


def test_order_names_every_addon_there_is() -> None:
    assert sorted(suite.ORDER) == sorted(addons().keys() - {"suite"} - WATCHERS)


def test_order_is_documented() -> None:
    places = [suite.__doc__.find(f"{number}. {name},") for number, name in enumerate(suite.ORDER, 1)]
    assert -1 not in places
    assert places == sorted(places)


def test_addons_are_called_by_their_scripts_names() -> None:
    for name, found in addons().items():
        assert [each.name for each in mitm.script_addons(found.path)] == [name]


def test_all_addons_run(proxied) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Type: text/event-stream\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(head + b"Content-Length: 9\r\n\r\ndata: 1\n\n"))
    assert proxy.ask(GET).count(b"Server: ") == 1
    (flow,) = proxy.flows()
    assert flow.response.raw_content == b"data: 1\n\n"


def test_an_addon_can_be_left_out(proxied) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(head), suite_without=["dedupe-headers"])
    assert proxy.ask(GET) == head


def test_settings_come_from_the_file_and_the_command_line_wins(proxied, tmp_path) -> None:
    (tmp_path / "hoplint.toml").write_text(
        '[policy.dedupe-headers]\nkeep-last = ["server", "etag"]\n[policy.suite]\nwithout = []\n'
    )
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nETag: 1\r\nETag: 2\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied("suite.py", lambda c, _: c.sendall(head))
    assert proxy.ask(GET) == b"HTTP/1.1 200 OK\r\nServer: b\r\nETag: 2\r\nContent-Length: 0\r\n\r\n"
    proxy.stop()
    proxy = proxied("suite.py", lambda c, _: c.sendall(head), dedupe_headers_keep_last=["etag"])
    assert proxy.ask(GET) == b"HTTP/1.1 200 OK\r\nServer: a\r\nETag: 2\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upstream_auth=a:b"], "suite: upstream_auth works against the addons"),
        (["modify_headers=/~s/Server/x"], "suite: modify_headers works against the addons"),
        (["stream_large_bodies=1m"], "suite: stream_large_bodies works against"),
        (["stickyauth=."], "suite: stickyauth works against"),
        (["dedupe_headers_keeplast=server"], "did you mean dedupe_headers_keep_last"),
        (["dedup_headers_once=server"], "did you mean dedupe_headers_once"),
        (["stream_events_keep"], "stream_events_keep: takes one value, not 0"),
        (["stream_events_keep=-1"], "greater than or equal to 0"),
        (["suite_without=dedupe"], "there is no addon dedupe"),
    ],
)
def test_does_not_start(words: list[str], said: str, proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("suite.py", words=words, save_stream_file=None)
    assert said in caplog.text


@pytest.mark.parametrize("scripts", [["suite.py", "dedupe_headers.py"], ["dedupe_headers.py", "suite.py"]])
def test_does_not_start_with_an_addon_twice(scripts: list[str], proxied, caplog) -> None:
    with pytest.raises(SystemExit, match="1"):
        proxied("suite.py", scripts=[str(ADDONS / name) for name in scripts], save_stream_file=None)
    assert "already exists" in caplog.text or "loaded 2 times" in caplog.text


def test_bad_settings_file_stops_mitmdump(tmp_path, mitmdump) -> None:
    (tmp_path / "hoplint.toml").write_text("[policy.dedupe-headers]\nkep-last = []\n")
    found = mitmdump("-s", str(SUITE), cwd=tmp_path)
    assert found.returncode == 1
    line = "hoplint.toml: policy.dedupe-headers.kep-last: there is no such key; did you mean keep-last?"
    assert line in found.stdout + found.stderr


def test_bad_option_stops_mitmdump(tmp_path, mitmdump) -> None:
    found = mitmdump("-s", str(SUITE), "--set", "stream_events_keep", cwd=tmp_path)
    assert found.returncode == 1
    assert "stream_events_keep: takes one value, not 0" in found.stdout + found.stderr


def test_conflict_can_be_tolerated(proxied) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 0\r\n\r\n"
    proxy = proxied(
        "suite.py",
        lambda c, _: c.sendall(head),
        modify_headers=["/~s/X-Added/1"],
        suite_tolerate=["modify_headers"],
    )
    assert proxy.ask(GET).count(b"Server: ") == 1


def test_conflict_is_refused_while_it_runs(proxied) -> None:
    proxy = proxied("suite.py", lambda c, _: None)
    proxy.try_to_set(upstream_auth="a:b")
    assert proxy.master.options.upstream_auth is None


def test_hoplint_proxy_serves_and_ends_with_its_signal(proxied, tmp_path) -> None:
    # `proxied` is only the server here: the proxy before it is a process of its own.
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nContent-Length: 0\r\n\r\n"
    server = proxied("suite.py", lambda c, _: c.sendall(head)).server
    words = ["proxy", "--profile", "generic", "--listen-host", "127.0.0.1", "-p", "0"]
    words += ["--mode", f"reverse:http://127.0.0.1:{server.port}", "--set", f"confdir={tmp_path / 'confdir'}"]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "conformance", *words], stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        try:
            line = next(line for line in process.stdout if "listening at" in line)
            port = int(re.search(r":(\d+)\.?\s*$", line)[1])
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.settimeout(10)
                connection.sendall(GET)
                assert connection.recv(65536).count(b"Server: ") == 1
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()

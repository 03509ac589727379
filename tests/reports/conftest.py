"""One run over what a hostile peer could send, for every format."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from conformance import lint, recording
from conformance.finding import Run, Suppressed
from conformance.rule import NOTE, WARNING, load

GOLDEN = Path(__file__).parent / "golden"
CANARY = "cAnArY0123456789"
PATH = "a b%,:;|<i>`x`]]>\n::error::y\udcff.http"
"""A file can be called anything but / and NUL."""

ATTACKS = [
    "</script></style></pre><script>alert(1)</script><img src=x onerror=alert(1)>",
    "]]><x/><!-- &amp; &#1; \" '",
    "%0A::error file=x::y%25",
    "::stop-commands::z ##[group]a",
    "|`` ` ```` | @everyone **b** [a](http://evil.example) ![i](http://evil.example/i) <b>c</b> $x$ :+1: #1",
    "\\x1b[2J\\x00\\x07\\x0b\\x7f\\x9b1m\\xff\\xfe\\xe2\\x80\\xae \\xf0\\x9f\\xa6\\x8a \\xef\\xbf\\xbe",
    "{0} {{1}} ${{ secrets.X }} %s %(x)s",
    "l" * 10_000,
]

TEXT = "\n".join(
    f"# hoplint: ignore[duplicate-date] </details> | `x` @all ]]> {{0}} \x1b[31m {n}\n"
    f"@ client-connection: <c>&{n % 2}\n"
    f"@ started: {1_790_000_000 + n}\n"
    f"@ ended: {1_790_000_000.5 + n}\n"
    f"> POST /v1/<b>|`@x`?key={CANARY}&x={attack[:60]} HTTP/1.1\n"
    f"> Host: api.example\n"
    f"> Authorization: Bearer sk-{CANARY}\n"
    f"> Cookie: sid={CANARY}\n"
    f"> X_|<b>`@x`: {attack}\n"
    f">\n"
    f'> {{"api_key": "{CANARY}"}}\n'
    f"< HTTP/1.1 200 {attack[:80]}\n"
    f"< Date: Fri, 20 Nov 2026 03:14:14 GMT\n"
    f"< Date: Fri, 20 Nov 2026 03:14:15 GMT\n"
    f"< Set-Cookie: sid={CANARY}; Path=/, b={CANARY}\n"
    f"< Server: a\n"
    f"< Server: {attack}\n"
    f"< Content-Length: 0\n"
    for n, attack in enumerate(ATTACKS)
)
FRAMES = (
    "> GET /ws HTTP/1.1\n> Host: a\n> Upgrade: websocket\n> Connection: upgrade\n> Sec-WebSocket-Version: 13\n"
    "> Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n< HTTP/1.1 101 Switching Protocols\n< Upgrade: websocket\n"
    "< Connection: upgrade\n< Sec-WebSocket-Accept: s3pPLBMxbaQ9kYGzzhZRbK+xOo==\n<\n> TEXT <b>|`\n< CLOSE 1011 ]]>\n"
)
NAMES = ("duplicate-server", "duplicate-date", "underscore-in-header-name", "content-length-mismatch")


@pytest.fixture
def hostile() -> Run:
    """Findings of every severity, ignored ones, failures, two recordings, one of them with a hostile name."""
    # The rules' own words change; what is tested is what the formats make of them.
    rules = {
        name: replace(
            load()[name],
            doc=f"What {name} is.\n\nWhy ``x`` | <b> matters, @you.\n\nBad::\n\n    > GET / HTTP/1.1\n",
            source=("RFC 9110 §5.3", "RFC 7230 §3.2.2", "owner/name#7"),
            breaks=("aiohttp 3.13.4",),
        )
        for name in NAMES
    }
    settings = lint.Settings(listing=True, severities={"underscore-in-header-name": WARNING})
    recordings = [
        recording.Recording(PATH, TEXT.encode("utf-8", "surrogateescape")),
        recording.Recording("clean.http", FRAMES.encode()),
    ]
    run = lint.check(recordings, rules, settings=settings)
    run.addons = frozenset({"dedupe-headers"})
    run.failures += [f"{PATH}: broken at <b>]]>|\x1b", "nowhere.flow: there is no such file"]
    run.recordings[1].notes = ("3 flows were <i>skipped</i>",)
    run.notes.append("an ignore for `a`|<b> has expired")
    last = run.findings.pop()
    run.suppressed.append(Suppressed(last, "settings", "[lint.per-recording]"))
    run.findings.append(replace(run.findings[1], severity=NOTE, why="a note [a](http://evil.example)"))
    return run


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare with ``golden/NAME``; with UPDATE_GOLDEN in the environment, write it."""

    def compare(name: str, text: str) -> None:
        text = text.replace(version("hoplint"), "VERSION").encode("utf-8", "backslashreplace").decode()
        path = GOLDEN / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufffe\uffff\ud800-\udfff]")
"""Nothing of this may be in a report, whatever was recorded."""


@pytest.fixture
def harmless() -> Callable[[str], None]:
    """Assert what holds of every format."""

    def check(text: str) -> None:
        assert CANARY not in text
        assert not UNSEEN.search(text), UNSEEN.search(text)

    return check

"""Field lines: what the examples in the docstrings cannot show."""

import json
from pathlib import Path

import pytest

from conformance import known, recording
from conformance.lint import Linter, Settings
from conformance.message import Fields, Message, Request, Response
from conformance.policy import Policy, Session
from conformance.rule import NOTE, RULES, load
from conformance.rules import field_lines

load()


def fired(message: Message, policy: Policy | None = None) -> set[str]:
    """The rules of this topic that fire on one message; they must say so in one short line."""
    found = set()
    for rule in RULES.values():
        if rule.topic != "field_lines" or rule.scope not in ("Message", type(message).__name__):
            continue
        if rule.verbatim and not message.verbatim:
            continue
        if rule.fields and not rule.fields & (message.fields.names | message.trailers.names):
            continue
        checked = rule.check(message, policy or Policy()) if rule.wants_policy else rule.check(message)
        for _, why in checked:
            assert why.isprintable()
            assert len(why) < 400
            found.add(rule.name)
    return found


MISPLACED = {"request-header-in-response", "response-header-in-request"}


def request(*lines: tuple[bytes, bytes], **changes: object) -> Request:
    settings = {"method": b"GET", "target": b"/", "fields": Fields([*lines, (b"Host", b"api.example")])}
    return Request(**{**settings, **changes})  # type: ignore[arg-type]


def response(*lines: tuple[bytes, bytes], **changes: object) -> Response:
    return Response(**{"code": b"200", "fields": Fields(lines), **changes})  # type: ignore[arg-type]


def in_octets(head: str) -> set[str]:
    """The rules of any topic, notes apart, that fire on a request with this head, as octets."""
    linter = Linter(RULES, None, Settings(), "stream")
    for item in recording.parse(rf">> GET / HTTP/1.1\r\n{head}\r\n\r\n"):
        linter.take(item)
    assert not linter.failures
    return {finding.rule for finding in linter.findings if finding.severity is not NOTE}


LEGAL = {
    b"Accept": [b"", b'*/*;q=0.8, text/html;level="1,,2"'],
    b"Accept-Encoding": [b"", b"gzip, deflate, br"],
    b"Accept-Ranges": [b"none"],
    b"Access-Control-Allow-Origin": [b"null", b"*"],
    b"Alt-Svc": [b'h3=":443"; ma=86400, h3-29=":443"'],
    b"Cache-Control": [b'private="a,, b", max-age=0'],
    b"Content-Disposition": [b'attachment; filename="a\\"b\\\\.txt"; filename*=UTF-8\'\'a%0Ax-b%3A'],
    b"Content-Security-Policy": [b"default-src 'none'"],
    b"Cookie": [b"", b'a="b; c=undefined; d=None', b"e=1%0d%0aSet-Cookie: f"],
    b"Cross-Origin-Opener-Policy": [b"unsafe-none"],
    b"Date": [b"Tue, 05 May 2026 16:00:00 GMT"],
    b"ETag": [b'W/"a\\"', b'"'],
    b"Expires": [b"0", b"-1", b"Tue, 30 Jun 2026 23:59:60 GMT"],
    b"Host": [b""],
    b"If-Match": [b'"a,, b"'],
    b"If-Range": [b'"etag"'],
    b"Last-Modified": [b"Thu, 01 Jan 1970 00:00:00 GMT"],
    b"Link": [b'<https://a.example/?b=c,,d>; rel="next, last"'],
    b"Location": [b"", b"/login?next=%2F%0d%0aSet-Cookie:%20a=b"],
    b"Origin": [b"null"],
    b"Permissions-Policy": [b'camera=(), geolocation=(self "https://a.example")'],
    b"Referer": [b"", b"https://a.example/?b=%0aX-C:d"],
    b"Retry-After": [b"120", b"tomorrow"],
    b"Sec-CH-UA": [b'"Not A;Brand";v="99", "Chromium";v="126"'],
    b"Sec-Fetch-Site": [b"none"],
    b"Sec-WebSocket-Protocol": [b"realtime, openai-insecure-api-key.sk-none"],
    b"Set-Cookie": [b"a=; Expires=Tue, 05-May-2026 16:00:00 UTC", b"token=undefined"],
    b"TE": [b""],
    b"Transfer-Encoding": [b"chunked"],
    b"User-Agent": [b"", b'curl/8 "quoted (and open', b"none", b"Mozilla/5.0 (a,, b)"],
    b"Via": [b"1.1 a (Varnish, 7.1,, x)"],
    b"X-Codex-Turn-Metadata": [b'{"note":"a\\nX-B: c","d":null,"e":"unterminated}'],
    b"X-Permitted-Cross-Domain-Policies": [b"none"],
    b"X-Progress": [b"100%0", b"50%0a", b"%0a: no name", b"%0anote: no header"],
    b"X-Reasoning-Effort": [b"none", b"NONE", b"nullable", b"None, really"],
    b"X-Robots-Tag": [b"none"],
    b"X-Empty": [b""],
    b"X-Tab": [b"a\tb"],
    b"grpc-message": [b"failed%0ax-cause: disk"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in LEGAL.items() for value in values]
)
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/2.0", b""])
def test_silent_on_odd_but_legal(name: bytes, value: bytes, version: bytes) -> None:
    assert fired(request((name, value), version=version)) - MISPLACED == set()
    assert fired(response((name, value), version=version)) - MISPLACED == set()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        (b"X-\xc3\xa9", b"a", "header-name-malformed"),
        (b"X-A\x00", b"a", "header-name-malformed"),
        (b"X-A\n", b"a", "header-name-malformed"),
        (b"X\rA", b"a", "header-name-malformed"),
        (b"(X)", b"a", "header-name-malformed"),
        (b"\t \t", b"a", "header-name-malformed"),
        (b" X-A", b"a", "header-name-malformed"),  # only before the first line is it something else
        (b"X-A \t", b"a", "space-before-header-colon"),
        (b"", b"a", "header-name-empty"),
        (b"X-A", b"a\r\n b", "folded-header-value"),
        (b"X-A", b"a\n\tX-B: c", "folded-header-value"),
        (b"X-A", b"a\nb", "newline-or-nul-in-header"),
        (b"X-A", b"a\r\n", "newline-or-nul-in-header"),
        (b"X-A", b"\x00", "newline-or-nul-in-header"),
        (b"X-A", b"a\nno field: here", "newline-or-nul-in-header"),
        (b"X-A", b"a\nX-B:c", "header-line-injected"),
        (b"X-A", b"a\r\nSet-Cookie : c", "header-line-injected"),
        (b"X-A", b"a%0AContent-Length:0", "header-line-injected"),
        (b"X-A", b"%0d%0aX-Forwarded-For%3A%201", "header-line-injected"),
        (b"X-A", b"\x01", "control-character-in-header"),
        (b"X-A", b"a\x7f", "control-character-in-header"),
        (b"X-A", b"\x0b", "control-character-in-header"),
        (b"X-A", b"\x80", "non-ascii-header-value"),
        (b"X-A", "日本".encode(), "non-ascii-header-value"),
        (b"X-LiteLLM-Session-Id", b"", "empty-header-value"),
        (b"x-request-id", b" ", "empty-header-value"),
        (b"Access-Control-Allow-Origin", b"", "empty-header-value"),
        (b"Vary", b"Origin,", "empty-list-element"),
        (b"Vary", b", Origin", "empty-list-element"),
        (b"Vary", b",", "empty-list-element"),
        (b"Vary", b"Origin,\t, Accept", "empty-list-element"),
        (b"Cache-Control", b'private="a", , b', "empty-list-element"),
        (b"X-Forwarded-For", b", 10.0.0.1", "empty-list-element"),
        (b"Cache-Control", b'private="a', "quoted-string-malformed"),
        (b"Cache-Control", b'private="a\\"', "quoted-string-malformed"),
        (b"Cache-Control", b'private=\\"a', "quoted-string-malformed"),
        (b"Link", b'</a>; rel="next', "quoted-string-malformed"),
        (b"Date", b"", "date-malformed"),
        (b"Date", b"Tue, 5 May 2026 16:00:00 GMT", "date-malformed"),
        (b"Date", b"Tue, 05 May 2026 16:00:00 +0000", "date-malformed"),
        (b"Date", b"Tue, 31 Feb 2026 16:00:00 GMT", "date-malformed"),
        (b"Date", b"Mon, 05 May 2026 16:00:00 GMT", "date-malformed"),  # that was a Tuesday
        (b"Date", b"0", "date-malformed"),
        (b"Last-Modified", b"None", "date-malformed"),
        (b"Date", b"Sunday, 06-Nov-94 08:49:37 GMT", "obsolete-date-format"),
        (b"Last-Modified", b"Sun Nov  6 08:49:37 1994", "obsolete-date-format"),
        (b"Retry-After", b"Sun Nov  6 08:49:37 1994", "obsolete-date-format"),
        (b"Content-Type", b"text/plain;charset=utf-8;CHARSET=latin1", "duplicate-parameter"),
        (b"Content-Type", b'multipart/mixed; boundary="a;b"; boundary=c', "duplicate-parameter"),
        (b"Content-Disposition", b"attachment; filename=a; x=1; filename=b", "duplicate-parameter"),
        (b"Link", b"</a>; rel=next; rel=prev", "duplicate-parameter"),
        (b"Content-Digest", b"sha-256=abc=", "structured-field-malformed"),
        (b"Content-Digest", b"SHA-256=:aGk=:", "structured-field-malformed"),
        (b"Priority", b"u=1,", "structured-field-malformed"),
        (b"Cache-Status", b"edge; hit, , b", "structured-field-malformed"),
        (b"Cache-Status", b'"edge; hit', "structured-field-malformed"),
        (b"X-A", b"None", "placeholder-header-value"),
        (b"X-A", b"[object Object]", "placeholder-header-value"),
        (b"X-A", b"(null)", "placeholder-header-value"),
        (b"Location", b"undefined", "placeholder-header-value"),
        (b"User-Agent", b"undefined", "placeholder-header-value"),
        (b"session-id", b"NULL", "placeholder-header-value"),
        (b"session-id", b"none", "placeholder-header-value"),
        (b"Proxy-Authorization", b"Basic None", "placeholder-header-value"),
    ],
)
def test_one_defect_is_one_finding(name: bytes, value: bytes, rule: str) -> None:
    ordinary = (b"X-First", b"1")
    assert fired(response(ordinary, (name, value))) - MISPLACED == {rule}
    assert (
        fired(response(ordinary, trailers=Fields([(name, value)]))) == {rule}
        or rule == "header-name-malformed"
    )


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (r"Host: a\r\nX-A", "header-colon-missing"),
        (r"X-A 1\r\nHost: a", "header-colon-missing"),
        (r" \r\nHost: a", "space-before-first-header"),
        (r"\tX-A: 1\r\nHost: a", "space-before-first-header"),
        (r" no colon\r\nHost: a", "space-before-first-header"),
        (r"Host: a\r\nX-A: 1\r\n\t2", "folded-header-value"),
        (r"Host: a\r\nX-A: 1\r\n X-B: 2", "folded-header-value"),
        (r"Host: a\r\n: 1", "header-name-empty"),
        (r"Host: a\r\nX-A : 1", "space-before-header-colon"),
        (r"Host: a\r\nX-A: 1\r", "bare-carriage-return"),
        (r"Host: a\r\nX-A: 1\rX-B: 2", "bare-carriage-return"),
        (r"Host: a\r\nX-A: \x00", "newline-or-nul-in-header"),
        (r"Host: a\r\nX-A: \x08", "control-character-in-header"),
    ],
)
def test_octets_fire_once(head: str, rule: str) -> None:
    assert in_octets(head) == {rule}


def test_octets_with_ordinary_space_are_silent() -> None:
    assert in_octets(r"Host:a\r\nX-A:   1 \t \r\nX-B:\r\nX-C:d:e") == set()


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/3"])
def test_line_breaks_in_http2_are_left_to_its_own_rule(version: bytes) -> None:
    for value in (b"a\r\n b", b"a\nb", b"a\x00", b"a\r\nX-B: c"):
        assert fired(request((b"x-a", value), version=version)) == set()


def test_a_har_may_join_lines_and_hold_pseudo_headers() -> None:
    lines = [(b":method", b"GET"), (b":path", b"/"), (b"Set-Cookie", b"a=1\nb=2"), (b"Vary", b"a, , b")]
    lines.append((b"X-A", b"1\nX-B: 2"))
    assert fired(response(*lines, version=b"HTTP/2.0", verbatim=False)) == set()
    assert fired(response((b":a", b"1"))) == {"header-name-malformed"}


def test_underscores_are_looked_for_in_requests_and_not_where_framing_looks() -> None:
    assert fired(request((b"conversation_id", b"c1"))) == {"underscore-in-header-name"}
    assert fired(request((b"_", b"c1"))) == {"underscore-in-header-name"}
    assert fired(response((b"llm_provider-x-request-id", b"req_1"))) == set()
    assert fired(request((b"Content_Length", b"1"), (b"transfer_encoding", b"chunked"))) == set()


def test_an_underscore_that_the_upstream_reads_is_wanted() -> None:
    codex = Policy(session=Session(header="session-id", reads=("session_id",)))
    assert fired(request((b"session_id", b"c1")), codex) == set()
    assert fired(request((b"conversation_id", b"c1")), codex) == {"underscore-in-header-name"}
    hyphenated = Policy(session=Session(header="session-id"))
    assert fired(request((b"session_id", b"c1")), hyphenated) == {"underscore-in-header-name"}


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        (b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be", True),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, 00-a", True),  # joined-singleton-value
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", False),
        (b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        (b"00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", False),
        (b"undefined", False),
        (b"", False),
    ],
)
def test_traceparent(value: bytes, good: bool) -> None:
    assert fired(request((b"traceparent", value))) == (set() if good else {"traceparent-malformed"})
    assert fired(response((b"traceparent", value))) == set()


def test_sizes_at_their_limits() -> None:
    def line(size: int, name: bytes = b"X-A") -> tuple[bytes, bytes]:
        return name, b"a" * (size - len(name) - 4)

    assert fired(response(line(8192))) == set()
    assert fired(response(line(8193))) == {"header-too-large"}
    assert fired(response((b"x" * 8000, b"a" * 189))) == {"header-too-large"}
    assert fired(response(line(8192), line(8192, b"X-B"))) == set()
    assert fired(response(line(8192), line(8192, b"X-B"), (b"X-C", b""))) == {"header-section-too-large"}
    # One line that is the whole trouble is one finding.
    assert fired(response(line(16385))) == {"header-too-large"}
    assert fired(response(line(9000), line(8000, b"X-B"))) == {"header-too-large", "header-section-too-large"}
    assert fired(response(*[(b"X-%d" % n, b"") for n in range(100)])) == set()
    assert fired(response(*[(b"X-%d" % n, b"") for n in range(101)])) == {"too-many-headers"}


def test_no_fields_at_all() -> None:
    assert fired(request(fields=Fields())) == set()
    assert fired(response(trailers=Fields([(b"X-A", b"1")]))) == set()


def test_secrets_are_not_shown() -> None:
    secret = b"sk-ant-abcdefghijklmnop"
    for name, value in [
        (b"Authorization", b"Bearer " + secret + b"\x01"),
        (b"X-Api-Key", secret + b"\nX-B: c"),
        (b"Cookie", b"a=" + secret + b"\xff"),
        (b"X-Api-Key " + secret, b"a"),
    ]:
        message = response((name, value))
        whys = [
            why
            for rule in RULES.values()
            if rule.topic == "field_lines"
            for _, why in _checked(rule, message)
        ]
        assert whys
        assert not any("abcdefghijklmnop" in why for why in whys)


def _checked(rule, message):
    return rule.check(message) if rule.scope == "Message" else ()


def test_a_field_with_a_rule_of_its_own_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def general(*lines: tuple[bytes, bytes]) -> set[str]:
        return fired(request(*lines)) & {"placeholder-header-value", "empty-header-value"}

    for name in field_lines.JUDGED_BY.values():
        monkeypatch.delitem(RULES, name, raising=False)
    assert general((b"Authorization", b"Bearer None")) == {"placeholder-header-value"}
    assert general((b"X-Api-Key", b"undefined")) == {"placeholder-header-value"}
    assert general((b"X-Api-Key", b"")) == {"empty-header-value"}
    for name in field_lines.JUDGED_BY.values():
        monkeypatch.setitem(RULES, name, RULES["header-too-large"])
    assert general((b"Authorization", b"Bearer None"), (b"X-Api-Key", b"")) == set()


def test_tables_name_what_exists() -> None:
    catalogue = {
        rule["name"] for rule in json.loads(Path(__file__).parents[1].joinpath("catalogue.json").read_text())
    }
    assert set(field_lines.JUDGED_BY.values()) <= catalogue
    assert field_lines.NEEDS_VALUE.isdisjoint(known.LISTS - set(field_lines.JUDGED_BY))


@pytest.mark.parametrize(
    "line",
    [
        (b"Content-Type", b'text/plain; charset="utf-8;charset=latin1"'),
        (b"Content-Disposition", b"attachment; filename=a; filename*=UTF-8''b"),
        (b"Accept", b"text/html;q=0.5, text/plain;q=1"),
        (b"Accept-Encoding", b"gzip;q=1,br;q=0.5"),
        (b"Link", b"<https://a.example/?x=1;x=2>; rel=next, </b>; rel=prev"),
        (b"Forwarded", b"for=a;proto=http, for=b;proto=https"),
        (b"X-Custom", b"a=1;a=2"),
        (b"Priority", b""),
        (b"Cache-Status", b"HIT"),
        (b"Cache-Status", b'"Edge";fwd=miss;stored, origin;hit;ttl=-30'),
        (b"Signature", b'keyId="a",algorithm="hs2019",signature="b="'),  # without Signature-Input
        (b"Sec-CH-UA", b'"Not A;Brand";v="99", "Chromium";v="126"'),
        (b"Sec-Fetch-User", b"?1"),
        (b"Priority", b"u=\xff"),  # non-ascii-header-value
    ],
)
def test_what_looks_like_repeats_or_no_structure(line: tuple[bytes, bytes]) -> None:
    found = fired(request(line))
    assert found & {"duplicate-parameter", "structured-field-malformed"} == set()


def test_structures_are_judged_over_all_lines() -> None:
    lines = [(b"Cache-Status", b"a; hit"), (b"cache-status", b"b; fwd=miss")]
    assert fired(response(*lines)) == set()
    assert fired(response(*lines, (b"Cache-Status", b"c d"))) == {"structured-field-malformed"}
    assert fired(response(*lines, (b"Cache-Status", b"c d"), verbatim=False)) == set()
    signed = [(b"Signature-Input", b'sig1=("@method");created=1'), (b"Signature", b'keyId="a"')]
    assert fired(request(*signed)) == {"structured-field-malformed"}
    assert fired(request((b"Sec-Fetch-Site", b"none"), (b"Sec-Fetch-Site", b"none"))) == set()


@pytest.mark.parametrize("value", [b" a", b"a ", b"\ta", b"a\t", b" "])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_edges_of_values_matter_where_nothing_strips_them(value: bytes, at: int) -> None:
    lines = [(b"x-a", b"1"), (b"x-b", b"2 3")]
    lines.insert(at, (b"x-odd", value))
    assert fired(response(*lines, version=b"HTTP/2.0")) == {"header-value-edge-space"}
    assert fired(response(*lines)) == set()
    assert fired(response(*lines, version=b"HTTP/2.0", verbatim=False)) == set()
    odd = Fields([(b"x-odd", value)])
    assert fired(response(trailers=odd, version=b"HTTP/2.0")) == {"header-value-edge-space"}


def test_headers_of_the_other_direction() -> None:
    assert fired(response((b"User-Agent", b"curl/8"), (b"Cookie", b"a=1"))) == {"request-header-in-response"}
    assert fired(request((b"Server", b"uvicorn"), (b"Set-Cookie", b"a=1"))) == {"response-header-in-request"}
    assert fired(response((b"Accept", b"*/*"), (b"Sec-WebSocket-Key", b"a"))) == set()
    assert fired(request((b"Sec-WebSocket-Accept", b"a"))) == set()


def test_obsolete_headers() -> None:
    assert fired(response((b"Warning", b'110 - "stale"'), (b"Pragma", b"no-cache"))) == {"obsolete-header"}
    assert fired(request((b"Pragma", b"no-cache"))) == set()
    assert fired(request((b"Accept-Charset", b"utf-8"))) == {"obsolete-header"}

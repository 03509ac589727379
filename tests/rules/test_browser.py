"""What browsers take and what not, at the edges; traffic no browser has to do with."""

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.rule import load

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "browser"}


def lint(text: str) -> list[tuple[str, str]]:
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures
    return [(finding.rule, finding.why) for finding in linter.findings]


def answer(*lines: str, asked: tuple[str, ...] = (), start: str = "GET /", facts: str = "") -> list[str]:
    sent = [f"> {start} HTTP/1.1", *(f"> {line}" for line in asked)]
    text = "\n".join([*sent, "< HTTP/1.1 200 OK", *(f"< {line}".rstrip() for line in lines)])
    return [rule for rule, _ in lint(facts + text)]


@pytest.mark.parametrize(
    "value",
    [
        "*", "null", "", "https://a.example", "http://localhost:5173", "http://[::1]:8080", "https://xn--bcher-kva.example",
        "chrome-extension://abcdefghijklmnop", "app://obsidian.md", "file://", "https://a.example, *",
    ],
)  # fmt: skip
def test_origins(value: str) -> None:
    assert answer(f"Access-Control-Allow-Origin: {value}") == []


@pytest.mark.parametrize(
    "value",
    [
        "a.example", "https://a.example/", "https://a.example/ui", "HTTPS://a.example", "https://A.example",
        "https://*.example", "*.example", "https://a.example https://b.example", "true", "undefined", "https://a:x", "//a",
    ],
)  # fmt: skip
def test_what_is_no_origin(value: str) -> None:
    assert answer(f"Access-Control-Allow-Origin: {value}") == ["access-control-allow-origin-malformed"]


@pytest.mark.parametrize(
    ("origin", "credentials", "fires"),
    [
        ("*", "true", True),
        ("*", "false", False),
        ("https://a.example", "true", False),
        ("https://a.example", "True", True),
        ("https://a.example", "1", True),
        ("https://a.example", "False", False),
        ("https://a.example", "true, true", False),  # joined-singleton-value
    ],
)
def test_credentials(origin: str, credentials: str, fires: bool) -> None:
    lines = (f"Access-Control-Allow-Origin: {origin}", f"Access-Control-Allow-Credentials: {credentials}")
    assert answer(*lines) == ["credentials-with-wildcard-origin"] * fires


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ("Access-Control-Allow-Methods: *", False),
        ("Access-Control-Allow-Methods: GET,POST , ,PUT", False),
        ("Access-Control-Allow-Headers: X-A, *", False),
        ("Access-Control-Expose-Headers:", False),
        ("Access-Control-Max-Age: 0", False),
        ("Access-Control-Max-Age: -1", False),
        ("Access-Control-Allow-Methods: GET; POST", True),
        ('Access-Control-Allow-Headers: "X-A"', True),
        ("Access-Control-Expose-Headers: X-A X-B", True),
        ("Access-Control-Max-Age: 1h", True),
        ("Access-Control-Max-Age: 60.0", True),
        ("Access-Control-Max-Age:", True),
    ],
)
def test_lists_and_lifetimes(line: str, fires: bool) -> None:
    assert answer(line) == ["access-control-header-malformed"] * fires


PREFLIGHT = ("Origin: https://a.example", "Access-Control-Request-Method: POST")


@pytest.mark.parametrize(
    ("asked", "lines", "fires"),
    [
        ("x-a, x-b", ["Access-Control-Allow-Headers: X-B, X-A"], False),
        ("x-a", ["Access-Control-Allow-Headers: *"], False),
        ("", [], False),
        ("x-a", ["Access-Control-Allow-Headers: *", "Access-Control-Allow-Credentials: true"], False),
        ("authorization", ["Access-Control-Allow-Headers: *"], True),
        ("x-a,x-b", ["Access-Control-Allow-Headers: x-a"], True),
        ("x-a", [], True),
    ],
)
def test_preflights(asked: str, lines: list[str], fires: bool) -> None:
    request = (*PREFLIGHT, f"Access-Control-Request-Headers: {asked}")
    origin = "Access-Control-Allow-Origin: https://a.example"
    found = ["preflight-refuses-sdk-header"] * fires
    assert answer(origin, *lines, asked=request, start="OPTIONS /") == found
    assert answer(*lines, asked=request, start="OPTIONS /") == []  # the origin is not allowed
    assert (
        answer("Access-Control-Allow-Origin: https://b.example", *lines, asked=request, start="OPTIONS /")
        == []
    )
    assert answer(origin, *lines, asked=request, start="GET /") == []


def test_a_preflight_names_what_is_missing_and_no_more_than_five() -> None:
    names = ",".join(f"x-{n}" for n in range(8))
    ((_, why),) = lint(
        "> OPTIONS / HTTP/1.1\n> Origin: https://a.example\n> Access-Control-Request-Method: POST\n"
        f"> Access-Control-Request-Headers: {names}\n< HTTP/1.1 200 OK\n< Access-Control-Allow-Origin: *"
    )
    assert why == "the preflight does not allow x-0, x-1, x-2, x-3, x-4 and 3 more"


@pytest.mark.parametrize(
    ("value", "fires"),
    [
        ("max-age=0", False),
        ('MAX-AGE="31536000" ; includeSubDomains;', False),
        ("max-age=1; preload; unknown=x", False),
        ("max-age=1, max-age=2", False),  # joined-singleton-value
        ("", True),
        ("includeSubDomains", True),
        ("max-age", True),
        ("max-age=1y", True),
        ("max-age=-1", True),
        ("max-age=1; max-age=2", True),
        ("max-age=1, includeSubDomains", True),
        ("max-age=1; include SubDomains", True),
    ],
)
def test_hsts(value: str, fires: bool) -> None:
    found = answer(f"Strict-Transport-Security: {value}", facts="@ scheme: https\n")
    assert found == ["strict-transport-security-malformed"] * fires


@pytest.mark.parametrize(
    ("facts", "asked", "fires"),
    [
        ("@ scheme: http\n", ("Host: api.example",), True),
        ("@ scheme: https\n", ("Host: api.example",), False),
        ("@ scheme: http\n", ("Host: api.example", "X-Forwarded-Proto: https"), False),
        ("@ scheme: http\n", ("Host: localhost:4000",), False),
        ("@ scheme: http\n", ("Host: 127.0.0.1:4000",), False),
        ("@ scheme: http\n", ("Host: [::1]",), False),
        ("@ scheme: http\n", ("Host: 10.0.0.7",), False),
        ("@ scheme: http\n", ("Host: gateway.team.svc",), False),
        ("@ scheme: http\n", (), False),
        ("@ scheme: http\n@ upstream: 127.0.0.1:4000\n", ("Host: api.example",), False),
        ("@ scheme: http\n@ upstream: 8.8.8.8:80\n", ("Host: api.example",), True),
    ],
)
def test_hsts_where_nobody_enters(facts: str, asked: tuple[str, ...], fires: bool) -> None:
    found = answer("Strict-Transport-Security: max-age=1", facts=facts, asked=asked)
    assert found == ["strict-transport-security-over-http"] * fires


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        (["default-src 'self' https://a.example data:; script-src 'nonce-abc' 'strict-dynamic';;"], False),
        (["upgrade-insecure-requests"], False),
        (["default-src 'none'; frame-ancestors 'none', img-src *"], False),  # two policies in a list
        (["sandbox allow-scripts; report-to none"], False),
        (["default-src 'self'", "default-src 'self'"], False),
        (["default-src self"], True),
        (["frame-ancestors NONE"], True),
        (["img-src *; img-src 'self'"], True),
        (["default_src 'self'"], True),
        (["default-src: 'self'"], True),
        (["default-src 'self'", "img-src *"], False),
        (["default-src 'self'; img-src *", "Img-Src 'none'"], True),
        (["script-src 'self'; report-uri /a", "require-trusted-types-for 'script'; report-uri /b"], False),
    ],
)
def test_content_security_policies(values: list[str], fires: bool) -> None:
    found = answer(*(f"Content-Security-Policy: {value}" for value in values))
    assert found == ["content-security-policy-malformed"] * fires


def test_policies_that_only_report_may_be_many() -> None:
    values = ("default-src 'self'", "default-src 'none'")
    assert answer(*(f"Content-Security-Policy-Report-Only: {value}" for value in values)) == []


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ("X-Content-Type-Options: NoSniff", False),
        ("X-Content-Type-Options: sniff", True),
        ("X-Frame-Options: deny", False),
        ("X-Frame-Options: DENY, DENY", False),  # joined-singleton-value
        ("X-Frame-Options: ALLOWALL", True),
        ("Cross-Origin-Resource-Policy: same-site", False),
        ("Cross-Origin-Resource-Policy: Same-Site", True),
        ('Cross-Origin-Opener-Policy: same-origin-allow-popups; report-to="a"', False),
        ("Cross-Origin-Opener-Policy: same_origin", True),
        ('Cross-Origin-Opener-Policy: "same-origin"', True),
        ("Cross-Origin-Embedder-Policy: credentialless", False),
        ("Cross-Origin-Embedder-Policy: require-corp, require-corp", True),
        ('Permissions-Policy: camera=(), geolocation=(self "https://a.example"), fullscreen=*', False),
        ("Permissions-Policy: camera 'none'; microphone 'none'", True),
        ("Referrer-Policy: whatever", False),  # a list, of which the last that is known counts
    ],
)
def test_other_policies(line: str, fires: bool) -> None:
    assert answer(line) == ["browser-security-header-malformed"] * fires


@pytest.mark.parametrize(
    "cookie",
    [
        "a=b", "a=", 'a="b c"', "a=b=c; path=/; HTTPONLY; secure", "a=b; Expires=Tue, 05-May-2026 16:00:00 UTC",
        "a=b; expires=Tue May  5 16:00:00 2026", "a=b; Max-Age=-1; Domain=.example.com", "a=b; SameSite=none; Secure",
        "__Host-a=b; Path=/; Secure", "__Secure-a=b; Secure; Domain=example.com", "a=b,c=d", "a=b; Partitioned; Secure",
        "a=b;", "a=b; Priority=High",
    ],
)  # fmt: skip
def test_cookies(cookie: str) -> None:
    assert answer(f"Set-Cookie: {cookie}") == []


@pytest.mark.parametrize(
    ("cookie", "why"),
    [
        ("b", "has no name"),
        ("=b", "has no name"),
        ("", "has no name"),
        ("a b=c", "no token"),
        ('a={"b":1}', "in its value"),
        (r"a=caf\xc3\xa9", "in its value"),
        (r"a=b\\c", "in its value"),
        ("a=b; Max-Age=1h", "Max-Age"),
        ("a=b; Expires=never", "no date"),
        ("a=b; Expires=0", "no date"),
        ("a=b; SameSite=None", "without Secure"),
        ("a=b; SameSite=Yes; Secure", "nobody knows"),
        ("a=b; Path=/; path=/x", "twice"),
        ("__Secure-a=b", "demands Secure"),
        ("__Host-a=b; Secure", "demands Path=/"),
        ("__Host-a=b; Secure; Path=/; Domain=a.example", "demands Path=/"),
        ("a=b; Path=/; SameSite=None, c=d; Path=/", "'c' behind a comma"),
    ],
)
def test_cookies_that_get_lost(cookie: str, why: str) -> None:
    found = lint(f"> GET / HTTP/1.1\n< HTTP/1.1 200 OK\n< Set-Cookie: {cookie}".rstrip())
    assert [rule for rule, _ in found] == ["set-cookie-malformed"]
    assert why in found[0][1]


def test_no_cookie_is_shown() -> None:
    for cookie in ("sid=S3CRET-1234 ; Max-Age=x", "S3CRET-1234", "sid=b; SameSite=x, sid=S3CRET-1234"):
        for _, why in lint(f"> GET / HTTP/1.1\n< HTTP/1.1 200 OK\n< Set-Cookie: {cookie}"):
            assert "S3CRET" not in why


@pytest.mark.parametrize("piece", [";", "; a", ",a=", "=", '"', "a ", "'self' ", ", ", ";a=b", "https://"])
def test_nothing_backtracks_for_long(piece: str) -> None:
    for name in (
        "Set-Cookie",
        "Content-Security-Policy",
        "Strict-Transport-Security",
        "Access-Control-Allow-Origin",
    ):
        answer(f"{name}: a{piece * 30_000}!")

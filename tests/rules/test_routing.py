"""Forms of Host, whose Host is recorded, loops that are none, and the policy of internal headers."""

import pytest

from conformance import recording
from conformance.lint import Linter, Settings
from conformance.policy import Policy, Routing
from conformance.rule import load

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "routing"}


def lint(text: str, policy: Policy | None = None) -> list[str]:
    linter = Linter(TOPIC, policy, Settings(), "example")
    for item in recording.parse(text):
        linter.take(item)
    assert not linter.failures
    return [finding.rule for finding in linter.findings]


def get(*lines: str, target: str = "/v1/models", version: str = "HTTP/1.1", facts: str = "") -> str:
    return facts + "\n".join([f"> GET {target} {version}", *(f"> {line}" for line in lines)]) + "\n"


@pytest.mark.parametrize(
    "host",
    [
        "a.example",
        "a.example:8443",
        "a_b.example",
        "10.0.0.1:80",
        "[::1]",
        "[fe80::1%25eth0]:80",
        "a.example:",
        "xn--bcher-kva.example",
        "a%2Db.example",
        "",
    ],
)
def test_hosts(host: str) -> None:
    assert lint(get(f"Host: {host}")) == []


@pytest.mark.parametrize(
    "host",
    [
        "https://a.example",
        "a.example/v1",
        "a.example:http",
        "user:pw@a.example",
        "::1",
        "a b",
        "a.example:80:80",
        "[::1",
        "b\\xc3\\xbccher.example",
        "a\\x00b",
    ],
)
def test_malformed_hosts(host: str) -> None:
    assert lint(get(f"Host: {host}")) == ["host-malformed"]


def test_two_hosts_on_one_line_are_another_rules_business() -> None:
    assert lint(get("Host: a.example, b.example")) == []


def test_a_password_in_host_is_not_shown() -> None:
    linter = Linter(TOPIC, None, Settings(), "example")
    for item in recording.parse(get("Host: user:pa55@a.example")):
        linter.take(item)
    (finding,) = linter.findings
    assert "pa55" not in repr(finding)
    assert "a.example" in finding.why


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/2.0", "HTTP/3"])
def test_versions_that_need_no_host(version: str) -> None:
    assert lint(get("Accept: */*", version=version)) == []


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://a.example/x", "A.example"),
        ("http://a.example:80", "a.example"),
        ("https://a.example?x", "a.example:443"),
        ("http://u:p@a.example/", "a.example"),
        ("http://[::1]:80/", "[::1]"),
        ("/redirect?to=http://b.example", "a.example"),
        ("*", "a.example"),
    ],
)
def test_target_and_host_agree(target: str, host: str) -> None:
    assert lint(get(f"Host: {host}", target=target)) == []


@pytest.mark.parametrize(
    ("target", "host"),
    [("http://a.example/", "b.example"), ("http://a.example:81/", "a.example"), ("http://a.example#b", "b")],
)
def test_target_and_host_differ(target: str, host: str) -> None:
    assert lint(get(f"Host: {host}", target=target)) == ["host-differs-from-target"]


def test_a_host_that_mitmproxy_wrote_proves_nothing_about_the_client() -> None:
    facts = "@ upstream: 127.0.0.1:4000\n"
    text = get("Host: 127.0.0.1:4000", target="http://a.example/", facts=facts)
    assert lint("@ recorder: mitmproxy\n" + text) == []
    assert lint(text) == ["host-differs-from-target"]


@pytest.mark.parametrize(
    ("authority", "host", "expected"),
    [
        ("a.example", "a.example", []),
        ("a.example:443", "A.EXAMPLE", []),
        ("a.example:8443", "a.example", ["authority-differs-from-host"]),
        ("a.example", "b.example", ["authority-differs-from-host"]),
    ],
)
def test_authority_and_host(authority: str, host: str, expected: list[str]) -> None:
    facts = f"@ authority: {authority}\n"
    assert lint(get(f"host: {host}", version="HTTP/2.0", facts=facts)) == expected


@pytest.mark.parametrize("lines", [[], ["Host: a", "Host: b"], ["Host: a b"]])
@pytest.mark.parametrize(
    ("status", "accepted"), [(200, True), (101, True), (302, True), (400, False), (404, False), (502, False)]
)
def test_bad_host_accepted(lines: list[str], status: int, accepted: bool) -> None:
    found = lint(get(*lines) + f"< HTTP/1.1 {status} X\n< Content-Length: 0\n")
    assert ("bad-host-accepted" in found) is accepted


def test_http10_without_host_may_be_served() -> None:
    assert lint(get(version="HTTP/1.0") + "< HTTP/1.0 200 OK\n") == []


@pytest.mark.parametrize(
    ("upstream", "host", "expected"),
    [
        ("api.openai.com:443", "localhost:8080", True),
        ("api.anthropic.com:443", "10.1.2.3", True),
        ("api.anthropic.com:443", "[::1]:80", True),
        ("bedrock-runtime.us-east-1.amazonaws.com:443", "litellm:4000", True),
        ("generativelanguage.googleapis.com:443", "host.docker.internal", True),
        ("api.openai.com:443", "gateway.example", False),
        ("internal-lb.us-east-1.elb.amazonaws.com:80", "litellm", False),
        ("10.0.0.7:4000", "localhost:4000", False),
        ("notopenai.com:443", "localhost", False),
    ],
)
def test_internal_host_at_a_provider(upstream: str, host: str, expected: bool) -> None:
    found = lint(get(f"Host: {host}", facts=f"@ upstream: {upstream}\n"))
    assert found == (["loopback-host-sent-to-provider"] if expected else [])


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        (["1.1 a", "1.1 b"], False),
        (["1.1 a, 1.0 b", "2 A"], True),
        (["HTTP/1.1 a:80 (x), 1.1 a:81"], False),
        (["1.1 varnish, 1.1 varnish", "1.1 google, 1.1 google"], False),
        (["1.1 kong/3.4.1, 1.1 kong/3.4.1"], False),
        (["1.1 Caddy, 1.1 Caddy, 1.1 Caddy, 1.1 Caddy, 1.1 Caddy"], True),
        (["a, a", ",,", "1.1"], False),
    ],
)
def test_via(via: list[str], expected: bool) -> None:
    found = lint(get("Host: a", *(f"Via: {value}" for value in via)))
    assert ("via-loop" in found) is expected


def test_a_policy_says_which_headers_are_internal_and_where() -> None:
    text = get("Host: a", "X-Data-Parallel-Rank: 1", "X-Pin: 2")
    rule = "internal-routing-header-from-client"
    assert lint(text) == lint(text, Policy()) == [rule]
    assert lint(text, Policy(routing=Routing(internal=("x-pin", "x-data-parallel-rank")))) == [rule, rule]
    assert lint(text, Policy(routing=Routing(behind_gateway=True))) == []


@pytest.mark.parametrize(
    ("via", "malformed"),
    [
        ("1.1 a, HTTP/1.1 b:80 (x (y) \\) z)", False),
        ("1.1 [::1]:8080", False),
        ("2 kong/3.8.0", False),
        ("1.1 varnish (Varnish/7.1),1.1 abc.cloudfront.net (CloudFront)", False),
        (", 1.1 a", False),
        ("1.1 v1-akamaitech.net(ghost) (AkamaiGHost), https/1.1 e10 (ApacheTrafficServer [cMsSf ])", False),
        ("kong/3.4.2", True),
        ("gateway", True),
        ("1.1", True),
        ("1.1 my gateway", True),
        ("1.1 a (b) c)", True),
        ("1.1 a (b", True),
        ("1.1 a, b", True),
    ],
)
def test_the_form_of_via(via: str, malformed: bool) -> None:
    assert ("via-malformed" in lint(get("Host: a", f"Via: {via}"))) is malformed


@pytest.mark.parametrize(
    ("forwarded", "malformed"),
    [
        ("for=192.0.2.43", False),
        ('For="[2001:db8:cafe::17]:4711"; proto=HTTPS;; host="a.example:80"', False),
        ("for=unknown, for=_hidden;by=_a", False),
        ('for="192.0.2.43:_port";secret="x;y"', False),
        ("", False),
        ("for=192.0.2.43:80", True),
        ('for="2001:db8::1"', True),
        ("for=localhost", True),
        ("for=192.0.2.300", True),
        ("for=_a;for=_b", True),
        ('proto="1http"', True),
        ('host="a b"', True),
        ("192.0.2.43", True),
    ],
)
def test_the_form_of_forwarded(forwarded: str, malformed: bool) -> None:
    assert ("forwarded-malformed" in lint(get("Host: a", f"Forwarded: {forwarded}"))) is malformed


@pytest.mark.parametrize(
    ("lines", "malformed"),
    [
        (["X-Forwarded-For: 192.0.2.43, ::1, [::1]:80, 192.0.2.43:80, unknown"], 0),
        (["X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"], 0),
        (["X-Forwarded-Proto: HTTPS, http", "X-Forwarded-Port: 80"], 0),
        (["X-Forwarded-Host: a.example:443, b"], 0),
        (["X-Forwarded-For: client"], 1),
        (["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1.2.3"], 1),
        (["X-Forwarded-Host: https://a.example"], 1),
        (["X-Forwarded-Proto: h2", "X-Forwarded-Port: x"], 2),
        (["X-Forwarded-Proto: https", "X-Forwarded-Port: 80"], 1),
    ],
)
def test_x_forwarded(lines: list[str], malformed: int) -> None:
    assert lint(get("Host: a", *lines)).count("x-forwarded-header-malformed") == malformed


@pytest.mark.parametrize(
    ("facts", "request_line", "found"),
    [
        (
            "@ server-name: b\n@ scheme: https\n",
            "> GET / HTTP/1.1\n> Host: a\n",
            ["server-name-differs-from-host"],
        ),
        ("@ server-name: a\n@ scheme: https\n", "> GET / HTTP/1.1\n> Host: A.:443\n", []),
        ("@ server-name: b\n@ scheme: https\n", "> GET http://a/ HTTP/1.1\n> Host: a\n", []),
        ("@ server-name: b\n@ scheme: https\n", "> CONNECT a:443 HTTP/1.1\n> Host: a:443\n", []),
        ("@ scheme: https\n", "> GET / HTTP/1.1\n> Host: a\n", []),
        ("@ server-name: a\n", "> GET / HTTP/1.1\n> Host: a\n", ["scheme-mismatch"]),
        ("", "> GET / HTTP/1.1\n> Host: a\n", []),
        # One HTTP/2 connection is for all names in its certificate; a proxy's own name says nothing of its targets.
        ("@ server-name: b\n@ scheme: https\n@ authority: a\n", "> GET / HTTP/2.0\n", []),
        ("@ server-name: b\n@ authority: a\n", "> GET / HTTP/2.0\n", []),
    ],
)
def test_the_name_that_tls_was_asked_for(facts: str, request_line: str, found: list[str]) -> None:
    assert lint(facts + request_line) == found

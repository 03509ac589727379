"""What examples cannot show: what a gateway may do, what the recorder does, journals, hostile content."""

import gzip
import json
import zlib
from dataclasses import replace

import pytest

from conformance import recording
from conformance.lint import Linter, Settings, check
from conformance.message import Edit, Evidence, Exchange, Fields, Legs, Request, Response
from conformance.rule import NOTE, load
from conformance.secret import digested

RULES = {name: rule for name, rule in load().items() if rule.scope == "Legs"}
HOPS = {name: rule for name, rule in RULES.items() if rule.topic == "hops" and rule.severity is not NOTE}

type Lines = list[tuple[str, str]]


def fields(lines: Lines) -> Fields:
    return Fields([(name.encode(), value.encode()) for name, value in lines])


def request(lines: Lines = (), body: bytes | None = None, **facts: object) -> Request:
    return Request(
        **{"method": b"GET", "target": b"/v1/models", "fields": fields(lines), "body": body} | facts
    )


def response(lines: Lines = (), body: bytes | None = None, status: int = 200, **facts: object) -> Response:
    return Response(code=b"%d" % status, fields=fields(lines), body=body, **facts)


def legs(came: Exchange, went: Exchange, **facts: object) -> Legs:
    """``came`` is between client and hop, ``went`` between hop and upstream."""
    return Legs(client=came, server=went, attempts=(went,), **facts)


def found(pair: Legs, rules=HOPS) -> list[str]:
    linter = Linter(rules, None, Settings(), "client", "server")
    linter.take_legs(pair)
    assert not linter.failures, linter.failures
    assert all(finding.why.isprintable() for finding in linter.findings)
    return sorted(finding.rule for finding in linter.findings)


def of_requests(came: Request, went: Request) -> list[str]:
    return found(legs(Exchange(request=came), Exchange(request=went)))


def of_responses(came: Response, went: Response, asked: Request | None = None) -> list[str]:
    """The upstream's response and what the hop made of it."""
    asked = asked or request()
    return found(legs(Exchange(request=asked, response=went), Exchange(request=asked, response=came)))


# --- header lines


@pytest.mark.parametrize(
    ("came", "went"),
    [
        ([("Via", "1.1 a")], [("Via", "1.1 a"), ("Via", "1.1 b")]),
        ([("Vary", "Origin")], [("Vary", "Origin"), ("vary", "Accept")]),
        ([("Set-Cookie", "a=1")], [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
        ([], [("Server", "a"), ("Server", "b")]),  # the hop's own, as duplicate-server says
        ([("Server", "a"), ("Server", "b")], [("Server", "a"), ("Server", "b")]),
        ([("Server", "a"), ("Server", "b")], [("Server", "a")]),
    ],
)
def test_longer_lists_and_others_repeats_are_no_doubling(came: Lines, went: Lines) -> None:
    assert of_responses(response(came), response(went)) == []


@pytest.mark.parametrize(
    "line",
    [
        ("Transfer-Encoding", "chunked"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Connection", "keep-alive"),
        ("Content-Length", "2"),
    ],
)
def test_lines_that_each_side_writes_for_itself(line: tuple[str, str]) -> None:
    assert of_responses(response([line]), response([line])) == []
    assert of_requests(request([line]), request([line])) == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (("Keep-Alive", "timeout=75"), "hop-by-hop-header-forwarded"),
        (("Proxy-Connection", "keep-alive"), "hop-by-hop-header-forwarded"),
        (("TE", "gzip;q=0.5"), "hop-by-hop-header-forwarded"),
        (("Transfer-Encoding", "gzip, chunked"), "hop-by-hop-header-forwarded"),
        (("Trailer", "Expires"), "hop-by-hop-header-forwarded"),
        (("Upgrade", "h2c"), "hop-by-hop-header-forwarded"),
        (("Proxy-Authenticate", 'Basic realm="a"'), "proxy-authentication-forwarded"),
    ],
)
def test_lines_of_one_connection(line: tuple[str, str], rule: str) -> None:
    assert of_responses(response([line]), response([line])) == [rule]
    # HTTP/2 has no such fields: what is there came from an HTTP/1 hop further on, if at all.
    if rule == "hop-by-hop-header-forwarded":
        assert of_responses(response([line], version=b"HTTP/2.0"), response([line])) == []


def test_a_trailer_announced_on_a_chunked_message_may_follow() -> None:
    lines = [("Trailer", "Digest"), ("Transfer-Encoding", "chunked")]
    assert of_responses(response(lines), response(lines)) == []


def test_what_a_426_says_to_upgrade_to_is_for_the_client() -> None:
    lines = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    assert of_responses(response(lines, status=426), response(lines, status=426)) == []


def test_a_handshake_keeps_connection_and_upgrade_on_both_sides() -> None:
    lines = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    switched = response([("Upgrade", "websocket"), ("Connection", "Upgrade")], status=101)
    ours = Exchange(request=request(lines), response=switched)
    assert found(legs(ours, Exchange(request=request(lines), response=switched))) == []


def test_what_must_reach_the_other_end_is_rightly_kept_though_connection_names_it() -> None:
    lines = [("Connection", "Authorization"), ("Authorization", "Bearer a")]
    assert of_requests(request(lines), request(lines)) == []


@pytest.mark.parametrize(
    ("asked", "went"),
    [
        ([("Connection", "close")], response([("Connection", "close"), ("Content-Length", "0")])),
        ([], response([("Connection", "close"), ("Content-Length", "0")], status=500)),
        ([], response([("Connection", "close")])),  # only the close ends it
        ([], response([("Connection", "keep-alive"), ("Content-Length", "0")])),
    ],
)
def test_closes_of_the_hops_own(asked: Lines, went: Response) -> None:
    upstream = response([("Connection", "close"), ("Content-Length", "0")], status=went.status)
    assert of_responses(upstream, went, request(asked)) == []


def test_cookies_with_dates_are_not_joined_and_lost_ones_are_not_either() -> None:
    one, two = "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"
    upstream = response([("Set-Cookie", one), ("Set-Cookie", two)])
    assert of_responses(upstream, response([("Set-Cookie", one)])) == []
    assert of_responses(upstream, response([("Set-Cookie", f"{one},{two}")])) == ["set-cookie-lines-joined"]


@pytest.mark.parametrize(
    ("went", "lost"),
    [
        ([("x-request-id", "b")], False),
        ([("llm_provider-x-request-id", "a")], False),
        ([("x-litellm-call-id", "b")], False),
        ([], True),
    ],
)
def test_an_id_may_be_replaced_but_not_vanish(went: Lines, lost: bool) -> None:
    assert of_responses(response([("x-request-id", "a")]), response(went)) == ["header-dropped-by-hop"] * lost


def test_headers_of_another_api_need_not_arrive() -> None:
    came = request([("anthropic-version", "2023-06-01")], method=b"POST", target=b"/v1/messages")
    assert of_requests(came, request(method=b"POST", target=b"/v1/chat/completions")) == []
    assert of_requests(came, request(method=b"POST", target=b"/v1/messages")) == ["header-dropped-by-hop"]


def test_headers_of_an_answer_that_is_another_need_not_return() -> None:
    refused = response([("WWW-Authenticate", "Bearer")], status=401)
    assert "header-dropped-by-hop" in of_responses(refused, response(status=401))
    assert "header-dropped-by-hop" not in of_responses(refused, response(status=502))


# --- targets and methods


@pytest.mark.parametrize(
    ("came", "went", "changed"),
    [
        (b"/v1/models", b"/openai/v1/models", False),
        (b"/sessions/1/v1/models?a=1", b"/v1/models?a=1", False),
        (b"/v1/responses", b"/backend-api/codex/responses", False),
        (b"/v1/models?key=a", b"/v1/models?key=b", False),
        (b"/v1/messages?beta=true", b"/v1/messages", False),
        (b"/v1/models?b=2&a=1", b"/v1/models?a=1&b=2", False),
        (b"/v1/models", b"/v1/models?api-version=1", False),
        (b"http://a.example/v1/models", b"/v1/models", False),
        (b"/v1/files/a%2Fb", b"/v1/files/a/b", True),
        (b"/v1//models", b"/v1/models", True),
        (b"/v1/models?alt=sse", b"/v1/models", True),
        (b"/v1/models?limit=5", b"/v1/models?limit=50", True),
    ],
)
def test_targets(came: bytes, went: bytes, changed: bool) -> None:
    expected = ["request-target-changed-by-hop"] * changed
    assert of_requests(request(target=came), request(target=went)) == expected


def test_a_websocket_over_http2_is_opened_with_connect() -> None:
    assert of_requests(request(method=b"CONNECT"), request()) == []


# --- content

JSON = json.dumps({"data": [{"id": "one"}, {"id": "two"}]}).encode()


def content(
    body: bytes | None, *lines: tuple[str, str], length: int | None = None, **facts: object
) -> Response:
    size = length if length is not None else len(body or b"")
    return response(
        [("Content-Type", "application/json"), ("Content-Length", str(size)), *lines], body, **facts
    )


def test_content_that_is_written_anew_with_its_own_length_is_fine() -> None:
    assert of_responses(content(JSON), content(JSON.replace(b" ", b""))) == []


def test_a_length_that_was_right_before_gzip_was_undone() -> None:
    long = JSON * 20
    packed = gzip.compress(long, mtime=0)
    came = content(packed, ("Content-Encoding", "gzip"))
    assert of_responses(came, content(long[: len(packed)])) == ["stale-content-length"]


def test_a_length_that_came_wrong_is_not_the_hops() -> None:
    assert of_responses(content(JSON, length=999), content(JSON[:-1], length=999)) == []


@pytest.mark.parametrize("part", [b"", JSON[:10]])
def test_content_that_is_not_known_to_be_all_is_not_judged(part: bytes) -> None:
    whole = content(JSON)
    assert of_responses(whole, content(part, length=len(JSON), partial=True)) == []
    assert of_responses(content(JSON[:20], length=len(JSON), partial=True), content(part)) == []
    assert of_responses(whole, content(None, length=len(JSON))) == []


def test_a_shorter_answer_and_a_shorter_request_are_cut() -> None:
    assert of_responses(content(JSON), content(JSON[:-5])) == ["body-truncated-by-hop"]
    lines = [("Content-Type", "text/plain")]
    assert of_requests(request(lines, b"one two"), request(lines, b"one")) == ["body-truncated-by-hop"]


@pytest.mark.parametrize("status", [401, 204, 304])
def test_another_answer_is_not_a_shorter_one(status: int) -> None:
    found = of_responses(content(JSON), content(b"", status=status))
    assert "body-truncated-by-hop" not in found


def test_answers_to_head_have_no_content_to_lose() -> None:
    assert of_responses(content(JSON), content(b"", length=len(JSON)), request(method=b"HEAD")) == []


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_codings(coding: str, pack) -> None:
    packed, line = pack(JSON), ("Content-Encoding", coding)
    came = content(packed, line)
    assert of_responses(came, came) == []
    assert of_responses(came, content(JSON)) == []
    assert of_responses(came, content(JSON, line)) == ["stale-content-encoding"]
    assert of_responses(came, content(JSON.replace(b" ", b""), line)) == ["stale-content-encoding"]
    assert of_responses(came, content(packed)) == ["content-encoding-dropped-by-hop"]
    # What came broken was not broken here.
    assert of_responses(content(JSON, line), content(JSON, line)) == []


STREAM = b"".join(b"data: %s\n\n" % json.dumps({"n": n}).encode() for n in range(4)) + b"data: [DONE]\n\n"


def stream(body: bytes, *lines: tuple[str, str]) -> Response:
    return response([("Content-Type", "text/event-stream"), *lines], body)


@pytest.mark.parametrize(
    ("went", "rules"),
    [
        (STREAM, []),
        (STREAM.replace(b"\n", b"\r\n"), []),
        (STREAM.replace(b'"n": ', b'"n":'), []),
        (b": ping\n\n" + STREAM, []),
        (STREAM.replace(b'data: {"n": 2}\n\n', b""), ["events-lost-by-hop"]),
        (STREAM.removesuffix(b"data: [DONE]\n\n"), ["events-lost-by-hop"]),
        (STREAM[:-5], ["body-truncated-by-hop", "events-lost-by-hop"]),
        (b"data: something else\n\n", []),
        (STREAM.replace(b"0", b"9").replace(b'data: {"n": 2}\n\n', b""), []),  # translated: not judged
        (b"", []),
    ],
)
def test_streams(went: bytes, rules: list[str]) -> None:
    assert of_responses(stream(STREAM), stream(went)) == rules


def test_a_usage_that_was_not_asked_for_may_go() -> None:
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    asked = request([], b'{"stream": true, "stream_options": {"include_usage": true}}', method=b"POST")
    assert of_responses(stream(STREAM + usage), stream(STREAM)) == []
    assert of_responses(stream(STREAM + usage), stream(STREAM), asked) == ["events-lost-by-hop"]


def test_a_client_that_goes_away_loses_its_events_itself() -> None:
    short = Exchange(request=request(), response=stream(STREAM[:30]), error="Client disconnected.")
    assert "events-lost-by-hop" not in found(
        legs(short, Exchange(request=request(), response=stream(STREAM)))
    )


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (
            {"messages": [{"role": "user", "content": "é"}]},
            {"messages": [{"role": "user", "content": "é"}]},
            False,
        ),
        ({"model": "a", "stream": True}, {"model": "b", "stream": False}, False),
        ({"messages": [], "top_p": None}, {"messages": []}, False),
        ({"messages": []}, {"messages": [], "temperature": 1, "n": None}, False),
        ({"temperature": 1}, {"temperature": 1.0}, False),
        (
            {"messages": [{"content": "a"}]},
            {"messages": [{"content": [{"type": "text", "text": "a"}]}]},
            False,
        ),
        ({"messages": [{"content": "a"}]}, {"messages": [{"content": "a", "cache_control": {}}]}, False),
        ({"session_id": "1", "metadata": {"a": 1}, "messages": []}, {"messages": []}, False),
        ({"seed": 12345678901234567890}, {"seed": 1.2345678901234567e19}, True),
        ({"messages": [{"content": "a\u0301"}]}, {"messages": [{"content": "á"}]}, True),
        ({"tools": [{"a": 1}, {"b": 2}]}, {"tools": [{"a": 1}]}, True),
        ({"tools": [{"a": {"strict": True}}]}, {"tools": [{"a": {}}]}, True),
        ({"logprobs": True}, {"logprobs": 1}, True),
        ({"reasoning_effort": "high", "messages": []}, {"messages": []}, True),
    ],
)
def test_requests(before: object, after: object, changed: bool) -> None:
    def posted(asked: object, target: bytes = b"/v1/chat/completions") -> Request:
        return request([], json.dumps(asked).encode(), method=b"POST", target=target)

    assert of_requests(posted(before), posted(after)) == ["request-body-changed-by-hop"] * changed
    assert of_requests(posted(before), posted(after, b"/v1/messages")) == []


def test_deep_content_does_no_harm() -> None:
    deep = b'{"messages":' + b"[" * 400 + b"]" * 400 + b"}"
    other = deep.replace(b"[]", b"[1]")
    ask = {"method": b"POST", "target": b"/v1/chat/completions"}
    assert of_requests(request([], deep, **ask), request([], deep + b" ", **ask)) == []
    assert of_requests(request([], other, **ask), request([], deep, **ask)) == ["request-body-changed-by-hop"]


# --- signatures and credentials


def signed(*lines: tuple[str, str], names: str = "host;x-amz-date") -> Request:
    value = f"AWS4-HMAC-SHA256 Credential=A/b, SignedHeaders={names}, Signature=0123"
    return request([("Authorization", value), ("Host", "a"), ("X-Amz-Date", "1"), *lines])


def test_a_signature_made_anew_covers_what_is_there() -> None:
    again = request(
        [
            ("Authorization", "AWS4-HMAC-SHA256 Credential=A/b, SignedHeaders=host, Signature=4567"),
            ("Host", "a"),
        ]
    )
    assert of_requests(signed(), again) == []


def test_white_space_is_not_signed_and_mitmproxys_host_is_not_compared() -> None:
    covered = "host;x-a"
    one, other = signed(("X-A", "1  2"), names=covered), signed(("X-A", "1 2"), names=covered)
    assert of_requests(one, other) == []
    moved = replace(other, fields=Fields([(n, b"b" if n == b"Host" else v) for n, v in other.fields]))
    assert of_requests(one, moved) == ["signed-header-changed-after-signing"]
    by_mitmproxy = legs(
        Exchange(request=one, recorder="mitmproxy"), Exchange(request=moved, recorder="mitmproxy")
    )
    assert found(by_mitmproxy) == []


def test_credentials_are_never_printed() -> None:
    lines = [
        ("Proxy-Authorization", "Basic dG9wOnNlY3JldA=="),
        ("Connection", "X-Key"),
        ("X-Key", "t0psecret-t0psecret"),
    ]
    linter = Linter(HOPS, None, Settings(), "client")
    linter.take_legs(legs(Exchange(request=request(lines)), Exchange(request=request(lines))))
    assert {finding.rule for finding in linter.findings} == {
        "connection-named-header-forwarded",
        "proxy-authentication-forwarded",
    }
    assert not any("dG9w" in str(finding) or "t0psecret" in finding.why for finding in linter.findings)


# --- statuses


@pytest.mark.parametrize(
    ("came", "went", "misleading"),
    [
        (500, 502, False),
        (529, 503, False),
        (429, 503, False),
        (429, 529, False),
        (502, 504, False),
        (404, 400, False),
        (418, 500, False),
        (429, 500, True),
        (401, 403, True),
        (401, 502, True),  # the client's own credential was refused
        (400, 500, True),
        (400, 502, True),
        (503, 400, True),
        (500, 200, True),
    ],
)
def test_statuses(came: int, went: int, misleading: bool) -> None:
    answer = response([("X-Upstream-Status", str(came)), ("Retry-After", "1")], status=went)
    rules = of_responses(response([("Retry-After", "1")], status=came), answer)
    assert rules == ["misleading-status-mapping"] * misleading


def test_a_refused_credential_of_the_hops_own_is_a_bad_gateway() -> None:
    ours = Exchange(
        request=request([("Authorization", "Bearer a")]),
        response=response([("X-Upstream-Status", "401")], status=502),
    )
    theirs = Exchange(request=request([("x-api-key", "b")]), response=response(status=401))
    assert found(legs(ours, theirs)) == []


@pytest.mark.parametrize(
    "answer",
    [
        response([("Proxy-Status", "gw; received-status=500")], b"", status=502),
        response([], b"upstream said 500", status=502),
        response([], None, status=502),  # what it says is not known
    ],
)
def test_ways_to_name_the_upstreams_status(answer: Response) -> None:
    assert of_responses(response(status=500), answer) == []


def test_a_number_that_only_holds_the_status_does_not_name_it() -> None:
    answer = response([("X-Status-Page", "15000")], b"request 15001", status=502)
    assert of_responses(response(status=500), answer) == ["status-changed-without-upstream-status"]


def test_a_success_after_a_failed_attempt_is_no_mapping() -> None:
    failed, fine = (Exchange(request=request(), response=response(status=status)) for status in (500, 200))
    answered = Exchange(request=request(), response=response())
    assert found(Legs(client=answered, server=fine, attempts=(failed, fine))) == []


@pytest.mark.parametrize(
    ("started", "took", "upstream_took", "late"),
    [(0.0, 60.0, 90.0, True), (0.0, 60.0, 59.0, False), (None, 0.0, 0.0, True)],
)
def test_timeouts(started: float | None, took: float, upstream_took: float, late: bool) -> None:
    ends = (None, None) if started is None else (started + took, started + 7000 + upstream_took)
    ours = Exchange(request=request(), response=response(status=504), started=started, ended=ends[0])
    theirs = Exchange(
        request=request(),
        response=response(),
        started=None if started is None else started + 7000,
        ended=ends[1],
    )
    assert found(legs(ours, theirs)) == ["timeout-before-upstream-answered"] * late


@pytest.mark.parametrize(
    ("recorder", "answered", "held"), [("har", 9.0, True), ("mitmproxy", 9.0, False), ("har", 0.4, False)]
)
def test_buffering(recorder: str, answered: float, held: bool) -> None:
    ours = Exchange(request=request(), response=stream(STREAM), started=0.0, answered=answered, ended=9.5)
    theirs = replace(ours, answered=0.3, ended=8.0, recorder=recorder)
    assert found(legs(ours, theirs)) == ["stream-buffered-by-hop"] * held


# --- journals, and rebuilt messages


def test_what_our_own_addons_did_on_purpose_is_no_loss() -> None:
    lines = [("X-Request-Id", "req-0123456789")]
    pair = legs(Exchange(request=request(lines)), Exchange(request=request()))
    assert found(pair) == ["header-dropped-by-hop"]
    edit = Edit("strip-hop-headers", "request", "drop", "X-Request-Id", ("a",), (), "asked for")
    assert found(replace(pair, edits=(edit,))) == []


def test_a_journal_is_judged_with_its_exchange() -> None:
    lines = [("Proxy-Authorization", "Basic YTpi"), ("X-A", "1")]
    received = Exchange(request=request([*lines, ("X-B", "2")]))
    linter = Linter(HOPS, None, Settings(), "flows")
    linter.take(
        Exchange(request=request(lines), received=received, evidence=Evidence.HEADERS | Evidence.LEGS)
    )
    (finding,) = linter.findings
    assert (finding.rule, finding.at.recording, finding.at.field) == (
        "proxy-authentication-forwarded",
        "flows",
        "Proxy-Authorization",
    )
    assert finding.why.startswith("the proxy forwarded")


def test_a_journals_digest_is_the_credential_it_stands_for() -> None:
    value = b"Digest-like t0psecret-t0psecret"
    kept = request([("Proxy-Authorization", digested(b"Proxy-Authorization", value).decode())])
    sent = request([("Proxy-Authorization", value.decode())])
    assert of_requests(kept, sent) == ["proxy-authentication-forwarded"]


def test_a_har_proves_nothing_about_framing() -> None:
    lines = [("Keep-Alive", "timeout=75"), ("Connection", "close"), ("Content-Length", "0")]
    rebuilt = response(lines, verbatim=False)
    assert of_responses(rebuilt, rebuilt) == []


def test_every_pair_of_unrelated_exchanges_is_survived() -> None:
    texts = [
        "> GET / HTTP/1.1\n< HTTP/1.1 000 x",
        "> \\x00 \\xff HTTP/9.9\n> : x\n< HTTP/1.1 999 \n<\n< \\xff\\xfe",
        "> POST /v1/messages HTTP/1.1\n> Content-Encoding: gzip\n>\n> {\n< HTTP/1.1 200 OK\n< Date: x\n<\n< data",
        "> POST /v1/messages?%zz HTTP/2.0\n> content-length: -1\n>\n> []\n< HTTP/2.0 429 \n< retry-after: \n<\n< []",
    ]
    run = check(
        [
            recording.read("-", stdin=f"@ leg: client\n{one}\n\n@ leg: server\n{two}".encode())
            for one in texts
            for two in texts
        ],
        RULES,
    )
    assert run.failures == []


# --- what it contributes, trailers, Via, validators


def advice(name: str, pair: Legs) -> list[str]:
    return [why for _, why in RULES[name].check(pair)]


def test_what_a_gateway_contributes() -> None:
    came = request([("Host", "gateway"), ("traceparent", "00-1")])
    went = request([("Host", "router"), ("TRACEPARENT", "00-2"), ("x-a", "1"), ("x-a", "2"), ("x-b", "3")])
    pair = legs(Exchange(request=came), Exchange(request=went))
    assert advice("header-added-by-hop", pair) == ["the gateway added to the request: x-a, x-b"]
    told = replace(pair, edits=(Edit("normalize-betas", "request", "add", "x-a", (), ("1",), ""),))
    assert advice("header-added-by-hop", told) == ["the gateway added to the request: x-b"]
    own = Exchange(request=came, response=response([("x-own", "1")], status=502))
    assert advice("header-added-by-hop", legs(own, Exchange(request=came, response=response()))) == []


@pytest.mark.parametrize(
    ("asked", "came", "went", "lost"),
    [
        ([("TE", "trailers")], [("x-usage", "1")], [], True),
        ([], [("x-usage", "1")], [], False),
        ([("TE", "Trailers")], [("x-usage", "1")], [("x-usage", "1")], False),
        ([("TE", "trailers")], [], [], False),
    ],
)
def test_trailers(asked: Lines, came: Lines, went: Lines, lost: bool) -> None:
    upstream = replace(response(body=b"{}"), trailers=fields(came))
    passed = replace(response(body=b"{}"), trailers=fields(went))
    expected = ["trailers-dropped-by-hop"] if lost else []
    assert of_responses(upstream, passed, request(asked)) == expected
    assert of_responses(upstream, replace(passed, fields=fields([("X-Usage", "1")])), request(asked)) == []
    assert of_responses(upstream, replace(passed, partial=True), request(asked)) == []
    assert of_responses(upstream, replace(passed, body=None), request(asked)) == []


def test_via_of_requests() -> None:
    def pair(came: Lines, went: Lines, **facts: object) -> Legs:
        return legs(Exchange(request=request(came), **facts), Exchange(request=request(went), **facts))

    one, two = [("Via", "1.1 a")], [("Via", "1.1 a, 1.1 b")]
    assert advice("via-missing", pair(one, two)) == []
    assert advice("via-missing", pair(one, [*one, ("Via", "2 b")])) == []
    assert len(advice("via-missing", pair([], []))) == 1
    assert len(advice("via-missing", pair(two, two))) == 1
    # Both sides of one flow: that hop is mitmproxy with our addons.
    assert advice("via-missing", pair([], [], flow="f-1")) == []


@pytest.mark.parametrize(
    ("came", "went", "content", "kept"),
    [
        ('"1"', '"1"', b'{"data": []}', True),
        ('"1"', 'W/"1"', b'{"data": []}', False),
        ('"1"', '"2"', b'{"data": []}', False),
        ('W/"1"', 'W/"1"', b'{"data": []}', False),
        ('"1"', '"1"', b'{"data":[]}', False),
        # What was only cut off has a rule of its own.
        ('"1"', '"1"', b'{"data":', False),
    ],
)
def test_validators(came: str, went: str, content: bytes, kept: bool) -> None:
    upstream = response([("ETag", came), ("Content-Length", "11")], b'{"data":[]}')
    passed = response([("ETag", went)], content)
    assert ("strong-etag-kept-after-change" in of_responses(upstream, passed)) is kept

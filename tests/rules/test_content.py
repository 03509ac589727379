"""Odd but legal content, ignorance, and which of two rules takes a defect."""

import gzip
import zlib

import brotli
import pytest
import zstandard

from conformance.lint import Linter, Settings
from conformance.message import Exchange, Fields, Request, Response
from conformance.rule import load
from conformance.rules import content

TOPIC = {name: rule for name, rule in load().items() if rule.topic == "content"}
DATE = ("Date", "Fri, 20 Nov 2026 03:14:15 GMT")

type Lines = list[tuple[str, str]]


def fields(lines: Lines) -> Fields:
    return Fields([(n.encode("latin-1"), v.encode("latin-1")) for n, v in lines])


def asked(lines: Lines = [], body: bytes | None = None, method: bytes = b"POST", **facts) -> Request:  # noqa: B006
    return Request(method=method, target=b"/v1/messages", fields=fields(lines), body=body, **facts)


def answered(lines: Lines, body: bytes | None = None, code: bytes = b"200", **facts) -> Response:
    return Response(code=code, fields=fields([DATE, *lines]), body=body, **facts)


def lint(request: Request, response: Response | None = None) -> list[tuple[str, str]]:
    linter = Linter(TOPIC, None, Settings(), "example")
    linter.take(Exchange(request=request, response=response))
    assert not linter.failures
    return [(finding.rule, finding.why) for finding in linter.findings]


def names(request: Request, response: Response | None = None) -> list[str]:
    return [name for name, _ in lint(request, response)]


def typed(value: str, body: bytes, **facts) -> list[str]:
    """What is found in a response of that type."""
    return names(asked(), answered([("Content-Type", value)], body, **facts))


JSON = "application/json"


# ---- dates and types that are not there


@pytest.mark.parametrize("code", [b"101", b"500", b"503", b"999", b"abc"])
def test_statuses_that_need_no_date(code: bytes) -> None:
    assert names(asked(), Response(code=code, fields=Fields())) == []


@pytest.mark.parametrize("code", [b"200", b"204", b"304", b"499"])
def test_statuses_that_need_a_date(code: bytes) -> None:
    assert names(asked(), Response(code=code, fields=Fields(), version=b"HTTP/2.0")) == ["date-missing"]


def test_the_answer_to_connect_is_the_proxys() -> None:
    assert names(asked(method=b"CONNECT"), Response(code=b"200", fields=Fields())) == []


def test_a_har_without_fields_proves_nothing() -> None:
    silent = Response(code=b"200", fields=Fields(), body=b"{}", verbatim=False)
    assert names(asked(verbatim=False, body=b"{}"), silent) == []
    telling = Response(code=b"200", fields=fields([("Server", "a")]), body=b"{}", verbatim=False)
    assert names(asked(), telling) == ["content-type-missing", "date-missing"]


@pytest.mark.parametrize("body", [None, b""])
def test_nothing_needs_no_type(body: bytes | None) -> None:
    assert names(asked(body=body), answered([], body)) == []


# ---- Content-Type


@pytest.mark.parametrize(
    "value",
    [
        "application/json",
        "text/html;charset=utf-8",
        "text/html ; charset=utf-8 ;",
        "text/html;;charset=utf-8",
        'multipart/mixed; boundary="gc0p:J=q/M 08"',
        "application/vnd.api+json; profile='x'",
        "*/*",
        'text/plain; a="\\""',
        # others' business: two types, control characters, folds
        "application/json, text/plain",
        "application/json\x01",
        "application/json\r\n x",
    ],
)
def test_media_types(value: str) -> None:
    assert names(asked([("Content-Type", value)])) == []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "json",
        "None",
        "undefined",
        "application/",
        "/json",
        "application / json",
        "application/json charset=utf-8",
        "application/json; charset",
        "application/json; charset=",
        "application/json; charset = utf-8",
        "multipart/form-data; boundary=a:b",
        'text/plain; a="b',
        "text/plain; a=caf\xe9",
        "application/json:",
    ],
)
def test_malformed_media_types(value: str) -> None:
    assert names(asked([("Content-Type", value)])) == ["content-type-malformed"]


@pytest.mark.parametrize("piece", ["a", "a/", ";", "; ", "; a=b", '"', '; a="', '; a="\\', " ", "/b;"])
def test_the_pattern_does_not_backtrack_for_long(piece: str) -> None:
    names(asked([("Content-Type", "a/b" + piece * 30_000)]))


def test_a_secret_in_a_type_is_not_told() -> None:
    ((_, why),) = lint(asked([("Content-Type", "sk-ant-0123456789abcdef")]))
    assert "0123456789" not in why


# ---- content and type


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (JSON, b'{"a":1}'),
        (JSON, b" \n[1]"),
        (JSON, b"null"),
        (JSON, b'"text"'),
        (JSON, b'{"a":1}\n{"a":2}\n'),  # NDJSON under a label that many give it
        (JSON, b"[" * 200_000),  # too deep for us
        (JSON, b'{"n":' + b"1" * 5000 + b"}"),  # too long a number for us
        (JSON, b"data: {}\n\n"),  # the topic events'
        ("application/x-ndjson", b'{"a":1}\n{"a":2}\n'),
        ("application/json-seq", b'\x1e{"a":1}\n'),
        ("application/stream+json", b'{"a":1}{"a":2}'),
        ("text/event-stream", b'{"a":1}'),
        ("text/event-stream", b"<html>"),
        ("text/plain", b"<html></html>"),
        ("text/plain", b"{'a':1"),
        ("application/octet-stream", b'{"a":1}'),
        ("text/html", b"<p>hello"),
        ("text/html", b"{not json}"),
        ("text/html", b"12"),
        ("application/xml", b"<html xmlns='http://www.w3.org/1999/xhtml'>"),
        ("image/svg+xml", b"<?xml version='1.0'?><svg/>"),
        ("image/png", b"\x89PNG\r\n\x1a\n"),
        ("application/x-www-form-urlencoded", b"a=b"),
        ("application/gzip", gzip.compress(b"x")),
        ("text/plain", b"x^2 + y"),
    ],
)
def test_content_that_may_be_so_labelled(value: str, body: bytes) -> None:
    assert typed(value, body) == []


@pytest.mark.parametrize(
    ("value", "body", "expected"),
    [
        (JSON, b"<!doctype html><p>", "content-type-mismatch"),
        (JSON, b"<?xml version='1.0'?>", "content-type-mismatch"),
        (JSON, b"<Error>", "content-type-mismatch"),
        (JSON, b"Internal Server Error", "content-type-mismatch"),
        (JSON, b"not found", "content-type-mismatch"),
        (JSON, b"\x89PNG\r\n\x1a\n", "content-type-mismatch"),
        ("application/problem+json", b"upstream error", "content-type-mismatch"),
        ("text/html", b'{"error":{}}', "content-type-mismatch"),
        ("application/xml", b'{"error":{}}', "content-type-mismatch"),
        ("audio/mpeg", b'{"error":{}}', "content-type-mismatch"),
        ("image/png", b"<html>", "content-type-mismatch"),
        (JSON, b'{"a":1', "json-malformed"),
        (JSON, b'{"a":1}{"a":2}', "json-malformed"),
        (JSON, b"\r\n\r\n", "json-malformed"),
        (JSON, b'"a', "json-malformed"),
        (JSON, b'{"a":"caf\xe9"}', "json-not-utf8"),
        (JSON, b"\xef\xbb\xbf{}", "json-not-utf8"),
        (JSON, '{"a":1}'.encode("utf-16"), "json-not-utf8"),
        (JSON, b'{"a":NaN}', "json-nan-or-infinity"),
        (JSON, b"NaN", "json-nan-or-infinity"),
        (JSON, b'{"a":1,"a":2}', "json-duplicate-member"),
        (JSON, gzip.compress(b"{}"), "compressed-content-without-content-encoding"),
        (JSON, zlib.compress(b"{}" * 99), "compressed-content-without-content-encoding"),
        (JSON, zstandard.compress(b"{}"), "compressed-content-without-content-encoding"),
        (
            JSON,
            brotli.compress(b'{"a":"%s"}' % bytes(range(35, 91)) * 9),
            "compressed-content-without-content-encoding",
        ),
        ("text/html", gzip.compress(b"<p>"), "compressed-content-without-content-encoding"),
    ],
)
def test_one_defect_is_one_finding(value: str, body: bytes, expected: str) -> None:
    assert typed(value, body) == [expected]


def test_two_defects_are_two_findings() -> None:
    assert sorted(typed(JSON, b'{"a":NaN,"a":"\xe9"}')) == [
        "json-duplicate-member",
        "json-nan-or-infinity",
        "json-not-utf8",
    ]


@pytest.mark.parametrize("body", [b"<html>", b'{"a":', gzip.compress(b"{}"), b'{"a":NaN,', b"\xff\xff"])
def test_a_part_is_not_judged(body: bytes) -> None:
    lines = [("Content-Type", JSON)]
    assert names(asked(), answered(lines, body, partial=True)) == []
    assert names(asked(), answered(lines, body, code=b"206")) == []
    assert names(asked(), answered([*lines, ("Content-Length", "999")], body)) == []
    assert names(asked(), answered([*lines, ("Content-Encoding", "exi")], body)) == []


def test_json_is_read_through_its_coding() -> None:
    lines = [("Content-Type", JSON), ("Content-Encoding", "zstd")]
    assert names(asked(), answered(lines, zstandard.compress(b'{"a":NaN}'))) == ["json-nan-or-infinity"]
    assert names(asked(), answered(lines, zstandard.compress(b'{"a":1}'))) == []


def test_content_in_a_har_is_judged_as_text_only() -> None:
    lines = [("Content-Type", JSON), ("Content-Encoding", "gzip")]
    assert names(asked(), answered(lines, b'{"a":1}', verbatim=False)) == []
    assert names(asked(), answered(lines, b'{"a":"\xe9"}', verbatim=False)) == []
    assert names(asked(), answered(lines, b'{"a":', verbatim=False)) == ["json-malformed"]


def test_content_is_masked() -> None:
    body = b"Unauthorized: sk-ant-0123456789abcdef"
    ((_, why),) = lint(asked(), answered([("Content-Type", JSON)], body))
    assert "0123456789" not in why
    ((_, why),) = lint(
        asked([("Content-Type", JSON)], b'{"sk-ant-0123456789abcdef":1,"sk-ant-0123456789abcdef":2}')
    )
    assert "0123456789" not in why


# ---- codings


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"{}")),
        ("deflate", zlib.compress(b"{}")),
        ("deflate", zlib.compress(b"{}")[2:-4]),
        ("br", brotli.compress(b"{}")),
        ("gzip, br", brotli.compress(gzip.compress(b"{}"))),
        ("exi", b"{}"),
        ("gzip", b""),
        ("gzip", None),
    ],
)
def test_content_that_decodes_or_is_not_known(coding: str, body: bytes | None) -> None:
    assert names(asked(), answered([("Content-Type", JSON), ("Content-Encoding", coding)], body)) == []


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "gzip, br"])
def test_content_that_does_not_decode(coding: str) -> None:
    lines = [("Content-Type", JSON), ("Content-Encoding", coding)]
    assert names(asked(), answered(lines, b'{"a":1}')) == ["content-encoding-undecodable"]


def test_equal_codings_are_one_finding() -> None:
    lines = [("Content-Type", JSON), ("Content-Encoding", "gzip"), ("Content-Encoding", "x-gzip")]
    assert names(asked(), answered(lines, gzip.compress(b"{}"))) == ["content-encoding-applied-twice"]


@pytest.mark.parametrize(
    ("accepted", "coding", "expected"),
    [
        (None, "br", False),
        ("gzip, br;q=0.5", "br", False),
        ("*", "zstd", False),
        ("gzip, *;q=0.1", "zstd", False),
        ("x-gzip", "gzip", False),
        ("GZIP", "gzip", False),
        ("gzip", "identity", False),
        ("", "gzip", True),
        ("identity", "gzip", True),
        ("gzip;q=0, *", "gzip", True),
        ("gzip; Q=0.000", "gzip", True),
        ("gzip, deflate", "gzip, br", True),
    ],
)
def test_codings_and_what_was_asked_for(accepted: str | None, coding: str, expected: bool) -> None:
    lines = [] if accepted is None else [("Accept-Encoding", accepted)]
    found = names(asked(lines), answered([("Content-Encoding", coding)]))
    assert found == ["unrequested-content-encoding"] * expected


# ---- charsets


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("text/plain; charset=UTF8", "é".encode()),
        ("text/plain; charset=iso-8859-1", b"caf\xe9"),
        ("text/plain; charset=windows-1252", b"\x93caf\xe9\x94"),
        ("text/plain; charset=shift_jis", "日本".encode("shift_jis")),
        ("text/plain; charset=x-user-defined", b"\xff\xfe"),
        ("text/plain; charset=ISO-8859-8-I", b"\xff"),
        ('text/plain; charset="utf-8"', b"abc"),
        ("text/plain", b"caf\xe9"),
        ("application/json; charset=iso-8859-1", '{"a":"é"}'.encode()),
        ("application/octet-stream; charset=utf-8", b"\xff"),
        ("text/event-stream; charset=utf-8", b"data: \xff\n\n"),
    ],
)
def test_charsets(value: str, body: bytes) -> None:
    assert typed(value, body) == []


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("text/plain; charset=utf-8", b"caf\xe9"),
        ("text/plain; charset=us-ascii", b"caf\xe9"),
        ("text/plain; charset=us-ascii", "é".encode()),
        ("text/html; charset=ISO-8859-1", "<p>é".encode()),
        ("text/plain; charset=None", b"a"),
        ("text/plain; charset=hex", b"a"),
        ("text/plain; charset=rot13", b"a"),
        ("text/plain; charset=..os", b"a"),
        ('text/plain; charset="a\\x00b"', b"a"),
        ("application/json; charset=utf-9", b"{}"),
    ],
)
def test_charsets_that_are_wrong(value: str, body: bytes) -> None:
    assert typed(value, body) == ["charset-mismatch"]


def test_a_har_holds_text_in_no_charset() -> None:
    assert typed("text/plain; charset=iso-8859-1", "é".encode(), verbatim=False) == []


# ---- multipart


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("multipart/form-data; boundary=a", b"--a\r\n\r\nx\r\n--a--\r\n"),
        ("multipart/form-data; boundary=a", b"--a--\r\n"),
        ('multipart/mixed; boundary="a b"', b"preamble\r\n--a b\r\n\r\n\r\n--a b--"),
        ("Multipart/Form-Data; BOUNDARY=a", b"--a--"),
        ("multipart/form-data; boundary=a", None),
        ("multipart/form-data; boundary=a", b""),
    ],
)
def test_boundaries(value: str, body: bytes | None) -> None:
    assert names(asked([("Content-Type", value)], body)) == []


@pytest.mark.parametrize(
    "value", ["multipart/form-data", 'multipart/form-data; boundary=""', "multipart/form-data; boundary=b"]
)
def test_boundaries_that_bound_nothing(value: str) -> None:
    assert names(asked([("Content-Type", value)], b"x--b\r\n--a\r\n\r\n--a--")) == [
        "multipart-boundary-malformed"
    ]


def test_parts_that_a_har_put_together_are_not_searched() -> None:
    request = asked([("Content-Type", "multipart/form-data; boundary=a")], b"purpose=batch", verbatim=False)
    assert names(request) == []


# ---- methods


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"OPTIONS", b"QUERY"])
def test_methods_that_may_have_content(method: bytes) -> None:
    assert names(asked([("Content-Type", JSON)], b"{}", method=method)) == []


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"TRACE"])
def test_methods_whose_content_means_nothing(method: bytes) -> None:
    assert names(asked([("Content-Type", JSON)], b"{}", method=method)) == ["content-in-bodyless-method"]
    assert names(asked([("Content-Type", JSON), ("Content-Length", "0")], b"", method=method)) == []
    assert names(asked([("Content-Type", JSON), ("Content-Length", "2")], None, method=method)) == []


# ---- Accept


@pytest.mark.parametrize(
    ("accepted", "value"),
    [
        (None, "text/html"),
        ("*/*", "text/html"),
        ("*", "text/html"),
        ("json", "text/html"),
        ("text/*", "text/html"),
        ("application/json, */*;q=0.1", "text/html"),
        ("application/json", "application/problem+json"),
        ("Application/JSON", "application/json; charset=utf-8"),
        ("application/octet-stream", "audio/mpeg"),
        ("", "text/html"),
        # Claude Code and the SDKs ask for the stream in the body
        ("application/json", "text/event-stream"),
        ("application/json", "application/x-ndjson"),
        # a stream that was answered without one is the topic events'
        ("text/event-stream", "application/json"),
        ("application/json", ""),
    ],
)
def test_types_that_were_accepted(accepted: str | None, value: str) -> None:
    lines = [] if accepted is None else [("Accept", accepted)]
    found = names(asked(lines), answered([("Content-Type", value)]))
    assert [name for name in found if name == "accept-ignored"] == []


@pytest.mark.parametrize(
    ("accepted", "value"),
    [
        ("application/json", "text/html"),
        ("application/json, text/html;q=0", "text/html"),
        ("image/*", "application/json"),
        ("application/json", "application/xml"),
    ],
)
def test_types_that_were_not_accepted(accepted: str, value: str) -> None:
    lines = [("Accept", accepted)]
    assert names(asked(lines), answered([("Content-Type", value)])) == ["accept-ignored"]
    # an error may be told in any form, and nothing has no form
    assert names(asked(lines), answered([("Content-Type", value)], code=b"404")) == []
    assert names(asked(lines), answered([("Content-Type", value)], b"")) == []
    assert names(asked(lines, method=b"HEAD"), answered([("Content-Type", value)])) == []


def test_the_charsets_python_lacks_are_lacking() -> None:
    for name in content._UNKNOWN_TO_PYTHON:
        assert content._charset(name.encode()) == ""

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

ALL = {name: rule for name, rule in load().items() if rule.topic == "content"}
TOPIC = {
    name: rule for name, rule in ALL.items() if name not in ("user-agent-missing", "json-charset-parameter")
}
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


def test_several_ranges_come_in_a_type_of_their_own() -> None:
    parts = [("Content-Type", "multipart/byteranges; boundary=a"), ("Content-Length", "500")]
    found = names(
        asked([("Accept", "text/plain"), ("Range", "bytes=0-1,5-6")], method=b"GET"),
        answered(parts, code=b"206"),
    )
    assert "accept-ignored" not in found


def test_in_a_har_fields_may_be_left_out() -> None:
    silent = Response(code=b"200", fields=Fields(), body=b"{}", verbatim=False)
    assert names(asked(verbatim=False, body=b"{}"), silent) == []
    revalidated = Response(code=b"200", fields=fields([("Server", "a")]), body=b"{}", verbatim=False)
    telling = Request(method=b"POST", target=b"/", fields=fields([("Host", "a")]), body=b"{}", verbatim=False)
    assert names(telling, revalidated) == ["content-type-missing"]  # of the request


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
        ("application/gzip", gzip.compress(b"x", mtime=0)),
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
        (JSON, gzip.compress(b"{}", mtime=0), "compressed-content-without-content-encoding"),
        (JSON, zlib.compress(b"{}" * 99), "compressed-content-without-content-encoding"),
        (JSON, zstandard.compress(b"{}"), "compressed-content-without-content-encoding"),
        (
            JSON,
            brotli.compress(b'{"a":"%s"}' % bytes(range(35, 91)) * 9),
            "compressed-content-without-content-encoding",
        ),
        ("text/html", gzip.compress(b"<p>", mtime=0), "compressed-content-without-content-encoding"),
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


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"a":', gzip.compress(b"{}", mtime=0), b'{"a":NaN,', b"\xff\xff"]
)
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
        ("gzip", gzip.compress(b"{}", mtime=0)),
        ("deflate", zlib.compress(b"{}")),
        ("deflate", zlib.compress(b"{}")[2:-4]),
        ("br", brotli.compress(b"{}")),
        ("gzip, br", brotli.compress(gzip.compress(b"{}", mtime=0))),
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
    assert names(asked(), answered(lines, gzip.compress(b"{}", mtime=0))) == [
        "content-encoding-applied-twice"
    ]


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
    found = [name for name in found if name != "identity-content-encoding"]
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
        ("multipart/related; boundary=a", b"--a\r\n\r\nx\r\n--a--\r\n"),
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


# ---- forms


def form(*parts: bytes, boundary: str = "a") -> list[str]:
    body = b"".join(b"--a\r\n" + part + b"\r\n" for part in parts) + b"--a--\r\n"
    return names(asked([("Content-Type", f"multipart/form-data; boundary={boundary}")], body))


NAMED = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nx'


@pytest.mark.parametrize(
    "part",
    [
        NAMED,
        b"content-disposition: form-data; name=a\r\nContent-Type: text/plain\r\n\r\n",
        b"Content-Type: text/plain\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\nx",
        b'Content-Disposition: form-data; filename=";name="; name=""\r\n\r\nx',
        b"no header section at all",
    ],
)
def test_parts_with_names(part: bytes) -> None:
    assert form(NAMED, part) == []


@pytest.mark.parametrize(
    "part",
    [
        b"\r\nx",
        b"Content-Type: text/plain\r\n\r\nx",
        b"Content-Disposition: form-data\r\n\r\nx",
        b'Content-Disposition: form-data; filename=";name=a"\r\n\r\nx',
        b"Content-Disposition: attachment; filename=name=\r\n\r\nContent-Disposition: form-data; name=a",
    ],
)
def test_parts_without_names(part: bytes) -> None:
    assert form(NAMED, part) == ["form-part-without-name"]
    assert form(part, part) == ["form-part-without-name"]  # once


def test_other_boundaries_inside_of_parts() -> None:
    assert form(NAMED + b"\r\n--ab\r\n\r\nnot a part") == []


# ---- accept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", ""),
        ("Accept", "*/*"),
        ("Accept", "text/*;q=0.123, application/json; version=1;q=1.000;ext=a"),
        ("Accept", 'multipart/mixed; boundary="a, b;q=2", text/event-stream'),
        ("Accept", "text/html;level=1;q=0.5;ext, */*"),
        ("Accept", "application/json,"),  # empty-list-element
        ("Accept-Encoding", "gzip;q=1.0, identity; q=0.5, *;q=0"),
        ("Accept-Language", "de-CH-1996, en-US;q=0.7, *;q=0.5"),
        ("Accept-Charset", "utf-8, *;q=0"),
    ],
)
def test_sound_accepts(name: str, value: str) -> None:
    assert names(asked([(name, value)])) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", "json"),
        ("Accept", "*; q=.2, */*; q=.2"),
        ("Accept", "text/html;ext;q=0.5"),
        ("Accept", "text/html;q=1.5"),
        ("Accept", "text/html;q=0.1234"),
        ("Accept", "text/html;q="),
        ("Accept", "text/html; application/json"),
        ("Accept", "application/json text/html"),
        ("Accept", "None"),
        ("Accept-Encoding", "gzip deflate"),
        ("Accept-Encoding", "gzip;level=9"),
        ("Accept-Language", "en_US"),
        ("Accept-Language", "en-US;q=2"),
        ("Accept-Charset", "utf-8;q=x"),
    ],
)
def test_malformed_accepts(name: str, value: str) -> None:
    assert names(asked([(name, value)])) == ["accept-malformed"]


# ---- dates, names


@pytest.mark.parametrize(
    ("facts", "late", "fires"),
    [
        ({"started": 0.0}, 300, False),
        ({"started": 0.0}, 302, True),
        ({"started": 0.0}, -302, True),
        ({"started": 0.0, "ended": 3000.0}, 3000, False),  # a long stream
        ({"answered": 0.0}, 302, True),
        ({"ended": 0.0}, 302, True),
        ({}, 99999, False),
        ({"started": 100.0 - 1795144455, "ended": 101.0 - 1795144455}, 0, False),  # counted from 0, by hand
        ({"started": 0.0, "is_replay": True}, 9999, False),
    ],
)
def test_clocks(facts: dict[str, float], late: int, fires: bool) -> None:
    base = 1795144455.0 - late
    moved = {name: time if name == "is_replay" else time + base for name, time in facts.items()}

    def skewed(*lines: tuple[str, str]) -> bool:
        linter = Linter(ALL, None, Settings(), "example")
        linter.take(Exchange(request=asked(), response=answered([*lines]), **moved))
        return "date-skewed" in {finding.rule for finding in linter.findings}

    assert skewed() is fires
    assert not skewed(("Age", "9"))


def test_what_a_browser_had_stored_is_old() -> None:
    sent = answered([], verbatim=False)
    linter = Linter({"date-skewed": ALL["date-skewed"]}, None, Settings(), "example")
    linter.take(Exchange(request=asked(verbatim=False), response=sent, started=1795144455.0 + 86400))
    assert linter.findings == []


@pytest.mark.parametrize(
    ("lines", "fires"),
    [
        ([], True),
        ([("User-Agent", "")], True),
        ([("User-Agent", "-")], True),
        ([("User-Agent", "(a comment)")], True),
        ([("User-Agent", "node")], False),
        ([("User-Agent", "Mozilla/5.0 (X11)")], False),
    ],
)
def test_who_asks(lines: Lines, fires: bool) -> None:
    assert ("user-agent-missing" in {rule.name for rule in ALL.values() if list(_told(rule, lines))}) is fires


def _told(rule, lines: Lines):
    return rule.check(asked(lines)) if rule.name == "user-agent-missing" else ()


@pytest.mark.parametrize(
    "value",
    [
        "inline",
        "attachment;",
        'attachment; filename="a b.txt"',
        'attachment; filename = "a\\"b.txt"',
        "form-data; name=a; filename=b",
        "attachment; filename*=UTF-8'en'%e2%82%ac%20rates",
        'attachment; filename="..txt"',
        'attachment; filename="a',  # quoted-string-malformed
        "attachment; filename=a, inline; filename=b",  # joined-singleton-value
    ],
)
def test_sound_dispositions(value: str) -> None:
    assert names(asked([("Content-Disposition", value)])) == []


@pytest.mark.parametrize(
    "value",
    [
        "filename=a.txt",
        "attachment filename=a.txt",
        "attachment; filename=a b.txt",
        "attachment; filename=a/b.txt",
        'attachment; filename="/etc/passwd"',
        'attachment; filename="a\\\\b.txt"',
        'attachment; filename=".."',
        "attachment; filename*=UTF-8''..%2Fa",
        "attachment; filename*=UTF-8''a%0Ab",
        "attachment; filename*=UTF-8''a%zz",
        "attachment; filename*=latin1''a",
        "attachment; filename*=a",
    ],
)
def test_dispositions_nobody_should_follow(value: str) -> None:
    assert names(asked([("Content-Disposition", value)])) == ["content-disposition-malformed"]


# ---- problems


@pytest.mark.parametrize(
    ("media", "body", "fires"),
    [
        ("application/problem+json", b"{}", False),
        (
            "application/problem+json",
            b'{"type":"about:blank","title":"t","status":500,"detail":"d","x":[]}',
            False,
        ),
        ("application/problem+json", b"[]", True),
        ("application/problem+json", b'{"status":400}', True),
        ("application/problem+json", b'{"status":"500"}', True),
        ("application/problem+json", b'{"status":true}', True),
        ("application/problem+json", b'{"title":5}', True),
        ("application/problem+json; charset=utf-8", b'{"detail":{}}', True),
        ("application/json", b'{"type":"about:blank","title":"t","status":500}', True),
        ("application/json", b'{"type":"about:blank","title":"t","status":400}', False),
        ("application/json", b'{"title":"t","status":500}', False),
        ("application/json", b'{"error":{"type":"a","message":"b"}}', False),
    ],
)
def test_problem_documents(media: str, body: bytes, fires: bool) -> None:
    found = names(asked(), answered([("Content-Type", media)], body, b"500"))
    assert found == ["problem-details-malformed"] * fires


# ---- digests

HELLO = {
    "sha-256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
    "md5": "XUFAKrxLKna5cZ2REBfFkg==",
    "sha": "qvTGHdzF6KLavt4PO0gs2a6pQ00=",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Digest", f"sha-256=:{HELLO['sha-256']}:"),
        ("Repr-Digest", f"md5=:{HELLO['md5']}:, sha-256=:{HELLO['sha-256']}:"),
        ("Digest", f"SHA-256={HELLO['sha-256']},md5={HELLO['md5']}"),
        ("Digest", f"SHA={HELLO['sha']}"),
        ("Content-MD5", HELLO["md5"]),
        ("Content-Digest", "crc32c=:AAAA:"),  # hashlib has it not
        ("Content-Digest", "sha-256=AAAA"),  # structured-field-malformed
        ("Content-Digest", "sha-256=1"),
        ("Content-MD5", "no base64!"),
    ],
)
def test_digests_that_match_or_say_nothing(name: str, value: str) -> None:
    text = ("Content-Type", "text/plain")
    assert names(asked([text, (name, value)], b"hello")) == []
    assert names(asked(), answered([text, (name, value)], b"hello")) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Digest", f"sha-256=:{HELLO['sha-256']}:"),
        ("Repr-Digest", f"sha=:{HELLO['sha']}:, crc32c=:AAAA:"),
        ("Digest", f"md5={HELLO['md5']}"),
        ("Content-MD5", HELLO["md5"]),
    ],
)
def test_digests_of_something_else(name: str, value: str) -> None:
    lines = [("Content-Type", "text/plain"), (name, value)]
    fires = ["digest-mismatch"]
    assert names(asked(lines, b"hello!")) == fires
    assert names(asked(), answered(lines, b"hello!")) == fires
    assert names(asked(), answered(lines, b"")) == []  # HEAD
    assert names(asked(), answered(lines, b"hello!", partial=True)) == []
    assert names(asked(), answered(lines, b"hello!", verbatim=False)) == []
    part = [("Content-Type", "text/plain"), (name, value), ("Content-Range", "bytes 0-5/9")]
    assert names(asked(), answered(part, b"hello!", b"206")) == []
    # Of an error's content only Content-Digest is sure to speak.
    assert names(asked(), answered(lines, b"hello!", b"404")) == fires * (name == "Content-Digest")


def test_digests_are_of_what_was_transferred() -> None:
    packed = gzip.compress(b"hello", mtime=0)
    lines = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")]
    plain = ("Content-Digest", f"sha-256=:{HELLO['sha-256']}:")
    assert names(asked([("Accept-Encoding", "gzip")]), answered([*lines, plain], packed)) == [
        "digest-mismatch"
    ]


@pytest.mark.parametrize("piece", [";", "; ", ";q=0", "a/b,", 'a/b;c="', "a", "a-", "=", ";a=b", "*/*;"])
def test_no_accept_backtracks_for_long(piece: str) -> None:
    lines = [
        (name, "a/b" + piece * 30_000 + "!") for name in ("Accept", "Accept-Language", "Content-Disposition")
    ]
    names(asked(lines))

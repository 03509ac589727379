"""Codings and their bombs, JSON with its edges, and what octets look like."""

import gzip
import sys
import zlib

import brotli
import pytest
import zstandard

from conformance import content
from conformance.content import (
    Undecodable,
    decoded,
    decoding,
    document,
    is_ordinary_json,
    is_whole,
    json_of,
    kind,
    media_type,
)
from conformance.message import Fields, Request, Response, Span, Wire

DATA = b'{"object":"list","data":[]}' * 40


def answer(body: bytes | None, *lines: tuple[str, str], code: bytes = b"200", **facts) -> Response:
    return Response(
        code=code, body=body, fields=Fields([(n.encode(), v.encode()) for n, v in lines]), **facts
    )


def raw_deflate(octets: bytes) -> bytes:
    return zlib.compress(octets)[2:-4]


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("coding", ENCODERS)
def test_codings_are_undone(coding: str) -> None:
    assert decoded(answer(ENCODERS[coding](DATA), ("Content-Encoding", coding))) == DATA


def test_codings_are_undone_in_reverse_order() -> None:
    body = brotli.compress(gzip.compress(DATA))
    assert decoded(answer(body, ("Content-Encoding", "gzip"), ("content-encoding", "br"))) == DATA


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_members_and_what_follows_them(coding: str) -> None:
    one = ENCODERS[coding](DATA)
    if coding != "br":
        assert decoded(answer(one + one, ("Content-Encoding", coding))) == DATA + DATA
    if coding == "gzip":
        assert decoded(answer(one + bytes(8), ("Content-Encoding", coding))) == DATA


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_what_is_not_compressed_cannot_be_undone(coding: str) -> None:
    found = decoding(answer(DATA, ("Content-Encoding", coding)))
    assert found.octets is None
    assert found.problem is not None
    assert found.problem.startswith(f"{coding}: ")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_content_that_breaks_off(coding: str) -> None:
    cut = ENCODERS[coding](DATA)[:-3]
    assert decoding(answer(cut, ("Content-Encoding", coding))).problem == f"{coding}: it breaks off"
    # Where the recording holds a part, that proves nothing; what it gives is given.
    part = decoding(answer(cut, ("Content-Encoding", coding), partial=True))
    assert part.problem is None
    assert part.octets is not None
    assert DATA.startswith(part.octets)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_bombs_do_not_go_off(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "LIMIT", 1 << 20)
    bomb = ENCODERS[coding](bytes(32 << 20))
    assert len(bomb) < 1 << 16
    limit = f"content in {coding} that is more than 1 MiB"
    assert decoding(answer(bomb, ("Content-Encoding", coding))) == content.Decoding(None, None, limit)


def test_a_bomb_in_members_does_not_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "LIMIT", 1 << 20)
    assert content.inflate(gzip.compress(bytes(1 << 18)) * 8) is None


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_a_decoder_that_is_not_installed_knows_nothing(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"br": "brotli", "zstd": "zstandard"}[coding], None)
    assert decoding(answer(DATA, ("Content-Encoding", coding))) == content.Decoding(None, None)


def test_a_brotli_that_cannot_be_stopped_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brotli, "Decompressor", type("Decompressor", (), {}))
    assert decoding(answer(brotli.compress(DATA), ("Content-Encoding", "br"))).octets is None


def test_a_window_that_takes_too_much_memory_is_not_opened() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(DATA) + stream.flush()
    limit = "content in zstd that is more than 64 MiB"
    assert decoding(answer(body, ("Content-Encoding", "zstd"))) == content.Decoding(None, None, limit)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (answer(None, ("Content-Encoding", "gzip")), None),
        (answer(b"", ("Content-Encoding", "gzip")), b""),
        (answer(b"x", ("Content-Encoding", "exi")), None),
        # a HAR's content is decoded already
        (answer(DATA, ("Content-Encoding", "gzip"), verbatim=False), DATA),
    ],
)
def test_content_that_is_not_to_be_decoded(message: Response, expected: bytes | None) -> None:
    assert decoding(message) == content.Decoding(expected, None)


def test_inflate_raises_what_its_caller_knows() -> None:
    with pytest.raises(Undecodable, match="breaks off"):
        content.inflate(gzip.compress(DATA)[:20])


def wire(state: str) -> Wire:
    return Wire(Span(0, 1), (), state=state)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (answer(b"abc"), True),
        (answer(None), False),
        (answer(b"abc", partial=True), False),
        (answer(b"abc", code=b"206"), False),
        (answer(b"abc", ("Content-Length", "3")), True),
        (answer(b"abc", ("Content-Length", "4")), False),
        (answer(b"abc", ("Content-Length", "2")), False),
        (answer(b"abc", ("Content-Length", "x")), True),
        (answer(b"abc", ("Content-Length", "9" * 5000)), True),
        (answer(b"abc", ("Content-Length", "4"), verbatim=False), True),
        (answer(b"abc", wire=wire("complete")), True),
        (answer(b"abc", wire=wire("until-close")), True),
        (answer(b"abc", wire=wire("cut")), False),
        (answer(b"abc", wire=wire("unframed")), False),
    ],
)
def test_whether_it_is_all_there(message: Response, expected: bool) -> None:
    assert is_whole(message) is expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("Content-Type", "Application/JSON;charset=utf-8")], b"application/json"),
        ([("Content-Type", "json")], None),
        ([("Content-Type", "a/b/c")], None),
        ([("Content-Type", "text/plain, application/json")], None),
        ([("Content-Type", "text/plain"), ("Content-Type", "text/plain")], None),
        ([], None),
    ],
)
def test_media_types(lines: list[tuple[str, str]], expected: bytes | None) -> None:
    assert media_type(answer(b"", *lines)) == expected


def test_a_document_is_read_whatever_its_type_says() -> None:
    message = Request(method=b"POST", target=b"/", fields=Fields(), body=b' \r\n{"a": [1, null]}')
    assert document(message) == {"a": [1, None]}
    assert document(message) is document(message)


@pytest.mark.parametrize("body", [b"", b"<html>", b"data: {}", b"\x1f\x8b\x08", b'{"a":', None])
def test_what_holds_no_document(body: bytes | None) -> None:
    assert document(answer(body)) is None


def test_a_part_of_a_document_is_none() -> None:
    assert json_of(answer(b"{}", partial=True)) is None
    assert json_of(answer(b"{}", code=b"206")) is None


@pytest.mark.parametrize(
    ("octets", "value", "encoding"),
    [
        (b'{"a":1}', {"a": 1}, "utf-8"),
        ('{"a":"é"}'.encode(), {"a": "é"}, "utf-8"),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}, "utf-8-sig"),
        (b'{"a":"\xe9"}', {"a": "�"}, "not utf-8"),
        # a surrogate encoded by itself is not UTF-8, one written as an escape is JSON
        (b'{"a":"\xed\xa0\x80"}', {"a": "���"}, "not utf-8"),
        (b'{"a":"\\ud800"}', {"a": "\ud800"}, "utf-8"),
        ('{"a":1}'.encode("utf-16"), {"a": 1}, "utf-16"),
        ('{"a":1}'.encode("utf-16-be"), {"a": 1}, "utf-16-be"),
        (b'"text"', "text", "utf-8"),
        (b"-1.5e3", -1500.0, "utf-8"),
    ],
)
def test_encodings_of_json(octets: bytes, value: object, encoding: str) -> None:
    found = content.read_json(octets)
    assert found is not None
    assert (found.value, found.encoding, found.problem) == (value, encoding, None)


@pytest.mark.parametrize(
    "octets",
    [b"{'a':1}", b'{"a":1,}', b'{"a":01}', b'{"a":"\n"}', b'{"a"', b"{}{}", b"nul", b'{"a":+1}', b"[1 2]"],
)
def test_json_that_does_not_parse(octets: bytes) -> None:
    found = content.read_json(octets)
    assert found is not None
    assert found.problem is not None
    assert (found.value, found.is_sequence) == (None, False)


@pytest.mark.parametrize(
    "octets",
    [
        None, b"", b"{", b"1", b'"a"', b"<html>", b'{"a":NaN}', b'{"a":1,"a":2}', b"\xef\xbb\xbf{}", b'{"a":"\xe9"}',
        b"{}\n{}", "{}".encode("utf-16"),
    ],
)  # fmt: skip
def test_json_that_is_not_ordinary(octets: bytes | None) -> None:
    labelled = ("Content-Type", "application/json; charset=utf-8")
    assert is_ordinary_json(answer(b' {"a":[1,"\xc3\xa9"]}\n', labelled))
    assert not is_ordinary_json(answer(octets, labelled))


def test_json_with_another_label_is_not_ordinary() -> None:
    assert not is_ordinary_json(answer(b"{}"))
    assert not is_ordinary_json(answer(b"{}", ("Content-Type", "text/plain")))
    assert not is_ordinary_json(answer(b"{}", ("Content-Type", "application/json"), partial=True))


def test_documents_on_a_line_each_are_a_sequence() -> None:
    found = content.read_json(b'{"a":1}\n\n{"a":2}\r\n3\n')
    assert found is not None
    assert found.is_sequence
    found = content.read_json(b'{"a":1}\n{"a":')
    assert found is not None
    assert not found.is_sequence


def test_constants_and_repeats_are_named_once() -> None:
    found = content.read_json(b'[NaN, NaN, -Infinity, {"a":1,"b":{"a":1,"c":2,"c":3,"c":4},"a":2}]')
    assert found is not None
    assert (found.constants, found.repeated) == (["NaN", "-Infinity"], ["c", "a"])
    many = b"[%s]" % b",".join(b'{"%d":1,"%d":1}' % (n, n) for n in range(100))
    found = content.read_json(many)
    assert found is not None
    assert len(found.repeated) == content.NAMED


@pytest.mark.parametrize(
    "octets", [b"[" * 200_000, b'{"a":' * 200_000, b"1" * 5000], ids=["lists", "objects", "digits"]
)
def test_json_beyond_our_measure_is_not_known(octets: bytes) -> None:
    assert content.read_json(octets) is None


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"x\x9c", "zlib"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\r\n <!DOCTYPE HTML>", "html"),
        (b"<html lang=en>", "html"),
        (b"<htmlx>", None),
        (b'<?xml version="1.0"?>', "xml"),
        (b"\n\ndata: {}", "event-stream"),
        (b": ping\n\n", "event-stream"),
        (b":", None),
        (b"database: up", None),
        (b"{}", None),
        (b"", None),
    ],
)
def test_kinds(octets: bytes, expected: str | None) -> None:
    assert kind(octets) == expected


def test_what_was_found_out_is_not_kept_with_the_bare_message() -> None:
    message = answer(b"{}", ("Content-Type", "application/json"))
    assert document(message) == {}
    assert not [name for name in message.bare().__dict__ if name.startswith("_")]

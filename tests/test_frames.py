"""Frames on the wire, with wsproto as the judge of what may be sent."""

import struct
import zlib

import pytest
import wsproto.events as ws
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import WSConnection
from wsproto.connection import CLIENT, SERVER
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, ParseFailed

from conformance.frames import MAX_INFLATED, breaches, frames, messages
from conformance.lint import Linter, Settings
from conformance.message import Evidence, Exchange, Fields, Octets, Response, Side, Stream
from conformance.octets import split
from conformance.rule import load

PLAIN = Response(code=b"101", fields=Fields())
DEFLATE = Response(
    code=b"101",
    fields=Fields([(b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits=12")]),
)
OTHER = Response(code=b"101", fields=Fields([(b"Sec-WebSocket-Extensions", b"x-own, permessage-deflate")]))


def frame(first: int, payload: bytes = b"", *, masked: bool = False, coded: int | None = None) -> bytes:
    """One frame; ``coded``: in how many more octets the length is written, if not in as few as can be."""
    size = len(payload)
    extended = (0 if size < 126 else 2 if size < 1 << 16 else 8) if coded is None else coded
    bit = 0x80 if masked else 0
    head = {
        0: struct.pack("!BB", first, bit | size & 0x7F),
        2: struct.pack("!BBH", first, bit | 126, size & 0xFFFF),
        8: struct.pack("!BBQ", first, bit | 127, size),
    }[extended]
    return head + (b"\0\0\0\0" if masked else b"") + payload


# (octets of a server, kind of breach, with permessage-deflate)
WRONG = [
    pytest.param(frame(0x81, b"a", masked=True), "masking", False, id="masked"),
    pytest.param(frame(0xC1, b"\xaa\xae\x05\0"), "reserved-bit", False, id="compressed, not agreed on"),
    pytest.param(frame(0xA1, b"a"), "reserved-bit", True, id="RSV2"),
    pytest.param(frame(0xC9, b"a"), "reserved-bit", True, id="compressed ping"),
    pytest.param(frame(0x01, b"a") + frame(0xC0, b"b"), "reserved-bit", True, id="compressed continuation"),
    pytest.param(frame(0x83, b"a"), "opcode", False, id="opcode 3"),
    pytest.param(frame(0x8B), "opcode", False, id="opcode 11"),
    pytest.param(frame(0x09, b"a"), "control", False, id="fragmented ping"),
    pytest.param(frame(0x89, b"a" * 126), "control", False, id="long ping"),
    pytest.param(frame(0x80, b"a"), "fragment", False, id="continues nothing"),
    pytest.param(frame(0x01, b"a") + frame(0x81, b"b"), "fragment", False, id="interrupted"),
    pytest.param(frame(0x81, b"a" * 125, coded=2), "length", False, id="125 in two octets"),
    pytest.param(frame(0x81, b"a" * 125, coded=8), "length", False, id="125 in eight octets"),
    pytest.param(frame(0x81, b"a" * 65535, coded=8), "length", False, id="65535 in eight octets"),
]


def refused(data: bytes, deflate: bool, *, client: bool = True) -> bool:
    """Whether wsproto, reading as the side that gets these octets, refuses them."""
    extension = PerMessageDeflate()
    extension._enabled = True  # as after a handshake that agreed on it
    protocol = FrameProtocol(client=client, extensions=[extension] if deflate else [])
    protocol.receive_bytes(data)
    try:
        list(protocol.received_frames())
    except ParseFailed:
        return True
    return False


@pytest.mark.parametrize(("data", "kind", "deflate"), WRONG)
def test_what_wsproto_refuses_is_a_breach(data: bytes, kind: str, deflate: bool) -> None:
    good = frame(0x81, b"{}")
    (found,) = breaches(b"HEAD" + good + data + good, 4, "server", DEFLATE if deflate else PLAIN)[:1]
    assert found.kind == kind
    assert found.why.startswith("frame ")
    assert found.span.start >= 4 + len(good)
    assert refused(good + data, deflate)


def test_each_kind_is_told_once_and_says_where() -> None:
    data = frame(0x81, b"a", masked=True) * 3 + frame(0x83)
    found = breaches(data, 0, "server", PLAIN)
    assert [(breach.kind, breach.span.start, breach.span.stop) for breach in found] == [
        ("masking", 0, 7),
        ("opcode", 21, 23),
    ]
    assert found[0].why == "frame 1 of the server, a text frame of 1 octets, is masked"
    assert found[1].why == "frame 4 of the server, a 0x3 frame of 0 octets, has the reserved opcode 0x3"


def test_a_client_must_mask() -> None:
    assert breaches(frame(0x81, b"a", masked=True), 0, "client", PLAIN) == ()
    (found,) = breaches(frame(0x81, b"a"), 0, "client", PLAIN)
    assert (found.kind, refused(frame(0x81, b"a"), False, client=False)) == ("masking", True)


def test_data_behind_a_close_is_lost_and_control_frames_are_not() -> None:
    end = frame(0x88, b"\x03\xe8")
    assert breaches(end + frame(0x89) + end, 0, "server", PLAIN) == ()
    (found,) = breaches(end + frame(0x81, b"late"), 0, "server", PLAIN)
    assert (found.kind, found.span.start) == ("after-close", len(end))


def test_an_extension_nobody_knows_here_may_use_what_is_reserved() -> None:
    assert breaches(frame(0xF3, b"a"), 0, "server", OTHER) == ()
    assert breaches(frame(0xF3, b"a", masked=True), 0, "server", OTHER)[0].kind == "masking"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_header_that_is_cut_is_no_frame_and_a_cut_payload_is(cut: int) -> None:
    data = frame(0x81, b"a" * 126, masked=True)  # eight octets of header
    found = list(frames(data[:cut], 0))
    assert len(found) == (cut >= 8)
    assert all(one.length == 126 for one in found)


def test_a_length_that_cannot_be_ends_the_reading() -> None:
    assert not list(frames(b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0" + frame(0x83), 0))


sizes = st.sampled_from([0, 1, 125, 126, 65535, 65536])
kinds = st.sampled_from(["text", "fragmented", "ping", "compressed"])


@settings(max_examples=40)
@given(st.lists(st.tuples(kinds, sizes), max_size=6), st.booleans(), st.booleans())
def test_what_wsproto_sends_is_no_breach(drawn, from_client: bool, deflate: bool) -> None:
    extension = PerMessageDeflate()
    extension._enabled = True
    sender = FrameProtocol(client=from_client, extensions=[extension] if deflate else [])
    data, expected = b"", 0
    for kind, size in drawn:
        if kind == "ping":
            data += sender.ping(b"a" * min(size, 125))
            expected += 1
        elif kind == "fragmented":
            data += (
                sender.send_data(b"a" * size, fin=False) + sender.ping(b"") + sender.send_data(b"b", fin=True)
            )
            expected += 3
        else:
            data += sender.send_data("a" * size, fin=True)
            expected += 1
    data += sender.close(1000, "done")
    opened, side = DEFLATE if deflate else PLAIN, "client" if from_client else "server"
    assert breaches(data, 0, side, opened) == ()
    found = list(frames(data, 0))
    assert len(found) == expected + 1
    assert found[-1].payload + found[-1].length == len(data)


@settings(max_examples=200)
@given(st.binary(max_size=40), st.booleans())
def test_octets_without_a_breach_are_taken_by_wsproto(data: bytes, from_client: bool) -> None:
    side = "client" if from_client else "server"
    if breaches(data, 0, side, PLAIN):
        return
    ends = [one.payload + one.length for one in frames(data, 0)]
    whole = data[: max((end for end in ends if end <= len(data)), default=0)]
    # What a close frame or a text says is for other rules.
    if not any(one.opcode in (1, 8) for one in frames(whole, 0)):
        assert not refused(whole, False, client=not from_client)


def upgraded(server: bytes, fields: bytes = b"Upgrade: websocket\r\n") -> Stream:
    ask = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
    answer = b"HTTP/1.1 101 -\r\n" + fields + b"\r\n"
    return split(
        Stream(
            client=Octets(side="client", data=ask + frame(0x81, b"{}")),
            server=Octets(side="server", data=answer + server),
        )
    )


def test_frames_are_looked_for_behind_a_101_to_websocket_only() -> None:
    found = upgraded(frame(0x83))
    assert [breach.kind for breach in found.client.breaches] == ["masking"]
    assert [breach.kind for breach in found.server.breaches] == ["opcode"]
    assert found.server.breaches[0].span.start == found.server.rest
    other = upgraded(frame(0x83), b"Upgrade: h2c\r\n")
    assert (other.client.breaches, other.server.breaches) == ((), ())


# ---- what the frames carry


class Talk:
    """Two wsproto peers, and what each of them sent, with the time of each piece."""

    def __init__(self, *agreed: str, deflate: bool = True) -> None:
        self.peers = {"client": WSConnection(CLIENT), "server": WSConnection(SERVER)}
        self.sent: dict[str, list[bytes]] = {"client": [], "server": []}
        self.times: dict[str, list[tuple[int, float]]] = {"client": [], "server": []}
        self.clock = 0.0
        offer = [PerMessageDeflate()] if deflate else []
        self.send("client", ws.Request(host="api.example", target="/v1/responses", extensions=offer))
        answer = PerMessageDeflate(**dict.fromkeys(agreed, True)) if deflate else None
        self.send("server", ws.AcceptConnection(extensions=[answer] if answer else []))

    def send(self, side: Side, event: ws.Event, *, cut: int = 10**9) -> None:
        data = self.peers[side].send(event)
        for at in range(0, len(data), cut):
            self.clock += 1
            self.times[side].append((sum(map(len, self.sent[side])), self.clock))
            self.sent[side].append(data[at : at + cut])
        other = self.peers["server" if side == "client" else "client"]
        other.receive_data(data)
        list(other.events())

    def stream(self) -> Stream:
        client, server = (
            Octets(side=side, data=b"".join(self.sent[side]), times=tuple(self.times[side]))
            for side in ("client", "server")
        )
        return split(Stream(client=client, server=server))

    def exchange(self) -> Exchange:
        (found,) = self.stream().exchanges
        return found


said = st.lists(
    st.tuples(
        st.sampled_from(["client", "server"]),
        st.sampled_from(["text", "bytes", "parts", "ping"]),
        st.text(max_size=40) | st.integers(0, 70_000).map(lambda size: "a" * size),
        st.integers(1, 5000),
    ),
    max_size=8,
)
takeovers = st.lists(
    st.sampled_from(["client_no_context_takeover", "server_no_context_takeover"]), unique=True, max_size=2
)


@settings(max_examples=60)
@given(said, takeovers, st.booleans())
def test_messages_are_what_wsproto_sent(drawn, agreed: list[str], deflate: bool) -> None:
    talk = Talk(*agreed, deflate=deflate)
    expected = []
    for side, kind, text, cut in drawn:
        if kind == "ping":
            talk.send(side, ws.Ping(payload=text.encode()[:100]), cut=cut)
            expected.append((side, "PING", text.encode()[:100]))
        elif kind == "bytes":
            talk.send(side, ws.BytesMessage(data=text.encode()), cut=cut)
            expected.append((side, "BINARY", text.encode()))
        elif kind == "text":
            talk.send(side, ws.TextMessage(data=text), cut=cut)
            expected.append((side, "TEXT", text.encode()))
        else:
            talk.send(side, ws.TextMessage(data=text, message_finished=False), cut=cut)
            talk.send(side, ws.Ping(payload=b"between"))
            talk.send(side, ws.TextMessage(data="end"), cut=cut)
            expected += [(side, "PING", b"between"), (side, "TEXT", text.encode() + b"end")]
    talk.send("server", ws.CloseConnection(code=1011, reason="done"))
    exchange = talk.exchange()
    *others, close = exchange.frames
    assert [(frame.sender, frame.opcode, frame.content) for frame in others] == expected
    assert (close.sender, close.opcode, close.code, close.content) == ("server", "CLOSE", 1011, b"done")
    assert close.time == exchange.ended == talk.clock
    assert Evidence.WEBSOCKET in exchange.evidence


def test_without_times_there_is_no_order() -> None:
    talk = Talk()
    talk.send("client", ws.TextMessage(data="hello"))
    talk.times["client"].clear()
    exchange = talk.exchange()
    assert (exchange.frames, Evidence.WEBSOCKET in exchange.evidence) == ((), False)


def carried(data: bytes, opened: Response = PLAIN) -> list[tuple[str, bytes]]:
    return [(frame.opcode, frame.content) for _, frame in messages(data, 0, "server", opened)]


HELLO = frame(0x81, b"hello")
SURE = [("TEXT", b"hello")]


@pytest.mark.parametrize(
    ("more", "opened"),
    [
        pytest.param(frame(0x81, b"cut")[:-1], PLAIN, id="cut"),
        pytest.param(frame(0x01, b"begun"), PLAIN, id="not finished"),
        pytest.param(frame(0x80, b"a") + HELLO, PLAIN, id="continues nothing"),
        pytest.param(frame(0x01, b"a") + HELLO, PLAIN, id="interrupted"),
        pytest.param(frame(0xC1, b"a") + HELLO, PLAIN, id="compressed, not agreed on"),
        pytest.param(frame(0x83) + HELLO, PLAIN, id="reserved opcode"),
        pytest.param(frame(0xC1, b"\xff\xff\xff") + HELLO, DEFLATE, id="does not inflate"),
    ],
)
def test_behind_what_cannot_be_read_nothing_is_said(more: bytes, opened: Response) -> None:
    assert carried(HELLO + more, opened) == SURE


def test_an_extension_nobody_knows_here_may_have_made_anything_of_the_payload() -> None:
    assert carried(HELLO, OTHER) == []


def test_a_wrong_mask_or_length_hides_nothing() -> None:
    assert carried(frame(0x81, b"hello", masked=True) + frame(0x81, b"hello", coded=8)) == SURE * 2


def test_closes_with_and_without_a_code() -> None:
    found = [found for _, found in messages(frame(0x88) + frame(0x88, b"\x03\xe8why"), 0, "server", PLAIN)]
    assert [(close.code, close.content) for close in found] == [(None, b""), (1000, b"why")]


def test_what_swells_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    swelling = deflate.compress(b"a" * MAX_INFLATED) + deflate.flush(zlib.Z_SYNC_FLUSH)
    small = frame(0x81, b"hello")
    assert len(swelling) < MAX_INFLATED // 500
    assert carried(small + frame(0xC1, swelling[:-4]) * 2 + small, DEFLATE)[2:] == []
    monkeypatch.setattr("conformance.frames.MAX_MESSAGES", 3)
    assert carried(small * 5) == SURE * 3
    monkeypatch.setattr("conformance.frames.MAX_FRAMES", 2)
    assert carried(small * 5) == SURE * 2


def test_what_is_beyond_the_limits_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    for _ in range(5):
        talk.send("server", ws.TextMessage(data='{"type":"response.created","response":{"id":"r"}}'))
    linter = Linter(load(), None, Settings(), "example")
    linter.take(talk.stream())
    assert not linter.notes()
    monkeypatch.setattr("conformance.frames.MAX_MESSAGES", 3)
    linter.take(talk.stream())
    (note,) = linter.notes()
    assert note == "not looked into: WebSocket messages behind the first 3 frames of a side (in 1 messages)"
    monkeypatch.setattr("conformance.frames.MAX_FRAMES", 2)
    linter.take(talk.stream())
    assert "not looked into: WebSocket frames behind the first 2 of a side (in 1 messages)" in linter.notes()


def test_the_rules_about_sessions_judge_octets_too() -> None:
    talk = Talk()
    talk.send("client", ws.TextMessage(data='{"type":"response.create","model":"m","input":"Hi"}'))
    talk.send("server", ws.TextMessage(data='{"type":"response.created","response":{"id":"r"}}'))
    talk.send("server", ws.CloseConnection(code=1011))
    linter = Linter(load(), None, Settings(), "example")
    linter.take(talk.exchange())
    assert not linter.failures
    found = {finding.rule: finding for finding in linter.findings}
    assert found["websocket-closed-before-completion"].at.part == "frame"

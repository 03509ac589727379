"""Record the octets of HTTP/1 connections as they come and go, so that their framing can be judged.

A flow is what mitmproxy made of the traffic: line ends, chunks, white space and what it refuses are lost in it.
This addon listens where mitmproxy reads and writes, and keeps each connection as a TCP flow, which `hoplint check`
takes for what was on the wire: what clients sent and got before the addons changed it, and what upstreams were sent
and answered after they did. It costs a tenth more time for each request, and recordings double.

The files lie beside those of record-flows, made in the same way and by the same settings: without credentials, for
their owner only. TLS is taken off before; HTTP/2, and connections whose TLS mitmproxy begins inside of its HTTP
layer (a regular proxy that is asked for https), are left out.

Memory is bounded: from `keep` octets of one connection on, or `total` of all, its finished exchanges are written
and forgotten. Where there is none, and behind an upgrade, the connection is not recorded any further. Of what is
open when mitmproxy ends the finished exchanges are written: a recording that ends does not look like a message
that does.

mitmproxy promises nothing about where it reads and writes: this works with 12.2. Where it finds something else it
says so, and mitmproxy does not start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Set
from typing import Any, NamedTuple

from mitmproxy import connection, ctx, exceptions, tcp
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.message import Octets, Stream
from conformance.octets import split
from conformance.policy import PolicyError, RecordFlows
from conformance.policy import RecordOctets as Policy
from conformance.recorder import Recorder, recorder

try:
    from mitmproxy.proxy import commands, events, layer
    from mitmproxy.proxy.layers import HttpLayer
    from mitmproxy.proxy.server_hooks import ServerConnectionHookData
except ImportError as problem:
    raise ImportError(
        f"record-octets works with mitmproxy 12.2; in this one it does not find {problem.name}"
    ) from None

logger = logging.getLogger(__name__)


class Finished(NamedTuple):
    """How many octets of both sides are exchanges that are over."""

    up: int
    down: int
    is_upgraded: bool = False
    """Then all octets are, and what follows is no HTTP."""


def finished(client: bytes, server: bytes) -> Finished:
    """What is over of what both sides sent."""
    found = split(
        Stream(client=Octets(side="client", data=client), server=Octets(side="server", data=server))
    )
    up = down = 0
    for exchange in found.exchanges:
        asked, answered = exchange.request.wire, exchange.response and exchange.response.wire
        if asked is None or not answered or asked.state != "complete" or answered.state != "complete":
            return Finished(up, down)
        up, down = asked.span.stop, answered.span.stop
    if found.exchanges and found.client.switched:
        return Finished(len(client), len(server), is_upgraded=True)
    return Finished(up, down)


class Leg:
    """One connection: what came and went, in the order in which it did."""

    def __init__(self, client: connection.Client, server: connection.Server | None) -> None:
        self.client = client
        self.server = server
        self.pieces: list[tuple[bool, bytes, float]] = []
        self.size = 0
        self.is_over = False
        """Nothing is recorded any more."""

    def add(self, from_client: bool, octets: bytes) -> None:
        self.pieces.append((from_client, bytes(octets), time.time()))
        self.size += len(octets)

    def side(self, from_client: bool) -> bytes:
        return b"".join(octets for side, octets, _ in self.pieces if side is from_client)

    def take(self, up: int, down: int) -> list[tuple[bool, bytes, float]]:
        """Take off so many octets of both sides."""
        left = {True: up, False: down}
        taken, rest = [], []
        for from_client, octets, when in self.pieces:
            here, there = octets[: left[from_client]], octets[left[from_client] :]
            left[from_client] -= len(here)
            if here:
                taken.append((from_client, here, when))
            if there:
                rest.append((from_client, there, when))
        self.pieces = rest
        self.size = sum(len(octets) for _, octets, _ in rest)
        return taken


class RecordOctets:
    """The wiring."""

    name = "record-octets"

    def __init__(self) -> None:
        self.policy = Policy()
        self.settings = RecordFlows()
        self.recorder: Recorder | None = None
        self.legs: dict[str, Leg] = {}
        self.size = 0
        self.taps: dict[str, object] = {}
        """Client's connection -> the layer of it that is listened to, the innermost: outside of it there is TLS."""

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "record_octets")
        mitm.add_options(loader, RecordFlows, "record_flows")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "record_octets")
        settings = mitm.read_options(ctx.options, RecordFlows, "record_flows")
        if self.recorder is not None and settings == self.settings:
            return
        try:
            self.recorder = recorder(settings, "octets")
        except PolicyError as problem:
            raise exceptions.OptionsError(f"record-octets: {problem}") from None
        self.settings = settings

    def running(self) -> None:
        mitm.refuse_unknown_options("record_octets")
        mitm.refuse_unknown_options("record_flows")
        if not callable(getattr(ctx.master.addons.get("nextlayer"), "next_layer", None)):
            logger.error(
                "record-octets works with mitmproxy 12.2; in this one nothing chooses the next layer"
            )

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        # mitmproxy's own addon decides after the scripts: it is asked before, to see what it decides.
        ctx.master.addons.get("nextlayer").next_layer(nextlayer)
        found: Any = nextlayer.layer
        while isinstance(inside := getattr(found, "child_layer", None), layer.Layer):
            found = inside
        if isinstance(found, HttpLayer) and nextlayer.context.client.transport_protocol == "tcp":
            client = nextlayer.context.client
            for each in [each for each in self.legs.values() if each.client is client]:
                self._cut(each)  # the layer outside of this one hears TLS from now on
            self.taps[client.id] = found
            found.handle_event = self._tapped(found, client)  # type: ignore[assignment, method-assign]

    def _tapped(self, found: HttpLayer, client: connection.Client) -> Callable[[events.Event], Iterator[Any]]:
        handle = found.handle_event

        def handle_event(event: events.Event) -> Iterator[commands.Command]:
            if isinstance(event, events.DataReceived):
                self._heard(found, client, event.connection, event.data, is_sent=False)
            for command in handle(event):
                if isinstance(command, commands.SendData):
                    self._heard(found, client, command.connection, command.data, is_sent=True)
                yield command

        return handle_event

    def _heard(
        self,
        where: object,
        client: connection.Client,
        at: connection.Connection,
        octets: bytes,
        *,
        is_sent: bool,
    ) -> None:
        if self.taps.get(client.id) is not where or at.alpn == b"h2":
            return
        try:
            self._keep(client, at, octets, is_sent=is_sent)
        except Exception as problem:  # noqa: BLE001 - the traffic goes on, and what this quotes stays here
            del self.taps[client.id]
            logger.error("record-octets: a client is not recorded any further (%s)", type(problem).__name__)

    def _keep(
        self, client: connection.Client, at: connection.Connection, octets: bytes, *, is_sent: bool
    ) -> None:
        server = at if isinstance(at, connection.Server) else None
        leg = self.legs.get(at.id) or self.legs.setdefault(at.id, Leg(client, server))
        if leg.is_over:
            return
        if server is not None and not leg.size and octets.startswith(b"\x16\x03"):
            leg.is_over = True
            return
        leg.add(is_sent is (server is not None), octets)
        self.size += len(octets)
        if leg.size > self.policy.keep or self.size > self.policy.total:
            self._relieve(leg)

    def _relieve(self, leg: Leg) -> None:
        """Write what is finished; if nothing is, or the connection was upgraded, this was all of it."""
        over = self._cut(leg)
        if over.up and not over.is_upgraded:
            return
        leg.is_over = True
        self.size -= leg.size
        leg.take(leg.size, leg.size)
        logger.warning("record-octets: a connection is not recorded any further: %s", _named(leg))

    def _cut(self, leg: Leg) -> Finished:
        """Write the exchanges that are over."""
        over = finished(leg.side(True), leg.side(False))
        self._write(leg, over.up, over.down)
        return over

    def _write(self, leg: Leg, up: int, down: int) -> None:
        before = leg.size
        taken = leg.take(up, down)
        self.size -= before - leg.size
        if not taken or self.recorder is None:
            return
        flow = tcp.TCPFlow(leg.client, leg.server or connection.Server(address=None))
        flow.messages = [tcp.TCPMessage(*piece) for piece in taken]
        flow.comment = _named(leg)
        if leg.server is not None:
            # What the client asked for is not asked for a second time by mitmproxy.
            flow.metadata["hoplint_leg"] = "server"
        try:
            self.recorder.write(mitm.flow_octets(flow))
        except Exception as problem:  # noqa: BLE001 - its text, or its traceback, may quote the octets
            said = problem.strerror if isinstance(problem, OSError) else type(problem).__name__
            logger.error("record-octets: %s is not recorded: %s", flow.comment, said)

    def client_disconnected(self, client: connection.Client) -> None:
        self._close(client)
        self.taps.pop(client.id, None)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        self._close(data.server)

    def _close(self, at: connection.Connection) -> None:
        leg = self.legs.pop(at.id, None)
        if leg is not None:
            self._write(leg, leg.size, leg.size)

    def done(self) -> None:
        for leg in self.legs.values():
            self._cut(leg)
        self.legs.clear()
        self.taps.clear()  # what mitmproxy says to those it now breaks off begins in the middle


def _named(leg: Leg) -> str:
    if leg.server is None:
        return "octets between a client and mitmproxy"
    host, port = (leg.server.address or ("", 0))[:2]
    return f"octets between mitmproxy and {host}:{port}"


addons = [RecordOctets()]

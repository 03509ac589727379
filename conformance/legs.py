"""One exchange on both sides of a hop: out of a journal, out of a transcript, or out of two recordings.

Two recordings are paired in three steps, the surest first: by a request id that only one client's exchange has;
by what the request asks (method, operation, content) within the client's time; by the operation alone, if only
one client's exchange was open when it began. One client's exchange may have become several upstream (retries).
What cannot be paired is left alone and counted, never guessed: a finding about two strangers is worse than none.

Pairing reads both recordings twice: once for a key of some 600 octets for each exchange, once for the exchanges
themselves. Besides the keys only those exchanges are held that wait for the other half of their pair.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median

from conformance.content import document
from conformance.known import REQUEST_IDS
from conformance.llm import endpoint
from conformance.message import Exchange, Legs, Message, Side, Stream
from conformance.recording import Recording

JOURNAL_HOP = "the proxy"
"""The hop whose two sides a journal tells: mitmproxy with our addons."""

SLACK = 0.02
"""Seconds by which an upstream exchange may seem to begin outside of its client's, on one machine."""

SKEW = 1.0
"""Seconds from which on two recordings were made by different clocks: the difference is then taken off."""

RETRIED = frozenset({0, 408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that clients answer by sending the request again; 0: no response."""

IDS = REQUEST_IDS | {"traceparent", "idempotency-key", "x-amzn-trace-id", "x-litellm-call-id"}
"""Fields whose value may name one request on both sides. An id that several of the client's requests share
(Codex puts its thread's into X-Client-Request-Id) is none."""

ASKED = ("messages", "input", "prompt", "contents", "text", "input_ids", "type")
"""Members of a JSON request that say what is asked. Gateways add, drop and rename others."""

POLLED = re.compile(
    rb"(?:/|\A)(?:health\w*|healthz|livez|liveness|ready\w*|readiness|readyz|ping|metrics|engine_metrics|version|"
    rb"(?:get_)?(?:server|model)_info|get_load|loads|models|list_workers|workers|\*)/?\Z"
)
"""What gateways ask their upstreams by themselves (search in a path)."""


def of_journal(exchange: Exchange) -> Legs | None:
    """Both sides of our own proxy, where its journal holds what came in."""
    received = exchange.received
    if received is None:
        return None
    refused = {
        part: tuple(r for r in exchange.refusals if r.part == part) for part in ("request", "response")
    }
    # What was refused was refused on the side it came in at.
    return Legs(
        client=replace(exchange, request=received.request, received=None, refusals=refused["request"]),
        server=replace(exchange, response=received.response, received=None, refusals=refused["response"]),
        hop=JOURNAL_HOP,
        edits=exchange.edits,
    )


class Marked:
    """Forms legs of a transcript's exchanges that are marked ``@ leg:``, one after the other."""

    def __init__(self) -> None:
        self._client: Exchange | None = None
        self._attempts: list[Exchange] = []

    def take(self, exchange: Exchange) -> Legs | None:
        """Add one exchange; returns the legs that are complete because this one does not belong to them."""
        if exchange.leg == "server" and self._client is not None:
            self._attempts.append(exchange)
            return None
        complete = self.rest()
        self._client = exchange if exchange.leg == "client" else None
        return complete

    def rest(self) -> Legs | None:
        """What is complete because nothing follows."""
        client, attempts = self._client, tuple(self._attempts)
        self._client, self._attempts = None, []
        return made(client, attempts) if client is not None and attempts else None


def made(client: Exchange, attempts: tuple[Exchange, ...], repeats: int = 0) -> Legs:
    """The legs of a client's exchange and the upstream exchanges it became (at least one)."""
    return Legs(client=client, server=attempts[-1], attempts=attempts, repeats=repeats)


# --- two recordings


@dataclass(frozen=True, slots=True)
class Key:
    """What an exchange is recognised by on the other side of the hop."""

    number: int
    method: bytes
    operation: bytes
    """The API's operation, where it is known; else the last two segments of the path."""
    completes: bool
    """It runs a model: a gateway may translate it to another API's operation that does."""
    polled: bool
    websocket: bool
    ids: frozenset[bytes]
    asked: bytes
    """Digest of what is asked; empty: not known."""
    status: int
    started: float | None
    ended: float | None


def key(exchange: Exchange) -> Key:
    """The key of one exchange."""
    request, response = exchange.request, exchange.response
    known = endpoint(request)
    return Key(
        number=exchange.number,
        method=request.method,
        operation=known.name.encode() if known else b"/".join(request.path.strip(b"/").split(b"/")[-2:]),
        completes=known is not None and known.completes,
        polled=request.method in (b"GET", b"HEAD", b"OPTIONS", b"PRI")
        and POLLED.search(request.path) is not None,
        websocket=b"websocket" in request.fields.block.lower() and "sec-websocket-key" in request.fields,
        # A gateway that makes the id tells it the client in the response.
        ids=frozenset(_ids(request)) | frozenset(_ids(response) if response is not None else ()),
        asked=_asked(request),
        status=response.status if response is not None else 0,
        started=exchange.started,
        ended=exchange.ended,
    )


def _ids(message: Message) -> Iterator[bytes]:
    for name in message.fields.names & IDS:
        for line in message.fields.lines(name):
            value = line.value[3:35] if name == "traceparent" else line.value
            if len(value) >= 8:
                yield value


def _asked(request: Message) -> bytes:
    if not request.size:
        return b""
    asked = document(request)
    if isinstance(asked, dict) and (parts := {name: asked[name] for name in ASKED if name in asked}):
        text = json.dumps(parts, sort_keys=True).encode()
    else:
        text = request.content or b""
    return hashlib.sha256(text).digest()[:12]


@dataclass(slots=True)
class Pairing:
    """Which exchange of one recording is which of the other."""

    attempts: dict[int, list[int]] = field(default_factory=dict)
    """Client's exchange number -> the numbers upstream, in order."""
    repeats: dict[int, int] = field(default_factory=dict)
    """Client's exchange number -> how often the same request had failed before."""
    unpaired: dict[Side, list[int]] = field(default_factory=dict)
    polls: list[int] = field(default_factory=list)
    """Upstream exchanges that the gateway made by itself: health checks and the like."""
    bridged: list[int] = field(default_factory=list)
    """WebSockets upstream that carry what clients asked over HTTP: many to many, so not paired."""

    def notes(self, side: Side) -> list[str]:
        """What a reader of the report has to know about one of the recordings."""
        found = (
            [f"{len(self.attempts)} of its exchanges were found on the other side"]
            if side == "client"
            else []
        )
        if alone := self.unpaired.get(side):
            found.append(f"{len(alone)} not found on the other side: {_numbers(alone)}")
        if side == "server" and self.polls:
            found.append(
                f"{len(self.polls)} were the gateway's own (health checks, discovery): {_numbers(self.polls)}"
            )
        if side == "server" and self.bridged:
            found.append(
                f"{len(self.bridged)} WebSockets carry HTTP requests, and are not compared: {_numbers(self.bridged)}"
            )
        return found


_SHOWN = 12


def _numbers(numbers: list[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(f"#{number}" for number in numbers[:_SHOWN]) + more


def pair(clients: Iterable[Key], servers: Iterable[Key]) -> Pairing:
    """Pair the keys of both sides."""
    clients = list(clients)
    by_id = _unique_ids(clients)
    servers = sorted(_one_clock(list(servers), by_id), key=lambda k: (_started(k), k.number))
    found = Pairing()
    index = _Index(clients)
    for server in servers:
        client = _by_id(server, by_id) or index.find(server)
        if client is not None:
            found.attempts.setdefault(client.number, []).append(server.number)
            index.taken[client.number] += 1
        elif server.polled:
            found.polls.append(server.number)
        elif server.websocket and any(_overlap(client, server) for client in index.http):
            found.bridged.append(server.number)
        else:
            found.unpaired.setdefault("server", []).append(server.number)
    alone = [client.number for client in clients if client.number not in found.attempts]
    if alone:
        found.unpaired["client"] = alone
    for numbers in (found.polls, found.bridged, *found.unpaired.values()):
        numbers.sort()
    failed: Counter[tuple[bytes, bytes, bytes]] = Counter()
    for client in clients:
        what = (client.method, client.operation, client.asked)
        if client.asked and failed[what]:
            found.repeats[client.number] = failed[what]
        failed[what] = failed[what] + 1 if client.status in RETRIED else 0
    return found


def _unique_ids(clients: Iterable[Key]) -> dict[bytes, Key]:
    times = Counter(name for client in clients for name in client.ids)
    return {name: client for client in clients for name in client.ids if times[name] == 1}


def _one_clock(servers: list[Key], by_id: dict[bytes, Key]) -> list[Key]:
    """The keys by the client's clock, as far as ids tell the difference."""
    known = ((server, _by_id(server, by_id)) for server in servers)
    apart = [s.started - c.started for s, c in known if c and s.started is not None and c.started is not None]
    skew = median(apart) if apart else 0.0
    if abs(skew) < SKEW:
        return servers
    return [
        replace(
            server,
            started=server.started and server.started - skew,
            ended=server.ended and server.ended - skew,
        )
        for server in servers
    ]


def _by_id(server: Key, by_id: dict[bytes, Key]) -> Key | None:
    # An id says more than a method: that a hop changed it is a defect to be found.
    named = {by_id[name].number: by_id[name] for name in server.ids if name in by_id}
    if len(named) != 1:
        return None
    (client,) = named.values()
    return client if client.websocket == server.websocket else None


_WINDOW = 64
"""Client's exchanges that are looked at for one upstream, newest first: more are not open at once on one key."""


class _Index:
    """The client's exchanges by what is asked and by operation, in the order they began."""

    def __init__(self, clients: list[Key]) -> None:
        self.taken: Counter[int] = Counter()
        self.http = [client for client in clients if not client.websocket and client.completes]
        self._asked: dict[tuple[object, ...], list[Key]] = defaultdict(list)
        self._operation: dict[tuple[object, ...], list[Key]] = defaultdict(list)
        for client in sorted(clients, key=lambda k: (_started(k), k.number)):
            if client.asked:
                self._asked[client.method, client.websocket, client.asked].append(client)
            self._operation[_operation(client)].append(client)

    def find(self, server: Key) -> Key | None:
        if server.asked:
            same = self._open(self._asked.get((server.method, server.websocket, server.asked), []), server)
            if same:
                # Of several that ask the same at once: one that nothing was found for yet, the oldest.
                return min(
                    same, key=lambda client: (self.taken[client.number], client.started or client.number)
                )
        alike = self._open(self._operation.get(_operation(server), []), server)
        free = [client for client in alike if not self.taken[client.number]] or alike
        if server.started is None:
            return free[0] if free and not self.taken[free[0].number] else None
        if len(free) != 1:
            return None
        client = free[0]
        # A second upstream exchange that asks something else is not the first one's retry.
        again = bool(self.taken[client.number] and client.asked and server.asked)
        return client if not again or client.operation != server.operation else None

    def _open(self, candidates: list[Key], server: Key) -> list[Key]:
        """Those that were open when the upstream exchange began; without times all that are not taken."""
        if server.started is None:
            return [client for client in candidates if not self.taken[client.number]] or candidates[-1:]
        started = server.started
        stop = bisect_right(candidates, started + SLACK, key=_started)
        near = [
            client
            for client in candidates[max(0, stop - _WINDOW) : stop]
            if client.started is not None and (client.ended is None or started <= client.ended + SLACK)
        ]
        inside = [client for client in near if _inside(client, started)]
        return inside or near


def _started(key: Key) -> float:
    return key.started or 0.0


def _inside(client: Key, moment: float) -> bool:
    return _started(client) <= moment and (client.ended is None or moment <= client.ended)


def _operation(key: Key) -> tuple[object, ...]:
    return (key.method, key.websocket, b"*" if key.completes else key.operation)


def _overlap(client: Key, server: Key) -> bool:
    if client.started is None or server.started is None or client.ended is None or server.ended is None:
        return True
    return client.started <= server.ended and server.started <= client.ended


def read(
    client: Recording, server: Recording, progress: Callable[[int], None] | None = None
) -> tuple[Pairing, Iterator[Legs]]:
    """Pair two recordings: the pairing, and the legs as the second reading finds them complete.

    ``progress`` is called with the number of exchanges read so far, over both readings of both. Raises nothing:
    see ``Recording.error``.
    """
    done = 0

    def exchanges(recording: Recording) -> Iterator[Exchange]:
        nonlocal done
        for item in recording:
            for exchange in item.exchanges if isinstance(item, Stream) else (item,):
                done += 1
                if progress is not None:
                    progress(done)
                yield exchange

    pairing = pair(map(key, exchanges(client)), map(key, exchanges(server)))
    return pairing, _legs(exchanges(client), exchanges(server), pairing)


def _legs(clients: Iterable[Exchange], servers: Iterable[Exchange], pairing: Pairing) -> Iterator[Legs]:
    wanted = {number for numbers in pairing.attempts.values() for number in numbers}
    upstream = (exchange for exchange in servers if exchange.number in wanted)
    held: dict[int, Exchange] = {}
    for exchange in clients:
        numbers = pairing.attempts.get(exchange.number)
        if numbers is None:
            continue
        # Both recordings are in the order of time, more or less: what is read too early waits here.
        while not held.keys() >= set(numbers):
            found = next(upstream, None)
            if found is None:
                break
            held[found.number] = found
        attempts = tuple(held.pop(number) for number in numbers if number in held)
        if attempts:
            yield made(exchange, attempts, pairing.repeats.get(exchange.number, 0))
    for _ in upstream:  # to the end, so that what is broken there is known
        pass

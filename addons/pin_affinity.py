"""Send back, for clients that do not, the token by which a server keeps a session in its place.

llm-d names the pod of a session in x-session-token, the ChatGPT backend what it holds of a turn in
x-codex-turn-state, and both find the place again only if the client echoes it. Clients that know nothing of the
header, and gateways that build their requests anew, lose it, and the next request lands elsewhere. This addon
remembers the tokens in `session.tokens` that responses issue, and adds them to requests of the same session.

- A token goes only where it came from, and only to whom it was for: the same upstream (scheme, host, port), the
  same session by all headers that name it, and the same credential. A request that names no session gets none,
  so this addon stands behind inject-session.
- What the client sends itself stays, but for a token that this upstream is known to have issued to other sessions
  only: that is dropped, and the session's own is sent if there is one. A token that two sessions were issued, as
  two on one pod are, is nobody's.
- Tokens in `session.turn-tokens` hold until the user speaks again. They are added only to requests that bring the
  results of tools, which the content says (not of requests that mitmproxy streams), and to the WebSocket
  handshake after a connection that broke off: any close but 1000, 1001 and 1005.
- After a WebSocket was closed with 1011 a session stays on its account for `hold` seconds, until a connection of
  it has ended well: what the upstream holds of the session is the account's. A request with another account
  (`session.accounts`) gets the header back if its credential is the same one. With another credential it would be
  refused, or answered by a model that has forgotten everything: it is answered with 502 here, as codex-lb does
  since 1.24. No credential is ever remembered or sent for another one.
- Tokens are as good as credentials: the journal holds a digest. They are kept in memory, for `ttl` seconds after
  they were last used.
- Where `redis` in `[policy.shared]` is set, all proxies that have the same `key` know of the same tokens: they are
  sealed with it, and never in Redis as they are. A message waits for Redis `patience` milliseconds at most.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import conversation, mitm, shared
from conformance.content import document
from conformance.grammar import is_field_line
from conformance.known import BRANCHES, CONVERSATION_IDS
from conformance.message import FieldLine, Fields, Request
from conformance.policy import PinAffinity as Policy
from conformance.policy import Session, Shared
from conformance.secret import is_placeholder
from conformance.tracker import digest
from conformance.websocket import is_handshake

ENDED_WELL = frozenset({1000, 1001, 1005})
"""Closes after which nothing is taken up again (RFC 6455 §7.4.1)."""
UNEXPECTED = 1011
OWNERS = 64
"""Sessions that are remembered for one token; one with more is nobody's."""


class Place(NamedTuple):
    """Whose request it is, and where it goes."""

    key: bytes
    """Of upstream, session and credential: whom a token is for."""
    upstream: bytes
    session: bytes
    """Of upstream and session, the first id that there is."""
    credential: bytes


def place(fields: Fields, upstream: bytes, session: Session, credential: bytes) -> Place | None:
    """None where the request, whose field lines these are, names no session."""
    order = dict.fromkeys((*([session.header] if session.header else ()), *CONVERSATION_IDS))
    ids = [(name, value) for name in order if (value := _id(fields, name))]
    if not ids:
        return None
    branch = [(name, value) for name in sorted(BRANCHES) if (value := _id(fields, name))]
    named = [part for name, value in (*ids, *branch) for part in (name.encode(), value)]
    return Place(
        key=digest(upstream, credential, *named),
        upstream=upstream,
        session=digest(upstream, ids[0][1]),
        credential=credential,
    )


def _id(fields: Fields, name: str) -> bytes | None:
    for line in fields.lines(name)[:1]:
        if line.value and is_field_line(*line) and not is_placeholder(line.value):
            return line.value
    return None


# No dataclasses: mitmproxy does not enter a script into sys.modules, where they look for it.
class Pin:
    """What one session was given by one upstream."""

    def __init__(self, used: float) -> None:
        self.used = used
        self.tokens: dict[str, bytes] = {}
        self.broke_off = False
        """Its last WebSocket did."""


class Hold(NamedTuple):
    """A session that stays on its account."""

    since: float
    credential: bytes
    accounts: dict[str, bytes]


class Pins:
    """What is remembered. Bounded, and forgets."""

    def __init__(self, capacity: int, ttl: float, clock: Callable[[], float] = time.time) -> None:
        self._capacity, self._ttl, self._clock = capacity, ttl, clock
        self._pins: OrderedDict[bytes, Pin] = OrderedDict()
        self._owners: OrderedDict[bytes, set[bytes]] = OrderedDict()
        """By upstream and token: the sessions that it was issued to."""
        self._holds: OrderedDict[bytes, Hold] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """No request can be concerned."""
        return not (self._pins or self._owners or self._holds)

    def pin(self, where: Place) -> Pin | None:
        """What the session was given; it is used now."""
        now = self._clock()
        while self._pins and now - next(iter(self._pins.values())).used > self._ttl:
            self._pins.popitem(last=False)
        found = self._pins.get(where.key)
        if found is not None:
            found.used = now
            self._pins.move_to_end(where.key)
        return found

    def apply(self, entry: Sequence[Any], at: float | None = None) -> None:
        """Take what ``told`` made for what has happened at that time, on the clock; None: now."""
        at = self._clock() if at is None else at
        kind, parts, *more = entry
        where = Place(*map(bytes.fromhex, parts))
        match kind, more:
            case "issued", [str(name), str(token)]:
                self._issue(where, name, bytes.fromhex(token), at)
            case "turned", [names]:
                for name in names:
                    if pin := self.pin(where):
                        pin.tokens.pop(name, None)
            case "ended", [bool(broke_off)]:
                if pin := self.pin(where):
                    pin.broke_off = broke_off
            case "held", [accounts]:
                held = {name: bytes.fromhex(value) for name, value in accounts.items()}
                self._holds[where.session] = Hold(at, where.credential, held)
                self._holds.move_to_end(where.session)
                _bound(self._holds, self._capacity)
            case "released", []:
                self._holds.pop(where.session, None)
            case _:
                raise ValueError(f"an entry of another kind: {kind}")

    def _issue(self, where: Place, name: str, token: bytes, at: float) -> None:
        found = self.pin(where)
        if found is None:
            found = self._pins[where.key] = Pin(at)
            _bound(self._pins, self._capacity)
        found.tokens[name] = token
        key = _owner_key(where, name, token)
        owners = self._owners.setdefault(key, set())
        if len(owners) < OWNERS:
            owners.add(where.session)
        self._owners.move_to_end(key)
        _bound(self._owners, self._capacity)

    def is_foreign(self, where: Place, name: str, token: bytes) -> bool:
        """Whether the upstream issued the token to other sessions only."""
        owners = self._owners.get(_owner_key(where, name, token), set())
        return 0 < len(owners) < OWNERS and where.session not in owners

    def held(self, where: Place, seconds: float) -> Hold | None:
        """Where the session is kept."""
        found = self._holds.get(where.session)
        if found is not None and self._clock() - found.since > seconds:
            del self._holds[where.session]
            return None
        return found


def issued(where: Place, name: str, token: bytes) -> list[Any]:
    """A response of the session has brought a token."""
    return _told("issued", where, name, token.hex())


def turned(where: Place, names: Sequence[str]) -> list[Any]:
    """The user speaks again: these tokens were for what is over."""
    return _told("turned", where, list(names))


def ended(where: Place, *, broke_off: bool) -> list[Any]:
    """A WebSocket of the session has ended, as it should or not."""
    return _told("ended", where, broke_off)


def held(where: Place, accounts: Mapping[str, bytes]) -> list[Any]:
    """The session stays on these accounts."""
    return _told("held", where, {name: value.hex() for name, value in accounts.items()})


def released(where: Place) -> list[Any]:
    """The session may go where it wants."""
    return _told("released", where)


def _told(kind: str, where: Place, *more: Any) -> list[Any]:
    return [kind, [part.hex() for part in where], *more]


def _bound[V](kept: OrderedDict[bytes, V], capacity: int) -> None:
    while len(kept) > capacity:
        kept.popitem(last=False)


def _owner_key(where: Place, name: str, token: bytes) -> bytes:
    return digest(where.upstream, name.encode(), hashlib.sha256(token).digest())


def pinned(
    request: Request,
    where: Place,
    pins: Pins,
    policy: Policy,
    session: Session,
    *,
    is_mid_turn: bool | None = None,
) -> Iterator[mitm.Change]:
    """The changes to a request. Raises Refused for one that would take its session to another account.

    ``is_mid_turn``: whether it goes on with a turn; None: not known.
    """
    pin = pins.pin(where)
    for name in session.tokens:
        lines = request.fields.lines(name)
        own = pin.tokens.get(name) if pin else None
        if lines and pins.is_foreign(where, name, lines[0].value):
            for at, line in enumerate(request.fields):
                if line.key == name:
                    why = f"{line.shown_name} was issued to another session"
                    yield mitm.Change("drop", at, None, why, is_secret=True)
            lines = ()
        if own is not None and not lines and (name not in session.turn_tokens or is_mid_turn):
            why = f"{name} is what the upstream gave this session, and the client does not send it back"
            yield mitm.Change("add", -1, FieldLine(name.encode(), own), why, is_secret=True)
    hold = pins.held(where, policy.hold)
    if hold is None:
        return
    for at, line in enumerate(request.fields):
        kept = hold.accounts.get(line.key)
        if kept is None or kept == line.value:
            continue
        if where.credential != hold.credential:
            raise mitm.Refused(
                f"the upstream closed this session with {UNEXPECTED}, and it belongs to another {line.key} than "
                "this request names: it stays there",
                502,
            )
        why = f"after a close with {UNEXPECTED} the session stays on its account"
        yield mitm.Change("set", at, FieldLine(line.name, kept), why)


class PinAffinity:
    """The wiring."""

    name = "pin-affinity"

    def __init__(self) -> None:
        self.policy = Policy()
        self.session = Session()
        self.pins = Pins(self.policy.capacity, self.policy.ttl)
        self.sharing = Shared()
        self.log: shared.Log | None = None
        self.callers: WeakKeyDictionary[http.HTTPFlow, Sequence[bytes]] = WeakKeyDictionary()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "pin_affinity")
        mitm.add_options(loader, Session, "session")
        mitm.add_options(loader, Shared, "shared")

    def configure(self, updated: Set[str]) -> None:
        policy = mitm.read_options(ctx.options, Policy, "pin_affinity")
        self.session = mitm.read_options(ctx.options, Session, "session")
        sharing = mitm.read_options(ctx.options, Shared, "shared")
        before = self.policy.capacity, self.policy.ttl, self.sharing
        if (policy.capacity, policy.ttl, sharing) != before:
            log = mitm.shared_log(self.name, sharing, self.take, policy.ttl)
            if self.log is not None:
                self.log.close()
            self.pins, self.sharing, self.log = Pins(policy.capacity, policy.ttl), sharing, log
        self.policy = policy

    def running(self) -> None:
        mitm.refuse_unknown_options("pin_affinity")
        mitm.refuse_unknown_options("session")
        mitm.refuse_unknown_options("shared")
        if self.log is not None:
            self.log.start()

    def done(self) -> None:
        if self.log is not None:
            self.log.close()

    async def tell(self, entries: Sequence[list[Any]]) -> None:
        """Let what happened be known, to other proxies, too."""
        if self.log is not None and entries:
            await self.log.add(*entries)
            return
        for entry in entries:
            self.pins.apply(entry)

    def take(self, entry: Any, at: float) -> None:
        """What this proxy or another one has told."""
        self.pins.apply(entry, at)

    async def catch_up(self) -> None:
        """Know what the other proxies know."""
        if self.log is not None:
            await self.log.catch_up()

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        # Now: an addon behind this one may put another credential in the caller's place.
        fields = mitm.fields_of(flow.request)
        self.callers[flow] = mitm.credentials(fields)
        if is_handshake(mitm.request_head(flow, fields)):
            await self.catch_up()

        def compute(fields: Fields) -> Iterator[mitm.Change]:
            where = self.placed(flow, fields)
            if where is None:
                return iter(())
            request = mitm.request_head(flow, fields)
            pin = self.pins.pin(where) if is_handshake(request) else None
            return self.pinned(request, where, is_mid_turn=pin.broke_off if pin else None)

        if not self.pins.is_empty and not flow.is_replay:
            mitm.rewrite(flow, "request", self.name, compute)

    async def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.stream or flow.is_replay or not mitm.is_on_the_wire(flow) or mitm.is_refused(flow):
            return
        await self.catch_up()
        fields = mitm.fields_of(flow.request)
        where = None if self.pins.is_empty else self.placed(flow, fields)
        if where is None or is_handshake(mitm.request_head(flow, fields)):
            return
        is_mid_turn = self.is_mid_turn(mitm.whole_request(flow, fields), where)
        if is_mid_turn is False:  # what was given for the last turn is over
            await self.tell([turned(where, self.session.turn_tokens)])

        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return self.pinned(mitm.request_head(flow, fields), where, is_mid_turn)

        mitm.rewrite(flow, "request", self.name, compute)

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None or not mitm.is_on_the_wire(flow) or mitm.is_refused(flow):
            return
        fields = mitm.fields_of(flow.response)
        first = (line for name in self.session.tokens for line in fields.lines(name)[:1])
        given = [line for line in first if line.value and is_field_line(*line)]  # it goes into requests
        if given and flow.response.status_code < 400 and (where := self.place_of(flow)) is not None:
            await self.tell([issued(where, line.key, line.value) for line in given])

    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        where = self.place_of(flow)
        if where is None or flow.websocket is None:
            return
        code = flow.websocket.close_code
        entries = [ended(where, broke_off=code not in ENDED_WELL)] if self.pins.pin(where) else []
        if code == UNEXPECTED:
            fields = mitm.fields_of(flow.request)
            accounts = {name: value for name in self.session.accounts if (value := _id(fields, name))}
            if accounts and self.policy.hold:
                entries.append(held(where, accounts))
        elif code in ENDED_WELL and self.pins.held(where, self.policy.hold):
            entries.append(released(where))
        await self.tell(entries)

    def placed(self, flow: http.HTTPFlow, fields: Fields) -> Place | None:
        """Where the request with these field lines belongs, by the credential that the caller sent."""
        upstream = f"{flow.request.scheme}://{flow.request.host}:{flow.request.port}".lower().encode()
        return place(fields, upstream, self.session, digest(*self.callers.get(flow, ())))

    def place_of(self, flow: http.HTTPFlow) -> Place | None:
        """Where a request that has been sent belongs; None: this addon did not see it begin."""
        return self.placed(flow, mitm.fields_of(flow.request)) if flow in self.callers else None

    def pinned(self, request: Request, where: Place, is_mid_turn: bool | None) -> Iterator[mitm.Change]:
        return pinned(request, where, self.pins, self.policy, self.session, is_mid_turn=is_mid_turn)

    def is_mid_turn(self, request: Request, where: Place) -> bool | None:
        """Whether the request goes on with a turn; None: not known, or nothing hangs on it."""
        pin = self.pins.pin(where)
        if pin is None or pin.tokens.keys().isdisjoint(self.session.turn_tokens):
            return None  # the content need not be read
        asked = conversation.prompt(document(request))
        return asked.is_mid_turn if asked is not None else None


addons = [PinAffinity()]

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
- Tokens are as good as credentials: the journal holds a digest. They are kept in memory only, for `ttl` seconds
  after they were last used.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Set
from typing import NamedTuple
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import conversation, mitm
from conformance.content import document
from conformance.grammar import is_field_line
from conformance.known import BRANCHES, CONVERSATION_IDS, CREDENTIALS
from conformance.message import FieldLine, Fields, Request
from conformance.policy import PinAffinity as Policy
from conformance.policy import Session
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


def who(fields: Fields) -> bytes:
    """A digest of the credentials in a request."""
    names = sorted(CREDENTIALS & fields.names)
    return digest(*[line.value for name in names for line in fields.lines(name)])


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

    def __init__(self, capacity: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
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

    def issue(self, where: Place, name: str, token: bytes) -> None:
        """A response of the session has brought a token."""
        found = self.pin(where)
        if found is None:
            found = self._pins[where.key] = Pin(self._clock())
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
        owners = self._owners.get(_owner_key(where, name, token))
        return bool(owners) and len(owners or ()) < OWNERS and where.session not in (owners or ())

    def hold(self, where: Place, accounts: dict[str, bytes]) -> None:
        """Keep the session on these accounts."""
        self._holds[where.session] = Hold(self._clock(), where.credential, accounts)
        self._holds.move_to_end(where.session)
        _bound(self._holds, self._capacity)

    def held(self, where: Place, seconds: float) -> Hold | None:
        """Where the session is kept."""
        found = self._holds.get(where.session)
        if found is not None and self._clock() - found.since > seconds:
            del self._holds[where.session]
            return None
        return found

    def release(self, where: Place) -> None:
        """The session may go where it wants."""
        self._holds.pop(where.session, None)


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
    for at, line in enumerate(request.fields if hold else ()):
        kept = hold.accounts.get(line.key) if hold else None
        if hold is None or kept is None or kept == line.value:
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
        self.callers: WeakKeyDictionary[http.HTTPFlow, bytes] = WeakKeyDictionary()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "pin_affinity")
        mitm.add_options(loader, Session, "session")

    def configure(self, updated: Set[str]) -> None:
        policy = mitm.read_options(ctx.options, Policy, "pin_affinity")
        self.session = mitm.read_options(ctx.options, Session, "session")
        before, self.policy = self.policy, policy
        if (policy.capacity, policy.ttl) != (before.capacity, before.ttl):
            self.pins = Pins(policy.capacity, policy.ttl)

    def running(self) -> None:
        mitm.refuse_unknown_options("pin_affinity")
        mitm.refuse_unknown_options("session")

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # Now: an addon behind this one may put another credential in the caller's place.
        self.callers[flow] = who(mitm.fields_of(flow.request))

        def compute(fields: Fields) -> Iterator[mitm.Change]:
            where = self.placed(flow, fields)
            if where is None:
                return iter(())
            request = mitm.request_head(flow, fields)
            pin = self.pins.pin(where) if is_handshake(request) else None
            return self.pinned(request, where, is_mid_turn=pin.broke_off if pin else None)

        if not self.pins.is_empty and not flow.is_replay:
            mitm.rewrite(flow, "request", self.name, compute)

    def request(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            where = self.placed(flow, fields)
            request = mitm.whole_request(flow, fields)
            if where is None or is_handshake(request):
                return iter(())
            return self.pinned(request, where, is_mid_turn=self.is_mid_turn(request, where))

        if not self.pins.is_empty and not flow.request.stream and not flow.is_replay:
            mitm.rewrite(flow, "request", self.name, compute)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None or not mitm.is_on_the_wire(flow) or mitm.is_refused(flow):
            return
        fields = mitm.fields_of(flow.response)
        given = [
            line
            for name in self.session.tokens
            for line in fields.lines(name)[:1]
            if line.value and is_field_line(*line)  # it goes into requests
        ]
        if given and flow.response.status_code < 400 and (where := self.place_of(flow)) is not None:
            for line in given:
                self.pins.issue(where, line.key, line.value)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        where = self.place_of(flow)
        if where is None or flow.websocket is None:
            return
        code = flow.websocket.close_code
        if pin := self.pins.pin(where):
            pin.broke_off = code not in ENDED_WELL
        if code == UNEXPECTED:
            fields = mitm.fields_of(flow.request)
            accounts = {name: value for name in self.session.accounts if (value := _id(fields, name))}
            if accounts and self.policy.hold:
                self.pins.hold(where, accounts)
        elif code in ENDED_WELL:
            self.pins.release(where)

    def placed(self, flow: http.HTTPFlow, fields: Fields) -> Place | None:
        """Where the request with these field lines belongs, by the credential that the caller sent."""
        upstream = f"{flow.request.scheme}://{flow.request.host}:{flow.request.port}".lower().encode()
        return place(fields, upstream, self.session, self.callers.get(flow, b""))

    def place_of(self, flow: http.HTTPFlow) -> Place | None:
        """Where a request that has been sent belongs; None: this addon did not see it begin."""
        return self.placed(flow, mitm.fields_of(flow.request)) if flow in self.callers else None

    def pinned(self, request: Request, where: Place, is_mid_turn: bool | None) -> Iterator[mitm.Change]:
        return pinned(request, where, self.pins, self.policy, self.session, is_mid_turn=is_mid_turn)

    def is_mid_turn(self, request: Request, where: Place) -> bool | None:
        """Whether the request goes on with a turn; one that begins a turn ends what was given for the last."""
        pin = self.pins.pin(where)
        if pin is None or pin.tokens.keys().isdisjoint(self.session.turn_tokens):
            return None  # nothing hangs on it: the content need not be read
        asked = conversation.prompt(document(request))
        if asked is not None and not asked.is_mid_turn:
            for name in self.session.turn_tokens:
                pin.tokens.pop(name, None)
        return asked.is_mid_turn if asked is not None else None


addons = [PinAffinity()]

"""Give each request one credential that is one: the client's own, or else the key of this upstream.

A client without a key sends `Bearer None`, a gateway adds its key behind the client's, slime asks the control
plane with no key at all, and each ends as a 401 that somebody retries sixty times. This addon mends what clients
send, and puts in the keys that `[policy.auth]` refers to.

- What is no credential is dropped, on every path: empty values, `Bearer` alone, `None`, `undefined`,
  `your-api-key`, `${API_KEY}`.
- What is one but badly written is written as it should be: `Bearer` before a bare key, once, in that spelling;
  quotes and escaped line ends around it go. What cannot be read stays as it is.
- A key in a header that the upstream does not read moves to the first of `auth.headers`; an OAuth token from
  an API key's header to Authorization.
- Never two: of several lines of one header the first stays, of headers with different credentials the one that
  comes first in `auth.headers` (not known: Authorization). Pairs that are meant for two, such as
  x-litellm-api-key beside the provider's key, stay, and so do equal ones.
- A request without a credential gets `auth.data-key`, or `auth.control-key` on `auth.control-paths` (the data key
  where there is only that one). It stands as Bearer or as API key, as the first of `auth.headers` has it. On
  `auth.open-paths` and in preflights none is put in.
- A real credential of the client is never overwritten unless `overwrite` is set. Words that clients write because
  a library insists on a key (`EMPTY`, `dummy`, `not-used`) give way to the key; so does one of the two keys where
  the other belongs.
- Keys go only to the upstream of reverse mode, or to `hosts`, and without TLS only where `hosts` names the port.
  The host and port that mitmproxy connects to decide, never the Host header, and `map_remote`, which changes
  them later, is refused with 502.
- Keys are read at each request that may need one, so a file may be replaced at any time. One that cannot be read,
  is no single token or is itself a placeholder is answered with 502; a variable that is not set is no key unless
  `auth.required` is. Without a key the requests that need no mending stay as they are, octet by octet.
- That the upstream refuses a key (401, 403) is logged once, and again only after it has taken it.

Journal and log name keys by the setting and by a digest. Where this addon fails, the client is answered with 502.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Set
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ReverseMode

from conformance import credential, mitm
from conformance.credential import OAUTH_TOKENS, Judged
from conformance.known import CREDENTIALS
from conformance.message import FieldLine, Fields, Request
from conformance.policy import Auth, PolicyError, reveal
from conformance.policy import InjectAuth as Policy

logger = logging.getLogger(__name__)

REMEMBERED = 256
"""Refused keys that are remembered; the oldest is forgotten."""

DATA, CONTROL = "auth.data-key", "auth.control-key"

_SCHEMES = re.compile(rb"(?i)\A(?:bearer(?:[\s:=]+|\Z|(?=sk-|eyj)))+")
_AROUND = re.compile(rb"""(?i)\A["'`<\s]+|(?:["'`>\s,]|\\[rnt]|%0[ad]){1,64}\Z""")
_KEY = re.compile(rb"[\x21-\x7e]+")


class Keys(NamedTuple):
    """The keys for the upstream of one request, by the setting that refers to them."""

    found: dict[str, bytes]
    problems: dict[str, str]
    """Why a key that is referred to cannot be used."""


NONE = Keys({}, {})


class _Line(NamedTuple):
    """A line with a credential, and what is to become of it."""

    at: int
    judged: Judged
    line: FieldLine
    """As it will be."""
    token: bytes | None
    """The credential by itself; None: not known."""
    why: str = ""
    """Why it changes; empty: it does not."""

    @property
    def key(self) -> str:
        """The header's lower-case name."""
        return self.line.key

    @property
    def shown_name(self) -> str:
        """The header's name as the client wrote it."""
        return self.judged.line.shown_name


def authorized(request: Request, auth: Auth, policy: Policy, keys: Keys) -> Iterator[mitm.Change]:
    """The changes to a request's header section; ``keys`` are those that this upstream may get.

    Raises Refused where it needs a key that cannot be used.
    """
    lines, dropped = _read(request)
    wanted, misplaced = _wanted(request, auth, keys)
    for line in lines:
        if line.token in misplaced:
            dropped[line.at] = f"{line.shown_name} dropped: this key of the upstream is for other paths"
    kept = [line for line in lines if line.at not in dropped]
    if len(kept) > 1:
        kept = _one_of_each(kept, auth, dropped)
    if wanted is not None and not _elsewhere(request, auth):
        key = keys.found.get(wanted, b"")
        if policy.overwrite or not any(_is_own(line, request, auth, key) for line in kept):
            if wanted in keys.problems:
                raise mitm.Refused(f"{wanted} cannot be used: {keys.problems[wanted]}", 502)
            yield from _put_in(request, auth, wanted, key, kept, dropped)
            return
    _move(request, kept, auth)
    yield from _changes(dropped, kept)


def _changes(dropped: Mapping[int, str], kept: Iterable[_Line]) -> Iterator[mitm.Change]:
    for at, why in dropped.items():
        yield mitm.Change("drop", at, None, why)
    for line in kept:
        if line.line != line.judged.line:
            yield mitm.Change("set", line.at, line.line, line.why)


def _read(request: Request) -> tuple[list[_Line], dict[int, str]]:
    """The lines with credentials as they should be written, and those to drop with the reason."""
    judged = {id(found.line): found for found in credential.judged(request)}
    lines, dropped = [], {}
    for at, key in enumerate(request.fields.line_keys) if judged else ():
        if key not in CREDENTIALS:
            continue
        line = request.fields[at]
        found = judged[id(line)]
        token = _token(line.value) if found.rule in _MISSPELT else None
        if found.rule in _NOTHING or token == b"":
            dropped[at] = f"{found.why}; dropped"
        elif token is not None:
            why = f"{found.why}; written as it should be"
            lines.append(_Line(at, found, _as(line.name, token), token, why))
        else:
            # To compare it by: an API key may have a scheme before it, or two.
            lines.append(_Line(at, found, line, found.token and (_token(found.token) or found.token)))
    return lines, dropped


_NOTHING = frozenset(
    {
        "empty-bearer-token", "empty-api-key-header", "placeholder-bearer-token", "placeholder-api-key",
        "unexpanded-template-in-credential",
    }
)  # fmt: skip
_MISSPELT = frozenset(
    {
        "authorization-malformed", "doubled-bearer-scheme", "bearer-token-malformed", "bearer-scheme-in-wrong-case",
    }
)  # fmt: skip


@lru_cache(maxsize=256)  # an agent sends the same one, over and over
def _token(value: bytes) -> bytes | None:
    """The credential in a value that is badly written; empty: there is none; None: it cannot be told."""
    token = value
    for _ in range(2):  # Bearer "Bearer sk-..."
        token = _SCHEMES.sub(b"", _AROUND.sub(b"", token), count=1)
    token = _AROUND.sub(b"", token)
    if not token or credential.stands_for_none(token):
        return b""
    return token if credential.B64TOKEN.fullmatch(token) else None


def _as(name: bytes, token: bytes) -> FieldLine:
    """A header with the credential, in the form that the header has."""
    return FieldLine(name, b"Bearer " + token if name.lower() == b"authorization" else token)


def _wanted(request: Request, auth: Auth, keys: Keys) -> tuple[str | None, Set[bytes]]:
    """Which key the request should carry, and which of ours it should not."""
    known = {*keys.found, *keys.problems}
    data, control = keys.found.get(DATA), keys.found.get(CONTROL)
    is_open = credential.matches(request, auth.open_paths) or request.method in (b"OPTIONS", b"CONNECT")
    administers = not is_open and credential.is_control(request, auth)
    wanted = None
    if not is_open:
        wanted = next((name for name in ((CONTROL, DATA) if administers else (DATA,)) if name in known), None)
    if data is None or control is None or data == control:
        return wanted, frozenset()
    return wanted, {data} if administers else {control}


def _is_own(line: _Line, request: Request, auth: Auth, key: bytes) -> bool:
    """Whether it is a credential of the client's for this upstream, which a key must not replace."""
    if line.token is None:
        return not _is_unreadable(line)
    if _is_word(line):
        return False
    target = _header(request, auth, key).lower().decode()
    is_read = not auth.headers or line.key in auth.headers or line.key == target
    return is_read or credential.are_opposed(line.key, target)


def _elsewhere(request: Request, auth: Auth) -> bool:
    """Whether a credential stands in the target, or is offered as a subprotocol."""
    return bool(credential.parameters(request, auth.parameters)) or credential.in_subprotocol(request)


def _put_in(
    request: Request, auth: Auth, wanted: str, key: bytes, lines: list[_Line], dropped: dict[int, str]
) -> Iterator[mitm.Change]:
    new = _as(_header(request, auth, key), key)
    # Beside it nothing stays but what is meant for somebody else: LiteLLM's own key, or the provider's.
    kept = [line for line in lines if line.key != new.key and not credential.are_opposed(line.key, new.key)]
    there = [line for line in lines if line.key == new.key and line.line.value == new.value][:1]
    for line in lines:
        if line not in kept and line not in there:
            dropped[line.at] = f"{line.shown_name} dropped: {wanted} takes its place"
    stay = [*kept, *(there or [_Line(-1, Judged(new), new, key)])]
    _move(request, stay, auth)
    yield from _changes(dropped, [line for line in stay if line.at >= 0])
    if not there:
        yield mitm.Change("add", -1, new, f"{wanted} put in")


def _header(request: Request, auth: Auth, token: bytes) -> bytes:
    """The name of the header in which the upstream gets this credential."""
    name = auth.headers[0] if auth.headers else "authorization"
    if token.startswith(tuple(OAUTH_TOKENS)) and "authorization" in (*auth.headers, name):
        name = "authorization"
    # HTTP/2 has lower-case names only (RFC 9113 §8.2).
    return b"Authorization" if name == "authorization" and request.is_http1 else name.encode()


def _one_of_each(lines: list[_Line], auth: Auth, dropped: dict[int, str]) -> list[_Line]:
    """The lines that stay of several credentials, in the order of preference; the others go to ``dropped``."""
    first: dict[str, _Line] = {}
    for line in lines:
        known = first.setdefault(line.key, line)
        if known is line:
            continue
        worse = known if _rank(known) > _rank(line) else line
        first[line.key] = line if worse is known else known
        same = "the same again" if line.line.value == known.line.value else "another credential"
        dropped[worse.at] = f"{worse.shown_name} dropped: a second line with {same}"
    rank = {name: at for at, name in enumerate(auth.headers or ("authorization",))}
    kept: list[_Line] = []
    order = {line.at: (_rank(line), rank.get(line.key, len(rank)), line.key) for line in first.values()}
    for line in sorted(first.values(), key=lambda each: order[each.at]):
        other = next((each for each in kept if _conflict(each, line)), None)
        if other is None:
            kept.append(line)
        else:
            dropped[line.at] = (
                f"{line.shown_name} dropped: it holds another credential than {other.shown_name}"
            )
    return kept


def _is_word(line: _Line) -> bool:
    return line.token is not None and credential.DELIBERATE.fullmatch(line.token) is not None


def _is_unreadable(line: _Line) -> bool:
    return line.token is None and line.judged.rule in _MISSPELT


def _rank(line: _Line) -> int:
    """What wins where there is more than one: a credential, a word in its place, what nobody can read."""
    return 2 if _is_unreadable(line) else int(_is_word(line))


def _conflict(one: _Line, other: _Line) -> bool:
    is_known = one.token is not None and other.token is not None
    differ = (is_known and one.token != other.token) or _is_unreadable(other)
    return differ and credential.are_opposed(one.key, other.key)


def _move(request: Request, lines: list[_Line], auth: Auth) -> None:
    for at, line in enumerate(lines):
        lines[at] = _moved(request, line, lines, auth)


def _moved(request: Request, line: _Line, lines: list[_Line], auth: Auth) -> _Line:
    """The line in the header that the upstream reads, if it is in another one."""
    token = None if line.token is None else _token(line.token)
    if not token:
        return line  # no other header could hold it
    names = {each.key for each in lines}
    needed = credential.needs_credential(request, auth) or credential.is_control(request, auth)
    if auth.headers and names.isdisjoint(auth.headers) and needed and line is lines[0]:
        if credential.parameters(request, auth.parameters):
            return line
        name, said = _header(request, auth, token), "which the upstream reads"
    elif token.startswith(tuple(OAUTH_TOKENS)) and "authorization" not in names:
        name, said = b"Authorization" if request.is_http1 else b"authorization", "where OAuth tokens belong"
    else:
        return line
    new = line._replace(line=_as(name, token))
    if any(each is not line and _conflict(new, each) for each in lines):
        return line  # there it would be one of two
    why = f"the credential in {line.shown_name} moved to {name.decode()}, {said}"
    return new._replace(why=why)


def read_keys(auth: Auth) -> Keys:
    """The keys as they are now."""
    keys = Keys({}, {})
    for name, reference in ((DATA, auth.data_key), (CONTROL, auth.control_key)):
        if reference is None:
            continue
        try:
            key = reveal(reference)
        except PolicyError as error:
            # A profile refers to variables that whoever runs the upstream without keys does not set.
            if not (reference.startswith("env:") and str(error).endswith(_NO_KEY)) or auth.required:
                keys.problems[name] = str(error).removeprefix(f"{reference}: ")
            continue
        if not _KEY.fullmatch(key):
            keys.problems[name] = "it holds white space: it should be the key alone, without Bearer"
        elif credential.stands_for_none(key):
            keys.problems[name] = "it is a placeholder"
        else:
            keys.found[name] = key
    return keys


_NO_KEY = ("no such environment variable", "it is empty")


def may_get(
    scheme: str, host: str, port: int, upstream: tuple[str, int] | None, hosts: tuple[str, ...]
) -> bool:
    """Whether keys are for this host; ``upstream``: that of reverse mode."""
    if not hosts:
        return upstream == (host, port)
    names = [f"{host}:{port}".lower(), f"[{host}]:{port}".lower()]
    if scheme == "https":  # or a client of a regular proxy could have the key sent where all can read it
        names.append(host.lower())
    return any(fnmatchcase(name, pattern.lower()) for name in names for pattern in hosts)


class InjectAuth:
    """The wiring."""

    name = "inject-auth"

    def __init__(self) -> None:
        self.auth = Auth()
        self.policy = Policy()
        self.refused: OrderedDict[tuple[str, int, str], None] = OrderedDict()

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Auth, "auth")
        mitm.add_options(loader, Policy, "inject_auth")

    def configure(self, updated: Set[str]) -> None:
        self.auth = mitm.read_options(ctx.options, Auth, "auth")
        self.policy = mitm.read_options(ctx.options, Policy, "inject_auth")

    def running(self) -> None:
        mitm.refuse_unknown_options("auth")
        mitm.refuse_unknown_options("inject_auth")
        for name, problem in read_keys(self.auth).problems.items():
            logger.warning("%s: %s cannot be used: %s", self.name, name, problem)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        def compute(fields: Fields) -> Iterator[mitm.Change]:
            keys = read_keys(self.auth) if self.is_for(flow) else NONE
            changes = list(authorized(mitm.request_head(flow, fields), self.auth, self.policy, keys))
            if any(change.op == "add" for change in changes) and ctx.options.map_remote:
                raise mitm.Refused("map_remote may send a key of this hop to another host", 502)
            yield from changes

        mitm.rewrite(flow, "request", self.name, compute, fail_closed=True)

    def is_for(self, flow: http.HTTPFlow) -> bool:
        """Whether keys are for the server that the request really goes to."""
        mode = flow.client_conn.proxy_mode
        upstream = mode.address if isinstance(mode, ReverseMode) else None
        request = flow.request
        return may_get(request.scheme, request.host, request.port, upstream, self.policy.hosts)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        key = _injected(flow)
        if key is None or flow.response is None or not mitm.is_on_the_wire(flow):
            return
        where = (flow.request.host, flow.request.port, key)
        status = flow.response.status_code
        if status in (401, 403):
            if where not in self.refused:
                logger.warning(
                    "%s: %s:%d refuses the key that was put in (%s) with %d; this is said once, until the key is "
                    "taken or another one",
                    self.name, flow.request.host, flow.request.port, key, status,
                )  # fmt: skip
            self.refused[where] = None
            if len(self.refused) > REMEMBERED:
                self.refused.popitem(last=False)
        elif status < 400:
            self.refused.pop(where, None)


def _injected(flow: http.HTTPFlow) -> str | None:
    """Which key of ours the request carries: the setting and the key's digest; None: none."""
    for entry in flow.metadata.get(mitm.JOURNAL, ()):
        if entry["addon"] == InjectAuth.name and entry["part"] == "request" and entry["op"] == "add":
            return f"{entry['why'].partition(' ')[0]}, {' '.join(entry['after'])}"
    return None


addons = [InjectAuth()]

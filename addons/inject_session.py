"""Tell the upstream which conversation a request belongs to, in the header that it reads.

Gateways keep a conversation on one deployment, whose cache then holds the history, if they are told what belongs
together. Agents name their conversations in headers of their own, in the path, in the content, or not at all.
This addon writes the id into the header `session.header`, or else `header`, of each request that runs a model. It
adds nothing where neither is set.

- What the client says wins: a request that has the header, or another one that the upstream reads
  (`session.reads`) with an id that it accepts, is left as it is. Empty values and `None` are not ids.
- Else the id is what `prefer` and then `sources` name first: headers, the path (`path:REGEX`), the content (JSON
  Pointers). `metadata.user_id` counts where it holds Claude Code's session, prompt_cache_key where it is a UUID:
  constant ones, which OpenAI recommends, would make all conversations one.
- Else, by `derive`:
  `track` gives a conversation that begins a new id and recognises its later turns by their messages, which begin
  with those of an earlier request and with what was answered to it. So parallel rollouts of one prompt stay
  apart, a request that failed and is sent again keeps its id, and so does a conversation that changes its model.
  Answers are read when they have passed, streams from the copy that stream-events keeps: nothing is delayed.
  Where two rollouts got the same answers word for word, either may go on as either.
  `prefix` is a keyed hash (HMAC) of caller, upstream, system prompt and first user message: nothing is
  remembered and several proxies agree, but all rollouts of one prompt share an id.
- Conversations are told apart by their messages, never by client, key, connection or agent. Requests with
  different credentials never belong to one conversation.
- An id that does not fit `session.pattern`, or no header value, or comes from a header that holds credentials, is
  replaced by a hash of it, the same one each time.
- A WebSocket handshake has no messages: if no header names the conversation each connection is one.
- The head of a request that mitmproxy streams (`stream_large_bodies`) goes out before its content was seen: only
  headers and path count then. That is logged once.
- Headers that the upstream takes for the session although they name a request or a trace (`session.shadows`) are
  dropped where they contradict it.
- Other headers for the same session that contradict the one the upstream prefers, or an id of the same meaning
  in the content, are made to say the same, unless `align` is off.

- Where `redis` in `[policy.shared]` is set, all proxies that have the same `key` know of the same conversations: a
  turn may pass any of them. A message waits for Redis `patience` milliseconds at most; while it is away, which is
  logged once, each proxy goes on with what it knows. What is kept there is sealed.

A client that gives two conversations one id gets what it asks for; `hoplint check` says so.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from conformance import conversation, llm, mitm, shared
from conformance.content import document
from conformance.conversation import CLAUDE_USER
from conformance.known import BRANCHES, CONVERSATION_IDS, SAME_SESSION, like
from conformance.message import Exchange, FieldLine, Fields, Request
from conformance.policy import InjectSession as Policy
from conformance.policy import PolicyError, Session, Shared, reveal
from conformance.rules.sessions import FINER, IN_BODY, is_expected, is_read
from conformance.secret import is_placeholder, is_secret_field
from conformance.tracker import Asked, Entry, Tracker, digest, packed, session_id, unpacked
from conformance.websocket import is_handshake

logger = logging.getLogger(__name__)

SAFE = re.compile(rb"[\x21-\x7e]{1,255}")
"""What may stand in a header and be told from nothing."""
PLAIN = re.compile(r"[A-Za-z0-9._-]{8,}")
"""Ids that stand in JSON as they are."""
UNIQUE = re.compile(r"(?i)[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
WITHOUT_KEY = b"hoplint"
_ORDER = {name: at for at, name in enumerate(CONVERSATION_IDS)}
# What the members end with that the content must hold: to look for it is cheaper than to read every conversation.
_IN_CONTENT = [
    (
        names,
        frozenset(b'%s"' % member.rpartition(".")[2].removeprefix("litellm_").encode() for member in members),
    )
    for members, names in IN_BODY
]
SAMPLE = "0123456789abcdef" * 2


class Found(NamedTuple):
    """An id and where it was."""

    id: bytes
    why: str


class Source(NamedTuple):
    """Where an id may be: one of ``path``, ``pointer`` and a header's ``name``, which may be a glob."""

    name: str
    path: re.Pattern[bytes] | None
    pointer: tuple[str, ...]


class Settings:
    """All that decides, the parts of it that each request needs made ready."""

    def __init__(self, policy: Policy, session: Session, key: bytes = WITHOUT_KEY) -> None:
        self.policy, self.session, self.key = policy, session, key
        sources = [_source(text) for text in (*policy.prefer, *policy.sources)]
        self.in_content = [each for each in sources if each.pointer]
        self.in_head = [each for each in sources if not each.pointer]
        of_agents = [name for names in session.reads_of_agents.values() for name in names]
        self._globs = (
            *CONVERSATION_IDS, *([session.header] if session.header else ()), *session.shadows, *of_agents,
            *(glob.lower() for glob in session.reads), *(each.name for each in sources if each.name),
        )  # fmt: skip

    def naming(self, request: Request) -> Set[str]:
        """The request's headers that may name its session: most have none, or one."""
        return _meant(request.fields.names, self._globs)

    def hashed(self, *parts: bytes) -> bytes:
        """32 hexadecimal digits, always the same for the same parts."""
        text = b"".join(b"%d:" % len(part) + part for part in parts)
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()[:32].encode()

    def accepts(self, value: bytes) -> bool:
        """Whether the upstream accepts the id."""
        pattern = self.session.pattern
        fits = pattern is None or re.fullmatch(pattern, value.decode("latin-1")) is not None
        return fits and SAFE.fullmatch(value) is not None

    def fitting(self, value: bytes, source: str, *, is_secret: bool = False) -> Found:
        """The id as the upstream accepts it."""
        if self.accepts(value) and not is_secret:
            return Found(value, f"the conversation is named in {source}")
        return Found(
            self.hashed(b"id", value), f"the conversation is named in {source}, here as a hash of it"
        )


def _source(text: str) -> Source:
    if text.startswith("path:"):
        return Source("", re.compile(text.removeprefix("path:").encode()), ())
    if text.startswith("/"):  # a JSON Pointer (RFC 6901 §4)
        steps = text[1:].split("/")
        return Source("", None, tuple([step.replace("~1", "/").replace("~0", "~") for step in steps]))
    return Source(text, None, ())


@lru_cache(maxsize=256)  # agents send the same few sets of names, over and over
def _meant(names: frozenset[str], globs: tuple[str, ...]) -> Set[str]:
    meant = like(globs)
    return frozenset(name for name in names if meant.match(name))


def injected(
    request: Request, settings: Settings, otherwise: Callable[[], Found | None] = lambda: None
) -> Iterator[mitm.Change]:
    """The changes to a request's header section.

    ``otherwise`` says the id where neither header nor path do.
    """
    header = settings.session.header
    found = None
    if header and is_expected(request, settings.session) and not _is_told(request, settings):
        found = in_head(request, settings) or otherwise()
    ids = _ids(request, settings)
    if header and found:
        at = request.fields.line_keys.index(header) if header in request.fields else -1
        line = FieldLine(request.fields[at].name if at >= 0 else header.encode(), found.id)
        yield mitm.Change("set" if at >= 0 else "add", at, line, found.why)
        ids = {**ids, header: (at, line)}
    if settings.policy.align:
        yield from _aligned(request, ids, settings)
    yield from _unshadowed(request, ids, settings.session)


def is_unnamed(request: Request, settings: Settings) -> bool:
    """Whether a request is to get an id, and its head does not say which."""
    wanted = settings.session.header and is_expected(request, settings.session)
    return bool(wanted) and not _is_told(request, settings) and in_head(request, settings) is None


@mitm.latest(8)
def _ids(request: Request, settings: Settings) -> Mapping[str, tuple[int, FieldLine]]:
    """The first line of each header that names a conversation, and its place."""
    found: dict[str, tuple[int, FieldLine]] = {}
    if settings.naming(request).isdisjoint(_ORDER):
        return found
    for at, name in enumerate(request.fields.line_keys):
        if name in _ORDER and name not in found:
            line = request.fields[at]
            if line.value and not is_placeholder(line.value):
                found[name] = at, line
    return found


@mitm.latest(8)
def _is_told(request: Request, settings: Settings) -> bool:
    """Whether the client names the session so that the upstream reads it."""
    for name in settings.naming(request):
        if not is_read(name, request, settings.session):
            continue
        value = request.fields.lines(name)[0].value
        if not value or is_placeholder(value):
            continue
        if name in settings.session.shadows:
            # A trace beside which something else names the session is a request's.
            if all(line.value == value for _, line in _ids(request, settings).values()):
                return True
        elif name == settings.session.header or settings.accepts(value):
            return True
    return False


@mitm.latest(8)
def in_head(request: Request, settings: Settings) -> Found | None:
    """What headers or path say."""
    naming = settings.naming(request)
    for source in settings.in_head:
        if source.path is not None:
            inside = source.path.search(request.path)
            if inside and inside[1]:
                return settings.fitting(inside[1], "the path")
        elif naming:
            for line in _named(request.fields, source.name):
                if line.value and not is_placeholder(line.value):
                    return settings.fitting(line.value, line.shown_name, is_secret=is_secret_field(line.name))
    return None


def _named(fields: Fields, source: str) -> Iterator[FieldLine]:
    """The first line of each header that a source means, a name or a glob."""
    if "*" not in source:
        yield from fields.lines(source)[:1]
        return
    for name, lines in fields.by_name.items():
        if name == source or (name not in BRANCHES and fnmatchcase(name, source)):
            yield lines[0]


def in_content(said: Any, settings: Settings) -> Found | None:
    """What the content says, a JSON document."""
    for source in settings.in_content:
        if isinstance(said, dict) and source.pointer[0] not in said:
            continue  # nearly always
        if (value := _pointed(said, source.pointer)) is None:
            continue
        member = ".".join(source.pointer)
        if member == CLAUDE_USER:
            value = dict(conversation.body_ids(said)).get(CLAUDE_USER)
        if member == "prompt_cache_key" and value is not None and not UNIQUE.search(value):
            value = None
        if value and not is_placeholder(value.encode("utf-8", "replace")):
            return settings.fitting(value.encode("utf-8", "surrogatepass"), f"{member} of the content")
    return None


def _pointed(said: Any, pointer: tuple[str, ...]) -> str | None:
    """The text that a JSON Pointer leads to."""
    for name in pointer:
        if isinstance(said, list) and name.isdigit() and int(name[:9]) < len(said):
            said = said[int(name[:9])]
        else:
            said = said.get(name) if isinstance(said, dict) else None
    return said if isinstance(said, str) else None


def _aligned(
    request: Request, ids: Mapping[str, tuple[int, FieldLine]], settings: Settings
) -> Iterator[mitm.Change]:
    session, header = settings.session, settings.session.header or ""
    if len(ids) < 2:
        return  # nothing to contradict it

    def preference(name: str) -> tuple[bool, bool, int]:
        works = is_read(name, request, session) and settings.accepts(ids[name][1].value)
        return name != header, not works, _ORDER.get(name, -1)

    groups: list[Set[str]] = []
    if header in ids:
        groups = [{name for name in ids if name == header or is_read(name, request, session)} - FINER]
    for family in (set(names & ids.keys()) for names in SAME_SESSION):
        if groups and groups[0] & family:
            groups[0] = groups[0] | family
        else:
            groups.append(family)
    for group in groups:
        first, *others = sorted(group, key=preference) or [""]
        for name in others:
            at, line = ids[name]
            if line.value != ids[first][1].value:
                said = FieldLine(line.name, ids[first][1].value)
                why = f"{line.shown_name} named another session than {ids[first][1].shown_name}"
                yield mitm.Change("set", at, said, why)


def _unshadowed(
    request: Request, ids: Mapping[str, tuple[int, FieldLine]], session: Session
) -> Iterator[mitm.Change]:
    if request.fields.names.isdisjoint(session.shadows):
        return
    for at, line in enumerate(request.fields):
        if line.key in session.shadows and (read := _named_besides(line.value, ids, request, session)):
            why = f"{line.shown_name} would be taken for the session instead of {read[0].shown_name}"
            yield mitm.Change("drop", at, None, why)


def _named_besides(
    value: bytes, ids: Mapping[str, tuple[int, FieldLine]], request: Request, session: Session
) -> list[FieldLine]:
    """The headers for the session, of those the upstream reads, that name another one."""
    return [
        line
        for name, (_, line) in ids.items()
        if line.value != value
        and (name in (session.header, "x-litellm-session-id") or is_read(name, request, session))
    ]


def may_contradict(request: Request, content: bytes, settings: Settings) -> bool:
    """Whether an id may stand in the content that means the same as one in a header."""
    named = _ids(request, settings).keys()
    needles = {needle for names, needles in _IN_CONTENT if not names.isdisjoint(named) for needle in needles}
    return any(needle in content for needle in needles)


def contradiction(request: Request, whole: Request, settings: Settings) -> tuple[str, str, FieldLine] | None:
    """(member, its id, the header) where an id in the content says another session than its header."""
    lines = {name: line for name, (_, line) in _ids(request, settings).items()}
    for member, said in conversation.body_ids(document(whole)):
        for members, names in IN_BODY:
            for name in sorted(names & lines.keys()) if member in members else ():
                if lines[name].value.decode("latin-1") != said:
                    return member, said, lines[name]
    return None


def replied(flow: http.HTTPFlow) -> llm.Reply | None:
    """What the model has answered by now, as far as it is known."""
    content = mitm.passed(flow)
    if flow.response is None or content is None:
        return None
    request = mitm.request_head(flow, mitm.fields_of(flow.request))
    response = replace(mitm.response_head(flow, mitm.fields_of(flow.response)), body=content)
    return llm.reply(Exchange(request=request, response=response))


class InjectSession:
    """The wiring."""

    name = "inject-session"

    def __init__(self) -> None:
        self.settings = Settings(Policy(), Session())
        self.sharing = Shared()
        self.tracker = Tracker(self.settings.policy.capacity, self.settings.policy.ttl)
        self.callers: WeakKeyDictionary[http.HTTPFlow, Sequence[bytes]] = WeakKeyDictionary()
        self.asked: dict[str, Asked] = {}
        self.log: shared.Log | None = None
        self.has_said = False

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "inject_session")
        mitm.add_options(loader, Session, "session")
        mitm.add_options(loader, Shared, "shared")

    def configure(self, updated: Set[str]) -> None:
        policy = mitm.read_options(ctx.options, Policy, "inject_session")
        session = mitm.read_options(ctx.options, Session, "session")
        if session.header is None:
            session = session.model_copy(update={"header": policy.header})
        if policy.derive == "prefix" and policy.key is None:
            raise exceptions.OptionsError("inject_session_derive: prefix needs inject_session_key")
        try:
            key = reveal(policy.key) if policy.key else WITHOUT_KEY
        except PolicyError as error:
            raise exceptions.OptionsError(f"inject_session_key: {error}") from None
        settings = Settings(policy, session, key)
        if session.header and not settings.accepts(SAMPLE.encode()):
            raise exceptions.OptionsError("session_pattern: it must accept ids of 32 hexadecimal digits")
        sharing = mitm.read_options(ctx.options, Shared, "shared")
        before, self.settings = (self.settings.policy, self.sharing), settings
        kept = policy.capacity, policy.ttl, sharing
        if kept != (before[0].capacity, before[0].ttl, before[1]):
            log = mitm.shared_log(self.name, sharing, self.take, policy.ttl)
            if self.log is not None:
                self.log.close()
            self.tracker, self.sharing, self.log = Tracker(policy.capacity, policy.ttl), sharing, log

    def running(self) -> None:
        mitm.refuse_unknown_options("inject_session")
        mitm.refuse_unknown_options("session")
        mitm.refuse_unknown_options("shared")
        if self.log is not None:
            self.log.start()

    def done(self) -> None:
        if self.log is not None:
            self.log.close()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # Now: an addon behind this one may put another credential in the caller's place.
        self.callers[flow] = _caller(flow.request)

        def compute(fields: Fields) -> Iterator[mitm.Change]:
            request = mitm.request_head(flow, fields)
            new = self.settings.policy.derive != "off" and not flow.is_replay and is_handshake(request)
            return injected(request, self.settings, _of_connection if new else lambda: None)

        mitm.rewrite(flow, "request", self.name, compute)

    async def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.stream:  # what is written now would be recorded, and never sent
            self.say_streamed(flow)
            return

        if not mitm.is_on_the_wire(flow) or mitm.is_refused(flow):
            return
        fields = mitm.fields_of(flow.request)
        whole = unnamed = None
        if is_unnamed(mitm.request_head(flow, fields), self.settings):
            whole = mitm.whole_request(flow, fields)
            unnamed = await self.found(flow, whole)

        def compute(fields: Fields) -> Iterator[mitm.Change]:
            return injected(mitm.request_head(flow, fields), self.settings, lambda: unnamed)

        mitm.rewrite(flow, "request", self.name, compute)
        if self.settings.policy.align:
            self.align_content(flow, whole)

    async def response(self, flow: http.HTTPFlow) -> None:
        await self.end(flow)

    async def error(self, flow: http.HTTPFlow) -> None:
        await self.end(flow)

    async def tell(self, entries: Sequence[Entry]) -> None:
        """Let what happened be known, to other proxies, too."""
        if self.log is not None and entries:
            await self.log.add(*map(packed, entries))
            return
        for entry in entries:
            self.tracker.apply(entry, time.time())

    def take(self, entry: Any, at: float) -> None:
        """What this proxy or another one has told."""
        self.tracker.apply(unpacked(entry), at)

    async def found(self, flow: http.HTTPFlow, request: Request) -> Found | None:
        """The id of a request whose head does not say it."""
        policy, session = self.settings.policy, self.settings.session
        said = document(request)
        if any(member in session.reads_body for member, _ in conversation.body_ids(said)):
            return None
        if (named := in_content(said, self.settings)) is not None:
            return named
        if policy.derive == "off" or flow.is_replay:
            return None
        if flow not in self.callers:  # without a caller two of them might share a conversation
            return None
        scope = digest(*self.callers[flow])
        if policy.derive == "prefix":
            prompt = conversation.prompt(said)
            if prompt is None:
                return None
            first = prompt.opening or prompt.chain[0]
            return Found(
                self.settings.hashed(b"prefix", scope, prompt.setup or b"", first),
                "the conversation is a hash of its caller and first messages",
            )
        retries = request.fields.one("x-stainless-retry-count")
        begun = self.tracker.ask(
            said, scope, is_retry=retries not in (None, b"0"), reply=lambda: replied(flow)
        )
        if begun is None:
            return None
        asked, entries = begun
        self.asked[flow.id] = asked
        await self.tell(entries)
        why = "a conversation begins" if asked.turn == 1 else "the conversation is known by its messages"
        return Found(session_id(asked.number), why)

    async def end(self, flow: http.HTTPFlow) -> None:
        asked = self.asked.pop(flow.id, None)
        if asked is None:
            return
        response = flow.response
        failed = response is None or response.status_code >= 400
        if flow.error is not None and not failed:
            # A client may hang up once it has read the end of the answer.
            told = asked.reply()
            failed = told is None or not any(told.finish.values())
        entries = self.tracker.end(asked, failed=failed)
        if not failed and (made := llm.RESPONSE_ID.search((mitm.passed(flow) or b"")[:4096])):
            scope = digest(*self.callers.get(flow, ()))
            entries += self.tracker.made(asked, scope, made[1].decode("utf-8", "replace"))
        await self.tell(entries)

    def align_content(self, flow: http.HTTPFlow, whole: Request | None) -> None:
        """Let the content say what the header says; ``whole``: the request as it came, if it had to be read."""
        content = flow.request.raw_content
        request = mitm.request_head(flow, mitm.fields_of(flow.request))
        if not content or "content-encoding" in request.fields:
            return
        if whole is None:
            if not may_contradict(request, content, self.settings):
                return
            whole = mitm.whole_request(flow, request.fields)
        if (found := contradiction(request, whole, self.settings)) is None:
            return
        member, said, line = found
        named = line.value.decode("latin-1")
        if PLAIN.fullmatch(said) and PLAIN.fullmatch(named) and content.count(said.encode()) == 1:
            why = f"{member} named another session than {line.shown_name}"
            mitm.set_content(
                flow, self.name, content.replace(said.encode(), line.value), member, said, named, why
            )

    def say_streamed(self, flow: http.HTTPFlow) -> None:
        """Once: that the content of streamed requests cannot name the conversation."""
        request = mitm.request_head(flow, mitm.fields_of(flow.request))
        session = self.settings.session
        if self.has_said or not session.header or not is_expected(request, session):
            return
        if not _is_told(request, self.settings) and mitm.is_on_the_wire(flow):
            self.has_said = True
            logger.warning(
                "%s: a request to %s is streamed, and no header names its conversation: it goes without %s",
                self.name, flow.request.host, session.header,
            )  # fmt: skip


def _of_connection() -> Found:
    return Found(secrets.token_hex(16).encode(), "the connection is taken for one conversation")


def _caller(request: http.Request) -> list[bytes]:
    """Who asks whom."""
    host = request.host.encode("utf-8", "surrogatepass")
    return [request.scheme.encode(), host, b"%d" % request.port, *mitm.credentials(mitm.fields_of(request))]


addons = [InjectSession()]

"""Which conversation a request belongs to, and whether everybody on the way is told the same.

Gateways send the turns of a conversation to one deployment, whose cache then holds the history, if they are
told which turns belong together. There is no standard header for that: each agent has its own, each gateway
reads some. What this hop reads is the policy's (``[policy.session]``); what agents send is known.

What a conversation is, is told by its messages (``conformance.conversation``), so that ids can be judged by
them. A rule about several exchanges fires once, at the exchange where the defect is certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache

from conformance import llm
from conformance.content import decoded, document
from conformance.conversation import CLAUDE_USER, body_ids
from conformance.known import (
    BRANCHES,
    CONVERSATION_IDS,
    GATEWAY_CONTROL,
    SAME_SESSION,
    SESSION_HEADERS,
    like,
    named,
)
from conformance.message import Exchange, FieldLine, Legs, Request
from conformance.policy import Policy, Session
from conformance.rule import ERROR, NOTE, WARNING, Hits, rule
from conformance.secret import is_placeholder, mask_text, quoted, shown
from conformance.turn import Digest, Turn

SHORT = 64 * 1024
"""Octets of a request that no agent summarises yet: below a tenth of the smallest context windows in use."""
SEVERAL = 3
"""Ids for as many turns of one conversation: more than one change."""
EXPLAINED = 16 * 1024
"""Octets of an error that are searched for the name of a field."""

_CONVERSATION_IDS = frozenset(CONVERSATION_IDS)
_OF_TREE = frozenset({"x-claude-code-session-id", CLAUDE_USER})
"""Ids that an agent and its sub-agents share by definition."""
FINER = frozenset({"thread-id"})
"""Ids of a part of what other headers name: of one thread of a tree of agents."""
IN_BODY: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({CLAUDE_USER}), frozenset({"x-claude-code-session-id"})),
    (
        frozenset({"metadata.session_id", "litellm_metadata.session_id", "litellm_session_id"}),
        frozenset({"x-litellm-session-id"}),
    ),
    (
        frozenset({"session_id", "sessionId", "metadata.session_id"}),
        frozenset({"x-session-id", "session-id", "session_id", "x-litellm-session-id"}),
    ),
)
"""Members of the content and the headers that mean the same thing."""
_BODY_FIELDS = ("session_id", "sessionId", "litellm_session_id", "conversation_id", "session")
_REFUSES = re.compile(
    rb"(?i)unrecogni[sz]ed|unknown|unexpected|unsupported|not (?:permitted|supported|allowed)|additional propert|extra"
)


def _says(text: str) -> str:
    """An id for a sentence."""
    return quoted(mask_text(text.encode("utf-8", "replace")))


def is_expected(request: Request, policy: Session) -> bool:
    """Whether a request is one that the upstream routes by its session."""
    found = llm.endpoint(request)
    if found is None or request.method not in found.methods:
        return False
    return found.name in policy.required_on if policy.required_on else found.completes


@lru_cache(maxsize=256)
def _reads(globs: tuple[str, ...]) -> re.Pattern[str]:
    return like(tuple(map(str.lower, globs)))


def is_read(name: str, request: Request, policy: Session) -> bool:
    """Whether the upstream takes that header of this request for the session's id."""
    if name == policy.header or name in policy.shadows:
        return True
    if name in BRANCHES:
        return False
    if _reads(policy.reads).match(name):
        return True
    globs = [glob.lower() for glob, names in policy.reads_of_agents.items() if name in names]
    if not globs:
        return False
    agent = (request.fields.one("user-agent") or b"").decode("latin-1").lower()
    return any(fnmatchcase(agent, glob) for glob in globs)


def _ids(request: Request) -> Iterator[FieldLine]:
    """The lines that say which conversation a request belongs to, the first of each name."""
    for name in request.fields.names & _CONVERSATION_IDS:
        line = request.fields.lines(name)[0]
        if line.value and not is_placeholder(line.value):
            yield line


def _is_told(request: Request, policy: Session) -> bool:
    """Whether something the upstream reads names the session, well-formed or not."""
    if any(is_read(name, request, policy) for name in request.fields.names):
        return True
    return bool(policy.reads_body) and any(
        member in policy.reads_body for member, _ in body_ids(document(request))
    )


@rule(
    "OpenHands/software-agent-sdk#3437",
    severity=WARNING,
    fix="inject-session",
    breaks=("litellm 1.106.2", "smg 1.13.0", "sglang-router 0.3.2"),
)
def session_header_missing(request: Request, policy: Policy) -> Hits:
    """A request of a conversation carries no session header.

    A gateway that is to keep a conversation on one deployment has to be told what belongs together. Without
    an id LiteLLM 1.106.2 draws a deployment for each turn, also with session affinity switched on:
    openhands-sdk 1.23.1 went C, C, A, B, A, C. smg and sglang-router have nothing to hash, llm-d nothing to
    score. Nothing fails; each turn pays for the whole prompt again. Aider, Gemini CLI and harbor send no
    header at all.

    Says nothing unless the policy names the header (profiles litellm, sglang-router, codex), nor where the
    content names the session in a member that the upstream reads. An id in a header that it does not read is
    session-header-not-read-by-upstream.

    Bad::

        # profile: litellm
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example
        > Content-Type: application/json
        > Content-Length: 85
        >
        > {"model":"qwen","messages":[{"role":"user","content":"What is in this repository?"}]}

    Good::

        # profile: litellm
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example
        > Content-Type: application/json
        > Content-Length: 85
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        >
        > {"model":"qwen","messages":[{"role":"user","content":"What is in this repository?"}]}
    """
    session = policy.session
    if session.header is None or not is_expected(request, session):
        return
    if request.fields.names & _CONVERSATION_IDS or _is_told(request, session):
        return
    elsewhere = next(body_ids(document(request)), None)
    why = f"there is no {session.header}, so each turn may go to another deployment"
    if elsewhere is not None:
        why += f"; {elsewhere[0]} in the content is not read"
    yield request, why


@rule("OpenHands/software-agent-sdk#3467", severity=WARNING, fix="inject-session", evidence="flows")
def session_id_changes_within_conversation(turn: Turn) -> Hits:
    """The session id changes inside one conversation.

    The gateway takes the rest for a new conversation and may serve it elsewhere: affinity is lost in the
    middle, and the next turn pays for the whole prompt again. A client that makes its session object anew
    when it reconnects or resumes does so, and so do two layers that each set the header.

    That it is one conversation is told by the messages: this request's begin with those of the earlier one
    and the answer to it. An id that is new each time is session-id-changes-per-request; until one of the ids
    has been seen twice it may be either, and neither is reported.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0001
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 149
        > x-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0002
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 235
        > x-session-id: conversation-0002
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."},{"role":"assistant",
        > "content":"It is empty."},{"role":"user","content":"Delete it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0003
        < Content-Length: 288

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0004
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 152
        > x-session-id: conversation-0001
        >
        > {"model":"another","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0005
        < Content-Length: 288
    """
    now = turn.digest
    before = _answered(turn)
    if now.session is None or not before or _is_path(now):
        return
    if _has_changed([*before, now]) and not _has_changed(before) and not _always_new(before[:SEVERAL]):
        other = next(digest for digest in reversed(before) if digest.session != now.session)
        yield (
            _line(turn),
            f"{now.session_field} is {_says(now.session)} in a conversation that was {_says(other.session or '')} in "
            f"exchange {other.number}",
        )


def _answered(turn: Turn) -> list[Digest]:
    """The turns before this one that have a session id; not those that failed, and were tried again."""
    return [digest for digest in turn.same_conversation if digest.session is not None and not digest.failed]


def _has_changed(turns: list[Digest]) -> bool:
    """Whether there are several ids, at least one of which was used for more than one request."""
    return len({digest.session for digest in turns}) > 1 and not all(digest.is_fresh for digest in turns)


def _always_new(turns: list[Digest]) -> bool:
    return len(turns) == SEVERAL and all(digest.is_fresh for digest in turns)


def _is_path(digest: Digest) -> bool:
    return digest.session_field == "path"


def _line(turn: Turn) -> FieldLine | Exchange:
    """Where the session id stands: its line, or, in content and path, the request."""
    lines = turn.exchange.request.fields.lines(turn.digest.session_field)
    return lines[0] if lines else turn.exchange


@rule(
    "OpenHands/software-agent-sdk#3443",
    "OpenHands/software-agent-sdk#3467",
    severity=WARNING,
    fix="inject-session",
    evidence="flows",
)
def session_id_shared_across_conversations(turn: Turn) -> Hits:
    """Unrelated conversations use one session id.

    They pile up on one deployment while others idle, and whatever is kept per session is mixed. openhands-sdk
    1.25.0 wrote the id of an agent's first conversation into the model object that all its conversations
    share: two conversations, one x-litellm-session-id, until 1.58.0 gave each call its own.

    Unrelated means: with the same system prompt, begun from nothing, each with more than one turn, and with
    another first message or one after the other. Sub-agents (another system prompt, or a header that says so),
    rollouts of one prompt side by side, the small requests that agents make for titles, and a conversation that
    was summarised when it became long are related.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 118
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        >
        > {"model":"m","messages":[{"role":"system","content":"You are an agent."},{"role":"user",
        > "content":"Fix the build."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0006
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 195
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        >
        > {"model":"m","messages":[{"role":"system","content":"You are an agent."},{"role":"user",
        > "content":"Fix the build."},{"role":"assistant","content":"Done."},{"role":"user",
        > "content":"Test it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0007
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 117
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        >
        > {"model":"m","messages":[{"role":"system","content":"You are an agent."},{"role":"user",
        > "content":"Write a poem."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0008
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 194
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        >
        > {"model":"m","messages":[{"role":"system","content":"You are an agent."},{"role":"user",
        > "content":"Write a poem."},{"role":"assistant","content":"Roses."},{"role":"user",
        > "content":"Longer."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:18 GMT
        < x-request-id: req_0009
        < Content-Length: 288

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 118
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        >
        > {"model":"m","messages":[{"role":"system","content":"You are an agent."},{"role":"user",
        > "content":"Fix the build."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0010
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 117
        > x-litellm-session-id: ccdbd117-2c4e-4d09-b5a4-5a1f0f3c7b11
        >
        > {"model":"m","messages":[{"role":"system","content":"You are an agent."},{"role":"user",
        > "content":"Write a poem."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0011
        < Content-Length: 288
    """
    now = turn.digest
    if now.session is None or now.setup is None or now.turn != 2 or now.failed:
        return
    if now.session_field in _OF_TREE or now.is_branch or _is_path(now):
        return
    others: dict[int, list[Digest]] = {}
    for digest in turn.same_session:
        if digest.conversation not in (None, now.conversation) and not digest.failed and not digest.is_branch:
            others.setdefault(digest.conversation or 0, []).append(digest)
    first = next(iter(turn.same_conversation), now)
    if not first.is_start:
        return  # goes on with a part of a history
    unrelated = [
        turns
        for turns in others.values()
        if len(turns) > 1
        and turns[0].setup == now.setup
        and (turns[0].opening != now.opening or turns[-1].precedes(first))
        # One that was long before the other began may be the same, summarised.
        and (turns[-1].size < SHORT or not turns[-1].precedes(first))
    ]
    if len(unrelated) == 1:
        yield (
            _line(turn),
            f"{now.session_field} {_says(now.session)} names this conversation, which began in exchange "
            f"{first.number}, and the unrelated one of exchange {unrelated[0][0].number}",
        )


@rule("BerriAI/litellm#24110", severity=WARNING, fix="inject-session", evidence="flows")
def session_id_changes_per_request(turn: Turn) -> Hits:
    """The session id is new for every request.

    Somebody took a request id for a session id, or makes the id where the request is made: to the gateway
    each turn is a conversation of its own, so nothing is ever sticky, and its table of sessions fills up.
    LiteLLM 1.106.2 spreads such requests as if they had no id.

    It is reported with the third id for the third turn of one conversation.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-id: 5f0d7f9a-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0012
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 149
        > x-session-id: 90b1c3d4-0002
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0013
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 235
        > x-session-id: e7a2b6c8-0003
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."},{"role":"assistant",
        > "content":"It is empty."},{"role":"user","content":"Delete it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0014
        < Content-Length: 288

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-id: 5f0d7f9a-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0015
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 149
        > x-session-id: 5f0d7f9a-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0016
        < Content-Length: 288
    """
    now = turn.digest
    before = _answered(turn)
    if now.session is None or not now.is_fresh or len(before) != SEVERAL - 1 or _is_path(now):
        return
    if _always_new([*before, now]) and len({digest.session for digest in before}) == len(before):
        yield (
            _line(turn),
            f"{now.session_field} {_says(now.session)} is the conversation's {SEVERAL}rd id in {SEVERAL} requests, "
            f"after {' and '.join(_says(digest.session or '') for digest in before)}",
        )


@rule("BerriAI/litellm#41032", severity=WARNING, fix="inject-session", evidence="headers + body")
def conflicting_session_ids(request: Request, policy: Policy) -> Hits:
    """Two session headers, or header and body, name different sessions.

    Each gateway on the way reads another one, so the hops disagree about what a conversation is: LiteLLM
    prefers x-litellm-session-id to x-session-id, merge.dev's gateway X-Session-Id to session_id in the
    content, llm-d session-id to session_id.

    Compared are headers that mean the same thing: old and new spellings of one agent's (session_id and
    session-id), the names that belong to no vendor, a header and the member of the content that the same
    agent fills, and whatever the policy says this upstream reads. Codex's thread-id is another thing than its
    session-id, a parent's id another than the child's, and prompt_cache_key is shared by a tree of agents.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > x-session-id: ses_e0903860fffeMg4JHQorFnGkyX
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 120
        > x-litellm-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}],
        > "metadata":{"session_id":"conversation-0002"}}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-affinity: ses_e0903860fffeMg4JHQorFnGkyX
        > x-session-id: ses_e0903860fffeMg4JHQorFnGkyX
        > x-parent-session-id: ses_b1c2d3e4fffeMg4JHQorFnGkyX
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
    """
    lines = {line.key: line for line in _ids(request)}
    if not lines:
        return
    header = policy.session.header
    several = len(lines) > 1
    groups: list[set[str]] = [set(family & lines.keys()) for family in SAME_SESSION] if several else []
    if several and header in lines:
        read = {name for name in lines if name == header or is_read(name, request, policy.session)}
        groups.append(read - FINER)
    done: set[str] = set()
    for group in groups:
        # The one the upstream prefers first; among others any order will do, if it is always the same.
        first, *others = sorted(group, key=lambda name: (name != header, name)) or [""]
        for name in others:
            if lines[name].value != lines[first].value and name not in done:
                done.add(name)
                yield lines[name], _disagree(lines[name], lines[first])
    shared = [(members, given) for members, names in IN_BODY if (given := names & lines.keys())]
    if done or not shared:
        return
    for member, said in body_ids(document(request)):
        for members, given in shared:
            for name in sorted(given) if member in members else ():
                line = lines[name]
                if line.value.decode("latin-1") != said and member not in done:
                    done.add(member)
                    what = f"{line.shown_name} is {shown(line.name, line.value)}"
                    yield line, f"{what} and {member} in the content {_says(said)}"


def _disagree(line: FieldLine, first: FieldLine) -> str:
    return (
        f"{line.shown_name} is {shown(line.name, line.value)} and {first.shown_name} "
        f"{shown(first.name, first.value)}"
    )


@rule(
    "RFC 9110 §5.3",
    "RFC 7230 §3.2.2",
    severity=ERROR,
    fix="dedupe-headers",
)
def duplicate_session_header(request: Request, policy: Policy) -> Hits:
    """The session header appears more than once.

    Whoever routes by it reads one of the lines: smg 1.13.0 the first, LiteLLM 1.106.2 the last. miles'
    session server adds X-SMG-Routing-Key to a copy of the client's headers in which the name is in lower
    case, so both go out, and smg follows the client's: the client steers the routing. Two equal lines are
    joined by the next hop that folds headers (Envoy, httpx, fetch), and ``a, a`` is the id of no session.

    > A sender MUST NOT generate multiple field lines with the same name in a message [...] unless that
    > field's definition allows multiple field line values to be recombined as a comma-separated list.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-smg-routing-key: chosen-by-the-client
        > X-SMG-Routing-Key: 0f1e2d3c4b5a69788796a5b4c3d2e1f0
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > X-SMG-Routing-Key: 0f1e2d3c4b5a69788796a5b4c3d2e1f0
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
    """
    fields = request.fields
    if len(fields) == len(fields.names):
        return
    for name, lines in fields.by_name.items():
        if len(lines) > 1 and (name in SESSION_HEADERS or name == policy.session.header):
            for line in lines[1:]:
                again = "repeats" if line.value == lines[0].value else "contradicts"
                yield (
                    line,
                    f"{line.shown_name} {shown(line.name, line.value)} {again} {shown(lines[0].name, lines[0].value)}",
                )


@rule(
    "BerriAI/litellm: litellm_pre_call_utils.py",
    severity=WARNING,
    fix="inject-session",
    breaks=("litellm 1.106.2",),
)
def session_id_malformed(request: Request, policy: Policy) -> Hits:
    """The session id does not fit the pattern the upstream accepts.

    It is ignored without a word, as if there were none. LiteLLM takes only ids of 8 or more letters, digits,
    hyphens and underscores from x-<vendor>-session-id: a ``user:42``, a ``v1.conv`` or a number spreads over
    all deployments.

    The pattern is the policy's. Where another header that the upstream reads has an id that fits, that one
    counts. Empty ids and ``None`` are empty-header-value and placeholder-header-value.

    Bad::

        # profile: litellm
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example
        > Content-Type: application/json
        > Content-Length: 73
        > x-agent-session-id: user:42
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}

    Good::

        # profile: litellm
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example
        > Content-Type: application/json
        > Content-Length: 73
        > x-agent-session-id: user-42-conversation-1
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
    """
    session = policy.session
    if session.pattern is None or not is_expected(request, session):
        return
    accepted = _compiled(session.pattern)
    misfits: list[FieldLine] = []
    for name in request.fields.names:
        if is_read(name, request, session):
            line = request.fields.lines(name)[0]
            if accepted.fullmatch(line.value.decode("latin-1")):
                return
            if line.value and not is_placeholder(line.value):
                misfits.append(line)
    for line in sorted(misfits, key=lambda line: line.key):
        yield (
            line,
            f"{line.shown_name} {shown(line.name, line.value)} does not fit {session.pattern}, and is ignored",
        )


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@rule(
    "BerriAI/litellm#41032",
    severity=WARNING,
    fix="inject-session",
    breaks=("litellm 1.106.2", "smg 1.13.0", "opencode zen"),
)
def session_header_not_read_by_upstream(request: Request, policy: Policy) -> Hits:
    """The session id is in a header the upstream does not read.

    The client does what it can, and the upstream routes as if there were no id. LiteLLM 1.106.2 reads
    x-litellm-session-id and x-<vendor>-session-id, Codex's session-id only from Codex itself, and OpenCode's
    x-session-affinity not at all; smg and sglang-router read X-SMG-Routing-Key alone. OpenCode's own service
    answers 400 "Request is missing x-opencode-session".

    What the upstream reads is the policy's; without one nothing is said.

    Bad::

        # profile: litellm
        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example
        > User-Agent: opencode/1.18.33
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-affinity: ses_e0903860fffeMg4JHQorFnGkyX
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}

    Good::

        # profile: litellm
        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Authorization: Bearer sk-example
        > User-Agent: codex_exec/0.169.0
        > Content-Type: application/json
        > Content-Length: 42
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        >
        > {"model":"qwen","input":"List the files."}
    """
    session = policy.session
    if session.header is None or request.fields.names.isdisjoint(_CONVERSATION_IDS):
        return
    if not is_expected(request, session) or _is_told(request, session):
        return
    line = min(_ids(request), key=lambda line: CONVERSATION_IDS.index(line.key), default=None)
    if line is not None:
        yield (
            line,
            f"the session is {shown(line.name, line.value)} in {line.shown_name}; the upstream reads {session.header}",
        )


@rule("OpenHands/software-agent-sdk#3437", severity=WARNING, fix="pin-affinity", evidence="flows")
def session_split_across_deployments(turn: Turn) -> Hits:
    """One session was served by several deployments.

    Each deployment reads the whole history again, with a cold prefix cache, and does not know the responses
    that another one stored. The gateway had no affinity key, ignored the one it had, or forgot it: LiteLLM
    keeps a session for 3600 s (``deployment_affinity_ttl_seconds``), smg for four hours, llm-d for 300 s, and
    several LiteLLM workers without Redis do not share theirs. Six turns of openhands-sdk 1.23.1 without a
    session header went C, C, A, B, A, C; with it C six times.

    A session is what has one session id or, without any id, one conversation. Which deployment served a
    request is told by headers of the response (policy: x-litellm-model-id, x-smg-routed-worker-id...). A
    request for another model, one that failed before, and one that the gateway says it tried elsewhere first
    may well move. It is reported once, at the first request that moved.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-litellm-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0017
        < Content-Length: 288
        < x-litellm-model-id: dep-A

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 149
        > x-litellm-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0018
        < Content-Length: 288
        < x-litellm-model-id: dep-C

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-litellm-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0019
        < Content-Length: 288
        < x-litellm-model-id: dep-A

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 149
        > x-litellm-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0020
        < Content-Length: 288
        < x-litellm-model-id: dep-A
    """
    now = turn.digest
    if now.deployment is None or now.was_moved or now.failed:
        return
    family = turn.same_session if now.session is not None else turn.same_conversation
    if any(digest.deployment != now.deployment for digest in turn.continued if digest.deployment is not None):
        return  # previous-response-on-other-deployment says more
    before = [digest for digest in family if digest.model == now.model]
    if not before or before[-1].failed:
        return
    served = {digest.deployment for digest in before if digest.deployment is not None and not digest.failed}
    if len(served) == 1 and now.deployment not in served:
        what = (
            f"session {_says(now.session)}"
            if now.session is not None
            else "this conversation, which has no session id,"
        )
        last = next(digest for digest in reversed(before) if digest.deployment in served)
        yield (
            turn.exchange.response or turn.exchange,
            f"{what} was served by {_says(now.deployment)}, after {_says(last.deployment or '')} in exchange {last.number}",
        )


@rule(
    "BerriAI/litellm: litellm_pre_call_utils.py",
    severity=WARNING,
    fix="inject-session",
    breaks=("litellm 1.106.2",),
)
def trace_id_shadows_session_id(request: Request, policy: Policy) -> Hits:
    """A trace id header accompanies the session header and wins.

    LiteLLM 1.106.2 looks for x-litellm-trace-id before x-litellm-session-id and x-<vendor>-session-id. Where
    a trace is one request, as tracing libraries have it, the session is another one each time, and affinity
    is gone although the client names its session.

    A trace id that equals the session id does no harm.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        > x-litellm-trace-id: 2f80d414-af17-43f0-9d1c-0b8e5a4f6c21
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-litellm-session-id: 7ab0d106-87bc-479f-8cf5-e94c2a94db00
        > traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
    """
    for name in policy.session.shadows:
        if name not in request.fields.names:
            continue
        trace = request.fields.lines(name)[0]
        for line in _ids(request):
            meant = line.key == "x-litellm-session-id" or is_read(line.key, request, policy.session)
            if meant and trace.value and line.value != trace.value:
                yield (
                    trace,
                    f"{trace.shown_name} {shown(trace.name, trace.value)} is taken for the session instead of "
                    f"{line.shown_name} {shown(line.name, line.value)}",
                )
                break


@rule("llm-d router: session-affinity-scorer", severity=WARNING, fix="pin-affinity", evidence="flows")
def affinity_token_not_replayed(turn: Turn, policy: Policy) -> Hits:
    """The client did not send back the affinity token the server issued.

    The token is all the server has to find the place again: llm-d's x-session-token names the pod, and
    x-codex-turn-state what the ChatGPT backend holds of a turn. A client that does not echo it lands
    elsewhere with the next request, with a cold cache or without its state. Clients that know nothing of the
    header, and gateways that build their requests anew, lose it.

    x-codex-turn-state is for one turn, so only a request that brings results of tools has to echo it. It is
    reported once, at the first request without the token.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0021
        < Content-Length: 288
        < x-session-token: ZGVmYXVsdC9wb2QtMQ

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 149
        > x-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0022
        < Content-Length: 288

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 73
        > x-session-id: conversation-0001
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0023
        < Content-Length: 288
        < x-session-token: ZGVmYXVsdC9wb2QtMQ

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 149
        > x-session-id: conversation-0001
        > x-session-token: ZGVmYXVsdC9wb2QtMQ
        >
        > {"model":"qwen","messages":[{"role":"user","content":"List the files."},{"role":"assistant",
        > "content":"a.py"},{"role":"user","content":"Read it."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0024
        < Content-Length: 288
        < x-session-token: ZGVmYXVsdC9wb2QtMQ
    """
    now = turn.digest
    before = turn.same_conversation or turn.same_session
    if not any(d.tokens_issued for d in before):  # as almost always
        return
    for name in policy.session.tokens:
        if _token(now.tokens_sent, name) or (name in policy.session.turn_tokens and not now.is_mid_turn):
            continue
        issued = [d for d in before if _token(d.tokens_issued, name) and d.precedes(now)]
        if not issued:
            continue
        after = [d for d in before if issued[0].precedes(d)]
        if name in policy.session.turn_tokens:
            after = [d for d in after if d.is_mid_turn]
            issued = issued[-1:] if issued[-1] is before[-1] else []
        if issued and all(_token(d.tokens_sent, name) for d in after):
            yield (
                turn.exchange,
                f"{name}, which the response of exchange {issued[-1].number} issued for this conversation, is not sent",
            )


def _token(tokens: tuple[bytes, ...], name: str) -> bytes | None:
    prefix = name.encode() + b":"
    return next((token for token in tokens if token.startswith(prefix)), None)


@rule("llm-d router: session-affinity-scorer", severity=WARNING, fix="pin-affinity", evidence="flows")
def affinity_token_used_by_other_session(turn: Turn) -> Hits:
    """An affinity token was sent in another conversation than it was issued in.

    The state of one turn is applied to the wrong conversation, or two conversations end up where one should
    be. A client that keeps the token in an object which its conversations share does that, and so does a
    gateway that keeps it per connection.

    A token that both sessions were issued, as llm-d's are when both are on one pod, is nobody's.

    Bad::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 51
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        >
        > {"model":"gpt-5.2-codex","input":"List the files."}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0025
        < Content-Length: 288
        < x-codex-turn-state: state-0001

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 49
        > session-id: 01a1f6fa-9c02-7203-9e22-b4f34c3e52cc
        > x-codex-turn-state: state-0001
        >
        > {"model":"gpt-5.2-codex","input":"Write a poem."}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0026
        < Content-Length: 288

    Good::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 51
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        >
        > {"model":"gpt-5.2-codex","input":"List the files."}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0027
        < Content-Length: 288
        < x-codex-turn-state: state-0001

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 213
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > x-codex-turn-state: state-0001
        >
        > {"model":"gpt-5.2-codex","input":[{"role":"user","content":"List the files."},
        > {"type":"function_call","call_id":"c1","name":"ls","arguments":"{}"},
        > {"type":"function_call_output","call_id":"c1","output":"a.py"}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0028
        < Content-Length: 288
    """
    now = turn.digest
    if not turn.issuers or any(_is_same(digest, now) for digest in turn.issuers):
        return
    family = turn.same_session if now.session is not None else turn.same_conversation
    if any(set(digest.tokens_sent) & set(now.tokens_sent) for digest in family):
        return  # said already, or issued longer ago than is remembered
    issuer = turn.issuers[-1]
    name = next(t for t in now.tokens_sent if t in issuer.tokens_issued).partition(b":")[0].decode()
    if issuer.session is not None and now.session is not None:
        whose = f"session {_says(issuer.session)}, and is sent in session {_says(now.session)}"
    else:
        whose = "another conversation than it is sent in"
    line = turn.exchange.request.fields.lines(name)[0]
    yield line, f"{name} was issued in exchange {issuer.number} to {whose}"


def _is_same(issuer: Digest, now: Digest) -> bool:
    """Whether both are, or may be, of one session."""
    if issuer.session is not None and issuer.session == now.session:
        return True
    if issuer.conversation is not None and now.conversation is not None:
        return issuer.conversation == now.conversation
    return issuer.session is None or now.session is None


@rule("openai/codex#30536", severity=NOTE)
def affinity_token_missing_on_101(exchange: Exchange, policy: Policy) -> Hits:
    """The 101 response issues no affinity token although the API promises one.

    After a reconnect the client cannot say which turn it was in, and begins it anew: Codex reads
    x-codex-turn-state from the response to its handshake. The ChatGPT backend often leaves it out, and a
    gateway that builds the 101 itself always does.

    Bad::

        # profile: codex
        @ scheme: https
        > GET /backend-api/codex/responses HTTP/1.1
        > Host: chatgpt.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > OpenAI-Beta: responses_websockets=2026-02-06
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

    Good::

        # profile: codex
        @ scheme: https
        > GET /backend-api/codex/responses HTTP/1.1
        > Host: chatgpt.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token
        > OpenAI-Beta: responses_websockets=2026-02-06
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < x-codex-turn-state: state-0001
    """
    name, response = policy.session.token_on_101, exchange.response
    if name is None or response is None or response.status != 101 or name in response.fields.names:
        return
    found = llm.endpoint(exchange.request)
    if found is not None and found.completes:
        yield response, f"the 101 response has no {name}: the turn cannot be taken up again after a reconnect"


@rule(
    "RFC 6455 §7.4.1",
    severity=ERROR,
    fix="pin-affinity",
    evidence="flows + websocket",
    breaks=("codex-lb 1.20.1",),
)
def session_moved_after_close_1011(turn: Turn) -> Hits:
    """After a close with 1011 the session continued on another account.

    What the upstream holds of a session (its responses, its turn state) belongs to the account that made it.
    codex-lb 1.20.1 took a 1011 before response.created for a fault of the account and connected with the next
    one: the client sees a 200 and a model that has forgotten everything. 1.24.0 stays, and answers 502 until
    the account is back. Only a request without session id, thread id or turn state may go elsewhere.

    A 1011 may be of the client library's own making: Python's websockets closes with it when a ping is not
    answered. That is no reason to change the account either.

    > 1011 indicates that a server is terminating the connection because it encountered an unexpected
    > condition that prevented it from fulfilling the request.

    Bad, also websocket-closed-before-first-event::

        @ scheme: https
        > GET /backend-api/codex/responses HTTP/1.1
        > Host: chatgpt.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token-2
        > chatgpt-account-id: acct-example-2
        > OpenAI-Beta: responses_websockets=2026-02-06
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < CLOSE 1011

        @ scheme: https
        > GET /backend-api/codex/responses HTTP/1.1
        > Host: chatgpt.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token-1
        > chatgpt-account-id: acct-example-1
        > OpenAI-Beta: responses_websockets=2026-02-06
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: 3Fq2ZxTkQ0m1bB6y8n5c9w==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: u9iPPUTozt3Afem8nMG1Q/RXvCo=

    Good::

        @ scheme: https
        > GET /backend-api/codex/responses HTTP/1.1
        > Host: chatgpt.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token-2
        > chatgpt-account-id: acct-example-2
        > OpenAI-Beta: responses_websockets=2026-02-06
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
        < CLOSE 1000
        > CLOSE 1000

        @ scheme: https
        > GET /backend-api/codex/responses HTTP/1.1
        > Host: chatgpt.example
        > Upgrade: websocket
        > Connection: Upgrade
        > Authorization: Bearer example-token-2
        > chatgpt-account-id: acct-example-2
        > OpenAI-Beta: responses_websockets=2026-02-06
        > session-id: 01a1f722-f2fd-7653-9672-92b4cf3d5672
        > Sec-WebSocket-Version: 13
        > Sec-WebSocket-Key: 3Fq2ZxTkQ0m1bB6y8n5c9w==
        < HTTP/1.1 101 Switching Protocols
        < Upgrade: websocket
        < Connection: Upgrade
        < Sec-WebSocket-Accept: u9iPPUTozt3Afem8nMG1Q/RXvCo=
    """
    now = turn.digest
    if now.account is None or now.session is None or now.status >= 400:
        return  # what was refused, as by pin-affinity, has not continued there
    before = next((digest for digest in reversed(turn.same_session) if digest.precedes(now)), None)
    if before is None or before.close_code != 1011 or before.account in (None, now.account):
        return
    yield (
        turn.exchange,
        f"session {_says(now.session)} continues on account {_says(now.account)}, after exchange {before.number} on "
        f"{_says(before.account or '')} was closed with 1011",
    )


@rule("RFC 9110 §15.5.1", "RFC 7231 §6.5.1", severity=ERROR, evidence="body", breaks=("OpenAI API",))
def session_field_rejected_by_upstream(exchange: Exchange) -> Hits:
    """The upstream refused the session field in the body.

    OpenAI answers 400 "Unrecognized request argument supplied: session_id", other servers that know the
    members of their requests 422: the call fails, every time. harbor sends session_id in the content and tries
    again without it after such an answer; other clients do not. The id belongs into prompt_cache_key or into
    a header.

    > The 400 (Bad Request) status code indicates that the server cannot or will not process the request due
    > to something that is perceived to be a client error [...]

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 104
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}],
        > "session_id":"conversation-0001"}
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0029
        < Content-Type: application/json
        < Content-Length: 131
        <
        < {"error":{"message":"Unrecognized request argument supplied: session_id",
        < "type":"invalid_request_error","param":null,"code":null}}

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 104
        >
        > {"model":"m","messages":[{"role":"user","content":"List the files."}],
        > "session_id":"conversation-0001"}
        < HTTP/1.1 400 Bad Request
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0030
        < Content-Type: application/json
        < Content-Length: 125
        <
        < {"error":{"message":"The model `m` does not exist","type":"invalid_request_error",
        < "param":"model","code":"model_not_found"}}
    """
    response = exchange.response
    if response is None or response.status not in (400, 422) or response.body is None:
        return
    asked = document(exchange.request)
    if not isinstance(asked, dict):
        return
    said = (decoded(response) or b"")[:EXPLAINED]
    for name in _BODY_FIELDS:
        if name in asked and _REFUSES.search(said) and re.search(rb"\b" + name.encode() + rb"\b", said):
            yield response, f"{name} in the content of the request is refused with {response.status}"
            return


@rule("OpenAI API reference: previous_response_id", severity=WARNING, fix="pin-affinity", evidence="flows")
def previous_response_on_other_deployment(turn: Turn) -> Hits:
    """A request continues a response that another deployment produced.

    Responses are stored where they were made. Another deployment answers 404 "Previous response with id ...
    not found" or 400, or takes the request for the first of a conversation. LiteLLM writes the deployment into
    the ids of responses and follows it only with ``responses_api_deployment_check`` switched on.

    Deployments that share their store answer, with 200: then nothing is wrong.

    Bad::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 39
        >
        > {"model":"m","input":"List the files."}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0031
        < Content-Type: application/json
        < Content-Length: 309
        < x-litellm-model-id: dep-A
        <
        < {"id":"resp_0001","object":"response","created_at":1795144455,"status":"completed","model":"m",
        < "output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed",
        < "content":[{"type":"output_text","text":"a.py","annotations":[]}]}],"usage":{"input_tokens":5,
        < "output_tokens":2,"total_tokens":7}}

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 67
        >
        > {"model":"m","input":"Read it.","previous_response_id":"resp_0001"}
        < HTTP/1.1 404 Not Found
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0032
        < Content-Type: application/json
        < Content-Length: 173
        < x-litellm-model-id: dep-C
        <
        < {"error":{"message":"Previous response with id 'resp_0001' not found.",
        < "type":"invalid_request_error","param":"previous_response_id",
        < "code":"previous_response_not_found"}}

    Good::

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 39
        >
        > {"model":"m","input":"List the files."}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0033
        < Content-Type: application/json
        < Content-Length: 309
        < x-litellm-model-id: dep-A
        <
        < {"id":"resp_0001","object":"response","created_at":1795144455,"status":"completed","model":"m",
        < "output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed",
        < "content":[{"type":"output_text","text":"a.py","annotations":[]}]}],"usage":{"input_tokens":5,
        < "output_tokens":2,"total_tokens":7}}

        > POST /v1/responses HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > Content-Length: 67
        >
        > {"model":"m","input":"Read it.","previous_response_id":"resp_0001"}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0034
        < Content-Length: 302
        < x-litellm-model-id: dep-A
    """
    now = turn.digest
    if now.deployment is None or not turn.continued or now.status < 400:
        return
    maker = turn.continued[-1]
    if maker.deployment is not None and maker.deployment != now.deployment:
        yield (
            turn.exchange,
            f"the response that this request continues was made by {_says(maker.deployment)} in exchange "
            f"{maker.number}, and {_says(now.deployment)} answers {now.status}",
        )


@rule(
    "RFC 9110 §5.1",
    "RFC 7230 §3.2.1",
    severity=WARNING,
    fix="inject-session",
    evidence="legs",
    breaks=("smg 1.13.0", "sglang-router 0.3.2"),
)
def session_header_dropped_by_hop(legs: Legs, policy: Policy) -> Hits:
    """A hop removed the session header.

    smg forwards an allow-list and drops all other session headers, so the next router cannot be sticky;
    sglang-router 0.3.2 drops them all, and nginx, Caddy and both routers those whose name has an underscore.
    A gateway that names the session in another header, or in the content, has kept it. Towards a model provider
    a gateway's own header (x-litellm-session-id) is rightly taken out.

    > A proxy MUST forward unrecognized header fields unless the field name is listed in the Connection header
    > field (Section 7.6.1) or the proxy is specifically configured to block, or otherwise transform, such
    > fields.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-session-id: conversation-1
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-session-id: conversation-1
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > X-SMG-Routing-Key: conversation-1
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    given = _session_lines(came, policy)
    if not given or any(_session_lines(went, policy)):
        return
    content = decoded(went)
    if content is None and went.body is not None:
        return
    host = (legs.server.upstream or (went.fields.one("host") or b"").decode("latin-1")).rpartition(":")[0]
    provider = any(fnmatchcase(host, pattern) for pattern in policy.routing.providers)
    ours = named(GATEWAY_CONTROL)
    for line in given:
        value = line.value
        if (provider and ours.fullmatch(line.key)) or legs.declared("request", line.key):
            continue
        if value in went.target or value in went.fields.block or (content is not None and value in content):
            continue
        yield (
            went,
            f"{legs.hop} did not forward {line.shown_name} {shown(line.name, value)}, nor any other session id",
        )
        return


def _session_lines(request: Request, policy: Policy) -> list[FieldLine]:
    """The lines by which a request says which conversation it belongs to."""
    wanted = _CONVERSATION_IDS | ({policy.session.header} if policy.session.header else set())
    return [line for line in request.fields if line.key in wanted and line.value]


@rule("RFC 9110 §7.7", "RFC 7230 §5.7.2", severity=WARNING, evidence="legs")
def session_id_changed_by_hop(legs: Legs, policy: Policy) -> Hits:
    """A hop replaced the client's session id.

    Two routers in a row follow different keys, and what the client's side logs cannot be found upstream. The
    OpenHands SDK 1.58 overwrites an x-litellm-session-id that its user had set with its own conversation's
    (software-agent-sdk#3467). A hop that adds an id of its own beside the client's changes nothing.

    > A proxy SHOULD NOT modify header fields that provide information about the endpoints of the communication
    > chain, the resource state, or the selected representation (other than the content) unless the field's
    > definition specifically allows such modification or the modification is deemed necessary for privacy or
    > security.

    Bad::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-session-id: conversation-1
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > x-session-id: pool-7
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

    Good::

        @ leg: client
        > GET /v1/models HTTP/1.1
        > Host: gateway.example
        > x-session-id: conversation-1
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2

        @ leg: server
        > GET /v1/models HTTP/1.1
        > Host: router.example
        > x-session-id: conversation-1
        > X-SMG-Routing-Key: pool-7
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < Content-Length: 2
    """
    came, went = legs.requests
    for line in _session_lines(came, policy):
        after = went.fields.lines(line.key)
        values = {kept.value for kept in after}
        if not after or line.value in values or legs.declared("request", line.key):
            continue
        # A hop may pass it on under another name, beside its own.
        if any(kept.value == line.value for kept in _session_lines(went, policy)):
            continue
        now = shown(after[0].name, after[0].value)
        yield after[0], f"{line.shown_name} {shown(line.name, line.value)} left {legs.hop} as {now}"


@rule("OpenAI API reference: Prompt caching", severity=NOTE, evidence="flows")
def prompt_cache_key_changes_within_conversation(turn: Turn) -> Hits:
    """prompt_cache_key changes inside one conversation.

    The provider's cache of prefixes is missed: with the key it chooses the machine, and another key is another machine,
    on which the whole prompt is computed, and paid for, again. Set it to what stays the same for the conversation, its
    session id for one.

    Bad::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > x-session-id: conversation-0001
        > Content-Length: 85
        >
        > {"model":"m","prompt_cache_key":"k-1","messages":[{"role":"user","content":"List."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:15 GMT
        < x-request-id: req_0005
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > x-session-id: conversation-0001
        > Content-Length: 158
        >
        > {"model":"m","prompt_cache_key":"k-2","messages":[{"role":"user","content":"List."},
        > {"role":"assistant","content":"a.py"},{"role":"user","content":"Read."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:16 GMT
        < x-request-id: req_0006
        < Content-Length: 288

    Good::

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > x-session-id: conversation-0001
        > Content-Length: 85
        >
        > {"model":"m","prompt_cache_key":"k-1","messages":[{"role":"user","content":"List."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:17 GMT
        < x-request-id: req_0007
        < Content-Length: 288

        > POST /v1/chat/completions HTTP/1.1
        > Host: api.example
        > Content-Type: application/json
        > x-session-id: conversation-0001
        > Content-Length: 158
        >
        > {"model":"m","prompt_cache_key":"k-1","messages":[{"role":"user","content":"List."},
        > {"role":"assistant","content":"a.py"},{"role":"user","content":"Read."}]}
        < HTTP/1.1 200 OK
        < Date: Fri, 20 Nov 2026 03:14:18 GMT
        < x-request-id: req_0008
        < Content-Length: 288
    """
    now = turn.digest
    if now.cache_key is None or now.is_branch:
        return
    for before in reversed(turn.same_conversation):
        if before.failed or before.is_branch or before.cache_key is None or before.model != now.model:
            continue
        if before.cache_key != now.cache_key:
            why = f"prompt_cache_key is another than in exchange {before.number} of the same conversation"
            yield turn.exchange.request, why
        return

"""An exchange beside those before it in its recording: what rules of scope Turn judge, and ``history`` puts together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from conformance.message import Exchange


class Digest(NamedTuple):
    """What is remembered of an exchange when later ones are judged: a few hundred octets, no content.

    Values that identify are digests, except session and request ids, which findings name. Credentials and
    affinity tokens are never here.
    """

    number: int
    started: float | None
    ended: float | None
    host: bytes
    method: bytes
    path: bytes
    status: int
    """Of the final response; 0: none was recorded."""
    lost: bool
    """The recorder says that no response came, or not all of it."""
    unsent: bool = False
    """What it says means that the request never reached the server: nobody listened, no name, no TLS."""
    is_handshake: bool = False
    """A WebSocket handshake."""
    request: bytes | None = None
    """Of host, method, target and content: equal requests ask for the same. None: the content is not known."""
    details: bytes = b""
    """Of the names of the fields and of the values that decide how a request is taken: credential, API version."""
    connection: str | None = None
    """The client's, by any name."""
    credential: bytes | None = None
    account: str | None = None
    session: str | None = None
    """The id that the request gives its session: the one the upstream reads, or the most exact one."""
    session_field: str = ""
    is_fresh: bool = False
    """No earlier request, but for tries of the same, has this session id."""
    is_branch: bool = False
    """A header says that it is a sub-agent's."""
    conversation: int | None = None
    """Which conversation it belongs to by what its messages say, whatever its session id; None: not known."""
    turn: int = 0
    """How many exchanges the conversation has had with this one; failed ones do not count. 1: its first."""
    setup: bytes | None = None
    """Of the system prompt; None: there is none."""
    opening: bytes | None = None
    """Of the first message of a user."""
    is_start: bool = False
    """Nothing of the model's is in its messages yet."""
    is_mid_turn: bool = False
    """The last message is the result of a tool."""
    size: int = 0
    """Octets of the request's content."""
    model: str | None = None
    """What the request asks for."""
    deployment: str | None = None
    """Who served it, as the gateway says."""
    was_moved: bool = False
    """The gateway says that it tried another deployment first."""
    tokens_sent: tuple[bytes, ...] = ()
    tokens_issued: tuple[bytes, ...] = ()
    """Affinity tokens, each with its field's name."""
    response_id: bytes | None = None
    """Of the id of a Responses API response."""
    previous_response_id: bytes | None = None
    cache_key: bytes | None = None
    """Of what the request calls its prompt in the provider's cache (``prompt_cache_key``)."""
    event_reader: bytes | None = None
    """Mcp-Session-Id (empty: none) of a GET that opened an event stream whose events have ids; else None."""
    request_ids: tuple[tuple[str, str], ...] = ()
    """Field and value of what the client calls this request."""
    idempotency_key: bytes | None = None
    websocket_key: bytes | None = None
    wait: float | None = None
    """Seconds that the response asks to wait: the least that any of its fields says."""
    should_retry: bool | None = None
    """What x-should-retry says."""
    retry: int | None = None
    """How often the client says that it has tried before."""
    close_code: int | None = None
    """The code with which the server closed the WebSocket."""
    stored: tuple[bytes, bytes, frozenset[str]] | None = None
    """What a cache keeps of a 200: ETag, content coding, and which of its fields a 304 has to repeat."""

    def precedes(self, later: Digest) -> bool:
        """Whether this one was over when the other began; without times, whether it stands before it."""
        # A recorder writes exchanges down when they end: the order of the recording is not that of beginning.
        if self.ended is not None and later.started is not None:
            return self.ended <= later.started
        connections = {self.connection, later.connection}
        if self.started is None and later.started is None and len(connections - {None}) > 1:
            # Octets in a transcript: whole connections stand one after the other, however they ran.
            return False
        return self.number < later.number

    @property
    def failed(self) -> bool:
        """Nobody got what was asked for."""
        return self.lost or self.status >= 400


class Turn(NamedTuple):
    """An exchange together with those before it in the recording that have to do with it.

    Each tuple holds the last few, the newest last; whether they were over when it began says ``Digest.precedes``.
    """

    get: Callable[[], Exchange]
    """Gives the exchange, which may have to be read for it; the digests are at hand."""
    digest: Digest
    same_request: tuple[Digest, ...] = ()
    """The same host, method, target and content."""
    same_conversation: tuple[Digest, ...] = ()
    same_session: tuple[Digest, ...] = ()
    """The same host and session id."""
    same_client: tuple[Digest, ...] = ()
    """The same host and credential, or none."""
    same_idempotency_key: tuple[Digest, ...] = ()
    same_websocket_key: tuple[Digest, ...] = ()
    same_request_id: tuple[Digest, ...] = ()
    issuers: tuple[Digest, ...] = ()
    """Those whose responses issued an affinity token that this request sends."""
    continued: tuple[Digest, ...] = ()
    """Those whose response this request continues (``previous_response_id``)."""

    @property
    def exchange(self) -> Exchange:
        return self.get()

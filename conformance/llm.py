"""What is known of the LLM APIs: which endpoint a request is for, how it answers, what it answered.

Data, with sources; what reads it knows no API by name.

Paths are matched by their end, because gateways put prefixes before them (``/sessions/ID/v1/chat/completions``,
``/openai/deployments/NAME/chat/completions``, ``/v1/projects/P/.../models/M:streamGenerateContent``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import repeat
from typing import Any, Literal, NamedTuple

from conformance.content import BEYOND, decoded, document, is_whole
from conformance.message import Exchange, Message, Request, Response
from conformance.sse import Event, declared, events


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of one API."""

    name: str
    api: str
    """``openai``, ``anthropic``, ``gemini``, ``sglang``, ``vllm``."""
    path: re.Pattern[bytes]
    methods: frozenset[bytes]
    completes: bool = False
    """It runs a model: each call costs, belongs to a conversation, and must not be cached."""
    version: str = ""
    """The header that names the version of the API, if the vendor's own servers require one."""


def _endpoint(
    name: str, api: str, path: bytes, *methods: bytes, completes: bool = False, version: str = ""
) -> Endpoint:
    return Endpoint(name, api, re.compile(path + rb"/?\Z"), frozenset(methods), completes, version)


ENDPOINTS: tuple[Endpoint, ...] = (
    _endpoint("chat-completions", "openai", rb"/chat/completions", b"POST", completes=True),
    _endpoint("count-tokens", "anthropic", rb"/messages/count_tokens", b"POST", version="anthropic-version"),
    _endpoint("count-tokens-vertex", "anthropic", rb"/count-tokens:rawPredict", b"POST"),
    _endpoint(
        "messages", "anthropic", rb"/v1/messages", b"POST", completes=True, version="anthropic-version"
    ),
    _endpoint(
        "messages-vertex", "anthropic", rb"/models/[^/]+:(?:stream)?[rR]awPredict", b"POST", completes=True
    ),
    _endpoint(
        "messages-bedrock",
        "anthropic",
        rb"/model/[^/]+/invoke(?:-with-response-stream)?",
        b"POST",
        completes=True,
    ),
    _endpoint("responses", "openai", rb"/responses", b"POST", b"GET", completes=True),
    _endpoint("completions", "openai", rb"/v1/completions", b"POST", completes=True),
    _endpoint("embeddings", "openai", rb"/embeddings", b"POST"),
    _endpoint("realtime", "openai", rb"/realtime", b"GET", completes=True),
    _endpoint("models", "openai", rb"/v1/models(?:/[^/]+)?", b"GET"),
    _endpoint(
        "stream-generate-content", "gemini", rb"/models/[^/]+:streamGenerateContent", b"POST", completes=True
    ),
    _endpoint("generate-content", "gemini", rb"/models/[^/]+:generateContent", b"POST", completes=True),
    _endpoint(
        "generate", "sglang", rb"(?<!/key)/generate", b"POST", completes=True
    ),  # not LiteLLM's /key/generate
)
"""The first that matches is meant. Sources: the vendors' API references; sglang's http_server.py."""


@lru_cache(maxsize=1024)
def _endpoint_at(path: bytes) -> Endpoint | None:
    return next((known for known in ENDPOINTS if known.path.search(path)), None)


def endpoint(request: Request) -> Endpoint | None:
    """The operation a request is for, whatever its method; None: not an LLM API's, as far as is known."""
    kept = request.__dict__
    if "_endpoint" not in kept:
        path = request.path
        # A recording asks for a few paths, over and over; long ones are not remembered.
        kept["_endpoint"] = _endpoint_at(path) if len(path) <= 255 else _endpoint_at.__wrapped__(path)
    found: Endpoint | None = kept["_endpoint"]
    return found


# ---- how the APIs write what they answer

RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[^"\\]{1,2000})"')
"""The id of a response of the Responses API; in a stream its first events have it."""
DONE = b"[DONE]"
"""The data of the event that ends a stream of OpenAI's older APIs."""


@dataclass(frozen=True, slots=True)
class Path:
    """A place in a JSON document: ``choices.*.finish_reason``; ``*`` is every element of a list."""

    list: str
    """The member at the top whose elements it goes through (``choices``), in a document of any type; else empty."""
    way: tuple[str, ...]
    """From there."""
    last: str
    """The last member; empty: a ``*`` is the last step."""
    types: frozenset[str]
    """Only in a document with one of these types; empty: in any."""
    needle: bytes
    """The rarest name on the way, in its quotes: a document without it is not walked."""


def _at(steps: str, *types: str) -> Path:
    names = steps.split(".")
    needle = b'"%s"' % next(name for name in reversed(names) if name != "*").encode()
    last = "" if names[-1] == "*" else names.pop()
    top = names[0] if names[1:2] == ["*"] and not types else ""
    return Path(top, tuple(names[2:] if top else names), last, frozenset(types), needle)


@dataclass(frozen=True, slots=True)
class Calls:
    """Where an answer holds tool calls: a place, and within it the way to id, name and arguments.

    Pieces of one call have the same indexes on the way to them (``index`` of each element passed).
    """

    at: Path
    id: tuple[str, ...]
    name: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a document says what: the whole answer, or one event of a stream."""

    speaks: tuple[Path, ...]
    """Whatever the model may have said: an object here that holds more than BARE is not nothing."""
    text: tuple[Path, ...]
    finish: tuple[Path, ...]
    usage: tuple[Path, ...]
    model: tuple[Path, ...]
    calls: tuple[Calls, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one API writes its answers."""

    name: str
    whole: Shape
    piece: Shape
    signs: frozenset[str]
    """Members of which a whole answer, or an event without a type, has at least one: what has none is in some
    other format. Paths do not tell: Bedrock's and Vertex's are the same for all vendors' models."""
    asks: Literal["member", "target", "other"] = "member"
    """How a request asks for an event stream: its member ``stream``, ``alt=sse`` in its target, or otherwise."""
    choices: bool = False
    """An answer is a list of alternatives; the first is the one that counts, no agent asks for more."""
    done: bool | None = None
    """Whether ``[DONE]`` ends a stream: it must, it must not, or (None) either is seen and understood."""
    opens: str = ""
    """The type of the event that begins a stream; empty: its events have no types."""
    closes: frozenset[str] = frozenset()
    """Types of the events that end one."""
    alone: frozenset[str] = frozenset()
    """Of those, what may come without the event that begins one."""
    within: tuple[str, ...] = ()
    """How the types begin that may only be between; all others (pings, vendors' additions) may be anywhere."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """Type of an event about one block (``index``) of the answer -> type of the event that begins the block."""
    named: bool = False
    """Its clients dispatch by the name of the event, not by the type in the data."""
    plain: frozenset[str] = frozenset()
    """Finish reasons after which there is an answer; all others say why there may be none."""


BARE = frozenset(
    {"role", "type", "id", "index", "status", "annotations", "citations", "logprobs", "finish_reason", "phase"}
)  # fmt: skip
"""Members that say nothing by themselves."""

_CHAT = Format(
    # OpenAI API reference: The chat completion object, The chat completion chunk object; Azure, vLLM, SGLang.
    name="chat completions", done=True, signs=frozenset({"choices"}), choices=True, plain=frozenset({"stop"}),
    whole=Shape(
        speaks=(_at("choices.*.message"),),
        text=(_at("choices.*.message.content"),),
        finish=(_at("choices.*.finish_reason"),),
        usage=(_at("usage"),),
        model=(_at("model"),),
        calls=(
            Calls(_at("choices.*.message.tool_calls.*"), ("id",), ("function", "name"), ("function", "arguments")),
            Calls(_at("choices.*.message.function_call"), (), ("name",), ("arguments",)),
        ),
    ),
    piece=Shape(
        speaks=(_at("choices.*.delta"),),
        text=(_at("choices.*.delta.content"),),
        finish=(_at("choices.*.finish_reason"),),
        usage=(_at("usage"),),
        model=(_at("model"),),
        calls=(
            Calls(_at("choices.*.delta.tool_calls.*"), ("id",), ("function", "name"), ("function", "arguments")),
            Calls(_at("choices.*.delta.function_call"), (), ("name",), ("arguments",)),
        ),
    ),
)  # fmt: skip
_TEXT = Shape(
    speaks=(_at("choices.*.text"),),
    text=(_at("choices.*.text"),),
    finish=(_at("choices.*.finish_reason"),),
    usage=(_at("usage"),),
    model=(_at("model"),),
)
_COMPLETIONS = Format(
    # OpenAI API reference: The completion object (legacy).
    name="completions", done=True, signs=frozenset({"choices"}), choices=True, plain=frozenset({"stop"}),
    whole=_TEXT, piece=_TEXT,
)  # fmt: skip
_MESSAGES = Format(
    # Anthropic API reference: Messages, Streaming messages.
    name="messages",
    done=False,
    signs=frozenset({"content", "stop_reason"}),
    opens="message_start",
    closes=frozenset({"message_stop"}),
    within=("message_delta", "content_block_"),
    blocks={"content_block_delta": "content_block_start", "content_block_stop": "content_block_start"},
    named=True,
    plain=frozenset({"end_turn", "stop_sequence"}),
    whole=Shape(
        speaks=(_at("content.*"),),
        text=(_at("content.*.text"),),
        finish=(_at("stop_reason"),),
        usage=(_at("usage"),),
        model=(_at("model"),),
        calls=(Calls(_at("content.*", "message"), ("id",), ("name",), ("input",)),),
    ),
    piece=Shape(
        speaks=(_at("content_block", "content_block_start"), _at("delta", "content_block_delta")),
        text=(_at("delta.text", "content_block_delta"),),
        finish=(_at("delta.stop_reason", "message_delta"),),
        usage=(_at("usage", "message_delta"),),
        model=(_at("message.model", "message_start"),),
        calls=(
            Calls(_at("content_block", "content_block_start"), ("id",), ("name",), ()),
            Calls(_at("delta", "content_block_delta"), (), (), ("partial_json",)),
        ),
    ),
)
_ENDS = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
_RESPONSES = Format(
    # OpenAI API reference: Responses, Streaming events. OpenAI sends no [DONE] here; the Open Responses
    # specification asks for it, and vLLM and LiteLLM send it.
    name="responses",
    signs=frozenset({"output"}),
    opens="response.created",
    closes=frozenset(_ENDS),
    alone=frozenset(_ENDS),
    within=(
        "response.in_progress", "response.output_", "response.content_part.", "response.refusal.",
        "response.function_call_arguments.", "response.custom_tool_call_input.", "response.reasoning",
    ),
    plain=frozenset({"completed", "response.completed"}),
    whole=Shape(
        speaks=(_at("output.*"),),
        text=(_at("output.*.content.*.text"),),
        finish=(_at("status"),),
        usage=(_at("usage"),),
        model=(_at("model"),),
        calls=(Calls(_at("output.*"), ("call_id",), ("name",), ("arguments",)),),
    ),
    piece=Shape(
        speaks=(
            _at("delta"), _at("item", "response.output_item.added", "response.output_item.done"),
            _at("response.output.*", *_ENDS),
        ),
        text=(_at("delta", "response.output_text.delta"),),
        finish=(_at("type", *_ENDS),),
        usage=(_at("response.usage", *_ENDS),),
        model=(_at("response.model"),),
        calls=(Calls(_at("item", "response.output_item.done"), ("call_id",), ("name",), ("arguments",)),),
    ),
)  # fmt: skip
_CANDIDATES = Shape(
    speaks=(_at("candidates.*.content.parts.*"),),
    text=(_at("candidates.*.content.parts.*.text"),),
    finish=(_at("candidates.*.finishReason"), _at("promptFeedback.blockReason")),
    usage=(_at("usageMetadata"),),
    model=(_at("modelVersion"),),
    calls=(Calls(_at("candidates.*.content.parts.*.functionCall"), ("id",), ("name",), ("args",)),),
)
_GEMINI = Format(
    # Gemini API reference: generateContent, streamGenerateContent (with alt=sse).
    name="generateContent", done=False, asks="target", signs=frozenset({"candidates", "promptFeedback"}),
    choices=True, plain=frozenset({"STOP"}), whole=_CANDIDATES, piece=_CANDIDATES,
)  # fmt: skip

FORMATS: Mapping[str, Format] = {
    "chat-completions": _CHAT,
    "completions": _COMPLETIONS,
    "messages": _MESSAGES,
    "messages-vertex": _MESSAGES,
    "messages-bedrock": replace(
        _MESSAGES, asks="other"
    ),  # its streams are application/vnd.amazon.eventstream
    "responses": _RESPONSES,
    "stream-generate-content": _GEMINI,
    "generate-content": _GEMINI,
}
"""Name of an endpoint -> how it answers."""


def answers(request: Request) -> Format | None:
    """How the operation that a request is for answers; None: not known. Only for what runs a model."""
    found = endpoint(request)
    return None if found is None or request.method not in found.methods else FORMATS.get(found.name)


_ALT_SSE = re.compile(rb"[?&]alt=sse(?:[&#]|\Z)")


def wants_stream(request: Request) -> bool | None:
    """Whether a request asks for an event stream; None: not known.

    For OpenAI's and Anthropic's APIs the content says so (``"stream": true``), for Gemini's the target.
    """
    kind = answers(request)
    if kind is None:
        return None
    if kind.asks == "target":
        # Without alt=sse the answer is a JSON array; google-genai cannot read an event stream then
        # (BerriAI/litellm#28777).
        return _ALT_SSE.search(request.target) is not None
    asked = document(request)
    if kind.asks == "other" or not isinstance(asked, dict):
        return None
    flag = asked.get("stream")
    return flag if isinstance(flag, bool) else (False if flag is None else None)


_MODEL_IN_PATH = re.compile(rb"/models?/([^/:]+)(?::|/invoke)")


def wanted_model(request: Request) -> str | None:
    """The model a request names in its content or its path."""
    if found := _MODEL_IN_PATH.search(request.path):
        return found[1].decode("latin-1")
    asked = document(request)
    named = asked.get("model") if isinstance(asked, dict) else None
    return named if isinstance(named, str) and named else None


def error_in(said: Any) -> str | None:
    """What a document that is an error says, as short as it goes; None: it is none.

    OpenAI and Gemini: ``{"error": {...}}``; Gemini also in a list of one; Anthropic and Responses events:
    ``{"type": "error"}``; vLLM: ``{"object": "error"}``. An ``error`` of null, as in each answer of the Responses
    API, is none; nor is that API's answer about a response that failed.
    """
    if isinstance(said, list):
        return error_in(said[0]) if said and isinstance(said[0], dict) else None
    if not isinstance(said, dict) or "jsonrpc" in said or said.get("object") == "response":
        return None
    error = said.get("error")
    if not error and said.get("type") != "error" and said.get("object") != "error":
        return None
    detail = error if isinstance(error, dict) else said
    for name in ("message", "type", "code", "error"):
        if isinstance(told := detail.get(name), str) and told:
            return told
    return "an error without a message"


# ---- what was answered


class Piece(NamedTuple):
    """One event of a stream and what its data says."""

    event: Event
    said: Any
    """The JSON document that the data is; None where it is none, or not known."""
    type: str
    """The type inside the document; empty: it has none."""
    is_json: bool | None
    """None: nobody knows, it nests too deep to be read here, or holds too long a number."""
    is_done: bool


def _refuse_constant(name: str) -> None:
    raise json.JSONDecodeError("not JSON", name, 0)


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _piece(event: Event) -> Piece:
    try:
        said = _JSON.decode(event.data.decode("utf-8", "replace"))
    except json.JSONDecodeError:
        return Piece(event, None, "", False, event.data.strip().startswith(DONE))
    except (ValueError, RecursionError):
        return Piece(event, None, "", None, False)
    return Piece(event, said, _types([said])[0], True, False)


def _read_pieces(stream: Sequence[Event]) -> tuple[Piece, ...]:
    # A stream is some dozens of small objects, and perhaps one [DONE].
    last = len(stream) - (len(stream) > 2 and stream[-1].data == DONE)
    from pydantic_core import from_json  # what is JSON is read in half of the time; to load it takes 30 ms

    try:
        said = [from_json(event.data, allow_inf_nan=False) for event in stream[:last]]
    except ValueError:
        return tuple([_piece(event) for event in stream])
    columns = zip(stream, said, _types(said), repeat(True), repeat(False), strict=False)
    # What Piece._make does, without a call of Python's for each.
    return (*map(tuple.__new__, repeat(Piece), columns), *map(_piece, stream[last:]))


def _types(documents: Sequence[Any]) -> list[str]:
    return [kind if type(one) is dict and type(kind := one.get("type")) is str else "" for one in documents]


def pieces(response: Response) -> tuple[Piece, ...] | None:
    """The events of a stream with what their data says; None where the content is not known, or no stream."""
    kept = response.__dict__
    if "_pieces" not in kept:
        stream = events(response) if declared(response) else None
        kept["_pieces"] = None if stream is None else _read_pieces(stream.events)
    found: tuple[Piece, ...] | None = kept["_pieces"]
    return found


def limits(message: Message) -> Iterator[str]:
    """As ``content.limits``, of the events of a stream."""
    found: tuple[Piece, ...] = message.__dict__.get("_pieces") or ()
    if None in [piece.is_json for piece in found]:
        yield BEYOND


def is_of(form: Format, said: Any, kind: str) -> bool:
    """Whether a document (of that type) is written in this format."""
    if kind and (kind == form.opens or kind in form.closes or kind.startswith(form.within)):
        return True
    return isinstance(said, dict) and not form.signs.isdisjoint(said)  # a whole answer may have a type too


def is_over(exchange: Exchange) -> bool:
    """Whether the end of the recorded stream is the end that its server gave it.

    Not where the recording holds a part, where the recorder or the client broke off, where only the close
    ended it and nobody wrote down whose close that was, nor where a recorder rebuilt the content.
    """
    response = exchange.response
    if response is None or response.body is None or response.partial or exchange.error is not None:
        return False
    if response.wire is not None and response.wire.state != "complete":
        return False
    return response.verbatim and is_whole(response)


@dataclass(slots=True)
class Call:
    """One tool call, its pieces put together."""

    id: str | None
    name: str | None
    arguments: Any
    """A string of JSON as a rule; Gemini and Anthropic also give the object itself."""


@dataclass(slots=True)
class Reply:
    """What a model answered, whatever API wrote it down, streamed or not."""

    format: Format
    text: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: dict[tuple[int, ...], str] = field(default_factory=dict)
    """By choice: why the model stopped; empty: no reason was given."""
    model: str | None = None
    has_usage: bool = False
    speaks: bool = False
    """It holds anything at all that a model said: text, thoughts, calls, pictures."""
    error: str | None = None
    is_whole: bool = False
    """All of it is there."""


def reply(exchange: Exchange) -> Reply | None:
    """What the model answered; None: not known, not a model's answer, or a status other than 200."""
    response = exchange.response
    if response is None or response.status != 200 or response.body is None:
        return None
    kept = response.__dict__
    if "_reply" not in kept:
        kept["_reply"] = _reply(exchange, response)
    found: Reply | None = kept["_reply"]
    return found


def _reply(exchange: Exchange, response: Response) -> Reply | None:
    form = answers(exchange.request)
    if form is None:
        return None
    told = Reply(form)
    content: bytes | None = None
    if declared(response):
        stream = pieces(response)
        if not stream:
            return None
        told.is_whole = is_over(exchange)
        content = decoded(response)
        said = [piece for piece in stream if piece.is_json]
        if len(said) < len(stream) and any(piece.is_json is None for piece in stream):
            return None
        shape = form.piece
    else:
        whole = document(response)
        if whole is None:
            return None
        told.is_whole = True
        # Gemini without alt=sse: the pieces of a stream in one array.
        documents = [one for one in (whole if isinstance(whole, list) else (whole,)) if isinstance(one, dict)]
        said = [
            Piece(_NONE, one, kind, True, False)
            for one, kind in zip(documents, _types(documents), strict=True)
        ]
        shape = form.whole
    if not any(is_of(form, piece.said, piece.type) or error_in(piece.said) for piece in said):
        return None
    if content is None or b"error" in content:
        for piece in said:
            if content is None or b"error" in piece.event.data:
                told.error = error_in(piece.said)
                if told.error is not None:
                    break
    models = _each(shape.model, said, content)
    told.model = next((model for model in models if isinstance(model, str) and model), None)
    told.has_usage = any(value for _, value in _hits(shape.usage, said, content))
    known: dict[str, Hits] = {}
    reasons = _hits(shape.finish, said, content, known)
    told.finish = dict.fromkeys([choice for choice, _ in reasons], "")
    told.finish.update({choice: reason for choice, reason in reasons if reason and isinstance(reason, str)})
    texts = _hits(shape.text, said, content, known)
    told.text = "".join(
        [text for key, text in texts if isinstance(text, str) and (not form.choices or key[0] == 0)]
    )
    told.speaks = bool(told.text) or any(map(_is_something, _each(shape.speaks, said, content)))
    open_calls: dict[tuple[int, ...], Call] = {}
    called = [calls for calls in shape.calls if content is None or calls.at.needle in content]
    for one in said if called else ():  # in the order of the stream: one piece begins a call, others go on
        for calls in called:
            if content is None or calls.at.needle in one.event.data:
                for key, value in _hits((calls.at,), (one,), content, known if len(said) == 1 else None):
                    _add_call(told, open_calls, key, value, calls)
    return told


_NONE = Event(b"", b"", b"", 0, 0, 0)
"""In place of an event, for what is no stream."""

type Hits = list[tuple[tuple[int, ...], Any]]
"""(indexes passed, value) of places in documents."""


def _each(paths: tuple[Path, ...], said: Sequence[Piece], content: bytes | None) -> Iterator[Any]:
    """What these paths lead to, document by document: for what is found in the first one, as a rule."""
    for one in said:
        for _, value in _hits(paths, (one,), content):
            yield value


def _hits(
    paths: tuple[Path, ...],
    said: Sequence[Piece],
    content: bytes | None,
    known: dict[str, Hits] | None = None,
) -> Hits:
    """Every place in these documents that a path leads to; a last member that is missing is None.

    All documents at once, step by step: a stream has hundreds. ``content``: what they all stand in, if they are
    events. ``known``: the elements of lists that were gone through before in the same ones.
    """
    hits: Hits = []
    for path in paths:
        needle, types, last = path.needle, path.types, path.last
        if path.list:
            here = known.get(path.list) if known is not None else None
            if here is None:
                here = _elements(said, path.list)
                if known is not None:
                    known[path.list] = here
        elif content is not None and needle not in content:
            continue  # one search of the whole, and none of its hundreds of events
        else:
            here = [
                ((index,) if type(index := one.get("index", one.get("output_index"))) is int else (), one)
                for event, one, kind, _, _ in said
                if type(one) is dict
                and (not types or kind in types)
                and (content is None or needle in event.data)
            ]
        here = _walked(here, path.way)
        hits += [(key, value.get(last)) for key, value in here if type(value) is dict] if last else here
    return hits


def _elements(said: Sequence[Piece], name: str) -> Hits:
    """The elements of the lists that these documents have under that name."""
    found: Hits = []
    for _, one, _, _, _ in said:
        elements = one.get(name) if type(one) is dict else None
        if type(elements) is not list:
            continue
        top = one.get("index", one.get("output_index"))
        for at, element in enumerate(elements):
            index = element.get("index") if type(element) is dict else None
            if type(index) is not int:
                index = at
            found.append(((top, index) if type(top) is int else (index,), element))
    return found


def _walked(here: Hits, steps: tuple[str, ...]) -> Hits:
    for step in steps:
        if step == "*":
            here = [
                (
                    (
                        *key,
                        index if type(member) is dict and type(index := member.get("index")) is int else at,
                    ),
                    member,
                )
                for key, value in here
                if type(value) is list
                for at, member in enumerate(value)
            ]
        else:
            here = [(key, value[step]) for key, value in here if type(value) is dict and step in value]
    return here


def _is_something(value: Any) -> bool:
    if type(value) is dict:
        return any(member and name not in BARE for name, member in value.items())
    return bool(value)


def _dig(value: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        value = value.get(step) if type(value) is dict else None
    return value if steps else None


def _add_call(
    told: Reply, open_calls: dict[tuple[int, ...], Call], key: tuple[int, ...], value: Any, calls: Calls
) -> None:
    if type(value) is not dict:
        return
    name, arguments, given = _dig(value, calls.name), _dig(value, calls.arguments), _dig(value, calls.id)
    call = open_calls.get(key)
    if call is None or (given and given != call.id and name):
        # Servers that give every call the index 0 at least give each an id and a name.
        if not name and not (isinstance(arguments, str) and arguments):
            return
        call = open_calls[key] = Call(given, name, arguments)
        told.calls.append(call)
    elif isinstance(arguments, str):
        call.arguments = call.arguments + arguments if isinstance(call.arguments, str) else arguments

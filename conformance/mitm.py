"""The seam to mitmproxy: options, the journal of edits, refusals, and running the tools with our scripts.

With ``offline`` the only module of the library that imports mitmproxy (1.8 seconds): import it where it is needed.

What mitmproxy does, measured with 12.2, that shapes this module:

* A ``--set`` that mitmproxy cannot convert for a script's option drops the script without a word while the
  proxy goes on. That holds for ``str`` too (``--set x`` without a value, ``x`` given twice): only
  ``Sequence[str]`` cannot fail, so every option of ours is one, and pydantic reads it in ``configure``, where
  an error stops the start.
* An option nobody knows is ignored for ever: ``refuse_unknown_options`` makes it an error.
* A hook that raises lets the message through unchanged, so ``rewrite`` decides itself what a failure means.
* Hooks run for flows that are loaded from a file and for messages that mitmproxy has refused already: what is
  written there would be in the recording and was never on the wire.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from mitmproxy import connection, ctx, exceptions, http, websocket
from mitmproxy.addonmanager import Loader
from mitmproxy.flow import Flow
from mitmproxy.io import compat, tnetstring
from mitmproxy.net.http import status_codes
from mitmproxy.optmanager import OptManager
from pydantic import ValidationError

from conformance import policy, secret, shared
from conformance.addon import addons, option_text
from conformance.grammar import is_field_line
from conformance.known import CREDENTIALS
from conformance.message import Exchange, FieldLine, Fields, Frame, Request, Response
from conformance.settings import Settings, load

logger = logging.getLogger(__name__)

type Part = Literal["request", "response"]

JOURNAL = "hoplint"
"""Key of ``flow.metadata``: the edits in order, each ``{addon, part, op, field, before, after, why}``; ``op``
is drop, set, add or refuse, ``before`` and ``after`` are lists of str."""
RECEIVED = "hoplint_received"
"""Key of ``flow.metadata``: ``{"request": [[name, value], ...], "response": ...}``, the field lines as they
came in, bytes, of each part that was edited; credentials as ``secret.digested``."""


# -- edits --------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """One change to a header section."""

    op: Literal["drop", "set", "add"]
    at: int
    """Which line, counted in the section as it is before any change; -1 for ``add``, which is at the end."""
    line: FieldLine | None
    """The new line; None for ``drop``."""
    why: str
    """One sentence; values in it are masked (``secret.shown``)."""
    is_secret: bool = False
    """The value is a credential although the name does not say so."""


class Refused(Exception):
    """A message that must not be forwarded. Its text goes to the client and the log: mask what it quotes."""

    def __init__(self, why: str, status: int | None = None) -> None:
        """``status`` answers the client; None: 400 to a request, 502 in place of a response."""
        super().__init__(why)
        self.status = status


def changed(fields: Fields, changes: Iterable[Change]) -> Fields:
    """The section after the changes; what they do not name keeps order, case and repeats."""
    return Fields(_changed(fields, changes))


def _changed(lines: Iterable[tuple[bytes, bytes]], changes: Iterable[Change]) -> list[tuple[bytes, bytes]]:
    after: list[tuple[bytes, bytes] | None] = list(lines)
    for change in changes:
        line = None if change.line is None else (change.line.name, change.line.value)
        if change.op == "add":
            after.append(line)
        elif after[change.at] is None:
            raise KeyError(change.at)
        else:
            after[change.at] = line
    return [line for line in after if line is not None]


def is_on_the_wire(flow: http.HTTPFlow) -> bool:
    """Whether what a hook writes into the flow's headers will be sent.

    Not so for flows loaded from a file and for messages that mitmproxy has refused; it runs the hooks for
    both. Who runs addons over a recording on purpose does so within ``as_if_live``.
    """
    return flow.live and flow.error is None


@contextmanager
def as_if_live(flow: http.HTTPFlow) -> Iterator[http.HTTPFlow]:
    """Let addons rewrite a recorded flow: their hooks, called within, take it for one that is being sent."""
    live, error = flow.live, flow.error
    flow.live, flow.error = True, None
    try:
        yield flow
    finally:
        flow.live, flow.error = live, error


def is_refused(flow: http.HTTPFlow) -> bool:
    """Whether an addon of ours answers the client in place of the upstream: there is nothing left to mend."""
    if flow.response is None:
        return False
    return "refuse" in [entry["op"] for entry in flow.metadata.get(JOURNAL, ())]


def latest[K, *A, R](size: int) -> Callable[[Callable[[K, *A], R]], Callable[[K, *A], R]]:
    """Keep what a function has made of its latest arguments; the first of them is known by identity.

    Each addon asks for what the one before has read, a dozen times for a request. To compare field lines takes as
    long as to read them.
    """

    def kept_by(make: Callable[[K, *A], R]) -> Callable[[K, *A], R]:
        kept: dict[int, tuple[K, tuple[*A], R]] = {}

        @wraps(make)
        def call(first: K, *others: *A) -> R:
            key = id(first)
            if (found := kept.get(key)) is None or found[1] != others:
                if len(kept) >= size:
                    del kept[next(iter(kept))]
                # Kept with the first argument: nothing else can have its id.
                found = kept[key] = first, others, make(first, *others)
            return found[2]

        return call

    return kept_by


def fields_of(message: http.Message) -> Fields:
    """The message's field lines, as rules see them."""
    return _fields(message.headers.fields)


@latest(8)
def _fields(lines: tuple[tuple[bytes, bytes], ...]) -> Fields:
    return Fields(lines)


def credentials(fields: Fields) -> list[bytes]:
    """The credentials in a request, in one order: they make one caller another."""
    return [line.value for name in sorted(CREDENTIALS & fields.names) for line in fields.lines(name)]


def request_head(flow: http.HTTPFlow, fields: Fields) -> Request:
    """The flow's request with these field lines, as rules see it, without content."""
    data = flow.request.data
    return _request(fields, data.method, data.path, data.http_version, data.authority)


@latest(8)
def _request(fields: Fields, method: bytes, target: bytes, version: bytes, authority: bytes) -> Request:
    return Request(fields=fields, method=method, target=target, version=version, authority=authority)


def whole_request(flow: http.HTTPFlow, fields: Fields) -> Request:
    """The same with the content, for the hook ``request``."""
    return _whole(request_head(flow, fields), flow.request.raw_content)


@latest(1)  # the content, and the JSON in it, may be megabytes
def _whole(head: Request, content: bytes | None) -> Request:
    return replace(head, body=content)


def response_head(flow: http.HTTPFlow, fields: Fields) -> Response:
    """The flow's response with these field lines, as rules see it, without content; there must be one."""
    assert flow.response is not None
    data = flow.response.data
    return _response(fields, data.status_code, data.reason, data.http_version)


@latest(8)
def _response(fields: Fields, status: int, reason: bytes, version: bytes) -> Response:
    return Response(fields=fields, code=b"%03d" % status, reason=reason, version=version)


def rewrite(
    flow: http.HTTPFlow,
    part: Part,
    addon: str,
    compute: Callable[[Fields], Iterable[Change]],
    *,
    fail_closed: bool = False,
) -> None:
    """Compute and apply an addon's changes to one header section; for the ``...headers`` hooks only.

    Nothing is assigned where nothing changes. When ``compute`` raises Refused, the client is answered
    instead; when it fails otherwise, that is logged as an error and the message stays as it was received, or
    is answered with 502 if ``fail_closed``.
    """
    message = flow.request if part == "request" else flow.response
    if message is None or not is_on_the_wire(flow) or is_refused(flow):
        return
    if part == "request" and flow.response is None:
        _forget_response(flow)
    try:
        fields = fields_of(message)
        if changes := list(compute(fields)):
            apply(flow, part, addon, fields, changes)
    except Refused as refused:
        refuse(flow, part, addon, refused)
    except Exception:
        logger.exception("%s: failed on the %s of %s", addon, part, flow.request.host)
        if fail_closed:
            refuse(flow, part, addon, Refused(f"{addon} failed on the {part}; see the proxy's log", 502))


def apply(flow: http.HTTPFlow, part: Part, addon: str, fields: Fields, changes: Sequence[Change]) -> None:
    """Write the changes into the flow's headers and its journal. ``fields`` is the section they count in."""
    if any(each.line is not None and not is_field_line(*each.line) for each in changes):
        raise ValueError("it would have written what is more than one header line, or none")
    message: http.Message | None = flow.request if part == "request" else flow.response
    assert message is not None
    after = tuple(_changed(message.headers.fields, changes))
    entries = [_entry(addon, part, fields, change) for change in changes]
    _keep_received(flow, part, fields)
    flow.metadata.setdefault(JOURNAL, []).extend(entries)
    if any(_is_about_close(message, entry) for entry in entries):
        message = _part_legs(flow, part, message)
    # Not by item assignment: that joins or moves lines and changes their case.
    message.headers.fields = after


def _is_about_close(message: http.Message, entry: Mapping[str, Any]) -> bool:
    """Whether a change may be one of who closes: in HTTP/1.1 nobody does who does not say so (RFC 9112 §9.3)."""
    if entry["field"].lower() != "connection":
        return False
    return not message.is_http11 or "close" in ",".join([*entry["before"], *entry["after"]]).lower()


def _part_legs(flow: http.HTTPFlow, part: Part, message: http.Message) -> http.Message:
    """Make the message that is sent another object than the one that came in, and return it.

    mitmproxy asks one object whether to keep open the connection it came by and the one it goes out by. What
    Connection said was for the first only: a client that said close gets its close, a server that did is
    not sent another request, and neither is passed on.
    """
    # Message.copy goes by get_state and from_state, which check each type again: a tenth of what a request costs.
    sent = copy(message)
    sent.data = copy(message.data)
    sent.data.headers = http.Headers(message.headers.fields)
    setattr(flow, part, sent)
    if part == "request" and message.is_http10:
        # RFC 9112 §9.3: no persistent connection with an HTTP/1.0 client. It reads until the close, since the
        # answer it gets says nothing of keep-alive any more.
        message.headers.pop("connection", None)
    return sent


def set_status(flow: http.HTTPFlow, addon: str, status: int, why: str) -> None:
    """Give the client another status than the upstream's; for ``responseheaders``. The content stays.

    In the journal the field is ``:status``.
    """
    response = flow.response
    assert response is not None
    _keep_received(flow, "response", fields_of(response))
    entry = {"addon": addon, "part": "response", "op": "set", "field": ":status", "why": why}
    values = {"before": [str(response.status_code)], "after": [str(status)]}
    flow.metadata.setdefault(JOURNAL, []).append({**entry, **values})
    response.status_code = status
    response.reason = status_codes.RESPONSES.get(status, "")


def set_content(
    flow: http.HTTPFlow, addon: str, content: bytes, member: str, before: str, after: str, why: str
) -> None:
    """Give the request other content, where one member says something else; for ``request``, not streamed.

    In the journal the field is ``:content MEMBER``. Content-Length follows.
    """
    request = flow.request
    fields = fields_of(request)
    _keep_received(flow, "request", fields)
    entry = {"addon": addon, "part": "request", "op": "set", "field": f":content {member}", "why": why}
    flow.metadata.setdefault(JOURNAL, []).append({**entry, "before": [before], "after": [after]})
    request.data.content = content  # `content` would compress it again
    length = b"%d" % len(content)
    request.headers.fields = tuple(
        (line.name, length if line.key == "content-length" else line.value) for line in fields
    )


def passed(flow: http.HTTPFlow) -> bytes | None:
    """The response's content as far as it has passed; of a stream, what an addon keeps of it. None: not known."""
    response = flow.response
    if response is None:
        return None
    kept = getattr(response.stream, "kept", None)
    if isinstance(kept, bytearray) and response.raw_content is None:
        return None if getattr(response.stream, "is_cut", False) else bytes(kept)
    return response.raw_content


def _entry(addon: str, part: Part, fields: Fields, change: Change) -> dict[str, Any]:
    before = None if change.op == "add" else fields[change.at]
    named = before or change.line
    return {
        "addon": addon,
        "part": part,
        "op": change.op,
        "field": named.shown_name if named else "",
        "before": _values(before, change.is_secret),
        "after": _values(change.line, change.is_secret),
        "why": change.why,
    }


def _values(line: FieldLine | None, is_secret: bool) -> list[str]:
    if line is None:
        return []
    name = b"x-auth-token" if is_secret and not secret.is_secret_field(line.name) else line.name
    return [secret.digested(name, line.value).decode("latin-1")]


def _keep_received(flow: http.HTTPFlow, part: Part, fields: Fields) -> None:
    received = flow.metadata.setdefault(RECEIVED, {})
    if part in received:
        return
    # Only mitmproxy's tnetstring types: anything else makes it lose the flow when it saves it.
    lines: list[list[bytes]] = [*map(list, fields)]
    for at in _secret_places(fields.line_keys):
        lines[at][1] = secret.digested(*lines[at])
    received[part] = lines


@lru_cache(maxsize=256)  # agents send the same few sequences of names, over and over
def _secret_places(keys: tuple[str, ...]) -> tuple[int, ...]:
    return tuple([at for at, key in enumerate(keys) if secret.is_secret_field(key.encode("latin-1"))])


def _forget_response(flow: http.HTTPFlow) -> None:
    """A recorded flow that is replayed gets a new response: what the journal says of the old one is void."""
    received = flow.metadata.get(RECEIVED)
    if not isinstance(received, dict) or "response" not in received:
        return
    flow.metadata[RECEIVED] = {part: lines for part, lines in received.items() if part != "response"}
    flow.metadata[JOURNAL] = [
        entry for entry in flow.metadata.get(JOURNAL, ()) if entry["part"] != "response"
    ]


# -- refusals -----------------------------------------------------------------------------------------------


def refuse(flow: http.HTTPFlow, part: Part, addon: str, refused: Refused) -> None:
    """Answer the client with the refusal's status and text instead of forwarding the message.

    A request that is streamed cannot be answered (mitmproxy crashes): its connection is closed.
    """
    message = flow.request if part == "request" else flow.response
    logger.error("%s: refused the %s of %s: %s", addon, part, flow.request.host, refused)
    if message is not None:
        _keep_received(flow, part, fields_of(message))
    entry = {"addon": addon, "part": part, "op": "refuse", "field": "", "before": [], "after": []}
    flow.metadata.setdefault(JOURNAL, []).append({**entry, "why": str(refused)})
    if part == "request" and flow.request.stream:
        flow.kill()
        return
    text = f"hoplint {addon}: {refused}\n".encode()
    status = refused.status or (400 if part == "request" else 502)
    response = http.Response.make(status, text, {"Content-Type": "text/plain; charset=utf-8"})
    if flow.request.is_http10 or flow.request.is_http11:
        # RFC 9112 §6.3: nobody can tell what the octets behind an ambiguous message are.
        response.headers["Connection"] = "close"
    if part == "response":
        # mitmproxy would put the server's content under our head. So the response is streamed, the content is
        # replaced on its way, and only the close ends it: whether there will be any content cannot be known.
        del response.headers["Content-Length"]
        response.stream = _instead(text)
    flow.response = response


def _instead(text: bytes) -> Callable[[bytes], bytes]:
    rest = [text]
    return lambda _: rest.pop() if rest else b""


# -- options ------------------------------------------------------------------------------------------------


def add_options(loader: Loader, model: type[policy.Table], prefix: str) -> None:
    """Declare each field of ``model`` as an option of mitmproxy, ``PREFIX_FIELD``; for an addon's ``load``.

    ``prefix`` is the attribute of ``Policy`` that holds the model's table: the defaults are what the settings
    file and the profile say there. Raises PolicyError, which stops the start.
    """
    loader.add_option("hoplint_profile", Sequence[str], [], "Profile that lies under the settings file.")
    loader.add_option("hoplint_config", Sequence[str], [], "Settings file; empty: none is read.")
    _set_deferred()  # the two are needed now: they decide on the other options' defaults
    table = getattr(settings().policy, prefix, None) or model()
    for name, info in model.model_fields.items():
        loader.add_option(
            f"{prefix}_{name}", Sequence[str], option_text(getattr(table, name)), info.description or ""
        )


def early_options[T: policy.Table](model: type[T], prefix: str) -> T:
    """``read_options`` for an addon's ``load``, where options are not set yet. Raises PolicyError."""
    _set_deferred()
    try:
        return read_options(ctx.options, model, prefix)
    except exceptions.OptionsError as error:
        raise policy.PolicyError(str(error)) from None


def _set_deferred() -> None:
    try:
        ctx.options.process_deferred()
    except exceptions.OptionsError as error:
        # An OptionsError out of `load` drops the script without a word; any other exception stops the start.
        raise policy.PolicyError(str(error)) from None


def settings() -> Settings:
    """The settings that the options ``hoplint_config`` and ``hoplint_profile`` name. Raises PolicyError."""
    config, profile = ctx.options.hoplint_config, ctx.options.hoplint_profile
    if len(config) > 1 or len(profile) > 1:
        raise policy.PolicyError("hoplint_config and hoplint_profile take one value")
    return load(
        config=Path(config[0]) if config and config[0] else None,
        isolated=config == [""],
        profile=profile[0] if profile else None,
    ).settings


def read_options[T: policy.Table](options: OptManager, model: type[T], prefix: str) -> T:
    """The model that the options now say; for an addon's ``configure``. Raises OptionsError, in one line."""
    raw = {}
    for name, info in model.model_fields.items():
        option = f"{prefix}_{name}"
        raw[name] = _value(option, getattr(options, option), info.annotation)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise exceptions.OptionsError(f"{prefix}: {policy.problem(error)}") from None


def _value(option: str, given: Sequence[str], annotation: Any) -> Any:
    kinds = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        if not given and len(kinds) < len(get_args(annotation)):
            return None
    origin = get_origin(kinds[0])
    if origin in (tuple, list, frozenset):
        return list(given)
    if origin in (dict, Mapping):
        return _members(option, given, get_origin(get_args(kinds[0])[1]) in (tuple, list))
    if len(given) != 1:
        raise exceptions.OptionsError(f"{option}: takes one value, not {len(given)}")
    return given[0]


def _members(option: str, given: Sequence[str], has_lists: bool) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise exceptions.OptionsError(f"{option}: each value is written KEY=VALUE")
        if has_lists:
            members.setdefault(key, []).append(value)
        else:
            members[key] = value
    return members


def shared_log(
    addon: str, sharing: policy.Shared, apply: Callable[[Any, float], None], ttl: int
) -> shared.Log | None:
    """The log that an addon shares with other proxies; None: it shares none. Raises OptionsError."""
    if sharing.redis is None:
        return None
    if sharing.key is None:
        raise exceptions.OptionsError("shared_redis: needs shared_key, the same for all proxies")
    try:
        password = None if sharing.password is None else policy.reveal(sharing.password).decode()
        return shared.Log(
            addon, apply, url=sharing.redis, password=password, key=policy.reveal(sharing.key),
            patience=sharing.patience / 1000, keep=sharing.keep, ttl=ttl,
        )  # fmt: skip
    except (policy.PolicyError, shared.Unavailable, ValueError) as error:
        raise exceptions.OptionsError(f"shared_redis: {error}") from None


def refuse_unknown_options(prefix: str) -> None:
    """Log an error for each option that was set, looks like one of ours and is none; for ``running``.

    An error logged at start-up ends mitmproxy with exit code 1.
    """
    ours = [name for name in ctx.options.keys() if name.startswith((f"{prefix}_", "hoplint_"))]  # noqa: SIM118
    for name in ctx.options.deferred:
        near = difflib.get_close_matches(name, ours, n=1, cutoff=0.85)
        if near or name.startswith((f"{prefix}_", "hoplint_")):
            hint = f"; did you mean {near[0]}?" if near else f" (there are: {', '.join(sorted(ours))})"
            logger.error("there is no option %s%s", name, hint)


# -- running ------------------------------------------------------------------------------------------------


def script_addons(path: Path) -> list[Any]:
    """Run a script and return its ``addons``. Raises what the script raises.

    Not mitmproxy's ``load_script``: that one swallows errors, and leaves the script's folder on ``sys.path``.
    """
    name = f"hoplint_addon_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no script")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return list(module.addons)


def run(
    arguments: Sequence[str],
    *,
    profile: str | None = None,
    config: str | Path | None = None,
    isolated: bool = False,
    tool: Literal["mitmdump", "mitmproxy", "mitmweb"] = "mitmdump",
    suite: bool = True,
) -> int:
    """Run one of mitmproxy's tools with the suite and return its exit code; signals are the tool's."""
    from mitmproxy.tools import main

    script = ["-s", str(addons()["suite"].path)] if suite else []
    words = [word for each in source(profile, config, isolated) for word in ("--set", each)]
    try:
        getattr(main, tool)([*script, *words, *arguments])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def source(profile: str | None, config: str | Path | None, isolated: bool) -> list[str]:
    """Where the addons' settings come from, as words for ``--set``."""
    words = []
    if isolated:
        words.append("hoplint_config=")
    elif config is not None:
        words.append(f"hoplint_config={Path(config).absolute()}")
    return words if profile is None else [*words, f"hoplint_profile={profile}"]


# -- flows of a recording ----------------------------------------------------------------------------------


def read_flow(record: bytes) -> Flow:
    """A flow of a flow file (payload and type octet of its tnetstring). Raises ValueError."""
    try:
        flow = Flow.from_state(_state(record))
    except Exception as error:
        raise ValueError(f"mitmproxy cannot read this flow ({type(error).__name__})") from error
    if not isinstance(flow.metadata, dict):
        raise ValueError("its metadata are no dictionary")
    return flow


def flow_octets(flow: Flow) -> bytes:
    """The flow as it stands in a flow file."""
    octets: bytes = tnetstring.dumps(flow.get_state())
    return octets


def flow_of(exchange: Exchange) -> http.HTTPFlow:
    """A flow with the exchange's two messages and its WebSocket messages; without interim responses.

    Where the request went is taken from its Host where the recording does not say.
    """
    asked, answered = exchange.request, exchange.response
    place = exchange.upstream or (asked.authority or asked.fields.one("host") or b"").decode("latin-1")
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit():
        host, port = place, "443" if exchange.scheme == b"https" else "80"
    client = connection.Client(peername=("127.0.0.1", 0), sockname=("127.0.0.1", 0))
    server = connection.Server(address=(host.strip("[]"), int(port)))
    client.id = exchange.client_connection or client.id
    server.id = exchange.server_connection or server.id
    flow = http.HTTPFlow(client, server)
    began, ended = exchange.started or 0.0, exchange.ended or 0.0
    flow.request = http.Request(
        host.strip("[]"), int(port), asked.method, exchange.scheme, asked.authority,
        _ABSOLUTE.sub(b"/", asked.target), asked.version,
        _headers(asked.fields), asked.content, _headers(asked.trailers), began, began,
    )  # fmt: skip
    if answered is not None:
        flow.response = http.Response(
            answered.version, answered.status, answered.reason,
            _headers(answered.fields), answered.content, _headers(answered.trailers), ended, ended,
        )  # fmt: skip
        if answered.status == 101 and exchange.frames:
            flow.websocket = _websocket(exchange.frames)
    return flow


_ABSOLUTE = re.compile(rb"\A[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*/?")


def _headers(fields: Fields) -> http.Headers:
    return http.Headers((line.name, line.value) for line in fields)


_OPCODES = {"TEXT": 1, "BINARY": 2}


def _websocket(frames: Iterable[Frame]) -> websocket.WebSocketData:
    data = websocket.WebSocketData()
    for frame in frames:
        from_client = frame.sender == "client"
        if frame.opcode in _OPCODES:
            data.messages.append(
                websocket.WebSocketMessage(_OPCODES[frame.opcode], from_client, frame.content, frame.time)
            )
        elif frame.opcode == "CLOSE" and data.close_code is None:
            data.closed_by_client, data.close_code = from_client, frame.code
    return data


def exchange_after(exchange: Exchange, flow: http.HTTPFlow) -> Exchange:
    """The exchange with what addons may change in the flow made of it: field lines, content, status."""
    asked, answered, sent = exchange.request, exchange.response, flow.response
    asked = replace(asked, fields=Fields(flow.request.headers.fields), body=flow.request.raw_content)
    if answered is not None and sent is not None:
        answered = replace(answered, fields=Fields(sent.headers.fields), body=sent.raw_content)
        if sent.status_code != answered.status:
            answered = replace(answered, code=b"%d" % sent.status_code, reason=sent.reason.encode("latin-1"))
    return replace(exchange, request=asked, response=answered)


# -- old flow files -----------------------------------------------------------------------------------------


def upgraded(record: bytes) -> bytes:
    """A flow of an older format version (payload and type octet of its tnetstring) as one of today's.

    Raises ValueError where mitmproxy's migration fails, whose own errors are of any type.
    """
    try:
        whole = tnetstring.dumps(_state(record))
    except Exception as error:
        raise ValueError(f"mitmproxy cannot migrate this flow ({type(error).__name__})") from error
    return whole[whole.index(b":") + 1 :]


def _state(record: bytes) -> Any:
    return compat.migrate_flow(tnetstring.parse(record[-1], memoryview(record)[:-1]))  # type: ignore[arg-type]

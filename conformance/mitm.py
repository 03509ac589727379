"""The seam to mitmproxy: options, the journal of edits, refusals, and running the tools with our scripts.

The only module of the library that imports mitmproxy (1.8 seconds): import it where it is needed.

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
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.optmanager import OptManager
from pydantic import ValidationError

from conformance import policy, secret
from conformance.addon import addons, option_text
from conformance.message import FieldLine, Fields

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


class Refused(Exception):  # noqa: N818 - not an error of ours: the verdict on a message
    """A message that must not be forwarded. Its text goes to the client and the log: mask what it quotes."""

    def __init__(self, why: str, status: int | None = None) -> None:
        """``status`` answers the client; None: 400 to a request, 502 in place of a response."""
        super().__init__(why)
        self.status = status


def changed(fields: Fields, changes: Iterable[Change]) -> Fields:
    """The section after the changes; what they do not name keeps order, case and repeats."""
    lines = dict(enumerate(fields))
    added = []
    for change in changes:
        if change.line is None:
            del lines[change.at]
        elif change.op == "add":
            added.append(change.line)
        else:
            lines[change.at] = change.line
    return Fields([*lines.values(), *added])


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
    if message is None or not is_on_the_wire(flow):
        return
    if part == "request" and flow.response is None:
        _forget_response(flow)
    try:
        fields = Fields(message.headers.fields)
        apply(flow, part, addon, fields, list(compute(fields)))
    except Refused as refused:
        refuse(flow, part, addon, refused)
    except Exception:
        logger.exception("%s: failed on the %s of %s", addon, part, flow.request.host)
        if fail_closed:
            refuse(flow, part, addon, Refused(f"{addon} failed on the {part}; see the proxy's log", 502))


def apply(flow: http.HTTPFlow, part: Part, addon: str, fields: Fields, changes: Sequence[Change]) -> None:
    """Write the changes into the flow's headers and its journal. ``fields`` is the section they count in."""
    if not changes:
        return
    message = flow.request if part == "request" else flow.response
    after = changed(fields, changes)
    entries = [_entry(addon, part, fields, change) for change in changes]
    _keep_received(flow, part, fields)
    flow.metadata.setdefault(JOURNAL, []).extend(entries)
    # Not by item assignment: that joins or moves lines and changes their case.
    message.headers.fields = tuple((line.name, line.value) for line in after)  # type: ignore[union-attr]


def _entry(addon: str, part: Part, fields: Fields, change: Change) -> dict[str, Any]:
    before = None if change.op == "add" else fields[change.at]
    named = before or change.line
    return {
        "addon": addon,
        "part": part,
        "op": change.op,
        "field": named.shown_name if named else "",
        "before": _values(before),
        "after": _values(change.line),
        "why": change.why,
    }


def _values(line: FieldLine | None) -> list[str]:
    return [] if line is None else [secret.digested(line.name, line.value).decode("latin-1")]


def _keep_received(flow: http.HTTPFlow, part: Part, fields: Fields) -> None:
    # Only mitmproxy's tnetstring types: anything else makes it lose the flow when it saves it.
    flow.metadata.setdefault(RECEIVED, {}).setdefault(
        part,
        [
            [name, secret.digested(name, value) if secret.is_secret_field(name) else value]
            for name, value in fields
        ],
    )


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
        _keep_received(flow, part, Fields(message.headers.fields))
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


def settings() -> policy.Settings:
    """The settings that the options ``hoplint_config`` and ``hoplint_profile`` name. Raises PolicyError."""
    config, profile = ctx.options.hoplint_config, ctx.options.hoplint_profile
    if len(config) > 1 or len(profile) > 1:
        raise policy.PolicyError("hoplint_config and hoplint_profile take one value")
    return policy.load(
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
) -> int:
    """Run one of mitmproxy's tools with the suite and return its exit code; signals are the tool's."""
    from mitmproxy.tools import main

    words = ["-s", str(addons()["suite"].path)]
    if isolated:
        words += ["--set", "hoplint_config="]
    elif config is not None:
        words += ["--set", f"hoplint_config={Path(config).absolute()}"]
    if profile is not None:
        words += ["--set", f"hoplint_profile={profile}"]
    try:
        getattr(main, tool)([*words, *arguments])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


# -- old flow files -----------------------------------------------------------------------------------------


def upgraded(record: bytes) -> bytes:
    """A flow of an older format version (payload and type octet of its tnetstring) as one of today's.

    Raises ValueError where mitmproxy's migration fails, whose own errors are of any type.
    """
    from mitmproxy.io import compat, tnetstring

    try:
        state = compat.migrate_flow(tnetstring.parse(record[-1], memoryview(record)[:-1]))  # type: ignore[arg-type]
        whole = tnetstring.dumps(state)
    except Exception as error:
        raise ValueError(f"mitmproxy cannot migrate this flow ({type(error).__name__})") from error
    return whole[whole.index(b":") + 1 :]

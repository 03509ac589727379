"""Record what passes, without its credentials, so that it survives and can be shared.

Flow files in `folder`, readable by their owner only, as `hoplint check` and mitmproxy read them. This is what it
does beyond `mitmdump -w`:

- Credentials never get to the disk: other letters of the same length stand for them, in headers, bodies, URLs and
  the journal, by the code of `hoplint redact`. A flow that cannot be redacted is not written. What stands in a body
  and in no header so far is recognised only if it looks like a credential.
- A flow is in its file before its end is passed on, so a proxy that is killed loses none that was finished; only
  the one being written may be cut, behind all others.
- What is still open when mitmproxy ends is recorded as far as it came, with `partial_body` in its metadata; so are
  event streams that break off, where stream-events runs too, as it does in the suite. Of other responses that
  break off mitmproxy keeps the head only.
- After `size` octets or `age` seconds the next file begins. With `per-conversation` each conversation has a file
  of its own instead, named for it; what belongs to none goes into the common one.

It changes nothing on the wire, so it is not in the suite: load it behind it, or use `hoplint proxy --record DIR`.
A flow that cannot be written is logged as an error and passes all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Set

from mitmproxy import ctx, exceptions, http, tcp
from mitmproxy.addonmanager import Loader
from mitmproxy.flow import Flow

from conformance import mitm, secret
from conformance.known import CONVERSATION_IDS
from conformance.message import Fields
from conformance.policy import PolicyError
from conformance.policy import RecordFlows as Policy
from conformance.recorder import Recorder, recorder

logger = logging.getLogger(__name__)


def conversation(fields: Fields) -> str | None:
    """The conversation that a request names, if the name may be that of a file."""
    for name in CONVERSATION_IDS:
        value = fields.one(name)
        if value and secret.mask_value(name.encode(), value) == value:
            return value.decode("latin-1")
    return None


class RecordFlows:
    """The wiring."""

    name = "record-flows"

    def __init__(self) -> None:
        self.policy = Policy()
        self.recorder: Recorder | None = None
        self.open: dict[str, Flow] = {}

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "record_flows")

    def configure(self, updated: Set[str]) -> None:
        policy = mitm.read_options(ctx.options, Policy, "record_flows")
        if self.recorder is not None and policy == self.policy:
            return
        try:
            self.recorder = recorder(policy, "flows")
        except PolicyError as problem:
            raise exceptions.OptionsError(f"record-flows: {problem}") from None
        self.policy = policy

    def running(self) -> None:
        mitm.refuse_unknown_options("record_flows")

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.live:  # not one that is loaded from a file
            self.open[flow.id] = flow

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is None:
            self._close(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._close(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        if flow.live:  # what mitmproxy refuses may not have been seen before
            self.open[flow.id] = flow
        self.response(flow)

    def tcp_start(self, flow: tcp.TCPFlow) -> None:
        if flow.live:
            self.open[flow.id] = flow

    def tcp_end(self, flow: tcp.TCPFlow) -> None:
        self._close(flow)

    def tcp_error(self, flow: tcp.TCPFlow) -> None:
        self._close(flow)

    def done(self) -> None:
        for each in list(self.open.values()):
            self._close(each, is_whole=False)
        self.recorder = None  # mitmproxy now breaks off what is open, which ends it a second time

    def _close(self, flow: Flow, *, is_whole: bool = True) -> None:
        if self.open.pop(flow.id, None) is None or self.recorder is None:
            return
        name = None
        if isinstance(flow, http.HTTPFlow):
            self._complete(flow, is_whole=is_whole and flow.error is None)
            if self.policy.per_conversation:
                name = conversation(Fields(flow.request.headers.fields))
        elif isinstance(flow, tcp.TCPFlow):
            for message in flow.messages:
                message.content = bytes(message.content)  # mitmproxy cannot save the bytearrays it puts there
        try:
            self.recorder.write(mitm.flow_octets(flow), name)
        except Exception as problem:  # noqa: BLE001 - its text, or its traceback, may quote the flow
            said = problem.strerror if isinstance(problem, OSError) else type(problem).__name__
            logger.error("record-flows: the flow %s is not recorded: %s", flow.id, said)

    def _complete(self, flow: http.HTTPFlow, *, is_whole: bool) -> None:
        """Put in what has passed of a stream, where the addon that keeps it has not done so yet."""
        if flow.response is None or flow.response.raw_content is not None:
            return
        kept = mitm.passed(flow)
        if kept is not None:
            flow.response.raw_content = kept
            if not is_whole:
                flow.metadata["partial_body"] = True


addons = [RecordFlows()]

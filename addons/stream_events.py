"""Pass event streams on piece by piece, and record them all the same.

mitmproxy holds a response back until it is complete unless it is streamed, so an agent sees the first token
together with the last (1060 ms instead of 6 ms in a response of a second); and it records nothing of a
streamed one. This addon streams every response of the media types in `content-types` and keeps a copy of what
passes, so that the recording holds the body.

Where the connection breaks off in the middle, or mitmproxy is ended, what had passed by then is recorded and
`partial_body` is set in the flow's metadata; so it is where a stream is longer than `keep`.
"""

from __future__ import annotations

import logging
from collections.abc import Set

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from conformance import mitm
from conformance.policy import StreamEvents as Policy

logger = logging.getLogger(__name__)


def is_event_stream(response: http.Response, policy: Policy) -> bool:
    """Whether the response's media type is one that is streamed."""
    kinds = [value for name, value in response.headers.fields if name.lower() == b"content-type"]
    kind = b", ".join(kinds).decode("utf-8", "surrogateescape").partition(";")[0].strip().lower()
    return kind in policy.content_types


class Tee:
    """What mitmproxy calls with each piece of a streamed body; returns it unchanged and keeps a copy."""

    def __init__(self, flow: http.HTTPFlow, limit: int) -> None:
        self.flow = flow
        self.limit = limit
        self.kept = bytearray()
        self.is_cut = False

    def __call__(self, piece: bytes) -> bytes:
        room = self.limit - len(self.kept)
        self.is_cut = self.is_cut or len(piece) > room
        self.kept += piece[:room] if room < len(piece) else piece
        return piece

    def record(self, *, is_whole: bool) -> None:
        """Put the copy into the flow. The wire is behind us: this changes only the recording."""
        if self.flow.response is None:
            return
        # Not `content`: that would compress it again and rewrite Content-Length.
        self.flow.response.raw_content = bytes(self.kept)
        if self.is_cut or not is_whole:
            self.flow.metadata["partial_body"] = True


class StreamEvents:
    """The wiring."""

    name = "stream-events"

    def __init__(self) -> None:
        self.policy = Policy()
        self.open: dict[str, Tee] = {}

    def load(self, loader: Loader) -> None:
        mitm.add_options(loader, Policy, "stream_events")

    def configure(self, updated: Set[str]) -> None:
        self.policy = mitm.read_options(ctx.options, Policy, "stream_events")

    def running(self) -> None:
        mitm.refuse_unknown_options("stream_events")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        # A callable is another addon's, which wants to see or replace the pieces itself.
        if flow.response is None or callable(flow.response.stream) or not mitm.is_on_the_wire(flow):
            return
        if is_event_stream(flow.response, self.policy):
            flow.response.stream = self.open[flow.id] = Tee(flow, self.policy.keep)

    def response(self, flow: http.HTTPFlow) -> None:
        self._close(flow, is_whole=True)

    def error(self, flow: http.HTTPFlow) -> None:
        self._close(flow, is_whole=False)

    def done(self) -> None:
        # Runs before mitmproxy writes the flows that are still open.
        for tee in self.open.values():
            tee.record(is_whole=False)
        self.open.clear()

    def _close(self, flow: http.HTTPFlow, *, is_whole: bool) -> None:
        tee = self.open.pop(flow.id, None)
        # Without content the response was never streamed, and mitmproxy knows its (empty) body itself.
        if tee is not None and (flow.response is None or flow.response.raw_content is None or tee.kept):
            tee.record(is_whole=is_whole)


addons = [StreamEvents()]

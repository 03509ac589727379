"""The addons of the suite over the flows of a recording: what `fix` runs, and what tests promise by."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mitmproxy import eventsequence, exceptions, hooks, http
from mitmproxy.addons import default_addons
from mitmproxy.master import Master
from mitmproxy.options import Options

from conformance import mitm, secret
from conformance.addon import addons
from conformance.policy import PolicyError


class CannotRun(RuntimeError):
    """The addons do not start; says why in one line."""


class Offline:
    """Addons of the suite, in its order, run over recorded flows; made by ``loaded``."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        """What addons logged as errors since it was last emptied."""
        self._known: set[int] = set()  # hashes: a recording may hold a million tokens
        self._log = _Errors(self.errors)
        self._loop = asyncio.new_event_loop()
        self._master = Master(Options(), event_loop=self._loop)

    def start(self, names: Collection[str], words: Sequence[str]) -> None:
        """Load these addons with these options. Raises CannotRun."""
        logging.getLogger().addHandler(self._log)
        try:
            self._loop.run_until_complete(self._start(names, words))
        except (exceptions.OptionsError, PolicyError) as error:
            raise CannotRun(str(error)) from None
        except Exception as error:
            raise CannotRun(f"{type(error).__name__}: {error}") from error
        if self.errors:
            raise CannotRun(self.errors[0])

    async def _start(self, names: Collection[str], words: Sequence[str]) -> None:
        manager, options = self._master.addons, self._master.options
        for each in default_addons():
            manager.register(each)  # for its options: what is not in the chain does nothing
        (suite,) = mitm.script_addons(addons()["suite"].path)
        order = sys.modules[type(suite).__module__].ORDER
        # What is replayed is no news to other proxies.
        options.set(
            *words,
            "shared_redis",
            *(f"suite_without={name}" for name in order if name not in names),
            defer=True,
        )
        manager.add(suite)
        await manager.invoke_addon(suite, hooks.ConfigureHook(set(options.keys())))
        await self._master.running()

    def end(self) -> None:
        """Unload the addons."""
        try:
            self._loop.run_until_complete(self._master.done())
        finally:
            logging.getLogger().removeHandler(self._log)
            self._loop.close()

    def run(self, flow: http.HTTPFlow) -> list[dict[str, Any]]:
        """Let the addons rewrite a flow as if it were under way; the journal's new entries.

        Credentials that were nowhere in the recording until now do not come into it: a digest does.
        """
        done = len(flow.metadata.get(mitm.JOURNAL, ()))
        for message in filter(None, (flow.request, flow.response)):
            self._known.update(
                hash(value) for name, value in message.headers.fields if secret.is_secret_field(name)
            )
        self._loop.run_until_complete(self._run(flow))
        for message in filter(None, (flow.request, flow.response)):
            lines = message.headers.fields
            hidden = tuple((name, self._hidden(name, value)) for name, value in lines)
            if hidden != lines:
                message.headers.fields = hidden
        return list(flow.metadata.get(mitm.JOURNAL, ()))[done:]

    async def _run(self, flow: http.HTTPFlow) -> None:
        if flow.request.method.upper() == "CONNECT":
            return  # no addon of ours sees one in flight
        content = None if flow.response is None else flow.response.raw_content
        with mitm.as_if_live(flow):
            for hook in eventsequence.iterate(flow):
                if hook.name == "response" and (stream := self._stream(flow)) is not None:
                    for piece in [content, b""] if content else [b""]:
                        stream(piece)
                await self._master.addons.trigger_event(hook)
        if flow.response is not None and self._stream(flow) is not None:
            flow.response.raw_content = content  # what is not recorded is not known to be empty

    def _stream(self, flow: http.HTTPFlow) -> Callable[[bytes], object] | None:
        """What wants to see the pieces of the response; of a response of our own nobody does."""
        stream = flow.response.stream if flow.response is not None and not mitm.is_refused(flow) else None
        return stream if callable(stream) else None

    def _hidden(self, name: bytes, value: bytes) -> bytes:
        is_new = secret.is_secret_field(name) and hash(value) not in self._known
        return secret.digested(name, value) if is_new else value


class _Errors(logging.Handler):
    """Keeps what is logged as an error, but for refusals: those are in the journal."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        if record.funcName == mitm.refuse.__name__:
            return
        error = record.exc_info[1] if record.exc_info else None
        self.texts.append(record.getMessage() + (f" ({type(error).__name__})" if error else ""))


@contextmanager
def loaded(
    names: Collection[str],
    *,
    profile: str | None = None,
    config: str | Path | None = None,
    isolated: bool = False,
) -> Iterator[Offline]:
    """These addons, ready to run over the flows of one recording in turn. Raises CannotRun."""
    made = Offline()
    try:
        made.start(names, mitm.source(profile, config, isolated))
        yield made
    finally:
        made.end()

"""Processes that are started here and ended here, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

PATIENCE = 20
"""Seconds in which a process starts, and in which it ends when it is told to."""

type Wait = Callable[[bytes, int], list[bytes]]
"""Gives the groups that a pattern finds in what a process has said, once there are so many; raises DidNotStart."""


class DidNotStart(RuntimeError):
    """The process ended, or took too long, before it said what was waited for; the text is its last line."""


@contextlib.contextmanager
def background(command: Sequence[str], *, own_session: bool = False) -> Iterator[Wait]:
    """A process beside this one, and what waits for its words; it ends with the block.

    Its standard input ends when this process does, whatever ends it: ``end_with_stdin`` is for that. In a session of
    its own it is not reached by what is typed at the terminal, such as Ctrl-C.
    """
    with contextlib.ExitStack() as ends:
        log = Path(ends.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)), "log")
        with undisturbed(), log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=own_session
            )
            ends.callback(_end, process)

        def wait(pattern: bytes, count: int) -> list[bytes]:
            until = time.monotonic() + PATIENCE
            ended = False
            while not ended:
                with undisturbed():
                    # Before what it said is read: it may end after its last words.
                    ended = process.poll() is not None or time.monotonic() > until
                if len(found := re.findall(pattern, log.read_bytes())) >= count:
                    return found
                time.sleep(0.02)
            said = log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
            raise DidNotStart(said[-1])

        yield wait


def foreground(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command at this terminal and give its exit code, as a shell does: 128 and the number for a signal.

    Ctrl-C is for the command alone, which gets it from the terminal; SIGTERM is passed on to it. Raises OSError.
    """
    child: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def passed_on(number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT:
            early.extend([] if child else [number])
            for process in child:
                process.send_signal(number)

    # Not SIG_IGN: the command would inherit it.
    with handled(passed_on, signal.SIGINT, signal.SIGTERM):
        child.append(subprocess.Popen(command, env=dict(environment)))  # noqa: S603
        for number in early:
            child[0].send_signal(number)
        code = child[0].wait()
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    """These signals go to the handler; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        numbers = ()
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put signals off: while a process is made, one would leave it to itself; within Popen's ``poll`` and ``wait``
    one leaves a lock taken for ever."""
    came: list[int] = []
    with handled(lambda number, _: came.append(number), signal.SIGINT, signal.SIGTERM):
        yield
    if came:
        raise KeyboardInterrupt


def end_with_stdin() -> None:
    """Let this process get SIGTERM when its standard input ends; from now on nothing else may read it."""

    def watch() -> None:
        with contextlib.suppress(OSError):  # it was closed
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _end(process: subprocess.Popen[bytes]) -> None:
    with undisturbed():
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

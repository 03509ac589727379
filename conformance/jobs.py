"""Recordings linted by several processes; the result is what one process makes of them.

The unit is the recording: rules about connections, sessions and retries look at what came before in it. Of a large
flow file it is the piece: see ``pieces``.
"""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import lint, pieces, recording, remote, scoping
from conformance.finding import Entry, Run, Summary
from conformance.pieces import Examination, Piece
from conformance.rule import RULES, Rule, load

if TYPE_CHECKING:
    from conformance.policy import Policy

AHEAD = 2
"""Pieces for each process that are under way; what was found in them is in memory."""


def available() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def check(
    paths: Sequence[str],
    rules: Mapping[str, Rule],
    *,
    policy: Policy | None = None,
    settings: lint.Settings | None = None,
    progress: Callable[[int], None] | None = None,
    jobs: int = 1,
    pool: Executor | None = None,
) -> Run:
    """As ``lint.check`` of the recordings at these paths, in up to ``jobs`` processes.

    ``rules`` are some of ``RULES``. Memory grows with the number of jobs, and with what is found. ``pool`` works
    in place of processes of this machine; it stays open.
    """
    settings = settings or lint.Settings()
    apart = [path for path in paths if _is_file(path)] if jobs > 1 or pool is not None else []
    parts = {path: _pieces(path, settings) for path in apart}
    tasks = sum(map(len, parts.values()))
    if tasks < 2 and pool is None:
        return lint.check(
            map(recording.read, paths), rules, policy=policy, settings=settings, progress=progress
        )
    from concurrent.futures import ProcessPoolExecutor  # 7 ms that one process does not need

    # What is bounded or judged over all recordings is bounded and judged here.
    alone = replace(settings, scopes=())
    names = tuple(rules)
    task = pieces.task(names, policy, settings.severities, listing=settings.listing)
    processes = max(1, min(jobs, tasks))
    ahead = AHEAD * processes
    with (
        ProcessPoolExecutor(processes, initializer=collect_rarely, initargs=(tuple(paths),))
        if pool is None
        else nullcontext(pool)
    ) as pool:
        # The largest first, so that none is begun when the others are done.
        whole = sorted((path for path in parts if len(parts[path]) == 1), key=_size, reverse=True)
        futures = {path: pool.submit(_alone, path, names, policy, alone) for path in whole}
        try:
            run = Run(rules)
            for path in paths:
                done = sum(summary.exchanges for summary in run.recordings)
                if path in futures:
                    more = _result(path, futures.pop(path))
                else:
                    further = None if progress is None else partial(_further, progress, done)
                    in_pieces = len(parts.get(path, ())) > 1
                    feed = partial(_feed, pool, task, parts[path], ahead) if in_pieces else None
                    more = _checked(path, rules, policy, alone, further, feed)
                _add(run, more)
                if progress is not None:
                    progress(done + sum(summary.exchanges for summary in more.recordings))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _bound(run.recordings)
    scoping.apply(run, settings.scopes, settings.today)
    return run


def collect_rarely(paths: Iterable[str]) -> None:
    """Have this process, which lints these recordings, look for cycles every 50,000 objects, not every 700.

    What a flow is made of goes by its reference counts: to look for cycles in it, and again in all that is kept of
    those before, found nothing and took 6 % of the time. Not so at URLs: fsspec leaves cycles that hold megabytes.
    """
    if not any(map(remote.is_url, paths)):
        gc.set_threshold(50_000)


def _pieces(path: str, settings: lint.Settings) -> list[Piece]:
    """The pieces of a recording; one for what is examined as a whole."""
    whole = [Piece(path, 0, None)]
    # Small ones are not worth it; parsers that are asked run in processes of their own.
    if settings.parsers or _size(path) < 2 * pieces.SIZE:
        return whole
    return pieces.split(path) or whole


def _further(progress: Callable[[int], None], done: int, exchanges: int) -> None:
    progress(done + exchanges)


def _checked(
    path: str,
    rules: Mapping[str, Rule],
    policy: Policy | None,
    settings: lint.Settings,
    progress: Callable[[int], None] | None,
    feed: lint.Feed | None,
) -> Run:
    try:
        source = [recording.read(path)]
        return lint.check(source, rules, policy=policy, settings=settings, progress=progress, feed=feed)
    except BrokenExecutor:
        return Run({}, failures=[_lost(path)])


def _feed(
    pool: Executor,
    task: bytes,
    parts: Sequence[Piece],
    ahead: int,
    linter: lint.Linter,
    source: recording.Recording,
    progress: Callable[[int], None] | None,
) -> None:
    """Have a linter take what the processes find in the pieces of a recording."""
    pieces.assemble(linter, source, _examined(pool, task, parts, ahead), progress)


def _examined(pool: Executor, task: bytes, parts: Sequence[Piece], ahead: int) -> Iterator[Examination]:
    waiting: deque[Future[Examination]] = deque()
    for piece in parts:
        waiting.append(pool.submit(pieces.examine, task, piece))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _is_file(path: str) -> bool:
    # Standard input and pipes can be read by one process only.
    return remote.is_url(path) or (path != "-" and Path(path).is_file())


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _alone(path: str, names: tuple[str, ...], policy: Policy | None, settings: lint.Settings) -> Run:
    """One recording; runs in a process of its own."""
    load()
    run = lint.check(
        [recording.read(path)], {name: RULES[name] for name in names}, policy=policy, settings=settings
    )
    return replace(run, rules={})  # the other side has them


def _result(path: str, future: Future[Run]) -> Run:
    try:
        return future.result()
    except BrokenExecutor:
        return Run({}, failures=[_lost(path)])


def _lost(path: str) -> str:
    return f"{remote.shown(path)}: a process that linted it came to an end (out of memory?): try --jobs 1"


def _add(run: Run, more: Run) -> None:
    run.recordings += more.recordings
    run.findings += more.findings
    run.suppressed += more.suppressed
    run.edits += more.edits
    run.failures += more.failures
    run.notes += more.notes


def _bound(recordings: Iterable[Summary]) -> None:
    """Cut the listings to what ``lint.check`` lists of all recordings together."""
    room, room_for_heads = lint.LISTED, lint.LISTED_HEADS
    for summary in recordings:
        listed: list[Entry] = []
        for entry in summary.entries[:room]:
            shown = bool(entry.heads) and room_for_heads > 0
            room_for_heads -= shown
            listed.append(entry if shown or not entry.heads else replace(entry, heads=()))
        room -= len(listed)
        summary.entries = tuple(listed)

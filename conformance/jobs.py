"""Several recordings linted at once, in processes of their own; the result is what one process makes of them.

The unit is the recording: rules about connections, sessions and retries look at what came before in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import lint, recording, remote, scoping
from conformance.finding import Entry, Run, Summary
from conformance.rule import RULES, Rule, load

if TYPE_CHECKING:
    from conformance.policy import Policy


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
    if len(apart) < 2 and pool is None:
        return lint.check(
            map(recording.read, paths), rules, policy=policy, settings=settings, progress=progress
        )
    # What is bounded or judged over all recordings is bounded and judged here.
    alone = replace(settings, scopes=())
    names = tuple(rules)
    with ProcessPoolExecutor(min(jobs, len(apart))) if pool is None else nullcontext(pool) as pool:
        # The largest first, so that none is begun when the others are done.
        futures = {
            path: pool.submit(_alone, path, names, policy, alone)
            for path in sorted(apart, key=_size, reverse=True)
        }
        try:
            if progress is not None:
                _tell(futures.values(), progress)
            run = Run(rules)
            for path in paths:
                if path in futures:
                    _add(run, _result(path, futures.pop(path)))
                else:
                    _add(run, lint.check([recording.read(path)], rules, policy=policy, settings=alone))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _bound(run.recordings)
    scoping.apply(run, settings.scopes, settings.today)
    return run


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


def _tell(futures: Iterable[Future[Run]], progress: Callable[[int], None]) -> None:
    done = 0
    for future in as_completed(futures):
        if future.exception() is None:
            done += sum(summary.exchanges for summary in future.result().recordings)
            progress(done)


def _result(path: str, future: Future[Run]) -> Run:
    try:
        return future.result()
    except BrokenExecutor:
        failure = (
            f"{remote.shown(path)}: the process that linted it came to an end (out of memory?): try --jobs 1"
        )
        return Run({}, failures=[failure])


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

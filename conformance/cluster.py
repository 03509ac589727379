"""Recordings linted by the workers of a Ray cluster, which take the place of processes of this machine.

The workers need hoplint in the same version, and must reach the recordings by the same paths: a folder that all
share, or URLs. A piece whose worker is lost is given to another one, so what comes back is what one process would
have found.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from importlib.metadata import PackageNotFoundError, version
from typing import Any

LOCAL = "local"
"""Instead of an address: a cluster on this machine, which ends with the work."""
LOSSES = 3
"""How many workers a piece may lose."""
PATIENCE = 120
"""Seconds in which a cluster must find a worker for the first question."""


class ClusterError(RuntimeError):
    """The cluster is of no use; one line that says what to do."""


class Cluster(Executor):
    """Gives work to the workers of a Ray cluster that ``joined`` has joined."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._tasks: dict[Callable[..., Any], Any] = {}
        self._given: set[Any] = set()

    def submit[**P, R](self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        if work not in self._tasks:  # it is sent to the cluster once
            self._tasks[work] = self._ray.remote(max_retries=LOSSES)(work)
        given = self._tasks[work].remote(*args, **kwargs)
        self._given.add(given)
        future: Future[R] = Future()

        def done(theirs: Future[R]) -> None:
            self._given.discard(given)  # the cluster need not keep what is here
            problem = theirs.exception()
            if problem is None:
                future.set_result(theirs.result())
            elif isinstance(problem, self._ray.exceptions.RayTaskError):
                future.set_exception(problem.as_instanceof_cause())
            else:  # no worker is left that has not been lost
                future.set_exception(BrokenExecutor(_words(problem)))

        given.future().add_done_callback(done)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of what was given; with ``cancel_futures`` nobody needs to go on with it."""
        for given in list(self._given) if cancel_futures else ():
            self._ray.cancel(given, force=True)
        self._given.clear()


@contextlib.contextmanager
def joined(address: str, processors: int) -> Iterator[Cluster]:
    """The cluster at an address, or with ``LOCAL`` one of so many processors of this machine. Raises ClusterError."""
    # Who lints recordings has not agreed to tell anybody of it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under `uv run` Ray would have each worker begin with `uv run` as well, in a copy of the folder it stands in, and
    # this project's environment need not have Ray.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise ClusterError("--ray needs Ray: pip install 'hoplint[ray]'") from None
    # Ray prints what became of its workers, and stdout is for the report.
    with contextlib.redirect_stdout(sys.stderr):
        yield from _joined(ray, address, processors)


def _joined(ray: Any, address: str, processors: int) -> Iterator[Cluster]:
    how = {"address": address} if address != LOCAL else {"num_cpus": processors, "include_dashboard": False}
    try:
        try:
            ray.init(**how, configure_logging=False, log_to_driver=False)
            _compare(ray)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as problem:
            raise ClusterError(f"the Ray cluster {address}: {_words(problem)}") from None
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _compare(ray: Any) -> None:
    """Raise ClusterError where the workers have another hoplint, or none."""
    question = ray.remote(max_retries=LOSSES)(_version).remote()
    try:
        there = ray.get(question, timeout=PATIENCE)
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(f"no worker is free within {PATIENCE} seconds") from None
    if there != _version():
        raise ClusterError(f"its workers have hoplint {there}, and this is {_version()}")


def _version() -> str:
    try:
        return version("hoplint")
    except PackageNotFoundError:
        return "of a checkout"


def _words(problem: BaseException) -> str:
    """The last line of what Ray says, which is the cause."""
    return next(reversed(str(problem).strip().splitlines()), type(problem).__name__)

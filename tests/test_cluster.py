"""What can be said of a cluster without one; the rest is in tests/e2e/test_cluster.py, where Ray is installed."""

import sys
from concurrent.futures import BrokenExecutor, Future

import pytest

from conformance import jobs
from conformance.cli import main
from conformance.cluster import ClusterError, joined
from conformance.rule import load

SMALL = "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 200 OK\n< Server: a\n< Server: b\n< Content-Length: 0\n"


def test_without_the_extra(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'hoplint\[ray\]'"), joined("local", 1):
        pass
    (tmp_path / "a.http").write_text(SMALL)
    assert main(["check", "--isolated", "--ray", "local", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip() == "hoplint: error: --ray needs Ray: pip install 'hoplint[ray]'"


class Losing:
    """A pool that loses every worker."""

    def submit(self, *_: object) -> Future[object]:
        future: Future[object] = Future()
        future.set_exception(BrokenExecutor("the worker died"))
        return future


def test_workers_that_are_all_lost(tmp_path) -> None:
    path = tmp_path / "a.http"
    path.write_text(SMALL)
    run = jobs.check([str(path)], load(), pool=Losing())
    assert run.findings == []
    (failure,) = run.failures
    assert failure.startswith(f"{path}: a process that linted it came to an end")

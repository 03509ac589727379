import logging

import pytest
from mitmproxy.test import tflow

from conformance import offline


def test_it_runs_the_suite_and_ends() -> None:
    flow = tflow.tflow(resp=True)
    flow.response.headers.fields = ((b"Server", b"a"), (b"server", b"b"))
    flow.live = False
    with offline.loaded(["dedupe-headers"], isolated=True) as addons:
        (entry,) = addons.run(flow)
        assert entry["field"] == "server"
        assert addons.run(flow) == []
    assert not any(isinstance(handler, offline._Errors) for handler in logging.getLogger().handlers)
    assert not flow.live


@pytest.mark.parametrize("where", [{"profile": "genric"}, {"config": "nowhere.toml"}])
def test_it_does_not_start_with_bad_settings(where) -> None:
    with pytest.raises(offline.CannotRun, match=r"generic|nowhere\.toml"), offline.loaded([], **where):
        pass

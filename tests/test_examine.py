"""What is found in an exchange by itself can go to another process, and be put beside the others there."""

import pickle
from functools import partial
from pathlib import Path

from conformance import recording
from conformance.examine import Examiner
from conformance.lint import Linter, Settings
from conformance.message import Exchange, Stream
from conformance.rule import load

RULES = load()
RECORDINGS = Path(__file__).parents[1] / "recordings"
KEPT_ALIVE = """\
@ client-connection: c1
> GET /a HTTP/1.1
> Host: a
< HTTP/1.1 200 OK
< Content-Length: 0
< Connection: close

@ client-connection: c1
> GET /b HTTP/1.1
> Host: a
< HTTP/1.1 200 OK
< Content-Length: 0
"""


def identity[T](thing: T) -> T:
    return thing


def examiner() -> Examiner:
    return Examiner(RULES, None, {}, "x")


def exchanges(text: str) -> list[Exchange]:
    return [item for item in recording.parse(text) if isinstance(item, Exchange)]


def test_neighbours_on_a_connection_are_judged_where_both_are_examined() -> None:
    first, second = exchanges(KEPT_ALIVE)
    whole = examiner()
    assert whole.exchange(first).unjudged == ("client",)
    after = whole.exchange(second)
    assert after.unjudged == ()
    assert "request-after-close" in {finding.rule for finding in after.found}
    apart = examiner().exchange(second)
    assert apart.unjudged == ("client",)
    assert "request-after-close" not in {finding.rule for finding in apart.found}
    assert apart.connections == (("client", "c1"),)


def test_what_was_examined_elsewhere_is_judged_the_same() -> None:
    for path in recording.find([RECORDINGS]):
        here, there = (Linter(RULES, None, Settings(listing=True), path) for _ in range(2))
        for item in recording.read(path):
            here.take(item)
            if isinstance(item, Stream):
                sent = pickle.loads(pickle.dumps(there.examiner.stream(item)))
                there.place_stream(sent, item.exchanges.__getitem__, partial(identity, item))
            elif item.leg is None:
                examined = pickle.loads(pickle.dumps(there.examiner.exchange(item)))
                there.place(examined, partial(identity, item))
            else:
                there.take(item)
        here.finish()
        there.finish()
        assert there.findings == here.findings
        assert there.suppressed == here.suppressed
        assert there.entries == here.entries
        assert there.exercised == here.exercised


def test_the_exchange_itself_is_not_asked_for_where_nothing_is_found() -> None:
    linter = Linter(RULES, None, Settings(), "x")

    def nobody() -> Exchange:
        raise AssertionError("asked for")

    (exchange,) = exchanges(
        "> GET / HTTP/1.1\n> Host: a\n< HTTP/1.1 204 No Content\n< Date: Fri, 20 Nov 2026 03:14:15 GMT\n"
    )
    linter.place(linter.examiner.exchange(exchange), nobody)

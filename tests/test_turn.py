"""What is remembered of an exchange, and which of two came first."""

from conformance.turn import Digest


def digest(number: int, *, status: int = 200, lost: bool = False, **facts: object) -> Digest:
    told = {"started": None, "ended": None, **facts}
    return Digest(number=number, host=b"", method=b"", path=b"", status=status, lost=lost, **told)  # type: ignore[arg-type]


def test_times_decide_what_was_before() -> None:
    def at(started: float | None, ended: float | None, number: int) -> Digest:
        return digest(number, started=started, ended=ended)

    assert at(0, 1, 2).precedes(at(1, 2, 1))
    assert not at(0, 2, 1).precedes(at(1, 3, 2))
    assert at(None, None, 1).precedes(at(5, 6, 2))
    assert not at(None, None, 2).precedes(at(5, 6, 1))


def test_connections_without_times_say_nothing_about_each_other() -> None:
    one, other = digest(1, connection="a"), digest(2, connection="b")
    assert not one.precedes(other)
    assert one.precedes(digest(2, connection="a"))
    assert one.precedes(digest(2))


def test_what_failed() -> None:
    assert [digest(1, status=status).failed for status in (0, 200, 399, 400)] == [False, False, False, True]
    assert digest(1, lost=True).failed

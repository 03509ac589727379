"""Conversations told apart while their requests are under way."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.llm import FORMATS, Reply
from conformance.tracker import Asked, Entry, Tracker, packed, session_id, unpacked

CHAT = FORMATS["chat-completions"]


def tell(tracker: Tracker, begun: tuple[Asked, list[Entry]] | None, now: float = 0.0) -> Asked:
    """Apply what a request's beginning says."""
    assert begun is not None
    asked, entries = begun
    for entry in entries:
        tracker.apply(entry, now)
    return asked


class Agent:
    """One conversation; what it asks is answered when the test says so."""

    def __init__(self, tracker: Tracker, first: str, scope: bytes = b"") -> None:
        self.tracker, self.scope = tracker, scope
        self.messages = [{"role": "user", "content": first}]
        self.ids: list[bytes] = []
        self.so_far: Reply | None = None
        self.now = 0.0

    def ask(self, *, is_retry: bool = False, model: str = "m") -> None:
        said = {"model": model, "messages": list(self.messages)}
        self.so_far = None
        self.asked = tell(
            self.tracker,
            self.tracker.ask(said, self.scope, is_retry=is_retry, reply=lambda: self.so_far),
            self.now,
        )
        self.ids.append(session_id(self.asked.number))

    def hear(self, text: str) -> None:
        """The answer has passed, and its end perhaps not yet."""
        self.so_far = Reply(CHAT, text=text, is_whole=True, finish={(0,): "stop"})

    def end(self, *, failed: bool = False) -> None:
        for entry in self.tracker.end(self.asked, failed=failed):
            self.tracker.apply(entry, self.now)

    def go_on(self, text: str, more: str = "go on") -> None:
        self.messages += [{"role": "assistant", "content": text}, {"role": "user", "content": more}]


def answered(agent: Agent, text: str) -> None:
    agent.hear(text)
    agent.end()
    agent.go_on(text)


@given(st.randoms(use_true_random=False), st.booleans())
def test_rollouts_under_way_at_once(order: random.Random, is_late: bool) -> None:
    """``is_late``: the client goes on before the end of the answer has passed."""
    tracker = Tracker(10_000, 60)
    agents = [Agent(tracker, "fix the bug") for _ in range(8)]
    for turn in range(5):
        for agent in order.sample(agents, 8):
            agent.ask()
        for number, agent in enumerate(order.sample(agents, 8)):
            text = f"turn {turn}, answer {number}"
            agent.hear(text)
            if is_late:
                agent.asked.reply = lambda reply=agent.so_far: reply
            else:
                agent.end()
            agent.go_on(text)
    assert all(len(set(agent.ids)) == 1 for agent in agents)
    assert len({agent.ids[0] for agent in agents}) == 8


@given(st.lists(st.sampled_from(["fail", "retry", "answer"]), max_size=20))
def test_retries_keep_the_id(steps: list[str]) -> None:
    tracker = Tracker(10_000, 60)
    agent, other = Agent(tracker, "task"), Agent(tracker, "another task")
    other.ask()
    for step in steps:
        agent.ask(is_retry=step == "retry")
        if step == "answer":
            answered(agent, f"answer {len(agent.ids)}")
        else:
            agent.end(failed=True)
    assert len(set(agent.ids)) <= 1
    assert other.ids[0] not in agent.ids


def test_eight_rollouts_that_all_fail_and_are_sent_again() -> None:
    tracker = Tracker(10_000, 60)
    agents = [Agent(tracker, "task") for _ in range(8)]
    for _ in range(3):
        for agent in agents:
            agent.ask()
        for agent in agents:
            agent.end(failed=True)
    assert [len({agent.ids[n] for agent in agents}) for n in range(3)] == [8, 8, 8]
    assert len({found for agent in agents for found in agent.ids}) == 8


def test_a_retry_takes_the_id_of_the_rollout_that_failed() -> None:
    tracker = Tracker(100, 60)
    one, two = Agent(tracker, "task"), Agent(tracker, "task")
    one.ask()
    two.ask()
    one.end(failed=True)
    one.ask(is_retry=True)
    assert one.ids[0] == one.ids[1] != two.ids[0]


def test_another_model_goes_on() -> None:
    agent = Agent(Tracker(100, 60), "task")
    agent.ask(model="a")
    answered(agent, "yes")
    agent.ask(model="b")
    assert len(set(agent.ids)) == 1


def test_an_error_within_a_stream_is_a_failure() -> None:
    tracker = Tracker(100, 60)
    agent = Agent(tracker, "task")
    agent.ask()
    agent.so_far = Reply(CHAT, error="overloaded", is_whole=True)
    agent.end()
    agent.ask()
    assert len(set(agent.ids)) == 1


def test_callers_do_not_meet() -> None:
    tracker = Tracker(100, 60)
    one, two = Agent(tracker, "task", b"alice"), Agent(tracker, "task", b"bob")
    one.ask()
    one.end(failed=True)
    two.ask()
    assert one.ids != two.ids


@pytest.mark.parametrize(("later", "same"), [(59, True), (61, False)])
def test_what_is_old_is_forgotten(later: int, same: bool) -> None:
    agent = Agent(Tracker(100, 60), "task")
    agent.ask()
    answered(agent, "yes")
    agent.now = later
    agent.ask()
    assert (agent.ids[0] == agent.ids[1]) is same


def test_memory_is_bounded() -> None:
    tracker = Tracker(10, 60)
    for n in range(100):
        agent = Agent(tracker, f"task {n}")
        agent.ask()
        for entry in tracker.made(agent.asked, b"", f"resp_{n}"):
            tracker.apply(entry, 0)
        answered(agent, "yes")
    assert len(tracker._conversations._points) == 10
    assert len(tracker._responses) == 10
    assert not tracker._open
    assert not tracker._asked
    assert not tracker._points


def test_a_response_is_referred_to() -> None:
    tracker = Tracker(100, 60)
    agent = Agent(tracker, "task")
    agent.ask()
    for entry in tracker.made(agent.asked, b"", "resp_1"):
        tracker.apply(entry, 0)
    agent.hear("yes")
    agent.end()

    def number(response: str, scope: bytes = b"", now: float = 0) -> int:
        said = {"input": "go on", "previous_response_id": response}
        asked = tell(tracker, tracker.ask(said, scope, is_retry=False, reply=lambda: None), now)
        assert tracker.end(asked, failed=False) == []
        return asked.number

    assert number("resp_1") == agent.asked.number
    assert number("resp_2") != agent.asked.number
    assert number("resp_1", b"another caller") != agent.asked.number
    assert number("resp_1", now=61) != agent.asked.number


@given(st.randoms(use_true_random=False))
def test_who_applies_the_same_entries_knows_the_same(order: random.Random) -> None:
    """Turns that pass any of three proxies, each of which knows the entries of all."""

    class All(Tracker):
        def apply(self, entry: Entry, at: float) -> None:
            for tracker in trackers:
                Tracker.apply(tracker, unpacked(json.loads(json.dumps(packed(entry)))), at)

    trackers = [All(1000, 60) for _ in range(3)]
    agents = [Agent(trackers[0], "fix the bug") for _ in range(6)]
    for turn in range(4):
        for agent in order.sample(agents, 6):
            agent.tracker = order.choice(trackers)
            agent.ask()
        for number, agent in enumerate(order.sample(agents, 6)):
            if order.random() < 0.2:
                agent.end(failed=True)
                agent.tracker = order.choice(trackers)
                agent.ask(is_retry=True)
            answered(agent, f"turn {turn}, answer {number}")
    assert len({agent.ids[-1] for agent in agents}) == 6
    assert not any(tracker._points or tracker._asked or tracker._open for tracker in trackers)


def test_an_entry_of_another_kind() -> None:
    with pytest.raises(ValueError, match="another kind"):
        unpacked(["begun", 3])


@pytest.mark.parametrize("said", [None, [], {}, {"prompt": "x"}, {"messages": []}, "text", {"messages": 3}])
def test_nothing_to_tell_by(said: object) -> None:
    assert Tracker(10, 60).ask(said, b"", is_retry=False, reply=lambda: None) is None

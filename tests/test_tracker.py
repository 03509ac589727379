"""Conversations told apart while their requests are under way."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.llm import FORMATS, Reply
from conformance.tracker import Tracker

CHAT = FORMATS["chat-completions"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Agent:
    """One conversation; what it asks is answered when the test says so."""

    def __init__(self, tracker: Tracker, first: str, scope: bytes = b"") -> None:
        self.tracker, self.scope = tracker, scope
        self.messages = [{"role": "user", "content": first}]
        self.ids: list[bytes] = []
        self.so_far: Reply | None = None

    def ask(self, *, is_retry: bool = False, model: str = "m") -> None:
        said = {"model": model, "messages": list(self.messages)}
        self.so_far = None
        self.asked = self.tracker.ask(said, self.scope, is_retry=is_retry, reply=lambda: self.so_far)
        assert self.asked is not None
        self.ids.append(self.tracker.id(self.asked.number))

    def hear(self, text: str) -> None:
        """The answer has passed, and its end perhaps not yet."""
        self.so_far = Reply(CHAT, text=text, is_whole=True, finish={(0,): "stop"})

    def end(self, *, failed: bool = False) -> None:
        self.tracker.end(self.asked, failed=failed)

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
    clock = Clock()
    agent = Agent(Tracker(100, 60, clock), "task")
    agent.ask()
    answered(agent, "yes")
    clock.now = later
    agent.ask()
    assert (agent.ids[0] == agent.ids[1]) is same


def test_memory_is_bounded() -> None:
    tracker = Tracker(10, 60)
    for n in range(100):
        agent = Agent(tracker, f"task {n}")
        agent.ask()
        tracker.made(agent.asked, b"", f"resp_{n}")
        answered(agent, "yes")
    assert len(tracker._conversations._points) == 10
    assert len(tracker._responses) == 10
    assert not tracker._open


def test_a_response_is_referred_to() -> None:
    clock = Clock()
    tracker = Tracker(100, 60, clock)
    agent = Agent(tracker, "task")
    agent.ask()
    tracker.made(agent.asked, b"", "resp_1")
    agent.hear("yes")
    agent.end()

    def number(response: str, scope: bytes = b"") -> int:
        said = {"input": "go on", "previous_response_id": response}
        asked = tracker.ask(said, scope, is_retry=False, reply=lambda: None)
        assert asked is not None
        tracker.end(asked, failed=False)
        return asked.number

    assert number("resp_1") == agent.asked.number
    assert number("resp_2") != agent.asked.number
    assert number("resp_1", b"another caller") != agent.asked.number
    clock.now = 61
    assert number("resp_1") != agent.asked.number


def test_ids_are_those_of_this_process() -> None:
    one, two = Tracker(10, 60), Tracker(10, 60)
    assert one.id(1) != two.id(1)
    assert len(one.id(1)) == 32


@pytest.mark.parametrize("said", [None, [], {}, {"prompt": "x"}, {"messages": []}, "text", {"messages": 3}])
def test_nothing_to_tell_by(said: object) -> None:
    assert Tracker(10, 60).ask(said, b"", is_retry=False, reply=lambda: None) is None

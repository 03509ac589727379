import argparse

import pytest

from conformance.arguments import parser
from conformance.cli import COMMANDS


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = [
        action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(choices)


def test_every_command_is_done_by_something() -> None:
    assert commands().keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_word_is_explained(name: str) -> None:
    unexplained = [
        action.dest
        for action in commands()[name]._actions
        if not action.help and action.dest not in ("name", "format", "color")
    ]
    assert unexplained == []


def test_no_word_is_no_command() -> None:
    assert parser().parse_args([]).command is None

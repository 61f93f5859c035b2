"""The order of those who want to change one model."""

import threading

import pytest

from interlock.control.turns import Turns
from interlock.domain.errors import UnavailableError
from interlock.domain.ids import ModelName
from interlock.runtime.threads import spawn

M, OTHER = ModelName("m"), ModelName("other")


class Caller:
    """Somebody who waits for a turn on a thread of their own."""

    def __init__(self, turns: Turns) -> None:
        self.entered = threading.Event()
        self.refused = threading.Event()
        self._turns = turns
        self.thread = spawn("caller", self._call)

    def _call(self) -> None:
        try:
            self._turns.enter(M)
            self.entered.set()
        except UnavailableError:
            self.refused.set()


def test_the_first_enters_at_once_and_other_models_go_beside_it() -> None:
    turns = Turns()

    turns.enter(M)
    turns.enter(OTHER)
    turns.leave(M)
    turns.enter(M)


def test_the_second_enters_when_the_first_leaves() -> None:
    turns = Turns()
    turns.enter(M)
    second = Caller(turns)
    assert not second.entered.is_set()

    turns.leave(M)

    assert second.entered.wait(30)
    second.thread.join(30)


def test_a_close_sends_away_who_waits_and_lets_the_holder_leave() -> None:
    turns = Turns()
    turns.enter(M)
    waiting = [Caller(turns), Caller(turns)]

    turns.close()

    for caller in waiting:
        assert caller.refused.wait(30)
        caller.thread.join(30)
    turns.leave(M)
    with pytest.raises(UnavailableError):
        turns.enter(M)

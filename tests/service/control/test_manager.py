"""The manager, stepped by hand."""

import pytest
from tests.support.control import World, key

from interlock.control.actions import Load, Show, Withdraw


def test_a_wish_loads_and_then_shows() -> None:
    world = World()

    outcome = world.wish((1, "a"))
    assert world.shown == set()
    assert not outcome.done()
    assert world.index() == [("m", 1, "LOADING", "")]

    world.loads(key(1))
    assert world.shown == {key(1)}
    assert outcome.result(0) is None
    assert world.index() == [("m", 1, "READY", "")]


def test_a_new_version_takes_over_without_a_gap() -> None:
    world = World()
    world.serve((1, "a"))

    world.wish((2, "b"))
    assert world.shown == {key(1)}  # still, while 2 loads

    world.loads(key(2))
    assert world.shown == {key(2)}
    assert world.executor.draining.keys() == {key(1)}


@pytest.mark.parametrize("n", [1])
def test_smoke(n: int) -> None:
    world = World()
    world.serve((1, "a"))
    outcome = world.unwish()
    assert outcome.done()
    assert world.index() == [("m", 1, "UNLOADING", "")]
    world.drains(key(1))
    world.unloads(key(1))
    assert world.index() == [("m", 1, "UNAVAILABLE", "unloaded")]
    assert (Load, Show, Withdraw)

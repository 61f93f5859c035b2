"""Loads in which each version stands alone: at start, and in poll mode."""

import pytest

from interlock.control.answers import LoadMovedError
from interlock.control.verifying import FilesMovedError
from interlock.domain.errors import InvalidRequestError
from tests.support.control import MODEL, World, key


@pytest.fixture
def world() -> World:
    return World()


def test_a_version_that_fails_hinders_no_other(world: World) -> None:
    outcome = world.wish_alone((1, "a"), (2, "a"))
    world.fails(key(2))
    world.loads(key(1))

    assert world.shown == {key(1)}
    assert world.index() == [
        (MODEL, 1, "READY", ""),
        (MODEL, 2, "UNAVAILABLE", "Internal: broken file"),
    ]
    with pytest.raises(InvalidRequestError, match="version 2 is at UNAVAILABLE state"):
        outcome.result(0)


def test_each_version_is_shown_as_soon_as_it_is_built(world: World) -> None:
    world.wish_alone((1, "a"), (2, "a"))
    world.loads(key(2))

    assert world.shown == {key(2)}


def test_what_failed_is_not_tried_again_with_the_same_content(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    again = world.wish_alone((1, "a"))

    assert not world.executor.loading
    with pytest.raises(InvalidRequestError, match="broken file"):
        again.result(0)


def test_what_failed_is_tried_again_with_other_content(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.wish_alone((1, "b"))
    world.loads(key(1, 2))

    assert world.index() == [(MODEL, 1, "READY", "")]


def test_what_was_overtaken_by_its_files_is_tried_again(world: World) -> None:
    outcome = world.wish_alone((1, "a"))
    world.fails(key(1), FilesMovedError("the files moved"))
    world.wish_alone((1, "a"))

    assert set(world.executor.loading) == {key(1, 2)}
    with pytest.raises(LoadMovedError):
        outcome.result(0)


def test_the_old_content_serves_on_when_the_new_fails(world: World) -> None:
    world.serve((1, "a"))
    world.wish_alone((1, "b"))
    world.fails(key(1, 2))

    assert world.shown == {key(1)}
    assert world.index() == [(MODEL, 1, "READY", "Internal: broken file")]


def test_what_is_not_selected_any_more_serves_until_its_successor_does(world: World) -> None:
    world.serve((1, "a"))
    world.wish_alone((2, "a"), fallbacks=[(1, "a")])
    assert world.shown == {key(1)}

    world.loads(key(2))

    assert world.shown == {key(2)}
    assert set(world.executor.draining) == {key(1)}


def test_what_is_not_selected_any_more_stays_when_its_successor_fails(world: World) -> None:
    world.serve((1, "a"))
    world.wish_alone((2, "a"), fallbacks=[(1, "a")])
    world.fails(key(2))

    assert world.shown == {key(1)}
    assert not world.executor.loading


def test_the_next_newest_is_loaded_when_nothing_else_serves(world: World) -> None:
    world.wish_alone((3, "a"), fallbacks=[(2, "a"), (1, "a")])
    world.fails(key(3))
    assert set(world.executor.loading) == {key(2)}
    world.fails(key(2))
    world.loads(key(1))

    assert world.index() == [
        (MODEL, 1, "READY", ""),
        (MODEL, 2, "UNAVAILABLE", "Internal: broken file"),
        (MODEL, 3, "UNAVAILABLE", "Internal: broken file"),
    ]


def test_there_is_no_fallback_while_older_content_of_the_version_serves(world: World) -> None:
    world.serve((2, "a"))
    world.wish_alone((2, "b"), fallbacks=[(1, "a")])
    world.fails(key(2, 2))

    assert world.shown == {key(2)}
    assert not world.executor.loading


def test_a_fallback_makes_room_for_what_replaces_the_broken_one(world: World) -> None:
    world.wish_alone((2, "a"), fallbacks=[(1, "a")])
    world.fails(key(2))
    world.loads(key(1))
    world.wish_alone((2, "b"), fallbacks=[(1, "a")])
    assert world.shown == {key(1)}
    world.loads(key(2, 2))

    assert world.shown == {key(2, 2)}


def test_a_version_that_has_gone_leaves_though_another_is_broken(world: World) -> None:
    world.serve((1, "a"), (2, "a"))
    world.wish_alone((2, "a"), (3, "a"))
    world.fails(key(3))

    assert world.shown == {key(2)}


def test_a_version_that_has_gone_stays_while_nothing_else_serves(world: World) -> None:
    world.serve((1, "a"))
    world.wish_alone((3, "a"))
    world.fails(key(3))

    assert world.shown == {key(1)}


def test_a_broken_version_beside_one_that_serves_leaves_the_server_ready(world: World) -> None:
    world.wish_alone((1, "a"), (2, "a"))
    world.fails(key(1))
    assert not world.manager.strictly_ready()
    world.loads(key(2))

    assert world.manager.strictly_ready()


def test_an_explicit_load_tries_what_failed_and_is_all_or_nothing_again(world: World) -> None:
    world.wish_alone((1, "a"), (2, "a"))
    world.fails(key(2))
    world.loads(key(1))
    world.wish((1, "b"), (2, "a"))
    world.loads(key(1, 2))
    assert world.shown == {key(1)}
    world.fails(key(2, 2))

    assert world.shown == {key(1)}

"""What a load would do is what it does."""

import pytest

from interlock.control.index import ModelView
from interlock.control.preview import preview
from interlock.domain.description import Effect
from interlock.domain.ids import ModelName
from tests.support.control import MODEL, World, key, polled


def previewed(world: World, *candidates: tuple[int, str]) -> list[tuple[int, int, Effect, str]]:
    view = world.manager.view(MODEL) or ModelView(ModelName(MODEL), ())
    return [
        (step.key.version, step.key.generation, step.effect, step.reason)
        for step in preview(view, polled(*candidates))
    ]


@pytest.fixture
def world() -> World:
    return World()


def test_what_does_not_serve_would_be_loaded(world: World) -> None:
    assert previewed(world, (1, "a")) == [(1, 1, Effect.LOAD, "it does not serve")]


def test_what_has_not_changed_would_be_kept(world: World) -> None:
    world.serve((1, "a"))

    assert previewed(world, (1, "a")) == [(1, 1, Effect.KEEP, "its content has not changed")]


def test_what_has_changed_would_take_the_place_of_the_former(world: World) -> None:
    world.serve((1, "a"))

    assert previewed(world, (1, "b")) == [
        (1, 1, Effect.UNLOAD, "replaced"),
        (1, 2, Effect.LOAD, "its content has changed"),
    ]


def test_what_is_no_longer_selected_would_go(world: World) -> None:
    world.serve((1, "a"))

    assert previewed(world, (2, "a")) == [
        (1, 1, Effect.UNLOAD, "no longer asked for"),
        (2, 1, Effect.LOAD, "it does not serve"),
    ]


def test_what_is_on_its_way_would_be_kept(world: World) -> None:
    world.wish((1, "a"))

    assert previewed(world, (1, "a")) == [(1, 1, Effect.KEEP, "its content has not changed")]


def test_what_failed_would_be_tried_again(world: World) -> None:
    world.wish((1, "a"))
    world.fails(key(1))

    assert previewed(world, (1, "a")) == [(1, 2, Effect.LOAD, "it does not serve")]


def test_what_would_be_replaced_would_stand_by_where_there_is_a_window() -> None:
    world = World(window_s=60)
    world.serve((1, "a"))

    assert previewed(world, (1, "b")) == [
        (1, 1, Effect.STAND_BY, "replaced"),
        (1, 2, Effect.LOAD, "its content has changed"),
    ]


def test_what_stands_by_would_be_kept_and_shown() -> None:
    world = World(window_s=60)
    world.serve((1, "a"))
    world.serve((1, "b"))

    assert previewed(world, (1, "a")) == [
        (1, 1, Effect.KEEP, "it stands by and would serve"),
        (1, 2, Effect.STAND_BY, "replaced"),
    ]

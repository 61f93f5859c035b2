"""What a hold keeps apart from what goes on in the repository."""

from concurrent.futures import Future

import pytest

from interlock.control.modes import PollMode
from interlock.control.wishes import LoadWish, Trouble, UnloadWish
from interlock.domain.errors import InvalidRequestError
from interlock.domain.ids import Version
from tests.support.control import MODEL, World, key, polled

HELD = "held: unloaded on request, until a load names the model or the hold is released"


@pytest.fixture
def world() -> World:
    return World(PollMode(True))


def follow(world: World, *candidates: tuple[int, str]) -> "Future[None]":
    """Ask for what the repository has, and step."""
    wish = LoadWish(polled(*candidates), alone=True, follows=True)
    world.inbox.put(wish)
    world.manager.step()
    return wish.outcome


def hold(world: World) -> None:
    """Unload on request, and step."""
    world.inbox.put(UnloadWish(MODEL, hold=True))
    world.manager.step()


def cannot_be_polled(world: World) -> None:
    error = InvalidRequestError("no version")
    world.inbox.put(Trouble(MODEL, error, error, unready=True))
    world.manager.step()


def test_trouble_ends_when_the_repository_is_sound_again_though_the_model_is_held(
    world: World,
) -> None:
    hold_what_served(world)
    cannot_be_polled(world)
    assert (MODEL, None, "UNAVAILABLE", "Invalid argument: no version") in world.index()

    follow(world, (1, "a"))

    assert world.index() == [(MODEL, 1, "UNAVAILABLE", f"unloaded; {HELD}")]
    assert not world.shown


def test_strict_readiness_does_not_mind_the_trouble_of_what_is_unloaded_on_request(
    world: World,
) -> None:
    hold_what_served(world)
    cannot_be_polled(world)

    assert world.manager.strictly_ready()


def test_a_required_model_that_is_held_says_so(world: World) -> None:
    hold_what_served(world)
    world.staging.show({MODEL: {Version(2): "staging: 1 of 2 files"}}, 0.0)

    assert list(world.manager.lacking([MODEL])) == [(MODEL, f"is {HELD}")]


def test_what_is_still_arriving_can_be_held(world: World) -> None:
    world.staging.show({MODEL: {Version(1): "staging: 1 of 2 files"}}, 0.0)
    hold(world)
    follow(world, (1, "a"))

    assert not world.executor.loading
    assert (MODEL, None, "UNAVAILABLE", HELD) in world.index()


def test_what_was_never_asked_for_can_be_held(world: World) -> None:
    world.repository.put((1, "a"))
    hold(world)
    follow(world, (1, "a"))

    assert not world.executor.loading


def hold_what_served(world: World) -> None:
    follow(world, (1, "a"))
    world.loads(key(1))
    hold(world)
    world.drains(key(1))
    world.unloads(key(1))

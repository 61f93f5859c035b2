"""Loads in which each version stands alone: at start, and in poll mode."""

import threading

import pytest

from interlock.control.answers import LoadMovedError
from interlock.control.load_watch import OverTimeError
from interlock.control.quarantine import FIRST_DELAY_S, MAX_DELAY_S
from interlock.control.verifying import FilesMovedError
from interlock.control.wishes import End, LoadWish, Trouble
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from interlock.runtime.threads import spawn
from tests.support.control import MODEL, World, key, polled


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


def test_who_waits_hears_how_what_the_repository_has_by_then_ends(world: World) -> None:
    first, second = (
        LoadWish(polled(*found), alone=True, follows=True)
        for found in ([(1, "a")], [(1, "a"), (2, "a")])
    )
    world.inbox.put(first)
    world.manager.step()
    world.inbox.put(second)
    world.manager.step()
    world.loads(key(1))
    assert not first.outcome.done()

    world.loads(key(2))

    assert first.outcome.result(0) is None
    assert second.outcome.result(0) is None


def test_who_waits_hears_that_what_the_repository_has_by_then_failed(world: World) -> None:
    first, second = (
        LoadWish(polled((1, content)), alone=True, follows=True) for content in ("a", "b")
    )
    world.inbox.put(first)
    world.manager.step()
    world.inbox.put(second)
    world.manager.step()
    world.fails(key(1, 2))

    with pytest.raises(InvalidRequestError, match="version 1 is at UNAVAILABLE state"):
        first.outcome.result(0)


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
        (MODEL, 1, "READY", "serves in the place of version 2, 3, which failed"),
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


def test_what_failed_is_tried_again_after_a_while(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.passes(FIRST_DELAY_S - 1)
    assert not world.executor.loading
    world.passes(1)
    assert set(world.executor.loading) == {key(1, 2)}
    world.loads(key(1, 2))

    assert world.index() == [(MODEL, 1, "READY", "")]
    assert world.manager.due() is None


def test_each_failure_doubles_the_wait_up_to_a_limit(world: World) -> None:
    world.wish_alone((1, "a"))
    waits: list[float] = []
    for generation in range(1, 9):
        world.fails(key(1, generation))
        due = world.manager.due()
        assert due is not None
        waits.append(due - world.clock.now)
        world.passes(waits[-1])

    assert waits == [15, 30, 60, 120, 240, 480, 600, 600]
    assert waits[-1] == MAX_DELAY_S


def test_other_content_is_tried_at_once_and_begins_anew(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.passes(FIRST_DELAY_S)
    world.fails(key(1, 2))
    world.wish_alone((1, "b"))
    world.fails(key(1, 3))

    assert world.manager.due() == world.clock.now + FIRST_DELAY_S


def test_a_new_try_disturbs_nothing_that_serves(world: World) -> None:
    world.serve((1, "a"), (2, "a"))
    world.wish_alone((1, "b"), (2, "a"))
    world.fails(key(1, 2))
    world.passes(FIRST_DELAY_S)
    assert set(world.executor.loading) == {key(1, 3)}
    world.fails(key(1, 3))

    assert world.shown == {key(1), key(2)}
    assert not world.executor.draining


def test_nothing_is_tried_again_beside_a_load_that_somebody_waits_for(world: World) -> None:
    outcome = world.wish_alone((1, "a"), (2, "a"))
    world.fails(key(1))
    world.passes(FIRST_DELAY_S)
    assert set(world.executor.loading) == {key(2)}
    world.loads(key(2))
    assert outcome.done()
    world.passes(0)

    assert set(world.executor.loading) == {key(1, 2)}


def test_a_failed_load_of_all_or_nothing_is_not_tried_again(world: World) -> None:
    world.wish((1, "a"))
    world.fails(key(1))

    assert world.manager.due() is None


def test_a_load_that_hung_is_tried_again_on_request_only(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1), OverTimeError("given up"))
    assert world.manager.due() is None
    assert world.manager.story(MODEL, 1)[-1].reason.endswith("changes or somebody asks")
    world.retry()

    assert set(world.executor.loading) == {key(1, 2)}


def test_what_is_unloaded_or_stops_is_not_tried_again(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.unwish()
    assert world.manager.due() is None

    world.wish_alone((1, "b"))
    world.fails(key(1, 2))
    world.manager.stop()
    world.passes(FIRST_DELAY_S)

    assert not world.executor.loading
    assert world.manager.due() is None


def test_history_says_when_the_next_try_is(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.passes(FIRST_DELAY_S)
    world.fails(key(1, 2))

    told = [move.reason for move in world.manager.story(MODEL, 1) if move.after.value == "failed"]
    assert told == [
        "Internal: broken file; quarantined, next try in 15 s",
        "Internal: broken file; quarantined after 2 failures, next try in 30 s",
    ]
    view = world.manager.view(MODEL)
    assert view is not None
    state = view.generations[-1].state
    assert (state.failures, state.next_try) == (2, world.clock.now + 30)
    assert state.reason == "Internal: broken file"


def test_a_fallback_serves_until_the_new_try_does(world: World) -> None:
    world.wish_alone((2, "a"), fallbacks=[(1, "a")])
    world.fails(key(2))
    world.loads(key(1))
    world.passes(FIRST_DELAY_S)
    assert world.shown == {key(1)}
    world.loads(key(2, 2))

    assert world.shown == {key(2, 2)}
    assert set(world.executor.draining) == {key(1)}


def test_a_broken_fallback_keeps_its_quarantine_while_the_newest_is_tried(world: World) -> None:
    world.wish_alone((3, "a"), fallbacks=[(2, "a"), (1, "a")])
    world.fails(key(3))
    world.passes(1)
    world.fails(key(2))
    world.loads(key(1))
    world.passes(FIRST_DELAY_S - 1)
    world.fails(key(3, 2))

    assert not world.executor.loading
    assert world.manager.due() == world.clock.now + 1


def test_a_better_fallback_takes_over_from_a_worse_one(world: World) -> None:
    world.wish_alone((3, "a"), fallbacks=[(2, "a"), (1, "a")])
    world.fails(key(3))
    world.fails(key(2))
    world.loads(key(1))
    world.passes(FIRST_DELAY_S)
    world.loads(key(2, 2))
    world.fails(key(3, 2))

    assert world.shown == {key(2, 2)}
    assert set(world.executor.draining) == {key(1)}


def test_a_retry_on_request_does_not_wait(world: World) -> None:
    world.wish_alone((1, "a"), (2, "a"))
    world.fails(key(1))
    world.fails(key(2))
    outcome = world.retry(version=2)
    assert set(world.executor.loading) == {key(2, 2)}
    assert not outcome.done()
    world.loads(key(2, 2))

    assert outcome.result(0) is None
    assert world.shown == {key(2, 2)}


def test_a_retry_that_fails_says_why(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    outcome = world.retry()
    world.fails(key(1, 2))

    with pytest.raises(InvalidRequestError, match="version 1 is at UNAVAILABLE state: Internal"):
        outcome.result(0)


def test_a_retry_that_is_overtaken_is_told_so(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    outcome = world.retry()
    world.unwish()
    world.drops(key(1, 2))

    with pytest.raises(UnavailableError, match="overtaken"):
        outcome.result(0)


def test_a_retry_waits_for_the_try_that_is_under_way(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.passes(FIRST_DELAY_S)
    outcome = world.retry()
    world.loads(key(1, 2))

    assert outcome.result(0) is None


def test_a_retry_takes_what_was_found_for_it(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    outcome = world.retry(found=polled((1, "b")))
    assert set(world.executor.loading) == {key(1, 2)}
    world.loads(key(1, 2))

    assert outcome.result(0) is None


def test_a_retry_of_what_serves_is_refused(world: World) -> None:
    world.serve((1, "a"))

    with pytest.raises(InvalidRequestError, match="no version of model 'm' has failed"):
        world.retry().result(0)
    with pytest.raises(InvalidRequestError, match="version 1 of model 'm' has not failed"):
        world.retry(version=1).result(0)
    with pytest.raises(NotFoundError, match="unknown model: 'm' version 7 is not found"):
        world.retry(version=7).result(0)


def test_a_retry_of_what_could_not_be_read_says_why(world: World) -> None:
    broken = InternalError("no configuration")
    world.inbox.put(Trouble(MODEL, broken, broken))
    world.manager.step()

    with pytest.raises(InternalError, match="no configuration"):
        world.retry().result(0)


def test_the_manager_wakes_by_itself_for_the_next_try(world: World) -> None:
    began = threading.Event()
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.manager.subscribe(lambda: began.set() if world.executor.loading else None)
    world.clock.now += FIRST_DELAY_S - 0.01
    thread = spawn("manager under test", world.manager.run)
    world.clock.now += 1

    assert began.wait(30)
    world.inbox.put(End())
    thread.join(30)
    assert set(world.executor.loading) == {key(1, 2)}


def test_a_retry_of_what_nobody_knows_is_refused(world: World) -> None:
    with pytest.raises(NotFoundError, match="unknown model: 'm' is not found"):
        world.retry().result(0)


def test_a_server_that_stops_tries_nothing_again(world: World) -> None:
    world.wish_alone((1, "a"))
    world.fails(key(1))
    world.manager.stop()

    with pytest.raises(UnavailableError, match="stopping"):
        world.retry().result(0)

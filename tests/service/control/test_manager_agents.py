"""The manager and models that have repository agents, stepped by hand."""

from concurrent.futures import Future
from dataclasses import replace

import pytest

from interlock.control.lifecycle import Event, Phase
from interlock.control.reports import LoadDropped, LoadFailed, Progress, Remarked
from interlock.control.verifying import FilesMovedError
from interlock.control.wishes import LoadWish, Stop
from interlock.domain.config_agents import AgentConfig, Preparation
from interlock.domain.errors import InternalError, InvalidRequestError
from tests.support.control import World, key, polled
from tests.support.manager_agents import AgentsFake, let_pass

PREPARATION = Preparation((AgentConfig("checksum"),))
REASON = "Mismatched MD5 hash"


@pytest.fixture
def agents() -> AgentsFake:
    return AgentsFake()


@pytest.fixture
def world(agents: AgentsFake) -> World:
    return World(agents=agents)


def wish(world: World, *candidates: tuple[int, str], alone: bool = False) -> "Future[None]":
    found = replace(polled(*candidates), preparation=PREPARATION)
    wish = LoadWish(found, alone=alone)
    world.inbox.put(wish)
    world.manager.step()
    return wish.outcome


def test_agents_are_asked_for_all_versions_at_once_and_before_anything_is_built(
    world: World, agents: AgentsFake
) -> None:
    outcome = wish(world, (1, "a"), (2, "a"))

    assert agents.asked == [(key(1), key(2))]
    assert world.executor.loading == {}
    assert world.index() == [("m", 1, "LOADING", ""), ("m", 2, "LOADING", "")]
    assert [phase for _, phase in agents.moves] == [Phase.PREPARING] * 2
    assert not outcome.done()


def test_a_model_without_agents_is_none_of_their_business(world: World, agents: AgentsFake) -> None:
    world.serve((1, "a"))
    world.unwish()

    assert agents == AgentsFake()


def test_where_they_see_all_a_model_without_agents_is_their_business_too(
    world: World, agents: AgentsFake
) -> None:
    agents.sees_all = True
    world.inbox.put(LoadWish(polled((1, "a"))))
    world.manager.step()

    assert agents.asked == [(key(1),)]
    assert world.executor.loading == {}
    let_pass(world, agents, key(1))
    world.loads(key(1))
    assert world.shown == {key(1)}
    assert agents.moves[-1] == (key(1), Phase.READY)


def test_what_is_held_against_a_version_that_serves_stands_in_the_index(
    world: World, agents: AgentsFake
) -> None:
    wish(world, (1, "a"))
    world.inbox.put(Remarked(key(1), "policy: no"))
    let_pass(world, agents, key(1))
    world.loads(key(1))

    assert world.index() == [("m", 1, "READY", "policy: no")]
    assert world.manager.remarks("m") == ("policy: no",)
    assert world.manager.remarks("other") == ()

    outcome = wish(world, (1, "b"))
    world.inbox.put(LoadFailed(key(1, 2), InvalidRequestError(REASON)))
    world.manager.step()
    assert outcome.exception(0) is not None
    assert world.index() == [("m", 1, "READY", f"Invalid argument: {REASON}; policy: no")]

    world.inbox.put(Remarked(key(1), ""))
    world.inbox.put(Remarked(key(1, 9), "policy: too late"))
    world.manager.step()
    assert world.manager.remarks("m") == ()


def test_what_agents_refuse_is_answered_in_the_words_of_a_poll_and_the_old_one_serves(
    world: World, agents: AgentsFake
) -> None:
    world.serve((1, "a"))
    outcome = wish(world, (1, "b"))

    world.inbox.put(LoadFailed(key(1, 2), InvalidRequestError(REASON)))
    world.manager.step()

    error = outcome.exception(0)
    assert isinstance(error, InternalError)
    assert str(error) == f"failed to load 'm', failed to poll from model repository: {REASON}"
    assert world.shown == {key(1)}
    assert world.index() == [("m", 1, "READY", f"Invalid argument: {REASON}")]
    assert agents.moves[-1] == (key(1, 2), Phase.FAILED)


def test_what_fails_when_it_is_built_is_answered_as_ever(world: World, agents: AgentsFake) -> None:
    outcome = wish(world, (1, "a"))
    let_pass(world, agents, key(1))

    world.fails(key(1), InvalidRequestError("broken"))

    assert str(outcome.exception(0)).startswith("load failed for model 'm': version 1 is at")


def test_files_that_moved_under_the_agents_are_not_held_against_them(world: World) -> None:
    outcome = wish(world, (1, "a"))

    world.inbox.put(LoadFailed(key(1), FilesMovedError("moved")))
    world.manager.step()

    assert str(outcome.exception(0)).startswith("load failed for model 'm': version 1 is at")


def test_what_is_no_longer_wanted_does_not_wait_for_its_agents(
    world: World, agents: AgentsFake
) -> None:
    wish(world, (1, "a"))

    outcome = world.unwish()

    assert outcome.result(0) is None
    assert agents.moves[-1] == (key(1), Phase.UNLOADED)
    world.inbox.put(Progress(key(1), Event.LOAD))
    world.manager.step()
    assert world.index() == [("m", 1, "UNAVAILABLE", "unloaded")]


def test_newer_content_does_not_wait_for_the_agents_of_older_content(
    world: World, agents: AgentsFake
) -> None:
    wish(world, (1, "a"), alone=True)
    wish(world, (1, "b"), alone=True)

    assert agents.asked == [(key(1),), (key(1, 2),)]
    assert (key(1), Phase.UNLOADED) in agents.moves


def test_at_the_end_agents_are_told_to_drop_what_waits(world: World, agents: AgentsFake) -> None:
    outcome = wish(world, (1, "a"))
    world.inbox.put(Stop())
    world.manager.step()
    assert agents.dropped >= 1

    world.inbox.put(LoadDropped(key(1)))
    world.manager.step()

    assert outcome.exception(0) is not None
    assert agents.moves[-1] == (key(1), Phase.UNLOADED)


def test_a_change_of_the_configuration_alone_is_a_load_of_its_own(
    world: World, agents: AgentsFake
) -> None:
    """What it comes to is known once the agents have been asked."""
    wish(world, (1, "a"))
    let_pass(world, agents, key(1))
    world.loads(key(1))
    assert world.shown == {key(1)}

    wish(world, (1, "b"))

    assert agents.asked == [(key(1),), (key(1, 2),)]
    assert world.shown == {key(1)}

"""The manager and what the policy wants of it after a change, stepped by hand."""

from dataclasses import replace
from functools import partial

import pytest

from interlock.control.lifecycle import Phase
from interlock.control.load_parameters import Parameter
from interlock.control.reports import LoadFailed, Remarked
from interlock.control.wishes import LoadWish, ReviewWish, RollbackWish, Stop
from interlock.domain.errors import ExhaustedError, InvalidRequestError, UnavailableError
from interlock.domain.ids import GenerationKey, Version
from interlock.runtime.threads import spawn
from tests.support.control import MODEL, World, key, polled
from tests.support.manager_agents import AgentsFake, let_pass
from tests.support.wire import eventually

ONE, AGAIN, TWO = key(1), key(1, 2), key(2)
REASON = "policy: no"


@pytest.fixture
def agents() -> AgentsFake:
    return AgentsFake(sees_all=True)


@pytest.fixture
def world(agents: AgentsFake) -> World:
    return World(agents=agents)


def serve(
    world: World, agents: AgentsFake, *candidates: tuple[int, str], alone: bool = False
) -> None:
    world.inbox.put(LoadWish(polled(*candidates), alone=alone))
    world.manager.step()
    for of in agents.asked[-1]:
        let_pass(world, agents, of)
    world.loads(*agents.asked[-1])


def review(
    world: World,
    *,
    renewed: tuple[GenerationKey, ...] = (),
    withdrawn: tuple[GenerationKey, ...] = (),
    retried: tuple[int, ...] = (),
) -> ReviewWish:
    wish = ReviewWish(
        MODEL,
        frozenset(renewed),
        frozenset(map(Version, retried)),
        frozenset(withdrawn),
    )
    world.inbox.put(wish)
    world.manager.step()
    return wish


def refuse(world: World, of: GenerationKey) -> None:
    world.inbox.put(LoadFailed(of, InvalidRequestError(REASON)))
    world.manager.step()


def goes(world: World, of: GenerationKey) -> None:
    world.drains(of)
    world.unloads(of)


def test_what_is_renewed_serves_until_its_successor_does(world: World, agents: AgentsFake) -> None:
    serve(world, agents, (1, "a"))

    wish = review(world, renewed=(ONE,))

    assert wish.outcome.result(0) is None
    assert agents.asked[-1] == (AGAIN,)
    assert world.shown == {ONE}
    let_pass(world, agents, AGAIN)
    world.loads(AGAIN)
    assert world.shown == {AGAIN}
    goes(world, ONE)
    assert world.index() == [("m", 1, "READY", "")]


def test_what_is_renewed_and_refused_leaves_what_serves(world: World, agents: AgentsFake) -> None:
    serve(world, agents, (1, "a"))
    review(world, renewed=(ONE,))

    refuse(world, AGAIN)

    assert world.shown == {ONE}
    assert world.index() == [("m", 1, "READY", f"Invalid argument: {REASON}")]


def test_while_something_is_under_way_nothing_is_renewed(world: World, agents: AgentsFake) -> None:
    serve(world, agents, (1, "a"))
    world.inbox.put(LoadWish(polled((1, "b"))))
    world.manager.step()

    wish = review(world, renewed=(ONE,))

    assert isinstance(wish.outcome.exception(0), UnavailableError)
    assert agents.asked[-1] == (AGAIN,)


@pytest.mark.parametrize("alone", [True, False])
def test_what_the_repository_has_no_more_is_not_renewed(
    world: World, agents: AgentsFake, alone: bool
) -> None:
    serve(world, agents, (1, "a"), alone=alone)
    world.inbox.put(LoadWish(polled((1, "b")), alone=alone))
    world.manager.step()
    refuse(world, AGAIN)
    asked = list(agents.asked)

    wish = review(world, renewed=(ONE, key(7)))

    assert wish.outcome.result(0) is None
    assert agents.asked == asked
    assert world.shown == {ONE}


def test_files_that_were_touched_are_renewed_as_they_are_now(
    world: World, agents: AgentsFake
) -> None:
    serve(world, agents, (1, "a"), alone=True)
    found = polled((1, "a"))
    touched = replace(found.candidates[0], observed="touched")
    world.wish_for(replace(found, candidates=(touched,)), alone=True)

    review(world, renewed=(ONE,))

    assert agents.jobs[AGAIN].fingerprint == "touched"


@pytest.mark.parametrize("alone", [True, False])
def test_what_is_withdrawn_goes_at_once_and_its_heir_says_why(
    world: World, agents: AgentsFake, alone: bool
) -> None:
    serve(world, agents, (1, "a"), (2, "a"), alone=alone)
    world.inbox.put(Remarked(ONE, REASON, is_contested=True))
    review(world, withdrawn=(ONE,))

    assert world.shown == {TWO}
    assert world.manager.story("m", 1)[-1].reason == f"withdrawn: {REASON}"
    refuse(world, AGAIN)
    goes(world, ONE)

    assert world.index() == [
        ("m", 1, "UNAVAILABLE", f"Invalid argument: {REASON}"),
        ("m", 2, "READY", ""),
    ]
    assert world.manager.strictly_ready()


def test_what_was_withdrawn_is_not_loaded_again_with_the_same_content(
    world: World, agents: AgentsFake
) -> None:
    serve(world, agents, (1, "a"), alone=True)
    review(world, withdrawn=(ONE,))
    refuse(world, AGAIN)
    goes(world, ONE)
    asked = list(agents.asked)

    world.wish_for(polled((1, "a")), alone=True)
    assert agents.asked == asked
    world.passes(20.0)
    assert agents.asked[-1] == (key(1, 3),)
    refuse(world, key(1, 3))

    assert world.manager.strictly_ready()
    world.wish_for(polled((1, "b")), alone=True)
    refuse(world, key(1, 4))
    assert not world.manager.strictly_ready()


def test_what_was_renewed_in_vain_is_withdrawn_without_another_try(
    world: World, agents: AgentsFake
) -> None:
    serve(world, agents, (1, "a"))
    review(world, renewed=(ONE,))
    refuse(world, AGAIN)

    review(world, withdrawn=(ONE,))

    assert world.shown == set()
    assert agents.asked[-1] == (AGAIN,)
    goes(world, ONE)
    assert world.index() == [("m", 1, "UNAVAILABLE", f"Invalid argument: {REASON}")]
    assert world.manager.strictly_ready()


def test_what_agents_let_pass_and_had_no_room_is_loaded_once_there_is_some(
    world: World, agents: AgentsFake
) -> None:
    serve(world, agents, (1, "a"))
    review(world, renewed=(ONE,))
    let_pass(world, agents, AGAIN)
    world.fails(AGAIN, ExhaustedError("it does not fit into memory"))

    review(world, withdrawn=(ONE,))

    third = key(1, 3)
    assert agents.asked[-1] == (AGAIN,)
    goes(world, ONE)
    assert agents.asked[-1] == (third,)
    let_pass(world, agents, third)
    world.loads(third)
    assert world.index() == [("m", 1, "READY", "")]


def test_what_only_stands_by_is_withdrawn_and_has_no_heir(agents: AgentsFake) -> None:
    world = World(agents=agents, window_s=60.0)
    serve(world, agents, (1, "a"))
    serve(world, agents, (1, "b"))
    assert world.executor.draining == {}

    review(world, withdrawn=(ONE,))

    assert set(world.executor.draining) == {ONE}
    assert world.shown == {AGAIN}
    assert agents.asked[-1] == (AGAIN,)


def test_what_was_renewed_does_not_stand_by(agents: AgentsFake) -> None:
    world = World(agents=agents, window_s=60.0)
    serve(world, agents, (1, "a"))
    review(world, renewed=(ONE,))

    let_pass(world, agents, AGAIN)
    world.loads(AGAIN)

    assert set(world.executor.draining) == {ONE}
    assert world.shown == {AGAIN}


def test_a_load_of_what_is_contested_begins_anew(world: World, agents: AgentsFake) -> None:
    serve(world, agents, (1, "a"))
    world.wish((1, "a"))
    assert agents.asked[-1] == (ONE,)

    world.inbox.put(Remarked(ONE, REASON, is_contested=True))
    world.wish((1, "a"))

    assert agents.asked[-1] == (AGAIN,)
    assert world.shown == {ONE}


@pytest.mark.parametrize("alone", [True, False])
def test_another_policy_brings_back_what_was_withdrawn(
    world: World, agents: AgentsFake, alone: bool
) -> None:
    serve(world, agents, (1, "a"), alone=alone)
    review(world, withdrawn=(ONE,))
    refuse(world, AGAIN)
    goes(world, ONE)

    review(world, retried=(1,))

    assert agents.asked[-1] == (key(1, 3),)
    let_pass(world, agents, key(1, 3))
    world.loads(key(1, 3))
    assert world.index() == [("m", 1, "READY", "")]


def test_another_policy_does_not_try_again_what_a_load_in_explicit_mode_failed_by(
    world: World, agents: AgentsFake
) -> None:
    world.wish((1, "a"))
    refuse(world, ONE)

    review(world, retried=(1,))

    assert agents.asked == [(ONE,)]


def test_what_goes_while_a_successor_loads_is_gone_whatever_becomes_of_that(
    world: World, agents: AgentsFake
) -> None:
    serve(world, agents, (1, "a"))
    world.inbox.put(LoadWish(polled((1, "b"))))
    world.manager.step()

    review(world, withdrawn=(ONE,))

    assert world.shown == set()
    let_pass(world, agents, AGAIN)
    world.loads(AGAIN)
    assert world.shown == {AGAIN}


def test_a_rollback_to_what_was_withdrawn_is_seen_by_agents_again(
    world: World, agents: AgentsFake
) -> None:
    serve(world, agents, (1, "a"))
    content = world.manager.view("m").past.now[0]  # type: ignore[union-attr]  # it is there
    review(world, withdrawn=(ONE,))
    refuse(world, AGAIN)
    goes(world, ONE)

    world.inbox.put(RollbackWish(MODEL, (content,)))
    world.manager.step()

    assert agents.asked[-1] == (key(1, 3),)
    assert agents.moves[-1] == (key(1, 3), Phase.PREPARING)


def test_a_configuration_of_a_load_that_goes_does_not_stick(
    world: World, agents: AgentsFake
) -> None:
    world.repository.put((1, "a"))

    def load(**parameters: Parameter) -> GenerationKey:
        thread = spawn("load", partial(world.manager.load, "m", parameters))
        eventually(lambda: bool(world.manager.step()))
        of = agents.asked[-1][0]
        let_pass(world, agents, of)
        world.loads(of)
        thread.join()
        return of

    overriding = load(config="{}")
    review(world, withdrawn=(overriding,))
    refuse(world, AGAIN)

    load()

    assert [look.config for look in world.repository.looks] == ["{}", None]


def test_what_nobody_knows_and_what_comes_too_late_changes_nothing(
    world: World, agents: AgentsFake
) -> None:
    assert review(world, renewed=(ONE,), withdrawn=(ONE,)).outcome.result(0) is None
    serve(world, agents, (1, "a"))
    world.inbox.put(Stop())

    assert review(world, withdrawn=(ONE,)).outcome.result(0) is None

    assert world.shown == {ONE}

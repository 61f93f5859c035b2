"""A version that serves gets the instances that its new configuration asks for."""

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from interlock.control.answers import LoadMovedError
from interlock.control.chronicle import AuditChronicle
from interlock.control.lifecycle import Phase
from interlock.control.preview import preview
from interlock.control.rollback import target_of
from interlock.control.verifying import FilesMovedError
from interlock.control.wishes import Candidate, Polled, RollbackWish, UnloadWish
from interlock.domain.cause import Cause, Deed
from interlock.domain.config import ModelConfig
from interlock.domain.description import Effect
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.ids import ModelName, Version
from interlock.telemetry.audit import AuditEvent
from tests.support.control import MODEL, World, key
from tests.support.running import config_of

COUNTS = (1, 2, 3)


def config(count: int = 1, extra: str = "") -> ModelConfig:
    return config_of(
        f'backend: "identity" instance_group {{ count: {count} kind: KIND_CPU }} {extra}'
    )


def found(
    *versions: int, config: ModelConfig, print_: str = "", body: str = "b", origin: str = ""
) -> Polled:
    """Versions whose files differ in nothing but the configuration."""
    fingerprint = print_ or f"{config.message!r}"
    return Polled(
        model=ModelName(MODEL),
        config=config,
        directory=Path("/models/m"),
        candidates=tuple(
            Candidate(Version(version), f"{fingerprint} {version}", "", f"{body} {version}")
            for version in versions
        ),
        origin=origin,
    )


@pytest.fixture
def world() -> World:
    """Version 1 serves with one instance."""
    world = World()
    world.wish_for(found(1, config=config(1)))
    world.loads(key(1))
    return world


def shown_count(world: World, version: int = 1) -> int:
    served = world.table.find(MODEL, str(version))
    return served.config.instance_groups[0].count


def reasons(world: World) -> list[str]:
    return [move.reason for move in world.manager.story(MODEL, 1)]


def test_it_serves_as_before_while_its_instances_are_built(world: World) -> None:
    before = world.table.find(MODEL, "1")

    outcome = world.wish_for(found(1, config=config(3)))

    assert not outcome.done()
    assert world.executor.loading == {}
    assert world.table.find(MODEL, "1") is before
    ((job, served),) = world.executor.adjusting
    assert (job.config.instance_groups[0].count, served) == (3, before)


def test_the_new_instances_take_over_and_the_generation_stays(world: World) -> None:
    outcome = world.wish_for(found(1, config=config(3)))
    update = world.prepares()

    assert outcome.result(0) is None
    assert world.shown == {key(1)}
    assert shown_count(world) == 3
    assert update is not None
    assert update.is_applied
    assert world.executor.cleared == [update]
    assert world.executor.draining == {}
    assert reasons(world)[-1] == "changed in place: 0 instances as before"
    assert world.index() == [(MODEL, 1, "READY", "")]


def test_the_same_again_is_nothing_to_do(world: World) -> None:
    world.wish_for(found(1, config=config(3)))
    world.prepares()

    assert world.wish_for(found(1, config=config(3))).done()
    assert world.executor.adjusting == []


def test_what_means_the_same_changes_nothing(world: World) -> None:
    outcome = world.wish_for(found(1, config=config(1), print_="with a comment"))

    assert outcome.result(0) is None
    assert (world.executor.adjusting, world.executor.loading) == ([], {})
    assert world.shown == {key(1)}
    view = world.manager.view(MODEL)
    assert view is not None
    assert view.generations[0].fingerprint == "with a comment 1"


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(found(1, config=config(1, "max_batch_size: 4")), id="another field"),
        pytest.param(found(1, config=config(3), body="other"), id="other files"),
        pytest.param(
            replace(
                found(1, config=config(3)),
                candidates=(Candidate(Version(1), "files that nobody knows"),),
            ),
            id="files that are not known",
        ),
    ],
)
def test_anything_else_is_loaded(world: World, wanted: Polled) -> None:
    world.wish_for(wanted)

    assert world.executor.loading.keys() == {key(1, 2)}
    assert world.executor.adjusting == []


def test_a_load_with_force_is_a_load(world: World) -> None:
    world.manager._units[ModelName(MODEL)].aspire(found(1, config=config(3)), force=True)

    assert world.manager._units[ModelName(MODEL)].aspired == {key(1, 2)}


def test_what_cannot_be_had_leaves_all_as_it_was_and_says_why(world: World) -> None:
    outcome = world.wish_for(found(1, config=config(3)))
    world.prepares(error=InternalError("no room"))

    error = outcome.exception(0)
    assert str(error) == (
        "load failed for model 'm': version 1 is at READY state: Internal: no room;\n"
    )
    assert shown_count(world) == 1
    assert world.index() == [(MODEL, 1, "READY", "Internal: no room")]
    assert reasons(world)[-1] == "instances as before: Internal: no room"
    assert world.manager.strictly_ready()


def test_whoever_asks_again_has_it_tried_again(world: World) -> None:
    world.wish_for(found(1, config=config(3)))
    world.prepares(error=InternalError("no room"))

    outcome = world.wish_for(found(1, config=config(3)))
    world.prepares()

    assert outcome.result(0) is None
    assert world.index() == [(MODEL, 1, "READY", "")]


def test_where_each_stands_alone_the_same_is_not_tried_again(world: World) -> None:
    world.wish_for(found(1, config=config(3)), alone=True)
    world.prepares(error=InternalError("no room"))

    world.wish_for(found(1, 2, config=config(3)), alone=True)

    assert world.executor.adjusting == []
    assert world.executor.loading.keys() == {key(2)}


def test_a_retry_gets_the_instances_after_all(world: World) -> None:
    world.wish_for(found(1, config=config(3)), alone=True)
    world.prepares(error=InternalError("no room"))

    first = world.retry()
    assert not first.done()
    world.prepares(error=InternalError("still no room"))
    second = world.retry(version=1)
    world.prepares()

    assert str(first.exception(0)) == (
        "load failed for model 'm': version 1 is at READY state: Internal: still no room;\n"
    )
    assert second.result(0) is None
    assert shown_count(world) == 3
    assert world.index() == [(MODEL, 1, "READY", "")]


def test_there_is_nothing_to_retry_where_the_instances_were_changed(world: World) -> None:
    world.wish_for(found(1, config=config(3)), alone=True)
    world.prepares()

    assert world.retry().exception(0) is not None
    assert world.executor.adjusting == []


def test_files_that_move_meanwhile_are_a_reason_to_look_again(world: World) -> None:
    outcome = world.wish_for(found(1, config=config(3)), alone=True)
    world.prepares(error=FilesMovedError("moved"))
    assert isinstance(outcome.exception(0), LoadMovedError)

    world.wish_for(found(1, config=config(3)), alone=True)

    assert len(world.executor.adjusting) == 1


def test_going_back_ends_the_reason(world: World) -> None:
    world.wish_for(found(1, config=config(3)))
    world.prepares(error=InternalError("no room"))

    world.wish_for(found(1, config=config(1), print_="as before"))

    assert world.index() == [(MODEL, 1, "READY", "")]


def test_the_newest_wish_wins(world: World) -> None:
    world.wish_for(found(1, config=config(3)), alone=True)
    world.wish_for(found(1, config=config(2)), alone=True)
    late = world.prepares()

    assert late is not None
    assert not late.is_applied
    assert world.executor.cleared == [late]
    world.prepares()
    assert shown_count(world) == 2


def test_a_change_that_is_taken_back_meanwhile_is_given_up(world: World) -> None:
    world.wish_for(found(1, config=config(3)), alone=True)
    world.wish_for(found(1, config=config(1)), alone=True)
    late = world.prepares()

    assert world.executor.cleared == [late]
    assert shown_count(world) == 1


def test_an_unload_does_not_wait_for_it(world: World) -> None:
    world.wish_for(found(1, config=config(3)))
    outcome = world.unwish()

    assert outcome.result(0) is None
    assert world.executor.draining.keys() == {key(1)}
    late = world.prepares()
    assert late is not None
    assert not late.is_applied
    assert world.executor.cleared == [late]
    world.drains(key(1))
    world.unloads(key(1))
    assert world.index() == [(MODEL, 1, "UNAVAILABLE", "unloaded")]


def test_a_late_update_of_a_version_that_is_forgotten_is_cleared_away(world: World) -> None:
    world.wish_for(found(1, config=config(3)))
    world.unwish()
    world.drains(key(1))
    world.unloads(key(1))
    world.wish_for(found(1, config=config(1)))

    late = world.prepares()

    assert world.executor.cleared == [late]
    assert key(1) not in world.manager._units[ModelName(MODEL)].records


@pytest.fixture
def two() -> World:
    """Versions 1 and 2 serve with one instance each."""
    world = World()
    world.wish_for(found(1, 2, config=config(1)))
    world.loads(key(1), key(2))
    return world


def test_versions_change_together(two: World) -> None:
    two.wish_for(found(1, 2, config=config(3)))
    two.prepares()
    assert (shown_count(two, 1), shown_count(two, 2)) == (1, 1)

    two.prepares()

    assert (shown_count(two, 1), shown_count(two, 2)) == (3, 3)


def test_or_not_at_all(two: World) -> None:
    outcome = two.wish_for(found(1, 2, config=config(3)))
    first = two.prepares()
    two.prepares(error=InternalError("no room"))

    assert str(outcome.exception(0)) == (
        "load failed for model 'm': version 2 is at READY state: Internal: no room;\n"
    )
    assert (shown_count(two, 1), shown_count(two, 2)) == (1, 1)
    assert two.executor.cleared == [first]


def test_a_change_waits_for_a_version_that_is_loaded_with_it(world: World) -> None:
    outcome = world.wish_for(found(1, 2, config=config(3)))
    update = world.prepares()
    assert shown_count(world) == 1

    world.fails(key(2))

    assert "version 2 is at UNAVAILABLE state" in str(outcome.exception(0))
    assert shown_count(world) == 1
    assert world.executor.cleared == [update]


def test_where_each_stands_alone_nothing_waits(two: World) -> None:
    outcome = two.wish_for(found(1, 2, config=config(3)), alone=True)
    two.prepares()
    assert (shown_count(two, 1), shown_count(two, 2)) == (3, 1)

    two.prepares(error=InternalError("no room"))

    assert outcome.exception(0) is not None
    assert (shown_count(two, 1), shown_count(two, 2)) == (3, 1)


def test_a_policy_that_selects_less_takes_away_and_changes_at_once(two: World) -> None:
    outcome = two.wish_for(found(2, config=config(3)))
    assert two.shown == {key(1), key(2)}

    two.prepares()

    assert outcome.result(0) is None
    assert two.shown == {key(2)}
    assert shown_count(two, 2) == 3


def test_a_policy_that_selects_more_loads_beside_what_serves(world: World) -> None:
    policy = "version_policy: { all {} }"
    outcome = world.wish_for(found(1, 2, config=config(1, policy)), alone=True)
    world.prepares()
    assert world.executor.loading.keys() == {key(2)}
    world.loads(key(2))

    assert outcome.result(0) is None
    assert world.shown == {key(1), key(2)}
    assert all(
        "all" in str(world.table.find(MODEL, version).config.version_policy) for version in "12"
    )


def test_a_configuration_of_the_request_s_own_is_taken_over_in_place(world: World) -> None:
    world.wish_for(found(1, config=config(2), origin="config override"))
    world.prepares()

    assert world.shown == {key(1)}
    assert world.manager._units[ModelName(MODEL)].records[key(1)].origin == "config override"


def test_at_the_end_what_is_prepared_is_given_back(world: World) -> None:
    world.wish_for(found(1, 2, config=config(3)))
    update = world.prepares()

    world.unwish()

    assert world.executor.cleared == [update]


def previewed(world: World, polled: Polled) -> list[tuple[int, Effect, str]]:
    view = world.manager.view(MODEL)
    assert view is not None
    return [
        (step.key.generation, step.effect, step.reason.split(" ")[0])
        for step in preview(view, polled)
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(found(1, config=config(3)), [(1, Effect.ADJUST, "of")], id="instances"),
        pytest.param(
            found(1, config=config(1), print_="x"), [(1, Effect.KEEP, "its")], id="a comment"
        ),
        pytest.param(
            found(1, config=config(3), body="other"),
            [(1, Effect.UNLOAD, "replaced"), (2, Effect.LOAD, "its")],
            id="other files",
        ),
    ],
)
def test_a_plan_tells_what_is_changed_in_place(
    world: World, wanted: Polled, expected: list[tuple[int, Effect, str]]
) -> None:
    assert previewed(world, wanted) == expected
    assert world.manager._units[ModelName(MODEL)].records[key(1)].phase is Phase.READY


def rolled_back(world: World, version: int | None = None) -> "Future[None]":
    """Roll back and step."""
    view = world.manager.view(MODEL)
    assert view is not None
    target = target_of(view.model, view.past, None if version is None else Version(version))
    wish = RollbackWish(view.model, target)
    world.inbox.put(wish)
    world.manager.step()
    return wish.outcome


@pytest.fixture
def warm() -> World:
    """Version 1 serves with one instance, and what is replaced stands by."""
    world = World(window_s=60.0)
    world.wish_for(found(1, config=config(1)))
    world.loads(key(1))
    return world


def test_what_stands_by_asks_for_no_other_instances(warm: World) -> None:
    warm.wish_for(found(1, config=config(3)))
    warm.wish_for(found(2, config=config(1)))
    warm.loads(key(2))

    outcome = rolled_back(warm)

    assert outcome.done()
    assert shown_count(warm) == 1
    update = warm.prepares()
    assert warm.executor.cleared == [update]
    assert shown_count(warm) == 1
    assert warm.manager.step() == ()


def test_a_change_in_place_is_nothing_to_go_back_from(warm: World) -> None:
    warm.wish_for(found(1, config=config(3)))
    warm.prepares()
    with pytest.raises(InvalidRequestError, match="nothing served before"):
        rolled_back(warm)

    warm.wish_for(found(2, config=config(1)))
    warm.loads(key(2))
    rolled_back(warm)

    assert shown_count(warm) == 3


def test_a_cold_rollback_has_the_instances_that_served_last(world: World) -> None:
    world.wish_for(found(1, config=config(3)))
    world.prepares()
    world.wish_for(found(2, config=config(1)))
    world.loads(key(2))
    world.drains(key(1))
    world.unloads(key(1))

    rolled_back(world)

    assert world.executor.loading[key(1, 2)].config == config(3)


def test_a_rollback_comes_true_though_other_instances_could_not_be_had(warm: World) -> None:
    warm.wish_for(found(1, 2, config=config(1)))
    warm.loads(key(2))
    warm.wish_for(found(1, 2, config=config(3)))
    warm.prepares(error=InternalError("no room"))
    warm.prepares(error=InternalError("no room"))

    outcome = rolled_back(warm)

    assert outcome.exception(0) is None
    assert {one.version for one in warm.shown} == {1}


def test_the_audit_log_tells_of_a_failure_whoever_asks_for_something_else_meanwhile() -> None:
    told: list[AuditEvent] = []
    chronicle = AuditChronicle(
        told.append, digest_of=lambda _key, _print: "", verdict_of=lambda _key: None
    )
    world = World(chronicle=chronicle)
    world.wish_for(found(1, config=config(1)))
    world.loads(key(1))
    world.wish_for(found(1, config=config(3)))
    told.clear()

    world.inbox.put(UnloadWish(ModelName(MODEL), cause=Cause(Deed.UNLOAD)))
    world.prepares(error=InternalError("no memory"))

    assert [(one.what, one.outcome) for one in told] == [("load", "failed"), ("unload", "ok")]

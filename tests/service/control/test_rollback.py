"""What a rollback goes back to, and what the manager makes of it."""

from concurrent.futures import Future
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from interlock.control.index import ModelView
from interlock.control.lifecycle import Phase
from interlock.control.reports import Loaded
from interlock.control.rollback import Content, Past, target_of
from interlock.control.wishes import LoadWish, ReleaseWish, RollbackWish, UnloadAll, UnloadWish
from interlock.domain.config import SWAP_POLICY, ModelConfig
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.serving.load_job import LoadJob
from tests.support.control import MODEL, World, key, polled, served

WINDOW_S = 60.0
HELD = (
    "held: rolled back to version 1, until the model's content changes, a load names the model or "
    "the hold is released"
)


def content(of: GenerationKey, fingerprint: str = "a") -> Content:
    found = polled(model=of.model)
    return Content(LoadJob(of, found.config, found.directory), fingerprint)


def past_of(*changes: tuple[Content, ...]) -> Past:
    """The past of a model that served these sets of contents, one after the other."""
    past = Past()
    for serving in changes:
        past = past.at_a_change()
        for new in serving:
            if new not in past.now:
                past = past.shown(new)
        for old in past.now:
            if old not in serving:
                past = past.gone(old.key)
    return past


A1, A2, A3 = content(key(1)), content(key(2)), content(key(3))
B1 = content(key(1, 2), "b")


@pytest.mark.parametrize(
    ("past", "version", "expected"),
    [
        pytest.param(past_of((A1,), (A2,)), None, (A1,), id="what served before"),
        pytest.param(past_of((A1,), (B1,)), None, (A1,), id="the former content of the version"),
        pytest.param(past_of((A1,), (A2,), (A3,)), None, (A2,), id="the last change only"),
        pytest.param(past_of((A1,), (A2,), (A3,)), 1, (A1,), id="or a version that is named"),
        pytest.param(past_of((A1, A2), (B1, A2)), None, (A1, A2), id="all that served before"),
        pytest.param(past_of((A1, A2), (B1, A2)), 1, (A1, A2), id="a version beside others"),
        pytest.param(past_of((A1,), ()), None, (A1,), id="what was unloaded"),
        pytest.param(past_of((A1,), (), (A2,)), None, (A1,), id="what served before a gap"),
        pytest.param(past_of((A1,), (A2,), (), (A2,)), None, (A1,), id="not what serves again"),
        pytest.param(past_of((A1,), (A2,), (), (A2,), ()), None, (A2,), id="what went twice"),
        pytest.param(past_of((A1,), (A1, A2)), None, (A1,), id="what was without an addition"),
        pytest.param(past_of((A2,), (A2, A1), (A3,)), None, (A1, A2), id="all, by version"),
        pytest.param(past_of((A1,), (B1,), (A1,)), None, (B1,), id="there and back"),
        pytest.param(past_of((A1,), (B1,), (A1,)), 1, (B1,), id="the other content"),
    ],
)
def test_a_rollback_goes_to(past: Past, version: int | None, expected: tuple[Content, ...]) -> None:
    assert target_of(MODEL, past, None if version is None else Version(version)) == expected


@pytest.mark.parametrize(
    "past",
    [
        pytest.param(past_of((A1,)), id="the first"),
        pytest.param(past_of((A1,), (), (A1,)), id="the first, twice"),
        pytest.param(past_of((A1,), (content(key(1, 2)),)), id="the first, loaded anew"),
    ],
)
def test_there_is_nothing_before_the_first(past: Past) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        target_of(MODEL, past, None)

    assert str(caught.value) == (
        "failed to roll back model 'm': nothing served before what serves now"
    )


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_has_no_other_content_is_refused(version: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        target_of(MODEL, past_of((A1,)), Version(version))

    assert str(caught.value) == (
        f"failed to roll back model 'm': no other content of version {version} has served; except "
        f"in mode poll, a load with the parameter 'versions' loads version {version} as it is in "
        "the repository"
    )


def test_what_is_remembered_of_versions_has_an_end() -> None:
    past = past_of(*((content(key(version)),) for version in range(1, 100)))

    assert sorted(past.contents) == list(range(84, 100))
    assert target_of(MODEL, past, None)[0].version == 98


class Back(World):
    """A world that can go back."""

    def view(self) -> ModelView:
        view = self.manager.view(MODEL)
        assert view is not None
        return view

    def roll_back(self, version: int | None = None) -> "Future[None]":
        """Wish for what a rollback goes to, and step."""
        target = target_of(
            ModelName(MODEL), self.view().past, None if version is None else Version(version)
        )
        wish = RollbackWish(MODEL, target)
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome

    def follow(self, *candidates: tuple[int, str]) -> "Future[None]":
        """Wish for what the repository has, as the poller does, and step."""
        wish = LoadWish(polled(*candidates), alone=True, follows=True)
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome

    def serve_alone(self, *candidates: tuple[int, str]) -> None:
        self.follow(*candidates)
        self.loads(*self.executor.loading)

    def goes_away(self) -> None:
        """Let everything that leaves be gone."""
        while self.executor.draining:
            self.drains(next(iter(self.executor.draining)))
        while self.executor.unloading:
            self.unloads(next(iter(self.executor.unloading)))

    def phases(self) -> dict[str, str]:
        return {
            f"{one.state.key.version}#{one.state.key.generation}": one.state.phase.value
            for one in self.view().generations
        }

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.manager.step()


@pytest.fixture
def warm() -> Back:
    """A world with a rollback window."""
    return Back(window_s=WINDOW_S)


@pytest.fixture
def cold() -> Back:
    return Back()


def test_without_a_window_what_is_replaced_goes(cold: Back) -> None:
    cold.serve((1, "a"))
    cold.serve((1, "b"))

    assert cold.phases() == {"1#1": "draining", "1#2": "ready"}
    assert cold.manager.due() is None


def test_what_is_replaced_stands_by_for_the_window(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))

    assert warm.phases() == {"1#1": "standby", "1#2": "ready"}
    assert warm.shown == {key(1, 2)}
    assert warm.manager.due() == warm.clock.now + WINDOW_S
    assert warm.manager.strictly_ready()

    warm.passes(WINDOW_S - 1)
    assert warm.phases()["1#1"] == "standby"
    warm.passes(1)
    assert warm.phases()["1#1"] == "draining"
    assert warm.manager.due() is None


def test_another_version_that_is_replaced_stands_by_as_well(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((2, "a"))

    assert warm.phases() == {"1#1": "standby", "2#1": "ready"}
    assert ("m", 1, "UNLOADING", "") in warm.index()


def test_the_next_change_ends_the_standby_of_the_one_before(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((2, "a"))
    warm.wish((3, "a"))
    assert warm.phases() == {"1#1": "standby", "2#1": "ready", "3#1": "loading"}

    warm.loads(key(3))

    assert warm.phases() == {"1#1": "draining", "2#1": "standby", "3#1": "ready"}


def test_versions_that_change_one_after_the_other_stand_by_together(warm: Back) -> None:
    warm.serve_alone((1, "a"), (2, "a"))
    warm.follow((1, "b"), (2, "b"))

    warm.loads(key(1, 2))
    warm.loads(key(2, 2))

    assert warm.phases() == {"1#1": "standby", "1#2": "ready", "2#1": "standby", "2#2": "ready"}


def test_a_load_that_fails_leaves_what_stands_by_alone(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))
    warm.wish((1, "c"))
    warm.fails(key(1, 3))

    assert warm.phases()["1#1"] == "standby"
    assert warm.shown == {key(1, 2)}


def test_an_unload_keeps_nothing_warm(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))

    outcome = warm.unwish()

    assert warm.phases() == {"1#1": "draining", "1#2": "draining"}
    assert outcome.done()


def test_the_end_keeps_nothing_warm(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))
    farewell = UnloadAll()
    warm.inbox.put(farewell)
    warm.manager.step()
    warm.goes_away()

    assert farewell.outcome.done()


def test_a_warm_rollback_is_one_step(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))

    outcome = warm.roll_back()

    assert outcome.done()
    assert warm.shown == {key(1)}
    assert warm.phases() == {"1#1": "ready", "1#2": "standby"}
    assert not warm.executor.loading
    assert warm.index() == [("m", 1, "READY", HELD)]


def test_the_same_content_is_loaded_from_where_it_stands_by(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))

    outcome = warm.wish((1, "a"))

    assert outcome.done()
    assert warm.shown == {key(1)}


def test_what_came_back_is_entered_and_left_like_any_other(warm: Back) -> None:
    warm.serve((1, "a"))
    lease = warm.table.lease(MODEL, "1")
    warm.serve((1, "b"))
    assert lease.leases.count == 1
    warm.roll_back()

    assert warm.table.lease(MODEL, "") is lease


def test_a_cold_rollback_loads_what_served_before(cold: Back) -> None:
    cold.serve((1, "a"))
    cold.serve((2, "a"))
    cold.goes_away()

    outcome = cold.roll_back()

    assert cold.shown == {key(2)}
    assert not outcome.done()
    cold.loads(key(1, 2))
    assert outcome.done()
    assert cold.shown == {key(1, 2)}
    assert cold.index()[0] == ("m", 1, "READY", HELD)


def test_a_rollback_that_fails_leaves_what_serves_and_holds_nothing(cold: Back) -> None:
    cold.serve_alone((1, "a"))
    cold.serve_alone((2, "a"))
    cold.goes_away()

    outcome = cold.roll_back()
    cold.fails(key(1, 2))

    assert str(outcome.exception()) == (
        "failed to roll back model 'm': version 1 is at UNAVAILABLE state: Internal: broken file; "
        "what served goes on to serve"
    )
    assert cold.shown == {key(2)}
    assert cold.view().hold is None
    assert cold.manager.step() == ()


def test_a_rollback_that_fails_leaves_what_is_in_quarantine_there(cold: Back) -> None:
    cold.serve_alone((1, "a"))
    cold.serve_alone((2, "a"))
    cold.follow((2, "a"), (3, "a"))
    cold.fails(key(3))
    cold.goes_away()

    cold.roll_back()
    cold.fails(key(1, 2))

    assert cold.shown == {key(2)}
    assert cold.executor.loading.keys() == {key(3, 2)}
    cold.fails(key(3, 2))
    assert cold.manager.due() is not None


def test_a_load_that_failed_is_not_tried_again_because_a_rollback_fails(cold: Back) -> None:
    cold.serve((1, "a"))
    cold.serve((2, "a"))
    cold.wish((3, "a"))
    cold.fails(key(3))
    cold.goes_away()

    cold.roll_back()
    cold.fails(key(1, 2))

    assert cold.shown == {key(2)}
    assert not cold.executor.loading
    assert cold.manager.step() == ()


def test_a_rollback_that_fails_leaves_the_hold_of_the_one_before(cold: Back) -> None:
    for version in (1, 2, 3):
        cold.serve_alone((version, "a"))
        cold.goes_away()
    cold.roll_back()
    cold.loads(key(2, 2))
    before = cold.view().hold

    cold.roll_back(1)
    cold.fails(key(1, 2))

    assert cold.shown == {key(2, 2)}
    assert cold.view().hold == before
    cold.follow((3, "a"))
    assert cold.shown == {key(2, 2)}


def test_a_rollback_that_overtook_another_one_leaves_no_hold_when_it_fails(cold: Back) -> None:
    cold.serve_alone((1, "a"))
    cold.serve_alone((2, "a"))
    cold.goes_away()

    cold.roll_back()
    cold.roll_back()
    cold.fails(key(1, 2))

    assert cold.shown == {key(2)}
    assert cold.view().hold is None


def test_a_change_of_the_content_overtakes_a_rollback(cold: Back) -> None:
    cold.serve_alone((1, "a"))
    cold.serve_alone((2, "a"))
    cold.goes_away()
    outcome = cold.roll_back()

    cold.serve_alone((3, "a"))

    assert isinstance(outcome.exception(), UnavailableError)
    assert "was overtaken" in str(outcome.exception())
    assert cold.shown == {key(3)}
    assert cold.view().hold is None


def test_the_log_says_that_a_hold_ends_with_the_process(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))
    with capture_logs() as lines:
        warm.roll_back()

    assert lines[0]["event"] == "model held, until this process ends at the latest"
    assert (lines[0]["model"], lines[0]["reason"]) == (MODEL, HELD)


def test_a_hold_withstands_what_the_repository_had_when_it_began(warm: Back) -> None:
    warm.serve_alone((1, "a"))
    warm.serve_alone((1, "b"))
    warm.roll_back()

    outcome = warm.follow((1, "b"))

    assert outcome.done()
    assert warm.shown == {key(1)}


def test_a_hold_ends_when_the_content_changes(warm: Back) -> None:
    warm.serve_alone((1, "a"))
    warm.serve_alone((1, "b"))
    warm.roll_back()

    warm.serve_alone((1, "c"))

    assert warm.shown == {key(1, 3)}
    assert warm.view().hold is None


def test_what_was_held_is_not_lost_to_a_bad_content_of_another_version(warm: Back) -> None:
    warm.serve_alone((2, "a"))
    warm.serve_alone((1, "a"))
    warm.roll_back()
    assert warm.phases() == {"1#1": "standby", "2#1": "ready"}

    warm.follow((1, "b"))
    warm.fails(key(1, 2))

    assert warm.shown == {key(2)}


def test_a_hold_ends_when_a_load_names_the_model(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))
    warm.roll_back()

    outcome = warm.wish((1, "b"))

    assert outcome.done()
    assert warm.shown == {key(1, 2)}
    assert warm.index() == [("m", 1, "READY", "")]


def test_what_a_load_by_name_found_is_what_a_later_hold_withstands(warm: Back) -> None:
    warm.serve_alone((1, "a"))
    wish = LoadWish(polled((1, "b")), alone=True, again=True, follows=True)
    warm.inbox.put(wish)
    warm.manager.step()
    warm.loads(key(1, 2))
    warm.roll_back()

    warm.follow((1, "b"))
    assert warm.shown == {key(1)}

    again = LoadWish(polled((1, "b")), alone=True, again=True, follows=True)
    warm.inbox.put(again)
    warm.manager.step()
    assert warm.shown == {key(1, 2)}


def test_a_hold_ends_when_it_is_released_and_what_serves_goes_on(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))
    warm.roll_back()

    warm.inbox.put(ReleaseWish(MODEL))
    warm.manager.step()

    assert warm.shown == {key(1)}
    assert warm.index() == [("m", 1, "READY", "")]


def test_a_model_that_goes_from_the_repository_is_no_longer_held_there(warm: Back) -> None:
    warm.serve_alone((1, "a"))
    warm.serve_alone((1, "b"))
    warm.roll_back()

    warm.unwish()

    assert warm.shown == set()
    assert warm.view().hold is None


def test_an_unload_that_holds_withstands_any_content(warm: Back) -> None:
    warm.serve_alone((1, "a"))
    wish = UnloadWish(MODEL, hold=True)
    warm.inbox.put(wish)
    warm.manager.step()
    warm.goes_away()

    warm.follow((1, "a"))
    warm.follow((1, "b"))
    warm.unwish()

    assert warm.shown == set()
    assert not warm.executor.loading
    reason = (
        "unloaded; held: unloaded on request, until a load names the model or the hold is released"
    )
    assert warm.index() == [("m", 1, "UNAVAILABLE", reason)]
    assert warm.manager.strictly_ready()
    warm.serve((1, "b"))
    assert warm.shown == {key(1, 2)}


def test_an_unload_of_a_name_that_nobody_knows_leaves_no_trace(warm: Back) -> None:
    warm.inbox.put(UnloadWish(ModelName("nobody"), hold=True))
    warm.manager.step()

    assert warm.index() == []


def test_a_wish_tries_again_what_failed_when_it_says_so(cold: Back) -> None:
    cold.follow((1, "a"))
    cold.fails(key(1))
    cold.follow((1, "a"))
    assert not cold.executor.loading

    cold.inbox.put(LoadWish(polled((1, "a")), alone=True, again=True))
    cold.manager.step()

    assert cold.executor.loading.keys() == {key(1, 2)}


class Scarce(Back):
    """A world in which what serves makes room before its successor is built."""

    def ask(self, *candidates: tuple[int, str], alone: bool = False) -> "Future[None]":
        config = ModelConfig(MODEL, parameters={SWAP_POLICY: "resource_preserving"})
        wish = LoadWish(replace(polled(*candidates), config=config), alone=alone)
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome


@pytest.fixture
def scarce() -> Scarce:
    world = Scarce(window_s=WINDOW_S)
    world.ask((1, "a"))
    world.loads(key(1))
    return world


def test_room_is_made_before_the_successor_is_built(scarce: Scarce) -> None:
    outcome = scarce.ask((2, "a"))
    assert scarce.phases() == {"1#1": "draining", "2#1": "new"}
    with pytest.raises(ServiceError):
        scarce.table.lease(MODEL, "2")

    scarce.drains(key(1))
    assert not scarce.executor.loading
    scarce.unloads(key(1))
    assert scarce.executor.loading.keys() == {key(2)}
    scarce.loads(key(2))

    assert outcome.done()
    assert scarce.shown == {key(2)}


def test_what_made_room_comes_back_when_its_successor_fails(scarce: Scarce) -> None:
    outcome = scarce.ask((2, "a"))
    scarce.goes_away()
    scarce.fails(key(2))
    assert not outcome.done()

    scarce.loads(key(1, 2))

    assert scarce.shown == {key(1, 2)}
    assert str(outcome.exception()) == (
        "load failed for model 'm': version 2 is at UNAVAILABLE state: Internal: broken file;\n"
    )
    assert scarce.index()[1] == ("m", 2, "UNAVAILABLE", "Internal: broken file")


def test_what_its_successor_overwrote_does_not_come_back(scarce: Scarce) -> None:
    outcome = scarce.ask((1, "b"))
    scarce.goes_away()
    scarce.fails(key(1, 2))

    assert outcome.done()
    assert not scarce.executor.loading
    assert scarce.index() == [("m", 1, "UNAVAILABLE", "Internal: broken file")]


def test_what_cannot_come_back_is_tried_once(scarce: Scarce) -> None:
    outcome = scarce.ask((2, "a"))
    scarce.goes_away()
    scarce.fails(key(2))
    scarce.fails(key(1, 2), InternalError("its files are gone"))

    assert outcome.done()
    assert not scarce.executor.loading
    assert scarce.manager.step() == ()


def test_what_made_room_comes_back_though_another_wish_overtook_its_successor(
    scarce: Scarce,
) -> None:
    scarce.ask((2, "a"))
    scarce.ask((3, "a"))
    scarce.goes_away()
    scarce.fails(key(3))

    scarce.loads(key(1, 2))

    assert scarce.shown == {key(1, 2)}


def test_what_was_unloaded_on_request_did_not_make_room(scarce: Scarce) -> None:
    scarce.unwish()
    scarce.goes_away()
    outcome = scarce.ask((2, "a"))
    scarce.fails(key(2))

    assert outcome.done()
    assert not scarce.executor.loading


def test_an_unload_ends_the_wait_to_come_back(scarce: Scarce) -> None:
    scarce.ask((2, "a"))
    scarce.unwish()
    scarce.ask((3, "a"))
    scarce.goes_away()
    scarce.fails(key(3))

    assert not scarce.executor.loading


def test_where_each_stands_alone_nothing_comes_back_beside_what_was_built(scarce: Scarce) -> None:
    scarce.ask((1, "b"), (2, "a"), alone=True)
    scarce.goes_away()
    del scarce.executor.loading[key(1, 2)]
    scarce.inbox.put(Loaded(key(1, 2), served(key(1, 2))))
    scarce.fails(key(2))

    assert scarce.shown == {key(1, 2)}
    assert not scarce.executor.loading


def test_all_or_nothing_holds_where_room_is_made_first(scarce: Scarce) -> None:
    scarce.ask((2, "a"), (3, "a"))
    scarce.goes_away()
    scarce.loads(key(2))
    scarce.fails(key(3))

    assert scarce.phases()["2#1"] == "unloading"
    scarce.unloads(key(2))
    scarce.loads(key(1, 2))
    assert scarce.shown == {key(1, 2)}


def test_where_each_stands_alone_only_what_is_replaced_makes_room(scarce: Scarce) -> None:
    scarce.ask((1, "a"), (2, "a"), alone=True)
    scarce.loads(key(2))
    assert scarce.shown == {key(1), key(2)}

    scarce.ask((1, "b"), (2, "a"), alone=True)

    assert scarce.shown == {key(2)}
    scarce.goes_away()
    scarce.loads(key(1, 2))
    assert scarce.shown == {key(1, 2), key(2)}


def test_how_much_an_unload_gave_back_is_told_and_logged(cold: Back) -> None:
    cold.serve((1, "a"), (2, "a"))
    wish = UnloadWish(MODEL)
    cold.inbox.put(wish)
    cold.manager.step()
    with capture_logs() as lines:
        cold.goes_away()

    assert wish.gone.result(0) == 2000
    unloaded = [line for line in lines if line["event"].startswith("successfully unloaded")]
    assert [(line["freed_bytes"], line["resident_bytes"]) for line in unloaded] == [
        (1000, 5000),
        (1000, 5000),
    ]


def test_the_phase_of_what_stands_by_is_told(warm: Back) -> None:
    warm.serve((1, "a"))
    warm.serve((1, "b"))

    assert warm.manager.story(MODEL, 1)[-1].after is Phase.STANDBY

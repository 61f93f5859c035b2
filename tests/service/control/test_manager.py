"""The manager, stepped by hand: what it shows, starts and answers."""

import pytest
from structlog.testing import capture_logs

from interlock.control.lifecycle import Event
from interlock.control.modes import ExplicitMode, NoneMode
from interlock.control.reports import (
    Drained,
    LoadDropped,
    Loaded,
    LoadFailed,
    Progress,
    Report,
    Unloaded,
)
from interlock.control.wishes import End, LoadWish, Stop, UnloadAll, UnloadWish
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.ids import ModelName
from tests.support.control import MODEL, FakeRepository, World, key, polled, served, versions


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


def test_a_version_is_not_shown_before_it_has_passed() -> None:
    world = World()
    world.serve((1, "a"))
    outcome = world.wish((1, "b"))

    for event in (Event.WARM, Event.PROVE):
        world.goes_on(key(1, 2), event)

        assert world.shown == {key(1, 1)}
        assert not outcome.done()
        assert world.index() == [("m", 1, "READY", "")]

    world.loads(key(1, 2))
    assert world.shown == {key(1, 2)}
    assert outcome.result(0) is None


@pytest.mark.parametrize("events", [[Event.WARM], [Event.PROVE], [Event.WARM, Event.PROVE]])
def test_what_is_warmed_up_and_proven_is_loading_to_clients(events: list[Event]) -> None:
    world = World()
    world.wish((1, "a"))

    for event in events:
        world.goes_on(key(1), event)

    assert world.index() == [("m", 1, "LOADING", "")]
    assert not world.manager.strictly_ready()


def test_a_wrong_answer_keeps_the_old_version() -> None:
    world = World()
    world.serve((1, "a"))
    outcome = world.wish((1, "b"))
    world.goes_on(key(1, 2), Event.PROVE)

    world.fails(key(1, 2), InvalidRequestError("golden request 'a': output y: got 1, expected 2"))

    assert world.shown == {key(1)}
    assert str(outcome.exception(0)) == (
        "load failed for model 'm': version 1 is at UNAVAILABLE state: "
        "Invalid argument: golden request 'a': output y: got 1, expected 2;\n"
    )


def test_what_is_proven_waits_for_the_others_of_its_load() -> None:
    world = World()
    world.wish(*versions(1, 2))
    for number in (1, 2):
        world.goes_on(key(number), Event.PROVE)

    world.loads(key(1))
    assert world.shown == set()

    world.loads(key(2))
    assert world.shown == {key(1), key(2)}


@pytest.mark.parametrize("event", [Event.WARM, Event.PROVE])
def test_what_nobody_wants_any_more_is_taken_apart_when_its_load_has_ended(event: Event) -> None:
    world = World()
    world.wish((1, "a"))
    world.goes_on(key(1), event)

    assert world.unwish().result(0) is None
    assert world.executor.unloading == {}

    world.loads(key(1))
    assert world.shown == set()
    assert world.executor.unloading.keys() == {key(1)}


def test_a_new_version_takes_over_without_a_gap() -> None:
    world = World()
    world.serve((1, "a"))

    outcome = world.wish((2, "b"))
    assert world.shown == {key(1)}  # still, while 2 loads

    world.loads(key(2))
    assert world.shown == {key(2)}
    assert outcome.done()  # the drain of 1 is not waited for
    assert world.executor.draining.keys() == {key(1)}


@pytest.mark.parametrize("asked", [True, False])
def test_what_takes_over_is_awaited_where_clients_ask_for_what_serves(asked: bool) -> None:
    world = World()
    world.serve((1, "a"))
    if asked:
        world.table.lease("m", "").statistics.record_failure(1)

    world.wish((2, "b"))

    assert world.executor.loading[key(2)].is_awaited is asked


def test_what_nobody_asked_for_yet_is_not_awaited() -> None:
    world = World()

    world.wish((1, "a"))

    assert not world.executor.loading[key(1)].is_awaited


def test_changed_content_is_a_new_generation_beside_the_old_one() -> None:
    world = World()
    world.serve((1, "a"))

    world.wish((1, "b"))
    assert world.shown == {key(1, 1)}
    assert world.index() == [("m", 1, "READY", "")]

    world.loads(key(1, 2))
    assert world.shown == {key(1, 2)}
    assert world.index() == [("m", 1, "READY", "")]


def test_a_load_of_what_serves_unchanged_does_nothing() -> None:
    world = World()
    world.serve((1, "a"))

    outcome = world.wish((1, "a"))

    assert outcome.result(0) is None
    assert world.executor.loading == {}
    assert world.shown == {key(1)}


def test_only_the_versions_that_changed_are_loaded_again() -> None:
    world = World()
    world.serve((1, "a"), (2, "a"))

    world.wish((1, "a"), (2, "b"))
    assert world.executor.loading.keys() == {key(2, 2)}

    world.loads(key(2, 2))
    assert world.shown == {key(1), key(2, 2)}


def test_keeps_serving_the_old_version_when_its_successor_fails() -> None:
    world = World()
    world.serve((1, "a"))

    outcome = world.wish((1, "b"))
    world.fails(key(1, 2))

    assert world.shown == {key(1)}
    assert world.executor.draining == {}
    with pytest.raises(InvalidRequestError):
        outcome.result(0)
    assert world.index() == [("m", 1, "READY", "Internal: broken file")]
    assert world.manager.strictly_ready()


def test_a_failure_names_the_version_and_the_cause() -> None:
    world = World()
    outcome = world.wish((1, "a"))

    world.fails(key(1))

    error = outcome.exception(0)
    assert isinstance(error, InvalidRequestError)
    assert str(error) == (
        "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: broken file;\n"
    )
    assert world.index() == [("m", 1, "UNAVAILABLE", "Internal: broken file")]
    assert not world.manager.strictly_ready()


def test_every_version_that_failed_has_a_clause() -> None:
    world = World()
    outcome = world.wish((1, "a"), (2, "a"), (3, "a"))

    world.fails(key(3), InvalidRequestError("no input 'x'"))
    assert not outcome.done()
    world.loads(key(2))
    world.fails(key(1))

    assert str(outcome.exception(0)) == (
        "load failed for model 'm': "
        "version 1 is at UNAVAILABLE state: Internal: broken file;"
        "version 3 is at UNAVAILABLE state: Invalid argument: no input 'x';\n"
    )


def test_one_bad_version_keeps_back_the_good_ones() -> None:
    world = World()
    world.serve((1, "a"))

    world.wish((1, "b"), (2, "b"))
    world.loads(key(1, 2))
    assert world.shown == {key(1)}
    world.fails(key(2))

    assert world.shown == {key(1)}
    assert world.executor.unloading.keys() == {key(1, 2)}
    world.unloads(key(1, 2))
    assert world.index() == [
        ("m", 1, "READY", ""),
        ("m", 2, "UNAVAILABLE", "Internal: broken file"),
    ]


def test_several_versions_are_shown_together() -> None:
    world = World()
    world.wish(*versions(1, 2))

    world.loads(key(1))
    assert world.shown == set()

    world.loads(key(2))
    assert world.shown == {key(1), key(2)}


def test_a_version_that_the_policy_left_out_goes_after_the_others_have_come() -> None:
    world = World()
    world.serve(*versions(1, 2))

    world.wish(*versions(2, 3))
    assert world.shown == {key(1), key(2)}

    world.loads(key(3))
    assert world.shown == {key(2), key(3)}
    assert world.executor.draining.keys() == {key(1)}


def test_a_failed_version_is_tried_again_when_it_is_asked_for_again() -> None:
    world = World()
    world.wish((1, "a"))
    world.fails(key(1))
    world.manager.step()
    assert world.executor.loading == {}  # and not before

    outcome = world.wish((1, "a"))
    world.loads(key(1, 2))

    assert outcome.result(0) is None
    assert world.shown == {key(1, 2)}
    assert world.manager.strictly_ready()


def test_unload_returns_before_the_drain_has_ended() -> None:
    world = World()
    world.serve((1, "a"))

    outcome = world.unwish()
    assert outcome.result(0) is None
    assert world.shown == set()
    assert world.index() == [("m", 1, "UNLOADING", "")]

    world.drains(key(1))
    world.unloads(key(1))
    assert world.index() == [("m", 1, "UNAVAILABLE", "unloaded")]
    assert world.manager.strictly_ready()


def test_what_drains_cannot_be_entered() -> None:
    world = World()
    world.serve((1, "a"))
    model = world.table.find("m", "")

    world.unwish()

    assert not model.leases.take()


def test_unload_of_a_model_that_nobody_knows_leaves_no_trace() -> None:
    world = World()

    outcome = world.unwish("nobody")

    assert outcome.result(0) is None
    assert world.index() == []
    assert "nobody" not in world.table.entries


def test_unload_forgives_a_failure() -> None:
    world = World()
    world.wish((1, "a"))
    world.fails(key(1))

    world.unwish()

    assert world.index() == [("m", 1, "UNAVAILABLE", "unloaded")]
    assert world.manager.strictly_ready()


def test_a_load_while_the_former_generation_drains() -> None:
    world = World()
    world.serve((1, "a"))
    world.unwish()

    world.wish((1, "a"))
    assert world.index() == [("m", 1, "LOADING", "")]
    world.loads(key(1, 2))
    world.drains(key(1))
    world.unloads(key(1))

    assert world.shown == {key(1, 2)}
    assert world.index() == [("m", 1, "READY", "")]


def test_the_newest_wish_wins_and_an_unwanted_load_is_taken_apart() -> None:
    world = World()
    overtaken = world.wish((1, "a"))

    newer = world.wish((2, "a"))
    assert str(overtaken.exception(0)) == "failed to load 'm', no version is available"

    world.loads(key(1))
    assert world.executor.unloading.keys() == {key(1)}
    world.loads(key(2))
    assert newer.result(0) is None
    assert world.shown == {key(2)}


def test_the_same_wish_again_keeps_the_load_that_runs() -> None:
    world = World()
    world.wish((1, "a"))

    world.wish((1, "a"))

    assert world.executor.loading.keys() == {key(1)}


def test_an_unload_that_a_load_overtakes_says_what_still_serves() -> None:
    world = World()
    world.serve((1, "a"))
    unload = UnloadWish(ModelName("m"))

    world.inbox.put(unload)
    world.inbox.put(LoadWish(polled((1, "a"))))
    world.manager.step()

    assert str(unload.outcome.exception(0)) == (
        "failed to unload 'm', versions that are still available: 1"
    )


def test_an_unload_that_came_true_although_it_was_overtaken_is_fine() -> None:
    world = World()
    unload = UnloadWish(ModelName("m"))

    world.inbox.put(unload)
    world.inbox.put(LoadWish(polled((1, "a"))))
    world.manager.step()

    assert unload.outcome.result(0) is None


def test_models_do_not_wait_for_each_other() -> None:
    world = World()
    world.wish((1, "a"), model="slow")
    quick = world.wish((1, "a"), model="quick")

    world.loads(key(1, model="quick"))

    assert quick.done()
    assert world.shown == {key(1, model="quick")}


def test_the_latest_is_the_highest_version_that_is_ready() -> None:
    world = World()
    world.serve(*versions(2, 10, 9))

    assert world.table.find("m", "").key == key(10)


def test_a_version_that_is_known_but_not_ready_is_told_from_an_unknown_one() -> None:
    world = World()
    world.serve((2, "a"))
    world.wish(*versions(1, 2))

    with pytest.raises(UnavailableError, match="version 1 is not at ready state"):
        world.table.find("m", "1")


def test_an_unloaded_model_is_known_without_versions() -> None:
    world = World()
    world.serve((1, "a"))
    world.unwish()

    with pytest.raises(ServiceError) as caught:
        world.table.find("m", "")

    assert str(caught.value) == "Request for unknown model: 'm' has no available versions"


def test_a_superseded_generation_is_forgotten() -> None:
    world = World()
    for content in "abc":
        world.serve((1, content))
        for old in list(world.executor.draining):
            world.drains(old)
            world.unloads(old)

    assert list(world.manager._units[ModelName("m")].records) == [key(1, 3)]


def test_the_story_of_a_version_spans_its_generations() -> None:
    world = World()
    world.serve((1, "a"))
    world.serve((1, "b"))

    story = world.manager.story("m", 1)

    assert [(move.key.generation, move.after.value) for move in story] == [
        (1, "loading"),
        (1, "proving"),
        (1, "ready"),
        (2, "loading"),
        (2, "proving"),
        (2, "ready"),
        (1, "draining"),
    ]


def test_the_story_is_capped() -> None:
    world = World()
    for content in range(40):
        world.serve((1, str(content)))

    assert len(world.manager.story("m", 1)) == 64


def test_a_version_that_nobody_knows_has_no_story() -> None:
    assert World().manager.story("m", 1) == ()


def test_each_move_is_one_line_of_the_log() -> None:
    world = World()
    with capture_logs() as lines:
        world.serve((1, "a"))

    assert lines == [
        {
            "event": "version moved",
            "log_level": "info",
            "model": "m",
            "version": 1,
            "generation": 1,
            "from": before,
            "to": after,
            "reason": reason,
        }
        for before, after, reason in [
            ("new", "loading", "asked for"),
            ("loading", "proving", "loaded"),
            ("proving", "ready", "loaded"),
        ]
    ]


def test_warming_and_proving_are_lines_of_the_log_where_there_is_something_to_run() -> None:
    world = World()
    world.wish((1, "a"))
    with capture_logs() as lines:
        world.goes_on(key(1), Event.WARM)
        world.goes_on(key(1), Event.PROVE)
        world.loads(key(1))

    assert [(line["from"], line["to"], line["reason"]) for line in lines] == [
        ("loading", "warming", "its warm-up begins"),
        ("warming", "proving", "its golden requests begin"),
        ("proving", "ready", "loaded"),
    ]


def test_the_end_of_a_version_is_logged_in_words_that_scripts_look_for() -> None:
    world = World()
    world.serve((7, "a"))
    world.unwish()
    world.drains(key(7))
    with capture_logs() as lines:
        world.unloads(key(7))

    assert [line["event"] for line in lines] == ["successfully unloaded 'm' version 7"]


def test_a_failure_is_logged_as_an_error() -> None:
    world = World()
    world.wish((1, "a"))
    with capture_logs() as lines:
        world.fails(key(1))

    assert [(line["log_level"], line["reason"]) for line in lines] == [
        ("error", "Internal: broken file")
    ]


def test_a_report_that_makes_no_sense_does_not_make_the_manager_deaf() -> None:
    world = World()
    outcome = world.wish((1, "a"))
    with capture_logs() as lines:
        world.inbox.put(Progress(key(1), Event.FAIL))  # a load does not report its end like this
        world.loads(key(1))

    assert outcome.done()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "message not taken in"
    ]


@pytest.mark.parametrize(
    "report",
    [
        Progress(key(1), Event.WARM),
        Progress(key(1), Event.PROVE),
        LoadFailed(key(1), InternalError("broken after all")),
        LoadDropped(key(1)),
        Drained(key(1)),
        Unloaded(key(1)),
        Unloaded(key(9, model="never heard of")),
    ],
    ids=repr,
)
def test_what_a_load_that_was_written_off_still_reports_changes_nothing(report: Report) -> None:
    world = World()
    world.wish((1, "a"))
    world.fails(key(1), UnavailableError("load given up after 5 s"))
    before, history = world.index(), world.manager.story(MODEL, 1)
    world.inbox.put(report)
    with capture_logs() as lines:
        world.manager.step()

    assert world.index() == before
    assert world.manager.story(MODEL, 1) == history
    assert [line["event"] for line in lines] == ["a report came too late"]


def test_what_a_load_that_was_written_off_still_builds_is_taken_apart() -> None:
    world = World()
    world.serve((1, "a"))
    world.wish((1, "b"))
    world.fails(key(1, 2), UnavailableError("load given up after 5 s"))
    late = served(key(1, 2))
    world.inbox.put(Loaded(key(1, 2), late))
    world.manager.step()

    assert world.executor.unloading == {key(1, 2): late}
    assert world.shown == {key(1, 1)}

    world.unloads(key(1, 2))
    assert world.shown == {key(1, 1)}


def test_a_load_that_was_written_off_can_be_asked_for_again() -> None:
    world = World()
    outcome = world.wish((1, "a"))
    world.fails(key(1), UnavailableError("load given up after 5 s"))
    assert "Unavailable: load given up after 5 s" in str(outcome.exception())

    again = world.wish((1, "a"))
    world.inbox.put(Loaded(key(1, 1), served(key(1, 1))))  # the first one, after all
    world.loads(key(1, 2))

    assert again.exception() is None
    assert world.shown == {key(1, 2)}
    assert world.executor.unloading.keys() == {key(1, 1)}


def test_listeners_hear_of_every_round_in_which_something_happened() -> None:
    world = World()
    heard: list[set[object]] = []
    end = world.manager.subscribe(lambda: heard.append(set(world.shown)))

    world.wish((1, "a"))
    world.manager.step()  # nothing happened
    world.loads(key(1))
    end()
    world.unwish()

    assert heard == [set(), {key(1)}]


def test_a_listener_that_fails_harms_nobody() -> None:
    world = World()
    heard: list[str] = []

    def broken() -> None:
        raise ValueError

    world.manager.subscribe(broken)
    world.manager.subscribe(lambda: heard.append("heard"))

    outcome = world.wish()

    assert outcome.done()
    assert heard == ["heard"]


def test_whoever_waits_is_told_after_the_table_has_changed() -> None:
    world = World()
    seen: list[set[object]] = []
    outcome = world.wish((1, "a"))
    outcome.add_done_callback(lambda _: seen.append(set(world.shown)))

    world.loads(key(1))

    assert seen == [{key(1)}]


def test_the_models_that_serve_are_listed_without_a_look_at_the_disk() -> None:
    world = World()
    world.serve((1, "a"))
    world.repository.put((1, "a"), model="other")

    assert world.index(ready_only=True) == [("m", 1, "READY", "")]
    assert world.repository.listings == 0


def test_mode_none_begins_with_every_model() -> None:
    world = World(NoneMode())
    world.repository.put((1, "a"), model="a")
    world.repository.put((1, "a"), model="b")

    world.manager.begin()
    world.manager.step()

    assert world.executor.loading.keys() == {key(1, model="a"), key(1, model="b")}
    assert not world.manager.first_loads.done


def test_the_first_loads_are_done_when_all_have_ended() -> None:
    world = World(NoneMode())
    world.repository.put((1, "a"), model="bad")
    world.repository.put((1, "a"), model="good")
    world.manager.begin()
    world.manager.step()

    world.fails(key(1, model="bad"))
    assert not world.manager.first_loads.wait(0)
    world.loads(key(1, model="good"))

    assert world.manager.first_loads.wait(0)
    assert {name: str(error) for name, error in world.manager.first_loads.failures.items()} == {
        "bad": "load failed for model 'bad': "
        "version 1 is at UNAVAILABLE state: Internal: broken file;\n"
    }
    assert world.shown == {key(1, model="good")}


def test_an_empty_repository_is_done_at_once_and_the_listeners_hear_it() -> None:
    world = World(NoneMode())
    heard: list[bool] = []
    world.manager.subscribe(lambda: heard.append(world.manager.first_loads.done))

    world.manager.begin()

    assert heard == [True]
    assert world.manager.first_loads.failures == {}


def test_a_name_that_is_not_there_is_a_failure_of_the_start() -> None:
    world = World(ExplicitMode(("ghost", "m")))
    world.repository.put((1, "a"))
    with capture_logs() as lines:
        world.manager.begin()
    world.manager.step()
    world.loads(key(1))

    assert lines[0]["event"] == (
        "failed to poll model 'ghost': model not found in any model repository."
    )
    assert world.manager.first_loads.done
    assert list(world.manager.first_loads.failures) == ["ghost"]
    assert world.shown == {key(1)}


def test_a_model_that_breaks_the_poll_hinders_no_other() -> None:
    world = World(NoneMode())
    world.repository.models["broken"] = ZeroDivisionError("surprise")
    world.repository.put((1, "a"))

    world.manager.begin()
    world.manager.step()
    world.loads(key(1))

    assert world.shown == {key(1)}
    assert world.index()[0] == (
        "broken",
        None,
        "UNAVAILABLE",
        "Internal: ZeroDivisionError: surprise",
    )


def test_a_repository_that_cannot_be_read_is_a_failure_of_the_start() -> None:
    denied = "failed to stat file /models: denied"
    repository = FakeRepository(problems={"/models": denied, "odd": "unreadable"})
    world = World(NoneMode(), repository)

    world.manager.begin()
    world.manager.step()

    assert world.manager.first_loads.done
    assert world.manager.first_loads.failures.keys() == {"/models", "odd"}
    assert str(world.manager.first_loads.failures["/models"]) == denied


def test_stop_gives_up_what_has_not_begun_and_refuses_what_comes() -> None:
    world = World()
    waiting = world.wish((1, "a"))

    world.manager.stop()
    refused = world.wish((2, "a"), model="other")

    assert world.executor.dropped
    assert isinstance(refused.exception(0), UnavailableError)
    world.drops(key(1))
    assert str(waiting.exception(0)) == "failed to load 'm', no version is available"
    assert world.index() == [("m", 1, "UNAVAILABLE", "unloaded")]


def test_unload_all_is_told_when_nothing_is_left() -> None:
    world = World()
    world.serve((1, "a"))
    loading = world.wish((1, "a"), model="late")
    farewell = UnloadAll()

    world.inbox.put(Stop())
    world.inbox.put(farewell)
    world.manager.step()
    assert world.shown == set()
    assert isinstance(loading.exception(0), InternalError)

    world.drains(key(1))
    world.unloads(key(1))
    assert not farewell.outcome.done()

    world.loads(key(1, model="late"))  # a load that runs is let finish, then taken apart
    world.unloads(key(1, model="late"))
    assert farewell.outcome.result(0) is None


def test_unload_all_of_nothing_is_told_at_once() -> None:
    world = World()
    farewell = UnloadAll()

    world.inbox.put(farewell)
    world.manager.step()

    assert farewell.outcome.done()


def test_what_is_left_at_the_deadline_is_named() -> None:
    world = World()
    world.serve((1, "a"))
    world.wish((1, "a"), model="hangs")
    with capture_logs() as lines:
        assert not world.manager.unload_all(world.clock.now)

    assert lines[-1]["models"] == ["hangs", "m"]


def test_the_loop_ends_when_it_is_told_to() -> None:
    world = World()
    world.inbox.put(End())

    world.manager.run()

    world.manager.close()  # nothing to wait for: no thread was started


def test_a_record_without_anything_built_says_so() -> None:
    world = World()
    world.wish((1, "a"))
    record = world.manager._units[ModelName("m")].records[key(1)]

    with pytest.raises(LookupError, match="m/1#1 is loading"):
        record.built  # noqa: B018


def test_a_report_for_what_was_forgotten_is_survived() -> None:
    world = World()
    world.serve((1, "a"))
    world.inbox.put(Loaded(key(1, 7), served(key(1, 7))))
    world.manager.step()

    assert world.executor.unloading.keys() == {key(1, 7)}
    assert world.shown == {key(1)}


def test_who_waits_for_an_unload_to_end_is_told_when_nothing_is_left() -> None:
    world = World()
    world.serve((1, "a"))
    wish = UnloadWish(MODEL)
    world.inbox.put(wish)
    world.manager.step()
    assert wish.outcome.done()

    world.drains(key(1))
    assert not wish.gone.done()
    world.unloads(key(1))

    assert wish.gone.done()


def test_who_waits_for_an_unload_does_not_wait_for_what_is_loaded_after_it() -> None:
    world = World()
    world.serve((1, "a"))
    wish = UnloadWish(MODEL)
    world.inbox.put(wish)
    world.manager.step()
    world.serve((1, "a"))

    world.drains(key(1))
    world.unloads(key(1))

    assert wish.gone.done()
    assert world.shown == {key(1, 2)}


def test_an_unload_of_what_is_not_there_leaves_nothing_to_wait_for() -> None:
    world = World()
    wish = UnloadWish(MODEL)
    world.inbox.put(wish)

    world.manager.step()

    assert wish.gone.done()

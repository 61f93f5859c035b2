"""What callers are told before and after a wish."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from interlock.control.chronicle import Chronicle, Told
from interlock.control.lifecycle import Event
from interlock.control.load_parameters import Parameter
from interlock.control.manager import Manager
from interlock.control.modes import ExplicitMode, Mode, NoneMode, PollMode
from interlock.control.polling import MissingVersionError, NoVersionError
from interlock.control.reports import Drained, Loaded, LoadFailed, Unloaded
from interlock.control.wishes import End, LoadWish, Polled, Trouble
from interlock.domain.cause import A_LOAD, Actor, Cause, Deed
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.ids import ModelName
from interlock.runtime.threads import spawn
from tests.support.control import FakeRepository, World, key, polled, served


class PromptWorld(World):
    """A world whose manager runs on a thread, and whose loads end as soon as they begin."""

    failing: ServiceError | None = None

    def __init__(
        self,
        mode: Mode | None = None,
        repository: FakeRepository | None = None,
        *,
        window_s: float = 0.0,
        chronicle: Chronicle | None = None,
    ) -> None:
        super().__init__(mode, repository, window_s=window_s, chronicle=chronicle)
        self.manager.subscribe(self._end_loads)

    def _end_loads(self) -> None:
        while self.executor.loading:
            key, _ = self.executor.loading.popitem()
            if self.failing:
                self.inbox.put(LoadFailed(key, self.failing))
            else:
                self.inbox.put(Loaded(key, served(key)))


@contextmanager
def running(world: PromptWorld) -> Iterator[PromptWorld]:
    thread = spawn("manager under test", world.manager.run)
    try:
        yield world
    finally:
        world.inbox.put(End())
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        pytest.param(
            {"config": b"{}"},
            "invalid value type for load parameter 'config', expected string_param.",
            id="config",
        ),
        pytest.param(
            {"config": None},
            "invalid value type for load parameter 'config', expected string_param.",
            id="config without a value",
        ),
        pytest.param(
            {"file:1/x": "text"},
            "invalid value type for load parameter 'file:1/x', expected bytes_param.",
            id="file",
        ),
        pytest.param({"foo": True}, "unrecognized load parameter 'foo'.", id="unknown"),
    ],
)
@pytest.mark.parametrize("mode", [NoneMode(), ExplicitMode()], ids=["none", "explicit"])
def test_a_bad_load_parameter_is_refused_in_every_mode(
    mode: Mode, parameters: Mapping[str, Parameter], text: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        World(mode).manager.load("", parameters)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Model name cannot be empty. Please enter a valid name to deploy."),
        (" \t", "Model name cannot be empty. Please enter a valid name to deploy."),
        (
            "..",
            "invalid model name '..', model name must not contain path traversal characters",
        ),
        (
            "a/b",
            "invalid model name 'a/b', model name must not contain path traversal characters",
        ),
    ],
)
def test_a_bad_name_is_refused_before_the_mode(name: str, text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        World(NoneMode()).manager.load(name, {})

    assert str(caught.value) == text


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_mode_none_refuses_load_and_unload(verb: str) -> None:
    manager = World(NoneMode()).manager

    with pytest.raises(UnavailableError) as caught:
        manager.load("m", {"config": "{}"}) if verb == "load" else manager.unload("m", {})

    assert str(caught.value) == (
        "explicit model load / unload is not allowed if polling is enabled: the model control mode "
        "is none; start the server with --model-control-mode=explicit, or with "
        "--allow-explicit-control"
    )


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_unload_dependents_must_be_a_boolean(value: Parameter) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        World(NoneMode()).manager.unload("m", {"unload_dependents": value})

    assert str(caught.value) == (
        "invalid value type for 'unload_dependents' parameter, expected bool_param."
    )


def test_unload_takes_parameters_that_it_does_not_know() -> None:
    with running(PromptWorld()) as world:
        world.manager.unload("m", {"unload_dependents": True, "other": 1})

    assert world.shown == set()


def test_load_returns_when_the_model_serves() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))

        world.manager.load("m", {})

        assert [str(key) for key in world.shown] == ["m/1#1"]


def test_load_of_a_model_that_is_not_there() -> None:
    with running(PromptWorld()) as world, pytest.raises(InternalError) as caught:
        world.manager.load("ghost", {})

    assert str(caught.value) == (
        "failed to load 'ghost', failed to poll from model repository: "
        "model not found in any model repository."
    )
    assert world.index() == []  # anybody may ask for anything


def test_load_says_why_the_poll_failed_and_so_does_the_index() -> None:
    with running(PromptWorld()) as world:
        world.repository.models["m"] = InvalidRequestError("config.pbtxt:3:7: no such field")
        with pytest.raises(InternalError) as caught:
            world.manager.load("m", {})

    assert str(caught.value) == (
        "failed to load 'm', failed to poll from model repository: config.pbtxt:3:7: no such field"
    )
    assert world.index() == [
        ("m", None, "UNAVAILABLE", "Invalid argument: config.pbtxt:3:7: no such field")
    ]
    assert world.manager.strictly_ready()


def test_the_compatible_sentence_stands_alone_where_there_is_no_more_to_say() -> None:
    world = PromptWorld()
    world.repository.models["m"] = InvalidRequestError("")
    with running(world), pytest.raises(InternalError) as caught:
        world.manager.load("m", {})

    assert str(caught.value) == "failed to load 'm', failed to poll from model repository"


def test_what_serves_goes_on_when_the_poll_fails() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})
        del world.repository.models["m"]

        with pytest.raises(InternalError):
            world.manager.load("m", {})

        assert len(world.shown) == 1
        assert world.index()[0][2] == "READY"
        assert "model not found" in world.index()[0][3]


def test_the_trouble_is_forgotten_when_the_model_loads_again() -> None:
    with running(PromptWorld()) as world:
        world.repository.models["m"] = InvalidRequestError("broken")
        with pytest.raises(InternalError):
            world.manager.load("m", {})
        world.repository.put((1, "a"))

        world.manager.load("m", {})

        assert world.index() == [("m", 1, "READY", "")]


def test_the_trouble_is_forgotten_when_the_model_is_unloaded() -> None:
    with running(PromptWorld()) as world:
        world.repository.models["m"] = NoVersionError("none")
        with pytest.raises(InvalidRequestError):
            world.manager.load("m", {})
        assert not world.manager.strictly_ready()

        world.manager.unload("m", {})

        assert world.manager.strictly_ready()
        assert "m" not in world.table.entries


def test_a_policy_that_selects_nothing_fails_the_load() -> None:
    world = PromptWorld()
    world.repository.models["m"] = NoVersionError(
        "at least one version must be available under the version policy of model 'm'"
    )
    with running(world), pytest.raises(InvalidRequestError) as caught:
        world.manager.load("m", {})

    assert str(caught.value) == (
        "load failed for model 'm': "
        "at least one version must be available under the version policy of model 'm'\n"
    )


def test_load_raises_what_failed() -> None:
    world = PromptWorld()
    world.failing = InternalError("no such file")
    world.repository.put((1, "a"))
    with running(world), pytest.raises(InvalidRequestError) as caught:
        world.manager.load("m", {})

    assert str(caught.value) == (
        "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: no such file;\n"
    )


def test_nobody_is_received_after_the_stop() -> None:
    world = World()
    world.repository.put((1, "a"))
    world.manager.stop()

    with pytest.raises(UnavailableError, match="Server is stopping"):
        world.manager.load("m", {})


def test_a_stop_in_the_middle_of_the_start_ends_the_first_loads() -> None:
    world = World(NoneMode())
    world.repository.put((1, "a"))
    world.manager.stop()

    world.manager.begin()

    assert world.manager.first_loads.done
    assert list(world.manager.first_loads.failures) == ["m"]


def broken_at_start(mode: Mode) -> PromptWorld:
    """A world in which nothing that was there at the start could be loaded."""
    world = PromptWorld(mode)
    world.failing = InternalError("broken")
    world.repository.put((1, "a"))
    return world


def test_a_retry_in_mode_none_takes_what_is_there_now() -> None:
    with running(broken_at_start(NoneMode())) as world:
        world.manager.begin()
        assert world.manager.first_loads.wait(30)
        world.failing = None
        world.repository.put((1, "repaired"))

        world.manager.retry("m", None)

        assert [str(key) for key in world.shown] == ["m/1#2"]


def test_a_retry_that_fails_again_says_why() -> None:
    with running(broken_at_start(NoneMode())) as world:
        world.manager.begin()
        assert world.manager.first_loads.wait(30)

        with pytest.raises(InvalidRequestError, match="version 1 is at UNAVAILABLE state"):
            world.manager.retry("m", 1)


def test_a_retry_of_a_failed_load_is_a_load() -> None:
    with running(broken_at_start(ExplicitMode())) as world:
        with pytest.raises(InvalidRequestError):
            world.manager.load("m", {})
        world.failing = None

        world.manager.retry("m", None)

        assert [str(key) for key in world.shown] == ["m/1#2"]


def test_a_retry_where_the_repository_is_followed_looks_at_nothing() -> None:
    with running(PromptWorld(PollMode())) as world:
        world.failing = InternalError("broken")
        first = world.wish_alone((1, "a"))
        assert isinstance(first.exception(30), InvalidRequestError)
        world.failing = None

        world.manager.retry("m", 1)

        assert [str(key) for key in world.shown] == ["m/1#2"]
        assert world.repository.looks == []


def test_a_retry_of_what_has_not_failed_is_refused() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})
        looks = len(world.repository.looks)

        with pytest.raises(InvalidRequestError, match="no version of model 'm' has failed"):
            world.manager.retry("m", None)
        with pytest.raises(NotFoundError, match="model: 'm' version 2 is not found"):
            world.manager.retry("m", 2)
        with pytest.raises(NotFoundError, match="model: 'other' is not found"):
            world.manager.retry("other", None)
        assert len(world.repository.looks) == looks


def test_a_retry_where_there_is_nothing_to_load_says_so() -> None:
    with running(PromptWorld()) as world:
        world.repository.models["m"] = NoVersionError("at least one version must be available")
        with pytest.raises(InvalidRequestError):
            world.manager.load("m", {})

        with pytest.raises(InvalidRequestError, match="at least one version"):
            world.manager.retry("m", None)


OVERRIDE = '{"max_batch_size": 4}'


def seen(world: PromptWorld) -> list[str | None]:
    """The configuration that each poll was asked to take."""
    return [look.config for look in world.repository.looks]


def test_a_configuration_override_sticks() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))

        world.manager.load("m", {"config": OVERRIDE})
        world.manager.load("m", {})

        assert [str(key) for key in world.shown] == ["m/1#1"]
        assert seen(world) == [OVERRIDE, OVERRIDE]


def test_a_configuration_override_ends_when_the_files_beside_the_versions_change() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"), common="old")
        world.manager.load("m", {"config": OVERRIDE})
        world.repository.put((1, "a"), common="new")

        world.manager.load("m", {})

        assert [str(key) for key in world.shown] == ["m/1#2"]
        assert seen(world)[-1] is None


def test_a_configuration_override_ends_with_the_unload() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {"config": OVERRIDE})
        world.manager.unload("m", {})

        world.manager.load("m", {})

        assert seen(world) == [OVERRIDE, None]


def test_an_override_that_fails_does_not_stick_and_what_serves_goes_on() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})
        world.failing = InternalError("no memory")
        with pytest.raises(InvalidRequestError):
            world.manager.load("m", {"config": OVERRIDE})
        world.failing = None

        world.manager.load("m", {})

        assert [str(key) for key in world.shown] == ["m/1#1"]
        assert seen(world) == [None, OVERRIDE, None]


def test_the_story_tells_of_a_configuration_override() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))

        world.manager.load("m", {"config": OVERRIDE})

        assert world.manager.story("m", 1)[0].reason == "asked for, with config override"


def test_versions_are_selected_by_the_request() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))

        world.manager.load("m", {"versions": "2,1"})

        assert world.repository.looks[-1].versions == (1, 2)


def test_a_version_that_is_not_there_fails_the_load_and_does_not_count_as_unready() -> None:
    world = PromptWorld()
    world.repository.models["m"] = MissingVersionError("version 7 is asked for")
    with running(world):
        with pytest.raises(InvalidRequestError) as caught:
            world.manager.load("m", {"versions": "7"})

        assert str(caught.value) == "load failed for model 'm': version 7 is asked for\n"
        assert world.manager.strictly_ready()


@pytest.mark.parametrize("parameters", [{"versions": "7"}, {"config": "{}", "file:1/x": b""}])
def test_what_is_wrong_with_a_request_is_no_reason_in_the_index(
    parameters: Mapping[str, Parameter],
) -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})
        world.repository.models["m"] = MissingVersionError("version 7 is asked for")
        world.repository.bad_files = InvalidRequestError("no such file")

        with pytest.raises(ServiceError):
            world.manager.load("m", parameters)

        assert world.index() == [("m", 1, "READY", "")]


def test_force_loads_what_has_not_changed() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})

        world.manager.load("m", {"force": True})
        world.manager.load("m", {})

        assert [str(key) for key in world.shown] == ["m/1#2"]


class PatientWorld(PromptWorld):
    """A world whose loads end when a test says so."""

    def _end_loads(self) -> None:
        return


def test_a_load_that_nobody_waits_for_goes_on() -> None:
    with running(PatientWorld()) as world:
        world.repository.put((1, "a"))

        world.manager.load("m", {"wait": False})

        assert world.index() in ([("m", None, "", "")], [("m", 1, "LOADING", "")])


def test_a_poll_that_fails_is_told_to_who_does_not_wait() -> None:
    world = PatientWorld()
    world.repository.models["m"] = InvalidRequestError("broken")

    with running(world), pytest.raises(InternalError, match="failed to poll"):
        world.manager.load("m", {"wait": False})


def test_a_load_that_takes_longer_than_its_timeout_goes_on() -> None:
    with running(PatientWorld()) as world:
        world.repository.put((1, "a"))

        with pytest.raises(UnavailableError) as caught:
            world.manager.load("m", {"timeout_ms": 1})

    assert str(caught.value) == (
        "load of model 'm' has not ended within 1 ms; it goes on, and "
        "RepositoryIndex tells how it ends"
    )


def test_a_load_whose_turn_does_not_come_changes_nothing() -> None:
    world = World()
    world.repository.put((1, "a"))
    world.manager.load("m", {"wait": False})

    with pytest.raises(UnavailableError) as caught:
        world.manager.load("m", {"timeout_ms": 1})

    assert str(caught.value) == (
        "load of model 'm' has not begun within 1 ms, another operation on the model goes on; "
        "nothing was changed"
    )
    assert len(world.repository.looks) == 1


FILES: Mapping[str, Parameter] = {"config": "{}", "file:1/model.onnx": b"x"}


def test_files_that_come_with_a_load_are_the_model() -> None:
    with running(PromptWorld()) as world:
        world.manager.load("m", FILES)

        assert world.index() == [("m", 1, "READY", "")]
        assert world.manager.story("m", 1)[0].reason == "asked for, with file override"


def test_the_next_plain_load_returns_to_the_repository() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {"config": OVERRIDE})
        world.manager.load("m", FILES)

        world.manager.load("m", {})

        assert seen(world)[-1] is None
        assert [str(key) for key in world.shown] == ["m/1#3"]


def test_a_model_of_files_serves_on_when_the_repository_does_not_have_it() -> None:
    with running(PromptWorld()) as world:
        world.manager.load("m", FILES)

        with pytest.raises(InternalError, match="model not found in any model repository"):
            world.manager.load("m", {})

        assert [str(key) for key in world.shown] == ["m/1#1"]


def test_a_directory_is_released_when_its_version_is_unloaded() -> None:
    with running(PromptWorld()) as world:
        world.manager.load("m", FILES)
        world.manager.unload("m", {})
        assert world.repository.released == []

    (drained,) = world.executor.draining
    world.drains(drained)
    assert world.repository.released == []
    world.unloads(drained)

    assert world.repository.released == [Path("/scratch/1")]


def test_a_directory_is_released_when_its_load_fails() -> None:
    with running(PromptWorld()) as world:
        world.manager.load("m", FILES)
        world.failing = InternalError("broken file")

        with pytest.raises(InvalidRequestError, match="broken file"):
            world.manager.load("m", FILES)

        assert world.repository.released == [Path("/scratch/2")]
        assert [str(key) for key in world.shown] == ["m/1#1"]


def test_a_directory_of_several_versions_is_released_with_the_last() -> None:
    world = World()
    world.serve((1, "a"), (2, "a"))
    world.unwish()
    first, last = sorted(world.executor.draining)
    for one in (first, last):
        world.drains(one)

    world.unloads(first)
    assert world.repository.released == []
    world.unloads(last)

    assert world.repository.released == [Path("/models/m")]


def test_an_unload_that_is_waited_for_returns_when_nothing_is_left() -> None:
    with running(PromptWorld()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})
        ends = world.manager.subscribe(lambda: _end_unloads(world))

        world.manager.unload("m", {"wait": True})

        assert world.index() == [("m", 1, "UNAVAILABLE", "unloaded")]
        ends()


def _end_unloads(world: PromptWorld) -> None:
    executor = world.executor
    for drained, left in list(executor.draining.items()):
        del executor.draining[drained]
        executor.unloading[drained] = left
        world.inbox.put(Drained(drained))
        world.inbox.put(Unloaded(drained))


def test_files_that_cannot_be_polled_leave_no_trace_of_a_name_that_nobody_knows() -> None:
    world = PromptWorld()
    world.repository.bad_files = InvalidRequestError("Invalid file parameter")
    with running(world):
        with pytest.raises(InternalError) as caught:
            world.manager.load("any", FILES)

        assert str(caught.value) == (
            "failed to load 'any', failed to poll from model repository: Invalid file parameter"
        )
        assert world.index() == []
        assert world.manager.strictly_ready()


WARM_S = 60.0


def test_a_rollback_returns_when_what_served_before_serves_again() -> None:
    with running(PromptWorld(window_s=WARM_S)) as world:
        for fingerprint in "ab":
            world.repository.put((1, fingerprint))
            world.manager.load("m", {})

        done = world.manager.roll_back("m", None)

        assert (done.versions, done.was_warm) == ((1,), True)
        assert done.hold.startswith("held: rolled back to version 1, until ")
        assert world.shown == {key(1)}


def test_a_second_rollback_is_refused_since_it_would_lead_back() -> None:
    with running(PromptWorld(window_s=WARM_S)) as world:
        for fingerprint in "ab":
            world.repository.put((1, fingerprint))
            world.manager.load("m", {})
        done = world.manager.roll_back("m", None)

        with pytest.raises(InvalidRequestError) as caught:
            world.manager.roll_back("m", None)

        assert str(caught.value) == (
            f"failed to roll back model 'm': it is rolled back already ({done.hold}); name the "
            "version to go to, or release the hold"
        )
        assert world.manager.roll_back("m", 1).was_warm
        assert world.shown == {key(1, 2)}


def test_a_rollback_without_a_window_loads_files_that_are_there() -> None:
    with running(PromptWorld()) as world:
        for version in (1, 2):
            world.repository.put((version, "a"))
            world.manager.load("m", {})

        done = world.manager.roll_back("m", None)

        assert (done.versions, done.was_warm) == ((1,), False)
        assert world.shown == {key(1, 2)}


def test_a_rollback_to_files_that_are_gone_is_refused_and_changes_nothing() -> None:
    with running(PromptWorld()) as world:
        for fingerprint in "ab":
            world.repository.put((1, fingerprint))
            world.manager.load("m", {})
        world.repository.changed.add(("m", 1))

        with pytest.raises(InvalidRequestError) as caught:
            world.manager.roll_back("m", None)

        assert str(caught.value) == (
            "failed to roll back model 'm': what version 1 served is no longer loaded, and its "
            "files in /models/m have changed since or are gone; --rollback-window-secs keeps what "
            "was replaced loaded for a while"
        )
        assert world.shown == {key(1, 2)}
        world.manager.load("m", {})  # the turn has ended


def test_a_rollback_of_a_model_that_nobody_knows_is_refused() -> None:
    with running(PromptWorld()) as world:
        with pytest.raises(InvalidRequestError, match="nothing served before"):
            world.manager.roll_back("m", None)
        with pytest.raises(InvalidRequestError, match="path traversal"):
            world.manager.roll_back("..", None)


def test_a_release_ends_the_hold_and_leaves_what_serves() -> None:
    with running(PromptWorld(window_s=WARM_S)) as world:
        for fingerprint in "ab":
            world.repository.put((1, fingerprint))
            world.manager.load("m", {})
        world.manager.roll_back("m", None)

        world.manager.release("m")

        assert world.index() == [("m", 1, "READY", "")]
        with pytest.raises(InvalidRequestError) as caught:
            world.manager.release("m")
        assert str(caught.value) == "failed to release model 'm': it is not held"


class Following(PromptWorld):
    """A world in poll mode; whoever follows the repository loads what is in it."""

    def __init__(self) -> None:
        super().__init__(PollMode(allow_control=True))
        self.asked: list[tuple[str, bool]] = []
        self.causes: list[Cause] = []
        self.withdrawn: list[str] = []
        self.manager.follow(self)

    def withdraw(self, model: ModelName) -> None:
        self.withdrawn.append(model)

    def ask(
        self, model: ModelName, *, force: bool = False, cause: Cause = A_LOAD
    ) -> "Future[None]":
        self.causes.append(cause)
        self.asked.append((model, force))
        found = self.repository.models.get(model)
        if not isinstance(found, Polled):
            refused: Future[None] = Future()
            refused.set_exception(InternalError("not there"))
            return refused
        wish = LoadWish(found, alone=True, again=True, force=force)
        self.inbox.put(wish)
        return wish.outcome


def test_in_poll_mode_a_load_has_the_repository_looked_at() -> None:
    world = Following()
    with running(world):
        world.repository.put((1, "a"))

        world.manager.load("m", {"force": True})

        assert world.asked == [("m", True)]
        assert world.shown == {key(1)}


ANN = Actor("ann")


class Causes:
    """A chronicle of causes: of each begin of a load and each end of serving."""

    def __init__(self) -> None:
        self.told: list[Cause] = []

    def moved(self, told: Told) -> None:
        if told.event in {Event.LOAD, Event.SHOW, Event.WITHDRAW}:
            self.told.append(told.moved_by)

    def troubled(self, trouble: Trouble) -> None:
        self.told.append(trouble.cause)


Verb = Callable[[Manager], object]


@pytest.mark.parametrize(
    ("verb", "deed"),
    [
        pytest.param(lambda one: one.load("m", {"force": True}, ANN), Deed.LOAD, id="load"),
        pytest.param(
            lambda one: one.load("m", {"config": "{}"}, ANN), Deed.CONFIG_OVERRIDE, id="config"
        ),
        pytest.param(
            lambda one: one.load("m", {"config": "{}", "file:1/x": b""}, ANN),
            Deed.FILE_OVERRIDE,
            id="file",
        ),
        pytest.param(lambda one: one.unload("m", {}, ANN), Deed.UNLOAD, id="unload"),
        pytest.param(lambda one: one.roll_back("m", None, ANN), Deed.ROLLBACK, id="roll back"),
    ],
)
def test_a_change_is_put_down_to_who_asks_for_it(verb: Verb, deed: Deed) -> None:
    causes = Causes()
    with running(PromptWorld(window_s=60.0, chronicle=causes)) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})
        world.repository.put((2, "b"))
        world.manager.load("m", {})
        causes.told.clear()

        verb(world.manager)

        assert set(causes.told) == {Cause(deed, ANN)}


def test_another_try_is_put_down_to_who_asks_for_it() -> None:
    causes = Causes()
    with running(PromptWorld(chronicle=causes)) as world:
        world.repository.put((1, "a"))
        world.failing = InternalError("broken")
        world.manager.begin()
        with pytest.raises(InvalidRequestError):
            world.manager.load("m", {})
        world.failing = None
        causes.told.clear()

        world.manager.retry("m", None, ANN)

        assert set(causes.told) == {Cause(Deed.RETRY, ANN)}


def test_what_is_loaded_at_start_is_put_down_to_the_server() -> None:
    causes = Causes()
    with running(PromptWorld(NoneMode(), chronicle=causes)) as world:
        world.repository.put((1, "a"))
        world.manager.begin()
        assert world.manager.first_loads.wait(30)

        assert set(causes.told) == {Cause(Deed.START)}


def test_in_poll_mode_whoever_follows_hears_who_asks() -> None:
    world = Following()
    with running(world):
        world.repository.put((1, "a"))
        world.manager.load("m", {}, ANN)
        world.manager.unload("m", {}, ANN)
        world.manager.release("m", ANN)

        assert world.causes == [Cause(Deed.LOAD, ANN), Cause(Deed.RELEASE, ANN)]


def test_in_poll_mode_a_load_that_finds_nothing_is_told_so() -> None:
    with running(Following()) as world:
        for _ in range(2):  # and the turn has ended
            with pytest.raises(InternalError, match="not there"):
                world.manager.load("m", {})


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"config": "{}"}, "config"),
        ({"file:1/x": b""}, "file"),
        ({"versions": "1"}, "versions"),
    ],
)
def test_in_poll_mode_a_load_brings_nothing_of_its_own(
    parameters: Mapping[str, Parameter], name: str
) -> None:
    with running(Following()) as world, pytest.raises(InvalidRequestError) as caught:
        world.manager.load("m", parameters)

    assert str(caught.value) == (
        f"load parameter '{name}' is not taken in model control mode poll: the server serves what "
        "the repository has; change it there"
    )


@pytest.mark.parametrize("end", ["load", "release"])
def test_in_poll_mode_an_unload_holds_until_it_is_ended_by_name(end: str) -> None:
    with running(Following()) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})

        world.manager.unload("m", {})
        follows = LoadWish(polled((1, "b")), alone=True, follows=True)
        world.inbox.put(follows)
        follows.outcome.result(30)
        assert world.shown == set()

        world.manager.load("m", {}) if end == "load" else world.manager.release("m")
        assert world.shown == {key(1, 2)}
        assert world.index() == [("m", 1, "READY", "")]


@pytest.mark.parametrize("verb", ["unload", "roll back"])
def test_in_poll_mode_nobody_waits_for_a_load_that_waits_for_its_files(verb: str) -> None:
    world = Waiting()
    with running(world):
        for content in "ab":
            world.wish_now((1, content))
        loading = spawn("load under test", world.load_and_note)
        assert world.begun.wait(30)

        if verb == "unload":
            world.manager.unload("m", {})
        else:
            world.manager.roll_back("m", None)

        loading.join(30)
        assert world.told == ["withdrawn"]
        assert world.shown == (set() if verb == "unload" else {key(1, 3)})


class Waiting(PromptWorld):
    """A world in poll mode in which files arrive for ever."""

    def __init__(self) -> None:
        super().__init__(PollMode(allow_control=True))
        self.begun = threading.Event()
        self.told: list[str] = []
        self.waiting: list[Future[None]] = []
        self.manager.follow(self)

    def ask(
        self, model: ModelName, *, force: bool = False, cause: Cause = A_LOAD
    ) -> "Future[None]":
        outcome: Future[None] = Future()
        self.waiting.append(outcome)
        self.begun.set()
        return outcome

    def withdraw(self, model: ModelName) -> None:
        for outcome in self.waiting:
            outcome.set_exception(UnavailableError("withdrawn"))

    def load_and_note(self) -> None:
        try:
            self.manager.load("m", {})
        except UnavailableError as error:
            self.told.append(error.reason.removeprefix("Unavailable: "))

    def wish_now(self, *candidates: tuple[int, str]) -> None:
        wish = LoadWish(polled(*candidates), alone=True, follows=True)
        self.inbox.put(wish)
        wish.outcome.result(30)


def test_in_mode_none_a_load_loads_and_an_unload_holds_where_that_is_allowed() -> None:
    with running(PromptWorld(NoneMode(allow_control=True))) as world:
        world.repository.put((1, "a"))
        world.manager.load("m", {})
        assert world.shown == {key(1)}

        world.manager.unload("m", {})

        assert world.shown == set()
        view = world.manager.view("m")
        assert view is not None
        assert view.hold is not None

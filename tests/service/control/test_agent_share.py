"""The agents of one load and the versions that share them, in all their threads."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st
from structlog.testing import capture_logs

from interlock.control.agent_pool import AgentPool
from interlock.control.agent_share import SharedChain
from interlock.domain.config_text import ConfigError
from interlock.domain.errors import InternalError, InvalidRequestError, UnavailableError
from interlock.domain.ids import Version
from interlock.runtime.threads import spawn
from interlock_agents.api import Action, AgentError, AgentModel, FilesLocation, Location
from tests.support.agents import NOWHERE, PATIENCE_S, Stage, nothing, on, raising
from tests.support.wire import eventually

ONE, TWO = Version(1), Version(2)
L, C, F, U, D = Action


class Later:
    """Does what is submitted when it is told to."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], None]] = []

    def __call__(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def do(self) -> None:
        while self.tasks:
            self.tasks.pop(0)()


def at_once(task: Callable[[], None]) -> None:
    task()


def test_versions_share_what_the_agents_have_prepared() -> None:
    stage = Stage(nothing)
    shared = SharedChain(stage.chain, [ONE, TWO], at_once)

    assert shared.prepare() is NOWHERE
    assert shared.prepare() is NOWHERE

    assert stage.stories == [[L]]


def test_the_agents_hear_what_becomes_of_the_versions() -> None:
    stage = Stage(nothing)
    shared = SharedChain(stage.chain, [ONE, TWO], at_once)
    shared.prepare()

    shared.settled(ONE, serves=True)
    assert stage.stories == [[L]]
    shared.settled(TWO, serves=False)
    assert stage.stories == [[L, C]]
    shared.leaving(ONE)
    assert stage.stories == [[L, C, U]]
    assert not shared.is_over
    shared.gone(ONE)
    assert stage.stories == [[L, C, U, D]]
    assert shared.is_over


def test_whoever_reports_waits_for_no_agent() -> None:
    later, stage = Later(), Stage(nothing)
    shared = SharedChain(stage.chain, [ONE], later)
    shared.prepare()

    shared.settled(ONE, serves=True)
    shared.leaving(ONE)
    shared.gone(ONE)

    assert stage.stories == [[L]]
    assert len(later.tasks) == 1
    assert not shared.is_over
    later.do()
    assert stage.stories == [[L, C, U, D]]
    assert shared.is_over


def test_what_the_agents_refuse_is_the_reason_of_every_version() -> None:
    stage = Stage(on(L, raising(AgentError("bad digest"))))
    shared = SharedChain(stage.chain, [ONE, TWO], at_once)

    errors: list[InvalidRequestError] = []
    for version in (ONE, TWO):
        with pytest.raises(InvalidRequestError, match="bad digest") as refused:
            shared.prepare()
        errors.append(refused.value)
        shared.settled(version, serves=False)

    assert errors[0] is not errors[1]
    assert stage.stories == [[L, F]]
    assert shared.is_over


def failing_to_read(error: BaseException) -> Stage:
    """A chain that fails at what its agent has published."""

    def read(_: Location) -> dict[str, object]:
        raise error

    return Stage(on(L, lambda _, model: model.publish(FilesLocation({}))), read_config=read)


def test_a_configuration_that_is_broken_keeps_its_place() -> None:
    stage = failing_to_read(ConfigError("broken", path="config.pbtxt", line=3, column=2))

    with pytest.raises(ConfigError) as refused:
        SharedChain(stage.chain, [ONE], at_once).prepare()

    assert (refused.value.path, refused.value.line) == ("config.pbtxt", 3)
    assert stage.stories == [[L, F]]


def test_what_nobody_foresaw_is_a_reason_too() -> None:
    stage = failing_to_read(ZeroDivisionError("by zero"))

    with capture_logs() as logs, pytest.raises(InternalError, match="ZeroDivisionError: by zero"):
        SharedChain(stage.chain, [ONE], at_once).prepare()

    assert [line["event"] for line in logs] == ["repository agents could not be run"]
    assert stage.stories == [[L, F]]


def test_a_load_that_is_dropped_before_it_begins_is_no_story() -> None:
    stage = Stage(nothing)
    shared = SharedChain(stage.chain, [ONE, TWO], at_once)

    shared.settled(ONE, serves=False)
    shared.settled(TWO, serves=False)

    assert shared.is_over
    with pytest.raises(UnavailableError, match="the load was dropped"):
        shared.prepare()
    assert stage.stories == [[]]


def test_a_load_of_which_one_version_is_dropped_goes_on() -> None:
    stage = Stage(nothing)
    shared = SharedChain(stage.chain, [ONE, TWO], at_once)

    shared.settled(ONE, serves=False)
    shared.prepare()
    shared.settled(TWO, serves=True)

    assert stage.stories == [[L, C]]


def test_the_others_wait_for_the_one_that_has_the_agents_work() -> None:
    begun, gate = threading.Event(), threading.Event()

    def work(_: Action, __: AgentModel) -> None:
        begun.set()
        assert gate.wait(PATIENCE_S)

    stage = Stage(on(L, work), pool=AgentPool())
    shared = SharedChain(stage.chain, [ONE, TWO], at_once)
    got: list[Location] = []
    threads = [spawn(f"load-{n}", lambda: got.append(shared.prepare())) for n in range(2)]
    assert begun.wait(PATIENCE_S)
    assert got == []

    gate.set()

    for thread in threads:
        thread.join(PATIENCE_S)
    assert got == [NOWHERE] * 2
    assert stage.stories == [[L]]


def test_agents_are_cut_off_when_the_last_version_is_dropped() -> None:
    begun = threading.Event()

    def work(_: Action, model: AgentModel) -> None:
        begun.set()
        while True:
            model.check()

    stage = Stage(on(L, work), pool=AgentPool())
    shared = SharedChain(stage.chain, [ONE, TWO], at_once)
    refused: list[type[BaseException]] = []

    def load() -> None:
        try:
            shared.prepare()
        except UnavailableError as error:
            refused.append(type(error))

    thread = spawn("load", load)
    assert begun.wait(PATIENCE_S)
    shared.settled(ONE, serves=False)
    shared.settled(TWO, serves=False)

    thread.join(PATIENCE_S)
    assert refused == [UnavailableError]
    eventually(lambda: stage.stories == [[L, F]])
    assert shared.is_over


def test_what_cannot_be_told_is_logged_and_the_rest_is_told() -> None:
    stage = Stage(nothing)
    shared = SharedChain(stage.chain, [ONE], at_once)
    shared.prepare()
    stage.chain.complete()

    with capture_logs() as logs:
        shared.settled(ONE, serves=True)
    shared.leaving(ONE)
    shared.gone(ONE)

    assert [line["event"] for line in logs] == ["repository agents were not told"]
    assert stage.stories == [[L, C, U, D]]


class Life:
    """A load of versions, each of which goes its way one move at a time."""

    def __init__(self, fates: list[bool], *, refuses: bool) -> None:
        self.later = Later()
        self.stage = Stage(on(L, raising(AgentError("no"))) if refuses else nothing)
        self.shared = SharedChain(self.stage.chain, map(Version, range(len(fates))), self.later)
        self.fates = fates
        self.steps = [0] * len(fates)
        self.serves = [False] * len(fates)

    def move(self, number: int) -> None:
        version = Version(number)
        match self.steps[number]:
            case 0:
                self.serves[number] = self.fates[number] and self.is_prepared()
            case 1:
                self.shared.settled(version, serves=self.serves[number])
            case 2 if self.serves[number]:
                self.shared.leaving(version)
            case 3:
                self.shared.gone(version)
            case _:
                return
        self.steps[number] += 1

    def is_prepared(self) -> bool:
        try:
            self.shared.prepare()
        except (InvalidRequestError, UnavailableError):
            return False
        return True


@given(
    fates=st.lists(st.booleans(), min_size=1, max_size=3),
    order=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=20),
    refuses=st.booleans(),
)
def test_whatever_happens_the_story_is_whole(
    fates: list[bool], order: list[tuple[int, bool]], *, refuses: bool
) -> None:
    life = Life(fates, refuses=refuses)

    with capture_logs() as logs:
        for pick, has_time in order:
            life.move(pick % len(fates))
            if has_time:
                life.later.do()
        for number in [*range(len(fates))] * 4:
            life.move(number)
        life.later.do()

    assert life.shared.is_over
    assert logs == []
    if not any(fates):
        assert life.stage.stories == [[]]
    elif any(life.serves):
        assert life.stage.stories == [[L, C, U, D]]
    else:
        assert life.stage.stories == [[L, F]]

"""A model's agents: what each sees, in which order they hear, and what becomes of refusals."""

import threading
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.agent_chain import Link, Note
from interlock.control.agent_model import Found
from interlock.control.agent_pool import AgentPool, Ending
from interlock.control.agent_story import IllegalActionError
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
    UnsupportedError,
)
from interlock.runtime.threads import spawn
from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    DirectoryLocation,
    Fault,
    FilesLocation,
    Location,
    MemoryFile,
    PathError,
    RepositoryAgent,
)
from tests.support.agents import NOWHERE, Act, PoolFake, Stage, in_memory, nothing
from tests.support.wire import eventually

L, C, F, U, D = Action
SERVED = [L, C, U, D]
PATIENCE_S = 30.0
LOAD_NAME = "TRITONREPOAGENT_ACTION_LOAD"


def on(action: Action, act: Act) -> Act:
    """An agent that does something on one action, and agrees to the others."""
    return lambda heard, model: heard is action and act(heard, model)


def raising(error: BaseException) -> Act:
    def act(action: Action, model: AgentModel) -> None:
        raise error

    return act


def publishing(location: Location) -> Act:
    return on(L, lambda _, model: model.publish(location))


def nobody() -> None:
    """Do nothing, in a thread of the pool."""


def live(stage: Stage) -> None:
    """Go from the load to the end."""
    chain = stage.chain
    for move in (chain.load, chain.complete, chain.unload, chain.unloaded):
        move()


def refusal_of(stage: Stage) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        stage.chain.load()
    return refused.value


def test_load_and_unload_are_heard_in_order_and_the_rest_in_reverse() -> None:
    stage = Stage(nothing, nothing, nothing)

    live(stage)

    order = [("abc", L), ("cba", C), ("abc", U), ("cba", D)]
    assert stage.diary == [(name, action) for names, action in order for name in names]


def test_a_load_that_fails_later_is_told_in_reverse() -> None:
    stage = Stage(nothing, nothing, nothing)
    stage.chain.load()

    stage.chain.fail()

    assert stage.diary[3:] == [("c", F), ("b", F), ("a", F)]


def test_those_behind_the_one_that_refuses_are_never_made() -> None:
    stage = Stage(nothing, on(L, raising(AgentError("not this one"))), nothing)

    refused = refusal_of(stage)

    assert str(refused) == "not this one"
    assert stage.stories == [[L, F], [L, F], []]
    assert [player.made for player in stage.players] == [1, 1, 0]
    assert stage.diary[2:] == [("b", F), ("a", F)]


SIZES_AND_PLACES = [(size, place) for size in range(1, 5) for place in range(size)]
ERRORS = [AgentError("no"), ZeroDivisionError(), SystemExit(3), KeyboardInterrupt()]


def fate_of(call: int, how: Ending) -> Callable[[], Ending]:
    """The fate of the call with this number; all others return."""
    calls = iter(range(1000))
    return lambda: how if next(calls) == call else Ending.RETURNED


def number_of_call(action: Action, *, size: int, place: int) -> int:
    before = {L: 0, C: size, F: size, U: 2 * size, D: 3 * size}[action]
    return before + (place if action in {L, U} else size - 1 - place)


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whoever_fails_at_a_load_is_told_so_and_all_before(
    size: int, place: int, error: BaseException
) -> None:
    acts = [on(L, raising(error)) if number == place else nothing for number in range(size)]
    stage = Stage(*acts)

    with capture_logs():
        refusal_of(stage)

    assert stage.stories == [[L, F]] * (place + 1) + [[]] * (size - 1 - place)
    assert stage.chain.last is F


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
@pytest.mark.parametrize("action", [C, F, U, D])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whoever_fails_later_keeps_nobody_from_hearing_all(
    size: int, place: int, action: Action, error: BaseException
) -> None:
    acts = [on(action, raising(error)) if number == place else nothing for number in range(size)]
    stage = Stage(*acts)

    with capture_logs() as logs:
        if action is F:
            stage.chain.load()
            stage.chain.fail()
        else:
            live(stage)

    assert stage.stories == [[L, F] if action is F else SERVED] * size
    name = f"TRITONREPOAGENT_ACTION_{action.value}"
    assert [line["event"] for line in logs] == [f"Agent model returns error on {name}: {error}"]
    assert logs[0]["agent"] == "abcd"[place]
    assert logs[0]["model"] == "m"


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
def test_whoever_hangs_in_a_load_hears_the_end_of_it_when_it_is_back(size: int, place: int) -> None:
    pool = PoolFake(fate_of(place, Ending.OVER_TIME))
    stage = Stage(*[nothing] * size, pool=pool)

    with capture_logs():
        refused = refusal_of(stage)

    assert isinstance(refused, UnavailableError)
    name = "abcd"[place]
    assert str(refused) == f"agent '{name}' did not come to an end within --agent-timeout-secs=5"
    assert stage.stories == [[L, F]] * place + [[L]] + [[]] * (size - place - 1)
    pool.let_go()
    assert stage.stories == [[L, F]] * (place + 1) + [[]] * (size - place - 1)


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
@pytest.mark.parametrize("action", [C, F, U, D])
def test_whoever_hangs_later_hears_the_rest_when_it_is_back(
    size: int, place: int, action: Action
) -> None:
    call = number_of_call(action, size=size, place=place)
    pool = PoolFake(fate_of(call, Ending.OVER_TIME))
    stage = Stage(*[nothing] * size, pool=pool)
    whole = [L, F] if action is F else SERVED

    with capture_logs():
        if action is F:
            stage.chain.load()
            stage.chain.fail()
        else:
            live(stage)

    others = [story for number, story in enumerate(stage.stories) if number != place]
    assert others == [whole] * (size - 1)
    assert stage.stories[place] == whole[: whole.index(action) + 1]
    pool.let_go()
    assert stage.stories == [whole] * size


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
def test_a_load_that_is_cut_off_is_over_for_all(size: int, place: int) -> None:
    pool = PoolFake(fate_of(place, Ending.CUT_OFF))
    stage = Stage(*[nothing] * size, pool=pool)

    with capture_logs():
        refused = refusal_of(stage)

    assert isinstance(refused, UnavailableError)
    assert str(refused) == "the load was given up while repository agents were at work"
    assert stage.stories == [[L, F]] * place + [[L]] + [[]] * (size - place - 1)
    pool.let_go()
    assert stage.stories == [[L, F]] * (place + 1) + [[]] * (size - place - 1)


def test_an_agent_that_waits_for_a_thread_is_not_asked_about_a_load_that_nobody_wants() -> None:
    gate, begun = threading.Event(), threading.Event()
    pool = AgentPool(threads=1)

    def hog(_: Action, __: AgentModel) -> None:
        begun.set()
        assert gate.wait(PATIENCE_S)

    first, second = Stage(on(L, hog), pool=pool), Stage(nothing, pool=pool)
    loading = spawn("first", lambda: live(first))
    assert begun.wait(PATIENCE_S)
    refused: list[ServiceError] = []
    waiting = spawn("second", lambda: refused.append(refusal_of(second)))

    eventually(lambda: second.chain.last is L)
    second.chain.cancel()

    waiting.join(PATIENCE_S)
    assert isinstance(refused[0], UnavailableError)
    gate.set()
    loading.join(PATIENCE_S)
    pool.run(nobody)
    assert second.stories == [[]]
    assert second.players[0].made == 0


@pytest.mark.parametrize("action", [C, U])
def test_what_cannot_be_told_for_lack_of_threads_is_told_with_what_follows(action: Action) -> None:
    pool = PoolFake(fate_of(number_of_call(action, size=1, place=0), Ending.NO_THREAD))
    stage = Stage(nothing, pool=pool)

    with capture_logs():
        live(stage)

    assert stage.stories == [SERVED]


def test_a_load_for_which_there_is_no_thread_is_refused() -> None:
    stage = Stage(nothing, nothing, pool=PoolFake(fate_of(1, Ending.NO_THREAD)))

    with capture_logs():
        refused = refusal_of(stage)

    assert str(refused) == ("no thread is left for agent 'b': 0 agents hang; restart the server")
    assert stage.stories == [[L, F], []]


@pytest.mark.parametrize("told", range(5))
def test_closing_ends_the_story_wherever_it_stands(told: int) -> None:
    stage = Stage(nothing, nothing)
    chain = stage.chain
    for move in (chain.load, chain.complete, chain.unload, chain.unloaded)[:told]:
        move()

    chain.close()
    chain.close()

    assert stage.stories == [{0: [], 1: [L, F]}.get(told, SERVED)] * 2


def test_what_is_out_of_order_is_refused_and_nobody_hears_of_it() -> None:
    stage = Stage(nothing)
    chain = stage.chain
    moves: dict[Action, Callable[[], object]] = {
        L: chain.load, C: chain.complete, F: chain.fail, U: chain.unload, D: chain.unloaded
    }  # fmt: skip
    for moment in (L, C, U, D):
        moves[moment]()
        heard = [*stage.diary]
        follows = {L: {C, F}, C: {U}, U: {D}, D: set()}[moment]
        for action in set(Action) - follows:
            with pytest.raises(IllegalActionError):
                moves[action]()
        assert stage.diary == heard


def test_a_model_that_nobody_wants_any_more_is_not_shown_to_agents() -> None:
    stage = Stage(nothing)
    stage.chain.cancel()

    assert isinstance(refusal_of(stage), UnavailableError)

    assert stage.stories == [[]]


def test_agents_are_not_asked_once_the_load_was_cancelled_by_one_of_them() -> None:
    stage = Stage(on(L, lambda *_: stages[0].chain.cancel()), nothing)
    stages = [stage]

    refusal_of(stage)

    assert stage.stories == [[L, F], []]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (AgentError("bad digest"), InvalidRequestError, "bad digest"),
        (AgentError("no MD4", Fault.UNSUPPORTED), UnsupportedError, "no MD4"),
        (AgentError("no key service", Fault.UNAVAILABLE), UnavailableError, "no key service"),
        (AgentError("oops", Fault.INTERNAL), InternalError, "oops"),
        (PathError("'../x' leads out"), InvalidRequestError, "'../x' leads out"),
        (ZeroDivisionError(), InternalError, "agent 'a' failed: ZeroDivisionError"),
        (ValueError("two\nlines"), InternalError, "agent 'a' failed: ValueError: two lines"),
        (
            FileNotFoundError(2, "No such file", "1/x"),
            InternalError,
            "agent 'a' failed: No such file: '1/x'",
        ),
        (OSError(28, "No space left"), InternalError, "agent 'a' failed: No space left"),
    ],
)
def test_what_an_agent_raises_is_the_reason(
    error: BaseException, kind: type[ServiceError], text: str
) -> None:
    with capture_logs() as logs:
        refused = refusal_of(Stage(on(L, raising(error))))

    assert type(refused) is kind
    assert str(refused) == text
    is_meant = isinstance(error, (AgentError, PathError))
    assert [line["event"] for line in logs] == (
        [] if is_meant else ["an agent failed unexpectedly"]
    )


def test_an_agent_that_cannot_be_made_has_no_story() -> None:
    def cannot_be_made() -> RepositoryAgent:
        raise AgentError("agent.py: no module named 'x'")

    stage = Stage(nothing, then=Link("broken", cannot_be_made))

    refused = refusal_of(stage)

    assert str(refused) == "agent.py: no module named 'x'"
    assert stage.stories == [[L, F]]


def test_the_reason_keeps_nothing_of_the_agents_frames() -> None:
    refused = refusal_of(Stage(on(L, raising(AgentError("no")))))

    assert refused.__cause__ is None
    assert refused.__context__ is None


def test_each_sees_what_the_one_before_has_published_and_its_configuration(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.pbtxt").write_text("from disk")
    seen: list[tuple[Location, object]] = []

    def look(_: Action, model: AgentModel) -> None:
        seen.append((model.location, model.config.get("name")))

    def publish(_: Action, model: AgentModel) -> None:
        model.publish(in_memory(model, config=b"from memory"))

    directory = DirectoryLocation(tmp_path)
    stage = Stage(on(L, look), publishing(directory), on(L, look), on(L, publish))

    published = stage.chain.load()

    assert seen == [(NOWHERE, "m"), (directory, "from disk")]
    assert published is stage.chain.location
    assert published.file("config.pbtxt").read() == b"from memory"
    stage.chain.close()


def test_where_nothing_is_published_the_files_stay_where_they_are() -> None:
    assert Stage(nothing, nothing).chain.load() is NOWHERE


def test_a_model_without_agents_loads_from_where_it_is() -> None:
    stage = Stage()

    assert stage.chain.load() is NOWHERE
    stage.chain.close()


def test_a_configuration_that_cannot_be_read_where_it_was_published_fails_the_load(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.pbtxt").write_bytes(b"\xff")
    stage = Stage(publishing(DirectoryLocation(tmp_path)), nothing)

    with pytest.raises(UnicodeDecodeError):
        stage.chain.load()

    assert stage.stories == [[L, F], []]


def test_what_an_agent_does_to_the_configuration_stays_with_it() -> None:
    seen: list[object] = []

    def spoil(_: Action, model: AgentModel) -> None:
        inputs = model.config["input"]
        assert isinstance(inputs, list)
        seen.append([*inputs])
        inputs.clear()

    found = Found(NOWHERE, {"input": ["x"]})
    stage = Stage(on(L, spoil), on(L, spoil), found=found)

    stage.chain.load()

    assert seen == [["x"], ["x"]]


def test_memory_is_wiped_once_the_model_serves() -> None:
    files: list[MemoryFile] = []

    def publish(_: Action, model: AgentModel) -> None:
        location = in_memory(model, weights=b"clear")
        files.extend(location.memory_files())
        model.publish(location)

    stage = Stage(on(L, publish))
    stage.chain.load()
    view = files[0].view
    assert bytes(view) == b"clear"

    stage.chain.complete()

    assert bytes(view) == bytes(5)
    assert files[0].is_closed


def test_memory_that_was_not_got_through_the_model_is_wiped_as_well() -> None:
    own = MemoryFile.of(b"clear")
    stage = Stage(publishing(FilesLocation({"weights": own})))
    stage.chain.load()

    stage.chain.fail()

    assert own.is_closed


def test_memory_of_an_agent_that_hangs_holds_nothing_and_keeps_its_number() -> None:
    gate = threading.Event()
    files: list[MemoryFile] = []

    def hang(_: Action, model: AgentModel) -> None:
        files.append(MemoryFile.of(b"clear"))
        model.publish(FilesLocation({"weights": files[0]}))
        assert gate.wait(PATIENCE_S)

    stage = Stage(on(L, hang), pool=AgentPool(timeout_s=0.05))

    with capture_logs():
        assert isinstance(refusal_of(stage), UnavailableError)

    assert not files[0].is_closed
    assert files[0].read() == bytes(5)
    gate.set()
    eventually(lambda: stage.stories == [[L, F]] and files[0].is_closed)


def test_what_an_agent_does_too_late_has_no_effect(tmp_path: Path) -> None:
    raised: list[str] = []

    def late(_: Action, model: AgentModel) -> None:
        uses: list[Callable[[], object]] = [
            lambda: model.publish(DirectoryLocation(tmp_path)),
            lambda: model.memory_file(1),
            model.scratch,
            model.check,
        ]
        assert model.is_cancelled
        for use in uses:
            try:
                use()
            except BaseException as error:  # noqa: BLE001 - what is raised is the point
                raised.append(type(error).__name__)

    pool = PoolFake(fate_of(0, Ending.OVER_TIME))
    stage = Stage(on(L, late), pool=pool)
    with capture_logs():
        refusal_of(stage)

    pool.let_go()

    assert raised == ["AgentCancelledError"] * 4
    assert stage.chain.location is NOWHERE
    assert stage.scratch.made == 0


def test_an_agent_that_looks_whether_it_is_cancelled_is_soon_done() -> None:
    begun = threading.Event()

    def loop(_: Action, model: AgentModel) -> None:
        begun.set()
        while True:
            model.check()

    pool = AgentPool()
    stage = Stage(on(L, loop), pool=pool)
    refused: list[BaseException] = []

    def load() -> None:
        try:
            stage.chain.load()
        except ServiceError as error:
            refused.append(error)

    thread = spawn("loading", load)
    assert begun.wait(PATIENCE_S)

    stage.chain.cancel()

    thread.join(PATIENCE_S)
    assert [type(error) for error in refused] == [UnavailableError]
    eventually(lambda: stage.stories == [[L, F]])
    eventually(lambda: pool.lost == 0)


def test_other_agents_go_on_while_one_hangs() -> None:
    gate = threading.Event()
    stage = Stage(
        nothing, on(C, lambda *_: gate.wait(PATIENCE_S)), nothing,
        pool=AgentPool(timeout_s=0.5),
    )  # fmt: skip

    with capture_logs():
        live(stage)

    assert stage.stories == [SERVED, [L, C], SERVED]
    gate.set()
    eventually(lambda: stage.stories == [SERVED] * 3)


def test_scratch_is_there_from_the_load_to_the_end() -> None:
    seen: list[Path] = []
    stage = Stage(lambda _, model: seen.append(model.scratch()))
    stage.chain.load()
    stage.chain.complete()
    stage.chain.unload()
    assert stage.scratch.there == {seen[0]}

    stage.chain.unloaded()

    assert set(seen) == {seen[0]}
    assert stage.scratch.there == set()


def test_each_agent_has_scratch_of_its_own() -> None:
    stage = Stage(*[lambda _, model: model.scratch()] * 3)

    stage.chain.load()

    assert len(stage.scratch.there) == 3
    stage.chain.close()
    assert stage.scratch.there == set()


def test_scratch_can_be_given_back_early() -> None:
    def give_back(_: Action, model: AgentModel) -> None:
        model.scratch()
        model.release_scratch()
        with pytest.raises(AgentError, match="No mutable location to be deleted") as refused:
            model.release_scratch()
        assert refused.value.fault is Fault.UNAVAILABLE

    stage = Stage(on(L, give_back))

    stage.chain.load()

    assert (stage.scratch.made, stage.scratch.there) == (1, set())
    stage.chain.close()


@pytest.mark.parametrize("action", [C, U, D])
def test_a_location_can_be_published_in_a_load_only(action: Action, tmp_path: Path) -> None:
    stage = Stage(on(action, lambda _, model: model.publish(DirectoryLocation(tmp_path))))

    with capture_logs() as logs:
        live(stage)

    name = f"TRITONREPOAGENT_ACTION_{action.value}"
    text = f"location can only be updated during {LOAD_NAME}, current action type is {name}"
    assert [line["event"] for line in logs] == [f"Agent model returns error on {name}: {text}"]


def test_a_location_cannot_be_published_between_calls(tmp_path: Path) -> None:
    kept: list[AgentModel] = []
    stage = Stage(on(L, lambda _, model: kept.append(model)))
    stage.chain.load()

    with pytest.raises(AgentError, match="current action type is not set"):
        kept[0].publish(DirectoryLocation(tmp_path))
    stage.chain.close()


class Elsewhere:
    """A location of a kind of its own."""

    def files(self) -> dict[str, MemoryFile]:
        return {}

    def file(self, path: str) -> MemoryFile:
        raise FileNotFoundError(path)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (DirectoryLocation(Path("/nothing/there")), "it is no directory by an absolute path"),
        (DirectoryLocation(Path("relative")), "it is no directory by an absolute path"),
        (Elsewhere(), "cannot publish a Elsewhere: it is no location"),
        (FilesLocation({"x": MemoryFile(1)}), "cannot publish 'x': it is not sealed"),
    ],
)
def test_a_wrong_location_is_refused(location: Location, says: str) -> None:
    refused = refusal_of(Stage(publishing(location)))

    assert says in str(refused)
    assert isinstance(refused, InternalError)


def test_what_agents_note_is_kept_in_their_order() -> None:
    def note(_: Action, model: AgentModel) -> None:
        model.note("signer", "CN=press")
        model.note("key", model.parameters["key"])

    stage = Stage(on(L, note), nothing, on(L, note), parameters={"key": "k1"})
    stage.chain.load()

    assert stage.chain.notes == tuple(
        Note(agent, name, value)
        for agent, (name, value) in product("ac", [("signer", "CN=press"), ("key", "k1")])
    )
    stage.chain.close()

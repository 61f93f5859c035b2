"""What an agent gets through its model, and what becomes of that."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.agent_model import Found
from interlock.control.agent_pool import AgentPool, Ending
from interlock.domain.errors import (
    InternalError,
    UnavailableError,
)
from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    DirectoryLocation,
    Fault,
    FilesLocation,
    Location,
    MemoryFile,
)
from tests.support.agents import (
    NOWHERE,
    PoolFake,
    Stage,
    fate_of,
    in_memory,
    live,
    nothing,
    on,
    publishing,
    refusal_of,
)
from tests.support.wire import eventually

L, C, F, U, D = Action
SERVED = [L, C, U, D]
PATIENCE_S = 30.0
LOAD_NAME = "TRITONREPOAGENT_ACTION_LOAD"


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

    noted = {"signer": "CN=press", "key": "k1"}
    assert [words.notes for words in stage.chain.heard] == [noted, {}, noted]
    stage.chain.close()


def test_a_note_that_is_no_text_is_refused() -> None:
    stage = Stage(on(L, lambda _, model: model.note("n", 3)))  # type: ignore[arg-type]

    assert str(refusal_of(stage)) == "a note is a name and a value, both of them texts"

"""Agents between a plan and a load: what they are asked, what is handed over, who hears what."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from interlock.control.agent_chain import Surroundings
from interlock.control.agent_links import ConfigReader
from interlock.control.agent_pool import AgentPool
from interlock.control.lifecycle import Event, Phase, Transition
from interlock.control.preparing import NoAgents, Preparations, Workshop
from interlock.control.published import Places
from interlock.control.reports import LoadDropped, LoadFailed, Progress, Report
from interlock.control.verifying import FilesMovedError
from interlock.domain.config import ModelConfig
from interlock.domain.config_agents import AgentConfig, Preparation
from interlock.domain.errors import InvalidRequestError
from interlock.domain.ids import GenerationKey
from interlock.repository.fingerprint import fingerprint
from interlock.repository.scratch import Scratch
from interlock.runtime.clock import monotonic
from interlock.serving.load_job import LoadJob
from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    DirectoryLocation,
    FilesLocation,
    RepositoryAgent,
)
from interlock_agents.catalog import AgentCatalog, Offer
from tests.support.control import key
from tests.support.wire import eventually

PATIENCE_S = 10.0
PREPARATION = Preparation((AgentConfig("actor"),))
ONE, TWO = key(1), key(2)
Act = Callable[[AgentModel], None]


def agree(model: AgentModel) -> None:
    pass


def moved(of: GenerationKey, after: Phase) -> Transition:
    return Transition(of, Phase.NEW, after, "", 0.0)


@dataclass
class World:
    """Preparations with one agent that does on LOAD what a test says, and tells what it hears."""

    root: Path
    act: Act = agree
    check: Callable[[LoadJob, str], None] = lambda _job, _when: None
    heard: list[tuple[str, list[int], Action]] = field(default_factory=list)
    told: "SimpleQueue[Report | LoadJob]" = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        world = self

        class Actor(RepositoryAgent):
            """For a test."""

            def act(self, action: Action, model: AgentModel) -> None:
                world.heard.append((model.name, list(model.versions), action))
                if action is Action.LOAD:
                    world.act(model)

        scratch = self.root / "scratch"
        scratch.mkdir()
        self.scratch = Scratch(scratch)
        reader = ConfigReader()
        self.preparations = Preparations(
            Workshop(
                catalog=AgentCatalog({"actor": Offer(Actor, Actor)}, installed=lambda: ()),
                surroundings=Surroundings(AgentPool(), self.scratch, reader.fields_at),
                reader=reader,
                places=Places(self.scratch),
                check=self._check,
            ),
            loads=self,
            report=self.told.put,
        )

    def _check(self, job: LoadJob, when: str) -> None:
        self.check(job, when)

    def load(self, job: LoadJob) -> None:
        self.told.put(job)

    def model(self, name: str = "m", config: str = 'backend: "identity" max_batch_size: 4') -> Path:
        folder = self.root / name
        for version in ("1", "2"):
            (folder / version).mkdir(parents=True)
            (folder / version / "weights").write_text(f"weights {version}")
        (folder / "config.pbtxt").write_text(config)
        return folder

    def job(self, of: GenerationKey, folder: Path, override: str | None = None) -> LoadJob:
        preparation = replace(PREPARATION, override=override)
        prints = fingerprint(folder).of(of.version)
        return LoadJob(of, ModelConfig("m"), folder, prints, preparation)

    def next(self) -> Report | LoadJob:
        return self.told.get(timeout=PATIENCE_S)

    def handed_over(self) -> LoadJob:
        progress, job = self.next(), self.next()
        assert isinstance(job, LoadJob)
        assert progress == Progress(job.key, Event.LOAD)
        return job

    def failure(self) -> LoadFailed:
        report = self.next()
        assert isinstance(report, LoadFailed)
        return report

    def moves(self, of: GenerationKey, *phases: Phase) -> None:
        for phase in phases:
            self.preparations.moved(moved(of, phase))

    @property
    def actions(self) -> list[Action]:
        return [action for _, _, action in self.heard]

    def is_over(self) -> bool:
        return self.preparations.wait_over(monotonic() + PATIENCE_S)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.scratch.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_agents_let_pass_is_loaded_with_the_configuration_that_is_there_then(
    world: World,
) -> None:
    job = world.job(ONE, world.model())

    world.preparations.prepare([job])

    handed_over = world.handed_over()
    assert handed_over.config.max_batch_size == 4
    assert handed_over.directory == job.model_directory
    assert handed_over == replace(job, config=handed_over.config)


def test_versions_of_one_directory_share_their_agents(world: World) -> None:
    folder, other = world.model(), world.model("other")

    world.preparations.prepare(
        [world.job(ONE, folder), world.job(TWO, folder), world.job(key(3), other)]
    )

    assert {world.handed_over().key for _ in range(3)} == {ONE, TWO, key(3)}
    assert sorted(versions for _, versions, _ in world.heard) == [[1, 2], [3]]


def test_agents_hear_what_becomes_of_the_versions(world: World) -> None:
    folder = world.model()
    world.preparations.prepare([world.job(ONE, folder), world.job(TWO, folder)])
    world.handed_over()
    world.handed_over()

    world.moves(ONE, Phase.LOADING, Phase.WARMING, Phase.PROVING, Phase.READY)
    world.moves(TWO, Phase.LOADING, Phase.PROVING, Phase.UNLOADING)
    eventually(lambda: world.actions == [Action.LOAD, Action.LOAD_COMPLETE])
    world.moves(TWO, Phase.UNLOADED)
    world.moves(ONE, Phase.STANDBY, Phase.READY, Phase.DRAINING)
    eventually(lambda: world.actions[2:] == [Action.UNLOAD])
    assert not world.preparations.wait_over(monotonic())
    world.moves(ONE, Phase.UNLOADING, Phase.UNLOADED)

    assert world.is_over()
    assert world.actions[3:] == [Action.UNLOAD_COMPLETE]


def test_agents_are_told_the_name_of_the_directory_and_not_what_tells_repositories_apart(
    world: World,
) -> None:
    def fail(model: AgentModel) -> None:
        raise ZeroDivisionError(model.name)

    of = key(1, model="prod::m")
    world.act = fail

    with capture_logs() as lines:
        world.preparations.prepare([world.job(of, world.model())])
        failure = world.failure()

    assert failure.key == of
    assert str(failure.error) == "agent 'actor' failed: ZeroDivisionError: m"
    assert [line["model"] for line in lines if "failed" in line["event"]] == ["prod::m"]
    world.moves(of, Phase.FAILED)
    assert world.is_over()


def test_what_agents_refuse_fails_in_their_words(world: World) -> None:
    def refuse(model: AgentModel) -> None:
        raise AgentError(f"{model.name} is not wanted")

    world.act = refuse
    folder = world.model()
    world.preparations.prepare([world.job(ONE, folder), world.job(TWO, folder)])

    failures = [world.failure(), world.failure()]
    assert {one.key for one in failures} == {ONE, TWO}
    assert {str(one.error) for one in failures} == {"m is not wanted"}
    assert all(one.error.__traceback__ is None for one in failures)
    world.moves(ONE, Phase.FAILED)
    world.moves(TWO, Phase.FAILED)
    assert world.is_over()
    assert world.actions == [Action.LOAD, Action.LOAD_FAIL]


def test_an_agent_that_nobody_has_fails_the_load(world: World) -> None:
    job = replace(
        world.job(ONE, world.model()), preparation=Preparation((AgentConfig("antivirus"),))
    )

    world.preparations.prepare([job])

    error = world.failure().error
    assert isinstance(error, InvalidRequestError)
    assert str(error) == "unable to find repo agent 'antivirus': this server has actor"
    world.moves(ONE, Phase.FAILED)
    assert world.is_over()


def test_a_configuration_that_is_broken_after_the_agents_tells_them(world: World) -> None:
    world.preparations.prepare(
        [world.job(ONE, world.model(config='backend: "identity" max_batch_size: -1'))]
    )

    assert "max_batch_size" in str(world.failure().error)
    world.moves(ONE, Phase.FAILED)
    assert world.is_over()
    assert world.actions == [Action.LOAD, Action.LOAD_FAIL]


def test_an_override_is_what_the_model_runs_with_whatever_agents_leave_behind(
    world: World,
) -> None:
    override = '{"backend": "identity", "max_batch_size": 7}'

    world.preparations.prepare([world.job(ONE, world.model(), override)])

    assert world.handed_over().config.max_batch_size == 7


def test_what_is_given_up_meanwhile_is_not_loaded_and_its_agents_are_cut_off(
    world: World,
) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def wait(model: AgentModel) -> None:
        begun.set()
        while not model.is_cancelled:
            threading.Event().wait(0.01)
        cancelled.set()

    world.act = wait
    world.preparations.prepare([world.job(ONE, world.model())])
    assert begun.wait(PATIENCE_S)

    world.moves(ONE, Phase.UNLOADED)

    assert cancelled.wait(PATIENCE_S)
    assert world.is_over()
    eventually(lambda: world.actions == [Action.LOAD, Action.LOAD_FAIL])
    assert world.told.empty()


def test_at_the_end_what_waits_for_its_agents_is_dropped(world: World) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def wait(_: AgentModel) -> None:
        begun.set()
        assert may_end.wait(PATIENCE_S)

    world.act = wait
    world.preparations.prepare([world.job(ONE, world.model())])
    assert begun.wait(PATIENCE_S)

    world.preparations.drop_waiting()

    assert world.next() == LoadDropped(ONE)
    world.moves(ONE, Phase.UNLOADED)
    may_end.set()
    assert world.is_over()
    assert world.told.empty()


def test_files_that_move_are_no_reason_against_their_content(world: World) -> None:
    def refuse(_: AgentModel) -> None:
        raise AgentError("half a file")

    def check(_: LoadJob, when: str) -> None:
        if when.startswith("while"):
            raise FilesMovedError(when)

    world.act, world.check = refuse, check
    world.preparations.prepare([world.job(ONE, world.model())])

    error = world.failure().error
    assert isinstance(error, FilesMovedError)
    assert str(error) == "while its repository agents were at work"


def test_files_that_have_moved_before_are_not_shown_to_agents(world: World) -> None:
    def check(_: LoadJob, when: str) -> None:
        raise FilesMovedError(when)

    world.check = check
    world.preparations.prepare([world.job(ONE, world.model())])

    assert isinstance(world.failure().error, FilesMovedError)
    assert world.heard == []
    world.moves(ONE, Phase.FAILED)
    assert world.is_over()


def test_a_directory_that_is_published_is_loaded_and_has_a_fingerprint(world: World) -> None:
    other = world.model("other", config='backend: "identity" max_batch_size: 9')
    world.act = lambda model: model.publish(DirectoryLocation(other))

    world.preparations.prepare([world.job(ONE, world.model())])

    job = world.handed_over()
    assert (job.directory, job.config.max_batch_size) == (other, 9)
    assert job.published is not None
    assert job.published.fingerprint == fingerprint(other).of(1)
    assert not job.is_linked


def test_files_in_memory_are_found_by_links_until_nobody_reads_them(world: World) -> None:
    def publish(model: AgentModel) -> None:
        memory = model.memory_file(3)
        memory.buffer[:] = b"abc"
        memory.seal()
        files = {**model.location.files(), "1/secret": memory}
        model.publish(FilesLocation(files))

    world.act = publish
    folder = world.model()
    world.preparations.prepare([world.job(ONE, folder)])

    job = world.handed_over()
    assert job.is_linked
    assert (job.directory / "1" / "secret").read_bytes() == b"abc"
    assert (job.directory / "1" / "weights").read_text() == "weights 1"
    assert job.inside(job.directory / "1" / "secret", job.directory)
    assert not job.inside(job.directory / ".." / "secret", job.directory)
    assert all(path.is_symlink() or path.is_dir() for path in job.directory.rglob("*"))
    assert job.config.max_batch_size == 4

    world.moves(ONE, Phase.LOADING, Phase.PROVING, Phase.READY)
    eventually(lambda: not job.directory.exists())
    eventually(lambda: world.actions == [Action.LOAD, Action.LOAD_COMPLETE])
    assert (folder / "1" / "weights").exists()


def test_files_that_cannot_lie_side_by_side_are_no_model(world: World) -> None:
    def publish(model: AgentModel) -> None:
        files = model.location.files()
        model.publish(FilesLocation({"1": files["1/weights"], "1/weights": files["1/weights"]}))

    world.act = publish
    world.preparations.prepare([world.job(ONE, world.model())])

    assert str(world.failure().error).startswith(
        "what the repository agents have published is no model directory: "
    )
    world.moves(ONE, Phase.FAILED)
    assert world.is_over()


def test_a_version_that_no_agent_has_seen_concerns_nobody(world: World) -> None:
    world.moves(ONE, Phase.READY)

    assert world.heard == []
    assert world.is_over()


def test_without_agents_nothing_passes_unseen(tmp_path: Path) -> None:
    agents = NoAgents()
    job = LoadJob(ONE, ModelConfig("m"), tmp_path, preparation=PREPARATION)

    agents.moved(moved(ONE, Phase.READY))
    agents.drop_waiting()
    with pytest.raises(LookupError):
        agents.prepare([job])

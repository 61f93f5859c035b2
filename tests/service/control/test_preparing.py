"""Agents between a plan and a load: what they are asked, what is handed over, who hears what."""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from structlog.testing import capture_logs

from interlock.control.agent_chain import Surroundings
from interlock.control.agent_links import ConfigReader
from interlock.control.agent_policy import (
    AgentPolicy,
    Allowances,
    Mode,
    RequiredAgent,
    Rule,
)
from interlock.control.agent_pool import AgentPool
from interlock.control.agent_verdicts import Heard, Verdict
from interlock.control.lifecycle import Event, Phase, Transition
from interlock.control.preparing import NoAgents, Preparations, Workshop
from interlock.control.published import Places
from interlock.control.reports import LoadDropped, LoadFailed, Progress, Remarked, Report
from interlock.control.verifying import FilesMovedError
from interlock.domain.config import ModelConfig
from interlock.domain.config_agents import AgentConfig, Preparation
from interlock.domain.errors import InternalError, InvalidRequestError
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
    DiskFile,
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


def assert_set(gate: threading.Event) -> None:
    assert gate.wait(PATIENCE_S)


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
    policy: AgentPolicy | None = None

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
                policy=lambda: self.policy,
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

    def plain(self, folder: Path, backend: str = "identity") -> LoadJob:
        """Return a job for a model that names no agents, and was read whole."""
        job = self.job(ONE, folder)
        return replace(job, config=ModelConfig("m", backend=backend), preparation=None)

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


def test_what_agents_say_of_a_version_is_known_until_it_is_over(world: World) -> None:
    world.act = lambda model: model.note("signer", "release")
    folder = world.model()
    world.preparations.prepare([world.job(ONE, folder), world.job(TWO, folder)])
    world.handed_over()
    world.handed_over()

    for one in (ONE, TWO):
        verdict = world.preparations.verdict_of(one)
        assert verdict == Verdict((Heard("actor", {}, notes={"signer": "release"}),))
    world.moves(ONE, Phase.LOADING, Phase.PROVING, Phase.READY)
    assert world.preparations.verdict_of(ONE) is not None
    world.moves(ONE, Phase.DRAINING, Phase.UNLOADING, Phase.UNLOADED)
    world.moves(TWO, Phase.FAILED)
    assert world.preparations.verdict_of(ONE) is None
    assert world.is_over()


def test_why_agents_refused_a_version_is_known_while_its_reason_is_shown(world: World) -> None:
    def refuse(_: AgentModel) -> None:
        raise AgentError("no")

    world.act = refuse
    world.preparations.prepare([world.job(ONE, world.model())])
    world.failure()
    world.moves(ONE, Phase.FAILED)

    verdict = world.preparations.verdict_of(ONE)
    assert verdict is not None
    assert [words.refusal for words in verdict.heard] == ["no"]
    assert world.is_over()


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


def test_who_is_at_work_can_be_told_where_nobody_waits_any_more(world: World) -> None:
    gate = threading.Event()
    world.act = lambda _model: assert_set(gate)
    world.preparations.prepare([world.job(ONE, world.model())])
    eventually(lambda: world.heard != [])

    assert not world.preparations.wait_over(monotonic())
    assert world.preparations.at_work == [("m", "actor", "LOAD")]

    gate.set()
    world.handed_over()
    assert world.preparations.at_work == []


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
    def copy(model: AgentModel) -> None:
        directory = model.scratch()
        shutil.copytree(folder, directory, dirs_exist_ok=True)
        (directory / "config.pbtxt").write_text('backend: "identity" max_batch_size: 9')
        model.publish(DirectoryLocation(directory))

    folder = world.model()
    world.act = copy

    world.preparations.prepare([world.job(ONE, folder)])

    job = world.handed_over()
    assert job.directory.parent == world.scratch.open()
    assert job.config.max_batch_size == 9
    assert job.published is not None
    assert job.published.fingerprint == fingerprint(job.directory).of(1)
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


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "failed to write to the scratch directory: No space left on device"),
        (errno.EDQUOT, "failed to write to the scratch directory: Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_not_held_against_the_model(world: World, number: int, says: str) -> None:
    class FullDisk(DiskFile):
        """A file that there is no room for a link to."""

        def __getattribute__(self, name: str) -> Any:
            if name == "path":
                raise OSError(number, os.strerror(number))
            return super().__getattribute__(name)

    location = FilesLocation({"1/weights": FullDisk(Path("/nowhere"), Path("/"))})
    before = set(world.scratch.open().iterdir())

    with pytest.raises(InternalError, match=says):
        Places(world.scratch).of(location, world.model())

    assert set(world.scratch.open().iterdir()) == before


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


ACTOR = RequiredAgent("actor", {"level": "high"})


def ruled(*required: RequiredAgent, mode: Mode = Mode.ENFORCE, **allow: bool) -> AgentPolicy:
    rule = Rule(("*",), mode, required, allow=Allowances(**allow), line=1)
    return AgentPolicy((rule,), name="p")


def refuse(_: AgentModel) -> None:
    raise AgentError("no")


def test_without_a_policy_only_what_has_agents_is_seen(world: World) -> None:
    job = world.job(ONE, world.model())

    assert world.preparations.see(job)
    assert not world.preparations.see(replace(job, preparation=None))
    world.policy = ruled()
    assert world.preparations.see(replace(job, preparation=None))


def test_a_model_that_names_no_agents_meets_those_that_the_policy_requires(world: World) -> None:
    parameters: list[dict[str, str]] = []
    world.act = lambda model: parameters.append(dict(model.parameters))
    world.policy = ruled(ACTOR)
    job = world.plain(world.model())

    world.preparations.prepare([job])

    assert world.handed_over() == replace(job, may_run_host_code=False)
    assert parameters == [{"level": "high"}]
    verdict = world.preparations.verdict_of(ONE)
    assert verdict is not None
    assert verdict.passes
    assert verdict.heard == (Heard("actor", {"level": "high"}),)


def test_a_configuration_that_comes_with_a_load_takes_no_agent_away(world: World) -> None:
    world.policy = ruled(ACTOR, config_overrides=True, host_code=True)
    job = world.job(ONE, world.model(), '{"backend": "identity", "max_batch_size": 7}')

    world.preparations.prepare([job])

    handed_over = world.handed_over()
    assert handed_over.config.max_batch_size == 7
    assert handed_over.may_run_host_code
    verdict = world.preparations.verdict_of(ONE)
    assert verdict is not None
    assert [words.parameters for words in verdict.heard] == [{"level": "high"}]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (AgentPolicy(name="p"), "policy: no rule speaks of the model 'm'"),
        (ruled(ACTOR), "policy: a load may not bring a configuration: the rule needs"),
    ],
    ids=["no rule", "override"],
)
def test_what_the_policy_refuses_no_agent_sees(
    world: World, policy: AgentPolicy, reason: str
) -> None:
    world.policy = policy
    world.preparations.prepare([world.job(ONE, world.model(), '{"backend": "identity"}')])

    error = world.failure().error

    assert isinstance(error, InvalidRequestError)
    assert str(error).startswith(reason)
    assert world.heard == []
    world.moves(ONE, Phase.FAILED)
    verdict = world.preparations.verdict_of(ONE)
    assert verdict is not None
    assert verdict.outcome == "refused"
    assert world.is_over()


def test_what_agents_leave_behind_is_held_against_the_policy_again(world: World) -> None:
    world.policy = ruled(ACTOR)
    world.preparations.prepare([world.job(ONE, world.model(config='name: "m" backend: "python"'))])

    assert str(world.failure().error).startswith("policy: the model is code in Python: ")
    world.moves(ONE, Phase.FAILED)
    assert world.is_over()
    assert world.actions[-1] is Action.LOAD_FAIL


@pytest.mark.parametrize("backend", ["python", "identity"])
def test_a_model_in_python_that_was_read_whole_needs_leave(world: World, backend: str) -> None:
    world.policy = ruled()
    world.preparations.prepare([world.plain(world.model(), backend)])

    if backend == "python":
        assert str(world.failure().error).startswith("policy: the model is code in Python: ")
    else:
        assert world.handed_over().config.backend == "identity"


def test_what_an_agent_of_the_policy_refuses_fails_in_its_words(world: World) -> None:
    world.act, world.policy = refuse, ruled(ACTOR)
    world.preparations.prepare([world.plain(world.model())])

    assert str(world.failure().error) == "no"
    world.moves(ONE, Phase.FAILED)
    verdict = world.preparations.verdict_of(ONE)
    assert verdict is not None
    assert verdict.refusal == "policy: the agent 'actor' refuses it: no (rule '*', p:1)"
    assert world.is_over()


@pytest.mark.parametrize(
    ("mode", "remark"),
    [
        (Mode.AUDIT, ""),
        (Mode.WARN, "policy: the agent 'actor' refuses it: no (rule '*', p:1)"),
    ],
)
def test_where_the_policy_only_looks_on_a_refused_model_is_loaded(
    world: World, mode: Mode, remark: str
) -> None:
    world.act, world.policy = refuse, ruled(ACTOR, mode=mode)
    with capture_logs() as logs:
        world.preparations.prepare([world.plain(world.model())])

        assert world.next() == Remarked(ONE, remark)
        assert world.handed_over().key == ONE

    (told,) = [line for line in logs if line["log_level"] == "warning"]
    assert told["mode"] == mode.value
    assert told["reason"] == "policy: the agent 'actor' refuses it: no (rule '*', p:1)"
    verdict = world.preparations.verdict_of(ONE)
    assert verdict is not None
    assert verdict.outcome in {"would-refuse", "warned"}


def test_an_agent_that_the_model_names_itself_binds_where_the_policy_only_looks_on(
    world: World,
) -> None:
    world.act, world.policy = refuse, ruled(RequiredAgent("actor"), mode=Mode.AUDIT)
    world.preparations.prepare([world.job(ONE, world.model())])

    assert str(world.failure().error) == "no"
    world.moves(ONE, Phase.FAILED)
    assert world.is_over()


def test_a_policy_that_changes_meanwhile_is_none_of_a_loads_business(world: World) -> None:
    def change(_: AgentModel) -> None:
        world.policy = AgentPolicy()

    world.act, world.policy = change, ruled(ACTOR)
    world.preparations.prepare([world.plain(world.model())])

    assert world.handed_over().key == ONE

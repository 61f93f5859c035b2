"""Repository agents of a manager that a test steps by hand: real ones, their threads as well."""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from interlock.control.agent_chain import Surroundings
from interlock.control.agent_links import ConfigReader
from interlock.control.agent_pool import Ending
from interlock.control.lifecycle import Transition
from interlock.control.preparing import Preparations, Workshop
from interlock.control.published import Places
from interlock.control.reports import Report
from interlock.control.workers import Task
from interlock.domain.config_agents import AgentConfig, Preparation
from interlock.domain.ids import GenerationKey
from interlock.repository.scratch import Scratch
from interlock.runtime.clock import Clock
from interlock.serving.load_job import LoadJob
from interlock_agents.api import (
    Action,
    AgentModel,
    FilesLocation,
    MemoryFile,
    RepositoryAgent,
)
from interlock_agents.catalog import AgentCatalog, Offer
from tests.support.agents import PoolFake, hold

NAMES = ("first", "second")
PREPARATION = Preparation(tuple(map(AgentConfig, NAMES)))
Do = Callable[[AgentModel], None]


def agree(model: AgentModel) -> None:
    pass


def nothing() -> None:
    pass


class HandWorkers:
    """Implements `Submits`: a test does what was submitted, in its own thread."""

    def __init__(self) -> None:
        self.waiting: list[Task] = []

    def submit(self, task: Task, *, dropped: Task) -> None:
        self.waiting.append(task)


@dataclass
class Told:
    """What one agent of one load has heard; `keys` are what that loads."""

    keys: Collection[GenerationKey]
    story: list[Action] = field(default_factory=list)


class HandAgents:
    """Implements the manager's `Agents` with two agents, `first` and `second`.

    They have scratch and memory each, and do on LOAD what a test says.
    """

    def __init__(
        self,
        root: Path,
        *,
        load: Callable[[LoadJob], None],
        report: Callable[[Report], None],
        clock: Clock,
    ) -> None:
        self.told: list[Told] = []
        self.memory: list[MemoryFile] = []
        self.preparing, self.telling = HandWorkers(), HandWorkers()
        self._fates: deque[Ending] = deque()
        self._do: Mapping[str, Do] = {}
        self._keys: Collection[GenerationKey] = ()
        self.pool = PoolFake(self._fate)
        self.scratch = Scratch(root)
        reader = ConfigReader()
        offers = {name: Offer(_Actor, partial(_Actor, self, name)) for name in NAMES}
        made = iter((self.preparing, self.telling))
        self._preparations = Preparations(
            Workshop(
                catalog=AgentCatalog(offers, installed=lambda: ()),
                surroundings=Surroundings(self.pool, self.scratch, reader.fields_at),
                reader=reader,
                places=Places(self.scratch),
                check=lambda _job, _when: None,
            ),
            loads=_Loads(load),
            report=report,
            clock=clock,
            workers=lambda _name, _size: next(made),
        )
        self.prepare = self._preparations.prepare
        self.drop_waiting = self._preparations.drop_waiting
        self.wait_over = self._preparations.wait_over

    def see(self, job: LoadJob) -> bool:
        return job.preparation is not None

    def moved(self, move: Transition) -> None:
        self._preparations.moved(move)

    def work(self, index: int, do: Mapping[str, Do], *fates: Ending) -> None:
        """Let the agents of one of the loads that wait do this; so their calls end."""
        task = self.preparing.waiting.pop(index)
        assert isinstance(task, partial)
        self._keys = tuple(job.key for job in task.args[0].jobs)
        self._do = do
        self._run(task, fates)

    def hear(self, index: int, *fates: Ending) -> None:
        """Let the agents of a load hear what has become of it."""
        self._run(self.telling.waiting.pop(index), fates)

    def come_back(self, index: int) -> None:
        """Let an agent that hangs go on."""
        self._do = {}
        self.pool.let_go(index)

    def of(self, key: GenerationKey) -> list[Told]:
        """Return what the agents of a generation have heard."""
        return [told for told in self.told if key in told.keys]

    def publish(self, model: AgentModel) -> None:
        """Put a file in memory beside the others."""
        memory = model.memory_file(6)
        self.memory.append(memory)
        memory.buffer[:] = b"secret"
        memory.seal()
        model.publish(FilesLocation({**model.location.files(), "secret": memory}))

    def do(self, name: str) -> Do:
        return self._do.get(name, agree)

    def begin(self) -> Told:
        self.told.append(Told(self._keys))
        return self.told[-1]

    def _run(self, task: Task, fates: Collection[Ending]) -> None:
        self._fates.extend(fates)
        task()
        self._fates.clear()

    def _fate(self) -> Ending:
        return self._fates.popleft() if self._fates else Ending.RETURNED


@dataclass(frozen=True, slots=True)
class _Loads:
    load: Callable[[LoadJob], None]


class _Actor(RepositoryAgent):
    """For a test."""

    def __init__(self, hand: HandAgents, name: str) -> None:
        self._hand = hand
        self._name = name
        self._told = hand.begin()

    def act(self, action: Action, model: AgentModel) -> None:
        self._told.story.append(action)
        hold()
        if action is not Action.LOAD:
            return
        model.scratch()
        self._hand.memory.append(model.memory_file(1))
        self._hand.do(self._name)(model)

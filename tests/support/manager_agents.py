"""Agents as the manager knows them, that do nothing by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from interlock.control.lifecycle import Event, Phase, Transition
from interlock.domain.ids import GenerationKey
from interlock.serving.load_job import LoadJob
from tests.support.control import World


@dataclass
class AgentsFake:
    """Remembers what it was asked; a test reports how it ended."""

    jobs: dict[GenerationKey, LoadJob] = field(default_factory=dict)
    asked: list[tuple[GenerationKey, ...]] = field(default_factory=list)
    moves: list[tuple[GenerationKey, Phase]] = field(default_factory=list)
    dropped: int = 0
    sees_all: bool = False

    def see(self, job: LoadJob) -> bool:
        return self.sees_all or job.preparation is not None

    def prepare(self, jobs: Sequence[LoadJob]) -> None:
        self.jobs.update((job.key, job) for job in jobs)
        self.asked.append(tuple(job.key for job in jobs))

    def moved(self, move: Transition) -> None:
        self.moves.append((move.key, move.after))

    def drop_waiting(self) -> None:
        self.dropped += 1


def let_pass(world: World, agents: AgentsFake, of: GenerationKey) -> None:
    """The agents let a version pass, and its load begins."""
    world.executor.load(agents.jobs[of])
    world.goes_on(of, Event.LOAD)

"""Between a plan and a load: have the repository agents of what is to be loaded at work.

All versions of a model that are loaded at once share their agents. Each load has a thread of
its own here, before it gets to the pool in which versions are loaded, so that no model waits
for the agents of another.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Final, NamedTuple, Protocol

import structlog

from interlock.control.agent_book import VerdictBook
from interlock.control.agent_chain import AgentChain, Surroundings
from interlock.control.agent_hearing import NAMELESS, Hearing, Judged, candidate_of
from interlock.control.agent_links import ConfigReader, links_of, unquoted
from interlock.control.agent_model import Found, Subject
from interlock.control.agent_policy import AgentPolicy, ChosenAgent
from interlock.control.agent_share import SharedChain
from interlock.control.agent_verdicts import Verdict
from interlock.control.lifecycle import OVER, Event, Phase, Transition
from interlock.control.published import Place, Places
from interlock.control.reports import LoadDropped, LoadFailed, Progress, Remarked, Report
from interlock.control.verifying import FilesMovedError
from interlock.control.workers import Task, Workers
from interlock.domain.config import ModelConfig
from interlock.domain.config_agents import Preparation, preliminary_override
from interlock.domain.config_rules import configure, configure_override
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.ids import GenerationKey, Version
from interlock.runtime.clock import Clock, monotonic
from interlock.serving.load_job import LoadJob
from interlock_agents.api import Action, DirectoryLocation, Location
from interlock_agents.catalog import AgentCatalog

log = structlog.get_logger()

_THREADS: Final = 64


class Agents(Protocol):
    """What the manager knows of repository agents. Nothing here blocks."""

    def see(self, job: LoadJob) -> bool:
        """Whether what a job loads goes through `prepare`; the same answer for ever."""
        ...

    def prepare(self, jobs: Sequence[LoadJob]) -> None:
        """Let agents see what is to be loaded of a model, then have each version loaded.

        For each: Progress with LOAD and what the executor reports of it, or LoadFailed, or
        LoadDropped.
        """
        ...

    def moved(self, move: Transition) -> None:
        """Hear what became of a version that agents have seen, or are to see."""
        ...

    def drop_waiting(self) -> None:
        """Give up what agents have not let pass yet: LoadDropped for each."""
        ...


class NoAgents:
    """Where no model has any."""

    def see(self, job: LoadJob) -> bool:
        return job.preparation is not None

    def prepare(self, jobs: Sequence[LoadJob]) -> None:
        """Raise LookupError: there is nobody to ask, and nothing passes unseen."""
        raise LookupError(f"{jobs[0].key} has agents, and this server has none")

    def moved(self, move: Transition) -> None:
        pass

    def drop_waiting(self) -> None:
        pass


class Submits(Protocol):
    """Does tasks in other threads; any thread may call."""

    def submit(self, task: Task, *, dropped: Task) -> None:
        """Do `task` soon, or `dropped` if it is given up before. Neither raises."""
        ...


class Loads(Protocol):
    """Who loads what agents have let pass."""

    def load(self, job: LoadJob) -> None:
        """Build a version, in another thread, and report."""
        ...


def no_other_names(_job: LoadJob) -> tuple[str, ...]:
    """Return the other names of a model where repositories have no namespaces."""
    return ()


def no_policy() -> AgentPolicy | None:
    """Return the policy of a server that has none."""
    return None


@dataclass(frozen=True, slots=True)
class Workshop:
    """What it takes to have agents at work, for all loads of a server.

    `check` raises FilesMovedError where the files of a job are no longer those that were to
    be loaded; the second argument ends the sentence that says so. `policy` is the one in
    force now, `None` on a server that never has one; `other_names` are those of a job's model
    that its rules may go by as well.
    """

    catalog: AgentCatalog
    surroundings: Surroundings
    reader: ConfigReader
    places: Places
    check: Callable[[LoadJob, str], None]
    auto_complete: bool = True
    policy: Callable[[], AgentPolicy | None] = no_policy
    other_names: Callable[[LoadJob], tuple[str, ...]] = no_other_names

    def hearing(self, job: LoadJob) -> Hearing:
        """Return how a job stands with the policy that is in force now."""
        return Hearing(self.policy(), candidate_of(job, self.other_names(job)))

    def chain(
        self, jobs: Sequence[LoadJob], preparation: Preparation, agents: Sequence[ChosenAgent]
    ) -> AgentChain:
        """Return the agents of a load. Raise ServiceError for one that nobody has."""
        first = jobs[0]
        location = DirectoryLocation(first.model_directory.absolute())
        fields = (
            self.reader.fields_at(location)
            if preparation.override is None
            else preliminary_override(preparation.override).fields
        )
        return AgentChain(
            Subject(
                first.config.name,
                tuple(job.key.version for job in jobs),
                identifier=first.key.model,
            ),
            links_of(agents, self.catalog),
            Found(location, fields),
            self.surroundings,
        )

    def config_of(self, job: LoadJob, location: Location, place: Place) -> ModelConfig:
        """Return what a model runs with once its agents have been at work. Raise ServiceError."""
        if job.preparation is None and place.is_original:
            return job.config
        override = None if job.preparation is None else job.preparation.override
        entries = place.first_entries(job.config.name)
        if override is not None:
            return configure_override(
                override,
                model=job.config.name,
                first_entries=entries,
                auto_complete=self.auto_complete,
            )
        path, text = self.reader.text_at(location)
        with unquoted(location, path):
            return configure(
                text,
                model=job.config.name,
                path=path,
                first_entries=entries,
                auto_complete=self.auto_complete,
            )


class AtWork(NamedTuple):
    """An agent that has not come back from an action yet."""

    model: str
    agent: str
    action: str


class _Stage(Enum):
    PREPARING = "preparing"
    LOADING = "loading"
    SERVING = "serving"
    LEAVING = "leaving"
    OVER = "over"


class _Load:
    """What is loaded of a model at once. Its owner's lock guards all but `jobs`."""

    def __init__(self, jobs: Sequence[LoadJob]) -> None:
        self.jobs = tuple(jobs)
        self.place: Place | None = None
        self._stages = {job.key.version: _Stage.PREPARING for job in jobs}
        self._chain: SharedChain | None = None

    @property
    def preparation(self) -> Preparation:
        return self.jobs[0].preparation or NAMELESS

    @property
    def is_over(self) -> bool:
        """Whether nobody is to hear anything any more."""
        is_left = any(stage is not _Stage.OVER for stage in self._stages.values())
        return not is_left and (self._chain is None or self._chain.is_over)

    @property
    def at_work(self) -> tuple[tuple[str, Action], ...]:
        """Its agents that are inside an action, and that action."""
        return () if self._chain is None else self._chain.at_work

    @property
    def is_read(self) -> bool:
        """Whether nobody reads its files any more."""
        open_stages = {_Stage.PREPARING, _Stage.LOADING}
        return open_stages.isdisjoint(self._stages.values())

    def is_wanted(self, version: Version) -> bool:
        """Whether a version waits for its agents."""
        return self._stages[version] is _Stage.PREPARING

    def adopt(self, chain: SharedChain) -> None:
        """Let these be its agents, who hear then what happened before there were any."""
        self._chain = chain
        for version, stage in self._stages.items():
            if stage is _Stage.OVER:
                chain.settled(version, serves=False)

    def begin_to_load(self, job: LoadJob) -> None:
        self._stages[job.key.version] = _Stage.LOADING

    def move(self, version: Version, phase: Phase) -> None:
        """Hear of a version; whatever its agents are to hear of that they do."""
        before = self._stages[version]
        after = _after(before, phase)
        if after is before:
            return
        self._stages[version] = after
        if self._chain is None:
            return
        if before in {_Stage.PREPARING, _Stage.LOADING}:
            self._chain.settled(version, serves=after is _Stage.SERVING)
        elif after is _Stage.LEAVING:
            self._chain.leaving(version)
        else:
            self._chain.gone(version)


def _after(stage: _Stage, phase: Phase) -> _Stage:
    match stage:
        case _Stage.PREPARING | _Stage.LOADING:
            if phase is Phase.READY:
                return _Stage.SERVING
            return _Stage.OVER if phase in OVER | {Phase.UNLOADING} else stage
        case _Stage.SERVING:
            return _Stage.LEAVING if phase is Phase.DRAINING else stage
        case _Stage.LEAVING:
            return _Stage.OVER if phase in OVER else stage
        case _Stage.OVER:
            return stage


class Preparations:
    """The agents of all that is loaded or serves. Any thread may call.

    `workers` makes what does tasks in so many threads that are called so.
    """

    def __init__(
        self,
        workshop: Workshop,
        *,
        loads: Loads,
        report: Callable[[Report], None],
        clock: Clock = monotonic,
        workers: Callable[[str, int], Submits] = Workers,
    ) -> None:
        self._workshop = workshop
        self._loads = loads
        self._report = report
        self._clock = clock
        self._workers = workers("prepare", _THREADS)
        self._tellers = workers("agents-told", _THREADS)
        # Guards the two below and each load. Never held while an agent is waited for.
        self._changed = threading.Condition()
        self._open: set[_Load] = set()
        self._tenants: dict[GenerationKey, _Load] = {}
        self._book = VerdictBook()

    @property
    def book(self) -> VerdictBook:
        """What was found of each generation."""
        return self._book

    def see(self, job: LoadJob) -> bool:
        return job.preparation is not None or self._workshop.policy() is not None

    def prepare(self, jobs: Sequence[LoadJob]) -> None:
        loads = [_Load(together) for together in _groups(jobs)]
        with self._changed:
            self._open = {load for load in self._open if not load.is_over} | set(loads)
            self._tenants.update((job.key, load) for load in loads for job in load.jobs)
        for load in loads:
            give_up = partial(self._fail, load, UnavailableError("no thread is left for agents"))
            self._workers.submit(partial(self._run, load), dropped=give_up)

    def verdict_of(self, key: GenerationKey) -> Verdict | None:
        """Return what agents made of a generation, `None` where none have seen it.

        Never blocks. Of one that failed as long as its reason is the last word on its version.
        """
        judged = self._book.judged(key)
        return None if judged is None else judged.verdict

    def moved(self, move: Transition) -> None:
        with self._changed:
            self._book.moved(move)
            load = self._tenants.get(move.key)
            if load is None:
                return
            load.move(move.key.version, move.after)
            if move.after in OVER:
                del self._tenants[move.key]
            place = load.place if load.is_read else None
            if place is not None:
                load.place = None
        if place is not None:
            self._submit(place.remove)

    def drop_waiting(self) -> None:
        with self._changed:
            waiting = [key for key, load in self._tenants.items() if load.is_wanted(key.version)]
        for key in waiting:
            self._report(LoadDropped(key))

    def wait_over(self, deadline: float) -> bool:
        """Wait until all agents have heard the end; False where they have not by `deadline`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(load.is_over for load in self._open),
                max(0.0, deadline - self._clock()),
            )

    @property
    def at_work(self) -> Sequence[AtWork]:
        """The agents that are inside an action now."""
        with self._changed:
            loads = tuple(self._open)
        return sorted(
            AtWork(load.jobs[0].key.model, agent, action.value)
            for load in loads
            for agent, action in load.at_work
        )

    def _run(self, load: _Load) -> None:
        try:
            self._hand_over(load, self._prepared(load))
        except ServiceError as error:
            self._fail(load, error)
        except BaseException as error:
            log.exception("agents could not be asked", model=load.jobs[0].key.model)
            self._fail(load, InternalError(f"{type(error).__name__}: {error}"))

    def _prepared(self, load: _Load) -> Sequence[LoadJob]:
        """Return what is to be loaded, as the agents leave it behind. Raise ServiceError."""
        for job in load.jobs:
            self._workshop.check(job, "before its repository agents were asked")
        hearing = self._workshop.hearing(load.jobs[0])
        if hearing.decision.refusal is not None:
            self._judge(load, hearing.refused())
        chain = self._asked(load, hearing)
        jobs = self._found(load, chain.location)
        hearing = hearing.run_by(jobs[0].config.backend)
        self._judge(load, hearing.judged(chain.heard))
        may = hearing.decision.allow.host_code
        return [replace(job, may_run_host_code=may) for job in jobs]

    def _asked(self, load: _Load, hearing: Hearing) -> SharedChain:
        """Return the agents once they have let a load pass. Raise ServiceError."""
        self._write(load, hearing.judged(()))
        chain = SharedChain(
            self._workshop.chain(load.jobs, load.preparation, hearing.decision.agents),
            [job.key.version for job in load.jobs],
            self._submit,
        )
        with self._changed:
            load.adopt(chain)
        try:
            chain.prepare()
        finally:
            self._write(load, hearing.judged(chain.heard))
        return chain

    def _found(self, load: _Load, location: Location) -> Sequence[LoadJob]:
        """Return what is to be loaded from a location. Raise ServiceError."""
        place = self._workshop.places.of(location, load.jobs[0].model_directory.absolute())
        with self._changed:
            is_late = load.is_read
            load.place = None if is_late else place
        if is_late:
            place.remove()
            raise UnavailableError("the load was given up")
        return [
            replace(
                job,
                config=self._workshop.config_of(job, location, place),
                published=place.published(job.key.version),
            )
            for job in load.jobs
        ]

    def _judge(self, load: _Load, judged: Judged) -> None:
        """Write down the last word on a load. Raise InvalidRequestError where that is no."""
        verdict = judged.verdict
        keys = self._write(load, judged)
        if verdict.refusal is not None:
            raise InvalidRequestError(verdict.refusal)
        if verdict.passes:
            return
        log.warning(
            "the agent policy is against a model that is loaded all the same",
            model=judged.candidate.model,
            mode=verdict.mode.value,
            reason=verdict.reason,
        )
        for key in keys:
            self._report(Remarked(key, verdict.warning or ""))

    def _write(self, load: _Load, judged: Judged) -> Sequence[GenerationKey]:
        """Write down what was found, of what is not over yet; return of what that is."""
        with self._changed:
            wanted = [job.key for job in load.jobs if load.is_wanted(job.key.version)]
            self._book.write(wanted, judged)
        return wanted

    def _hand_over(self, load: _Load, jobs: Iterable[LoadJob]) -> None:
        with self._changed:
            wanted = [job for job in jobs if load.is_wanted(job.key.version)]
            for job in wanted:
                load.begin_to_load(job)
        for job in wanted:
            # One that is given up at this moment is loaded, and thrown away.
            self._report(Progress(job.key, Event.LOAD))
            self._loads.load(job)

    def _fail(self, load: _Load, error: ServiceError) -> None:
        # Its frames lead to what agents had in their hands.
        reason = self._moved_meanwhile(load) or error.with_traceback(None)
        with self._changed:
            unserved = [job for job in load.jobs if load.is_wanted(job.key.version)]
        for job in unserved:
            self._report(LoadFailed(job.key, reason))

    def _moved_meanwhile(self, load: _Load) -> FilesMovedError | None:
        """Half a file is a reason to look again, not one to hold against its content."""
        try:
            for job in load.jobs:
                self._workshop.check(job, "while its repository agents were at work")
        except FilesMovedError as error:
            return error.with_traceback(None)
        return None

    def _submit(self, task: Task) -> None:
        def run() -> None:
            try:
                task()
            finally:
                with self._changed:
                    self._changed.notify_all()

        self._tellers.submit(run, dropped=_nothing)


def _groups(jobs: Sequence[LoadJob]) -> Sequence[Sequence[LoadJob]]:
    """Return what shares its agents: the versions of one directory that name the same ones."""
    groups: list[list[LoadJob]] = []
    for job in jobs:
        same = [one for one in groups if _shares_agents(one[0], job)]
        if same:
            same[0].append(job)
        else:
            groups.append([job])
    return groups


def _shares_agents(one: LoadJob, other: LoadJob) -> bool:
    return (one.model_directory, one.preparation) == (other.model_directory, other.preparation)


def _nothing() -> None:
    """Nobody waits for it."""

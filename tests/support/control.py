"""Fakes for the control plane: a repository, an executor, a loader, and a world to step by hand."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

from interlock.backends.instance_group import NO_INSTANCES
from interlock.control.chronicle import Chronicle
from interlock.control.inbox import Inbox
from interlock.control.index import Listing, StagingBoard
from interlock.control.lifecycle import Event
from interlock.control.manager import Manager, Message
from interlock.control.modes import ExplicitMode, Mode
from interlock.control.polling import PLAIN, Look
from interlock.control.preparing import Agents
from interlock.control.reports import (
    Drained,
    LoadDropped,
    Loaded,
    LoadFailed,
    Progress,
    Unloaded,
    UpdateFailed,
    UpdatePrepared,
)
from interlock.control.wishes import Candidate, LoadWish, Polled, RetryWish, UnloadWish
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InternalError, NotFoundError, ServiceError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.repository.snapshot import RepositorySnapshot
from interlock.scheduling.base import BatchRunner, TakeOver
from interlock.serving.freed import Freed
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob, LoadPhase, OnPhase
from interlock.serving.served_model import ServedModel
from interlock.serving.table import ServingTable
from interlock.telemetry.statistics import VersionStatistics

MODEL = ModelName("m")
FREED = Freed(freed_bytes=1000, resident_bytes=5000)
"""What every unload of a fake loader gives back."""


def key(version: int, generation: int = 1, model: str = MODEL) -> GenerationKey:
    return GenerationKey(ModelName(model), Version(version), Generation(generation))


class IdleScheduler:
    """A scheduler that nobody sends anything to."""

    pending = 0

    def prepare(
        self, runners: Sequence[BatchRunner], retired: Callable[[BatchRunner], None]
    ) -> TakeOver:
        raise AssertionError("nothing is to be changed here")

    def enqueue(self, request: InferRequest) -> None:
        raise AssertionError("nothing is to be run here")

    def refuse(self, error: ServiceError) -> None:
        raise AssertionError("nothing is to be refused here")

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None:
        return


def served(of: GenerationKey, config: ModelConfig | None = None) -> ServedModel:
    config = config or ModelConfig(of.model)
    return ServedModel(of, config, RequestRules.of(config), IdleScheduler(), VersionStatistics())


def _nothing() -> None:
    """Nothing takes over, and nothing is given up."""


def update_of(served: ServedModel, job: LoadJob) -> InstanceUpdate:
    """An update of a version to a job's configuration; no instance is built for it."""
    return InstanceUpdate(
        job=job,
        served=replace(served, config=job.config),
        before=NO_INSTANCES,
        after=NO_INSTANCES,
        take_over=TakeOver(apply=_nothing, discard=_nothing),
    )


def polled(*candidates: tuple[int, str], model: str = MODEL) -> Polled:
    """A poll that found these versions, each with its fingerprint."""
    return Polled(
        model=ModelName(model),
        config=ModelConfig(model),
        directory=Path("/models") / model,
        candidates=tuple(
            Candidate(Version(version), fingerprint) for version, fingerprint in candidates
        ),
    )


@dataclass
class FakeRepository:
    """A repository of what a test puts into it; what is not there is not found."""

    models: dict[str, Polled | Exception] = field(default_factory=dict)
    duplicates: frozenset[str] = frozenset()
    problems: dict[str, str] = field(default_factory=dict)
    listings: int = 0
    looks: list[Look] = field(default_factory=list)
    released: list[Path] = field(default_factory=list)
    bad_files: ServiceError | None = None
    changed: set[tuple[str, int]] = field(default_factory=set)
    """The versions whose files are no longer those that were loaded, by model."""
    latest: int = 0
    """How many versions `poll_staged` selects, 0 for all."""

    def put(self, *candidates: tuple[int, str], model: str = MODEL, common: str = "") -> None:
        self.models[model] = replace(polled(*candidates, model=model), common=common)

    def snapshot(self) -> RepositorySnapshot:
        self.listings += 1
        # What the control plane wants of a listing is the names.
        sources = dict.fromkeys(self.models)
        return RepositorySnapshot(sources, self.duplicates, dict(self.problems))  # type: ignore[arg-type]

    def names(self) -> Listing:
        self.listings += 1
        return self.known

    @property
    def known(self) -> Listing:
        known = frozenset(map(ModelName, self.models))
        return Listing(known, frozenset(map(ModelName, self.duplicates)))

    def poll(self, model: ModelName, look: Look = PLAIN) -> Polled:
        self.looks.append(look)
        if look.files:
            return self._poll_files(model, look)
        found = self.models.get(model)
        if found is None:
            raise NotFoundError(
                f"failed to poll model '{model}': model not found in any model repository."
            )
        if isinstance(found, Exception):
            raise found
        if look.config is None:
            return found
        return self._changed(found, look)

    def is_unchanged(self, directory: Path, version: Version, fingerprint: str) -> bool:
        return (directory.name, version) not in self.changed

    def release(self, directory: Path) -> None:
        self.released.append(directory)

    def _poll_files(self, model: ModelName, look: Look) -> Polled:
        """Files that come with a load are a directory of their own: version 1."""
        if self.bad_files:
            raise self.bad_files
        number = sum(bool(one.files) for one in self.looks)
        found = polled((1, f"files {number}"), model=model)
        return replace(found, directory=Path(f"/scratch/{number}"), origin=look.origin)

    def _changed(self, found: Polled, look: Look) -> Polled:
        candidates = tuple(
            replace(one, fingerprint=f"{one.fingerprint} {look.config}") for one in found.candidates
        )
        return replace(found, candidates=candidates, origin=look.origin)

    def poll_staged(self, model: ModelName, found: Mapping[int, Candidate]) -> Polled:
        """All versions that were found, the newest `latest` of them selected."""
        self.poll(model)
        newest = sorted(found, reverse=True)
        count = self.latest or len(newest)
        return Polled(
            model=model,
            config=ModelConfig(model),
            directory=Path("/models") / model,
            candidates=tuple(found[version] for version in sorted(newest[:count])),
            fallbacks=tuple(found[version] for version in newest[count:]),
        )


@dataclass
class FakeExecutor:
    """Remembers what was started; a test reports how it ended."""

    table: ServingTable
    loading: dict[GenerationKey, LoadJob] = field(default_factory=dict)
    draining: dict[GenerationKey, ServedModel] = field(default_factory=dict)
    unloading: dict[GenerationKey, ServedModel] = field(default_factory=dict)
    dropped: int = 0
    adjusting: list[tuple[LoadJob, ServedModel]] = field(default_factory=list)
    cleared: list[InstanceUpdate] = field(default_factory=list)

    def adjust(self, job: LoadJob, served: ServedModel) -> None:
        # A version keeps serving while its instances are changed.
        assert any(served in entry.ready.values() for entry in self.table.entries.values())
        self.adjusting.append((job, served))

    def clear_away(self, update: InstanceUpdate) -> None:
        assert update not in self.cleared
        self.cleared.append(update)

    def load(self, job: LoadJob) -> None:
        assert job.key not in self.loading
        self.loading[job.key] = job

    def withdraw(self, key: GenerationKey, served: ServedModel) -> None:
        # Showing comes before draining: nobody can find it any more.
        assert all(served not in entry.ready.values() for entry in self.table.entries.values())
        served.leases.close()
        self.draining[key] = served

    def discard(self, key: GenerationKey, served: ServedModel) -> None:
        self.unloading[key] = served

    def drop_waiting(self) -> None:
        self.dropped += 1


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class World:
    """A manager without threads: a test wishes, reports and steps."""

    def __init__(
        self,
        mode: Mode | None = None,
        repository: FakeRepository | None = None,
        *,
        window_s: float = 0.0,
        agents: Agents | None = None,
        chronicle: Chronicle | None = None,
    ) -> None:
        self.repository = repository or FakeRepository()
        self.table = ServingTable()
        self.executor = FakeExecutor(self.table)
        self.inbox: Inbox[Message] = Inbox()
        self.clock = HandClock()
        self.staging = StagingBoard()
        self.manager = Manager(
            repository=self.repository,
            mode=mode or ExplicitMode(),
            executor=self.executor,
            inbox=self.inbox,
            table=self.table,
            clock=self.clock,
            rollback_window_s=window_s,
            names=self.repository,
            staging=self.staging,
            agents=agents,
            chronicle=chronicle,
        )

    @property
    def shown(self) -> set[GenerationKey]:
        entries = self.table.entries.values()
        return {found.key for entry in entries for found in entry.ready.values()}

    def wish(self, *candidates: tuple[int, str], model: str = MODEL) -> "Future[None]":
        """Wish for these versions and step."""
        wish = LoadWish(polled(*candidates, model=model))
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome

    def wish_alone(
        self, *candidates: tuple[int, str], fallbacks: Sequence[tuple[int, str]] = ()
    ) -> "Future[None]":
        """Wish for these versions, each for itself, and step."""
        found = replace(polled(*candidates), fallbacks=polled(*fallbacks).candidates)
        wish = LoadWish(found, alone=True)
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome

    def unwish(self, model: str = MODEL) -> "Future[None]":
        """Wish for nothing and step."""
        wish = UnloadWish(ModelName(model))
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome

    def retry(self, *, version: int | None = None, found: Polled | None = None) -> "Future[None]":
        """Ask for a new try of what failed, and step."""
        wish = RetryWish(MODEL, None if version is None else Version(version), found)
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome

    def passes(self, seconds: float) -> None:
        """Let time pass, and step."""
        self.clock.now += seconds
        self.manager.step()

    def goes_on(self, loading: GenerationKey, event: Event) -> None:
        """Report that a load has come to its next phase, and step."""
        assert loading in self.executor.loading
        self.inbox.put(Progress(loading, event))
        self.manager.step()

    def loads(self, *keys: GenerationKey) -> None:
        """Report that these were built, and step."""
        for loaded in keys:
            job = self.executor.loading.pop(loaded)
            self.inbox.put(Loaded(loaded, served(loaded, job.config)))
        self.manager.step()

    def fails(self, failed: GenerationKey, error: ServiceError | None = None) -> None:
        del self.executor.loading[failed]
        self.inbox.put(LoadFailed(failed, error or InternalError("broken file")))
        self.manager.step()

    def drops(self, dropped: GenerationKey) -> None:
        del self.executor.loading[dropped]
        self.inbox.put(LoadDropped(dropped))
        self.manager.step()

    def drains(self, drained: GenerationKey) -> None:
        """Report that nobody is inside any more, and step."""
        self.executor.unloading[drained] = self.executor.draining.pop(drained)
        self.inbox.put(Drained(drained))
        self.manager.step()

    def unloads(self, unloaded: GenerationKey) -> None:
        del self.executor.unloading[unloaded]
        self.inbox.put(Unloaded(unloaded, FREED))
        self.manager.step()

    def prepares(self, *, error: ServiceError | None = None) -> InstanceUpdate | None:
        """Report how the change in place that began first has ended, and step."""
        job, version = self.executor.adjusting.pop(0)
        update = None if error else update_of(version, job)
        self.inbox.put(
            UpdatePrepared(job, update) if update else UpdateFailed(job, error or InternalError(""))
        )
        self.manager.step()
        return update

    def wish_for(self, found: Polled, *, alone: bool = False) -> "Future[None]":
        """Wish for what was polled and step."""
        wish = LoadWish(found, alone=alone)
        self.inbox.put(wish)
        self.manager.step()
        return wish.outcome

    def serve(self, *candidates: tuple[int, str], model: str = MODEL) -> None:
        """Wish for these versions and let all of them load."""
        self.wish(*candidates, model=model)
        self.loads(*self.executor.loading)

    def index(self, *, ready_only: bool = False) -> list[tuple[str, int | None, str, str]]:
        return [
            (
                entry.model,
                entry.version,
                entry.state.value if entry.state else "",
                entry.reason,
            )
            for entry in self.manager.index(ready_only=ready_only)
        ]


@dataclass
class FakeLoader:
    """Builds at once, or when a test lets it; remembers what it built and what is left."""

    failing: dict[int, BaseException] = field(default_factory=dict)
    phases: tuple[LoadPhase, ...] = ()
    alive: set[GenerationKey] = field(default_factory=set)
    loaded: list[GenerationKey] = field(default_factory=list)
    unloaded: list[GenerationKey] = field(default_factory=list)
    inside_at_unload: list[int] = field(default_factory=list)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    begun: dict[str, threading.Event] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed_updates: list[InstanceUpdate] = field(default_factory=list)

    def hold(self, model: str = MODEL) -> None:
        """Let loads of this model wait until `let_go`."""
        self.gates[model] = threading.Event()
        self.begun[model] = threading.Event()

    def let_go(self, model: str = MODEL) -> None:
        self.gates[model].set()

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        for phase in self.phases:
            on_phase(phase)
        if gate := self.gates.get(job.key.model):
            self.begun[job.key.model].set()
            assert gate.wait(30)
        if error := self.failing.get(job.key.version):
            raise error
        with self.lock:
            self.alive.add(job.key)
            self.loaded.append(job.key)
        return served(job.key)

    def prepare_update(
        self, served: ServedModel, job: LoadJob, on_phase: OnPhase
    ) -> InstanceUpdate:
        if error := self.failing.get(job.key.version):
            raise error
        return update_of(served, job)

    def close_update(self, update: InstanceUpdate) -> None:
        self.closed_updates.append(update)

    def unload(self, served: ServedModel) -> Freed:
        with self.lock:
            self.inside_at_unload.append(served.leases.count)
            self.alive.remove(served.key)
            self.unloaded.append(served.key)
        return FREED


def versions(*numbers: int, fingerprint: str = "a") -> Iterable[tuple[int, str]]:
    return [(number, fingerprint) for number in numbers]

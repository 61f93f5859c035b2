"""A repository that a test changes, and a control plane that follows it, stepped by hand.

Files, scan, staging, poll, manager and loads are the real ones; the clock, and when
background work is done, are the test's.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from interlock.control.first_loads import FirstLoads
from interlock.control.holds import Hold
from interlock.control.inbox import Inbox
from interlock.control.index import ModelView, StagingBoard
from interlock.control.listing import RepositoryListing
from interlock.control.manager import Manager, Message
from interlock.control.modes import PollMode
from interlock.control.poller import Pace, Poller
from interlock.control.polling import DiskRepository
from interlock.control.reports import (
    Drained,
    Loaded,
    LoadFailed,
    Unloaded,
    UpdateFailed,
    UpdatePrepared,
)
from interlock.control.rollback import target_of
from interlock.control.verifying import VerifyingLoader
from interlock.control.wishes import ReleaseWish, RollbackWish
from interlock.domain.errors import InvalidRequestError, ServiceError
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.repository.scan import Scanner
from interlock.repository.stager import Stager
from interlock.repository.staging import Rules
from interlock.serving.freed import Freed
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob, OnPhase
from interlock.serving.served_model import ServedModel
from interlock.serving.table import ServingTable
from tests.support.control import HandClock, served, update_of

MODEL = "followed"
GOOD = "good"
FILES = ("first.bin", "second.bin")
SETTLE_S = 2.0
POLL_S = 15.0
WINDOW_S = 3600.0
_LONG_S = 700.0
"""Longer than anything waits before it is tried again."""
_ROUNDS = 12


@dataclass
class ReadingLoader:
    """Loads a version by reading its two files: what they say is what the version answers."""

    contents: dict[GenerationKey, str] = field(default_factory=dict)
    meanwhile: Callable[[], None] | None = None
    """Done once, in the middle of the next load."""

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        directory = job.model_directory / str(job.key.version)
        first = _read(directory / FILES[0])
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        text = first + _read(directory / FILES[1])
        self.contents[job.key] = text
        return served(job.key)

    def unload(self, served: ServedModel) -> Freed:
        del self.contents[served.key]
        return Freed()

    def prepare_update(
        self, served: ServedModel, job: LoadJob, on_phase: OnPhase
    ) -> InstanceUpdate:
        return update_of(served, job)

    def close_update(self, update: InstanceUpdate) -> None:
        """Nothing was built for it."""


def _read(path: Path) -> str:
    """Return what is in one of the files. Whether it fits to the other it does not tell."""
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidRequestError(f"cannot be read: {error.strerror}") from error
    if not (text.startswith(GOOD) and text.endswith("\n")):
        raise InvalidRequestError(f"broken file: {text!r}")
    return text


class HandExecutor:
    """Does what was started when it is told to, in the caller's thread."""

    def __init__(self, loader: VerifyingLoader, report: Callable[[Message], None]) -> None:
        self._loader = loader
        self._report = report
        self.loads: list[LoadJob] = []
        self.drains: list[ServedModel] = []
        self.unloads: list[ServedModel] = []

    def load(self, job: LoadJob) -> None:
        self.loads.append(job)

    def withdraw(self, key: GenerationKey, served: ServedModel) -> None:
        assert key == served.key
        served.leases.close()
        self.drains.append(served)

    def discard(self, key: GenerationKey, served: ServedModel) -> None:
        assert key == served.key
        self.unloads.append(served)

    def adjust(self, job: LoadJob, served: ServedModel) -> None:
        """At once: it takes no time here."""
        try:
            update = self._loader.prepare_update(served, job, lambda _: None)
            self._report(UpdatePrepared(job, update))
        except ServiceError as error:
            self._report(UpdateFailed(job, error))

    def clear_away(self, update: InstanceUpdate) -> None:
        self._loader.close_update(update)

    def drop_waiting(self) -> None:
        raise AssertionError("nothing stops the manager here")

    def run_load(self, pick: int = 0) -> None:
        """Do one of the loads that wait."""
        job = self.loads.pop(pick % len(self.loads))
        try:
            self._report(Loaded(job.key, self._loader.load(job, lambda _: None)))
        except ServiceError as error:
            self._report(LoadFailed(job.key, error))

    def run_drains(self) -> None:
        """End the drains of what nobody is inside of."""
        for model in [one for one in self.drains if one.leases.count == 0]:
            self.drains.remove(model)
            self._report(Drained(model.key))
            self.unloads.append(model)

    def run_unloads(self) -> None:
        while self.unloads:
            model = self.unloads.pop()
            assert model.leases.count == 0
            self._loader.unload(model)
            self._report(Unloaded(model.key))


class Follower:
    """One life of a server that follows `root` in poll mode."""

    def __init__(self, root: Path) -> None:
        self.clock = HandClock()
        self.loader = ReadingLoader()
        self.table = ServingTable()
        self._inbox: Inbox[Message] = Inbox()
        self._tasks: list[Callable[[], None]] = []
        verifying = VerifyingLoader(self.loader)
        self.executor = HandExecutor(verifying, self._inbox.put)
        repository = DiskRepository([root])
        board = StagingBoard()
        self.manager = Manager(
            repository=repository,
            mode=PollMode(),
            executor=self.executor,
            inbox=self._inbox,
            table=self.table,
            clock=self.clock,
            names=RepositoryListing([root], clock=self.clock),
            staging=board,
            rollback_window_s=WINDOW_S,
        )
        rules = Rules(SETTLE_S, started=self.clock.now, started_ns=time.time_ns())
        self.poller = Poller(
            scanner=Scanner([root]),
            stager=Stager(rules=rules, clock=self.clock),
            repository=repository,
            hand_over=self._inbox.put,
            first_loads=FirstLoads(),
            board=board,
            pace=Pace(POLL_S, patience_s=SETTLE_S),
            clock=self.clock,
            background=self._tasks.append,
            urgent=self._tasks.append,
        )

    @property
    def shown(self) -> dict[int, str]:
        """What each version that serves answers."""
        entry = self.table.entries.get(MODEL)
        ready = {} if entry is None else entry.ready
        return {version: self.loader.contents[model.key] for version, model in ready.items()}

    @property
    def hold(self) -> Hold | None:
        view = self.manager.view(MODEL)
        return None if view is None else view.hold

    def roll_back(self, version: int | None) -> ServiceError | None:
        """Roll back and let that end; return why it failed."""
        view = self.manager.view(MODEL) or ModelView(ModelName(MODEL), ())
        number = None if version is None else Version(version)
        try:
            target = target_of(view.model, view.past, number)
        except ServiceError as error:
            return error
        wish = RollbackWish(view.model, target)
        self._inbox.put(wish)
        self._finish()
        failure = wish.outcome.exception(0)
        assert failure is None or isinstance(failure, ServiceError)
        return failure

    def release(self) -> None:
        """End the hold and look again, as Rollback with `release` does."""
        self._inbox.put(ReleaseWish(ModelName(MODEL)))
        self.poller.ask(ModelName(MODEL))

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    def tick(self) -> None:
        """Look at the repository once."""
        self.poller.tick()

    def work(self) -> None:
        """Do what waits in the background."""
        while self._tasks:
            self._tasks.pop(0)()

    def step(self) -> None:
        self.manager.step()

    def come_to_rest(self) -> None:
        """Let time pass until nothing that was begun or has failed is left to be done."""
        for round_number in range(_ROUNDS):
            self.pass_time(_LONG_S if round_number == _ROUNDS // 2 else SETTLE_S + 0.1)
            self.tick()
            self.work()
            self._finish()

    def _finish(self) -> None:
        self.step()
        while self._inbox.wait(0) or self.executor.loads:
            self.step()
            while self.executor.loads:
                self.executor.run_load()
            self.executor.run_drains()
            self.executor.run_unloads()

"""Carry out one action on a thread of its own, and report how it ended.

Decides nothing and keeps no record: what an action needs comes with it, what became of it
goes to the manager's inbox as a `Report`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

import structlog

from interlock.control.lifecycle import Event
from interlock.control.reports import (
    Drained,
    LoadDropped,
    Loaded,
    LoadFailed,
    Progress,
    Report,
    Unloaded,
    UpdateFailed,
    UpdatePrepared,
)
from interlock.control.workers import Workers
from interlock.domain.errors import InternalError, ServiceError, UnavailableError
from interlock.domain.ids import GenerationKey
from interlock.runtime.threads import spawn
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob, LoadPhase, OnPhase
from interlock.serving.served_model import ServedModel

log = structlog.get_logger()

_UNLOAD_THREADS: Final = 4
_DRAIN_NOTICE_S: Final = 10.0
_EVENTS: Final[Mapping[LoadPhase, Event]] = {
    LoadPhase.WARMING: Event.WARM,
    LoadPhase.PROVING: Event.PROVE,
}


class Loader(Protocol):
    """Builds a version and takes it apart again. Called from several threads at once."""

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        """Build a version, warm it up and prove it; may take minutes.

        `on_phase` is told of each phase that there is something to do in, as it begins.
        Raise ServiceError and leave nothing behind.
        """
        ...

    def unload(self, served: ServedModel) -> None:
        """Give back what a version holds. Called once, when no lease is left."""
        ...

    def prepare_update(
        self, served: ServedModel, job: LoadJob, on_phase: OnPhase
    ) -> InstanceUpdate:
        """Build the instances that a version that serves is to have; may take minutes.

        Raise ServiceError and leave all as it was.
        """
        ...

    def close_update(self, update: InstanceUpdate) -> None:
        """Close what an update has left over. Called once for each."""
        ...


class Executor(Protocol):
    """What the manager starts. Nothing here blocks; each call ends in its report."""

    def load(self, job: LoadJob) -> None:
        """Build a version: Progress on the way, then Loaded, LoadFailed, or LoadDropped."""
        ...

    def withdraw(self, key: GenerationKey, served: ServedModel) -> None:
        """Let nobody in any more, wait for the last to leave, take it apart: Drained, Unloaded."""
        ...

    def discard(self, key: GenerationKey, served: ServedModel) -> None:
        """Take apart what nobody ever entered: Unloaded."""
        ...

    def adjust(self, job: LoadJob, served: ServedModel) -> None:
        """Build other instances for a version that serves: UpdatePrepared, or UpdateFailed."""
        ...

    def clear_away(self, update: InstanceUpdate) -> None:
        """Close what an update that was applied, or never will be, has left over."""
        ...

    def drop_waiting(self) -> None:
        """Give up the loads that have not begun: LoadDropped for each, or UpdateFailed."""
        ...


class _Phases:
    """Reports each phase of a load when it is reached for the first time, and none backwards."""

    def __init__(self, key: GenerationKey, report: Callable[[Report], None]) -> None:
        self._key = key
        self._report = report
        self._left = list(LoadPhase)

    def __call__(self, phase: LoadPhase) -> None:
        if phase in self._left:
            del self._left[: self._left.index(phase) + 1]
            self._report(Progress(self._key, _EVENTS[phase]))


class ThreadExecutor:
    """Loads in a pool of `load_threads`; a thread waits for each version that is not empty yet.

    A load that fails is tried again at once, `retries` times.
    """

    def __init__(
        self,
        loader: Loader,
        report: Callable[[Report], None],
        *,
        load_threads: int,
        retries: int = 0,
    ) -> None:
        self._loader = loader
        self._report = report
        self._retries = retries
        self._ending = False
        self._loads = Workers("load", load_threads)
        self._unloads = Workers("unload", _UNLOAD_THREADS)

    def load(self, job: LoadJob) -> None:
        self._loads.submit(
            partial(self._load, job), dropped=partial(self._report, LoadDropped(job.key))
        )

    def withdraw(self, key: GenerationKey, served: ServedModel) -> None:
        served.leases.close()
        if served.leases.wait_empty(0):
            self._drained(key, served)
        else:
            spawn(f"drain-{key}", partial(self._drain, key, served))

    def discard(self, key: GenerationKey, served: ServedModel) -> None:
        served.leases.close()
        unload = partial(self._unload, key, served)
        self._unloads.submit(unload, dropped=unload)

    def adjust(self, job: LoadJob, served: ServedModel) -> None:
        stopping = UpdateFailed(job, UnavailableError("Server is stopping"))
        self._loads.submit(
            partial(self._adjust, job, served), dropped=partial(self._report, stopping)
        )

    def clear_away(self, update: InstanceUpdate) -> None:
        close = partial(self._loader.close_update, update)
        self._unloads.submit(close, dropped=close)

    def drop_waiting(self) -> None:
        self._ending = True
        self._loads.drop_waiting()

    def _load(self, job: LoadJob) -> None:
        phases = _Phases(job.key, self._report)
        outcome = self._outcome(job, phases)
        for attempt in range(1, self._retries + 1):
            if not isinstance(outcome, LoadFailed) or self._ending:
                break
            log.warning(
                "trying to load again",
                model=job.key.model,
                version=job.key.version,
                attempt=attempt,
                reason=str(outcome.error),
            )
            outcome = self._outcome(job, phases)
        self._report(outcome)

    def _outcome(self, job: LoadJob, tell: OnPhase) -> Loaded | LoadFailed:
        try:
            return Loaded(job.key, self._loader.load(job, tell))
        except ServiceError as error:
            return LoadFailed(job.key, error)
        except BaseException as error:  # a model's code may raise anything, SystemExit too
            log.exception("load failed unexpectedly", model=job.key.model, version=job.key.version)
            return LoadFailed(job.key, InternalError(f"{type(error).__name__}: {error}"))

    def _adjust(self, job: LoadJob, served: ServedModel) -> None:
        try:
            self._report(
                UpdatePrepared(job, self._loader.prepare_update(served, job, _tell_nobody))
            )
        except ServiceError as error:
            self._report(UpdateFailed(job, error))
        except BaseException as error:  # a model's code may raise anything, SystemExit too
            log.exception("update failed", model=job.key.model, version=job.key.version)
            reason = InternalError(f"{type(error).__name__}: {error}")
            self._report(UpdateFailed(job, reason))

    def _drain(self, key: GenerationKey, served: ServedModel) -> None:
        while not served.leases.wait_empty(_DRAIN_NOTICE_S):
            log.warning(
                "still draining",
                model=key.model,
                version=key.version,
                generation=key.generation,
                left=served.leases.count,
            )
        self._drained(key, served)

    def _drained(self, key: GenerationKey, served: ServedModel) -> None:
        self._report(Drained(key))
        self.discard(key, served)

    def _unload(self, key: GenerationKey, served: ServedModel) -> None:
        try:
            self._loader.unload(served)
        except Exception:
            log.exception("unload failed", model=key.model, version=key.version)
        self._report(Unloaded(key))


def _tell_nobody(_phase: LoadPhase) -> None:
    """A version that serves has no other phase meanwhile."""

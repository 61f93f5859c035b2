"""Carry out one action on a thread of its own, and report how it ended.

Decides nothing and keeps no record: what an action needs comes with it, what became of it
goes to the manager's inbox as a `Report`.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

import structlog

from interlock.control.lifecycle import Event
from interlock.control.load_watch import Attempt, LoadWatch, WriteOff
from interlock.control.reports import (
    Drained,
    LoadDropped,
    Loaded,
    LoadFailed,
    Progress,
    Report,
    Unloaded,
    Update,
    UpdateFailed,
    UpdatePrepared,
)
from interlock.control.workers import MAX_LOST, Workers
from interlock.domain.errors import InternalError, ServiceError, UnavailableError
from interlock.domain.ids import GenerationKey
from interlock.runtime.clock import Clock, monotonic
from interlock.runtime.threads import spawn
from interlock.serving.freed import Freed
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob, LoadPhase, OnPhase
from interlock.serving.served_model import ServedModel

log = structlog.get_logger()

_UNLOAD_THREADS: Final = 4
_STOPPING: Final = "Server is stopping"
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

    def unload(self, served: ServedModel) -> Freed:
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

    A load that fails is tried again at once, `retries` times. An attempt that takes longer
    than `watch` allows has failed; its thread is replaced, and what it still comes to is
    thrown away. After `drain_timeout_s`, if that is not 0, what waits inside a version that
    drains is refused; what runs is let finish.
    """

    def __init__(
        self,
        loader: Loader,
        report: Callable[[Report], None],
        *,
        load_threads: int,
        watch: LoadWatch,
        retries: int = 0,
        drain_timeout_s: float = 0.0,
        clock: Clock = monotonic,
        max_lost_threads: int = MAX_LOST,
    ) -> None:
        self._loader = loader
        self._report = report
        self._watch = watch
        self._retries = retries
        self._drain_timeout_s = drain_timeout_s
        self._clock = clock
        self._ending = False
        self._loads = Workers("load", load_threads, max_lost=max_lost_threads)
        self._unloads = Workers("unload", _UNLOAD_THREADS)

    @property
    def lost_threads(self) -> int:
        """How many threads are still inside a load that was written off."""
        return self._loads.lost

    def load(self, job: LoadJob) -> None:
        def task() -> None:
            self._load(job, write_off)

        def write_off(error: UnavailableError) -> None:
            self._write_off(task, LoadFailed(job.key, error))

        self._loads.submit(task, dropped=partial(self._drop, job.key))

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
        def task() -> None:
            self._adjust(job, served, write_off)

        def write_off(error: UnavailableError) -> None:
            self._write_off(task, UpdateFailed(job, error))

        self._loads.submit(task, dropped=partial(self._drop_update, job))

    def clear_away(self, update: InstanceUpdate) -> None:
        close = partial(self._loader.close_update, update)
        self._unloads.submit(close, dropped=close)

    def drop_waiting(self) -> None:
        self._ending = True
        self._loads.drop_waiting()

    def _load(self, job: LoadJob, write_off: WriteOff) -> None:
        phases = _Phases(job.key, self._report)
        outcome = self._attempt(job, phases, write_off)
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
            outcome = self._attempt(job, phases, write_off)
        if outcome is not None:
            self._report(outcome)

    def _attempt(
        self, job: LoadJob, phases: OnPhase, write_off: WriteOff
    ) -> Loaded | LoadFailed | None:
        """Return how the attempt ended, `None` where it was written off before it did."""
        watched = self._watch.begin(job.key, write_off)

        def tell(phase: LoadPhase) -> None:
            self._watch.enter(watched, phase)
            phases(phase)

        outcome = self._outcome(job, tell)
        if self._watch.end(watched):
            return outcome
        self._throw_away(outcome, watched)
        return None

    def _write_off(self, task: Callable[[], None], failed: LoadFailed | UpdateFailed) -> None:
        """Go on without a load that hangs."""
        key = failed.key
        replaced = self._loads.write_off(task)
        write = log.warning if replaced else log.error
        write(
            "load written off",
            model=key.model,
            version=key.version,
            generation=key.generation,
            thread="replaced" if replaced else "not replaced, too many hang",
            hanging=self._loads.lost,
        )
        self._report(failed)

    def _throw_away(self, outcome: Loaded | LoadFailed, attempt: Attempt) -> None:
        """What was written off has ended after all. Nobody waits for it."""
        log.warning(
            "a load that was written off has ended after all",
            model=outcome.key.model,
            version=outcome.key.version,
            generation=outcome.key.generation,
            seconds=round(self._watch.seconds_of(attempt), 1),
            outcome="loaded, thrown away" if isinstance(outcome, Loaded) else outcome.error.reason,
        )
        if isinstance(outcome, Loaded):
            self._take_apart(outcome.key, outcome.served)

    def _drop(self, key: GenerationKey) -> None:
        if self._loads.is_blocked:
            self._report(LoadFailed(key, _no_thread_left(self._loads.lost)))
        else:
            self._report(LoadDropped(key))

    def _outcome(self, job: LoadJob, tell: OnPhase) -> Loaded | LoadFailed:
        try:
            return Loaded(job.key, self._loader.load(job, tell))
        except ServiceError as error:
            return LoadFailed(job.key, error)
        except BaseException as error:  # a model's code may raise anything, SystemExit too
            log.exception("load failed unexpectedly", model=job.key.model, version=job.key.version)
            return LoadFailed(job.key, InternalError(f"{type(error).__name__}: {error}"))

    def _adjust(self, job: LoadJob, served: ServedModel, write_off: WriteOff) -> None:
        watched = self._watch.begin(job.key, write_off)
        outcome = self._prepared(job, served, partial(self._watch.enter, watched))
        if self._watch.end(watched):
            self._report(outcome)
        elif isinstance(outcome, UpdatePrepared):
            self._loader.close_update(outcome.update)

    def _drop_update(self, job: LoadJob) -> None:
        blocked = self._loads.is_blocked
        error = _no_thread_left(self._loads.lost) if blocked else UnavailableError(_STOPPING)
        self._report(UpdateFailed(job, error))

    def _prepared(self, job: LoadJob, served: ServedModel, tell: OnPhase) -> Update:
        try:
            return UpdatePrepared(job, self._loader.prepare_update(served, job, tell))
        except ServiceError as error:
            return UpdateFailed(job, error)
        except BaseException as error:  # a model's code may raise anything, SystemExit too
            log.exception("update failed", model=job.key.model, version=job.key.version)
            return UpdateFailed(job, InternalError(f"{type(error).__name__}: {error}"))

    def _drain(self, key: GenerationKey, served: ServedModel) -> None:
        facts = {"model": key.model, "version": key.version, "generation": key.generation}
        began = self._clock()
        limit = began + self._drain_timeout_s if self._drain_timeout_s else math.inf
        while not served.leases.wait_empty(min(_DRAIN_NOTICE_S, max(0.0, limit - self._clock()))):
            if self._clock() < limit:
                seconds = round(self._clock() - began, 1)
                log.warning("still draining", **facts, left=served.leases.count, seconds=seconds)
                continue
            limit = math.inf
            left = served.leases.count
            served.scheduler.refuse(drained_too_long(key, self._drain_timeout_s))
            log.warning(
                "drain timeout has passed: refused what was waiting, what runs is let finish",
                **facts,
                left=left,
                running=served.leases.count,
            )
        self._drained(key, served)

    def _drained(self, key: GenerationKey, served: ServedModel) -> None:
        self._report(Drained(key))
        self.discard(key, served)

    def _unload(self, key: GenerationKey, served: ServedModel) -> None:
        self._report(Unloaded(key, self._take_apart(key, served)))

    def _take_apart(self, key: GenerationKey, served: ServedModel) -> Freed:
        try:
            return self._loader.unload(served)
        except Exception:
            log.exception("unload failed", model=key.model, version=key.version)
        return Freed()


def drained_too_long(key: GenerationKey, timeout_s: float) -> UnavailableError:
    """Return what a request hears that still waited when its version's time was over."""
    return UnavailableError(
        f"version {key.version} of model '{key.model}' was taken down, and the request had not "
        f"begun to run within its drain timeout of {timeout_s:g} s; send it again"
    )


def _no_thread_left(hanging: int) -> ServiceError:
    return UnavailableError(
        f"no thread is left to load it: {hanging} loads were written off and have not ended "
        "since; restart the server"
    )

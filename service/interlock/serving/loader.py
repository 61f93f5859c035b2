"""Turn a version's files into a `ServedModel` that is warmed up and proven; give one back.

Blocking work: it runs in the load pool, several loads at once. The control plane decides
when; nothing is shown here.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from interlock.backends.base import Instance, OpenedModel, VersionFiles
from interlock.backends.catalog import Catalog
from interlock.backends.instance_group import build_instances
from interlock.domain.config import ModelConfig, Scheduling
from interlock.domain.config_complete import check, complete
from interlock.domain.errors import InvalidRequestError, UnsupportedError
from interlock.domain.request_rules import RequestRules
from interlock.repository.listing import OTHER, list_model
from interlock.runtime import allocator
from interlock.scheduling.base import BatchRunner
from interlock.scheduling.direct import DirectScheduler
from interlock.serving.freed import Freed, FreedMeter
from interlock.serving.golden.file import golden_files
from interlock.serving.golden.proof import Proof
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.labels import read_labels
from interlock.serving.live_instances import LiveInstances
from interlock.serving.load_job import LoadJob, LoadPhase, OnPhase
from interlock.serving.served_model import ServedModel
from interlock.serving.warmup import warm, warmup_batches
from interlock.telemetry.statistics import VersionStatistics

log = structlog.get_logger()

_DEFAULT_MAX_BATCH_SIZE: Final = "default-max-batch-size"
_MISSING: Final = {
    Scheduling.SEQUENCE: "sequence_batching, and this version has no sequence batcher",
    Scheduling.ENSEMBLE: "ensemble_scheduling, and this version does not run ensembles",
}


@dataclass(frozen=True, slots=True)
class _Built:
    """A version whose instances stand, before anybody knows of it."""

    job: LoadJob
    config: ModelConfig
    rules: RequestRules
    instances: Sequence[Instance]
    statistics: VersionStatistics


def _tell_nobody(_phase: LoadPhase) -> None:
    """What a load tells nobody listens to."""


class ModelLoader:
    """Loads and unloads versions. Any thread may call; two versions never wait for each other.

    `trim` gives free memory back to the system, `resident_bytes` tells what the process has
    of it. With `hold`, a debugging aid, a version runs nothing before so many requests wait.
    """

    def __init__(
        self,
        backends: Catalog,
        *,
        trim: Callable[[], int],
        auto_complete: bool = True,
        resident_bytes: Callable[[], int] = allocator.resident_bytes,
        default_max_batch_size: int = 4,
        hold: int = 0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._backends = backends
        self._trim = trim
        self._meter = FreedMeter(resident_bytes)
        self._auto_complete = auto_complete
        self._default_max_batch_size = default_max_batch_size
        self._hold = hold
        self._now_ns = now_ns

    def load(self, job: LoadJob, on_phase: OnPhase = _tell_nobody) -> ServedModel:
        """Build all that serving the version needs, warm it up and prove it; blocks.

        `on_phase` is told when warming and proving begin, where there is something to run.
        Raise ServiceError with the reason; what was built is closed again.
        """
        _refuse_missing(job.config)
        try:
            with ExitStack() as undo:
                return self._build(job, undo, on_phase)
        except BaseException:
            # What was built so far may have been large.
            self._trim()
            raise

    def unload(self, served: ServedModel) -> Freed:
        """Stop the scheduler, close instances and model, give memory back; blocks.

        Return how much that was. What fails at this is logged: there is nobody who could do
        anything about it. Nothing may be inside the version any more.
        """
        with self._meter.measuring() as measurement:
            self._take_apart(served)
        return measurement.freed

    def _take_apart(self, served: ServedModel) -> None:
        model, version = served.key.model, served.key.version
        for part in (served.scheduler.stop, served.instances.close):
            try:
                part()
            except Exception:
                log.exception("closing failed", model=model, version=version)
        began_ns = self._now_ns()
        trimmed = self._trim()
        took_ms = (self._now_ns() - began_ns) / 1_000_000
        log.debug(
            "gave memory back", model=model, version=version, freed_bytes=trimmed, took_ms=took_ms
        )

    def prepare_update(
        self, served: ServedModel, job: LoadJob, on_phase: OnPhase = _tell_nobody
    ) -> InstanceUpdate:
        """Build the instances that a version that serves has not, warm them up, prove one; blocks.

        The job's configuration differs from that of the version in its instances alone, the
        model itself is not opened again. Raise ServiceError with the reason; what was built
        is closed again, and the version goes on as it is.
        """
        model = served.instances.hold()
        try:
            with ExitStack() as undo:
                undo.callback(served.instances.let_go)
                return self._prepare_update(served, job, model, undo, on_phase)
        except BaseException:
            self._trim()
            raise

    def close_update(self, update: InstanceUpdate) -> None:
        """Close what an update that was applied, or was not, has left over; blocks."""
        key = update.served.key
        try:
            update.close()
        except Exception:
            log.exception("closing failed", model=key.model, version=key.version)
        self._trim()

    def _prepare_update(
        self,
        served: ServedModel,
        job: LoadJob,
        model: OpenedModel,
        undo: ExitStack,
        on_phase: OnPhase,
    ) -> InstanceUpdate:
        config = self._completed(job.config, model)
        before = served.instances.now
        after = build_instances(model, config, keep=before)
        new = after.without(before)
        undo.callback(new.close)
        if new.active:
            built = _Built(job, config, served.rules, new.active, served.statistics)
            self._warm_up(built, on_phase)
            self._prove(built, on_phase)
        going = {id(one): one for one in before.active}

        def retire(runner: BatchRunner) -> None:
            self._retire(going[id(runner)], job)

        take_over = served.scheduler.prepare(after.active, retire)
        undo.pop_all()
        return InstanceUpdate(job, replace(served, config=config), before, after, take_over)

    def _retire(self, instance: Instance, job: LoadJob) -> None:
        """Close an instance that has run its last request, in its own thread."""
        model, version = job.key.model, job.key.version
        try:
            instance.close()
        except Exception:
            log.exception("closing failed", model=model, version=version, instance=instance.name)
        log.debug("instance closed", model=model, version=version, instance=instance.name)
        self._trim()

    def _build(self, job: LoadJob, undo: ExitStack, on_phase: OnPhase) -> ServedModel:
        version_directory = job.directory / str(job.key.version)
        _refuse_what_is_no_file(version_directory)
        files = VersionFiles(
            job.directory,
            version_directory,
            job.key.version,
            is_linked=job.is_linked,
            may_run_host_code=job.may_run_host_code,
        )
        backend = self._backends.find(job.config.backend, model=job.config.name)
        opened = backend.open(files, job.config)
        live = LiveInstances(opened)
        undo.callback(live.close)
        config = self._completed(job.config, opened)
        instances = build_instances(opened, config)
        live.replace(instances)
        labels = read_labels(config, job.directory, inside=job.inside)
        rules = RequestRules.of(config)
        statistics = VersionStatistics()
        _remark(config, job)
        scheduler = DirectScheduler(
            instances.active, statistics, hold=self._hold, now_ns=self._now_ns
        )
        undo.callback(scheduler.stop)
        if job.is_awaited and not self._hold:
            scheduler.start()
        built = _Built(job, config, rules, instances.active, statistics)
        self._warm_up(built, on_phase)
        self._prove(built, on_phase)
        served = ServedModel(
            key=job.key,
            config=config,
            rules=rules,
            scheduler=scheduler,
            statistics=statistics,
            labels=labels,
            instances=live,
        )
        undo.pop_all()
        return served

    def _warm_up(self, built: _Built, on_phase: OnPhase) -> None:
        job = built.job
        batches = warmup_batches(built.config, job.directory, built.rules, job.inside)
        if not batches:
            return
        on_phase(LoadPhase.WARMING)
        for instance in built.instances:
            warm(instance, batches, built.statistics, key=job.key, now_ns=self._now_ns)

    def _prove(self, built: _Built, on_phase: OnPhase) -> None:
        job = built.job
        files = golden_files(job.directory, job.key.version)
        if not files:
            return
        on_phase(LoadPhase.PROVING)
        proof = Proof(
            built.config, job.directory, built.rules, now_ns=self._now_ns, inside=job.inside
        )
        proof.run(files, built.instances[0], job.key)

    def _completed(self, config: ModelConfig, opened: OpenedModel) -> ModelConfig:
        """Return the configuration with what the files say; raise where the two contradict."""
        if self._auto_complete:
            config = complete(config, opened.facts, default_max_batch_size=self._batch_size(config))
        # Completing may bring a scheduler with it.
        _refuse_missing(config)
        check(config, opened.facts)
        return config

    def _batch_size(self, config: ModelConfig) -> int:
        """Return the `max_batch_size` for a model that gives none: the backend's option wins."""
        text = self._backends.options_of(config.backend).get(_DEFAULT_MAX_BATCH_SIZE)
        if text is None:
            return self._default_max_batch_size
        if not text.isdecimal():
            raise InvalidRequestError(
                f"--backend-config={config.backend},{_DEFAULT_MAX_BATCH_SIZE}={text}: must be a "
                "number, 0 or more"
            )
        return int(text)


def _refuse_missing(config: ModelConfig) -> None:
    """Raise UnsupportedError for a configuration that needs what this version does not have."""
    missing = _MISSING.get(config.scheduling)
    if missing is None and config.decoupled:
        missing = (
            "model_transaction_policy { decoupled: true }, and no backend of this version sends "
            "more or less than one response for a request"
        )
    if missing is not None:
        raise UnsupportedError(f"model '{config.name}' asks for {missing}")


def _refuse_what_is_no_file(version_directory: Path) -> None:
    """Raise InvalidRequestError for a pipe, which a runtime that opens it may wait for for ever."""
    try:
        entries = list_model(version_directory).entries
    except OSError:
        return  # the backend, which opens the files, says it better
    for entry in entries:
        if entry.kind == OTHER:
            raise InvalidRequestError(
                f"'{version_directory / entry.path}' is a {OTHER}, not a file"
            )


def _remark(config: ModelConfig, job: LoadJob) -> None:
    """Say once what of the configuration is not acted on."""
    if config.scheduling is Scheduling.DYNAMIC:
        log.info(
            "requests run alone",
            model=job.key.model,
            version=job.key.version,
            ignored="dynamic_batching",
        )

"""Digest what serves, where nobody follows the repositories: once it is loaded, at leisure.

In poll mode `contents` does, for the sake of what comes after.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from interlock.control.executor import Loader
from interlock.domain.description import PENDING
from interlock.domain.ids import GenerationKey
from interlock.repository.digest import (
    CancelledError,
    ChangedError,
    IsCancelled,
    digest_files,
    version_digest,
)
from interlock.repository.fingerprint import by_version, files_of, fingerprint_of
from interlock.repository.listing import list_model
from interlock.serving.freed import Freed
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob, OnPhase
from interlock.serving.served_model import ServedModel

log = structlog.get_logger()

Task = Callable[[], None]
NONE: Final = ""


@dataclass(slots=True, eq=False)
class _Digest:
    """The digest of what a job found; one thread makes it, any may read it."""

    job: LoadJob
    text: str = PENDING


@dataclass(slots=True)
class DigestingLoader:
    """Has what was loaded digested in the background. Any thread may call, as the one inside.

    `begin` is to be called when something has changed for clients: nothing of this comes
    before a new version serves. `submit` does a task in another thread, one after the other,
    `is_cancelled` ends it early. `on_digest` (quick, never blocking) is called there with each
    digest, and with `NONE` where there is none.
    """

    inside: Loader
    submit: Callable[[Task], None]
    is_cancelled: IsCancelled
    on_digest: Callable[[GenerationKey, str], None] | None = None
    # Guards the two below. A leaf.
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _digests: dict[GenerationKey, _Digest] = field(default_factory=dict)
    _untouched: list[LoadJob] = field(default_factory=list)

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        """Load; the digest of what was loaded comes after that."""
        served = self.inside.load(job, on_phase)
        if job.fingerprint:
            with self._lock:
                self._digests[job.key] = _Digest(job)
                self._untouched.append(job)
        return served

    def begin(self) -> None:
        """Have the digests made that are lacking. Quick, never blocking."""
        with self._lock:
            jobs, self._untouched = self._untouched, []
        for job in jobs:
            self.submit(partial(self._digest, job))

    def unload(self, served: ServedModel) -> Freed:
        """Unload, and forget the digest."""
        with self._lock:
            self._digests.pop(served.key, None)
        return self.inside.unload(served)

    def prepare_update(
        self, served: ServedModel, job: LoadJob, on_phase: OnPhase
    ) -> InstanceUpdate:
        """Prepare it; nothing is digested before it is applied."""
        return self.inside.prepare_update(served, job, on_phase)

    def close_update(self, update: InstanceUpdate) -> None:
        """Close it, and ask for the digest anew where it was applied: the files are others."""
        job = update.job
        with self._lock:
            anew = update.is_applied and job.key in self._digests
            if anew:
                self._digests[job.key] = _Digest(job)
        if anew:
            self.submit(partial(self._digest, job))
        self.inside.close_update(update)

    def digest_of(self, key: GenerationKey) -> str:
        """Return the digest of a generation, `PENDING` while it is made, `NONE` without one."""
        with self._lock:
            known = self._digests.get(key)
        return NONE if known is None else known.text

    def _digest(self, job: LoadJob) -> None:
        with self._lock:
            wanted = self._digests.get(job.key)
        if wanted is not None and wanted.job is job:
            # Whoever is asked for another one meanwhile has a place of its own for that.
            wanted.text = digest_of_job(job, is_cancelled=self.is_cancelled)
            if self.on_digest is not None:
                self.on_digest(job.key, wanted.text)


def digest_of_job(job: LoadJob, *, is_cancelled: IsCancelled) -> str:
    """Return the digest of the files that a job loads; `NONE` where they are others by now."""
    try:
        listing = list_model(job.model_directory)
        if fingerprint_of(*by_version(listing.entries)).of(job.key.version) != job.fingerprint:
            return NONE
        files = files_of(job.key.version, listing.entries)
        return version_digest(digest_files(job.model_directory, files, is_cancelled=is_cancelled))
    except (OSError, ChangedError, CancelledError) as error:
        log.debug("no digest", model=job.key.model, version=job.key.version, reason=str(error))
        return NONE

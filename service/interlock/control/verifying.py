"""Load what was looked at, or nothing: a load whose files move is thrown away."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from interlock.control.executor import Loader
from interlock.domain.errors import UnavailableError
from interlock.repository.fingerprint import Fingerprint, fingerprint
from interlock.repository.manifest_check import check_manifest
from interlock.serving.freed import Freed
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob, OnPhase
from interlock.serving.served_model import ServedModel

log = structlog.get_logger()


def staged_already(_model_directory: Path, _version: int) -> None:
    """Compare nothing with a manifest: who asks for the load has, of the files as they are."""


class FilesMovedError(UnavailableError):
    """The files are not those that were to be loaded. Tells nothing of what they contain."""


@dataclass(frozen=True, slots=True)
class VerifyingLoader:
    """Takes the fingerprint before and after a load. Any thread may call, as the one inside.

    `look` takes the fingerprint of a model's directory. `obey` raises ServiceError where a
    version is not what its manifest says; what is compared there is what is loaded.
    """

    inside: Loader
    look: Callable[[Path], Fingerprint] = fingerprint
    obey: Callable[[Path, int], None] = check_manifest

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        """Load what has the fingerprint of the job; raise FilesMovedError where it changes."""
        self.check(job, "before it was loaded")
        try:
            self.obey(job.model_directory, job.key.version)
            served = self.inside.load(job, on_phase)
        except Exception:
            # Half a file is a reason to look again, not one to hold against its content.
            self.check(job, "while it was loaded")
            raise
        try:
            self.check(job, "while it was loaded")
        except FilesMovedError:
            self.inside.unload(served)
            raise
        return served

    def unload(self, served: ServedModel) -> Freed:
        return self.inside.unload(served)

    def prepare_update(
        self, served: ServedModel, job: LoadJob, on_phase: OnPhase
    ) -> InstanceUpdate:
        """Prepare what has the fingerprint of the job; raise FilesMovedError where it changes."""
        self.check(job, "before its instances were changed")
        try:
            self.obey(job.model_directory, job.key.version)
            update = self.inside.prepare_update(served, job, on_phase)
        except Exception:
            self.check(job, "while its instances were changed")
            raise
        try:
            self.check(job, "while its instances were changed")
        except FilesMovedError:
            self.inside.close_update(update)
            raise
        return update

    def close_update(self, update: InstanceUpdate) -> None:
        self.inside.close_update(update)

    def check(self, job: LoadJob, when: str) -> None:
        """Raise FilesMovedError where the files are not those of the job any more.

        `when` ends the sentence that says so: "before it was loaded".
        """
        self._compare(job, job.model_directory, job.fingerprint, when)
        if job.published is not None:
            self._compare(job, job.published.directory, job.published.fingerprint, when)

    def _compare(self, job: LoadJob, directory: Path, fingerprint: str, when: str) -> None:
        if not fingerprint:
            return
        try:
            now = self.look(directory).of(job.key.version)
        except OSError as error:
            raise FilesMovedError(
                f"failed to read model directory {directory}: {error.strerror}"
            ) from error
        if now != fingerprint:
            log.info("files moved", model=job.key.model, version=job.key.version, when=when)
            raise FilesMovedError(f"the files of version {job.key.version} changed {when}")

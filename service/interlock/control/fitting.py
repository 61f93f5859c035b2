"""Load only what fits into memory: what does not is refused before the kernel ends the process.

What a version takes is guessed from the size of its files. What is free is what the system
says less what other loads are about to take; the version that is to be replaced is in memory
as well, and goes on to serve whatever becomes of its successor.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import structlog

from interlock.control.executor import Loader
from interlock.domain.errors import ExhaustedError
from interlock.domain.ids import GenerationKey
from interlock.repository.listing import FILE, list_model
from interlock.runtime.clock import Clock
from interlock.serving.freed import Freed
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob, OnPhase
from interlock.serving.served_model import ServedModel
from interlock.telemetry.free_memory import FreeMemory

log = structlog.get_logger()

SPARE_BYTES: Final = 32 << 20
"""What must be left for requests when a version has been loaded."""
PATIENCE_S: Final = 60.0
"""How long to wait for other loads to end, where only they are in the way."""
_MIB: Final = 1 << 20

ReadFree = Callable[[], FreeMemory | None]


class DoesNotFitError(ExhaustedError):
    """There is not enough memory for the version beside all that is there."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a version is taken to want: the size of its files, and what they take in memory."""

    file_bytes: int
    load_bytes: int

    @property
    def bytes(self) -> int:
        return self.load_bytes + SPARE_BYTES

    def __str__(self) -> str:
        files = f"its files are {_mib_up(self.file_bytes)} MiB"
        if self.load_bytes != self.file_bytes:
            files += f" and take {_mib_up(self.load_bytes)} while they are loaded"
        return f"{_mib_up(self.bytes)} MiB ({files}, {_mib(SPARE_BYTES)} are to spare)"


class Reservations:
    """The memory that loads under way are about to take. Any thread may call.

    A load that has begun may have taken some of it already, which is then counted twice.
    So where a version would fit but for the others, it waits until they have ended, for up
    to `patience_s`, and is judged by what is free then. `trim` gives free memory back to the
    system.
    """

    def __init__(
        self,
        read_free: ReadFree,
        *,
        trim: Callable[[], int],
        clock: Clock,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._read_free = read_free
        self._trim = trim
        self._clock = clock
        self._patience_s = patience_s
        # Guards the three below. A leaf.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._reserved: dict[GenerationKey, int] = {}
        self._ended = 0
        self._closed = False

    @contextmanager
    def hold(self, key: GenerationKey, need: Need) -> Iterator[None]:
        """Keep what a load needs from the others until it has ended. Raise DoesNotFitError."""
        self._take(key, need)
        try:
            yield
        finally:
            with self._changed:
                del self._reserved[key]
                self._ended += 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more: the server stops."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self, key: GenerationKey, need: Need) -> None:
        deadline = self._clock() + self._patience_s
        shortage = self._try(key, need)
        if shortage and shortage.reserved:
            _tell_that_it_waits(key, need, shortage)
        while shortage and shortage.reserved and (left_s := deadline - self._clock()) > 0:
            if not self._wait_for_an_end(shortage.ended, left_s):
                break
            shortage = self._try(key, need)
        if shortage:
            self._trim()
            shortage = self._try(key, need)
        if shortage:
            raise _refusal(need, shortage)

    def _try(self, key: GenerationKey, need: Need) -> "_Shortage | None":
        """Reserve what is needed, or return what there is instead."""
        while True:
            ended = self._ended
            free = self._read_free()
            with self._lock:
                if ended != self._ended:
                    continue  # what was read is older than the end of a load
                reserved = dict(self._reserved)
                if free is not None and need.bytes + sum(reserved.values()) > free.free_bytes:
                    return _Shortage(free, reserved, ended)
                self._reserved[key] = need.load_bytes
                return None

    def _wait_for_an_end(self, ended: int, timeout_s: float) -> bool:
        """Wait until a load has ended; whether one has, and the wait is to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ended != ended, timeout_s)
            return not self._closed and self._ended != ended


@dataclass(frozen=True, slots=True)
class _Shortage:
    """What was free when it was too little, and who was about to take some of that.

    `ended` counts the loads that had ended by then.
    """

    free: FreeMemory
    reserved: Mapping[GenerationKey, int]
    ended: int

    def __str__(self) -> str:
        limit = self.free.limit_bytes
        of = "the host's" if limit is None else f"the {_mib(limit)} MiB of the memory limit"
        text = f"{_mib(self.free.free_bytes)} MiB are free of {of}"
        if not self.reserved:
            return text
        names = ", ".join(str(key.version_key) for key in sorted(self.reserved))
        return f"{text}, {_mib(sum(self.reserved.values()))} of them reserved for loads of {names}"


@dataclass(frozen=True, slots=True)
class FittingLoader:
    """Refuses what does not fit. Any thread may call, as the one inside.

    `copies` is how often what a file holds is in memory while it is loaded, by suffix, once
    where it says nothing; all of it is multiplied by `factor`.
    """

    inside: Loader
    reservations: Reservations
    copies: Mapping[str, int] = field(default_factory=dict)
    factor: float = 1.0

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        """Load what fits; raise DoesNotFitError for what does not."""
        need = self._need_of(job.directory / str(job.key.version))
        if not need.file_bytes:
            return self.inside.load(job, on_phase)
        with self.reservations.hold(job.key, need):
            return self.inside.load(job, on_phase)

    def unload(self, served: ServedModel) -> Freed:
        return self.inside.unload(served)

    def prepare_update(
        self, served: ServedModel, job: LoadJob, on_phase: OnPhase
    ) -> InstanceUpdate:
        """Prepare it: the files are in memory already, and none is opened again."""
        return self.inside.prepare_update(served, job, on_phase)

    def close_update(self, update: InstanceUpdate) -> None:
        self.inside.close_update(update)

    def _need_of(self, version_directory: Path) -> Need:
        sizes = _sizes(version_directory)
        loaded = sum(
            size * self.copies.get(PurePosixPath(path).suffix, 1) for path, size in sizes.items()
        )
        return Need(sum(sizes.values()), int(loaded * self.factor))


def _sizes(version_directory: Path) -> Mapping[str, int]:
    """Return the size of each file of a version, by its path, one that has two names once."""
    try:
        listing = list_model(version_directory)
    except OSError:
        return {}  # who opens the files says it better
    files = {file.inode: file for file in listing.entries if file.kind == FILE}
    return {file.path: file.size for file in files.values()}


def _tell_that_it_waits(key: GenerationKey, need: Need, shortage: _Shortage) -> None:
    log.info(
        "load waits for memory",
        model=key.model,
        version=key.version,
        generation=key.generation,
        needs=str(need),
        there_is=str(shortage),
    )


def _refusal(need: Need, shortage: _Shortage) -> DoesNotFitError:
    return DoesNotFitError(
        f"the version does not fit into memory: it needs {need}, and {shortage}. Give the server "
        "more memory or unload another model; if an older version of this one serves, swap_policy "
        "'resource_preserving' in its configuration unloads that first"
    )


def _mib(size_bytes: int) -> int:
    return size_bytes // _MIB


def _mib_up(size_bytes: int) -> int:
    return -(-size_bytes // _MIB)

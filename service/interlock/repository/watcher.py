"""Watch the repositories for file events, as hints that a scan is worth its while.

Events may be missing without notice: on network mounts, past the limits of inotify, behind
links that lead out of a repository. So each repository is tested for whether they arrive at
all, and whoever takes the hints scans now and then without one. The scan is the truth.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch
from watchdog.observers.polling import PollingObserver

from interlock.repository.layout import is_left_behind
from interlock.repository.mounts import Mounts
from interlock.runtime.clock import Clock
from interlock.runtime.threads import Thread, spawn

log = structlog.get_logger()

_WANTED: Final[list[type[FileSystemEvent]]] = [
    # No reading: we would wake ourselves. No writing: its end is told by the closing.
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
_PROBE: Final = ".interlock-probe-"
_TEST_S: Final = 2.0
"""For how long events of a probe are waited for. Renames alone are held back for 0.5 s."""


class Arrival(Enum):
    """Whether the events of a repository arrive, as far as that can be tested."""

    ALL = "file events arrive"
    OWN = "file events of this machine only"
    NONE = "no file events on this mount"
    UNKNOWN = "file events cannot be tested on this mount"


@dataclass(slots=True)
class Debounce:
    """Turns a shower of events into one hint, soon after its end, or in its middle if it lasts."""

    delay_s: float = 0.1
    limit_s: float = 1.0
    _first: float | None = None
    _last: float = 0.0

    def hear(self, now: float) -> None:
        """Take note of an event."""
        if self._first is None:
            self._first = now
        self._last = now

    def due(self) -> float | None:
        """Return when to give a hint; `None` where there is nothing to tell."""
        if self._first is None:
            return None
        return min(self._last + self.delay_s, self._first + self.limit_s)

    def take(self, now: float) -> bool:
        """Return whether to give a hint now, and begin anew if so."""
        due = self.due()
        if due is None or now < due:
            return False
        self._first = None
        return True


class EventSource(Protocol):
    """What watches directories: an observer of watchdog, whose events come in its own thread."""

    def start(self) -> None: ...

    def schedule(
        self,
        event_handler: FileSystemEventHandler,
        path: str,
        *,
        recursive: bool,
        event_filter: list[type[FileSystemEvent]],
    ) -> ObservedWatch:
        """Begin to watch. Raise OSError where that is not possible."""
        ...

    def unschedule(self, watch: ObservedWatch) -> None: ...

    def stop(self) -> None: ...

    def join(self) -> None: ...


def native_source() -> EventSource | None:
    """Return what the system offers; `None` where that would be reading it again and again."""
    observer = Observer()
    return None if isinstance(observer, PollingObserver) else observer


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A directory to watch, as the very directory that it is now.

    With `names`, only what happens to these entries of it counts, and nothing below.
    """

    path: str
    device: int
    inode: int
    names: tuple[str, ...] = ()


def places_of(roots: Iterable[Path]) -> dict[Place, tuple[Path, ...]]:
    """Return what to watch, and for which repositories.

    Each repository, and whatever link on the way to it may be flipped; less what is not
    there just now. A directory is watched once, however many want it: watchdog cannot tell
    equal watches apart.
    """
    repositories: dict[str, list[Path]] = {}
    links: dict[str, list[tuple[str, Path]]] = {}
    for root in roots:
        repositories.setdefault(os.path.realpath(root), []).append(root)
        for link in _links(root):
            links.setdefault(os.path.realpath(link.parent), []).append((link.name, root))
    places: dict[Place, tuple[Path, ...]] = {}
    for path, owners in repositories.items():
        for place in _as_it_is(path):
            places[place] = tuple(owners)
    for path, named in links.items():
        for place in _as_it_is(path, tuple(sorted({name for name, _ in named}))):
            places[place] = tuple(dict.fromkeys(owner for _, owner in named))
    return places


def _as_it_is(path: str, names: tuple[str, ...] = ()) -> Iterator[Place]:
    with suppress(OSError):
        status = Path(path).stat()
        yield Place(path, status.st_dev, status.st_ino, names)


def _links(path: Path) -> Iterator[Path]:
    """Yield the links that a path leads through, those that links lead to included."""
    seen: set[Path] = set()
    left = [path.absolute()]
    while left:
        whole = left.pop()
        for part in (*reversed(whole.parents), whole):
            if part in seen or not part.is_symlink():
                continue
            seen.add(part)
            yield part
            left.append(part.parent / part.readlink())


class Watcher:
    """Watches repositories and gives hints. Any thread may call what is public.

    `hint` is called in the watcher's own thread and must be quick. `scan_every_s` is how
    often a scan is made without one, for the log.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        hint: Callable[[], None],
        *,
        scan_every_s: float,
        clock: Clock,
        source: Callable[[], EventSource | None] = native_source,
        mounts: Callable[[], Mounts] = Mounts.now,
    ) -> None:
        self._roots = tuple(roots)
        self._hint = hint
        self._scan_every_s = scan_every_s
        self._clock = clock
        self._make_source = source
        self._mounts = mounts
        self._thread: Thread | None = None
        # Guards the four below, and is what the watcher's thread sleeps on. watchdog calls
        # us with its own lock held: nothing of watchdog is called with this one held.
        self._news = threading.Condition()
        self._debounce = Debounce()
        self._probes_heard: set[str] = set()
        self._is_rearming = True
        self._is_closing = False
        # The watcher's thread's own.
        self._source: EventSource | None = None
        self._armed: dict[Place, ObservedWatch] = {}
        self._tests: list[_Test] = []
        self._told: dict[Path, tuple[Arrival, str]] = {}
        # Written by the watcher's thread, by assignment; read by any.
        self._arrivals: Mapping[Path, Arrival] = {}

    @property
    def arrivals(self) -> Mapping[Path, Arrival]:
        """Whether events arrive, for each repository that has been tested."""
        return self._arrivals

    def start(self) -> None:
        """Start watching, and testing whether events arrive, in a thread of its own."""
        self._thread = spawn("repository-watcher", self.run)

    def rearm(self) -> None:
        """Look again at what there is to watch: after a scan, for a root may be another now."""
        with self._news:
            self._is_rearming = True
            self._news.notify()

    def close(self) -> None:
        """End watching, and wait for the threads."""
        with self._news:
            self._is_closing = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join()

    def run(self) -> None:
        """Step whenever something is due, until `close`."""
        self.open()
        try:
            while self._source is not None and not self._is_closing:
                self._sleep(until=self.step())
        finally:
            self.end()

    def open(self) -> None:
        """Begin to take events."""
        try:
            self._source = self._make_source()
            if self._source is not None:
                self._source.start()
        except OSError as error:  # the limit of instances
            self._source = None
            self._tell(self._roots, Arrival.NONE, _text_of(error))
        else:
            if self._source is None:
                self._tell(self._roots, Arrival.NONE, "the system offers none")

    def step(self) -> float | None:
        """Do what is due; return when (monotonic) to come again though nothing is heard."""
        with self._news:
            is_rearming, self._is_rearming = self._is_rearming, False
        if is_rearming:
            self._arm()
        now = self._clock()
        with self._news:
            heard, self._probes_heard = self._probes_heard, set()
            is_due = self._debounce.take(now)
            due = self._debounce.due()
        self._judge(heard, now)
        if is_due:
            self._hint()
        times = [test.deadline for test in self._tests]
        return min(times if due is None else [*times, due], default=None)

    def end(self) -> None:
        """Take no more events."""
        source, self._source = self._source, None
        if source is not None:
            source.stop()
            source.join()

    def _sleep(self, until: float | None) -> None:
        with self._news:
            if self._is_closing or self._is_rearming or self._probes_heard:
                return
            due = self._debounce.due()
            times = [time for time in (until, due) if time is not None]
            self._news.wait(max(0.0, min(times) - self._clock()) if times else None)

    def _arm(self) -> None:
        """Watch what is to be watched now, and nothing else."""
        if self._source is None:
            return
        wanted = places_of(self._roots)
        for place in self._armed.keys() - wanted.keys():
            self._source.unschedule(self._armed.pop(place))
        for place in sorted(wanted.keys() - self._armed.keys()):
            handler = _Handler(place.names, self._hear)
            try:
                self._armed[place] = self._source.schedule(
                    handler, place.path, recursive=not place.names, event_filter=_WANTED
                )
            except OSError as error:
                self._tell(wanted[place], Arrival.NONE, _text_of(error))
                continue
            if not place.names:
                self._test(wanted[place], place)

    def _hear(self, paths: Iterable[str]) -> None:
        """Take an event in: called by watchdog, in its thread."""
        names = {os.path.basename(path) for path in paths}  # noqa: PTH119 - once for each event
        probes = {name for name in names if name.startswith(_PROBE)}
        with self._news:
            # Those that follow the first only put the hint off.
            is_news = bool(probes) or self._debounce.due() is None
            self._probes_heard |= probes
            if names - probes:
                self._debounce.hear(self._clock())
            if is_news:
                self._news.notify()

    def _test(self, roots: Sequence[Path], place: Place) -> None:
        """Make and remove a file, to see whether that is heard."""
        name = f"{_PROBE}{os.getpid()}-{place.inode}"
        path = Path(place.path, name)
        try:
            path.open("xb").close()
        except FileExistsError:
            pass  # one of our number was killed in between; to remove it is an event as well
        except OSError as error:
            self._tell(roots, Arrival.UNKNOWN, _text_of(error))
            return
        with suppress(OSError):
            path.unlink()
        self._tests.append(_Test(name, tuple(roots), self._clock() + _TEST_S))

    def _judge(self, heard: set[str], now: float) -> None:
        """Say how the tests have ended; keep those that have not."""
        tests, self._tests = self._tests, []
        for test in tests:
            if test.name in heard:
                for root in test.roots:
                    file_system = self._mounts().of(root)
                    if file_system.is_local:
                        self._tell([root], Arrival.ALL, "")
                    else:
                        self._tell([root], Arrival.OWN, file_system.kind)
            elif now >= test.deadline:
                self._tell(test.roots, Arrival.NONE, "a test was not heard")
            else:
                self._tests.append(test)

    def _tell(self, roots: Iterable[Path], arrival: Arrival, why: str) -> None:
        """Log what is news of these roots."""
        text = arrival.value
        if arrival is not Arrival.ALL:
            text += f", scanning every {self._scan_every_s:g} s"
        write = log.warning if arrival is Arrival.NONE else log.info
        for root in roots:
            if self._told.get(root) != (arrival, why):
                self._told[root] = (arrival, why)
                self._arrivals = {**self._arrivals, root: arrival}
                write(text, repository=str(root), **({"reason": why} if why else {}))


@dataclass(frozen=True, slots=True)
class _Test:
    """A file was made and removed in these roots; until when that may be heard."""

    name: str
    roots: tuple[Path, ...]
    deadline: float


class _Handler(FileSystemEventHandler):
    """Passes on what is of interest of one watch."""

    def __init__(self, names: Sequence[str], hear: Callable[[Iterable[str]], None]) -> None:
        self._names = names
        self._hear = hear

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take an event of watchdog's in."""
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        wanted = [path for path in paths if self._is_wanted(path)]
        if wanted:
            self._hear(wanted)

    def _is_wanted(self, path: str) -> bool:
        parts = path.split("/")
        if self._names:
            return parts[-1] in self._names
        return "__pycache__" not in parts and not is_left_behind(parts[-1])


def _text_of(error: OSError) -> str:
    return error.strerror or str(error)

"""Follow a remote repository in poll mode: look at it now and then, in a thread of its own.

A download of an hour then holds up neither other repositories nor a shutdown.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from interlock.repository.cloud.root import CloudRoot
from interlock.repository.namespaces import SEPARATOR
from interlock.repository.scan import Scan, Scanner
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, spawn

log = structlog.get_logger()

_MIN_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last look at a remote repository found to be in the way."""

    problems: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()


class Follower:
    """Keeps one mirror in line, every `interval_s`, or sooner where something moves.

    `step` belongs to one thread: the one that `start` makes, or a test. `hint` is called in
    it when there is something to scan. What moves at the start is waited for during
    `patience_s`.
    """

    def __init__(
        self,
        root: CloudRoot,
        *,
        interval_s: float,
        patience_s: float,
        clock: Clock,
        hint: Callable[[], None],
    ) -> None:
        self._root = root
        self._interval_s = interval_s
        self._clock = clock
        self._hint = hint
        self._first_until = clock() + patience_s
        self._has_looked = threading.Event()
        self._closing = threading.Event()
        # Written by the stepping thread, by assignment; read by any.
        self.seen = Seen()

    def start(self, on_death: OnDeath | None = None) -> None:
        """Start the follower's thread."""
        spawn("cloud-follower", self.run, on_death=on_death)

    def wait_for_first_look(self) -> None:
        """Return when the mirror holds what was there at the start, or at `close`."""
        self._has_looked.wait()

    def close(self) -> None:
        """Look no more, and end what is being fetched. Does not wait."""
        self._closing.set()
        self._root.close()
        self._has_looked.set()

    def run(self) -> None:
        """Step whenever it is time, until `close`."""
        while not self._closing.is_set():
            try:
                due = self.step()
            except Exception:  # what one look meets must not be the end of all of them
                log.exception("mirroring failed unexpectedly", repository=self._root.url)
                due = self._clock() + self._interval_s
                self._has_looked.set()
            self._closing.wait(max(_MIN_PAUSE_S, due - self._clock()))

    def step(self) -> float:
        """Look at the repository once; return when (monotonic) to come again."""
        synced = self._root.sync()
        before, self.seen = self.seen, Seen(synced.problems, synced.unknown)
        now, next_look = self._clock(), synced.next_look
        if next_look is None or now >= self._first_until:
            self._has_looked.set()
        if self.seen != before or synced.is_changed:
            self._hint()
        return (
            now + self._interval_s if next_look is None else min(now + self._interval_s, next_look)
        )


@dataclass(frozen=True, slots=True)
class CloudScanner:
    """Scans repositories of which some are mirrors; what a follower could not see is unknown."""

    scanner: Scanner
    followers: Sequence[Follower]

    def scan(self) -> Scan:
        """Scan what is on the disk; the first time when the mirrors have been filled."""
        for follower in self.followers:
            follower.wait_for_first_look()
        problems, hidden = dict[str, str](), set[str]()
        for follower in self.followers:
            seen = follower.seen
            problems |= seen.problems
            hidden |= seen.unknown
        scan = self.scanner.scan()
        # With namespacing a model may go by a qualified name.
        unknown = {name for name in scan.models if {name, _bare(name)} & hidden}
        return replace(scan, unknown=scan.unknown | unknown, problems={**scan.problems, **problems})


def _bare(name: str) -> str:
    return name.rpartition(SEPARATOR)[2]

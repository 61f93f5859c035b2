"""Know the names of all models in the repositories, without anybody waiting for a disk.

Each repository is listed in a thread of its own, now and then and when somebody looks at
the names. One that cannot be listed, or does not answer, keeps the names that it had: they
are unknown now, not gone.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from interlock.control.first_loads import FirstLoads
from interlock.control.index import Listing
from interlock.control.workers import Task, Workers
from interlock.domain.errors import UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.cloud.root import CloudError
from interlock.repository.namespaces import namespaces_of, qualified
from interlock.repository.snapshot import (
    RootListing,
    list_root,
    root_problem,
    unmounted_problem,
)
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, spawn

log = structlog.get_logger()

MIN_AGE_S: Final = 1.0
"""Nobody makes us list a repository again that was listed so recently."""
MAX_AGE_S: Final = 5.0
PATIENCE_S: Final = 10.0
"""A repository that has not answered for so long cannot be listed."""

REMOTE_PATIENCE_S: Final = 60.0
"""The same for one on another machine, where failures are tried again underneath."""

Listener = Callable[[], None]
Outcome = RootListing | str
"""What a look has found, or why it could not."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository on another machine: `ask` returns its names, or raises CloudError.

    It is called `url` wherever a repository is called by its path, and asked every `age_s`.
    """

    url: str
    ask: Callable[[], frozenset[str]]
    age_s: float


@dataclass(slots=True, eq=False)
class _Root:
    """One repository as it is known; `path` is where its models lie, or their mirrors.

    `asked_at` is set while an answer is waited for; `is_wanted` where somebody has looked at
    the names since they were last read, `is_new` until there is a first answer. `missed` says
    why that one was of no use.
    """

    path: Path
    submit: Callable[[Task], None]
    remote: Remote | None = None
    seen: RootListing | None = None
    problem: str = ""
    asked_at: float | None = None
    looked_at: float = float("-inf")
    is_wanted: bool = False
    is_new: bool = True
    missed: str = ""

    @property
    def place(self) -> str:
        return str(self.path.absolute()) if self.remote is None else self.remote.url

    @property
    def patience_s(self) -> float:
        return PATIENCE_S if self.remote is None else REMOTE_PATIENCE_S

    @property
    def names(self) -> frozenset[str]:
        return frozenset() if self.seen is None else self.seen.names

    @property
    def due(self) -> float:
        """When to come again for it."""
        if self.asked_at is not None:
            # Told already that it does not answer: the answer itself wakes us.
            return float("inf") if self.problem else self.asked_at + self.patience_s
        if self.remote is not None:
            return self.looked_at + self.remote.age_s
        return self.looked_at + (MIN_AGE_S if self.is_wanted or self.problem else MAX_AGE_S)


@dataclass(frozen=True, slots=True)
class _Health:
    """What `RepositoryListing` says of the repositories, in one piece."""

    problems: Mapping[str, str] = field(default_factory=dict)
    missed: Mapping[str, str] = field(default_factory=dict)
    listed: frozenset[str] = frozenset()
    all_listed: bool = False


class RepositoryListing:
    """The names as they were last seen. Any thread may ask; nothing but `tick` takes time.

    `tick` belongs to one thread, the one that `start` makes, or a test. `look` lists one
    repository, for those in `remote` that are asked instead; it may hang for as long as it
    likes. With `once` the models are loaded at start and never again, so that a repository
    that was missed then is missed for good.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        clock: Clock,
        look: Callable[[Path], RootListing] = list_root,
        remote: Mapping[Path, Remote] | None = None,
        submit: Callable[[Task], None] | None = None,
        namespacing: bool = False,
        once: bool = False,
    ) -> None:
        self._clock = clock
        self._look = look
        self._once = once
        self._namespaces = namespaces_of(roots) if namespacing else None
        self._first_loads = FirstLoads()
        self._roots = [
            _Root(root, submit or _thread_of(number), (remote or {}).get(root))
            for number, root in enumerate(roots)
        ]
        # Guards the two below, and is what the thread sleeps on.
        self._news = threading.Condition()
        self._is_hinted = False
        self._is_closing = False
        self._outcomes: SimpleQueue[tuple[_Root, Outcome]] = SimpleQueue()
        # Written by the ticking thread, by assignment; read by any.
        self._known = Listing()
        self._health = _Health()
        # Guards the assignment of the listeners; they are called without it.
        self._listeners_lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()

    def begin(self, first_loads: FirstLoads) -> None:
        """Count the first look at each repository among the first loads; before `start`."""
        self._first_loads = first_loads
        for root in self._roots:
            first_loads.begin(root.place)

    def names(self) -> Listing:
        """Return the names that are known, and have a look whether they still hold."""
        with self._news:
            self._is_hinted = True
            self._news.notify()
        return self._known

    @property
    def known(self) -> Listing:
        """The names that are known."""
        return self._known

    @property
    def problems(self) -> Mapping[str, str]:
        """Which repositories cannot be listed now, by absolute path, and why."""
        return self._health.problems

    @property
    def missed(self) -> Mapping[str, str]:
        """Of which nothing could be loaded since the start, and why."""
        if not self._once:
            return self._health.missed
        # Listed or not: whoever reads the models in it at start may have failed to.
        failures = self._first_loads.failures
        places = {root.place for root in self._roots}
        return {place: str(failures[place]) for place in sorted(places & failures.keys())}

    @property
    def any_listed(self) -> bool:
        """Whether any of them was of use since the start."""
        return bool(self._health.listed - self.missed.keys())

    @property
    def all_listed(self) -> bool:
        """Whether it is known what each of them holds now."""
        return self._health.all_listed

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` when the health has changed; return how to end that."""
        with self._listeners_lock:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._listeners_lock:
                self._listeners = tuple(known for known in self._listeners if known is not listener)

        return end

    def start(self, on_death: OnDeath | None = None) -> None:
        spawn("listing", self.run, on_death=on_death)

    def close(self) -> None:
        """List no more. Does not wait: a disk that hangs is not to hold us up."""
        with self._news:
            self._is_closing = True
            self._news.notify()

    def run(self) -> None:
        """Tick whenever it is time, until `close`."""
        while not self._is_closing:
            try:
                due = self.tick()
            except Exception:  # what one tick meets must not be the end of all of them
                log.exception("listing failed unexpectedly")
                due = self._clock() + MAX_AGE_S
            with self._news:
                self._news.wait_for(
                    lambda: self._is_closing or self._is_hinted or not self._outcomes.empty(),
                    max(0.0, due - self._clock()),
                )

    def tick(self) -> float:
        """Take in what was found, ask for more where it is time; return when to come again."""
        now = self._clock()
        changed = self._take_in(now)
        with self._news:
            hinted, self._is_hinted = self._is_hinted, False
        for root in self._roots:
            root.is_wanted = root.is_wanted or hinted
            if now < root.due:
                continue
            if root.asked_at is None:
                root.asked_at, root.is_wanted = now, False
                root.submit(partial(self._list, root))
            else:
                name = root.path if root.remote is None else root.remote.url
                text = f"model repository has not answered for {root.patience_s:.0f} s: {name}"
                changed = self._note(root, text) or changed
        if changed:
            self._publish()
        # Not for ever, which the wait of a thread cannot take.
        return min(now + PATIENCE_S, *(root.due for root in self._roots))

    def _list(self, root: _Root) -> None:
        """Look at one repository; in a thread of its own."""
        outcome: Outcome
        try:
            outcome = self._look(root.path) if root.remote is None else _ask(root.remote)
        except CloudError as error:
            outcome = str(error)
        except OSError as error:
            outcome = root_problem(root.path, error)
        except Exception as error:
            log.exception("listing failed unexpectedly", place=root.place)
            outcome = f"{root.place}: {type(error).__name__}: {error}"
        with self._news:
            self._outcomes.put((root, outcome))
            self._news.notify()

    def _take_in(self, now: float) -> bool:
        """Return whether anything differs from before."""
        changed = False
        while True:
            try:
                root, outcome = self._outcomes.get_nowait()
            except Empty:
                return changed
            root.asked_at, root.looked_at = None, now
            before, problem = root.seen, ""
            if isinstance(outcome, str):
                problem = outcome
            elif before is not None and before.names and outcome.is_unmounted(before.device):
                problem = unmounted_problem(root.path)
            else:
                root.seen = outcome
            changed = self._note(root, problem) or root.seen != before or changed

    def _note(self, root: _Root, problem: str) -> bool:
        """Remember how a repository fares, and say so in the log where it is new."""
        before, root.problem = root.problem, problem
        if problem and not before:
            log.warning(
                "model repository cannot be listed, what it holds goes on as it was",
                place=root.place,
                reason=problem,
            )
        elif before and not problem:
            log.warning("model repository can be listed again", place=root.place)
        if root.is_new:
            root.is_new, root.missed = False, problem
            self._first_loads.end(root.place, UnavailableError(problem) if problem else None)
        return before != problem

    def _publish(self) -> None:
        for root in self._roots:
            if root.seen is not None:
                root.missed = ""
        problems = {root.place: root.problem for root in self._roots if root.problem}
        is_known = [root.seen is not None for root in self._roots]
        health = _Health(
            problems=problems,
            missed={root.place: root.missed for root in self._roots if root.missed},
            listed=frozenset(root.place for root in self._roots if root.seen is not None),
            all_listed=all(is_known) and not problems,
        )
        self._known = _listing(self._roots, self._namespaces)
        if health == self._health:
            return
        self._health = health
        for listener in self._listeners:
            try:
                listener()
            except Exception:
                log.exception("a listener failed")


def _ask(remote: Remote) -> RootListing:
    """Return what is there; nothing is ever mounted or unmounted."""
    return RootListing(remote.url, 0, remote.ask())


def _thread_of(number: int) -> Callable[[Task], None]:
    workers = Workers(f"list-{number}", 1)
    return lambda task: workers.submit(task, dropped=_nothing)


def _nothing() -> None:
    """Nobody waits for what is given up."""


def _listing(roots: Sequence[_Root], namespaces: Mapping[Path, str] | None) -> Listing:
    """Return all names; a directory that is spelled in two ways is one repository."""
    by_place: dict[str, _Root] = {}
    for root in sorted(roots, key=lambda root: root.path):
        if root.seen is not None:
            by_place.setdefault(root.seen.place, root)
    places: dict[str, list[Path]] = {}
    for root in by_place.values():
        for name in root.names:
            places.setdefault(name, []).append(root.path)
    several = {name for name, paths in places.items() if len(paths) > 1}
    single = frozenset(map(ModelName, places.keys() - several))
    if namespaces is None:
        return Listing(single, frozenset(map(ModelName, several)))
    told_apart = (qualified(namespaces[path], name) for name in several for path in places[name])
    return Listing(single.union(map(ModelName, told_apart)))

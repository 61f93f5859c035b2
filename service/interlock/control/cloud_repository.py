"""Poll models that lie in object stores: their mirrors, brought in line before each look.

For the modes none and explicit. In poll mode a follower keeps the mirrors in line, and they
are repositories like any other.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from interlock.control.polling import PLAIN, Look, Repository
from interlock.control.wishes import Candidate, Polled
from interlock.domain.errors import NotFoundError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.repository.cloud.fetching import in_parallel
from interlock.repository.cloud.root import CloudError, CloudRoot
from interlock.repository.namespaces import SEPARATOR
from interlock.repository.scan import Scan, Scanner
from interlock.repository.snapshot import RepositorySnapshot
from interlock.runtime.clock import Clock


class CloudRepository:
    """A `Repository` of which some roots are mirrors. Any thread may call.

    Only models that are polled are mirrored, anew each time and as they are. At the first
    snapshot the whole of every remote repository is, since whoever takes one is about to load
    all of it; the first poll of each model is content with that then. What moves is given
    `patience_s` to lie still; `pause` waits, and returns whether nobody wants to any longer.
    With `namespacing` a model may be polled by a qualified name.
    """

    def __init__(
        self,
        inside: Repository,
        roots: Sequence[CloudRoot],
        *,
        patience_s: float,
        clock: Clock,
        pause: Callable[[float], bool],
        namespacing: bool = False,
    ) -> None:
        self._inside = inside
        self._roots = tuple(roots)
        self._patience_s = patience_s
        self._clock = clock
        self._pause = pause
        self._namespacing = namespacing
        # Guards the two below; held while the whole is mirrored.
        self._lock = threading.Lock()
        self._problems: Mapping[str, str] | None = None
        self._fresh: set[str] = set()

    def snapshot(self) -> RepositorySnapshot:
        problems = self._sync_all()
        snapshot = self._inside.snapshot()
        return replace(snapshot, problems={**snapshot.problems, **problems})

    def poll(self, model: ModelName, look: Look = PLAIN) -> Polled:
        """Poll as `Repository.poll`; raise UnavailableError where a mirror may be out of line."""
        problem = ""
        if not look.fetches:
            self._check(model)
        elif not look.files:
            problem = self._sync(model)
        try:
            return self._inside.poll(model, look)
        except NotFoundError:
            if problem:
                raise _unavailable(model, problem) from None
            raise

    def poll_staged(self, model: ModelName, found: Mapping[int, Candidate]) -> Polled:
        return self._inside.poll_staged(model, found)

    def is_unchanged(self, directory: Path, version: Version, fingerprint: str) -> bool:
        """Judge by the mirror: what is there is what would be loaded, whatever the store has."""
        return self._inside.is_unchanged(directory, version, fingerprint)

    def release(self, directory: Path) -> None:
        self._inside.release(directory)

    def _sync_all(self) -> Mapping[str, str]:
        """Mirror everything, the first time; return what could not be, and why."""
        with self._lock:
            if self._problems is None:
                problems: dict[str, str] = {}
                in_parallel(
                    [partial(self._sync_root, root, problems) for root in self._roots],
                    len(self._roots),
                    "repository",
                )
                mirrored = set[str]().union(*(root.mirrored for root in self._roots))
                self._fresh = mirrored - problems.keys()
                self._problems = problems
            return self._problems

    def _sync_root(self, root: CloudRoot, problems: dict[str, str]) -> None:
        until = self._clock() + self._patience_s
        synced = root.sync()
        while synced.next_look is not None:
            now = self._clock()
            if now >= until or self._pause(min(until, synced.next_look) - now):
                break
            synced = root.sync()
        problems.update((model, f"{root.url}/{model}: changes") for model in synced.moving)
        problems.update(synced.problems)

    def _sync(self, model: ModelName) -> str:
        """Bring the mirrors of one model in line; return why one could not be.

        Raise UnavailableError where that one holds the model: what it holds may be old.
        """
        with self._lock:
            if model in self._fresh:
                self._fresh.discard(model)
                return ""
        problem = ""
        for root in self._roots:
            for name in self._names_of(model):
                try:
                    root.sync_model(name)
                except CloudError as error:
                    problem = str(error)
                    if name in root.mirrored:
                        raise _unavailable(model, problem) from error
        return problem

    def _names_of(self, model: ModelName) -> Sequence[str]:
        """Return what the model may be called in the repositories."""
        if not self._namespacing or SEPARATOR not in model:
            return (model,)
        return (model, model.rpartition(SEPARATOR)[2])

    def _check(self, model: ModelName) -> None:
        """Raise UnavailableError where a load would have to fetch something first."""
        for root in self._roots:
            for name in self._names_of(model):
                try:
                    changed = root.changed(name)
                except CloudError as error:
                    raise _unavailable(model, str(error)) from error
                if changed:
                    raise _unavailable(
                        model, f"{root.url}/{name}: a load would fetch {', '.join(changed)} first"
                    )


@dataclass(frozen=True, slots=True)
class WithoutMirrors:
    """Scans the repositories, and leaves out the models in mirrors: nobody else writes there."""

    scanner: Scanner
    mirrors: Collection[Path]

    def scan(self) -> Scan:
        scan = self.scanner.scan()
        models = {
            name: model
            for name, model in scan.models.items()
            if model.directory.parent not in self.mirrors
        }
        return replace(scan, models=models)


def _unavailable(model: ModelName, problem: str) -> UnavailableError:
    return UnavailableError(f"failed to poll model '{model}': {problem}")

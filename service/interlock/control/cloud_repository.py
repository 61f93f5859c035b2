"""Poll models that lie in object stores: their mirrors, brought in line before each look.

For the modes none and explicit. In poll mode a follower keeps the mirrors in line, and they
are repositories like any other.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from interlock.control.polling import PLAIN, Look, Repository
from interlock.control.wishes import Candidate, Polled
from interlock.domain.errors import NotFoundError, UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.cloud.root import CloudError, CloudRoot
from interlock.repository.snapshot import ModelSource, RepositorySnapshot
from interlock.runtime.clock import Clock
from interlock.runtime.threads import spawn

_NEVER: Final = float("-inf")


class RemoteNames:
    """The models that a repository has, without their files. Any thread may ask.

    Whoever asks gets what was heard last, and has it asked for anew in the background where
    that is older than `max_age_s`. The first who asks waits. Names that cannot be heard are
    those that were heard before.
    """

    def __init__(self, root: CloudRoot, *, max_age_s: float, clock: Clock) -> None:
        self._root = root
        self._max_age_s = max_age_s
        self._clock = clock
        # Guards the three below; held by the first who asks while the store is asked.
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()
        self._problem = ""
        self._due = _NEVER

    def get(self) -> tuple[frozenset[str], str]:
        """Return the names, and why they could not be heard again, or ""."""
        with self._lock:
            if self._due == _NEVER:
                self._take(*self._asked())
            elif self._clock() >= self._due:
                self._due = self._clock() + self._max_age_s
                spawn("remote-names", self._refresh)
            return self._names, self._problem

    def _refresh(self) -> None:
        heard = self._asked()
        with self._lock:
            self._take(*heard)

    def _asked(self) -> tuple[frozenset[str] | None, str]:
        try:
            return self._root.names(), ""
        except CloudError as error:
            return None, str(error)

    def _take(self, names: frozenset[str] | None, problem: str) -> None:
        if names is not None:
            self._names = names
        self._problem = problem
        self._due = self._clock() + self._max_age_s


class CloudRepository:
    """A `Repository` of which some roots are mirrors. Any thread may call.

    With `at_once` the whole of every remote repository is mirrored at the first snapshot,
    and nothing of it is asked again unless a model is polled a second time; else only
    models that are polled are mirrored.
    """

    def __init__(
        self,
        inside: Repository,
        roots: Sequence[CloudRoot],
        *,
        at_once: bool,
        names_age_s: float,
        clock: Clock,
    ) -> None:
        self._inside = inside
        self._roots = tuple(roots)
        self._at_once = at_once
        self._names = {
            root: RemoteNames(root, max_age_s=names_age_s, clock=clock) for root in roots
        }
        # Guards the two below; held while the whole is mirrored.
        self._lock = threading.Lock()
        self._problems: Mapping[str, str] | None = None
        self._fresh: set[str] = set()

    def snapshot(self) -> RepositorySnapshot:
        if self._at_once:
            problems = self._sync_at_once()
            snapshot = self._inside.snapshot()
            return replace(snapshot, problems={**snapshot.problems, **problems})
        return self._with_names(self._inside.snapshot())

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

    def release(self, directory: Path) -> None:
        self._inside.release(directory)

    def _sync_at_once(self) -> Mapping[str, str]:
        with self._lock:
            if self._problems is None:
                problems: dict[str, str] = {}
                for root in self._roots:
                    problems.update(root.sync().problems)
                    self._fresh |= root.mirrored
                self._problems = problems
            return self._problems

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
            try:
                root.sync_model(model)
            except CloudError as error:
                problem = str(error)
                if model in root.mirrored:
                    raise _unavailable(model, problem) from error
        return problem

    def _check(self, model: ModelName) -> None:
        """Raise UnavailableError where a load would have to fetch something first."""
        for root in self._roots:
            try:
                changed = root.changed(model)
            except CloudError as error:
                raise _unavailable(model, str(error)) from error
            if changed:
                raise _unavailable(
                    model, f"{root.url}/{model}: a load would fetch {', '.join(changed)} first"
                )

    def _with_names(self, snapshot: RepositorySnapshot) -> RepositorySnapshot:
        """Add the models that are not mirrored, by their names alone."""
        mirrors = {root.directory for root in self._roots}
        models = {
            name: source
            for name, source in snapshot.models.items()
            if source.directory.parent not in mirrors
        }
        duplicates, problems = set(snapshot.duplicates), dict(snapshot.problems)
        for root, remote in self._names.items():
            names, problem = remote.get()
            if problem:
                problems[root.url] = problem
            for name in names | root.mirrored:
                if name in models:
                    duplicates.add(name)
                models[name] = snapshot.models.get(name) or _by_name(name, root)
        for name in duplicates:
            models.pop(name, None)
        return RepositorySnapshot(models, frozenset(duplicates), problems)


def _by_name(name: str, root: CloudRoot) -> ModelSource:
    return ModelSource(
        name=name,
        directory=root.directory / name,
        config_path=None,
        config_text=None,
        versions=(),
        first_entries=(),
    )


def _unavailable(model: ModelName, problem: str) -> UnavailableError:
    return UnavailableError(f"failed to poll model '{model}': {problem}")

"""Keep a private mirror of one remote repository in line with what is listed there.

What cannot be listed or fetched is unknown and stays as it was last seen; nothing is removed
but what a listing that came to its end does not name any more.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePath
from typing import Final

import structlog

from interlock.repository.cloud.bringing import Bringer, Changes
from interlock.repository.cloud.budget import Budget, NoRoomError
from interlock.repository.cloud.fetching import FetchCancelledError, Fetcher, in_parallel
from interlock.repository.cloud.listing import list_all, list_names
from interlock.repository.cloud.mirror import Mirror
from interlock.repository.cloud.objects import (
    Arrangement,
    Files,
    Refusal,
    Unit,
    arrange,
    difference,
)
from interlock.repository.cloud.stillness import Stillness
from interlock.repository.cloud.store import MovedError, ObjectStore, StoreError
from interlock.repository.layout import is_ignored
from interlock.runtime.clock import Clock

log = structlog.get_logger()

_LOOKS: Final = 3
"""How often a model that changes while it is fetched is listed again."""
_STRIPES: Final = 256
_MODELS_AT_A_TIME: Final = 4
_MAX_NAME_BYTES: Final = 255
_MAX_TOLD: Final = 1000
"""How many keys that are refused are remembered, so that each is told once."""

OpenStore = Callable[[], ObjectStore]
IsUsed = Callable[[str], bool]


class CloudError(Exception):
    """The repository or a model cannot be looked at, or not be fetched; the text says why."""


@dataclass(frozen=True, slots=True)
class Synced:
    """How a look at a whole repository ended.

    `problems` says why something could not be looked at or fetched, by model name, and by
    URL for the repository. `unknown` are the models that are as they were last seen for
    that reason. `moving` are those of which not everything was taken, because it has not lain
    still, or does not while it is fetched. `next_look` (monotonic) is when another look will
    tell more though nothing changes; it may be over.
    """

    problems: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    moving: frozenset[str] = frozenset()
    is_changed: bool = False
    next_look: float | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the threads of one look find out, each for its own models."""

    problems: dict[str, str]
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


def always_used(_model: str) -> bool:
    """Return that nothing makes room for anything else."""
    return True


class CloudRoot:
    """One remote repository, and its mirror below `place`.

    `sync` belongs to one thread at a time, `sync_model` to any; a server calls the one or
    the other. A unit that changes must lie still for `settle_s` before `sync` takes it.
    """

    def __init__(
        self,
        url: str,
        place: Path,
        *,
        open_store: OpenStore,
        budget: Budget,
        clock: Clock,
        settle_s: float = 0.0,
        within: PurePath = PurePath(),  # noqa: B008 - cannot be changed
        is_used: IsUsed = always_used,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.url = url
        self._mirror = Mirror(place, within)
        self._open_store = open_store
        self._clock = clock
        self._stillness = Stillness(settle_s)
        self._is_used = is_used
        self._now = now
        self._closing = threading.Event()
        fetcher = Fetcher(is_cancelled=self._closing.is_set)
        self._bringer = Bringer(self._mirror, budget, fetcher)
        self._is_first = True
        # Held while a model's part of the mirror changes; a few for all names.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        # Guards the three below. A leaf, but for the making of a store.
        self._lock = threading.Lock()
        self._store: ObjectStore | None = None
        self._told: frozenset[Refusal] = frozenset()
        self._uses: dict[str, None] = {}  # the models, in the order of their last use

    @property
    def directory(self) -> Path:
        """The mirror, as an ordinary model repository."""
        return self._mirror.models

    @property
    def mirrored(self) -> frozenset[str]:
        """The models that the mirror holds."""
        return self._mirror.names

    def names(self) -> frozenset[str]:
        """Return the models that the remote repository has now. Raise CloudError."""
        try:
            return list_names(self._opened())
        except StoreError as error:
            raise self._failed(error) from error

    def sync(self) -> Synced:
        """Bring the whole mirror in line with the remote repository."""
        try:
            store = self._opened()
            listed = list_all(store, self.mirrored)
        except StoreError as error:
            return Synced({self.url: str(self._failed(error))}, self.mirrored)
        arrangement = arrange(listed.objects)
        self._tell(arrangement.refusals)
        outcome = _Outcome(
            {
                model or self.url: f"{self._place(model)}: {text}"
                for model, text in listed.odd.items()
            }
        )
        changes = self._changes(arrangement, listed.odd)
        self._bring_all(store, changes, outcome)
        next_look = self._stillness.next_look()
        if outcome.moved:
            next_look = self._clock() + self._stillness.settle_s
        return Synced(
            outcome.problems,
            self.mirrored & outcome.problems.keys(),
            self._stillness.models.union(outcome.moved),
            is_changed=bool(outcome.changed),
            next_look=next_look,
        )

    def changed(self, model: str) -> tuple[str, ...]:
        """Return what of a model is not as it is mirrored, in words. Raise CloudError."""
        if not _is_model(model):
            return ()
        try:
            wanted = arrange(self._opened().list(model)).models.get(model, {})
        except StoreError as error:
            raise self._failed(error, model) from error
        units = difference(self._mirror.of(model), wanted)
        return tuple(sorted(map(_written, units)))

    def sync_model(self, model: str) -> None:
        """Bring one model's part of the mirror in line. Raise CloudError.

        It is mirrored as it is now, however short a time ago it was put there. One that the
        repository does not have leaves the mirror.
        """
        if not _is_model(model):
            return
        try:
            with self._stripe(model):
                self._sync_model(model)
                self._use(model)
        except StoreError as error:
            raise self._failed(error, model) from error
        except (MovedError, NoRoomError, FetchCancelledError, OSError) as error:
            raise CloudError(f"{self._place(model)}: {_text_of(error)}") from error

    def close(self) -> None:
        """End what is being fetched."""
        self._closing.set()

    def _sync_model(self, model: str) -> None:
        for look in range(1, _LOOKS + 1):
            store = self._opened()
            arrangement = arrange(store.list(model))
            self._tell(arrangement.refusals)
            changes = difference(self._mirror.of(model), arrangement.models.get(model, {}))
            try:
                self._bring(store, model, changes)
            except MovedError:
                if look == _LOOKS:
                    raise
            except NoRoomError:
                if look == _LOOKS or not self._make_room(model):
                    raise
            else:
                return

    def _bring(self, store: ObjectStore, model: str, changes: Changes) -> None:
        if changes:
            self._bringer.bring(store, model, changes)
            log.info("mirrored", model=model, repository=self.url)

    def _opened(self) -> ObjectStore:
        with self._lock:
            if self._store is None:
                self._store = self._open_store()
            return self._store

    def _failed(self, error: StoreError, model: str = "") -> CloudError:
        """Return what to say; the next look begins with new credentials."""
        with self._lock:
            self._store = None
        return CloudError(f"{self._place(model)}: {error}")

    def _place(self, model: str) -> str:
        return f"{self.url}/{model}" if model else self.url

    def _changes(self, arrangement: Arrangement, unknown: Collection[str]) -> Mapping[str, Changes]:
        """Return what has changed and lies still, by model."""
        every: dict[Unit, Files | None] = {}
        for model in (arrangement.models.keys() | self.mirrored).difference(unknown):
            every.update(difference(self._mirror.of(model), arrangement.models.get(model, {})))
        # Only at first: what was seen to move is not made still by another machine's clock.
        ages_s = self._ages_s(every) if self._is_first else None
        self._is_first = False
        changes: dict[str, dict[Unit, Files | None]] = {}
        for unit in self._stillness.look(every, self._clock(), ages_s=ages_s):
            changes.setdefault(unit.model, {})[unit] = every[unit]
        return changes

    def _ages_s(self, units: Changes) -> Mapping[Unit, float]:
        now = self._now()
        return {
            unit: min((now - file.source.modified).total_seconds() for file in files)
            for unit, files in units.items()
            if files
        }

    def _bring_all(
        self, store: ObjectStore, changes: Mapping[str, Changes], outcome: _Outcome
    ) -> None:
        # What goes makes room for what comes.
        going = {model for model, units in changes.items() if not any(units.values())}
        for models in (sorted(going), sorted(changes.keys() - going)):
            tasks = [
                partial(self._bring_one, store, model, changes[model], outcome) for model in models
            ]
            in_parallel(tasks, _MODELS_AT_A_TIME, "mirror")

    def _bring_one(
        self, store: ObjectStore, model: str, changes: Changes, outcome: _Outcome
    ) -> None:
        try:
            with self._stripe(model):
                self._bring(store, model, changes)
                self._use(model)
            outcome.changed.append(model)
        except MovedError:
            outcome.moved.append(model)
        except (StoreError, NoRoomError, FetchCancelledError, OSError) as error:
            outcome.problems[model] = f"{self._place(model)}: {_text_of(error)}"

    def _make_room(self, wanted: str) -> bool:
        """Remove the models that nobody uses from the mirror; whether there was one."""
        with self._lock:
            candidates = [name for name in self._uses if name != wanted]
        freed = 0
        for name in candidates:
            stripe = self._stripe(name)
            # The caller holds one: waiting for another could be for ever.
            if self._is_used(name) or not stripe.acquire(blocking=False):
                continue
            try:
                freed += self._bringer.drop(name)
            finally:
                stripe.release()
            with self._lock:
                self._uses.pop(name, None)
            log.info("made room in the cache", model=name, repository=self.url)
        return freed > 0

    def _use(self, model: str) -> None:
        with self._lock:
            self._uses.pop(model, None)
            if model in self.mirrored:
                self._uses[model] = None

    def _stripe(self, model: str) -> threading.Lock:
        return self._stripes[hash(model) % _STRIPES]

    def _tell(self, refusals: Iterable[Refusal]) -> None:
        """Log the keys of which no file is made, each once."""
        with self._lock:
            room = max(0, _MAX_TOLD - len(self._told))
            fresh = sorted(set(refusals) - self._told)[:room]
            self._told |= frozenset(fresh)
        for refusal in fresh:
            log.warning(
                "ignoring a key", repository=self.url, key=refusal.key, reason=refusal.reason
            )


def _is_model(model: str) -> bool:
    """Whether there can be a model, and a key, of this name at all."""
    size = len(model.encode("utf-8", "surrogatepass"))
    return model.isprintable() and size <= _MAX_NAME_BYTES and not is_ignored(model)


def _written(unit: Unit) -> str:
    return "what its versions share" if unit.version is None else f"version {unit.version}"


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be written to the cache: {error.strerror or error}"
    return "the server is stopping" if isinstance(error, FetchCancelledError) else str(error)

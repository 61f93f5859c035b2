"""What the frontend asks of the rest of the server, apart from the serving table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from interlock.domain.cause import Actor
from interlock.domain.description import LoadPlan, ModelDescription, RolledBack
from interlock.domain.ids import GenerationKey, Version
from interlock.domain.readiness import IndexEntry, ServerPhase
from interlock.domain.transition import News, Transition, VersionState

LoadParameter = bool | int | str | bytes | None
LogValue = bool | int | str


class ModelControl(Protocol):
    """Loading and unloading, and what is known of every model. Any thread may call.

    `who` is whoever asks.
    """

    def load(self, model: str, parameters: Mapping[str, LoadParameter], who: Actor) -> None:
        """Load or reload a model; return when it serves. Raise ServiceError with the reason."""
        ...

    def remarks(self, model: str) -> Sequence[str]:
        """Return what is held against what serves of a model. Never blocks."""
        ...

    def unload(self, model: str, parameters: Mapping[str, LoadParameter], who: Actor) -> int | None:
        """Unload every version; return when none is READY.

        Where the parameters ask for it, return when nothing is left, and how many bytes that
        gave back.
        """
        ...

    def retry(self, model: str, version: int | None, who: Actor) -> None:
        """Try again what failed of a model, or of this version; return when it serves."""
        ...

    def roll_back(self, model: str, version: int | None, who: Actor) -> RolledBack:
        """Serve again what served before the last change, or this version as it did last.

        Return when it serves, and is held. Raise ServiceError with the reason.
        """
        ...

    def release(self, model: str, who: Actor) -> None:
        """End the hold on a model. Raise InvalidRequestError where there is none."""
        ...

    def index(self, *, ready_only: bool) -> Sequence[IndexEntry]:
        """Every known model and version, by name, then by version. Never blocks."""
        ...


class ModelInspection(Protocol):
    """What every version does, and did. Any thread may call."""

    def news(self, position: int | None) -> News:
        """Return what has happened since an earlier reading, or where everything is now.

        The latter for `None`, and for a position that is too long ago. Never blocks.
        """
        ...

    def staging(self) -> Sequence[VersionState]:
        """Return how far the contents are that arrive; the same object until that changes.

        Never blocks.
        """
        ...

    def history(self, model: str) -> Mapping[Version, Sequence[Transition]]:
        """Return the last moves of each version, oldest first; raise NotFoundError."""
        ...

    def digest_of(self, key: GenerationKey) -> str:
        """Return the digest of a generation that serves, `PENDING` until it is made.

        "" where there is none. Never blocks.
        """
        ...

    def describe(self, model: str) -> ModelDescription:
        """Read the repository, and return all that is known; raise NotFoundError."""
        ...

    def plan(self, model: str) -> LoadPlan:
        """Read the repository, and return what a load would do; raise as it would."""
        ...


class ServerState(Protocol):
    """Where the server is in its life. Any thread may ask; nothing blocks."""

    @property
    def phase(self) -> ServerPhase: ...

    @property
    def accepting(self) -> bool:
        """Whether new inference requests are taken: false from the end of the shutdown delay."""
        ...

    def live(self) -> bool:
        """What ServerLive answers."""
        ...

    def ready(self) -> bool:
        """What ServerReady answers: the required models serve, or those that strictness minds."""
        ...

    def repositories_listed(self) -> bool:
        """Whether it is known what every model repository holds now."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` (quick, never blocking) after every change; return how to end that."""
        ...


class LogControl(Protocol):
    """The log settings that can be changed while the server runs. Any thread may call."""

    def update(self, settings: Mapping[str, LogValue | None]) -> None:
        """Change these, all or none. `None` is a setting without a value. Raise ServiceError."""
        ...

    def as_map(self) -> Mapping[str, LogValue]:
        """Return every setting as it is now."""
        ...

"""What becomes of a version: its phases, its moves from one to the next, and where it is now.

The values only. Which moves there are is `control.lifecycle`'s.
"""

from dataclasses import dataclass
from enum import Enum

from interlock.domain.ids import GenerationKey
from interlock.domain.readiness import Readiness


class Phase(Enum):
    """Where a generation is in its life."""

    NEW = "new"
    """Aspired for the first time; nothing has been done for it."""
    STAGING = "staging"
    """Seen in the repository, not yet complete enough to be touched: not a generation yet."""
    PREPARING = "preparing"
    """Repository agents are at work on a private copy."""
    LOADING = "loading"
    """In the load pool: waiting for a thread, or being built."""
    WARMING = "warming"
    """Built; the samples of `model_warmup` run on every instance."""
    PROVING = "proving"
    """Golden requests run; then it waits for the other versions of the same load."""
    READY = "ready"
    """In the serving table."""
    STANDBY = "standby"
    """Out of the serving table and still loaded, so that a rollback is one step."""
    DRAINING = "draining"
    """Out of the serving table; the requests inside it finish."""
    UNLOADING = "unloading"
    """Nobody is inside; its instances and its memory are given back."""
    UNLOADED = "unloaded"
    """The end. Nothing is left of it but its line in the index."""
    FAILED = "failed"
    """Stopped on its way to READY; kept with its reason for as long as it is aspired."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One move of one generation, at a moment of the monotonic clock."""

    key: GenerationKey
    before: Phase
    after: Phase
    reason: str
    moment: float


@dataclass(frozen=True, slots=True)
class VersionState:
    """Where one generation is now; `since` (monotonic) is `None` where it has not moved yet.

    A version that is being staged has no generation yet: its number is 0. `failures` is how
    often the content has failed, `next_try` (monotonic) when it is tried again by itself.
    """

    key: GenerationKey
    phase: Phase
    readiness: Readiness
    reason: str = ""
    since: float | None = None
    failures: int = 0
    next_try: float | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What has happened since an earlier reading: its moves, or where everything is now.

    `position` is where the next reading goes on.
    """

    position: int
    moves: tuple[Transition, ...] = ()
    snapshot: tuple[VersionState, ...] | None = None

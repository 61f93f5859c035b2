"""Decide when a version is complete enough to be touched.

With a manifest it is complete when it is what the manifest says, and not before. Without
one it must have lain still for the settle time. What serves, and whether a change is one of
content, is not asked here. Nothing here looks at a disk or a clock: `stager` does.
"""

from dataclasses import dataclass
from enum import Enum


class Writing(Enum):
    """Whether somebody has a file of the version open for writing; not everywhere to be told."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NoManifest:
    """The model has none."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """The version is not yet what the manifest says, or the manifest says nothing yet."""

    progress: str


@dataclass(frozen=True, slots=True)
class SizesMatch:
    """Names and sizes are those of the manifest; the contents have not been compared."""


@dataclass(frozen=True, slots=True)
class ContentsMatch:
    """The contents are those of the manifest, with the very fingerprint that is observed."""


ManifestVerdict = NoManifest | Lacking | SizesMatch | ContentsMatch


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a version at one moment.

    `now` is monotonic; `moved_ns` is when something happened to its files last, by the
    file system's clock. `is_at_start` is set for what the first look at the repository saw.
    """

    fingerprint: str
    moved_ns: int
    now: float
    is_at_start: bool = False
    manifest: ManifestVerdict = NoManifest()
    writing: Writing = Writing.UNKNOWN


@dataclass(frozen=True, slots=True)
class Rules:
    """How long a version must lie still, and when the server was started, by both clocks."""

    settle_s: float
    started: float
    started_ns: int


@dataclass(frozen=True, slots=True)
class Still:
    """Since when (monotonic) a version is known to have had this fingerprint."""

    fingerprint: str
    since: float


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Something is lacking, and only a change of the files can help."""

    progress: str


@dataclass(frozen=True, slots=True)
class Settling:
    """It has not lain still for long enough; worth another look at `until` (monotonic)."""

    until: float
    progress: str = "settling"


@dataclass(frozen=True, slots=True)
class Unverified:
    """All that is lacking is that somebody compares the contents with the manifest."""

    fingerprint: str
    progress: str = "comparing digests"


@dataclass(frozen=True, slots=True)
class Complete:
    """The version with this fingerprint, and no other, may be touched."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """Its directory has gone. It counts as gone if it has not come back `until` (monotonic)."""

    until: float
    progress: str = "removed from the repository"


Staging = Incomplete | Settling | Unverified | Complete | Leaving


def assess(before: Still | None, seen: Observation, rules: Rules) -> tuple[Still, Staging]:
    """Return what is to be remembered of a version, and how far it is.

    `before` is what was remembered of the last look; `None` at the first.
    """
    still = _still(before, seen, rules)
    match seen.manifest:
        case NoManifest():
            return still, _by_stillness(still, seen, rules)
        case Lacking(progress=progress):
            return still, Incomplete(progress)
        case SizesMatch():
            return still, Unverified(seen.fingerprint)
    return still, Complete(seen.fingerprint)


def _by_stillness(still: Still, seen: Observation, rules: Rules) -> Staging:
    until = still.since + rules.settle_s
    if seen.writing is Writing.YES:
        return Settling(until, "open for writing")
    return Settling(until) if seen.now < until else Complete(seen.fingerprint)


def _still(before: Still | None, seen: Observation, rules: Rules) -> Still:
    """Since when nothing moved: what was observed counts, and what lay still before the start.

    The file system's clock is asked for the time before the start only. It may be that of
    another machine, and what was seen to move is not made still by it.
    """
    if seen.writing is Writing.YES:
        return Still(seen.fingerprint, seen.now)
    if before is not None and before.fingerprint == seen.fingerprint:
        return before
    since = seen.now
    if before is None and seen.is_at_start and seen.moved_ns < rules.started_ns:
        since = min(since, rules.started - (rules.started_ns - seen.moved_ns) / 1e9)
    return Still(seen.fingerprint, since)


def assess_absence(missed_since: float | None, now: float, rules: Rules) -> Leaving | None:
    """Return how far a version is that was there and is not; `None` once it has gone.

    `missed_since` is when a look first missed it; `None` if this is that look.
    """
    until = (now if missed_since is None else missed_since) + rules.settle_s
    return Leaving(until) if now < until else None

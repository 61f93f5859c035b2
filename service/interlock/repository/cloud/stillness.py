"""Decide when what an object store lists has been the same for long enough to be mirrored.

Each object comes at once, but a version of several comes object by object, and nobody says
which is the last. So a change must have been listed twice, the settle time apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock.repository.cloud.objects import Files, Unit


@dataclass(frozen=True, slots=True)
class _Seen:
    files: Files | None
    since: float


@dataclass(slots=True)
class Stillness:
    """Remembers since when (monotonic) each unit has been listed as it is. One thread at a time.

    With a settle time of 0 everything is still at once.
    """

    settle_s: float
    _moving: dict[Unit, _Seen] = field(default_factory=dict)
    _still: frozenset[Unit] = frozenset()

    def look(
        self,
        changed: Mapping[Unit, Files | None],
        now: float,
        *,
        ages_s: Mapping[Unit, float] | None = None,
    ) -> frozenset[Unit]:
        """Return which of the changed units are still; `None` for files that have all gone.

        `ages_s` says for how long a unit has lain as it is, for what was there before anybody
        looked.
        """
        moving: dict[Unit, _Seen] = {}
        still: set[Unit] = set()
        for unit, files in changed.items():
            before = self._moving.get(unit)
            # A store whose clock is ahead of ours has things that come from the future.
            age_s = 0.0 if ages_s is None else max(0.0, ages_s.get(unit, 0.0))
            since = before.since if before is not None and before.files == files else now - age_s
            if now - since >= self.settle_s:
                still.add(unit)
            moving[unit] = _Seen(files, since)
        # What is still may fail to be fetched, and does not have to wait again then.
        self._moving = moving
        self._still = frozenset(still)
        return self._still

    @property
    def models(self) -> frozenset[str]:
        """The models of which something was not still."""
        return frozenset(unit.model for unit in self._moving.keys() - self._still)

    def next_look(self) -> float | None:
        """Return when (monotonic) the next of those that were not still can be."""
        moving = self._moving.keys() - self._still
        return min((self._moving[unit].since + self.settle_s for unit in moving), default=None)

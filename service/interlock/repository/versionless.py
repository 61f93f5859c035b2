"""Tell which models lie still without any version: nothing of them can ever be complete."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from interlock.repository.scan import FoundModel, Scan


@dataclass(frozen=True, slots=True)
class _Still:
    """Since when (monotonic) a model has been known to be this and nothing else."""

    found: FoundModel
    since: float


class Versionless:
    """Remembers since when. One thread at a time.

    Whoever copies a model makes its directory first and a version's after that: it must have
    lain still for `settle_s` before it is told of.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._still: Mapping[str, _Still] = {}
        self._told: Mapping[str, FoundModel] = {}

    @property
    def models(self) -> Mapping[str, FoundModel]:
        """Those that lay still when they were looked at last."""
        return self._told

    def look(self, scan: Scan, known: Collection[str], now: float) -> None:
        """Look at what a scan found; `known` are the models that have versions, or had just now."""
        bare = {
            name: found
            for name, found in scan.models.items()
            if not found.versions and name not in known
        }
        self._still = {name: self._as_before(name, found, now) for name, found in bare.items()}
        self._told = {
            name: one.found for name, one in self._still.items() if now >= self._until(one)
        }

    def next_look(self) -> float | None:
        """Return when (monotonic) the next of them has lain still for long enough."""
        waiting = self._still.keys() - self._told.keys()
        return min((self._until(self._still[name]) for name in waiting), default=None)

    def _as_before(self, name: str, found: FoundModel, now: float) -> _Still:
        before = self._still.get(name)
        return before if before is not None and before.found == found else _Still(found, now)

    def _until(self, one: _Still) -> float:
        return one.since + self._settle_s

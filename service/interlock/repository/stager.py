"""Look at what a scan found and say how far each version is.

Reads manifests and asks who writes; what follows from that `staging` decides. Contents are
compared with a manifest by `verify`, in another thread, since that reads every file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from interlock.repository.digest import ChangedError, FileDigest, IsCancelled, digest_files, never
from interlock.repository.layout import MANIFEST_FILE
from interlock.repository.listing import FILE, Entry
from interlock.repository.manifest import (
    Manifest,
    ManifestError,
    compare_digests,
    compare_sizes,
    read,
)
from interlock.repository.scan import FoundModel, FoundVersion, Scan
from interlock.repository.staging import (
    Complete,
    ContentsMatch,
    Incomplete,
    Lacking,
    Leaving,
    ManifestVerdict,
    NoManifest,
    Observation,
    Rules,
    Settling,
    SizesMatch,
    Staging,
    Still,
    Writing,
    assess,
    assess_absence,
)
from interlock.repository.versionless import Versionless
from interlock.repository.writing import Writers
from interlock.runtime.clock import Clock

RETRY_S: Final = 15.0
"""After which files that could not be read are read again, though they have not changed."""

AskWriting = Callable[[Iterable[Path]], Writing]


class StagedVersion(NamedTuple):
    """Which version of which model."""

    model: str
    version: int


@dataclass(frozen=True, slots=True)
class Verification:
    """How the comparison of a version's contents with its manifest ended.

    Holds for the version with this fingerprint and the manifest with this entry only, and
    for a while only where `is_final` is not set: files could not be read. `digests` are
    those of the version's files, empty where they could not be had.
    """

    key: StagedVersion
    fingerprint: str
    manifest: Entry | None
    verdict: ManifestVerdict
    is_final: bool = True
    digests: Mapping[str, FileDigest] = field(default_factory=dict)


def verify(model: FoundModel, version: int, *, is_cancelled: IsCancelled = never) -> Verification:
    """Compare the contents of a version with its manifest. Any thread; reads every file.

    Raise CancelledError when told to stop.
    """
    found = model.versions[version]
    outcome = Verification(
        StagedVersion(model.name, version), found.fingerprint, model.manifest, ContentsMatch()
    )
    try:
        manifest = read(model.directory / MANIFEST_FILE)
        digests = digest_files(model.directory, found.files, is_cancelled=is_cancelled)
    except (ChangedError, ManifestError) as error:
        return replace(outcome, verdict=Lacking(str(error)))
    except OSError as error:
        return replace(outcome, verdict=_unreadable(error, model.directory), is_final=False)
    comparison = compare_digests(manifest, version, digests)
    if comparison.is_complete:
        return replace(outcome, digests=digests)
    return replace(outcome, verdict=Lacking(comparison.progress), digests=digests)


def _unreadable(error: OSError, directory: Path) -> Lacking:
    path = Path(error.filename or directory / MANIFEST_FILE)
    name = path.relative_to(directory) if path.is_relative_to(directory) else path
    return Lacking(f"failed to read {name}: {error.strerror}")


@dataclass(slots=True)
class _Version:
    """What is remembered of a version between two looks."""

    staging: Staging | None = None
    still: Still | None = None
    missed_since: float | None = None
    verification: Verification | None = None
    retry_at: float | None = None


@dataclass(slots=True)
class _Model:
    """What is remembered of a model; `found` is what it was at the last look."""

    found: FoundModel
    manifest: Manifest | ManifestVerdict
    versions: dict[int, _Version] = field(default_factory=dict)

    @property
    def is_at_rest(self) -> bool:
        return all(isinstance(one.staging, Complete) for one in self.versions.values())


class Stager:
    """Remembers what it saw of each version. One thread at a time.

    `writers` makes what is asked who writes, anew for each look.
    """

    def __init__(
        self, *, rules: Rules, clock: Clock, writers: Callable[[], AskWriting] = Writers.now
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._writers = writers
        self._models: dict[str, _Model] = {}
        self._versionless = Versionless(rules.settle_s)
        self._is_at_start = True

    @property
    def versionless(self) -> Mapping[str, FoundModel]:
        """The models that lay still at the last look and had no version."""
        return self._versionless.models

    def look(self, scan: Scan) -> dict[StagedVersion, Staging]:
        """Return how far every version is that is there, or was there until just now."""
        now = self._clock()
        glance = _Glance(self._rules, now, self._writers, is_at_start=self._is_at_start)
        for name, found in scan.models.items():
            known = self._models.get(name)
            if known is None:
                known = self._models[name] = _Model(found, _manifest(found))
            elif known.found is found and known.is_at_rest:
                continue
            glance.take_in(known, found, is_unknown=name in scan.unknown)
        for name in self._models.keys() - scan.models.keys():
            known = self._models[name]
            root = str(known.found.directory.parent.absolute())
            glance.miss(known, set(), is_unknown=root in scan.problems)
        self._is_at_start = False
        self._models = {name: known for name, known in self._models.items() if known.versions}
        self._versionless.look(scan, self._models, now)
        return {key: one.staging for key, one in self._versions() if one.staging is not None}

    def record(self, verification: Verification) -> None:
        """Take in how a comparison ended; the next look counts with it."""
        known = self._models.get(verification.key.model)
        one = known.versions.get(verification.key.version) if known is not None else None
        if one is not None:
            one.verification = verification
            one.retry_at = None if verification.is_final else self._clock() + RETRY_S

    def next_look(self) -> float | None:
        """Return when (monotonic) another look will tell more though nothing changes."""
        times = [one.retry_at for _, one in self._versions() if one.retry_at is not None]
        times += [
            one.staging.until
            for _, one in self._versions()
            if isinstance(one.staging, (Settling, Leaving))
        ]
        if (until := self._versionless.next_look()) is not None:
            times.append(until)
        return min(times, default=None)

    def _versions(self) -> Iterator[tuple[StagedVersion, _Version]]:
        for name, known in self._models.items():
            for version, one in known.versions.items():
                yield StagedVersion(name, version), one


class _Glance:
    """One look at everything: what is the same for all versions while it lasts."""

    def __init__(
        self,
        rules: Rules,
        now: float,
        writers: Callable[[], AskWriting],
        *,
        is_at_start: bool,
    ) -> None:
        self._rules = rules
        self._now = now
        self._writers = writers
        self._is_at_start = is_at_start
        self._ask: AskWriting | None = None

    def take_in(self, known: _Model, found: FoundModel, *, is_unknown: bool) -> None:
        """Look at a model that is there."""
        if known.found.manifest != found.manifest or isinstance(known.manifest, Lacking):
            known.manifest = _manifest(found)
        known.found = found
        for version, files in found.versions.items():
            one = known.versions.setdefault(version, _Version())
            one.missed_since = None
            if version in found.hidden:
                _hide(one)
            else:
                self._assess(one, known, files)
        self.miss(known, found.versions.keys(), is_unknown=is_unknown)

    def miss(self, known: _Model, there: AbstractSet[int], *, is_unknown: bool) -> None:
        """Look for those versions of a model that are not there any more.

        One that was missed before the model could not be looked at any more has not gone yet.
        """
        for version in known.versions.keys() - there:
            one = known.versions[version]
            if is_unknown:
                one.missed_since = None
            one.staging = assess_absence(one.missed_since, self._now, self._rules)
            one.still = one.verification = one.retry_at = None
            if one.missed_since is None:
                one.missed_since = self._now
            if one.staging is None:
                del known.versions[version]

    def _assess(self, one: _Version, known: _Model, files: FoundVersion) -> None:
        if one.retry_at is not None and self._now >= one.retry_at:
            one.verification = one.retry_at = None
        seen = Observation(
            fingerprint=files.fingerprint,
            moved_ns=files.moved_ns,
            now=self._now,
            is_at_start=self._is_at_start,
            manifest=_verdict(one, known, files),
        )
        still, staging = assess(one.still, seen, self._rules)
        if (
            isinstance(seen.manifest, NoManifest)
            and isinstance(staging, Complete)
            and staging != one.staging
        ):
            # Only of what would be complete: asking opens every file.
            seen = replace(seen, writing=self._writing(known.found.directory, files))
            still, staging = assess(one.still, seen, self._rules)
        one.still, one.staging = still, staging

    def _writing(self, directory: Path, files: FoundVersion) -> Writing:
        if self._ask is None:
            self._ask = self._writers()
        return self._ask(directory / file.path for file in files.files if file.kind == FILE)


def _hide(one: _Version) -> None:
    """Keep what is complete; of the rest nobody knows whether it lies still."""
    if not isinstance(one.staging, Complete):
        one.staging = Incomplete("cannot be looked at")
        one.still = one.retry_at = None


def _manifest(found: FoundModel) -> Manifest | ManifestVerdict:
    if found.manifest is None:
        return NoManifest()
    try:
        return read(found.directory / MANIFEST_FILE)
    except ManifestError as error:
        return Lacking(str(error))
    except OSError as error:
        return _unreadable(error, found.directory)


def _verdict(one: _Version, known: _Model, files: FoundVersion) -> ManifestVerdict:
    if not isinstance(known.manifest, Manifest):
        return known.manifest
    comparison = compare_sizes(known.manifest, files.version, files.files)
    if not comparison.is_complete:
        return Lacking(comparison.progress)
    verified = one.verification
    if verified is None:
        return SizesMatch()
    is_of_this = (verified.fingerprint, verified.manifest) == (
        files.fingerprint,
        known.found.manifest,
    )
    return verified.verdict if is_of_this else SizesMatch()

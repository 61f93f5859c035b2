"""Decide what to ask for when the repositories have changed: what is staged in, orders out.

A version that is complete is asked for; one that is not yet counts as what it was when it
last was. The last one that has gone counts until another that is arriving is there. What
cannot be looked at has not changed. Of a model without any version it is said once that it
has none. Nothing here looks at a disk or a clock.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from interlock.control.wishes import Candidate
from interlock.domain.ids import ModelName, Version
from interlock.repository.scan import FoundModel
from interlock.repository.stager import StagedVersion
from interlock.repository.staging import Complete, Leaving, Staging

NONE: Final[Mapping[str, FoundModel]] = {}
AGAIN_S: Final = 2.0
MAX_AGAIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Look:
    """Poll the model, and ask for what its policy selects of these versions."""

    model: ModelName
    found: Mapping[int, Candidate]


@dataclass(frozen=True, slots=True)
class Remove:
    """Unload the model: nothing of it is there any more."""

    model: ModelName


Order = Look | Remove
IsSame = Callable[[StagedVersion, str, str], bool | None]
"""Whether two fingerprints of a version stand for the same content; `None`: not known yet."""

BodyOf = Callable[[StagedVersion, Candidate | None, str], str | None]
"""What a fingerprint stands for but for the configuration, after what was there before.

`None`: not known yet.
"""


def unknown_body(_version: StagedVersion, _before: Candidate | None, _after: str) -> str:
    """Return that nothing is known of it."""
    return ""


@dataclass(slots=True)
class _Model:
    """`found` is what counts as there, `asked` what was asked for last.

    `bare` is what it was when it was asked for without a version.
    """

    found: Mapping[int, Candidate] = field(default_factory=dict)
    asked: Mapping[int, Candidate] | None = None
    bare: FoundModel | None = None
    is_duplicate: bool = False
    again_at: float | None = None
    again_s: float = AGAIN_S


class Changes:
    """Remembers what was asked for. One thread."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def decide(
        self,
        staging: Mapping[StagedVersion, Staging],
        *,
        duplicates: Collection[str] = (),
        named: Collection[str] = (),
        versionless: Mapping[str, FoundModel] = NONE,
        is_same: IsSame,
        body_of: BodyOf = unknown_body,
        now: float,
    ) -> tuple[Order, ...]:
        """Return what to do, by the name of the model; something for each of `named`."""
        by_model: dict[str, dict[int, Staging]] = {}
        for key, one in staging.items():
            by_model.setdefault(key.model, {})[key.version] = one
        orders: list[Order] = []
        for name in sorted({*by_model, *self._models, *duplicates, *versionless}):
            model = self._models.setdefault(name, _Model())
            if name in duplicates:
                orders += _of_duplicate(name, model, is_named=name in named)
            else:
                staged, is_named = by_model.get(name, {}), name in named
                sight = _Sight(is_same, body_of)
                orders += _of(name, model, staged, sight, now, is_named=is_named)
                orders += _of_bare(
                    name,
                    model,
                    versionless.get(name),
                    is_due=is_named or _is_due(model, now),
                    is_gone=not staged,
                )
            if not model.found and not model.is_duplicate and model.bare is None:
                del self._models[name]
        return tuple(orders)

    def ask_again(self, model: str, now: float) -> None:
        """Ask for the same once more, later each time: what failed was not the content."""
        known = self._models.get(model)
        if known is not None and known.again_at is None:
            known.again_at = now + known.again_s
            known.again_s = min(known.again_s * 2, MAX_AGAIN_S)

    def next_look(self) -> float | None:
        """Return when something is to be asked for once more."""
        times = [one.again_at for one in self._models.values() if one.again_at is not None]
        return min(times, default=None)

    def found(self, model: str) -> Mapping[int, Candidate]:
        """Return what counts as there of a model. Any thread."""
        known = self._models.get(model)
        return {} if known is None else known.found

    def fingerprints(self, model: str) -> set[str]:
        """Return the fingerprints that a model's versions may be compared with."""
        return {one.observed for one in self.found(model).values()}


@dataclass(frozen=True, slots=True)
class _Sight:
    """How what differs is compared."""

    is_same: IsSame
    body_of: BodyOf


def _of_duplicate(name: str, model: _Model, *, is_named: bool) -> Iterator[Order]:
    """What serves goes on; the poll says what is wrong."""
    if not model.is_duplicate or is_named:
        model.is_duplicate = True
        yield Look(ModelName(name), model.found)


def _of(
    name: str,
    model: _Model,
    staging: Mapping[int, Staging],
    sight: _Sight,
    now: float,
    *,
    is_named: bool = False,
) -> Iterator[Order]:
    was_duplicate, model.is_duplicate = model.is_duplicate, False
    found: Mapping[int, Candidate] = {
        version: candidate
        for version, one in sorted(staging.items())
        if (candidate := _candidate(StagedVersion(name, version), one, model, sight))
    }
    before = model.found
    if before and not found and any(not isinstance(one, Leaving) for one in staging.values()):
        found = before  # a successor is on its way
    model.found = found
    if not found:
        if before or was_duplicate:
            yield Remove(ModelName(name))
        return
    # Touched files are no news, but whoever tries again has to know them as they are.
    differs = found != model.asked
    if differs and _identities(found) != _identities(model.asked):
        model.again_s = AGAIN_S
    is_due = _is_due(model, now) and _is_at_rest(staging, found)
    if differs or was_duplicate or is_named or is_due:
        model.asked = found
        model.again_at = None
        yield Look(ModelName(name), found)


def _of_bare(
    name: str, model: _Model, bare: FoundModel | None, *, is_due: bool, is_gone: bool
) -> Iterator[Order]:
    """The poll says that there is no version; whoever has gone has no such trouble any more."""
    if model.found:
        model.bare = None
        return
    if is_due:
        model.again_at = None
    if bare is not None:
        if is_due or bare != model.bare:
            yield Look(ModelName(name), {})
        model.bare = bare
    elif is_gone and model.bare is not None:
        model.bare = None
        yield Remove(ModelName(name))


def _candidate(
    key: StagedVersion, staging: Staging, model: _Model, sight: _Sight
) -> Candidate | None:
    before = model.found.get(key.version)
    if not isinstance(staging, Complete):
        return before
    seen = staging.fingerprint
    if before is not None:
        if before.observed == seen:
            return before
        same = sight.is_same(key, before.observed, seen)
        if same is None:
            return before
        if same:
            return Candidate(before.version, before.fingerprint, seen, before.body)
    return _changed(key, before, seen, sight)


def _changed(
    key: StagedVersion, before: Candidate | None, seen: str, sight: _Sight
) -> Candidate | None:
    body = sight.body_of(key, before, seen)
    return before if body is None else Candidate(Version(key.version), seen, seen, body)


def _identities(found: Mapping[int, Candidate] | None) -> Mapping[int, str] | None:
    if found is None:
        return None
    return {version: candidate.fingerprint for version, candidate in found.items()}


def _is_due(model: _Model, now: float) -> bool:
    return model.again_at is not None and now >= model.again_at


def _is_at_rest(staging: Mapping[int, Staging], found: Mapping[int, Candidate]) -> bool:
    return all(
        staging.get(version) == Complete(candidate.observed) for version, candidate in found.items()
    )

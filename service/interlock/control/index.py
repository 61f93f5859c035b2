"""What clients see of all models: the repository index, and strict readiness."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from interlock.control.holds import Hold, HoldKind
from interlock.control.lifecycle import Transition
from interlock.control.planner import Window
from interlock.control.rollback import Past
from interlock.domain.config import ModelConfig
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.readiness import IndexEntry, Readiness
from interlock.domain.transition import Phase, VersionState
from interlock.serving.lease import LeaseCount

DUPLICATE: Final = "model appears in two or more repositories"
_NO_CONFIG: Final = ModelConfig("")
UNLOADED: Final = "unloaded"
"""The reason of a version that was taken down on purpose; strict readiness looks for it."""
_FINE: Final = frozenset({Readiness.READY, Readiness.UNLOADING})
"""What strict readiness never minds: nothing is unloaded but on purpose."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version as clients may see it."""

    version: Version
    readiness: Readiness
    reason: str
    remark: str = ""
    """What the policy has against it though it serves; the reason tells of it too."""
    is_withdrawn: bool = False
    """Whether the policy has taken it down."""


@dataclass(frozen=True, slots=True)
class GenerationView:
    """One generation as it is told to whoever asks for more than the index says.

    `leases` is there while something is loaded; `instances` take requests. `config` is what
    it is, or would be, served by, and `body` stands for all of its other files.
    """

    state: VersionState
    fingerprint: str
    leases: LeaseCount | None = None
    instances: int = 0
    body: str = ""
    config: ModelConfig = _NO_CONFIG


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model as clients may see it, versions in ascending order.

    `trouble` says why the model could not be polled when it was last asked for; `unready`,
    whether strict readiness minds. With `alone` it minds nothing while a version serves.
    `stories` holds the last moves of each version, `generations` everything that is known,
    by version, then by age. `past` is what has served, `window` what stands by. `objection`
    says why strict readiness says no, found once: it is asked for of every model, after every
    move of any.
    """

    model: ModelName
    versions: tuple[VersionView, ...]
    trouble: str = ""
    unready: bool = False
    alone: bool = False
    stories: Mapping[Version, tuple[Transition, ...]] = field(default_factory=dict)
    generations: tuple[GenerationView, ...] = ()
    hold: Hold | None = None
    past: Past = field(default_factory=Past)
    window: Window | None = None
    objection: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "objection", _objection(self))

    @property
    def is_alive(self) -> bool:
        """Whether some version still holds something."""
        return any(version.readiness is not Readiness.UNAVAILABLE for version in self.versions)

    @property
    def failed(self) -> frozenset[Version]:
        """Which versions have a content that failed."""
        states = (generation.state for generation in self.generations)
        return frozenset(state.key.version for state in states if state.phase is Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Listing:
    """The names in the repositories, and those of them that are in more than one."""

    models: frozenset[ModelName] = frozenset()
    duplicates: frozenset[ModelName] = frozenset()


class Names(Protocol):
    """Who knows what is in the repositories. Any thread may ask; nothing blocks."""

    def names(self) -> Listing:
        """Return the names that are known, and see to it that they stay true."""
        ...

    @property
    def known(self) -> Listing:
        """The names that are known."""
        ...


StagingTexts = Mapping[ModelName, Mapping[Version, str]]


class StagingBoard:
    """Which versions are there and not complete, and how far they are; poll mode writes it.

    One thread shows, by assignment; any thread reads. `states` are the same, as they are told
    of versions: with the moment from which on the text was true.
    """

    def __init__(self) -> None:
        self.latest: StagingTexts = {}
        self.states: tuple[VersionState, ...] = ()
        self._changed: Callable[[], None] = _nothing

    def on_change(self, tell: Callable[[], None]) -> None:
        """Call `tell` (quick, never blocking) in the showing thread when something changes."""
        self._changed = tell

    def show(self, texts: StagingTexts, now: float) -> None:
        """Show what is true since `now` (monotonic), where it was not before."""
        if texts == self.latest:
            return
        before = {state.key: state for state in self.states}
        states: list[VersionState] = []
        for model, of_model in sorted(texts.items()):
            for version, text in sorted(of_model.items()):
                state = _staged(model, version, text, now)
                known = before.get(state.key)
                states.append(known if known is not None and known.reason == text else state)
        self.states = tuple(states)
        self.latest = texts
        self._changed()


def _staged(model: ModelName, version: Version, text: str, now: float) -> VersionState:
    key = GenerationKey(model, version, Generation(0))
    return VersionState(key, Phase.STAGING, Readiness.UNAVAILABLE, text, now)


def _nothing() -> None:
    """Nobody wants to know."""


def index_entries(
    views: Mapping[ModelName, ModelView],
    listing: Listing,
    *,
    ready_only: bool,
    staging: StagingTexts | None = None,
) -> tuple[IndexEntry, ...]:
    """Return the lines of RepositoryIndex, by name, then by version."""
    texts = staging or {}
    names = sorted(views.keys() | listing.models | listing.duplicates | texts.keys())
    entries = (
        entry
        for name in names
        for entry in _with_staging(
            tuple(_entries_of(name, views.get(name), duplicate=name in listing.duplicates)),
            name,
            texts.get(name, {}),
        )
    )
    return tuple(entry for entry in entries if not ready_only or entry.state is Readiness.READY)


def strictly_ready(views: Iterable[ModelView]) -> bool:
    """Return whether strict readiness has nothing to object to: see `objections`."""
    return next(objections(views), None) is None


def objections(views: Iterable[ModelView]) -> Iterator[str]:
    """Yield why strict readiness says no, a sentence for each model that is to blame.

    Every version that is known must serve, or have been taken down on purpose, as the policy
    does: from the moment
    it drains, so that an unload does not make the server unready for as long as that takes. A
    version on its way in does not count while another of its model serves: a successor that
    loads must not make the whole server unready either. Where each version stands alone, at start
    and in poll mode, one that failed does not count either then: whoever copies a broken
    version into the repository has not broken the server.
    """
    for view in views:
        if view.objection:
            yield f"model '{view.model}' {view.objection}"


def lacking(
    required: Iterable[ModelName],
    views: Mapping[ModelName, ModelView],
    listing: Listing,
    staging: StagingTexts,
) -> Iterator[tuple[ModelName, str]]:
    """Yield the required models of which no version serves, each with the reason."""
    for model in required:
        view = views.get(model)
        if view is None or not _serves(view):
            yield model, _absence(model, view, listing, staging.get(model, {}))


def _objection(view: ModelView) -> str:
    """Return why strict readiness minds this model; "" where it does not."""
    moving_is_fine = _serves(view)
    if view.alone and moving_is_fine:
        return ""
    if view.unready and not _is_held_unloaded(view):
        return f"has no version: {view.trouble}"
    for version in view.versions:
        if version.is_withdrawn:
            continue
        if version.readiness is Readiness.UNAVAILABLE:
            if version.reason != UNLOADED:
                return _condition(version)
        elif version.readiness not in _FINE and not moving_is_fine:
            return _condition(version)
    return ""


def _absence(
    model: ModelName, view: ModelView | None, listing: Listing, texts: Mapping[Version, str]
) -> str:
    """Return why a model does not serve, in the words of the index."""
    if model in listing.duplicates:
        return DUPLICATE.removeprefix("model ")
    if texts and not _is_held_unloaded(view):
        version = max(texts)
        return f"version {version} is not complete: {texts[version]}"
    if view is not None and (reason := _lack(view)):
        return reason
    return "was not loaded" if model in listing.models else "is not in any model repository"


def _lack(view: ModelView) -> str:
    """Return why a model that is known does not serve, "" where nothing says so."""
    if view.hold is not None and _is_held_unloaded(view):
        return f"is {view.hold.reason}"
    if view.trouble:
        return f"cannot be loaded: {view.trouble}"
    return _condition(view.versions[-1]) if view.versions else ""


def _is_held_unloaded(view: ModelView | None) -> bool:
    return view is not None and view.hold is not None and view.hold.kind is HoldKind.UNLOAD


def _condition(version: VersionView) -> str:
    text = f"version {version.version} is {version.readiness.value}"
    return f"{text}: {version.reason}" if version.reason else text


def _entries_of(
    name: ModelName, view: ModelView | None, *, duplicate: bool
) -> Iterator[IndexEntry]:
    if duplicate:
        yield IndexEntry(name, state=Readiness.UNAVAILABLE, reason=DUPLICATE)
    elif view is None:
        yield IndexEntry(name)
    elif view.hold is not None and not view.versions:
        yield IndexEntry(name, state=Readiness.UNAVAILABLE, reason=view.hold.reason)
    elif view.trouble and not _serves(view):
        yield IndexEntry(name, state=Readiness.UNAVAILABLE, reason=view.trouble)
    if view is not None:
        for version in view.versions:
            reason = _reason(version, view.hold)
            yield IndexEntry(name, version.version, version.readiness, reason)


def _reason(version: VersionView, hold: Hold | None) -> str:
    """Say of what serves, or was unloaded, that it is held; other reasons are worse."""
    if hold is None or version.reason not in {"", UNLOADED}:
        return version.reason
    if version.readiness not in _SETTLED:
        return version.reason
    return hold.reason if not version.reason else f"{version.reason}; {hold.reason}"


def _with_staging(
    entries: tuple[IndexEntry, ...], name: ModelName, texts: Mapping[Version, str]
) -> tuple[IndexEntry, ...]:
    """Say of each version that is not complete how far it is; what serves goes on to."""
    if not texts:
        return entries
    told = [
        replace(entry, reason=texts[entry.version])
        if entry.version is not None and entry.version in texts and entry.state in _SETTLED
        else entry
        for entry in entries
        # The line for a model of which nothing was known: now something is.
        if entry.version is not None or entry.state is not None
    ]
    known = {entry.version for entry in entries}
    told += [
        IndexEntry(name, version, Readiness.UNAVAILABLE, text)
        for version, text in texts.items()
        if version not in known
    ]
    return tuple(sorted(told, key=lambda entry: entry.version or 0))


_SETTLED: Final = frozenset({Readiness.READY, Readiness.UNAVAILABLE})


def _serves(view: ModelView) -> bool:
    return any(version.readiness is Readiness.READY for version in view.versions)

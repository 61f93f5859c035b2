"""Answer what a model does, what it did, and why a version of it is not READY.

Only reads: the views that the manager published, and the repository, in the caller's thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from interlock.control import answers
from interlock.control.agent_verdicts import Verdict, agents_of
from interlock.control.explanation import Surroundings, why_not_ready
from interlock.control.index import GenerationView, ModelView
from interlock.control.manager import Manager
from interlock.control.polling import NoVersionError, configured
from interlock.control.preview import preview
from interlock.control.wishes import Polled
from interlock.domain.config import VersionPolicy, VersionPolicyKind
from interlock.domain.description import (
    GenerationDescription,
    LoadPlan,
    ModelDescription,
    VerdictDescription,
    VersionDescription,
)
from interlock.domain.errors import NotFoundError, ServiceError
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.domain.transition import News, Transition, VersionState
from interlock.repository.fingerprint import by_version
from interlock.repository.layout import check_model_name
from interlock.repository.listing import FILE, list_model
from interlock.repository.snapshot import ModelSource
from interlock.repository.version_policy import Selection, select
from interlock.runtime.clock import Clock

ReadModel = Callable[[str], ModelSource]
"""Read one model's directory; raise ServiceError."""

DigestOf = Callable[[GenerationKey, str], str]
"""Return the digest of a generation with a fingerprint; "" where it has none."""

VerdictOf = Callable[[GenerationKey], Verdict | None]
"""Return what was made of what the agents of a generation said."""

Poll = Callable[[ModelName], Polled]
"""Read what a load of the model would load; raise ServiceError."""


class Inspection:
    """What the frontend knows as `ModelInspection`. Any thread; `describe` reads the disk."""

    def __init__(
        self,
        manager: Manager,
        *,
        read_model: ReadModel,
        poll: Poll,
        clock: Clock,
        digest_of: DigestOf,
        verdict_of: VerdictOf,
        auto_complete: bool = True,
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._digest_of = digest_of
        self._verdict_of = verdict_of
        self._read_model = read_model
        self._poll = poll
        self._auto_complete = auto_complete

    def news(self, position: int | None) -> News:
        """Return what has happened since `position`, or where everything is; see `Events`."""
        return self._manager.events.news(position)

    def staging(self) -> Sequence[VersionState]:
        """Return how far the contents are that arrive; the same object until that changes."""
        return self._manager.staging()

    def history(self, model: str) -> Mapping[Version, Sequence[Transition]]:
        """Return the last moves of each version. Raise NotFoundError for an unknown model."""
        view = self._manager.view(model)
        if view is None:
            raise _unknown(model)
        return view.stories

    def describe(self, model: str) -> ModelDescription:
        """Return all that is known. Raise NotFoundError where nobody knows the model."""
        view = self._manager.view(model)
        staging = self._manager.staging_of(model)
        on_disk = self._look(model)
        if view is None and on_disk.missing and not staging:
            raise _unknown(model)
        source = on_disk.source
        return ModelDescription(
            model=ModelName(model),
            versions=tuple(
                self._versions(view or ModelView(ModelName(model), ()), on_disk, staging)
            ),
            directory="" if source is None else str(source.directory),
            config_path=str(source.config_path or "") if source is not None else "",
            version_policy=on_disk.policy,
            problem=on_disk.problem,
            hold="" if view is None or view.hold is None else view.hold.reason,
        )

    def digest_of(self, key: GenerationKey) -> str:
        """Return the digest of what serves, `PENDING` until it is made, "" without one."""
        view = self._manager.view(key.model)
        generations = () if view is None else view.generations
        for generation in generations:
            if generation.state.key == key:
                return self._digest_of(key, generation.fingerprint)
        return ""

    def plan(self, model: str) -> LoadPlan:
        """Return what a load would do now. Raise as a load would where there is nothing to load."""
        check_model_name(model)
        name = ModelName(model)
        try:
            polled = self._poll(name)
        except NoVersionError as error:
            raise answers.no_version_qualifies(name, error) from error
        except ServiceError as error:
            raise answers.failed_to_poll(name, error) from error
        view = self._manager.view(model) or ModelView(name, ())
        return LoadPlan(preview(view, polled), "" if view.hold is None else view.hold.reason)

    def _versions(
        self, view: ModelView, on_disk: "_OnDisk", staging: Mapping[Version, str]
    ) -> Iterator[VersionDescription]:
        known: dict[int, list[GenerationView]] = {}
        for generation in view.generations:
            known.setdefault(generation.state.key.version, []).append(generation)
        selection, sizes = on_disk.selection, on_disk.sizes
        for number in sorted({*known, *on_disk.versions, *selection.missing, *staging}):
            version = Version(number)
            generations = known.get(version, [])
            around = Surroundings(
                is_on_disk=version in on_disk.versions,
                is_selected=version in selection.versions or version in selection.missing,
                problem=on_disk.problem,
                policy=on_disk.policy,
                trouble=view.trouble,
                staging=staging.get(version, ""),
                hold="" if view.hold is None else view.hold.reason,
            )
            states = [generation.state for generation in generations]
            yield VersionDescription(
                version=version,
                generations=tuple(map(self._described, generations)),
                on_disk=around.is_on_disk,
                selected=around.is_selected,
                why_not_ready=why_not_ready(states, around, self._clock()),
                staging=around.staging,
                size_bytes=sizes.get(version, 0),
            )

    def _described(self, generation: GenerationView) -> GenerationDescription:
        leases = 0 if generation.leases is None else generation.leases.count
        key = generation.state.key
        digest = self._digest_of(key, generation.fingerprint)
        return GenerationDescription(
            generation.state,
            generation.fingerprint,
            leases,
            digest,
            generation.instances,
            _told(self._verdict_of(key)),
        )

    def _look(self, model: str) -> "_OnDisk":
        try:
            source = self._read_model(model)
        except ServiceError as error:
            return _OnDisk(problem=str(error), missing=isinstance(error, NotFoundError))
        try:
            config, _ = configured(source, auto_complete=self._auto_complete)
        except ServiceError as error:
            return _OnDisk(source, problem=str(error))
        policy = config.version_policy
        return _OnDisk(source, policy=_written(policy), selection=select(policy, source.versions))


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """What the repository has of a model now."""

    source: ModelSource | None = None
    policy: str = ""
    selection: Selection = field(default_factory=lambda: Selection(()))
    problem: str = ""
    missing: bool = False

    @property
    def versions(self) -> tuple[int, ...]:
        return () if self.source is None else self.source.versions

    @property
    def sizes(self) -> Mapping[int, int]:
        """How many bytes the files in each version's directory have; empty where nobody can say."""
        if self.source is None:
            return {}
        try:
            versions, _ = by_version(list_model(self.source.directory).entries)
        except OSError:
            return {}
        return {
            version: sum(entry.size for entry in entries if entry.kind == FILE)
            for version, entries in versions.items()
        }


def _told(verdict: Verdict | None) -> VerdictDescription | None:
    if verdict is None:
        return None
    return VerdictDescription(verdict.outcome, verdict.reason or "", agents_of(verdict))


def _written(policy: VersionPolicy) -> str:
    match policy.kind:
        case VersionPolicyKind.LATEST:
            return f"latest {policy.num_versions}"
        case VersionPolicyKind.SPECIFIC:
            return f"specific {', '.join(map(str, sorted(policy.versions)))}"
        case VersionPolicyKind.ALL:
            return "all"


def _unknown(model: str) -> NotFoundError:
    return NotFoundError(f"Request for unknown model: '{model}' is not found")

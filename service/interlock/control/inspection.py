"""Answer what a model does, what it did, and why a version of it is not READY.

Only reads: the views that the manager published, and the repository, in the caller's thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from interlock.control import answers
from interlock.control.index import GenerationView, ModelView
from interlock.control.manager import Manager
from interlock.control.polling import NoVersionError
from interlock.control.preview import preview
from interlock.control.wishes import Polled
from interlock.domain.config import VersionPolicy, VersionPolicyKind
from interlock.domain.config_rules import configure
from interlock.domain.description import (
    GenerationDescription,
    ModelDescription,
    PlannedStep,
    VersionDescription,
)
from interlock.domain.errors import NotFoundError, ServiceError
from interlock.domain.ids import ModelName, Version
from interlock.domain.transition import News, Phase, Transition
from interlock.repository.layout import check_model_name, default_config_path
from interlock.repository.snapshot import ModelSource
from interlock.repository.version_policy import Selection, select

ReadModel = Callable[[str], ModelSource]
"""Read one model's directory; raise ServiceError."""

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
        auto_complete: bool = True,
    ) -> None:
        self._manager = manager
        self._read_model = read_model
        self._poll = poll
        self._auto_complete = auto_complete

    def news(self, position: int | None) -> News:
        """Return what has happened since `position`, or where everything is; see `Events`."""
        return self._manager.events.news(position)

    def history(self, model: str) -> Mapping[Version, Sequence[Transition]]:
        """Return the last moves of each version. Raise NotFoundError for an unknown model."""
        view = self._manager.view(model)
        if view is None:
            raise _unknown(model)
        return view.stories

    def describe(self, model: str) -> ModelDescription:
        """Return all that is known. Raise NotFoundError where nobody knows the model."""
        view = self._manager.view(model)
        on_disk = self._look(model)
        if view is None and on_disk.missing:
            raise _unknown(model)
        source = on_disk.source
        return ModelDescription(
            model=ModelName(model),
            versions=tuple(_versions(view or ModelView(ModelName(model), ()), on_disk)),
            directory="" if source is None else str(source.directory),
            config_path=str(source.config_path or "") if source is not None else "",
            version_policy=on_disk.policy,
            problem=on_disk.problem,
        )

    def plan(self, model: str) -> tuple[PlannedStep, ...]:
        """Return what a load would do now. Raise as a load would where there is nothing to load."""
        check_model_name(model)
        name = ModelName(model)
        try:
            polled = self._poll(name)
        except NoVersionError as error:
            raise answers.no_version_qualifies(name, error) from error
        except ServiceError as error:
            raise answers.failed_to_poll(name, error) from error
        return preview(self._manager.view(model) or ModelView(name, ()), polled)

    def _look(self, model: str) -> "_OnDisk":
        try:
            source = self._read_model(model)
        except ServiceError as error:
            return _OnDisk(problem=str(error), missing=isinstance(error, NotFoundError))
        try:
            config = configure(
                source.config_text,
                model=source.name,
                path=str(source.config_path or default_config_path(source.directory)),
                first_entries=source.first_entries,
                auto_complete=self._auto_complete,
            )
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

    def why_not_loaded(self, version: int, trouble: str) -> str:
        """Say why nothing was ever made of a version; `trouble` is that of the last poll."""
        if version not in self.versions:
            return self.problem or "its directory is not in the repository"
        if self.problem:
            return self.problem
        if version not in self.selection.versions:
            return f"the version policy ({self.policy}) does not select it"
        return trouble or "nothing has asked to load it since its files came"


def _versions(view: ModelView, on_disk: _OnDisk) -> Iterator[VersionDescription]:
    known: dict[int, list[GenerationView]] = {}
    for generation in view.generations:
        known.setdefault(generation.state.key.version, []).append(generation)
    selection = on_disk.selection
    for version in sorted({*known, *on_disk.versions, *selection.missing}):
        generations = known.get(version, [])
        yield VersionDescription(
            version=Version(version),
            generations=tuple(map(_described, generations)),
            on_disk=version in on_disk.versions,
            selected=version in selection.versions or version in selection.missing,
            why_not_ready=_why_not_ready(generations)
            if generations
            else on_disk.why_not_loaded(version, view.trouble),
        )


def _described(generation: GenerationView) -> GenerationDescription:
    leases = 0 if generation.leases is None else generation.leases.count
    return GenerationDescription(
        generation.state, generation.fingerprint, leases, generation.instances
    )


def _why_not_ready(generations: Sequence[GenerationView]) -> str:
    if any(generation.state.phase is Phase.READY for generation in generations):
        return ""
    newest = generations[-1].state
    return f"{newest.phase.value}: {newest.reason}" if newest.reason else newest.phase.value


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

"""Poll one model: its configuration, the versions that its policy selects, what they are made of.

Reads the disk in the thread of whoever asks, never in the manager's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from interlock.control.wishes import Candidate, Polled
from interlock.domain.config import ModelConfig, VersionPolicyKind
from interlock.domain.config_rules import configure
from interlock.domain.errors import InvalidRequestError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.repository.fingerprint import Fingerprint, fingerprint
from interlock.repository.layout import default_config_path
from interlock.repository.snapshot import (
    ModelSource,
    RepositorySnapshot,
    read_model,
    read_repository,
)
from interlock.repository.version_policy import select

log = structlog.get_logger()

_LOOKS: Final = 3
"""How often a model that changes under our eyes is looked at again before it is refused."""


class NoVersionError(InvalidRequestError):
    """The model is there and its configuration is sound, but no version qualifies."""


class Repository(Protocol):
    """Where models come from. Any thread may call; all of them read the disk."""

    def snapshot(self) -> RepositorySnapshot:
        """Read what models there are."""
        ...

    def poll(self, model: ModelName) -> Polled:
        """Read one model.

        Raise NotFoundError where there is none, NoVersionError where its policy selects
        nothing, another ServiceError where it cannot be used.
        """
        ...

    def poll_staged(self, model: ModelName, found: Mapping[int, Candidate]) -> Polled:
        """Read one model's configuration for versions that have been looked at already.

        Raise as `poll` does.
        """
        ...


@dataclass(frozen=True, slots=True)
class DiskRepository:
    """The repositories in the file system: `--model-repository` and what goes with it.

    `look` takes the fingerprint of a model's directory.
    """

    roots: Sequence[Path]
    config_name: str = ""
    auto_complete: bool = True
    look: Callable[[Path], Fingerprint] = fingerprint

    def snapshot(self) -> RepositorySnapshot:
        return read_repository(self.roots, config_name=self.config_name)

    def poll(self, model: ModelName) -> Polled:
        source, prints = self._look(model)
        for remark in source.remarks:
            log.warning("remark on a model directory", model=model, remark=remark)
        config = self._configure(source)
        found = {
            version: Candidate(Version(version), prints.of(version), prints.of(version))
            for version in source.versions
        }
        return _polled(config, source, found)

    def poll_staged(self, model: ModelName, found: Mapping[int, Candidate]) -> Polled:
        source = read_model(self.roots, model, config_name=self.config_name)
        return _polled(self._configure(source), source, found)

    def _look(self, model: ModelName) -> tuple[ModelSource, Fingerprint]:
        """Return what was read, and the fingerprint of that and of nothing newer.

        A file that is replaced between the two looks would otherwise never be seen to
        have changed.
        """
        source = read_model(self.roots, model, config_name=self.config_name)
        for _ in range(_LOOKS):
            try:
                prints = self.look(source.directory)
            except OSError as error:
                raise UnavailableError(
                    f"failed to read model directory {source.directory}: {error.strerror}"
                ) from error
            again = read_model(self.roots, model, config_name=self.config_name)
            if again == source:
                return source, prints
            source = again
        raise UnavailableError(f"model directory {source.directory} changes while it is read")

    def _configure(self, source: ModelSource) -> ModelConfig:
        path = source.config_path or default_config_path(source.directory)
        return configure(
            source.config_text,
            model=source.name,
            path=str(path),
            first_entries=source.first_entries,
            auto_complete=self.auto_complete,
        )


def _polled(config: ModelConfig, source: ModelSource, found: Mapping[int, Candidate]) -> Polled:
    selected = _selected(config, source, found)
    rest: list[int] = []
    if config.version_policy.kind is VersionPolicyKind.LATEST:
        rest = sorted(found.keys() - set(selected), reverse=True)
    return Polled(
        model=ModelName(source.name),
        config=config,
        directory=source.directory,
        candidates=tuple(found[version] for version in selected),
        fallbacks=tuple(found[version] for version in rest),
    )


def _selected(
    config: ModelConfig, source: ModelSource, found: Mapping[int, Candidate]
) -> tuple[int, ...]:
    selection = select(config.version_policy, tuple(found))
    for version in selection.missing:
        log.error(
            "a version is specified, but its directory is not present",
            model=source.name,
            version=version,
        )
    if not selection.versions:
        raise NoVersionError(
            "at least one version must be available under the version policy of "
            f"model '{source.name}'"
        )
    return selection.versions

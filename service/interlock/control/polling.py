"""Poll one model: its configuration, the versions that its policy selects, what they are made of.

Reads the disk in the thread of whoever asks, never in the manager's.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

import structlog

from interlock.control.wishes import Candidate, Polled
from interlock.domain.config import ModelConfig, VersionPolicyKind
from interlock.domain.config_agents import (
    Preliminary,
    Preparation,
    names_agents,
    preliminary,
    preliminary_override,
)
from interlock.domain.config_rules import configure, configure_override
from interlock.domain.errors import InvalidRequestError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.repository.fingerprint import Fingerprint, fingerprint
from interlock.repository.layout import default_config_path
from interlock.repository.scratch import Scratch
from interlock.repository.snapshot import (
    ModelSource,
    RepositorySnapshot,
    read_directory,
    read_model,
    read_repository,
)
from interlock.repository.version_policy import select

log = structlog.get_logger()

_LOOKS: Final = 3
"""How often a model that changes under our eyes is looked at again before it is refused."""


IsHeard = Callable[[str, bool], bool]
"""Whether a model is for the policy to see though it names no agents: its name, and whether a
request brings something of its own. Any thread; quick."""


def _nobody_hears(_model: str, _is_overridden: bool) -> bool:
    return False


class NoVersionError(InvalidRequestError):
    """The model is there and its configuration is sound, but no version qualifies."""


class MissingVersionError(InvalidRequestError):
    """A version that the request names is not there."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a poll is to take instead of what the repository has.

    `config` is a configuration as JSON, which takes the place of the file; `versions` are
    selected instead of what the version policy selects. `files`, by their path, *are* the
    model's directory, and the repository is not asked; they need a `config`. Without
    `fetches` nothing is brought here that lies on another machine.
    """

    config: str | None = None
    versions: tuple[int, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    fetches: bool = True

    @property
    def origin(self) -> str:
        """What stands in the place of the repository's own, in a word; "" for nothing."""
        if self.files:
            return "file override"
        return "" if self.config is None else "config override"


PLAIN: Final = Look()


class Repository(Protocol):
    """Where models come from. Any thread may call; all of them read the disk."""

    def snapshot(self) -> RepositorySnapshot:
        """Read what models there are."""
        ...

    def poll(self, model: ModelName, look: Look = PLAIN) -> Polled:
        """Read one model, the way that `look` says.

        Raise NotFoundError where there is none, NoVersionError where its policy selects
        nothing, MissingVersionError where one that is asked for is not there, another
        ServiceError where it cannot be used.
        """
        ...

    def poll_staged(self, model: ModelName, found: Mapping[int, Candidate]) -> Polled:
        """Read one model's configuration for versions that have been looked at already.

        Raise as `poll` does.
        """
        ...

    def is_unchanged(self, directory: Path, version: Version, fingerprint: str) -> bool:
        """Return whether a version's files in a model's directory still have this fingerprint."""
        ...

    def release(self, directory: Path) -> None:
        """Hear that nothing uses a model's directory any more. Never blocks."""
        ...


@dataclass(frozen=True, slots=True)
class DiskRepository:
    """The repositories in the file system: `--model-repository` and what goes with it.

    `look` takes the fingerprint of a model's directory. Files that come with a request are
    written to `scratch`. Without `version_fallback` nothing takes the place of a version that
    fails.
    """

    roots: Sequence[Path]
    config_name: str = ""
    auto_complete: bool = True
    version_fallback: bool = True
    look: Callable[[Path], Fingerprint] = fingerprint
    scratch: Scratch = field(default_factory=Scratch)
    namespacing: bool = False
    is_heard: IsHeard = _nobody_hears

    def snapshot(self) -> RepositorySnapshot:
        return read_repository(
            self.roots, config_name=self.config_name, namespacing=self.namespacing
        )

    def read(self, model: str) -> ModelSource:
        """Read one model's directory. Raise as `read_model` does."""
        return read_model(
            self.roots, model, config_name=self.config_name, namespacing=self.namespacing
        )

    def poll(self, model: ModelName, look: Look = PLAIN) -> Polled:
        if look.files:
            return self._poll_files(model, look)
        source, prints = self._look(model)
        return self._polled(source, prints, look)

    def is_unchanged(self, directory: Path, version: Version, fingerprint: str) -> bool:
        try:
            return self.look(directory).of(version) == fingerprint
        except OSError:
            return False

    def release(self, directory: Path) -> None:
        self.scratch.release(directory)

    def _poll_files(self, model: ModelName, look: Look) -> Polled:
        if look.config is None:
            raise InvalidRequestError(
                "Load parameter 'config' must be specified for model file override"
            )
        directory = self.scratch.build(look.files)
        try:
            source = read_directory(model, directory)
            return self._polled(source, self.look(directory), look)
        except BaseException:
            self.scratch.release(directory)
            raise

    def _polled(self, source: ModelSource, prints: Fingerprint, look: Look) -> Polled:
        model = ModelName(source.identifier)
        for remark in source.remarks:
            log.warning("remark on a model directory", model=model, remark=remark)
        config, preparation = self._configured(source, look)
        found = {
            version: Candidate(
                Version(version),
                _print_of(prints.of(version), look),
                prints.of(version),
                prints.body_of(version),
            )
            for version in source.versions
        }
        chosen = self._chosen(config, source, found, look, common=prints.common)
        return with_agents(chosen, preparation)

    def poll_staged(self, model: ModelName, found: Mapping[int, Candidate]) -> Polled:
        source = self.read(model)
        config, preparation = self._configured(source, PLAIN)
        return with_agents(self._chosen(config, source, found, PLAIN), preparation)

    def _configured(
        self, source: ModelSource, look: Look
    ) -> tuple[ModelConfig, Preparation | None]:
        is_heard = self.is_heard(source.identifier, look.config is not None)
        return configured(source, look, auto_complete=self.auto_complete, is_heard=is_heard)

    def _look(self, model: ModelName) -> tuple[ModelSource, Fingerprint]:
        """Return what was read, and the fingerprint of that and of nothing newer.

        A file that is replaced between the two looks would otherwise never be seen to
        have changed.
        """
        source = self.read(model)
        for _ in range(_LOOKS):
            try:
                prints = self.look(source.directory)
            except OSError as error:
                raise UnavailableError(
                    f"failed to read model directory {source.directory}: {error.strerror}"
                ) from error
            again = self.read(model)
            if again == source:
                return source, prints
            source = again
        raise UnavailableError(f"model directory {source.directory} changes while it is read")

    def _chosen(
        self,
        config: ModelConfig,
        source: ModelSource,
        found: Mapping[int, Candidate],
        look: Look,
        *,
        common: str = "",
    ) -> Polled:
        selected = _selected(config, source, found, look)
        is_latest = config.version_policy.kind is VersionPolicyKind.LATEST
        rest: list[int] = []
        if self.version_fallback and is_latest and not look.versions:
            rest = sorted(found.keys() - set(selected), reverse=True)
        return Polled(
            model=ModelName(source.identifier),
            config=config,
            directory=source.directory,
            candidates=tuple(found[version] for version in selected),
            fallbacks=tuple(found[version] for version in rest),
            common=common,
            origin=look.origin,
        )


def configured(
    source: ModelSource, look: Look = PLAIN, *, auto_complete: bool, is_heard: bool = False
) -> tuple[ModelConfig, Preparation | None]:
    """Return the configuration of a model, and what its repository agents are to do before.

    Where there are agents, or the policy is to hear of the model anyway, nothing of the
    configuration counts before that but which versions it selects. Raise ConfigError.
    """
    own = preliminary_of(source, is_heard=is_heard) if not look.files else Preliminary()
    if look.config is not None:
        asked_for = preliminary_override(look.config)
        if not (own.agents or asked_for.agents or is_heard):
            return configure_override(
                look.config,
                model=source.name,
                first_entries=source.first_entries,
                auto_complete=auto_complete,
            ), None
        config = ModelConfig(source.name, version_policy=asked_for.version_policy)
        return config, Preparation(
            own.agents, look.config, asked_for.agents, brings_files=bool(look.files)
        )
    if own.agents or is_heard:
        config = ModelConfig(source.name, version_policy=own.version_policy)
        return config, Preparation(own.agents)
    return configure(
        source.config_text,
        model=source.name,
        path=str(source.config_path or default_config_path(source.directory)),
        first_entries=source.first_entries,
        auto_complete=auto_complete,
    ), None


def preliminary_of(source: ModelSource, *, is_heard: bool) -> Preliminary:
    """Return which agents a model's own configuration names. Raise ConfigError.

    Cheap where the file does not name any, and nobody else is to hear of the model.
    """
    if not is_heard and not names_agents(source.config_text):
        return Preliminary()
    return preliminary(source.config_text, str(source.config_path))


def with_agents(polled: Polled, preparation: Preparation | None) -> Polled:
    """Return what was polled, with what its agents are to do before it is loaded.

    What they leave behind is not known before, so that nothing of it is changed in place.
    """
    if preparation is None:
        return polled
    return replace(
        polled,
        candidates=tuple(replace(one, body="") for one in polled.candidates),
        fallbacks=tuple(replace(one, body="") for one in polled.fallbacks),
        preparation=preparation,
    )


def _print_of(fingerprint: str, look: Look) -> str:
    """Return the fingerprint of a version together with the configuration that it gets."""
    if look.config is None:
        return fingerprint
    text = look.config.encode("utf-8", errors="surrogatepass")
    return f"{fingerprint} {hashlib.sha256(text).hexdigest()}"


def _selected(
    config: ModelConfig, source: ModelSource, found: Mapping[int, Candidate], look: Look
) -> tuple[int, ...]:
    if look.versions:
        return _asked_for(source, look.versions)
    selection = select(config.version_policy, tuple(found))
    for version in selection.missing:
        log.error(
            "a version is specified, but its directory is not present",
            model=source.identifier,
            version=version,
        )
    if not selection.versions:
        raise NoVersionError(
            "at least one version must be available under the version policy of "
            f"model '{source.identifier}'"
        )
    return selection.versions


def _asked_for(source: ModelSource, versions: Sequence[int]) -> tuple[int, ...]:
    missing = sorted(set(versions) - set(source.versions))
    if missing:
        listed = ", ".join(map(str, missing))
        raise MissingVersionError(
            f"version {listed} is asked for, but there is no such version directory"
        )
    return tuple(sorted(set(versions)))

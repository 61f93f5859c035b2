"""Say what would be wrong with the models of a repository if a server loaded them.

Does what a load does as far as the model's own files: has the repository agents at work,
reads the configuration, opens each version that would be served, holds the two against each
other. Serves nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path

from interlock.backends.base import OpenedModel, VersionFiles
from interlock.cli.rehearsal import Agents, Gap, Left
from interlock.domain.config import ModelConfig, Scheduling, VersionPolicyKind
from interlock.domain.config_agents import Preliminary, names_agents, preliminary
from interlock.domain.config_complete import DEFAULT_MAX_BATCH_SIZE, check, complete
from interlock.domain.config_rules import configure
from interlock.domain.config_text import ConfigError
from interlock.domain.errors import ServiceError
from interlock.repository import layout
from interlock.repository.snapshot import ModelSource
from interlock.repository.version_policy import select
from interlock.serving.labels import read_labels

OpenModel = Callable[[VersionFiles, ModelConfig], OpenedModel]
"""Open a version's files with its backend; raise ServiceError where that cannot be done."""


class Severity(Enum):
    """ERROR: the model would not load. WARNING: it would, perhaps not as it is meant."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a model; with OK, that there is nothing else to know.

    `version` is `None` where it concerns the whole model. `line` and `column` count from
    1, and are 0 where the finding has no place in the file at `path`. `unexamined` are the
    files of the model that nobody has looked into.
    """

    model: str
    severity: Severity
    message: str = ""
    version: int | None = None
    path: str = ""
    line: int = 0
    column: int = 0
    excerpt: str = ""
    hint: str = ""
    unexamined: tuple[str, ...] = ()


class Examination:
    """The examination of one model; `agents` has those at work that its configuration names."""

    def __init__(
        self,
        source: ModelSource,
        open_model: OpenModel,
        agents: Agents,
        *,
        auto_complete: bool = True,
        default_max_batch_size: int = DEFAULT_MAX_BATCH_SIZE,
    ) -> None:
        self._source = source
        self._agents = agents
        self._look = partial(
            _Look,
            open_model=open_model,
            auto_complete=auto_complete,
            default_max_batch_size=default_max_batch_size,
        )

    def run(self) -> tuple[Finding, ...]:
        """Return everything that was found; one finding with OK where nothing was."""
        findings = tuple(self._findings())
        if any(finding.severity is not Severity.OK for finding in findings):
            return tuple(one for one in findings if one.severity is not Severity.OK)
        return findings

    def _findings(self) -> Iterator[Finding]:
        source = self._source
        for remark in source.remarks:
            yield Finding(source.name, Severity.WARNING, f"{remark}.", path=str(source.directory))
        look = self._look(Left(source), source)
        try:
            own = _preliminary_of(source)
            if own.agents:
                yield from self._after_agents(own, look)
            else:
                yield from look.findings()
        except ServiceError as error:
            yield look.finding(error)

    def _after_agents(self, own: Preliminary, look: "_Look") -> Iterator[Finding]:
        """Look at what the agents leave behind; before, only the version policy counts."""
        source = self._source
        config = ModelConfig(source.name, version_policy=own.version_policy)
        selected, lacking = look.selected(config)
        yield from lacking
        if not selected:
            return
        with self._agents.at_work(source, own.agents, selected) as left:
            yield from (_unexamined(source, gap) for gap in left.gaps)
            if left.source is not None:
                after = self._look(left, left.source)
                scratch = str(left.source.directory)
                # It is gone when somebody reads of it.
                yield from (
                    _instead_of(scratch, str(source.directory), one) for one in after.findings()
                )


class _Look:
    """A look at a model in the directory where it is to be read."""

    def __init__(
        self,
        left: Left,
        source: ModelSource,
        *,
        open_model: OpenModel,
        auto_complete: bool,
        default_max_batch_size: int,
    ) -> None:
        self._left = left
        self._source = source
        self._open_model = open_model
        self._auto_complete = auto_complete
        self._default_max_batch_size = default_max_batch_size
        self._path = str(source.config_path or layout.default_config_path(source.directory))

    def findings(self) -> Iterator[Finding]:
        try:
            config = self._configured()
        except ServiceError as error:
            yield self.finding(error)
            return
        yield from self._version_findings(config)
        yield from self._label_findings(config)

    def _configured(self) -> ModelConfig:
        with self._left.guard():
            config = configure(
                self._source.config_text,
                model=self._source.name,
                path=self._path,
                first_entries=self._source.first_entries,
                auto_complete=self._auto_complete,
            )
        missing = _missing(config)
        if missing is not None:
            raise missing
        return config

    def _version_findings(self, config: ModelConfig) -> Iterator[Finding]:
        versions = self._left.versions
        if versions is None:
            versions, lacking = self.selected(config)
            yield from lacking
        for version in versions:
            try:
                self._look_into(config, version)
            except ServiceError as error:
                yield self.finding(error, version)
            else:
                yield Finding(self._source.name, Severity.OK, version=version)

    def selected(self, config: ModelConfig) -> tuple[tuple[int, ...], tuple[Finding, ...]]:
        """Return the versions that would be loaded, and what to say of those that are not there."""
        selection = select(config.version_policy, self._source.versions)
        lacking = tuple(
            self.finding(
                ConfigError(
                    f"version {version} is specified for model '{config.name}', but the version "
                    "directory is not present",
                    hint=f"The version directories are: {_listed(self._source.versions)}.",
                    field=("version_policy",),
                ),
                version,
                Severity.WARNING,
            )
            for version in selection.missing
        )
        if not selection.versions:
            lacking = (*lacking, self._no_version(config))
        return selection.versions, lacking

    def _no_version(self, config: ModelConfig) -> Finding:
        versions = self._source.versions
        if not versions:
            hint = f"Make a directory with a number for a name in {self._source.directory}, with "
            hint += f"{config.default_model_filename} inside."
        elif config.version_policy.kind is VersionPolicyKind.LATEST:
            hint = "Write: version_policy { latest { num_versions: 1 } }"
        else:
            hint = f"The version directories are: {_listed(versions)}."
        return self.finding(
            ConfigError(
                "at least one version must be available under the version policy of model "
                f"'{config.name}'",
                hint=hint,
                field=("version_policy",) if versions else (),
            )
        )

    def _look_into(self, config: ModelConfig, version: int) -> None:
        directory = self._source.directory
        opened = self._open_model(
            VersionFiles(
                directory, directory / str(version), version, is_linked=self._left.is_linked
            ),
            config,
        )
        try:
            facts = opened.facts
            if self._auto_complete:
                config = complete(
                    config, facts, default_max_batch_size=self._default_max_batch_size
                )
            check(config, facts)
        finally:
            opened.close()

    def _label_findings(self, config: ModelConfig) -> Iterator[Finding]:
        missing = False
        for index, output in enumerate(config.outputs):
            path = self._source.directory / output.label_filename
            if output.label_filename and not path.is_file():
                missing = True
                yield self.finding(
                    ConfigError(
                        f"label file '{output.label_filename}' of output '{output.name}' is not "
                        "there",
                        hint=f"Put it at {path}, with one label in each line.",
                        field=("output", index, "label_filename"),
                    ),
                    severity=Severity.WARNING,
                )
        if missing:
            return
        try:
            inside = layout.is_linked_inside if self._left.is_linked else layout.is_inside
            read_labels(config, self._source.directory, inside=inside)
        except ServiceError as error:
            yield self.finding(error)

    def finding(
        self,
        error: ServiceError,
        version: int | None = None,
        severity: Severity = Severity.ERROR,
    ) -> Finding:
        if not isinstance(error, ConfigError) or self._left.is_secret:
            return Finding(self._source.name, severity, str(error), version, self._place(version))
        error = error.located(self._source.config_text, self._path)
        return Finding(
            self._source.name,
            severity,
            error.message,
            version,
            error.path or self._place(None),
            error.line,
            error.column,
            error.excerpt,
            error.hint,
        )

    def _place(self, version: int | None) -> str:
        """Return the path for what has no line: the version, the configuration or the model."""
        if version is not None:
            return str(self._source.directory / str(version))
        return str(self._source.config_path or self._source.directory)


def _preliminary_of(source: ModelSource) -> Preliminary:
    """Return which agents a configuration names, whatever else is wrong with it."""
    if not names_agents(source.config_text):
        return Preliminary()
    return preliminary(source.config_text, str(source.config_path))


def _unexamined(source: ModelSource, gap: Gap) -> Finding:
    return Finding(
        source.name,
        Severity.WARNING,
        gap.message,
        path=str(source.directory),
        hint=gap.hint,
        unexamined=gap.files,
    )


def _instead_of(scratch: str, directory: str, finding: Finding) -> Finding:
    """Return the same finding, said of the directory that a person knows."""
    return replace(
        finding,
        message=finding.message.replace(scratch, directory),
        path=finding.path.replace(scratch, directory),
        hint=finding.hint.replace(scratch, directory),
    )


def _missing(config: ModelConfig) -> ConfigError | None:
    """Return why this version of the server does not run such models, `None` if it does."""
    if config.scheduling is Scheduling.SEQUENCE:
        what, field = "has no sequence batcher", "sequence_batching"
    elif config.scheduling is Scheduling.ENSEMBLE or config.platform == "ensemble":
        what, field = "does not run ensembles", "ensemble_scheduling"
    elif config.decoupled:
        what, field = "has no decoupled backend", "model_transaction_policy"
    else:
        return None
    return ConfigError(
        f"model '{config.name}' asks for {field}, and this version {what}", field=(field,)
    )


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions)) or "none"


def unreadable(name: str, problem: str, root: Path) -> Finding:
    """Return the finding for a model whose directory or configuration cannot be read."""
    return Finding(name, Severity.ERROR, problem, path=str(root / name))

"""Everything that is known of one model: what is on disk, and what the server made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.domain.transition import VersionState

PENDING: Final = "pending"


@dataclass(frozen=True, slots=True)
class AgentDescription:
    """What one repository agent said; `reason` is why it refuses, "" where it has passed.

    Of its parameters nothing is kept: they may name keys.
    """

    name: str
    passed: bool
    reason: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerdictDescription:
    """What was made of what the agents of a generation said, in the order of their words.

    `outcome` is a word of the audit log; `reason` is what is against it, "" where it has passed.
    """

    outcome: str
    reason: str = ""
    agents: tuple[AgentDescription, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationDescription:
    """One content of a version: requests inside it are `leases`, `instances` take them.

    `digest` is that of its files, `PENDING` until they have been read, "" where nobody does.
    `verdict` is `None` where no repository agent has seen it.
    """

    state: VersionState
    fingerprint: str
    leases: int
    digest: str = ""
    instances: int = 0
    verdict: VerdictDescription | None = None


@dataclass(frozen=True, slots=True)
class VersionDescription:
    """One version, generations oldest first. `why_not_ready` is empty where it serves.

    `staging` says how far a content is that arrives, `size_bytes` what its directory holds.
    """

    version: Version
    generations: tuple[GenerationDescription, ...]
    on_disk: bool
    selected: bool
    why_not_ready: str
    staging: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """One model, versions in ascending order.

    `directory` is empty where the repository has none, `config_path` where the configuration
    is made up, `version_policy` where it cannot be read; `problem` says why the copy in the
    repository cannot be loaded, `hold` what keeps it from serving what the repository has.
    """

    model: ModelName
    versions: tuple[VersionDescription, ...]
    directory: str = ""
    config_path: str = ""
    version_policy: str = ""
    problem: str = ""
    hold: str = ""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback came to: the versions that it went back to, and how long that stays.

    `was_warm` says that all of them were loaded still.
    """

    versions: tuple[Version, ...]
    was_warm: bool
    hold: str


class Effect(Enum):
    """What a load would do to one content of a version."""

    KEEP = "keep"
    LOAD = "load"
    UNLOAD = "unload"
    STAND_BY = "stand_by"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One content of a version, and what would become of it."""

    key: GenerationKey
    effect: Effect
    reason: str


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What a load would do now; `hold` is what it would end, "" for nothing."""

    steps: tuple[PlannedStep, ...]
    hold: str = ""

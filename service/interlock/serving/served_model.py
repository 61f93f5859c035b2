"""One loaded version: all that a request needs once it has found its model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock.domain.config import ModelConfig
from interlock.domain.ids import GenerationKey
from interlock.domain.request_rules import RequestRules
from interlock.scheduling.base import Scheduler
from interlock.serving.lease import LeaseCount
from interlock.serving.live_instances import LiveInstances
from interlock.telemetry.statistics import VersionStatistics


@dataclass(slots=True, eq=False)
class ServedModel:
    """A version that is loaded. Its parts are fixed; what counts inside them is theirs.

    `labels` holds, for each output with a label file, the label of each class.
    `instances` are what runs its requests; they are closed when no lease is left.
    """

    key: GenerationKey
    config: ModelConfig
    rules: RequestRules
    scheduler: Scheduler
    statistics: VersionStatistics
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leases: LeaseCount = field(default_factory=LeaseCount)
    instances: LiveInstances = field(default_factory=LiveInstances)
    version_text: str = field(init=False)

    def __post_init__(self) -> None:
        self.version_text = str(self.key.version)

"""How an action ended: what the executor tells the manager."""

from dataclasses import dataclass, field

from interlock.control.lifecycle import Event
from interlock.domain.errors import ServiceError
from interlock.domain.ids import GenerationKey
from interlock.serving.freed import Freed
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob
from interlock.serving.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class Progress:
    """The load has come to its next phase: WARM or PROVE. Nothing is handed over yet."""

    key: GenerationKey
    event: Event


@dataclass(frozen=True, slots=True)
class Remarked:
    """What the index is to say of the version for as long as it serves, "" for nothing.

    What is contested serves on for a while, and is not what whoever asks for its content gets.
    """

    key: GenerationKey
    text: str
    is_contested: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """The version was built, and it passed; `served` belongs to the manager from here on."""

    key: GenerationKey
    served: ServedModel


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The version could not be built, and nothing of it is left."""

    key: GenerationKey
    error: ServiceError


@dataclass(frozen=True, slots=True)
class LoadDropped:
    """The load had not begun when it was given up."""

    key: GenerationKey


@dataclass(frozen=True, slots=True)
class UpdatePrepared:
    """Other instances were built, and they passed; `update` belongs to the manager from here on."""

    job: LoadJob
    update: InstanceUpdate

    @property
    def key(self) -> GenerationKey:
        return self.job.key


@dataclass(frozen=True, slots=True)
class UpdateFailed:
    """Other instances could not be had, and nothing of them is left."""

    job: LoadJob
    error: ServiceError

    @property
    def key(self) -> GenerationKey:
        return self.job.key


@dataclass(frozen=True, slots=True)
class Drained:
    """The last lease was given back."""

    key: GenerationKey


@dataclass(frozen=True, slots=True)
class Unloaded:
    """What the version held was given back."""

    key: GenerationKey
    freed: Freed = field(default_factory=Freed)


Update = UpdatePrepared | UpdateFailed
Report = Progress | Remarked | Loaded | LoadFailed | LoadDropped | Update | Drained | Unloaded

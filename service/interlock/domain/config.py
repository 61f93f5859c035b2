"""The model configuration as the server acts on it: frozen values.

`domain.config_text` reads them, `domain.config_rules` checks and completes them. Names are those of
Triton's ModelConfig. Nothing of a configuration is lost: `message` keeps all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class VersionPolicyKind(Enum):
    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions that are there are served."""

    kind: VersionPolicyKind = VersionPolicyKind.LATEST
    num_versions: int = 1
    versions: tuple[int, ...] = ()


class SwapPolicy(Enum):
    """What goes first where a content is replaced; the value of the parameter `swap_policy`."""

    AVAILABILITY_PRESERVING = "availability_preserving"
    """The new one is built, then it takes over, then the old one goes."""
    RESOURCE_PRESERVING = "resource_preserving"
    """The old one goes, then the new one is built: both never need memory at a time."""


SWAP_POLICY: Final = "swap_policy"
"""The parameter of a configuration that names a SwapPolicy."""


class Scheduling(Enum):
    """The scheduling choice of a configuration; NONE runs each request as it comes."""

    NONE = "none"
    DYNAMIC = "dynamic_batching"
    SEQUENCE = "sequence_batching"
    ENSEMBLE = "ensemble_scheduling"


@dataclass(frozen=True, slots=True)
class TensorConfig:
    """One input or output. `datatype` is the wire name ("FP32", "BYTES"); -1 in `dims` is any size.

    `dims` is what clients see, without the batch dimension; `reshape`, where it is not
    None, is what the backend sees instead.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None = None
    optional: bool = False
    allow_ragged_batch: bool = False
    is_shape_tensor: bool = False
    label_filename: str = ""


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """So many instances of one kind ("KIND_CPU", "KIND_GPU", "KIND_MODEL").

    `rest` is all that it says but for its name, its count and its GPUs, serialized: where
    that is the same, so are the instances.
    """

    name: str
    kind: str = "KIND_CPU"
    count: int = 1
    gpus: tuple[int, ...] = ()
    passive: bool = False
    rest: bytes = field(default=b"", repr=False, compare=False)


class WarmupData(Enum):
    """What fills an input of a warm-up sample; UNSET where the configuration does not say."""

    ZERO = "zero_data"
    RANDOM = "random_data"
    FILE = "input_data_file"
    UNSET = ""


@dataclass(frozen=True, slots=True)
class WarmupInput:
    """One input of a warm-up sample; `dims` has no batch dimension.

    `file` is the name below the model's folder `warmup`, for FILE.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    data: WarmupData = WarmupData.ZERO
    file: str = ""


@dataclass(frozen=True, slots=True)
class WarmupSample:
    """What every instance runs before its version serves: `batch_size` requests, `count` times.

    A `batch_size` of 0 skips the sample, a `count` of 0 is once.
    """

    name: str
    batch_size: int = 1
    count: int = 0
    inputs: tuple[WarmupInput, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One normalised model configuration.

    `message` is the whole of it, a serialized `inference.ModelConfig`; the other fields
    are what the server itself looks at.
    """

    name: str
    backend: str = ""
    platform: str = ""
    default_model_filename: str = ""
    max_batch_size: int = 0
    inputs: tuple[TensorConfig, ...] = ()
    outputs: tuple[TensorConfig, ...] = ()
    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    instance_groups: tuple[InstanceGroup, ...] = ()
    scheduling: Scheduling = Scheduling.NONE
    decoupled: bool = False
    graph_level: int | None = None
    op_library_filenames: tuple[str, ...] = ()
    warmup_samples: tuple[WarmupSample, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    message: bytes = b""

    @property
    def swaps_room_first(self) -> bool:
        """Whether what serves makes room before its successor is built."""
        return self.parameters.get(SWAP_POLICY) == SwapPolicy.RESOURCE_PRESERVING.value


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor as a model file declares it.

    `dims` is complete, batch dimension included; -1 is any size.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model file says of itself."""

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]

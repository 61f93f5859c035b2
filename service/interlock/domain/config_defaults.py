"""Fill in what a configuration leaves out, so that every reader sees the same."""

from typing import Final

from interlock.domain.config_backend import ENSEMBLE
from interlock.pb import model_config_pb2 as pb

_SEQUENCE_IDLE_MICROSECONDS: Final = 1_000_000
_CPU_COUNTS: Final = {"onnxruntime": 2, "tensorflow": 2}


def normalise(config: pb.ModelConfig) -> None:
    """Fill the defaults in place. Applying it again changes nothing."""
    if not config.HasField("version_policy"):
        config.version_policy.latest.num_versions = 1
    _normalise_scheduling(config)
    if config.platform != ENSEMBLE:
        _normalise_optimization(config.optimization)
        _normalise_instance_groups(config)


def _normalise_scheduling(config: pb.ModelConfig) -> None:
    if config.HasField("dynamic_batching"):
        _prefer_full_batches(config.dynamic_batching, config.max_batch_size)
    if config.HasField("sequence_batching"):
        batching = config.sequence_batching
        if batching.max_sequence_idle_microseconds == 0:
            batching.max_sequence_idle_microseconds = _SEQUENCE_IDLE_MICROSECONDS
        if batching.HasField("oldest"):
            _prefer_full_batches(batching.oldest, config.max_batch_size)


def _prefer_full_batches(
    batching: pb.ModelDynamicBatching | pb.ModelSequenceBatching.StrategyOldest,
    max_batch_size: int,
) -> None:
    if max_batch_size > 0 and not batching.preferred_batch_size:
        batching.preferred_batch_size.append(max_batch_size)


def _normalise_optimization(optimization: pb.ModelOptimizationPolicy) -> None:
    if not optimization.HasField("input_pinned_memory"):
        optimization.input_pinned_memory.enable = True
    if not optimization.HasField("output_pinned_memory"):
        optimization.output_pinned_memory.enable = True


def _normalise_instance_groups(config: pb.ModelConfig) -> None:
    """Name the groups; KIND_AUTO is KIND_CPU, since no backend here runs on a GPU."""
    if not config.instance_group:
        config.instance_group.add(name=config.name)
    for index, group in enumerate(config.instance_group):
        group.name = group.name or f"{config.name}_{index}"
        if group.kind == pb.ModelInstanceGroup.KIND_AUTO:
            group.kind = pb.ModelInstanceGroup.KIND_CPU
        if group.count < 1:
            on_cpu = group.kind == pb.ModelInstanceGroup.KIND_CPU
            group.count = _CPU_COUNTS.get(config.backend, 1) if on_cpu else 1

"""Refuse batching rules that contradict the model's configuration or themselves."""

from collections.abc import Iterable
from typing import Final

from interlock.domain.config_text import ConfigError
from interlock.domain.config_tokens import FieldPath
from interlock.domain.config_values import datatype_name
from interlock.pb import model_config_pb2 as pb

_CORRELATION_TYPES: Final = (
    "TYPE_UINT64",
    "TYPE_INT64",
    "TYPE_UINT32",
    "TYPE_INT32",
    "TYPE_STRING",
)
_CORRELATION: Final = "CONTROL_SEQUENCE_CORRID"


def check_dynamic_batching(config: pb.ModelConfig) -> None:
    if not config.HasField("dynamic_batching"):
        return
    path: FieldPath = ("dynamic_batching",)
    sizes = config.dynamic_batching.preferred_batch_size
    _check_preferred(config, "dynamic batching preferred size", sizes, path)
    _check_priorities(config, path)
    _check_ordering(config, path)


def check_sequence_batching(config: pb.ModelConfig) -> None:
    if not config.HasField("sequence_batching"):
        return
    batching = config.sequence_batching
    path: FieldPath = ("sequence_batching",)
    if batching.HasField("oldest"):
        sizes = batching.oldest.preferred_batch_size
        _check_preferred(config, "sequence batching preferred batch size", sizes, (*path, "oldest"))
    if not 0.0 <= batching.direct.minimum_slot_utilization <= 1.0:
        raise ConfigError(
            "sequence batching minimum slot utilization must be in range (0.0, 1.0] for "
            f"{config.name}",
            hint="Write the share of filled slots that is enough, such as 0.5; 0 for any.",
            field=(*path, "direct", "minimum_slot_utilization"),
        )
    _check_controls(config, path)


def _check_preferred(
    config: pb.ModelConfig, what: str, sizes: Iterable[int], path: FieldPath
) -> None:
    for index, size in enumerate(sizes):
        field = (*path, "preferred_batch_size", index)
        if size <= 0:
            raise ConfigError(
                f"{what} must be positive for {config.name}",
                hint=f"{size} is no batch size: remove it.",
                field=field,
            )
        if size > config.max_batch_size:
            raise ConfigError(
                f"{what} must be <= max batch size for {config.name}",
                hint=f"Write: max_batch_size: {size} or more, or remove the preferred size {size}.",
                field=field,
            )


def _check_priorities(config: pb.ModelConfig, path: FieldPath) -> None:
    batching = config.dynamic_batching
    levels = batching.priority_levels
    if levels == 0:
        return
    if not 1 <= batching.default_priority_level <= levels:
        raise ConfigError(
            f"default priority level must be in range [1, {levels}] for {config.name}",
            hint=f"Write: default_priority_level: {(levels + 1) // 2}",
            field=(*path, "default_priority_level"),
        )
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            raise ConfigError(
                f"priority queue policy must have priority level in range [1, {levels}] "
                f"for {config.name}",
                hint=f"No request can have level {level}: remove its policy, or raise "
                "priority_levels.",
                field=(*path, "priority_queue_policy"),
            )


def _check_ordering(config: pb.ModelConfig, path: FieldPath) -> None:
    batching = config.dynamic_batching
    if not batching.preserve_ordering:
        return
    field = (*path, "preserve_ordering")
    if batching.priority_levels > 1:
        raise ConfigError(
            "Only one priority level is allowed when 'preserve_ordering' is true "
            f"for {config.name}",
            hint="Remove preserve_ordering, or write: priority_levels: 1",
            field=field,
        )
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(_delays(policy) for policy in policies):
        raise ConfigError(
            "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true "
            f"for {config.name}",
            hint="Remove preserve_ordering, or write: timeout_action: REJECT",
            field=field,
        )


def _delays(policy: pb.ModelQueuePolicy) -> bool:
    return (
        policy.timeout_action == pb.ModelQueuePolicy.DELAY
        and policy.default_timeout_microseconds != 0
    )


def _check_controls(config: pb.ModelConfig, path: FieldPath) -> None:
    tensors: set[str] = set()
    kinds: set[str] = set()
    for index, control_input in enumerate(config.sequence_batching.control_input):
        here: FieldPath = (*path, "control_input", index)
        name = control_input.name
        if not name:
            raise ConfigError(
                f"sequence batching control tensor must have a name for {config.name}",
                hint="Write the name that the tensor has in the model.",
                field=here,
            )
        if name in tensors:
            raise ConfigError(
                f"sequence batching control tensor '{name}' is specified for multiple control "
                f"kinds for {config.name}",
                hint="Each control has a tensor of its own.",
                field=(*here, "name"),
            )
        tensors.add(name)
        for position, control in enumerate(control_input.control):
            kind = _check_control(config, control, (*here, "control", position))
            if kind in kinds:
                raise ConfigError(
                    f"sequence batching specifies multiple {kind} tensors for {config.name}",
                    hint="Keep one of them.",
                    field=(*here, "control", position),
                )
            kinds.add(kind)


def _check_control(
    config: pb.ModelConfig, control: pb.ModelSequenceBatching.Control, path: FieldPath
) -> str:
    """Return the name of the control's kind."""
    value = type(control).Kind.DESCRIPTOR.values_by_number.get(control.kind)
    kind = str(control.kind) if value is None else value.name
    pairs = (control.int32_false_true, control.fp32_false_true, control.bool_false_true)
    if kind == _CORRELATION:
        if datatype_name(control.data_type) not in _CORRELATION_TYPES:
            raise ConfigError(
                f"unexpected data type for control {kind} for {config.name}. Allowed data types "
                f"are {', '.join(_CORRELATION_TYPES[:-1])} and {_CORRELATION_TYPES[-1]}",
                hint="Write: data_type: TYPE_UINT64, or the type that the model has",
                field=(*path, "data_type"),
            )
    elif sorted(len(pair) for pair in pairs) != [0, 0, 2]:
        raise ConfigError(
            f"sequence batching control {kind} must specify one of int32_false_true, "
            f"fp32_false_true and bool_false_true, with two values, for {config.name}",
            hint="Write: int32_false_true: [ 0, 1 ], in the type that the model has",
            field=path,
        )
    return kind

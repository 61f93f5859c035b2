"""Refuse configurations whose parts contradict each other.

What the model file says is not looked at, and inputs and outputs are for
`config_tensors`. The sentences are Triton's; the hints behind them say which edit helps.
"""

import posixpath

from interlock.domain.config import SWAP_POLICY, SwapPolicy
from interlock.domain.config_ensemble import check_ensemble
from interlock.domain.config_scheduling import check_dynamic_batching, check_sequence_batching
from interlock.domain.config_text import ConfigError
from interlock.domain.config_tokens import FieldPath
from interlock.domain.errors import UnsupportedError
from interlock.pb import model_config_pb2 as pb


def check_model(config: pb.ModelConfig) -> None:
    """Check all that needs neither the model file nor what auto-complete may still add."""
    _check_max_batch_size(config)
    for index, group in enumerate(config.instance_group):
        _check_instance_group(config, index, group)
    check_dynamic_batching(config)
    check_sequence_batching(config)
    check_ensemble(config)
    _check_filenames(config)
    _check_swap_policy(config)


def _check_swap_policy(config: pb.ModelConfig) -> None:
    """Refuse what would be taken for the default: whoever wrote it wants something else."""
    if SWAP_POLICY not in config.parameters:
        return
    value = config.parameters[SWAP_POLICY].string_value
    accepted = [policy.value for policy in SwapPolicy]
    if value not in accepted:
        raise ConfigError(
            f"parameter '{SWAP_POLICY}' of model {config.name} is '{value}', expected one of: "
            + ", ".join(accepted),
            hint=f'Write: parameters {{ key: "{SWAP_POLICY}" value {{ string_value: '
            f'"{SwapPolicy.RESOURCE_PRESERVING.value}" }} }}, or leave it out.',
            field=("parameters",),
        )


def _check_max_batch_size(config: pb.ModelConfig) -> None:
    if config.max_batch_size < 0:
        raise ConfigError(
            f"'max_batch_size' must be non-negative value for {config.name}",
            hint="Write: max_batch_size: 0 (no batches), or the most rows that one run may have",
            field=("max_batch_size",),
        )


def _check_instance_group(config: pb.ModelConfig, index: int, group: pb.ModelInstanceGroup) -> None:
    path: FieldPath = ("instance_group", index)
    who = f"instance group {group.name} of model {config.name}"
    kind = pb.ModelInstanceGroup.Kind.DESCRIPTOR.values_by_number.get(group.kind)
    if kind is None:
        raise ConfigError(
            f"{who} has unknown kind {group.kind}",
            hint="Write: kind: KIND_CPU",
            field=(*path, "kind"),
        )
    if group.profile and config.backend != "tensorrt":
        raise ConfigError(
            f"{who} and platform {config.platform or config.backend} specifies profile field "
            "which is only supported for TensorRT models",
            hint="Remove the line with profile.",
            field=(*path, "profile"),
        )
    if group.kind == pb.ModelInstanceGroup.KIND_GPU:
        raise ConfigError(
            f"{who} has kind KIND_GPU but server does not support GPUs",
            hint="No backend of this build runs on a GPU. Write: kind: KIND_CPU, without gpus.",
            field=(*path, "kind"),
        )
    if group.gpus:
        raise ConfigError(
            f"{who} has kind {kind.name} but specifies one or more GPUs",
            hint="Remove the line with gpus.",
            field=(*path, "gpus"),
        )


def _check_filenames(config: pb.ModelConfig) -> None:
    """Only the names are looked at; where links lead is seen when the files are opened."""
    # A version's directory lies one level inside the model's.
    files: dict[FieldPath, str] = {("default_model_filename",): config.default_model_filename}
    files |= {
        ("cc_model_filenames", key): name for key, name in sorted(config.cc_model_filenames.items())
    }
    for field, name in files.items():
        if leaves_directory(name, depth=1):
            raise ConfigError(
                f"{field[0]} '{name}' of model '{config.name}' is outside model directory",
                hint="Write a path that is relative to the version's directory.",
                field=field,
            )
    for output in config.output:
        if leaves_directory(output.label_filename, depth=0):
            raise UnsupportedError(
                f"label file path '{output.label_filename}' of output '{output.name}' is outside "
                f"model directory. Write a path that is relative to the directory of model "
                f"'{config.name}'."
            )


def leaves_directory(name: str, *, depth: int) -> bool:
    """Whether a relative path climbs out of a directory that begins `depth` levels above it."""
    if not name:
        return False
    if name.startswith("/") or "\0" in name:
        return True
    base = "/".join("d" * depth)
    return posixpath.normpath(posixpath.join(base, name)).split("/")[0] == ".."

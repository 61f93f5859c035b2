"""Refuse inputs and outputs that cannot be, once they are all there.

The sentences are Triton's; the hints behind them say which edit helps.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from interlock.domain.config_text import ConfigError
from interlock.domain.config_tokens import FieldPath
from interlock.domain.config_values import datatype_name
from interlock.pb import model_config_pb2 as pb

Tensor = pb.ModelInput | pb.ModelOutput

_IMAGE_DIMS: Final = 3


def check_tensors(config: pb.ModelConfig) -> None:
    """Check the inputs and outputs, once they are all there."""
    both: tuple[tuple[str, Sequence[Tensor]], ...] = (
        ("input", config.input),
        ("output", config.output),
    )
    for kind, tensors in both:
        _check_names(config, kind, tensors)
        for index, tensor in enumerate(tensors):
            _TensorCheck(config, kind, index, tensor).run()
    _check_batch_inputs(config)
    _check_batch_outputs(config)


def _check_names(config: pb.ModelConfig, kind: str, tensors: Iterable[Tensor]) -> None:
    seen: set[str] = set()
    for index, tensor in enumerate(tensors):
        if tensor.name and tensor.name in seen:
            raise ConfigError(
                f"model {kind} '{tensor.name}' is specified more than once for {config.name}",
                hint="Keep one of them, or rename one.",
                field=(kind, index, "name"),
            )
        seen.add(tensor.name)


class _TensorCheck:
    """The checks of one input or output."""

    def __init__(self, config: pb.ModelConfig, kind: str, index: int, tensor: Tensor) -> None:
        self._config = config
        self._tensor = tensor
        self._path: FieldPath = (kind, index)
        self._who = f"model {kind} '{tensor.name}'" if tensor.name else f"model {kind}"

    def run(self) -> None:
        tensor = self._tensor
        if not tensor.name:
            raise self._error("must specify 'name'", 'Write: name: "…", as the model has it')
        if datatype_name(tensor.data_type) == "TYPE_INVALID":
            raise self._error(
                "must specify 'data_type'",
                "Write: data_type: TYPE_FP32, or the type that the model has",
                "data_type",
            )
        self._check_dims()
        if tensor.HasField("reshape"):
            self._check_reshape()
        self._check_flags()

    def _error(self, text: str, hint: str, *where: str | int) -> ConfigError:
        return ConfigError(
            f"{self._who} {text} for {self._config.name}", hint=hint, field=(*self._path, *where)
        )

    def _check_dims(self) -> None:
        if not self._tensor.dims:
            raise self._error(
                "must specify 'dims'",
                "Write: dims: [ … ], the shape"
                + (" without the batch dimension" if self._config.max_batch_size else "")
                + ", -1 where any size will do",
                "dims",
            )
        for index, size in enumerate(self._tensor.dims):
            if size < 1 and size != -1:
                raise self._error(
                    "dimension must be integer >= 1, or -1 to indicate a variable-size dimension",
                    f"Write -1 or a size instead of {size}.",
                    "dims",
                    index,
                )

    def _check_reshape(self) -> None:
        dims, shape = list(self._tensor.dims), list(self._tensor.reshape.shape)
        if not shape and self._config.max_batch_size == 0:
            raise self._error(
                "cannot have empty reshape for non-batching model as scalar tensors are not "
                "supported",
                "Write: reshape { shape: [ 1 ] }",
                "reshape",
            )
        if any(size < 1 and size != -1 for size in shape):
            raise self._error(
                "reshape dimensions must be integer >= 1, or -1 to indicate a variable-size "
                "dimension",
                "Write -1 or a size for each dimension of reshape.",
                "reshape",
            )
        if dims.count(-1) != shape.count(-1):
            raise self._error(
                "has different number of variable-size dimensions for dims and reshape",
                f"dims {dims} has {dims.count(-1)} of them, reshape {shape} has {shape.count(-1)}.",
                "reshape",
            )
        if _chunks(dims) != _chunks(shape):
            raise self._error(
                "has different size for dims and reshape",
                f"dims {dims} and reshape {shape} must hold the same number of elements"
                + (", before, between and behind the -1s." if -1 in dims else "."),
                "reshape",
            )

    def _check_flags(self) -> None:
        tensor = self._tensor
        if tensor.is_shape_tensor and self._config.backend != "tensorrt":
            raise self._error(
                "shape tensors are only supported for TensorRT platform",
                "Remove is_shape_tensor.",
                "is_shape_tensor",
            )
        if tensor.is_non_linear_format_io and self._config.backend != "tensorrt":
            raise self._error(
                "Non-linear IO format is only supported for the TensorRT platform",
                "Remove is_non_linear_format_io.",
                "is_non_linear_format_io",
            )
        if (
            isinstance(tensor, pb.ModelInput)
            and tensor.format != pb.ModelInput.FORMAT_NONE
            and len(tensor.dims) != _IMAGE_DIMS
        ):
            raise self._error("format needs 3 dims", "Remove format, or give 3 dims.", "format")


def _chunks(shape: list[int]) -> list[int]:
    """Return the number of elements of each part of a shape between its variable dimensions."""
    parts: list[list[int]] = [[]]
    for size in shape:
        if size == -1:
            parts.append([])
        else:
            parts[-1].append(size)
    return [math.prod(part) for part in parts]


def _check_batch_inputs(config: pb.ModelConfig) -> None:
    inputs = {tensor.name for tensor in config.input}
    for index, batch_input in enumerate(config.batch_input):
        path: FieldPath = ("batch_input", index)
        _check_one_source(config, path, _kind_name(batch_input), batch_input.source_input, inputs)
        if batch_input.data_type not in {pb.TYPE_INT32, pb.TYPE_FP32}:
            raise ConfigError(
                f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {config.name}",
                hint="Write: data_type: TYPE_FP32, or the type that the model has",
                field=(*path, "data_type"),
            )


def _check_batch_outputs(config: pb.ModelConfig) -> None:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for index, batch_output in enumerate(config.batch_output):
        path: FieldPath = ("batch_output", index)
        _check_one_source(config, path, _kind_name(batch_output), batch_output.source_input, inputs)
        for position, target in enumerate(batch_output.target_name):
            if target not in outputs:
                raise ConfigError(
                    f"unknown target output name '{target}' for {config.name}",
                    hint=f"The outputs are: {', '.join(sorted(outputs))}.",
                    field=(*path, "target_name", position),
                )


def _kind_name(item: pb.BatchInput | pb.BatchOutput) -> str:
    word = "input" if isinstance(item, pb.BatchInput) else "output"
    value = type(item).Kind.DESCRIPTOR.values_by_number.get(item.kind)
    return f"batch {word} kind '{item.kind if value is None else value.name}'"


def _check_one_source(
    config: pb.ModelConfig, path: FieldPath, who: str, sources: Iterable[str], inputs: set[str]
) -> None:
    names = list(sources)
    if len(names) != 1:
        raise ConfigError(
            f"{who} expects 1 source input, got {len(names)} for {config.name}",
            hint='Write: source_input: [ "…" ], the name of one input',
            field=(*path, "source_input"),
        )
    if names[0] not in inputs:
        raise ConfigError(
            f"unknown source input name '{names[0]}' for {config.name}",
            hint=f"The inputs are: {', '.join(sorted(inputs))}.",
            field=(*path, "source_input"),
        )

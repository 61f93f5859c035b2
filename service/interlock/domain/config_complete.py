"""Complete a configuration from what the model file says, and hold the two against each other."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from interlock.domain.config import ModelConfig, ModelFacts, TensorConfig, TensorFacts
from interlock.domain.config_tensors import check_tensors
from interlock.domain.config_text import ConfigError
from interlock.domain.config_values import message_of, project
from interlock.domain.datatypes import BY_WIRE
from interlock.pb import model_config_pb2 as pb

DEFAULT_MAX_BATCH_SIZE: Final = 4


def complete(
    config: ModelConfig,
    facts: ModelFacts | None,
    *,
    default_max_batch_size: int = DEFAULT_MAX_BATCH_SIZE,
) -> ModelConfig:
    """Return the configuration with the inputs, outputs and batching that the model file tells.

    Nothing changes where inputs and outputs are both given already, or where the file
    declares nothing. The rules are those of Triton's ONNX Runtime backend.
    """
    if facts is None or ((config.inputs or _has_batch_inputs(config)) and config.outputs):
        return config
    message = message_of(config)
    _complete_batching(message, facts, default_max_batch_size)
    batching = message.max_batch_size > 0
    if not message.input and not message.batch_input:
        message.input.extend(_as_input(tensor, batching=batching) for tensor in facts.inputs)
    if not message.output:
        message.output.extend(_as_output(tensor, batching=batching) for tensor in facts.outputs)
    return project(message)


def check(config: ModelConfig, facts: ModelFacts | None) -> None:
    """Raise ConfigError where the configuration contradicts itself or the model file."""
    message = message_of(config)
    check_tensors(message)
    if facts is None:
        return
    _check_input_count(config, message, facts)
    for kind, tensors, known in (
        ("input", config.inputs, facts.inputs),
        ("output", config.outputs, facts.outputs),
    ):
        _Comparison(config, kind, known).run(tensors)


def _has_batch_inputs(config: ModelConfig) -> bool:
    return bool(message_of(config).batch_input)


def _complete_batching(
    message: pb.ModelConfig, facts: ModelFacts, default_max_batch_size: int
) -> None:
    if not _supports_batching(facts):
        if message.max_batch_size != 0:
            fixed = next(
                tensor for tensor in (*facts.inputs, *facts.outputs) if not _is_batched(tensor)
            )
            raise ConfigError(
                f"autofill failed for model '{message.name}': model does not support batching "
                "while non-zero max_batch_size is specified",
                hint=f"The first dimension of '{fixed.name}' is not -1 (shape "
                f"{_shape(fixed.dims)}). Write: max_batch_size: 0",
                field=("max_batch_size",),
            )
        return
    if message.max_batch_size == 0:
        message.max_batch_size = default_max_batch_size
    if message.max_batch_size > 1 and message.WhichOneof("scheduling_choice") is None:
        message.dynamic_batching.SetInParent()


def _supports_batching(facts: ModelFacts) -> bool:
    return all(_is_batched(tensor) for tensor in (*facts.inputs, *facts.outputs))


def _is_batched(tensor: TensorFacts) -> bool:
    return tensor.dims[:1] == (-1,)


def _as_input(tensor: TensorFacts, *, batching: bool) -> pb.ModelInput:
    result = pb.ModelInput(name=tensor.name, data_type=_config_type(tensor.datatype))
    _set_shape(result, tensor, batching=batching)
    return result


def _as_output(tensor: TensorFacts, *, batching: bool) -> pb.ModelOutput:
    result = pb.ModelOutput(name=tensor.name, data_type=_config_type(tensor.datatype))
    _set_shape(result, tensor, batching=batching)
    return result


def _set_shape(
    result: pb.ModelInput | pb.ModelOutput, tensor: TensorFacts, *, batching: bool
) -> None:
    """A scalar is shown as one element; with batching the backend still gets it as a scalar."""
    dims = tensor.dims[1:] if batching else tensor.dims
    result.dims.extend(dims or (1,))
    if batching and not dims:
        result.reshape.SetInParent()


def _config_type(wire: str) -> str:
    return BY_WIRE[wire].config if wire in BY_WIRE else "TYPE_INVALID"


def _shape(dims: Iterable[int]) -> str:
    return f"[{','.join(str(size) for size in dims)}]"


def edit(kind: str, tensor: TensorFacts, *, batching: bool) -> str:
    """Return the entry to write for a tensor of the model file."""
    dims = (tensor.dims[1:] if batching else tensor.dims) or (1,)
    sizes = ", ".join(str(size) for size in dims)
    reshape = " reshape { shape: [ ] }" if batching and len(tensor.dims) == 1 else ""
    return (
        f'{kind} {{ name: "{tensor.name}" data_type: {_config_type(tensor.datatype)} '
        f"dims: [ {sizes} ]{reshape} }}"
    )


def _graph_has(kind: str, tensors: Sequence[TensorFacts]) -> str:
    shown = ", ".join(
        f"'{tensor.name}' {_config_type(tensor.datatype)} {_shape(tensor.dims)}"
        for tensor in tensors
    )
    return (
        f"The graph has {len(tensors)} {kind}{'s' if len(tensors) != 1 else ''}: {shown or 'none'}."
    )


def _check_input_count(config: ModelConfig, message: pb.ModelConfig, facts: ModelFacts) -> None:
    made = _made_inputs(message)
    expected = len(config.inputs) + len(made)
    if expected == len(facts.inputs):
        return
    batching = config.max_batch_size > 0
    named = {tensor.name for tensor in config.inputs} | made
    missing = [tensor for tensor in facts.inputs if tensor.name not in named]
    known = {tensor.name for tensor in facts.inputs}
    surplus = [tensor.name for tensor in config.inputs if tensor.name not in known]
    edits = [edit("input", tensor, batching=batching) for tensor in missing]
    hint = _graph_has("input", facts.inputs)
    if edits:
        hint += f" Write: {' '.join(edits)}"
    if surplus:
        hint += f"{';' if edits else ''} Remove: {', '.join(surplus)}"
    raise ConfigError(
        f"unable to load model '{config.name}', configuration expects {expected} inputs, model "
        f"provides {len(facts.inputs)}",
        hint=hint,
        field=("input",),
    )


def _made_inputs(message: pb.ModelConfig) -> set[str]:
    """Return the inputs that the server makes itself: batch inputs, controls and states."""
    batching = message.sequence_batching
    return {
        *(name for item in message.batch_input for name in item.target_name),
        *(control.name for control in batching.control_input),
        *(state.input_name for state in batching.state),
    }


class _Comparison:
    """The inputs or the outputs of a configuration against those of the model file."""

    def __init__(self, config: ModelConfig, kind: str, known: Sequence[TensorFacts]) -> None:
        self._config = config
        self._kind = kind
        self._known = {tensor.name: tensor for tensor in known}
        self._batching = config.max_batch_size > 0

    def run(self, tensors: Sequence[TensorConfig]) -> None:
        for index, tensor in enumerate(tensors):
            fact = self._known.get(tensor.name)
            if fact is None:
                raise self._unknown(index, tensor, tensors)
            self._check_datatype(index, tensor, fact)
            self._check_dims(index, tensor, fact)

    def _unknown(
        self, index: int, tensor: TensorConfig, tensors: Sequence[TensorConfig]
    ) -> ConfigError:
        names = sorted(self._known)
        free = sorted(self._known.keys() - {other.name for other in tensors})
        meant = free if len(free) == 1 else difflib.get_close_matches(tensor.name, free, n=1)
        hint = _graph_has(self._kind, list(self._known.values()))
        if meant:
            fact = self._known[meant[0]]
            hint += f" Write: {edit(self._kind, fact, batching=self._batching)}"
        return ConfigError(
            f"unexpected inference {self._kind} '{tensor.name}', allowed {self._kind}s are: "
            f"{', '.join(names)}",
            hint=hint,
            field=(self._kind, index, "name"),
        )

    def _graph(self, fact: TensorFacts) -> str:
        return (
            f"The graph has '{fact.name}' {_config_type(fact.datatype)} {_shape(fact.dims)}. "
            f"Write: {edit(self._kind, fact, batching=self._batching)}"
        )

    def _check_datatype(self, index: int, tensor: TensorConfig, fact: TensorFacts) -> None:
        if tensor.datatype != fact.datatype:
            raise ConfigError(
                f"unable to load model '{self._config.name}', configuration expects datatype "
                f"{_config_type(tensor.datatype)} for {self._kind} '{tensor.name}', model provides "
                f"{_config_type(fact.datatype)}",
                hint=self._graph(fact),
                field=(self._kind, index, "data_type"),
            )

    def _check_dims(self, index: int, tensor: TensorConfig, fact: TensorFacts) -> None:
        if self._batching and not _is_batched(fact):
            raise self._not_batched(tensor, fact)
        if tensor.allow_ragged_batch and fact.dims != (-1,):
            raise ConfigError(
                f"unable to load model '{self._config.name}', configuration expects model provides "
                f"input with shape [-1] for ragged input '{tensor.name}', model provides "
                f"{_shape(fact.dims)}",
                hint="Remove allow_ragged_batch, or export the graph with a flat input.",
                field=("input", index, "allow_ragged_batch"),
            )
        if tensor.optional and self._batching:
            raise ConfigError(
                f"unable to load model '{self._config.name}', optional input '{tensor.name}' is "
                "not supported with max_batch_size > 0",
                hint="Remove optional, or write: max_batch_size: 0",
                field=("input", index, "optional"),
            )
        if not tensor.allow_ragged_batch and not self._fits(tensor, fact):
            raise self._misfit(index, tensor, fact)

    def _fits(self, tensor: TensorConfig, fact: TensorFacts) -> bool:
        """Inputs of any size in the graph take any size; outputs must say what the graph says.

        No dimensions at all are a scalar, which a configuration can only show as one
        element, or an output of which the graph does not know the shape.
        """
        dims = self._complete_dims(tensor)
        model = fact.dims
        if not model and not self._batching:
            return dims == (1,) or self._kind == "output"
        if len(dims) != len(model):
            return False
        return all(
            mine == theirs or (theirs == -1 and self._kind == "input")
            for mine, theirs in zip(dims, model, strict=True)
        )

    def _complete_dims(self, tensor: TensorConfig) -> tuple[int, ...]:
        dims = tensor.dims if tensor.reshape is None else tensor.reshape
        return (-1, *dims) if self._batching else dims

    def _misfit(self, index: int, tensor: TensorConfig, fact: TensorFacts) -> ConfigError:
        dims = self._complete_dims(tensor)
        shape = f"shape {_shape(dims)}"
        if self._batching:
            shape = (
                "an initial batch dimension because max_batch_size > 0 followed by the explicit "
                f"tensor shape, making complete shape {_shape(dims)}"
            )
        return ConfigError(
            f"model '{self._config.name}', tensor '{tensor.name}': the model expects "
            f"{len(fact.dims)} dimensions (shape {_shape(fact.dims)}) but the model configuration "
            f"specifies {len(dims)} dimensions ({shape})",
            hint=self._graph(fact),
            field=(self._kind, index, "dims"),
        )

    def _not_batched(self, tensor: TensorConfig, fact: TensorFacts) -> ConfigError:
        return ConfigError(
            f"model '{self._config.name}', tensor '{tensor.name}': for the model to support "
            "batching the shape should have at least 1 dimension and the first dimension must be "
            f"-1; but shape expected by the model is {_shape(fact.dims)}",
            hint=f"The graph has '{fact.name}' {_config_type(fact.datatype)} {_shape(fact.dims)}. "
            f"Write: max_batch_size: 0 and {edit(self._kind, fact, batching=False)}",
            field=("max_batch_size",),
        )

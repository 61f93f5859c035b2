"""The built-in backend `identity`: OUTPUT<n> is INPUT<n>. For trials and tests, delays included."""

import re
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Final

from interlock.backends.base import BatchResult, VersionFiles
from interlock.domain.config import ModelConfig, ModelFacts, TensorConfig
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.domain.errors import InvalidRequestError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.domain.tensor import OutputTensor, ParameterValue

Sleep = Callable[[float], None]

_INPUT: Final = re.compile(r"INPUT(\d+)", re.ASCII)
_OUTPUT: Final = re.compile(r"OUTPUT(\d+)", re.ASCII)
_EMPTY_STRING: Final = struct.pack("<I", 0)

RESPONSE_PARAMETERS: Final[Mapping[str, ParameterValue]] = {
    "param0": "an example string parameter",
    "param1": 42,
    "param2": False,
    "param3": 123.123,
}


@dataclass(frozen=True, slots=True)
class _Delays:
    """The delays that a model's parameters ask for. `multiplier` 0: the same on all instances."""

    creation_s: float
    execution_s: float
    multiplier: float

    def of_instance(self, index: int) -> float:
        return self.execution_s * max(1.0, self.multiplier * index)


class IdentityBackend:
    """Needs no file. Any thread of the load pool opens models with it."""

    def __init__(
        self, *, sleep: Sleep = time.sleep, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._sleep = sleep
        self._now_ns = now_ns

    @property
    def name(self) -> str:
        return "identity"

    def open(self, files: VersionFiles, config: ModelConfig) -> "IdentityModel":  # noqa: ARG002 - the contract
        """Check that inputs and outputs pair. Raise InvalidRequestError."""
        _check_pairs(config)
        delays = _Delays(
            creation_s=_number(config, "creation_delay_sec"),
            execution_s=_number(config, "execute_delay_ms") / 1000,
            multiplier=_number(config, "instance_wise_delay_multiplier"),
        )
        if delays.creation_s:
            self._sleep(delays.creation_s)
        return IdentityModel(delays, self._sleep, self._now_ns)


class IdentityModel:
    """An identity model; its instances share nothing."""

    def __init__(self, delays: _Delays, sleep: Sleep, now_ns: Callable[[], int]) -> None:
        self._delays = delays
        self._sleep = sleep
        self._now_ns = now_ns

    @property
    def facts(self) -> ModelFacts | None:
        return None

    def make_instance(self, config: ModelConfig, *, name: str, index: int) -> "IdentityInstance":
        delay_s = self._delays.of_instance(index)
        return IdentityInstance(
            config, name=name, delay_s=delay_s, sleep=self._sleep, now_ns=self._now_ns
        )

    def close(self) -> None:
        """Nothing is held."""


class IdentityInstance:
    """Gives every input back, after its delay."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        name: str,
        delay_s: float,
        sleep: Sleep,
        now_ns: Callable[[], int],
    ) -> None:
        self._name = name
        self._delay_s = delay_s
        self._sleep = sleep
        self._now_ns = now_ns
        self._batched = config.max_batch_size > 0
        self._inputs = config.inputs

    @property
    def name(self) -> str:
        return self._name

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        start = input_end = self._now_ns()
        if self._delay_s:
            self._sleep(self._delay_s)
        output_start = self._now_ns()
        responses = [self._answer(request) for request in requests]
        return BatchResult(responses, start, input_end, output_start, self._now_ns())

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, request: InferRequest) -> InferResponse:
        given = {tensor.name: tensor for tensor in request.inputs}
        asked = {output.name for output in request.outputs}
        outputs = []
        for config in self._inputs:
            name = _output_name(config)
            if asked and name not in asked:
                continue
            tensor = given.get(config.name)
            if tensor is None:
                outputs.append(self._zeros(config, request))
            else:
                outputs.append(OutputTensor(name, tensor.datatype, tensor.shape, tensor.data))
        return InferResponse(outputs, dict(RESPONSE_PARAMETERS))

    def _zeros(self, config: TensorConfig, request: InferRequest) -> OutputTensor:
        """Return what stands for an optional input that did not come; -1 becomes 1."""
        dims = config.dims if config.reshape is None else config.reshape
        shape = tuple(1 if dim < 0 else dim for dim in dims)
        if self._batched:
            shape = (request.batch_size, *shape)
        size_bytes = BY_WIRE[config.datatype].size_bytes
        element = _EMPTY_STRING if config.datatype == BYTES else bytes(size_bytes)
        return OutputTensor(_output_name(config), config.datatype, shape, element * prod(shape))


def _output_name(tensor: TensorConfig) -> str:
    return f"OUTPUT{tensor.name.removeprefix('INPUT')}"


def _check_pairs(config: ModelConfig) -> None:
    inputs = _by_index(config.inputs, _INPUT, "input", "INPUT")
    outputs = _by_index(config.outputs, _OUTPUT, "output", "OUTPUT")
    if inputs.keys() != outputs.keys():
        raise InvalidRequestError("model configuration must have equal input/output pairs")
    for index, tensor in inputs.items():
        _check_pair(tensor, outputs[index])


def _by_index(
    tensors: Sequence[TensorConfig], pattern: re.Pattern[str], kind: str, word: str
) -> Mapping[str, TensorConfig]:
    found = {}
    for tensor in tensors:
        match = pattern.fullmatch(tensor.name)
        if match is None:
            raise InvalidRequestError(
                f"expected {kind} name to follow {word}<index> pattern, got '{tensor.name}'"
            )
        found[match[1]] = tensor
    return found


def _check_pair(given: TensorConfig, answer: TensorConfig) -> None:
    if given.datatype != answer.datatype:
        got = f"{BY_WIRE[given.datatype].config} and {BY_WIRE[answer.datatype].config}"
        raise InvalidRequestError(f"expected input and output datatype to match, got {got}")
    if given.dims != answer.dims:
        got = f"{_shape_text(given.dims)} and {_shape_text(answer.dims)}"
        raise InvalidRequestError(f"expected input and output shape to match, got {got}")


def _shape_text(dims: Sequence[int]) -> str:
    return "[" + ",".join(str(dim) for dim in dims) + "]"


def _number(config: ModelConfig, key: str) -> float:
    text = config.parameters.get(key, "0")
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not isfinite(number) or number < 0:
        raise InvalidRequestError(
            f"parameter '{key}' of model '{config.name}' must be a number, 0 or more, got '{text}'"
        )
    return number

"""Models to check requests against, and requests to check."""

import struct
from collections.abc import Callable, Mapping, Sequence
from math import prod

from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.datatypes import BY_WIRE
from interlock.domain.errors import ServiceError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.tensor import InputTensor, RequestedOutput
from interlock.scheduling.base import BatchRunner, TakeOver
from interlock.serving.served_model import ServedModel
from interlock.telemetry.statistics import VersionStatistics


class NeverRuns:
    """A scheduler for tests that stop before it."""

    pending = 0

    def enqueue(self, request: InferRequest) -> None:
        raise AssertionError("nothing is to be scheduled here")

    def refuse(self, error: ServiceError) -> None: ...

    def prepare(
        self, runners: Sequence[BatchRunner], retired: Callable[[BatchRunner], None]
    ) -> TakeOver:
        raise AssertionError("nothing is changed here")

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None: ...


def model(
    *inputs: TensorConfig,
    outputs: Sequence[TensorConfig] = (TensorConfig("y", "FP32", (-1,)),),
    max_batch_size: int = 0,
) -> ModelConfig:
    return ModelConfig(
        name="m", max_batch_size=max_batch_size, inputs=inputs, outputs=tuple(outputs)
    )


def served(config: ModelConfig, labels: Mapping[str, tuple[str, ...]] | None = None) -> ServedModel:
    return ServedModel(
        key=GenerationKey(ModelName(config.name), Version(3), Generation(1)),
        config=config,
        rules=RequestRules.of(config),
        scheduler=NeverRuns(),
        statistics=VersionStatistics(),
        labels=labels or {},
    )


def given(
    name: str, shape: Sequence[int], datatype: str = "FP32", *, data: bytes | None = None
) -> InputTensor:
    """An input with its data; zeroes, as many as its shape says, where there is none."""
    if data is None:
        data = bytes(prod(shape) * BY_WIRE[datatype].size_bytes)
    return InputTensor(name, datatype, tuple(shape), data)


def texts(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def asking(*inputs: InputTensor, outputs: Sequence[str] = (), id: str = "7") -> InferRequest:  # noqa: A002
    return InferRequest(
        model_name="m", id=id, inputs=list(inputs), outputs=[RequestedOutput(o) for o in outputs]
    )

"""What warms versions up and proves them: an instance that does as told, tensors, golden files."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from interlock.backends.base import BatchResult, Outcome
from interlock.domain.bytes_tensor import encode_elements
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.domain.tensor import OutputTensor
from interlock.serving.golden.request import GoldenTensor

KEY = GenerationKey(ModelName("m"), Version(1), Generation(1))

Script = Callable[[InferRequest], Outcome]


class ScriptedInstance:
    """Answers each request as `script` says; remembers what it was given, batch by batch."""

    def __init__(self, script: Script | None = None, name: str = "m_0_0") -> None:
        self.name = name
        self.batches: list[Sequence[InferRequest]] = []
        self._script = script or (lambda request: InferResponse())

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        self.batches.append(requests)
        outcomes = [self._script(request) for request in requests]
        return BatchResult(outcomes, 1_000, 1_010, 1_030, 1_060)

    def close(self) -> None: ...


class CountingClock:
    """Nanoseconds: each look is `steps` later than the one before, the last one for good."""

    def __init__(self, steps: Iterable[int] = (1_000_000,)) -> None:
        self._steps = list(steps)
        self._now = 0

    def __call__(self) -> int:
        self._now += self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        return self._now


def fp32(values: ArrayLike) -> bytes:
    return np.array(values, "<f4").tobytes()


def golden(name: str, values: Any, datatype: str = "FP32", dtype: str = "<f4") -> GoldenTensor:
    """A tensor with these values; BF16 is given as 16-bit words, BYTES as a list of elements."""
    if datatype == "BYTES":
        return GoldenTensor(name, datatype, (len(values),), encode_elements(values))
    array = np.array(values, dtype)
    return GoldenTensor(name, datatype, array.shape, array.tobytes())


def answering(*tensors: GoldenTensor) -> Script:
    """The script of an instance that gives this answer to everything."""
    outputs = [OutputTensor(one.name, one.datatype, one.shape, one.data) for one in tensors]
    return lambda request: InferResponse(outputs)


def write_npz(path: Path, **arrays: ArrayLike) -> Path:
    """Write an archive; `input__x` stands for `input:x`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = {key.replace("__", ":", 1): np.asarray(value) for key, value in arrays.items()}
    np.savez(path, allow_pickle=False, **named)
    return path

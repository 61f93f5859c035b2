"""A golden request: what to ask a model, and what it must answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from interlock.domain.bytes_tensor import decode_elements
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import Buffer

DEFAULT_TOLERANCE: Final = 1e-3
INPUT: Final = "input"
EXPECT: Final = "expect"
SETTINGS: Final = ("tolerance", "relative_tolerance", "latency_budget_ms")
BF16: Final = "BF16"

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


class GoldenFileError(InvalidRequestError):
    """A golden file that cannot be read for what it must be."""


@dataclass(frozen=True, slots=True)
class GoldenTensor:
    """An input, or an expected output: `data` is the raw form, shape and datatype the client's."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """What to ask and what to expect.

    A float may be off by `absolute` plus `relative` times the expected value.
    """

    name: str
    inputs: tuple[GoldenTensor, ...]
    expected: tuple[GoldenTensor, ...]
    absolute: float = DEFAULT_TOLERANCE
    relative: float = DEFAULT_TOLERANCE
    latency_budget_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """The datatypes that the model's configuration gives its tensors, by name."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


def array_of(datatype: str, shape: Sequence[int], data: Buffer) -> Array:
    """Return raw data as an array: BYTES as objects, BF16 as the floats that it stands for.

    Raise ValueError or InvalidRequestError where the data does not fill the shape.
    """
    if datatype == BYTES:
        count = math.prod(shape)
        array = np.empty(count, dtype=object)
        array[:] = decode_elements(data, count=count)
        return array.reshape(shape)
    words = np.frombuffer(data, BY_WIRE[datatype].dtype).reshape(shape)
    if datatype == BF16:
        # An array whatever its rank: NumPy makes a scalar of what has no dimensions.
        return np.asarray(words.astype(np.uint32) << 16).view(np.float32)
    return words


def golden_request(
    name: str,
    inputs: Sequence[GoldenTensor],
    expected: Sequence[GoldenTensor],
    settings: Mapping[str, object],
) -> GoldenRequest:
    """Return the request that a file holds, checked. Raise GoldenFileError."""
    if not expected:
        raise GoldenFileError("it expects nothing: no output is named")
    numbers = {key: _number(key, value) for key, value in settings.items()}
    absolute = numbers.get("tolerance", DEFAULT_TOLERANCE)
    return GoldenRequest(
        name,
        tuple(inputs),
        tuple(expected),
        absolute=absolute,
        relative=numbers.get("relative_tolerance", absolute),
        latency_budget_ms=numbers.get("latency_budget_ms"),
    )


def settings_of(request: GoldenRequest) -> dict[str, float]:
    """Return what a file must say of tolerances and time."""
    settings = {"tolerance": request.absolute}
    if request.relative != request.absolute:
        settings["relative_tolerance"] = request.relative
    if request.latency_budget_ms is not None:
        settings["latency_budget_ms"] = request.latency_budget_ms
    return settings


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GoldenFileError(f"'{key}' must be a number")
    if not (math.isfinite(value) and value >= 0):
        raise GoldenFileError(f"'{key}' must be a number, 0 or more, not {value}")
    return float(value)

"""Turn an output into its best classes, as the classification extension wants them.

Each batch item's largest values, largest first, as texts "value:index" or
"value:index:label". Called while the answer is written, on the thread that ran the model.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from interlock.domain.bytes_tensor import encode_elements
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.tensor import OutputTensor
from interlock.serving.served_model import ServedModel

MAX_ELEMENTS: Final = 1_000_000

_UNSUPPORTED: Final = frozenset({"FP16", "BF16", "BOOL", BYTES})


def classify(model: ServedModel, output: OutputTensor, count: int) -> OutputTensor:
    """Return the `count` best classes of an output, which has its client's shape.

    Raise InvalidRequestError for a type that has no order here, and for too many elements.
    """
    if output.datatype in _UNSUPPORTED:
        raise InvalidRequestError(
            f"class result not available for output due to unsupported type '{output.datatype}'"
        )
    batched = model.config.max_batch_size > 0 and len(output.shape) > 0
    rows = output.shape[0] if batched else 1  # pyright: ignore[reportGeneralTypeIssues]
    values = np.frombuffer(output.data, dtype=BY_WIRE[output.datatype].dtype)
    columns = int(np.prod(output.shape[1:] if batched else output.shape, dtype=np.int64))
    if columns > MAX_ELEMENTS:
        raise InvalidRequestError(
            f"classification output tensor too large: '{output.name}' has {columns} elements "
            f"for each batch item, at most {MAX_ELEMENTS} are allowed"
        )
    if values.size != rows * columns:
        raise InternalError(
            f"output '{output.name}' of model '{model.config.name}' has {values.size} elements, "
            f"and its shape says {rows * columns}"
        )
    count = min(count, columns)
    labels = model.labels.get(output.name, ())
    elements = [
        element for row in values.reshape(rows, columns) for element in _best(row, count, labels)
    ]
    shape = (rows, count) if batched else (count,)
    return OutputTensor(output.name, BYTES, shape, encode_elements(elements), output.parameters)


def _best(row: NDArray[np.generic], count: int, labels: Sequence[str]) -> list[bytes]:
    indices = _largest(row, count)
    return [
        _class(value, index, labels)
        for value, index in zip(row[indices].tolist(), indices.tolist(), strict=True)
    ]


def _largest(row: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Return the indices of the `count` largest values: equal ones in their order, NaN last."""
    # Turned around so that a stable sort does that. ~ turns integers of both kinds, and nothing
    # overflows as it would with -.
    turned = ~row if row.dtype.kind in "iu" else -row
    candidates = np.arange(row.size)
    if count < row.size // 8:
        limit = np.partition(turned, count)[count]
        if limit == limit:  # noqa: PLR0124 not NaN, which is not <= itself
            candidates = np.flatnonzero(turned <= limit)
    return candidates[np.argsort(turned[candidates], kind="stable")[:count]]


def _class(value: float, index: int, labels: Sequence[str]) -> bytes:
    label = labels[index] if index < len(labels) else ""
    return f"{_number(value)}:{index}{':' if label else ''}{label}".encode(errors="replace")


def _number(value: float) -> str:
    """Return what C++ prints: "%f" for floating point, and the sign of NaN too."""
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "-nan" if math.copysign(1.0, value) < 0 else "nan"
    return f"{value:f}"

"""Tensors between the wire's raw form and ONNX Runtime, without a copy wherever that is possible.

NumPy arrays are laid over the bytes of the message, at whatever address those begin; the
runtime reads them in place. An array that the runtime returns is handed on as a view, which
keeps the runtime's memory alive.
"""

import re
from collections.abc import Callable
from math import prod
from typing import Final

import numpy as np
import onnxruntime as ort

from interlock.domain.bytes_tensor import decode_elements, encode_elements
from interlock.domain.config import TensorFacts
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import Buffer, InputTensor

BF16: Final = "BF16"
# The number of BFLOAT16 in ONNX's TensorProto.DataType.
ONNX_BFLOAT16: Final = 16

_TENSOR: Final = re.compile(r"(?:optional\()?tensor\((\w+)\)+")
_WIRE: Final = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": BF16,
    "float": "FP32",
    "double": "FP64",
    "string": BYTES,
}

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
Reader = Callable[[InputTensor], Array]


def wire_datatype(onnx_type: str) -> str | None:
    """Return the wire name for a type such as `tensor(float)` or `optional(tensor(int64))`.

    `None` for what the protocol cannot carry.
    """
    match = _TENSOR.fullmatch(onnx_type)
    return _WIRE.get(match[1]) if match is not None else None


def facts_of(node: ort.NodeArg) -> TensorFacts | None:
    """Return what the graph says of one of its tensors; `None` if the protocol cannot carry it."""
    datatype = wire_datatype(node.type)
    if datatype is None:
        return None
    dims = tuple(dim if isinstance(dim, int) else -1 for dim in node.shape)
    return TensorFacts(node.name, datatype, dims)


def reader_of(facts: TensorFacts) -> Reader:
    """Return the way from the wire to an array for one input; BF16 becomes 16-bit words.

    For a scalar of the graph the wire has one element, the least that it can have.
    """
    read = _reader_of(facts.datatype)
    if facts.dims:
        return read
    return lambda tensor: read(tensor).reshape(())


def _reader_of(datatype: str) -> Reader:
    if datatype == BYTES:
        return read_strings
    dtype = BY_WIRE[datatype].dtype

    def read(tensor: InputTensor) -> Array:
        return np.ndarray(tensor.shape, dtype, tensor.data)

    return read


def read_strings(tensor: InputTensor) -> Array:
    """Return BYTES as `str`, the only strings that the runtime takes.

    `bytes` it would turn into their Python spelling. Raise InvalidRequestError for an
    element that is not UTF-8.
    """
    elements = decode_elements(tensor.data, count=prod(tensor.shape))
    try:
        texts = [element.decode() for element in elements]
    except UnicodeDecodeError as error:
        # The first of its kind: those before it were decoded.
        index = elements.index(error.object)
        raise InvalidRequestError(
            f"element {index} of input '{tensor.name}' is not valid UTF-8, which ONNX Runtime "
            f"requires of strings: {error.reason} at byte {error.start} of the element"
        ) from error
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(tensor.shape)


def raw_of(array: Array) -> Buffer:
    """Return an output in its raw form: a view, except of strings."""
    if array.dtype == object:
        return encode_elements([text.encode() for text in array.ravel().tolist()])
    # A view with a zero in its shape cannot be cast.
    return array.data.cast("B") if array.size else b""


def value_of(array: Array, datatype: str) -> ort.OrtValue:
    """Return the runtime's value over an array; the value keeps the array."""
    if datatype == BF16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, ONNX_BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def array_of(value: ort.OrtValue) -> Array:
    """Return an array over the runtime's value; BF16, which NumPy lacks, as 16-bit words."""
    if value.element_type() != ONNX_BFLOAT16:
        array: Array = value.numpy()
        return array
    if 0 in value.shape():
        return np.empty(value.shape(), dtype=BY_WIRE[BF16].dtype)
    return np.asarray(_Words(value))


class _Words:
    """The memory of a BF16 value, as NumPy's array interface describes it; keeps the value."""

    def __init__(self, value: ort.OrtValue) -> None:
        self._value = value

    @property
    def __array_interface__(self) -> dict[str, object]:
        return {
            "version": 3,
            "shape": tuple(self._value.shape()),
            "typestr": BY_WIRE[BF16].dtype.str,
            "data": (self._value.data_ptr(), False),
        }

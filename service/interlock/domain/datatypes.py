"""The element types of tensors: wire name, configuration name, size in bytes, NumPy type.

BF16 has no NumPy type; it travels as 16-bit words.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np


@dataclass(frozen=True, slots=True)
class Datatype:
    """One element type.

    `size_bytes` is 0 for BYTES, whose elements vary in length. `dtype` is the NumPy type
    of the little-endian raw form (`uint16` words for BF16, `object` for BYTES).
    `contents_field` is the field of InferTensorContents that carries it, "" where only
    the raw form exists.
    """

    wire: str
    config: str
    size_bytes: int
    dtype: np.dtype[np.generic]
    contents_field: str


def _fixed(wire: str, size_bytes: int, dtype: str, contents_field: str) -> Datatype:
    return Datatype(wire, f"TYPE_{wire}", size_bytes, np.dtype(dtype), contents_field)


_ALL: Final = (
    _fixed("BOOL", 1, "?", "bool_contents"),
    _fixed("UINT8", 1, "<u1", "uint_contents"),
    _fixed("UINT16", 2, "<u2", "uint_contents"),
    _fixed("UINT32", 4, "<u4", "uint_contents"),
    _fixed("UINT64", 8, "<u8", "uint64_contents"),
    _fixed("INT8", 1, "<i1", "int_contents"),
    _fixed("INT16", 2, "<i2", "int_contents"),
    _fixed("INT32", 4, "<i4", "int_contents"),
    _fixed("INT64", 8, "<i8", "int64_contents"),
    _fixed("FP16", 2, "<f2", ""),
    _fixed("BF16", 2, "<u2", ""),
    _fixed("FP32", 4, "<f4", "fp32_contents"),
    _fixed("FP64", 8, "<f8", "fp64_contents"),
    Datatype("BYTES", "TYPE_STRING", 0, np.dtype(object), "bytes_contents"),
)

BY_WIRE: Final[dict[str, Datatype]] = {datatype.wire: datatype for datatype in _ALL}
BY_CONFIG: Final[dict[str, Datatype]] = {datatype.config: datatype for datatype in _ALL}
BYTES: Final = "BYTES"

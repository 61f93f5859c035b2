"""Make a tensor of what was typed: `NAME=1,2,3`, `NAME[1,64]=@file`, `NAME=@image.npy`.

A file that ends in .npy holds array and shape; any other file is the raw form of the
tensor or, for BYTES, its one element. Everything else is a list of elements with commas
between them. Datatype, and shape where it is not written, are those of the model.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from interlock.client.models import TensorMetadata
from interlock.domain.datatypes import BY_WIRE, BYTES, Datatype

_SPEC: Final = re.compile(r"(?P<name>[^=\[\]]+)(\[(?P<shape>[\d,]*)\])?=(?P<value>.*)", re.DOTALL)
_ANY: Final = -1
_BF16: Final = "BF16"
_BF16_HALF_BITS: Final = 0x7FFF  # what rounds the lower half away, but for the tie
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})

Array = npt.NDArray[np.generic]


class TensorTextError(ValueError):
    """What was typed cannot be the tensor that the model takes."""


@dataclass(frozen=True, slots=True)
class TensorText:
    """One input as it was typed."""

    name: str
    shape: tuple[int, ...] | None
    value: str


@dataclass(frozen=True, slots=True)
class RawTensor:
    """One input as it is sent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


def parse(text: str) -> TensorText:
    """Take apart `NAME=VALUE` or `NAME[SHAPE]=VALUE`."""
    match = _SPEC.fullmatch(text)
    if match is None:
        raise TensorTextError(
            f"'{text}' is no input: write NAME=1,2,3, NAME=@file.npy or NAME[1,64]=@file"
        )
    shape = match["shape"]
    sizes = None if shape is None else tuple(int(size) for size in shape.split(",") if size)
    return TensorText(match["name"], sizes, match["value"])


def _written(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def shape_for(tensor: TensorMetadata, count: int) -> tuple[int, ...]:
    """Return the shape of `count` elements: one open size is filled, a batch before it is 1."""
    shape = list(tensor.shape)
    open_sizes = [place for place, size in enumerate(shape) if size == _ANY]
    if open_sizes[:1] == [0] and len(open_sizes) == 2:  # noqa: PLR2004 - the batch and one more
        shape[open_sizes.pop(0)] = 1
    fixed = math.prod(size for size in shape if size != _ANY)
    if len(open_sizes) > 1:
        raise TensorTextError(
            f"the shape of '{tensor.name}' is {_written(tensor.shape)}:"
            f" say which one it is, as in {tensor.name}[1,2,3]=..."
        )
    if open_sizes and fixed and count % fixed == 0:
        shape[open_sizes[0]] = count // fixed
    elif open_sizes or count != fixed:
        raise TensorTextError(
            f"'{tensor.name}' of shape {_written(tensor.shape)} cannot hold {count} elements"
        )
    return tuple(shape)


def _fits(shape: Sequence[int], declared: Sequence[int]) -> bool:
    return len(shape) == len(declared) and all(
        size in {_ANY, given} for given, size in zip(shape, declared, strict=True)
    )


def _shape_of_array(tensor: TensorMetadata, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an array, with the batch that it may lack; the server judges the rest."""
    is_row = tensor.shape[:1] == (_ANY,) and _fits(shape, tensor.shape[1:])
    return (1, *shape) if is_row and not _fits(shape, tensor.shape) else shape


def _bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round to the upper half of each float, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + _BF16_HALF_BITS + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _raw_bytes(elements: Sequence[bytes]) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def _raw(tensor: TensorMetadata, array: Array) -> bytes:
    """Return the raw form of an array, converted where nothing but precision is lost."""
    datatype = _datatype(tensor)
    if datatype.wire == BYTES:
        return _raw_bytes(
            [value if isinstance(value, bytes) else str(value).encode() for value in array.flat]
        )
    dtype = np.dtype("<f4") if datatype.wire == _BF16 else datatype.dtype
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise TensorTextError(f"'{tensor.name}' takes {datatype.wire}, the file has {array.dtype}")
    converted = np.ascontiguousarray(array, dtype)
    if datatype.wire == _BF16:
        return _bf16(converted.astype(np.float32)).tobytes()
    return converted.tobytes()


def _datatype(tensor: TensorMetadata) -> Datatype:
    datatype = BY_WIRE.get(tensor.datatype)
    if datatype is None:
        raise TensorTextError(f"'{tensor.name}' has the unknown datatype {tensor.datatype}")
    return datatype


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise ValueError(f"'{text}' is neither true nor false")


def _strings(text: TensorText) -> Array:
    """Return elements of BYTES; where the shape asks for one, commas are part of it."""
    is_one = text.shape is not None and math.prod(text.shape) == 1
    words = [text.value] if is_one else text.value.split(",")
    return np.array([word.encode() for word in words], dtype=object)


def _literal(text: TensorText, tensor: TensorMetadata) -> Array:
    datatype = _datatype(tensor)
    if datatype.wire == BYTES:
        return _strings(text)
    dtype = np.dtype("<f4") if datatype.wire == _BF16 else datatype.dtype
    converters: dict[str, Callable[[str], object]] = {"b": _boolean, "f": float}
    convert = converters.get(dtype.kind, int)
    try:
        elements = [convert(word) for word in text.value.split(",") if word.strip()]
        return np.array(elements, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise TensorTextError(f"'{tensor.name}' takes {datatype.wire}: {error}") from None


def _load(path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise TensorTextError(f"{path} is no array of plain values: {error}") from None
    return array


def _from_file(text: TensorText, tensor: TensorMetadata, path: Path) -> RawTensor:
    try:
        if path.suffix == ".npy":
            array = _load(path)
            shape = _shape_of_array(tensor, array.shape) if text.shape is None else text.shape
            return RawTensor(text.name, tensor.datatype, shape, _raw(tensor, array))
        data = path.read_bytes()
    except OSError as error:
        raise TensorTextError(f"cannot read {path}: {error.strerror}") from None
    size_bytes = _datatype(tensor).size_bytes
    if size_bytes == 0:
        data, count = _raw_bytes([data]), 1
    elif len(data) % size_bytes:
        raise TensorTextError(
            f"{path} has {len(data)} bytes, not a multiple of the {size_bytes} of {tensor.datatype}"
        )
    else:
        count = len(data) // size_bytes
    shape = shape_for(tensor, count) if text.shape is None else text.shape
    return RawTensor(text.name, tensor.datatype, shape, data)


def build(text: TensorText, tensor: TensorMetadata) -> RawTensor:
    """Make what is sent of what was typed; raise TensorTextError where that cannot be."""
    if text.value.startswith("@"):
        return _from_file(text, tensor, Path(text.value[1:]))
    array = _literal(text, tensor)
    shape = shape_for(tensor, array.size) if text.shape is None else text.shape
    return RawTensor(text.name, tensor.datatype, shape, _raw(tensor, array))

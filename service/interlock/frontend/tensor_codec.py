"""Turn the typed contents of an input into its raw form.

Numbers come by the million, so runs of them are handled at once; memory stays bounded, and
a message that changes its mind at every field costs no more than its length.
"""

from struct import Struct
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from interlock.domain.bytes_tensor import LENGTH_BYTES
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import Buffer, InputTensor
from interlock.frontend.wire_format import (
    FIXED32,
    FIXED64,
    LENGTH_DELIMITED,
    MORE,
    VARINT,
    MalformedMessageError,
    ends_inside_field,
    malformed,
    read_field,
    read_varint,
)
from interlock.frontend.wire_numbers import (
    Numbers,
    packed_varints,
    tagged_rows,
    tagged_varints,
    windows,
)

# Numbers of the fields, and the datatype that each implies.
_BOOL: Final = 1
_INT: Final = 2
_UINT: Final = 4
_FP32: Final = 6
_FP64: Final = 7
_BYTES: Final = 8
_IMPLIED: Final = {
    _BOOL: "BOOL",
    _INT: "INT32",
    3: "INT64",
    _UINT: "UINT32",
    5: "UINT64",
    _FP32: "FP32",
    _FP64: "FP64",
    _BYTES: BYTES,
}
# The datatypes that share a field with a wider one.
_NARROW: Final = {"INT8": _INT, "INT16": _INT, "UINT8": _UINT, "UINT16": _UINT}
_FIXED_BYTES: Final = {_FP32: 4, _FP64: 8}
_WIRE_TYPES: Final = {
    number: {_FP32: FIXED32, _FP64: FIXED64, _BYTES: LENGTH_DELIMITED}.get(number, VARINT)
    for number in _IMPLIED
}

_DEPTH: Final = 2  # Of InferTensorContents inside the request.
_ELEMENT_TAG: Final = _BYTES << 3 | LENGTH_DELIMITED
# Fields of one kind that are read one by one before a run is suspected.
_FEW: Final = 16
_MANY: Final = 4096
_FIRST_BLOCK: Final = 256
_LARGEST_BLOCK: Final = 0x100000

_length: Final = Struct("<I").pack
_SHORT: Final = tuple(_length(size) for size in range(MORE))

_Piece = memoryview | bytes | NDArray[Any]


def decode_contents(tensor: InputTensor, model: str) -> Buffer:
    """Return the raw form of `tensor.contents`; integers lose the bits that their type has not.

    Raise InvalidRequestError where they are not of the input's datatype, and
    MalformedMessageError where they are no message.
    """
    contents = _Contents(tensor.datatype)
    for part in tensor.contents or ():
        try:
            contents.read(part)
        except IndexError:
            raise _inside(tensor, ends_inside_field(len(part))) from None
        except MalformedMessageError as error:
            raise _inside(tensor, error) from None
    if not contents.filled:
        return b""
    _check_type(tensor, model, sorted(contents.filled))
    (pieces,) = contents.filled.values()
    return pieces.joined()


def _inside(tensor: InputTensor, error: MalformedMessageError) -> MalformedMessageError:
    return MalformedMessageError(f"{error} of the contents of input '{tensor.name}'")


def _check_type(tensor: InputTensor, model: str, filled: list[int]) -> None:
    first = filled[0]
    declared = tensor.datatype if tensor.datatype in BY_WIRE else "<invalid>"
    implied = declared if _NARROW.get(declared) == first else _IMPLIED[first]
    problem = (
        f"unexpected explicit tensor data for input tensor '{tensor.name}' for model '{model}'"
    )
    if implied != declared:
        raise InvalidRequestError(f"{problem} of type '{implied}', expected datatype '{declared}'")
    if len(filled) > 1:
        raise InvalidRequestError(f"{problem}, binary data was already supplied.")


class _Pieces:
    """The raw form of one field as it grows. Small pieces are joined before they become many."""

    def __init__(self) -> None:
        self._joined: list[bytes] = []
        self._loose: list[_Piece] = []

    def add(self, piece: _Piece) -> None:
        self._loose.append(piece)
        if len(self._loose) == _MANY:
            self._joined.append(_join(self._loose))
            self._loose.clear()

    def joined(self) -> Buffer:
        """Return all of it, without a copy where it is one view."""
        if not self._joined and len(self._loose) == 1 and isinstance(self._loose[0], memoryview):
            return self._loose[0]
        return _join([*self._joined, *self._loose])


def _join(pieces: list[_Piece]) -> bytes:
    return b"".join(cast("list[bytes]", pieces))  # It takes whatever has a buffer.


class _Contents:
    """One InferTensorContents, read part by part; `filled` has the raw form of its fields."""

    def __init__(self, datatype: str) -> None:
        self.filled: dict[int, _Pieces] = {}
        self._dtypes = {
            number: BY_WIRE[datatype if _NARROW.get(datatype) == number else implied].dtype
            for number, implied in _IMPLIED.items()
        }

    def read(self, part: memoryview) -> None:
        position = streak = last = 0
        while position < len(part):
            tag, start, position = read_field(part, position, len(part), depth=_DEPTH)
            number, wire_type = tag >> 3, tag & 7
            if wire_type != _WIRE_TYPES.get(number):
                if wire_type == LENGTH_DELIMITED and number in _IMPLIED:
                    self._packed(number, part, start, position)
                continue
            self._one(number, part, start, position)
            streak = streak + 1 if tag == last else 1
            last = tag
            if streak == _FEW:
                position = self._run(tag, part, position)
                streak = 0

    def _add(self, number: int, piece: _Piece) -> None:
        if number not in self.filled:
            self.filled[number] = _Pieces()
        self.filled[number].add(piece)

    def _add_numbers(self, number: int, values: Numbers) -> None:
        self._add(number, values != 0 if number == _BOOL else values.astype(self._dtypes[number]))

    def _packed(self, number: int, part: memoryview, start: int, stop: int) -> None:
        if number not in _FIXED_BYTES:
            for values in packed_varints(part[start:stop]):
                self._add_numbers(number, values)
        elif (stop - start) % _FIXED_BYTES[number]:
            raise malformed("packed numbers with a part of one at the end", start)
        elif stop > start:
            self._add(number, part[start:stop])

    def _one(self, number: int, part: memoryview, start: int, stop: int) -> None:
        if number == _BYTES:
            self._add(number, _length(stop - start))
            self._add(number, part[start:stop])
        elif number in _FIXED_BYTES:
            self._add(number, part[start:stop])
        else:
            value = read_varint(part, start)[0]
            if number == _BOOL:
                value = value != 0
            size = self._dtypes[number].itemsize
            self._add(number, value.to_bytes(8, "little")[:size])

    def _run(self, tag: int, part: memoryview, position: int) -> int:
        """Take the fields that follow with the same tag; return where the next one begins."""
        number = tag >> 3
        if number == _BYTES:
            return self._elements(part, position)
        for window in windows():
            if position == len(part) or part[position] != tag:
                break
            before = position
            if number in _FIXED_BYTES:
                width = 1 + _FIXED_BYTES[number]
                rows, position = tagged_rows(part, position, width=width, fixed=1, window=window)
                self._add(number, rows[:, 1:].tobytes())
            else:
                values, position = tagged_varints(part, position, window=window)
                self._add_numbers(number, values)
            if position == before:
                break
        return position

    def _elements(self, part: memoryview, position: int) -> int:
        block = _FIRST_BLOCK
        while position < len(part) and part[position] == _ELEMENT_TAG:
            before = position
            position = self._elements_of_one_length(part, position)
            if position - before >= _FIRST_BLOCK:
                block = _FIRST_BLOCK
                continue
            pieces, size = _elements_in(bytes(part[position : position + block]))
            self._add(_BYTES, b"".join(pieces))
            position += size
            block = min(4 * block, _LARGEST_BLOCK)
            if position == before:  # one that is longer than the block
                break
        return position

    def _elements_of_one_length(self, part: memoryview, position: int) -> int:
        size = part[position + 1]
        for window in windows():
            if size >= MORE:
                break
            rows, stop = tagged_rows(part, position, width=2 + size, fixed=2, window=window)
            raw = np.empty((len(rows), LENGTH_BYTES + size), np.uint8)
            raw[:, :LENGTH_BYTES] = np.frombuffer(_SHORT[size], np.uint8)
            raw[:, LENGTH_BYTES:] = rows[:, 2:]
            self._add(_BYTES, raw)
            position = stop
            if position == len(part) or part[position] != _ELEMENT_TAG or not len(rows):
                break
            if part[position + 1] != size:
                break
        return position


def _elements_in(block: bytes) -> tuple[list[bytes], int]:
    """Return the raw form of the elements that `block` begins with, and their size in it."""
    pieces: list[bytes] = []
    position = 0
    try:
        while block[position] == _ELEMENT_TAG:
            size = block[position + 1]
            start = position + 2
            if size >= MORE:
                size, start = read_varint(block, position + 1)
            stop = start + size
            if stop > len(block):
                break
            pieces += (_SHORT[size] if size < MORE else _length(size), block[start:stop])
            position = stop
    except IndexError:
        pass  # The block ends between two elements, or inside a length.
    return pieces, position

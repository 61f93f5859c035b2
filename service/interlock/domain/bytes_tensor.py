"""The raw form of BYTES tensors: each element behind its length, four bytes, little-endian.

Backends turn it into elements and back; admission counts the elements. Elements of one
length, the usual case in large tensors, are handled all at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import Buffer

LENGTH_BYTES: Final = 4

_length: Final = Struct("<I")
_length_at: Final = _length.unpack_from
# Fewer are written faster one by one than as an array.
_FEW: Final = 32
_SHORT: Final = tuple(_length.pack(size) for size in range(256))


@dataclass(slots=True)
class ElementCount:
    """How far counting came.

    `count` includes an element that the buffer ends in: of its `wanted_bytes` there are
    `available_bytes`. `dangling_bytes` is what is left of a length that is cut off.
    """

    count: int
    wanted_bytes: int = 0
    available_bytes: int = 0
    dangling_bytes: int = 0


def count_elements(data: Buffer, *, limit: int) -> ElementCount:
    """Count the elements in `data`; stop behind the first one that is more than `limit`."""
    if limit > 0 and _uniform(data, limit) is not None:
        return ElementCount(limit)
    position = count = length = 0
    end = len(data)
    last_length = end - LENGTH_BYTES
    while position <= last_length and count <= limit:
        (length,) = _length_at(data, position)
        position += LENGTH_BYTES + length
        count += 1
    if position > end:
        return ElementCount(count, length, length - (position - end))
    if position > last_length and count <= limit:
        return ElementCount(count, dangling_bytes=end - position)
    return ElementCount(count)


def encode_elements(elements: Sequence[bytes]) -> bytes:
    """Return the raw form of the elements."""
    sizes = list(map(len, elements))
    if len(sizes) > _FEW and sizes.count(sizes[0]) == len(sizes):
        rows = np.empty((len(sizes), LENGTH_BYTES + sizes[0]), np.uint8)
        rows[:, :LENGTH_BYTES] = np.frombuffer(_length.pack(sizes[0]), np.uint8)
        rows[:, LENGTH_BYTES:] = np.frombuffer(b"".join(elements), np.uint8).reshape(len(sizes), -1)
        return rows.tobytes()
    pieces = [b""] * (2 * len(sizes))
    short = len(_SHORT)
    pieces[::2] = [_SHORT[size] if size < short else _length.pack(size) for size in sizes]
    pieces[1::2] = elements
    return b"".join(pieces)


def decode_elements(data: Buffer, *, count: int) -> list[bytes]:
    """Return the elements of a raw tensor that holds `count` of them.

    Raise InvalidRequestError where it does not.
    """
    uniform = _uniform(data, count) if count else None
    if uniform is not None:
        # Void, since a string type would drop the zero bytes at the end of an element.
        size = uniform.shape[1] - LENGTH_BYTES
        if size == 0:
            return [b""] * count
        return _voids(uniform[:, LENGTH_BYTES:], size)
    elements: list[bytes] = []
    position = 0
    end = len(data)
    while position < end and end - position >= LENGTH_BYTES:
        start = position + LENGTH_BYTES
        position = start + _length_at(data, position)[0]
        elements.append(bytes(data[start:position]))
    if position != end or len(elements) != count:
        raise InvalidRequestError(f"a BYTES tensor does not hold {count} complete elements")
    return elements


def _voids(columns: NDArray[np.uint8], size: int) -> list[bytes]:
    # A copy: the type can only be changed where the last axis is contiguous.
    found: list[bytes] = np.ascontiguousarray(columns).view(f"V{size}")[:, 0].tolist()
    return found


def _uniform(data: Buffer, count: int) -> NDArray[np.uint8] | None:
    """Return the tensor as a row for each element, if all of them have one length."""
    width, rest = divmod(len(data), count)
    if rest or width < LENGTH_BYTES:
        return None
    if _length_at(data, 0)[0] != width - LENGTH_BYTES:
        return None
    rows = np.frombuffer(data, dtype=np.uint8).reshape(count, width)
    if count > 1 and not (rows[1:, :LENGTH_BYTES] == rows[0, :LENGTH_BYTES]).all():
        return None
    return rows

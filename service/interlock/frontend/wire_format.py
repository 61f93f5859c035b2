"""Read protobuf's wire format: varints, tags, and where a field begins and ends.

Positions count from the start of `data`, and a message inside it is a range. What these
functions refuse, and what they let pass, is what protobuf's own reader (upb) does. An
IndexError means that `data` ended inside a field; `ends_inside_field` makes the error of it.
"""

from collections.abc import Iterator
from typing import Final

from interlock.domain.errors import InvalidRequestError

Data = bytes | memoryview

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
GROUP: Final = 3
GROUP_END: Final = 4
FIXED32: Final = 5

# Field number 1, wire type 0.
FIRST_TAG: Final = 8
# The bit of a byte that says that the number goes on.
MORE: Final = 0x80

# How deep messages and groups may be nested.
DEPTH: Final = 100

_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_SIGN64: Final = 0x8000_0000_0000_0000
_MAX_TAG: Final = 0xFFFF_FFFF
_MAX_TAG_BYTES: Final = 5
_MAX_SIZE: Final = 0x7FFF_FFFF
_FIXED_SIZE: Final = {FIXED64: 8, FIXED32: 4}


class MalformedMessageError(InvalidRequestError):
    """The bytes of a message are not a ModelInferRequest."""


def malformed(what: str, position: int) -> MalformedMessageError:
    return MalformedMessageError(
        f"could not parse the ModelInferRequest: {what} at byte {position}"
    )


def ends_inside_field(position: int) -> MalformedMessageError:
    return malformed("the message ends inside a field", position)


def read_varint(data: Data, position: int) -> tuple[int, int]:
    """Return the number modulo 2**64, and where it ends."""
    value = data[position]
    start = position
    position += 1
    if value < MORE:
        return value, position
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < MORE:
            return value & _MASK64, position
    raise malformed("a number longer than 10 bytes", start)


def signed(value: int) -> int:
    """Return the int64 with the bits of an unsigned number."""
    return (value ^ _SIGN64) - _SIGN64


def read_size(data: Data, position: int) -> tuple[int, int]:
    """Return the length of what follows, and where it begins."""
    size, start = read_varint(data, position)
    if size > _MAX_SIZE:
        raise malformed("a length out of range", position)
    return size, start


def read_tag(data: Data, position: int) -> tuple[int, int]:
    """Return field number and wire type as one number, and where it ends."""
    tag, stop = read_varint(data, position)
    if tag > _MAX_TAG or stop - position > _MAX_TAG_BYTES:
        raise malformed("a field number out of range", position)
    if tag < FIRST_TAG:
        raise malformed("field number 0", position)
    return tag, stop


def read_field(data: Data, position: int, end: int, *, depth: int) -> tuple[int, int, int]:
    """Return the tag of the field at `position`, where its value begins and where it ends.

    `depth` is that of the message whose field it is, 0 for the outermost. The value of a
    group has its end tag with it.
    """
    tag, start = read_tag(data, position)
    wire_type = tag & 7
    if wire_type == LENGTH_DELIMITED:
        size, start = read_size(data, start)
        stop = start + size
    elif wire_type == VARINT:
        _, stop = read_varint(data, start)
    elif wire_type == GROUP:
        stop = _skip_group(data, start, end, tag, depth=depth)
    elif wire_type in _FIXED_SIZE:
        stop = start + _FIXED_SIZE[wire_type]
    else:
        raise malformed(_FAULTS[wire_type], position)
    if stop > end:
        raise ends_inside_field(end)
    return tag, start, stop


_FAULTS: Final = {
    GROUP_END: "the end of a group that was not begun",
    6: "wire type 6",
    7: "wire type 7",
}


def _skip_group(data: Data, position: int, end: int, tag: int, *, depth: int) -> int:
    """Return where a group ends that begins at `position`, behind its tag."""
    expected = [tag + 1]  # the end tags still to come, outermost first
    while expected:
        if depth + len(expected) > DEPTH:
            raise malformed(f"more than {DEPTH} messages inside each other", position)
        tag, start = read_tag(data, position)
        if tag == expected[-1]:
            expected.pop()
            position = start
        elif tag & 7 == GROUP:
            expected.append(tag + 1)
            position = start
        else:
            _, _, position = read_field(data, position, end, depth=depth)
    return position


def fields(data: Data, position: int, end: int, *, depth: int) -> Iterator[tuple[int, int, int]]:
    """Yield tag, start and stop of each field between `position` and `end`."""
    while position < end:
        tag, start, position = read_field(data, position, end, depth=depth)
        yield tag, start, position

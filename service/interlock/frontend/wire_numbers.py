"""Read runs of numbers in protobuf's wire format all at once, with NumPy.

A run is taken in windows: what a call looks at is bounded, whatever the message's length.
Where a run is broken, or wrong, the reader stops; `wire_format` then says what is wrong.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from interlock.frontend.wire_format import MORE, malformed

Numbers = NDArray[Any]

_LARGEST_WINDOW: Final = 0x40000
_MAX_VARINT_BYTES: Final = 10


def packed_varints(data: memoryview) -> Iterator[Numbers]:
    """Yield the numbers of a packed field, modulo 2**64, in as many arrays as it takes."""
    position = 0
    while position < len(data):
        window = np.frombuffer(data[position : position + _LARGEST_WINDOW], np.uint8)
        stops = _stops(window)
        if not stops.size or _sizes(stops).max() > _MAX_VARINT_BYTES:
            raise malformed("packed numbers with one that does not end", position)
        yield _values(window, stops)
        position += int(stops[-1])


def tagged_varints(data: memoryview, position: int, *, window: int) -> tuple[Numbers, int]:
    """Return the numbers that follow each other behind the tag at `position`, and their end."""
    seen = np.frombuffer(data[position : position + window], np.uint8)
    stops = _stops(seen)
    sizes = _sizes(stops)
    # A number that is too long ends the run. The first, third, ... number is a tag.
    too_long = np.flatnonzero(sizes > _MAX_VARINT_BYTES)
    whole = int(too_long[0]) if too_long.size else stops.size
    stops = stops[: whole // 2 * 2]
    starts = stops - sizes[: stops.size]
    same = (seen[starts[::2]] == data[position]) & (sizes[: stops.size : 2] == 1)
    stops = stops[: 2 * _leading(same)]
    if not stops.size:
        return np.empty(0, np.uint64), position
    return _values(seen, stops)[1::2], position + int(stops[-1])


def tagged_rows(
    data: memoryview, position: int, *, width: int, fixed: int, window: int
) -> tuple[NDArray[np.uint8], int]:
    """Return the records of `width` bytes that follow each other, and where they end.

    They begin with the same `fixed` bytes as the one at `position`.
    """
    count = min(window, len(data) - position) // width
    rows = np.frombuffer(data[position : position + count * width], np.uint8)
    rows = rows.reshape(count, width)
    if count:
        rows = rows[: _leading((rows[:, :fixed] == rows[0, :fixed]).all(axis=1))]
    return rows, position + rows.size


def windows() -> Iterator[int]:
    """Yield the windows to try: a short run should cost little, and a long one few calls."""
    window = 1024
    while True:
        yield window
        window = min(4 * window, _LARGEST_WINDOW)


def _leading(flags: NDArray[np.bool_]) -> int:
    """How many are true before the first that is not."""
    return int(flags.size if flags.all() else flags.argmin())


def _stops(window: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return where each number ends, the last one that is whole included."""
    return np.flatnonzero(window < MORE) + 1


def _sizes(stops: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.diff(stops, prepend=0)


def _values(window: NDArray[np.uint8], stops: NDArray[np.intp]) -> Numbers:
    if stops.size == stops[-1]:
        return window[: stops.size]
    sizes = _sizes(stops)
    starts = stops - sizes
    values: Numbers = (window[starts] & 0x7F).astype(np.uint64)
    for place in range(1, int(sizes.max())):
        longer = np.flatnonzero(sizes > place)
        digits = (window[starts[longer] + place] & 0x7F).astype(np.uint64)
        values[longer] |= digits << np.uint64(7 * place)
    return values

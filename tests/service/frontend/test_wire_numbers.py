from itertools import islice

import numpy as np
import pytest
from hypothesis import given, strategies as st

from interlock.frontend import wire_numbers
from interlock.frontend.wire_format import MalformedMessageError
from interlock.frontend.wire_numbers import packed_varints, tagged_rows, tagged_varints, windows
from tests.support.wire_messages import varint

numbers = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))


@given(st.lists(numbers, max_size=50))
def test_reads_packed_numbers(values: list[int]) -> None:
    data = memoryview(b"".join(map(varint, values)))

    assert [int(value) for array in packed_varints(data) for value in array] == values


def test_reads_packed_numbers_longer_than_a_window() -> None:
    window = wire_numbers._LARGEST_WINDOW
    values = np.tile([300, 5], window)
    data = memoryview(b"\x05" + (varint(300) + varint(5)) * window)

    arrays = list(packed_varints(data))
    assert len(arrays) > 2
    assert np.array_equal(np.concatenate(arrays), [5, *values])


@pytest.mark.parametrize(
    "data", [b"\x80", b"\x01\x80", b"\x80" * 11, b"\x01" + b"\x80" * 10 + b"\x00"]
)
def test_refuses_packed_numbers_that_do_not_end(data: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="packed numbers with one that does not end"):
        list(packed_varints(memoryview(data)))


def test_refuses_endless_bytes_of_a_number_in_one_window() -> None:
    endless = memoryview(b"\x80" * 3 * wire_numbers._LARGEST_WINDOW)

    with pytest.raises(MalformedMessageError, match="does not end at byte 0"):
        next(packed_varints(endless))


@given(st.lists(numbers, min_size=1, max_size=30), st.binary(max_size=30), st.integers(1, 400))
def test_reads_numbers_behind_their_tags(values: list[int], rest: bytes, window: int) -> None:
    run = b"".join(b"\x10" + varint(value) for value in values)
    found, stop = tagged_varints(memoryview(b"\xff" + run + b"\x08" + rest), 1, window=window)

    assert values[: len(found)] == found.tolist()
    assert stop == 1 + len(run[: stop - 1])
    if window > len(run):
        assert len(found) == len(values)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        pytest.param(b"\x10\x01\x10", 1, id="a tag without a number"),
        pytest.param(b"\x10\x80", 0, id="a number cut off"),
        pytest.param(b"\x10\x01\x10" + b"\x80" * 10 + b"\x01", 1, id="a number too long"),
        pytest.param(b"\x10\x01\x90\x00\x02", 1, id="a tag longer than it need be"),
        pytest.param(b"\x10\x01\x18\x10", 1, id="another tag"),
    ],
)
def test_stops_where_a_run_is_broken(data: bytes, count: int) -> None:
    found, stop = tagged_varints(memoryview(data), 0, window=100)

    assert len(found) == count
    assert stop == 2 * count


def test_finds_rows_that_begin_alike() -> None:
    data = memoryview(b"\xff" + b"axyaxzbxy" + b"ax")

    rows, stop = tagged_rows(data, 1, width=3, fixed=2, window=100)
    assert rows.tolist() == [list(b"axy"), list(b"axz")]
    assert stop == 7


@pytest.mark.parametrize("window", [2, 3, 5])
def test_takes_no_more_rows_than_fit_into_a_window(window: int) -> None:
    rows, stop = tagged_rows(memoryview(b"aaaaaaaaa"), 0, width=3, fixed=1, window=window)

    assert len(rows) == window // 3
    assert stop == window // 3 * 3


def test_windows_grow_to_a_limit() -> None:
    assert list(islice(windows(), 7)) == [1024, 4096, 16384, 65536, 262144, 262144, 262144]

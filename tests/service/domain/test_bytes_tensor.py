import pytest
from hypothesis import given, strategies as st

from interlock.domain.bytes_tensor import (
    ElementCount,
    count_elements,
    decode_elements,
    encode_elements,
)
from interlock.domain.errors import InvalidRequestError
from tests.support.inference import texts

elements_of_any_length = st.lists(st.binary(max_size=300), max_size=20)
elements_of_one_length = st.integers(0, 5).flatmap(
    lambda size: st.lists(st.binary(min_size=size, max_size=size), max_size=50)
)
elements = st.one_of(elements_of_any_length, elements_of_one_length)


@given(elements)
def test_writes_each_element_behind_its_length(values: list[bytes]) -> None:
    assert encode_elements(values) == texts(*values)


@given(elements)
def test_reads_what_it_wrote(values: list[bytes]) -> None:
    raw = encode_elements(values)

    assert decode_elements(raw, count=len(values)) == values
    assert decode_elements(memoryview(raw), count=len(values)) == values


def test_keeps_zero_bytes_at_the_end_of_elements() -> None:
    assert decode_elements(texts(b"a\0", b"\0\0"), count=2) == [b"a\0", b"\0\0"]


@given(elements)
def test_counts_what_is_there(values: list[bytes]) -> None:
    count = len(values)

    assert count_elements(memoryview(texts(*values)), limit=count) == ElementCount(count)
    assert count_elements(texts(*values), limit=count + 2) == ElementCount(count)


def test_stops_counting_behind_the_first_surplus_element() -> None:
    assert count_elements(texts(b"a", b"b", b"c", b"d"), limit=2).count == 3


def test_tells_what_is_left_of_a_length() -> None:
    assert count_elements(texts(b"a") + b"\1\0\0", limit=5) == ElementCount(1, dangling_bytes=3)
    assert count_elements(b"\1", limit=1) == ElementCount(0, dangling_bytes=1)


def test_looks_at_no_rest_once_there_is_an_element_too_many() -> None:
    assert count_elements(texts(b"a", b"b") + b"\1", limit=1) == ElementCount(2)


def test_tells_what_is_there_of_an_element_that_is_cut_off() -> None:
    cut_off = ElementCount(2, wanted_bytes=10, available_bytes=3)

    assert count_elements(texts(b"a") + b"\x0a\0\0\0abc", limit=2) == cut_off


def test_equal_sizes_do_not_hide_a_wrong_length() -> None:
    raw = texts(b"ab") + b"\2\0\0\1cd" + texts(b"ef")

    assert count_elements(raw, limit=3) == ElementCount(
        2, wanted_bytes=0x01000002, available_bytes=8
    )


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (texts(b"a", b"b"), 1),
        (texts(b"a", b"b"), 3),
        (texts(b"a", b"bc"), 3),
        (texts(b"a", b"bc")[:-1], 2),
        (b"\0\0\0", 1),
        (texts(b"a"), 0),
        (texts(b"abc") + b"\1\0", 1),
    ],
)
def test_refuses_to_read_what_does_not_hold_that_many(raw: bytes, count: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_elements(raw, count=count)

    assert str(caught.value) == f"a BYTES tensor does not hold {count} complete elements"


@given(st.binary(max_size=40), st.integers(0, 6))
def test_reads_exactly_what_it_counts_as_complete(raw: bytes, count: int) -> None:
    complete = count_elements(raw, limit=count) == ElementCount(count)
    try:
        decode_elements(raw, count=count)
    except InvalidRequestError:
        assert not complete
    else:
        assert complete


def test_writes_many_elements_of_one_length() -> None:
    assert encode_elements([b""] * 40) == bytes(160)
    assert encode_elements([b"ab"] * 40) == texts(*[b"ab"] * 40)

import pytest

from interlock.frontend.wire_format import (
    MalformedMessageError,
    fields,
    read_field,
    read_size,
    read_tag,
    read_varint,
    signed,
)
from tests.support.wire_messages import tag, varint


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**63, 2**64 - 1])
@pytest.mark.parametrize("around", [b"", b"\x80\xff"])
def test_reads_a_number_where_it_stands(number: int, around: bytes) -> None:
    encoded = varint(number)

    assert read_varint(around + encoded + around, len(around)) == (
        number,
        len(around) + len(encoded),
    )


def test_reads_numbers_that_are_longer_than_they_need_be() -> None:
    assert read_varint(varint(1, padding=9), 0) == (1, 10)


def test_drops_what_a_number_has_beyond_64_bits() -> None:
    assert read_varint(b"\x81" + b"\x80" * 8 + b"\x7e", 0) == (1, 10)


def test_refuses_numbers_longer_than_10_bytes() -> None:
    with pytest.raises(MalformedMessageError) as caught:
        read_varint(b"\x00" + b"\x80" * 10 + b"\x00", 1)

    assert str(caught.value) == (
        "could not parse the ModelInferRequest: a number longer than 10 bytes at byte 1"
    )


@pytest.mark.parametrize(
    ("number", "value"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1)]
)
def test_gives_the_bits_of_a_number_a_sign(number: int, value: int) -> None:
    assert signed(number) == value


@pytest.mark.parametrize(
    ("message", "what"),
    [
        pytest.param(b"\x00\x00", "field number 0", id="zero"),
        pytest.param(b"\x07\x00", "field number 0", id="zero with a wire type"),
        pytest.param(b"\x80" * 5 + b"\x00", "a field number out of range", id="six bytes"),
        pytest.param(b"\xff\xff\xff\xff\x10", "a field number out of range", id="33 bits"),
    ],
)
def test_refuses_tags_that_name_no_field(message: bytes, what: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        read_tag(message, 0)

    assert str(caught.value) == f"could not parse the ModelInferRequest: {what} at byte 0"


def test_reads_the_highest_field_number() -> None:
    assert read_tag(tag(2**29 - 1, 5), 0) == ((2**29 - 1) << 3 | 5, 5)


def test_refuses_lengths_that_no_message_has() -> None:
    assert read_size(varint(2**31 - 1), 0) == (2**31 - 1, 5)
    with pytest.raises(MalformedMessageError, match="a length out of range at byte 0"):
        read_size(varint(2**31), 0)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        pytest.param(b"\x08\x96\x01\xff", (0x08, 1, 3), id="number"),
        pytest.param(b"\x09" + bytes(8) + b"\xff", (0x09, 1, 9), id="eight bytes"),
        pytest.param(b"\x0d" + bytes(4) + b"\xff", (0x0D, 1, 5), id="four bytes"),
        pytest.param(b"\x0a\x02ab\xff", (0x0A, 2, 4), id="length"),
        pytest.param(b"\x0b\x10\x01\x0c\xff", (0x0B, 1, 4), id="group"),
        pytest.param(b"\x0b\x13\x14\x0c\xff", (0x0B, 1, 4), id="group in a group"),
    ],
)
def test_finds_the_value_of_a_field(message: bytes, field: tuple[int, int, int]) -> None:
    assert read_field(message, 0, len(message), depth=0) == field


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"\x0c", "the end of a group that was not begun"),
        (b"\x0e\x00", "wire type 6"),
        (b"\x0f\x00", "wire type 7"),
        (b"\x0b\x14", "the end of a group that was not begun"),
        (b"\x0a\x03ab", "the message ends inside a field"),
        (b"\x0d\x00", "the message ends inside a field"),
        (b"\x09\x00", "the message ends inside a field"),
    ],
)
def test_refuses_fields_that_are_none(message: bytes, what: str) -> None:
    with pytest.raises(MalformedMessageError, match=f"ModelInferRequest: {what} at byte"):
        read_field(message, 0, len(message), depth=0)


@pytest.mark.parametrize(
    "message", [b"", b"\x80", b"\x08", b"\x08\x80", b"\x0a", b"\x0b", b"\x0b\x08"]
)
def test_runs_into_the_end_of_what_it_reads(message: bytes) -> None:
    with pytest.raises(IndexError):
        read_field(message, 0, len(message), depth=0)


def test_a_number_may_not_reach_beyond_its_message() -> None:
    with pytest.raises(MalformedMessageError, match="the message ends inside a field at byte 2"):
        read_field(b"\x08\x80\x01", 0, 2, depth=0)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_follows_groups_only_so_far(depth: int) -> None:
    def nested(groups: int) -> bytes:
        return b"\x7b" * groups + b"\x7c" * groups

    assert read_field(nested(100 - depth), 0, 1000, depth=depth)[2] == 2 * (100 - depth)
    with pytest.raises(MalformedMessageError, match="more than 100 messages inside each other"):
        read_field(nested(101 - depth), 0, 1000, depth=depth)


def test_yields_fields_in_their_order() -> None:
    message = b"\xff\x08\x01\x12\x01a\x08\x02\xff"

    assert list(fields(message, 1, 8, depth=0)) == [(0x08, 2, 3), (0x12, 5, 6), (0x08, 7, 8)]

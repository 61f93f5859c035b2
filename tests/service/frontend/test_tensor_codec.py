import struct

import numpy as np
import pytest
from hypothesis import given as drawn, strategies as st

from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import InputTensor
from interlock.frontend.tensor_codec import decode_contents
from interlock.frontend.wire_format import MalformedMessageError
from interlock.pb.grpc_service_pb2 import InferTensorContents
from tests.support.inference import texts
from tests.support.wire_messages import delimited, varint


def decoded(datatype: str, *parts: bytes) -> bytes:
    contents = tuple(memoryview(part) for part in parts)
    return bytes(decode_contents(InputTensor("x", datatype, (1,), contents=contents), "m"))


def refusal(datatype: str, *parts: bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        decoded(datatype, *parts)
    return caught.value


@pytest.mark.parametrize(
    ("datatype", "contents", "raw"),
    [
        ("BOOL", InferTensorContents(bool_contents=[True, False]), b"\1\0"),
        ("INT8", InferTensorContents(int_contents=[-1, 300]), b"\xff\x2c"),
        ("INT16", InferTensorContents(int_contents=[-2, 65537]), b"\xfe\xff\1\0"),
        (
            "INT32",
            InferTensorContents(int_contents=[-3, 2**31 - 1]),
            struct.pack("<2i", -3, 2**31 - 1),
        ),
        ("INT64", InferTensorContents(int64_contents=[-(2**63)]), struct.pack("<q", -(2**63))),
        ("UINT8", InferTensorContents(uint_contents=[5, 257]), b"\5\1"),
        ("UINT16", InferTensorContents(uint_contents=[5, 65538]), b"\5\0\2\0"),
        ("UINT32", InferTensorContents(uint_contents=[2**32 - 1]), b"\xff\xff\xff\xff"),
        ("UINT64", InferTensorContents(uint64_contents=[2**64 - 1]), b"\xff" * 8),
        ("FP32", InferTensorContents(fp32_contents=[1.5, -2]), struct.pack("<2f", 1.5, -2)),
        ("FP64", InferTensorContents(fp64_contents=[0.1]), struct.pack("<d", 0.1)),
        (
            "BYTES",
            InferTensorContents(bytes_contents=[b"a\0", b"", b"\xff"]),
            texts(b"a\0", b"", b"\xff"),
        ),
    ],
)
def test_gives_every_datatype_its_raw_form(
    datatype: str, contents: InferTensorContents, raw: bytes
) -> None:
    assert decoded(datatype, contents.SerializeToString()) == raw


def test_takes_empty_contents_for_no_bytes() -> None:
    assert decoded("FP32", b"") == b""
    assert decoded("INT32", b"\x12\x00") == b""
    assert decoded("FP32", b"\x32\x00") == b""


def test_views_packed_floating_point_numbers_where_they_lie() -> None:
    message = memoryview(b"\x32\x08" + struct.pack("<2f", 1, 2))
    tensor = InputTensor("x", "FP32", (2,), contents=(message,))

    data = decode_contents(tensor, "m")
    assert isinstance(data, memoryview)
    assert data.obj is message.obj


def test_joins_the_parts_of_contents() -> None:
    assert decoded("INT8", b"\x12\x02\x01\x02", b"", b"\x10\x03\x12\x01\x04") == b"\1\2\3\4"


def test_passes_over_unknown_fields_and_wrong_wire_types() -> None:
    assert decoded("INT8", b"\x10\x01\x4a\x01\xff\x15\0\0\0\0\x5b\x5c\x10\x02") == b"\1\2"


@pytest.mark.parametrize(
    ("datatype", "contents", "text"),
    [
        pytest.param(
            "INT32",
            InferTensorContents(fp32_contents=[1]),
            " of type 'FP32', expected datatype 'INT32'",
            id="another type",
        ),
        pytest.param(
            "FP16",
            InferTensorContents(fp32_contents=[1]),
            " of type 'FP32', expected datatype 'FP16'",
            id="a type that has no field",
        ),
        pytest.param(
            "UINT8",
            InferTensorContents(int_contents=[1]),
            " of type 'INT32', expected datatype 'UINT8'",
            id="signed for unsigned",
        ),
        pytest.param(
            "INT16",
            InferTensorContents(uint_contents=[1]),
            " of type 'UINT32', expected datatype 'INT16'",
            id="unsigned for signed",
        ),
        pytest.param(
            "FP99",
            InferTensorContents(bytes_contents=[b""]),
            " of type 'BYTES', expected datatype '<invalid>'",
            id="no such type",
        ),
        pytest.param(
            "INT8",
            InferTensorContents(int_contents=[1], fp32_contents=[1]),
            ", binary data was already supplied.",
            id="two fields, the first is right",
        ),
        pytest.param(
            "FP32",
            InferTensorContents(int_contents=[1], fp32_contents=[1]),
            " of type 'INT32', expected datatype 'FP32'",
            id="two fields, the first is wrong",
        ),
    ],
)
def test_refuses_contents_of_another_type(
    datatype: str, contents: InferTensorContents, text: str
) -> None:
    error = refusal(datatype, contents.SerializeToString())

    assert type(error) is InvalidRequestError
    assert str(error) == (
        f"unexpected explicit tensor data for input tensor 'x' for model 'm'{text}"
    )


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (b"\x12", "the message ends inside a field at byte 1"),
        (b"\x12\x05\x01", "the message ends inside a field at byte 3"),
        (b"\x12\x01\x80", "packed numbers with one that does not end at byte 0"),
        (b"\x32\x03abc", "packed numbers with a part of one at the end at byte 2"),
        (b"\x3a\x04abcd", "packed numbers with a part of one at the end at byte 2"),
        (b"\x10" + b"\x80" * 10 + b"\x01", "a number longer than 10 bytes at byte 1"),
        (b"\x42\x02a", "the message ends inside a field at byte 3"),
        (b"\x10\x01" * 40 + b"\x10", "the message ends inside a field at byte 81"),
        (b"\x10\x01" * 40 + b"\x10" + b"\x80" * 11, "a number longer than 10 bytes at byte 81"),
        (b"\x42\x01a" * 400 + b"\x42\x02a", "the message ends inside a field at byte 1203"),
        (b"\x42\x01a" * 400 + b"\x42", "the message ends inside a field at byte 1201"),
        (b"\x42\x01a" * 17 + b"\x42\xff\xff\xff\xff\x0f", "a length out of range at byte 52"),
        (b"\x35abcd" * 40 + b"\x35abc", "the message ends inside a field at byte 204"),
    ],
)
def test_refuses_contents_that_are_no_message(part: bytes, text: str) -> None:
    error = refusal("INT32", part)

    assert isinstance(error, MalformedMessageError)
    assert str(error) == (
        f"could not parse the ModelInferRequest: {text} of the contents of input 'x'"
    )


def test_reads_many_numbers_that_unknown_fields_part() -> None:
    assert decoded("INT8", b"\x10\x01\x4a\x00\x10\x02" * 5000) == b"\1\2" * 5000


@pytest.mark.parametrize("count", [1, 15, 16, 17, 500, 50_000])
def test_reads_runs_of_single_numbers(count: int) -> None:
    values = [7, 300, 2**64 - 1] * count
    part = b"".join(b"\x18" + varint(value) for value in values)
    doubles = np.arange(count, dtype="<f8")
    single = b"".join(b"\x39" + value.tobytes() for value in doubles)

    assert decoded("INT64", part) == np.array([7, 300, -1] * count, "<i8").tobytes()
    assert decoded("FP64", single + b"\x41" + bytes(8)) == doubles.tobytes()


@drawn(
    st.lists(
        st.tuples(st.sampled_from([0, 0, 1, 5, 127, 128, 300]), st.integers(1, 40)), max_size=12
    )
)
def test_reads_runs_of_elements(runs: list[tuple[int, int]]) -> None:
    elements = [bytes([count]) * size for size, count in runs for _ in range(count)]

    assert decoded("BYTES", b"".join(delimited(8, e) for e in elements)) == texts(*elements)


def test_reads_elements_longer_than_any_block() -> None:
    elements = [*[b"a"] * 20, b"b" * 3_000_000, *[b"c"] * 20, b"d" * 1_100_000]

    assert decoded("BYTES", b"".join(delimited(8, e) for e in elements)) == texts(*elements)

"""Tensors between the wire and the runtime."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, strategies as st

from interlock.backends.onnxruntime.tensors import (
    array_of,
    raw_of,
    read_strings,
    reader_of,
    value_of,
    wire_datatype,
)
from interlock.domain.bytes_tensor import encode_elements
from interlock.domain.config import TensorFacts
from interlock.domain.datatypes import BY_WIRE
from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import InputTensor
from tests.support.running import unaligned

FIXED = [name for name, datatype in BY_WIRE.items() if datatype.size_bytes]


def read(datatype: str, shape: tuple[int, ...], data: bytes | memoryview) -> np.ndarray:
    facts = TensorFacts("x", datatype, (-1,) * max(1, len(shape)))
    return reader_of(facts)(InputTensor("x", datatype, shape, data))


@pytest.mark.parametrize("datatype", FIXED)
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_an_input_is_laid_over_the_message_wherever_it_begins(datatype: str, offset: int) -> None:
    size_bytes = BY_WIRE[datatype].size_bytes
    data = unaligned(bytes(range(6 * size_bytes)), offset)

    array = read(datatype, (2, 3), data)

    assert array.ctypes.data == np.frombuffer(data, np.uint8).ctypes.data
    assert array.shape == (2, 3)
    assert array.tobytes() == bytes(data)
    assert not array.flags.writeable


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_a_tensor_of_nothing_has_its_shape(shape: tuple[int, ...]) -> None:
    assert read("FP32", shape, b"").shape == shape


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_scalar_of_the_graph_takes_one_element_in_either_shape(shape: tuple[int, ...]) -> None:
    reader = reader_of(TensorFacts("x", "INT32", ()))

    array = reader(InputTensor("x", "INT32", shape, b"\7\0\0\0"))

    assert (array.shape, array.item()) == ((), 7)


def test_strings_may_hold_anything_that_is_utf_8() -> None:
    data = unaligned(encode_elements([b"", "é".encode(), b"a\0b", "日本".encode()]))

    array = read_strings(InputTensor("x", "BYTES", (2, 2), data))

    assert array.tolist() == [["", "é"], ["a\0b", "日本"]]


def test_no_strings_are_an_empty_array() -> None:
    assert read_strings(InputTensor("x", "BYTES", (0, 4), b"")).shape == (0, 4)


@pytest.mark.parametrize(
    ("elements", "index"),
    [
        pytest.param([b"\xff"], 0, id="the only one"),
        pytest.param([b"ok", b"\xc3\xa9", b"a\xff"], 2, id="behind good ones"),
        pytest.param([b"aa", b"a\xff", b"a\xff"], 1, id="the first of two"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_place(
    elements: list[bytes], index: int
) -> None:
    data = encode_elements(elements)

    with pytest.raises(InvalidRequestError) as caught:
        read_strings(InputTensor("x", "BYTES", (len(elements),), data))

    assert str(caught.value) == (
        f"element {index} of input 'x' is not valid UTF-8, which ONNX Runtime requires of "
        f"strings: invalid start byte at byte {elements[index].index(0xFF)} of the element"
    )


@given(st.lists(st.text()))
def test_strings_come_back_as_they_went(texts: list[str]) -> None:
    data = encode_elements([text.encode() for text in texts])

    array = read_strings(InputTensor("x", "BYTES", (len(texts),), data))

    assert raw_of(array) == data


@pytest.mark.parametrize("datatype", FIXED)
def test_an_output_is_a_view_of_its_bytes(datatype: str) -> None:
    array = np.arange(6).astype(BY_WIRE[datatype].dtype).reshape(2, 3)

    raw = raw_of(array)

    assert isinstance(raw, memoryview)
    assert (raw.nbytes, len(raw), raw.contiguous) == (array.nbytes, array.nbytes, True)
    assert np.frombuffer(raw, np.uint8).ctypes.data == array.ctypes.data


def test_an_output_of_nothing_is_no_bytes() -> None:
    assert raw_of(np.empty((2, 0), np.float32)) == b""


def test_bf16_reaches_the_runtime_without_a_copy_and_comes_back_as_words() -> None:
    words = read("BF16", (2, 2), unaligned(bytes(range(8))))

    value = value_of(words, "BF16")
    back = array_of(value)

    assert value.data_type() == "tensor(bfloat16)"
    assert value.data_ptr() == words.ctypes.data
    assert (back.shape, back.tobytes()) == ((2, 2), bytes(range(8)))
    assert back.ctypes.data == value.data_ptr()


def test_words_of_bf16_keep_the_runtime_s_memory() -> None:
    value = ort.OrtValue.ortvalue_from_shape_and_type([1000], np.float32)
    ort.OrtValue.update_inplace(value, np.full(1000, 7, np.float32))
    # A value of the runtime's own, seen as BF16 through our reading of its memory.
    words = array_of(value_of(array_of(value).view(np.uint16), "BF16"))

    del value

    assert words.view(np.float32).tolist() == [7.0] * 1000


def test_a_value_of_another_type_becomes_its_own_array() -> None:
    array = np.array([1.5, 2.5])

    assert array_of(value_of(array, "FP64")).tolist() == [1.5, 2.5]


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_bf16_of_nothing_has_its_shape(shape: tuple[int, ...]) -> None:
    value = value_of(np.empty(shape, np.uint16), "BF16")

    assert array_of(value).shape == shape


@pytest.mark.parametrize(
    ("onnx_type", "wire"),
    [
        ("tensor(float)", "FP32"),
        ("tensor(double)", "FP64"),
        ("tensor(float16)", "FP16"),
        ("tensor(bfloat16)", "BF16"),
        ("tensor(string)", "BYTES"),
        ("tensor(bool)", "BOOL"),
        ("tensor(uint8)", "UINT8"),
        ("optional(tensor(int64))", "INT64"),
        ("tensor(complex64)", None),
        ("seq(tensor(float))", None),
        ("optional(seq(tensor(float)))", None),
        ("map(int64,tensor(float))", None),
        ("sparse_tensor(float)", None),
    ],
)
def test_types_of_the_graph_have_names_on_the_wire(onnx_type: str, wire: str | None) -> None:
    assert wire_datatype(onnx_type) == wire

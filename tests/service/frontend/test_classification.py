import math
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given as drawn, strategies as st

from interlock.domain.bytes_tensor import decode_elements
from interlock.domain.config import TensorConfig
from interlock.domain.datatypes import BY_WIRE
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.tensor import OutputTensor
from interlock.frontend.classification import classify
from interlock.serving.served_model import ServedModel
from tests.support.inference import model, served


def serving(max_batch_size: int = 0, labels: Sequence[str] = ()) -> ServedModel:
    config = model(TensorConfig("x", "FP32", (-1,)), max_batch_size=max_batch_size)
    return served(config, {"y": tuple(labels)} if labels else None)


def output(
    values: Sequence[float], datatype: str = "FP32", shape: Sequence[int] | None = None
) -> OutputTensor:
    data = np.array(values, BY_WIRE[datatype].dtype).tobytes()
    return OutputTensor("y", datatype, tuple(shape or (len(values),)), data)


def classes(of: ServedModel, tensor: OutputTensor, count: int) -> list[str]:
    best = classify(of, tensor, count)
    elements = decode_elements(best.data, count=math.prod(best.shape))
    assert (best.name, best.datatype) == ("y", "BYTES")
    return [element.decode() for element in elements]


def test_gives_the_best_classes_first() -> None:
    assert classes(serving(), output([0.5, 2, -1, 1.25]), 3) == [
        "2.000000:1",
        "1.250000:3",
        "0.500000:0",
    ]


def test_equal_values_keep_their_order() -> None:
    assert classes(serving(), output([0, 1, 0, 1, 0]), 5) == [
        "1.000000:1",
        "1.000000:3",
        "0.000000:0",
        "0.000000:2",
        "0.000000:4",
    ]


def test_names_the_classes_that_have_a_label() -> None:
    of = serving(labels=("cat", "", "bär"))

    assert classes(of, output([1, 2, 3, 4]), 9) == [
        "4.000000:3",
        "3.000000:2:bär",
        "2.000000:1",
        "1.000000:0:cat",
    ]


def test_labels_belong_to_an_output() -> None:
    of = served(model(TensorConfig("x", "FP32", (-1,))), {"z": ("cat",)})

    assert classes(of, output([1]), 1) == ["1.000000:0"]


@pytest.mark.parametrize(
    ("max_batch_size", "shape", "count", "expected"),
    [
        (0, (2, 3), 2, (2,)),
        (0, (2, 3), 99, (6,)),
        (0, (), 1, (1,)),
        (8, (2, 3), 2, (2, 2)),
        (8, (2, 3), 99, (2, 3)),
        (8, (1, 2, 3), 99, (1, 6)),
        (8, (6,), 1, (6, 1)),
        (0, (0,), 3, (0,)),
        (8, (2, 0), 3, (2, 0)),
    ],
)
def test_flattens_all_but_the_batch(
    max_batch_size: int, shape: Sequence[int], count: int, expected: Sequence[int]
) -> None:
    values = output(range(math.prod(shape)))
    values.shape = tuple(shape)

    assert classify(serving(max_batch_size), values, count).shape == tuple(expected)


def test_ranks_each_batch_item_by_itself() -> None:
    tensor = output([1, 2, 4, 3], shape=(2, 2))

    assert classes(serving(8), tensor, 1) == ["2.000000:1", "4.000000:0"]


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("INT8", [-128, 127, 0], ["127:1", "0:2", "-128:0"]),
        ("UINT8", [0, 255, 128], ["255:1", "128:2", "0:0"]),
        ("INT64", [-(2**63), 2**63 - 1], [f"{2**63 - 1}:1", f"{-(2**63)}:0"]),
        ("UINT64", [1, 2**64 - 1], [f"{2**64 - 1}:1", "1:0"]),
        ("INT16", [-5, 5], ["5:1", "-5:0"]),
        ("UINT16", [3, 5], ["5:1", "3:0"]),
        ("INT32", [3, 5], ["5:1", "3:0"]),
        ("UINT32", [3, 5], ["5:1", "3:0"]),
        ("FP64", [1e20, -0.0000004], ["100000000000000000000.000000:0", "-0.000000:1"]),
        ("FP32", [0.1], ["0.100000:0"]),
        ("FP64", [math.inf, -math.inf, 0], ["inf:0", "0.000000:2", "-inf:1"]),
    ],
)
def test_writes_numbers_as_cpp_does(
    datatype: str, values: Sequence[float], expected: Sequence[str]
) -> None:
    assert classes(serving(), output(values, datatype), len(values)) == list(expected)


def test_puts_nan_last_and_keeps_its_sign() -> None:
    # Written as bits, since arithmetic does not keep the sign of NaN.
    nan, minus_nan = 0x7FC00000, 0xFFC00000
    one = struct.unpack("<I", struct.pack("<f", 1))[0]
    tensor = OutputTensor("y", "FP32", (3,), struct.pack("<3I", nan, minus_nan, one))

    assert classes(serving(), tensor, 3) == ["1.000000:2", "nan:0", "-nan:1"]


def test_finds_the_few_numbers_among_many_nan() -> None:
    values = [math.nan] * 100
    values[60] = 7

    assert classes(serving(), output(values), 3) == ["7.000000:60", "nan:0", "nan:1"]


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "BOOL", "BYTES"])
def test_refuses_types_that_have_no_classes(datatype: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        classify(serving(), OutputTensor("y", datatype, (1,), b"\0\0\0\0"), 1)

    assert type(caught.value) is InvalidRequestError
    assert str(caught.value) == (
        f"class result not available for output due to unsupported type '{datatype}'"
    )


def test_refuses_too_many_elements_for_each_batch_item() -> None:
    million = 1_000_000

    fits = OutputTensor("y", "INT8", (2, million), bytes(2 * million))
    too_large = OutputTensor("y", "INT8", (1, million + 1), bytes(million + 1))

    assert classify(serving(8), fits, 1).shape == (2, 1)
    with pytest.raises(InvalidRequestError, match="classification output tensor too large"):
        classify(serving(8), too_large, 1)


def test_a_shape_that_is_not_that_of_the_data_is_the_backend_s_fault() -> None:
    with pytest.raises(InternalError) as caught:
        classify(serving(), output([1, 2, 3], shape=(2,)), 1)

    assert str(caught.value) == "output 'y' of model 'm' has 3 elements, and its shape says 2"


values = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(width=32)), min_size=1, max_size=60
)


@drawn(values, st.integers(1, 70))
def test_a_few_of_many_are_the_first_of_all_in_order(numbers: list[float], count: int) -> None:
    def rank(index: int) -> tuple[bool, float, int]:
        number = np.float32(numbers[index])
        return (True, 0, index) if np.isnan(number) else (False, -float(number), index)

    best = classes(serving(), output(numbers), count)

    indices = sorted(range(len(numbers)), key=rank)[:count]
    assert [int(text.split(":")[1]) for text in best] == indices

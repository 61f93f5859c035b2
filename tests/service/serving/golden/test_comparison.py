"""Whether an answer is the expected one, and what is said where it is not."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from interlock.serving.golden.comparison import disagreement, number_text
from interlock.serving.golden.request import GoldenRequest, GoldenTensor
from tests.support.proving import golden

NAN, INF = math.nan, math.inf
DEFAULT = GoldenRequest("g", (), ())


def compared(expected: GoldenTensor, got: GoldenTensor, request: GoldenRequest = DEFAULT) -> str:
    return disagreement(request, expected, got.datatype, got.shape, got.data)


def floats(expected: Any, got: Any, *, absolute: float = 1e-3, relative: float = 1e-3) -> str:
    request = replace(DEFAULT, absolute=absolute, relative=relative)
    return compared(golden("y", expected), golden("y", got), request)


def test_the_sentence_of_a_wrong_answer() -> None:
    expected = np.full((1, 10), 0.1)
    got = expected.copy()
    got[0, 7] = 3.2

    assert floats(expected, got) == "output y[0,7]: got 3.2, expected 0.1 (tolerance 1e-3)"


def test_of_several_elements_the_worst_is_named() -> None:
    text = floats([1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 5.0, 4.5])

    assert text == "output y[2]: got 5.0, expected 3.0 (tolerance 1e-3), the worst of 3"


def test_the_worst_is_that_which_exceeds_its_own_tolerance_most() -> None:
    text = floats([1000.0, 1.0], [1009.0, 3.0], relative=0.01)

    assert text == "output y[1]: got 3.0, expected 1.0 (tolerance 1e-3, relative 0.01)"


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        pytest.param([0.1], [0.1009], id="absolute"),
        pytest.param([1000.0], [1000.9], id="relative"),
        pytest.param([NAN, 1.0], [NAN, 1.0], id="NaN"),
        pytest.param([INF, -INF], [INF, -INF], id="infinities"),
        pytest.param([], [], id="nothing"),
        pytest.param([[], []], [[], []], id="empty rows"),
        pytest.param(2.0, 2.0, id="scalar"),
        pytest.param([-0.0], [0.0], id="zeroes"),
    ],
)
def test_floats_within_the_tolerance_agree(expected: Any, got: Any) -> None:
    assert floats(expected, got) == ""


@pytest.mark.parametrize(
    ("expected", "got", "text"),
    [
        pytest.param([NAN], [1.0], "y[0]: got 1.0, expected nan", id="NaN expected"),
        pytest.param([1.0], [NAN], "y[0]: got nan, expected 1.0", id="NaN got"),
        pytest.param([INF], [-INF], "y[0]: got -inf, expected inf", id="the other infinity"),
        pytest.param([INF], [1.0], "y[0]: got 1.0, expected inf", id="infinity expected"),
        pytest.param([1.0], [INF], "y[0]: got inf, expected 1.0", id="infinity got"),
        pytest.param(2.0, 3.0, "y: got 3.0, expected 2.0", id="scalar"),
    ],
)
def test_what_is_no_number_agrees_with_nothing_else(expected: Any, got: Any, text: str) -> None:
    assert floats(expected, got) == f"output {text} (tolerance 1e-3)"


def test_a_nan_is_worse_than_any_number() -> None:
    text = floats([1.0, 1.0], [1e30, NAN])

    assert text == "output y[1]: got nan, expected 1.0 (tolerance 1e-3), the worst of 2"


def test_a_tolerance_of_nothing_is_exact() -> None:
    assert floats([0.5], [0.5], absolute=0, relative=0) == ""
    assert floats([0.5], [0.25], absolute=0, relative=0) == (
        "output y[0]: got 0.25, expected 0.5 (tolerance 0)"
    )


def test_doubles_as_large_as_they_come_are_compared() -> None:
    big = golden("y", [1.7e308], "FP64", "<f8")
    other = golden("y", [-1.7e308], "FP64", "<f8")

    assert compared(big, big) == ""
    assert compared(big, other).startswith("output y[0]: got -1.7e+308, expected 1.7e+308")


def test_bf16_is_compared_as_the_numbers_that_it_stands_for() -> None:
    one, four = (golden("y", [words], "BF16", "<u2") for words in (0x3F80, 0x4080))

    assert compared(one, one) == ""
    assert compared(one, four) == "output y[0]: got 4.0, expected 1.0 (tolerance 1e-3)"


def test_a_bf16_scalar_is_compared_too() -> None:
    one, four = (golden("y", words, "BF16", "<u2") for words in (0x3F80, 0x4080))

    assert compared(one, four) == "output y: got 4.0, expected 1.0 (tolerance 1e-3)"


@pytest.mark.parametrize(
    ("expected", "got", "text"),
    [
        pytest.param(
            golden("y", [1, 2], "INT64", "<i8"),
            golden("y", [1, 3], "INT64", "<i8"),
            "output y[1]: got 3, expected 2",
            id="integers",
        ),
        pytest.param(
            golden("y", [2**64 - 1], "UINT64", "<u8"),
            golden("y", [2**64 - 2], "UINT64", "<u8"),
            "output y[0]: got 18446744073709551614, expected 18446744073709551615",
            id="integers beyond a float's",
        ),
        pytest.param(
            golden("y", [True, True, True], "BOOL", "?"),
            golden("y", [True, False, False], "BOOL", "?"),
            "output y[1]: got false, expected true, the first of 2",
            id="booleans",
        ),
        pytest.param(
            golden("y", [b"cat", b"dog"], "BYTES"),
            golden("y", [b"cat", b"d\xffg"], "BYTES"),
            'output y[1]: got "d\\\\xffg", expected "dog"',
            id="texts",
        ),
        pytest.param(
            golden("y", [b"a\0"], "BYTES"),
            golden("y", [b"a"], "BYTES"),
            'output y[0]: got "a", expected "a\\u0000"',
            id="a zero byte",
        ),
        pytest.param(
            golden("y", [b"x" * 100], "BYTES"),
            golden("y", [b"y"], "BYTES"),
            f'output y[0]: got "y", expected "{"x" * 59}...',
            id="a long text",
        ),
        pytest.param(
            golden("y", [1.0]),
            golden("y", [1.0], "FP64", "<f8"),
            "output y: got datatype FP64, expected FP32",
            id="datatype",
        ),
        pytest.param(
            golden("y", [[1.0], [2.0]]),
            golden("y", [[1.0, 2.0]]),
            "output y: got shape [1,2], expected [2,1]",
            id="shape",
        ),
        pytest.param(
            golden("y", [1.0, 2.0]),
            GoldenTensor("y", "FP32", (2,), bytes(4)),
            "output y: its 4 bytes do not fill the shape [2]",
            id="short data",
        ),
        pytest.param(
            golden("y", [b"a", b"b"], "BYTES"),
            GoldenTensor("y", "BYTES", (2,), bytes(4)),
            "output y: its 4 bytes do not fill the shape [2]",
            id="short texts",
        ),
    ],
)
def test_all_else_is_exact(expected: GoldenTensor, got: GoldenTensor, text: str) -> None:
    assert compared(expected, got) == text
    assert compared(expected, expected) == ""


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
matrices = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=0, max_dims=3, max_side=4), elements=numbers
)


@given(matrices, st.data())
def test_exactly_what_is_beyond_the_tolerance_is_told(wanted: Any, data: st.DataObject) -> None:
    got = data.draw(arrays.arrays(np.float32, wanted.shape, elements=numbers))

    text = floats(wanted, got)

    agrees = all(
        ours == theirs
        or (math.isnan(ours) and math.isnan(theirs))
        or (
            math.isfinite(ours)
            and math.isfinite(theirs)
            and abs(ours - theirs) <= 1e-3 + 1e-3 * abs(theirs)
        )
        for ours, theirs in zip(got.ravel().tolist(), wanted.ravel().tolist(), strict=True)
    )
    assert (text == "") == agrees
    assert floats(wanted, wanted) == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-3, "1e-3"), (2.5e-6, "2.5e-6"), (0.05, "0.05"), (0.0, "0"), (1.0, "1"), (50.5, "50.5")],
)
def test_numbers_are_written_as_people_write_them(number: float, text: str) -> None:
    assert number_text(number) == text

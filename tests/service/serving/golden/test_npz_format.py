"""Golden requests as archives of arrays."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from interlock.serving.golden.npz_format import read_npz
from interlock.serving.golden.request import Declared, GoldenFileError, GoldenTensor
from tests.support.inference import texts
from tests.support.proving import fp32, write_npz

NOTHING = Declared()


def test_reads_inputs_expectations_and_settings(tmp_path: Path) -> None:
    path = write_npz(
        tmp_path / "g.npz",
        input__x=np.array([[1, 2]], "<f4"),
        input__n=np.array([3], "<i8"),
        expect__y=np.array([5], "<f4"),
        tolerance=0.5,
        relative_tolerance=0,
        latency_budget_ms=20,
    )

    request = read_npz(path, "a name", NOTHING)

    assert request.name == "a name"
    assert request.inputs == (
        GoldenTensor("x", "FP32", (1, 2), fp32([1, 2])),
        GoldenTensor("n", "INT64", (1,), np.array([3], "<i8").tobytes()),
    )
    assert request.expected == (GoldenTensor("y", "FP32", (1,), fp32([5])),)
    assert (request.absolute, request.relative, request.latency_budget_ms) == (0.5, 0, 20)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, (1e-3, 1e-3, None)), ({"tolerance": 0.1}, (0.1, 0.1, None))],
    ids=["none", "one tolerance"],
)
def test_what_is_not_said_has_a_default(
    tmp_path: Path, settings: dict[str, float], expected: tuple[float, float, None]
) -> None:
    path = write_npz(tmp_path / "g.npz", expect__y=np.zeros(1), **settings)

    request = read_npz(path, "g", NOTHING)

    assert (request.absolute, request.relative, request.latency_budget_ms) == expected


@pytest.mark.parametrize(
    ("array", "declared", "tensor"),
    [
        pytest.param(
            np.array([1.5], ">f4"), "FP32", GoldenTensor("y", "FP32", (1,), fp32([1.5])), id="order"
        ),
        pytest.param(
            np.array(1.5, "<f4"), "FP32", GoldenTensor("y", "FP32", (), fp32(1.5)), id="scalar"
        ),
        pytest.param(
            np.arange(4, dtype="<f4").reshape(2, 2).T,
            "FP32",
            GoldenTensor("y", "FP32", (2, 2), fp32([0, 2, 1, 3])),
            id="columns first",
        ),
        pytest.param(
            np.array([0x3F80], "<u2"),
            "BF16",
            GoldenTensor("y", "BF16", (1,), b"\x80\x3f"),
            id="BF16",
        ),
        pytest.param(
            np.array([7], "<u2"),
            "UINT16",
            GoldenTensor("y", "UINT16", (1,), b"\7\0"),
            id="UINT16",
        ),
        pytest.param(
            np.array([True]), "BOOL", GoldenTensor("y", "BOOL", (1,), b"\1"), id="booleans"
        ),
        pytest.param(
            np.array([["é", ""]]),
            "BYTES",
            GoldenTensor("y", "BYTES", (1, 2), texts("é".encode(), b"")),
            id="texts",
        ),
        pytest.param(
            np.array([b"\xff"]),
            "BYTES",
            GoldenTensor("y", "BYTES", (1,), texts(b"\xff")),
            id="bytes",
        ),
        pytest.param(
            np.zeros((0, 3), "<f4"), "FP32", GoldenTensor("y", "FP32", (0, 3), b""), id="empty"
        ),
        pytest.param(
            np.array([1.0]),
            "FP32",
            GoldenTensor("y", "FP64", (1,), np.array([1.0]).tobytes()),
            id="what an array is counts, not what the model has",
        ),
    ],
)
def test_arrays_become_tensors(
    tmp_path: Path, array: ArrayLike, declared: str, tensor: GoldenTensor
) -> None:
    path = write_npz(tmp_path / "g.npz", expect__y=array)

    request = read_npz(path, "g", Declared(outputs={"y": declared}))

    assert request.expected == (tensor,)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        pytest.param({"input__x": [1]}, "it expects nothing: no output is named", id="nothing"),
        pytest.param(
            {"expct__y": [1]},
            "it has an array 'expct:y', and no meaning for it: write input:NAME, expect:NAME or "
            "one of tolerance, relative_tolerance, latency_budget_ms",
            id="misspelled",
        ),
        pytest.param({"expect__": [1]}, "it has an array 'expect:', and no meaning", id="no name"),
        pytest.param(
            {"expect__y": np.array([1j])},
            "'y' is of type complex128, which no tensor can have",
            id="complex",
        ),
        pytest.param(
            {"expect__y": np.array(["2020-01-01"], "M8[D]")},
            "'y' is of type datetime64[D], which no tensor can have",
            id="dates",
        ),
        pytest.param(
            {"expect__y": [1], "tolerance": "much"}, "'tolerance' must be a number", id="a word"
        ),
        pytest.param(
            {"expect__y": [1], "tolerance": True}, "'tolerance' must be a number", id="a truth"
        ),
        pytest.param(
            {"expect__y": [1], "tolerance": -1.0},
            "'tolerance' must be a number, 0 or more, not -1.0",
            id="negative",
        ),
        pytest.param(
            {"expect__y": [1], "latency_budget_ms": np.nan},
            "'latency_budget_ms' must be a number, 0 or more, not nan",
            id="NaN",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, arrays: dict[str, ArrayLike], text: str
) -> None:
    path = write_npz(tmp_path / "g.npz", **arrays)

    with pytest.raises(GoldenFileError) as caught:
        read_npz(path, "g", NOTHING)

    assert str(caught.value).startswith(text)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "g.npz").open("wb") as file:
        np.save(file, np.zeros(3))

    with pytest.raises(GoldenFileError, match="single array, not an archive of named ones"):
        read_npz(tmp_path / "g.npz", "g", NOTHING)

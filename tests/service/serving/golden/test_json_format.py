"""Golden requests as JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.serving.golden.json_format import json_text, read_json
from interlock.serving.golden.request import (
    Declared,
    GoldenFileError,
    GoldenRequest,
    GoldenTensor,
)
from tests.support.inference import texts
from tests.support.proving import fp32, golden

DECLARED = Declared(
    inputs={"x": "FP32", "s": "BYTES"}, outputs={"y": "FP32", "n": "INT64", "w": "BF16"}
)


def read(tmp_path: Path, document: object) -> GoldenRequest:
    path = tmp_path / "g.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_json(path, "g", DECLARED)


def test_reads_inputs_expectations_and_settings(tmp_path: Path) -> None:
    request = read(
        tmp_path,
        {
            "tolerance": 0.5,
            "relative_tolerance": 0,
            "latency_budget_ms": 20,
            "input": {"x": {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}},
            "expect": {"y": {"datatype": "FP32", "shape": [1], "data": [5]}},
        },
    )

    assert request == GoldenRequest(
        "g",
        (GoldenTensor("x", "FP32", (1, 2), fp32([1, 2])),),
        (GoldenTensor("y", "FP32", (1,), fp32([5])),),
        absolute=0.5,
        relative=0,
        latency_budget_ms=20,
    )


@pytest.mark.parametrize(
    ("name", "value", "tensor"),
    [
        pytest.param(
            "y", [[1, 2.5]], GoldenTensor("y", "FP32", (1, 2), fp32([1, 2.5])), id="nested lists"
        ),
        pytest.param("y", 3, GoldenTensor("y", "FP32", (), fp32(3)), id="scalar"),
        pytest.param("y", [], GoldenTensor("y", "FP32", (0,), b""), id="nothing"),
        pytest.param("y", [[], []], GoldenTensor("y", "FP32", (2, 0), b""), id="empty rows"),
        pytest.param(
            "y",
            {"data": [1, 2, 3, 4], "shape": [2, 2]},
            GoldenTensor("y", "FP32", (2, 2), fp32([1, 2, 3, 4])),
            id="a shape of its own",
        ),
        pytest.param(
            "y",
            ["NaN", "Infinity", "-Infinity"],
            GoldenTensor("y", "FP32", (3,), fp32([np.nan, np.inf, -np.inf])),
            id="no numbers",
        ),
        pytest.param("n", [2**62], golden("n", [2**62], "INT64", "<i8"), id="integers stay whole"),
        pytest.param("w", [1], GoldenTensor("w", "BF16", (1,), b"\x80\x3f"), id="BF16"),
        pytest.param(
            "z",
            {"datatype": "BOOL", "data": [True, False]},
            GoldenTensor("z", "BOOL", (2,), b"\1\0"),
            id="a datatype of its own",
        ),
        pytest.param(
            "y",
            {"datatype": "BYTES", "data": ["é", {"base64": "/wA="}]},
            GoldenTensor("y", "BYTES", (2,), texts("é".encode(), b"\xff\0")),
            id="texts and bytes",
        ),
        pytest.param(
            "y",
            [1e300],
            GoldenTensor("y", "FP32", (1,), fp32([np.inf])),
            id="too large for its datatype",
        ),
    ],
)
def test_data_becomes_a_tensor(tmp_path: Path, name: str, value: Any, tensor: GoldenTensor) -> None:
    assert read(tmp_path, {"expect": {name: value}}).expected == (tensor,)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param("{", "it is no JSON: ", id="cut off"),
        pytest.param("[" * 100_000, "it is no JSON: ", id="too deep"),
        pytest.param([], "it must be a JSON object", id="a list"),
        pytest.param({}, "it expects nothing: no output is named", id="nothing"),
        pytest.param({"expect": {}}, "it expects nothing: no output is named", id="no output"),
        pytest.param(
            {"expected": {"y": 1}},
            "it has 'expected', and no meaning for it: write input, expect or one of tolerance, "
            "relative_tolerance, latency_budget_ms",
            id="misspelled",
        ),
        pytest.param(
            {"expect": [1]}, "'expect' must be an object: a tensor for each name", id="no names"
        ),
        pytest.param(
            {"expect": {"y": {"shape": [1]}}},
            "'y' must have data, and may have datatype and shape",
            id="no data",
        ),
        pytest.param(
            {"expect": {"y": {"data": [1], "dims": [1]}}},
            "'y' must have data, and may have datatype and shape",
            id="unknown field",
        ),
        pytest.param(
            {"expect": {"z": 1}},
            "'z' needs a datatype: the model has no such tensor",
            id="unknown tensor",
        ),
        pytest.param(
            {"expect": {"y": {"datatype": "FLOAT", "data": 1}}},
            "'y' needs a datatype: FLOAT is none",
            id="unknown datatype",
        ),
        pytest.param(
            {"expect": {"y": {"datatype": ["FP32"], "data": 1}}},
            "'y' needs a datatype: ['FP32'] is none",
            id="a list of datatypes",
        ),
        pytest.param(
            {"expect": {"y": [[1], [2, 3]]}},
            "the lists of 'y' are not all of one length",
            id="ragged",
        ),
        pytest.param(
            {"expect": {"y": [[1], 2]}}, "the lists of 'y' are not all of one length", id="mixed"
        ),
        pytest.param(
            {"expect": {"y": [1, [2]]}}, "'y' is of FP32: [2] is no number", id="mixed, late"
        ),
        pytest.param(
            {"expect": {"y": {"data": [1, 2], "shape": [3]}}},
            "'y' of shape [3] must have 3 elements, not 2",
            id="another number",
        ),
        pytest.param(
            {"expect": {"y": {"data": [1], "shape": [-1]}}},
            "the shape of 'y' must be a list of sizes",
            id="negative size",
        ),
        pytest.param(
            {"expect": {"y": {"data": [1], "shape": 1}}},
            "the shape of 'y' must be a list of sizes",
            id="a shape that is no list",
        ),
        pytest.param({"expect": {"y": ["one"]}}, "'y' is of FP32: 'one' is no number", id="a word"),
        pytest.param({"expect": {"y": [True]}}, "'y' is of FP32: True is no number", id="a truth"),
        pytest.param({"expect": {"y": None}}, "'y' is of FP32: None is no number", id="null"),
        pytest.param(
            {"expect": {"n": [1.5]}}, "'n' is of INT64: 1.5 is no integer", id="half an integer"
        ),
        pytest.param({"expect": {"n": [2**63]}}, "'n' is of INT64: ", id="too large an integer"),
        pytest.param(
            {"expect": {"b": {"datatype": "BOOL", "data": [1]}}},
            "'b' is of BOOL: 1 is neither true nor false",
            id="a number for a truth",
        ),
        pytest.param(
            {"input": {"s": [1]}, "expect": {"y": 1}},
            '\'s\' is of BYTES: write texts, or {"base64": "..."}',
            id="a number for a text",
        ),
        pytest.param(
            {"input": {"s": [{"base64": "?"}]}, "expect": {"y": 1}},
            "'s' has an element that is no base64",
            id="no base64",
        ),
        pytest.param(
            {"expect": {"y": 1}, "tolerance": "1e-3"}, "'tolerance' must be a number", id="quoted"
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, document: object, text: str) -> None:
    with pytest.raises(GoldenFileError) as caught:
        read(tmp_path, document)

    assert str(caught.value).startswith(text)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    request = GoldenRequest(
        "g",
        (
            golden("s", [b"text", b"\xff\0", "é".encode()], "BYTES"),
            golden("x", [np.nan, np.inf, -np.inf, 0.1, -0.0, 3e-45]),
            golden("h", [[0.1, 65504]], "FP16", "<f2"),
            golden("d", 0.1, "FP64", "<f8"),
            golden("w", [0x3DCD, 0x7F80], "BF16", "<u2"),
        ),
        (
            golden("u", [2**64 - 1], "UINT64", "<u8"),
            golden("b", [[True], [False]], "BOOL", "?"),
        ),
        absolute=0.25,
        relative=0.5,
        latency_budget_ms=1.5,
    )

    assert read(tmp_path, json_text(request)) == request

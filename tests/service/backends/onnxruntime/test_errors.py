"""What clients read when the runtime refuses."""

import pytest

from interlock.backends.onnxruntime.errors import translate


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(
            RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid rank for input: x"),
            "onnx runtime error 2: Invalid rank for input: x",
            id="of the runtime",
        ),
        pytest.param(
            RuntimeError("[ONNXRuntimeError] : 1 : FAIL : first line\nsecond line\n"),
            "onnx runtime error 1: first line\nsecond line",
            id="of several lines",
        ),
        pytest.param(
            ValueError("Required inputs (['x']) are missing"),
            "onnx runtime error 2: Required inputs (['x']) are missing",
            id="of an argument",
        ),
        pytest.param(
            RuntimeError("Input must be a list of dictionaries"),
            "onnx runtime error 1: Input must be a list of dictionaries",
            id="of anything else",
        ),
    ],
)
def test_an_error_keeps_the_runtime_s_code_and_text(error: Exception, text: str) -> None:
    assert str(translate(error)) == text
    assert translate(error).reason == f"Internal: {text}"

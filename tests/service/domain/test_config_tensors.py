import pytest

from interlock.domain.config_rules import validate_tensors
from interlock.domain.config_text import ConfigError
from tests.support.configs import complaint, configured

GOOD = "name: 'x' data_type: TYPE_FP32 dims: [ 2, 3 ]"


@pytest.mark.parametrize("kind", ["input", "output"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("data_type: TYPE_FP32 dims: 1", "model {} must specify 'name' for m"),
        ("name: 'x' dims: 1", "model {} 'x' must specify 'data_type' for m"),
        ("name: 'x' data_type: 99 dims: 1", "model {} 'x' must specify 'data_type' for m"),
        ("name: 'x' data_type: TYPE_FP32", "model {} 'x' must specify 'dims' for m"),
        (
            "name: 'x' data_type: TYPE_FP32 dims: [ 1, 0 ]",
            (
                "model {} 'x' dimension must be integer >= 1, or -1 to indicate a variable-size "
                "dimension for m"
            ),
        ),
        (
            "name: 'x' data_type: TYPE_FP32 dims: -2",
            (
                "model {} 'x' dimension must be integer >= 1, or -1 to indicate a variable-size "
                "dimension for m"
            ),
        ),
        (
            f"{GOOD} reshape {{ shape: [ ] }}",
            (
                "model {} 'x' cannot have empty reshape for non-batching model as scalar tensors "
                "are not supported for m"
            ),
        ),
        (
            f"{GOOD} reshape {{ shape: [ 0 ] }}",
            (
                "model {} 'x' reshape dimensions must be integer >= 1, or -1 to indicate a "
                "variable-size dimension for m"
            ),
        ),
        (
            f"{GOOD} reshape {{ shape: [ 7 ] }}",
            "model {} 'x' has different size for dims and reshape for m",
        ),
        (
            f"{GOOD} reshape {{ shape: [ 6, -1 ] }}",
            (
                "model {} 'x' has different number of variable-size dimensions for dims and "
                "reshape for m"
            ),
        ),
        (
            "name: 'x' data_type: TYPE_FP32 dims: [ 2, -1, 3 ] reshape { shape: [ -1, 6 ] }",
            "model {} 'x' has different size for dims and reshape for m",
        ),
        (
            f"{GOOD} is_shape_tensor: true",
            "model {} 'x' shape tensors are only supported for TensorRT platform for m",
        ),
        (
            f"{GOOD} is_non_linear_format_io: true",
            "model {} 'x' Non-linear IO format is only supported for the TensorRT platform for m",
        ),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(kind: str, fields: str, message: str) -> None:
    error = complaint(f"\n{kind} {{ {fields} }}")

    assert error.message == message.format(kind)
    assert error.hint
    assert error.line == 2


def test_an_image_format_needs_three_dimensions() -> None:
    error = complaint(f"input {{ {GOOD} format: FORMAT_NHWC }}")

    assert error.message == "model input 'x' format needs 3 dims for m"


def test_a_name_may_stand_once_among_inputs() -> None:
    error = complaint(f"input [ {{ {GOOD} }},\n{{ {GOOD} }} ]")

    assert error.message == "model input 'x' is specified more than once for m"
    assert error.line == 2


@pytest.mark.parametrize(
    "text",
    [
        f"input {{ {GOOD} }} output {{ {GOOD} }}",
        f"input {{ {GOOD} reshape {{ shape: [ 6 ] }} }}",
        (
            "input { name: 'x' data_type: TYPE_STRING dims: [ 2, -1, 3, 2 ] "
            "reshape { shape: [ 2, -1, 6 ] } }"
        ),
        "max_batch_size: 1 input { name: 'x' data_type: TYPE_FP32 dims: [ 1, 1 ] reshape { } }",
        "input { name: 'x' data_type: TYPE_FP32 dims: [ 1, 2, 3 ] format: FORMAT_NCHW }",
        f"backend: 'tensorrt' input {{ {GOOD} is_shape_tensor: true }}",
    ],
)
def test_tensors_within_the_rules_are_taken(text: str) -> None:
    configured(text, auto_complete=False)


def test_what_auto_complete_may_still_change_is_checked_behind_it() -> None:
    config = configured("input { name: 'x' dims: 1 }", auto_complete=True)

    with pytest.raises(ConfigError, match="must specify 'data_type'"):
        validate_tensors(config)


BATCH_INPUT = "kind: BATCH_ELEMENT_COUNT target_name: 't' data_type: TYPE_FP32"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"batch_input {{ {BATCH_INPUT} }}",
            "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 0 for m",
        ),
        (
            f"batch_input {{ {BATCH_INPUT} source_input: [ 'x', 'x' ] }}",
            "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 2 for m",
        ),
        (
            "batch_input { kind: 77 }",
            "batch input kind '77' expects 1 source input, got 0 for m",
        ),
        (
            f"batch_input {{ {BATCH_INPUT} source_input: 'z' }}",
            "unknown source input name 'z' for m",
        ),
        (
            "batch_input { source_input: 'x' data_type: TYPE_INT64 }",
            "batch input data type must be TYPE_INT32 or TYPE_FP32 for m",
        ),
        (
            "batch_output { source_input: 'x' target_name: 'z' }",
            "unknown target output name 'z' for m",
        ),
        (
            "batch_output { target_name: 'y' }",
            (
                "batch output kind 'BATCH_SCATTER_WITH_INPUT_SHAPE' expects 1 source input, got 0 "
                "for m"
            ),
        ),
    ],
)
def test_batch_tensors_that_cannot_be_are_refused(text: str, message: str) -> None:
    tensors = f"input {{ {GOOD} }} output {{ {GOOD.replace('x', 'y')} }}"

    error = complaint(f"{tensors}\n{text}")

    assert error.message == message
    assert error.line == 2


def test_batch_tensors_within_the_rules_are_taken() -> None:
    configured(
        f"input {{ {GOOD} }} output {{ {GOOD.replace('x', 'y')} }}"
        f"batch_input {{ {BATCH_INPUT} source_input: 'x' }}"
        "batch_output { source_input: 'x' target_name: 'y' }",
        auto_complete=False,
    )

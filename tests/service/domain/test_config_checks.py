import pytest

from interlock.domain.config_checks import leaves_directory
from interlock.domain.errors import InvalidRequestError, UnsupportedError
from tests.support.configs import complaint, configured


def test_a_negative_batch_size_is_refused() -> None:
    error = complaint("max_batch_size: -1")

    assert isinstance(error, InvalidRequestError)
    assert error.message == "'max_batch_size' must be non-negative value for m"
    assert (error.line, error.column) == (1, 17)


@pytest.mark.parametrize(
    ("group", "message", "hint"),
    [
        (
            "kind: KIND_GPU",
            "instance group m_0 of model m has kind KIND_GPU but server does not support GPUs",
            "No backend of this build runs on a GPU. Write: kind: KIND_CPU, without gpus.",
        ),
        (
            "name: 'g' kind: KIND_CPU gpus: [ 0 ]",
            "instance group g of model m has kind KIND_CPU but specifies one or more GPUs",
            "Remove the line with gpus.",
        ),
        (
            "kind: KIND_MODEL gpus: [ 0 ]",
            "instance group m_0 of model m has kind KIND_MODEL but specifies one or more GPUs",
            "Remove the line with gpus.",
        ),
        (
            "profile: '1'",
            (
                "instance group m_0 of model m and platform onnxruntime_onnx specifies profile "
                "field which is only supported for TensorRT models"
            ),
            "Remove the line with profile.",
        ),
        ("kind: 7", "instance group m_0 of model m has unknown kind 7", "Write: kind: KIND_CPU"),
    ],
)
def test_an_instance_group_that_cannot_be_is_refused(group: str, message: str, hint: str) -> None:
    error = complaint(f"\ninstance_group [ {{ {group} }} ]")

    assert error.message == message
    assert error.hint == hint
    assert error.line == 2


def test_profiles_are_for_tensorrt() -> None:
    configured('backend: "tensorrt" instance_group { profile: "1" }')


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("default_model_filename", 'default_model_filename: "../../other/model.onnx"'),
        ("default_model_filename", 'default_model_filename: "/etc/passwd"'),
        ("cc_model_filenames", 'cc_model_filenames { key: "8.6" value: "a/../../../b" }'),
    ],
)
def test_a_model_file_outside_the_models_directory_is_refused(field: str, text: str) -> None:
    error = complaint(text)

    assert error.message.startswith(f"{field} '")
    assert error.message.endswith("of model 'm' is outside model directory")
    assert error.line == 1


def test_a_label_file_outside_the_models_directory_is_unsupported() -> None:
    with pytest.raises(UnsupportedError) as error:
        configured("output { name: 'y' label_filename: '../labels.txt' }")

    assert str(error.value) == (
        "label file path '../labels.txt' of output 'y' is outside model directory. Write a path "
        "that is relative to the directory of model 'm'."
    )


@pytest.mark.parametrize(
    ("name", "depth", "leaves"),
    [
        ("", 0, False),
        ("labels.txt", 0, False),
        ("a/../labels.txt", 0, False),
        ("..", 0, True),
        ("a/../../b", 0, True),
        ("../shared.onnx", 1, False),
        ("../../other", 1, True),
        ("/etc/passwd", 1, True),
        ("a\0b", 0, True),
        ("..a", 0, False),
        (".", 0, False),
    ],
)
def test_a_path_leaves_where_it_climbs_too_far(name: str, depth: int, *, leaves: bool) -> None:
    assert leaves_directory(name, depth=depth) is leaves


def swap_policy(value: str) -> str:
    return f'parameters {{ key: "swap_policy" value {{ string_value: "{value}" }} }}'


@pytest.mark.parametrize(
    ("value", "room_first"), [("availability_preserving", False), ("resource_preserving", True)]
)
def test_the_swap_policy_says_what_goes_first(value: str, room_first: bool) -> None:
    assert configured(swap_policy(value)).swaps_room_first == room_first


def test_without_a_swap_policy_availability_comes_first() -> None:
    assert not configured("").swaps_room_first


@pytest.mark.parametrize("value", ["", "resource", "RESOURCE_PRESERVING"])
def test_a_swap_policy_that_there_is_not_is_refused(value: str) -> None:
    error = complaint(swap_policy(value))

    assert error.message == (
        f"parameter 'swap_policy' of model m is '{value}', expected one of: "
        "availability_preserving, resource_preserving"
    )
    assert error.hint == (
        'Write: parameters { key: "swap_policy" value { string_value: "resource_preserving" } }, '
        "or leave it out."
    )

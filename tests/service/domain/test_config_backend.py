import pytest

from tests.support.configs import complaint, normalised


@pytest.mark.parametrize(
    ("entries", "backend", "platform", "filename"),
    [
        ("model.onnx", "onnxruntime", "onnxruntime_onnx", "model.onnx"),
        ("model.plan", "tensorrt", "tensorrt_plan", "model.plan"),
        ("model.savedmodel", "tensorflow", "tensorflow_savedmodel", "model.savedmodel"),
        ("model.graphdef", "tensorflow", "tensorflow_graphdef", "model.graphdef"),
        ("model.xml", "openvino", "", "model.xml"),
        ("model.pt", "pytorch", "pytorch_libtorch", "model.pt"),
        ("model.pt2", "pytorch", "torch_aoti", "model.pt2"),
        ("model.py", "python", "", "model.py"),
    ],
)
def test_the_file_tells_the_backend(
    entries: str, backend: str, platform: str, filename: str
) -> None:
    config = normalised(first_entries=["labels.txt", entries])

    assert (config.backend, config.platform, config.default_model_filename) == (
        backend,
        platform,
        filename,
    )


@pytest.mark.parametrize(
    ("text", "backend", "platform", "filename"),
    [
        pytest.param(
            'backend: "onnxruntime"', "onnxruntime", "onnxruntime_onnx", "model.onnx", id="backend"
        ),
        pytest.param(
            'platform: "tensorrt_plan"', "tensorrt", "tensorrt_plan", "model.plan", id="platform"
        ),
        pytest.param(
            'default_model_filename: "m.pt"', "pytorch", "pytorch_libtorch", "m.pt", id="file name"
        ),
        pytest.param('backend: "python"', "python", "", "model.py", id="no platform"),
        pytest.param(
            'backend: "tensorflow" default_model_filename: "a.graphdef"',
            "tensorflow",
            "tensorflow_graphdef",
            "a.graphdef",
            id="backend with several platforms",
        ),
        pytest.param(
            'backend: "pytorch" platform: "torch_aoti"',
            "pytorch",
            "torch_aoti",
            "model.pt2",
            id="backend and platform",
        ),
        pytest.param('backend: "identity"', "identity", "", "model.identity", id="another backend"),
        pytest.param(
            'backend: "mine" platform: "mine_too"', "mine", "mine_too", "model.mine", id="all own"
        ),
        pytest.param(
            'backend: "onnxruntime" default_model_filename: "a.bin"',
            "onnxruntime",
            "onnxruntime_onnx",
            "a.bin",
            id="a file name of its own",
        ),
    ],
)
def test_each_name_implies_the_others(
    text: str, backend: str, platform: str, filename: str
) -> None:
    config = normalised(text, first_entries=["model.xml"])

    assert (config.backend, config.platform, config.default_model_filename) == (
        backend,
        platform,
        filename,
    )


@pytest.mark.parametrize(
    ("model", "backend", "filename"),
    [
        ("digits.onnxruntime", "onnxruntime", "model.onnx"),
        ("a.identity", "identity", "model.identity"),
        ("a.b.c", "b.c", "model.b.c"),
    ],
)
def test_the_models_name_tells_the_backend_last(model: str, backend: str, filename: str) -> None:
    config = normalised("", model=model, first_entries=[])

    assert (config.backend, config.default_model_filename) == (backend, filename)


@pytest.mark.parametrize("text", ['platform: "ensemble"', "ensemble_scheduling { step: {} }"])
def test_an_ensemble_has_a_platform_only(text: str) -> None:
    error = complaint(text)  # that there is no complete step; the names are filled before that

    assert "for ensemble" in error.message or "of ensemble" in error.message


@pytest.mark.parametrize(
    ("entries", "hint"),
    [
        (
            ["digits.onnx"],
            (
                "The version holds 'digits.onnx': rename it to 'model.onnx', or write: "
                'backend: "onnxruntime" default_model_filename: "digits.onnx"'
            ),
        ),
        (
            ["readme"],
            'Write the backend into config.pbtxt, such as backend: "onnxruntime"',
        ),
    ],
)
@pytest.mark.parametrize("model", ["m", "m."])
def test_a_backend_that_nothing_tells_is_asked_for(
    model: str, entries: list[str], hint: str
) -> None:
    error = complaint("", model=model, first_entries=entries)

    assert error.message == (
        f"Invalid model name: Could not determine backend for model '{model}' with no backend in "
        "model configuration. Expected model name of the form 'model.<backend_name>'."
    )
    assert error.hint == hint


@pytest.mark.parametrize(
    ("platform", "hint"),
    [
        ("onnxruntime", 'Write: backend: "onnxruntime"'),
        ("onnxruntime_onx", 'Write: platform: "onnxruntime_onnx"'),
        ("zzz", 'Write the backend instead, such as backend: "onnxruntime"'),
    ],
)
def test_an_unknown_platform_is_refused(platform: str, hint: str) -> None:
    error = complaint(f'platform: "{platform}"')

    assert error.message == f"unexpected platform type '{platform}' for m"
    assert error.hint == hint
    assert error.line == 1

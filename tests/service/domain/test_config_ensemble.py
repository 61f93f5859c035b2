import pytest

from interlock.domain.config import Scheduling
from tests.support.configs import complaint, configured

TENSORS = """
platform: "ensemble"
input { name: "IN" data_type: TYPE_FP32 dims: 1 }
output { name: "OUT" data_type: TYPE_FP32 dims: 1 }
"""


def step(reads: str, writes: str, *, model: str = "a") -> str:
    return (
        f'{{ model_name: "{model}" input_map {{ key: "x" value: "{reads}" }} '
        f'output_map {{ key: "y" value: "{writes}" }} }}'
    )


def ensemble(*steps: str, extra: str = "") -> str:
    return f"{TENSORS}{extra}\nensemble_scheduling {{ step [ {', '.join(steps)} ] }}"


def test_an_ensemble_whose_steps_connect_is_kept() -> None:
    config = configured(ensemble(step("IN", "t"), step("t", "OUT", model="b")))

    assert config.scheduling is Scheduling.ENSEMBLE
    assert (config.platform, config.backend) == ("ensemble", "")
    assert config.instance_groups == ()
    assert config.default_model_filename == ""


def test_its_platform_need_not_be_written() -> None:
    text = ensemble(step("IN", "OUT")).replace('platform: "ensemble"', "")

    assert configured(text).platform == "ensemble"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'platform: "onnxruntime_onnx" ensemble_scheduling { }',
            "ensemble scheduling cannot be set for model 'm' whose platform is 'onnxruntime_onnx'",
        ),
        (
            ensemble(step("IN", "OUT"), extra='backend: "python"'),
            "ensemble model 'm' must have platform type 'ensemble' and empty backend",
        ),
        (
            ensemble(step("IN", "OUT"), extra="instance_group { }"),
            "instance_group should not be specified for ensemble 'm'",
        ),
        (
            ensemble(step("IN", "OUT"), extra="optimization { }"),
            "optimization should not be specified for ensemble 'm'",
        ),
        (
            ensemble(step("IN", "OUT"), extra="model_warmup { }"),
            "model_warmup should not be specified for ensemble 'm'",
        ),
        (TENSORS, "must specify 'step' for ensemble 'm'"),
        (ensemble("{ }"), "must specify 'model_name' in step 0 of ensemble 'm'"),
        (
            ensemble(step("IN", "OUT"), "{ model_name: 'b' }"),
            "must specify 'input_map' in step 1 of ensemble 'm'",
        ),
        (
            ensemble("{ model_name: 'b' input_map { key: 'x' value: 'IN' } }"),
            "must specify 'output_map' in step 0 of ensemble 'm'",
        ),
        (
            ensemble(step("IN", "OUT"), step("IN", "OUT")),
            "ensemble tensor 'OUT' can appear in an output map only once for ensemble 'm' step 1",
        ),
        (
            ensemble(step("IN", "IN")),
            "ensemble tensor 'IN' can appear in an output map only once for ensemble 'm' step 0",
        ),
        (ensemble(step("t", "OUT")), "ensemble input 'IN' for ensemble m is not used"),
        (ensemble(step("IN", "t")), "output 'OUT' for ensemble 'm' is not written"),
        (
            ensemble(step("IN", "t"), step("gone", "OUT")),
            (
                "output 'OUT' for ensemble 'm' is not written: at least one of its depending "
                "tensors, 'gone', is not connected"
            ),
        ),
        (
            ensemble(step("IN", "OUT"), step("IN", "idle")),
            "ensemble tensor 'idle' is unused in ensemble 'm'",
        ),
    ],
)
def test_an_ensemble_that_does_not_fit_together_is_refused(text: str, message: str) -> None:
    error = complaint(text)

    assert error.message == message
    assert error.hint
    assert error.line


def test_steps_that_feed_each_other_are_looked_at_once() -> None:
    text = ensemble(step("IN", "OUT"), step("b", "a"), step("a", "b"))

    assert configured(text).scheduling is Scheduling.ENSEMBLE

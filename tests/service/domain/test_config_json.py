"""Configurations that come as JSON with a load."""

import json

import pytest

from interlock.domain.config import ModelConfig
from interlock.domain.config_rules import configure_override
from interlock.domain.config_text import ConfigError


def configured(text: str, *, auto_complete: bool = True) -> ModelConfig:
    return configure_override(
        text, model="m", first_entries=["model.onnx"], auto_complete=auto_complete
    )


def refusal(text: str, *, auto_complete: bool = True) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(text, auto_complete=auto_complete)
    return str(caught.value)


def test_an_empty_configuration_is_filled_in_and_normalised() -> None:
    config = configured("{}")

    assert (config.name, config.backend) == ("m", "onnxruntime")
    assert config.instance_groups[0].count == 2


@pytest.mark.parametrize("key", ["max_batch_size", "maxBatchSize"])
def test_names_are_taken_in_both_spellings(key: str) -> None:
    assert configured(json.dumps({key: "8"})).max_batch_size == 8


@pytest.mark.parametrize("kind", ["TYPE_FP32", "type_fp32", "Type_Fp32"])
def test_values_of_enums_are_taken_in_any_case(kind: str) -> None:
    config = configured(json.dumps({"input": [{"name": "x", "data_type": kind, "dims": ["-1"]}]}))

    assert config.inputs[0].datatype == "FP32"
    assert config.inputs[0].dims == (-1,)


def test_values_of_enums_inside_of_maps_are_taken_in_any_case() -> None:
    inputs = {"x": {"data_type": "type_int32", "dims": [1], "zero_data": True}}
    warmup = [{"name": "s", "batch_size": 1, "inputs": inputs}]

    config = configured(json.dumps({"model_warmup": warmup}))

    assert config.warmup_samples[0].inputs[0].datatype == "INT32"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON, line 1, column 1: Expecting value"),
        ('{"name": }', "no JSON, line 1, column 10: Expecting value"),
        ("[]", "a JSON object is expected"),
        ('{"max_batch_size": 1, "max_batch_size": 2}', "'max_batch_size' is given twice"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, reason: str) -> None:
    assert refusal(text) == f"Invalid config override: {reason}"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"max_batch": 1}', "max_batch"),
        ('{"max_batch_size": "many"}', "many"),
        ('{"max_batch_size": Infinity}', ""),
        ('{"input": [{"data_type": "TYPE_FLOAT"}]}', "TYPE_FLOAT"),
        ('{"name": "\\ud800"}', ""),
        ('{"input": {"name": "x"}}', "input"),
    ],
)
def test_a_field_that_cannot_be_read_is_refused(text: str, named: str) -> None:
    said = refusal(text)

    assert said.startswith("Invalid config override: ")
    assert named in said
    assert "Failed to parse" not in said


def test_a_configuration_that_cannot_be_is_refused() -> None:
    assert refusal('{"name": "n"}').startswith(
        "Invalid config override: unexpected directory name 'm' for model 'n', "
        "directory name must equal model name"
    )
    assert "max_batch_size" in refusal('{"max_batch_size": -1}')


def test_inputs_are_checked_at_once_without_auto_complete() -> None:
    text = '{"input": [{"name": "x"}]}'

    assert configured(text).inputs[0].datatype == ""
    assert "must specify 'data_type'" in refusal(text, auto_complete=False)

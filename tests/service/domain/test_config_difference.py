"""Which differences between two configurations a version need not be loaded for."""

import pytest
from google.protobuf import text_format

from interlock.domain.config_difference import same_but_for_instances
from interlock.domain.config_values import message_of, project
from interlock.pb import model_config_pb2 as pb
from tests.support.running import config_of

BASE = """
    backend: "identity"
    max_batch_size: 4
    input { name: "INPUT0" data_type: TYPE_FP32 dims: 1 }
    output { name: "OUTPUT0" data_type: TYPE_FP32 dims: 1 }
    instance_group { count: 1 kind: KIND_CPU }"""

FIELDS = {
    "name": 'name: "other"',
    "platform": 'platform: "onnxruntime_onnx"',
    "backend": 'backend: "onnxruntime"',
    "runtime": 'runtime: "r"',
    "version_policy": "version_policy { all {} }",
    "max_batch_size": "max_batch_size: 8",
    "input": 'input { name: "INPUT1" data_type: TYPE_FP32 dims: 1 }',
    "output": 'output { name: "OUTPUT1" data_type: TYPE_FP32 dims: 1 }',
    "batch_input": 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" }',
    "batch_output": 'batch_output { target_name: "n" }',
    "optimization": "optimization { priority: PRIORITY_MAX }",
    "dynamic_batching": "dynamic_batching {}",
    "sequence_batching": "sequence_batching {}",
    "ensemble_scheduling": "ensemble_scheduling {}",
    "instance_group": "instance_group { count: 3 kind: KIND_GPU gpus: 0 passive: true }",
    "default_model_filename": 'default_model_filename: "other.onnx"',
    "cc_model_filenames": 'cc_model_filenames { key: "7" value: "f" }',
    "metric_tags": 'metric_tags { key: "k" value: "v" }',
    "parameters": 'parameters { key: "k" value { string_value: "v" } }',
    "model_warmup": 'model_warmup { name: "w" batch_size: 1 }',
    "model_operations": 'model_operations { op_library_filename: "lib.so" }',
    "model_transaction_policy": "model_transaction_policy { decoupled: true }",
    "model_repository_agents": 'model_repository_agents { agents { name: "checksum" } }',
    "response_cache": "response_cache { enable: true }",
    "model_metrics": "model_metrics {}",
}


def merged(field: str) -> pb.ModelConfig:
    message = message_of(config_of(BASE))
    text_format.Merge(FIELDS[field], message)
    return message


def test_every_field_of_the_configuration_is_tried_here() -> None:
    assert {field.name for field in pb.ModelConfig.DESCRIPTOR.fields} == FIELDS.keys()


@pytest.mark.parametrize("field", FIELDS)
def test_instances_and_version_policy_alone_are_changed_in_place(field: str) -> None:
    before, after = config_of(BASE), project(merged(field))

    assert before.message != after.message
    assert same_but_for_instances(before, after) is (field in {"instance_group", "version_policy"})


def test_what_means_the_same_is_the_same() -> None:
    before = config_of(BASE)

    assert same_but_for_instances(before, config_of(f"# a remark\n{BASE}\n\n"))


def test_an_ensemble_has_nothing_to_change_in_place() -> None:
    ensemble = message_of(config_of(BASE))
    ensemble.ensemble_scheduling.SetInParent()
    other = pb.ModelConfig()
    other.CopyFrom(ensemble)
    other.version_policy.all.SetInParent()

    assert not same_but_for_instances(project(ensemble), project(other))
    assert same_but_for_instances(project(ensemble), project(ensemble))

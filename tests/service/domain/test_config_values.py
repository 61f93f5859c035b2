import pytest

from interlock.domain.config import (
    InstanceGroup,
    Scheduling,
    TensorConfig,
    VersionPolicy,
    VersionPolicyKind,
    WarmupData,
    WarmupInput,
    WarmupSample,
)
from interlock.domain.config_values import datatype_name, message_of
from tests.support.configs import RICH, configured


def test_shows_what_the_server_looks_at() -> None:
    config = configured(RICH)

    assert config.name == "m"
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == 8
    assert config.inputs == (
        TensorConfig("x", "FP32", (3, -1), reshape=(1, 3, -1)),
        TensorConfig("ids", "INT64", (1,), reshape=()),
    )
    assert config.outputs == (TensorConfig("y", "BYTES", (10,), label_filename="labels.txt"),)
    assert config.instance_groups == (InstanceGroup("m_0", "KIND_CPU", 2),)
    assert config.scheduling is Scheduling.DYNAMIC
    assert config.graph_level == -1
    assert [sample.name for sample in config.warmup_samples] == ["two parts"]
    assert config.parameters == {"intra_op_thread_count": "1"}


def test_reads_the_warm_up_samples_with_their_inputs_by_name() -> None:
    config = configured("""
        model_warmup {
          name: "all kinds" batch_size: 2 count: 3
          inputs { key: "z" value { data_type: TYPE_FP32 dims: [ 2, -1 ] zero_data: true } }
          inputs { key: "r" value { data_type: TYPE_INT64 dims: 1 random_data: true } }
          inputs { key: "f" value { data_type: TYPE_STRING dims: 4 input_data_file: "raw" } }
          inputs { key: "a" value { data_type: TYPE_BF16 } }
        }
        model_warmup { name: "skipped" }""")

    assert config.warmup_samples == (
        WarmupSample(
            "all kinds",
            batch_size=2,
            count=3,
            inputs=(
                WarmupInput("a", "BF16", (), WarmupData.UNSET),
                WarmupInput("f", "BYTES", (4,), WarmupData.FILE, "raw"),
                WarmupInput("r", "INT64", (1,), WarmupData.RANDOM),
                WarmupInput("z", "FP32", (2, -1), WarmupData.ZERO),
            ),
        ),
        WarmupSample("skipped", batch_size=0),
    )


def test_keeps_the_rest_in_the_message() -> None:
    message = message_of(configured(RICH))

    assert message.instance_group[0].rate_limiter.resources[0].name == "r"
    assert message.model_metrics.metric_control[0].histogram_options.buckets[1] == 1000


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", VersionPolicy()),
        ("version_policy { latest { num_versions: 3 } }", VersionPolicy(num_versions=3)),
        ("version_policy { all { } }", VersionPolicy(VersionPolicyKind.ALL)),
        ("version_policy { }", VersionPolicy(VersionPolicyKind.ALL)),
        (
            "version_policy { specific { versions: [ 3, 1 ] } }",
            VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(3, 1)),
        ),
    ],
)
def test_reads_the_version_policy(text: str, policy: VersionPolicy) -> None:
    assert configured(text).version_policy == policy


@pytest.mark.parametrize(
    ("text", "scheduling"),
    [
        ("", Scheduling.NONE),
        ("dynamic_batching { }", Scheduling.DYNAMIC),
        ("sequence_batching { }", Scheduling.SEQUENCE),
    ],
)
def test_reads_the_scheduling_choice(text: str, scheduling: Scheduling) -> None:
    assert configured(text).scheduling is scheduling


def test_reads_what_belongs_to_some_models_only() -> None:
    config = configured(
        "input { name: 'x' data_type: TYPE_INT32 dims: 1 optional: true allow_ragged_batch: true }"
        "model_transaction_policy { decoupled: true }"
        "model_operations { op_library_filename: 'ops.so' }"
        "instance_group { kind: KIND_MODEL passive: true }"
    )

    assert config.decoupled
    assert config.op_library_filenames == ("ops.so",)
    assert config.instance_groups[0].passive
    assert config.inputs[0].optional
    assert config.inputs[0].allow_ragged_batch


def test_a_graph_level_that_is_not_given_is_none() -> None:
    assert configured().graph_level is None
    assert configured("optimization { graph { } }").graph_level == 0


def test_a_data_type_without_a_name_is_no_data_type() -> None:
    assert datatype_name(11) == "TYPE_FP32"
    assert datatype_name(99) == "TYPE_INVALID"
    assert configured("input { name: 'x' data_type: 99 dims: 1 }").inputs[0].datatype == ""

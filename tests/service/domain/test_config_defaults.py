import pytest

from interlock.pb import model_config_pb2 as pb
from tests.support.configs import normalised


def test_the_highest_version_is_served() -> None:
    assert normalised().version_policy.latest.num_versions == 1


def test_an_empty_version_policy_stays_empty() -> None:
    policy = normalised("version_policy { }").version_policy

    assert policy.WhichOneof("policy_choice") is None


def test_full_batches_are_preferred() -> None:
    dynamic = normalised("max_batch_size: 8 dynamic_batching { }").dynamic_batching
    sequence = normalised("max_batch_size: 8 sequence_batching { oldest { } }").sequence_batching

    assert list(dynamic.preferred_batch_size) == [8]
    assert list(sequence.oldest.preferred_batch_size) == [8]


def test_preferred_sizes_that_are_given_stay() -> None:
    config = normalised("max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 2 ] }")

    assert list(config.dynamic_batching.preferred_batch_size) == [2]


def test_without_batches_none_is_preferred() -> None:
    assert not normalised("dynamic_batching { }").dynamic_batching.preferred_batch_size


def test_sequences_may_be_idle_for_a_second() -> None:
    config = normalised("sequence_batching { }")
    given = normalised("sequence_batching { max_sequence_idle_microseconds: 5 }")

    assert config.sequence_batching.max_sequence_idle_microseconds == 1_000_000
    assert given.sequence_batching.max_sequence_idle_microseconds == 5


def test_pinned_memory_is_on_unless_it_is_switched_off() -> None:
    optimization = normalised("optimization { input_pinned_memory { enable: false } }").optimization

    assert not optimization.input_pinned_memory.enable
    assert optimization.output_pinned_memory.enable


def test_the_one_group_of_a_model_without_any_bears_its_name() -> None:
    groups = normalised('backend: "identity"').instance_group

    assert [(group.name, group.kind, group.count) for group in groups] == [
        ("m", pb.ModelInstanceGroup.KIND_CPU, 1)
    ]


def test_groups_without_a_name_are_numbered_by_their_place() -> None:
    groups = normalised("instance_group [ { }, { name: 'mine' }, { count: 3 } ]").instance_group

    assert [group.name for group in groups] == ["m_0", "mine", "m_2"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param('backend: "onnxruntime"', 2, id="onnxruntime"),
        pytest.param('backend: "onnxruntime" instance_group { }', 2, id="a group without count"),
        pytest.param(
            'backend: "onnxruntime" instance_group { kind: KIND_CPU count: 0 }', 2, id="count 0"
        ),
        pytest.param('backend: "onnxruntime" instance_group { count: 1 }', 1, id="as written"),
        pytest.param(
            'backend: "onnxruntime" instance_group { kind: KIND_MODEL }', 1, id="not on CPU"
        ),
        pytest.param('backend: "python" instance_group { }', 1, id="another backend"),
    ],
)
def test_counts_default_by_backend_and_kind(text: str, count: int) -> None:
    assert normalised(text).instance_group[0].count == count

import pytest

from interlock.domain.config import Scheduling
from tests.support.configs import complaint, configured


@pytest.mark.parametrize(
    ("rules", "message", "hint"),
    [
        (
            "preferred_batch_size: [ 4, 0 ]",
            "dynamic batching preferred size must be positive for m",
            "0 is no batch size: remove it.",
        ),
        (
            "preferred_batch_size: [ 4, 16 ]",
            "dynamic batching preferred size must be <= max batch size for m",
            "Write: max_batch_size: 16 or more, or remove the preferred size 16.",
        ),
        (
            "priority_levels: 3",
            "default priority level must be in range [1, 3] for m",
            "Write: default_priority_level: 2",
        ),
        (
            "priority_levels: 3 default_priority_level: 4",
            "default priority level must be in range [1, 3] for m",
            "Write: default_priority_level: 2",
        ),
        (
            "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 }",
            "priority queue policy must have priority level in range [1, 2] for m",
            "No request can have level 3: remove its policy, or raise priority_levels.",
        ),
        (
            "preserve_ordering: true priority_levels: 2 default_priority_level: 1",
            "Only one priority level is allowed when 'preserve_ordering' is true for m",
            "Remove preserve_ordering, or write: priority_levels: 1",
        ),
        (
            (
                "preserve_ordering: true default_queue_policy { timeout_action: DELAY "
                "default_timeout_microseconds: 1 }"
            ),
            (
                "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is "
                "true for m"
            ),
            "Remove preserve_ordering, or write: timeout_action: REJECT",
        ),
    ],
)
def test_dynamic_batching_that_cannot_be_is_refused(rules: str, message: str, hint: str) -> None:
    error = complaint(f"max_batch_size: 8\ndynamic_batching {{ {rules} }}")

    assert error.message == message
    assert error.hint == hint
    assert error.line == 2


@pytest.mark.parametrize(
    "rules",
    [
        "preserve_ordering: true default_queue_policy { timeout_action: DELAY }",
        "preserve_ordering: true priority_levels: 1 default_priority_level: 1",
        "priority_queue_policy { key: 7 }",
        "priority_levels: 2 default_priority_level: 2 priority_queue_policy { key: 2 }",
        "preferred_batch_size: [ 8, 1 ]",
    ],
)
def test_dynamic_batching_within_the_rules_is_taken(rules: str) -> None:
    config = configured(f"max_batch_size: 8 dynamic_batching {{ {rules} }}")

    assert config.scheduling is Scheduling.DYNAMIC


CONTROL = "kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ]"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            "oldest { preferred_batch_size: -1 }",
            "sequence batching preferred batch size must be positive for m",
        ),
        (
            "oldest { preferred_batch_size: 9 }",
            "sequence batching preferred batch size must be <= max batch size for m",
        ),
        (
            "direct { minimum_slot_utilization: 1.5 }",
            "sequence batching minimum slot utilization must be in range (0.0, 1.0] for m",
        ),
        (
            "control_input { }",
            "sequence batching control tensor must have a name for m",
        ),
        (
            f"control_input [ {{ name: 'S' control: {{ {CONTROL} }} }}, {{ name: 'S' }} ]",
            "sequence batching control tensor 'S' is specified for multiple control kinds for m",
        ),
        (
            f"control_input [ {{ name: 'S' control [ {{ {CONTROL} }}, {{ {CONTROL} }} ] }} ]",
            "sequence batching specifies multiple CONTROL_SEQUENCE_START tensors for m",
        ),
        (
            "control_input { name: 'C' control { kind: CONTROL_SEQUENCE_CORRID } }",
            (
                "unexpected data type for control CONTROL_SEQUENCE_CORRID for m. Allowed data "
                "types are TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
            ),
        ),
        (
            "control_input { name: 'E' control { kind: CONTROL_SEQUENCE_END } }",
            (
                "sequence batching control CONTROL_SEQUENCE_END must specify one of "
                "int32_false_true, fp32_false_true and bool_false_true, with two values, for m"
            ),
        ),
        (
            "control_input { name: 'E' control { kind: 9 fp32_false_true: [ 0, 1, 2 ] } }",
            (
                "sequence batching control 9 must specify one of int32_false_true, "
                "fp32_false_true and bool_false_true, with two values, for m"
            ),
        ),
    ],
)
def test_sequence_batching_that_cannot_be_is_refused(rules: str, message: str) -> None:
    error = complaint(f"max_batch_size: 8\nsequence_batching {{ {rules} }}")

    assert error.message == message
    assert error.line == 2


def test_sequence_batching_within_the_rules_is_kept() -> None:
    config = configured(
        "max_batch_size: 8 sequence_batching { direct { minimum_slot_utilization: 0.5 } "
        f"control_input [ {{ name: 'S' control {{ {CONTROL} }} }}, {{ name: 'C' control {{ "
        "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } } ] }"
    )

    assert config.scheduling is Scheduling.SEQUENCE

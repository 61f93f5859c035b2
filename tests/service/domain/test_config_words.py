import pytest

from interlock.domain import config_words as words
from interlock.domain.config_tokens import Token
from interlock.pb import POOL, model_config_pb2 as pb

CONFIG = POOL.FindMessageTypeByName("inference.ModelConfig")


@pytest.mark.parametrize(
    ("message", "word", "field"),
    [
        ("ModelConfig", "inputs", "input"),
        ("ModelConfig", "batch_size", "max_batch_size"),
        ("ModelInput", "dim", "dims"),
        ("ModelInput", "shape", "dims"),
        ("ModelInput", "type", "data_type"),
        ("ModelInput", "DataType", "data_type"),
        ("ModelOutput", "labels", "label_filename"),
        ("ModelParameter", "value", "string_value"),
    ],
)
def test_knows_what_people_write_instead(message: str, word: str, field: str) -> None:
    found = words.field_known_for(POOL.FindMessageTypeByName(f"inference.{message}"), word)

    assert found is not None
    assert found.name == field


def test_every_known_mistake_leads_to_a_field() -> None:
    for message, fields in words._FIELDS.items():
        descriptor = POOL.FindMessageTypeByName(f"inference.{message}")
        assert set(fields.values()) <= set(descriptor.fields_by_name), message
        assert set(fields).isdisjoint(descriptor.fields_by_name), message


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("max_bach_size", "max_batch_size"),
        ("maxBatchSize", "max_batch_size"),
        ("MAX-BATCH-SIZE", "max_batch_size"),
        ("instance_groups", "instance_group"),
        ("dynamic_batchin", "dynamic_batching"),
    ],
)
def test_finds_the_field_that_is_spelled_most_like_a_word(word: str, field: str) -> None:
    found = words.field_near(CONFIG, word)

    assert found is not None
    assert found.name == field


def test_finds_no_field_for_a_word_like_none() -> None:
    assert words.field_near(CONFIG, "frobnicate") is None
    assert words.field_known_for(CONFIG, "frobnicate") is None


@pytest.mark.parametrize(
    ("word", "way"),
    [
        ("preferred_batch_size", ["dynamic_batching", "preferred_batch_size"]),
        ("kind", ["instance_group", "kind"]),
        ("dims", ["input", "dims"]),
        ("num_versions", ["version_policy", "latest", "num_versions"]),
        ("frobnicate", []),
    ],
)
def test_finds_the_way_to_a_field_further_inside(word: str, way: list[str]) -> None:
    assert [field.name for field in words.way_down(CONFIG, word)] == way


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("FP32", "TYPE_FP32"),
        ('"TYPE_FP32"', "TYPE_FP32"),
        ("type_int64", "TYPE_INT64"),
        ("TYPE_FLOAT", "TYPE_FP32"),
        ("float64", "TYPE_FP64"),
        ("TYPE_BYTES", "TYPE_STRING"),
        ("bool", "TYPE_BOOL"),
        ("TYPE_COMPLEX", ""),
    ],
)
def test_finds_the_data_type_that_was_meant(word: str, value: str) -> None:
    enum = POOL.FindEnumTypeByName("inference.DataType")

    assert words.enum_value_meant(enum, word) == value


@pytest.mark.parametrize(
    ("word", "value"),
    [("KIND_cpu", "KIND_CPU"), ("gpu", "KIND_GPU"), ("KIND_MODLE", "KIND_MODEL"), ("TPU", "")],
)
def test_finds_the_kind_that_was_meant(word: str, value: str) -> None:
    assert words.enum_value_meant(pb.ModelInstanceGroup.Kind.DESCRIPTOR, word) == value


def test_values_without_a_common_beginning_are_found_too() -> None:
    enum = pb.ModelQueuePolicy.TimeoutAction.DESCRIPTOR

    assert words.enum_value_meant(enum, "reject") == "REJECT"


@pytest.mark.parametrize(
    ("word", "value"),
    [('"true"', "true"), ("YES", "true"), ("off", "false"), ("0", "false"), ("maybe", "")],
)
def test_finds_the_truth_that_was_meant(word: str, value: str) -> None:
    assert words.bool_meant(word) == value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('"8"', "8"),
        ("8.0", "8"),
        ("-1.", "-1"),
        ("1_000", "1000"),
        ("8.5", ""),
        ("eight", ""),
        ("9" * 30, ""),
    ],
)
def test_finds_the_number_that_was_meant(word: str, value: str) -> None:
    assert words.integer_meant(word) == value


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("dim: [ 64 ] # flat", ": [ 64 ]"),
        ("dim: 4 name: 'x'", ": 4"),
        ("dim { a: 1 }", " { a: 1 }"),
        ("dim = 4", " = 4"),
        ("dim: [", ""),
        ("dim:", ""),
        ("dim }", ""),
    ],
)
def test_takes_a_value_over_from_its_line(line: str, rest: str) -> None:
    assert words.rest_of_field(f"\n{line}\n", Token("dim", 2, 1)) == rest

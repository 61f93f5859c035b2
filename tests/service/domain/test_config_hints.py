"""What a person reads who has broken a configuration: the sentence, the place, the edit."""

import pytest

from interlock.domain.config_text import ConfigError, parse

CLOSED_TOO_LATE = """\
dynamic_batching {
  preferred_batch_size: [ 4 ]
instance_group [ { count: 1 } ]
"""
LIST_NOT_CLOSED = """\
input [
  { name: "x" }
output [ { name: "y" } ]
"""


def broken(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        parse(text, "m/config.pbtxt")
    return error.value


@pytest.mark.parametrize(
    ("text", "word", "hint"),
    [
        pytest.param("input { dim: [ 64 ] }", "dim", "Write: dims: [ 64 ]", id="dim"),
        pytest.param(
            "input { type: TYPE_FLOAT }", "type", "Write: data_type: TYPE_FP32", id="type"
        ),
        pytest.param("input { type: 'x' }", "type", "Write: data_type: 'x'", id="no such type"),
        pytest.param("inputs [ { } ]", "inputs", "Write: input [ { } ]", id="inputs"),
        pytest.param("inputs [\n{ } ]", "inputs", "Write: input [ { … } ]", id="on many lines"),
        pytest.param(
            "optimisation {\n}", "optimisation", "Write: optimization { … }", id="spelling"
        ),
        pytest.param("naem:\n'x'", "naem", "Write: name: …", id="value on the next line"),
        pytest.param(
            "preferred_batch_size: [ 4 ]",
            "preferred_batch_size",
            "It stands further inside. Write: dynamic_batching { preferred_batch_size: [ 4 ] }",
            id="not at the top",
        ),
        pytest.param(
            "num_versions:\n4",
            "num_versions",
            "It stands further inside. Write: version_policy { latest { num_versions: … } }",
            id="not at the top, on many lines",
        ),
        pytest.param(
            'parameters { key: "a" string_value: "1" }',
            "string_value",
            'It stands further inside. Write: value { string_value: "1" }',
            id="parameter without value",
        ),
        pytest.param(
            CLOSED_TOO_LATE,
            "instance_group",
            "instance_group is a field of ModelConfig: write } in front of it, which closes "
            '"dynamic_batching {" of line 1.',
            id="missing bracket",
        ),
        pytest.param(
            "input { dims: 1, 2 }",
            "2",
            "Several values stand in brackets. Write: dims: [ …, … ]",
            id="list without brackets",
        ),
        pytest.param("name: 'x' 2", "2", "", id="a number by itself"),
        pytest.param(
            "input { reshape { zzz: 1 } }",
            "zzz",
            "ModelTensorReshape has the fields: shape.",
            id="nothing like it",
        ),
    ],
)
def test_an_unknown_field(text: str, word: str, hint: str) -> None:
    error = broken(text)

    assert "has no field named" in error.message
    assert error.message.endswith(f'"{word}".')
    assert error.source[error.column - 1 :].startswith(word)
    assert error.hint == hint


@pytest.mark.parametrize(
    ("text", "message", "place", "hint"),
    [
        pytest.param(
            "name: foo", "Expected string, got: foo", (1, 7), 'Write: name: "foo"', id="no quotes"
        ),
        pytest.param(
            'name: "foo\nbackend: "b"',
            "String missing ending quote.",
            (1, 7),
            'Write: name: "foo"',
            id="one quote",
        ),
        pytest.param(
            "input { name: 'x }",
            "String missing ending quote.",
            (1, 15),
            "Write: name: 'x' }",
            id="one quote before a bracket",
        ),
        pytest.param(
            "name: {",
            "Expected string, got: {",
            (1, 7),
            "Write a text in quotes instead of the brackets",
            id="brackets for a string",
        ),
        pytest.param("name: -", "Expected string, got: -", (1, 7), 'Write: name: "…"', id="a dash"),
        pytest.param(
            'max_batch_size: "8"',
            'Expected integer, got: "8"',
            (1, 17),
            "Write: max_batch_size: 8",
            id="a number in quotes",
        ),
        pytest.param(
            "input { dims: [ '3' ] }",
            "Expected integer, got: '3'",
            (1, 17),
            "Write 3 instead of '3'",
            id="a number in quotes, in a list",
        ),
        pytest.param(
            "max_batch_size: many",
            "Expected integer, got: many",
            (1, 17),
            "Write a whole number, without quotes",
            id="a word for a number",
        ),
        pytest.param(
            "max_batch_size: 12345678901",
            "Integer out of range (12345678901)",
            (1, 17),
            "Write a number from -2147483648 to 2147483647.",
            id="too large",
        ),
        pytest.param(
            "ensemble_scheduling { max_inflight_requests: -1 }",
            "Expected integer, got: -1",
            (1, 46),
            "Write a whole number that is not negative",
            id="negative",
        ),
        pytest.param(
            'ensemble_scheduling { max_inflight_requests: "invalid_value" }',
            'Expected integer, got: "invalid_value"',
            (1, 46),
            "Write a whole number that is not negative",
            id="a string for a count",
        ),
        pytest.param(
            "instance_group { kind: KIND_cpu }",
            'Unknown enumeration value of "KIND_cpu" for field "kind".',
            (1, 24),
            "Write: kind: KIND_CPU",
            id="lower case",
        ),
        pytest.param(
            "input { data_type: 'TYPE_FP32' }",
            "Unknown enumeration value of 'TYPE_FP32' for field \"data_type\".",
            (1, 20),
            "Write: data_type: TYPE_FP32",
            id="an enum in quotes",
        ),
        pytest.param(
            "instance_group { kind: TPU }",
            'Unknown enumeration value of "TPU" for field "kind".',
            (1, 24),
            "The values are: KIND_AUTO, KIND_GPU, KIND_CPU, KIND_MODEL.",
            id="no such kind",
        ),
        pytest.param(
            'input { optional: "true" }',
            'Invalid value for boolean field "optional". Value: "true".',
            (1, 19),
            "Write: optional: true",
            id="a truth in quotes",
        ),
        pytest.param(
            "input { optional: maybe }",
            'Invalid value for boolean field "optional". Value: "maybe".',
            (1, 19),
            "Write: optional: true or optional: false",
            id="neither true nor false",
        ),
        pytest.param(
            "sequence_batching { direct { minimum_slot_utilization: 'x' } }",
            "Expected double, got: 'x'",
            (1, 56),
            "Write a number, such as 0.5",
            id="no fraction",
        ),
        pytest.param(
            "name = 'x'",
            'Expected ":", got "=".',
            (1, 6),
            "A colon stands behind name. Write: name: 'x'",
            id="an equals sign",
        ),
        pytest.param(
            "input { dims [ 4 ] }",
            'Expected ":", got "[".',
            (1, 14),
            "A colon stands behind dims. Write: dims: [ 4 ]",
            id="no colon",
        ),
        pytest.param(
            "input (\n",
            'Expected "{", got "(".',
            (1, 7),
            "input holds fields of its own. Write: input [ { … } ]",
            id="round brackets",
        ),
        pytest.param(
            "dynamic_batching: true",
            'Expected "{", got "true".',
            (1, 19),
            "dynamic_batching holds fields of its own. Write: dynamic_batching { … }",
            id="a value for a message",
        ),
        pytest.param(
            'parameters { key: "a" value: "1" }',
            'Expected "{", got "1".',
            (1, 30),
            'value holds fields of its own. Write: value { string_value: "1" }',
            id="a parameter's value",
        ),
        pytest.param(
            "name: [ 'x' ]",
            'name takes one value, got "[".',
            (1, 7),
            "Remove the brackets. Write: name: …",
            id="a list for one value",
        ),
        pytest.param(
            "input [ { }, ]",
            'Expected a value, got "]".',
            (1, 14),
            "Remove the comma in front of the bracket.",
            id="a comma too many",
        ),
        pytest.param(
            "input { dims: [ 1 2 ] }",
            'Expected "," or "]", got "2".',
            (1, 19),
            "Write a comma in front of it.",
            id="a comma too few",
        ),
        pytest.param(
            "input { dims: [ 1 }",
            'Expected "," or "]", got "}".',
            (1, 19),
            'Write ] in front of it, which closes "dims [" of line 1.',
            id="list before }",
        ),
        pytest.param(
            LIST_NOT_CLOSED,
            'Expected "," or "]", got "output".',
            (3, 1),
            'Write ] in front of it, which closes "input [" of line 1.',
            id="list before a field",
        ),
        pytest.param(
            "input [ { name: 'x' ]",
            'Expected "}", got "]".',
            (1, 21),
            'Write } in front of it, for "input {" of line 1.',
            id="the wrong bracket",
        ),
        pytest.param(
            "input { } }",
            'Unexpected "}".',
            (1, 11),
            "Nothing is open here: remove it, unless an opening bracket is missing above.",
            id="a bracket too many",
        ),
        pytest.param(
            "{ }", 'Expected a field name, got "{".', (1, 1), "", id="a bracket by itself"
        ),
        pytest.param(
            "max_batch_size: 4\nmax_batch_size: 5",
            'Non-repeated field "max_batch_size" is specified multiple times.',
            (2, 1),
            "It stands in line 1 already: keep one of the two.",
            id="twice",
        ),
        pytest.param(
            "optimization { }\noptimization { }",
            'Non-repeated field "optimization" is specified multiple times.',
            (2, 1),
            "It stands in line 1 already: keep one of the two.",
            id="a message twice",
        ),
        pytest.param(
            "input [ { name: 'a' },\n{ name: 'b' name: 'c' } ]",
            'Non-repeated field "name" is specified multiple times.',
            (2, 13),
            "It stands in line 2 already: keep one of the two.",
            id="twice inside",
        ),
        pytest.param(
            "dynamic_batching { } sequence_batching { }",
            'Field "sequence_batching" is specified along with field "dynamic_batching", another '
            'member of oneof "scheduling_choice".',
            (1, 22),
            "Only one of them may be set. Remove sequence_batching or dynamic_batching, which "
            "stands in line 1.",
            id="two schedulers",
        ),
        pytest.param(
            'name: "\\377"',
            "Couldn't parse string",
            (1, 7),
            "A string holds UTF-8 text, also where it is escaped.",
            id="escaped bytes",
        ),
        pytest.param(
            "input [ { dims: [ 4\n",
            'Expected "]".',
            (1, 20),
            'The file ends inside "dims [" of line 1: write ] } ] at the end, or copy the rest '
            "of the file if it was cut short.",
            id="cut in a list",
        ),
        pytest.param(
            "input {\n  name: 'x'\n\n",
            'Expected "}".',
            (2, 12),
            'The file ends inside "input {" of line 1: write } at the end, or copy the rest '
            "of the file if it was cut short.",
            id="cut in a message",
        ),
        pytest.param(
            "name: 'x'\nbackend:",
            'The file ends where a value for "backend" should stand.',
            (2, 9),
            "Write the value behind backend, or copy the rest of the file.",
            id="cut before a value",
        ),
    ],
)
def test_a_broken_text(text: str, message: str, place: tuple[int, int], hint: str) -> None:
    error = broken(text)
    said = error.message.removeprefix("failed to read text proto from m/config.pbtxt: ")

    assert message in said
    assert (error.line, error.column) == place
    assert error.hint == hint


def test_what_the_reader_says_stands_where_nothing_better_is_known() -> None:
    error = broken("[foo.bar]: 3")

    assert error.message == (
        "failed to read text proto from m/config.pbtxt: "
        'Message type "inference.ModelConfig" does not have extensions.'
    )
    assert error.hint == ""

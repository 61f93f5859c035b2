import pytest

from interlock.domain.config import ModelConfig, ModelFacts, Scheduling, TensorConfig, TensorFacts
from interlock.domain.config_complete import check, complete
from interlock.domain.config_text import ConfigError
from interlock.domain.config_values import message_of, project
from interlock.domain.errors import InvalidRequestError
from tests.support.configs import complaint, configured, tensor

BATCHED = ModelFacts((tensor("x", -1, 4),), (tensor("y", -1, 2),))
FIXED = ModelFacts((tensor("x", 3, 4),), (tensor("y", 3, 2),))


def refused(config: ModelConfig, facts: ModelFacts | None) -> ConfigError:
    with pytest.raises(InvalidRequestError) as error:
        check(config, facts)
    assert isinstance(error.value, ConfigError)
    return error.value


def test_a_model_that_can_batch_gets_batches_and_a_batcher() -> None:
    config = complete(configured(), BATCHED)

    assert config.max_batch_size == 4
    assert config.scheduling is Scheduling.DYNAMIC
    assert config.inputs == (TensorConfig("x", "FP32", (4,)),)
    assert config.outputs == (TensorConfig("y", "FP32", (2,)),)
    assert not message_of(config).dynamic_batching.preferred_batch_size


def test_the_default_batch_size_is_an_option() -> None:
    config = complete(configured(), BATCHED, default_max_batch_size=1)

    assert config.max_batch_size == 1
    assert config.scheduling is Scheduling.NONE


def test_without_a_default_the_batch_dimension_is_shown() -> None:
    config = complete(configured(), BATCHED, default_max_batch_size=0)

    assert config.max_batch_size == 0
    assert config.inputs[0].dims == (-1, 4)


def test_a_batch_size_and_a_scheduler_that_are_given_stay() -> None:
    config = complete(configured("max_batch_size: 9 sequence_batching { }"), BATCHED)

    assert config.max_batch_size == 9
    assert config.scheduling is Scheduling.SEQUENCE


def test_a_model_that_cannot_batch_gets_its_whole_shapes() -> None:
    config = complete(configured(), FIXED)

    assert config.max_batch_size == 0
    assert config.scheduling is Scheduling.NONE
    assert config.inputs[0].dims == (3, 4)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(ModelFacts((tensor("x", 3),), (tensor("y", -1),)), id="an input"),
        pytest.param(ModelFacts((tensor("y", -1),), (tensor("x", 3),)), id="an output"),
    ],
)
def test_one_fixed_first_dimension_is_enough_not_to_batch(facts: ModelFacts) -> None:
    assert complete(configured(), facts).max_batch_size == 0


def test_batches_are_not_filled_in_against_the_model() -> None:
    with pytest.raises(ConfigError) as error:
        complete(configured("max_batch_size: 8"), FIXED)

    assert error.value.message == (
        "autofill failed for model 'm': model does not support batching while non-zero "
        "max_batch_size is specified"
    )
    assert error.value.hint == (
        "The first dimension of 'x' is not -1 (shape [3,4]). Write: max_batch_size: 0"
    )


def test_inputs_and_outputs_that_are_given_switch_completion_off() -> None:
    config = configured(
        "input { name: 'a' data_type: TYPE_INT8 dims: 1 } "
        "output { name: 'b' data_type: TYPE_INT8 dims: 1 }"
    )

    assert complete(config, BATCHED) is config


def test_batch_inputs_count_as_inputs() -> None:
    config = configured(
        "max_batch_size: 2 batch_input { target_name: 'x' } "
        "output { name: 'y' data_type: TYPE_FP32 dims: 2 }"
    )

    assert complete(config, FIXED) is config


def test_only_what_is_missing_is_filled() -> None:
    text = "max_batch_size: 2 output { name: 'y' data_type: TYPE_INT8 dims: 7 }"

    config = complete(configured(text), BATCHED)

    assert config.inputs == (TensorConfig("x", "FP32", (4,)),)
    assert config.outputs == (TensorConfig("y", "INT8", (7,)),)


def test_a_model_that_says_nothing_changes_nothing() -> None:
    config = configured()

    assert complete(config, None) is config


def test_a_scalar_for_each_row_is_shown_as_one_element() -> None:
    facts = ModelFacts((tensor("x", -1),), (tensor("y", -1),))

    config = complete(configured(), facts)

    assert config.inputs == (TensorConfig("x", "FP32", (1,), reshape=()),)
    check(config, facts)


def test_a_scalar_is_shown_as_one_element() -> None:
    facts = ModelFacts((tensor("x"),), (tensor("y"),))

    config = complete(configured(), facts)

    assert config.inputs == (TensorConfig("x", "FP32", (1,)),)
    check(config, facts)


def test_the_message_is_in_step_with_the_values() -> None:
    config = complete(configured(), BATCHED)

    assert project(message_of(config)) == config


@pytest.mark.parametrize("facts", [BATCHED, FIXED, ModelFacts((), (tensor("y", -1),))])
def test_what_is_completed_passes_the_check(facts: ModelFacts) -> None:
    check(complete(configured(), facts), facts)


def test_the_tensors_themselves_are_checked_with_or_without_facts() -> None:
    config = configured("input { name: 'x' dims: 1 }")

    assert "must specify 'data_type'" in refused(config, None).message
    assert "must specify 'data_type'" in refused(config, BATCHED).message


def written(*, x: str = "", y: str = "", max_batch_size: int = 0) -> ModelConfig:
    """x: [-1, 4] to y: [-1, 2], with the fields that a test wants otherwise."""
    return configured(
        f"max_batch_size: {max_batch_size} "
        f"input {{ name: 'x' {x or 'data_type: TYPE_FP32 dims: [ -1, 4 ]'} }} "
        f"output {{ name: 'y' {y or 'data_type: TYPE_FP32 dims: [ -1, 2 ]'} }}"
    )


def test_a_configuration_that_says_what_the_graph_says_passes() -> None:
    check(written(), BATCHED)


@pytest.mark.parametrize(
    ("inputs", "hint"),
    [
        pytest.param(
            (tensor("x", -1, 4), tensor("z", -1, datatype="BYTES")),
            "The graph has 2 inputs: 'x' TYPE_FP32 [-1,4], 'z' TYPE_STRING [-1]. "
            'Write: input { name: "z" data_type: TYPE_STRING dims: [ -1 ] }',
            id="one more",
        ),
        pytest.param((), "The graph has 0 inputs: none. Remove: x", id="none"),
        pytest.param(
            (tensor("a", 1), tensor("b")),
            "The graph has 2 inputs: 'a' TYPE_FP32 [1], 'b' TYPE_FP32 []. "
            'Write: input { name: "a" data_type: TYPE_FP32 dims: [ 1 ] } '
            'input { name: "b" data_type: TYPE_FP32 dims: [ 1 ] }; Remove: x',
            id="others",
        ),
    ],
)
def test_another_number_of_inputs_is_refused(inputs: tuple[TensorFacts, ...], hint: str) -> None:
    error = refused(written(), ModelFacts(inputs, BATCHED.outputs))

    assert str(error) == (
        f"unable to load model 'm', configuration expects 1 inputs, model provides {len(inputs)}. "
        f"{hint}"
    )
    assert error.field == ("input",)


def test_inputs_that_the_server_makes_count_as_well() -> None:
    config = configured(
        "max_batch_size: 1 input { name: 'x' data_type: TYPE_FP32 dims: 4 }"
        "batch_input { target_name: 'n' data_type: TYPE_FP32 source_input: 'x' }"
        "sequence_batching { control_input { name: 'start' control { "
        "int32_false_true: [ 0, 1 ] } } state { input_name: 's' output_name: 's2' } }"
    )

    check(config, ModelFacts(tuple(tensor(name, -1, 4) for name in ("x", "n", "start", "s")), ()))
    error = refused(config, ModelFacts((tensor("x", -1, 4),), ()))

    assert "configuration expects 4 inputs, model provides 1" in error.message


def test_an_input_that_the_graph_does_not_have_is_refused() -> None:
    facts = ModelFacts((tensor("INPUT1", -1, 4), tensor("INPUT0", -1, 4)), BATCHED.outputs)
    config = configured(
        "input [ { name: 'INPUT0' data_type: TYPE_FP32 dims: [ -1, 4 ] },"
        "{ name: 'INPUT_UNKNOWN' data_type: TYPE_FP32 dims: [ -1, 4 ] } ]"
        "output { name: 'y' data_type: TYPE_FP32 dims: [ -1, 2 ] }"
    )

    error = refused(config, facts)

    assert str(error) == (
        "unexpected inference input 'INPUT_UNKNOWN', allowed inputs are: INPUT0, INPUT1. "
        "The graph has 2 inputs: 'INPUT1' TYPE_FP32 [-1,4], 'INPUT0' TYPE_FP32 [-1,4]. "
        'Write: input { name: "INPUT1" data_type: TYPE_FP32 dims: [ -1, 4 ] }'
    )


def test_an_output_that_the_graph_does_not_have_is_refused() -> None:
    facts = ModelFacts(BATCHED.inputs, (tensor("a", -1, 2), tensor("b", -1, 2)))

    error = refused(written(), facts)

    assert str(error) == (
        "unexpected inference output 'y', allowed outputs are: a, b. "
        "The graph has 2 outputs: 'a' TYPE_FP32 [-1,2], 'b' TYPE_FP32 [-1,2]."
    )
    assert error.field == ("output", 0, "name")


def test_outputs_of_the_graph_may_be_left_out() -> None:
    check(written(), ModelFacts(BATCHED.inputs, (*BATCHED.outputs, tensor("more", 1))))


def test_another_data_type_is_refused() -> None:
    error = refused(written(x="data_type: TYPE_INT32 dims: [ -1, 4 ]"), BATCHED)

    assert str(error) == (
        "unable to load model 'm', configuration expects datatype TYPE_INT32 for input 'x', model "
        "provides TYPE_FP32. The graph has 'x' TYPE_FP32 [-1,4]. "
        'Write: input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }'
    )
    assert error.field == ("input", 0, "data_type")


def test_another_number_of_dimensions_is_refused() -> None:
    error = refused(written(x="data_type: TYPE_FP32 dims: [ 4 ]"), BATCHED)

    assert str(error) == (
        "model 'm', tensor 'x': the model expects 2 dimensions (shape [-1,4]) but the model "
        "configuration specifies 1 dimensions (shape [4]). The graph has 'x' TYPE_FP32 [-1,4]. "
        'Write: input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }'
    )


def test_the_batch_dimension_counts() -> None:
    facts = ModelFacts((tensor("x", -1, 16),), (tensor("y", -1, 16),))
    text = "data_type: TYPE_FP32 dims: [ 16, 1 ]"

    error = refused(written(x=text, max_batch_size=8), facts)

    assert str(error) == (
        "model 'm', tensor 'x': the model expects 2 dimensions (shape [-1,16]) but the model "
        "configuration specifies 3 dimensions (an initial batch dimension because max_batch_size "
        "> 0 followed by the explicit tensor shape, making complete shape [-1,16,1]). "
        "The graph has 'x' TYPE_FP32 [-1,16]. "
        'Write: input { name: "x" data_type: TYPE_FP32 dims: [ 16 ] }'
    )


@pytest.mark.parametrize(
    ("graph", "dims", "fits"),
    [
        pytest.param((4,), "4", True, id="the same"),
        pytest.param((-1,), "4", True, id="any size in the graph"),
        pytest.param((4,), "-1", False, id="any size in the configuration"),
        pytest.param((4,), "5", False, id="another size"),
        pytest.param((4, 1), "4", False, id="more in the graph"),
        pytest.param((), "1", True, id="a scalar"),
        pytest.param((), "2", False, id="a scalar and more"),
    ],
)
def test_inputs_fit_what_the_graph_takes(graph: tuple[int, ...], dims: str, *, fits: bool) -> None:
    config = written(x=f"data_type: TYPE_FP32 dims: {dims}")
    facts = ModelFacts((tensor("x", *graph),), BATCHED.outputs)

    if fits:
        check(config, facts)
    else:
        assert refused(config, facts).field == ("input", 0, "dims")


@pytest.mark.parametrize(
    ("graph", "dims", "fits"),
    [
        pytest.param((4,), "4", True, id="the same"),
        pytest.param((-1,), "-1", True, id="any size in both"),
        pytest.param((-1,), "4", False, id="any size in the graph"),
        pytest.param((4,), "-1", False, id="any size in the configuration"),
        pytest.param((), "7", True, id="a shape that the graph does not know"),
    ],
)
def test_outputs_fit_exactly(graph: tuple[int, ...], dims: str, *, fits: bool) -> None:
    config = written(y=f"data_type: TYPE_FP32 dims: {dims}")
    facts = ModelFacts(BATCHED.inputs, (tensor("y", *graph),))

    if fits:
        check(config, facts)
    else:
        assert refused(config, facts).field == ("output", 0, "dims")


def test_the_graph_is_compared_with_the_shape_that_it_gets() -> None:
    text = "data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: [ 1, 4 ] }"

    check(written(x=text), BATCHED)
    assert (
        "(shape [2,2])"
        in refused(
            written(x="data_type: TYPE_FP32 dims: [ 1, 4 ] reshape { shape: [ 2, 2 ] }"),
            ModelFacts((tensor("x", 1, 4),), BATCHED.outputs),
        ).message
    )


@pytest.mark.parametrize("dims", [(3, 4), ()])
def test_batches_need_a_first_dimension_of_any_size(dims: tuple[int, ...]) -> None:
    config = written(x="data_type: TYPE_FP32 dims: [ 4 ]", max_batch_size=8)
    shape = ",".join(map(str, dims))

    error = refused(config, ModelFacts((tensor("x", *dims),), BATCHED.outputs))

    assert error.message == (
        "model 'm', tensor 'x': for the model to support batching the shape should have at least "
        "1 dimension and the first dimension must be -1; but shape expected by the model is "
        f"[{shape}]"
    )
    assert error.hint.startswith(
        f"The graph has 'x' TYPE_FP32 [{shape}]. Write: max_batch_size: 0 and input {{"
    )


def test_a_ragged_input_must_be_flat() -> None:
    config = written(x="data_type: TYPE_FP32 dims: [ 4 ] allow_ragged_batch: true")

    check(config, ModelFacts((tensor("x", -1),), BATCHED.outputs))
    error = refused(config, BATCHED)

    assert error.message == (
        "unable to load model 'm', configuration expects model provides input with shape [-1] for "
        "ragged input 'x', model provides [-1,4]"
    )


def test_an_optional_input_cannot_be_batched() -> None:
    text = "data_type: TYPE_FP32 dims: [ 4 ] optional: true"

    error = refused(written(x=text, max_batch_size=2), BATCHED)

    assert error.message == (
        "unable to load model 'm', optional input 'x' is not supported with max_batch_size > 0"
    )


def test_a_shape_for_each_row_is_written_with_its_reshape() -> None:
    facts = ModelFacts((tensor("x", -1),), BATCHED.outputs)

    error = refused(written(x="data_type: TYPE_FP32 dims: [ 4 ]", max_batch_size=2), facts)

    assert error.hint.endswith(
        'Write: input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }'
    )


def test_what_the_hints_say_to_write_can_be_read() -> None:
    facts = ModelFacts((tensor("x", -1), tensor("z", -1, 3)), ())
    error = refused(configured("max_batch_size: 2"), facts)

    check(configured(f"max_batch_size: 2 {error.hint.partition('Write: ')[2]}"), facts)


def test_a_data_type_that_the_protocol_lacks_is_said() -> None:
    facts = ModelFacts((tensor("x", -1, datatype="COMPLEX64"),), BATCHED.outputs)

    assert (
        "model provides TYPE_INVALID"
        in refused(written(x="data_type: TYPE_FP32 dims: -1"), facts).message
    )
    assert complaint("max_batch_size: -1").word == "Invalid argument"

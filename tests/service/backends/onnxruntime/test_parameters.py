"""Reading what a model asks of its session."""

from collections.abc import Mapping

import pytest

from interlock.backends.onnxruntime.parameters import (
    GraphLevel,
    OnnxParameters,
    read_parameters,
)
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InvalidRequestError


def read(
    parameters: Mapping[str, str] | None = None, *, graph_level: int | None = None
) -> OnnxParameters:
    return read_parameters(ModelConfig("m", parameters=parameters or {}, graph_level=graph_level))


def test_a_model_that_asks_for_nothing_gets_the_defaults() -> None:
    assert read() == OnnxParameters()


def test_parameters_of_others_are_left_alone() -> None:
    assert read({"EXECUTION_ENV_PATH": "/env", "memory": "much"}) == OnnxParameters()


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        pytest.param(None, GraphLevel.ALL, id="absent"),
        pytest.param(0, GraphLevel.ALL, id="0"),
        pytest.param(-1, GraphLevel.BASIC, id="-1"),
        pytest.param(1, GraphLevel.EXTENDED, id="1"),
        pytest.param(2, GraphLevel.DISABLED, id="2"),
    ],
)
def test_graph_levels_have_an_order_of_their_own(level: int | None, expected: GraphLevel) -> None:
    assert read(graph_level=level).graph_level is expected


def test_a_graph_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(graph_level=3)

    assert str(caught.value) == (
        "unable to load model 'm', optimization.graph.level must be 0 (all), -1 (basic), "
        "1 (extended) or 2 (disabled), got 3"
    )


def test_thread_counts_and_memory_options_are_read() -> None:
    assert read(
        {
            "intra_op_thread_count": "3",
            "inter_op_thread_count": "2",
            "execution_mode": "1",
            "enable_mem_arena": "0",
            "enable_mem_pattern": "True",
            "memory.enable_memory_arena_shrinkage": "cpu:0;gpu:1",
        }
    ) == OnnxParameters(
        intra_op_threads=3,
        inter_op_threads=2,
        parallel=True,
        mem_arena=False,
        mem_pattern=True,
        arena_shrinkage="cpu:0;gpu:1",
    )


def test_keys_of_the_session_pass_through_and_booleans_become_digits() -> None:
    assert read(
        {
            "session.intra_op.allow_spinning": "true",
            "session.use_device_allocator_for_initializers": "1",
            "session.set_denormal_as_zero": "1",
        }
    ).entries == {
        "session.intra_op.allow_spinning": "1",
        "session.use_device_allocator_for_initializers": "1",
        "session.set_denormal_as_zero": "1",
    }


@pytest.mark.parametrize("mode", ["2", "-1"])
def test_an_execution_mode_that_does_not_exist_is_refused_in_triton_s_words(mode: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read({"execution_mode": mode})

    assert str(caught.value) == (
        "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 "
        f"but got {mode} ."
    )


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        pytest.param("intra_op_thread_count", "two", "an integer", id="no number"),
        pytest.param("execution_mode", "", "an integer", id="empty"),
        pytest.param(
            "inter_op_thread_count", "-1", "a number of threads, 0 or more", id="negative"
        ),
        pytest.param("enable_mem_arena", "2", "true or false", id="no boolean"),
        pytest.param("session.intra_op.allow_spinning", "x", "true or false", id="no spinning"),
        pytest.param(
            "memory.enable_memory_arena_shrinkage",
            "everything",
            "devices such as 'cpu:0'",
            id="no device",
        ),
    ],
)
def test_a_bad_value_is_refused_with_what_would_be_a_good_one(
    key: str, value: str, wanted: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read({key: value})

    assert str(caught.value) == (
        f"unable to load model 'm', parameter '{key}' must be {wanted}, got '{value}'"
    )

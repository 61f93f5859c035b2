"""Sessions: options, threads, files that the runtime refuses."""

import os
from pathlib import Path

import onnxruntime as ort
import pytest

from interlock.backends.onnxruntime.parameters import GraphLevel, OnnxParameters
from interlock.backends.onnxruntime.session import (
    Pools,
    open_session,
    run_options,
    session_options,
    usable_cores,
)
from interlock.domain.errors import InternalError
from tests.support import onnx_small
from tests.support.onnx_models import write

SPINNING = "session.intra_op.allow_spinning"


def threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - counting is all that is wanted


def test_a_session_optimises_all_runs_in_order_and_does_not_spin() -> None:
    options = session_options(OnnxParameters(), Pools(4))

    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (4, 4)
    assert options.use_per_session_threads
    assert options.enable_cpu_mem_arena
    assert options.enable_mem_pattern
    assert options.get_session_config_entry(SPINNING) == "0"


def test_a_model_s_own_options_win() -> None:
    parameters = OnnxParameters(
        graph_level=GraphLevel.BASIC,
        intra_op_threads=3,
        inter_op_threads=2,
        parallel=True,
        mem_arena=False,
        mem_pattern=False,
        entries={SPINNING: "1", "session.set_denormal_as_zero": "1"},
    )

    options = session_options(parameters, Pools(4))

    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry(SPINNING) == "1"
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        pytest.param(
            GraphLevel.EXTENDED, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, id="extended"
        ),
        pytest.param(GraphLevel.DISABLED, ort.GraphOptimizationLevel.ORT_DISABLE_ALL, id="off"),
    ],
)
def test_graph_levels_reach_the_runtime(
    level: GraphLevel, expected: ort.GraphOptimizationLevel
) -> None:
    options = session_options(OnnxParameters(graph_level=level), Pools(1))

    assert options.graph_optimization_level == expected


def test_the_shared_pool_overrules_a_model_s_counts() -> None:
    options = session_options(OnnxParameters(intra_op_threads=3), Pools(4, shared=True))

    assert not options.use_per_session_threads
    assert options.intra_op_num_threads == 0


def test_a_session_of_one_thread_starts_none(tmp_path: Path) -> None:
    path = write(tmp_path, onnx_small.identity("FP32"))
    before = threads()

    session = open_session(path, session_options(OnnxParameters(), Pools(1)), [])

    assert threads() == before
    del session


def test_runs_have_options_only_for_a_model_that_asks_for_them() -> None:
    shrinking = run_options(OnnxParameters(arena_shrinkage="cpu:0"))

    assert run_options(OnnxParameters()) is None
    assert shrinking is not None
    assert shrinking.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0"


def test_a_file_that_is_no_model_is_refused_with_the_runtime_s_text_and_path(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, b"this is not a graph")

    with pytest.raises(InternalError) as caught:
        open_session(path, session_options(OnnxParameters(), Pools(1)), [])

    assert str(caught.value) == (
        f"onnx runtime error 7: Load model from {path} failed:Protobuf parsing failed."
    )
    assert capfd.readouterr() == ("", "")


def test_a_library_of_operators_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, onnx_small.identity("FP32"))

    with pytest.raises(InternalError, match=r"onnx runtime error 1: .*/no/such/library\.so"):
        open_session(path, session_options(OnnxParameters(), Pools(1)), ["/no/such/library.so"])


def test_there_is_a_core_to_run_on() -> None:
    assert usable_cores() >= 1

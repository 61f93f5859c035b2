"""Opening `.onnx` files: which file, what it declares, what is refused."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from onnx import helper
from structlog.testing import capture_logs

from interlock.backends.base import VersionFiles
from interlock.backends.onnxruntime.backend import OnnxModel, OnnxRuntimeBackend
from interlock.domain.config import ModelConfig, ModelFacts, TensorFacts
from interlock.domain.errors import InternalError, InvalidRequestError, UnavailableError
from interlock.domain.tensor import InputTensor
from interlock.runtime.threads import spawn
from interlock_agents.memory import MemoryFile
from tests.support import onnx_models, onnx_small
from tests.support.running import PATIENCE_S, config_of, outputs_of, request

CONFIG = 'backend: "onnxruntime"'


def open_model(
    directory: Path, config: str = CONFIG, options: Mapping[str, str] | None = None
) -> OnnxModel:
    files = VersionFiles(directory, directory / "1", 1)
    return OnnxRuntimeBackend(options or {}).open(files, config_of(config))


def facts_of(directory: Path, model: bytes, config: str = CONFIG) -> ModelFacts | None:
    onnx_models.write(directory / "1", model)
    return open_model(directory, config).facts


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        pytest.param(("n", 3), (-1, 3), id="named"),
        pytest.param((2, 3), (2, 3), id="fixed"),
        pytest.param((), (), id="scalar"),
        pytest.param(None, (), id="of any rank"),
    ],
)
def test_facts_are_the_graph_s_own(
    tmp_path: Path, shape: onnx_small.Shape | None, dims: tuple[int, ...]
) -> None:
    model = onnx_models.graph(
        [helper.make_node("Cast", ["x"], ["y"], to=onnx_small.ELEMENT_TYPES["BF16"])],
        inputs=[onnx_models.tensor("x", "FP32", shape)],
        outputs=[onnx_models.tensor("y", "BF16", shape)],
    )

    facts = facts_of(tmp_path, model)

    assert facts == ModelFacts((TensorFacts("x", "FP32", dims),), (TensorFacts("y", "BF16", dims),))


def test_an_optional_input_is_an_input(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, onnx_models.with_optional())

    assert facts is not None
    assert facts.inputs == (TensorFacts("x", "FP32", (-1,)), TensorFacts("o", "FP32", (-1,)))


def test_an_input_with_a_value_in_the_graph_is_none_unless_it_is_named(tmp_path: Path) -> None:
    model = onnx_models.with_default()
    named = CONFIG + 'input { name: "bias" data_type: TYPE_FP32 dims: 1 optional: true }'

    silent, asked = facts_of(tmp_path, model), facts_of(tmp_path, model, named)

    assert silent is not None
    assert asked is not None
    assert [tensor.name for tensor in silent.inputs] == ["x"]
    assert [tensor.name for tensor in asked.inputs] == ["x", "bias"]


def test_an_output_that_cannot_be_served_is_left_out_with_a_warning(tmp_path: Path) -> None:
    with capture_logs() as logs:
        facts = facts_of(tmp_path, onnx_models.with_sequence_output())

    assert facts is not None
    assert [tensor.name for tensor in facts.outputs] == ["y"]
    assert logs == [
        {
            "event": "output cannot be served",
            "log_level": "warning",
            "model": "m",
            "output": "s",
            "type": "seq(tensor(float))",
        }
    ]


def test_an_input_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        facts_of(tmp_path, onnx_models.with_sequence_input())

    assert str(caught.value) == (
        "unable to load model 'm', input 'x' of the graph has type seq(tensor(float)), which the "
        "protocol cannot carry"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        open_model(tmp_path)

    assert str(caught.value) == (f"unable to find '{tmp_path}/1/model.onnx' for model instance 'm'")


def test_a_directory_stands_for_the_file_in_it(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1" / "model.onnx", onnx_small.identity("FP32"))

    assert open_model(tmp_path).facts is not None


def test_a_file_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"), "net.onnx")

    assert open_model(tmp_path, CONFIG + 'default_model_filename: "net.onnx"').facts is not None


@pytest.mark.parametrize("name", ["../2/model.onnx", "/etc/model.onnx", "a/../../b.onnx"])
def test_a_file_name_cannot_leave_the_version(tmp_path: Path, name: str) -> None:
    config = ModelConfig("m", default_model_filename=name)

    with pytest.raises(InvalidRequestError) as caught:
        OnnxRuntimeBackend({}).open(VersionFiles(tmp_path, tmp_path / "1", 1), config)

    assert str(caught.value) == (
        f"unable to load model 'm', default_model_filename '{name}' is outside the version's "
        "directory"
    )


def test_a_graph_that_the_runtime_refuses_is_an_internal_error(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", b"nothing")

    with pytest.raises(InternalError, match=r"^onnx runtime error 7: .*model\.onnx"):
        open_model(tmp_path)


def test_a_bad_parameter_is_refused_before_the_file_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="execution_mode are 0 or 1 but got 7"):
        open_model(
            tmp_path, CONFIG + 'parameters { key: "execution_mode" value { string_value: "7" } }'
        )


def test_a_library_of_operators_is_looked_for_in_the_model_s_own_folders(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"))
    (tmp_path / "custom.so").write_bytes(b"no library")
    config = CONFIG + 'model_operations { op_library_filename: "custom.so" }'

    with pytest.raises(InternalError, match=f"{tmp_path}/custom.so"):
        open_model(tmp_path, config)


def test_a_library_that_is_not_there_is_left_to_the_system_to_find(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"))
    config = CONFIG + 'model_operations { op_library_filename: "libnothing.so" }'

    with pytest.raises(InternalError, match=r"Failed to load library libnothing\.so"):
        open_model(tmp_path, config)


def test_instances_of_a_version_share_its_session_and_run_at_once(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.add_constant(1.0))
    config = config_of(
        CONFIG + 'input { name: "x" data_type: TYPE_FP32 dims: -1 }'
        'output { name: "y" data_type: TYPE_FP32 dims: -1 }'
    )
    opened = open_model(tmp_path)
    instances = [opened.make_instance(config, name=f"m_{n}", index=n) for n in range(3)]
    data = np.zeros(1000, "<f4").tobytes()
    results: list[list[object]] = [[], [], []]

    def work(index: int) -> None:
        for _ in range(50):
            asked = request(InputTensor("x", "FP32", (1000,), data))
            (outcome,) = instances[index].run([asked]).outcomes
            results[index].append(outputs_of(outcome)["y"][2])

    threads = [spawn(f"run {n}", partial(work, n)) for n in range(3)]
    for thread in threads:
        thread.join(PATIENCE_S)

    assert results == [[np.ones(1000, "<f4").tobytes()] * 50] * 3


SHARED_POOL: Final = """
import os, sys
from pathlib import Path
from interlock.backends.base import VersionFiles
from interlock.backends.onnxruntime.backend import OnnxRuntimeBackend
from interlock.domain.config import ModelConfig

def threads():
    return len(os.listdir("/proc/self/task"))

directory = Path(sys.argv[1])
options = {"enable-global-threadpool": "1", "intra_op_thread_count": "3"}
backend = OnnxRuntimeBackend(options)
files = VersionFiles(directory, directory / "1", 1)
before = threads()
models = [backend.open(files, ModelConfig("m")) for _ in range(4)]
print(threads() - before)
"""


def test_sessions_on_the_shared_pool_have_no_threads_of_their_own(tmp_path: Path) -> None:
    # In a process of its own: once there is a shared pool, the runtime refuses any other.
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"))

    done = subprocess.run(
        [sys.executable, "-c", SHARED_POOL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


@pytest.mark.parametrize("key", ["intra_op_thread_count", "inter_op_thread_count"])
def test_a_thread_count_of_the_shared_pool_is_a_number(key: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        OnnxRuntimeBackend({"enable-global-threadpool": "true", key: "-2"})

    assert str(caught.value) == (
        f"--backend-config=onnxruntime,{key}=-2: must be a number of threads, 0 or more"
    )


def test_a_file_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    (tmp_path / "1").symlink_to("1" * 300)  # as good as a folder without permission, for anyone
    with pytest.raises(UnavailableError) as caught:
        open_model(tmp_path)

    assert str(caught.value) == (
        f"unable to read '{tmp_path}/1/model.onnx' for model instance 'm': File name too long"
    )


def test_weights_in_memory_are_taken_from_where_their_links_lead(tmp_path: Path) -> None:
    graph, data = onnx_small.external(np.arange(64, dtype=np.float32))
    folder = tmp_path / "1"
    folder.mkdir()
    memory = {
        name: MemoryFile.of(content)
        for name, content in {"model.onnx": graph, "weights.bin": data, "empty": b""}.items()
    }
    for name, file in memory.items():
        (folder / name).symlink_to(file.path)
    files = VersionFiles(tmp_path, folder, 1, is_linked=True)

    opened = OnnxRuntimeBackend({}).open(files, config_of(CONFIG))

    assert opened.facts is not None
    assert opened.facts.outputs[0].dims == (64,)
    with pytest.raises(InternalError, match=r"(?i)external data|weights.bin"):
        OnnxRuntimeBackend({}).open(replace(files, is_linked=False), config_of(CONFIG))
    for file in memory.values():
        file.wipe()

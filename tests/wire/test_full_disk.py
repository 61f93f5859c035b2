"""Files that come with a load meet a scratch folder that is full: refused, nothing disturbed."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.small_disk import SIZE_KIB, small_disk
from tests.support.wire import Client, WireServer, arrays, given, infer_request, serving

TENSOR = {"data_type": "TYPE_FP32", "dims": [-1]}
CONFIG = json.dumps(
    {
        "backend": "onnxruntime",
        "input": [{"name": "x", **TENSOR}],
        "output": [{"name": "y", **TENSOR}],
    }
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the scratch folder is. Only root may make a file system."""
    with small_disk(tmp_path_factory.mktemp("scratch")) as folder:
        if folder is None:
            pytest.skip("no file system can be mounted here")
        yield folder


@pytest.fixture(scope="module")
def server(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("models"))
    repository.onnx("adder", onnx_small.add_constant(1.0))
    with serving(repository, f"--scratch-directory={disk}") as server:
        yield server


def load_with(client: Client, *, weight: bytes) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="adder")
    request.parameters["config"].string_param = CONFIG
    request.parameters["file:1/model.onnx"].bytes_param = onnx_small.add_constant(2.0)
    request.parameters["file:1/weight.bin"].bytes_param = weight
    client.call("RepositoryModelLoad", request)


def answer_of(client: Client) -> float:
    request = infer_request("adder", given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


def test_files_that_find_no_room_are_refused_and_leave_room_for_others(server: WireServer) -> None:
    with server.client() as client:
        request = pb.RepositoryModelLoadRequest(model_name="adder")
        request.parameters["config"].string_param = CONFIG
        request.parameters["file:1/model.onnx"].bytes_param = bytes(2 * SIZE_KIB * 1024)
        refusal = client.refusal("RepositoryModelLoad", request)

        assert "No space left on device" in refusal.text
        assert answer_of(client) == 1.0

        # What was written of them is gone again: this would not fit beside it.
        load_with(client, weight=bytes(SIZE_KIB * 1024 // 2))
        assert answer_of(client) == 2.0

"""grpcurl and `buf curl` find out by reflection what the server can do, and call it with JSON."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.toolchains import grpcurl

Json = Mapping[str, Any]
Call = Callable[[str, Json], Json]

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVICES = {
    INFERENCE,
    HEALTH,
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.channelz.v1.Channelz",
}
NUMBERS = [1.5, -2, 0, 2**40]

# The first call may build the program.
pytestmark = pytest.mark.timeout(1000)


def output_of(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def buf() -> str:
    # A part of the development environment, on every machine.
    return str(Path(sys.executable).with_name("buf"))


def identity_request() -> Json:
    return {
        "model_name": "identity",
        "id": "1",
        "inputs": [
            {
                "name": "INPUT0",
                "datatype": "FP32",
                "shape": [len(NUMBERS)],
                "contents": {"fp32_contents": NUMBERS},
            }
        ],
    }


@pytest.fixture(params=["grpcurl", "buf"])
def call(request: pytest.FixtureRequest, example_server: str) -> Call:
    """Call a method with JSON by one of the two programs, which knows no .proto file."""

    def by_grpcurl(method: str, message: Json) -> Json:
        command = [grpcurl(), "-plaintext", "-d", json.dumps(message), example_server, method]
        answer: Json = json.loads(output_of(command))
        return answer

    def by_buf(method: str, message: Json) -> Json:
        url = f"http://{example_server}/{method}"
        flags = ["--protocol=grpc", "--http2-prior-knowledge", "--data", json.dumps(message)]
        answer: Json = json.loads(output_of([buf(), "curl", *flags, url]))
        return answer

    return by_grpcurl if request.param == "grpcurl" else by_buf


def test_grpcurl_lists_the_services(example_server: str) -> None:
    listed = output_of([grpcurl(), "-plaintext", example_server, "list"]).split()

    assert set(listed) >= SERVICES


def test_buf_lists_the_services(example_server: str) -> None:
    flags = ["--protocol=grpc", "--http2-prior-knowledge", "--list-services"]

    listed = output_of([buf(), "curl", *flags, f"http://{example_server}"]).split()

    assert set(listed) >= SERVICES


def test_grpcurl_describes_a_message(example_server: str) -> None:
    command = [grpcurl(), "-plaintext", example_server, "describe", "inference.ModelInferRequest"]

    described = output_of(command)

    assert "message ModelInferRequest {" in described
    assert "repeated bytes raw_input_contents = 7;" in described


def test_buf_lists_the_methods(example_server: str) -> None:
    flags = ["--protocol=grpc", "--http2-prior-knowledge", "--list-methods"]

    listed = output_of([buf(), "curl", *flags, f"http://{example_server}"]).split()

    assert f"{INFERENCE}/ModelInfer" in listed
    assert f"{HEALTH}/List" in listed


def test_infers_with_numbers_written_as_json(call: Call) -> None:
    answer = call(f"{INFERENCE}/ModelInfer", identity_request())

    assert (answer["modelName"], answer["id"]) == ("identity", "1")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("OUTPUT0", "FP32", ["4"])
    (raw,) = answer["rawOutputContents"]
    assert memoryview(base64.b64decode(raw)).cast("f").tolist() == NUMBERS


def test_streams_with_numbers_written_as_json(call: Call) -> None:
    answer = call(f"{INFERENCE}/ModelStreamInfer", identity_request())

    assert answer["inferResponse"]["modelName"] == "identity"


def test_asks_for_the_health_of_a_model(call: Call) -> None:
    assert call(f"{HEALTH}/Check", {"service": "model/digits"}) == {"status": "SERVING"}


def test_asks_what_a_model_takes(call: Call) -> None:
    answer = call(f"{INFERENCE}/ModelMetadata", {"name": "digits"})

    assert answer["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["-1", "64"]}]

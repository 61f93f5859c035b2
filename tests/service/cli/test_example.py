"""The printed calls are checked by running them: the shell's part, and tritonclient's."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format

from interlock.cli.example import grpcurl, python
from interlock.client.connection import Connection
from interlock.client.models import ModelMetadata, TensorMetadata
from interlock.domain.datatypes import BY_WIRE
from interlock.pb import POOL, grpc_service_pb2 as pb
from tests.support.command_line import CommandLine
from tests.support.scripted_server import scripted_server

PLAIN = Connection(server="localhost:9")
OUTPUT = (TensorMetadata("y", "FP32", (-1,)),)


def model(*inputs: TensorMetadata) -> ModelMetadata:
    return ModelMetadata("m", ("1",), "onnxruntime_onnx", inputs, OUTPUT)


def tensor(datatype: str, *shape: int) -> TensorMetadata:
    return TensorMetadata("x", datatype, shape)


def request_of(text: str) -> pb.ModelInferRequest:
    return json_format.Parse(text, pb.ModelInferRequest(), descriptor_pool=POOL)


def test_the_command_line_is_a_call_of_grpcurl() -> None:
    words = shlex.split(grpcurl(model(tensor("FP32", -1, 2)), "", PLAIN))

    assert words[:3] == ["grpcurl", "-plaintext", "-d"]
    assert words[4:] == ["localhost:9", "inference.GRPCInferenceService/ModelInfer"]
    request = request_of(words[3])
    assert (request.model_name, request.model_version) == ("m", "")
    (given,) = request.inputs
    assert (given.name, given.datatype, list(given.shape)) == ("x", "FP32", [1, 2])
    assert list(given.contents.fp32_contents) == [0, 0]


@pytest.mark.parametrize("datatype", [one.wire for one in BY_WIRE.values() if one.contents_field])
def test_every_datatype_has_its_field(datatype: str) -> None:
    words = shlex.split(grpcurl(model(tensor(datatype, -1, 3)), "2", PLAIN))
    request = request_of(words[3])
    field = BY_WIRE[datatype].contents_field
    expected = {"BYTES": [b"hello"] * 3, "BOOL": [False] * 3}.get(datatype, [0] * 3)

    assert request.model_version == "2"
    assert list(getattr(request.inputs[0].contents, field)) == expected


def test_the_connection_becomes_flags() -> None:
    connection = Connection(
        server="gpu-7",
        tls_ca=Path("ca.pem"),
        tls_cert=Path("c.pem"),
        tls_key=Path("k.pem"),
        tls_server_name="models",
        headers=(("x-user", "a b"),),
    )
    words = shlex.split(grpcurl(model(tensor("FP32", 1)), "", connection))

    assert words[1:11] == [
        "-cacert", "ca.pem", "-cert", "c.pem", "-key", "k.pem", "-servername", "models",
        "-H", "x-user: a b",
    ]  # fmt: skip
    assert "-plaintext" not in words
    assert "gpu-7:8001" in words


def printed_by_the_shell(command: str) -> tuple[list[str], str]:
    """Run a pipeline with a program in the place of grpcurl that shows what it was given."""
    pipeline = command.replace("|\n  grpcurl", f"|\n  {shlex.quote(sys.executable)} -c '{SHOW}'")
    done = subprocess.run(
        ["sh", "-c", pipeline], capture_output=True, text=True, check=True, timeout=60
    )
    arguments, data = json.loads(done.stdout)
    return arguments, data


SHOW = "import json, sys; print(json.dumps([sys.argv[1:], sys.stdin.read()]))"


@pytest.mark.parametrize(
    ("datatype", "shape", "size"),
    [
        pytest.param("FP16", [1, 4], 8, id="a type that has no field"),
        pytest.param("FP32", [1, 3, 224, 224], 602112, id="too large for an argument"),
        pytest.param("BYTES", [1, 3000], 12000, id="many empty texts"),
    ],
)
def test_what_cannot_be_typed_is_made_by_the_shell(
    datatype: str, shape: list[int], size: int
) -> None:
    metadata = model(tensor(datatype, -1, *shape[1:]), TensorMetadata("50%", "INT8", (2,)))
    arguments, data = printed_by_the_shell(grpcurl(metadata, "", PLAIN))

    assert arguments[-2:] == ["-d", "@"]
    request = request_of(data)
    assert [list(one.shape) for one in request.inputs] == [shape, [2]]
    assert [one.name for one in request.inputs] == ["x", "50%"]
    assert list(request.raw_input_contents) == [bytes(size), bytes(2)]
    assert not request.inputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", ["FP32", "BF16", "INT64", "BOOL", "BYTES"])
def test_the_python_program_runs(datatype: str) -> None:
    answer = pb.ModelInferResponse(model_name="m", model_version="1")
    answer.outputs.add(name="y", datatype="FP32", shape=[2])
    answer.raw_output_contents.append(np.array([1, 2], "<f4").tobytes())
    with scripted_server({"ModelInfer": answer}) as server:
        connection = Connection(server=server.address, headers=(("x-user", "a"),))
        program = python(model(tensor(datatype, -1, 3)), "1", connection)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )

        (request,) = server.seen
        assert server.metadata[0]["x-user"] == "a"
    assert done.stdout == "y [1. 2.]\n"
    assert (request.model_version, request.inputs[0].datatype) == ("1", datatype)
    assert list(request.inputs[0].shape) == [1, 3]


def test_the_python_program_speaks_tls() -> None:
    connection = Connection(
        tls_ca=Path("ca.pem"),
        tls_cert=Path("c.pem"),
        tls_key=Path("k.pem"),
        tls_server_name="models",
    )
    program = python(model(tensor("FP32", 1)), "", connection)

    assert (
        'InferenceServerClient("localhost:8001", ssl=True, root_certificates="ca.pem",'
        ' private_key="k.pem", certificate_chain="c.pem",'
        " channel_args=[('grpc.ssl_target_name_override', 'models')])"
    ) in program


def test_asks_the_server_for_the_tensors(command_line: CommandLine) -> None:
    answer = pb.ModelMetadataResponse(name="m")
    answer.inputs.add(name="x", datatype="FP32", shape=[-1, 2])
    with scripted_server({"ModelMetadata": answer}) as server:
        as_text = command_line.ask(server, ["example", "m"])
        as_json = command_line.ask(server, ["example", "m", "--language=python", "-o=json"])

        assert f" {server.address} " in as_text.out
    assert as_text.out.startswith("grpcurl -plaintext -d '{")
    assert as_json.json["language"] == "python"
    assert "tritonclient" in as_json.json["example"]

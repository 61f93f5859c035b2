from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.message import Message

from interlock.client import models
from interlock.client.calls import Client
from interlock.client.connection import Connection
from interlock.client.models import ModelMetadata, ServerMetadata, TensorMetadata
from interlock.pb import grpc_service_pb2 as pb
from tests.support.scripted_server import ScriptedServer, scripted_server


@contextmanager
def asking(method: str, answer: Message) -> Iterator[tuple[Client, ScriptedServer]]:
    with (
        scripted_server({method: answer}) as server,
        Client(Connection(server=server.address)) as client,
    ):
        yield client, server


def test_asks_whether_the_server_is_ready() -> None:
    with asking("ServerReady", pb.ServerReadyResponse(ready=True)) as (client, _):
        assert models.server_ready(client)


def test_asks_whether_a_version_is_ready() -> None:
    with asking("ModelReady", pb.ModelReadyResponse(ready=True)) as (client, server):
        assert models.model_ready(client, "m", "2")
        assert server.seen == [pb.ModelReadyRequest(name="m", version="2")]


def test_describes_the_server() -> None:
    answer = pb.ServerMetadataResponse(name="triton", version="1", extensions=["a", "b"])
    with asking("ServerMetadata", answer) as (client, _):
        assert models.server_metadata(client) == ServerMetadata("triton", "1", ("a", "b"))


def test_describes_a_model() -> None:
    answer = pb.ModelMetadataResponse(name="m", versions=["1", "2"], platform="onnxruntime_onnx")
    answer.inputs.add(name="x", datatype="FP32", shape=[-1, 4])
    answer.outputs.add(name="y", datatype="BYTES", shape=[-1, 1])
    with asking("ModelMetadata", answer) as (client, server):
        assert models.model_metadata(client, "m", "") == ModelMetadata(
            "m",
            ("1", "2"),
            "onnxruntime_onnx",
            (TensorMetadata("x", "FP32", (-1, 4)),),
            (TensorMetadata("y", "BYTES", (-1, 1)),),
        )
        assert server.seen == [pb.ModelMetadataRequest(name="m")]


def test_shows_a_configuration_as_pbtxt_and_as_json() -> None:
    answer = pb.ModelConfigResponse()
    answer.config.name = "m"
    answer.config.max_batch_size = 8
    with asking("ModelConfig", answer) as (client, _):
        config = models.model_config(client, "m", "1")

    assert config.text == 'name: "m"\nmax_batch_size: 8\n'
    assert config.json == {"name": "m", "max_batch_size": 8}


def test_counts_requests() -> None:
    answer = pb.ModelStatisticsResponse()
    answer.model_stats.add(name="m", version="1", inference_count=3)
    with asking("ModelStatistics", answer) as (client, server):
        (counted,) = models.statistics(client, "m", "1")
        assert server.seen == [pb.ModelStatisticsRequest(name="m", version="1")]

    assert (counted["name"], counted["inference_count"]) == ("m", 3)

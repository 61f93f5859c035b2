import pytest

from interlock.pb import grpc_service_pb2 as pb
from tests.support.command_line import CommandLine
from tests.support.scripted_server import scripted_server


@pytest.mark.parametrize(("ready", "code", "text"), [(True, 0, "ready"), (False, 1, "not ready")])
def test_the_server_is_ready_or_not(
    command_line: CommandLine, ready: bool, code: int, text: str
) -> None:
    with scripted_server({"ServerReady": pb.ServerReadyResponse(ready=ready)}) as server:
        printed = command_line.ask(server, ["ready"])

    assert (printed.code, printed.out) == (code, f"{text}\n")


def test_a_version_of_a_model_is_ready(command_line: CommandLine) -> None:
    with scripted_server({"ModelReady": pb.ModelReadyResponse(ready=True)}) as server:
        printed = command_line.ask(server, ["ready", "m", "--model-version=2", "-o=json"])

        assert (printed.code, printed.json) == (0, {"ready": True})
        assert server.seen == [pb.ModelReadyRequest(name="m", version="2")]


def test_describes_the_server(command_line: CommandLine) -> None:
    answer = pb.ServerMetadataResponse(name="triton", version="1.2", extensions=["a", "b"])
    with scripted_server({"ServerMetadata": answer}) as server:
        as_text = command_line.ask(server, ["metadata"])
        as_json = command_line.ask(server, ["metadata", "-o=json"])

    assert as_text.out == "triton 1.2\nextensions: a, b\n"
    assert as_json.json == {"name": "triton", "version": "1.2", "extensions": ["a", "b"]}


def test_describes_a_model(command_line: CommandLine) -> None:
    answer = pb.ModelMetadataResponse(name="m", versions=["1", "2"], platform="onnxruntime_onnx")
    answer.inputs.add(name="image", datatype="FP32", shape=[-1, 4])
    answer.outputs.add(name="y", datatype="BYTES", shape=[-1, 1])
    with scripted_server({"ModelMetadata": answer}) as server:
        as_text = command_line.ask(server, ["metadata", "m"])
        as_json = command_line.ask(server, ["metadata", "m", "-o=json"])

    assert as_text.lines == [
        "m, onnxruntime_onnx, versions 1, 2",
        "",
        "INPUT DATATYPE SHAPE",
        "image FP32 [-1,4]",
        "",
        "OUTPUT DATATYPE SHAPE",
        "y BYTES [-1,1]",
    ]
    assert as_json.json["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 4]}]


def test_shows_a_configuration(command_line: CommandLine) -> None:
    answer = pb.ModelConfigResponse()
    answer.config.name = "m"
    answer.config.max_batch_size = 8
    with scripted_server({"ModelConfig": answer}) as server:
        as_text = command_line.ask(server, ["config", "m"])
        as_json = command_line.ask(server, ["config", "m", "-o=json"])

    assert as_text.out == 'name: "m"\nmax_batch_size: 8\n'
    assert as_json.json == {"name": "m", "max_batch_size": 8}


def test_shows_what_happened_to_requests(command_line: CommandLine) -> None:
    answer = pb.ModelStatisticsResponse()
    used = answer.model_stats.add(name="m", version="1", inference_count=8, execution_count=2)
    used.inference_stats.success.count, used.inference_stats.success.ns = 2, 4_000_000
    used.inference_stats.queue.count, used.inference_stats.queue.ns = 2, 10_000
    used.inference_stats.fail.count = 1
    answer.model_stats.add(name="idle", version="1")
    with scripted_server({"ModelStatistics": answer}) as server:
        as_text = command_line.ask(server, ["stats"])
        as_json = command_line.ask(server, ["stats", "m", "-o=json"])

        assert server.seen[1] == pb.ModelStatisticsRequest(name="m")
    assert as_text.lines == [
        "MODEL VERSION OK FAILED ROWS RUNS REQUEST us QUEUE us INFER us",
        "m 1 2 1 8 2 2000 5 -",
        "idle 1 0 0 0 0 - - -",
    ]
    assert as_json.json["model_stats"][0]["inference_stats"]["success"]["ns"] == 4_000_000

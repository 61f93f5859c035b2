"""What the server says of itself and of its models: spec/protocol.md 5."""

from collections.abc import Iterator

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.wire import Client, Message, WireServer, serving

EXTENSIONS = (
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "cuda_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity(
        "model",
        Port("FP32", (-1, 4), labels="labels.txt"),
        Port("BYTES", (1,), optional=True),
        max_batch_size=8,
        versions=(2, 10, 1),
        extra="version_policy { all {} } dynamic_batching {}",
        files={"labels.txt": b"a\nb\n"},
    )
    repository.onnx(
        "reshaped",
        onnx_small.identity("FP32", (2, 2)),
        inputs=[Port("FP32", (4,), reshape=(2, 2), name="x")],
        outputs=[Port("FP32", (4,), reshape=(2, 2), name="y")],
    )
    bare = {"1/model.onnx": onnx_small.identity("INT8", ("n", "m", 3))}
    repository.add("batching", "", files=bare)
    repository.add("fixed", "", files={"1/model.onnx": onnx_small.identity("FP16", (2, "m"))})
    (repository.root / "batching" / "config.pbtxt").unlink()
    with serving(repository) as server:
        yield server


def metadata(client: Client, model: str, version: str = "") -> Message:
    return client.call("ModelMetadata", pb.ModelMetadataRequest(name=model, version=version))


def config(client: Client, model: str) -> Message:
    return client.call("ModelConfig", pb.ModelConfigRequest(name=model)).config


def rows(tensors: Message) -> list[tuple[str, str, list[int]]]:
    return [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in tensors]


def test_the_server_is_called_triton_and_lists_what_it_implements(client: Client) -> None:
    answer = client.call("ServerMetadata", pb.ServerMetadataRequest())

    assert answer.name == "triton"
    assert answer.version
    listed = list(answer.extensions)
    assert listed == [name for name in EXTENSIONS if name in listed]
    implemented = {
        "classification",
        "model_repository",
        "model_configuration",
        "binary_tensor_data",
        "parameters",
        "statistics",
        "logging",
    }
    assert implemented <= set(listed)
    assert {"sequence", "system_shared_memory", "cuda_shared_memory", "trace"}.isdisjoint(listed)


def test_a_batching_model_shows_its_batch_dimension(client: Client) -> None:
    answer = metadata(client, "model")

    assert (answer.name, answer.platform) == ("model", "identity")
    assert rows(answer.inputs) == [("INPUT0", "FP32", [-1, -1, 4]), ("INPUT1", "BYTES", [-1, 1])]
    assert rows(answer.outputs) == [
        ("OUTPUT0", "FP32", [-1, -1, 4]),
        ("OUTPUT1", "BYTES", [-1, 1]),
    ]


def test_all_ready_versions_are_listed_as_numbers_ascend(client: Client) -> None:
    assert list(metadata(client, "model").versions) == ["1", "2", "10"]
    assert list(metadata(client, "model", "10").versions) == ["10"]


def test_a_reshaped_tensor_is_shown_as_clients_send_it(client: Client) -> None:
    answer = metadata(client, "reshaped")

    assert answer.platform == "onnxruntime_onnx"
    assert rows(answer.inputs) == [("x", "FP32", [4])]
    assert rows(answer.outputs) == [("y", "FP32", [4])]


def test_a_configuration_is_answered_in_full(client: Client) -> None:
    answer = config(client, "model")

    assert answer.name == "model"
    assert answer.backend == "identity"
    assert answer.max_batch_size == 8
    assert answer.version_policy.HasField("all")
    assert [tensor.name for tensor in answer.input] == ["INPUT0", "INPUT1"]
    assert answer.input[1].optional
    assert answer.output[0].label_filename == "labels.txt"
    (group,) = answer.instance_group
    assert (group.name, group.count, group.kind) == (
        "model_0",
        1,
        model_config_pb2.ModelInstanceGroup.KIND_CPU,
    )
    assert list(answer.dynamic_batching.preferred_batch_size) == [8]
    assert answer.optimization.input_pinned_memory.enable
    assert answer.optimization.output_pinned_memory.enable


@pytest.mark.parametrize("model", ["batching", "fixed"])
def test_what_a_configuration_does_not_say_is_filled_in(client: Client, model: str) -> None:
    answer = config(client, model)

    assert answer.name == model
    assert (answer.platform, answer.backend) == ("onnxruntime_onnx", "onnxruntime")
    assert answer.default_model_filename == "model.onnx"
    assert answer.version_policy.latest.num_versions == 1
    (group,) = answer.instance_group
    assert (group.name, group.count, group.kind) == (
        model,
        2,
        model_config_pb2.ModelInstanceGroup.KIND_CPU,
    )
    assert answer.optimization.input_pinned_memory.enable
    assert answer.optimization.output_pinned_memory.enable


def test_a_graph_that_can_batch_is_given_a_batch(client: Client) -> None:
    answer = config(client, "batching")

    assert answer.max_batch_size == 4
    assert answer.HasField("dynamic_batching")
    (x,), (y,) = answer.input, answer.output
    assert (x.name, x.data_type, list(x.dims)) == ("x", model_config_pb2.TYPE_INT8, [-1, 3])
    assert (y.name, y.data_type, list(y.dims)) == ("y", model_config_pb2.TYPE_INT8, [-1, 3])
    assert rows(metadata(client, "batching").inputs) == [("x", "INT8", [-1, -1, 3])]


def test_a_graph_that_cannot_batch_is_left_alone(client: Client) -> None:
    answer = config(client, "fixed")

    assert answer.max_batch_size == 0
    assert not answer.HasField("dynamic_batching")
    assert rows(metadata(client, "fixed").inputs) == [("x", "FP16", [2, -1])]

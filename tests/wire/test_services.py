"""What else is on the port: reflection, channelz, and methods that are not there."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1 import channelz_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2 as pb

from tests.support.models import Repository
from tests.support.wire import SERVICE, TIMEOUT_S, Client, Message, WireServer, serving

MISSING = (
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
)
REFLECTION_VERSIONS = pytest.mark.parametrize("version", ["v1", "v1alpha"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model")
    with serving(repository) as server:
        yield server


def reflect(client: Client, version: str, **asked: str) -> Message:
    method = client.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(**asked)
    (answer,) = method(iter([request]), timeout=TIMEOUT_S)
    return answer


@REFLECTION_VERSIONS
def test_reflection_lists_the_services(client: Client, version: str) -> None:
    answer = reflect(client, version, list_services="*")

    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"} <= names


@REFLECTION_VERSIONS
@pytest.mark.parametrize(
    "symbol",
    [SERVICE, "inference.ModelInferRequest", "inference.ModelConfig", f"{SERVICE}.ModelInfer"],
)
def test_reflection_describes_a_symbol(client: Client, version: str, symbol: str) -> None:
    answer = reflect(client, version, file_containing_symbol=symbol)

    files = [
        FileDescriptorProto.FromString(file)
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert "inference" in {file.package for file in files}


@pytest.mark.parametrize("method", MISSING)
def test_a_method_that_is_not_implemented_says_so_in_a_sentence(
    client: Client, method: str
) -> None:
    code, text = client.refusal(method, getattr(pb, f"{method}Request")())

    assert code == "UNIMPLEMENTED"
    assert len(text.split()) > 3


@pytest.mark.parametrize(
    "path", [f"/{SERVICE}/Nothing", "/nobody.Nowhere/Nothing", "/inference.Other/ModelInfer"]
)
def test_a_method_that_nobody_knows_is_unimplemented(client: Client, path: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client.channel.unary_unary(path)(b"", timeout=TIMEOUT_S)

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_channelz_knows_the_server(client: Client) -> None:
    method = client.channel.unary_unary(
        "/grpc.channelz.v1.Channelz/GetServers",
        channelz_pb2.GetServersRequest.SerializeToString,
        channelz_pb2.GetServersResponse.FromString,
    )

    answer = method(channelz_pb2.GetServersRequest(), timeout=TIMEOUT_S)

    assert len(answer.server) >= 1


@pytest.mark.parametrize(
    "method", ["ServerLive", "ModelConfig", "RepositoryIndex", "ModelStatistics", "LogSettings"]
)
def test_a_malformed_message_of_any_rpc_harms_nobody(client: Client, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client.channel.unary_unary(f"/{SERVICE}/{method}")(b"\xff\xff\xff", timeout=TIMEOUT_S)

    assert refused.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL}
    assert "Traceback" not in refused.value.details()
    assert client.live()

"""Groups of RPCs that need a header: spec/protocol.md 17.3."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from interlock.pb import control_pb2
from tests.support.models import Repository
from tests.support.server_process import ServerProcessError
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    Message,
    Refusal,
    WireServer,
    given,
    infer_request,
    server_process,
    serving,
    unavailable,
)

HEALTH, METADATA, INFERENCE = "health", "metadata", "inference"
CONFIG, CONTROL, STATISTICS = "model-config", "model-repository", "statistics"
SHARED_MEMORY, TRACE, LOGGING = "shared-memory", "trace", "logging"
INFER = infer_request("model", given("INPUT0", np.zeros(1, "<f4")))
REQUESTS: Mapping[str, tuple[str, Message]] = {
    "ServerLive": (HEALTH, pb.ServerLiveRequest()),
    "ServerReady": (HEALTH, pb.ServerReadyRequest()),
    "ModelReady": (HEALTH, pb.ModelReadyRequest(name="model")),
    "ServerMetadata": (METADATA, pb.ServerMetadataRequest()),
    "ModelMetadata": (METADATA, pb.ModelMetadataRequest(name="model")),
    "ModelInfer": (INFERENCE, INFER),
    "ModelConfig": (CONFIG, pb.ModelConfigRequest(name="model")),
    "ModelStatistics": (STATISTICS, pb.ModelStatisticsRequest(name="model")),
    "RepositoryIndex": (CONTROL, pb.RepositoryIndexRequest()),
    "RepositoryModelLoad": (CONTROL, pb.RepositoryModelLoadRequest(model_name="model")),
    "RepositoryModelUnload": (CONTROL, pb.RepositoryModelUnloadRequest(model_name="other")),
    "LogSettings": (LOGGING, pb.LogSettingsRequest()),
    "SystemSharedMemoryStatus": (SHARED_MEMORY, pb.SystemSharedMemoryStatusRequest()),
    "SystemSharedMemoryRegister": (SHARED_MEMORY, pb.SystemSharedMemoryRegisterRequest()),
    "SystemSharedMemoryUnregister": (SHARED_MEMORY, pb.SystemSharedMemoryUnregisterRequest()),
    "CudaSharedMemoryStatus": (SHARED_MEMORY, pb.CudaSharedMemoryStatusRequest()),
    "CudaSharedMemoryRegister": (SHARED_MEMORY, pb.CudaSharedMemoryRegisterRequest()),
    "CudaSharedMemoryUnregister": (SHARED_MEMORY, pb.CudaSharedMemoryUnregisterRequest()),
    "TraceSetting": (TRACE, pb.TraceSettingRequest()),
}
# Two groups share a key; a value may hold what separates the others.
KEYS = {
    HEALTH: ("probe", "p"),
    METADATA: ("read", "r"),
    CONFIG: ("read", "r"),
    INFERENCE: ("infer", "a=b:c"),
    CONTROL: ("admin", "secret"),
    STATISTICS: ("stats", "s"),
    SHARED_MEMORY: ("memory", "m"),
    TRACE: ("trace", "t"),
    LOGGING: ("log", "l"),
}
FLAGS = [
    f"--grpc-restricted-protocol={METADATA},{CONFIG}:read=r",
    *(
        f"--grpc-restricted-protocol={group}:{key}={value}"
        for group, (key, value) in KEYS.items()
        if key != "read"
    ),
]
EVERY_RPC = pytest.mark.parametrize("method", REQUESTS)


def header(group: str) -> tuple[str, str]:
    key, value = KEYS[group]
    return f"triton-grpc-protocol-{key}", value


def with_all_headers(address: str) -> Client:
    return Client(address, metadata=sorted({header(group) for group in KEYS}))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model")
    with serving(repository, *FLAGS, connect=with_all_headers) as server:
        yield server


@pytest.fixture(scope="module")
def stranger(server: WireServer) -> Iterator[Client]:
    """A client without any header."""
    with Client(server.address) as client:
        yield client


def restricted(group: str) -> Refusal:
    return unavailable(f"This protocol is restricted, expecting header '{header(group)[0]}'")


@EVERY_RPC
def test_a_restricted_rpc_wants_its_header(stranger: Client, method: str) -> None:
    group, request = REQUESTS[method]

    assert stranger.refusal(method, request) == restricted(group)


@EVERY_RPC
@pytest.mark.parametrize("value", ["", "wrong", "{}x"], ids=["empty", "other", "longer"])
def test_the_value_must_be_exactly_that(stranger: Client, method: str, value: str) -> None:
    group, request = REQUESTS[method]
    key, right = header(group)

    refusal = stranger.refusal(method, request, metadata=[(key, value.format(right))])

    assert refusal == restricted(group)


@EVERY_RPC
def test_the_header_of_another_group_does_not_help(stranger: Client, method: str) -> None:
    group, request = REQUESTS[method]
    others = sorted({header(other) for other in KEYS} - {header(group)})

    assert stranger.refusal(method, request, metadata=others) == restricted(group)


@EVERY_RPC
def test_with_the_header_the_rpc_passes_the_gate(stranger: Client, method: str) -> None:
    group, request = REQUESTS[method]

    if group in {SHARED_MEMORY, TRACE}:
        refusal = stranger.refusal(method, request, metadata=[header(group)])
        assert refusal.code == "UNIMPLEMENTED"
    else:
        stranger.call(method, request, metadata=[header(group)])


@pytest.mark.parametrize(
    "method",
    list(control_pb2.DESCRIPTOR.services_by_name["Control"].methods),
    ids=lambda one: one.name,
)
def test_the_control_service_belongs_to_the_model_repository(
    stranger: Client, method: MethodDescriptor
) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"

    with pytest.raises(grpc.RpcError) as caught:
        list(stranger.channel.unary_stream(path)(b"", timeout=TIMEOUT_S))

    assert Refusal(caught.value.code().name, caught.value.details()) == restricted(CONTROL)


def test_a_restricted_stream_ends_before_its_first_message(stranger: Client) -> None:
    assert stranger.stream().end() == restricted(INFERENCE)


def test_a_stream_with_the_header_is_served(stranger: Client) -> None:
    (answer,) = stranger.exchange(INFER, metadata=[header(INFERENCE)])

    assert answer.error_message == ""


def test_the_gate_comes_before_the_request_is_read(stranger: Client) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stranger.bytes_infer(b"\xff\xff")

    assert (refused.value.code().name, refused.value.details()) == restricted(INFERENCE)


def test_health_checks_belong_to_health(stranger: Client) -> None:
    stub = health_pb2_grpc.HealthStub(stranger.channel)
    request = health_pb2.HealthCheckRequest()

    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(request, timeout=TIMEOUT_S)
    with pytest.raises(grpc.RpcError) as unwatched:
        next(stub.Watch(request, timeout=TIMEOUT_S))

    for error in (refused.value, unwatched.value):
        assert (error.code().name, error.details()) == restricted(HEALTH)
    answer = stub.Check(request, timeout=TIMEOUT_S, metadata=[header(HEALTH)])
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        pytest.param(["x:k=v"], "unknown restricted protocol 'x'", id="unknown group"),
        pytest.param(
            ["health:a=b", "health,metadata:c=d"],
            "restricted protocol 'health' can not be specified in multiple config groups",
            id="twice",
        ),
        pytest.param(
            ["health"],
            "--grpc-restricted-protocol option format is '<config name>:<setting>=<value>'. Got ",
            id="no key",
        ),
    ],
)
def test_a_flag_that_cannot_be_read_ends_the_start(
    tmp_path: Path, flags: list[str], text: str
) -> None:
    arguments = [f"--grpc-restricted-protocol={flag}" for flag in flags]

    with (
        pytest.raises(ServerProcessError, match="ended with 1") as failed,
        server_process(Repository(tmp_path), *arguments),
    ):
        pass

    assert text in str(failed.value)

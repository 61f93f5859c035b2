"""Every RPC off the hot path, through the stock client and a real port."""

from collections.abc import Callable, Iterator

import grpc
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.ids import ModelName, Version
from interlock.domain.readiness import IndexEntry, Readiness, ServerPhase
from interlock.frontend.pools import _REPOSITORY_CALLS
from interlock.settings import GrpcSettings, ProtocolCategory, RestrictedProtocols
from tests.support.boundary import (
    TIMEOUT_S,
    VERSION,
    Boundary,
    boundary,
    entry,
    loaded,
    refused,
)

SERVICE = "/inference.GRPCInferenceService/"
DRAIN_TEXT = "GRPC server is shutting down and has stopped accepting new requests."
LOOPBACK = "127.0.0.1"

Call = Callable[[triton.InferenceServerClient], object]

CALLS = {
    "ServerLive": lambda client: client.is_server_live(),
    "ServerReady": lambda client: client.is_server_ready(),
    "ModelReady": lambda client: client.is_model_ready("m"),
    "ServerMetadata": lambda client: client.get_server_metadata(),
    "ModelMetadata": lambda client: client.get_model_metadata("m"),
    "ModelConfig": lambda client: client.get_model_config("m"),
    "ModelStatistics": lambda client: client.get_inference_statistics("m"),
    "RepositoryIndex": lambda client: client.get_model_repository_index(),
    "RepositoryModelLoad": lambda client: client.load_model("m"),
    "RepositoryModelUnload": lambda client: client.unload_model("m"),
    "LogSettings": lambda client: client.get_log_settings(),
}
MISSING = {
    "SystemSharedMemoryStatus": lambda client: client.get_system_shared_memory_status(),
    "SystemSharedMemoryRegister": lambda client: client.register_system_shared_memory("r", "k", 1),
    "SystemSharedMemoryUnregister": lambda client: client.unregister_system_shared_memory("r"),
    "CudaSharedMemoryStatus": lambda client: client.get_cuda_shared_memory_status(),
    "CudaSharedMemoryRegister": lambda client: client.register_cuda_shared_memory("r", b"", 0, 1),
    "CudaSharedMemoryUnregister": lambda client: client.unregister_cuda_shared_memory("r"),
    "TraceSetting": lambda client: client.get_trace_settings(),
}
CATEGORIES = {
    "ServerLive": "health",
    "ServerReady": "health",
    "ModelReady": "health",
    "ServerMetadata": "metadata",
    "ModelMetadata": "metadata",
    "ModelConfig": "model-config",
    "ModelStatistics": "statistics",
    "RepositoryIndex": "model-repository",
    "RepositoryModelLoad": "model-repository",
    "RepositoryModelUnload": "model-repository",
    "LogSettings": "logging",
    "TraceSetting": "trace",
    **{name: "shared-memory" for name in MISSING if "SharedMemory" in name},
}
HEALTH_CALLS = [name for name, category in CATEGORIES.items() if category == "health"]


@pytest.fixture
def world() -> Iterator[Boundary]:
    with boundary() as made:
        made.table.show({"m": entry(loaded("m"))})
        yield made


@pytest.fixture
def client(world: Boundary) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(world.address) as client:
        yield client


def failure(call: Call, client: triton.InferenceServerClient) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        call(client)
    return caught.value.status(), caught.value.message()


def test_the_stock_client_asks_for_health_and_metadata(
    world: Boundary, client: triton.InferenceServerClient
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("m")
    assert client.is_model_ready("m", "1")
    assert not client.is_model_ready("m", "2")
    assert client.get_server_metadata(as_json=True)["version"] == VERSION
    assert client.get_model_metadata("m").platform == "identity"
    assert client.get_model_config("m").config.name == "m"
    assert [one.name for one in client.get_inference_statistics().model_stats] == ["m"]


def test_the_stock_client_loads_unloads_and_lists(
    world: Boundary, client: triton.InferenceServerClient
) -> None:
    world.control.entries = (IndexEntry(ModelName("m"), Version(1), Readiness.READY),)

    client.load_model("m", config="{}", files={"file:1/model.x": b"\x00\xff"})
    client.unload_model("m", unload_dependents=True)
    index = client.get_model_repository_index(as_json=True)

    assert world.control.asked == [
        ("load", "m", {"config": "{}", "file:1/model.x": b"\x00\xff"}),
        ("unload", "m", {"unload_dependents": True}),
    ]
    assert index == {"models": [{"name": "m", "version": "1", "state": "READY"}]}


def test_the_stock_client_changes_log_settings(
    world: Boundary, client: triton.InferenceServerClient
) -> None:
    client.update_log_settings({"log_verbose_level": 2, "log_info": False, "log_format": "json"})

    assert world.logs.as_map() == {
        "log_file": "",
        "log_info": False,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 2,
        "log_format": "json",
    }


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        pytest.param(
            InternalError("failed to load 'm', failed to poll from model repository"),
            "StatusCode.INTERNAL",
            "failed to load 'm', failed to poll from model repository",
            id="ours",
        ),
        pytest.param(
            InvalidRequestError("load failed for model 'm': version 1 is broken;\n"),
            "StatusCode.INVALID_ARGUMENT",
            "load failed for model 'm': version 1 is broken;\n",
            id="with a line's end",
        ),
        pytest.param(
            KeyError("a detail of ours"),
            "StatusCode.INTERNAL",
            "internal error: KeyError",
            id="bug",
        ),
    ],
)
def test_what_a_load_fails_with_reaches_the_client(
    error: Exception,
    status: str,
    text: str,
    world: Boundary,
    client: triton.InferenceServerClient,
) -> None:
    world.control.error = error

    assert failure(CALLS["RepositoryModelLoad"], client) == (status, text)


@pytest.mark.parametrize("name", MISSING)
def test_what_is_not_implemented_says_so(name: str, client: triton.InferenceServerClient) -> None:
    status, text = failure(MISSING[name], client)

    assert status == "StatusCode.UNIMPLEMENTED"
    assert text == (
        "tracing is not implemented: there are no trace settings to show or change"
        if name == "TraceSetting"
        else "shared memory is not implemented: send tensors in the request and take them from "
        "the response"
    )


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("/inference.GRPCInferenceService/Nonsense", id="method"),
        pytest.param("/inference.Nonsense/ServerLive", id="service"),
        pytest.param("/inference.GRPCInferenceService/ModelInfer", id="left to the hot path"),
    ],
)
def test_what_is_not_there_is_unimplemented(method: str, world: Boundary) -> None:
    with world.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"", timeout=TIMEOUT_S)

    assert refused(caught.value) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


def test_what_is_no_message_is_refused(world: Boundary) -> None:
    with world.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"{SERVICE}ModelReady")(b"\xff\xff", timeout=TIMEOUT_S)

    assert refused(caught.value) == (
        grpc.StatusCode.INTERNAL,
        "Exception deserializing request!",
    )


@pytest.mark.parametrize("name", [*CALLS, *MISSING])
def test_a_restricted_protocol_asks_for_its_header(name: str) -> None:
    call = {**CALLS, **MISSING}[name]
    group = RestrictedProtocols((ProtocolCategory(CATEGORIES[name]),), key="k", value="a:b=c")
    settings = GrpcSettings(address=LOOPBACK, port=0, restricted=(group,))
    with (
        boundary(settings) as world,
        triton.InferenceServerClient(world.address) as client,
    ):
        answer = failure(call, client)
        method = world_method(world, name)

        assert answer == (
            "StatusCode.UNAVAILABLE",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-k'",
        )
        assert code_with(method, (("triton-grpc-protocol-k", "a:b=c"),)) != "UNAVAILABLE"
        assert code_with(method, (("triton-grpc-protocol-k", "a:b=d"),)) == "UNAVAILABLE"


def world_method(world: Boundary, name: str) -> Callable[..., object]:
    def call(metadata: tuple[tuple[str, str], ...]) -> None:
        with world.channel() as channel:
            channel.unary_unary(SERVICE + name)(b"", metadata=metadata, timeout=TIMEOUT_S)

    return call


def code_with(call: Callable[..., object], metadata: tuple[tuple[str, str], ...]) -> str:
    try:
        call(metadata)
    except grpc.RpcError as error:
        return str(refused(error)[0].name)
    return "OK"


@pytest.mark.parametrize("name", [one for one in CALLS if one not in HEALTH_CALLS])
def test_a_draining_server_refuses_new_calls(
    name: str, world: Boundary, client: triton.InferenceServerClient
) -> None:
    world.state.change(phase=ServerPhase.DRAINING, accepting=False)

    assert failure(CALLS[name], client) == ("StatusCode.UNAVAILABLE", DRAIN_TEXT)


@pytest.mark.parametrize("name", HEALTH_CALLS)
def test_a_draining_server_says_that_it_exits(
    name: str, world: Boundary, client: triton.InferenceServerClient
) -> None:
    world.state.change(phase=ServerPhase.DRAINING, accepting=False)

    assert failure(CALLS[name], client) == ("StatusCode.UNAVAILABLE", "Server exiting")


@pytest.mark.parametrize("name", [*HEALTH_CALLS, "ServerMetadata", "RepositoryIndex"])
def test_a_starting_server_answers_for_itself(
    name: str, world: Boundary, client: triton.InferenceServerClient
) -> None:
    world.state.change(phase=ServerPhase.STARTING)

    assert CALLS[name](client) is not None
    assert not client.is_server_ready()


def test_a_reply_is_held_back_where_a_test_wants_it(
    world: Boundary, client: triton.InferenceServerClient
) -> None:
    client.is_server_live()

    assert world.delays == ["delay"]


def test_health_answers_while_every_thread_for_loads_is_taken(world: Boundary) -> None:
    """And one load more than may wait is refused."""
    world.control.go.clear()
    request = pb.RepositoryModelLoadRequest(model_name="m").SerializeToString()
    with world.channel() as channel:
        load = channel.unary_unary(f"{SERVICE}RepositoryModelLoad")
        held = [load.future(request, timeout=TIMEOUT_S) for _ in range(_REPOSITORY_CALLS)]
        for _ in range(16):
            assert world.control.entered.acquire(timeout=TIMEOUT_S)
        with triton.InferenceServerClient(world.address) as client:
            assert client.is_server_ready()
            unload = client.unload_model
            statuses = {failure(lambda _client: unload("m"), client)}
        world.control.go.set()
        codes = {call.code() for call in held}

    assert statuses == {
        (
            "StatusCode.RESOURCE_EXHAUSTED",
            "64 loads and unloads are under way or waiting: try again later",
        )
    }
    assert codes == {grpc.StatusCode.OK}


def test_a_load_that_was_given_up_makes_room(world: Boundary) -> None:
    world.control.go.clear()
    request = pb.RepositoryModelLoadRequest(model_name="m").SerializeToString()
    with world.channel() as channel:
        load = channel.unary_unary(f"{SERVICE}RepositoryModelLoad")
        held = [load.future(request, timeout=TIMEOUT_S) for _ in range(_REPOSITORY_CALLS)]
        for _ in range(16):
            assert world.control.entered.acquire(timeout=TIMEOUT_S)
        for call in held:
            call.cancel()
        world.control.go.set()

        assert load(request, timeout=TIMEOUT_S) == b""


def test_calls_that_are_cancelled_leave_the_server_whole(world: Boundary) -> None:
    with world.channel() as channel:
        live = channel.unary_unary(f"{SERVICE}ServerLive")
        for _ in range(200):
            live.future(b"").cancel()

        assert live(b"", timeout=TIMEOUT_S) == b"\x08\x01"

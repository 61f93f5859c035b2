"""Who is live, who is ready: Triton's own RPCs and grpc.health.v1. spec/protocol.md 4."""

from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.wire import (
    SERVICE,
    TIMEOUT_S,
    Client,
    Message,
    WireServer,
    invalid,
    serving,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model", versions=(1, 3), extra="version_policy { all {} }")
    repository.identity("other")
    with serving(repository) as server:
        yield server


@pytest.fixture
def broken(server: WireServer, client: Client) -> Iterator[str]:
    """A model whose load has failed; good again afterwards."""
    server.repository.onnx("broken", b"this is no graph")
    assert client.load_refusal("broken").code == "INVALID_ARGUMENT"
    yield "broken"
    server.repository.onnx("broken", onnx_small.identity("FP32"))
    client.load("broken")


@pytest.fixture
def other_unloaded(client: Client) -> Iterator[None]:
    client.unload("other")
    yield
    client.load("other")


def check(client: Client, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(client.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return int(stub.Check(request, timeout=TIMEOUT_S).status)


def watch(client: Client, service: str) -> Message:
    stub = health_pb2_grpc.HealthStub(client.channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)


def test_a_server_with_its_models_is_live_and_ready(client: Client) -> None:
    assert (client.live(), client.ready()) == (True, True)


@pytest.mark.parametrize(
    ("model", "version", "ready"),
    [
        ("model", "", True),
        ("model", "1", True),
        ("model", "3x", True),
        ("model", "2", False),
        ("model", "0", False),
        ("nowhere", "", False),
        ("nowhere", "1", False),
        ("", "", False),
    ],
)
def test_a_model_is_ready_or_not_and_never_an_error(
    client: Client, model: str, version: str, ready: bool
) -> None:
    assert client.model_ready(model, version) is ready


@pytest.mark.usefixtures("other_unloaded")
def test_an_unloaded_model_is_not_ready_and_the_server_is(client: Client) -> None:
    assert not client.model_ready("other")
    assert not client.model_ready("other", "1")
    assert client.ready()


def test_a_failed_model_is_not_ready_and_so_is_the_server(client: Client, broken: str) -> None:
    assert not client.model_ready(broken)
    assert not client.model_ready(broken, "1")
    assert not client.ready()
    assert client.live()
    assert check(client) == NOT_SERVING


def test_a_failed_model_that_is_unloaded_does_not_count(client: Client, broken: str) -> None:
    client.unload(broken)

    assert client.ready()


@pytest.mark.parametrize("version", ["abc", "-"])
def test_a_version_that_is_no_number_is_an_error(client: Client, version: str) -> None:
    refusal = client.refusal("ModelReady", pb.ModelReadyRequest(name="model", version=version))

    assert refusal == invalid(
        f"failed to get model version from specified version string '{version}' "
        "(details: stol), version should be an integral value > 0"
    )


def test_a_negative_version_is_an_error(client: Client) -> None:
    refusal = client.refusal("ModelReady", pb.ModelReadyRequest(name="model", version="-2"))

    assert refusal == invalid(
        "invalid model version specified '-2' , version should be an integral value > 0"
    )


@pytest.mark.parametrize("service", ["", SERVICE, "model/model", "model/model/1", "model/model/3"])
def test_health_says_serving(client: Client, service: str) -> None:
    assert check(client, service) == SERVING


@pytest.mark.usefixtures("other_unloaded")
@pytest.mark.parametrize("service", ["model/other", "model/other/1"])
def test_health_of_an_unloaded_model_is_not_serving(client: Client, service: str) -> None:
    assert check(client, service) == NOT_SERVING


@pytest.mark.parametrize(
    "service", ["other", "model/nowhere", "model/model/2", "model/", "model/model/x", "a/b/c"]
)
def test_health_does_not_know_the_service(client: Client, service: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        check(client, service)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_watcher_hears_of_an_unload_and_a_load(client: Client) -> None:
    statuses = watch(client, "model/other")
    seen = [next(statuses).status]

    client.unload("other")
    seen.append(next(statuses).status)
    client.load("other")
    while seen[-1] != SERVING:
        seen.append(next(statuses).status)
    statuses.cancel()

    assert seen == [SERVING, NOT_SERVING, SERVING]


def test_a_watcher_hears_when_an_unknown_model_comes(server: WireServer, client: Client) -> None:
    statuses = watch(client, "model/new")
    assert next(statuses).status == SERVICE_UNKNOWN

    server.repository.identity("new")
    client.load("new")

    status = next(statuses).status
    while status == NOT_SERVING:  # on its way
        status = next(statuses).status
    assert status == SERVING
    statuses.cancel()


def test_a_watcher_of_the_server_hears_of_a_failed_model(
    server: WireServer, client: Client
) -> None:
    statuses = watch(client, "")
    assert next(statuses).status == SERVING

    server.repository.onnx("failing", b"this is no graph")
    assert client.load_refusal("failing").code == "INVALID_ARGUMENT"
    assert next(statuses).status == NOT_SERVING

    client.unload("failing")
    assert next(statuses).status == SERVING
    statuses.cancel()


def test_a_hundred_watchers_hold_nothing_up(client: Client) -> None:
    watchers = [watch(client, "") for _ in range(100)]

    assert [next(watcher).status for watcher in watchers] == [SERVING] * 100
    assert client.ready()
    for watcher in watchers:
        watcher.cancel()


def test_health_lists_every_service(client: Client) -> None:
    method = client.channel.unary_unary("/grpc.health.v1.Health/List")

    # HealthListResponse: map<string, HealthCheckResponse> statuses = 1.
    answer = method(b"", timeout=TIMEOUT_S)

    for service in ("model/model", "model/model/1", "model/model/3", "model/other", SERVICE):
        assert service.encode() in answer

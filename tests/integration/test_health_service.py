"""grpc.health.v1 with the standard client, and streams that hold no thread."""

import queue
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from interlock.domain.readiness import ServerPhase
from interlock.frontend.pools import _QUICK_THREADS
from interlock.pb import health_pb2 as ours
from interlock.runtime.clock import monotonic
from interlock.runtime.threads import spawn
from interlock.settings import GrpcSettings, ProtocolCategory, RestrictedProtocols
from tests.support.boundary import TIMEOUT_S, Boundary, boundary, entry, loaded, refused

SERVICE = "inference.GRPCInferenceService"
REPOSITORY = "interlock.repository"
RESTRICTED = (
    grpc.StatusCode.UNAVAILABLE,
    "This protocol is restricted, expecting header 'triton-grpc-protocol-k'",
)


@pytest.fixture
def world() -> Iterator[Boundary]:
    with boundary() as made:
        yield made


def check(channel: grpc.Channel, service: str) -> str:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return name_of(stub.Check(request, timeout=TIMEOUT_S))


def watch(channel: grpc.Channel, service: str) -> grpc.Call:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)


def name_of(response: health_pb2.HealthCheckResponse) -> str:
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def list_all(channel: grpc.Channel, **options: object) -> dict[str, str]:
    call = channel.unary_unary(
        "/grpc.health.v1.Health/List",
        request_serializer=ours.HealthListRequest.SerializeToString,
        response_deserializer=ours.HealthListResponse.FromString,
    )
    response = call(ours.HealthListRequest(), timeout=TIMEOUT_S, **options)
    status = ours.HealthCheckResponse.ServingStatus
    return {name: status.Name(one.status) for name, one in response.statuses.items()}


def test_the_standard_client_checks(world: Boundary) -> None:
    world.table.show({"m": entry(loaded("m"), known=[2])})
    with world.channel() as channel:
        answers = {
            name: check(channel, name)
            for name in ("", SERVICE, REPOSITORY, "model/m", "model/m/1", "model/m/2")
        }

        assert answers == {
            "": "SERVING",
            SERVICE: "SERVING",
            REPOSITORY: "SERVING",
            "model/m": "SERVING",
            "model/m/1": "SERVING",
            "model/m/2": "NOT_SERVING",
        }
        assert list_all(channel) == answers


def test_checking_an_unknown_service_is_not_found(world: Boundary) -> None:
    with world.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        check(channel, "model/nobody")

    assert refused(caught.value) == (
        grpc.StatusCode.NOT_FOUND,
        "unknown service 'model/nobody'",
    )


def test_too_many_services_are_not_listed(world: Boundary) -> None:
    world.table.show({"m": entry(known=range(1, 200))})
    with world.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        list_all(channel)

    assert refused(caught.value)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_nothing_serves_while_the_server_drains(world: Boundary) -> None:
    world.table.show({"m": entry(loaded("m"))})
    world.state.change(phase=ServerPhase.DRAINING, accepting=False)
    with world.channel() as channel:
        assert set(list_all(channel).values()) == {"NOT_SERVING"}
        assert check(channel, "") == "NOT_SERVING"


def test_the_standard_client_watches_the_server(world: Boundary) -> None:
    with world.channel() as channel:
        stream = watch(channel, "")
        assert name_of(next(stream)) == "SERVING"

        world.state.change(models_ready=False)
        assert name_of(next(stream)) == "NOT_SERVING"

        world.state.change(models_ready=True)
        assert name_of(next(stream)) == "SERVING"


def test_a_model_that_appears_is_told_on_an_open_stream(world: Boundary) -> None:
    with world.channel() as channel:
        stream = watch(channel, "model/m/1")
        assert name_of(next(stream)) == "SERVICE_UNKNOWN"

        world.table.show({"m": entry(known=[1])})
        world.state.tell()
        assert name_of(next(stream)) == "NOT_SERVING"

        world.table.show({"m": entry(loaded("m"))})
        world.state.tell()
        assert name_of(next(stream)) == "SERVING"

        world.table.show({})
        world.state.tell()
        assert name_of(next(stream)) == "SERVICE_UNKNOWN"


def test_watching_holds_no_thread(world: Boundary) -> None:
    with world.channel() as channel:
        streams = [watch(channel, "") for _ in range(_QUICK_THREADS * 4)]
        assert {name_of(next(stream)) for stream in streams} == {"SERVING"}

        assert check(channel, "") == "SERVING"
        world.state.change(models_ready=False)

        assert {name_of(next(stream)) for stream in streams} == {"NOT_SERVING"}


def test_who_hangs_up_is_forgotten(world: Boundary) -> None:
    gone = threading.Event()
    with world.channel() as channel:
        stream = watch(channel, "")
        assert name_of(next(stream)) == "SERVING"
        assert world.watch.count == 1
        forget = world.watch._forget

        def noticed(watcher: Any) -> None:
            forget(watcher)
            gone.set()

        world.watch._forget = noticed  # type: ignore[method-assign, assignment]  # to wait without sleeping
        stream.cancel()

        assert gone.wait(TIMEOUT_S)
    assert world.watch.count == 0


def test_a_stream_ends_with_the_server_after_the_last_change() -> None:
    heard: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        try:
            for response in watch(channel, ""):
                heard.put(name_of(response))
        except grpc.RpcError as error:
            code, details = refused(error)
            heard.put(f"{code.name} {details}")

    with boundary() as world:
        channel = grpc.insecure_channel(world.address)
        listener = spawn("listener", listen)
        assert heard.get(timeout=TIMEOUT_S) == "SERVING"
        world.state.change(phase=ServerPhase.DRAINING, accepting=False)
        # Before the end: grpcio's client drops a message that comes together with it.
        assert heard.get(timeout=TIMEOUT_S) == "NOT_SERVING"
    listener.join(TIMEOUT_S)
    channel.close()

    assert heard.get_nowait() == "UNAVAILABLE Server exiting"


def test_health_can_be_restricted() -> None:
    group = RestrictedProtocols((ProtocolCategory.HEALTH,), key="k", value="v")
    settings = GrpcSettings(address="127.0.0.1", port=0, restricted=(group,))
    with boundary(settings) as world, world.channel() as channel:
        with pytest.raises(grpc.RpcError) as checked:
            check(channel, "")
        with pytest.raises(grpc.RpcError) as watched:
            next(watch(channel, ""))
        with pytest.raises(grpc.RpcError) as listed:
            list_all(channel)
        opened = list_all(channel, metadata=(("triton-grpc-protocol-k", "v"),))

    assert [refused(one.value) for one in (checked, watched, listed)] == [RESTRICTED] * 3
    assert opened[""] == "SERVING"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    length = struct.pack(">I", len(payload))[1:]
    return length + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: str, value: str) -> bytes:
    """One header, neither indexed nor compressed."""
    return b"".join(
        [b"\x00", bytes([len(name)]), name.encode(), bytes([len(value)]), value.encode()]
    )


def watch_without_reading(port: int) -> socket.socket:
    """Open a Watch whose client has no room for a single byte of an answer."""
    headers = b"".join(
        [
            literal(":method", "POST"),
            literal(":scheme", "http"),
            literal(":path", "/grpc.health.v1.Health/Watch"),
            literal(":authority", "localhost"),
            literal("content-type", "application/grpc"),
            literal("te", "trailers"),
        ]
    )
    no_window = struct.pack(">HI", 4, 0)
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, no_window)
        + frame(1, 4, 1, headers)
        + frame(0, 1, 1, b"\x00\x00\x00\x00\x00")
    )
    return connection


def test_clients_that_have_no_room_for_an_answer_are_let_go() -> None:
    """More of them than there are senders; and those who read are served again."""
    with boundary(clock=lambda: monotonic() * 20) as world:
        connections = [watch_without_reading(world.port) for _ in range(6)]
        try:
            with world.channel() as channel:
                stream = watch(channel, "")

                assert check(channel, "") == "SERVING"
                assert name_of(next(stream)) == "SERVING"
        finally:
            for connection in connections:
                connection.close()

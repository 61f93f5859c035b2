"""Reflection and channelz with the clients that people use."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from interlock.frontend.pools import _INTROSPECTION_CALLS
from tests.support.boundary import TIMEOUT_S, Boundary, boundary, entry, loaded, refused

SERVICES = [
    "grpc.channelz.v1.Channelz",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "interlock.v1.Control",
]
BUF = shutil.which("buf", path=str(Path(sys.executable).parent))


@pytest.fixture
def world() -> Iterator[Boundary]:
    with boundary() as made:
        made.table.show({"m": entry(loaded("m"))})
        yield made


def reflect(
    channel: grpc.Channel, requests: Iterator[reflection_pb2.ServerReflectionRequest], version: str
) -> grpc.Call:
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return call(requests, timeout=TIMEOUT_S)


def buf_curl(*arguments: str) -> str:
    if BUF is None:
        pytest.skip("buf is not installed")
    done = subprocess.run(
        [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpcios_own_client_finds_every_service(world: Boundary) -> None:
    with world.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        found = sorted(database.get_services())
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")

        assert found == SERVICES
        assert len(service.methods) == 20
        for name in SERVICES:
            assert pool.FindServiceByName(name).full_name == name


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_answer_the_same(version: str, world: Boundary) -> None:
    request = reflection_pb2.ServerReflectionRequest
    with world.channel() as channel:
        answers = list(
            reflect(
                channel,
                iter(
                    [
                        request(list_services=""),
                        request(file_by_filename="health.proto"),
                        request(file_containing_symbol="no.Such"),
                    ]
                ),
                version,
            )
        )

    listed, described, missing = answers
    assert [one.name for one in listed.list_services_response.service] == SERVICES
    assert len(described.file_descriptor_response.file_descriptor_proto) == 1
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_buf_lists_every_method(world: Boundary) -> None:
    methods = buf_curl("--list-methods", f"http://localhost:{world.port}").split()

    assert len([one for one in methods if one.startswith("inference.")]) == 20
    assert "grpc.health.v1.Health/Watch" in methods
    assert "grpc.channelz.v1.Channelz/GetServers" in methods


def test_buf_calls_with_json(world: Boundary) -> None:
    url = f"http://localhost:{world.port}/inference.GRPCInferenceService/ModelMetadata"

    answer = buf_curl("--data", '{"name": "m"}', url)

    assert '"platform": "identity"' in answer


class Endless:
    """A stream that asks once and then stays open until it is told to end."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._ended = threading.Event()
        self.answers = reflect(channel, self._requests(), "v1")
        next(self.answers)

    def _requests(self) -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        self._ended.wait(TIMEOUT_S)

    def end(self) -> None:
        self._ended.set()


def test_open_streams_are_bounded_and_leave_health_alone(world: Boundary) -> None:
    one = reflection_pb2.ServerReflectionRequest(list_services="")
    with world.channel() as channel:
        held = [Endless(channel) for _ in range(_INTROSPECTION_CALLS)]
        with pytest.raises(grpc.RpcError) as caught:
            next(reflect(channel, iter([one]), "v1"))
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")

        assert live(b"", timeout=TIMEOUT_S) == b"\x08\x01"
        for stream in held:
            stream.end()
            assert list(stream.answers) == []

    assert refused(caught.value) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "8 reflection streams are open: close one or wait",
    )


def test_an_open_stream_does_not_keep_the_server_from_stopping() -> None:
    with boundary() as world:
        channel = grpc.insecure_channel(world.address)
        stream = Endless(channel)
    with channel, pytest.raises(grpc.RpcError) as caught:
        next(stream.answers)
    stream.end()

    ending = refused(caught.value)[0]
    # Which of them, whether the stream or its connection came to its end first; not the deadline.
    assert ending in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_channelz_tells_what_grpc_knows(world: Boundary) -> None:
    with world.channel() as channel:
        stub = channelz_pb2_grpc.ChannelzStub(channel)
        servers = stub.GetServers(channelz_pb2.GetServersRequest(), timeout=TIMEOUT_S).server
        known = stub.GetServer(
            channelz_pb2.GetServerRequest(server_id=servers[0].ref.server_id), timeout=TIMEOUT_S
        )

    assert known.server.ref.server_id == servers[0].ref.server_id
    assert any(one.data.calls_started for one in servers)

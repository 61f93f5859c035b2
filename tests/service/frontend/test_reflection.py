"""What reflection has to describe."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from interlock.frontend.pools import Pools
from interlock.frontend.reflection import Reflection, channelz_service, described_pool


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("inference.GRPCInferenceService", "grpc_service.proto"),
        ("inference.ModelConfig", "model_config.proto"),
        ("grpc.health.v1.Health", "health.proto"),
        ("grpc.channelz.v1.Channelz", "grpc_channelz/v1/channelz.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
        ("google.protobuf.Timestamp", "google/protobuf/timestamp.proto"),
    ],
)
def test_every_symbol_that_a_client_meets_is_described(symbol: str, file: str) -> None:
    assert described_pool().FindFileContainingSymbol(symbol).name == file


def test_what_else_the_process_has_loaded_is_not_described() -> None:
    pool = described_pool()

    with pytest.raises(KeyError):
        pool.FindFileContainingSymbol("google.protobuf.FileDescriptorProto")


def test_both_versions_of_reflection_say_the_same() -> None:
    pool = described_pool()
    described = FileDescriptorProto()
    pool.FindFileByName("grpc/reflection/v1/reflection.proto").CopyToProto(described)
    known = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)

    text, wanted = str(described), str(known)

    assert "v1alpha" not in text
    assert text.replace("/v1/", "/").replace(".v1.", ".") == wanted.replace(
        "grpc_reflection/v1alpha/", "grpc/reflection/"
    ).replace(".v1alpha.", ".").replace("v1alpha", "v1")


def test_streams_and_channelz_have_a_bounded_pool_of_their_own() -> None:
    pools = Pools()

    services = [*Reflection().services(pools), channelz_service(pools.introspection)]

    assert [service.name for service in services] == [
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.channelz.v1.Channelz",
    ]

"""What a server says of itself and of its models."""

from dataclasses import dataclass

from google.protobuf import json_format, text_format

from interlock.client.calls import Client
from interlock.client.plain import Plain, plain
from interlock.pb import POOL, grpc_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """An input or output as clients see it; -1 in `shape` is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A configuration in the form of a config.pbtxt, and in that of a `config` parameter."""

    text: str
    json: Plain


def server_ready(client: Client) -> bool:
    return client.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready


def model_ready(client: Client, model: str, version: str) -> bool:
    request = pb.ModelReadyRequest(name=model, version=version)
    return client.call("ModelReady", request, pb.ModelReadyResponse).ready


def server_metadata(client: Client) -> ServerMetadata:
    answer = client.call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    return ServerMetadata(answer.name, answer.version, tuple(answer.extensions))


def _tensor(message: pb.ModelMetadataResponse.TensorMetadata) -> TensorMetadata:
    return TensorMetadata(message.name, message.datatype, tuple(message.shape))


def model_metadata(client: Client, model: str, version: str) -> ModelMetadata:
    request = pb.ModelMetadataRequest(name=model, version=version)
    answer = client.call("ModelMetadata", request, pb.ModelMetadataResponse)
    return ModelMetadata(
        answer.name,
        tuple(answer.versions),
        answer.platform,
        tuple(map(_tensor, answer.inputs)),
        tuple(map(_tensor, answer.outputs)),
    )


def model_config(client: Client, model: str, version: str) -> ModelConfig:
    request = pb.ModelConfigRequest(name=model, version=version)
    config = client.call("ModelConfig", request, pb.ModelConfigResponse).config
    as_json = json_format.MessageToDict(
        config, preserving_proto_field_name=True, descriptor_pool=POOL
    )
    return ModelConfig(text_format.MessageToString(config, descriptor_pool=POOL), as_json)


def statistics(client: Client, model: str, version: str) -> list[Plain]:
    request = pb.ModelStatisticsRequest(name=model, version=version)
    answer = client.call("ModelStatistics", request, pb.ModelStatisticsResponse)
    return [plain(one) for one in answer.model_stats]

"""What a server may load, and loading it; its log settings."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from interlock.client.calls import Client
from interlock.pb import grpc_service_pb2 as pb

BYTES_FREED: Final = "interlock-bytes-freed"
POLICY_WARNING: Final = "interlock-policy-warning"

LogValue = bool | int | str
RepositoryParameter = bool | str | bytes


@dataclass(frozen=True, slots=True)
class IndexEntry:
    name: str
    version: str
    state: str
    reason: str


def index(client: Client, *, ready: bool) -> list[IndexEntry]:
    request = pb.RepositoryIndexRequest(ready=ready)
    answer = client.call("RepositoryIndex", request, pb.RepositoryIndexResponse)
    return [IndexEntry(one.name, one.version, one.state, one.reason) for one in answer.models]


def load(
    client: Client, model: str, parameters: Mapping[str, RepositoryParameter] | None = None
) -> str:
    """Load; return what the server's policy has against the model all the same, "" for nothing."""
    request = pb.RepositoryModelLoadRequest(model_name=model)
    _fill(request.parameters, parameters or {})
    trailers: dict[str, str] = {}
    client.call("RepositoryModelLoad", request, pb.RepositoryModelLoadResponse, trailers=trailers)
    return unquote(trailers.get(POLICY_WARNING, ""))


def unload(
    client: Client, model: str, parameters: Mapping[str, RepositoryParameter] | None = None
) -> int | None:
    """Unload; return how many bytes that gave back, where the server says."""
    request = pb.RepositoryModelUnloadRequest(model_name=model)
    _fill(request.parameters, parameters or {})
    trailers: dict[str, str] = {}
    client.call(
        "RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse, trailers=trailers
    )
    freed = trailers.get(BYTES_FREED, "")
    return int(freed) if freed.isdecimal() else None


def _fill(
    target: MutableMapping[str, pb.ModelRepositoryParameter],
    parameters: Mapping[str, RepositoryParameter],
) -> None:
    for name, value in parameters.items():
        parameter = target[name]
        match value:
            case bool():
                parameter.bool_param = value
            case str():
                parameter.string_param = value
            case bytes():
                parameter.bytes_param = value


def log_settings(client: Client, changes: Mapping[str, LogValue]) -> dict[str, LogValue]:
    """Change what `changes` names and return everything that is in force then."""
    request = pb.LogSettingsRequest()
    for name, value in changes.items():
        setting = request.settings[name]
        match value:
            case bool():
                setting.bool_param = value
            case int():
                setting.uint32_param = value
            case str():
                setting.string_param = value
    answer = client.call("LogSettings", request, pb.LogSettingsResponse)
    return {name: _value_of(answer.settings[name]) for name in sorted(answer.settings)}


def _value_of(setting: pb.LogSettingsResponse.SettingValue) -> LogValue:
    match setting.WhichOneof("parameter_choice"):
        case "bool_param":
            return setting.bool_param
        case "uint32_param":
            return setting.uint32_param
        case _:
            return setting.string_param

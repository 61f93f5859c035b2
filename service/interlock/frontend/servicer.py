"""Answer the RPCs of inference.GRPCInferenceService off the hot path: decode, call, encode.

ModelInfer and ModelStreamInfer are not here: `unary` and `stream` answer them.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final
from urllib.parse import quote

import grpc
from google.protobuf.message import Message

from interlock.domain.cause import Actor, Deed, load_deed
from interlock.domain.config import TensorConfig
from interlock.domain.errors import (
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from interlock.domain.ids import GenerationKey
from interlock.domain.readiness import IndexEntry
from interlock.frontend.auditing import Asked
from interlock.frontend.gate import Gate
from interlock.frontend.health import is_ready
from interlock.frontend.pools import Pools
from interlock.frontend.ports import (
    LoadParameter,
    LogControl,
    LogValue,
    ModelControl,
    ServerState,
)
from interlock.frontend.rpc import Guard, Service, WithTrailers
from interlock.frontend.statistics_codec import encode_statistics
from interlock.frontend.transport import SERVICE
from interlock.pb import grpc_service_pb2 as pb, model_config_pb2
from interlock.serving.served_model import ServedModel
from interlock.serving.table import LATEST, ServingTable, parse_version

SERVER_NAME: Final = "triton"
"""What ServerMetadata answers whatever the server's id: clients test for it."""

EXTENSIONS: Final = (
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
)
"""What of Triton's extensions is implemented, in Triton's order."""

BYTES_FREED: Final = "interlock-bytes-freed"
"""The trailing metadata of an unload that was waited for."""
POLICY_WARNING: Final = "interlock-policy-warning"
"""The trailing metadata of a load of what the policy is against and lets pass all the same."""
_MAX_WARNING: Final = 600

_PLAIN: Final = "".join(map(chr, range(32, 127))).replace("%", "")

DIGEST: Final = "x-interlock-digest"
"""Trailing metadata of ModelMetadata: what the version is made of that the answer is about."""
VERSION: Final = "x-interlock-version"
"""The same: which version that is."""

_CONFIG: Final = "config"
_FILE: Final = "file:"
_WAIT: Final = "wait"

_NO_SHARED_MEMORY: Final = (
    "shared memory is not implemented: send tensors in the request and take them from the response"
)
_NO_TRACE: Final = "tracing is not implemented: there are no trace settings to show or change"


class Servicer:
    """One short method per RPC. Any thread; only `load` and `unload` block."""

    def __init__(
        self,
        *,
        table: ServingTable,
        control: ModelControl,
        state: ServerState,
        logs: LogControl,
        gate: Gate,
        version: str,
        digest_of: Callable[[GenerationKey], str],
    ) -> None:
        self._table = table
        self._control = control
        self._state = state
        self._logs = logs
        self._gate = gate
        self._version = version
        self._digest_of = digest_of

    def server_live(self, _request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        self._gate.check_not_exiting()
        return pb.ServerLiveResponse(live=self._state.live())

    def server_ready(self, _request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        self._gate.check_not_exiting()
        return pb.ServerReadyResponse(ready=is_ready(self._state))

    def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """An unknown model is an answer, not an error: clients wait with this."""
        self._gate.check_not_exiting()
        try:
            self._table.find(request.name, request.version)
        except (NotFoundError, UnavailableError):
            self._gate.check_started()
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def server_metadata(self, _request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=self._version, extensions=EXTENSIONS
        )

    def model_metadata(
        self, request: pb.ModelMetadataRequest
    ) -> WithTrailers[pb.ModelMetadataResponse]:
        """With the version and its digest behind it; without one, where that is not known."""
        served = self._find(request.name, request.version)
        versions = [served.key.version] if request.version else self._ready_versions(served)
        config = served.config
        batched = config.max_batch_size > 0
        digest = self._digest_of(served.key)
        trailers = {VERSION: served.version_text, **({DIGEST: digest} if digest else {})}
        metadata = pb.ModelMetadataResponse(
            name=config.name,
            versions=map(str, versions),
            platform=config.platform or config.backend,
            inputs=[_tensor(tensor, batched=batched) for tensor in config.inputs],
            outputs=[_tensor(tensor, batched=batched) for tensor in config.outputs],
        )
        return WithTrailers(metadata, trailers)

    def model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        served = self._find(request.name, request.version)
        return pb.ModelConfigResponse(
            config=model_config_pb2.ModelConfig.FromString(served.config.message)
        )

    def model_statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        chosen = self._chosen(request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=map(encode_statistics, chosen))

    def repository_index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        _check_repository_name(request.repository_name)
        entries = self._control.index(ready_only=request.ready)
        return pb.RepositoryIndexResponse(models=map(_index_line, entries))

    def load(
        self, request: pb.RepositoryModelLoadRequest, who: Actor
    ) -> WithTrailers[pb.RepositoryModelLoadResponse]:
        _check_repository_name(request.repository_name)
        self._gate.check_started()
        self._control.load(request.model_name, _load_parameters(request.parameters), who)
        remarks = "; ".join(self._control.remarks(request.model_name))
        trailers = {POLICY_WARNING: _in_ascii(remarks)} if remarks else {}
        return WithTrailers(pb.RepositoryModelLoadResponse(), trailers)

    def unload(
        self, request: pb.RepositoryModelUnloadRequest, who: Actor
    ) -> WithTrailers[pb.RepositoryModelUnloadResponse]:
        _check_repository_name(request.repository_name)
        self._gate.check_started()
        parameters = _load_parameters(request.parameters)
        freed = self._control.unload(request.model_name, parameters, who)
        trailers = {} if freed is None else {BYTES_FREED: str(freed)}
        return WithTrailers(pb.RepositoryModelUnloadResponse(), trailers)

    def log_settings(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        wanted = {key: _log_value(request.settings[key]) for key in request.settings}
        if wanted:
            self._logs.update(wanted)
        current = self._logs.as_map()
        return pb.LogSettingsResponse(
            settings={key: _log_setting(value) for key, value in current.items()}
        )

    def _find(self, model: str, version: str) -> ServedModel:
        try:
            return self._table.find(model, version)
        except (NotFoundError, UnavailableError):
            self._gate.check_started()
            raise

    def _ready_versions(self, served: ServedModel) -> list[int]:
        entry = self._table.entries.get(served.key.model)
        # The table may have changed since the look-up; what was found still answers.
        return sorted(entry.ready) if entry is not None else [served.key.version]

    def _chosen(self, model: str, version: str) -> list[ServedModel]:
        """Return whose statistics were asked for. Unlike a look-up, it misses with one code."""
        entries = self._table.entries
        if not model:
            return [
                entries[name].ready[number]
                for name in sorted(entries)
                for number in sorted(entries[name].ready)
            ]
        wanted = parse_version(version)
        entry = entries.get(model)
        if entry is None or not entry.ready:
            self._gate.check_started()
            raise InvalidRequestError(f"requested model '{model}' is not available")
        if wanted == LATEST:
            return [entry.ready[number] for number in sorted(entry.ready)]
        if wanted not in entry.ready:
            self._gate.check_started()
            raise InvalidRequestError(
                f"requested model version is not available for model '{model}'"
            )
        return [entry.ready[wanted]]

    def service(self, guard: Guard, pools: Pools) -> Service:
        """Return the handlers of every method but the two hot ones."""
        handlers = {
            **self._model_handlers(guard, pools),
            **self._repository_handlers(guard, pools),
            **_missing_handlers(guard, pools.quick),
        }
        return Service(SERVICE, handlers)

    def _model_handlers(self, guard: Guard, pools: Pools) -> dict[str, grpc.RpcMethodHandler]:
        make = partial(guard.unary, pool=pools.quick)
        return {
            "ServerLive": make(self.server_live, request=pb.ServerLiveRequest, category="health"),
            "ServerReady": make(
                self.server_ready, request=pb.ServerReadyRequest, category="health"
            ),
            "ModelReady": make(self.model_ready, request=pb.ModelReadyRequest, category="health"),
            "ServerMetadata": make(
                self.server_metadata, request=pb.ServerMetadataRequest, category="metadata"
            ),
            "ModelMetadata": make(
                self.model_metadata, request=pb.ModelMetadataRequest, category="metadata"
            ),
            "ModelConfig": make(
                self.model_config, request=pb.ModelConfigRequest, category="model-config"
            ),
            "ModelStatistics": make(
                self.model_statistics, request=pb.ModelStatisticsRequest, category="statistics"
            ),
            "LogSettings": make(
                self.log_settings, request=pb.LogSettingsRequest, category="logging"
            ),
        }

    def _repository_handlers(self, guard: Guard, pools: Pools) -> dict[str, grpc.RpcMethodHandler]:
        make = partial(guard.unary, category="model-repository")
        change = partial(guard.changing, category="model-repository", pool=pools.repository)
        return {
            "RepositoryIndex": make(
                self.repository_index, request=pb.RepositoryIndexRequest, pool=pools.quick
            ),
            "RepositoryModelLoad": change(
                self.load, request=pb.RepositoryModelLoadRequest, asked=_asked_to_load
            ),
            "RepositoryModelUnload": change(
                self.unload, request=pb.RepositoryModelUnloadRequest, asked=_asked_to_unload
            ),
        }


def _tensor(tensor: TensorConfig, *, batched: bool) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=(-1, *tensor.dims) if batched else tensor.dims,
    )


def _index_line(entry: IndexEntry) -> pb.RepositoryIndexResponse.ModelIndex:
    return pb.RepositoryIndexResponse.ModelIndex(
        name=entry.model,
        version="" if entry.version is None else str(entry.version),
        state="" if entry.state is None else entry.state.value,
        reason=entry.reason,
    )


def _asked_to_load(request: pb.RepositoryModelLoadRequest) -> Asked:
    names = list(request.parameters)
    deed = load_deed(
        has_config=_CONFIG in names, has_files=any(name.startswith(_FILE) for name in names)
    )
    wait = request.parameters[_WAIT] if _WAIT in names else None
    waits = wait is None or wait.WhichOneof("parameter_choice") != "bool_param" or wait.bool_param
    return Asked(deed.value, request.model_name, waits=waits)


def _asked_to_unload(request: pb.RepositoryModelUnloadRequest) -> Asked:
    return Asked(Deed.UNLOAD.value, request.model_name)


def _check_repository_name(name: str) -> None:
    if name:
        raise UnsupportedError("'repository_name' specification is not supported")


def _in_ascii(text: str) -> str:
    """Return a text as metadata can hold it: percent-encoded where it is not plain ASCII."""
    return quote(text[:_MAX_WARNING], safe=_PLAIN)


def _load_parameters(
    parameters: Mapping[str, pb.ModelRepositoryParameter],
) -> dict[str, LoadParameter]:
    """Return plain values, in an order of their own: a protobuf map has none."""
    return {key: _load_parameter(parameters[key]) for key in sorted(parameters)}


def _load_parameter(parameter: pb.ModelRepositoryParameter) -> LoadParameter:
    match parameter.WhichOneof("parameter_choice"):
        case "bool_param":
            return parameter.bool_param
        case "int64_param":
            return parameter.int64_param
        case "string_param":
            return parameter.string_param
        case "bytes_param":
            return parameter.bytes_param
        case _:
            return None


def _log_value(setting: pb.LogSettingsRequest.SettingValue) -> LogValue | None:
    match setting.WhichOneof("parameter_choice"):
        case "bool_param":
            return setting.bool_param
        case "uint32_param":
            return setting.uint32_param
        case "string_param":
            return setting.string_param
        case _:
            return None


def _log_setting(value: LogValue) -> pb.LogSettingsResponse.SettingValue:
    # bool first: it is an int as well.
    if isinstance(value, bool):
        return pb.LogSettingsResponse.SettingValue(bool_param=value)
    if isinstance(value, int):
        return pb.LogSettingsResponse.SettingValue(uint32_param=value)
    return pb.LogSettingsResponse.SettingValue(string_param=value)


def _missing_handlers(guard: Guard, pool: ThreadPoolExecutor) -> dict[str, grpc.RpcMethodHandler]:
    """Return the methods that are part of the service and not implemented."""
    shared_memory: tuple[type[Message], ...] = (
        pb.SystemSharedMemoryStatusRequest,
        pb.SystemSharedMemoryRegisterRequest,
        pb.SystemSharedMemoryUnregisterRequest,
        pb.CudaSharedMemoryStatusRequest,
        pb.CudaSharedMemoryRegisterRequest,
        pb.CudaSharedMemoryUnregisterRequest,
    )
    handlers = {
        request.DESCRIPTOR.name.removesuffix("Request"): guard.unary(
            _refuse(_NO_SHARED_MEMORY), request=request, category="shared-memory", pool=pool
        )
        for request in shared_memory
    }
    handlers["TraceSetting"] = guard.unary(
        _refuse(_NO_TRACE), request=pb.TraceSettingRequest, category="trace", pool=pool
    )
    return handlers


def _refuse(sentence: str) -> Callable[[Message], Message]:
    def refuse(_request: Message) -> Message:
        raise UnsupportedError(sentence)

    return refuse

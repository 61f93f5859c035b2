"""A gRPC server on a real socket that answers each method as it was told, and remembers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from interlock.pb import control_pb2, grpc_service_pb2 as pb, health_pb2

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
CONTROL = "interlock.v1.Control"

_REQUESTS: Mapping[str, tuple[str, type[Message]]] = {
    "Check": (HEALTH, health_pb2.HealthCheckRequest),
    "ServerReady": (INFERENCE, pb.ServerReadyRequest),
    "ModelReady": (INFERENCE, pb.ModelReadyRequest),
    "ServerMetadata": (INFERENCE, pb.ServerMetadataRequest),
    "ModelMetadata": (INFERENCE, pb.ModelMetadataRequest),
    "ModelConfig": (INFERENCE, pb.ModelConfigRequest),
    "ModelStatistics": (INFERENCE, pb.ModelStatisticsRequest),
    "ModelInfer": (INFERENCE, pb.ModelInferRequest),
    "RepositoryIndex": (INFERENCE, pb.RepositoryIndexRequest),
    "RepositoryModelLoad": (INFERENCE, pb.RepositoryModelLoadRequest),
    "RepositoryModelUnload": (INFERENCE, pb.RepositoryModelUnloadRequest),
    "LogSettings": (INFERENCE, pb.LogSettingsRequest),
    "Describe": (CONTROL, control_pb2.DescribeRequest),
    "Plan": (CONTROL, control_pb2.PlanRequest),
    "Rollback": (CONTROL, control_pb2.RollbackRequest),
    "Retry": (CONTROL, control_pb2.RetryRequest),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error."""

    status: grpc.StatusCode
    text: str


Answer = Message | Refusal | Sequence[Message]
"""What a method answers; a sequence is that of a stream, which ends behind it."""


@dataclass(slots=True)
class ScriptedServer:
    """Answers by method name; `seen` and `metadata` hold what came, in order."""

    address: str
    answers: dict[str, Answer]
    seen: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)

    def answer(self, method: str, request: Message, context: grpc.ServicerContext) -> bytes:
        self.seen.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        context.set_trailing_metadata(tuple(self.trailers.items()))
        answer = self.answers.get(method, Refusal(grpc.StatusCode.UNIMPLEMENTED, ""))
        if isinstance(answer, Message):
            return answer.SerializeToString()
        assert isinstance(answer, Refusal)
        context.abort(answer.status, answer.text)  # raises
        raise AssertionError

    def watch(self, request: Message, context: grpc.ServicerContext) -> Iterator[bytes]:
        self.seen.append(request)
        answer = self.answers.get("Watch", Refusal(grpc.StatusCode.UNIMPLEMENTED, ""))
        if isinstance(answer, Refusal):
            context.abort(answer.status, answer.text)  # raises
        else:
            assert not isinstance(answer, Message)
            for message in answer:
                yield message.SerializeToString()


Behaviour = Callable[[Message, grpc.ServicerContext], bytes]


def _handlers(server: ScriptedServer, service: str) -> Mapping[str, grpc.RpcMethodHandler]:
    def behaviour(method: str) -> Behaviour:
        return lambda request, context: server.answer(method, request, context)

    return {
        method: grpc.unary_unary_rpc_method_handler(
            behaviour(method), request_deserializer=request.FromString
        )
        for method, (of, request) in _REQUESTS.items()
        if of == service
    }


@contextmanager
def scripted_server(
    answers: Mapping[str, Answer], *, credentials: grpc.ServerCredentials | None = None
) -> Iterator[ScriptedServer]:
    """Run a server on a free port of this machine while the context lasts."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        core = grpc.server(pool)
        if credentials is None:
            port = core.add_insecure_port("localhost:0")
        else:
            port = core.add_secure_port("localhost:0", credentials)
        server = ScriptedServer(f"localhost:{port}", dict(answers))
        for service in (INFERENCE, HEALTH):
            core.add_registered_method_handlers(service, _handlers(server, service))
        watch = grpc.unary_stream_rpc_method_handler(
            server.watch, request_deserializer=control_pb2.WatchRequest.FromString
        )
        core.add_registered_method_handlers(CONTROL, {**_handlers(server, CONTROL), "Watch": watch})
        core.start()
        try:
            yield server
        finally:
            core.stop(grace=None).wait()

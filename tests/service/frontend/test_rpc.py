"""What surrounds every RPC off the hot path: the gate, the errors, the pool."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import structlog

from interlock.domain.errors import NotFoundError
from interlock.frontend.gate import Gate
from interlock.frontend.rpc import Guard, in_pool, pool_of
from interlock.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.settings import ProtocolCategory, RestrictedProtocols
from tests.support.boundary import FakeServerState


class AbortedError(Exception):
    """What grpcio's abort raises, for this test."""


class FakeContext:
    """A call that remembers how it was aborted."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self.status: tuple[grpc.StatusCode, str] | None = None
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.status = (code, details)
        raise AbortedError


def serving(_request: HealthCheckRequest) -> HealthCheckResponse:
    return HealthCheckResponse(status=HealthCheckResponse.ServingStatus.SERVING)


def handler_of(
    answer: Callable[[HealthCheckRequest], HealthCheckResponse],
    *,
    gate: Gate | None = None,
    before_reply: Callable[[], None] | None = None,
) -> grpc.RpcMethodHandler:
    guard = Guard(gate or Gate(state=FakeServerState()), before_reply=before_reply)
    with ThreadPoolExecutor(1) as pool:
        return guard.unary(answer, request=HealthCheckRequest, category="health", pool=pool)


def test_reads_a_message_and_writes_one() -> None:
    handler = handler_of(serving)
    request = handler.request_deserializer(b"\x0a\x01m")

    response = handler.unary_unary(request, FakeContext())

    assert request.service == "m"
    assert handler.response_serializer(response) == b"\x08\x01"


def test_a_handler_runs_in_the_pool_that_it_was_given() -> None:
    with ThreadPoolExecutor(1) as pool:
        handler = Guard(Gate(state=FakeServerState())).unary(
            serving, request=HealthCheckRequest, category="health", pool=pool
        )

    assert pool_of(handler) is pool


def test_a_handler_of_any_kind_may_name_its_pool() -> None:
    def behaviour() -> None: ...

    with ThreadPoolExecutor(1) as pool:
        in_pool(behaviour, pool)

        assert pool_of(grpc.unary_stream_rpc_method_handler(behaviour)) is pool
        assert pool_of(grpc.stream_stream_rpc_method_handler(behaviour)) is pool


def test_an_error_of_ours_becomes_its_status() -> None:
    def missing(_request: HealthCheckRequest) -> HealthCheckResponse:
        raise NotFoundError("there is none")

    context = FakeContext()

    with pytest.raises(AbortedError):
        handler_of(missing).unary_unary(HealthCheckRequest(), context)

    assert context.status == (grpc.StatusCode.NOT_FOUND, "there is none")


def test_a_bug_is_logged_and_told_without_a_traceback() -> None:
    def broken(_request: HealthCheckRequest) -> HealthCheckResponse:
        raise KeyError("secret detail")

    context = FakeContext()

    with structlog.testing.capture_logs() as logs, pytest.raises(AbortedError):
        handler_of(broken).unary_unary(HealthCheckRequest(), context)

    assert context.status == (grpc.StatusCode.INTERNAL, "internal error: KeyError")
    assert [(line["event"], line["request"]) for line in logs] == [
        ("a request broke the server's own code", "HealthCheckRequest")
    ]


def test_the_gate_is_asked_before_the_handler() -> None:
    def never(_request: HealthCheckRequest) -> HealthCheckResponse:
        raise AssertionError("the gate is closed")

    group = RestrictedProtocols(categories=(ProtocolCategory.HEALTH,), key="k", value="v")
    handler = handler_of(never, gate=Gate(state=FakeServerState(), restricted=[group]))
    context = FakeContext(("triton-grpc-protocol-k", "w"))

    with pytest.raises(AbortedError):
        handler.unary_unary(HealthCheckRequest(), context)

    assert context.status == (
        grpc.StatusCode.UNAVAILABLE,
        "This protocol is restricted, expecting header 'triton-grpc-protocol-k'",
    )


def test_a_reply_can_be_held_back_after_the_work_is_done() -> None:
    order: list[str] = []

    def work(request: HealthCheckRequest) -> HealthCheckResponse:
        order.append("work")
        return serving(request)

    handler = handler_of(work, before_reply=lambda: order.append("delay"))
    handler.unary_unary(HealthCheckRequest(), FakeContext())

    assert order == ["work", "delay"]

"""Bring a request from its message into its model's queue: the same for both hot RPCs.

Parse, find and lease the version, check, enqueue. What is costly to check goes through
the decode pool; everything else is done on the thread that read the message.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import grpc
import structlog

from interlock.domain.errors import (
    InternalError,
    ServiceError,
    UnavailableError,
    UnsupportedError,
)
from interlock.domain.request import InferRequest
from interlock.domain.response import Responder
from interlock.frontend.access_log import AccessLog
from interlock.frontend.admission import admit, is_costly
from interlock.frontend.gate import DRAINING, Gate
from interlock.frontend.handover import Handover
from interlock.frontend.ports import ServerState
from interlock.frontend.request_codec import is_costly_to_parse, parse_request
from interlock.frontend.transport import STREAM_METHOD, UNARY_METHOD
from interlock.serving.served_model import ServedModel
from interlock.serving.table import ServingTable

log = structlog.get_logger()

NO_HEADERS: Final[Mapping[str, str]] = {}


class Exchange(Responder, Protocol):
    """One request and the way back to its client, as the intake sees it."""

    streaming: bool
    request: InferRequest

    @property
    def forwarded(self) -> Mapping[str, str]:
        """The headers of the call that go to the backend as parameters."""
        ...

    def bind(self, served: ServedModel) -> bool:
        """Own this lease; False where the request has ended, and the lease stays the caller's."""
        ...

    def refuse(self, error: ServiceError) -> None:
        """End the request: it never reached its model."""
        ...

    def taken(self) -> None:
        """The intake is through with the message; the next one may come."""
        ...


class Intake:
    """Takes messages from the transports.

    With a `handover` one thread alone calls `take`, and settles; without, any may.
    """

    def __init__(
        self,
        *,
        table: ServingTable,
        state: ServerState,
        gate: Gate,
        decode: ThreadPoolExecutor,
        handover: Handover | None,
    ) -> None:
        self._table = table
        self._state = state
        self._gate = gate
        self._decode = decode
        self._handover = handover

    def take(self, message: bytes, exchange: Exchange) -> None:
        """Start one request. Whatever is wrong with it ends up in `exchange.refuse`."""
        if is_costly_to_parse(message):
            self._elsewhere(exchange, lambda: self._start_elsewhere(message, exchange))
            return
        try:
            found = self._find(message, exchange)
            if found is not None:
                raw, served = found
                if is_costly(exchange.request, raw, served):
                    self._elsewhere(exchange, lambda: self._go_on(exchange, raw, served))
                    return
                self._admit(exchange, raw, served)
                if self._handover is None:
                    served.scheduler.enqueue(exchange.request)
                else:
                    self._handover.add(served.scheduler, exchange.request)
        except Exception as error:  # noqa: BLE001 - the edge of an RPC
            _refuse(exchange, error)
        exchange.taken()

    def _find(
        self, message: bytes, exchange: Exchange
    ) -> tuple[list[memoryview], ServedModel] | None:
        """Parse the message and lease its version; `None` where the request has ended."""
        request, raw = parse_request(message)
        request.received_ns = time.monotonic_ns()
        exchange.request = request
        request.responder = exchange
        served = self._lease(request)
        if exchange.bind(served):
            return raw, served
        served.leases.give_back()
        let_go(request)
        return None

    def _lease(self, request: InferRequest) -> ServedModel:
        if not self._state.accepting:
            raise UnavailableError(DRAINING)
        try:
            return self._table.lease(request.model_name, request.model_version)
        except ServiceError:
            # Until the first loads have ended, what is not there may only not be there yet.
            self._gate.check_started()
            raise

    def _admit(self, exchange: Exchange, raw: list[memoryview], served: ServedModel) -> None:
        if served.config.decoupled and not exchange.streaming:
            raise UnsupportedError(
                "ModelInfer RPC doesn't support models with decoupled transaction policy"
            )
        request = exchange.request
        admit(request, raw, served, forwarded=exchange.forwarded)

    def _elsewhere(self, exchange: Exchange, work: Callable[[], None]) -> None:
        """Do the rest in the decode pool, which enqueues by itself."""
        if self._handover is not None:
            # What came before goes first.
            self._handover.settle()

        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the edge of an RPC
                _refuse(exchange, error)
            exchange.taken()

        self._decode.submit(run)

    def _start_elsewhere(self, message: bytes, exchange: Exchange) -> None:
        found = self._find(message, exchange)
        if found is not None:
            self._go_on(exchange, *found)

    def _go_on(self, exchange: Exchange, raw: list[memoryview], served: ServedModel) -> None:
        self._admit(exchange, raw, served)
        served.scheduler.enqueue(exchange.request)


def _refuse(exchange: Exchange, error: Exception) -> None:
    """Refuse a request; what nobody raised on purpose is logged, and the client learns no more."""
    if not isinstance(error, ServiceError):
        request = exchange.request
        log.error(
            "a request broke the server's own code",
            id=request.id,
            model=request.model_name,
            version=request.model_version,
            exc_info=error,
        )
        error = InternalError(f"internal error: {type(error).__name__}")
    exchange.refuse(error)


def let_go(request: InferRequest) -> None:
    """Keep nothing alive by a request that has ended: neither its message nor its call.

    The request and its exchange name each other, which the garbage collector alone would
    undo, many messages later. The inputs of one that runs are its backend's.
    """
    request.responder = None
    if not request.running:
        request.inputs = []


def record(
    access: AccessLog,
    exchange: Exchange,
    served: ServedModel | None,
    *,
    code: grpc.StatusCode,
    peer: str,
    request_bytes: int,
    response_bytes: int,
) -> None:
    """Write a request's line in the access log."""
    request = exchange.request
    began_ns = request.received_ns or time.monotonic_ns()
    access.record(
        rpc=STREAM_METHOD if exchange.streaming else UNARY_METHOD,
        id=request.id,
        model=request.model_name,
        version=request.model_version if served is None else served.version_text,
        status=code.name,
        duration_us=(time.monotonic_ns() - began_ns) // 1000,
        peer=peer,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
    )

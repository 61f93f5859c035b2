"""Answer ModelInfer, whatever carries it."""

import threading
from collections.abc import Mapping

import grpc

from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.frontend.access_log import AccessLog
from interlock.frontend.gate import DRAINING, Gate
from interlock.frontend.header_forwarding import HeaderForwarder
from interlock.frontend.intake import NO_HEADERS, Intake, let_go, record
from interlock.frontend.response_codec import encode_response
from interlock.frontend.status import code_of, text_of
from interlock.frontend.transport import OK, CallHandler, IncomingCall, InFlight
from interlock.runtime.memory_budget import MemoryBudget
from interlock.serving.served_model import ServedModel


class UnaryService:
    """Opens an exchange for every call. Implements `CallService`."""

    def __init__(
        self,
        *,
        intake: Intake,
        gate: Gate,
        headers: HeaderForwarder | None,
        in_flight: InFlight,
        budget: MemoryBudget,
        access: AccessLog | None,
    ) -> None:
        self.intake = intake
        self.gate = gate
        self.headers = headers
        self.in_flight = in_flight
        self.budget = budget
        self.access = access
        self.restricted = gate.restricts("inference")
        # Whose message has not come. Each step on it is one that the interpreter does not
        # interrupt.
        self.waiting: set[UnaryExchange] = set()
        self._ending = False

    def open(self, call: IncomingCall) -> CallHandler:
        exchange = UnaryExchange(self, call)
        if self.restricted:
            try:
                self.gate.check("inference", call.metadata)
            except ServiceError as error:
                call.finish(code_of(error), text_of(error))
                return exchange
        self.waiting.add(exchange)
        # Looked at after the addition, and set before the others are looked at.
        if self._ending:
            exchange.refuse(UnavailableError(DRAINING))
            return exchange
        self.budget.when_free(call.receive)
        return exchange

    def end_waiting(self) -> None:
        """Refuse the calls whose message has not come: they may never send it."""
        self._ending = True
        for exchange in tuple(self.waiting):
            exchange.refuse(UnavailableError(DRAINING))


class UnaryExchange:
    """One ModelInfer: handler of its call and responder of its request."""

    __slots__ = (
        "_call",
        "_counted",
        "_ended",
        "_lock",
        "_request_bytes",
        "_served",
        "_service",
        "request",
    )

    streaming = False

    def __init__(self, service: UnaryService, call: IncomingCall) -> None:
        self._service = service
        self._call = call
        # Guards `_ended` and `_served`: who ends the request gives its lease back. A leaf.
        self._lock = threading.Lock()
        self._ended = False
        self._served: ServedModel | None = None
        self._counted = False
        self._request_bytes = 0
        self.request = InferRequest()

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def forwarded(self) -> Mapping[str, str]:
        headers = self._service.headers
        return NO_HEADERS if headers is None else headers.pick(self._call.metadata)

    def on_message(self, message: bytes | None) -> None:
        if message is None:
            self.refuse(InvalidRequestError("ModelInfer takes one message and got none"))
            return
        service = self._service
        service.waiting.discard(self)
        self._counted = True
        self._request_bytes = len(message)
        service.in_flight.enter()
        service.budget.take(len(message))
        service.intake.take(message, self)

    def on_sent(self) -> None: ...

    def on_end(self, *, cancelled: bool) -> None:
        if cancelled and self._claim():
            self._close(grpc.StatusCode.CANCELLED, 0)
        if self._counted:
            self._service.budget.give_back(self._request_bytes)
            self._service.in_flight.leave()
        else:
            self._service.waiting.discard(self)
            self._service.budget.withdraw(self._call.receive)

    def taken(self) -> None: ...

    def bind(self, served: ServedModel) -> bool:
        with self._lock:
            if self._ended:
                return False
            self._served = served
            return True

    def send(self, response: InferResponse) -> None:
        if not self._claim():
            return
        served = self._served
        assert served is not None  # noqa: S101 - a backend answers what was bound
        try:
            message = encode_response(self.request, served, response, streaming=False)
        except ServiceError as error:
            self._refuse(error)
            return
        except Exception:
            self._refuse(InternalError("the response could not be encoded"))
            raise
        self._call.finish(OK, "", message)
        self._close(OK, len(message))

    def fail(self, error: ServiceError) -> None:
        if self._claim():
            self._refuse(error)

    refuse = fail

    def _refuse(self, error: ServiceError) -> None:
        code = code_of(error)
        self._call.finish(code, text_of(error))
        self._close(code, 0)

    def _claim(self) -> bool:
        """Be the one who ends the request; False where somebody was."""
        with self._lock:
            first, self._ended = not self._ended, True
        return first

    def _close(self, code: grpc.StatusCode, answer_bytes: int) -> None:
        """Give the lease back, once gRPC has the answer."""
        served = self._served
        if served is not None:
            served.leases.give_back()
        let_go(self.request)
        access = self._service.access
        if access is not None:
            record(
                access,
                self,
                served,
                code=code,
                peer=self._call.peer,
                request_bytes=self._request_bytes,
                response_bytes=answer_bytes,
            )

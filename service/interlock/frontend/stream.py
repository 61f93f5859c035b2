"""Answer ModelStreamInfer, whatever carries it.

The answers to the requests of one stream leave in the order in which the requests came.
Past a window of answers that wait to be sent no further message is asked for, and HTTP/2
holds the client.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Final

import grpc

from interlock.domain.errors import InternalError, ServiceError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.frontend.access_log import AccessLog
from interlock.frontend.gate import DRAINING, Gate
from interlock.frontend.header_forwarding import HeaderForwarder
from interlock.frontend.intake import NO_HEADERS, Intake, let_go, record
from interlock.frontend.response_codec import encode_response, encode_stream_error
from interlock.frontend.status import code_of, text_of
from interlock.frontend.transport import OK, CallHandler, IncomingCall, InFlight, Metadata
from interlock.runtime.clock import monotonic
from interlock.runtime.memory_budget import MemoryBudget
from interlock.runtime.threads import spawn
from interlock.serving.served_model import ServedModel

WINDOW_REQUESTS: Final = 64
WINDOW_BYTES: Final = 64 << 20
OUTSTANDING_REQUESTS: Final = 1024
"""How many requests of one stream may be without an answer."""

_GRPC_ERROR: Final = "triton_grpc_error"
_Ending = tuple[grpc.StatusCode, str]
_DONE: Final[_Ending] = (OK, "")
_DRAINED: Final[_Ending] = (grpc.StatusCode.UNAVAILABLE, DRAINING)


def _send_at_once(call: IncomingCall, message: bytes) -> None:
    call.send(message)


class DelayedSends:
    """A debugging aid: every answer waits for so long before it is sent, on one thread for all."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        # In the order of their moments, since all wait for equally long.
        self._queue: SimpleQueue[tuple[float, IncomingCall, bytes]] = SimpleQueue()
        spawn("grpc-delay", self._run)

    def send(self, call: IncomingCall, message: bytes) -> None:
        self._queue.put((monotonic() + self._delay_s, call, message))

    def _run(self) -> None:
        while True:
            self._send_next()

    def _send_next(self) -> None:
        due, call, message = self._queue.get()
        time.sleep(max(0.0, due - monotonic()))
        call.send(message)


class StreamService:
    """Opens a stream for every call and knows those that are open. Implements `CallService`."""

    def __init__(
        self,
        *,
        intake: Intake,
        gate: Gate,
        headers: HeaderForwarder | None,
        in_flight: InFlight,
        budget: MemoryBudget,
        access: AccessLog | None,
        delay_s: float = 0.0,
    ) -> None:
        self.intake = intake
        self.gate = gate
        self.headers = headers
        self.in_flight = in_flight
        self.budget = budget
        self.access = access
        self.send: Callable[[IncomingCall, bytes], None] = (
            DelayedSends(delay_s).send if delay_s else _send_at_once
        )
        # Guards `_streams`. A leaf.
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._ending = False

    def open(self, call: IncomingCall) -> CallHandler:
        stream = Stream(self, call)
        try:
            self.gate.check("inference", call.metadata)
        except ServiceError as error:
            call.finish(code_of(error), text_of(error))
            return stream
        with self._lock:
            self._streams.add(stream)
            late = self._ending
        if late:
            stream.end_when_idle()
        else:
            stream.ask()
        return stream

    def forget(self, stream: "Stream") -> None:
        with self._lock:
            self._streams.discard(stream)

    def end_idle(self) -> int:
        """End the streams in which nothing is in flight; return how many there were.

        The others end as soon as that is so: what is in flight may be no more than refusals
        for a client that goes on sending.
        """
        with self._lock:
            self._ending = True
            streams = tuple(self._streams)
        return sum(stream.end_when_idle() for stream in streams)


class Stream:
    """One ModelStreamInfer call. Its slots are the requests whose answers have not left."""

    def __init__(self, service: StreamService, call: IncomingCall) -> None:
        self.service = service
        self.call = call
        self.forwarded: Mapping[str, str] = (
            NO_HEADERS if service.headers is None else service.headers.pick(call.metadata)
        )
        self.ends_on_error = _asks_for_status(call.metadata)
        # Guards what follows. Taken after a version's queue, before leases and counters.
        self._lock = threading.Lock()
        self._slots: deque[StreamExchange] = deque()
        self._answered = 0
        self._answered_bytes = 0
        self._asking = False
        self._taking = False
        self._sending: StreamExchange | None = None
        self._half_closed = False
        # How the stream is to end once the answers before that have left,
        self._when_idle: _Ending | None = None
        # and how it ends now, whatever has not left.
        self._at_once: _Ending | None = None
        self._over = False

    def ask(self) -> None:
        """Ask for the next message, unless one is asked for or the window is full."""
        with self._lock:
            if self._asking or self._taking or self._over:
                return
            if self._when_idle is not None or self._at_once is not None:
                return
            if (
                self._answered >= WINDOW_REQUESTS
                or self._answered_bytes >= WINDOW_BYTES
                or len(self._slots) >= OUTSTANDING_REQUESTS
            ):
                return
            self._asking = True
        self.service.budget.when_free(self.call.receive)

    def on_message(self, message: bytes | None) -> None:
        if message is None:
            with self._lock:
                self._asking = False
                self._when_idle = _DONE
            self._pump()
            return
        exchange = StreamExchange(self, len(message))
        with self._lock:
            self._asking = False
            if self._over:
                return
            self._taking = True
            self._slots.append(exchange)
            # Before anybody can find the exchange in its slot and count it as gone.
            self.service.in_flight.enter()
        self.service.budget.take(len(message))
        self.service.intake.take(message, exchange)

    def taken(self) -> None:
        """The last message has been enqueued or refused: the next one keeps its order."""
        with self._lock:
            self._taking = False
        self.ask()

    def answer(self, exchange: "StreamExchange", message: bytes) -> None:
        """Give a slot its answer, and send what can go."""
        with self._lock:
            exchange.answer = message
            self._answered += 1
            self._answered_bytes += len(message)
        self._pump()

    def on_sent(self) -> None:
        with self._lock:
            sent, self._sending = self._sending, None
            if sent is not None and sent.answer is not None:
                self._answered -= 1
                self._answered_bytes -= len(sent.answer)
        if sent is not None:
            self._leave(sent)
        self._pump()
        self.ask()

    def on_end(self, *, cancelled: bool) -> None:  # noqa: ARG002 - what is left is left either way
        with self._lock:
            self._over = True
            asking, self._asking = self._asking, False
            left = list(self._slots)
            self._slots.clear()
            if self._sending is not None:
                left.append(self._sending)
                self._sending = None
        for exchange in left:
            exchange.abandon()
            self._leave(exchange)
        if asking:
            self.service.budget.withdraw(self.call.receive)
        self.service.forget(self)

    def _leave(self, exchange: "StreamExchange") -> None:
        """A request is no longer in flight: its answer has left, or never will."""
        self.service.budget.give_back(exchange.request_bytes)
        self.service.in_flight.leave()

    def end_when_idle(self) -> bool:
        """Ask for no more, and end where nothing is in flight; whether that was so."""
        with self._lock:
            idle = not self._over and not self._slots and self._sending is None
            if self._when_idle is None:
                self._when_idle = _DRAINED
        self._pump()
        return idle

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End with this status: what has not left never will."""
        with self._lock:
            if self._at_once is None:
                self._at_once = (code, details)
        self._pump()

    def _pump(self) -> None:
        """Send the next answer in order, or the end of the stream.

        One thread at a time is in here past the lock: what is being sent is over first,
        the end comes once and nothing after it.
        """
        message: bytes | None = None
        with self._lock:
            if self._over or self._sending is not None:
                return
            ending = self._at_once
            if ending is None and self._slots:
                message = self._slots[0].answer
                if message is None:
                    return
                self._sending = self._slots.popleft()
            elif ending is None:
                ending = self._when_idle
            if message is None and ending is None:
                return
            self._over = message is None
        if message is not None:
            self.service.send(self.call, message)
        elif ending is not None:
            self.call.finish(*ending)


class StreamExchange:
    """One request of a stream: the responder that fills its slot."""

    __slots__ = ("_ended", "_lock", "_served", "_stream", "answer", "request", "request_bytes")

    streaming = True

    def __init__(self, stream: Stream, request_bytes: int) -> None:
        self._stream = stream
        self.request_bytes = request_bytes
        # Guards `_ended` and `_served`: who ends the request gives its lease back. A leaf.
        self._lock = threading.Lock()
        self._ended = False
        self._served: ServedModel | None = None
        self.answer: bytes | None = None
        self.request = InferRequest()

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def forwarded(self) -> Mapping[str, str]:
        return self._stream.forwarded

    def taken(self) -> None:
        self._stream.taken()

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
            message = encode_response(self.request, served, response, streaming=True)
        except ServiceError as error:
            self._fail(error)
            return
        except Exception:
            self._fail(InternalError("the response could not be encoded"))
            raise
        self._stream.answer(self, message)
        self._close(OK, len(message))

    def fail(self, error: ServiceError) -> None:
        if self._claim():
            self._fail(error)

    def refuse(self, error: ServiceError) -> None:
        if self._claim():
            self._stream.answer(self, encode_stream_error(text_of(error), id=self.request.id))
            self._close(code_of(error), 0)

    def abandon(self) -> None:
        """The stream is over: end the request if it has not ended."""
        if self._claim():
            self._close(grpc.StatusCode.CANCELLED, 0)

    def _fail(self, error: ServiceError) -> None:
        """Answer for a request that reached its model and failed there."""
        code = code_of(error)
        if self._stream.ends_on_error:
            self._stream.end(code, text_of(error))
        else:
            request = self.request
            message = encode_stream_error(
                text_of(error),
                id=request.id,
                model_name=request.model_name,
                model_version=request.model_version,
                final=True,
            )
            self._stream.answer(self, message)
        self._close(code, 0)

    def _claim(self) -> bool:
        """Be the one who ends the request; False where somebody was."""
        with self._lock:
            first, self._ended = not self._ended, True
        return first

    def _close(self, code: grpc.StatusCode, answer_bytes: int) -> None:
        """Give the lease back, once the answer stands in its slot."""
        served = self._served
        if served is not None:
            served.leases.give_back()
        let_go(self.request)
        access = self._stream.service.access
        if access is not None:
            record(
                access,
                self,
                served,
                code=code,
                peer=self._stream.call.peer,
                request_bytes=self.request_bytes,
                response_bytes=answer_bytes,
            )


def _asks_for_status(metadata: Metadata) -> bool:
    """Whether the client wants the first error of a model as the status of the stream."""
    return any(key == _GRPC_ERROR and value in {"true", b"true"} for key, value in metadata)

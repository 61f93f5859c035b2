"""Carry the hot RPCs on grpcio's public handlers: the fall-back, and what it is compared with.

Each call holds a thread of its pool until it ends; a stream holds a second one that reads.
So streams that idle could hold all of them: past a number of them the next is refused.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import grpc

from interlock.frontend.transport import (
    OK,
    SERVICE,
    STREAM_METHOD,
    UNARY_METHOD,
    CallHandler,
    CallService,
    Metadata,
)
from interlock.runtime.threads import spawn

_Ending = tuple[grpc.StatusCode, str, bytes | None]
_HALF_CLOSE: Final = None
_STREAMS: Final = 192
"""How many may be open at once: of the pool's threads, all but what ModelInfer needs."""
_T = TypeVar("_T")


class _PublicCall:
    """What both kinds of call share. Implements `IncomingCall`.

    What is to leave goes into `outgoing`, which the call's own thread empties: a message,
    or the ending as a tuple.
    """

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context
        self.metadata: Metadata = context.invocation_metadata()
        self.outgoing: queue.SimpleQueue[bytes | _Ending] = queue.SimpleQueue()
        self.wanted = threading.Semaphore(0)
        # Guards `_over` and `cancelled`. A leaf.
        self._lock = threading.Lock()
        self._over = False
        self.cancelled = False

    @property
    def peer(self) -> str:
        return str(self._context.peer())

    @property
    def over(self) -> bool:
        return self._over

    def wait_wanted(self) -> bool:
        """Wait until a message is asked for; False where the call is over."""
        self.wanted.acquire()
        return not self._over

    def receive(self) -> None:
        self.wanted.release()

    def send(self, message: bytes) -> bool:
        if self._over:
            return False
        self.outgoing.put(message)
        return True

    def finish(self, code: grpc.StatusCode, details: str, message: bytes | None = None) -> bool:
        if not self.end():
            return False
        self.outgoing.put((code, details, message))
        self.wanted.release()
        return True

    def end(self, *, cancelled: bool = False) -> bool:
        """Mark the call as over; False where it was."""
        with self._lock:
            first, self._over = not self._over, True
            if first:
                self.cancelled = cancelled
        return first

    def on_termination(self) -> None:
        """The connection or the client ended the call, unless we did before."""
        if self.end(cancelled=True):
            self.outgoing.put((grpc.StatusCode.CANCELLED, "", None))
        self.wanted.release()


def _open(service: CallService, context: grpc.ServicerContext) -> tuple[_PublicCall, CallHandler]:
    call = _PublicCall(context)
    handler = service.open(call)
    if not context.add_callback(call.on_termination):
        call.on_termination()
    return call, handler


def _apply(context: grpc.ServicerContext, code: grpc.StatusCode, details: str) -> None:
    context.set_code(code)
    context.set_details(details)


class PublicTransport:
    """Registers the two hot methods with grpcio's public server. Implements `Transport`."""

    name = "public"

    def __init__(
        self,
        server: grpc.Server,
        *,
        unary: CallService,
        stream: CallService,
        compress: bool,
        pool: ThreadPoolExecutor,
        max_streams: int = _STREAMS,
    ) -> None:
        self._unary = unary
        self._stream = stream
        self._compress = compress
        self._room = threading.BoundedSemaphore(max_streams)
        self._no_room = (
            f"{max_streams} streams are open, as many as --grpc-transport=public carries: "
            "close one or wait"
        )
        handlers = {
            UNARY_METHOD: grpc.unary_unary_rpc_method_handler(_in_pool(self._on_unary, pool)),
            STREAM_METHOD: grpc.stream_stream_rpc_method_handler(_in_pool(self._on_stream, pool)),
        }
        register = server.add_registered_method_handlers  # pyright: ignore[reportAttributeAccessIssue]
        register(SERVICE, handlers)

    def start(self) -> None: ...

    def stop_taking(self) -> None: ...

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 - nothing here to wait for
        return True

    def _on_unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._prepare(context)
        call, handler = _open(self._unary, context)
        try:
            # The message is here already; whoever bounds the memory may want it later.
            if call.wait_wanted():
                handler.on_message(message)
            ending = call.outgoing.get()
        finally:
            call.end(cancelled=True)
            handler.on_end(cancelled=call.cancelled)
        assert isinstance(ending, tuple)  # noqa: S101 - a unary call is never sent to
        code, details, answer = ending
        if code is not OK:
            _apply(context, code, details)
        return answer or b""

    def _on_stream(
        self, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        if not self._room.acquire(blocking=False):
            _apply(context, grpc.StatusCode.RESOURCE_EXHAUSTED, self._no_room)
            return
        try:
            yield from self._carry_stream(messages, context)
        finally:
            self._room.release()

    def _carry_stream(
        self, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        self._prepare(context)
        call, handler = _open(self._stream, context)
        spawn("grpc-stream-reader", lambda: _read(messages, call, handler))
        # grpcio lets go of this generator where the call ends while it waits at the yield.
        try:
            while not isinstance(item := call.outgoing.get(), tuple):
                yield item
                handler.on_sent()
            code, details, _ = item
            if code is not OK:
                _apply(context, code, details)
        finally:
            call.end(cancelled=True)
            handler.on_end(cancelled=call.cancelled)

    def _prepare(self, context: grpc.ServicerContext) -> None:
        if self._compress:
            context.set_compression(grpc.Compression.Gzip)


def _read(messages: Iterator[bytes], call: _PublicCall, handler: CallHandler) -> None:
    """Hand over one message for each that was asked for, then the half-close."""
    while call.wait_wanted():
        try:
            message = next(messages, _HALF_CLOSE)
        except Exception:  # noqa: BLE001 - grpcio raises its own bare class when a call ends
            return
        if call.over:
            return
        handler.on_message(message)
        if message is _HALF_CLOSE:
            return


def _in_pool(behaviour: Callable[..., _T], pool: ThreadPoolExecutor) -> Callable[..., _T]:
    """Give a handler a pool of its own, as grpcio reads it from an attribute."""

    def handler(request: object, context: grpc.ServicerContext) -> _T:
        return behaviour(request, context)

    handler.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return handler

"""Carry the hot RPCs on gRPC's completion queue.

The only module that touches grpcio's private core. One thread polls a queue of our own,
registered with the core server that grpcio's public server wraps. It answers to no event
loop and hands no call to a pool: what an event means is done at once, on that thread.
Calls may be answered from any thread.

What the core does not tell, learned by running it: a batch on a call that has ended is
refused by a return value, raises nothing, and its tag never fires; when the server stops,
each armed request comes back as an event without success *and with* a call object;
arming after that raises ValueError. So every batch goes through `_begin`, events are
judged by `success` first, and arming stops before the server does. That the server has
stopped does not mean that its calls have been heard of: those that it took last may come
after it, and a batch on a queue that was shut down meanwhile ends the process. So the queue
is shut down by the last that could begin one: see `OpenQueue`.
"""

import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import grpc
import structlog
from grpc._cython import cygrpc

from interlock.frontend.handover import Handover
from interlock.frontend.transport import (
    SERVICE,
    STREAM_METHOD,
    UNARY_METHOD,
    CallHandler,
    CallService,
    IncomingCall,
    Metadata,
)
from interlock.runtime.threads import OnDeath, Thread, spawn

log = structlog.get_logger()

_ARMED: Final = {UNARY_METHOD: 128, STREAM_METHOD: 16}
"""How many calls of each method the core may hand over before we come to re-arm."""

_Core = Any  # what cygrpc hands over has no types

_NO_FLAGS: Final = 0
_AT_ONCE: Final = 0.0
"""A deadline in the past: take an event that is ready, wait for none."""
_TAKEN_AT_ONCE: Final = 16
"""How many requests may be held back until the events that are ready have been handled."""
_CODES: Final = {code: code.value[0] for code in grpc.StatusCode}
_OK: Final = grpc.StatusCode.OK.value[0]
_GZIP: Final = ((cygrpc.GRPC_COMPRESSION_REQUEST_ALGORITHM_MD_KEY, "gzip"),)


class _Nobody:
    """The handler of a call that is over."""

    def on_message(self, message: bytes | None) -> None: ...
    def on_sent(self) -> None: ...
    def on_end(self, *, cancelled: bool) -> None: ...


_NOBODY: Final = _Nobody()


def _ignore(_event: _Core) -> None:
    """The tag of a last batch: that the call is over is told by its close."""


class OpenQueue:
    """A queue that batches may begin on; it is shut down when nobody holds this any more.

    Held by each armed request, by each call until its close has been heard of, and by each
    thread while it begins a batch. Counting references is what makes that last one exact at
    no cost: no thread can be past the question whether the queue is open, and not there yet.
    """

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue = cygrpc.CompletionQueue()

    def __del__(self) -> None:
        self.queue.shutdown()


class QueueCall:
    """One RPC on the core. Implements `IncomingCall`."""

    __slots__ = ("_call", "_handler", "_initial", "_open", "_over", "_started", "metadata")

    def __init__(self, event: _Core, initial: _Core, opened: OpenQueue) -> None:
        self._call = event.call
        self._open: OpenQueue | None = opened
        self.metadata: Metadata = event.invocation_metadata
        self._initial = initial
        self._started = False
        self._over = False
        self._handler: CallHandler = _NOBODY

    def open(self, service: CallService) -> None:
        """Hear of the call's end, then let the service have it."""
        if self._begin((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._on_close):
            self._handler = service.open(self)
        else:
            self._end()

    @property
    def peer(self) -> str:
        peer: str | bytes = self._call.peer()
        return peer.decode(errors="replace") if isinstance(peer, bytes) else peer

    def receive(self) -> None:
        if not self._over:
            self._begin((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._on_message)

    def send(self, message: bytes) -> bool:
        if self._over:
            return False
        return self._begin(
            self._with_initial(cygrpc.SendMessageOperation(message, _NO_FLAGS)), self._on_sent
        )

    def finish(self, code: grpc.StatusCode, details: str, message: bytes | None = None) -> bool:
        # The core refuses a second ending, and never lets go of what it refused.
        if self._over:
            return False
        self._over = True
        status = cygrpc.SendStatusFromServerOperation(
            None, _CODES[code], details.encode(), _NO_FLAGS
        )
        if message is None:
            return self._begin(self._with_initial(status), _ignore)
        return self._begin(
            self._with_initial(cygrpc.SendMessageOperation(message, _NO_FLAGS), status), _ignore
        )

    def _with_initial(self, *operations: _Core) -> tuple[_Core, ...]:
        """Put the initial metadata in front of the first thing that is sent."""
        if self._started:
            return operations
        self._started = True
        return (cygrpc.SendInitialMetadataOperation(self._initial, _NO_FLAGS), *operations)

    def _begin(self, operations: tuple[_Core, ...], done: Callable[[_Core], None]) -> bool:
        """Start a batch; False where the core refuses it, because the call is over."""
        opened = self._open  # and not shut down before we are through
        if opened is None:
            return False
        refused: int = self._call.start_server_batch(operations, done)
        return not refused

    def _on_message(self, event: _Core) -> None:
        # A receive that failed is told by `_on_close`; an empty one is the half-close.
        if event.success:
            self._handler.on_message(event.batch_operations[0].message())

    def _on_sent(self, _event: _Core) -> None:
        self._handler.on_sent()

    def _on_close(self, event: _Core) -> None:
        self._end()
        handler, self._handler = self._handler, _NOBODY
        handler.on_end(cancelled=not event.success or bool(event.batch_operations[0].cancelled()))

    def _end(self) -> None:
        self._over = True
        self._open = None


class _Armed:
    """The tag of every armed request of one method: what is to be done with the call."""

    __slots__ = ("_initial", "_open", "_rearm", "_service")

    def __init__(
        self,
        opened: OpenQueue,
        service: CallService,
        initial: _Core,
        rearm: Callable[["_Armed"], None],
    ) -> None:
        self._open = opened
        self._service = service
        self._initial = initial
        self._rearm = rearm

    def __call__(self, event: _Core) -> None:
        if not event.success:
            return
        self._rearm(self)
        QueueCall(event, self._initial, self._open).open(self._service)


class QueueTransport:
    """Takes the two hot methods of a grpcio server. Implements `Transport`.

    Made before the server starts; the hot methods must not be among the server's own
    registered handlers. `handover` collects what the services take in, on the polling thread.
    """

    name = "queue"

    def __init__(
        self,
        server: grpc.Server,
        *,
        unary: CallService,
        stream: CallService,
        handover: Handover,
        compress: bool,
        on_death: OnDeath,
    ) -> None:
        self._handover = handover
        state = server._state  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue]
        self._core = state.server
        self._open: OpenQueue | None = OpenQueue()
        self._queue = self._open.queue
        self._core.register_completion_queue(self._queue)
        self._services = {UNARY_METHOD: unary, STREAM_METHOD: stream}
        self._initial = _GZIP if compress else None
        self._on_death = on_death
        # Guards `_arming`: none is armed once `stop_taking` has returned, nor when the server
        # is no more. A leaf, held while the core arms.
        self._lock = threading.Lock()
        self._arming = True
        self._thread: Thread | None = None
        for method in self._services:
            self._core.register_method(_full_name(method))

    def start(self) -> None:
        if self._open is None:
            return
        for method, service in self._services.items():
            arm = partial(self._arm, _full_name(method))
            tag = _Armed(self._open, service, self._initial, arm)
            for _ in range(_ARMED[method]):
                arm(tag)
        self._thread = spawn("grpc-queue", self._poll, on_death=self._on_death)

    def stop_taking(self) -> None:
        with self._lock:
            self._arming = False

    def close(self, timeout_s: float) -> bool:
        self.stop_taking()
        self._open = None
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _arm(self, method: str, tag: _Armed) -> None:
        """Keep one more call of this method in sight."""
        with self._lock:
            if not self._arming:
                return
            try:
                self._core.request_registered_call(self._queue, self._queue, method, tag)
            except ValueError:
                # The server was stopped and we had not been told.
                self._arming = False

    def _poll(self) -> None:
        poll = self._queue.poll
        ended = cygrpc.CompletionType.queue_shutdown
        nothing = cygrpc.CompletionType.queue_timeout
        handover = self._handover
        while True:
            # What is ready is taken in before anything is handed over: see `Handover`.
            event = poll(_AT_ONCE if handover else None)
            kind = event.completion_type
            if kind == ended:
                handover.settle()
                return
            if kind == nothing:
                handover.settle()
            else:
                self._handle(event)
                if len(handover) >= _TAKEN_AT_ONCE:
                    handover.settle()
            # An event that is kept while the next is waited for keeps its call alive.
            del event

    def _handle(self, event: _Core) -> None:
        try:
            event.tag(event)
        except Exception:
            # One event's exception never ends the loop: its call alone is lost.
            log.exception("could not handle a gRPC event")


def _full_name(method: str) -> str:
    return f"/{SERVICE}/{method}"


class _Echo:
    """The service of the self-test: sends each message back."""

    def __init__(self, call: IncomingCall, *, streaming: bool) -> None:
        self._call = call
        self._streaming = streaming

    def on_message(self, message: bytes | None) -> None:
        if message is None or not self._streaming:
            self._call.finish(grpc.StatusCode.OK, "", message)
            return
        self._call.send(message)

    def on_sent(self) -> None:
        self._call.receive()

    def on_end(self, *, cancelled: bool) -> None: ...


class _EchoService:
    def __init__(self, *, streaming: bool) -> None:
        self._streaming = streaming

    def open(self, call: IncomingCall) -> CallHandler:
        call.receive()
        return _Echo(call, streaming=self._streaming)


_SELF_TEST_TIMEOUT_S: Final = 10.0


def self_test() -> str:
    """Make one call and one stream through a server of its own, on a Unix socket.

    Return what went wrong with this version of grpcio; "" where all is well.
    """
    try:
        with _private_address() as target:
            _try_out(target)
    except Exception as error:  # noqa: BLE001 - whatever a foreign, private interface throws
        return f"{type(error).__name__}: {error}"
    return ""


@contextmanager
def _private_address() -> Iterator[str]:
    """Give a Unix socket for ourselves; on Linux one without a file.

    The folder of temporary files may be read-only, or its name too long for a socket.
    """
    if sys.platform == "linux":
        yield f"unix-abstract:interlock-{uuid.uuid4().hex}"
    else:
        with tempfile.TemporaryDirectory(prefix="interlock-") as folder:
            yield f"unix:{folder}/s"


def _try_out(target: str) -> None:
    died: list[BaseException] = []
    with futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        transport = QueueTransport(
            server,
            unary=_EchoService(streaming=False),
            stream=_EchoService(streaming=True),
            handover=Handover(),
            compress=False,
            on_death=died.append,
        )
        server.add_insecure_port(target)
        server.start()
        transport.start()
        try:
            _echo_both_ways(target)
        finally:
            transport.stop_taking()
            server.stop(0).wait(_SELF_TEST_TIMEOUT_S)
            closed = transport.close(_SELF_TEST_TIMEOUT_S)
    if died or not closed:
        raise RuntimeError("the polling thread did not end as it should")


def _echo_both_ways(target: str) -> None:
    sent = [b"one", b"two"]
    with grpc.insecure_channel(target) as channel:
        unary = channel.unary_unary(f"/{SERVICE}/{UNARY_METHOD}")
        stream = channel.stream_stream(f"/{SERVICE}/{STREAM_METHOD}")
        answers = [unary(b"one", timeout=_SELF_TEST_TIMEOUT_S)]
        streamed = list(stream(iter(sent), timeout=_SELF_TEST_TIMEOUT_S))
    if answers != sent[:1] or streamed != sent:
        raise RuntimeError("an echo came back changed")

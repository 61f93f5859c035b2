"""A real grpcio server with one of the two transports and services of the test's making."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from interlock.frontend.completion_queue import QueueTransport
from interlock.frontend.handover import Handover
from interlock.frontend.public_transport import PublicTransport
from interlock.frontend.transport import (
    SERVICE,
    STREAM_METHOD,
    UNARY_METHOD,
    CallService,
    IncomingCall,
    Transport,
)

TIMEOUT_S = 20.0


@dataclass
class RecordingHandler:
    """Remembers what the transport told it; reacts to a message as it is told to."""

    call: IncomingCall
    react: Callable[["RecordingHandler", bytes | None], None]
    messages: list[bytes | None] = field(default_factory=list)
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    cancelled: bool | None = None

    def on_message(self, message: bytes | None) -> None:
        self.messages.append(message)
        self.react(self, message)

    def on_sent(self) -> None:
        self.sent += 1
        self.call.receive()

    def on_end(self, *, cancelled: bool) -> None:
        self.cancelled = cancelled
        self.ended.set()


@dataclass
class RecordingService:
    """Opens a `RecordingHandler` for each call and keeps them."""

    react: Callable[[RecordingHandler, bytes | None], None]
    handlers: list[RecordingHandler] = field(default_factory=list)
    opened: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def open(self, call: IncomingCall) -> RecordingHandler:
        handler = RecordingHandler(call, self.react)
        self.handlers.append(handler)
        call.receive()
        self.opened.release()
        return handler

    def wait_for_call(self) -> RecordingHandler:
        assert self.opened.acquire(timeout=TIMEOUT_S)
        return self.handlers[-1]


def make_transport(
    kind: str,
    server: grpc.Server,
    *,
    unary: CallService,
    stream: CallService,
    pool: futures.ThreadPoolExecutor,
    died: list[BaseException],
) -> Transport:
    if kind == "queue":
        return QueueTransport(
            server,
            unary=unary,
            stream=stream,
            handover=Handover(),
            compress=False,
            on_death=died.append,
        )
    return PublicTransport(server, unary=unary, stream=stream, compress=False, pool=pool)


@contextmanager
def carried(
    kind: str, *, unary: CallService, stream: CallService
) -> Iterator[tuple[grpc.Channel, grpc.Server]]:
    """Serve on a port of the loopback; everything must have come back at the end."""
    died: list[BaseException] = []
    with futures.ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        transport = make_transport(kind, server, unary=unary, stream=stream, pool=pool, died=died)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        transport.start()
        try:
            with grpc.insecure_channel(
                f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
            ) as channel:
                # So that a short deadline is that of the call alone.
                grpc.channel_ready_future(channel).result(TIMEOUT_S)
                yield channel, server
        finally:
            transport.stop_taking()
            server.stop(0).wait(TIMEOUT_S)
            closed = transport.close(TIMEOUT_S)
    assert closed
    assert died == []


def unary_of(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(f"/{SERVICE}/{UNARY_METHOD}")


def stream_of(channel: grpc.Channel) -> grpc.StreamStreamMultiCallable:
    return channel.stream_stream(f"/{SERVICE}/{STREAM_METHOD}")

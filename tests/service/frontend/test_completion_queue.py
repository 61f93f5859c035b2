"""When the completion queue is shut down; what both transports do is in `test_transports`."""

import threading
from collections.abc import Callable
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc

from interlock.frontend.completion_queue import OpenQueue, QueueCall
from tests.support.carried import (
    TIMEOUT_S,
    RecordingHandler,
    RecordingService,
    make_transport,
    unary_of,
)


class HesitantService(RecordingService):
    """Keeps the polling thread busy with the first call for as long as the test wants."""

    def __init__(self) -> None:
        super().__init__(lambda handler, _: None)
        self.go_on = threading.Event()

    def open(self, call: Any) -> RecordingHandler:
        handler = super().open(call)
        assert self.go_on.wait(TIMEOUT_S)
        return handler


def test_calls_that_are_heard_of_after_the_end_do_no_harm() -> None:
    service = HesitantService()
    died: list[BaseException] = []
    with futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        transport = make_transport(
            "queue", server, unary=service, stream=service, pool=pool, died=died
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        transport.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            calls = [unary_of(channel).future(b"x", timeout=TIMEOUT_S) for _ in range(4)]
            service.wait_for_call()
            # What is answered after them on the same connection has come after them.
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                channel.unary_unary("/nobody/Knows")(b"", timeout=TIMEOUT_S)

            transport.stop_taking()
            assert server.stop(0).wait(TIMEOUT_S)
            assert transport.close(0) is False
            service.go_on.set()

            assert transport.close(TIMEOUT_S) is True
            ended = [call.exception(TIMEOUT_S) for call in calls]
    assert len(service.handlers) == len(calls)
    assert [handler.ended.is_set() for handler in service.handlers] == [True] * len(calls)
    assert all(isinstance(error, grpc.RpcError) for error in ended)
    assert died == []


class CoreCall:
    """What the core hands over, with something to be done while a batch begins."""

    def __init__(self) -> None:
        self.tags: list[Callable[[Any], None]] = []
        self.meanwhile: Callable[[], None] | None = None

    def start_server_batch(self, _operations: Any, tag: Callable[[Any], None]) -> int:
        self.tags.append(tag)
        if self.meanwhile is not None:
            self.meanwhile()
        return 0


def is_shut_down(queue: Any) -> bool:
    return bool(queue.poll(0.0).completion_type == cygrpc.CompletionType.queue_shutdown)


def test_a_queue_is_not_shut_down_while_somebody_begins_a_batch() -> None:
    opened = OpenQueue()
    queue = opened.queue
    core = CoreCall()
    call = QueueCall(SimpleNamespace(call=core, invocation_metadata=()), None, opened)
    call.open(RecordingService(lambda handler, _: None))
    del opened
    was_shut_down: list[bool] = []

    def hear_of_the_close() -> None:
        core.tags[0](SimpleNamespace(success=False))
        was_shut_down.append(is_shut_down(queue))

    core.meanwhile = hear_of_the_close
    assert call.send(b"x") is True

    assert was_shut_down == [False]
    assert is_shut_down(queue)
    assert call.send(b"y") is False

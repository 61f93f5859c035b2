from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from interlock.frontend.public_transport import PublicTransport
from tests.support.carried import TIMEOUT_S, RecordingHandler, RecordingService, stream_of


def keep_open(handler: RecordingHandler, message: bytes | None) -> None:
    if message is None:
        handler.call.finish(grpc.StatusCode.OK, "")


def test_streams_may_not_take_the_threads_that_single_requests_need() -> None:
    """Each holds one while it is open, so that idle ones could stop all service."""
    service = RecordingService(keep_open)
    with futures.ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        PublicTransport(
            server, unary=service, stream=service, compress=False, pool=pool, max_streams=2
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = stream_of(channel)
            hold = futures.Future[None]()

            def silent() -> Iterator[bytes]:
                hold.result(TIMEOUT_S)
                yield from ()

            open_ones = [stream(silent(), timeout=TIMEOUT_S) for _ in range(2)]
            for _ in open_ones:
                service.wait_for_call()
            with pytest.raises(grpc.RpcError) as refused:
                list(stream(iter(()), timeout=TIMEOUT_S))
            hold.set_result(None)
            assert [list(one) for one in open_ones] == [[], []]
            assert service.handlers[0].ended.wait(TIMEOUT_S)

            assert list(stream(iter(()), timeout=TIMEOUT_S)) == []
        server.stop(0).wait(TIMEOUT_S)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == (
        "2 streams are open, as many as --grpc-transport=public carries: close one or wait"
    )

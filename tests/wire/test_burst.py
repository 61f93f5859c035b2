"""More requests at once than the server can take at once."""

import signal

import grpc
import numpy as np

from tests.support.server_process import EXAMPLE_REPOSITORY, ServerProcess
from tests.support.wire import UNLIMITED, Client, given, infer_request, transport_flags

METHOD = "/inference.GRPCInferenceService/ModelInfer"
REQUESTS = 4000
PATIENCE_S = 100.0


def test_requests_that_come_in_a_burst_wait_and_are_answered() -> None:
    """By itself gRPC cancels some past a thousand, and all past three, that no thread took yet."""
    image = np.zeros((1, 64), "<f4")
    flags = [f"--model-repository={EXAMPLE_REPOSITORY}", *transport_flags()]

    with (
        ServerProcess.start(flags) as process,
        Client(process.address) as client,
        grpc.insecure_channel(process.address, UNLIMITED) as channel,
    ):
        request = infer_request("digits", given("image", image))
        client.infer(request)
        message = request.SerializeToString()
        call = channel.unary_unary(METHOD)
        call(message, timeout=PATIENCE_S)
        # While it stands still all of them arrive, and then it has to take them at once.
        process.send_signal(signal.SIGSTOP)
        futures = [call.future(message, timeout=PATIENCE_S) for _ in range(REQUESTS)]
        process.send_signal(signal.SIGCONT)
        codes = {future.code() for future in futures}

    assert codes == {grpc.StatusCode.OK}

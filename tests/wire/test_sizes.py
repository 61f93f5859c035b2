"""Large messages and compressed ones: spec/protocol.md 1, 8 and 17.1."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import numpy as np
import pytest

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.wire import Client, WireServer, given, infer_request, serving

LARGE_BYTES = 70 << 20
COMPRESSIBLE = given("x", np.zeros(1 << 18, "<f4"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    with serving(with_model(tmp_path_factory)) as server:
        yield server


@pytest.fixture(scope="module")
def compressing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    flag = "--grpc-infer-response-compression-level=high"
    with serving(with_model(tmp_path_factory), flag) as server:
        yield server


def with_model(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.onnx("model", onnx_small.identity("FP32"))
    return repository


class CountingProxy:
    """Passes one connection on, and counts what comes back from the server."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.received = 0

    def run(self) -> None:
        inward, _ = self._listener.accept()
        outward = socket.create_connection(self._upstream)
        with inward, outward:
            forward = threading.Thread(target=self._pass_on, args=(inward, outward, False))
            forward.start()
            self._pass_on(outward, inward, True)
            forward.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        while data := source.recv(1 << 16):
            self.received += len(data) if count else 0
            target.sendall(data)
        with suppress(OSError):  # the other side may have gone before
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def counted(server: WireServer) -> Iterator[tuple[CountingProxy, Client]]:
    proxy = CountingProxy(server.address)
    thread = threading.Thread(target=proxy.run)
    thread.start()
    with Client(proxy.address) as client:
        yield proxy, client
    thread.join(10)
    assert not thread.is_alive()
    proxy.close()


def bytes_on_the_wire(server: WireServer, rpc: str) -> int:
    """How many bytes come back with a megabyte that compresses well."""
    request = infer_request("model", COMPRESSIBLE)
    with counted(server) as (proxy, client):
        if rpc == "unary":
            answer = client.infer(request)
        else:
            answer = client.exchange(request)[0].infer_response
    assert len(answer.raw_output_contents[0]) == 1 << 20
    return proxy.received


def test_seventy_megabytes_go_both_ways(client: Client) -> None:
    sent = np.random.default_rng(0).integers(0, 255, LARGE_BYTES, dtype=np.uint8).view("<f4")
    request = infer_request("model", given("x", sent))

    unary = client.infer(request)
    (streamed,) = client.exchange(request)

    expected = sent.tobytes()
    assert unary.raw_output_contents[0] == expected
    assert streamed.infer_response.raw_output_contents[0] == expected


@pytest.mark.parametrize("rpc", ["unary", "stream"])
def test_answers_are_compressed_where_the_flag_says_so(compressing: WireServer, rpc: str) -> None:
    assert bytes_on_the_wire(compressing, rpc) < 1 << 17


@pytest.mark.parametrize("rpc", ["unary", "stream"])
def test_answers_are_not_compressed_by_default(server: WireServer, rpc: str) -> None:
    assert bytes_on_the_wire(server, rpc) > 1 << 20


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_request_is_understood(client: Client, algorithm: grpc.Compression) -> None:
    request = infer_request("model", COMPRESSIBLE)

    answer = client.stub.ModelInfer(request, timeout=30, compression=algorithm)

    assert len(answer.raw_output_contents[0]) == 1 << 20


def test_no_metadata_comes_with_an_answer(client: Client) -> None:
    _, call = client.stub.ModelInfer.with_call(infer_request("model", COMPRESSIBLE), timeout=30)

    # What gRPC itself says of compression apart.
    own = [key for key, _ in (*call.initial_metadata(), *call.trailing_metadata())]
    assert [key for key in own if not key.startswith(("grpc-", "content-"))] == []

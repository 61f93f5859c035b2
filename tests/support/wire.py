"""Talk to a server process over its socket, with the stubs that clients carry."""

import os
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from tritonclient.grpc import service_pb2 as pb, service_pb2_grpc

from interlock.pb import control_pb2
from tests.support.models import Repository
from tests.support.server_process import ServerProcess

SERVICE: Final = "inference.GRPCInferenceService"
TIMEOUT_S: Final = 30.0
UNLOAD_WITHIN_S: Final = 10.0
UNLIMITED: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)

Metadata = Sequence[tuple[str, str]]
Message = Any  # the stubs of tritonclient have no types

WIRE_TYPES: Final = {
    np.dtype("?"): "BOOL",
    np.dtype("<u1"): "UINT8",
    np.dtype("<u2"): "UINT16",
    np.dtype("<u4"): "UINT32",
    np.dtype("<u8"): "UINT64",
    np.dtype("<i1"): "INT8",
    np.dtype("<i2"): "INT16",
    np.dtype("<i4"): "INT32",
    np.dtype("<i8"): "INT64",
    np.dtype("<f2"): "FP16",
    np.dtype("<f4"): "FP32",
    np.dtype("<f8"): "FP64",
}
NUMPY_TYPES: Final = {wire: dtype for dtype, wire in WIRE_TYPES.items()} | {"BF16": np.dtype("<u2")}


class Refusal(NamedTuple):
    """How an RPC failed: the name of its status code, and the text."""

    code: str
    text: str


def invalid(text: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", text)


def not_found(text: str) -> Refusal:
    return Refusal("NOT_FOUND", text)


def unavailable(text: str) -> Refusal:
    return Refusal("UNAVAILABLE", text)


class Unsigned(int):
    """A parameter that travels as uint64_param."""


class Unset:
    """A parameter without any of its fields."""


UNSET: Final = Unset()
ParameterValue = bool | int | float | str | bytes | Unsigned | Unset


@dataclass(frozen=True, slots=True)
class Given:
    """One input of a request; `raw` is None where the data stands in the tensor itself."""

    tensor: Message
    raw: bytes | None


def given(
    name: str,
    values: ArrayLike,
    *,
    datatype: str = "",
    shape: Sequence[int] | None = None,
    parameters: Mapping[str, ParameterValue] | None = None,
) -> Given:
    """An input with raw data. BF16 is given as 16-bit words."""
    array = np.asarray(values)
    return raw_input(
        name,
        array.tobytes(),
        datatype=datatype or WIRE_TYPES[array.dtype],
        shape=array.shape if shape is None else shape,
        parameters=parameters,
    )


def raw_input(
    name: str,
    raw: bytes | None,
    *,
    datatype: str,
    shape: Sequence[int],
    parameters: Mapping[str, ParameterValue] | None = None,
) -> Given:
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    set_parameters(tensor.parameters, parameters or {})
    return Given(tensor, raw)


def texts(name: str, elements: Sequence[bytes], *, shape: Sequence[int] | None = None) -> Given:
    """A BYTES input with raw data."""
    return raw_input(
        name,
        encode_texts(elements),
        datatype="BYTES",
        shape=(len(elements),) if shape is None else shape,
    )


def typed(name: str, datatype: str, shape: Sequence[int], **contents: Iterable[Any]) -> Given:
    """An input with typed contents; without a field the contents are there and empty."""
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    tensor.contents.SetInParent()
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return Given(tensor, None)


def infer_request(
    model: str,
    *inputs: Given,
    version: str = "",
    id: str = "",  # noqa: A002 - the field's name
    parameters: Mapping[str, ParameterValue] | None = None,
    outputs: Iterable[str | tuple[str, Mapping[str, ParameterValue]]] = (),
) -> Message:
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    set_parameters(request.parameters, parameters or {})
    for one in inputs:
        request.inputs.append(one.tensor)
        if one.raw is not None:
            request.raw_input_contents.append(one.raw)
    for output in outputs:
        name, output_parameters = (output, {}) if isinstance(output, str) else output
        wanted = request.outputs.add(name=name)
        set_parameters(wanted.parameters, output_parameters)
    return request


def set_parameters(target: Any, parameters: Mapping[str, ParameterValue]) -> None:
    """Fill a map of InferParameter or ModelRepositoryParameter."""
    for key, value in parameters.items():
        entry = target[key]
        match value:
            case bool():
                entry.bool_param = value
            case Unsigned():
                entry.uint64_param = value
            case int():
                entry.int64_param = value
            case float():
                entry.double_param = value
            case str():
                entry.string_param = value
            case bytes():
                entry.bytes_param = value


def encode_texts(elements: Iterable[bytes]) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def decode_texts(raw: bytes) -> list[bytes]:
    elements = []
    position = 0
    while position < len(raw):
        start = position + 4
        position = start + int.from_bytes(raw[position:start], "little")
        elements.append(raw[start:position])
    return elements


def arrays(response: Message) -> dict[str, NDArray[Any]]:
    """The outputs of a response as arrays; BYTES as arrays of bytes objects."""
    return {
        output.name: _array(output, raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _array(output: Message, raw: bytes) -> NDArray[Any]:
    if output.datatype == "BYTES":
        return np.array(decode_texts(raw), dtype=object).reshape(tuple(output.shape))
    return np.frombuffer(raw, NUMPY_TYPES[output.datatype]).reshape(tuple(output.shape))


class Stream:
    """One ModelStreamInfer call that a test drives step by step."""

    def __init__(
        self, open_stream: Callable[..., Any], metadata: Metadata, timeout_s: float
    ) -> None:
        self._requests: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.call = open_stream(
            iter(self._requests.get, None), metadata=tuple(metadata), timeout=timeout_s
        )

    def send(self, *requests: Message) -> None:
        for request in requests:
            self._requests.put(request)

    def half_close(self) -> None:
        self._requests.put(None)

    def next(self) -> Message:
        """The next response. Raise `StreamEndedError` where the stream ends instead."""
        try:
            return next(self.call)
        except StopIteration:
            self.half_close()  # which ends the thread that waits for our next request
            raise StreamEndedError("OK", "") from None
        except grpc.RpcError as error:
            self.half_close()
            raise StreamEndedError(error.code().name, error.details()) from None

    def rest(self) -> list[Message]:
        """Half-close and return what is still to come."""
        self.half_close()
        return list(self.call)

    def end(self) -> Refusal:
        """Wait for the end without a further response, and return the status."""
        try:
            response = self.next()
        except StreamEndedError as ended:
            return ended.status
        raise AssertionError(f"the stream did not end but answered {response}")


class StreamEndedError(Exception):
    """The server ended the stream, with this status."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.status = Refusal(code, text)


class Client:
    """One channel to a server. `metadata` goes with every call."""

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        everything = (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1), *options)
        self.channel = (
            grpc.insecure_channel(address, everything)
            if credentials is None
            else grpc.secure_channel(address, credentials, everything)
        )
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.metadata = tuple(metadata)

    def call(
        self,
        method: str,
        request: Message,
        *,
        metadata: Metadata = (),
        timeout_s: float = TIMEOUT_S,
    ) -> Message:
        """Make a unary call; grpc.RpcError where it is refused."""
        return getattr(self.stub, method)(
            request, metadata=(*self.metadata, *metadata), timeout=timeout_s
        )

    def refusal(self, method: str, request: Message, *, metadata: Metadata = ()) -> Refusal:
        """Make a unary call that must fail, and return how it failed."""
        try:
            answer = self.call(method, request, metadata=metadata)
        except grpc.RpcError as error:
            return Refusal(error.code().name, error.details())
        raise AssertionError(f"{method} was not refused but answered {answer}")

    def infer(self, request: Message, *, metadata: Metadata = ()) -> Message:
        return self.call("ModelInfer", request, metadata=metadata)

    def infer_refusal(self, request: Message, *, metadata: Metadata = ()) -> Refusal:
        return self.refusal("ModelInfer", request, metadata=metadata)

    def start(self, request: Message, *, timeout_s: float = TIMEOUT_S) -> Any:
        """Begin a ModelInfer and return its future."""
        return self.stub.ModelInfer.future(request, metadata=self.metadata, timeout=timeout_s)

    def stream(self, *, metadata: Metadata = (), timeout_s: float = TIMEOUT_S) -> Stream:
        return Stream(self.stub.ModelStreamInfer, (*self.metadata, *metadata), timeout_s)

    def exchange(self, *requests: Message, metadata: Metadata = ()) -> list[Message]:
        """Send requests on one stream, half-close, return all responses."""
        stream = self.stream(metadata=metadata)
        stream.send(*requests)
        return stream.rest()

    def bytes_infer(self, message: bytes) -> bytes:
        """ModelInfer with the bytes of a message, whatever they are."""
        method = self.channel.unary_unary(f"/{SERVICE}/ModelInfer")
        answer: bytes = method(message, metadata=self.metadata, timeout=TIMEOUT_S)
        return answer

    def live(self) -> bool:
        return bool(self.call("ServerLive", pb.ServerLiveRequest()).live)

    def ready(self) -> bool:
        return bool(self.call("ServerReady", pb.ServerReadyRequest()).ready)

    def model_ready(self, model: str, version: str = "") -> bool:
        request = pb.ModelReadyRequest(name=model, version=version)
        return bool(self.call("ModelReady", request).ready)

    def load(self, model: str, **parameters: ParameterValue) -> None:
        self.call("RepositoryModelLoad", load_request(model, parameters))

    def load_refusal(self, model: str, **parameters: ParameterValue) -> Refusal:
        return self.refusal("RepositoryModelLoad", load_request(model, parameters))

    def unload(self, model: str) -> None:
        self.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=model))

    def unload_and_wait(self, model: str) -> int:
        """Unload, return when nothing is left of the model; how many bytes that gave back."""
        request = pb.RepositoryModelUnloadRequest(model_name=model)
        set_parameters(request.parameters, {"wait": True})
        _, call = self.stub.RepositoryModelUnload.with_call(
            request, metadata=self.metadata, timeout=TIMEOUT_S
        )
        return int(dict(call.trailing_metadata())["interlock-bytes-freed"])

    def describe(self, model: str) -> Message:
        """What interlock.v1.Control says of a model."""
        call = self.channel.unary_unary(
            "/interlock.v1.Control/Describe",
            control_pb2.DescribeRequest.SerializeToString,
            control_pb2.DescribeResponse.FromString,
        )
        request = control_pb2.DescribeRequest(model=model)
        return call(request, metadata=self.metadata, timeout=TIMEOUT_S)

    def generations(self, model: str) -> list[Message]:
        """Every generation of a model that is known, by version, then by age."""
        return [one for version in self.describe(model).versions for one in version.generations]

    def inside(self, model: str) -> int:
        """How many requests of a model the server has taken in and not answered yet."""
        return sum(one.leases for one in self.generations(model))

    def index(self, *, ready: bool = False) -> list[tuple[str, str, str, str]]:
        """RepositoryIndex as rows of name, version, state, reason."""
        answer = self.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=ready))
        return [(row.name, row.version, row.state, row.reason) for row in answer.models]

    def statistics(self, model: str, version: str = "") -> Message:
        """The statistics of the one version that the request names."""
        request = pb.ModelStatisticsRequest(name=model, version=version)
        (statistics,) = self.call("ModelStatistics", request).model_stats
        return statistics

    def close(self) -> None:
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def load_request(
    model: str, parameters: Mapping[str, ParameterValue] | None = None, *, repository: str = ""
) -> Message:
    request = pb.RepositoryModelLoadRequest(model_name=model, repository_name=repository)
    set_parameters(request.parameters, parameters or {})
    return request


def transport_flags() -> list[str]:
    """The transport to test: INTERLOCK_TEST_TRANSPORT, or the completion queue."""
    return [f"--grpc-transport={os.environ.get('INTERLOCK_TEST_TRANSPORT') or 'queue'}"]


whatever_the_transport = pytest.mark.skipif(
    os.environ.get("INTERLOCK_TEST_TRANSPORT") == "public",
    reason="the transport has no part in it, and the run on the other one tells",
)
"""For tests that take long and look at what is behind the wire."""

Connect = Callable[[str], Client]


@dataclass(frozen=True, slots=True)
class WireServer:
    """A server process that serves a test's own repository."""

    process: ServerProcess
    repository: Repository
    connect: Connect

    @property
    def address(self) -> str:
        return self.process.address

    def client(self) -> Client:
        """A new channel; the caller closes it."""
        return self.connect(self.address)


@contextmanager
def server_process(
    repository: Repository, *flags: str, env: Mapping[str, str] | None = None, **start: Any
) -> Iterator[ServerProcess]:
    """A server on `repository` that the test stops itself, or loses its patience with."""
    arguments = [f"--model-repository={repository.root}", *transport_flags(), *flags]
    process = ServerProcess.start(arguments, env=env, **start)
    try:
        yield process
    finally:
        if process.exit_code is None:
            process.kill()


@contextmanager
def serving(
    repository: Repository,
    *flags: str,
    env: Mapping[str, str] | None = None,
    connect: Connect = Client,
) -> Iterator[WireServer]:
    """A server in explicit mode that has loaded everything.

    At the end nothing may be left of what the tests did: each model unloads at once, which
    it cannot while a request of it has not ended, and the server stops with exit code 0.
    """
    explicit = ("--model-control-mode=explicit", "--load-model=*", *flags)
    with server_process(repository, *explicit, env=env) as process:
        server = WireServer(process, repository, connect)
        yield server
        with server.client() as client:
            unload_everything(client)
        code = process.terminate()
        assert code == 0, process.log


def answer_to_zero(client: Client, model: str) -> float:
    """Return what a model of `x` and `y` makes of zero: a constant where it adds one."""
    return float(arrays(client.infer(infer_request(model, given("x", np.zeros(1, "<f4")))))["y"][0])


def row_of(client: Client, model: str) -> tuple[str, str]:
    """Return the state of the first version that is listed, and the reason."""
    found = [(state, reason) for name, _, state, reason in client.index() if name == model]
    return found[0] if found else ("", "")


def unload_everything(client: Client) -> None:
    for model in {row[0] for row in client.index(ready=True)}:
        client.unload(model)
    eventually(lambda: all(state != "UNLOADING" for _, _, state, _ in client.index()))
    left = [row for row in client.index() if row[2] == "READY"]
    assert not left


def eventually(holds: Callable[[], bool], *, within_s: float = UNLOAD_WITHIN_S) -> None:
    """Wait for what the server does by itself; fail where it does not come in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)

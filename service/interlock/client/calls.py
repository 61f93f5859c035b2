"""Call a server, and say in our own words what went wrong.

Messages are those of `interlock.pb`; a method is named by its service and its name.
"""

import queue
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import grpc

from interlock.client.connection import Connection, open_channel

INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"

_STATE_WAIT_S: Final = 1.0


class RefusedError(Exception):
    """The server answered with an error. `status` is gRPC's name of it."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}" if message else status)
        self.status = status
        self.message = message


class NoServerError(Exception):
    """Nobody answered at that address."""


class Message(Protocol):
    """A protobuf message, as far as a call needs to know it."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


Response = TypeVar("Response", bound=Message)


class ResponseType(Protocol[Response]):  # type: ignore[misc]  # Response stands in a result only
    """The class of a response: makes one of its bytes."""

    def FromString(self, data: bytes, /) -> Response: ...  # noqa: N802 - protobuf's name


class Client:
    """One channel to one server."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._channel = open_channel(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def call(
        self,
        method: str,
        request: Message,
        response: ResponseType[Response],
        *,
        service: str = INFERENCE,
        trailers: MutableMapping[str, str] | None = None,
    ) -> Response:
        """Call and wait for the answer, as long as the connection allows.

        What comes behind the answer goes into `trailers`.
        """
        invoke = self._channel.unary_unary(
            f"/{service}/{method}", response_deserializer=response.FromString
        )
        try:
            answer: Response
            answer, call = invoke.with_call(
                request.SerializeToString(),
                timeout=self.connection.timeout_s,
                metadata=self.connection.headers,
            )
        except grpc.RpcError as error:
            raise self._translated(error) from error
        if trailers is not None:
            trailers.update((key, str(value)) for key, value in call.trailing_metadata() or ())
        return answer

    def stream(
        self,
        method: str,
        request: Message,
        response: ResponseType[Response],
        *,
        service: str = INFERENCE,
    ) -> Iterator[Response]:
        """Call and yield what comes, until the server ends it or nobody asks for more."""
        invoke = self._channel.unary_stream(
            f"/{service}/{method}", response_deserializer=response.FromString
        )
        call = invoke(
            request.SerializeToString(),
            timeout=self.connection.timeout_s,
            metadata=self.connection.headers,
        )
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._translated(error) from error
        finally:
            call.cancel()

    def _translated(self, error: grpc.RpcError) -> Exception:
        # What a unary call raises is a Call as well; the stubs do not say so.
        assert isinstance(error, grpc.Call)  # noqa: S101 - see above
        code, details = error.code(), error.details() or ""
        unheard = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        if code in unheard and not self._connected():
            return NoServerError(details)
        return RefusedError(code.name, details)

    def _connected(self) -> bool:
        """Whether the channel has a connection: the status alone cannot tell who gave it."""
        states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
        self._channel.subscribe(states.put)
        try:
            return states.get(timeout=_STATE_WAIT_S) is grpc.ChannelConnectivity.READY
        except queue.Empty:
            return False
        finally:
            self._channel.unsubscribe(states.put)

"""The contract between the hot RPCs and what carries them.

`completion_queue` and `public_transport` carry calls; `unary` and `stream` answer them and
do not know which of the two it is.
"""

import threading
from collections.abc import Sequence
from typing import Final, Protocol

import grpc

Metadata = Sequence[tuple[str, str | bytes]]

SERVICE: Final = "inference.GRPCInferenceService"
UNARY_METHOD: Final = "ModelInfer"
STREAM_METHOD: Final = "ModelStreamInfer"

OK: Final = grpc.StatusCode.OK


class IncomingCall(Protocol):
    """One RPC of a client. Any thread may use it; what comes after its end is dropped."""

    @property
    def metadata(self) -> Metadata: ...

    @property
    def peer(self) -> str: ...

    def receive(self) -> None:
        """Ask for the next message; one at a time."""
        ...

    def send(self, message: bytes) -> bool:
        """Send one message of a stream; one at a time. False where the call is over."""
        ...

    def finish(self, code: grpc.StatusCode, details: str, message: bytes | None = None) -> bool:
        """End the call, with the last (or only) message where there is one.

        False where the call was over already.
        """
        ...


class CallHandler(Protocol):
    """Who answers one call.

    The transport calls these one after the other, never at once, except `on_sent`, which
    may come at any moment; none of them may block.
    """

    def on_message(self, message: bytes | None) -> None:
        """The message that was asked for; `None` is the client's half-close.

        A call that is cancelled may look like one that is half-closed first: grpcio's own
        handlers hear of the message that does not come before they hear of the reason.
        """
        ...

    def on_sent(self) -> None:
        """What `send` was given has left, or never will."""
        ...

    def on_end(self, *, cancelled: bool) -> None:
        """The call is over. `cancelled`: by the client, its deadline or its connection."""
        ...


class CallService(Protocol):
    """Answers the calls of one method."""

    def open(self, call: IncomingCall) -> CallHandler:
        """Take a new call, and ask for its first message where it wants one."""
        ...


class Transport(Protocol):
    """Carries the two hot RPCs on a grpcio server."""

    @property
    def name(self) -> str: ...

    def start(self) -> None:
        """Take calls. The server has been started."""
        ...

    def stop_taking(self) -> None:
        """Take no new calls from the network; those under way go on."""
        ...

    def close(self, timeout_s: float) -> bool:
        """End, once the server has stopped; whether everything came back in time."""
        ...


class InFlight:
    """Counts the requests that were received and whose answer gRPC has not sent yet.

    Any thread may call anything here.
    """

    __slots__ = ("_count", "_empty", "_lock")

    def __init__(self) -> None:
        # Guards the count. A leaf: nothing else is taken inside.
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def enter(self) -> None:
        with self._lock:
            self._count += 1

    def leave(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                self._empty.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; whether that was reached in time."""
        with self._lock:
            return self._empty.wait_for(lambda: not self._count, timeout_s)

"""Keep the clients of a stream without end informed, whatever the stream is about.

A subscriber holds no thread. One thread looks at what has changed; a few send, because a
send blocks while a client does not read. What a subscriber has still to hear is for its
subscription to say, whenever the client can take it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from interlock.domain.errors import ExhaustedError, UnavailableError
from interlock.frontend.auditing import Asked
from interlock.frontend.gate import EXITING, Category
from interlock.frontend.rpc import Guard, in_pool
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, pool, spawn

log = structlog.get_logger()

Send = Callable[[Message | None], None]
"""Send a message; `None` ends the stream. May block."""

_Request = TypeVar("_Request", bound=Message)

MAX_SUBSCRIBERS: Final = 4096
_SENDERS: Final = 4
_STUCK_S: Final = 5.0
"""A client that does not take one message for so long is let go."""
_LOOK_S: Final = 1.0
"""How often to look for stuck sends while any is under way."""


class Subscription(Protocol):
    """What one subscriber has still to hear. Called by one thread at a time."""

    def next(self) -> Message | None:
        """Return what it is to hear now, and take it for heard; `None` if it knows all."""
        ...


@dataclass(slots=True, eq=False)
class _Subscriber:
    """One client. While `busy`, a sender has it or will, and the subscription is that one's."""

    subscription: Subscription
    context: grpc.ServicerContext
    send: Send
    busy: bool = False
    look_again: bool = False
    sending_since: float | None = None

    def end(self) -> None:
        self.context.set_code(grpc.StatusCode.UNAVAILABLE)
        self.context.set_details(EXITING)
        self.send(None)


class Subscribers:
    """All clients of one stream. Any thread may open and close; `step` is one round.

    The rounds are those of its own thread, one after each change that `subscribe` tells of.
    """

    def __init__(
        self,
        name: str,
        *,
        subscribe: Callable[[Callable[[], None]], Callable[[], None]],
        clock: Clock,
        before_round: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._subscribe = subscribe
        self._clock = clock
        self._before_round = before_round or _nothing
        # Guards the subscribers, what they hold, and `_closing`. A leaf.
        self._lock = threading.Lock()
        self._subscribers: set[_Subscriber] = set()
        self._closing = False
        self._changed = threading.Event()
        self._senders = pool(f"{name}-send", _SENDERS)
        self._unsubscribe: Callable[[], None] = _nothing
        self._join: Callable[[float], None] = _ended_already

    def start(self, *, on_death: OnDeath | None = None) -> None:
        self._unsubscribe = self._subscribe(self._changed.set)
        self._join = spawn(self._name, self._run, on_death=on_death).join

    def close(self, timeout_s: float) -> None:
        """Send each subscriber what it has not heard yet and end its stream."""
        with self._lock:
            self._closing = True
            unsubscribe, self._unsubscribe = self._unsubscribe, _nothing
        unsubscribe()
        self._changed.set()
        self._join(timeout_s)
        self._senders.shutdown(wait=False)

    def handler(
        self,
        guard: Guard,
        begin: Callable[[_Request], Subscription],
        *,
        request: type[_Request],
        category: Category,
        pool: ThreadPoolExecutor,
        asked: Callable[[_Request], Asked] | None = None,
    ) -> grpc.RpcMethodHandler:
        """Make the handler of a method that takes one message and answers without end."""

        def admitted(message: _Request) -> Subscription:
            self.admit()
            return begin(message)

        checked = guard.checked(admitted, category, asked=asked)

        def handle(message: _Request, context: grpc.ServicerContext, send: Send) -> None:
            self.open(checked(message, context), context, send)

        # grpcio then hands over `send`, and the call outlives this function.
        handle.experimental_non_blocking = True  # type: ignore[attr-defined]
        return grpc.unary_stream_rpc_method_handler(
            in_pool(handle, pool),
            request_deserializer=request.FromString,
            response_serializer=_serialize,
        )

    def admit(self) -> None:
        """Let one more in, or raise."""
        with self._lock:
            if self._closing:
                raise UnavailableError(EXITING)
            if len(self._subscribers) >= MAX_SUBSCRIBERS:
                raise ExhaustedError(f"{MAX_SUBSCRIBERS} calls watch already: close one")

    def open(self, subscription: Subscription, context: grpc.ServicerContext, send: Send) -> None:
        """Take a subscriber that was admitted. It hears what is, first."""
        subscriber = _Subscriber(subscription, context, send)
        with self._lock:
            late = self._closing
            if not late:
                self._subscribers.add(subscriber)
        if late:
            subscriber.end()
            return
        if not context.add_callback(lambda: self._forget(subscriber)):
            self._forget(subscriber)
        self._changed.set()

    @property
    def count(self) -> int:
        return len(self._subscribers)

    def _run(self) -> None:
        busy = False
        while True:
            self._changed.wait(_LOOK_S if busy else None)
            self._changed.clear()
            last = self._closing
            try:
                busy = self.step()
            except Exception:
                # One round's exception never ends the loop.
                log.exception("could not tell who watches", watch=self._name)
            if last:
                return

    def step(self) -> bool:
        """Let the senders have who has something to hear; whether any of them is at work."""
        self._before_round()
        now = self._clock()
        with self._lock:
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            self._look(subscriber)
            if _is_stuck(subscriber, now):
                # Makes the send return; `_forget` follows.
                subscriber.context.cancel()
        return any(subscriber.busy for subscriber in subscribers)

    def _look(self, subscriber: _Subscriber) -> None:
        with self._lock:
            subscriber.look_again = True
            if subscriber.busy:
                return
            subscriber.busy = True
        # Before any sender: most changes concern nobody who watches.
        try:
            work = self._next(subscriber)
        except Exception:
            with self._lock:
                subscriber.busy = False
            raise
        if work is not None:
            self._senders.submit(self._work, subscriber, work)

    def _work(self, subscriber: _Subscriber, work: Callable[[], None] | None) -> None:
        """Send until the subscriber knows what is."""
        while work is not None:
            # From here on and not from its decision: until now it waited for others, not for us.
            subscriber.sending_since = self._clock()
            work()
            try:
                work = self._next(subscriber)
            except Exception:
                log.exception("could not tell who watches", watch=self._name)
                with self._lock:
                    subscriber.busy = False
                return

    def _next(self, subscriber: _Subscriber) -> Callable[[], None] | None:
        """Return what is to be done for a subscriber now; it is let go where that is nothing."""
        while True:
            with self._lock:
                subscriber.sending_since = None
                subscriber.look_again = False
                if subscriber not in self._subscribers:
                    subscriber.busy = False
                    return None
            message = subscriber.subscription.next()
            with self._lock:
                if message is not None:
                    return partial(subscriber.send, message)
                if subscriber.look_again:
                    continue
                if self._closing:
                    # No longer among them: a stream ends once.
                    self._subscribers.discard(subscriber)
                    return subscriber.end
                subscriber.busy = False
                return None

    def _forget(self, subscriber: _Subscriber) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)


def _is_stuck(subscriber: _Subscriber, now: float) -> bool:
    since = subscriber.sending_since
    return since is not None and now - since > _STUCK_S


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _nothing() -> None: ...


def _ended_already(_timeout_s: float) -> None: ...

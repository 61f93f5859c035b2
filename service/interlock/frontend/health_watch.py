"""Tell the subscribers of Health.Watch when what they watch changes.

A subscriber holds no thread. One thread looks at what has changed; a few send, because a
send blocks while a client does not read. What a subscriber has missed does not matter:
it gets the status as it is when it can take it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc
import structlog

from interlock.domain.errors import ExhaustedError, UnavailableError
from interlock.frontend.gate import EXITING
from interlock.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, pool, spawn

log = structlog.get_logger()

Send = Callable[[HealthCheckResponse | None], None]
"""Send a status; `None` ends the stream. May block."""

_Status = HealthCheckResponse.ServingStatus

_MAX_WATCHERS: Final = 4096
_SENDERS: Final = 4
_STUCK_S: Final = 5.0
"""A client that does not take one small message for so long is let go."""
_LOOK_S: Final = 1.0
"""How often to look for stuck sends while any is under way."""


@dataclass(slots=True, eq=False)
class _Watcher:
    """One subscriber. `busy` while a sender has it, or will."""

    service: str
    context: grpc.ServicerContext
    send: Send
    wanted: _Status | None = None
    sent: _Status | None = None
    busy: bool = False
    sending_since: float | None = None

    def end(self) -> None:
        self.context.set_code(grpc.StatusCode.UNAVAILABLE)
        self.context.set_details(EXITING)
        self.send(None)


class HealthWatch:
    """All subscribers. Any thread may open and close; `step` is one round of its own thread."""

    def __init__(
        self,
        *,
        status_of: Callable[[str], _Status],
        subscribe: Callable[[Callable[[], None]], Callable[[], None]],
        clock: Clock,
    ) -> None:
        self._status_of = status_of
        self._subscribe = subscribe
        self._clock = clock
        # Guards the watchers, what they hold, and `_closing`. A leaf.
        self._lock = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._closing = False
        self._changed = threading.Event()
        self._senders = pool("health-watch-send", _SENDERS)
        self._unsubscribe: Callable[[], None] = _nothing
        self._join: Callable[[float], None] = _ended_already

    def start(self, *, on_death: OnDeath | None = None) -> None:
        self._unsubscribe = self._subscribe(self._changed.set)
        self._join = spawn("health-watch", self._run, on_death=on_death).join

    def close(self, timeout_s: float) -> None:
        """Send each subscriber what it has not heard yet and end its stream."""
        self._unsubscribe()
        with self._lock:
            self._closing = True
        self._changed.set()
        self._join(timeout_s)
        self._senders.shutdown(wait=False)

    def admit(self, request: HealthCheckRequest) -> HealthCheckRequest:
        """Let a subscription through, or raise."""
        with self._lock:
            if self._closing:
                raise UnavailableError(EXITING)
            if len(self._watchers) >= _MAX_WATCHERS:
                raise ExhaustedError(f"{_MAX_WATCHERS} calls watch already: close one")
        return request

    def open(self, request: HealthCheckRequest, context: grpc.ServicerContext, send: Send) -> None:
        """Take a subscriber that was admitted. It hears of the status as it is, first."""
        watcher = _Watcher(request.service, context, send)
        with self._lock:
            late = self._closing
            if not late:
                self._watchers.add(watcher)
        if late:
            watcher.end()
            return
        if not context.add_callback(lambda: self._forget(watcher)):
            self._forget(watcher)
        self._changed.set()

    @property
    def count(self) -> int:
        return len(self._watchers)

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
                log.exception("could not tell who watches health")
            if last:
                return

    def step(self) -> bool:
        """Hand what has changed to the senders; whether any of them is at work."""
        statuses: dict[str, _Status] = {}
        now = self._clock()
        with self._lock:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            if watcher.service not in statuses:
                statuses[watcher.service] = self._status_of(watcher.service)
            self._want(watcher, statuses[watcher.service])
            if _is_stuck(watcher, now):
                # Makes the send return; `_forget` follows.
                watcher.context.cancel()
        return any(watcher.busy for watcher in watchers)

    def _want(self, watcher: _Watcher, status: _Status) -> None:
        with self._lock:
            watcher.wanted = status
            nothing_to_do = status == watcher.sent and not self._closing
            if nothing_to_do or watcher.busy:
                return
            watcher.busy = True
        self._senders.submit(self._work, watcher)

    def _work(self, watcher: _Watcher) -> None:
        """Send until the subscriber knows what is."""
        while (send := self._next(watcher)) is not None:
            send()

    def _next(self, watcher: _Watcher) -> Callable[[], None] | None:
        """Return what is to be done for a subscriber now; decided in one step."""
        with self._lock:
            watcher.sending_since = None
            status = watcher.wanted
            if watcher in self._watchers:
                if status is not None and status != watcher.sent:
                    watcher.sent = status
                    watcher.sending_since = self._clock()
                    return partial(watcher.send, HealthCheckResponse(status=status))
                if self._closing:
                    # No longer among them: a stream ends once.
                    self._watchers.discard(watcher)
                    return watcher.end
            watcher.busy = False
            return None

    def _forget(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)


def _is_stuck(watcher: _Watcher, now: float) -> bool:
    since = watcher.sending_since
    return since is not None and now - since > _STUCK_S


def _nothing() -> None: ...


def _ended_already(_timeout_s: float) -> None: ...

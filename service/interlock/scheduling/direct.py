"""Run each request by itself, in the order of arrival, on the first instance that is free.

The scheduler of a model that asks for no other. It has no time limits, no priorities and
no bound of its own: the memory of what waits is bounded where requests are received.
"""

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Protocol

import structlog

from interlock.domain.errors import InternalError, ServiceError, UnavailableError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse, Responder
from interlock.runtime.threads import spawn
from interlock.telemetry.statistics import VersionStatistics

log = structlog.get_logger()

STOPPING = (
    "Server is stopping, scheduler for model has stopped accepting new inference requests"
)


class RunResult(Protocol):
    """What a run came to: one outcome per request, and the moments between its parts."""

    @property
    def outcomes(self) -> Sequence[InferResponse | ServiceError]: ...
    @property
    def compute_start_ns(self) -> int: ...
    @property
    def compute_input_end_ns(self) -> int: ...
    @property
    def compute_output_start_ns(self) -> int: ...
    @property
    def compute_end_ns(self) -> int: ...


class BatchRunner(Protocol):
    """What runs a batch: an instance of a backend, as far as a scheduler sees it."""

    @property
    def name(self) -> str: ...

    def run(self, requests: Sequence[InferRequest]) -> RunResult: ...


class DirectScheduler:
    """One queue per version and one thread per instance, which pulls and replies.

    The queue is a `SimpleQueue`, which is C: a put and a get that need not wait cost
    0.05 µs together, against 0.8 µs for a deque with a condition; a hand-over that wakes
    a thread 11.5 µs against 15.7. An idle thread sleeps in the kernel.

    `hold` is a debugging aid: nothing runs before so many requests wait; then it is off
    for good.
    """

    def __init__(
        self,
        runners: Sequence[BatchRunner],
        statistics: VersionStatistics,
        *,
        hold: int = 0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._statistics = statistics
        self._now_ns = now_ns
        # None ends the thread that takes it.
        self._queue: SimpleQueue[InferRequest | None] = SimpleQueue()
        self._stopped = False
        # Guards `_held`, which is None once the hold is off.
        self._hold_lock = Lock()
        self._hold = hold
        self._held: list[InferRequest] | None = [] if hold > 0 else None
        self._threads = [self._start(runner) for runner in runners]

    @property
    def pending(self) -> int:
        held = self._held
        return self._queue.qsize() + (len(held) if held is not None else 0)

    def enqueue(self, request: InferRequest) -> None:
        request.queued_ns = self._now_ns()
        if self._held is None:
            self._queue.put(request)
        else:
            self._keep(request)
        # Looked at after the put, and set before the queue is emptied for the last time:
        # whichever comes second fails the request.
        if self._stopped:
            self._fail_queued(UnavailableError(STOPPING))

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None:
        if error is not None:
            self._fail_queued(_as_service_error(error()))
        self._release()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._stopped = True
        self._fail_queued(UnavailableError(STOPPING))

    # The debug hold. ---------------------------------------------------------------

    def _keep(self, request: InferRequest) -> None:
        with self._hold_lock:
            held = self._held
            if held is not None and len(held) + 1 < self._hold:
                held.append(request)
                return
        self._release()
        self._queue.put(request)

    def _release(self) -> None:
        with self._hold_lock:
            held, self._held = self._held, None
            for request in held or ():
                self._queue.put(request)

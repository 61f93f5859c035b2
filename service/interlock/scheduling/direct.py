"""Run each request by itself, in the order of arrival, on the first instance that is free.

The scheduler of a model that asks for no other. It has no time limits, no priorities and
no bound of its own: the memory of what waits is bounded where requests are received.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Protocol

import structlog

from interlock.domain.errors import InternalError, ServiceError, UnavailableError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.runtime.threads import Thread, spawn
from interlock.telemetry.statistics import VersionStatistics

log = structlog.get_logger()

STOPPING = "Server is stopping, scheduler for model has stopped accepting new inference requests"


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

    The threads start with the first request: a server of a thousand models, most of which
    nobody asks for, would else be thousands of threads, more than a container may have.

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
        start: Callable[[str, Callable[[], None]], Thread] = spawn,
    ) -> None:
        self._statistics = statistics
        self._start = start
        self._now_ns = now_ns
        # None ends the thread that takes it.
        self._queue: SimpleQueue[InferRequest | None] = SimpleQueue()
        self._stopped = False
        self._runners = tuple(runners)
        # Guards the two below. `_held` is None once the threads run.
        self._start_lock = Lock()
        self._held: list[InferRequest] | None = []
        self._threads: list[Thread] = []
        self._hold = hold

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
            self._refuse_queued(UnavailableError(STOPPING))

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None:
        with self._start_lock:
            held, self._held = self._held or [], None
            failure = self._let_go(held) if held and error is None else None
        if error is not None:
            failure = _service_error(error(), "the scheduler")
            self._refuse_queued(failure)
        self._refuse_all(held, failure)
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._stopped = True
        self._refuse_queued(UnavailableError(STOPPING))

    def _keep(self, request: InferRequest) -> None:
        """Take a request that came before the threads; start them once there are enough."""
        with self._start_lock:
            if self._held is None:  # somebody else was first
                self._queue.put(request)
                return
            self._held.append(request)
            if len(self._held) < self._hold:
                return
            held, self._held = self._held, None
            failure = self._let_go(held)
            if failure is not None:
                self._held = []
        self._refuse_all(held, failure)

    def _let_go(self, held: Sequence[InferRequest]) -> ServiceError | None:
        """Start the threads and queue what was held; return why there is not a single thread.

        As many threads as the system gives will do: they share the queue.
        """
        for runner in self._runners:
            name = f"instance {runner.name}"
            try:
                self._threads.append(self._start(name, partial(self._serve, runner)))
            except RuntimeError as error:
                running = len(self._threads)
                log.error("no thread", wanted=name, running=running, reason=str(error))  # noqa: TRY400 - the text says it all
                if not running:
                    return UnavailableError(f"{name}: {error}")
                break
        for request in held:
            self._queue.put(request)
        return None

    def _refuse_all(self, requests: Sequence[InferRequest], error: ServiceError | None) -> None:
        if error is not None:
            for request in requests:
                self._refuse(request, error)

    def _refuse_queued(self, error: ServiceError) -> None:
        while True:
            try:
                request = self._queue.get_nowait()
            except Empty:
                return
            if request is not None:
                self._refuse(request, error)

    def _refuse(self, request: InferRequest, error: ServiceError) -> None:
        self._statistics.record_failure(self._now_ns() - request.received_ns)
        responder = request.responder
        if responder is not None:
            responder.fail(error)

    def _serve(self, runner: BatchRunner) -> None:
        """Answer requests until told to end; nothing that one of them does ends the thread."""
        take = self._queue.get
        request = take()
        while request is not None:
            try:
                self._answer(runner, request)
            except Exception as error:  # noqa: BLE001 - the edge of a request, logged there
                _give_up(runner, request, error)
            # While the thread waits it must not keep the last request's message alive.
            del request
            request = take()

    def _answer(self, runner: BatchRunner, request: InferRequest) -> None:
        # In this order: see `InferRequest`. A request that has ended has no responder.
        request.running = True
        responder = request.responder
        if responder is None or responder.ended:
            self._statistics.record_failure(self._now_ns() - request.received_ns)
            return
        outcome = self._run(runner, request)
        request.running = False
        if isinstance(outcome, ServiceError):
            responder.fail(outcome)
            # Its traceback names this frame, and so the request: a circle, if it stayed here.
            del outcome
        else:
            responder.send(outcome)

    def _run(self, runner: BatchRunner, request: InferRequest) -> InferResponse | ServiceError:
        """Run one request and count it; the numbers are there before the client's answer is."""
        began = self._now_ns()
        try:
            result = runner.run((request,))
        except Exception as error:  # noqa: BLE001 - the edge of a backend, logged there
            spent = self._now_ns() - began
            self._statistics.record_execution(request.batch_size or 1, 0, spent, 0)
            self._statistics.record_failure(began + spent - request.received_ns)
            return _service_error(error, f"instance '{runner.name}'", request)
        outcome = result.outcomes[0]
        start, output_start = result.compute_start_ns, result.compute_output_start_ns
        input_ns = result.compute_input_end_ns - start
        infer_ns = output_start - result.compute_input_end_ns
        output_ns = result.compute_end_ns - output_start
        statistics = self._statistics
        statistics.record_execution(request.batch_size or 1, input_ns, infer_ns, output_ns)
        elapsed = self._now_ns() - request.received_ns
        if isinstance(outcome, ServiceError):
            statistics.record_failure(elapsed)
        else:
            statistics.record_success(
                batch_size=request.batch_size,
                request_ns=elapsed,
                queue_ns=start - request.queued_ns,
                input_ns=input_ns,
                infer_ns=infer_ns,
                output_ns=output_ns,
            )
        return outcome


def _service_error(
    error: Exception, source: str, request: InferRequest | None = None
) -> ServiceError:
    """Return what the client is told; what nobody raised on purpose is logged here, once."""
    if isinstance(error, ServiceError):
        return error
    whose = {}
    if request is not None:
        whose = {
            "id": request.id,
            "model": request.model_name,
            "version": request.model_version,
        }
    log.error("unexpected exception", source=source, exc_info=error, **whose)
    return InternalError(f"{source} failed: {type(error).__name__}: {error}")


def _give_up(runner: BatchRunner, request: InferRequest, error: Exception) -> None:
    """End a request whose answer could not be sent as it should have been."""
    reason = _service_error(error, f"the reply of instance '{runner.name}'", request)
    responder = request.responder
    if responder is not None:
        # A responder that fails at this as well has been reported above.
        with contextlib.suppress(Exception):
            responder.fail(reason)

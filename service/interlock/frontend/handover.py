"""Hold requests back until the thread that takes them in has nothing else to do.

To put a request into a queue wakes an instance's thread, and from then on the two threads
fight for the interpreter at every call into gRPC. Measured with 32 requests of 64 bytes
under way, CPU per request against a bare echo: 0.44 with this, 0.56 without.
"""

import structlog

from interlock.domain.errors import InternalError
from interlock.domain.request import InferRequest
from interlock.scheduling.base import Scheduler

log = structlog.get_logger()


class Handover:
    """Requests that passed admission, in order. The thread that takes them in alone uses it."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: list[tuple[Scheduler, InferRequest]] = []

    def __len__(self) -> int:
        return len(self._taken)

    def add(self, scheduler: Scheduler, request: InferRequest) -> None:
        self._taken.append((scheduler, request))

    def settle(self) -> None:
        """Enqueue all of them, in order."""
        taken, self._taken = self._taken, []
        for scheduler, request in taken:
            try:
                scheduler.enqueue(request)
            except Exception as error:
                # One request's exception is no reason to lose the others, nor the thread.
                log.exception("a request could not be enqueued")
                if request.responder is not None:
                    request.responder.fail(InternalError(f"internal error: {type(error).__name__}"))

"""The contract of a scheduler, and what it needs of a backend."""

from collections.abc import Callable
from typing import Protocol

from interlock.domain.errors import ServiceError
from interlock.domain.request import InferRequest


class Scheduler(Protocol):
    """Decides when a request runs, and with which others. Any thread may enqueue."""

    def enqueue(self, request: InferRequest) -> None:
        """Take a request that passed admission; ends it through its responder, whatever happens.

        Never blocks and never runs a model: the polling thread calls this.
        """
        ...

    @property
    def pending(self) -> int:
        """How many requests wait for an instance."""
        ...

    def refuse(self, error: ServiceError) -> None:
        """Fail what waits, and whatever still comes; what runs goes on. Never blocks."""
        ...

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None:
        """Let what is queued finish, then end every instance's thread and wait for that.

        Called once, when no lease is left; with `error`, what is still queued is failed.
        """
        ...

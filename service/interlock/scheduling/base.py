"""The contract of a scheduler, and what it needs of a backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from interlock.domain.errors import ServiceError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse


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


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Other runners, ready to take over. One of the two is called, once.

    `apply` must not overlap `stop`. It neither blocks nor fails: requests that run finish
    where they run, those that wait go to the new runners. `discard` leaves all as it is.
    """

    apply: Callable[[], None]
    discard: Callable[[], None]


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

    def prepare(
        self, runners: Sequence[BatchRunner], retired: Callable[[BatchRunner], None]
    ) -> TakeOver:
        """Get ready to run on these instead; those that run now may be among them.

        One prepared at a time. Each runner that then goes is handed to `retired` once it
        has run its last request, in its own thread. Raise UnavailableError
        where there are no threads.
        """
        ...

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None:
        """Let what is queued finish, then end every instance's thread and wait for that.

        Called once, when no lease is left; with `error`, what is still queued is failed.
        """
        ...

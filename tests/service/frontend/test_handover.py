from collections.abc import Callable, Sequence

from structlog.testing import capture_logs

from interlock.domain.errors import InternalError, ServiceError
from interlock.domain.request import InferRequest
from interlock.frontend.handover import Handover
from interlock.scheduling.base import BatchRunner, TakeOver
from tests.support.running import answer, request


class Taking:
    """A scheduler that keeps the ids of what it gets, and breaks at one of them."""

    pending = 0

    def __init__(self, breaks_at: str = "") -> None:
        self.taken: list[str] = []
        self._breaks_at = breaks_at

    def enqueue(self, request: InferRequest) -> None:
        if request.id == self._breaks_at:
            raise RuntimeError("a bug")
        self.taken.append(request.id)

    def refuse(self, error: ServiceError) -> None: ...

    def prepare(
        self, runners: Sequence[BatchRunner], retired: Callable[[BatchRunner], None]
    ) -> TakeOver:
        raise AssertionError("nothing is changed here")

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None: ...


def test_what_was_held_back_goes_on_in_order_and_once() -> None:
    scheduler, handover = Taking(), Handover()
    for name in "abc":
        handover.add(scheduler, request(name=name))
    assert scheduler.taken == []

    handover.settle()
    handover.settle()

    assert scheduler.taken == ["a", "b", "c"]
    assert len(handover) == 0


def test_one_that_cannot_be_enqueued_fails_alone() -> None:
    """The polling thread calls this: what escapes here would end the server."""
    scheduler, handover = Taking(breaks_at="b"), Handover()
    requests = [request(name=name) for name in "abc"]
    for one in requests:
        handover.add(scheduler, one)

    with capture_logs() as logs:
        handover.settle()

    assert scheduler.taken == ["a", "c"]
    assert isinstance(answer(requests[1]), InternalError)
    assert [line["event"] for line in logs] == ["a request could not be enqueued"]

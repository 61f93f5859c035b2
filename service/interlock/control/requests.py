"""Loads by name in poll mode: what somebody asked to be looked at now, until it is told.

Any thread asks; all the rest is the poller's own thread's. A request waits until the
versions of its model have come to rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from interlock.control import answers
from interlock.control.wishes import pass_on
from interlock.domain.errors import NotFoundError, ServiceError, UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.stager import StagedVersion
from interlock.repository.staging import Incomplete, Leaving, Settling, Staging, Unverified


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One load by name; with `force` also of what serves already."""

    model: ModelName
    force: bool = False
    outcome: "Future[None]" = field(default_factory=Future)


class Requests:
    """The loads by name that have not been told how they ended."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[Request] = SimpleQueue()
        # The poller's own thread's.
        self._waiting: dict[ModelName, list[Request]] = {}

    def add(self, request: Request) -> None:
        self._arrived.put(request)

    def at_rest(self, staging: Mapping[StagedVersion, Staging]) -> set[ModelName]:
        """Return the models that have been asked for and are not on their way to be complete."""
        self._take_in()
        moving = {key.model for key, one in staging.items() if isinstance(one, _MOVING)}
        return self._waiting.keys() - moving

    def begun(self, model: ModelName) -> Sequence[Request]:
        """Return the requests for a model, each once: its load begins."""
        return self._waiting.pop(model, [])

    def refuse_rest(self, models: set[ModelName], staging: Mapping[StagedVersion, Staging]) -> None:
        """Answer for these models, of which there is nothing that could be loaded."""
        for model in models & self._waiting.keys():
            error = answers.failed_to_poll(model, why_nothing(model, staging))
            for request in self.begun(model):
                request.outcome.set_exception(error)

    def send_away(self, error: ServiceError) -> None:
        """Answer everybody, at the end."""
        self._take_in()
        for model in tuple(self._waiting):
            for request in self.begun(model):
                request.outcome.set_exception(error)

    def _take_in(self) -> None:
        for request in self._taken():
            self._waiting.setdefault(request.model, []).append(request)

    def _taken(self) -> Iterator[Request]:
        with suppress(Empty):
            while True:
                yield self._arrived.get_nowait()


_MOVING = (Settling, Unverified, Leaving)


def why_nothing(model: ModelName, staging: Mapping[StagedVersion, Staging]) -> ServiceError:
    """Return why there is nothing of a model that could be loaded."""
    lacking = [
        f"version {key.version} is incomplete: {one.progress}"
        for key, one in sorted(staging.items(), key=lambda item: item[0].version)
        if key.model == model and isinstance(one, Incomplete)
    ]
    if lacking:
        return UnavailableError("; ".join(lacking))
    return NotFoundError("model not found in any model repository, or it has no version")


def tell(requests: Sequence[Request], outcome: "Future[None]") -> None:
    """Tell the requests how their load ended, once it has."""
    for request in requests:
        outcome.add_done_callback(partial(pass_on, request.outcome))

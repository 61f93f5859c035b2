"""Loads by name in poll mode: what somebody asked to be looked at now, until it is told.

Any thread asks, or withdraws what was asked for; all the rest is the poller's own thread's.
A request waits until the versions of its model have come to rest.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from interlock.control import answers
from interlock.control.wishes import pass_on
from interlock.domain.cause import A_LOAD, Cause
from interlock.domain.errors import NotFoundError, ServiceError, UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.stager import StagedVersion
from interlock.repository.staging import Incomplete, Leaving, Settling, Staging, Unverified


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One load by name; with `force` also of what serves already."""

    model: ModelName
    force: bool = False
    cause: Cause = A_LOAD
    outcome: "Future[None]" = field(default_factory=Future)


class Requests:
    """The loads by name that have not begun."""

    def __init__(self) -> None:
        # Guards the one below, and is held while a load begins.
        self._lock = threading.Lock()
        self._waiting: dict[ModelName, list[Request]] = {}

    def add(self, request: Request) -> None:
        """Take in a request. Any thread."""
        with self._lock:
            self._waiting.setdefault(request.model, []).append(request)

    def withdraw(self, model: ModelName) -> None:
        """Send away who waits for a model: somebody wants something else of it. Any thread."""
        self._answer(model, answers.load_overtaken(model))

    def at_rest(self, staging: Mapping[StagedVersion, Staging]) -> dict[ModelName, list[Request]]:
        """Return what has been asked for of models that are not on their way to be complete."""
        moving = {key.model for key, one in staging.items() if isinstance(one, _MOVING)}
        with self._lock:
            return {
                model: list(requests)
                for model, requests in self._waiting.items()
                if model not in moving
            }

    @contextmanager
    def begin(self, model: ModelName, requests: Collection[Request]) -> Iterator[list[Request]]:
        """Yield which of these have not been withdrawn, and cannot be any more: they begin.

        For as long as it takes to hand their load over: what comes after it, overtakes it.
        """
        with self._lock:
            waiting = self._waiting.pop(model, [])
            if later := [one for one in waiting if one not in requests]:
                self._waiting[model] = later
            yield [one for one in waiting if one in requests]

    def refuse_rest(
        self,
        asked: Mapping[ModelName, Collection[Request]],
        staging: Mapping[StagedVersion, Staging],
    ) -> None:
        """Answer those of these that wait still: there is nothing that could be loaded."""
        for model, requests in asked.items():
            with self.begin(model, requests) as left:
                pass
            for request in left:
                error = answers.failed_to_poll(model, why_nothing(model, staging))
                request.outcome.set_exception(error)

    def send_away(self, error: ServiceError) -> None:
        """Answer everybody, at the end."""
        with self._lock:
            models = tuple(self._waiting)
        for model in models:
            self._answer(model, error)

    def _answer(self, model: ModelName, error: ServiceError) -> None:
        with self._lock:
            requests = self._waiting.pop(model, [])
        for request in requests:
            request.outcome.set_exception(error)


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

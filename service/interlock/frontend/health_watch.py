"""Tell the subscribers of Health.Watch when what they watch changes.

What one has missed does not matter: it gets the status as it is when it can take it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from interlock.frontend.subscribers import Subscribers
from interlock.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.runtime.clock import Clock

_Status = HealthCheckResponse.ServingStatus


class HealthWatch(Subscribers):
    """All that watch the health of something."""

    def __init__(
        self,
        *,
        status_of: Callable[[str], _Status],
        subscribe: Callable[[Callable[[], None]], Callable[[], None]],
        clock: Clock,
    ) -> None:
        super().__init__(
            "health-watch", subscribe=subscribe, clock=clock, before_round=self._forget_statuses
        )
        self._status_of = status_of
        # By name, for one round: strict readiness looks at every model.
        self._statuses: dict[str, _Status] = {}

    def begin(self, request: HealthCheckRequest) -> "_HealthSubscription":
        return _HealthSubscription(request.service, self._status_in_this_round)

    def _forget_statuses(self) -> None:
        # Another dictionary: a sender may be about to write what it found into the old one.
        self._statuses = {}

    def _status_in_this_round(self, name: str) -> _Status:
        statuses = self._statuses
        if name not in statuses:
            statuses[name] = self._status_of(name)
        return statuses[name]


@dataclass(slots=True)
class _HealthSubscription:
    """The status of one name, told when it is not what was told last."""

    name: str
    status_of: Callable[[str], _Status]
    told: _Status | None = None

    def next(self) -> HealthCheckResponse | None:
        status = self.status_of(self.name)
        if status == self.told:
            return None
        self.told = status
        return HealthCheckResponse(status=status)

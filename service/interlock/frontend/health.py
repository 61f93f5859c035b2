"""Say how the server and each of its models fare: grpc.health.v1.

Names: "" and inference.GRPCInferenceService are the server, model/<name> a model with any
version READY, model/<name>/<version> one version. interlock.repository is NOT_SERVING while
a model repository cannot be listed; what serves goes on. Watch lives in `health_watch`.
"""

from typing import Final

from interlock.domain.errors import ExhaustedError, NotFoundError
from interlock.domain.readiness import ServerPhase
from interlock.frontend.health_watch import HealthWatch
from interlock.frontend.pools import Pools
from interlock.frontend.ports import ServerState
from interlock.frontend.rpc import Guard, Service
from interlock.frontend.transport import SERVICE
from interlock.pb.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)
from interlock.serving.table import ModelEntry, ServingTable

HEALTH_SERVICE: Final = "grpc.health.v1.Health"

REPOSITORY: Final = "interlock.repository"

_SERVER_NAMES: Final = ("", SERVICE)
_MODEL_PREFIX: Final = "model/"
_MAX_LISTED: Final = 100
"""The protocol lets a server refuse to list too many; this is what other servers allow."""

_Status = HealthCheckResponse.ServingStatus


def is_ready(state: ServerState) -> bool:
    """Whether a load balancer should send requests here."""
    return state.phase is ServerPhase.SERVING and state.ready()


class Health:
    """What the health service says of each name. Any thread may ask; nothing blocks."""

    def __init__(self, *, table: ServingTable, state: ServerState) -> None:
        self._table = table
        self._state = state

    def status_of(self, name: str) -> _Status:
        """Return the status of one name, SERVICE_UNKNOWN where there is no such thing."""
        if name in _SERVER_NAMES:
            return _status(serving=is_ready(self._state))
        if name == REPOSITORY:
            return _status(serving=self._state.repositories_listed() and self._stays)
        model, slash, version = name.removeprefix(_MODEL_PREFIX).partition("/")
        entry = self._table.entries.get(model)
        if entry is None or not name.startswith(_MODEL_PREFIX):
            return _Status.SERVICE_UNKNOWN
        return self._version(entry, version) if slash else self._model(entry)

    def check(self, request: HealthCheckRequest) -> HealthCheckResponse:
        status = self.status_of(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            raise NotFoundError(f"unknown service '{request.service}'")
        return HealthCheckResponse(status=status)

    def list_all(self, _request: HealthListRequest) -> HealthListResponse:
        names = self._names()
        if len(names) > _MAX_LISTED:
            raise ExhaustedError(
                f"there are {len(names)} services, more than the {_MAX_LISTED} that can be listed: "
                "check them one by one"
            )
        return HealthListResponse(
            statuses={name: HealthCheckResponse(status=self.status_of(name)) for name in names}
        )

    def _names(self) -> list[str]:
        names = [*_SERVER_NAMES, REPOSITORY]
        for model, entry in self._table.entries.items():
            names.append(f"{_MODEL_PREFIX}{model}")
            known = entry.known.union(entry.ready)
            names.extend(f"{_MODEL_PREFIX}{model}/{version}" for version in sorted(known))
        return names

    def _model(self, entry: ModelEntry) -> _Status:
        return _status(serving=bool(entry.ready) and self._stays)

    def _version(self, entry: ModelEntry, text: str) -> _Status:
        known = entry.known.union(entry.ready)
        # As it is written, without the freedom that a request's version has: one name each.
        version = next((version for version in known if str(version) == text), None)
        if version is None:
            return _Status.SERVICE_UNKNOWN
        return _status(serving=version in entry.ready and self._stays)

    @property
    def _stays(self) -> bool:
        """Whether the server is not about to go: while it is, nothing is worth coming for."""
        return self._state.phase is not ServerPhase.DRAINING


def _status(*, serving: bool) -> _Status:
    return _Status.SERVING if serving else _Status.NOT_SERVING


def health_service(health: Health, watch: HealthWatch, guard: Guard, pools: Pools) -> Service:
    """Return the handlers of Check, List and Watch."""
    return Service(
        HEALTH_SERVICE,
        {
            "Check": guard.unary(
                health.check, request=HealthCheckRequest, category="health", pool=pools.quick
            ),
            "List": guard.unary(
                health.list_all, request=HealthListRequest, category="health", pool=pools.quick
            ),
            "Watch": watch.handler(
                guard,
                watch.begin,
                request=HealthCheckRequest,
                category="health",
                pool=pools.quick,
            ),
        },
    )

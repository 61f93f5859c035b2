"""Answer the RPCs of interlock.v1.Control: decode, call, encode."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from interlock.domain.cause import Actor, Deed
from interlock.domain.errors import InvalidRequestError, NotFoundError
from interlock.domain.transition import Transition, VersionState
from interlock.frontend.auditing import Asked
from interlock.frontend.control_codec import (
    encode_description,
    encode_move,
    encode_plan,
    encode_snapshot,
    encode_staging,
)
from interlock.frontend.gate import Category, Gate
from interlock.frontend.pools import Pools
from interlock.frontend.ports import ModelControl, ModelInspection
from interlock.frontend.rpc import Guard, Service
from interlock.frontend.subscribers import Subscribers
from interlock.pb import control_pb2 as pb
from interlock.runtime.clock import Clock
from interlock.serving.table import LATEST, parse_version

CONTROL_SERVICE: Final = "interlock.v1.Control"

_CATEGORY: Final[Category] = "model-repository"


class ControlServicer:
    """One short method per RPC, any thread; `describe`, `plan`, `retry`, `rollback` block.

    `watches` are the streams. `zero` is the time of day from which the moments of the models'
    moves count.
    """

    def __init__(
        self,
        *,
        inspection: ModelInspection,
        control: ModelControl,
        gate: Gate,
        subscribe: Callable[[Callable[[], None]], Callable[[], None]],
        clock: Clock,
        zero: datetime,
    ) -> None:
        self._inspection = inspection
        self._control = control
        self._gate = gate
        self._zero = zero
        self._clock = clock
        self.watches = Subscribers("control-watch", subscribe=subscribe, clock=clock)

    def watch(self, request: pb.WatchRequest) -> "ModelSubscription":
        return ModelSubscription(request.model, self._inspection, self._zero, self._clock)

    def history(self, request: pb.HistoryRequest) -> pb.HistoryResponse:
        wanted = parse_version(request.version)
        try:
            stories = self._inspection.history(request.model)
        except NotFoundError:
            self._gate.check_started()
            raise
        moves = [
            move
            for version, story in stories.items()
            for move in story
            if wanted in {LATEST, version}
        ]
        # Stable: moves of one moment stay in their versions' order.
        moves.sort(key=lambda move: move.moment)
        return pb.HistoryResponse(transitions=[encode_move(move, self._zero) for move in moves])

    def describe(self, request: pb.DescribeRequest) -> pb.DescribeResponse:
        try:
            description = self._inspection.describe(request.model)
        except NotFoundError:
            self._gate.check_started()
            raise
        return encode_description(description, self._zero)

    def plan(self, request: pb.PlanRequest) -> pb.PlanResponse:
        self._gate.check_started()
        return encode_plan(self._inspection.plan(request.model))

    def rollback(self, request: pb.RollbackRequest, who: Actor) -> pb.RollbackResponse:
        self._gate.check_started()
        version = parse_version(request.version)
        if request.release:
            if version != LATEST:
                raise InvalidRequestError(
                    "a release ends the hold on the whole model and takes no version"
                )
            self._control.release(request.model, who)
            return pb.RollbackResponse()
        done = self._control.roll_back(request.model, None if version == LATEST else version, who)
        return pb.RollbackResponse(
            versions=map(str, done.versions), was_warm=done.was_warm, hold=done.hold
        )

    def retry(self, request: pb.RetryRequest, who: Actor) -> pb.RetryResponse:
        self._gate.check_started()
        version = parse_version(request.version)
        self._control.retry(request.model, None if version == LATEST else version, who)
        return pb.RetryResponse()

    def service(self, guard: Guard, pools: Pools) -> Service:
        ask = partial(guard.unary, category=_CATEGORY)
        change = partial(guard.changing, category=_CATEGORY, pool=pools.repository)
        return Service(
            CONTROL_SERVICE,
            {
                "Watch": self.watches.handler(
                    guard,
                    self.watch,
                    request=pb.WatchRequest,
                    category=_CATEGORY,
                    pool=pools.quick,
                    asked=lambda request: Asked("watch", request.model),
                ),
                "History": ask(
                    self.history,
                    request=pb.HistoryRequest,
                    pool=pools.quick,
                    asked=lambda request: Asked("history", request.model),
                ),
                "Describe": ask(
                    self.describe,
                    request=pb.DescribeRequest,
                    pool=pools.inspection,
                    asked=lambda request: Asked("describe", request.model),
                ),
                "Plan": ask(
                    self.plan,
                    request=pb.PlanRequest,
                    pool=pools.inspection,
                    asked=lambda request: Asked("plan", request.model),
                ),
                "Retry": change(self.retry, request=pb.RetryRequest, asked=_asked_to_retry),
                "Rollback": change(
                    self.rollback, request=pb.RollbackRequest, asked=_asked_to_roll_back
                ),
            },
        )


def _asked_to_retry(request: pb.RetryRequest) -> Asked:
    return Asked(Deed.RETRY.value, request.model, _named(request.version))


def _asked_to_roll_back(request: pb.RollbackRequest) -> Asked:
    deed = Deed.RELEASE if request.release else Deed.ROLLBACK
    return Asked(deed.value, request.model, _named(request.version))


def _named(text: str) -> int | None:
    """Return the version that a request names, if it does."""
    try:
        version = parse_version(text)
    except InvalidRequestError:
        return None
    return None if version == LATEST else version


@dataclass(slots=True)
class ModelSubscription:
    """All moves of one model, or of all models, behind a snapshot.

    Holds at most as many moves as the server keeps. Who is further behind gets another
    snapshot.
    """

    model: str
    inspection: ModelInspection
    zero: datetime
    clock: Clock
    _position: int | None = None
    _untold: deque[Transition] = field(default_factory=deque)
    _arriving: Sequence[VersionState] = ()
    _staging: deque[VersionState] = field(default_factory=deque)

    def next(self) -> pb.WatchResponse | None:
        if not self._untold:
            news = self.inspection.news(self._position)
            self._position = news.position
            if news.snapshot is not None:
                self._arriving = self.inspection.staging()
                self._staging.clear()
                known = (*news.snapshot, *self._arriving)
                states = (state for state in known if self._concerns(state.key.model))
                return encode_snapshot(states, self.zero)
            self._look_at_staging()
            self._untold.extend(move for move in news.moves if self._concerns(move.key.model))
        if self._staging:
            return encode_staging(self._staging.popleft(), self.zero)
        if not self._untold:
            return None
        return pb.WatchResponse(transition=encode_move(self._untold.popleft(), self.zero))

    def _look_at_staging(self) -> None:
        """Note what arrives differently from before, and what does no longer."""
        arriving, before = self.inspection.staging(), self._arriving
        if arriving is before:
            return
        self._arriving = arriving
        now = {state.key for state in arriving}
        moment = self.clock()
        over = [replace(state, reason="", since=moment) for state in before if state.key not in now]
        news = [*(state for state in arriving if state not in before), *over]
        self._staging.extend(state for state in news if self._concerns(state.key.model))

    def _concerns(self, model: str) -> bool:
        return self.model in {"", model}

"""Answer the RPCs of interlock.v1.Control: decode, call, encode."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from interlock.domain.errors import NotFoundError
from interlock.domain.transition import Transition
from interlock.frontend.control_codec import (
    encode_description,
    encode_move,
    encode_snapshot,
    encode_step,
)
from interlock.frontend.gate import Category, Gate
from interlock.frontend.pools import Pools
from interlock.frontend.ports import ModelInspection
from interlock.frontend.rpc import Guard, Service
from interlock.frontend.subscribers import Subscribers
from interlock.pb import control_pb2 as pb
from interlock.runtime.clock import Clock
from interlock.serving.table import LATEST, parse_version

CONTROL_SERVICE: Final = "interlock.v1.Control"

_CATEGORY: Final[Category] = "model-repository"


class ControlServicer:
    """One short method per RPC, any thread; only `describe` and `plan` block.

    `watches` are the streams. `zero` is the time of day from which the moments of the models'
    moves count.
    """

    def __init__(
        self,
        *,
        inspection: ModelInspection,
        gate: Gate,
        subscribe: Callable[[Callable[[], None]], Callable[[], None]],
        clock: Clock,
        zero: datetime,
    ) -> None:
        self._inspection = inspection
        self._gate = gate
        self._zero = zero
        self.watches = Subscribers("control-watch", subscribe=subscribe, clock=clock)

    def watch(self, request: pb.WatchRequest) -> "ModelSubscription":
        return ModelSubscription(request.model, self._inspection, self._zero)

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
        return pb.PlanResponse(steps=map(encode_step, self._inspection.plan(request.model)))

    def service(self, guard: Guard, pools: Pools) -> Service:
        return Service(
            CONTROL_SERVICE,
            {
                "Watch": self.watches.handler(
                    guard,
                    self.watch,
                    request=pb.WatchRequest,
                    category=_CATEGORY,
                    pool=pools.quick,
                ),
                "History": guard.unary(
                    self.history,
                    request=pb.HistoryRequest,
                    category=_CATEGORY,
                    pool=pools.quick,
                ),
                "Describe": guard.unary(
                    self.describe,
                    request=pb.DescribeRequest,
                    category=_CATEGORY,
                    pool=pools.inspection,
                ),
                "Plan": guard.unary(
                    self.plan,
                    request=pb.PlanRequest,
                    category=_CATEGORY,
                    pool=pools.inspection,
                ),
            },
        )


@dataclass(slots=True)
class ModelSubscription:
    """All moves of one model, or of all models, behind a snapshot.

    Holds at most as many moves as the server keeps. Who is further behind gets another
    snapshot.
    """

    model: str
    inspection: ModelInspection
    zero: datetime
    _position: int | None = None
    _untold: deque[Transition] = field(default_factory=deque)

    def next(self) -> pb.WatchResponse | None:
        if not self._untold:
            news = self.inspection.news(self._position)
            self._position = news.position
            if news.snapshot is not None:
                states = (state for state in news.snapshot if self._concerns(state.key.model))
                return encode_snapshot(states, self.zero)
            self._untold.extend(move for move in news.moves if self._concerns(move.key.model))
        if not self._untold:
            return None
        return pb.WatchResponse(transition=encode_move(self._untold.popleft(), self.zero))

    def _concerns(self, model: str) -> bool:
        return self.model in {"", model}

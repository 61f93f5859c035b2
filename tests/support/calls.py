"""A call without a network, an intake without models, and a version without a backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import grpc

from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.errors import ServiceError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.readiness import ServerPhase
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.frontend.intake import Exchange
from interlock.frontend.transport import Metadata
from interlock.scheduling.base import BatchRunner, TakeOver
from interlock.serving.served_model import ServedModel
from interlock.telemetry.statistics import VersionStatistics


@dataclass
class FakeCall:
    """An IncomingCall that remembers what it was asked."""

    metadata: Metadata = ()
    peer: str = "ipv4:127.0.0.1:1"
    receives: int = 0
    sent: list[bytes] = field(default_factory=list)
    ending: tuple[grpc.StatusCode, str, bytes | None] | None = None
    on_send: Callable[[], None] = lambda: None

    def receive(self) -> None:
        self.receives += 1

    def send(self, message: bytes) -> bool:
        self.sent.append(message)
        self.on_send()
        return self.ending is None

    def finish(self, code: grpc.StatusCode, details: str, message: bytes | None = None) -> bool:
        if self.ending is not None:
            return False
        self.ending = (code, details, message)
        return True


@dataclass
class FakeIntake:
    """Keeps what it takes; `lease` makes it bind each exchange to a version first."""

    served: ServedModel | None = None
    finish_taking: bool = True
    exchanges: list[Exchange] = field(default_factory=list)

    def take(self, message: bytes, exchange: Exchange) -> None:
        exchange.request = InferRequest(model_name="m", id=message.decode())
        self.exchanges.append(exchange)
        if self.served is not None:
            assert self.served.leases.take()
            assert exchange.bind(self.served)
        if self.finish_taking:
            exchange.taken()


@dataclass
class FakeState:
    """A server in whatever state the test wants."""

    phase: ServerPhase = ServerPhase.SERVING
    accepting: bool = True

    def live(self) -> bool:
        return True

    def repositories_listed(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.phase is ServerPhase.SERVING

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        return listener


class NoScheduler:
    """The scheduler of a version that nobody runs."""

    pending = 0

    def enqueue(self, request: InferRequest) -> None:
        raise AssertionError(f"nothing runs here, not even {request.id}")

    def refuse(self, error: ServiceError) -> None: ...

    def prepare(
        self, runners: Sequence[BatchRunner], retired: Callable[[BatchRunner], None]
    ) -> TakeOver:
        raise AssertionError("nothing is changed here")

    def stop(self, *, error: Callable[[], Exception] | None = None) -> None: ...


def served_model(name: str = "m") -> ServedModel:
    config = ModelConfig(
        name=name,
        inputs=(TensorConfig("x", "FP32", (-1,)),),
        outputs=(TensorConfig("y", "FP32", (-1,)),),
    )
    return ServedModel(
        key=GenerationKey(ModelName(name), Version(1), Generation(1)),
        config=config,
        rules=RequestRules.of(config),
        scheduler=NoScheduler(),
        statistics=VersionStatistics(),
    )

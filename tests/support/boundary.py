"""A real grpcio server with fakes behind it, and certificates to reach it with."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock.domain.cause import Actor
from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.description import LoadPlan, ModelDescription, RolledBack
from interlock.domain.errors import NotFoundError, ServiceError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.readiness import IndexEntry, Readiness, ServerPhase
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.transition import News, Transition, VersionState
from interlock.frontend.auditing import CallAudit, Recorder
from interlock.frontend.control_servicer import ControlServicer
from interlock.frontend.gate import Gate
from interlock.frontend.health import Health
from interlock.frontend.health_watch import HealthWatch
from interlock.frontend.pools import Pools
from interlock.frontend.ports import LoadParameter
from interlock.frontend.rpc import Guard
from interlock.frontend.server import GrpcServer
from interlock.frontend.servicer import Servicer
from interlock.pb import model_config_pb2
from interlock.runtime.clock import Clock, monotonic
from interlock.scheduling.base import BatchRunner, TakeOver
from interlock.serving.served_model import ServedModel
from interlock.serving.table import ModelEntry, ServingTable
from interlock.settings import GrpcSettings, LogSettings
from interlock.telemetry.logs import LogState
from interlock.telemetry.statistics import VersionStatistics

TIMEOUT_S = 20.0
VERSION = "9.8.7"
DAY_ZERO = datetime(2030, 1, 1, tzinfo=UTC)


class FakeServerState:
    """A server in whatever state the test wants; `change` tells who listens."""

    def __init__(self) -> None:
        self.phase = ServerPhase.SERVING
        self.accepting = True
        self.models_ready = True
        self.is_live = True
        self.are_listed = True
        self.listeners: list[Callable[[], None]] = []

    def live(self) -> bool:
        return self.is_live

    def ready(self) -> bool:
        return self.models_ready

    def repositories_listed(self) -> bool:
        return self.are_listed

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def change(
        self,
        *,
        phase: ServerPhase = ServerPhase.SERVING,
        accepting: bool = True,
        models_ready: bool = True,
    ) -> None:
        self.phase = phase
        self.accepting = accepting
        self.models_ready = models_ready
        self.tell()

    def tell(self) -> None:
        for listener in tuple(self.listeners):
            listener()


@dataclass
class FakeControl:
    """Remembers what it was asked; fails with `error`, and holds loads until `go` is set."""

    entries: tuple[IndexEntry, ...] = ()
    error: Exception | None = None
    freed_bytes: int | None = None
    held_against: tuple[str, ...] = ()
    asked: list[tuple[str, str, Mapping[str, LoadParameter]]] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.go.set()

    def load(self, model: str, parameters: Mapping[str, LoadParameter], who: Actor) -> None:
        self._ask("load", model, parameters, who)

    def remarks(self, model: str) -> Sequence[str]:
        return self.held_against

    def unload(self, model: str, parameters: Mapping[str, LoadParameter], who: Actor) -> int | None:
        self._ask("unload", model, parameters, who)
        return self.freed_bytes

    def roll_back(self, model: str, version: int | None, who: Actor) -> RolledBack:
        self._ask("roll back", model, {"version": version}, who)
        return RolledBack((Version(version or 1),), was_warm=True, hold="held")

    def release(self, model: str, who: Actor) -> None:
        self._ask("release", model, {}, who)

    def retry(self, model: str, version: int | None, who: Actor) -> None:
        self._ask("retry", model, {} if version is None else {"version": version}, who)

    def index(self, *, ready_only: bool) -> Sequence[IndexEntry]:
        return [entry for entry in self.entries if not ready_only or entry.state is Readiness.READY]

    def _ask(
        self, verb: str, model: str, parameters: Mapping[str, LoadParameter], who: Actor
    ) -> None:
        self.asked.append((verb, model, parameters))
        self.actors.append(who)
        self.entered.release()
        assert self.go.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error


class FakeInspection:
    """Tells what a test has put here; `became` is what the manager does."""

    def __init__(self) -> None:
        self.kept = 4096
        self.states: dict[GenerationKey, VersionState] = {}
        self.moves: list[Transition] = []
        self.arriving: Sequence[VersionState] = ()
        self.plans: dict[str, LoadPlan] = {}
        self.described: dict[str, ModelDescription] = {}
        self.digests: dict[GenerationKey, str] = {}

    def became(self, move: Transition) -> None:
        self.states[move.key] = VersionState(
            move.key, move.after, Readiness.READY, move.reason, move.moment
        )
        self.moves.append(move)

    def news(self, position: int | None) -> News:
        now = len(self.moves)
        if position is None or now - position > self.kept:
            return News(now, snapshot=tuple(self.states.values()))
        return News(now, moves=tuple(self.moves[position:]))

    def staging(self) -> Sequence[VersionState]:
        return self.arriving

    def history(self, model: str) -> Mapping[Version, Sequence[Transition]]:
        stories: dict[Version, list[Transition]] = {}
        for move in self.moves:
            if move.key.model == model:
                stories.setdefault(move.key.version, []).append(move)
        if not stories:
            raise NotFoundError(f"no '{model}'")
        return stories

    def describe(self, model: str) -> ModelDescription:
        if model not in self.described:
            raise NotFoundError(f"no '{model}'")
        return self.described[model]

    def digest_of(self, key: GenerationKey) -> str:
        return self.digests.get(key, "")

    def plan(self, model: str) -> LoadPlan:
        return self.plans[model]


class IdleScheduler:
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


def loaded(name: str, version: int = 1, *, max_batch_size: int = 0) -> ServedModel:
    """A version that is loaded, with one input and one output."""
    message = model_config_pb2.ModelConfig(name=name, backend="identity")
    config = ModelConfig(
        name=name,
        backend="identity",
        max_batch_size=max_batch_size,
        inputs=(TensorConfig("x", "FP32", (-1, 4), reshape=(4,)),),
        outputs=(TensorConfig("y", "BYTES", (2,)),),
        message=message.SerializeToString(),
    )
    return ServedModel(
        key=GenerationKey(ModelName(name), Version(version), Generation(1)),
        config=config,
        rules=RequestRules.of(config),
        scheduler=IdleScheduler(),
        statistics=VersionStatistics(wall_ns=lambda: 1_700_000_000_123_456_789),
    )


def entry(*ready: ServedModel, known: Sequence[int] = ()) -> ModelEntry:
    """A model's line in the table: the versions that serve, and others that do not."""
    versions = {int(served.key.version): served for served in ready}
    latest = versions[max(versions)] if versions else None
    return ModelEntry(ready=versions, known=frozenset({*known, *versions}), latest=latest)


@dataclass
class Boundary:
    """A server that listens, and the fakes behind it."""

    table: ServingTable
    state: FakeServerState
    control: FakeControl
    logs: LogState
    inspection: FakeInspection
    watch: HealthWatch
    server: GrpcServer
    delays: list[str]
    port: int = 0

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @contextmanager
    def channel(self, credentials: grpc.ChannelCredentials | None = None) -> Iterator[grpc.Channel]:
        # Each with a connection of its own: TLS sessions are not shared, nor are settings.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = (
            grpc.insecure_channel(self.address, options)
            if credentials is None
            else grpc.secure_channel(self.address, credentials, options)
        )
        with channel:
            yield channel


def no_hot_methods(_server: grpc.Server, _pools: Pools) -> None:
    """Leave ModelInfer and ModelStreamInfer out."""


def build(
    settings: GrpcSettings,
    *,
    add_hot_methods: Callable[[grpc.Server, Pools], None] = no_hot_methods,
    clock: Clock = monotonic,
    recorder: Recorder | None = None,
) -> Boundary:
    """Build a server on fakes; it is neither bound nor started."""
    table, state, control, logs = (
        ServingTable(),
        FakeServerState(),
        FakeControl(),
        LogState(LogSettings()),
    )
    delays: list[str] = []
    gate = Gate(state=state, restricted=settings.restricted)
    health = Health(table=table, state=state)
    watch = HealthWatch(status_of=health.status_of, subscribe=state.subscribe, clock=clock)
    inspection = FakeInspection()
    servicer = Servicer(
        table=table,
        control=control,
        state=state,
        logs=logs,
        gate=gate,
        version=VERSION,
        digest_of=inspection.digest_of,
    )
    server = GrpcServer(
        settings,
        servicer=servicer,
        control=ControlServicer(
            inspection=inspection,
            control=control,
            gate=gate,
            subscribe=state.subscribe,
            clock=clock,
            zero=DAY_ZERO,
        ),
        guard=Guard(
            gate,
            before_reply=lambda: delays.append("delay"),
            audit=None if recorder is None else CallAudit(recorder),
        ),
        health=health,
        watch=watch,
        add_hot_methods=add_hot_methods,
    )
    return Boundary(table, state, control, logs, inspection, watch, server, delays)


@contextmanager
def boundary(
    settings: GrpcSettings | None = None,
    *,
    clock: Clock = monotonic,
    recorder: Recorder | None = None,
) -> Iterator[Boundary]:
    """Serve on a port of the loopback; at the end every call must have come back."""
    at_home = GrpcSettings(address="127.0.0.1", port=0)
    made = build(settings or at_home, clock=clock, recorder=recorder)
    made.port = made.server.bind()
    made.server.start()
    try:
        yield made
    finally:
        made.control.go.set()
        ended = made.server.stop(TIMEOUT_S).wait(TIMEOUT_S)
        made.server.close()
    assert ended, "a call has not come back"
    assert not made.state.listeners


def refused(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """The status and the text of a call that failed."""
    assert isinstance(error, grpc.Call)
    return error.code(), error.details()


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Issues certificates for the loopback."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("test authority")
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def root(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(self, name: str, *, days: int = 1) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        )
        usages = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        certificate = (
            _builder(_name(name), self._name, key.public_key(), days=days)
            .add_extension(names, critical=False)
            .add_extension(usages, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Issued(certificate.public_bytes(Encoding.PEM), pem)


@dataclass(frozen=True)
class CertificateFiles:
    """The files that a server is started with."""

    folder: Path

    @property
    def cert(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def root(self) -> Path:
        return self.folder / "root.pem"

    def write(self, issued: Issued, root: bytes) -> None:
        self.replace(self.cert, issued.certificate)
        self.replace(self.key, issued.key)
        self.replace(self.root, root)

    @staticmethod
    def replace(file: Path, content: bytes) -> None:
        """Put a new file there in one step, as tools that renew certificates do."""
        draft = file.with_suffix(".draft")
        draft.write_bytes(content)
        draft.rename(file)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int = 1
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
    )

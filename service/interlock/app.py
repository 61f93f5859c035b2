"""The composition root: builds every part of the server, starts and stops them in order.

The only place, with `control_plane`, where concrete classes are named together.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Final

import structlog

# Before anything imports grpc: the server never forks, and the handlers cost every call.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from interlock.control.agent_policy_text import PolicyError
from interlock.control_plane import ControlPlane
from interlock.domain.errors import ServiceError, UnavailableError
from interlock.domain.ids import ModelName
from interlock.frontend.access_log import AccessLog
from interlock.frontend.auditing import CallAudit
from interlock.frontend.control_servicer import ControlServicer
from interlock.frontend.gate import Gate
from interlock.frontend.health import Health
from interlock.frontend.health_watch import HealthWatch
from interlock.frontend.hot_path import HotPath, TransportError
from interlock.frontend.life import ServerLife
from interlock.frontend.readiness_log import ReadinessLog
from interlock.frontend.rpc import Guard
from interlock.frontend.server import BindError, GrpcServer
from interlock.frontend.servicer import Servicer
from interlock.frontend.tls import CertificateError
from interlock.repository.cloud.store import MissingPackageError
from interlock.repository.layout import root_around
from interlock.runtime import allocator
from interlock.runtime.clock import monotonic
from interlock.runtime.garbage import spare_what_stays
from interlock.runtime.threads import OnDeath
from interlock.serving.table import ServingTable
from interlock.settings import (
    ControlMode,
    RepositorySettings,
    Settings,
)
from interlock.telemetry import host_checks
from interlock.telemetry.audit import AuditEvent, AuditLog
from interlock.telemetry.audit_queue import AuditQueue
from interlock.telemetry.logs import LogState, configure

log = structlog.get_logger()

_DONE: Final = 0
_FAILED: Final = 1
_NOTICE_S: Final = 1.0
_PENDING_SHARE: Final = 4
_LINGER_S: Final = 0.25
"""How long new requests are told why they are refused, at least."""
_SHARE_OF_CALLS: Final = 0.75
"""Of the time that is left, how much calls get that may never end; the models need the rest."""


class StartError(Exception):
    """The server cannot start, and why; one line for whoever started it."""


def serve(settings: Settings) -> int:
    """Run the server until a signal asks it to stop; return the exit code of the process."""
    logs = configure(settings.logs)
    limits = host_checks.read_limits()
    allocator.keep_large_blocks(limits.memory_bytes)
    warn_of_host(limits, settings.repository)
    for remark in settings.remarks:
        log.warning(remark)
    stop = StopSignal()
    try:
        server = Server(
            settings, logs, memory_bytes=host_checks.memory_bytes(limits), on_death=stop.die
        )
        server.start()
    except (StartError, CertificateError, TransportError) as error:
        log.error(str(error))  # noqa: TRY400 - the text is all there is to say
        return _FAILED
    code = server.run(stop)
    sys.stderr.flush()
    if server.lost_threads:
        # One that wakes up in foreign code while the interpreter ends may bring it down.
        os._exit(code)
    return code


def warn_of_host(limits: host_checks.HostLimits, repository: RepositorySettings) -> None:
    """Say at start what the host is short of."""
    size = host_checks.bytes_below(repository.roots)
    for sentence in host_checks.warnings_about(limits, model_bytes=size):
        log.warning(sentence)


class StopSignal:
    """SIGTERM, SIGINT, or a thread that the server cannot do without has died."""

    def __init__(self) -> None:
        # Not an event: its lock is not one that a handler may meet while it interrupts the
        # thread that holds it, or another handler. Putting into this queue may be.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self.asked = False
        self.died = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def wait(self) -> None:
        """Wait until one of them is heard; for one thread."""
        while not self.asked:
            # Not for ever: a signal between the interpreter's look for one and its sleep
            # wakes nobody, and its handler runs when this returns.
            with contextlib.suppress(Empty):
                self._bell.get(timeout=_NOTICE_S)

    def die(self, _error: BaseException) -> None:
        self.died = True
        self._ring()

    def _heard(self, number: int, _frame: object) -> None:
        # The first one starts the shutdown, further ones change nothing.
        if self._ring():
            with contextlib.suppress(OSError):
                os.write(2, f"Signal ({number}) received.\n".encode())

    def _ring(self) -> bool:
        first, self.asked = not self.asked, True
        self._bell.put(None)
        return first


class Server:
    """Every part of one server, and the order in which they start and stop."""

    def __init__(
        self, settings: Settings, logs: LogState, *, memory_bytes: int, on_death: OnDeath
    ) -> None:
        self._settings = settings
        self._on_death = on_death
        self._table = ServingTable(namespacing=settings.repository.namespacing)
        self._audit = audit_of(settings)
        record = None if self._audit is None else self._audit.record
        try:
            self._control = ControlPlane(settings, self._table, record)
        except MissingPackageError as error:
            raise StartError(str(error)) from error
        except PolicyError as error:
            raise StartError(f"--agent-policy cannot be used: {error}") from error
        except OSError as error:
            raise _scratch_error(error) from error
        self._manager = self._control.manager
        self._life = ServerLife(
            self._manager,
            self._control.listing,
            strict_readiness=settings.lifetime.strict_readiness,
            required=settings.lifetime.required_models,
        )
        self._end_readiness_log = self._life.subscribe(ReadinessLog(self._life.objections).look)
        gate = Gate(state=self._life, restricted=settings.grpc.restricted)
        self._hot_path = HotPath(
            settings.grpc,
            table=self._table,
            state=self._life,
            gate=gate,
            access=AccessLog.of(settings.logs.access_log),
            memory_bytes=settings.grpc.max_pending_bytes or memory_bytes // _PENDING_SHARE,
            on_death=on_death,
            stream_delay_s=settings.debug.delay_stream_response_ms / 1000,
        )
        health = Health(table=self._table, state=self._life)
        self._grpc = GrpcServer(
            settings.grpc,
            servicer=Servicer(
                table=self._table,
                control=self._manager,
                state=self._life,
                logs=logs,
                gate=gate,
                version=settings.version,
                digest_of=self._control.inspection.digest_of,
            ),
            control=ControlServicer(
                inspection=self._control.inspection,
                control=self._manager,
                gate=gate,
                subscribe=self._life.subscribe,
                clock=monotonic,
                zero=datetime.now(UTC) - timedelta(seconds=monotonic()),
            ),
            guard=Guard(
                gate,
                before_reply=delay_of(settings),
                audit=None if self._audit is None else CallAudit(self._audit),
            ),
            health=health,
            watch=HealthWatch(
                status_of=health.status_of, subscribe=self._life.subscribe, clock=monotonic
            ),
            add_hot_methods=self._hot_path.attach,
        )

    @property
    def lost_threads(self) -> int:
        """How many threads hang in loads that were written off, and will never be waited for."""
        return self._control.lost_threads

    def start(self) -> None:
        """Open the port, and begin to load. Raise StartError."""
        try:
            self._control.open()
        except OSError as error:
            raise _scratch_error(error) from error
        try:
            port = self._grpc.bind()
        except BindError as error:
            raise StartError(f"failed to start GRPC service: Unavailable - {error}") from error
        self._address = replace(self._settings.grpc, port=port).target
        if self._audit is not None:
            self._audit.start()
            self._audit.record(AuditEvent("server-start", "ok"))
        self._grpc.start(on_death=self._on_death)
        self._hot_path.start()
        headline = f"Listening on {self._address}"
        log.info(headline, transport=self._hot_path.transport.name)
        self._control.start(self._on_death)

    def run(self, stop: StopSignal) -> int:
        """Serve until `stop`; return the exit code."""
        if not self._first_loads(stop):
            self._stop(stop)
            return _FAILED
        stop.wait()
        in_time = self._stop(stop)
        return _DONE if in_time and not stop.died else _FAILED

    def _first_loads(self, stop: StopSignal) -> bool:
        """Wait for the loads at start; False where one failed and that is not to be borne."""
        first = self._manager.first_loads
        while not first.wait(_NOTICE_S / 10):
            if stop.asked:
                return True
        failures = {**dict(self._never_to_serve()), **first.failures}
        for model, error in failures.items():
            log.error("failed to load at start", model=model, reason=str(error))
        if failures and self._settings.lifetime.exit_on_error:
            log.error("creating server: Internal - failed to load all models")
            return False
        spared = spare_what_stays()
        log.debug("collected garbage", spared_objects=spared)
        self._life.serve()
        headline = f"Started GRPCInferenceService at {self._address}"
        log.info(headline)
        return True

    def _never_to_serve(self) -> Iterator[tuple[str, ServiceError]]:
        """Yield the required models that do not serve and that nobody can load any more."""
        if self._settings.repository.control_mode is not ControlMode.NONE:
            return
        required = map(ModelName, self._settings.lifetime.required_models)
        for model, why in self._manager.lacking(required):
            yield model, UnavailableError(f"this required model {why}")

    def _stop(self, stop: StopSignal) -> bool:
        """Drain and end every part, in order; False where the time ran out."""
        self._end_readiness_log()  # that a server is not ready any more now goes without saying
        self._life.drain()
        delay_s = self._settings.lifetime.shutdown_delay_s
        if delay_s and not stop.died:
            log.info("serving on before the drain", seconds=delay_s)
            time.sleep(delay_s)
        deadline = monotonic() + self._settings.lifetime.exit_timeout_s
        self._control.stop()
        self._life.refuse()
        lingered = monotonic() + _LINGER_S
        log.info("Waiting for in-flight requests to complete.")
        if not self._wait_for_answers(deadline):
            return self._give_up()
        # Whoever calls at this moment gets a sentence; once the server stops, gRPC says no more
        # than that the call was cancelled.
        time.sleep(max(0.0, min(lingered, deadline) - monotonic()))
        if not self._end_calls(deadline):
            return self._give_up()
        if not self._manager.unload_all(deadline):
            return self._give_up()
        self._control.wait_for_agents(deadline)
        self._control.close()
        self._grpc.close()
        self._end_audit("ok")
        log.info("stopped")
        return True

    def _wait_for_answers(self, deadline: float) -> bool:
        """Wait until gRPC has sent every answer, and say each second how many are left."""
        while (left_s := deadline - monotonic()) > 0 or not self._hot_path.in_flight.count:
            if self._hot_path.in_flight.wait_empty(min(_NOTICE_S, max(0.0, left_s))):
                return True
            log.info(
                "requests are in flight",
                left=self._hot_path.in_flight.count,
                seconds=round(deadline - monotonic()),
            )
        return False

    def _end_calls(self, deadline: float) -> bool:
        """End idle streams, then the server, then what carries the hot calls."""
        if ended := self._hot_path.stop_taking():
            log.info("ended idle streams", streams=ended)
        left_s = max(0.0, deadline - monotonic())
        stopped = self._grpc.stop(left_s * _SHARE_OF_CALLS)
        # A moment in any case: to end calls takes one.
        in_time = stopped.wait(max(_NOTICE_S, deadline - monotonic()))
        return self._hot_path.close(max(_NOTICE_S, deadline - monotonic())) and in_time

    def _end_audit(self, outcome: str) -> None:
        """Write what is left to be told, if the disk takes it."""
        if self._audit is not None:
            self._audit.record(AuditEvent("server-stop", outcome))
            self._audit.close(_NOTICE_S)

    def _give_up(self) -> bool:
        log.error("Exit timeout expired. Exiting immediately.", left=self._hot_path.in_flight.count)
        self._end_audit("failed")
        sys.stderr.flush()
        # Threads that hang in a model would keep the interpreter from ending.
        os._exit(_FAILED)


def audit_of(settings: Settings) -> AuditQueue | None:
    """Open the audit log, if there is to be one. Raise StartError."""
    path = settings.logs.audit_log
    if path is None:
        return None
    around = root_around(path, settings.repository.roots)
    if around is not None:
        raise StartError(
            f"--audit-log={path} lies in the model repository {around}: whoever publishes models "
            "could change it"
        )
    try:
        return AuditQueue(AuditLog(path.absolute()))
    except OSError as error:
        raise StartError(f"--audit-log={path} cannot be written: {error.strerror}") from error


def _scratch_error(error: OSError) -> StartError:
    return StartError(f"--scratch-directory cannot be used: {error}")


def delay_of(settings: Settings) -> Callable[[], None] | None:
    """The hold of every reply off the hot path that a debugging variable asks for."""
    seconds = settings.debug.delay_grpc_response_s
    return (lambda: time.sleep(seconds)) if seconds else None

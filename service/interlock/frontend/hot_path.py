"""Put ModelInfer and ModelStreamInfer together: what takes them in, and what carries them."""

import grpc
import structlog

from interlock.frontend.access_log import AccessLog
from interlock.frontend.completion_queue import QueueTransport, self_test
from interlock.frontend.gate import Gate
from interlock.frontend.handover import Handover
from interlock.frontend.header_forwarding import HeaderForwarder
from interlock.frontend.intake import Intake
from interlock.frontend.pools import Pools
from interlock.frontend.ports import ServerState
from interlock.frontend.public_transport import PublicTransport
from interlock.frontend.stream import StreamService
from interlock.frontend.transport import InFlight, Transport
from interlock.frontend.unary import UnaryService
from interlock.runtime.memory_budget import MemoryBudget
from interlock.runtime.threads import OnDeath, pool
from interlock.serving.table import ServingTable
from interlock.settings import CompressionLevel, GrpcSettings, GrpcTransport

log = structlog.get_logger()


class TransportError(Exception):
    """The transport that was asked for cannot be used, and why."""


class HotPath:
    """The two inference RPCs of one server, from the network to the models' queues.

    `attach` before the server starts, `start` after; at the end `stop_taking` before the
    server stops, `close` after. Raise TransportError where the completion queue was
    insisted on and fails its self-test.
    """

    def __init__(
        self,
        settings: GrpcSettings,
        *,
        table: ServingTable,
        state: ServerState,
        gate: Gate,
        access: AccessLog | None,
        memory_bytes: int,
        on_death: OnDeath,
        stream_delay_s: float = 0.0,
    ) -> None:
        self._on_death = on_death
        level = settings.infer_response_compression_level
        self._compress = level is not CompressionLevel.NONE
        self._handover = Handover() if _can_queue(settings.transport) else None
        self._decode = pool("decode", settings.infer_thread_count)
        self.in_flight = InFlight()
        intake = Intake(
            table=table, state=state, gate=gate, decode=self._decode, handover=self._handover
        )
        pattern = settings.header_forward_pattern
        headers = HeaderForwarder(pattern) if pattern else None
        budget = MemoryBudget(memory_bytes)
        self._unary = UnaryService(
            intake=intake,
            gate=gate,
            headers=headers,
            in_flight=self.in_flight,
            budget=budget,
            access=access,
        )
        self._streams = StreamService(
            intake=intake,
            gate=gate,
            headers=headers,
            in_flight=self.in_flight,
            budget=budget,
            access=access,
            delay_s=stream_delay_s,
        )
        self._transport: Transport | None = None

    @property
    def transport(self) -> Transport:
        if self._transport is None:
            raise TransportError("no server has been attached")
        return self._transport

    def attach(self, server: grpc.Server, pools: Pools) -> None:
        """Register the two methods with a server that has not started."""
        if self._handover is None:
            self._transport = PublicTransport(
                server,
                unary=self._unary,
                stream=self._streams,
                compress=self._compress,
                pool=pools.fallback,
            )
        else:
            self._transport = QueueTransport(
                server,
                unary=self._unary,
                stream=self._streams,
                handover=self._handover,
                compress=self._compress,
                on_death=self._on_death,
            )

    def start(self) -> None:
        self.transport.start()

    def stop_taking(self) -> int:
        """Arm no more, and end what nothing is in flight in; return how many streams were idle.

        A stream that is busy ends as soon as it is idle.
        """
        self.transport.stop_taking()
        self._unary.end_waiting()
        return self._streams.end_idle()

    def close(self, timeout_s: float) -> bool:
        """End what carries the calls, once the server has stopped; whether it was in time."""
        self._decode.shutdown(wait=False)
        return self.transport.close(timeout_s)


def _can_queue(wanted: GrpcTransport) -> bool:
    """Whether to serve on the completion queue; the self-test runs where that is not settled."""
    if wanted is GrpcTransport.PUBLIC:
        return False
    problem = self_test()
    if problem and wanted is GrpcTransport.QUEUE:
        raise TransportError(f"--grpc-transport=queue cannot be used with this grpcio: {problem}")
    if problem:
        log.warning("serving on grpcio's public handlers instead", reason=problem)
    return not problem

"""Create, bind, start and stop grpcio's server.

Off the hot path everything runs on its public, threaded handlers. The two hot methods are
added by whoever carries them, before the server starts.
"""

import errno
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

import grpc

from interlock.frontend.control_servicer import ControlServicer
from interlock.frontend.health import Health, health_service
from interlock.frontend.health_watch import HealthWatch
from interlock.frontend.pools import BoundedPool, Pools, RefuseWhenFull
from interlock.frontend.reflection import Reflection, channelz_service
from interlock.frontend.rpc import Guard, Service, pool_of
from interlock.frontend.servicer import Servicer
from interlock.frontend.tls import server_credentials
from interlock.runtime.threads import OnDeath
from interlock.settings import GrpcSettings

_UNIX: Final = "unix:"
_WATCH_TIMEOUT_S: Final = 5.0
_UNTAKEN_CALLS: Final = 65_536
"""How many calls may wait for a thread to take them; 15 kB each, measured."""
_UNTAKEN_S: Final = 3600
"""For how long one may wait so: as long as its own deadline allows."""

AddHotMethods = Callable[[grpc.Server, Pools], None]


class BindError(Exception):
    """The port cannot be listened on, and why."""


class GrpcServer:
    """The server and its parts. Built, bound and started in this order, stopped once."""

    def __init__(
        self,
        settings: GrpcSettings,
        *,
        servicer: Servicer,
        control: ControlServicer,
        guard: Guard,
        health: Health,
        watch: HealthWatch,
        add_hot_methods: AddHotMethods,
    ) -> None:
        self._settings = settings
        self.pools = Pools()
        self._streams = (watch, control.watches)
        self._reflection = Reflection()
        services = (
            servicer.service(guard, self.pools),
            control.service(guard, self.pools),
            health_service(health, watch, guard, self.pools),
            channelz_service(self.pools.introspection),
            *self._reflection.services(self.pools),
        )
        # Before anything that holds a port: a certificate that is wrong is an error to start.
        self._credentials = server_credentials(settings.tls)
        self.server = grpc.server(
            self.pools.refusal,
            interceptors=[RefuseWhenFull(_bounds(services))],
            options=server_options(settings),
        )
        for service in services:
            _add(self.server, service)
        add_hot_methods(self.server, self.pools)

    def bind(self) -> int:
        """Take the port; return it, which is what the system chose where 0 was asked for."""
        target = listen_target(self._settings)
        try:
            if self._credentials is None:
                return int(self.server.add_insecure_port(target))
            return int(self.server.add_secure_port(target, self._credentials))
        except RuntimeError as error:
            raise BindError(_why_not(self._settings)) from error

    def start(self, *, on_death: OnDeath | None = None) -> None:
        for stream in self._streams:
            stream.start(on_death=on_death)
        self.server.start()

    def stop(self, grace_s: float) -> threading.Event:
        """Take no new calls, give those under way `grace_s`; the event is set when all have ended.

        Streams that would never end by themselves are ended first.
        """
        for stream in self._streams:
            stream.close(min(grace_s, _WATCH_TIMEOUT_S))
        ended: threading.Event = self.server.stop(grace_s)
        # After the stop, so that no new one slips in.
        self._reflection.close()
        return ended

    def close(self) -> None:
        """Give the pools back, once the server has stopped."""
        self.pools.close()


def server_options(settings: GrpcSettings) -> list[tuple[str, int]]:
    """Return the options of gRPC's core for these settings."""
    keepalive = settings.keepalive
    options = [
        # gRPC's default is 1: a second server on the same port would go unnoticed.
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_channelz", 1),
        # gRPC's defaults are 1000, 3000 and 30 s: past them it cancels calls and says nothing,
        # between the first two at random. A burst waits instead.
        ("grpc.server.max_pending_requests", _UNTAKEN_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _UNTAKEN_CALLS),
        ("grpc.server_max_unrequested_time_in_server", _UNTAKEN_S),
        ("grpc.keepalive_time_ms", keepalive.time_ms),
        ("grpc.keepalive_timeout_ms", keepalive.timeout_ms),
        ("grpc.keepalive_permit_without_calls", int(keepalive.permit_without_calls)),
        ("grpc.http2.max_pings_without_data", keepalive.max_pings_without_data),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            keepalive.min_recv_ping_interval_without_data_ms,
        ),
        ("grpc.http2.max_ping_strikes", keepalive.max_ping_strikes),
    ]
    if keepalive.max_connection_age_ms:
        options.append(("grpc.max_connection_age_ms", keepalive.max_connection_age_ms))
    if keepalive.max_connection_age_grace_ms:
        options.append(("grpc.max_connection_age_grace_ms", keepalive.max_connection_age_grace_ms))
    return options


def listen_target(settings: GrpcSettings) -> str:
    """Return where to listen, as gRPC writes it; an address may be `unix:/path`."""
    return settings.address if settings.address.startswith(_UNIX) else settings.target


def _add(server: grpc.Server, service: Service) -> None:
    """Register a service both ways, as generated code does."""
    handlers = dict(service.handlers)
    generic = grpc.method_handlers_generic_handler(service.name, handlers)
    server.add_generic_rpc_handlers((generic,))
    register = server.add_registered_method_handlers  # pyright: ignore[reportAttributeAccessIssue]
    register(service.name, handlers)


def _bounds(services: Sequence[Service]) -> dict[str, BoundedPool]:
    """Return which pool bounds which method, by its full name."""
    pools = {
        f"/{service.name}/{method}": pool_of(handler)
        for service in services
        for method, handler in service.handlers.items()
    }
    return {method: pool for method, pool in pools.items() if isinstance(pool, BoundedPool)}


def _why_not(settings: GrpcSettings) -> str:
    """Say why a port cannot be had, which gRPC does not tell: try it once more by hand."""
    target = listen_target(settings)
    if target.startswith(_UNIX):
        return f"cannot listen on '{target}'"
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As gRPC does: a port whose last connections have just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.address, settings.port))
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            # The blank at the end is Triton's.
            return f"Socket '{target}' already in use "
        return f"cannot listen on '{target}': {error.strerror or error}"
    return f"cannot listen on '{target}'"

"""Where the server listens, and with which options; the rest is in tests/integration."""

import pytest

from interlock.frontend.server import listen_target, server_options
from interlock.settings import GrpcSettings, KeepaliveSettings


def test_the_defaults_are_those_of_triton_and_a_burst_waits() -> None:
    assert dict(server_options(GrpcSettings())) == {
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.enable_channelz": 1,
        "grpc.server.max_pending_requests": 65_536,
        "grpc.server.max_pending_requests_hard_limit": 65_536,
        "grpc.server_max_unrequested_time_in_server": 3600,
        "grpc.keepalive_time_ms": 7_200_000,
        "grpc.keepalive_timeout_ms": 20_000,
        "grpc.keepalive_permit_without_calls": 0,
        "grpc.http2.max_pings_without_data": 2,
        "grpc.http2.min_ping_interval_without_data_ms": 300_000,
        "grpc.http2.max_ping_strikes": 2,
    }


def test_every_setting_reaches_its_option() -> None:
    keepalive = KeepaliveSettings(
        time_ms=1,
        timeout_ms=2,
        permit_without_calls=True,
        max_pings_without_data=3,
        min_recv_ping_interval_without_data_ms=4,
        max_ping_strikes=5,
        max_connection_age_ms=6,
        max_connection_age_grace_ms=7,
    )

    options = dict(server_options(GrpcSettings(reuse_port=True, keepalive=keepalive)))

    assert options == {
        "grpc.so_reuseport": 1,
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.enable_channelz": 1,
        "grpc.server.max_pending_requests": 65_536,
        "grpc.server.max_pending_requests_hard_limit": 65_536,
        "grpc.server_max_unrequested_time_in_server": 3600,
        "grpc.keepalive_time_ms": 1,
        "grpc.keepalive_timeout_ms": 2,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 3,
        "grpc.http2.min_ping_interval_without_data_ms": 4,
        "grpc.http2.max_ping_strikes": 5,
        "grpc.max_connection_age_ms": 6,
        "grpc.max_connection_age_grace_ms": 7,
    }


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("0.0.0.0", "0.0.0.0:8001"),
        ("::1", "[::1]:8001"),
        ("unix:/run/interlock.sock", "unix:/run/interlock.sock"),
    ],
)
def test_an_address_is_written_as_grpc_wants_it(address: str, target: str) -> None:
    assert listen_target(GrpcSettings(address=address)) == target

"""How a server comes to its port, and how it leaves it."""

import socket
import threading
from pathlib import Path

import grpc
import pytest

from interlock.frontend.pools import Pools
from interlock.frontend.server import BindError
from interlock.settings import GrpcSettings
from tests.support.boundary import TIMEOUT_S, boundary, build

LIVE = "/inference.GRPCInferenceService/ServerLive"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_an_error_with_tritons_text(address: str) -> None:
    with boundary(GrpcSettings(address="127.0.0.1", port=0)) as first:
        second = build(GrpcSettings(address=address, port=first.port))

        with pytest.raises(BindError) as caught:
            second.server.bind()

    assert str(caught.value) == f"Socket '{address}:{first.port}' already in use "


def test_a_port_that_another_program_has_is_an_error_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        made = build(GrpcSettings(address="127.0.0.1", port=port))

        with pytest.raises(BindError, match=f"^Socket '127.0.0.1:{port}' already in use $"):
            made.server.bind()


def test_an_address_that_is_not_ours_is_an_error_with_its_reason() -> None:
    made = build(GrpcSettings(address="192.0.2.1", port=1))

    with pytest.raises(BindError) as caught:
        made.server.bind()

    assert str(caught.value) == "cannot listen on '192.0.2.1:1': Cannot assign requested address"


def test_a_name_that_nobody_knows_is_an_error_with_its_reason() -> None:
    made = build(GrpcSettings(address="no-such-host.invalid", port=1))

    with pytest.raises(BindError, match=r"^cannot listen on 'no-such-host\.invalid:1': \S"):
        made.server.bind()


def test_two_servers_share_a_port_where_that_is_asked_for() -> None:
    with boundary(GrpcSettings(address="127.0.0.1", port=0, reuse_port=True)) as first:
        again = GrpcSettings(address="127.0.0.1", port=first.port, reuse_port=True)

        with boundary(again) as second:
            assert second.port == first.port


def test_listens_on_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    with boundary(GrpcSettings(address=address)), grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(LIVE)(b"", timeout=TIMEOUT_S)

    assert answer == b"\x08\x01"


def test_an_unix_socket_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    target = f"unix:{tmp_path / 'no' / 's'}"

    with pytest.raises(BindError) as caught:
        build(GrpcSettings(address=target)).server.bind()

    assert str(caught.value) == f"cannot listen on '{target}'"


def test_the_hot_methods_are_added_by_whoever_carries_them() -> None:
    def add(server: grpc.Server, pools: Pools) -> None:
        handler = grpc.unary_unary_rpc_method_handler(lambda message, _context: message + b"!")
        server.add_registered_method_handlers(
            "inference.GRPCInferenceService", {"ModelInfer": handler}
        )
        given.append(pools)

    given: list[Pools] = []
    made = build(GrpcSettings(address="127.0.0.1", port=0), add_hot_methods=add)
    made.port = made.server.bind()
    made.server.start()
    with made.channel() as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = infer(b"hot", timeout=TIMEOUT_S)
    assert made.server.stop(0).wait(TIMEOUT_S)
    made.server.close()

    assert answer == b"hot!"
    assert given == [made.server.pools]


def test_a_call_under_way_is_finished_when_the_server_stops() -> None:
    made = build(GrpcSettings(address="127.0.0.1", port=0))
    made.port = made.server.bind()
    made.server.start()
    made.control.go.clear()
    with made.channel() as channel:
        load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        call = load.future(b"\x12\x01m", timeout=TIMEOUT_S)
        assert made.control.entered.acquire(timeout=TIMEOUT_S)

        stopped: threading.Event = made.server.stop(TIMEOUT_S)
        assert not stopped.is_set()
        made.control.go.set()

        assert call.result(TIMEOUT_S) == b""
        assert stopped.wait(TIMEOUT_S)
    made.server.close()


def test_a_port_in_use_is_noticed_on_ipv6_as_well() -> None:
    try:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with other:
        port = other.getsockname()[1]

        with pytest.raises(BindError) as caught:
            build(GrpcSettings(address="::1", port=port)).server.bind()

    assert str(caught.value) == f"Socket '[::1]:{port}' already in use "

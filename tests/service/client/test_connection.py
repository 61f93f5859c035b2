from pathlib import Path

import pytest

from interlock.client.connection import Connection, ConnectionSettingsError, open_channel


@pytest.mark.parametrize(
    ("server", "target"),
    [
        pytest.param("localhost:9", "localhost:9", id="as given"),
        pytest.param("gpu-7", "gpu-7:8001", id="our port where there is none"),
        pytest.param("[::1]:9", "[::1]:9", id="ipv6"),
        pytest.param("unix:/run/interlock", "unix:/run/interlock", id="a socket of the system"),
    ],
)
def test_the_target(server: str, target: str) -> None:
    assert Connection(server=server).target == target


@pytest.mark.parametrize(
    "connection",
    [
        pytest.param(Connection(tls=True), id="asked for"),
        pytest.param(Connection(tls_ca=Path("ca")), id="an authority"),
        pytest.param(Connection(tls_cert=Path("c"), tls_key=Path("k")), id="a certificate"),
        pytest.param(Connection(tls_server_name="x"), id="a name"),
    ],
)
def test_what_only_tls_needs_implies_it(connection: Connection) -> None:
    assert connection.encrypted


def test_is_in_the_clear_where_nothing_is_said() -> None:
    assert not Connection().encrypted


def test_messages_have_no_limit() -> None:
    options = dict(Connection().channel_options())

    assert options["grpc.max_receive_message_length"] == -1
    assert options["grpc.max_send_message_length"] == -1


@pytest.mark.parametrize("server", ["localhost:1", "127.0.0.1:1", "[::1]:1"])
def test_a_proxy_is_not_asked_for_this_machine(server: str) -> None:
    assert ("grpc.enable_http_proxy", 0) in Connection(server=server).channel_options()


def test_a_proxy_may_be_asked_for_others() -> None:
    assert "grpc.enable_http_proxy" not in dict(Connection(server="far:1").channel_options())


def test_a_key_needs_its_certificate() -> None:
    with pytest.raises(ConnectionSettingsError, match="--tls-cert and --tls-key belong together"):
        Connection(tls_key=Path("k"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectionSettingsError, match=r"cannot read .*/ca\.pem: No such file"):
        open_channel(Connection(tls_ca=tmp_path / "ca.pem"))


def test_headers_are_not_shown() -> None:
    assert "secret" not in repr(Connection(headers=(("authorization", "secret"),)))

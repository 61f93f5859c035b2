import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from interlock.client.calls import Client, NoServerError, RefusedError
from interlock.client.connection import Connection
from interlock.pb import grpc_service_pb2 as pb
from tests.support.boundary import Authority
from tests.support.scripted_server import Refusal, scripted_server


def ready(connection: Connection) -> bool:
    with Client(connection) as client:
        return client.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready


@contextmanager
def closed_port() -> Iterator[str]:
    """An address that is taken and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_returns_the_answer_and_sends_the_headers() -> None:
    with scripted_server({"ServerReady": pb.ServerReadyResponse(ready=True)}) as server:
        headers = (("x-user", "a"),)

        assert ready(Connection(server=server.address, headers=headers))
        assert server.metadata[0]["x-user"] == "a"


@pytest.mark.parametrize(
    "status",
    [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED],
)
def test_an_error_of_the_server_is_a_refusal(status: grpc.StatusCode) -> None:
    with (
        scripted_server({"ServerReady": Refusal(status, "not now")}) as server,
        pytest.raises(RefusedError) as refused,
    ):
        ready(Connection(server=server.address))

    assert (refused.value.status, refused.value.message) == (status.name, "not now")
    assert str(refused.value) == f"{status.name}: not now"


def test_a_refusal_without_words_is_its_status() -> None:
    assert str(RefusedError("UNIMPLEMENTED", "")) == "UNIMPLEMENTED"


def test_nobody_there_is_no_server() -> None:
    with closed_port() as address, pytest.raises(NoServerError, match="Connection refused"):
        ready(Connection(server=address))


def test_nobody_who_answers_in_time_is_no_server() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"

        with pytest.raises(NoServerError):
            ready(Connection(server=address, timeout_s=0.2))


def test_calls_with_tls(tmp_path: Path) -> None:
    authority = Authority()
    issued = authority.issue("server")
    (tmp_path / "ca.pem").write_bytes(authority.root)
    credentials = grpc.ssl_server_credentials([(issued.key, issued.certificate)])
    answers = {"ServerReady": pb.ServerReadyResponse(ready=True)}
    with scripted_server(answers, credentials=credentials) as server:
        assert ready(Connection(server=server.address, tls_ca=tmp_path / "ca.pem"))

        with pytest.raises(NoServerError):
            ready(Connection(server=server.address, tls=True))  # an authority that we do not know


def test_shows_its_own_certificate(tmp_path: Path) -> None:
    authority = Authority()
    issued, own = authority.issue("server"), authority.issue("client")
    for name, content in (
        ("ca", authority.root),
        ("cert", own.certificate),
        ("key", own.key),
    ):
        (tmp_path / name).write_bytes(content)
    credentials = grpc.ssl_server_credentials(
        [(issued.key, issued.certificate)], authority.root, require_client_auth=True
    )
    connection = Connection(
        tls_ca=tmp_path / "ca", tls_cert=tmp_path / "cert", tls_key=tmp_path / "key"
    )
    answers = {"ServerReady": pb.ServerReadyResponse(ready=True)}
    with scripted_server(answers, credentials=credentials) as server:
        assert ready(
            Connection(
                server=server.address,
                tls_ca=connection.tls_ca,
                tls_cert=connection.tls_cert,
                tls_key=connection.tls_key,
            )
        )

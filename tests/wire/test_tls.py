"""Encryption, certificates of clients, and certificates that change: spec/protocol.md 17.1."""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.support.boundary import Authority, CertificateFiles, Issued
from tests.support.models import Repository
from tests.support.wire import Client, WireServer, arrays, given, infer_request, serving

REQUEST = infer_request("model", given("INPUT0", np.ones(3, "<f4")))
SHORTLY_S = 10.0


@dataclass(frozen=True)
class Files(CertificateFiles):
    """The certificates of a test, as a server and its clients want them."""

    authority: Authority
    client: Issued

    @property
    def flags(self) -> list[str]:
        return [
            f"--grpc-server-cert={self.cert}",
            f"--grpc-server-key={self.key}",
            f"--grpc-root-cert={self.root}",
        ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority()
    made = Files(folder, authority, authority.issue("client"))
    made.write(authority.issue("server"), authority.root)
    (folder / "client.pem").write_bytes(made.client.certificate)
    (folder / "client.key").write_bytes(made.client.key)
    return made


def trusting(authority: Authority, pair: Issued | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.root,
        None if pair is None else pair.key,
        None if pair is None else pair.certificate,
    )


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model")

    def connect(address: str) -> Client:
        return Client(address, credentials=trusting(files.authority))

    with serving(repository, "--grpc-use-ssl=true", *files.flags, connect=connect) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model")

    def connect(address: str) -> Client:
        return Client(address, credentials=trusting(files.authority, files.client))

    flags = ("--grpc-use-ssl-mutual=true", *files.flags)
    with serving(repository, *flags, connect=connect) as server:
        yield server


def works(client: Client) -> bool:
    unary = client.infer(REQUEST)
    (streamed,) = client.exchange(REQUEST)
    return bool(arrays(unary)["OUTPUT0"].sum() == 3 and not streamed.error_message)


def is_turned_away(address: str, credentials: grpc.ChannelCredentials | None) -> bool:
    with Client(address, credentials=credentials) as client:
        refusal = client.infer_refusal(REQUEST)
    return refusal.code == "UNAVAILABLE"


def test_a_client_that_trusts_the_server_is_served(client: Client) -> None:
    assert works(client)


def test_a_client_without_tls_is_turned_away(server: WireServer) -> None:
    assert is_turned_away(server.address, None)


def test_a_client_that_trusts_somebody_else_turns_away(server: WireServer) -> None:
    assert is_turned_away(server.address, trusting(Authority()))


def test_tritonclient_connects_with_its_ssl_options(server: WireServer, files: Files) -> None:
    with triton.InferenceServerClient(
        server.address, ssl=True, root_certificates=str(files.root)
    ) as client:
        assert client.is_server_ready()


def test_a_certificate_of_the_client_is_asked_for(mutual: WireServer, files: Files) -> None:
    stranger = Authority().issue("stranger")

    with mutual.client() as client:
        assert works(client)
    assert is_turned_away(mutual.address, trusting(files.authority))
    assert is_turned_away(mutual.address, trusting(files.authority, stranger))


def test_tritonclient_shows_its_certificate(mutual: WireServer, files: Files) -> None:
    with triton.InferenceServerClient(
        mutual.address,
        ssl=True,
        root_certificates=str(files.root),
        private_key=str(files.folder / "client.key"),
        certificate_chain=str(files.folder / "client.pem"),
    ) as client:
        assert client.is_server_ready()


def test_a_new_certificate_is_taken_without_a_restart(
    server: WireServer, client: Client, files: Files
) -> None:
    assert works(client)
    successor = Authority()
    files.write(successor.issue("server"), files.authority.root)

    with Client(server.address, credentials=trusting(successor)) as fresh:
        assert works(fresh)
    # What was connected stays so.
    assert works(client)

    files.write(files.authority.issue("server"), files.authority.root)
    with server.client() as again:
        assert works(again)


def test_a_broken_certificate_leaves_the_old_one_in_use(server: WireServer, files: Files) -> None:
    good = files.cert.read_bytes()
    files.cert.write_bytes(b"half a certific")

    with server.client() as client:
        assert works(client)
    server.process.wait_for_log("kept the old certificate", within_s=SHORTLY_S)
    files.cert.write_bytes(good)
    with server.client() as client:
        assert works(client)

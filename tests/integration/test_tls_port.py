"""TLS and mutual TLS on a real port, with certificates that are renewed under way."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc as triton
from cryptography import x509
from cryptography.x509.oid import NameOID

from interlock.settings import GrpcSettings, TlsSettings
from tests.support.boundary import (
    TIMEOUT_S,
    Authority,
    Boundary,
    CertificateFiles,
    boundary,
    refused,
)

AUTHORITY = Authority()
LIVE = "/inference.GRPCInferenceService/ServerLive"


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    files = CertificateFiles(tmp_path)
    files.write(AUTHORITY.issue("first"), AUTHORITY.root)
    return files


@pytest.fixture
def world(files: CertificateFiles) -> Iterator[Boundary]:
    with boundary(settings(files)) as made:
        yield made


def settings(files: CertificateFiles, *, mutual: bool = False) -> GrpcSettings:
    tls = TlsSettings(
        use_ssl=not mutual,
        use_ssl_mutual=mutual,
        server_cert=files.cert,
        server_key=files.key,
        root_cert=files.root,
    )
    return GrpcSettings(address="127.0.0.1", port=0, tls=tls)


def live(world: Boundary, credentials: grpc.ChannelCredentials) -> bool:
    with world.channel(credentials) as channel:
        return bool(channel.unary_unary(LIVE)(b"", timeout=TIMEOUT_S) == b"\x08\x01")


def shown_by(port: int) -> str:
    """The name in the certificate that the server shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_who_trusts_the_authority_is_served(world: Boundary) -> None:
    assert live(world, grpc.ssl_channel_credentials(AUTHORITY.root))


def test_the_stock_client_is_served_over_tls(world: Boundary, files: CertificateFiles) -> None:
    client = triton.InferenceServerClient(
        world.address, ssl=True, root_certificates=str(files.root)
    )
    with client:
        assert client.is_server_ready()


def test_who_trusts_another_authority_is_not_served(world: Boundary) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        live(world, grpc.ssl_channel_credentials(Authority().root))

    assert refused(caught.value)[0] is grpc.StatusCode.UNAVAILABLE


def test_who_speaks_no_tls_is_not_served(world: Boundary) -> None:
    with world.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(LIVE)(b"", timeout=TIMEOUT_S)

    assert refused(caught.value)[0] is grpc.StatusCode.UNAVAILABLE


def test_mutual_tls_serves_who_has_a_certificate_and_nobody_else(files: CertificateFiles) -> None:
    known, stranger = AUTHORITY.issue("client"), Authority().issue("stranger")
    with boundary(settings(files, mutual=True)) as world:
        assert live(
            world, grpc.ssl_channel_credentials(AUTHORITY.root, known.key, known.certificate)
        )
        for credentials in (
            grpc.ssl_channel_credentials(AUTHORITY.root),
            grpc.ssl_channel_credentials(AUTHORITY.root, stranger.key, stranger.certificate),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                live(world, credentials)
            assert refused(caught.value)[0] is grpc.StatusCode.UNAVAILABLE


def test_a_renewed_certificate_is_shown_to_the_next_client(
    world: Boundary, files: CertificateFiles
) -> None:
    assert shown_by(world.port) == "first"

    files.write(AUTHORITY.issue("second"), AUTHORITY.root)

    assert shown_by(world.port) == "second"
    assert live(world, grpc.ssl_channel_credentials(AUTHORITY.root))


def test_a_broken_certificate_leaves_the_old_one_in_use(
    world: Boundary, files: CertificateFiles
) -> None:
    files.replace(files.cert, b"half of a certifica")

    assert shown_by(world.port) == "first"
    assert live(world, grpc.ssl_channel_credentials(AUTHORITY.root))


def test_an_open_connection_outlives_the_renewal(world: Boundary, files: CertificateFiles) -> None:
    with world.channel(grpc.ssl_channel_credentials(AUTHORITY.root)) as channel:
        call = channel.unary_unary(LIVE)
        assert call(b"", timeout=TIMEOUT_S) == b"\x08\x01"

        files.write(Authority().issue("other"), AUTHORITY.root)
        assert shown_by(world.port) == "other"

        assert call(b"", timeout=TIMEOUT_S) == b"\x08\x01"


def test_a_renewed_authority_for_clients_is_asked_from_then_on(files: CertificateFiles) -> None:
    old, renewed = AUTHORITY.issue("client"), Authority()
    new = renewed.issue("client")
    with boundary(settings(files, mutual=True)) as world:
        files.write(AUTHORITY.issue("server"), renewed.root)

        assert live(world, grpc.ssl_channel_credentials(AUTHORITY.root, new.key, new.certificate))
        with pytest.raises(grpc.RpcError):
            live(world, grpc.ssl_channel_credentials(AUTHORITY.root, old.key, old.certificate))

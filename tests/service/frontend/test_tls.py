"""Certificates that are read again when they change, and stay when they are broken."""

from pathlib import Path

import pytest
import structlog

from interlock.frontend.tls import CertificateError, Certificates, server_credentials
from interlock.settings import TlsSettings
from tests.support.boundary import Authority, CertificateFiles

AUTHORITY = Authority()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    files = CertificateFiles(tmp_path)
    files.write(AUTHORITY.issue("first"), AUTHORITY.root)
    return files


def of(files: CertificateFiles) -> Certificates:
    return Certificates(cert=files.cert, key=files.key, root=files.root)


def test_files_that_have_not_changed_are_not_read_again(files: CertificateFiles) -> None:
    certificates = of(files)

    assert certificates.load() is not None
    assert certificates.refresh() is None


def test_new_files_are_taken_once(files: CertificateFiles) -> None:
    certificates = of(files)
    files.write(AUTHORITY.issue("second"), AUTHORITY.root)

    with structlog.testing.capture_logs() as logs:
        assert certificates.refresh() is not None
        assert certificates.refresh() is None

    assert [line["event"] for line in logs] == ["took a new certificate"]


def test_a_half_written_pair_keeps_the_old_one_until_it_is_whole(files: CertificateFiles) -> None:
    certificates = of(files)
    renewed = AUTHORITY.issue("second")

    files.replace(files.cert, renewed.certificate)
    with structlog.testing.capture_logs() as logs:
        assert certificates.refresh() is None
        assert certificates.refresh() is None
    files.replace(files.key, renewed.key)

    assert certificates.refresh() is not None
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("kept the old certificate", f"{files.key} is not the key of the certificate")
    ]


def test_a_file_that_is_gone_keeps_the_old_certificate(files: CertificateFiles) -> None:
    certificates = of(files)
    files.cert.unlink()

    with structlog.testing.capture_logs() as logs:
        assert certificates.refresh() is None

    assert [line["reason"] for line in logs] == [
        f"cannot read {files.cert}: No such file or directory"
    ]


@pytest.mark.parametrize("which", ["cert", "root"])
def test_what_is_no_certificate_is_named(files: CertificateFiles, which: str) -> None:
    file: Path = getattr(files, which)
    file.write_bytes(b"nothing of the kind")

    with pytest.raises(CertificateError, match=f"^{file} holds no PEM certificate: "):
        of(files).load()


def test_what_is_no_key_is_named(files: CertificateFiles) -> None:
    files.key.write_bytes(b"nothing of the kind")

    with pytest.raises(CertificateError, match=f"^{files.key} holds no PEM key without a password"):
        of(files).load()


def test_the_root_is_needed_for_mutual_tls_only(files: CertificateFiles) -> None:
    certificates = Certificates(cert=files.cert, key=files.key, root=None)

    assert certificates.load() is not None


def test_without_tls_there_are_no_credentials() -> None:
    assert server_credentials(TlsSettings()) is None


def test_a_wrong_certificate_is_an_error_at_start(files: CertificateFiles) -> None:
    files.cert.write_bytes(b"")
    settings = TlsSettings(use_ssl=True, server_cert=files.cert, server_key=files.key)

    with pytest.raises(CertificateError, match="holds no PEM certificate"):
        server_credentials(settings)


def test_an_expired_certificate_is_used_and_warned_of(files: CertificateFiles) -> None:
    files.write(AUTHORITY.issue("late", days=-1), AUTHORITY.root)

    with structlog.testing.capture_logs() as logs:
        assert of(files).load() is not None

    assert [(line["event"], line["file"]) for line in logs] == [
        ("a certificate has expired", str(files.cert))
    ]

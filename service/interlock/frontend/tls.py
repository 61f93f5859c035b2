"""Credentials of the port, from files that may be replaced while the server runs.

gRPC asks before each handshake; what has changed on disk is then read again. A pair that
does not fit together (a key that is still being written, say) is logged once, and the old
one stays.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from interlock.settings import TlsSettings

log = structlog.get_logger()

_Fingerprint = tuple[tuple[int, int, int] | None, ...]


class CertificateError(Exception):
    """The files of a certificate cannot be used, and why."""


class Certificates:
    """The certificate files as gRPC wants them. `refresh` is called by gRPC's own threads."""

    def __init__(self, *, cert: Path, key: Path, root: Path | None) -> None:
        self._cert = cert
        self._key = key
        self._root = root
        self._seen = self._fingerprint()

    def load(self) -> grpc.ServerCertificateConfiguration:
        """Read the files. Raise CertificateError where they do not make a certificate."""
        chain = _read(self._cert)
        key = _read(self._key)
        root = None if self._root is None else _read(self._root)
        leaf = _check_chain(self._cert, chain)
        _check_key(self._key, key, leaf)
        if self._root is not None and root is not None:
            _check_chain(self._root, root)
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=root)

    def refresh(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed since the last call; `None` keeps what is in use."""
        now = self._fingerprint()
        if now == self._seen:
            return None
        # Also when it cannot be used: one line in the log for each change.
        self._seen = now
        try:
            configuration = self.load()
        except CertificateError as error:
            log.warning("kept the old certificate", reason=str(error))
            return None
        log.info("took a new certificate", file=str(self._cert))
        return configuration

    def _fingerprint(self) -> _Fingerprint:
        files = (self._cert, self._key, self._root)
        return tuple(None if file is None else _identity(file) for file in files)


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials | None:
    """Return what the port is bound with; `None` without TLS. Raise CertificateError."""
    if not settings.enabled or settings.server_cert is None or settings.server_key is None:
        return None
    certificates = Certificates(
        cert=settings.server_cert, key=settings.server_key, root=settings.root_cert
    )
    return grpc.dynamic_ssl_server_credentials(
        certificates.load(),
        certificates.refresh,  # pyright: ignore[reportArgumentType] - None is "as it was"
        require_client_authentication=settings.use_ssl_mutual,
    )


def _identity(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; follows links, as Kubernetes needs."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {file}: {error.strerror}") from error


def _check_chain(file: Path, pem: bytes) -> x509.Certificate:
    """Return the first certificate of a file."""
    try:
        chain: Sequence[x509.Certificate] = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateError(f"{file} holds no PEM certificate: {error}") from error
    if chain[0].not_valid_after_utc < datetime.now(UTC):
        log.warning("a certificate has expired", file=str(file))
    return chain[0]


def _check_key(file: Path, pem: bytes, leaf: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{file} holds no PEM key without a password: {error}") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise CertificateError(f"{file} is not the key of the certificate")

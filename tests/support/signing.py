"""Keys, certificates and signed models, made when a test wants them."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from interlock_agents.api import DirectoryLocation
from interlock_agents.signing.bundle import Bundle, parse, signed_bytes
from interlock_agents.signing.keys import PrivateKey, PublicKey, fingerprint, sign
from interlock_agents.signing.signers import Trusted
from interlock_agents.signing.verification import SIGNATURE_FILE, sign_model

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
ED25519 = Ed25519PrivateKey.generate()
OTHER = ec.generate_private_key(ec.SECP256R1())

KEYS: Mapping[str, PrivateKey] = {"p256": P256, "p384": P384, "p521": P521, "ed25519": ED25519}


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    how = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def write_private_key(path: Path, key: PrivateKey, passphrase: bytes | None = None) -> Path:
    path.write_bytes(private_pem(key, passphrase))
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Owner:
    """Someone with a certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def usage(*, signs: bool, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(signs, False, False, False, False, issues, issues, False, False)


def certified(
    name: str,
    issuer: Owner | None = None,
    *,
    is_authority: bool = False,
    key: PrivateKey | None = None,
    start: datetime = NOW - timedelta(days=10),
    end: datetime = NOW + timedelta(days=10),
    extensions: Sequence[x509.ExtensionType] | None = None,
    has_critical: x509.ExtensionType | None = None,
) -> Owner:
    """Make someone whose certificate is issued by another, or by themselves."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    if extensions is None:
        extensions = [usage(signs=not is_authority, issues=is_authority)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    if has_critical is not None:
        builder = builder.add_extension(has_critical, critical=True)
    by = issuer.key if issuer else key
    algorithm = None if isinstance(by, Ed25519PrivateKey) else hashes.SHA256()
    return Owner(key, builder.sign(by, algorithm))


ROOT = certified("root", is_authority=True)
ISSUER = certified("issuer", ROOT, is_authority=True)
RELEASE = certified("release", ISSUER)


def trusted(
    *keys: PrivateKey, certificates: Sequence[Owner] = (), name: str = "release"
) -> Trusted:
    public: list[PublicKey] = [key.public_key() for key in keys]
    return Trusted(name, tuple(public), tuple(one.certificate for one in certificates))


def write_model(directory: Path) -> Path:
    """Write a model of two versions, unsigned."""
    for path in ("1/model.onnx", "1/deep/vocabulary", "2/model.onnx", "config.pbtxt"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(f"content of {path}" * 1000)
    return directory


def sign_directory(
    directory: Path,
    key: PrivateKey = P256,
    *,
    name: str = "m",
    chain: Sequence[Owner] = (),
) -> Path:
    """Sign the files that lie in a directory now."""
    der = [one.der for one in chain]
    content, _ = sign_model(DirectoryLocation(directory), name, key, certificates=der)
    (directory / SIGNATURE_FILE).write_bytes(content)
    return directory


def envelope(key: PrivateKey, payload: bytes, chain: Sequence[Owner] = ()) -> Bundle:
    """Sign any bytes as if they were a statement."""
    hint = "" if chain else fingerprint(key.public_key())
    signature = sign(key, signed_bytes(payload))
    return Bundle(payload, signature, hint, tuple(one.der for one in chain))


def statement_in(directory: Path) -> dict[str, Any]:
    fields = json.loads(parse((directory / SIGNATURE_FILE).read_bytes()).payload)
    assert isinstance(fields, dict)
    return fields


def sign_statement(directory: Path, fields: Mapping[str, Any], key: PrivateKey = P256) -> None:
    """Put any statement in the place of a model's, with a good signature of it."""
    bundle = envelope(key, json.dumps(fields).encode())
    (directory / SIGNATURE_FILE).write_bytes(bundle.text())


def change_bundle(directory: Path, *path: str | int, to: object) -> None:
    """Change one field of a signature's file, the signature staying as it was."""
    place = directory / SIGNATURE_FILE
    fields = json.loads(place.read_bytes())
    inner = fields
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    place.write_text(json.dumps(fields))


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()

"""Who is trusted to sign, and which of them has signed a bundle.

A directory says who: `NAME.pem` holds the public keys of the signer NAME, or certificates that
are the signer's or have issued the signer's. It is read for every model that is loaded, so that
a change counts from the next load on, without a restart.
"""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509

from interlock_agents.signing.bundle import Bundle
from interlock_agents.signing.certificates import check_chain, read_chain, subject_of
from interlock_agents.signing.errors import SignatureError, SignersUnavailableError
from interlock_agents.signing.keys import (
    PublicKey,
    as_public_key,
    fingerprint,
    is_signed,
    read_public_key,
)

SUFFIX: Final = ".pem"
MAX_BYTES: Final = 1 << 20
"""Of one file of a signer."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}", re.ASCII)
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_SHOWN: Final = 12
"""Digits of a fingerprint that are enough to tell keys apart."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A signer who is trusted: by keys, by certificates, or by both."""

    name: str
    keys: tuple[PublicKey, ...] = ()
    certificates: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who has signed; `subject` is that of the certificate, "" where it was a mere key."""

    name: str
    fingerprint: str
    subject: str = ""

    @property
    def means(self) -> str:
        """What it was signed with, for people."""
        return self.subject or f"key {self.fingerprint[:_SHOWN]}"

    def __str__(self) -> str:
        return f"{self.name} ({self.means})"


class Signers(Protocol):
    """Something that knows who is trusted. Any thread may ask."""

    def trusted(self, names: Sequence[str] = ()) -> Sequence[Trusted]:
        """Return the signers with these names, without names all of them.

        Raise SignersUnavailableError where one is not there, or may not be relied on.
        """
        ...


class NoSigners:
    """Nobody is trusted: the server was given no directory of signers."""

    def trusted(self, names: Sequence[str] = ()) -> Sequence[Trusted]:  # noqa: ARG002 - Signers'
        raise SignersUnavailableError("nobody is trusted: --signer-directory is not set")


class SignerDirectory:
    """A directory with a file `NAME.pem` for every signer, where nobody else may write."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def trusted(self, names: Sequence[str] = ()) -> Sequence[Trusted]:
        try:
            _check_unwritten(self._directory.stat(), self._directory)
            found = names or sorted(path.stem for path in self._directory.glob(f"*{SUFFIX}"))
        except OSError as error:
            raise SignersUnavailableError(
                f"cannot use signer directory '{self._directory}': {error.strerror}"
            ) from None
        if not found:
            raise SignersUnavailableError(f"no signer is in signer directory '{self._directory}'")
        return [self._find(name) for name in found]

    def _find(self, name: str) -> Trusted:
        # A name is never a way out of the directory.
        if not _NAME.fullmatch(name):
            raise SignersUnavailableError(f"{name!r} is no name of a signer")
        path = self._directory / f"{name}{SUFFIX}"
        try:
            return read_signer(path, is_relied_on=True)
        except FileNotFoundError:
            raise SignersUnavailableError(
                f"no signer '{name}' in signer directory '{self._directory}'"
            ) from None
        except OSError as error:
            raise SignersUnavailableError(
                f"cannot read signer '{path}': {error.strerror}"
            ) from None


def read_signer(path: Path, *, is_relied_on: bool = False) -> Trusted:
    """Return the signer in a file, who is called like it.

    Raise OSError, and SignersUnavailableError for what holds no key, or, where it is relied on
    by a server, what others may write.
    """
    # Not to hang on a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - no path any more
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SignersUnavailableError(f"signer '{path}' is no file")
        if is_relied_on:
            _check_unwritten(status, path)
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SignersUnavailableError(f"signer '{path}' is longer than {MAX_BYTES >> 10} KiB")
    try:
        return parse_signer(path.stem, content)
    except SignatureError as error:
        raise SignersUnavailableError(f"signer '{path}': {error}") from None


def parse_signer(name: str, pem: bytes) -> Trusted:
    """Return the signer in a text. Raise SignatureError where it holds no key, or a secret."""
    keys: list[PublicKey] = []
    certificates: list[x509.Certificate] = []
    for block in _BLOCK.finditer(pem):
        match block[1]:
            case b"PUBLIC KEY":
                keys.append(read_public_key(block[0]))
            case b"CERTIFICATE":
                certificates.append(_read_certificate(block[0]))
            case kind if kind.endswith(b"PRIVATE KEY"):
                raise SignatureError("it holds a private key, which belongs with the signer alone")
            case kind:
                raise SignatureError(f"it holds something else than keys: {kind.decode()}")
    if not keys and not certificates:
        raise SignatureError("it holds neither a public key nor a certificate in PEM")
    return Trusted(name, tuple(keys), tuple(certificates))


def signer_of(bundle: Bundle, trusted: Sequence[Trusted], now: datetime) -> Signer:
    """Return who has signed a bundle. Raise SignatureError unless it is one who is trusted."""
    if bundle.certificates:
        return _signer_by_certificate(bundle, trusted, now)
    return _signer_by_key(bundle, trusted)


def _signer_by_key(bundle: Bundle, trusted: Sequence[Trusted]) -> Signer:
    known = [(one.name, key) for one in trusted for key in one.keys]
    if not known:
        raise SignatureError(f"signed with a key, and of {_names(trusted)} only certificates count")
    if bundle.hint:
        named = [(name, key) for name, key in known if fingerprint(key) == bundle.hint]
        if not named:
            shown = bundle.hint[:_SHOWN]
            raise SignatureError(
                f"signed with another key ({shown}) than those of {_names(trusted)}"
            )
        known = named
    content = bundle.signed_bytes()
    for name, key in known:
        if is_signed(key, bundle.signature, content):
            return Signer(name, fingerprint(key))
    of = _names([one for one in trusted if any(one.name == name for name, _ in known)])
    if bundle.hint:
        raise SignatureError(f"the signature is not the key's of {of}: it was changed, or forged")
    raise SignatureError(f"signed with another key than those of {of}, or changed")


def _signer_by_certificate(bundle: Bundle, trusted: Sequence[Trusted], now: datetime) -> Signer:
    chain = read_chain(bundle.certificates)
    signer = chain[0]
    subject = subject_of(signer)
    key = as_public_key(signer.public_key())
    name = _voucher(chain, trusted, now)
    if not is_signed(key, bundle.signature, bundle.signed_bytes()):
        raise SignatureError(
            f"the signature is not that of certificate '{subject}': it was changed, or forged"
        )
    return Signer(name, fingerprint(key), subject)


def _voucher(chain: Sequence[x509.Certificate], trusted: Sequence[Trusted], now: datetime) -> str:
    """Return the name of the first who vouches for a chain. Raise SignatureError."""
    refusal = SignatureError(f"signed with a certificate, and of {_names(trusted)} only keys count")
    for one in trusted:
        if not one.certificates:
            continue
        try:
            check_chain(chain, one.certificates, now)
        except SignatureError as error:
            refusal = error
        else:
            return one.name
    raise refusal


def _read_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise SignatureError("a certificate that cannot be read") from None


def _names(trusted: Sequence[Trusted]) -> str:
    return ", ".join(one.name for one in trusted) or "nobody"


def _check_unwritten(status: os.stat_result, path: Path) -> None:
    is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    if status.st_uid not in {0, os.geteuid()} and not is_read_only:
        raise SignersUnavailableError(
            f"'{path}' belongs to another user: it must be the server's own, or root's"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS_WRITE:
        raise SignersUnavailableError(
            f"'{path}' can be written by others (mode {mode:04o}); chmod go-w '{path}'"
        )

"""Verify that a model's files are those that a trusted signer has signed, and sign files.

Of the model only its own directory is read, and of a file one piece at a time.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from interlock_agents.api import Location, ModelFile, PathError
from interlock_agents.digesting import PIECE_BYTES, Digester
from interlock_agents.file_list import version_of
from interlock_agents.signing.bundle import MAX_BYTES, Bundle, parse as parse_bundle, signed_bytes
from interlock_agents.signing.errors import SignatureError
from interlock_agents.signing.keys import PrivateKey, fingerprint, sign
from interlock_agents.signing.order import hint_for, hint_for_missing, hint_for_unsigned
from interlock_agents.signing.signers import Signer, Trusted, signer_of
from interlock_agents.signing.statement import IGNORED, Statement, parse as parse_statement

SIGNATURE_FILE: Final = "model.sig"
ANY_NAME: Final = "*"
MAX_SHOWN: Final = 3
"""Files that a refusal names; of more it gives the number."""

_CONFIG: Final = "config.pbtxt"
_ALGORITHM: Final = "SHA256"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a signature must be of: `name` (`*`: of any), and these versions (none: of all).

    `subject` is that of the signer's certificate; "" for any, and for mere keys.
    """

    name: str
    versions: Sequence[int] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A good signature: who has made it, for what name, and how many files were compared."""

    signer: Signer
    name: str
    files: int


def verify(
    location: Location,
    wanted: Wanted,
    trusted: Sequence[Trusted],
    *,
    now: datetime,
    check: Callable[[], None] = lambda: None,
) -> Verdict:
    """Hold a model against its signature. Raise SignatureError, which says what is wrong.

    `check` is called between pieces of files, and may raise to end it. Files of versions that
    are not wanted are passed over.
    """
    bundle = parse_bundle(_content(location))
    signer = signer_of(bundle, trusted, now)
    if wanted.subject and signer.subject != wanted.subject:
        by = f"'{signer.subject}'" if signer.subject else "a key without one"
        raise SignatureError(f"signed by {by}, and must be by certificate '{wanted.subject}'")
    # Not before it is known who says so.
    statement = parse_statement(bundle.payload)
    if wanted.name not in {statement.name, ANY_NAME}:
        raise SignatureError(
            f"it is the signature of model '{statement.name}', and not of '{wanted.name}'"
        )
    files = _compare(location, statement, wanted.versions, Digester(check))
    return Verdict(signer, statement.name, files)


def claimed(location: Location) -> Statement:
    """Return what a model's signature says, whoever has made it. Raise SignatureError."""
    return parse_statement(parse_bundle(_content(location)).payload)


def sign_model(
    location: Location,
    name: str,
    key: PrivateKey,
    *,
    certificates: Sequence[bytes] = (),
    has_links: bool = False,
) -> tuple[bytes, Mapping[str, str]]:
    """Return the signature of a model as it stands in a file, and the SHA-256 of each file.

    `certificates` are in DER, the signer's first. Raise SignatureError for a model that cannot
    be signed.
    """
    digester = Digester(lambda: None)
    digests = {}
    nothing = Statement(name, _ALGORITHM, {})
    for path, file in _files(location).items():
        if not nothing.ignores(path):
            with _reading(path):
                digests[path] = digester.of_file(_ALGORITHM, file)
    if not digests:
        raise SignatureError("there is no file to be signed")
    payload = Statement(name, _ALGORITHM, digests, IGNORED, allows_links=has_links).payload()
    # Read as others will, who would refuse names that cannot be written down.
    parse_statement(payload)
    signature = sign(key, signed_bytes(payload))
    hint = "" if certificates else fingerprint(key.public_key())
    content = Bundle(payload, signature, hint, tuple(certificates)).text()
    if len(content) > MAX_BYTES:
        raise SignatureError(f"the signature would be longer than {MAX_BYTES >> 20} MiB")
    return content, digests


def _content(location: Location) -> bytes:
    """Return what the signature's file holds, if it is not too long to be one."""
    with _reading(SIGNATURE_FILE):
        try:
            file = location.file(SIGNATURE_FILE)
        except FileNotFoundError:
            hint = hint_for_unsigned(_files(location), SIGNATURE_FILE)
            text = f"the model is not signed: it has no file {SIGNATURE_FILE}{hint}"
            raise SignatureError(text) from None
        with file.open() as stream:
            content = b"".join(_pieces(stream.read, MAX_BYTES + 1))
    if len(content) > MAX_BYTES:
        raise SignatureError(f"it is longer than {MAX_BYTES >> 20} MiB, and was not read further")
    return content


def _pieces(read: Callable[[int], bytes], at_most: int) -> Iterator[bytes]:
    while at_most > 0 and (piece := read(min(at_most, PIECE_BYTES))):
        at_most -= len(piece)
        yield piece


def _compare(
    location: Location, statement: Statement, versions: Sequence[int], digester: Digester
) -> int:
    """Compare every file with its digest; return how many there were."""
    there = _files(location)
    signed = {path: statement.digests[path] for path in _of(versions, statement.digests)}
    _check_names(signed, list(_of(versions, there)), statement, versions)
    for path, expected in signed.items():
        with _reading(path):
            got = digester.of_file(statement.algorithm, there[path])
        if not hmac.compare_digest(expected.encode(), got.encode()):
            raise SignatureError(f"file {path} is not what was signed{hint_for(path)}")
    return digester.files


def _check_names(
    signed: Mapping[str, str],
    there: Sequence[str],
    statement: Statement,
    versions: Sequence[int],
) -> None:
    """Raise SignatureError unless just the files that are signed are there."""
    for version in versions:
        if not any(version_of(path) == version for path in signed):
            raise SignatureError(f"version {version} is not signed")
    if missing := sorted(signed.keys() - set(there)):
        hint = hint_for_missing(missing, there)
        raise SignatureError(f"signed and not there: {_some(missing)}{hint}")
    if unlisted := [path for path in there if path not in signed and _counts(path, statement)]:
        hint = hint_for(*unlisted)
        raise SignatureError(f"there and not signed: {_some(unlisted)}{hint}")


def _counts(path: str, statement: Statement) -> bool:
    """Return whether a file must be signed: it may be read, or its signer has not left it out."""
    if path == SIGNATURE_FILE:
        return False
    return path == _CONFIG or version_of(path) is not None or not statement.ignores(path)


def _of(versions: Sequence[int], paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that belong to any of the versions, or to all; without versions, all."""
    for path in paths:
        if not versions or version_of(path) in {None, *versions}:
            yield path


def _files(location: Location) -> Mapping[str, ModelFile]:
    with _reading("."):
        return location.files()


def _some(paths: Sequence[str]) -> str:
    more = len(paths) - MAX_SHOWN
    return ", ".join(paths[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Say of a file that cannot be read which it is."""
    try:
        yield
    except OSError as error:
        raise SignatureError(f"failed to read {path}: {error.strerror or error}") from error
    except PathError as error:
        raise SignatureError(f"failed to read {path}: {error}") from error

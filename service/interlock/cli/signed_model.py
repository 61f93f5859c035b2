"""Say whether a model's signature still speaks of a file as it lies there, whoever has made it.

For those who change a model: whether the signature counts is for `interlock verify` to say.
"""

from collections.abc import Iterable
from pathlib import Path

from interlock.repository.layout import MANIFEST_FILE, SIGNATURE_FILE
from interlock_agents.api import DirectoryLocation, PathError
from interlock_agents.digesting import Digester
from interlock_agents.encryption.names import clear_path
from interlock_agents.signing.errors import SignatureError
from interlock_agents.signing.verification import claimed

AGAIN = "sign again: 'interlock sign' comes last"
OUTLIVED = f"{SIGNATURE_FILE} is of the old files; {AGAIN}"


def needs_signing(model: Path) -> bool:
    """Whether a model is signed, and not with the manifest that it has."""
    return (model / SIGNATURE_FILE).exists() and not _is_claimed(model, MANIFEST_FILE)


def is_of_encrypted(model: Path) -> bool:
    """Whether a model's signature is of files as they lie there encrypted."""
    try:
        return any(map(clear_path, claimed(DirectoryLocation(model)).digests))
    except SignatureError:
        return False


def has_outlived(model: Path, paths: Iterable[str]) -> bool:
    """Whether a model's signature is of one of these files as it was before it changed."""
    location = DirectoryLocation(model)
    try:
        signed = claimed(location).digests
    except SignatureError:
        return False
    return any(path in signed and not _is_claimed(model, path) for path in paths)


def _is_claimed(model: Path, path: str) -> bool:
    location = DirectoryLocation(model)
    try:
        statement = claimed(location)
        got = Digester(lambda: None).of_file(statement.algorithm, location.file(path))
    except (OSError, PathError, SignatureError):
        return False
    return statement.digests.get(path) == got

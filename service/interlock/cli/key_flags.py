"""The flags of the command line that say where keys come from, and whom a file is for."""

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from interlock.cli.verb import UsageError
from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.header import KEY_ID
from interlock_agents.encryption.key_sources import (
    PUBLIC_SUFFIX,
    KeyRing,
    PublicKeys,
    read_key_file,
    source_of,
)
from interlock_agents.encryption.keys import Key, parse_keys

_WRITTEN_OUT = "ilk1:"


def add_key_directory(parser: argparse.ArgumentParser, *, is_required: bool) -> None:
    parser.add_argument(
        "--key-directory",
        type=Path,
        required=is_required,
        metavar="DIRECTORY",
        help="with a file ID.key for every key; nobody else may look into it",
    )


def add_key_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key-source",
        action="append",
        default=[],
        metavar="SOURCE",
        help="env:VARIABLE that holds keys, or exec:COMMAND that prints one, its name being the "
        "last argument or {id}; may be repeated",
    )


def recipient_of(text: str, directory: Path | None, sources: Sequence[str] = ()) -> Key:
    """Return the key that one --recipient means: written out, a file, or a name.

    Raise UsageError for what is none of these, EncryptionError and OSError for keys that
    cannot be used.
    """
    if text.startswith(_WRITTEN_OUT):
        return _written_out(text)
    place = Path(text)
    if os.sep in text or place.suffix == PUBLIC_SUFFIX or place.is_file():
        return _only(read_key_file(place, is_secret=place.suffix != PUBLIC_SUFFIX), text)
    if not KEY_ID.fullmatch(text):
        raise UsageError(f"recipient '{text}' is no key, no file and no name of a key")
    found = [] if directory is None else [PublicKeys(directory)]
    if not found and not sources:
        raise UsageError(f"recipient '{text}' is a name; --key-directory says where its key is")
    return KeyRing([*found, *map(source_of, sources)]).find(text)


def _written_out(text: str) -> Key:
    # Whatever is wrong with it, it must not be shown: it may be a secret.
    with contextlib.suppress(EncryptionError, UnicodeEncodeError):
        key = _only(parse_keys(bytearray(text.encode("ascii")), where="recipient"), "recipient")
        if not key.kind.is_secret:
            return key
        key.wipe()
        raise UsageError(
            f"key '{key.id}' is secret, and others see the arguments of a command: make another, "
            "and name the file that holds it"
        )
    raise UsageError("a recipient that is written out is no key, or mistyped")


def _only(keys: Sequence[Key], where: str) -> Key:
    if len(keys) != 1:
        raise EncryptionError(f"'{where}' does not hold one key but {len(keys)}")
    return keys[0]

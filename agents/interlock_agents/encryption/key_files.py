"""Write keys into a key directory, where nobody else may read them."""

import os
from pathlib import Path
from typing import Final

from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.key_sources import PUBLIC_SUFFIX, SECRET_SUFFIX, KeyDirectory
from interlock_agents.encryption.keys import Key, KeyKind
from interlock_agents.encryption.secret import wipe

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644
_DIRECTORY: Final = 0o700


def write_new_key(directory: Path, key: Key) -> Path:
    """Write a secret key, and its public half if it has one; return where the secret is.

    Makes the directory. Raise EncryptionError where there is such a key, or others may look
    into the directory; OSError where it cannot be written.
    """
    directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
    KeyDirectory(directory).check()
    place = directory / f"{key.id}{SECRET_SUFFIX}"
    try:
        _write(place, key, mode=_PRIVATE)
    except FileExistsError:
        raise EncryptionError(f"there is a key '{key.id}' already: '{place}'") from None
    if key.kind is not KeyKind.AES256:
        public = directory / f"{key.id}{PUBLIC_SUFFIX}"
        public.unlink(missing_ok=True)  # of a key that is gone
        _write(public, key.public(), mode=_PUBLIC)
    return place


def _write(place: Path, key: Key, *, mode: int) -> None:
    line = key.line()
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    except BaseException:
        place.unlink()
        raise
    finally:
        wipe(line)
        os.close(descriptor)

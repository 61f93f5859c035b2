"""What files of an encrypted model are called, and which of them take another's place."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from interlock_agents.encryption.errors import EncryptionError

SUFFIX: Final = ".enc"
CONFIG: Final = "config.pbtxt"
MANIFEST: Final = "manifest.json"
"""Lists the files as they lie there, encrypted: it is none of the clear model's."""
SIGNATURE: Final = "model.sig"
"""Vouches for the files as they lie there, encrypted; an encrypted one for the clear ones."""
_CONFIGS: Final = re.compile(r"configs/[^/]+\.pbtxt")
_OTHERS: Final = frozenset({MANIFEST, SIGNATURE})


def is_config(path: str) -> bool:
    """Whether a clear file may be the model's configuration, by its own name or one that is set."""
    return path == CONFIG or _CONFIGS.fullmatch(path) is not None


def stands_for_itself(path: str) -> bool:
    """Whether a clear file may lie beside its own encrypted file, and say other things.

    How the model is to be decrypted, what lies there encrypted, and who vouches for that.
    """
    return is_config(path) or path in _OTHERS


def clear_path(path: str) -> str | None:
    """Return where the clear content of an encrypted file belongs, `None` if it is not one."""
    return path.removesuffix(SUFFIX) if path.endswith(SUFFIX) and not _is_bare(path) else None


def encrypted_path(path: str) -> str:
    """Return where the encrypted file of a clear one lies."""
    return path + SUFFIX


def pairs(paths: Iterable[str]) -> Mapping[str, str]:
    """Return the encrypted files by the paths of their clear content.

    Raise EncryptionError where a clear file lies in such a place that may not.
    """
    there = set(paths)
    found = {}
    for path in sorted(there):
        clear = clear_path(path)
        if clear is None:
            continue
        if clear in there and not stands_for_itself(clear):
            raise EncryptionError(f"both '{clear}' and '{path}' are there; which of them counts?")
        found[clear] = path
    return found


def _is_bare(path: str) -> bool:
    return path.rpartition("/")[2] == SUFFIX

"""Say which step of publishing a model came too early, where that is what its files tell.

The order is: encrypt, write the manifest, sign. What is signed before it is encrypted is
verified after it was decrypted.
"""

from collections.abc import Collection, Sequence
from typing import Final

from interlock_agents.encryption.names import MANIFEST, SUFFIX

_AGAIN: Final = "sign again: 'interlock sign' comes after 'interlock {}'"
_LATER: Final = "or name 'decrypt' before 'signature' in config.pbtxt"


def hint_for(*paths: str) -> str:
    """Return what to do about files that are not as they were signed, "" for no idea."""
    return f" ({_AGAIN.format('manifest')})" if MANIFEST in paths else ""


def hint_for_missing(missing: Sequence[str], there: Collection[str]) -> str:
    """Return what to do about files that were signed and are not there."""
    if any(path + SUFFIX in there for path in missing):
        return f" (it was signed before it was encrypted: {_AGAIN.format('encrypt')}, {_LATER})"
    if any(path.removesuffix(SUFFIX) in there for path in missing if path.endswith(SUFFIX)):
        return (
            " (it was signed after it was encrypted: name 'signature' before 'decrypt' in "
            "config.pbtxt)"
        )
    return ""


def hint_for_unsigned(there: Collection[str], signature: str) -> str:
    """Return what to do about a model that has no signature of this name."""
    if signature + SUFFIX in there:
        return f" ({signature} was encrypted with it: {_AGAIN.format('encrypt')}, {_LATER})"
    return ""

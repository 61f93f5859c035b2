r"""Digests of files and of directories, read in pieces from wherever the files lie.

The digest of a directory is that of a text, with a line for each file below it in the order
of the paths' bytes: the file's own digest, two spaces, its path in the directory. That is
what the tools of GNU coreutils make of it:

    find -L . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from interlock_agents.api import ModelFile

PIECE_BYTES: Final = 1 << 20


class Hash(Protocol):
    """What `hashlib` makes."""

    def update(self, data: memoryview | bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


# Also those that are broken: what they are trusted for is who has put the digest there.
ALGORITHMS: Final[Mapping[str, Callable[[], Hash]]] = {
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "BLAKE2B": hashlib.blake2b,
}
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r"})


class Digester:
    """Makes digests, one piece of a file in memory at a time. One thread at a time may call.

    `check` is called before each piece, and may raise to end it.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.files = 0
        """How many files were read."""
        self._check = check
        self._piece = memoryview(bytearray(PIECE_BYTES))

    def of_file(self, algorithm: str, file: ModelFile) -> str:
        """Return the digest of a file, in lower case. Raise OSError and PathError as `open`."""
        made = ALGORITHMS[algorithm]()
        with file.open() as stream:
            while True:
                self._check()
                # The streams of files are not buffered, and read into what they are given.
                count = stream.readinto(self._piece)  # type: ignore[attr-defined]
                if not count:
                    break
                made.update(self._piece[:count])
        self.files += 1
        return made.hexdigest()

    def of_files(self, algorithm: str, files: Mapping[str, ModelFile]) -> str:
        """Return the digest of files by their paths in a directory."""
        made = ALGORITHMS[algorithm]()
        for path in sorted(files, key=_bytes_of):
            made.update(_line(self.of_file(algorithm, files[path]), path))
        return made.hexdigest()


def _line(digest: str, path: str) -> bytes:
    escaped = path.translate(_ESCAPES)
    # A backslash in front says that the path was escaped.
    mark = "\\" if escaped != path else ""
    return _bytes_of(f"{mark}{digest}  {escaped}\n")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

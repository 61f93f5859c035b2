"""What "changed" means: what a model's files are, not what a clock says.

A fingerprint covers the relative path, size, inode, mtime and ctime of every file, and two
are compared for equality only: a file that is restored with an older time is as much of a
change as one that is newer. What editors and interpreters leave behind does not count.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.repository.layout import is_ignored, version_of

_LEFT_BEHIND: Final = re.compile(
    r"""
      \..*\.sw[a-z]     # vim's swap files
    | 4913              # vim's test whether it may write here
    | .*~               # backups
    | \#.*\# | \.\#.*   # emacs: unsaved text, locks
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The fingerprint of each version of a model.

    The configuration and every other file outside the version directories belong to all
    versions alike.
    """

    versions: Mapping[int, str]
    common: str

    def of(self, version: int) -> str:
        """Return a version's fingerprint; without a directory only what is common."""
        return self.versions.get(version, self.common)


def fingerprint(model_directory: Path) -> Fingerprint:
    """Look at every file of a model, opening none.

    Raise OSError where a directory cannot be listed, its own excepted where it has gone in
    the meantime. A link that leads nowhere is a file that differs from every other.
    """
    common: list[str] = []
    versions: dict[int, list[str]] = {}
    with os.scandir(model_directory) as entries:
        for entry in sorted(entries, key=_name):
            version = version_of(entry.name)[0]
            lines = _lines(entry, entry.name, frozenset())
            if version is None or not entry.is_dir():
                common += lines
            else:
                versions[version] = list(lines)
    return Fingerprint(
        {version: _digest(common + lines) for version, lines in versions.items()},
        _digest(common),
    )


def _lines(entry: os.DirEntry[str], path: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        status = entry.stat()
        is_directory = entry.is_dir()
    except OSError:  # a link that leads nowhere, or in a circle
        yield _line(path, entry.stat(follow_symlinks=False))
        return
    if not is_directory:
        if not _LEFT_BEHIND.fullmatch(entry.name):
            yield _line(path, status)
    elif not is_ignored(entry.name):
        yield from _below(entry, path, above, (status.st_dev, status.st_ino))


def _below(
    entry: os.DirEntry[str], path: str, above: frozenset[tuple[int, int]], place: tuple[int, int]
) -> Iterator[str]:
    if place in above:  # a link to a directory that it lies in
        return
    with os.scandir(entry) as inside:
        for child in sorted(inside, key=_name):
            yield from _lines(child, f"{path}/{child.name}", above | {place})


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _line(path: str, status: os.stat_result) -> str:
    numbers = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return f"{path}\0{numbers}"


def _digest(lines: list[str]) -> str:
    text = "\n".join(lines).encode("utf-8", errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()

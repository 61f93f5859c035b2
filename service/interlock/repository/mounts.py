"""Tell what kind of file system a path lies on, and whether other machines write to it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")

_LOCAL: Final = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs"}
    | {"tmpfs", "xfs", "zfs"}
)
"""Where all that happens to a file goes through this machine's kernel.

A list of these and not of the others: a new kind of network or user-space file system is
not to be trusted by default.
"""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A mounted file system; `kind` is the kernel's name for it, "" where it is not told."""

    kind: str = ""

    @property
    def is_local(self) -> bool:
        """Whether this kernel hears of every change and knows every writer."""
        return self.kind in _LOCAL


class Mounts:
    """What was mounted at one moment."""

    def __init__(self, mountinfo: str) -> None:
        """Take the text of a `mountinfo` (proc(5)); lines that make no sense are left out."""
        self._by_place: dict[str, FileSystem] = {}
        for line in mountinfo.splitlines():
            before, _, after = line.partition(" - ")
            fields, kind = before.split(" "), after.split(" ")[0]
            if len(fields) > _PLACE and kind:
                # The later of two at one place hides the other.
                self._by_place[_unescaped(fields[_PLACE])] = FileSystem(kind)

    @classmethod
    def now(cls, path: Path = MOUNTS) -> "Mounts":
        """Read what is mounted; nothing, where the system does not tell."""
        try:
            return cls(path.read_text(encoding="utf-8", errors="surrogateescape"))
        except OSError:
            return cls("")

    def of(self, path: Path) -> FileSystem:
        """Return the file system that a path, after all its links, lies on."""
        place = os.path.realpath(path)
        while place not in self._by_place:
            parent = os.path.dirname(place)  # noqa: PTH120 - a string, once for each level
            if parent == place:
                return FileSystem()
            place = parent
        return self._by_place[place]


_PLACE: Final = 4


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)

"""List every file of a model with what the file system says of it, opening none.

What editors and interpreters leave behind is left out; links are followed. What cannot be
looked at costs itself only, and is told apart from what is not there.
"""

import errno
import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final, NamedTuple

from interlock.repository.layout import is_ignored, is_left_behind

MAX_ENTRIES: Final = 100_000
"""Of one model. A link to the root of a file system must not keep us for hours."""
MAX_DEPTH: Final = 64
"""Of directories in directories."""

FILE: Final = "file"
DIRECTORY: Final = "directory"
BROKEN: Final = "broken link"
OTHER: Final = "pipe, socket or device"

_GONE: Final = (FileNotFoundError, NotADirectoryError)


class Entry(NamedTuple):
    """One file or directory; `path` is relative to the model's directory, with slashes.

    A link has the numbers of what it leads to. `moved_ns` is when something happened to it
    last by the file system's clock: its own ctime, or that of the link. A tuple and not a
    dataclass, since every scan makes one for each file.
    """

    path: str
    kind: str
    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int
    moved_ns: int


class Problem(NamedTuple):
    """What could not be looked at, and why; an empty path is the model's directory itself."""

    path: str
    number: int
    text: str

    def as_error(self, directory: Path) -> OSError:
        return OSError(self.number, self.text, str(directory / self.path))


class Listing(NamedTuple):
    """The files and directories of a model, by path; its own directory is not among them."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()


def list_model(model_directory: Path | str) -> Listing:
    """Look at every file of a model.

    Raise OSError where its own directory cannot be listed. What vanishes meanwhile is not
    there.
    """
    walk = _Walk()
    walk.go_through(os.fspath(model_directory), "", frozenset())
    return Listing(tuple(sorted(walk.entries)), tuple(sorted(walk.problems)))


class _Walk:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []

    def go_through(self, directory: str, prefix: str, above: frozenset[tuple[int, int]]) -> None:
        with os.scandir(directory) as children:
            for child in children:
                path = prefix + child.name
                try:
                    self._look_at(child, path, above)
                except _GONE:
                    continue
                except OSError as error:
                    self._report(path, error)

    def _look_at(
        self, child: os.DirEntry[str], path: str, above: frozenset[tuple[int, int]]
    ) -> None:
        if len(self.entries) >= MAX_ENTRIES:
            self._give_up(f"more than {MAX_ENTRIES} files")
            return
        try:
            status = child.stat()
        except OSError:  # a link that leads nowhere, in a circle, or where we may not look
            self._add(path, BROKEN, child.stat(follow_symlinks=False))
            return
        if not S_ISDIR(status.st_mode):
            if not is_left_behind(child.name):
                kind = FILE if S_ISREG(status.st_mode) else OTHER
                self._add(path, kind, status, child)
        elif not is_ignored(child.name):
            place = (status.st_dev, status.st_ino)
            if place not in above:  # else it is a link to a directory that it lies in
                self._descend(child, path, above | {place})
                self._add(path, DIRECTORY, status, child)

    def _descend(
        self, child: os.DirEntry[str], path: str, above: frozenset[tuple[int, int]]
    ) -> None:
        if len(above) > MAX_DEPTH:
            self._give_up(f"more than {MAX_DEPTH} directories in each other")
        else:
            self.go_through(child.path, path + "/", above)

    def _add(
        self,
        path: str,
        kind: str,
        status: os.stat_result,
        child: os.DirEntry[str] | None = None,
    ) -> None:
        ctime_ns = status.st_ctime_ns
        moved_ns = ctime_ns
        if child is not None and child.is_symlink():
            moved_ns = max(moved_ns, child.stat(follow_symlinks=False).st_ctime_ns)
        numbers = (status.st_size, status.st_ino, status.st_mtime_ns, ctime_ns, moved_ns)
        self.entries.append(Entry(path, kind, *numbers))

    def _report(self, path: str, error: OSError) -> None:
        self.problems.append(Problem(path, error.errno or errno.EIO, error.strerror or str(error)))

    def _give_up(self, text: str) -> None:
        problem = Problem("", errno.E2BIG, text)
        if problem not in self.problems:
            self.problems.append(problem)

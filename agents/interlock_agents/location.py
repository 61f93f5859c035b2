"""Where the files of a model are: in a directory, or one by one on a disk or in memory.

Paths are relative to the model's directory, with slashes ("1/model.onnx"). None leads out of
it, not even through links.
"""

import errno
import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import MappingProxyType
from typing import BinaryIO, Final, Protocol

from interlock_agents.memory import MemoryFile

MAX_FILES: Final = 100_000
"""Of one model."""
MAX_DEPTH: Final = 64
"""Of directories in directories."""


class PathError(Exception):
    """A path is none, or leads out of the model's directory; says which and how."""


class ModelFile(Protocol):
    """One file of a model, wherever it lies. Any thread may call."""

    @property
    def size(self) -> int:
        """How many bytes it holds. Raise OSError where it cannot be looked at."""
        ...

    @property
    def path(self) -> Path:
        """Where it can be opened in this process, as long as its location is there."""
        ...

    def open(self) -> BinaryIO:
        """Open it for reading from the beginning; the stream is the caller's to close.

        Raise OSError where that cannot be, PathError where it leads out of the model.
        """
        ...

    def read(self) -> bytes:
        """Return all that it holds. Raise what `open` does."""
        ...


class Location(Protocol):
    """The files of a model, as an agent finds or publishes them."""

    def files(self) -> Mapping[str, ModelFile]:
        """Return every file by its path, hidden ones too, in order of the paths.

        Raise OSError where a directory cannot be listed, PathError where a link leads out.
        """
        ...

    def file(self, path: str) -> ModelFile:
        """Return the file at a path; it may not be there.

        Raise PathError for a path that is none or leads out, OSError where there is nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A file on a disk that does not lead out of `root`, now nor when it is opened."""

    path: Path
    root: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        _check_inside(self.path, self.root)
        # Not to hang on what has become a pipe.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self.path, flags)
        try:
            _check_is_file(descriptor, self.path)
            # A link may have moved since: what counts is what was opened.
            _check_inside(self.path, self.root, opened=descriptor)
            return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - no path any more
        except BaseException:
            os.close(descriptor)
            raise

    def read(self) -> bytes:
        with self.open() as stream:
            return stream.read()


@dataclass(frozen=True, slots=True)
class DirectoryLocation:
    """All that lies below a directory. Links are followed as long as they stay in it."""

    directory: Path

    def files(self) -> Mapping[str, ModelFile]:
        walk = _Walk(self.directory)
        walk.go_through(self.directory, "", frozenset())
        return {path: walk.found[path] for path in sorted(walk.found)}

    def file(self, path: str) -> DiskFile:
        place = self.directory / checked(path)
        _check_inside(place, self.directory)
        place.lstat()  # there, if only as a link
        return DiskFile(place, self.directory)


class FilesLocation:
    """Files one by one: in memory, or left where they are on a disk."""

    def __init__(self, files: Mapping[str, ModelFile]) -> None:
        """Take files by their paths. Raise PathError for a path that is none, or twice there.

        To change one file: `FilesLocation({**location.files(), "1/model.onnx": memory})`.
        """
        normal = {checked(path): file for path, file in files.items()}
        if len(normal) != len(files) or "." in normal:
            raise PathError("the paths of the files are not each a file of its own")
        self._files = MappingProxyType({path: normal[path] for path in sorted(normal)})

    def __repr__(self) -> str:
        return f"FilesLocation({len(self._files)} files)"

    def files(self) -> Mapping[str, ModelFile]:
        return self._files

    def file(self, path: str) -> ModelFile:
        try:
            return self._files[checked(path)]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def memory_files(self) -> tuple[MemoryFile, ...]:
        """Return those that are in memory."""
        return tuple(file for file in self._files.values() if isinstance(file, MemoryFile))


def checked(path: str) -> str:
    """Return the path in its simplest form. Raise PathError where it is none or leads out."""
    if not path or "\0" in path:
        raise PathError(f"{path!r} is no path of a file")
    if path.startswith("/"):
        raise PathError(f"'{path}' is an absolute path; it must be relative to the model directory")
    normal = posixpath.normpath(path)
    if normal == ".." or normal.startswith("../"):
        raise PathError(f"'{path}' leads out of the model directory")
    return normal


def below(files: Mapping[str, ModelFile], directory: str) -> Mapping[str, ModelFile]:
    """Return the files in a directory ("." is the model's own), by their paths in it."""
    normal = checked(directory)
    if normal == ".":
        return files
    prefix = f"{normal}/"
    return {
        path.removeprefix(prefix): file for path, file in files.items() if path.startswith(prefix)
    }


class _Walk:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.found: dict[str, DiskFile] = {}

    def go_through(self, directory: Path, prefix: str, above: frozenset[tuple[int, int]]) -> None:
        status = directory.stat()
        place = (status.st_dev, status.st_ino)
        if place in above:  # a link to a directory that it lies in
            return
        if len(above) > MAX_DEPTH:
            raise OSError(errno.ELOOP, "too many directories in each other", str(directory))
        for entry in _entries(directory):
            child = Path(entry.path)
            if entry.is_symlink():
                _check_inside(child, self._root)
            if child.is_dir():
                self.go_through(child, f"{prefix}{entry.name}/", above | {place})
            else:  # also a link that leads nowhere: a file that cannot be opened
                self._add(prefix + entry.name, child)

    def _add(self, path: str, place: Path) -> None:
        if len(self.found) >= MAX_FILES:
            raise OSError(errno.E2BIG, f"more than {MAX_FILES} files", str(self._root))
        self.found[path] = DiskFile(place, self._root)


def _entries(directory: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(directory) as entries:
        yield from entries


def _check_inside(place: Path, root: Path, *, opened: int | None = None) -> None:
    end = place if opened is None else Path(f"/proc/self/fd/{opened}")
    # Not Path.resolve(), which minds links in a circle; nothing can be opened there.
    is_inside = Path(os.path.realpath(end)).is_relative_to(os.path.realpath(root))
    if not is_inside:
        raise PathError(f"'{place.relative_to(root)}' leads out of the model directory")


def _check_is_file(descriptor: int, place: Path) -> None:
    mode = os.fstat(descriptor).st_mode
    if S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, not a file", str(place))

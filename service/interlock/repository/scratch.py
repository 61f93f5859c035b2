"""The owned scratch root: what comes with a request or over the network, not from a disk.

Each process has a folder of its own that nobody else may enter, and holds a lock in it for
as long as it lives. What a process left behind that has died is removed at the next start.
"""

import contextlib
import errno
import fcntl
import os
import posixpath
import shutil
import stat
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Final

import structlog

from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.runtime.threads import spawn

log = structlog.get_logger()

_PREFIX: Final = "interlock-scratch-"
_UNBORN: Final = ".interlock-scratch-"
"""What a folder is called before it is locked, so that no sweep can take it for a dead one's."""
_LOCK: Final = ".lock"
_NAMES_AT_FAULT: Final = frozenset(
    {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL}
)


class Scratch:
    """A place for model directories below `parent`, the system's temporary folder by default.

    Any thread may call. The folder is made when it is needed first, or by `open`.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        # Guards the making and the end of the folder.
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._lock_file = -1

    def open(self) -> Path:
        """Make the process's own folder; raise OSError where that cannot be."""
        with self._lock:
            if self._root is None:
                parent = self._place()
                unborn = Path(tempfile.mkdtemp(prefix=_UNBORN, dir=parent))
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._lock_file = os.open(unborn / _LOCK, flags, 0o600)
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                name = _PREFIX + unborn.name.removeprefix(_UNBORN)
                self._root = unborn.rename(parent / name)
            return self._root

    def sweep(self) -> None:
        """Remove what processes left behind that live no more; what cannot be seen is let be."""
        with contextlib.suppress(OSError), os.scandir(self._place()) as entries:
            for entry in entries:
                if entry.name.startswith(_PREFIX) and _is_ours(entry):
                    _remove_if_dead(Path(entry.path))

    def _place(self) -> Path:
        """Return what the folder lies in; raise OSError where the system has no such place."""
        return Path(tempfile.gettempdir()) if self._parent is None else self._parent

    def folder(self, prefix: str) -> Path:
        """Make an empty folder that is removed with all the others, at the end. Raise OSError."""
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self.open()))

    def build(self, files: Mapping[str, bytes]) -> Path:
        """Write a model directory of these files, by their paths in it, and return it.

        Raise InvalidRequestError for a path that is none, or that leads out of the
        directory, InternalError where it cannot be written; nothing is left then.
        """
        wanted = {path: _inside(path) for path in files}
        directory: Path | None = None
        at_fault = ""
        try:
            directory = Path(tempfile.mkdtemp(prefix="model-", dir=self.open()))
            for at_fault, inside in wanted.items():
                _write(directory / inside, files[at_fault])
        except OSError as error:
            if directory is not None:
                _remove(directory)
            what = f"write override file '{at_fault}'" if at_fault else "make a scratch directory"
            text = f"failed to {what}: {error.strerror}"
            if error.errno in _NAMES_AT_FAULT:
                raise InvalidRequestError(text) from error
            raise InternalError(text) from error
        return directory

    def remove(self, directory: Path) -> None:
        """Remove what `folder` returned, and wait for that; what cannot be is logged."""
        if self._root is not None and directory.parent == self._root:
            _remove(directory)

    def release(self, directory: Path) -> None:
        """Remove what `build` returned, without waiting; anything else is left alone."""
        if self._root is not None and directory.parent == self._root:
            spawn("scratch-removal", lambda: _remove(directory))

    def close(self) -> None:
        """Remove the process's folder and all that is in it."""
        with self._lock:
            if self._root is not None:
                _remove(self._root)
                os.close(self._lock_file)
                self._root = None


def _inside(path: str) -> str:
    """Return where the file lies in the directory; raise InvalidRequestError if outside."""
    normalized = posixpath.normpath(path)
    leaves = normalized in {".", ".."} or normalized.startswith(("/", "../"))
    if leaves or "\0" in path:
        raise InvalidRequestError(
            f"Invalid file parameter '{path}' with normalized path '{normalized}' must stay "
            "within model directory."
        )
    return normalized


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Exclusively: two names of one place are a mistake.
    with path.open("xb") as file:
        file.write(content)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    status = entry.stat(follow_symlinks=False)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _remove_if_dead(folder: Path) -> None:
    try:
        lock_file = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # whoever removed it did not come to the end
        _remove(folder)
        return
    except OSError:
        return
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # it lives
    else:
        log.info("removing the scratch folder of a dead process", folder=str(folder))
        _remove(folder)
    finally:
        os.close(lock_file)


def _remove(directory: Path) -> None:
    try:
        try:
            # Follows no link on the way down.
            shutil.rmtree(directory)
        except (OSError, RecursionError):
            _remove_piecemeal(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("scratch folder left behind", folder=str(directory), reason=error.strerror)


def _remove_piecemeal(directory: Path) -> None:
    """Remove a tree however deep it is, and whatever its folders' modes are.

    What was copied from where nobody may write cannot be written to either.
    """
    due = [directory]
    while due:
        folder = due.pop()
        folder.chmod(0o700)
        with os.scandir(folder) as entries:
            found = tuple(entries)
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink()
            elif folder == directory:
                due.append(Path(entry.path))
            else:
                Path(entry.path).chmod(0o700)
                # To the top, so that no path is ever long.
                due.append(Path(entry.path).rename(directory / f".removed-{token_hex(16)}"))
        if folder != directory:
            folder.rmdir()
    directory.rmdir()

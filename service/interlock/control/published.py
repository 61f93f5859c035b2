"""From a location that agents have published to a directory that a version can be loaded from.

Files in memory are no directory: what loads a version finds links to them in one of the
server's own, by which they are opened where they are. What they hold is never copied.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.control.agent_model import ScratchRoot
from interlock.domain.errors import InternalError, InvalidRequestError, ServiceError
from interlock.domain.ids import Version
from interlock.repository.fingerprint import Fingerprint, fingerprint
from interlock.repository.snapshot import read_directory
from interlock.serving.load_job import Published
from interlock_agents.api import DirectoryLocation, Location, PathError

_PREFIX: Final = "files-"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Place:
    """Where the versions of one load are read from.

    `prints` is what they are made of there; `None` where that is the model's own directory,
    which is looked at anyway, or where nobody can change it.
    """

    directory: Path
    is_original: bool = False
    prints: Fingerprint | None = None
    scratch_root: ScratchRoot | None = None

    def published(self, version: Version) -> Published | None:
        """Return where a version is to be read from; `None` for where it was found."""
        if self.is_original:
            return None
        return Published(
            self.directory,
            "" if self.prints is None else self.prints.of(version),
            is_linked=self.scratch_root is not None,
        )

    def first_entries(self, name: str) -> Sequence[str]:
        """Return what lies in the first sub-directory. Raise ServiceError where nobody can say."""
        try:
            return read_directory(name, self.directory).first_entries
        except OSError as error:
            raise _unreadable(self.directory, error) from error

    def remove(self) -> None:
        """Take away the links that were made: nobody reads the files any more."""
        if self.scratch_root is not None:
            self.scratch_root.remove(self.directory)


@dataclass(frozen=True, slots=True)
class Places:
    """Makes places. Any thread may call; `look` takes the fingerprint of a directory."""

    scratch_root: ScratchRoot
    look: Callable[[Path], Fingerprint] = fingerprint

    def of(self, location: Location, original: Path) -> Place:
        """Return where to load from what agents leave behind. Raise ServiceError."""
        if isinstance(location, DirectoryLocation):
            return self._of_directory(location.directory, original)
        return self._of_files(location)

    def _of_directory(self, directory: Path, original: Path) -> Place:
        if directory == original:
            return Place(directory, is_original=True)
        try:
            return Place(directory, prints=self.look(directory))
        except OSError as error:
            raise _unreadable(directory, error) from error

    def _of_files(self, location: Location) -> Place:
        try:
            directory = self.scratch_root.folder(_PREFIX)
        except OSError as error:
            raise InternalError(f"failed to make a scratch directory: {error.strerror}") from error
        place = Place(directory, scratch_root=self.scratch_root)
        try:
            _link(location, directory)
        except (OSError, PathError) as error:
            place.remove()
            raise _not_linked(error) from error
        return place


def _link(location: Location, directory: Path) -> None:
    for path, file in location.files().items():
        link = directory / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.path.absolute())


def _not_linked(error: OSError | PathError) -> ServiceError:
    """Return what to say of published files that cannot stand side by side."""
    if isinstance(error, PathError):
        return InvalidRequestError(str(error))
    if error.errno in _NO_ROOM:
        return InternalError(f"failed to write to the scratch directory: {error.strerror}")
    return InvalidRequestError(
        "what the repository agents have published is no model directory: "
        f"'{error.filename2 or error.filename}': {error.strerror}"
    )


def _unreadable(directory: Path, error: OSError) -> ServiceError:
    return InvalidRequestError(f"failed to read model directory {directory}: {error.strerror}")

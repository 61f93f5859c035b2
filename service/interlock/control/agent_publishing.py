"""What an agent may publish: what it found, what lies in its scratch directory, and memory.

Whatever else lies on a disk is not the model's: another model's files, or a place that
nobody sweeps and others may write to.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from interlock_agents.api import (
    AgentError,
    DirectoryLocation,
    Fault,
    FilesLocation,
    Location,
    MemoryFile,
    ModelFile,
)


@dataclass(frozen=True, slots=True)
class Publishable:
    """Tells what one agent may publish: `found` is what it was shown, `scratch` is its own."""

    found: Location
    scratch: Path | None = None

    def check(self, location: Location) -> None:
        """Raise AgentError for a location from which its model cannot be loaded."""
        if isinstance(location, FilesLocation):
            self._check_files(location)
        elif isinstance(location, DirectoryLocation):
            self._check_directory(location.directory)
        else:
            kind = type(location).__name__
            raise _refusal(f"cannot publish a {kind}: it is no location")

    def _check_directory(self, directory: Path) -> None:
        if not (directory.is_absolute() and directory.is_dir()):
            raise _refusal(f"cannot publish '{directory}': it is no directory by an absolute path")
        roots = self._roots()
        if not _is_below(directory, roots):
            raise _outside(str(directory), "it lies")
        if self.scratch is not None and _is_below(directory, [os.path.realpath(self.scratch)]):
            self._check_links(directory, roots)

    def _check_links(self, directory: Path, roots: Iterable[str]) -> None:
        """Links of the agent's making lead to what it may publish; the model's own are its."""
        for link in _links_below(directory):
            if not _is_below(link, roots):
                raise _outside(str(link.relative_to(directory)), "it leads to what lies")

    def _check_files(self, location: FilesLocation) -> None:
        roots = self._roots()
        shown = self.found.files() if isinstance(self.found, FilesLocation) else {}
        known = frozenset(map(id, shown.values()))
        for path, file in location.files().items():
            if isinstance(file, MemoryFile):
                _check_memory(path, file)
            elif id(file) not in known and not _is_below(_place(file), roots):
                raise _outside(path, f"'{file.path}' lies")

    def _roots(self) -> tuple[str, ...]:
        found = (self.found.directory,) if isinstance(self.found, DirectoryLocation) else ()
        own = () if self.scratch is None else (self.scratch,)
        return tuple(os.path.realpath(root) for root in (*found, *own))


def _check_memory(path: str, file: MemoryFile) -> None:
    if file.is_closed:
        raise _refusal(f"cannot publish '{path}': it is closed")
    if not file.is_sealed:
        raise _refusal(f"cannot publish '{path}': it is not sealed")


def _place(file: ModelFile) -> Path:
    return file.path.absolute()


def _links_below(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory, onerror=_raise):
        for name in (*folders, *files):
            place = Path(folder, name)
            if place.is_symlink():
                yield place


def _raise(error: OSError) -> None:
    raise error


def _is_below(place: Path, roots: Iterable[str]) -> bool:
    """Whether a place is one of the roots or below, after all links."""
    # Not Path.resolve(), which minds links in a circle; nothing can be loaded from there.
    end = Path(os.path.realpath(place))
    return any(end.is_relative_to(root) for root in roots)


def _outside(what: str, lies: str) -> AgentError:
    return _refusal(
        f"cannot publish '{what}': {lies} neither where the model's files were found nor in the "
        "agent's scratch directory"
    )


def _refusal(text: str) -> AgentError:
    return AgentError(text, Fault.INTERNAL)

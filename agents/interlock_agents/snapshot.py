"""The agent that takes a model's files into memory, so that what is verified is what is loaded.

Files on a disk can be others when they are loaded than when they were verified, and the same
again when somebody looks. What the agents behind this one see, nobody can change.
"""

import resource
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    Fault,
    FilesLocation,
    MemoryFile,
    ModelFile,
    Parameter,
    PathError,
    RepositoryAgent,
)
from interlock_agents.file_list import version_of

PIECE_BYTES: Final = 1 << 20
_MOST_FILES: Final = 16_384
_MIB: Final = 1 << 20


def unknown() -> int | None:
    """Nobody tells how much memory is free."""
    return None


class SnapshotAgent(RepositoryAgent):
    """Takes the files into memory: what is verified behind it is what is loaded."""

    parameters: ClassVar[Sequence[Parameter]] = ()

    def __init__(self, free_bytes: Callable[[], int | None] = unknown) -> None:
        """Take no more than `free_bytes` says that there is, if it does."""
        self._free_bytes = free_bytes

    def act(self, action: Action, model: AgentModel) -> None:
        """Publish copies on LOAD. Raise AgentError for what cannot be read, or is changing."""
        if action is not Action.LOAD:
            return
        if model.parameters:
            raise AgentError(f"unknown parameter '{min(model.parameters)}'; there are none")
        files = _wanted(model)
        _check_number(len(files))
        sizes = {path: _size_of(path, file) for path, file in files.items()}
        self._check_room(sum(sizes.values()))
        taken = {path: _taken(model, path, file, sizes[path]) for path, file in files.items()}
        model.publish(FilesLocation(taken))
        model.note("files in memory", str(len(taken)))

    def _check_room(self, needed: int) -> None:
        """Refuse what does not fit before any of it is read: a long file may take no disk."""
        free = self._free_bytes()
        if free is not None and needed > free:
            raise AgentError(
                f"the model does not fit into memory: its files are {-(-needed // _MIB)} MiB, and "
                f"{free // _MIB} MiB are free",
                Fault.UNAVAILABLE,
            )


def _wanted(model: AgentModel) -> Mapping[str, ModelFile]:
    """Return the files of the versions to be loaded, and those that all versions share."""
    try:
        files = model.location.files()
    except (OSError, PathError) as error:
        raise _refusal(".", error) from error
    numbers = {None, *model.versions}
    return {
        path: file
        for path, file in files.items()
        if not model.versions or version_of(path) in numbers
    }


def _check_number(files: int) -> None:
    """Leave descriptors to the rest of the server: each file takes one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    at_most = _MOST_FILES if limit == resource.RLIM_INFINITY else min(_MOST_FILES, limit // 2)
    if files > at_most:
        raise AgentError(
            f"the model has {files} files, and {at_most} can be taken into memory: half of "
            f"ulimit -n, and no more than {_MOST_FILES}"
        )


def _size_of(path: str, file: ModelFile) -> int:
    """Return how much memory a file takes that is not there yet."""
    try:
        return 0 if isinstance(file, MemoryFile) else file.size
    except (OSError, PathError) as error:
        raise _refusal(path, error) from error


def _taken(model: AgentModel, path: str, file: ModelFile, size: int) -> ModelFile:
    if isinstance(file, MemoryFile):
        return file
    try:
        return _copied(model, path, file, size)
    except (OSError, PathError) as error:
        raise _refusal(path, error) from error


def _copied(model: AgentModel, path: str, file: ModelFile, size: int) -> MemoryFile:
    with file.open() as stream:
        memory = model.memory_file(size)
        with memory.room_ahead() as ready:
            at = 0
            while at < size:
                model.check()
                end = min(at + PIECE_BYTES, size)
                ready(at, end - at)
                # The streams of files are not buffered, and read into what they are given.
                count = stream.readinto(memory.buffer[at:end])  # type: ignore[attr-defined]
                if not count:
                    raise _changing(path)
                at += count
        if stream.read(1):
            raise _changing(path)
    memory.seal()
    return memory


def _changing(path: str) -> AgentError:
    return AgentError(f"file {path} changed while it was read", Fault.UNAVAILABLE)


def _refusal(path: str, error: OSError | PathError) -> AgentError:
    reason = str(error) if isinstance(error, PathError) else error.strerror or str(error)
    return AgentError(f"failed to read {path}: {reason}")

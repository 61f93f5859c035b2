"""A model for an agent that is called without a chain: remembers what the agent does to it."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from interlock_agents.api import (
    Action,
    AgentCancelledError,
    DirectoryLocation,
    Location,
    MemoryFile,
    RepositoryAgent,
)


class AgentModelFake:
    """Implements `AgentModel`; as a context manager it cleans up behind the agent.

    `cancel_after` so many looks at whether it is cancelled, it is.
    """

    def __init__(
        self,
        location: Location | Path,
        parameters: Mapping[str, str] | None = None,
        *,
        name: str = "m",
        versions: Sequence[int] = (),
        config: Mapping[str, object] | None = None,
        cancel_after: int | None = None,
    ) -> None:
        found = DirectoryLocation(location) if isinstance(location, Path) else location
        self.name = name
        self.versions = versions
        self.location: Location = found
        self.parameters = parameters or {}
        self.config = config or {}
        self.published: list[Location] = []
        self.notes: list[tuple[str, str]] = []
        self.memory_files: list[MemoryFile] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._cancel_after = cancel_after
        self.looks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self.memory_files:
            file.wipe()
        if self._scratch is not None:
            self.release_scratch()

    def load(self, agent: RepositoryAgent) -> Location:
        """Call the agent as for a load, and return what the server would load then."""
        agent.act(Action.LOAD, self)
        return self.published[-1] if self.published else self.location

    def scratch(self) -> Path:
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="agent-scratch-")
        return Path(self._scratch.name)

    def release_scratch(self) -> None:
        assert self._scratch is not None
        self._scratch.cleanup()
        self._scratch = None

    def memory_file(self, size: int) -> MemoryFile:
        self.memory_files.append(MemoryFile(size))
        return self.memory_files[-1]

    def publish(self, location: Location) -> None:
        self.published.append(location)

    def note(self, name: str, value: str) -> None:
        self.notes.append((name, value))

    @property
    def is_cancelled(self) -> bool:
        self.looks += 1
        return self._cancel_after is not None and self.looks > self._cancel_after

    def check(self) -> None:
        if self.is_cancelled:
            raise AgentCancelledError

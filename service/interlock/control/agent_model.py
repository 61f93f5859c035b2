"""What an agent sees of its model, and all that it was given: held until the story ends."""

import threading
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from interlock.control.agent_pool import CutOff
from interlock.control.agent_publishing import Publishable
from interlock.control.agent_story import name_of
from interlock_agents.api import (
    Action,
    AgentCancelledError,
    AgentError,
    Fault,
    FilesLocation,
    Location,
    MemoryFile,
)

_PREFIX: Final = "agent-"


class ScratchRoot(Protocol):
    """Where scratch directories are. Any thread may call."""

    def folder(self, prefix: str) -> Path:
        """Make an empty directory that nobody else may enter; raise OSError."""
        ...

    def remove(self, directory: Path) -> None:
        """Remove it with all that is in it; what cannot be is logged."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that a chain of agents looks at: its name, the versions to be loaded.

    `identifier` is what it is called among all models, where that is not its name alone.
    """

    name: str
    versions: Sequence[int] = ()
    identifier: str = ""

    def __str__(self) -> str:
        return self.identifier or self.name


@dataclass(frozen=True, slots=True)
class Found:
    """What an agent finds: the files, and the configuration among them."""

    location: Location
    config: Mapping[str, object] = field(default_factory=dict)


class HeldModel:
    """The `AgentModel` of one agent. The agent's thread uses it; the chain's may free it.

    Once freed, nothing can be got through it any more: an agent that is late learns that it
    is cancelled.
    """

    def __init__(
        self,
        subject: Subject,
        parameters: Mapping[str, str],
        found: Found,
        *,
        scratch_root: ScratchRoot,
        cut_off: CutOff,
    ) -> None:
        self.name = subject.name
        self.versions = subject.versions
        self.location = found.location
        # Its own: what one agent does to it, the next does not see.
        self.config = deepcopy(found.config)
        self.parameters = MappingProxyType(dict(parameters))
        self.action: Action | None = None
        self.published: Location | None = None
        self._scratch_root = scratch_root
        self._cut_off = cut_off
        # Guards what follows.
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._is_freed = False
        self._scratch: Path | None = None
        self._memory: list[MemoryFile] = []
        self._notes: dict[str, str] = {}

    @property
    def notes(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._notes)

    @property
    def is_cancelled(self) -> bool:
        is_unwanted = self.action is Action.LOAD and self._cut_off.is_cut
        return is_unwanted or self._is_abandoned or self._is_freed

    def check(self) -> None:
        if self.is_cancelled:
            raise AgentCancelledError("nobody waits for the model any more")

    def scratch(self) -> Path:
        with self._lock:
            self._check_held()
            if self._scratch is None:
                self._scratch = self._scratch_root.folder(_PREFIX)
            return self._scratch

    def release_scratch(self) -> None:
        with self._lock:
            directory, self._scratch = self._scratch, None
        if directory is None:
            raise AgentError("No mutable location to be deleted", Fault.UNAVAILABLE)
        self._scratch_root.remove(directory)

    def memory_file(self, size: int) -> MemoryFile:
        with self._lock:
            self._check_held()
            self._memory.append(MemoryFile(size, name=self.name))
            return self._memory[-1]

    def publish(self, location: Location) -> None:
        if self.action is not Action.LOAD:
            raise AgentError(
                "location can only be updated during TRITONREPOAGENT_ACTION_LOAD, current "
                f"action type is {name_of(self.action)}"
            )
        self.check()
        with self._lock:
            scratch = self._scratch
        Publishable(self.location, scratch).check(location)
        with self._lock:
            self._check_held()
            if isinstance(location, FilesLocation):
                self._memory.extend(location.memory_files())
            self.published = location

    def note(self, name: str, value: str) -> None:
        given: tuple[object, ...] = (name, value)
        if not all(isinstance(one, str) for one in given):
            raise AgentError("a note is a name and a value, both of them texts", Fault.INTERNAL)
        with self._lock:
            self._notes[name] = value

    def begin(self, action: Action) -> None:
        """The agent is about to be called."""
        self.action = action
        self._is_abandoned = False

    def abandon(self) -> None:
        """Nobody waits for the call that goes on."""
        self._is_abandoned = True

    def forget_memory(self, *, is_in_use: bool) -> None:
        """Wipe all files in memory, their content only where the agent may be inside them.

        A descriptor that somebody else gets while the agent still has its number would let
        it read what is none of its business.
        """
        with self._lock:
            files = tuple(self._memory)
            if not is_in_use:
                self._memory.clear()
        for file in files:
            if is_in_use:
                file.erase()
            else:
                file.wipe()

    def free(self, *, is_in_use: bool) -> None:
        """Take back all that the agent was given. To be called again once it is out of it."""
        with self._lock:
            self._is_freed = True
            directory, self._scratch = self._scratch, None
        self.forget_memory(is_in_use=is_in_use)
        if directory is not None:
            self._scratch_root.remove(directory)

    def _check_held(self) -> None:
        if self._is_freed:
            raise AgentCancelledError("nobody waits for the model any more")

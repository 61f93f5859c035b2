"""The contract of a repository agent; agents import this module and nothing else of ours.

An agent is asked about a model at fixed points of its life. It may refuse the model, or put
other files in the place of those that it found: a directory, or files in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar, Protocol

from interlock_agents.location import (
    DirectoryLocation,
    DiskFile,
    FilesLocation,
    Location,
    ModelFile,
    PathError,
    below,
    checked,
)
from interlock_agents.memory import MemoryFile

__all__ = [
    "Action",
    "AgentCancelledError",
    "AgentError",
    "AgentModel",
    "DirectoryLocation",
    "DiskFile",
    "Fault",
    "FilesLocation",
    "Location",
    "MemoryFile",
    "ModelFile",
    "Parameter",
    "PathError",
    "RepositoryAgent",
    "below",
    "checked",
]


class Action(Enum):
    """What happens to a model. An agent hears LOAD first, and then one way to the end.

    LOAD -> LOAD_COMPLETE -> UNLOAD -> UNLOAD_COMPLETE, or LOAD -> LOAD_FAIL.
    """

    LOAD = "LOAD"
    """It is about to be loaded. Agents hear it in the order of the configuration, and each
    sees what the one before has published. Only here may an agent publish, and refuse."""
    LOAD_COMPLETE = "LOAD_COMPLETE"
    """It serves, and all its files have been read. In reverse order."""
    LOAD_FAIL = "LOAD_FAIL"
    """It will not be loaded, whatever the reason; the last that the agent hears. In reverse
    order, and also by the agent that refused it."""
    UNLOAD = "UNLOAD"
    """It is about to be unloaded."""
    UNLOAD_COMPLETE = "UNLOAD_COMPLETE"
    """It is gone; the last that the agent hears. In reverse order."""


class Fault(Enum):
    """Whose fault it is, which decides what kind of error clients see."""

    INVALID = "invalid"
    """The model's: its files or the agent's parameters are not what they must be."""
    UNSUPPORTED = "unsupported"
    """The agent does not do this for any model."""
    UNAVAILABLE = "unavailable"
    """Something that the agent needs cannot be reached now; another try may help."""
    INTERNAL = "internal"
    """The agent's own, or the system's."""


class AgentError(Exception):
    """Refuses the model. The text becomes its reason: say what is wrong, and with which file.

    Raised on another action than LOAD it is logged, and changes nothing.
    """

    def __init__(self, reason: str, fault: Fault = Fault.INVALID) -> None:
        super().__init__(reason)
        self.fault = fault


class AgentCancelledError(Exception):
    """Nobody waits for the model any more; raised by `AgentModel.check`, not to be caught."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that an agent takes, for people to read: `interlock agents` lists it."""

    name: str
    """As in `parameters [ { key: … } ]`; with a part in angle brackets where that varies."""
    summary: str
    is_required: bool = False


class AgentModel(Protocol):
    """What an agent sees of one model, the same object from LOAD to the end.

    One thread at a time uses it, not always the same. What an agent gets through it, memory
    and scratch, belongs to the server, which wipes and removes it however the load ends.
    """

    @property
    def name(self) -> str:
        """The model's name, as its directory has it."""
        ...

    @property
    def versions(self) -> Sequence[int]:
        """The versions that are to be loaded; the directory may hold others."""
        ...

    @property
    def location(self) -> Location:
        """The model's files as the agent before has published them, else as they were found."""
        ...

    @property
    def parameters(self) -> Mapping[str, str]:
        """The agent's own parameters in the configuration, in no order."""
        ...

    @property
    def config(self) -> Mapping[str, object]:
        """The configuration as it is read at `location`, as JSON values; empty without one.

        Field names are those of config.pbtxt ("max_batch_size").
        """
        ...

    def scratch(self) -> Path:
        """Return a directory of the agent's own, for this model, made when first asked for.

        Nobody else may enter it (0700). It is removed with the end of the model's life, and
        on `release_scratch`. Raise OSError where there can be none.
        """
        ...

    def release_scratch(self) -> None:
        """Remove the directory before; raise AgentError where there is none."""
        ...

    def memory_file(self, size: int) -> MemoryFile:
        """Make a file of `size` bytes in memory, to be filled, sealed and published.

        The server wipes and closes it once the load has ended, published or not; one that
        is made later, with the end of the call. Raise OSError where there is no memory.
        """
        ...

    def publish(self, location: Location) -> None:
        """Let the agents that follow, and the server, find the model's files there.

        Raise AgentError outside LOAD, and for a location that is none.
        """
        ...

    def note(self, name: str, value: str) -> None:
        """Record a fact for the audit log and `interlock describe` ("signer", "CN=…")."""
        ...

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the model any more: loops look here, or call `check`."""
        ...

    def check(self) -> None:
        """Raise AgentCancelledError where nobody waits for the model any more."""
        ...


class RepositoryAgent:
    """An agent for one model: made without arguments when the model is to be loaded.

    Its docstring's first line is what `interlock agents` says of it. It is called by one
    thread at a time, and may keep what it knows of the model from one action to the next.
    """

    parameters: ClassVar[Sequence[Parameter]] = ()
    """What it takes, for `interlock agents`; whether they are right is the agent's to check."""

    def act(self, action: Action, model: AgentModel) -> None:
        """Do what there is to do; may take its time, within `--agent-timeout-secs`.

        Whatever is raised on LOAD refuses the model, AgentError with its text alone. What is
        raised on another action is logged.
        """
        raise NotImplementedError

"""What a loader is asked to load: one content of one version, as it was polled."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from interlock.domain.config import ModelConfig
from interlock.domain.config_agents import Preparation
from interlock.domain.ids import GenerationKey
from interlock.repository.layout import is_inside, is_linked_inside

Inside = Callable[[Path, Path], bool]
"""Whether a path, whatever links it leads through, is one of a model in a directory."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a version is to be read once its repository agents have been at work.

    `fingerprint` is what the version must have there after the load as well; "" asks for
    nothing. With `is_linked` the directory holds nothing but links, each to a file in memory
    or on a disk that belongs to the model.
    """

    directory: Path
    fingerprint: str = ""
    is_linked: bool = False


@dataclass(frozen=True, slots=True)
class LoadJob:
    """One version to load. `model_directory` holds the version's directory and its siblings.

    `fingerprint` is what its files must have before and after; "" asks for nothing. With a
    `preparation` the agents are asked first, and `config` says no more than which versions
    there are, until they are done; `published` is where they have put its files. With
    `is_awaited` requests come as soon as it is shown: they come for the version before it.
    `may_run_host_code` is whether code that the files carry may run in the server's process.
    """

    key: GenerationKey
    config: ModelConfig
    model_directory: Path
    fingerprint: str = ""
    preparation: Preparation | None = None
    published: Published | None = None
    is_awaited: bool = False
    may_run_host_code: bool = True

    @property
    def directory(self) -> Path:
        """The model's directory to read everything from."""
        return self.model_directory if self.published is None else self.published.directory

    @property
    def inside(self) -> Inside:
        """How to tell whether a path below `directory` is one of the model's files."""
        return is_linked_inside if self.is_linked else is_inside

    @property
    def is_linked(self) -> bool:
        """Whether the files are links to what may not be in the file system at all."""
        return self.published is not None and self.published.is_linked


class LoadPhase(Enum):
    """What a loader comes to once a version is built, where there is something to do in it."""

    WARMING = "warming"
    PROVING = "proving"


OnPhase = Callable[[LoadPhase], None]
"""Told when a phase begins, in the loader's thread; quick, never blocking."""

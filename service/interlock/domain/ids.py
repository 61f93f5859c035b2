"""Name models, versions and generations.

A generation counts how often a version's content has changed while the server ran, so
that a reload is an upgrade like any other.
"""

from dataclasses import dataclass
from typing import NewType

ModelName = NewType("ModelName", str)
Version = NewType("Version", int)
Generation = NewType("Generation", int)


@dataclass(frozen=True, slots=True, order=True)
class VersionKey:
    """One version of one model, whatever its content."""

    model: ModelName
    version: Version

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"


@dataclass(frozen=True, slots=True, order=True)
class GenerationKey:
    """One content of one version: what is loaded, shown and drained as a whole."""

    model: ModelName
    version: Version
    generation: Generation

    @property
    def version_key(self) -> VersionKey:
        return VersionKey(self.model, self.version)

    def __str__(self) -> str:
        return f"{self.model}/{self.version}#{self.generation}"

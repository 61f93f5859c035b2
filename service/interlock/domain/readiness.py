"""What clients see of a version and of the server: Triton's words."""

from dataclasses import dataclass
from enum import Enum

from interlock.domain.ids import ModelName, Version


class Readiness(Enum):
    """The state of a version in RepositoryIndex."""

    UNKNOWN = "UNKNOWN"
    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class ServerPhase(Enum):
    """Where the server is in its own life."""

    STARTING = "starting"
    """The port is open, the first loads have not ended."""
    SERVING = "serving"
    DRAINING = "draining"
    """Asked to stop: health says NOT_SERVING; new requests are refused once the delay is over."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of RepositoryIndex. A model that was never asked for has no version and no state."""

    model: ModelName
    version: Version | None = None
    state: Readiness | None = None
    reason: str = ""

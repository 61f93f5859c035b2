"""What a loader is asked to load: one content of one version, as it was polled."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from interlock.domain.config import ModelConfig
from interlock.domain.ids import GenerationKey


@dataclass(frozen=True, slots=True)
class LoadJob:
    """One version to load. `model_directory` holds the version's directory and its siblings.

    `fingerprint` is what its files must have before and after; "" asks for nothing.
    """

    key: GenerationKey
    config: ModelConfig
    model_directory: Path
    fingerprint: str = ""


class LoadPhase(Enum):
    """What a loader comes to once a version is built, where there is something to do in it."""

    WARMING = "warming"
    PROVING = "proving"


OnPhase = Callable[[LoadPhase], None]
"""Told when a phase begins, in the loader's thread; quick, never blocking."""

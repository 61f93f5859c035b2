"""What a loader is asked to load: one content of one version, as it was polled."""

from dataclasses import dataclass
from pathlib import Path

from interlock.domain.config import ModelConfig
from interlock.domain.ids import GenerationKey


@dataclass(frozen=True, slots=True)
class LoadJob:
    """One version to load. `model_directory` holds the version's directory and its siblings."""

    key: GenerationKey
    config: ModelConfig
    model_directory: Path

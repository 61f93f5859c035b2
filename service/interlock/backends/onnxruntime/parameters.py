"""Read the parameters of a model configuration that ONNX Runtime acts on.

Strings to checked values; the runtime itself is not touched here. Parameters that it does not
know are somebody else's and are left alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from interlock.domain.config import ModelConfig
from interlock.domain.errors import InvalidRequestError


class GraphLevel(Enum):
    """How far the runtime rewrites a graph when it loads it."""

    DISABLED = "disabled"
    BASIC = "basic"
    EXTENDED = "extended"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class OnnxParameters:
    """What one model asks of its session. `None`, or 0 threads: as the server does by default.

    `entries` go to the session as they are.
    """

    graph_level: GraphLevel = GraphLevel.ALL
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    parallel: bool = False
    mem_arena: bool | None = None
    mem_pattern: bool | None = None
    arena_shrinkage: str = ""
    entries: Mapping[str, str] = field(default_factory=dict)


ALLOW_SPINNING: Final = "session.intra_op.allow_spinning"

# optimization.graph.level; 2 switches off, which is not the order one would expect.
_GRAPH_LEVELS: Final = {
    0: GraphLevel.ALL,
    -1: GraphLevel.BASIC,
    1: GraphLevel.EXTENDED,
    2: GraphLevel.DISABLED,
}
_TRUE: Final = frozenset({"1", "true", "on", "yes"})
_FALSE: Final = frozenset({"0", "false", "off", "no"})
_BOOLEAN_ENTRIES: Final = frozenset(
    {
        ALLOW_SPINNING,
        "session.inter_op.allow_spinning",
        "session.use_device_allocator_for_initializers",
    }
)
_DEVICES: Final = re.compile(r"\w+:\d+(;\w+:\d+)*", re.ASCII)


def read_parameters(config: ModelConfig) -> OnnxParameters:
    """Return what the configuration asks for. Raise InvalidRequestError for a bad value."""
    read = _Reader(config)
    return OnnxParameters(
        graph_level=read.graph_level(),
        intra_op_threads=read.threads("intra_op_thread_count"),
        inter_op_threads=read.threads("inter_op_thread_count"),
        parallel=read.execution_mode() == 1,
        mem_arena=read.boolean("enable_mem_arena"),
        mem_pattern=read.boolean("enable_mem_pattern"),
        arena_shrinkage=read.devices("memory.enable_memory_arena_shrinkage"),
        entries=read.entries(),
    )


class _Reader:
    """One configuration's parameters, by kind of value."""

    def __init__(self, config: ModelConfig) -> None:
        self._model = config.name
        self._level = config.graph_level
        self._parameters = config.parameters

    def graph_level(self) -> GraphLevel:
        level = _GRAPH_LEVELS.get(self._level or 0)
        if level is None:
            raise InvalidRequestError(
                f"unable to load model '{self._model}', optimization.graph.level must be 0 (all), "
                f"-1 (basic), 1 (extended) or 2 (disabled), got {self._level}"
            )
        return level

    def threads(self, key: str) -> int:
        count = self._integer(key)
        if count < 0:
            raise self._bad(key, "a number of threads, 0 or more", str(count))
        return count

    def execution_mode(self) -> int:
        mode = self._integer("execution_mode")
        if mode not in (0, 1):
            raise InvalidRequestError(
                "Invalid configuration value provided. Expected values for  execution_mode "
                f"are 0 or 1 but got {mode} ."
            )
        return mode

    def boolean(self, key: str) -> bool | None:
        text = self._parameters.get(key)
        if text is None:
            return None
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise self._bad(key, "true or false", text)
        return word in _TRUE

    def devices(self, key: str) -> str:
        text = self._parameters.get(key, "")
        if text and not _DEVICES.fullmatch(text):
            raise self._bad(key, "devices such as 'cpu:0'", text)
        return text

    def entries(self) -> Mapping[str, str]:
        """Return the keys that the runtime defines for sessions; it takes booleans as 0 and 1."""
        entries = {}
        for key, text in self._parameters.items():
            if key in _BOOLEAN_ENTRIES:
                entries[key] = "1" if self.boolean(key) else "0"
            elif key.startswith("session."):
                entries[key] = text
        return entries

    def _integer(self, key: str) -> int:
        text = self._parameters.get(key, "0")
        try:
            return int(text)
        except ValueError:
            raise self._bad(key, "an integer", text) from None

    def _bad(self, key: str, wanted: str, got: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"unable to load model '{self._model}', parameter '{key}' must be {wanted}, got '{got}'"
        )

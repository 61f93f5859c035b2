"""Build one ONNX Runtime session from a file and what a model asks of it.

Threads. The runtime can share one pool among all sessions, but its Python interface has no
way to keep that pool from spinning between runs, which costs a whole core at a hundred
runs a second. So each session has a pool of its own that sleeps when it has nothing to do;
the shared pool is there for those who ask for it. A pool of one thread is no thread at
all: the instance's own does the work.
"""

import mmap
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import onnxruntime as ort

from interlock.backends.onnxruntime.errors import translate
from interlock.backends.onnxruntime.parameters import ALLOW_SPINNING, GraphLevel, OnnxParameters

_PROVIDERS: Final = ["CPUExecutionProvider"]
_FATAL: Final = 4
_NONE: Final[Mapping[str, Path]] = MappingProxyType({})
_LEVELS: Final = {
    GraphLevel.DISABLED: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    GraphLevel.BASIC: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    GraphLevel.EXTENDED: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    GraphLevel.ALL: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass(frozen=True, slots=True)
class Pools:
    """Where the threads of a session come from: its own pool of `size`, or the shared one."""

    size: int
    shared: bool = False


def usable_cores() -> int:
    """Return on how many cores this process may run."""
    return len(os.sched_getaffinity(0))


def session_options(parameters: OnnxParameters, pools: Pools) -> ort.SessionOptions:
    """Return the runtime's options for what a model asks.

    The runtime's own lines on stderr are off: what goes wrong comes back as an error.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.graph_optimization_level = _LEVELS[parameters.graph_level]
    if parameters.parallel:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    if parameters.mem_arena is not None:
        options.enable_cpu_mem_arena = parameters.mem_arena
    if parameters.mem_pattern is not None:
        options.enable_mem_pattern = parameters.mem_pattern
    if pools.shared:
        options.use_per_session_threads = False
    else:
        # A count is always set: without one the runtime also pins its threads to cores.
        options.intra_op_num_threads = parameters.intra_op_threads or pools.size
        options.inter_op_num_threads = parameters.inter_op_threads or pools.size
    entries = {ALLOW_SPINNING: "0", "session.inter_op.allow_spinning": "0", **parameters.entries}
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def run_options(parameters: OnnxParameters) -> ort.RunOptions | None:
    """Return the options of every run, `None` where there are none."""
    if not parameters.arena_shrinkage:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", parameters.arena_shrinkage)
    return options


def open_session(
    path: Path,
    options: ort.SessionOptions,
    op_libraries: Sequence[str],
    weights: Mapping[str, Path] = _NONE,
) -> ort.InferenceSession:
    """Build the session; raise InternalError with the runtime's text.

    `weights` are files that the model may name, by their names there: the runtime opens
    those that it finds by itself only in a file system, and takes others from memory.

    From the path, never from bytes: reading bytes stalls every other thread of the process
    for as long as the model is large.
    """
    try:
        for library in op_libraries:
            options.register_custom_ops_library(library)
        with ExitStack() as open_files:
            if weights:
                mapped = {name: _mapped(file, open_files) for name, file in weights.items()}
                options.add_external_initializers_from_files_in_memory(
                    list(mapped), list(mapped.values()), list(map(len, mapped.values()))
                )
            session = ort.InferenceSession(path, options, _PROVIDERS, enable_fallback=0)
    except Exception as error:
        raise translate(error) from error
    return session


def _mapped(path: Path, open_files: ExitStack) -> mmap.mmap:
    """Map a file for as long as the session is built, which copies what it needs."""
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    open_files.callback(mapping.close)
    return mapping


def share_pool(intra_op_threads: int, inter_op_threads: int) -> None:
    """Make the pool that sessions with `Pools.shared` use.

    From then on the runtime refuses sessions with a pool of their own.
    """
    ort.set_global_thread_pool_sizes(intra_op_threads, inter_op_threads)

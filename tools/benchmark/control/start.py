"""How long a server takes to start with many models, and what each of them costs it."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.server_process import ServerProcess
from tools.benchmark.figures import Figure, Progress

PART: Final = "start"
TIMES: Final = 12.0
"""How much longer a start may take with ten times the models."""
WITHIN_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Start:
    """One start: how long until the server served, and what it was then."""

    seconds: float
    threads: int
    resident_bytes: int


def measure(
    repositories: Mapping[int, Path], *, rounds: int, progress: Progress
) -> Iterator[Figure]:
    """Start servers on these two repositories, by number of models, in turns."""
    starts: dict[int, list[Start]] = {models: [] for models in repositories}
    for turn in range(rounds):
        for models, root in repositories.items():
            progress(f"start with {models} models: {turn + 1} of {rounds}")
            starts[models].append(_start(root))
    yield from figures(starts)


def figures(starts: Mapping[int, Sequence[Start]]) -> Iterator[Figure]:
    """Compare the starts with few models and with many; medians of the rounds."""
    few, many = sorted(starts)
    seconds = {
        models: statistics.median(one.seconds for one in starts[models]) for models in starts
    }
    for models in (few, many):
        yield Figure(PART, f"until {models} models serve", seconds[models], "s")
    limit = TIMES * (many / few) / 10
    yield Figure(PART, f"T({many}) / T({few})", seconds[many] / seconds[few], "x", limit)
    yield Figure(PART, "for each model", 1e3 * (seconds[many] - seconds[few]) / (many - few), "ms")
    threads = {models: _median(one.threads for one in starts[models]) for models in starts}
    yield Figure(PART, f"threads with {many} models", threads[many], "threads")
    yield Figure(
        PART, "threads for each model", (threads[many] - threads[few]) / (many - few), "threads"
    )
    resident = {models: _median(one.resident_bytes for one in starts[models]) for models in starts}
    yield Figure(PART, f"memory with {many} models", resident[many] / 1e6, "MB")
    yield Figure(
        PART, "memory for each model", (resident[many] - resident[few]) / 1e3 / (many - few), "kB"
    )


def _median(values: Iterator[int]) -> float:
    return float(statistics.median(values))


def _start(root: Path) -> Start:
    began = time.monotonic()
    flags = [f"--model-repository={root}"]
    with ServerProcess.start(flags, within_s=WITHIN_S) as process:
        seconds = time.monotonic() - began
        threads = len(list(Path(f"/proc/{process.pid}/task").iterdir()))
        return Start(seconds, threads, process.memory_bytes())

"""Count what a version has done: the numbers of ModelStatistics.

Instance threads write, any thread reads. A request that was refused before it was
queued counts nowhere.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened, and how long all of it took together."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class InferenceStatistics:
    """What became of the requests. `queue.count` is `success.count`."""

    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """What the executions of one batch size cost."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class StatisticsSnapshot:
    """One version's numbers at one moment, with the field names of ModelStatistics."""

    last_inference: int = 0
    inference_count: int = 0
    execution_count: int = 0
    inference_stats: InferenceStatistics = field(default_factory=InferenceStatistics)
    batch_stats: tuple[BatchStatistics, ...] = ()


class _BatchSums:
    """The running sums of one batch size."""

    __slots__ = ("count", "infer_ns", "input_ns", "output_ns")

    def __init__(self) -> None:
        self.count = 0
        self.input_ns = 0
        self.infer_ns = 0
        self.output_ns = 0

    def frozen(self, batch_size: int) -> BatchStatistics:
        return BatchStatistics(
            batch_size,
            Duration(self.count, self.input_ns),
            Duration(self.count, self.infer_ns),
            Duration(self.count, self.output_ns),
        )


class VersionStatistics:
    """The numbers of one loaded version; they start at zero with it. Any thread may call."""

    __slots__ = (
        "_batches",
        "_executions",
        "_fail_count",
        "_fail_ns",
        "_infer_ns",
        "_inferences",
        "_input_ns",
        "_last_ns",
        "_lock",
        "_output_ns",
        "_queue_ns",
        "_success_count",
        "_success_ns",
        "_wall_ns",
    )

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns = wall_ns
        # Guards all the sums. A leaf: nothing else is taken inside.
        self._lock = threading.Lock()
        self._success_count = 0
        self._success_ns = 0
        self._fail_count = 0
        self._fail_ns = 0
        self._queue_ns = 0
        self._input_ns = 0
        self._infer_ns = 0
        self._output_ns = 0
        self._inferences = 0
        self._executions = 0
        self._last_ns = 0
        self._batches: dict[int, _BatchSums] = {}

    @property
    def was_asked(self) -> bool:
        """Whether a client's request has come to an end here."""
        return self._success_count > 0 or self._fail_count > 0

    def record_success(
        self,
        *,
        batch_size: int,
        request_ns: int,
        queue_ns: int,
        input_ns: int,
        infer_ns: int,
        output_ns: int,
    ) -> None:
        """Count a request that was executed and answered: its whole time and its parts.

        Each request of a batch is charged with the batch's full compute times.
        """
        with self._lock:
            self._success_count += 1
            self._success_ns += request_ns
            self._queue_ns += queue_ns
            self._input_ns += input_ns
            self._infer_ns += infer_ns
            self._output_ns += output_ns
            self._inferences += batch_size or 1

    def record_failure(self, request_ns: int) -> None:
        """Count a request that was queued and then failed or was cancelled."""
        with self._lock:
            self._fail_count += 1
            self._fail_ns += request_ns

    def record_execution(
        self, batch_size: int, input_ns: int, infer_ns: int, output_ns: int
    ) -> None:
        """Count one run of a batch, whether it succeeded or not."""
        wall_ns = self._wall_ns()
        with self._lock:
            self._executions += 1
            self._last_ns = wall_ns
            sums = self._batches.get(batch_size)
            if sums is None:
                sums = self._batches[batch_size] = _BatchSums()
            sums.count += 1
            sums.input_ns += input_ns
            sums.infer_ns += infer_ns
            sums.output_ns += output_ns

    def snapshot(self) -> StatisticsSnapshot:
        """Return the numbers as they are now, consistent with each other."""
        with self._lock:
            return StatisticsSnapshot(
                last_inference=self._last_ns // _NS_PER_MS,
                inference_count=self._inferences,
                execution_count=self._executions,
                inference_stats=self._requests(),
                batch_stats=_sorted(self._batches),
            )

    def _requests(self) -> InferenceStatistics:
        done = self._success_count
        return InferenceStatistics(
            success=Duration(done, self._success_ns),
            fail=Duration(self._fail_count, self._fail_ns),
            queue=Duration(done, self._queue_ns),
            compute_input=Duration(done, self._input_ns),
            compute_infer=Duration(done, self._infer_ns),
            compute_output=Duration(done, self._output_ns),
        )


def _sorted(batches: Mapping[int, _BatchSums]) -> tuple[BatchStatistics, ...]:
    return tuple(batches[size].frozen(size) for size in sorted(batches))

"""The numbers of ModelStatistics."""

from interlock.telemetry.statistics import (
    BatchStatistics,
    Duration,
    InferenceStatistics,
    StatisticsSnapshot,
    VersionStatistics,
)


def success(statistics: VersionStatistics, *, batch_size: int = 1) -> None:
    statistics.record_success(
        batch_size=batch_size, request_ns=100, queue_ns=10, input_ns=1, infer_ns=2, output_ns=3
    )


def test_a_new_version_starts_at_zero() -> None:
    assert VersionStatistics().snapshot() == StatisticsSnapshot()


def test_a_success_counts_its_whole_time_and_its_parts() -> None:
    statistics = VersionStatistics()

    success(statistics)
    success(statistics)

    assert statistics.snapshot().inference_stats == InferenceStatistics(
        success=Duration(2, 200),
        queue=Duration(2, 20),
        compute_input=Duration(2, 2),
        compute_infer=Duration(2, 4),
        compute_output=Duration(2, 6),
    )


def test_inferences_are_counted_by_rows() -> None:
    statistics = VersionStatistics()

    success(statistics, batch_size=3)
    success(statistics, batch_size=0)

    assert statistics.snapshot().inference_count == 4


def test_a_failure_counts_nothing_but_itself() -> None:
    statistics = VersionStatistics()

    statistics.record_failure(70)

    assert statistics.snapshot() == StatisticsSnapshot(
        inference_stats=InferenceStatistics(fail=Duration(1, 70))
    )


def test_executions_are_kept_by_batch_size_in_order() -> None:
    statistics = VersionStatistics()

    statistics.record_execution(4, 1, 2, 3)
    statistics.record_execution(1, 10, 20, 30)
    statistics.record_execution(4, 1, 2, 3)

    now = statistics.snapshot()
    assert now.execution_count == 3
    assert now.batch_stats == (
        BatchStatistics(1, Duration(1, 10), Duration(1, 20), Duration(1, 30)),
        BatchStatistics(4, Duration(2, 2), Duration(2, 4), Duration(2, 6)),
    )


def test_the_last_inference_is_the_wall_clock_in_milliseconds() -> None:
    statistics = VersionStatistics(wall_ns=lambda: 1_700_000_000_123_456_789)

    statistics.record_execution(1, 0, 0, 0)

    assert statistics.snapshot().last_inference == 1_700_000_000_123


def test_a_request_that_ended_was_asked_whether_it_failed_or_not() -> None:
    failed, executed = VersionStatistics(), VersionStatistics()

    failed.record_failure(1)
    executed.record_execution(1, 1, 1, 1)

    assert failed.was_asked
    assert not executed.was_asked

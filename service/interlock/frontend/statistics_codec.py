"""Write the statistics of a version as the message that ModelStatistics answers."""

from interlock.pb import grpc_service_pb2 as pb
from interlock.serving.served_model import ServedModel
from interlock.telemetry.statistics import BatchStatistics, Duration, InferenceStatistics


def encode_statistics(served: ServedModel) -> pb.ModelStatistics:
    now = served.statistics.snapshot()
    return pb.ModelStatistics(
        name=served.key.model,
        version=served.version_text,
        last_inference=now.last_inference,
        inference_count=now.inference_count,
        execution_count=now.execution_count,
        inference_stats=_inference(now.inference_stats),
        batch_stats=map(_batch, now.batch_stats),
    )


def _inference(statistics: InferenceStatistics) -> pb.InferStatistics:
    return pb.InferStatistics(
        success=_duration(statistics.success),
        fail=_duration(statistics.fail),
        queue=_duration(statistics.queue),
        compute_input=_duration(statistics.compute_input),
        compute_infer=_duration(statistics.compute_infer),
        compute_output=_duration(statistics.compute_output),
        cache_hit=_duration(statistics.cache_hit),
        cache_miss=_duration(statistics.cache_miss),
    )


def _batch(statistics: BatchStatistics) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=statistics.batch_size,
        compute_input=_duration(statistics.compute_input),
        compute_infer=_duration(statistics.compute_infer),
        compute_output=_duration(statistics.compute_output),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)

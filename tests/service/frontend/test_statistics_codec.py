"""The statistics of a version as a message."""

from google.protobuf import json_format

from interlock.frontend.statistics_codec import encode_statistics
from interlock.pb import grpc_service_pb2 as pb
from tests.support.boundary import loaded


def test_every_number_is_in_its_field() -> None:
    served = loaded("m", 7)
    statistics = served.statistics
    statistics.record_success(
        batch_size=4, request_ns=100, queue_ns=10, input_ns=20, infer_ns=30, output_ns=40
    )
    statistics.record_success(
        batch_size=2, request_ns=50, queue_ns=1, input_ns=2, infer_ns=3, output_ns=4
    )
    statistics.record_failure(request_ns=9)
    statistics.record_execution(batch_size=4, input_ns=20, infer_ns=30, output_ns=40)
    statistics.record_execution(batch_size=2, input_ns=2, infer_ns=3, output_ns=4)

    message = json_format.MessageToDict(encode_statistics(served), preserving_proto_field_name=True)

    assert message == {
        "name": "m",
        "version": "7",
        "last_inference": "1700000000123",
        "inference_count": "6",
        "execution_count": "2",
        "inference_stats": {
            "success": {"count": "2", "ns": "150"},
            "fail": {"count": "1", "ns": "9"},
            "queue": {"count": "2", "ns": "11"},
            "compute_input": {"count": "2", "ns": "22"},
            "compute_infer": {"count": "2", "ns": "33"},
            "compute_output": {"count": "2", "ns": "44"},
            "cache_hit": {},
            "cache_miss": {},
        },
        "batch_stats": [
            {
                "batch_size": "2",
                "compute_input": {"count": "1", "ns": "2"},
                "compute_infer": {"count": "1", "ns": "3"},
                "compute_output": {"count": "1", "ns": "4"},
            },
            {
                "batch_size": "4",
                "compute_input": {"count": "1", "ns": "20"},
                "compute_infer": {"count": "1", "ns": "30"},
                "compute_output": {"count": "1", "ns": "40"},
            },
        ],
    }


def test_a_version_that_never_ran_has_all_its_counts_at_zero() -> None:
    message = encode_statistics(loaded("m"))

    zero = pb.StatisticDuration()
    assert message.inference_stats.HasField("success")
    assert message.inference_stats.success == zero
    assert (message.last_inference, message.inference_count, len(message.batch_stats)) == (0, 0, 0)

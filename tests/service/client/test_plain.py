import json

from interlock.client.plain import plain
from interlock.pb import grpc_service_pb2 as pb


def test_shows_every_field_under_its_own_name() -> None:
    message = pb.RepositoryIndexResponse()
    message.models.add(name="m", state="READY")

    assert plain(message) == {
        "models": [{"name": "m", "version": "", "state": "READY", "reason": ""}]
    }


def test_large_numbers_stay_numbers() -> None:
    message = pb.ModelStatistics(inference_count=2**63)
    message.inference_stats.success.ns = 5
    shown = plain(message)

    assert shown["inference_count"] == 2**63
    assert shown["inference_stats"] == {"success": {"count": 0, "ns": 5}}


def test_maps_have_their_keys_as_text_and_bytes_are_base64() -> None:
    message = pb.RepositoryModelLoadRequest(model_name="m")
    message.parameters["file:1/x"].bytes_param = b"\xff\x00"

    assert plain(message)["parameters"] == {"file:1/x": {"bytes_param": "/wA="}}


def test_only_the_member_that_is_set_is_shown() -> None:
    assert plain(pb.InferParameter(int64_param=0)) == {"int64_param": 0}


def test_is_fit_for_json() -> None:
    message = pb.ModelMetadataResponse(name="m", versions=["1"])
    message.inputs.add(name="x", datatype="FP32", shape=[-1, 2])

    assert json.loads(json.dumps(plain(message)))["inputs"][0]["shape"] == [-1, 2]

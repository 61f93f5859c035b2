import numpy as np

from interlock.client.calls import Client
from interlock.client.connection import Connection
from interlock.client.infer import InferAnswer, InferCall, ParameterValue, infer
from interlock.client.tensor_text import RawTensor
from interlock.pb import grpc_service_pb2 as pb
from tests.support.scripted_server import scripted_server

X = RawTensor("x", "FP32", (1, 2), b"12345678")


def asked(
    call: InferCall, answer: pb.ModelInferResponse
) -> tuple[pb.ModelInferRequest, InferAnswer]:
    with (
        scripted_server({"ModelInfer": answer}) as server,
        Client(Connection(server=server.address)) as client,
    ):
        result = infer(client, call)
        return server.seen[0], result


def test_sends_what_was_asked() -> None:
    parameters: dict[str, ParameterValue] = {"b": True, "i": -1, "f": 0.5, "s": "x"}
    call = InferCall("m", [X], version="2", id="7", outputs=["y"], classes=3, parameters=parameters)
    request, _ = asked(call, pb.ModelInferResponse())

    assert (request.model_name, request.model_version, request.id) == ("m", "2", "7")
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "FP32", [1, 2])
    assert list(request.raw_input_contents) == [b"12345678"]
    assert request.outputs[0].name == "y"
    assert request.outputs[0].parameters["classification"].int64_param == 3
    assert {
        name: request.parameters[name].WhichOneof("parameter_choice") for name in parameters
    } == {
        "b": "bool_param",
        "i": "int64_param",
        "f": "double_param",
        "s": "string_param",
    }


def test_asks_for_no_classes_where_none_are_wanted() -> None:
    request, _ = asked(InferCall("m", [X], outputs=["y"]), pb.ModelInferResponse())

    assert not request.outputs[0].parameters


def test_reads_every_kind_of_output() -> None:
    answer = pb.ModelInferResponse(model_name="m", model_version="2", id="7")
    answer.parameters["triton_final_response"].bool_param = True
    for name, datatype, shape, data in (
        ("f", "FP32", [1, 2], np.array([1, 2], "<f4").tobytes()),
        ("h", "BF16", [2], np.array([0x3F80, 0xC000], "<u2").tobytes()),
        ("t", "BYTES", [2, 1], b"\x01\x00\x00\x00a\x00\x00\x00\x00"),
        ("e", "INT64", [0], b""),
    ):
        answer.outputs.add(name=name, datatype=datatype, shape=shape)
        answer.raw_output_contents.append(data)
    _, result = asked(InferCall("m", [X]), answer)

    assert (result.model, result.version, result.id) == ("m", "2", "7")
    assert result.parameters == {"triton_final_response": True}
    arrays = {output.name: output.array.tolist() for output in result.outputs}
    assert arrays == {"f": [[1.0, 2.0]], "h": [1.0, -2.0], "t": [[b"a"], [b""]], "e": []}

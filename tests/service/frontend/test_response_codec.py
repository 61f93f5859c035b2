from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn, strategies as st

from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.domain.tensor import OutputTensor, ParameterValue, RequestedOutput
from interlock.frontend import response_codec
from interlock.frontend.response_codec import encode_response, encode_stream_error
from interlock.pb import grpc_service_pb2 as pb
from tests.support.inference import asking, model, served

SERVED = served(model(TensorConfig("x", "FP32", (-1,))))


def answered(response: InferResponse, request: InferRequest | None = None) -> pb.ModelInferResponse:
    message = encode_response(request or asking(), SERVED, response, streaming=False)
    return pb.ModelInferResponse.FromString(message)


def y(data: bytes | memoryview = b"abcd", *, shape: tuple[int, ...] = (1,)) -> OutputTensor:
    return OutputTensor("y", "FP32", shape, data)


def test_writes_a_response_as_protobuf_does() -> None:
    response = InferResponse([y(shape=(1, 300)), OutputTensor("ü", "BYTES", (), b"")])
    expected = pb.ModelInferResponse(
        model_name="m",
        model_version="3",
        id="7",
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[1, 300]),
            pb.ModelInferResponse.InferOutputTensor(name="ü", datatype="BYTES"),
        ],
        raw_output_contents=[b"abcd", b""],
    )

    assert encode_response(asking(), SERVED, response, streaming=False) == (
        expected.SerializeToString()
    )


def test_a_streamed_response_is_wrapped_and_final() -> None:
    response = InferResponse([y(bytes(300))], {"other": 1})
    message = encode_response(asking(), SERVED, response, streaming=True)
    streamed = pb.ModelStreamInferResponse.FromString(message)

    assert streamed.error_message == ""
    inner = streamed.infer_response
    assert inner.parameters["triton_final_response"].bool_param is True
    del inner.parameters["triton_final_response"]
    assert inner == answered(response)


def test_leaves_an_empty_id_out() -> None:
    assert answered(InferResponse(), asking(id="")).id == ""


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (True, "bool_param"),
        (False, "bool_param"),
        (-1, "int64_param"),
        (2**63 - 1, "int64_param"),
        (-(2**63), "int64_param"),
        (2**63, "uint64_param"),
        (2**64 - 1, "uint64_param"),
        (0.25, "double_param"),
        ("ü", "string_param"),
        ("", "string_param"),
    ],
)
def test_writes_every_kind_of_parameter(value: ParameterValue, field: str) -> None:
    tensor = y()
    tensor.parameters["k"] = value
    answer = answered(InferResponse([tensor], {"k": value}))

    for parameters in (answer.parameters, answer.outputs[0].parameters):
        assert parameters["k"].WhichOneof("parameter_choice") == field
        assert getattr(parameters["k"], field) == value


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_refuses_numbers_that_no_parameter_can_hold(value: int) -> None:
    with pytest.raises(InternalError) as caught:
        answered(InferResponse([], {"k": value}))

    assert str(caught.value) == "response parameter 'k' does not fit into 64 bits"


def test_takes_views_of_wide_elements() -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    answer = answered(InferResponse([y(array.data, shape=(2, 3))]))

    assert answer.raw_output_contents == [array.tobytes()]


def test_parameters_of_one_output_do_not_reach_the_next() -> None:
    marked = y()
    marked.parameters["k"] = 1
    answered(InferResponse([y()]))

    assert len(answered(InferResponse([marked])).outputs[0].parameters) == 1
    assert len(answered(InferResponse([y()])).outputs[0].parameters) == 0


def test_gives_the_requested_outputs_in_the_order_of_the_backend() -> None:
    outputs = [OutputTensor(name, "INT8", (1,), name.encode()) for name in "abc"]
    answer = answered(InferResponse(outputs), asking(outputs=["c", "a", "missing"]))

    assert [output.name for output in answer.outputs] == ["a", "c"]
    assert answer.raw_output_contents == [b"a", b"c"]


@pytest.mark.parametrize("name", ["y", "other"])
def test_gives_one_output_if_it_was_the_one_asked_for(name: str) -> None:
    answer = answered(InferResponse([y()]), asking(outputs=[name]))

    assert [output.name for output in answer.outputs] == (["y"] if name == "y" else [])


def test_classifies_where_that_was_asked_for() -> None:
    request = asking()
    request.outputs = [RequestedOutput("y", classes=1)]
    data = np.array([1, 3, 2], "<f4").tobytes()
    answer = answered(InferResponse([y(data, shape=(3,))]), request)

    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", "BYTES", [1])
    assert answer.raw_output_contents == [b"\x0a\0\0\x003.000000:1"]


def test_gives_the_client_s_shapes() -> None:
    reshaped = TensorConfig("y", "FP32", (4,), reshape=(2, 2))
    plain = TensorConfig("z", "FP32", (1,))
    of = served(model(outputs=[reshaped, plain], max_batch_size=2))
    outputs = [y(bytes(32), shape=(2, 2, 2)), OutputTensor("z", "FP32", (2, 1), bytes(8))]
    message = encode_response(asking(), of, InferResponse(outputs), streaming=False)

    shapes = [list(output.shape) for output in pb.ModelInferResponse.FromString(message).outputs]
    assert shapes == [[2, 4], [2, 1]]


def test_writes_text_that_utf8_cannot_say() -> None:
    message = encode_stream_error("bad file \udcff", id="7")

    assert pb.ModelStreamInferResponse.FromString(message).error_message == "bad file ?"


def test_refuses_a_response_larger_than_grpc_carries() -> None:
    # One large buffer under many names: nothing of that size is ever allocated.
    large = memoryview(bytes(64 << 20))
    outputs = [OutputTensor(f"y{index}", "INT8", (64 << 20,), large) for index in range(32)]
    header = len(encode_response(asking(), SERVED, InferResponse(), streaming=False))

    with pytest.raises(InvalidRequestError) as caught:
        encode_response(asking(), SERVED, InferResponse(outputs), streaming=False)
    text = str(caught.value)
    assert text.startswith("Response has byte size ")
    assert text.endswith(" which exceeds gRPC's byte size limit 2147483647.")
    assert int(text.split()[4]) > (64 << 20) * 32 + header


@pytest.mark.parametrize("streaming", [True, False])
def test_counts_everything_towards_the_limit(
    monkeypatch: pytest.MonkeyPatch,
    streaming: bool,
) -> None:
    response = InferResponse([y(bytes(100))])
    message = encode_response(asking(), SERVED, response, streaming=streaming)
    monkeypatch.setattr(response_codec, "MAX_RESPONSE_BYTES", len(message))
    assert encode_response(asking(), SERVED, response, streaming=streaming) == message

    monkeypatch.setattr(response_codec, "MAX_RESPONSE_BYTES", len(message) - 1)
    with pytest.raises(InvalidRequestError, match=f"^Response has byte size {len(message)} which"):
        encode_response(asking(), SERVED, response, streaming=streaming)


def test_keeps_a_bounded_number_of_what_it_has_written() -> None:
    for index in range(3000):
        answered(InferResponse([y(shape=(index,))]))
        encode_response(
            asking(),
            served(model_named(str(index % 1500))),
            InferResponse(),
            streaming=False,
        )

    assert 0 < len(response_codec._outputs_seen) <= 1024
    assert 0 < len(response_codec._versions_seen) <= 1024


def model_named(name: str) -> ModelConfig:
    return replace(SERVED.config, name=name)


def test_an_error_before_its_model_has_the_id_alone() -> None:
    message = encode_stream_error("no", id="7")
    expected = pb.ModelStreamInferResponse(
        error_message="no", infer_response=pb.ModelInferResponse(id="7")
    )

    assert pb.ModelStreamInferResponse.FromString(message) == expected


def test_an_error_has_a_response_even_if_that_is_empty() -> None:
    streamed = pb.ModelStreamInferResponse.FromString(encode_stream_error("no", id=""))

    assert streamed.HasField("infer_response")


@pytest.mark.parametrize("final", [True, False])
def test_an_error_of_a_model_names_it_and_says_whether_more_comes(final: bool) -> None:
    message = encode_stream_error("no", id="7", model_name="m", model_version="2", final=final)
    expected = pb.ModelStreamInferResponse(
        error_message="no",
        infer_response=pb.ModelInferResponse(model_name="m", model_version="2", id="7"),
    )
    expected.infer_response.parameters["triton_final_response"].bool_param = final

    assert pb.ModelStreamInferResponse.FromString(message) == expected


parameters = st.dictionaries(
    st.text(max_size=5),
    st.one_of(
        st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text()
    ),
    max_size=4,
)
tensors = st.builds(
    OutputTensor,
    st.text(max_size=5),
    st.sampled_from(["FP32", "BYTES"]),
    st.lists(st.integers(0, 2**63 - 1), max_size=4).map(tuple),
    st.binary(max_size=300),
    parameters,
)


@drawn(st.lists(tensors, max_size=4), parameters, st.text(), st.booleans())
def test_protobuf_reads_what_was_written(
    outputs: list[OutputTensor],
    of_response: Mapping[str, ParameterValue],
    id: str,  # noqa: A002
    streaming: bool,
) -> None:
    response = InferResponse(outputs, dict(of_response))
    message = encode_response(asking(id=id), SERVED, response, streaming=streaming)
    if streaming:
        streamed = pb.ModelStreamInferResponse.FromString(message)
        assert streamed.SerializeToString(deterministic=True)
        answer = streamed.infer_response
        assert answer.parameters.pop("triton_final_response").bool_param
    else:
        answer = pb.ModelInferResponse.FromString(message)

    assert (answer.model_name, answer.model_version, answer.id) == ("m", "3", id)
    assert read(answer.parameters) == of_response
    assert [
        OutputTensor(o.name, o.datatype, tuple(o.shape), data, read(o.parameters))
        for o, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
    ] == outputs


def read(parameters: Mapping[str, pb.InferParameter]) -> dict[str, ParameterValue]:
    return {
        key: getattr(value, str(value.WhichOneof("parameter_choice")))
        for key, value in parameters.items()
    }

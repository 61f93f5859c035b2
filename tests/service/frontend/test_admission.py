from collections.abc import Mapping, Sequence

import pytest

from interlock.domain.config import TensorConfig
from interlock.domain.errors import InvalidRequestError, ServiceError, UnsupportedError
from interlock.domain.request import InferRequest
from interlock.frontend.admission import admit, is_costly
from interlock.frontend.request_codec import parse_request
from interlock.frontend.wire_format import MalformedMessageError
from interlock.pb import grpc_service_pb2 as pb
from interlock.serving.served_model import ServedModel
from tests.support.inference import model, served, texts

NOTHING: Mapping[str, str] = {}
NUMBERS = served(model(TensorConfig("x", "FP32", (-1,))))
TEXTS = served(model(TensorConfig("x", "BYTES", (-1,))))
TWO = served(
    model(
        TensorConfig("a", "INT32", (2,)),
        TensorConfig("b", "INT32", (2,), optional=True),
        outputs=[TensorConfig("y", "FP32", (-1,)), TensorConfig("z", "FP32", (-1,))],
    )
)
SHARED_MEMORY = "shared memory is not implemented by this server"


def message(inputs: str = "x", *, raw: Sequence[bytes] = (bytes(8),)) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", id="7", raw_input_contents=raw)
    for name in inputs:
        datatype = "FP32" if name == "x" else "INT32"
        request.inputs.add(name=name, datatype=datatype, shape=[2])
    return request


def admitted(
    sent: pb.ModelInferRequest, to: ServedModel = NUMBERS, forwarded: Mapping[str, str] = NOTHING
) -> InferRequest:
    request, raw = parse_request(sent.SerializeToString())
    admit(request, raw, to, forwarded=forwarded)
    return request


def refused(
    sent: pb.ModelInferRequest, to: ServedModel = NUMBERS, forwarded: Mapping[str, str] = NOTHING
) -> tuple[type[ServiceError], str]:
    with pytest.raises(ServiceError) as caught:
        admitted(sent, to, forwarded)
    return type(caught.value), str(caught.value)


def invalid(text: str) -> tuple[type[ServiceError], str]:
    return InvalidRequestError, text


def with_parameter(key: str, kind: str | None, value: object = None) -> pb.ModelInferRequest:
    request = message()
    parameter = request.parameters[key]
    if kind is None:
        parameter.SetInParent()
    else:
        setattr(parameter, kind, value)
    return request


def test_gives_inputs_their_raw_data_in_the_order_of_the_request() -> None:
    request = admitted(message("ab", raw=[b"aaaaaaaa", b"bbbbbbbb", b"surplus"]), TWO)

    assert [bytes(tensor.data) for tensor in request.inputs] == [b"aaaaaaaa", b"bbbbbbbb"]


def test_gives_inputs_what_their_typed_contents_hold() -> None:
    sent = message("ab", raw=[])
    sent.inputs[0].contents.int_contents.extend([1, 2])
    sent.inputs[1].contents.int_contents.extend([3, 4])
    request = admitted(sent, TWO)

    assert [bytes(tensor.data) for tensor in request.inputs] == [
        b"\1\0\0\0\2\0\0\0",
        b"\3\0\0\0\4\0\0\0",
    ]
    assert [tensor.contents for tensor in request.inputs] == [None, None]


def test_empty_contents_hold_a_tensor_of_no_elements() -> None:
    sent = message(raw=[])
    sent.inputs[0].contents.SetInParent()

    assert refused(sent) == invalid(
        "[request id: 7] input byte size mismatch for input 'x' for model 'm'. Expected 8, got 0"
    )
    sent.inputs[0].shape[:] = [0]
    assert admitted(sent).inputs[0].data == b""


def test_fills_what_the_scheduler_looks_at() -> None:
    batched = served(model(TensorConfig("x", "FP32", (1,)), max_batch_size=4))
    sent = message()
    sent.inputs[0].shape[:] = [2, 1]
    sent.parameters["sequence_id"].int64_param = -1
    sent.parameters["sequence_start"].bool_param = True
    sent.parameters["sequence_end"].bool_param = True
    sent.parameters["priority"].uint64_param = 2**64 - 1
    sent.parameters["timeout"].int64_param = 500
    sent.parameters["triton_enable_empty_final_response"].bool_param = True
    request = admitted(sent, batched)

    assert (request.batch_size, request.sequence_id) == (2, 2**64 - 1)
    assert (request.sequence_start, request.sequence_end) == (True, True)
    assert (request.priority, request.timeout_us) == (2**64 - 1, 500)
    assert request.parameters == {}


def test_takes_a_text_for_a_sequence_and_a_signed_priority() -> None:
    sent = with_parameter("sequence_id", "string_param", "ü" * 64)
    sent.parameters["priority"].int64_param = 2
    request = admitted(sent)

    assert (request.sequence_id, request.priority) == ("ü" * 64, 2)


def test_leaves_other_parameters_to_the_backend() -> None:
    sent = with_parameter("flag", "bool_param", value=True)
    sent.parameters["count"].int64_param = 3
    sent.parameters["text"].string_param = "t"
    sent.parameters["number"].double_param = 0.5
    sent.parameters["headers"].bool_param = True
    sent.parameters["binary_data_output"].bool_param = True
    sent.parameters["priority"].int64_param = 1

    assert admitted(sent).parameters == {
        "flag": True,
        "count": 3,
        "text": "t",
        "number": 0.5,
        "headers": True,
        "binary_data_output": True,
    }


WRONG_TYPE = "invalid value type for '{}' parameter, expected {}."
KINDS = {
    "bool_param": True,
    "int64_param": 1,
    "string_param": "s",
    "double_param": 0.5,
    "uint64_param": 1,
    None: None,
}


@pytest.mark.parametrize(
    ("key", "accepted", "expected"),
    [
        ("sequence_id", {"int64_param", "string_param"}, "int64_param or string_param"),
        ("sequence_start", {"bool_param"}, "bool_param"),
        ("sequence_end", {"bool_param"}, "bool_param"),
        ("priority", {"int64_param", "uint64_param"}, "int64_param or uint64_param"),
        ("timeout", {"int64_param"}, "int64_param"),
        ("triton_enable_empty_final_response", {"bool_param"}, "bool_param"),
        (
            "custom",
            {"bool_param", "int64_param", "string_param", "double_param"},
            "int64_param, bool_param, or string_param",
        ),
    ],
)
def test_refuses_parameters_of_a_wrong_type(key: str, accepted: set[str], expected: str) -> None:
    for kind, value in KINDS.items():
        sent = with_parameter(key, kind, value)
        if kind in accepted:
            admitted(sent)
        else:
            assert refused(sent) == invalid(WRONG_TYPE.format(key, expected)), kind


def test_refuses_a_correlation_id_that_is_too_long() -> None:
    admitted(with_parameter("sequence_id", "string_param", "s" * 128))

    assert refused(with_parameter("sequence_id", "string_param", "s" * 129)) == (
        UnsupportedError,
        "string correlation ID cannot be longer than 128 characters",
    )


def test_refuses_a_negative_priority() -> None:
    assert refused(with_parameter("priority", "int64_param", -1)) == invalid(
        "invalid value for 'priority', expected value >= 0."
    )


@pytest.mark.parametrize("kind", ["bool_param", None])
def test_refuses_reserved_parameters(kind: str | None) -> None:
    assert refused(with_parameter("triton_x", kind, value=True)) == invalid(
        "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following "
        "keys starting with 'triton_' are allowed: triton_enable_empty_final_response"
    )


def test_forwards_headers_as_parameters() -> None:
    sent = with_parameter("custom", "int64_param", 1)

    assert admitted(sent, forwarded={"x-tenant": "7"}).parameters == {"custom": 1, "x-tenant": "7"}


@pytest.mark.parametrize(
    "key",
    [
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
        "triton_anything",
    ],
)
def test_refuses_to_forward_reserved_headers(key: str) -> None:
    assert refused(message(), forwarded={"x-fine": "1", key: "2"}) == invalid(
        f"Header '{key}' is reserved for Triton usage and cannot be forwarded."
    )


def test_refuses_typed_contents_beside_raw_data() -> None:
    sent = message()
    sent.inputs[0].contents.SetInParent()

    assert refused(sent) == invalid(
        "contents field must not be specified when using raw_input_contents for 'x' for model 'm'"
    )


@pytest.mark.parametrize(("inputs", "missing"), [("ab", "b"), ("abx", "b")])
def test_refuses_an_input_without_data(inputs: str, missing: str) -> None:
    assert refused(message(inputs), TWO) == invalid(
        f"unable to find data for input tensor '{missing}' for model 'm' in request."
    )


def test_refuses_contents_of_another_type() -> None:
    sent = message(raw=[])
    sent.inputs[0].contents.int_contents.append(1)

    assert refused(sent) == invalid(
        "unexpected explicit tensor data for input tensor 'x' for model 'm' of type 'INT32', "
        "expected datatype 'FP32'"
    )


def test_refuses_contents_of_two_types() -> None:
    sent = message(raw=[])
    sent.inputs[0].contents.fp32_contents.append(1)
    sent.inputs[0].contents.bytes_contents.append(b"")

    assert refused(sent) == invalid(
        "unexpected explicit tensor data for input tensor 'x' for model 'm', binary data was "
        "already supplied."
    )


def test_refuses_contents_that_are_no_message() -> None:
    request, raw = parse_request(b"\x2a\x0b\x0a\x01x\x12\x01X\x2a\x03\x12\x01\x80")

    with pytest.raises(MalformedMessageError, match="of the contents of input 'x'"):
        admit(request, raw, NUMBERS, forwarded=NOTHING)


@pytest.mark.parametrize(
    "key", ["shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"]
)
def test_refuses_shared_memory(key: str) -> None:
    of_input = message()
    of_input.inputs[0].parameters[key].string_param = "r"
    of_output = message()
    of_output.outputs.add(name="y").parameters[key].string_param = "r"

    assert refused(of_input) == (UnsupportedError, SHARED_MEMORY)
    assert refused(of_output) == (UnsupportedError, SHARED_MEMORY)


def test_ignores_other_parameters_of_inputs_and_outputs() -> None:
    sent = message()
    sent.inputs[0].parameters["note"].uint64_param = 1
    sent.outputs.add(name="y").parameters["note"].SetInParent()

    assert admitted(sent).outputs[0].classes == 0


def test_takes_the_number_of_classes() -> None:
    sent = message()
    sent.outputs.add(name="y").parameters["classification"].int64_param = 3

    assert admitted(sent).outputs[0].classes == 3


@pytest.mark.parametrize("count", [0, -1])
def test_refuses_no_classes(count: int) -> None:
    sent = message()
    sent.outputs.add(name="y").parameters["classification"].int64_param = count

    assert refused(sent) == invalid("invalid value for 'classification' parameter, expected >= 0")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "int64_param"])
def test_refuses_a_number_of_classes_of_another_type(kind: str | None) -> None:
    sent = message()
    parameter = sent.outputs.add(name="y").parameters["classification"]
    if kind is None:
        parameter.SetInParent()
    else:
        setattr(parameter, kind, KINDS[kind])

    assert refused(sent) == invalid(
        "invalid value type for 'classification' parameter, expected int64_param"
    )


FAULTS = [
    "invalid value type for 'timeout' parameter, expected int64_param.",
    "[request id: 7] input 'a' already exists in request",
    "[request id: 7] output 'y' already exists in request",
    "Header 'timeout' is reserved for Triton usage and cannot be forwarded.",
    "unable to find data for input tensor 'c' for model 'm' in request.",
    "invalid value for 'classification' parameter, expected >= 0",
    "unexpected inference output 'unknown' for model 'm'",
    (
        "[request id: 7] expected number of inputs between 1 and 2 but got 3 inputs for model "
        "'m'. Got input(s) ['c','b','a'], but missing required input(s) []. Please provide all "
        "required input(s)."
    ),
    "unexpected inference input 'd' for model 'm'",
]


@pytest.mark.parametrize("mended", range(len(FAULTS)))
def test_tells_the_first_fault_in_the_order_of_the_protocol(mended: int) -> None:
    sent = message("abc" if mended < 8 else "d", raw=[bytes(8)] * (2 if mended < 5 else 3))
    if mended < 1:
        sent.parameters["timeout"].string_param = "soon"
    if mended < 2:
        sent.inputs.insert(1, sent.inputs[0])
    if mended < 3:
        sent.outputs.add(name="y")
    sent.outputs.add(name="y")
    if mended < 6:
        sent.outputs[-1].parameters["classification"].int64_param = 0
    if mended < 7:
        sent.outputs.add(name="unknown")
    forwarded = {"timeout": "1"} if mended < 4 else NOTHING

    assert refused(sent, TWO, forwarded) == invalid(FAULTS[mended])


def costly(sent: pb.ModelInferRequest) -> bool:
    request, raw = parse_request(sent.SerializeToString())
    return is_costly(request, raw, NUMBERS)


def test_raw_numbers_are_never_costly() -> None:
    assert not costly(message(raw=[bytes(1_000_000)]))


def test_long_texts_are_costly() -> None:
    few, many = (message(raw=[texts(b"a") * count]) for count in (10, 10_000))
    for sent in (few, many):
        sent.inputs[0].datatype = "BYTES"

    assert not costly(few)
    assert costly(many)


def test_texts_are_costly_only_in_their_own_data() -> None:
    sent = message("xx", raw=[bytes(1_000_000), b""])
    sent.inputs[1].datatype = "BYTES"

    assert not costly(sent)
    sent.inputs[0].datatype = "BYTES"
    assert costly(sent)


def test_long_typed_contents_are_costly() -> None:
    few, many = message(raw=[]), message(raw=[])
    few.inputs[0].contents.fp32_contents.extend(range(10))
    many.inputs[0].contents.fp32_contents.extend(range(10_000))

    assert not costly(few)
    assert costly(many)


def test_inputs_without_data_are_not_costly() -> None:
    sent = message(raw=[])
    sent.inputs[0].datatype = "BYTES"

    assert not costly(sent)

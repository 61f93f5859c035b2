from random import Random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from interlock.domain.tensor import InputTensor, RequestedOutput
from interlock.frontend import request_codec
from interlock.frontend.request_codec import UnsignedParameter, is_costly_to_parse, parse_request
from interlock.frontend.wire_format import MalformedMessageError
from interlock.pb import grpc_service_pb2 as pb
from tests.support.wire_messages import MessageMaker, delimited, tag, varint
from tests.support.wire_oracle import difference


def whole() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", model_version="3", id="ü")
    request.parameters["flag"].bool_param = True
    request.parameters["count"].int64_param = -5
    request.parameters["text"].string_param = "ü"
    request.parameters["number"].double_param = 0.5
    request.parameters["unsigned"].uint64_param = 2**64 - 1
    request.parameters["unset"].SetInParent()
    raw = request.inputs.add(name="x", datatype="FP32", shape=[2, -1])
    raw.parameters["place"].string_param = "here"
    typed = request.inputs.add(name="y", datatype="INT32", shape=[300])
    typed.contents.int_contents.extend([1, 2])
    request.outputs.add(name="z").parameters["classification"].int64_param = 3
    request.raw_input_contents.extend([b"abcd", b""])
    return request


def refusal(message: bytes) -> str:
    with pytest.raises(MalformedMessageError) as caught:
        parse_request(message)
    return str(caught.value)


def test_reads_every_field() -> None:
    request, raw = parse_request(whole().SerializeToString())

    assert (request.model_name, request.model_version, request.id) == ("m", "3", "ü")
    assert request.parameters == {
        "flag": True,
        "count": -5,
        "text": "ü",
        "number": 0.5,
        "unsigned": 2**64 - 1,
        "unset": None,
    }
    assert request.inputs == [
        InputTensor("x", "FP32", (2, -1), parameters={"place": "here"}),
        InputTensor("y", "INT32", (300,), contents=(memoryview(b"\x12\x02\x01\x02"),)),
    ]
    assert request.outputs == [RequestedOutput("z", parameters={"classification": 3})]
    assert raw == [b"abcd", b""]


def test_reads_nothing_from_nothing() -> None:
    request, raw = parse_request(b"")

    assert (request.model_name, request.id, request.parameters) == ("", "", {})
    assert (request.inputs, request.outputs, raw) == ([], [], [])


def test_tells_kinds_of_parameters_apart() -> None:
    parameters = parse_request(whole().SerializeToString())[0].parameters

    kinds = {key: type(value) for key, value in parameters.items()}
    assert kinds == {
        "flag": bool,
        "count": int,
        "text": str,
        "number": float,
        "unsigned": UnsignedParameter,
        "unset": type(None),
    }


def test_copies_no_tensor() -> None:
    message = whole().SerializeToString()
    request, raw = parse_request(message)
    (contents,) = request.inputs[1].contents or ()

    assert raw[0].obj is message
    assert contents.obj is message


def test_keeps_every_part_of_contents() -> None:
    parts = delimited(5, b"\x10\x01") + delimited(5, b"") + delimited(5, b"\x10\x02")
    request, _ = parse_request(delimited(5, parts))

    contents = [bytes(part) for part in request.inputs[0].contents or ()]
    assert contents == [b"\x10\x01", b"", b"\x10\x02"]


def test_requests_that_look_the_same_share_nothing_that_changes() -> None:
    message = whole().SerializeToString()
    first, _ = parse_request(message)
    first.inputs[0].shape = (9,)
    first.inputs[0].data = b"x"
    first.outputs[0].classes = 7
    first.parameters.clear()
    second, _ = parse_request(message)

    assert second.inputs[0] == InputTensor("x", "FP32", (2, -1), parameters={"place": "here"})
    assert second.outputs[0].classes == 0
    assert len(second.parameters) == 6
    with pytest.raises(TypeError):
        second.inputs[0].parameters["place"] = "there"  # type: ignore[index]


def test_keeps_a_bounded_number_of_what_it_has_seen() -> None:
    for number in range(3000):
        name = str(number).encode()
        entry = delimited(1, name) + delimited(2, b"\x08\x01")
        parse_request(
            delimited(5, delimited(1, name))
            + delimited(6, delimited(1, name))
            + delimited(4, entry)
        )

    for seen in (
        request_codec._inputs_seen,
        request_codec._outputs_seen,
        request_codec._entries_seen,
    ):
        assert 0 < len(seen) <= 1024


def test_keeps_nothing_that_is_long_or_has_contents() -> None:
    message = (
        delimited(5, delimited(1, b"long" * 100))
        + delimited(5, delimited(1, b"typed") + delimited(5, b"\x10\x01"))
        + delimited(6, delimited(1, b"long" * 100))
        + delimited(4, delimited(1, b"long" * 100))
    )
    before = (
        len(request_codec._inputs_seen),
        len(request_codec._outputs_seen),
        len(request_codec._entries_seen),
    )
    parse_request(message)

    assert before == (
        len(request_codec._inputs_seen),
        len(request_codec._outputs_seen),
        len(request_codec._entries_seen),
    )


GROUPS = b"\x7b" * 98 + b"\x7c" * 98
ENTRY = delimited(1, b"deep") + delimited(2, GROUPS)


def test_what_was_seen_may_still_be_too_deep_elsewhere() -> None:
    request, _ = parse_request(delimited(4, ENTRY))
    assert request.parameters == {"deep": None}

    assert "more than 100 messages inside each other" in refusal(delimited(5, delimited(4, ENTRY)))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(b"\x0a", "the message ends inside a field at byte 1", id="no length"),
        pytest.param(b"\x0a\x05abc", "the message ends inside a field at byte 5", id="too long"),
        pytest.param(b"\x0a\x80", "the message ends inside a field at byte 2", id="half a length"),
        pytest.param(b"\x0a\x01a\x02\x00", "field number 0 at byte 3", id="field 0"),
        pytest.param(b"\x00\x00", "field number 0 at byte 0", id="field 0, a number"),
        pytest.param(b"\x0e\x00", "wire type 6 at byte 0", id="wire type"),
        pytest.param(
            b"\x0c", "the end of a group that was not begun at byte 0", id="end of a group"
        ),
        pytest.param(b"\x7b", "the message ends inside a field at byte 1", id="open group"),
        pytest.param(
            b"\x0a\x02a\xff", "a string that is not UTF-8 at byte 3", id="UTF-8 in a name"
        ),
        pytest.param(
            delimited(5, b"\x0a\x01\xff"), "a string that is not UTF-8 at byte 4", id="in an input"
        ),
        pytest.param(
            delimited(4, b"\x0a\x03\xed\xa0\x80"),
            "a string that is not UTF-8 at byte 4",
            id="a surrogate in a key",
        ),
        pytest.param(
            delimited(5, b"\x1a\x01\x80") + b"\x01",
            "the message ends inside a field at byte 5",
            id="packed number cut off",
        ),
        pytest.param(
            b"\x3a" + varint(2**31), "a length out of range at byte 1", id="length of 2 GiB"
        ),
        pytest.param(
            tag(5, 2) + b"\x80" * 10 + b"\x01",
            "a number longer than 10 bytes at byte 1",
            id="length of 11 bytes",
        ),
    ],
)
def test_says_what_is_wrong_and_where(message: bytes, text: str) -> None:
    assert refusal(message) == f"could not parse the ModelInferRequest: {text}"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x8a\x80\x80\x80\x00\x01a", id="tag of five bytes"),
        pytest.param(b"\x8a\x80\x80\x80\x80\x00\x01a", id="tag of six bytes"),
        pytest.param(b"\x0a\x81" + b"\x80" * 8 + b"\x02a", id="length beyond 64 bits"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="negative length"),
        pytest.param(b"\x08\x01\x0a\x01a", id="wrong wire type"),
        pytest.param(delimited(4, b""), id="empty entry"),
        pytest.param(delimited(4, b"\x0a\x01a\x0a\x01b"), id="two keys"),
        pytest.param(delimited(4, b"\x12\x02\x10\x05\x12\x00"), id="two values, joined"),
        pytest.param(delimited(4, b"\x12\x02\x10\x05\x12\x02\x08\x01"), id="two values, the last"),
        pytest.param(delimited(4, b"\x12\x04\x10\x05\x08\x00"), id="two choices"),
        pytest.param(delimited(4, b"\x0a\x01a\x78\x01\x12\x00"), id="unknown field in an entry"),
        pytest.param(delimited(4, b"\x08\x01\x12\x00"), id="key of a wrong wire type"),
        pytest.param(delimited(4, b"\x12\x02\x0a\x00"), id="value of a wrong wire type"),
        pytest.param(delimited(5, b"\x18\x02\x1a\x02\x03\x04\x18\x05"), id="packed and single"),
        pytest.param(delimited(5, b"\x1a\x0a" + b"\xff" * 9 + b"\x7f"), id="number beyond 64 bits"),
        pytest.param(delimited(5, b"\x1d\x00\x00\x00\x00"), id="shape in four bytes"),
        pytest.param(delimited(5, b"\x1a\x01\x80") + delimited(5, b""), id="packed cut off"),
        pytest.param(
            delimited(5, delimited(5, b"\x0a\x05\x01") + delimited(5, b"\x01\x01\x01\x01")),
            id="a part of contents cut off, made whole by the next",
        ),
        pytest.param(b"\x7b" * 100 + b"\x7c" * 100, id="100 groups"),
        pytest.param(b"\x7b" * 101 + b"\x7c" * 101, id="101 groups"),
        pytest.param(delimited(4, ENTRY), id="100 messages and groups"),
        pytest.param(delimited(5, delimited(4, ENTRY)), id="101 messages and groups"),
        pytest.param(delimited(5, delimited(5, GROUPS)), id="groups in contents"),
        pytest.param(
            delimited(5, delimited(5, b"\x7b" + GROUPS + b"\x7c")), id="too many groups in contents"
        ),
    ],
)
def test_reads_unusual_messages_as_protobuf_does(message: bytes) -> None:
    assert difference(message) is None


seeds = st.integers(0, 2**64 - 1)
fields = st.one_of(
    st.builds(lambda number, value: tag(number, 0) + varint(value), st.integers(1, 9), seeds),
    st.builds(
        lambda number, data: tag(number, 1) + data,
        st.integers(1, 9),
        st.binary(min_size=8, max_size=8),
    ),
    st.builds(
        lambda number, data: tag(number, 5) + data,
        st.integers(1, 9),
        st.binary(min_size=4, max_size=4),
    ),
)
messages = st.recursive(
    st.one_of(st.binary(max_size=8), st.text(max_size=3).map(str.encode)),
    lambda inner: st.lists(
        st.one_of(fields, st.builds(delimited, st.integers(1, 9), inner)), max_size=6
    ).map(b"".join),
    max_leaves=12,
)


@settings(max_examples=300)
@given(seeds)
def test_reads_whatever_a_writer_may_write_as_protobuf_does(seed: int) -> None:
    assert difference(MessageMaker(Random(seed)).request()) is None


@settings(max_examples=300)
@given(seeds)
def test_accepts_and_refuses_broken_messages_as_protobuf_does(seed: int) -> None:
    maker = MessageMaker(Random(seed))

    assert difference(maker.mutated(maker.request())) is None


@settings(max_examples=300)
@given(messages)
def test_reads_fields_in_any_arrangement_as_protobuf_does(message: bytes) -> None:
    assert difference(message) is None


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_reads_noise_as_protobuf_does(message: bytes) -> None:
    assert difference(message) is None


def test_reads_every_beginning_of_a_message_as_protobuf_does() -> None:
    message = whole().SerializeToString()

    assert [difference(message[:size]) for size in range(len(message))] == [None] * len(message)


def _request(**fields: Any) -> bytes:
    return pb.ModelInferRequest(model_name="m", **fields).SerializeToString()


def test_a_large_tensor_alone_does_not_make_a_message_costly() -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[500_000])

    assert not is_costly_to_parse(_request(inputs=[tensor], raw_input_contents=[bytes(2_000_000)]))


def test_a_small_message_is_never_costly() -> None:
    inputs = [pb.ModelInferRequest.InferInputTensor()] * 7000

    assert not is_costly_to_parse(_request(inputs=inputs))


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(
            _request(inputs=[pb.ModelInferRequest.InferInputTensor()] * 9000), id="many inputs"
        ),
        pytest.param(_request(raw_input_contents=[b""] * 9000), id="many empty tensors"),
        pytest.param(b"\x0a\x00" * 9000, id="the name, again and again"),
        pytest.param(
            _request(inputs=[pb.ModelInferRequest.InferInputTensor(shape=range(9000))]),
            id="a shape of thousands",
        ),
        pytest.param(
            _request(inputs=[pb.ModelInferRequest.InferInputTensor(shape=range(9000))]) + b"\x0b",
            id="broken at its end",
        ),
    ],
)
def test_thousands_of_small_fields_make_a_message_costly(message: bytes) -> None:
    assert is_costly_to_parse(message)

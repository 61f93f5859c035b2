from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given as drawn, strategies as st

from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.errors import InvalidRequestError
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.tensor import InputTensor
from tests.support.inference import asking, given, model, texts

TAG = "[request id: 7] "
PLAIN = model(TensorConfig("x", "FP32", (-1,)))
WIDE = model(TensorConfig("x", "FP32", (-1, -1)))
BATCHED = model(TensorConfig("x", "INT32", (16,)), max_batch_size=8)
TWO = model(TensorConfig("INPUT0", "INT32", (16,)), TensorConfig("INPUT1", "INT32", (16,)))
TWO_BATCHED = model(
    TensorConfig("a", "FP32", (2,)), TensorConfig("b", "FP32", (2,)), max_batch_size=8
)
OPTIONAL = model(
    TensorConfig("a", "FP32", (1,)),
    TensorConfig("b", "FP32", (1,)),
    TensorConfig("c", "FP32", (1,)),
    TensorConfig("d", "FP32", (1,), optional=True),
)
TEXTS = model(TensorConfig("x", "BYTES", (-1,)))
UNSIGNED32 = 2**32


def refusal(config: ModelConfig, request: InferRequest) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        RequestRules.of(config).check(request)
    assert type(caught.value) is InvalidRequestError
    return str(caught.value)


def accepted(config: ModelConfig, request: InferRequest) -> InferRequest:
    RequestRules.of(config).check(request)
    return request


@pytest.mark.parametrize(
    ("config", "request_", "text"),
    [
        pytest.param(
            PLAIN,
            asking(given("z", [1])),
            "unexpected inference input 'z' for model 'm'",
            id="unknown input",
        ),
        pytest.param(
            BATCHED,
            asking(given("z", [1, 16], "INT32")),
            "unexpected inference input 'z' for model 'm'",
            id="unknown input of a model that batches",
        ),
        pytest.param(
            PLAIN,
            asking(given("x", [1]), outputs=["y", "z"]),
            "unexpected inference output 'z' for model 'm'",
            id="unknown output",
        ),
        pytest.param(
            TWO,
            asking(given("INPUT0", [16], "INT32")),
            f"{TAG}expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['INPUT0'], but "
            "missing required input(s) ['INPUT1']. Please provide all required input(s).",
            id="one of two inputs",
        ),
        pytest.param(
            TWO,
            asking(),
            f"{TAG}expected 2 inputs but got 0 inputs for model 'm'. Got input(s) [], but "
            "missing required input(s) ['INPUT0','INPUT1']. Please provide all required input(s).",
            id="no input",
        ),
        pytest.param(
            OPTIONAL,
            asking(given("b", [1]), given("a", [1])),
            f"{TAG}expected number of inputs between 3 and 4 but got 2 inputs for model 'm'. Got "
            "input(s) ['a','b'], but missing required input(s) ['c']. Please provide all required "
            "input(s).",
            id="too few with an optional one",
        ),
        pytest.param(
            PLAIN,
            asking(given("x", [1]), given("z", [1])),
            f"{TAG}expected 1 inputs but got 2 inputs for model 'm'. Got input(s) ['z','x'], but "
            "missing required input(s) []. Please provide all required input(s).",
            id="too many, counted before they are named",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [], "INT32")),
            f"{TAG}input 'x' has no shape but model requires batch dimension for 'm'",
            id="no batch dimension",
        ),
        pytest.param(
            TWO_BATCHED,
            asking(given("a", [1, 2]), given("b", [2, 2])),
            f"{TAG}input 'a' batch size does not match other inputs for 'm'",
            id="batch sizes differ, the first input is the second to be looked at",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [9, 16], "INT32")),
            f"{TAG}inference request batch-size must be <= 8 for 'm'",
            id="batch too large",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [16], "INT32")),
            f"{TAG}inference request batch-size must be <= 8 for 'm'",
            id="wrong rank taken for a large batch",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [UNSIGNED32 + 1, 16], "INT32", data=bytes(64))),
            f"{TAG}inference request batch-size must be <= 8 for 'm'",
            id="batch beyond 32 bits",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [1, 16])),
            f"{TAG}inference input 'x' data-type is 'FP32', but model 'm' expects 'INT32'",
            id="datatype",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [1, 16], "TYPE_INT32", data=bytes(64))),
            f"{TAG}inference input 'x' data-type is '<invalid>', but model 'm' expects 'INT32'",
            id="no such datatype",
        ),
        pytest.param(
            PLAIN,
            asking(given("x", [-1], data=b"")),
            f"{TAG}All input dimensions should be specified for input 'x' for model 'm', got [-1]",
            id="open dimension",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [1, -1], "INT32", data=b"")),
            f"{TAG}All input dimensions should be specified for input 'x' for model 'm', "
            "got [1,-1]",
            id="open dimension behind the batch",
        ),
        pytest.param(
            TWO,
            asking(given("INPUT0", [16], "INT32"), given("INPUT1", [4, 4], "INT32")),
            f"{TAG}unexpected shape for input 'INPUT1' for model 'm'. Expected [16], got [4,4]. ",
            id="rank",
        ),
        pytest.param(
            TWO,
            asking(given("INPUT0", [8], "INT32"), given("INPUT1", [8], "INT32")),
            f"{TAG}unexpected shape for input 'INPUT1' for model 'm'. Expected [16], got [8]. ",
            id="two wrong shapes, the last one is named",
        ),
        pytest.param(
            WIDE,
            asking(given("x", [1, 2, -1], data=b"")),
            f"{TAG}unexpected shape for input 'x' for model 'm'. Expected [-1,-1], got [1,2,-1]. ",
            id="rank before open dimensions",
        ),
        pytest.param(
            PLAIN,
            asking(given("x", [16], data=bytes(60))),
            f"{TAG}input byte size mismatch for input 'x' for model 'm'. Expected 64, got 60",
            id="bytes",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [0, 16], "INT32", data=b"")),
            f"{TAG}input byte size mismatch for input 'x' for model 'm'. Expected 64, got 0",
            id="batch of none is held for one without batch",
        ),
        pytest.param(
            BATCHED,
            asking(given("x", [-1, 16], "INT32", data=bytes(64))),
            f"{TAG}input byte size mismatch for input 'x' for model 'm'. Expected "
            f"{(UNSIGNED32 - 1) * 64}, got 64",
            id="batch of -1",
        ),
        pytest.param(
            TWO_BATCHED,
            asking(given("a", [2, 2]), given("b", [0, 2], data=b"")),
            f"{TAG}input byte size mismatch for input 'b' for model 'm'. Expected 16, got 0",
            id="batch of none beside a real one",
        ),
        pytest.param(
            WIDE,
            asking(given("x", [2**62, 2], data=b"")),
            "element count for tensor 'x' exceeds maximum size of 9223372036854775807",
            id="element count beyond int64",
        ),
        pytest.param(
            WIDE,
            asking(given("x", [2**61, 2], data=b"")),
            "byte size for tensor 'x' exceeds maximum size of 9223372036854775807",
            id="byte size beyond int64",
        ),
        pytest.param(
            PLAIN,
            asking(given("x", [-2], data=b"")),
            "tensor 'x' contains an invalid dimension -2",
            id="negative dimension",
        ),
        pytest.param(
            TEXTS,
            asking(given("x", [3], "BYTES", data=texts(b"a", b"bc"))),
            f"{TAG}expected 3 string elements for inference input 'x' for model 'm', got 2",
            id="too few elements",
        ),
        pytest.param(
            TEXTS,
            asking(given("x", [1], "BYTES", data=texts(b"a", b"bc", b"d", b"e"))),
            f"{TAG}unexpected number of string elements 2 for inference input 'x' for model 'm', "
            "expecting 1",
            id="too many elements, counted to the first",
        ),
        pytest.param(
            TEXTS,
            asking(given("x", [0], "BYTES", data=texts(b""))),
            f"{TAG}unexpected number of string elements 1 for inference input 'x' for model 'm', "
            "expecting 0",
            id="an element where there is to be none",
        ),
        pytest.param(
            TEXTS,
            asking(given("x", [2], "BYTES", data=texts(b"a") + b"\x01\x00")),
            f"{TAG}incomplete string length indicator for inference input 'x' for model 'm', "
            "expecting 4 bytes but only 2 bytes available. Please make sure the string length "
            "indicator is in one buffer.",
            id="length cut off",
        ),
        pytest.param(
            TEXTS,
            asking(given("x", [2], "BYTES", data=texts(b"a") + b"\x0a\x00\x00\x00abc")),
            "incomplete string data for inference input 'x', expecting string of length 10 but "
            "only 3 bytes available",
            id="last element cut off",
        ),
        pytest.param(
            TEXTS,
            asking(given("x", [3], "BYTES", data=texts(b"a") + b"\x0a\x00\x00\x00abc")),
            f"{TAG}expected 3 string elements for inference input 'x' for model 'm', got 2",
            id="element before the last cut off",
        ),
    ],
)
def test_refuses(config: ModelConfig, request_: InferRequest, text: str) -> None:
    assert refusal(config, request_) == text


def test_explains_the_batch_dimension_behind_a_wrong_shape() -> None:
    text = refusal(BATCHED, asking(given("x", [1, 8], "INT32")))

    assert text.startswith(
        f"{TAG}unexpected shape for input 'x' for model 'm'. Expected [-1,16], got [1,8]. NOTE: "
    )


def test_says_that_a_request_has_no_id() -> None:
    request = asking(given("x", [1], data=b""), id="")

    assert refusal(PLAIN, request).startswith("[request id: <id_unknown>] input byte size mismatch")


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (asking(given("x", [1]), given("x", [1])), f"{TAG}input 'x' already exists in request"),
        (asking(outputs=["y", "z", "z"]), f"{TAG}output 'z' already exists in request"),
        (
            asking(given("x", [1]), given("x", [1]), outputs=["y", "y"]),
            f"{TAG}input 'x' already exists in request",
        ),
    ],
    ids=["input", "output", "inputs first"],
)
def test_refuses_what_is_there_twice(request_: InferRequest, text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        RequestRules.of(PLAIN).refuse_duplicates(request_)

    assert str(caught.value) == text


def test_takes_inputs_and_outputs_that_are_there_once() -> None:
    request = asking(given("a", [1]), given("b", [1]), outputs=["y", "z"])

    RequestRules.of(PLAIN).refuse_duplicates(request)

    assert len(request.inputs) == 2


def test_takes_a_batch() -> None:
    request = accepted(BATCHED, asking(given("x", [3, 16], "INT32"), outputs=["y"]))

    assert request.batch_size == 3
    assert request.inputs[0].shape == (3, 16)


def test_a_model_without_batches_has_requests_of_one() -> None:
    assert accepted(PLAIN, asking(given("x", [5]))).batch_size == 1


def test_makes_a_batch_of_none_with_the_data_of_one_a_batch_of_one() -> None:
    request = accepted(BATCHED, asking(given("x", [0, 16], "INT32", data=bytes(64))))

    assert (request.batch_size, request.inputs[0].shape) == (1, (1, 16))


def test_takes_tensors_of_no_elements() -> None:
    assert accepted(WIDE, asking(given("x", [3, 0]))).inputs[0].shape == (3, 0)
    assert accepted(TEXTS, asking(given("x", [0], "BYTES", data=b""))).inputs[0].data == b""


@pytest.mark.parametrize("names", ["abc", "cabd", "abcd"])
def test_optional_inputs_may_be_missing(names: str) -> None:
    request = accepted(OPTIONAL, asking(*(given(name, [1]) for name in names)))

    assert len(request.inputs) == len(names)


def test_an_unknown_input_does_not_stand_for_a_required_one() -> None:
    request = asking(given("a", [1]), given("b", [1]), given("z", [1]))

    assert refusal(OPTIONAL, request) == "unexpected inference input 'z' for model 'm'"


def test_an_optional_input_does_not_stand_for_a_required_one() -> None:
    request = asking(given("a", [1]), given("b", [1]), given("d", [1]))

    assert refusal(OPTIONAL, request) == (
        f"{TAG}expected number of inputs between 3 and 4 but got 3 inputs for model 'm'. Got "
        "input(s) ['d','b','a'], but missing required input(s) ['c']. Please provide all required "
        "input(s)."
    )


@pytest.mark.parametrize(
    ("dims", "reshape", "sent", "seen"),
    [
        ((4,), (2, 2), (8, 4), (8, 2, 2)),
        ((1,), (), (8, 1), (8,)),
        ((-1, 2, -1), (2, -1, 1, -1), (8, 5, 2, 3), (8, 2, 5, 1, 3)),
    ],
)
def test_reshapes_inputs_for_the_backend_and_outputs_for_the_client(
    dims: Sequence[int], reshape: Sequence[int], sent: Sequence[int], seen: Sequence[int]
) -> None:
    tensors = [
        TensorConfig(name, "FP32", tuple(dims), reshape=tuple(reshape)) for name in ("x", "y")
    ]
    config = model(tensors[0], outputs=tensors[1:], max_batch_size=8)
    rules = RequestRules.of(config)
    for _ in "again":  # the short way too
        request = asking(given("x", sent))
        rules.check(request)

        assert request.inputs[0].shape == tuple(seen)
        assert rules.output_shape("y", tuple(seen)) == tuple(sent)
    assert rules.reshapes_outputs


def test_reshapes_without_a_batch() -> None:
    reshaped = TensorConfig("x", "FP32", (-1, 2), reshape=(2, -1))
    rules = RequestRules.of(model(reshaped, outputs=[reshaped]))

    assert rules.output_shape("x", (2, 7)) == (7, 2)
    assert rules.output_shape("other", (2, 7)) == (2, 7)
    assert rules.output_shape("x", (1, 2, 7)) == (1, 2, 7)


def test_a_shape_error_tells_the_client_s_shape() -> None:
    config = model(TensorConfig("x", "FP32", (4,), reshape=(2, 2)))

    assert "Expected [4], got [2,2]. " in refusal(config, asking(given("x", [2, 2])))


WRONG = [
    given("x", [2, 4], data=bytes(31)),
    given("x", [9, 4]),
    given("x", [2, 5]),
    given("x", [2, 4], "INT32"),
    given("z", [2, 4]),
    given("x", [2, 4, 1]),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_passed_before_lets_nothing_wrong_pass(wrong: InputTensor) -> None:
    config = model(TensorConfig("x", "FP32", (4,)), max_batch_size=8)
    rules = RequestRules.of(config)
    for batch in range(1, 9):
        rules.check(asking(given("x", [batch, 4])))

    with pytest.raises(InvalidRequestError) as caught:
        rules.check(asking(wrong))
    assert str(caught.value) == refusal(config, asking(wrong))


def test_what_passed_before_lets_no_wrong_output_or_batch_pass() -> None:
    rules = RequestRules.of(TWO_BATCHED)
    for batch in (1, 2):
        rules.check(asking(given("a", [batch, 2]), given("b", [batch, 2])))

    with pytest.raises(InvalidRequestError, match="unexpected inference output 'z'"):
        rules.check(asking(given("a", [1, 2]), given("b", [1, 2]), outputs=["z"]))
    with pytest.raises(InvalidRequestError, match="input 'a' batch size does not match"):
        rules.check(asking(given("a", [1, 2]), given("b", [2, 2])))


def test_keeps_a_bounded_number_of_shapes() -> None:
    rules = RequestRules.of(PLAIN)
    for size in range(3000):
        rules.check(asking(given("x", [size])))

    assert 0 < len(rules._passed) <= 1024
    assert ("x", "FP32", (2999,)) in rules._passed


shapes = st.lists(st.integers(-3, 9), max_size=3)


@drawn(st.lists(st.tuples(shapes, shapes, st.integers(0, 80)), min_size=1, max_size=8))
def test_the_short_way_says_what_the_long_way_says(
    sent: list[tuple[list[int], list[int], int]],
) -> None:
    config = model(
        TensorConfig("a", "FP32", (-1, 2)),
        TensorConfig("b", "UINT8", (-1,), reshape=(1, -1)),
        max_batch_size=4,
    )
    rules = RequestRules.of(config)
    for first, second, size in [*sent, *sent]:
        inputs = (("a", "FP32", first, size), ("b", "UINT8", second, size))

        assert outcome(rules, inputs) == outcome(RequestRules.of(config), inputs)


def outcome(rules: RequestRules, inputs: Iterable[tuple[str, str, list[int], int]]) -> object:
    request = asking(
        *(given(name, shape, datatype, data=bytes(size)) for name, datatype, shape, size in inputs)
    )
    try:
        rules.check(request)
    except InvalidRequestError as error:
        return str(error)
    return request.batch_size, [tensor.shape for tensor in request.inputs]

"""The identity backend: what it gives back, what it refuses, how long it takes."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from interlock.backends.base import VersionFiles
from interlock.backends.builtin.identity import IdentityBackend, IdentityModel
from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.errors import InvalidRequestError
from interlock.domain.response import InferResponse
from interlock.domain.tensor import InputTensor
from tests.support.running import request, unaligned

FILES = VersionFiles(Path("/models/m"), Path("/models/m/1"), 1)


def config(
    inputs: tuple[TensorConfig, ...] = (TensorConfig("INPUT0", "FP32", (-1,)),),
    outputs: tuple[TensorConfig, ...] = (TensorConfig("OUTPUT0", "FP32", (-1,)),),
    *,
    max_batch_size: int = 0,
    parameters: Mapping[str, str] | None = None,
) -> ModelConfig:
    return ModelConfig(
        "m",
        backend="identity",
        inputs=inputs,
        outputs=outputs,
        max_batch_size=max_batch_size,
        parameters=parameters or {},
    )


def pair(datatype: str, dims: tuple[int, ...], *, optional: bool = False) -> ModelConfig:
    return config(
        (TensorConfig("INPUT0", datatype, dims, optional=optional),),
        (TensorConfig("OUTPUT0", datatype, dims),),
    )


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def now_ns(self) -> int:
        return round(self.now * 1e9)


def opened(of: ModelConfig, clock: Clock | None = None) -> IdentityModel:
    clock = clock or Clock()
    return IdentityBackend(sleep=clock.sleep, now_ns=clock.now_ns).open(FILES, of)


def run(of: ModelConfig, *inputs: InputTensor, outputs: tuple[str, ...] = ()) -> InferResponse:
    instance = opened(of).make_instance(of, name="m_0", index=0)
    (outcome,) = instance.run([request(*inputs, outputs=outputs)]).outcomes
    assert isinstance(outcome, InferResponse)
    return outcome


def test_an_input_comes_back_as_the_same_bytes_without_a_copy() -> None:
    data = unaligned(bytes(8))

    response = run(config(), InputTensor("INPUT0", "FP32", (2,), data))

    (output,) = response.outputs
    assert (output.name, output.datatype, output.shape) == ("OUTPUT0", "FP32", (2,))
    assert output.data is data


def test_every_response_carries_the_four_parameters() -> None:
    response = run(config(), InputTensor("INPUT0", "FP32", (0,), b""))

    assert response.parameters == {
        "param0": "an example string parameter",
        "param1": 42,
        "param2": False,
        "param3": 123.123,
    }


def test_only_the_outputs_asked_for_come_back() -> None:
    two = config(
        (TensorConfig("INPUT0", "INT8", (1,)), TensorConfig("INPUT1", "INT8", (1,))),
        (TensorConfig("OUTPUT1", "INT8", (1,)), TensorConfig("OUTPUT0", "INT8", (1,))),
    )
    inputs = (InputTensor("INPUT0", "INT8", (1,), b"0"), InputTensor("INPUT1", "INT8", (1,), b"1"))

    some = run(two, *inputs, outputs=("OUTPUT1",))
    every = run(two, *inputs)

    assert [(output.name, output.data) for output in some.outputs] == [("OUTPUT1", b"1")]
    assert [output.name for output in every.outputs] == ["OUTPUT0", "OUTPUT1"]


@pytest.mark.parametrize(
    ("datatype", "dims", "expected"),
    [
        pytest.param("INT16", (2, 3), bytes(12), id="fixed shape"),
        pytest.param("FP64", (-1, 2), bytes(16), id="open dimension counts as one"),
        pytest.param("BYTES", (3,), bytes(12), id="empty strings"),
        pytest.param("BOOL", (0,), b"", id="nothing"),
    ],
)
def test_an_optional_input_that_did_not_come_is_zeros(
    datatype: str, dims: tuple[int, ...], expected: bytes
) -> None:
    (output,) = run(pair(datatype, dims, optional=True)).outputs

    assert output.shape == tuple(max(dim, 1) if dim < 0 else dim for dim in dims)
    assert output.data == expected


def test_zeros_have_the_batch_of_the_request() -> None:
    batched = config(
        (TensorConfig("INPUT0", "INT8", (2,), optional=True),),
        (TensorConfig("OUTPUT0", "INT8", (2,)),),
        max_batch_size=8,
    )
    instance = opened(batched).make_instance(batched, name="m_0", index=0)

    (outcome,) = instance.run([request(batch_size=3)]).outcomes

    assert isinstance(outcome, InferResponse)
    assert (outcome.outputs[0].shape, outcome.outputs[0].data) == ((3, 2), bytes(6))


def test_every_request_of_a_batch_gets_its_own_response() -> None:
    instance = opened(config()).make_instance(config(), name="m_0", index=0)
    requests = [request(InputTensor("INPUT0", "FP32", (1,), bytes([n] * 4))) for n in range(3)]

    outcomes = instance.run(requests).outcomes

    assert [
        bytes(outcome.outputs[0].data) for outcome in outcomes if isinstance(outcome, InferResponse)
    ] == [b"\0\0\0\0", b"\1\1\1\1", b"\2\2\2\2"]


@pytest.mark.parametrize(
    ("index", "multiplier", "slept"),
    [
        pytest.param(0, "0", 0.2, id="no multiplier"),
        pytest.param(3, "0", 0.2, id="no multiplier, a later instance"),
        pytest.param(0, "2", 0.2, id="the first instance waits once"),
        pytest.param(3, "2", 1.2, id="a later instance waits longer"),
    ],
)
def test_the_execution_delay_grows_with_the_instance(
    index: int, multiplier: str, slept: float
) -> None:
    clock = Clock()
    slow = config(
        parameters={"execute_delay_ms": "200", "instance_wise_delay_multiplier": multiplier}
    )
    instance = opened(slow, clock).make_instance(slow, name="m_0", index=index)

    result = instance.run([request()])

    assert clock.slept == pytest.approx([slept])
    assert result.compute_output_start_ns - result.compute_input_end_ns == pytest.approx(
        slept * 1e9
    )


def test_the_creation_delay_is_served_once_when_the_model_is_opened() -> None:
    clock = Clock()
    slow = config(parameters={"creation_delay_sec": "3"})

    opened(slow, clock).make_instance(slow, name="m_0", index=0)

    assert clock.slept == [3.0]


def test_without_delays_nothing_sleeps() -> None:
    clock = Clock()

    opened(config(), clock).make_instance(config(), name="m_0", index=0).run([request()])

    assert clock.slept == []


def named(*tensors: tuple[str, str, tuple[int, ...]]) -> tuple[TensorConfig, ...]:
    return tuple(TensorConfig(*tensor) for tensor in tensors)


FP32 = ("FP32", (1, 16))


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        pytest.param(
            named(("INPUT0", *FP32)),
            (),
            "model configuration must have equal input/output pairs",
            id="an output is missing",
        ),
        pytest.param(
            named(("INPUT0", *FP32)),
            named(("OUTPUT1", *FP32)),
            "model configuration must have equal input/output pairs",
            id="indices differ",
        ),
        pytest.param(
            named(("x", *FP32)),
            named(("OUTPUT0", *FP32)),
            "expected input name to follow INPUT<index> pattern, got 'x'",
            id="input name",
        ),
        pytest.param(
            named(("INPUT0", *FP32)),
            named(("OUTPUT", *FP32)),
            "expected output name to follow OUTPUT<index> pattern, got 'OUTPUT'",
            id="output name",
        ),
        pytest.param(
            named(("INPUT0", *FP32)),
            named(("OUTPUT0", "BYTES", (1, 16))),
            "expected input and output datatype to match, got TYPE_FP32 and TYPE_STRING",
            id="datatypes",
        ),
        pytest.param(
            named(("INPUT0", *FP32)),
            named(("OUTPUT0", "FP32", (-1,))),
            "expected input and output shape to match, got [1,16] and [-1]",
            id="shapes",
        ),
    ],
)
def test_inputs_and_outputs_that_do_not_pair_are_refused(
    inputs: tuple[TensorConfig, ...], outputs: tuple[TensorConfig, ...], text: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        opened(config(inputs, outputs))

    assert str(caught.value) == text


@pytest.mark.parametrize(
    "key", ["execute_delay_ms", "instance_wise_delay_multiplier", "creation_delay_sec"]
)
@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_delay_that_is_no_number_is_refused(key: str, text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        opened(config(parameters={key: text}))

    assert str(caught.value) == (
        f"parameter '{key}' of model 'm' must be a number, 0 or more, got '{text}'"
    )

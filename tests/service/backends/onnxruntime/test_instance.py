"""Running requests on real sessions: every datatype, odd addresses, absent inputs, errors."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from interlock.backends.base import VersionFiles
from interlock.backends.onnxruntime.backend import OnnxRuntimeBackend
from interlock.backends.onnxruntime.instance import OnnxInstance
from interlock.domain.bytes_tensor import encode_elements
from interlock.domain.config_complete import complete
from interlock.domain.datatypes import BY_WIRE
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.response import InferResponse
from interlock.domain.tensor import InputTensor
from tests.support import onnx_models, onnx_small
from tests.support.running import config_of, outputs_of, request, unaligned

NO_BATCHING = 'backend: "onnxruntime" max_batch_size: 0 '


def tensors(dims: str, reshape: str = "") -> str:
    """The configuration of `x` and `y`, both FP32."""
    shape = f"dims: [ {dims} ] " + (f"reshape {{ {reshape} }}" if reshape else "")
    return f"""
        input {{ name: "x" data_type: TYPE_FP32 {shape} }}
        output {{ name: "y" data_type: TYPE_FP32 {shape} }}"""


@pytest.fixture
def clock() -> "Clock":
    return Clock()


class Clock:
    """Each look at it is a nanosecond later."""

    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        self.now += 1
        return self.now


class Models:
    """Opens graphs; what a configuration leaves open is completed from the graph."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def instance(
        self, model: bytes, config: str = NO_BATCHING, *, clock: Clock | None = None
    ) -> OnnxInstance:
        version = self._directory / "1"
        onnx_models.write(version, model)
        given = config_of(config)
        backend = OnnxRuntimeBackend({}, now_ns=(clock or Clock()).now_ns)
        opened = backend.open(VersionFiles(self._directory, version, 1), given)
        completed = complete(given, opened.facts, default_max_batch_size=0)
        return opened.make_instance(completed, name="m_0", index=0)


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def floats(name: str, *values: float) -> InputTensor:
    data = unaligned(np.array(values, dtype="<f4").tobytes())
    return InputTensor(name, "FP32", (len(values),), data)


def fp32(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("datatype", [name for name in BY_WIRE if name != "BYTES"])
def test_every_datatype_goes_through_bit_by_bit(models: Models, datatype: str, offset: int) -> None:
    instance = models.instance(onnx_small.identity(datatype, ("rows", "columns")))
    data = bytes(index % 2 for index in range(6 * BY_WIRE[datatype].size_bytes))
    tensor = InputTensor("x", datatype, (2, 3), unaligned(data, offset))

    (outcome,) = instance.run([request(tensor)]).outcomes

    assert outputs_of(outcome) == {"y": (datatype, (2, 3), data)}


def test_strings_go_through(models: Models) -> None:
    instance = models.instance(onnx_small.identity("BYTES"))
    data = encode_elements([b"", b"zero\0inside", "höher".encode()])

    (outcome,) = instance.run([request(InputTensor("x", "BYTES", (3,), data))]).outcomes

    assert outputs_of(outcome) == {"y": ("BYTES", (3,), data)}


@pytest.mark.parametrize("datatype", ["FP32", "BF16", "BYTES"])
def test_a_tensor_of_nothing_goes_through(models: Models, datatype: str) -> None:
    instance = models.instance(onnx_small.identity(datatype, ("rows", "columns")))

    (outcome,) = instance.run([request(InputTensor("x", datatype, (0, 3), b""))]).outcomes

    assert outputs_of(outcome) == {"y": (datatype, (0, 3), b"")}


def test_a_scalar_of_the_graph_is_one_element_for_clients(models: Models) -> None:
    instance = models.instance(onnx_small.identity("FP32", ()))

    (outcome,) = instance.run([request(floats("x", 7.0))]).outcomes

    assert outputs_of(outcome) == {"y": ("FP32", (1,), fp32(7.0))}


def test_a_scalar_whose_reshape_says_so_stays_one(models: Models) -> None:
    instance = models.instance(
        onnx_small.identity("FP32", ()), NO_BATCHING + tensors("1", "shape: []")
    )

    (outcome,) = instance.run([request(InputTensor("x", "FP32", (), fp32(7.0)))]).outcomes

    assert outputs_of(outcome) == {"y": ("FP32", (), fp32(7.0))}


def test_unaligned_inputs_give_the_results_of_aligned_ones(models: Models) -> None:
    rng = np.random.default_rng(0)
    weights = rng.random((64, 32), dtype="f4")
    kernel = rng.random((8, 3, 3, 3), dtype="f4")
    graphs = [
        (onnx_models.one_node("Add", shape=("n", 64), constants={"c": weights[:, 0]}), (5, 64)),
        (onnx_models.one_node("MatMul", shape=("n", 64), constants={"w": weights}), (5, 64)),
        (
            onnx_models.one_node("Conv", shape=("n", 3, 16, 16), constants={"k": kernel}),
            (2, 3, 16, 16),
        ),
        (onnx_models.one_node("Softmax", shape=("n", 64)), (5, 64)),
    ]
    for model, shape in graphs:
        instance = models.instance(model, NO_BATCHING + tensors("-1"))
        values = rng.random(shape, dtype="f4")
        results = []
        for offset in (0, 1, 2, 3, 7):
            tensor = InputTensor("x", "FP32", shape, unaligned(values.tobytes(), offset))
            (outcome,) = instance.run([request(tensor)]).outcomes
            results.append(np.frombuffer(outputs_of(outcome)["y"][2], "<f4"))

        for result in results[1:]:
            np.testing.assert_allclose(result, results[0], rtol=1e-6)


def test_a_large_unaligned_input_is_not_copied(models: Models) -> None:
    instance = models.instance(onnx_small.identity("FP32"))
    asked = request(InputTensor("x", "FP32", (1 << 20,), unaligned(bytes(4 << 20))))
    tracemalloc.start()
    try:
        instance.run([asked])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # NumPy's allocations are traced, the runtime's output is not.
    assert peak < 100_000


def test_an_output_outlives_the_run_and_the_session(models: Models) -> None:
    instance = models.instance(onnx_small.add_constant(1.0))
    (outcome,) = instance.run([request(floats("x", *range(10_000)))]).outcomes

    instance.close()
    del instance
    again = models.instance(onnx_small.add_constant(2.0))
    again.run([request(floats("x", *range(10_000)))])

    assert np.frombuffer(outputs_of(outcome)["y"][2], "<f4").tolist() == list(range(1, 10_001))


def int32(name: str, *values: int) -> InputTensor:
    return InputTensor(name, "INT32", (len(values),), np.array(values, "<i4").tobytes())


def test_only_the_outputs_asked_for_are_computed_in_the_graph_s_order(models: Models) -> None:
    instance = models.instance(onnx_small.sum_and_difference())
    inputs = (int32("b", 1), int32("a", 5))

    (some,) = instance.run([request(*inputs, outputs=["difference"])]).outcomes
    (both,) = instance.run([request(*inputs, outputs=["difference", "sum"])]).outcomes
    (every,) = instance.run([request(*inputs)]).outcomes

    assert list(outputs_of(some)) == ["difference"]
    assert list(outputs_of(both)) == list(outputs_of(every)) == ["sum", "difference"]
    assert outputs_of(every)["difference"][2] == np.array([4], "<i4").tobytes()


def test_outputs_that_the_configuration_leaves_out_are_not_served(models: Models) -> None:
    instance = models.instance(
        onnx_small.sum_and_difference(),
        NO_BATCHING
        + """
        input [ { name: "a" data_type: TYPE_INT32 dims: -1 },
                { name: "b" data_type: TYPE_INT32 dims: -1 } ]
        output { name: "sum" data_type: TYPE_INT32 dims: -1 }""",
    )

    (outcome,) = instance.run([request(int32("a", 1), int32("b", 2))]).outcomes

    assert list(outputs_of(outcome)) == ["sum"]


def test_an_optional_input_of_the_graph_may_be_absent(models: Models) -> None:
    instance = models.instance(onnx_models.with_optional())

    (without,) = instance.run([request(floats("x", 1.0))]).outcomes
    (given,) = instance.run([request(floats("x", 1.0), floats("o", 2.0))]).outcomes

    assert outputs_of(without)["has"] == ("BOOL", (1,), b"\0")
    assert outputs_of(given)["has"] == ("BOOL", (1,), b"\1")


def test_an_input_with_a_value_in_the_graph_may_be_absent_if_the_configuration_names_it(
    models: Models,
) -> None:
    instance = models.instance(
        onnx_models.with_default(5.0),
        NO_BATCHING
        + """
        input [ { name: "x" data_type: TYPE_FP32 dims: -1 },
                { name: "bias" data_type: TYPE_FP32 dims: 1 optional: true } ]
        output { name: "y" data_type: TYPE_FP32 dims: -1 }""",
    )

    (without,) = instance.run([request(floats("x", 1.0))]).outcomes
    (given,) = instance.run([request(floats("x", 1.0), floats("bias", 2.0))]).outcomes

    assert outputs_of(without)["y"][2] == fp32(6.0)
    assert outputs_of(given)["y"][2] == fp32(3.0)


def test_an_absent_input_that_the_graph_needs_is_the_runtime_s_error(models: Models) -> None:
    instance = models.instance(onnx_small.identity("FP32"))

    with pytest.raises(InternalError, match=r"onnx runtime error 2: Required inputs \(\['x'\]\)"):
        instance.run([request()])


@pytest.mark.parametrize("datatype", ["FP32", "BF16", "BYTES"])
def test_a_shape_that_no_array_can_have_is_refused(models: Models, datatype: str) -> None:
    instance = models.instance(onnx_small.identity(datatype, ("rows", "columns")))
    shape = (0, 2**62)

    with pytest.raises(InvalidRequestError) as caught:
        instance.run([request(InputTensor("x", datatype, shape, b""))])

    assert str(caught.value) == (
        "the runtime cannot represent the shapes of the inputs: 'x' (0, 4611686018427387904)"
    )


@pytest.mark.parametrize("datatype", ["FP32", "BF16"])
def test_a_run_that_fails_has_the_runtime_s_text_and_prints_nothing(
    models: Models, datatype: str, capfd: pytest.CaptureFixture[str]
) -> None:
    instance = models.instance(onnx_small.identity(datatype, ("rows", 2)))
    size_bytes = BY_WIRE[datatype].size_bytes

    with pytest.raises(InternalError) as caught:
        instance.run([request(InputTensor("x", datatype, (1, 3), bytes(3 * size_bytes)))])

    assert str(caught.value).startswith(
        "onnx runtime error 2: Got invalid dimensions for input: x for the following indices"
    )
    assert "Traceback" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_parts_of_a_run_follow_each_other(models: Models, clock: Clock) -> None:
    instance = models.instance(onnx_small.identity("FP32"), clock=clock)

    result = instance.run([request(floats("x", 1.0))])

    assert (
        result.compute_start_ns,
        result.compute_input_end_ns,
        result.compute_output_start_ns,
        result.compute_end_ns,
    ) == (1, 2, 3, 4)


def test_several_requests_run_one_by_one_and_fail_one_by_one(models: Models, clock: Clock) -> None:
    instance = models.instance(onnx_small.identity("BYTES"), clock=clock)
    texts = [b"a", b"\xff", b"c"]
    requests = [request(InputTensor("x", "BYTES", (1,), encode_elements([text]))) for text in texts]

    result = instance.run(requests)

    assert [type(outcome) for outcome in result.outcomes] == [
        InferResponse,
        InvalidRequestError,
        InferResponse,
    ]
    assert outputs_of(result.outcomes[2])["y"][2] == encode_elements([b"c"])
    # One nanosecond for the inputs of each of the two that ran, and one for each run.
    assert result.compute_input_end_ns - result.compute_start_ns == 2
    assert result.compute_output_start_ns - result.compute_input_end_ns == 2
    assert result.compute_end_ns > result.compute_output_start_ns

"""Every data type there and back, raw and typed, through ONNX Runtime and a built-in."""

from collections.abc import Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.wire import (
    Client,
    WireServer,
    arrays,
    decode_texts,
    encode_texts,
    given,
    infer_request,
    invalid,
    raw_input,
    serving,
    texts,
    typed,
)

FIXED = {
    "BOOL": np.array([True, False, True], "?"),
    "UINT8": np.array([0, 7, 255], "<u1"),
    "UINT16": np.array([0, 7, 65_535], "<u2"),
    "UINT32": np.array([0, 7, 2**32 - 1], "<u4"),
    "UINT64": np.array([0, 7, 2**64 - 1], "<u8"),
    "INT8": np.array([-128, 0, 127], "<i1"),
    "INT16": np.array([-32_768, 0, 32_767], "<i2"),
    "INT32": np.array([-(2**31), 0, 2**31 - 1], "<i4"),
    "INT64": np.array([-(2**63), 0, 2**63 - 1], "<i8"),
    "FP16": np.array([-0.5, 65_504, np.inf], "<f2"),
    "BF16": np.array([-0.5, 3e38, np.inf], ml_dtypes.bfloat16).view("<u2"),
    "FP32": np.array([-0.5, 3e38, np.nan], "<f4"),
    "FP64": np.array([-0.5, 1e308, -np.inf], "<f8"),
}
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
ELEMENTS = [b"one", b"", "zw\N{LATIN SMALL LETTER O WITH DIAERESIS}lf".encode()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    for datatype in (*FIXED, "BYTES"):
        repository.onnx(
            f"onnx_{datatype}",
            onnx_small.identity(datatype),
            inputs=[Port(datatype, name="x")],
            outputs=[Port(datatype, name="y")],
        )
        repository.identity(f"identity_{datatype}", Port(datatype))
    two = [Port("INT32", name=name) for name in ("sum", "difference")]
    repository.onnx(
        "two",
        onnx_small.sum_and_difference(),
        inputs=[Port("INT32", name="a"), Port("INT32", name="b")],
        outputs=two,
    )
    repository.onnx(
        "reshaped",
        onnx_small.identity("FP32", (2, 2)),
        inputs=[Port("FP32", (4,), reshape=(2, 2), name="x")],
        outputs=[Port("FP32", (1, 4), reshape=(2, 2), name="y")],
    )
    repository.onnx(
        "scalars",
        onnx_small.identity("FP32", ("n",)),
        inputs=[Port("FP32", (1,), reshape=(), name="x")],
        outputs=[Port("FP32", (1,), reshape=(), name="y")],
        max_batch_size=8,
    )
    with serving(repository) as server:
        yield server


BACKENDS = pytest.mark.parametrize(
    ("backend", "into", "out"), [("onnx", "x", "y"), ("identity", "INPUT0", "OUTPUT0")]
)


@BACKENDS
@pytest.mark.parametrize("datatype", FIXED)
def test_raw_data_comes_back_bit_for_bit(
    client: Client, backend: str, into: str, out: str, datatype: str
) -> None:
    sent = FIXED[datatype]

    answer = client.infer(
        infer_request(f"{backend}_{datatype}", given(into, sent, datatype=datatype))
    )

    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == (out, datatype, [3])
    assert not output.HasField("contents")
    assert list(answer.raw_output_contents) == [sent.tobytes()]


@BACKENDS
@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_data_comes_back_raw(
    client: Client, backend: str, into: str, out: str, datatype: str
) -> None:
    sent = FIXED[datatype]
    contents = typed(into, datatype, sent.shape, **{CONTENTS[datatype]: sent.tolist()})

    answer = client.infer(infer_request(f"{backend}_{datatype}", contents))

    np.testing.assert_array_equal(arrays(answer)[out], sent)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_has_no_typed_form(client: Client, datatype: str) -> None:
    model = f"identity_{datatype}"
    request = infer_request(model, typed("INPUT0", datatype, (1,), fp32_contents=[1.0]))

    assert client.infer_refusal(request) == invalid(
        f"unexpected explicit tensor data for input tensor 'INPUT0' for model '{model}' "
        f"of type 'FP32', expected datatype '{datatype}'"
    )


@pytest.mark.parametrize(
    ("datatype", "sent", "kept"),
    [
        ("INT8", [300, -129], [44, 127]),
        ("INT16", [65_536, -32_769], [0, 32_767]),
        ("UINT8", [256, 511], [0, 255]),
        ("UINT16", [65_536, 131_071], [0, 65_535]),
    ],
)
def test_typed_integers_keep_their_low_bytes(
    client: Client, datatype: str, sent: Sequence[int], kept: Sequence[int]
) -> None:
    contents = typed("INPUT0", datatype, (2,), **{CONTENTS[datatype]: sent})

    answer = client.infer(infer_request(f"identity_{datatype}", contents))

    assert arrays(answer)["OUTPUT0"].tolist() == kept


@BACKENDS
def test_raw_bytes_elements_come_back(client: Client, backend: str, into: str, out: str) -> None:
    answer = client.infer(infer_request(f"{backend}_BYTES", texts(into, ELEMENTS)))

    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == (out, "BYTES", [3])
    assert decode_texts(answer.raw_output_contents[0]) == ELEMENTS


@BACKENDS
def test_typed_bytes_elements_come_back_raw(
    client: Client, backend: str, into: str, out: str
) -> None:
    contents = typed(into, "BYTES", (3,), bytes_contents=ELEMENTS)

    answer = client.infer(infer_request(f"{backend}_BYTES", contents))

    assert list(answer.raw_output_contents) == [encode_texts(ELEMENTS)]
    assert answer.outputs[0].name == out


def test_bytes_elements_may_hold_anything(client: Client) -> None:
    anything = [bytes(range(256)), b"\xff\xfe", b"a\0b"]

    answer = client.infer(infer_request("identity_BYTES", texts("INPUT0", anything)))

    assert decode_texts(answer.raw_output_contents[0]) == anything


def test_onnx_strings_must_be_utf_8(client: Client) -> None:
    refusal = client.infer_refusal(infer_request("onnx_BYTES", texts("x", [b"\xff\xfe"])))

    assert refusal.code == "INVALID_ARGUMENT"
    assert "UTF-8" in refusal.text


def test_many_bytes_elements_are_no_problem(client: Client) -> None:
    count = 300_000
    contents = typed("INPUT0", "BYTES", (count,), bytes_contents=[b"element"] * count)

    answer = client.infer(infer_request("identity_BYTES", contents))

    assert list(answer.outputs[0].shape) == [count]
    assert answer.raw_output_contents[0] == encode_texts([b"element"]) * count


@BACKENDS
@pytest.mark.parametrize("datatype", [*FIXED, "BYTES"])
def test_a_tensor_may_have_no_elements(
    client: Client, backend: str, into: str, out: str, datatype: str
) -> None:
    nothing = raw_input(into, b"", datatype=datatype, shape=(0,))

    answer = client.infer(infer_request(f"{backend}_{datatype}", nothing))

    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == (out, datatype, [0])
    assert list(answer.raw_output_contents) == [b""]


def two_inputs() -> Any:
    a, b = np.array([5, 6], "<i4"), np.array([2, 3], "<i4")
    return [given("a", a), given("b", b)]


def test_all_outputs_come_where_none_is_asked_for(client: Client) -> None:
    outputs = arrays(client.infer(infer_request("two", *two_inputs())))

    assert {name: value.tolist() for name, value in outputs.items()} == {
        "sum": [7, 9],
        "difference": [3, 3],
    }


@pytest.mark.parametrize("asked", [["sum"], ["difference"], ["difference", "sum"]], ids=str)
def test_only_the_outputs_that_are_asked_for_come(client: Client, asked: list[str]) -> None:
    outputs = arrays(client.infer(infer_request("two", *two_inputs(), outputs=asked)))

    assert set(outputs) == set(asked)


def test_inputs_may_come_in_any_order(client: Client) -> None:
    outputs = arrays(client.infer(infer_request("two", *reversed(two_inputs()))))

    assert outputs["difference"].tolist() == [3, 3]


def test_a_reshaped_tensor_has_the_client_s_shape_outside(client: Client) -> None:
    answer = client.infer(infer_request("reshaped", given("x", np.arange(4, dtype="<f4"))))

    assert arrays(answer)["y"].tolist() == [[0, 1, 2, 3]]


def test_the_model_s_own_shape_is_refused_where_it_is_reshaped(client: Client) -> None:
    square = given("x", np.zeros((2, 2), "<f4"))

    assert (
        "Expected [4], got [2,2]. " in client.infer_refusal(infer_request("reshaped", square)).text
    )


def test_a_batch_of_scalars_is_reshaped(client: Client) -> None:
    column = np.arange(3, dtype="<f4").reshape(3, 1)

    answer = client.infer(infer_request("scalars", given("x", column)))

    np.testing.assert_array_equal(arrays(answer)["y"], column)

"""The classification extension: spec/protocol.md 7.2."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import ArrayLike

from tests.support.models import Port, Repository
from tests.support.wire import (
    Client,
    Message,
    ParameterValue,
    WireServer,
    decode_texts,
    given,
    infer_request,
    invalid,
    raw_input,
    serving,
    texts,
)

FOUR = b"zero\none\ntwo\nthree\n"
UNSUPPORTED = ("FP16", "BF16", "BOOL", "BYTES")
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    labelled = Port("FP32", (-1,), labels="labels.txt")
    labels = {"labels.txt": FOUR}
    repository.identity("plain")
    repository.identity("labelled", labelled, files=labels)
    repository.identity("short", labelled, files={"labels.txt": b"zero\none"})
    repository.identity("batched", labelled, max_batch_size=4, files=labels)
    repository.identity("square", Port("FP32", (2, 2), labels="labels.txt"), files=labels)
    repository.identity("apart", labelled, Port("FP32"), files=labels)
    for datatype in (*INTEGERS, "FP64", *UNSUPPORTED):
        repository.identity(datatype, Port(datatype))
    with serving(repository) as server:
        yield server


def classified(output: str, k: ParameterValue) -> tuple[str, dict[str, ParameterValue]]:
    return output, {"classification": k}


def classify(
    model: str, values: ArrayLike, k: ParameterValue, *, output: str = "OUTPUT0"
) -> Message:
    return infer_request(model, given("INPUT0", values), outputs=((output, {"classification": k}),))


def classes(client: Client, request: Message) -> tuple[list[int], list[str]]:
    """The shape and the elements of the one output, which must be BYTES."""
    answer = client.infer(request)
    (output,) = answer.outputs
    assert output.datatype == "BYTES"
    return list(output.shape), [
        text.decode() for text in decode_texts(answer.raw_output_contents[0])
    ]


SCORES = np.array([0.25, -1.5, 8.0, 0.5], "<f4")


@pytest.mark.parametrize(
    ("model", "k", "elements"),
    [
        pytest.param("plain", 2, ["8.000000:2", "0.500000:3"], id="no labels"),
        pytest.param("labelled", 1, ["8.000000:2:two"], id="the best"),
        pytest.param(
            "labelled",
            9,
            ["8.000000:2:two", "0.500000:3:three", "0.250000:0:zero", "-1.500000:1:one"],
            id="more than there are",
        ),
        pytest.param(
            "short",
            4,
            ["8.000000:2", "0.500000:3", "0.250000:0:zero", "-1.500000:1:one"],
            id="label file too short",
        ),
    ],
)
def test_the_best_classes_come_best_first(
    client: Client, model: str, k: int, elements: list[str]
) -> None:
    assert classes(client, classify(model, SCORES, k)) == ([len(elements)], elements)


def test_each_batch_item_has_its_own_classes(client: Client) -> None:
    scores = np.stack([SCORES, -SCORES])

    assert classes(client, classify("batched", scores, 2)) == (
        [2, 2],
        ["8.000000:2:two", "0.500000:3:three", "1.500000:1:one", "-0.250000:0:zero"],
    )


def test_the_other_dimensions_are_flattened(client: Client) -> None:
    request = classify("square", SCORES.reshape(2, 2), 1)

    assert classes(client, request) == ([1], ["8.000000:2:two"])


def test_equal_values_keep_their_order(client: Client) -> None:
    request = classify("labelled", np.zeros(4, "<f4"), 3)

    assert classes(client, request)[1] == ["0.000000:0:zero", "0.000000:1:one", "0.000000:2:two"]


def test_labels_belong_to_their_output(client: Client) -> None:
    wanted = [classified(f"OUTPUT{index}", 1) for index in range(2)]
    inputs = [given(f"INPUT{index}", SCORES) for index in range(2)]

    answer = client.infer(infer_request("apart", *inputs, outputs=wanted))

    best = {
        output.name: decode_texts(raw)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
    assert best == {"OUTPUT0": [b"8.000000:2:two"], "OUTPUT1": [b"8.000000:2"]}


def test_one_output_may_be_classified_and_the_other_not(client: Client) -> None:
    inputs = [given(f"INPUT{index}", SCORES) for index in range(2)]
    wanted = [classified("OUTPUT0", 1), ("OUTPUT1", {})]

    answer = client.infer(infer_request("apart", *inputs, outputs=wanted))

    assert {output.name: output.datatype for output in answer.outputs} == {
        "OUTPUT0": "BYTES",
        "OUTPUT1": "FP32",
    }


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_are_printed_plain(client: Client, datatype: str) -> None:
    values = np.array([1, 100, 7], datatype.lower())

    assert classes(client, classify(datatype, values, 2))[1] == ["100:1", "7:2"]


def test_doubles_are_printed_with_six_decimals(client: Client) -> None:
    values = np.array([1e-9, 1e20, -np.inf, np.inf], "<f8")

    assert classes(client, classify("FP64", values, 4))[1] == [
        "inf:3",
        "100000000000000000000.000000:1",
        "0.000000:0",
        "-inf:2",
    ]


@pytest.mark.parametrize(
    ("k", "text"),
    [
        ("3", "invalid value type for 'classification' parameter, expected int64_param"),
        (True, "invalid value type for 'classification' parameter, expected int64_param"),
        (1.0, "invalid value type for 'classification' parameter, expected int64_param"),
        (0, "invalid value for 'classification' parameter, expected >= 0"),
        (-1, "invalid value for 'classification' parameter, expected >= 0"),
    ],
)
def test_a_bad_number_of_classes_is_refused(client: Client, k: ParameterValue, text: str) -> None:
    assert client.infer_refusal(classify("plain", SCORES, k)) == invalid(text)


@pytest.mark.parametrize("datatype", UNSUPPORTED)
def test_types_without_an_order_are_refused(client: Client, datatype: str) -> None:
    one = (
        texts("INPUT0", [b"text"])
        if datatype == "BYTES"
        else raw_input(
            "INPUT0", bytes(1 if datatype == "BOOL" else 2), datatype=datatype, shape=(1,)
        )
    )
    wanted = [classified("OUTPUT0", 1)]

    assert client.infer_refusal(infer_request(datatype, one, outputs=wanted)) == invalid(
        f"class result not available for output due to unsupported type '{datatype}'"
    )


def test_a_million_elements_are_the_limit(client: Client) -> None:
    million = np.zeros(1_000_000, "<f4")

    assert classes(client, classify("plain", million, 1)) == ([1], ["0.000000:0"])
    refusal = client.infer_refusal(classify("plain", np.zeros(1_000_001, "<f4"), 1))
    assert refusal.code == "INVALID_ARGUMENT"
    assert "classification output tensor too large" in refusal.text


def test_a_stream_classifies_too(client: Client) -> None:
    good, bad = classify("labelled", SCORES, 1), classify("BOOL", np.array([True]), 1)

    first, second = client.exchange(good, bad)

    assert decode_texts(first.infer_response.raw_output_contents[0]) == [b"8.000000:2:two"]
    assert second.error_message == (
        "class result not available for output due to unsupported type 'BOOL'"
    )

"""What a request is told that contradicts the model: spec/protocol.md 6, row by row."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tests.support.models import Port, Repository
from tests.support.wire import (
    UNSET,
    Client,
    Given,
    Message,
    Unsigned,
    WireServer,
    arrays,
    given,
    infer_request,
    invalid,
    raw_input,
    serving,
    texts,
    typed,
)

NOBODY = "[request id: <id_unknown>] "
INT16 = Port("INT32", (16,))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("pair", INT16, INT16, max_batch_size=8)
    repository.identity("flat", Port("INT32", (2, -1)))
    repository.identity("wide", Port("INT64", (-1, -1)))
    repository.identity("bytes", Port("BYTES", (-1,)))
    required, optional = Port("INT32", (1,)), Port("INT32", (1,), optional=True)
    repository.identity("four", required, required, required, optional)
    with serving(repository) as server:
        yield server


def pair(name: str, shape: Sequence[int] = (1, 16), dtype: str = "<i4") -> Given:
    return given(name, np.zeros(shape, dtype))


def strings(raw: bytes, shape: Sequence[int]) -> Given:
    return raw_input("INPUT0", raw, datatype="BYTES", shape=shape)


def sized(model: str, shape: Sequence[int], size: int, datatype: str = "INT32") -> Message:
    return infer_request(model, raw_input("INPUT0", bytes(size), datatype=datatype, shape=shape))


FIRST, SECOND = pair("INPUT0"), pair("INPUT1")


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        pytest.param(
            infer_request("pair", FIRST, FIRST),
            NOBODY + "input 'INPUT0' already exists in request",
            id="duplicate input",
        ),
        pytest.param(
            infer_request("pair", FIRST, SECOND, SECOND, id="r 1"),
            "[request id: r 1] input 'INPUT1' already exists in request",
            id="duplicate input with an id",
        ),
        pytest.param(
            infer_request("pair", FIRST, SECOND, outputs=("OUTPUT0", "OUTPUT0")),
            NOBODY + "output 'OUTPUT0' already exists in request",
            id="duplicate output",
        ),
        pytest.param(
            infer_request("pair", FIRST, pair("OTHER"), id="r"),
            "unexpected inference input 'OTHER' for model 'pair'",
            id="unknown input",
        ),
        pytest.param(
            infer_request("pair", FIRST, SECOND, outputs=("OUTPUT0", "OTHER"), id="r"),
            "unexpected inference output 'OTHER' for model 'pair'",
            id="unknown output",
        ),
        pytest.param(
            infer_request("pair", FIRST),
            NOBODY + "expected 2 inputs but got 1 inputs for model 'pair'. Got input(s) "
            "['INPUT0'], but missing required input(s) ['INPUT1']. "
            "Please provide all required input(s).",
            id="an input is missing",
        ),
        pytest.param(
            infer_request("pair", id="none"),
            "[request id: none] expected 2 inputs but got 0 inputs for model 'pair'. "
            "Got input(s) [], but missing required input(s) ['INPUT0','INPUT1']. "
            "Please provide all required input(s).",
            id="every input is missing",
        ),
        pytest.param(
            infer_request("pair", FIRST, SECOND, pair("OTHER")),
            NOBODY + "expected 2 inputs but got 3 inputs for model 'pair'. Got input(s) "
            "['OTHER','INPUT1','INPUT0'], but missing required input(s) []. "
            "Please provide all required input(s).",
            id="too many inputs",
        ),
        pytest.param(
            infer_request("four", pair("INPUT1", (1,))),
            NOBODY + "expected number of inputs between 3 and 4 but got 1 inputs for model "
            "'four'. Got input(s) ['INPUT1'], but missing required input(s) "
            "['INPUT0','INPUT2']. Please provide all required input(s).",
            id="missing with optional ones",
        ),
        pytest.param(
            infer_request("pair", pair("INPUT0", ()), SECOND),
            NOBODY + "input 'INPUT0' has no shape but model requires batch dimension for 'pair'",
            id="no batch dimension",
        ),
        pytest.param(
            infer_request("pair", pair("INPUT0", (2, 16)), SECOND),
            NOBODY + "input 'INPUT0' batch size does not match other inputs for 'pair'",
            id="batch sizes differ",
        ),
        pytest.param(
            infer_request("pair", pair("INPUT0", (9, 16)), pair("INPUT1", (9, 16))),
            NOBODY + "inference request batch-size must be <= 8 for 'pair'",
            id="batch too large",
        ),
        pytest.param(
            infer_request("pair", pair("INPUT0", (16,)), pair("INPUT1", (16,))),
            NOBODY + "inference request batch-size must be <= 8 for 'pair'",
            id="a shape without a batch is read as one",
        ),
        pytest.param(
            infer_request("pair", pair("INPUT0", dtype="<f4"), SECOND),
            NOBODY
            + "inference input 'INPUT0' data-type is 'FP32', but model 'pair' expects 'INT32'",
            id="datatype",
        ),
        pytest.param(
            sized("flat", (2, 1), 8, "FLOAT"),
            NOBODY + "inference input 'INPUT0' data-type is '<invalid>', "
            "but model 'flat' expects 'INT32'",
            id="datatype that there is not",
        ),
        pytest.param(
            sized("flat", (2, 1), 8, ""),
            NOBODY + "inference input 'INPUT0' data-type is '<invalid>', "
            "but model 'flat' expects 'INT32'",
            id="no datatype",
        ),
        pytest.param(
            sized("flat", (2, -1), 8),
            NOBODY + "All input dimensions should be specified for input 'INPUT0' "
            "for model 'flat', got [2,-1]",
            id="open dimension",
        ),
        pytest.param(
            sized("flat", (3, 2), 24),
            NOBODY + "unexpected shape for input 'INPUT0' for model 'flat'. "
            "Expected [2,-1], got [3,2]. ",
            id="shape",
        ),
        pytest.param(
            sized("flat", (2,), 8),
            NOBODY + "unexpected shape for input 'INPUT0' for model 'flat'. "
            "Expected [2,-1], got [2]. ",
            id="rank",
        ),
        pytest.param(
            sized("flat", (2, 8), 60),
            NOBODY + "input byte size mismatch for input 'INPUT0' for model 'flat'. "
            "Expected 64, got 60",
            id="too few bytes",
        ),
        pytest.param(
            sized("flat", (2, 8), 68),
            NOBODY + "input byte size mismatch for input 'INPUT0' for model 'flat'. "
            "Expected 64, got 68",
            id="too many bytes",
        ),
        pytest.param(
            infer_request("bytes", texts("INPUT0", [b"a", b"b"], shape=(3,))),
            NOBODY + "expected 3 string elements for inference input 'INPUT0' "
            "for model 'bytes', got 2",
            id="too few strings",
        ),
        pytest.param(
            infer_request("bytes", texts("INPUT0", [b"a"] * 5, shape=(1,))),
            NOBODY + "unexpected number of string elements 2 for inference input 'INPUT0' "
            "for model 'bytes', expecting 1",
            id="too many strings",
        ),
        pytest.param(
            infer_request("bytes", strings(b"\x01\0\0\0a\x01\0", (2,)), id="cut"),
            "[request id: cut] incomplete string length indicator for inference input 'INPUT0' "
            "for model 'bytes', expecting 4 bytes but only 2 bytes available. "
            "Please make sure the string length indicator is in one buffer.",
            id="cut length of a string",
        ),
        pytest.param(
            infer_request("bytes", strings(b"\x0a\0\0\0abc", (1,)), id="long"),
            "incomplete string data for inference input 'INPUT0', "
            "expecting string of length 10 but only 3 bytes available",
            id="cut string at the end",
        ),
        pytest.param(
            infer_request("bytes", strings(b"\x0a\0\0\0abc", (2,))),
            NOBODY + "expected 2 string elements for inference input 'INPUT0' "
            "for model 'bytes', got 1",
            id="cut string before the end",
        ),
    ],
)
def test_a_request_that_contradicts_its_model_is_refused(
    client: Client, request_: Message, text: str
) -> None:
    assert client.infer_refusal(request_) == invalid(text)


@pytest.mark.parametrize(
    ("shape", "size", "text"),
    [
        pytest.param(
            (1 << 62, 4),
            8,
            "element count for tensor 'INPUT0' exceeds maximum size of 9223372036854775807",
            id="element count",
        ),
        pytest.param(
            (1 << 61, 1),
            8,
            "byte size for tensor 'INPUT0' exceeds maximum size of 9223372036854775807",
            id="byte size",
        ),
    ],
)
def test_sizes_past_64_bits_are_refused(
    client: Client, shape: Sequence[int], size: int, text: str
) -> None:
    code, details = client.infer_refusal(sized("wide", shape, size, "INT64"))

    assert code == "INVALID_ARGUMENT"
    assert text in details


def test_a_dimension_below_minus_one_is_refused(client: Client) -> None:
    code, details = client.infer_refusal(sized("wide", (-5, 2), 8, "INT64"))

    assert code == "INVALID_ARGUMENT"
    assert "[-5,2]" in details or "tensor 'INPUT0' contains an invalid dimension" in details


def test_a_batching_model_explains_its_shape(client: Client) -> None:
    code, text = client.infer_refusal(infer_request("pair", pair("INPUT0", (1, 8)), SECOND))

    assert code == "INVALID_ARGUMENT"
    assert text.startswith(
        NOBODY + "unexpected shape for input 'INPUT0' for model 'pair'. "
        "Expected [-1,16], got [1,8]. NOTE: "
    )


def test_the_last_of_two_bad_inputs_is_named(client: Client) -> None:
    """L0_input_validation makes both equally wrong and expects the second."""
    bad = [pair(name, (1, 8)) for name in ("INPUT0", "INPUT1")]

    _, text = client.infer_refusal(infer_request("pair", *bad))

    assert "unexpected shape for input 'INPUT1' for model 'pair'" in text


def test_a_batch_of_zero_is_measured_as_one(client: Client) -> None:
    empty = [pair(name, (0, 16)) for name in ("INPUT0", "INPUT1")]

    assert client.infer_refusal(infer_request("pair", *empty)) == invalid(
        NOBODY + "input byte size mismatch for input 'INPUT1' for model 'pair'. Expected 64, got 0"
    )


def test_an_optional_input_may_be_absent(client: Client) -> None:
    three = [given(f"INPUT{index}", np.array([index], "<i4")) for index in range(3)]

    outputs = arrays(client.infer(infer_request("four", *three)))

    # The backend answers zeros for what was not there.
    assert {name: list(value) for name, value in outputs.items()} == {
        "OUTPUT0": [0],
        "OUTPUT1": [1],
        "OUTPUT2": [2],
        "OUTPUT3": [0],
    }


def contents(name: str, **fields: Sequence[object]) -> Given:
    return typed(name, "INT32", (1, 16), **fields)


ZEROS = [0] * 16


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        pytest.param(
            infer_request("pair", FIRST, contents("INPUT1", int_contents=ZEROS)),
            "contents field must not be specified when using raw_input_contents "
            "for 'INPUT1' for model 'pair'",
            id="raw and typed",
        ),
        pytest.param(
            infer_request("pair", FIRST, Given(SECOND.tensor, None)),
            "unable to find data for input tensor 'INPUT1' for model 'pair' in request.",
            id="too few raw entries",
        ),
        pytest.param(
            infer_request("pair", Given(FIRST.tensor, None), Given(SECOND.tensor, None)),
            "unable to find data for input tensor 'INPUT0' for model 'pair' in request.",
            id="no data at all",
        ),
        pytest.param(
            infer_request(
                "pair",
                contents("INPUT0", fp32_contents=ZEROS),
                contents("INPUT1", int_contents=ZEROS),
            ),
            "unexpected explicit tensor data for input tensor 'INPUT0' for model 'pair' "
            "of type 'FP32', expected datatype 'INT32'",
            id="field of another type",
        ),
        pytest.param(
            infer_request(
                "pair",
                contents("INPUT0", int_contents=ZEROS, fp32_contents=ZEROS),
                contents("INPUT1", int_contents=ZEROS),
            ),
            "unexpected explicit tensor data for input tensor 'INPUT0' for model 'pair', "
            "binary data was already supplied.",
            id="two fields",
        ),
        pytest.param(
            infer_request("pair", contents("INPUT0"), contents("INPUT1", int_contents=ZEROS)),
            NOBODY + "input byte size mismatch for input 'INPUT0' for model 'pair'. "
            "Expected 64, got 0",
            id="empty contents",
        ),
        pytest.param(
            infer_request(
                "pair",
                contents("INPUT0", int_contents=ZEROS[1:]),
                contents("INPUT1", int_contents=ZEROS),
            ),
            NOBODY + "input byte size mismatch for input 'INPUT0' for model 'pair'. "
            "Expected 64, got 60",
            id="too few typed elements",
        ),
    ],
)
def test_data_that_cannot_be_gathered_is_refused(
    client: Client, request_: Message, text: str
) -> None:
    assert client.infer_refusal(request_) == invalid(text)


def test_surplus_raw_entries_are_ignored(client: Client) -> None:
    request = infer_request("pair", FIRST, SECOND)
    request.raw_input_contents.append(b"nobody's")

    answer = client.infer(request)

    assert [output.name for output in answer.outputs] == ["OUTPUT0", "OUTPUT1"]


def test_empty_contents_are_data_where_there_are_no_elements(client: Client) -> None:
    answer = client.infer(infer_request("flat", typed("INPUT0", "INT32", (2, 0))))

    assert list(answer.raw_output_contents) == [b""]


TYPE_OF_OTHERS = (
    "invalid value type for 'k' parameter, expected int64_param, bool_param, or string_param."
)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        *(
            pytest.param(
                {"sequence_id": value},
                "invalid value type for 'sequence_id' parameter, "
                "expected int64_param or string_param.",
                id=f"sequence_id {kind}",
            )
            for kind, value in (("bool", True), ("double", 1.0), ("uint64", Unsigned(1)))
        ),
        *(
            pytest.param(
                {key: value},
                f"invalid value type for '{key}' parameter, expected bool_param.",
                id=f"{key} {value!r}",
            )
            for key in ("sequence_start", "sequence_end", "triton_enable_empty_final_response")
            for value in (1, "true")
        ),
        *(
            pytest.param(
                {"priority": value},
                "invalid value type for 'priority' parameter, "
                "expected int64_param or uint64_param.",
                id=f"priority {value!r}",
            )
            for value in ("1", True, 1.0)
        ),
        pytest.param(
            {"priority": -1},
            "invalid value for 'priority', expected value >= 0.",
            id="negative priority",
        ),
        *(
            pytest.param(
                {"timeout": value},
                "invalid value type for 'timeout' parameter, expected int64_param.",
                id=f"timeout {value!r}",
            )
            for value in ("1", True)
        ),
        *(
            pytest.param(
                {key: True},
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the "
                "following keys starting with 'triton_' are allowed: "
                "triton_enable_empty_final_response",
                id=f"reserved {key}",
            )
            for key in ("triton_", "triton_other", "triton_final_response")
        ),
        pytest.param({"k": Unsigned(1)}, TYPE_OF_OTHERS, id="uint64"),
        pytest.param({"k": UNSET}, TYPE_OF_OTHERS, id="unset"),
    ],
)
def test_a_request_parameter_of_the_wrong_type_is_refused(
    client: Client, parameters: dict[str, object], text: str
) -> None:
    request = infer_request("pair", FIRST, SECOND, parameters=parameters)  # type: ignore[arg-type]

    assert client.infer_refusal(request) == invalid(text)


def test_a_long_sequence_id_is_not_supported(client: Client) -> None:
    request = infer_request("pair", FIRST, SECOND, parameters={"sequence_id": "s" * 129})

    assert client.infer_refusal(request) == (
        "UNIMPLEMENTED",
        "string correlation ID cannot be longer than 128 characters",
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"sequence_id": 5},
        {"sequence_id": -5},
        {"sequence_id": "s" * 128},
        {"sequence_start": True, "sequence_end": False},
        {"priority": 0},
        {"priority": Unsigned(1 << 63)},
        {"timeout": 1000},
        {"triton_enable_empty_final_response": True},
        {"headers": "passed on", "binary_data_output": True},
        {"a": True, "b": -1, "c": "text", "d": 0.5},
    ],
    ids=str,
)
def test_request_parameters_are_accepted(client: Client, parameters: dict[str, object]) -> None:
    request = infer_request("pair", FIRST, SECOND, parameters=parameters)  # type: ignore[arg-type]

    assert len(client.infer(request).outputs) == 2


def test_the_backend_s_parameters_come_back(client: Client) -> None:
    answer = client.infer(infer_request("pair", FIRST, SECOND))

    values = {
        key: getattr(value, value.WhichOneof("parameter_choice"))
        for key, value in answer.parameters.items()
    }
    assert values == {
        "param0": "an example string parameter",
        "param1": 42,
        "param2": False,
        "param3": 123.123,
    }


BAD_PARAMETER = {"priority": "high"}
PARAMETER_TEXT = (
    "invalid value type for 'priority' parameter, expected int64_param or uint64_param."
)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        pytest.param(
            infer_request("nowhere", FIRST, FIRST, parameters=BAD_PARAMETER),
            "Request for unknown model: 'nowhere' is not found",
            id="lookup before parameters",
        ),
        pytest.param(
            infer_request("pair", FIRST, FIRST, parameters=BAD_PARAMETER),
            PARAMETER_TEXT,
            id="parameters before duplicate inputs",
        ),
        pytest.param(
            infer_request("pair", FIRST, FIRST, outputs=("O", "O")),
            NOBODY + "input 'INPUT0' already exists in request",
            id="duplicate inputs before duplicate outputs",
        ),
        pytest.param(
            infer_request("pair", Given(FIRST.tensor, None), SECOND, outputs=("O", "O")),
            NOBODY + "output 'O' already exists in request",
            id="duplicate outputs before data",
        ),
        pytest.param(
            infer_request("pair", FIRST, Given(SECOND.tensor, None), outputs=("OTHER",)),
            "unable to find data for input tensor 'INPUT1' for model 'pair' in request.",
            id="data before the names of outputs",
        ),
        pytest.param(
            infer_request("pair", FIRST, SECOND, outputs=(("OTHER", {"classification": "many"}),)),
            "invalid value type for 'classification' parameter, expected int64_param",
            id="output parameters before the names of outputs",
        ),
        pytest.param(
            infer_request("pair", FIRST, outputs=("OTHER",)),
            "unexpected inference output 'OTHER' for model 'pair'",
            id="names of outputs before the number of inputs",
        ),
        pytest.param(
            infer_request("pair", pair("INPUT0", (9, 16), "<f4"), pair("INPUT1", (9, 16), "<f4")),
            NOBODY + "inference request batch-size must be <= 8 for 'pair'",
            id="batch size before datatype",
        ),
        pytest.param(
            infer_request("pair", FIRST, pair("INPUT1", (1, 8), "<f4")),
            NOBODY
            + "inference input 'INPUT1' data-type is 'FP32', but model 'pair' expects 'INT32'",
            id="datatype before shape",
        ),
    ],
)
def test_the_first_of_two_faults_is_reported(client: Client, request_: Message, text: str) -> None:
    assert client.infer_refusal(request_).text == text


def test_a_decoupled_model_does_not_load_and_says_why(client: Client, server: WireServer) -> None:
    server.repository.identity("decoupled", extra="model_transaction_policy { decoupled: true }")

    refusal = client.load_refusal("decoupled")

    assert refusal.code == "INVALID_ARGUMENT"
    assert "model_transaction_policy { decoupled: true }" in refusal.text
    client.unload("decoupled")

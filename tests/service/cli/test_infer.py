from pathlib import Path

import numpy as np
import pytest

from interlock.pb import grpc_service_pb2 as pb
from tests.support.command_line import CommandLine
from tests.support.scripted_server import Answer, scripted_server


def metadata() -> pb.ModelMetadataResponse:
    answer = pb.ModelMetadataResponse(name="m", versions=["1"])
    answer.inputs.add(name="image", datatype="FP32", shape=[-1, 2])
    answer.outputs.add(name="y", datatype="FP32", shape=[-1, 2])
    answer.outputs.add(name="z", datatype="FP32", shape=[-1, 2])
    return answer


def output(datatype: str, shape: list[int], data: bytes) -> pb.ModelInferResponse:
    answer = pb.ModelInferResponse(model_name="m", model_version="3", id="7")
    answer.outputs.add(name="y", datatype=datatype, shape=shape)
    answer.raw_output_contents.append(data)
    return answer


def answers(answer: pb.ModelInferResponse) -> dict[str, Answer]:
    return {"ModelMetadata": metadata(), "ModelInfer": answer}


def texts(*elements: bytes) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


FLOATS = output("FP32", [1, 2], np.array([0.5, np.nan], "<f4").tobytes())


def test_prints_the_outputs(command_line: CommandLine) -> None:
    with scripted_server(answers(FLOATS)) as server:
        printed = command_line.ask(server, ["infer", "m", "image=1,2"])

    assert printed.code == 0
    assert printed.out == "m version 3\n\ny FP32 [1,2]\n[[0.5, nan]]\n"


def test_prints_json_with_numbers_that_json_has(command_line: CommandLine) -> None:
    with scripted_server(answers(FLOATS)) as server:
        printed = command_line.ask(server, ["infer", "m", "image=1,2", "-o=json"])

    assert printed.json == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "parameters": {},
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, "NaN"]}],
    }


def test_sends_what_the_flags_say(command_line: CommandLine, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1, 2], np.float32))
    words = [
        "infer", "m", f"image=@{tmp_path}/x.npy", "--model-version=3", "--id=7", "--output=z",
        "--parameter=sequence_id=5", "--parameter=sequence_start=true",
        "--parameter=temperature=0.5", "--parameter=prompt=hi",
    ]  # fmt: skip
    with scripted_server(answers(FLOATS)) as server:
        assert command_line.ask(server, words).code == 0
        asked, request = server.seen

    assert (asked.name, asked.version) == ("m", "3")
    assert (request.model_name, request.model_version, request.id) == ("m", "3", "7")
    assert list(request.inputs[0].shape) == [1, 2]
    assert request.raw_input_contents[0] == np.array([1, 2], "<f4").tobytes()
    assert [one.name for one in request.outputs] == ["z"]
    assert request.parameters["sequence_id"].int64_param == 5
    assert request.parameters["sequence_start"].bool_param
    assert request.parameters["temperature"].double_param == 0.5
    assert request.parameters["prompt"].string_param == "hi"


def test_prints_the_best_classes(command_line: CommandLine) -> None:
    answer = output("BYTES", [1, 2], texts(b"0.900000:7:seven", b"0.050000:1:one:two"))
    with scripted_server(answers(answer)) as server:
        printed = command_line.ask(server, ["infer", "m", "--classes", "2", "image=1,2"])

        wanted = server.seen[1].outputs
        assert [one.name for one in wanted] == ["y", "z"]
        assert wanted[0].parameters["classification"].int64_param == 2
    assert printed.lines == [
        "m version 3",
        "",
        "y BYTES [1,2]",
        "VALUE CLASS LABEL",
        "0.900000 7 seven",
        "0.050000 1 one:two",
    ]


def test_classes_may_have_no_labels(command_line: CommandLine) -> None:
    answer = output("BYTES", [2], texts(b"0.900000:7", b"0.050000:1:one"))
    with scripted_server(answers(answer)) as server:
        printed = command_line.ask(server, ["infer", "m", "--classes=2", "image=1,2"])

    assert printed.lines[-2:] == ["0.900000 7", "0.050000 1 one"]


def test_prints_texts_and_what_is_no_text(command_line: CommandLine) -> None:
    answer = output("BYTES", [2], texts("é".encode(), b"\xff"))
    answer.parameters["tokens"].int64_param = 2
    with scripted_server(answers(answer)) as server:
        as_text = command_line.ask(server, ["infer", "m", "image=1,2"])
        as_json = command_line.ask(server, ["infer", "m", "image=1,2", "-o=json"])

    assert as_text.out == "m version 3\ntokens=2\n\ny BYTES [2]\né\n\\xff\n"
    assert as_json.json["outputs"][0]["data"] == ["é", "\\xff"]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        pytest.param(
            "imgae=1,2",
            "the model has no input 'imgae'; did you mean image? (it has: image)",
            id="unknown input",
        ),
        pytest.param("image", "'image' is no input: write NAME=1,2,3", id="no value"),
        pytest.param(
            "image=1", "'image' of shape [-1,2] cannot hold 1 elements", id="wrong number"
        ),
        pytest.param("image=@/absent", "cannot read /absent: No such file", id="no file"),
        pytest.param("--parameter=x", "'x' is no parameter: write KEY=VALUE", id="parameter"),
    ],
)
def test_wrong_usage_is_code_2_and_sends_nothing(
    command_line: CommandLine, word: str, text: str
) -> None:
    with scripted_server(answers(FLOATS)) as server:
        printed = command_line.ask(server, ["infer", "m", word])

        assert len(server.seen) == 1
    assert printed.code == 2
    assert printed.err.startswith(f"interlock: {text}")

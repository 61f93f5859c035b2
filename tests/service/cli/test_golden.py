import json
from pathlib import Path

import numpy as np
import pytest

from interlock.pb import grpc_service_pb2 as pb
from interlock.serving.golden.file import read_golden
from interlock.serving.golden.request import Declared, GoldenRequest
from tests.support.command_line import CommandLine
from tests.support.inference import texts
from tests.support.proving import golden
from tests.support.scripted_server import Answer, scripted_server

DECLARED = Declared(inputs={"w": "BF16"}, outputs={"w": "BF16"})


def answers(*outputs: tuple[str, str, list[int], bytes], given: str = "FP32") -> dict[str, Answer]:
    metadata = pb.ModelMetadataResponse(name="m", versions=["1"])
    metadata.inputs.add(name="x", datatype=given, shape=[-1, 2])
    answer = pb.ModelInferResponse(model_name="m", model_version="3")
    for name, datatype, shape, data in outputs:
        answer.outputs.add(name=name, datatype=datatype, shape=shape)
        answer.raw_output_contents.append(data)
    return {"ModelMetadata": metadata, "ModelInfer": answer}


FLOATS = answers(("y", "FP32", [1, 2], np.array([0.5, np.nan], "<f4").tobytes()))


def record(folder: Path, *more: str) -> list[str]:
    return ["golden", "record", "m", "--input", "x=1,2", f"--to={folder}", *more]


def read(path: Path) -> GoldenRequest:
    return read_golden(path, DECLARED, model_directory=path.parent)


def test_keeps_the_request_and_its_answer(command_line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    with scripted_server(FLOATS) as server:
        printed = command_line.ask(server, record(folder, "--name=seven"))

    assert printed.out == f"{folder}/seven.npz: m version 3 answers y [1,2]\n"
    assert printed.code == 0
    kept = read(folder / "seven.npz")
    assert kept.inputs == (golden("x", [[1.0, 2.0]]),)
    assert kept.expected == (golden("y", [[0.5, np.nan]]),)
    assert (kept.absolute, kept.relative, kept.latency_budget_ms) == (1e-3, 1e-3, None)


def test_keeps_what_the_flags_say(command_line: CommandLine, tmp_path: Path) -> None:
    flags = [
        "--tolerance=0.25", "--latency-budget-ms=50", "--model-version=3", "--output=y",
    ]  # fmt: skip
    with scripted_server(FLOATS) as server:
        assert command_line.ask(server, record(tmp_path, *flags)).code == 0
        asked, request = server.seen

    assert (asked.version, request.model_version) == ("3", "3")
    assert [one.name for one in request.outputs] == ["y"]
    kept = read(tmp_path / "request-1.npz")
    assert (kept.absolute, kept.relative, kept.latency_budget_ms) == (0.25, 0.25, 50)


def test_without_a_name_the_requests_are_numbered(
    command_line: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "request-2.json").touch()
    with scripted_server(FLOATS) as server:
        for _ in range(2):
            assert command_line.ask(server, record(tmp_path)).code == 0

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "request-1.npz",
        "request-2.json",
        "request-3.npz",
    ]


def test_texts_are_kept_as_json(command_line: CommandLine, tmp_path: Path) -> None:
    with scripted_server(answers(("y", "BYTES", [2], texts(b"a", b"\xff")))) as server:
        printed = command_line.ask(server, [*record(tmp_path, "--name=t"), "-o=json"])

    assert printed.json == {
        "file": f"{tmp_path}/t.json",
        "model_name": "m",
        "model_version": "3",
    }
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["expect"]["y"] == {
        "datatype": "BYTES",
        "shape": [2],
        "data": ["a", {"base64": "/w=="}],
    }


def test_bf16_is_kept_as_it_came(command_line: CommandLine, tmp_path: Path) -> None:
    words = np.array([0x3DCD, 0x7FC0], "<u2").tobytes()
    with scripted_server(answers(("w", "BF16", [2], words))) as server:
        assert command_line.ask(server, record(tmp_path, "--name=w")).code == 0

    assert read(tmp_path / "w.npz").expected == (golden("w", [0x3DCD, 0x7FC0], "BF16", "<u2"),)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        pytest.param(["--name=a/b"], "--name a/b: must be the name of a file", id="a path"),
        pytest.param(["--name=.a"], "--name .a: must be the name of a file", id="hidden"),
        pytest.param(["--input=z=1"], "the model has no input 'z' (it has: x)", id="unknown input"),
        pytest.param(["--input=x=1"], "'x' of shape [-1,2] cannot hold 1", id="wrong number"),
        pytest.param(
            ["--name=taken"],
            "{} has a request 'taken' already: remove it, or choose another --name",
            id="taken",
        ),
        pytest.param(
            ["--to=/absent/golden"],
            "cannot write to /absent/golden: No such file or directory",
            id="no folder above",
        ),
        pytest.param(
            ["--to={}/taken.npz"],
            "cannot look into {}/taken.npz: Not a directory",
            id="no folder",
        ),
        pytest.param(
            ["--to={}/taken.npz", "--name=a"],
            "cannot write to {}/taken.npz: File exists",
            id="no folder, with a name",
        ),
    ],
)
def test_wrong_usage_is_code_2_and_writes_nothing(
    command_line: CommandLine, tmp_path: Path, more: list[str], text: str
) -> None:
    (tmp_path / "taken.npz").write_text("mine")
    more = [word.format(tmp_path) for word in more]
    with scripted_server(FLOATS) as server:
        printed = command_line.ask(server, record(tmp_path, *more))

    assert printed.code == 2
    assert printed.err.startswith(f"interlock: {text.format(tmp_path)}")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("number", ["much", "-1", "nan"])
def test_a_tolerance_is_a_number(command_line: CommandLine, tmp_path: Path, number: str) -> None:
    printed = command_line.run(*record(tmp_path, f"--tolerance={number}"))

    assert printed.code == 2
    assert "argument --tolerance" in printed.err

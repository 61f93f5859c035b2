"""Versions warm up and prove themselves before a client can reach them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import numpy as np
import pytest

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.wire import (
    Client,
    WireServer,
    arrays,
    eventually,
    given,
    infer_request,
    invalid,
    serving,
)

WARM_UP = """
    model_warmup { name: "zero sample" batch_size: 1 count: 2 inputs { key: "x" value {
        data_type: TYPE_FP32 dims: 3 %s } } }"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("first")
    with serving(repository, "--log-verbose=1") as server:
        yield server


@pytest.fixture
def repository(server: WireServer) -> Repository:
    return server.repository


def answer_of(client: Client, model: str) -> float:
    """What an adding model answers for 0: its constant."""
    request = infer_request(model, given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


def golden(constant: float) -> bytes:
    """What an adding model must answer for 0, 1 and 2."""
    document = {"input": {"x": [0, 1, 2]}, "expect": {"y": [constant + x for x in range(3)]}}
    return json.dumps(document).encode()


def test_a_wrong_golden_answer_keeps_the_old_version(
    repository: Repository, client: Client, server: WireServer
) -> None:
    repository.onnx("proven", onnx_small.add_constant(1.0))
    repository.replace("proven", "golden/three.json", golden(1.0))
    client.load("proven")
    assert answer_of(client, "proven") == 1.0

    repository.replace("proven", "1/model.onnx", onnx_small.add_constant(4.125))
    refusal = client.load_refusal("proven")

    assert refusal == invalid(
        "load failed for model 'proven': version 1 is at UNAVAILABLE state: Invalid argument: "
        "golden request 'golden/three.json': output y[0]: got 4.125, expected 1.0 "
        "(tolerance 1e-3), the worst of 3;\n"
    )
    assert answer_of(client, "proven") == 1.0
    assert client.model_ready("proven")
    ((_, _, state, reason),) = [row for row in client.index() if row[0] == "proven"]
    assert state == "READY"
    assert "output y[0]: got 4.125, expected 1.0 (tolerance 1e-3)" in reason
    moves = [line for line in server.process.lines if "version moved" in line]
    assert any("from=proving" in line and "to=failed" in line for line in moves)


def test_a_right_answer_lets_the_new_version_take_over(
    repository: Repository, client: Client
) -> None:
    repository.onnx("followed", onnx_small.add_constant(1.0))
    repository.replace("followed", "1/golden/three.json", golden(1.0))
    client.load("followed")

    repository.add(
        "followed", (repository.root / "followed/config.pbtxt").read_text(), versions=[2]
    )
    repository.replace("followed", "2/model.onnx", onnx_small.add_constant(2.0))
    repository.replace("followed", "2/golden/three.json", golden(2.0))
    client.load("followed")

    assert answer_of(client, "followed") == 2.0
    assert client.statistics("followed").execution_count == 1  # ours: what proved it is no request


def test_a_golden_file_that_cannot_be_read_refuses_the_load(
    repository: Repository, client: Client
) -> None:
    repository.onnx("damaged", onnx_small.add_constant(1.0))
    repository.replace("damaged", "golden/three.npz", b"half an arch")

    refusal = client.load_refusal("damaged")

    assert refusal.code == "INVALID_ARGUMENT"
    assert "golden file 'golden/three.npz' cannot be read: " in refusal.text
    assert not client.model_ready("damaged")


def test_what_a_running_version_answers_can_be_recorded(
    repository: Repository, client: Client, server: WireServer, tmp_path: Path
) -> None:
    repository.onnx("recorded", onnx_small.add_constant(1.0))
    client.load("recorded")
    np.save(tmp_path / "x.npy", np.array([0, 0.5], np.float32))
    folder = repository.root / "recorded" / "golden"

    command = [sys.executable, "-m", "interlock", "golden", "record", "recorded"]
    flags = [f"--server={server.address}", "--input", f"x=@{tmp_path}/x.npy", "--to", str(folder)]
    done = run([*command, *flags], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder}/request-1.npz: recorded version 1 answers y [2]\n"
    client.load("recorded")  # the same version proves itself by its own answer
    repository.replace("recorded", "1/model.onnx", onnx_small.add_constant(1.5))
    assert "output y[0]: got 1.5, expected 1.0" in client.load_refusal("recorded").text
    assert answer_of(client, "recorded") == 1.0


def test_warm_up_runs_on_every_instance_and_is_counted(
    repository: Repository, client: Client, server: WireServer
) -> None:
    repository.onnx(
        "warm", onnx_small.add_constant(1.0), extra=WARM_UP % "zero_data: true", instances=2
    )
    client.load("warm")

    statistics = client.statistics("warm")
    assert (statistics.inference_count, statistics.execution_count) == (4, 4)
    for instance in ("warm_0_0", "warm_0_1"):
        for iteration in (1, 2):
            line = (
                f"model 'warm' instance {instance} is running warmup sample 'zero sample' for "
                f"iteration {iteration}"
            )
            assert server.process.log.count(line) == 1
    moves = [line for line in server.process.lines if "version moved" in line and "warm" in line]
    assert any("from=loading" in line and "to=warming" in line for line in moves)
    assert any("from=warming" in line and "to=proving" in line for line in moves)


def test_a_warm_up_that_fails_refuses_the_load(repository: Repository, client: Client) -> None:
    repository.onnx(
        "cold",
        onnx_small.fails_on_odd_lengths(),
        outputs=[Port(name="y", dims=(-1, 2))],
        extra=WARM_UP % "zero_data: true",
    )
    refusal = client.load_refusal("cold")

    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.text.startswith(
        "load failed for model 'cold': version 1 is at UNAVAILABLE state: Invalid argument: "
        "failed to run warmup sample 'zero sample': "
    )
    eventually(lambda: ("cold", "1", "UNAVAILABLE") in [row[:3] for row in client.index()])

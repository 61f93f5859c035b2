"""Poll mode: the repository changes in any way, and no client notices."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import Client, arrays, eventually, given, infer_request, server_process

FLAGS = (
    "--model-control-mode=poll",
    "--repository-poll-secs=1",
    "--repository-settle-secs=0.2",
)
WITHIN_S = 20.0


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "models"
    root.mkdir()
    repository = Repository(root)
    repository.onnx("adder", onnx_small.add_constant(1.0))
    return repository


@pytest.fixture
def process(repository: Repository) -> Iterator[ServerProcess]:
    with server_process(repository, *FLAGS) as process:
        yield process


@pytest.fixture
def client(process: ServerProcess) -> Iterator[Client]:
    with Client(process.address) as client:
        yield client


def answer_of(client: Client) -> float:
    request = infer_request("adder", given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


def answers(client: Client, constant: float) -> bool:
    return answer_of(client) == constant


def reason_of(client: Client, version: str) -> str:
    return next((row[3] for row in client.index() if row[1] == version), "")


def test_the_repository_changes_and_what_is_good_serves(
    repository: Repository, client: Client, process: ServerProcess
) -> None:
    model = repository.root / "adder"
    assert answer_of(client) == 1.0

    repository.replace("adder", "2/model.onnx", onnx_small.add_constant(2.0))
    eventually(lambda: answer_of(client) == 2.0, within_s=WITHIN_S)

    repository.replace("adder", "3/model.onnx", onnx_small.add_constant(3.0)[:40])
    eventually(lambda: reason_of(client, "3").startswith("I"), within_s=WITHIN_S)
    assert answer_of(client) == 2.0
    assert client.ready()

    aside = repository.root.with_name("aside")
    repository.root.rename(aside)
    process.wait_for_log("model repository cannot be listed", within_s=WITHIN_S)
    assert answer_of(client) == 2.0
    aside.rename(repository.root)
    process.wait_for_log("model repository can be listed again", within_s=WITHIN_S)
    assert answer_of(client) == 2.0

    shutil.rmtree(model)
    eventually(lambda: not client.model_ready("adder"), within_s=WITHIN_S)


def test_a_file_of_an_older_time_is_a_change(repository: Repository, client: Client) -> None:
    older = repository.root.with_name("older.onnx")
    older.write_bytes(onnx_small.add_constant(7.0))
    os.utime(older, (1_000_000_000, 1_000_000_000))
    shutil.copy2(older, repository.root / "adder" / "1" / "model.onnx")

    eventually(lambda: answer_of(client) == 7.0, within_s=WITHIN_S)


def test_a_custom_configuration_comes_changes_and_goes(repository: Repository) -> None:
    config = repository.root / "adder" / "config.pbtxt"
    custom = config.with_name("configs") / "custom.pbtxt"
    plain = config.read_text()
    repository.replace("adder", "2/model.onnx", onnx_small.add_constant(2.0))

    with (
        server_process(repository, *FLAGS, "--model-config-name=custom") as process,
        Client(process.address) as client,
    ):
        assert answer_of(client) == 2.0
        for version in (1, 2):
            policy = f"version_policy {{ specific {{ versions: [ {version} ] }} }}"
            repository.replace("adder", "configs/custom.pbtxt", f"{plain} {policy}".encode())
            eventually(partial(answers, client, float(version)), within_s=WITHIN_S)
        policy = "version_policy { specific { versions: [ 1 ] } }"
        repository.replace("adder", "configs/custom.pbtxt", f"{plain} {policy}".encode())
        eventually(lambda: answer_of(client) == 1.0, within_s=WITHIN_S)
        custom.unlink()
        eventually(lambda: answer_of(client) == 2.0, within_s=WITHIN_S)
        assert client.ready()

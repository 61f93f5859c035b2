"""The repositories that the control plane is measured on load as they are."""

from pathlib import Path

import numpy as np

from interlock.repository.snapshot import read_repository
from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import Client, arrays, given, infer_request
from tools.benchmark.control import repositories


def test_writes_so_many_models_of_three_versions(tmp_path: Path) -> None:
    models = read_repository([repositories.write_many(tmp_path / "models", 3)]).models

    assert [model.versions for model in models.values()] == [(1, 2, 3)] * 3


def test_what_it_writes_is_served_in_its_latest_version_and_the_adder_proven(
    tmp_path: Path,
) -> None:
    root = repositories.write_many(tmp_path / "models", 2)
    repositories.add_adder(Repository(root))

    with ServerProcess.start([f"--model-repository={root}"]) as process:
        with Client(process.address) as client:
            ready = [row[:2] for row in client.index(ready=True)]
            request = infer_request("adder", given("x", np.ones(1, "<f4")))
            answer = arrays(client.call("ModelInfer", request))
        log = process.log

    assert ready == [("adder", "1"), ("model-00000", "3"), ("model-00001", "3")]
    assert answer["y"].tolist() == [1.0]
    assert "proven" in log
